package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/pgtest"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/internal/wire"
)

var long = flag.Bool("long", false, "all rounds of tests that have random ones, and every fault in every way")

// rounds are how often a test does something random: each has a seed of its own.
func rounds(usual, most uint64) uint64 {
	if *long {
		return most
	}
	return usual
}

// world is an engine on a real store, with scripted endpoints and, inside a
// synctest bubble, a clock that jumps to whatever is waited for.
type world struct {
	t      *testing.T
	store  engine.Store
	engine *engine.Engine
	tenant *engine.Tenant
	caller *engine.Caller

	keep        int // messages the dispatcher keeps in memory; 0: as many as always
	segment     int // rows of a segment; 0: as many as always
	limits      engine.Limits
	began       time.Time
	concurrency int
	options     func(*engine.Options) // further ones; nil: none

	mu       sync.Mutex
	answer   func(engine.Attempt) engine.Outcome
	attempts []attempt
	cut      <-chan struct{} // closed when attempts are cut off
}

// attempt is one that was made, and when.
type attempt struct {
	engine.Attempt
	at time.Time
}

func ok(engine.Attempt) engine.Outcome { return engine.Outcome{Status: 200} }

func status(code int, header ...string) func(engine.Attempt) engine.Outcome {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return func(engine.Attempt) engine.Outcome {
		return engine.Outcome{Status: code, Header: h, Body: []byte("answer")}
	}
}

// Deliver implements engine.Deliverer.
func (w *world) Deliver(ctx context.Context, a engine.Attempt) engine.Outcome {
	w.mu.Lock()
	w.cut = ctx.Done()
	w.attempts = append(w.attempts, attempt{a, time.Now()})
	answer := w.answer
	w.mu.Unlock()
	start := time.Now()
	o := answer(a)
	if o.Start = start; o.End.IsZero() {
		o.End = time.Now()
	}
	return o
}

func (w *world) respond(answer func(engine.Attempt) engine.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

func (w *world) made() []attempt {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]attempt(nil), w.attempts...)
}

// inBubble runs a test on virtual time.
func inBubble(t *testing.T, fn func(*world)) {
	t.Helper()
	inBubbleOn(t, func() (engine.Store, error) { return store.OpenMemory(context.Background()) }, fn)
}

func inBubbleOn(t *testing.T, open func() (engine.Store, error), fn func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		w := &world{t: t, store: s, answer: ok, began: time.Now()}
		w.start()
		defer w.stop()
		fn(w)
	})
}

// onEachDatabase is inBubble for what may go wrong where transactions run at the
// same time.
func onEachDatabase(t *testing.T, fn func(*world)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { inBubble(t, fn) })
	t.Run("postgres", func(t *testing.T) {
		dsn := pgtest.DSN(t)
		inBubbleOn(t, func() (engine.Store, error) { return store.OpenPostgres(context.Background(), dsn) }, fn)
	})
}

func (w *world) start() {
	w.t.Helper()
	ctx, e := context.Background(), w.node()
	cr := engine.Credentials{UserID: "u", Token: "token", CurrentKey: "sig_current_current", NextKey: "sig_next_next_next"}
	if _, err := e.EnsureTenant(ctx, cr); err != nil {
		w.t.Fatal(err)
	}
	caller, err := e.Authenticate(ctx, "token")
	if err != nil {
		w.t.Fatal(err)
	}
	w.caller, w.tenant = caller, caller.Tenant
	if w.engine = e; w.keep > 0 {
		e.KeepInMemory(w.keep)
	}
	if w.segment > 0 {
		e.Index(w.segment, 500)
	}
	e.Start()
}

