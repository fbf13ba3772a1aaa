package engine_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// failureCalled is a run that failed, and whose failure callback is answered.
func (w *world) failureCalled(answer func(engine.Attempt) engine.Outcome) *engine.Run {
	w.t.Helper()
	w.respond(func(a engine.Attempt) engine.Outcome {
		if a.Kind == engine.KindFailureCall {
			return answer(a)
		}
		return refusal()
	})
	w.publish(engine.Publish{Destination: workflowURL, Body: []byte("payload"), Config: wire.Config{Method: "POST",
		FailureCallback: &wire.Callback{URL: workflowURL, Header: map[string][]string{"Upstash-Retries": {"1"}, "Upstash-Retry-Delay": {"60000"}}},
		Workflow:        wire.Workflow{Init: true, RunID: "wfr_1", URL: workflowURL, CallType: wire.CallStep}}})
	time.Sleep(time.Second)
	return w.history("wfr_1").Run
}

func (w *world) expectFailure(want engine.FailureState, check func(*engine.FailureHistory) bool) {
	w.t.Helper()
	h := w.history("wfr_1")
	if h.Run.Failure != want || check != nil && (h.Failure == nil || !check(h.Failure)) {
		w.t.Errorf("failure callback is %d, %+v, want %d", h.Run.Failure, h.Failure, want)
	}
}

// Of many those are called again that have failed, a page at a time.
func TestRerunFailureCallbacks(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		w.respond(func(a engine.Attempt) engine.Outcome {
			if a.Kind == engine.KindFailureCall && a.RunID == "wfr_2" {
				return engine.Outcome{Status: 200}
			}
			return refusal()
		})
		var ids []string
		for i := range 4 {
			id := fmt.Sprint("wfr_", i)
			w.publish(engine.Publish{Destination: workflowURL, Config: wire.Config{Method: "POST",
				FailureCallback: &wire.Callback{URL: workflowURL, Header: map[string][]string{"Upstash-Retries": {"0"}}},
				Workflow:        wire.Workflow{Init: true, RunID: id, URL: workflowURL, CallType: wire.CallStep}}})
			time.Sleep(time.Second)
			ids = append(ids, engine.DLQID(w.history(id).Run.DLQ))
		}
		rerun := func(f engine.DLQFilter, cursor string, count int) (names []string, next string) {
			t.Helper()
			runs, next, err := w.engine.RerunFailureCallbacks(ctx, w.caller, f, cursor, count)
			if err != nil {
				t.Fatal(err)
			}
			for _, run := range runs {
				names = append(names, run.ID)
			}
			time.Sleep(time.Second)
			return names, next
		}
		is := func(what string, got []string, want ...string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		succeeded := engine.DLQFilter{Failures: []engine.FailureState{engine.FailureSuccess}}
		got, _ := rerun(succeeded, "", 9)
		is("those that succeeded", got)
		got, next := rerun(engine.DLQFilter{}, "", 2)
		is("first page", got, "wfr_0", "wfr_1")
		w.respond(ok)
		got, next = rerun(engine.DLQFilter{}, next, 2)
		is("second page", got, "wfr_3")
		if next != "" {
			got, next = rerun(engine.DLQFilter{}, next, 2)
			is("the rest", got)
		}
		got, _ = rerun(engine.DLQFilter{IDs: append(ids, "1-0")}, "", 9)
		is("by ids", got, "wfr_0", "wfr_1")
		got, _ = rerun(engine.DLQFilter{}, next, 9)
		is("when all have succeeded", got)
		if n := len(w.audit(engine.AuditFilter{})); n != 5 {
			t.Errorf("the audit log has %d entries", n)
		}
	})
}

