package receiver

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// publicKeys are those of one owner, by their ids.
type publicKeys interface {
	// key returns the key named kid, nil if the owner has none of that name, or
	// an error around ErrUnavailable if that cannot be told.
	key(ctx context.Context, kid string) (ed25519.PublicKey, error)

	// ids are the names of the keys that are known, sorted.
	ids() []string
}

// verifyPublic checks t's signature with the key it names.
func verifyPublic(ctx context.Context, keys publicKeys, t token) error {
	key, err := keys.key(ctx, t.kid)
	switch {
	case err != nil:
		return err
	case key == nil:
		return &VerifyError{Err: ErrBadSignature, Field: "kid", Expected: strings.Join(keys.ids(), ", "), Got: clip(t.kid),
			Reason: "made with none of the public keys"}
	case !ed25519.Verify(key, []byte(t.signed), t.signature):
		return &VerifyError{Err: ErrBadSignature, Got: clip(t.kid), Reason: "not made with the key that it names"}
	}
	return nil
}

// public returns the public keys of o, nil if there are none.
func (o Options) public() (publicKeys, error) {
	switch {
	case o.KeySet != nil && len(o.PublicKeys) > 0:
		return nil, errors.New("both PublicKeys and a KeySet are given")
	case o.KeySet != nil:
		return o.KeySet, nil
	case len(o.PublicKeys) > 0:
		return newStaticKeys(o.PublicKeys)
	}
	return nil, nil
}

// staticKeys are public keys by their thumbprints.
type staticKeys map[string]ed25519.PublicKey

func newStaticKeys(keys []ed25519.PublicKey) (staticKeys, error) {
	s := make(staticKeys, len(keys))
	for i, k := range keys {
		if err := checkPublicKey(k); err != nil {
			return nil, fmt.Errorf("read public key %d: %w", i, err)
		}
		s[thumbprint(k)] = slices.Clone(k)
	}
	return s, nil
}

func (s staticKeys) key(_ context.Context, kid string) (ed25519.PublicKey, error) { return s[kid], nil }

func (s staticKeys) ids() []string { return slices.Sorted(maps.Keys(s)) }

// checkPublicKey refuses keys under which anybody can sign.
func checkPublicKey(k ed25519.PublicKey) error {
	if len(k) != ed25519.PublicKeySize {
		return fmt.Errorf("key has %d bytes, an Ed25519 key has %d", len(k), ed25519.PublicKeySize)
	}
	y := [ed25519.PublicKeySize]byte(k)
	y[31] &= 0x7f // the sign of x, which does not change the order
	if slices.Contains(smallOrder, y) {
		return errors.New("key is a point of small order: signatures of it can be made up")
	}
	return nil
}

// smallOrder are the y coordinates, in each encoding that decoders take, of the
// eight points whose multiples are so few that a signature is guessed at once.
// All zeros is one of them.
var smallOrder = [][ed25519.PublicKeySize]byte{
	{},
	{0: 1},
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
	fieldEnd(0xec), // −1
	fieldEnd(0xed), // 0 once more
	fieldEnd(0xee), // 1 once more
}

// fieldEnd is a number next to 2²⁵⁵ − 19, by its lowest byte.
func fieldEnd(lowest byte) (y [ed25519.PublicKeySize]byte) {
	for i := range y {
		y[i] = 0xff
	}
	y[0], y[31] = lowest, 0x7f
	return y
}

// thumbprint is the id of a public key: that of its JWK (RFC 7638, RFC 8037).
func thumbprint(k ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(k) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

const maxKidBytes = 128

// isKid keeps what could break out of a header or a log from being a key's name.
func isKid(kid string) bool {
	return kid != "" && len(kid) <= maxKidBytes && !strings.ContainsFunc(kid, notKidRune)
}

func notKidRune(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`",;=\`, r) }
