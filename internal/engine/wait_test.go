package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/pgtest"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/internal/wire"
)

// waitHeader is that of an endpoint's request to wait.
func waitHeader(run string, more ...string) http.Header {
	h := http.Header{
		"Upstash-Workflow-Runid": {run}, "Upstash-Workflow-Init": {"false"}, "Upstash-Workflow-Url": {workflowURL},
		"Upstash-Workflow-Calltype": {"step"}, "Upstash-Forward-Upstash-Workflow-Sdk-Version": {"1"}, "Content-Type": {"application/json"},
		"Authorization": {"Bearer secret"}, "User-Agent": {"sdk"},
	}
	for i := 0; i < len(more); i += 2 {
		h[more[i]] = []string{more[i+1]}
	}
	return h
}

// waitRequest is what an endpoint asks for; change may be nil.
func waitRequest(stepID, concurrent int, change func(*wire.Wait)) *wire.Wait {
	w := &wire.Wait{
		URL: workflowURL, Timeout: 7 * 24 * time.Hour, TimeoutText: "7d",
		Step: wire.Step{StepID: stepID, StepName: fmt.Sprint("wait ", stepID), StepType: wire.StepWait, Concurrent: concurrent},
	}
	if change != nil {
		change(w)
	}
	return w
}

func (w *world) waits(run, event string, stepID int, change func(*wire.Wait)) {
	w.t.Helper()
	if err := w.engine.Wait(context.Background(), w.caller, event, waitHeader(run), waitRequest(stepID, 1, change)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) notify(event, body string) []engine.RunWait {
	w.t.Helper()
	told, err := w.engine.Notify(context.Background(), w.caller, event, []byte(body))
	if err != nil {
		w.t.Fatal(err)
	}
	return told
}

func (w *world) notifyRun(run, event, body string) *engine.RunWait {
	w.t.Helper()
	told, err := w.engine.NotifyRun(context.Background(), w.caller, run, event, []byte(body))
	if err != nil || len(told) != 1 {
		w.t.Fatalf("told %v, %v", told, err)
	}
	return &told[0]
}

// runLog is a run's log as an endpoint gets it, all parts together.
func (w *world) runLog(run string) (log []*engine.LogEntry, err error) {
	w.t.Helper()
	err = w.engine.RunLog(context.Background(), w.caller, run, func(part []*engine.LogEntry) error {
		log = append(log, part...)
		return nil
	})
	return log, err
}

// What is named before an event's slash is a run if there is one, active or not,
// or if it looks like one; else it belongs to the event's id.
func TestRunOrEvent(t *testing.T) {
	inBubble(t, func(w *world) {
		for _, id := range []string{"active", "ended"} {
			w.delayedRun(id)
		}
		w.cancel("ended")
		for _, test := range []struct{ named, told, refused string }{
			{"active", "active", ""},
			{"ended", "", "workflow run ended is not active"},
			{"wfr_unknown", "", "workflow run wfr_unknown is not active"},
			{"unknown", "waits for unknown", ""},
		} {
			waiting := "waits for " + test.named
			w.delayedRun(waiting)
			w.waits(waiting, test.named+"/e/f", 1, nil)
			told, err := w.engine.NotifyRun(context.Background(), w.caller, test.named, "e/f", []byte("x"))
			if test.refused != "" {
				if engine.ErrorCode(err) != engine.NotFound || err.Error() != test.refused {
					t.Errorf("%s: %v", test.named, err)
				}
				continue
			}
			if err != nil || len(told) != 1 || told[0].Run.ID != test.told {
				t.Errorf("%s: told %+v, %v", test.named, told, err)
			}
		}
	})
}

// steps are the results and plans in a run's log.
func (w *world) steps(run string) (out []wire.Step) {
	w.t.Helper()
	log, err := w.runLog(run)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range log[1:] {
		s, err := wire.ParseStep(e.Body)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// outs are what the results in a run's log say, "timeout" for those that waited
// in vain.
func (w *world) outs(run string) (out []string) {
	w.t.Helper()
	for _, s := range w.steps(run) {
		switch {
		case s.WaitTimeout && s.Out == nil:
			out = append(out, "timeout")
		case s.Out != nil:
			out = append(out, unbase64(*s.Out))
		default:
			out = append(out, "?")
		}
	}
	return out
}

func unbase64(s string) string {
	var b []byte
	if err := json.Unmarshal([]byte(`"`+s+`"`), &b); err != nil {
		return err.Error()
	}
	return string(b)
}

func (w *world) expectOuts(run string, want ...string) {
	w.t.Helper()
	if got := w.outs(run); !slices.Equal(got, want) {
		w.t.Errorf("%s was told %q, want %q", run, got, want)
	}
}

func (w *world) expectStep(run string, want engine.StepState, check func(*engine.StepHistory) bool) {
	w.t.Helper()
	h := w.history(run)
	group := h.Groups[len(h.Groups)-1]
	if last := &group.Steps[len(group.Steps)-1]; last.State != want || check != nil && !check(last) {
		w.t.Errorf("last step of %s is %+v, want state %v", run, last, want)
	}
}

// Who waits is told once, with the event as it was sent, at the URL and with the
// headers that it asked with; nobody learns its credentials.
func TestWaitIsTold(t *testing.T) {
	inBubble(t, func(w *world) {
		w.trigger("wfr_1", 5)
		time.Sleep(time.Second)
		if told := w.notify("order 1", "early"); len(told) != 0 {
			t.Errorf("told %v before anybody waited", told)
		}
		began := time.Now()
		w.waits("wfr_1", "order 1", 1, nil)
		w.expectStep("wfr_1", engine.StepProgress, func(s *engine.StepHistory) bool {
			return s.Wait != nil && s.Wait.Settings.Timeout == "7d" && s.Wait.Deadline == began.Add(7*24*time.Hour).UnixMilli() && s.Step.WaitEventID == "order 1"
		})
		waiters, err := w.engine.Waiters(context.Background(), w.caller, "order 1")
		if err != nil || len(waiters) != 1 || waiters[0].Run.ID != "wfr_1" || waiters[0].URL != workflowURL {
			t.Fatalf("waiters %+v, %v", waiters, err)
		}
		if h := waiters[0].Header; h.Get("Authorization") != "" || h.Get("User-Agent") != "" || h.Get("Upstash-Workflow-Runid") != "wfr_1" {
			t.Errorf("kept header %v", h)
		}
		if others, _ := w.engine.Waiters(context.Background(), w.caller, "order 2"); len(others) != 0 {
			t.Errorf("waiters of another event: %v", others)
		}
		told := w.notify("order 1", `{"amount":"ü"}`)
		if len(told) != 1 || told[0].Message == "" || told[0].Run.ID != "wfr_1" || told[0].Wait.Seq != waiters[0].Wait.Seq {
			t.Fatalf("told %+v", told)
		}
		if again := w.notify("order 1", "late"); len(again) != 0 {
			t.Errorf("told again: %v", again)
		}
		time.Sleep(time.Second)
		made := w.made()
		last := made[len(made)-1]
		if len(made) != 2 || last.URL != workflowURL || last.Header.Get("Upstash-Workflow-Sdk-Version") != "1" || last.Header.Get("Upstash-Message-Id") != told[0].Message {
			t.Fatalf("delivered %+v", last)
		}
		log, err := wire.ParseLog(last.Body)
		if err != nil || len(log) != 2 || log[1].MessageID != told[0].Message || log[1].CallType != wire.CallStep {
			t.Fatalf("log %+v, %v", log, err)
		}
		want := `{"stepId":1,"stepName":"wait 1","stepType":"Wait","waitEventId":"order 1","out":"eyJhbW91bnQiOiLDvCJ9","concurrent":1}`
		if string(log[1].Body) != want {
			t.Errorf("got  %s\nwant %s", log[1].Body, want)
		}
		w.expectStep("wfr_1", engine.StepSuccess, func(s *engine.StepHistory) bool { return s.Wait != nil && s.Message.String() == told[0].Message })
		if m := w.history("wfr_1").Groups[1].Steps[0].Message; m.MaxRetries != 5 {
			t.Errorf("the result has %d retries, the run 5", m.MaxRetries)
		}
	})
}

// An event without data is one all the same.
func TestEmptyEvent(t *testing.T) {
	inBubble(t, func(w *world) {
		w.trigger("wfr_1", 0)
		w.waits("wfr_1", "e", 1, nil)
		w.notify("e", "")
		if s := w.steps("wfr_1")[0]; s.Out == nil || *s.Out != "" || s.WaitTimeout {
			t.Errorf("result %+v", s)
		}
	})
}

// Who waits in vain is told that at the deadline, as it asked to be, and no
// event after that; a restart in between makes no difference, nor does one that
// takes until after it.
func TestWaitTimesOut(t *testing.T) {
	inBubble(t, func(w *world) {
		began := time.Now()
		for i := range 4 {
			run := fmt.Sprint("wfr_", i)
			w.trigger(run, 0)
			w.waits(run, "e", 1, func(r *wire.Wait) {
				r.Timeout = time.Duration(i) * time.Hour
				r.TimeoutURL = "https://app.example/late"
				r.TimeoutHeader = waitHeader(run, "Upstash-Forward-X-Late", "1")
			})
		}
		late := func() (all []string) {
			for _, a := range w.made() {
				if a.URL == "https://app.example/late" && a.Header.Get("X-Late") == "1" {
					all = append(all, fmt.Sprint(a.Header.Get("Upstash-Workflow-Runid"), " after ", a.at.Sub(began).Round(time.Second)))
				}
			}
			return all
		}
		time.Sleep(time.Minute)
		w.stop()
		w.start()
		time.Sleep(90 * time.Minute)
		w.stop()
		time.Sleep(time.Hour)
		w.start()
		time.Sleep(time.Minute)
		if told := w.notify("e", "x"); len(told) != 1 || told[0].Run.ID != "wfr_3" {
			t.Errorf("told %v, want the one who still waits", told)
		}
		time.Sleep(24 * time.Hour)
		if got, want := fmt.Sprint(late()), "[wfr_0 after 0s wfr_1 after 1h0m0s wfr_2 after 2h31m0s]"; got != want {
			t.Errorf("late: %s, want %s", got, want)
		}
		want := wire.Step{StepID: 1, StepName: "wait 1", StepType: wire.StepWait, WaitEventID: "e", WaitTimeout: true, Concurrent: 1}
		if got := w.steps("wfr_1"); len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
			t.Errorf("log %+v", got)
		}
		w.expectOuts("wfr_3", "x")
		w.expectStep("wfr_1", engine.StepSuccess, func(s *engine.StepHistory) bool { return s.Step.WaitTimeout })
	})
}

// A deadline that is sooner than all that is known of is not missed, also if
// there are schedules.
func TestDeadlinesAmongSchedules(t *testing.T) {
	inBubble(t, func(w *world) {
		w.putSchedule("0 0 1 1 *")
		w.trigger("wfr_1", 0)
		time.Sleep(time.Hour)
		for i, d := range []time.Duration{20 * time.Minute, time.Minute, 10 * time.Minute} {
			run := fmt.Sprint("wfr_", i+2)
			w.trigger(run, 0)
			w.waits(run, "e", 1, func(r *wire.Wait) { r.Timeout = d })
			time.Sleep(time.Second)
		}
		for _, at := range []struct {
			after time.Duration
			left  int
		}{{30 * time.Second, 3}, {time.Minute, 2}, {9 * time.Minute, 1}, {10 * time.Minute, 0}} {
			time.Sleep(at.after)
			if waiters, err := w.engine.Waiters(context.Background(), w.caller, "e"); len(waiters) != at.left || err != nil {
				t.Errorf("%d wait, want %d, error %v", len(waiters), at.left, err)
			}
		}
	})
}

// An endpoint that was called twice asks twice to wait, and waits once, whether
// the event has come meanwhile or not.
func TestWaitAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		w.trigger("wfr_1", 0)
		w.waits("wfr_1", "e", 1, nil)
		w.waits("wfr_1", "e", 1, nil)
		w.waits("wfr_1", "other", 1, func(r *wire.Wait) { r.Timeout = time.Second })
		time.Sleep(time.Minute)
		if told := w.notify("e", "x"); len(told) != 1 {
			t.Errorf("told %d, want 1", len(told))
		}
		w.waits("wfr_1", "e", 1, nil)
		if told := w.notify("e", "y"); len(told) != 0 {
			t.Errorf("told %v again", told)
		}
		w.expectOuts("wfr_1", "x")
	})
}

