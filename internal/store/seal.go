package store

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
)

// private are a row's values that may hold secrets: all that a user sends or an
// endpoint answers. Sealed, they are one value together, and the columns they
// stand in are empty; what is left of the row says nothing but ids, states and
// times, which is all that statements select by.
type private struct {
	texts [3]string
	blob  []byte
}

// place is where a sealed value belongs. It can't be opened anywhere else.
type place struct {
	table      string
	key1, key2 int64
}

func (p place) bytes() []byte {
	b := make([]byte, 0, 40)
	b = append(append(b, p.table...), 0)
	b = binary.BigEndian.AppendUint64(b, uint64(p.key1))
	return binary.BigEndian.AppendUint64(b, uint64(p.key2))
}

// A sealed value is one byte for its form, four for the id of its data key, and
// what AES-GCM makes: the nonce, the ciphertext, the tag. Sealed are the texts,
// each behind its length, and the blob.
const (
	sealedForm   = 1
	sealedHeader = 5
	sealedSpace  = sealedHeader + 12 + 16
	sealedBlob   = sealedSpace + len(private{}.texts) // what a blob has around it where there are no texts
)

// dataKey seals rows.
type dataKey struct {
	id   int64
	aead cipher.AEAD
	// left is how many seals are still accounted for in the database: nonces are
	// random, so that a key must not seal for ever.
	left atomic.Int64
}

var errSealed = errors.New("a sealed row can't be opened")

// seal takes what is private out of a row, and gives it back sealed: nil where
// nothing is sealed, and the row stays as it is. It refuses the texts that a
// database would.
func (t *tx) seal(at place, p *private) ([]byte, error) {
	if t.ring == nil {
		return nil, nil
	}
	for _, text := range p.texts {
		if !portable(text) {
			return nil, errText
		}
	}
	key := t.ring.state.Load().current
	key.left.Add(-1)
	sealed := key.seal(at, p)
	*p = private{}
	return sealed, nil
}

func (k *dataKey) seal(at place, p *private) []byte {
	size := sealedSpace + len(p.blob)
	for _, text := range p.texts {
		size += len(text) + binary.MaxVarintLen32
	}
	sealed := append(make([]byte, 0, size), k.header()...)
	for _, text := range p.texts {
		sealed = binary.AppendUvarint(sealed, uint64(len(text)))
		sealed = append(sealed, text...)
	}
	sealed = append(sealed, p.blob...)
	// In place: the blob may be large.
	return k.aead.Seal(sealed[:sealedHeader], nil, sealed[sealedHeader:], at.bytes())
}

// header begins what the key has sealed.
func (k *dataKey) header() []byte {
	return binary.BigEndian.AppendUint32([]byte{sealedForm}, uint32(k.id))
}

// keyOf is the id of the data key that a value is sealed with.
func keyOf(sealed []byte) (id int64, err error) {
	if len(sealed) < sealedSpace || sealed[0] != sealedForm {
		return 0, fmt.Errorf("%w: it is not in a form that this version knows", errSealed)
	}
	return int64(binary.BigEndian.Uint32(sealed[1:])), nil
}

// open puts back what seal took out. A row that is not sealed stays as it is.
// The blob is a part of sealed.
func (t *tx) open(at place, sealed []byte, p *private) error {
	if sealed == nil {
		return nil
	}
	id, err := keyOf(sealed)
	if err != nil {
		return fmt.Errorf("%s %d: %w", at.table, at.key1, err)
	}
	var key *dataKey
	if t.ring != nil {
		key = t.ring.state.Load().byID[id]
	}
	if key == nil {
		return fmt.Errorf("%s %d: %w: there is no data key %d", at.table, at.key1, errSealed, id)
	}
	if err := key.open(at, sealed, p); err != nil {
		return fmt.Errorf("%s %d: %w: it was changed, or belongs to another row", at.table, at.key1, err)
	}
	return nil
}

func (k *dataKey) open(at place, sealed []byte, p *private) error {
	body := sealed[sealedHeader:]
	// In place: what is opened is not longer than what was sealed.
	plain, err := k.aead.Open(body[:0], nil, body, at.bytes())
	if err != nil {
		return errSealed
	}
	for i := range p.texts {
		length, n := binary.Uvarint(plain)
		if n <= 0 || length > uint64(len(plain)-n) {
			return errSealed
		}
		plain = plain[n:]
		p.texts[i], plain = string(plain[:length]), plain[length:]
	}
	p.blob = nil
	if len(plain) > 0 {
		p.blob = plain[:len(plain):len(plain)]
	}
	return nil
}
