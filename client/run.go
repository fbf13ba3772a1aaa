package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"time"
)

// RunState is where a workflow run stands.
type RunState string

const (
	RunStarted  RunState = "RUN_STARTED"  // and not ended yet
	RunSuccess  RunState = "RUN_SUCCESS"  // its function has returned
	RunFailed   RunState = "RUN_FAILED"   // for good: it is in the dead-letter queue
	RunCanceled RunState = "RUN_CANCELED" // by itself or from outside
)

// StepState is where a step stands.
type StepState string

const (
	StepProgress StepState = "STEP_PROGRESS" // being executed, or waiting
	StepSuccess  StepState = "STEP_SUCCESS"  // it has its result
	StepRetry    StepState = "STEP_RETRY"    // failed, and tried again later
	StepFailed   StepState = "STEP_FAILED"   // for good, and the run with it
	StepCanceled StepState = "STEP_CANCELED" // with the run
)

// CallbackState is where the failure callback of a run stands.
type CallbackState string

const (
	CallbackInProgress CallbackState = "CALLBACK_INPROGRESS" // not called yet, or tried again later
	CallbackSuccess    CallbackState = "CALLBACK_SUCCESS"    // it has answered
	CallbackFail       CallbackState = "CALLBACK_FAIL"       // for good: see [Client.RerunFailureCallback]
	CallbackCanceled   CallbackState = "CALLBACK_CANCELED"   // see [Client.CancelFailureCallback]
)

// Run is one execution of a workflow, as GET /v2/workflows/logs tells it.
type Run struct {
	WorkflowRunID string   `json:"workflowRunId"`
	WorkflowURL   string   `json:"workflowUrl"`
	State         RunState `json:"workflowState"`
	CreatedAt     int64    `json:"workflowRunCreatedAt"`             // Unix milliseconds
	CompletedAt   int64    `json:"workflowRunCompletedAt,omitempty"` // Unix milliseconds; 0: not ended
	CallerIP      string   `json:"workflowRunCallerIp,omitempty"`
	Response      string   `json:"workflowRunResponse,omitempty"` // the result, JSON text
	DLQID         string   `json:"dlqId,omitempty"`

	Label          string   `json:"label,omitempty"` // Labels[0]
	Labels         []string `json:"labels,omitempty"`
	FlowControlKey string   `json:"flowControlKey,omitempty"`

	// Predecessor is the failed run that this one goes on with, or does over;
	// Successor the run that has done so with this one, which then has no DLQ entry.
	Predecessor *RunRef `json:"predecessor,omitempty"`
	Successor   *RunRef `json:"successor,omitempty"`

	Invoker         *Invoker         `json:"invoker,omitempty"`
	FailureFunction *FailureFunction `json:"failureFunction,omitempty"`
	Steps           []StepGroup      `json:"steps"`
}

// Invoker is the run that invoked this one and waits for its result.
type Invoker struct {
	WorkflowRunID string `json:"workflowRunId"`
	WorkflowURL   string `json:"workflowUrl"`
	CreatedAt     int64  `json:"workflowRunCreatedAt"` // Unix milliseconds
}

// FailureFunction is the failure callback of a run that failed.
type FailureFunction struct {
	MessageID string        `json:"messageId"`
	URL       string        `json:"url"`
	State     CallbackState `json:"state"`

	// The response that failed the run.
	FailHeaders  http.Header `json:"failHeaders"`
	FailStatus   int         `json:"failStatus"`
	FailResponse string      `json:"failResponse"`
	DLQID        string      `json:"dlqId"`

	// What the failure callback answered, and when it failed, the attempts.
	ResponseStatus   int         `json:"responseStatus,omitempty"`
	ResponseBody     string      `json:"responseBody,omitempty"`
	ResponseHeaders  http.Header `json:"responseHeaders,omitempty"`
	MaxRetries       int         `json:"maxRetries,omitempty"`
	NextDeliveryTime int64       `json:"nextDeliveryTime,omitempty"` // Unix milliseconds
	Errors           []StepError `json:"errors,omitempty"`
}

// GroupType says how the steps of a group relate.
type GroupType string

const (
	GroupSequential GroupType = "sequential" // one step
	GroupParallel   GroupType = "parallel"   // steps that ran side by side
	GroupNext       GroupType = "next"       // the delivery that runs a step not known yet
)

// StepGroup is a stretch of a run.
type StepGroup struct {
	Type  GroupType `json:"type"`
	Steps []RunStep `json:"steps"`
}

