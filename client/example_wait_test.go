package client_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/workflow"
)

// startWaiting starts a run that waits for the event "paid-17", and returns when
// it does.
func startWaiting(c *client.Client, runID string) (stop func()) {
	app := httptest.NewServer(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		paid, err := workflow.WaitForEvent[string](ctx, "wait for payment", "paid-17", 24*time.Hour)
		return paid.Data, err
	}, workflowOptions(c)))
	if _, err := c.Trigger(context.Background(), client.TriggerRequest{URL: app.URL, RunID: runID}); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		waiters, err := c.Waiters(ctx, "paid-17")
		if err != nil {
			panic(err)
		}
		if len(waiters) > 0 {
			return app.Close
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func ExampleClient_Notify() {
	c, stop := signpostServer()
	defer stop()
	defer startWaiting(c, "onboard-42")()

	told, err := c.Notify(context.Background(), "paid-17", []byte("12 EUR"))
	if err != nil {
		fmt.Println(err)
	}
	for _, t := range told {
		fmt.Println("told", t.WorkflowRunID)
	}
	fmt.Println(ended(c, "onboard-42").Response)
	// Output:
	// told onboard-42
	// "12 EUR"
}

func ExampleClient_NotifyRun() {
	c, stop := signpostServer()
	defer stop()
	ctx := context.Background()

	_, err := c.Trigger(ctx, client.TriggerRequest{URL: "https://app.example/api/onboard", RunID: "onboard-42", Delay: time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	told, err := c.NotifyRun(ctx, "onboard-42", "paid-17", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	if told.MessageID == "" {
		fmt.Println("kept until", told.WorkflowRunID, "waits for it")
	}
	// Output:
	// kept until onboard-42 waits for it
}

func ExampleClient_Waiters() {
	c, stop := signpostServer()
	defer stop()
	defer startWaiting(c, "onboard-42")()

	waiters, err := c.Waiters(context.Background(), "paid-17")
	if err != nil {
		fmt.Println(err)
	}
	for _, w := range waiters {
		left := time.Until(time.Unix(w.Deadline, 0))
		fmt.Println(w.Headers.Get("Upstash-Workflow-Runid"), "waits for another", left.Round(time.Hour))
	}
	// Output:
	// onboard-42 waits for another 24h0m0s
}
