package store

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"strconv"
)

// sqliteConn is a connection with its prepared statements.
type sqliteConn struct {
	conn   *sql.Conn
	stmts  map[string]*sql.Stmt
	wrote  bool  // a statement that is not a select was run
	failed error // of the last statement that did, even if fn ignored it
	cache  int   // KiB
	small  bool  // the cache is, for the time being
}

// Large values take the place of the writer's cache: what it is smaller than the
// copies of one, those come on top.
const (
	largeValue  = 256 << 10
	writerCache = 64 << 10 // KiB
	readerCache = 8 << 10
	smallCache  = 1 << 10
)

// expect makes the cache small where a large value is read or written. SQLite
// makes copies of it, and would keep its pages instead of others that are needed.
func (c *sqliteConn) expect(bytes int64) error {
	if bytes <= largeValue || c.small {
		return nil
	}
	c.small = true
	return c.resize(smallCache)
}

// expectArgs is expect for what is written.
func (c *sqliteConn) expectArgs(args []any) error {
	for _, arg := range args {
		if b, ok := arg.([]byte); ok {
			if err := c.expect(int64(len(b))); err != nil {
				return err
			}
		}
	}
	return nil
}

// relax makes the cache as large as it was.
func (c *sqliteConn) relax() {
	if c.small {
		c.small = c.resize(c.cache) != nil
	}
}

func (c *sqliteConn) resize(kib int) error {
	_, err := c.conn.ExecContext(context.Background(), "pragma cache_size = -"+strconv.Itoa(kib))
	return err
}

func (c *sqliteConn) prepare(query string) (*sql.Stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	// Without a context that can end: the driver would watch it with a goroutine
	// for every statement.
	s, err := c.conn.PrepareContext(context.Background(), positional(query))
	if err == nil {
		c.stmts[query] = s
	}
	return s, err
}

var placeholder = regexp.MustCompile(`\$\d+`)

// positional writes $1, $2 … as ? where they stand in that order: the driver
// reads the names of a statement's parameters anew for each execution.
func positional(query string) string {
	for i, p := range placeholder.FindAllString(query, -1) {
		if p != "$"+strconv.Itoa(i+1) {
			return query
		}
	}
	return placeholder.ReplaceAllLiteralString(query, "?")
}

// close closes the statements too: as long as there is one, SQLite keeps the
// files open.
func (c *sqliteConn) close() (err error) {
	for _, s := range c.stmts {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, c.conn.Close())
}

// control runs a statement that begins or ends a transaction.
func (c *sqliteConn) control(statement string) error {
	s, err := c.prepare(statement)
	if err == nil {
		_, err = s.Exec()
	}
	return err
}

func (c *sqliteConn) exec(query string, args ...any) (affected int64, err error) {
	c.wrote = true
	defer c.note(&err)
	if err := checkText(args); err != nil {
		return 0, err
	}
	if err := c.expectArgs(args); err != nil {
		return 0, err
	}
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	r, err := s.Exec(args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (c *sqliteConn) query(query string, args ...any) (_ *sql.Rows, err error) {
	defer c.note(&err)
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	return s.Query(args...)
}

// note remembers a statement's error: as on PostgreSQL, nothing is committed
// after one.
func (c *sqliteConn) note(err *error) {
	if *err != nil {
		c.failed = *err
	}
}

func (c *sqliteConn) vacuum() error {
	ctx := context.Background()
	// The copy is as large as the database: not in memory.
	defer c.conn.ExecContext(ctx, `pragma temp_store = memory`)
	for _, statement := range []string{`pragma temp_store = file`, `vacuum`} {
		if _, err := c.conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	var busy, pages, moved int
	if err := c.conn.QueryRowContext(ctx, `pragma wal_checkpoint(truncate)`).Scan(&busy, &pages, &moved); err != nil {
		return err
	}
	if busy != 0 {
		return errors.New("a long read keeps the WAL from being emptied")
	}
	return nil
}
