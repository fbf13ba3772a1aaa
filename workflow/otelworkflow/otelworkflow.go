// Package otelworkflow traces workflow endpoints with OpenTelemetry.
//
//	&workflow.Options{Middleware: []workflow.Middleware{otelworkflow.Middleware(nil)}}
//
// Each step that is executed is a span. Its parent is that of the request, if
// the HTTP server makes one, as with otelhttp. Otherwise it is the span that the
// run was started in, if its starter sent a traceparent header: all spans of a
// run are then one trace, however many requests and days it takes. (The header is
// on every request of the run, so that otelhttp finds it, too.)
//
// Nobody sends that header by itself. Whoever starts a run puts it into
// client.TriggerRequest.Header; a workflow that invokes another one hands it on:
//
//	header := http.Header{}
//	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
//	c.Trigger(ctx, client.TriggerRequest{URL: url, Body: order, Header: header})
//
//	&workflow.InvokeOptions{Header: http.Header{"Traceparent": ctx.Header["Traceparent"]}}
package otelworkflow

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/signposthq/signpost/workflow"
)

const scope = "github.com/signposthq/signpost/workflow/otelworkflow"

// Middleware makes spans with a tracer of provider; nil is the global one, that
// of otel.GetTracerProvider. A span is named after its step. Its attributes are
// signpost.run.id, signpost.workflow.url, signpost.step.name,
// signpost.step.type, signpost.step.place and signpost.retried.
func Middleware(provider trace.TracerProvider) workflow.Middleware {
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	tracer := provider.Tracer(scope)
	return workflow.Middleware{
		Step: func(ctx context.Context, s workflow.StepInfo, next func(context.Context) error) error {
			ctx, span := tracer.Start(inTrace(ctx, s.Run), s.Name, trace.WithAttributes(
				append(runAttributes(s.Run),
					attribute.String("signpost.step.name", s.Name), attribute.String("signpost.step.type", s.Type),
					attribute.Int("signpost.step.place", s.Place))...))
			defer span.End()
			err := next(ctx)
			if err != nil {
				span.RecordError(err)
				span.SetStatus(codes.Error, err.Error())
			}
			return err
		},
		RunCompleted: func(ctx context.Context, r workflow.RunInfo, _ []byte) { event(ctx, tracer, r, "run completed", nil) },
		Error:        func(ctx context.Context, r workflow.RunInfo, err error) { event(ctx, tracer, r, "call failed", err) },
	}
}

// inTrace puts a request that has no span into the trace its run was started in.
func inTrace(ctx context.Context, r workflow.RunInfo) context.Context {
	if trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
}

func runAttributes(r workflow.RunInfo) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("signpost.run.id", r.RunID), attribute.String("signpost.workflow.url", r.URL), attribute.Int("signpost.retried", r.Retried),
	}
}

// event is a span without length: the request's own may have ended, or not be
// there.
func event(ctx context.Context, tracer trace.Tracer, r workflow.RunInfo, name string, err error) {
	_, span := tracer.Start(inTrace(ctx, r), name, trace.WithAttributes(runAttributes(r)...))
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
