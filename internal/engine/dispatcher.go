package engine

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// dispatcher knows when which message is due: the soonest of each tenant in
// memory, the rest in the store, read when those are gone. It never polls: it
// sleeps until the soonest is due. Tenants take turns, each with as many
// attempts under way as it may have.
type dispatcher struct {
	size    int                    // messages of all tenants read from the store at a time
	most    func(tenant int64) int // attempts of a tenant at once
	mu      sync.Mutex
	known   map[int64]*queued // in a heap, parked or in flight, by Seq
	frozen  map[int64]int     // not to be started, by how many changes
	parked  map[int64]*queued // of those, what would have been started
	passed  map[int64]bool    // stopped, perhaps before it was told that they were added
	tenants map[int64]*backlog
	turns   []*backlog    // of all tenants
	turn    int           // whose it is
	changed chan struct{} // a sooner message came, or a tenant may start another
	reads   atomic.Int64  // of what is due, begun and ended: odd while one is under way
}

// backlog is a tenant's messages that are to be delivered.
type backlog struct {
	tenant int64
	heap   dueHeap
	// bound is how far the heap is complete: everything pending up to it is
	// known. What is due later need not be.
	bound   Due
	reading bool // a read is under way; what comes meanwhile is kept, whatever its bound
	stale   bool // what is being read is to be read again
	flying  int  // attempts under way
	held    bool // another would have started but for those
}

// queued is a message's place in the dispatcher.
type queued struct {
	Due
	of       *backlog
	message  *Message // nil: read it when it is due
	started  int64    // in flight since, Unix ms; 0: waiting
	counted  int64    // see spot
	again    bool     // it became due again while in flight
	flying   bool     // counted as such
	canceled bool
	// later is when the message is due, where a read says that it is not yet: it was
	// tried before the change was told of that had it due now.
	later int64
	// postponed: due later than the store says. A read would not find it.
	postponed bool
}

const (
	heapSize    = 8192    // messages read from the store at a time; at most twice as many wait in memory
	leastHeap   = 64      // of each tenant, however many there are
	passedMost  = 8192    // messages that are noted as stopped
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

func (h dueHeap) soonest() Due {
	if len(h) == 0 {
		return everything
	}
	return h[0].Due
}

func (d *dispatcher) init(tenants []*Tenant, most func(tenant int64) int) {
	d.size, d.most = heapSize, most
	d.known, d.tenants = map[int64]*queued{}, map[int64]*backlog{}
	d.frozen, d.parked, d.passed = map[int64]int{}, map[int64]*queued{}, map[int64]bool{}
	d.changed = make(chan struct{}, 1)
	for _, t := range tenants {
		d.backlog(t.ID)
	}
}

// backlog is a tenant's; of a new one nothing is known yet.
func (d *dispatcher) backlog(tenant int64) *backlog {
	b := d.tenants[tenant]
	if b == nil {
		b = &backlog{tenant: tenant}
		d.tenants[tenant] = b
		d.turns = append(d.turns, b)
	}
	return b
}

// page is how many messages of a tenant are read at a time.
func (d *dispatcher) page() int { return max(d.size/max(1, len(d.turns)), min(d.size, leastHeap)) }

// spot is when a tenant's message is due. Where the message is to be read then,
// it is nil.
type spot struct {
	Due
	tenant  int64
	message *Message
	// counted is until when it may be sent as its lanes let it in, Unix ms: its
	// key's rate counts it in a window. 0: not known.
	counted int64
}

// apply takes note of a committed change. Changes are told in any order: what
// is drawn from one must not be wrong after those that came before it.
func (d *dispatcher) apply(c *change) {
	if len(c.done)+len(c.drop)+len(c.doubt)+len(c.wake) == 0 {
		return
	}
	d.mu.Lock()
	for _, seq := range c.done {
		if q := d.end(seq); q != nil && q.again && !c.wakes(seq) {
			d.lookUp(q)
		}
	}
	for _, seq := range c.doubt {
		d.pass(seq)
		if q := d.known[seq]; q != nil && q.started == 0 {
			q.message, q.counted = nil, 0 // it is read when it is due
		}
	}
	for _, seq := range c.drop {
		d.pass(seq)
		if q := d.known[seq]; q != nil && q.started == 0 {
			q.canceled = true // it stays in the heap until it would be due
			delete(d.known, seq)
		}
	}
	// What is read between the commit and now finds the message, and its attempt may
	// be over. What the change knows of it is no longer true then.
	read := c.reads%2 != 0 || c.reads != d.reads.Load()
	sooner := false
	for _, p := range c.wake {
		b := d.tenants[p.tenant]
		if b == nil {
			b, sooner = d.backlog(p.tenant), true // to be read
		}
		if q := d.known[p.Seq]; q != nil {
			q.again = q.again || q.started != 0
			continue
		}
		if read || d.passed[p.Seq] {
			p.message = nil
		}
		sooner = d.push(&queued{Due: p.Due, of: b, message: p.message, counted: p.counted}) || sooner
		d.shrink(b)
	}
	d.mu.Unlock()
	if sooner {
		d.signal()
	}
}

// pass notes a message that a change has stopped. The one that added it may be told
// of later. That is not long after: of many such notes all are forgotten.
func (d *dispatcher) pass(seq int64) {
	if d.frozen[seq] == 0 {
		return // it was not on its way
	}
	if len(d.passed) >= passedMost {
		clear(d.passed)
	}
	d.passed[seq] = true
}

func (c *change) wakes(seq int64) bool {
	return slices.ContainsFunc(c.wake, func(p spot) bool { return p.Seq == seq })
}

// ended says that nothing is to be done for a message any more, or not yet. If a
// change has said so already, it may be on its way again.
func (d *dispatcher) ended(q *queued) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known[q.Seq] != q {
		return
	}
	d.end(q.Seq)
	switch {
	case q.again:
		d.lookUp(q)
	case q.later != 0:
		q.At, q.postponed = q.later, false
		d.lookUp(q)
	}
}

