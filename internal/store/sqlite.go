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
	"runtime"
	"slices"
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
	inList:  `seq in (select value from json_each($1))`,
	inOrder: true,
}

// sqlite has one connection that writes and a few that read. In WAL mode
// neither waits for the other.
type sqlite struct {
	db      *sql.DB
	conns   []*sqliteConn // the writer's first
	lock    *os.File
	temp    string // directory to remove on Close
	updates chan *update
	alone   chan func(*sqliteConn)
	readers chan *sqliteConn
	closed  chan struct{}
	close   func() error  // shutDown, once
	gone    chan struct{} // closed when the writer has ended
	sealing
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
//
// With master keys, of MasterKeyBytes each, what users send is sealed on disk.
// The first one seals; the others open what they have sealed before they were
// replaced. A sealed database can't be opened without, see ErrMasterKey.
func OpenSQLite(ctx context.Context, dir string, masterKeys ...[]byte) (engine.Store, error) {
	s, err := openSQLite(ctx, dir, "full", masterKeys)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// OpenMemory opens a database that is gone once it is closed. It lives in a
// temporary directory, in memory where the system has one for that.
func OpenMemory(ctx context.Context, masterKeys ...[]byte) (engine.Store, error) {
	parent := "/dev/shm"
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "signpost-")
	if err != nil {
		return nil, err
	}
	s, err := openSQLite(ctx, dir, "off", masterKeys)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	s.temp = dir
	return s, nil
}

func openSQLite(ctx context.Context, dir, synchronous string, masterKeys [][]byte) (_ *sqlite, err error) {
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
	// Created here so that nobody else may read it, whatever the umask. SQLite
	// gives its other files the same permissions.
	if f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	} else if err := f.Close(); err != nil {
		return nil, err
	}
	settings := url.Values{
		"_pragma": {
			"busy_timeout(10000)", "page_size(8192)", "synchronous(" + synchronous + ")",
			"temp_store(memory)", "wal_autocheckpoint(1000)",
		},
		// Not one of the above, which the driver sorts: the page size must come first.
		"_journal_mode": {"wal"},
	}
	if len(masterKeys) > 0 {
		settings.Add("_pragma", "secure_delete(on)") // a page that is freed keeps nothing
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+settings.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(0) // a connection that is closed is closed, in the order of disconnect
	s := &sqlite{
		db: db, lock: lock, updates: make(chan *update, batchMost), alone: make(chan func(*sqliteConn)),
		readers: make(chan *sqliteConn, readers), closed: make(chan struct{}), gone: make(chan struct{}),
	}
	s.close = sync.OnceValue(s.shutDown)
	s.sealing = sealing{store: s, scrub: s.vacuum}
	if err := s.connect(ctx); err != nil {
		s.disconnect()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if s.ring, err = openKeyring(ctx, s, masterKeys); err != nil {
		s.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

func (s *sqlite) connect(ctx context.Context) error {
	w, err := s.conn(ctx, writerCache)
	if err != nil {
		return err
	}
	if err := migrate(ctx, w.conn, &sqliteDialect); err != nil {
		return err
	}
	for range readers {
		r, err := s.conn(ctx, readerCache)
		if err != nil {
			return err
		}
		if _, err := r.conn.ExecContext(ctx, "pragma query_only = on"); err != nil {
			return err
		}
		s.readers <- r
	}
	go s.write(w)
	return nil
}

func (s *sqlite) conn(ctx context.Context, cache int) (*sqliteConn, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	c := &sqliteConn{conn: conn, stmts: map[string]*sql.Stmt{}, cache: cache}
	s.conns = append(s.conns, c)
	return c, c.resize(cache)
}

// disconnect leaves the writer for last: the last to go brings everything from
// the WAL into the database, which a reader could not.
func (s *sqlite) disconnect() (err error) {
	for _, c := range slices.Backward(s.conns) {
		err = errors.Join(err, c.close())
	}
	return errors.Join(err, s.db.Close())
}

// Close waits for the updates being committed and for the views under way.
func (s *sqlite) Close() error { return s.close() }

func (s *sqlite) shutDown() error {
	close(s.closed)
	<-s.gone
	for range readers {
		<-s.readers
	}
	err := errors.Join(s.disconnect(), s.lock.Close())
	if s.temp != "" {
		err = errors.Join(err, os.RemoveAll(s.temp))
	}
	return err
}

var errClosed = errors.New("store is closed")

func (s *sqlite) View(ctx context.Context, fn func(engine.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case c := <-s.readers:
		defer func() { s.readers <- c }()
		defer c.relax()
		if err := c.control("begin"); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		defer c.control("rollback")
		return fn(&tx{c, &sqliteDialect, s.ring})
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
	if err := ctx.Err(); err != nil {
		return err
	}
	u := &update{fn: fn, done: make(chan error, 1)}
	select {
	case s.updates <- u:
	case <-s.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-u.done:
		if err == nil {
			s.ring.account(ctx, s)
		}
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
// being written, and by those who were answered just now and come again.
func (s *sqlite) write(c *sqliteConn) {
	defer close(s.gone)
	for {
		var batch []*update
		select {
		case u := <-s.updates:
			batch = append(batch, u)
		case fn := <-s.alone:
			fn(c)
			continue
		case <-s.closed:
			return
		}
		runtime.Gosched() // lets them come
	gather:
		for len(batch) < batchMost {
			select {
			case u := <-s.updates:
				batch = append(batch, u)
			default:
				break gather
			}
		}
		s.commit(c, batch)
	}
}

// commit runs a batch in one transaction. An update that fails before it has
// written anything leaves no trace and is simply answered. One that fails after
// writing takes what others wrote with it: those before it run again and are
// committed without it, then those behind it have their turn. So no update
// runs more than twice for others' failures, however many of them fail.
func (s *sqlite) commit(c *sqliteConn, batch []*update) {
	for len(batch) > 0 {
		spoiler, err := s.try(c, batch)
		if spoiler < 0 {
			for _, u := range batch {
				u.answer(err)
			}
			return
		}
		s.commit(c, batch[:spoiler])
		batch[spoiler].answer(nil)
		batch = batch[spoiler+1:]
	}
}

// answer tells the caller how its update ended: with its own error, else with
// the one of the commit.
func (u *update) answer(err error) {
	if u.err != nil {
		err = u.err
	}
	u.done <- err
}

// try makes one attempt; spoiler is the update that nothing was committed for,
// -1 if the attempt ended with err.
func (s *sqlite) try(c *sqliteConn, batch []*update) (spoiler int, err error) {
	defer s.ring.hold()()
	defer c.relax()
	if err := c.control("begin immediate"); err != nil {
		return -1, fmt.Errorf("begin: %w", err)
	}
	for i, u := range batch {
		c.wrote, c.failed = false, nil
		if u.err = call(u.fn, &tx{c, &sqliteDialect, s.ring}); u.err == nil {
			u.err = c.failed
		}
		// After an error of its own SQLite may have ended the transaction.
		if u.err != nil && (c.wrote || c.failed != nil) {
			c.control("rollback")
			return i, nil
		}
	}
	if err := c.control("commit"); err != nil {
		c.control("rollback")
		return -1, fmt.Errorf("commit: %w", err)
	}
	return -1, nil
}

// vacuum writes the database anew, without what was deleted from it, and
// leaves no copy in the WAL. Whoever wants to write waits for it.
func (s *sqlite) vacuum(ctx context.Context) error {
	done := make(chan error, 1)
	fn := func(c *sqliteConn) { done <- c.vacuum() }
	select {
	case s.alone <- fn:
		return <-done
	case <-s.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}
