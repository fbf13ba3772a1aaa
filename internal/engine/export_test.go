package engine

import "context"

// KeepInMemory makes the dispatcher hold fewer messages than it would, so that
// a test needs fewer to overflow it. Call it before Start.
func (e *Engine) KeepInMemory(n int) { e.queue.size = n }

// KnownTokens says how many tokens are held in memory.
func (e *Engine) KnownTokens() int {
	e.callers.mu.RLock()
	defer e.callers.mu.RUnlock()
	return len(e.callers.known)
}

// PublishTo publishes as another rule does, inside its own change.
func (e *Engine) PublishTo(ctx context.Context, who *Caller, p *Publish) (out []Published, err error) {
	err = e.update(ctx, func(c *change) (err error) {
		out, err = c.publishTo(who, p)
		return err
	})
	return out, err
}
