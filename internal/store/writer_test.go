package store

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/signposthq/signpost/internal/engine"
)

// setting is a pragma's value on the connection of a transaction.
func setting(etx engine.Tx, name string) (value string, err error) {
	t := etx.(*tx)
	rows, err := t.query("pragma " + name)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&value); err != nil {
			return "", err
		}
	}
	return value, rows.Err()
}

// A commit is on disk when it returns, unless the database is to be gone with
// the process; views can't write, and none of this is left to a default.
func TestSettingsOfConnections(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		open        func() (engine.Store, error)
		synchronous string
	}{
		"file":   {func() (engine.Store, error) { return OpenSQLite(context.Background(), dir) }, "2"}, // full
		"memory": {func() (engine.Store, error) { return OpenMemory(context.Background()) }, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := test.open()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			check := func(want map[string]string) func(engine.Tx) error {
				return func(etx engine.Tx) error {
					for name, want := range want {
						if got, err := setting(etx, name); err != nil || got != want {
							t.Errorf("%s: got %s (%v), want %s", name, got, err, want)
						}
					}
					return nil
				}
			}
			writer := check(map[string]string{
				"synchronous": test.synchronous, "journal_mode": "wal", "busy_timeout": "10000", "query_only": "0",
			})
			if err := s.Update(context.Background(), writer); err != nil {
				t.Fatal(err)
			}
			reader := check(map[string]string{"query_only": "1", "busy_timeout": "10000"})
			for range readers { // they take turns
				if err := s.View(context.Background(), reader); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// What is only in memory leaves nothing behind.
func TestMemoryIsRemoved(t *testing.T) {
	s, err := OpenMemory(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	dir := s.(*sqlite).temp
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there (%v)", dir, err)
	}
}

// A full disk ends a transaction from below. Who did not find room is told so;
// who did, is there; and when there is room again, all goes on.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := OpenMemory(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		limit := func(pages string) {
			t.Helper()
			err := s.Update(context.Background(), func(etx engine.Tx) error {
				_, err := setting(etx, "max_page_count = "+pages)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		insert := func(seq int64, size int) error {
			return s.Update(context.Background(), func(tx engine.Tx) error {
				return tx.InsertMessages([]*engine.Message{{Key: engine.Key{Seq: seq}, Body: make([]byte, size)}})
			})
		}
		const small, large = 100, 4 << 20
		limit("200")
		hold := make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			if err := s.Update(context.Background(), func(engine.Tx) error { <-hold; return nil }); err != nil {
				t.Error(err)
			}
		})
		sizes := []int{small, large, small, large, small}
		errs := make([]error, len(sizes))
		for i, size := range sizes {
			synctest.Wait()
			all.Go(func() { errs[i] = insert(int64(i)+1, size) })
		}
		synctest.Wait()
		close(hold)
		all.Wait()
		there := func(seq int64) (found bool) {
			t.Helper()
			err := s.View(context.Background(), func(tx engine.Tx) error {
				rows, err := tx.Messages([]int64{seq})
				found = len(rows) == 1
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		for i, size := range sizes {
			if fits := size == small; (errs[i] == nil) != fits || there(int64(i)+1) != fits {
				t.Errorf("message %d of %d bytes: error %v, there: %t", i+1, size, errs[i], there(int64(i)+1))
			}
		}
		limit("100000")
		if err := insert(9, large); err != nil || !there(9) {
			t.Errorf("with room again: error %v, there: %t", err, there(9))
		}
	})
}

func TestPositional(t *testing.T) {
	for query, want := range map[string]string{
		"select 1":                         "select 1",
		"a = $1 and b = $2 limit $3":       "a = ? and b = ? limit ?",
		"($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)": "(?,?,?,?,?,?,?,?,?,?)",
		"a = $1 or b = $1":                 "a = $1 or b = $1",
		"a = $2 and b = $1":                "a = $2 and b = $1",
	} {
		if got := positional(query); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}