// node is another engine on the store, not started.
func (w *world) node() *engine.Engine {
	w.t.Helper()
	o := engine.Options{
		Store: w.store, Deliverer: w, Keys: w, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Limits: w.limits, Concurrency: w.concurrency,
	}
	if w.options != nil {
		w.options(&o)
	}
	e, err := engine.New(context.Background(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// stop cuts off what is under way, as a crash would.
func (w *world) stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.engine.Close(ctx)
}

func (w *world) publish(p engine.Publish) string {
	w.t.Helper()
	if p.Config.Method == "" {
		p.Config.Method = "POST"
	}
	if p.Destination == "" {
		p.Destination = "https://example.com/"
	}
	out, err := w.engine.Publish(context.Background(), w.caller, []engine.Publish{p})
	if err != nil {
		w.t.Fatal(err)
	}
	return out[0].MessageID
}

func (w *world) states(id string) []engine.EventState {
	w.t.Helper()
	events, _, err := w.engine.Events(context.Background(), w.caller,
		engine.EventFilter{Message: engine.MessageFilter{IDs: []string{id}}}, true, "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []engine.EventState
	for _, ev := range events {
		out = append(out, ev.State)
	}
	return out
}

func (w *world) dlq() []*engine.DeadMessage {
	w.t.Helper()
	page, _, err := w.engine.DLQ(context.Background(), w.caller, engine.DLQFilter{}, false, "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return page
}

func (w *world) expectStates(id string, want ...engine.EventState) {
	w.t.Helper()
	if got := w.states(id); fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("events %v, want %v", got, want)
	}
}

const (
	created, active, failing, retry = engine.EventCreated, engine.EventActive, engine.EventError, engine.EventRetry
	delivered, failed               = engine.EventDelivered, engine.EventFailed
)

// The default backoff is e^(2.5 n) seconds, a day at most; after the retries
// the message is in the DLQ.
func TestDefaultBackoff(t *testing.T) {
	inBubble(t, func(w *world) {
		w.respond(status(503))
		id := w.publish(engine.Publish{Config: wire.Config{Retries: new(6)}})
		time.Sleep(6 * 25 * time.Hour)
		made := w.made()
		if len(made) != 7 {
			t.Fatalf("%d attempts, want 7", len(made))
		}
		for n := 1; n < len(made); n++ {
			want := time.Duration(min(86400, math.Exp(2.5*float64(n))) * float64(time.Second))
			got := made[n].at.Sub(made[n-1].at)
			if (got - want).Abs() > 5*time.Millisecond {
				t.Errorf("retry %d came after %v, want %v", n, got, want)
			}
			if r := made[n].Header.Get(wire.HeaderRetried); r != fmt.Sprint(n) {
				t.Errorf("retry %d says it is %s", n, r)
			}
		}
		if got := w.states(id); got[len(got)-1] != failed {
			t.Errorf("events %v", got)
		}
		if d := w.dlq(); len(d) != 1 || d[0].Message.String() != id || d[0].Entry.Status != 503 || string(d[0].Entry.Body) != "answer" {
			t.Errorf("DLQ %+v", d)
		}
	})
}

// What the response or the message says of the next attempt wins over the
// default backoff, the response first.
func TestRetryDelays(t *testing.T) {
	tests := map[string]struct {
		answer func(engine.Attempt) engine.Outcome
		expr   string
		want   time.Duration
	}{
		"Retry-After in seconds":          {status(429, "Retry-After", "7"), "", 7 * time.Second},
		"Retry-After as a duration":       {status(503, "Retry-After", "1m5s"), "", 65 * time.Second},
		"Retry-After over the expression": {status(503, "Retry-After", "3"), "60000", 3 * time.Second},
		"rate limit reset":                {status(429, "X-RateLimit-Reset", "11"), "", 11 * time.Second},
		"beyond a day is not believed":    {status(429, "Retry-After", "86401"), "2000", 2 * time.Second},
		"expression":                      {status(500), "1000 * (3 + retried)", 3 * time.Second},
		"no response":                     {func(engine.Attempt) engine.Outcome { return engine.Outcome{Error: "refused"} }, "1500", 1500 * time.Millisecond},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.respond(tt.answer)
				w.publish(engine.Publish{Config: wire.Config{Retries: new(1), RetryDelay: tt.expr}})
				time.Sleep(48 * time.Hour)
				made := w.made()
				if len(made) != 2 {
					t.Fatalf("%d attempts, want 2", len(made))
				}
				if got := made[1].at.Sub(made[0].at); (got - tt.want).Abs() > 5*time.Millisecond {
					t.Errorf("retried after %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// 489 ends a message only together with its header.
func TestNonRetryable(t *testing.T) {
	inBubble(t, func(w *world) {
		w.respond(status(489, wire.HeaderNonRetryable, "true"))
		id := w.publish(engine.Publish{})
		time.Sleep(time.Second)
		w.expectStates(id, created, active, failing, failed)
		w.respond(status(489))
		id = w.publish(engine.Publish{})
		time.Sleep(time.Second)
		w.expectStates(id, created, active, failing, retry)
	})
}

// A delayed message is delivered at its time, also by the next process.
func TestDelaySurvivesRestart(t *testing.T) {
	inBubble(t, func(w *world) {
		start := time.Now()
		w.publish(engine.Publish{Config: wire.Config{Delay: 30 * 24 * time.Hour}})
		time.Sleep(time.Hour)
		w.stop()
		time.Sleep(29 * 24 * time.Hour)
		w.start()
		time.Sleep(2 * 24 * time.Hour)
		made := w.made()
		if len(made) != 1 || made[0].at.Sub(start).Round(time.Second) != 30*24*time.Hour {
			t.Fatalf("attempts %v, want one after 30 days", made)
		}
	})
}

// More messages than the dispatcher keeps in memory are each delivered once,
// none before its time.
func TestMoreThanFitInMemory(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		w.keep = 64
		w.start()
		const n = 1_000
		var items []engine.Publish
		for i := range n {
			delay := time.Duration(i*7919%3600) * time.Second
			items = append(items, engine.Publish{Destination: fmt.Sprintf("https://example.com/%d", i),
				Config: wire.Config{Method: "POST", Delay: delay}})
		}
		start := time.Now()
		for at := 0; at < n; at += 500 {
			if _, err := w.engine.Publish(context.Background(), w.caller, items[at:at+500]); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Hour)
		seen := map[string]int{}
		for _, a := range w.made() {
			seen[a.URL]++
			var i int
			fmt.Sscanf(a.URL, "https://example.com/%d", &i)
			want := items[i].Config.Delay
			if late := a.at.Sub(start) - want; late < 0 || late > time.Second {
				t.Fatalf("message %d was due after %v and came after %v", i, want, a.at.Sub(start))
			}
		}
		for i := range n {
			if c := seen[items[i].Destination]; c != 1 {
				t.Fatalf("message %d was delivered %d times", i, c)
			}
		}
	})
}

// An attempt that a shutdown cuts off is no outcome: the next process makes it.
func TestCutOffAttemptIsMadeAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		entered, release := make(chan struct{}, 2), make(chan struct{})
		w.respond(func(engine.Attempt) engine.Outcome {
			entered <- struct{}{}
			<-release
			return engine.Outcome{Error: "cut off"}
		})
		id := w.publish(engine.Publish{Config: wire.Config{Retries: new(0)}})
		<-entered
		go func() { time.Sleep(time.Second); close(release) }()
		w.stop()
		w.respond(ok)
		w.start()
		time.Sleep(time.Second)
		w.expectStates(id, created, active, delivered)
	})
}

// A message that is cancelled while waiting is not delivered; one whose attempt
// is under way gets no other, and if that one succeeds, it was delivered.
func TestCancel(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		id := w.publish(engine.Publish{Config: wire.Config{Delay: time.Hour}})
		if _, err := w.engine.CancelMessage(ctx, w.caller, id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if n := len(w.made()); n != 0 {
			t.Fatalf("%d attempts of a cancelled message", n)
		}
		w.expectStates(id, created, engine.EventCancelRequested, engine.EventCanceled)
		if _, err := w.engine.CancelMessage(ctx, w.caller, id); engine.ErrorCode(err) != engine.NotFound {
			t.Errorf("cancelled twice: %v", err)
		}
	})
	for name, tt := range map[string]struct {
		code int
		last []engine.EventState
	}{
		"that fails":    {500, []engine.EventState{failing, engine.EventCanceled}},
		"that succeeds": {200, []engine.EventState{delivered}},
	} {
		t.Run("during an attempt "+name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.respond(func(a engine.Attempt) engine.Outcome {
					time.Sleep(10 * time.Second)
					return status(tt.code)(a)
				})
				id := w.publish(engine.Publish{})
				time.Sleep(time.Second)
				w.expectStates(id, created, active)
				if _, err := w.engine.CancelMessage(ctx, w.caller, id); err != nil {
					t.Fatal(err)
				}
				time.Sleep(24 * time.Hour)
				if n := len(w.made()); n != 1 {
					t.Errorf("%d attempts, want 1", n)
				}
				got := w.states(id)
				if tail := got[len(got)-len(tt.last):]; fmt.Sprint(tail) != fmt.Sprint(tt.last) {
					t.Errorf("events %v, want them to end in %v", got, tt.last)
				}
			})
		})
	}
}

