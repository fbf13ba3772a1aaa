package signpost_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { os.Exit(code) }))
}

// start starts a server on a free port and stops it with the test.
func start(t *testing.T, s *signpost.Server) *signpost.Server {
	t.Helper()
	if s.Addr == "" {
		s.Addr = "127.0.0.1:0"
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s, time.Second) })
	return s
}

func stop(t *testing.T, s *signpost.Server, grace time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func clientOf(t *testing.T, s *signpost.Server, token string) *client.Client {
	t.Helper()
	c := client.New(client.Options{URL: s.URL(), Token: token, NetworkRetries: -1})
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func dev(t *testing.T, dir string) (*signpost.Server, *client.Client) {
	t.Helper()
	s := start(t, &signpost.Server{Data: dir, Dev: true})
	return s, clientOf(t, s, signpost.DevUsers[0].Token)
}

// until polls for what is to become true.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting until %s", what)
		}
		<-time.After(3 * time.Millisecond)
	}
}

func states(t *testing.T, c *client.Client, id string) (out []client.EventState) {
	t.Helper()
	page, err := c.Events(t.Context(), client.EventsRequest{MessageIDs: []string{id}, Order: client.OldestFirst})
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range page.Events {
		out = append(out, ev.State)
	}
	return out
}

func await(t *testing.T, c *client.Client, id string, state client.EventState) {
	t.Helper()
	until(t, id+" is "+string(state), func() bool { return slices.Contains(states(t, c, id), state) })
}

