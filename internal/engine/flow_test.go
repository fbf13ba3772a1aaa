package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

func flowed(f wire.FlowControl) wire.Config {
	if f.Period == 0 {
		f.Period = time.Second
	}
	return wire.Config{FlowControl: &f}
}

func (w *world) flowKey(key string) engine.FlowStatus {
	w.t.Helper()
	k, err := w.engine.FlowKey(context.Background(), w.caller, key)
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

// windows are how many began in each window of a rate: a window begins with the
// first in it.
func windows(times []time.Time, period time.Duration) (counts []int) {
	slices.SortFunc(times, time.Time.Compare)
	var start time.Time
	for _, at := range times {
		if len(counts) == 0 || at.Sub(start) >= period {
			start, counts = at, append(counts, 0)
		}
		counts[len(counts)-1]++
	}
	return counts
}

func (s *site) times(group string) (out []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, at := range s.at {
		if strings.HasPrefix(path, group) {
			out = append(out, at...)
		}
	}
	return out
}

// As many attempts of a key are under way as it allows, those that are due
// first; other keys and messages without one are not held up.
func TestFlowParallelism(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.take(steady(time.Minute, 200))
		for _, path := range paths(20) {
			w.enqueue("", path, flowed(wire.FlowControl{Key: "k", Parallelism: 3}))
		}
		w.enqueue("", "other/1", flowed(wire.FlowControl{Key: "l", Parallelism: 1}))
		w.enqueue("", "plain/1", wire.Config{})
		time.Sleep(time.Second)
		if k := w.flowKey("k"); k.Active != 3 || k.WaitListSize != 17 || k.Parallelism != 3 || k.Rate != 0 {
			t.Errorf("key %+v of %+v", k, k.FlowKey)
		}
		if s.atOnce("other/") != 1 || s.atOnce("plain/") != 1 {
			t.Errorf("called %q", s.calls())
		}
		time.Sleep(time.Hour)
		s.mu.Lock()
		delete(s.at, "other/1")
		delete(s.at, "plain/1")
		s.mu.Unlock()
		if got := s.inOrder(); !slices.Equal(got, paths(20)) || s.atOnce("q/") != 3 {
			t.Errorf("%d at once, called %q", s.atOnce("q/"), got)
		}
		w.idle()
	})
}

// No more begin in a window than the rate, retries included, and the next window
// begins when the last has ended and not before there is something to send.
func TestFlowRate(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.take(func(path string, attempt int) (time.Duration, int) {
			if attempt == 0 && strings.HasSuffix(path, "5") {
				return time.Second, 500
			}
			return 3 * time.Second, 200
		})
		start := time.Now()
		for _, path := range paths(23) {
			cfg := flowed(wire.FlowControl{Key: "k", Rate: 5, Period: 10 * time.Second})
			cfg.RetryDelay = "1000"
			w.enqueue("", path, cfg)
		}
		if k := w.flowKey("k"); k.RateCount != 5 || k.WindowStart != start.UnixMilli() || k.WaitListSize != 18 || k.Period != 10 {
			t.Errorf("key %+v of %+v", k, k.FlowKey)
		}
		time.Sleep(4 * time.Second)
		w.stop()
		w.start()
		time.Sleep(time.Hour)
		got := windows(s.times("q/"), 10*time.Second)
		if !slices.Equal(got, []int{5, 5, 5, 5, 5}) { // 23 and two retries
			t.Errorf("windows of %v", got)
		}
		times := s.times("q/")
		slices.SortFunc(times, time.Time.Compare)
		if last := times[len(times)-1].Sub(start).Round(time.Second); last != 40*time.Second {
			t.Errorf("the last began after %v", last)
		}
		if k := w.flowKey("k"); k.RateCount != 0 || k.WaitListSize != 0 {
			t.Errorf("key %+v of %+v", k, k.FlowKey)
		}
		w.idle()
	})
}

