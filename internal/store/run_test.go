package store_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

func fullRun(seq int64) *engine.Run {
	return &engine.Run{
		Seq: seq, Tenant: 1, ID: "wfr_" + oddText, URL: "https://app.example/" + oddText, State: engine.RunFailed, EndedAt: maxInt - 1,
		Init: engine.Key{Seq: seq, Rnd: maxInt - 2}, LogLen: 12, MaxStep: 11, CallerIP: "2001:db8::1", Header: oddHeader(),
		Settings: allSettings(), Response: allBytes(), DLQ: maxInt - 3, Failure: engine.FailureFail, FailureCall: maxInt - 4,
	}
}

func runBySeq(t *testing.T, s engine.Store, seq int64) *engine.Run {
	t.Helper()
	return read(t, s, func(tx engine.Tx) (*engine.Run, error) { return tx.Run(seq) })
}

func runByID(t *testing.T, s engine.Store, tenant int64, id string) *engine.Run {
	t.Helper()
	return read(t, s, func(tx engine.Tx) (*engine.Run, error) { return tx.RunByID(tenant, id) })
}

func activeRun(t *testing.T, s engine.Store, tenant int64, id string) *engine.Run {
	t.Helper()
	return inUpdate(t, s, func(tx engine.Tx) (*engine.Run, error) { return tx.LockActiveRun(tenant, id) })
}

// end ends a run at the time of its key.
func end(t *testing.T, s engine.Store, seq int64) *engine.Run {
	t.Helper()
	return inUpdate(t, s, func(tx engine.Tx) (*engine.Run, error) {
		r, err := tx.LockRun(seq)
		if err != nil {
			return nil, err
		}
		r.State, r.EndedAt = engine.RunSuccess, engine.Millis(seq)
		return r, tx.UpdateRun(r)
	})
}

// A run reads back as it was written, by any of the ways to find it.
func TestRunRoundTrip(t *testing.T) {
	everyFieldSet(t, fullRun(1))
	forEachStore(t, func(t *testing.T, s engine.Store) {
		full := fullRun(maxInt)
		zero := &engine.Run{Seq: 1, Tenant: 1, Init: engine.Key{Seq: 1}}
		large := run(2, "wfr_large")
		large.Response, large.Header = largeBody(), http.Header{"X-Large": {strings.Repeat("v", 64<<10)}}
		empty := run(3, "wfr_empty")
		empty.Response, empty.Header = []byte{}, http.Header{}
		insertRuns(t, s, full, zero, large, empty)
		empty.Response, empty.Header = nil, nil
		for _, want := range []*engine.Run{full, zero, large, empty} {
			lock := func(tx engine.Tx) (*engine.Run, error) { return tx.LockRun(want.Seq) }
			equal(t, "by key", runBySeq(t, s, want.Seq), want)
			equal(t, "by key, locked", inUpdate(t, s, lock), want)
			equal(t, "by id", runByID(t, s, 1, want.ID), want)
		}
		equal(t, "active", activeRun(t, s, 1, large.ID), large)
		equal(t, "active, but has ended", activeRun(t, s, 1, full.ID), nil)
		lock := func(tx engine.Tx) (*engine.Run, error) { return tx.LockRun(99) }
		equal(t, "absent, by key", runBySeq(t, s, 99), nil)
		equal(t, "absent, by key, locked", inUpdate(t, s, lock), nil)
		for _, id := range []string{"wfr_none", "", "WFR_LARGE", "wfr_large ", "wfr\x00large", "wfr_large\x00", "\xe9"} {
			if id != zero.ID {
				equal(t, "absent, by id", runByID(t, s, 1, id), nil)
			}
			equal(t, "absent, active", activeRun(t, s, 2, id), nil)
		}
		equal(t, "another tenant's", runByID(t, s, 2, large.ID), nil)
	})
}

// UpdateRun writes what changes in a run's life, and the URL; what else it was
// started with stays. AdvanceRun writes the length of the log, and nothing else.
func TestUpdateAndAdvanceRun(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		started, bystander := run(1, "wfr_1"), run(2, "wfr_2")
		insertRuns(t, s, started, bystander)

		advanced := fullRun(1)
		advanced.LogLen, advanced.MaxStep = 5, 4
		update(t, s, func(tx engine.Tx) error { return tx.AdvanceRun(advanced) })
		started.LogLen, started.MaxStep = 5, 4
		equal(t, "advanced", runBySeq(t, s, 1), started)

		changed := fullRun(1)
		update(t, s, func(tx engine.Tx) error { return tx.UpdateRun(changed) })
		changed.ID, changed.CallerIP, changed.Init = started.ID, started.CallerIP, started.Init
		equal(t, "updated", runBySeq(t, s, 1), changed)
		equal(t, "the other run", runBySeq(t, s, 2), bystander)

		for name, verb := range map[string]func(engine.Tx, *engine.Run) error{
			"update": engine.Tx.UpdateRun, "advance": engine.Tx.AdvanceRun,
		} {
			err := s.Update(context.Background(), func(tx engine.Tx) error { return verb(tx, fullRun(99)) })
			if err == nil {
				t.Errorf("%s: no error for a run that is not there", name)
			}
		}
	})
}

