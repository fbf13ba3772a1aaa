package engine

import (
	"context"
	"net/http"
	"time"
)

// Deliverer makes one attempt. It always returns an Outcome: a connection
// nobody accepts is one. When nothing of an Outcome is used any more it is
// released.
type Deliverer interface {
	Deliver(ctx context.Context, a Attempt) Outcome
}

// Attempt is one HTTP request, complete but for its signature.
type Attempt struct {
	Method     string
	URL        string
	Header     http.Header
	Body       []byte
	Timeout    time.Duration
	SigningKey string
	Kind       Kind   // what its signature says it is about
	RunID      string // the run it belongs to, "" if none or if a third party is not to know
	Retried    int    // retries made before
	// KeepResponse is how many bytes of any response's body to keep, if there
	// is memory for them; MaxResponse and MaxFailure how many of a 2xx response
	// and of another somebody waits for, so that memory is waited for.
	KeepResponse, MaxResponse, MaxFailure int64
}

// Outcome is what came back.
type Outcome struct {
	Status int // 0: no response
	Header http.Header
	Body   []byte
	Error  string // why there is no response, or why this one does not count; "" otherwise
	Start  time.Time
	End    time.Time
	// Release gives back the memory that Header and Body take; nil: none is
	// counted.
	Release func()
}

func (o *Outcome) release() {
	if o.Release != nil {
		o.Release()
	}
}
