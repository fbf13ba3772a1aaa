package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestTriggerBatch compares with what @upstash/workflow 1.3.3 sends for the
// same two runs, less its telemetry.
func TestTriggerBatch(t *testing.T) {
	c, got := newTestClient(t, 200, `[{"messageId":"msg_1"},{"messageId":"msg_2","deduplicated":true}]`)
	const url = "https://app.example/api/wf"
	answers, err := c.TriggerBatch(context.Background(), []TriggerRequest{
		{
			URL: url, RunID: "wfr_my-id", Body: []byte(`{"u":1}`), Header: http.Header{"User-Header": {"v"}},
			Retries: new(15), RetryDelay: "1000", Delay: time.Second, Labels: []string{"l1", "l2"},
		},
		{URL: url, RunID: "wfr_plain"},
	})
	want := []TriggerResponse{
		{WorkflowRunID: "wfr_my-id", MessageID: "msg_1"},
		{WorkflowRunID: "wfr_plain", MessageID: "msg_2", Deduplicated: true},
	}
	if err != nil || !cmp.Equal(answers, want) {
		t.Errorf("answered %+v, error %v", answers, err)
	}
	r := <-got
	if r.Method != "POST" || r.URI != "/v2/batch" {
		t.Errorf("sent %s %s", r.Method, r.URI)
	}
	diffJSON(t, readFile(t, "testdata/trigger_batch.json"), []byte(r.Body))
}

func TestTriggerSettings(t *testing.T) {
	c, got := newTestClient(t, 200, `[{"messageId":"msg_1"}]`)
	header := http.Header{"Content-Type": {"text/plain"}, "Authorization": {"Bearer user"}}
	_, err := c.Trigger(context.Background(), TriggerRequest{
		URL: "https://app.example/wf#top", RunID: "r", Body: []byte("text"), Header: header,
		NotBefore: time.Unix(1700000000, 0), FailureURL: "https://app.example/failed", Retries: new(0),
		Redact: []string{"body"}, Hop: "3",
	})
	if err != nil {
		t.Fatal(err)
	}
	var items []struct {
		Destination, Body string
		Headers           map[string]string
	}
	if err := json.Unmarshal([]byte((<-got).Body), &items); err != nil || len(items) != 1 {
		t.Fatalf("sent %v, error %v", items, err)
	}
	if items[0].Destination != "https://app.example/wf" || items[0].Body != "text" {
		t.Errorf("sent %+v", items[0])
	}
	for name, want := range map[string]string{
		"content-type":                                   "text/plain",
		"upstash-not-before":                             "1700000000",
		"upstash-retries":                                "0",
		"upstash-redact-fields":                          "body",
		"upstash-hop":                                    "3",
		"upstash-workflow-url":                           "https://app.example/wf",
		"upstash-forward-authorization":                  "Bearer user",
		"upstash-failure-callback":                       "https://app.example/failed",
		"upstash-failure-callback-workflow-url":          "https://app.example/wf",
		"upstash-failure-callback-retries":               "0",
		"upstash-failure-callback-forward-authorization": "Bearer user",
		"upstash-failure-callback-forward-content-type":  "",
		"upstash-label":                                  "",
	} {
		if got := items[0].Headers[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if header.Get("Content-Type") == "" {
		t.Error("the caller's header was changed")
	}
}

func TestTriggerMakesRunID(t *testing.T) {
	c, got := newTestClient(t, 200, `[{"messageId":"msg_1"}]`)
	seen := map[string]bool{}
	for range 3 {
		a, err := c.TriggerJSON(context.Background(), TriggerRequest{URL: "https://app.example/wf"}, struct{}{})
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^wfr_[A-Z2-7]{26}$`).MatchString(a.WorkflowRunID) || seen[a.WorkflowRunID] {
			t.Errorf("run id %q", a.WorkflowRunID)
		}
		seen[a.WorkflowRunID] = true
		var items []struct {
			Headers map[string]string
			Body    string
		}
		if err := json.Unmarshal([]byte((<-got).Body), &items); err != nil {
			t.Fatal(err)
		}
		if h := items[0].Headers; h["upstash-workflow-runid"] != a.WorkflowRunID || h["upstash-failure-callback-workflow-runid"] != a.WorkflowRunID || items[0].Body != "{}" {
			t.Errorf("run %s was sent as %+v", a.WorkflowRunID, items[0])
		}
	}
}

func TestTriggerRefusedByServer(t *testing.T) {
	c, _ := newTestClient(t, 412, `{"error":"retries over the limit"}`)
	if _, err := c.Trigger(context.Background(), TriggerRequest{URL: "https://app.example/wf"}); !errors.Is(err, ErrPrecondition) {
		t.Errorf("got error %v", err)
	}
}
