package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/engine"
)

// sealedTable is a table whose rows may be sealed.
type sealedTable struct {
	name  string
	keys  []string // columns of the primary key
	after string   // condition: the key is greater than the one given as $1 (and $2)
	texts []string // as in private.texts
	blob  string   // "": it has none
}

// sealedTables are all there are. Their order is in the database, as the step
// of a resealing: new ones come last. What tenants have is sealed anew at once.
var sealedTables = []sealedTable{
	{"tenants", []string{"id"}, "id > $1", []string{"current_key", "next_key", "secrets"}, ""},
	{"messages", []string{"seq"}, "seq > $1", []string{"url", "header", "settings"}, "body"},
	{"settlements", []string{"seq"}, "seq > $1", []string{"error", "header"}, "body"},
	{"dlq", []string{"seq"}, "seq > $1", []string{"header"}, "body"},
	{"runs", []string{"seq"}, "seq > $1", []string{"url", "header", "settings"}, "response"},
	{"run_log", []string{"run", "idx"}, "(run, idx) > ($1, $2)", nil, "body"},
	{"audit", []string{"seq"}, "seq > $1", []string{"object", "state_before", "state_after"}, ""},
	{"flow_keys", []string{"seq"}, "seq > $1", []string{"flow_key"}, ""},
	{"url_groups", []string{"seq"}, "seq > $1", []string{"endpoints", "header", "url_prefix"}, ""},
	{"schedules", []string{"seq"}, "seq > $1", []string{"destination", "header", "settings"}, "body"},
	{"waits", []string{"seq"}, "seq > $1", []string{"url", "header", "settings"}, ""},
	{"notes", []string{"seq"}, "seq > $1", []string{"event_id", "url_prefix"}, "body"},
}

// What is sealed anew in one transaction. Publishers wait for it.
const (
	resealRows  = 500
	resealBytes = 1 << 20
)

// sealedRow is a row on its way from one data key to another.
type sealedRow struct {
	key     [2]int64
	sealed  []byte
	private private
}

func (r *sealedRow) size() int { return 100 + len(r.sealed) + len(r.private.blob) }

var errEnough = errors.New("enough rows")

// rowsAfter reads the next rows behind a key, sealed as they are.
func (t *tx) rowsAfter(table *sealedTable, after [2]int64) ([]*sealedRow, error) {
	columns := append(append([]string{}, table.keys...), "sealed")
	columns = append(columns, table.texts...)
	if table.blob != "" {
		columns = append(columns, table.blob)
	}
	args := []any{after[0], after[1]}[:len(table.keys)]
	var rows []*sealedRow
	size := 0
	err := t.each(func(r *sql.Rows) error {
		row := &sealedRow{}
		into := []any{&row.key[0], &row.key[1]}[:len(table.keys)]
		into = append(into, &row.sealed)
		for i := range table.texts {
			into = append(into, &row.private.texts[i])
		}
		if table.blob != "" {
			into = append(into, &row.private.blob)
		}
		if err := r.Scan(into...); err != nil {
			return err
		}
		rows = append(rows, row)
		if size += row.size(); size > resealBytes {
			return errEnough
		}
		return nil
	}, fmt.Sprintf(`select %s from %s where %s order by %s limit %d%s`,
		strings.Join(columns, ", "), table.name, table.after, strings.Join(table.keys, ", "), resealRows, t.forUpdate), args...)
	if err == errEnough {
		err = nil
	}
	return rows, err
}

// reseal seals a row with a data key, whatever it was sealed with before.
func (t *tx) reseal(table *sealedTable, row *sealedRow, key *dataKey) error {
	at := place{table.name, row.key[0], row.key[1]}
	if err := t.open(at, row.sealed, &row.private); err != nil {
		return err
	}
	key.left.Add(-1)
	args := []any{key.seal(at, &row.private)}
	set := "sealed = $1"
	for _, column := range table.texts {
		set += ", " + column + " = ''"
	}
	if table.blob != "" {
		set += ", " + table.blob + " = null"
	}
	var where []string
	for i, column := range table.keys {
		args = append(args, row.key[i])
		where = append(where, fmt.Sprintf("%s = $%d", column, len(args)))
	}
	return must(t.exec(fmt.Sprintf(`update %s set %s where %s`, table.name, set, strings.Join(where, " and ")), args...))
}

