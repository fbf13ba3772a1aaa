package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const queueColumns = `seq, tenant, name, parallelism, paused, active, updated_at`

func scanQueue(r *sql.Rows) (*engine.Queue, error) {
	var q engine.Queue
	var paused int64
	err := r.Scan(&q.Seq, &q.Tenant, &q.Name, &q.Parallelism, &paused, &q.Active, &q.UpdatedAt)
	q.Paused = paused != 0
	return &q, err
}

// flag is a truth value as both databases keep it.
func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (t *tx) InsertQueue(q *engine.Queue) error {
	_, err := t.exec(`insert into queues (`+queueColumns+`) values ($1, $2, $3, $4, $5, $6, $7)`,
		q.Seq, q.Tenant, q.Name, q.Parallelism, flag(q.Paused), q.Active, q.UpdatedAt)
	return err
}

func (t *tx) LockQueue(seq int64) (*engine.Queue, error) {
	return one(t, scanQueue, `select `+queueColumns+` from queues where seq = $1`+t.forUpdate, seq)
}

func (t *tx) LockQueueNamed(tenant int64, name string) (*engine.Queue, error) {
	if !portable(name) {
		return nil, nil // no row can have it
	}
	return one(t, scanQueue, `select `+queueColumns+` from queues where tenant = $1 and name = $2`+t.forUpdate, tenant, name)
}

func (t *tx) UpdateQueue(q *engine.Queue) error {
	return must(t.exec(`update queues set parallelism = $1, paused = $2, active = $3, updated_at = $4 where seq = $5`,
		q.Parallelism, flag(q.Paused), q.Active, q.UpdatedAt, q.Seq))
}

func (t *tx) DeleteQueue(seq int64) error {
	if _, err := t.exec(`delete from slots where lane = $1`, seq); err != nil {
		return err
	}
	return must(t.exec(`delete from queues where seq = $1`, seq))
}

func (t *tx) Queues(tenant int64) ([]*engine.Queue, error) {
	return collect(t, scanQueue, `select `+queueColumns+` from queues where tenant = $1`, tenant)
}

func (t *tx) CountQueues(tenant int64) (int, error) {
	n, err := t.number(`select count(*) from queues where tenant = $1`, tenant)
	return int(n), err
}
