package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
)

// TestT28ServerKilled kills the server again and again while an endpoint of the
// official SDK works on runs: all of them come to their end, each with one
// result per step.
func TestT28ServerKilled(t *testing.T) {
	needNode(t)
	t.Parallel()
	dir := t.TempDir()
	s := startServerAt(t, "0", dir)
	endpoint := startEndpoint(t, s)
	c := s.client()
	defer c.CloseIdleConnections()
	at, err := url.Parse(s.env["QSTASH_URL"])
	if err != nil {
		t.Fatal(err)
	}

	const runs, perRun = 15, 13 // a run's initial payload and twelve results
	requests := make([]client.TriggerRequest, runs)
	for i := range requests {
		requests[i] = client.TriggerRequest{URL: endpoint + "/steps", Retries: new(20), RetryDelay: "50"}
	}
	started, err := c.TriggerBatch(t.Context(), requests)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		before := steps(t, c, started)
		for deadline := time.Now().Add(patience); steps(t, c, started) < min(before+runs, runs*perRun); {
			if time.Now().After(deadline) {
				t.Fatalf("no progress after %d steps", before)
			}
		}
		s.kill()
		s = startServerAt(t, at.Port(), dir)
	}

	const want = `[0,1,2,3,4,5,6,7,8,9,"l","r"]`
	for _, r := range started {
		run := waitRun(t, c, r.WorkflowRunID)
		if run.State != client.RunSuccess || run.Response != want {
			t.Errorf("run %s ended as %s with %s", run.WorkflowRunID, run.State, run.Response)
		}
		if n := count(run); n != perRun {
			t.Errorf("run %s has %d steps, want %d: %+v", run.WorkflowRunID, n, perRun, run.Steps)
		}
	}
}

// TestT28ServerKilledWhileRunsWait kills the server between all that runs wait
// for and are told: none of it is lost, and nothing is told twice.
func TestT28ServerKilledWhileRunsWait(t *testing.T) {
	needNode(t)
	t.Parallel()
	dir := t.TempDir()
	s := startServerAt(t, "0", dir)
	endpoint := startEndpoint(t, s)
	c := s.client()
	defer c.CloseIdleConnections()
	at, err := url.Parse(s.env["QSTASH_URL"])
	if err != nil {
		t.Fatal(err)
	}
	again := func() {
		s.kill()
		s = startServerAt(t, at.Port(), dir)
	}

	const runs = 8
	requests := make([]client.TriggerRequest, runs)
	for i := range requests {
		requests[i] = client.TriggerRequest{URL: endpoint + "/waits", Retries: new(20), RetryDelay: "50"}
	}
	started, err := c.TriggerBatch(t.Context(), requests)
	if err != nil {
		t.Fatal(err)
	}
	// It returns, too, if they have waited for the last event while the server was
	// not there.
	waiting := func(event string, n int) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; {
			waiters, err := c.Waiters(t.Context(), event)
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("%d wait for %s, want %d, error %v", len(waiters), event, n, err)
			}
			run, err := c.Run(t.Context(), started[0].WorkflowRunID)
			if len(waiters) >= n || err == nil && run.State == client.RunSuccess {
				return
			}
		}
	}
	waiting("all", runs)
	for i, r := range started {
		if told, err := c.NotifyRun(t.Context(), r.WorkflowRunID, "kept", fmt.Append(nil, "k", i)); err != nil || told.MessageID != "" {
			t.Fatalf("told %+v, error %v", told, err)
		}
		call(t, c, r.WorkflowRunID, fmt.Sprint("c", i))
	}
	again()
	waiting("all", runs)
	if told, err := c.Notify(t.Context(), "all", []byte("a")); len(told) != runs || err != nil {
		t.Fatalf("told %d, error %v", len(told), err)
	}
	again()
	waiting("never", 1)
	again()
	for i, r := range started {
		run := waitRun(t, c, r.WorkflowRunID)
		if want := fmt.Sprintf(`["a","k%d","c%d",true]`, i, i); run.State != client.RunSuccess || run.Response != want {
			t.Errorf("run %s ended as %s with %s, want %s", run.WorkflowRunID, run.State, run.Response, want)
		}
		if n := count(run); n != 6 {
			t.Errorf("run %s has %d steps: %+v", run.WorkflowRunID, n, run.Steps)
		}
	}
}

// call calls the webhook that a run has made.
func call(t *testing.T, c *client.Client, id, body string) {
	t.Helper()
	run, err := c.Run(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range run.Steps {
		for _, s := range g.Steps {
			var hook struct{ WebhookURL string }
			if s.StepType != "CreateWebhook" || json.Unmarshal([]byte(s.Out), &hook) != nil {
				continue
			}
			resp, err := http.Post(hook.WebhookURL, "text/plain", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("call of %s: %s", hook.WebhookURL, resp.Status)
			}
			return
		}
	}
	t.Fatalf("run %s has made no webhook: %+v", id, run.Steps)
}

// steps is how many steps the runs have together.
func steps(t *testing.T, c *client.Client, started []client.TriggerResponse) (n int) {
	t.Helper()
	for _, r := range started {
		run, err := c.Run(t.Context(), r.WorkflowRunID)
		if err != nil {
			t.Fatal(err)
		}
		n += count(run)
	}
	return n
}

func count(run client.Run) (n int) {
	for _, g := range run.Steps {
		n += len(g.Steps)
	}
	return n
}
