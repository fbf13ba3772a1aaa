package wire

import "encoding/json"

// HeaderWorkflowCheck marks a request to a workflow endpoint that asks whether
// its function fits the log of a run: nothing is executed. It is an extension of
// the protocol; the token of such a request is of the kind "check". The body is a
// [CheckRequest], which an endpoint that knows nothing of it can't take for a
// run's log, and the answer a [CheckReport].
const HeaderWorkflowCheck = "Upstash-Workflow-Check"

// CheckRequest is the body of a check. Log is as the server's GET
// /v2/workflows/runs/{id} gives it. Waiting is a step that is not in it, for the
// run waits for its result; nil: there is none.
type CheckRequest struct {
	Log     json.RawMessage `json:"log"`
	Waiting *CheckStep      `json:"waiting,omitempty"`
}

// Verdicts of a check.
const (
	CheckOK     = "ok"     // the function follows the log to its end
	CheckBroken = "broken" // it does not: the run could not go on
)

// CheckReport is what a workflow endpoint says of a run's log.
type CheckReport struct {
	Check string      `json:"check"`           // CheckOK or CheckBroken
	Steps int         `json:"steps"`           // how many steps the function got through
	Next  []CheckStep `json:"next,omitempty"`  // what it does next; none: it ends
	Asked []CheckStep `json:"asked,omitempty"` // what it wants where the log has something else; none: nothing
	Error string      `json:"error,omitempty"` // how it differs from the log
}

// CheckStep is a step that a function asks for.
type CheckStep struct {
	StepName string   `json:"stepName"`
	StepType StepType `json:"stepType"`
}
