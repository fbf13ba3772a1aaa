package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/signposthq/signpost/internal/wire"
)

// queueNamed is the lane of a tenant's queue, which is made if there is none.
func (c *change) queueNamed(tenant int64, name string) (*lane, error) {
	for _, l := range c.lanes {
		if l.queue != nil && l.tenant == tenant && l.queue.Name == name {
			return l, nil
		}
	}
	q, err := c.tx.LockQueueNamed(tenant, name)
	if err != nil {
		return nil, fmt.Errorf("lock queue: %w", err)
	}
	if q == nil {
		if q, err = c.newQueue(tenant, name); err != nil {
			return nil, err
		}
	}
	return c.addQueue(q), nil
}

func (c *change) newQueue(tenant int64, name string) (*Queue, error) {
	// Locked, so that two that are made together don't both find room.
	t, err := c.lockTenant(tenant)
	if err != nil {
		return nil, err
	}
	n, err := c.tx.CountQueues(tenant)
	if err != nil {
		return nil, fmt.Errorf("count queues: %w", err)
	}
	if most := c.e.limitsOf(t).MaxQueues; n >= most {
		return nil, errorf(Precondition, "queue %s: there are %d queues, the most that are allowed", name, n)
	}
	q := &Queue{Seq: c.seq(), Tenant: tenant, Name: name, Parallelism: 1, UpdatedAt: c.now}
	if err := c.tx.InsertQueue(q); err != nil {
		return nil, fmt.Errorf("insert queue: %w", err)
	}
	return q, nil
}

// QueueStatus is a queue and how many of its messages have not ended, with their
// callbacks.
type QueueStatus struct {
	*Queue
	Lag int
}

func queueStatus(tx Tx, q *Queue) (QueueStatus, error) {
	waiting, err := tx.CountWaiting(q.Tenant, q.Seq, maxSeq)
	if err != nil || !q.Paused {
		return QueueStatus{q, q.Active + waiting}, err
	}
	// Who was set aside waits, and is in it as well.
	seqs, err := tx.Slots(q.Seq)
	if err != nil {
		return QueueStatus{}, err
	}
	inside, err := tx.Messages(seqs)
	for _, m := range inside {
		if m.State == Waiting && m.Lane == q.Seq {
			waiting--
		}
	}
	return QueueStatus{q, q.Active + waiting}, err
}

// QueueChange is what a queue is to be; nil leaves it as it is.
type QueueChange struct {
	Name        string
	Parallelism *int // of a new queue, if not said: 1
	Paused      *bool
}

