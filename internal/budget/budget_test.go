package budget

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// unused says that nothing of a budget is in use.
func unused(t *testing.T, b *Budget, size int64) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left != size || b.turn != nil || b.queue.Len() != 0 || b.waiters.Load() != 0 {
		t.Errorf("%d left of %d, turn %v, %d wait", b.left, size, b.turn, b.queue.Len())
	}
}

// Whoever needs more than is left has the turn, one after the other, and others
// that fit are not kept waiting by it.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100)
		some := b.Try(60)
		if some == nil || b.Try(41) != nil {
			t.Fatal("Try")
		}
		shares := make(map[string]*Share)
		var mu sync.Mutex
		wait := func(name string, n int64) {
			go func() {
				s, err := b.Wait(t.Context(), n)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				shares[name] = s
			}()
			synctest.Wait()
		}
		have := func(names ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(shares) != len(names) {
				t.Errorf("%d have a share, want %v", len(shares), names)
			}
			for _, name := range names {
				if shares[name] == nil {
					t.Errorf("%s has none", name)
				}
			}
		}
		wait("larger than all", 1000)
		have("larger than all")
		wait("large", 500)
		wait("half", 50)
		wait("little", 40)
		have("larger than all", "little")
		some.Release()
		some.Release()
		have("larger than all", "little", "half")
		shares["larger than all"].Release()
		have("larger than all", "little", "half", "large")
		for _, s := range shares {
			s.Release()
		}
		(*Share)(nil).Release()
		unused(t, b, 100)
	})
}

// Who gives up waiting leaves nothing behind.
func TestGiveUpWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100)
		all := b.Try(100)
		turn, err := b.Wait(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if s, err := b.Wait(ctx, 1); err != context.DeadlineExceeded || s != nil {
			t.Errorf("got %v, %v", s, err)
		}
		all.Release()
		turn.Release()
		unused(t, b, 100)
	})
}

// Whoever has a share keeps it as long as nobody else wants it, or as it goes on.
func TestPace(t *testing.T) {
	for _, test := range []struct {
		name    string
		rate    int // bytes a second
		waits   bool
		givenUp time.Duration
	}{
		{"slow, nobody waits", 1, false, 0},
		{"quick", Pace + 1, true, 0},
		{"slow", 1000, true, 32 * time.Second},
		{"dead", 0, true, 32 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := New(100)
				small := b.Try(100)
				large, err := b.Wait(t.Context(), 1000)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				var givenUp [2]time.Duration
				for i, s := range []*Share{small, large} {
					s.Watch(func() { givenUp[i] = time.Since(began); go s.Release() })
				}
				if test.waits {
					go func() {
						if s, err := b.Wait(t.Context(), 200); err != nil {
							t.Error(err)
						} else {
							s.Release()
						}
					}()
				}
				for range 300 {
					small.Moved(Pace + 1)
					large.Moved(test.rate)
					time.Sleep(time.Second)
				}
				synctest.Wait()
				if givenUp[0] != 0 || (givenUp[1] == 0) != (test.givenUp == 0) || givenUp[1] > test.givenUp {
					t.Errorf("given up after %v, want the second after %v", givenUp, test.givenUp)
				}
				small.Release()
				large.Release()
				synctest.Wait()
				unused(t, b, 100)
			})
		})
	}
}

// However many want however much, everybody gets it, and never more than the
// budget and one turn are in use.
func TestEverybodyGetsTheirs(t *testing.T) {
	const size = 1000
	b := New(size)
	var inUse, turns atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 100 {
				n := rand.Int64N(1500)
				s := b.Try(n)
				if s == nil {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					var err error
					s, err = b.Wait(ctx, n)
					cancel()
					if err != nil {
						t.Error(err)
						return
					}
				}
				if s.bytes == 0 && n > 0 {
					if turns.Add(1) > 1 {
						t.Error("two have the turn")
					}
				}
				if inUse.Add(s.bytes) > size {
					t.Error("more is in use than there is")
				}
				s.Moved(1)
				inUse.Add(-s.bytes)
				if s.bytes == 0 && n > 0 {
					turns.Add(-1)
				}
				s.Release()
			}
		})
	}
	all.Wait()
	unused(t, b, size)
}