func publish(t *testing.T, c *client.Client, r client.PublishRequest) string {
	t.Helper()
	p, err := c.Publish(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return p.MessageID
}

// The first start of a data directory makes a tenant, and tells its
// credentials once. On disk there is no token.
func TestFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	s := start(t, &signpost.Server{Data: dir})
	cr := s.NewTenant
	if cr == nil {
		t.Fatal("no credentials")
	}
	text, err := base64.StdEncoding.DecodeString(cr.Token)
	var token struct{ UserID, Password string }
	if err != nil || json.Unmarshal(text, &token) != nil || token.UserID != cr.UserID || len(token.Password) < 22 {
		t.Errorf("token %q of %q", text, cr.UserID)
	}
	for _, key := range []string{cr.CurrentSigningKey, cr.NextSigningKey} {
		if !strings.HasPrefix(key, "sig_") || len(key) != 32 {
			t.Errorf("key %q", key)
		}
	}
	keys, err := clientOf(t, s, cr.Token).Keys(t.Context())
	if err != nil || keys.Current != cr.CurrentSigningKey || keys.Next != cr.NextSigningKey || keys.Current == keys.Next {
		t.Errorf("keys %+v, %v", keys, err)
	}
	for _, user := range signpost.DevUsers {
		if _, err := clientOf(t, s, user.Token).Keys(t.Context()); !errors.Is(err, client.ErrUnauthorized) {
			t.Errorf("the well-known token of %s: %v", user.UserID, err)
		}
	}
	stop(t, s, time.Second)

	again := start(t, &signpost.Server{Data: dir})
	if again.NewTenant != nil {
		t.Error("a second tenant")
	}
	if _, err := clientOf(t, again, cr.Token).Keys(t.Context()); err != nil {
		t.Error(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(cr.Token)) || bytes.Contains(content, []byte(token.Password)) {
			t.Errorf("%s holds the token", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A development server does not put its users among those of a production one.
func TestDevLeavesOtherDataAlone(t *testing.T) {
	dir := t.TempDir()
	stop(t, start(t, &signpost.Server{Addr: "127.0.0.1:0", Data: dir}), time.Second)
	err := (&signpost.Server{Addr: "127.0.0.1:0", Data: dir, Dev: true}).Start(t.Context())
	if !errors.Is(err, signpost.ErrNotDevData) || !strings.Contains(err.Error(), dir) {
		t.Errorf("started with %v", err)
	}
	again := start(t, &signpost.Server{Addr: "127.0.0.1:0", Data: dir})
	r, err := http.NewRequest("GET", again.URL()+"/v2/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+signpost.DevUsers[0].Token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the development token is answered %d", resp.StatusCode)
	}
	stop(t, again, time.Second)
}

// What everybody knows opens nothing that strangers can reach.
func TestDevCredentialsStayLocal(t *testing.T) {
	dir := t.TempDir()
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.com:0", "nonsense"} {
		s := &signpost.Server{Addr: addr, Dev: true, Data: filepath.Join(dir, "dev")}
		if err := s.Start(t.Context()); err == nil {
			stop(t, s, time.Second)
			t.Errorf("a development server listens on %s", addr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "dev")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a server that was refused left data: %v", err)
	}
	s, _ := dev(t, dir)
	stop(t, s, time.Second)
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
		err := (&signpost.Server{Addr: addr, Data: dir}).Start(t.Context())
		if !errors.Is(err, signpost.ErrDevCredentials) || !strings.Contains(err.Error(), dir) {
			t.Errorf("development data on %s: %v", addr, err)
		}
	}
	local := start(t, &signpost.Server{Data: dir}) // also: the refused ones let go of the data
	if local.NewTenant != nil {
		t.Error("a tenant was made beside those that are there")
	}
	for header, want := range map[string]int{"": 200, "X-Forwarded-For": 403, "Forwarded": 403, "Host": 403} {
		r, err := http.NewRequest("GET", local.URL()+"/v2/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+signpost.DevUsers[0].Token)
		if header == "Host" {
			r.Host = "app.example"
		} else if header != "" {
			r.Header.Set(header, "192.0.2.1")
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("development token with %q: status %d, want %d", header, resp.StatusCode, want)
		}
	}
}

// A development server is for programs: no web page uses it, under whatever
// name it reaches it.
func TestT20WebPagesAreRefused(t *testing.T) {
	s, _ := dev(t, signpost.Memory)
	production := start(t, &signpost.Server{Data: signpost.Memory, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.URL(), "http://"))
	for i, test := range []struct {
		host   string
		header []string
		dev    int
		other  int
	}{
		{"127.0.0.1:" + port, nil, 200, 401},
		{"localhost:" + port, nil, 200, 401},
		{"localhost", nil, 200, 401},
		{"localhost.:" + port, nil, 200, 401},
		{"LocalHost.", nil, 200, 401},
		{"[::1]:" + port, nil, 200, 401},
		{"[::1]", nil, 200, 401},
		{"[::ffff:127.0.0.1]", nil, 200, 401},
		{"127.0.0.1", nil, 200, 401},
		{"", nil, 403, 401},
		{"0.0.0.0:" + port, nil, 403, 401}, // some systems take it for this machine
		{"[::]:" + port, nil, 403, 401},
		{"127.0.0.1.", nil, 403, 401},
		{"127.0.0.1.evil.example", nil, 403, 401},
		{"evil.example", nil, 403, 401},
		{"[evil.example]", nil, 403, 401},
		{"2130706433", nil, 403, 401},
		{"127.0.0.2:" + port, nil, 200, 401},
		{"evil.example:" + port, nil, 403, 401},
		{"localhost.evil.example", nil, 403, 401},
		{"192.0.2.1:" + port, nil, 403, 401},
		{"127.0.0.1:" + port, []string{"Sec-Fetch-Site: cross-site"}, 403, 401},
		{"127.0.0.1:" + port, []string{"Sec-Fetch-Site: same-site"}, 403, 401},
		{"127.0.0.1:" + port, []string{"Origin: https://evil.example"}, 403, 401},
		{"127.0.0.1:" + port, []string{"Origin: null"}, 403, 401},
		{"127.0.0.1:" + port, []string{"Sec-Fetch-Site: same-origin"}, 200, 401},
		{"127.0.0.1:" + port, []string{"Origin: http://127.0.0.1:" + port}, 200, 401},
	} {
		for server, want := range map[*signpost.Server]int{s: test.dev, production: test.other} {
			request := fmt.Sprintf("POST /v2/publish/https://localhost:1/ HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nUpstash-Delay: 1h\r\nContent-Length: 0\r\nX-Forwarded-For: 192.0.2.%d\r\n%s\r\n",
				test.host, signpost.DevUsers[0].Token, i, strings.Join(append(test.header, ""), "\r\n"))
			if got := exchange(t, server, request); got != want {
				t.Errorf("%s %v: %d, want %d", test.host, test.header, got, want)
			}
		}
	}
}

// No page of another origin is told that it may read an answer.
func TestT20NoCrossOriginAnswers(t *testing.T) {
	for _, s := range []*signpost.Server{{Data: signpost.Memory}, {Data: signpost.Memory, Dev: true}} {
		start(t, s)
		for _, method := range []string{"OPTIONS", "GET", "HEAD", "POST"} {
			for _, path := range []string{"/v2/keys", "/v2/liveness", "/v2/publish/https://example.com", "/nothing", "*"} {
				conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: Authorization\r\nConnection: close\r\n\r\n", method, path)
				resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
				if err != nil {
					t.Fatal(err)
				}
				conn.Close()
				if method == "OPTIONS" && resp.StatusCode < 400 {
					t.Errorf("OPTIONS %s: %d", path, resp.StatusCode)
				}
				for name := range resp.Header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s %s: %s", method, path, name)
					}
				}
				for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"} {
					if got := resp.Header.Get(name); got != want {
						t.Errorf("%s %s: %s is %q", method, path, name, got)
					}
				}
			}
		}
	}
}

