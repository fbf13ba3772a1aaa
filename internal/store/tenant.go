package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const tenantColumns = `tenants.id, tenants.user_id, tenants.current_key, tenants.next_key, tenants.rotated_at, tenants.settings, tenants.secrets`

func scanTenant(r *sql.Rows) (*engine.Tenant, error) {
	var t engine.Tenant
	var settings, secrets string
	if err := r.Scan(&t.ID, &t.UserID, &t.CurrentKey, &t.NextKey, &t.RotatedAt, &settings, &secrets); err != nil {
		return nil, err
	}
	if err := parseJSON(settings, &t.Settings); err != nil {
		return nil, err
	}
	return &t, parseJSON(secrets, &t.Secrets)
}

// tenantJSON is what of a tenant is kept as JSON.
func tenantJSON(n *engine.Tenant) (settings, secrets string, err error) {
	if settings, err = jsonText(n.Settings); err != nil {
		return "", "", err
	}
	secrets, err = jsonText(n.Secrets)
	return settings, secrets, err
}

func (t *tx) InsertTenant(n *engine.Tenant) error {
	err := t.each(func(r *sql.Rows) error { return r.Scan(&n.ID) }, `select coalesce(max(id), 0) + 1 from tenants`)
	if err != nil {
		return err
	}
	settings, secrets, err := tenantJSON(n)
	if err != nil {
		return err
	}
	_, err = t.exec(`
		insert into tenants (id, user_id, current_key, next_key, rotated_at, settings, secrets) values ($1, $2, $3, $4, $5, $6, $7)`,
		n.ID, n.UserID, n.CurrentKey, n.NextKey, n.RotatedAt, settings, secrets)
	return err
}

func (t *tx) Tenants() ([]*engine.Tenant, error) {
	return collect(t, scanTenant, `select `+tenantColumns+` from tenants order by id`)
}

func (t *tx) LockTenant(id int64) (*engine.Tenant, error) {
	return one(t, scanTenant, `select `+tenantColumns+` from tenants where id = $1`+t.forUpdate, id)
}

func (t *tx) UpdateTenant(n *engine.Tenant) error {
	settings, secrets, err := tenantJSON(n)
	if err != nil {
		return err
	}
	return must(t.exec(`update tenants set current_key = $1, next_key = $2, rotated_at = $3, settings = $4, secrets = $5 where id = $6`,
		n.CurrentKey, n.NextKey, n.RotatedAt, settings, secrets, n.ID))
}

func (t *tx) InsertToken(hash []byte, tenant, createdAt int64) error {
	_, err := t.exec(`insert into tokens (hash, tenant, created_at) values ($1, $2, $3)`, hash, tenant, createdAt)
	return err
}

func (t *tx) TokenTenant(hash []byte) (*engine.Tenant, error) {
	return one(t, scanTenant, `
		select `+tenantColumns+` from tokens join tenants on tenants.id = tokens.tenant where tokens.hash = $1`, hash)
}
