package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// limit sets limits of the tenant there is, in the form "name", value, …; 0 is
// the server's default.
func (w *world) limit(name string, value int64) engine.LimitsStatus {
	w.t.Helper()
	s, err := w.engine.ChangeLimits(context.Background(), w.caller, "u", map[string]*int64{name: &value})
	if err != nil {
		w.t.Fatal(err)
	}
	w.caller = w.now()
	return s
}

// What a tenant may have of its own holds for it, at once and after a restart,
// and for no other; taken back, the server's holds again.
func TestLimitsOfATenant(t *testing.T) {
	ctx := context.Background()
	publish := func(cfg wire.Config, body string) func(*engine.Engine, *engine.Caller) error {
		return func(e *engine.Engine, who *engine.Caller) error {
			cfg.Method = "POST"
			_, err := e.Publish(ctx, who, []engine.Publish{{Destination: "https://example.com/", Config: cfg, Body: []byte(body)}})
			return err
		}
	}
	for name, test := range map[string]struct {
		limit string
		value int64
		try   func(*engine.Engine, *engine.Caller) error
		code  engine.Code
		want  string
	}{
		"size": {"maxMessageBytes", 4, publish(wire.Config{}, "12345"), engine.TooLarge, "body: 5 bytes, at most 4 are accepted"},
		"size of result": {"maxMessageBytes", 4, func(e *engine.Engine, who *engine.Caller) error {
			return e.FinishRun(ctx, who, "wfr_1", []byte("12345"))
		}, engine.TooLarge, "body: 5 bytes, at most 4 are accepted"},
		"retries": {"maxRetries", 2, publish(wire.Config{Retries: new(3)}, ""), engine.Precondition, "Upstash-Retries: 3, at most 2 are allowed"},
		"retries of a callback": {"maxRetries", 2, publish(wire.Config{Callback: &wire.Callback{
			URL: "https://cb.example", Header: map[string][]string{"Upstash-Retries": {"3"}},
		}}, ""), engine.Precondition, "Upstash-Callback-Retries: 3, at most 2 are allowed"},
		"retries of a call's failure callback": {"maxRetries", 2, publish(wire.Config{Callback: &wire.Callback{
			URL: "https://cb.example", Header: map[string][]string{
				"Upstash-Workflow-Calltype": {"fromCallback"},
				"Upstash-Failure-Callback":  {"https://cb.example"}, "Upstash-Failure-Callback-Retries": {"3"},
			},
		}}, ""), engine.Precondition, "Upstash-Callback-Failure-Callback-Retries: 3, at most 2 are allowed"},
		"delay":      {"maxDelay", 60, publish(wire.Config{Delay: 61 * time.Second}, ""), engine.Precondition, "Upstash-Delay: 1m1s, at most 1m0s is allowed"},
		"not before": {"maxDelay", 60, publish(wire.Config{NotBefore: time.Date(2000, 2, 1, 0, 0, 0, 0, time.UTC).UnixMilli()}, ""), engine.Precondition, "Upstash-Not-Before: more than 1m0s ahead"},
		"retry out of the DLQ": {"maxRetries", 2, func(e *engine.Engine, who *engine.Caller) error {
			_, err := e.RetryDLQEntry(ctx, who, "1-1", wire.Config{Retries: new(3)})
			return err
		}, engine.Precondition, "Upstash-Retries: 3, at most 2 are allowed"},
		"queues": {"maxQueues", 1, func(e *engine.Engine, who *engine.Caller) error {
			_, err := e.PutQueue(ctx, who, engine.QueueChange{Name: "b"})
			return err
		}, engine.Precondition, "queue b: there are 1 queues, the most that are allowed"},
		"queues made by messages": {"maxQueues", 1, publish(wire.Config{Queue: "b"}, ""), engine.Precondition, "queue b: there are 1 queues, the most that are allowed"},
		"URL groups": {"maxUrlGroups", 1, func(e *engine.Engine, who *engine.Caller) error {
			return e.AddToGroup(ctx, who, "b", []engine.GroupEndpoint{{URL: "https://b.example"}})
		}, engine.Precondition, "topic b: there are 1 URL groups, the most that are allowed"},
		"endpoints": {"maxEndpoints", 1, func(e *engine.Engine, who *engine.Caller) error {
			return e.AddToGroup(ctx, who, "a", []engine.GroupEndpoint{{URL: "https://b.example"}})
		}, engine.Precondition, "endpoints: topic a would have 2, at most 1 are allowed"},
		"parallelism of queues": {"maxParallelism", 2, func(e *engine.Engine, who *engine.Caller) error {
			_, err := e.PutQueue(ctx, who, engine.QueueChange{Name: "a", Parallelism: new(3)})
			return err
		}, engine.Precondition, "parallelism: 3, at most 2 is allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				other := w.second()
				for _, who := range []*engine.Caller{w.caller, other} {
					if _, err := w.engine.PutQueue(ctx, who, engine.QueueChange{Name: "a"}); err != nil {
						t.Fatal(err)
					}
					if err := w.engine.AddToGroup(ctx, who, "a", []engine.GroupEndpoint{{URL: "https://a.example"}}); err != nil {
						t.Fatal(err)
					}
				}
				refused := func(when string) {
					t.Helper()
					if err := test.try(w.engine, w.caller); engine.ErrorCode(err) != test.code || err.Error() != test.want {
						t.Errorf("%s: got %v, want %s", when, err, test.want)
					}
				}
				w.limit(test.limit, test.value)
				refused("at once")
				w.stop()
				w.start()
				w.caller = w.now()
				refused("after a restart")
				if err := test.try(w.engine, other); engine.ErrorCode(err) == test.code {
					t.Errorf("of another tenant: %v", err)
				}
				if s := w.limit(test.limit, 0); s.Own != (engine.TenantLimits{}) {
					t.Errorf("taken back: %+v", s.Own)
				}
				if err := test.try(w.engine, w.caller); engine.ErrorCode(err) == test.code {
					t.Errorf("taken back: %v", err)
				}
			})
		})
	}
}

