package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// What becomes of times of a schedule that have passed (Options.MissedTicks).
const (
	MissedOnce = "once"
	MissedSkip = "skip"
)

const (
	ticksMost   = 256 // schedules, or waits, that are read at a time
	ticksAtOnce = 8

	ticksAgain = 5 * time.Second  // after a failure of the store
	lookAgain  = 10 * time.Minute // for what other nodes began, which have ended
	clockStep  = time.Minute      // how long it takes to see that the clock was set

	// setBack is by how much the clock has to be set back for schedules to follow
	// it. Less, and they wait until it is where it was: no time comes twice.
	setBack = 3 * time.Hour
)

// dueAt tells the loop that something is due at a time, Unix ms.
func (e *Engine) dueAt(at int64) {
	if at < e.nextTick.Load() {
		e.rescheduled()
	}
}

// rescheduled wakes the loop: the soonest time may be another one now.
func (e *Engine) rescheduled() {
	select {
	case e.schedules <- struct{}{}:
	default:
	}
}

// scheduleLoop publishes what schedules are for, and ends waits, when it is time.
func (e *Engine) scheduleLoop(ctx context.Context) {
	defer close(e.schedulesDone)
	var looked time.Time
	for back := true; ctx.Err() == nil; {
		if back {
			e.followClock(ctx)
		}
		var untold error
		if e.untold.Load() || time.Since(looked) >= lookAgain {
			looked = time.Now()
			untold = e.tellUntold(ctx)
		}
		next, err := e.tick(ctx)
		if err = errors.Join(untold, err); err != nil && ctx.Err() == nil {
			e.log.Error("do what is due; it will be tried again", "error", err)
			next = time.Now().Add(ticksAgain)
		}
		back = e.sleepUntil(ctx, next)
	}
}

// sleepUntil sleeps until the clock shows a time, a schedule is changed, or it
// is time to look again. The zero time never comes. It says whether the clock
// was set back meanwhile.
func (e *Engine) sleepUntil(ctx context.Context, next time.Time) (back bool) {
	last := time.Now()
	end, step := last.Add(lookAgain), clockStep
	if next.IsZero() {
		next, step = end, lookAgain
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		// Without Round, it is the time that has passed, whatever the clock shows.
		back = back || now.Sub(last)-now.Round(0).Sub(last.Round(0)) >= setBack
		wait := min(end.Sub(now), next.Round(0).Sub(now.Round(0)))
		if back || wait <= 0 {
			return back
		}
		last = now
		timer.Reset(min(wait, step))
		select {
		case <-e.schedules:
			return back
		case <-timer.C:
		case <-ctx.Done():
			return back
		}
	}
}

