package receiver

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	issuer        = "Upstash"
	maxTokenBytes = 8 << 10
	maxLifetime   = time.Hour
)

// strict refuses padding and stray trailing bits, but skips line breaks: check
// the alphabet first.
var strict = base64.RawURLEncoding.Strict()

// A scheme is a kind of token: which one a receiver takes is decided by the keys
// it was made with, never by the token.
type scheme struct {
	header string // of the request, that carries the token
	alg    string
	bytes  int // of a signature
}

var (
	hs256 = scheme{header: Header, alg: "HS256", bytes: sha256.Size}
	edDSA = scheme{header: Ed25519Header, alg: "EdDSA", bytes: ed25519.SignatureSize}
)

// A token is a compact JWS whose encoding and header are in order. Its payload is
// not to be trusted before a key has vouched for it.
type token struct {
	signed    string // header and payload as they came: what the signature covers
	payload   []byte // decoded, not yet parsed
	signature []byte // a MAC, or an Ed25519 signature
	kid       string // of the header; "" for HS256, which takes no hint
}

func (sc scheme) parse(s string) (token, error) {
	if s == "" {
		return token{}, &VerifyError{Err: ErrNoSignature, Reason: "the " + sc.header + " header is missing or empty"}
	}
	if len(s) > maxTokenBytes {
		return token{}, malformed("", fmt.Sprintf("token has %d bytes, at most %d are accepted", len(s), maxTokenBytes))
	}
	if i := strings.IndexFunc(s, notTokenRune); i >= 0 {
		return token{}, malformed("", fmt.Sprintf("token has the byte %q at %d", s[i], i))
	}
	if n := strings.Count(s, "."); n != 2 {
		return token{}, malformed("", fmt.Sprintf("token has %d parts instead of 3", n+1))
	}
	cut := strings.LastIndexByte(s, '.')
	header64, payload64, _ := strings.Cut(s[:cut], ".")
	kid, err := sc.checkHeader(header64)
	if err != nil {
		return token{}, err
	}
	payload, err := strict.DecodeString(payload64)
	if err != nil {
		return token{}, malformed("", "payload is not canonical base64url")
	}
	signature, err := strict.DecodeString(s[cut+1:])
	if err != nil || len(signature) != sc.bytes {
		return token{}, malformed("", fmt.Sprintf("signature part is not the base64url of %d bytes", sc.bytes))
	}
	return token{signed: s[:cut], payload: payload, signature: signature, kid: kid}, nil
}

func notTokenRune(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
		return false
	}
	return true
}

// checkHeader returns the key id that an EdDSA token names. It may choose among
// the owner's keys and nothing else; keys and addresses of keys that travel in
// a token (jwk, jku, x5c, x5u) are not even looked at.
func (sc scheme) checkHeader(encoded string) (kid string, err error) {
	if sc == hs256 && encoded == encodedHeader {
		return "", nil // as nearly every sender writes it
	}
	data, err := strict.DecodeString(encoded)
	if err != nil {
		return "", malformed("", "header is not canonical base64url")
	}
	h, err := parseObject(data)
	if err != nil {
		return "", malformed("", "header: "+err.Error())
	}
	if alg, ok := h["alg"].(string); !ok || alg != sc.alg {
		return "", &VerifyError{Err: ErrMalformed, Field: "alg", Expected: sc.alg, Got: show(h["alg"]), Reason: "alg is not " + sc.alg}
	}
	if v, present := h["typ"]; present {
		if typ, ok := v.(string); !ok || !isJWTType(typ) {
			return "", &VerifyError{Err: ErrMalformed, Field: "typ", Expected: "JWT", Got: show(v), Reason: "typ is not a JWT type"}
		}
	}
	if v, present := h["crit"]; present {
		return "", &VerifyError{Err: ErrMalformed, Field: "crit", Got: show(v), Reason: "header demands an extension (crit)"}
	}
	if sc == hs256 {
		return "", nil
	}
	return kidOf(h)
}

func kidOf(h map[string]any) (string, error) {
	kid, ok := h["kid"].(string)
	if !ok || !isKid(kid) {
		return "", &VerifyError{Err: ErrMalformed, Field: "kid", Expected: "the id of a key", Got: show(h["kid"]), Reason: "kid is missing or not the id of a key"}
	}
	return kid, nil
}

func isJWTType(typ string) bool {
	typ = lowerASCII(typ)
	return typ == "jwt" || typ == "application/jwt" || strings.HasSuffix(typ, "+jwt")
}

