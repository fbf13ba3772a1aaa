package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

func refusal() engine.Outcome {
	return engine.Outcome{Status: 489, Header: http.Header{"Upstash-Nonretryable-Error": {"true"}}, Body: []byte(`{"message":"no"}`)}
}

// givingUp makes deliveries of an endpoint fail for good, before they are handled
// or after, until it is told to stop.
type givingUp struct {
	*endpoint
	mu     sync.Mutex
	random *rand.Rand
	off    bool
}

func (f *givingUp) answer(a engine.Attempt) engine.Outcome {
	if a.Kind == engine.KindFailureCall {
		return engine.Outcome{Status: 200}
	}
	f.mu.Lock()
	fate, slow := f.random.IntN(8), f.random.IntN(3)
	off := f.off
	f.mu.Unlock()
	time.Sleep(time.Duration(slow) * time.Second)
	if !off && fate == 0 {
		return refusal()
	}
	o := f.endpoint.answer(a)
	if !off && fate == 1 {
		return refusal()
	}
	return o
}

// ran says whether a step was executed.
func (ep *endpoint) ran(step int) bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.executed[step] > 0
}

func (w *world) resume(id string, how engine.Resume) *engine.Run {
	w.t.Helper()
	run, err := w.engine.ResumeRun(context.Background(), w.caller, id, how)
	if err != nil {
		w.t.Fatal(err)
	}
	return run
}

// logged are the results in the log of a run that has ended or has not.
func (w *world) logged(run *engine.Run) map[int]string {
	w.t.Helper()
	out := map[int]string{}
	err := w.store.View(context.Background(), func(tx engine.Tx) error {
		now, err := tx.Run(run.Seq)
		if err != nil {
			return err
		}
		log, err := tx.Log(run.Seq, 0, now.LogLen-1)
		for _, e := range log {
			if e.CallType == wire.CallStep && e.StepID != 0 {
				out[e.StepID] = string(e.Body)
			}
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// Wherever a run fails, and however often, resuming it leads to its end, and no
// step is run again that had a result.
func TestResumeAnywhere(t *testing.T) {
	for seed := range rounds(8, 60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(w *world) { resumeAnywhere(w, seed) })
		})
	}
}

// giveSome resumes a run with a result for a step that it failed at, which it adds
// to those there are; nil if the step is none of these.
func (w *world) giveSome(old *engine.Run, stages []int, had map[int]string, random *rand.Rand) *engine.Run {
	w.t.Helper()
	var steps []int
	next := 1
	for _, n := range stages {
		for i := range n {
			// A first step that has no plan yet would be taken for one that stands alone.
			if had[next+i] == "" && (n == 1 || i > 0) {
				steps = append(steps, next+i)
			}
		}
		next += n
	}
	if len(steps) == 0 {
		return nil
	}
	step := steps[random.IntN(len(steps))]
	edit := engine.LogEdit{Results: []engine.StepResult{{StepID: step, Name: fmt.Sprint("step ", step), Out: []byte(`"by hand"`)}}}
	run, err := w.engine.ResumeRun(context.Background(), w.caller, engine.DLQID(old.DLQ), engine.Resume{Edit: edit})
	switch {
	case engine.ErrorCode(err) == engine.Invalid:
		return nil
	case err != nil:
		w.t.Fatal(err)
	}
	if had[step] = w.logged(run)[step]; !strings.Contains(had[step], "by hand") {
		w.t.Errorf("step %d was given a result, and has %s", step, had[step])
	}
	return run
}

func resumeAnywhere(w *world, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 3))
	ep := &givingUp{endpoint: &endpoint{w: w, executed: map[int]int{}}, random: rand.New(rand.NewPCG(seed, 4))}
	total := 0
	for range 1 + random.IntN(5) {
		n := 1 + random.IntN(4)
		ep.stages = append(ep.stages, n)
		total += n
	}
	w.respond(ep.answer)
	w.trigger("wfr_1", 0)
	run := w.history("wfr_1").Run
	for resumed := 0; ; resumed++ {
		time.Sleep(10 * time.Minute)
		run = w.history(run.ID).Run
		if run.State == engine.RunSuccess {
			break
		}
		if run.State != engine.RunFailed {
			w.t.Fatalf("stages %v, resumed %d times: run %s hangs: %+v", ep.stages, resumed, run.ID, w.history(run.ID).Groups)
		}
		if resumed == 30 {
			ep.mu.Lock()
			ep.off = true
			ep.mu.Unlock()
		}
		had := w.logged(run)
		ep.endpoint.mu.Lock()
		clear(ep.executed)
		ep.endpoint.mu.Unlock()
		old := run
		if run = nil; random.IntN(3) == 0 {
			run = w.giveSome(old, ep.stages, had, random)
		}
		if run == nil {
			run = w.resume(engine.DLQID(old.DLQ), engine.Resume{})
		}
		if random.IntN(2) == 0 {
			w.stop()
			w.start()
		}
		time.Sleep(10 * time.Minute)
		for step, result := range had {
			if ep.ran(step) {
				w.t.Errorf("stages %v: step %d has run, which had a result", ep.stages, step)
			}
			if now := w.logged(run)[step]; now != result {
				w.t.Errorf("step %d had the result %s, and has %s", step, result, now)
			}
		}
	}
	for _, f := range ep.faults {
		w.t.Error(f)
	}
	if string(run.Response) != fmt.Sprint(total) || len(w.dlq()) != 0 {
		w.t.Errorf("run ended with %q, %d are in the DLQ", run.Response, len(w.dlq()))
	}
}

