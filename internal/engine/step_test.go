package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// What a run can't have come to is refused, and the run goes on as if nothing
// had been sent.
func TestMisplacedSteps(t *testing.T) {
	result := func(id, concurrent int, kind wire.StepType) wire.Step {
		return wire.Step{StepID: id, StepName: "s", StepType: kind, Concurrent: concurrent}
	}
	plan := func(target, concurrent int) wire.Step {
		return wire.Step{StepName: "p", StepType: wire.StepRun, Concurrent: concurrent, TargetStep: target}
	}
	inBubble(t, func(w *world) {
		w.trigger("wfr_1", 0)
		w.append("wfr_1", result(1, 1, wire.StepRun))
		w.append("wfr_1", plan(2, 2))
		w.append("wfr_1", plan(3, 2))
		w.append("wfr_1", result(3, 2, wire.StepRun))
		before := len(w.steps("wfr_1"))
		for _, tt := range []struct {
			steps []wire.Step
			want  string
		}{
			{[]wire.Step{result(5, 1, wire.StepRun)}, "body: stepId: expected 4, which is next in the run, got 5"},
			{[]wire.Step{result(4, 3, wire.StepRun)}, "body: concurrent: 3, but the run has not planned step 4 as one of several"},
			{[]wire.Step{result(2, 1, wire.StepRun)}, "body: concurrent: expected 2, as step 2 was planned, got 1"},
			{[]wire.Step{result(2, 2, wire.StepCall)}, "body: stepType: expected Run, as step 2 was planned, got Call"},
			{[]wire.Step{{StepName: "s", StepType: wire.StepCall, Concurrent: 1}}, "body: stepId: expected that of a result, from 1, or the targetStep of a plan"},
			{[]wire.Step{plan(6, 2)}, "body: targetStep: expected 4, which is next in the run, with stepId 0, got 6 with 0"},
			{[]wire.Step{plan(4, 1)}, "body: concurrent: expected how many steps are planned together, 2 or more, got 1"},
			{[]wire.Step{{StepID: 4, TargetStep: 4, StepName: "p", StepType: wire.StepRun, Concurrent: 2}}, "with stepId 0, got 4 with 4"},
			{[]wire.Step{plan(4, 2), plan(6, 2)}, "[1]: body: targetStep: expected 5"},
		} {
			var items []engine.Publish
			for _, s := range tt.steps {
				body, err := json.Marshal(s)
				if err != nil {
					t.Fatal(err)
				}
				items = append(items, engine.Publish{Destination: workflowURL, Body: body, Config: wire.Config{Method: "POST",
					Workflow: wire.Workflow{RunID: "wfr_1", URL: workflowURL, CallType: wire.CallStep}}})
			}
			_, err := w.engine.Publish(context.Background(), w.caller, items)
			if reason, ok := errors.AsType[*engine.Error](err); !ok || reason.Code != engine.Invalid || !strings.Contains(reason.Message, tt.want) {
				t.Errorf("%+v: %v, want %s", tt.steps, err, tt.want)
			}
		}
		if n := len(w.steps("wfr_1")); n != before {
			t.Errorf("the log has %d entries, and had %d", n, before)
		}
		w.append("wfr_1", result(2, 2, wire.StepRun))
		w.append("wfr_1", result(3, 2, wire.StepRun)) // again: it is known
		w.append("wfr_1", result(4, 1, wire.StepSleepFor))
		if n := len(w.steps("wfr_1")); n != before+2 {
			t.Errorf("the log has %d entries, want %d", n, before+2)
		}
	})
}
