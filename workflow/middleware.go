package workflow

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// Middleware sees what an endpoint does, for logs, traces and metrics. Functions
// that are nil are left out. Of several, those that come first in
// [Options.Middleware] are called first, and their Step is around the others'.
//
// A panic in RunStarted, RunCompleted or Error is logged, and changes nothing.
type Middleware struct {
	// RunStarted is called before the first step of a run is executed. It is
	// called again if that call of the endpoint is repeated: see RunInfo.Retried.
	RunStarted func(ctx context.Context, r RunInfo)

	// Step is called in place of what a step does, which is next; steps whose
	// results are in the run's log are done. What Run is given gets the context
	// that next is called with. For the other steps, next prepares what the
	// server is asked to do. The error is that of the step: return what next
	// returns, or the run fails with another.
	Step func(ctx context.Context, s StepInfo, next func(context.Context) error) error

	// RunCompleted is called when the server has the run's result, JSON text or
	// nil. It may not be called at all: the endpoint may end before.
	RunCompleted func(ctx context.Context, r RunInfo, result []byte)

	// Error is called when a call of the endpoint fails that was the server's:
	// refused by Authorize or by the function, failed in a step, or not accepted
	// by the server. The server may call again.
	Error func(ctx context.Context, r RunInfo, err error)
}

// RunInfo is what [Middleware] gets to know of a run.
type RunInfo struct {
	RunID     string      // names the run among those under way
	URL       string      // of the endpoint
	CreatedAt time.Time   // when the run was started; zero where the call does not tell
	Header    http.Header // what the run was started with; not to be changed
	Labels    []string    // of the run; nil if it has none; not to be changed
	Retried   int         // how often this call was tried before
	Kind      Kind        // of this call
}

// StepInfo is what [Middleware] gets to know of a step that is executed.
type StepInfo struct {
	Run        RunInfo // that it is a step of, and this call of it
	Name       string  // as the code has it
	Type       string  // Run, SleepFor, SleepUntil, Call, and what else the protocol has
	Place      int     // among the run's steps, from 1
	Concurrent int     // steps of its parallel group; 1: it has none
}

func (d *delivery) info() RunInfo {
	r := d.run.info()
	r.Kind = d.kind
	return r
}

func (r *run) info() RunInfo {
	return RunInfo{RunID: r.id, URL: r.url, CreatedAt: r.createdAt, Header: r.header, Labels: r.labels, Retried: r.retried, Kind: KindStep}
}

// tell calls a function of each middleware that has it.
func (s *settings) tell(has func(*Middleware) bool, call func(*Middleware)) {
	for i := range s.Middleware {
		m := &s.Middleware[i]
		if !has(m) {
			continue
		}
		if _, err := guard(func() struct{} { call(m); return struct{}{} }); err != nil {
			s.Logger.Error("workflow middleware failed", "error", err)
		}
	}
}

func (s *settings) runStarted(ctx context.Context, r RunInfo) {
	s.tell(func(m *Middleware) bool { return m.RunStarted != nil }, func(m *Middleware) { m.RunStarted(ctx, r) })
}

func (s *settings) runCompleted(ctx context.Context, r RunInfo, result []byte) {
	s.tell(func(m *Middleware) bool { return m.RunCompleted != nil }, func(m *Middleware) { m.RunCompleted(ctx, r, result) })
}

func (s *settings) failed(ctx context.Context, r RunInfo, err error) {
	s.tell(func(m *Middleware) bool { return m.Error != nil }, func(m *Middleware) { m.Error(ctx, r, err) })
}

var errNotCalled = errors.New("a middleware did not call next, and returned no error")

// around calls do within the Step of each middleware.
func (x *execution) around(t *task, place, concurrent int, do func(context.Context) error) error {
	done := false
	next := func(ctx context.Context) error {
		done = true
		return do(ctx)
	}
	info := StepInfo{Run: x.run.info(), Name: t.name, Type: string(t.kind), Place: place, Concurrent: concurrent}
	for i := len(x.middleware) - 1; i >= 0; i-- {
		step, inner := x.middleware[i].Step, next
		if step == nil {
			continue
		}
		next = func(ctx context.Context) error { return step(ctx, info, inner) }
	}
	err := next(x.ctx)
	if err == nil && !done {
		err = errNotCalled
	}
	return err
}

// Logging is a middleware that logs the steps that are executed, and runs that
// start or end. A step that fails is logged at level Warn, all else at Info. Calls
// of the endpoint that fail are told to [Options.Logger] in any case, with the
// answer's status, the step, and the stack of a panic.
func Logging(log *slog.Logger) Middleware {
	attrs := func(r RunInfo, more ...slog.Attr) []slog.Attr {
		return append([]slog.Attr{slog.String("run", r.RunID), slog.String("url", r.URL)}, more...)
	}
	return Middleware{
		RunStarted: func(ctx context.Context, r RunInfo) {
			log.LogAttrs(ctx, slog.LevelInfo, "workflow run started", attrs(r)...)
		},
		Step: func(ctx context.Context, s StepInfo, next func(context.Context) error) error {
			from := time.Now()
			err := next(ctx)
			level, said, more := slog.LevelInfo, "workflow step", []slog.Attr{
				slog.String("step", s.Name), slog.String("type", s.Type), slog.Duration("took", time.Since(from)), slog.Int("retried", s.Run.Retried)}
			if err != nil {
				level, said, more = slog.LevelWarn, "workflow step failed", append(more, slog.String("error", err.Error()))
			}
			log.LogAttrs(ctx, level, said, attrs(s.Run, more...)...)
			return err
		},
		RunCompleted: func(ctx context.Context, r RunInfo, _ []byte) {
			log.LogAttrs(ctx, slog.LevelInfo, "workflow run completed", attrs(r, slog.Duration("took", time.Since(r.CreatedAt)))...)
		},
	}
}

// isVersion says whether an entry of the log is the note of a version.
func isVersion(s wire.Step, name string) bool {
	return !s.IsPlan() && s.StepType == wire.StepRun && s.StepName == name && s.Concurrent <= 1
}
