package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/signposthq/signpost/internal/budget"
	"github.com/signposthq/signpost/internal/wire"
)

const (
	// largeBodies is what the large bodies that are being sent may take of memory
	// together; more than that only one of them at a time. Large is what is not
	// kept with a message until it is due: more than inlineBytes.
	largeBodies = 4 << 20
	// waitingMost is how many attempts may wait for memory without taking the
	// place of others, which may not need any. It bounds what those that wait take
	// themselves.
	waitingMost = 4096
)

// litter is what large bodies have left behind since it was collected. Left to
// itself, the runtime lets the heap grow to twice what is in use, and so with
// them to twice what they need.
type litter struct {
	mu    sync.Mutex
	bytes int64
}

const (
	litterLeast = 64 << 10
	litterMost  = 8 << 20
)

// expect is called before memory is taken for n bytes, and collects what others
// left if that is too much.
func (l *litter) expect(n int64) {
	if n < litterLeast {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bytes += n; l.bytes <= litterMost {
		return
	}
	if l.bytes = n; n > litterMost/2 {
		debug.FreeOSMemory() // SQLite's copies are not the runtime's, and come on top
	} else {
		runtime.GC()
	}
}

// ErrTooSlow is why an attempt is given up whose body others wait for.
var ErrTooSlow = fmt.Errorf("request taken too slowly: less than %d bytes per second, while others wait for the memory it takes", budget.Pace)

// load is the body of one attempt, and what that takes of the memory for large
// ones: nothing while it is small, and nothing any more once it is sent.
type load struct {
	engine *Engine
	bytes  int64         // of the body, if it is large
	share  *budget.Share // of so many
	away   bool          // its slot was given up, and not taken again
}

// errNoMemory ends a read that wants more than there is at the moment.
var errNoMemory = errors.New("no memory for a large body yet")

// view reads with fn. Where fn finds that there is no memory for what it wants
// to read, it runs again when there is; nothing of the store is held meanwhile.
func (l *load) view(fn func(Tx) error) error {
	for {
		err := l.engine.store.View(l.engine.attemptCtx, fn)
		if !errors.Is(err, errNoMemory) {
			return err
		}
		if err := l.wait(); err != nil {
			return err
		}
	}
}

// reserve makes sure that there is memory for n bytes.
func (l *load) reserve(n int64) error {
	if n <= max(l.bytes, inlineBytes) {
		return nil
	}
	l.release()
	l.bytes = n
	if l.share = l.engine.bodies.Try(n); l.share == nil {
		return errNoMemory
	}
	return nil
}

// wait waits for memory for the body, and leaves its slot to others meanwhile.
// Nobody who has memory waits for a slot, as those who have one may be waiting
// for memory.
func (l *load) wait() (err error) {
	e := l.engine
	select {
	case e.waiting <- struct{}{}:
		defer func() { <-e.waiting }()
	default: // so many do that the others keep theirs, and no more is dispatched
		l.share, err = e.bodies.Wait(e.dispatchCtx, l.bytes)
		return err
	}
	for {
		l.leave()
		if l.share, err = e.bodies.Wait(e.dispatchCtx, l.bytes); err != nil {
			return err
		}
		select {
		case e.slots <- struct{}{}:
			l.away = false
			return nil
		default:
			l.release()
		}
		select {
		case e.slots <- struct{}{}:
			l.away = false
		case <-e.dispatchCtx.Done():
			return e.dispatchCtx.Err()
		}
		if l.share = e.bodies.Try(l.bytes); l.share != nil {
			return nil
		}
	}
}

// leave gives the attempt's slot to others.
func (l *load) leave() {
	if !l.away {
		l.away = true
		<-l.engine.slots
	}
}

func (l *load) release() {
	l.share.Release()
	l.share = nil
}

// message reads a message.
func (l *load) message(tx Tx, seq int64) (*Message, error) {
	n, err := tx.MessageBytes(seq)
	if err == nil {
		err = l.reserve(n)
	}
	if err != nil {
		return nil, err
	}
	l.engine.litter.expect(n)
	rows, err := tx.Messages([]int64{seq})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// log reads what a run's message carries of its log. That is nothing where it is
// large and the endpoint can fetch it.
func (l *load) log(tx Tx, run *Run, m *Message) ([]*LogEntry, error) {
	prefix := m.Kind == KindInit || m.Kind == KindStep
	from := m.LogIndex
	if prefix {
		from = 0
	}
	entries, n, err := tx.LogBytes(run.Seq, from, m.LogIndex)
	if err != nil {
		return nil, err
	}
	if prefix {
		n = encodedLog(entries, n)
		if n > int64(l.engine.limits.LazyThreshold) && fetches(run, m) {
			return nil, nil
		}
	}
	if err := l.reserve(n); err != nil {
		return nil, err
	}
	l.engine.litter.expect(2 * n) // it is encoded, too
	return tx.Log(run.Seq, from, m.LogIndex)
}

// fetches says whether the endpoint gets the log when it is delivered without it.
// What the endpoint says of itself with a step counts for more than what the run's
// starter said. The SDK for Python claims FeatureLazy and fails on an empty body;
// all that fetch claim FeatureDetectTrigger, too, and it does not. As long as the
// endpoint has said nothing, every other attempt carries the log: who started the
// run may have claimed what is true of another SDK. The attempts between are for
// endpoints that take no request as large.
func fetches(run *Run, m *Message) bool {
	if m.Kind == KindInit && m.Retried%2 == 1 {
		return false
	}
	features := run.Settings.Features
	if m.Settings.Features != nil {
		features = m.Settings.Features
	}
	return slices.Contains(features, wire.FeatureLazy) && slices.Contains(features, wire.FeatureDetectTrigger)
}

// encodedLog is how long a log's encoding is at most.
func encodedLog(entries int, bytes int64) int64 {
	return 2 + 80*int64(entries) + (bytes+2*int64(entries))/3*4
}

// logBody is a log as endpoints read it, nil if there is none.
func logBody(log []*LogEntry) []byte {
	if len(log) == 0 {
		return nil
	}
	bytes := int64(0)
	for _, entry := range log {
		bytes += int64(len(entry.Body))
	}
	return EncodeLog(make([]byte, 0, encodedLog(len(log), bytes)), log)
}

// deliver makes the attempt. A large body is kept no longer than it takes to be
// sent: however long the endpoint thinks, others can be sent meanwhile.
func (l *load) deliver(f *flight, a *Attempt) Outcome {
	e := l.engine
	if len(a.Body) == 0 {
		l.release() // it was for what else the message has, such as its headers
	}
	if l.share == nil {
		return e.deliverTo(e.attemptCtx, *a)
	}
	ctx, giveUp := context.WithCancelCause(e.attemptCtx)
	defer giveUp(nil)
	share, sending := l.share, *a
	share.Watch(func() { giveUp(ErrTooSlow) })
	sending.Sent = func(n int, all bool) {
		if share.Moved(n); all {
			share.Release()
		}
	}
	a.Body = nil
	if len(f.message.Body) > 0 {
		f.message.Body, f.letGo = nil, l.bytes
	}
	return e.deliverTo(ctx, sending)
}

// sourceBody is the body of a flight's message.
func (c *change) sourceBody(f *flight) ([]byte, error) {
	if f.letGo == 0 {
		return f.message.Body, nil
	}
	rows, err := c.tx.Messages([]int64{f.message.Seq})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0].Body, nil
}
