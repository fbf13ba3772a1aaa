package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// RunRef names one run: by its id, and by when it was started, as an id may be
// used again once its run has ended.
type RunRef struct {
	WorkflowRunID     string `json:"workflowRunId"`
	WorkflowCreatedAt int64  `json:"workflowCreatedAt"` // Unix milliseconds
}

// ResumeResponse answers a resume or a restart of many runs: one new run for each.
type ResumeResponse struct {
	Runs   []RunRef `json:"workflowRuns"`
	Cursor string   `json:"cursor"` // "": nothing is left
}

// MarshalJSON writes workflowRuns as an array even when there is none.
func (r ResumeResponse) MarshalJSON() ([]byte, error) {
	type plain ResumeResponse
	r.Runs = some(r.Runs)
	return json.Marshal(plain(r))
}

// RunEdit changes what a new run finds in its log. The zero value changes
// nothing.
type RunEdit struct {
	// Payload takes the place of the one that the run was started with: a JSON
	// string as the text it is, any other value as JSON. Nil: it stays.
	Payload json.RawMessage `json:"payload,omitempty"`
	// Steps take the place of results. A run that is restarted has none.
	Steps []StepEdit `json:"steps,omitempty"`
}

// StepEdit is another result, or name, for a step that has a result; or a result for
// the step that the run failed at, which is then not executed: in a parallel group
// there may be several of those. Steps after it keep theirs, also where they came of
// the old one.
type StepEdit struct {
	StepID int `json:"stepId"` // from 1
	// StepName is the step's name from now on; empty: the one it has. A step that
	// failed outside of a parallel group needs it, as it is in the code, since the
	// log does not tell it. In parallel groups names stay.
	StepName string `json:"stepName,omitempty"`
	// Out is what the step returned, a JSON value. That of a call is an object with
	// status, header and body, that of an invocation one with body, isFailed and
	// isCanceled; such a body is text, or the JSON that this would be. Steps that
	// sleep have none. Nil: it stays.
	Out json.RawMessage `json:"out,omitempty"`
}

// RunDLQFilter picks runs of the dead-letter queue. Within a field any of the
// values may match; every field that is set must. Its times are those of their
// failure. The zero value picks all.
type RunDLQFilter struct {
	URLs            []string // of the workflows, in full
	RunIDs          []string
	CreatedAt       int64 // of the run, Unix milliseconds; 0: any
	Labels          []string
	FlowControlKeys []string
	CallerIPs       []string
	FailureStates   []CallbackState // of the failure callback
	From            time.Time       // inclusive, to the millisecond; zero: no bound
	To              time.Time       // inclusive, to the millisecond; zero: no bound
}

func (f RunDLQFilter) query() *query {
	q := Filter{Labels: f.Labels, FlowControlKeys: f.FlowControlKeys, CallerIPs: f.CallerIPs, From: f.From, To: f.To}.query()
	q.add("workflowUrl", f.URLs...)
	q.add("workflowRunId", f.RunIDs...)
	if f.CreatedAt != 0 {
		q.add("workflowCreatedAt", strconv.FormatInt(f.CreatedAt, 10))
	}
	for _, s := range f.FailureStates {
		q.add("failureFunctionState", string(s))
	}
	return q
}

// RunDLQRequest says which runs of the dead-letter queue to list. The zero value
// lists all, oldest first.
type RunDLQRequest struct {
	IDs    []string // DLQ ids; when there are any, Filter is not looked at
	Filter RunDLQFilter
	Order  Order  // default: OldestFirst
	Cursor string // of the page before; default: from the start
	Count  int    // of a page, 100 at most; default: 100
}

// RunDLQ lists one page of the runs that have failed, each as the message that
// failed it (GET /v2/workflows/dlq).
func (c *Client) RunDLQ(ctx context.Context, r RunDLQRequest) (DLQPage, error) {
	q := r.Filter.query()
	q.add("dlqIds", r.IDs...)
	q.addPage(r.Cursor, r.Count, r.Order)
	var out DLQPage
	if err := c.list(ctx, "/v2/workflows/dlq", q, &out); err != nil {
		return DLQPage{}, fmt.Errorf("list failed runs: %w", err)
	}
	return out, nil
}

