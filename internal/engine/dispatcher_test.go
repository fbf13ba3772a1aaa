package engine

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// world is a dispatcher with all that goes on around it, one step at a time: a
// store, changes that are begun, committed and told, reads, and attempts. What
// runs at once is here what comes in any order.
type world struct {
	d     dispatcher
	now   int64
	seq   int64
	store map[int64]row

	open     []*telling     // changes that are not committed; each has locked its message
	untold   []*telling     // committed, or undone
	stopped  map[int64]bool // cancelled or paused, and told of, while no attempt was under way
	doubtful map[int64]bool // a change of it was in doubt
	asleep   bool
	until    int64 // while asleep; 0: for as long as nothing changes
	reading  *backlog
	after    Due
	limit    int
	due      []Due // what was read
	seen     bool  // due is
	attempts []*attempt
}

type row struct {
	tenant, due int64
	retried     int
	state       State
}

// telling is a change whose maker has still to tell of it.
type telling struct {
	change
	locked int64
	seqs   []int64 // frozen
	of     *queued // whose attempt it settles; nil: none's
	commit func()
	failed bool
	told   bool
	away   bool // the attempt is not to be made: its message waits
}

type attempt struct {
	q       *queued
	read    *Message // as it was then
	was     row      // of that
	leaves  *telling // has it wait in its lane, as that has no room
	made    bool
	retried int
}

func (w *world) pending() []int64 {
	return slices.Sorted(maps.Keys(maps.Collect(func(yield func(int64, row) bool) {
		for seq, r := range w.store {
			if r.state == Pending && !w.isLocked(seq) && !yield(seq, r) {
				return
			}
		}
	})))
}

func (w *world) message(seq int64) *Message {
	r := w.store[seq]
	return &Message{Key: Key{Seq: seq}, Tenant: r.tenant, Due: r.due, State: r.state, Retried: r.retried}
}

func (w *world) set(seq int64, change func(*row)) {
	r := w.store[seq]
	change(&r)
	w.store[seq] = r
}

func (w *world) freeze(t *telling, seq int64) bool {
	if !w.d.freeze(w.message(seq)) {
		return false
	}
	t.seqs = append(t.seqs, seq)
	return true
}

// begin opens a change, and holds its message until it is committed.
func (w *world) begin(seq int64, t *telling, commit func()) {
	t.locked, t.commit, t.reads = seq, commit, w.d.reads.Load()
	w.open = append(w.open, t)
}

func (w *world) isLocked(seq int64) bool {
	return slices.ContainsFunc(w.open, func(t *telling) bool { return t.locked == seq })
}

func (w *world) commit(i int, failed, written bool) {
	t := w.open[i]
	w.open = slices.Delete(w.open, i, i+1)
	if t.failed = failed; failed {
		w.doubtful[t.locked] = true
	}
	if !failed || written {
		t.commit()
	}
	w.untold = append(w.untold, t)
}

// tell is the rest of Engine.update.
func (w *world) tell(i int) {
	t := w.untold[i]
	w.untold = slices.Delete(w.untold, i, i+1)
	if t.failed {
		w.d.readAgain([]*Tenant{{ID: 1}, {ID: 2}})
	} else {
		w.d.apply(&t.change)
		for _, seq := range t.seqs {
			w.stopped[seq] = true
		}
	}
	w.d.thaw(t.seqs)
	t.told = true
	if t.failed && t.of != nil {
		w.d.postpone(t.of.of.tenant, t.of.Seq, w.now+5)
	}
}

func (w *world) add(tenant, delay int64, inMemory bool) {
	w.seq++
	seq, r := w.seq, row{tenant: tenant, due: w.now + delay, state: Pending}
	t := &telling{}
	p := spot{Due: Due{At: r.due, Seq: seq}, tenant: tenant}
	if inMemory {
		p.message = &Message{Key: Key{Seq: seq}, Tenant: tenant, Due: r.due, State: Pending}
	}
	t.wake = []spot{p}
	w.begin(seq, t, func() { w.store[seq] = r })
}

