package engine_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// site is endpoints whose attempts take a while, and notes who is there at once.
type site struct {
	mu     sync.Mutex
	begun  []string // paths of the URLs, in the order they were called
	at     map[string][]time.Time
	inside map[string]int // now, by group: the path up to the last slash
	most   map[string]int // at once, ever
}

// take has the world's endpoints answer: how long by a path's attempt, and what.
func (w *world) take(answer func(path string, attempt int) (time.Duration, int)) *site {
	s := &site{at: map[string][]time.Time{}, inside: map[string]int{}, most: map[string]int{}}
	w.respond(func(a engine.Attempt) engine.Outcome {
		path := strings.TrimPrefix(a.URL, "https://example.com/")
		group := path[:strings.LastIndexByte(path, '/')+1]
		s.mu.Lock()
		long, code := answer(path, len(s.at[path]))
		s.begun = append(s.begun, path)
		s.at[path] = append(s.at[path], time.Now())
		s.inside[group]++
		s.most[group] = max(s.most[group], s.inside[group])
		s.mu.Unlock()
		w.mu.Lock()
		cut := w.cut
		w.mu.Unlock()
		defer func() {
			s.mu.Lock()
			s.inside[group]--
			s.mu.Unlock()
		}()
		select {
		case <-time.After(long):
		case <-cut:
			return engine.Outcome{Error: "cut off"}
		}
		return engine.Outcome{Status: code, Header: http.Header{}}
	})
	return s
}

func steady(long time.Duration, code int) func(string, int) (time.Duration, int) {
	return func(string, int) (time.Duration, int) { return long, code }
}

// when is when the attempts for a path began, atOnce how many of a group ever
// were under way together.
func (s *site) when(path string) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.at[path])
}

func (s *site) atOnce(group string) int { return s.every()[group] }

func (s *site) every() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.most)
}

func (s *site) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.begun)
}

// inOrder is what was called, each path once, by when it began; what began at
// the same instant, by its name.
func (s *site) inOrder() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Collect(maps.Keys(s.at))
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(s.at[a][0].Compare(s.at[b][0]), strings.Compare(a, b)) })
	return out
}

// enqueue publishes to https://example.com/<path>, through a queue unless it
// is "".
func (w *world) enqueue(queue, path string, cfg wire.Config) string {
	w.t.Helper()
	cfg.Queue = queue
	return w.publish(engine.Publish{Destination: "https://example.com/" + path, Config: cfg})
}

func (w *world) queue(name string) engine.QueueStatus {
	w.t.Helper()
	q, err := w.engine.Queue(context.Background(), w.caller, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

func (w *world) putQueue(q engine.QueueChange) {
	w.t.Helper()
	if _, err := w.engine.PutQueue(context.Background(), w.caller, q); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pauseQueue(name string, paused bool) {
	w.t.Helper()
	if err := w.engine.PauseQueue(context.Background(), w.caller, name, paused); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) lag(name string, want int) {
	w.t.Helper()
	if q := w.queue(name); q.Lag != want {
		w.t.Errorf("queue %s: lag %d, want %d", name, q.Lag, want)
	}
}

func (w *world) called(s *site, want ...string) {
	w.t.Helper()
	if got := s.calls(); !slices.Equal(got, want) {
		w.t.Errorf("called %q, want %q", got, want)
	}
}

// idle checks that nothing is left in any lane: no slot is leaked.
func (w *world) idle() {
	w.t.Helper()
	for _, leak := range w.leaks() {
		w.t.Error(leak)
	}
}

func (w *world) leaks() (leaks []string) {
	w.t.Helper()
	err := w.store.View(context.Background(), func(tx engine.Tx) error {
		queues, err := tx.Queues(w.tenant.ID)
		if err != nil {
			return err
		}
		keys, err := tx.FlowKeys(w.tenant.ID)
		if err != nil {
			return err
		}
		active := map[int64]int{}
		for _, q := range queues {
			active[q.Seq] = q.Active
		}
		for _, k := range keys {
			active[k.Seq] = k.Active
		}
		for lane, n := range active {
			slots, err := tx.Slots(lane)
			if err != nil {
				return err
			}
			if n != 0 || len(slots) != 0 {
				leaks = append(leaks, fmt.Sprintf("lane %d: %d active, slots of %v", lane, n, slots))
			}
		}
		lane, err := tx.NextLane(w.tenant.ID, 0)
		if lane != 0 {
			leaks = append(leaks, fmt.Sprintf("some wait in lane %d", lane))
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return leaks
}

func paths(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("q/%03d", i))
	}
	return out
}

// Messages begin in the order they were enqueued in, as many at a time as the
// queue is wide, and the next as soon as one has ended.
func TestQueueOrder(t *testing.T) {
	for _, width := range []int{1, 2, 7} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.putQueue(engine.QueueChange{Name: "q", Parallelism: &width})
				s := w.take(func(path string, _ int) (time.Duration, int) {
					return time.Duration(1+len(path)+int(path[len(path)-1])%5) * time.Second, 200
				})
				start := time.Now()
				for _, path := range paths(40) {
					w.enqueue("q", path, wire.Config{})
				}
				w.lag("q", 40)
				time.Sleep(time.Hour)
				if got := s.inOrder(); !slices.Equal(got, paths(40)) || len(s.calls()) != 40 {
					t.Errorf("called %q", s.calls())
				}
				if s.atOnce("q/") != width {
					t.Errorf("%d at once, want %d", s.atOnce("q/"), width)
				}
				if width == 1 {
					var sum time.Duration
					for i, path := range paths(40) {
						if late := s.when(path)[0].Sub(start) - sum; late > time.Duration(i+1)*5*time.Millisecond {
							t.Fatalf("%s began %v after the one before had ended", path, late)
						}
						sum += time.Duration(1+len(path)+int(path[len(path)-1])%5) * time.Second
					}
				}
				w.lag("q", 0)
				w.idle()
			})
		})
	}
}