// AllRunDLQ walks the runs that have failed from r on, page by page. It ends after
// yielding an error.
func (c *Client) AllRunDLQ(ctx context.Context, r RunDLQRequest) iter.Seq2[DLQMessage, error] {
	return pages(r.Cursor, func(cursor string) ([]DLQMessage, string, error) {
		r.Cursor = cursor
		p, err := c.RunDLQ(ctx, r)
		return p.Messages, p.Cursor, err
	})
}

// RunDLQMessage looks up a run that has failed, as the message that failed it;
// [ErrNotFound] when it is gone (GET /v2/workflows/dlq/{dlqId}).
func (c *Client) RunDLQMessage(ctx context.Context, dlqID string) (DLQMessage, error) {
	var out DLQMessage
	path, err := itemPath("/v2/workflows/dlq/", dlqID)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodGet, path: path, out: &out})
	}
	if err != nil {
		return DLQMessage{}, fmt.Errorf("get failed run: %w", err)
	}
	return out, nil
}

// RunDLQSelection says which runs of the dead-letter queue a call is about:
// exactly one of IDs, Filter and All is to be set.
type RunDLQSelection struct {
	IDs    []string // DLQ ids; those that are gone do not count
	Filter RunDLQFilter
	All    bool
	Cursor string // with Filter or All, of the answer before; default: from the start
	Count  int    // with Filter or All, of one call; default and most: 50, to delete 100
}

// each calls do with the query of each call that the selection takes: one, or as
// many as its ids fill.
func (s *RunDLQSelection) each(most int, do func(url.Values) error) error {
	q := s.Filter.query()
	if err := q.checkSelection(s.IDs, s.All); err != nil {
		return err
	}
	if s.IDs == nil {
		q.addPage(s.Cursor, cmp.Or(s.Count, most), "")
		return do(q.Values)
	}
	for ids := range slices.Chunk(s.IDs, most) {
		q := newQuery()
		q.add("dlqIds", ids...)
		if q.err != nil {
			return q.err
		}
		if err := do(q.Values); err != nil {
			return err
		}
	}
	return nil
}

// DeleteRunDLQ deletes many runs from the dead-letter queue (DELETE
// /v2/workflows/dlq); what they were stays in the list of runs. With a filter or
// All it does one page: call it again with the answer's Cursor until that is empty,
// or call [Client.DeleteAllRunDLQ].
func (c *Client) DeleteRunDLQ(ctx context.Context, s RunDLQSelection) (DLQDeleteResponse, error) {
	var out DLQDeleteResponse
	err := s.each(maxIDs, func(q url.Values) error {
		var page DLQDeleteResponse
		err := c.do(ctx, call{method: http.MethodDelete, path: "/v2/workflows/dlq", query: q, out: &page})
		out.Deleted, out.Cursor = out.Deleted+page.Deleted, page.Cursor
		return err
	})
	if err != nil {
		return out, fmt.Errorf("delete failed runs: %w", err)
	}
	return out, nil
}

// DeleteAllRunDLQ is [Client.DeleteRunDLQ] for all that s selects, page by page. It
// yields how many each page has deleted, and ends after yielding an error.
func (c *Client) DeleteAllRunDLQ(ctx context.Context, s RunDLQSelection) iter.Seq2[int, error] {
	return pages(s.Cursor, func(cursor string) ([]int, string, error) {
		s.Cursor = cursor
		p, err := c.DeleteRunDLQ(ctx, s)
		return []int{p.Deleted}, p.Cursor, err
	})
}

