package engine

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A lane lets messages of a tenant through, some at a time, in the order in
// which they became due: a queue, or a key of flow control. A message that is
// let in has a slot, which it gives back: in a queue when it and its callbacks
// have ended, by a key when its attempt has. Who may not come in yet is Waiting.
// A message passes its queue first, then its key.
//
// All of this is in the store: where a message stands outlives a crash, and is
// the same for all nodes.
type lane struct {
	seq    int64
	tenant int64
	queue  *Queue   // nil: it is a key's
	key    *FlowKey // nil: it is a queue's

	dirty bool  // the row is to be written
	pass  bool  // it may be that one of those who wait can come in
	next  int64 // when one may who can't now, Unix ms; 0: not by time alone
}

func (l *lane) active() *int {
	if l.queue != nil {
		return &l.queue.Active
	}
	return &l.key.Active
}

const noBound = int(^uint(0) >> 1)

// room is how many more may come in now.
func (l *lane) room(now int64) int {
	if l.queue != nil {
		if l.queue.Paused {
			return 0
		}
		return max(0, l.queue.Parallelism-l.queue.Active)
	}
	k := l.key
	if k.Paused {
		return 0
	}
	room := k.rateLeft(now)
	if k.Parallelism > 0 {
		room = min(room, max(0, k.Parallelism-k.Active))
	}
	return room
}

// opens is when a lane that is full will have room again by itself, Unix ms; 0:
// that depends on something else.
func (l *lane) opens() int64 {
	k := l.key
	if k == nil || k.Paused || k.Rate == 0 || k.Parallelism > 0 && k.Active >= k.Parallelism {
		return 0
	}
	return k.windowEnd()
}

// lookAt has the lane looked at at a time, if not sooner.
func (l *lane) lookAt(at int64) {
	if l.next == 0 || at < l.next {
		l.next = at
	}
}

// at is a lane that this change has locked already.
func (c *change) at(seq int64) *lane {
	for _, l := range c.lanes {
		if l.seq == seq {
			return l
		}
	}
	return nil
}

// lane is one of either kind, locked; nil if there is none any more. Whoever
// knows of which kind it is asks for that.
func (c *change) lane(seq int64) (*lane, error) {
	if l, err := c.queueLane(seq); l != nil || err != nil {
		return l, err
	}
	return c.keyLane(seq)
}

func (c *change) queueLane(seq int64) (*lane, error) {
	if l := c.at(seq); l != nil || seq == 0 {
		return l, nil
	}
	q, err := c.tx.LockQueue(seq)
	if err != nil {
		return nil, fmt.Errorf("lock queue: %w", err)
	}
	if q == nil {
		return nil, nil
	}
	return c.addQueue(q), nil
}

func (c *change) keyLane(seq int64) (*lane, error) {
	if l := c.at(seq); l != nil || seq == 0 {
		return l, nil
	}
	k, err := c.tx.LockFlowKey(seq)
	if err != nil {
		return nil, fmt.Errorf("lock flow-control key: %w", err)
	}
	if k == nil {
		return nil, nil
	}
	return c.addKey(k), nil
}

func (c *change) addQueue(q *Queue) *lane {
	return c.addLane(&lane{seq: q.Seq, tenant: q.Tenant, queue: q})
}

func (c *change) addKey(k *FlowKey) *lane {
	return c.addLane(&lane{seq: k.Seq, tenant: k.Tenant, key: k, dirty: k.followClock(c.now)})
}

func (c *change) addLane(l *lane) *lane {
	c.lanes = append(c.lanes, l)
	return l
}

// laneName names a lane of a message. A new message does not know its Seq.
type laneName struct {
	tenant int64
	name   string
	seq    int64
}

func (p laneName) compare(o laneName) int {
	return cmp.Or(strings.Compare(p.name, o.name), cmp.Compare(p.tenant, o.tenant), cmp.Compare(p.seq, o.seq))
}

