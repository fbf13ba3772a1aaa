package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// PublishRequest is a request that the server is to deliver, and how. Only the
// destination is required: one of URL, URLGroup and LLM.
type PublishRequest struct {
	// URL is the destination, absolute, http or https. It is sent byte for
	// byte, less a #fragment; what is not ASCII must be percent-encoded.
	URL string
	// URLGroup is the name of a group of endpoints. Each gets a message of its
	// own.
	URLGroup string
	// LLM sends the request to the OpenAI-compatible service that the server has
	// been set up with. It needs a Callback, which gets the answer.
	LLM bool

	// Queue to go through, which is made if there is none; 1 to 256 letters,
	// digits, "_", "." and "-". Default: none, and messages overtake each other.
	Queue string
	// FlowControl bounds how fast messages are delivered. Default: unbounded.
	FlowControl *FlowControl

	// Method of the delivery: GET, POST, PUT, PATCH or DELETE. Default: POST.
	Method string
	// Body of the delivery. Default: none.
	Body []byte
	// Header is what the delivery carries beside the server's own headers.
	// Default: none.
	Header http.Header

	// Delay before the first attempt. Fractions of a second are sent as they
	// are; Upstash's cloud documents whole seconds. Default: none.
	Delay time.Duration
	// NotBefore is when the first attempt is due, rounded up to a second; it
	// wins over Delay. Default: at once.
	NotBefore time.Time
	// Retries after the first attempt; new(0) for none. Default: the
	// server's, which is 3.
	Retries *int
	// RetryDelay is an expression for the milliseconds before each retry, such
	// as "1000 * (1 + retried)". Default: the server's backoff, from 12
	// seconds to a day.
	RetryDelay string
	// Timeout of each attempt. Default: the server's limit.
	Timeout time.Duration

	// Callback is called with the outcome of every attempt. Default: none.
	Callback *Callback
	// FailureCallback is called once, when the message has failed for good.
	// Default: none.
	FailureCallback *Callback

	// Labels to find the message by; letters, digits, "_", "." and "-".
	// Default: none.
	Labels []string
	// DeduplicationID makes the server accept the message once: another with
	// the same id, within the server's window of ten minutes, is answered with
	// the first one's id. It has no ":". Default: none.
	DeduplicationID string
	// ContentBasedDeduplication makes such an id of the destination, the body
	// and the headers. Default: false.
	ContentBasedDeduplication bool

	// Redact lists what is never shown of the message, nor of its callbacks,
	// but as a hash: "body", "header" for all headers, "header[Name]" for one.
	// Deliveries and retries have it all the same. Default: nothing.
	Redact []string
	// Hop is the Upstash-Hop header of the delivery that this is published in
	// answer to. With it, messages that cause each other without end are
	// stopped at the sixteenth. Default: in answer to none.
	Hop string
	// SignWith are the signatures that deliveries carry beside the standard one
	// and those of [Settings.SignWith]. Default: none.
	SignWith []string
}

// Callback is a URL that is told about an outcome, in a message of its own.
// Only URL is required.
type Callback struct {
	URL         string        // absolute, http or https
	Method      string        // default: POST
	Header      http.Header   // carried by the callback; default: none
	Delay       time.Duration // default: none
	Retries     *int          // default: those of the message it is about
	RetryDelay  string        // as of PublishRequest; default: the server's backoff
	Timeout     time.Duration // of each attempt; default: the server's limit
	FlowControl *FlowControl  // default: unbounded
}

// PublishResponse answers a publish, and each item of a batch.
type PublishResponse struct {
	MessageID    string `json:"messageId,omitempty"` // empty only when Error or ScheduleID is not
	URL          string `json:"url,omitempty"`
	Deduplicated bool   `json:"deduplicated,omitempty"` // MessageID is that of an earlier message
	Error        string `json:"error,omitempty"`        // why this item of a batch was not accepted
	ScheduleID   string `json:"scheduleId,omitempty"`   // of the schedule that was made, as it had an Upstash-Cron

	// Endpoints are the answers for each endpoint of a URL group, in its order;
	// then the fields above are empty. In JSON they are the whole answer, an
	// array. Nil: it was not published to a group.
	Endpoints []PublishResponse `json:"-"`
}

