package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signposthq/signpost/internal/budget"
)

// What answers may take of memory: lists, and what is read one by one. They have
// bodies several times over, as these are read, in the shapes of the API and in
// JSON.
const (
	smallPage    = 1 << 20       // of bodies; is not counted
	listBytes    = 8 << 20       // of bodies on a page, about
	largePages   = 2 * listBytes // that are made and sent at a time; and one more
	pagePatience = 5 * time.Second
)

// Reading is the memory that an answer takes. Whoever asks for one releases it
// once the answer is sent.
type Reading struct {
	budget  *budget.Budget
	share   *budget.Share // nil: it is small
	bytes   int64         // of the share
	watched bool
}

type readingKey struct{}

// Reading makes a context for an answer, and what bounds the memory it takes.
// Without it, what is read counts until it is returned, and no longer.
func (e *Engine) Reading(ctx context.Context) (context.Context, *Reading) {
	r := &Reading{budget: e.pages}
	return context.WithValue(ctx, readingKey{}, r), r
}

// Large says whether others may be waiting for its memory.
func (r *Reading) Large() bool { return r.share != nil }

// Moved says that n bytes of the answer were taken.
func (r *Reading) Moved(n int) { r.share.Moved(n) }

// Watch calls giveUp if the answer of a large one is taken too slowly, while
// others wait. Once is enough until it is released.
func (r *Reading) Watch(giveUp func()) {
	if !r.watched {
		r.watched = true
		r.share.Watch(giveUp)
	}
}

// Release gives the memory back. What is read after that takes its own.
func (r *Reading) Release() {
	r.share.Release()
	r.share, r.watched = nil, false
}

var errManyPages = &Error{Code: Unavailable, Message: "too many large answers at once; try again in some seconds, or ask for less"}

// read reads what an answer is made of. Where that turns out to be large and there
// is no memory for it, it begins again when there is; nothing of the store is held
// meanwhile.
func (e *Engine) read(ctx context.Context, patience time.Duration, fn func(Tx, *Reading) error) error {
	r, _ := ctx.Value(readingKey{}).(*Reading)
	if r == nil {
		_, r = e.Reading(ctx)
		defer r.Release()
	}
	for {
		err := e.store.View(ctx, func(tx Tx) error { return fn(tx, r) })
		if !errors.Is(err, errNoMemory) {
			return err
		}
		waiting, cancel := context.WithTimeout(ctx, patience)
		r.share, err = r.budget.Wait(waiting, r.bytes)
		cancel()
		switch {
		case err != nil && ctx.Err() == nil:
			return errManyPages
		case err != nil:
			return fmt.Errorf("wait for memory: %w", err)
		}
	}
}

// room makes sure that there is memory for so many bytes of bodies.
func (r *Reading) room(bytes int) error {
	if bytes <= smallPage || r.share != nil {
		return nil
	}
	r.bytes = int64(max(bytes, listBytes))
	if r.share = r.budget.Try(r.bytes); r.share == nil {
		return errNoMemory
	}
	return nil
}
