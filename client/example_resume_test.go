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

// workflowOptions are those of workflows on signpostServer.
func workflowOptions(c *client.Client) *workflow.Options {
	user := signpost.DevUsers[0]
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: user.CurrentSigningKey, NextSigningKey: user.NextSigningKey, Development: true})
	if err != nil {
		panic(err)
	}
	return &workflow.Options{Client: c, Receiver: rc, Logger: slog.New(slog.DiscardHandler)}
}

// shop has a workflow whose second step fails until the shop is repaired. Its
// failure function does so, too.
type shop struct {
	URL      string // of the workflow
	repaired atomic.Bool
	server   *httptest.Server
}

var errClosed = workflow.NonRetryable(errors.New("the shop is closed"))

func openShop(c *client.Client) *shop {
	s, options := &shop{}, workflowOptions(c)
	options.OnFailure = s.failed
	s.server = httptest.NewServer(workflow.MustServe(s.checkout, options))
	s.URL = s.server.URL
	return s
}

func (s *shop) checkout(ctx *workflow.Context, order string) (string, error) {
	price, err := workflow.Run(ctx, "price", func(context.Context) (int, error) {
		fmt.Println("looked up the price")
		return 10, nil
	})
	if err != nil {
		return "", err
	}
	return workflow.Run(ctx, "charge", func(context.Context) (string, error) {
		if !s.repaired.Load() {
			return "", errClosed
		}
		return fmt.Sprintf("charged %d for %s", price, order), nil
	})
}

func (s *shop) failed(ctx *workflow.FailureContext) (string, error) {
	if !s.repaired.Load() {
		return "", errClosed
	}
	return "told who ordered " + string(ctx.Payload), nil
}

func (s *shop) Repair() { s.repaired.Store(true) }

func (s *shop) Close() { s.server.Close() }

// ended waits until a run has ended, and its failure function if it has failed.
func ended(c *client.Client, id string) client.Run {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		run, err := c.Run(ctx, id)
		if err != nil {
			panic(err)
		}
		switch f := run.FailureFunction; {
		case run.State == client.RunStarted:
		case run.State == client.RunFailed && (f == nil || f.State == client.CallbackInProgress):
		default:
			return run
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A run that failed goes on where it did, with another result of a step.
func ExampleClient_ResumeRun() {
	c, stop := signpostServer()
	defer stop()
	shop := openShop(c)
	defer shop.Close()
	ctx := context.Background()

	started, err := c.Trigger(ctx, client.TriggerRequest{URL: shop.URL, Body: []byte("tea")})
	if err != nil {
		fmt.Println(err)
		return
	}
	failed := ended(c, started.WorkflowRunID)
	fmt.Println(failed.State)

	shop.Repair()
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
	shop := openShop(c)
	defer shop.Close()
	ctx := context.Background()

	started, err := c.Trigger(ctx, client.TriggerRequest{URL: shop.URL, Body: []byte("tea"), Labels: []string{"checkout"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ended(c, started.WorkflowRunID)

	shop.Repair()
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
	shop := openShop(c)
	defer shop.Close()
	shop.Repair()
	ctx := context.Background()

	started, err := c.Trigger(ctx, client.TriggerRequest{URL: shop.URL, Body: []byte("tea")})
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
	c, stop := signpostServer()
	defer stop()
	shop := openShop(c)
	defer shop.Close()
	ctx := context.Background()

	started, err := c.Trigger(ctx, client.TriggerRequest{URL: shop.URL, RunID: "order-7", Body: []byte("tea")})
	if err != nil {
		fmt.Println(err)
		return
	}
	ended(c, started.WorkflowRunID)
	for m, err := range c.AllRunDLQ(ctx, client.RunDLQRequest{}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(m.WorkflowRunID, m.ResponseStatus, m.FailureFunctionState)
	}
	// Output:
	// looked up the price
	// order-7 489 CALLBACK_FAIL
}

// A run that failed starts over.
func ExampleClient_RestartRun() {
	c, stop := signpostServer()
	defer stop()
	shop := openShop(c)
	defer shop.Close()
	ctx := context.Background()

	started, err := c.Trigger(ctx, client.TriggerRequest{URL: shop.URL, Body: []byte("tea")})
	if err != nil {
		fmt.Println(err)
		return
	}
	failed := ended(c, started.WorkflowRunID)

	shop.Repair()
	restarted, err := c.RestartRun(ctx, failed.DLQID, client.ResumeOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ended(c, restarted.WorkflowRunID).Response)
	// Output:
	// looked up the price
	// looked up the price
	// "charged 10 for tea"
}

// The failure function of a run has failed itself, and is called again.
func ExampleClient_RerunFailureCallback() {
	c, stop := signpostServer()
	defer stop()
	shop := openShop(c)
	defer shop.Close()
	ctx := context.Background()

	started, err := c.Trigger(ctx, client.TriggerRequest{URL: shop.URL, Body: []byte("tea")})
	if err != nil {
		fmt.Println(err)
		return
	}
	failed := ended(c, started.WorkflowRunID)
	fmt.Println(failed.FailureFunction.State)

	shop.Repair()
	if _, err := c.RerunFailureCallback(ctx, failed.DLQID); err != nil {
		fmt.Println(err)
		return
	}
	again := ended(c, started.WorkflowRunID).FailureFunction
	fmt.Println(again.State, again.ResponseBody)
	// Output:
	// looked up the price
	// CALLBACK_FAIL
	// CALLBACK_SUCCESS {"result":"told who ordered tea"}
}