// Order holds across retries: who failed goes on before the next begins, and
// gives its place up when it is in the DLQ.
func TestQueueOrderAcrossRetries(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.take(func(path string, attempt int) (time.Duration, int) {
			switch {
			case path == "q/dead":
				return time.Second, 500
			case attempt < 2:
				return time.Second, 503
			}
			return time.Second, 200
		})
		for _, path := range []string{"q/a", "q/dead", "q/b"} {
			w.enqueue("q", path, wire.Config{Retries: new(2), RetryDelay: "60000"})
		}
		time.Sleep(30 * time.Second)
		w.called(s, "q/a")
		w.lag("q", 3)
		time.Sleep(time.Hour)
		w.called(s, "q/a", "q/a", "q/a", "q/dead", "q/dead", "q/dead", "q/b", "q/b", "q/b")
		if d := w.dlq(); len(d) != 1 {
			t.Fatalf("DLQ %+v", d)
		}
		w.idle()

		// Retried from the DLQ it goes through its queue once more, behind the others.
		w.enqueue("q", "q/c", wire.Config{})
		s = w.take(steady(time.Second, 200))
		out, err := w.engine.RetryDLQEntry(context.Background(), w.caller, engine.DLQID(w.dlq()[0].Entry.Seq), wire.Config{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if calls := s.calls(); calls[len(calls)-1] != "q/dead" {
			t.Errorf("called %q", calls)
		}
		if states := w.states(out.MessageID); states[len(states)-1] != delivered {
			t.Errorf("events %v", states)
		}
		w.idle()
	})
}

// A delayed message takes its place when it is due, and holds nobody up until
// then.
func TestQueueDelay(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.take(steady(time.Minute, 200))
		w.enqueue("q", "q/later", wire.Config{Delay: 90 * time.Second})
		w.enqueue("q", "q/latest", wire.Config{Delay: time.Hour})
		w.enqueue("q", "q/a", wire.Config{})
		w.enqueue("q", "q/b", wire.Config{})
		w.lag("q", 4)
		time.Sleep(100 * time.Second)
		w.enqueue("q", "q/c", wire.Config{})
		time.Sleep(30 * time.Minute)
		w.called(s, "q/a", "q/b", "q/later", "q/c")
		w.lag("q", 1)
		w.stop()
		w.start()
		time.Sleep(time.Hour)
		w.called(s, "q/a", "q/b", "q/later", "q/c", "q/latest")
		w.idle()
	})
}