// A message that is let in counts in the window in which it is sent, also where
// it had to wait for the dispatcher, and across restarts.
func TestFlowRateWithABusyDispatcher(t *testing.T) {
	for name, restart := range map[string]bool{"one process": false, "many processes": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.stop()
				w.concurrency = 6
				w.start()
				s := w.take(func(path string, _ int) (time.Duration, int) {
					if strings.HasPrefix(path, "slow/") {
						return 7300 * time.Millisecond, 200
					}
					return 100 * time.Millisecond, 200
				})
				for i := range 30 {
					w.enqueue("", fmt.Sprint("slow/", i), wire.Config{})
				}
				for _, path := range paths(60) {
					w.enqueue("", path, flowed(wire.FlowControl{Key: "k", Rate: 4, Period: 2 * time.Second}))
				}
				if restart {
					for range 20 {
						time.Sleep(1700 * time.Millisecond)
						w.stop()
						w.start()
					}
				}
				time.Sleep(time.Hour)
				counts := windows(s.times("q/"), 2*time.Second)
				if slices.Max(counts) != 4 || len(s.inOrder()) != 90 {
					t.Errorf("windows of %v, %d messages", counts, len(s.inOrder()))
				}
				w.idle()
			})
		})
	}
}

// What the latest message says of its key holds, at once and for all, but for
// what is pinned.
func TestFlowLatestConfigWins(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		s := w.take(steady(time.Hour, 200))
		for _, path := range paths(9) {
			w.enqueue("", path, flowed(wire.FlowControl{Key: "k", Parallelism: 1}))
		}
		begun := func(n int) {
			t.Helper()
			time.Sleep(time.Second)
			if got := s.inOrder(); len(got) != n {
				t.Errorf("called %q, want %d", got, n)
			}
		}
		begun(1)
		w.enqueue("", "q/9", flowed(wire.FlowControl{Key: "k", Parallelism: 4}))
		begun(4)
		if err := w.engine.PinFlow(ctx, w.caller, "k", engine.FlowPin{Parallelism: new(5)}); err != nil {
			t.Fatal(err)
		}
		begun(5)
		w.enqueue("", "q/a", flowed(wire.FlowControl{Key: "k", Parallelism: 9, Rate: 2, Period: time.Minute}))
		begun(5)
		if k := w.flowKey("k"); k.Parallelism != 5 || !k.PinnedParallelism || k.PinnedRate || k.Rate != 2 || k.Period != 60 {
			t.Errorf("key %+v", k.FlowKey)
		}
		if err := w.engine.UnpinFlow(ctx, w.caller, "k", true, false); err != nil {
			t.Fatal(err)
		}
		if k := w.flowKey("k"); k.Parallelism != 5 || k.PinnedParallelism {
			t.Errorf("unpinned: %+v", k.FlowKey)
		}
		begun(5)
		w.enqueue("", "q/b", flowed(wire.FlowControl{Key: "k", Parallelism: 20, Rate: 3, Period: time.Minute}))
		begun(8) // three in the window
		if err := w.engine.PinFlow(ctx, w.caller, "k", engine.FlowPin{Rate: new(1), Period: 30}); err != nil {
			t.Fatal(err)
		}
		begun(9) // one in the window that the pin began
		if err := w.engine.ResetFlowRate(ctx, w.caller, "k"); err != nil {
			t.Fatal(err)
		}
		begun(10)
		if k := w.flowKey("k"); k.RateCount != 1 || !k.PinnedRate || k.Period != 30 || k.Parallelism != 20 {
			t.Errorf("key %+v", k.FlowKey)
		}
		time.Sleep(24 * time.Hour)
		if len(s.inOrder()) != 12 {
			t.Errorf("called %q", s.inOrder())
		}
		w.idle()
	})
}

