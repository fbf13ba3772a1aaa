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
// is told of the end of the one that it has.

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
	s.children, s.waits = map[int]*Run{}, waits
	slices.SortFunc(waits, func(a, b *Wait) int { return cmp.Compare(a.Child, b.Child) })
	for _, w := range waits {
		if w.Kind != WaitRun || !w.Dropped() {
			continue
		}
		child, err := s.lockRun(w.Child)
		if err != nil {
			return err
		}
		if child.Tenant != 0 { // else it was purged
			s.children[w.StepID] = child
		}
	}
	return nil
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
		w.Done = 0
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

// lastOf is the run that went on with a run, which may have been resumed again; the
// run itself if none did.
func lastOf(tx Tx, run *Run) (*Run, error) {
	for run != nil && run.Settings.ResumedAs != 0 {
		next, err := tx.Run(run.Settings.ResumedAs)
		if err != nil {
			return nil, fmt.Errorf("read resumed run: %w", err)
		}
		if next == nil {
			return run, nil
		}
		run = next
	}
	return run, nil
}
