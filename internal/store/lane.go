package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

func scanWaiter(r *sql.Rows) (w engine.Waiter, err error) {
	err = r.Scan(&w.At, &w.Seq, &w.Retried, &w.Flow)
	return w, err
}

func (t *tx) Waiting(tenant, lane int64, limit int) ([]engine.Waiter, error) {
	return collect(t, scanWaiter, `
		select due, seq, retried, flow from messages where state = 7 and tenant = $1 and lane = $2
		order by due, seq limit $3`, tenant, lane, limit)
}

func (t *tx) CountWaiting(tenant, lane, by int64) (int, error) {
	n, err := t.number(`
		select count(*) from messages where state = 7 and tenant = $1 and lane = $2 and due <= $3`, tenant, lane, by)
	return int(n), err
}

func (t *tx) WaitingMessages(tenant, lane int64, after engine.Due, limit int) ([]*engine.Message, error) {
	const where = `select ` + messageColumns + ` from messages where state = 7 and tenant = $1 and lane = $2 and due `
	tied, err := collect(t, t.scanMessage, where+`= $3 and seq > $4 order by seq limit $5`, tenant, lane, after.At, after.Seq, limit)
	if err != nil || len(tied) == limit {
		return tied, err
	}
	later, err := collect(t, t.scanMessage, where+`> $3 order by due, seq limit $4`, tenant, lane, after.At, limit-len(tied))
	return append(tied, later...), err
}

func (t *tx) NextLane(tenant, above int64) (int64, error) {
	return t.number(`
		select lane from messages where state = 7 and tenant = $1 and lane > $2 order by lane limit 1`, tenant, above)
}

// number is the value of a query's only column; 0 if there is no row.
func (t *tx) number(query string, args ...any) (n int64, err error) {
	err = t.each(func(r *sql.Rows) error { return r.Scan(&n) }, query, args...)
	return n, err
}

func (t *tx) Slot(lane, message int64) (int64, error) {
	return t.number(`select holds from slots where lane = $1 and message = $2`+t.forUpdate, lane, message)
}

func (t *tx) PutSlot(lane, message, slot int64) error {
	if slot == 0 {
		_, err := t.exec(`delete from slots where lane = $1 and message = $2`, lane, message)
		return err
	}
	_, err := t.exec(`
		insert into slots (lane, message, holds) values ($1, $2, $3)
		on conflict (lane, message) do update set holds = excluded.holds`, lane, message, slot)
	return err
}

func (t *tx) Slots(lane int64) ([]int64, error) {
	return t.keys(`select message from slots where lane = $1 order by message`, lane)
}
