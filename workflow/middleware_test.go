package workflow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/workflow"
)

type noteKey string

// noting is a middleware that notes what it sees under a name.
func noting(name string, notes *[]string) workflow.Middleware {
	note := func(format string, args ...any) { *notes = append(*notes, name+": "+fmt.Sprintf(format, args...)) }
	return workflow.Middleware{
		RunStarted: func(_ context.Context, r workflow.RunInfo) { note("%s started, %d", r.RunID, r.Retried) },
		Step: func(ctx context.Context, s workflow.StepInfo, next func(context.Context) error) error {
			note("before %d %s %s of %d", s.Place, s.Name, s.Type, s.Concurrent)
			err := next(context.WithValue(ctx, noteKey(name), s.Name))
			note("after %s: %v", s.Name, err)
			return err
		},
		RunCompleted: func(_ context.Context, r workflow.RunInfo, result []byte) {
			note("%s completed with %s", r.RunID, result)
		},
		Error: func(_ context.Context, r workflow.RunInfo, err error) {
			note("%s call: %v, %d", r.Kind, err, r.Retried)
		},
	}
}

func TestMiddleware(t *testing.T) {
	third := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer third.Close()
	var notes []string
	s, tries := newStage(t), 0
	serveOn(t, s, func(o *workflow.Options) {
		o.Middleware = []workflow.Middleware{noting("outer", &notes), {}, noting("inner", &notes)}
	}, func(ctx *workflow.Context, _ any) (string, error) {
		if _, err := workflow.Run(ctx, "a", func(ctx context.Context) (int, error) {
			notes = append(notes, fmt.Sprint(ctx.Value(noteKey("outer")), " ", ctx.Value(noteKey("inner"))))
			if tries++; tries == 1 {
				return 0, errors.New("not yet")
			}
			return 1, nil
		}); err != nil {
			return "", err
		}
		if err := workflow.All(ctx, ctx.SleepAsync("s", time.Second), workflow.RunAsync(ctx, "b", value(2))); err != nil {
			return "", err
		}
		if _, err := workflow.Call(ctx, "c", workflow.CallRequest{URL: third.URL}); err != nil {
			return "", err
		}
		return "done", nil
	})
	if run := s.trigger(t, client.TriggerRequest{}); run.State != client.RunSuccess {
		t.Fatalf("the run ended as %q", run.State)
	}
	want := []string{
		"outer: wfr_1 started, 0", "inner: wfr_1 started, 0",
		"outer: before 1 a Run of 1", "inner: before 1 a Run of 1", "a a", "inner: after a: not yet", "outer: after a: not yet",
		"outer: step call: not yet, 0", "inner: step call: not yet, 0",
		"outer: wfr_1 started, 1", "inner: wfr_1 started, 1",
		"outer: before 1 a Run of 1", "inner: before 1 a Run of 1", "a a", "inner: after a: <nil>", "outer: after a: <nil>",
		"outer: before 3 b Run of 2", "inner: before 3 b Run of 2", "inner: after b: <nil>", "outer: after b: <nil>",
		"outer: before 2 s SleepFor of 2", "inner: before 2 s SleepFor of 2", "inner: after s: <nil>", "outer: after s: <nil>",
		"outer: before 4 c Call of 1", "inner: before 4 c Call of 1", "inner: after c: <nil>", "outer: after c: <nil>",
		`outer: wfr_1 completed with "done"`, `inner: wfr_1 completed with "done"`,
	}
	if !slices.Equal(notes, want) {
		t.Errorf("noted\n%s\nwant\n%s", strings.Join(notes, "\n"), strings.Join(want, "\n"))
	}
}

