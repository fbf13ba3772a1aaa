package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/workflow"
)

var (
	soak = flag.Duration("soak", 0, "how long random workflows are run; 0: a thousand of them")
	seed = flag.Int("seed", 0, "of the first random workflow; 0: any")
)

// A node is a part of a random workflow. Each has a value; that of a workflow is
// made of all of them, in order.
type node struct {
	Kind string `json:"k"`
	ID   int    `json:"id"` // among the nodes of the whole, invoked ones included
	V    int    `json:"v,omitempty"`
	Sub  []node `json:"sub,omitempty"`
}

// What nodes do.
const (
	kindRun       = "run"
	kindSleep     = "sleep"
	kindCall      = "call"
	kindTimeout   = "timeout"   // wait for an event that does not come
	kindKept      = "kept"      // tell this run of an event, then wait for it
	kindBroadcast = "broadcast" // wait for an event that everybody is told of
	kindWebhook   = "webhook"   // make a webhook, call it, wait for it
	kindParallel  = "parallel"
	kindInvoke    = "invoke"
	kindFail      = "fail" // in what is invoked
)

const (
	modulus  = 1_000_003
	timedOut = 17
	failed   = 23
)

var (
	single = rapid.Custom(func(t *rapid.T) node {
		return node{
			Kind: rapid.SampledFrom([]string{kindRun, kindRun, kindRun, kindCall, kindCall, kindSleep, kindTimeout}).Draw(t, "kind"),
			V:    rapid.IntRange(0, 999).Draw(t, "value"),
		}
	})
	programs = rapid.Custom(func(t *rapid.T) []node { return drawProgram(t, 2) })
)

func drawProgram(t *rapid.T, depth int) (program []node) {
	for range rapid.IntRange(1, 4).Draw(t, "length") {
		switch n := rapid.IntRange(0, 9).Draw(t, "what"); {
		case n < 2:
			group := node{Kind: kindParallel}
			for range rapid.IntRange(2, 4).Draw(t, "width") {
				if depth > 0 && rapid.IntRange(0, 4).Draw(t, "branch") == 0 {
					group.Sub = append(group.Sub, drawInvoke(t, depth))
				} else {
					group.Sub = append(group.Sub, single.Draw(t, "branch"))
				}
			}
			program = append(program, group)
		case n == 2 && depth > 0:
			program = append(program, drawInvoke(t, depth))
		case n < 6:
			kind := rapid.SampledFrom([]string{kindKept, kindBroadcast, kindWebhook}).Draw(t, "wait")
			program = append(program, node{Kind: kind, V: rapid.IntRange(0, 999).Draw(t, "value")})
		default:
			program = append(program, single.Draw(t, "step"))
		}
	}
	return program
}

func drawInvoke(t *rapid.T, depth int) node {
	sub := drawProgram(t, depth-1)
	if rapid.IntRange(0, 4).Draw(t, "fails") == 0 {
		sub = append(sub, node{Kind: kindFail})
	}
	return node{Kind: kindInvoke, Sub: sub}
}

// numberNodes gives each node its id.
func numberNodes(program []node, next int) int {
	for i := range program {
		program[i].ID = next
		next = numberNodes(program[i].Sub, next+1)
	}
	return next
}

// model is a workflow's value, how many steps its log has, and what it has done
// when it ends well.
type model struct {
	value, steps int
	failed       bool
	effects      []int // ids
}

func (m *model) fold(v int) { m.value = (m.value*31 + v) % modulus }

func modelOf(program []node) (m model) {
	for _, n := range program {
		m.add(n)
	}
	return m
}

func (m *model) add(n node) {
	switch n.Kind {
	case kindRun, kindCall:
		m.steps++
		m.effects = append(m.effects, n.ID)
		m.fold(n.V)
	case kindSleep:
		m.steps++
		m.fold(1)
	case kindTimeout:
		m.steps++
		m.fold(timedOut)
	case kindKept, kindBroadcast:
		m.steps += 2
		m.fold(n.V)
	case kindWebhook:
		m.steps += 3
		m.fold(n.V)
	case kindParallel:
		for _, branch := range n.Sub {
			m.add(branch)
		}
	case kindInvoke:
		m.steps++
		child := modelOf(n.Sub)
		m.effects = append(m.effects, child.effects...)
		if child.failed {
			m.fold(failed)
		} else {
			m.fold(child.value)
		}
	case kindFail:
		m.failed = true
	}
}

// order is what a run of a random workflow is started with.
type order struct {
	Name    string `json:"name"`
	Program []node `json:"program"`
}

// actor plays random workflows, and notes what they do.
type actor struct {
	self    string // URL
	client  *client.Client
	effects sync.Map // name and id → how often, *atomic.Int64
	armed   sync.Map // event id → value: everybody is to be told
	chance  func() float64
}

