package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Waiter is a step of a workflow run that waits for an event.
type Waiter struct {
	URL      string      `json:"url"`      // endpoint that is called with the event
	Headers  http.Header `json:"headers"`  // of that call; Upstash-Workflow-Runid is the run
	Deadline int64       `json:"deadline"` // when it waits no longer, Unix seconds

	// The call that is made at the deadline.
	TimeoutURL     string      `json:"timeoutUrl,omitempty"`
	TimeoutBody    []byte      `json:"timeoutBody,omitempty"` // base64 in JSON
	TimeoutHeaders http.Header `json:"timeoutHeaders,omitempty"`
}

// MarshalJSON writes headers as an object even when there is none.
func (w Waiter) MarshalJSON() ([]byte, error) {
	type plain Waiter
	w.Headers = someHeader(w.Headers)
	return json.Marshal(plain(w))
}

// NotifyResponse is what became of one [Waiter] of an event.
type NotifyResponse struct {
	Waiter            Waiter `json:"waiter"`
	MessageID         string `json:"messageId"` // delivers the event; "": it is kept until the run waits for it
	Deduplicated      bool   `json:"deduplicated"`
	Error             string `json:"error"` // why the waiter was not told; "": it was
	WorkflowRunID     string `json:"workflowRunId,omitempty"`
	WorkflowCreatedAt int64  `json:"workflowCreatedAt,omitempty"` // Unix milliseconds
}

// WaitRequest registers a step that waits for an event. It is what a workflow
// endpoint sends; see package workflow for how to write one.
type WaitRequest struct {
	URL            string      `json:"url"`
	Timeout        string      `json:"timeout"` // as "30s" or "7d"
	TimeoutURL     string      `json:"timeoutUrl"`
	TimeoutHeaders http.Header `json:"timeoutHeaders"`
	Step           WaitStep    `json:"step"`

	// Header is that of the request: it says which run waits, and goes to the
	// endpoint with the event.
	Header http.Header `json:"-"`
}

// WaitStep is the step that a [WaitRequest] is about.
type WaitStep struct {
	StepID     int    `json:"stepId"` // from 1
	StepType   string `json:"stepType"`
	StepName   string `json:"stepName"`
	Concurrent int    `json:"concurrent"` // steps of its parallel group; 1: it has none
}

// Notify tells everyone who waits for an event, with data that may be empty,
// and returns what became of each; none when nobody waits: then the event is
// gone (POST /v2/notify/{eventId}).
func (c *Client) Notify(ctx context.Context, eventID string, data []byte) ([]NotifyResponse, error) {
	path, err := itemPath("/v2/notify/", eventID)
	if err != nil {
		return nil, fmt.Errorf("notify: %w", err)
	}
	return c.notify(ctx, call{path: path, body: data})
}

// NotifyRun tells one run of an event. If the run does not wait for it yet, the
// event is kept until it does; several are given out in the order in which they
// came. [ErrNotFound] when the run has ended (POST
// /v2/notify/{workflowRunId}/{eventId}).
func (c *Client) NotifyRun(ctx context.Context, runID, eventID string, data []byte) (NotifyResponse, error) {
	path, err := itemPath("/v2/notify/", runID)
	if err == nil {
		path, err = itemPath(path+"/", eventID)
	}
	if err != nil {
		return NotifyResponse{}, fmt.Errorf("notify: %w", err)
	}
	out, err := c.notify(ctx, call{path: path, body: data, once: true}) // twice, it would be kept twice
	if err != nil || len(out) == 0 {
		return NotifyResponse{}, err
	}
	return out[0], nil
}

func (c *Client) notify(ctx context.Context, k call) ([]NotifyResponse, error) {
	var out oneOrMany[NotifyResponse]
	k.method, k.out = http.MethodPost, &out
	if err := c.do(ctx, k); err != nil {
		return nil, fmt.Errorf("notify: %w", err)
	}
	return out, nil
}

// oneOrMany decodes an array, or a single value as an array of it: servers
// differ in how they answer about one.
type oneOrMany[T any] []T

func (m *oneOrMany[T]) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		return json.Unmarshal(data, (*[]T)(m))
	}
	*m = make([]T, 1)
	return json.Unmarshal(data, &(*m)[0])
}

// Waiters lists who waits for an event (GET /v2/waiters/{eventId}).
func (c *Client) Waiters(ctx context.Context, eventID string) ([]Waiter, error) {
	var out []Waiter
	path, err := itemPath("/v2/waiters/", eventID)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodGet, path: path, out: &out})
	}
	if err != nil {
		return nil, fmt.Errorf("list waiters: %w", err)
	}
	return out, nil
}

// Wait registers a step that waits for an event (POST /v2/wait/{eventId}).
// [ErrBadRequest] when the run has ended.
func (c *Client) Wait(ctx context.Context, eventID string, r WaitRequest) error {
	path, err := itemPath("/v2/wait/", eventID)
	k := call{method: http.MethodPost, path: path, header: r.Header}
	if err == nil {
		k.body, err = json.Marshal(r)
	}
	if err == nil {
		err = c.do(ctx, k)
	}
	if err != nil {
		return fmt.Errorf("wait for event: %w", err)
	}
	return nil
}

// WebhookURL is the address of an event of a run that anybody may call who knows
// it; the call is the event. It needs a token that names its user, as those of
// Signpost and of Upstash do.
func (c *Client) WebhookURL(runID, eventID string) (string, error) {
	if c.err != nil {
		return "", c.err
	}
	user, err := c.user()
	if err != nil {
		return "", fmt.Errorf("make webhook url: %w", err)
	}
	path := "/v2/workflows/hooks"
	for _, part := range []string{user, runID, eventID} {
		if path, err = itemPath(path+"/", part); err != nil {
			return "", fmt.Errorf("make webhook url: %w", err)
		}
	}
	return c.url(path, nil).String(), nil
}

var errOpaqueToken = errors.New("the token does not tell its user: expected base64 of JSON with UserID")

// user is whom the token belongs to.
func (c *Client) user() (string, error) {
	content, err := base64.StdEncoding.DecodeString(c.token.Reveal())
	if err != nil {
		content, err = base64.RawStdEncoding.DecodeString(c.token.Reveal())
	}
	var token struct{ UserID string }
	if err != nil || json.Unmarshal(content, &token) != nil || token.UserID == "" {
		return "", errOpaqueToken
	}
	return token.UserID, nil
}