// A paused key delivers nothing, also of what it had let in that was not sent
// yet; its window passes. What is resumed goes on in order.
func TestFlowPause(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		w.stop()
		w.concurrency = 2
		w.start()
		s := w.take(func(path string, attempt int) (time.Duration, int) {
			if path == "q/000" && attempt == 0 {
				return time.Minute, 500
			}
			return time.Minute, 200
		})
		w.enqueue("", "plain/1", wire.Config{}) // with the next, all that are sent at once
		for _, path := range paths(6) {
			cfg := flowed(wire.FlowControl{Key: "k", Parallelism: 5, Rate: 100})
			cfg.RetryDelay = "1000"
			w.enqueue("", path, cfg)
		}
		time.Sleep(time.Second)
		pause := func(paused bool) {
			if err := w.engine.PauseFlow(ctx, w.caller, "k", paused); err != nil {
				t.Fatal(err)
			}
		}
		pause(true)
		pause(true)
		if k := w.flowKey("k"); !k.Paused || k.Active != 1 || k.WaitListSize != 5 {
			t.Errorf("key %+v of %+v", k, k.FlowKey)
		}
		time.Sleep(time.Hour)
		w.stop()
		w.start()
		time.Sleep(time.Hour)
		if got := s.inOrder(); len(s.calls()) != 2 || len(got) != 2 {
			t.Errorf("called %q", s.calls())
		}
		if k := w.flowKey("k"); k.Active != 0 || k.WaitListSize != 6 {
			t.Errorf("key %+v of %+v", k, k.FlowKey)
		}
		w.enqueue("", "q/006", flowed(wire.FlowControl{Key: "k", Parallelism: 1}))
		pause(false)
		time.Sleep(time.Hour)
		calls := s.calls()
		if want := []string{"q/001", "q/002", "q/003", "q/004", "q/005", "q/000", "q/006"}; !slices.Equal(calls[2:], want) {
			t.Errorf("called %q", calls)
		}
		w.idle()

		// A key may be paused before its first message.
		if err := w.engine.PauseFlow(ctx, w.caller, "new", true); err != nil {
			t.Fatal(err)
		}
		w.enqueue("", "q/new", flowed(wire.FlowControl{Key: "new", Parallelism: 1}))
		time.Sleep(time.Hour)
		if k := w.flowKey("new"); k.WaitListSize != 1 || len(s.when("q/new")) != 0 {
			t.Errorf("key %+v of %+v", k, k.FlowKey)
		}
	})
}

// A message passes its queue, then its key: it keeps its place in the queue
// while the key holds it up, and leaves the key between attempts.
func TestFlowInAQueue(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		s := w.take(func(path string, attempt int) (time.Duration, int) {
			if attempt == 0 && path == "q/a" {
				return time.Second, 500
			}
			return time.Second, 200
		})
		if err := w.engine.PauseFlow(ctx, w.caller, "k", true); err != nil {
			t.Fatal(err)
		}
		with := func() wire.Config {
			cfg := flowed(wire.FlowControl{Key: "k", Parallelism: 1, Rate: 1, Period: time.Minute})
			cfg.RetryDelay = "10000"
			return cfg
		}
		w.enqueue("q", "q/a", with())
		w.enqueue("q", "q/b", wire.Config{}) // held up by its queue alone
		w.enqueue("other", "o/c", with())
		time.Sleep(time.Hour)
		w.called(s)
		if err := w.engine.PauseFlow(ctx, w.caller, "k", false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		w.called(s, "q/a")
		w.lag("q", 2)
		w.pauseQueue("q", true)
		time.Sleep(5 * time.Minute) // o/c, while q/a is set aside
		w.called(s, "q/a", "o/c")
		w.pauseQueue("q", false)
		time.Sleep(5 * time.Minute)
		w.called(s, "q/a", "o/c", "q/a", "q/b")
		w.idle()
	})
}

// Callbacks go by the flow control that they are given.
func TestFlowOfCallbacks(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.take(steady(time.Minute, 200))
		h := map[string][]string{"Upstash-Flow-Control-Key": {"cb"}, "Upstash-Flow-Control-Value": {"parallelism=1"}}
		for _, path := range paths(5) {
			w.enqueue("", path, wire.Config{Callback: &wire.Callback{URL: "https://example.com/cb/" + path[2:], Header: h}})
		}
		time.Sleep(time.Hour)
		if s.atOnce("cb/") != 1 || s.atOnce("q/") != 5 || len(s.calls()) != 10 {
			t.Errorf("at once %v, called %q", s.every(), s.calls())
		}
		w.idle()
	})
}