// Rotation holds from the next attempt on, also for messages accepted before.
func TestRetriesAreSignedWithTheCurrentKey(t *testing.T) {
	inBubble(t, func(w *world) {
		w.respond(status(500))
		w.publish(engine.Publish{Config: wire.Config{Retries: new(1), RetryDelay: "60000"}})
		time.Sleep(time.Second)
		if _, _, err := w.engine.RotateKeys(context.Background(), w.caller, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		made := w.made()
		if made[0].SigningKey != "sig_current_current" || made[1].SigningKey != "sig_next_next_next" {
			t.Errorf("signed with %s, then %s", made[0].SigningKey, made[1].SigningKey)
		}
	})
}

// A tenant from before there was redaction gets a key for it, once.
func TestT17TenantWithoutRedactKey(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		err := w.store.Update(context.Background(), func(tx engine.Tx) error {
			row, err := tx.LockTenant(w.tenant.ID)
			if err != nil {
				return err
			}
			row.Secrets.RedactKey = nil
			return tx.UpdateTenant(row)
		})
		if err != nil {
			t.Fatal(err)
		}
		w.start()
		key := w.tenant.Secrets.RedactKey
		w.stop()
		w.start()
		if again := w.tenant.Secrets.RedactKey; len(key) != 32 || !bytes.Equal(key, again) {
			t.Errorf("key %x, then %x", key, again)
		}
	})
}

