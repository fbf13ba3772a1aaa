package workflow

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/signposthq/signpost/internal/wire"
)

// statusNonRetryable, with Upstash-NonRetryable-Error, ends a message's retries.
const statusNonRetryable = 489

const (
	conditionSuccess    = "success"
	conditionDuplicate  = "duplicate-step"
	conditionCallback   = "fromCallback"
	conditionEnded      = "workflow-already-ended"
	conditionNoFunction = "failure-callback-undefined"
)

// answer is what a call is answered.
type answer struct {
	status int
	header http.Header
	body   any
}

// finished is the answer to a call that has done its part.
func finished(runID, condition string) answer {
	return answer{status: http.StatusOK, body: struct {
		WorkflowRunID   string `json:"workflowRunId"`
		FinishCondition string `json:"finishCondition"`
	}{runID, condition}}
}

func errorAnswer(status int, kind, message string) answer {
	return answer{status: status, body: struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}{kind, message}}
}

func (a answer) with(name, value string) answer {
	if a.header = a.header.Clone(); a.header == nil {
		a.header = make(http.Header, 1)
	}
	a.header.Set(name, value)
	return a
}

// final forbids retries.
func (a answer) final() answer { return a.with(wire.HeaderNonRetryable, "true") }

func (a answer) write(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	h.Set(wire.HeaderWorkflowSDKVersion, protocolVersion)
	h.Set(wire.HeaderWorkflowSDK, sdkLevel)
	h.Set("Content-Type", jsonContent)
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(a.status)
	body, _ := encodeJSON(a.body) // strings only
	_, _ = w.Write(body)
}

// answerError answers a call that failed, and logs it.
func (e *Endpoint) answerError(r *http.Request, err error) answer {
	a := errorAnswer(http.StatusInternalServerError, "Error", err.Error())
	if own := answering(nil); errors.As(err, &own) {
		a = own.answer(err.Error())
	}
	attrs := []slog.Attr{slog.Int("status", a.status), slog.String("error", err.Error()), slog.String("peer", r.RemoteAddr)}
	if runID := r.Header.Get(wire.HeaderWorkflowRunID); runID != "" {
		attrs = append(attrs, slog.String("run", clip(runID)), slog.String("retried", clip(r.Header.Get(wire.HeaderRetried))))
	}
	if in := (*stepError)(nil); errors.As(err, &in) {
		attrs = append(attrs, slog.String("step", clip(in.step)))
		a = a.with(wire.HeaderErrorStepName, headerText(clip(in.step)))
	}
	if p := (*panicError)(nil); errors.As(err, &p) {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	level := slog.LevelWarn
	if a.status >= 500 {
		level = slog.LevelError
	}
	e.opts.Logger.LogAttrs(r.Context(), level, "workflow call failed", attrs...)
	return a
}

// clip keeps what strangers send from filling the log, and names made of it from
// filling the answer's header: of too large a one the server reads nothing.
func clip(s string) string {
	const most = 1000
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// headerText makes s fit for a header value.
func headerText(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s))
}
