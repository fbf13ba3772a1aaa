package workflow

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

// defaultWait is how long steps wait for events if they are not told.
const defaultWait = 7 * 24 * time.Hour

// Event is what came of waiting for one.
type Event[T any] struct {
	Data     T    // what it was told with; zero if it did not come
	TimedOut bool // the time was up first
}

// WaitForEvent is the step of waiting until somebody tells of the event:
// [Context.Notify], [Context.NotifyRun], [client.Client.Notify] or a request to
// the server. Nothing of the endpoint runs meanwhile. After timeout, rounded up
// to whole seconds, it waits no longer; 0 is 7 days.
//
// The event's data is decoded as JSON into T. A string is a JSON string, and
// anything else as the text it is; a []byte is the data as it came; for an any,
// data that is no JSON is text; for struct{} it is ignored. Data that does not
// fit fails the call, which is tried again: code that knows it may be deployed.
//
// An event that is told to all who wait for it (Notify) is missed by runs that do
// not wait yet; one that is told to a run (NotifyRun) is kept for it. The error
// is that of an earlier step that failed.
//
//	paid, err := workflow.WaitForEvent[Payment](ctx, "wait for payment", "paid-"+in.OrderID, 24*time.Hour)
func WaitForEvent[T any](ctx *Context, name, eventID string, timeout time.Duration) (Event[T], error) {
	return WaitForEventAsync[T](ctx, name, eventID, timeout).Get()
}

// WaitForEventAsync is [WaitForEvent] in parallel to other steps: see [Future].
func WaitForEventAsync[T any](ctx *Context, name, eventID string, timeout time.Duration) *Future[Event[T]] {
	return &Future[Event[T]]{decode: decodeEvent[T], task: ctx.use(waiting(name, wire.StepWait, eventID, timeout))}
}

func decodeEvent[T any](s wire.Step) (Event[T], error) {
	e := Event[T]{TimedOut: s.WaitTimeout}
	if s.Out == nil || *s.Out == "" {
		return e, nil
	}
	data, err := base64.StdEncoding.DecodeString(*s.Out)
	if err != nil {
		return e, err
	}
	text := string(data)
	switch to := any(&e.Data).(type) {
	case *[]byte:
		*to = data
	case *string: // which Notify sends as it stands, be it "7" or "null"
		var quoted *string
		if *to = text; json.Unmarshal(data, &quoted) == nil && quoted != nil {
			*to = *quoted
		}
	default:
		e.Data, err = decodeOut[T](wire.Step{Out: &text})
	}
	return e, err
}

// waiting is a task whose result the server writes: when the event comes, or the
// time is up.
func waiting(name string, kind wire.StepType, eventID string, timeout time.Duration) *task {
	if timeout == 0 {
		timeout = defaultWait
	}
	return &task{
		name: name,
		kind: kind,
		plan: func(s *wire.Step, _ http.Header) {
			s.WaitEventID, s.Timeout = eventID, secondsOf(wholeSeconds(timeout))
		},
		do: func(x *execution, place, concurrent int) (report, error) {
			if eventID == "" || timeout < 0 {
				return nil, NonRetryable(fmt.Errorf("wait: expected the id of an event, and a time that is not negative, got %q and %v", eventID, timeout))
			}
			r := client.WaitRequest{
				URL: x.run.url, Timeout: strconv.FormatInt(wholeSeconds(timeout), 10) + "s", TimeoutURL: x.run.url,
				Step:   client.WaitStep{StepID: place, StepType: string(kind), StepName: name, Concurrent: concurrent},
				Header: x.run.deliveredHeader(),
			}
			r.Header.Del(wire.HeaderMethod)
			r.Header.Set(wire.HeaderWorkflowCallType, string(wire.CallStep))
			r.TimeoutHeaders = r.Header
			return func(ctx context.Context, c *client.Client) error { return c.Wait(ctx, eventID, r) }, nil
		},
	}
}

// Notify is the step of telling all runs that wait for an event. A string or
// []byte is the event's data as it stands, nil is none, anything else is sent as
// JSON. The result is whom it was told; none if nobody waits: then the event is
// gone. The error is about a server that can't be told, or that refuses the
// event, which does not pass with a retry; or it is that of an earlier step that
// failed.
func (c *Context) Notify(name, eventID string, data any) ([]client.NotifyResponse, error) {
	return c.NotifyAsync(name, eventID, data).Get()
}

// NotifyAsync is [Context.Notify] in parallel to other steps: see [Future].
func (c *Context) NotifyAsync(name, eventID string, data any) *Future[[]client.NotifyResponse] {
	return c.notify(name, eventID, data, func(ctx context.Context, to *client.Client, body []byte) ([]client.NotifyResponse, error) {
		return to.Notify(ctx, eventID, body)
	})
}

// NotifyRun is [Context.Notify] for one run. If that does not wait for the event
// yet, it is kept until it does. A run that has ended, or never was, can't be
// told: the error is final, and this run fails with it. One that may go on
// nonetheless calls [client.Client.NotifyRun] in a [Run].
func (c *Context) NotifyRun(name, runID, eventID string, data any) ([]client.NotifyResponse, error) {
	return c.NotifyRunAsync(name, runID, eventID, data).Get()
}

