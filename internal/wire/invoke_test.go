package wire

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseInvoke(t *testing.T) {
	payload := `{"n":1}`
	full := InvokeRequest{
		Body: &payload, Headers: http.Header{"Upstash-Workflow-Runid": {"wfr_1"}}, RunID: "wfr_1", CreatedAt: 1700000000000,
		URL: "https://app/wf", Step: Step{StepID: 2, StepName: "i", StepType: StepInvoke, Concurrent: 3},
	}
	text, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseInvoke(text)
	if diff := cmp.Diff(full, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	const least = `{"workflowRunId":"wfr_1","step":{"stepId":1,"stepName":"i","stepType":"Invoke"}`
	for body, at := range map[string]int64{
		least + `}`: 0, least + `,"body":null,"headers":null,"workflowUrl":null,"workflowRunCreatedAt":null}`: 0,
		least + `,"workflowRunCreatedAt":"NaN"}`: 0, least + `,"workflowRunCreatedAt":-5}`: 0, least + `,"workflowRunCreatedAt":"1700000000000"}`: 1700000000000,
	} {
		got, err := ParseInvoke([]byte(body))
		if err != nil || got.Body != nil || got.CreatedAt != at || got.Step.Concurrent != 1 {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
	}
	for body, want := range map[string]string{
		``:   "body: expected a JSON object",
		`[]`: "body: expected a JSON object, got an array",
		`{"step":{"stepId":1,"stepName":"i","stepType":"Invoke"}}`:                                             "workflowRunId: expected the id of the run that waits for the result",
		`{"workflowRunId":"wfr_1"}`:                                                                            "step: expected an object",
		`{"workflowRunId":"wfr_1","step":{"stepId":0,"stepName":"i","stepType":"Invoke"}}`:                     "step.stepId: expected a whole number from 1, got 0",
		`{"workflowRunId":"wfr_1","step":{"stepId":1,"stepName":"i","stepType":"Run"}}`:                        `step.stepType: expected Invoke, got "Run"`,
		`{"workflowRunId":"wfr_1","step":{"stepId":1,"stepName":" ","stepType":"Invoke"}}`:                     "step.stepName: expected a name",
		`{"workflowRunId":"wfr_1","workflowUrl":"app","step":{"stepId":1,"stepName":"i","stepType":"Invoke"}}`: "workflowUrl: expected an absolute http or https URL",
	} {
		if _, err := ParseInvoke([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

func FuzzParseInvoke(f *testing.F) {
	f.Add([]byte(`{"workflowRunId":"wfr_1","step":{"stepId":1,"stepName":"i","stepType":"Invoke"},"headers":{"a":["b"]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseInvoke(body)
		if err == nil && (r.RunID == "" || r.Step.StepID < 1 || r.Step.StepType != StepInvoke) {
			t.Errorf("%q is %+v", body, r)
		}
	})
}
