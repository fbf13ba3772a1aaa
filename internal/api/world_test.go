package api_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/api"
	"github.com/signposthq/signpost/internal/deliver"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/receiver"
)

// world is a server under test, talked to over HTTP only.
type world struct {
	t     *testing.T
	url   string
	token string
	gates []*gate
	store engine.Store // of a limited world
}

// newWorld starts the assembled server on a SQLite database of its own.
func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, &signpost.Server{RateLimit: -1})
}

// newWorldOf starts it with settings of its own.
func newWorldOf(t *testing.T, s *signpost.Server) *world {
	t.Helper()
	s.Addr, s.Data, s.Dev, s.Logger = "127.0.0.1:0", t.TempDir(), true, slog.New(slog.DiscardHandler)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeSoon(t, s.Close) })
	return &world{t: t, url: s.URL(), token: signpost.DevUsers[0].Token}
}

// newLimitedWorld joins the same parts with limits that a test can reach.
func newLimitedWorld(t *testing.T, limits engine.Limits) *world {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := deliver.New(deliver.Options{AllowLocal: true})
	log := slog.New(slog.DiscardHandler)
	e, err := engine.New(t.Context(), engine.Options{Store: s, Deliverer: d, Logger: log, Limits: limits, Keys: d})
	if err != nil {
		t.Fatal(err)
	}
	u := signpost.DevUsers[0]
	_, err = e.EnsureTenant(t.Context(), engine.Credentials{
		UserID: u.UserID, Token: u.Token, CurrentKey: u.CurrentSigningKey, NextKey: u.NextSigningKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	e.Start()
	server := httptest.NewServer(api.New(e, log))
	t.Cleanup(func() {
		closeSoon(t, e.Close)
		server.Close()
		d.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{t: t, url: server.URL, token: u.Token, store: s}
}

func closeSoon(t *testing.T, stop func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := stop(ctx); err != nil {
		t.Error(err)
	}
}

// as is the same server seen by another user.
func (w *world) as(user signpost.Credentials) *world {
	other := *w
	other.token = user.Token
	return &other
}

// in is the same server in a subtest.
func (w *world) in(t *testing.T) *world {
	other := *w
	other.t = t
	return &other
}

// answer is what the API said.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   []byte
}

// do makes a request. The header is given as "Name: value" lines.
func (w *world) do(method, path, body string, header ...string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.URL.Opaque = path // byte for byte
	if w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{w.t, method + " " + path, resp.StatusCode, resp.Header, text}
}

// into checks that an answer is a JSON one of this status, and decodes it.
func (a answer) into(status int, v any) {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d %s, want %d", a.what, a.status, a.body, status)
	}
	if ct := a.header.Get("Content-Type"); ct != "application/json" {
		a.t.Fatalf("%s: Content-Type %q", a.what, ct)
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("%s: %v in %s", a.what, err, a.body)
	}
}

// refused checks that an answer is an error whose message has all of words.
func (a answer) refused(status int, words ...string) {
	a.t.Helper()
	var e struct{ Error string }
	a.into(status, &e)
	if e.Error == "" {
		a.t.Errorf("%s: no message in %s", a.what, a.body)
	}
	for _, word := range words {
		if !strings.Contains(e.Error, word) {
			a.t.Errorf("%s: %q does not say %q", a.what, e.Error, word)
		}
	}
}

func get[T any](w *world, path string) T {
	w.t.Helper()
	var out T
	w.do("GET", path, "").into(200, &out)
	return out
}

// publish returns the id of a new message.
func (w *world) publish(url, body string, header ...string) string {
	w.t.Helper()
	var p client.PublishResponse
	w.do("POST", "/v2/publish/"+url, body, header...).into(200, &p)
	if p.MessageID == "" || p.Deduplicated {
		w.t.Fatalf("publish answered %+v", p)
	}
	return p.MessageID
}

func (w *world) events(query string) []client.Event {
	w.t.Helper()
	return get[client.EventsPage](w, "/v2/events"+query).Events
}

// states are a message's events, oldest first.
func (w *world) states(id string) []client.EventState {
	w.t.Helper()
	var out []client.EventState
	for _, ev := range w.events("?order=earliestFirst&messageId=" + id) {
		out = append(out, ev.State)
	}
	return out
}

// await waits until a message has an event of a state, and returns its events,
// oldest first.
func (w *world) await(id string, state client.EventState) []client.Event {
	w.t.Helper()
	var events []client.Event
	w.until("message "+id+" is "+string(state), func() bool {
		events = w.events("?order=earliestFirst&messageId=" + id)
		return slices.ContainsFunc(events, func(ev client.Event) bool { return ev.State == state })
	})
	return events
}

func (w *world) runs(query string) []client.Run {
	w.t.Helper()
	return get[client.RunsPage](w, "/v2/workflows/logs"+query).Runs
}

// run is the newest run of an id.
func (w *world) run(id string) client.Run {
	w.t.Helper()
	runs := w.runs("?workflowRunId=" + id)
	if len(runs) == 0 {
		w.t.Fatalf("no run %s", id)
	}
	return runs[0]
}

// awaitRun waits until a run is in a state.
func (w *world) awaitRun(id string, state client.RunState) (run client.Run) {
	w.t.Helper()
	w.until("run "+id+" is "+string(state), func() bool {
		run = w.run(id)
		return run.State == state
	})
	return run
}

// awaitFailure waits until the failure callback of a run is in a state.
func (w *world) awaitFailure(id string, state client.CallbackState) (run client.Run) {
	w.t.Helper()
	w.until("the failure callback of "+id+" is "+string(state), func() bool {
		run = w.run(id)
		return run.FailureFunction != nil && run.FailureFunction.State == state
	})
	return run
}

func (w *world) dlq(query string) []client.DLQMessage {
	w.t.Helper()
	return get[client.DLQPage](w, "/v2/dlq"+query).Messages
}

// until polls for what is to become true.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	w.untilWithin(15*time.Second, what, done)
}

func (w *world) untilWithin(most time.Duration, what string, done func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(most)
	for !done() {
		if time.Now().After(deadline) {
			w.t.Fatalf("gave up waiting until %s", what)
		}
		select {
		case <-time.After(3 * time.Millisecond):
		case <-w.t.Context().Done():
			w.t.Fatalf("stopped waiting until %s", what)
		}
	}
}

// delivery is a request that an endpoint received.
type delivery struct {
	method, url string
	header      http.Header
	body        []byte
	claims      receiver.Claims
}

// endpoint is a destination. Every request it gets must bear a valid
// signature for exactly its URL.
type endpoint struct {
	*httptest.Server
	w      *world
	verify *receiver.Receiver
	answer func(http.ResponseWriter, *delivery)

	mu  sync.Mutex
	got []*delivery
}

// endpoint starts a destination; answer may be nil for 200.
func (w *world) endpoint(answer func(http.ResponseWriter, *delivery)) *endpoint {
	w.t.Helper()
	keys := get[client.SigningKeys](w, "/v2/keys")
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: keys.Current, NextSigningKey: keys.Next, Development: true, RequireBinding: true})
	if err != nil {
		w.t.Fatal(err)
	}
	e := &endpoint{w: w, verify: rc, answer: answer}
	e.Server = httptest.NewServer(e)
	w.t.Cleanup(func() {
		for _, g := range w.gates {
			g.release() // a server closes once its requests are answered
		}
		e.Server.Close()
	})
	return e
}

