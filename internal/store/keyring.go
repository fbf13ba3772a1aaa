package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signposthq/signpost/internal/engine"
)

// keyring is a database's data keys, opened. There is none where nothing is
// sealed.
type keyring struct {
	state atomic.Pointer[keys]
	// writing is held, for reading, by whoever may seal: once it was held for
	// writing, nothing more is sealed with the key that was current before.
	writing  sync.RWMutex
	changing sync.Mutex // held by whoever brings another key

	reserve, most int64 // usesReserved and usesMost, but in tests
}

// keys never change; the ring gets others.
type keys struct {
	masters []masterKey // the first wraps
	current *dataKey    // seals
	byID    map[int64]*dataKey
}

// A key with random nonces of 96 bits must not seal more than 2^32 times. Seals
// are accounted for in the database before they are made, many at once.
const (
	usesReserved = 1 << 20
	usesMost     = 1 << 30
)

// add makes a data key known, without sealing with it.
func (r *keyring) add(k *dataKey, masters []masterKey) {
	old := r.state.Load()
	all := maps.Clone(old.byID)
	all[k.id] = k
	r.state.Store(&keys{masters, old.current, all})
}

// use seals with a data key from now on, and returns when nothing more will be
// committed that another one has sealed.
func (r *keyring) use(k *dataKey) {
	r.writing.Lock()
	defer r.writing.Unlock()
	old := r.state.Load()
	r.state.Store(&keys{old.masters, k, old.byID})
}

// hold keeps the current data key current until it is let go.
func (r *keyring) hold() (letGo func()) {
	if r == nil {
		return func() {}
	}
	r.writing.RLock()
	return r.writing.RUnlock
}

// wrappedKey is a data key as a row.
type wrappedKey struct {
	id      int64
	master  string
	wrapped []byte
	uses    int64
}

func (t *tx) dataKeys() ([]wrappedKey, error) {
	return collect(t, func(r *sql.Rows) (k wrappedKey, err error) {
		err = r.Scan(&k.id, &k.master, &k.wrapped, &k.uses)
		return k, err
	}, `select id, master, wrapped, uses from data_keys order by id`+t.forUpdate)
}

// newDataKey makes one, and writes it down.
func (t *tx) newDataKey(masters []masterKey, reserve int64) (*dataKey, error) {
	var id int64
	err := t.each(func(r *sql.Rows) error { return r.Scan(&id) }, `select coalesce(max(id), 0) + 1 from data_keys`)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, MasterKeyBytes)
	rand.Read(raw) // never fails
	_, err = t.exec(`insert into data_keys (id, master, wrapped, uses, created_at) values ($1, $2, $3, $4, $5)`,
		id, masters[0].id, masters[0].wrap(id, raw), reserve, time.Now().UnixMilli())
	if err != nil {
		return nil, err
	}
	k := &dataKey{id: id, aead: newAEAD(raw)}
	k.left.Store(reserve)
	return k, nil
}

func (t *tx) reserveUses(k *dataKey, n int64) error {
	return must(t.exec(`update data_keys set uses = uses + $1 where id = $2`, n, k.id))
}

// openKeyring opens a database's data keys with the master keys, and makes the
// first one. A database that has some can't be used without.
func openKeyring(ctx context.Context, s engine.Store, raw [][]byte) (*keyring, error) {
	masters, err := newMasterKeys(raw)
	if err != nil {
		return nil, err
	}
	var ring *keyring
	err = s.Update(ctx, func(etx engine.Tx) (err error) {
		ring, err = etx.(*tx).keyring(masters)
		return err
	})
	return ring, err
}

func (t *tx) keyring(masters []masterKey) (*keyring, error) {
	rows, err := t.dataKeys()
	if err != nil || len(rows)+len(masters) == 0 {
		return nil, err
	}
	r := &keyring{reserve: usesReserved, most: usesMost}
	k := &keys{masters: masters, byID: map[int64]*dataKey{}}
	r.state.Store(k)
	for _, row := range rows {
		raw, err := unwrap(masters, row.id, row.master, row.wrapped)
		if err != nil {
			return nil, err
		}
		k.byID[row.id] = &dataKey{id: row.id, aead: newAEAD(raw)}
	}
	if n := len(rows); n > 0 && rows[n-1].uses < r.most {
		k.current = k.byID[rows[n-1].id]
		k.current.left.Store(r.reserve)
		return r, t.reserveUses(k.current, r.reserve)
	}
	if k.current, err = t.newDataKey(masters, r.reserve); err != nil {
		return nil, err
	}
	k.byID[k.current.id] = k.current
	if len(rows) > 0 {
		return r, nil
	}
	// What is there is plain, if anything is.
	there := false
	err = t.each(func(*sql.Rows) error { there = true; return nil }, `select 1 from tenants limit 1`)
	if err == nil && there {
		err = t.planResealing(1)
	}
	return r, err
}

// account sees to it, after a commit, that there are seals left; when a key has
// made most of those it may ever make, by another key. One of the callers does.
func (r *keyring) account(ctx context.Context, s engine.Store) {
	if r == nil || r.state.Load().current.left.Load() > r.reserve/2 || !r.changing.TryLock() {
		return
	}
	defer r.changing.Unlock()
	now := r.state.Load()
	var fresh *dataKey
	err := s.Update(context.WithoutCancel(ctx), func(etx engine.Tx) (err error) {
		t := etx.(*tx)
		fresh = nil
		var uses int64
		err = t.each(func(r *sql.Rows) error { return r.Scan(&uses) }, `select uses from data_keys where id = $1`, now.current.id)
		if err != nil || uses < r.most {
			return errors.Join(err, t.reserveUses(now.current, r.reserve))
		}
		fresh, err = t.newDataKey(now.masters, r.reserve)
		return err
	})
	switch {
	case err != nil: // the next commit tries again; the bound is far below what would be dangerous
	case fresh != nil:
		r.add(fresh, now.masters)
		r.use(fresh)
	default:
		now.current.left.Add(r.reserve)
	}
}
