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

const (
	// What is kept for one run to be told, at most, of events and of webhooks each:
	// who calls these shall keep nobody from telling events. Larger than keptBytes
	// is allowed as the only one.
	keptMost  = 1000
	keptBytes = 16 << 20

	// How many who wait are told in one transaction, and how much they are told
	// together: each run's log gets a copy.
	tellMost  = 100
	tellBytes = 4 << 20

	// broadcastOld is the age at which an event is taken to be nobody's that not
	// all have been told of.
	broadcastOld = time.Minute
)

// Notify tells all who wait for an event, and says who they were. Those are
// whoever waits when it is called, and they are told whatever happens: if they
// are many, the event is on disk before the first is told, and it is gone on
// with after a crash. If there is no memory for the answer, nobody is told.
func (e *Engine) Notify(ctx context.Context, who *Caller, event string, body []byte) ([]RunWait, error) {
	if err := e.checkEvent(who, event, body); err != nil {
		return nil, err
	}
	err := e.read(ctx, pagePatience, func(tx Tx, reading *Reading) error {
		_, err := waiters(tx, who, event, reading)
		return err
	})
	if err != nil {
		return nil, err
	}
	n := &Note{Tenant: who.ID, Kind: WaitEvent, Event: event, Prefix: who.Token.URLPrefix, Body: body}
	var told []RunWait
	var last int64
	var more bool
	err = e.update(ctx, func(c *change) (err error) {
		n.Seq = c.seq()
		if told, last, more, err = c.tellSome(n, 0); err != nil || !more {
			return err
		}
		return c.tx.InsertNote(n)
	})
	if !more {
		return told, err
	}
	var rest []RunWait
	if err == nil {
		rest, err = e.tellRest(context.WithoutCancel(ctx), n, last)
	}
	if err != nil { // the first may have been committed all the same
		e.untold.Store(true)
		e.rescheduled()
	}
	return append(told, rest...), err
}

func (e *Engine) checkEvent(who *Caller, event string, body []byte) error {
	if err := wire.CheckEventID(event); err != nil {
		return errorf(Invalid, "event id: %v", err)
	}
	if most := e.MaxBody(who); int64(len(body)) > most {
		return errorf(TooLarge, "body: %d bytes, at most %d are accepted", len(body), most)
	}
	return nil
}

// tellRest tells those behind a key who waited for an event when it came, in
// transactions short enough that nobody else waits for them.
func (e *Engine) tellRest(ctx context.Context, n *Note, after int64) (told []RunWait, err error) {
	for more := true; more; {
		var some []RunWait
		var last int64
		err := e.update(ctx, func(c *change) (err error) {
			if some, last, more, err = c.tellSome(n, after); err != nil || more {
				return err
			}
			return c.tx.DeleteNote(n.Seq)
		})
		if err != nil {
			return told, fmt.Errorf("tell who waits: %w", err)
		}
		told, after = append(told, some...), last
	}
	return told, nil
}

