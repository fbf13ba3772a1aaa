package engine_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// fillDLQ makes n messages fail.
func (w *world) fillDLQ(n int) {
	w.t.Helper()
	w.respond(status(500))
	for range n {
		w.publish(engine.Publish{Config: wire.Config{Retries: new(0), Labels: []string{"x"}}})
	}
	time.Sleep(time.Second)
	if got := len(w.dlq()); got != n {
		w.t.Fatalf("%d entries, want %d", got, n)
	}
	w.respond(ok)
}

// Bulk operations go from cursor to cursor until all are gone, and by ids as
// many as are named, each in steps.
func TestDLQInBulk(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		w.fillDLQ(520)
		f := engine.DLQFilter{Message: engine.MessageFilter{Labels: []string{"x"}}}
		n, next, err := w.engine.DeleteDLQ(ctx, w.caller, f, "", 100)
		if n != 100 || next == "" || err != nil {
			t.Fatalf("first page: %d, %q, %v", n, next, err)
		}
		var ids []string
		for _, d := range w.dlq() {
			ids = append(ids, engine.DLQID(d.Entry.Seq))
		}
		if len(ids) != 420 {
			t.Fatalf("%d are left", len(ids))
		}
		n, next, err = w.engine.DeleteDLQ(ctx, w.caller, engine.DLQFilter{IDs: append(ids[:210:210], "1-1", "no id")}, "", 100)
		if n != 210 || next != "" || err != nil {
			t.Errorf("by ids: %d, %q, %v", n, next, err)
		}
		retried := 0
		for cursor := ""; ; {
			out, next, err := w.engine.RetryDLQ(ctx, w.caller, f, wire.Config{}, cursor, 100)
			if err != nil {
				t.Fatal(err)
			}
			retried += len(out)
			if cursor = next; cursor == "" {
				break
			}
		}
		if retried != 210 || len(w.dlq()) != 0 {
			t.Errorf("retried %d, %d are left", retried, len(w.dlq()))
		}
		time.Sleep(time.Second)
		if n := len(w.allEvents(engine.EventFilter{States: []engine.EventState{delivered}})); n != 210 {
			t.Errorf("%d were delivered", n)
		}
	})
}

// Where several empty the DLQ at once, each entry is one's.
func TestDLQIsSharedOut(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		w.fillDLQ(300)
		var all sync.WaitGroup
		var mu sync.Mutex
		taken := 0
		for i := range 6 {
			all.Go(func() {
				for {
					n, next, err := 0, "", error(nil)
					if i%2 == 0 {
						n, next, err = w.engine.DeleteDLQ(ctx, w.caller, engine.DLQFilter{}, "", 30)
					} else {
						var out []engine.Published
						out, next, err = w.engine.RetryDLQ(ctx, w.caller, engine.DLQFilter{}, wire.Config{}, "", 30)
						n = len(out)
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					taken += n
					mu.Unlock()
					if n == 0 && next == "" {
						return
					}
				}
			})
		}
		all.Wait()
		if taken != 300 {
			t.Errorf("%d of 300 entries were taken", taken)
		}
	})
}

// A retry that a deduplication id or the content calls a duplicate makes nothing
// and keeps its entry; in bulk, one of those that share an id goes.
func TestDeduplicatedRetry(t *testing.T) {
	inBubble(t, func(w *world) {
		ctx := context.Background()
		w.respond(status(500))
		none := wire.Config{Retries: new(0)}
		var ids []string
		for _, url := range []string{"https://a.example", "https://b.example", "https://b.example"} {
			w.publishAll(engine.Publish{Destination: url, Config: none})
			time.Sleep(time.Second)
		}
		for _, d := range w.dlq() {
			ids = append(ids, engine.DLQID(d.Entry.Seq))
		}
		w.respond(ok)
		once := wire.Config{DeduplicationID: "x"}
		out, _, err := w.engine.RetryDLQ(ctx, w.caller, engine.DLQFilter{}, once, "", 2)
		if err != nil || len(out) != 2 || out[0].Deduplicated || !out[1].Deduplicated || out[0].MessageID != out[1].MessageID {
			t.Fatalf("bulk: %+v, %v", out, err)
		}
		if n := len(w.dlq()); n != 2 {
			t.Fatalf("%d entries are left", n)
		}
		again, err := w.engine.RetryDLQEntry(ctx, w.caller, ids[1], once)
		if err != nil || !again.Deduplicated || again.MessageID != out[0].MessageID || again.URL != "https://b.example" {
			t.Errorf("one: %+v, %v", again, err)
		}
		content := wire.Config{ContentDedup: true}
		first, err := w.engine.RetryDLQEntry(ctx, w.caller, ids[1], content)
		if err != nil || first.Deduplicated {
			t.Errorf("by content: %+v, %v", first, err)
		}
		second, err := w.engine.RetryDLQEntry(ctx, w.caller, ids[2], content)
		if err != nil || !second.Deduplicated || second.MessageID != first.MessageID {
			t.Errorf("by content again: %+v, %v", second, err)
		}
		if n := len(w.dlq()); n != 1 {
			t.Errorf("%d entries are left", n)
		}
	})
}