// A clock that is put back holds a key up no longer than its period.
func TestFlowRateWhenTheClockGoesBack(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.take(steady(time.Second, 200))
		cfg := flowed(wire.FlowControl{Key: "k", Rate: 1, Period: time.Minute})
		w.enqueue("", "q/a", cfg)
		time.Sleep(10 * time.Second)
		err := w.store.Update(context.Background(), func(tx engine.Tx) error {
			k, err := tx.LockFlowKey(w.flowKey("k").Seq)
			if err != nil {
				return err
			}
			k.WindowStart += 10 * time.Hour.Milliseconds()
			return tx.UpdateFlowKey(k)
		})
		if err != nil {
			t.Fatal(err)
		}
		w.enqueue("", "q/b", cfg)
		time.Sleep(59 * time.Second)
		w.called(s, "q/a")
		time.Sleep(2 * time.Second)
		w.called(s, "q/a", "q/b")
		time.Sleep(time.Minute)
		w.idle()
	})
}

// Keys that nothing uses go, after a while; a message that waited all that time
// in its queue is held to what it asked for all the same.
func TestUnusedFlowKeysArePurged(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		s := w.take(steady(time.Hour, 200))
		w.enqueue("", "used", flowed(wire.FlowControl{Key: "used", Parallelism: 1}))
		w.enqueue("", "later", wire.Config{Delay: 10 * 24 * time.Hour, FlowControl: &wire.FlowControl{Key: "later", Rate: 1, Period: time.Second}})
		if err := w.engine.PinFlow(ctx, w.caller, "pinned", engine.FlowPin{Rate: new(3)}); err != nil {
			t.Fatal(err)
		}
		if err := w.engine.PauseFlow(ctx, w.caller, "paused", true); err != nil {
			t.Fatal(err)
		}
		w.putQueue(engine.QueueChange{Name: "q", Parallelism: new(10), Paused: new(true)})
		for i := range 3 {
			w.enqueue("q", fmt.Sprint("q/", i), flowed(wire.FlowControl{Key: "queued", Parallelism: 1}))
			w.enqueue("q", fmt.Sprint("r/", i), flowed(wire.FlowControl{Key: "again", Parallelism: 1}))
		}
		time.Sleep(6 * 24 * time.Hour)
		if all, err := w.engine.FlowKeys(ctx, w.caller, ""); err != nil || len(all) != 6 {
			t.Errorf("keys %+v, %v", all, err)
		}
		time.Sleep(2 * 24 * time.Hour)
		all, err := w.engine.FlowKeys(ctx, w.caller, "")
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, k := range all {
			left = append(left, k.Key)
		}
		if !slices.Equal(left, []string{"later", "paused", "pinned"}) {
			t.Errorf("keys %q", left)
		}
		w.enqueue("", "again", flowed(wire.FlowControl{Key: "again", Parallelism: 2})) // a new key of that name
		time.Sleep(2 * time.Hour)
		w.pauseQueue("q", false)
		time.Sleep(24 * time.Hour)
		if s.atOnce("q/") != 1 || s.atOnce("r/") != 2 || len(s.inOrder()) != 8 {
			t.Errorf("at once %v, called %q", s.every(), s.calls())
		}
		time.Sleep(2 * 24 * time.Hour)
		if len(s.when("later")) != 1 {
			t.Error("what was delayed was not sent")
		}
		w.idle()
	})
}