// A paused queue takes messages in and delivers none; it goes on with the
// oldest. An attempt under way ends, with no other before the queue goes on.
func TestQueuePause(t *testing.T) {
	for name, restart := range map[string]bool{"same process": false, "next process": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				again := func() {
					if restart {
						w.stop()
						w.start()
					}
				}
				s := w.take(func(path string, attempt int) (time.Duration, int) {
					if path == "q/a" && attempt < 2 {
						return 10 * time.Second, 500
					}
					return 10 * time.Second, 200
				})
				a := w.enqueue("q", "q/a", wire.Config{RetryDelay: "60000"})
				time.Sleep(5 * time.Second)
				w.pauseQueue("q", true) // during its attempt
				w.enqueue("q", "q/b", wire.Config{})
				w.lag("q", 2)
				time.Sleep(time.Hour)
				w.expectStates(a, created, active, failing, retry)
				w.lag("q", 2)
				again()
				time.Sleep(time.Hour)
				w.called(s, "q/a")
				w.pauseQueue("q", false)
				w.pauseQueue("q", false)
				time.Sleep(20 * time.Second)
				w.called(s, "q/a", "q/a")
				w.pauseQueue("q", true) // between its attempts
				w.pauseQueue("q", true)
				w.lag("q", 2)
				again()
				time.Sleep(time.Hour)
				w.called(s, "q/a", "q/a")
				w.lag("q", 2)
				again()
				w.pauseQueue("q", false)
				time.Sleep(time.Hour)
				w.called(s, "q/a", "q/a", "q/a", "q/b")
				w.expectStates(a, created, active, failing, retry, active, failing, retry, active, delivered)
				w.idle()

				// Resumed before its retry is due, it waits for that.
				s = w.take(func(path string, attempt int) (time.Duration, int) { return time.Second, 500 - 300*min(attempt, 1) })
				w.enqueue("q", "q/c", wire.Config{RetryDelay: "60000"})
				time.Sleep(10 * time.Second)
				w.pauseQueue("q", true)
				time.Sleep(10 * time.Second)
				w.pauseQueue("q", false)
				again()
				time.Sleep(10 * time.Minute)
				w.called(s, "q/c", "q/c")
				if gap := s.when("q/c")[1].Sub(s.when("q/c")[0]).Round(time.Second); gap != 61*time.Second {
					t.Errorf("retried after %v", gap)
				}
				w.idle()
			})
		})
	}
}

// Whatever is asked of a queue that is not there but may not be: its errors,
// and that an upsert keeps what it does not give.
func TestQueueUpsert(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		w.stop()
		w.limits = engine.Limits{MaxQueues: 2, MaxParallelism: 5}
		w.start()
		w.putQueue(engine.QueueChange{Name: "a", Parallelism: new(3), Paused: new(true)})
		made := w.queue("a")
		if made.Parallelism != 3 || !made.Paused || engine.Millis(made.Seq) != time.Now().UnixMilli() || made.UpdatedAt != time.Now().UnixMilli() {
			t.Errorf("made %+v", made.Queue)
		}
		time.Sleep(time.Second)
		w.putQueue(engine.QueueChange{Name: "a"})
		if q := w.queue("a"); *q.Queue != *made.Queue {
			t.Errorf("an upsert of nothing: %+v", q.Queue)
		}
		w.putQueue(engine.QueueChange{Name: "a", Parallelism: new(2)})
		if q := w.queue("a"); q.Parallelism != 2 || !q.Paused || q.UpdatedAt != time.Now().UnixMilli() || q.Seq != made.Seq {
			t.Errorf("an upsert of the parallelism: %+v", q.Queue)
		}
		w.putQueue(engine.QueueChange{Name: "a", Paused: new(false)})
		if q := w.queue("a"); q.Parallelism != 2 || q.Paused {
			t.Errorf("an upsert of paused: %+v", q.Queue)
		}
		w.enqueue("b", "q/b", wire.Config{Delay: time.Hour})
		if q := w.queue("b"); q.Parallelism != 1 || q.Paused || q.Lag != 1 {
			t.Errorf("made by a message: %+v", q)
		}

		// Two is the most: others are refused whole, these two are not.
		p := engine.Publish{Destination: "https://example.com/", Config: wire.Config{Method: "POST", Queue: "c", DeduplicationID: "held"}}
		if _, err := w.engine.Publish(ctx, w.caller, []engine.Publish{p}); engine.ErrorCode(err) != engine.Precondition || !strings.Contains(err.Error(), "queue c: there are 2 queues") {
			t.Errorf("a third queue: %v", err)
		}
		if _, err := w.engine.PutQueue(ctx, w.caller, engine.QueueChange{Name: "c"}); engine.ErrorCode(err) != engine.Precondition {
			t.Errorf("a third queue: %v", err)
		}
		w.putQueue(engine.QueueChange{Name: "a", Parallelism: new(5)})
		if _, err := w.engine.PutQueue(ctx, w.caller, engine.QueueChange{Name: "a", Parallelism: new(6)}); engine.ErrorCode(err) != engine.Precondition {
			t.Errorf("a parallelism above the limit: %v", err)
		}
		p.Config.Queue = "b"
		if out, err := w.engine.Publish(ctx, w.caller, []engine.Publish{p}); err != nil || out[0].Deduplicated {
			t.Errorf("what was refused holds the deduplication id: %+v, %v", out, err)
		}
		for _, name := range []string{"", "a b", ".", "..", strings.Repeat("q", 257), "ü"} {
			if _, err := w.engine.PutQueue(ctx, w.caller, engine.QueueChange{Name: name}); err == nil || !strings.Contains(err.Error(), "queueName: expected 1 to 256") {
				t.Errorf("queue %q: %v", name, err)
			}
		}
		if _, err := w.engine.PutQueue(ctx, w.caller, engine.QueueChange{Name: "a", Parallelism: new(0)}); engine.ErrorCode(err) != engine.Invalid {
			t.Errorf("parallelism 0: %v", err)
		}
		if err := w.engine.PauseQueue(ctx, w.caller, "c", true); engine.ErrorCode(err) != engine.NotFound {
			t.Errorf("paused queue c: %v", err)
		}
		if _, err := w.engine.Queue(ctx, w.caller, "c\x00"); engine.ErrorCode(err) != engine.NotFound {
			t.Errorf("read queue c: %v", err)
		}
		if err := w.engine.DeleteQueue(ctx, w.caller, "b"); err != nil {
			t.Error(err)
		}
		w.putQueue(engine.QueueChange{Name: "c"})
		all, err := w.engine.Queues(ctx, w.caller)
		if err != nil || len(all) != 2 || all[0].Name != "a" || all[1].Name != "c" {
			t.Errorf("queues %+v, %v", all, err)
		}
	})
}