// tellUntold goes on with events that a process has not told all of: it ended,
// or could not write.
func (e *Engine) tellUntold(ctx context.Context) error {
	all := e.untold.Swap(false)
	var notes []*Note
	err := e.store.View(ctx, func(tx Tx) (err error) {
		notes, err = tx.Broadcasts()
		return err
	})
	slices.SortFunc(notes, func(a, b *Note) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, n := range notes {
		if old := Millis(n.Seq) < unixMillis(time.Now().Add(-broadcastOld)); err == nil && (all || old) {
			_, err = e.tellRest(ctx, n, 0)
		}
	}
	if err != nil {
		e.untold.Store(all || e.untold.Load())
	}
	return err
}

// tellSome tells the next who waited for an event when it came.
func (c *change) tellSome(n *Note, after int64) (told []RunWait, last int64, more bool, err error) {
	most := max(1, min(tellMost, tellBytes/max(1, len(n.Body))))
	waits, err := c.tx.AllWaiting(n.Tenant, n.Kind, n.Event, after, most)
	if err != nil {
		return nil, 0, false, fmt.Errorf("read who waits: %w", err)
	}
	if more = len(waits) == most; len(waits) > 0 {
		last = waits[len(waits)-1].Seq
	}
	// The newest run first, as everywhere: two who tell at once might lock them crosswise.
	slices.SortFunc(waits, func(a, b *Wait) int { return cmp.Compare(b.Run, a.Run) })
	for _, w := range waits {
		if w.Seq > n.Seq {
			more = false
			continue
		}
		one, err := c.tell(n, w)
		if err != nil {
			return nil, 0, false, err
		}
		if one != nil {
			told = append(told, *one)
		}
	}
	slices.SortFunc(told, func(a, b RunWait) int { return cmp.Compare(a.Wait.Seq, b.Wait.Seq) })
	return told, last, more, nil
}

// tell tells one who waited; nil if it waits no longer, is not to be reached, or
// is to be told by an earlier event.
func (c *change) tell(n *Note, w *Wait) (*RunWait, error) {
	w, run, err := c.stillWaits(w)
	if err != nil || w == nil || !n.Prefix.Covers(run.URL) {
		return nil, err
	}
	if first, err := c.toldBy(run, w); err != nil || first != nil && first.Seq < n.Seq {
		return nil, err
	}
	return c.tellWith(run, w, n.Body)
}

func (c *change) tellWith(run *Run, w *Wait, event []byte) (*RunWait, error) {
	m, err := c.resolve(run, w, event)
	if err != nil {
		return nil, err
	}
	if err := c.tx.EndWait(w.Seq, w.Done); err != nil {
		return nil, fmt.Errorf("end wait: %w", err)
	}
	if m == nil {
		return nil, nil
	}
	return &RunWait{w, run, m.String()}, nil
}

// toldBy is the event that a wait is to be told of, as it was accepted when the
// wait was there; nil if there is none.
func (c *change) toldBy(run *Run, w *Wait) (*Note, error) {
	for after := w.Seq; ; {
		n, err := c.tx.NextNote(w.Tenant, 0, w.Kind, w.Settings.Event, after)
		if err != nil {
			return nil, fmt.Errorf("read what all are told: %w", err)
		}
		if n == nil || n.Prefix.Covers(run.URL) {
			return n, nil
		}
		after = n.Seq
	}
}

// NotifyRun tells one run of an event. If it does not wait for it, it is told
// when it does. What is not a run's id is the beginning of the event's, up to a
// slash: who waits for that is told.
func (e *Engine) NotifyRun(ctx context.Context, who *Caller, runID, event string, body []byte) ([]RunWait, error) {
	if err := e.checkEvent(who, event, body); err != nil {
		return nil, err
	}
	var told *RunWait
	err := e.update(ctx, func(c *change) error {
		run, err := c.lockRunToTell(who, runID)
		if err != nil || run == nil {
			told = nil
			return err
		}
		told, err = c.tellRun(run, WaitEvent, event, body)
		return err
	})
	if err != nil {
		return nil, err
	}
	if told == nil {
		return e.Notify(ctx, who, runID+"/"+event, body)
	}
	return []RunWait{*told}, nil
}

// lockRunToTell is the active run of an id, or the one that it has gone on as; nil
// if the caller sees no run of the id, and it does not look like one.
func (c *change) lockRunToTell(who *Caller, id string) (*Run, error) {
	run, err := c.lockActiveRun(who, id)
	if err == nil && run == nil {
		run, err = c.lockResumed(who, id)
	}
	if err != nil || run != nil {
		return run, err
	}
	err = c.knownRun(who, id)
	switch unknown := ErrorCode(err) == NotFound; {
	case err != nil && !unknown:
		return nil, err
	case unknown && !strings.HasPrefix(id, runPrefix):
		return nil, nil
	}
	return nil, errorf(NotFound, "workflow run %.600s is not active", id)
}

// lockResumed is the active run that has gone on with one of an id, nil if the
// caller sees none: who tells a run of an event may not know that it was resumed.
func (c *change) lockResumed(who *Caller, id string) (*Run, error) {
	run, err := c.tx.RunByID(who.ID, id)
	if err != nil || run == nil || run.Settings.ResumedAs == 0 {
		return nil, err
	}
	if run, err = c.lockLast(run.Seq, lastOf); err != nil || run.State != RunStarted || !who.reaches(run.URL) {
		return nil, err
	}
	return run, nil
}

// tellRun tells a run, or keeps the event for it.
func (c *change) tellRun(run *Run, kind WaitKind, event string, body []byte) (*RunWait, error) {
	for {
		w, err := c.tx.RunWaiting(run.Seq, kind, event)
		if err != nil {
			return nil, fmt.Errorf("read who waits: %w", err)
		}
		if w == nil {
			return &RunWait{Run: run}, c.keep(run, kind, event, body)
		}
		first, err := c.toldBy(run, w)
		if err != nil {
			return nil, err
		}
		if first != nil { // it came before this one
			if _, err := c.tellWith(run, w, first.Body); err != nil {
				return nil, err
			}
			continue
		}
		if told, err := c.tellWith(run, w, body); err != nil || told != nil {
			return told, err
		}
	}
}

// keep keeps an event until its run waits for it.
func (c *change) keep(run *Run, kind WaitKind, event string, body []byte) error {
	count, bytes, err := c.tx.CountNotes(run.Seq, kind)
	if err != nil {
		return fmt.Errorf("count what is kept: %w", err)
	}
	if count >= keptMost || count > 0 && bytes+int64(len(body)) > keptBytes {
		what := "events"
		if kind == WaitWebhook {
			what = "calls of webhooks"
		}
		return errorf(Limited, "workflow run %s: it has not waited for %d %s yet, which are kept for it; at most %d of together %d bytes are",
			run.ID, count, what, keptMost, keptBytes)
	}
	err = c.tx.InsertNote(&Note{Seq: c.seq(), Tenant: run.Tenant, Run: run.Seq, Kind: kind, Event: event, Body: body})
	if err != nil {
		return fmt.Errorf("keep event: %w", err)
	}
	return nil
}
