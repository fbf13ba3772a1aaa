package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/signposthq/signpost/client"
)

// wiretap is a destination that keeps the very bytes it was sent: one request
// to a connection, which it closes.
type wiretap struct {
	url  string
	mu   sync.Mutex
	sent []string
}

func (w *world) wiretap() *wiretap {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	tap := &wiretap{url: "http://" + listener.Addr().String()}
	var open sync.WaitGroup
	w.t.Cleanup(func() { listener.Close(); open.Wait() })
	open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() { tap.read(conn) })
		}
	})
	return tap
}

// read takes the head as far as the first empty line and, as a body, what
// Content-Length says; then what more there is of the request: nothing.
func (tap *wiretap) read(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	var all strings.Builder
	length := 0
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = r.ReadString('\n'); err != nil {
			return
		}
		all.WriteString(line)
		fmt.Sscanf(line, "Content-Length: %d", &length)
	}
	io.CopyN(&all, r, int64(length))
	io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	conn.(*net.TCPConn).CloseWrite()
	rest, _ := io.ReadAll(r)
	tap.mu.Lock()
	defer tap.mu.Unlock()
	tap.sent = append(tap.sent, all.String()+string(rest))
}

func (tap *wiretap) requests() []string {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	return append([]string(nil), tap.sent...)
}

// hostile are header names that a publisher might forward, in the spellings
// that some parser or other takes for the same.
var hostile = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Expect", "HTTP2-Settings",
	"Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate", "Content_Length", "Transfer_Encoding", "transfer_ENCODING",
	"Upstash-Signature", "Upstash-Signature-Keys", "Upstash_Signature", "Upstash-Message-Id", "Upstash_Message_Id", "Upstash-Retried",
	"Upstash-Caller-IP", "Upstash-Hop", "Upstash-Region", "Upstash-Topic-Name", "Upstash-Schedule-Id",
	"Upstash-Workflow-RunId", "Upstash-Workflow-Url", "Upstash-Workflow-Init", "Upstash-Workflow-CreatedAt", "Upstash-Workflow-Sdk-Version",
	"Upstash-Workflow-Is-Failure", "Upstash-Workflow-Failure-Callback", "Upstash-Workflow-Callback", "Upstash-Workflow-Unknown-Sdk",
	"upstash_workflow_is_failure", "Upstash-Workflow-StepId", "Upstash-Workflow-Whatever",
}

var hostileValues = []string{"forged", "0", "chunked", "close, X-Keep", "keep-alive", "100-continue", "", "h2c", "trailers", "  forged", "é"}

// Whatever is forwarded, there is one request on the wire, framed once, that
// says of itself what the server says of it.
func TestT14Bytes(t *testing.T) {
	w := newWorld(t)
	tap := w.wiretap()
	random := rand.New(rand.NewPCG(14, 14))
	const rounds = 60
	for i := range rounds {
		header := []string{"Upstash-Forward-X-Keep: kept", "Upstash-Retries: 0"}
		for range 1 + random.IntN(12) {
			name := hostile[random.IntN(len(hostile))]
			if i < len(hostile) {
				name = hostile[i] // each by itself at least once, with all sorts of values
			}
			header = append(header, "Upstash-Forward-"+name+": "+hostileValues[random.IntN(len(hostileValues))])
		}
		body := fmt.Sprintf("body %d\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", i)
		id := w.publish(tap.url+"/wire", body, header...)
		w.until("the bytes are there", func() bool { return len(tap.requests()) == i+1 })
		checkWire(t, tap.requests()[i], strings.TrimPrefix(tap.url, "http://"), id, body, header)
	}
}

func checkWire(t *testing.T, request, host, id, body string, sent []string) {
	t.Helper()
	head, rest, _ := strings.Cut(request, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	if lines[0] != "POST /wire HTTP/1.1" || rest != body || strings.ContainsAny(strings.ReplaceAll(head, "\r\n", ""), "\r\n\x00") {
		t.Errorf("sent %q for %q", request, sent)
	}
	got := map[string][]string{}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		got[strings.ToLower(strings.ReplaceAll(name, "_", "-"))] = append(got[strings.ToLower(strings.ReplaceAll(name, "_", "-"))], value)
	}
	want := map[string]string{
		"host": host, "content-length": fmt.Sprint(len(body)), "user-agent": "Upstash-QStash", "x-keep": "kept",
		"upstash-message-id": id, "upstash-retried": "0", "upstash-caller-ip": "127.0.0.1", "upstash-signature": "", "upstash-hop": "",
	}
	for name, values := range got {
		expected, ok := want[name]
		if !ok || len(values) != 1 || expected != "" && values[0] != expected {
			t.Errorf("sent %s: %q for %q", name, values, sent)
		}
	}
	if len(got) != len(want) {
		t.Errorf("sent %q", head)
	}
}

