package receiver

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// Header is the name of the header that carries the token.
const Header = "Upstash-Signature"

const (
	defaultTolerance    = 5 * time.Second
	defaultMaxBodyBytes = 10 << 20
)

// Options configure a [Receiver]. Only CurrentSigningKey has no default.
type Options struct {
	// CurrentSigningKey is the key that senders sign with, as GET /v2/keys shows
	// it. Required: at least 16 bytes of printable ASCII without white space.
	CurrentSigningKey string

	// NextSigningKey is the key that senders will sign with after the next
	// rotation. It may be left empty, since a sender that never rotates has one
	// key only; but then a rotation refuses requests until the new key is
	// configured here. If it is given it must be as good as the current one: it
	// opens the same door.
	NextSigningKey string

	// URLMode says how the token's URL is compared. Default: URLCanonical.
	URLMode URLMode

	// RequireBinding refuses tokens that do not cover the control headers, those
	// whose name begins with "Upstash-". A token that covers them is held to it
	// in any case. Set it when every sender is a Signpost server. Default: false,
	// since other servers of the protocol cover URL and body only.
	RequireBinding bool

	// Development accepts the well-known keys of development servers, and then
	// only requests that are local (see [IsLocal]): anybody can sign with them.
	// It has no effect on other keys. Default: false, and such a key is an
	// error; for FromEnv, what SIGNPOST_DEV or QSTASH_DEV says ("1", "true").
	Development bool

	// BaseURL is where senders reach this server: scheme, host, and the path
	// that a proxy cuts off, if any; no query. With it no header can influence
	// the comparison. Default: taken from each request.
	BaseURL string

	// TrustedProxies are the peers whose X-Forwarded-Proto and X-Forwarded-Host
	// are believed when BaseURL is empty. Default: none.
	TrustedProxies []netip.Prefix

	// ClockTolerance is how far this clock and the sender's may be apart.
	// Default: 5 s. Negative: none.
	ClockTolerance time.Duration

	// MaxBodyBytes is the largest body that VerifyRequest reads.
	// Default: 10 MiB. It cannot be negative.
	MaxBodyBytes int64

	// OnRefusal is called by Middleware with what VerifyRequest returned, before
	// the refusal is answered: the answer says less than the error. r's body may
	// have been read. Default: nothing is called.
	OnRefusal func(r *http.Request, err error)
}

// A Receiver verifies requests. It is safe for concurrent use.
type Receiver struct {
	current, next *key // next is nil if there is none
	development   bool // one of them is well known
	opts          Options
	now           func() time.Time
}

// New returns a receiver, or an error that names the option at fault;
// it is [ErrNoKey] when there is no current key, and [ErrDevelopmentKey] when a
// key is well known. There is no receiver that accepts unsigned requests.
func New(o Options) (*Receiver, error) {
	if o.CurrentSigningKey == "" {
		return nil, ErrNoKey
	}
	rc := &Receiver{now: time.Now}
	var err error
	if rc.current, err = newKey(o.CurrentSigningKey); err != nil {
		return nil, fmt.Errorf("read current signing key: %w", err)
	}
	if o.NextSigningKey != "" {
		if rc.next, err = newKey(o.NextSigningKey); err != nil {
			return nil, fmt.Errorf("read next signing key: %w", err)
		}
	}
	rc.development = developmentKeys.owner(o.CurrentSigningKey) != "" || developmentKeys.owner(o.NextSigningKey) != ""
	if rc.development && !o.Development {
		return nil, ErrDevelopmentKey
	}
	if rc.opts, err = o.normal(); err != nil {
		return nil, err
	}
	return rc, nil
}

// FromEnv is [New] with the keys from the environment variables
// QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY. It refuses keys in o,
// so that it is never in doubt which ones are used.
func FromEnv(o Options) (*Receiver, error) {
	if o.CurrentSigningKey != "" || o.NextSigningKey != "" {
		return nil, errors.New("signing keys are given in the options and asked from the environment")
	}
	o.CurrentSigningKey = os.Getenv("QSTASH_CURRENT_SIGNING_KEY")
	o.NextSigningKey = os.Getenv("QSTASH_NEXT_SIGNING_KEY")
	o.Development = o.Development || developmentAsked()
	rc, err := New(o)
	if errors.Is(err, ErrNoKey) {
		return nil, fmt.Errorf("read QSTASH_CURRENT_SIGNING_KEY: %w", err)
	}
	return rc, err
}

