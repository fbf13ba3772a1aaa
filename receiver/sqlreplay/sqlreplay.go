// Package sqlreplay is a [receiver.ReplayCache] in a database: for receivers that
// run as several processes, and to remember over restarts.
//
//	cache, err := sqlreplay.New(db, sqlreplay.PostgreSQL, nil)
//	if err != nil { … }
//	if err := cache.CreateTable(ctx); err != nil { … }
//	rc, err := receiver.FromEnv(receiver.Options{Replay: cache})
//
// Each request costs one insert into a table with a primary key. The database
// decides which of two requests with one id came first, and one that does not
// answer refuses both. Its rows go by themselves, some minutes after they are no
// longer needed.
//
// It imports the standard library and package receiver only: the driver is the
// program's.
package sqlreplay

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/signposthq/signpost/receiver"
)

// A Dialect is the kind of a database.
type Dialect int

const (
	SQLite     Dialect = iota + 1 // 3.24 or later; set its busy_timeout, or requests that collide are refused
	PostgreSQL                    // 9.5 or later
)

const (
	defaultTable = "signpost_replay"

	// Rows are kept for longer than they are needed by one clock, for the sake of
	// receivers whose clock is behind, and of an insert that takes its time.
	slack = 5 * time.Minute

	purgeEvery = 64 // calls of Use
	purgeStep  = 256
)

// Options configure a [Cache]; nil is for all defaults.
type Options struct {
	// Table is the table's name, which may have a schema before it: letters,
	// digits and '_', in lower case. Default: "signpost_replay".
	Table string
}

// A Cache keeps ids in a table. It is safe for concurrent use, and many of them
// may use one table.
type Cache struct {
	db    *sql.DB
	now   func() time.Time
	calls atomic.Uint64

	create        []string
	insert, purge string
}

var _ receiver.ReplayCache = (*Cache)(nil)

var tableName = regexp.MustCompile(`^([a-z_][a-z0-9_]*\.)?[a-z_][a-z0-9_]*$`)

// New returns a cache in db, which stays the caller's. Nothing is done with it
// yet: see [Cache.CreateTable].
func New(db *sql.DB, d Dialect, o *Options) (*Cache, error) {
	table := defaultTable
	if o != nil && o.Table != "" {
		table = o.Table
	}
	switch {
	case d != SQLite && d != PostgreSQL:
		return nil, fmt.Errorf("unknown dialect %d", d)
	case !tableName.MatchString(table):
		return nil, fmt.Errorf("table %q is not a name of letters, digits and '_', in lower case", table)
	}
	c := &Cache{db: db, now: time.Now}
	c.statements(d, table)
	return c, nil
}

func (c *Cache) statements(d Dialect, table string) {
	first, second, skip := "?", "?", ""
	if d == PostgreSQL {
		// Receivers that purge at the same time take different rows.
		first, second, skip = "$1", "$2", " for update skip locked"
	}
	_, bare, qualified := strings.Cut(table, ".")
	if !qualified {
		bare = table
	}
	c.create = []string{
		"create table if not exists " + table + " (id text primary key, expires bigint not null)",
		"create index if not exists " + bare + "_expires on " + table + " (expires)",
	}
	if d == SQLite && qualified { // where the schema is the index's
		c.create[1] = "create index if not exists " + table + "_expires on " + bare + " (expires)"
	}
	c.insert = "insert into " + table + " (id, expires) values (" + first + ", " + second + ") on conflict (id) do nothing"
	c.purge = "delete from " + table + " where id in (select id from " + table + " where expires < " + first +
		" order by expires limit " + second + skip + ")"
}

// CreateTable makes the table and its index, unless they are there. A program
// without the right to do so can have it made by its migrations:
//
//	create table signpost_replay (id text primary key, expires bigint not null);
//	create index signpost_replay_expires on signpost_replay (expires);
func (c *Cache) CreateTable(ctx context.Context) error {
	for _, statement := range c.create {
		if _, err := c.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("create replay table: %w", err)
		}
	}
	return nil
}

// Use implements [receiver.ReplayCache]: it inserts a row, and now and then removes
// some that have expired.
func (c *Cache) Use(ctx context.Context, id string, until time.Time) (fresh bool, err error) {
	if !c.now().Before(until) {
		return false, nil
	}
	// A hash has one length, and no characters that a database would not take.
	sum := sha256.Sum256([]byte(id))
	result, err := c.db.ExecContext(ctx, c.insert, base64.RawURLEncoding.EncodeToString(sum[:]), until.Unix())
	if err != nil {
		return false, fmt.Errorf("record request: %w", err)
	}
	rows, err := result.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("record request: %w", err)
	}
	if c.calls.Add(1)%purgeEvery == 0 {
		// What cannot be removed now is removed by one of the next calls, and
		// the request is not to blame.
		_, _ = c.Purge(ctx)
	}
	return rows == 1, nil
}

// Purge removes at most 256 rows that have expired more than five minutes ago, and
// returns how many it removed. Use calls it on every 64th request, which is enough
// for a table that only grows by Use.
func (c *Cache) Purge(ctx context.Context) (removed int64, err error) {
	result, err := c.db.ExecContext(ctx, c.purge, c.now().Add(-slack).Unix(), purgeStep)
	if err != nil {
		return 0, fmt.Errorf("purge replay table: %w", err)
	}
	return result.RowsAffected()
}
