package engine_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

func (w *world) cancelAll(f engine.MessageFilter, limit int) int {
	w.t.Helper()
	n, err := w.engine.CancelMessages(context.Background(), w.caller, f, limit)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// Whatever a message waits for, it can be cancelled, and counts once: by its id,
// by any of its attributes, or among all.
func TestCancelCountsExactly(t *testing.T) {
	flow := &wire.FlowControl{Key: "k", Parallelism: 1}
	for name, choose := range map[string]func(id string) engine.MessageFilter{
		"by id":    func(id string) engine.MessageFilter { return engine.MessageFilter{IDs: []string{id, id, "msg_none"}} },
		"by label": func(string) engine.MessageFilter { return engine.MessageFilter{Labels: []string{"x", "other"}} },
		"by URL": func(string) engine.MessageFilter {
			return engine.MessageFilter{URLs: []string{"https://example.com/x"}}
		},
		"by all at once": func(string) engine.MessageFilter {
			return engine.MessageFilter{Hosts: []string{"example.com"}, Paths: []string{"/x"}, Labels: []string{"x"}, From: 1, To: 1 << 42}
		},
	} {
		for state, config := range map[string]wire.Config{
			"delayed":                 {Delay: time.Hour},
			"between attempts":        {},
			"under way":               {},
			"waiting in a queue":      {Queue: "q"},
			"waiting for flow":        {FlowControl: flow},
			"delayed in a queue":      {Queue: "q", Delay: time.Hour},
			"delayed by flow control": {FlowControl: flow, Delay: time.Hour},
		} {
			t.Run(name+", "+state, func(t *testing.T) {
				inBubble(t, func(w *world) {
					w.respond(func(a engine.Attempt) engine.Outcome {
						if state == "under way" || a.URL == "https://example.com/first" {
							time.Sleep(time.Minute)
						}
						return engine.Outcome{Status: 500}
					})
					ahead := config
					ahead.Delay = 0
					first := w.publish(engine.Publish{Destination: "https://example.com/first", Config: ahead})
					time.Sleep(time.Second)
					config.Labels = []string{"x"}
					id := w.publish(engine.Publish{Destination: "https://example.com/x", Config: config})
					time.Sleep(2 * time.Second)
					f := choose(id)
					if n := w.cancelAll(f, 0); n != 1 {
						t.Errorf("cancelled %d, want 1", n)
					}
					if n := w.cancelAll(f, 0); n != 0 {
						t.Errorf("cancelled %d again", n)
					}
					if n := w.cancelAll(engine.MessageFilter{}, 0); n != 1 {
						t.Errorf("of the rest cancelled %d, want 1", n)
					}
					time.Sleep(time.Hour * 2)
					for _, id := range []string{first, id} {
						if states := w.states(id); states[len(states)-1] != canceled {
							t.Errorf("events %v", states)
						}
					}
				})
			})
		}
	}
}

// What became of a message is its newest event, also if its attempt had ended
// just before it was cancelled, and was written down after.
func TestCancelAfterTheAttempt(t *testing.T) {
	for name, status := range map[string]int{"delivered": 200, "failed": 500} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.respond(func(engine.Attempt) engine.Outcome {
					end := time.Now().Add(time.Second)
					time.Sleep(3 * time.Second)
					return engine.Outcome{Status: status, End: end}
				})
				id := w.publish(engine.Publish{})
				time.Sleep(2 * time.Second)
				if n := w.cancelAll(engine.MessageFilter{IDs: []string{id}}, 0); n != 1 {
					t.Fatalf("cancelled %d", n)
				}
				time.Sleep(2 * time.Second)
				want := delivered
				if status != 200 {
					want = canceled
				}
				if states := w.states(id); states[len(states)-1] != want {
					t.Errorf("events %v, want %v as the newest", states, want)
				}
			})
		})
	}
}

// A limit takes as many as it says, time after time, until none is left.
func TestCancelWithLimit(t *testing.T) {
	inBubble(t, func(w *world) {
		const messages = 700
		w.respond(func(engine.Attempt) engine.Outcome { time.Sleep(time.Hour); return engine.Outcome{Status: 500} })
		for i := range messages {
			c := wire.Config{Delay: time.Hour, Labels: []string{fmt.Sprint("n", i%2)}}
			if i%5 == 0 {
				c.Queue, c.Delay = "q", 0
			}
			w.publish(engine.Publish{Config: c})
		}
		for _, want := range []int{250, 100, 0} {
			if n := w.cancelAll(engine.MessageFilter{Labels: []string{"n0"}}, 250); n != want {
				t.Errorf("cancelled %d, want %d", n, want)
			}
		}
		if n := w.cancelAll(engine.MessageFilter{}, 0); n != messages/2 {
			t.Errorf("of the rest cancelled %d of %d", n, messages/2)
		}
	})
}

