package client_test

import (
	"context"
	"fmt"

	"github.com/signposthq/signpost/client"
)

const aWaiter = `{"url":"https://app.example/api/onboard","headers":{"Upstash-Workflow-Runid":["onboard-42"]},"deadline":1700000000}`

func ExampleClient_Notify() {
	srv := server(`[{"waiter":` + aWaiter + `,"messageId":"msg_1","deduplicated":false,"error":"","workflowRunId":"onboard-42"}]`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	told, err := c.Notify(context.Background(), "paid-17", []byte(`{"amount":12}`))
	if err != nil {
		fmt.Println(err)
	}
	for _, t := range told {
		fmt.Println(t.WorkflowRunID, "is told by", t.MessageID)
	}
	// Output:
	// onboard-42 is told by msg_1
}

func ExampleClient_NotifyRun() {
	srv := server(`[{"waiter":{},"messageId":"","error":"","workflowRunId":"onboard-42"}]`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	told, err := c.NotifyRun(context.Background(), "onboard-42", "paid", nil)
	if err != nil {
		fmt.Println(err)
	}
	if told.MessageID == "" {
		fmt.Println("kept until", told.WorkflowRunID, "waits for it")
	}
	// Output:
	// kept until onboard-42 waits for it
}

func ExampleClient_Waiters() {
	srv := server(`[` + aWaiter + `]`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	waiters, err := c.Waiters(context.Background(), "paid-17")
	if err != nil {
		fmt.Println(err)
	}
	for _, w := range waiters {
		fmt.Println(w.Headers.Get("Upstash-Workflow-Runid"), "waits until", w.Deadline)
	}
	// Output:
	// onboard-42 waits until 1700000000
}