// resealing is the row of that table.
type resealing struct {
	step               int
	after              [2]int64
	resealed, plain    int64
	startedAt, endedAt int64
}

// planResealing has all rows sealed anew, from the first table on. That plain
// rows were found before is not forgotten.
func (t *tx) planResealing(plain int64) error {
	old, err := t.resealing()
	if err != nil {
		return err
	}
	if old != nil && old.endedAt == 0 {
		plain = max(plain, old.plain)
	}
	if _, err := t.exec(`delete from resealing`); err != nil {
		return err
	}
	_, err = t.exec(`
		insert into resealing (id, step, key1, key2, resealed, plain, started_at, ended_at) values (1, 0, 0, 0, 0, $1, $2, 0)`,
		plain, time.Now().UnixMilli())
	return err
}

// resealing is the one under way, or the last one; nil if there was none.
func (t *tx) resealing() (*resealing, error) {
	return one(t, func(rows *sql.Rows) (*resealing, error) {
		var r resealing
		return &r, rows.Scan(&r.step, &r.after[0], &r.after[1], &r.resealed, &r.plain, &r.startedAt, &r.endedAt)
	}, `select step, key1, key2, resealed, plain, started_at, ended_at from resealing`+t.forUpdate)
}

func (t *tx) putResealing(r *resealing) error {
	return must(t.exec(`update resealing set step = $1, key1 = $2, key2 = $3, resealed = $4, plain = $5, ended_at = $6`,
		r.step, r.after[0], r.after[1], r.resealed, r.plain, r.endedAt))
}

// resealStep seals the next rows anew. It works off a table until none is left,
// and then goes on with the next.
func (t *tx) resealStep(r *resealing) error {
	table := &sealedTables[r.step]
	rows, err := t.rowsAfter(table, r.after)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		r.step, r.after = r.step+1, [2]int64{}
		return t.putResealing(r)
	}
	key := t.ring.state.Load().current
	for _, row := range rows {
		r.after = row.key
		if row.sealed == nil {
			r.plain = 1
		} else if id, err := keyOf(row.sealed); err == nil && id == key.id {
			continue
		}
		err := t.reseal(table, row, key)
		if errors.Is(err, errSealed) {
			continue // it is damaged; that keeps no other row from being sealed
		}
		if err != nil {
			return err
		}
		r.resealed++
	}
	return t.putResealing(r)
}

// otherwiseSealed says whether a table has a row that is not sealed with a key.
func (t *tx) otherwiseSealed(table *sealedTable, key *dataKey) (found bool, err error) {
	err = t.each(func(*sql.Rows) error { found = true; return nil },
		`select 1 from `+table.name+` where sealed is null or substr(sealed, 1, 5) <> $1 limit 1`, key.header())
	return found, err
}

// Rewrap changes the master key: all data keys are wrapped with the first of
// those given, a new one is made and seals from now on, the tenants' keys at
// once. What else there is has to be sealed anew by Reseal.
func (s *sealing) Rewrap(ctx context.Context, raw [][]byte) error {
	masters, err := newMasterKeys(raw)
	if err != nil {
		return err
	}
	if s.ring == nil || len(masters) == 0 {
		return fmt.Errorf("%w missing: the store was opened without one", ErrMasterKey)
	}
	s.ring.changing.Lock()
	defer s.ring.changing.Unlock()
	var fresh *dataKey
	err = s.store.Update(ctx, func(etx engine.Tx) (err error) {
		fresh, err = etx.(*tx).rewrap(masters)
		return err
	})
	if errors.Is(err, ErrMasterKey) {
		return &engine.Error{Code: engine.Conflict, Message: err.Error()}
	}
	if err == nil {
		s.ring.use(fresh)
	}
	return err
}

