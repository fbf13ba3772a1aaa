package engine

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
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
	room := noBound
	if k.Parallelism > 0 {
		room = max(0, k.Parallelism-k.Active)
	}
	if k.Rate > 0 && now < k.windowEnd() {
		room = min(room, max(0, k.Rate-k.RateCount))
	} else if k.Rate > 0 {
		room = min(room, k.Rate)
	}
	if k.Paused {
		return 0
	}
	return room
}

func (k *FlowKey) windowEnd() int64 { return k.WindowStart + 1000*k.Period }

// opens is when a lane that is full will have room again by itself, Unix ms; 0:
// that depends on something else.
func (l *lane) opens() int64 {
	k := l.key
	if k == nil || k.Paused || k.Rate == 0 || k.Parallelism > 0 && k.Active >= k.Parallelism {
		return 0
	}
	return k.windowEnd()
}

// usedStep is how exactly it is noted when a key was used.
const usedStep = int64(time.Hour / time.Millisecond)

// admit counts one that comes in.
func (l *lane) admit(now int64) {
	*l.active()++
	l.dirty = true
	k := l.key
	if k == nil {
		return
	}
	if now-k.UsedAt >= usedStep {
		k.UsedAt = now
	}
	if k.Rate == 0 {
		return
	}
	if now >= k.windowEnd() {
		k.WindowStart, k.RateCount = now, 0
	}
	k.RateCount++
}

// lane is one that this change works with, locked; nil if there is none any
// more.
func (c *change) lane(seq int64) (*lane, error) {
	if i := slices.IndexFunc(c.lanes, func(l *lane) bool { return l.seq == seq }); i >= 0 {
		return c.lanes[i], nil
	}
	q, err := c.tx.LockQueue(seq)
	if err != nil {
		return nil, fmt.Errorf("lock queue: %w", err)
	}
	if q != nil {
		return c.queueLane(q), nil
	}
	k, err := c.tx.LockFlowKey(seq)
	if err != nil {
		return nil, fmt.Errorf("lock flow-control key: %w", err)
	}
	if k != nil {
		return c.keyLane(k), nil
	}
	return nil, nil
}

func (c *change) queueLane(q *Queue) *lane {
	return c.addLane(&lane{seq: q.Seq, tenant: q.Tenant, queue: q})
}

func (c *change) keyLane(k *FlowKey) *lane {
	return c.addLane(&lane{seq: k.Seq, tenant: k.Tenant, key: k})
}

func (c *change) addLane(l *lane) *lane {
	c.lanes = append(c.lanes, l)
	return l
}

// enter takes a new message into its lanes, as far as there is room, and has it
// delivered if that is all the way.
func (c *change) enter(m *Message) error {
	if m.State != Pending {
		return nil
	}
	s := &m.Settings
	if s.Queue != "" {
		l, err := c.queueNamed(m.Tenant, s.Queue)
		if err != nil {
			return err
		}
		m.Queue = l.seq
	}
	if s.FlowControl != nil {
		l, err := c.keyOf(m.Tenant, s.FlowControl)
		if err != nil {
			return err
		}
		m.Flow = l.seq
	}
	at, err := c.come(Waiter{Due: Due{At: m.Due, Seq: m.Seq}, Flow: m.Flow}, m.Queue, m.Flow)
	if err != nil {
		return err
	}
	if m.Lane = at; at != 0 {
		m.State = Waiting
		return nil
	}
	c.dispatch(m)
	return nil
}

