package guard

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/receiver"
)

func TestT01ProxyRefusesForgeries(t *testing.T) {
	covered := receiver.SignOptions{Kind: receiver.KindStep, Header: http.Header{"Upstash-Workflow-Runid": {"wfr_1"}}}
	tests := []struct {
		name   string
		sign   receiver.SignOptions
		change func(r *http.Request)
		text   string // "" if the upstream is called
	}{
		{"signed", receiver.SignOptions{}, func(*http.Request) {}, ""},
		{"signed, covering headers", covered, func(r *http.Request) { r.Header.Set("Upstash-Workflow-RunId", "wfr_1") }, ""},
		{"unsigned", receiver.SignOptions{}, func(r *http.Request) { r.Header.Del(receiver.Header) }, "no signature"},
		{"for another host", receiver.SignOptions{URL: "https://evil.example/hook"}, func(*http.Request) {}, "url mismatch"},
		{"for another path", receiver.SignOptions{URL: publicURL + "/other"}, func(*http.Request) {}, "url mismatch"},
		{"for another query", receiver.SignOptions{URL: publicURL + "/hook?a=1"}, func(*http.Request) {}, "url mismatch"},
		{"other body", receiver.SignOptions{Body: []byte("other")}, func(*http.Request) {}, "body mismatch"},
		{"expired", receiver.SignOptions{Time: time.Now().Add(-time.Hour)}, func(*http.Request) {}, "signature expired"},
		{"other run", covered, func(r *http.Request) { r.Header.Set("Upstash-Workflow-RunId", "wfr_2") }, "header mismatch"},
		{"made a failure", covered, func(r *http.Request) {
			r.Header.Set("Upstash-Workflow-RunId", "wfr_1")
			r.Header.Set("Upstash-Workflow-Is-Failure", "true")
		}, "header mismatch"},
		{"two signatures", receiver.SignOptions{}, func(r *http.Request) {
			r.Header.Add(receiver.Header, r.Header.Get(receiver.Header))
		}, "malformed signature"},
		{"joined signatures", receiver.SignOptions{}, func(r *http.Request) {
			r.Header.Set(receiver.Header, r.Header.Get(receiver.Header)+", "+r.Header.Get(receiver.Header))
		}, "malformed signature"},
		{"other key", receiver.SignOptions{}, func(r *http.Request) {
			r.Header.Set(receiver.Header, sign(t, otherKey, receiver.SignOptions{URL: publicURL + "/hook", Body: hookBody}))
		}, "bad signature"},
	}
	g := start(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := g.request(t, "/hook", tt.sign, hookBody)
			tt.change(r)
			resp, body := do(t, r)
			calls := g.take()
			if tt.text == "" {
				if resp.StatusCode != 200 || len(calls) != 1 || !bytes.Equal(calls[0].body, hookBody) {
					t.Fatalf("status %d: %s; the upstream saw %+v", resp.StatusCode, body, calls)
				}
				return
			}
			if resp.StatusCode != 401 || body != errorText(tt.text) || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("status %d: %s, want 401: %s", resp.StatusCode, body, tt.text)
			}
			if len(calls) != 0 {
				t.Errorf("the upstream was called: %+v", calls)
			}
		})
	}
}

func TestRequireBinding(t *testing.T) {
	g := start(t, func(o *Options) { o.Receiver.RequireBinding = true })
	if resp, _ := do(t, g.request(t, "/hook", receiver.SignOptions{}, hookBody)); resp.StatusCode != 401 {
		t.Errorf("a token that covers no headers: status %d", resp.StatusCode)
	}
	if resp, _ := do(t, g.request(t, "/hook", receiver.SignOptions{Header: http.Header{}}, hookBody)); resp.StatusCode != 200 {
		t.Errorf("a token that covers them: status %d", resp.StatusCode)
	}
}

