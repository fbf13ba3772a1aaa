package sqlreplay

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/signposthq/signpost/internal/pgtest"
	"github.com/signposthq/signpost/receiver"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// forEachDatabase runs a test on each kind of database; open connects to the same
// one each time.
func forEachDatabase(t *testing.T, f func(t *testing.T, d Dialect, open func() *sql.DB)) {
	t.Run("SQLite", func(t *testing.T) {
		dsn := "file:" + filepath.Join(t.TempDir(), "replay.db") + "?_pragma=busy_timeout(30000)&_pragma=journal_mode(wal)"
		f(t, SQLite, func() *sql.DB { return connect(t, "sqlite", dsn) })
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		dsn := pgtest.DSN(t)
		f(t, PostgreSQL, func() *sql.DB { return connect(t, "pgx", dsn) })
	})
}

func connect(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(8)
	t.Cleanup(func() { db.Close() })
	return db
}

func newCache(t *testing.T, db *sql.DB, d Dialect, o *Options) *Cache {
	t.Helper()
	c, err := New(db, d, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func use(t *testing.T, c *Cache, id string, until time.Time) bool {
	t.Helper()
	fresh, err := c.Use(t.Context(), id, until)
	if err != nil {
		t.Fatal(err)
	}
	return fresh
}

const (
	key = "sig_a_key_of_these_tests_0000000"
	url = "https://app.example.com/hook"
)

// TestT02ConcurrentReplays sends requests many times at once to receivers that share
// a table: the handler runs once for each.
func TestT02ConcurrentReplays(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, d Dialect, open func() *sql.DB) {
		const requests, copies, receivers = 8, 12, 3
		var runs [requests]atomic.Int32
		var handlers []http.Handler
		for range receivers {
			rc, err := receiver.New(receiver.Options{CurrentSigningKey: key, BaseURL: "https://app.example.com", Replay: newCache(t, open(), d, nil)})
			if err != nil {
				t.Fatal(err)
			}
			handlers = append(handlers, rc.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				c, _ := receiver.ClaimsFromContext(r.Context())
				runs[c.Attempt].Add(1)
			})))
		}
		var wg sync.WaitGroup
		for i := range requests {
			token, err := receiver.Sign(key, receiver.SignOptions{URL: url, Kind: receiver.KindMessage, Attempt: i})
			if err != nil {
				t.Fatal(err)
			}
			for n := range copies {
				wg.Go(func() {
					r := httptest.NewRequest("POST", "/hook", nil)
					r.Header.Set(receiver.Header, token)
					w := httptest.NewRecorder()
					handlers[n%receivers].ServeHTTP(w, r)
					if w.Code != 200 && (w.Code != 401 || !strings.Contains(w.Body.String(), "replayed")) {
						t.Errorf("answer %d %s", w.Code, w.Body)
					}
				})
			}
		}
		wg.Wait()
		for i := range runs {
			if n := runs[i].Load(); n != 1 {
				t.Errorf("request %d ran %d times", i, n)
			}
		}
	})
}

// TestT02SurvivesRestart closes the database between a request and its replay.
func TestT02SurvivesRestart(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, d Dialect, open func() *sql.DB) {
		until := time.Now().Add(5 * time.Minute)
		before := open()
		if !use(t, newCache(t, before, d, nil), "jwt_1", until) {
			t.Error("not fresh at first")
		}
		if err := before.Close(); err != nil {
			t.Fatal(err)
		}
		after := newCache(t, open(), d, nil)
		if use(t, after, "jwt_1", until) {
			t.Error("fresh after the restart")
		}
		if !use(t, after, "jwt_2", until) {
			t.Error("another one is not fresh")
		}
	})
}

func TestUse(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, d Dialect, open func() *sql.DB) {
		c := newCache(t, open(), d, nil)
		until := time.Now().Add(time.Minute)
		for _, id := range []string{"jwt_1", "", "a'; drop table signpost_replay; --", "nul \x00", "\xff not UTF-8", strings.Repeat("long", 2000)} {
			if !use(t, c, id, until) || use(t, c, id, until) || use(t, c, id, until.Add(time.Hour)) {
				t.Errorf("%q is not fresh once", id)
			}
		}
		if use(t, c, "too late", time.Now()) {
			t.Error("fresh beyond its time")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if fresh, err := c.Use(ctx, "cancelled", until); fresh || err == nil {
			t.Errorf("without an answer of the database: %v, %v", fresh, err)
		}
	})
}

