package workflow

import (
	"context"
	"net/http"
	"runtime"
	"time"
)

// Context is what a workflow function knows of its run, and what its steps are
// made with. As a context.Context it is that of the HTTP request; it is done
// when the server hangs up. It is only good for the call of the function it
// was made for, and in that function's goroutine.
type Context struct {
	context.Context

	RunID     string      // names the run among those under way
	URL       string      // of the endpoint, as the server calls it
	CreatedAt time.Time   // when the run was started; zero where the call does not tell
	Header    http.Header // what the run was started with, on every call; Content-Type is the call's
	Labels    []string    // of the run; nil if it has none
	Retried   int         // how often this delivery was tried before

	x *execution
}

// Cancel ends the run as cancelled: the server makes no further calls, and
// OnFailure is not called. Cancel does not return, except with an error when
// it was used like a step must not be used.
func (c *Context) Cancel() error {
	locked, err := c.x.lock("cancel")
	if err != nil {
		return err
	}
	defer c.x.unlock(locked)
	if err := c.x.enter("cancel"); err != nil {
		return err
	}
	if err := c.x.here("cancel"); err != nil {
		return err
	}
	c.x.end = endCancelled
	runtime.Goexit()
	return nil
}

func (r *run) context(ctx context.Context, x *execution) *Context {
	return &Context{
		Context:   ctx,
		RunID:     r.id,
		URL:       r.url,
		CreatedAt: r.createdAt,
		Header:    r.header.Clone(),
		Labels:    append([]string(nil), r.labels...),
		Retried:   r.retried,
		x:         x,
	}
}