// RunOverride has the settings that win over those a run was started with, for the
// whole of the new run. The zero value changes nothing.
type RunOverride struct {
	Delay       time.Duration // before the run goes on; default: none
	Retries     *int          // nil: as it was
	RetryDelay  string        // an expression, as of [PublishRequest]; "": as it was
	Labels      []string      // in place of all it had
	FlowControl *FlowControl
	FailureURL  string      // called if the new run fails, too
	Header      http.Header // added to what the endpoint sees as the run's headers
}

func (o *RunOverride) header() (http.Header, error) {
	r := PublishRequest{
		Header: o.Header, Delay: o.Delay, Retries: o.Retries, RetryDelay: o.RetryDelay, Labels: o.Labels, FlowControl: o.FlowControl,
	}
	if o.FailureURL != "" {
		r.FailureCallback = &Callback{URL: o.FailureURL}
	}
	h, err := r.settings()
	if err != nil {
		return nil, err
	}
	if h.Get("Content-Type") != "" { // by its own name it would be that of this call
		h[wire.PrefixForward+"Content-Type"] = h["Content-Type"]
		delete(h, "Content-Type")
	}
	return h, nil
}

// ResumeOptions say how a run goes on. The zero value: as it was.
type ResumeOptions struct {
	Override RunOverride
	Edit     RunEdit
}

// ResumeRun lets a failed run go on, as a new run with an id of its own, and takes
// it out of the dead-letter queue; [ErrNotFound] when it is gone already (POST
// /v2/workflows/dlq/resume/{dlqId}). Steps that have a result keep it and are not
// run again; of parallel steps, those without one are.
//
// An Edit is an extension of Signpost's, and kept in the audit log.
func (c *Client) ResumeRun(ctx context.Context, dlqID string, o ResumeOptions) (RunRef, error) {
	ref, err := c.resume(ctx, "resume/", dlqID, &o)
	if err != nil {
		return RunRef{}, fmt.Errorf("resume run: %w", err)
	}
	return ref, nil
}

// RestartRun starts a failed run over, as a new run with its payload, headers and
// settings, and takes it out of the dead-letter queue; [ErrNotFound] when it is
// gone already (POST /v2/workflows/dlq/restart/{dlqId}).
func (c *Client) RestartRun(ctx context.Context, dlqID string, o ResumeOptions) (RunRef, error) {
	ref, err := c.resume(ctx, "restart/", dlqID, &o)
	if err != nil {
		return RunRef{}, fmt.Errorf("restart run: %w", err)
	}
	return ref, nil
}

func (c *Client) resume(ctx context.Context, how, dlqID string, o *ResumeOptions) (ref RunRef, err error) {
	path, err := itemPath("/v2/workflows/dlq/"+how, dlqID)
	if err != nil {
		return ref, err
	}
	request := call{method: http.MethodPost, path: path, out: &ref}
	if request.header, err = o.Override.header(); err != nil {
		return ref, err
	}
	if o.Edit.Payload != nil || len(o.Edit.Steps) > 0 {
		if request.body, err = json.Marshal(o.Edit); err != nil {
			return ref, fmt.Errorf("encode edit: %w", err)
		}
		request.header.Set("Content-Type", "application/json")
	}
	return ref, c.do(ctx, request)
}

// resumeMost is how many runs a call resumes or restarts.
const resumeMost = 50

// ResumeRequest says which runs of the dead-letter queue to resume or to restart,
// and what is to be different about them.
type ResumeRequest struct {
	RunDLQSelection
	Override RunOverride
}

// ResumeRuns is [Client.ResumeRun] for many (POST /v2/workflows/dlq/resume). With a
// filter or All it does one page: call it again with the answer's Cursor until that
// is empty, or call [Client.ResumeAllRuns]. Each run is resumed by itself; if one
// can't be, the answer has those before it, and a Cursor to it.
func (c *Client) ResumeRuns(ctx context.Context, r ResumeRequest) (ResumeResponse, error) {
	out, err := c.resumeSome(ctx, "resume", &r)
	if err != nil {
		return out, fmt.Errorf("resume runs: %w", err)
	}
	return out, nil
}

