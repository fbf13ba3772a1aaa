package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/signposthq/signpost/internal/wire"
)

// DLQMessage is a message whose attempts are exhausted, or that was refused as
// not retryable, with the last response it got.
type DLQMessage struct {
	Message
	DLQID string `json:"dlqId"`
	Error string `json:"error,omitempty"` // why the last attempt failed; Signpost alone says so

	ResponseStatus int         `json:"responseStatus"` // 0: there was no response
	ResponseHeader http.Header `json:"responseHeader,omitempty"`
	// ResponseBody is the response as text; one that is not UTF-8 is in
	// ResponseBodyBase64. [DLQMessage.ResponseBytes] reads either.
	ResponseBody       string `json:"responseBody,omitempty"`
	ResponseBodyBase64 string `json:"responseBodyBase64,omitempty"`

	// The workflow run that failed with this message, if it belongs to one.
	WorkflowRunID        string               `json:"workflowRunId,omitempty"`
	WorkflowCreatedAt    int64                `json:"workflowCreatedAt,omitempty"` // Unix milliseconds
	WorkflowURL          string               `json:"workflowUrl,omitempty"`
	FailureCallbackInfo  *FailureCallbackInfo `json:"failureCallbackInfo,omitempty"`
	FailureFunctionState CallbackState        `json:"failureFunctionState,omitempty"`
}

// FailureCallbackInfo says how the failure callback of a run went.
type FailureCallbackInfo struct {
	State           CallbackState `json:"state,omitempty"`
	ResponseStatus  int           `json:"responseStatus,omitempty"`
	ResponseBody    string        `json:"responseBody,omitempty"`
	ResponseHeaders http.Header   `json:"responseHeaders,omitempty"`
}

// ResponseBytes returns the last response's body from whichever of
// ResponseBody and ResponseBodyBase64 holds it.
func (m *DLQMessage) ResponseBytes() ([]byte, error) {
	return joinText(m.ResponseBody, m.ResponseBodyBase64)
}

// SetResponseBody fills ResponseBody, or ResponseBodyBase64 when b is not
// UTF-8.
func (m *DLQMessage) SetResponseBody(b []byte) {
	m.ResponseBody, m.ResponseBodyBase64 = splitText(b)
}

// DLQPage is a page of the dead-letter queue.
type DLQPage struct {
	Messages []DLQMessage `json:"messages"`
	Cursor   string       `json:"cursor,omitempty"` // "": this is the last page
}

// MarshalJSON writes messages as an array even when there is none.
func (p DLQPage) MarshalJSON() ([]byte, error) {
	type plain DLQPage
	p.Messages = some(p.Messages)
	return json.Marshal(plain(p))
}

// DLQDeleteResponse answers a deletion of many DLQ messages.
type DLQDeleteResponse struct {
	Deleted int    `json:"deleted"`
	Cursor  string `json:"cursor,omitempty"` // "": nothing is left to delete
}

// DLQRetryResponse answers a retry of many DLQ messages: one new message for
// each.
type DLQRetryResponse struct {
	Responses []PublishResponse `json:"responses"`
	Cursor    string            `json:"cursor,omitempty"` // "": nothing is left to retry
}

// MarshalJSON writes responses as an array even when there is none.
func (r DLQRetryResponse) MarshalJSON() ([]byte, error) {
	type plain DLQRetryResponse
	r.Responses = some(r.Responses)
	return json.Marshal(plain(r))
}

// DLQFilter picks messages of the dead-letter queue. Its times are those of
// their failure. The zero value picks all.
type DLQFilter struct {
	Filter
	MessageID        string
	ResponseStatuses []int // any of them; 0: there was no response
}

func (f DLQFilter) query() *query {
	q := f.Filter.query()
	if f.MessageID != "" {
		q.add("messageId", f.MessageID)
	}
	for _, s := range f.ResponseStatuses {
		q.add("responseStatus", strconv.Itoa(s))
	}
	return q
}

// DLQRequest says which messages of the dead-letter queue to list. The zero
// value lists all, oldest first.
type DLQRequest struct {
	IDs    []string // DLQ ids; when there are any, Filter is not looked at
	Filter DLQFilter
	Order  Order  // default: OldestFirst
	Cursor string // of the page before; default: from the start
	Count  int    // of a page, 100 at most; default: 100
}

// DLQ lists one page of the dead-letter queue (GET /v2/dlq).
func (c *Client) DLQ(ctx context.Context, r DLQRequest) (DLQPage, error) {
	q := r.Filter.query()
	q.add("dlqIds", r.IDs...)
	q.addPage(r.Cursor, r.Count, r.Order)
	var out DLQPage
	if err := c.list(ctx, "/v2/dlq", q, &out); err != nil {
		return DLQPage{}, fmt.Errorf("list dlq: %w", err)
	}
	return out, nil
}

// AllDLQ walks the dead-letter queue from r on, page by page. It ends after
// yielding an error.
func (c *Client) AllDLQ(ctx context.Context, r DLQRequest) iter.Seq2[DLQMessage, error] {
	return pages(r.Cursor, func(cursor string) ([]DLQMessage, string, error) {
		r.Cursor = cursor
		p, err := c.DLQ(ctx, r)
		return p.Messages, p.Cursor, err
	})
}

// DLQMessage looks up one message of the dead-letter queue (GET
// /v2/dlq/{dlqId}).
func (c *Client) DLQMessage(ctx context.Context, dlqID string) (DLQMessage, error) {
	var out DLQMessage
	path, err := itemPath("/v2/dlq/", dlqID)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodGet, path: path, out: &out})
	}
	if err != nil {
		return DLQMessage{}, fmt.Errorf("get dlq message: %w", err)
	}
	return out, nil
}

