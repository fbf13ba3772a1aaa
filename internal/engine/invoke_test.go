package engine_test

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

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// invocation is what an endpoint sends to have a step of a run invoke another
// one; change may be nil.
func (w *world) invocation(run, child string, stepID int, change func(*wire.InvokeRequest)) engine.Publish {
	payload := fmt.Sprintf("payload of %s", child)
	r := wire.InvokeRequest{
		Body: &payload, Headers: waitHeader(run), RunID: run, URL: workflowURL,
		Step: wire.Step{StepID: stepID, StepName: "invoke " + child, StepType: wire.StepInvoke, Concurrent: 1},
	}
	if change != nil {
		change(&r)
	}
	body, err := json.Marshal(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return engine.Publish{
		Destination: workflowURL, Body: body,
		Config: wire.Config{Method: "POST", Header: http.Header{"X-Child": {child}},
			Workflow: wire.Workflow{Init: true, Invoke: true, RunID: child, URL: workflowURL, CallType: wire.CallStep}},
	}
}

func (w *world) invoke(run, child string, stepID int) engine.Published {
	w.t.Helper()
	out, err := w.engine.Publish(context.Background(), w.caller, []engine.Publish{w.invocation(run, child, stepID, nil)})
	if err != nil {
		w.t.Fatal(err)
	}
	return out[0]
}

func (w *world) finish(run, result string) {
	w.t.Helper()
	if err := w.engine.FinishRun(context.Background(), w.caller, run, []byte(result)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) cancel(run string) {
	w.t.Helper()
	if _, err := w.engine.CancelRun(context.Background(), w.caller, run); err != nil {
		w.t.Fatal(err)
	}
}

// results are what the results in a run's log say.
func (w *world) results(run string) (out []string) {
	w.t.Helper()
	for _, s := range w.steps(run) {
		out = append(out, fmt.Sprintf("%d %s %s", s.StepID, s.StepName, *s.Out))
	}
	return out
}

func (w *world) expectResults(run string, want ...string) {
	w.t.Helper()
	if got := w.results(run); !slices.Equal(got, want) {
		w.t.Errorf("%s was told %q, want %q", run, got, want)
	}
}

// The end of a run is the result of the step that invoked it, whichever end it
// is.
func TestInvoke(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(w *world)
		want string
	}{
		{"success", func(w *world) { w.finish("wfr_child", `{"z":1}`) }, `{"body":"{\"z\":1}","isCanceled":false,"isFailed":false}`},
		{"success without a result", func(w *world) { w.finish("wfr_child", "") }, `{"isCanceled":false,"isFailed":false}`},
		{"cancel", func(w *world) { w.cancel("wfr_child") }, `{"isCanceled":true,"isFailed":false}`},
		{"failure", func(w *world) {
			w.respond(func(a engine.Attempt) engine.Outcome {
				if a.RunID == "wfr_child" {
					return engine.Outcome{Status: 489, Header: http.Header{"Upstash-Nonretryable-Error": {"true"}}}
				}
				return engine.Outcome{Status: 200}
			})
			w.append("wfr_child", wire.Step{StepID: 1, StepName: "a", StepType: wire.StepRun, Concurrent: 1})
			time.Sleep(time.Second)
		}, `{"isCanceled":false,"isFailed":true}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.trigger("wfr_parent", 5)
				started := w.invoke("wfr_parent", "wfr_child", 1)
				time.Sleep(time.Second)
				if child := w.history("wfr_child"); child.Run.Settings.Invoker == nil || child.Run.Settings.Invoker.ID != "wfr_parent" ||
					started.RunID != "wfr_child" || string(child.Groups[0].Steps[0].Entry.Body) != "payload of wfr_child" {
					t.Fatalf("started %+v, child %+v", started, child.Run)
				}
				w.expectStep("wfr_parent", engine.StepProgress, func(s *engine.StepHistory) bool {
					return s.Child != nil && s.Child.Run.ID == "wfr_child" && string(s.Child.Payload) == "payload of wfr_child" && s.Step.StepName == "invoke wfr_child"
				})
				if again := w.invoke("wfr_parent", "wfr_other", 1); !again.Deduplicated || again.MessageID != started.MessageID {
					t.Errorf("invoked again: %+v", again)
				}
				tt.end(w)
				time.Sleep(time.Second)
				w.expectResults("wfr_parent", "1 invoke wfr_child "+tt.want)
				w.expectStep("wfr_parent", engine.StepSuccess, func(s *engine.StepHistory) bool { return s.Message.MaxRetries == 5 })
				made := w.made()
				if last := made[len(made)-1]; last.RunID != "wfr_parent" || !strings.Contains(string(last.Body), `"callType":"step"`) {
					t.Errorf("delivered last %+v", last)
				}
				if again := w.invoke("wfr_parent", "wfr_other", 1); !again.Deduplicated {
					t.Errorf("invoked after its result: %+v", again)
				}
			})
		})
	}
}

func (w *world) append(run string, s wire.Step) {
	w.t.Helper()
	body, err := json.Marshal(s)
	if err != nil {
		w.t.Fatal(err)
	}
	w.publish(engine.Publish{Destination: workflowURL, Body: body, Config: wire.Config{Method: "POST",
		Workflow: wire.Workflow{RunID: run, URL: workflowURL, CallType: wire.CallStep}}})
}

// A run that has ended is told nothing, but shows what became of what it
// invoked; that goes on.
func TestInvokerEndsFirst(t *testing.T) {
	inBubble(t, func(w *world) {
		w.trigger("wfr_parent", 0)
		w.invoke("wfr_parent", "wfr_child", 1)
		time.Sleep(time.Second)
		w.cancel("wfr_parent")
		w.expectStep("wfr_parent", engine.StepCanceled, nil)
		calls := len(w.made())
		w.finish("wfr_child", "1")
		time.Sleep(time.Minute)
		w.expectStep("wfr_parent", engine.StepSuccess, nil)
		if made := w.made(); len(made) != calls {
			t.Errorf("delivered %+v", made[calls:])
		}
	})
}

// Runs invoke each other in turn, a hundred deep and no more; the end of the last
// is told all the way up.
func TestInvokeDepth(t *testing.T) {
	inBubble(t, func(w *world) {
		name := func(i int) string { return fmt.Sprint("wfr_", i) }
		w.trigger(name(0), 0)
		for i := range 100 {
			w.invoke(name(i), name(i+1), 1)
		}
		w.refusesInvocation(engine.Precondition, "101 runs have invoked each other in turn, at most 100 may", w.invocation(name(100), name(101), 1, nil))
		for i := 100; i > 0; i-- {
			w.finish(name(i), fmt.Sprint(i))
		}
		w.expectResults(name(0), `1 invoke wfr_1 {"body":"1","isCanceled":false,"isFailed":false}`)
	})
}

func (w *world) refusesInvocation(code engine.Code, want string, p engine.Publish) {
	w.t.Helper()
	_, err := w.engine.Publish(context.Background(), w.caller, []engine.Publish{p})
	if reason, ok := errors.AsType[*engine.Error](err); !ok || reason.Code != code || !strings.Contains(reason.Message, want) {
		w.t.Errorf("refused with %v, want %v: %s", err, code, want)
	}
}

// What can't be an invocation starts nothing, and does the run no harm.
func TestInvokeRefused(t *testing.T) {
	inBubble(t, func(w *world) {
		w.trigger("wfr_parent", 0)
		w.trigger("wfr_other", 0)
		with := func(change func(*wire.InvokeRequest)) engine.Publish {
			return w.invocation("wfr_parent", "wfr_child", 1, change)
		}
		for want, p := range map[string]engine.Publish{
			"workflowRunId: workflow run wfr_gone is not active":                              with(func(r *wire.InvokeRequest) { r.RunID = "wfr_gone" }),
			"workflowRunId: workflow run wfr_parent is not active":                            with(func(r *wire.InvokeRequest) { r.CreatedAt = 1 }),
			"headers.Upstash-Workflow-Runid: expected wfr_parent, which waits, got wfr_other": with(func(r *wire.InvokeRequest) { r.Headers = waitHeader("wfr_other") }),
			"headers.Upstash-Retries: ":                                                       with(func(r *wire.InvokeRequest) { r.Headers = waitHeader("wfr_parent", "Upstash-Retries", "many") }),
			"step.stepId: expected 1":                                                         with(func(r *wire.InvokeRequest) { r.Step.StepID = 7 }),
			"step.concurrent: 3":                                                              with(func(r *wire.InvokeRequest) { r.Step.Concurrent = 3 }),
			"step.stepType: expected Invoke":                                                  with(func(r *wire.InvokeRequest) { r.Step.StepType = wire.StepRun }),
			"workflowUrl: expected an absolute ":                                              with(func(r *wire.InvokeRequest) { r.URL = "app" }),
		} {
			w.refusesInvocation(engine.Invalid, want, p)
		}
		w.refusesInvocation(engine.Precondition, "headers.Upstash-Retries: 1000, at most 999",
			with(func(r *wire.InvokeRequest) { r.Headers = waitHeader("wfr_parent", "Upstash-Retries", "1000") }))
		w.refusesInvocation(engine.Precondition, "waits for the end of this one", w.invocation("wfr_parent", "wfr_parent", 1, nil))
		if steps := w.steps("wfr_parent"); len(steps) != 0 {
			t.Errorf("appended %+v", steps)
		}
		w.invoke("wfr_parent", "wfr_child", 1)
		w.finish("wfr_child", "1")
		w.expectResults("wfr_parent", `1 invoke wfr_child {"body":"1","isCanceled":false,"isFailed":false}`)
	})
}

// An id that is in use names the run that is there: who invokes it waits for its
// end, if that does not wait for the same.
func TestInvokeActiveRun(t *testing.T) {
	inBubble(t, func(w *world) {
		for _, id := range []string{"wfr_a", "wfr_b", "wfr_shared"} {
			w.trigger(id, 0)
		}
		for _, id := range []string{"wfr_a", "wfr_b"} {
			if out := w.invoke(id, "wfr_shared", 1); !out.Deduplicated {
				t.Errorf("invoked %+v", out)
			}
		}
		w.refusesInvocation(engine.Precondition, "waits for the end of this one", w.invocation("wfr_shared", "wfr_a", 1, nil))
		w.finish("wfr_shared", `"s"`)
		for _, id := range []string{"wfr_a", "wfr_b"} {
			w.expectResults(id, `1 invoke wfr_shared {"body":"\"s\"","isCanceled":false,"isFailed":false}`)
		}
	})
}

// Runs that are cancelled together, the invoking and the invoked, end as one.
func TestCancelWithInvoked(t *testing.T) {
	inBubble(t, func(w *world) {
		w.trigger("wfr_0", 0)
		for i := range 5 {
			w.invoke(fmt.Sprint("wfr_", i), fmt.Sprint("wfr_", i+1), 1)
		}
		n, err := w.engine.CancelRuns(context.Background(), w.caller, engine.RunFilter{}, 0)
		if err != nil || n != 6 {
			t.Errorf("cancelled %d, %v", n, err)
		}
		for i := range 6 {
			if h := w.history(fmt.Sprint("wfr_", i)); h.Run.State != engine.RunCanceled {
				t.Errorf("run %d is %v", i, h.Run.State)
			}
		}
		time.Sleep(time.Hour)
	})
}

// An outcome and the result of what its run invoked come in one commit: each
// has its place in the log.
func TestInvokedFailsWithItsInvoker(t *testing.T) {
	inBubble(t, func(w *world) {
		w.respond(func(a engine.Attempt) engine.Outcome {
			if a.Header.Get("Upstash-Workflow-Runid") == "" {
				return engine.Outcome{Status: 200}
			}
			if strings.HasPrefix(a.RunID, "wfr_child") {
				return engine.Outcome{Status: 500}
			}
			return engine.Outcome{Status: 200}
		})
		w.trigger("wfr_parent", 0)
		var items []engine.Publish
		for i := range 20 {
			plan := wire.Step{StepName: fmt.Sprint("invoke wfr_child", i), StepType: wire.StepInvoke, Concurrent: 20, TargetStep: i + 1}
			w.append("wfr_parent", plan)
			items = append(items, w.invocation("wfr_parent", fmt.Sprint("wfr_child", i), i+1, func(r *wire.InvokeRequest) { r.Step.Concurrent = 20 }))
		}
		for i := range items {
			items[i].Config.Retries = new(0)
		}
		if _, err := w.engine.Publish(context.Background(), w.caller, items); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		log, err := w.runLog("wfr_parent")
		if err != nil || len(log) != 41 {
			t.Fatalf("%d entries, %v", len(log), err)
		}
		for i, e := range log {
			if e.Index != i {
				t.Errorf("entry %d has the place %d", i, e.Index)
			}
		}
	})
}
