package engine

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/signposthq/signpost/internal/budget"
)

// loadsOf is an engine as far as loads need it, with so many slots.
func loadsOf(t *testing.T, memory int64, slots, waiting int) *Engine {
	t.Helper()
	e := &Engine{bodies: budget.New(memory), slots: make(chan struct{}, slots), waiting: make(chan struct{}, waiting)}
	e.dispatchCtx, e.stop = context.WithCancel(t.Context())
	return e
}

// Attempts with large bodies, more than there are slots, all get their turn,
// whether there is a place to wait in or not; small ones find a slot meanwhile.
func TestLargeBodiesTakeTurns(t *testing.T) {
	for _, waiting := range []int{0, 1, 100} {
		synctest.Test(t, func(t *testing.T) {
			const slots, many = 4, 50
			e := loadsOf(t, 100, slots, waiting)
			done := make(chan struct{}, many)
			under, most := make(chan struct{}, many), 0
			for i := range many {
				e.slots <- struct{}{}
				go func() {
					l := &load{engine: e}
					n := int64(10_000 + i)
					if l.reserve(n) != nil {
						if err := l.wait(); err != nil {
							t.Error(err)
						}
					}
					under <- struct{}{}
					most = max(most, len(under))
					time.Sleep(time.Second)
					<-under
					l.release()
					l.leave()
					done <- struct{}{}
				}()
			}
			for range many {
				<-done
			}
			if most != 1 || len(e.slots) != 0 || len(e.waiting) != 0 {
				t.Errorf("%d at once, %d slots taken, %d waiting", most, len(e.slots), len(e.waiting))
			}
		})
	}
}

// Who waits for memory leaves its slot to others, and ends with the engine.
func TestWaitingForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := loadsOf(t, 100, 1, 10)
		turn, err := e.bodies.Wait(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		e.slots <- struct{}{}
		l := &load{engine: e, bytes: 1000}
		ended := make(chan error)
		go func() { ended <- l.wait() }()
		synctest.Wait()
		if len(e.slots) != 0 {
			t.Error("the slot is taken")
		}
		e.stop()
		if err := <-ended; err != context.Canceled {
			t.Errorf("got %v", err)
		}
		l.leave()
		turn.Release()
		if len(e.slots) != 0 || len(e.waiting) != 0 || l.share != nil {
			t.Error("something is left")
		}
	})
}

// thinking is an endpoint that takes a body, and then its time.
type thinking struct {
	body weak.Pointer[byte]
	kept bool // the body was still there
}

func (d *thinking) Deliver(_ context.Context, a Attempt) Outcome {
	d.body = weak.Make(&a.Body[0])
	a.Sent(len(a.Body), true)
	a.Body = nil
	for range 3 {
		runtime.GC()
	}
	d.kept = d.body.Value() != nil
	return Outcome{Status: 200}
}

// While an endpoint thinks, nobody holds the body that it was sent.
func TestT15SentBodiesAreNotHeld(t *testing.T) {
	e := loadsOf(t, 1<<20, 1, 1)
	d := &thinking{}
	e.deliver, e.attemptCtx = d, t.Context()
	l := &load{engine: e}
	if err := l.reserve(100 << 10); err != nil {
		t.Fatal(err)
	}
	m := &Message{Body: make([]byte, 100<<10)}
	f := &flight{message: m}
	a := Attempt{Body: m.Body}
	o := l.deliver(f, &a)
	if o.Status != 200 || d.kept || f.letGo != 100<<10 {
		t.Errorf("%d, held: %v, let go: %d", o.Status, d.kept, f.letGo)
	}
	if l.engine.bodies.Try(1<<20) == nil {
		t.Error("its memory was not given to others")
	}
}

// patient is an endpoint that thinks for as long as it is let.
type patient struct{ err error }

func (d *patient) Deliver(ctx context.Context, _ Attempt) Outcome {
	select {
	case <-time.After(time.Hour):
	case <-ctx.Done():
		d.err = context.Cause(ctx)
	}
	return Outcome{Status: 200}
}

// An attempt that has nothing to send has no memory that others wait for, and is not
// given up for taking long over it: its message was large without its body.
func TestNothingToSendTakesNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := loadsOf(t, 1<<20, 1, 1)
		d := &patient{}
		e.deliver, e.attemptCtx = d, t.Context()
		l := &load{engine: e}
		if err := l.reserve(100 << 10); err != nil {
			t.Fatal(err)
		}
		o := make(chan Outcome)
		go func() { o <- l.deliver(&flight{message: &Message{}}, &Attempt{}) }()
		synctest.Wait()
		all := e.bodies.Try(1 << 20)
		if all == nil {
			t.Error("memory is taken")
		}
		for range 2 { // the first has the turn, and the second waits
			go func() {
				share, err := e.bodies.Wait(t.Context(), 2<<20)
				if err == nil {
					time.Sleep(time.Hour)
				}
				share.Release()
			}()
		}
		<-o
		if d.err != nil {
			t.Errorf("given up: %v", d.err)
		}
		all.Release()
		time.Sleep(2 * time.Hour)
	})
}
