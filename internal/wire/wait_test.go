package wire

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseWait(t *testing.T) {
	step := Step{StepID: 2, StepName: "w", StepType: StepWait, Concurrent: 1}
	const plain = `"step": {"stepId": 2, "stepName": "w", "stepType": "Wait", "concurrent": 1}`
	week := 7 * 24 * time.Hour
	for _, test := range []struct {
		name, body string
		want       Wait
		err        string
	}{
		{name: "as the official SDK sends it", body: `{"url":"https://app.example/wf","timeout":"10d","timeoutUrl":"https://app.example/wf",
			"timeoutHeaders":{"Upstash-Workflow-RunId":["wfr_1"],"Upstash-Workflow-Runid":["wfr_1"],"content-type":["application/json"]},
			"step":{"stepId":2,"stepType":"Wait","stepName":"w","concurrent":1}}`,
			want: Wait{URL: "https://app.example/wf", Timeout: 10 * 24 * time.Hour, TimeoutText: "10d", TimeoutURL: "https://app.example/wf",
				TimeoutHeader: http.Header{"Upstash-Workflow-Runid": {"wfr_1"}, "Content-Type": {"application/json"}}, Step: step}},
		{name: "with the least", body: `{` + plain + `}`, want: Wait{Timeout: week, TimeoutText: "7d", Step: step}},
		{name: "with nulls", body: `{"url":null,"timeout":null,"timeoutUrl":null,"timeoutHeaders":null,"timeoutBody":null,` + plain + `}`,
			want: Wait{Timeout: week, TimeoutText: "7d", Step: step}},
		{name: "seconds", body: `{"timeout":90,` + plain + `}`, want: Wait{Timeout: 90 * time.Second, TimeoutText: "90s", Step: step}},
		{name: "quoted seconds", body: `{"timeout":"1.5",` + plain + `}`, want: Wait{Timeout: 1500 * time.Millisecond, TimeoutText: "1.5s", Step: step}},
		{name: "none at all", body: `{"timeout":0,` + plain + `}`, want: Wait{TimeoutText: "0s", Step: step}},
		{name: "what a plan has", body: `{"step":{"stepId":"3","stepName":"h","stepType":"WaitForWebhook","concurrent":2,"targetStep":3,"out":"x","waitTimeout":true}}`,
			want: Wait{Timeout: week, TimeoutText: "7d", Step: Step{StepID: 3, StepName: "h", StepType: StepWaitForWebhook, Concurrent: 2}}},
		{name: "headers as strings", body: `{"timeoutHeaders":{"upstash-retries":"2"},` + plain + `}`,
			want: Wait{Timeout: week, TimeoutText: "7d", TimeoutHeader: http.Header{"Upstash-Retries": {"2"}}, Step: step}},

		{name: "no JSON", body: `x`, err: "body: expected a JSON object"},
		{name: "no object", body: `[]`, err: "body: expected a JSON object, got an array"},
		{name: "no step", body: `{}`, err: "step: expected an object"},
		{name: "step of another kind", body: `{"step":3}`, err: "step: expected a JSON object, got a number"},
		{name: "step id 0", body: `{"step":{"stepId":0,"stepName":"w","stepType":"Wait"}}`, err: "step.stepId: expected a whole number from 1"},
		{name: "step id below", body: `{"step":{"stepId":-1,"stepName":"w","stepType":"Wait"}}`, err: "step.stepId: expected a whole number"},
		{name: "step type", body: `{"step":{"stepId":1,"stepName":"w","stepType":"Run"}}`, err: `step.stepType: expected Wait or WaitForWebhook, got "Run"`},
		{name: "step name", body: `{"step":{"stepId":1,"stepName":" ","stepType":"Wait"}}`, err: "step.stepName: expected a name"},
		{name: "url", body: `{"url":"app.example",` + plain + `}`, err: "url: expected an absolute http or https URL"},
		{name: "timeoutUrl", body: `{"timeoutUrl":"ftp://app.example",` + plain + `}`, err: "timeoutUrl: expected an absolute"},
		{name: "timeout below", body: `{"timeout":-1,` + plain + `}`, err: "timeout: expected a duration"},
		{name: "timeout that is none", body: `{"timeout":"soon",` + plain + `}`, err: "timeout: expected a duration"},
		{name: "timeout beyond", body: `{"timeout":1e300,` + plain + `}`, err: "timeout: expected a duration"},
		{name: "headers that are none", body: `{"timeoutHeaders":["a"],` + plain + `}`, err: "timeoutHeaders: expected an object of header names"},
	} {
		got, err := ParseWait([]byte(test.body))
		if test.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), test.err) {
				t.Errorf("%s: got %v, want %s", test.name, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", test.name, diff)
		}
	}
}

