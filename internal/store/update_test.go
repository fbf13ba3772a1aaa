package store_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signposthq/signpost/internal/engine"
)

var errTest = errors.New("the rule says no")

// An update is all or nothing: one that fails after writing leaves nothing,
// and its error comes back as it is.
func TestFailedUpdateLeavesNothing(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		insertMessages(t, s, message(1))
		err := s.Update(context.Background(), func(tx engine.Tx) error {
			if err := tx.InsertMessages([]*engine.Message{message(2)}); err != nil {
				return err
			}
			if err := tx.InsertRun(run(3, "wfr_1")); err != nil {
				return err
			}
			if _, err := tx.SettleMessages([]engine.Transition{{Seq: 1, From: engine.Pending, To: engine.Failed}}); err != nil {
				return err
			}
			return fmt.Errorf("wrapped: %w", errTest)
		})
		if !errors.Is(err, errTest) {
			t.Errorf("got error %v, want fn's own", err)
		}
		equal(t, "messages", messages(t, s, 1, 2), []*engine.Message{message(1)})
		equal(t, "run", runBySeq(t, s, 3), nil)
	})
}

// A panic in a rule is that update's error. It writes nothing, and the store
// serves others as before.
func TestPanicInUpdateIsAnError(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		for _, write := range []bool{true, false} {
			err := s.Update(context.Background(), func(tx engine.Tx) error {
				if write {
					if err := tx.InsertMessages([]*engine.Message{message(1)}); err != nil {
						return err
					}
				}
				panic("a rule went wrong")
			})
			if err == nil || !strings.Contains(err.Error(), "a rule went wrong") || !strings.Contains(err.Error(), "update_test.go") {
				t.Errorf("got error %v, want the panic and where it was", err)
			}
		}
		insertMessages(t, s, message(2))
		equal(t, "messages", messages(t, s, 1, 2), []*engine.Message{message(2)})
	})
}

// A verb that failed fails the update, even where fn thinks nothing of it: on
// either database nothing is committed after an error.
func TestIgnoredErrorFailsTheUpdate(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		insertMessages(t, s, message(1))
		err := s.Update(context.Background(), func(tx engine.Tx) error {
			if err := tx.InsertMessages([]*engine.Message{message(2)}); err != nil {
				return err
			}
			if err := tx.InsertMessages([]*engine.Message{message(1)}); err == nil {
				t.Error("a key was taken twice")
			}
			return nil
		})
		if err == nil {
			t.Error("committed after an error")
		}
		equal(t, "messages", messages(t, s, 1, 2), []*engine.Message{message(1)})
	})
}

// An update sees what it wrote itself; a view sees nothing of it before it is
// committed.
func TestUncommittedRowsAreTheirWritersOnly(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		written, seen := make(chan struct{}), make(chan struct{})
		done := make(chan error, 1)
		go func() {
			var once sync.Once
			done <- s.Update(context.Background(), func(tx engine.Tx) error {
				if err := tx.InsertMessages([]*engine.Message{message(1)}); err != nil {
					return err
				}
				mine, err := tx.Messages([]int64{1})
				if err == nil && len(mine) != 1 {
					err = errors.New("an update does not see its own row")
				}
				once.Do(func() { close(written); <-seen })
				return err
			})
		}()
		select {
		case <-written:
		case err := <-done:
			t.Fatalf("the update ended by itself: %v", err)
		}
		equal(t, "before the commit", messages(t, s, 1), nil)
		close(seen)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		equal(t, "after the commit", messages(t, s, 1), []*engine.Message{message(1)})
	})
}

