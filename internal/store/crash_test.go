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
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/internal/wire"
)

// crashing is the variable that makes this test binary the process that is
// killed, and names its directory.
const crashing = "SIGNPOST_STORE_CRASH"

const entriesPerRun = 3

// commitUntilKilled commits runs with logs and messages, many at once, and
// prints the number of each when Update has returned.
func commitUntilKilled(dir string) {
	s, err := store.OpenSQLite(context.Background(), dir)
	if err != nil {
		fatal(err)
	}
	var seq atomic.Int64
	err = s.View(context.Background(), func(tx engine.Tx) error {
		last, err := tx.LastSeq()
		seq.Store(last + 1000)
		return err
	})
	if err != nil {
		fatal(err)
	}
	for range 8 {
		go func() {
			for {
				n := seq.Add(2 * entriesPerRun)
				err := s.Update(context.Background(), func(tx engine.Tx) error { return writeRun(tx, n) })
				if err != nil {
					fatal(err)
				}
				// One write: a line is printed or it is not.
				os.Stdout.WriteString(strconv.FormatInt(n, 10) + "\n")
			}
		}()
	}
	select {}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// writeRun writes a run in several statements, of which none makes sense
// without the others.
func writeRun(tx engine.Tx, seq int64) error {
	r := run(seq, "wfr_"+strconv.FormatInt(seq, 10))
	if err := tx.InsertRun(r); err != nil {
		return err
	}
	for i := range entriesPerRun {
		m := message(seq + int64(i))
		m.Run, m.LogIndex = seq, i
		if err := tx.InsertMessages([]*engine.Message{m}); err != nil {
			return err
		}
		e := &engine.LogEntry{Run: seq, Index: i, Message: m.Key, CallType: wire.CallStep, Body: make([]byte, 3000)}
		if err := tx.InsertLog(e); err != nil {
			return err
		}
		r.LogLen = i + 1
	}
	if err := tx.AdvanceRun(r); err != nil {
		return err
	}
	changes := []engine.Transition{{Seq: seq, From: engine.Pending, To: engine.Delivered, Due: 1}}
	if _, err := tx.SettleMessages(changes); err != nil {
		return err
	}
	return tx.InsertSettlements([]*engine.Settlement{{Seq: seq + entriesPerRun, Message: seq, Result: engine.Delivered}})
}

// Killed at any moment, a store has lost nothing that Update returned nil for,
// and has nothing by halves.
func TestT28KilledProcessLosesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	printed := map[int64]bool{}
	for round := range rounds {
		before := len(printed)
		commitAndKill(t, dir, time.Duration(rand.Int64N(int64(120*time.Millisecond))), printed)
		there := wholeRuns(t, dir)
		for seq := range printed {
			if !there[seq] {
				t.Errorf("round %d: run %d was committed and is gone", round, seq)
			}
		}
		t.Logf("round %d: %d committed, %d there", round, len(printed)-before, len(there))
		if t.Failed() {
			return
		}
	}
	if len(printed) == 0 {
		t.Error("nothing was ever committed")
	}
}

// commitAndKill runs a process that commits, and kills it some time after its
// first commit. What it has printed is noted.
func commitAndKill(t *testing.T, dir string, after time.Duration, printed map[int64]bool) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), crashing+"="+dir)
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
		seq, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			t.Fatalf("torn line %q", lines.Text())
		}
		printed[seq] = true
	}
	if err := c.Wait(); err == nil || complaint.Len() > 0 {
		t.Fatalf("not killed, but ended by itself (%v): %s", err, complaint.String())
	}
}

// wholeRuns opens the database after the crash. All runs in it must be whole.
func wholeRuns(t *testing.T, dir string) map[int64]bool {
	t.Helper()
	s := openDir(t, dir)
	there := map[int64]bool{}
	entries, settled := 0, 0
	err := s.View(context.Background(), func(tx engine.Tx) error {
		runs, more, err := tx.ScanRuns(engine.Page{To: maxInt, Limit: 1 << 30})
		if err != nil || more {
			return errors.Join(err, fmt.Errorf("there is more: %v", more))
		}
		for _, r := range runs {
			there[r.Seq] = true
			if r, err = tx.Run(r.Seq); err != nil {
				return err
			}
			log, err := tx.Log(r.Seq, 0, 99)
			if err != nil {
				return err
			}
			all, err := tx.Messages([]int64{r.Seq, r.Seq + 1, r.Seq + 2})
			if err != nil {
				return err
			}
			settlements, err := tx.SettlementsOf(r.Seq)
			if err != nil {
				return err
			}
			if r.LogLen != entriesPerRun || len(log) != entriesPerRun || len(all) != entriesPerRun || len(settlements) != 1 ||
				all[0].State != engine.Delivered || all[1].State != engine.Pending {
				t.Errorf("run %d is torn: length %d, %d entries, %d messages, %d settlements",
					r.Seq, r.LogLen, len(log), len(all), len(settlements))
			}
			entries += len(log)
			settled += len(settlements)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db := openSQL(t, "sqlite", filepath.Join(dir, "signpost.db"))
	defer db.Close()
	equal(t, "integrity_check", scanOne[string](t, db, `pragma integrity_check`), "ok")
	equal(t, "log entries", scanOne[int](t, db, `select count(*) from run_log`), entries)
	equal(t, "messages", scanOne[int](t, db, `select count(*) from messages`), entries)
	equal(t, "settlements", scanOne[int](t, db, `select count(*) from settlements`), settled)
	return there
}

func scanOne[T any](t *testing.T, db *sql.DB, query string) (v T) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}
