package wire

import "net/http"

// InvokeRequest is the body of a message that starts a run for a step of another
// run, which waits for its end (protocol: invoke).
type InvokeRequest struct {
	Body      *string     `json:"body,omitempty"` // payload of the run; nil: none
	Headers   http.Header `json:"headers"`        // of the call that brings its result
	RunID     string      `json:"workflowRunId"`  // of the run that waits
	CreatedAt int64       `json:"workflowRunCreatedAt"`
	URL       string      `json:"workflowUrl"`
	Step      Step        `json:"step"`
}

// InvokeResult is what the step is told, as the JSON of its result.
type InvokeResult struct {
	Body     *string `json:"body,omitempty"` // result of the run, JSON text; nil: none
	Canceled bool    `json:"isCanceled"`
	Failed   bool    `json:"isFailed"`
}
