package store

import (
	"database/sql"
	"errors"

	"github.com/signposthq/signpost/internal/engine"
)

const tenantColumns = `tenants.id, tenants.user_id, tenants.current_key, tenants.next_key, tenants.rotated_at, tenants.settings,
	tenants.limits, tenants.secrets, tenants.sealed`

func (t *tx) scanTenant(r *sql.Rows) (*engine.Tenant, error) {
	var n engine.Tenant
	var settings, limits string
	var p private
	var sealed []byte
	if err := r.Scan(&n.ID, &n.UserID, &p.texts[0], &p.texts[1], &n.RotatedAt, &settings, &limits, &p.texts[2], &sealed); err != nil {
		return nil, err
	}
	if err := t.open(place{"tenants", n.ID, 0}, sealed, &p); err != nil {
		return nil, err
	}
	n.CurrentKey, n.NextKey = p.texts[0], p.texts[1]
	if err := errors.Join(parseJSON(settings, &n.Settings), parseJSON(limits, &n.Limits)); err != nil {
		return nil, err
	}
	return &n, parseJSON(p.texts[2], &n.Secrets)
}

// tenantRow is what of a tenant is written as text, some of it sealed.
type tenantRow struct {
	settings, limits string
	private
	sealed []byte
}

func (t *tx) tenantRow(n *engine.Tenant) (row tenantRow, err error) {
	if row.settings, err = jsonText(n.Settings); err != nil {
		return row, err
	}
	if row.limits, err = jsonText(n.Limits); err != nil {
		return row, err
	}
	secrets, err := jsonText(n.Secrets)
	if err != nil {
		return row, err
	}
	row.texts = [3]string{n.CurrentKey, n.NextKey, secrets}
	row.sealed, err = t.seal(place{"tenants", n.ID, 0}, &row.private)
	return row, err
}

func (t *tx) InsertTenant(n *engine.Tenant) error {
	err := t.each(func(r *sql.Rows) error { return r.Scan(&n.ID) }, `select coalesce(max(id), 0) + 1 from tenants`)
	if err != nil {
		return err
	}
	row, err := t.tenantRow(n)
	if err != nil {
		return err
	}
	_, err = t.exec(`
		insert into tenants (id, user_id, current_key, next_key, rotated_at, settings, limits, secrets, sealed)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		n.ID, n.UserID, row.texts[0], row.texts[1], n.RotatedAt, row.settings, row.limits, row.texts[2], row.sealed)
	return err
}

func (t *tx) Tenants() ([]*engine.Tenant, error) {
	return collect(t, t.scanTenant, `select `+tenantColumns+` from tenants order by id`)
}

func (t *tx) LockTenant(id int64) (*engine.Tenant, error) {
	return one(t, t.scanTenant, `select `+tenantColumns+` from tenants where id = $1`+t.forUpdate, id)
}

func (t *tx) UpdateTenant(n *engine.Tenant) error {
	row, err := t.tenantRow(n)
	if err != nil {
		return err
	}
	return must(t.exec(`
		update tenants set current_key = $1, next_key = $2, rotated_at = $3, settings = $4, limits = $5, secrets = $6, sealed = $7
		where id = $8`,
		row.texts[0], row.texts[1], n.RotatedAt, row.settings, row.limits, row.texts[2], row.sealed, n.ID))
}
