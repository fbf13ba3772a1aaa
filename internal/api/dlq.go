package api

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

var dlqFilters = []string{
	"dlqIds", "dlqId", "messageId", "url", "label", "callerIp", "callerIP", "fromDate", "toDate", "responseStatus",
	"topicName", "queueName", "scheduleId", "flowControlKey", "source", "count", "cursor", "order",
	"workflowRunId", "workflowUrl", "workflowCreatedAt", "failureFunctionState", "failureCallbackState",
}

// selectDLQ reads what a list or bulk operation is about.
func (r *request) selectDLQ(strict bool) (sel engine.DLQFilter, f *filters, count int, err error) {
	if f, err = r.filters(strict, dlqFilters...); err != nil {
		return sel, nil, 0, err
	}
	for _, name := range []string{"host", "path"} {
		if f.Has(name) { // which select messages, but no entries
			return sel, nil, 0, invalid("%s: not a parameter of the DLQ; use url", name)
		}
	}
	sel.IDs = f.list("dlqIds", "dlqId")
	sel.Message = f.messages()
	sel.Message.IDs = f.list("messageId")
	for _, text := range f.list("responseStatus") {
		status, err := strconv.Atoi(text)
		if err != nil {
			return sel, nil, 0, invalid("responseStatus: expected a number such as 500, got %q", text)
		}
		sel.Statuses = append(sel.Statuses, status)
	}
	if sel.From, sel.To, err = f.dates(); err != nil {
		return sel, nil, 0, err
	}
	switch source := f.Get("source"); source {
	case "":
	case "workflow", "qstash":
		isRun := source == "workflow"
		sel.Workflow = &isRun
	default:
		return sel, nil, 0, invalid("source: expected workflow or qstash, got %q", source)
	}
	if r.aboutRuns() {
		sel.Workflow = new(true)
	}
	if err = f.selectRunEntries(&sel); err != nil {
		return sel, nil, 0, err
	}
	if _, err = f.newest(false); err != nil { // also where it does not matter
		return sel, nil, 0, err
	}
	count, err = f.count(100)
	return sel, f, count, err
}

// aboutRuns says whether the path is that of the part of the DLQ where runs are.
func (r *request) aboutRuns() bool { return strings.HasPrefix(r.route.pattern, "/v2/workflows/") }

var failureStateOf = map[string]engine.FailureState{
	string(client.CallbackInProgress): engine.FailureInProgress,
	string(client.CallbackSuccess):    engine.FailureSuccess,
	string(client.CallbackFail):       engine.FailureFail,
	string(client.CallbackCanceled):   engine.FailureCanceled,
}

// selectRunEntries adds what only entries of workflow runs have.
func (f *filters) selectRunEntries(sel *engine.DLQFilter) error {
	createdAt, err := f.integer("workflowCreatedAt", 0, 0)
	if err != nil {
		return err
	}
	runs := engine.RunFilter{IDs: f.list("workflowRunId"), URLs: f.urls("workflowUrl"), CreatedAt: createdAt}
	if len(runs.IDs) > 0 || len(runs.URLs) > 0 || createdAt != 0 {
		sel.Run = &runs
	}
	for _, name := range f.list("failureFunctionState", "failureCallbackState") {
		state, ok := failureStateOf[name]
		if !ok {
			return invalid("failureFunctionState: expected CALLBACK_INPROGRESS, CALLBACK_SUCCESS, CALLBACK_FAIL or CALLBACK_CANCELED, got %q", name)
		}
		sel.Failures = append(sel.Failures, state)
	}
	return nil
}

func listDLQ(r *request) (any, error) {
	sel, f, count, err := r.selectDLQ(false)
	if err != nil {
		return nil, err
	}
	newest, err := f.newest(false)
	if err != nil {
		return nil, err
	}
	page, next, err := r.handler.engine.DLQ(r.Context(), r.caller, sel, newest, f.Get("cursor"), count)
	if err != nil {
		return nil, err
	}
	out := client.DLQPage{Cursor: next}
	for _, d := range page {
		out.Messages = append(out.Messages, r.dlqJSON(d))
	}
	return out, nil
}

