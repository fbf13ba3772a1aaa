package engine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/signposthq/signpost/internal/wire"
)

// appendToRun appends a message to an active run's log and makes its delivery
// due, in one transaction.
//
// The prefix rule is what correctness hangs on: a message's delivery carries
// the log up to and including that message, never later entries, however late
// it is made. So an entry's index is fixed here, under the run's lock.
func (c *change) appendToRun(who *Caller, p *Publish) (Published, error) {
	w := &p.Config.Workflow
	run, err := c.lockActiveRun(who, w.RunID)
	if err != nil {
		return Published{}, err
	}
	if run == nil {
		return Published{}, errorf(Invalid, "workflow run %s is not active", w.RunID)
	}
	entry := &LogEntry{Run: run.Seq, CallType: w.CallType, Body: p.Body}
	var m *Message
	var step wire.Step
	hook := ""
	switch w.CallType {
	case wire.CallStep:
		if step, err = p.readStep(); err != nil {
			return Published{}, errorf(Invalid, "body: %v", err)
		}
		entry.StepID, entry.TargetStep = step.StepID, step.TargetStep
		hook = wire.WebhookEvent(&step)
		m = c.newMessage(who.Tenant, p, KindStep)
		c.inherit(m, run, &p.Config)
	case wire.CallTo:
		if p.Config.Callback == nil {
			return Published{}, errorf(Invalid, "%s: required with %s: toCallback", wire.HeaderCallback, wire.HeaderWorkflowCallType)
		}
		m = c.newMessage(who.Tenant, p, KindToCallback)
		callSettings(m)
		m.belong(run)
		entry.StepID = m.Settings.StepID
		step = wire.Step{StepID: entry.StepID, StepType: wire.StepCall, Concurrent: max(1, m.Settings.Concurrent)}
	default:
		return Published{}, errorf(Invalid, "%s: %q can't be published, only step and toCallback", wire.HeaderWorkflowCallType, w.CallType)
	}
	if earlier, err := c.earlierEntry(run, entry); err != nil || earlier != nil {
		if err != nil {
			return Published{}, err
		}
		return Published{MessageID: earlier.Message.String(), URL: p.Destination}, nil
	}
	if w.CallType == wire.CallStep || entry.StepID > 0 { // a call need not say which step it is of
		if err := c.checkPlace(run, &step, "body: "); err != nil {
			return Published{}, err
		}
		if err := c.checkNoWait(run, &step); err != nil {
			return Published{}, err
		}
	}
	if err := c.spend(who.ID, 1); err != nil {
		return Published{}, err
	}
	if err := c.appendLog(run, entry, m); err != nil {
		return Published{}, err
	}
	if hook != "" {
		if err := c.tx.PutWebhook(run.Seq, hook); err != nil {
			return Published{}, fmt.Errorf("keep webhook: %w", err)
		}
	}
	return Published{MessageID: m.String(), URL: m.URL}, nil
}

// readStep reads the entry of a run's log that the message is, once.
func (p *Publish) readStep() (wire.Step, error) {
	if !p.read {
		p.step, p.stepErr = wire.ParseStep(p.Body)
		p.read = true
	}
	return p.step, p.stepErr
}

// checkPlace refuses a new entry about a step that the run can't have come to, or
// that is not as it was planned: no endpoint could go on behind it. field is what
// names of fields begin with.
func (c *change) checkPlace(run *Run, s *wire.Step, field string) error {
	next := run.MaxStep + 1
	switch {
	case s.IsPlan() && (s.TargetStep != next || s.StepID != 0):
		return errorf(Invalid, "%stargetStep: expected %d, which is next in the run, with stepId 0, got %d with %d", field, next, s.TargetStep, s.StepID)
	case s.IsPlan() && s.Concurrent < 2:
		return errorf(Invalid, "%sconcurrent: expected how many steps are planned together, 2 or more, got %d", field, s.Concurrent)
	case s.IsPlan():
		return nil
	case s.StepID == 0:
		return errorf(Invalid, "%sstepId: expected that of a result, from 1, or the targetStep of a plan", field)
	}
	entry, err := c.earlierEntry(run, &LogEntry{TargetStep: s.StepID, CallType: wire.CallStep})
	if err != nil {
		return err
	}
	if entry == nil {
		return c.checkSingle(run, s, field)
	}
	plan, err := wire.ParseStep(entry.Body)
	switch {
	case err != nil:
		return fmt.Errorf("read plan of step %d: %w", s.StepID, err)
	case plan.Concurrent != s.Concurrent:
		return errorf(Invalid, "%sconcurrent: expected %d, as step %d was planned, got %d", field, plan.Concurrent, s.StepID, s.Concurrent)
	case plan.StepType != s.StepType:
		return errorf(Invalid, "%sstepType: expected %s, as step %d was planned, got %.100s", field, plan.StepType, s.StepID, s.StepType)
	}
	return nil
}