// Claims are what a verified token says.
type Claims struct {
	Subject   string    // sub: the URL the request was sent to, as the sender spells it
	ID        string    // jti: unique per attempt; "" if absent
	IssuedAt  time.Time // iat; zero if absent
	NotBefore time.Time // nbf
	ExpiresAt time.Time // exp
	BodyHash  string    // body: base64url of the body's SHA-256, padded or not
	Key       string    // which key made the signature: "current" or "next"; an Ed25519 key's id (kid)

	// What only Signpost servers say; zero if absent.
	Kind       Kind   // kind: what the request is about
	RunID      string // run: the workflow run the request belongs to
	Attempt    int    // att: how often this message was tried before
	HeaderHash string // hdr: base64url SHA-256 of the control headers

	keyID string // of Key; a rotation may change what the word stands for
}

func parseClaims(payload []byte) (Claims, error) {
	m, err := parseObject(payload)
	if err != nil {
		return Claims{}, malformed("", "claims: "+err.Error())
	}
	r := claimReader{claims: m}
	iss := r.text("iss", true)
	c := Claims{
		Subject:   r.text("sub", true),
		ExpiresAt: r.time("exp", true),
		NotBefore: r.time("nbf", true),
		BodyHash:  r.text("body", true),
		IssuedAt:  r.time("iat", false),
		ID:        r.text("jti", false),

		Kind:       Kind(r.text("kind", false)),
		RunID:      r.text("run", false),
		Attempt:    r.count("att"),
		HeaderHash: r.text("hdr", false),
	}
	if r.err != nil {
		return Claims{}, r.err
	}
	if iss != issuer {
		return Claims{}, &VerifyError{Err: ErrMalformed, Field: "iss", Expected: issuer, Got: clip(iss), Reason: "iss is not " + issuer}
	}
	from := c.IssuedAt
	if from.IsZero() {
		from = c.NotBefore
	}
	if d := c.ExpiresAt.Sub(from); d > maxLifetime {
		return Claims{}, &VerifyError{Err: ErrMalformed, Field: "exp", Expected: "at most " + maxLifetime.String() + " after iat", Got: d.String(),
			Reason: "token is made to live longer than " + maxLifetime.String()}
	}
	return c, nil
}

// A claimReader takes typed claims out of a parsed payload and keeps the first error.
type claimReader struct {
	claims map[string]any
	err    error
}

func (r *claimReader) text(name string, required bool) string {
	v, present := r.value(name, required)
	s, ok := v.(string)
	if present && !ok || required && present && s == "" {
		r.wrong(name, "a text", v)
	}
	return s
}

// latest is the last second of the year 9999, the last that every time format holds.
const latest = 253402300799

func (r *claimReader) time(name string, required bool) time.Time {
	v, present := r.value(name, required)
	if !present {
		return time.Time{}
	}
	n, _ := v.(json.Number)
	sec, err := strconv.ParseUint(string(n), 10, 63)
	if err != nil || sec > latest {
		r.wrong(name, "whole seconds since 1970", v)
	}
	return time.Unix(int64(sec), 0)
}

func (r *claimReader) count(name string) int {
	v, present := r.value(name, false)
	if !present {
		return 0
	}
	number, _ := v.(json.Number)
	n, err := strconv.ParseUint(string(number), 10, 31)
	if err != nil {
		r.wrong(name, "a count", v)
	}
	return int(n)
}

func (r *claimReader) value(name string, required bool) (any, bool) {
	v, present := r.claims[name]
	if required && !present && r.err == nil {
		r.err = malformed(name, "claim "+name+" is missing")
	}
	return v, present
}

func (r *claimReader) wrong(name, want string, got any) {
	if r.err == nil {
		r.err = &VerifyError{Err: ErrMalformed, Field: name, Expected: want, Got: show(got), Reason: "claim " + name + " is not " + want}
	}
}

func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return clip(string(b))
}

var errNotObject = errors.New("not a JSON object")

// parseObject parses one JSON object in which no key is repeated at any depth.
// encoding/json alone takes the last of two equal keys, matches struct fields
// whatever their case, and mends broken UTF-8.
func parseObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, errNotObject
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := parseValue(dec)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errNotObject
	}
	return m, nil
}

func parseValue(dec *json.Decoder) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('{'):
		return parseMembers(dec)
	case json.Delim('['):
		return parseElements(dec)
	}
	return tok, nil
}

func parseMembers(dec *json.Decoder) (map[string]any, error) {
	m := make(map[string]any)
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := tok.(string)
		if !ok {
			return nil, io.ErrUnexpectedEOF
		}
		if _, repeated := m[name]; repeated {
			return nil, fmt.Errorf("key %q is repeated", clip(name))
		}
		if m[name], err = parseValue(dec); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return m, err
}

func parseElements(dec *json.Decoder) ([]any, error) {
	a := []any{}
	for dec.More() {
		v, err := parseValue(dec)
		if err != nil {
			return nil, err
		}
		a = append(a, v)
	}
	_, err := dec.Token()
	return a, err
}
