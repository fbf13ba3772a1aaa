package engine_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// halfFailed is a run of two parallel steps: the first, of a type, does what begin
// says; the second fails the run later. What is delivered then is noted.
func (w *world) halfFailed(first wire.StepType, begin func()) (run *engine.Run, delivered func() []string) {
	w.t.Helper()
	last := func(a engine.Attempt) wire.Step {
		log, err := wire.ParseLog(a.Body)
		if err != nil || len(log) < 2 {
			return wire.Step{}
		}
		step, _ := wire.ParseStep(log[len(log)-1].Body)
		return step
	}
	w.respond(func(a engine.Attempt) engine.Outcome {
		if a.Kind == engine.KindToCallback {
			time.Sleep(time.Minute)
			if strings.HasSuffix(a.URL, "/broken") {
				return engine.Outcome{Status: 500}
			}
			return engine.Outcome{Status: 200, Body: []byte("paid")}
		}
		if last(a).TargetStep == 2 {
			time.Sleep(5 * time.Second)
			return refusal()
		}
		return engine.Outcome{Status: 200}
	})
	w.trigger("wfr_old", 0)
	ep := &endpoint{w: w}
	ep.append("wfr_old",
		wire.Step{StepName: "first", StepType: first, Concurrent: 2, TargetStep: 1},
		wire.Step{StepName: "fails", StepType: wire.StepRun, Concurrent: 2, TargetStep: 2})
	time.Sleep(time.Second)
	begin()
	time.Sleep(10 * time.Second)
	if run = w.history("wfr_old").Run; run.State != engine.RunFailed {
		w.t.Fatalf("run %+v", run)
	}
	w.respond(ok)
	before := len(w.made())
	return run, func() (names []string) {
		time.Sleep(time.Second)
		for _, a := range w.made()[before:] {
			names = append(names, last(a.Attempt).StepName)
		}
		slices.Sort(names)
		return names
	}
}

func (w *world) expectDelivered(delivered func() []string, want ...string) {
	w.t.Helper()
	if got := delivered(); !slices.Equal(got, want) {
		w.t.Errorf("delivered %q, want %q", got, want)
	}
}

func concurrent(r *wire.InvokeRequest) { r.Step.Concurrent = 2 }

// A run that a step has invoked is not invoked again, whether it ends before its
// parent goes on or after.
func TestResumeWithInvokedRun(t *testing.T) {
	const result = `1 invoke wfr_child {"body":"7","isCanceled":false,"isFailed":false}`
	for name, endsFirst := range map[string]bool{"ends before": true, "ends after": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				old, delivered := w.halfFailed(wire.StepInvoke, func() {
					w.publish(w.invocation("wfr_old", "wfr_child", 1, concurrent))
				})
				if endsFirst {
					w.finish("wfr_child", "7")
				}
				run := w.resume(engine.DLQID(old.DLQ), engine.Resume{})
				if !endsFirst {
					w.expectDelivered(delivered, "fails")
					w.expectInGroup(run.ID)
					w.finish("wfr_child", "7")
				}
				w.expectDelivered(delivered, "fails", "invoke wfr_child")
				w.expectInGroup(run.ID, result)
				h := w.history(run.ID)
				if s := h.Groups[1].Steps[0]; s.Child == nil || s.Child.Run.ID != "wfr_child" || s.State != engine.StepSuccess {
					t.Errorf("the step is %+v", s)
				}
				made := w.made()
				if last := made[len(made)-1]; last.RunID != run.ID {
					t.Errorf("delivered to %s", last.RunID)
				}
			})
		})
	}
}

// failedTogether is a run that has failed as one did that it had invoked.
func (w *world) failedTogether() (parent, child *engine.Run) {
	w.t.Helper()
	w.trigger("wfr_old", 0)
	time.Sleep(time.Second)
	w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
	w.invoke("wfr_old", "wfr_child", 1)
	time.Sleep(time.Minute)
	w.respond(ok)
	parent, child = w.history("wfr_old").Run, w.history("wfr_child").Run
	if parent.State != engine.RunFailed || child.State != engine.RunFailed {
		w.t.Fatalf("parent %+v, child %+v", parent, child)
	}
	return parent, child
}

func (w *world) dlqID(run string) string {
	w.t.Helper()
	return engine.DLQID(w.history(run).Run.DLQ)
}

