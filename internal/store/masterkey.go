package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// MasterKeyBytes is the length of a master key.
const MasterKeyBytes = 32

// ErrMasterKey says that a database can't be read with the master keys given.
var ErrMasterKey = errors.New("master key")

// masterKey wraps data keys. It is never in the database, its id is.
type masterKey struct {
	id   string
	aead cipher.AEAD
}

// MasterKeyID names a master key without telling it.
func MasterKeyID(key []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("signpost master key id"))
	return "mk_" + hex.EncodeToString(mac.Sum(nil)[:6])
}

func newMasterKeys(raw [][]byte) ([]masterKey, error) {
	keys := make([]masterKey, len(raw))
	for i, key := range raw {
		if len(key) != MasterKeyBytes {
			return nil, fmt.Errorf("%w %d: expected %d bytes, got %d", ErrMasterKey, i+1, MasterKeyBytes, len(key))
		}
		keys[i] = masterKey{MasterKeyID(key), newAEAD(key)}
	}
	return keys, nil
}

// newAEAD is AES-256-GCM that puts a random nonce of its own before what it seals.
func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // only for a key of another length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // only for another cipher than AES
	}
	return aead
}

// wrap seals a data key.
func (m *masterKey) wrap(id int64, key []byte) []byte {
	return m.aead.Seal(nil, nil, key, place{"data_keys", id, 0}.bytes())
}

// unwrap opens a data key with the master key that has sealed it.
func unwrap(masters []masterKey, id int64, master string, wrapped []byte) ([]byte, error) {
	for _, m := range masters {
		if m.id != master {
			continue
		}
		key, err := m.aead.Open(nil, nil, wrapped, place{"data_keys", id, 0}.bytes())
		if err != nil || len(key) != MasterKeyBytes {
			return nil, fmt.Errorf("%w: data key %d is not what %s has sealed: it was changed", ErrMasterKey, id, master)
		}
		return key, nil
	}
	return nil, fmt.Errorf("%w missing: the database is sealed with %s, %s", ErrMasterKey, master, given(masters))
}

// given says which master keys there are.
func given(masters []masterKey) string {
	if len(masters) == 0 {
		return "and no master key was given"
	}
	text := "and the keys given are"
	for i, m := range masters {
		if i > 0 {
			text += ","
		}
		text += " " + m.id
	}
	return text
}
