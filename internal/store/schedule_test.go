package store_test

import (
	"net/http"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

// schedule is one that is due at a time, 0: paused.
func schedule(seq, tenant int64, id string, next int64) *engine.Schedule {
	return &engine.Schedule{
		Seq: seq, Tenant: tenant, ID: id, Paused: next == 0, NextAt: next, Destination: "https://a.example/",
		Settings: engine.ScheduleSettings{Cron: "* * * * *"},
	}
}

func insertSchedules(t testing.TB, s engine.Store, all ...*engine.Schedule) {
	t.Helper()
	update(t, s, func(tx engine.Tx) error {
		for _, one := range all {
			if err := tx.InsertSchedule(one); err != nil {
				return err
			}
		}
		return nil
	})
}

func findSchedule(t testing.TB, s engine.Store, tenant int64, id string) *engine.Schedule {
	t.Helper()
	return read(t, s, func(tx engine.Tx) (*engine.Schedule, error) { return tx.LockScheduleNamed(tenant, id) })
}

// A schedule comes back as it was written, and as it was changed; nothing is
// found under another id or another tenant.
func TestScheduleRoundTrip(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		full := &engine.Schedule{
			Seq: maxInt - 1, Tenant: 1, ID: "B-_.1", Paused: true, NextAt: maxInt, LastAt: maxInt - 2, Messages: []int64{maxInt, 1},
			Destination: "https://a.example/?ä=" + "%20", Header: oddHeader(), Body: allBytes(), Token: allBytes(),
			Settings: engine.ScheduleSettings{Cron: "CRON_TZ=Europe/Berlin 0 0 * * *", CallerIP: "::1", Prefix: "https://a.example", Error: oddText},
		}
		everyFieldSet(t, full)
		bare, other := schedule(2, 1, "a", 7), schedule(3, 2, "a", 8)
		insertSchedules(t, s, full, bare, other)
		equal(t, "full", findSchedule(t, s, 1, "B-_.1"), full)
		equal(t, "bare", findSchedule(t, s, 1, "a"), bare)
		equal(t, "of another tenant", findSchedule(t, s, 2, "a"), other)
		for _, id := range []string{"A", "b-_.1", "", "a\x00", "\xff"} {
			equal(t, "schedule "+id, findSchedule(t, s, 1, id), nil)
		}
		lock := func(seq int64) func(engine.Tx) (*engine.Schedule, error) {
			return func(tx engine.Tx) (*engine.Schedule, error) { return tx.LockSchedule(seq) }
		}
		equal(t, "locked", inUpdate(t, s, lock(2)), bare)
		equal(t, "locked, absent", inUpdate(t, s, lock(99)), nil)
		count := func(tenant int64) int {
			return read(t, s, func(tx engine.Tx) (int, error) { return tx.CountSchedules(tenant) })
		}
		equal(t, "count", []int{count(1), count(2), count(3)}, []int{2, 1, 0})
		all := read(t, s, func(tx engine.Tx) ([]*engine.Schedule, error) { return tx.Schedules(2) })
		equal(t, "all", all, []*engine.Schedule{other})
		equal(t, "last key", read(t, s, engine.Tx.LastSeq), full.Seq)

		changed := *bare
		changed.Paused, changed.NextAt, changed.LastAt, changed.Messages = true, 0, 5, []int64{6}
		changed.Destination, changed.Body, changed.Header = "group", []byte("b"), http.Header{"Upstash-Retries": {"1"}}
		changed.Token = []byte("another")
		changed.Settings = engine.ScheduleSettings{Cron: "@daily", Error: "topic group not found"}
		update(t, s, func(tx engine.Tx) error { return tx.UpdateSchedule(&changed) })
		equal(t, "changed", findSchedule(t, s, 1, "a"), &changed)

		advanced := changed
		advanced.NextAt, advanced.LastAt, advanced.Messages = 50, 40, nil
		ignored := advanced
		ignored.Settings, ignored.Body = engine.ScheduleSettings{}, nil
		update(t, s, func(tx engine.Tx) error { return tx.AdvanceSchedule(&ignored) })
		equal(t, "advanced", findSchedule(t, s, 1, "a"), &advanced)
		equal(t, "the other one", findSchedule(t, s, 2, "a"), other)

		update(t, s, func(tx engine.Tx) error { return tx.DeleteSchedule(2) })
		equal(t, "deleted", findSchedule(t, s, 1, "a"), nil)
		for name, fn := range map[string]func(engine.Tx) error{
			"delete":           func(tx engine.Tx) error { return tx.DeleteSchedule(2) },
			"update":           func(tx engine.Tx) error { return tx.UpdateSchedule(bare) },
			"advance":          func(tx engine.Tx) error { return tx.AdvanceSchedule(bare) },
			"insert of an id":  func(tx engine.Tx) error { return tx.InsertSchedule(schedule(9, 2, "a", 1)) },
			"insert of a seq":  func(tx engine.Tx) error { return tx.InsertSchedule(schedule(3, 2, "b", 1)) },
			"an id with a NUL": func(tx engine.Tx) error { return tx.InsertSchedule(schedule(10, 2, "a\x00", 1)) },
		} {
			if s.Update(t.Context(), fn) == nil {
				t.Errorf("%s: no error", name)
			}
		}
	})
}

