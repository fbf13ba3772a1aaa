package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestJWKS(t *testing.T) {
	a, b := newEd25519Signer(t, 1), newEd25519Signer(t, 2)
	data := JWKS(a.PublicKey(), b.PublicKey())
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(data, &set); err != nil || len(set.Keys) != 2 {
		t.Fatalf("%s: error %v", data, err)
	}
	if k := set.Keys[0]; k["kty"] != "OKP" || k["crv"] != "Ed25519" || k["kid"] != a.KeyID() || k["use"] != "sig" || k["alg"] != "EdDSA" || len(k) != 6 {
		t.Errorf("key %v", k)
	}
	keys, err := parseJWKS(data)
	if err != nil || len(keys) != 2 || !keys[b.KeyID()].Equal(b.PublicKey()) {
		t.Errorf("keys %v, error %v", keys, err)
	}
	if got := string(JWKS()); got != `{"keys":[]}` {
		t.Errorf("no keys are %s", got)
	}
}

func TestParseJWKS(t *testing.T) {
	const x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
	const print = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
	key := func(more string) string { return `{"kty":"OKP","crv":"Ed25519","x":"` + x + `"` + more + `}` }
	set := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
	tests := []struct {
		name, data string
		want       string // ids; "" is a refusal
	}{
		{"plain", set(key(`,"kid":"a"`)), "a"},
		{"without kid", set(key("")), print},
		{"use and alg", set(key(`,"kid":"a","use":"sig","alg":"EdDSA"`)), "a"},
		{"other members", set(key(`,"kid":"a","key_ops":["verify"],"x5c":["MII="],"x5u":"https://a.example"`)), "a"},
		{"other keys are passed over", set(`{"kty":"RSA","kid":"r","n":"x","e":"AQAB"}`, `{"kty":"OKP","crv":"X25519","kid":"x","x":"AA"}`, key(`,"kid":"e","use":"enc"`), key(`,"kid":"h","alg":"HS256"`), key(`,"kid":"a"`)), "a"},
		{"two ids for one key", set(key(`,"kid":"a"`), key(`,"kid":"b"`)), "a,b"},
		{"members beside keys", `{"next":"https://a.example/2","keys":[` + key(`,"kid":"a"`) + `]}`, "a"},

		{"empty", "", ""},
		{"not JSON", "keys", ""},
		{"a list", "[]", ""},
		{"no keys", "{}", ""},
		{"keys of null", `{"keys":null}`, ""},
		{"keys is an object", `{"keys":{}}`, ""},
		{"keys twice", `{"keys":[],"keys":[` + key("") + `]}`, ""},
		{"empty set", set(), ""},
		{"only others", set(`{"kty":"RSA","n":"x","e":"AQAB"}`), ""},
		{"a tail", set(key("")) + "{}", ""},
		{"key is text", set(`"x"`), ""},
		{"x twice", set(`{"kty":"OKP","crv":"Ed25519","x":"AA","x":"` + x + `"}`), ""},
		{"kid twice", set(key(`,"kid":"a","kid":"b"`)), ""},
		{"same kid", set(key(`,"kid":"a"`), key(`,"kid":"a"`)), ""},
		{"kid is a number", set(key(`,"kid":1`)), ""},
		{"empty kid", set(key(`,"kid":""`)), ""},
		{"kid that would add to a header", set(key(`,"kid":"a; next=b"`)), ""},
		{"private part", set(key(`,"kid":"a","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"`)), ""},
		{"no x", set(`{"kty":"OKP","crv":"Ed25519"}`), ""},
		{"short x", set(`{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`), ""},
		{"padded x", set(`{"kty":"OKP","crv":"Ed25519","x":"` + x + `="}`), ""},
		{"x with a line break", set(`{"kty":"OKP","crv":"Ed25519","x":"` + x[:20] + `\n` + x[20:] + `"}`), ""},
		{"x with a stray bit", set(`{"kty":"OKP","crv":"Ed25519","x":"` + strayBit(x[:42]+"p") + `"}`), ""},
		{"zeros", set(`{"kty":"OKP","crv":"Ed25519","x":"` + strings.Repeat("A", 43) + `"}`), ""},
		{"33 keys", set(strings.Split(strings.Repeat(key("")+"|", 33), "|")[:33]...), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			keys, err := parseJWKS([]byte(tt.data))
			if got := strings.Join(keys.ids(), ","); got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("keys %q, error %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestKeySetURL(t *testing.T) {
	for url, good := range map[string]bool{
		"https://signpost.example.com/.well-known/jwks.json": true, "https://a.example:8443/x?tenant=1": true,
		"http://127.0.0.1:8080/jwks.json": true, "http://[::1]/": true, "http://localhost:1/": true, "http://127.9.9.9/": true,
		"http://signpost.example.com/": false, "http://localhost.example.com/": false, "http://10.0.0.7/": false, "http://127.0.0.1.example.com/": false,
		"": false, "https://": false, "/jwks.json": false, "ftp://127.0.0.1/": false, "file:///etc/jwks.json": false,
		"https://user:password@a.example/": false, "https://a.example/#x": false, "https://a.example:password/": false, "https://a.example/%zz": false,
	} {
		_, err := NewKeySet(url, nil)
		if (err == nil) != good || err != nil && strings.Contains(err.Error(), "password") {
			t.Errorf("%q: error %v", url, err)
		}
	}
}

// publisher is a server of a key set, without a network.
type publisher struct {
	mu      sync.Mutex
	keys    []*Ed25519Signer
	control string // Cache-Control
	status  int    // 0: 200
	takes   time.Duration
	err     error
	asked   int
}

func (p *publisher) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.asked++
	takes := p.takes
	p.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, p.err
	}
	w := httptest.NewRecorder()
	w.Header().Set("Cache-Control", p.control)
	if p.status != 0 {
		w.WriteHeader(p.status)
	}
	var o Options
	for _, s := range p.keys {
		o.PublicKeys = append(o.PublicKeys, s.PublicKey())
	}
	if _, err := w.Write(JWKS(o.PublicKeys...)); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func (p *publisher) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *publisher) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// subscribed is a receiver with p's key set.
func subscribed(t *testing.T, p *publisher) *Receiver {
	t.Helper()
	set, err := NewKeySet("https://signpost.example.com"+JWKSPath, &http.Client{Transport: p})
	if err != nil {
		t.Fatal(err)
	}
	rc, err := New(Options{KeySet: set})
	if err != nil {
		t.Fatal(err)
	}
	return rc
}

func verifyNow(t *testing.T, rc *Receiver, s *Ed25519Signer) error {
	t.Helper()
	_, err := rc.Verify(Request{Signature: mustSignEd25519(t, s, SignOptions{Time: time.Now()}), URL: hookURL, Body: hookBody})
	return err
}

func TestKeySetIsKept(t *testing.T) {
	for control, kept := range map[string]time.Duration{
		"":                                10 * time.Minute,
		"public, max-age=120":             2 * time.Minute,
		`Public, Max-Age="3600"`:          time.Hour,
		"max-age=1":                       30 * time.Second,
		"max-age=0":                       30 * time.Second,
		"max-age=99999999":                24 * time.Hour,
		"max-age=-1":                      30 * time.Second,
		"max-age=x":                       30 * time.Second,
		"no-store":                        30 * time.Second,
		"must-revalidate, s-maxage=5":     10 * time.Minute,
		"max-age=99999999999999999999999": 30 * time.Second,
	} {
		t.Run(control, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newEd25519Signer(t, 1)
				p := &publisher{keys: []*Ed25519Signer{s}, control: control}
				rc := subscribed(t, p)
				for _, step := range []struct {
					after time.Duration
					asked int
				}{{0, 1}, {kept - time.Second, 1}, {2 * time.Second, 2}, {kept - time.Second, 2}} {
					time.Sleep(step.after)
					if err := verifyNow(t, rc, s); err != nil || p.count() != step.asked {
						t.Errorf("after %v: fetched %d times, error %v", step.after, p.count(), err)
					}
				}
			})
		})
	}
}