func (r *request) dlqJSON(d *engine.DeadMessage) client.DLQMessage {
	out := client.DLQMessage{
		Message: r.messageJSON(d.Message), DLQID: engine.DLQID(d.Entry.Seq), Error: d.Reason,
		ResponseStatus: d.Entry.Status, ResponseHeader: d.Entry.Header,
	}
	out.SetResponseBody(d.Entry.Body)
	if d.Run != nil {
		if cb := d.Run.Settings.FailureCallback; cb != nil && out.FailureCallback == "" {
			out.FailureCallback, out.FailureCallbackHeader = cb.URL, r.veil(&d.Run.Settings).callbackHeader(cb.Header)
		}
		out.WorkflowRunID, out.WorkflowURL = d.Run.ID, d.Run.URL
		out.WorkflowCreatedAt = engine.Millis(d.Run.Seq)
		if state := failureStates[d.Run.Failure]; state != "" {
			out.FailureFunctionState = state
			out.FailureCallbackInfo = &client.FailureCallbackInfo{State: state}
			if s := d.Failure; s != nil {
				out.FailureCallbackInfo.ResponseStatus, out.FailureCallbackInfo.ResponseHeaders = s.Status, s.Header
				out.FailureCallbackInfo.ResponseBody = text(s.Body)
			}
		}
	}
	return out
}

func getDLQEntry(r *request) (any, error) {
	d, err := r.dlqEntry()
	if err != nil {
		return nil, err
	}
	return r.dlqJSON(d), nil
}

// dlqEntry is the entry that the path names. Under the path of those of runs it
// has to be one.
func (r *request) dlqEntry() (*engine.DeadMessage, error) {
	d, err := r.handler.engine.DLQEntry(r.Context(), r.caller, r.params[0])
	if err == nil && d.Run == nil && r.aboutRuns() {
		err = &engine.Error{Code: engine.NotFound, Message: "DLQ entry " + r.params[0] + " is a message's and no workflow run's"}
	}
	return d, err
}

func deleteDLQEntry(r *request) (any, error) {
	if r.aboutRuns() {
		if _, err := r.dlqEntry(); err != nil {
			return nil, err
		}
	}
	if err := r.handler.engine.DeleteDLQEntry(r.Context(), r.caller, r.params[0]); err != nil {
		return nil, err
	}
	return client.DLQDeleteResponse{Deleted: 1}, nil
}

func deleteDLQ(r *request) (any, error) {
	sel, f, count, err := r.selectDLQ(true)
	if err != nil {
		return nil, err
	}
	n, next, err := r.handler.engine.DeleteDLQ(r.Context(), r.caller, sel, f.Get("cursor"), count)
	if err != nil {
		return nil, err
	}
	return client.DLQDeleteResponse{Deleted: n, Cursor: next}, nil
}

// overrides reads the settings that a retry changes.
func (r *request) overrides() (wire.Config, error) {
	h := r.Header.Clone()
	h.Del("Content-Type") // of this request, which has nothing to say
	cfg, err := wire.ParseConfig(h)
	if err != nil {
		return cfg, err
	}
	switch {
	case cfg.Cron != "":
		return cfg, invalid("%s: what failed is done again once, and has no schedule", wire.HeaderCron)
	case cfg.Workflow.Init:
		return cfg, invalid("%s: what failed is what it was, and starts no other run", wire.HeaderWorkflowInit)
	case cfg.Workflow.RunID != "":
		return cfg, invalid("%s: what failed is what it was, and becomes no part of another run", wire.HeaderWorkflowRunID)
	}
	if h.Get(wire.HeaderMethod) == "" {
		cfg.Method = ""
	}
	return cfg, nil
}

func retryDLQEntry(r *request) (any, error) {
	over, err := r.overrides()
	if err != nil {
		return nil, err
	}
	p, err := r.handler.engine.RetryDLQEntry(r.Context(), r.caller, r.params[0], over)
	if err = r.added(err); err != nil {
		return nil, err
	}
	status := http.StatusCreated
	if p.Deduplicated {
		status = http.StatusAccepted
	}
	return reply{status, publishResponse(&p)}, nil
}

func retryDLQ(r *request) (any, error) {
	sel, f, count, err := r.selectDLQ(true)
	if err != nil {
		return nil, err
	}
	over, err := r.overrides()
	if err != nil {
		return nil, err
	}
	retried, next, err := r.handler.engine.RetryDLQ(r.Context(), r.caller, sel, over, f.Get("cursor"), count)
	if err = r.added(err); err != nil {
		return nil, err
	}
	out := client.DLQRetryResponse{Cursor: next}
	for i := range retried {
		out.Responses = append(out.Responses, publishResponse(&retried[i]))
	}
	return reply{http.StatusCreated, out}, nil
}
