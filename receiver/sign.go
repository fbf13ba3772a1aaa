package receiver

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	signedFor  = 5 * time.Minute
	jtiPrefix  = "jwt_"
	jtiLetters = "23456789abcdefghijkmnpqrstuvwxyz" // 32 of them: five bits each
)

// SignOptions say what a token vouches for.
type SignOptions struct {
	URL  string    // where the request goes, exactly as it is sent; required, UTF-8
	Body []byte    // the body's bytes. Default: empty
	Time time.Time // when it is sent: iat and nbf; exp is 5 minutes later. Default: now
	ID   string    // jti. Default: "jwt_" and 28 random characters

	Kind    Kind   // claim kind. Default: none, and no claim att either
	RunID   string // claim run. Default: none
	Attempt int    // claim att

	// Header is what the request is sent with: the claim hdr covers those of it
	// that begin with "Upstash-", but the signature. Default: nothing is covered.
	Header http.Header
}

// Sign makes the value of an Upstash-Signature header with a key of at least 16
// bytes. To sign many requests, keep a [Signer]. A past or future Time makes the
// tokens that a receiver's tests need.
func Sign(key string, o SignOptions) (string, error) {
	s, err := NewSigner(key)
	if err != nil {
		return "", err
	}
	return s.Sign(o)
}

// SignRequest signs r for the URL it is sent to, or was received at, and sets its
// Upstash-Signature header. body must be what r's body holds, which is not read.
func SignRequest(r *http.Request, key string, body []byte) error {
	url := r.URL.String()
	if !r.URL.IsAbs() {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		url = scheme + "://" + r.Host + originForm(r)
	}
	token, err := Sign(key, SignOptions{URL: url, Body: body})
	if err != nil {
		return err
	}
	r.Header.Set(Header, token)
	return nil
}

// A Signer signs with one key; it saves the key's preparation that [Sign] repeats.
// It is safe for concurrent use.
type Signer struct{ key *key }

// NewSigner returns a signer. It fails on a key that no [Receiver] would take.
func NewSigner(key string) (*Signer, error) {
	k, err := newKey(key)
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	return &Signer{key: k}, nil
}

var (
	encodedHeader = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))
	errNoURL      = errors.New("sign: no URL")
	errURLNotUTF8 = errors.New("sign: URL is not valid UTF-8")
)

// Sign makes the value of an Upstash-Signature header. It fails if o.URL is empty
// or not UTF-8. A URL beyond about 5,800 bytes makes a token that is longer
// than the 8 KiB a [Receiver] accepts.
func (s *Signer) Sign(o SignOptions) (string, error) {
	if err := o.complete(); err != nil {
		return "", err
	}
	st := s.key.acquire()
	defer s.key.release(st)
	st.claims = appendClaims(st.claims[:0], o)
	b := append(append(st.token[:0], encodedHeader...), '.')
	b = base64.RawURLEncoding.AppendEncode(b, st.claims)
	mac := st.sign(b)
	b = append(b, '.')
	st.token = base64.RawURLEncoding.AppendEncode(b, mac)
	return string(st.token), nil
}

// complete checks o and puts defaults in place.
func (o *SignOptions) complete() error {
	switch {
	case o.URL == "":
		return errNoURL
	case !utf8.ValidString(o.URL):
		return errURLNotUTF8
	}
	if o.Time.IsZero() {
		o.Time = time.Now()
	}
	return nil
}

func appendClaims(b []byte, o SignOptions) []byte {
	b = append(b, `{"iss":"`+issuer+`","sub":`...)
	b = appendString(b, o.URL)
	iat := o.Time.Unix()
	b = strconv.AppendInt(append(b, `,"iat":`...), iat, 10)
	b = strconv.AppendInt(append(b, `,"nbf":`...), iat, 10)
	b = strconv.AppendInt(append(b, `,"exp":`...), iat+int64(signedFor/time.Second), 10)
	b = append(b, `,"jti":`...)
	if o.ID != "" {
		b = appendString(b, o.ID)
	} else {
		b = appendRandomID(b)
	}
	b = append(b, `,"body":"`...)
	sum := sha256.Sum256(o.Body)
	b = base64.URLEncoding.AppendEncode(b, sum[:])
	b = append(b, '"')
	if o.Kind != "" {
		b = appendString(append(b, `,"kind":`...), string(o.Kind))
		b = strconv.AppendInt(append(b, `,"att":`...), int64(o.Attempt), 10)
	}
	if o.RunID != "" {
		b = appendString(append(b, `,"run":`...), o.RunID)
	}
	if o.Header != nil {
		b = append(append(b, `,"hdr":"`...), headerHash(o.Header)...)
		b = append(b, '"')
	}
	return append(b, '}')
}

func appendRandomID(b []byte) []byte {
	b = append(b, `"`+jtiPrefix...)
	start := len(b)
	b = append(b, "0123456789012345678901234567"...)
	id := b[start:]
	rand.Read(id) // never fails: it ends the program instead
	for i, r := range id {
		id[i] = jtiLetters[r%32]
	}
	return append(b, '"')
}

// appendString appends s as JSON; nearly every URL needs no escape.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always has a JSON form
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