func (a *actor) effect(name string, id int) {
	n, _ := a.effects.LoadOrStore(fmt.Sprint(name, " ", id), new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
}

func (a *actor) play(ctx *workflow.Context, in order) (int, error) {
	var m model // whose value is made here as it is there
	for _, n := range in.Program {
		if n.Kind == kindParallel {
			var branches []workflow.Pending
			var values []func() (int, error)
			for _, branch := range n.Sub {
				pending, value := a.begin(ctx, in.Name, branch)
				branches, values = append(branches, pending), append(values, value)
			}
			if err := workflow.All(ctx, branches...); err != nil {
				return 0, err
			}
			for _, value := range values {
				v, err := value()
				if err != nil {
					return 0, err
				}
				m.fold(v)
			}
			continue
		}
		v, err := a.perform(ctx, in.Name, n)
		if err != nil {
			return 0, err
		}
		m.fold(v)
	}
	return m.value, nil
}

// begin starts what can be a branch of a parallel group.
func (a *actor) begin(ctx *workflow.Context, name string, n node) (workflow.Pending, func() (int, error)) {
	step := fmt.Sprint(n.Kind, " ", n.ID)
	switch n.Kind {
	case kindSleep:
		f := ctx.SleepAsync(step, time.Second)
		return f, func() (int, error) { _, err := f.Get(); return 1, err }
	case kindCall:
		f := workflow.CallJSONAsync[int](ctx, step, workflow.CallRequest{
			URL: fmt.Sprintf("%s/third?name=%s&id=%d&v=%d", a.self, url.QueryEscape(name), n.ID, n.V), Retries: 100, RetryDelay: "50",
		}, nil)
		return f, func() (int, error) { r, err := f.Get(); return r.Value, err }
	case kindTimeout:
		f := workflow.WaitForEventAsync[int](ctx, step, "never", time.Second)
		return f, func() (int, error) {
			e, err := f.Get()
			if err == nil && !e.TimedOut {
				err = workflow.NonRetryable(errors.New("an event came that nobody sent"))
			}
			return timedOut, err
		}
	case kindInvoke:
		child := workflow.At[order, int](a.self + "/random")
		f := workflow.InvokeAsync(ctx, step, child, order{name, n.Sub}, &workflow.InvokeOptions{Retries: new(100), RetryDelay: "50"})
		return f, func() (int, error) {
			r, err := f.Get()
			if r.Failed {
				return failed, err
			}
			return r.Body, err
		}
	}
	f := workflow.RunAsync(ctx, step, func(context.Context) (int, error) { a.effect(name, n.ID); return n.V, nil })
	return f, f.Get
}

func (a *actor) perform(ctx *workflow.Context, name string, n node) (int, error) {
	step := fmt.Sprint(n.Kind, " ", n.ID)
	event := fmt.Sprint(ctx.RunID, " ", n.ID)
	switch n.Kind {
	case kindKept:
		if _, err := ctx.NotifyRun("tell "+step, ctx.RunID, event, n.V); err != nil {
			return 0, err
		}
		e, err := workflow.WaitForEvent[int](ctx, step, event, time.Hour)
		return e.Data, err
	case kindBroadcast:
		_, err := workflow.Run(ctx, "arm "+step, func(context.Context) (int, error) { a.armed.Store(event, n.V); return 0, nil })
		if err != nil {
			return 0, err
		}
		e, err := workflow.WaitForEvent[int](ctx, step, event, time.Hour)
		return e.Data, err
	case kindWebhook:
		hook, err := ctx.CreateWebhook("make " + step)
		if err != nil {
			return 0, err
		}
		_, err = workflow.Run(ctx, "call "+step, func(ctx context.Context) (int, error) { return 0, post(ctx, hook.URL, strconv.Itoa(n.V)) })
		if err != nil {
			return 0, err
		}
		call, err := ctx.WaitForWebhook(step, hook, time.Hour)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(string(call.Body))
	case kindFail:
		_, err := workflow.Run(ctx, step, func(context.Context) (int, error) { return 0, workflow.NonRetryable(errors.New("as planned")) })
		return 0, err
	}
	_, value := a.begin(ctx, name, n)
	return value()
}

func post(ctx context.Context, url, body string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		return fmt.Errorf("webhook answered %d", answer.StatusCode)
	}
	return nil
}

