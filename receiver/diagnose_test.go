package receiver

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// seeded is a mistake that was made on purpose.
type seeded struct {
	name string
	in   DiagnoseInput
	want []string // causes in order
	err  error
	key  string
}

// TestDiagnose makes one mistake at a time, as people and proxies make them, and wants
// it named. The table covers every cause that can be named.
func TestDiagnose(t *testing.T) {
	const pretty = "{\n  \"b\": 1.50,\n  \"a\": \"x<y/é\"\n}"
	const compact = `{"b":1.50,"a":"x<y/é"}`
	sealed := func(changes claimMap) string { return seal(currentKey, standardHeader, standardClaims(changes)) }
	signedBody := func(body string) string { return mustSign(t, currentKey, SignOptions{Body: []byte(body)}) }
	signedURL := func(url string) string { return mustSign(t, currentKey, SignOptions{URL: url}) }
	token := signedBody(string(hookBody))
	keys := Options{CurrentSigningKey: currentKey, NextSigningKey: nextKey}

	tests := []seeded{
		// The token.
		{"no header", DiagnoseInput{Request: Request{Signature: ""}}, []string{"token-missing"}, ErrNoSignature, ""},
		{"another service's header", DiagnoseInput{Request: Request{Signature: "t=1767225600,v1=5257a869"}}, []string{"token-not-jwt"}, ErrMalformed, ""},
		{"encrypted token", DiagnoseInput{Request: Request{Signature: "eyJhbGciOiJkaXIifQ..AA.AA.AA"}}, []string{"token-not-jwt"}, ErrMalformed, ""},
		{"cut in the payload", DiagnoseInput{Request: Request{Signature: token[:120]}}, []string{"token-truncated"}, ErrMalformed, ""},
		{"cut in the MAC", DiagnoseInput{Request: Request{Signature: token[:len(token)-7]}}, []string{"token-truncated"}, ErrMalformed, ""},
		{"letters appended", DiagnoseInput{Request: Request{Signature: token + "xx"}}, []string{"token-altered"}, ErrMalformed, ""},
		{"URL of 9 KiB", DiagnoseInput{Request: Request{Signature: signedURL("https://a.example/" + strings.Repeat("x", 9<<10))}}, []string{"token-too-long"}, ErrMalformed, ""},
		{"newline from a shell", DiagnoseInput{Request: Request{Signature: token + "\n"}}, []string{"token-space"}, ErrMalformed, "current"},
		{"wrapped by a terminal", DiagnoseInput{Request: Request{Signature: token[:80] + "\n  " + token[80:]}}, []string{"token-space"}, ErrMalformed, "current"},
		{"space, and another body", DiagnoseInput{Request: Request{Signature: " " + token, Body: []byte("x")}}, []string{"token-space", "body-changed"}, ErrMalformed, "current"},
		{"joined by a proxy", DiagnoseInput{Request: Request{Signature: token + ", " + token}}, []string{"token-repeated"}, ErrMalformed, "current"},
		{"padded", DiagnoseInput{Request: Request{Signature: token + "="}}, []string{"token-padded"}, ErrMalformed, "current"},
		{"plain base64", DiagnoseInput{Request: Request{Signature: plainBase64(t)}}, []string{"token-base64"}, ErrMalformed, "current"},
		{"header name pasted", DiagnoseInput{Request: Request{Signature: "Upstash-Signature: " + token}}, []string{"token-pasted"}, ErrMalformed, "current"},
		{"bearer", DiagnoseInput{Request: Request{Signature: "Bearer " + token}}, []string{"token-pasted"}, ErrMalformed, "current"},
		{"quoted", DiagnoseInput{Request: Request{Signature: `"` + token + `"`}}, []string{"token-pasted"}, ErrMalformed, "current"},
		{"HS512", DiagnoseInput{Request: Request{Signature: seal(currentKey, `{"alg":"HS512"}`, standardClaims(nil))}}, []string{"token-alg"}, ErrMalformed, ""},
		{"none", DiagnoseInput{Request: Request{Signature: seal(currentKey, `{"alg":"none"}`, standardClaims(nil))}}, []string{"token-alg"}, ErrMalformed, ""},
		{"other type", DiagnoseInput{Request: Request{Signature: seal(currentKey, `{"alg":"HS256","typ":"JOSE"}`, standardClaims(nil))}}, []string{"token-typ"}, ErrMalformed, ""},
		{"crit", DiagnoseInput{Request: Request{Signature: seal(currentKey, `{"alg":"HS256","crit":["x"]}`, standardClaims(nil))}}, []string{"token-crit"}, ErrMalformed, ""},

		// The keys.
		{"no key", DiagnoseInput{Options: Options{BaseURL: "https://a.example"}}, []string{"key-missing", "key-unknown"}, ErrNoKey, ""},
		{"newline after the key", DiagnoseInput{Options: Options{CurrentSigningKey: currentKey + "\n"}}, []string{"key-space", "key-decorated"}, nil, ""},
		{"half a key", DiagnoseInput{Options: Options{CurrentSigningKey: currentKey[:12]}}, []string{"key-short", "key-unknown"}, nil, ""},
		{"half a next key", DiagnoseInput{Options: Options{CurrentSigningKey: currentKey, NextSigningKey: "sig_"}}, []string{"key-short"}, nil, "current"},
		{"quotes around the key", DiagnoseInput{Options: Options{CurrentSigningKey: `"` + currentKey + `"`}}, []string{"key-decorated"}, ErrBadSignature, ""},
		{"bad option", DiagnoseInput{Options: Options{CurrentSigningKey: currentKey, BaseURL: "x"}}, []string{"options-invalid"}, nil, "current"},
		{"old key", DiagnoseInput{Request: Request{Signature: mustSign(t, otherKey, SignOptions{})}, OldKeys: []string{"", otherKey}}, []string{"key-old"}, ErrBadSignature, "old"},
		{"unknown key", DiagnoseInput{Request: Request{Signature: mustSign(t, otherKey, SignOptions{})}}, []string{"key-unknown"}, ErrBadSignature, ""},
		{"altered claims", DiagnoseInput{Request: Request{Signature: altered(t)}}, []string{"key-unknown", "url-host"}, ErrBadSignature, ""},
		{"development server", DiagnoseInput{Request: Request{Signature: mustSign(t, developmentKeys[2].secret, SignOptions{})}}, []string{"key-development"}, ErrBadSignature, "development"},
		{"receiver left in development", DiagnoseInput{Options: Options{CurrentSigningKey: developmentKeys[0].secret}}, []string{"key-receiver-development"}, ErrBadSignature, ""},

		// The claims.
		{"other issuer", DiagnoseInput{Request: Request{Signature: sealed(claimMap{"iss": "https://accounts.example"})}}, []string{"claims-issuer"}, ErrMalformed, "current"},
		{"no exp", DiagnoseInput{Request: Request{Signature: sealed(claimMap{"exp": nil})}}, []string{"claims-missing"}, ErrMalformed, "current"},
		{"exp in milliseconds", DiagnoseInput{Request: Request{Signature: sealed(claimMap{"exp": (instant.Unix() + 300) * 1000})}}, []string{"claims-type"}, ErrMalformed, "current"},
		{"exp with a fraction", DiagnoseInput{Request: Request{Signature: sealed(claimMap{"exp": float64(instant.Unix()) + 300.5})}}, []string{"claims-type"}, ErrMalformed, "current"},
		{"exp next year", DiagnoseInput{Request: Request{Signature: sealed(claimMap{"exp": instant.Unix() + 365*86400})}}, []string{"claims-lifetime"}, ErrMalformed, "current"},
		{"claims are text", DiagnoseInput{Request: Request{Signature: seal(currentKey, standardHeader, []byte("hello"))}}, []string{"claims-unreadable"}, ErrMalformed, "current"},

		// The clock.
		{"an hour late", DiagnoseInput{Time: instant.Add(time.Hour)}, []string{"time-expired"}, ErrExpired, "current"},
		{"late, no tolerance", DiagnoseInput{Options: Options{CurrentSigningKey: currentKey, ClockTolerance: -1}, Time: instant.Add(5 * time.Minute)}, []string{"time-expired"}, ErrExpired, "current"},
		{"clock behind", DiagnoseInput{Time: instant.Add(-90 * time.Second)}, []string{"time-early"}, ErrNotYetValid, "current"},
		{"late, by the next key, with another body", DiagnoseInput{Request: Request{Signature: mustSign(t, nextKey, SignOptions{}), Body: []byte("x")}, Time: instant.Add(time.Hour)}, []string{"time-expired", "body-changed"}, ErrExpired, "next"},

		// The URL.
		{"TLS ended by a proxy", DiagnoseInput{Request: Request{URL: "http://app.example.com/hook?a=1"}}, []string{"url-scheme"}, ErrURLMismatch, "current"},
		{"seen from inside", DiagnoseInput{Request: Request{URL: "http://localhost:3000/hook?a=1"}}, []string{"url-host", "url-scheme"}, ErrURLMismatch, "current"},
		{"port mapped", DiagnoseInput{Request: Request{URL: "https://app.example.com:8443/hook?a=1"}}, []string{"url-port"}, ErrURLMismatch, "current"},
		{"slash added", DiagnoseInput{Request: Request{URL: "https://app.example.com/hook/?a=1"}}, []string{"url-trailing-slash"}, ErrURLMismatch, "current"},
		{"capital in the path", DiagnoseInput{Request: Request{URL: "https://app.example.com/Hook?a=1"}}, []string{"url-path-case"}, ErrURLMismatch, "current"},
		{"prefix cut off", DiagnoseInput{Request: Request{Signature: signedURL("https://app.example.com/api/hook"), URL: "https://app.example.com/hook"}}, []string{"url-path-prefix"}, ErrURLMismatch, "current"},
		{"prefix added", DiagnoseInput{Request: Request{URL: "https://app.example.com/v1/hook?a=1"}}, []string{"url-path-prefix"}, ErrURLMismatch, "current"},
		{"slashes merged", DiagnoseInput{Request: Request{Signature: signedURL("https://a.example/x//y"), URL: "https://a.example/x/y"}}, []string{"url-merged-slashes"}, ErrURLMismatch, "current"},
		{"path decoded", DiagnoseInput{Request: Request{Signature: signedURL("https://a.example/x%2Fy"), URL: "https://a.example/x/y"}}, []string{"url-path-encoding"}, ErrURLMismatch, "current"},
		{"path encoded twice", DiagnoseInput{Request: Request{Signature: signedURL("https://a.example/x%20y"), URL: "https://a.example/x%2520y"}}, []string{"url-path-encoding"}, ErrURLMismatch, "current"},
		{"other endpoint", DiagnoseInput{Request: Request{URL: "https://app.example.com/admin?a=1"}}, []string{"url-path"}, ErrURLMismatch, "current"},
		{"query sorted", DiagnoseInput{Request: Request{Signature: signedURL("https://a.example/?b=1&a=2"), URL: "https://a.example/?a=2&b=1"}}, []string{"url-query-order"}, ErrURLMismatch, "current"},
		{"query encoded anew", DiagnoseInput{Request: Request{Signature: signedURL("https://a.example/?a=x%20y"), URL: "https://a.example/?a=x+y"}}, []string{"url-query-encoding"}, ErrURLMismatch, "current"},
		{"parameter added", DiagnoseInput{Request: Request{URL: hookURL + "&utm=1"}}, []string{"url-query-added"}, ErrURLMismatch, "current"},
		{"query dropped", DiagnoseInput{Request: Request{URL: "https://app.example.com/hook"}}, []string{"url-query-removed"}, ErrURLMismatch, "current"},
		{"parameter changed", DiagnoseInput{Request: Request{URL: "https://app.example.com/hook?a=2"}}, []string{"url-query"}, ErrURLMismatch, "current"},
		{"fragment", DiagnoseInput{Request: Request{URL: hookURL + "#top"}}, []string{"url-fragment"}, ErrURLMismatch, "current"},
		{"user in the URL", DiagnoseInput{Request: Request{Signature: signedURL("https://u:p@a.example/"), URL: "https://a.example/"}}, []string{"url-user-info"}, ErrURLMismatch, "current"},
		{"path instead of URL", DiagnoseInput{Request: Request{URL: "/hook?a=1"}}, []string{"url-invalid"}, ErrURLMismatch, "current"},
		{"spelled otherwise in exact mode", DiagnoseInput{Options: Options{CurrentSigningKey: currentKey, URLMode: URLExact}, Request: Request{URL: "https://app.example.com:443/hook?a=1"}}, []string{"url-spelling"}, ErrURLMismatch, "current"},
		{"way up that was not signed", DiagnoseInput{Request: Request{URL: "https://app.example.com/x/../hook?a=1"}}, []string{"url-way-up"}, ErrURLMismatch, "current"},
		{"international host", DiagnoseInput{Request: Request{Signature: signedURL("https://bücher.example/"), URL: "https://xn--bcher-kva.example/"}}, []string{"url-idn"}, ErrURLMismatch, "current"},
		{"other host where paths are compared", DiagnoseInput{Options: Options{CurrentSigningKey: currentKey, URLMode: URLPathOnly}, Request: Request{URL: "http://x.example/hook/?a=1"}}, []string{"url-trailing-slash"}, ErrURLMismatch, "current"},

		// The body.
		{"body consumed", DiagnoseInput{Request: Request{Body: []byte{}}}, []string{"body-empty"}, ErrBodyMismatch, "current"},
		{"body of another request", DiagnoseInput{Request: Request{Signature: signedBody("")}}, []string{"body-added"}, ErrBodyMismatch, "current"},
		{"BOM added", DiagnoseInput{Request: Request{Body: []byte("\ufeff" + string(hookBody))}}, []string{"body-bom-added"}, ErrBodyMismatch, "current"},
		{"BOM removed", DiagnoseInput{Request: Request{Signature: signedBody("\ufeff" + string(hookBody))}}, []string{"body-bom-removed"}, ErrBodyMismatch, "current"},
		{"newline added", DiagnoseInput{Request: Request{Body: []byte(string(hookBody) + "\n")}}, []string{"body-newline-added"}, ErrBodyMismatch, "current"},
		{"CRLF added", DiagnoseInput{Request: Request{Body: []byte(string(hookBody) + "\r\n")}}, []string{"body-newline-added"}, ErrBodyMismatch, "current"},
		{"newline trimmed", DiagnoseInput{Request: Request{Signature: signedBody(string(hookBody) + "\n")}}, []string{"body-newline-removed"}, ErrBodyMismatch, "current"},
		{"LF made CRLF", DiagnoseInput{Request: Request{Signature: signedBody("a\nb\n"), Body: []byte("a\r\nb\r\n")}}, []string{"body-line-ends"}, ErrBodyMismatch, "current"},
		{"CRLF made LF", DiagnoseInput{Request: Request{Signature: signedBody("a\r\nb\r\n"), Body: []byte("a\nb\n")}}, []string{"body-line-ends"}, ErrBodyMismatch, "current"},
		{"base64 by the platform", DiagnoseInput{Request: Request{Body: []byte(base64.StdEncoding.EncodeToString(hookBody))}}, []string{"body-base64"}, ErrBodyMismatch, "current"},
		{"base64 decoded", DiagnoseInput{Request: Request{Signature: signedBody(base64.StdEncoding.EncodeToString(hookBody))}}, []string{"body-base64"}, ErrBodyMismatch, "current"},
		{"compressed", DiagnoseInput{Request: Request{Body: gzipOf(t, hookBody)}}, []string{"body-gzip"}, ErrBodyMismatch, "current"},
		{"stringified twice", DiagnoseInput{Request: Request{Body: []byte(`"{\"hello\":\"world\"}"`)}}, []string{"body-quoted"}, ErrBodyMismatch, "current"},
		{"string unwrapped", DiagnoseInput{Request: Request{Signature: signedBody(`"a<b"`), Body: []byte("a<b")}}, []string{"body-unquoted"}, ErrBodyMismatch, "current"},
		{"Latin-1 taken for UTF-8", DiagnoseInput{Request: Request{Signature: signedBody("é"), Body: []byte("Ã©")}}, []string{"body-charset"}, ErrBodyMismatch, "current"},
		{"UTF-8 made Latin-1", DiagnoseInput{Request: Request{Signature: signedBody("né"), Body: []byte("n\xe9")}}, []string{"body-charset"}, ErrBodyMismatch, "current"},
		{"binary read as text", DiagnoseInput{Request: Request{Signature: signedBody("\xff\xd8\x00"), Body: []byte("\ufffd\ufffd\x00")}}, []string{"body-text-decoded"}, ErrBodyMismatch, "current"},
		{"cut short", DiagnoseInput{Request: Request{Body: hookBody[:9]}}, []string{"body-truncated"}, ErrBodyMismatch, "current"},
		{"hash in hex", DiagnoseInput{Request: Request{Signature: sealed(claimMap{"body": hex.EncodeToString(sha256Of(hookBody))})}}, []string{"body-claim-form"}, ErrBodyMismatch, "current"},
		{"hash in plain base64", DiagnoseInput{Request: Request{Signature: sealed(claimMap{"body": base64.StdEncoding.EncodeToString(sha256Of([]byte("a5")))}), Body: []byte("a5")}}, []string{"body-claim-form"}, ErrBodyMismatch, "current"},
		{"tampered", DiagnoseInput{Request: Request{Body: []byte(`{"hello":"mars"}`)}}, []string{"body-changed"}, ErrBodyMismatch, "current"},
		{"huge", DiagnoseInput{Request: Request{Body: bytes.Repeat([]byte("x"), maxGuessBytes+1)}}, []string{"body-changed"}, ErrBodyMismatch, "current"},
		{"everything at once", DiagnoseInput{Request: Request{Signature: mustSign(t, otherKey, SignOptions{}), URL: "http://app.example.com/hook?a=1", Body: []byte("x")}, Time: instant.Add(time.Hour)},
			[]string{"key-unknown", "time-expired", "url-scheme", "body-changed"}, ErrBadSignature, ""},
	}
	for name, original := range map[string]string{
		"compact":       compact,
		"two spaces":    pretty,
		"four spaces":   strings.ReplaceAll(pretty, "  ", "    "),
		"tabs":          strings.ReplaceAll(pretty, "  ", "\t"),
		"a file":        pretty + "\n",
		"Python":        `{"b": 1.50, "a": "x<y/\u00e9"}`,
		"Go":            `{"b":1.50,"a":"x\u003cy/é"}`,
		"PHP":           `{"b":1.50,"a":"x<y\/\u00e9"}`,
		"PHP in UTF-8":  `{"b":1.50,"a":"x<y\/é"}`,
		"sorted":        `{"a":"x<y/é","b":1.50}`,
		"sorted indent": "{\n  \"a\": \"x<y/é\",\n  \"b\": 1.50\n}",
	} {
		for _, came := range []string{compact, pretty, `{"b":1.50, "a":"x\u003cy\/\u00e9"}`} {
			if strings.TrimSpace(original) == came {
				continue // no other style, at most a newline
			}
			tests = append(tests, seeded{"JSON of " + name + " as " + came, DiagnoseInput{Request: Request{Signature: signedBody(original), Body: []byte(came)}},
				[]string{"body-reserialised"}, ErrBodyMismatch, "current"})
		}
	}

	tests = append(tests, headerMistakes(t)...)
	tests = append(tests, replayMistakes(t)...)
	tests = append(tests, publicKeyMistakes(t)...)

	named := map[string]bool{"url-missing": true} // seeded below: the table fills an empty URL in
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := tt.in
			if in.CurrentSigningKey == "" && in.BaseURL == "" {
				in.Options = keys
			}
			if in.Signature == "" && !strings.HasPrefix(tt.name, "no header") && in.Header[Header] == nil {
				in.Signature = token
			}
			if in.URL == "" {
				in.URL = hookURL
				if c, err := parseClaimsOf(in.Signature); err == nil && c.Subject != hookURL && !slices.Contains(tt.want, "url-host") {
					in.URL = c.Subject
				}
			}
			if in.Body == nil {
				in.Body = hookBody
			}
			if in.Time.IsZero() {
				in.Time = instant
			}
			d := Diagnose(in)
			var causes []string
			for _, f := range d.Findings {
				causes = append(causes, f.Cause)
				named[f.Cause] = true
			}
			if !slices.Equal(causes, tt.want) {
				t.Errorf("causes %q, want %q\n%s", causes, tt.want, d)
			}
			if tt.err != nil && !errors.Is(d.Err, tt.err) || d.Key != tt.key {
				t.Errorf("error %v, key %q, want %v, %q", d.Err, d.Key, tt.err, tt.key)
			}
			checkDiagnosis(t, d, verdict(in))
			if text := d.String(); !strings.Contains(text, tt.want[0]) || !strings.Contains(text, d.Findings[0].Fix) {
				t.Errorf("text lacks the cause or the fix:\n%s", text)
			}
		})
	}
	for cause := range explanations {
		if !named[cause] {
			t.Errorf("no mistake is seeded for %s", cause)
		}
	}
}

