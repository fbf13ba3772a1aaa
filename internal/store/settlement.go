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

func (t *tx) FailureOf(message int64) (reason string, err error) {
	err = t.each(func(r *sql.Rows) error {
		var seq int64
		var p private
		var sealed []byte
		if err := r.Scan(&seq, &p.texts[0], &sealed); err != nil {
			return err
		}
		err := t.open(place{"settlements", seq, 0}, sealed, &p)
		reason = p.texts[0]
		return err
	}, `select seq, error, sealed from settlements where message = $1 and result = $2`, message, int64(engine.Failed))
	return reason, err
}

func (t *tx) Settlements(seqs []int64) ([]*engine.Settlement, error) {
	if len(seqs) == 0 {
		return nil, nil
	}
	return collect(t, t.scanSettlement, `select `+settlementColumns+` from settlements where `+t.inList+` order by seq`, t.list(seqs))
}

func (t *tx) ScanSettlements(p engine.Page) ([]*engine.Settlement, bool, error) {
	return scanPage(t, p, `seq, tenant, message, result, started_at, error, sealed`, `settlements`, func(r *sql.Rows) (*engine.Settlement, int, error) {
		var s engine.Settlement
		var p private
		var sealed []byte
		if err := r.Scan(&s.Seq, &s.Tenant, &s.Message, &s.Result, &s.StartedAt, &p.texts[0], &sealed); err != nil {
			return nil, 0, err
		}
		size := len(sealed)
		err := t.open(place{"settlements", s.Seq, 0}, sealed, &p)
		s.Error = p.texts[0]
		return &s, size, err
	})
}