// failedRun is a run whose steps 1 and 2 have results, and that failed then.
func (w *world) failedRun(change func(*wire.Config)) *engine.Run {
	w.t.Helper()
	ep := &endpoint{w: w, stages: []int{1, 1, 1}, executed: map[int]int{}}
	w.respond(func(a engine.Attempt) engine.Outcome {
		if ep.ran(2) {
			return refusal()
		}
		return ep.answer(a)
	})
	cfg := wire.Config{Method: "POST", Retries: new(0), Header: http.Header{"X-User": {"ada"}},
		Workflow: wire.Workflow{Init: true, RunID: "wfr_old", URL: workflowURL, CallType: wire.CallStep}}
	if change != nil {
		change(&cfg)
	}
	w.publish(engine.Publish{Destination: workflowURL, Body: []byte("payload"), Config: cfg})
	time.Sleep(time.Minute)
	run := w.history("wfr_old").Run
	if run.State != engine.RunFailed || run.LogLen != 3 {
		w.t.Fatalf("run %+v", run)
	}
	ep.stages = []int{1, 1, 1, 1}
	w.respond(ep.answer)
	return run
}

// A resumed run has another id, its log, and goes on where it failed; its
// deliveries say so. The entry is gone.
func TestResume(t *testing.T) {
	inBubble(t, func(w *world) {
		old := w.failedRun(func(cfg *wire.Config) { cfg.Labels = []string{"a"} })
		before, first := w.history("wfr_old"), len(w.made())
		run := w.resume(engine.DLQID(old.DLQ), engine.Resume{Over: wire.Config{
			Retries: new(7), RetryDelay: "1", Labels: []string{"b", "c"}, Delay: time.Minute,
			FlowControl: &wire.FlowControl{Key: "k", Parallelism: 1}, Header: http.Header{"X-More": {"1"}},
			FailureCallback: &wire.Callback{URL: "https://failed.example"},
		}})
		if run.ID == old.ID || !strings.HasPrefix(run.ID, "wfr_") || run.State != engine.RunStarted || run.LogLen != 3 || run.MaxStep != 2 || len(w.dlq()) != 0 {
			t.Errorf("resumed as %+v", run)
		}
		time.Sleep(50 * time.Second)
		if n := len(w.made()); n != first {
			t.Fatalf("%d deliveries before the delay is over", n-first)
		}
		w.expectStep(run.ID, engine.StepProgress, func(s *engine.StepHistory) bool { return s.NextDue > 0 && s.Message.MaxRetries == 7 })
		time.Sleep(time.Minute)
		h := w.history(run.ID)
		if h.Run.State != engine.RunSuccess || len(h.Groups) != 5 {
			t.Errorf("history %+v", h)
		}
		for i, g := range h.Groups[:2] {
			if g.Steps[0].Entry.Message != before.Groups[i].Steps[0].Entry.Message {
				t.Errorf("step %d has another message", i)
			}
		}
		for i, a := range w.made()[first:] {
			log, err := wire.ParseLog(a.Body)
			if err != nil || len(log) != 3+i || log[len(log)-1].MessageID != a.Header.Get(wire.HeaderMessageID) || string(log[0].Body) != "payload" {
				t.Errorf("delivery %d: %v, %v", i, log, err)
			}
			if a.RunID != run.ID || a.Header.Get(wire.HeaderWorkflowRunID) != run.ID || a.Header.Get("X-User") != "ada" || a.Header.Get("X-More") != "1" ||
				a.Header.Get(wire.HeaderWorkflowCreatedAt) != fmt.Sprint(engine.Millis(run.Seq)) {
				t.Errorf("delivery %d has %v", i, a.Header)
			}
		}
		s := &h.Run.Settings
		if !slices.Equal(s.Labels, []string{"b", "c"}) || s.FlowControl.Key != "k" || *s.Retries != 7 || s.FailureCallback.URL != "https://failed.example" {
			t.Errorf("settings %+v", s)
		}
		if got := w.history("wfr_old"); got.Run.State != engine.RunFailed || len(got.Groups) != 4 {
			t.Errorf("the old run is %+v", got.Run)
		}
		_, err := w.engine.ResumeRun(context.Background(), w.caller, engine.DLQID(old.DLQ), engine.Resume{})
		if engine.ErrorCode(err) != engine.NotFound {
			t.Errorf("resumed twice: %v", err)
		}
	})
}

