package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
)

// EventState is what happened to a message.
type EventState string

const (
	EventCreated         EventState = "CREATED"          // accepted
	EventActive          EventState = "ACTIVE"           // an attempt began
	EventRetry           EventState = "RETRY"            // another attempt is due at NextDeliveryTime
	EventError           EventState = "ERROR"            // an attempt failed
	EventDelivered       EventState = "DELIVERED"        // final: a 2xx came back
	EventFailed          EventState = "FAILED"           // final: in the dead-letter queue
	EventCancelRequested EventState = "CANCEL_REQUESTED" // no attempt will follow
	EventCanceled        EventState = "CANCELED"         // final

	// EventInProgress stands for ACTIVE, RETRY and ERROR in a filter; no event
	// has it.
	EventInProgress EventState = "IN_PROGRESS"
)

// Event is an entry of the message log.
//
// Its JSON says responseHeaders also as responseHeader, and
// retryDelayExpression also as retryDelayExpr, since clients in the field
// disagree on both; either is read.
type Event struct {
	Time      int64      `json:"time"` // Unix milliseconds
	State     EventState `json:"state"`
	MessageID string     `json:"messageId"`
	URL       string     `json:"url"`

	Method string      `json:"method,omitempty"`
	Header http.Header `json:"header,omitempty"`
	// Body is base64 (standard alphabet, padded), whatever the bytes, or the
	// literal REDACTED:… of a redacted message, which [Event.Bytes] cannot
	// decode.
	Body string `json:"body,omitempty"`

	MaxRetries           int    `json:"maxRetries"`
	RetryDelayExpression string `json:"retryDelayExpression,omitempty"`
	Timeout              int64  `json:"timeout,omitempty"`          // of an attempt, milliseconds
	NextDeliveryTime     int64  `json:"nextDeliveryTime,omitempty"` // Unix milliseconds

	Error          string      `json:"error,omitempty"`          // why the attempt failed
	ResponseStatus int         `json:"responseStatus,omitempty"` // 0: there was no response
	ResponseHeader http.Header `json:"responseHeaders,omitempty"`
	ResponseBody   string      `json:"responseBody,omitempty"` // base64, as Body

	Callback              string      `json:"callback,omitempty"`
	CallbackHeader        http.Header `json:"callbackHeaders,omitempty"`
	FailureCallback       string      `json:"failureCallback,omitempty"`
	FailureCallbackHeader http.Header `json:"failureCallbackHeaders,omitempty"`

	URLGroup     string `json:"topicName,omitempty"`
	EndpointName string `json:"endpointName,omitempty"`
	QueueName    string `json:"queueName,omitempty"`
	ScheduleID   string `json:"scheduleId,omitempty"`

	FlowControlKey string `json:"flowControlKey,omitempty"`
	Parallelism    int    `json:"parallelism,omitempty"`
	Rate           int    `json:"rate,omitempty"`
	Period         int    `json:"period,omitempty"` // seconds

	Label  string   `json:"label,omitempty"` // Labels[0]
	Labels []string `json:"labels,omitempty"`

	// Of an event of a workflow run, as [Client.RunEvents] lists it: the run, and
	// the entry of its log that the message is. Body is that entry: the payload, a
	// step as JSON, or what a call sent or got.
	WorkflowRunID     string `json:"workflowRunId,omitempty"`
	WorkflowURL       string `json:"workflowUrl,omitempty"`
	WorkflowCreatedAt int64  `json:"workflowCreatedAt,omitempty"` // Unix milliseconds
	CallType          string `json:"callType,omitempty"`          // step, toCallback, fromCallback, failureCall
	StepID            int    `json:"stepId,omitempty"`            // from 1; plans and the initial step have none
	StepName          string `json:"stepName,omitempty"`
	StepType          string `json:"stepType,omitempty"`   // Initial, Run, SleepFor, SleepUntil, Call, …
	Concurrent        int    `json:"concurrent,omitempty"` // steps of the parallel group; 1: the step is by itself
	TargetStep        int    `json:"targetStep,omitempty"` // of a plan: the step it is for
}

