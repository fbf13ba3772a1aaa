package receiver

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"
)

// A ReplayCache remembers the ids of requests, so that each is accepted once. See
// [NewMemoryReplayCache], and package sqlreplay for receivers that share one.
type ReplayCache interface {
	// Use records id until a point in time, and says whether it was new. Of any
	// number of calls with one id, in whatever order and at the same time, one
	// alone gets true, and none where until has passed. After that the id may be
	// forgotten. An error refuses the request: a cache that cannot record an id
	// must not say that it is fresh, and one that is full must not forget another
	// id for it.
	Use(ctx context.Context, id string, until time.Time) (fresh bool, err error)
}

// refuseReplay is the last of all checks, so that only senders with a key can fill
// the cache, and that a request which is refused may come again. The times are
// checked once more: reading the body may have taken long. Whoever repeats a request
// could hold its last byte back for hours, and what has expired meanwhile is
// forgotten by the cache.
func (rc *Receiver) refuseReplay(ctx context.Context, c Claims) error {
	if err := checkTimes(c, rc.now(), rc.opts.ClockTolerance); err != nil {
		return err
	}
	if rc.opts.Replay == nil {
		return nil
	}
	if c.ID == "" {
		return malformed("jti", "claim jti is missing, and Options.Replay is set")
	}
	fresh, err := rc.opts.Replay.Use(ctx, c.ID, c.ExpiresAt.Add(rc.opts.ClockTolerance))
	switch {
	case err != nil:
		return unavailable("replay cache: " + err.Error())
	case !fresh:
		return &VerifyError{Err: ErrReplayed, Field: "jti", Got: clip(c.ID), Reason: "its id was seen before"}
	}
	return nil
}

const (
	defaultReplayIDs = 1 << 20
	replayPeriod     = time.Minute
)

// A MemoryReplayCache is a [ReplayCache] for one process. It is safe for
// concurrent use. What it knows is gone with the process: a request that came
// before a restart may come once more after it, within its token's five minutes.
type MemoryReplayCache struct {
	mu      sync.Mutex
	max     int
	count   int                             // of ids in all periods
	periods map[int64]map[replayID]struct{} // by the minute in which their ids expire
	oldest  int64                           // periods before this one are forgotten
	now     func() time.Time
}

// A replayID stands for an id: half of its SHA-256.
type replayID [16]byte

// NewMemoryReplayCache returns a cache for at most max ids; 0 is for 1,048,576. It
// takes 20 to 40 bytes for each id it holds, and holds an id until a minute
// after its token expires, which is about six minutes: the default is enough for
// 2,900 requests a second and takes at most 40 MiB. When it is full it forgets
// nothing and refuses new ids with an error, so that it never lets a replay
// through.
func NewMemoryReplayCache(max int) *MemoryReplayCache {
	if max <= 0 {
		max = defaultReplayIDs
	}
	return &MemoryReplayCache{max: max, periods: map[int64]map[replayID]struct{}{}, now: time.Now}
}

// Use implements [ReplayCache]. It takes a look into each period for which there
// are ids, of which there are six with the tokens of a server.
func (m *MemoryReplayCache) Use(_ context.Context, id string, until time.Time) (fresh bool, err error) {
	sum := sha256.Sum256([]byte(id))
	key := replayID(sum[:])
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget()
	period := periodOf(until)
	// Where the clock was set back, ids may come for which there is no memory.
	if period < m.oldest || !m.now().Before(until) {
		return false, nil
	}
	for _, ids := range m.periods {
		if _, seen := ids[key]; seen {
			return false, nil
		}
	}
	if m.count >= m.max {
		return false, fmt.Errorf("full: all of %d ids are of requests whose tokens are valid, or were a minute ago", m.max)
	}
	if m.periods[period] == nil {
		m.periods[period] = map[replayID]struct{}{}
	}
	m.periods[period][key] = struct{}{}
	m.count++
	return true, nil
}

// forget drops the periods that have passed, each at once.
func (m *MemoryReplayCache) forget() {
	now := periodOf(m.now())
	for period, ids := range m.periods {
		if period < now {
			m.count -= len(ids)
			delete(m.periods, period)
			m.oldest = max(m.oldest, period+1)
		}
	}
}

func periodOf(t time.Time) int64 { return t.Unix() / int64(replayPeriod/time.Second) }