// A restarted run has its payload and nothing else.
func TestRestart(t *testing.T) {
	inBubble(t, func(w *world) {
		old := w.failedRun(nil)
		first := len(w.made())
		run := w.resume(engine.DLQID(old.DLQ), engine.Resume{Restart: true, Edit: engine.LogEdit{Payload: []byte("other")}})
		if run.LogLen != 1 || run.MaxStep != 0 {
			t.Errorf("restarted as %+v", run)
		}
		time.Sleep(time.Minute)
		if got := w.history(run.ID); got.Run.State != engine.RunSuccess || string(got.Groups[0].Steps[0].Entry.Body) != "other" {
			t.Errorf("run %+v", got)
		}
		if n := len(w.made()) - first; n > 5 || w.made()[first].Kind != engine.KindInit {
			t.Errorf("%d deliveries, the first of the kind %d", n, w.made()[first].Kind)
		}
	})
}

// A token that is for some URLs gives a run's failure callback one of these, but not
// what another URL is told in headers.
func TestT21FailureCallbackKeepsItsHeaders(t *testing.T) {
	for url, kept := range map[string]bool{"https://other.example/": false, "https://app.example/failed": true} {
		inBubble(t, func(w *world) {
			old := w.failedRun(func(cfg *wire.Config) {
				cfg.FailureCallback = &wire.Callback{URL: url, Header: http.Header{"Upstash-Forward-Authorization": {"secret"}}}
			})
			_, secret := w.createToken(engine.NewToken{Scopes: []engine.Scope{engine.ScopePublish}, URLPrefix: "https://app.example"})
			w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
			_, err := w.engine.ResumeRun(context.Background(), w.authenticate(secret), engine.DLQID(old.DLQ), engine.Resume{Over: wire.Config{
				FailureCallback: &wire.Callback{URL: "https://app.example/mine"},
			}})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			made := w.made()
			last := made[len(made)-1]
			if last.URL != "https://app.example/mine" || last.Header.Get("Authorization") == "secret" != kept {
				t.Errorf("failure callback of %s: %s is told %v", url, last.URL, last.Header)
			}
		})
	}
}

