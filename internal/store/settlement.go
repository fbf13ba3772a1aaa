package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const settlementColumns = `seq, tenant, message, result, retried, started_at, ended_at, next_due, status, error, header, body`

func scanSettlement(r *sql.Rows) (*engine.Settlement, error) {
	var s engine.Settlement
	var header string
	err := r.Scan(&s.Seq, &s.Tenant, &s.Message, &s.Result, &s.Retried, &s.StartedAt, &s.EndedAt, &s.NextDue,
		&s.Status, &s.Error, &header, &s.Body)
	if err != nil {
		return nil, err
	}
	s.Header, err = parseHeader(header)
	return &s, err
}

func (t *tx) InsertSettlements(settlements []*engine.Settlement) error {
	for _, s := range settlements {
		_, err := t.exec(`
			insert into settlements (`+settlementColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			s.Seq, s.Tenant, s.Message, int64(s.Result), s.Retried, s.StartedAt, s.EndedAt, s.NextDue,
			s.Status, portableText(s.Error), headerText(s.Header), blob(s.Body))
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) SettlementsOf(message int64) ([]*engine.Settlement, error) {
	return collect(t, scanSettlement, `select `+settlementColumns+` from settlements where message = $1 order by seq`, message)
}

func (t *tx) ListSettlements(tenant int64, p engine.Page) ([]*engine.Settlement, error) {
	const where = `select ` + settlementColumns + ` from settlements where seq >= $1 and seq < $2 and tenant = $3 `
	if p.Newest {
		return collect(t, scanSettlement, where+`order by seq desc limit $4`, p.From, p.To, tenant, p.Limit)
	}
	return collect(t, scanSettlement, where+`order by seq limit $4`, p.From, p.To, tenant, p.Limit)
}
