package store_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// key is the n-th of a millisecond.
func key(millis, n int64) int64 { return engine.FirstSeq(millis) + n }

func purge(t *testing.T, s engine.Store, before, now int64, limit int) int {
	t.Helper()
	return inUpdate(t, s, func(tx engine.Tx) (int, error) {
		n, err := tx.PurgeDeduplications(now, limit)
		if err != nil {
			return 0, err
		}
		for _, kind := range []struct {
			expired func(tx engine.Tx, after, before int64, limit int) ([]int64, int64, error)
			remove  func(engine.Tx, []int64) error
		}{{engine.Tx.ExpiredRuns, engine.Tx.DeleteRuns}, {engine.Tx.ExpiredMessages, engine.Tx.DeleteMessages}} {
			after := int64(0)
			for n < limit {
				seqs, last, err := kind.expired(tx, after, before, limit-n)
				if err != nil {
					return 0, err
				}
				if err := kind.remove(tx, seqs); err != nil {
					return 0, err
				}
				if n, after = n+len(seqs), last; last == 0 {
					break
				}
			}
		}
		return n, nil
	})
}

// purgeAll purges as the engine does, and says how often it took.
func purgeAll(t *testing.T, s engine.Store, before, now int64, limit int) (rounds int) {
	t.Helper()
	for rounds = 1; purge(t, s, before, now, limit) >= limit; rounds++ {
		if rounds == 1000 {
			t.Fatal("there is no end of it")
		}
	}
	return rounds
}

// What is finished for longer than the retention goes, with what is known of
// it; what is not finished, or not for so long, or in the DLQ, stays.
func TestPurgeMessages(t *testing.T) {
	const before = 1000
	tests := []struct {
		name    string
		seq     int64
		state   engine.State
		settled int64 // key of its last settlement; 0: none
		dlq     bool
		stays   bool
	}{
		{"delivered", key(10, 0), engine.Delivered, key(11, 0), false, false},
		{"failed and taken out of the DLQ", key(11, 1), engine.Failed, key(12, 0), false, false},
		{"cancelled", key(12, 1), engine.Canceled, 0, false, false},
		{"finished at the last moment", key(before, -2), engine.Delivered, key(before, -1), false, false},
		{"in the DLQ", key(13, 0), engine.Failed, key(14, 0), true, true},
		{"pending", key(14, 1), engine.Pending, 0, false, true},
		{"pending, retried", key(15, 0), engine.Pending, key(16, 0), false, true},
		{"cancelled in flight", key(16, 1), engine.Canceling, key(17, 0), false, true},
		{"old, but finished lately", key(17, 1), engine.Delivered, key(before, 0), false, true},
		{"of the first moment kept", key(before, 1), engine.Delivered, key(before, 2), false, true},
		{"young", key(before+1, 0), engine.Delivered, key(before+2, 0), false, true},
	}
	forEachStore(t, func(t *testing.T, s engine.Store) {
		for i, test := range tests {
			m := message(test.seq)
			m.State = test.state
			insertMessages(t, s, m)
			update(t, s, func(tx engine.Tx) error {
				if test.dlq {
					if err := tx.InsertDLQ(&engine.DLQEntry{Seq: key(2000, int64(i)), Tenant: 1, Message: test.seq}); err != nil {
						return err
					}
				}
				if test.settled == 0 {
					return nil
				}
				return tx.InsertSettlements([]*engine.Settlement{
					{Seq: key(5, int64(i)), Message: test.seq}, {Seq: test.settled, Message: test.seq},
				})
			})
		}
		equal(t, "deleted", purge(t, s, before, before, 100), 4)
		for _, test := range tests {
			here := len(messages(t, s, test.seq)) == 1
			if here != test.stays {
				t.Errorf("%s: is here %t, want %t", test.name, here, test.stays)
			}
			wantSettlements := 0
			if test.stays && test.settled != 0 {
				wantSettlements = 2
			}
			equal(t, test.name+": settlements", len(settlementsOf(t, s, test.seq)), wantSettlements)
		}
		equal(t, "deleted again", purge(t, s, before, before, 100), 0)
	})
}