// PutQueue makes a queue, or changes the one there is.
func (e *Engine) PutQueue(ctx context.Context, who *Caller, to QueueChange) (out QueueStatus, err error) {
	if err := wire.CheckName(to.Name); err != nil {
		return out, wire.Within("queueName", err)
	}
	if p := to.Parallelism; p != nil {
		if most := e.limitsOf(who.Tenant).MaxParallelism; *p < 1 {
			return out, errorf(Invalid, "parallelism: expected a whole number from 1, got %d", *p)
		} else if *p > most {
			return out, errorf(Precondition, "parallelism: %d, at most %d is allowed", *p, most)
		}
	}
	if err := who.mustReachAll("a queue"); err != nil {
		return out, err
	}
	err = e.update(ctx, func(c *change) error {
		q, err := c.tx.LockQueueNamed(who.ID, to.Name)
		if err != nil {
			return err
		}
		var before any
		if q != nil {
			before = auditedQueue(q)
		} else if q, err = c.newQueue(who.ID, to.Name); err != nil {
			return err
		}
		l := c.addQueue(q)
		if to.Parallelism != nil && *to.Parallelism != q.Parallelism {
			q.Parallelism = *to.Parallelism
			l.changed(c.now)
		}
		if to.Paused != nil {
			if err := c.pauseQueue(l, *to.Paused); err != nil {
				return err
			}
		}
		if after := auditedQueue(q); before != any(after) {
			return c.audit(who, "queue.change", q.Name, before, after)
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	return e.Queue(ctx, who, to.Name)
}

// changed says that a lane's settings are others now.
func (l *lane) changed(now int64) {
	l.dirty, l.pass = true, true
	if l.queue != nil {
		l.queue.UpdatedAt = now
	}
}

// queueState is what the audit log says of a queue.
type queueState struct {
	Parallelism int  `json:"parallelism"`
	Paused      bool `json:"paused"`
}

func auditedQueue(q *Queue) queueState { return queueState{q.Parallelism, q.Paused} }

// PauseQueue stops a queue's deliveries, or lets them go on. An attempt under
// way is not cut off.
func (e *Engine) PauseQueue(ctx context.Context, who *Caller, name string, paused bool) error {
	if err := who.mustReachAll("a queue"); err != nil {
		return err
	}
	return e.update(ctx, func(c *change) error {
		q, err := c.tx.LockQueueNamed(who.ID, name)
		if err != nil {
			return err
		}
		if q == nil {
			return queueNotFound(name)
		}
		before := auditedQueue(q)
		if err := c.pauseQueue(c.addQueue(q), paused); err != nil || before == auditedQueue(q) {
			return err
		}
		return c.audit(who, pausing("queue", paused), name, before, auditedQueue(q))
	})
}

func queueNotFound(name string) error { return errorf(NotFound, "queue %.100s not found", name) }

// pauseQueue takes those who are in a queue, and between attempts, aside, or
// sends them on their way again. They keep their slots: the order stands.
func (c *change) pauseQueue(l *lane, paused bool) error {
	q := l.queue
	if q.Paused == paused {
		return nil
	}
	q.Paused = paused
	l.changed(c.now)
	messages, err := c.slotHolders(l.seq)
	if err != nil {
		return err
	}
	for _, m := range messages {
		switch {
		case paused && m.State == Pending && !c.freeze(m):
			// What comes of its attempt says how it goes on.
		case paused && (m.State == Pending || m.State == Waiting):
			_, err = c.setAside(m, l)
		case !paused && m.State == Waiting && m.Lane == l.seq:
			err = c.sendOn(m, l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sendOn sends a message on its way again that was set aside in its queue.
func (c *change) sendOn(m *Message, queue *lane) error {
	w := Waiter{Due: Due{At: m.Due, Seq: m.Seq}, Retried: m.Retried, Flow: m.Flow}
	t, err := c.goOn(queue, &w)
	if err != nil {
		return err
	}
	if _, err := c.tx.SettleMessages([]Transition{t}); err != nil {
		return err
	}
	if t.To == Pending {
		c.dispatchLater(m.Tenant, &w)
	}
	return nil
}

// Queues are all of a tenant's, by name.
func (e *Engine) Queues(ctx context.Context, who *Caller) (all []QueueStatus, err error) {
	err = e.store.View(ctx, func(tx Tx) error {
		rows, err := tx.Queues(who.ID)
		if err != nil {
			return err
		}
		slices.SortFunc(rows, func(a, b *Queue) int { return strings.Compare(a.Name, b.Name) })
		all = make([]QueueStatus, len(rows))
		for i, q := range rows {
			if all[i], err = queueStatus(tx, q); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

// Queue is the one of a name.
func (e *Engine) Queue(ctx context.Context, who *Caller, name string) (out QueueStatus, err error) {
	err = e.store.View(ctx, func(tx Tx) error {
		q, err := tx.LockQueueNamed(who.ID, name)
		if err != nil {
			return err
		}
		if q == nil {
			return queueNotFound(name)
		}
		out, err = queueStatus(tx, q)
		return err
	})
	return out, err
}

// DeleteQueue deletes a queue, if there is one, and cancels what is in it and
// waits for it. An attempt under way is not cut off.
func (e *Engine) DeleteQueue(ctx context.Context, who *Caller, name string) error {
	if err := who.mustReachAll("a queue"); err != nil {
		return err
	}
	var seq int64
	err := e.update(ctx, func(c *change) error {
		seq = 0
		q, err := c.tx.LockQueueNamed(who.ID, name)
		if err != nil || q == nil {
			return err
		}
		messages, err := c.slotHolders(q.Seq)
		if err != nil {
			return err
		}
		seq = q.Seq
		if err := c.tx.DeleteQueue(seq); err != nil {
			return fmt.Errorf("delete queue: %w", err)
		}
		c.lanes = slices.DeleteFunc(c.lanes, func(l *lane) bool { return l.seq == seq })
		for _, m := range messages {
			if _, err := c.cancel(m); err != nil {
				return err
			}
		}
		return c.audit(who, "queue.delete", name, auditedQueue(q), nil)
	})
	if err != nil || seq == 0 {
		return err
	}
	// What is begun is not left half done: nobody would ask again.
	if err = e.cancelLane(context.WithoutCancel(ctx), who.ID, seq); err != nil {
		e.lanes.findAgain()
	}
	return err
}

// cancelLane cancels what waits in a lane that is no more.
func (e *Engine) cancelLane(ctx context.Context, tenant, lane int64) error {
	for n := bulkStep; n == bulkStep; {
		err := e.update(ctx, func(c *change) error {
			rows, err := c.tx.WaitingMessages(tenant, lane, Due{}, bulkStep)
			if err != nil {
				return err
			}
			n = len(rows)
			for _, m := range rows {
				if _, err := c.cancel(m); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