type plainPublishResponse PublishResponse

// MarshalJSON writes an object, or an array for a URL group.
func (p PublishResponse) MarshalJSON() ([]byte, error) {
	if p.Endpoints != nil {
		return json.Marshal(p.Endpoints)
	}
	return json.Marshal(plainPublishResponse(p))
}

// UnmarshalJSON reads either.
func (p *PublishResponse) UnmarshalJSON(b []byte) error {
	*p = PublishResponse{}
	if len(b) > 0 && b[0] == '[' {
		p.Endpoints = []PublishResponse{}
		return json.Unmarshal(b, &p.Endpoints)
	}
	return json.Unmarshal(b, (*plainPublishResponse)(p))
}

// Publish hands r to the server, which has stored it when Publish returns
// (POST /v2/publish/{destination}, or POST /v2/enqueue/{queue}/{destination}).
// [ErrNotFound] when there is no such URL group, [ErrPrecondition] and
// [ErrTooLarge] when it is more than the server allows.
func (c *Client) Publish(ctx context.Context, r PublishRequest) (PublishResponse, error) {
	item, err := r.item()
	if err != nil {
		return PublishResponse{}, fmt.Errorf("publish: %w", err)
	}
	return c.PublishItem(ctx, item)
}

// PublishJSON is [Client.Publish] with v, encoded, in place of r.Body, and
// Content-Type application/json unless r.Header has another.
func (c *Client) PublishJSON(ctx context.Context, r PublishRequest, v any) (PublishResponse, error) {
	var err error
	if r.Body, r.Header, err = encodeJSON(v, r.Header); err != nil {
		return PublishResponse{}, fmt.Errorf("publish: %w", err)
	}
	return c.Publish(ctx, r)
}

// PublishItem publishes one item as it stands.
func (c *Client) PublishItem(ctx context.Context, item BatchItem) (PublishResponse, error) {
	var out PublishResponse
	path, err := item.path()
	if err == nil {
		err = c.do(ctx, call{method: http.MethodPost, path: path, header: item.Header, body: item.Body, out: &out})
	}
	if err != nil {
		return PublishResponse{}, fmt.Errorf("publish: %w", err)
	}
	return out, nil
}

func (b *BatchItem) path() (string, error) {
	destination := b.Destination
	var err error
	if destination != wire.LLMDestination && wire.CheckName(destination) != nil {
		destination, err = checkDestination(destination)
	}
	if err != nil || b.Queue == "" {
		return "/v2/publish/" + destination, err
	}
	queue, err := namePath("/v2/enqueue/", b.Queue)
	return queue + "/" + destination, err
}

func encodeJSON(v any, h http.Header) ([]byte, http.Header, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, nil, fmt.Errorf("encode body: %w", err)
	}
	if h = someHeader(h.Clone()); h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	return body, h, nil
}

// item spells r in headers.
func (r *PublishRequest) item() (BatchItem, error) {
	destination, err := r.destination()
	if err != nil {
		return BatchItem{}, err
	}
	if r.Queue != "" {
		if err := wire.CheckName(r.Queue); err != nil {
			return BatchItem{}, wire.Within("queue", err)
		}
	}
	h, err := r.settings()
	return BatchItem{Destination: destination, Header: h, Body: r.Body, Queue: r.Queue}, err
}

// destination is where r goes, as the server's paths have it.
func (r *PublishRequest) destination() (string, error) {
	switch isURL, isGroup := r.URL != "", r.URLGroup != ""; {
	case isURL && isGroup || isURL && r.LLM || isGroup && r.LLM:
		return "", errors.New("destination: want only one of URL, URLGroup and LLM")
	case isGroup:
		return r.URLGroup, wire.Within("url group", wire.CheckName(r.URLGroup))
	case r.LLM:
		return wire.LLMDestination, nil
	}
	return checkDestination(r.URL)
}

