package engine_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// spent expects how many messages count today, as the store and as the headers
// have it.
func (w *world) spent(want int64) {
	w.t.Helper()
	s, err := w.engine.LimitsOf(context.Background(), w.caller)
	if err != nil {
		w.t.Fatal(err)
	}
	q, err := w.engine.Quota(context.Background(), w.caller)
	if err != nil {
		w.t.Fatal(err)
	}
	if s.Messages != want || q.Used != want {
		w.t.Errorf("%d messages count in the store, %d in memory, want %d", s.Messages, q.Used, want)
	}
}

// try publishes items and expects whether they are accepted.
func (w *world) try(accepted bool, items ...engine.Publish) {
	w.t.Helper()
	for i := range items {
		items[i].Config.Method = "POST"
		if items[i].Destination == "" {
			items[i].Destination = "https://example.com/"
		}
	}
	_, err := w.engine.Publish(context.Background(), w.caller, items)
	if accepted && err != nil || !accepted && engine.ErrorCode(err) != engine.Limited {
		w.t.Errorf("accepted: %v, error: %v", accepted, err)
	}
}

// Each message that is asked for counts, in the transaction that accepts it, and
// what follows from one does not.
func TestWhatCountsForTheDay(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		w.publish(engine.Publish{})
		w.limit("messagesPerDay", 100)
		w.spent(0) // counted from when there is a limit
		w.publish(engine.Publish{})
		w.spent(1)
		w.publish(engine.Publish{Config: wire.Config{Queue: "q", Callback: &wire.Callback{URL: "https://cb.example"}}})
		time.Sleep(time.Minute)
		w.spent(2) // with its callback
		w.try(true, engine.Publish{}, engine.Publish{}, engine.Publish{})
		w.spent(5)

		if err := w.engine.AddToGroup(ctx, w.caller, "g", []engine.GroupEndpoint{{URL: "https://a.example"}, {URL: "https://b.example"}}); err != nil {
			t.Fatal(err)
		}
		w.try(true, engine.Publish{Destination: "g"})
		w.spent(7)

		once := engine.Publish{Config: wire.Config{DeduplicationID: "a"}}
		w.publish(once)
		w.publish(once)
		w.spent(8)
		time.Sleep(time.Minute)

		w.respond(status(500))
		w.publish(engine.Publish{Config: wire.Config{Retries: new(2), FailureCallback: &wire.Callback{URL: "https://cb.example", Header: map[string][]string{"Upstash-Retries": {"0"}}}}})
		time.Sleep(48 * time.Hour)
		w.spent(0) // of another day
		if n := len(w.dlq()); n != 2 {
			t.Fatalf("%d DLQ entries", n)
		}
		w.respond(ok)
		retried, _, err := w.engine.RetryDLQ(ctx, w.caller, engine.DLQFilter{}, wire.Config{}, "", 10)
		if err != nil || len(retried) != 2 {
			t.Fatalf("retried %v, error %v", retried, err)
		}
		w.spent(2)
		time.Sleep(time.Minute)

		w.callSomewhere("https://third.example/x") // a run, its call, and the result of that
		time.Sleep(time.Minute)
		w.spent(4)
	})
}

// At the limit all are refused that come together, what follows from the others
// goes on, and the next day begins at midnight UTC.
func TestMessagesPerDay(t *testing.T) {
	inBubble(t, func(w *world) {
		other := w.second()
		w.limit("messagesPerDay", 3)
		w.publish(engine.Publish{Config: wire.Config{Delay: time.Hour, Callback: &wire.Callback{URL: "https://cb.example"}}})
		w.publish(engine.Publish{})
		w.try(false, engine.Publish{}, engine.Publish{})
		if _, err := w.engine.PublishBatch(context.Background(), w.caller, []engine.Publish{
			{Destination: "https://example.com/"}, {Destination: "nobody"}, {Destination: "https://example.com/"},
		}); engine.ErrorCode(err) != engine.Limited {
			t.Errorf("a batch, of which some would fit: %v", err)
		}
		w.spent(2)
		w.try(true, engine.Publish{})
		w.try(false, engine.Publish{})
		w.try(false, engine.Publish{Config: wire.Config{Workflow: wire.Workflow{Init: true, RunID: "wfr_1"}}})
		w.spent(3)
		if _, err := w.engine.Publish(context.Background(), other, []engine.Publish{{Destination: "https://example.com/"}}); err != nil {
			t.Errorf("of another tenant: %v", err)
		}
		time.Sleep(time.Second)
		before := len(w.made())
		time.Sleep(2 * time.Hour)
		if n := len(w.made()) - before; n != 2 {
			t.Errorf("%d attempts, want the message and its callback", n)
		}
		w.stop()
		w.start()
		w.caller = w.now()
		w.spent(3)
		w.try(false, engine.Publish{})
		q, err := w.engine.Quota(context.Background(), w.caller)
		midnight := time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
		if err != nil || q != (engine.Quota{Limit: 3, Used: 3, Reset: midnight.Unix()}) {
			t.Errorf("quota %+v, error %v, midnight is %d", q, err, midnight.Unix())
		}
		w.limit("messagesPerDay", 4)
		w.try(true, engine.Publish{})
		w.limit("messagesPerDay", 2)
		w.try(false, engine.Publish{})
		w.spent(4)
		time.Sleep(time.Until(midnight) - time.Millisecond)
		w.try(false, engine.Publish{})
		time.Sleep(time.Millisecond)
		w.try(true, engine.Publish{}, engine.Publish{})
		w.try(false, engine.Publish{})
		w.limit("messagesPerDay", 0)
		w.try(true, engine.Publish{})
	})
}

// However many publish at once, as many are accepted as there is room for.
func TestMessagesPerDayTogether(t *testing.T) {
	inBubble(t, func(w *world) {
		w.limit("messagesPerDay", 20)
		var accepted atomic.Int64
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				_, err := w.engine.Publish(context.Background(), w.caller, []engine.Publish{{Destination: "https://example.com/"}})
				if err == nil {
					accepted.Add(1)
				} else if engine.ErrorCode(err) != engine.Limited {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if accepted.Load() != 20 {
			t.Errorf("%d accepted", accepted.Load())
		}
		w.spent(20)
	})
}

// A count that can't be written refuses the messages; one that was not
// committed does not count.
func TestMessagesPerDayAreOfTheSameTransaction(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		fails := &countFails{Store: w.store}
		w.store = fails
		w.start()
		w.limit("messagesPerDay", 3)
		w.publish(engine.Publish{})
		fails.broken.Store(true)
		_, err := w.engine.Publish(context.Background(), w.caller, []engine.Publish{{Destination: "https://example.com/"}})
		if !errors.Is(err, errNoCount) {
			t.Errorf("error %v", err)
		}
		fails.broken.Store(false)
		w.spent(1)
		time.Sleep(time.Second)
		if n := len(w.made()); n != 1 {
			t.Errorf("%d attempts", n)
		}
	})
}

// countFails is a store that counts no messages while broken is set.
type countFails struct {
	engine.Store
	broken atomic.Bool
}

type countFailsTx struct{ engine.Tx }

var errNoCount = errors.New("no count")

func (countFailsTx) PutMessagesOn(_, _, _ int64) error { return errNoCount }

func (f *countFails) Update(ctx context.Context, fn func(engine.Tx) error) error {
	return f.Store.Update(ctx, func(tx engine.Tx) error {
		if f.broken.Load() {
			tx = countFailsTx{tx}
		}
		return fn(tx)
	})
}
