package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/signposthq/signpost/internal/wire"
)

// What a run that goes on takes over beside its log: what its steps waited for,
// what it was told, and its webhooks.
//
// A step that waited for an event, or for a call of a webhook, has its delivery
// made again, and waits anew. One that invoked a run does not invoke it again: it
// is told of the end of the one that it has, or of the one that went on with that.
// It is told so anew if that one had failed, and nothing has come of it: whoever
// lets both go on wants no more of the failure. As long as a run may be resumed,
// what it waited for is the last of these, which is kept for it.

// readWaits reads what the old run waited for, and locks the runs it invoked: they
// come before it, as when they end.
func (s *successor) readWaits(old int64) error {
	if s.how.Restart {
		return nil
	}
	waits, err := s.tx.WaitsOfRun(old)
	if err != nil {
		return fmt.Errorf("read what a run waited for: %w", err)
	}
	s.waits, s.children, s.retold = waits, map[int]*Run{}, map[int]*Run{}
	latest := map[int]int64{} // by step
	for _, w := range waits {
		if w.Kind != WaitRun {
			continue
		}
		child, err := s.tx.Run(w.Child)
		if err == nil {
			child, err = lastSuccessor(s.tx, child)
		}
		if err != nil {
			return fmt.Errorf("read invoked run: %w", err)
		}
		if child != nil { // else it was purged
			latest[w.StepID] = child.Seq
		}
	}
	slices.SortFunc(waits, func(a, b *Wait) int { return cmp.Compare(latest[b.StepID], latest[a.StepID]) })
	for _, w := range waits {
		if latest[w.StepID] == 0 {
			continue
		}
		child, err := s.lockLast(latest[w.StepID], lastSuccessor)
		if err != nil {
			return err
		}
		switch {
		case w.Dropped():
			s.children[w.StepID] = child
		case child.Seq > w.Done && child.State != RunFailed:
			s.retold[w.StepID] = child
		}
	}
	return nil
}

// forget takes out of the log what steps were told of runs that went on since, or
// were done over, if no other step has followed; but what is edited stays.
func (s *successor) forget() {
	f := readFollows(s.log, s.carried())
	s.log = slices.DeleteFunc(s.log, func(e *LogEntry) bool {
		child := s.retold[e.StepID]
		if child == nil || e.CallType != wire.CallStep || e.TargetStep != 0 || s.edited(e) || f.followed(e.StepID) {
			return false
		}
		s.children[e.StepID] = child
		return true
	})
}

// carried are the steps whose invoked runs are there.
func (s *successor) carried() map[int]bool {
	steps := make(map[int]bool, len(s.children))
	for step := range s.children {
		steps[step] = true
	}
	return steps
}

// carry gives the new run, which has its log, the rest.
func (s *successor) carry() error {
	if err := s.tx.MoveWaits(s.old.Seq, s.run.Seq); err != nil {
		return fmt.Errorf("move waits for run: %w", err)
	}
	if s.how.Restart {
		s.old.Settings.RestartedAs = s.run.Seq
		return s.updateOld()
	}
	if err := s.tx.CopyWebhooks(s.old.Seq, s.run.Seq); err != nil {
		return fmt.Errorf("copy webhooks: %w", err)
	}
	if err := s.tx.MoveNotes(s.old.Seq, s.run.Seq); err != nil {
		return fmt.Errorf("move events: %w", err)
	}
	for _, w := range s.waits {
		if err := s.carryWait(w); err != nil {
			return err
		}
	}
	s.old.Settings.ResumedAs = s.run.Seq // who calls its webhooks finds the new one
	return s.updateOld()
}

func (s *successor) updateOld() error {
	if err := s.tx.UpdateRun(s.old); err != nil {
		return fmt.Errorf("update resumed run: %w", err)
	}
	return nil
}

// carryWait copies what the history of the new run shows of a wait that is over,
// and lets a step wait on for the run that it invoked.
func (s *successor) carryWait(old *Wait) error {
	child := s.children[old.StepID]
	if child == nil && old.Done <= 0 {
		return nil
	}
	w := *old
	w.Seq, w.Run = s.seq(), s.run.Seq
	w.Header = maps.Clone(w.Header)
	w.Header[wire.HeaderWorkflowRunID] = []string{s.run.ID}
	if child != nil {
		w.Done, w.Child, w.Settings.Redact = 0, child.Seq, child.Settings.Redact
	}
	if child != nil && child.State != RunStarted {
		if err := s.tellOf(child, &w); err != nil {
			return err
		}
	}
	if err := s.tx.InsertWait(&w); err != nil {
		return fmt.Errorf("insert wait: %w", err)
	}
	return nil
}

// tellOf appends the end of an invoked run that came when nobody waited for it.
func (s *successor) tellOf(child *Run, w *Wait) (err error) {
	step := w.Settings.Step
	if step.Out, err = child.outcome(); err != nil {
		return err
	}
	_, err = s.result(s.run, w, step, w.Header, w.URL)
	return err
}

// lockLast locks the last of the runs that a run leads to, whatever goes on
// meanwhile; the run itself if it leads to none that is there.
func (c *change) lockLast(seq int64, last func(Tx, *Run) (*Run, error)) (*Run, error) {
	for {
		run, err := c.lockRun(seq)
		if err != nil {
			return nil, err
		}
		next, err := last(c.tx, run)
		if err != nil || next.Seq == run.Seq {
			return run, err
		}
		seq = next.Seq
	}
}

// lastOf is the run that went on with a run, which may have been resumed again; the
// run itself if none did. Who is told of events by an old id must not be slow for
// what its run went through.
func lastOf(tx Tx, run *Run) (*Run, error) {
	if run == nil || run.Settings.ResumedAs == 0 {
		return run, nil
	}
	seq, err := tx.LastRun(run.Seq)
	if err != nil {
		return nil, fmt.Errorf("read which run goes on: %w", err)
	}
	return orLater(tx, run, seq)
}

// lastSuccessor is as lastOf, and counts runs that did others over.
func lastSuccessor(tx Tx, run *Run) (*Run, error) {
	for run != nil && run.Successor() != 0 {
		later, err := orLater(tx, run, run.Successor())
		if err != nil || later == run {
			return run, err
		}
		run = later
	}
	return run, nil
}

// orLater is a later run if it is there, else the run.
func orLater(tx Tx, run *Run, later int64) (*Run, error) {
	next, err := tx.Run(later)
	if err != nil {
		return nil, fmt.Errorf("read the run that went on: %w", err)
	}
	if next == nil {
		next = run
	}
	return next, nil
}