// All attempts of a tenant together are bounded, and tenants take turns: one's
// backlog does not hold up another.
func TestGlobalParallelism(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		w.stop()
		w.limits.GlobalParallelism = 4
		w.concurrency = 6
		w.start()
		s := w.take(steady(time.Minute, 200))
		made, err := w.engine.CreateTenant(ctx, w.caller, "second")
		if err != nil {
			t.Fatal(err)
		}
		second, err := w.engine.Authenticate(ctx, made.Token)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 40 {
			w.enqueue("", fmt.Sprint("first/", i), wire.Config{})
		}
		time.Sleep(time.Second)
		if most, count := w.engine.GlobalParallelism(w.caller); most != 4 || count != 4 {
			t.Errorf("%d of %d", count, most)
		}
		for i := range 40 {
			_, err := w.engine.Publish(ctx, second, []engine.Publish{{Destination: fmt.Sprint("https://example.com/second/", i), Config: wire.Config{Method: "POST"}}})
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if most, count := w.engine.GlobalParallelism(second); most != 4 || count != 2 {
			t.Errorf("the second tenant has %d of %d", count, most)
		}
		time.Sleep(10 * time.Minute)
		if a, b := len(s.times("first/")), len(s.times("second/")); a-b > 4 || b-a > 4 || a+b < 60 {
			t.Errorf("%d of the first tenant, %d of the second", a, b)
		}
		time.Sleep(24 * time.Hour)
		if s.atOnce("first/") > 4 || s.atOnce("second/") > 4 || len(s.inOrder()) != 80 {
			t.Errorf("at once %v, %d called", s.every(), len(s.inOrder()))
		}
		if _, count := w.engine.GlobalParallelism(w.caller); count != 0 {
			t.Errorf("%d under way", count)
		}
	})
}

// A tenant whose endpoints do not answer has no more than its share: others are
// served meanwhile, whatever limits there are.
func TestNobodyHasAllAttempts(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		w.concurrency = 10
		w.start()
		s := w.take(func(path string, _ int) (time.Duration, int) {
			if strings.HasPrefix(path, "silent/") {
				return time.Hour, 200
			}
			return 0, 200
		})
		for i := range 40 {
			w.enqueue("", fmt.Sprint("silent/", i), wire.Config{})
		}
		time.Sleep(time.Second)
		if most, count := w.engine.GlobalParallelism(w.caller); most != 8 || count != 8 {
			t.Errorf("%d of %d", count, most)
		}
		second := w.second()
		_, err := w.engine.Publish(context.Background(), second, []engine.Publish{{Destination: "https://example.com/other", Config: wire.Config{Method: "POST"}}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := len(s.times("other")); n != 1 {
			t.Errorf("the other tenant's message was delivered %d times", n)
		}
		time.Sleep(24 * time.Hour)
	})
}

