package workflow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/workflow"
)

// endpointOf serves fn with a stub of a server.
func endpointOf(t testing.TB, fn func(*workflow.Context) error) (*workflow.Endpoint, *stub) {
	t.Helper()
	return endpointLogging(t, quiet, fn)
}

func endpointLogging(t testing.TB, logger *slog.Logger, fn func(*workflow.Context) error) (*workflow.Endpoint, *stub) {
	t.Helper()
	s := newStub(t, nil)
	e, err := workflow.Serve(func(ctx *workflow.Context, _ any) (struct{}, error) { return struct{}{}, fn(ctx) }, &workflow.Options{
		Client: s.client, Receiver: newReceiver(t), BaseURL: "https://app.example", Logger: logger,
		OnFailure: func(*workflow.FailureContext) (string, error) { return "", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, s
}

func ran(place int, name, out string, concurrent int) wire.Step {
	return wire.Step{StepID: place, StepName: name, StepType: wire.StepRun, Out: &out, Concurrent: concurrent}
}

func planned(target int, name string, concurrent int) wire.Step {
	return wire.Step{StepName: name, StepType: wire.StepRun, Concurrent: concurrent, TargetStep: target}
}

func one(ctx *workflow.Context) error { return only(workflow.Run(ctx, "a", value(1))) }

// group runs steps of the given names in parallel.
func group(names ...string) func(*workflow.Context) error {
	return func(ctx *workflow.Context) error {
		var futures []workflow.Pending
		for _, name := range names {
			futures = append(futures, workflow.RunAsync(ctx, name, value(1)))
		}
		return workflow.All(ctx, futures...)
	}
}

func only[T any](_ T, err error) error { return err }

// TestIncompatible is about functions that do not fit their log.
func TestIncompatible(t *testing.T) {
	tests := []struct {
		name string
		fn   func(*workflow.Context) error
		log  []wire.Step
		want string
	}{
		{"name", one, []wire.Step{ran(1, "b", "1", 1)},
			"Incompatible step name. Expected 'a', got 'b' from the request"},
		{"type", one, []wire.Step{{StepID: 1, StepName: "a", StepType: wire.StepSleepFor, Concurrent: 1}},
			"Incompatible step type. Expected 'Run', got 'SleepFor' from the request"},
		{"plan where a single step is", one, []wire.Step{planned(1, "a", 2)},
			"Incompatible number of parallel steps when call state was 'single'. Expected 1, got 2 from the request."},
		{"results of a group where a single step is", one, []wire.Step{planned(1, "a", 2), planned(2, "b", 2), ran(2, "b", "1", 2)},
			"Incompatible number of parallel steps when call state was 'single'. Expected 1, got 2 from the request."},
		{"smaller group, partial", group("a", "b"), []wire.Step{planned(1, "a", 3)},
			"Incompatible number of parallel steps when call state was 'partial'. Expected 2, got 3 from the request."},
		{"smaller group, discard", group("a", "b", "c"), []wire.Step{planned(1, "a", 2), planned(2, "b", 2), ran(2, "b", "1", 2)},
			"Incompatible number of parallel steps when call state was 'discard'. Expected 3, got 2 from the request."},
		{"larger group, last", group("a", "b"), []wire.Step{planned(1, "a", 3), planned(2, "b", 3), planned(3, "c", 3), ran(1, "a", "1", 3)},
			"Incompatible number of parallel steps when call state was 'last'. Expected 2, got 3 from the request."},
		{"plan beyond the group", group("a", "b"), []wire.Step{planned(1, "a", 2), planned(7, "b", 9)},
			"Incompatible number of parallel steps when call state was 'partial'. Expected 2, got 9 from the request."},
		{"plan of another name", group("a", "b"), []wire.Step{planned(1, "c", 2)},
			"Incompatible step name. Expected 'a', got 'c' from the request"},
		{"results of other names", group("a", "b"), []wire.Step{planned(1, "a", 2), planned(2, "b", 2), ran(1, "a", "1", 2), ran(2, `"c"`, "1", 2)},
			"Incompatible steps detected in parallel execution: Incompatible step name. Expected 'b', got '\"c\"' from the request\n" +
				"  > Step Names from the request: [\"a\",\"\\\"c\\\"\"]\n    Step Types from the request: [\"Run\",\"Run\"]\n" +
				"  > Step Names expected: [\"a\",\"b\"]\n    Step Types expected: [\"Run\",\"Run\"]"},
		{"plans only, too many", group("a", "b"), []wire.Step{planned(1, "a", 2), planned(2, "b", 2), planned(3, "c", 2), planned(4, "d", 2)},
			"Incompatible number of parallel steps when call state was 'last'. Expected 2, got 0 from the request."},
		{"log that ends early", func(ctx *workflow.Context) error {
			return errors.Join(group("a", "b")(ctx), one(ctx))
		}, []wire.Step{ran(1, "a", "1", 2), ran(2, "b", "1", 2), ran(3, "a", "1", 2), ran(4, "b", "1", 2)},
			"The log has 5 entries, but the workflow is at entry 5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, s := endpointOf(t, tt.fn)
			w := deliverLog(e, tt.log...)
			if got := said(t, w); w.Code != 500 || got != tt.want {
				t.Errorf("answer %d %s\nwant %s", w.Code, got, tt.want)
			}
			if !strings.Contains(w.Body.String(), `"error":"WorkflowError"`) || len(s.sent) > 0 {
				t.Errorf("answer %s, sent %v", w.Body, s.sent)
			}
		})
	}
}

// TestMisuse is about steps used where they must not be.
func TestMisuse(t *testing.T) {
	elsewhere := func(f func()) {
		done := make(chan struct{})
		go func() { defer close(done); f() }()
		<-done
	}
	const goroutine = "Step '%s' is used in another goroutine or run than that of its workflow function. Start parallel steps with RunAsync and its like"
	var kept *workflow.Future[int]
	tests := []struct {
		name string
		fn   func(*workflow.Context) error
		want string
	}{
		{"in another goroutine", func(ctx *workflow.Context) (err error) {
			elsewhere(func() { err = only(workflow.Run(ctx, "there", value(1))) })
			return err
		}, fmt.Sprintf(goroutine, "there")},
		{"in another goroutine, error ignored", func(ctx *workflow.Context) error {
			elsewhere(func() { _ = ctx.Sleep("there", time.Second) })
			return one(ctx)
		}, fmt.Sprintf(goroutine, "there")},
		{"in another goroutine, while a step runs", func(ctx *workflow.Context) error {
			return only(workflow.Run(ctx, "a", func(context.Context) (int, error) {
				elsewhere(func() { _ = ctx.Cancel() })
				return 1, nil
			}))
		}, fmt.Sprintf(goroutine, "cancel")},
		{"Get in another goroutine", func(ctx *workflow.Context) (err error) {
			f := workflow.RunAsync(ctx, "a", value(1))
			elsewhere(func() { err = only(f.Get()) })
			return err
		}, fmt.Sprintf(goroutine, "a")},
		{"group in another goroutine", func(ctx *workflow.Context) (err error) {
			a, b := workflow.RunAsync(ctx, "a", value(1)), workflow.RunAsync(ctx, "b", value(1))
			elsewhere(func() { err = workflow.All(ctx, a, b) })
			return err
		}, fmt.Sprintf(goroutine, "a")},
		{"Cancel in another goroutine", func(ctx *workflow.Context) (err error) {
			elsewhere(func() { err = ctx.Cancel() })
			return err
		}, fmt.Sprintf(goroutine, "cancel")},
		{"Version in another goroutine", func(ctx *workflow.Context) (err error) {
			elsewhere(func() { err = only(workflow.Version(ctx, "change", 1, 0)) })
			return err
		}, fmt.Sprintf(goroutine, "version: change")},
		{"Version in another goroutine, after a step", func(ctx *workflow.Context) (err error) {
			workflow.RunAsync(ctx, "a", value(1))
			elsewhere(func() { err = only(workflow.Version(ctx, "change", 0, 1)) })
			return err
		}, fmt.Sprintf(goroutine, "a")},
		{"future of another run", func(ctx *workflow.Context) error {
			if kept == nil {
				kept = workflow.RunAsync(ctx, "kept", value(1))
				return errors.New("unused")
			}
			return only(kept.Get())
		}, ""},
		{"future of another run, to All", func(ctx *workflow.Context) error {
			if err := workflow.All(ctx, kept); err == nil {
				t.Error("All takes it")
			}
			return one(ctx)
		}, fmt.Sprintf(goroutine, "kept")},
		{"inside another", func(ctx *workflow.Context) error {
			return only(workflow.Run(ctx, "outer", func(context.Context) (int, error) {
				_ = ctx.Sleep("inner", time.Second)
				return 1, nil
			}))
		}, "A step can not be run inside another step. Tried to run 'inner' inside 'outer'"},
		{"started inside another", func(ctx *workflow.Context) error {
			return only(workflow.Run(ctx, "outer", func(context.Context) (int, error) {
				workflow.RunAsync(ctx, "inner", value(1))
				return 1, nil
			}))
		}, "A step can not be run inside another step. Tried to run 'inner' inside 'outer'"},
		{"Cancel inside a step", func(ctx *workflow.Context) error {
			return only(workflow.Run(ctx, "outer", func(context.Context) (int, error) { return 1, ctx.Cancel() }))
		}, "A step can not be run inside another step. Tried to run 'cancel' inside 'outer'"},
		{"without a name", func(ctx *workflow.Context) error { return ctx.Sleep("", time.Second) }, "A workflow step needs a name"},
		{"never awaited", func(ctx *workflow.Context) error {
			workflow.RunAsync(ctx, "lost", value(1))
			return nil
		}, "The function returned without the result of step 'lost'. Call Get on its future, or All"},
		{"ends the goroutine itself", func(ctx *workflow.Context) error {
			return only(workflow.Run(ctx, "a", func(context.Context) (int, error) { runtime.Goexit(); return 0, nil }))
		}, "the function ended its goroutine"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, _ := endpointOf(t, tt.fn)
			w := deliverLog(e)
			if tt.name == "future of another run" {
				w = deliverLog(e)
				tt.want = fmt.Sprintf(goroutine, "kept")
				if w.Code != 401 { // for it came before any step of this run
					t.Errorf("answer %d", w.Code)
				}
			} else if w.Code != 500 {
				t.Errorf("answer %d", w.Code)
			}
			if got := said(t, w); got != tt.want {
				t.Errorf("message %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestStepFails is about what an answer makes of errors and panics.
func TestStepFails(t *testing.T) {
	base := errors.New("no luck")
	inStep := func(err error) func(*workflow.Context) error {
		return func(ctx *workflow.Context) error { return only(workflow.Run(ctx, "st\nep", fails(err))) }
	}
	tests := []struct {
		name   string
		fn     func(*workflow.Context) error
		status int
		kind   string
		want   string
		step   string
		retry  string
	}{
		{"error", inStep(base), 500, "Error", "no luck", "st ep", ""},
		{"error with words", func(ctx *workflow.Context) error { return fmt.Errorf("order: %w", inStep(base)(ctx)) }, 500, "Error", "order: no luck", "st ep", ""},
		{"error ignored", func(ctx *workflow.Context) error { _ = inStep(base)(ctx); return nil }, 500, "Error", "no luck", "st ep", ""},
		{"error ignored, next step", func(ctx *workflow.Context) error { _ = inStep(base)(ctx); return ctx.Sleep("next", time.Second) }, 500, "Error", "no luck", "st ep", ""},
		{"error ignored, parallel next", func(ctx *workflow.Context) error {
			_ = inStep(base)(ctx)
			return workflow.All(ctx, ctx.SleepAsync("b", 1), ctx.SleepAsync("c", 1))
		}, 500, "Error", "no luck", "st ep", ""},
		{"error made final", func(ctx *workflow.Context) error { return workflow.NonRetryable(inStep(base)(ctx)) }, 489, "WorkflowNonRetryableError", "no luck", "st ep", ""},
		{"error replaced by a final one", func(ctx *workflow.Context) error {
			_ = inStep(base)(ctx)
			return workflow.NonRetryable(errors.New("declined"))
		}, 489, "WorkflowNonRetryableError", "declined", "st ep", ""},
		{"final error", inStep(workflow.NonRetryable(base)), 489, "WorkflowNonRetryableError", "no luck", "st ep", ""},
		{"final error with words", func(ctx *workflow.Context) error {
			return fmt.Errorf("order: %w", inStep(workflow.NonRetryable(base))(ctx))
		}, 489, "WorkflowNonRetryableError", "order: no luck", "st ep", ""},
		{"later", inStep(workflow.RetryAfter(base, 1500*time.Millisecond)), 429, "WorkflowRetryAfterError", "no luck", "st ep", "2"},
		{"later, in the past", inStep(workflow.RetryAfter(base, -time.Hour)), 429, "WorkflowRetryAfterError", "no luck", "st ep", "0"},
		{"outermost decides", inStep(workflow.NonRetryable(workflow.RetryAfter(base, time.Second))), 489, "WorkflowNonRetryableError", "no luck", "st ep", ""},
		{"final nothing", inStep(workflow.NonRetryable(nil)), 489, "WorkflowNonRetryableError", "workflow failed", "st ep", ""},
		{"panic in a step", func(ctx *workflow.Context) error {
			return only(workflow.Run(ctx, "a", func(context.Context) (int, error) { panic(base) }))
		}, 500, "Error", "panic: no luck", "a", ""},
		{"panic with a recover of its own", func(ctx *workflow.Context) (err error) {
			defer func() { err = fmt.Errorf("recovered: %v", recover()) }()
			return only(workflow.Run(ctx, "a", func(context.Context) (int, error) { panic(base) }))
		}, 500, "Error", "recovered: no luck", "a", ""},
		{"panic recovered and ignored", func(ctx *workflow.Context) error {
			func() {
				defer func() { _ = recover() }()
				_, _ = workflow.Run(ctx, "a", func(context.Context) (int, error) { panic(base) })
			}()
			return one(ctx)
		}, 500, "Error", "the step's function panicked", "a", ""},
		{"panic before the first step", func(*workflow.Context) error { panic(base) }, 500, "Error", "panic: no luck", "", ""},
		{"result that is no JSON", func(ctx *workflow.Context) error { return only(workflow.Run(ctx, "a", value(math.Inf(1)))) },
			489, "WorkflowNonRetryableError", "json: unsupported value: +Inf", "a", ""},
		{"error between steps", func(ctx *workflow.Context) error {
			workflow.RunAsync(ctx, "a", value(1)) // pending
			return base
		}, 500, "Error", "no luck", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			e, s := endpointLogging(t, slog.New(slog.NewTextHandler(&log, nil)), tt.fn)
			w := deliverLog(e)
			if got := said(t, w); w.Code != tt.status || got != tt.want || !strings.Contains(w.Body.String(), `"error":"`+tt.kind+`"`) {
				t.Errorf("answer %d %s, want %d %s %q", w.Code, w.Body, tt.status, tt.kind, tt.want)
			}
			if got := w.Header().Get(wire.HeaderErrorStepName); got != tt.step {
				t.Errorf("step %q, want %q", got, tt.step)
			}
			if got := w.Header().Get("Retry-After"); got != tt.retry {
				t.Errorf("Retry-After %q, want %q", got, tt.retry)
			}
			if strings.Contains(w.Body.String(), "goroutine") || strings.Contains(w.Body.String(), ".go:") {
				t.Errorf("answer has a stack: %s", w.Body)
			}
			if stack := strings.Contains(log.String(), "step_test.go:"); stack != strings.HasPrefix(tt.want, "panic:") {
				t.Errorf("logged %s", &log)
			}
			if len(s.sent) > 0 {
				t.Errorf("sent %v", s.sent)
			}
		})
	}
}

func TestParallelStepFails(t *testing.T) {
	base := errors.New("no luck")
	var seen []error
	e, s := endpointOf(t, func(ctx *workflow.Context) error {
		a := workflow.RunAsync(ctx, "a", value(1))
		b := workflow.RunAsync(ctx, "b", fails(base))
		seen = []error{only(a.Get()), only(b.Get()), workflow.All(ctx, b, a)}
		return workflow.NonRetryable(seen[0])
	})
	w := deliverLog(e, planned(1, "a", 2), planned(2, "b", 2))
	if w.Code != 489 || w.Header().Get(wire.HeaderErrorStepName) != "b" || len(s.sent) > 0 {
		t.Errorf("answer %d %v %s, sent %v", w.Code, w.Header(), w.Body, s.sent)
	}
	if !slices.Equal(seen, []error{base, base, base}) {
		t.Errorf("futures came to %v", seen)
	}
}

// TestResultsStayKnown: what was got before a step failed is still there.
func TestResultsStayKnown(t *testing.T) {
	e, _ := endpointOf(t, func(ctx *workflow.Context) error {
		a := workflow.RunAsync(ctx, "a", value(0))
		if v, err := a.Get(); v != 7 || err != nil {
			return workflow.NonRetryable(fmt.Errorf("a is %d, %v", v, err))
		}
		err := only(workflow.Run(ctx, "b", fails(errors.New("no luck"))))
		if v, again := a.Get(); v != 7 || again != nil {
			return workflow.NonRetryable(fmt.Errorf("a is %d, %v", v, again))
		}
		return err
	})
	if w := deliverLog(e, ran(1, "a", "7", 1)); said(t, w) != "no luck" {
		t.Errorf("answer %s", w.Body)
	}
}

// TestEnding: a function ends within a step, whatever it tries.
func TestEnding(t *testing.T) {
	var trace []string
	e, s := endpointOf(t, func(ctx *workflow.Context) error {
		defer func() {
			trace = append(trace, fmt.Sprintf("recovered %v", recover()))
			if err := ctx.Sleep("late", time.Second); err == nil || !strings.Contains(err.Error(), "deferred call of a function that has ended") {
				t.Errorf("late step: %v", err)
			}
		}()
		err := one(ctx)
		trace = append(trace, "went on")
		return err
	})
	w := deliverLog(e)
	if w.Code != 200 || len(s.sent) != 1 || !slices.Equal(trace, []string{"recovered <nil>"}) {
		t.Errorf("answer %d %s, sent %d, trace %q", w.Code, w.Body, len(s.sent), trace)
	}
}

// TestCancelAfterFailure: a failed step ends the run in one way or another, and
// cancelling it is one.
func TestCancelAfterFailure(t *testing.T) {
	e, s := endpointOf(t, func(ctx *workflow.Context) error {
		if err := only(workflow.Run(ctx, "a", fails(errors.New("gone")))); err != nil {
			return ctx.Cancel()
		}
		return nil
	})
	if w := deliverLog(e); w.Code != 200 || len(s.sent) != 1 || s.sent[0].Path != "/v2/workflows/runs/wfr_1?cancel=true" {
		t.Errorf("answer %d %s, sent %+v", w.Code, w.Body, s.sent)
	}
}

func TestSleepRoundsUp(t *testing.T) {
	tests := []struct {
		fn   func(*workflow.Context) error
		want string
	}{
		{func(ctx *workflow.Context) error { return ctx.Sleep("z", 1100*time.Millisecond) }, `"sleepFor":2, 2s`},
		{func(ctx *workflow.Context) error { return ctx.Sleep("z", 0) }, `"sleepFor":0, 0s`},
		{func(ctx *workflow.Context) error { return ctx.Sleep("z", -time.Hour) }, `"sleepFor":0, 0s`},
		{func(ctx *workflow.Context) error { return ctx.Sleep("z", 400*24*time.Hour) }, `"sleepFor":34560000, 34560000s`},
		{func(ctx *workflow.Context) error { return ctx.SleepUntil("z", time.Unix(1000, 1)) }, `"sleepUntil":1001, 1001`},
		{func(ctx *workflow.Context) error { return ctx.SleepUntil("z", time.Unix(1000, 0)) }, `"sleepUntil":1000, 1000`},
	}
	for _, tt := range tests {
		e, s := endpointOf(t, tt.fn)
		if w := deliverLog(e); w.Code != 200 {
			t.Fatalf("answer %d %s", w.Code, w.Body)
		}
		item := s.sent[0].Batch[0]
		field, header, _ := strings.Cut(tt.want, ", ")
		if got := item.Headers["upstash-delay"] + item.Headers["upstash-not-before"]; got != header || !strings.Contains(*item.Body, field+",") {
			t.Errorf("sent %s with %q, want %s", *item.Body, got, tt.want)
		}
	}
}

// TestCallChecked: a request that the server would refuse is an error, once
// and for all.
func TestCallChecked(t *testing.T) {
	good := workflow.CallRequest{URL: "https://api.third/"}
	tests := []struct {
		name, step string
		r          workflow.CallRequest
		want       string // "" if it is sent
	}{
		{"good", "ask", good, ""},
		{"relative", "ask", workflow.CallRequest{URL: "/x"}, `call: url: expected an absolute http or https URL`},
		{"other scheme", "ask", workflow.CallRequest{URL: "ftp://u:pw@x/"}, `call: url: expected an absolute http or https URL`},
		{"no host", "ask", workflow.CallRequest{URL: "http:///x"}, `call: url: expected an absolute http or https URL`},
		{"no URL", "ask", workflow.CallRequest{URL: "http://a b"}, `call: url: invalid character in host name`},
		{"method", "ask", workflow.CallRequest{URL: good.URL, Method: "get"}, `call: method "get" is not one of GET, POST, PUT, PATCH and DELETE`},
		{"retries", "ask", workflow.CallRequest{URL: good.URL, Retries: -1}, "call: negative retries or timeout"},
		{"timeout", "ask", workflow.CallRequest{URL: good.URL, Timeout: -1}, "call: negative retries or timeout"},
		{"name", "as\rk", good, `call: name "as\rk" does not fit into a header`},
		{"flow control", "ask", workflow.CallRequest{URL: good.URL, FlowControl: &client.FlowControl{Key: "k"}}, "call: flow control: want a parallelism or a rate, from 1"},
		{"binary body", "ask", workflow.CallRequest{URL: good.URL, Body: []byte("\xff\x00")}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, s := endpointOf(t, func(ctx *workflow.Context) error { return only(workflow.Call(ctx, tt.step, tt.r)) })
			w := deliverLog(e)
			switch {
			case tt.want == "" && (w.Code != 200 || len(s.sent) != 1):
				t.Errorf("answer %d %s, sent %d", w.Code, w.Body, len(s.sent))
			case tt.want != "" && (w.Code != 489 || said(t, w) != tt.want || len(s.sent) > 0):
				t.Errorf("answer %d %s, want %q", w.Code, w.Body, tt.want)
			}
			if tt.name == "binary body" {
				if r := s.sent[0]; r.Path != "/v2/publish/https://api.third/" || *r.Body != "\xff\x00" || r.Headers["upstash-workflow-calltype"] != "toCallback" {
					t.Errorf("sent %+v", r)
				}
			}
		})
	}
}

// TestCallFlowControl: the key is the request's, and not that of its callback.
func TestCallFlowControl(t *testing.T) {
	e, s := endpointOf(t, func(ctx *workflow.Context) error {
		return only(workflow.Call(ctx, "ask", workflow.CallRequest{URL: "https://api.third/",
			FlowControl: &client.FlowControl{Key: "k", Parallelism: 2, Rate: 5, Period: time.Minute}}))
	})
	deliverLog(e)
	h := s.sent[0].Batch[0].Headers
	if h["upstash-flow-control-key"] != "k" || h["upstash-flow-control-value"] != "parallelism=2, rate=5, period=60s" || h["upstash-callback-flow-control-key"] != "" {
		t.Errorf("sent %v", h)
	}
}

func TestCallJSON(t *testing.T) {
	answered := func(status int, body string) wire.Step {
		out := fmt.Sprintf(`{"status":%d,"body":%q,"header":{"X-A":["b"]}}`, status, body)
		return wire.Step{StepID: 1, StepName: "ask", StepType: wire.StepCall, Out: &out, Concurrent: 1}
	}
	tests := []struct {
		name string
		in   any
		log  []wire.Step
		want string // what the function gets, or what is sent
	}{
		{"request", order{"<x>", 2}, nil, `application/json {"item":"<x>","count":2}`},
		{"request without a body", nil, nil, `application/json <nil>`},
		{"request that is no JSON", math.Inf(1), nil, "call: encode body: json: unsupported value: +Inf"},
		{"answer", nil, []wire.Step{answered(201, `{"item":"y","count":3}`)}, "{y 3} 201 b"},
		{"answer that is a failure", nil, []wire.Step{answered(404, `not found`)}, "{ 0} 404 b"},
		{"no answer", nil, []wire.Step{answered(0, ``)}, "{ 0} 0 b"},
		{"answer that is no JSON", nil, []wire.Step{answered(200, `<html>`)},
			"decode the answer to a call, 200 OK: invalid character '<' looking for beginning of value"},
		{"answer without a body", nil, []wire.Step{answered(204, ``)}, "decode the answer to a call, 204 No Content: unexpected end of JSON input"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got string
			e, s := endpointOf(t, func(ctx *workflow.Context) error {
				v, answer, err := workflow.CallJSON[order](ctx, "ask", workflow.CallRequest{URL: "https://api.third/", Method: http.MethodPost, Body: []byte("unused")}, tt.in)
				got = fmt.Sprint(v, " ", answer.Status, " ", answer.Header.Get("X-A"))
				return err
			})
			w := deliverLog(e, tt.log...)
			if tt.log == nil && w.Code == 200 {
				item := s.sent[0].Batch[0]
				got = item.Headers["content-type"] + " <nil>"
				if item.Body != nil {
					got = item.Headers["content-type"] + " " + *item.Body
				}
			}
			if w.Code == 489 {
				got = said(t, w)
			}
			if got != tt.want || (w.Code != 200 && w.Code != 489) {
				t.Errorf("got %s, answer %d %s\nwant %s", got, w.Code, w.Body, tt.want)
			}
		})
	}
}

// TestCallJSONGoesOn: an answer that does not fit is in the log, and stays what
// it is, so that the function may go on.
func TestCallJSONGoesOn(t *testing.T) {
	e, s := endpointOf(t, func(ctx *workflow.Context) error {
		_, answer, err := workflow.CallJSON[order](ctx, "ask", workflow.CallRequest{URL: "https://api.third/"}, nil)
		return only(workflow.Run(ctx, "what", value(fmt.Sprintf("%d %s %v", answer.Status, answer.Body, err != nil))))
	})
	out := `{"status":200,"body":"<html>"}`
	w := deliverLog(e, wire.Step{StepID: 1, StepName: "ask", StepType: wire.StepCall, Out: &out, Concurrent: 1})
	if w.Code != 200 || !strings.Contains(*s.sent[0].Batch[0].Body, `"out":"\"200 <html> true\""`) {
		t.Errorf("answer %d %s, sent %v", w.Code, w.Body, s.sent)
	}
}

func TestParallel(t *testing.T) {
	fn := func(last func(context.Context) (int, error)) func(*workflow.Context) error {
		return func(ctx *workflow.Context) error {
			all, err := workflow.Parallel(ctx, workflow.RunAsync(ctx, "a", value(1)), workflow.RunAsync(ctx, "b", last))
			if err != nil {
				return err
			}
			return only(workflow.Run(ctx, "sum", value(all)))
		}
	}
	e, s := endpointOf(t, fn(value(2)))
	if w := deliverLog(e, planned(1, "a", 2), planned(2, "b", 2), ran(2, "b", "20", 2), ran(1, "a", "10", 2)); w.Code != 200 || !strings.Contains(*s.sent[0].Batch[0].Body, `"out":"[10,20]"`) {
		t.Errorf("answer %d %s, sent %+v", w.Code, w.Body, s.sent)
	}
	e, s = endpointOf(t, fn(fails(errors.New("no luck"))))
	if w := deliverLog(e, planned(1, "a", 2), planned(2, "b", 2)); w.Code != 500 || said(t, w) != "no luck" || len(s.sent) > 0 {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
	e, s = endpointOf(t, func(ctx *workflow.Context) error {
		none, err := workflow.Parallel[int](ctx)
		if len(none) > 0 {
			t.Errorf("results %v of nothing", none)
		}
		return errors.Join(err, one(ctx))
	})
	if w := deliverLog(e); w.Code != 200 || len(s.sent) != 1 {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
}

// The request of a Call is what it was when it was started.
func TestCallKeepsItsRequest(t *testing.T) {
	e, s := endpointOf(t, func(ctx *workflow.Context) error {
		r := workflow.CallRequest{URL: "https://api.third/", Header: http.Header{"x-key": {"a", "b"}}, Body: []byte("abc")}
		f := workflow.CallAsync(ctx, "ask", r)
		r.Header.Set("x-key", "changed")
		r.Body[0] = 'X'
		return only(f.Get())
	})
	deliverLog(e)
	item := s.sent[0].Batch[0]
	if item.Headers["upstash-forward-x-key"] != "a, b" || *item.Body != "abc" {
		t.Errorf("sent %v %s", item.Headers, *item.Body)
	}
}

// TestCallRetries: the server may tell of every attempt; only the last counts.
func TestCallRetries(t *testing.T) {
	for body, sent := range map[string]int{
		`{"status":500,"retried":1,"maxRetries":3}`: 0,
		`{"status":500,"maxRetries":3}`:             0,
		`{"status":500,"retried":3,"maxRetries":3}`: 1,
		`{"status":200,"retried":1,"maxRetries":3}`: 1,
		`{"status":500,"maxRetries":0}`:             1,
		`{"status":0}`:                              1,
	} {
		g := newGuarded(t, allow, nil)
		r := calling[workflow.KindCallback]()
		w := g.do(signed("/onboard", body, map[string]string{
			wire.HeaderWorkflowCallback: "true", wire.HeaderWorkflowRunID: "wfr_1", wire.HeaderWorkflowStepID: "1", wire.HeaderWorkflowConcurrent: "1",
			wire.HeaderWorkflowStepName: r.Header.Get(wire.HeaderWorkflowStepName), wire.HeaderWorkflowStepType: "Call"}))
		if w.Code != 200 || !strings.Contains(w.Body.String(), "fromCallback") || len(g.stub.sent) != 1+sent {
			t.Errorf("%s: answer %d %s, sent %d requests", body, w.Code, w.Body, len(g.stub.sent))
		}
	}
}

// TestLazyCallback: a callback without a body is looked up in the log.
func TestLazyCallback(t *testing.T) {
	g := newGuarded(t, allow, nil)
	g.stub.replies["GET /v2/workflows/runs/wfr_1"] = wire.EncodeLog(nil, []wire.LogEntry{
		{MessageID: "msg_0"},
		{MessageID: "msg_C", CallType: wire.CallFrom, Body: []byte(`{"status":201,"body":"b2s="}`)},
	})
	r := calling[workflow.KindCallback]()
	headers := map[string]string{}
	for name := range r.Header {
		headers[name] = r.Header.Get(name)
	}
	w := g.do(signed("/onboard", "", headers))
	if w.Code != 200 || len(g.stub.sent) != 2 || !strings.Contains(*g.stub.sent[1].Body, `\"status\":201,\"body\":\"ok\"`) {
		t.Errorf("answer %d %s, sent %+v", w.Code, w.Body, g.stub.sent)
	}
}

func TestOnFailure(t *testing.T) {
	tests := []struct {
		name   string
		do     func() (string, error)
		status int
		want   string
	}{
		{"result", func() (string, error) { return "a\"b", nil }, 200, `{"result":"a\"b"}`},
		{"no result", func() (string, error) { return "", nil }, 200, `{}`},
		{"error", func() (string, error) { return "", errors.New("no") }, 500, `{"error":"Error","message":"no"}`},
		{"final error", func() (string, error) { return "", workflow.NonRetryable(errors.New("no")) }, 489, `{"error":"WorkflowNonRetryableError","message":"no"}`},
		{"later", func() (string, error) { return "", workflow.RetryAfter(errors.New("no"), time.Minute) }, 429, `{"error":"WorkflowRetryAfterError","message":"no"}`},
		{"panic", func() (string, error) { panic("no") }, 500, `{"error":"Error","message":"panic: no"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuarded(t, allow, func(o *workflow.Options) {
				o.OnFailure = func(*workflow.FailureContext) (string, error) { return tt.do() }
			})
			w := g.do(calling[workflow.KindFailure]())
			if got := strings.TrimSpace(w.Body.String()); w.Code != tt.status || got != tt.want {
				t.Errorf("answer %d %s, want %d %s", w.Code, got, tt.status, tt.want)
			}
			g.wantIdle(t)
		})
	}
	t.Run("none", func(t *testing.T) {
		g := newGuarded(t, allow, func(o *workflow.Options) { o.OnFailure = nil })
		w := g.do(calling[workflow.KindFailure]())
		if w.Code != 200 || w.Header().Get(wire.HeaderWorkflowNotFound) != "true" {
			t.Errorf("answer %d %v", w.Code, w.Header())
		}
		g.wantIdle(t)
	})
}

// What the endpoint answered may be anything, or nothing.
func TestFailureResponse(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":"E","message":"m"}`: "m",
		`{"error":"E"}`:               `{"error":"E"}`,
		`<html>`:                      "<html>",
		``:                            "",
		"\xff":                        "\xff",
	} {
		var got *workflow.FailureContext
		g := newGuarded(t, allow, func(o *workflow.Options) {
			o.OnFailure = func(ctx *workflow.FailureContext) (string, error) { got = ctx; return "", nil }
		})
		report, err := wire.CallbackBody{Body: []byte(body), WorkflowRunID: "wfr_1"}.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if w := g.do(signed("/onboard", string(report), failureHeaders("wfr_1"))); w.Code != 200 {
			t.Fatalf("answer %d %s", w.Code, w.Body)
		}
		if got.Response != want || string(got.ResponseBody) != body || !got.CreatedAt.IsZero() || len(got.Payload) != 0 {
			t.Errorf("body %q: response %q, want %q", body, got.Response, want)
		}
	}
}

// A server that takes messages and answers of 10 MiB reports both at once, in
// base64.
func TestLargestReport(t *testing.T) {
	g := newGuarded(t, allow, nil)
	for size, want := range map[int]int{20 << 20 / 3 * 4: http.StatusUnauthorized, 32<<20 + 1: http.StatusRequestEntityTooLarge} {
		// What is read and is no report is refused.
		w := g.do(signed("/onboard", strings.Repeat("x", size), failureHeaders("wfr_1")))
		if w.Code != want {
			t.Errorf("%d bytes: answer %d %s, want %d", size, w.Code, w.Body, want)
		}
	}
}

func FuzzDelivery(f *testing.F) {
	for _, kind := range kinds {
		r := calling[kind]()
		body := new(bytes.Buffer)
		_, _ = body.ReadFrom(r.Body)
		f.Add(r.Header.Get(wire.HeaderWorkflowSDKVersion), r.Header.Get(wire.HeaderWorkflowCallback), r.Header.Get(wire.HeaderWorkflowFailureCB), "1", "1", body.Bytes())
	}
	log := wire.EncodeLog(nil, []wire.LogEntry{{MessageID: "msg_0"}, {Body: []byte(`{"stepId":0,"stepName":"a","stepType":"Run","concurrent":2,"targetStep":1}`)}})
	f.Add("1", "", "", "", "", log)
	f.Fuzz(func(t *testing.T, version, callback, failure, place, concurrent string, body []byte) {
		e, _ := endpointOf(t, func(ctx *workflow.Context) error {
			return errors.Join(group("a", "b")(ctx), one(ctx), only(calls(ctx)))
		})
		w := (&guarded{Endpoint: e}).do(signed("/onboard", string(body), map[string]string{
			wire.HeaderWorkflowSDKVersion: version, wire.HeaderWorkflowCallback: callback, wire.HeaderWorkflowFailureCB: failure,
			wire.HeaderWorkflowStepID: place, wire.HeaderWorkflowConcurrent: concurrent, wire.HeaderWorkflowStepName: "a",
			wire.HeaderWorkflowStepType: "Call", wire.HeaderWorkflowRunID: "wfr_1", wire.HeaderMessageID: "msg_0"}))
		if w.Code >= 300 && strings.HasPrefix(said(t, w), "panic") {
			t.Errorf("answer %s", w.Body)
		}
	})
}

// TestMisuseInReplay: goroutines that find steps in the log do no harm, and those
// that do not find them are refused.
func TestMisuseInReplay(t *testing.T) {
	const many = 50
	misplaced := "is used in another goroutine or run than that of its workflow function"
	var log []wire.Step
	for i := range many {
		log = append(log, ran(i+1, "a", "1", 1))
	}
	t.Run("other step than in the log", func(t *testing.T) {
		e, s := endpointOf(t, func(ctx *workflow.Context) error {
			got := make(chan error)
			go func() { got <- only(workflow.Run(ctx, "b", value(1))) }()
			if err := <-got; err == nil || !strings.Contains(err.Error(), misplaced) {
				t.Errorf("the other goroutine got %v", err)
			}
			return nil
		})
		if w := deliverLog(e, log...); !strings.Contains(said(t, w), misplaced) || len(s.sent) > 0 {
			t.Errorf("answer %s, sent %v", w.Body, s.sent)
		}
	})
	t.Run("group under way", func(t *testing.T) {
		e, s := endpointOf(t, func(ctx *workflow.Context) error {
			a, b, got := workflow.RunAsync(ctx, "a", value(1)), workflow.RunAsync(ctx, "b", value(1)), make(chan error)
			go func() { got <- workflow.All(ctx, a, b) }()
			return <-got
		})
		plans := []wire.Step{
			{StepName: "a", StepType: wire.StepRun, Concurrent: 2, TargetStep: 1}, {StepName: "b", StepType: wire.StepRun, Concurrent: 2, TargetStep: 2},
		}
		if w := deliverLog(e, plans...); !strings.Contains(said(t, w), misplaced) || len(s.sent) > 0 {
			t.Errorf("answer %s, sent %v", w.Body, s.sent)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		for range 20 {
			var executed atomic.Int32
			e, s := endpointOf(t, func(ctx *workflow.Context) error {
				var all sync.WaitGroup
				for range 8 {
					all.Go(func() {
						for range many {
							_ = only(workflow.Run(ctx, "a", func(context.Context) (int, error) { return int(executed.Add(1)), nil }))
						}
					})
				}
				all.Wait()
				return nil
			})
			if w := deliverLog(e, log...); !strings.Contains(said(t, w), misplaced) || len(s.sent) > 0 || executed.Load() > 0 {
				t.Fatalf("answer %s, sent %v, %d steps executed", w.Body, s.sent, executed.Load())
			}
		}
	})
	t.Run("when the call is over", func(t *testing.T) {
		over, got := make(chan struct{}), make(chan error, 1)
		e, _ := endpointOf(t, func(ctx *workflow.Context) error {
			go func() { <-over; got <- only(workflow.Run(ctx, "a", value(1))) }()
			return only(workflow.Run(ctx, "a", value(1)))
		})
		if w := deliverLog(e, log...); w.Code != 200 {
			t.Errorf("answer %d %s", w.Code, w.Body)
		}
		close(over)
		if err := <-got; err == nil || !strings.Contains(err.Error(), misplaced) {
			t.Errorf("the other goroutine got %v", err)
		}
	})
}

// TestLongStepName is about a name that the server would not read as a header: what
// else the answer's header says, that the error is final, counts all the same.
func TestLongStepName(t *testing.T) {
	e, _ := endpointOf(t, func(ctx *workflow.Context) error {
		_, err := workflow.Run(ctx, strings.Repeat("é", 50000), func(context.Context) (int, error) { return 0, workflow.NonRetryable(errors.New("no")) })
		return err
	})
	h := deliverLog(e).Header()
	name, cut := strings.CutSuffix(h.Get(wire.HeaderErrorStepName), "…")
	if !cut || name != strings.Repeat("é", 500) || h.Get(wire.HeaderNonRetryable) != "true" {
		t.Errorf("%d bytes of name, cut: %v, header %v", len(name), cut, h.Get(wire.HeaderNonRetryable))
	}
}

// TestUnfitStepName is about names that the log would not hold as they are: the run
// fails before the step has done anything, for it would not find it again.
func TestUnfitStepName(t *testing.T) {
	for _, name := range []string{"caf\xe9", "a\x00"} {
		for _, use := range []func(*workflow.Context) error{
			func(ctx *workflow.Context) error {
				return only(workflow.Run(ctx, name, func(context.Context) (int, error) { t.Errorf("%q runs", name); return 1, nil }))
			},
			func(ctx *workflow.Context) error { return ctx.Sleep(name, time.Second) },
		} {
			e, s := endpointOf(t, use)
			w := deliverLog(e)
			if got := said(t, w); w.Code != 489 || w.Header().Get(wire.HeaderNonRetryable) != "true" || !strings.Contains(got, "must be UTF-8 text") || len(s.sent) > 0 {
				t.Errorf("%q: answer %d %s, sent %v", name, w.Code, got, s.sent)
			}
		}
	}
}