// A view sees one state from its first read to its end, whatever is committed
// meanwhile; the next view sees the next.
func TestViewSeesOneState(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		insertMessages(t, s, message(1))
		err := s.View(context.Background(), func(tx engine.Tx) error {
			for i := range int64(3) {
				all, err := allMessages(tx)
				if err != nil {
					return err
				}
				equal(t, "in the view", all, []*engine.Message{message(1)})
				insertMessages(t, s, message(2+i))
				update(t, s, func(tx engine.Tx) error {
					_, err := tx.SettleMessages([]engine.Transition{{Seq: 1, From: engine.Pending, Attempt: int(i), To: engine.Pending, Retried: int(i) + 1}})
					return err
				})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		after := messages(t, s, 1, 2, 3, 4)
		if len(after) != 4 || after[0].Retried != 3 {
			t.Errorf("after: %d messages", len(after))
		}
	})
}

// The same under load: two logs that only ever grow together are of one length
// in every view.
func TestViewsDuringUpdates(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		insertRuns(t, s, run(1, "wfr_1"), run(2, "wfr_2"))
		var stop atomic.Bool
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for !stop.Load() {
					err := s.View(context.Background(), func(tx engine.Tx) error {
						one, err := tx.Run(1)
						if err != nil {
							return err
						}
						two, err := tx.Run(2)
						if err == nil && one.LogLen != two.LogLen {
							err = fmt.Errorf("a view of two states: lengths %d and %d", one.LogLen, two.LogLen)
						}
						return err
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range 50 {
			update(t, s, func(tx engine.Tx) error {
				for seq := int64(1); seq <= 2; seq++ {
					r, err := tx.LockRun(seq)
					if err != nil {
						return err
					}
					r.LogLen++
					if err := tx.AdvanceRun(r); err != nil {
						return err
					}
				}
				return nil
			})
		}
		stop.Store(true)
		all.Wait()
		equal(t, "length", runBySeq(t, s, 2).LogLen, 50)
	})
}

// A view can't write. What tries to fails, and nothing has changed.
func TestViewCannotWrite(t *testing.T) {
	writes := map[string]func(engine.Tx) error{
		"insert message":    func(tx engine.Tx) error { return tx.InsertMessages([]*engine.Message{message(2)}) },
		"insert settlement": func(tx engine.Tx) error { return tx.InsertSettlements([]*engine.Settlement{{Seq: 2}}) },
		"insert tenant":     func(tx engine.Tx) error { return tx.InsertTenant(tenant("t")) },
		"insert token":      func(tx engine.Tx) error { return tx.InsertToken(token(1, "t")) },
		"touch token":       func(tx engine.Tx) error { return tx.TouchTokens([]engine.TokenUse{{Hash: []byte("h"), At: 1}}) },
		"insert audit":      func(tx engine.Tx) error { return tx.InsertAudit(auditEntry(2)) },
		"purge audit":       func(tx engine.Tx) error { _, err := tx.PurgeAudit(engine.Millis(maxInt), 9); return err },
		"insert run":        func(tx engine.Tx) error { return tx.InsertRun(run(2, "wfr_2")) },
		"insert log":        func(tx engine.Tx) error { return tx.InsertLog(&engine.LogEntry{Run: 1, Index: 9}) },
		"set log message":   func(tx engine.Tx) error { return tx.SetLogMessage(&engine.LogEntry{Run: 1}) },
		"insert DLQ entry":  func(tx engine.Tx) error { return tx.InsertDLQ(&engine.DLQEntry{Seq: 2}) },
		"put deduplication": func(tx engine.Tx) error { return tx.PutDeduplication(1, []byte("h"), engine.Key{Seq: 1}, 1, 2) },
		"update run":        func(tx engine.Tx) error { return tx.UpdateRun(fullRun(1)) },
		"advance run":       func(tx engine.Tx) error { return tx.AdvanceRun(fullRun(1)) },
		"delete DLQ entry":  func(tx engine.Tx) error { return tx.DeleteDLQ(1) },
		"purge DLQ":         func(tx engine.Tx) error { _, err := tx.PurgeDLQ(engine.Millis(maxInt), 9); return err },
		"trim DLQ":          func(tx engine.Tx) error { _, err := tx.TrimDLQ(1, 1, 9); return err },
		"purge dedups":      func(tx engine.Tx) error { _, err := tx.PurgeDeduplications(maxInt, 9); return err },
		"delete messages":   func(tx engine.Tx) error { return tx.DeleteMessages([]int64{1}) },
		"delete runs":       func(tx engine.Tx) error { return tx.DeleteRuns([]int64{1}) },
		"insert segments":   func(tx engine.Tx) error { _, err := tx.InsertSegments(nil, 0, 1); return err },
		"put marks":         func(tx engine.Tx) error { return tx.PutMarks(segment(1, 1, 9), []int64{7}) },
		"delete segment":    func(tx engine.Tx) error { _, err := tx.DeleteSegment(segment(1, 1, 9), 9); return err },
		"settle": func(tx engine.Tx) error {
			_, err := tx.SettleMessages([]engine.Transition{{Seq: 1, From: engine.Pending, To: engine.Failed}})
			return err
		},
	}
	forEachStore(t, func(t *testing.T, s engine.Store) {
		d := &engine.DLQEntry{Seq: 1, Tenant: 1}
		insertMessages(t, s, message(1))
		insertRuns(t, s, run(1, "wfr_1"))
		update(t, s, func(tx engine.Tx) error { return tx.InsertDLQ(d) })
		for name, write := range writes {
			if err := s.View(context.Background(), write); err == nil {
				t.Errorf("%s: done in a view", name)
			}
		}
		equal(t, "messages", messages(t, s, 1, 2), []*engine.Message{message(1)})
		equal(t, "run", runBySeq(t, s, 1), run(1, "wfr_1"))
		equal(t, "last key", read(t, s, engine.Tx.LastSeq), 1)
		equal(t, "tenants", read(t, s, engine.Tx.Tenants), nil)
		equal(t, "DLQ entry", read(t, s, lockDLQEntry(1, 1)), d)
		// And the connections are as good as before.
		insertMessages(t, s, message(2))
	})
}

// A view's error is fn's, and a panic in it is the caller's own; neither keeps
// the next views from working, however many there were.
func TestViewsThatEndBadly(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		insertMessages(t, s, message(1))
		for range 40 {
			err := s.View(context.Background(), func(tx engine.Tx) error {
				_, err := tx.Messages([]int64{1})
				return errors.Join(err, errTest)
			})
			if !errors.Is(err, errTest) {
				t.Fatalf("got error %v, want fn's own", err)
			}
			func() {
				defer func() {
					if recover() != "oh" {
						t.Error("the panic did not come out")
					}
				}()
				err := s.View(context.Background(), func(engine.Tx) error { panic("oh") })
				t.Errorf("the view returned %v", err)
			}()
		}
		equal(t, "messages", messages(t, s, 1), []*engine.Message{message(1)})
	})
}

