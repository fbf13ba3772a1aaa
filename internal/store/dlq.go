package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const dlqColumns = `seq, tenant, message, run, status, header, body`

func scanDLQ(r *sql.Rows) (*engine.DLQEntry, error) {
	var d engine.DLQEntry
	var header string
	err := r.Scan(&d.Seq, &d.Tenant, &d.Message, &d.Run, &d.Status, &header, &d.Body)
	if err != nil {
		return nil, err
	}
	d.Header, err = parseHeader(header)
	return &d, err
}

func (t *tx) InsertDLQ(d *engine.DLQEntry) error {
	_, err := t.exec(`insert into dlq (`+dlqColumns+`) values ($1, $2, $3, $4, $5, $6, $7)`,
		d.Seq, d.Tenant, d.Message, d.Run, d.Status, headerText(d.Header), blob(d.Body))
	return err
}

func (t *tx) LockDLQEntry(tenant, seq int64) (*engine.DLQEntry, error) {
	return one(t, scanDLQ, `select `+dlqColumns+` from dlq where seq = $1 and tenant = $2`+t.forUpdate, seq, tenant)
}

func (t *tx) ListDLQ(tenant int64, p engine.Page) ([]*engine.DLQEntry, error) {
	const where = `select ` + dlqColumns + ` from dlq where seq >= $1 and seq < $2 and tenant = $3 `
	if p.Newest {
		return collect(t, scanDLQ, where+`order by seq desc limit $4`+t.forUpdate, p.From, p.To, tenant, p.Limit)
	}
	return collect(t, scanDLQ, where+`order by seq limit $4`+t.forUpdate, p.From, p.To, tenant, p.Limit)
}

func (t *tx) DeleteDLQ(seq int64) error {
	return must(t.exec(`delete from dlq where seq = $1`, seq))
}
