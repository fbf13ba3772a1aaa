package workflowtest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

const (
	serverURL = "https://signpost.test"
	baseURL   = "https://workflows.test"

	// mostTold is how many runs a failed test tells of.
	mostTold = 20
)

// Env is a server in memory, and what it runs. Its fields may be changed until
// the first [Run]; each has a default that works.
type Env struct {
	// Options are those of the workflows under test. Client, Receiver,
	// RequireBinding, BaseURL and TrustedProxies are replaced, so that they serve
	// this Env. Default: none, and a Logger that writes to the test's output.
	Options workflow.Options

	// Trigger is how runs are started that [Run] starts: headers, labels, retries
	// and so on. URL and Body are replaced.
	Trigger client.TriggerRequest

	// Start is the time at which the first run is started. Default: now.
	Start time.Time

	// Sleep is called with every stretch of virtual time that passes. Within a
	// bubble of testing/synctest let it be time.Sleep: then time.Now in the code
	// under test tells the virtual time. Default: nothing, and time.Now is that of
	// the machine.
	Sleep func(time.Duration)

	// Seed decides what comes first of things that may happen at the same time,
	// such as parallel steps. Default: another one each time. It is printed when
	// the test fails.
	Seed uint64

	// Twice has the server make every call of a workflow twice, as it does when
	// an answer was lost: steps are executed again whose report it has already.
	// It shows which steps bear that. Default: false.
	Twice bool

	// MaxEvents is how much may come of one [Run]: calls of workflows and by
	// them, and what they wait for. If it is more, the test fails, since the
	// workflow seems to have no end. Default: 1000.
	MaxEvents int

	t           testing.TB
	client      *client.Client
	receiver    *receiver.Receiver
	key         string
	definitions []workflow.Definition

	mu       sync.Mutex
	now      time.Time
	random   *mathrand.Rand
	serial   int
	runs     []*run
	served   map[string]handlers // by path
	many     handlers            // of definitions
	queue    []*event
	waits    []*wait
	calls    []*script
	invokes  []*script
	notes    []*script
	failures []*failure
}

// handlers are a workflow as it is served, and as it is asked what it would do.
type handlers struct{ real, check http.Handler }

// New makes an Env for a test.
func New(t testing.TB) *Env {
	t.Helper()
	e := &Env{t: t, Start: time.Now(), Seed: mathrand.Uint64(), MaxEvents: 1000, key: rand.Text(), served: map[string]handlers{}}
	token := base64.StdEncoding.EncodeToString([]byte(`{"UserID":"workflowtest"}`))
	e.client = client.New(client.Options{URL: serverURL, Token: token, HTTPClient: &http.Client{Transport: transport{e}}, NetworkRetries: -1})
	var err error
	if e.receiver, err = receiver.New(receiver.Options{CurrentSigningKey: e.key}); err != nil {
		t.Fatalf("workflowtest: %v", err)
	}
	t.Cleanup(e.explain)
	return e
}

// Client is a client of the Env's server, for code under test that needs one.
// The server knows the part of the API that workflows use, and no other.
func (e *Env) Client() *client.Client { return e.client }

// Now is the virtual time.
func (e *Env) Now() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.time()
}

func (e *Env) time() time.Time {
	if e.now.IsZero() {
		e.now = e.Start.Truncate(time.Millisecond)
	}
	return e.now
}

// Serve adds workflows for others to invoke by their names. What their own
// options leave out is that of [Env.Options]; leave Client, Receiver and BaseURL
// to them.
func (e *Env) Serve(workflows ...workflow.Definition) {
	e.definitions = append(e.definitions, workflows...)
}

// URL is where a workflow of [Env.Serve] is, by its name.
func (e *Env) URL(name string) string { return baseURL + "/" + url.PathEscape(name) }

// options are those of workflows that are served, or only asked: then nobody is
// to hear of it.
func (e *Env) options(asked bool) *workflow.Options {
	o := e.Options
	o.Client, o.Receiver, o.RequireBinding, o.BaseURL, o.TrustedProxies = e.client, e.receiver, true, baseURL, nil
	if asked {
		o.Logger, o.Middleware = slog.New(slog.DiscardHandler), nil
		return &o
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.NewTextHandler(e.t.Output(), nil)))
	o.Middleware = append([]workflow.Middleware{{Step: e.step, Error: e.failed}}, o.Middleware...)
	return &o
}

