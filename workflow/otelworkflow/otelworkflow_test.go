package otelworkflow_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"

	"github.com/signposthq/signpost/workflow"
	"github.com/signposthq/signpost/workflow/otelworkflow"
)

var started = workflow.RunInfo{RunID: "wfr_1", URL: "https://app.example/wf", Retried: 2, Header: http.Header{
	"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}

// traced runs a step in a middleware's span.
func traced(t *testing.T, ctx context.Context, run workflow.RunInfo, fails error) tracetest.SpanStub {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	m := otelworkflow.Middleware(trace.NewTracerProvider(trace.WithSyncer(exporter)))
	step := workflow.StepInfo{Run: run, Name: "charge", Type: "Run", Place: 3, Concurrent: 1}
	err := m.Step(ctx, step, func(ctx context.Context) error {
		if !api.SpanContextFromContext(ctx).IsValid() {
			t.Error("the step has no span")
		}
		return fails
	})
	if !errors.Is(err, fails) {
		t.Errorf("the step ended with %v, want %v", err, fails)
	}
	spans := exporter.GetSpans()
	if len(spans) != 1 {
		t.Fatalf("%d spans", len(spans))
	}
	return spans[0]
}

func TestStep(t *testing.T) {
	span := traced(t, t.Context(), started, nil)
	if span.Name != "charge" || span.Status.Code != codes.Unset || span.SpanContext.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" ||
		span.Parent.SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("%+v", span)
	}
	got := map[string]string{}
	for _, a := range span.Attributes {
		got[string(a.Key)] = a.Value.String()
	}
	for key, want := range map[string]string{
		"signpost.run.id": "wfr_1", "signpost.workflow.url": "https://app.example/wf", "signpost.retried": "2",
		"signpost.step.name": "charge", "signpost.step.type": "Run", "signpost.step.place": "3",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
}

// The request's span comes before the run's.
func TestParent(t *testing.T) {
	ctx, parent := trace.NewTracerProvider().Tracer("").Start(t.Context(), "request")
	if span := traced(t, ctx, started, nil); span.Parent.SpanID() != parent.SpanContext().SpanID() {
		t.Errorf("%+v", span)
	}
	if span := traced(t, t.Context(), workflow.RunInfo{}, nil); span.Parent.IsValid() {
		t.Errorf("%+v", span)
	}
}

func TestError(t *testing.T) {
	broken := errors.New("no luck")
	if span := traced(t, t.Context(), started, broken); span.Status.Code != codes.Error || span.Status.Description != "no luck" || len(span.Events) != 1 {
		t.Errorf("%+v", span)
	}
	exporter := tracetest.NewInMemoryExporter()
	m := otelworkflow.Middleware(trace.NewTracerProvider(trace.WithSyncer(exporter)))
	m.Error(t.Context(), started, broken)
	m.RunCompleted(t.Context(), started, nil)
	spans := exporter.GetSpans()
	if len(spans) != 2 || spans[0].Name != "call failed" || spans[0].Status.Description != "no luck" || spans[1].Name != "run completed" {
		t.Errorf("%+v", spans)
	}
}
