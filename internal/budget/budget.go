// Package budget bounds the memory that many have of one kind.
package budget

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// While others wait, whoever has a share must go on at this pace.
const (
	Grace = 30 * time.Second
	Pace  = 32 << 10 // bytes per second
)

// Budget is memory to share. Those who need more than is left wait for their
// turn: one at a time may have as much as it wants, whatever the others hold.
// So there is always one that can go on, and it is never more than the budget
// and what one needs.
type Budget struct {
	waiters atomic.Int64

	mu    sync.Mutex
	left  int64
	turn  *Share    // who has it
	queue list.List // of *waiter
}

type waiter struct {
	share *Share
	bytes int64
	ready chan struct{}
}

// New makes a budget of so many bytes.
func New(bytes int64) *Budget { return &Budget{left: bytes} }

// Share is what one has of a budget. The zero value has nothing, and can be
// released.
type Share struct {
	budget *Budget
	bytes  int64 // of what was left
	since  time.Time
	moved  atomic.Int64

	mu       sync.Mutex
	watch    *time.Timer
	released bool
}

// Try gives a share of n bytes if there is as much left; nil otherwise.
func (b *Budget) Try(n int64) *Share {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < n {
		return nil
	}
	s := &Share{budget: b, bytes: n, since: time.Now()}
	b.left -= n
	return s
}

// Wait gives a share of n bytes when there is as much left, or when the turn
// comes. Whoever came first has the turn first.
func (b *Budget) Wait(ctx context.Context, n int64) (*Share, error) {
	w := &waiter{share: &Share{budget: b}, bytes: n, ready: make(chan struct{})}
	b.mu.Lock()
	at := b.queue.PushBack(w)
	b.waiters.Add(1)
	b.grant()
	b.mu.Unlock()
	select {
	case <-w.ready:
		return w.share, nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready: // just now
		return w.share, nil
	default:
	}
	b.queue.Remove(at)
	b.waiters.Add(-1)
	return nil, ctx.Err()
}

// grant gives those who wait what there is.
func (b *Budget) grant() {
	for at := b.queue.Front(); at != nil && (b.left > 0 || b.turn == nil); {
		w, next := at.Value.(*waiter), at.Next()
		switch {
		case w.bytes <= b.left:
			w.share.bytes = w.bytes
			b.left -= w.bytes
		case b.turn == nil:
			b.turn = w.share
		default:
			at = next
			continue
		}
		b.queue.Remove(at)
		b.waiters.Add(-1)
		w.share.since = time.Now()
		close(w.ready)
		at = next
	}
}

// Wanted says whether anybody waits.
func (b *Budget) Wanted() bool { return b.waiters.Load() > 0 }

// Turn says whether it is the turn, which has no bounds.
func (s *Share) Turn() bool {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return s.budget.turn == s
}

// Watch calls giveUp once, and no later than the release, if the share is in
// use for longer than Grace, others wait, and less than Pace is moved.
func (s *Share) Watch(giveUp func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.released {
		s.watch = time.AfterFunc(time.Until(s.since.Add(Grace)), func() { s.check(giveUp) })
	}
}

func (s *Share) check(giveUp func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.released:
	case s.budget.Wanted() && float64(s.moved.Load()) < Pace*(time.Since(s.since)-Grace).Seconds():
		giveUp()
	default:
		s.watch.Reset(time.Second)
	}
}

// Moved says that n more bytes have come, or gone. A nil share is none.
func (s *Share) Moved(n int) {
	if s != nil {
		s.moved.Add(int64(n))
	}
}

// Release gives the share back; once is enough. A nil share is none.
func (s *Share) Release() {
	if s == nil || s.over() {
		return
	}
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += s.bytes
	if b.turn == s {
		b.turn = nil
	}
	b.grant()
}

// over says whether it was released before, and is from now on.
func (s *Share) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released {
		return true
	}
	s.released = true
	if s.watch != nil {
		s.watch.Stop()
	}
	return false
}