// checkSingle is for a step that was not planned. It is the next one, or that of a
// call which has been made.
func (c *change) checkSingle(run *Run, s *wire.Step, field string) error {
	if s.Concurrent > 1 {
		return errorf(Invalid, "%sconcurrent: %d, but the run has not planned step %d as one of several", field, s.Concurrent, s.StepID)
	}
	if s.StepID == run.MaxStep+1 {
		return nil
	}
	call, err := c.earlierEntry(run, &LogEntry{StepID: s.StepID, CallType: wire.CallTo})
	if err != nil || call != nil && s.StepType == wire.StepCall {
		return err
	}
	return errorf(Invalid, "%sstepId: expected %d, which is next in the run, got %d", field, run.MaxStep+1, s.StepID)
}

// checkNoWait refuses what would stand where the run waits. The result of that step
// is taken: an endpoint may write it itself.
func (c *change) checkNoWait(run *Run, s *wire.Step) error {
	place := max(s.StepID, s.TargetStep)
	if place != run.MaxStep+1 {
		return nil // it was planned, and is what the plan says
	}
	w, err := c.tx.WaitOfStep(run.Seq, place)
	switch {
	case err != nil:
		return fmt.Errorf("read wait of step %d: %w", place, err)
	case w == nil:
		return nil
	case s.IsPlan():
		return errorf(Invalid, "body: targetStep: the run waits at step %d", place)
	case s.StepType != w.Settings.Step.StepType:
		return errorf(Invalid, "body: stepType: expected %s, as the run waits at step %d, got %.100s", w.Settings.Step.StepType, place, s.StepType)
	}
	return nil
}

// callSettings notes which step a call belongs to, for the run's history.
func callSettings(m *Message) {
	h := m.Settings.Callback.Header
	value := func(name string) string { return http.Header(h).Get(wire.PrefixForward + name) }
	m.Settings.StepName = value(wire.HeaderWorkflowStepName)
	m.Settings.StepID, _ = strconv.Atoi(value(wire.HeaderWorkflowStepID))
	m.Settings.Concurrent, _ = strconv.Atoi(value(wire.HeaderWorkflowConcurrent))
}

// earlierEntry is the log's entry for the same step, if it has one: an
// endpoint that was called twice publishes twice, and only the first counts.
func (c *change) earlierEntry(run *Run, e *LogEntry) (*LogEntry, error) {
	step := max(e.StepID, e.TargetStep)
	if step == 0 || step > run.MaxStep {
		return nil, nil
	}
	return c.tx.LogStep(run.Seq, e.StepID, e.TargetStep, e.CallType)
}

// appendLog gives the entry the next place in the log and inserts its message.
func (c *change) appendLog(run *Run, entry *LogEntry, m *Message) error {
	entry.Index, entry.Message = run.LogLen, m.Key
	m.Run, m.LogIndex, m.Body = run.Seq, entry.Index, nil // the body is in the log
	run.LogLen++
	run.MaxStep = max(run.MaxStep, entry.StepID, entry.TargetStep)
	if err := c.tx.InsertLog(entry); err != nil {
		return fmt.Errorf("append to log: %w", err)
	}
	if err := c.tx.AdvanceRun(run); err != nil {
		return fmt.Errorf("advance run: %w", err)
	}
	c.insert(m)
	return nil
}

// appendResult appends to an active run's log the result of a step that the
// server writes, and makes its delivery, to url and with the settings that
// header has; from is what the step waited with. The run is locked. A step has one
// result: if there is one already, nothing is appended, and the message is nil.
func (c *change) appendResult(run *Run, from *WaitSettings, step wire.Step, header http.Header, url string) (*Message, error) {
	step.TargetStep = 0 // with it, the endpoint would take the result for a plan
	body, err := json.Marshal(step)
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	entry := &LogEntry{Run: run.Seq, CallType: wire.CallStep, StepID: step.StepID, Body: body}
	if earlier, err := c.earlierEntry(run, entry); err != nil || earlier != nil {
		return nil, err
	}
	cfg, err := wire.ParseConfig(header)
	if err != nil {
		return nil, fmt.Errorf("settings of step %d: %w", step.StepID, err)
	}
	m := c.newMessage(&Tenant{ID: run.Tenant}, &Publish{Destination: url, Config: cfg, CallerIP: run.CallerIP, limited: from.Limited}, KindStep)
	c.inherit(m, run, &cfg)
	m.Settings.Redact = m.Settings.Redact.Union(from.Redact)
	return m, c.appendLog(run, entry, m)
}
