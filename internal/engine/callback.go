package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/signposthq/signpost/internal/wire"
)

// callback makes the message that tells a URL about an outcome. It is an
// ordinary message with its own retries; they are its parent's unless set.
func (c *change) callback(parent *Message, cb *wire.Callback, kind Kind, body []byte) (*Message, error) {
	cfg, err := wire.ParseConfig(cb.Header)
	if err != nil {
		return nil, errorf(Internal, "callback of %s: %v", parent, err)
	}
	m := c.newMessage(&Tenant{ID: parent.Tenant}, &Publish{
		Destination: cb.URL, Config: cfg, Body: body, CallerIP: parent.CallerIP, limited: parent.Settings.Limited,
	}, kind)
	if cfg.Retries == nil {
		m.MaxRetries = parent.MaxRetries
	}
	if len(m.Settings.Labels) == 0 {
		m.Settings.Labels = parent.Settings.Labels
	}
	m.Settings.Hop = parent.Settings.Hop + 1
	m.Settings.Redact = m.Settings.Redact.Union(parent.Settings.Redact)
	if m.Settings.Redact.Any() {
		m.Settings.Redact.Body = true // its parent's headers and body are in it
	}
	if m.Header.Get("Content-Type") == "" {
		if m.Header == nil {
			m.Header = http.Header{}
		}
		m.Header.Set("Content-Type", "application/json")
	}
	return m, nil
}

// outcomeBody is the JSON a callback carries.
func (f *flight) outcomeBody(sourceBody []byte) wire.CallbackBody {
	m, o := f.message, &f.outcome
	return wire.CallbackBody{
		Status: o.Status, Header: o.Header, Body: o.Body,
		Retried: m.Retried, MaxRetries: m.MaxRetries, SourceMessageID: m.String(),
		URL: m.URL, Method: m.Method, SourceHeader: m.Header,
		SourceBody: sourceBody,
		NotBefore:  m.NotBefore, CreatedAt: Millis(m.Seq), CallerIP: m.CallerIP,
		TopicName: m.Settings.URLGroup, EndpointName: m.Settings.Endpoint, ScheduleID: m.Settings.ScheduleID,
	}
}

// callBack tells a plain message's callback about an attempt, and its failure
// callback about the last one.
func (c *change) callBack(f *flight, dlq int64) error {
	if f.message.Settings.Hop >= wire.MaxHops {
		return nil // the settlement says so
	}
	for _, cb := range []*wire.Callback{f.message.Settings.Callback, f.message.Settings.FailureCallback} {
		if cb == nil {
			continue
		}
		if cb == f.message.Settings.FailureCallback && f.verdict.to != Failed {
			continue
		}
		source, err := c.sourceBody(f)
		if err != nil {
			return err
		}
		body, kind := f.outcomeBody(source), KindCallback
		if cb == f.message.Settings.FailureCallback {
			body.DLQID, kind = DLQID(dlq), KindFailure
		}
		text, err := body.Encode()
		if err != nil {
			return err
		}
		m, err := c.callback(f.message, cb, kind, text)
		if err != nil {
			return err
		}
		if err := c.hold(f.message, m); err != nil {
			return err
		}
		c.insert(m)
	}
	return nil
}

// callBackRun appends the outcome of a run's call to its log and delivers it
// to the run's endpoint. A failed call is a result like any other. For a run that
// may go on it is kept: the call must not be made twice, as it was paid for, say.
// Any other that has ended wants none.
func (c *change) callBackRun(run *Run, f *flight) error {
	if run.State != RunStarted && !run.mayGoOn() {
		return nil
	}
	call, err := c.tx.Log(run.Seq, f.message.LogIndex, f.message.LogIndex)
	if err != nil {
		return err
	}
	text, err := f.outcomeBody(call[0].Body).Encode()
	if err != nil {
		return err
	}
	m, err := c.callback(f.message, f.message.Settings.Callback, KindFromCallback, nil)
	if err != nil {
		return err
	}
	cfg, err := wire.ParseConfig(f.message.Settings.Callback.Header)
	if err != nil {
		return err
	}
	if m.MaxRetries = c.e.DefaultRetries(m.Tenant); cfg.Retries != nil {
		m.MaxRetries = *cfg.Retries // the call's own retries are not the endpoint's
	}
	c.inherit(m, run, &cfg)
	of := &f.message.Settings
	m.Settings.StepID, m.Settings.StepName, m.Settings.Concurrent = of.StepID, of.StepName, of.Concurrent
	if run.State != RunStarted {
		m.State = Canceled // the run that goes on has it delivered
		c.record(&Settlement{Tenant: m.Tenant, Message: m.Seq, Result: Canceled, EndedAt: c.now})
	}
	return c.appendLog(run, &LogEntry{Run: run.Seq, CallType: wire.CallFrom, StepID: of.StepID, Body: text}, m)
}

