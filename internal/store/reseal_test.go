package store_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/internal/wire"
)

// resealAll does what the engine does in the background, and counts the steps.
func resealAll(t testing.TB, s engine.Store) (steps int) {
	t.Helper()
	for more := true; more; steps++ {
		var err error
		if more, err = s.Reseal(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	return steps
}

func sealing(t testing.TB, s engine.Store) engine.Sealing {
	t.Helper()
	state, err := s.Sealing(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func rewrap(t testing.TB, s engine.Store, keys ...byte) {
	t.Helper()
	if err := s.Rewrap(context.Background(), masterKeys(keys)); err != nil {
		t.Fatal(err)
	}
}

// A plain database becomes sealed when it is opened with a master key, without
// anybody noticing; then another key takes over, and the first is not needed.
func TestFromPlainToAnotherMasterKey(t *testing.T) {
	forEachKeyed(t, func(t *testing.T, o keyed, db *sql.DB) {
		s, x := openKeyed(t, o), secretsAt(10)
		update(t, s, x.insert)
		equal(t, "plain", sealing(t, s), engine.Sealing{})
		if more, err := s.Reseal(context.Background()); more || err != nil {
			t.Errorf("reseal of a plain store: %v, %v", more, err)
		}
		if err := s.Rewrap(context.Background(), masterKeys([]byte{1})); !errors.Is(err, store.ErrMasterKey) {
			t.Errorf("rewrap of a plain store: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}

		s = openKeyed(t, o, 1)
		if now := sealing(t, s); !now.UnderWay() || now.MasterKey != store.MasterKeyID(masterKey(1)) || now.DataKeys != 1 {
			t.Errorf("after the first start with a key: %+v", now)
		}
		x.check(t, s)
		y := secretsAt(20)
		update(t, s, y.insert)
		resealAll(t, s)
		equal(t, "found in", find(t, db), nil)
		if now := sealing(t, s); now.UnderWay() || now.Percent != 100 || now.Resealed != 13 {
			t.Errorf("when all is sealed: %+v", now)
		}
		x.check(t, s)

		rewrap(t, s, 2, 1)
		if now := sealing(t, s); !now.UnderWay() || now.MasterKey != store.MasterKeyID(masterKey(2)) || now.DataKeys != 2 {
			t.Errorf("after the rewrap: %+v", now)
		}
		x.check(t, s)
		z := secretsAt(30)
		update(t, s, z.insert)
		resealAll(t, s)
		if now := sealing(t, s); now.UnderWay() || now.DataKeys != 1 || now.Resealed != 24 {
			t.Errorf("at the end: %+v", now)
		}
		for _, all := range []*secrets{x, y, z} {
			all.check(t, s)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := o(1); !errors.Is(err, store.ErrMasterKey) {
			t.Errorf("with the old key alone: %v", err)
		}
		s = openKeyed(t, o, 2)
		for _, all := range []*secrets{x, y, z} {
			all.check(t, s)
		}
		equal(t, "state after a restart", sealing(t, s).UnderWay(), false)
	})
}

// A log whose bodies are in those of runs before is there whole, whichever of them is
// plain, under an old data key or a new one; in the end all are under the last.
func TestSharedLogsUnderManyDataKeys(t *testing.T) {
	const generations = 6
	forEachKeyed(t, func(t *testing.T, o keyed, db *sql.DB) {
		random := rand.New(rand.NewPCG(1, 2))
		s := openKeyed(t, o)
		update(t, s, func(tx engine.Tx) error { return tx.InsertTenant(&engine.Tenant{UserID: "u"}) })
		var logs [][]*engine.LogEntry
		check := func(logs [][]*engine.LogEntry) {
			t.Helper()
			for n, log := range logs {
				run, size := log[0].Run, int64(0)
				equal(t, fmt.Sprintf("log %d of %d", n, len(logs)), logOf(t, s, run, 0, 99), log)
				equal(t, "one by one", firstOf(t, s, run, 99), log)
				for _, e := range log {
					size += int64(len(e.Body))
				}
				equal(t, "bytes", read(t, s, func(tx engine.Tx) (int64, error) {
					_, bytes, err := tx.LogBytes(run, 0, 99)
					return bytes, err
				}), size)
			}
		}
		// Of each log, what is not the run's own, or edited, is that of the one before.
		next := func() {
			n := len(logs)
			own := func(at int, size int) *engine.LogEntry {
				body := canary + strings.Repeat(string(rune('a'+n)), size)
				return &engine.LogEntry{Run: int64(n + 10), Index: at, StepID: at, CallType: wire.CallStep, Message: engine.Key{Seq: int64(at + 1)}, Body: []byte(body)}
			}
			var log []*engine.LogEntry
			if n > 0 {
				for at, e := range logs[n-1] {
					if at == n%3 {
						log = append(log, own(at, 10))
					} else {
						log = append(log, sharedEntry(int64(n+10), at, e))
					}
				}
			}
			log = append(log, own(len(log), 250<<10), own(len(log)+1, 0))
			insertLog(t, s, log...)
			logs = append(logs, log)
		}
		next()
		next()
		check(logs)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openKeyed(t, o, 1)
		for n := byte(2); len(logs) < generations; n++ {
			for range random.IntN(10) {
				if _, err := s.Reseal(context.Background()); err != nil {
					t.Fatal(err)
				}
				check(logs[len(logs)-1:]) // which has a part of each
			}
			next()
			check(logs)
			rewrap(t, s, n, n-1)
		}
		resealAll(t, s)
		check(logs)
		equal(t, "found in", find(t, db), nil)
		equal(t, "data keys", sealing(t, s).DataKeys, 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openKeyed(t, o, generations-1)
		check(logs)
	})
}

// A rewrap that lacks a key that is still in use is refused, and changes nothing.
func TestRewrapNeedsTheOldKey(t *testing.T) {
	forEachKeyed(t, func(t *testing.T, o keyed, _ *sql.DB) {
		s, x := openKeyed(t, o, 1), secretsAt(10)
		update(t, s, x.insert)
		before := sealing(t, s)
		for _, keys := range [][]byte{{2}, nil} {
			if err := s.Rewrap(context.Background(), masterKeys(keys)); err == nil {
				t.Errorf("keys %v were taken", keys)
			}
		}
		err := s.Rewrap(context.Background(), masterKeys([]byte{2}))
		if engine.ErrorCode(err) != engine.Conflict || !strings.Contains(err.Error(), store.MasterKeyID(masterKey(1))) {
			t.Errorf("got %v, want a conflict that names the key", err)
		}
		equal(t, "state", sealing(t, s), before)
		x.check(t, s)
	})
}

// Rewraps and everything else can happen at once.
func TestRewrapWhileOthersWork(t *testing.T) {
	forEachKeyed(t, func(t *testing.T, o keyed, db *sql.DB) {
		s := openKeyed(t, o, 1)
		var all sync.WaitGroup
		var stop atomic.Bool
		var mu sync.Mutex
		var written []*secrets
		var next atomic.Int64
		for range 4 {
			all.Go(func() {
				for !stop.Load() {
					x := secretsAt(next.Add(10))
					err := s.Update(context.Background(), x.insertRows)
					if err == nil {
						err = s.View(context.Background(), func(tx engine.Tx) error { _, err := x.read(tx); return err })
					}
					if err == nil {
						err = s.Update(context.Background(), func(tx engine.Tx) error { return tx.UpdateRun(x.run) })
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					written = append(written, x)
					mu.Unlock()
				}
			})
		}
		for n := byte(2); n < 6; n++ {
			rewrap(t, s, n, n-1)
			resealAll(t, s)
		}
		stop.Store(true)
		all.Wait()
		rewrap(t, s, 6, 5)
		resealAll(t, s)
		equal(t, "data keys", scanOne[int](t, db, `select count(*) from data_keys`), 1)
		for _, x := range written {
			x.check(t, s)
		}
		t.Logf("%d rows of each kind", len(written))
	})
}

// A row that can't be opened keeps no other from being sealed. The keys that it
// may need stay.
func TestDamagedRowIsPassedOver(t *testing.T) {
	forEachKeyed(t, func(t *testing.T, o keyed, db *sql.DB) {
		s, x := openKeyed(t, o, 1), secretsAt(20)
		update(t, s, func(tx engine.Tx) error { return tx.InsertMessages([]*engine.Message{message(10), message(11)}) })
		update(t, s, x.insert)
		good := scanOne[[]byte](t, db, `select sealed from messages where seq = 10`)
		for seq, bad := range map[int64][]byte{10: good[:len(good)-1], 11: {7}} {
			if _, err := db.Exec(`update messages set sealed = $1 where seq = $2`, bad, seq); err != nil {
				t.Fatal(err)
			}
		}
		rewrap(t, s, 2, 1)
		resealAll(t, s)
		if now := sealing(t, s); now.UnderWay() || now.DataKeys != 2 {
			t.Errorf("at the end: %+v", now)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openKeyed(t, o, 2)
		x.check(t, s)
		if _, err := db.Exec(`update messages set sealed = $1 where seq = 10`, good); err != nil {
			t.Fatal(err)
		}
		equal(t, "put right", messages(t, s, 10), []*engine.Message{message(10)})
	})
}

// Nothing of what was plain is left in a file when all is sealed: neither what
// was in a row, nor what had been deleted before.
func TestT18NothingPlainIsLeftInFiles(t *testing.T) {
	dir := t.TempDir()
	s, err := store.OpenSQLite(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(30) {
		x := secretsAt(i*10 + 10)
		x.message.Body = []byte(strings.Repeat(canary+" ", 1500)) // more than a page
		update(t, s, x.insert)
	}
	for i := range int64(15) {
		update(t, s, func(tx engine.Tx) error { return tx.DeleteDLQ(i*20 + 12) })
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	equal(t, "before", filesWith(t, dir, canary), []string{"signpost.db"})

	s = open(t, func() (engine.Store, error) { return store.OpenSQLite(context.Background(), dir, masterKey(1)) })
	resealAll(t, s)
	equal(t, "while open", filesWith(t, dir, canary), nil)
	for i := range int64(30) {
		equal(t, "body", len(messages(t, s, i*10+10)[0].Body), 1500*(len(canary)+1))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	equal(t, "closed", filesWith(t, dir, canary), nil)
}

// resealing is the variable that makes this test binary a process that is
// killed while it seals a database anew.
const resealing = "SIGNPOST_STORE_RESEAL"

func resealUntilKilled(dir string) {
	s, err := store.OpenSQLite(context.Background(), dir, masterKey(2), masterKey(1))
	if err != nil {
		fatal(err)
	}
	for {
		os.Stdout.WriteString("step\n")
		more, err := s.Reseal(context.Background())
		if err != nil {
			fatal(err)
		}
		if more {
			continue
		}
		os.Stdout.WriteString("done\n")
		if err := s.Rewrap(context.Background(), [][]byte{masterKey(2), masterKey(1)}); err != nil {
			fatal(err)
		}
	}
}

// Killed at any moment of it, a database is as whole as before, and the next
// process goes on.
func TestT28KilledWhileSealing(t *testing.T) {
	dir := t.TempDir()
	s, err := store.OpenSQLite(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []*secrets
	for i := range int64(100) {
		x := secretsAt(i*10 + 10)
		x.message.Body = []byte(strings.Repeat(canary, 3000)) // so that it takes several steps
		all = append(all, x)
	}
	update(t, s, func(tx engine.Tx) error {
		for _, x := range all {
			if err := x.insert(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rounds, done := 8, 0
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		done += resealAndKill(t, dir, time.Duration(rand.Int64N(int64(150*time.Millisecond))))
		s := open(t, func() (engine.Store, error) {
			return store.OpenSQLite(context.Background(), dir, masterKey(2), masterKey(1))
		})
		for _, x := range all {
			x.check(t, s)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db := openSQL(t, "sqlite", filepath.Join(dir, "signpost.db"))
		equal(t, "integrity_check", scanOne[string](t, db, `pragma integrity_check`), "ok")
		db.Close()
	}
	t.Logf("done %d times", done)
	s = open(t, func() (engine.Store, error) {
		return store.OpenSQLite(context.Background(), dir, masterKey(2), masterKey(1))
	})
	rewrap(t, s, 2, 1)
	resealAll(t, s)
	equal(t, "found", filesWith(t, dir, canary), nil)
	for _, x := range all {
		x.check(t, s)
	}
}

// resealAndKill says how often the process came to an end of it.
func resealAndKill(t *testing.T, dir string, after time.Duration) (done int) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), resealing+"="+dir)
	var complaint strings.Builder
	c.Stderr = &complaint
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for first := true; lines.Scan(); first = false {
		if first {
			time.AfterFunc(after, func() { c.Process.Kill() })
		}
		if lines.Text() == "done" {
			done++
		}
	}
	if err := c.Wait(); err == nil || complaint.Len() > 0 {
		t.Fatalf("not killed, but ended by itself (%v): %s", err, complaint.String())
	}
	return done
}
