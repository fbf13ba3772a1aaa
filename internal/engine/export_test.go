package engine

// KeepInMemory makes the dispatcher hold fewer messages than it would, so that
// a test needs fewer to overflow it. Call it before Start.
func (e *Engine) KeepInMemory(n int) { e.queue.size = n }
