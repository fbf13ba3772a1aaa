package store_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/pgtest"
	"github.com/signposthq/signpost/internal/store"
)

// rawDatabases are databases with both their ways in: the store's and SQL.
var rawDatabases = map[string]func(t *testing.T) (opener, *sql.DB){
	"sqlite": func(t *testing.T) (opener, *sql.DB) {
		dir := t.TempDir()
		return func() (engine.Store, error) { return store.OpenSQLite(context.Background(), dir) },
			openSQL(t, "sqlite", filepath.Join(dir, "signpost.db"))
	},
	"postgres": func(t *testing.T) (opener, *sql.DB) {
		dsn := pgtest.DSN(t)
		return func() (engine.Store, error) { return store.OpenPostgres(context.Background(), dsn) }, openSQL(t, "pgx", dsn)
	},
}

func openSQL(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func migrations(t *testing.T, db *sql.DB) (names []string) {
	t.Helper()
	rows, err := db.Query(`select name from migrations order by name`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

// A migration is run once; opening a migrated database changes nothing.
func TestMigrationsRunOnce(t *testing.T) {
	for name, make := range rawDatabases {
		t.Run(name, func(t *testing.T) {
			o, db := make(t)
			s := open(t, o)
			insertMessages(t, s, message(1))
			first := migrations(t, db)
			if len(first) == 0 {
				t.Fatal("none")
			}
			for range 3 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, o)
			}
			equal(t, "migrations", migrations(t, db), first)
			equal(t, "messages", messages(t, s, 1), []*engine.Message{message(1)})
		})
	}
}

// A database that a newer version has migrated is refused, not guessed at, and
// left for the newer version to open.
func TestNewerDatabaseIsRefused(t *testing.T) {
	for name, make := range rawDatabases {
		t.Run(name, func(t *testing.T) {
			o, db := make(t)
			if err := open(t, o).Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(`insert into migrations (name) values ('migrations/9999_future.sql')`); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := o(); err == nil || !strings.Contains(err.Error(), "newer version") {
					t.Fatalf("got %v, want a refusal that says why", err)
				}
			}
			if _, err := db.Exec(`delete from migrations where name = 'migrations/9999_future.sql'`); err != nil {
				t.Fatal(err)
			}
			open(t, o)
		})
	}
}

// A migration is all or nothing: where one fails, what it did is undone, and
// it is not taken for done.
func TestFailedMigrationLeavesNothing(t *testing.T) {
	for name, make := range rawDatabases {
		t.Run(name, func(t *testing.T) {
			o, db := make(t)
			// In the way of the last statement of the first migration.
			if _, err := db.Exec(`create table run_log (n bigint)`); err != nil {
				t.Fatal(err)
			}
			if _, err := o(); err == nil || !strings.Contains(err.Error(), "migrate migrations/0001_start.sql") {
				t.Fatalf("got %v, want an error that names the migration", err)
			}
			equal(t, "migrations", migrations(t, db), nil)
			if _, err := db.Exec(`drop table run_log`); err != nil {
				t.Fatal(err)
			}
			insertMessages(t, open(t, o), message(1))
		})
	}
}