// verdict is what a receiver with the input's options says.
func verdict(in DiagnoseInput) error {
	in.Development = true
	rc, err := New(in.Options)
	if err != nil {
		return err
	}
	rc.now = func() time.Time { return in.Time }
	_, err = rc.Verify(in.Request)
	return err
}

func parseClaimsOf(signature string) (Claims, error) {
	tok, err := hs256.parse(signature)
	if err != nil {
		return Claims{}, err
	}
	return parseClaims(tok.payload)
}

func altered(t *testing.T) string {
	parts := strings.Split(mustSign(t, currentKey, SignOptions{}), ".")
	parts[1] = base64.RawURLEncoding.EncodeToString(standardClaims(claimMap{"sub": "https://attacker.example/hook?a=1"}))
	return strings.Join(parts, ".")
}

// plainBase64 returns a token that has letters of the other alphabet in it.
func plainBase64(t *testing.T) string {
	for i := range 100 {
		plain := strings.NewReplacer("-", "+", "_", "/").Replace(mustSign(t, currentKey, SignOptions{ID: strings.Repeat("i", i+1)}))
		if strings.ContainsAny(plain, "+/") {
			return plain
		}
	}
	t.Fatal("no token needs '+' or '/'")
	return ""
}

func gzipOf(t *testing.T, data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDiagnoseWithoutURL(t *testing.T) {
	d := Diagnose(DiagnoseInput{
		Options: Options{CurrentSigningKey: currentKey},
		Request: Request{Signature: mustSign(t, currentKey, SignOptions{}), Body: hookBody},
		Time:    instant,
	})
	if len(d.Findings) != 1 || d.Findings[0].Cause != "url-missing" || !errors.Is(d.Err, ErrURLMismatch) {
		t.Errorf("diagnosis %+v", d)
	}
}

func TestDiagnoseAccepted(t *testing.T) {
	for _, key := range []string{currentKey, nextKey} {
		d := Diagnose(DiagnoseInput{
			Options: Options{CurrentSigningKey: currentKey, NextSigningKey: nextKey},
			Request: Request{Signature: mustSign(t, key, SignOptions{Time: time.Now()}), URL: hookURL, Body: hookBody},
		})
		want := map[string]string{currentKey: "current", nextKey: "next"}[key]
		if d.Err != nil || len(d.Findings) != 0 || d.Key != want || d.String() != "accepted: signed with the "+want+" key\n" {
			t.Errorf("diagnosis %+v", d)
		}
	}
}

func TestDiagnosisSaysHowFar(t *testing.T) {
	tests := []struct {
		at   time.Duration
		want []string
	}{
		{6*time.Minute + 30*time.Second, []string{"before 2026-01-01T00:05:00Z", "2026-01-01T00:06:30Z (exp passed 1m30s ago)"}},
		{-2 * time.Hour, []string{"from 2026-01-01T00:00:00Z", "nbf is 2h0m0s ahead of this clock"}},
	}
	for _, tt := range tests {
		d := Diagnose(DiagnoseInput{
			Options: Options{CurrentSigningKey: currentKey},
			Request: Request{Signature: mustSign(t, currentKey, SignOptions{}), URL: hookURL, Body: hookBody},
			Time:    instant.Add(tt.at),
		})
		for _, want := range tt.want {
			if !strings.Contains(d.String(), want) {
				t.Errorf("no %q in\n%s", want, d)
			}
		}
	}
}

func TestDiagnosisKeepsTheTerminalClean(t *testing.T) {
	d := Diagnose(DiagnoseInput{
		Options: Options{CurrentSigningKey: currentKey},
		Request: Request{Signature: mustSign(t, currentKey, SignOptions{URL: "https://a.example/\x1b[2J\u009b1m\r"}), URL: hookURL, Body: hookBody},
		Time:    instant,
	})
	if text := d.String(); !strings.Contains(text, "https://a.example/·[2J·1m·\n") || strings.ContainsAny(text, "\x1b\u009b\r") {
		t.Errorf("text %q", text)
	}
}

func TestDiagnosisSaysWhichStyle(t *testing.T) {
	d := Diagnose(DiagnoseInput{
		Options: Options{CurrentSigningKey: currentKey},
		Request: Request{Signature: mustSign(t, currentKey, SignOptions{}), URL: hookURL, Body: []byte("{\n  \"hello\": \"world\"\n}")},
		Time:    instant,
	})
	if f := d.Findings[0]; !strings.HasSuffix(f.What, ": the signature fits the same JSON written compact") || f.Expected != bodyHash(hookBody) || f.Got == "" {
		t.Errorf("finding %+v", f)
	}
}