// A run that ended long ago goes with its log and all its messages, also those
// its log does not name; until then nothing of it goes.
func TestPurgeRuns(t *testing.T) {
	const before = 1000
	tests := []struct {
		name    string
		state   engine.RunState
		ended   int64
		dlq     bool
		failure engine.State // of its failure callback; 0: none
		stays   bool
	}{
		{"succeeded", engine.RunSuccess, before - 1, false, 0, false},
		{"cancelled", engine.RunCanceled, 20, false, 0, false},
		{"failed, told", engine.RunFailed, 20, false, engine.Delivered, false},
		{"failed, could not be told", engine.RunFailed, 20, false, engine.Failed, false},
		{"active", engine.RunStarted, 0, false, 0, true},
		{"old, but ended lately", engine.RunSuccess, before, false, 0, true},
		{"in the DLQ", engine.RunFailed, 20, true, engine.Delivered, true},
		{"about to be told", engine.RunFailed, 20, false, engine.Pending, true},
		{"being told for the last time", engine.RunFailed, 20, false, engine.Canceling, true},
	}
	forEachStore(t, func(t *testing.T, s engine.Store) {
		update(t, s, func(tx engine.Tx) error {
			for i, test := range tests {
				at := key(10+int64(i), 0)
				r := run(at, fmt.Sprint("wfr_", i))
				r.State, r.EndedAt = test.state, test.ended
				add := func(seq int64, state engine.State) error {
					m := message(seq)
					m.Run, m.State = at, state
					if err := tx.InsertSettlements([]*engine.Settlement{{Seq: seq + 100, Message: seq}}); err != nil {
						return err
					}
					return tx.InsertMessages([]*engine.Message{m})
				}
				for n := range int64(3) { // the last of them is not in the log
					if err := add(at+n, engine.Delivered); err != nil {
						return err
					}
					entry := &engine.LogEntry{Run: at, Index: int(n), Message: engine.Key{Seq: at + n}, CallType: wire.CallStep}
					if n == 2 {
						continue
					}
					if err := tx.InsertLog(entry); err != nil {
						return err
					}
				}
				if test.failure != 0 {
					r.FailureCall = at + 9
					if err := add(r.FailureCall, test.failure); err != nil {
						return err
					}
				}
				if test.dlq {
					r.DLQ = at + 8
					if err := tx.InsertDLQ(&engine.DLQEntry{Seq: r.DLQ, Tenant: 1, Message: at + 1, Run: at}); err != nil {
						return err
					}
				}
				if err := tx.InsertRun(r); err != nil {
					return err
				}
			}
			return nil
		})
		purgeAll(t, s, before, before, 100)
		for i, test := range tests {
			at := key(10+int64(i), 0)
			if here := runBySeq(t, s, at) != nil; here != test.stays {
				t.Errorf("%s: is here %t, want %t", test.name, here, test.stays)
			}
			ofLog, ofMessages := 0, 0
			if test.stays {
				ofLog, ofMessages = 2, 3
				if test.failure != 0 {
					ofMessages = 4
				}
			}
			equal(t, test.name+": log", len(logOf(t, s, at, 0, 9)), ofLog)
			equal(t, test.name+": messages", len(messages(t, s, at, at+1, at+2, at+9)), ofMessages)
			settlements := 0
			for _, seq := range []int64{at, at + 1, at + 2, at + 9} {
				settlements += len(settlementsOf(t, s, seq))
			}
			equal(t, test.name+": settlements", settlements, ofMessages)
		}
	})
}

// A run stays as long as those that went on with it, and with them: they have parts
// of its log, and of its messages.
func TestPurgeLeavesPredecessors(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		var runs []*engine.Run
		for i := range int64(3) {
			r := run(key(10, i), fmt.Sprint(i))
			r.State, r.EndedAt = engine.RunFailed, 20
			if i < 2 {
				r.Settings.ResumedAs = key(10, i+1)
			}
			runs = append(runs, r)
		}
		runs[2].State, runs[2].EndedAt = engine.RunStarted, 0
		first, inserted := *runs[0], *runs[1]
		inserted.Settings = engine.Settings{}
		restarted := run(key(10, 3), "restarted") // which needs nothing of it
		restarted.State, restarted.EndedAt, restarted.Settings.RestartedAs = engine.RunFailed, 20, runs[2].Seq
		insertRuns(t, s, &first, &inserted, runs[2], restarted)
		m := message(runs[0].Seq + 100)
		m.Run, m.State = runs[0].Seq, engine.Delivered
		insertMessages(t, s, m)
		update(t, s, func(tx engine.Tx) error { return tx.UpdateRun(runs[1]) })
		here := func(want ...bool) {
			t.Helper()
			purgeAll(t, s, 1000, 1000, 100)
			for i, r := range runs {
				equal(t, fmt.Sprintf("run %d is here", i), runBySeq(t, s, r.Seq) != nil, want[i])
			}
			equal(t, "messages", len(messages(t, s, m.Seq)) == 1, want[0])
		}
		here(true, true, true)
		equal(t, "the restarted run is here", runBySeq(t, s, restarted.Seq) != nil, false)
		runs[2].State, runs[2].EndedAt = engine.RunSuccess, 999
		update(t, s, func(tx engine.Tx) error { return tx.UpdateRun(runs[2]) })
		here(false, false, false)
	})
}

