package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

func (t *tx) PurgeDeduplications(now int64, limit int) (int, error) {
	n, err := t.exec(`
		delete from deduplications where (tenant, hash) in
		(select tenant, hash from deduplications where expires_at <= $1 order by expires_at limit $2)`, now, limit)
	return int(n), err
}

// ExpiredRuns keeps a run as long as it is in the DLQ, or one is that had invoked
// it, its failure callback is still to be delivered, or a run that stays has a part
// of its log. Newest first: a chain of runs that went on with each other goes as a
// whole.
func (t *tx) ExpiredRuns(below, before int64, limit int) (runs []int64, last int64, err error) {
	if below == 0 {
		below = engine.FirstSeq(before)
	}
	n, gone := 0, map[int64]bool{}
	err = t.each(func(r *sql.Rows) error {
		var expired bool
		var successor int64
		n++
		if err := r.Scan(&last, &expired, &successor); err != nil {
			return err
		}
		if expired && (successor == 0 || gone[successor]) {
			gone[last], runs = true, append(runs, last)
		}
		return nil
	}, `
		select seq, state > 1 and ended_at < $1
			and not exists (select 1 from dlq where dlq.seq = runs.dlq)
			and not exists (select 1 from messages where messages.seq = runs.failure_call and messages.state in (2, 3, 7))
			and not exists (select 1 from waits join runs waiting on waiting.seq = waits.run join dlq on dlq.seq = waiting.dlq
				where waits.child = runs.seq and waits.child > 0),
			coalesce((select later.seq from runs later where later.seq = runs.successor), 0)
		from runs where seq < $2 order by seq desc limit $3`,
		before, below, limit)
	if n < limit {
		last = 0
	}
	return runs, last, err
}

// ExpiredMessages goes by the last thing that happened to a message, not by its
// age: one that was delivered after a month's delay is news. A run's messages
// outlive it until no run is there to show them.
func (t *tx) ExpiredMessages(after, before int64, limit int) (messages []int64, last int64, err error) {
	n := 0
	err = t.each(func(r *sql.Rows) error {
		var expired bool
		n++
		if err := r.Scan(&last, &expired); err != nil || !expired {
			return err
		}
		messages = append(messages, last)
		return nil
	}, `
		select seq, state in (4, 5, 6)
			and not exists (select 1 from runs where runs.seq = messages.run)
			and not exists (select 1 from dlq where dlq.message = messages.seq)
			and not exists (select 1 from settlements where settlements.message = messages.seq and settlements.seq >= $1)
		from messages where seq > $2 and seq < $3 order by seq limit $4`,
		engine.FirstSeq(before), after, engine.FirstSeq(before), limit)
	if n < limit {
		last = 0
	}
	return messages, last, err
}

// DeleteRuns deletes runs with all that is theirs alone.
func (t *tx) DeleteRuns(seqs []int64) error {
	return t.execAll(seqs, `delete from run_log where run = $1`, `delete from waits where run = $1`,
		`delete from webhooks where run = $1`, `delete from notes where run = $1`, `delete from runs where seq = $1`)
}

// DeleteMessages deletes messages with their settlements.
func (t *tx) DeleteMessages(seqs []int64) error {
	return t.execAll(seqs, `delete from settlements where message = $1`, `delete from messages where seq = $1`)
}

func (t *tx) execAll(seqs []int64, statements ...string) error {
	for _, seq := range seqs {
		for _, statement := range statements {
			if _, err := t.exec(statement, seq); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tx) PurgeDLQ(before int64, limit int) (int, error) {
	n, err := t.exec(`delete from dlq where seq in (select seq from dlq where seq < $1 order by seq limit $2)`,
		engine.FirstSeq(before), limit)
	return int(n), err
}

func (t *tx) TrimDLQ(tenant, through int64, limit int) (int, error) {
	n, err := t.exec(`delete from dlq where seq in (select seq from dlq where tenant = $1 and seq <= $2 order by seq limit $3)`,
		tenant, through, limit)
	return int(n), err
}