// RunStep is one step of a run. In a group of type [GroupNext] only MessageID,
// State, Retries, RetryDelay, StepName, NextDeliveryTime and Errors are set.
type RunStep struct {
	StepID     int         `json:"stepId,omitempty"` // from 1; the initial step has none
	StepName   string      `json:"stepName,omitempty"`
	StepType   string      `json:"stepType,omitempty"` // Initial, Run, SleepFor, SleepUntil, Call, …
	CallType   string      `json:"callType,omitempty"` // step, toCallback, fromCallback
	MessageID  string      `json:"messageId"`
	Out        string      `json:"out,omitempty"` // JSON text; the initial step's is the payload
	Concurrent int         `json:"concurrent,omitempty"`
	TargetStep int         `json:"targetStep,omitempty"`
	State      StepState   `json:"state"`
	Retries    int         `json:"retries"`
	RetryDelay string      `json:"retryDelay,omitempty"`
	CreatedAt  int64       `json:"createdAt,omitempty"` // Unix milliseconds
	Headers    http.Header `json:"headers,omitempty"`   // the initial step's: those forwarded to the endpoint

	NextDeliveryTime int64       `json:"nextDeliveryTime,omitempty"` // Unix milliseconds
	Errors           []StepError `json:"errors,omitempty"`           // one for each failed attempt

	SleepFor   int64 `json:"sleepFor,omitempty"`   // seconds
	SleepUntil int64 `json:"sleepUntil,omitempty"` // Unix seconds

	CallURL             string      `json:"callUrl,omitempty"`
	CallMethod          string      `json:"callMethod,omitempty"`
	CallBody            string      `json:"callBody,omitempty"`
	CallHeaders         http.Header `json:"callHeaders,omitempty"`
	CallResponseStatus  int         `json:"callResponseStatus,omitempty"`
	CallResponseBody    string      `json:"callResponseBody,omitempty"`
	CallResponseHeaders http.Header `json:"callResponseHeaders,omitempty"`

	WaitEventID         string `json:"waitEventId,omitempty"`
	WaitTimeoutDuration string `json:"waitTimeoutDuration,omitempty"`
	WaitTimeoutDeadline int64  `json:"waitTimeoutDeadline,omitempty"` // Unix seconds
	WaitTimeout         bool   `json:"waitTimeout,omitempty"`         // the time came before the event

	InvokedWorkflowRunID      string      `json:"invokedWorkflowRunId,omitempty"`
	InvokedWorkflowURL        string      `json:"invokedWorkflowUrl,omitempty"`
	InvokedWorkflowCreatedAt  int64       `json:"invokedWorkflowCreatedAt,omitempty"` // Unix milliseconds
	InvokedWorkflowRunBody    string      `json:"invokedWorkflowRunBody,omitempty"`
	InvokedWorkflowRunHeaders http.Header `json:"invokedWorkflowRunHeaders,omitempty"`
}

// StepError is a failed attempt.
type StepError struct {
	Error   string      `json:"error"` // such as "400 Bad Request"
	Body    string      `json:"body"`
	Headers http.Header `json:"headers"`
	Status  int         `json:"status"` // 0: there was no response
	Time    int64       `json:"time"`   // Unix milliseconds
}

// RunsPage is a page of runs, newest first.
type RunsPage struct {
	Cursor string `json:"cursor"` // "": this is the last page
	Runs   []Run  `json:"runs"`
}

// MarshalJSON writes runs as an array even when there is none.
func (p RunsPage) MarshalJSON() ([]byte, error) {
	type plain RunsPage
	p.Runs = some(p.Runs)
	return json.Marshal(plain(p))
}

// LogEntry is one message of a run's log, as a workflow endpoint replays it.
type LogEntry struct {
	MessageID string `json:"messageId"`
	Body      []byte `json:"body"`     // decoded; the first entry's is the initial payload
	CallType  string `json:"callType"` // step, toCallback, fromCallback
}

// someHeader makes a nil header an empty one, which JSON writes as {} and not
// null.
func someHeader(h http.Header) http.Header {
	if h == nil {
		return http.Header{}
	}
	return h
}

// RunFilter picks runs by what they are. Within a field any of the values may
// match; every field that is set must. The zero value picks all.
type RunFilter struct {
	URLs            []string // of the workflows, in full
	Hosts           []string // of the workflows' URLs, with or without the port
	Paths           []string // of the workflows' URLs
	Labels          []string
	FlowControlKeys []string
	CallerIPs       []string  // of who started them
	From            time.Time // of the start, inclusive, to the millisecond; zero: no bound
	To              time.Time // of the start, inclusive, to the millisecond; zero: no bound
}

func (f RunFilter) query() *query {
	q := Filter{Hosts: f.Hosts, Paths: f.Paths, Labels: f.Labels, FlowControlKeys: f.FlowControlKeys, CallerIPs: f.CallerIPs, From: f.From, To: f.To}.query()
	q.add("workflowUrl", f.URLs...)
	return q
}

