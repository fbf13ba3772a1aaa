package engine

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/signposthq/signpost/internal/wire"
)

// LogEdit is what a run that is resumed finds in its log in place of what was
// there.
type LogEdit struct {
	Payload []byte       // the initial one; nil: it stays
	Results []StepResult // of finished steps, and of those that the run failed at
}

// StepResult is what a step's result is to be.
type StepResult struct {
	StepID int
	Name   string          // "": it stays; needed for a step that is not in the log yet
	Out    json.RawMessage // nil: it stays
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
	Name   string `json:"stepName,omitempty"` // if it has another, or had no result
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
		case len(r.Out) == 0 && r.Name == "":
			return errorf(Invalid, "steps[%d].out: required, unless the step is renamed", i)
		case int64(len(r.Out)) > most:
			return errorf(TooLarge, "steps[%d].out: %d bytes, at most %d are accepted", i, len(r.Out), most)
		}
		seen[r.StepID] = true
	}
	return nil
}

// given is a result that a step is given which has none yet.
type given struct {
	edit int // its place among the edits
	from int // the place in the log that leads to it
}

// addResults puts the results into the log that steps are given which have none.
func (s *successor) addResults(waits map[int]bool) error {
	results := s.how.Edit.Results
	if s.how.Edit.Payload != nil || len(results) > 0 {
		s.edits = &logEdits{}
	}
	s.given = map[int]*given{}
	order := make([]int, len(results))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return results[a].StepID - results[b].StepID })
	for _, i := range order {
		step := results[i].StepID
		f := readFollows(s.log, waits)
		if f.done[step] {
			continue
		}
		from := f.leadsTo(s.log, step)
		switch {
		case len(results[i].Out) == 0:
			return errorf(Invalid, "steps[%d].out: required, as step %d of workflow run %s has no result yet", i, step, s.old.ID)
		case from < 0 && f.begun[step]:
			return errorf(Invalid, "steps[%d].stepId: step %d of workflow run %s is one whose result the server writes: it can't be given", i, step, s.old.ID)
		case from < 0:
			return errorf(Invalid, "steps[%d].stepId: step %d is not in the log of workflow run %s, and not what it failed at", i, step, s.old.ID)
		case s.log[from].TargetStep == 0 && results[i].Name == "":
			return errorf(Invalid, "steps[%d].stepName: required, as the log of workflow run %s does not tell the name of step %d, which has no result yet", i, s.old.ID, step)
		}
		place := len(s.log)
		s.given[place] = &given{edit: i, from: from}
		s.log = append(s.log, &LogEntry{Index: place, CallType: wire.CallStep, StepID: step, Message: s.log[from].Message})
	}
	return nil
}

// give makes a new entry the result that its step is given.
func (s *successor) give(e *LogEntry) error {
	g := s.given[e.Index]
	edit := &s.how.Edit.Results[g.edit]
	step := wire.Step{StepID: edit.StepID, StepName: edit.Name, StepType: wire.StepRun, Concurrent: 1}
	if s.log[g.from].TargetStep != 0 {
		body, err := s.body(g.from)
		if err != nil {
			return err
		}
		plan, err := wire.ParseStep(body)
		switch {
		case err != nil:
			return errorf(Invalid, "steps[%d].stepId: step %d can't be given a result: %v", g.edit, edit.StepID, err)
		case plan.StepType != wire.StepRun:
			return errorf(Invalid, "steps[%d].stepId: step %d is of the type %s: only one that the endpoint executes can be given a result", g.edit, edit.StepID, plan.StepType)
		}
		step.StepName, step.Concurrent = plan.StepName, plan.Concurrent // which a name has to agree with
	}
	body, err := json.Marshal(step)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	e.Message, e.Body = s.key(), body
	return nil
}

// edited says whether an entry of the old run's log is to be changed.
func (s *successor) edited(e *LogEntry) bool {
	if e.Index == 0 {
		return s.how.Edit.Payload != nil
	}
	return e.CallType == wire.CallStep && e.TargetStep == 0 &&
		slices.ContainsFunc(s.how.Edit.Results, func(r StepResult) bool { return r.StepID == e.StepID })
}