// exchange sends a request as it is and returns the status of the answer,
// which is JSON.
func exchange(t *testing.T, s *signpost.Server, request string) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, request)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("answer of %s: %v", resp.Header.Get("Content-Type"), err)
	}
	return resp.StatusCode
}

// What ends serving by itself is told; to be closed is no error.
func TestErrAfterClose(t *testing.T) {
	s := start(t, &signpost.Server{Data: signpost.Memory})
	select {
	case err := <-s.Err():
		t.Fatalf("of a server that runs: %v", err)
	default:
	}
	stop(t, s, time.Second)
	if err, ok := <-s.Err(); ok {
		t.Errorf("of a server that was closed: %v", err)
	}
}

// gate is an endpoint whose answers wait.
type gate struct {
	*httptest.Server
	reached chan string // message id and attempt of each request
	release chan int    // the status of each answer
}

func newGate(t *testing.T) *gate {
	g := &gate{reached: make(chan string, 16), release: make(chan int)}
	over := make(chan struct{})
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.reached <- r.Header.Get("Upstash-Message-Id") + " " + r.Header.Get("Upstash-Retried")
		select {
		case status := <-g.release:
			w.WriteHeader(status)
		case <-r.Context().Done(): // cut off
		case <-over:
		}
	}))
	t.Cleanup(func() { close(over); g.Server.Close() })
	return g
}

func receive[T any](t *testing.T, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(15 * time.Second):
		t.Fatalf("gave up waiting for %s", what)
	}
	return v
}

// While a server closes it accepts nothing new, but what is under way may
// end: attempts are answered, and a run's endpoint may report its step.
func TestCloseLetsWorkEnd(t *testing.T) {
	dir := t.TempDir()
	s, c := dev(t, dir)
	g := newGate(t)
	var steps atomic.Int32
	next := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { steps.Add(1) }))
	defer next.Close()
	id := publish(t, c, client.PublishRequest{URL: g.URL})
	receive(t, g.reached, "the attempt")
	trigger := http.Header{"Upstash-Workflow-Init": {"true"}, "Upstash-Workflow-Runid": {"run"}, "Upstash-Delay": {"1h"}}
	if _, err := c.PublishItem(t.Context(), client.BatchItem{Destination: next.URL, Header: trigger}); err != nil {
		t.Fatal(err)
	}

	closed := make(chan struct{})
	go func() { stop(t, s, 15*time.Second); close(closed) }()
	until(t, "the server drains", func() bool { return exchange(t, s, "GET /v2/readiness HTTP/1.1\r\nHost: localhost\r\n\r\n") == 503 })
	if got := exchange(t, s, "GET /v2/liveness HTTP/1.1\r\nHost: localhost\r\n\r\n"); got != 200 {
		t.Errorf("liveness %d", got)
	}
	refused := func(what string, err error) {
		t.Helper()
		if e := new(client.Error); !errors.As(err, &e) || e.Status != 503 {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := c.Publish(t.Context(), client.PublishRequest{URL: next.URL})
	refused("publish", err)
	_, err = c.PublishItem(t.Context(), client.BatchItem{Destination: next.URL, Header: http.Header{"Upstash-Workflow-Init": {"true"}}})
	refused("trigger", err)
	step := client.BatchItem{
		Destination: next.URL, Body: []byte(`{"stepId":1,"stepName":"s","stepType":"Run","concurrent":1}`),
		Header: http.Header{"Upstash-Workflow-Init": {"false"}, "Upstash-Workflow-Runid": {"run"}},
	}
	p, err := c.PublishItem(t.Context(), step)
	if err != nil {
		t.Errorf("a step of an active run: %v", err)
	}
	select {
	case <-closed:
		t.Fatal("closed with an attempt under way")
	default:
	}
	g.release <- 200
	receive(t, closed, "the server to close")
	if conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://")); err == nil {
		conn.Close()
		t.Error("a closed server takes connections")
	}

	_, c = dev(t, dir)
	if got := states(t, c, id); !slices.Equal(got, []client.EventState{"CREATED", "ACTIVE", "DELIVERED"}) {
		t.Errorf("events %v", got)
	}
	await(t, c, p.MessageID, client.EventDelivered)
	if steps.Load() != 1 {
		t.Errorf("%d steps delivered", steps.Load())
	}
}