// The failure callback of a resumed run is told of the new one.
func TestResumedRunFails(t *testing.T) {
	inBubble(t, func(w *world) {
		old := w.failedRun(func(cfg *wire.Config) {
			cfg.FailureCallback = &wire.Callback{URL: workflowURL, Header: http.Header{
				"Upstash-Workflow-Runid": {"wfr_old"}, "Upstash-Forward-X-User": {"ada"}}}
		})
		w.respond(func(a engine.Attempt) engine.Outcome {
			if a.Kind == engine.KindFailureCall {
				return engine.Outcome{Status: 200}
			}
			return refusal()
		})
		run := w.resume(engine.DLQID(old.DLQ), engine.Resume{})
		time.Sleep(time.Minute)
		made := w.made()
		last := made[len(made)-1]
		var body wire.CallbackBody
		if err := json.Unmarshal(last.Body, &body); err != nil {
			t.Fatal(err)
		}
		if last.Header.Get(wire.HeaderWorkflowRunID) != run.ID || body.WorkflowRunID != run.ID || string(body.SourceBody) != "payload" || last.Header.Get("X-User") != "ada" {
			t.Errorf("failure callback %v says %+v", last.Header, body)
		}
		h := w.history(run.ID)
		if h.Run.State != engine.RunFailed || h.Failure == nil || h.Failure.Failed == nil || h.Failure.Failed.Status != 489 {
			t.Errorf("history %+v", h)
		}
	})
}

// Results and payload are edited as the steps have them, in the new run's log and
// the audit log.
func TestResumeWithEdits(t *testing.T) {
	inBubble(t, func(w *world) {
		old := w.failedRun(nil)
		run := w.resume(engine.DLQID(old.DLQ), engine.Resume{Edit: engine.LogEdit{
			Payload: []byte(`{"n": 2}`), Results: []engine.StepResult{{StepID: 2, Out: []byte(` {"a": [1, "<"]} `)}},
		}})
		var log []*engine.LogEntry // the run may have ended
		err := w.store.View(context.Background(), func(tx engine.Tx) (err error) {
			log, err = tx.Log(run.Seq, 0, run.LogLen)
			return err
		})
		if err != nil || len(log) < 3 {
			t.Fatal(log, err)
		}
		two, err := wire.ParseStep(log[2].Body)
		if string(log[0].Body) != `{"n": 2}` || err != nil || *two.Out != `{"a":[1,"<"]}` || two.StepName != "step 2" || two.StepID != 2 {
			t.Errorf("log has %s and %s, %v", log[0].Body, log[2].Body, err)
		}
		if s := w.logged(old)[2]; strings.Contains(s, `"out"`) {
			t.Errorf("the old run has %s", s)
		}
		a := w.audit(engine.AuditFilter{})[0]
		before, after := `{"payload":"payload","steps":[{"stepId":2}]}`,
			fmt.Sprintf(`{"workflowRunId":%q,"payload":"{\"n\": 2}","steps":[{"stepId":2,"out":"{\"a\":[1,\"\u003c\"]}"}]}`, run.ID)
		if a.Action != "dlq.resume" || a.Object != engine.DLQID(old.DLQ) || a.Before != before || a.After != after {
			t.Errorf("audit log has %+v", a)
		}
		time.Sleep(time.Minute)
		if got := w.history(run.ID).Run; got.State != engine.RunSuccess {
			t.Errorf("run %+v", got)
		}
	})
}

// A run that went on says as which, and that from which.
func TestRunsThatGoOnNameEachOther(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			inBubble(t, func(w *world) {
				old := w.failedRun(nil)
				if h := w.history(old.ID); h.Next != nil || h.Run.Settings.Before != nil {
					t.Errorf("the run has %+v before it, and after it %+v", h.Run.Settings.Before, h.Next)
				}
				run := w.resume(engine.DLQID(old.DLQ), engine.Resume{Restart: restart})
				if next := w.history(old.ID).Next; next == nil || next.ID != run.ID {
					t.Errorf("the run went on as %+v, want %s", next, run.ID)
				}
				want := engine.RunRef{ID: old.ID, CreatedAt: engine.Millis(old.Seq)}
				if h := w.history(run.ID); h.Next != nil || h.Run.Settings.Before == nil || *h.Run.Settings.Before != want {
					t.Errorf("the new run has %+v before it, and after it %+v", h.Run.Settings.Before, h.Next)
				}
			})
		})
	}
}

