package store_test

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

// waiting is a message of tenant 1 that waits in a lane.
func waiting(seq, lane, due int64) *engine.Message {
	m := message(seq)
	m.State, m.Lane, m.Due = engine.Waiting, lane, due
	return m
}

// Who waits in a lane comes in the order of (due, seq), ties cut by seq; other
// lanes, tenants and states have nothing to do with it.
func TestWaiting(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		other, pending, ended := waiting(90, 5, 10), message(91), message(92)
		other.Tenant = 2
		pending.Lane, ended.Lane, ended.State = 5, 5, engine.Delivered
		retried := waiting(30, 5, 100)
		retried.Retried, retried.Flow = 2, maxInt
		insertMessages(t, s, waiting(10, 5, 300), waiting(20, 5, 100), retried, waiting(40, 5, 200), waiting(50, 6, 1),
			waiting(60, maxInt, 1), other, pending, ended)
		want := []engine.Waiter{
			{Due: engine.Due{At: 100, Seq: 20}}, {Due: engine.Due{At: 100, Seq: 30}, Retried: 2, Flow: maxInt},
			{Due: engine.Due{At: 200, Seq: 40}}, {Due: engine.Due{At: 300, Seq: 10}},
		}
		for n := range len(want) + 2 {
			equal(t, fmt.Sprint("the first ", n), read(t, s, func(tx engine.Tx) ([]engine.Waiter, error) { return tx.Waiting(1, 5, n) }),
				append([]engine.Waiter(nil), want[:min(n, len(want))]...))
		}
		for by, n := range map[int64]int{99: 0, 100: 2, 250: 3, maxInt: 4} {
			equal(t, fmt.Sprint("due by ", by), read(t, s, func(tx engine.Tx) (int, error) { return tx.CountWaiting(1, 5, by) }), n)
		}
		for _, limit := range []int{1, 2, 3, 100} {
			var got []int64
			for after := (engine.Due{}); ; {
				page := read(t, s, func(tx engine.Tx) ([]*engine.Message, error) { return tx.WaitingMessages(1, 5, after, limit) })
				for _, m := range page {
					got = append(got, m.Seq)
					after = engine.Due{At: m.Due, Seq: m.Seq}
				}
				if len(page) < limit {
					break
				}
			}
			equal(t, fmt.Sprintf("rows, %d at a time", limit), got, []int64{20, 30, 40, 10})
		}
		row := read(t, s, func(tx engine.Tx) ([]*engine.Message, error) {
			return tx.WaitingMessages(1, 5, engine.Due{At: 100, Seq: 20}, 1)
		})
		equal(t, "the row", row, []*engine.Message{retried})
		var lanes []int64
		for lane := int64(0); ; {
			lane = read(t, s, func(tx engine.Tx) (int64, error) { return tx.NextLane(1, lane) })
			if lane == 0 {
				break
			}
			lanes = append(lanes, lane)
		}
		equal(t, "lanes", lanes, []int64{5, 6, maxInt})
		equal(t, "lanes of none", read(t, s, func(tx engine.Tx) (int64, error) { return tx.NextLane(3, 0) }), 0)
	})
}

// Waiting is a state like others: what is decided from it must still be so.
// Where a message waits is kept until it waits elsewhere.
func TestSettleWaiting(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		insertMessages(t, s, waiting(10, 5, 100), waiting(20, 5, 100))
		settle := func(changes ...engine.Transition) []int {
			t.Helper()
			return inUpdate(t, s, func(tx engine.Tx) ([]int, error) { return tx.SettleMessages(changes) })
		}
		equal(t, "missed", settle(
			engine.Transition{Seq: 10, From: engine.Waiting, To: engine.Pending, Due: 100},
			engine.Transition{Seq: 20, From: engine.Pending, To: engine.Delivered, Due: 100},
		), []int{1})
		equal(t, "lane of one that is through", messages(t, s, 10)[0].Lane, 5)
		equal(t, "missed", settle(engine.Transition{Seq: 10, From: engine.Pending, To: engine.Waiting, Due: 200, Retried: 1, Lane: maxInt}), nil)
		m := messages(t, s, 10)[0]
		equal(t, "waits once more", []int64{int64(m.State), m.Due, int64(m.Retried), m.Lane}, []int64{int64(engine.Waiting), 200, 1, maxInt})
		equal(t, "due", read(t, s, func(tx engine.Tx) ([]engine.Due, error) { return tx.DueMessages(1, engine.Due{}, 10) }), nil)
		update(t, s, func(tx engine.Tx) error { return tx.SetFlow(10, maxInt-1) })
		equal(t, "flow", messages(t, s, 10)[0].Flow, maxInt-1)
		err := s.Update(t.Context(), func(tx engine.Tx) error { return tx.SetFlow(11, 1) })
		if !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("flow of no message: %v", err)
		}
	})
}

