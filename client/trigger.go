package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// TriggerResponse answers the start of a workflow run.
type TriggerResponse struct {
	WorkflowRunID string `json:"workflowRunId"`
	// WorkflowCreatedAt is in Unix milliseconds. [Client.Trigger] leaves it 0,
	// for the call it makes is not told.
	WorkflowCreatedAt int64 `json:"workflowCreatedAt"`
	// Deduplicated says that a run with this id was already under way, and
	// that no other was started.
	Deduplicated bool `json:"deduplicated,omitempty"`
	// MessageID is that of the run's first delivery, where the server tells it.
	MessageID string `json:"messageId,omitempty"`
}

// TriggerRequest starts a run of a workflow. Only URL is required.
type TriggerRequest struct {
	// URL of the workflow's endpoint, absolute, http or https.
	URL string
	// RunID names the run. While a run with this id is under way, no other is
	// started. Default: "wfr_" and 26 random characters.
	RunID string
	// Body is the run's initial payload; UTF-8. Default: none.
	Body []byte
	// Header is what the endpoint sees as the run's headers, on every call
	// and on the failure function's. Default: Content-Type application/json.
	Header http.Header

	Delay     time.Duration // before the first call; default: none
	NotBefore time.Time     // of the first call; wins over Delay; default: at once
	// Retries of every call of the endpoint; new(0) for none. Default: the
	// server's, which is 3.
	Retries *int
	// RetryDelay is an expression for the milliseconds before each retry, as
	// of [PublishRequest]. Default: the server's backoff.
	RetryDelay string
	// FlowControl bounds how fast the endpoint is called for the runs of a key,
	// and how many times at once. Default: unbounded.
	FlowControl *FlowControl
	// FailureURL is called when the run has failed. Default: URL, where the
	// endpoint's failure function answers.
	FailureURL string
	// Labels to find the run by; letters, digits, "_", "." and "-". Default:
	// none.
	Labels []string
	// Redact lists what is never shown of the run, as of [PublishRequest]:
	// "body" is its payload, its result and what its steps return.
	Redact []string
	// Hop, as of [PublishRequest]; a run's own calls do not count.
	Hop string
}

// Trigger starts a run. It is safe to call again, or to be sent again, with
// the same RunID: as long as the run is under way, the second call finds it and
// says Deduplicated.
//
// It makes the call that the official clients make, POST /v2/batch, and not
// POST /v2/trigger, so that it works with every server of the protocol.
func (c *Client) Trigger(ctx context.Context, r TriggerRequest) (TriggerResponse, error) {
	out, err := c.TriggerBatch(ctx, []TriggerRequest{r})
	if err != nil {
		return TriggerResponse{}, err
	}
	return out[0], nil
}

// TriggerJSON is [Client.Trigger] with v, encoded, in place of r.Body.
func (c *Client) TriggerJSON(ctx context.Context, r TriggerRequest, v any) (TriggerResponse, error) {
	var err error
	if r.Body, r.Header, err = encodeJSON(v, r.Header); err != nil {
		return TriggerResponse{}, fmt.Errorf("trigger workflow: %w", err)
	}
	return c.Trigger(ctx, r)
}

// TriggerBatch starts many runs in one call; the answers are in the order of
// rs. One malformed request fails them all.
func (c *Client) TriggerBatch(ctx context.Context, rs []TriggerRequest) ([]TriggerResponse, error) {
	items := make([]BatchItem, len(rs))
	out := make([]TriggerResponse, len(rs))
	for i, r := range rs {
		r.RunID = cmp.Or(r.RunID, "wfr_"+rand.Text())
		item, err := r.Item()
		if err != nil {
			return nil, fmt.Errorf("trigger workflow: item %d: %w", i, err)
		}
		items[i], out[i].WorkflowRunID = item, r.RunID
	}
	answers, err := c.BatchItems(ctx, items)
	if err != nil {
		return nil, fmt.Errorf("trigger workflow: %w", err)
	}
	for i, a := range answers {
		out[i].MessageID, out[i].Deduplicated = a.MessageID, a.Deduplicated
	}
	return out, nil
}

// protocolVersion is what the workflow headers are in.
const protocolVersion = "1"

var featureSet = strings.Join([]string{
	wire.FeatureLazy, wire.FeatureInitialBody, wire.FeatureDetectTrigger, wire.FeatureTriggerOnConfig,
}, ",")

// Item spells r in headers: those of a message, those that make it the start
// of a run, and those of the run's failure callback. It is for those who start
// runs in ways of their own; r.RunID is required.
func (r *TriggerRequest) Item() (BatchItem, error) {
	failure := Callback{URL: cmp.Or(r.FailureURL, r.URL), Header: r.Header.Clone(), Retries: r.Retries, RetryDelay: r.RetryDelay, FlowControl: r.FlowControl}
	failure.Header.Del("Content-Type") // the callback's body is JSON whatever the payload is
	publish := PublishRequest{
		URL: r.URL, Method: http.MethodPost, Body: r.Body, Header: r.Header,
		Delay: r.Delay, NotBefore: r.NotBefore, Retries: r.Retries, RetryDelay: r.RetryDelay,
		FlowControl: r.FlowControl, FailureCallback: &failure, Labels: r.Labels, Redact: r.Redact, Hop: r.Hop,
	}
	item, err := publish.item()
	if err != nil {
		return BatchItem{}, err
	}
	h := item.Header
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	r.writeRun(h, wire.PrefixUpstash, item.Destination)
	h.Set(wire.HeaderWorkflowInit, "true")
	h.Set(wire.HeaderWorkflowSDKVersion, protocolVersion)
	h.Set(wire.PrefixForward+wire.HeaderWorkflowSDKVersion, protocolVersion)

	r.writeRun(h, wire.PrefixFailureCallback, item.Destination)
	set := func(header, value string) {
		h.Set(wire.PrefixFailureCallback+strings.TrimPrefix(header, wire.PrefixUpstash), value)
	}
	set(wire.HeaderWorkflowInit, "false")
	set(wire.HeaderWorkflowCallType, string(wire.CallFailure))
	set(wire.PrefixForward+wire.HeaderWorkflowIsFailure, "true")
	set(wire.PrefixForward+wire.HeaderWorkflowFailureCB, "true")
	return item, checkHeader(h)
}

// writeRun writes what the start of a run and its failure callback both say of
// it.
func (r *TriggerRequest) writeRun(h http.Header, prefix, destination string) {
	set := func(header, value string) { h.Set(prefix+strings.TrimPrefix(header, wire.PrefixUpstash), value) }
	set(wire.HeaderWorkflowRunID, r.RunID)
	set(wire.HeaderWorkflowURL, destination)
	set(wire.HeaderFeatureSet, featureSet)
	if labels := h.Get(wire.HeaderLabel); labels != "" {
		set(wire.PrefixForward+wire.HeaderLabel, labels)
	}
}