// A run that is resumed after the one that it had invoked is told what became of
// that, not once more that it has failed.
func TestResumeWithResumedChild(t *testing.T) {
	const failed, succeeded = `{"isCanceled":false,"isFailed":true}`, `{"body":"7","isCanceled":false,"isFailed":false}`
	goOn := func(w *world, run *engine.Run, how engine.Resume) *engine.Run {
		return w.resume(w.dlqID(run.ID), how)
	}
	for name, tt := range map[string]struct {
		do   func(w *world, parent, child *engine.Run) *engine.Run // and the run that is told
		told string
	}{
		"not resumed": {func(w *world, parent, child *engine.Run) *engine.Run {
			return goOn(w, parent, engine.Resume{})
		}, failed},
		"has succeeded": {func(w *world, parent, child *engine.Run) *engine.Run {
			w.finish(goOn(w, child, engine.Resume{}).ID, "7")
			return goOn(w, parent, engine.Resume{})
		}, succeeded},
		"succeeds later": {func(w *world, parent, child *engine.Run) *engine.Run {
			child = goOn(w, child, engine.Resume{})
			before := len(w.made())
			parent = goOn(w, parent, engine.Resume{})
			time.Sleep(time.Second)
			if made := w.made()[before:]; len(made) != 1 || made[0].RunID != child.ID || len(w.steps(parent.ID)) != 0 {
				w.t.Errorf("deliveries %+v while the invoked run runs", made)
			}
			if h := w.history(parent.ID).Groups[1].Steps[0]; h.State != engine.StepProgress || h.Child == nil || h.Child.Run.ID != child.ID {
				w.t.Errorf("the step is %+v", h)
			}
			w.finish(child.ID, "7")
			return parent
		}, succeeded},
		"fails again, later": {func(w *world, parent, child *engine.Run) *engine.Run {
			child = goOn(w, child, engine.Resume{})
			parent = goOn(w, parent, engine.Resume{})
			w.respond(func(a engine.Attempt) engine.Outcome {
				if a.RunID == child.ID {
					return refusal()
				}
				return engine.Outcome{Status: 200}
			})
			w.append(child.ID, wire.Step{StepID: 1, StepName: "fails", StepType: wire.StepRun, Concurrent: 1})
			return parent
		}, failed},
		"has failed again": {func(w *world, parent, child *engine.Run) *engine.Run {
			w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
			goOn(w, child, engine.Resume{})
			time.Sleep(time.Second)
			w.respond(ok)
			return goOn(w, parent, engine.Resume{})
		}, failed},
		"was cancelled": {func(w *world, parent, child *engine.Run) *engine.Run {
			w.cancel(goOn(w, child, engine.Resume{}).ID)
			return goOn(w, parent, engine.Resume{})
		}, `{"isCanceled":true,"isFailed":false}`},
		"restarted": {func(w *world, parent, child *engine.Run) *engine.Run {
			w.finish(goOn(w, child, engine.Resume{Restart: true}).ID, "7")
			return goOn(w, parent, engine.Resume{})
		}, succeeded},
		"resumed, failed, and restarted": {func(w *world, parent, child *engine.Run) *engine.Run {
			w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
			child = goOn(w, child, engine.Resume{})
			time.Sleep(time.Second)
			w.respond(ok)
			child = goOn(w, child, engine.Resume{Restart: true})
			parent = goOn(w, parent, engine.Resume{})
			w.finish(child.ID, "7")
			return parent
		}, succeeded},
		"resumed after its parent, which fails again": {func(w *world, parent, child *engine.Run) *engine.Run {
			w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
			parent = goOn(w, parent, engine.Resume{})
			time.Sleep(time.Second)
			w.respond(ok)
			w.finish(goOn(w, child, engine.Resume{}).ID, "7")
			return goOn(w, parent, engine.Resume{})
		}, succeeded},
		"resumed after its parent, which goes on": {func(w *world, parent, child *engine.Run) *engine.Run {
			parent = goOn(w, parent, engine.Resume{})
			w.finish(goOn(w, child, engine.Resume{}).ID, "7")
			return parent
		}, failed},
		"both in bulk": {func(w *world, parent, child *engine.Run) *engine.Run {
			runs, _, err := w.engine.ResumeRuns(context.Background(), w.caller, engine.DLQFilter{}, engine.Resume{}, "", 10)
			if err != nil || len(runs) != 2 {
				w.t.Fatalf("resumed %v, %v", runs, err)
			}
			w.finish(runs[0].ID, "7")
			return runs[1]
		}, succeeded},
		"the result is given by hand": {func(w *world, parent, child *engine.Run) *engine.Run {
			w.finish(goOn(w, child, engine.Resume{}).ID, "7")
			return goOn(w, parent, engine.Resume{Edit: engine.LogEdit{Results: []engine.StepResult{{StepID: 1, Out: []byte(`{"body":"8"}`)}}}})
		}, `{"body":"8"}`},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				parent, child := w.failedTogether()
				parent = tt.do(w, parent, child)
				time.Sleep(time.Second)
				steps := w.steps(parent.ID)
				if len(steps) != 1 || steps[0].Out == nil || *steps[0].Out != tt.told || steps[0].StepID != 1 {
					t.Errorf("told %+v, want %s", steps, tt.told)
				}
				told := 0
				for _, a := range w.made() {
					if a.RunID == parent.ID {
						told++
					}
				}
				if told != 1 {
					t.Errorf("%d deliveries to the run that goes on", told)
				}
				// It goes on with the next step.
				w.append(parent.ID, wire.Step{StepID: 2, StepName: "next", StepType: wire.StepRun, Concurrent: 1})
			})
		})
	}
}