// settings are the headers that say how to deliver r.
func (r *PublishRequest) settings() (http.Header, error) {
	h := http.Header{}
	err := errors.Join(
		settings{r.Method, r.Header, r.Delay, r.Retries, r.RetryDelay, r.Timeout, r.FlowControl}.write(h, wire.PrefixUpstash),
		r.Callback.write(h, wire.HeaderCallback),
		r.FailureCallback.write(h, wire.HeaderFailureCallback),
		writeLabels(h, wire.HeaderLabel, r.Labels),
	)
	if err != nil {
		return nil, err
	}
	writeNotBefore(h, r.NotBefore)
	if len(r.SignWith) > 0 {
		h.Set(wire.HeaderSignWith, strings.Join(r.SignWith, ","))
	}
	if r.DeduplicationID != "" {
		h.Set(wire.HeaderDeduplicationID, r.DeduplicationID)
	}
	if r.ContentBasedDeduplication {
		h.Set(wire.HeaderContentDedup, "true")
	}
	if len(r.Redact) > 0 {
		h.Set(wire.HeaderRedactFields, strings.Join(r.Redact, ","))
	}
	if r.Hop != "" {
		h.Set(wire.HeaderHop, r.Hop)
	}
	return h, nil
}

func (cb *Callback) write(h http.Header, header string) error {
	if cb == nil {
		return nil
	}
	destination, err := checkDestination(cb.URL)
	if err == nil {
		h.Set(header, destination)
		err = settings{cb.Method, cb.Header, cb.Delay, cb.Retries, cb.RetryDelay, cb.Timeout, cb.FlowControl}.write(h, header+"-")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", header, err)
	}
	return nil
}

// settings are what a message and a callback both have.
type settings struct {
	method      string
	header      http.Header
	delay       time.Duration
	retries     *int
	retryDelay  string
	timeout     time.Duration
	flowControl *FlowControl
}

func (s settings) write(h http.Header, prefix string) error {
	if s.delay < 0 || s.timeout < 0 || s.retries != nil && *s.retries < 0 {
		return errors.New("delay, timeout and retries cannot be negative")
	}
	set := func(header, value string) { h.Set(prefix+strings.TrimPrefix(header, wire.PrefixUpstash), value) }
	if s.method != "" {
		set(wire.HeaderMethod, s.method)
	}
	if s.delay > 0 {
		set(wire.HeaderDelay, formatSeconds(s.delay))
	}
	if s.retries != nil {
		set(wire.HeaderRetries, strconv.Itoa(*s.retries))
	}
	if s.retryDelay != "" {
		set(wire.HeaderRetryDelay, s.retryDelay)
	}
	if s.timeout > 0 {
		set(wire.HeaderTimeout, formatSeconds(s.timeout))
	}
	if f := s.flowControl; f != nil {
		value, err := f.value()
		if err != nil {
			return err
		}
		set(wire.HeaderFlowControlKey, f.Key)
		set(wire.HeaderFlowControlValue, value)
	}
	for name, values := range s.header {
		forwarded := forwardedName(prefix, name)
		for _, v := range values {
			h.Add(forwarded, v)
		}
	}
	return nil
}

// forwardedName is the header under which a message or a callback carries the
// user's header name. A message's Content-Type goes by its own name.
func forwardedName(prefix, name string) string {
	if prefix == wire.PrefixUpstash && textproto.CanonicalMIMEHeaderKey(name) == "Content-Type" {
		return "Content-Type"
	}
	return prefix + strings.TrimPrefix(wire.PrefixForward, wire.PrefixUpstash) + name
}

func formatSeconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}

func writeNotBefore(h http.Header, t time.Time) {
	if !t.IsZero() {
		h.Set(wire.HeaderNotBefore, strconv.FormatInt(t.Add(time.Second-1).Unix(), 10))
	}
}

func writeLabels(h http.Header, header string, labels []string) error {
	for _, l := range labels {
		if l == "" || strings.Contains(l, ",") {
			return fmt.Errorf("label %q: want letters, digits, \"_\", \".\" and \"-\"", l)
		}
	}
	if len(labels) > 0 {
		h.Set(header, strings.Join(labels, ","))
	}
	return nil
}

// checkDestination refuses what would not reach the server as it is written,
// and drops the fragment, which HTTP never sends. A URL may have secrets in it:
// the error does not echo it.
func checkDestination(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("parse destination: " + wire.URLReason(err))
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", errors.New("destination: want an absolute url, http:// or https://")
	}
	raw, _, _ = strings.Cut(raw, "#")
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", errors.New("destination: percent-encode its spaces and what is not ASCII")
	}
	return raw, nil
}
