package e2e_test

import (
	"net/url"
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
		for deadline := time.Now().Add(30 * time.Second); steps(t, c, started) < min(before+runs, runs*perRun); {
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
