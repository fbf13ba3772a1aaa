package api

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// limiter lets so many events happen in a window of time for each of many
// keys: all at once, or evenly. It is the generic cell rate algorithm, which
// needs one number for each key: when it will have no event left that counts.
// A key whose time has passed is like one that never came, so that the table
// need not be larger than the keys of one window. If there are more, those that
// have used least are forgotten.
type limiter struct {
	events int
	window int64 // ns
	each   int64 // ns that one event counts for
	seed   maphash.Seed
	began  time.Time
	sets   [limiterSets]limiterSet
}

const (
	limiterSets = 1 << 11
	limiterWays = 8
)

type limiterSet struct {
	mu    sync.Mutex
	slots [limiterWays]limiterSlot
}

type limiterSlot struct {
	key   uint64
	until int64 // ns since began
}

// verdict is what a limiter says of an event.
type verdict struct {
	limit int
	left  int           // further events that may come now
	reset int64         // Unix seconds by which none counts any more
	wait  time.Duration // 0: it may happen; otherwise when to try again
}

// newLimiter makes a limiter; nil for no limit.
func newLimiter(events int, window time.Duration) *limiter {
	if events <= 0 {
		return nil
	}
	return &limiter{
		events: events, window: int64(window), each: max(1, int64(window)/int64(events)),
		seed: maphash.MakeSeed(), began: time.Now(),
	}
}

func (l *limiter) text(s string) uint64 { return maphash.String(l.seed, s) }

func (l *limiter) number(n int64) uint64 { return maphash.Comparable(l.seed, n) }

// addr is the key of an address; a client of IPv6 has all of a /64.
func (l *limiter) addr(a netip.Addr) uint64 {
	if a.Is6() {
		p, _ := a.Prefix(64)
		a = p.Addr()
	}
	return maphash.Comparable(l.seed, a)
}

// take counts an event if it may happen.
func (l *limiter) take(key uint64) verdict { return l.takeOf(key, l.events) }

// takeOf is take for a key that has another number of events in a window.
func (l *limiter) takeOf(key uint64, events int) verdict {
	each := max(1, l.window/int64(events))
	now := time.Now()
	at := int64(now.Sub(l.began))
	set := &l.sets[key%limiterSets]
	set.mu.Lock()
	defer set.mu.Unlock()
	slot := set.find(key)
	until := max(slot.until, at) + each
	v := verdict{limit: events}
	if over := until - at - l.window; over > 0 {
		v.wait, until = time.Duration(over), slot.until
	} else {
		*slot = limiterSlot{key, until}
		v.left = int((l.window - (until - at)) / each)
	}
	v.reset = now.Add(time.Duration(until - at + int64(time.Second) - 1)).Unix()
	return v
}

// wait is how long until an event may happen; 0: now. It counts nothing.
func (l *limiter) wait(key uint64) time.Duration {
	at := int64(time.Since(l.began))
	set := &l.sets[key%limiterSets]
	set.mu.Lock()
	defer set.mu.Unlock()
	for i := range set.slots {
		if set.slots[i].key == key {
			return time.Duration(max(0, set.slots[i].until+l.each-at-l.window))
		}
	}
	return 0
}

// charge counts an event that has happened. However many there were, the key
// is free again after a window.
func (l *limiter) charge(key uint64) {
	at := int64(time.Since(l.began))
	set := &l.sets[key%limiterSets]
	set.mu.Lock()
	defer set.mu.Unlock()
	slot := set.find(key)
	*slot = limiterSlot{key, min(max(slot.until, at)+l.each, at+l.window)}
}

// find is a key's slot, or the one it may take: then the time in it is gone.
func (s *limiterSet) find(key uint64) *limiterSlot {
	least := &s.slots[0]
	for i := range s.slots {
		if slot := &s.slots[i]; slot.key == key {
			return slot
		} else if slot.until < least.until {
			least = slot
		}
	}
	*least = limiterSlot{key: key}
	return least
}
