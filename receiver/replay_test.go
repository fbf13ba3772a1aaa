package receiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func newMemoryCache(max int, now *time.Time) *MemoryReplayCache {
	m := NewMemoryReplayCache(max)
	m.now = func() time.Time { return *now }
	return m
}

// TestT02ConcurrentReplays sends each of some requests many times at once: the
// handler runs once for each.
func TestT02ConcurrentReplays(t *testing.T) {
	now := instant
	rc := newReceiver(t, Options{Replay: newMemoryCache(0, &now)})
	const requests, copies = 20, 16
	var runs [requests]atomic.Int32
	var refused atomic.Int32
	handler := rc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var i int
		c, _ := ClaimsFromContext(r.Context())
		if _, err := fmt.Sscanf(c.ID, "jwt_%d", &i); err != nil {
			t.Error(err)
		}
		runs[i].Add(1)
	}))
	var wg sync.WaitGroup
	for i := range requests {
		token := mustSign(t, currentKey, SignOptions{ID: fmt.Sprintf("jwt_%d", i)})
		for range copies {
			wg.Go(func() {
				r := httptest.NewRequest("POST", hookURL, bytes.NewReader(hookBody))
				r.Header.Set(Header, token)
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					refused.Add(1)
					checkRefusal(t, w, "request replayed")
				}
			})
		}
	}
	wg.Wait()
	for i := range runs {
		if n := runs[i].Load(); n != 1 {
			t.Errorf("request %d ran %d times", i, n)
		}
	}
	if n := refused.Load(); n != requests*(copies-1) {
		t.Errorf("%d refused", n)
	}
}

// TestT02RetryPasses lets a handler fail: the server's next attempt has a new id.
func TestT02RetryPasses(t *testing.T) {
	now := instant
	rc := newReceiver(t, Options{Replay: newMemoryCache(0, &now)})
	runs := 0
	handler := rc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if runs++; runs == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	first := mustSign(t, currentKey, SignOptions{Attempt: 0, Kind: KindMessage})
	second := mustSign(t, currentKey, SignOptions{Attempt: 1, Kind: KindMessage})
	for _, step := range []struct {
		token  string
		status int
	}{{first, 500}, {first, 401}, {second, 200}, {second, 401}, {first, 401}} {
		r := httptest.NewRequest("POST", hookURL, bytes.NewReader(hookBody))
		r.Header.Set(Header, step.token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != step.status {
			t.Errorf("status %d, want %d", w.Code, step.status)
		}
	}
	if runs != 2 {
		t.Errorf("the handler ran %d times", runs)
	}
}

// spyCache tells what it was asked.
type spyCache struct {
	ids   []string
	until time.Time
	err   error
}

func (s *spyCache) Use(_ context.Context, id string, until time.Time) (bool, error) {
	s.ids, s.until = append(s.ids, id), until
	return true, s.err
}

// TestT02RefusedRequestsAreNotRemembered: nobody without a key fills the cache, and
// a request that was refused may come again as it was meant.
func TestT02RefusedRequestsAreNotRemembered(t *testing.T) {
	header := http.Header{"Upstash-Retried": {"0"}}
	good := mustSign(t, currentKey, SignOptions{ID: "jwt_1", Header: header})
	tests := []struct {
		name string
		r    Request
		want error
	}{
		{"foreign key", Request{Signature: mustSign(t, otherKey, SignOptions{}), URL: hookURL, Body: hookBody}, ErrBadSignature},
		{"other URL", Request{Signature: good, URL: "https://a.example/", Body: hookBody}, ErrURLMismatch},
		{"other header", Request{Signature: good, URL: hookURL, Body: hookBody, Header: http.Header{"Upstash-Retried": {"1"}}}, ErrHeaderMismatch},
		{"other body", Request{Signature: good, URL: hookURL, Body: []byte("x"), Header: header}, ErrBodyMismatch},
		{"expired", Request{Signature: mustSign(t, currentKey, SignOptions{Time: instant.Add(-time.Hour)}), URL: hookURL, Body: hookBody}, ErrExpired},
		{"without an id", Request{Signature: seal(currentKey, standardHeader, standardClaims(claimMap{"jti": nil})), URL: hookURL, Body: hookBody}, ErrMalformed},
		{"with an empty id", Request{Signature: seal(currentKey, standardHeader, standardClaims(claimMap{"jti": ""})), URL: hookURL, Body: hookBody}, ErrMalformed},
	}
	spy := &spyCache{}
	rc := newReceiver(t, Options{Replay: spy, ClockTolerance: time.Minute})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := rc.Verify(tt.r); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if len(spy.ids) != 0 {
				t.Errorf("the cache was asked for %q", spy.ids)
			}
		})
	}
	c, err := rc.Verify(Request{Signature: good, URL: hookURL, Body: hookBody, Header: header})
	if err != nil || len(spy.ids) != 1 || spy.ids[0] != c.ID || !spy.until.Equal(c.ExpiresAt.Add(time.Minute)) {
		t.Errorf("the cache was asked for %q until %v, error %v", spy.ids, spy.until, err)
	}
}