// tellAll tells everybody of what was armed until somebody has heard.
func (a *actor) tellAll(ctx context.Context) {
	for ctx.Err() == nil {
		a.armed.Range(func(event, value any) bool {
			told, err := a.client.Notify(ctx, event.(string), []byte(strconv.Itoa(value.(int))))
			if err == nil && len(told) > 0 {
				a.armed.Delete(event)
			}
			return ctx.Err() == nil
		})
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// crashing drops a part of the requests before next sees them, and of the
// answers after it has worked.
func (a *actor) crashing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch p := a.chance(); {
		case p < .02:
			panic(http.ErrAbortHandler)
		case p < .04:
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
}

func (a *actor) third(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	id, _ := strconv.Atoi(r.FormValue("id"))
	a.effect(r.FormValue("name"), id)
	io.WriteString(w, r.FormValue("v"))
}

// TestT28RandomWorkflows runs workflows of all kinds of steps, in sequence, in
// parallel and in each other, while the server is killed again and again and the
// endpoint loses requests and answers: each comes to the end that a model of it
// says, with one result per step, and everything it was to do is done.
func TestT28RandomWorkflows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServerAt(t, "0", dir)
	at, err := url.Parse(s.env["QSTASH_URL"])
	if err != nil {
		t.Fatal(err)
	}
	a := startActor(t, s.platform(t))
	first := *seed
	if first == 0 {
		first = rand.IntN(1 << 30)
	}
	const batch = 1000
	end := time.Now().Add(*soak)
	for n := 0; n == 0 || time.Now().Before(end); n++ {
		a.run(t, first+n, batch, func() {
			time.Sleep(time.Duration(rand.IntN(int(time.Second)))) // how far they come is chance
			s.kill()
			s = startServerAt(t, at.Port(), dir)
		})
		if t.Failed() {
			return
		}
	}
}

// TestChaos is about signpost dev --chaos: nothing that it does to deliveries
// changes what comes of workflows.
func TestChaos(t *testing.T) {
	t.Parallel()
	s := startServerAt(t, "0", t.TempDir(), "SIGNPOST_CHAOS=dup=10%,drop=5%,delay=0.02s,kill=5%")
	startActor(t, s.platform(t)).run(t, rand.IntN(1<<30), 100, func() {})
	for _, did := range []string{"a delivery was made twice", "a request was dropped", "a response was dropped"} {
		s.wait(t, "chaos: "+did)
	}
}

func startActor(t *testing.T, s platform) *actor {
	t.Helper()
	a := &actor{client: s.client, chance: rand.Float64}
	mux := http.NewServeMux()
	app := httptest.NewUnstartedServer(a.crashing(mux))
	app.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	a.self = "http://" + app.Listener.Addr().String()
	mux.Handle("/random", s.around(workflow.MustServe(a.play, &workflow.Options{
		Client: a.client, Receiver: s.receiver, BaseURL: a.self, Logger: slog.New(slog.DiscardHandler),
	})))
	mux.HandleFunc("/third", a.third)
	app.Start()
	t.Cleanup(app.Close)
	ctx, cancel := context.WithCancel(context.Background())
	var telling sync.WaitGroup
	telling.Go(func() { a.tellAll(ctx) })
	t.Cleanup(func() { cancel(); telling.Wait() })
	return a
}

// run starts n workflows, in five parts after each of which disturb is called, and
// checks what has become of them.
func (a *actor) run(t *testing.T, seed, n int, disturb func()) {
	t.Helper()
	t.Logf("seed %d", seed)
	orders := make([]order, n)
	requests := make([]client.TriggerRequest, n)
	for i, program := range rapid.SliceOfN(programs, n, n).Example(seed) {
		orders[i] = order{fmt.Sprintf("random %d.%d", seed, i), program}
		numberNodes(program, 1)
		payload, err := json.Marshal(orders[i])
		if err != nil {
			t.Fatal(err)
		}
		requests[i] = client.TriggerRequest{
			URL: a.self + "/random", RunID: fmt.Sprintf("wfr_random_%d.%d", seed, i), Body: payload, Retries: new(100), RetryDelay: "50",
		}
	}
	for some := range slices.Chunk(requests, n/5) {
		if _, err := a.client.TriggerBatch(t.Context(), some); err != nil {
			t.Fatal(err)
		}
		disturb()
	}
	for i := range orders {
		a.check(t, &orders[i], waitRunFor(t, a.client, requests[i].RunID, 5*time.Minute))
	}
}

func (a *actor) check(t *testing.T, o *order, run client.Run) {
	t.Helper()
	want := modelOf(o.Program)
	if run.State != client.RunSuccess || run.Response != strconv.Itoa(want.value) {
		t.Errorf("%s ended as %s with %s, want %d: %+v", o.Name, run.State, run.Response, want.value, o.Program)
	}
	if n := count(run) - 1; n != want.steps {
		t.Errorf("%s has %d steps, want %d: %+v", o.Name, n, want.steps, run.Steps)
	}
	for _, id := range want.effects {
		if n, ok := a.effects.Load(fmt.Sprint(o.Name, " ", id)); !ok || n.(*atomic.Int64).Load() < 1 {
			t.Errorf("%s has not done what node %d is for", o.Name, id)
		}
	}
}
