package receiver

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// testSeed is the seed of a signer of the tests, by its number.
func testSeed(n byte) []byte {
	sum := sha256.Sum256([]byte{n})
	return sum[:]
}

func newEd25519Signer(t testing.TB, n byte) *Ed25519Signer {
	t.Helper()
	s, err := NewEd25519Signer(testSeed(n))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustSignEd25519(t testing.TB, s *Ed25519Signer, o SignOptions) string {
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
	token, err := s.Sign(o)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// publicReceiver verifies what the given signers sign.
func publicReceiver(t testing.TB, signers ...*Ed25519Signer) *Receiver {
	t.Helper()
	var o Options
	for _, s := range signers {
		o.PublicKeys = append(o.PublicKeys, s.PublicKey())
	}
	rc, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	rc.now = func() time.Time { return instant }
	return rc
}

func sealEd25519(s *Ed25519Signer, header string, claims []byte) string {
	input := enc(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(s.key.sign([]byte(input)))
}

func ed25519Header(kid string) string { return `{"alg":"EdDSA","typ":"JWT","kid":"` + kid + `"}` }

func TestEd25519(t *testing.T) {
	current, next, other := newEd25519Signer(t, 1), newEd25519Signer(t, 2), newEd25519Signer(t, 3)
	rc := publicReceiver(t, current, next)
	for _, s := range []*Ed25519Signer{current, next} {
		c := mustVerify(t, rc, mustSignEd25519(t, s, SignOptions{ID: "jwt_1", Kind: KindStep, RunID: "wfr_1", Attempt: 2}))
		if c.Key != s.KeyID() || c.ID != "jwt_1" || c.Kind != KindStep || c.RunID != "wfr_1" || c.Attempt != 2 || c.Subject != hookURL {
			t.Errorf("claims %+v", c)
		}
	}
	if _, err := rc.Verify(Request{Signature: mustSignEd25519(t, other, SignOptions{}), URL: hookURL, Body: hookBody}); !errors.Is(err, ErrBadSignature) {
		t.Errorf("another's: error %v", err)
	}
}

// TestThumbprint is the example of RFC 8037, appendix A.
func TestThumbprint(t *testing.T) {
	seed, err := base64.RawURLEncoding.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewEd25519Signer(seed)
	if err != nil {
		t.Fatal(err)
	}
	if x := base64.RawURLEncoding.EncodeToString(s.PublicKey()); x != "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" {
		t.Errorf("x is %s", x)
	}
	if s.KeyID() != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("thumbprint is %s", s.KeyID())
	}
}

// TestT04Ed25519 holds tokens that forgers make. Most are signed with the right key:
// the refusal must not rest on the signature alone.
func TestT04Ed25519(t *testing.T) {
	s, other := newEd25519Signer(t, 1), newEd25519Signer(t, 2)
	good := mustSignEd25519(t, s, SignOptions{})
	parts := strings.Split(good, ".")
	claims := standardClaims(nil)
	x := base64.RawURLEncoding.EncodeToString(other.PublicKey())
	sealed := func(header string) string { return sealEd25519(s, header, claims) }
	tests := []struct {
		name, token string
		want        error
	}{
		{"empty", "", ErrNoSignature},
		{"good", good, nil},
		{"HS256 under the public key", seal(string(s.PublicKey()), `{"alg":"HS256","kid":"`+s.KeyID()+`"}`, claims), ErrMalformed},
		{"HS256 under the id", seal(s.KeyID(), standardHeader, claims), ErrMalformed},
		{"HS256 named, EdDSA made", sealed(`{"alg":"HS256","kid":"` + s.KeyID() + `"}`), ErrMalformed},
		{"EdDSA named, HMAC under the public key", seal(string(s.PublicKey()), ed25519Header(s.KeyID()), claims), ErrMalformed},
		{"none", sealed(`{"alg":"none","kid":"` + s.KeyID() + `"}`), ErrMalformed},
		{"Ed25519 as the algorithm", sealed(`{"alg":"Ed25519","kid":"` + s.KeyID() + `"}`), ErrMalformed},
		{"eddsa in lower case", sealed(`{"alg":"eddsa","kid":"` + s.KeyID() + `"}`), ErrMalformed},
		{"list of algorithms", sealed(`{"alg":["EdDSA"],"kid":"` + s.KeyID() + `"}`), ErrMalformed},
		{"alg twice", sealed(`{"alg":"none","alg":"EdDSA","kid":"` + s.KeyID() + `"}`), ErrMalformed},
		{"kid twice", sealed(`{"alg":"EdDSA","kid":"x","kid":"` + s.KeyID() + `"}`), ErrMalformed},
		{"crit", sealed(`{"alg":"EdDSA","crit":["b64"],"b64":false,"kid":"` + s.KeyID() + `"}`), ErrMalformed},
		{"other type", sealed(`{"alg":"EdDSA","typ":"JOSE","kid":"` + s.KeyID() + `"}`), ErrMalformed},
		{"no kid", sealed(`{"alg":"EdDSA"}`), ErrMalformed},
		{"empty kid", sealed(ed25519Header("")), ErrMalformed},
		{"kid of null", sealed(`{"alg":"EdDSA","kid":null}`), ErrMalformed},
		{"kid is a number", sealed(`{"alg":"EdDSA","kid":1}`), ErrMalformed},
		{"kid is a file", sealed(ed25519Header("../../dev/null")), ErrBadSignature},
		{"kid with a line break", sealed(ed25519Header(`a\nb`)), ErrMalformed},
		{"kid of a kilobyte", sealed(ed25519Header(strings.Repeat("k", 1024))), ErrMalformed},
		{"another's kid", sealed(ed25519Header(other.KeyID())), ErrBadSignature},
		{"another's key under this kid", sealEd25519(other, ed25519Header(s.KeyID()), claims), ErrBadSignature},
		{"embedded jwk", sealEd25519(other, `{"alg":"EdDSA","kid":"`+s.KeyID()+`","jwk":{"kty":"OKP","crv":"Ed25519","x":"`+x+`"}}`, claims), ErrBadSignature},
		{"jku", sealEd25519(other, `{"alg":"EdDSA","kid":"`+other.KeyID()+`","jku":"https://attacker.example/jwks.json"}`, claims), ErrBadSignature},
		{"x5u", sealEd25519(other, `{"alg":"EdDSA","kid":"`+other.KeyID()+`","x5u":"https://attacker.example/c.pem"}`, claims), ErrBadSignature},
		{"hints are ignored when the key is right", sealed(`{"alg":"EdDSA","kid":"` + s.KeyID() + `","jku":"https://a.example","jwk":{"x":""},"x5c":[]}`), nil},
		{"no signature", parts[0] + "." + parts[1] + ".", ErrMalformed},
		{"zero signature", parts[0] + "." + parts[1] + "." + strings.Repeat("A", 86), ErrBadSignature},
		{"signature of 32 bytes", parts[0] + "." + parts[1] + "." + strings.Repeat("A", 43), ErrMalformed},
		{"signature of 65 bytes", parts[0] + "." + parts[1] + "." + strings.Repeat("A", 87), ErrMalformed},
		{"stray bit", parts[0] + "." + parts[1] + "." + strayBit(parts[2]), ErrMalformed},
		{"malleable", parts[0] + "." + parts[1] + "." + malleated(t, parts[2]), ErrBadSignature},
		{"two tokens", good + "," + good, ErrMalformed},
		{"expired", mustSignEd25519(t, s, SignOptions{Time: instant.Add(-time.Hour)}), ErrExpired},
		{"another URL", mustSignEd25519(t, s, SignOptions{URL: "https://x.example/"}), ErrURLMismatch},
		{"another body", mustSignEd25519(t, s, SignOptions{Body: []byte("x")}), ErrBodyMismatch},
		{"another header", mustSignEd25519(t, s, SignOptions{Header: http.Header{"Upstash-Retried": {"1"}}}), ErrHeaderMismatch},
		{"claims are not JSON", sealEd25519(s, ed25519Header(s.KeyID()), []byte("x")), ErrMalformed},
	}
	rc := publicReceiver(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := rc.Verify(Request{Signature: tt.token, URL: hookURL, Body: hookBody, Header: http.Header{"Upstash-Retried": {"0"}}})
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if err != nil && c != (Claims{}) {
				t.Errorf("claims %+v came with the error", c)
			}
		})
	}
}

