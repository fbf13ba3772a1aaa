package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const resumed = `{"workflowRunId":"wfr_new","workflowCreatedAt":1700000000000}`

var newRun = RunRef{WorkflowRunID: "wfr_new", WorkflowCreatedAt: 1700000000000}

// runCalls are the calls about runs that failed, and about many runs: what each
// sends, and what it makes of the answer.
var runCalls = []nounCall{
	{"list", func(ctx context.Context, c *Client) (any, error) { return c.RunDLQ(ctx, RunDLQRequest{}) }, "GET /v2/workflows/dlq", "",
		`{"messages":[{"dlqId":"1-0","workflowRunId":"wfr_1"}],"cursor":"1-1"}`, DLQPage{Messages: []DLQMessage{{DLQID: "1-0", WorkflowRunID: "wfr_1"}}, Cursor: "1-1"}},
	{"list by filter", func(ctx context.Context, c *Client) (any, error) {
		return c.RunDLQ(ctx, RunDLQRequest{Filter: RunDLQFilter{
			URLs: []string{"https://a.example/wf"}, RunIDs: []string{"wfr_1"}, CreatedAt: 5, Labels: []string{"a", "b"}, FlowControlKeys: []string{"k"},
			CallerIPs: []string{"10.0.0.1"}, FailureStates: []CallbackState{CallbackFail, CallbackCanceled}, From: time.UnixMilli(1), To: time.UnixMilli(2),
		}, Order: NewestFirst, Cursor: "c", Count: 5})
	}, "GET /v2/workflows/dlq?callerIp=10.0.0.1&count=5&cursor=c&failureFunctionState=CALLBACK_FAIL&failureFunctionState=CALLBACK_CANCELED" +
		"&flowControlKey=k&fromDate=1&label=a&label=b&order=latestFirst&toDate=2&workflowCreatedAt=5&workflowRunId=wfr_1&workflowUrl=https%3A%2F%2Fa.example%2Fwf", "",
		`{}`, DLQPage{}},
	{"list by ids", func(ctx context.Context, c *Client) (any, error) {
		return c.RunDLQ(ctx, RunDLQRequest{IDs: []string{"1-0", "1-1"}})
	}, "GET /v2/workflows/dlq?dlqIds=1-0&dlqIds=1-1", "", `{}`, DLQPage{}},
	{"delete", func(ctx context.Context, c *Client) (any, error) {
		return c.DeleteRunDLQ(ctx, RunDLQSelection{IDs: []string{"1-0"}})
	}, "DELETE /v2/workflows/dlq?dlqIds=1-0", "", `{"deleted":1}`, DLQDeleteResponse{Deleted: 1}},
	{"delete all", func(ctx context.Context, c *Client) (any, error) {
		return c.DeleteRunDLQ(ctx, RunDLQSelection{All: true, Cursor: "c"})
	}, "DELETE /v2/workflows/dlq?count=100&cursor=c", "", `{"deleted":100,"cursor":"d"}`, DLQDeleteResponse{Deleted: 100, Cursor: "d"}},
	{"resume", func(ctx context.Context, c *Client) (any, error) { return c.ResumeRun(ctx, "1-0", ResumeOptions{}) },
		"POST /v2/workflows/dlq/resume/1-0", "", resumed, newRun},
	{"resume with edits", func(ctx context.Context, c *Client) (any, error) {
		return c.ResumeRun(ctx, "1-0", ResumeOptions{Edit: RunEdit{
			Payload: json.RawMessage(`{"n":2}`), Steps: []StepEdit{{StepID: 3, Out: json.RawMessage(`"ok"`)}},
		}})
	}, "POST /v2/workflows/dlq/resume/1-0", `{"payload":{"n":2},"steps":[{"stepId":3,"out":"ok"}]}`, resumed, newRun},
	{"restart", func(ctx context.Context, c *Client) (any, error) { return c.RestartRun(ctx, "1-0", ResumeOptions{}) },
		"POST /v2/workflows/dlq/restart/1-0", "", resumed, newRun},
	{"resume some", func(ctx context.Context, c *Client) (any, error) {
		return c.ResumeRuns(ctx, ResumeRequest{RunDLQSelection: RunDLQSelection{Filter: RunDLQFilter{Labels: []string{"a"}}, Count: 3}})
	}, "POST /v2/workflows/dlq/resume?count=3&label=a", "", `{"workflowRuns":[` + resumed + `],"cursor":"1-1"}`,
		ResumeResponse{Runs: []RunRef{newRun}, Cursor: "1-1"}},
	{"restart all", func(ctx context.Context, c *Client) (any, error) {
		return c.RestartRuns(ctx, ResumeRequest{RunDLQSelection: RunDLQSelection{All: true}})
	}, "POST /v2/workflows/dlq/restart?count=50", "", `{"workflowRuns":[],"cursor":""}`, ResumeResponse{}},
	{"rerun callback", func(ctx context.Context, c *Client) (any, error) { return c.RerunFailureCallback(ctx, "1-0") },
		"POST /v2/workflows/dlq/callback/1-0", "", resumed, newRun},
	{"rerun callbacks", func(ctx context.Context, c *Client) (any, error) {
		return c.RerunFailureCallbacks(ctx, RunDLQSelection{Filter: RunDLQFilter{Labels: []string{"a"}}, Count: 3})
	}, "POST /v2/workflows/dlq/callback?count=3&label=a", "", `{"workflowRuns":[` + resumed + `],"cursor":"1-1"}`,
		ResumeResponse{Runs: []RunRef{newRun}, Cursor: "1-1"}},
	{"cancel callback", func(ctx context.Context, c *Client) (any, error) { return c.CancelFailureCallback(ctx, "1-0") },
		"DELETE /v2/workflows/dlq/callback/1-0", "", resumed, newRun},

	{"cancel by prefixes", func(ctx context.Context, c *Client) (any, error) {
		return c.CancelRuns(ctx, CancelRunsRequest{
			Filter:      RunFilter{Hosts: []string{"a.example"}, Paths: []string{"/"}, Labels: []string{"l"}, FlowControlKeys: []string{"k"}, CallerIPs: []string{"10.0.0.1"}},
			URLPrefixes: []string{"https://a.example/", "https://b.example/"}, Count: 7,
		})
	}, "DELETE /v2/workflows/runs?callerIp=10.0.0.1&count=7&flowControlKey=k&host=a.example&label=l&path=%2F&workflowUrl=https%3A%2F%2Fa.example%2F&workflowUrl=https%3A%2F%2Fb.example%2F", "",
		`{"cancelled":2}`, 2},
	{"cancel by URL", func(ctx context.Context, c *Client) (any, error) {
		return c.CancelRuns(ctx, CancelRunsRequest{Filter: RunFilter{URLs: []string{"https://a.example/wf"}}})
	}, "DELETE /v2/workflows/runs?workflowUrl=https%3A%2F%2Fa.example%2Fwf&workflowUrlExactMatch=true", "", `{"cancelled":1}`, 1},
	{"cancel all", func(ctx context.Context, c *Client) (any, error) {
		return c.CancelRuns(ctx, CancelRunsRequest{All: true})
	}, "DELETE /v2/workflows/runs", "", `{"cancelled":9}`, 9},

	{"runs", func(ctx context.Context, c *Client) (any, error) {
		return c.Runs(ctx, RunsRequest{Runs: []RunRef{{"wfr_1", 5}, {"wfr_2", 6}}, MessageID: "msg_1", CallerIPs: []string{"10.0.0.1"}, TrimBody: 100})
	}, "GET /v2/workflows/logs?callerIp=10.0.0.1&messageId=msg_1&trimBody=100&workflowRuns=wfr_1%405&workflowRuns=wfr_2%406", "", `{}`, RunsPage{}},
	{"events of runs", func(ctx context.Context, c *Client) (any, error) {
		return c.RunEvents(ctx, RunEventsRequest{
			RunID: "wfr_1", CreatedAt: 5, Runs: []RunRef{{"wfr_1", 5}}, MessageIDs: []string{"msg_1"}, States: []EventState{EventError}, RunStates: []RunState{RunFailed},
			Filter: RunFilter{URLs: []string{"https://a.example"}, From: time.UnixMilli(1)}, TrimBody: -1, Order: OldestFirst, Cursor: "c", Count: 5,
		})
	}, "GET /v2/workflows/events?count=5&cursor=c&fromDate=1&messageId=msg_1&order=earliestFirst&state=ERROR&state=RUN_FAILED&trimBody=true" +
		"&workflowCreatedAt=5&workflowRunId=wfr_1&workflowRuns=wfr_1%405&workflowUrl=https%3A%2F%2Fa.example", "",
		`{"events":[{"messageId":"msg_1","workflowRunId":"wfr_1","stepId":2}]}`, EventsPage{Events: []Event{{MessageID: "msg_1", WorkflowRunID: "wfr_1", StepID: 2}}}},
}

