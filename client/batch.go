package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

// BatchItem is one message of a batch in the API's own terms: where it goes,
// and the Upstash-* headers that say how. [PublishRequest] is the friendlier
// form; this one is for what it does not know, such as the steps of a workflow.
type BatchItem struct {
	// Destination is a URL, the name of a URL group, or api/llm.
	Destination string
	// Header is sent as it is. In a batch, the values of a header are joined
	// with ", ".
	Header http.Header
	// Body must be UTF-8 in a batch. Nil: none.
	Body []byte
	// Queue to go through. Default: none.
	Queue string
}

// Batch publishes many requests in one call (POST /v2/batch); bodies must be
// UTF-8. The answers are in the order of rs; that of a request to a URL group
// has [PublishResponse.Endpoints].
//
// A malformed request fails the whole batch, and nothing is stored. A server
// may also turn down single requests: then Batch returns all answers, those
// with [PublishResponse.Error] set among them, and an error naming the first.
func (c *Client) Batch(ctx context.Context, rs []PublishRequest) ([]PublishResponse, error) {
	items := make([]BatchItem, len(rs))
	for i := range rs {
		var err error
		if items[i], err = rs[i].item(); err != nil {
			return nil, fmt.Errorf("publish batch: item %d: %w", i, err)
		}
	}
	return c.BatchItems(ctx, items)
}

// BatchItems is [Client.Batch] for items as they stand. Without items it does
// nothing.
func (c *Client) BatchItems(ctx context.Context, items []BatchItem) ([]PublishResponse, error) {
	if len(items) == 0 {
		return nil, nil
	}
	body, err := encodeBatch(items)
	if err != nil {
		return nil, fmt.Errorf("publish batch: %w", err)
	}
	var out batchAnswers
	err = c.do(ctx, call{
		method: http.MethodPost,
		path:   "/v2/batch",
		header: http.Header{"Content-Type": {"application/json"}},
		body:   body,
		out:    &out,
	})
	if err == nil && len(out) != len(items) {
		err = fmt.Errorf("server answered %d of %d items", len(out), len(items))
	}
	if err != nil {
		return nil, fmt.Errorf("publish batch: %w", err)
	}
	for i := range out {
		if refusal := out[i].refusal(); refusal != "" {
			return out, fmt.Errorf("publish batch: item %d: %s", i, refusal)
		}
	}
	return out, nil
}

// refusal is why an item, or the first of a group's endpoints, was not accepted.
func (p *PublishResponse) refusal() string {
	refusal := p.Error
	for i := range p.Endpoints {
		refusal = cmp.Or(refusal, p.Endpoints[i].Error)
	}
	return refusal
}

func encodeBatch(items []BatchItem) ([]byte, error) {
	type item struct {
		Destination string            `json:"destination"`
		Headers     map[string]string `json:"headers"`
		Body        *string           `json:"body,omitempty"`
		Queue       string            `json:"queue,omitempty"`
	}
	out := make([]item, len(items))
	for i, b := range items {
		out[i] = item{Destination: b.Destination, Headers: map[string]string{}, Queue: b.Queue}
		for name, values := range b.Header {
			out[i].Headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
		if !utf8.Valid(b.Body) {
			return nil, fmt.Errorf("item %d: body is not UTF-8, which a batch cannot carry", i)
		}
		if b.Body != nil {
			out[i].Body = new(string(b.Body))
		}
	}
	return json.Marshal(out)
}

// batchAnswers is an array, or the object that some servers answer to a batch
// of one.
type batchAnswers []PublishResponse

func (a *batchAnswers) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		*a = make(batchAnswers, 1)
		return json.Unmarshal(b, &(*a)[0])
	}
	return json.Unmarshal(b, (*[]PublishResponse)(a))
}
