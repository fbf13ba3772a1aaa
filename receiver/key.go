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
	return hmac.Equal(st.sign(st.token), t.mac)
}