// lockLanes locks the lanes of messages in the order that every change goes by,
// or two could wait for each other: after runs and before messages, queues
// before keys, each by their names.
func (c *change) lockLanes(messages ...*Message) error {
	var queues, keys []laneName
	for _, m := range messages {
		s := &m.Settings
		if s.Queue != "" {
			queues = append(queues, laneName{m.Tenant, s.Queue, m.Queue})
		}
		if h := s.Holds; h != nil {
			queues = append(queues, laneName{m.Tenant, h.Queue, h.Lane})
		}
		if s.FlowControl != nil {
			keys = append(keys, laneName{m.Tenant, s.FlowControl.Key, m.Flow})
		}
	}
	slices.SortFunc(queues, laneName.compare)
	slices.SortFunc(keys, laneName.compare)
	for _, p := range slices.Compact(queues) {
		var err error
		if p.seq != 0 {
			_, err = c.queueLane(p.seq)
		} else {
			_, err = c.queueNamed(p.tenant, p.name)
		}
		if err != nil {
			return err
		}
	}
	for _, p := range slices.Compact(keys) {
		var err error
		if p.seq != 0 {
			_, err = c.keyLane(p.seq)
		} else {
			_, err = c.keyNamed(p.tenant, p.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lockMessage locks a message, after its lanes; nil if there is none.
func (c *change) lockMessage(seq int64) (*Message, error) {
	rows, err := c.tx.Messages([]int64{seq})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	if err := c.lockLanes(rows...); err != nil {
		return nil, err
	}
	return c.tx.LockMessage(seq)
}

// enter takes a new message into its lanes, as far as there is room, and has it
// delivered if that is all the way.
func (c *change) enter(m *Message) error {
	if m.State != Pending {
		return nil
	}
	var queue, key *lane
	var err error
	s := &m.Settings
	if s.Queue != "" {
		if queue, err = c.queueNamed(m.Tenant, s.Queue); err != nil {
			return err
		}
		m.Queue = queue.seq
	}
	if s.FlowControl != nil {
		if key, err = c.keyOf(m); err != nil {
			return err
		}
		m.Flow = key.seq
	}
	at, err := c.come(Due{At: m.Due, Seq: m.Seq}, queue, key)
	if err != nil {
		return err
	}
	if at != nil {
		m.Lane, m.State = at.seq, Waiting
		return nil
	}
	c.dispatch(m)
	if key != nil {
		c.wake[len(c.wake)-1].counted = key.key.windowEnd()
	}
	return nil
}

// come takes a message through lanes (nil: none), in their order, as far as
// there is room, and says in which it has to wait, nil if in none.
func (c *change) come(d Due, lanes ...*lane) (waitsIn *lane, err error) {
	for _, l := range lanes {
		if l == nil {
			continue
		}
		free, err := c.isFree(l, d)
		if err != nil {
			return nil, err
		}
		if !free {
			return l, nil
		}
		if err := c.admit(l, d.Seq); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// isFree says whether a message may come into a lane without waiting: those who
// became due before it go first. If it may not, the lane is looked at when that
// may be different.
func (c *change) isFree(l *lane, d Due) (bool, error) {
	if d.At > c.now {
		l.lookAt(d.At)
		return false, nil
	}
	if l.room(c.now) == 0 {
		if at := l.opens(); at != 0 {
			l.lookAt(at)
		}
		return false, nil
	}
	first, err := c.tx.Waiting(l.tenant, l.seq, 1)
	if err != nil {
		return false, fmt.Errorf("read who waits: %w", err)
	}
	if len(first) == 0 || d.before(first[0].Due) {
		return true, nil
	}
	l.pass = true
	return false, nil
}

// admit counts one that comes in.
func (c *change) admit(l *lane, message int64) error {
	*l.active()++
	l.dirty = true
	if l.queue != nil {
		return c.tx.PutSlot(l.seq, message, 1)
	}
	l.key.used(c.now)
	l.key.count(c.now)
	return c.tx.PutSlot(l.seq, message, c.now)
}

// advanceLanes lets in whoever has room now, and writes the lanes. Who comes
// through one may have to wait in another, which is behind it in the list then.
func (c *change) advanceLanes() error {
	for again := true; again; {
		again = false
		for i := 0; i < len(c.lanes); i++ {
			if l := c.lanes[i]; l.pass {
				l.pass, again = false, true
				if err := c.advance(l); err != nil {
					return fmt.Errorf("advance lane: %w", err)
				}
			}
		}
	}
	for _, l := range c.lanes {
		if err := c.writeLane(l); err != nil {
			return fmt.Errorf("write lane: %w", err)
		}
	}
	return nil
}

func (c *change) writeLane(l *lane) error {
	switch {
	case !l.dirty:
		return nil
	case l.queue != nil:
		return c.tx.UpdateQueue(l.queue)
	}
	return c.tx.UpdateFlowKey(l.key)
}

// advanceMost is how many come into a lane in one transaction. The others do in
// the next.
const advanceMost = 200

func (c *change) advance(l *lane) error {
	limit := min(l.room(c.now), advanceMost)
	if limit == 0 && l.opens() == 0 {
		return nil // whatever makes room has it looked at
	}
	waiting, err := c.tx.Waiting(l.tenant, l.seq, limit+1)
	if err != nil {
		return err
	}
	n := 0
	for n < min(limit, len(waiting)) && waiting[n].At <= c.now {
		n++
	}
	if err := c.letIn(l, waiting[:n]); err != nil || n == len(waiting) {
		return err
	}
	at := max(waiting[n].At, c.now+1)
	if l.room(c.now) == 0 {
		opens := l.opens()
		if opens == 0 {
			return nil
		}
		at = max(at, opens)
	}
	l.lookAt(at)
	return nil
}

// letIn takes messages out of a lane's waiting line and as far as they get.
func (c *change) letIn(l *lane, waiting []Waiter) error {
	changes := make([]Transition, len(waiting))
	for i := range waiting {
		w := &waiting[i]
		if err := c.admit(l, w.Seq); err != nil {
			return err
		}
		var err error
		if changes[i], err = c.goOn(l, w); err != nil {
			return err
		}
	}
	missed, err := c.tx.SettleMessages(changes)
	if err != nil {
		return err
	}
	for i, w := range waiting {
		if slices.Contains(missed, i) { // cancelled by another node, at this moment
			if err := c.leaveQueue(w.Seq, l.seq); err != nil {
				return err
			}
			if err := c.leaveKey(w.Seq, w.Flow); err != nil {
				return err
			}
		} else if changes[i].To == Pending {
			c.dispatchLater(l.tenant, &w)
		}
	}
	return nil
}

// goOn takes a message that is through a lane into the one behind it, if it can
// come in there.
func (c *change) goOn(l *lane, w *Waiter) (Transition, error) {
	t := Transition{Seq: w.Seq, From: Waiting, Attempt: w.Retried, To: Pending, Due: w.At, Retried: w.Retried}
	if l.queue == nil {
		return t, nil
	}
	key, err := c.keyAgain(w)
	if err != nil {
		return t, err
	}
	at, err := c.come(w.Due, key)
	if at != nil {
		t.To, t.Lane = Waiting, at.seq
	}
	return t, err
}

// dispatchLater has a message delivered that has come through its lanes. It is
// read when it is due.
func (c *change) dispatchLater(tenant int64, w *Waiter) {
	p := spot{Due: w.Due, tenant: tenant, counted: maxSeq}
	if l := c.at(w.Flow); l != nil && l.key != nil {
		p.counted = l.key.windowEnd()
	}
	c.wake = append(c.wake, p)
}

// setAside makes a message that is in a lane wait there; it keeps its slot, but
// the one of its key. It says whether the message was still as it is given.
func (c *change) setAside(m *Message, l *lane) (bool, error) {
	t := Transition{Seq: m.Seq, From: m.State, Attempt: m.Retried, To: Waiting, Due: m.Due, Retried: m.Retried, Lane: l.seq}
	missed, err := c.tx.SettleMessages([]Transition{t})
	if err != nil || len(missed) > 0 {
		return false, err
	}
	c.doubt = append(c.doubt, m.Seq)
	return true, c.leaveKey(m.Seq, m.Flow)
}

// slotHolders are the messages in a lane, locked.
func (c *change) slotHolders(lane int64) ([]*Message, error) {
	seqs, err := c.tx.Slots(lane)
	if err != nil {
		return nil, fmt.Errorf("read slots: %w", err)
	}
	rows, err := c.tx.Messages(seqs)
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	if err := c.lockLanes(rows...); err != nil {
		return nil, err
	}
	for i, m := range rows {
		if rows[i], err = c.tx.LockMessage(m.Seq); err != nil {
			return nil, fmt.Errorf("lock message: %w", err)
		}
	}
	return slices.DeleteFunc(rows, func(m *Message) bool { return m == nil }), nil
}

// chooseLane says where a message that is to be tried again waits for that.
func (c *change) chooseLane(f *flight) error {
	if f.verdict.to != Pending {
		return nil
	}
	f.verdict.lane = f.message.Flow
	l, err := c.queueLane(f.message.Queue)
	if err == nil && l != nil && l.queue.Paused {
		f.verdict.lane = l.seq // it keeps its slot, and goes on when the queue does
	}
	return err
}

// leaveAfter takes a message whose attempt was settled out of the lanes that it
// is through with.
func (c *change) leaveAfter(f *flight) error {
	m := f.message
	if f.verdict.to != Pending {
		return c.leave(m)
	}
	if l := c.at(f.verdict.lane); l != nil && l.key != nil {
		l.lookAt(f.verdict.due)
	}
	return c.leaveKey(m.Seq, m.Flow)
}

// leave takes a message that has ended out of its lanes, and off the one that
// waits for it.
func (c *change) leave(m *Message) error {
	if err := c.leaveQueue(m.Seq, m.Queue); err != nil {
		return err
	}
	if h := m.Settings.Holds; h != nil {
		if err := c.leaveQueue(h.Message, h.Lane); err != nil {
			return err
		}
	}
	return c.leaveKey(m.Seq, m.Flow)
}

func (c *change) leaveQueue(message, queue int64) error {
	l, err := c.queueLane(queue)
	if err != nil || l == nil {
		return err // deleted, and its slots with it
	}
	return c.leaveLane(message, l)
}

func (c *change) leaveKey(message, key int64) error {
	l, err := c.keyLane(key)
	if err != nil || l == nil {
		return err
	}
	return c.leaveLane(message, l)
}

// leaveLane gives a message's slot back, or in a queue takes one hold off it.
func (c *change) leaveLane(message int64, l *lane) error {
	slot, err := c.tx.Slot(l.seq, message)
	if err != nil {
		return fmt.Errorf("read slot: %w", err)
	}
	if slot == 0 {
		return nil // it was waiting: for room, which others do as well, or to be due
	}
	if slot--; l.key != nil {
		slot = 0
	}
	if err := c.tx.PutSlot(l.seq, message, slot); err != nil {
		return fmt.Errorf("write slot: %w", err)
	}
	if slot == 0 {
		*l.active()--
		l.dirty, l.pass = true, true
	}
	return nil
}

// hold keeps a message's place in its queue until its callback has ended.
func (c *change) hold(m, callback *Message) error {
	l, err := c.queueLane(m.Queue)
	if err != nil || l == nil {
		return err
	}
	holds, err := c.tx.Slot(l.seq, m.Seq)
	if err != nil || holds == 0 {
		return err
	}
	callback.Settings.Holds = &Slot{Queue: l.queue.Name, Lane: l.seq, Message: m.Seq}
	return c.tx.PutSlot(l.seq, m.Seq, holds+1)
}

// laneClock knows when which lane has to be looked at because of the time.
type laneClock struct {
	mu      sync.Mutex
	at      map[int64]int64 // by Seq, Unix ms
	heap    dueHeap         // of those; entries that at does not know are outdated
	changed chan struct{}   // one is sooner than all others, or some are lost
	lost    atomic.Bool     // there may be lanes that at does not know
}

func (lc *laneClock) init() {
	lc.at = map[int64]int64{}
	lc.changed = make(chan struct{}, 1)
	lc.lost.Store(true) // nothing is known yet
}

// apply takes note of a committed change.
func (lc *laneClock) apply(lanes []*lane) {
	for _, l := range lanes {
		if l.next != 0 {
			lc.set(l.seq, l.next)
		}
	}
}

// set has a lane looked at at a time, if it is not sooner anyway. Changes tell of
// themselves in any order: an earlier time may be the later one's.
func (lc *laneClock) set(seq, at int64) {
	lc.mu.Lock()
	defer lc.mu.Unlock()
	if known, ok := lc.at[seq]; ok && known <= at {
		return
	}
	lc.at[seq] = at
	heap.Push(&lc.heap, &queued{Due: Due{At: at, Seq: seq}})
	if lc.heap[0].Seq == seq {
		lc.signal()
	}
}

func (lc *laneClock) signal() {
	select {
	case lc.changed <- struct{}{}:
	default:
	}
}

// findAgain has all lanes looked for: what is in the store may be other than
// what was told.
func (lc *laneClock) findAgain() {
	lc.lost.Store(true)
	lc.signal()
}

// take is the lanes to look at now, at most most of them; if there are none,
// when the first is to be looked at, 0 for never.
func (lc *laneClock) take(now int64, most int) (due []int64, until int64) {
	lc.mu.Lock()
	defer lc.mu.Unlock()
	for len(lc.heap) > 0 && len(due) < most {
		first := lc.heap[0]
		if lc.at[first.Seq] == first.At {
			if first.At > now {
				return due, first.At
			}
			due = append(due, first.Seq)
			delete(lc.at, first.Seq)
		}
		heap.Pop(&lc.heap)
	}
	return due, 0
}

// lanesMost is how many lanes are advanced in one transaction.
const lanesMost = 50

// laneLoop advances lanes when it is time.
func (e *Engine) laneLoop(ctx context.Context) {
	defer close(e.lanesDone)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		if e.lanes.lost.Swap(false) {
			if err := e.findLanes(ctx); err != nil && ctx.Err() == nil {
				e.log.Error("find the lanes that messages wait in; it will be tried again", "error", err)
				time.AfterFunc(lanesAgain, e.lanes.findAgain)
			}
		}
		due, until := e.lanes.take(unixMillis(time.Now()), lanesMost)
		if len(due) > 0 {
			e.passLanes(ctx, due)
			continue
		}
		waitUntil(ctx, timer, until, e.lanes.changed)
	}
}

// lanesAgain is when lanes are looked at again that could not be advanced.
const lanesAgain = 5 * time.Second

func (e *Engine) passLanes(ctx context.Context, seqs []int64) {
	err := e.update(ctx, func(c *change) error {
		for _, seq := range seqs {
			l, err := c.lane(seq)
			if err != nil {
				return err
			}
			if l != nil {
				l.pass = true
			}
		}
		return nil
	})
	if err == nil || ctx.Err() != nil {
		return
	}
	e.log.Error("advance queues and flow control; it will be tried again", "error", err)
	later := unixMillis(time.Now().Add(lanesAgain))
	for _, seq := range seqs {
		e.lanes.set(seq, later)
	}
}

// findLanes finds the lanes that messages wait in. Those of a queue that was
// being deleted are cancelled.
func (e *Engine) findLanes(ctx context.Context) error {
	type found struct{ tenant, lane int64 }
	var there, gone []found
	err := e.store.View(ctx, func(tx Tx) error {
		there, gone = nil, nil
		for _, t := range e.tenants.all() {
			for lane := int64(0); ; {
				var err error
				if lane, err = tx.NextLane(t.ID, lane); err != nil {
					return err
				}
				if lane == 0 {
					break
				}
				c := change{tx: tx}
				if l, err := c.lane(lane); err != nil {
					return err
				} else if l != nil {
					there = append(there, found{t.ID, lane})
				} else {
					gone = append(gone, found{t.ID, lane})
				}
			}
		}
		return nil
	})
	now := unixMillis(time.Now())
	for _, f := range there {
		e.lanes.set(f.lane, now)
	}
	for _, f := range gone {
		err = errors.Join(err, e.cancelLane(ctx, f.tenant, f.lane))
	}
	return err
}