func (w *world) cancel(seq int64) {
	t, to := &telling{}, Canceled
	if w.store[seq].state == Pending && !w.freeze(t, seq) {
		to = Canceling
	} else {
		t.drop = []int64{seq}
	}
	w.begin(seq, t, func() { w.set(seq, func(r *row) { r.state = to }) })
}

func (w *world) pause(seq int64) {
	t := &telling{}
	if !w.freeze(t, seq) {
		return
	}
	t.doubt = []int64{seq}
	w.begin(seq, t, func() { w.set(seq, func(r *row) { r.state = Waiting }) })
}

func (w *world) resume(seq int64) {
	t := &telling{}
	t.wake = []spot{{Due: Due{At: w.store[seq].due, Seq: seq}, tenant: w.store[seq].tenant}}
	w.begin(seq, t, func() { w.set(seq, func(r *row) { r.state = Pending }); delete(w.stopped, seq) })
}

// dispatch is one round of Engine.next, or a part of its read.
func (w *world) dispatch() bool {
	switch {
	case w.reading != nil && !w.seen:
		w.due, w.seen = nil, true
		for seq, r := range w.store {
			if d := (Due{At: r.due, Seq: seq}); r.tenant == w.reading.tenant && w.after.before(d) && (r.state == Pending || r.state == Canceling) {
				w.due = append(w.due, d)
			}
		}
		slices.SortFunc(w.due, func(a, b Due) int {
			if a.before(b) {
				return -1
			}
			return 1
		})
		w.due = w.due[:min(len(w.due), w.limit)]
		return true
	case w.reading != nil:
		w.d.fill(w.reading, w.due, len(w.due) < w.limit)
		w.reading = nil
	}
	if w.asleep {
		select {
		case <-w.d.changed:
		default:
			if w.until == 0 || w.now < w.until {
				return false
			}
		}
	}
	q, read, until := w.d.take(w.now)
	w.asleep = q == nil && read == nil
	switch {
	case q != nil:
		w.attempts = append(w.attempts, &attempt{q: q})
	case read != nil:
		w.reading, w.seen, w.after, w.limit = read, false, read.bound, w.d.page()
	default:
		w.until = until
	}
	return true
}

// fly takes an attempt a step further. It may leave: its lane has no room.
func (w *world) fly(t *rapid.T, i int, fails, leaves bool, retry int64) {
	a := w.attempts[i]
	if a.leaves != nil && !a.leaves.told || (a.made || leaves) && w.isLocked(a.q.Seq) {
		return // its change waits
	}
	if !a.made {
		if !w.prepare(t, a, fails, leaves) {
			w.attempts = slices.Delete(w.attempts, i, i+1)
		}
		return
	}
	w.attempts = slices.Delete(w.attempts, i, i+1)
	s := &telling{of: a.q}
	s.done = []int64{a.q.Seq}
	r := w.store[a.q.Seq]
	if r.state == Canceled && !w.doubtful[a.q.Seq] {
		t.Fatalf("message %d was cancelled as if no attempt were under way", a.q.Seq)
	}
	if r.retried != a.retried || r.state.Ended() {
		if r.state == Pending {
			s.wake = []spot{{Due: Due{At: r.due, Seq: a.q.Seq}, tenant: r.tenant}}
		}
		w.begin(a.q.Seq, s, func() {})
		return
	}
	to := Delivered
	if r.state == Canceling {
		to, retry = Canceled, 0
	}
	if retry > 0 {
		due := w.now + retry
		s.wake = []spot{{Due: Due{At: due, Seq: a.q.Seq}, tenant: r.tenant}}
		w.begin(a.q.Seq, s, func() {
			w.set(a.q.Seq, func(r *row) { r.state, r.retried, r.due = Pending, r.retried+1, due })
		})
		return
	}
	w.begin(a.q.Seq, s, func() { w.set(a.q.Seq, func(r *row) { r.state = to }) })
}

