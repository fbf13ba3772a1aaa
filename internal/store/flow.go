package store

import (
	"crypto/sha256"
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const flowKeyColumns = `seq, tenant, flow_key, parallelism, rate, period, rate_count, window_start, paused, pinned, active, used_at, sealed`

const (
	pinnedParallelism = 1
	pinnedRate        = 2
)

func pinned(k *engine.FlowKey) int64 {
	return flag(k.PinnedParallelism)*pinnedParallelism | flag(k.PinnedRate)*pinnedRate
}

func (t *tx) scanFlowKey(r *sql.Rows) (*engine.FlowKey, error) {
	var k engine.FlowKey
	var paused, pins int64
	var p private
	var sealed []byte
	err := r.Scan(&k.Seq, &k.Tenant, &p.texts[0], &k.Parallelism, &k.Rate, &k.Period, &k.RateCount, &k.WindowStart,
		&paused, &pins, &k.Active, &k.UsedAt, &sealed)
	if err != nil {
		return nil, err
	}
	k.Paused = paused != 0
	k.PinnedParallelism, k.PinnedRate = pins&pinnedParallelism != 0, pins&pinnedRate != 0
	err = t.open(place{"flow_keys", k.Seq, 0}, sealed, &p)
	k.Key = p.texts[0]
	return &k, err
}

// flowHash finds a key's row without telling the key.
func flowHash(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:16]
}

func (t *tx) InsertFlowKey(k *engine.FlowKey) error {
	p := private{texts: [3]string{k.Key}}
	sealed, err := t.seal(place{"flow_keys", k.Seq, 0}, &p)
	if err != nil {
		return err
	}
	_, err = t.exec(`
		insert into flow_keys (`+flowKeyColumns+`, hash) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		k.Seq, k.Tenant, p.texts[0], k.Parallelism, k.Rate, k.Period, k.RateCount, k.WindowStart,
		flag(k.Paused), pinned(k), k.Active, k.UsedAt, sealed, flowHash(k.Key))
	return err
}

func (t *tx) LockFlowKey(seq int64) (*engine.FlowKey, error) {
	return one(t, t.scanFlowKey, `select `+flowKeyColumns+` from flow_keys where seq = $1`+t.forUpdate, seq)
}

func (t *tx) LockFlowKeyNamed(tenant int64, key string) (*engine.FlowKey, error) {
	return one(t, t.scanFlowKey, `
		select `+flowKeyColumns+` from flow_keys where tenant = $1 and hash = $2`+t.forUpdate, tenant, flowHash(key))
}

func (t *tx) UpdateFlowKey(k *engine.FlowKey) error {
	return must(t.exec(`
		update flow_keys set parallelism = $1, rate = $2, period = $3, rate_count = $4, window_start = $5, paused = $6,
			pinned = $7, active = $8, used_at = $9 where seq = $10`,
		k.Parallelism, k.Rate, k.Period, k.RateCount, k.WindowStart, flag(k.Paused), pinned(k), k.Active, k.UsedAt, k.Seq))
}

func (t *tx) FlowKeys(tenant int64) ([]*engine.FlowKey, error) {
	return collect(t, t.scanFlowKey, `select `+flowKeyColumns+` from flow_keys where tenant = $1`, tenant)
}

// PurgeFlowKeys asks a second time: where another transaction had the row, it is
// the other's that is deleted.
func (t *tx) PurgeFlowKeys(before int64, limit int) (int, error) {
	n, err := t.exec(`
		delete from flow_keys where seq in (
			select seq from flow_keys where active = 0 and paused = 0 and pinned = 0 and used_at < $1
			and not exists (select 1 from messages where state = 7 and messages.tenant = flow_keys.tenant and lane = flow_keys.seq)
			order by used_at limit $2)
		and active = 0 and paused = 0 and pinned = 0 and used_at < $1`, before, limit)
	return int(n), err
}