// What a middleware does wrong fails the step if it is in a step's way, and
// nothing else.
func TestMiddlewareFails(t *testing.T) {
	step := func(f func(next func(context.Context) error) error) workflow.Middleware {
		return workflow.Middleware{Step: func(_ context.Context, _ workflow.StepInfo, next func(context.Context) error) error { return f(next) }}
	}
	for _, tt := range []struct {
		name string
		m    workflow.Middleware
		want string // message of the answer; "": 200
	}{
		{"does not call next", step(func(func(context.Context) error) error { return nil }), "a middleware did not call next, and returned no error"},
		{"refuses", step(func(func(context.Context) error) error { return errors.New("not today") }), "not today"},
		{"panics", step(func(func(context.Context) error) error { panic("oops") }), "panic: oops"},
		{"panics elsewhere", workflow.Middleware{
			RunStarted:   func(context.Context, workflow.RunInfo) { panic("oops") },
			RunCompleted: func(context.Context, workflow.RunInfo, []byte) { panic("oops") },
			Error:        func(context.Context, workflow.RunInfo, error) { panic("oops") },
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuarded(t, allow, func(o *workflow.Options) { o.Middleware = []workflow.Middleware{tt.m} })
			w := g.do(calling[workflow.KindStep]())
			if tt.want == "" {
				if w.Code != 200 {
					t.Errorf("answer %d %s", w.Code, w.Body)
				}
				return
			}
			if w.Code != 500 || said(t, w) != tt.want {
				t.Errorf("answer %d %s, want %q", w.Code, w.Body, tt.want)
			}
			g.wantIdle(t)
		})
	}
}

// A step that fails is told once by the middleware, and its call once by the
// endpoint's own logger.
func TestLogging(t *testing.T) {
	s := newStage(t)
	var log bytes.Buffer
	serveOn(t, s, func(o *workflow.Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		o.Middleware = []workflow.Middleware{workflow.Logging(o.Logger)}
	}, func(ctx *workflow.Context, _ any) (int, error) {
		if _, err := workflow.Run(ctx, "a", value(1)); err != nil {
			return 0, err
		}
		return workflow.Run(ctx, "b", func(context.Context) (int, error) {
			if ctx.Retried == 0 {
				return 0, errors.New("not yet")
			}
			return 1, nil
		})
	})
	s.trigger(t, client.TriggerRequest{})
	url := s.url + "/onboard"
	for _, want := range []string{
		`msg="workflow run started" run=wfr_1 url=` + url,
		`msg="workflow step" run=wfr_1 url=` + url + ` step=a type=Run took=`,
		`level=WARN msg="workflow step failed" run=wfr_1 url=` + url + ` step=b type=Run took=`,
		`level=ERROR msg="workflow call failed" status=500 error="not yet" `,
		` run=wfr_1 retried=0 step=b`,
		`msg="workflow step" run=wfr_1 url=` + url + ` step=b type=Run took=`,
		`msg="workflow run completed" run=wfr_1`,
	} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("the log lacks %s:\n%s", want, &log)
		}
	}
	if n := strings.Count(log.String(), "not yet"); n != 2 {
		t.Errorf("the failure is logged %d times:\n%s", n, &log)
	}
}

func TestValidate(t *testing.T) {
	s := newStage(t)
	type payload struct{ N int }
	var failed string
	e := serveOn(t, s, func(o *workflow.Options) {
		o.Validate = func(p any) error {
			if n := p.(payload).N; n < 1 {
				return fmt.Errorf("N is %d, expected 1 or more", n)
			}
			return nil
		}
		o.OnFailure = func(c *workflow.FailureContext) (string, error) {
			failed = c.Response
			return "", nil
		}
	}, func(ctx *workflow.Context, p payload) (int, error) { return workflow.Run(ctx, "a", value(p.N)) })
	if run := s.trigger(t, client.TriggerRequest{Body: []byte(`{"N":3}`)}); run.State != client.RunSuccess || run.Response != "3" {
		t.Errorf("a valid payload: %s %s", run.State, run.Response)
	}
	deliveries := 0
	s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		deliveries++
		e.ServeHTTP(w, r)
	}))
	if run := s.trigger(t, client.TriggerRequest{Body: []byte(`{"N":0}`)}); run.State != client.RunFailed {
		t.Errorf("one that is not valid: %s", run.State)
	}
	// The failure function would get a payload that it can't expect: it is refused, too.
	if failed != "" || deliveries != 2 {
		t.Errorf("failure function told %q, %d deliveries", failed, deliveries)
	}
}