// One run of an id is active at a time, per tenant. When it has ended the id
// may be used again, as often as you like, and means the newest run.
func TestRunIDIsReusedAfterTheEnd(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		insert := func(r *engine.Run) error {
			return s.Update(context.Background(), func(tx engine.Tx) error { return tx.InsertRun(r) })
		}
		for seq := int64(1); seq <= 4; seq++ {
			if err := insert(run(seq, "wfr_1")); err != nil {
				t.Fatalf("run %d: %v", seq, err)
			}
			equal(t, "active", activeRun(t, s, 1, "wfr_1"), run(seq, "wfr_1"))
			equal(t, "by id", runByID(t, s, 1, "wfr_1"), run(seq, "wfr_1"))
			if err := insert(run(seq+100, "wfr_1")); err == nil {
				t.Fatal("a second active run of the id was accepted")
			}
			ended := end(t, s, seq)
			equal(t, "active after the end", activeRun(t, s, 1, "wfr_1"), nil)
			equal(t, "by id after the end", runByID(t, s, 1, "wfr_1"), ended)
		}
		other := run(50, "wfr_1")
		other.Tenant = 2
		if err := insert(other); err != nil {
			t.Errorf("another tenant's run: %v", err)
		}
		equal(t, "all are kept", len(read(t, s, func(tx engine.Tx) ([]*engine.Run, error) {
			rows, _, err := tx.ScanRuns(engine.Page{To: maxInt, Limit: 100})
			return rows, err
		})), 5)
	})
}

// Of those who start a run of the same id at once exactly one does; the others
// find it, and fail if they did not even look.
func TestRunsStartedTogether(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		const starters = 8
		for _, look := range []bool{true, false} {
			id := map[bool]string{true: "wfr_looking", false: "wfr_blind"}[look]
			var started, found, failed atomic.Int64
			var all sync.WaitGroup
			for i := range int64(starters) {
				all.Go(func() {
					var active *engine.Run
					err := s.Update(context.Background(), func(tx engine.Tx) (err error) {
						if active = nil; look {
							if active, err = tx.LockActiveRun(1, id); err != nil || active != nil {
								return err
							}
						}
						seq := i + 1
						if !look {
							seq += 100
						}
						return tx.InsertRun(run(seq, id))
					})
					switch {
					case err != nil:
						failed.Add(1)
					case active != nil:
						found.Add(1)
					default:
						started.Add(1)
					}
				})
			}
			all.Wait()
			got := []int64{started.Load(), found.Load(), failed.Load()}
			if want := []int64{1, starters - 1, 0}; look {
				equal(t, "started, found, failed", got, want)
			} else {
				equal(t, "blind: started, found, failed", got, []int64{1, 0, starters - 1})
			}
		}
	})
}

func TestListRuns(t *testing.T) {
	insert := func(tx engine.Tx, tenant, seq int64) error {
		r := run(seq, "wfr_1")
		r.Tenant, r.State = tenant, engine.RunCanceled
		return tx.InsertRun(r)
	}
	seq := func(r *engine.Run) int64 { return r.Seq }
	t.Run("all", func(t *testing.T) {
		forEachStore(t, func(t *testing.T, s engine.Store) {
			testListing(t, s, listing{insert: insert, list: func(tx engine.Tx, tenant int64, p engine.Page) ([]int64, error) {
				rows, more, err := tx.ScanRuns(p)
				return scanned(tenant, rows, more, err, func(r *engine.Run) (int64, int64) { return r.Seq, r.Tenant })
			}})
		})
	})
	// The active ones are listed as if there were no others.
	t.Run("active", func(t *testing.T) {
		forEachStore(t, func(t *testing.T, s engine.Store) {
			testListing(t, s, listing{
				oldest: true,
				insert: func(tx engine.Tx, tenant, seq int64) error {
					if err := insert(tx, tenant, seq+1); err != nil {
						return err
					}
					r := run(seq, "wfr_"+strings.Repeat("x", int(seq%100)))
					r.Tenant = tenant
					return tx.InsertRun(r)
				},
				list: func(tx engine.Tx, tenant int64, p engine.Page) ([]int64, error) {
					rows, err := tx.ListActiveRuns(tenant, p)
					return keysOf(rows, err, seq)
				},
			})
		})
	})
}

