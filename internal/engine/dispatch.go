package engine

import (
	"container/heap"
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// flight is one attempt from its start to its settlement.
type flight struct {
	message *Message
	started int64  // Unix ms
	skip    string // why no attempt was made: the message was cancelled meanwhile
	outcome Outcome
	verdict verdict
}

// dispatcher knows when which message is due: the soonest of them in memory,
// the rest in the store, read when those are gone. It never polls: it sleeps
// until the soonest is due.
type dispatcher struct {
	size  int // heapSize
	mu    sync.Mutex
	heap  dueHeap
	known map[int64]*queued // in the heap or in flight
	// bound is how far the heap is complete: everything pending up to it is
	// known. What is due later need not be.
	bound   Due
	reading bool          // a read is under way; what comes meanwhile is kept, whatever its bound
	changed chan struct{} // a sooner message came
}

// queued is a message's place in the dispatcher.
type queued struct {
	Due
	message  *Message // nil: read it when it is due
	started  int64    // in flight since, Unix ms; 0: waiting
	canceled bool
	// postponed: due later than the store says. A read would not find it.
	postponed bool
}

const (
	heapSize    = 8192    // messages read from the store at a time; at most twice as many wait in memory
	inlineBytes = 4 << 10 // larger bodies are read again when due, not kept in memory
)

var everything = Due{At: maxSeq, Seq: maxSeq}

func (d Due) before(o Due) bool { return d.At < o.At || d.At == o.At && d.Seq < o.Seq }

type dueHeap []*queued

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].Due.before(h[j].Due) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(*queued)) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

func (d *dispatcher) init() {
	d.size = heapSize
	d.known = map[int64]*queued{}
	d.changed = make(chan struct{}, 1)
}

// apply takes note of a committed change.
func (d *dispatcher) apply(done, drop []int64, wake []*Message) {
	if len(done)+len(drop)+len(wake) == 0 {
		return
	}
	d.mu.Lock()
	for _, seq := range done {
		delete(d.known, seq)
	}
	for _, seq := range drop {
		if q := d.known[seq]; q != nil && q.started == 0 {
			q.canceled = true // it stays in the heap until it would be due
			delete(d.known, seq)
		}
	}
	sooner := false
	for _, m := range wake {
		q := &queued{Due: Due{At: m.Due, Seq: m.Seq}}
		if len(m.Body) <= inlineBytes {
			q.message = m
		}
		sooner = d.push(q) || sooner
	}
	d.shrink()
	d.mu.Unlock()
	if sooner {
		d.signal()
	}
}

func (d *dispatcher) signal() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// push adds a message unless it is known or lies beyond the bound, and says
// whether it is now the soonest.
func (d *dispatcher) push(q *queued) bool {
	if d.known[q.Seq] != nil || !d.reading && d.bound.before(q.Due) {
		return false
	}
	d.known[q.Seq] = q
	heap.Push(&d.heap, q)
	return d.heap[0] == q
}

// shrink forgets the latest half when too many wait in memory.
func (d *dispatcher) shrink() {
	if len(d.heap) <= 2*d.size || d.reading {
		return
	}
	slices.SortFunc(d.heap, func(a, b *queued) int {
		if a.Due.before(b.Due) {
			return -1
		}
		return 1
	})
	near, far := d.heap[:d.size:d.size], d.heap[d.size:]
	d.heap, d.bound = near, near[len(near)-1].Due
	for _, q := range far {
		if q.postponed {
			d.heap = append(d.heap, q) // the latest of all: the heap stays in order
		} else if d.known[q.Seq] == q {
			delete(d.known, q.Seq)
		}
	}
}

// take is what to do now: start a message, read more, or wait (until the time
// returned; 0 for as long as nothing changes).
func (d *dispatcher) take(now int64) (q *queued, read bool, until int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.heap) > 0 && d.heap[0].canceled {
		heap.Pop(&d.heap)
	}
	switch soonest := d.soonest(); {
	case d.bound.before(soonest):
		d.reading = true
		return nil, true, 0
	case soonest == everything:
		return nil, false, 0
	case soonest.At > now:
		return nil, false, soonest.At
	}
	q = heap.Pop(&d.heap).(*queued)
	q.started = now
	return q, false, 0
}

func (d *dispatcher) soonest() Due {
	if len(d.heap) == 0 {
		return everything
	}
	return d.heap[0].Due
}

// fill adds what was read after the bound.
func (d *dispatcher) fill(due []Due, complete bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range due {
		d.push(&queued{Due: at})
	}
	d.reading = false
	if complete {
		d.bound = everything
	} else {
		d.bound = due[len(due)-1]
	}
}

