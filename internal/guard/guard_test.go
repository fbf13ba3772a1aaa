package guard

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost/receiver"
)

const (
	publicURL  = "https://app.example.com"
	currentKey = "sig_current_key_of_the_guard"
	nextKey    = "sig_next_key_of_the_guard_00"
	otherKey   = "sig_key_of_somebody_else_000"
)

var hookBody = []byte(`{"hello":"world"}`)

// seen is what an upstream was asked.
type seen struct {
	method, target, host string
	header               http.Header
	body                 []byte
}

// upstream is a plain endpoint that records what reaches it.
type upstream struct {
	*httptest.Server
	mu     sync.Mutex
	all    []seen
	answer http.HandlerFunc // default: 200
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("upstream: %v", err)
		}
		u.mu.Lock()
		u.all = append(u.all, seen{r.Method, r.RequestURI, r.Host, r.Header, body})
		answer := u.answer
		u.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(u.Close)
	return u
}

// take returns what was seen since the last call.
func (u *upstream) take() []seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := u.all
	u.all = nil
	return all
}

// guarded is an upstream behind a listening guard.
type guarded struct {
	*upstream
	guard *Guard
	front *httptest.Server
	log   *safeBuffer
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func start(t *testing.T, change func(*Options)) *guarded {
	t.Helper()
	g := &guarded{upstream: newUpstream(t), log: &safeBuffer{}}
	to, err := url.Parse(g.upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Upstream: to,
		Receiver: receiver.Options{CurrentSigningKey: currentKey, NextSigningKey: nextKey, BaseURL: publicURL},
		Logger:   slog.New(slog.NewTextHandler(g.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	if g.guard, err = New(o); err != nil {
		t.Fatal(err)
	}
	g.front = httptest.NewServer(g.guard)
	t.Cleanup(g.front.Close)
	return g
}

// request makes a signed request to the guard for a target.
func (g *guarded) request(t *testing.T, target string, o receiver.SignOptions, body []byte) *http.Request {
	t.Helper()
	r, err := http.NewRequest("POST", g.front.URL+target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if o.URL == "" {
		o.URL = publicURL + target
	}
	if o.Body == nil {
		o.Body = body
	}
	r.Header.Set(receiver.Header, sign(t, currentKey, o))
	return r
}

func sign(t *testing.T, key string, o receiver.SignOptions) string {
	t.Helper()
	token, err := receiver.Sign(key, o)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// do sends a request and returns status and body of the answer.
func do(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// raw sends bytes that no client of net/http would.
func (g *guarded) raw(t *testing.T, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", g.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	for err == nil && resp.StatusCode == http.StatusContinue {
		resp, err = http.ReadResponse(reader, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

func TestNew(t *testing.T) {
	good := receiver.Options{CurrentSigningKey: currentKey}
	tests := []struct {
		name string
		o    Options
		text string
	}{
		{"nothing to do", Options{Receiver: good}, "neither an upstream nor forward auth"},
		{"no key", Options{Auth: true}, "no current signing key"},
		{"short next key", Options{Auth: true, Receiver: receiver.Options{CurrentSigningKey: currentKey, NextSigningKey: "short"}}, "next signing key"},
		{"bad public URL", Options{Auth: true, Receiver: receiver.Options{CurrentSigningKey: currentKey, BaseURL: "example.com"}}, "base URL"},
		{"unsigned path without slash", Options{Auth: true, Receiver: good, AllowUnsigned: []string{"healthz"}}, "like /healthz"},
		{"unsigned path with query", Options{Auth: true, Receiver: good, AllowUnsigned: []string{"/healthz?a"}}, "like /healthz"},
		{"upstream with path", Options{Receiver: good, Upstream: &url.URL{Scheme: "http", Host: "a", Path: "/x"}}, "without path"},
		{"upstream without host", Options{Receiver: good, Upstream: &url.URL{Scheme: "http"}}, "expected an upstream"},
		{"upstream of another scheme", Options{Receiver: good, Upstream: &url.URL{Scheme: "ftp", Host: "a"}}, "expected an upstream"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(tt.o); err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want %q", err, tt.text)
			}
		})
	}
	if _, err := New(Options{Auth: true}); !errors.Is(err, receiver.ErrNoKey) {
		t.Errorf("error is %v", err)
	}
}

// Keys change without a restart; bad ones change nothing.
func TestSetKeys(t *testing.T) {
	g := start(t, nil)
	status := func(key string) int {
		r := g.request(t, "/hook", receiver.SignOptions{}, hookBody)
		r.Header.Set(receiver.Header, sign(t, key, receiver.SignOptions{URL: publicURL + "/hook", Body: hookBody}))
		resp, _ := do(t, r)
		return resp.StatusCode
	}
	check := func(want map[string]int) {
		t.Helper()
		for key, code := range want {
			if got := status(key); got != code {
				t.Errorf("%s: status %d, want %d", key, got, code)
			}
		}
	}
	check(map[string]int{currentKey: 200, nextKey: 200, otherKey: 401})
	for _, bad := range []string{"", "short", "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"} {
		if err := g.guard.SetKeys(bad, otherKey); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	check(map[string]int{currentKey: 200, nextKey: 200, otherKey: 401})
	if err := g.guard.SetKeys(nextKey, otherKey); err != nil {
		t.Fatal(err)
	}
	check(map[string]int{currentKey: 401, nextKey: 200, otherKey: 200})
}

// With public keys a shared one opens nothing.
func TestPublicKeys(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := receiver.NewEd25519Signer(private.Seed())
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, func(o *Options) {
		o.Receiver.CurrentSigningKey, o.Receiver.NextSigningKey, o.Receiver.PublicKeys = "", "", []ed25519.PublicKey{public}
		o.AllowUnsigned = []string{"/healthz"}
	})
	r := g.request(t, "/hook", receiver.SignOptions{}, hookBody)
	if resp, _ := do(t, r); resp.StatusCode != 401 {
		t.Errorf("a shared key: status %d", resp.StatusCode)
	}
	token, err := signer.Sign(receiver.SignOptions{URL: publicURL + "/hook", Body: hookBody})
	if err != nil {
		t.Fatal(err)
	}
	for target, status := range map[string]int{"/hook": 200, "/other": 401, "/healthz": 401} {
		r := g.request(t, target, receiver.SignOptions{}, hookBody)
		if target == "/healthz" {
			r.Method, r.Body, r.ContentLength = "GET", nil, 0
		}
		r.Header.Del(receiver.Header)
		r.Header.Set(receiver.Ed25519Header, token)
		if resp, _ := do(t, r); resp.StatusCode != status {
			t.Errorf("%s: status %d, want %d", target, resp.StatusCode, status)
		}
	}
}

// Refusals are logged with a reason; what a query or a signature holds is not.
func TestT17LogsHoldNoSecrets(t *testing.T) {
	g := start(t, func(o *Options) { o.Auth = true })
	r := g.request(t, "/hook?token=canary-query", receiver.SignOptions{URL: publicURL + "/other?token=canary-query"}, hookBody)
	signature := r.Header.Get(receiver.Header)
	do(t, r)
	r = g.request(t, "/auth?secret=canary-query", receiver.SignOptions{}, nil)
	r.Header.Set("X-Original-URI", "/hook?token=canary-query")
	do(t, r)
	r, err := http.NewRequest("GET", g.front.URL+"/"+strings.Repeat("x", 5000), nil)
	if err != nil {
		t.Fatal(err)
	}
	do(t, r)
	log := g.log.String()
	for _, want := range []string{"msg=refused", "path=/hook", "method=POST", "peer=127.0.0.1:", "url mismatch"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	for _, part := range append(strings.Split(signature, "."), "canary-query", currentKey, strings.Repeat("x", 300)) {
		if strings.Contains(log, part) {
			t.Errorf("the log holds %q:\n%s", part, log)
		}
	}
}

func prefixes(cidrs ...string) (all []netip.Prefix) {
	for _, c := range cidrs {
		all = append(all, netip.MustParsePrefix(c))
	}
	return all
}

func errorText(text string) string { return fmt.Sprintf("{\"error\":%q}\n", text) }