func fullLogEntry(run int64, index int) *engine.LogEntry {
	return &engine.LogEntry{
		Run: run, Index: index, Message: engine.Key{Seq: maxInt - int64(index), Rnd: maxInt}, CallType: wire.CallFrom,
		StepID: 3, TargetStep: 4, Body: allBytes(),
	}
}

// sharedEntry is an entry that has the body of another one.
func sharedEntry(run int64, index int, of *engine.LogEntry) *engine.LogEntry {
	e := fullLogEntry(run, index)
	e.Source, e.Body = of.Place(), of.Body
	return e
}

func insertLog(t *testing.T, s engine.Store, entries ...*engine.LogEntry) {
	t.Helper()
	update(t, s, func(tx engine.Tx) error {
		for _, e := range entries {
			if err := tx.InsertLog(e); err != nil {
				return err
			}
		}
		return nil
	})
}

func logOf(t *testing.T, s engine.Store, run int64, from, to int) []*engine.LogEntry {
	t.Helper()
	return read(t, s, func(tx engine.Tx) ([]*engine.LogEntry, error) { return tx.Log(run, from, to) })
}

// firstOf is so much of a log, read one by one.
func firstOf(t *testing.T, s engine.Store, run int64, n int) []*engine.LogEntry {
	t.Helper()
	return read(t, s, func(tx engine.Tx) (log []*engine.LogEntry, err error) {
		err = tx.EachLog(run, 0, 99, func(e *engine.LogEntry) bool {
			log = append(log, e)
			return len(log) < n
		})
		return log, err
	})
}

// A run's log reads back as it was appended, any part of it, in order, with
// nothing of another run's.
func TestLog(t *testing.T) {
	everyFieldSet(t, sharedEntry(1, 1, fullLogEntry(2, 2)))
	forEachStore(t, func(t *testing.T, s engine.Store) {
		payload := &engine.LogEntry{Run: 7, Message: engine.Key{Seq: 7, Rnd: 1}, CallType: wire.CallStep}
		full := fullLogEntry(7, 1)
		large := &engine.LogEntry{Run: 7, Index: 2, CallType: wire.CallStep, StepID: 1, Body: largeBody()}
		last := &engine.LogEntry{Run: 7, Index: 3, CallType: wire.CallTo, StepID: 2, Body: []byte{}}
		insertLog(t, s, payload, full, large, last, fullLogEntry(6, 1), fullLogEntry(8, 0))
		last.Body = nil
		all := []*engine.LogEntry{payload, full, large, last}
		for _, test := range []struct {
			name     string
			run      int64
			from, to int
			want     []*engine.LogEntry
		}{
			{"whole", 7, 0, 4, all},
			{"prefix", 7, 0, 2, all[:3]},
			{"payload", 7, 0, 0, all[:1]},
			{"one", 7, 2, 2, all[2:3]},
			{"end", 7, 2, 1 << 40, all[2:]},
			{"behind the end", 7, 4, 9, nil},
			{"reversed", 7, 3, 0, nil},
			{"before the start", 7, -2, -1, nil},
			{"no such run", 9, 0, 9, nil},
		} {
			equal(t, test.name, logOf(t, s, test.run, test.from, test.to), test.want)
			var bare []*engine.LogEntry
			for _, e := range test.want {
				e := *e
				e.Body = nil
				bare = append(bare, &e)
			}
			steps := read(t, s, func(tx engine.Tx) ([]*engine.LogEntry, error) { return tx.LogSteps(test.run, test.from, test.to) })
			equal(t, test.name+", without bodies", steps, bare)
		}
		for n := 1; n <= len(all); n++ {
			equal(t, fmt.Sprintf("the first %d", n), firstOf(t, s, 7, n), all[:n])
		}
	})
}