// followClock has schedules that would wait for much longer than their
// expressions say wait no longer than that: the clock was wrong before, or the
// rules of a time zone were others.
func (e *Engine) followClock(ctx context.Context) {
	var all []Due
	err := e.store.View(ctx, func(tx Tx) (err error) {
		all, err = tx.NextSchedules(noBound)
		return err
	})
	all = slices.DeleteFunc(all, func(d Due) bool { return time.Until(time.UnixMilli(d.At)) < setBack })
	for some := range slices.Chunk(all, bulkStep) {
		if err != nil {
			break
		}
		err = e.update(ctx, func(c *change) error {
			for _, d := range some {
				if err := c.followClock(d); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil && ctx.Err() == nil {
		e.log.Error("compare schedules with the clock", "error", err)
	}
}

func (c *change) followClock(d Due) error {
	s, err := c.tx.LockSchedule(d.Seq)
	if err != nil || s == nil || s.NextAt != d.At {
		return err
	}
	if s.setNext(c.now) != nil || s.NextAt > d.At-setBack.Milliseconds() {
		return nil
	}
	return c.tx.AdvanceSchedule(s)
}

// tick does all that is due, and says when the next is; the zero time if there
// is none.
func (e *Engine) tick(ctx context.Context) (next time.Time, err error) {
	e.nextTick.Store(maxSeq) // what is added while this reads may be missed
	for ctx.Err() == nil {
		var schedules, deadlines []Due
		err := e.store.View(ctx, func(tx Tx) (err error) {
			if schedules, err = tx.NextSchedules(ticksMost); err == nil {
				deadlines, err = tx.NextDeadlines(ticksMost)
			}
			return err
		})
		if err != nil {
			return next, fmt.Errorf("read what is due: %w", err)
		}
		now := unixMillis(time.Now())
		fire, expire := dueBy(schedules, now), dueBy(deadlines, now)
		if len(fire) == 0 && len(expire) == 0 {
			return e.soonest(schedules, deadlines), nil
		}
		if err := errors.Join(e.fireAll(ctx, fire), e.expireAll(ctx, expire)); err != nil {
			return next, err
		}
	}
	return next, ctx.Err()
}

// dueBy are those that are due by a time; all are in order.
func dueBy(all []Due, at int64) []Due {
	n := 0
	for n < len(all) && all[n].At <= at {
		n++
	}
	return all[:n]
}

func (e *Engine) soonest(lists ...[]Due) (next time.Time) {
	at := maxSeq
	for _, list := range lists {
		if len(list) > 0 {
			at = min(at, list[0].At)
		}
	}
	if e.nextTick.Store(at); at == maxSeq {
		return next
	}
	return time.UnixMilli(at)
}

// fireAll fires schedules.
func (e *Engine) fireAll(ctx context.Context, due []Due) error {
	var missed atomic.Int64
	err := together(due, func(d Due) error {
		skipped, err := e.fire(ctx, d)
		if skipped {
			missed.Add(1)
		}
		return err
	})
	if n := missed.Load(); n > 0 {
		e.log.Warn("schedules were due while nothing ran, and are skipped until their next time", "count", n)
	}
	return err
}

// expireAll ends waits.
func (e *Engine) expireAll(ctx context.Context, due []Due) error {
	return together(due, func(d Due) error {
		return e.update(ctx, func(c *change) error { return c.expire(d) })
	})
}

// together does what is due, some at a time, so that the store can write them
// together. Each is by itself: what goes wrong with one is nothing to others.
func together(due []Due, do func(Due) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	var taken atomic.Int64
	for range min(ticksAtOnce, len(due)) {
		wg.Go(func() {
			for i := taken.Add(1) - 1; i < int64(len(due)); i = taken.Add(1) - 1 {
				if err := do(due[i]); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return failed
}

// fire has a schedule publish that is due, unless another node has had it, and
// says if it was skipped. Why it could not is kept with the schedule, and it
// goes on with its next time.
func (e *Engine) fire(ctx context.Context, d Due) (skipped bool, err error) {
	var refused *Error
	for {
		err = e.update(ctx, func(c *change) (err error) {
			skipped, err = c.fire(d, refused)
			return err
		})
		refusal, ok := errors.AsType[*Error](err)
		if !ok || refused != nil {
			return skipped, err
		}
		refused = refusal
	}
}

// fire publishes for a schedule, or notes why that was refused.
func (c *change) fire(d Due, refused *Error) (skipped bool, err error) {
	s, err := c.tx.LockSchedule(d.Seq)
	if err != nil {
		return false, fmt.Errorf("lock schedule: %w", err)
	}
	if s == nil || s.NextAt != d.At || d.At > c.now {
		return false, nil
	}
	gone, err := c.tokenGone(s)
	if err != nil {
		return false, err
	}
	if gone != "" {
		s.Paused, s.NextAt, s.Settings.Error = true, 0, gone
		return false, c.tx.UpdateSchedule(s)
	}
	late, before := time.Duration(c.now-s.NextAt)*time.Millisecond, s.Settings.Error
	if err := s.setNext(c.now); err != nil { // its zone is gone, or it was the last one
		refused, _ = errors.AsType[*Error](err)
	}
	switch {
	case refused != nil:
		s.Messages, s.Settings.Error = nil, refused.Message
	case late > c.e.missedAfter && c.e.missedTicks == MissedSkip:
		return true, c.tx.AdvanceSchedule(s)
	default:
		if s.Messages, s.Settings.Error, err = c.publishFor(s); err != nil {
			return false, err
		}
	}
	if s.LastAt = c.now; s.Settings.Error != before {
		return false, c.tx.UpdateSchedule(s)
	}
	return false, c.tx.AdvanceSchedule(s)
}

// publishFor publishes for a schedule, as the one who made it, and says which
// messages were made; if none, why.
func (c *change) publishFor(s *Schedule) (made []int64, why string, err error) {
	p, err := s.publish()
	if err != nil {
		return nil, "", err
	}
	who, err := c.ownerOf(s)
	if err != nil {
		return nil, "", err
	}
	if err := who.checkReach(p.Destination, &p.Config); err != nil {
		return nil, "", err
	}
	out, err := c.publishTo(who, p)
	if err != nil {
		return nil, "", err
	}
	// What is refused as late as this is to be refused here.
	if err := c.flush(); err != nil {
		return nil, "", err
	}
	for _, one := range out {
		if key, ok := ParseMessageID(one.MessageID); ok && !one.Deduplicated {
			made = append(made, key.Seq)
		} else {
			why = "no message was made: it would repeat " + one.MessageID
		}
	}
	if len(made) > 0 {
		why = ""
	}
	return made, why, nil
}

// ownerOf is who made a schedule, as far as that still says something.
func (c *change) ownerOf(s *Schedule) (*Caller, error) {
	t := c.e.tenants.get(s.Tenant)
	if t == nil { // made by another node
		var err error
		if t, err = c.lockTenant(s.Tenant); err != nil {
			return nil, err
		}
	}
	token := &Token{Tenant: t.ID, Scopes: []Scope{ScopePublish}, URLPrefix: s.Settings.Prefix}
	return &Caller{Tenant: t, Token: token, IP: s.Settings.CallerIP}, nil
}