// serve makes a function ready to be called, and gives its URL.
func serve[In, Out any](e *Env, fn func(*workflow.Context, In) (Out, error)) string {
	e.t.Helper()
	h, err := both(e, func(o *workflow.Options) (http.Handler, error) { return workflow.Serve(fn, o) })
	many := handlers{}
	if err == nil && len(e.definitions) > 0 {
		many, err = both(e, func(o *workflow.Options) (http.Handler, error) { return workflow.ServeMany(o, e.definitions...) })
	}
	if err != nil {
		e.t.Fatalf("workflowtest: %v", err)
	}
	name := functionName(fn)
	path := "/" + name
	for i := 2; e.served[path].real != nil || e.has(many, path); i++ {
		path = fmt.Sprintf("/%s-%d", name, i)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.many, e.served[path] = many, h
	return baseURL + path
}

// has says whether a path is that of a workflow.
func (e *Env) has(many handlers, path string) bool {
	return many.check != nil && e.call(many.check, http.MethodGet, baseURL+path, http.Header{}, nil).status != http.StatusNotFound
}

// functionName is how the code calls a function, as far as it fits into a path.
func functionName(fn any) string {
	name := strings.TrimSuffix(runtime.FuncForPC(reflect.ValueOf(fn).Pointer()).Name(), "-fm") // a method's
	_, name, _ = strings.Cut(name[strings.LastIndexByte(name, '/')+1:], ".")
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r == '_' || r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return -1
	}, name)
}

func both(e *Env, serve func(*workflow.Options) (http.Handler, error)) (h handlers, err error) {
	if h.real, err = serve(e.options(false)); err == nil {
		h.check, err = serve(e.options(true))
	}
	return h, err
}

// at are the handlers of a URL; none if nothing of this Env's is there.
func (e *Env) at(address string) handlers {
	path, ours := strings.CutPrefix(address, baseURL)
	if !ours {
		return handlers{}
	}
	path, _, _ = strings.Cut(path, "?")
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.served[path]; h.real != nil {
		return h
	}
	return e.many
}

// call makes a request of a handler in this process.
func (e *Env) call(h http.Handler, method, url string, header http.Header, body []byte) *answer {
	r, err := http.NewRequestWithContext(context.WithoutCancel(e.t.Context()), method, url, bytes.NewReader(body))
	if err != nil {
		e.t.Fatalf("workflowtest: %v", err)
	}
	r.Header, r.RequestURI, r.RemoteAddr = header, r.URL.RequestURI(), "127.0.0.1:1"
	a := &answer{live: http.Header{}}
	h.ServeHTTP(a, r)
	a.WriteHeader(http.StatusOK) // unless it has said otherwise
	return a
}

// answer is what a handler writes.
type answer struct {
	live   http.Header
	status int
	header http.Header // as it was when the status was written
	body   bytes.Buffer
	lost   bool // nobody hears it
}

func (a *answer) Header() http.Header { return a.live }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 && !a.lost {
		a.status, a.header = status, a.live.Clone()
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

func (a *answer) ok() bool { return a.status >= 200 && a.status <= 299 }

// missed fails a test that wanted something to go wrong with a step there is not.
func (e *Env) missed() {
	if len(e.runs) == 0 || e.t.Failed() {
		return
	}
	for _, f := range e.failures {
		same := func(g *failure) bool { return g.step == f.step && g.used > 0 }
		if f.left > 0 && !slices.ContainsFunc(e.failures, same) {
			e.t.Errorf("workflowtest: %s came to nothing: no step %q was executed", f, f.step)
		}
	}
}

// explain helps to understand a test that has failed.
func (e *Env) explain() {
	e.missed()
	if !e.t.Failed() {
		return
	}
	var text strings.Builder
	fmt.Fprintf(&text, "workflowtest: Seed was %d", e.Seed)
	for i, r := range e.runs {
		if i == mostTold {
			fmt.Fprintf(&text, "\n… and %d more runs", len(e.runs)-i)
			break
		}
		fmt.Fprintf(&text, "\n%s", r.timeline())
	}
	for _, s := range slices.Concat(e.calls, e.invokes, e.notes) {
		if s.used == 0 {
			fmt.Fprintf(&text, "\nnever used: %s", s)
		}
	}
	for _, f := range e.failures {
		if f.used == 0 {
			fmt.Fprintf(&text, "\nnever used: %s", f)
		}
	}
	e.t.Log(text.String())
}