// TestT02CacheFailure refuses when the cache fails, and asks for another try.
func TestT02CacheFailure(t *testing.T) {
	spy := &spyCache{err: errors.New("connection to 10.0.0.7 refused")}
	var refusal error
	rc := newReceiver(t, Options{Replay: spy, OnRefusal: func(_ *http.Request, err error) { refusal = err }})
	w := httptest.NewRecorder()
	rc.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the handler ran")
	})).ServeHTTP(w, signedRequest(t, currentKey, SignOptions{}, bytes.NewReader(hookBody)))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "10" || w.Header().Get(KeysHeader) != "" {
		t.Errorf("status %d, header %v", w.Code, w.Header())
	}
	checkRefusal(t, w, "verification unavailable")
	if !errors.Is(refusal, ErrUnavailable) || refusal.Error() != "verification unavailable: replay cache: connection to 10.0.0.7 refused" {
		t.Errorf("refusal %v", refusal)
	}
}

// slowBody ends when the clock has gone on.
type slowBody struct {
	io.Reader
	end func()
}

func (s slowBody) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err == io.EOF {
		s.end()
	}
	return n, err
}

// TestT02SlowBody holds back the end of replayed bodies until the token has
// expired and its id may be forgotten.
func TestT02SlowBody(t *testing.T) {
	now := instant
	late := func() { now = instant.Add(time.Hour) }
	token := mustSign(t, currentKey, SignOptions{})
	for name, cache := range map[string]ReplayCache{"cache": newMemoryCache(0, &now), "no cache": nil} {
		rc := newReceiver(t, Options{Replay: cache})
		rc.now = func() time.Time { return now }
		for i := range 3 {
			now = instant
			r := httptest.NewRequest("POST", hookURL, slowBody{bytes.NewReader(hookBody), late})
			r.Header.Set(Header, token)
			if _, _, err := rc.VerifyRequest(r); !errors.Is(err, ErrExpired) {
				t.Errorf("%s, replay %d: error %v", name, i, err)
			}
			now = instant
			read := func() ([]byte, error) { late(); return hookBody, nil }
			if _, err := rc.Verify(Request{Signature: token, URL: hookURL, ReadBody: read}); !errors.Is(err, ErrExpired) {
				t.Errorf("%s, replay %d of what is no http.Request: error %v", name, i, err)
			}
		}
	}
}

// TestT02MemoryCacheAgainstModel compares the cache with one that never forgets.
func TestT02MemoryCacheAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	now := instant
	m := newMemoryCache(200, &now)
	until := map[string]time.Time{} // of ids that were fresh
	accepted, full := 0, 0
	for range 20000 {
		now = now.Add(time.Duration(random.IntN(800)) * time.Millisecond)
		id := fmt.Sprint(random.IntN(2000))
		expires, again := until[id]
		if !again || random.IntN(4) == 0 {
			expires = now.Add(time.Duration(random.IntN(400)-20) * time.Second)
		}
		fresh, err := m.Use(t.Context(), id, expires)
		if m.count > 200 {
			t.Fatalf("%d ids", m.count)
		}
		if err != nil {
			full++
			if fresh {
				t.Fatal("fresh, with an error")
			}
			continue
		}
		if fresh && (now.Before(until[id]) || !now.Before(expires)) {
			t.Fatalf("%s is fresh at %v until %v; it was before until %v", id, now, expires, until[id])
		}
		if fresh {
			accepted++
			until[id] = expires
		}
	}
	if accepted < 1000 || full < 100 {
		t.Errorf("%d ids accepted, %d times full: the test tests nothing", accepted, full)
	}
}

// TestT02MemoryCacheIsBounded fills a cache: it refuses, forgets nothing, and has
// room again when ids have expired.
func TestT02MemoryCacheIsBounded(t *testing.T) {
	now := instant
	const most = 1000
	m := newMemoryCache(most, &now)
	use := func(id string) (bool, error) { return m.Use(t.Context(), id, now.Add(5*time.Minute)) }
	for i := range most {
		if fresh, err := use(fmt.Sprint(i)); !fresh || err != nil {
			t.Fatalf("id %d: %v, %v", i, fresh, err)
		}
	}
	if fresh, err := use("one more"); fresh || err == nil {
		t.Errorf("beyond the limit: %v, %v", fresh, err)
	}
	if fresh, err := use("0"); fresh || err != nil {
		t.Errorf("a known one: %v, %v", fresh, err)
	}
	now = now.Add(7 * time.Minute)
	if fresh, err := use("one more"); !fresh || err != nil {
		t.Errorf("later: %v, %v", fresh, err)
	}
	if m.count != 1 || len(m.periods) != 1 {
		t.Errorf("%d ids in %d periods", m.count, len(m.periods))
	}
}

func TestMemoryCacheBytesPerID(t *testing.T) {
	now := instant
	const ids = 1 << 17
	m := newMemoryCache(ids, &now)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range ids {
		if _, err := m.Use(t.Context(), fmt.Sprint(i), now.Add(time.Duration(i%300)*time.Second+time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := float64(after.HeapAlloc-before.HeapAlloc) / ids
	t.Logf("%.1f bytes per id", per)
	if per < 16 || per > 44 {
		t.Errorf("%.1f bytes per id", per)
	}
	runtime.KeepAlive(m)
}

func BenchmarkMemoryReplayCache(b *testing.B) {
	m := NewMemoryReplayCache(1 << 30)
	now := time.Now()
	id := make([]byte, 32)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for j := range 4 {
			id[j] = byte(i >> (8 * j))
		}
		if _, err := m.Use(b.Context(), string(id), now.Add(time.Duration(i%300+60)*time.Second)); err != nil {
			b.Fatal(err)
		}
	}
}
