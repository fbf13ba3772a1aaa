package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const dlqColumns = `seq, tenant, message, run, status, header, body, sealed`

func (t *tx) scanDLQ(r *sql.Rows) (*engine.DLQEntry, error) {
	var d engine.DLQEntry
	var p private
	var sealed []byte
	err := r.Scan(&d.Seq, &d.Tenant, &d.Message, &d.Run, &d.Status, &p.texts[0], &p.blob, &sealed)
	if err != nil {
		return nil, err
	}
	if err := t.open(place{"dlq", d.Seq, 0}, sealed, &p); err != nil {
		return nil, err
	}
	d.Body = p.blob
	d.Header, err = parseHeader(p.texts[0])
	return &d, err
}

func (t *tx) InsertDLQ(d *engine.DLQEntry) error {
	p := private{texts: [3]string{headerText(d.Header)}, blob: d.Body}
	sealed, err := t.seal(place{"dlq", d.Seq, 0}, &p)
	if err != nil {
		return err
	}
	_, err = t.exec(`insert into dlq (`+dlqColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
		d.Seq, d.Tenant, d.Message, d.Run, d.Status, p.texts[0], blob(p.blob), sealed)
	return err
}

func (t *tx) LockDLQEntry(tenant, seq int64) (*engine.DLQEntry, error) {
	return one(t, t.scanDLQ, `select `+dlqColumns+` from dlq where seq = $1 and tenant = $2`+t.forUpdate, seq, tenant)
}

func (t *tx) ListDLQ(tenant int64, p engine.Page) ([]*engine.DLQEntry, error) {
	const where = `select ` + dlqColumns + ` from dlq where seq >= $1 and seq < $2 and tenant = $3 `
	if p.Newest {
		return collect(t, t.scanDLQ, where+`order by seq desc limit $4`+t.forUpdate, p.From, p.To, tenant, p.Limit)
	}
	return collect(t, t.scanDLQ, where+`order by seq limit $4`+t.forUpdate, p.From, p.To, tenant, p.Limit)
}

func (t *tx) DeleteDLQ(seq int64) error {
	return must(t.exec(`delete from dlq where seq = $1`, seq))
}
