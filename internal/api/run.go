package api

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// getRunLog answers a run's whole log: GET /v2/workflows/runs/{id}.
func getRunLog(r *request) (any, error) {
	r.reads()
	return streamed(func(w io.Writer) error {
		next := byte('[')
		err := r.handler.engine.RunLog(r.Context(), r.caller, r.params[0], func(part []*engine.LogEntry) error {
			defer r.reading.Release()
			array := engine.EncodeLog(nil, part)
			array[0], next = next, ','
			_, err := w.Write(array[:len(array)-1])
			return err
		})
		if err == nil {
			_, err = w.Write([]byte("]"))
		}
		return err
	}), nil
}

// endRun finishes a run with a result (cancel=false) or cancels it.
func endRun(r *request) (any, error) {
	cancel, err := boolean(r.query, "cancel", true)
	if err != nil {
		return nil, err
	}
	e, id := r.handler.engine, r.params[0]
	if cancel {
		canceled, err := e.CancelRun(r.Context(), r.caller, id)
		return cancelResponse(canceled), err
	}
	result, err := r.body(e.MaxBody(r.caller))
	if err != nil {
		return nil, err
	}
	return struct{}{}, e.FinishRun(r.Context(), r.caller, id, result)
}

// cancelRuns cancels by ids, by filters or all: DELETE /v2/workflows/runs.
func cancelRuns(r *request) (any, error) {
	f, err := r.filters(true, "workflowRunIds", "workflowRunId", "workflowUrl", "workflowUrlExactMatch",
		"host", "path", "label", "fromDate", "toDate", "callerIp", "flowControlKey", "count")
	if err != nil {
		return nil, err
	}
	sel := engine.RunFilter{
		IDs: f.list("workflowRunIds", "workflowRunId"), Hosts: f.urls("host"), Paths: f.urls("path"),
		Labels: f.list("label"), FlowKeys: f.urls("flowControlKey"), CallerIPs: f.list("callerIp"),
	}
	exact, err := boolean(f.Values, "workflowUrlExactMatch", false)
	if err != nil {
		return nil, err
	}
	if exact {
		sel.URLs = f.urls("workflowUrl")
	} else {
		sel.URLPrefixes = f.prefixes("workflowUrl")
	}
	if sel.From, sel.To, err = f.dates(); err != nil {
		return nil, err
	}
	limit, err := f.integer("count", 0, 1)
	if err != nil {
		return nil, err
	}
	n, err := r.handler.engine.CancelRuns(r.Context(), r.caller, sel, int(limit))
	if err != nil {
		return nil, err
	}
	return client.CancelResponse{Cancelled: n}, nil
}

// listRunEvents lists runs, which is how the official SDK asks for them, or else
// the events of their messages.
func listRunEvents(r *request) (any, error) {
	switch by, err := single(r.query, "groupBy"); {
	case err != nil:
		return nil, err
	case by == "":
		return eventsOfRuns(r)
	case by == "workflowRunId":
		return listRuns(r)
	default:
		return nil, invalid("groupBy: expected workflowRunId, or nothing for the events themselves, got %q", by)
	}
}

func eventsOfRuns(r *request) (any, error) {
	f, err := r.filters(false)
	if err != nil {
		return nil, err
	}
	var events []string
	var runs engine.RunFilter
	for _, name := range f.list("state") {
		if state, ok := runStates[name]; ok {
			runs.States = append(runs.States, state)
		} else {
			events = append(events, name)
		}
	}
	sel := engine.EventFilter{Message: engine.MessageFilter{IDs: f.list("messageId")}, Run: &runs}
	if sel.States, err = engine.ParseEventStates(events); err != nil {
		return nil, err
	}
	if err := f.selectRuns(&runs); err != nil {
		return nil, err
	}
	sel.From, sel.To, runs.From, runs.To = runs.From, runs.To, 0, 0
	trim, err := f.trim()
	if err != nil {
		return nil, err
	}
	newest, err := f.newest(true)
	if err != nil {
		return nil, err
	}
	count, err := f.count(1000)
	if err != nil {
		return nil, err
	}
	page, next, err := r.handler.engine.Events(r.Context(), r.caller, sel, !newest, f.Get("cursor"), count)
	if err != nil {
		return nil, err
	}
	out := &client.EventsPage{Cursor: next, Events: make([]client.Event, len(page))}
	for i := range page {
		out.Events[i] = r.runEventJSON(&page[i], trim)
	}
	return out, nil
}