// A parallelism that grows lets more in at once; one that shrinks cuts nobody
// off.
func TestQueueParallelismChanges(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.take(steady(time.Minute, 200))
		begun := func(n int) {
			t.Helper()
			if got := s.inOrder(); !slices.Equal(got, paths(n)) {
				t.Errorf("called %q, want the first %d", got, n)
			}
		}
		for _, path := range paths(12) {
			w.enqueue("q", path, wire.Config{})
		}
		time.Sleep(time.Second)
		begun(1)
		w.putQueue(engine.QueueChange{Name: "q", Parallelism: new(5)})
		time.Sleep(time.Second)
		begun(5)
		w.putQueue(engine.QueueChange{Name: "q", Parallelism: new(2)})
		time.Sleep(57 * time.Second) // the first has not ended
		begun(5)
		time.Sleep(30 * time.Second)
		begun(7)
		time.Sleep(time.Hour)
		begun(12)
		w.idle()
	})
}

// Deleting a queue cancels what is in it and waits for it, but does not cut off
// an attempt. A new queue of that name has nothing to do with it.
func TestQueueDelete(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		s := w.take(func(path string, attempt int) (time.Duration, int) {
			if path == "q/flying" {
				return time.Minute, 500
			}
			return time.Second, 500
		})
		w.putQueue(engine.QueueChange{Name: "q", Parallelism: new(2)})
		flying := w.enqueue("q", "q/flying", wire.Config{})
		between := w.enqueue("q", "q/between", wire.Config{RetryDelay: "600000"})
		waiting := w.enqueue("q", "q/waiting", wire.Config{})
		delayed := w.enqueue("q", "q/delayed", wire.Config{Delay: time.Hour})
		time.Sleep(30 * time.Second)
		if err := w.engine.DeleteQueue(ctx, w.caller, "q"); err != nil {
			t.Fatal(err)
		}
		if all, err := w.engine.Queues(ctx, w.caller); err != nil || len(all) != 0 {
			t.Errorf("queues %+v, %v", all, err)
		}
		w.expectStates(flying, created, active, asked)
		w.expectStates(between, created, active, failing, retry, asked, canceled)
		w.expectStates(waiting, created, asked, canceled)
		w.expectStates(delayed, created, asked, canceled)
		if err := w.engine.DeleteQueue(ctx, w.caller, "q"); err != nil {
			t.Errorf("deleted twice: %v", err)
		}
		fresh := w.enqueue("q", "q/fresh", wire.Config{Retries: new(0)})
		w.lag("q", 1)
		time.Sleep(10 * time.Second)
		w.expectStates(fresh, created, active, failing, failed)
		time.Sleep(24 * time.Hour)
		w.expectStates(flying, created, active, asked, failing, canceled)
		if got := s.inOrder(); len(s.calls()) != 3 || !slices.Equal(got, []string{"q/between", "q/flying", "q/fresh"}) {
			t.Errorf("called %q", s.calls())
		}
		w.idle()
	})
}

