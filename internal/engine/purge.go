package engine

import (
	"context"
	"slices"
	"time"
)

const (
	purgeFirst = time.Minute // after the start
	purgeEvery = 10 * time.Minute
	purgeStep  = 100 // rows that are deleted in one transaction, about
	purgeLook  = 1000
)

// purgeLoop deletes what has outlived its retention.
func (e *Engine) purgeLoop(ctx context.Context) {
	defer close(e.purgeDone)
	for pause := purgeFirst; ; pause = purgeEvery {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		e.endpoints.forget(unixMillis(time.Now()) - endpointKept)
		if err := e.purge(ctx); err != nil && ctx.Err() == nil {
			e.log.Error("purge", "error", err)
		}
	}
}

// purge deletes all that has outlived its retention. What is still in the DLQ
// keeps its message, and a run its messages; so the DLQ comes first, and runs
// before messages.
func (e *Engine) purge(ctx context.Context) error {
	now := unixMillis(time.Now())
	before := func(kept time.Duration) int64 { return now - kept.Milliseconds() }
	l := &e.limits
	if err := e.purgeAll(ctx, func(tx Tx) (int, error) { return tx.PurgeDeduplications(now, purgeStep) }); err != nil {
		return err
	}
	if err := e.purgeAll(ctx, func(tx Tx) (int, error) { return tx.PurgeDLQ(before(l.DLQRetention), purgeStep) }); err != nil {
		return err
	}
	for _, t := range e.tenants.all() {
		if err := e.trimDLQ(ctx, t); err != nil {
			return err
		}
	}
	if err := e.purgeExpired(ctx, before(l.Retention), Tx.ExpiredRuns, Tx.DeleteRuns); err != nil {
		return err
	}
	messages := before(max(l.MessageRetention, l.EventRetention))
	if err := e.purgeExpired(ctx, messages, Tx.ExpiredMessages, Tx.DeleteMessages); err != nil {
		return err
	}
	if err := e.purgeAll(ctx, func(tx Tx) (int, error) { return tx.PurgeAudit(before(l.AuditRetention), purgeStep) }); err != nil {
		return err
	}
	if err := e.purgeAll(ctx, func(tx Tx) (int, error) { return tx.PurgeFlowKeys(before(l.Retention), purgeStep) }); err != nil {
		return err
	}
	if err := e.purgeAll(ctx, func(tx Tx) (int, error) { return tx.PurgeMessagesOn(dayOf(now)-1, purgeStep) }); err != nil {
		return err
	}
	return e.purgeSegments(ctx)
}

// purgeStep deletes some, in a transaction so short that no publish feels it,
// and leaves as much time again to those.
func (e *Engine) purgeStep(ctx context.Context, fn func(Tx) error) error {
	var took time.Duration
	err := e.store.Update(ctx, func(tx Tx) error {
		began := time.Now()
		defer func() { took = time.Since(began) }()
		return fn(tx)
	})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(took):
		return nil
	}
}

// purgeAll calls what deletes at most purgeStep rows until no more are left.
func (e *Engine) purgeAll(ctx context.Context, some func(Tx) (int, error)) error {
	for n := purgeStep; n >= purgeStep; {
		err := e.purgeStep(ctx, func(tx Tx) (err error) {
			n, err = some(tx)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// purgeExpired looks for what has expired without holding up anybody: nothing
// makes it unexpired again.
func (e *Engine) purgeExpired(ctx context.Context, before int64,
	expired func(tx Tx, after, before int64, limit int) ([]int64, int64, error), remove func(Tx, []int64) error,
) error {
	for after, more := int64(0), true; more; {
		var seqs []int64
		err := e.store.View(ctx, func(tx Tx) (err error) {
			seqs, after, err = expired(tx, after, before, purgeLook)
			return err
		})
		if err != nil {
			return err
		}
		more = after != 0
		for some := range slices.Chunk(seqs, purgeStep) {
			if err := e.purgeStep(ctx, func(tx Tx) error { return remove(tx, some) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// trimDLQ takes the oldest entries out of a DLQ that has grown too large.
func (e *Engine) trimDLQ(ctx context.Context, t *Tenant) error {
	through := int64(0)
	err := e.store.View(ctx, func(tx Tx) (err error) {
		through, err = tx.DLQBeyond(t.ID, e.limitsOf(t).MaxDLQ)
		return err
	})
	if err != nil || through == 0 {
		return err
	}
	return e.purgeAll(ctx, func(tx Tx) (int, error) { return tx.TrimDLQ(t.ID, through, purgeStep) })
}

// purgeSegments deletes segments that have no row left.
func (e *Engine) purgeSegments(ctx context.Context) error {
	for s := new(Segment); ; {
		var next []*Segment
		used := false
		err := e.store.View(ctx, func(tx Tx) (err error) {
			if next, err = tx.SegmentsAfter(s, 1); err == nil && len(next) > 0 {
				used, err = tx.SegmentUsed(next[0])
			}
			return err
		})
		if err != nil || len(next) == 0 {
			return err
		}
		if s = next[0]; used {
			continue
		}
		if err := e.purgeAll(ctx, func(tx Tx) (int, error) { return tx.DeleteSegment(s, purgeStep) }); err != nil {
			return err
		}
	}
}
