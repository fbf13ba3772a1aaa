package deliver

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/signposthq/signpost/internal/budget"
)

// What responses may take of memory. An attempt has a little by itself, which
// is enough for nearly all; the rest all attempts share, however many there are.
const (
	ownBody    = 2 << 10 // of a response's body
	ownHeaders = 4 << 10 // of its headers, counted as headConn does
	sharedMost = 4 << 20
	sparedMost = 2 << 20 // of buffers that are given back
)

// errTooSlow is why a response is given up that others wait for.
var errTooSlow = fmt.Errorf("response too slow: less than %d bytes per second, while others wait for the memory it takes", budget.Pace)

var errReleased = errors.New("the attempt is over")

// memory is what attempts share. Who needs more than is left waits for the
// turn: one attempt at a time that may have as much as it wants. So there is
// always one that can go on, whatever the others hold.
type memory struct {
	left    atomic.Int64
	turns   *budget.Budget // of nothing
	spare   []byte         // of whoever has the turn, used again by the next
	buffers buffers
}

// buffers are those that others have given back. What many large responses would
// leave behind otherwise takes more memory than they do, until it is collected.
type buffers struct {
	mu   sync.Mutex
	free [33][][]byte // by the power of two that is their size
	held int64
}

// get is a buffer of n bytes at least.
func (b *buffers) get(n int64) []byte {
	class := bits.Len64(uint64(n - 1))
	b.mu.Lock()
	defer b.mu.Unlock()
	free := b.free[class]
	if len(free) == 0 {
		return make([]byte, 1<<class)
	}
	last := len(free) - 1
	buf := free[last]
	free[last], b.free[class] = nil, free[:last]
	b.held -= int64(len(buf))
	return buf
}

// put takes one of get back.
func (b *buffers) put(buf []byte) {
	if len(buf) == 0 {
		return
	}
	class := bits.Len64(uint64(len(buf) - 1))
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held+int64(len(buf)) <= sparedMost {
		b.free[class] = append(b.free[class], buf)
		b.held += int64(len(buf))
	}
}

func newMemory() *memory {
	m := &memory{turns: budget.New(0)}
	m.left.Store(sharedMost)
	return m
}

// lease is what one attempt has of the memory, until it is released.
type lease struct {
	memory *memory

	mu       sync.Mutex // the reader of a connection takes, too
	taken    int64
	refused  error // why a connection of the attempt was given up
	released bool
	turn     *budget.Share // nil: it has not the turn
	buffer   []byte        // what grow gave last, of memory.buffers
}

func (m *memory) lease() *lease { return &lease{memory: m} }

// take says whether there was as much left.
func (l *lease) take(n int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return false
	}
	if l.memory.left.Add(-n) < 0 {
		l.memory.left.Add(n)
		return false
	}
	l.taken += n
	return true
}

// grow is a buffer for n bytes with those of buf, which is not used any more.
func (l *lease) grow(buf []byte, n int64) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return append(make([]byte, 0, n), buf...) // nobody would give it back
	}
	before := l.buffer
	l.buffer = l.memory.buffers.get(n)
	grown := append(l.buffer[:0:n], buf...)
	l.memory.buffers.put(before)
	return grown
}

// refuse keeps the reason for giving up a connection, which net/http wraps into
// others, or loses.
func (l *lease) refuse(why error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = why
	return why
}

func (l *lease) refusal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// await waits for the turn, and returns a buffer of n bytes that is the
// lease's. While it has the turn and others wait, giveUp is called if what the
// attempt reads comes too slowly.
func (l *lease) await(ctx context.Context, n int64, giveUp func()) ([]byte, error) {
	m := l.memory
	turn, err := m.turns.Wait(ctx, n)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		turn.Release()
		return nil, errReleased
	}
	if int64(cap(m.spare)) < n {
		m.spare = make([]byte, n)
	}
	l.turn = turn
	turn.Watch(giveUp)
	return m.spare[:n], nil
}

// release gives everything back. What was read must not be used after it.
func (l *lease) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return
	}
	l.released = true
	l.memory.left.Add(l.taken)
	l.memory.buffers.put(l.buffer)
	l.buffer = nil
	if l.turn != nil && !l.memory.turns.Wanted() {
		l.memory.spare = nil
	}
	l.turn.Release()
}
