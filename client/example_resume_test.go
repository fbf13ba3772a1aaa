package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

// checkout is a workflow whose second step fails until the shop is repaired.
func checkout(c *client.Client) (url string, repair, stop func()) {
	var repaired atomic.Bool
	user := signpost.DevUsers[0]
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: user.CurrentSigningKey, NextSigningKey: user.NextSigningKey, Development: true})
	if err != nil {
		panic(err)
	}
	h, err := workflow.Serve(func(ctx *workflow.Context, order string) (string, error) {
		price, err := workflow.Run(ctx, "price", func(context.Context) (int, error) {
			fmt.Println("looked up the price")
			return 10, nil
		})
		if err != nil {
			return "", err
		}
		return workflow.Run(ctx, "charge", func(context.Context) (string, error) {
			if !repaired.Load() {
				return "", workflow.NonRetryable(errors.New("the shop is closed"))
			}
			return fmt.Sprintf("charged %d for %s", price, order), nil
		})
	}, &workflow.Options{Client: c, Receiver: rc, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(h)
	return server.URL, func() { repaired.Store(true) }, server.Close
}

// ended waits until a run has ended.
func ended(c *client.Client, id string) client.Run {
	for {
		run, err := c.Run(context.Background(), id)
		if err != nil {
			panic(err)
		}
		if run.State != client.RunStarted {
			return run
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A run that failed goes on where it did, with another result of a step.
func ExampleClient_ResumeRun() {
	c, stop := signpostServer()
	defer stop()
	url, repair, closeShop := checkout(c)
	defer closeShop()
	ctx := context.Background()

	started, err := c.Trigger(ctx, client.TriggerRequest{URL: url, Body: []byte("tea")})
	if err != nil {
		fmt.Println(err)
		return
	}
	failed := ended(c, started.WorkflowRunID)
	fmt.Println(failed.State)

	repair()
	resumed, err := c.ResumeRun(ctx, failed.DLQID, client.ResumeOptions{
		Edit: client.RunEdit{Steps: []client.StepEdit{{StepID: 1, Out: json.RawMessage("9")}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	run := ended(c, resumed.WorkflowRunID)
	fmt.Println(run.State, run.Response)
	// Output:
	// looked up the price
	// RUN_FAILED
	// RUN_SUCCESS "charged 9 for tea"
}

// All runs of a kind that failed start over.
func ExampleClient_RestartAllRuns() {
	c, stop := signpostServer()
	defer stop()
	url, repair, closeShop := checkout(c)
	defer closeShop()
	ctx := context.Background()

	started, err := c.Trigger(ctx, client.TriggerRequest{URL: url, Body: []byte("tea"), Labels: []string{"checkout"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ended(c, started.WorkflowRunID)

	repair()
	failed := client.RunDLQSelection{Filter: client.RunDLQFilter{Labels: []string{"checkout"}}}
	for restarted, err := range c.RestartAllRuns(ctx, client.ResumeRequest{RunDLQSelection: failed}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(ended(c, restarted.WorkflowRunID).Response)
	}
	// Output:
	// looked up the price
	// looked up the price
	// "charged 10 for tea"
}

// A run's events say what was delivered for it, and how that went.
func ExampleClient_AllRunEvents() {
	c, stop := signpostServer()
	defer stop()
	url, repair, closeShop := checkout(c)
	defer closeShop()
	repair()
	ctx := context.Background()

	started, err := c.Trigger(ctx, client.TriggerRequest{URL: url, Body: []byte("tea")})
	if err != nil {
		fmt.Println(err)
		return
	}
	ended(c, started.WorkflowRunID)
	created := client.RunEventsRequest{RunID: started.WorkflowRunID, States: []client.EventState{client.EventCreated}, Order: client.OldestFirst}
	for e, err := range c.AllRunEvents(ctx, created) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(e.StepID, e.StepName, e.StepType)
	}
	// Output:
	// looked up the price
	// 0 init Initial
	// 1 price Run
	// 2 charge Run
}

func ExampleClient_AllRunDLQ() {
	srv := server(`{"messages":[{"messageId":"msg_1","dlqId":"1725323658779-0","workflowRunId":"wfr_1","workflowUrl":"https://example.com/checkout","responseStatus":500,"failureFunctionState":"CALLBACK_FAIL"}]}`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	for m, err := range c.AllRunDLQ(context.Background(), client.RunDLQRequest{}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(m.DLQID, m.WorkflowRunID, m.WorkflowURL, m.ResponseStatus, m.FailureFunctionState)
	}
	// Output: 1725323658779-0 wfr_1 https://example.com/checkout 500 CALLBACK_FAIL
}

func ExampleClient_RerunFailureCallback() {
	srv := server(`{"workflowRunId":"wfr_1","workflowCreatedAt":1700000000000}`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	run, err := c.RerunFailureCallback(context.Background(), "1725323658779-0")
	fmt.Println(run.WorkflowRunID, err)
	// Output: wfr_1 <nil>
}