// Slots are of one lane and one message, and go with their queue.
func TestSlots(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		update(t, s, func(tx engine.Tx) error {
			if err := tx.InsertQueue(&engine.Queue{Seq: 5, Tenant: 1, Name: "q"}); err != nil {
				return err
			}
			for _, slot := range [][3]int64{{5, 20, 1}, {5, 10, 2}, {6, 10, maxInt}, {5, 30, 1}, {5, 20, 3}, {5, 30, 0}, {7, 1, 0}} {
				if err := tx.PutSlot(slot[0], slot[1], slot[2]); err != nil {
					return err
				}
			}
			return nil
		})
		slot := func(lane, message int64) int64 {
			t.Helper()
			return read(t, s, func(tx engine.Tx) (int64, error) { return tx.Slot(lane, message) })
		}
		slots := func(lane int64) []int64 {
			t.Helper()
			return read(t, s, func(tx engine.Tx) ([]int64, error) { return tx.Slots(lane) })
		}
		equal(t, "slots", []int64{slot(5, 20), slot(5, 10), slot(6, 10), slot(5, 30), slot(6, 20)}, []int64{3, 2, maxInt, 0, 0})
		equal(t, "of a lane", slots(5), []int64{10, 20})
		update(t, s, func(tx engine.Tx) error { return tx.DeleteQueue(5) })
		equal(t, "of a lane that is gone", slots(5), nil)
		equal(t, "of another", slots(6), []int64{10})
	})
}

// A queue reads back as it was written and is found by its name, that of its
// own tenant.
func TestQueueRoundTrip(t *testing.T) {
	full := &engine.Queue{Seq: maxInt, Tenant: 1, Name: "b.-_Z", Parallelism: 1 << 30, Paused: true, Active: 7, UpdatedAt: maxInt - 1}
	everyFieldSet(t, full)
	forEachStore(t, func(t *testing.T, s engine.Store) {
		full := *full
		zero, other, later := &engine.Queue{Seq: 1, Tenant: 1, Name: "A"}, &engine.Queue{Seq: 2, Tenant: 2, Name: "A"}, &engine.Queue{Seq: 3, Tenant: 1, Name: "a"}
		for _, q := range []*engine.Queue{&full, zero, other, later} {
			update(t, s, func(tx engine.Tx) error { return tx.InsertQueue(q) })
		}
		named := func(tenant int64, name string) *engine.Queue {
			t.Helper()
			return inUpdate(t, s, func(tx engine.Tx) (*engine.Queue, error) { return tx.LockQueueNamed(tenant, name) })
		}
		byKey := func(seq int64) *engine.Queue {
			t.Helper()
			return inUpdate(t, s, func(tx engine.Tx) (*engine.Queue, error) { return tx.LockQueue(seq) })
		}
		equal(t, "full", named(1, "b.-_Z"), &full)
		equal(t, "full by its key", byKey(maxInt), &full)
		equal(t, "zero", named(1, "A"), zero)
		equal(t, "other", named(2, "A"), other)
		equal(t, "none", []*engine.Queue{named(1, "b"), named(3, "A"), named(1, ""), named(1, "A\x00"), named(1, "\xff"), byKey(9)}, make([]*engine.Queue, 6))
		count := func(tenant int64) int {
			t.Helper()
			return read(t, s, func(tx engine.Tx) (int, error) { return tx.CountQueues(tenant) })
		}
		equal(t, "counts", []int{count(1), count(2), count(3)}, []int{3, 1, 0})
		if err := s.Update(t.Context(), func(tx engine.Tx) error { return tx.InsertQueue(&engine.Queue{Seq: 4, Tenant: 1, Name: "A"}) }); err == nil {
			t.Error("two queues of a name")
		}
		for _, q := range []*engine.Queue{zero, &full} {
			q.Parallelism, q.Paused, q.Active, q.UpdatedAt = q.Parallelism+1, !q.Paused, q.Active+1, 5
			update(t, s, func(tx engine.Tx) error { return tx.UpdateQueue(q) })
			equal(t, "updated", byKey(q.Seq), q)
		}
		list := func() (names []string) {
			t.Helper()
			for _, q := range read(t, s, func(tx engine.Tx) ([]*engine.Queue, error) { return tx.Queues(1) }) {
				names = append(names, q.Name)
			}
			return names
		}
		equal(t, "names", slices.Sorted(slices.Values(list())), []string{"A", "a", "b.-_Z"})
		update(t, s, func(tx engine.Tx) error { return tx.DeleteQueue(1) })
		equal(t, "deleted", named(1, "A"), nil)
		equal(t, "other stays", named(2, "A"), other)
		err := s.Update(t.Context(), func(tx engine.Tx) error { return tx.DeleteQueue(1) })
		if !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("deleted twice: %v", err)
		}
	})
}

