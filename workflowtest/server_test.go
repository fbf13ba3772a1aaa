package workflowtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/signposttest"
	"github.com/signposthq/signpost/workflow"
	"github.com/signposthq/signpost/workflowtest"
)

// everything is a workflow with each kind of step. third is a URL that answers.
func everything(ctx *workflow.Context, third string) (string, error) {
	if err := step(ctx, "run"); err != nil {
		return "", err
	}
	x := workflow.RunAsync(ctx, "x", func(context.Context) ([]int, error) { return []int{1, 2}, nil })
	y := workflow.CallAsync(ctx, "y", workflow.CallRequest{URL: third, Method: "PUT", Body: []byte("ü\xff")})
	z := ctx.SleepAsync("z", time.Second)
	w := workflow.WaitForEventAsync[int](ctx, "w", "never", time.Second)
	if err := workflow.All(ctx, x, y, z, w); err != nil {
		return "", err
	}
	_, err := workflow.Run(ctx, "once more", func(context.Context) (string, error) {
		if ctx.Retried == 0 {
			return "", workflow.RetryAfter(errDeclined, time.Second)
		}
		return fmt.Sprint("after ", ctx.Retried), nil
	})
	if err != nil {
		return "", err
	}
	hook, err := ctx.CreateWebhook("make hook")
	if err != nil {
		return "", err
	}
	if _, err := workflow.Call(ctx, "call hook", workflow.CallRequest{URL: hook.URL + "?a=b", Method: "POST", Body: []byte("in time")}); err != nil {
		return "", err
	}
	called, err := ctx.WaitForWebhook("wait for hook", hook, time.Minute)
	if err != nil {
		return "", err
	}
	again, err := ctx.WaitForWebhook("wait again", hook, time.Second)
	if err != nil {
		return "", err
	}
	told, err := ctx.Notify("tell", "nobody", []int{1})
	if err != nil {
		return "", err
	}
	if _, err := ctx.NotifyRun("tell myself", ctx.RunID, "self", "hello"); err != nil {
		return "", err
	}
	self, err := workflow.WaitForEvent[string](ctx, "listen", "self", time.Minute)
	if err != nil {
		return "", err
	}
	good, err := workflow.Invoke(ctx, "invoke", workflow.Named[int, int]("child"), 20, nil)
	if err != nil {
		return "", err
	}
	bad, err := workflow.Invoke(ctx, "invoke in vain", workflow.Named[int, int]("child"), -1, nil)
	if err != nil {
		return "", err
	}
	return fmt.Sprint(called.Method, string(called.Body), again.TimedOut, len(told), self.Data, good.Body, good.Failed, bad.Failed, bad.Canceled),
		ctx.SleepUntil("until", ctx.CreatedAt)
}

func child(ctx *workflow.Context, n int) (int, error) {
	if err := step(ctx, "first"); err != nil {
		return 0, err
	}
	if n < 0 {
		return 0, workflow.NonRetryable(errors.New("negative"))
	}
	return n + 1, nil
}

// The model of the server does what the server does.
func TestLikeTheServer(t *testing.T) {
	t.Setenv("UPSTASH_WORKFLOW_URL", "")
	srv := signposttest.NewServer(t)
	c := srv.Client()
	defer c.CloseIdleConnections()
	answer := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Method, " ", r.ContentLength) }
	many, err := workflow.ServeMany(&workflow.Options{Client: c, Receiver: srv.Receiver(t), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))},
		workflow.Define("everything", everything, nil), workflow.Define("child", child, nil))
	noError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/workflows/", many)
	mux.HandleFunc("/third", answer)
	app := httptest.NewServer(mux)
	defer app.Close()

	started, err := c.Trigger(t.Context(), client.TriggerRequest{URL: app.URL + "/workflows/everything", Body: []byte(app.URL + "/third")})
	noError(t, err)
	real := srv.WaitRun(t, started.WorkflowRunID, client.RunSuccess)

	env := workflowtest.New(t)
	env.Serve(workflow.Define("child", child, nil))
	env.OnCall("y", answer)
	run := workflowtest.Run(env, everything, app.URL+"/third")
	noError(t, run.Err)

	if got, _ := json.Marshal(run.Value); string(got) != real.Response {
		t.Errorf("result %s, that of the server %s", got, real.Response)
	}
	steps := map[int]client.RunStep{}
	for _, g := range real.Steps {
		for _, s := range g.Steps {
			if s.StepID > 0 && (s.CallType == "step" || s.StepType == "Call") {
				steps[s.StepID] = s
			}
		}
	}
	if len(steps) != len(run.Steps) {
		t.Errorf("%d steps, on the server %d", len(run.Steps), len(steps))
	}
	for i, got := range run.Steps {
		want := steps[i+1]
		if got.Name != want.StepName || got.Type != want.StepType {
			t.Errorf("step %d is %s %s, on the server %s %s", i+1, got.Name, got.Type, want.StepName, want.StepType)
		}
		if slices.Contains([]string{"CreateWebhook", "WaitForWebhook", "Notify", "Call"}, got.Type) {
			continue // with what is random, or of a connection
		}
		if string(got.Out) != want.Out {
			t.Errorf("step %s gives %s, on the server %s", got.Name, got.Out, want.Out)
		}
	}
}