// RestartRuns is [Client.RestartRun] for many, as [Client.ResumeRuns] (POST
// /v2/workflows/dlq/restart).
func (c *Client) RestartRuns(ctx context.Context, r ResumeRequest) (ResumeResponse, error) {
	out, err := c.resumeSome(ctx, "restart", &r)
	if err != nil {
		return out, fmt.Errorf("restart runs: %w", err)
	}
	return out, nil
}

func (c *Client) resumeSome(ctx context.Context, how string, r *ResumeRequest) (out ResumeResponse, err error) {
	header, err := r.Override.header()
	if err != nil {
		return out, err
	}
	err = r.each(resumeMost, func(q url.Values) error {
		var page ResumeResponse
		err := c.do(ctx, call{method: http.MethodPost, path: "/v2/workflows/dlq/" + how, query: q, header: header, out: &page})
		out.Runs, out.Cursor = append(out.Runs, page.Runs...), page.Cursor
		return err
	})
	return out, err
}

// ResumeAllRuns is [Client.ResumeRuns] for all that r selects, page by page. It
// yields the new runs, and ends after yielding an error; what was resumed until
// then stays so. Breaking out of it leaves the rest, from the next page on.
func (c *Client) ResumeAllRuns(ctx context.Context, r ResumeRequest) iter.Seq2[RunRef, error] {
	return resumeAll(ctx, r, c.ResumeRuns)
}

// RestartAllRuns is [Client.RestartRuns] for all that r selects, as
// [Client.ResumeAllRuns].
func (c *Client) RestartAllRuns(ctx context.Context, r ResumeRequest) iter.Seq2[RunRef, error] {
	return resumeAll(ctx, r, c.RestartRuns)
}

func resumeAll(ctx context.Context, r ResumeRequest, some func(context.Context, ResumeRequest) (ResumeResponse, error)) iter.Seq2[RunRef, error] {
	return pages(r.Cursor, func(cursor string) ([]RunRef, string, error) {
		r.Cursor = cursor
		p, err := some(ctx, r)
		return p.Runs, p.Cursor, err
	})
}

// RerunFailureCallback calls the failure callback of a failed run again, which has
// failed itself, with all its retries (POST /v2/workflows/dlq/callback/{dlqId}). An
// [Error] with status 400 when it is in any other state than [CallbackFail].
func (c *Client) RerunFailureCallback(ctx context.Context, dlqID string) (RunRef, error) {
	ref, err := c.failureCallback(ctx, http.MethodPost, dlqID)
	if err != nil {
		return RunRef{}, fmt.Errorf("rerun failure callback: %w", err)
	}
	return ref, nil
}

// RerunFailureCallbacks is [Client.RerunFailureCallback] for many, as
// [Client.ResumeRuns] (POST /v2/workflows/dlq/callback): runs whose failure callback
// has not failed are left. An extension of Signpost's.
func (c *Client) RerunFailureCallbacks(ctx context.Context, r RunDLQSelection) (ResumeResponse, error) {
	out, err := c.resumeSome(ctx, "callback", &ResumeRequest{RunDLQSelection: r})
	if err != nil {
		return out, fmt.Errorf("rerun failure callbacks: %w", err)
	}
	return out, nil
}

// CancelFailureCallback stops the failure callback of a failed run; an attempt
// under way is not cut off (DELETE /v2/workflows/dlq/callback/{dlqId}). An [Error]
// with status 400 when it is in any other state than [CallbackInProgress].
func (c *Client) CancelFailureCallback(ctx context.Context, dlqID string) (RunRef, error) {
	ref, err := c.failureCallback(ctx, http.MethodDelete, dlqID)
	if err != nil {
		return RunRef{}, fmt.Errorf("cancel failure callback: %w", err)
	}
	return ref, nil
}

func (c *Client) failureCallback(ctx context.Context, method, dlqID string) (ref RunRef, err error) {
	path, err := itemPath("/v2/workflows/dlq/callback/", dlqID)
	if err == nil {
		err = c.do(ctx, call{method: method, path: path, out: &ref})
	}
	return ref, err
}
