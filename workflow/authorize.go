package workflow

import (
	"context"
	"net/http"
	"runtime/debug"
	"slices"
)

// AuthRequest is the call that [Options.Authorize] decides about.
type AuthRequest struct {
	Kind    Kind        // of the call that is made
	RunID   string      // of a start: the id that the run will get
	Header  http.Header // what the run was started with, as Context.Header
	Payload []byte      // what the run was started with, as it came
}

// admit asks Authorize, and makes the function ready for the payload.
func (e *Endpoint) admit(ctx context.Context, d *delivery, payload []byte) (function, error) {
	if e.opts.Authorize != nil {
		r := &AuthRequest{Kind: d.kind, RunID: d.run.id, Header: d.run.header.Clone(), Payload: slices.Clone(payload)}
		refused, err := guard(func() error { return asked(e.opts.Authorize(ctx, r)) })
		if err != nil {
			return nil, err
		}
		if refused != nil {
			return nil, &refusal{refused}
		}
	}
	type bound struct {
		fn  function
		err error
	}
	b, err := guard(func() (b bound) { b.fn, b.err = e.bind(payload); return b }) // decoding may run code of the application
	if err != nil {
		return nil, err
	}
	return b.fn, b.err
}

// rehearse calls the function up to its first step. It is how a function that
// authorizes by itself is asked where it does not run anyway: an error, or a
// return without a step, is a refusal.
func (e *Endpoint) rehearse(ctx context.Context, d *delivery, fn function) error {
	x := e.execution(ctx, d, nil)
	x.rehearsal = true
	return x.play(fn).err
}

// guard calls f in a goroutine of its own, and makes an error of a panic, and of
// a goroutine that ends without a word.
func guard[T any](f func() T) (v T, err error) {
	err = errGoroutineEnded
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				err = &panicError{p, debug.Stack()}
			}
		}()
		v = f()
		err = nil
	}()
	<-done
	return v, err
}
