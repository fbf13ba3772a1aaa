package workflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

// checkLog asks an endpoint whether it fits a log after the payload.
func checkLog(t *testing.T, e http.Handler, steps ...wire.Step) wire.CheckReport {
	t.Helper()
	return checkWaiting(t, e, nil, steps...)
}

// checkWaiting is checkLog for a run that waits for the result of a step.
func checkWaiting(t *testing.T, e http.Handler, waiting *wire.CheckStep, steps ...wire.Step) wire.CheckReport {
	t.Helper()
	entries := []wire.LogEntry{{MessageID: "msg_0", CallType: wire.CallStep, Body: []byte(`{"email":"ada@example.com"}`)}}
	for i, s := range steps {
		body, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, wire.LogEntry{MessageID: fmt.Sprintf("msg_%d", i+1), CallType: wire.CallStep, Body: body})
	}
	body, err := json.Marshal(wire.CheckRequest{Log: wire.EncodeLog(nil, entries), Waiting: waiting})
	if err != nil {
		t.Fatal(err)
	}
	r := unsigned("/onboard", string(body), map[string]string{wire.HeaderWorkflowCheck: "true", wire.HeaderWorkflowRunID: "wfr_1"})
	w := (&guarded{Endpoint: e.(*workflow.Endpoint)}).do(bound(r, string(body), receiver.KindCheck, "wfr_1"))
	var report wire.CheckReport
	if err := json.Unmarshal(w.Body.Bytes(), &report); err != nil || w.Code != 200 {
		t.Fatalf("answer %d %s", w.Code, w.Body)
	}
	return report
}

func slept(place int, name string) wire.Step {
	return wire.Step{StepID: place, StepName: name, StepType: wire.StepSleepFor, SleepFor: wire.SecondsOf(time.Second), Concurrent: 1}
}

func TestCheck(t *testing.T) {
	whole := func(ctx *workflow.Context) error {
		if err := errors.Join(one(ctx), group("b", "c")(ctx)); err != nil {
			return err
		}
		return ctx.Sleep("z", time.Second)
	}
	a, z := ran(1, "a", "1", 1), slept(4, "z")
	plans := []wire.Step{a, planned(2, "b", 2), planned(3, "c", 2)}
	done := append(slices.Clone(plans), ran(3, "c", "1", 2), ran(2, "b", "1", 2))
	for _, tt := range []struct {
		name string
		fn   func(*workflow.Context) error
		log  []wire.Step
		want string
	}{
		{"nothing done yet", whole, nil, "ok after 0: a Run"},
		{"a step done", whole, []wire.Step{a}, "ok after 1: b Run, c Run"},
		{"a group begun", whole, plans, "ok after 1: b Run, c Run"},
		{"a group half done", whole, append(slices.Clone(plans), ran(3, "c", "1", 2)), "ok after 1: b Run"},
		{"a group done", whole, done, "ok after 3: z SleepFor"},
		{"a group done twice", whole, append(slices.Clone(done), done[1:]...), "ok after 3: z SleepFor"},
		{"all done", whole, append(slices.Clone(done), z), "ok after 4: "},
		{"another name", one, []wire.Step{ran(1, "b", "1", 1)},
			"broken after 0: Incompatible step name. Expected 'a', got 'b' from the request"},
		{"another type", one, []wire.Step{slept(1, "a")},
			"broken after 0: Incompatible step type. Expected 'Run', got 'SleepFor' from the request"},
		{"another type in a group", whole, []wire.Step{a, {StepName: "b", StepType: wire.StepCall, Concurrent: 2, TargetStep: 2}, planned(3, "c", 2)},
			"broken after 1: Incompatible step type. Expected 'Run', got 'Call' from the request"},
		{"a name in a group, of a step that is not last", whole, []wire.Step{a, planned(2, "x", 2), planned(3, "c", 2)},
			"broken after 1: Incompatible step name. Expected 'b', got 'x' from the request"},
		{"a larger group", group("a", "b", "c"), []wire.Step{planned(1, "a", 2), planned(2, "b", 2)},
			"broken after 0: Incompatible number of parallel steps when call state was 'partial'. Expected 3, got 2 from the request."},
		{"a smaller group", group("a", "b"), []wire.Step{planned(1, "a", 3), planned(2, "b", 3), planned(3, "c", 3)},
			"broken after 0: Incompatible number of parallel steps when call state was 'partial'. Expected 2, got 3 from the request."},
		{"a step where there was a group", one, []wire.Step{planned(1, "a", 2), planned(2, "b", 2)},
			"broken after 0: Incompatible number of parallel steps when call state was 'single'. Expected 1, got 2 from the request."},
		{"an earlier end", one, []wire.Step{a, slept(2, "z")}, "broken after 1: The function ends after 1 steps, but the log has 2"},
		{"an end within a group", one, []wire.Step{a, planned(2, "b", 2), planned(3, "c", 2)},
			"broken after 1: The function ends after 1 steps, but the log has 3"},
		{"an error on the way", func(ctx *workflow.Context) error { return errors.Join(one(ctx), errors.New("no more")) },
			[]wire.Step{a}, "broken after 1: no more"},
		{"an error that is a nil pointer", func(ctx *workflow.Context) error { _ = one(ctx); var none *failure; return none }, []wire.Step{a},
			"broken after 1: panic: runtime error: invalid memory address or nil pointer dereference"},
		{"a panic on the way", func(ctx *workflow.Context) error { _ = one(ctx); panic("oops") }, []wire.Step{a}, "broken after 1: panic: oops"},
		{"a result that does not fit", one, []wire.Step{ran(1, "a", `"text"`, 1)},
			"broken after 1: The result of step 'a' in the log is not what the workflow expects: json: cannot unmarshal string into Go value of type int"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, stub := endpointOf(t, tt.fn)
			if got := checkText(checkLog(t, e, tt.log...)); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
			if len(stub.sent) > 0 {
				t.Errorf("sent %v", stub.sent)
			}
		})
	}
}

