package workflowtest

import (
	"encoding/base64"
	"net/http"
	"slices"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

// wait is a step that waits for an event.
type wait struct {
	run      *run
	event    string
	header   http.Header // of the request
	request  wire.Wait
	step     wire.Step
	deadline time.Time
	done     bool
	promised bool // a script will tell it
}

func (w *wait) live() bool { return !w.done && w.run.state == client.RunStarted }

// wait registers a step that waits.
func (e *Env) wait(event string, header http.Header, body []byte) (int, any, error) {
	w := &wait{event: event, header: header.Clone()}
	w.header.Del("Authorization")
	var err error
	if w.request, err = wire.ParseWait(body); err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	w.step = w.request.Step
	w.step.WaitEventID = event
	if w.run = e.active(header.Get(wire.HeaderWorkflowRunID)); w.run == nil {
		return refuse(http.StatusBadRequest, "%v", inactive(header.Get(wire.HeaderWorkflowRunID)))
	}
	if e.loses(w.step.StepName) {
		return 0, nil, errLost
	}
	known := slices.ContainsFunc(e.waits, func(old *wait) bool { return old.run == w.run && old.step.StepID == w.step.StepID })
	if known || w.run.has(w.step, wire.CallStep) != "" {
		return http.StatusOK, struct{}{}, nil
	}
	w.deadline = e.time().Add(w.request.Timeout)
	e.waits = append(e.waits, w)
	e.later(w.request.Timeout, w.live, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		w.done = true
		step := w.step
		step.WaitTimeout = true // and no out: an empty one is an event
		e.result(w.run, step, w.request.TimeoutHeader, w.request.TimeoutURL)
	})
	for i, h := range w.run.hooks {
		if h.kind == w.step.StepType && h.id == event {
			w.run.hooks = slices.Delete(w.run.hooks, i, i+1)
			e.resolve(w, h.data)
			return http.StatusOK, struct{}{}, nil
		}
	}
	for _, s := range e.notes {
		if e.promise(w, s) {
			break
		}
	}
	return http.StatusOK, struct{}{}, nil
}

// promise has a script tell a step, if it is for it and has told none.
func (e *Env) promise(w *wait, s *script) bool {
	hook := w.step.StepType == wire.StepWaitForWebhook
	if w.promised || !w.live() || s.used > 0 || s.target != w.step.StepName && (hook || s.target != w.event) || hook != (s.request != nil) {
		return false
	}
	s.used++
	w.promised = true
	s.told, s.asked = e.later(s.after, w.live, func() {
		data, err := s.event(w)
		if err != nil {
			e.t.Fatalf("workflowtest: webhook %q: %v", s.target, err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.resolve(w, data)
	}), e.time()
	return true
}

// resolve tells a step of its event, and gives the id of the message that does.
func (e *Env) resolve(w *wait, data []byte) string {
	w.done = true
	step, out := w.step, base64.StdEncoding.EncodeToString(data)
	step.Out = &out
	return e.result(w.run, step, w.header, w.request.URL)
}

// tellAll tells everybody who waits for an event.
func (e *Env) tellAll(event string, data []byte) []client.NotifyResponse {
	told := []client.NotifyResponse{}
	for _, w := range e.waiting(event) {
		told = append(told, e.told(w, data))
	}
	return told
}

func (e *Env) tellRun(runID, event string, data []byte) (int, any, error) {
	r := e.active(runID)
	if r == nil {
		return refuse(http.StatusNotFound, "%v", inactive(runID))
	}
	return http.StatusCreated, []client.NotifyResponse{e.tell(r, wire.StepWait, event, data)}, nil
}

// tell tells a run of an event, or keeps that until it waits for it.
func (e *Env) tell(r *run, kind wire.StepType, event string, data []byte) client.NotifyResponse {
	for _, w := range e.waits {
		if w.run == r && w.live() && w.event == event && w.step.StepType == kind {
			return e.told(w, data)
		}
	}
	r.hooks = append(r.hooks, hook{kind, event, data})
	return client.NotifyResponse{WorkflowRunID: r.id, WorkflowCreatedAt: r.created.UnixMilli()}
}

func (e *Env) told(w *wait, data []byte) client.NotifyResponse {
	waiter := w.waiter()
	return client.NotifyResponse{
		Waiter: waiter, MessageID: e.resolve(w, data), WorkflowRunID: w.run.id, WorkflowCreatedAt: w.run.created.UnixMilli(),
	}
}

func (e *Env) waiting(event string) (all []*wait) {
	for _, w := range e.waits {
		if w.live() && w.event == event && w.step.StepType == wire.StepWait {
			all = append(all, w)
		}
	}
	return all
}

func (e *Env) waiters(event string) []client.Waiter {
	all := []client.Waiter{}
	for _, w := range e.waiting(event) {
		all = append(all, w.waiter())
	}
	return all
}

func (w *wait) waiter() client.Waiter {
	return client.Waiter{
		URL: w.request.URL, Headers: w.header, Deadline: w.deadline.Unix(),
		TimeoutURL: w.request.TimeoutURL, TimeoutHeaders: w.request.TimeoutHeader,
	}
}