// A key of flow control reads back as it was written and is found by its text,
// whatever that is.
func TestFlowKeyRoundTrip(t *testing.T) {
	full := &engine.FlowKey{
		Seq: maxInt, Tenant: 1, Key: oddText, Parallelism: 1, Rate: 1 << 30, Period: 604800, RateCount: 2, WindowStart: maxInt - 1,
		Paused: true, PinnedParallelism: true, PinnedRate: true, Active: 3, UsedAt: maxInt - 2,
	}
	everyFieldSet(t, full)
	forEachStore(t, func(t *testing.T, s engine.Store) {
		full := *full
		zero, other := &engine.FlowKey{Seq: 1, Tenant: 1, Key: "k"}, &engine.FlowKey{Seq: 2, Tenant: 2, Key: "k"}
		for _, k := range []*engine.FlowKey{&full, zero, other} {
			update(t, s, func(tx engine.Tx) error { return tx.InsertFlowKey(k) })
		}
		named := func(tenant int64, key string) *engine.FlowKey {
			t.Helper()
			return inUpdate(t, s, func(tx engine.Tx) (*engine.FlowKey, error) { return tx.LockFlowKeyNamed(tenant, key) })
		}
		byKey := func(seq int64) *engine.FlowKey {
			t.Helper()
			return inUpdate(t, s, func(tx engine.Tx) (*engine.FlowKey, error) { return tx.LockFlowKey(seq) })
		}
		equal(t, "full", named(1, oddText), &full)
		equal(t, "full by its key", byKey(maxInt), &full)
		equal(t, "zero", named(1, "k"), zero)
		equal(t, "other", named(2, "k"), other)
		equal(t, "none", []*engine.FlowKey{named(1, "K"), named(3, "k"), named(1, ""), named(1, "\x00"), byKey(9)}, make([]*engine.FlowKey, 5))
		if err := s.Update(t.Context(), func(tx engine.Tx) error { return tx.InsertFlowKey(&engine.FlowKey{Seq: 4, Tenant: 1, Key: "k"}) }); err == nil {
			t.Error("two rows of a key")
		}
		for i, pins := range [][2]bool{{true, false}, {false, true}, {false, false}, {true, true}} {
			k := *zero
			k.Parallelism, k.Rate, k.Period, k.RateCount, k.WindowStart, k.Active, k.UsedAt = i, i+1, 3, i+2, 4, 5, 6
			k.Paused, k.PinnedParallelism, k.PinnedRate = i%2 == 0, pins[0], pins[1]
			update(t, s, func(tx engine.Tx) error { return tx.UpdateFlowKey(&k) })
			equal(t, "updated", byKey(1), &k)
		}
		equal(t, "of a tenant", len(read(t, s, func(tx engine.Tx) ([]*engine.FlowKey, error) { return tx.FlowKeys(1) })), 2)
		equal(t, "of another", read(t, s, func(tx engine.Tx) ([]*engine.FlowKey, error) { return tx.FlowKeys(2) }), []*engine.FlowKey{other})
	})
}

// Keys that are idle for longer than the retention go, the longest first; what
// is in use, or was set by hand, stays.
func TestPurgeFlowKeys(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		keys := map[string]*engine.FlowKey{
			"oldest": {UsedAt: 10}, "old": {UsedAt: 11}, "at the last moment": {UsedAt: 99},
			"young": {UsedAt: 100}, "active": {UsedAt: 1, Active: 1}, "paused": {UsedAt: 1, Paused: true},
			"pinned": {UsedAt: 1, PinnedRate: true}, "waited for": {UsedAt: 1},
		}
		seq := int64(0)
		for name, k := range keys {
			seq++
			k.Seq, k.Tenant, k.Key = seq, 1, name
			update(t, s, func(tx engine.Tx) error { return tx.InsertFlowKey(k) })
		}
		insertMessages(t, s, waiting(1000, keys["waited for"].Seq, maxInt))
		purge := func(limit int) int {
			t.Helper()
			return inUpdate(t, s, func(tx engine.Tx) (int, error) { return tx.PurgeFlowKeys(100, limit) })
		}
		left := func(gone ...string) {
			t.Helper()
			for name, k := range keys {
				here := inUpdate(t, s, func(tx engine.Tx) (*engine.FlowKey, error) { return tx.LockFlowKey(k.Seq) }) != nil
				if here == slices.Contains(gone, name) {
					t.Errorf("%s: is here %t", name, here)
				}
			}
		}
		equal(t, "first", purge(1), 1)
		left("oldest")
		equal(t, "then", purge(10), 2)
		left("oldest", "old", "at the last moment")
		equal(t, "at last", purge(10), 0)
	})
}
