package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// endpoint plays a workflow endpoint as an SDK would: it replays the log it is
// sent, runs one step, and publishes the result. Its workflow is a sequence of
// stages; a stage of one is a step, a larger one a parallel group.
type endpoint struct {
	w      *world
	stages []int
	random *rand.Rand // nil: nothing goes wrong

	mu       sync.Mutex
	executed map[int]int // by step id
	faults   []string    // what an endpoint must never see

}

const workflowURL = "https://app.example/wf"

func (ep *endpoint) answer(a engine.Attempt) engine.Outcome {
	log, err := wire.ParseLog(a.Body)
	if err != nil {
		return ep.fault("body %q: %v", a.Body, err)
	}
	if last := log[len(log)-1].MessageID; last != a.Header.Get(wire.HeaderMessageID) {
		return ep.fault("delivery of %s ends in %s", a.Header.Get(wire.HeaderMessageID), last)
	}
	if ep.chance(10) {
		return engine.Outcome{Status: 500} // before doing anything
	}
	o := ep.invoke(a.Header.Get(wire.HeaderWorkflowRunID), log[1:])
	if o.Status == 200 && ep.chance(10) {
		return engine.Outcome{Status: 500} // after doing everything
	}
	return o
}

func (ep *endpoint) chance(percent int) bool {
	if ep.random == nil {
		return false
	}
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.random.IntN(100) < percent
}

func (ep *endpoint) fault(format string, args ...any) engine.Outcome {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.faults = append(ep.faults, fmt.Sprintf(format, args...))
	return engine.Outcome{Status: 500}
}

// invoke is one call of the workflow function.
func (ep *endpoint) invoke(runID string, log []wire.LogEntry) engine.Outcome {
	var steps []wire.Step
	for _, e := range log {
		s, err := wire.ParseStep(e.Body)
		if err != nil {
			return ep.fault("step %q: %v", e.Body, err)
		}
		if slices.ContainsFunc(steps, func(o wire.Step) bool { return o.StepID == s.StepID && o.TargetStep == s.TargetStep }) {
			return ep.fault("step %d (plan %d) is twice in the log", s.StepID, s.TargetStep)
		}
		steps = append(steps, s)
	}
	next := 1
	for _, n := range ep.stages {
		if n == 1 {
			if len(steps) == 0 {
				return ep.execute(runID, next, 1)
			}
			if steps[0].StepID != next {
				return ep.fault("expected step %d, got %+v", next, steps[0])
			}
			steps, next = steps[1:], next+1
			continue
		}
		switch {
		case len(steps) == 0:
			return ep.plan(runID, next, n)
		case len(steps) < 2*n:
			if last := steps[len(steps)-1]; last.TargetStep != 0 {
				return ep.execute(runID, last.TargetStep, n)
			}
			return engine.Outcome{Status: 200} // another delivery sees all results
		}
		for _, plan := range steps[:n] {
			if plan.TargetStep == 0 {
				return ep.fault("a result stands before a plan: %+v", steps)
			}
		}
		steps, next = steps[2*n:], next+n
	}
	if err := ep.w.engine.FinishRun(context.Background(), ep.w.caller, runID, []byte(strconv.Itoa(next-1))); err != nil {
		return engine.Outcome{Status: 500}
	}
	return engine.Outcome{Status: 200}
}

func (ep *endpoint) execute(runID string, id, concurrent int) engine.Outcome {
	ep.mu.Lock()
	ep.executed[id]++
	ep.mu.Unlock()
	return ep.append(runID, wire.Step{StepID: id, StepName: fmt.Sprint("step ", id), StepType: wire.StepRun, Concurrent: concurrent})
}

func (ep *endpoint) plan(runID string, first, n int) engine.Outcome {
	var plans []wire.Step
	for i := range n {
		plans = append(plans, wire.Step{StepName: fmt.Sprint("step ", first+i), StepType: wire.StepRun, Concurrent: n, TargetStep: first + i})
	}
	return ep.append(runID, plans...)
}

func (ep *endpoint) append(runID string, steps ...wire.Step) engine.Outcome {
	var items []engine.Publish
	for _, s := range steps {
		body, _ := json.Marshal(s)
		items = append(items, engine.Publish{Destination: workflowURL, Body: body, Config: wire.Config{
			Method: "POST", Workflow: wire.Workflow{RunID: runID, URL: workflowURL, CallType: wire.CallStep},
		}})
	}
	if _, err := ep.w.engine.Publish(context.Background(), ep.w.caller, items); err != nil {
		if engine.ErrorCode(err) == engine.Invalid {
			return engine.Outcome{Status: 200} // the run has ended
		}
		return engine.Outcome{Status: 500}
	}
	return engine.Outcome{Status: 200}
}

