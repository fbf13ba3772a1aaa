package receiver

import (
	"crypto/ed25519"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

func headerMistakes(t *testing.T) []seeded {
	signed := http.Header{"Upstash-Message-Id": {"msg_1"}, "Upstash-Retried": {"0"}}
	token := mustSign(t, currentKey, SignOptions{Header: signed})
	bound := Options{CurrentSigningKey: currentKey, RequireBinding: true}
	with := func(changes http.Header) http.Header {
		h := signed.Clone()
		for name, values := range changes {
			h[name] = values
		}
		return h
	}
	request := func(h http.Header) Request { return Request{Signature: token, Header: h} }
	return []seeded{
		{"headers not covered", DiagnoseInput{Options: bound, Request: Request{Header: signed}}, []string{"header-unbound"}, ErrHeaderMismatch, "current"},
		{"headers not given", DiagnoseInput{Options: bound, Request: request(nil)}, []string{"header-absent"}, ErrHeaderMismatch, "current"},
		{"headers dropped", DiagnoseInput{Request: request(http.Header{"Content-Type": {"x"}})}, []string{"header-stripped"}, ErrHeaderMismatch, "current"},
		{"made a failure", DiagnoseInput{Request: request(with(http.Header{"Upstash-Workflow-Is-Failure": {"true"}}))}, []string{"header-added"}, ErrHeaderMismatch, "current"},
		{"header changed", DiagnoseInput{Request: request(with(http.Header{"Upstash-Retried": {"1"}}))}, []string{"header-changed"}, ErrHeaderMismatch, "current"},
		{"one header dropped", DiagnoseInput{Request: request(http.Header{"Upstash-Retried": {"0"}})}, []string{"header-changed"}, ErrHeaderMismatch, "current"},
		{"header and body", DiagnoseInput{Request: Request{Signature: token, Header: with(http.Header{"Upstash-X": {"\x1b"}}), Body: []byte("x")}}, []string{"header-added", "body-changed"}, ErrHeaderMismatch, "current"},
		{"two signature headers", DiagnoseInput{Request: Request{Header: http.Header{Header: {token, token}}}}, []string{"token-repeated"}, ErrMalformed, ""},
		{"signature in the headers, body changed", DiagnoseInput{Request: Request{Header: with(http.Header{Header: {token}}), Body: []byte("x")}}, []string{"body-changed"}, ErrBodyMismatch, "current"},
	}
}

func replayMistakes(t *testing.T) []seeded {
	token := mustSign(t, currentKey, SignOptions{ID: "jwt_1"})
	now := instant
	seen := newMemoryCache(0, &now)
	if fresh, err := seen.Use(t.Context(), "jwt_1", instant.Add(time.Hour)); !fresh || err != nil {
		t.Fatal(fresh, err)
	}
	options := func(c ReplayCache) Options { return Options{CurrentSigningKey: currentKey, Replay: c} }
	noID := seal(currentKey, standardHeader, standardClaims(claimMap{"jti": nil}))
	return []seeded{
		{"replayed", DiagnoseInput{Options: options(seen), Request: Request{Signature: token}}, []string{"replay-repeated"}, ErrReplayed, "current"},
		{"without an id", DiagnoseInput{Options: options(seen), Request: Request{Signature: noID}}, []string{"replay-no-id"}, ErrMalformed, "current"},
		{"cache away", DiagnoseInput{Options: options(&spyCache{err: errors.New("away")}), Request: Request{Signature: token}}, []string{"replay-unavailable"}, ErrUnavailable, "current"},
	}
}

func publicKeyMistakes(t *testing.T) []seeded {
	s, other := newEd25519Signer(t, 1), newEd25519Signer(t, 2)
	token := mustSignEd25519(t, s, SignOptions{})
	set, err := NewKeySet("http://127.0.0.1:1/", nil)
	if err != nil {
		t.Fatal(err)
	}
	const skip = "https://a.example" // keeps the table from filling keys in
	public := Options{PublicKeys: []ed25519.PublicKey{s.PublicKey()}, BaseURL: skip}
	request := func(token string) Request { return Request{Signature: token} }
	forged := sealEd25519(other, ed25519Header(s.KeyID()), standardClaims(nil))
	noKid := sealEd25519(s, `{"alg":"EdDSA"}`, standardClaims(nil))
	return []seeded{
		{"no header for public keys", DiagnoseInput{Options: public}, []string{"token-missing-ed25519"}, ErrNoSignature, ""},
		{"HS256 for public keys", DiagnoseInput{Options: public, Request: request(mustSign(t, currentKey, SignOptions{}))}, []string{"token-hs256"}, ErrMalformed, ""},
		{"EdDSA for shared keys", DiagnoseInput{Request: request(token)}, []string{"token-eddsa"}, ErrMalformed, ""},
		{"none for public keys", DiagnoseInput{Options: public, Request: request(sealEd25519(s, `{"alg":"none"}`, standardClaims(nil)))}, []string{"token-alg"}, ErrMalformed, ""},
		{"no kid", DiagnoseInput{Options: public, Request: request(noKid)}, []string{"token-kid"}, ErrMalformed, ""},
		{"cut in the signature", DiagnoseInput{Options: public, Request: request(token[:len(token)-40])}, []string{"token-truncated"}, ErrMalformed, ""},
		{"EdDSA with a newline", DiagnoseInput{Options: public, Request: request(token + "\n")}, []string{"token-space"}, ErrMalformed, s.KeyID()},
		{"another server's key", DiagnoseInput{Options: public, Request: request(mustSignEd25519(t, other, SignOptions{}))}, []string{"key-public-unknown"}, ErrBadSignature, ""},
		{"forged under a known id", DiagnoseInput{Options: public, Request: request(forged)}, []string{"key-public-mismatch"}, ErrBadSignature, ""},
		{"key set away", DiagnoseInput{Options: Options{KeySet: set, BaseURL: skip}, Request: request(token)}, []string{"key-set-unavailable"}, ErrUnavailable, ""},
		{"weak public key", DiagnoseInput{Options: Options{PublicKeys: []ed25519.PublicKey{make([]byte, 32)}, BaseURL: skip}, Request: request(token)}, []string{"options-invalid"}, nil, ""},
		{"EdDSA, late and for another body", DiagnoseInput{Options: public, Request: Request{Signature: token, Body: []byte("x")}, Time: instant.Add(time.Hour)},
			[]string{"time-expired", "body-changed"}, ErrExpired, s.KeyID()},
	}
}

func TestDiagnosisNamesTheHeader(t *testing.T) {
	signed := http.Header{"Upstash-Retried": {"0"}}
	came := http.Header{"Upstash-Retried": {"0"}, "Upstash-Workflow-Is-Failure": {"true"}}
	d := Diagnose(DiagnoseInput{
		Options: Options{CurrentSigningKey: currentKey},
		Request: Request{Signature: mustSign(t, currentKey, SignOptions{Header: signed}), URL: hookURL, Body: hookBody, Header: came},
		Time:    instant,
	})
	if len(d.Findings) != 1 || d.Findings[0].Got != "Upstash-Workflow-Is-Failure" || !strings.Contains(d.String(), "got       Upstash-Workflow-Is-Failure") {
		t.Errorf("diagnosis:\n%s", d)
	}
}
