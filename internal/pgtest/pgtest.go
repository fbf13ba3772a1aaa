// Package pgtest gives a test a PostgreSQL database of its own.
//
// The server is the one SIGNPOST_TEST_POSTGRES names, else one that is started
// from the machine's binaries, once per test process, and is gone with it.
package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver named "pgx"
)

// Environment is the variable with the URL or key=value string of a server to
// use instead of starting one. Its user may create databases.
const Environment = "SIGNPOST_TEST_POSTGRES"

// shared is the server of this process, started by the first test that asks.
var shared struct {
	sync.Once
	dsn     string
	err     error
	cluster *cluster
}

// Main is for TestMain: it runs the tests, stops the server if one was started
// and exits. Without it the server stops all the same, a moment after the
// process has ended.
func Main(m *testing.M) {
	code := m.Run()
	if shared.cluster != nil {
		if err := shared.cluster.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// DSN is a database of the test's own, empty, dropped when the test ends. Where
// no server can be had the test is skipped; with CI set in the environment it
// fails, so that it is never left out unnoticed.
func DSN(t testing.TB) string {
	t.Helper()
	shared.Do(start)
	if shared.err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("PostgreSQL is required in CI: %v", shared.err)
		}
		t.Skipf("\n\n\t*** NOT TESTED ON POSTGRESQL: %v ***\n", shared.err)
	}
	name := "signpost_test_" + strings.ToLower(rand.Text())
	// Copied as files, which is quick where nothing is synced.
	if err := admin("create database " + name + " strategy file_copy"); err != nil {
		t.Fatalf("create a database for the test: %v", err)
	}
	t.Cleanup(func() {
		// Forced: a test that leaks a connection fails for itself, not here.
		if err := admin("drop database " + name + " with (force)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return withDatabase(shared.dsn, name)
}

// Deadlocks is how many transactions have met in one in a database, which nobody is
// connected to any more.
func Deadlocks(t testing.TB, dsn string) (n int) {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.QueryRow(`select deadlocks from pg_stat_database where datname = current_database()`).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func start() {
	if shared.dsn = os.Getenv(Environment); shared.dsn != "" {
		return
	}
	bin, err := findBinaries()
	if err != nil {
		shared.err = fmt.Errorf("%w (install PostgreSQL, or name a server in %s)", err, Environment)
		return
	}
	if shared.cluster, shared.err = startCluster(bin); shared.err == nil {
		shared.dsn = shared.cluster.dsn
	}
}

// admin runs one statement on the server, outside of any test's database.
func admin(statement string) error {
	db, err := sql.Open("pgx", shared.dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = db.ExecContext(ctx, statement)
	return err
}

// withDatabase is a DSN of either form, pointed at another database.
func withDatabase(dsn, name string) string {
	if u, err := url.Parse(dsn); err == nil && u.Scheme != "" {
		u.Path = "/" + name
		return u.String()
	}
	return dsn + " dbname=" + name // the last one counts
}

// errNoBinaries says that there is nothing to start a server from.
var errNoBinaries = errors.New("no PostgreSQL 15 or later on this machine")
