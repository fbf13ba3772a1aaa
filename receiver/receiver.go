package receiver

import (
	"context"
	"crypto/ed25519"
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
	"sync/atomic"
	"time"
)

// The headers that carry a token: Header one that is signed with a key sender
// and receiver share, Ed25519Header one that a public key verifies.
const (
	Header        = "Upstash-Signature"
	Ed25519Header = "Upstash-Signature-Ed25519"
)

const (
	defaultTolerance    = 5 * time.Second
	defaultMaxBodyBytes = 32 << 20
)

// Options configure a [Receiver]. It needs a CurrentSigningKey, PublicKeys or a
// KeySet; the rest has defaults.
type Options struct {
	// CurrentSigningKey is the key that senders sign with, as GET /v2/keys shows
	// it: at least 16 bytes of printable ASCII without white space. Required
	// unless there are public keys.
	CurrentSigningKey string

	// NextSigningKey is the key that senders will sign with after the next
	// rotation. It may be left empty, since a sender that never rotates has one
	// key only; but then a rotation refuses requests until the new key is
	// configured here. If it is given it must be as good as the current one: it
	// opens the same door.
	NextSigningKey string

	// PublicKeys verify the token in Ed25519Header, so that this receiver holds
	// no secret. With them, or with a KeySet, that token is required, and the one
	// in Header is ignored, whatever other keys are given: otherwise whoever
	// knows a shared key could choose the weaker check. Default: none.
	PublicKeys []ed25519.PublicKey

	// KeySet are public keys that their owner publishes, instead of PublicKeys.
	// Default: none.
	KeySet *KeySet

	// Replay makes a receiver accept each request once: it remembers the id
	// (claim jti) of every one it has verified. A token without an id is refused.
	// Default: a request may come again until its token expires.
	Replay ReplayCache

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
	// the comparison. Default: the connection's scheme and the request's Host if
	// that is a loopback address, or if the peer is in TrustedProxies. Any other
	// request is then refused.
	BaseURL string

	// TrustedProxies are the peers whose Host, X-Forwarded-Proto and
	// X-Forwarded-Host are believed when BaseURL is empty. Default: none.
	TrustedProxies []netip.Prefix

	// ClockTolerance is how far this clock and the sender's may be apart.
	// Default: 5 s. Negative: none.
	ClockTolerance time.Duration

	// MaxBodyBytes is the largest body that VerifyRequest reads, once the rest of
	// the signature has proved good. Default: 32 MiB, as the callback of a message
	// of 10 MiB has that and its response in base64. It cannot be negative.
	MaxBodyBytes int64

	// OnRefusal is called by Middleware with what VerifyRequest returned, before
	// the refusal is answered: the answer says less than the error. r's body may
	// have been read. Default: nothing is called.
	OnRefusal func(r *http.Request, err error)
}

// A Receiver verifies requests. It is safe for concurrent use.
type Receiver struct {
	shared atomic.Pointer[keyPair] // nil if there are public keys only
	public publicKeys              // nil if there are none
	opts   Options
	now    func() time.Time
}