// What a run went on with stays as it was told, whatever becomes of the one that it
// had invoked.
func TestResumeBehindFailedChild(t *testing.T) {
	inBubble(t, func(w *world) {
		w.trigger("wfr_old", 0)
		w.respond(func(a engine.Attempt) engine.Outcome {
			if a.RunID == "wfr_child" {
				return refusal()
			}
			return engine.Outcome{Status: 200}
		})
		w.invoke("wfr_old", "wfr_child", 1)
		time.Sleep(time.Second)
		w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
		w.append("wfr_old", wire.Step{StepID: 2, StepName: "made up for it", StepType: wire.StepRun, Concurrent: 1})
		time.Sleep(time.Second)
		w.respond(ok)
		w.finish(w.resume(w.dlqID("wfr_child"), engine.Resume{}).ID, "7")
		run := w.resume(w.dlqID("wfr_old"), engine.Resume{})
		if s := w.steps(run.ID); len(s) != 2 || !strings.Contains(*s[0].Out, `"isFailed":true`) || s[1].StepName != "made up for it" {
			t.Errorf("log %+v", s)
		}
	})
}

// In a parallel group nothing has come of a result before all are there. The one
// that is told anew leaves no gap in the log.
func TestResumeWithResumedChildInGroup(t *testing.T) {
	for name, endsFirst := range map[string]bool{"ends before": true, "ends after": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.trigger("wfr_old", 0)
				(&endpoint{w: w}).append("wfr_old",
					wire.Step{StepName: "invoke wfr_child", StepType: wire.StepInvoke, Concurrent: 2, TargetStep: 1},
					wire.Step{StepName: "other", StepType: wire.StepRun, Concurrent: 2, TargetStep: 2})
				w.respond(func(a engine.Attempt) engine.Outcome {
					if a.RunID == "wfr_child" {
						return refusal()
					}
					return engine.Outcome{Status: 200}
				})
				w.publish(w.invocation("wfr_old", "wfr_child", 1, concurrent))
				time.Sleep(time.Second)
				w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
				out := "done"
				w.append("wfr_old", wire.Step{StepID: 2, StepName: "other", StepType: wire.StepRun, Concurrent: 2, Out: &out})
				time.Sleep(time.Second)
				w.respond(ok)
				child := w.resume(w.dlqID("wfr_child"), engine.Resume{})
				if endsFirst {
					w.finish(child.ID, "7")
				}
				time.Sleep(time.Second)
				before := len(w.made())
				run := w.resume(w.dlqID("wfr_old"), engine.Resume{})
				if !endsFirst {
					time.Sleep(time.Second)
					w.expectInGroup(run.ID, "1 other done")
					w.finish(child.ID, "7")
				}
				time.Sleep(time.Second)
				w.expectInGroup(run.ID, "1 other done", `1 invoke wfr_child {"body":"7","isCanceled":false,"isFailed":false}`)
				if made := w.made()[before:]; len(made) != 1 || made[0].RunID != run.ID {
					t.Errorf("deliveries %+v", made)
				} else if log, err := wire.ParseLog(made[0].Body); err != nil || len(log) != 5 {
					t.Errorf("delivered %v, %v", log, err)
				}
				w.append(run.ID, wire.Step{StepID: 3, StepName: "next", StepType: wire.StepRun, Concurrent: 1})
			})
		})
	}
}

// A run that failed while the one that it had invoked ran is told of the one that
// went on with that.
func TestResumeWithChildThatFailedLater(t *testing.T) {
	inBubble(t, func(w *world) {
		old, _ := w.halfFailed(wire.StepInvoke, func() {
			w.publish(w.invocation("wfr_old", "wfr_child", 1, concurrent))
		})
		w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
		w.append("wfr_child", wire.Step{StepID: 1, StepName: "last", StepType: wire.StepRun, Concurrent: 1})
		time.Sleep(time.Second)
		w.respond(ok)
		child := w.resume(w.dlqID("wfr_child"), engine.Resume{})
		run := w.resume(engine.DLQID(old.DLQ), engine.Resume{})
		w.expectInGroup(run.ID)
		w.finish(child.ID, "7")
		w.expectInGroup(run.ID, `1 invoke wfr_child {"body":"7","isCanceled":false,"isFailed":false}`)
	})
}

