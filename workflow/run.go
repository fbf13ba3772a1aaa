package workflow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/signposthq/signpost/internal/wire"
)

// Run is the step of doing something: fn is executed once, and its result is
// kept with the run. The result must survive JSON; that of a T of struct{} is
// no value at all.
//
// The error is fn's own, and the run cannot go on after it: pass it on, with
// more words or with [NonRetryable] around it if you like. fn's context ends
// when the server hangs up; fn must not use steps.
//
//	user, err := workflow.Run(ctx, "create user", func(ctx context.Context) (User, error) {
//		return users.Create(ctx, in.Email)
//	})
func Run[T any](ctx *Context, name string, fn func(context.Context) (T, error)) (T, error) {
	return RunAsync(ctx, name, fn).Get()
}

// RunAsync is [Run] for steps that run in parallel: see [Future].
func RunAsync[T any](ctx *Context, name string, fn func(context.Context) (T, error)) *Future[T] {
	return &Future[T]{decode: decodeOut[T], task: ctx.use(local(name, wire.StepRun, func(x *execution) (any, error) { return fn(x.stepCtx) }))}
}

// local is a task whose result comes about here, by fn.
func local(name string, kind wire.StepType, fn func(*execution) (any, error)) *task {
	return &task{
		name: name,
		kind: kind,
		do: func(x *execution, place, concurrent int) (report, error) {
			v, err := fn(x)
			if err != nil {
				return nil, err
			}
			out, err := encodeResult(v)
			if err != nil {
				return nil, NonRetryable(err)
			}
			s := wire.Step{StepID: place, StepName: name, StepType: kind, Concurrent: concurrent}
			if out != nil {
				text := string(out)
				s.Out = &text
			}
			return published(x.message(s, x.run.deliveredHeader()))
		},
	}
}

// encodeResult is v as JSON, nil for the value that is none.
func encodeResult(v any) ([]byte, error) {
	if _, none := v.(struct{}); none {
		return nil, nil
	}
	return encodeJSON(v)
}

// encodeJSON leaves <, > and & as they are, as the official SDK does.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func decodeOut[T any](s wire.Step) (T, error) {
	var v T
	if s.Out == nil {
		return v, nil
	}
	if _, none := any(v).(struct{}); none {
		return v, nil
	}
	err := json.Unmarshal([]byte(*s.Out), &v)
	// A result that is no JSON is text, of an SDK that did not encode it.
	if wrongType := (*json.UnmarshalTypeError)(nil); err != nil && !errors.As(err, &wrongType) {
		switch text := any(&v).(type) {
		case *string:
			*text, err = *s.Out, nil
		case *any:
			*text, err = *s.Out, nil
		}
	}
	return v, err
}
