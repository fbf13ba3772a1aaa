// Package guard_test runs the web servers' configurations of this directory,
// with nothing changed but their addresses, in front of a guard and an endpoint
// that knows of no signatures.
package guard_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/guard"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/signposttest"
)

const (
	publicURL = "https://app.example.com"
	key       = "sig_current_key_of_the_guard"
	otherKey  = "sig_key_of_somebody_else_000"
)

var body = []byte(`{"hello":"world"}`)

// setups are the configurations, each with the program that runs it.
var setups = []struct {
	file string
	auth bool // the guard is asked, and does not forward
	echo bool // the sender is told the keys that are held
	run  func(t *testing.T, config, addr string) *server
}{
	{"nginx-proxy.conf", false, true, runNginx},
	{"nginx-auth.conf", true, true, runNginx},
	{"proxy.Caddyfile", false, true, runCaddy},
	{"auth.Caddyfile", true, false, runCaddy},
}

// endpoint knows nothing of signatures, and records what reaches it.
type endpoint struct {
	*httptest.Server
	mu  sync.Mutex
	all []seen
}

type seen struct {
	method, target, host string
	header               http.Header
	body                 []byte
}

func newEndpoint(t *testing.T) *endpoint {
	e := &endpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("endpoint: %v", err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.all = append(e.all, seen{r.Method, r.RequestURI, r.Host, r.Header, content})
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) take() []seen {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

// site is an endpoint behind a guard and a web server.
type site struct {
	*endpoint
	guard *httptest.Server
	web   *server
}

// options of the guard in front of an endpoint.
func options(t *testing.T, e *endpoint, auth bool) guard.Options {
	t.Helper()
	o := guard.Options{
		Auth:     auth,
		Receiver: receiver.Options{CurrentSigningKey: key, BaseURL: publicURL, RequireBinding: true},
		Logger:   slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if !auth {
		var err error
		if o.Upstream, err = url.Parse(e.URL); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// ask sends a request as its bytes: a client would tidy it.
func (s *site) ask(t *testing.T, target string, header http.Header, body []byte) (status int, answer http.Header) {
	t.Helper()
	conn, err := net.Dial("tcp", s.web.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\n", target)
	if header.Get("Host") == "" {
		b.WriteString("Host: app.example.com\r\n")
	}
	for name, values := range header {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	if _, err := conn.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header
}

// control are control headers of a step, which the signatures here cover.
func control() http.Header {
	return http.Header{"Upstash-Message-Id": {"msg_1"}, "Upstash-Workflow-Runid": {"wfr_1"}}
}

// signed are the headers of a step, signed with a key for a URL.
func signed(t *testing.T, key, url string, at time.Time) http.Header {
	t.Helper()
	h := control()
	token, err := receiver.Sign(key, receiver.SignOptions{URL: url, Body: body, Header: h, Kind: receiver.KindStep, ID: "jwt_1", Time: at})
	if err != nil {
		t.Fatal(err)
	}
	h.Set(receiver.Header, token)
	return h
}

func with(h http.Header, pairs ...string) http.Header {
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestSites(t *testing.T) {
	for _, setup := range setups {
		t.Run(setup.file, func(t *testing.T) {
			s := &site{endpoint: newEndpoint(t)}
			g, err := guard.New(options(t, s.endpoint, setup.auth))
			if err != nil {
				t.Fatal(err)
			}
			s.guard = httptest.NewServer(g)
			defer s.guard.Close()
			s.web = runSite(t, setup.file, s, setup.run)
			t.Run("passes", func(t *testing.T) { s.passes(t, setup.echo) })
			t.Run("refuses", func(t *testing.T) { s.refuses(t, setup.auth) })
			t.Run("guard is down", func(t *testing.T) {
				s.guard.Close()
				if status, _ := s.ask(t, "/hook", signed(t, key, publicURL+"/hook", time.Now()), body); status < 500 || len(s.take()) > 0 {
					t.Errorf("status %d, or the endpoint was called", status)
				}
			})
		})
	}
}

// passes checks that what is signed reaches the endpoint as it came, and that
// what others add has no effect.
func (s *site) passes(t *testing.T, echo bool) {
	targets := []string{
		"/", "/hook", "/hook?", "/hook?a=1&b=2", "/hook?b=2&a=1", "/hook?a=%zz;x", "/a//b", "//a", "/a%2Fb", "/a%2fb%20c", "/a;b/?x=/?",
		"/long?" + strings.Repeat("x", 5830), // its signature has nearly 8 KiB
	}
	spoofs := http.Header{
		"X-Original-Uri": {"/other"}, "X-Original-Method": {"GET"}, "X-Original-Url": {"/other"}, "X-Rewrite-Url": {"/other"},
		"X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Uri": {"/other"},
		"Signpost-Verified": {"failure"}, "Signpost-Token-Id": {"x"}, "Signpost-Body-Sha256": {"x"},
		// Many frameworks read these as if they had hyphens.
		"Signpost_Verified": {"failure"}, "Signpost-Token_Id": {"x"}, "Upstash_Workflow_Is_Failure": {"true"},
	}
	for _, target := range targets {
		for _, more := range []http.Header{nil, spoofs} {
			h := signed(t, key, publicURL+target, time.Now())
			for name, values := range more {
				h[name] = values
			}
			status, answer := s.ask(t, target, h, body)
			calls := s.take()
			if got := answer.Get(receiver.KeysHeader); echo != strings.HasPrefix(got, "verified="+receiver.KeyID(key)) {
				t.Errorf("%.60s: answered with %s: %q", target, receiver.KeysHeader, got)
			}
			if status != 200 || len(calls) != 1 {
				t.Errorf("%.60s: status %d, %d calls, with %v", target, status, len(calls), more)
				continue
			}
			if calls[0].target != target || calls[0].method != "POST" || !bytes.Equal(calls[0].body, body) || calls[0].host != "app.example.com" {
				t.Errorf("%.60s arrived as %s %s%.60s with %q", target, calls[0].method, calls[0].host, calls[0].target, calls[0].body)
			}
			s.trustworthy(t, calls[0].header)
		}
	}
}

// trustworthy checks that the headers which an endpoint may believe are true.
func (s *site) trustworthy(t *testing.T, h http.Header) {
	t.Helper()
	want := map[string]string{
		"Signpost-Verified": "step", "Signpost-Token-Id": "jwt_1", "X-Forwarded-Host": "app.example.com",
		"Upstash-Workflow-Runid": "wfr_1", "Upstash-Message-Id": "msg_1",
		"X-Original-Url": "", "X-Rewrite-Url": "",
	}
	for name, value := range want {
		if got := strings.Join(h.Values(name), "|"); got != value {
			t.Errorf("the endpoint saw %s: %q, want %q", name, got, value)
		}
	}
	for name := range h {
		if strings.Contains(name, "_") {
			t.Errorf("the endpoint saw %s: %q", name, h[name])
		}
	}
	sum := sha256.Sum256(body)
	if got := h.Get("Signpost-Body-Sha256"); got != "" && got != hex.EncodeToString(sum[:]) {
		t.Errorf("the endpoint saw Signpost-Body-Sha256: %q", got)
	}
}

// refuses checks that nothing else than what is signed reaches the endpoint.
func (s *site) refuses(t *testing.T, auth bool) {
	good := func() http.Header { return signed(t, key, publicURL+"/hook", time.Now()) }
	tests := []struct {
		name   string
		target string
		header http.Header
	}{
		{"unsigned", "/hook", control()},
		{"for another host", "/hook", signed(t, key, "https://evil.example/hook", time.Now())},
		{"for another host, under its name", "/hook", with(signed(t, key, "https://evil.example/hook", time.Now()),
			"Host", "evil.example", "X-Forwarded-Host", "evil.example")},
		{"for another path", "/other", good()},
		{"for another path, by X-Original-URI", "/other", with(good(), "X-Original-URI", "/hook")},
		{"for another path, by X-Forwarded-Uri", "/other", with(good(), "X-Forwarded-Uri", "/hook")},
		{"for another path, by both", "/other", with(good(), "X-Forwarded-Uri", "/hook", "X-Original-URI", "/hook")},
		{"for another query", "/hook?a", good()},
		{"for a path with one slash", "//hook", good()},
		{"for a decoded path", "/hook%2F", signed(t, key, publicURL+"/hook/", time.Now())},
		{"for a query in another order", "/hook?b=1&a=2", signed(t, key, publicURL+"/hook?a=2&b=1", time.Now())},
		{"with another key", "/hook", signed(t, otherKey, publicURL+"/hook", time.Now())},
		{"an hour ago", "/hook", signed(t, key, publicURL+"/hook", time.Now().Add(-time.Hour))},
		{"with another control header", "/hook", with(good(), "Upstash-Workflow-Is-Failure", "true")},
		{"with a control header less", "/hook", with(good(), "Connection", "Upstash-Workflow-RunId")},
		{"two signatures", "/hook", with(good(), receiver.Header, good().Get(receiver.Header))},
		{"joined signatures", "/hook", http.Header{receiver.Header: {good().Get(receiver.Header) + ", " + good().Get(receiver.Header)}}},
		{"guard's own address", "/auth", with(good(), "X-Original-URI", "/hook")},
	}
	for _, tt := range tests {
		status, answer := s.ask(t, tt.target, tt.header, body)
		calls := s.take()
		if tt.name == "with a control header less" && status == 200 && len(calls) == 1 && calls[0].header.Get("Upstash-Workflow-Runid") == "wfr_1" {
			continue // it was not taken away
		}
		if status != 401 || len(calls) != 0 {
			t.Errorf("%s: status %d, %d calls", tt.name, status, len(calls))
		}
		if got := answer.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: answered as %s", tt.name, got)
		}
	}

	// Who asks without the body leaves the body to the endpoint.
	other := []byte(`{"hello":"wörld"}`)
	status, _ := s.ask(t, "/hook", good(), other)
	calls := s.take()
	if !auth {
		if status != 401 || len(calls) != 0 {
			t.Errorf("another body: status %d, %d calls", status, len(calls))
		}
		return
	}
	sum := sha256.Sum256(body)
	if status != 200 || len(calls) != 1 || calls[0].header.Get("Signpost-Body-Sha256") != hex.EncodeToString(sum[:]) {
		t.Errorf("another body: status %d; the endpoint was not told what its hash must be: %+v", status, calls)
	}
}

// A Signpost server delivers through web server and guard to an endpoint that
// knows nothing of it.
func TestDelivery(t *testing.T) {
	srv := signposttest.NewServer(t)
	c := srv.Client()
	defer c.CloseIdleConnections()
	keys, err := c.RotateKeys(t.Context()) // a server's first keys are everybody's, and good for this machine only
	if err == nil {
		keys, err = c.RotateKeys(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, setup := range setups {
		t.Run(setup.file, func(t *testing.T) {
			s := &site{endpoint: newEndpoint(t)}
			// The address is known only when the web server is up, and the
			// guard must know it.
			s.guard = httptest.NewUnstartedServer(nil)
			s.web = runSite(t, setup.file, s, setup.run)
			o := options(t, s.endpoint, setup.auth)
			o.Receiver.CurrentSigningKey, o.Receiver.NextSigningKey = keys.Current, keys.Next
			o.Receiver.BaseURL = "http://" + s.web.addr
			g, err := guard.New(o)
			if err != nil {
				t.Fatal(err)
			}
			s.guard.Config.Handler = g
			s.guard.Start()
			defer s.guard.Close()

			p, err := c.Publish(t.Context(), client.PublishRequest{URL: o.Receiver.BaseURL + "/hook//x?b=%20&a=", Body: body})
			if err != nil {
				t.Fatal(err)
			}
			events := srv.WaitMessage(t, p.MessageID, client.EventDelivered, client.EventFailed)
			calls := s.take()
			if events[0].State != client.EventDelivered || len(calls) != 1 {
				t.Fatalf("%+v, %d calls", events[0], len(calls))
			}
			if calls[0].target != "/hook//x?b=%20&a=" || !bytes.Equal(calls[0].body, body) || calls[0].header.Get("Signpost-Verified") != "message" {
				t.Errorf("the endpoint saw %+v", calls[0])
			}
		})
	}
}