// A workflow takes what a call or an invocation has brought for text: who edits it
// may write the JSON that it is.
func TestEditOfBodies(t *testing.T) {
	for _, tt := range []struct {
		kind    wire.StepType
		out     string
		want    string
		refused bool
	}{
		{wire.StepInvoke, `{"body": {"id": "r<1"}, "isFailed": false}`, `{"body":"{\"id\":\"r<1\"}","isFailed":false}`, false},
		{wire.StepInvoke, `{"body":"{\"id\":1}","isCanceled":false}`, `{"body":"{\"id\":1}","isCanceled":false}`, false},
		{wire.StepInvoke, `{"isCanceled":true}`, `{"isCanceled":true}`, false},
		{wire.StepCall, `{"status":200,"body":[1,2]}`, `{"body":"[1,2]","status":200}`, false},
		{wire.StepCall, `{"status":204,"body":null}`, `{"status":204,"body":null}`, false},
		{wire.StepCall, `true`, "", true},
		{wire.StepRun, `{"body":{"id":1}}`, `{"body":{"id":1}}`, false},
	} {
		t.Run(string(tt.kind)+" "+tt.out, func(t *testing.T) {
			inBubble(t, func(w *world) {
				var once sync.Once
				w.respond(func(engine.Attempt) engine.Outcome {
					once.Do(func() {
						w.append("wfr_1", wire.Step{StepID: 1, StepName: "one", StepType: tt.kind, Out: new(`{"body":"0"}`), Concurrent: 1})
					})
					return refusal()
				})
				w.trigger("wfr_1", 0)
				time.Sleep(time.Minute)
				edit := engine.LogEdit{Results: []engine.StepResult{{StepID: 1, Out: json.RawMessage(tt.out)}}}
				run, err := w.engine.ResumeRun(context.Background(), w.caller, engine.DLQID(w.dlq()[0].Entry.Seq), engine.Resume{Edit: edit})
				if tt.refused {
					if want := "steps[0].out: expected an object, as the result of a step of the type Call is"; err == nil || err.Error() != want {
						t.Errorf("refused with %v, want %s", err, want)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				step, err := wire.ParseStep([]byte(w.logged(run)[1]))
				if err != nil || strings.ReplaceAll(*step.Out, `\u003c`, "<") != tt.want {
					t.Errorf("the result is %v, %v, want %s", *step.Out, err, tt.want)
				}
			})
		})
	}
}

// A step whose name has changed in the code is renamed in the log.
func TestRenamedStep(t *testing.T) {
	inBubble(t, func(w *world) {
		old := w.failedRun(nil)
		run := w.resume(engine.DLQID(old.DLQ), engine.Resume{Edit: engine.LogEdit{Results: []engine.StepResult{
			{StepID: 1, Name: "renamed"}, {StepID: 2, Name: "step 2", Out: []byte("2")},
		}}})
		if s := w.logged(run); !strings.Contains(s[1], `"stepName":"renamed"`) || strings.Contains(s[1], `"out"`) || !strings.Contains(s[2], `"out":"2"`) {
			t.Errorf("the log has %v", s)
		}
		a := w.audit(engine.AuditFilter{})[0]
		if !strings.Contains(a.Before, `"steps":[{"stepId":1,"stepName":"step 1"},{"stepId":2}]`) ||
			!strings.Contains(a.After, `"steps":[{"stepId":1,"stepName":"renamed"},{"stepId":2,"out":"2"}]`) {
			t.Errorf("audit log has %+v", a)
		}
	})
}

// What a run's publisher had redacted, the audit log has as a hash.
func TestEditsAreRedacted(t *testing.T) {
	inBubble(t, func(w *world) {
		old := w.failedRun(func(cfg *wire.Config) { cfg.Redact.Body = true })
		w.resume(engine.DLQID(old.DLQ), engine.Resume{Edit: engine.LogEdit{
			Payload: []byte("new secret"), Results: []engine.StepResult{{StepID: 1, Out: []byte(`"hidden"`)}},
		}})
		a := w.audit(engine.AuditFilter{})[0]
		for _, text := range []string{a.Before, a.After} {
			if strings.Contains(text, "payload\"\"") || strings.Contains(text, "secret") || strings.Contains(text, "hidden") || !strings.Contains(text, "REDACTED:") {
				t.Errorf("audit log has %s", text)
			}
		}
	})
}

// So has it the result of a run that redacts its own.
func TestEditOfHiddenRunsResult(t *testing.T) {
	inBubble(t, func(w *world) {
		old, _ := w.halfFailed(wire.StepInvoke, func() {
			p := w.invocation("wfr_old", "wfr_child", 1, concurrent)
			p.Config.Redact.Body = true
			w.publish(p)
			w.finish("wfr_child", "canary-before")
		})
		w.resume(engine.DLQID(old.DLQ), engine.Resume{Edit: engine.LogEdit{Results: []engine.StepResult{{StepID: 1, Out: []byte(`{"body":"canary-after"}`)}}}})
		a := w.audit(engine.AuditFilter{})[0]
		for _, text := range []string{a.Before, a.After} {
			if strings.Contains(text, "canary") || !strings.Contains(text, "REDACTED:") {
				t.Errorf("audit log has %s", text)
			}
		}
	})
}

// The step that a run failed at can be given the result that it was to have: the
// endpoint is called with it, and goes on behind it.
func TestResultForFailedStep(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before int // steps that have a result
		give   []engine.StepResult
	}{
		{"first", 0, []engine.StepResult{{StepID: 1, Name: "step 1", Out: []byte(`"by hand"`)}}},
		{"third", 2, []engine.StepResult{{StepID: 3, Name: "step 3", Out: []byte(`"by hand"`)}}},
		{"and the next", 2, []engine.StepResult{{StepID: 4, Name: "step 4", Out: []byte(`"by hand"`)}, {StepID: 3, Name: "step 3", Out: []byte(`"by hand"`)}}},
		{"and one before", 2, []engine.StepResult{{StepID: 3, Name: "step 3", Out: []byte(`"by hand"`)}, {StepID: 1, Name: "step 1", Out: []byte(`"edited"`)}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				var mu sync.Mutex
				done := 0
				w.respond(func(a engine.Attempt) engine.Outcome {
					mu.Lock()
					defer mu.Unlock()
					if done == tt.before {
						return refusal()
					}
					done++
					w.append("wfr_old", wire.Step{StepID: done, StepName: fmt.Sprint("step ", done), StepType: wire.StepRun, Out: new("1"), Concurrent: 1})
					return engine.Outcome{Status: 200}
				})
				w.publishAll(engine.Publish{Destination: workflowURL, Body: []byte("payload"), Config: wire.Config{
					Method: "POST", Header: http.Header{"Content-Type": {"text/plain"}}, Retries: new(0),
					Workflow: wire.Workflow{Init: true, RunID: "wfr_old", URL: workflowURL},
				}})
				time.Sleep(time.Minute)
				w.respond(ok)
				before := len(w.made())
				run := w.resume(engine.DLQID(w.dlq()[0].Entry.Seq), engine.Resume{Edit: engine.LogEdit{Results: tt.give}})
				time.Sleep(time.Second)
				made := w.made()[before:]
				if len(made) != 1 {
					t.Fatalf("%d deliveries", len(made))
				}
				a := made[0]
				last := 0
				for _, g := range tt.give {
					last = max(last, g.StepID)
					step, err := wire.ParseStep([]byte(w.logged(run)[g.StepID]))
					if err != nil || step.StepName != g.Name || step.StepType != wire.StepRun || *step.Out != string(g.Out) || step.Concurrent != 1 {
						t.Errorf("the log has %+v, %v", step, err)
					}
				}
				log, err := wire.ParseLog(a.Body)
				if err != nil || len(log) != last+1 || a.Kind != engine.KindStep || a.Header.Get("Content-Type") != "application/json" ||
					a.Header.Get(wire.HeaderWorkflowInit) != "false" || a.Header.Get(wire.HeaderWorkflowRunID) != run.ID {
					t.Errorf("delivered %s with %v, %v", a.Body, a.Header, err)
				}
				if h := w.history(run.ID); len(h.Groups) != last+1 { // the payload is one
					t.Errorf("history has %d groups", len(h.Groups))
				}
				after := w.audit(engine.AuditFilter{})[0].After
				for _, g := range tt.give {
					want := fmt.Sprintf(`{"stepId":%d,"stepName":%q,"out"`, g.StepID, g.Name)
					if g.StepID <= tt.before {
						want = fmt.Sprintf(`{"stepId":%d,"out"`, g.StepID)
					}
					if !strings.Contains(after, want) {
						t.Errorf("audit log has %s", after)
					}
				}
				// What it says next is taken.
				w.append(run.ID, wire.Step{StepID: last + 1, StepName: "next", StepType: wire.StepRun, Out: new("1"), Concurrent: 1})
			})
		})
	}
}

