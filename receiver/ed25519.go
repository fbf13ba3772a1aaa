package receiver

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
)

// An Ed25519Signer makes tokens that a receiver verifies without a secret, with
// [Options.PublicKeys] or a [KeySet]. It is safe for concurrent use.
type Ed25519Signer struct{ key *privateKey }

// A privateKey keeps the secret in a closure, out of reach of fmt, which follows
// pointers when its verb does not fit.
type privateKey struct {
	sign   func(message []byte) []byte
	public ed25519.PublicKey
	id     string
	header string // of its tokens, encoded
}

// NewEd25519Signer returns a signer with the key that grows from a seed of 32
// random bytes. It fails on any other length, and on zeros.
func NewEd25519Signer(seed []byte) (*Ed25519Signer, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("read seed: it has %d bytes, %d are needed", len(seed), ed25519.SeedSize)
	}
	if !slices.ContainsFunc(seed, func(b byte) bool { return b > 0 }) {
		return nil, errors.New("read seed: it is all zeros")
	}
	private := ed25519.NewKeyFromSeed(seed)
	k := &privateKey{
		sign:   func(message []byte) []byte { return ed25519.Sign(private, message) },
		public: private.Public().(ed25519.PublicKey),
	}
	k.id = thumbprint(k.public)
	k.header = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","typ":"JWT","kid":"` + k.id + `"}`))
	return &Ed25519Signer{k}, nil
}

// KeyID is the kid of the signer's tokens: the thumbprint of its public key
// (RFC 7638).
func (s *Ed25519Signer) KeyID() string { return s.key.id }

// PublicKey is what a receiver needs, see [JWKS].
func (s *Ed25519Signer) PublicKey() ed25519.PublicKey { return slices.Clone(s.key.public) }

// Sign makes the value of an Upstash-Signature-Ed25519 header: a token like that
// of [Signer.Sign], with the same claims, but for its algorithm and its key. A
// request that carries both should have the same ID in both.
func (s *Ed25519Signer) Sign(o SignOptions) (string, error) {
	if err := o.complete(); err != nil {
		return "", err
	}
	claims := appendClaims(nil, o)
	b := make([]byte, 0, len(s.key.header)+2+base64.RawURLEncoding.EncodedLen(len(claims))+base64.RawURLEncoding.EncodedLen(ed25519.SignatureSize))
	b = append(append(b, s.key.header...), '.')
	b = base64.RawURLEncoding.AppendEncode(b, claims)
	signature := s.key.sign(b)
	b = append(b, '.')
	return string(base64.RawURLEncoding.AppendEncode(b, signature)), nil
}
