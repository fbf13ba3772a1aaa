package store

import (
	"database/sql"
	"encoding/json"

	"github.com/signposthq/signpost/internal/engine"
)

const urlGroupColumns = `seq, tenant, name, endpoints, header, url_prefix, updated_at, sealed`

func (t *tx) scanURLGroup(r *sql.Rows) (*engine.URLGroup, error) {
	var g engine.URLGroup
	var p private
	var sealed []byte
	if err := r.Scan(&g.Seq, &g.Tenant, &g.Name, &p.texts[0], &p.texts[1], &p.texts[2], &g.UpdatedAt, &sealed); err != nil {
		return nil, err
	}
	if err := t.open(place{"url_groups", g.Seq, 0}, sealed, &p); err != nil {
		return nil, err
	}
	g.Prefix = engine.URLPrefix(p.texts[2])
	err := parseJSON(p.texts[0], &g.Endpoints)
	if err == nil {
		g.Header, err = parseHeader(p.texts[1])
	}
	return &g, err
}

// sealURLGroup is what is private of a group, sealed or as it is.
func (t *tx) sealURLGroup(g *engine.URLGroup) (p private, sealed []byte, err error) {
	endpoints, err := json.Marshal(g.Endpoints)
	if err != nil {
		return p, nil, err
	}
	p = private{texts: [3]string{string(endpoints), headerText(g.Header), string(g.Prefix)}}
	sealed, err = t.seal(place{"url_groups", g.Seq, 0}, &p)
	return p, sealed, err
}

func (t *tx) InsertURLGroup(g *engine.URLGroup) error {
	p, sealed, err := t.sealURLGroup(g)
	if err != nil {
		return err
	}
	_, err = t.exec(`insert into url_groups (`+urlGroupColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
		g.Seq, g.Tenant, g.Name, p.texts[0], p.texts[1], p.texts[2], g.UpdatedAt, sealed)
	return err
}

func (t *tx) URLGroup(tenant int64, name string) (*engine.URLGroup, error) {
	if !portable(name) {
		return nil, nil // no row can have it
	}
	return one(t, t.scanURLGroup, `select `+urlGroupColumns+` from url_groups where tenant = $1 and name = $2`, tenant, name)
}

func (t *tx) LockURLGroup(tenant int64, name string) (*engine.URLGroup, error) {
	if !portable(name) {
		return nil, nil
	}
	return one(t, t.scanURLGroup,
		`select `+urlGroupColumns+` from url_groups where tenant = $1 and name = $2`+t.forUpdate, tenant, name)
}

func (t *tx) UpdateURLGroup(g *engine.URLGroup) error {
	p, sealed, err := t.sealURLGroup(g)
	if err != nil {
		return err
	}
	return must(t.exec(`update url_groups set endpoints = $1, header = $2, url_prefix = $3, updated_at = $4, sealed = $5 where seq = $6`,
		p.texts[0], p.texts[1], p.texts[2], g.UpdatedAt, sealed, g.Seq))
}

func (t *tx) DeleteURLGroup(seq int64) error {
	return must(t.exec(`delete from url_groups where seq = $1`, seq))
}

func (t *tx) URLGroups(tenant int64) ([]*engine.URLGroup, error) {
	return collect(t, t.scanURLGroup, `select `+urlGroupColumns+` from url_groups where tenant = $1 order by name`, tenant)
}

func (t *tx) CountURLGroups(tenant int64) (int, error) {
	n, err := t.number(`select count(*) from url_groups where tenant = $1`, tenant)
	return int(n), err
}
