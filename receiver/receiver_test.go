package receiver

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

const (
	currentKey = "sig_current_key_of_the_tests_000"
	nextKey    = "sig_next_key_of_the_tests_000000"
	otherKey   = "sig_some_other_key_of_the_tests0"
	hookURL    = "https://app.example.com/hook?a=1"
)

var (
	instant  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	hookBody = []byte(`{"hello":"world"}`)
)

func newReceiver(t testing.TB, o Options) *Receiver {
	t.Helper()
	if o.CurrentSigningKey == "" {
		o.CurrentSigningKey, o.NextSigningKey = currentKey, nextKey
	}
	if o.BaseURL == "" && o.TrustedProxies == nil { // who httptest.NewRequest says sends
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	}
	rc, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	rc.now = func() time.Time { return instant }
	return rc
}

func mustSign(t testing.TB, key string, o SignOptions) string {
	t.Helper()
	if o.URL == "" {
		o.URL = hookURL
	}
	if o.Body == nil {
		o.Body = hookBody
	}
	if o.Time.IsZero() {
		o.Time = instant
	}
	token, err := Sign(key, o)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

type claimMap map[string]any

// standardClaims are valid for hookURL and hookBody at the instant; a nil value in
// changes removes a claim.
func standardClaims(changes claimMap) []byte {
	m := claimMap{
		"iss": "Upstash", "sub": hookURL, "iat": instant.Unix(), "nbf": instant.Unix(),
		"exp": instant.Unix() + 300, "jti": "jwt_test", "body": bodyHash(hookBody),
	}
	for k, v := range changes {
		m[k] = v
		if v == nil {
			delete(m, k)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

const standardHeader = `{"alg":"HS256","typ":"JWT"}`

func seal(key, header string, claims []byte) string {
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	return input + "." + macOf(key, input)
}

func macOf(key, input string) string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(input))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func TestVectors(t *testing.T) {
	type vector struct {
		Name, Key, URL, ID, Token string
		Time                      int64
		Body                      []byte
	}
	var vectors struct{ Sign, Verify []vector }
	data, err := os.ReadFile("testdata/tokens.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Sign) == 0 || len(vectors.Verify) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range vectors.Sign {
		t.Run("sign/"+v.Name, func(t *testing.T) {
			got := mustSign(t, v.Key, SignOptions{URL: v.URL, Body: v.Body, Time: time.Unix(v.Time, 0), ID: v.ID})
			if got != v.Token {
				t.Errorf("token\n got %s\nwant %s", got, v.Token)
			}
		})
	}
	for _, v := range append(vectors.Sign, vectors.Verify...) {
		t.Run("verify/"+v.Name, func(t *testing.T) {
			rc := newReceiver(t, Options{CurrentSigningKey: v.Key})
			rc.now = func() time.Time { return time.Unix(v.Time, 0) }
			c, err := rc.Verify(Request{Signature: v.Token, URL: v.URL, Body: v.Body})
			if err != nil {
				t.Fatal(err)
			}
			if c.Subject != v.URL || c.ID != v.ID || c.Key != "current" || c.ExpiresAt.Unix() != v.Time+300 {
				t.Errorf("claims %+v do not fit %+v", c, v)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	tests := []struct {
		name, current, next, signer, want string // want: Claims.Key; "" is ErrBadSignature
	}{
		{"current", currentKey, nextKey, currentKey, "current"},
		{"next", currentKey, nextKey, nextKey, "next"},
		{"same key twice", currentKey, currentKey, currentKey, "current"},
		{"no next key", currentKey, "", currentKey, "current"},
		{"next key not configured", currentKey, "", nextKey, ""},
		{"foreign key", currentKey, nextKey, otherKey, ""},
		{"development key", currentKey, nextKey, developmentKeys[0].secret, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rc := newReceiver(t, Options{CurrentSigningKey: tt.current, NextSigningKey: tt.next})
			c, err := rc.Verify(Request{Signature: mustSign(t, tt.signer, SignOptions{}), URL: hookURL, Body: hookBody})
			if tt.want == "" && !errors.Is(err, ErrBadSignature) {
				t.Errorf("error %v, want %v", err, ErrBadSignature)
			}
			if tt.want != "" && err != nil {
				t.Errorf("error %v", err)
			}
			if c.Key != tt.want {
				t.Errorf("key %q, want %q", c.Key, tt.want)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	proxy := netip.MustParsePrefix("10.0.0.0/8")
	tests := []struct {
		name string
		o    Options
		want string // part of the error; "" if New accepts
	}{
		{"nothing", Options{}, "no current signing key in the options: FromEnv reads it from the environment"},
		{"next key alone", Options{NextSigningKey: nextKey}, "no current signing key"},
		{"short current key", Options{CurrentSigningKey: "sig_4567890abcd"}, "current signing key"},
		{"shortest key", Options{CurrentSigningKey: "sig_4567890abcde"}, ""},
		{"short next key", Options{CurrentSigningKey: currentKey, NextSigningKey: "x"}, "next signing key"},
		{"newline after key", Options{CurrentSigningKey: currentKey + "\n"}, "white space"},
		{"blank key", Options{CurrentSigningKey: strings.Repeat(" ", 20)}, "white space"},
		{"key of NULs", Options{CurrentSigningKey: strings.Repeat("\x00", 20)}, "printable"},
		{"next key beyond ASCII", Options{CurrentSigningKey: currentKey, NextSigningKey: nextKey + "é"}, "next signing key"},
		{"unknown mode", Options{CurrentSigningKey: currentKey, URLMode: URLOff + 1}, "URL mode"},
		{"negative mode", Options{CurrentSigningKey: currentKey, URLMode: -1}, "URL mode"},
		{"base URL", Options{CurrentSigningKey: currentKey, BaseURL: "https://a.example/api/"}, ""},
		{"base URL without scheme", Options{CurrentSigningKey: currentKey, BaseURL: "a.example"}, "base URL"},
		{"base URL with user", Options{CurrentSigningKey: currentKey, BaseURL: "https://u@a.example"}, "base URL"},
		{"base URL with query", Options{CurrentSigningKey: currentKey, BaseURL: "https://a.example/?q"}, "base URL"},
		{"base URL with fragment", Options{CurrentSigningKey: currentKey, BaseURL: "https://a.example/#f"}, "base URL"},
		{"proxies", Options{CurrentSigningKey: currentKey, TrustedProxies: []netip.Prefix{proxy}}, ""},
		{"zero prefix", Options{CurrentSigningKey: currentKey, TrustedProxies: []netip.Prefix{proxy, {}}}, "prefix"},
		{"mapped prefix", Options{CurrentSigningKey: currentKey, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}, "prefix"},
		{"negative body limit", Options{CurrentSigningKey: currentKey, MaxBodyBytes: -1}, "negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rc, err := New(tt.o)
			switch {
			case tt.want == "":
				if err != nil || rc == nil {
					t.Errorf("receiver %v, error %v", rc, err)
				}
			case err == nil || !strings.Contains(err.Error(), tt.want):
				t.Errorf("error %v, want one with %q", err, tt.want)
			case rc != nil:
				t.Error("a receiver came with the error")
			}
			for _, k := range []string{tt.o.CurrentSigningKey, tt.o.NextSigningKey} {
				if err != nil && len(k) > 1 && strings.Contains(err.Error(), strings.TrimSpace(k)) && strings.TrimSpace(k) != "" {
					t.Errorf("error %v holds a key", err)
				}
			}
		})
	}
}

func TestFromEnv(t *testing.T) {
	tests := []struct {
		name, current, next string
		o                   Options
		want                error // nil: any error will do if fails
		fails               bool
	}{
		{name: "both", current: currentKey, next: nextKey},
		{name: "current alone", current: currentKey},
		{name: "none", want: ErrNoKey, fails: true},
		{name: "next alone", next: nextKey, want: ErrNoKey, fails: true},
		{name: "short next", current: currentKey, next: "short", fails: true},
		{name: "keys in options too", current: currentKey, o: Options{CurrentSigningKey: otherKey}, fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("QSTASH_CURRENT_SIGNING_KEY", tt.current)
			t.Setenv("QSTASH_NEXT_SIGNING_KEY", tt.next)
			rc, err := FromEnv(tt.o)
			if tt.fails {
				if rc != nil || err == nil || tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("receiver %v, error %v, want %v", rc, err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			token := mustSign(t, tt.current, SignOptions{Time: time.Now()})
			if _, err := rc.Verify(Request{Signature: token, URL: hookURL, Body: hookBody}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTimes(t *testing.T) {
	at := func(d time.Duration) int64 { return instant.Add(d).Unix() }
	tests := []struct {
		name      string
		tolerance time.Duration
		claims    claimMap
		want      error
	}{
		{"fresh", 0, nil, nil},
		{"exp just now, default tolerance", 0, claimMap{"iat": at(-300 * time.Second), "nbf": at(-300 * time.Second), "exp": at(0)}, nil},
		{"exp within default tolerance", 0, claimMap{"exp": at(-4 * time.Second)}, nil},
		{"exp at the default tolerance's end", 0, claimMap{"exp": at(-5 * time.Second)}, ErrExpired},
		{"exp just now, no tolerance", -1, claimMap{"exp": at(0)}, ErrExpired},
		{"exp in a second, no tolerance", -1, claimMap{"exp": at(time.Second)}, nil},
		{"exp within a wide tolerance", time.Minute, claimMap{"exp": at(-59 * time.Second)}, nil},
		{"exp before iat", 0, claimMap{"exp": at(-time.Minute)}, ErrExpired},
		{"exp of 0", 0, claimMap{"exp": 0}, ErrExpired},
		{"nbf within default tolerance", 0, claimMap{"nbf": at(5 * time.Second)}, nil},
		{"nbf beyond default tolerance", 0, claimMap{"nbf": at(6 * time.Second)}, ErrNotYetValid},
		{"nbf now, no tolerance", -1, claimMap{"nbf": at(0)}, nil},
		{"nbf ahead, no tolerance", -1, claimMap{"nbf": at(time.Second)}, ErrNotYetValid},
		{"nbf of 0", 0, claimMap{"nbf": 0}, nil},
		{"iat ahead", 0, claimMap{"nbf": 0, "iat": at(6 * time.Second)}, ErrNotYetValid},
		{"an hour to live", 0, claimMap{"exp": at(time.Hour)}, nil},
		{"a second more", 0, claimMap{"exp": at(time.Hour + time.Second)}, ErrMalformed},
		{"an hour from nbf", 0, claimMap{"iat": nil, "exp": at(time.Hour)}, nil},
		{"more than an hour from nbf", 0, claimMap{"iat": nil, "exp": at(time.Hour + time.Second)}, ErrMalformed},
		{"nbf of 0 without iat", 0, claimMap{"iat": nil, "nbf": 0}, ErrMalformed},
		{"long life begun late", 0, claimMap{"nbf": 0, "iat": at(87600 * time.Hour), "exp": at(87601 * time.Hour)}, ErrNotYetValid},
		{"exp in ten years", 0, claimMap{"exp": at(87600 * time.Hour)}, ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rc := newReceiver(t, Options{ClockTolerance: tt.tolerance})
			_, err := rc.Verify(Request{Signature: seal(currentKey, standardHeader, standardClaims(tt.claims)), URL: hookURL, Body: hookBody})
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestMostTellingError(t *testing.T) {
	old := SignOptions{Time: instant.Add(-time.Hour), URL: "https://other.example/", Body: []byte("other")}
	early := old
	early.Time = instant.Add(time.Hour)
	misdirected := SignOptions{URL: "https://other.example/", Body: []byte("other")}
	tests := []struct {
		name, key string
		o         SignOptions
		want      error
	}{
		{"expired under the current key is not a bad signature", currentKey, old, ErrExpired},
		{"expired under the next key neither", nextKey, old, ErrExpired},
		{"expired under a foreign key is a bad signature", otherKey, old, ErrBadSignature},
		{"too early comes before url and body", currentKey, early, ErrNotYetValid},
		{"url comes before body", nextKey, misdirected, ErrURLMismatch},
		{"body comes last", currentKey, SignOptions{Body: []byte("other")}, ErrBodyMismatch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newReceiver(t, Options{}).Verify(Request{Signature: mustSign(t, tt.key, tt.o), URL: hookURL, Body: hookBody})
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			var detail *VerifyError
			if !errors.As(err, &detail) || detail.Reason == "" {
				t.Errorf("error %#v has no detail", err)
			}
		})
	}
}

func TestErrorDetail(t *testing.T) {
	rc := newReceiver(t, Options{})
	verify := func(token, url string, body []byte) *VerifyError {
		t.Helper()
		_, err := rc.Verify(Request{Signature: token, URL: url, Body: body})
		var detail *VerifyError
		if !errors.As(err, &detail) {
			t.Fatalf("error %v is no *VerifyError", err)
		}
		return detail
	}
	good := mustSign(t, currentKey, SignOptions{})

	url := verify(good, "http://app.example.com/hook?a=1", hookBody)
	if url.Field != "sub" || url.Expected != hookURL || url.Got != "http://app.example.com/hook?a=1" {
		t.Errorf("url: %+v", url)
	}
	if want := `url mismatch: scheme is "http", signed for "https"`; url.Error() != want {
		t.Errorf("url: %q, want %q", url, want)
	}
	query := verify(good, "https://app.example.com/hook?token=secret", hookBody)
	if strings.Contains(query.Error(), "secret") {
		t.Errorf("query shows in %q", query)
	}
	body := verify(good, hookURL, []byte("tampered"))
	if body.Field != "body" || body.Expected != bodyHash(hookBody) || body.Got != bodyHash([]byte("tampered")) {
		t.Errorf("body: %+v", body)
	}
	if strings.Contains(body.Error(), body.Expected) || strings.Contains(body.Error(), body.Got) {
		t.Errorf("hash shows in %q", body)
	}
	long := verify(seal(currentKey, `{"alg":"`+strings.Repeat("é", 500)+`"}`, standardClaims(nil)), hookURL, hookBody)
	if len(long.Got) > 90 || !strings.HasSuffix(long.Got, "…") || !utf8.ValidString(long.Got) {
		t.Errorf("long alg: %+v", long)
	}
	alg := verify(seal(currentKey, `{"alg":"none"}`, standardClaims(nil)), hookURL, hookBody)
	if alg.Field != "alg" || alg.Expected != "HS256" || alg.Got != `"none"` {
		t.Errorf("alg: %+v", alg)
	}
}

func TestT06EveryBitOfTheBodyCounts(t *testing.T) {
	rc := newReceiver(t, Options{})
	for _, size := range []int{1, 17, 64, 257} {
		body := bytes.Repeat([]byte{0xa5}, size)
		token := mustSign(t, currentKey, SignOptions{Body: body})
		if _, err := rc.Verify(Request{Signature: token, URL: hookURL, Body: body}); err != nil {
			t.Fatal(err)
		}
		for bit := range size * 8 {
			body[bit/8] ^= 1 << (bit % 8)
			if _, err := rc.Verify(Request{Signature: token, URL: hookURL, Body: body}); !errors.Is(err, ErrBodyMismatch) {
				t.Fatalf("size %d bit %d: error %v", size, bit, err)
			}
			body[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestT06EveryLetterOfTheTokenCounts(t *testing.T) {
	rc := newReceiver(t, Options{})
	token := []byte(mustSign(t, currentKey, SignOptions{}))
	for i := range token {
		for bit := range 8 {
			token[i] ^= 1 << bit
			if c, err := rc.Verify(Request{Signature: string(token), URL: hookURL, Body: hookBody}); err == nil {
				t.Errorf("byte %d bit %d: accepted with %+v", i, bit, c)
			}
			token[i] ^= 1 << bit
		}
	}
}

func TestNothingPrintsAKey(t *testing.T) {
	rc := newReceiver(t, Options{})
	s, err := NewSigner(currentKey)
	if err != nil {
		t.Fatal(err)
	}
	mustVerify(t, rc, mustSign(t, currentKey, SignOptions{}))
	bytesOfKey := strings.Trim(fmt.Sprint([]byte(currentKey)), "[]")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		for _, value := range []any{rc, *s, s} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, currentKey) || strings.Contains(text, nextKey) || strings.Contains(text, bytesOfKey) {
				t.Errorf("%s of %T shows a key: %s", verb, value, text)
			}
		}
	}
}

func mustVerify(t testing.TB, rc *Receiver, token string) Claims {
	t.Helper()
	c, err := rc.Verify(Request{Signature: token, URL: hookURL, Body: hookBody})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func BenchmarkVerify(b *testing.B) {
	rc := newReceiver(b, Options{})
	r := Request{Signature: mustSign(b, currentKey, SignOptions{}), URL: hookURL, Body: hookBody}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := rc.Verify(r); err != nil {
			b.Fatal(err)
		}
	}
}
