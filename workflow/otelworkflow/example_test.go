package otelworkflow_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/exampletest"
	"github.com/signposthq/signpost/signposttest"
	"github.com/signposthq/signpost/workflow"
	"github.com/signposthq/signpost/workflow/otelworkflow"
)

// The steps of a run are in the trace that it was started in.
func ExampleMiddleware() {
	test(func(t testing.TB) {
		srv, spans := signposttest.NewServer(t), tracetest.NewInMemoryExporter()
		provider := trace.NewTracerProvider(trace.WithSyncer(spans))

		app := httptest.NewServer(workflow.MustServe(func(ctx *workflow.Context, price int) (int, error) {
			net, err := workflow.Run(ctx, "discount", func(context.Context) (int, error) { return price - 1, nil })
			if err != nil {
				return 0, err
			}
			return workflow.Run(ctx, "charge", func(context.Context) (int, error) { return net, nil })
		}, &workflow.Options{
			Client: srv.Client(), Receiver: srv.Receiver(t), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Middleware: []workflow.Middleware{otelworkflow.Middleware(provider)},
		}))
		started, err := srv.Client().Trigger(t.Context(), client.TriggerRequest{
			URL: app.URL, Body: []byte("10"),
			Header: http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		srv.WaitRun(t, started.WorkflowRunID, client.RunSuccess)
		app.Close()
		for _, span := range spans.GetSpans() {
			fmt.Println(span.SpanContext.TraceID(), span.Name)
		}
	})
	// Output:
	// 0af7651916cd43dd8448eb211c80319c discount
	// 0af7651916cd43dd8448eb211c80319c charge
	// 0af7651916cd43dd8448eb211c80319c run completed
}

// test runs a test function, as go test does.
func test(f func(t testing.TB)) { exampletest.Run(f) }