// DeleteDLQMessage deletes one message of the dead-letter queue; [ErrNotFound]
// when it is gone already (DELETE /v2/dlq/{dlqId}).
func (c *Client) DeleteDLQMessage(ctx context.Context, dlqID string) error {
	path, err := itemPath("/v2/dlq/", dlqID)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodDelete, path: path})
	}
	if err != nil {
		return fmt.Errorf("delete dlq message: %w", err)
	}
	return nil
}

// RetryDLQMessage publishes one message of the dead-letter queue anew, under
// the id it returns, and takes it out of the queue; [ErrNotFound] when it is
// gone already (POST /v2/dlq/retry/{dlqId}). [Client.RetryDLQ] can change its
// settings.
func (c *Client) RetryDLQMessage(ctx context.Context, dlqID string) (PublishResponse, error) {
	var out PublishResponse
	path, err := itemPath("/v2/dlq/retry/", dlqID)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodPost, path: path, out: &out})
	}
	if err != nil {
		return PublishResponse{}, fmt.Errorf("retry dlq message: %w", err)
	}
	return out, nil
}

// DLQSelection says which messages of the dead-letter queue to delete or
// retry: exactly one of IDs, Filter and All is to be set.
type DLQSelection struct {
	IDs    []string // DLQ ids; those that are gone do not count
	Filter DLQFilter
	All    bool
	Cursor string // with Filter or All, of the answer before; default: from the start
	Count  int    // with Filter or All, of one call, 100 at most; default: 100
}

// DeleteDLQ deletes many messages of the dead-letter queue (DELETE /v2/dlq).
// With a filter or All it does one page: call it again with the answer's
// Cursor until that is empty, or call [Client.DeleteAllDLQ].
func (c *Client) DeleteDLQ(ctx context.Context, s DLQSelection) (DLQDeleteResponse, error) {
	var out DLQDeleteResponse
	err := s.each(func(q url.Values) error {
		var page DLQDeleteResponse
		err := c.do(ctx, call{method: http.MethodDelete, path: "/v2/dlq", query: q, out: &page})
		out.Deleted, out.Cursor = out.Deleted+page.Deleted, page.Cursor
		return err
	})
	if err != nil {
		return out, fmt.Errorf("delete from dlq: %w", err)
	}
	return out, nil
}

// DLQRetry says which messages of the dead-letter queue to retry, and what is to
// be different about them.
type DLQRetry struct {
	DLQSelection
	// Override has the settings that win over a message's own; its Header is
	// added to the message's. It can't have a destination, a Body or
	// deduplication. Default: all as it was.
	Override PublishRequest
}

// RetryDLQ publishes many messages of the dead-letter queue anew and takes
// them out of the queue (POST /v2/dlq/retry). With a filter or All it does one
// page, as [Client.DeleteDLQ] does; [Client.RetryAllDLQ] does all of them.
func (c *Client) RetryDLQ(ctx context.Context, r DLQRetry) (DLQRetryResponse, error) {
	var out DLQRetryResponse
	header, err := r.header()
	if err == nil {
		err = r.each(func(q url.Values) error {
			var page DLQRetryResponse
			err := c.do(ctx, call{method: http.MethodPost, path: "/v2/dlq/retry", query: q, header: header, out: &page})
			out.Responses, out.Cursor = append(out.Responses, page.Responses...), page.Cursor
			return err
		})
	}
	if err != nil {
		return out, fmt.Errorf("retry from dlq: %w", err)
	}
	return out, nil
}

func (r *DLQRetry) header() (http.Header, error) {
	o := &r.Override
	if o.URL != "" || o.URLGroup != "" || o.LLM || o.Body != nil || o.DeduplicationID != "" || o.ContentBasedDeduplication {
		return nil, errors.New("a retry has the destination and the body of its message, and no deduplication")
	}
	h, err := o.settings()
	if err != nil {
		return nil, err
	}
	if h.Get("Content-Type") != "" { // by its own name it would be that of this call
		h[wire.PrefixForward+"Content-Type"] = h["Content-Type"]
		delete(h, "Content-Type")
	}
	if o.Queue != "" {
		h.Set(wire.HeaderQueueName, o.Queue)
	}
	return h, nil
}

// RetryAllDLQ is [Client.RetryDLQ] for all that r selects, page by page. It
// yields the answer for each message, and ends after yielding an error; what was
// retried until then stays so. Breaking out of it leaves the rest, from the next
// page on.
func (c *Client) RetryAllDLQ(ctx context.Context, r DLQRetry) iter.Seq2[PublishResponse, error] {
	return pages(r.Cursor, func(cursor string) ([]PublishResponse, string, error) {
		r.Cursor = cursor
		p, err := c.RetryDLQ(ctx, r)
		return p.Responses, p.Cursor, err
	})
}

// DeleteAllDLQ is [Client.DeleteDLQ] for all that s selects, page by page. It
// yields how many messages each page has deleted, and ends after yielding an
// error.
func (c *Client) DeleteAllDLQ(ctx context.Context, s DLQSelection) iter.Seq2[int, error] {
	return pages(s.Cursor, func(cursor string) ([]int, string, error) {
		s.Cursor = cursor
		p, err := c.DeleteDLQ(ctx, s)
		return []int{p.Deleted}, p.Cursor, err
	})
}

// each calls do with the query of each call that the selection takes: one, or
// as many as its ids fill.
func (s *DLQSelection) each(do func(url.Values) error) error {
	q := s.Filter.query()
	if err := q.checkSelection(s.IDs, s.All); err != nil {
		return err
	}
	if s.IDs == nil {
		q.addPage(s.Cursor, cmp.Or(s.Count, maxIDs), "")
		return do(q.Values)
	}
	for ids := range slices.Chunk(s.IDs, maxIDs) {
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