// New returns a receiver, or an error that names the option at fault;
// it is [ErrNoKey] when there is no key, and [ErrDevelopmentKey] when a key is well
// known. There is no receiver that accepts unsigned requests.
func New(o Options) (*Receiver, error) {
	rc := &Receiver{now: time.Now}
	var err error
	if rc.public, err = o.public(); err != nil {
		return nil, err
	}
	if o.CurrentSigningKey != "" || o.NextSigningKey != "" || rc.public == nil {
		p, err := newKeyPair(o.CurrentSigningKey, o.NextSigningKey, o.Development)
		if errors.Is(err, ErrNoKey) {
			err = fmt.Errorf("%w in the options: FromEnv reads it from the environment", ErrNoKey)
		}
		if err != nil {
			return nil, err
		}
		rc.shared.Store(p)
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
	if o.CurrentSigningKey != "" || o.NextSigningKey != "" || len(o.PublicKeys) > 0 || o.KeySet != nil {
		return nil, errors.New("keys are given in the options and asked from the environment")
	}
	o.CurrentSigningKey = os.Getenv("QSTASH_CURRENT_SIGNING_KEY")
	o.NextSigningKey = os.Getenv("QSTASH_NEXT_SIGNING_KEY")
	o.Development = o.Development || developmentAsked()
	rc, err := New(o)
	if errors.Is(err, ErrNoKey) {
		return nil, fmt.Errorf("read QSTASH_CURRENT_SIGNING_KEY: %w", ErrNoKey)
	}
	return rc, err
}

// normal checks o, puts defaults in place, and forgets the keys.
func (o Options) normal() (Options, error) {
	o.CurrentSigningKey, o.NextSigningKey, o.PublicKeys, o.KeySet = "", "", nil, nil
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
	// Signature is the one value of the Upstash-Signature header, or, for a
	// receiver with public keys, of Upstash-Signature-Ed25519.
	// Default: taken from Header, which must have it once.
	Signature string

	URL  string // absolute URL the request was sent to; not needed with URLOff
	Body []byte // the body as it came, before any decoding

	// ReadBody gives the body in Body's place, after all else has been verified:
	// a stranger then cannot make the receiver hold bytes for him. Its error is
	// returned as it is. Default: Body.
	ReadBody func() ([]byte, error)

	// Header is what a token that covers the control headers is compared with.
	// Nil: nothing is compared, and nothing that an Upstash-* header says may be
	// believed.
	Header http.Header
}

// Verify checks a request that does not come from net/http; for one that does
// see [Receiver.VerifyRequest]. It cannot know who sent it: see
// [Receiver.Development]. The error is a *[VerifyError] around one of
// ErrNoSignature, ErrMalformed, ErrBadSignature, ErrExpired, ErrNotYetValid,
// ErrURLMismatch, ErrHeaderMismatch, ErrBodyMismatch, ErrReplayed and
// ErrUnavailable.
func (rc *Receiver) Verify(r Request) (Claims, error) {
	return rc.VerifyContext(context.Background(), r)
}

// VerifyContext is [Receiver.Verify] with a context for [Options.KeySet] and
// [Options.Replay], which may have to ask others.
func (rc *Receiver) VerifyContext(ctx context.Context, r Request) (Claims, error) {
	if r.Signature == "" {
		var err error
		if r.Signature, err = rc.scheme().from(r.Header); err != nil {
			return Claims{}, err
		}
	}
	c, err := rc.verifyToken(ctx, r.Signature)
	if err == nil {
		err = matchURL(rc.opts.URLMode, c.Subject, r.URL)
	}
	if err == nil {
		err = matchHeader(rc.opts.RequireBinding, c, r.Header)
	}
	if err == nil && r.ReadBody != nil {
		r.Body, err = r.ReadBody()
	}
	if err == nil {
		err = matchBody(c.BodyHash, r.Body)
	}
	if err == nil {
		err = rc.refuseReplay(ctx, c)
	}
	if err != nil {
		return Claims{}, err
	}
	return c, nil
}

// scheme is which tokens rc takes.
func (rc *Receiver) scheme() scheme {
	if rc.public != nil {
		return edDSA
	}
	return hs256
}

// from returns the token in h.
func (sc scheme) from(h http.Header) (string, error) {
	values := h.Values(sc.header)
	if len(values) > 1 {
		return "", malformed("", fmt.Sprintf("%d %s headers", len(values), sc.header))
	}
	return strings.Join(values, ""), nil
}

// verifyToken does all that needs neither URL nor body. Claims are not even
// parsed before a key has vouched for them.
func (rc *Receiver) verifyToken(ctx context.Context, signature string) (Claims, error) {
	t, err := rc.scheme().parse(signature)
	if err != nil {
		return Claims{}, err
	}
	name, id, err := rc.signer(ctx, t)
	if err != nil {
		return Claims{}, err
	}
	c, err := parseClaims(t.payload)
	if err != nil {
		return Claims{}, err
	}
	c.Key, c.keyID = name, id
	return c, checkTimes(c, rc.now(), rc.opts.ClockTolerance)
}

// signer says whose signature t has, as Claims.Key and by its id.
func (rc *Receiver) signer(ctx context.Context, t token) (name, id string, err error) {
	if rc.public != nil {
		return t.kid, t.kid, verifyPublic(ctx, rc.public, t)
	}
	name, id = rc.shared.Load().signer(t)
	if name == "" {
		return "", "", &VerifyError{Err: ErrBadSignature, Reason: "made with neither the current nor the next signing key"}
	}
	return name, id, nil
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