// In a parallel group the log tells the name; what waits for the server can't be
// given a result.
func TestResultForFailedParallelStep(t *testing.T) {
	result := func(w *world, old *engine.Run, results ...engine.StepResult) (*engine.Run, error) {
		return w.engine.ResumeRun(context.Background(), w.caller, engine.DLQID(old.DLQ), engine.Resume{Edit: engine.LogEdit{Results: results}})
	}
	inBubble(t, func(w *world) {
		old, delivered := w.halfFailed(wire.StepRun, func() {})
		_, err := result(w, old, engine.StepResult{StepID: 2, Name: "other", Out: json.RawMessage("1")})
		if want := `steps[0].stepName: step 2 is "fails", of a parallel group, whose steps keep their names; got "other"`; err == nil || err.Error() != want {
			t.Errorf("refused with %v, want %s", err, want)
		}
		run, err := result(w, old, engine.StepResult{StepID: 2, Out: json.RawMessage("1")})
		if err != nil {
			t.Fatal(err)
		}
		step, err := wire.ParseStep([]byte(w.logged(run)[2]))
		if err != nil || step.StepName != "fails" || *step.Out != "1" || step.Concurrent != 2 || step.TargetStep != 0 {
			t.Errorf("the log has %+v, %v", step, err)
		}
		if got := delivered(); !slices.Equal(got, []string{"first"}) {
			t.Errorf("delivered %q", got)
		}
	})
	inBubble(t, func(w *world) { // both: the group is complete
		old, delivered := w.halfFailed(wire.StepRun, func() {})
		_, err := result(w, old, engine.StepResult{StepID: 2, Out: json.RawMessage("2")}, engine.StepResult{StepID: 1, Out: json.RawMessage("1")})
		if err != nil {
			t.Fatal(err)
		}
		if got := delivered(); !slices.Equal(got, []string{"fails"}) {
			t.Errorf("delivered %q", got)
		}
	})
	inBubble(t, func(w *world) {
		old, _ := w.halfFailed(wire.StepCall, func() {})
		_, err := result(w, old, engine.StepResult{StepID: 1, Out: json.RawMessage("1")})
		if want := "steps[0].stepId: step 1 is of the type Call: only one that the endpoint executes can be given a result"; err == nil || err.Error() != want {
			t.Errorf("refused with %v, want %s", err, want)
		}
		if len(w.dlq()) != 1 || len(w.audit(engine.AuditFilter{})) != 0 {
			t.Error("something has changed")
		}
	})
}

