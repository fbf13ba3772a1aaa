package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signposthq/signpost/internal/budget"
)

// What lists may take of memory. A page has its bodies several times over, as it
// is read, in the shapes of the API and in JSON.
const (
	smallPage    = 1 << 20       // of bodies; is not counted
	listBytes    = 8 << 20       // of bodies on a page, about
	largePages   = 2 * listBytes // that are made and sent at a time; and one more
	pagePatience = 5 * time.Second
)

// Reading is the memory that the answer to a list takes. Whoever asks for lists
// releases it once the answer is sent.
type Reading struct {
	budget *budget.Budget
	share  *budget.Share // nil: it is small
}

type readingKey struct{}

// Reading makes a context for a list, and what bounds the memory it takes.
// Without it, a list's memory is its own until it is returned, and no longer.
func (e *Engine) Reading(ctx context.Context) (context.Context, *Reading) {
	r := &Reading{budget: e.pages}
	return context.WithValue(ctx, readingKey{}, r), r
}

// Large says whether others may be waiting for its memory.
func (r *Reading) Large() bool { return r.share != nil }

// Moved says that n bytes of the answer were taken.
func (r *Reading) Moved(n int) { r.share.Moved(n) }

// Watch calls giveUp if the answer of a large one is taken too slowly, while
// others wait.
func (r *Reading) Watch(giveUp func()) { r.share.Watch(giveUp) }

// Release gives the memory back.
func (r *Reading) Release() { r.share.Release() }

var errManyPages = &Error{Code: Unavailable, Message: "too many large lists at once; try again in some seconds, or ask for less"}

// list reads a page. Where that turns out to be large and there is no memory for
// it, it begins again when there is; nothing of the store is held meanwhile.
func (e *Engine) list(ctx context.Context, fn func(Tx, *Reading) error) error {
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
		patience, cancel := context.WithTimeout(ctx, pagePatience)
		r.share, err = r.budget.Wait(patience, listBytes)
		cancel()
		switch {
		case err != nil && ctx.Err() == nil:
			return errManyPages
		case err != nil:
			return fmt.Errorf("wait for memory: %w", err)
		}
	}
}

// room makes sure that there is memory for a page of so many bytes.
func (r *Reading) room(bytes int) error {
	if bytes <= smallPage || r.share != nil {
		return nil
	}
	if r.share = r.budget.Try(listBytes); r.share == nil {
		return errNoMemory
	}
	return nil
}
