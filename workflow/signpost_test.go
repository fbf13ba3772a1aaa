package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/signposttest"
	"github.com/signposthq/signpost/workflow"
)

// TestOnServer plays a run with every kind of step, and one that fails, on a
// real server, whose requests must be bound to what they are for.
func TestOnServer(t *testing.T) {
	srv := signposttest.NewServer(t)
	mux := http.NewServeMux()
	app := httptest.NewServer(mux)
	t.Cleanup(app.Close)
	c := srv.Client()
	t.Cleanup(c.CloseIdleConnections)
	var refused error
	options := &workflow.Options{
		Client: c, Receiver: srv.Receiver(t), Logger: quiet,
		Authorize: func(_ context.Context, r *workflow.AuthRequest) error {
			if r.Header.Get("Authorization") != "Bearer user" || len(r.Payload) == 0 {
				refused = fmt.Errorf("%s call with %v and %q", r.Kind, r.Header, r.Payload)
			}
			return refused
		},
		OnFailure: func(ctx *workflow.FailureContext) (string, error) {
			return fmt.Sprintf("%s %d %s %s", ctx.RunID, ctx.Status, ctx.Response, ctx.Payload), nil
		},
	}
	mux.HandleFunc("/mail", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte{0xff, 'h', 'i'})
	})
	mux.Handle("/verbs", workflow.MustServe(func(ctx *workflow.Context, in order) (string, error) {
		price, err := workflow.Run(ctx, "price", value(in.Count*10))
		if err != nil {
			return "", err
		}
		if err := ctx.Sleep("pause", 0); err != nil {
			return "", err
		}
		stock := workflow.RunAsync(ctx, "stock", value("left"))
		pause := ctx.SleepAsync("parallel pause", 0)
		mail := workflow.CallAsync(ctx, "mail", workflow.CallRequest{URL: app.URL + "/mail"})
		if err := workflow.All(ctx, stock, pause, mail); err != nil {
			return "", err
		}
		left, _ := stock.Get()
		answer, _ := mail.Get()
		if err := ctx.SleepUntil("no pause", until); err != nil {
			return "", err
		}
		last, err := workflow.Run(ctx, "last", value("end"))
		return fmt.Sprint(price, left, answer.Status, answer.Body, last), err
	}, options))
	mux.Handle("/fails", workflow.MustServe(func(ctx *workflow.Context, _ string) (int, error) {
		return workflow.Run(ctx, "breaks", fails(workflow.NonRetryable(errors.New("no luck"))))
	}, options))

	start := func(path, body string) client.Run {
		t.Helper()
		run, err := c.Trigger(t.Context(), client.TriggerRequest{
			URL: app.URL + path, Body: []byte(body), Header: http.Header{"Authorization": {"Bearer user"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return srv.WaitRun(t, run.WorkflowRunID, client.RunSuccess, client.RunFailed, client.RunCanceled)
	}
	run := start("/verbs", `{"count":4}`)
	if run.State != client.RunSuccess || run.Response != `"40left418 [255 104 105]end"` {
		t.Errorf("run ended as %s with %s", run.State, run.Response)
	}
	var steps []string
	for _, group := range run.Steps {
		for _, s := range group.Steps {
			steps = append(steps, fmt.Sprintf("%s %d %s", group.Type, s.StepID, s.StepName))
		}
	}
	want := []string{"sequential 0 init", "sequential 1 price", "sequential 2 pause", "parallel 3 stock", "parallel 4 parallel pause", "parallel 5 mail",
		"sequential 6 no pause", "sequential 7 last"}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	run = start("/fails", "payload")
	if run.State != client.RunFailed {
		t.Fatalf("run ended as %s", run.State)
	}
	for deadline := time.Now().Add(10 * time.Second); run.FailureFunction == nil || run.FailureFunction.State != client.CallbackSuccess; {
		if time.Now().After(deadline) {
			t.Fatalf("failure function is %+v", run.FailureFunction)
		}
		var err error
		if run, err = c.Run(t.Context(), run.WorkflowRunID); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := run.FailureFunction.ResponseBody, `{"result":"`+run.WorkflowRunID+` 489 no luck payload"}`; got != want {
		t.Errorf("failure function answered %q, want %q", got, want)
	}
	if refused != nil {
		t.Error(refused)
	}
}
