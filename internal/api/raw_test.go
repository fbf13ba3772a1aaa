package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/api"
)

// A destination is the raw rest of the request line: nothing cleans, decodes
// or reorders it on its way to the store.
func TestDestinationOnTheRequestLine(t *testing.T) {
	w := newWorld(t)
	host := strings.TrimPrefix(w.url, "http://")
	tests := map[string]struct{ target, want string }{
		"plain":                    {"/v2/publish/https://example.com/hook", "https://example.com/hook"},
		"no path":                  {"/v2/publish/http://example.com", "http://example.com"},
		"trailing slash":           {"/v2/publish/http://example.com/", "http://example.com/"},
		"double slashes":           {"/v2/publish/https://example.com//a//b//", "https://example.com//a//b//"},
		"dot segments":             {"/v2/publish/https://example.com/a/../b/./c", "https://example.com/a/../b/./c"},
		"escaped slash":            {"/v2/publish/https://example.com/a%2Fb%2fc", "https://example.com/a%2Fb%2fc"},
		"escaped space and letter": {"/v2/publish/https://example.com/a%20b%61", "https://example.com/a%20b%61"},
		"odd characters":           {"/v2/publish/https://example.com/a|b/{c}/^/é", "https://example.com/a|b/{c}/^/é"},
		"upper-case scheme":        {"/v2/publish/HTTPS://Example.com/A", "HTTPS://Example.com/A"},
		"port":                     {"/v2/publish/https://example.com:8443/a", "https://example.com:8443/a"},
		"case of the route":        {"/V2/PUBLISH/https://example.com/Case", "https://example.com/Case"},
		"slashes merged":           {"/v2/publish/https:/example.com//a", "https://example.com//a"},
		"encoded as a whole":       {"/v2/publish/https%3A%2F%2Fexample.com%2Fa%252Fb%3Fc%3Dd", "https://example.com/a%2Fb?c=d"},
		"query":                    {"/v2/publish/https://example.com/?z=1&a=2&z=3&empty=&bare", "https://example.com/?z=1&a=2&z=3&empty=&bare"},
		"query with a URL":         {"/v2/publish/https://example.com?u=https://x//y%2F?z", "https://example.com?u=https://x//y%2F?z"},
		"query that is no form":    {"/v2/publish/https://example.com?a;b=%zz&%", "https://example.com?a;b=%zz&%"},
		"empty query":              {"/v2/publish/https://example.com/a?", "https://example.com/a?"},
		"settings in the query":    {"/v2/publish/https://example.com/?b=1&UPSTASH-Retries=0&qstash_token=x&a=2&upstash-delay=1h", "https://example.com/?b=1&a=2"},
		"only settings":            {"/v2/publish/https://example.com/?upstash-delay=1h", "https://example.com/"},
		"absolute form":            {"http://" + host + "/v2/publish/https://example.com//a%2Fb?c=d", "https://example.com//a%2Fb?c=d"},
		"absolute form, odd":       {"http://" + host + "/v2/publish/https://example.com//a|b%2Fc?c=|", "https://example.com//a|b%2Fc?c=|"},
		"absolute form, bare":      {"http://" + host + "/v2/publish/https://example.com/a?", "https://example.com/a?"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nUpstash-Delay: 1h\r\nContent-Length: 0\r\n\r\n", test.target, host, w.token)
			status, _, body := w.exchange(request)
			var p client.PublishResponse
			if err := json.Unmarshal(body, &p); status != 200 || err != nil {
				t.Fatalf("%d %s", status, body)
			}
			if m := get[client.Message](w, "/v2/messages/"+p.MessageID); m.URL != test.want || p.URL != test.want {
				t.Errorf("stored %q, answered %q, want %q", m.URL, p.URL, test.want)
			}
		})
	}
}

// The same holds for every route that ends in a destination.
func TestDestinationOfEveryPrefix(t *testing.T) {
	w := newWorld(t)
	const dest = "https://example.com//a%2Fb/?c=d&d=%2F"
	for _, r := range api.Routes() {
		prefix, tail := strings.CutSuffix(r.Pattern, "{destination...}")
		if !tail {
			continue
		}
		t.Run(prefix, func(t *testing.T) {
			w := w.in(t)
			var p struct{ URL, WorkflowRunID, ScheduleID string }
			header := []string{"Upstash-Delay: 1h"}
			if prefix == "/v2/schedules/" {
				header = append(header, "Upstash-Cron: @yearly")
			}
			w.do(r.Method, strings.Replace(prefix, "{queue}", "q", 1)+dest, "", header...).into(200, &p)
			if p.ScheduleID != "" {
				p.URL = get[client.Schedule](w, "/v2/schedules/"+p.ScheduleID).Destination
			}
			if p.WorkflowRunID != "" {
				p.URL = w.run(p.WorkflowRunID).WorkflowURL
			}
			if p.URL != dest {
				t.Errorf("stored %q", p.URL)
			}
		})
	}
}

// Every route is found in any case, with a trailing slash and by its absolute
// URI. A missing token shows that it was found, and changes nothing.
func TestSpellingsOfRoutes(t *testing.T) {
	w := newWorld(t)
	host := strings.TrimPrefix(w.url, "http://")
	for _, r := range api.Routes() {
		if r.Open {
			continue
		}
		static, _, _ := strings.Cut(r.Pattern, "{")
		path := sample(r)
		shout := strings.ToUpper(static) + path[len(static):]
		for _, target := range []string{path, path + "/", shout, "http://" + host + path} {
			request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n", r.Method, target, host)
			if status, _, body := w.exchange(request); status != 401 {
				t.Errorf("%s %s: %d %s", r.Method, target, status, body)
			}
		}
	}
}

// A parameter keeps its case and is decoded once: it is a name, not a URL.
func TestParametersOfRoutes(t *testing.T) {
	w := newWorld(t)
	w.do("GET", "/v2/messages/MSG%5fa%2Fb", "").refused(404, "MSG_a/b")
	w.do("GET", "/v2/messages/a/b", "").refused(404, "no such route")
	w.do("GET", "/v2/%6dessages/a", "").refused(404, "no such route")
	w.do("GET", "/v2/keys//", "").refused(404, "no such route")
}

// Who closes its side of the connection behind a request, and reads on, is told
// whether that was carried out.
func TestHalfClosedRequests(t *testing.T) {
	w := newWorld(t)
	body := strings.Repeat("x", 200<<10)
	for i := range 100 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /v2/publish/https://example.com/%d HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nUpstash-Delay: 1h\r\nContent-Length: %d\r\n\r\n%s", i, w.token, len(body), body)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		var p client.PublishResponse
		err = json.NewDecoder(resp.Body).Decode(&p)
		conn.Close()
		taken := resp.StatusCode == http.StatusOK && p.MessageID != ""
		if err != nil || !taken && (resp.StatusCode != http.StatusBadRequest || !strings.Contains(p.Error, "closed its side")) {
			t.Fatalf("%d %+v, %v", resp.StatusCode, p, err)
		}
		if n := len(w.events(fmt.Sprintf("?url=https://example.com/%d", i))); (n == 1) != taken {
			t.Errorf("answered %+v, and there are %d messages", p, n)
		}
	}
}
