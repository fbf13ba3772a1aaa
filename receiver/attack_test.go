package receiver

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"runtime"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

func enc(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func hmacWith(h func() hash.Hash, key, input string) string {
	m := hmac.New(h, []byte(key))
	m.Write([]byte(input))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// TestT04Attacks holds tokens that forgers and careless libraries make. Most are signed
// with the right key: the refusal must not rest on the MAC alone.
func TestT04Attacks(t *testing.T) {
	good := mustSign(t, currentKey, SignOptions{})
	parts := strings.Split(good, ".")
	claims := standardClaims(nil)
	type attack struct {
		name, token string
		want        error
	}
	tests := []attack{
		{"empty", "", ErrNoSignature},
		{"empty key", seal("", standardHeader, claims), ErrBadSignature},
		{"null signature", parts[0] + "." + parts[1] + ".", ErrMalformed},
		{"zero MAC", parts[0] + "." + parts[1] + "." + strings.Repeat("A", 43), ErrBadSignature},
		{"short MAC", good[:len(good)-4], ErrMalformed},
		{"long MAC", good + "AAAA", ErrMalformed},
		{"MAC of another token", parts[0] + "." + parts[1] + "." + strings.Split(mustSign(t, currentKey, SignOptions{URL: "https://x.example/"}), ".")[2], ErrBadSignature},
		{"dots", strings.Repeat(".", 100), ErrMalformed},
		{"two dots", "..", ErrMalformed},
		{"no dot", parts[0], ErrMalformed},
		{"two parts", parts[0] + "." + parts[1], ErrMalformed},
		{"dot before", "." + good, ErrMalformed},
		{"dot after", good + ".", ErrMalformed},
		{"five parts", good + ".AA.AA", ErrMalformed},
		{"two tokens", good + "," + good, ErrMalformed},
		{"two tokens with space", good + ", " + good, ErrMalformed},
		{"bearer", "Bearer " + good, ErrMalformed},
		{"space before", " " + good, ErrMalformed},
		{"space after", good + " ", ErrMalformed},
		{"newline after", good + "\n", ErrMalformed},
		{"CRLF in the payload", parts[0] + "." + parts[1][:10] + "\r\n" + parts[1][10:] + "." + parts[2], ErrMalformed},
		{"NUL", good + "\x00", ErrMalformed},
		{"letter beyond ASCII", parts[0] + ".é." + parts[2], ErrMalformed},
		{"padded MAC", good + "=", ErrMalformed},
		{"padded payload", parts[0] + "." + parts[1] + "=." + parts[2], ErrMalformed},
		{"plain base64", strings.Map(toPlain, good), ErrMalformed},
		{"stray bit in the MAC", parts[0] + "." + parts[1] + "." + strayBit(parts[2]), ErrMalformed},
		{"header is no JSON", seal(currentKey, "x", claims), ErrMalformed},
		{"header is an array", seal(currentKey, `[]`, claims), ErrMalformed},
		{"header is null", seal(currentKey, `null`, claims), ErrMalformed},
		{"header with a tail", seal(currentKey, standardHeader+`{}`, claims), ErrMalformed},
		{"header with broken UTF-8", seal(currentKey, "{\"alg\":\"HS256\",\"x\":\"\xff\"}", claims), ErrMalformed},
		{"alg twice", seal(currentKey, `{"alg":"none","alg":"HS256"}`, claims), ErrMalformed},
		{"alg twice, once escaped", seal(currentKey, `{"alg":"HS256","\u0061lg":"none"}`, claims), ErrMalformed},
		{"alg in capitals", seal(currentKey, `{"ALG":"HS256"}`, claims), ErrMalformed},
		{"nested repeated key in the header", seal(currentKey, `{"alg":"HS256","jwk":{"k":1,"k":2}}`, claims), ErrMalformed},
		{"crit", seal(currentKey, `{"alg":"HS256","crit":["b64"],"b64":false}`, claims), ErrMalformed},
		{"crit of unknown", seal(currentKey, `{"alg":"HS256","crit":["exp"]}`, claims), ErrMalformed},
		{"empty crit", seal(currentKey, `{"alg":"HS256","crit":[]}`, claims), ErrMalformed},
		{"crit of null", seal(currentKey, `{"alg":"HS256","crit":null}`, claims), ErrMalformed},
		{"typ of another kind", seal(currentKey, `{"alg":"HS256","typ":"JOSE"}`, claims), ErrMalformed},
		{"typ of null", seal(currentKey, `{"alg":"HS256","typ":null}`, claims), ErrMalformed},
		{"typ is a number", seal(currentKey, `{"alg":"HS256","typ":1}`, claims), ErrMalformed},
		{"claims are no JSON", seal(currentKey, standardHeader, []byte("x")), ErrMalformed},
		{"no claims", seal(currentKey, standardHeader, nil), ErrMalformed},
		{"claims are an array", seal(currentKey, standardHeader, []byte("[]")), ErrMalformed},
		{"claims with a tail", seal(currentKey, standardHeader, append(standardClaims(nil), "{}"...)), ErrMalformed},
		{"sub twice", seal(currentKey, standardHeader, []byte(strings.Replace(string(claims), "{", `{"sub":"https://attacker.example/",`, 1))), ErrMalformed},
		{"nested repeated key in the claims", seal(currentKey, standardHeader, []byte(strings.Replace(string(claims), "{", `{"x":[{"y":1,"y":2}],`, 1))), ErrMalformed},
		{"token above 8 KiB", seal(currentKey, standardHeader, standardClaims(claimMap{"x": strings.Repeat("x", 8<<10)})), ErrMalformed},
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "none ", "", "HS384", "HS512", "hs256", "Hs256", "HS256 ", "HS-256", "HMACSHA256", "RS256", "ES256", "PS256", "EdDSA", "HS256\u0000"} {
		header := fmt.Sprintf(`{"alg":%q,"typ":"JWT"}`, strings.TrimSuffix(alg, "\u0000"))
		if strings.HasSuffix(alg, "\u0000") {
			header = `{"alg":"HS256\u0000","typ":"JWT"}`
		}
		tests = append(tests,
			attack{fmt.Sprintf("alg %q with a good MAC", alg), seal(currentKey, header, claims), ErrMalformed},
			attack{fmt.Sprintf("alg %q with no MAC", alg), enc(header) + "." + enc(string(claims)) + ".", ErrMalformed},
		)
	}
	for _, alg := range []string{`null`, `["HS256"]`, `{"HS256":1}`, `256`, `true`} {
		tests = append(tests, attack{"alg " + alg, seal(currentKey, `{"alg":`+alg+`}`, claims), ErrMalformed})
	}
	tests = append(tests, attack{"no alg", seal(currentKey, `{"typ":"JWT"}`, claims), ErrMalformed})
	for name, h := range map[string]func() hash.Hash{"HS384": sha512.New384, "HS512": sha512.New} {
		input := enc(`{"alg":"`+name+`","typ":"JWT"}`) + "." + enc(string(claims))
		tests = append(tests, attack{name + " in earnest", input + "." + hmacWith(h, currentKey, input), ErrMalformed})
	}
	for _, name := range []string{"header", "payload"} {
		tests = append(tests, attack{"stray bit in the " + name, strayBitSigned(name), ErrMalformed})
	}
	for _, claim := range []string{"iss", "sub", "exp", "nbf", "body"} {
		tests = append(tests,
			attack{"no " + claim, seal(currentKey, standardHeader, standardClaims(claimMap{claim: nil})), ErrMalformed},
			attack{claim + " in capitals", seal(currentKey, standardHeader, capitalised(claim)), ErrMalformed},
		)
	}
	for claim, values := range map[string][]any{
		"iss":  {"", "upstash", "Upstash ", "https://upstash.com", 1, true, []string{"Upstash"}},
		"sub":  {"", 1, []string{hookURL}, map[string]string{}},
		"body": {"", 1, []string{bodyHash(hookBody)}, false},
		"jti":  {1, []string{}},
		"exp":  {"1767225900", 1767225900.5, -1, true, []int{1}, uint64(1) << 63, uint64(253402300800)},
		"nbf":  {"1767225600", 1767225600.5, -1, false, map[string]int{}},
		"iat":  {"1767225600", 0.5, -1767225600, []int{}},
	} {
		for _, v := range values {
			tests = append(tests, attack{fmt.Sprintf("%s is %v of %T", claim, v, v), seal(currentKey, standardHeader, standardClaims(claimMap{claim: v})), ErrMalformed})
		}
	}
	for _, number := range []string{"1767225900.0", "1.7672259e9", "17672259e2", "-0", "1e400", "99999999999999999999", "null"} {
		text := strings.Replace(string(claims), `"exp":1767225900`, `"exp":`+number, 1)
		tests = append(tests, attack{"exp of " + number, seal(currentKey, standardHeader, []byte(text)), ErrMalformed})
	}
	for _, claim := range []string{"iss", "sub", "nbf", "iat", "body", "jti"} {
		text := strings.Replace(string(standardClaims(claimMap{claim: nil})), "{", `{"`+claim+`":null,`, 1)
		tests = append(tests, attack{claim + " of null", seal(currentKey, standardHeader, []byte(text)), ErrMalformed})
	}
	for _, key := range []string{"secret", "changeme", "your-256-bit-secret", "undefined", "null", "\x00", currentKey + "\x00\x00", strings.ToUpper(currentKey), currentKey[4:]} {
		want := ErrBadSignature
		if strings.TrimRight(key, "\x00") == currentKey {
			// HMAC pads keys with zero bytes: to it this is the same key.
			want = nil
		}
		tests = append(tests, attack{fmt.Sprintf("key %q", key), seal(key, standardHeader, claims), want})
	}

	rc := newReceiver(t, Options{})
	seen := map[string]bool{}
	for _, tt := range tests {
		if seen[tt.name] {
			t.Errorf("two attacks are called %q", tt.name)
		}
		seen[tt.name] = true
		t.Run(tt.name, func(t *testing.T) {
			c, err := rc.Verify(Request{Signature: tt.token, URL: hookURL, Body: hookBody})
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if err != nil && c != (Claims{}) {
				t.Errorf("claims %+v came with the error", c)
			}
		})
	}
}

func toPlain(r rune) rune {
	switch r {
	case '-':
		return '+'
	case '_', 'A':
		return '/'
	}
	return r
}

// strayBit sets an unused bit in the last letter of the base64url of 32 bytes.
func strayBit(part string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, part[len(part)-1])
	return part[:len(part)-1] + string(alphabet[i|1])
}

// strayBitSigned returns a token whose MAC is right over a non-canonical part.
func strayBitSigned(name string) string {
	pad := func(s string) string {
		for len(s)%3 != 1 {
			s += " "
		}
		return s
	}
	header, payload := enc(pad(standardHeader)), enc(pad(string(standardClaims(nil))))
	if name == "header" {
		header = strayBit(header)
	} else {
		payload = strayBit(payload)
	}
	input := header + "." + payload
	return input + "." + macOf(currentKey, input)
}

func capitalised(claim string) []byte {
	return []byte(strings.Replace(string(standardClaims(nil)), `"`+claim+`":`, `"`+strings.ToUpper(claim)+`":`, 1))
}

// TestT04AlgorithmConfusion signs with HMAC under the text of a public RSA key, and with
// the RSA key itself: keys that travel in the token must not count.
func TestT04AlgorithmConfusion(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	rs256, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"iss": "Upstash"}).SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	claims := standardClaims(nil)
	tests := []struct {
		name, token string
		want        error
	}{
		{"RS256 by its owner", rs256, ErrMalformed},
		{"HS256 under the public key", seal(public, standardHeader, claims), ErrBadSignature},
		{"RS256 named, HMAC under the public key", seal(public, `{"alg":"RS256"}`, claims), ErrMalformed},
		{"embedded jwk", seal(otherKey, `{"alg":"HS256","jwk":{"kty":"oct","k":"`+enc(otherKey)+`"}}`, claims), ErrBadSignature},
		{"kid that names a file", seal("", `{"alg":"HS256","kid":"../../dev/null"}`, claims), ErrBadSignature},
		{"kid that is SQL", seal(otherKey, `{"alg":"HS256","kid":"x' union select '`+otherKey+`"}`, claims), ErrBadSignature},
		{"jku", seal(otherKey, `{"alg":"HS256","jku":"https://attacker.example/jwks.json"}`, claims), ErrBadSignature},
		{"x5u", seal(otherKey, `{"alg":"HS256","x5u":"https://attacker.example/c.pem"}`, claims), ErrBadSignature},
		{"x5c", seal(otherKey, `{"alg":"HS256","x5c":["MII="]}`, claims), ErrBadSignature},
		{"hints are ignored when the key is right", seal(nextKey, `{"alg":"HS256","kid":"7","jku":"https://a.example","jwk":{"k":""},"x5u":"x"}`, claims), nil},
	}
	rc := newReceiver(t, Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := rc.Verify(Request{Signature: tt.token, URL: hookURL, Body: hookBody}); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestHarmlessVariants(t *testing.T) {
	padded := base64.URLEncoding.EncodeToString(sha256Of(hookBody))
	tests := []struct {
		name, header string
		claims       claimMap
	}{
		{"no typ", `{"alg":"HS256"}`, nil},
		{"typ in lower case", `{"alg":"HS256","typ":"jwt"}`, nil},
		{"typ with a suffix", `{"alg":"HS256","typ":"upstash+jwt"}`, nil},
		{"typ as a media type", `{"typ":"application/jwt","alg":"HS256"}`, nil},
		{"white space in the header", "{ \"alg\" :\n\"HS256\" }", nil},
		{"unknown claims", standardHeader, claimMap{"aud": "", "scope": "x", "nested": []any{1, map[string]any{"a": nil}}}},
		{"padded body claim", standardHeader, claimMap{"body": padded}},
		{"body claim without padding", standardHeader, claimMap{"body": strings.TrimRight(padded, "=")}},
		{"no iat, no jti", standardHeader, claimMap{"iat": nil, "jti": nil}},
	}
	rc := newReceiver(t, Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mustVerify(t, rc, seal(currentKey, tt.header, standardClaims(tt.claims)))
		})
	}
}

func sha256Of(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// TestT05HugeTokensAreCheap guards against the cost of splitting what will be refused anyway.
func TestT05HugeTokensAreCheap(t *testing.T) {
	rc := newReceiver(t, Options{})
	tests := []struct {
		name, token string
		budget      uint64 // bytes
	}{
		{"dots", strings.Repeat(".", 1<<20), 64 << 10},
		{"letters", strings.Repeat("a", 1<<20), 64 << 10},
		{"dots just within the limit", strings.Repeat(".", maxTokenBytes), 64 << 10},
		{"nested header", seal(otherKey, strings.Repeat("[", 5000), nil), 256 << 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const runs = 10
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range runs {
				if _, err := rc.Verify(Request{Signature: tt.token}); !errors.Is(err, ErrMalformed) {
					t.Fatalf("error %v", err)
				}
			}
			runtime.ReadMemStats(&after)
			if per := (after.TotalAlloc - before.TotalAlloc) / runs; per > tt.budget {
				t.Errorf("%d bytes allocated per token, at most %d are allowed", per, tt.budget)
			}
		})
	}
}
