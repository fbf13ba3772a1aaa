package engine

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/signposthq/signpost/internal/wire"
)

// maxDepth is how many runs may invoke each other in turn.
const maxDepth = 100

// invocation is a step that waits for a run's end.
type invocation struct {
	run  *Run // which waits
	wait *Wait
}

// invoke starts a run for a step of another one, which waits for its end. An
// endpoint that was called twice asks twice: the step has one run.
//
// Locks: the invoked run comes before the one that waits, as when it ends.
func (c *change) invoke(who *Caller, p *Publish) (Published, error) {
	req, err := wire.ParseInvoke(p.Body)
	if err != nil {
		return Published{}, errorf(Invalid, "%v", err)
	}
	if _, err := c.lockRunOfID(who.ID, p.Config.Workflow.RunID); err != nil {
		return Published{}, err
	}
	by, err := c.invoker(who, &req)
	if err != nil {
		return Published{}, err
	}
	known, err := c.checkStep(by.run, &by.wait.Settings.Step)
	if err != nil {
		return Published{}, err
	}
	if known {
		return c.invokedBefore(by, p.Destination)
	}
	if depth := by.run.depth() + 1; depth > maxDepth {
		return Published{}, errorf(Precondition, "%s: %d runs have invoked each other in turn, at most %d may", wire.HeaderWorkflowInvoke, depth, maxDepth)
	}
	payload := *p
	if payload.Body = nil; req.Body != nil {
		payload.Body = []byte(*req.Body)
	}
	child, out, err := c.start(who, &payload, by)
	if err != nil {
		return Published{}, err
	}
	if out.Deduplicated {
		circle, err := c.waitsFor(child.Seq, by.run.Seq)
		if err != nil {
			return Published{}, err
		}
		if circle {
			return Published{}, errorf(Precondition, "%s: run %s waits for the end of this one, directly or through others", wire.HeaderWorkflowRunID, child.ID)
		}
	}
	w := by.wait
	w.Seq, w.Tenant, w.Run, w.Child = c.seq(), by.run.Tenant, by.run.Seq, child.Seq
	w.Settings.Redact = child.Settings.Redact
	if err := c.tx.InsertWait(w); err != nil {
		return Published{}, fmt.Errorf("insert wait: %w", err)
	}
	return out, nil
}

// waitsFor says whether a run waits for another one's end, directly or through
// others; or is that one.
func (c *change) waitsFor(run, other int64) (bool, error) {
	next, seen := []int64{run}, map[int64]bool{}
	for len(next) > 0 {
		run, next = next[0], next[1:]
		if run == other {
			return true, nil
		}
		if seen[run] {
			continue
		}
		seen[run] = true
		waits, err := c.tx.WaitsOfRun(run)
		if err != nil {
			return false, fmt.Errorf("read what a run waits for: %w", err)
		}
		for _, w := range waits {
			if w.Kind == WaitRun && w.Done == 0 {
				next = append(next, w.Child)
			}
		}
	}
	return false, nil
}

// invoker is the step that asks for a run, with its run locked.
func (c *change) invoker(who *Caller, req *wire.InvokeRequest) (*invocation, error) {
	run, err := c.lockActiveRun(who, req.RunID)
	if err != nil {
		return nil, err
	}
	if run == nil || req.CreatedAt != 0 && req.CreatedAt != Millis(run.Seq) {
		return nil, errorf(Invalid, "workflowRunId: workflow run %.600s is not active", req.RunID)
	}
	w := &Wait{
		StepID: req.Step.StepID, Kind: WaitRun, URL: cmp.Or(req.URL, run.URL), Header: waitHeader(req.Headers),
		Settings: WaitSettings{Limited: who.limited(), Step: req.Step},
	}
	cfg, err := waitConfig(w.Header)
	if err != nil {
		return nil, errorf(Invalid, "headers.%v", err)
	}
	if id := cfg.Workflow.RunID; id != run.ID {
		return nil, errorf(Invalid, "headers.%s: expected %s, which waits, got %.600s", wire.HeaderWorkflowRunID, run.ID, id)
	}
	if err := c.e.checkResult(who, w.URL, cfg, "headers."); err != nil {
		return nil, err
	}
	return &invocation{run, w}, nil
}

// invokedBefore answers for a step that has its run, or even that run's result.
func (c *change) invokedBefore(by *invocation, url string) (Published, error) {
	out := Published{URL: url, Deduplicated: true}
	w, err := c.tx.WaitOfStep(by.run.Seq, by.wait.StepID)
	if err != nil || w == nil {
		entry, err2 := c.earlierEntry(by.run, &LogEntry{StepID: by.wait.StepID, CallType: wire.CallStep})
		if entry != nil {
			out.MessageID = entry.Message.String()
		}
		return out, cmp.Or(err, err2)
	}
	child, err := c.tx.Run(w.Child)
	if err != nil || child == nil {
		return out, err
	}
	out.MessageID, out.RunID, out.RunCreatedAt = child.Init.String(), child.ID, Millis(child.Seq)
	return out, nil
}

func (r *Run) depth() int {
	if r.Settings.Invoker == nil {
		return 0
	}
	return r.Settings.Invoker.Depth
}

// mark notes in a run's settings which run waits for it, and what it takes over
// from that: it hides what that hides.
func (by *invocation) mark(s *Settings) {
	if by == nil {
		return
	}
	s.Invoker = &Invoker{RunRef: RunRef{by.run.ID, Millis(by.run.Seq)}, URL: by.run.URL, Depth: by.run.depth() + 1}
	s.Hop = max(s.Hop, by.run.Settings.Hop)
	s.Redact = s.Redact.Union(by.run.Settings.Redact)
}

// tellInvokers appends the end of a run to the logs of those that wait for it.
func (c *change) tellInvokers(run *Run) error {
	waits, err := c.tx.WaitsOfChild(run.Seq)
	if err != nil {
		return fmt.Errorf("read who waits for run: %w", err)
	}
	for _, w := range waits {
		if w.Done != 0 {
			continue
		}
		w, waiting, err := c.stillWaits(w)
		if err != nil {
			return err
		}
		if w == nil {
			continue
		}
		step := w.Settings.Step
		if step.Out, err = run.outcome(); err != nil {
			return err
		}
		if _, err := c.result(waiting, w, step, w.Header, w.URL); err != nil {
			return err
		}
		if err := c.tx.EndWait(w.Seq, w.Done); err != nil {
			return fmt.Errorf("end wait: %w", err)
		}
	}
	return nil
}

// outcome is what a step is told that waits for a run's end.
func (r *Run) outcome() (*string, error) {
	result := wire.InvokeResult{Canceled: r.State == RunCanceled, Failed: r.State == RunFailed}
	if r.State == RunSuccess && len(r.Response) > 0 {
		text := string(r.Response)
		result.Body = &text
	}
	out, err := json.Marshal(result)
	text := string(out)
	return &text, err
}