// end ends a message's flight, if there is one.
func (d *dispatcher) end(seq int64) *queued {
	q := d.known[seq]
	if q != nil {
		d.land(q)
		delete(d.known, seq)
	}
	return q
}

// lookUp has a message read that may be due again after its flight: the store
// knows whether it still is.
func (d *dispatcher) lookUp(q *queued) {
	d.push(&queued{Due: q.Due, of: q.of, postponed: q.postponed})
	d.signal()
}

func (d *dispatcher) signal() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// push adds a message unless it is known or lies beyond the bound, and says
// whether it is now the soonest of its tenant.
func (d *dispatcher) push(q *queued) bool {
	b := q.of
	if d.known[q.Seq] != nil || !b.reading && !q.postponed && b.bound.before(q.Due) {
		return false
	}
	d.known[q.Seq] = q
	heap.Push(&b.heap, q)
	return b.heap[0] == q
}

// shrink forgets the latest half when too many wait in memory.
func (d *dispatcher) shrink(b *backlog) {
	page := d.page()
	if len(b.heap) <= 2*page || b.reading {
		return
	}
	slices.SortFunc(b.heap, func(a, b *queued) int {
		if a.Due.before(b.Due) {
			return -1
		}
		return 1
	})
	near, far := b.heap[:page:page], b.heap[page:]
	b.heap = near
	if last := near[page-1].Due; last.before(b.bound) {
		b.bound = last
	}
	for _, q := range far {
		if q.postponed {
			b.heap = append(b.heap, q) // the latest of all: the heap stays in order
		} else if d.known[q.Seq] == q {
			delete(d.known, q.Seq)
		}
	}
}

// take is what to do now: start a message, read more of a tenant's, or wait
// (until the time returned; 0 for as long as nothing changes).
func (d *dispatcher) take(now int64) (q *queued, read *backlog, until int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.turns {
		b := d.turns[(d.turn+i)%len(d.turns)]
		for len(b.heap) > 0 && (b.heap[0].canceled || b.heap[0].At <= now && d.frozen[b.heap[0].Seq] > 0) {
			if q := heap.Pop(&b.heap).(*queued); !q.canceled {
				d.parked[q.Seq] = q
			}
		}
		soonest := b.heap.soonest()
		if due := soonest.At <= now || b.bound.before(soonest); due && b.flying >= d.most(b.tenant) {
			b.held = true
			continue // until one of its attempts has ended
		}
		switch {
		case b.bound.before(soonest):
			b.reading = true
			d.reads.Add(1)
			return nil, b, 0
		case soonest.At <= now:
			d.turn = (d.turn + i + 1) % len(d.turns)
			q = heap.Pop(&b.heap).(*queued)
			q.started, q.flying = now, true
			b.flying++
			return q, nil, 0
		case soonest != everything && (until == 0 || soonest.At < until):
			until = soonest.At
		}
	}
	return nil, nil, until
}