func TestRunCalls(t *testing.T) {
	for _, tt := range runCalls {
		t.Run(tt.name, func(t *testing.T) {
			c, got := newTestClient(t, 200, tt.answer)
			out, err := tt.do(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.result, out); d != "" {
				t.Errorf("answer differs (-want +got):\n%s", d)
			}
			r := <-got
			if line := r.Method + " " + r.URI; line != tt.want || r.Body != tt.body {
				t.Errorf("got  %s %q\nwant %s %q", line, r.Body, tt.want, tt.body)
			}
			if len(got) != 0 {
				t.Errorf("%d more requests came", len(got))
			}
		})
	}
}

// An override is spelled in the headers of a message.
func TestRunOverride(t *testing.T) {
	override := RunOverride{
		Delay: time.Minute, Retries: new(0), RetryDelay: "1000", Labels: []string{"a", "b"}, FlowControl: &FlowControl{Key: "k", Rate: 2},
		FailureURL: "https://a.example/failed", Header: http.Header{"X-User": {"ada"}, "Content-Type": {"text/plain"}},
	}
	want := http.Header{
		"Upstash-Delay": {"60s"}, "Upstash-Retries": {"0"}, "Upstash-Retry-Delay": {"1000"}, "Upstash-Label": {"a,b"},
		"Upstash-Flow-Control-Key": {"k"}, "Upstash-Flow-Control-Value": {"rate=2"}, "Upstash-Failure-Callback": {"https://a.example/failed"},
		"Upstash-Forward-X-User": {"ada"}, "Upstash-Forward-Content-Type": {"text/plain"},
	}
	for name, do := range map[string]func(*Client) error{
		"one": func(c *Client) error {
			_, err := c.ResumeRun(t.Context(), "1-0", ResumeOptions{Override: override})
			return err
		},
		"many": func(c *Client) error {
			_, err := c.RestartRuns(t.Context(), ResumeRequest{RunDLQSelection: RunDLQSelection{All: true}, Override: override})
			return err
		},
	} {
		c, got := newTestClient(t, 200, `{}`)
		if err := do(c); err != nil {
			t.Fatal(name, err)
		}
		if d := cmp.Diff(want, withoutTransport((<-got).Header)); d != "" {
			t.Errorf("%s: headers differ (-want +got):\n%s", name, d)
		}
	}
}

