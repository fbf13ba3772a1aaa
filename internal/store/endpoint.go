package store

import (
	"crypto/sha256"
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const endpointColumns = `tenant, url, seen_at, echo, verified_key, verified_at, awaited_key, streak, lacked_at, unverified`

func scanEndpoint(r *sql.Rows) (*engine.Endpoint, error) {
	var ep engine.Endpoint
	var unverified int
	err := r.Scan(&ep.Tenant, &ep.URL, &ep.SeenAt, &ep.Echo, &ep.VerifiedKey, &ep.VerifiedAt,
		&ep.Awaited, &ep.Streak, &ep.LackedAt, &unverified)
	ep.Unverified = unverified != 0
	return &ep, err
}

// urlHash finds an endpoint's row: PostgreSQL takes no key as long as a URL may
// be.
func urlHash(url string) []byte {
	sum := sha256.Sum256([]byte(url))
	return sum[:16]
}

func (t *tx) Endpoints() ([]*engine.Endpoint, error) {
	return collect(t, scanEndpoint, `select `+endpointColumns+` from endpoints order by tenant, hash`)
}

func (t *tx) PutEndpoints(endpoints []*engine.Endpoint) error {
	for _, ep := range endpoints {
		unverified := 0
		if ep.Unverified {
			unverified = 1
		}
		_, err := t.exec(`
			insert into endpoints (`+endpointColumns+`, hash) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
			on conflict (tenant, hash) do update set
				seen_at = excluded.seen_at, echo = excluded.echo, verified_key = excluded.verified_key,
				verified_at = excluded.verified_at, awaited_key = excluded.awaited_key, streak = excluded.streak,
				lacked_at = excluded.lacked_at, unverified = excluded.unverified`,
			ep.Tenant, ep.URL, ep.SeenAt, ep.Echo, ep.VerifiedKey, ep.VerifiedAt,
			ep.Awaited, ep.Streak, ep.LackedAt, unverified, urlHash(ep.URL))
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) DeleteEndpoints(endpoints []*engine.Endpoint) error {
	for _, ep := range endpoints {
		if _, err := t.exec(`delete from endpoints where tenant = $1 and hash = $2`, ep.Tenant, urlHash(ep.URL)); err != nil {
			return err
		}
	}
	return nil
}