// expectInGroup looks at the results behind the two plans of halfFailed.
func (w *world) expectInGroup(run string, want ...string) {
	w.t.Helper()
	var got []string
	for _, s := range w.steps(run)[2:] {
		got = append(got, "1 "+s.StepName+" "+*s.Out)
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("%s was told %q, want %q", run, got, want)
	}
}

// A step that waited asks again, and is told of what came for the old run.
func TestResumeWithWait(t *testing.T) {
	inBubble(t, func(w *world) {
		old, delivered := w.halfFailed(wire.StepWait, func() {
			req := waitRequest(1, 2, nil)
			if err := w.engine.Wait(context.Background(), w.caller, "e", waitHeader("wfr_old"), req); err != nil {
				t.Fatal(err)
			}
			w.notifyRun("wfr_old", "kept", "early")
		})
		run := w.resume(engine.DLQID(old.DLQ), engine.Resume{})
		w.expectDelivered(delivered, "fails", "first")
		if err := w.engine.Wait(context.Background(), w.caller, "kept", waitHeader(run.ID), waitRequest(1, 2, nil)); err != nil {
			t.Fatal(err)
		}
		if got := w.steps(run.ID); len(got) != 3 || unbase64(*got[2].Out) != "early" {
			t.Errorf("log %+v", got)
		}
		if told := w.notifyRun("wfr_old", "later", "x"); told.Run.ID != run.ID {
			t.Errorf("told %s, want %s", told.Run.ID, run.ID)
		}
		if len(w.notify("e", "x")) != 0 {
			t.Error("the old run still waits")
		}
	})
}

// failedWithWebhook is a run that has failed and has made the webhook evt_1.
func (w *world) failedWithWebhook() *engine.Run {
	w.t.Helper()
	old, _ := w.halfFailed(wire.StepCreateWebhook, func() {
		out := `{"webhookUrl":"https://signpost.example/v2/workflows/hooks/u/wfr_old/evt_1","eventId":"evt_1"}`
		w.append("wfr_old", wire.Step{StepID: 1, StepName: "hook", StepType: wire.StepCreateWebhook, Concurrent: 2, Out: &out})
	})
	return old
}

// callHook calls a webhook of a run.
func (w *world) callHook(run, body string) error {
	hook, err := w.engine.Webhook(context.Background(), "u", run, "evt_1")
	if err != nil {
		return err
	}
	return w.engine.Call(context.Background(), hook, []byte(body))
}

// expectCalls has a run that was resumed from failedWithWebhook go on, and wait for
// calls of the webhook.
func (w *world) expectCalls(run string, want ...string) {
	w.t.Helper()
	w.append(run, wire.Step{StepID: 2, StepName: "fails", StepType: wire.StepRun, Concurrent: 2})
	for i := range want {
		w.waits(run, "evt_1", 3+i, func(r *wire.Wait) { r.Step.StepType = wire.StepWaitForWebhook })
	}
	var got []string
	for _, s := range w.steps(run)[4:] {
		got = append(got, unbase64(*s.Out))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("%s was told %q, want %q", run, got, want)
	}
}

// A webhook's URL has the id of the run that made it, which goes on under others.
// Who calls it while nothing goes on, as the run has failed, does so once: that is
// kept for the run that will.
func TestResumeWithWebhook(t *testing.T) {
	inBubble(t, func(w *world) {
		old := w.failedWithWebhook()
		before, err := w.engine.Webhook(context.Background(), "u", "wfr_old", "evt_1")
		if err == nil {
			err = w.engine.Call(context.Background(), before, []byte("while it has failed"))
		}
		if err != nil {
			t.Fatal(err)
		}
		run := w.resume(engine.DLQID(old.DLQ), engine.Resume{})
		if err := w.engine.Call(context.Background(), before, []byte("found before")); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"wfr_old", run.ID} {
			if err := w.callHook(id, id); err != nil {
				t.Errorf("webhook of %s: %v", id, err)
			}
		}
		w.expectCalls(run.ID, "while it has failed", "found before", "wfr_old", run.ID)
	})
}