// What is taken can be kept and appended, whatever came.
func FuzzParseWait(f *testing.F) {
	f.Add([]byte(`{"url":"https://a.example","timeout":"1d10h","timeoutUrl":null,"timeoutHeaders":{"a":["b"],"A":"c"},"step":{"stepId":1,"stepName":"w","stepType":"Wait","concurrent":2}}`))
	f.Add([]byte(`{"timeout":1e9,"step":{"stepId":"7","stepName":"é","stepType":"WaitForWebhook"}}`))
	f.Add([]byte(`{"step":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		w, err := ParseWait(body)
		if err != nil {
			return
		}
		if w.Timeout < 0 || w.Timeout > maxDuration || w.Step.StepID < 1 || w.Step.Concurrent < 1 || w.Step.TargetStep != 0 || w.Step.Out != nil {
			t.Errorf("%+v", w)
		}
		if again, err := ParseDuration(w.TimeoutText); err != nil || again != w.Timeout {
			t.Errorf("timeout %q: %v, %v, want %v", w.TimeoutText, again, err, w.Timeout)
		}
		for _, url := range []string{w.URL, w.TimeoutURL} {
			if url != "" && CheckURL(url) != nil {
				t.Errorf("url %q", url)
			}
		}
	})
}

func TestCheckEventID(t *testing.T) {
	for _, id := range []string{"e", "order 1/2", "évén", strings.Repeat("x", MaxEventIDBytes)} {
		if err := CheckEventID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", strings.Repeat("x", MaxEventIDBytes+1), "a\x00", "a\nb", "\xff"} {
		if CheckEventID(id) == nil {
			t.Errorf("%q is taken", id)
		}
	}
}

func TestWebhookEvent(t *testing.T) {
	for _, test := range []struct{ step, want string }{
		{`{"stepId":1,"stepType":"CreateWebhook","out":"{\"webhookUrl\":\"https://q.example/v2/workflows/hooks/u/r/evt_1\",\"eventId\":\"evt_1\"}"}`, "evt_1"},
		{`{"stepId":1,"stepType":"Run","out":"{\"eventId\":\"evt_1\"}"}`, ""},
		{`{"targetStep":1,"stepType":"CreateWebhook"}`, ""},
		{`{"stepId":1,"stepType":"CreateWebhook","out":"evt_1"}`, ""},
		{`{"stepId":1,"stepType":"CreateWebhook","out":"{\"eventId\":\"a\\u0000\"}"}`, ""},
	} {
		step, err := ParseStep([]byte(test.step))
		if err != nil {
			t.Fatal(err)
		}
		if got := WebhookEvent(&step); got != test.want {
			t.Errorf("%s: %q, want %q", test.step, got, test.want)
		}
	}
}

func TestWebhookCall(t *testing.T) {
	c, err := NewWebhookCall("PUT", http.Header{
		"Content-Type": {"application/json"}, "X-Many": {"a", "b"}, "Connection": {"close, X-Hop"}, "X-Hop": {"1"},
		"Authorization": {"Basic eDp5"}, "Content-Length": {"2"}, "X-Latin": {"é"}, "X-Wide": {"漢"}, "X-Bytes": {"\xe9"},
	}, []byte("{}"), "https", "hooks.example:8443", "/v2/workflows/hooks/u/r/e?a=1&b=é")
	if err != nil {
		t.Fatal(err)
	}
	want := `{"method":"PUT","header":{"Authorization":["Basic eDp5"],"Content-Type":["application/json"],"X-Bytes":["é"],` +
		`"X-Latin":["é"],"X-Many":["a","b"],"X-Wide":["` + "æ¼¢" + `"]},"body":"e30=","proto":"https","host":"hooks.example:8443",` +
		`"url":"/v2/workflows/hooks/u/r/e?a=1\u0026b=%C3%A9"}`
	if got, _ := c.Encode(); string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	c, _ = NewWebhookCall("GET", nil, nil, "http", "[::1]:80", "/")
	if got, _ := c.Encode(); string(got) != `{"method":"GET","header":{},"body":"","proto":"http","host":"[::1]:80","url":"/"}` {
		t.Errorf("got %s", got)
	}
	for _, host := range []string{"localhost", "a_b.example.", "1.example:80", "0x.a", "a.0xg", "192.0.2.1:8080", "[2001:db8::1]", "~", "a.1b"} {
		if _, err := NewWebhookCall("GET", nil, nil, "http", host, "/"); err != nil {
			t.Errorf("host %q: %v", host, err)
		}
	}
	for _, host := range []string{
		"", "a b", "a/b", "a?b", "u@h", "h:99999", "é", "[::1", "<h>",
		// Browsers' and Node's URLs have no such hosts.
		"1.2.3.4.5", "256.0.0.1", "4294967296", "a.0x", "a.0X1f:80", "a.09", "1..2", "example.1.", "[1.2.3.4]",
	} {
		if _, err := NewWebhookCall("GET", nil, nil, "http", host, "/"); err == nil || !strings.HasPrefix(err.Error(), "Host: expected a host") {
			t.Errorf("host %q: %v", host, err)
		}
	}
}
