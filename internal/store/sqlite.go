package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"

	_ "modernc.org/sqlite" // the driver named "sqlite"

	"github.com/signposthq/signpost/internal/engine"
)

var sqliteDialect = dialect{
	name: "sqlite",
	ddl:  strings.NewReplacer(),
	list: func(seqs []int64) any {
		text, _ := json.Marshal(seqs)
		return string(text)
	},
	inList: `seq in (select value from json_each($1))`,
}

// sqlite has one connection that writes and a few that read. In WAL mode
// neither waits for the other.
type sqlite struct {
	db      *sql.DB
	lock    *os.File
	temp    string // directory to remove on Close
	updates chan *update
	readers chan *sqliteConn
	closed  chan struct{}
	closing sync.Once
	gone    chan struct{} // closed when the writer has ended
}

// update is one Update call waiting for its commit.
type update struct {
	fn   func(engine.Tx) error
	err  error // of fn itself
	done chan error
}

const (
	readers   = 4
	batchMost = 256 // updates committed together
)

// OpenSQLite opens, or creates, the database in a directory. It belongs to
// this process alone: a second opener gets ErrInUse.
func OpenSQLite(ctx context.Context, dir string) (engine.Store, error) {
	return openSQLite(ctx, dir, "full")
}

// OpenMemory opens a database that is gone once it is closed. It lives in a
// temporary directory, in memory where the system has one for that.
func OpenMemory(ctx context.Context) (engine.Store, error) {
	parent := "/dev/shm"
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "signpost-")
	if err != nil {
		return nil, err
	}
	s, err := openSQLite(ctx, dir, "off")
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	s.temp = dir
	return s, nil
}

func openSQLite(ctx context.Context, dir, synchronous string) (_ *sqlite, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(dir, "signpost.lock"))
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	path := filepath.Join(dir, "signpost.db")
	// Created here so that nobody else may read it, whatever the umask.
	if f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	} else if err := f.Close(); err != nil {
		return nil, err
	}
	pragmas := url.Values{"_pragma": {
		"busy_timeout(10000)", "page_size(8192)", "journal_mode(wal)", "synchronous(" + synchronous + ")",
		"cache_size(-32768)", "temp_store(memory)", "wal_autocheckpoint(1000)",
	}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+pragmas.Encode())
	if err != nil {
		return nil, err
	}
	s := &sqlite{
		db: db, lock: lock, updates: make(chan *update, batchMost),
		readers: make(chan *sqliteConn, readers), closed: make(chan struct{}), gone: make(chan struct{}),
	}
	if err := s.connect(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

func (s *sqlite) connect(ctx context.Context) error {
	w, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	if err := migrate(ctx, w, &sqliteDialect); err != nil {
		return err
	}
	for range readers {
		r, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		s.readers <- newSQLiteConn(r)
	}
	go s.write(newSQLiteConn(w))
	return nil
}

func (s *sqlite) Close() error {
	s.closing.Do(func() { close(s.closed) })
	<-s.gone
	err := errors.Join(s.db.Close(), s.lock.Close())
	if s.temp != "" {
		err = errors.Join(err, os.RemoveAll(s.temp))
	}
	return err
}

var errClosed = errors.New("store is closed")

func (s *sqlite) View(ctx context.Context, fn func(engine.Tx) error) error {
	select {
	case c := <-s.readers:
		defer func() { s.readers <- c }()
		if _, err := c.exec("begin"); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		defer c.exec("rollback")
		return fn(&tx{c, &sqliteDialect})
	case <-s.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Update hands fn to the writer and waits for the commit it is part of. Once
// the writer has it, the caller's context no longer matters: the answer must
// say what is on disk.
func (s *sqlite) Update(ctx context.Context, fn func(engine.Tx) error) error {
	u := &update{fn: fn, done: make(chan error, 1)}
	select {
	case <-s.closed:
		return errClosed
	default:
	}
	select {
	case s.updates <- u:
	case <-s.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-u.done:
		return err
	case <-s.gone:
	}
	// The writer may have answered just before it went.
	select {
	case err := <-u.done:
		return err
	default:
		return errClosed
	}
}

// write commits updates, all that wait at once: one fsync for them all. A lone
// caller waits for nobody; under load the batch grows while the last one is
// being written.
func (s *sqlite) write(c *sqliteConn) {
	defer close(s.gone)
	for {
		var batch []*update
		select {
		case u := <-s.updates:
			batch = append(batch, u)
		case <-s.closed:
			return
		}
	gather:
		for len(batch) < batchMost {
			select {
			case u := <-s.updates:
				batch = append(batch, u)
			default:
				break gather
			}
		}
		commit(c, batch)
	}
}

// commit runs a batch in one transaction. An update that fails before it has
// written anything leaves no trace and is simply answered. One that fails after
// writing costs the batch a second run without it.
func commit(c *sqliteConn, batch []*update) {
	for len(batch) > 0 {
		spoiler, err := try(c, batch)
		if spoiler < 0 {
			for _, u := range batch {
				if u.err == nil {
					u.err = err
				}
				u.done <- u.err
			}
			return
		}
		batch[spoiler].done <- batch[spoiler].err
		batch = append(batch[:spoiler:spoiler], batch[spoiler+1:]...)
	}
}

// try makes one attempt; spoiler is the update that must be left out of the
// next, -1 if the attempt ended with err.
func try(c *sqliteConn, batch []*update) (spoiler int, err error) {
	if _, err := c.exec("begin immediate"); err != nil {
		return -1, fmt.Errorf("begin: %w", err)
	}
	for i, u := range batch {
		c.wrote = false
		if u.err = call(u.fn, &tx{c, &sqliteDialect}); u.err != nil && c.wrote {
			c.exec("rollback")
			return i, nil
		}
	}
	if _, err := c.exec("commit"); err != nil {
		c.exec("rollback")
		return -1, fmt.Errorf("commit: %w", err)
	}
	return -1, nil
}

// call keeps one update's panic from ending the writer, and all others with it.
func call(fn func(engine.Tx) error, t *tx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in update: %v\n%s", r, debug.Stack())
		}
	}()
	return fn(t)
}

// sqliteConn is a connection with its prepared statements.
type sqliteConn struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	wrote bool // a statement that is not a select was run
}

func newSQLiteConn(c *sql.Conn) *sqliteConn {
	return &sqliteConn{conn: c, stmts: map[string]*sql.Stmt{}}
}

func (c *sqliteConn) prepare(query string) (*sql.Stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	// Without a context that can end: the driver would watch it with a goroutine
	// for every statement.
	s, err := c.conn.PrepareContext(context.Background(), query)
	if err == nil {
		c.stmts[query] = s
	}
	return s, err
}

func (c *sqliteConn) exec(query string, args ...any) (int64, error) {
	c.wrote = true
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

func (c *sqliteConn) query(query string, args ...any) (*sql.Rows, error) {
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	return s.Query(args...)
}