// A deletion that the process did not live to end is ended by the next, however
// many messages there are.
func TestQueueDeleteSurvivesRestart(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		w.stop()
		f := &faulty{Store: w.store}
		w.store = f
		w.start()
		s := w.take(steady(time.Second, 200))
		w.putQueue(engine.QueueChange{Name: "q", Paused: new(true)})
		var items []engine.Publish
		for _, path := range paths(1200) {
			items = append(items, engine.Publish{Destination: "https://example.com/" + path, Config: wire.Config{Method: "POST", Queue: "q"}})
		}
		if _, err := w.engine.Publish(ctx, w.caller, items); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		f.calls, f.fail = 0, func(call int) bool { return call == 2 } // the first step of cancelling
		f.mu.Unlock()
		if err := w.engine.DeleteQueue(ctx, w.caller, "q"); err == nil {
			t.Fatal("nothing failed")
		}
		time.Sleep(time.Minute) // it is tried again
		w.idle()

		w.putQueue(engine.QueueChange{Name: "q", Paused: new(true)})
		if _, err := w.engine.Publish(ctx, w.caller, items); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		f.calls, f.fail = 0, func(call int) bool { return call > 1 }
		f.mu.Unlock()
		if err := w.engine.DeleteQueue(ctx, w.caller, "q"); err == nil {
			t.Fatal("nothing failed")
		}
		w.stop()
		f.mu.Lock()
		f.fail = nil
		f.mu.Unlock()
		w.start()
		time.Sleep(time.Minute)
		w.idle()
		w.called(s)
	})
}

// The next message waits until the callbacks of the one before have ended,
// however they end.
func TestQueueWaitsForCallbacks(t *testing.T) {
	ctx := context.Background()
	callback := func(path string, header ...string) *wire.Callback {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &wire.Callback{URL: "https://example.com/" + path, Header: h}
	}
	tests := map[string]struct {
		cfg    wire.Config
		answer func(path string, attempt int) (time.Duration, int)
		during func(w *world) // a minute after the first was enqueued
		before []string       // what is called before the second message
	}{
		"delivered": {
			cfg:    wire.Config{Callback: callback("cb/done")},
			answer: steady(10*time.Minute, 200), before: []string{"q/1", "cb/done"},
		},
		"failed callback": {
			cfg: wire.Config{Callback: callback("cb/done", "Upstash-Retries", "1", "Upstash-Retry-Delay", "1000")},
			answer: func(path string, _ int) (time.Duration, int) {
				if path == "cb/done" {
					return time.Minute, 500
				}
				return time.Minute, 200
			}, before: []string{"q/1", "cb/done", "cb/done"},
		},
		"callbacks of all attempts, and of the failure": {
			cfg: wire.Config{Retries: new(1), RetryDelay: "1000", Callback: callback("cb/each"), FailureCallback: callback("cb/failed")},
			answer: func(path string, attempt int) (time.Duration, int) {
				switch path {
				case "cb/each":
					return time.Hour * time.Duration(2-attempt), 200
				case "q/1":
					return time.Minute, 500
				}
				return time.Minute, 200
			}, before: []string{"q/1", "cb/each", "q/1", "cb/each", "cb/failed"},
		},
		"cancelled before it was sent": {
			cfg:    wire.Config{Callback: callback("cb/done", "Upstash-Delay", "10h")},
			answer: steady(time.Second, 200),
			during: func(w *world) {
				if n, err := w.engine.CancelMessages(ctx, w.caller, engine.MessageFilter{Paths: []string{"/cb/done"}}, 0); n != 1 || err != nil {
					w.t.Errorf("cancelled %d, %v", n, err)
				}
			}, before: []string{"q/1"},
		},
		"cancelled while it was sent": {
			cfg: wire.Config{Callback: callback("cb/done")},
			answer: func(path string, _ int) (time.Duration, int) {
				if path == "cb/done" {
					return time.Hour, 500
				}
				return time.Second, 200
			},
			during: func(w *world) {
				if n, err := w.engine.CancelMessages(ctx, w.caller, engine.MessageFilter{Paths: []string{"/cb/done"}}, 0); n != 1 || err != nil {
					w.t.Errorf("cancelled %d, %v", n, err)
				}
			}, before: []string{"q/1", "cb/done"},
		},
		"restart": {
			cfg:    wire.Config{Callback: callback("cb/done", "Upstash-Delay", "1h")},
			answer: steady(time.Second, 200),
			during: func(w *world) { w.stop(); w.start() },
			before: []string{"q/1", "cb/done"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				s := w.take(tt.answer)
				w.enqueue("q", "q/1", tt.cfg)
				w.enqueue("q", "q/2", wire.Config{})
				time.Sleep(time.Minute)
				if tt.during != nil {
					tt.during(w)
				}
				time.Sleep(30 * time.Hour)
				calls := s.calls()
				at := slices.Index(calls, "q/2")
				if at < 0 || !slices.Equal(slices.Sorted(slices.Values(calls[:at])), slices.Sorted(slices.Values(tt.before))) {
					t.Fatalf("called %q, want %q and then the second", calls, tt.before)
				}
				if last := lastEnd(s, tt.answer, tt.before); s.when("q/2")[0].Before(last) {
					t.Errorf("the second began %v before the callbacks had ended", last.Sub(s.when("q/2")[0]))
				}
				w.idle()
			})
		})
	}
}

