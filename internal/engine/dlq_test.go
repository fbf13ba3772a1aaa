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
