package api

import (
	"fmt"
	"net/http"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

// withoutContent is an answer for a token with the scope read-metadata: bodies,
// payloads, results and responses are left out, of headers all but their names,
// and what would let its holder call a run's webhook. This is the one place that
// does it, on every answer of a route that needs the scope read; one that it does
// not know is refused.
//
// What is left are ids, URLs, methods, states, times, statuses, labels, names
// of steps, settings, and why an attempt failed.
func withoutContent(answer any) (any, error) {
	switch a := answer.(type) {
	case client.Message:
		stripMessage(&a)
		return a, nil
	case *client.EventsPage:
		stripEvents(a.Events)
		return a, nil
	case logsPage:
		stripEvents(a.Events) // which are the logs too
		return a, nil
	case client.DLQMessage:
		stripDLQ(&a)
		return a, nil
	case client.DLQPage:
		for i := range a.Messages {
			stripDLQ(&a.Messages[i])
		}
		return a, nil
	case client.Queue, []client.Queue, client.FlowControlKey, []client.FlowControlKey, client.GlobalParallelism,
		client.TenantLimits:
		return a, nil // names and numbers
	case client.URLGroup:
		stripHeader(&a.Header)
		return a, nil
	case []client.URLGroup:
		for i := range a {
			stripHeader(&a[i].Header)
		}
		return a, nil
	case client.Schedule:
		stripSchedule(&a)
		return a, nil
	case []client.Schedule:
		for i := range a {
			stripSchedule(&a[i])
		}
		return a, nil
	case []client.Waiter:
		for i := range a {
			a[i].TimeoutBody = nil
			stripHeader(&a[i].Headers)
			stripHeader(&a[i].TimeoutHeaders)
		}
		return a, nil
	case client.RunsPage:
		for i := range a.Runs {
			stripRun(&a.Runs[i])
		}
		return a, nil
	}
	return nil, fmt.Errorf("no answer for read-metadata is made of %T", answer)
}

// stripHeader keeps the names of a header. It makes a new header: the old one may
// be another's too.
func stripHeader(h *http.Header) {
	if *h == nil {
		return
	}
	names := make(http.Header, len(*h))
	for name := range *h {
		names[name] = []string{}
	}
	*h = names
}

func stripMessage(m *client.Message) {
	m.Body, m.BodyBase64 = "", ""
	stripHeader(&m.Header)
	stripHeader(&m.CallbackHeader)
	stripHeader(&m.FailureCallbackHeader)
}

func stripSchedule(s *client.Schedule) {
	s.Body, s.BodyBase64 = "", ""
	stripHeader(&s.Header)
	stripHeader(&s.CallbackHeader)
	stripHeader(&s.FailureCallbackHeader)
}

func stripEvents(events []client.Event) {
	for i := range events {
		e := &events[i]
		e.Body, e.ResponseBody = "", ""
		stripHeader(&e.Header)
		stripHeader(&e.ResponseHeader)
		stripHeader(&e.CallbackHeader)
		stripHeader(&e.FailureCallbackHeader)
	}
}

func stripDLQ(m *client.DLQMessage) {
	stripMessage(&m.Message)
	m.ResponseBody, m.ResponseBodyBase64 = "", ""
	stripHeader(&m.ResponseHeader)
	if m.FailureCallbackInfo != nil {
		m.FailureCallbackInfo.ResponseBody = ""
		stripHeader(&m.FailureCallbackInfo.ResponseHeaders)
	}
}

func stripRun(r *client.Run) {
	r.Response = ""
	for _, group := range r.Steps {
		for i := range group.Steps {
			stripStep(&group.Steps[i])
		}
	}
	if f := r.FailureFunction; f != nil {
		f.FailResponse, f.ResponseBody = "", ""
		stripHeader(&f.FailHeaders)
		stripHeader(&f.ResponseHeaders)
		stripErrors(f.Errors)
	}
}

func stripStep(s *client.RunStep) {
	s.Out, s.CallBody, s.CallResponseBody, s.InvokedWorkflowRunBody = "", "", "", ""
	if s.StepType == string(wire.StepWaitForWebhook) {
		s.WaitEventID = "" // who knows it may call the webhook
	}
	stripHeader(&s.Headers)
	stripHeader(&s.CallHeaders)
	stripHeader(&s.CallResponseHeaders)
	stripHeader(&s.InvokedWorkflowRunHeaders)
	stripErrors(s.Errors)
}

func stripErrors(attempts []client.StepError) {
	for i := range attempts {
		attempts[i].Body = ""
		stripHeader(&attempts[i].Headers)
	}
}