// What is forwarded is, byte for byte, what was verified.
func TestT06TargetIsForwardedAsItCame(t *testing.T) {
	g := start(t, nil)
	for _, target := range []string{
		"/", "/?", "/hook?", "/hook?a=1&b=2", "/hook?b=2&a=1", "/hook?a=%zz;x&&=", "/hook?a=?&b=/", "//hook", "//hook//?x",
		"/a//b///", "/a%2Fb", "/a%2fb", "/a%20b", "/a+b?c+d", "/a/./b/../c", "/%7Euser", "/a;b=c,d", "/a{b}|c", "/é", "/%C3%A9", "//a%2fb", "/http://x/",
	} {
		t.Run(target, func(t *testing.T) {
			token := sign(t, currentKey, receiver.SignOptions{URL: publicURL + target, Body: hookBody})
			resp := g.raw(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s", target, receiver.Header, token, len(hookBody), hookBody))
			calls := g.take()
			if resp.StatusCode != 200 || len(calls) != 1 {
				t.Fatalf("status %d, %d calls", resp.StatusCode, len(calls))
			}
			if calls[0].target != target || !bytes.Equal(calls[0].body, hookBody) {
				t.Errorf("the upstream saw %q with body %q", calls[0].target, calls[0].body)
			}
		})
	}
	for _, target := range []string{"*", "http://x/hook", publicURL + "/hook"} {
		token := sign(t, currentKey, receiver.SignOptions{URL: publicURL + "/hook"})
		resp := g.raw(t, fmt.Sprintf("OPTIONS %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\n\r\n", target, receiver.Header, token))
		// net/http answers "OPTIONS *" by itself, and says nothing.
		if calls := g.take(); target != "*" && resp.StatusCode != 400 || len(calls) != 0 {
			t.Errorf("%s: status %d, %d calls", target, resp.StatusCode, len(calls))
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, target := range []string{"/", "/a?b", "//a", "/%2f?", "/{\"x\"}", "/a?b#c", "///"} {
		f.Add(target)
	}
	g := &Guard{opts: Options{Upstream: &url.URL{Scheme: "http", Host: "upstream:3000"}}}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return // the server or the guard refuses it
		}
		out := g.target(&http.Request{URL: u, RequestURI: target})
		if out.Host != "upstream:3000" || out.Scheme != "http" {
			t.Fatalf("%q goes to %s", target, out.Host)
		}
		got := out.RequestURI()
		if strings.HasPrefix(target, "//") {
			if unescaped, err := url.ParseRequestURI(got); err != nil || unescaped.Path != u.Path || unescaped.RawQuery != u.RawQuery {
				t.Fatalf("%q is sent as %q", target, got)
			}
			return
		}
		if got != target {
			t.Fatalf("%q is sent as %q", target, got)
		}
	})
}

// Headers that the signature does not cover do not pass for those it does, nor
// for what the guard says, nor for another address.
func TestT14UncoveredHeadersDoNotMislead(t *testing.T) {
	g := start(t, nil)
	control := http.Header{"Upstash-Workflow-Runid": {"wfr_1"}, "Upstash-Message-Id": {"msg_1"}}
	token := sign(t, currentKey, receiver.SignOptions{URL: publicURL + "/hook", Body: hookBody, Header: control, Kind: receiver.KindStep, ID: "jwt_1"})
	resp := g.raw(t, "POST /hook HTTP/1.1\r\nHost: evil.example\r\n"+receiver.Header+": "+token+"\r\n"+
		"Upstash-Workflow-RunId: wfr_1\r\nUpstash-Message-Id: msg_1\r\nX-Own: mine\r\n"+
		"Connection: Upgrade, Upstash-Workflow-RunId\r\nUpgrade: websocket\r\nTE: trailers\r\nExpect: 100-continue\r\n"+
		"Signpost-Verified: failure\r\nsignpost_verified: failure\r\nSignpost.Token-Id: x\r\n"+
		"Upstash_Workflow_Is_Failure: true\r\nUpstash.Workflow-Is-Failure: true\r\n"+
		"X-Original-URL: /admin\r\nX-Rewrite-Url: /admin\r\nX-Forwarded-Uri: /admin\r\nX-Forwarded-For: 1.2.3.4\r\nX_Forwarded_Host: evil.example\r\n"+
		"X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: gopher\r\nForwarded: host=evil.example\r\n"+
		"Transfer-Encoding: chunked\r\nTrailer: Upstash-Late\r\n\r\n"+
		fmt.Sprintf("%x\r\n%s\r\n0\r\nUpstash-Late: 1\r\n\r\n", len(hookBody), hookBody))
	calls := g.take()
	if len(calls) != 1 {
		t.Fatalf("status %d, %d calls; log:\n%s", resp.StatusCode, len(calls), g.log)
	}
	want := http.Header{
		receiver.Header: {token}, "Upstash-Workflow-Runid": {"wfr_1"}, "Upstash-Message-Id": {"msg_1"}, "X-Own": {"mine"},
		"Signpost-Verified": {"step"}, "Signpost-Token-Id": {"jwt_1"},
		"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"app.example.com"}, "X-Forwarded-Proto": {"https"},
		"Content-Length": {fmt.Sprint(len(hookBody))},
	}
	got := calls[0].header
	for name := range got {
		if want[name] == nil {
			t.Errorf("%s: %q reached the upstream", name, got[name])
		}
	}
	for name, values := range want {
		if strings.Join(got[name], "|") != strings.Join(values, "|") {
			t.Errorf("%s is %q, want %q", name, got[name], values)
		}
	}
	if calls[0].host != "app.example.com" {
		t.Errorf("host is %s", calls[0].host)
	}
}

