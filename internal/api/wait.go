package api

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

const waitBody = 256 << 10

// eventID is the id in the rest of a path, which official clients put there as it
// is: it may have slashes.
func eventID(raw string) (string, error) {
	id, err := url.PathUnescape(strings.TrimSuffix(raw, "/"))
	if err != nil {
		return "", invalid("event id: expected it percent-encoded")
	}
	return id, nil
}

// wait registers a step that waits: POST /v2/wait/{event...}.
func wait(r *request) (any, error) {
	event, err := eventID(r.params[0])
	if err != nil {
		return nil, err
	}
	body, err := r.body(waitBody)
	if err != nil {
		return nil, err
	}
	w, err := wire.ParseWait(body)
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Field == "timeout" { // the one that a workflow's author gives
		err = unfit(r.Header, err)
	}
	if err != nil {
		return nil, err
	}
	return struct{}{}, r.added(r.handler.engine.Wait(r.Context(), r.caller, event, r.Header, &w))
}

// notify tells all who wait for an event: POST /v2/notify/{event}.
func notify(r *request) (any, error) {
	return r.notify(func(body []byte) ([]engine.RunWait, error) {
		return r.handler.engine.Notify(r.Context(), r.caller, r.params[0], body)
	})
}

// notifyRun tells one run: POST /v2/notify/{run}/{event...}. The official SDK says
// that the answer is an array.
func notifyRun(r *request) (any, error) {
	event, err := eventID(r.params[1])
	if err != nil {
		return nil, err
	}
	return r.notify(func(body []byte) ([]engine.RunWait, error) {
		return r.handler.engine.NotifyRun(r.Context(), r.caller, r.params[0], event, body)
	})
}

func (r *request) notify(tell func(body []byte) ([]engine.RunWait, error)) (any, error) {
	r.reads()
	body, err := r.body(r.handler.engine.MaxBody(r.caller))
	if err != nil {
		return nil, err
	}
	told, err := tell(body)
	if err != nil {
		return nil, err
	}
	answer := make([]client.NotifyResponse, len(told))
	for i := range told {
		answer[i] = r.notifyJSON(&told[i])
	}
	return reply{http.StatusCreated, answer}, nil
}

// listWaiters lists who waits for an event: GET /v2/waiters/{event}.
func listWaiters(r *request) (any, error) {
	event, err := eventID(r.params[0])
	if err != nil {
		return nil, err
	}
	all, err := r.handler.engine.Waiters(r.Context(), r.caller, event)
	if err != nil {
		return nil, err
	}
	answer := make([]client.Waiter, len(all))
	for i := range all {
		answer[i] = r.waiterJSON(&all[i])
	}
	return answer, nil
}

func (r *request) notifyJSON(w *engine.RunWait) client.NotifyResponse {
	return client.NotifyResponse{
		Waiter: r.waiterJSON(w), MessageID: w.Message, WorkflowRunID: w.Run.ID, WorkflowCreatedAt: engine.Millis(w.Run.Seq),
	}
}

func (r *request) waiterJSON(w *engine.RunWait) client.Waiter {
	if w.Wait == nil {
		return client.Waiter{}
	}
	v := r.veil(&w.Run.Settings)
	return client.Waiter{
		URL: w.URL, Headers: v.settings(w.Header), Deadline: w.Deadline / 1000,
		TimeoutURL: w.Settings.TimeoutURL, TimeoutHeaders: v.settings(w.Settings.TimeoutHeader),
	}
}