func (w *world) trigger(id string, retries int) {
	w.t.Helper()
	w.publish(engine.Publish{Destination: workflowURL, Body: []byte(`{"n":1}`), Config: wire.Config{
		Method: "POST", Retries: &retries, RetryDelay: "1000",
		Workflow: wire.Workflow{Init: true, RunID: id, URL: workflowURL, CallType: wire.CallStep},
	}})
}

func (w *world) history(id string) *engine.RunHistory {
	w.t.Helper()
	runs, _, err := w.engine.Runs(context.Background(), w.caller, engine.RunFilter{IDs: []string{id}}, "", 1)
	if err != nil || len(runs) != 1 {
		w.t.Fatalf("history of %s: %v, %v", id, runs, err)
	}
	return runs[0]
}

// A run's caller is whoever started it, in every delivery to its endpoint, though
// that publishes the steps. A third party is told who called it.
func TestCallerOfARun(t *testing.T) {
	const user, app = "192.0.2.1", "192.0.2.9"
	inBubble(t, func(w *world) {
		w.respond(func(a engine.Attempt) engine.Outcome {
			if a.Header.Get(wire.HeaderWorkflowStepID) != "" {
				return engine.Outcome{Status: 489, Header: http.Header{wire.HeaderNonRetryable: {"true"}}}
			}
			return engine.Outcome{Status: 200}
		})
		publish := func(ip, url, body string, cfg wire.Config) {
			cfg.Method, cfg.Workflow.RunID, cfg.Workflow.URL = "POST", "wfr_1", workflowURL
			w.publish(engine.Publish{Destination: url, Body: []byte(body), CallerIP: ip, Config: cfg})
			time.Sleep(time.Second)
		}
		publish(user, workflowURL, "{}", wire.Config{
			Workflow:        wire.Workflow{Init: true, CallType: wire.CallStep},
			FailureCallback: &wire.Callback{URL: "https://app.example/failed"},
		})
		publish(app, workflowURL, `{"stepId":1,"stepName":"a","stepType":"Run","concurrent":1}`, wire.Config{Workflow: wire.Workflow{CallType: wire.CallStep}})
		publish(app, "https://third.example/", "", wire.Config{
			Workflow: wire.Workflow{CallType: wire.CallTo},
			Callback: &wire.Callback{URL: workflowURL, Header: http.Header{wire.PrefixForward + wire.HeaderWorkflowStepID: {"2"}}},
		})
		var got []string
		for _, a := range w.made() {
			got = append(got, a.URL+" "+a.Header.Get(wire.HeaderCallerIP))
		}
		want := []string{workflowURL + " " + user, workflowURL + " " + user, "https://third.example/ " + app, workflowURL + " " + user, "https://app.example/failed " + user}
		if !slices.Equal(got, want) {
			t.Errorf("callers %v, want %v", got, want)
		}
		page, _, err := w.engine.DLQ(context.Background(), w.caller, engine.DLQFilter{Message: engine.MessageFilter{CallerIPs: []string{user}}}, false, "", 9)
		if err != nil || len(page) != 1 || page[0].Message.CallerIP != user {
			t.Errorf("in the DLQ: %v, %v", page, err)
		}
	})
}

// Whatever fails around it, a workflow runs every step and ends with its
// result; its log has each step once, and every delivery sees a prefix of it.
func TestRunsSurviveFailures(t *testing.T) {
	for seed := range rounds(10, 100) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(w *world) { surviveFailures(w, seed) })
		})
	}
}

func surviveFailures(w *world, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	ep := &endpoint{w: w, random: rand.New(rand.NewPCG(seed, 2)), executed: map[int]int{}}
	total := 0
	for range 1 + random.IntN(6) {
		n := 1 + random.IntN(4)
		ep.stages = append(ep.stages, n)
		total += n
	}
	w.respond(ep.answer)
	w.trigger("wfr_1", 50)
	for range 3 {
		time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		w.stop()
		w.start()
	}
	time.Sleep(time.Hour)
	for _, f := range ep.faults {
		w.t.Error(f)
	}
	h := w.history("wfr_1")
	if h.Run.State != engine.RunSuccess || string(h.Run.Response) != fmt.Sprint(total) {
		w.t.Fatalf("stages %v: run is %v with %q", ep.stages, h.Run.State, h.Run.Response)
	}
	for id := 1; id <= total; id++ {
		if ep.executed[id] == 0 {
			w.t.Errorf("step %d never ran", id)
		}
	}
	shown := 0
	for _, g := range h.Groups {
		for _, s := range g.Steps {
			if s.State != engine.StepSuccess {
				w.t.Errorf("step %+v of a successful run is %v", s.Step, s.State)
			}
			shown++
		}
	}
	if shown != total+1 {
		w.t.Errorf("history shows %d steps, want %d", shown, total+1)
	}
}

