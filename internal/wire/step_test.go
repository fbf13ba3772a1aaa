package wire

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Steps as official SDKs publish them; encoding gives the same text again.
var publishedSteps = []struct {
	name, text string
	want       Step
}{
	{
		"result", `{"stepId":1,"stepName":"s1","stepType":"Run","out":"\"ok\"","concurrent":1}`,
		Step{StepID: 1, StepName: "s1", StepType: StepRun, Out: ptr(`"ok"`), Concurrent: 1},
	},
	{
		"result without a value", `{"stepId":2,"stepName":"s2","stepType":"Run","concurrent":1}`,
		Step{StepID: 2, StepName: "s2", StepType: StepRun, Concurrent: 1},
	},
	{
		"empty out", `{"stepId":2,"stepName":"w","stepType":"Wait","waitEventId":"e","out":"","concurrent":1}`,
		Step{StepID: 2, StepName: "w", StepType: StepWait, WaitEventID: "e", Out: ptr(""), Concurrent: 1},
	},
	{
		"plan", `{"stepId":0,"stepName":"a","stepType":"Run","concurrent":2,"targetStep":3}`,
		Step{StepName: "a", StepType: StepRun, Concurrent: 2, TargetStep: 3},
	},
	{
		"sleep", `{"stepId":1,"stepName":"z","stepType":"SleepFor","sleepFor":3,"concurrent":1}`,
		Step{StepID: 1, StepName: "z", StepType: StepSleepFor, SleepFor: SecondsOf(3 * time.Second), Concurrent: 1},
	},
	{
		"sleep of nothing", `{"stepId":1,"stepName":"z","stepType":"SleepFor","sleepFor":0,"concurrent":1}`,
		Step{StepID: 1, StepName: "z", StepType: StepSleepFor, SleepFor: SecondsOf(0), Concurrent: 1},
	},
	{
		"sleep plan", `{"stepId":0,"stepName":"z","stepType":"SleepUntil","sleepUntil":1767225600.25,"concurrent":2,"targetStep":1}`,
		Step{StepName: "z", StepType: StepSleepUntil, SleepUntil: ptr(Seconds(1767225600.25)), Concurrent: 2, TargetStep: 1},
	},
	{
		"wait timed out", `{"stepId":1,"stepName":"w","stepType":"Wait","waitEventId":"e","timeout":60,"waitTimeout":true,"concurrent":1}`,
		Step{StepID: 1, StepName: "w", StepType: StepWait, WaitEventID: "e", Timeout: SecondsOf(time.Minute), WaitTimeout: true, Concurrent: 1},
	},
}

func TestStep(t *testing.T) {
	for _, tt := range publishedSteps {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseStep([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("decoded: -want +got:\n%s", diff)
			}
			encoded, err := json.Marshal(tt.want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.text, string(encoded)); diff != "" {
				t.Errorf("encoded: -want +got:\n%s", diff)
			}
		})
	}
}