// Of calls for a run that has failed no more are kept than for another, and none
// when nothing can go on with it any more.
func TestWebhookOfFailedRun(t *testing.T) {
	for name, gone := range map[string]func(w *world, dlq string) error{
		"deleted": func(w *world, dlq string) error {
			return w.engine.DeleteDLQEntry(context.Background(), w.caller, dlq)
		},
		"restarted": func(w *world, dlq string) error {
			_, err := w.engine.ResumeRun(context.Background(), w.caller, dlq, engine.Resume{Restart: true})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				old := w.failedWithWebhook()
				for range 1000 {
					if err := w.callHook("wfr_old", "x"); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.callHook("wfr_old", "x"); engine.ErrorCode(err) != engine.Limited {
					t.Errorf("more calls than are kept: %v", err)
				}
				hook, err := w.engine.Webhook(context.Background(), "u", "wfr_old", "evt_1")
				if err == nil {
					err = gone(w, engine.DLQID(old.DLQ))
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := w.engine.Call(context.Background(), hook, []byte("x")); engine.ErrorCode(err) != engine.NotFound {
					t.Errorf("a call: %v", err)
				}
				if err := w.callHook("wfr_old", "x"); engine.ErrorCode(err) != engine.NotFound {
					t.Errorf("the webhook: %v", err)
				}
			})
		})
	}
}

// call makes a call to a third party, as the first of two parallel steps.
func (w *world) call(run, url string) {
	w.t.Helper()
	w.publish(engine.Publish{Destination: url, Config: wire.Config{
		Method: "POST", Retries: new(0), Workflow: wire.Workflow{RunID: run, URL: workflowURL, CallType: wire.CallTo},
		Callback: &wire.Callback{URL: workflowURL, Header: http.Header{
			wire.PrefixForward + wire.HeaderWorkflowStepID:     {"1"},
			wire.PrefixForward + wire.HeaderWorkflowStepName:   {"pay"},
			wire.PrefixForward + wire.HeaderWorkflowConcurrent: {"2"},
		}},
	}})
}

// A call that was under way when the run failed, and has succeeded since, is not
// made again: the run that goes on is told its outcome.
func TestResumeWithCallUnderWay(t *testing.T) {
	made := []engine.Kind{engine.KindStep, engine.KindToCallback, engine.KindFromCallback}
	for name, tt := range map[string]struct {
		url   string
		wait  time.Duration // before the run goes on
		again []engine.Kind // then
	}{
		"succeeds":     {"https://third.example/", 2 * time.Minute, []engine.Kind{engine.KindStep, engine.KindFromCallback}},
		"fails":        {"https://third.example/broken", 2 * time.Minute, made},
		"is under way": {"https://third.example/", 0, made},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				old, _ := w.halfFailed(wire.StepCall, func() { w.call("wfr_old", tt.url) })
				w.respond(func(engine.Attempt) engine.Outcome { return engine.Outcome{Status: 200, Body: []byte("paid again")} })
				before := len(w.made())
				time.Sleep(tt.wait)
				if n := len(w.made()); n != before {
					t.Errorf("%d deliveries for a run that has failed", n-before)
				}
				if s := w.history("wfr_old").Groups[1].Steps[0]; s.State != engine.StepCanceled {
					t.Errorf("the call is %+v", s)
				}
				run := w.resume(engine.DLQID(old.DLQ), engine.Resume{})
				time.Sleep(2 * time.Minute)
				var again []engine.Kind
				for _, a := range w.made()[before:] {
					again = append(again, a.Kind)
					if a.Kind == engine.KindFromCallback {
						w.expectOutcome(a.Attempt, run.ID, !slices.Contains(tt.again, engine.KindToCallback))
					}
				}
				slices.Sort(again)
				if !slices.Equal(again, tt.again) {
					t.Errorf("deliveries of the kinds %v, want %v", again, tt.again)
				}
			})
		})
	}
}

// expectOutcome looks at the delivery of a call's outcome: the first one's, or that
// of the call made again.
func (w *world) expectOutcome(a engine.Attempt, run string, first bool) {
	w.t.Helper()
	want := map[bool]string{true: "paid", false: "paid again"}[first]
	var outcome wire.CallbackBody
	if err := json.Unmarshal(a.Body, &outcome); err != nil || string(outcome.Body) != want || outcome.Status != 200 {
		w.t.Errorf("outcome %s, %v", a.Body, err)
	}
	log, err := w.runLog(run)
	if err != nil {
		w.t.Fatal(err)
	}
	last := log[len(log)-1]
	if a.RunID != run || last.Message.String() != a.Header.Get(wire.HeaderMessageID) || last.CallType != wire.CallFrom {
		w.t.Errorf("delivered to %s as %s, the log ends with %+v", a.RunID, a.Header.Get(wire.HeaderMessageID), last)
	}
}
