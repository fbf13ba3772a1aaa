package api_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
)

// counter counts, by key, who is there at once and when each came.
type counter struct {
	mu       sync.Mutex
	inside   map[string]int
	most     map[string]int
	arrivals map[string][]time.Time
	byID     map[string][]time.Time // of a message's attempts
	done     map[string]int
}

func (rc *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	key := strings.Trim(r.URL.Path, "/")
	id := r.Header.Get("Upstash-Message-Id")
	rc.mu.Lock()
	rc.inside[key]++
	rc.most[key] = max(rc.most[key], rc.inside[key])
	rc.arrivals[key] = append(rc.arrivals[key], now)
	rc.byID[id] = append(rc.byID[id], now)
	again := len(rc.byID[id]) > 1
	rc.mu.Unlock()
	if key == "noise" {
		time.Sleep(50*time.Millisecond + rand.N(200*time.Millisecond))
	} else {
		time.Sleep(rand.N(30 * time.Millisecond))
	}
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.inside[key]--
	if !again && rand.IntN(5) == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	rc.done[key]++
}

// explained says whether arrivals, in order, are those of a rate: whether there are
// windows, none beginning before the last one's period is over, such that each
// arrival was sent in one, no more than rate in any. What is sent in a window may
// arrive when it has ended, by the time it takes to get here.
func explained(times []time.Time, rate int, period, late time.Duration) bool {
	const never = time.Duration(1 << 62)
	// begin[i] is the earliest time that the window of the i-th arrival may have
	// begun at, from the first arrival on.
	begin := make([]time.Duration, len(times)+1)
	begin[0] = -never / 2
	for j := 1; j <= len(times); j++ {
		begin[j] = never
		for i := max(0, j-rate); i < j; i++ {
			at := max(begin[i]+period, times[j-1].Sub(times[0])-period-late)
			if begin[i] != never && at <= times[i].Sub(times[0]) {
				begin[j] = min(begin[j], at)
			}
		}
	}
	return begin[len(times)] != never
}

func TestExplained(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		at   []time.Duration
		want bool
	}{
		{nil, true},
		{[]time.Duration{0, 0, 100 * ms, 101 * ms, 200 * ms}, true},
		{[]time.Duration{90 * ms, 91 * ms, 100 * ms, 101 * ms, 200 * ms}, true}, // the end of one and the beginning of the next
		{[]time.Duration{0, 0, 0, 0, 100 * ms, 100 * ms, 100 * ms, 100 * ms}, false},
		{[]time.Duration{0, 1 * ms, 2 * ms, 3 * ms, 4 * ms}, false},
		{[]time.Duration{0, 30 * ms, 60 * ms, 90 * ms, 120 * ms, 150 * ms, 180 * ms, 210 * ms}, false}, // a bit too fast
		{[]time.Duration{0, 50 * ms, 100 * ms, 150 * ms, 200 * ms, 250 * ms}, true},
		{[]time.Duration{0, 0, 100 * ms, 100 * ms, 204 * ms, 204 * ms, 204 * ms}, true}, // the first of them is late
	} {
		var times []time.Time
		for _, at := range test.at {
			times = append(times, time.UnixMilli(0).Add(at))
		}
		if got := explained(times, 2, 100*ms, 5*ms); got != test.want {
			t.Errorf("%v: %t, want %t", test.at, got, test.want)
		}
	}
}

// Neither bound of a key is ever exceeded where its messages arrive, while the
// server has far more to send than it may send at once, and attempts fail.
//
// At once is exact: an attempt gives its place up when its answer has come.
// Windows are the server's, and what is sent in one may arrive when it has ended:
// by at most the longest time that an attempt took from its start to here.
func TestFlowControlIsNeverExceeded(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, &signpost.Server{Concurrency: 16, RateLimit: -1})
	rc := &counter{inside: map[string]int{}, most: map[string]int{}, arrivals: map[string][]time.Time{}, byID: map[string][]time.Time{}, done: map[string]int{}}
	endpoint := httptest.NewServer(rc)
	defer endpoint.Close()
	const period = 2 * time.Second
	keys := map[string]struct{ parallelism, rate, messages int }{
		"parallel": {3, 0, 120}, "rate": {0, 10, 45}, "both": {4, 12, 45},
	}
	var wg sync.WaitGroup
	for key, k := range keys {
		var parts []string
		if k.parallelism > 0 {
			parts = append(parts, fmt.Sprint("parallelism=", k.parallelism))
		}
		if k.rate > 0 {
			parts = append(parts, fmt.Sprint("rate=", k.rate), fmt.Sprint("period=", period))
		}
		for part := range 3 {
			wg.Go(func() {
				for range k.messages / 3 {
					w.publish(endpoint.URL+"/"+key, fmt.Sprint(part), "Upstash-Flow-Control-Key: "+key,
						"Upstash-Flow-Control-Value: "+strings.Join(parts, ","), "Upstash-Retry-Delay: 20")
				}
			})
		}
	}
	wg.Go(func() {
		for range 300 {
			w.publish(endpoint.URL+"/noise", "")
		}
	})
	wg.Wait()
	for key, k := range keys {
		w.untilWithin(time.Minute, "the messages of "+key+" have come", func() bool {
			rc.mu.Lock()
			defer rc.mu.Unlock()
			return rc.done[key] == k.messages
		})
		w.until("they are delivered", func() bool {
			return len(get[client.EventsPage](w, "/v2/events?count=1000&state=DELIVERED&flowControlKey="+key).Events) == k.messages
		})
	}
	var active []client.Event
	for key := range keys {
		active = append(active, get[client.EventsPage](w, "/v2/events?count=1000&state=ACTIVE&flowControlKey="+key).Events...)
	}
	rc.mu.Lock()
	defer rc.mu.Unlock()
	var slowest time.Duration
	for _, ev := range active {
		started, times := time.UnixMilli(ev.Time), rc.byID[ev.MessageID]
		if at, _ := slices.BinarySearchFunc(times, started, time.Time.Compare); at < len(times) {
			slowest = max(slowest, times[at].Sub(started))
		}
	}
	if slowest > period/2 {
		t.Fatalf("an attempt took %v to get here: that is too long to tell windows of %v apart", slowest, period)
	}
	for key, k := range keys {
		times := rc.arrivals[key]
		slices.SortFunc(times, time.Time.Compare)
		if k.parallelism > 0 && rc.most[key] > k.parallelism {
			t.Errorf("%s: %d at once, at most %d are allowed", key, rc.most[key], k.parallelism)
		}
		if k.rate > 0 && !explained(times, k.rate, period, slowest) {
			t.Errorf("%s: more than %d in a window of %v: %v", key, k.rate, period, times)
		}
		long := times[len(times)-1].Sub(times[0])
		if most := time.Duration(len(times)/max(1, k.rate)+2) * period; k.rate > 0 && long > most {
			t.Errorf("%s: %d took %v, the rate is not reached", key, len(times), long)
		}
		t.Logf("%s: %d at once, %d arrived in %v", key, rc.most[key], len(times), long)
	}
	t.Logf("the slowest took %v", slowest)
}