// A failure callback that has failed can be called again, and no other.
func TestRerunFailureCallback(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		run := w.failureCalled(status(500))
		id := engine.DLQID(run.DLQ)
		w.expectFailure(engine.FailureInProgress, func(f *engine.FailureHistory) bool {
			return len(f.Errors) == 1 && f.NextDue > time.Now().UnixMilli() && f.Last.Status == 500
		})
		if _, err := w.engine.RerunFailureCallback(ctx, w.caller, id); engine.ErrorCode(err) != engine.Invalid {
			t.Errorf("one in progress: %v", err)
		}
		time.Sleep(2 * time.Minute)
		w.expectFailure(engine.FailureFail, func(f *engine.FailureHistory) bool { return len(f.Errors) == 2 && f.NextDue == 0 })
		first := w.made()
		w.respond(ok)
		if again, err := w.engine.RerunFailureCallback(ctx, w.caller, id); err != nil || again.ID != "wfr_1" {
			t.Fatal(again, err)
		}
		time.Sleep(time.Second)
		w.expectFailure(engine.FailureSuccess, func(f *engine.FailureHistory) bool { return len(f.Errors) == 0 && f.Last.Status == 200 })
		made := w.made()
		a, b := first[len(first)-1], made[len(made)-1]
		if string(a.Body) != string(b.Body) || a.Header.Get(wire.HeaderMessageID) == b.Header.Get(wire.HeaderMessageID) || b.Retried != 0 || b.RunID != "wfr_1" {
			t.Errorf("called again with %+v", b)
		}
		if _, err := w.engine.RerunFailureCallback(ctx, w.caller, id); engine.ErrorCode(err) != engine.Invalid {
			t.Errorf("one that succeeded: %v", err)
		}
		if d := w.dlq(); len(d) != 1 || d[0].Failure == nil || d[0].Failure.Status != 200 {
			t.Errorf("DLQ %+v", d)
		}
	})
}

// One in progress can be cancelled. An attempt under way counts if it succeeds.
func TestCancelFailureCallback(t *testing.T) {
	ctx := context.Background()
	for _, tt := range []struct {
		name   string
		answer func(engine.Attempt) engine.Outcome
		wait   time.Duration
		want   engine.FailureState
	}{
		{"between attempts", status(500), 2 * time.Second, engine.FailureCanceled},
		{"in an attempt that fails", func(a engine.Attempt) engine.Outcome { time.Sleep(10 * time.Second); return status(500)(a) }, 0, engine.FailureCanceled},
		{"in an attempt that succeeds", func(a engine.Attempt) engine.Outcome { time.Sleep(10 * time.Second); return ok(a) }, 0, engine.FailureSuccess},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				run := w.failureCalled(tt.answer)
				time.Sleep(tt.wait)
				if _, err := w.engine.CancelFailureCallback(ctx, w.caller, engine.DLQID(run.DLQ)); err != nil {
					t.Fatal(err)
				}
				w.expectFailure(engine.FailureCanceled, nil)
				time.Sleep(5 * time.Minute)
				w.expectFailure(tt.want, func(f *engine.FailureHistory) bool { return f.NextDue == 0 })
				if n := len(w.made()); n != 2 {
					t.Errorf("%d deliveries, want 2", n)
				}
				for _, do := range []func(context.Context, *engine.Caller, string) (*engine.Run, error){w.engine.CancelFailureCallback, w.engine.RerunFailureCallback} {
					if _, err := do(ctx, w.caller, engine.DLQID(run.DLQ)); engine.ErrorCode(err) != engine.Invalid {
						t.Errorf("afterwards: %v", err)
					}
				}
			})
		})
	}
}

// An entry that is no run's has none.
func TestFailureCallbackOfMessage(t *testing.T) {
	inBubble(t, func(w *world) {
		w.dead()
		id := engine.DLQID(w.dlq()[0].Entry.Seq)
		for name, do := range map[string]func(context.Context, *engine.Caller, string) (*engine.Run, error){
			"rerun": w.engine.RerunFailureCallback, "cancel": w.engine.CancelFailureCallback,
			"resume": func(ctx context.Context, who *engine.Caller, id string) (*engine.Run, error) {
				return w.engine.ResumeRun(ctx, who, id, engine.Resume{})
			},
		} {
			if _, err := do(context.Background(), w.caller, id); engine.ErrorCode(err) != engine.Invalid {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := do(context.Background(), w.caller, "1-1"); engine.ErrorCode(err) != engine.NotFound {
				t.Errorf("%s of none: %v", name, err)
			}
		}
	})
}