// A deduplication id holds for its window, not longer.
func TestDeduplicationWindow(t *testing.T) {
	inBubble(t, func(w *world) {
		p := engine.Publish{Config: wire.Config{DeduplicationID: "x"}}
		first := w.publish(p)
		time.Sleep(9 * time.Minute)
		if again := w.publish(p); again != first {
			t.Errorf("accepted twice within the window")
		}
		time.Sleep(2 * time.Minute)
		if later := w.publish(p); later == first {
			t.Errorf("refused after the window")
		}
	})
}

// Finished messages are purged after their retention; what waits or is dead stays.
func TestRetention(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		gone := w.publish(engine.Publish{})
		time.Sleep(time.Second)
		w.respond(status(500))
		dead := w.publish(engine.Publish{Config: wire.Config{Retries: new(0)}, Destination: "https://example.com/dead"})
		waiting := w.publish(engine.Publish{Config: wire.Config{Delay: 300 * 24 * time.Hour}})
		time.Sleep(8 * 24 * time.Hour)
		if _, err := w.engine.Message(ctx, w.caller, gone); engine.ErrorCode(err) != engine.NotFound {
			t.Errorf("finished message: %v, want not found", err)
		}
		for _, id := range []string{dead, waiting} {
			if _, err := w.engine.Message(ctx, w.caller, id); err != nil {
				t.Errorf("kept message: %v", err)
			}
		}
	})
}

var errInjected = errors.New("injected")

// faulty fails some Updates, before or after they were committed.
type faulty struct {
	engine.Store
	mu    sync.Mutex
	calls int
	fail  func(call int) bool
	after bool
}

func (f *faulty) Update(ctx context.Context, fn func(engine.Tx) error) error {
	f.mu.Lock()
	f.calls++
	fails := f.fail != nil && f.fail(f.calls)
	f.mu.Unlock()
	if fails && !f.after {
		return errInjected
	}
	err := f.Store.Update(ctx, fn)
	if fails && err == nil {
		return errInjected
	}
	return err
}

