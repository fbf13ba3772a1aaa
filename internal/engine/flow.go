package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// keyOf is the lane of a message's key, which is made if there is none. What
// the latest message says of it holds, but for what is pinned. A limited message
// joins a key as it is: the key may be for others' messages.
func (c *change) keyOf(m *Message) (*lane, error) {
	f := m.Settings.FlowControl
	l, err := c.keyNamed(m.Tenant, f.Key)
	if err != nil {
		return nil, err
	}
	k := l.key
	if k.used(c.now) {
		l.dirty = true
	}
	if m.Settings.Limited && (k.Parallelism != 0 || k.Rate != 0) {
		return l, nil
	}
	was := *k
	if !k.PinnedParallelism {
		k.Parallelism = f.Parallelism
	}
	if !k.PinnedRate {
		k.Rate, k.Period = f.Rate, int64(f.Period.Seconds())
	}
	if was != *k {
		l.changed(c.now)
	}
	return l, nil
}

func (c *change) keyNamed(tenant int64, key string) (*lane, error) {
	for _, l := range c.lanes {
		if l.key != nil && l.tenant == tenant && l.key.Key == key {
			return l, nil
		}
	}
	k, err := c.tx.LockFlowKeyNamed(tenant, key)
	if err != nil {
		return nil, fmt.Errorf("lock flow-control key: %w", err)
	}
	if k == nil {
		k = &FlowKey{Seq: c.seq(), Tenant: tenant, Key: key, Period: 1, UsedAt: c.now}
		if err := c.tx.InsertFlowKey(k); err != nil {
			return nil, fmt.Errorf("insert flow-control key: %w", err)
		}
	}
	return c.addKey(k), nil
}

// keyAgain is the lane of the key that a waiting message goes by; nil if it
// goes by none. A key that was purged while the message waited in its queue is
// made once more.
func (c *change) keyAgain(w *Waiter) (*lane, error) {
	l, err := c.keyLane(w.Flow)
	if err != nil || l != nil || w.Flow == 0 {
		return l, err
	}
	m, err := c.tx.LockMessage(w.Seq)
	if err != nil || m == nil {
		return nil, err
	}
	if l, err = c.keyNamed(m.Tenant, m.Settings.FlowControl.Key); err == nil && l.key.Parallelism == 0 && l.key.Rate == 0 {
		l, err = c.keyOf(m)
	}
	if err != nil {
		return nil, err
	}
	w.Flow = l.seq
	return l, c.tx.SetFlow(w.Seq, w.Flow)
}

// windowEnd is when the rate's window ends, Unix ms; of a key without a rate,
// never.
func (k *FlowKey) windowEnd() int64 {
	if k.Rate == 0 {
		return maxSeq
	}
	return k.WindowStart + 1000*k.Period
}

// rateLeft is how many more the rate has room for in the window of now.
func (k *FlowKey) rateLeft(now int64) int {
	switch {
	case k.Rate == 0:
		return noBound
	case now >= k.windowEnd():
		return k.Rate
	}
	return max(0, k.Rate-k.RateCount)
}

// count counts one in the window of now. A window begins with the first in it.
func (k *FlowKey) count(now int64) {
	if k.Rate == 0 {
		return
	}
	if now >= k.windowEnd() {
		k.WindowStart, k.RateCount = now, 0
	}
	k.RateCount++
}

// clockSlack is how far the clocks of nodes may be apart.
const clockSlack = int64(time.Second / time.Millisecond)

// followClock begins the window now that would begin in the future, because the
// clock was put back, and says whether it did. What was counted stays.
func (k *FlowKey) followClock(now int64) bool {
	if k.WindowStart <= now+clockSlack {
		return false
	}
	k.WindowStart = now
	return true
}

// usedStep is how exactly it is noted when a key was used.
const usedStep = int64(time.Hour / time.Millisecond)

// used notes that a key was, and says whether that is to be written.
func (k *FlowKey) used(now int64) bool {
	if now-k.UsedAt < usedStep {
		return false
	}
	k.UsedAt = now
	return true
}