// The result that an endpoint has written itself counts, and the wait is over.
func TestStepHasOneResult(t *testing.T) {
	inBubble(t, func(w *world) {
		w.trigger("wfr_1", 0)
		w.waits("wfr_1", "e", 1, func(r *wire.Wait) { r.Timeout = time.Hour })
		(&endpoint{w: w}).append("wfr_1", wire.Step{StepID: 1, StepName: "wait 1", StepType: wire.StepWait, Out: new("b3du"), Concurrent: 1})
		if told := w.notify("e", "x"); len(told) != 0 {
			t.Errorf("told %v", told)
		}
		time.Sleep(2 * time.Hour)
		w.expectOuts("wfr_1", "own")
		if waiters, _ := w.engine.Waiters(context.Background(), w.caller, "e"); len(waiters) != 0 {
			t.Errorf("waiters %v", waiters)
		}
	})
}

// Where a run waits, no other step is taken, and it goes on when it is told.
func TestNoOtherStepWhereARunWaits(t *testing.T) {
	inBubble(t, func(w *world) {
		w.trigger("wfr_1", 0)
		w.waits("wfr_1", "e", 1, nil)
		for want, s := range map[string]wire.Step{
			"body: targetStep: the run waits at step 1":                          {StepName: "p", StepType: wire.StepRun, Concurrent: 3, TargetStep: 1},
			"body: stepType: expected Wait, as the run waits at step 1, got Foo": {StepID: 1, StepName: "s", StepType: "Foo", Concurrent: 1},
		} {
			body, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.engine.Publish(context.Background(), w.caller, []engine.Publish{{Destination: workflowURL, Body: body, Config: wire.Config{
				Method: "POST", Workflow: wire.Workflow{RunID: "wfr_1", URL: workflowURL, CallType: wire.CallStep}}}})
			if engine.ErrorCode(err) != engine.Invalid || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
		if told := w.notify("e", "x"); len(told) != 1 {
			t.Errorf("told %v", told)
		}
		w.expectOuts("wfr_1", "x")
	})
}

// What a run is told before it waits is kept for it, in order, and for no other
// event, run or kind of step.
func TestEventsAreKept(t *testing.T) {
	inBubble(t, func(w *world) {
		w.trigger("wfr_1", 0)
		w.trigger("wfr_2", 0)
		for _, body := range []string{"first", "", "third"} {
			if told := w.notifyRun("wfr_1", "e", body); told.Wait != nil || told.Message != "" || told.Run.ID != "wfr_1" {
				t.Errorf("told %+v before it waited", told)
			}
		}
		w.stop()
		w.start()
		w.waits("wfr_2", "e", 1, nil)
		w.waits("wfr_1", "other", 1, func(r *wire.Wait) { r.Timeout = time.Second })
		time.Sleep(time.Minute)
		for step := 2; step <= 5; step++ {
			w.waits("wfr_1", "e", step, nil)
		}
		w.expectOuts("wfr_1", "timeout", "first", "", "third")
		w.expectOuts("wfr_2")
		if told := w.notifyRun("wfr_1", "e", "fourth"); told.Message == "" || told.StepID != 5 {
			t.Errorf("told %+v", told)
		}
		w.expectOuts("wfr_1", "timeout", "first", "", "third", "fourth")
		if told := w.notify("e", "all"); len(told) != 1 || told[0].Run.ID != "wfr_2" {
			t.Errorf("told %+v", told)
		}
	})
}

// What is kept for a run is bounded, in number and size; what is refused changes
// nothing, and there is room again when the run has waited.
func TestKeptEventsAreBounded(t *testing.T) {
	inBubble(t, func(w *world) {
		w.trigger("wfr_1", 0)
		w.trigger("wfr_2", 0)
		refused := func(run, body string) {
			t.Helper()
			_, err := w.engine.NotifyRun(context.Background(), w.caller, run, "e", []byte(body))
			if engine.ErrorCode(err) != engine.Limited || !strings.Contains(err.Error(), run) {
				t.Errorf("error %v, want one that names the limit", err)
			}
		}
		if err := w.engine.Keep(context.Background(), w.history("wfr_1").Run, 993, engine.WaitEvent, "e0", []byte("x")); err != nil {
			t.Fatal(err)
		}
		for i := range 7 {
			w.notifyRun("wfr_1", fmt.Sprint("e", i), "x")
		}
		refused("wfr_1", "x")
		w.waits("wfr_1", "e0", 1, nil)
		w.notifyRun("wfr_1", "e", "y")
		refused("wfr_1", "z")

		// Calls of webhooks are bounded on their own.
		run := w.history("wfr_1").Run
		if err := w.engine.Keep(context.Background(), run, 1000, engine.WaitWebhook, "hook", []byte("x")); err != nil {
			t.Fatal(err)
		}
		w.waits("wfr_1", "e1", 2, nil)
		w.notifyRun("wfr_1", "e", "y")

		large := strings.Repeat("x", 9<<20)
		w.notifyRun("wfr_2", "e", large)
		refused("wfr_2", large)
		w.waits("wfr_2", "e", 1, nil)
		w.notifyRun("wfr_2", "e", large)
	})
}

// A run that has ended is not told, nor can it wait; what it waited for is over.
func TestWaitsEndWithTheirRun(t *testing.T) {
	ctx := context.Background()
	for name, end := range map[string]func(w *world) error{
		"finished":  func(w *world) error { return w.engine.FinishRun(ctx, w.caller, "wfr_1", nil) },
		"cancelled": func(w *world) error { _, err := w.engine.CancelRun(ctx, w.caller, "wfr_1"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.trigger("wfr_1", 0)
				w.notifyRun("wfr_1", "kept", "x")
				w.waits("wfr_1", "e", 1, func(r *wire.Wait) { r.Timeout = time.Hour })
				if err := end(w); err != nil {
					t.Fatal(err)
				}
				w.expectStep("wfr_1", engine.StepCanceled, func(s *engine.StepHistory) bool { return s.Wait.Dropped() })
				if told := w.notify("e", "x"); len(told) != 0 {
					t.Errorf("told %v", told)
				}
				if _, err := w.engine.NotifyRun(ctx, w.caller, "wfr_1", "e", nil); engine.ErrorCode(err) != engine.NotFound {
					t.Errorf("notify of an ended run: %v", err)
				}
				if err := w.engine.Wait(ctx, w.caller, "e", waitHeader("wfr_1"), waitRequest(1, 1, nil)); engine.ErrorCode(err) != engine.Invalid {
					t.Errorf("wait of an ended run: %v", err)
				}
				time.Sleep(2 * time.Hour)
				if got := w.history("wfr_1").Run.LogLen; got != 1 {
					t.Errorf("log has %d entries, want 1", got)
				}
				w.trigger("wfr_1", 0) // another run of the id
				w.waits("wfr_1", "kept", 1, func(r *wire.Wait) { r.Timeout = time.Second })
				time.Sleep(time.Minute)
				w.expectOuts("wfr_1", "timeout")
			})
		})
	}
}

