package receiver

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// JWKSPath is where servers publish their public keys.
const JWKSPath = "/.well-known/jwks.json"

// maxSetKeys is more than any owner has at one time: two, and those that are on
// their way out.
const maxSetKeys = 32

type jwk struct {
	Type  string `json:"kty"`
	Curve string `json:"crv"`
	ID    string `json:"kid"`
	Use   string `json:"use"`
	Alg   string `json:"alg"`
	X     string `json:"x"`
}

// JWKS is the document that a server publishes its public keys in, a JSON Web Key
// Set (RFC 7517) of Ed25519 keys (RFC 8037), each with its thumbprint
// (RFC 7638) as kid:
//
//	{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"…","use":"sig","alg":"EdDSA","x":"…"}]}
func JWKS(keys ...ed25519.PublicKey) []byte {
	set := struct {
		Keys []jwk `json:"keys"`
	}{make([]jwk, len(keys))}
	for i, k := range keys {
		set.Keys[i] = jwk{"OKP", "Ed25519", thumbprint(k), "sig", edDSA.alg, base64.RawURLEncoding.EncodeToString(k)}
	}
	data, _ := json.Marshal(set) // strings only
	return data
}

// parseJWKS returns the keys of a set that a token may be signed with, by their
// ids. What is no Ed25519 key for signatures is passed over: a set may serve other
// purposes too. One that is, but is broken, spoils the set.
func parseJWKS(data []byte) (staticKeys, error) {
	set, err := parseObject(data)
	if err != nil {
		return nil, err
	}
	members, ok := set["keys"].([]any)
	switch {
	case !ok:
		return nil, errors.New(`no list "keys"`)
	case len(members) > maxSetKeys:
		return nil, fmt.Errorf("%d keys, at most %d are accepted", len(members), maxSetKeys)
	}
	keys := staticKeys{}
	for i, member := range members {
		m, ok := member.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("key %d is not an object", i)
		}
		if !verifiesEdDSA(m) {
			continue
		}
		if err := keys.add(m); err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no Ed25519 key for signatures")
	}
	return keys, nil
}

func verifiesEdDSA(m map[string]any) bool {
	if m["kty"] != "OKP" || m["crv"] != "Ed25519" {
		return false
	}
	use, hasUse := m["use"]
	alg, hasAlg := m["alg"]
	return (!hasUse || use == "sig") && (!hasAlg || alg == edDSA.alg)
}

func (s staticKeys) add(m map[string]any) error {
	if _, private := m["d"]; private {
		return errors.New("its private part is published")
	}
	x, _ := m["x"].(string)
	k, err := strict.DecodeString(x)
	// The decoder skips line breaks.
	if err != nil || len(x) != base64.RawURLEncoding.EncodedLen(ed25519.PublicKeySize) {
		return errors.New("x is not the base64url of 32 bytes")
	}
	if err := checkPublicKey(k); err != nil {
		return err
	}
	kid, present := m["kid"].(string)
	switch {
	case !present && m["kid"] == nil:
		kid = thumbprint(k)
	case !isKid(kid):
		return errors.New("kid is not the id of a key")
	}
	if _, repeated := s[kid]; repeated {
		return fmt.Errorf("kid %q is repeated", kid)
	}
	s[kid] = k
	return nil
}
