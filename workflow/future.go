package workflow

import (
	"errors"

	"github.com/signposthq/signpost/internal/wire"
)

// Future is the result of a step that was started with [RunAsync] or its like.
//
// A future does nothing by itself. The first Get, or the next step that is not
// started so, sets off all steps that are pending: if they are several, they
// are one parallel group. The server then calls the endpoint once for each, all
// at the same time, and once more when all have their results.
type Future[T any] struct {
	task   *task
	decode func(wire.Step) (T, error)
}

// Get returns the step's result. Where it is not known yet, Get does not
// return: the function ends here, and is called again later.
//
// The error is that of the step's function; if a step of a parallel group
// fails, it is that of the whole group.
func (f *Future[T]) Get() (T, error) {
	var zero T
	entry, err := f.task.await()
	if err != nil {
		return zero, err
	}
	v, err := f.decode(entry)
	if final := (*nonRetryableError)(nil); errors.As(err, &final) {
		return v, err
	}
	if err != nil {
		return v, f.task.x.fail(f.task.name, protocolErrorf("The result of step '%s' in the log is not what the workflow expects: %v", f.task.name, err))
	}
	return v, nil
}

// Pending is a [Future] of any type.
type Pending interface{ started() *task }

func (f *Future[T]) started() *task { return f.task }

// All waits for all of the given steps of ctx's run; Get then returns at once.
// Steps that are pending but not given are part of the same parallel group. The
// error is the first one that a Get would return.
func All(ctx *Context, futures ...Pending) error {
	for _, f := range futures {
		t := f.started()
		if t.x != ctx.x {
			return ctx.x.setFault(misplacedError(t.name))
		}
		if _, err := t.await(); err != nil {
			return err
		}
	}
	return nil
}

// Parallel waits for all of the given steps of ctx's run, and gives their results
// in that order. It is [All] for steps of one type.
func Parallel[T any](ctx *Context, futures ...*Future[T]) ([]T, error) {
	pending := make([]Pending, len(futures))
	for i, f := range futures {
		pending[i] = f
	}
	if err := All(ctx, pending...); err != nil {
		return nil, err
	}
	results := make([]T, len(futures))
	for i, f := range futures {
		var err error
		if results[i], err = f.Get(); err != nil {
			return nil, err
		}
	}
	return results, nil
}