// A log may have bodies that stand in others, which is nowhere to be seen but in
// where they come from.
func TestSharedLog(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		empty := &engine.LogEntry{Run: 7, Message: engine.Key{Seq: 7, Rnd: 1}, CallType: wire.CallStep}
		small := fullLogEntry(7, 1)
		large := &engine.LogEntry{Run: 7, Index: 2, CallType: wire.CallStep, StepID: 9, Body: largeBody()}
		insertLog(t, s, empty, small, large)
		own := &engine.LogEntry{Run: 8, Index: 2, CallType: wire.CallStep, StepID: 1, Body: []byte("own")}
		next := []*engine.LogEntry{sharedEntry(8, 0, empty), sharedEntry(8, 1, small), own, sharedEntry(8, 3, large)}
		next[1].StepID = 5
		last := []*engine.LogEntry{sharedEntry(9, 0, next[3]), sharedEntry(9, 1, own)}
		insertLog(t, s, slices.Concat(next, last)...)
		equal(t, "source", last[0].Source, engine.LogPlace{Run: 7, Index: 2})
		for run, want := range map[int64][]*engine.LogEntry{7: {empty, small, large}, 8: next, 9: last} {
			equal(t, "log", logOf(t, s, run, 0, 9), want)
			for n := 1; n <= len(want); n++ {
				equal(t, fmt.Sprintf("the first %d", n), firstOf(t, s, run, n), want[:n])
			}
			bytes := int64(0)
			for _, e := range want {
				bytes += int64(len(e.Body))
			}
			update(t, s, func(tx engine.Tx) error {
				entries, n, err := tx.LogBytes(run, 0, 9)
				if entries != len(want) || n != bytes {
					t.Errorf("log of %d: %d entries of %d bytes, want %d of %d", run, entries, n, len(want), bytes)
				}
				return err
			})
		}
		next[3].Message = engine.Key{Seq: 5, Rnd: 6}
		update(t, s, func(tx engine.Tx) error { return tx.SetLogMessage(next[3]) })
		got := read(t, s, func(tx engine.Tx) (*engine.LogEntry, error) {
			return tx.LogStep(8, 5, next[1].TargetStep, next[1].CallType)
		})
		equal(t, "step", got, next[1])
		equal(t, "another message", logOf(t, s, 8, 3, 3), next[3:])
		equal(t, "the log with the body", logOf(t, s, 7, 2, 2), []*engine.LogEntry{large})
	})
}

// A log is only ever appended to: a place in it is taken once.
func TestLogPlaceIsTaken(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		first := fullLogEntry(1, 0)
		insertLog(t, s, first)
		err := s.Update(context.Background(), func(tx engine.Tx) error {
			return tx.InsertLog(&engine.LogEntry{Run: 1, Index: 0, CallType: wire.CallStep, Body: []byte("other")})
		})
		if err == nil {
			t.Error("a second entry of the same index was accepted")
		}
		equal(t, "log", logOf(t, s, 1, 0, 9), []*engine.LogEntry{first})
	})
}

// An entry may be of another message than it was at first, and is what it was
// otherwise.
func TestSetLogMessage(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		first, second, other := fullLogEntry(7, 0), fullLogEntry(7, 1), fullLogEntry(8, 0)
		insertLog(t, s, first, second, other)
		first.Message = engine.Key{Seq: 99, Rnd: 98}
		update(t, s, func(tx engine.Tx) error {
			return tx.SetLogMessage(&engine.LogEntry{Run: 7, Message: first.Message})
		})
		equal(t, "log", logOf(t, s, 7, 0, 9), []*engine.LogEntry{first, second})
		equal(t, "another log", logOf(t, s, 8, 0, 9), []*engine.LogEntry{other})
		err := s.Update(context.Background(), func(tx engine.Tx) error { return tx.SetLogMessage(&engine.LogEntry{Run: 7, Index: 2}) })
		if err == nil {
			t.Error("an entry that is not there was changed")
		}
	})
}

// LogStep finds the first entry that is exactly that step of that kind: plans,
// results and calls of one step are told apart.
func TestLogStep(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		entry := func(run int64, index, step, target int, callType wire.CallType) *engine.LogEntry {
			return &engine.LogEntry{Run: run, Index: index, CallType: callType, StepID: step, TargetStep: target}
		}
		log := []*engine.LogEntry{
			entry(1, 0, 0, 0, wire.CallStep),
			entry(1, 1, 0, 1, wire.CallStep),
			entry(1, 2, 0, 2, wire.CallStep),
			entry(1, 3, 2, 0, wire.CallTo),
			entry(1, 4, 1, 0, wire.CallStep),
			entry(1, 5, 1, 0, wire.CallStep),
			entry(2, 0, 3, 0, wire.CallStep),
		}
		insertLog(t, s, log...)
		for _, test := range []struct {
			step, target int
			callType     wire.CallType
			want         *engine.LogEntry
		}{
			{0, 1, wire.CallStep, log[1]},
			{0, 2, wire.CallStep, log[2]},
			{2, 0, wire.CallTo, log[3]},
			{2, 0, wire.CallStep, nil},
			{1, 0, wire.CallStep, log[4]},
			{1, 1, wire.CallStep, nil},
			{3, 0, wire.CallStep, nil},
			{1, 0, wire.CallFrom, nil},
			{1, 0, "", nil},
		} {
			got := read(t, s, func(tx engine.Tx) (*engine.LogEntry, error) {
				return tx.LogStep(1, test.step, test.target, test.callType)
			})
			equal(t, string(test.callType), got, test.want)
		}
	})
}

