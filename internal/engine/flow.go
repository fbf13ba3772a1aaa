package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// keyOf is the lane of a message's key, which is made if there is none. What
// the latest message says of it holds, but for what is pinned.
func (c *change) keyOf(tenant int64, f *wire.FlowControl) (*lane, error) {
	l, err := c.keyNamed(tenant, f.Key)
	if err != nil {
		return nil, err
	}
	k := l.key
	if k.PinnedParallelism && k.PinnedRate {
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
	return c.keyLane(k), nil
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
		slices.SortFunc(rows, func(a, b *FlowKey) int { return cmp.Compare(a.Key, b.Key) })
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
	if key == "" || len(key) > wire.MaxFlowControlKeyBytes {
		return errorf(Invalid, "flow-control key: expected 1 to %d bytes, got %d", wire.MaxFlowControlKeyBytes, len(key))
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
		return c.audit(who, action, key, before, auditedFlow(l.key))
	})
}

// PauseFlow stops the deliveries of a key, or lets them go on. The window of its
// rate passes meanwhile.
func (e *Engine) PauseFlow(ctx context.Context, who *Caller, key string, paused bool) error {
	return e.changeFlow(ctx, who, key, "flow.pause", func(k *FlowKey, _ int64) { k.Paused = paused })
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