// However many cancel at once, and whatever is published, delivered and let
// through queues meanwhile, no message counts twice, and none is left.
func TestCancelBesideProgress(t *testing.T) {
	inBubble(t, func(w *world) {
		const messages = 600
		w.respond(func(engine.Attempt) engine.Outcome {
			time.Sleep(20 * time.Millisecond)
			return engine.Outcome{Status: 200}
		})
		var all sync.WaitGroup
		var mu sync.Mutex
		counted := 0
		for i := range 3 {
			all.Go(func() {
				for n := range messages / 3 {
					c := wire.Config{Method: "POST", Queue: fmt.Sprint("q", n%4)}
					if n%3 == i {
						c = wire.Config{Method: "POST", FlowControl: &wire.FlowControl{Key: "k", Parallelism: 2}}
					}
					if _, err := w.engine.Publish(context.Background(), w.caller, []engine.Publish{{Destination: "https://example.com/", Config: c}}); err != nil {
						t.Error(err)
					}
					if n%50 == 0 {
						time.Sleep(10 * time.Millisecond)
					}
				}
			})
			all.Go(func() {
				for range 10 {
					n := w.cancelAll(engine.MessageFilter{}, 0)
					mu.Lock()
					counted += n
					mu.Unlock()
					time.Sleep(5 * time.Millisecond)
				}
			})
		}
		all.Wait()
		counted += w.cancelAll(engine.MessageFilter{}, 0)
		if n := w.cancelAll(engine.MessageFilter{}, 0); n != 0 {
			t.Errorf("%d were left", n)
		}
		time.Sleep(time.Hour)
		ended := map[engine.EventState]int{}
		canceledEarly := 0
		for _, ev := range w.allEvents(engine.EventFilter{}) {
			if ended[ev.State]++; ev.State == asked {
				canceledEarly++
			}
		}
		if ended[delivered]+ended[canceled] != messages || canceledEarly != counted {
			t.Errorf("%v of %d messages; %d cancellations were counted, %d asked for", ended, messages, counted, canceledEarly)
		}
	})
}

// meanwhile is a store where something is done after each update whose context
// holds it.
type meanwhile struct{ engine.Store }

type doMeanwhile struct{}

func (m meanwhile) Update(ctx context.Context, fn func(engine.Tx) error) error {
	err := m.Store.Update(ctx, fn)
	if do, ok := ctx.Value(doMeanwhile{}).(func()); ok {
		do()
	}
	return err
}

// What comes while all is being cancelled stays, whether it comes to a queue, is
// delayed, or is a run.
func TestCancelLeavesWhatComesMeanwhile(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		w.store = meanwhile{w.store}
		w.start()
		w.respond(func(engine.Attempt) engine.Outcome { time.Sleep(10 * time.Hour); return engine.Outcome{Status: 500} })
		runs, later := 0, wire.Config{Delay: time.Hour}
		come := func() {
			w.enqueue("q", "x", wire.Config{})
			w.enqueue("", "x", later)
			runs++
			w.trigger(fmt.Sprint("wfr_", runs), 0)
		}
		const before = 30
		for range before {
			come()
		}
		time.Sleep(time.Second)
		ctx := context.WithValue(context.Background(), doMeanwhile{}, come)
		if n, err := w.engine.CancelMessages(ctx, w.caller, engine.MessageFilter{}, 0); err != nil || n != 2*before {
			t.Errorf("cancelled %d messages, error %v, want %d", n, err, 2*before)
		}
		began := runs
		if n, err := w.engine.CancelRuns(ctx, w.caller, engine.RunFilter{}, 0); err != nil || n != began {
			t.Errorf("cancelled %d runs, error %v, want %d", n, err, began)
		}
		come()
		if n := w.cancelAll(engine.MessageFilter{Queues: []string{"q"}}, 0); n != runs-before {
			t.Errorf("cancelled %d of the queue later, want %d", n, runs-before)
		}
	})
}

// unread is a meanwhile where the first attempt's message can't be read: it is tried
// until fails is closed.
type unread struct {
	meanwhile
	tried *atomic.Bool
	fails chan struct{}
}

func (u unread) View(ctx context.Context, fn func(engine.Tx) error) error {
	return u.meanwhile.View(ctx, func(tx engine.Tx) error { return fn(unreadTx{tx, u}) })
}

type unreadTx struct {
	engine.Tx
	unread
}

func (u unreadTx) MessageBytes(seq int64) (int64, error) {
	if u.tried.Swap(true) {
		return u.Tx.MessageBytes(seq)
	}
	<-u.fails
	return 0, errInjected
}

// A message whose attempt was begun, and could not be read, is settled although it
// was cancelled between the two.
func TestCancelWhatIsNotReadThen(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		fails := make(chan struct{})
		w.store = unread{meanwhile{w.store}, new(atomic.Bool), fails}
		w.start()
		id := w.publish(engine.Publish{Destination: "https://example.com/x", Body: make([]byte, 64<<10)})
		time.Sleep(time.Second)
		ctx := context.WithValue(context.Background(), doMeanwhile{}, func() { close(fails); time.Sleep(time.Millisecond) })
		if canceled, err := w.engine.CancelMessage(ctx, w.caller, id); err != nil || !canceled {
			t.Fatalf("cancelled: %v, %v", canceled, err)
		}
		if m := w.messages()[0]; m.State != engine.Canceling {
			t.Fatalf("the message is %v, which is not what was to be tested", m.State)
		}
		time.Sleep(time.Minute)
		if m := w.messages()[0]; m.State != engine.Canceled || len(w.made()) > 0 {
			t.Errorf("the message is %v after %d attempts", m.State, len(w.made()))
		}
	})
}
