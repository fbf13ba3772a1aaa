package api

import (
	"encoding/base64"
	"unicode/utf8"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

func getMessage(r *request) (any, error) {
	m, err := r.handler.engine.Message(r.Context(), r.caller, r.params[0])
	if err != nil {
		return nil, err
	}
	return r.messageJSON(m), nil
}

func (r *request) messageJSON(m *engine.Message) client.Message {
	s, v := &m.Settings, r.veil(&m.Settings)
	out := client.Message{
		MessageID: m.String(), URL: m.URL, Method: m.Method, Header: v.header(m.Header),
		MaxRetries: m.MaxRetries, RetryDelayExpression: s.RetryDelay,
		NotBefore: m.NotBefore, CreatedAt: engine.Millis(m.Seq), CallerIP: m.CallerIP,
		Labels: s.Labels, Label: first(s.Labels),
		URLGroup: s.URLGroup, EndpointName: s.Endpoint, QueueName: s.Queue, ScheduleID: s.ScheduleID,
	}
	out.FlowControlKey, out.Parallelism, out.Rate, out.Period = flowJSON(s.FlowControl)
	if out.Body = v.body(m.Body); out.Body == "" {
		out.SetBody(m.Body)
	}
	if s.Callback != nil {
		out.Callback, out.CallbackHeader = s.Callback.URL, v.callbackHeader(s.Callback.Header)
	}
	if s.FailureCallback != nil {
		out.FailureCallback, out.FailureCallbackHeader = s.FailureCallback.URL, v.callbackHeader(s.FailureCallback.Header)
	}
	return out
}

// flowJSON is flow control as messages, events and schedules show it: nothing
// where there is none, else always a period.
func flowJSON(f *wire.FlowControl) (key string, parallelism, rate, period int) {
	if f == nil {
		return "", 0, 0, 0
	}
	return f.Key, f.Parallelism, f.Rate, int(f.Period.Seconds())
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// text is bytes as a JSON string: what is not UTF-8 becomes base64.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return base64.StdEncoding.EncodeToString(b)
}

func cancelMessage(r *request) (any, error) {
	canceled, err := r.handler.engine.CancelMessage(r.Context(), r.caller, r.params[0])
	return cancelResponse(canceled), err
}

// cancelResponse says how many were cancelled of one.
func cancelResponse(canceled bool) client.CancelResponse {
	if canceled {
		return client.CancelResponse{Cancelled: 1}
	}
	return client.CancelResponse{}
}

// cancelMost is the most that a count asks for; without one, all are cancelled.
const cancelMost = 500

func cancelMessages(r *request) (any, error) {
	f, err := r.filters(true, append([]string{"messageIds", "messageId", "count"}, messageFilters...)...)
	if err != nil {
		return nil, err
	}
	selected := f.messages()
	selected.IDs = f.list("messageIds", "messageId")
	if selected.From, selected.To, err = f.dates(); err != nil {
		return nil, err
	}
	limit, err := f.integer("count", 0, 1)
	if err != nil {
		return nil, err
	}
	n, err := r.handler.engine.CancelMessages(r.Context(), r.caller, selected, int(min(limit, cancelMost)))
	if err != nil {
		return nil, err
	}
	return client.CancelResponse{Cancelled: n}, nil
}