func checkText(r wire.CheckReport) string {
	var next []string
	for _, s := range r.Next {
		next = append(next, s.StepName+" "+string(s.StepType))
	}
	return fmt.Sprintf("%s after %d: %s", r.Check, r.Steps, r.Error+strings.Join(next, ", "))
}

// What a run waits for is not in its log, and comes all the same: code that has
// another step in that place would break it then.
func TestCheckOfWaitingRun(t *testing.T) {
	waits := func(ctx *workflow.Context) error {
		_, err := workflow.WaitForEvent[string](ctx, "paid", "paid-1", time.Hour)
		return err
	}
	both := func(a, b func(*workflow.Context) error) func(*workflow.Context) error {
		return func(ctx *workflow.Context) error {
			if err := a(ctx); err != nil {
				return err
			}
			return b(ctx)
		}
	}
	versioned := func(ctx *workflow.Context) error {
		if err := one(ctx); err != nil {
			return err
		}
		v, err := workflow.Version(ctx, "check", 0, 1)
		if err != nil {
			return err
		}
		if v == 1 {
			return ctx.Sleep("think", time.Second)
		}
		return waits(ctx)
	}
	paid, a := &wire.CheckStep{StepName: "paid", StepType: wire.StepWait}, ran(1, "a", "1", 1)
	for _, tt := range []struct {
		name    string
		fn      func(*workflow.Context) error
		waiting *wire.CheckStep
		log     []wire.Step
		want    string
	}{
		{"the same step", both(one, waits), paid, []wire.Step{a}, "ok after 1: paid Wait"},
		{"the same step, the first", waits, paid, nil, "ok after 0: paid Wait"},
		{"after a group", both(group("a", "b"), waits), paid,
			[]wire.Step{planned(1, "a", 2), planned(2, "b", 2), ran(1, "a", "1", 2), ran(2, "b", "2", 2)}, "ok after 2: paid Wait"},
		{"another before it", both(one, group("b")), paid, []wire.Step{a},
			"broken after 1: Incompatible step name. Expected 'b', got 'paid' from the request"},
		{"another type", both(one, waits), &wire.CheckStep{StepName: "paid", StepType: wire.StepCall}, []wire.Step{a},
			"broken after 1: Incompatible step type. Expected 'Wait', got 'Call' from the request"},
		{"a group in its place", both(one, group("b", "c")), paid, []wire.Step{a},
			"broken after 1: Incompatible number of parallel steps when call state was 'partial'. Expected 2, got 1 from the request."},
		{"none in its place", one, paid, []wire.Step{a}, "broken after 1: The function ends after 1 steps, but the log has 2"},
		{"a version before it", versioned, paid, []wire.Step{a}, "ok after 1: paid Wait"},
		{"a version where nothing is waited for", versioned, nil, []wire.Step{a}, "ok after 1: version: check Run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, stub := endpointOf(t, tt.fn)
			if got := checkText(checkWaiting(t, e, tt.waiting, tt.log...)); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
			if len(stub.sent) > 0 {
				t.Errorf("sent %v", stub.sent)
			}
		})
	}
}

// A check asks who may call, and executes nothing.
func TestCheckIsAuthorized(t *testing.T) {
	call := func() *http.Request {
		return bound(calling[workflow.KindCheck](), readBody(t, calling[workflow.KindCheck]()), receiver.KindCheck, "wfr_1")
	}
	var seen string
	g := newGuarded(t, allow, func(o *workflow.Options) {
		o.Authorize = func(_ context.Context, r *workflow.AuthRequest) error {
			seen = fmt.Sprintf("%s of %s by %s with %s", r.Kind, r.RunID, r.Header.Get("X-Tenant"), r.Payload)
			return nil
		}
	})
	if w := g.do(call()); w.Code != 200 || seen != `check of wfr_1 by t1 with {"email":"ada@example.com"}` {
		t.Errorf("Authorize saw %q, answer %d %s", seen, w.Code, w.Body)
	}
	g.wantIdle(t)
	g = newGuarded(t, func(*workflow.Context) (bool, error) { return false, errors.New("denied") }, nil)
	g.wantRefused(t, g.do(call()), "denied")
}

// Without claims a signature is not one for a check: another call's may have
// been marked so.
func TestCheckNeedsItsToken(t *testing.T) {
	g := newGuarded(t, allow, nil)
	g.wantRefused(t, g.do(calling[workflow.KindCheck]()), "header mismatch")
}

func TestCheckOfNoLog(t *testing.T) {
	for body, want := range map[string]string{
		``:                       "unexpected end of JSON input",
		`[]`:                     "cannot unmarshal array",
		`{}`:                     "log: expected a JSON array of log entries",
		`{"log":[]}`:             "it has no entries",
		`{"log":[{"body":"?"}]}`: "log.[0].body: ",
	} {
		g := newGuarded(t, allow, nil)
		r := unsigned("/onboard", body, map[string]string{wire.HeaderWorkflowCheck: "true", wire.HeaderWorkflowRunID: "wfr_1"})
		w := g.do(bound(r, body, receiver.KindCheck, "wfr_1"))
		if w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: answer %d %s, want %q", body, w.Code, w.Body, want)
		}
		g.wantIdle(t)
	}
}