// Failures come to OnFailure as they do from the server.
func TestFailsLikeTheServer(t *testing.T) {
	type told struct {
		Retried, Status                int
		Response, Payload, User, Label string
		Tries                          int
	}
	tries := 0
	fn := func(ctx *workflow.Context, _ string) (int, error) {
		if err := step(ctx, "first"); err != nil {
			return 0, err
		}
		return workflow.Run(ctx, "charge", func(context.Context) (int, error) { tries++; return 0, errDeclined })
	}
	var reports []told
	onFailure := func(f *workflow.FailureContext) (string, error) {
		reports = append(reports, told{f.Retried, f.Status, f.Response, string(f.Payload), f.Header.Get("X-User"), fmt.Sprint(f.Labels), tries})
		if f.Retried == 0 {
			return "", errors.New("not yet")
		}
		return "handled", nil
	}
	trigger := client.TriggerRequest{Body: []byte("in"), Header: http.Header{"X-User": {"ada"}}, Labels: []string{"l"}, Retries: new(2), RetryDelay: "10"}

	t.Setenv("UPSTASH_WORKFLOW_URL", "")
	srv := signposttest.NewServer(t)
	c := srv.Client()
	defer c.CloseIdleConnections()
	e, err := workflow.Serve(fn, &workflow.Options{Client: c, Receiver: srv.Receiver(t), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), OnFailure: onFailure})
	noError(t, err)
	app := httptest.NewServer(e)
	defer app.Close()
	trigger.URL = app.URL + "/run"
	started, err := c.Trigger(t.Context(), trigger)
	noError(t, err)
	srv.WaitRun(t, started.WorkflowRunID, client.RunFailed)
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		run, err := c.Run(t.Context(), started.WorkflowRunID)
		noError(t, err)
		if run.FailureFunction != nil && run.FailureFunction.State == client.CallbackSuccess {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the failure function has not succeeded")
		}
	}
	want := reports
	reports, tries = nil, 0

	env := workflowtest.New(t)
	env.Trigger = trigger
	env.Options.OnFailure = onFailure
	run := workflowtest.Run(env, fn, "in")
	if !slices.Equal(reports, want) || len(reports) != 2 {
		t.Errorf("told %+v, by the server %+v", reports, want)
	}
	if run.Handled != "handled" || run.Elapsed != 20*time.Millisecond {
		t.Errorf("handled %q after %s", run.Handled, run.Elapsed)
	}
}

// Code under test may use a client of its own.
func TestClient(t *testing.T) {
	env := workflowtest.New(t)
	c := env.Client()
	env.Serve(workflow.Define("child", child, nil))
	env.OnCall("https://example.com/", workflowtest.Reply(200, nil))
	run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (string, error) {
		return workflow.Run(ctx, "start others", func(ctx context.Context) (string, error) {
			if _, err := c.Publish(ctx, client.PublishRequest{URL: "https://example.com/x"}); err != nil {
				return "", err
			}
			out, err := c.TriggerJSON(ctx, client.TriggerRequest{URL: env.URL("child"), RunID: "mine"}, 3)
			if err != nil {
				return "", err
			}
			if again, err := c.Trigger(ctx, client.TriggerRequest{URL: env.URL("child"), RunID: "mine"}); err != nil || !again.Deduplicated {
				return "", fmt.Errorf("started twice: %w", err)
			}
			return out.WorkflowRunID, c.CancelRun(ctx, "mine")
		})
	}, struct{}{})
	noError(t, run.Err)
	if run.Value != "mine" {
		t.Errorf("started %q", run.Value)
	}
	for name, err := range map[string]error{
		"cancel":     c.CancelRun(t.Context(), "nobody"),
		"notify":     func() error { _, err := c.NotifyRun(t.Context(), "mine", "evt", nil); return err }(),
		"log":        func() error { _, err := c.RunLog(t.Context(), "mine"); return err }(),
		"other part": func() error { _, err := c.Queues(t.Context()); return err }(),
		"step": func() error {
			_, err := c.BatchItems(t.Context(), []client.BatchItem{{Destination: env.URL("child"), Header: http.Header{"Upstash-Workflow-Runid": {"mine"}}}})
			return err
		}(),
	} {
		if !errors.Is(err, client.ErrNotFound) && !errors.Is(err, client.ErrBadRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, err := c.Waiters(t.Context(), "evt"); err != nil || len(all) > 0 {
		t.Errorf("waiters %v, %v", all, err)
	}
}
