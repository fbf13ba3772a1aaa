package api

import (
	"bytes"
	"encoding/json"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

// resumeMost is how many runs one request resumes or restarts.
const resumeMost = 50

func resumeRun(r *request) (any, error)  { return r.resume(false) }
func restartRun(r *request) (any, error) { return r.resume(true) }

// resume lets one run go on: POST /v2/workflows/dlq/resume/{dlqId} and restart.
func (r *request) resume(restart bool) (any, error) {
	how := engine.Resume{Restart: restart}
	var err error
	if how.Over, err = r.overrides(); err != nil {
		return nil, err
	}
	if how.Edit, err = r.logEdit(); err != nil {
		return nil, err
	}
	run, err := r.handler.engine.ResumeRun(r.Context(), r.caller, r.params[0], how)
	if err = r.added(err); err != nil {
		return nil, err
	}
	return runRef(run), nil
}

func runRef(run *engine.Run) client.RunRef {
	return client.RunRef{WorkflowRunID: run.ID, WorkflowCreatedAt: engine.Millis(run.Seq)}
}

// logEdit reads what the new run's log is to have in place of what the old one's
// has. No body, as official SDKs send none, changes nothing.
func (r *request) logEdit() (edit engine.LogEdit, err error) {
	body, err := r.body(2*r.handler.engine.MaxBody(r.caller) + filterBody)
	if err != nil || len(bytes.TrimSpace(body)) == 0 {
		return edit, err
	}
	var in client.RunEdit
	if err := decodeJSON(body, &in); err != nil {
		return edit, err
	}
	if edit.Payload, err = payloadOf(in.Payload); err != nil {
		return edit, err
	}
	for _, s := range in.Steps {
		edit.Results = append(edit.Results, engine.StepResult{StepID: s.StepID, Name: s.StepName, Out: s.Out})
	}
	return edit, nil
}

// payloadOf is a payload as a run is started with: text as it is, other values as
// JSON.
func payloadOf(value json.RawMessage) ([]byte, error) {
	if len(value) == 0 {
		return nil, nil
	}
	var text string
	if value[0] == '"' {
		if err := json.Unmarshal(value, &text); err != nil {
			return nil, invalid("payload: expected a JSON value")
		}
		return append(make([]byte, 0, 1), text...), nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, value); err != nil {
		return nil, invalid("payload: expected a JSON value")
	}
	return compact.Bytes(), nil
}

func resumeRuns(r *request) (any, error)  { return r.resumeAll(false) }
func restartRuns(r *request) (any, error) { return r.resumeAll(true) }

// resumeAll lets the runs go on that ids or filters select, a page of them: POST
// /v2/workflows/dlq/resume and restart.
func (r *request) resumeAll(restart bool) (any, error) {
	how := engine.Resume{Restart: restart}
	var err error
	if how.Over, err = r.overrides(); err != nil {
		return nil, err
	}
	return r.each(func(sel engine.DLQFilter, cursor string, count int) ([]*engine.Run, string, error) {
		return r.handler.engine.ResumeRuns(r.Context(), r.caller, sel, how, cursor, count)
	})
}

// each does something to the failed runs that ids or filters select, a page of
// them.
func (r *request) each(do func(sel engine.DLQFilter, cursor string, count int) ([]*engine.Run, string, error)) (any, error) {
	sel, f, count, err := r.selectDLQ(true)
	if err != nil {
		return nil, err
	}
	if len(sel.IDs) > resumeMost {
		return nil, invalid("dlqIds: at most %d in a request, got %d", resumeMost, len(sel.IDs))
	}
	runs, next, err := do(sel, f.Get("cursor"), min(count, resumeMost))
	if err = r.added(err); err != nil {
		return nil, err
	}
	out := client.ResumeResponse{Cursor: next}
	for _, run := range runs {
		out.Runs = append(out.Runs, runRef(run))
	}
	return out, nil
}

// rerunFailureCallbacks calls those again that have failed: POST
// /v2/workflows/dlq/callback.
func rerunFailureCallbacks(r *request) (any, error) {
	return r.each(func(sel engine.DLQFilter, cursor string, count int) ([]*engine.Run, string, error) {
		return r.handler.engine.RerunFailureCallbacks(r.Context(), r.caller, sel, cursor, count)
	})
}

// rerunFailureCallback calls the failure callback of a run again: POST
// /v2/workflows/dlq/callback/{dlqId}.
func rerunFailureCallback(r *request) (any, error) {
	run, err := r.handler.engine.RerunFailureCallback(r.Context(), r.caller, r.params[0])
	if err = r.added(err); err != nil {
		return nil, err
	}
	return runRef(run), nil
}

// cancelFailureCallback stops one: DELETE of the same.
func cancelFailureCallback(r *request) (any, error) {
	run, err := r.handler.engine.CancelFailureCallback(r.Context(), r.caller, r.params[0])
	if err != nil {
		return nil, err
	}
	return runRef(run), nil
}
