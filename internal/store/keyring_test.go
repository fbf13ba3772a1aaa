package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

// A data key gives way to another long before it has sealed too often, and
// what it may have sealed is accounted for on disk, also over a restart.
func TestDataKeyIsReplacedInTime(t *testing.T) {
	dir, key := t.TempDir(), bytes.Repeat([]byte{1}, MasterKeyBytes)
	s, err := openSQLite(context.Background(), dir, "off", [][]byte{key})
	if err != nil {
		t.Fatal(err)
	}
	s.ring.reserve, s.ring.most = 8, 64
	s.ring.state.Load().current.left.Store(8)
	const many = 300
	for seq := int64(1); seq <= many; seq++ {
		err := s.Update(context.Background(), func(tx engine.Tx) error {
			return tx.InsertMessages([]*engine.Message{{Key: engine.Key{Seq: seq}, Tenant: 1, Body: []byte("x")}})
		})
		if err != nil {
			t.Fatal(err)
		}
		if left := s.ring.state.Load().current.left.Load(); left < 0 {
			t.Fatalf("%d seals beyond what was accounted for", -left)
		}
	}
	var rows []wrappedKey
	var uses map[int64]int64
	check := func() {
		uses = map[int64]int64{}
		err := s.View(context.Background(), func(etx engine.Tx) (err error) {
			if rows, err = etx.(*tx).dataKeys(); err != nil {
				return err
			}
			all, err := etx.(*tx).rowsAfter(&sealedTables[1], [2]int64{})
			for _, row := range all {
				id, err := keyOf(row.sealed)
				if err != nil {
					return err
				}
				uses[id]++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	check()
	if len(rows) < many/(64+16) {
		t.Errorf("%d data keys for %d seals, at most 64 and some each", len(rows), many)
	}
	for _, k := range rows[1:] { // the first was accounted for in bulk
		if k.uses < uses[k.id] {
			t.Errorf("data key %d: %d seals, %d accounted for", k.id, uses[k.id], k.uses)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = openSQLite(context.Background(), dir, "off", [][]byte{key}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	last := rows[len(rows)-1]
	check()
	if now := rows[len(rows)-1]; now.id != last.id || now.uses != last.uses+usesReserved {
		t.Errorf("after a restart data key %d has %d uses, want %d of key %d", now.id, now.uses, last.uses+usesReserved, last.id)
	}
}

// Whatever stands where a sealed value should be: an error, never a panic.
func FuzzOpen(f *testing.F) {
	raw := make([]byte, MasterKeyBytes)
	rand.Read(raw) // another one in each process that fuzzes
	k := &dataKey{id: 1, aead: newAEAD(raw)}
	ring := &keyring{}
	ring.state.Store(&keys{current: k, byID: map[int64]*dataKey{1: k}})
	t := &tx{ring: ring}
	at := place{"messages", 7, 0}
	good, err := t.seal(at, &private{[3]string{"a", "", "b"}, []byte("c")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add([]byte{}, []byte{1, 'a'})
	f.Fuzz(func(ft *testing.T, sealed, inner []byte) {
		if len(sealed) > 0 && !bytes.Equal(sealed, good) {
			if err := t.open(at, bytes.Clone(sealed), &private{}); err == nil {
				ft.Error("opened what nobody has sealed")
			}
		}
		// The same of what is inside, as a key could seal anything.
		forged := k.aead.Seal(k.header(), nil, inner, at.bytes())
		var p private
		_ = t.open(at, forged, &p)
	})
}