// selectRuns adds what selects runs in a list.
func (f *filters) selectRuns(sel *engine.RunFilter) (err error) {
	sel.IDs, sel.URLs, sel.Hosts, sel.Paths = f.list("workflowRunId"), f.urls("workflowUrl"), f.urls("host"), f.urls("path")
	sel.Labels, sel.FlowKeys, sel.CallerIPs = f.list("label"), f.urls("flowControlKey"), f.list("callerIp")
	for _, ref := range f.list("workflowRuns") {
		at := strings.LastIndexByte(ref, '@') // which ids may hold, too
		ms, err := strconv.ParseInt(ref[at+1:], 10, 64)
		if at < 0 || err != nil {
			return invalid("workflowRuns: expected id@createdAt, got %q", ref)
		}
		sel.IDsAt = append(sel.IDsAt, engine.RunRef{ID: ref[:at], CreatedAt: ms})
	}
	if sel.From, sel.To, err = f.dates(); err != nil {
		return err
	}
	sel.CreatedAt, err = f.integer("workflowCreatedAt", 0, 0)
	return err
}

// trim is how many bytes are shown of a body, -1: all of them.
func (f *filters) trim() (int, error) {
	switch text := f.Get("trimBody"); text {
	case "", "0", "false":
		return -1, nil
	case "true":
		return 0, nil
	default:
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return 0, invalid("trimBody: expected true, or how many bytes to show of a body, got %q", text)
		}
		return n, nil
	}
}

var runStates = map[string]engine.RunState{
	string(client.RunStarted): engine.RunStarted, string(client.RunSuccess): engine.RunSuccess,
	string(client.RunFailed): engine.RunFailed, string(client.RunCanceled): engine.RunCanceled,
}

// listRuns lists the histories of runs: GET /v2/workflows/logs.
func listRuns(r *request) (any, error) {
	f, err := r.filters(false)
	if err != nil {
		return nil, err
	}
	sel := engine.RunFilter{MessageID: f.Get("messageId")}
	if err := f.selectRuns(&sel); err != nil {
		return nil, err
	}
	for _, name := range f.list("state") {
		state, ok := runStates[name]
		if !ok {
			return nil, invalid("state: expected RUN_STARTED, RUN_SUCCESS, RUN_FAILED or RUN_CANCELED, got %q", name)
		}
		sel.States = append(sel.States, state)
	}
	trim, err := f.trim()
	if err != nil {
		return nil, err
	}
	count, err := f.count(100)
	if err != nil {
		return nil, err
	}
	if f.Get("count") == "" {
		count = 10
	}
	runs, next, err := r.handler.engine.Runs(r.Context(), r.caller, sel, f.Get("cursor"), count)
	if err != nil {
		return nil, err
	}
	page := client.RunsPage{Cursor: next}
	for _, h := range runs {
		page.Runs = append(page.Runs, r.runJSON(h))
	}
	if trim >= 0 {
		for i := range page.Runs {
			trimRun(&page.Runs[i], trim)
		}
	}
	return page, nil
}

var (
	runStateNames = map[engine.RunState]client.RunState{
		engine.RunStarted: client.RunStarted, engine.RunSuccess: client.RunSuccess,
		engine.RunFailed: client.RunFailed, engine.RunCanceled: client.RunCanceled,
	}
	failureStates = map[engine.FailureState]client.CallbackState{
		engine.FailureInProgress: client.CallbackInProgress,
		engine.FailureSuccess:    client.CallbackSuccess, engine.FailureFail: client.CallbackFail,
		engine.FailureCanceled: client.CallbackCanceled,
	}
	groupTypes = map[engine.GroupKind]client.GroupType{
		engine.GroupSequential: client.GroupSequential, engine.GroupParallel: client.GroupParallel,
		engine.GroupNext: client.GroupNext,
	}
	stepStates = map[engine.StepState]client.StepState{
		engine.StepProgress: client.StepProgress, engine.StepSuccess: client.StepSuccess,
		engine.StepRetry: client.StepRetry, engine.StepFailed: client.StepFailed, engine.StepCanceled: client.StepCanceled,
	}
)