// malleated adds the order of the group to a signature's S: the same point, which
// a careless verifier takes for another signature.
func malleated(t *testing.T, encoded string) string {
	t.Helper()
	signature, err := base64.RawURLEncoding.DecodeString(encoded)
	order, err2 := hex.DecodeString("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	carry := 0
	for i, b := range order {
		carry += int(signature[32+i]) + int(b)
		signature[32+i] = byte(carry)
		carry >>= 8
	}
	return base64.RawURLEncoding.EncodeToString(signature)
}

func TestT06EveryBitOfAnEd25519TokenCounts(t *testing.T) {
	s := newEd25519Signer(t, 1)
	rc := publicReceiver(t, s)
	token := []byte(mustSignEd25519(t, s, SignOptions{}))
	for i := range token {
		bit := byte(1) << (i % 8)
		token[i] ^= bit
		if c, err := rc.Verify(Request{Signature: string(token), URL: hookURL, Body: hookBody}); err == nil {
			t.Errorf("byte %d: accepted with %+v", i, c)
		}
		token[i] ^= bit
	}
}

// TestT04NoDowngrade: with public keys the HS256 token does not count, whatever
// other keys there are; and without them the Ed25519 token does not.
func TestT04NoDowngrade(t *testing.T) {
	s, other := newEd25519Signer(t, 1), newEd25519Signer(t, 2)
	hs, ed := mustSign(t, currentKey, SignOptions{}), mustSignEd25519(t, s, SignOptions{})
	both := Options{CurrentSigningKey: currentKey, NextSigningKey: nextKey, PublicKeys: []ed25519.PublicKey{s.PublicKey()}}
	public := Options{CurrentSigningKey: "", PublicKeys: both.PublicKeys}
	shared := Options{CurrentSigningKey: currentKey}
	tests := []struct {
		name   string
		o      Options
		hs, ed []string
		want   error
	}{
		{"both keys, both tokens", both, []string{hs}, []string{ed}, nil},
		{"both keys, HS256 alone", both, []string{hs}, nil, ErrNoSignature},
		{"both keys, Ed25519 alone", both, nil, []string{ed}, nil},
		{"both keys, HS256 in the wrong header", both, nil, []string{hs}, ErrMalformed},
		{"both keys, a forged Ed25519 one", both, []string{hs}, []string{mustSignEd25519(t, other, SignOptions{})}, ErrBadSignature},
		{"both keys, garbage beside", both, []string{"garbage", "twice"}, []string{ed}, nil},
		{"public keys, two tokens", public, nil, []string{ed, ed}, ErrMalformed},
		{"public keys, joined by a comma", public, nil, []string{ed + "," + ed}, ErrMalformed},
		{"public keys, HS256 alone", public, []string{hs}, nil, ErrNoSignature},
		{"shared keys, both tokens", shared, []string{hs}, []string{"garbage"}, nil},
		{"shared keys, Ed25519 alone", shared, nil, []string{ed}, ErrNoSignature},
		{"shared keys, Ed25519 in the wrong header", shared, []string{ed}, nil, ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.BaseURL = "https://app.example.com"
			rc, err := New(tt.o)
			if err != nil {
				t.Fatal(err)
			}
			rc.now = func() time.Time { return instant }
			r := httptest.NewRequest("POST", hookURL, bytes.NewReader(hookBody))
			r.Header[Header], r.Header[Ed25519Header] = tt.hs, tt.ed
			if _, _, err := rc.VerifyRequest(r); !errors.Is(err, tt.want) {
				t.Errorf("request: error %v, want %v", err, tt.want)
			}
			if _, err := rc.Verify(Request{URL: hookURL, Body: hookBody, Header: r.Header}); !errors.Is(err, tt.want) {
				t.Errorf("header: error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestT01WeakPublicKeys(t *testing.T) {
	good := newEd25519Signer(t, 1).PublicKey()
	for _, y := range smallOrder {
		for _, sign := range []byte{0, 0x80} {
			k := bytes.Clone(y[:])
			k[31] |= sign
			if _, err := New(Options{PublicKeys: []ed25519.PublicKey{good, k}}); err == nil || !strings.Contains(err.Error(), "public key 1") {
				t.Errorf("key %x: error %v", k, err)
			}
		}
		if !forgeable(y[:]) {
			t.Errorf("key %x is no key of small order", y)
		}
	}
	if forgeable(good) {
		t.Error("a good key is called forgeable")
	}
	for _, k := range []ed25519.PublicKey{nil, good[:31], append(bytes.Clone(good), 0)} {
		if _, err := New(Options{PublicKeys: []ed25519.PublicKey{k}}); err == nil {
			t.Errorf("a key of %d bytes is accepted", len(k))
		}
	}
	for _, seed := range [][]byte{nil, make([]byte, 32), make([]byte, 31), make([]byte, 64)} {
		if _, err := NewEd25519Signer(seed); err == nil {
			t.Errorf("a seed of %d bytes is accepted: %x", len(seed), seed)
		}
	}
}

// forgeable makes a signature up without a private key: of the few multiples that
// the key has, one is zero for some message.
func forgeable(k ed25519.PublicKey) bool {
	var signature [ed25519.SignatureSize]byte
	signature[0] = 1 // R is the neutral point, S is 0
	for i := range 256 {
		if ed25519.Verify(k, []byte{byte(i)}, signature[:]) {
			return true
		}
	}
	return false
}

// TestEd25519AgainstGolangJWT lets an independent implementation read our tokens and
// write its own.
func TestEd25519AgainstGolangJWT(t *testing.T) {
	s := newEd25519Signer(t, 1)
	rc := publicReceiver(t, s)
	parser := jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithIssuer("Upstash"),
		jwt.WithSubject(hookURL), jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithTimeFunc(func() time.Time { return instant }))
	for i := range 50 {
		body := []byte(strings.Repeat("é", i))
		ours, err := parser.Parse(mustSignEd25519(t, s, SignOptions{Body: body}), func(*jwt.Token) (any, error) { return s.PublicKey(), nil })
		if err != nil {
			t.Fatal(err)
		}
		if ours.Header["kid"] != s.KeyID() || ours.Header["alg"] != "EdDSA" || ours.Header["typ"] != "JWT" || len(ours.Header) != 3 {
			t.Fatalf("header %v", ours.Header)
		}
		theirs := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
			"iss": "Upstash", "sub": hookURL, "iat": instant.Unix(), "nbf": instant.Unix(), "exp": instant.Unix() + 300,
			"jti": "jwt_theirs", "body": base64.URLEncoding.EncodeToString(sha256Of(body)),
		})
		theirs.Header["kid"] = s.KeyID()
		token, err := theirs.SignedString(ed25519.NewKeyFromSeed(testSeed(1)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rc.Verify(Request{Signature: token, URL: hookURL, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEd25519SignerPrintsNoKey(t *testing.T) {
	s := newEd25519Signer(t, 1)
	seed := strings.Trim(fmt.Sprint(testSeed(1)), "[]")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, value := range []any{s, *s} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, seed) || strings.Contains(text, hex.EncodeToString(testSeed(1))) {
				t.Errorf("%s of %T shows the key: %s", verb, value, text)
			}
		}
	}
	if _, err := s.Sign(SignOptions{}); !errors.Is(err, errNoURL) {
		t.Errorf("signed nothing: %v", err)
	}
}

func BenchmarkVerifyEd25519(b *testing.B) {
	s := newEd25519Signer(b, 1)
	rc := publicReceiver(b, s)
	r := Request{Signature: mustSignEd25519(b, s, SignOptions{}), URL: hookURL, Body: hookBody}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := rc.Verify(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEd25519Signer(b *testing.B) {
	s := newEd25519Signer(b, 1)
	o := SignOptions{URL: hookURL, Body: make([]byte, 100)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(o); err != nil {
			b.Fatal(err)
		}
	}
}
