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

func (t *tx) DLQEntries(seqs []int64) ([]*engine.DLQEntry, error) {
	if len(seqs) == 0 {
		return nil, nil
	}
	return collect(t, t.scanDLQ, `select `+dlqColumns+` from dlq where `+t.inList+` order by seq`, t.list(seqs))
}

func (t *tx) ScanDLQ(p engine.Page) ([]*engine.DLQEntry, bool, error) {
	return scanPage(t, p, `seq, tenant, message, run, status`, `dlq`, func(r *sql.Rows) (*engine.DLQEntry, int, error) {
		var d engine.DLQEntry
		return &d, 0, r.Scan(&d.Seq, &d.Tenant, &d.Message, &d.Run, &d.Status)
	})
}

func (t *tx) DLQBeyond(tenant int64, newest int) (seq int64, err error) {
	err = t.each(func(r *sql.Rows) error { return r.Scan(&seq) },
		`select seq from dlq where tenant = $1 order by seq desc limit 1 offset $2`, tenant, newest)
	return seq, err
}

func (t *tx) DeleteDLQ(seq int64) error {
	return must(t.exec(`delete from dlq where seq = $1`, seq))
}

func (t *tx) InDLQ(message int64) (found bool, err error) {
	err = t.each(func(*sql.Rows) error { found = true; return nil }, `select 1 from dlq where message = $1 limit 1`, message)
	return found, err
}