// In a parallel group, each that waits has a plan in the log, and its result
// comes after all of them.
func TestWaitInParallel(t *testing.T) {
	inBubble(t, func(w *world) {
		w.trigger("wfr_1", 0)
		plan := func(target int, name string, kind wire.StepType) wire.Step {
			return wire.Step{StepName: name, StepType: kind, Concurrent: 3, TargetStep: target, WaitEventID: "planned"}
		}
		(&endpoint{w: w}).append("wfr_1", plan(1, "a", wire.StepWait), plan(2, "b", wire.StepWait), plan(3, "c", wire.StepRun))
		ctx := context.Background()
		for stepID := 1; stepID <= 2; stepID++ {
			if err := w.engine.Wait(ctx, w.caller, "e", waitHeader("wfr_1"), waitRequest(stepID, 3, nil)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		group := w.history("wfr_1").Groups[1]
		for i, s := range group.Steps[:2] {
			if s.State != engine.StepProgress || s.Wait == nil || s.Step.StepID != i+1 {
				t.Errorf("step %d is %+v", i+1, s)
			}
		}
		if told := w.notifyRun("wfr_1", "e", "x"); told.StepID != 1 {
			t.Errorf("told step %d first", told.StepID)
		}
		if told := w.notify("e", "y"); len(told) != 1 || told[0].StepID != 2 {
			t.Errorf("told %+v", told)
		}
		steps := w.steps("wfr_1")
		if len(steps) != 5 || steps[3].StepID != 1 || steps[3].TargetStep != 0 || steps[3].Concurrent != 3 || steps[4].StepID != 2 {
			t.Errorf("log %+v", steps)
		}
		if _, err := w.engine.CancelRun(ctx, w.caller, "wfr_1"); err != nil {
			t.Fatal(err)
		}
		group = w.history("wfr_1").Groups[1]
		if group.Steps[0].State != engine.StepSuccess || group.Steps[1].State != engine.StepSuccess {
			t.Errorf("history %+v", group)
		}
	})
}

// A wait that its run can't have come to, or that could not be delivered, is
// refused, and says what is wrong; nothing changes.
func TestRefusedWaits(t *testing.T) {
	inBubble(t, func(w *world) {
		w.trigger("wfr_1", 0)
		w.trigger("wfr_2", 0)
		(&endpoint{w: w}).append("wfr_1", wire.Step{StepID: 1, StepName: "s", StepType: wire.StepRun, Concurrent: 1})
		(&endpoint{w: w}).append("wfr_2",
			wire.Step{StepName: "a", StepType: wire.StepWait, Concurrent: 2, TargetStep: 1}, wire.Step{StepName: "b", StepType: wire.StepRun, Concurrent: 2, TargetStep: 2})
		narrow := &engine.Caller{Tenant: w.tenant, Token: &engine.Token{Tenant: w.tenant.ID, URLPrefix: "https://app.example"}}
		elsewhere := &engine.Caller{Tenant: w.tenant, Token: &engine.Token{Tenant: w.tenant.ID, URLPrefix: "https://other.example"}}
		step := func(id, concurrent int) *wire.Wait { return waitRequest(id, concurrent, nil) }
		with := func(change func(*wire.Wait)) *wire.Wait { return waitRequest(2, 1, change) }
		for name, test := range map[string]struct {
			who    *engine.Caller
			header http.Header
			event  string
			req    *wire.Wait
			code   engine.Code
			want   string
		}{
			"no run":              {header: http.Header{}, req: step(2, 1), want: "Upstash-Workflow-Runid: expected the id"},
			"unknown run":         {header: waitHeader("wfr_9"), req: step(2, 1), want: "workflow run wfr_9 is not active"},
			"another tenant's":    {who: w.second(), req: step(2, 1), want: "workflow run wfr_1 is not active"},
			"out of reach":        {who: elsewhere, req: with(func(r *wire.Wait) { r.URL, r.TimeoutURL = "https://other.example/", "https://other.example/" }), header: waitHeader("wfr_1", "Upstash-Workflow-Url", "https://other.example/"), want: "workflow run wfr_1 is not active"},
			"delivery elsewhere":  {who: narrow, req: with(func(r *wire.Wait) { r.URL = "https://other.example/" }), code: engine.Forbidden, want: "the token is for URLs"},
			"timeout elsewhere":   {who: narrow, req: with(func(r *wire.Wait) { r.TimeoutURL = "https://other.example/" }), code: engine.Forbidden, want: "the token is for URLs"},
			"init":                {header: waitHeader("wfr_1", "Upstash-Workflow-Init", "true"), req: step(2, 1), want: "Upstash-Workflow-Init: expected false"},
			"call type":           {header: waitHeader("wfr_1", "Upstash-Workflow-Calltype", "toCallback"), req: step(2, 1), want: "Upstash-Workflow-Calltype: expected step"},
			"bad header":          {header: waitHeader("wfr_1", "Upstash-Retries", "x"), req: step(2, 1), want: "Upstash-Retries: expected"},
			"queue":               {header: waitHeader("wfr_1", "Upstash-Queue-Name", "q"), req: step(2, 1), want: "Upstash-Queue-Name: messages of workflow runs"},
			"bad timeout header":  {req: with(func(r *wire.Wait) { r.TimeoutHeader = waitHeader("wfr_1", "Upstash-Retries", "x") }), want: "timeoutHeaders.Upstash-Retries: expected"},
			"over a limit":        {header: waitHeader("wfr_1", "Upstash-Retries", "1000"), req: step(2, 1), code: engine.Precondition, want: "Upstash-Retries: 1000, at most 999"},
			"timeout, over it":    {req: with(func(r *wire.Wait) { r.TimeoutHeader = waitHeader("wfr_1", "Upstash-Retries", "1000") }), code: engine.Precondition, want: "timeoutHeaders.Upstash-Retries: 1000, at most 999"},
			"another run's":       {req: with(func(r *wire.Wait) { r.TimeoutHeader = waitHeader("wfr_2") }), want: "timeoutHeaders.Upstash-Workflow-Runid: expected wfr_1"},
			"too long":            {req: with(func(r *wire.Wait) { r.Timeout = 367 * 24 * time.Hour }), code: engine.Precondition, want: "timeout: "},
			"no event":            {event: "-", req: step(2, 1), want: "event id: expected"},
			"step of the past":    {req: waitRequest(1, 2, nil), want: ""}, // it has a result
			"step of the future":  {req: step(3, 1), want: "step.stepId: expected 2, which is next in the run, got 3"},
			"parallel, unplanned": {req: step(2, 2), want: "step.concurrent: 2, but the run has not planned step 2"},
			"planned, by itself":  {header: waitHeader("wfr_2"), req: step(1, 1), want: "step.concurrent: expected 2, as step 1 was planned, got 1"},
			"planned otherwise":   {header: waitHeader("wfr_2"), req: step(2, 2), want: "step.stepType: expected Run, as step 2 was planned, got Wait"},
			"behind the planned":  {header: waitHeader("wfr_2"), req: step(4, 1), want: "step.stepId: expected 3"},
		} {
			if test.who == nil {
				test.who = w.caller
			}
			if test.header == nil {
				test.header = waitHeader("wfr_1")
			}
			switch test.event {
			case "":
				test.event = "e"
			case "-":
				test.event = ""
			}
			err := w.engine.Wait(context.Background(), test.who, test.event, test.header, test.req)
			if test.code == "" {
				test.code = engine.Invalid
			}
			if test.want == "" && err != nil || test.want != "" && (engine.ErrorCode(err) != test.code || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%s: error %v (%s), want %s %q", name, err, engine.ErrorCode(err), test.code, test.want)
			}
		}
		if waiters, _ := w.engine.Waiters(context.Background(), w.caller, "e"); len(waiters) != 0 {
			t.Errorf("waiters %v", waiters)
		}
		for run, length := range map[string]int{"wfr_1": 1, "wfr_2": 2} {
			if got := w.steps(run); len(got) != length {
				t.Errorf("log of %s: %+v", run, got)
			}
		}
		w.waits("wfr_1", "e", 2, nil) // the run is unharmed
	})
}

// Tokens tell and see those who are within their reach, and no others.
func TestT21TokensTellWithinTheirReach(t *testing.T) {
	inBubble(t, func(w *world) {
		for i, url := range []string{"https://a.example/wf", "https://b.example/wf"} {
			run := fmt.Sprint("wfr_", i)
			w.publish(engine.Publish{Destination: url, Config: wire.Config{Workflow: wire.Workflow{Init: true, RunID: run, URL: url, CallType: wire.CallStep}}})
			w.waits(run, "e", 1, nil)
		}
		a := &engine.Caller{Tenant: w.tenant, Token: &engine.Token{Tenant: w.tenant.ID, URLPrefix: "https://a.example"}}
		ctx, other := context.Background(), w.second()
		for who, want := range map[*engine.Caller]int{w.caller: 2, a: 1, other: 0} {
			if got, err := w.engine.Waiters(ctx, who, "e"); len(got) != want || err != nil {
				t.Errorf("sees %d, want %d, error %v", len(got), want, err)
			}
		}
		if _, err := w.engine.NotifyRun(ctx, a, "wfr_1", "e", nil); engine.ErrorCode(err) != engine.NotFound {
			t.Errorf("tells a run beyond its reach: %v", err)
		}
		if told, err := w.engine.Notify(ctx, other, "e", nil); len(told) != 0 || err != nil {
			t.Errorf("another tenant tells %v, error %v", told, err)
		}
		if told, err := w.engine.Notify(ctx, a, "e", []byte("x")); len(told) != 1 || told[0].Run.ID != "wfr_0" || err != nil {
			t.Errorf("tells %v, error %v", told, err)
		}
		w.expectOuts("wfr_1")
	})
}

// crowd has many runs wait for an event.
func (w *world) crowd(n int, timeout time.Duration) {
	w.t.Helper()
	for at := 0; at < n; at += 500 {
		var items []engine.Publish
		for i := at; i < min(n, at+500); i++ {
			items = append(items, engine.Publish{Destination: workflowURL, Config: wire.Config{
				Delay: 1000 * time.Hour, Workflow: wire.Workflow{Init: true, RunID: fmt.Sprint("wfr_", i), URL: workflowURL, CallType: wire.CallStep},
			}})
		}
		if _, err := w.engine.Publish(context.Background(), w.caller, items); err != nil {
			w.t.Fatal(err)
		}
	}
	for i := range n {
		w.waits(fmt.Sprint("wfr_", i), "e", 1, func(r *wire.Wait) { r.Timeout = timeout })
	}
}

// However many wait, all are told, and the answer names them all; nobody else
// waits for that to be written.
func TestManyAreTold(t *testing.T) {
	inBubble(t, func(w *world) {
		const many = 345
		w.crowd(many, time.Hour)
		told := w.notify("e", "x")
		if len(told) != many {
			t.Fatalf("told %d, want %d", len(told), many)
		}
		for i, one := range told {
			if one.Run.ID != fmt.Sprint("wfr_", i) || one.Message == "" {
				t.Fatalf("told %+v as number %d", one, i)
			}
		}
		time.Sleep(2 * time.Hour)
		for i := range many {
			w.expectOuts(fmt.Sprint("wfr_", i), "x")
		}
		w.expectNoNotes()
	})
}

func (w *world) expectNoNotes() {
	w.t.Helper()
	err := w.store.View(context.Background(), func(tx engine.Tx) error {
		notes, err := tx.Broadcasts()
		if len(notes) > 0 {
			w.t.Errorf("notes %+v are left", notes)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// breaks is a store that writes so many times, and then no more.
type breaks struct {
	engine.Store
	mu   sync.Mutex
	left int
}

func (b *breaks) Update(ctx context.Context, fn func(engine.Tx) error) error {
	b.mu.Lock()
	b.left--
	broken := b.left < 0
	b.mu.Unlock()
	if broken {
		return errors.New("the disk is full")
	}
	return b.Store.Update(ctx, fn)
}

func (b *breaks) set(left int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = left
}

// What was accepted for many is told to all of them, whatever happens after the
// first were told: those whose deadline comes meanwhile, those who are told
// something else. Who began to wait after it is not told.
func TestManyAreToldAfterACrash(t *testing.T) {
	inBubble(t, func(w *world) {
		const many = 450
		w.crowd(many, time.Hour)
		w.trigger("wfr_new", 0)
		w.stop()
		whole := w.store
		b := &breaks{Store: whole, left: 1 << 30}
		w.store = b
		w.start()
		time.Sleep(time.Second)
		b.set(2) // of five
		told, err := w.engine.Notify(context.Background(), w.caller, "e", []byte("x"))
		// What the first have led to may have been settled in between.
		if err == nil || len(told) != 100 && len(told) != 200 {
			t.Fatalf("told %d, error %v", len(told), err)
		}
		w.stop()
		w.store = whole

		// As a node that does not know of it would find things.
		other := w.node()
		ctx := context.Background()
		if err := other.Wait(ctx, w.caller, "e", waitHeader("wfr_new"), waitRequest(1, 1, nil)); err != nil {
			t.Fatal(err)
		}
		if told, err := other.NotifyRun(ctx, w.caller, "wfr_300", "e", []byte("y")); err != nil || told[0].Message != "" {
			t.Errorf("told %+v, error %v; want it kept behind what came first", told, err)
		}
		if told, err := other.Notify(ctx, w.caller, "e", []byte("z")); err != nil || len(told) != 1 || told[0].Run.ID != "wfr_new" {
			t.Errorf("told %+v, error %v; want the one who came later", told, err)
		}
		time.Sleep(2 * time.Hour) // past the deadlines
		w.start()
		time.Sleep(time.Minute)
		for i := range many {
			w.expectOuts(fmt.Sprint("wfr_", i), "x")
		}
		w.expectOuts("wfr_new", "z")
		w.expectNoNotes()
	})
}

// A store that fails for a while delays it, and that is all.
func TestManyAreToldWhenTheStoreRecovers(t *testing.T) {
	inBubble(t, func(w *world) {
		w.crowd(250, time.Hour)
		w.stop()
		whole := w.store
		b := &breaks{Store: whole, left: 1 << 30}
		w.store = b
		w.start()
		time.Sleep(time.Second)
		b.set(1)
		if _, err := w.engine.Notify(context.Background(), w.caller, "e", []byte("x")); err == nil {
			t.Fatal("no error")
		}
		time.Sleep(time.Second)
		b.set(1 << 30)
		time.Sleep(10 * time.Second)
		w.store = whole
		for i := range 250 {
			w.expectOuts(fmt.Sprint("wfr_", i), "x")
		}
		w.expectNoNotes()
	})
}

// A webhook is called by whoever knows its URL, as long as its run is active.
// Calls come in order, also those that come before anybody waits, and have
// nothing to do with events.
func TestWebhook(t *testing.T) {
	inBubble(t, func(w *world) {
		ctx := context.Background()
		w.trigger("wfr_1", 0)
		out := `{"webhookUrl":"https://q.example/v2/workflows/hooks/u/wfr_1/evt_1","eventId":"evt_1"}`
		(&endpoint{w: w}).append("wfr_1", wire.Step{StepID: 1, StepName: "hook", StepType: wire.StepCreateWebhook, Out: &out, Concurrent: 1})
		for _, test := range [][3]string{{"u", "wfr_1", "evt_2"}, {"u", "wfr_2", "evt_1"}, {"v", "wfr_1", "evt_1"}, {"", "", ""}, {"u", "wfr_1\x00", "evt_1\x00"}} {
			if hook, err := w.engine.Webhook(ctx, test[0], test[1], test[2]); engine.ErrorCode(err) != engine.NotFound || hook != nil {
				t.Errorf("%q: %v, %v", test, hook, err)
			}
		}
		hook, err := w.engine.Webhook(ctx, "u", "wfr_1", "evt_1")
		if err != nil {
			t.Fatal(err)
		}
		call := func(body string) {
			t.Helper()
			if err := w.engine.Call(ctx, hook, []byte(body)); err != nil {
				t.Fatal(err)
			}
		}
		call("one")
		call("two")
		w.notifyRun("wfr_1", "evt_1", "no call")
		webhook := func(r *wire.Wait) { r.Step.StepType = wire.StepWaitForWebhook }
		for step := 2; step <= 4; step++ {
			w.waits("wfr_1", "evt_1", step, webhook)
		}
		if told := w.notify("evt_1", "no call either"); len(told) != 0 {
			t.Errorf("told %v", told)
		}
		call("three")
		w.waits("wfr_1", "evt_1", 5, nil)
		steps := w.outs("wfr_1")[1:]
		if want := []string{"one", "two", "three", "no call"}; !slices.Equal(steps, want) {
			t.Errorf("told %q, want %q", steps, want)
		}
		if s := w.steps("wfr_1")[1]; s.StepType != wire.StepWaitForWebhook || s.WaitEventID != "evt_1" {
			t.Errorf("result %+v", s)
		}
		w.waits("wfr_1", "evt_1", 6, func(r *wire.Wait) { webhook(r); r.Timeout = time.Second })
		time.Sleep(time.Minute)
		if s := w.steps("wfr_1")[5]; s.Out != nil || !s.WaitTimeout {
			t.Errorf("result %+v", s)
		}
		if _, err := w.engine.CancelRun(ctx, w.caller, "wfr_1"); err != nil {
			t.Fatal(err)
		}
		if err := w.engine.Call(ctx, hook, nil); engine.ErrorCode(err) != engine.NotFound {
			t.Errorf("call of an ended run: %v", err)
		}
		if _, err := w.engine.Webhook(ctx, "u", "wfr_1", "evt_1"); engine.ErrorCode(err) != engine.NotFound {
			t.Errorf("webhook of an ended run: %v", err)
		}
	})
}

// Whatever comes between, every step that waits has one result, and what a run
// is told comes in order: a model says which.
func TestWaitsFollowTheModel(t *testing.T) {
	for seed := range rounds(6, 60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(w *world) { followModel(w, rand.New(rand.NewPCG(seed, 3))) })
		})
	}
}

func followModel(w *world, random *rand.Rand) {
	type model struct {
		id       string
		outs     []string
		kept     map[string][]string
		waiting  string // event; "": it runs
		deadline time.Time
	}
	var runs []*model
	for i := range 4 {
		m := &model{id: fmt.Sprint("wfr_", i), kept: map[string][]string{}}
		w.trigger(m.id, 0)
		runs = append(runs, m)
	}
	expire := func() {
		for _, m := range runs {
			if m.waiting != "" && !time.Now().Before(m.deadline) {
				m.outs, m.waiting = append(m.outs, "timeout"), ""
			}
		}
	}
	for n := range 120 {
		m, event, body := runs[random.IntN(len(runs))], string('a'+rune(random.IntN(2))), fmt.Sprint("n", n)
		switch random.IntN(7) {
		case 0, 1, 2:
			if m.waiting != "" {
				w.waits(m.id, event, len(m.outs)+1, nil) // once more
				continue
			}
			timeout := time.Duration(1+random.IntN(100)) * time.Second
			w.waits(m.id, event, len(m.outs)+1, func(r *wire.Wait) { r.Timeout = timeout })
			if kept := m.kept[event]; len(kept) > 0 {
				m.outs, m.kept[event] = append(m.outs, kept[0]), kept[1:]
			} else {
				m.waiting, m.deadline = event, time.Now().Add(timeout)
			}
		case 3:
			w.notify(event, body)
			for _, m := range runs {
				if m.waiting == event {
					m.outs, m.waiting = append(m.outs, body), ""
				}
			}
		case 4:
			w.notifyRun(m.id, event, body)
			if m.waiting == event {
				m.outs, m.waiting = append(m.outs, body), ""
			} else {
				m.kept[event] = append(m.kept[event], body)
			}
		case 5:
			time.Sleep(time.Duration(random.IntN(30_000))*time.Millisecond + 500*time.Microsecond)
			synctest.Wait()
			expire()
		case 6:
			w.stop()
			w.start()
			synctest.Wait()
			expire()
		}
	}
	for _, m := range runs {
		w.expectOuts(m.id, m.outs...)
	}
}

// With two nodes on one database everybody who waits is told once: by an event,
// or that there was none.
func TestT28WaitsOnTwoNodes(t *testing.T) {
	s, err := store.OpenPostgres(context.Background(), pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := &world{t: t, store: s, answer: ok}
	w.start()
	defer w.stop()
	other := w.node()
	other.Start()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	defer other.Close(ctx)

	const runs = 40
	for i := range runs {
		w.trigger(fmt.Sprint("wfr_", i), 0)
	}
	var all sync.WaitGroup
	for i := range runs {
		all.Go(func() {
			run := fmt.Sprint("wfr_", i)
			for n, e := range []*engine.Engine{w.engine, other} {
				req := waitRequest(1, 1, func(r *wire.Wait) { r.Timeout = time.Duration(i*20) * time.Millisecond })
				if err := e.Wait(context.Background(), w.caller, "e", waitHeader(run), req); err != nil {
					t.Errorf("%s: %v", run, err)
				}
				if _, err := e.NotifyRun(context.Background(), w.caller, run, "e", fmt.Append(nil, n)); err != nil {
					t.Errorf("%s: %v", run, err)
				}
			}
		})
	}
	for _, e := range []*engine.Engine{w.engine, other} {
		all.Go(func() {
			for range 10 {
				if _, err := e.Notify(context.Background(), w.caller, "e", []byte("all")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i := range runs {
		if got := w.outs(fmt.Sprint("wfr_", i)); len(got) != 1 {
			t.Errorf("run %d was told %q, want one result", i, got)
		}
	}
}

// An endpoint that has waited, and then never answers the call it did so in: the
// run fails, and its history says why, after the wait that comes to nothing.
func TestHistoryOfFailureAfterWait(t *testing.T) {
	inBubble(t, func(w *world) {
		w.respond(func(a engine.Attempt) engine.Outcome {
			if a.Retried == 0 {
				w.waits("wfr_1", "paid", 1, nil)
			}
			return refusal()
		})
		w.publish(engine.Publish{Destination: workflowURL, Config: wire.Config{
			Retries: new(1), RetryDelay: "1000", Workflow: wire.Workflow{Init: true, RunID: "wfr_1", CallType: wire.CallStep},
		}})
		time.Sleep(time.Minute)
		h := w.history("wfr_1")
		if h.Run.State != engine.RunFailed || len(h.Groups) != 3 {
			t.Fatalf("run %+v, %d groups", h.Run, len(h.Groups))
		}
		wait, next := h.Groups[1].Steps[0], h.Groups[2].Steps[0]
		if wait.State != engine.StepCanceled || h.Groups[2].Kind != engine.GroupNext || next.State != engine.StepFailed || len(next.Errors) == 0 {
			t.Errorf("wait %+v, next %+v", wait, next)
		}
	})
}