// What is decided under a Lock verb is decided from the state that is there:
// of 64 at once no one's increment is lost.
func TestNoUpdateIsLost(t *testing.T) {
	const many, times = 64, 3
	counters := map[string]struct {
		add   func(engine.Tx) error
		count func(engine.Tx) (int, error)
	}{
		"LockRun": {
			add: func(tx engine.Tx) error {
				r, err := tx.LockRun(1)
				if err != nil {
					return err
				}
				r.LogLen++
				return tx.AdvanceRun(r)
			},
			count: func(tx engine.Tx) (int, error) {
				r, err := tx.Run(1)
				return r.LogLen, err
			},
		},
		// As a step is appended: the place in the log is decided under the lock.
		"LockActiveRun": {
			add: func(tx engine.Tx) error {
				r, err := tx.LockActiveRun(1, "wfr_2")
				if err != nil {
					return err
				}
				if err := tx.InsertLog(&engine.LogEntry{Run: r.Seq, Index: r.LogLen}); err != nil {
					return err
				}
				r.LogLen++
				return tx.UpdateRun(r)
			},
			count: func(tx engine.Tx) (int, error) {
				log, err := tx.Log(2, 0, many*times)
				return len(log), err
			},
		},
		"LockMessage": {
			add: func(tx engine.Tx) error {
				m, err := tx.LockMessage(1)
				if err != nil {
					return err
				}
				missed, err := tx.SettleMessages([]engine.Transition{{
					Seq: 1, From: engine.Pending, Attempt: m.Retried, To: engine.Pending, Retried: m.Retried + 1,
				}})
				if len(missed) > 0 {
					err = errors.New("a locked message was changed by somebody else")
				}
				return err
			},
			count: func(tx engine.Tx) (int, error) {
				m, err := tx.LockMessage(1)
				return m.Retried, err
			},
		},
		"LockTenant": {
			add: func(tx engine.Tx) error {
				n, err := tx.LockTenant(1)
				if err != nil {
					return err
				}
				count, err := strconv.Atoi(n.CurrentKey)
				if err != nil {
					return err
				}
				n.CurrentKey = strconv.Itoa(count + 1)
				return tx.UpdateTenant(n)
			},
			count: func(tx engine.Tx) (int, error) {
				n, err := tx.LockTenant(1)
				if err != nil {
					return 0, err
				}
				return strconv.Atoi(n.CurrentKey)
			},
		},
	}
	for name, c := range counters {
		t.Run(name, func(t *testing.T) {
			forEachStore(t, func(t *testing.T, s engine.Store) {
				insertMessages(t, s, message(1))
				insertRuns(t, s, run(1, "wfr_1"), run(2, "wfr_2"))
				insertTenants(t, s, &engine.Tenant{CurrentKey: "0"})
				var all sync.WaitGroup
				for range many {
					all.Go(func() {
						for range times {
							if err := s.Update(context.Background(), c.add); err != nil {
								t.Error(err)
							}
						}
					})
				}
				all.Wait()
				equal(t, "count", read(t, s, c.count), many*times)
			})
		})
	}
}