// lastEnd is when the last of the calls of paths ended.
func lastEnd(s *site, answer func(string, int) (time.Duration, int), paths []string) (last time.Time) {
	for _, path := range paths {
		for i, at := range s.when(path) {
			long, _ := answer(path, i)
			if end := at.Add(long); end.After(last) {
				last = end
			}
		}
	}
	return last
}

// Callbacks outlive the queue that waited for them.
func TestQueueDeletedUnderACallback(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		s := w.take(steady(time.Minute, 200))
		w.enqueue("q", "q/1", wire.Config{Callback: &wire.Callback{URL: "https://example.com/cb/done"}})
		time.Sleep(90 * time.Second)
		w.lag("q", 1)
		if err := w.engine.DeleteQueue(ctx, w.caller, "q"); err != nil {
			t.Fatal(err)
		}
		w.enqueue("q", "q/2", wire.Config{})
		w.enqueue("q", "q/3", wire.Config{})
		time.Sleep(time.Second)
		w.called(s, "q/1", "cb/done", "q/2")
		w.lag("q", 2)
		time.Sleep(time.Hour)
		w.called(s, "q/1", "cb/done", "q/2", "q/3")
		w.idle()
	})
}

// A message that is cancelled makes room, wherever it stands: now, if it waits
// or is between attempts, else when its attempt has ended.
func TestQueueCancel(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		s := w.take(func(path string, _ int) (time.Duration, int) {
			if path == "q/between" {
				return time.Second, 500
			}
			return time.Minute, 500
		})
		cancel := func(id string) {
			if _, err := w.engine.CancelMessage(ctx, w.caller, id); err != nil {
				t.Error(err)
			}
		}
		between := w.enqueue("q", "q/between", wire.Config{RetryDelay: "3600000"})
		flying := w.enqueue("q", "q/flying", wire.Config{})
		waiting := w.enqueue("q", "q/waiting", wire.Config{})
		w.enqueue("q", "q/last", wire.Config{Retries: new(0)})
		cancel(waiting)
		time.Sleep(30 * time.Second)
		cancel(between)
		time.Sleep(30 * time.Second)
		w.called(s, "q/between", "q/flying")
		cancel(flying)
		w.lag("q", 2)
		time.Sleep(20 * time.Second)
		w.called(s, "q/between", "q/flying")
		time.Sleep(time.Hour)
		w.called(s, "q/between", "q/flying", "q/last")
		w.idle()
	})
}

