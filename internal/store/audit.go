package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const auditColumns = `seq, tenant, actor, actor_name, action, object, state_before, state_after, caller_ip, sealed`

func (t *tx) scanAudit(r *sql.Rows) (*engine.AuditEntry, error) {
	var a engine.AuditEntry
	var p private
	var sealed []byte
	err := r.Scan(&a.Seq, &a.Tenant, &a.Actor, &a.ActorName, &a.Action, &p.texts[0], &p.texts[1], &p.texts[2], &a.CallerIP, &sealed)
	if err != nil {
		return nil, err
	}
	if err := t.open(place{"audit", a.Seq, 0}, sealed, &p); err != nil {
		return nil, err
	}
	a.Object, a.Before, a.After = p.texts[0], p.texts[1], p.texts[2]
	return &a, nil
}

func (t *tx) InsertAudit(a *engine.AuditEntry) error {
	p := private{texts: [3]string{a.Object, a.Before, a.After}}
	sealed, err := t.seal(place{"audit", a.Seq, 0}, &p)
	if err != nil {
		return err
	}
	_, err = t.exec(`insert into audit (`+auditColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		a.Seq, a.Tenant, a.Actor, a.ActorName, a.Action, p.texts[0], p.texts[1], p.texts[2], a.CallerIP, sealed)
	return err
}

func (t *tx) ListAudit(tenant int64, p engine.Page) ([]*engine.AuditEntry, error) {
	const where = `select ` + auditColumns + ` from audit where seq >= $1 and seq < $2 and tenant = $3 `
	if p.Newest {
		return collect(t, t.scanAudit, where+`order by seq desc limit $4`, p.From, p.To, tenant, p.Limit)
	}
	return collect(t, t.scanAudit, where+`order by seq limit $4`, p.From, p.To, tenant, p.Limit)
}

func (t *tx) PurgeAudit(before int64, limit int) (int, error) {
	n, err := t.exec(`
		delete from audit where seq in (select seq from audit where seq < $1 order by seq limit $2)`,
		engine.FirstSeq(before), limit)
	return int(n), err
}