func (r *request) runJSON(h *engine.RunHistory) client.Run {
	run := h.Run
	v := r.veil(&run.Settings)
	out := client.Run{
		WorkflowRunID: run.ID, WorkflowURL: run.URL, State: runStateNames[run.State],
		CreatedAt: engine.Millis(run.Seq), CompletedAt: run.EndedAt, CallerIP: run.CallerIP,
		Response: v.text(run.Response), Labels: run.Settings.Labels, Label: first(run.Settings.Labels),
		Steps: make([]client.StepGroup, len(h.Groups)),
	}
	out.FlowControlKey, _, _, _ = flowJSON(run.Settings.FlowControl)
	if run.DLQ != 0 {
		out.DLQID = engine.DLQID(run.DLQ)
	}
	if by := run.Settings.Invoker; by != nil {
		out.Invoker = &client.Invoker{WorkflowRunID: by.ID, WorkflowURL: by.URL, CreatedAt: by.CreatedAt}
	}
	if before := run.Settings.Before; before != nil {
		out.Predecessor = &client.RunRef{WorkflowRunID: before.ID, WorkflowCreatedAt: before.CreatedAt}
	}
	if h.Next != nil {
		out.Successor = &client.RunRef{WorkflowRunID: h.Next.ID, WorkflowCreatedAt: engine.Millis(h.Next.Seq)}
	}
	for i, g := range h.Groups {
		group := client.StepGroup{Type: groupTypes[g.Kind], Steps: make([]client.RunStep, len(g.Steps))}
		for i := range g.Steps {
			group.Steps[i] = r.stepJSON(run, &g.Steps[i])
		}
		out.Steps[i] = group
	}
	if h.Failure != nil {
		out.FailureFunction = r.failureJSON(run, h.Failure)
	}
	return out
}

func (r *request) stepJSON(run *engine.Run, h *engine.StepHistory) client.RunStep {
	out := client.RunStep{State: stepStates[h.State], NextDeliveryTime: h.NextDue, Errors: errorsJSON(h.Errors, r.answerVeil(h.Message))}
	if m := h.Message; m != nil {
		out.MessageID, out.Retries, out.RetryDelay = m.String(), m.MaxRetries, m.Settings.RetryDelay
		out.CreatedAt = engine.Millis(m.Seq)
	}
	if h.Entry == nil && h.Wait == nil {
		if n := len(h.Errors); n > 0 {
			out.StepName = h.Errors[n-1].Header.Get(wire.HeaderErrorStepName)
		}
		return out
	}
	s := &h.Step
	out.StepID, out.StepName, out.StepType = s.StepID, s.StepName, string(s.StepType)
	out.CallType, out.Concurrent, out.TargetStep = string(wire.CallStep), s.Concurrent, s.TargetStep
	out.WaitEventID, out.WaitTimeout = s.WaitEventID, s.WaitTimeout
	if e := h.Entry; e != nil {
		out.CallType, out.MessageID, out.CreatedAt = string(e.CallType), e.Message.String(), engine.Millis(e.Message.Seq)
	}
	if w := h.Wait; w != nil {
		out.WaitTimeoutDuration, out.WaitTimeoutDeadline = w.Settings.Timeout, w.Deadline/1000
		if h.Entry == nil {
			out.CreatedAt = engine.Millis(w.Seq)
		}
	}
	if child := h.Child; child != nil {
		cv := r.veil(&child.Run.Settings)
		out.InvokedWorkflowRunID, out.InvokedWorkflowURL, out.InvokedWorkflowCreatedAt = child.Run.ID, child.Run.URL, engine.Millis(child.Run.Seq)
		out.InvokedWorkflowRunBody, out.InvokedWorkflowRunHeaders = cv.text(child.Payload), cv.header(child.Run.Header)
	}
	out.SleepFor, out.SleepUntil = s.SleepSeconds(), s.SleepUntilUnix()
	hides := run.Settings.Redact
	if h.Wait != nil {
		hides = hides.Union(h.Wait.Settings.Redact)
	}
	v := veil{&hides, &r.caller.Secrets}
	if s.Out != nil {
		out.Out = v.text([]byte(*s.Out))
	}
	if s.StepType == wire.StepWaitForWebhook { // the result of the step that made the webhook has it, too
		out.WaitEventID = v.text([]byte(s.WaitEventID))
	}
	if h.Entry != nil && h.Entry.Index == 0 {
		out.Headers = v.header(run.Header)
	}
	if c := h.Call; c != nil {
		cv := r.veil(&c.Settings)
		out.CallURL, out.CallMethod, out.CallHeaders, out.CallBody = c.URL, c.Method, cv.header(c.Header), cv.text(c.Body)
		addCallResult(&out, s, cv)
	}
	return out
}