// Bulk operations find messages wherever they stand: waiting in lanes that what
// is cancelled makes room in, and not waiting.
func TestQueueCancelAll(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		s := w.take(steady(time.Hour, 200))
		for i := range 3 {
			for j := range 400 {
				w.enqueue(fmt.Sprint("q", i), fmt.Sprintf("q/%d-%d", i, j), wire.Config{FlowControl: &wire.FlowControl{Key: "k", Parallelism: 2}})
			}
		}
		w.enqueue("", "q/plain", wire.Config{Delay: time.Hour})
		if n, err := w.engine.CancelMessages(ctx, w.caller, engine.MessageFilter{Queues: []string{"q1"}}, 10); n != 10 || err != nil {
			t.Errorf("cancelled %d, %v", n, err)
		}
		if n, err := w.engine.CancelMessages(ctx, w.caller, engine.MessageFilter{FlowKeys: []string{"k"}, Queues: []string{"q2"}}, 0); n != 400 || err != nil {
			t.Errorf("cancelled %d, %v", n, err)
		}
		if n, err := w.engine.CancelMessages(ctx, w.caller, engine.MessageFilter{}, 0); n != 3*400+1-410 || err != nil {
			t.Errorf("cancelled %d, %v", n, err)
		}
		time.Sleep(3 * time.Hour)
		if calls := s.calls(); len(calls) > 2 {
			t.Errorf("called %q", calls)
		}
		w.idle()
	})
}

// An attempt that a crash cuts off is made again, before the next message's.
func TestQueueOrderAcrossRestarts(t *testing.T) {
	inBubble(t, func(w *world) {
		s := w.take(steady(10*time.Second, 200))
		for _, path := range paths(5) {
			w.enqueue("q", path, wire.Config{})
		}
		for range 8 {
			time.Sleep(7 * time.Second)
			w.stop()
			time.Sleep(time.Minute)
			w.start()
		}
		time.Sleep(time.Hour)
		calls := slices.Compact(s.calls())
		if !slices.Equal(calls, paths(5)) {
			t.Errorf("called %q", calls)
		}
		w.idle()
	})
}

// Whichever write fails, before or after its commit, queues keep their order,
// nothing is stuck and nothing leaks.
func TestEveryWriteOfLanesMayFail(t *testing.T) {
	const writes = 24
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
					f.calls, f.fail = 0, func(call int) bool { return call == n }
					f.mu.Unlock()
					laneFaults(w)
				})
			})
		}
	}
}

func laneFaults(w *world) {
	ctx := context.Background()
	s := w.take(func(path string, attempt int) (time.Duration, int) {
		if path == "q/b" && attempt == 0 || path == "q/d" {
			return time.Second, 500
		}
		return time.Second, 200
	})
	send := func(queue, path string, cfg wire.Config) {
		cfg.Method, cfg.Queue, cfg.RetryDelay = "POST", queue, "2000"
		cfg.FlowControl = &wire.FlowControl{Key: "k", Parallelism: 2, Rate: 3, Period: 2 * time.Second}
		for {
			_, err := w.engine.Publish(ctx, w.caller, []engine.Publish{{Destination: "https://example.com/" + path, Config: cfg}})
			if err == nil {
				return
			}
		}
	}
	for _, path := range []string{"q/a", "q/b", "q/c"} {
		send("q", path, wire.Config{Callback: &wire.Callback{URL: "https://example.com/cb"}})
	}
	send("q", "q/d", wire.Config{Retries: new(1), Delay: 3 * time.Second})
	send("", "plain", wire.Config{})
	time.Sleep(1500 * time.Millisecond)
	for w.engine.PauseQueue(ctx, w.caller, "q", true) != nil {
	}
	time.Sleep(4 * time.Second)
	for w.engine.PauseQueue(ctx, w.caller, "q", false) != nil {
	}
	time.Sleep(time.Hour)
	order := slices.DeleteFunc(s.calls(), func(path string) bool { return !strings.HasPrefix(path, "q/") })
	if !slices.Equal(slices.Compact(order), []string{"q/a", "q/b", "q/c", "q/d"}) {
		// What failed after its commit was sent twice: a and a again, in order.
		first := map[string]bool{}
		var firsts []string
		for _, path := range order {
			if !first[path] {
				first[path] = true
				firsts = append(firsts, path)
			}
		}
		if !slices.Equal(firsts, []string{"q/a", "q/b", "q/c", "q/d"}) {
			w.t.Errorf("called %q", order)
		}
	}
	if n := len(s.when("q/d")); n < 2 {
		w.t.Errorf("called %q", order)
	}
	if len(w.dlq()) == 0 {
		w.t.Error("nothing in the DLQ")
	}
	if s.atOnce("q/") > 1 {
		w.t.Errorf("%d of the queue at once", s.atOnce("q/"))
	}
	w.idle()
}