// Without a public URL the address is that of the request; X-Forwarded-* say so
// only if a trusted proxy has set them.
func TestT07ForwardedHeaders(t *testing.T) {
	behindProxy := func(r *http.Request) {
		r.Host = "10.0.0.7"
		r.Header.Set("X-Forwarded-Host", "app.example.com")
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
	}
	tests := []struct {
		name    string
		proxies string
		change  func(*http.Request)
		status  int
		chain   string // X-Forwarded-For at the upstream
	}{
		{"trusted", "127.0.0.0/8", behindProxy, 200, "203.0.113.9, 127.0.0.1"},
		{"not trusted", "10.0.0.0/8", behindProxy, 401, ""},
		{"two hosts", "127.0.0.0/8", func(r *http.Request) {
			behindProxy(r)
			r.Header.Add("X-Forwarded-Host", "evil.example")
		}, 401, ""},
		{"no proxy, other scheme", "10.0.0.0/8", func(r *http.Request) { r.Host = "app.example.com" }, 401, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, func(o *Options) {
				o.Receiver.BaseURL, o.Receiver.TrustedProxies = "", prefixes(tt.proxies)
			})
			r := g.request(t, "/hook", receiver.SignOptions{}, hookBody)
			tt.change(r)
			resp, _ := do(t, r)
			calls := g.take()
			if resp.StatusCode != tt.status || (len(calls) == 1) != (tt.status == 200) {
				t.Fatalf("status %d, %d calls; log:\n%s", resp.StatusCode, len(calls), g.log)
			}
			if tt.status != 200 {
				return
			}
			h := calls[0].header
			if got := h.Get("X-Forwarded-For"); got != tt.chain {
				t.Errorf("X-Forwarded-For is %q, want %q", got, tt.chain)
			}
			if calls[0].host != "app.example.com" || h.Get("X-Forwarded-Proto") != "https" || h.Get("X-Forwarded-Host") != "app.example.com" {
				t.Errorf("the upstream saw %+v", calls[0])
			}
		})
	}
}

func TestUpstreamHost(t *testing.T) {
	g := start(t, func(o *Options) { o.UpstreamHost = "internal.example" })
	do(t, g.request(t, "/hook", receiver.SignOptions{}, hookBody))
	if calls := g.take(); len(calls) != 1 || calls[0].host != "internal.example" || calls[0].header.Get("X-Forwarded-Host") != "app.example.com" {
		t.Errorf("the upstream saw %+v", calls)
	}
}

func TestMaxBody(t *testing.T) {
	g := start(t, func(o *Options) { o.Receiver.MaxBodyBytes = 8 })
	for size, status := range map[int]int{8: 200, 9: 413} {
		body := bytes.Repeat([]byte("x"), size)
		for _, chunked := range []bool{false, true} {
			r := g.request(t, "/hook", receiver.SignOptions{}, body)
			if chunked {
				r.ContentLength = -1
			}
			resp, text := do(t, r)
			if calls := g.take(); resp.StatusCode != status || (len(calls) == 1) != (status == 200) {
				t.Errorf("%d bytes, chunked %v: status %d %s, %d calls", size, chunked, resp.StatusCode, text, len(calls))
			}
		}
	}
}

