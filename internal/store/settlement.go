package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const settlementColumns = `seq, tenant, message, result, retried, started_at, ended_at, next_due, status, error, header, body, sealed`

func (t *tx) scanSettlement(r *sql.Rows) (*engine.Settlement, error) {
	var s engine.Settlement
	var p private
	var sealed []byte
	err := r.Scan(&s.Seq, &s.Tenant, &s.Message, &s.Result, &s.Retried, &s.StartedAt, &s.EndedAt, &s.NextDue,
		&s.Status, &p.texts[0], &p.texts[1], &p.blob, &sealed)
	if err != nil {
		return nil, err
	}
	if err := t.open(place{"settlements", s.Seq, 0}, sealed, &p); err != nil {
		return nil, err
	}
	s.Error, s.Body = p.texts[0], p.blob
	s.Header, err = parseHeader(p.texts[1])
	return &s, err
}

func (t *tx) InsertSettlements(settlements []*engine.Settlement) error {
	for _, s := range settlements {
		p := private{texts: [3]string{portableText(s.Error), headerText(s.Header)}, blob: s.Body}
		sealed, err := t.seal(place{"settlements", s.Seq, 0}, &p)
		if err != nil {
			return err
		}
		_, err = t.exec(`
			insert into settlements (`+settlementColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
			s.Seq, s.Tenant, s.Message, int64(s.Result), s.Retried, s.StartedAt, s.EndedAt, s.NextDue,
			s.Status, p.texts[0], p.texts[1], blob(p.blob), sealed)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) SettlementsOf(message int64) ([]*engine.Settlement, error) {
	return collect(t, t.scanSettlement, `select `+settlementColumns+` from settlements where message = $1 order by seq`, message)
}

func (t *tx) ListSettlements(tenant int64, p engine.Page) ([]*engine.Settlement, error) {
	const where = `select ` + settlementColumns + ` from settlements where seq >= $1 and seq < $2 and tenant = $3 `
	if p.Newest {
		return collect(t, t.scanSettlement, where+`order by seq desc limit $4`, p.From, p.To, tenant, p.Limit)
	}
	return collect(t, t.scanSettlement, where+`order by seq limit $4`, p.From, p.To, tenant, p.Limit)
}