// TestT02TableIsBounded lets time pass: old rows go while new ones come, and no
// sooner than the clocks of other receivers allow.
func TestT02TableIsBounded(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, d Dialect, open func() *sql.DB) {
		db := open()
		c := newCache(t, db, d, nil)
		now := time.Now().Truncate(time.Second)
		c.now = func() time.Time { return now }
		const before = purgeStep + 50
		for i := range before {
			use(t, c, fmt.Sprint("old ", i), now.Add(time.Minute))
		}
		now = now.Add(time.Minute + slack)
		if n, err := c.Purge(t.Context()); n != 0 || err != nil {
			t.Errorf("too early: %d rows removed, error %v", n, err)
		}
		now = now.Add(time.Second)
		for i := range 2 * purgeEvery {
			use(t, c, fmt.Sprint("new ", i), now.Add(time.Minute))
		}
		if n := rows(t, db, "signpost_replay"); n > 2*purgeEvery {
			t.Errorf("%d rows", n)
		}
		if n, err := c.Purge(t.Context()); n != 0 || err != nil {
			t.Errorf("%d rows were left over, error %v", n, err)
		}
		if use(t, c, "new 0", now.Add(time.Minute)) {
			t.Error("a new one is forgotten")
		}
	})
}

func rows(t *testing.T, db *sql.DB, table string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), "select count(*) from "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestConcurrentPurges has several receivers remove the same rows.
func TestConcurrentPurges(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, d Dialect, open func() *sql.DB) {
		db := open()
		c := newCache(t, db, d, nil)
		past := time.Now().Add(-time.Hour)
		c.now = func() time.Time { return past }
		const total = 600
		for i := range total {
			use(t, c, fmt.Sprint(i), past.Add(time.Second))
		}
		c.now = time.Now
		var removed atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 3 {
					n, err := c.Purge(context.Background())
					if err != nil {
						t.Error(err)
					}
					removed.Add(n)
				}
			})
		}
		wg.Wait()
		if left := rows(t, db, "signpost_replay"); left+int(removed.Load()) != total {
			t.Errorf("%d rows removed, %d left", removed.Load(), left)
		}
	})
}

func TestTableNames(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, d Dialect, open func() *sql.DB) {
		db := open()
		schema := "main"
		if d == PostgreSQL {
			schema = "public"
		}
		for _, table := range []string{"replayed", schema + ".replayed_too"} {
			c := newCache(t, db, d, &Options{Table: table})
			if err := c.CreateTable(t.Context()); err != nil {
				t.Errorf("a second time: %v", err)
			}
			use(t, c, "1", time.Now().Add(time.Minute))
			if n := rows(t, db, table); n != 1 {
				t.Errorf("%s has %d rows", table, n)
			}
		}
	})
	for _, table := range []string{"a b", "x; drop table y", `"x"`, "X", "1x", "a.b.c", ".a", "a.", "ä"} {
		if _, err := New(nil, SQLite, &Options{Table: table}); err == nil {
			t.Errorf("table %q is accepted", table)
		}
	}
	for _, d := range []Dialect{0, 3, -1} {
		if _, err := New(nil, d, nil); err == nil {
			t.Errorf("dialect %d is accepted", d)
		}
	}
}

// TestWithoutTable refuses requests rather than let them through.
func TestWithoutTable(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, d Dialect, open func() *sql.DB) {
		c, err := New(open(), d, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Purge(t.Context()); err == nil {
			t.Error("purged nothing")
		}
		rc, err := receiver.New(receiver.Options{CurrentSigningKey: key, BaseURL: "https://app.example.com", Replay: c})
		if err != nil {
			t.Fatal(err)
		}
		token, err := receiver.Sign(key, receiver.SignOptions{URL: url, Body: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", url, bytes.NewReader([]byte("x")))
		r.Header.Set(receiver.Header, token)
		if _, _, err := rc.VerifyRequest(r); !errors.Is(err, receiver.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
	})
}