// prepare is what comes before an attempt is made. It says whether there is more to
// do for it.
func (w *world) prepare(t *rapid.T, a *attempt, fails, leaves bool) bool {
	seq := a.q.Seq
	if a.read == nil {
		if a.was, a.read = w.store[seq], a.q.message; a.read == nil {
			a.read = w.message(seq)
		} else if w.stopped[seq] {
			t.Fatalf("message %d is sent although it was cancelled or paused", seq)
		}
		return true
	}
	m, now := a.read, w.store[seq]
	switch {
	case a.leaves != nil && a.leaves.failed || fails && a.leaves == nil:
		w.d.postpone(a.q.of.tenant, seq, w.now+5)
		return false
	case a.leaves != nil && a.leaves.away || m.State.Ended() || m.State == Waiting:
		w.d.ended(a.q)
		return false
	case m.State == Pending && m.Due > a.q.At:
		a.q.later = m.Due
		w.d.ended(a.q)
		return false
	case now.state == Delivered || now.retried != m.Retried:
		t.Fatalf("message %d is sent again: it is %d, retried %d times and not %d", seq, now.state, now.retried, m.Retried)
	case slices.ContainsFunc(w.attempts, func(o *attempt) bool { return o.made && o.q.Seq == seq }):
		t.Fatalf("message %d is sent while it is being sent", seq)
	case a.was.state == Pending && a.was.due > w.now:
		t.Fatalf("message %d is sent at %d, before it is due at %d", seq, w.now, a.was.due)
	case leaves && a.leaves == nil:
		a.leaves = &telling{}
		w.begin(seq, a.leaves, func() {
			if r := w.store[seq]; r.state == Pending && r.retried == m.Retried {
				a.leaves.away, a.leaves.done, a.leaves.doubt = true, []int64{seq}, []int64{seq}
				w.set(seq, func(r *row) { r.state = Waiting })
			}
		})
		return true
	}
	a.made, a.retried = true, m.Retried
	w.d.landed(a.q)
	return true
}

// settle lets everything come to its end, but starts nothing.
func (w *world) settle(t *rapid.T) {
	for range 10000 {
		switch {
		case len(w.open) > 0:
			w.commit(0, false, true)
		case len(w.untold) > 0:
			w.tell(0)
		case w.dispatch():
		case len(w.attempts) > 0:
			w.fly(t, 0, false, false, 0)
		case w.now < 1000:
			w.now++
		default:
			return
		}
	}
	t.Fatal("it goes on for ever")
}

// However changes, reads and attempts come between each other, every message
// that is to be delivered is: none is forgotten, and nobody sleeps over it. None is
// sent that was cancelled or paused before, or once more after its attempt.
func TestDispatcherForgetsNothing(t *testing.T) {
	for range 1000 { // a check takes next to no time
		rapid.Check(t, forgetNothing)
	}
}