func TestParseStepIsLenient(t *testing.T) {
	tests := map[string]struct {
		in   string
		want Step
	}{
		"nothing": {`{}`, Step{Concurrent: 1}},
		"Python sends every field": {
			`{"stepId":0,"stepName":"a","stepType":"SleepFor","out":null,"sleepFor":"10m","sleepUntil":null,"concurrent":2,"targetStep":1,
			  "callUrl":null,"callMethod":null,"callBody":null,"callHeaders":null,"waitEventId":null,"timeout":null,"waitTimeout":null,
			  "notifyEventId":null,"eventData":null,"method":"POST"}`,
			Step{StepName: "a", StepType: StepSleepFor, SleepFor: SecondsOf(10 * time.Minute), Concurrent: 2, TargetStep: 1},
		},
		"quoted numbers": {
			`{"stepId":"3","concurrent":"2","targetStep":"0","sleepFor":"1.5","sleepUntil":"1767225600.5","waitTimeout":"true"}`,
			Step{StepID: 3, Concurrent: 2, SleepFor: ptr(Seconds(1.5)), SleepUntil: ptr(Seconds(1767225600.5)), WaitTimeout: true},
		},
		"numbers as floats":   {`{"stepId":1.0,"concurrent":1e0}`, Step{StepID: 1, Concurrent: 1}},
		"null is not a value": {`{"concurrent":null,"out":null}`, Step{Concurrent: 1}},
		"out that says null":  {`{"out":"null"}`, Step{Out: ptr("null"), Concurrent: 1}},
		"out that is no text": {`{"out":{"a": 1}}`, Step{Out: ptr(`{"a": 1}`), Concurrent: 1}},
		"timeout as a text":   {`{"timeout":"7d"}`, Step{Timeout: SecondsOf(7 * 24 * time.Hour), Concurrent: 1}},
		"call": {
			`{"callUrl":"https://a","callMethod":"PUT","callBody":{"a":1},"callHeaders":{"x-a":"1","X-B":["2","3"]}}`,
			Step{CallURL: "https://a", CallMethod: "PUT", CallBody: `{"a":1}`, CallHeaders: headers("X-A: 1", "X-B: 2", "X-B: 3"), Concurrent: 1},
		},
		"event":        {`{"notifyEventId":"e","eventData":[1]}`, Step{NotifyEventID: "e", EventData: json.RawMessage(`[1]`), Concurrent: 1}},
		"text escapes": {`{"stepName":"\u00e9\n\"","stepType":"New"}`, Step{StepName: "é\n\"", StepType: "New", Concurrent: 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseStep([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseStepErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{``, "expected a JSON object, got"},
		{`null`, "expected a JSON object"},
		{`[{"stepId":1}]`, "expected a JSON object"},
		{`{"stepId":1} x`, "expected a JSON object"},
		{`{"stepId":"one"}`, `stepId: expected a whole number, got a string`},
		{`{"stepId":-1}`, "stepId: expected a whole number from 0"},
		{`{"stepId":1.5}`, "stepId: expected a whole number"},
		{`{"stepId":{}}`, "stepId: expected a whole number"},
		{`{"targetStep":9999999999}`, "targetStep: expected a whole number of 32 bits"},
		{`{"concurrent":-2}`, "concurrent: expected a whole number from 0"},
		{`{"stepName":"a\u0000b"}`, "stepName: expected UTF-8 text without NUL bytes"},
		{`{"sleepFor":"soon"}`, `sleepFor: expected seconds or a duration such as 10m, got a string`},
		{`{"sleepFor":1e300}`, "sleepFor: expected seconds"},
		{`{"sleepUntil":"NaN"}`, "sleepUntil: expected seconds"},
		{`{"timeout":[]}`, "timeout: expected seconds"},
		{`{"waitTimeout":"maybe"}`, "waitTimeout: expected true or false"},
		{`{"callHeaders":"x"}`, "callHeaders: expected an object of header names and values"},
	}
	for _, tt := range tests {
		_, err := ParseStep([]byte(tt.in))
		if e := new(Error); !errors.As(err, &e) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("ParseStep(%s)\ngot         %v\nwant prefix %s", tt.in, err, tt.want)
		}
	}
}

func TestStepMethods(t *testing.T) {
	tests := []struct {
		in                    string
		plan                  bool
		place                 int
		sleep, until, timeout int64
	}{
		{`{"stepId":4}`, false, 4, 0, 0, 0},
		{`{"stepId":0,"targetStep":5}`, true, 5, 0, 0, 0},
		{`{"stepId":4,"targetStep":0}`, false, 4, 0, 0, 0},
		{`{"sleepFor":1.5,"sleepUntil":1767225600.4,"timeout":"10m"}`, false, 0, 2, 1767225600, 600},
		{`{"sleepFor":"1d","sleepUntil":"1767225600.5","timeout":0.4}`, false, 0, 86400, 1767225601, 0},
	}
	for _, tt := range tests {
		s, err := ParseStep([]byte(tt.in))
		if err != nil {
			t.Fatal(err)
		}
		if s.IsPlan() != tt.plan || s.Place() != tt.place {
			t.Errorf("%s: plan %v, place %d", tt.in, s.IsPlan(), s.Place())
		}
		if s.SleepSeconds() != tt.sleep || s.SleepUntilUnix() != tt.until || s.TimeoutSeconds() != tt.timeout {
			t.Errorf("%s: %d, %d, %d", tt.in, s.SleepSeconds(), s.SleepUntilUnix(), s.TimeoutSeconds())
		}
	}
}

func TestSeconds(t *testing.T) {
	for in, want := range map[string]string{"1e3": "1000", `"2.50"`: "2.5", `"1h"`: "3600", "null": "0"} {
		var s Seconds
		if err := json.Unmarshal([]byte(in), &s); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if got, err := json.Marshal(s); err != nil || string(got) != want {
			t.Errorf("%s encoded again: %s, %v, want %s", in, got, err, want)
		}
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if got, err := json.Marshal(Seconds(f)); err == nil {
			t.Errorf("%v encoded as %s, want an error", f, got)
		}
	}
}

func FuzzParseStep(f *testing.F) {
	for _, s := range publishedSteps {
		f.Add([]byte(s.text))
	}
	f.Add([]byte(`{"stepId":"1","sleepFor":"10m","out":{},"callHeaders":{"a":"b"},"eventData":{"a": 1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		step, err := ParseStep(body)
		if err != nil {
			return
		}
		encoded, err := json.Marshal(step)
		if err != nil {
			t.Fatalf("%s does not encode: %v", body, err)
		}
		again, err := ParseStep(encoded)
		if err != nil {
			t.Fatalf("%s does not decode: %v", encoded, err)
		}
		if again.Place() != step.Place() || again.SleepSeconds() != step.SleepSeconds() || again.StepName != step.StepName {
			t.Errorf("not the same again:\n%s\n%s", body, encoded)
		}
	})
}

func BenchmarkParseStep(b *testing.B) {
	body := []byte(`{"stepId":1,"stepName":"create user","stepType":"Run","out":"{\"id\":\"u_1\"}","concurrent":1}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseStep(body); err != nil {
			b.Fatal(err)
		}
	}
}
