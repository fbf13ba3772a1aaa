package wire

import (
	"net/http"
	"strconv"
	"strings"
)

// InvokeRequest is the body of a message that starts a run for a step of another
// run, which waits for its end (protocol: invoke).
type InvokeRequest struct {
	Body      *string     `json:"body,omitempty"`       // payload of the run; nil: none
	Headers   http.Header `json:"headers"`              // of the call that brings its result
	RunID     string      `json:"workflowRunId"`        // of the run that waits
	CreatedAt int64       `json:"workflowRunCreatedAt"` // Unix ms; 0: not known
	URL       string      `json:"workflowUrl"`
	Step      Step        `json:"step"`
}

// ParseInvoke decodes the body of such a message, leniently as Step does. The
// error is an *Error that names the field, as in "step.stepId".
func ParseInvoke(body []byte) (InvokeRequest, error) {
	o := readObject(body)
	if o.err != nil {
		return InvokeRequest{}, Within("body", o.err)
	}
	r := InvokeRequest{
		Body: o.optionalText("body"), Headers: o.header("headers"), RunID: o.name("workflowRunId"),
		URL: o.url("workflowUrl"), Step: o.serverStep("step", StepInvoke),
	}
	if raw := o.fields["workflowRunCreatedAt"]; !raw.null() {
		// An endpoint that was not told sends what is no number, or none.
		if at, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64); err == nil && at > 0 && at < 1e15 {
			r.CreatedAt = int64(at)
		}
	}
	if r.RunID == "" {
		o.fail("workflowRunId", "the id of the run that waits for the result")
	}
	return r, o.err
}

// InvokeResult is what the step is told, as the JSON of its result.
type InvokeResult struct {
	Body     *string `json:"body,omitempty"` // result of the run, JSON text; nil: none
	Canceled bool    `json:"isCanceled"`
	Failed   bool    `json:"isFailed"`
}