// Bytes returns the message's body.
func (e *Event) Bytes() ([]byte, error) { return joinText("", e.Body) }

// SetBody fills Body.
func (e *Event) SetBody(b []byte) { e.Body = base64.StdEncoding.EncodeToString(b) }

// ResponseBytes returns the response's body.
func (e *Event) ResponseBytes() ([]byte, error) { return joinText("", e.ResponseBody) }

// SetResponseBody fills ResponseBody.
func (e *Event) SetResponseBody(b []byte) { e.ResponseBody = base64.StdEncoding.EncodeToString(b) }

type (
	plainEvent Event
	// twinEvent has the second spelling of the two disputed keys.
	twinEvent struct {
		plainEvent
		ResponseHeaderTwin http.Header `json:"responseHeader,omitempty"`
		RetryDelayTwin     string      `json:"retryDelayExpr,omitempty"`
	}
)

func (e *Event) twin() twinEvent {
	return twinEvent{plainEvent(*e), e.ResponseHeader, e.RetryDelayExpression}
}

// MarshalJSON writes the two disputed keys in both spellings.
func (e Event) MarshalJSON() ([]byte, error) { return json.Marshal(e.twin()) }

// UnmarshalJSON reads the two disputed keys in either spelling.
func (e *Event) UnmarshalJSON(b []byte) error {
	var t twinEvent
	if err := json.Unmarshal(b, &t); err != nil {
		return err
	}
	*e = Event(t.plainEvent)
	if e.ResponseHeader == nil {
		e.ResponseHeader = t.ResponseHeaderTwin
	}
	if e.RetryDelayExpression == "" {
		e.RetryDelayExpression = t.RetryDelayTwin
	}
	return nil
}

// EventsPage is a page of the message log, newest first unless asked
// otherwise.
type EventsPage struct {
	Events []Event `json:"events"`
	Cursor string  `json:"cursor,omitempty"` // "": this is the last page
}

// MarshalJSON writes events as an array even when there is none.
func (p EventsPage) MarshalJSON() ([]byte, error) {
	page := struct {
		Events []twinEvent `json:"events"`
		Cursor string      `json:"cursor,omitempty"`
	}{make([]twinEvent, len(p.Events)), p.Cursor}
	for i := range p.Events {
		page.Events[i] = p.Events[i].twin() // not by its MarshalJSON, whose JSON would be looked through again
	}
	return json.Marshal(page)
}

// EventsRequest says which events to list. The zero value lists all, newest
// first.
type EventsRequest struct {
	MessageIDs []string
	States     []EventState // any of them; [EventInProgress] stands for three
	Filter     Filter       // its times are those of the events
	Order      Order        // default: NewestFirst
	Cursor     string       // of the page before; default: from the start
	Count      int          // of a page, 1000 at most; default: the server's
}

// Events lists one page of the message log (GET /v2/events).
func (c *Client) Events(ctx context.Context, r EventsRequest) (EventsPage, error) {
	q := r.Filter.query()
	q.add("messageIds", r.MessageIDs...)
	for _, s := range r.States {
		q.add("state", string(s))
	}
	q.addPage(r.Cursor, r.Count, r.Order)
	var out EventsPage
	if err := c.list(ctx, "/v2/events", q, &out); err != nil {
		return EventsPage{}, fmt.Errorf("list events: %w", err)
	}
	return out, nil
}

// AllEvents walks the message log from r on, page by page. It ends after
// yielding an error.
func (c *Client) AllEvents(ctx context.Context, r EventsRequest) iter.Seq2[Event, error] {
	return pages(r.Cursor, func(cursor string) ([]Event, string, error) {
		r.Cursor = cursor
		p, err := c.Events(ctx, r)
		return p.Events, p.Cursor, err
	})
}