// What is cut off is delivered again after the next start, as if for the
// first time.
func TestCloseCutsOff(t *testing.T) {
	dir := t.TempDir()
	s, c := dev(t, dir)
	g := newGate(t)
	id := publish(t, c, client.PublishRequest{URL: g.URL, Retries: new(int)})
	first := receive(t, g.reached, "the attempt")
	stop(t, s, 10*time.Millisecond)
	_, c = dev(t, dir)
	if again := receive(t, g.reached, "the attempt"); again != first || first != id+" 0" {
		t.Errorf("delivered as %q, then as %q", first, again)
	}
	g.release <- 200
	await(t, c, id, client.EventDelivered)
	if got := states(t, c, id); !slices.Equal(got, []client.EventState{"CREATED", "ACTIVE", "DELIVERED"}) {
		t.Errorf("events %v", got)
	}
}

// A start that fails lets go of everything, and says why.
func TestStartFails(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := (&signpost.Server{Addr: taken.Addr().String(), Data: dir}).Start(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("on a port that is taken: %v", err)
	}
	s := start(t, &signpost.Server{Data: dir})
	if err := (&signpost.Server{Addr: "127.0.0.1:0", Data: dir}).Start(t.Context()); err == nil {
		t.Error("two servers on one directory")
	}
	stop(t, s, time.Second)
	start(t, &signpost.Server{Data: dir})

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&signpost.Server{Addr: "127.0.0.1:0", Data: file}).Start(t.Context()); err == nil {
		t.Error("a file for a directory")
	}
	for _, s := range []*signpost.Server{{MissedTicks: "all"}, {MissedAfter: -time.Second}} {
		s.Addr, s.Data = "127.0.0.1:0", signpost.Memory
		if err := s.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "missed ticks") {
			t.Errorf("missed ticks %q after %v: %v", s.MissedTicks, s.MissedAfter, err)
		}
	}
}

