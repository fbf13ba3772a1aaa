package workflow_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/signposttest"
	"github.com/signposthq/signpost/workflow"
)

// tap is a proxy that keeps what passes.
type tap struct {
	mu       sync.Mutex
	captured []capture
}

type capture struct {
	header http.Header
	path   string
	body   []byte
}

func (p *tap) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.captured = append(p.captured, capture{r.Header.Clone(), r.RequestURI, body})
		p.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// attacked is an application behind a tap, on a real server.
type attacked struct {
	*signposttest.Server
	tap
	client   *client.Client
	app      *httptest.Server
	steps    atomic.Int64
	failures atomic.Int64
}

func attack(t *testing.T) *attacked {
	a := &attacked{Server: signposttest.NewServer(t)}
	a.client = a.Client()
	mux := http.NewServeMux()
	a.app = httptest.NewServer(a.around(mux))
	t.Cleanup(func() { a.client.CloseIdleConnections(); a.app.Close() })
	step := func(context.Context) (int, error) { a.steps.Add(1); return 1, nil }
	o := &workflow.Options{
		Client: a.client, Receiver: a.Receiver(t), Logger: quiet,
		OnFailure: func(*workflow.FailureContext) (string, error) { a.failures.Add(1); return "", nil },
	}
	mux.Handle("/whole", workflow.MustServe(func(ctx *workflow.Context, _ any) (int, error) {
		if _, err := workflow.Run(ctx, "one", step); err != nil {
			return 0, err
		}
		if _, err := workflow.Call(ctx, "other", workflow.CallRequest{URL: a.app.URL + "/called", Method: "POST"}); err != nil {
			return 0, err
		}
		return 1, ctx.Sleep("pause", 0)
	}, o))
	mux.Handle("/called", workflow.MustServe(func(ctx *workflow.Context, _ any) (int, error) {
		return workflow.Run(ctx, "one", step)
	}, o))
	mux.Handle("/fails", workflow.MustServe(func(ctx *workflow.Context, _ any) (int, error) {
		return workflow.Run(ctx, "breaks", fails(workflow.NonRetryable(errors.New("no luck"))))
	}, o))
	return a
}

func (a *attacked) run(t *testing.T, path string, want client.RunState) string {
	t.Helper()
	run, err := a.client.Trigger(t.Context(), client.TriggerRequest{URL: a.app.URL + path, Body: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	a.WaitRun(t, run.WorkflowRunID, want)
	return run.WorkflowRunID
}

// kinds are the captured requests to workflow endpoints by what they say in
// their tokens. Each is looked for until it has come.
func (a *attacked) kinds(t *testing.T, rc *receiver.Receiver, want ...receiver.Kind) map[receiver.Kind]capture {
	t.Helper()
	found := map[receiver.Kind]capture{}
	for deadline := time.Now().Add(30 * time.Second); len(found) < len(want); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("captured %v, want %v", found, want)
		}
		a.mu.Lock()
		for _, c := range a.captured {
			claims, err := rc.Verify(receiver.Request{
				Signature: c.header.Get(receiver.Header), URL: a.app.URL + c.path, Body: c.body, Header: c.header,
			})
			if err != nil {
				t.Errorf("captured request to %s: %v", c.path, err)
			}
			if _, known := found[claims.Kind]; !known {
				found[claims.Kind] = c
			}
		}
		a.mu.Unlock()
	}
	return found
}

// replay sends a captured request again, with a change to its headers.
func (a *attacked) replay(t *testing.T, c capture, change func(http.Header)) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.app.URL+c.path, bytes.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = c.header.Clone()
	change(r.Header)
	resp, err := a.app.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// TestT22Replay captures what a real server sends in whole runs, with steps, a
// call, a sleep and a failure, and sends each again as what it is not.
func TestT22Replay(t *testing.T) {
	a := attack(t)
	succeeded := a.run(t, "/whole", client.RunSuccess)
	failed := a.run(t, "/fails", client.RunFailed)
	captured := a.kinds(t, a.Receiver(t), receiver.KindStep, receiver.KindCallback, receiver.KindFailure, receiver.KindCall)
	for deadline := time.Now().Add(30 * time.Second); a.failures.Load() == 0 || a.steps.Load() < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d steps and %d failures", a.steps.Load(), a.failures.Load())
		}
	}
	steps, failures := a.steps.Load(), a.failures.Load()

	disguises := map[string]func(http.Header){
		"failure": func(h http.Header) { h.Set(wire.HeaderWorkflowIsFailure, "true") },
		"failure of a run": func(h http.Header) {
			h.Set(wire.HeaderWorkflowFailureCB, "true")
			h.Set(wire.HeaderWorkflowRunID, failed)
		},
		"callback": func(h http.Header) { h.Set(wire.HeaderWorkflowCallback, "1") },
		"step of another run": func(h http.Header) {
			for _, name := range []string{wire.HeaderWorkflowIsFailure, wire.HeaderWorkflowFailureCB, wire.HeaderWorkflowCallback} {
				h.Del(name)
			}
			h.Set(wire.HeaderWorkflowSDKVersion, "1")
			h.Set(wire.HeaderWorkflowRunID, succeeded+"x")
		},
		"unknown SDK":     func(h http.Header) { h.Set(wire.HeaderWorkflowUnknownSDK, "true") },
		"another attempt": func(h http.Header) { h.Set(wire.HeaderRetried, "7") },
		"second run id":   func(h http.Header) { h.Add(wire.HeaderWorkflowRunID, failed+"x") },
		"second signature": func(h http.Header) {
			h.Add(receiver.Header, h.Get(receiver.Header))
		},
	}
	for kind, c := range captured {
		for name, disguise := range disguises {
			if kind == receiver.KindFailure && strings.HasPrefix(name, "failure") {
				continue // which it is
			}
			status, body := a.replay(t, c, disguise)
			if status != 401 || !strings.Contains(body, "header mismatch") && !strings.Contains(body, "malformed signature") {
				t.Errorf("a %s sent again as %s was answered %d %s", kind, name, status, body)
			}
		}
	}
	if a.steps.Load() != steps || a.failures.Load() != failures || failures != 1 {
		t.Errorf("%d steps and %d failures, before: %d and %d", a.steps.Load(), a.failures.Load(), steps, failures)
	}
}

// TestT22PublishedForgery: whoever may publish cannot have the server sign a
// failure callback, whatever headers and body the message has. It comes without
// the headers that would make it one, and is what it is: a first call.
func TestT22PublishedForgery(t *testing.T) {
	a := attack(t)
	p, err := a.client.Publish(t.Context(), client.PublishRequest{
		URL: a.app.URL + "/called", Body: []byte(failureReport("wfr_1")), Retries: new(0),
		Header: http.Header{
			wire.HeaderWorkflowIsFailure: {"true"}, wire.HeaderWorkflowFailureCB: {"true"}, wire.HeaderWorkflowRunID: {"wfr_1"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.WaitMessage(t, p.MessageID, client.EventDelivered)
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range a.captured[0].header {
		if strings.HasPrefix(name, wire.PrefixWorkflow) {
			t.Errorf("the message came with %s", name)
		}
	}
	if a.failures.Load() != 0 {
		t.Errorf("%d failures", a.failures.Load())
	}
}
