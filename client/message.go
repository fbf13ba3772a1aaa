package client

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"unicode/utf8"
)

// Message is one HTTP request that the server delivers, as GET
// /v2/messages/{id} tells it.
type Message struct {
	MessageID string `json:"messageId"`
	URL       string `json:"url"`    // destination, byte for byte as published
	Method    string `json:"method"` // of the delivery

	// Header holds the Content-Type and the forwarded headers, in canonical
	// case. Nil when there is none.
	Header http.Header `json:"header,omitempty"`
	// Body is the body as text. A body that is not UTF-8 is in BodyBase64
	// instead (standard alphabet, padded); [Message.Bytes] reads either.
	Body       string `json:"body,omitempty"`
	BodyBase64 string `json:"bodyBase64,omitempty"`

	MaxRetries           int    `json:"maxRetries"`
	RetryDelayExpression string `json:"retryDelayExpression,omitempty"`
	NotBefore            int64  `json:"notBefore"` // first due time, Unix milliseconds
	CreatedAt            int64  `json:"createdAt"` // Unix milliseconds

	Callback              string      `json:"callback,omitempty"`
	CallbackHeader        http.Header `json:"callbackHeader,omitempty"`
	FailureCallback       string      `json:"failureCallback,omitempty"`
	FailureCallbackHeader http.Header `json:"failureCallbackHeader,omitempty"`

	CallerIP     string `json:"callerIP,omitempty"`     // publisher's address
	URLGroup     string `json:"topicName,omitempty"`    // group it was published to
	EndpointName string `json:"endpointName,omitempty"` // its name within the group
	QueueName    string `json:"queueName,omitempty"`
	ScheduleID   string `json:"scheduleId,omitempty"`

	FlowControlKey string `json:"flowControlKey,omitempty"`
	Parallelism    int    `json:"parallelism,omitempty"`
	Rate           int    `json:"rate,omitempty"`
	Period         int    `json:"period,omitempty"` // seconds

	Label  string   `json:"label,omitempty"` // Labels[0]
	Labels []string `json:"labels,omitempty"`
}

// Bytes returns the message's body from whichever of Body and BodyBase64 holds
// it.
func (m *Message) Bytes() ([]byte, error) { return joinText(m.Body, m.BodyBase64) }

// SetBody fills Body, or BodyBase64 when b is not UTF-8.
func (m *Message) SetBody(b []byte) { m.Body, m.BodyBase64 = splitText(b) }

// CancelResponse answers a cancellation of messages or of workflow runs.
type CancelResponse struct {
	Cancelled int `json:"cancelled"` // how many were newly cancelled
}

// Message looks up a message. One that is delivered stays for a while;
// [ErrNotFound] after that (GET /v2/messages/{id}).
func (c *Client) Message(ctx context.Context, id string) (Message, error) {
	var out Message
	path, err := itemPath("/v2/messages/", id)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodGet, path: path, out: &out})
	}
	if err != nil {
		return Message{}, fmt.Errorf("get message: %w", err)
	}
	return out, nil
}

// CancelMessage cancels a message that is not delivered yet; an attempt under
// way is not stopped. [ErrNotFound] when the message is unknown or finished
// (DELETE /v2/messages/{id}).
func (c *Client) CancelMessage(ctx context.Context, id string) error {
	path, err := itemPath("/v2/messages/", id)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodDelete, path: path})
	}
	if err != nil {
		return fmt.Errorf("cancel message: %w", err)
	}
	return nil
}

// CancelRequest says which messages to cancel: exactly one of IDs, Filter and
// All is to be set.
type CancelRequest struct {
	IDs    []string // those that are unknown or finished do not count
	Filter Filter
	All    bool
	Count  int // with Filter or All, at most so many, 500 at most; default: no bound
}

// CancelMessages cancels many messages and returns how many it newly cancelled
// (DELETE /v2/messages). IDs that are given but empty cancel none.
func (c *Client) CancelMessages(ctx context.Context, r CancelRequest) (int, error) {
	cancelled, err := c.cancelMessages(ctx, r)
	if err != nil {
		return cancelled, fmt.Errorf("cancel messages: %w", err)
	}
	return cancelled, nil
}

func (c *Client) cancelMessages(ctx context.Context, r CancelRequest) (int, error) {
	q := r.Filter.query()
	if err := q.checkSelection(r.IDs, r.All); err != nil {
		return 0, err
	}
	if r.IDs != nil {
		return c.cancelIDs(ctx, "/v2/messages", "messageIds", r.IDs)
	}
	q.addPage("", r.Count, "")
	var out CancelResponse
	err := c.do(ctx, call{method: http.MethodDelete, path: "/v2/messages", query: q.Values, out: &out})
	return out.Cancelled, err
}

// cancelIDs cancels things by their ids, which go in the query: without the
// body of a DELETE, which a proxy may drop, the call would mean all.
func (c *Client) cancelIDs(ctx context.Context, path, key string, ids []string) (int, error) {
	cancelled := 0
	for chunk := range slices.Chunk(ids, maxIDs) {
		q := newQuery()
		q.add(key, chunk...)
		if q.err != nil {
			return cancelled, q.err
		}
		var out CancelResponse
		if err := c.do(ctx, call{method: http.MethodDelete, path: path, query: q.Values, out: &out}); err != nil {
			return cancelled, err
		}
		cancelled += out.Cancelled
	}
	return cancelled, nil
}

func splitText(b []byte) (text, encoded string) {
	if utf8.Valid(b) {
		return string(b), ""
	}
	return "", base64.StdEncoding.EncodeToString(b)
}

func joinText(text, encoded string) ([]byte, error) {
	if encoded == "" {
		return []byte(text), nil
	}
	b, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("decode base64 body: %w", err)
	}
	return b, nil
}

// some makes a nil slice an empty one, which JSON writes as [] and not null.
func some[E any](s []E) []E {
	if s == nil {
		return []E{}
	}
	return s
}