// What is due first comes first, of whatever tenant; what is paused not at all.
func TestNextSchedules(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		next := func(limit int) []engine.Due {
			return read(t, s, func(tx engine.Tx) ([]engine.Due, error) { return tx.NextSchedules(limit) })
		}
		equal(t, "none", next(10), nil)
		insertSchedules(t, s, schedule(1, 1, "a", 30), schedule(2, 2, "a", 10), schedule(3, 1, "b", 0), schedule(4, 1, "c", 20))
		equal(t, "two", next(2), []engine.Due{{At: 10, Seq: 2}, {At: 20, Seq: 4}})
		equal(t, "all", next(int(maxInt)), []engine.Due{{At: 10, Seq: 2}, {At: 20, Seq: 4}, {At: 30, Seq: 1}})
	})
}

// A token wakes what it has made, once, and what is paused sleeps on.
func TestWakeSchedules(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		all := []*engine.Schedule{
			schedule(1, 1, "a", 30), schedule(2, 1, "b", 40), schedule(3, 1, "paused", 0),
			schedule(4, 1, "another's", 50), schedule(5, 2, "nobody's", 60),
		}
		for _, one := range all[:3] {
			one.Token = []byte("token")
		}
		all[3].Token = []byte("token2")
		insertSchedules(t, s, all...)
		wake := func(token string) int {
			return inUpdate(t, s, func(tx engine.Tx) (int, error) { return tx.WakeSchedules([]byte(token), 20) })
		}
		equal(t, "woken", []int{wake("token"), wake("none"), wake("")}, []int{2, 0, 0})
		due := read(t, s, func(tx engine.Tx) ([]engine.Due, error) { return tx.NextSchedules(10) })
		equal(t, "due", len(due), 4)
		equal(t, "due at", []int64{due[0].At, due[1].At, due[2].At, due[3].At}, []int64{20, 20, 50, 60})
		equal(t, "paused", findSchedule(t, s, 1, "paused"), all[2])
	})
}

// Of messages whose bodies nobody asked for, the states are read alone.
func TestMessageStates(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		a, b := message(1), message(2)
		b.State = engine.Delivered
		insertMessages(t, s, a, b, message(3))
		states := func(seqs ...int64) []engine.MessageState {
			return read(t, s, func(tx engine.Tx) ([]engine.MessageState, error) { return tx.MessageStates(seqs) })
		}
		equal(t, "of none", states(), nil)
		equal(t, "of one that is gone", states(99), nil)
		got := map[engine.MessageState]bool{}
		for _, m := range states(1, 2, 99) {
			got[m] = true
		}
		equal(t, "of two", got, map[engine.MessageState]bool{
			{Key: a.Key, State: engine.Pending}: true, {Key: b.Key, State: engine.Delivered}: true})
	})
}
