package workflow_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/workflow"
)

// failure is an error that can't be asked when it is nil.
type failure struct{ text string }

func (f *failure) Error() string { return f.text }

// fragile can't be decoded.
type fragile struct{}

func (*fragile) UnmarshalJSON([]byte) error { panic("no such luck") }

// TestApplicationPanicsAnywhere is about code of the application that the endpoint
// calls for itself: decoders of payloads, and errors that are nil pointers. The
// answer says what happened, and so does the log.
func TestApplicationPanicsAnywhere(t *testing.T) {
	var none *failure
	const nilPointer = "panic: runtime error: invalid memory address or nil pointer dereference"
	work := func(ctx *workflow.Context, _ any) (int, error) {
		return workflow.Run(ctx, "work", func(context.Context) (int, error) { return 1, nil })
	}
	step := func(ctx *workflow.Context, _ any) (int, error) {
		return workflow.Run(ctx, "work", func(context.Context) (int, error) { return 0, none })
	}
	tests := []struct {
		name  string
		serve func(*workflow.Options) (*workflow.Endpoint, error)
		want  string
		step  string
	}{
		{"payload", func(o *workflow.Options) (*workflow.Endpoint, error) {
			return workflow.Serve(func(ctx *workflow.Context, _ fragile) (int, error) { return work(ctx, nil) }, o)
		}, "panic: no such luck", ""},
		{"error of a step", func(o *workflow.Options) (*workflow.Endpoint, error) { return workflow.Serve(step, o) }, nilPointer, "work"},
		{"error of the function", func(o *workflow.Options) (*workflow.Endpoint, error) {
			return workflow.Serve(func(*workflow.Context, any) (int, error) { return 0, none }, o)
		}, nilPointer, ""},
		{"error of a step that nobody looks at", func(o *workflow.Options) (*workflow.Endpoint, error) {
			return workflow.Serve(func(ctx *workflow.Context, _ any) (int, error) { _, _ = step(ctx, nil); return 0, nil }, o)
		}, nilPointer, "work"},
		{"error of Validate", func(o *workflow.Options) (*workflow.Endpoint, error) {
			o.Validate = func(any) error { return none }
			return workflow.Serve(work, o)
		}, nilPointer, ""},
		{"error of Authorize", func(o *workflow.Options) (*workflow.Endpoint, error) {
			o.Authorize = func(context.Context, *workflow.AuthRequest) error { return none }
			return workflow.Serve(work, o)
		}, nilPointer, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, log := newStub(t, nil), &bytes.Buffer{}
			e, err := tt.serve(&workflow.Options{Client: s.client, Receiver: newReceiver(t), BaseURL: "https://app.example", Logger: slog.New(slog.NewTextHandler(log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			w := deliverStep(e, string(wire.EncodeLog(nil, []wire.LogEntry{{MessageID: "msg_0", Body: []byte("{}")}})))
			if got := said(t, w); w.Code != http.StatusInternalServerError || got != tt.want || w.Header().Get(wire.HeaderErrorStepName) != tt.step || len(s.sent) > 0 {
				t.Errorf("answer %d %v %s, sent %v; want %s", w.Code, w.Header(), got, s.sent, tt.want)
			}
			if !strings.Contains(log.String(), tt.want) || !strings.Contains(log.String(), "panic_test.go") {
				t.Errorf("log %s", log)
			}
		})
	}
}

// What strangers send does not fill the log, nor their answer.
func TestT17RefusalsAreShort(t *testing.T) {
	log := &bytes.Buffer{}
	e, _ := endpointLogging(t, slog.New(slog.NewTextHandler(log, nil)), func(*workflow.Context) error { return nil })
	long := strings.Repeat("x", 1<<16)
	for _, method := range []string{http.MethodPost, long} {
		r := unsigned("/onboard", "{}", map[string]string{wire.HeaderWorkflowRunID: long, wire.HeaderRetried: long})
		r.Method = method
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized && w.Code != http.StatusMethodNotAllowed || w.Body.Len() > 2000 {
			t.Errorf("answer %d with %d bytes", w.Code, w.Body.Len())
		}
	}
	if n := log.Len(); n == 0 || n > 8000 {
		t.Errorf("the log of two refusals has %d bytes", n)
	}
}