// Transactions that lock in opposite orders may be made to wait, and to run
// again, but both are done in the end.
func TestOppositeLockOrders(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		insertRuns(t, s, run(1, "wfr_1"), run(2, "wfr_2"))
		// Each has its first lock before either asks for its second, if they can.
		var first sync.WaitGroup
		first.Add(2)
		meet := make(chan struct{})
		go func() { first.Wait(); close(meet) }()
		var all sync.WaitGroup
		for _, order := range [][]int64{{1, 2}, {2, 1}} {
			all.Go(func() {
				var once sync.Once
				err := s.Update(context.Background(), func(tx engine.Tx) error {
					for _, seq := range order {
						r, err := tx.LockRun(seq)
						if err != nil {
							return err
						}
						r.LogLen++
						if err := tx.AdvanceRun(r); err != nil {
							return err
						}
						once.Do(first.Done)
						select {
						case <-meet:
						case <-time.After(100 * time.Millisecond): // one writer at a time: they can't
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		equal(t, "lengths", []int{runBySeq(t, s, 1).LogLen, runBySeq(t, s, 2).LogLen}, []int{2, 2})
	})
}

// A caller that has given up is not served.
func TestContextIsDone(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for range 20 { // never, not just mostly
			err := s.Update(ctx, func(tx engine.Tx) error { return tx.InsertMessages([]*engine.Message{message(1)}) })
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("update: got %v, want the context's error", err)
			}
		}
		err := s.View(ctx, func(tx engine.Tx) error { _, err := tx.Messages([]int64{1}); return err })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("view: got %v, want the context's error", err)
		}
		equal(t, "messages", messages(t, s, 1), nil)
	})
}

// One that gives up while its update is on the way is told what came of it:
// nil is on disk, an error is not.
func TestContextEndsDuringUpdate(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		for seq := range int64(10) {
			ctx, cancel := context.WithCancel(context.Background())
			err := s.Update(ctx, func(tx engine.Tx) error {
				err := tx.InsertMessages([]*engine.Message{message(seq + 1)})
				cancel()
				return err
			})
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("got error %v", err)
			}
			equal(t, "is there", len(messages(t, s, seq+1)) == 1, err == nil)
		}
	})
}

// A store that is closed says so, does nothing, and may be closed again.
func TestClosedStore(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		insertMessages(t, s, message(1))
		for range 2 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			ran := false
			note := func(engine.Tx) error { ran = true; return nil }
			if err := s.View(context.Background(), note); err == nil {
				t.Error("view: no error")
			}
			if err := s.Update(context.Background(), note); err == nil {
				t.Error("update: no error")
			}
			if ran {
				t.Error("fn was run")
			}
		}
	})
}