// A run whose endpoint gives up is in the DLQ, its failure callback is called
// with the initial payload, its siblings are dropped, and its id is free.
func TestRunFails(t *testing.T) {
	inBubble(t, func(w *world) {
		var told []engine.Attempt
		w.respond(func(a engine.Attempt) engine.Outcome {
			if a.Header.Get(wire.HeaderWorkflowIsFailure) != "" {
				told = append(told, a)
				return engine.Outcome{Status: 200}
			}
			return engine.Outcome{Status: 500, Body: []byte(`{"error":"E","message":"no"}`)}
		})
		cb := &wire.Callback{URL: workflowURL}
		start := engine.Publish{Destination: workflowURL, Body: []byte("payload"), Config: wire.Config{
			Retries: new(1), RetryDelay: "1000", FailureCallback: cb,
			Workflow: wire.Workflow{Init: true, RunID: "wfr_1", CallType: wire.CallStep},
		}}
		w.publish(start)
		time.Sleep(time.Minute)
		h := w.history("wfr_1")
		if h.Run.State != engine.RunFailed || h.Run.Failure != engine.FailureSuccess || h.Run.DLQ == 0 {
			t.Fatalf("run %+v", h.Run)
		}
		if next := h.Groups[len(h.Groups)-1]; next.Kind != engine.GroupNext || len(next.Steps[0].Errors) != 2 || next.Steps[0].State != engine.StepFailed {
			t.Errorf("last group %+v", next)
		}
		if len(told) != 1 {
			t.Fatalf("failure callback was called %d times", len(told))
		}
		var body wire.CallbackBody
		if err := json.Unmarshal(told[0].Body, &body); err != nil {
			t.Fatal(err)
		}
		if string(body.SourceBody) != "payload" || body.Status != 500 || body.WorkflowRunID != "wfr_1" || body.DLQID == "" || body.Retried != 1 {
			t.Errorf("failure callback says %+v", body)
		}
		if d := w.dlq(); len(d) != 1 || d[0].Run == nil || d[0].Run.ID != "wfr_1" {
			t.Errorf("DLQ %+v", d)
		}
		before := len(w.made())
		w.publish(start)
		time.Sleep(time.Minute)
		if len(w.made()) == before {
			t.Error("the id of an ended run can't be used again")
		}
	})
}

// A sleeping run is cancelled at once: its message is dropped, and appending
// to it is refused.
func TestCancelSleepingRun(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		ep := &endpoint{w: w}
		w.respond(func(a engine.Attempt) engine.Outcome {
			body, _ := json.Marshal(wire.Step{StepID: 1, StepName: "z", StepType: wire.StepSleepFor, SleepFor: wire.SecondsOf(time.Hour), Concurrent: 1})
			_, err := w.engine.Publish(ctx, w.caller, []engine.Publish{{Destination: workflowURL, Body: body, Config: wire.Config{
				Method: "POST", Delay: time.Hour, Workflow: wire.Workflow{RunID: "wfr_1", CallType: wire.CallStep},
			}}})
			if err != nil {
				return ep.fault("sleep: %v", err)
			}
			return engine.Outcome{Status: 200}
		})
		w.trigger("wfr_1", 0)
		time.Sleep(time.Minute)
		h := w.history("wfr_1")
		if last := h.Groups[len(h.Groups)-1].Steps[0]; last.State != engine.StepProgress || last.Step.SleepSeconds() != 3600 {
			t.Errorf("a sleeping step is %+v", last)
		}
		if n, err := w.engine.CancelRuns(ctx, w.caller, engine.RunFilter{IDs: []string{"wfr_1", "wfr_2"}}, 0); n != 1 || err != nil {
			t.Errorf("cancelled %d, %v", n, err)
		}
		time.Sleep(2 * time.Hour)
		if n := len(w.made()); n != 1 {
			t.Errorf("%d deliveries, want 1", n)
		}
		if o := ep.append("wfr_1", wire.Step{StepID: 2, StepName: "late", StepType: wire.StepRun, Concurrent: 1}); o.Status != 200 {
			t.Errorf("append to a cancelled run is not refused as one")
		}
		if got := w.history("wfr_1"); got.Run.State != engine.RunCanceled || got.Run.LogLen != 2 {
			t.Errorf("run %+v", got.Run)
		}
		for _, f := range ep.faults {
			t.Error(f)
		}
	})
}