// recount is for a message that is to be sent though it was not let in right
// now. Its key counts it in the window in which it is sent, if that is another
// than it was let in by, as it had to wait for the dispatcher, or if it may have
// been sent before: by a former process, or by this one, which then could not
// write down what came of it (again). Where its queue or its key is paused, or
// has no room, it waits once more: away is set. changed says that it is not
// Pending any more.
func (e *Engine) recount(m *Message, again bool) (away, changed bool, err error) {
	err = e.update(e.attemptCtx, func(c *change) error {
		away, changed = false, false
		l, err := c.holdsUp(m, again)
		if err != nil || l == nil {
			return err
		}
		if away, err = c.setAside(m, l); away {
			c.done = append(c.done, m.Seq)
		}
		changed = !away
		return err
	})
	return away, changed, err
}

// holdsUp is the lane that a message has to wait in before it is sent, nil if
// there is none, and it is counted.
func (c *change) holdsUp(m *Message, again bool) (*lane, error) {
	queue, err := c.queueLane(m.Queue)
	if err != nil || queue != nil && queue.queue.Paused {
		return queue, err
	}
	l, err := c.keyLane(m.Flow)
	if err != nil || l == nil || l.key.Paused {
		return l, err
	}
	k := l.key
	at, err := c.tx.Slot(l.seq, m.Seq)
	switch {
	case err != nil:
		return nil, err
	case k.Rate == 0, !again && at >= max(k.WindowStart, c.e.began) && c.now < k.windowEnd():
		return nil, nil
	case k.rateLeft(c.now) == 0:
		return l, nil
	}
	k.count(c.now)
	l.dirty = true
	return nil, c.tx.PutSlot(l.seq, m.Seq, c.now)
}

// FlowStatus is a key of flow control and how many messages wait for it.
type FlowStatus struct {
	*FlowKey
	WaitListSize int
}

func flowStatus(tx Tx, k *FlowKey, now int64) (FlowStatus, error) {
	waiting, err := tx.CountWaiting(k.Tenant, k.Seq, now)
	if k.Rate > 0 && now >= k.windowEnd() {
		// A window begins with the first message in it; until then it is empty.
		k.RateCount = 0
	}
	return FlowStatus{k, waiting}, err
}

// FlowKeys are a tenant's that contain a text, in alphabetical order.
func (e *Engine) FlowKeys(ctx context.Context, who *Caller, search string) (all []FlowStatus, err error) {
	err = e.store.View(ctx, func(tx Tx) error {
		all = nil
		rows, err := tx.FlowKeys(who.ID)
		if err != nil {
			return err
		}
		slices.SortFunc(rows, func(a, b *FlowKey) int { return strings.Compare(a.Key, b.Key) })
		now := unixMillis(time.Now())
		for _, k := range rows {
			if !strings.Contains(k.Key, search) {
				continue
			}
			s, err := flowStatus(tx, k, now)
			if err != nil {
				return err
			}
			all = append(all, s)
		}
		return nil
	})
	return all, err
}

// FlowKey is the one of a text.
func (e *Engine) FlowKey(ctx context.Context, who *Caller, key string) (out FlowStatus, err error) {
	err = e.store.View(ctx, func(tx Tx) error {
		k, err := tx.LockFlowKeyNamed(who.ID, key)
		if err != nil {
			return err
		}
		if k == nil {
			return errorf(NotFound, "flow-control key %.100q not found", key)
		}
		out, err = flowStatus(tx, k, unixMillis(time.Now()))
		return err
	})
	return out, err
}

// flowState is what the audit log says of a key.
type flowState struct {
	Parallelism       int   `json:"parallelism"`
	Rate              int   `json:"rate"`
	Period            int64 `json:"period"`
	Paused            bool  `json:"paused"`
	PinnedParallelism bool  `json:"pinnedParallelism"`
	PinnedRate        bool  `json:"pinnedRate"`
}

func auditedFlow(k *FlowKey) flowState {
	return flowState{k.Parallelism, k.Rate, k.Period, k.Paused, k.PinnedParallelism, k.PinnedRate}
}