// RunsRequest says which runs to list. The zero value lists all, newest first.
type RunsRequest struct {
	URL             string    // of the workflow, in full
	Hosts           []string  // of the workflow's URL, with or without the port; any of them
	Paths           []string  // of the workflow's URL; any of them
	RunID           string    // one run, or the runs that had this id in turn
	CreatedAt       int64     // Unix milliseconds; tells runs with one id apart
	Runs            []RunRef  // named exactly; any of them
	MessageID       string    // the run that a message is of
	State           RunState  // default: any
	Labels          []string  // any of them
	FlowControlKeys []string  // any of them
	CallerIPs       []string  // of who started them; any of them
	From            time.Time // of the start, inclusive; zero: no bound
	To              time.Time // of the start, inclusive; zero: no bound
	// TrimBody is how many bytes are wanted of a payload, a result or a response;
	// 0: all of them, less than 0: none.
	TrimBody int
	Cursor   string // of the page before; default: from the start
	Count    int    // of a page, 10 at most; default: 10
}

func (r *RunsRequest) query() *query {
	q := RunFilter{
		Hosts: r.Hosts, Paths: r.Paths, Labels: r.Labels, FlowControlKeys: r.FlowControlKeys, CallerIPs: r.CallerIPs, From: r.From, To: r.To,
	}.query()
	q.addOne("workflowUrl", r.URL)
	q.addOne("workflowRunId", r.RunID)
	q.addOne("messageId", r.MessageID)
	q.addOne("state", string(r.State))
	if r.CreatedAt != 0 {
		q.add("workflowCreatedAt", strconv.FormatInt(r.CreatedAt, 10))
	}
	q.addRuns(r.Runs)
	q.addTrim(r.TrimBody)
	q.addPage(r.Cursor, r.Count, "")
	return q
}

func (q *query) addOne(key, value string) {
	if value != "" {
		q.add(key, value)
	}
}

func (q *query) addRuns(runs []RunRef) {
	for _, run := range runs {
		q.add("workflowRuns", run.WorkflowRunID+"@"+strconv.FormatInt(run.WorkflowCreatedAt, 10))
	}
}

func (q *query) addTrim(n int) {
	switch {
	case n > 0:
		q.add("trimBody", strconv.Itoa(n))
	case n < 0:
		q.add("trimBody", "true")
	}
}

// Runs lists one page of workflow runs with their steps (GET
// /v2/workflows/logs).
func (c *Client) Runs(ctx context.Context, r RunsRequest) (RunsPage, error) {
	var out RunsPage
	if err := c.list(ctx, "/v2/workflows/logs", r.query(), &out); err != nil {
		return RunsPage{}, fmt.Errorf("list runs: %w", err)
	}
	return out, nil
}

// AllRuns walks the runs from r on, page by page. It ends after yielding an
// error.
func (c *Client) AllRuns(ctx context.Context, r RunsRequest) iter.Seq2[Run, error] {
	return pages(r.Cursor, func(cursor string) ([]Run, string, error) {
		r.Cursor = cursor
		p, err := c.Runs(ctx, r)
		return p.Runs, p.Cursor, err
	})
}

// Run looks up the latest run with an id; [ErrNotFound] when there is none.
func (c *Client) Run(ctx context.Context, id string) (Run, error) {
	if id == "" {
		return Run{}, fmt.Errorf("get run: %w", errNoID)
	}
	p, err := c.Runs(ctx, RunsRequest{RunID: id})
	if err != nil {
		return Run{}, fmt.Errorf("get run: %w", err)
	}
	if len(p.Runs) == 0 {
		return Run{}, fmt.Errorf("get run %s: %w", id, ErrNotFound)
	}
	return p.Runs[0], nil
}

// CancelRun ends a run; its endpoint is not called again, nor is its failure
// function. [ErrNotFound] when the run is unknown (DELETE
// /v2/workflows/runs/{id}).
func (c *Client) CancelRun(ctx context.Context, id string) error {
	path, err := itemPath("/v2/workflows/runs/", id)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodDelete, path: path + "?cancel=true"})
	}
	if err != nil {
		return fmt.Errorf("cancel run: %w", err)
	}
	return nil
}

// CancelRunsRequest says which runs to cancel: exactly one of IDs, All, and Filter
// with URLPrefixes is to be set.
type CancelRunsRequest struct {
	IDs         []string // those that are unknown or ended do not count
	Filter      RunFilter
	URLPrefixes []string // what the workflows' URLs begin with; any of them. Not with Filter.URLs
	All         bool
	Count       int // with a filter or All, at most so many, the oldest; default: no bound
}