// Memory leaves nothing behind.
func TestMemory(t *testing.T) {
	t.Chdir(t.TempDir())
	s, c := dev(t, signpost.Memory)
	publish(t, c, client.PublishRequest{URL: "https://localhost:1/", Delay: time.Hour})
	stop(t, s, time.Second)
	_, c = dev(t, signpost.Memory)
	if page, err := c.Events(t.Context(), client.EventsRequest{}); err != nil || len(page.Events) != 0 {
		t.Errorf("%+v, %v", page, err)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// In production private destinations are refused when they are dialled, but
// for those that the operator allows; loopback always. In development only what
// is never a destination is. A refusal is a failed attempt like any other.
func TestT09PrivateDestinations(t *testing.T) {
	var hits atomic.Int32
	local := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer local.Close()
	const metadata = "http://169.254.169.254/latest/meta-data/"
	own := []string{local.URL, strings.Replace(local.URL, "127.0.0.1", "localhost", 1), metadata}
	for name, test := range map[string]struct {
		server  *signpost.Server
		refused []string
	}{
		"no setting":  {&signpost.Server{}, own},
		"allowed":     {&signpost.Server{AllowDestinations: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}, own},
		"development": {&signpost.Server{Dev: true}, []string{metadata, "http://0.0.0.0:1/", "http://[::]:1/", "http://224.0.0.1/"}},
	} {
		test.server.Data = signpost.Memory
		s := start(t, test.server)
		token := signpost.DevUsers[0].Token
		if !s.Dev {
			token = s.NewTenant.Token
		}
		c := clientOf(t, s, token)
		for _, url := range test.refused {
			id := publish(t, c, client.PublishRequest{URL: url, Retries: new(1), RetryDelay: "1"})
			await(t, c, id, client.EventFailed)
			page, err := c.Events(t.Context(), client.EventsRequest{MessageIDs: []string{id}})
			if err != nil || len(page.Events) != 7 || !strings.Contains(page.Events[0].Error, "never a destination") {
				t.Errorf("%s, %s: %+v, %v", name, url, page.Events, err)
			}
		}
	}
	if hits.Load() != 0 {
		t.Errorf("%d requests", hits.Load())
	}
}

// A setting that would open nothing does not look as if it did.
func TestAllowDestinationsOfNoUse(t *testing.T) {
	s := &signpost.Server{Addr: "127.0.0.1:0", Data: filepath.Join(t.TempDir(), "data"), AllowDestinations: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	err := s.Start(t.Context())
	if !errors.Is(err, signpost.ErrNeverDestination) || !strings.Contains(err.Error(), "127.0.0.0/8") {
		t.Error(err)
	}
	if _, err := os.Stat(s.Data); err == nil {
		t.Error("it left data")
	}
}

// The limit of a message's body is the operator's.
func TestMaxMessageBytes(t *testing.T) {
	s := start(t, &signpost.Server{Data: signpost.Memory, Dev: true, MaxMessageBytes: 10})
	c := clientOf(t, s, signpost.DevUsers[0].Token)
	if _, err := c.Publish(t.Context(), client.PublishRequest{URL: "https://localhost:1/", Body: make([]byte, 11), Delay: time.Hour}); !errors.Is(err, client.ErrTooLarge) {
		t.Error(err)
	}
	publish(t, c, client.PublishRequest{URL: "https://localhost:1/", Body: make([]byte, 10), Delay: time.Hour})
}

// Every development user has the keys that receivers know.
func TestDevUsers(t *testing.T) {
	s, _ := dev(t, signpost.Memory)
	for _, user := range signpost.DevUsers {
		keys, err := clientOf(t, s, user.Token).Keys(t.Context())
		if err != nil || keys.Current != user.CurrentSigningKey || keys.Next != user.NextSigningKey {
			t.Errorf("%s: %+v, %v", user.UserID, keys, err)
		}
		text, err := base64.StdEncoding.DecodeString(user.Token)
		if err != nil || !strings.Contains(string(text), `"UserID":"`+user.UserID+`"`) {
			t.Errorf("%s: token %s, %v", user.UserID, text, err)
		}
	}
}

func TestURL(t *testing.T) {
	for addr, want := range map[string]string{"127.0.0.1:0": "http://127.0.0.1:", "localhost:0": "http://127.0.0.1:", "[::1]:0": "http://[::1]:", "0.0.0.0:0": "http://127.0.0.1:"} {
		s := &signpost.Server{Addr: addr, Data: signpost.Memory, Logger: slog.New(slog.DiscardHandler)}
		if err := s.Start(t.Context()); err != nil {
			if strings.HasPrefix(addr, "[") {
				t.Logf("no IPv6 here: %v", err)
				continue
			}
			t.Fatal(err)
		}
		if !strings.HasPrefix(s.URL(), want) || strings.HasSuffix(s.URL(), ":0") {
			t.Errorf("listening on %s is %s", addr, s.URL())
		}
		if _, err := clientOf(t, s, s.NewTenant.Token).Keys(t.Context()); err != nil {
			t.Error(err)
		}
		stop(t, s, time.Second)
	}
}
