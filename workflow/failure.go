package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// FailureContext is what [Options.OnFailure] gets to know of a run that has
// failed. Steps are over; as a context.Context it is that of the HTTP request.
type FailureContext struct {
	context.Context

	RunID     string      // of the run that has failed
	URL       string      // of the endpoint
	CreatedAt time.Time   // when the run was started; zero if the server does not tell
	Header    http.Header // what the run was started with
	Labels    []string    // of the run; nil if it has none
	Retried   int         // how often this report was delivered before
	Payload   []byte      // what the run was started with, as it came; empty if nothing

	Status         int         // of the endpoint's last answer; 0 if it gave none
	Response       string      // the message in that answer, or all of it if it has none
	ResponseHeader http.Header // of that answer
	ResponseBody   []byte      // of that answer
	DLQID          string      // where the server keeps the failed message
}

// failure hands the report of a failed run to OnFailure.
func (e *Endpoint) failure(ctx context.Context, d *delivery) (answer, error) {
	var report wire.CallbackBody
	// The headers that make this a report are not signed, the body is. Another
	// request of the server to this URL, sent again with such headers, has no
	// body that tells of this run's failure.
	if err := json.Unmarshal(d.body, &report); err != nil || report.WorkflowRunID != d.run.id {
		return answer{}, &refusal{errors.New("the body is not the report of this run's failure")}
	}
	if report.WorkflowCreatedAt != 0 {
		d.run.createdAt = time.UnixMilli(report.WorkflowCreatedAt)
	}
	fn, err := e.admit(ctx, d, report.SourceBody)
	if err != nil {
		return answer{}, err
	}
	if e.opts.OnFailure == nil {
		return finished(d.run.id, conditionNoFunction).with(wire.HeaderWorkflowNotFound, "true"), nil
	}
	if err := e.rehearse(ctx, d, fn); err != nil {
		return answer{}, err
	}
	var result string
	failed, err := guard(func() (err error) {
		result, err = e.opts.OnFailure(d.failureContext(ctx, &report))
		return asked(err)
	})
	if err = errors.Join(failed, err); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: struct {
		Result string `json:"result,omitempty"`
	}{result}}, nil
}

func (d *delivery) failureContext(ctx context.Context, report *wire.CallbackBody) *FailureContext {
	c := &FailureContext{
		Context:        ctx,
		RunID:          d.run.id,
		URL:            d.run.url,
		CreatedAt:      d.run.createdAt,
		Header:         d.run.header,
		Labels:         d.run.labels,
		Retried:        d.run.retried,
		Payload:        report.SourceBody,
		Status:         report.Status,
		Response:       string(report.Body),
		ResponseHeader: report.Header,
		ResponseBody:   report.Body,
		DLQID:          report.DLQID,
	}
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(report.Body, &said) == nil && said.Message != "" {
		c.Response = said.Message
	}
	return c
}