func (e *endpoint) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/guarded") { // as users guard theirs
		rw.Header()["Date"] = nil
		e.verify.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(rw, r)
		return
	}
	d := &delivery{method: r.Method, url: "http://" + r.Host + r.RequestURI, header: r.Header}
	var err error
	if d.body, d.claims, err = e.verify.VerifyRequest(r); err != nil {
		e.w.t.Errorf("delivery to %s: %v", d.url, err)
	}
	e.mu.Lock()
	e.got = append(e.got, d)
	e.mu.Unlock()
	if e.answer != nil {
		e.answer(rw, d)
	}
}

func (e *endpoint) deliveries() []*delivery {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.got)
}

// await waits for the first n deliveries.
func (e *endpoint) await(n int) []*delivery {
	e.w.t.Helper()
	e.w.until("the endpoint is called", func() bool { return len(e.deliveries()) >= n })
	return e.deliveries()
}

// answers scripts an endpoint: a status for each request in turn, the last for
// all that follow. Header lines go with every answer.
func answers(body string, header []string, statuses ...int) func(http.ResponseWriter, *delivery) {
	var mu sync.Mutex
	return func(w http.ResponseWriter, _ *delivery) {
		mu.Lock()
		status := statuses[0]
		if len(statuses) > 1 {
			statuses = statuses[1:]
		}
		mu.Unlock()
		for _, line := range header {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// gate holds up an endpoint's answers.
type gate struct {
	reached chan struct{} // closed when the first request has come
	reach   func()
	opened  chan struct{}
	release func() // lets all requests be answered
}

func (w *world) gate() *gate {
	g := &gate{reached: make(chan struct{}), opened: make(chan struct{})}
	g.reach = sync.OnceFunc(func() { close(g.reached) })
	g.release = sync.OnceFunc(func() { close(g.opened) })
	w.gates = append(w.gates, g)
	return g
}

// pass blocks until release.
func (g *gate) pass() {
	g.reach()
	<-g.opened
}

func (w *world) wait(ch <-chan struct{}, what string) {
	w.t.Helper()
	select {
	case <-ch:
	case <-time.After(15 * time.Second):
		w.t.Fatalf("gave up waiting for %s", what)
	}
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
