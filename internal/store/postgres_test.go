package store_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/pgtest"
	"github.com/signposthq/signpost/internal/store"
)

// Nodes that start together on an empty database each find it migrated, once.
func TestPostgresOpenedTogether(t *testing.T) {
	dsn := pgtest.DSN(t)
	var all sync.WaitGroup
	for seq := range int64(4) {
		all.Go(func() {
			s, err := store.OpenPostgres(context.Background(), dsn)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			err = s.Update(context.Background(), func(tx engine.Tx) error {
				return tx.InsertMessages([]*engine.Message{message(seq + 1)})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// Two nodes are two stores on one database: what one locks the other waits for.
func TestPostgresNoUpdateOfTwoNodesIsLost(t *testing.T) {
	dsn := pgtest.DSN(t)
	node := func() (engine.Store, error) { return store.OpenPostgres(context.Background(), dsn) }
	nodes := []engine.Store{open(t, node), open(t, node)}
	insertRuns(t, nodes[0], run(1, "wfr_1"))
	const many, times = 8, 5
	var all sync.WaitGroup
	for _, s := range nodes {
		for range many {
			all.Go(func() {
				for range times {
					err := s.Update(context.Background(), func(tx engine.Tx) error {
						r, err := tx.LockActiveRun(1, "wfr_1")
						if err != nil {
							return err
						}
						r.LogLen++
						return tx.AdvanceRun(r)
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	for _, s := range nodes {
		equal(t, "length", runBySeq(t, s, 1).LogLen, 2*many*times)
	}
}

// The rules assume that each statement sees what was committed before it,
// whatever the server's default is.
func TestPostgresIsolationIsNotTheServersDefault(t *testing.T) {
	dsn := pgtest.DSN(t)
	const serializable = `do $$ begin
		execute format('alter database %I set default_transaction_isolation = serializable', current_database());
	end $$`
	if _, err := openSQL(t, "pgx", dsn).Exec(serializable); err != nil {
		t.Fatal(err)
	}
	s := open(t, func() (engine.Store, error) { return store.OpenPostgres(context.Background(), dsn) })
	insertRuns(t, s, run(1, "wfr_1"))
	attempts := 0
	update(t, s, func(tx engine.Tx) error {
		attempts++
		if _, err := tx.Tenants(); err != nil { // takes the snapshot, if there is one for all
			return err
		}
		if attempts == 1 {
			update(t, s, func(tx engine.Tx) error { return tx.AdvanceRun(&engine.Run{Seq: 1, LogLen: 7}) })
		}
		r, err := tx.LockRun(1)
		if err != nil {
			return err
		}
		r.LogLen++
		return tx.AdvanceRun(r)
	})
	equal(t, "length", runBySeq(t, s, 1).LogLen, 8)
	equal(t, "attempts", attempts, 1)
}

// What a wrong address or password is met with says so.
func TestPostgresOpenFails(t *testing.T) {
	for _, dsn := range []string{"postgres://127.0.0.1:1/none?sslmode=disable&connect_timeout=5", "://"} {
		_, err := store.OpenPostgres(context.Background(), dsn)
		if err == nil || !strings.HasPrefix(err.Error(), "open PostgreSQL: ") {
			t.Errorf("%s: got %v", dsn, err)
		}
	}
}