func (t *tx) rewrap(masters []masterKey) (*dataKey, error) {
	rows, err := t.dataKeys()
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		key, err := unwrap(masters, row.id, row.master, row.wrapped)
		if err != nil {
			return nil, err
		}
		err = must(t.exec(`update data_keys set master = $1, wrapped = $2 where id = $3`, masters[0].id, masters[0].wrap(row.id, key), row.id))
		if err != nil {
			return nil, err
		}
	}
	fresh, err := t.newDataKey(masters, t.ring.reserve)
	if err != nil {
		return nil, err
	}
	// Known before it is committed, so that nobody reads what nobody can open.
	t.ring.add(fresh, masters)
	plain, err := t.resealTenants(fresh)
	if err != nil {
		return nil, err
	}
	return fresh, t.planResealing(plain)
}

// resealTenants seals all tenants anew. They are few.
func (t *tx) resealTenants(key *dataKey) (plain int64, err error) {
	table := &sealedTables[0]
	for after := ([2]int64{}); ; {
		rows, err := t.rowsAfter(table, after)
		if err != nil || len(rows) == 0 {
			return plain, err
		}
		for _, row := range rows {
			if after = row.key; row.sealed == nil {
				plain = 1
			}
			if err := t.reseal(table, row, key); err != nil {
				return plain, err
			}
		}
	}
}

// Reseal does the next bit of what the last Rewrap has left, or the opening of
// a plain database with a master key. At the end the data keys of before are
// deleted. It can be interrupted at any point.
func (s *sealing) Reseal(ctx context.Context) (more bool, err error) {
	if s.ring == nil {
		return false, nil
	}
	var r *resealing
	err = s.store.Update(ctx, func(etx engine.Tx) (err error) {
		t := etx.(*tx)
		r, err = t.resealing()
		if err != nil || r == nil || r.endedAt != 0 || r.step >= len(sealedTables) {
			return err
		}
		return t.resealStep(r)
	})
	switch {
	case err != nil:
		return true, fmt.Errorf("reseal: %w", err)
	case r == nil || r.endedAt != 0:
		return false, nil
	case r.step < len(sealedTables):
		return true, nil
	}
	return s.finish(ctx, r)
}

// finish ends a resealing: it looks once more whether no row needs another key,
// has the database forget what was plain, and deletes the other keys. Where
// rows are left that can't be opened, the keys stay.
func (s *sealing) finish(ctx context.Context, r *resealing) (more bool, err error) {
	s.ring.changing.Lock()
	defer s.ring.changing.Unlock()
	current := s.ring.state.Load().current
	left, err := s.otherwiseSealed(ctx, current)
	if err != nil {
		return true, fmt.Errorf("reseal: %w", err)
	}
	if left && r.resealed > 0 { // the key was changed on the way, or they are damaged: see what another round does
		return true, s.store.Update(ctx, func(etx engine.Tx) error { return etx.(*tx).planResealing(r.plain) })
	}
	if r.plain != 0 {
		if err := s.scrub(ctx); err != nil {
			return true, fmt.Errorf("scrub the database of what was plain: %w", err)
		}
	}
	err = s.store.Update(ctx, func(etx engine.Tx) error {
		t := etx.(*tx)
		if !left {
			if _, err := t.exec(`delete from data_keys where id <> $1`, current.id); err != nil {
				return err
			}
		}
		r.endedAt = time.Now().UnixMilli()
		return t.putResealing(r)
	})
	// In memory they stay: a view may still see rows as they were.
	return err != nil, err
}

// otherwiseSealed says whether any row is not sealed with a key.
func (s *sealing) otherwiseSealed(ctx context.Context, key *dataKey) (found bool, err error) {
	for i := 0; i < len(sealedTables) && !found && err == nil; i++ {
		err = s.store.View(ctx, func(etx engine.Tx) (err error) {
			found, err = etx.(*tx).otherwiseSealed(&sealedTables[i], key)
			return err
		})
	}
	return found, err
}