// What a run has invoked stays as long as that is in the DLQ, with those before it.
func TestPurgeLeavesInvokedRuns(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		waiting, first, last, other := run(key(10, 0), "waits"), run(key(10, 1), "first"), run(key(10, 2), "last"), run(key(10, 3), "other")
		runs := []*engine.Run{waiting, first, last, other}
		for _, r := range runs {
			r.State, r.EndedAt = engine.RunFailed, 20
		}
		waiting.DLQ, first.Settings.ResumedAs = 7, last.Seq
		insertRuns(t, s, runs...)
		update(t, s, func(tx engine.Tx) error {
			return tx.InsertDLQ(&engine.DLQEntry{Seq: 7, Tenant: 1, Message: 1, Run: waiting.Seq})
		})
		w := waitOf(1, waiting.Seq, 1, "")
		w.Kind, w.Child, w.Done = engine.WaitRun, last.Seq, 3
		gone := waitOf(2, key(9, 0), 1, "") // of a run that is gone
		gone.Kind, gone.Child = engine.WaitRun, other.Seq
		insertWaits(t, s, w, gone)
		here := func(want ...bool) {
			t.Helper()
			purgeAll(t, s, 1000, 1000, 100)
			for i, r := range runs {
				equal(t, r.ID+" is here", runBySeq(t, s, r.Seq) != nil, want[i])
			}
		}
		here(true, true, true, false)
		update(t, s, func(tx engine.Tx) error { return tx.DeleteDLQ(7) })
		here(false, false, false, false)
	})
}

// A message still to be delivered outlives its run.
func TestPurgeLeavesPendingMessagesOfPurgedRuns(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		r := run(key(10, 0), "wfr_1")
		r.State, r.EndedAt = engine.RunCanceled, 20
		insertRuns(t, s, r)
		m := message(key(10, 0))
		m.Run, m.LogIndex = r.Seq, 0
		insertMessages(t, s, m)
		insertLog(t, s, &engine.LogEntry{Run: r.Seq, Message: m.Key, CallType: wire.CallStep})
		purgeAll(t, s, 1000, 1000, 100)
		equal(t, "run", runBySeq(t, s, r.Seq), nil)
		equal(t, "message", messages(t, s, m.Seq), []*engine.Message{m})
	})
}

// Deduplications go when they have expired, whatever the retention.
func TestPurgeDeduplications(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		update(t, s, func(tx engine.Tx) error {
			for i := range int64(10) {
				if err := tx.PutDeduplication(1, fmt.Append(nil, i), engine.Key{Seq: i + 1}, 0, 100+i); err != nil {
					return err
				}
			}
			return nil
		})
		equal(t, "deleted", purge(t, s, 0, 104, 100), 5)
		for i := range int64(10) {
			want := engine.Key{}
			if i > 4 {
				want.Seq = i + 1
			}
			equal(t, "held at the time before all", deduplication(t, s, 1, fmt.Append(nil, i), 0), want)
		}
		equal(t, "by limit", purge(t, s, 0, 200, 2), 2)
		equal(t, "the soonest first", deduplication(t, s, 1, []byte("7"), 0), engine.Key{Seq: 8})
	})
}

// Purge goes in steps of the limit and reports the limit as long as there is
// more; what it reports goes to nought when all is done.
func TestPurgeGoesInSteps(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		const runs, entries, plain, limit = 6, 10, 45, 20
		update(t, s, func(tx engine.Tx) error {
			for i := range int64(runs) {
				r := run(key(10+i, 0), fmt.Sprint("wfr_", i))
				r.State, r.EndedAt = engine.RunSuccess, 50
				if err := tx.InsertRun(r); err != nil {
					return err
				}
				for n := range int64(entries) {
					m := message(r.Seq + n)
					m.State, m.Run = engine.Delivered, r.Seq
					if err := tx.InsertMessages([]*engine.Message{m}); err != nil {
						return err
					}
					entry := &engine.LogEntry{Run: r.Seq, Index: int(n), Message: m.Key, CallType: wire.CallStep}
					if err := tx.InsertLog(entry); err != nil {
						return err
					}
				}
			}
			for i := range int64(plain) {
				m := message(key(100+i, 0))
				m.State = engine.Delivered
				if err := tx.InsertMessages([]*engine.Message{m}); err != nil {
					return err
				}
			}
			return tx.PutDeduplication(1, []byte("x"), engine.Key{Seq: 1}, 0, 1)
		})
		var steps []int
		for n := limit; n >= limit; {
			n = purge(t, s, 1000, 1000, limit)
			steps = append(steps, n)
		}
		total := 0
		for _, n := range steps {
			total += n
		}
		equal(t, "deleted", total, runs+runs*entries+plain+1) // logs go with their runs
		if most := slices.Max(steps); most > limit {
			t.Errorf("steps %v: %d in one, the limit is %d", steps, most, limit)
		}
		equal(t, "nothing is left", read(t, s, engine.Tx.LastSeq), 0)
		equal(t, "deleted after", purge(t, s, 1000, 1000, limit), 0)
	})
}