// editEntry changes an entry, if it is to be.
func (s *successor) editEntry(e *LogEntry) error {
	if e.Index == 0 {
		if payload := s.how.Edit.Payload; payload != nil {
			s.edits.before.Payload, s.edits.after.Payload = new(s.shown(0, e.Body)), new(s.shown(0, payload))
			e.Body = payload
		}
		return nil
	}
	for i := range s.how.Edit.Results {
		edit := &s.how.Edit.Results[i]
		if edit.StepID != e.StepID {
			continue
		}
		if err := s.editResult(e, edit); err != nil {
			err.Message = fmt.Sprintf("steps[%d].%s", i, err.Message)
			return err
		}
	}
	return nil
}

// editResult writes a step's result, and its name, as its kind has them.
func (s *successor) editResult(e *LogEntry, edit *StepResult) *Error {
	step, err := wire.ParseStep(e.Body)
	if err != nil {
		return errorf(Invalid, "stepId: step %d can't be edited: %v", e.StepID, err)
	}
	before, after := stepValue{StepID: e.StepID}, stepValue{StepID: e.StepID}
	if name := edit.Name; name != "" && name != step.StepName {
		if step.Concurrent > 1 {
			return errorf(Invalid, "stepName: step %d is %q, of a parallel group, whose steps keep their names; got %q", e.StepID, step.StepName, name)
		}
		if e.Body, err = wire.WithName(e.Body, name); err != nil {
			return errorf(Invalid, "stepId: step %d can't be edited: %v", e.StepID, err)
		}
		before.Name, after.Name = step.StepName, name
	} else if s.given[e.Index] != nil {
		after.Name = step.StepName
	}
	if len(edit.Out) > 0 {
		out, refused := editedOut(&step, edit.Out)
		if refused != nil {
			return refused
		}
		if step.Out != nil {
			before.Out = s.shown(e.StepID, []byte(*step.Out))
		}
		if e.Body, err = wire.WithOut(e.Body, out); err != nil {
			return errorf(Invalid, "stepId: step %d can't be edited: %v", e.StepID, err)
		}
		after.Out = s.shown(e.StepID, []byte(out))
	}
	s.edits.before.Steps = append(s.edits.before.Steps, before)
	s.edits.after.Steps = append(s.edits.after.Steps, after)
	return nil
}

// editedOut is a value as the result of a step of this kind.
func editedOut(step *wire.Step, value json.RawMessage) (string, *Error) {
	var text bytes.Buffer
	if err := json.Compact(&text, value); err != nil {
		return "", errorf(Invalid, "out: expected a JSON value")
	}
	out := text.String()
	switch step.StepType {
	case wire.StepSleepFor, wire.StepSleepUntil:
		return "", errorf(Invalid, "stepId: step %d sleeps, and has no result", step.StepID)
	case wire.StepCall, wire.StepInvoke, wire.StepCreateWebhook, wire.StepWaitForWebhook:
		if out[0] != '{' {
			return "", errorf(Invalid, "out: expected an object, as the result of a step of the type %s is", step.StepType)
		}
	}
	switch step.StepType {
	case wire.StepCall, wire.StepInvoke:
		return withTextBody(out), nil
	case wire.StepWait, wire.StepWaitForWebhook:
		return base64.StdEncoding.EncodeToString(text.Bytes()), nil
	}
	return out, nil
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

// shown is a part of the log as it may be shown: what the run hides, or what a step
// of it waited for, is hashed.
func (s *successor) shown(step int, b []byte) string {
	hidden := s.run.Settings.Redact.Body
	for _, w := range s.waits {
		hidden = hidden || w.StepID == step && w.Settings.Redact.Body
	}
	if !hidden || len(b) == 0 {
		return string(b)
	}
	return s.who.Secrets.Redacted(b)
}
