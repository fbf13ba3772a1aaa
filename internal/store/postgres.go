package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver named "pgx"

	"github.com/signposthq/signpost/internal/engine"
)

var postgresDialect = dialect{
	name:      "postgres",
	forUpdate: " for update",
	ddl:       strings.NewReplacer("integer primary key", "bigint primary key", " blob", " bytea", " without rowid", ""),
	list:      func(seqs []int64) any { return seqs },
	inList:    `seq = any($1)`,
}

type postgres struct {
	db *sql.DB
	sealing
}

// OpenPostgres opens a PostgreSQL database, by URL or key=value string. Master
// keys are as for OpenSQLite; only one process may seal a database anew.
func OpenPostgres(ctx context.Context, dsn string, masterKeys ...[]byte) (engine.Store, error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	conn, err := db.Conn(ctx)
	if err == nil {
		err = migrateAlone(ctx, conn)
		conn.Close()
	}
	s := &postgres{db: db}
	// Deleted rows are PostgreSQL's own to forget: VACUUM FULL.
	s.sealing = sealing{store: s, scrub: func(context.Context) error { return nil }}
	if err == nil {
		s.ring, err = openKeyring(ctx, s, masterKeys)
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open PostgreSQL: %w", err)
	}
	return s, nil
}

// migrateAlone keeps nodes that start together from migrating together.
func migrateAlone(ctx context.Context, conn *sql.Conn) error {
	const key = 0x7369676e706f7374 // "signpost"
	if _, err := conn.ExecContext(ctx, `select pg_advisory_lock($1)`, int64(key)); err != nil {
		return err
	}
	defer conn.ExecContext(context.WithoutCancel(ctx), `select pg_advisory_unlock($1)`, int64(key))
	return migrate(ctx, conn, &postgresDialect)
}

func (s *postgres) Close() error { return s.db.Close() }

func (s *postgres) View(ctx context.Context, fn func(engine.Tx) error) error {
	t, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer t.Rollback()
	// A view holds no locks; a read-only transaction could not take them.
	d := postgresDialect
	d.forUpdate = ""
	return fn(&tx{&postgresTx{ctx, t}, &d, s.ring})
}

const updateTries = 10

func (s *postgres) Update(ctx context.Context, fn func(engine.Tx) error) error {
	for try := 1; ; try++ {
		err := s.update(ctx, fn)
		if err == nil {
			s.ring.account(ctx, s)
		}
		if err == nil || try == updateTries || !retryable(err) {
			return err
		}
		// Apart from those it lost against, or they meet again.
		select {
		case <-time.After(rand.N(time.Duration(try) * 5 * time.Millisecond)):
		case <-ctx.Done():
			return err
		}
	}
}

func (s *postgres) update(ctx context.Context, fn func(engine.Tx) error) error {
	defer s.ring.hold()() // before the connection, which whoever holds the ring may wait for
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	// The caller may give up until the commit is sent; once it is, the answer
	// must say what is on disk.
	t, err := conn.BeginTx(context.WithoutCancel(ctx), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer t.Rollback()
	if err := call(fn, &tx{&postgresTx{ctx, t}, &postgresDialect, s.ring}); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// retryable says whether a transaction lost a race that it may win the next
// time: against another's locks, or against another's row of the same key,
// which it will see then.
func retryable(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pg.Code {
	case "40001", "40P01", "23505": // serialization failure, deadlock, unique violation
		return true
	}
	return false
}

type postgresTx struct {
	ctx context.Context
	tx  *sql.Tx
}

func (t *postgresTx) exec(query string, args ...any) (int64, error) {
	r, err := t.tx.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (t *postgresTx) query(query string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(t.ctx, query, args...)
}

func (t *postgresTx) expect(int64) error { return nil }