// Messages that a limited token asks for, directly or not, join a key as it is.
// A key that nobody has described yet they describe.
func TestT21LimitedTokensChangeNoKey(t *testing.T) {
	ctx := context.Background()
	const url = "https://app.example/x"
	rate := func(flow []string) string { return flow[1][len(flow[1])-1:] } // each is asked for once
	inBubble(t, func(w *world) {
		_, secret := w.createToken(engine.NewToken{Name: "limited", Scopes: allScopes[:1], URLPrefix: "https://app.example"})
		who := w.authenticate(secret)
		for name, test := range map[string]struct {
			by  *engine.Caller // who is asked to describe a key
			ask func(by *engine.Caller, flow ...string) error
		}{
			"message": {who, func(by *engine.Caller, flow ...string) error {
				return second(w.engine.Publish(ctx, by, []engine.Publish{to(url, "", flow...)}))
			}},
			"callback": {who, func(by *engine.Caller, flow ...string) error {
				p := to(url, "", "Upstash-Callback: "+url, "Upstash-Callback-"+flow[0][len("Upstash-"):], "Upstash-Callback-"+flow[1][len("Upstash-"):])
				return second(w.engine.Publish(ctx, by, []engine.Publish{p}))
			}},
			"batch": {who, func(by *engine.Caller, flow ...string) error {
				return second(w.engine.PublishBatch(ctx, by, []engine.Publish{to(url, "", flow...)}))
			}},
			"group": {who, func(by *engine.Caller, flow ...string) error {
				w.group("g", url)
				w.groupHeader("g", flow...)
				return second(w.engine.Publish(ctx, by, []engine.Publish{to("g", "")}))
			}},
			"schedule": {who, func(by *engine.Caller, flow ...string) error {
				lines := append([]string{"Upstash-Cron: * * * * *", "Upstash-Schedule-Id: s"}, flow...)
				defer time.Sleep(time.Minute)
				return second(w.engine.Publish(ctx, by, []engine.Publish{to(url, "", lines...)}))
			}},
			"retry": {who, func(by *engine.Caller, flow ...string) error {
				w.respond(status(500))
				w.publishAll(to(url, "", "Upstash-Retries: 0"))
				time.Sleep(time.Second)
				w.respond(ok)
				entries := w.dlq()
				return second(w.engine.RetryDLQEntry(ctx, by, engine.DLQID(entries[len(entries)-1].Entry.Seq), to(url, "", flow...).Config))
			}},
			"resume": {who, func(by *engine.Caller, flow ...string) error {
				w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
				run := "wfr_resume" + rate(flow)
				w.trigger(run, 0)
				time.Sleep(time.Second)
				w.respond(ok)
				entries := w.dlq()
				over := to(url, "", flow...).Config
				return second(w.engine.ResumeRun(ctx, by, engine.DLQID(entries[len(entries)-1].Entry.Seq), engine.Resume{Over: over}))
			}},
			"run": {who, func(by *engine.Caller, flow ...string) error {
				lines := append([]string{"Upstash-Workflow-Init: true", "Upstash-Workflow-RunId: wfr_run" + rate(flow), "Upstash-Workflow-Url: " + url}, flow...)
				return second(w.engine.Publish(ctx, by, []engine.Publish{to(url, "", lines...)}))
			}},
			"event": {who, func(by *engine.Caller, flow ...string) error {
				run := "wfr_event" + rate(flow)
				w.trigger(run, 0)
				h := waitHeader(run)
				for name, values := range header(flow...) {
					h[name] = values
				}
				if err := w.engine.Wait(ctx, by, run, h, waitRequest(1, 1, nil)); err != nil {
					return err
				}
				w.notify(run, "")
				return nil
			}},
			// What runs ask for that a limited token has started is their endpoint's own wish.
			"step of a run": {w.caller, func(by *engine.Caller, flow ...string) error {
				run := "wfr_step" + rate(flow)
				lines := []string{"Upstash-Workflow-Init: true", "Upstash-Workflow-RunId: " + run, "Upstash-Workflow-Url: " + url}
				if _, err := w.engine.Publish(ctx, who, []engine.Publish{to(url, "", lines...)}); err != nil {
					return err
				}
				step := to(url, `{"stepId":1,"stepName":"s","stepType":"Run","concurrent":1}`, append([]string{
					"Upstash-Workflow-RunId: " + run, "Upstash-Workflow-Url: " + url, "Upstash-Workflow-CallType: step"}, flow...)...)
				return second(w.engine.Publish(ctx, by, []engine.Publish{step}))
			}},
		} {
			t.Run(name, func(t *testing.T) {
				flow := func(key string, rate int) []string {
					return []string{"Upstash-Flow-Control-Key: " + key, fmt.Sprint("Upstash-Flow-Control-Value: rate=", rate)}
				}
				for i, step := range []struct {
					by   *engine.Caller
					key  string
					rate int
					want int
				}{
					{w.caller, name, 5, 5},
					{test.by, name, 2, map[bool]int{true: 5, false: 2}[test.by == who]},
					{test.by, name + " new", 3, 3},
				} {
					if err := test.ask(step.by, flow(step.key, step.rate)...); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
					if k := w.flowKey(step.key); k.Rate != step.want {
						t.Errorf("step %d: rate %d, want %d", i, k.Rate, step.want)
					}
				}
			})
		}
	})
}