// landed says that an attempt is no longer under way, whatever came of it.
func (d *dispatcher) landed(q *queued) {
	d.mu.Lock()
	d.land(q)
	d.mu.Unlock()
}

func (d *dispatcher) land(q *queued) {
	if !q.flying {
		return
	}
	q.flying = false
	q.of.flying--
	if q.of.held {
		q.of.held = false
		d.signal()
	}
}

// fill adds what was read after the bound.
func (d *dispatcher) fill(b *backlog, due []Due, complete bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range due {
		d.push(&queued{Due: at, of: b})
	}
	b.reading = false
	d.reads.Add(1)
	switch {
	case b.stale:
		b.bound, b.stale = Due{}, false
	case complete:
		b.bound = everything
	default:
		b.bound = due[len(due)-1]
	}
}

// postpone puts back a message in flight, to be read again at a time of the
// dispatcher's own: the store would have it at once.
func (d *dispatcher) postpone(tenant, seq, at int64) {
	d.mu.Lock()
	if q := d.known[seq]; q != nil {
		d.land(q)
	}
	q := &queued{Due: Due{At: at, Seq: seq}, of: d.backlog(tenant), postponed: true}
	d.known[seq] = q
	heap.Push(&q.of.heap, q)
	d.mu.Unlock()
	d.signal()
}

// readAgain makes the dispatcher compare what it knows with the store, for these
// tenants and all that it knows of.
func (d *dispatcher) readAgain(tenants []*Tenant) {
	d.mu.Lock()
	for _, t := range tenants {
		d.backlog(t.ID)
	}
	for _, b := range d.turns {
		b.bound, b.stale = Due{}, b.reading
	}
	for _, q := range d.known {
		q.again = q.again || q.started != 0 // what it has read may be out of date
	}
	d.mu.Unlock()
	d.signal()
}

func (d *dispatcher) giveUpReading(b *backlog) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b.reading, b.stale = false, false
	d.reads.Add(1)
}

// freeze keeps a message from being started until it is thawed, unless that has
// happened: it says whether no attempt is under way for the message as it is.
// One that was settled already, to be made again later, is not under way.
func (d *dispatcher) freeze(m *Message) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.known[m.Seq]; q != nil && q.started != 0 && q.At >= m.Due {
		return false
	}
	d.frozen[m.Seq]++
	return true
}

func (d *dispatcher) thaw(seqs []int64) {
	if len(seqs) == 0 {
		return
	}
	d.mu.Lock()
	for _, seq := range seqs {
		if d.frozen[seq]--; d.frozen[seq] > 0 {
			continue
		}
		delete(d.frozen, seq)
		if q := d.parked[seq]; q != nil {
			delete(d.parked, seq)
			if d.known[seq] == q {
				heap.Push(&q.of.heap, q)
			}
		}
	}
	d.mu.Unlock()
	d.signal()
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

// flying is how many attempts of a tenant are under way.
func (d *dispatcher) flying(tenant int64) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := d.tenants[tenant]; b != nil {
		return b.flying
	}
	return 0
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
		if read != nil {
			e.readDue(ctx, read)
			continue
		}
		waitUntil(ctx, timer, until, e.queue.changed)
	}
	return nil
}

// waitUntil waits for a time (Unix ms; 0: none), a change, or the end of ctx.
func waitUntil(ctx context.Context, timer *time.Timer, until int64, changed <-chan struct{}) {
	timer.Reset(24 * time.Hour)
	if until != 0 {
		timer.Reset(time.Until(time.UnixMilli(until)))
	}
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (e *Engine) readDue(ctx context.Context, b *backlog) {
	e.queue.mu.Lock()
	after, limit := b.bound, e.queue.page()
	e.queue.mu.Unlock()
	var due []Due
	err := e.store.View(ctx, func(tx Tx) (err error) {
		due, err = tx.DueMessages(b.tenant, after, limit)
		return err
	})
	if err != nil {
		e.queue.giveUpReading(b)
		if ctx.Err() == nil {
			e.log.Error("read due messages", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		return
	}
	e.queue.fill(b, due, len(due) < limit)
}
