package receiver

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"
)

// minKeyBytes is the shortest key accepted: 128 bits if every bit were random.
const minKeyBytes = 16

// A key makes and checks MACs. It keeps keyed states for reuse, and the secret out
// of reach of fmt: printing a value that points to a key prints an address.
type key struct{ states sync.Pool }

type keyState struct {
	mac    hash.Hash
	token  []byte
	claims []byte
	sum    [sha256.Size]byte
}

func newKey(secret string) (*key, error) {
	switch {
	case secret == "":
		return nil, errors.New("key is empty")
	case strings.ContainsFunc(secret, notKeyRune):
		return nil, errors.New("key has white space or another byte that is not printable ASCII")
	case len(secret) < minKeyBytes:
		return nil, fmt.Errorf("key has %d bytes, at least %d are needed", len(secret), minKeyBytes)
	}
	return rawKey(secret), nil
}

// notKeyRune refuses white space, which is a slip of copying, and NUL: HMAC pads keys
// with it, so that sixteen of them are as good as no key.
func notKeyRune(r rune) bool { return r <= ' ' || r > '~' }

func rawKey(secret string) *key {
	return &key{states: sync.Pool{New: func() any {
		return &keyState{mac: hmac.New(sha256.New, []byte(secret))}
	}}}
}

func (k *key) acquire() *keyState   { return k.states.Get().(*keyState) }
func (k *key) release(st *keyState) { k.states.Put(st) }

// sign returns the MAC of input; it is valid until the state is used again.
func (st *keyState) sign(input []byte) []byte {
	st.mac.Reset()
	st.mac.Write(input)
	return st.mac.Sum(st.sum[:0])
}

// made reports whether t's MAC was made with k.
func (k *key) made(t token) bool {
	st := k.acquire()
	defer k.release(st)
	st.token = append(st.token[:0], t.signed...)
	return hmac.Equal(st.sign(st.token), t.signature)
}

// A keyPair is what a receiver verifies HS256 tokens with, at one time.
type keyPair struct {
	current, next     *key // next is nil if there is none
	currentID, nextID string
	held              string // both ids, as KeysHeader lists them
	development       bool   // one of them is well known
}

func newKeyPair(current, next string, development bool) (*keyPair, error) {
	if current == "" {
		return nil, ErrNoKey
	}
	var p keyPair
	var err error
	if p.current, err = newKey(current); err != nil {
		return nil, fmt.Errorf("read current signing key: %w", err)
	}
	p.currentID = KeyID(current)
	p.held = "; current=" + p.currentID
	if next != "" {
		if p.next, err = newKey(next); err != nil {
			return nil, fmt.Errorf("read next signing key: %w", err)
		}
		p.nextID = KeyID(next)
		p.held += "; next=" + p.nextID
	}
	p.development = developmentKeys.owner(current) != "" || developmentKeys.owner(next) != ""
	if p.development && !development {
		return nil, ErrDevelopmentKey
	}
	return &p, nil
}

// signer says which of the keys has made t; "" for none.
func (p *keyPair) signer(t token) (name, id string) {
	switch {
	case p.current.made(t):
		return "current", p.currentID
	case p.next != nil && p.next.made(t):
		return "next", p.nextID
	}
	return "", ""
}

// SetKeys replaces the signing keys while requests are verified, so that a
// rotation needs no restart: each request is checked against the old pair or the
// new one. next may be empty, for none. On an error, which names the key at
// fault, the old pair stays. It has no effect on public keys.
func (rc *Receiver) SetKeys(current, next string) error {
	p, err := newKeyPair(current, next, rc.opts.Development)
	if err != nil {
		return err
	}
	rc.shared.Store(p)
	return nil
}
