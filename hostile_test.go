package signpost_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
)

// journal is a log that a test reads while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// send writes bytes on a connection of its own, and returns all that comes back.
func send(t *testing.T, s *signpost.Server, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(15 * time.Second))
	io.WriteString(conn, request) // fails where the server has seen enough
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// Whatever is asked, well-formed or not, and whatever becomes of it: what the
// server logs, at its most talkative, holds no secret and no value of a query.
func TestT17NoSecretsInLogs(t *testing.T) {
	const canary = "canary"
	log := &journal{}
	s := start(t, &signpost.Server{
		Data: signpost.Memory, Dev: true, MaxConnections: 20,
		Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{AddSource: true, Level: slog.LevelDebug})),
	})
	token := signpost.DevUsers[0].Token
	secrets := []string{canary, token, signpost.DevUsers[0].CurrentSigningKey, signpost.DevUsers[0].NextSigningKey}

	head := "Host: localhost\r\nConnection: close\r\nAuthorization: Bearer " + token + "\r\n"
	query := "?qstash_token=" + url.QueryEscape(token) + "&secret=canary-query"
	dead := "http://127.0.0.1:1/canary-path" + query + "&upstash-retries=0"
	for _, request := range []string{
		"POST /v2/publish/" + dead + " HTTP/1.1\r\n" + head + "Upstash-Forward-Authorization: canary\r\nUpstash-Callback: " + dead + "\r\nUpstash-Failure-Callback: " + dead + "\r\nUpstash-Retries: 0\r\nContent-Length: 6\r\n\r\ncanary",
		"GET /v2/logs" + query + " HTTP/1.1\r\n" + head + "\r\n",
		"GET /v2/logs?cursor=canary HTTP/1.1\r\n" + head + "\r\n",
		"GET /v2/messages/canary" + query + " HTTP/1.1\r\n" + head + "\r\n",
		"DELETE /v2/messages?lable=canary HTTP/1.1\r\n" + head + "\r\n",
		"GET /v2/keys?a=%zz&secret=canary HTTP/1.1\r\n" + head + "\r\n",
		"GET /v2/keys?qstash_token=canary HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		"GET /v2/keys HTTP/1.1\r\nHost: canary.example\r\nConnection: close\r\nAuthorization: Bearer canary\r\n\r\n",
		"POST /v2/batch HTTP/1.1\r\n" + head + "Content-Length: 8\r\n\r\n[canary]",
		"POST /v2/publish/ftp://canary HTTP/1.1\r\n" + head + "Content-Length: 0\r\n\r\n",
		"POST /v2/publish/https://example.com HTTP/1.1\r\n" + head + "Expect: canary\r\n\r\n",
		"CANARY canary HTTP/1.1\r\n" + head + "\r\n",
		"canary\r\n\r\n",
		"GET /canary%zz" + query + " HTTP/1.1\r\n" + head + "\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: canary\x01\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\ncanary\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: canary canary\r\n\r\n",
		"GET /" + strings.Repeat("canary", 30_000) + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: canary\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03canary\r\n\r\n",
	} {
		if answer := send(t, s, request); strings.Contains(answer, token) {
			t.Errorf("%.60q is answered with its token: %s", request, answer)
		}
	}
	for _, request := range []string{ // these end too soon
		"POST /v2/batch HTTP/1.1\r\n" + head + "Content-Length: 30\r\n\r\n[{\"destination\":\"canary\"",
		"POST /v2/publish/https://example.com HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\ncanary\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, request)
		conn.Close()
	}
	c := clientOf(t, s, token)
	until(t, "the message and its callbacks have failed", func() bool {
		page, err := c.Events(t.Context(), client.EventsRequest{States: []client.EventState{client.EventFailed}})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Events) == 3
	})
	for range 25 { // more than may be open
		if conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://")); err == nil {
			defer conn.Close()
			io.WriteString(conn, "GET /canary")
		}
	}
	until(t, "something is logged", func() bool { return strings.Contains(log.String(), "too many connections") })
	stop(t, s, time.Second)
	for _, secret := range secrets {
		if strings.Contains(strings.ToLower(log.String()), strings.ToLower(secret)) {
			t.Errorf("the log holds %q:\n%s", secret, log)
		}
	}
}

