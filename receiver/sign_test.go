package receiver

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestSignRefuses(t *testing.T) {
	tests := []struct {
		name, key string
		o         SignOptions
	}{
		{"no key", "", SignOptions{URL: hookURL}},
		{"short key", "sig_", SignOptions{URL: hookURL}},
		{"key with newline", currentKey + "\n", SignOptions{URL: hookURL}},
		{"no URL", currentKey, SignOptions{}},
		{"URL that is not UTF-8", currentKey, SignOptions{URL: "https://a/\xff"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token, err := Sign(tt.key, tt.o)
			if err == nil || token != "" {
				t.Errorf("token %q, error %v", token, err)
			}
			if err != nil && tt.key != "" && strings.Contains(err.Error(), currentKey) {
				t.Errorf("error %v holds the key", err)
			}
		})
	}
}

func TestSignDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, err := Sign(currentKey, SignOptions{URL: hookURL})
		if err != nil {
			t.Fatal(err)
		}
		rc, err := New(Options{CurrentSigningKey: currentKey, ClockTolerance: -1})
		if err != nil {
			t.Fatal(err)
		}
		c, err := rc.Verify(Request{Signature: token, URL: hookURL})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		if !c.IssuedAt.Equal(now.Truncate(time.Second)) || !c.NotBefore.Equal(c.IssuedAt) || c.ExpiresAt.Sub(c.IssuedAt) != 5*time.Minute {
			t.Errorf("times %+v at %v", c, now)
		}
		if !strings.HasPrefix(c.ID, "jwt_") || len(c.ID) != 32 {
			t.Errorf("id %q", c.ID)
		}
		if want := base64.URLEncoding.EncodeToString(sha256Of(nil)); c.BodyHash != want || !strings.HasSuffix(want, "=") {
			t.Errorf("body claim %q, want %q", c.BodyHash, want)
		}
		time.Sleep(5*time.Minute - time.Nanosecond)
		if _, err := rc.Verify(Request{Signature: token, URL: hookURL}); err != nil {
			t.Errorf("a nanosecond before its end: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := rc.Verify(Request{Signature: token, URL: hookURL}); err == nil {
			t.Error("accepted at its end")
		}
	})
}

func TestSignedURLsSurviveJSON(t *testing.T) {
	for _, url := range []string{`https://a/"\`, "https://a/\n\x01", "https://a/\u2028é😀", "https://a/<>&", "https://a/\x7f"} {
		token := mustSign(t, currentKey, SignOptions{URL: url, ID: `a"b`})
		c, err := newReceiver(t, Options{URLMode: URLExact}).Verify(Request{Signature: token, URL: url, Body: hookBody})
		if err != nil || c.Subject != url || c.ID != `a"b` {
			t.Errorf("url %q: claims %+v, error %v", url, c, err)
		}
	}
}

func TestSignerIsSafeForConcurrentUse(t *testing.T) {
	s, err := NewSigner(currentKey)
	if err != nil {
		t.Fatal(err)
	}
	rc := newReceiver(t, Options{})
	const workers, each = 8, 50
	var ids sync.Map
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				token, err := s.Sign(SignOptions{URL: hookURL, Body: hookBody, Time: instant})
				if err != nil {
					t.Error(err)
					return
				}
				c, err := rc.Verify(Request{Signature: token, URL: hookURL, Body: hookBody})
				if err != nil {
					t.Error(err)
					return
				}
				if _, repeated := ids.LoadOrStore(c.ID, true); repeated {
					t.Errorf("id %s was given twice", c.ID)
				}
			}
		})
	}
	wg.Wait()
}

