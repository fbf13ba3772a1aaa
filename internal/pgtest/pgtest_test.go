package pgtest

import (
	"bufio"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { Main(m) }

func TestDatabasesAreEmptyAndSeparate(t *testing.T) {
	var first string
	for i := range 2 {
		dsn := DSN(t)
		if dsn == first {
			t.Fatal("the same database twice")
		}
		first = dsn
		db, err := sql.Open("pgx", dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		// Fails where the other one has made it before.
		if _, err := db.Exec(`create table t (n bigint)`); err != nil {
			t.Fatalf("database %d: %v", i, err)
		}
	}
}

func TestDatabaseIsDroppedAfterTheTest(t *testing.T) {
	var dsn string
	t.Run("use", func(t *testing.T) { dsn = DSN(t) })
	if dsn == "" {
		t.SkipNow() // so was the subtest
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Ping(); err == nil {
		t.Error("the database is still there")
	}
}

func TestWithDatabase(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:p%40@127.0.0.1:6543/postgres?sslmode=disable",
		"postgresql://u:p%40@127.0.0.1:6543?sslmode=disable",
		"host=127.0.0.1 port=6543 user=u password=p@ dbname=postgres sslmode=disable",
		"host=127.0.0.1 port=6543 user=u password=p@ sslmode=disable",
	} {
		c, err := pgx.ParseConfig(withDatabase(dsn, "other"))
		if err != nil {
			t.Fatalf("%s: %v", dsn, err)
		}
		if c.Host != "127.0.0.1" || c.Port != 6543 || c.User != "u" || c.Password != "p@" || c.Database != "other" {
			t.Errorf("%s: %s:%d, user %s, password %s, database %s", dsn, c.Host, c.Port, c.User, c.Password, c.Database)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]int{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n": 15,
		"postgres (PostgreSQL) 18devel\n":                        18,
		"postgres (PostgreSQL) 9.6.24\n":                         9,
		"something else\n":                                       0,
		"":                                                       0,
	} {
		if got := parseVersion(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

// crashing is the variable that makes TestCrash the process that dies, and how.
const crashing = "SIGNPOST_PGTEST_CRASH"

// Whatever way a test process ends, its server and its files go with it.
func TestNothingIsLeftBehind(t *testing.T) {
	if os.Getenv(crashing) != "" || os.Getenv(Environment) != "" {
		t.Skip("no server of its own")
	}
	DSN(t) // or skip
	for _, way := range []string{"killed", "panic", "exit"} {
		t.Run(way, func(t *testing.T) {
			temp := t.TempDir()
			openToAll(t, temp)
			c := exec.Command(os.Args[0], "-test.run=^TestCrash$", "-test.v")
			c.Env = append(os.Environ(), crashing+"="+way, "TMPDIR="+temp)
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			dsn := readDSN(t, out)
			if way == "killed" {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Wait(); err == nil {
				t.Fatal("the process ended well")
			}
			eventually(t, "the server is gone", func() bool { return !answers(dsn) })
			eventually(t, "the files are gone", func() bool {
				left, err := filepath.Glob(filepath.Join(temp, "*"))
				return err == nil && len(left) == 0
			})
		})
	}
}

func TestCrash(t *testing.T) {
	way := os.Getenv(crashing)
	if way == "" {
		t.Skip("only as a child of TestNothingIsLeftBehind")
	}
	dsn := DSN(t)
	if !answers(dsn) {
		t.Fatal("no server")
	}
	fmt.Println("\ndsn " + dsn)
	switch way {
	case "panic":
		go panic("as a test's goroutine might")
	case "exit":
		os.Exit(3)
	}
	select {}
}

// openToAll gives a directory the permissions of /tmp, for the server's user.
func openToAll(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			t.Fatal(err)
		}
	}
}

func readDSN(t *testing.T, out interface{ Read([]byte) (int, error) }) string {
	t.Helper()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if dsn, ok := strings.CutPrefix(lines.Text(), "dsn "); ok {
			return dsn
		}
	}
	t.Fatal("the process ended before it had a server")
	return ""
}

func answers(dsn string) bool {
	if u, err := url.Parse(dsn); err == nil {
		u.RawQuery += "&connect_timeout=5"
		dsn = u.String()
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return false
	}
	defer db.Close()
	return db.Ping() == nil
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("after 30s still not: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
