package api

import (
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

func listEvents(r *request) (any, error) { return r.events() }

// listLogs answers under both names the protocol's documents have for it.
func listLogs(r *request) (any, error) {
	page, err := r.events()
	if err != nil {
		return nil, err
	}
	return logsPage{Events: page.Events, Logs: page.Events, Cursor: page.Cursor}, nil
}

type logsPage struct {
	Events []client.Event `json:"events"`
	Logs   []client.Event `json:"logs"`
	Cursor string         `json:"cursor,omitempty"`
}

func (r *request) events() (*client.EventsPage, error) {
	f, err := r.filters(false)
	if err != nil {
		return nil, err
	}
	sel := engine.EventFilter{Message: f.messages()}
	sel.Message.IDs = f.list("messageId", "messageIds")
	if sel.States, err = engine.ParseEventStates(f.list("state")); err != nil {
		return nil, err
	}
	if sel.From, sel.To, err = f.dates(); err != nil {
		return nil, err
	}
	newest, err := f.newest(true)
	if err != nil {
		return nil, err
	}
	count, err := f.count(1000)
	if err != nil {
		return nil, err
	}
	events, next, err := r.handler.engine.Events(r.Context(), r.caller, sel, !newest, f.Get("cursor"), count)
	if err != nil {
		return nil, err
	}
	page := &client.EventsPage{Cursor: next, Events: make([]client.Event, len(events))}
	for i := range events {
		page.Events[i] = r.eventJSON(&events[i])
	}
	return page, nil
}

func (r *request) eventJSON(ev *engine.Event) client.Event {
	m, s := ev.Message, &ev.Message.Settings
	v := r.veil(s)
	out := client.Event{
		Time: ev.At, State: client.EventState(ev.State), MessageID: m.String(), URL: m.URL,
		Method: m.Method, Header: v.header(m.Header), MaxRetries: m.MaxRetries, RetryDelayExpression: s.RetryDelay,
		Timeout: s.Timeout.Milliseconds(), NextDeliveryTime: ev.NextDue,
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
	if ev.HasResponse() {
		answer := r.answerVeil(m)
		out.Error, out.ResponseStatus, out.ResponseHeader = ev.Settlement.Error, ev.Settlement.Status, answer.header(ev.Settlement.Header)
		if out.ResponseBody = answer.body(ev.Settlement.Body); out.ResponseBody == "" {
			out.SetResponseBody(ev.Settlement.Body)
		}
	}
	return out
}
