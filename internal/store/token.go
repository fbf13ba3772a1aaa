package store

import (
	"database/sql"
	"strings"

	"github.com/signposthq/signpost/internal/engine"
)

const tokenColumns = `hash, tenant, name, prefix, scopes, url_prefix, created_at, expires_at, last_used_at`

func scanToken(r *sql.Rows) (*engine.Token, error) {
	var t engine.Token
	var scopes string
	err := r.Scan(&t.Hash, &t.Tenant, &t.Name, &t.Prefix, &scopes, &t.URLPrefix, &t.CreatedAt, &t.ExpiresAt, &t.LastUsedAt)
	if err != nil || scopes == "" {
		return &t, err
	}
	for scope := range strings.SplitSeq(scopes, ",") {
		t.Scopes = append(t.Scopes, engine.Scope(scope))
	}
	return &t, nil
}

func scopesText(scopes []engine.Scope) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, ",")
}

func (t *tx) InsertToken(n *engine.Token) error {
	_, err := t.exec(`insert into tokens (`+tokenColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		n.Hash, n.Tenant, n.Name, n.Prefix, scopesText(n.Scopes), string(n.URLPrefix), n.CreatedAt, n.ExpiresAt, n.LastUsedAt)
	return err
}

func (t *tx) TokenByHash(hash []byte) (*engine.Token, error) {
	return one(t, scanToken, `select `+tokenColumns+` from tokens where hash = $1`, hash)
}

func (t *tx) Tokens(tenant int64) ([]*engine.Token, error) {
	return collect(t, scanToken, `select `+tokenColumns+` from tokens where tenant = $1 order by created_at, hash`, tenant)
}

func (t *tx) DeleteToken(hash []byte) error {
	return must(t.exec(`delete from tokens where hash = $1`, hash))
}

func (t *tx) TouchTokens(uses []engine.TokenUse) error {
	for _, u := range uses {
		_, err := t.exec(`update tokens set last_used_at = $1 where hash = $2 and last_used_at < $1`, u.At, u.Hash)
		if err != nil {
			return err
		}
	}
	return nil
}