// second is a caller of another tenant.
func (w *world) second() *engine.Caller {
	w.t.Helper()
	cr, err := w.engine.CreateTenant(context.Background(), w.caller, "second")
	if err != nil {
		w.t.Fatal(err)
	}
	return w.authenticate(cr.Token)
}

// An attempt takes as long as its tenant may have it take.
func TestTimeoutOfATenant(t *testing.T) {
	inBubble(t, func(w *world) {
		w.limit("maxTimeout", 20)
		for i, tt := range []struct{ asked, want time.Duration }{{0, 20 * time.Second}, {time.Minute, 20 * time.Second}, {time.Second, time.Second}} {
			w.publish(engine.Publish{Config: wire.Config{Timeout: tt.asked}})
			time.Sleep(time.Second)
			if got := w.made()[i].Timeout; got != tt.want {
				t.Errorf("asked for %v: %v, want %v", tt.asked, got, tt.want)
			}
		}
	})
}

// More attempts at once begin as soon as they may; when fewer may be under way,
// none is cut off, and none begins until there is room.
func TestGlobalParallelismChanges(t *testing.T) {
	inBubble(t, func(w *world) {
		let := make(chan struct{})
		w.respond(func(engine.Attempt) engine.Outcome { <-let; return engine.Outcome{Status: 200} })
		flying := func(want int) {
			t.Helper()
			time.Sleep(time.Second)
			if most, n := w.engine.GlobalParallelism(w.caller); n != want {
				t.Errorf("%d of %d under way, want %d", n, most, want)
			}
		}
		w.limit("globalParallelism", 2)
		for range 10 {
			w.publish(engine.Publish{})
		}
		flying(2)
		w.limit("globalParallelism", 5)
		flying(5)
		w.limit("globalParallelism", 2)
		flying(5)
		for _, left := range []int{4, 3, 2, 2, 2} {
			let <- struct{}{}
			flying(left)
		}
		w.limit("globalParallelism", 0)
		flying(5) // the rest
		close(let)
		flying(0)
		if n := len(w.made()); n != 10 {
			t.Errorf("%d attempts", n)
		}
	})
}

// Limits are the operator's, have names and are whole numbers; a change that is
// refused changes nothing.
func TestChangeLimitsRefuses(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		other := w.second()
		w.limit("maxQueues", 7)
		for want, change := range map[string]map[string]*int64{
			`body: "maxQeues" is not the name of a limit`: {"maxQueues": new(int64(1)), "maxQeues": new(int64(1))},
			"maxQueues: expected a whole number from 1":   {"maxQueues": new(int64(-1))},
			"maxDelay: expected a whole number from 1":    {"maxDelay": new(int64(1 << 31)), "maxQueues": nil},
		} {
			if _, err := w.engine.ChangeLimits(ctx, w.caller, "u", change); engine.ErrorCode(err) != engine.Invalid || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		}
		if own := w.now().Limits; own != (engine.TenantLimits{MaxQueues: 7}) {
			t.Errorf("own limits %+v", own)
		}
		one := map[string]*int64{"maxQueues": new(int64(1))}
		if _, err := w.engine.ChangeLimits(ctx, other, "second", one); engine.ErrorCode(err) != engine.Forbidden {
			t.Errorf("by a tenant: %v", err)
		}
		if _, err := w.engine.TenantLimits(ctx, other, "second"); engine.ErrorCode(err) != engine.Forbidden {
			t.Errorf("read by a tenant: %v", err)
		}
		if _, err := w.engine.ChangeLimits(ctx, w.caller, "nobody", one); engine.ErrorCode(err) != engine.NotFound {
			t.Errorf("of nobody: %v", err)
		}
		if s, err := w.engine.LimitsOf(ctx, other); err != nil || s.Own != (engine.TenantLimits{}) || s.InForce.MaxQueues != 10_000 {
			t.Errorf("its own: %+v, %v", s, err)
		}
	})
}
