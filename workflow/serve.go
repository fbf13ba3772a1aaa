package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/signposthq/signpost/client"
)

// Endpoint is a workflow's HTTP handler, made by [Serve]. It is safe for
// concurrent use.
type Endpoint struct {
	opts settings
	bind func(payload []byte) (function, error)
}

// function is a workflow with its payload decoded; its result is JSON, nil for
// none.
type function func(*Context) ([]byte, error)

// Serve makes the endpoint of a workflow function; opts may be nil. It fails if
// the endpoint could not verify requests (there are no signing keys, see
// [Options.AllowUnsigned]), could not reach its server (there is no token), or
// has an option out of range.
//
// The payload a run starts with is decoded as JSON into In. For a string or a
// []byte it is passed as it came; an empty one leaves In at its zero value; for
// struct{} it is ignored. The run's result is Out as JSON, and none if Out is
// struct{}.
//
// fn is called on every delivery, up to the step that is next; see the package
// comment for what that asks of it. It runs in a goroutine of its own, which
// has ended when the request is answered.
func Serve[In, Out any](fn func(ctx *Context, in In) (Out, error), opts *Options) (*Endpoint, error) {
	s, err := opts.settle()
	if err != nil {
		return nil, fmt.Errorf("serve workflow: %w", err)
	}
	return serve(binding(fn), &s), nil
}

func serve(b binder, s *settings) *Endpoint {
	return &Endpoint{opts: *s, bind: func(payload []byte) (function, error) { return b(s, payload) }}
}

// binder makes a function ready for a payload.
type binder func(s *settings, payload []byte) (function, error)

func binding[In, Out any](fn func(ctx *Context, in In) (Out, error)) binder {
	return func(s *settings, payload []byte) (function, error) {
		var in In
		if err := decodePayload(payload, &in); err != nil {
			return nil, err
		}
		if err := s.validate(in); err != nil {
			return nil, err
		}
		return func(ctx *Context) ([]byte, error) {
			out, err := fn(ctx, in)
			if err != nil {
				return nil, err
			}
			return encodeResult(out)
		}, nil
	}
}

// MustServe is [Serve] for package variables and main functions: it panics
// where Serve fails.
func MustServe[In, Out any](fn func(ctx *Context, in In) (Out, error), opts *Options) *Endpoint {
	e, err := Serve(fn, opts)
	if err != nil {
		panic(err)
	}
	return e
}

// ServeHTTP answers one call of the server. The answer is JSON: 200 when the
// call has done its part, 401 for a request that is not signed or not allowed,
// 489 and 429 for the errors of [NonRetryable] and [RetryAfter], 500 for any
// other error, 503 when requests cannot be verified for now, and 400, 405, 413
// and 421 for requests that are none of the server's. Answers to verified
// requests of a Signpost server have the header [receiver.KeysHeader]. Errors have the form
// {"error": kind, "message": text}.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := e.answer(w, r)
	if err != nil {
		a = e.answerError(r, err)
	}
	a.write(w)
}

func (e *Endpoint) answer(w http.ResponseWriter, r *http.Request) (answer, error) {
	d, err := e.receive(w, r)
	if err != nil {
		return answer{}, err
	}
	a, err := e.carryOut(r.Context(), d)
	if err != nil {
		e.opts.failed(r.Context(), d.info(), err)
	}
	return a, err
}

func (e *Endpoint) carryOut(ctx context.Context, d *delivery) (answer, error) {
	switch d.kind {
	case kindProbe:
		return answer{status: http.StatusOK, body: struct {
			Kind Kind `json:"kind"`
		}{d.kind}}, nil
	case KindStart:
		return e.start(ctx, d)
	case KindCallback:
		return e.callback(ctx, d)
	case KindFailure:
		return e.failure(ctx, d)
	case KindCheck:
		return e.check(ctx, d)
	default:
		return e.step(ctx, d)
	}
}

// step replays the function up to its next step.
func (e *Endpoint) step(ctx context.Context, d *delivery) (answer, error) {
	entries, err := e.log(ctx, d)
	if isEnded(err) {
		return finished(d.run.id, conditionEnded), nil
	}
	if err != nil {
		return answer{}, err
	}
	fn, err := e.admit(ctx, d, entries[0].Body)
	if err != nil {
		return answer{}, err
	}
	steps, err := parseSteps(entries)
	if err != nil {
		return answer{}, err
	}
	if lastIsDuplicate(steps) {
		return finished(d.run.id, conditionDuplicate), nil
	}
	if len(entries) == 1 {
		e.opts.runStarted(ctx, d.info())
	}
	x := e.execution(ctx, d, dropDuplicates(steps))
	return e.conclude(ctx, d, x.play(fn))
}

// conclude tells the server that the run is over, if it is.
func (e *Endpoint) conclude(ctx context.Context, d *delivery, v verdict) (answer, error) {
	if v.err != nil {
		return answer{}, v.err
	}
	ctx, cancel := submission(ctx)
	defer cancel()
	var err error
	switch v.end {
	case endReturned:
		err = e.opts.Client.FinishRun(ctx, d.run.id, v.result)
	case endCancelled:
		err = e.opts.Client.CancelRun(ctx, d.run.id)
	}
	switch {
	case isEnded(err):
		return finished(d.run.id, conditionEnded), nil
	case err != nil && !errors.Is(err, client.ErrBadRequest): // which says that the run has ended otherwise
		return answer{}, limitReached(err)
	}
	if err == nil && v.end == endReturned {
		e.opts.runCompleted(ctx, d.info(), v.result)
	}
	return finished(d.run.id, conditionSuccess), nil
}

func decodePayload(payload []byte, in any) error {
	switch in := in.(type) {
	case *string:
		*in = string(payload)
		return nil
	case *[]byte:
		*in = payload
		return nil
	case *struct{}:
		return nil
	case *any:
		if json.Unmarshal(payload, in) != nil && len(payload) > 0 {
			*in = string(payload)
		}
		return nil
	}
	if len(payload) == 0 {
		return nil
	}
	if err := json.Unmarshal(payload, in); err != nil {
		return &statusError{http.StatusBadRequest, fmt.Errorf("decode the run's payload: %w", err)}
	}
	return nil
}
