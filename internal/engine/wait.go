package engine

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/signposthq/signpost/internal/wire"
)

// Wait registers a step of an active run that waits for an event, or for a call
// of a webhook. header is that of the request: which run waits, and how the
// event is delivered. A step that is registered already, or has a result, is
// left as it is: an endpoint that was called twice asks twice.
func (e *Engine) Wait(ctx context.Context, who *Caller, event string, header http.Header, req *wire.Wait) error {
	w, cfg, err := e.newWait(who, event, waitHeader(header), req)
	if err != nil {
		return err
	}
	var deadline int64
	err = e.update(ctx, func(c *change) error {
		run, err := c.lockActiveRun(who, cfg.Workflow.RunID)
		if err != nil {
			return err
		}
		if run == nil {
			return errorf(Invalid, "workflow run %s is not active", cfg.Workflow.RunID)
		}
		waiting := *w
		waiting.Deadline += c.now
		deadline = waiting.Deadline
		return c.wait(run, &waiting)
	})
	if deadline != 0 {
		e.dueAt(deadline) // after an error too: it may have been committed all the same
	}
	return err
}

// waitHeader is what is kept of a request's header: it is shown to whoever lists
// who waits.
func waitHeader(h http.Header) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		if strings.HasPrefix(name, wire.PrefixUpstash) && name != wire.HeaderForwardAll || name == "Content-Type" {
			kept[name] = values
		}
	}
	return kept
}

// newWait is what a request asks for, checked as far as the run does not matter.
func (e *Engine) newWait(who *Caller, event string, header http.Header, req *wire.Wait) (*Wait, *wire.Config, error) {
	if err := wire.CheckEventID(event); err != nil {
		return nil, nil, errorf(Invalid, "event id: %v", err)
	}
	if most := e.limitsOf(who.Tenant).MaxDelay; req.Timeout > most {
		return nil, nil, errorf(Precondition, "timeout: %v, at most %v is allowed", req.Timeout, most)
	}
	cfg, err := waitConfig(header)
	if err != nil {
		return nil, nil, errorf(Invalid, "%v", err)
	}
	w := &Wait{
		StepID: req.Step.StepID, Kind: WaitEvent, Deadline: req.Timeout.Milliseconds(),
		URL: cmp.Or(req.URL, cfg.Workflow.URL), Header: header,
		Settings: WaitSettings{Event: event, Timeout: req.TimeoutText, TimeoutHeader: header, Limited: who.limited(), Step: req.Step},
	}
	w.Settings.TimeoutURL = cmp.Or(req.TimeoutURL, w.URL)
	if w.URL == "" {
		return nil, nil, errorf(Invalid, "url: expected the URL to deliver the event to")
	}
	late := cfg
	if len(req.TimeoutHeader) > 0 {
		w.Settings.TimeoutHeader = waitHeader(req.TimeoutHeader)
		if late, err = waitConfig(w.Settings.TimeoutHeader); err != nil {
			return nil, nil, errorf(Invalid, "timeoutHeaders.%v", err)
		}
		if id := late.Workflow.RunID; id != cfg.Workflow.RunID {
			return nil, nil, errorf(Invalid, "timeoutHeaders.%s: expected %s, which waits, got %s", wire.HeaderWorkflowRunID, cfg.Workflow.RunID, id)
		}
	}
	if err := e.checkResult(who, w.URL, cfg, ""); err != nil {
		return nil, nil, err
	}
	if late != cfg || w.Settings.TimeoutURL != w.URL {
		if err := e.checkResult(who, w.Settings.TimeoutURL, late, "timeoutHeaders."); err != nil {
			return nil, nil, err
		}
	}
	if req.Step.StepType == wire.StepWaitForWebhook {
		w.Kind = WaitWebhook
	}
	w.Settings.Step.WaitEventID = event
	return w, cfg, nil
}

// checkResult refuses what a result can't be delivered with. Names of headers are
// told with what stands before them in the request.
func (e *Engine) checkResult(who *Caller, url string, cfg *wire.Config, in string) error {
	if err := e.checkLimits(who, &Publish{Destination: url, Config: *cfg}); err != nil {
		return errorf(err.Code, "%s%s", in, err.Message)
	}
	if err := who.checkReach(url, cfg); err != nil {
		return err
	}
	return nil
}

// waitConfig is how a result is to be delivered, and of which run.
func waitConfig(header http.Header) (*wire.Config, error) {
	cfg, err := wire.ParseConfig(header)
	if err != nil {
		return nil, err
	}
	switch wf := &cfg.Workflow; {
	case wf.Init:
		return nil, errorf(Invalid, "%s: expected false: a step of an active run waits", wire.HeaderWorkflowInit)
	case wf.RunID == "":
		return nil, errorf(Invalid, "%s: expected the id of the run that waits", wire.HeaderWorkflowRunID)
	case wf.CallType != wire.CallStep:
		return nil, errorf(Invalid, "%s: expected step, got %s", wire.HeaderWorkflowCallType, wf.CallType)
	}
	return &cfg, nil
}