// More ids than a request takes go in several.
func TestResumeManyIDs(t *testing.T) {
	ids := make([]string, 120)
	for i := range ids {
		ids[i] = "1-0"
	}
	c, got := newTestClient(t, 200, `{"workflowRuns":[`+resumed+`],"cursor":""}`)
	out, err := c.ResumeRuns(t.Context(), ResumeRequest{RunDLQSelection: RunDLQSelection{IDs: ids}})
	if err != nil || len(out.Runs) != 3 || len(got) != 3 {
		t.Errorf("%+v in %d requests, error %v", out, len(got), err)
	}
	if out, err := c.RestartRuns(t.Context(), ResumeRequest{RunDLQSelection: RunDLQSelection{IDs: []string{}}}); err != nil || len(out.Runs) != 0 || len(got) != 3 {
		t.Errorf("no ids: %+v, error %v", out, err)
	}
}

// Iterators go through all pages, and end with an error.
func TestAllRunPages(t *testing.T) {
	for name, all := range map[string]func(c *Client) iter.Seq2[string, error]{
		"failed": func(c *Client) iter.Seq2[string, error] {
			return named(c.AllRunDLQ(t.Context(), RunDLQRequest{Filter: RunDLQFilter{Labels: []string{"l"}}}), func(m DLQMessage) string { return m.MessageID })
		},
		"resumed": func(c *Client) iter.Seq2[string, error] {
			r := ResumeRequest{RunDLQSelection: RunDLQSelection{Filter: RunDLQFilter{Labels: []string{"l"}}}}
			return named(c.ResumeAllRuns(t.Context(), r), func(r RunRef) string { return r.WorkflowRunID })
		},
		"restarted": func(c *Client) iter.Seq2[string, error] {
			r := ResumeRequest{RunDLQSelection: RunDLQSelection{Filter: RunDLQFilter{Labels: []string{"l"}}}}
			return named(c.RestartAllRuns(t.Context(), r), func(r RunRef) string { return r.WorkflowRunID })
		},
		"events": func(c *Client) iter.Seq2[string, error] {
			return named(c.AllRunEvents(t.Context(), RunEventsRequest{Filter: RunFilter{Labels: []string{"l"}}}), func(e Event) string { return e.MessageID })
		},
	} {
		c := pagedServer(t, threePages)
		var got []string
		for id, err := range all(c) {
			if err != nil {
				t.Fatal(name, err)
			}
			got = append(got, id)
		}
		if !slices.Equal(got, []string{"0", "1", "2", "3", "4", "5"}) {
			t.Errorf("%s: %v", name, got)
		}
	}
	c := pagedServer(t, threePages)
	pages := 0
	for _, err := range c.DeleteAllRunDLQ(t.Context(), RunDLQSelection{Filter: RunDLQFilter{Labels: []string{"l"}}}) {
		if pages++; err != nil {
			t.Fatal(err)
		}
	}
	if pages != 3 {
		t.Errorf("deleted in %d pages", pages)
	}
}