// Silent connections, more of them than may be open, leave room for those who
// speak.
func TestT16SilentConnections(t *testing.T) {
	s := start(t, &signpost.Server{Data: signpost.Memory, Dev: true, MaxConnections: 50})
	c := clientOf(t, s, signpost.DevUsers[0].Token)
	for i := range 50 {
		for j := range 20 {
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, []string{"", "POST /v2/publish/", "POST /v2/batch HTTP/1.1\r\nHost: localhost\r\nX:"}[(i+j)%3])
		}
		publish(t, c, client.PublishRequest{URL: "https://localhost:1/", Delay: time.Hour})
	}
}

// Errors are JSON whoever finds them, with what was expected.
func TestErrorsAreJSON(t *testing.T) {
	s, _ := dev(t, signpost.Memory)
	auth := "Authorization: Bearer " + signpost.DevUsers[0].Token + "\r\n"
	for request, want := range map[string]struct {
		status int
		says   string
	}{
		"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n":                                                           {404, "no such route"},
		"GET /" + strings.Repeat("a", 100_000) + " HTTP/1.1\r\nHost: localhost\r\n\r\n":                              {404, "no such route"},
		"PATCH /v2/keys HTTP/1.1\r\nHost: localhost\r\n\r\n":                                                         {405, "only GET, HEAD"},
		"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n":                                                              {404, "no such route"},
		"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n":                                                   {404, "no such route"},
		"POST /v2/batch HTTP/1.1\r\nHost: localhost\r\n" + auth + "Content-Length: 999999999\r\n\r\n":                {413, "at most"},
		"POST /v2/publish/https://" + strings.Repeat("a", 5000) + " HTTP/1.1\r\nHost: localhost\r\n" + auth + "\r\n": {400, "4096"},
		"GET /v2/keys HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("a", 140_000) + "\r\n\r\n":                {431, "at most 131072 bytes"},
		"GET /v2/keys\r\n\r\n":                                {400, "well-formed HTTP"},
		"GET /v2/keys HTTP/1.1\r\nHost: evil.example\r\n\r\n": {403, "web pages"},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, request)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%.60q: %v", request, err)
		}
		var e struct{ Error string }
		err = json.NewDecoder(resp.Body).Decode(&e)
		conn.Close()
		if err != nil || resp.StatusCode != want.status || !strings.Contains(e.Error, want.says) || len(e.Error) > 1000 || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%.60q: %d %q %v, want %d %q", request, resp.StatusCode, e.Error, err, want.status, want.says)
		}
	}
	if got := exchangeHead(t, s); got != "200 0" {
		t.Errorf("HEAD: %s", got)
	}
}

func exchangeHead(t *testing.T, s *signpost.Server) string {
	answer := send(t, s, "HEAD /v2/liveness HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	_, body, _ := strings.Cut(answer, "\r\n\r\n")
	return fmt.Sprint(strings.Fields(answer)[1], " ", len(body))
}

// Credentials can be printed and logged: what is secret of them does not show.
func TestT17CredentialsDoNotShow(t *testing.T) {
	cr := signpost.DevUsers[0]
	var out bytes.Buffer
	for _, v := range []any{cr, &cr, signpost.DevUsers, &signpost.Server{NewTenant: &cr}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", cr)
	}
	for _, secret := range []string{cr.Token, cr.CurrentSigningKey, cr.NextSigningKey} {
		if strings.Contains(out.String(), secret) || strings.Contains(out.String(), fmt.Sprintf("%x", secret)) {
			t.Errorf("%s shows in\n%s", secret, &out)
		}
	}
	if !strings.Contains(out.String(), cr.UserID) {
		t.Error("who it is does not show")
	}
}
