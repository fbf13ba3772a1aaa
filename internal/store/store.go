package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"strings"

	"github.com/signposthq/signpost/internal/engine"
)

// ErrInUse says that another process has the database open.
var ErrInUse = errors.New("in use by another process")

//go:embed migrations/*.sql
var migrations embed.FS

// dialect is what differs between the two databases.
type dialect struct {
	name      string
	forUpdate string            // suffix of a select that holds its rows
	ddl       *strings.Replacer // from the migrations' types to its own
	list      func(seqs []int64) any
	inList    string // condition: seq is in the list given as $1
	inOrder   bool   // rows are committed in the order of their keys
}

// querier runs statements on one transaction's connection.
type querier interface {
	exec(query string, args ...any) (affected int64, err error)
	query(query string, args ...any) (*sql.Rows, error)
	expect(bytes int64) error // so many are to be read at once
}

// tx implements engine.Tx.
type tx struct {
	querier
	*dialect
	ring *keyring // nil: nothing is sealed
}

var _ engine.Tx = (*tx)(nil)

// migrate runs, in order, the migrations that have not been run. Each is one
// transaction together with its entry in the list.
func migrate(ctx context.Context, conn *sql.Conn, d *dialect) error {
	if _, err := conn.ExecContext(ctx, `create table if not exists migrations (name text primary key)`); err != nil {
		return fmt.Errorf("create migrations table: %w", err)
	}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := migrateOne(ctx, conn, d, name); err != nil {
			return fmt.Errorf("migrate %s: %w", name, err)
		}
	}
	return refuseNewer(ctx, conn, len(names))
}

func migrateOne(ctx context.Context, conn *sql.Conn, d *dialect, name string) error {
	t, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer t.Rollback()
	var done int
	if err := t.QueryRow(`select count(*) from migrations where name = $1`, name).Scan(&done); err != nil || done > 0 {
		return err
	}
	text, err := migrations.ReadFile(name)
	if err != nil {
		return err
	}
	if _, err := t.Exec(d.ddl.Replace(string(text))); err != nil {
		return err
	}
	if _, err := t.Exec(`insert into migrations (name) values ($1)`, name); err != nil {
		return err
	}
	return t.Commit()
}

// refuseNewer keeps an old binary off a database it does not understand.
func refuseNewer(ctx context.Context, conn *sql.Conn, known int) error {
	var n int
	if err := conn.QueryRowContext(ctx, `select count(*) from migrations`).Scan(&n); err != nil {
		return err
	}
	if n > known {
		return fmt.Errorf("the database was written by a newer version: it has %d migrations, this version knows %d", n, known)
	}
	return nil
}

// each calls scan for every row of a query.
func (t *tx) each(scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := t.query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// collect reads every row of a query with scan.
func collect[T any](t *tx, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	var out []T
	err := t.each(func(r *sql.Rows) error {
		v, err := scan(r)
		out = append(out, v)
		return err
	}, query, args...)
	return out, err
}

// keys reads the one column of a query.
func (t *tx) keys(query string, args ...any) ([]int64, error) {
	return collect(t, func(r *sql.Rows) (k int64, err error) {
		err = r.Scan(&k)
		return k, err
	}, query, args...)
}

// one reads the first row of a query with scan; nil if there is none.
func one[T any](t *tx, scan func(*sql.Rows) (*T, error), query string, args ...any) (*T, error) {
	all, err := collect(t, scan, query, args...)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

// must reports an update that met no row.
func must(affected int64, err error) error {
	if err == nil && affected == 0 {
		err = sql.ErrNoRows
	}
	return err
}

// call makes a panic an error: one update's must not end the writer, and all
// others with it.
func call(fn func(engine.Tx) error, t *tx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in update: %v\n%s", r, debug.Stack())
		}
	}()
	return fn(t)
}

func (t *tx) LastSeq() (seq int64, err error) {
	err = t.each(func(r *sql.Rows) error { return r.Scan(&seq) }, `
		select coalesce(max(seq), 0) from (
			select max(seq) as seq from messages
			union all select max(seq) from settlements
			union all select max(seq) from dlq
			union all select max(seq) from runs
			union all select max(seq) from audit
			union all select max(seq) from queues
			union all select max(seq) from flow_keys
			union all select max(seq) from url_groups
			union all select max(seq) from schedules
			union all select max(seq) from waits
			union all select max(seq) from notes) as every_table`)
	return seq, err
}