// addCallResult shows a call's response beside its result, which holds it.
func addCallResult(out *client.RunStep, s *wire.Step, v veil) {
	var result struct {
		Status int         `json:"status"`
		Body   any         `json:"body"`
		Header http.Header `json:"header"`
	}
	if s.Out == nil || json.Unmarshal([]byte(*s.Out), &result) != nil {
		return
	}
	out.CallResponseStatus, out.CallResponseHeaders = result.Status, v.header(result.Header)
	if body, ok := result.Body.(string); ok {
		out.CallResponseBody = v.text([]byte(body))
	} else if result.Body != nil {
		encoded, _ := json.Marshal(result.Body)
		out.CallResponseBody = v.text(encoded)
	}
}

func errorsJSON(attempts []*engine.Settlement, v veil) []client.StepError {
	var out []client.StepError
	for _, s := range attempts {
		out = append(out, client.StepError{
			Error: s.Error, Body: v.text(s.Body), Headers: someHeader(v.header(s.Header)), Status: s.Status, Time: s.EndedAt,
		})
	}
	return out
}

// someHeader makes a header that clients read as an object, which null is none.
func someHeader(h http.Header) http.Header {
	if h == nil {
		return http.Header{}
	}
	return h
}

func (r *request) failureJSON(run *engine.Run, f *engine.FailureHistory) *client.FailureFunction {
	m := f.Message
	out := &client.FailureFunction{
		MessageID: m.String(), URL: m.URL, State: failureStates[run.Failure], DLQID: engine.DLQID(run.DLQ),
		MaxRetries: m.MaxRetries, NextDeliveryTime: f.NextDue, Errors: errorsJSON(f.Errors, r.answerVeil(m)),
		FailHeaders: http.Header{},
	}
	if s := f.Failed; s != nil {
		out.FailHeaders, out.FailStatus, out.FailResponse = someHeader(s.Header), s.Status, text(s.Body)
	}
	if s := f.Last; s != nil {
		out.ResponseStatus, out.ResponseBody, out.ResponseHeaders = s.Status, text(s.Body), s.Header
	}
	return out
}

// trimRun cuts what of a run's payload, results and responses is longer than n
// bytes.
func trimRun(run *client.Run, n int) {
	cut(n, &run.Response)
	for _, group := range run.Steps {
		for i := range group.Steps {
			s := &group.Steps[i]
			cut(n, &s.Out, &s.CallBody, &s.CallResponseBody, &s.InvokedWorkflowRunBody)
			trimErrors(s.Errors, n)
		}
	}
	if f := run.FailureFunction; f != nil {
		cut(n, &f.FailResponse, &f.ResponseBody)
		trimErrors(f.Errors, n)
	}
}

func trimErrors(attempts []client.StepError, n int) {
	for i := range attempts {
		cut(n, &attempts[i].Body)
	}
}

// cut shortens texts to n bytes, not within a character.
func cut(n int, texts ...*string) {
	for _, text := range texts {
		if len(*text) > n {
			*text = strings.ToValidUTF8((*text)[:n], "")
		}
	}
}

func (r *request) runEventJSON(ev *engine.Event, trim int) client.Event {
	m, s := ev.Message, &ev.Message.Settings
	out := r.eventJSON(ev)
	out.WorkflowRunID, out.WorkflowURL, out.WorkflowCreatedAt = ev.Run.ID, ev.Run.URL, engine.Millis(ev.Run.Seq)
	switch m.Kind {
	case engine.KindInit:
		out.CallType, out.StepName, out.StepType, out.Concurrent = string(wire.CallStep), "init", string(wire.StepInitial), 1
	case engine.KindStep:
		out.CallType = string(wire.CallStep)
		if step, err := wire.ParseStep(m.Body); err == nil {
			out.StepID, out.StepName, out.StepType = step.StepID, step.StepName, string(step.StepType)
			out.Concurrent, out.TargetStep = step.Concurrent, step.TargetStep
		}
	case engine.KindToCallback, engine.KindFromCallback:
		out.CallType, out.StepType = string(wire.CallTo), string(wire.StepCall)
		if m.Kind == engine.KindFromCallback {
			out.CallType = string(wire.CallFrom)
		}
		out.StepID, out.StepName, out.Concurrent = s.StepID, s.StepName, max(1, s.Concurrent)
	case engine.KindFailureCall:
		out.CallType = string(wire.CallFailure)
	}
	if trim >= 0 {
		trimBase64(&out.Body, trim)
		trimBase64(&out.ResponseBody, trim)
	}
	return out
}

// trimBase64 cuts a body that is shown as base64. The hash of a redacted one
// stays.
func trimBase64(text *string, n int) {
	if b, err := base64.StdEncoding.DecodeString(*text); err == nil && len(b) > n {
		*text = base64.StdEncoding.EncodeToString(b[:n])
	}
}