// failureCall makes a run's failure callback. Its source body is the initial
// payload, whatever step failed.
func (c *change) failureCall(run *Run, cb *wire.Callback, f *flight, dlq int64, payload []byte) (*Message, error) {
	body := f.outcomeBody(payload)
	body.SourceHeader = run.headerFor(f.message)
	body.DLQID = DLQID(dlq)
	body.WorkflowRunID, body.WorkflowCreatedAt = run.ID, Millis(run.Seq)
	if len(f.outcome.Body) == 0 {
		// Failure functions read the message from the response; where there was
		// none, what happened instead is the message.
		body.Body, _ = json.Marshal(map[string]string{"error": "DeliveryError", "message": f.outcome.Error})
	}
	text, err := body.Encode()
	if err != nil {
		return nil, err
	}
	m, err := c.callback(f.message, cb, KindFailureCall, text)
	if err != nil {
		return nil, err
	}
	m.Run, m.Settings.Limited = run.Seq, run.Settings.Limited
	m.belong(run)
	m.Header.Set("Content-Type", "application/json") // whatever that of the payload is, which SDKs forward
	m.Header.Set(wire.HeaderWorkflowIsFailure, "true")
	m.Header.Set(wire.HeaderWorkflowFailureCB, "true")
	c.insert(m)
	return m, nil
}

// RerunFailureCallback calls the failure callback of a DLQ entry's run again,
// which has failed.
func (e *Engine) RerunFailureCallback(ctx context.Context, who *Caller, id string) (*Run, error) {
	return e.changeFailureCall(ctx, who, id, "dlq.callback", func(c *change, run *Run) error {
		if run.Failure != FailureFail {
			return errorf(Invalid, "failure callback of workflow run %s: only one that has failed (CALLBACK_FAIL) can be called again", run.ID)
		}
		rows, err := c.tx.Messages([]int64{run.FailureCall})
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return errorf(NotFound, "failure callback of workflow run %s is not kept any more", run.ID)
		}
		if err := c.spend(who.ID, 1); err != nil {
			return err
		}
		m := *rows[0]
		m.Key, m.State, m.Retried, m.Flow, m.Lane = c.key(), Pending, 0, 0, 0
		m.NotBefore = Millis(m.Seq)
		m.Due = m.NotBefore
		c.insert(&m)
		run.Failure, run.FailureCall = FailureInProgress, m.Seq
		return nil
	})
}

// RerunFailureCallbacks does so for at most count entries a filter selects; those
// whose callback has not failed are left. One that is refused for a limit ends it:
// what was done until then is told, with a cursor to that entry.
func (e *Engine) RerunFailureCallbacks(ctx context.Context, who *Caller, f DLQFilter, cursor string, count int) (runs []*Run, next string, err error) {
	f.Workflow = new(true)
	if len(f.Failures) > 0 && !slices.Contains(f.Failures, FailureFail) {
		return nil, "", nil
	}
	f.Failures = []FailureState{FailureFail}
	ids, next, err := e.selectDLQ(ctx, who, f, cursor, count)
	if err != nil {
		return nil, "", err
	}
	for _, id := range ids {
		run, err := e.RerunFailureCallback(ctx, who, id)
		switch code := ErrorCode(err); {
		case err == nil:
			runs = append(runs, run)
		case code == Invalid || code == NotFound: // it has not failed, or is gone
		case len(runs) > 0:
			return runs, id, nil
		default:
			return nil, "", err
		}
	}
	return runs, next, nil
}

// CancelFailureCallback stops the failure callback of a DLQ entry's run from being
// called any more. An attempt under way is not cut off; if it succeeds, the
// callback has.
func (e *Engine) CancelFailureCallback(ctx context.Context, who *Caller, id string) (*Run, error) {
	return e.changeFailureCall(ctx, who, id, "dlq.callback.cancel", func(c *change, run *Run) error {
		canceled := false
		if run.Failure == FailureInProgress {
			m, err := c.lockMessage(run.FailureCall)
			if err != nil {
				return err
			}
			if m != nil {
				if canceled, err = c.cancel(m); err != nil {
					return err
				}
			}
		}
		if !canceled {
			return errorf(Invalid, "failure callback of workflow run %s: only one in progress (CALLBACK_INPROGRESS) can be cancelled", run.ID)
		}
		run.Failure = FailureCanceled
		return nil
	})
}

// changeFailureCall changes the failure callback of a DLQ entry's run, which is
// locked.
func (e *Engine) changeFailureCall(ctx context.Context, who *Caller, id, action string, do func(*change, *Run) error) (run *Run, err error) {
	err = e.update(ctx, func(c *change) error {
		d, err := findDead(c.tx, who, id)
		if err != nil {
			return err
		}
		if d == nil {
			return dlqNotFound(id)
		}
		if d.Run == nil {
			return errorf(Invalid, "DLQ entry %s is a message's and no workflow run's", id)
		}
		if run, err = c.tx.LockRun(d.Run.Seq); err != nil {
			return fmt.Errorf("lock run: %w", err)
		}
		if err := do(c, run); err != nil {
			return err
		}
		if err := c.tx.UpdateRun(run); err != nil {
			return err
		}
		return c.audit(who, action, id, nil, nil)
	})
	return run, err
}