// normal checks o, puts defaults in place, and forgets the keys.
func (o Options) normal() (Options, error) {
	o.CurrentSigningKey, o.NextSigningKey = "", ""
	if o.URLMode < URLCanonical || o.URLMode > URLOff {
		return o, fmt.Errorf("unknown URL mode %d", o.URLMode)
	}
	if o.BaseURL != "" {
		if strings.ContainsAny(o.BaseURL, "?#") {
			return o, fmt.Errorf("base URL %q has a query or a fragment", o.BaseURL)
		}
		if _, err := parseURL(o.BaseURL); err != nil {
			return o, fmt.Errorf("parse base URL %q: %w", o.BaseURL, err)
		}
		o.BaseURL = strings.TrimRight(o.BaseURL, "/")
	}
	for _, p := range o.TrustedProxies {
		if !p.IsValid() || p.Addr().Is4In6() {
			return o, fmt.Errorf("trusted proxy prefix %q is not a plain IPv4 or IPv6 prefix", p)
		}
	}
	o.TrustedProxies = slices.Clone(o.TrustedProxies)
	o.ClockTolerance = tolerance(o.ClockTolerance)
	switch {
	case o.MaxBodyBytes == 0:
		o.MaxBodyBytes = defaultMaxBodyBytes
	case o.MaxBodyBytes < 0:
		return o, fmt.Errorf("maximal body size %d is negative", o.MaxBodyBytes)
	}
	return o, nil
}

func tolerance(option time.Duration) time.Duration {
	if option == 0 {
		return defaultTolerance
	}
	return max(option, 0)
}

// A Request is what [Receiver.Verify] compares with a token.
type Request struct {
	Signature string // the one value of the Upstash-Signature header
	URL       string // absolute URL the request was sent to; not needed with URLOff
	Body      []byte // the body as it came, before any decoding

	// Header is what a token that covers the control headers is compared with.
	// Nil: nothing is compared, and nothing that an Upstash-* header says may be
	// believed.
	Header http.Header
}

// Verify checks a request that does not come from net/http; for one that does
// see [Receiver.VerifyRequest]. It cannot know who sent it: see
// [Receiver.Development]. The error is a *[VerifyError] around one of
// ErrNoSignature, ErrMalformed, ErrBadSignature, ErrExpired, ErrNotYetValid,
// ErrURLMismatch, ErrHeaderMismatch and ErrBodyMismatch.
func (rc *Receiver) Verify(r Request) (Claims, error) {
	c, err := rc.verifyToken(r.Signature)
	if err == nil {
		err = matchURL(rc.opts.URLMode, c.Subject, r.URL)
	}
	if err == nil {
		err = matchHeader(rc.opts.RequireBinding, c, r.Header)
	}
	if err == nil {
		err = matchBody(c.BodyHash, r.Body)
	}
	if err != nil {
		return Claims{}, err
	}
	return c, nil
}

// verifyToken does all that needs neither URL nor body. Claims are not even
// parsed before a key has vouched for them.
func (rc *Receiver) verifyToken(signature string) (Claims, error) {
	t, err := parseToken(signature)
	if err != nil {
		return Claims{}, err
	}
	by := rc.signer(t)
	if by == "" {
		return Claims{}, &VerifyError{Err: ErrBadSignature, Reason: "made with neither the current nor the next signing key"}
	}
	c, err := parseClaims(t.payload)
	if err != nil {
		return Claims{}, err
	}
	c.Key = by
	return c, checkTimes(c, rc.now(), rc.opts.ClockTolerance)
}

func (rc *Receiver) signer(t token) string {
	switch {
	case rc.current.made(t):
		return "current"
	case rc.next != nil && rc.next.made(t):
		return "next"
	}
	return ""
}

func checkTimes(c Claims, now time.Time, tolerance time.Duration) error {
	if late := now.Sub(c.ExpiresAt); late >= tolerance {
		return &VerifyError{Err: ErrExpired, Field: "exp", Expected: "before " + stamp(c.ExpiresAt), Got: stamp(now),
			Reason: fmt.Sprintf("exp passed %s ago", late.Round(time.Millisecond))}
	}
	field, from := "nbf", c.NotBefore
	if c.IssuedAt.After(from) {
		field, from = "iat", c.IssuedAt
	}
	if early := from.Sub(now); early > tolerance {
		return &VerifyError{Err: ErrNotYetValid, Field: field, Expected: "from " + stamp(from), Got: stamp(now),
			Reason: fmt.Sprintf("%s is %s ahead of this clock", field, early.Round(time.Millisecond))}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func matchBody(claim string, body []byte) error {
	want := strings.TrimRight(claim, "=")
	got := bodyHash(body)
	if subtle.ConstantTimeCompare([]byte(want), []byte(got)) == 1 {
		return nil
	}
	return &VerifyError{Err: ErrBodyMismatch, Field: "body", Expected: clip(want), Got: got,
		Reason: fmt.Sprintf("the %d bytes that came are not those that were signed", len(body))}
}

func bodyHash(body []byte) string {
	sum := sha256.Sum256(body)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
