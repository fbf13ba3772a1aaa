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

// Neither bound of a key is ever exceeded where its messages arrive, while the
// server has far more to send than it may send at once, and attempts fail.
//
// At once is exact: an attempt gives its place up when its answer has come.
// A window is as exact as the way to the receiver takes: what is sent in one
// window may arrive in the next. So windows are looked at that are shorter than
// the period by the longest time that an attempt took from its start to here.
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
		var counts []int
		var start time.Time
		for _, at := range times {
			if len(counts) == 0 || at.Sub(start) >= period-slowest {
				start, counts = at, append(counts, 0)
			}
			counts[len(counts)-1]++
		}
		if k.rate > 0 && slices.Max(counts) > k.rate {
			t.Errorf("%s: %v in windows of %v, at most %d are allowed", key, counts, period-slowest, k.rate)
		}
		if k.rate > 0 && slices.Max(counts) < k.rate {
			t.Errorf("%s: %v in windows of %v: the rate is not reached", key, counts, period)
		}
		t.Logf("%s: %d at once, %d arrived, windows of %v", key, rc.most[key], len(times), counts)
	}
	t.Logf("the slowest took %v", slowest)
}
