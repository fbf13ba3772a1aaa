package store

import "database/sql"

// Purge deletes what has expired. Finished messages go by their key, oldest
// first; a run goes with its log, its messages and what is known of them.
func (t *tx) Purge(before, now int64, limit int) (n int, err error) {
	cut := before << 22 // the first key of that time
	messages, err := t.keys(`
		select seq from messages where seq < $1 and state > 3 and run = 0
		and not exists (select 1 from dlq where dlq.message = messages.seq) order by seq limit $2`, cut, limit)
	if err != nil {
		return 0, err
	}
	runs, err := t.keys(`
		select seq from runs where seq < $1 and state > 1 and ended_at < $2
		and not exists (select 1 from dlq where dlq.seq = runs.dlq) order by seq limit $3`, cut, before, max(1, limit/10))
	if err != nil {
		return 0, err
	}
	for _, run := range runs {
		of, err := t.keys(`
			select seq from run_log where run = $1 union select failure_call from runs where seq = $1
			union select seq from messages where seq = $1`, run)
		if err != nil {
			return 0, err
		}
		messages = append(messages, of...)
		for _, statement := range []string{`delete from run_log where run = $1`, `delete from runs where seq = $1`} {
			if _, err := t.exec(statement, run); err != nil {
				return 0, err
			}
		}
	}
	for _, m := range messages {
		for _, statement := range []string{`delete from settlements where message = $1`, `delete from messages where seq = $1`} {
			if _, err := t.exec(statement, m); err != nil {
				return 0, err
			}
		}
	}
	expired, err := t.purgeDeduplications(now, limit)
	return len(messages) + len(runs) + expired, err
}

func (t *tx) purgeDeduplications(now int64, limit int) (int, error) {
	n, err := t.exec(`
		delete from deduplications where (tenant, hash) in
		(select tenant, hash from deduplications where expires_at <= $1 order by expires_at limit $2)`, now, limit)
	return int(n), err
}

func (t *tx) keys(query string, args ...any) ([]int64, error) {
	return collect(t, func(r *sql.Rows) (k int64, err error) {
		err = r.Scan(&k)
		return k, err
	}, query, args...)
}