// wait registers a step, or resolves it at once if the run was told before.
func (c *change) wait(run *Run, w *Wait) error {
	known, err := c.checkStep(run, &w.Settings.Step)
	if err != nil || known {
		return err
	}
	if err := c.spend(run.Tenant, 1); err != nil {
		return err
	}
	w.Seq, w.Tenant, w.Run = c.seq(), run.Tenant, run.Seq
	event := w.Settings.Event
	if w.Kind == WaitWebhook {
		if err := c.tx.PutWebhook(run.Seq, event); err != nil {
			return fmt.Errorf("keep webhook: %w", err)
		}
	}
	note, err := c.tx.NextNote(run.Tenant, run.Seq, w.Kind, event, 0)
	if err != nil {
		return fmt.Errorf("read what the run was told: %w", err)
	}
	if note != nil {
		if err := c.tx.DeleteNote(note.Seq); err != nil {
			return fmt.Errorf("delete what the run was told: %w", err)
		}
		if _, err := c.resolve(run, w, note.Body); err != nil {
			return err
		}
	}
	if err := c.tx.InsertWait(w); err != nil {
		return fmt.Errorf("insert wait: %w", err)
	}
	return nil
}

// checkStep says whether a step that is to wait does so already, or has a
// result. One that the run can't have come to is refused: its result would keep
// the endpoint from going on for ever.
func (c *change) checkStep(run *Run, s *wire.Step) (known bool, err error) {
	result, err := c.earlierEntry(run, &LogEntry{StepID: s.StepID, CallType: wire.CallStep})
	if err != nil || result != nil {
		return result != nil, err
	}
	old, err := c.tx.WaitOfStep(run.Seq, s.StepID)
	if err != nil || old != nil {
		return old != nil, err
	}
	return false, c.checkPlace(run, s, "step.")
}

// resolve ends a wait with an event. The run is locked; the wait's row is the
// caller's to write. No message: the endpoint has written a result itself.
func (c *change) resolve(run *Run, w *Wait, event []byte) (*Message, error) {
	step := w.Settings.Step
	out := base64.StdEncoding.EncodeToString(event)
	step.Out = &out
	return c.result(run, w, step, w.Header, w.URL)
}

// timeOut ends a wait without one.
func (c *change) timeOut(run *Run, w *Wait) error {
	step := w.Settings.Step
	step.WaitTimeout = true // and no out: an empty one is an event
	_, err := c.result(run, w, step, w.Settings.TimeoutHeader, w.Settings.TimeoutURL)
	return err
}

func (c *change) result(run *Run, w *Wait, step wire.Step, header http.Header, url string) (*Message, error) {
	m, err := c.appendResult(run, &w.Settings, step, header, url)
	if w.Done = waitDropped; m != nil {
		w.Done = m.Seq
	}
	return m, err
}

// stillWaits is a wait under its run's lock, and that run; nil if it waits no
// longer. It was read before, from w.
func (c *change) stillWaits(w *Wait) (*Wait, *Run, error) {
	run, err := c.lockRun(w.Run)
	if err != nil {
		return nil, nil, err
	}
	if w, err = c.tx.Wait(w.Seq); err != nil || w == nil || w.Done != 0 {
		return nil, nil, err
	}
	if run.State == RunStarted {
		return w, run, nil
	}
	return nil, nil, c.tx.EndWait(w.Seq, waitDropped)
}

// expire ends a wait whose deadline has come, unless another node has done so.
func (c *change) expire(d Due) error {
	w, err := c.tx.Wait(d.Seq)
	if err != nil || w == nil || w.Done != 0 || w.Deadline > c.now {
		return err
	}
	w, run, err := c.stillWaits(w)
	if err != nil || w == nil {
		return err
	}
	told, err := c.toldBy(run, w)
	switch {
	case err != nil:
		return err
	case told != nil:
		_, err = c.resolve(run, w, told.Body)
	default:
		err = c.timeOut(run, w)
	}
	if err != nil {
		return err
	}
	return c.tx.EndWait(w.Seq, w.Done)
}

// RunWait is a wait, and its run.
type RunWait struct {
	*Wait   // nil: the run does not wait, and is told when it does
	Run     *Run
	Message string // id of the message that tells it; "": it was not told
}

// Waiters are who waits for an event.
func (e *Engine) Waiters(ctx context.Context, who *Caller, event string) (all []RunWait, err error) {
	err = e.read(ctx, pagePatience, func(tx Tx, reading *Reading) error {
		all, err = waiters(tx, who, event, reading)
		return err
	})
	return all, err
}

func waiters(tx Tx, who *Caller, event string, reading *Reading) (all []RunWait, err error) {
	size := 0
	for after, more := int64(0), true; more; {
		waits, err := tx.AllWaiting(who.ID, WaitEvent, event, after, tellMost)
		if err != nil {
			return nil, err
		}
		some, err := withRuns(tx, waits)
		if err != nil {
			return nil, err
		}
		for _, w := range some {
			if who.reaches(w.Run.URL) {
				all = append(all, w)
				size += wire.HeaderSize(w.Header) + wire.HeaderSize(w.Settings.TimeoutHeader)
			}
		}
		if err := reading.room(size); err != nil {
			return nil, err
		}
		if more = len(waits) == tellMost; more {
			after = waits[len(waits)-1].Seq
		}
	}
	return all, nil
}

// withRuns reads the runs of waits, and leaves out those that have ended.
func withRuns(tx Tx, waits []*Wait) (out []RunWait, err error) {
	seqs := make([]int64, len(waits))
	for i, w := range waits {
		seqs[i] = w.Run
	}
	slices.Sort(seqs)
	runs, err := tx.Runs(slices.Compact(seqs))
	if err != nil {
		return nil, err
	}
	bySeq := map[int64]*Run{}
	for _, run := range runs {
		bySeq[run.Seq] = run
	}
	for _, w := range waits {
		if run := bySeq[w.Run]; run != nil && run.State == RunStarted {
			out = append(out, RunWait{Wait: w, Run: run})
		}
	}
	return out, nil
}