// What can't be in a header is refused at publish, whatever way it comes in,
// and nothing is stored.
func TestT14Refused(t *testing.T) {
	w := newWorld(t)
	dead := w.endpoint(answers("no", nil, 400))
	w.await(w.publish(dead.URL, "x", "Upstash-Retries: 0"), client.EventFailed)
	for _, bad := range []string{"a\r\nHost: x", "a\nX: y", "a\rb", "a\x00b", "\x01", "\x7f", "a\xff"} {
		inJSON, _ := json.Marshal(map[string]string{"v": bad})
		inJSON = inJSON[len(`{"v":`) : len(inJSON)-1]
		if strings.Contains(bad, "\xff") {
			inJSON = []byte("\"" + bad + "\"")
		}
		inQuery := url.QueryEscape(bad)
		for _, setting := range []string{
			"Upstash-Forward-X", "Upstash-Callback-Forward-X", "Upstash-Failure-Callback-Forward-X", "Upstash-Label", "Upstash-Deduplication-Id",
			"Upstash-Workflow-RunId", "Upstash-Retry-Delay", "Upstash-Callback", "Upstash-Callback-Label",
		} {
			callbacks := "upstash-callback=http://example.com/&upstash-failure-callback=http://example.com/&"
			if setting == "Upstash-Callback" {
				callbacks = ""
			}
			w.unchanged(setting, func() {
				for _, prefix := range []string{"/v2/publish/", "/v2/trigger/"} {
					w.do("POST", prefix+"https://example.com/?"+callbacks+setting+"="+inQuery, "").refused(400)
				}
				headers := fmt.Sprintf(`{%q:%s}`, setting, inJSON)
				if callbacks != "" {
					headers = fmt.Sprintf(`{"Upstash-Callback":"http://example.com/","Upstash-Failure-Callback":"http://example.com/",%q:%s}`, setting, inJSON)
				}
				for _, route := range []string{"/v2/batch", "/v2/batch/trigger"} {
					w.do("POST", route, `[{"destination":"https://example.com/"},{"destination":"https://example.com/","headers":`+headers+`}]`).refused(400)
				}
			})
		}
		w.unchanged("a header's name", func() {
			w.do("POST", "/v2/publish/https://example.com/?upstash-forward-"+inQuery+"=1", "").refused(400)
			w.do("POST", "/v2/batch", fmt.Sprintf(`[{"destination":"https://example.com/","headers":{%s:"1"}}]`, inJSON)).refused(400)
		})
		if strings.ContainsAny(bad, "\r\n") {
			continue // on the request itself it would be another line
		}
		dlq := w.dlq("")[0].DLQID
		for _, target := range []string{"/v2/publish/" + dead.URL, "/v2/trigger/" + dead.URL, "/v2/dlq/retry/" + dlq, "/v2/dlq/retry"} {
			w.unchanged(target, func() {
				request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nUpstash-Forward-X: %s\r\nContent-Length: 0\r\n\r\n",
					target, strings.TrimPrefix(w.url, "http://"), w.token, bad)
				if status, _, body := w.exchange(request); status != 400 {
					t.Errorf("%s with %q: %d %s", target, bad, status, body)
				}
			})
		}
	}
}

// forged are what a publisher might forward to make a request look like another
// kind of request of a run.
var forged = []string{
	"Upstash-Workflow-Runid: wfr_forged", "Upstash-Workflow-Init: true", "Upstash-Workflow-Sdk-Version: 1", "Upstash-Workflow-Url: http://x/",
	"Upstash-Workflow-Is-Failure: true", "Upstash-Workflow-Failure-Callback: true", "Upstash-Workflow-Callback: true", "Upstash-Workflow-Stepid: 1",
	"Upstash-Workflow-Steptype: Call", "Upstash-Workflow-Unknown-Sdk: true", "Upstash-Workflow-Calltype: step", "Upstash-Workflow-Createdat: 1",
}

func under(prefix string) (lines []string) {
	for _, line := range forged {
		lines = append(lines, prefix+line)
	}
	return lines
}

// Only what is of a run looks like it, and only like what it is.
func TestT14Impersonation(t *testing.T) {
	w := newWorld(t)
	sayings := func(h http.Header) (names []string) {
		for name := range h {
			if strings.HasPrefix(name, "Upstash-Workflow-") {
				names = append(names, name)
			}
		}
		return names
	}
	told := w.endpoint(nil)
	plain := w.endpoint(answers("no", nil, 500))
	w.publish(plain.URL, "", append(append(append(under("Upstash-Forward-"), under("Upstash-Callback-Forward-")...), under("Upstash-Failure-Callback-Forward-")...),
		"Upstash-Callback: "+told.URL, "Upstash-Failure-Callback: "+told.URL, "Upstash-Retries: 0")...)
	for _, d := range append(plain.await(1), told.await(2)...) {
		if names := sayings(d.header); names != nil {
			t.Errorf("a %s has %v", d.claims.Kind, names)
		}
	}

	f := w.flow()
	init := f.trigger("wfr_1", "", under("Upstash-Forward-")...)
	c := f.next(init)
	third := w.endpoint(nil)
	f.call("wfr_1", 1, "ask", third.URL, append(under("Upstash-Forward-"), "Upstash-Forward-Upstash-Workflow-Invoke-Count: 1")...)
	if names := sayings(third.await(1)[0].header); len(names) != 1 || names[0] != "Upstash-Workflow-Invoke-Count" {
		t.Errorf("a third party is told %v", names)
	}
	from := f.any("the call's outcome")
	for _, test := range []struct {
		what           string
		c              *call
		init, callback string
	}{{"first call", c, "true", ""}, {"outcome of a call", from, "false", "true"}} {
		h := test.c.header
		for name, want := range map[string]string{
			"Upstash-Workflow-Runid": "wfr_1", "Upstash-Workflow-Init": test.init, "Upstash-Workflow-Url": f.URL, "Upstash-Workflow-Callback": test.callback,
			"Upstash-Workflow-Is-Failure": "", "Upstash-Workflow-Failure-Callback": "", "Upstash-Workflow-Unknown-Sdk": "",
		} {
			if got := strings.Join(h[name], "|"); got != want {
				t.Errorf("%s: %s is %q, want %q", test.what, name, got, want)
			}
		}
	}
	from.ok()
	c.answer(489, "", "Upstash-NonRetryable-Error: true")
	failure := f.any("the failure callback").header
	if failure.Get("Upstash-Workflow-Is-Failure") != "true" || failure.Get("Upstash-Workflow-Callback") != "" || failure.Get("Upstash-Workflow-Runid") != "wfr_1" {
		t.Errorf("the failure callback has %v", failure)
	}
}