// changeFlow changes a key, which is made if there is none: what is pinned or
// paused may be so before the first message comes.
func (e *Engine) changeFlow(ctx context.Context, who *Caller, key, action string, alter func(*FlowKey, int64)) error {
	if err := wire.CheckFlowControlKey(key); err != nil {
		return errorf(Invalid, "flow-control key: %v", err)
	}
	if err := who.mustReachAll("flow control"); err != nil {
		return err
	}
	return e.update(ctx, func(c *change) error {
		l, err := c.keyNamed(who.ID, key)
		if err != nil {
			return err
		}
		before, was := auditedFlow(l.key), *l.key
		if alter(l.key, c.now); was == *l.key {
			return nil
		}
		l.changed(c.now)
		if l.key.Paused && !was.Paused {
			if err := c.recall(l); err != nil {
				return err
			}
		}
		return c.audit(who, action, key, before, auditedFlow(l.key))
	})
}

// recall makes those wait who were let in by a key that is paused now, and are
// not on their way yet.
func (c *change) recall(l *lane) error {
	messages, err := c.slotHolders(l.seq)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if m.State == Pending && c.freeze(m) {
			if _, err := c.setAside(m, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// PauseFlow stops the deliveries of a key, or lets them go on. The window of its
// rate passes meanwhile.
func (e *Engine) PauseFlow(ctx context.Context, who *Caller, key string, paused bool) error {
	return e.changeFlow(ctx, who, key, pausing("flow", paused), func(k *FlowKey, _ int64) { k.Paused = paused })
}

// FlowPin is what is pinned; nil: not this.
type FlowPin struct {
	Parallelism *int
	Rate        *int
	Period      int64 // seconds, with Rate; 0: 1
}

// PinFlow sets what messages of a key do not change any more. It begins a new
// window.
func (e *Engine) PinFlow(ctx context.Context, who *Caller, key string, pin FlowPin) error {
	switch longest := int64(wire.MaxFlowControlPeriod.Seconds()); {
	case pin.Parallelism == nil && pin.Rate == nil:
		return errorf(Invalid, "expected parallelism, or rate with or without period, or both")
	case pin.Parallelism != nil && *pin.Parallelism < 1:
		return errorf(Invalid, "parallelism: expected a whole number from 1, got %d", *pin.Parallelism)
	case pin.Rate != nil && *pin.Rate < 1:
		return errorf(Invalid, "rate: expected a whole number from 1, got %d", *pin.Rate)
	case pin.Rate == nil && pin.Period != 0:
		return errorf(Invalid, "period: expected together with rate")
	case pin.Period < 0 || pin.Period > longest:
		return errorf(Invalid, "period: expected seconds from 1 to %d, got %d", longest, pin.Period)
	}
	return e.changeFlow(ctx, who, key, "flow.pin", func(k *FlowKey, now int64) {
		if pin.Parallelism != nil {
			k.Parallelism, k.PinnedParallelism = *pin.Parallelism, true
		}
		if pin.Rate != nil {
			k.Rate, k.Period, k.PinnedRate = *pin.Rate, max(1, pin.Period), true
			k.RateCount, k.WindowStart = 0, now
		}
	})
}

// UnpinFlow lets messages change a key again; what is set stays until one does.
func (e *Engine) UnpinFlow(ctx context.Context, who *Caller, key string, parallelism, rate bool) error {
	return e.changeFlow(ctx, who, key, "flow.unpin", func(k *FlowKey, _ int64) {
		k.PinnedParallelism = k.PinnedParallelism && !parallelism
		k.PinnedRate = k.PinnedRate && !rate
	})
}

// ResetFlowRate begins a new window.
func (e *Engine) ResetFlowRate(ctx context.Context, who *Caller, key string) error {
	return e.changeFlow(ctx, who, key, "flow.reset", func(k *FlowKey, now int64) { k.RateCount, k.WindowStart = 0, now })
}

// GlobalParallelism is how many attempts of the caller's may be under way at
// once, and how many are.
func (e *Engine) GlobalParallelism(who *Caller) (most, count int) {
	return e.globalParallelism(who.ID), e.queue.flying(who.ID)
}

func (e *Engine) globalParallelism(tenant int64) int {
	if t := e.tenants.get(tenant); t != nil && t.Limits.GlobalParallelism != 0 {
		return int(t.Limits.GlobalParallelism)
	}
	return e.limits.GlobalParallelism
}
