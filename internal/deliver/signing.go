package deliver

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"slices"
	"sync"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
)

var _ engine.KeyNamer = (*Deliverer)(nil)

// KeyID implements engine.KeyNamer.
func (*Deliverer) KeyID(key string) string { return receiver.KeyID(key) }

// SeedID implements engine.KeyNamer. It is "" for what is no seed.
func (*Deliverer) SeedID(seed []byte) string {
	s, err := receiver.NewEd25519Signer(seed)
	if err != nil {
		return ""
	}
	return s.KeyID()
}

// JWKS implements engine.KeyNamer. What is no seed has no key in it.
func (*Deliverer) JWKS(seeds ...[]byte) []byte {
	keys := make([]ed25519.PublicKey, 0, len(seeds))
	for _, seed := range seeds {
		if s, err := receiver.NewEd25519Signer(seed); err == nil {
			keys = append(keys, s.PublicKey())
		}
	}
	return receiver.JWKS(keys...)
}

// claimedKinds are what signatures say of attempts.
var claimedKinds = map[engine.Kind]receiver.Kind{
	engine.KindPlain:        receiver.KindMessage,
	engine.KindCallback:     receiver.KindCallback,
	engine.KindFailure:      receiver.KindFailure,
	engine.KindInit:         receiver.KindStep,
	engine.KindStep:         receiver.KindStep,
	engine.KindToCallback:   receiver.KindCall,
	engine.KindFromCallback: receiver.KindCallback,
	engine.KindFailureCall:  receiver.KindFailure,
	engine.KindProbe:        receiver.KindProbe,
}

// signers keep the preparation of keys that sign again and again.
type signers struct {
	secret sync.Map // of *receiver.Signer by key: a few for each tenant's rotations
	public sync.Map // of *receiver.Ed25519Signer by seed
}

// ofKey makes the standard signature. A probe's keys are used once, some only
// that once.
func (s *signers) ofKey(a *engine.Attempt) (*receiver.Signer, error) {
	if signer, ok := s.secret.Load(a.SigningKey); ok {
		return signer.(*receiver.Signer), nil
	}
	signer, err := receiver.NewSigner(a.SigningKey)
	if err == nil && a.Kind != engine.KindProbe {
		s.secret.Store(a.SigningKey, signer)
	}
	return signer, err
}

// ofSeed makes the signature that a public key verifies.
func (s *signers) ofSeed(a *engine.Attempt) (*receiver.Ed25519Signer, error) {
	if signer, ok := s.public.Load(string(a.Seed)); ok {
		return signer.(*receiver.Ed25519Signer), nil
	}
	signer, err := receiver.NewEd25519Signer(a.Seed)
	if err == nil && a.Kind != engine.KindProbe {
		s.public.Store(string(a.Seed), signer)
	}
	return signer, err
}

// sign sets the signatures of an attempt in h, which holds everything else that
// is sent: the tokens cover its control headers, whatever signatures there are.
func (d *Deliverer) sign(h http.Header, a *engine.Attempt, o receiver.SignOptions) error {
	if a.Unsigned {
		return nil
	}
	signer, err := d.signers.ofKey(a)
	if err != nil {
		return err
	}
	var public *receiver.Ed25519Signer
	if slices.Contains(a.SignWith, wire.SignEd25519) {
		if public, err = d.signers.ofSeed(a); err != nil {
			return err
		}
		o.ID = "jwt_" + rand.Text() // the same in both tokens, which are of one request
		token, err := public.Sign(o)
		if err != nil {
			return err
		}
		h[wire.HeaderSignatureEd25519] = []string{token}
	}
	token, err := signer.Sign(o)
	if err != nil {
		return err
	}
	h[wire.HeaderSignature] = []string{token}
	if slices.Contains(a.SignWith, wire.SignStandardWebhooks) {
		return signWebhook(h, a, o, public)
	}
	return nil
}

// signWebhook signs with both keys of the pair: libraries for Standard Webhooks
// hold one, and accept whichever of the signatures is its.
func signWebhook(h http.Header, a *engine.Attempt, o receiver.SignOptions, public *receiver.Ed25519Signer) error {
	w := receiver.StandardWebhookOptions{ID: h.Get(wire.HeaderMessageID), Body: a.Body, Time: o.Time, Keys: []string{a.SigningKey}, Ed25519: public}
	if a.NextKey != "" {
		w.Keys = append(w.Keys, a.NextKey)
	}
	return receiver.SignStandardWebhook(h, w)
}