// postpone puts back a message in flight, to be read again at a time of the
// dispatcher's own: the store would have it at once.
func (d *dispatcher) postpone(seq, at int64) {
	d.mu.Lock()
	q := &queued{Due: Due{At: at, Seq: seq}, postponed: true}
	d.known[seq] = q
	heap.Push(&d.heap, q)
	d.mu.Unlock()
	d.signal()
}

// readAgain makes the dispatcher compare what it knows with the store.
func (d *dispatcher) readAgain() {
	d.mu.Lock()
	d.bound = Due{}
	d.mu.Unlock()
	d.signal()
}

func (d *dispatcher) giveUpReading() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reading = false
}

func (d *dispatcher) isInFlight(seq int64) bool { return d.startedAt(seq) != 0 }

// startedAt is when the attempt under way for a message began, Unix ms; 0 if
// there is none.
func (d *dispatcher) startedAt(seq int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.known[seq]; q != nil {
		return q.started
	}
	return 0
}

func (d *dispatcher) inFlight() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, q := range d.known {
		if q.started != 0 {
			n++
		}
	}
	return n
}

// dispatchLoop starts an attempt for each message when it is due and a slot
// is free.
func (e *Engine) dispatchLoop(ctx context.Context) {
	defer close(e.dispatchDone)
	for {
		select {
		case e.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		q := e.next(ctx)
		if q == nil {
			return
		}
		e.flights.Add(1)
		go e.fly(q)
	}
}

// next waits for a message to be due; nil when ctx is done.
func (e *Engine) next(ctx context.Context) *queued {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		q, read, until := e.queue.take(unixMillis(time.Now()))
		if q != nil {
			return q
		}
		if read {
			e.readDue(ctx)
			continue
		}
		timer.Reset(24 * time.Hour)
		if until != 0 {
			timer.Reset(time.Until(time.UnixMilli(until)))
		}
		select {
		case <-e.queue.changed:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return nil
}

func (e *Engine) readDue(ctx context.Context) {
	e.queue.mu.Lock()
	after := e.queue.bound
	e.queue.mu.Unlock()
	var due []Due
	err := e.store.View(ctx, func(tx Tx) (err error) {
		due, err = tx.DueMessages(after, e.queue.size)
		return err
	})
	if err != nil {
		e.queue.giveUpReading()
		if ctx.Err() == nil {
			e.log.Error("read due messages", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		return
	}
	e.queue.fill(due, len(due) < e.queue.size)
}

// prepareAgain is when a message is tried again that could not be read.
const prepareAgain = 5 * time.Second

// fly makes one attempt and hands its outcome to the settler.
func (e *Engine) fly(q *queued) {
	defer e.flights.Done()
	f, attempt, err := e.prepare(q)
	if err == nil && f == nil {
		e.queue.apply([]int64{q.Seq}, nil, nil)
		<-e.slots
		return
	}
	if err != nil {
		<-e.slots
		if e.attemptCtx.Err() == nil {
			e.log.Error("prepare attempt; it will be made later", "error", err)
			e.queue.postpone(q.Seq, unixMillis(time.Now())+prepareAgain.Milliseconds())
		}
		return
	}
	if f.skip == "" {
		f.outcome = e.deliver.Deliver(e.attemptCtx, attempt)
		e.endpoints.answered(e.tenants.get(f.message.Tenant), &attempt, &f.outcome)
	}
	<-e.slots
	if e.attemptCtx.Err() != nil && f.skip == "" && f.outcome.Error != "" {
		f.outcome.release()
		return // cut off by a shutdown: not an outcome of the endpoint
	}
	e.outcomes <- f
}

// prepare reads what an attempt needs. No flight: there is nothing to deliver.
func (e *Engine) prepare(q *queued) (*flight, Attempt, error) {
	m := q.message
	var run *Run
	var log []*LogEntry
	if m == nil || m.Run != 0 {
		err := e.store.View(e.attemptCtx, func(tx Tx) error {
			if m == nil {
				rows, err := tx.Messages([]int64{q.Seq})
				if err != nil || len(rows) == 0 {
					return err
				}
				m = rows[0]
			}
			if m.Run == 0 {
				return nil
			}
			var err error
			if run, err = tx.Run(m.Run); err != nil || run == nil || m.LogIndex < 0 {
				return err
			}
			from := m.LogIndex
			if m.Kind == KindInit || m.Kind == KindStep {
				from = 0 // these carry the whole prefix
			}
			log, err = tx.Log(m.Run, from, m.LogIndex)
			return err
		})
		if err != nil {
			return nil, Attempt{}, err
		}
	}
	if m == nil || m.State > Canceling {
		return nil, Attempt{}, nil
	}
	f := &flight{message: m, started: q.started}
	switch {
	case m.State == Canceling:
		f.skip = "cancelled"
	case m.Run != 0 && (run == nil || run.State != RunStarted) && m.Kind != KindFailureCall:
		f.skip = "its workflow run has ended"
	default:
		return f, e.attempt(m, run, log), nil
	}
	return f, Attempt{}, nil
}

// attempt puts together the request. What the server says of itself wins over
// what the user asked to forward.
func (e *Engine) attempt(m *Message, run *Run, log []*LogEntry) Attempt {
	a := Attempt{
		Method: m.Method, URL: m.URL, Body: m.Body, Timeout: e.limits.MaxTimeout,
		KeepResponse: int64(e.limits.StoredResponse), Kind: m.Kind, Retried: m.Retried,
	}
	if m.Settings.Callback != nil {
		a.MaxResponse = e.limits.MaxBody
	}
	if m.Settings.Callback != nil || m.Settings.FailureCallback != nil || run != nil && run.Settings.FailureCallback != nil {
		a.MaxFailure = e.limits.MaxBody
	}
	if t := e.tenants.get(m.Tenant); t != nil {
		a.signAs(t, m, run)
	}
	if m.Settings.Timeout > 0 {
		a.Timeout = min(m.Settings.Timeout, e.limits.MaxTimeout)
	}
	switch m.Kind {
	case KindInit, KindStep:
		a.Header = run.headerFor(m)
		if a.Header["Content-Type"] == nil {
			a.Header["Content-Type"] = []string{"application/json"} // endpoints' body parsers go by it
		}
		a.Body = e.logBody(run, log)
	case KindFromCallback:
		a.Header = run.headerFor(m)
		a.Body = log[0].Body
	case KindToCallback:
		a.Header = cloneHeader(m.Header)
		a.Body = log[0].Body
	default:
		a.Header = cloneHeader(m.Header)
	}
	maps.DeleteFunc(a.Header, func(name string, _ []string) bool { return reserved(m.Kind, name) })
	set := func(name, value string) { a.Header[name] = []string{value} }
	if a.Header["User-Agent"] == nil {
		set("User-Agent", "Upstash-QStash")
	}
	set(wire.HeaderMessageID, m.String())
	set(wire.HeaderRetried, strconv.Itoa(m.Retried))
	set(wire.HeaderHop, strconv.Itoa(m.Settings.Hop))
	if m.CallerIP != "" {
		set(wire.HeaderCallerIP, m.CallerIP)
	}
	if run == nil || m.Kind == KindToCallback {
		return a // a third party learns nothing of the run
	}
	a.RunID = run.ID
	set(wire.HeaderWorkflowRunID, run.ID)
	set(wire.HeaderWorkflowURL, run.URL)
	set(wire.HeaderWorkflowCreatedAt, strconv.FormatInt(Millis(run.Seq), 10))
	set(wire.HeaderWorkflowInit, strconv.FormatBool(m.Kind == KindInit))
	switch {
	case m.Kind == KindInit && run.Settings.UnknownSDK:
		set(wire.HeaderWorkflowUnknownSDK, "true")
	case m.Kind == KindFromCallback:
		delete(a.Header, wire.HeaderWorkflowSDKVersion)
	case m.Kind != KindFailureCall:
		set(wire.HeaderWorkflowSDKVersion, "1")
	}
	return a
}

func cloneHeader(h http.Header) http.Header {
	out := make(http.Header, len(h)+8)
	maps.Copy(out, h)
	return out
}

// logBody is the log prefix as the endpoint reads it, empty when it is large
// and the endpoint can fetch it.
func (e *Engine) logBody(run *Run, log []*LogEntry) []byte {
	size := 2
	for _, entry := range log {
		size += 80 + (len(entry.Body)+2)/3*4
	}
	if size > e.limits.LazyThreshold && slices.Contains(run.Settings.Features, wire.FeatureLazy) {
		return nil
	}
	return EncodeLog(make([]byte, 0, size), log)
}

// EncodeLog appends a run's log in the form endpoints read.
func EncodeLog(dst []byte, log []*LogEntry) []byte {
	entries := make([]wire.LogEntry, len(log))
	for i, e := range log {
		entries[i] = wire.LogEntry{MessageID: e.Message.String(), CallType: e.CallType, Body: e.Body}
	}
	return wire.EncodeLog(dst, entries)
}
