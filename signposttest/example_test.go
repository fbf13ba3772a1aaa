package signposttest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/exampletest"
	"github.com/signposthq/signpost/signposttest"
	"github.com/signposthq/signpost/workflow"
)

// test runs a test function, as go test does.
func test(f func(t testing.TB)) { exampletest.Run(f) }

// A test publishes a message and waits until it was delivered.
func ExampleNewServer() {
	test(func(t testing.TB) {
		srv := signposttest.NewServer(t)
		endpoint := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		defer endpoint.Close()
		p, err := srv.Client().Publish(t.Context(), client.PublishRequest{URL: endpoint.URL})
		if err != nil {
			t.Fatal(err)
		}
		events := srv.WaitMessage(t, p.MessageID, client.EventDelivered, client.EventFailed)
		fmt.Println(events[0].State)
	})
	// Output:
	// DELIVERED
}

// A test starts a run of a workflow and waits for its end.
func ExampleServer_WaitRun() {
	test(func(t testing.TB) {
		srv := signposttest.NewServer(t)
		endpoint := httptest.NewServer(workflow.MustServe(func(ctx *workflow.Context, name string) (string, error) {
			return workflow.Run(ctx, "greet", func(context.Context) (string, error) { return "hello " + name, nil })
		}, &workflow.Options{Client: srv.Client(), Receiver: srv.Receiver(t)}))
		defer endpoint.Close()
		started, err := srv.Client().Trigger(t.Context(), client.TriggerRequest{URL: endpoint.URL, Body: []byte("Ada")})
		if err != nil {
			t.Fatal(err)
		}
		run := srv.WaitRun(t, started.WorkflowRunID, client.RunSuccess, client.RunFailed)
		fmt.Println(run.State, run.Response)
	})
	// Output:
	// RUN_SUCCESS "hello Ada"
}

// What was accepted is there when the server has been away.
func ExampleServer_Restart() {
	test(func(t testing.TB) {
		srv := signposttest.NewServer(t)
		p, err := srv.Client().Publish(t.Context(), client.PublishRequest{URL: "https://example.com/", Delay: time.Hour, Body: []byte("hello")})
		if err != nil {
			t.Fatal(err)
		}
		srv.Restart(t)
		m, err := srv.Client().Message(t.Context(), p.MessageID)
		fmt.Println(m.Body, err)
	})
	// Output:
	// hello <nil>
}