// NotifyRunAsync is [Context.NotifyRun] in parallel to other steps: see [Future].
func (c *Context) NotifyRunAsync(name, runID, eventID string, data any) *Future[[]client.NotifyResponse] {
	return c.notify(name, eventID, data, func(ctx context.Context, to *client.Client, body []byte) ([]client.NotifyResponse, error) {
		told, err := to.NotifyRun(ctx, runID, eventID, body)
		return []client.NotifyResponse{told}, err
	})
}

// notifyOut is the result of a notification as the log has it.
type notifyOut struct {
	EventID   string                  `json:"eventId"`
	EventData json.RawMessage         `json:"eventData,omitempty"`
	Responses []client.NotifyResponse `json:"notifyResponse"`
}

type teller func(ctx context.Context, to *client.Client, body []byte) ([]client.NotifyResponse, error)

func (c *Context) notify(name, eventID string, data any, tell teller) *Future[[]client.NotifyResponse] {
	body, shown, unfit := eventData(data)
	t := local(name, wire.StepNotify, func(x *execution) (any, error) {
		if unfit != nil {
			return nil, NonRetryable(fmt.Errorf("notify: encode data: %w", unfit))
		}
		told, err := tell(x.stepCtx, x.client, body)
		if err != nil {
			return nil, refusedForGood(err)
		}
		if told == nil {
			told = []client.NotifyResponse{}
		}
		return notifyOut{eventID, shown, told}, nil
	})
	return &Future[[]client.NotifyResponse]{task: c.use(t), decode: func(s wire.Step) ([]client.NotifyResponse, error) {
		out, err := decodeOut[notifyOut](s)
		return out.Responses, err
	}}
}

// eventData is data as it is sent, and as the run's log has it: a value of JSON.
func eventData(data any) (body []byte, shown json.RawMessage, err error) {
	switch data := data.(type) {
	case nil:
		return nil, nil, nil
	case []byte:
		body = bytes.Clone(data)
	case string:
		body = []byte(data)
	default:
		body, err = encodeJSON(data)
		return body, body, err
	}
	shown, err = encodeJSON(string(body))
	return body, shown, err
}

// Webhook is an address that one event of a run comes to.
type Webhook struct {
	URL     string `json:"webhookUrl"` // whoever knows it can call it; nobody guesses it
	EventID string `json:"eventId"`    // what the run waits for, in the server's words
}

// CreateWebhook is the step of making an address for [Context.WaitForWebhook].
// Give it to whoever is to call it, with any method and body. Calls that come
// before the run waits are kept, and given out in their order. The error is about
// a token that does not name its user, as those of Signpost and of Upstash do.
func (c *Context) CreateWebhook(name string) (Webhook, error) {
	return c.CreateWebhookAsync(name).Get()
}

// CreateWebhookAsync is [Context.CreateWebhook] in parallel to other steps: see
// [Future].
func (c *Context) CreateWebhookAsync(name string) *Future[Webhook] {
	return &Future[Webhook]{decode: decodeValue[Webhook], task: c.use(local(name, wire.StepCreateWebhook, func(x *execution) (any, error) {
		hook := Webhook{EventID: "evt_" + rand.Text()} // 130 bits
		var err error
		if hook.URL, err = x.client.WebhookURL(x.run.id, hook.EventID); err != nil {
			return nil, NonRetryable(err)
		}
		return hook, nil
	}))}
}

// WebhookCall is a request to a [Webhook].
type WebhookCall struct {
	Method   string      // GET, POST, …
	URL      string      // absolute, with its query
	Header   http.Header // as it came
	Body     []byte      // as it came
	TimedOut bool        // nobody called in time; then the rest is empty
}

// WaitForWebhook is the step of waiting for the next call of a webhook that this
// run has made. Nothing of the endpoint runs meanwhile. After timeout, rounded up
// to whole seconds, it waits no longer; 0 is 7 days. Anybody who knows the
// address may have called: check what came. The error is that of an earlier step
// that failed.
func (c *Context) WaitForWebhook(name string, hook Webhook, timeout time.Duration) (WebhookCall, error) {
	return c.WaitForWebhookAsync(name, hook, timeout).Get()
}

// WaitForWebhookAsync is [Context.WaitForWebhook] in parallel to other steps: see
// [Future].
func (c *Context) WaitForWebhookAsync(name string, hook Webhook, timeout time.Duration) *Future[WebhookCall] {
	return &Future[WebhookCall]{decode: decodeWebhook, task: c.use(waiting(name, wire.StepWaitForWebhook, hook.EventID, timeout))}
}

func decodeWebhook(s wire.Step) (WebhookCall, error) {
	if s.Out == nil || *s.Out == "" {
		return WebhookCall{TimedOut: true}, nil
	}
	var call struct {
		Method, Proto, Host, URL string
		Header                   http.Header
		Body                     []byte
	}
	text, err := base64.StdEncoding.DecodeString(*s.Out)
	if err == nil {
		err = json.Unmarshal(text, &call)
	}
	return WebhookCall{Method: call.Method, URL: call.Proto + "://" + call.Host + call.URL, Header: call.Header, Body: call.Body}, err
}

// decodeValue is decodeOut for results that are always there.
func decodeValue[T any](s wire.Step) (T, error) {
	if s.Out == nil {
		var none T
		return none, errors.New("it has no value")
	}
	return decodeOut[T](s)
}