// TestKeySetRotation: a new key is found as soon as it is used, an old one is gone
// when the set is fetched again.
func TestKeySetRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newEd25519Signer(t, 1), newEd25519Signer(t, 2)
		p := &publisher{keys: []*Ed25519Signer{first}}
		rc := subscribed(t, p)
		if err := verifyNow(t, rc, first); err != nil {
			t.Fatal(err)
		}
		p.change(func() { p.keys = []*Ed25519Signer{second} })
		if err := verifyNow(t, rc, first); err != nil {
			t.Errorf("the old key, within its time: %v", err)
		}
		time.Sleep(fetchPause)
		if err := verifyNow(t, rc, second); err != nil || p.count() != 2 {
			t.Errorf("the new key: fetched %d times, error %v", p.count(), err)
		}
		if err := verifyNow(t, rc, first); !errors.Is(err, ErrBadSignature) {
			t.Errorf("the old key, after the new one was fetched: %v", err)
		}
	})
}

// TestT05UnknownKeysDoNotMakeFetches floods a receiver with ids that do not exist.
func TestT05UnknownKeysDoNotMakeFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newEd25519Signer(t, 1)
		p := &publisher{keys: []*Ed25519Signer{s}, takes: time.Second}
		rc := subscribed(t, p)
		start := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for i := range 200 {
					forged := sealEd25519(s, ed25519Header(fmt.Sprintf("kid%d", i)), standardClaims(nil))
					if _, err := rc.Verify(Request{Signature: forged, URL: hookURL, Body: hookBody}); !errors.Is(err, ErrBadSignature) {
						t.Errorf("error %v", err)
					}
					time.Sleep(200 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		if most := int(time.Since(start)/fetchPause) + 1; p.count() > most {
			t.Errorf("%d fetches in %v", p.count(), time.Since(start))
		}
		if err := verifyNow(t, rc, s); err != nil {
			t.Error(err)
		}
	})
}

func TestKeySetFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, other := newEd25519Signer(t, 1), newEd25519Signer(t, 2)
		p := &publisher{keys: []*Ed25519Signer{s}, err: errors.New("no route")}
		rc := subscribed(t, p)
		if err := verifyNow(t, rc, s); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no route") {
			t.Errorf("without a set: %v", err)
		}
		if err := verifyNow(t, rc, s); !errors.Is(err, ErrUnavailable) || p.count() != 1 {
			t.Errorf("again, at once: fetched %d times, error %v", p.count(), err)
		}
		time.Sleep(fetchPause)
		p.change(func() { p.err = nil })
		if err := verifyNow(t, rc, s); err != nil {
			t.Errorf("when it can be fetched: %v", err)
		}

		for name, failure := range map[string]func(){
			"error":    func() { p.err = errors.New("no route") },
			"status":   func() { p.status = 500 },
			"redirect": func() { p.status = 302 },
			"empty":    func() { p.keys = nil },
			"slow":     func() { p.takes = time.Hour },
		} {
			p.change(failure)
			time.Sleep(11 * time.Minute)
			before, start := p.count(), time.Now()
			if err := verifyNow(t, rc, s); err != nil || p.count() != before+1 || time.Since(start) > fetchTime {
				t.Errorf("%s: the old set is not used after %v: %v", name, time.Since(start), err)
			}
			if err := verifyNow(t, rc, s); err != nil || p.count() != before+1 {
				t.Errorf("%s: fetched again at once, error %v", name, err)
			}
			if err := verifyNow(t, rc, other); !errors.Is(err, ErrUnavailable) {
				t.Errorf("%s: a key that may be new: %v", name, err)
			}
			p.change(func() { p.err, p.status, p.takes, p.keys = nil, 0, 0, []*Ed25519Signer{s} })
			time.Sleep(minKeyAge + time.Second)
			if err := verifyNow(t, rc, other); !errors.Is(err, ErrBadSignature) {
				t.Errorf("%s: a foreign key, afterwards: %v", name, err)
			}
		}
	})
}

func TestKeySetWaitsForOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newEd25519Signer(t, 1)
		p := &publisher{keys: []*Ed25519Signer{s}, takes: time.Second}
		rc := subscribed(t, p)
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		token := mustSignEd25519(t, s, SignOptions{Time: time.Now()})
		if _, err := rc.VerifyContext(impatient, Request{Signature: token, URL: hookURL, Body: hookBody}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("the first, who goes away: %v", err)
		}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if err := verifyNow(t, rc, s); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if p.count() != 1 {
			t.Errorf("fetched %d times", p.count())
		}
	})
}

// TestKeySetOverTheWire fetches from a real server, which tries to be a nuisance.
func TestKeySetOverTheWire(t *testing.T) {
	s := newEd25519Signer(t, 1)
	good := JWKS(s.PublicKey())
	var elsewhere atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(good) })
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	mux.HandleFunc("/elsewhere", func(w http.ResponseWriter, r *http.Request) { elsewhere.Add(1); _, _ = w.Write(good) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := io.WriteString(w, strings.Repeat(" ", 4096)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<20))
		_, _ = w.Write(good)
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	for path, want := range map[string]error{"/good": nil, "/redirect": ErrUnavailable, "/endless": ErrUnavailable, "/headers": ErrUnavailable, "/absent": ErrUnavailable} {
		set, err := NewKeySet(srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		rc, err := New(Options{KeySet: set})
		if err != nil {
			t.Fatal(err)
		}
		if err := verifyNow(t, rc, s); !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", path, err, want)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

func TestKeySetAndPublicKeys(t *testing.T) {
	s := newEd25519Signer(t, 1)
	set, err := NewKeySet("https://a.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{KeySet: set}
	o.PublicKeys = append(o.PublicKeys, s.PublicKey())
	if _, err := New(o); err == nil {
		t.Error("both are accepted")
	}
	t.Setenv("QSTASH_CURRENT_SIGNING_KEY", currentKey)
	if _, err := FromEnv(Options{KeySet: set}); err == nil {
		t.Error("FromEnv takes a key set")
	}
}