// What can't be edited is refused, and nothing changes.
func TestEditsRefused(t *testing.T) {
	inBubble(t, func(w *world) {
		old := w.failedRun(nil)
		id := engine.DLQID(old.DLQ)
		step := func(id int, out string) engine.LogEdit {
			return engine.LogEdit{Results: []engine.StepResult{{StepID: id, Out: json.RawMessage(out)}}}
		}
		most := w.engine.MaxBody(w.caller)
		for want, how := range map[string]engine.Resume{
			"steps[0].stepName: required, as the log of workflow run wfr_old does not tell the name of step 3, which has no result yet": {Edit: step(3, "1")},
			"steps[0].stepId: step 4 is not in the log of workflow run wfr_old, and not what it failed at":                              {Edit: step(4, "1")},
			"steps[0].stepId: expected the number of a step, from 1, got 0":                                                             {Edit: step(0, "1")},
			"steps[0].out: required, unless the step is renamed":                                                                        {Edit: step(1, "")},
			"steps[0].out: required, as step 3 of workflow run wfr_old has no result yet":                                               {Edit: engine.LogEdit{Results: []engine.StepResult{{StepID: 3, Name: "x"}}}},
			"steps[0].out: expected a JSON value":                                                                                       {Edit: step(1, "{")},
			"steps[1].stepId: step 1 is there twice":                                                                                    {Edit: engine.LogEdit{Results: append(step(1, "1").Results, step(1, "2").Results...)}},
			"steps: a run that is restarted has no results; resume it instead":                                                          {Edit: step(1, "1"), Restart: true},
			fmt.Sprintf("payload: %d bytes, at most %d are accepted", most+1, most):                                                     {Edit: engine.LogEdit{Payload: make([]byte, most+1)}},
			"Upstash-Retries: 1001, at most 999 are allowed":                                                                            {Over: wire.Config{Retries: new(1001)}},
		} {
			_, err := w.engine.ResumeRun(context.Background(), w.caller, id, how)
			if err == nil || err.Error() != want {
				t.Errorf("refused with %v, want %s", err, want)
			}
		}
		if len(w.dlq()) != 1 || len(w.audit(engine.AuditFilter{})) != 0 {
			t.Error("something has changed")
		}
	})
}

