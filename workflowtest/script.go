package workflowtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/signposthq/signpost/workflow"
)

// ErrCanceled is the error of a run that was cancelled.
var ErrCanceled = errors.New("workflow run cancelled")

func isCanceled(err error) bool { return errors.Is(err, ErrCanceled) }

// Script is what the test says comes of a step.
type Script struct {
	env *Env
	s   *script
}

// After has it come only when virtual time d has passed since the step asked for
// it. Default: at once.
func (s Script) After(d time.Duration) {
	s.env.mu.Lock()
	defer s.env.mu.Unlock()
	s.s.after = d
	if s.s.told != nil {
		s.s.told.due = s.s.asked.Add(d)
	}
}

type script struct {
	verb, target string
	after        time.Duration
	used         int
	told         *event    // of a step that waits
	asked        time.Time // when that came to wait

	call    http.Handler                      // of OnCall
	invoke  func(payload []byte) (any, error) // of OnInvoke
	data    []byte                            // of Notify
	request *http.Request                     // of Webhook
	body    []byte
}

func (s *script) String() string { return fmt.Sprintf("%s(%q, …)", s.verb, s.target) }

// OnCall says how requests are answered that are made by steps like
// [workflow.Call]. target is the name of a step, or a URL; one that ends in "/"
// covers all that are below. Of several that fit, the step's name is preferred,
// then the longest URL, then the latest. A call that none fits fails the test.
//
// The handler gets what the third party would get. Panicking with
// [http.ErrAbortHandler] is to give no answer. It runs in the test's goroutine.
func (e *Env) OnCall(target string, h http.HandlerFunc) Script {
	return e.script(&e.calls, &script{verb: "OnCall", target: target, call: h})
}

// Reply is a handler for [Env.OnCall] that always answers the same: a string or
// []byte as it is, nil as nothing, and anything else as JSON.
func Reply(status int, body any) http.HandlerFunc {
	text, err := encode(body)
	if err != nil {
		panic("workflowtest: " + err.Error())
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		switch body.(type) {
		case nil, string, []byte:
		default:
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(status)
		_, _ = w.Write(text)
	}
}

// OnInvoke says what comes of workflows that are invoked: fn gets the payload,
// and its result is the run's. An error is a run that failed, [ErrCanceled] one
// that was cancelled. target is the name of the step, or the name or the URL of
// the workflow. Without it the workflow must be there: see [Env.Serve].
func (e *Env) OnInvoke(target string, fn func(payload []byte) (any, error)) Script {
	return e.script(&e.invokes, &script{verb: "OnInvoke", target: target, invoke: fn})
}

// Notify tells a step that waits for an event, as soon as one does. target is the
// id of the event or the name of the step. A string or []byte is the event's
// data as it is, nil is none, anything else is JSON. Each is told once, in the
// order in which they were given. A step that nothing tells waits in vain until
// its time is up.
func (e *Env) Notify(target string, data any) Script {
	e.t.Helper()
	text, err := encode(data)
	if err != nil {
		e.t.Fatalf("workflowtest: notify %q: %v", target, err)
	}
	return e.script(&e.notes, &script{verb: "Notify", target: target, data: text})
}

// Webhook calls the webhook that a step waits for, as soon as it does. step is
// the step's name. Of the request's URL, the query is used: http.NewRequest may
// be given "/?status=paid". Everything else is as for [Env.Notify].
func (e *Env) Webhook(step string, r *http.Request) Script {
	e.t.Helper()
	s := &script{verb: "Webhook", target: step, request: r}
	if r.Body != nil {
		var err error
		if s.body, err = io.ReadAll(r.Body); err != nil {
			e.t.Fatalf("workflowtest: webhook %q: read body: %v", step, err)
		}
	}
	return e.script(&e.notes, s)
}

// event is what a step that waits is told.
func (s *script) event(w *wait) ([]byte, error) {
	if s.request == nil {
		return s.data, nil
	}
	u, err := url.Parse(hookPrefix + "workflowtest/" + url.PathEscape(w.run.id) + "/" + url.PathEscape(w.event))
	if err != nil {
		return nil, err
	}
	u.RawQuery = s.request.URL.RawQuery
	return webhookEvent(s.request, u, s.body)
}

func (e *Env) script(list *[]*script, s *script) Script {
	e.mu.Lock()
	defer e.mu.Unlock()
	*list = append(*list, s)
	if list == &e.notes {
		for _, w := range e.waits {
			if e.promise(w, s) {
				break
			}
		}
	}
	return Script{e, s}
}

// failure is what goes wrong with a step.
type failure struct {
	step string
	left int
	used int
	err  error // nil: its report is lost
}

func (f *failure) String() string {
	if f.err == nil {
		return fmt.Sprintf("LoseStep(%q, …)", f.step)
	}
	return fmt.Sprintf("FailStep(%q, …)", f.step)
}

// FailStep has a step end with an error instead of being executed, as many times
// as given. [workflow.NonRetryable] and [workflow.RetryAfter] do what they do. A
// test that never comes to such a step fails.
func (e *Env) FailStep(step string, times int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		err = errors.New("failed by FailStep")
	}
	e.failures = append(e.failures, &failure{step: step, left: times, err: err})
}

// LoseStep has a step be executed, and the server not hear of it, as many times
// as given: as if the program had crashed right after. The step is then executed
// again. A test that never comes to such a step fails.
func (e *Env) LoseStep(step string, times int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failures = append(e.failures, &failure{step: step, left: times})
}

// loses says whether a step's report is to be lost.
func (e *Env) loses(step string) bool {
	return step != "" && e.take(step, false) != nil
}

func (e *Env) take(step string, failing bool) *failure {
	for _, f := range e.failures {
		if f.step == step && f.left > 0 && (f.err != nil) == failing {
			f.left--
			f.used++
			return f
		}
	}
	return nil
}

// step is around each execution of a step.
func (e *Env) step(ctx context.Context, s workflow.StepInfo, next func(context.Context) error) error {
	e.mu.Lock()
	if r := e.active(s.Run.RunID); r != nil {
		r.tries[s.Place]++
	}
	f := e.take(s.Name, true)
	e.mu.Unlock()
	if f != nil {
		return f.err
	}
	return next(ctx)
}

// failed keeps the error that a call of a workflow ends with.
func (e *Env) failed(_ context.Context, i workflow.RunInfo, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.runs {
		if r.id == i.RunID {
			r.last = err
		}
	}
}