// Close during updates: each is either done, or answered with an error and not
// done.
func TestCloseDuringUpdates(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, o opener) {
		s := open(t, o)
		const many = 16
		var acknowledged sync.Map
		var started, all sync.WaitGroup
		started.Add(many)
		for worker := range int64(many) {
			all.Go(func() {
				for seq := worker + 1; ; seq += many {
					err := s.Update(context.Background(), func(tx engine.Tx) error {
						return tx.InsertMessages([]*engine.Message{message(seq)})
					})
					if seq <= many {
						started.Done()
					}
					if err != nil {
						return
					}
					acknowledged.Store(seq, true)
				}
			})
		}
		started.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		for _, m := range read(t, open(t, o), func(tx engine.Tx) ([]*engine.Message, error) {
			return allMessages(tx)
		}) {
			if _, ok := acknowledged.LoadAndDelete(m.Seq); !ok {
				t.Errorf("message %d is there, but its update failed", m.Seq)
			}
		}
		acknowledged.Range(func(seq, _ any) bool {
			t.Errorf("message %d was acknowledged and is gone", seq)
			return true
		})
	})
}

// What was committed is there when the store is opened again, in every table.
func TestReopenedStoreHasEverything(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, o opener) {
		s := open(t, o)
		m, r, e := fullMessage(), fullRun(2), fullLogEntry(2, 0)
		a, d, n := fullSettlement(3, m.Seq), fullDLQEntry(4), tenant("t")
		hash, tok, au := []byte("hash"), token(1, "t"), auditEntry(5)
		update(t, s, func(tx engine.Tx) error {
			return errors.Join(
				tx.InsertMessages([]*engine.Message{m}), tx.InsertRun(r), tx.InsertLog(e), tx.InsertSettlements([]*engine.Settlement{a}),
				tx.InsertDLQ(d), tx.InsertTenant(n), tx.InsertToken(tok), tx.InsertAudit(au), tx.PutDeduplication(1, hash, m.Key, 1, 2),
			)
		})
		for range 2 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, o)
			equal(t, "message", messages(t, s, m.Seq), []*engine.Message{m})
			equal(t, "run", runBySeq(t, s, 2), r)
			equal(t, "log", logOf(t, s, 2, 0, 0), []*engine.LogEntry{e})
			equal(t, "settlement", settlementsOf(t, s, m.Seq), []*engine.Settlement{a})
			equal(t, "DLQ entry", read(t, s, lockDLQEntry(1, 4)), d)
			equal(t, "tenants", read(t, s, engine.Tx.Tenants), []*engine.Tenant{n})
			equal(t, "token", tokenByHash(t, s, tok.Hash), tok)
			equal(t, "audit", audit(t, s), []*engine.AuditEntry{au})
			equal(t, "deduplication", deduplication(t, s, 1, hash, 1), m.Key)
		}
	})
}

// batch is updates of a SQLite store that wait for the writer together, and so
// are committed together.
type batch struct {
	runs []int // how often each ran
	errs []error
}