// Whichever write fails, before or after its commit, what was accepted is
// delivered, retried and called back in the end, and nothing is left over.
func TestEveryWriteMayFail(t *testing.T) {
	const writes = 12 // of the scenario below
	for _, after := range []bool{false, true} {
		for n := 1; n <= writes; n++ {
			if after != (n%2 == 0) && !*long {
				continue
			}
			t.Run(fmt.Sprintf("write %d, after commit %v", n, after), func(t *testing.T) {
				inBubble(t, func(w *world) {
					w.stop()
					f := &faulty{Store: w.store, after: after}
					w.store = f
					w.start()
					f.mu.Lock()
					f.calls, f.fail = 0, func(call int) bool { return call == n || call == n+1 }
					f.mu.Unlock()
					faultScenario(w)
				})
			})
		}
	}
}

func faultScenario(w *world) {
	w.respond(func(a engine.Attempt) engine.Outcome {
		if a.URL == "https://example.com/fails" {
			return engine.Outcome{Status: 500}
		}
		return engine.Outcome{Status: 200}
	})
	accepted := map[string]bool{}
	for _, url := range []string{"https://example.com/works", "https://example.com/fails"} {
		out, err := w.engine.Publish(context.Background(), w.caller, []engine.Publish{{Destination: url, Config: wire.Config{
			Method: "POST", Retries: new(1), RetryDelay: "1000",
			FailureCallback: &wire.Callback{URL: "https://example.com/failed"},
			Callback:        &wire.Callback{URL: "https://example.com/called"},
		}}})
		if err == nil {
			accepted[out[0].MessageID] = url == "https://example.com/works"
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(time.Hour)
	dead := map[string]bool{}
	for _, d := range w.dlq() {
		dead[d.Message.String()] = true
	}
	for id, works := range accepted {
		states := w.states(id)
		end := failed
		if works {
			end = delivered
		}
		if states[len(states)-1] != end || dead[id] == works {
			w.t.Errorf("message: events %v, dead %v", states, dead[id])
		}
	}
	count := map[string]int{}
	for _, a := range w.made() {
		count[a.URL]++
	}
	failures := 0
	for _, works := range accepted {
		if !works {
			failures++
		}
	}
	if len(accepted) > 0 && count["https://example.com/called"] < len(accepted) || count["https://example.com/failed"] < failures {
		w.t.Errorf("%d accepted, %d to fail, but attempts were %v", len(accepted), failures, count)
	}
}

// A body that was let go once it was sent is there again for a retry, and for
// what a callback says of it.
func TestLargeBodiesAreReadAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		body := bytes.Repeat([]byte("x"), 6<<20)
		letGo := 0
		w.respond(func(a engine.Attempt) engine.Outcome {
			if a.URL == "https://example.com/callback" {
				return engine.Outcome{Status: 200}
			}
			if a.Sent != nil {
				a.Sent(len(a.Body), true)
				letGo++
			}
			return engine.Outcome{Status: 500, Body: bytes.Repeat([]byte("y"), 2<<20)}
		})
		w.publish(engine.Publish{Body: body, Config: wire.Config{
			Retries: new(1), RetryDelay: "1000", Callback: &wire.Callback{URL: "https://example.com/callback"},
		}})
		time.Sleep(time.Hour)
		var bodies, callbacks int
		for _, a := range w.made() {
			var said wire.CallbackBody
			switch {
			case a.URL != "https://example.com/callback":
				if bodies++; !bytes.Equal(a.Body, body) {
					t.Errorf("attempt %d has a body of %d bytes", bodies, len(a.Body))
				}
			case json.Unmarshal(a.Body, &said) != nil || !bytes.Equal(said.SourceBody, body) || len(said.Body) != 2<<20:
				t.Errorf("a callback of %d bytes tells of %d sent, %d answered", len(a.Body), len(said.SourceBody), len(said.Body))
			default:
				callbacks++
			}
		}
		if bodies != 2 || callbacks != 2 || letGo != 2 {
			t.Errorf("%d attempts, %d callbacks, %d let go", bodies, callbacks, letGo)
		}
	})
}
