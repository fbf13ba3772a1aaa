package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const tenantColumns = `tenants.id, tenants.user_id, tenants.current_key, tenants.next_key, tenants.rotated_at, tenants.settings,
	tenants.secrets, tenants.sealed`

func (t *tx) scanTenant(r *sql.Rows) (*engine.Tenant, error) {
	var n engine.Tenant
	var settings string
	var p private
	var sealed []byte
	if err := r.Scan(&n.ID, &n.UserID, &p.texts[0], &p.texts[1], &n.RotatedAt, &settings, &p.texts[2], &sealed); err != nil {
		return nil, err
	}
	if err := t.open(place{"tenants", n.ID, 0}, sealed, &p); err != nil {
		return nil, err
	}
	n.CurrentKey, n.NextKey = p.texts[0], p.texts[1]
	if err := parseJSON(settings, &n.Settings); err != nil {
		return nil, err
	}
	return &n, parseJSON(p.texts[2], &n.Secrets)
}

// sealTenant gives a tenant's settings as text, and its keys and secrets.
func (t *tx) sealTenant(n *engine.Tenant) (settings string, p private, sealed []byte, err error) {
	if settings, err = jsonText(n.Settings); err != nil {
		return "", p, nil, err
	}
	secrets, err := jsonText(n.Secrets)
	if err != nil {
		return "", p, nil, err
	}
	p.texts = [3]string{n.CurrentKey, n.NextKey, secrets}
	sealed, err = t.seal(place{"tenants", n.ID, 0}, &p)
	return settings, p, sealed, err
}

func (t *tx) InsertTenant(n *engine.Tenant) error {
	err := t.each(func(r *sql.Rows) error { return r.Scan(&n.ID) }, `select coalesce(max(id), 0) + 1 from tenants`)
	if err != nil {
		return err
	}
	settings, p, sealed, err := t.sealTenant(n)
	if err != nil {
		return err
	}
	_, err = t.exec(`
		insert into tenants (id, user_id, current_key, next_key, rotated_at, settings, secrets, sealed) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
		n.ID, n.UserID, p.texts[0], p.texts[1], n.RotatedAt, settings, p.texts[2], sealed)
	return err
}

func (t *tx) Tenants() ([]*engine.Tenant, error) {
	return collect(t, t.scanTenant, `select `+tenantColumns+` from tenants order by id`)
}

func (t *tx) LockTenant(id int64) (*engine.Tenant, error) {
	return one(t, t.scanTenant, `select `+tenantColumns+` from tenants where id = $1`+t.forUpdate, id)
}

func (t *tx) UpdateTenant(n *engine.Tenant) error {
	settings, p, sealed, err := t.sealTenant(n)
	if err != nil {
		return err
	}
	return must(t.exec(`
		update tenants set current_key = $1, next_key = $2, rotated_at = $3, settings = $4, secrets = $5, sealed = $6 where id = $7`,
		p.texts[0], p.texts[1], n.RotatedAt, settings, p.texts[2], sealed, n.ID))
}