// runBatch holds the writer until all of them wait.
func runBatch(t *testing.T, s engine.Store, updates []func(engine.Tx) error) *batch {
	b := &batch{runs: make([]int, len(updates)), errs: make([]error, len(updates))}
	var all sync.WaitGroup
	hold := make(chan struct{})
	all.Go(func() {
		if err := s.Update(context.Background(), func(engine.Tx) error { <-hold; return nil }); err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	for i, fn := range updates {
		all.Go(func() {
			b.errs[i] = s.Update(context.Background(), func(tx engine.Tx) error { b.runs[i]++; return fn(tx) })
		})
		synctest.Wait() // they queue in order
	}
	close(hold)
	all.Wait()
	return b
}

// inBubble runs a case on a SQLite store in memory. That the bubble ends
// proves that Close ends every goroutine of the store.
func inBubble(t *testing.T, fn func(t *testing.T, s engine.Store)) {
	synctest.Test(t, func(t *testing.T) {
		fn(t, open(t, kinds[1].fresh(t)))
	})
}

func writing(seq int64, err error) func(engine.Tx) error {
	return func(tx engine.Tx) error {
		if err := tx.InsertMessages([]*engine.Message{message(seq)}); err != nil {
			return err
		}
		return err
	}
}

// Those who share a commit share nothing else: each has its own answer, and
// the failures of some are not seen by others.
func TestBatchWithFailures(t *testing.T) {
	refused := func(tx engine.Tx) error {
		_, err := tx.Messages([]int64{1})
		return errors.Join(err, errTest)
	}
	panics := func(tx engine.Tx) error { writing(99, nil)(tx); panic("oh") }
	inBubble(t, func(t *testing.T, s engine.Store) {
		b := runBatch(t, s, []func(engine.Tx) error{
			writing(1, nil), refused, writing(2, errTest), writing(3, nil), panics, writing(3, nil), writing(4, errTest), writing(5, nil),
		})
		for i, want := range []bool{true, false, false, true, false, false, false, true} {
			if ok := b.errs[i] == nil; ok != want {
				t.Errorf("update %d: error %v, want success: %t", i, b.errs[i], want)
			}
		}
		all := read(t, s, func(tx engine.Tx) ([]*engine.Message, error) {
			return allMessages(tx)
		})
		equal(t, "messages", all, []*engine.Message{message(1), message(3), message(5)})
		equal(t, "runs of each", b.runs, []int{2, 2, 1, 2, 1, 1, 1, 1})
	})
}

// A refusal before anything is written costs the others nothing.
func TestBatchWithRefusals(t *testing.T) {
	inBubble(t, func(t *testing.T, s engine.Store) {
		refused := func(engine.Tx) error { return errTest }
		b := runBatch(t, s, []func(engine.Tx) error{refused, writing(1, nil), refused, writing(2, nil)})
		equal(t, "runs of each", b.runs, []int{1, 1, 1, 1})
		equal(t, "messages", messages(t, s, 1, 2), []*engine.Message{message(1), message(2)})
		for i, want := range []error{errTest, nil, errTest, nil} {
			if b.errs[i] != want {
				t.Errorf("update %d: error %v, want %v", i, b.errs[i], want)
			}
		}
	})
}

// Whoever makes updates fail on purpose makes others run twice at most.
func TestBatchFullOfFailures(t *testing.T) {
	inBubble(t, func(t *testing.T, s engine.Store) {
		var updates []func(engine.Tx) error
		for seq := range int64(120) {
			err := errTest
			if seq%3 == 0 {
				err = nil
			}
			updates = append(updates, writing(seq+1, err))
		}
		b := runBatch(t, s, updates)
		for i := range updates {
			if ok := b.errs[i] == nil; ok != (i%3 == 0) || b.runs[i] > 2 {
				t.Errorf("update %d: error %v after %d runs", i, b.errs[i], b.runs[i])
			}
			equal(t, "is there", len(messages(t, s, int64(i)+1)) == 1, i%3 == 0)
		}
	})
}

// Close lets a view that is under way end; meanwhile no other is begun.
func TestCloseWaitsForViews(t *testing.T) {
	inBubble(t, func(t *testing.T, s engine.Store) {
		insertMessages(t, s, message(1))
		proceed, closed := make(chan struct{}), make(chan error, 1)
		var all sync.WaitGroup
		all.Go(func() {
			err := s.View(context.Background(), func(tx engine.Tx) error {
				<-proceed
				rows, err := tx.Messages([]int64{1})
				equal(t, "messages", rows, []*engine.Message{message(1)})
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		go func() { closed <- s.Close() }()
		synctest.Wait()
		select {
		case err := <-closed:
			t.Errorf("closed (%v) under a view", err)
		default:
		}
		close(proceed)
		all.Wait()
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// allMessages reads all there are.
func allMessages(tx engine.Tx) ([]*engine.Message, error) {
	rows, _, err := tx.ScanMessages(engine.Page{To: maxInt, Limit: 1 << 30})
	if err != nil {
		return nil, err
	}
	seqs := make([]int64, len(rows))
	for i, m := range rows {
		seqs[i] = m.Seq
	}
	return tx.Messages(seqs)
}
