package engine

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/signposthq/signpost/internal/wire"
)

// LogEdit is what a run that is resumed finds in its log in place of what was
// there.
type LogEdit struct {
	Payload []byte       // the initial one; nil: it stays
	Results []StepResult // of finished steps
}

// StepResult is the result of a step, a JSON value.
type StepResult struct {
	StepID int
	Out    json.RawMessage
}

// logEdits is what was edited.
type logEdits struct{ before, after logValues }

// logValues are parts of a log as the audit log has them: what the run's
// publisher asked to redact is hashed.
type logValues struct {
	Payload *string     `json:"payload,omitempty"`
	Steps   []stepValue `json:"steps,omitempty"`
}

type stepValue struct {
	StepID int    `json:"stepId"`
	Out    string `json:"out,omitempty"`
}

// check looks at what does not depend on the run.
func (l *LogEdit) check(most int64, restart bool) error {
	if int64(len(l.Payload)) > most {
		return errorf(TooLarge, "payload: %d bytes, at most %d are accepted", len(l.Payload), most)
	}
	if restart && len(l.Results) > 0 {
		return errorf(Invalid, "steps: a run that is restarted has no results; resume it instead")
	}
	seen := map[int]bool{}
	for i, r := range l.Results {
		switch {
		case r.StepID < 1:
			return errorf(Invalid, "steps[%d].stepId: expected the number of a step, from 1, got %d", i, r.StepID)
		case seen[r.StepID]:
			return errorf(Invalid, "steps[%d].stepId: step %d is there twice", i, r.StepID)
		case len(r.Out) == 0:
			return errorf(Invalid, "steps[%d].out: required", i)
		case int64(len(r.Out)) > most:
			return errorf(TooLarge, "steps[%d].out: %d bytes, at most %d are accepted", i, len(r.Out), most)
		}
		seen[r.StepID] = true
	}
	return nil
}

// checkEdit says whether the log has what is to be edited.
func (s *successor) checkEdit() error {
	known := map[int]bool{} // whether it has a result
	for _, e := range s.log[1:] {
		step := max(e.StepID, e.TargetStep)
		known[step] = known[step] || e.CallType == wire.CallStep && e.TargetStep == 0
	}
	for i, r := range s.how.Edit.Results {
		done, begun := known[r.StepID]
		switch {
		case !begun:
			return errorf(Invalid, "steps[%d].stepId: step %d is not in the log of workflow run %s", i, r.StepID, s.old.ID)
		case !done:
			return errorf(Invalid, "steps[%d].stepId: step %d of workflow run %s has no result yet, and is run again; the payload can be edited, and results that it goes by", i, r.StepID, s.old.ID)
		}
	}
	if s.how.Edit.Payload != nil || len(s.how.Edit.Results) > 0 {
		s.edits = &logEdits{}
	}
	return nil
}

// editEntry changes an entry of the new run's log, if it is to be.
func (s *successor) editEntry(e *LogEntry) error {
	if e.Index == 0 {
		if payload := s.how.Edit.Payload; payload != nil {
			s.edits.before.Payload, s.edits.after.Payload = new(s.shown(e.Body)), new(s.shown(payload))
			e.Body = payload
		}
		return nil
	}
	if e.CallType != wire.CallStep || e.TargetStep != 0 {
		return nil
	}
	for i, r := range s.how.Edit.Results {
		if r.StepID != e.StepID {
			continue
		}
		if err := s.editResult(e, r.Out); err != nil {
			err.Message = fmt.Sprintf("steps[%d].%s", i, err.Message)
			return err
		}
	}
	return nil
}

// editResult writes a result as the step's kind has it.
func (s *successor) editResult(e *LogEntry, value json.RawMessage) *Error {
	step, err := wire.ParseStep(e.Body)
	if err != nil {
		return errorf(Invalid, "stepId: step %d can't be edited: %v", e.StepID, err)
	}
	var text bytes.Buffer
	if err := json.Compact(&text, value); err != nil {
		return errorf(Invalid, "out: expected a JSON value")
	}
	out := text.String()
	switch step.StepType {
	case wire.StepSleepFor, wire.StepSleepUntil:
		return errorf(Invalid, "stepId: step %d sleeps, and has no result", e.StepID)
	case wire.StepCall, wire.StepInvoke, wire.StepCreateWebhook, wire.StepWaitForWebhook:
		if out[0] != '{' {
			return errorf(Invalid, "out: expected an object, as the result of a step of the type %s is", step.StepType)
		}
	}
	if step.StepType == wire.StepCall || step.StepType == wire.StepInvoke {
		out = withTextBody(out)
	}
	if step.StepType == wire.StepWait || step.StepType == wire.StepWaitForWebhook {
		out = base64.StdEncoding.EncodeToString(text.Bytes())
	}
	before := ""
	if step.Out != nil {
		before = *step.Out
	}
	if e.Body, err = wire.WithOut(e.Body, out); err != nil {
		return errorf(Invalid, "stepId: step %d can't be edited: %v", e.StepID, err)
	}
	s.edits.before.Steps = append(s.edits.before.Steps, stepValue{e.StepID, s.shown([]byte(before))})
	s.edits.after.Steps = append(s.edits.after.Steps, stepValue{e.StepID, s.shown([]byte(out))})
	return nil
}

// withTextBody is the result of a call or an invocation with a body that is text,
// as all workflows take it to be: one that is given as JSON becomes its text.
func withTextBody(out string) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(out), &fields) != nil {
		return out
	}
	body := fields["body"]
	if len(body) == 0 || body[0] == '"' || string(body) == "null" {
		return out
	}
	var err error
	if fields["body"], err = json.Marshal(string(body)); err != nil {
		return out
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return out
	}
	return string(text)
}

// shown is a part of the log as it may be shown.
func (s *successor) shown(b []byte) string {
	if !s.run.Settings.Redact.Body || len(b) == 0 {
		return string(b)
	}
	return s.who.Secrets.Redacted(b)
}
