package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const tenantColumns = `tenants.id, tenants.user_id, tenants.current_key, tenants.next_key`

func scanTenant(r *sql.Rows) (*engine.Tenant, error) {
	var t engine.Tenant
	return &t, r.Scan(&t.ID, &t.UserID, &t.CurrentKey, &t.NextKey)
}

func (t *tx) InsertTenant(n *engine.Tenant) error {
	err := t.each(func(r *sql.Rows) error { return r.Scan(&n.ID) }, `select coalesce(max(id), 0) + 1 from tenants`)
	if err != nil {
		return err
	}
	_, err = t.exec(`insert into tenants (id, user_id, current_key, next_key) values ($1, $2, $3, $4)`,
		n.ID, n.UserID, n.CurrentKey, n.NextKey)
	return err
}

func (t *tx) Tenants() ([]*engine.Tenant, error) {
	return collect(t, scanTenant, `select `+tenantColumns+` from tenants order by id`)
}

func (t *tx) LockTenant(id int64) (*engine.Tenant, error) {
	return one(t, scanTenant, `select `+tenantColumns+` from tenants where id = $1`+t.forUpdate, id)
}

func (t *tx) UpdateTenantKeys(n *engine.Tenant) error {
	return must(t.exec(`update tenants set current_key = $1, next_key = $2 where id = $3`, n.CurrentKey, n.NextKey, n.ID))
}

func (t *tx) InsertToken(hash []byte, tenant, createdAt int64) error {
	_, err := t.exec(`insert into tokens (hash, tenant, created_at) values ($1, $2, $3)`, hash, tenant, createdAt)
	return err
}

func (t *tx) TokenTenant(hash []byte) (*engine.Tenant, error) {
	return one(t, scanTenant, `
		select `+tenantColumns+` from tokens join tenants on tenants.id = tokens.tenant where tokens.hash = $1`, hash)
}