// PendingOfRun are the messages named in a run's log that wait to be
// delivered; those cancelled in flight are somebody's already.
func TestPendingOfRun(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		states := []engine.State{engine.Delivered, engine.Pending, engine.Failed, engine.Canceling, engine.Canceled, engine.Pending}
		var want []*engine.Message
		for i, state := range states {
			m := message(int64(100 - i)) // later in the log, earlier by key
			m.Run, m.LogIndex, m.State = 7, i, state
			insertMessages(t, s, m)
			insertLog(t, s, &engine.LogEntry{Run: 7, Index: i, Message: m.Key, CallType: wire.CallStep})
			if state == engine.Pending {
				want = append([]*engine.Message{m}, want...)
			}
		}
		outside, other := message(200), message(201)
		outside.Run = 7 // the failure callback is not in the log
		other.Run = 8
		insertMessages(t, s, outside, other)
		insertLog(t, s, &engine.LogEntry{Run: 8, Message: other.Key, CallType: wire.CallStep})
		// A run that was resumed has in its log what the one before delivered.
		insertLog(t, s, &engine.LogEntry{Run: 8, Index: 1, Message: want[0].Key, CallType: wire.CallStep})
		pending := func(run int64) func(engine.Tx) ([]*engine.Message, error) {
			return func(tx engine.Tx) ([]*engine.Message, error) { return tx.PendingOfRun(run) }
		}
		equal(t, "of the run", read(t, s, pending(7)), want)
		equal(t, "of another", read(t, s, pending(8)), []*engine.Message{other})
		equal(t, "of none", read(t, s, pending(9)), nil)
	})
}

// Runs of a state are one tenant's, from a key up to but without another.
func TestRunsInState(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		for i, state := range []engine.RunState{engine.RunFailed, engine.RunStarted, engine.RunFailed, engine.RunSuccess, engine.RunFailed} {
			r := run(int64(10*i+10), fmt.Sprint("wfr_", i))
			r.State = state
			if i == 2 {
				r.Tenant = 2
			}
			insertRuns(t, s, r)
		}
		in := func(tenant int64, state engine.RunState, from, to int64) []int64 {
			return read(t, s, func(tx engine.Tx) ([]int64, error) { return tx.RunsInState(tenant, state, from, to) })
		}
		equal(t, "failed", in(1, engine.RunFailed, 0, maxInt), []int64{10, 50})
		equal(t, "up to one", in(1, engine.RunFailed, 10, 50), []int64{10})
		equal(t, "from behind one", in(1, engine.RunFailed, 11, 51), []int64{50})
		equal(t, "another's", in(2, engine.RunFailed, 0, maxInt), []int64{30})
		equal(t, "active", in(1, engine.RunStarted, 0, maxInt), []int64{20})
		equal(t, "cancelled", in(1, engine.RunCanceled, 0, maxInt), nil)
	})
}

// A run leads to the last that went on with it, as far as they are there, however
// many they are and in whatever order their keys are.
func TestLastRun(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		const many = 3000
		lead := func(from, to int64) {
			r := run(from, fmt.Sprint(from))
			r.State, r.Settings.ResumedAs = engine.RunFailed, to
			insertRuns(t, s, r)
		}
		for _, hop := range [][2]int64{{1, 5}, {5, 3}, {3, 9}, {9, 0}, {10, 11}, {12, 0}} {
			lead(hop[0], hop[1])
		}
		var chain []*engine.Run
		for seq := int64(100); seq < 100+many; seq++ {
			r := run(seq, fmt.Sprint(seq))
			r.State, r.Settings.ResumedAs = engine.RunFailed, seq+1
			chain = append(chain, r)
		}
		insertRuns(t, s, chain...)
		for from, want := range map[int64]int64{1: 9, 5: 9, 3: 9, 9: 9, 10: 10, 12: 12, 100: 100 + many - 1, 101: 100 + many - 1} {
			got := read(t, s, func(tx engine.Tx) (int64, error) { return tx.LastRun(from) })
			equal(t, fmt.Sprintf("run %d leads to", from), got, want)
		}
	})
}