func TestSignRequest(t *testing.T) {
	outgoing, err := http.NewRequest("POST", "https://a.example/b%2Fc?d=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	incoming := httptest.NewRequest("POST", "/h?x", nil)
	incoming.TLS = &tls.ConnectionState{}
	for want, r := range map[string]*http.Request{
		"https://a.example/b%2Fc?d=1": outgoing,
		"http://example.com/h?x":      httptest.NewRequest("POST", "/h?x", nil),
		"https://example.com/h?x":     incoming,
		"http://b.example/h":          httptest.NewRequest("POST", "http://b.example/h", nil),
	} {
		if err := SignRequest(r, currentKey, hookBody); err != nil {
			t.Fatal(err)
		}
		rc := newReceiver(t, Options{})
		rc.now = time.Now
		if _, err := rc.Verify(Request{Signature: r.Header.Get(Header), URL: want, Body: hookBody}); err != nil {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := SignRequest(outgoing, "short", nil); err == nil {
		t.Error("signed with a short key")
	}
}

// TestAgainstGolangJWT lets an independent implementation read our tokens and write its own.
func TestAgainstGolangJWT(t *testing.T) {
	parser := jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("Upstash"),
		jwt.WithSubject(hookURL), jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithIssuedAt(), jwt.WithJSONNumber(),
		jwt.WithTimeFunc(func() time.Time { return instant }))
	keyFunc := func(*jwt.Token) (any, error) { return []byte(currentKey), nil }
	rc := newReceiver(t, Options{})

	for i := range 200 {
		body := strings.Repeat("x", i)
		token, err := parser.Parse(mustSign(t, currentKey, SignOptions{Body: []byte(body)}), keyFunc)
		if err != nil {
			t.Fatal(err)
		}
		claims := token.Claims.(jwt.MapClaims)
		if claims["body"] != base64.URLEncoding.EncodeToString(sha256Of([]byte(body))) || claims["nbf"] != claims["iat"] {
			t.Fatalf("claims %v", claims)
		}
		if exp, iat := asInt(t, claims["exp"]), asInt(t, claims["iat"]); exp-iat != 300 {
			t.Fatalf("exp − iat is %d", exp-iat)
		}
	}
	for i := range 200 {
		body := []byte(strings.Repeat("é", i))
		theirs, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"iss": "Upstash", "sub": hookURL, "iat": instant.Unix(), "nbf": instant.Unix(), "exp": instant.Unix() + 300,
			"jti": "jwt_theirs", "aud": "", "body": base64.URLEncoding.EncodeToString(sha256Of(body)),
		}).SignedString([]byte(currentKey))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rc.Verify(Request{Signature: theirs, URL: hookURL, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNeverLaxerThanGolangJWT damages tokens and compares the verdicts: what we accept,
// a strict independent parser accepts too.
func TestNeverLaxerThanGolangJWT(t *testing.T) {
	parser := jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithValidMethods([]string{"HS256"}),
		jwt.WithTimeFunc(func() time.Time { return instant }))
	keyFunc := func(*jwt.Token) (any, error) { return []byte(currentKey), nil }
	rc := newReceiver(t, Options{})
	good := mustSign(t, currentKey, SignOptions{})
	accepted := 0
	for i := range len(good) {
		for _, c := range []string{"", "A", "=", ".", "\n", good[i : i+1]} {
			damaged := good[:i] + c + good[i+1:]
			if _, err := rc.Verify(Request{Signature: damaged, URL: hookURL, Body: hookBody}); err != nil {
				continue
			}
			accepted++
			if _, err := parser.Parse(damaged, keyFunc); err != nil {
				t.Errorf("accepted %q, which golang-jwt refuses: %v", damaged, err)
			}
		}
	}
	if accepted < len(good) {
		t.Errorf("%d tokens accepted; at least the %d undamaged ones should be", accepted, len(good))
	}
}

func asInt(t *testing.T, v any) int64 {
	t.Helper()
	n, ok := v.(json.Number)
	if !ok {
		t.Fatalf("%v is %T", v, v)
	}
	i, err := n.Int64()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestSignAllocatesOnlyItsToken(t *testing.T) {
	s, err := NewSigner(currentKey)
	if err != nil {
		t.Fatal(err)
	}
	o := SignOptions{URL: hookURL, Body: hookBody}
	allocs := testing.AllocsPerRun(200, func() {
		if _, err := s.Sign(o); err != nil {
			t.Fatal(err)
		}
	})
	// The race detector makes the pool drop states on purpose.
	if allocs > 1 && !raceEnabled {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkSigner(b *testing.B) {
	s, err := NewSigner(currentKey)
	if err != nil {
		b.Fatal(err)
	}
	o := SignOptions{URL: hookURL, Body: make([]byte, 100)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(o); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	o := SignOptions{URL: hookURL, Body: make([]byte, 100)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Sign(currentKey, o); err != nil {
			b.Fatal(err)
		}
	}
}