// A log is there whole, however often its run has failed, and what was not edited
// is on disk once.
func TestResumeSharesLog(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		w.limits.LazyThreshold = 1 << 10
		w.start()
		w.respond(status(200, "Upstash-Workflow-Sdk-Version", "1"))
		const last = 120
		sizes := map[int]int{1: 1 << 20, 2: 700 << 10, 77: 600 << 10, 78: 600 << 10, 100: 1 << 20}
		w.publish(engine.Publish{Destination: workflowURL, Config: wire.Config{Method: "POST", Workflow: wire.Workflow{
			Init: true, RunID: "wfr_old", URL: workflowURL, CallType: wire.CallStep, Features: []string{wire.FeatureLazy, wire.FeatureDetectTrigger}}}})
		for i := 1; i <= last; i++ {
			if i == last {
				time.Sleep(time.Minute)
				w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
			}
			out := strings.Repeat(fmt.Sprint(i%10), max(i, sizes[i]))
			w.append("wfr_old", wire.Step{StepID: i, StepName: "s", StepType: wire.StepRun, Concurrent: 1, Out: &out})
		}
		time.Sleep(time.Minute)
		old := w.history("wfr_old").Run
		if old.State != engine.RunFailed {
			t.Fatalf("run %+v", old)
		}
		w.respond(ok)
		run := w.resume(engine.DLQID(old.DLQ), engine.Resume{Edit: engine.LogEdit{Results: []engine.StepResult{{StepID: 2, Out: []byte(`"edited"`)}}}})
		w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
		out := "its own"
		w.append(run.ID, wire.Step{StepID: last + 1, StepName: "s", StepType: wire.StepRun, Concurrent: 1, Out: &out})
		time.Sleep(time.Minute)
		w.respond(ok)
		run = w.resume(engine.DLQID(w.history(run.ID).Run.DLQ), engine.Resume{Edit: engine.LogEdit{Payload: []byte("edited")}})
		was, is := w.logged(old), w.logged(run)
		if len(is) != last+1 || !strings.Contains(is[2], "edited") || !strings.Contains(is[last+1], "its own") {
			t.Errorf("%d results, want %d, with step 2 as %.100s", len(is), last+1, is[2])
		}
		for step, result := range was {
			if is[step] != result && step != 2 {
				t.Errorf("step %d has %d bytes, want %d", step, len(is[step]), len(result))
			}
		}
		if h := w.history(run.ID); len(h.Groups) < last+2 || h.Run.LogLen != last+2 || string(h.Groups[0].Steps[0].Entry.Body) != "edited" {
			t.Errorf("%d groups, %d entries", len(h.Groups), h.Run.LogLen)
		}
		stands := map[int64]int{} // bodies, by run
		err := w.store.View(context.Background(), func(tx engine.Tx) error {
			log, err := tx.LogSteps(run.Seq, 0, last+1)
			for _, e := range log {
				stands[e.Place().Run]++
			}
			return err
		})
		if err != nil || stands[old.Seq] != last-1 || stands[run.Seq] != 1 || len(stands) != 3 {
			t.Errorf("bodies stand in %v, %v", stands, err)
		}
	})
}
