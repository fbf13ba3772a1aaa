package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

// Purge deletes what has expired, oldest first, until it has deleted limit
// rows: deduplications, runs with their logs, and messages with what is known
// of them. A run's messages outlive it until no run is there to show them.
func (t *tx) Purge(before, now int64, limit int) (n int, err error) {
	for _, purge := range []func(before, now int64, limit int) (int, error){
		t.purgeDeduplications, t.purgeRuns, t.purgeMessages,
	} {
		if n >= limit {
			break
		}
		deleted, err := purge(before, now, limit-n)
		if err != nil {
			return 0, err
		}
		n += deleted
	}
	return n, nil
}

func (t *tx) purgeDeduplications(_, now int64, limit int) (int, error) {
	n, err := t.exec(`
		delete from deduplications where (tenant, hash) in
		(select tenant, hash from deduplications where expires_at <= $1 order by expires_at limit $2)`, now, limit)
	return int(n), err
}

// purgeRuns keeps a run as long as it is in the DLQ or its failure callback is
// still to be delivered. A run is deleted whole, if need be beyond the limit.
func (t *tx) purgeRuns(before, _ int64, limit int) (n int, err error) {
	runs, err := t.keys(`
		select seq from runs where seq < $1 and state > 1 and ended_at < $2
		and not exists (select 1 from dlq where dlq.seq = runs.dlq)
		and not exists (select 1 from messages where messages.seq = runs.failure_call and messages.state in (2, 3, 7))
		order by seq limit $3`, engine.FirstSeq(before), before, limit)
	if err != nil {
		return 0, err
	}
	for _, run := range runs {
		if n >= limit {
			break
		}
		for _, statement := range []string{`delete from run_log where run = $1`, `delete from runs where seq = $1`} {
			deleted, err := t.exec(statement, run)
			if err != nil {
				return 0, err
			}
			n += int(deleted)
		}
	}
	return n, nil
}

// purgeMessages goes by the last thing that happened to a message, not by its
// age: one that was delivered after a month's delay is news.
func (t *tx) purgeMessages(before, _ int64, limit int) (int, error) {
	messages, err := t.keys(`
		select seq from messages where seq < $1 and state in (4, 5, 6)
		and not exists (select 1 from runs where runs.seq = messages.run)
		and not exists (select 1 from dlq where dlq.message = messages.seq)
		and not exists (select 1 from settlements where settlements.message = messages.seq and settlements.seq >= $1)
		order by seq limit $2`, engine.FirstSeq(before), limit)
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		for _, statement := range []string{`delete from settlements where message = $1`, `delete from messages where seq = $1`} {
			if _, err := t.exec(statement, m); err != nil {
				return 0, err
			}
		}
	}
	return len(messages), nil
}

func (t *tx) keys(query string, args ...any) ([]int64, error) {
	return collect(t, func(r *sql.Rows) (k int64, err error) {
		err = r.Scan(&k)
		return k, err
	}, query, args...)
}
