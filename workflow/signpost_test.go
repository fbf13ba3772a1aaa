package workflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
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

// TestWaitingOnServer plays runs that wait for what others do on a real server.
func TestWaitingOnServer(t *testing.T) {
	srv := signposttest.NewServer(t)
	mux := http.NewServeMux()
	app := httptest.NewServer(mux)
	t.Cleanup(app.Close)
	c := srv.Client()
	t.Cleanup(c.CloseIdleConnections)
	options := &workflow.Options{Client: c, Receiver: srv.Receiver(t), Logger: quiet, RequireBinding: true}
	finished := []client.RunState{client.RunSuccess, client.RunFailed, client.RunCanceled}

	ends := workflow.Define("ends", func(ctx *workflow.Context, how string) ([]string, error) {
		if how == "cancel" {
			return nil, ctx.Cancel()
		}
		return []string{how, ctx.Header.Get("X-Child")}, only(workflow.Run(ctx, "try", func(context.Context) (int, error) {
			if how == "fail" {
				return 0, workflow.NonRetryable(errors.New("no luck"))
			}
			return 1, nil
		}))
	}, nil)
	invokes := workflow.Define("invokes", func(ctx *workflow.Context, _ struct{}) (string, error) {
		all, err := workflow.Parallel(ctx,
			workflow.InvokeAsync(ctx, "well", ends.Ref, "well", &workflow.InvokeOptions{Header: http.Header{"X-Child": {"h"}}, Retries: new(1)}),
			workflow.InvokeAsync(ctx, "fail", ends.Ref, "fail", nil),
			workflow.InvokeAsync(ctx, "cancel", ends.Ref, "cancel", nil))
		if err != nil {
			return "", err
		}
		other, err := workflow.Invoke(ctx, "elsewhere", workflow.At[string, any](app.URL+"/w/ends"), "there", nil)
		return fmt.Sprintf("%+v %+v", all, other), err
	}, nil)
	deep := workflow.Define("deep", func(ctx *workflow.Context, n int) (int, error) {
		if n == 0 {
			return 0, ctx.Sleep("s", 0)
		}
		below, err := workflow.Invoke(ctx, "below", workflow.Named[int, int]("deep"), n-1, nil)
		return below.Body + 1, err
	}, nil)
	waits := workflow.Define("waits", func(ctx *workflow.Context, _ struct{}) (string, error) {
		if _, err := ctx.NotifyRun("remind", ctx.RunID, "early", order{"x", 2}); err != nil {
			return "", err
		}
		hook, err := ctx.CreateWebhook("make hook")
		if err != nil {
			return "", err
		}
		if _, err := workflow.Run(ctx, "give it away", func(ctx context.Context) (struct{}, error) {
			for _, body := range []string{"\xff\x00", "two"} {
				r, err := http.NewRequestWithContext(ctx, http.MethodPatch, hook.URL+"?a=b%20c", strings.NewReader(body))
				if err != nil {
					return struct{}{}, err
				}
				resp, err := app.Client().Do(r)
				if err != nil {
					return struct{}{}, err
				}
				if resp.Body.Close(); resp.StatusCode > 299 {
					return struct{}{}, fmt.Errorf("the webhook answers %s", resp.Status)
				}
			}
			return struct{}{}, nil
		}); err != nil {
			return "", err
		}
		early := workflow.WaitForEventAsync[order](ctx, "early", "early", time.Hour)
		first := ctx.WaitForWebhookAsync("first call", hook, time.Hour)
		late := workflow.WaitForEventAsync[string](ctx, "late", "la/te ü?", time.Hour)
		never := workflow.WaitForEventAsync[string](ctx, "never", "never", time.Second)
		if err := workflow.All(ctx, early, first, late, never); err != nil {
			return "", err
		}
		e, _ := early.Get()
		f, _ := first.Get()
		l, _ := late.Get()
		n, _ := never.Get()
		second, err := ctx.WaitForWebhook("second call", hook, 0)
		if err != nil {
			return "", err
		}
		third, err := ctx.WaitForWebhook("third call", hook, time.Second)
		return fmt.Sprintf("%v; %s %v %q; %q; %v; %q; %v", e.Data, f.Method, f.URL == hook.URL+"?a=b%20c", f.Body, l.Data, n.TimedOut, second.Body, third.TimedOut), err
	}, nil)
	mux.Handle("/w/", workflow.MustServeMany(options, ends, invokes, deep, waits))

	start := func(path, body string) string {
		t.Helper()
		run, err := c.Trigger(t.Context(), client.TriggerRequest{URL: app.URL + path, Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		return run.WorkflowRunID
	}
	want := func(id, result string) {
		t.Helper()
		run := srv.WaitRun(t, id, finished...)
		var got string
		if err := json.Unmarshal([]byte(run.Response), &got); err != nil {
			got = run.Response
		}
		if run.State != client.RunSuccess || got != result {
			t.Errorf("run ended as %s with\n%s\nwant %s", run.State, got, result)
		}
	}
	waiting, invoking, diving := start("/w/waits", ""), start("/w/invokes", ""), start("/w/deep", "5")
	for deadline := time.Now().Add(20 * time.Second); ; {
		told, err := c.Notify(t.Context(), "la/te ü?", []byte("0042"))
		if err != nil {
			t.Fatal(err)
		}
		if len(told) == 1 && told[0].WorkflowRunID == waiting {
			break
		}
		if len(told) > 0 || time.Now().After(deadline) {
			t.Fatalf("told %+v", told)
		}
	}
	want(waiting, `{x 2}; PATCH true "\xff\x00"; "0042"; true; "two"; true`)
	want(invoking, "[{Body:[well h] Failed:false Canceled:false} {Body:[] Failed:true Canceled:false} {Body:[] Failed:false Canceled:true}]"+
		" {Body:[there ] Failed:false Canceled:false}")
	want(diving, "5")
}
