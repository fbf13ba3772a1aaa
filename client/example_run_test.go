package client_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
)

// A run is started once, however often that is asked for.
func ExampleClient_Trigger() {
	c, stop := signpostServer()
	defer stop()
	ctx := context.Background()

	onboard := client.TriggerRequest{
		URL:   "https://app.example/api/onboard",
		RunID: "onboard-42",
		Body:  []byte(`{"email":"ada@example.com"}`),
		Delay: time.Hour,
	}
	for range 2 {
		run, err := c.Trigger(ctx, onboard)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(run.WorkflowRunID, run.Deduplicated)
	}
	// Output:
	// onboard-42 false
	// onboard-42 true
}

func ExampleClient_TriggerJSON() {
	c, stop := signpostServer()
	defer stop()
	shop := openShop(c)
	defer shop.Close()
	shop.Repair()

	order := map[string]string{"item": "tea"}
	started, err := c.TriggerJSON(context.Background(), client.TriggerRequest{URL: shop.URL}, order)
	if err != nil {
		fmt.Println(err)
		return
	}
	run := ended(c, started.WorkflowRunID)
	fmt.Println(run.State, run.Response)
	// Output:
	// looked up the price
	// RUN_SUCCESS "charged 10 for {\"item\":\"tea\"}"
}

// Runs that were started together are cancelled by their label.
func ExampleClient_CancelRuns() {
	c, stop := signpostServer()
	defer stop()
	ctx := context.Background()

	var mails []client.TriggerRequest
	for _, who := range []string{"ada", "bob"} {
		mails = append(mails, client.TriggerRequest{
			URL: "https://app.example/api/mail", Body: []byte(who), Labels: []string{"newsletter"}, Delay: time.Hour,
		})
	}
	if _, err := c.TriggerBatch(ctx, mails); err != nil {
		fmt.Println(err)
		return
	}
	n, err := c.CancelRuns(ctx, client.CancelRunsRequest{Filter: client.RunFilter{Labels: []string{"newsletter"}}})
	fmt.Println(n, err)
	// Output: 2 <nil>
}

func ExampleClient_CancelRun() {
	c, stop := signpostServer()
	defer stop()
	ctx := context.Background()

	started, err := c.Trigger(ctx, client.TriggerRequest{URL: "https://app.example/api/onboard", Delay: time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := c.CancelRun(ctx, started.WorkflowRunID); err != nil {
		fmt.Println(err)
		return
	}
	run, err := c.Run(ctx, started.WorkflowRunID)
	fmt.Println(run.State, err)
	// Output: RUN_CANCELED <nil>
}

func ExampleClient_Run() {
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
	ended(c, started.WorkflowRunID)
	run, err := c.Run(ctx, started.WorkflowRunID)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(run.State)
	for _, group := range run.Steps {
		for _, step := range group.Steps {
			fmt.Println(group.Type, step.StepName, strings.ToLower(string(step.State)))
		}
	}
	// Output:
	// looked up the price
	// RUN_FAILED
	// sequential init step_success
	// sequential price step_success
	// next charge step_failed
}

func ExampleClient_AllRuns() {
	c, stop := signpostServer()
	defer stop()
	ctx := context.Background()

	for _, id := range []string{"onboard-42", "onboard-43"} {
		if _, err := c.Trigger(ctx, client.TriggerRequest{URL: "https://app.example/api/onboard", RunID: id, Delay: time.Hour}); err != nil {
			fmt.Println(err)
			return
		}
	}
	for run, err := range c.AllRuns(ctx, client.RunsRequest{State: client.RunStarted}) { // the newest first
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(run.WorkflowRunID)
	}
	// Output:
	// onboard-43
	// onboard-42
}