func forgetNothing(t *rapid.T) {
	w := &world{now: 1, store: map[int64]row{}, stopped: map[int64]bool{}, doubtful: map[int64]bool{}}
	most := 2
	w.d.init(nil, func(int64) int { return most })
	w.d.size = rapid.IntRange(2, 6).Draw(t, "size")
	pick := func(seqs []int64) int64 { return rapid.SampledFrom(seqs).Draw(t, "message") }
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		pending := w.pending()
		switch step := rapid.IntRange(0, 17).Draw(t, "step"); {
		case step <= 3:
			w.dispatch()
		case step <= 5:
			if n := len(w.untold); n > 0 {
				w.tell(rapid.IntRange(0, n-1).Draw(t, "untold"))
			}
		case step == 6:
			w.now += rapid.Int64Range(0, 4).Draw(t, "time")
		case step == 17:
			most = rapid.IntRange(1, 3).Draw(t, "most")
			w.d.signal()
		case step >= 13 && len(w.open) > 0:
			w.commit(rapid.IntRange(0, len(w.open)-1).Draw(t, "open"), rapid.IntRange(0, 5).Draw(t, "failed") == 0, rapid.Bool().Draw(t, "written"))
		case step <= 8:
			w.add(rapid.Int64Range(1, 2).Draw(t, "tenant"), rapid.Int64Range(0, 5).Draw(t, "delay"), rapid.Bool().Draw(t, "in memory"))
		case step == 9:
			if n := len(w.attempts); n > 0 {
				w.fly(t, rapid.IntRange(0, n-1).Draw(t, "attempt"), rapid.IntRange(0, 9).Draw(t, "fails") == 0,
					rapid.IntRange(0, 4).Draw(t, "leaves") == 0, rapid.Int64Range(0, 8).Draw(t, "retry"))
			}
		case step == 10 && len(pending) > 0:
			w.cancel(pick(pending))
		case step == 11 && len(pending) > 0:
			w.pause(pick(pending))
		case step == 12:
			var waiting []int64
			for seq, r := range w.store {
				if r.state == Waiting && !w.isLocked(seq) {
					waiting = append(waiting, seq)
				}
			}
			if slices.Sort(waiting); len(waiting) > 0 {
				w.resume(pick(waiting))
			}
		}
	}
	w.settle(t)
	for seq, r := range w.store {
		if !r.state.Ended() && r.state != Waiting {
			t.Errorf("message %d, due at %d, is %d", seq, r.due, r.state)
		}
	}
	if len(w.d.known)+len(w.d.frozen)+len(w.d.parked) > 0 {
		t.Errorf("known %v, frozen %v, parked %v", w.d.known, w.d.frozen, w.d.parked)
	}
	for _, b := range w.d.turns {
		if b.flying != 0 {
			t.Errorf("%d attempts of tenant %d are still counted", b.flying, b.tenant)
		}
	}
}

// A message that a read found, and whose attempt is over, is not sent again when
// the change that added it is told at last.
func TestToldAfterItsAttempt(t *testing.T) {
	for _, retry := range []int64{0, 3} {
		rapid.Check(t, func(t *rapid.T) {
			w := &world{now: 1, store: map[int64]row{}, stopped: map[int64]bool{}, doubtful: map[int64]bool{}}
			w.d.init([]*Tenant{{ID: 1}}, func(int64) int { return 2 })
			w.d.size = 10
			w.add(1, 0, true)
			w.commit(0, false, true)
			for w.dispatch() && len(w.attempts) == 0 { // the first read
			}
			if len(w.attempts) != 1 {
				t.Fatal("the read did not find it")
			}
			for !w.attempts[0].made {
				w.fly(t, 0, false, false, 0)
			}
			w.fly(t, 0, false, false, retry)
			w.commit(0, false, true)
			w.tell(1)
			w.tell(0)
			w.settle(t)
			if r := w.store[1]; r.state != Delivered || len(w.d.known) != 0 {
				t.Errorf("%+v, known %v", r, w.d.known)
			}
		})
	}
}

// Where what is due is to be read again, forgetting what is far says nothing of
// what is known.
func TestShrinkRaisesNoBound(t *testing.T) {
	var d dispatcher
	d.init([]*Tenant{{ID: 1}}, func(int64) int { return 1 })
	d.size = 2
	b := d.backlog(1)
	d.fill(b, nil, true)
	for seq := range int64(4) {
		d.push(&queued{Due: Due{At: 10, Seq: seq}, of: b})
	}
	d.readAgain(nil)
	d.postpone(1, 9, 20)
	d.mu.Lock()
	d.shrink(b)
	d.mu.Unlock()
	if _, read, _ := d.take(1); read != b || b.bound != (Due{}) || len(b.heap) != 3 {
		t.Errorf("read %v after %v, with %d waiting", read, b.bound, len(b.heap))
	}
}

