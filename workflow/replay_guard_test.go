package workflow_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/signposttest"
	"github.com/signposthq/signpost/workflow"
)

// repeating is a proxy that sends everything several times at once. The server
// gets the answer of the one that was let through, or of the first.
func repeating(next http.Handler, refused *atomic.Int64) http.Handler {
	const copies = 5
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var answers [copies]*httptest.ResponseRecorder
		var wg sync.WaitGroup
		for i := range answers {
			again := r.Clone(r.Context())
			again.Body = io.NopCloser(bytes.NewReader(body))
			answers[i] = httptest.NewRecorder()
			wg.Go(func() { next.ServeHTTP(answers[i], again) })
		}
		wg.Wait()
		chosen := answers[0]
		for _, a := range answers {
			if a.Code != http.StatusUnauthorized {
				chosen = a
			} else {
				refused.Add(1)
			}
		}
		for name, values := range chosen.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(chosen.Code)
		_, _ = w.Write(chosen.Body.Bytes())
	})
}

// TestT02RunBehindRepeatingProxy has a real server carry a run through a proxy that
// repeats each of its requests: a step runs once for each time that the server asked.
func TestT02RunBehindRepeatingProxy(t *testing.T) {
	s := signposttest.NewServer(t)
	c := s.Client()
	defer c.CloseIdleConnections()
	rc, err := receiver.New(receiver.Options{
		CurrentSigningKey: s.CurrentSigningKey, NextSigningKey: s.NextSigningKey, Development: true,
		Replay: receiver.NewMemoryReplayCache(0),
	})
	if err != nil {
		t.Fatal(err)
	}
	var first, second, refused atomic.Int64
	e := workflow.MustServe(func(ctx *workflow.Context, _ any) (int, error) {
		if _, err := workflow.Run(ctx, "first", func(context.Context) (int, error) { return int(first.Add(1)), nil }); err != nil {
			return 0, err
		}
		return workflow.Run(ctx, "second", func(context.Context) (int, error) {
			if second.Add(1) == 1 {
				panic("the first attempt fails, the server's next one has another id")
			}
			return 2, nil
		})
	}, &workflow.Options{Client: c, Receiver: rc, Logger: quiet})
	app := httptest.NewServer(repeating(e, &refused))
	defer app.Close()

	run, err := c.Trigger(t.Context(), client.TriggerRequest{URL: app.URL + "/run", Body: []byte("{}"), RetryDelay: "10"})
	if err != nil {
		t.Fatal(err)
	}
	s.WaitRun(t, run.WorkflowRunID, client.RunSuccess)
	if first.Load() != 1 || second.Load() != 2 {
		t.Errorf("the steps ran %d and %d times", first.Load(), second.Load())
	}
	if n := refused.Load(); n == 0 || n%4 != 0 {
		t.Errorf("%d requests were refused, which is not four of each five", n)
	}
}