// CancelRuns cancels many runs, also those that were not delivered yet, and returns
// how many it newly cancelled (DELETE /v2/workflows/runs). IDs that are given but
// empty cancel none.
func (c *Client) CancelRuns(ctx context.Context, r CancelRunsRequest) (int, error) {
	cancelled, err := c.cancelRuns(ctx, &r)
	if err != nil {
		return cancelled, fmt.Errorf("cancel runs: %w", err)
	}
	return cancelled, nil
}

func (c *Client) cancelRuns(ctx context.Context, r *CancelRunsRequest) (int, error) {
	const path = "/v2/workflows/runs"
	q := r.Filter.query()
	switch {
	case len(r.Filter.URLs) == 0:
		q.add("workflowUrl", r.URLPrefixes...)
	case len(r.URLPrefixes) > 0:
		return 0, errors.New("want URLs in full or their prefixes, not both")
	}
	if err := q.checkSelection(r.IDs, r.All); err != nil {
		return 0, err
	}
	if r.IDs != nil {
		return c.cancelIDs(ctx, path, "workflowRunIds", r.IDs)
	}
	if len(r.Filter.URLs) > 0 {
		q.add("workflowUrlExactMatch", "true")
	}
	q.addPage("", r.Count, "")
	var out CancelResponse
	err := c.do(ctx, call{method: http.MethodDelete, path: path, query: q.Values, out: &out})
	return out.Cancelled, err
}

// RunEventsRequest says which events of runs to list. The zero value lists all,
// newest first.
type RunEventsRequest struct {
	RunID      string   // one run, or the runs that had this id in turn
	CreatedAt  int64    // of the run, Unix milliseconds; tells runs with one id apart
	Runs       []RunRef // named exactly; any of them
	MessageIDs []string
	States     []EventState // any of them; [EventInProgress] stands for three
	RunStates  []RunState   // that the runs are in now; any of them
	Filter     RunFilter    // its times are those of the events
	TrimBody   int          // as of [RunsRequest]
	Order      Order        // default: NewestFirst
	Cursor     string       // of the page before; default: from the start
	Count      int          // of a page, 1000 at most; default: the server's
}

// RunEvents lists one page of the events of runs' messages: what was appended to
// their logs, and how its delivery went (GET /v2/workflows/events).
func (c *Client) RunEvents(ctx context.Context, r RunEventsRequest) (EventsPage, error) {
	q := r.Filter.query()
	q.addOne("workflowRunId", r.RunID)
	if r.CreatedAt != 0 {
		q.add("workflowCreatedAt", strconv.FormatInt(r.CreatedAt, 10))
	}
	q.addRuns(r.Runs)
	q.add("messageId", r.MessageIDs...)
	for _, s := range r.States {
		q.add("state", string(s))
	}
	for _, s := range r.RunStates {
		q.add("state", string(s))
	}
	q.addTrim(r.TrimBody)
	q.addPage(r.Cursor, r.Count, r.Order)
	var out EventsPage
	if err := c.list(ctx, "/v2/workflows/events", q, &out); err != nil {
		return EventsPage{}, fmt.Errorf("list events of runs: %w", err)
	}
	return out, nil
}

// AllRunEvents walks the events of runs from r on, page by page. It ends after
// yielding an error.
func (c *Client) AllRunEvents(ctx context.Context, r RunEventsRequest) iter.Seq2[Event, error] {
	return pages(r.Cursor, func(cursor string) ([]Event, string, error) {
		r.Cursor = cursor
		p, err := c.RunEvents(ctx, r)
		return p.Events, p.Cursor, err
	})
}

// FinishRun ends a run with its result, JSON text, or nil for none (DELETE
// /v2/workflows/runs/{id}?cancel=false). It is what a workflow endpoint calls
// when its function has returned; finishing an ended run does nothing.
func (c *Client) FinishRun(ctx context.Context, id string, result []byte) error {
	path, err := itemPath("/v2/workflows/runs/", id)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodDelete, path: path + "?cancel=false", body: result})
	}
	if err != nil {
		return fmt.Errorf("finish run: %w", err)
	}
	return nil
}

// RunLog fetches the whole log of a run under way, in the order it was
// written; [ErrNotFound] when the run has ended or never was (GET
// /v2/workflows/runs/{id}).
func (c *Client) RunLog(ctx context.Context, id string) ([]LogEntry, error) {
	var out []LogEntry
	path, err := itemPath("/v2/workflows/runs/", id)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodGet, path: path, most: defaultMaxLogBytes, out: &out})
	}
	if err != nil {
		return nil, fmt.Errorf("get run log: %w", err)
	}
	return out, nil
}