// queuedUp is a dispatcher that has been told of messages due at once, and knows
// that there are no others.
func queuedUp(seqs ...int64) *dispatcher {
	d := &dispatcher{}
	d.init([]*Tenant{{ID: 1}}, func(int64) int { return 2 })
	d.fill(d.backlog(1), nil, true)
	for _, seq := range seqs {
		d.apply(&change{wake: []spot{{Due: Due{At: 1, Seq: seq}, tenant: 1}}})
	}
	return d
}

// started starts the next message, after what is to be read.
func (d *dispatcher) starts(now int64, stored ...Due) *queued {
	q, read, _ := d.take(now)
	for read != nil {
		d.fill(read, stored, true)
		q, read, _ = d.take(now)
	}
	return q
}

// Whoever ends a flight that a change has ended already, ends no other.
func TestEndedByItsChange(t *testing.T) {
	d := queuedUp(7)
	q := d.starts(1)
	d.apply(&change{wake: []spot{{Due: q.Due, tenant: 1}}}) // the one that added it
	d.apply(&change{done: []int64{7}, doubt: []int64{7}})   // its lane is full
	d.ended(q)
	if q = d.starts(1); q == nil {
		t.Fatal("it is not looked up")
	}
	if d.ended(q); d.flying(1) != 0 || len(d.known) != 0 {
		t.Errorf("%d attempts are still counted, known %v", d.flying(1), d.known)
	}
}

// What an attempt has read before a change was in doubt says nothing.
func TestDoubtDuringAnAttempt(t *testing.T) {
	d := queuedUp(7)
	q := d.starts(1)
	d.readAgain(nil)
	if other := d.starts(1, q.Due); other != nil {
		t.Fatalf("%v is started meanwhile", other)
	}
	d.ended(q)
	if d.starts(1) == nil {
		t.Error("it is not looked up")
	}
}

// A message that was postponed is looked up after its flight though others, that
// are due before, fill the memory meanwhile.
func TestPostponedIsLookedUp(t *testing.T) {
	d := queuedUp(7)
	d.size = 2
	d.starts(1)
	d.postpone(1, 7, 30)
	q := d.starts(30)
	d.apply(&change{wake: []spot{{Due: Due{At: 1, Seq: 7}, tenant: 1}}}) // it was not to be sent before
	for seq := range int64(5) {
		d.apply(&change{wake: []spot{{Due: Due{At: 2, Seq: seq}, tenant: 1}}})
	}
	d.ended(q)
	if d.known[7] == nil {
		t.Errorf("it is forgotten, and not read after %v", d.backlog(1).bound)
	}
}

// An attempt is under way for a message until what came of it makes it due later.
func TestFreezeUnderWay(t *testing.T) {
	m := &Message{Key: Key{Seq: 7}, Tenant: 1, Due: 1}
	later := &Message{Key: Key{Seq: 7}, Tenant: 1, Due: 40}
	d := queuedUp(7)
	d.starts(1)
	check := func(m *Message, free bool) {
		t.Helper()
		if d.freeze(m) != free {
			t.Errorf("due at %d: free is %v", m.Due, !free)
		}
		delete(d.frozen, 7)
	}
	check(m, false)
	check(later, true)
	d.postpone(1, 7, 30)
	check(m, true)
	q := d.starts(30)
	check(m, false)
	check(later, true)
	d.apply(&change{wake: []spot{{Due: Due{At: 1, Seq: 7}, tenant: 1}}})
	d.ended(q)
	d.starts(30)
	check(m, false)
}

// What a message was let in by before it was set aside says nothing of when it may
// be sent once it is let in again.
func TestSetAsideIsCountedAnew(t *testing.T) {
	d := queuedUp()
	spots := []spot{{Due: Due{At: 1, Seq: 7}, tenant: 1, counted: maxSeq}}
	d.apply(&change{wake: spots})
	d.apply(&change{doubt: []int64{7}})
	d.apply(&change{wake: spots})
	if q := d.starts(1); q.counted != 0 {
		t.Errorf("it may be sent until %d", q.counted)
	}
}