// come takes a message through lanes (0: none), in their order, as far as there
// is room, and says in which it has to wait, 0 if in none.
func (c *change) come(w Waiter, lanes ...int64) (waitsIn int64, err error) {
	for _, seq := range lanes {
		if seq == 0 {
			continue
		}
		l, err := c.lane(seq)
		if err != nil {
			return 0, err
		}
		if l == nil {
			continue // deleted meanwhile: nothing holds it back
		}
		free, err := c.isFree(l, w)
		if err != nil {
			return 0, err
		}
		if !free {
			l.pass = true
			return seq, nil
		}
		if err := c.admit(l, w.Seq); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// isFree says whether a message may come into a lane without waiting: those who
// became due before it go first.
func (c *change) isFree(l *lane, w Waiter) (bool, error) {
	if w.At > c.now || l.room(c.now) == 0 {
		return false, nil
	}
	first, err := c.tx.Waiting(l.tenant, l.seq, c.now, 1)
	if err != nil {
		return false, fmt.Errorf("read who waits: %w", err)
	}
	return len(first) == 0 || w.Due.before(first[0].Due), nil
}

func (c *change) admit(l *lane, message int64) error {
	l.admit(c.now)
	return c.tx.PutSlot(l.seq, message, 1)
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

// advanceMost is how many come in at a time.
const advanceMost = 200

func (c *change) advance(l *lane) error {
	for room := l.room(c.now); room > 0; room = l.room(c.now) {
		limit := min(room, advanceMost)
		waiting, err := c.tx.Waiting(l.tenant, l.seq, c.now, limit)
		if err != nil {
			return err
		}
		if err := c.letIn(l, waiting); err != nil {
			return err
		}
		if len(waiting) < limit {
			break
		}
	}
	return c.setClock(l)
}

// letIn takes messages out of a lane's waiting line and as far as they get.
func (c *change) letIn(l *lane, waiting []Waiter) error {
	changes := make([]Transition, len(waiting))
	for i, w := range waiting {
		if err := c.admit(l, w.Seq); err != nil {
			return err
		}
		behind := w.Flow
		if l.key != nil {
			behind = 0
		}
		at, err := c.come(w, behind)
		if err != nil {
			return err
		}
		changes[i] = w.move(at)
	}
	missed, err := c.tx.SettleMessages(changes)
	if err != nil {
		return err
	}
	for i, w := range waiting {
		if slices.Contains(missed, i) { // cancelled by another node, at this moment
			if err := c.leaveLanes(w.Seq, l.seq, w.Flow); err != nil {
				return err
			}
		} else if changes[i].To == Pending {
			c.wake = append(c.wake, spot{Due: w.Due, tenant: l.tenant})
		}
	}
	return nil
}

// move is a waiting message's transition into another lane, or out of all (0).
func (w *Waiter) move(to int64) Transition {
	t := Transition{Seq: w.Seq, From: Waiting, Attempt: w.Retried, To: Pending, Due: w.At, Retried: w.Retried}
	if to != 0 {
		t.To, t.Lane = Waiting, to
	}
	return t
}

// setClock finds out when the first of those who wait can come in by time alone.
func (c *change) setClock(l *lane) error {
	l.next = 0
	opens := int64(0)
	if l.room(c.now) == 0 {
		if opens = l.opens(); opens == 0 {
			return nil
		}
	}
	due, err := c.tx.NextWaiting(l.tenant, l.seq)
	if err == nil && due != 0 {
		l.next = max(due, opens, c.now+1)
	}
	return err
}

// chooseLane says where a message that is to be tried again waits for that.
func (c *change) chooseLane(f *flight) error {
	if f.verdict.to != Pending {
		return nil
	}
	f.verdict.lane = f.message.Flow
	if f.message.Queue == 0 {
		return nil
	}
	l, err := c.lane(f.message.Queue)
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
	if f.verdict.lane != 0 {
		l, err := c.lane(f.verdict.lane)
		if err != nil || l == nil {
			return err
		}
		l.pass = true
	}
	return c.leaveLanes(m.Seq, m.Flow)
}

// leave takes a message that has ended out of its lanes, and off the one that
// waits for it.
func (c *change) leave(m *Message) error {
	if err := c.leaveLanes(m.Seq, m.Queue, m.Flow); err != nil {
		return err
	}
	if h := m.Settings.Holds; h != nil {
		return c.leaveLanes(h.Message, h.Lane)
	}
	return nil
}

// leaveLanes takes one hold off a message's slots in lanes (0: none).
func (c *change) leaveLanes(message int64, lanes ...int64) error {
	for _, seq := range lanes {
		if seq == 0 {
			continue
		}
		// The lane first: its slots are changed by whoever has it locked.
		l, err := c.lane(seq)
		if err != nil {
			return err
		}
		if l == nil {
			continue // deleted, and its slots with it
		}
		holds, err := c.tx.Slot(seq, message)
		if err != nil {
			return fmt.Errorf("read slot: %w", err)
		}
		if holds == 0 {
			l.pass = true // it was waiting: who was behind it may be the first now
			continue
		}
		if err := c.tx.PutSlot(seq, message, holds-1); err != nil {
			return fmt.Errorf("write slot: %w", err)
		}
		if holds == 1 {
			*l.active()--
			l.dirty, l.pass = true, true
		}
	}
	return nil
}

// hold keeps a message's place in its queue until its callback has ended.
func (c *change) hold(m, callback *Message) error {
	if m.Queue == 0 {
		return nil
	}
	l, err := c.lane(m.Queue)
	if err != nil || l == nil {
		return err
	}
	holds, err := c.tx.Slot(l.seq, m.Seq)
	if err != nil || holds == 0 {
		return err
	}
	callback.Settings.Holds = &Slot{Lane: l.seq, Message: m.Seq}
	return c.tx.PutSlot(l.seq, m.Seq, holds+1)
}

// laneClock knows when which lane has to be looked at because of the time.
type laneClock struct {
	mu      sync.Mutex
	at      map[int64]int64 // by Seq, Unix ms
	heap    dueHeap         // of those; entries that at does not know are outdated
	changed chan struct{}   // one is sooner than all others
}

func (lc *laneClock) init() {
	lc.at = map[int64]int64{}
	lc.changed = make(chan struct{}, 1)
}

// apply takes note of a committed change.
func (lc *laneClock) apply(lanes []*lane) {
	for _, l := range lanes {
		if l.next != 0 {
			lc.set(l.seq, l.next)
		}
	}
}

func (lc *laneClock) set(seq, at int64) {
	lc.mu.Lock()
	defer lc.mu.Unlock()
	if lc.at[seq] == at {
		return
	}
	lc.at[seq] = at
	heap.Push(&lc.heap, &queued{Due: Due{At: at, Seq: seq}})
	if lc.heap[0].Seq != seq {
		return
	}
	select {
	case lc.changed <- struct{}{}:
	default:
	}
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
	e.findLanes(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		due, until := e.lanes.take(unixMillis(time.Now()), lanesMost)
		if len(due) > 0 {
			e.passLanes(ctx, due)
			continue
		}
		timer.Reset(24 * time.Hour)
		if until != 0 {
			timer.Reset(time.Until(time.UnixMilli(until)))
		}
		select {
		case <-e.lanes.changed:
		case <-timer.C:
		case <-ctx.Done():
		}
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

// findLanes finds the lanes that messages wait in, after a start. Those of a
// queue that was being deleted are cancelled.
func (e *Engine) findLanes(ctx context.Context) {
	type found struct{ tenant, lane int64 }
	var there, gone []found
	err := e.store.View(ctx, func(tx Tx) error {
		there, gone = nil, nil
		for _, t := range e.tenants.all() {
			for above := int64(0); ; {
				lane, err := tx.NextLane(t.ID, above)
				if err != nil || lane == 0 {
					if err != nil {
						return err
					}
					break
				}
				c := change{e: e, tx: tx}
				l, err := c.lane(lane)
				if err != nil {
					return err
				}
				if above = lane; l != nil {
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
	if err != nil && ctx.Err() == nil {
		e.log.Error("find the lanes that messages wait in", "error", err)
	}
}