func TestUnsignedPaths(t *testing.T) {
	g := start(t, func(o *Options) { o.AllowUnsigned = []string{"/healthz"} })
	tests := []struct {
		method, target string
		status         int
	}{
		{"GET", "/healthz", 200}, {"HEAD", "/healthz", 200}, {"GET", "/healthz?full", 200},
		{"POST", "/healthz", 401}, {"GET", "/healthz/", 401}, {"GET", "//healthz", 401}, {"GET", "/Healthz", 401}, {"GET", "/%68ealthz", 401},
		{"GET", "/healthz/../hook", 401}, {"GET", "/x/../healthz", 401}, {"GET", "/hook?/healthz", 401},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			resp := g.raw(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nUpstash-Message-Id: msg_1\r\nSignpost-Verified: step\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", tt.method, tt.target))
			calls := g.take()
			if resp.StatusCode != tt.status || (len(calls) == 1) != (tt.status == 200) {
				t.Fatalf("status %d, %d calls", resp.StatusCode, len(calls))
			}
			if tt.status == 200 && (len(calls[0].body) > 0 || calls[0].header.Get("Upstash-Message-Id") != "" || calls[0].header.Get(VerifiedHeader) != "") {
				t.Errorf("the upstream got more than a question: %+v", calls[0])
			}
		})
	}
	r := g.request(t, "/healthz", receiver.SignOptions{URL: publicURL + "/other"}, nil)
	r.Method = "GET"
	if resp, _ := do(t, r); resp.StatusCode != 401 {
		t.Errorf("a bad signature on an unsigned path: status %d", resp.StatusCode)
	}
}

// Answers pass as they are, and while they are made.
func TestAnswerIsStreamed(t *testing.T) {
	g := start(t, nil)
	goOn := make(chan struct{})
	g.answer = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Upstream", "yes")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "first ")
		w.(http.Flusher).Flush()
		<-goOn
		io.WriteString(w, "second")
	}
	resp, err := http.DefaultClient.Do(g.request(t, "/hook", receiver.SignOptions{}, hookBody))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 6)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first " {
		t.Fatalf("%q, %v", first, err)
	}
	close(goOn)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(rest) != "second" || resp.StatusCode != http.StatusTeapot || resp.Header.Get("X-Upstream") != "yes" {
		t.Errorf("status %d, header %v, %q, %v", resp.StatusCode, resp.Header, rest, err)
	}
}

func TestUpstreamFails(t *testing.T) {
	g := start(t, func(o *Options) { o.UpstreamTimeout = 50 * time.Millisecond })
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	g.answer = func(http.ResponseWriter, *http.Request) { <-end }
	resp, body := do(t, g.request(t, "/hook", receiver.SignOptions{}, hookBody))
	if resp.StatusCode != http.StatusGatewayTimeout || body != errorText("upstream does not answer in time") {
		t.Errorf("slow: status %d: %s", resp.StatusCode, body)
	}

	g = start(t, nil)
	g.upstream.Close()
	resp, body = do(t, g.request(t, "/hook", receiver.SignOptions{}, hookBody))
	if resp.StatusCode != http.StatusBadGateway || body != errorText("upstream does not answer") {
		t.Errorf("down: status %d: %s", resp.StatusCode, body)
	}
	if !strings.Contains(g.log.String(), "upstream failed") {
		t.Errorf("nothing in the log:\n%s", g.log)
	}
}

// The time that a listener gives a caller to send a request does not end the
// upstream's time to answer it.
func TestSlowAnswerOutlivesReadTimeout(t *testing.T) {
	g := start(t, nil)
	g.answer = func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(1500 * time.Millisecond):
			w.WriteHeader(http.StatusAccepted)
		case <-r.Context().Done():
		}
	}
	front := httptest.NewUnstartedServer(g.guard)
	front.Config.ReadTimeout = time.Second
	front.Start()
	defer front.Close()
	g.front = front
	if resp, body := do(t, g.request(t, "/hook", receiver.SignOptions{}, hookBody)); resp.StatusCode != http.StatusAccepted {
		t.Errorf("status %d: %s", resp.StatusCode, body)
	}
}

// A probe asks for the keys; the guard answers it, the upstream hears nothing.
func TestProbe(t *testing.T) {
	g := start(t, nil)
	resp, _ := do(t, g.request(t, "/hook", receiver.SignOptions{Kind: receiver.KindProbe}, nil))
	want := "verified=" + receiver.KeyID(currentKey) + "; current=" + receiver.KeyID(currentKey) + "; next=" + receiver.KeyID(nextKey)
	if got := resp.Header.Get(receiver.KeysHeader); resp.StatusCode != 204 || got != want || len(g.take()) != 0 {
		t.Errorf("status %d, %s: %q, want %q", resp.StatusCode, receiver.KeysHeader, got, want)
	}
	for kind, want := range map[receiver.Kind]string{receiver.KindMessage: want, "": ""} {
		resp, _ = do(t, g.request(t, "/hook", receiver.SignOptions{Kind: kind}, hookBody))
		if got := resp.Header.Get(receiver.KeysHeader); resp.StatusCode != 200 || got != want {
			t.Errorf("%q: status %d, %s: %q, want %q", kind, resp.StatusCode, receiver.KeysHeader, got, want)
		}
	}
}