func named[T any](all iter.Seq2[T, error], name func(T) string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for v, err := range all {
			if !yield(name(v), err) {
				return
			}
		}
	}
}

// What would mean something else, or everything, is not sent.
func TestRunCallsRefused(t *testing.T) {
	ctx := context.Background()
	const oneOf = "want exactly one of ids, a filter and all"
	for want, do := range map[string]func(c *Client) error{
		"resume run: id is empty":              func(c *Client) error { _, err := c.ResumeRun(ctx, "", ResumeOptions{}); return err },
		"restart run: id is empty":             func(c *Client) error { _, err := c.RestartRun(ctx, "", ResumeOptions{}); return err },
		"rerun failure callback: id is empty":  func(c *Client) error { _, err := c.RerunFailureCallback(ctx, ""); return err },
		"cancel failure callback: id is empty": func(c *Client) error { _, err := c.CancelFailureCallback(ctx, ""); return err },
		"resume runs: " + oneOf:                func(c *Client) error { _, err := c.ResumeRuns(ctx, ResumeRequest{}); return err },
		"restart runs: " + oneOf:               func(c *Client) error { _, err := c.RestartRuns(ctx, ResumeRequest{}); return err },
		"delete failed runs: " + oneOf:         func(c *Client) error { _, err := c.DeleteRunDLQ(ctx, RunDLQSelection{}); return err },
		"cancel runs: " + oneOf:                func(c *Client) error { _, err := c.CancelRuns(ctx, CancelRunsRequest{}); return err },
		"delete failed runs: parameter label: empty value": func(c *Client) error {
			_, err := c.DeleteRunDLQ(ctx, RunDLQSelection{Filter: RunDLQFilter{Labels: []string{""}}})
			return err
		},
		"resume runs: parameter dlqIds: empty value": func(c *Client) error {
			_, err := c.ResumeRuns(ctx, ResumeRequest{RunDLQSelection: RunDLQSelection{IDs: []string{""}}})
			return err
		},
		"cancel runs: want URLs in full or their prefixes, not both": func(c *Client) error {
			_, err := c.CancelRuns(ctx, CancelRunsRequest{Filter: RunFilter{URLs: []string{"https://a.example"}}, URLPrefixes: []string{"https://"}})
			return err
		},
		"resume run: delay, timeout and retries cannot be negative": func(c *Client) error {
			_, err := c.ResumeRun(ctx, "1-0", ResumeOptions{Override: RunOverride{Delay: -1}})
			return err
		},
		"resume run: encode edit: json: error calling MarshalJSON for type json.RawMessage: unexpected end of JSON input": func(c *Client) error {
			_, err := c.ResumeRun(ctx, "1-0", ResumeOptions{Edit: RunEdit{Payload: json.RawMessage("{")}})
			return err
		},
	} {
		c, got := newTestClient(t, 200, `{}`)
		if err := do(c); err == nil || err.Error() != want || len(got) != 0 {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
