package engine

import (
	"context"
	"time"
)

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

// Keep keeps n events for a run, or calls of a webhook, as if they had come one by
// one.
func (e *Engine) Keep(ctx context.Context, run *Run, n int, kind WaitKind, event string, body []byte) error {
	return e.update(ctx, func(c *change) error {
		for range n {
			note := &Note{Seq: c.seq(), Tenant: run.Tenant, Run: run.Seq, Kind: kind, Event: event, Body: body}
			if err := c.tx.InsertNote(note); err != nil {
				return err
			}
		}
		return nil
	})
}

// Index makes the index write segments of so many rows, and read so many of a
// table at a time. Call it before Start.
func (e *Engine) Index(segment, step int) { e.index.segment, e.index.step = segment, step }

// IndexMore takes the next rows in, as is else done in the background.
func (e *Engine) IndexMore() (more bool, err error) {
	more, _, err = e.indexMore(context.Background())
	return more, err
}

// Hurry makes lists answer what they have after every look.
func (e *Engine) Hurry() { e.listTime, e.listLooks = -time.Second, -1 }

// Purge deletes what has outlived its retention.
func (e *Engine) Purge() error { return e.purge(context.Background()) }

// EventsOf are the events of a message's settlement; nil: of its creation.
func EventsOf(m *Message, s *Settlement) []Event {
	if s == nil {
		return []Event{createdEvent(m)}
	}
	return settlementEvents(m, s)
}

// MatchedBy says whether a filter selects an event for a caller.
func (ev *Event) MatchedBy(f *EventFilter, who *Caller) bool {
	own := *f
	own.Message.within = who.Token.URLPrefix
	return own.matches(ev)
}

// MatchedBy says whether a filter selects a DLQ entry for a caller.
func (d *DeadMessage) MatchedBy(f *DLQFilter, who *Caller) bool {
	own := *f
	own.Message.within = who.Token.URLPrefix
	return own.matches(d)
}

// MatchedBy says whether a filter selects a run for a caller.
func (r *Run) MatchedBy(f *RunFilter, who *Caller) bool {
	own := *f
	own.within = who.Token.URLPrefix
	return own.matches(r)
}
