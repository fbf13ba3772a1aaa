package store

import (
	"context"
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

// sealing is the part of a store that has to do with its keys.
type sealing struct {
	store engine.Store
	ring  *keyring // nil: nothing is sealed
	// scrub leaves nothing of what was deleted in the database's files.
	scrub func(context.Context) error
}

func (s *sealing) Sealing(ctx context.Context) (state engine.Sealing, err error) {
	if s.ring == nil {
		return state, nil
	}
	err = s.store.View(ctx, func(etx engine.Tx) (err error) {
		state, err = etx.(*tx).sealingState()
		return err
	})
	return state, err
}

func (t *tx) sealingState() (state engine.Sealing, err error) {
	keys, err := t.dataKeys()
	if err != nil {
		return state, err
	}
	state.DataKeys = len(keys)
	state.MasterKey = keys[len(keys)-1].master
	r, err := t.resealing()
	if err != nil || r == nil {
		return state, err
	}
	state.Resealed, state.StartedAt, state.EndedAt = r.resealed, r.startedAt, r.endedAt
	if r.endedAt != 0 || r.step >= len(sealedTables) {
		state.Percent = 100
		return state, nil
	}
	part, err := t.passed(&sealedTables[r.step], r.after[0])
	state.Percent = int((float64(r.step) + part) * 100 / float64(len(sealedTables)))
	return state, err
}

// passed is how much of a table lies up to a key, from 0 to 1, as keys have it.
func (t *tx) passed(table *sealedTable, key int64) (float64, error) {
	var least, most sql.NullInt64
	first := table.keys[0]
	err := t.each(func(r *sql.Rows) error { return r.Scan(&least, &most) },
		`select (select min(`+first+`) from `+table.name+`), (select max(`+first+`) from `+table.name+`)`)
	if err != nil || !most.Valid || most.Int64 == least.Int64 || key < least.Int64 {
		return 0, err
	}
	return min(1, float64(key-least.Int64)/float64(most.Int64-least.Int64)), nil
}
