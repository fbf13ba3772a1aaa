package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

func fullStep() wire.Step {
	out, sleep, until, timeout := oddText, wire.Seconds(1.5), wire.Seconds(1.7e9), wire.Seconds(60)
	return wire.Step{
		StepID: 7, StepName: oddText, StepType: wire.StepWait, WaitEventID: oddText, Out: &out, SleepFor: &sleep, SleepUntil: &until,
		CallURL: "https://call.example", CallMethod: "PATCH", CallBody: oddText, CallHeaders: http.Header{"X-A": {"a", oddText}},
		Timeout: &timeout, WaitTimeout: true, NotifyEventID: oddText, EventData: json.RawMessage(`{"a":1}`), Concurrent: 3, TargetStep: 4,
	}
}

func fullWait(seq int64) *engine.Wait {
	return &engine.Wait{
		Seq: seq, Tenant: 1, Run: maxInt - 1, StepID: 7, Kind: engine.WaitWebhook, Deadline: maxInt - 2, Done: maxInt - 3,
		Child: maxInt - 4, URL: "https://app.example/" + oddText, Header: oddHeader(),
		Settings: engine.WaitSettings{
			Limited: true,
			Event:   oddText, Timeout: "1d10h", TimeoutURL: "https://late.example", TimeoutHeader: oddHeader(), Step: fullStep(),
			Redact: wire.Redact{Body: true, Headers: true, Names: []string{"X-" + oddText}},
		},
	}
}

// waitOf is a step of a run of tenant 1 that waits for an event.
func waitOf(seq, run int64, stepID int, event string) *engine.Wait {
	return &engine.Wait{
		Seq: seq, Tenant: 1, Run: run, StepID: stepID, Kind: engine.WaitEvent, URL: "https://app.example/wf",
		Settings: engine.WaitSettings{Event: event, Step: wire.Step{StepID: stepID, StepName: "s", StepType: wire.StepWait, Concurrent: 1}},
	}
}

func insertWaits(t testing.TB, s engine.Store, waits ...*engine.Wait) {
	t.Helper()
	update(t, s, func(tx engine.Tx) error {
		for _, w := range waits {
			if err := tx.InsertWait(w); err != nil {
				return err
			}
		}
		return nil
	})
}

func waitBySeq(t testing.TB, s engine.Store, seq int64) *engine.Wait {
	t.Helper()
	return read(t, s, func(tx engine.Tx) (*engine.Wait, error) { return tx.Wait(seq) })
}

// A wait reads back as it was written, by any of the ways to find it.
func TestWaitRoundTrip(t *testing.T) {
	everyFieldSet(t, fullWait(1))
	forEachStore(t, func(t *testing.T, s engine.Store) {
		full, plain := fullWait(maxInt), waitOf(1, 2, 3, "e")
		zero := &engine.Wait{Seq: 2, Settings: engine.WaitSettings{Step: wire.Step{Concurrent: 1}}}
		insertWaits(t, s, full, plain, zero)
		for _, want := range []*engine.Wait{full, plain, zero} {
			equal(t, "by key", waitBySeq(t, s, want.Seq), want)
			equal(t, "by step", read(t, s, func(tx engine.Tx) (*engine.Wait, error) { return tx.WaitOfStep(want.Run, want.StepID) }), want)
			equal(t, "of the run", read(t, s, func(tx engine.Tx) ([]*engine.Wait, error) { return tx.WaitsOfRun(want.Run) }), []*engine.Wait{want})
		}
		child := func(seq int64) []*engine.Wait {
			return read(t, s, func(tx engine.Tx) ([]*engine.Wait, error) { return tx.WaitsOfChild(seq) })
		}
		equal(t, "by child", child(full.Child), []*engine.Wait{full})
		equal(t, "by no child", child(0), nil)
		equal(t, "absent", waitBySeq(t, s, 99), nil)
		equal(t, "absent, by step", read(t, s, func(tx engine.Tx) (*engine.Wait, error) { return tx.WaitOfStep(2, 4) }), nil)
	})
}

// A step of a run waits once.
func TestStepWaitsOnce(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		insertWaits(t, s, waitOf(1, 2, 3, "e"), waitOf(2, 3, 3, "e"))
		err := s.Update(context.Background(), func(tx engine.Tx) error { return tx.InsertWait(waitOf(3, 2, 3, "other")) })
		if err == nil {
			t.Error("a second wait of the step was accepted")
		}
	})
}

// Who waits for an event is found by its run, or all of them in the order in
// which they began; not those that wait no longer, nor those of another tenant,
// kind or event.
func TestWhoWaits(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		other, webhook, done := waitOf(5, 12, 1, "e"), waitOf(6, 13, 1, "e"), waitOf(7, 14, 1, "e")
		other.Tenant, webhook.Kind, done.Done = 2, engine.WaitWebhook, 99
		late, first := waitOf(9, 10, 2, "e"), waitOf(1, 10, 4, "e")
		second, odd := waitOf(2, 11, 1, "e"), waitOf(8, 15, 1, oddText)
		insertWaits(t, s, late, other, webhook, done, second, first, odd, waitOf(10, 10, 1, "e2"))

		all := func(tenant int64, kind engine.WaitKind, event string, after int64, limit int) []*engine.Wait {
			return read(t, s, func(tx engine.Tx) ([]*engine.Wait, error) { return tx.AllWaiting(tenant, kind, event, after, limit) })
		}
		equal(t, "all", all(1, engine.WaitEvent, "e", 0, 9), []*engine.Wait{first, second, late})
		equal(t, "behind one", all(1, engine.WaitEvent, "e", 1, 9), []*engine.Wait{second, late})
		equal(t, "limited", all(1, engine.WaitEvent, "e", 0, 2), []*engine.Wait{first, second})
		equal(t, "another tenant's", all(2, engine.WaitEvent, "e", 0, 9), []*engine.Wait{other})
		equal(t, "another kind", all(1, engine.WaitWebhook, "e", 0, 9), []*engine.Wait{webhook})
		equal(t, "another event", all(1, engine.WaitEvent, oddText, 0, 9), []*engine.Wait{odd})
		equal(t, "an event nobody waits for", all(1, engine.WaitEvent, "E", 0, 9), nil)

		of := func(run int64, kind engine.WaitKind, event string) *engine.Wait {
			return read(t, s, func(tx engine.Tx) (*engine.Wait, error) { return tx.RunWaiting(run, kind, event) })
		}
		equal(t, "of a run, by the step", of(10, engine.WaitEvent, "e"), late)
		equal(t, "of a run, another kind", of(10, engine.WaitWebhook, "e"), nil)
		equal(t, "of a run that waits no longer", of(14, engine.WaitEvent, "e"), nil)

		update(t, s, func(tx engine.Tx) error { return tx.EndWait(late.Seq, 77) })
		late.Done = 77
		equal(t, "ended", waitBySeq(t, s, late.Seq), late)
		equal(t, "of a run, when one has ended", of(10, engine.WaitEvent, "e"), first)
		update(t, s, func(tx engine.Tx) error { return tx.EndWaitsOfRun(10) })
		equal(t, "ended stays ended", waitBySeq(t, s, late.Seq), late)
		if got := waitBySeq(t, s, first.Seq); !got.Dropped() {
			t.Errorf("after the run's end: %+v", got)
		}
		equal(t, "all, after the run's end", all(1, engine.WaitEvent, "e", 0, 9), []*engine.Wait{second})
		if err := s.Update(context.Background(), func(tx engine.Tx) error { return tx.EndWait(99, 1) }); err == nil {
			t.Error("no error for a wait that is not there")
		}
	})
}

// Only runs that may be resumed are to be told of a run in another's place.
func TestMoveWaits(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		const child, next, other = 5, 6, 7
		failed, left, ended := run(11, "failed"), run(12, "left"), run(13, "ended")
		failed.DLQ, left.DLQ = 21, 22
		insertRuns(t, s, failed, left, ended)
		update(t, s, func(tx engine.Tx) error {
			return tx.InsertDLQ(&engine.DLQEntry{Seq: 21, Tenant: 1, Message: 1, Run: failed.Seq})
		})
		var waits []*engine.Wait
		for i, of := range []struct{ run, child, want int64 }{
			{failed.Seq, child, next}, {failed.Seq, other, other}, {left.Seq, child, child}, {ended.Seq, child, child}, {failed.Seq, 0, 0},
		} {
			w := waitOf(int64(i+30), of.run, i, "")
			w.Kind, w.Child, w.Done = engine.WaitRun, of.child, 9
			insertWaits(t, s, w)
			w.Child = of.want
			waits = append(waits, w)
		}
		update(t, s, func(tx engine.Tx) error { return tx.MoveWaits(child, next) })
		update(t, s, func(tx engine.Tx) error { return tx.MoveWaits(99, next) })
		for _, w := range waits {
			equal(t, fmt.Sprint("wait ", w.Seq), waitBySeq(t, s, w.Seq), w)
		}
	})
}

// Deadlines are those of all who still wait until a time, soonest first.
func TestNextDeadlines(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		for i, deadline := range []int64{300, 0, 100, 200, 50} {
			w := waitOf(int64(i+1), int64(i+1), 1, fmt.Sprint("e", i))
			if w.Deadline = deadline; deadline == 50 {
				w.Done = 9
			}
			w.Tenant = int64(i)
			insertWaits(t, s, w)
		}
		next := func(limit int) []engine.Due {
			return read(t, s, func(tx engine.Tx) ([]engine.Due, error) { return tx.NextDeadlines(limit) })
		}
		equal(t, "all", next(9), []engine.Due{{At: 100, Seq: 3}, {At: 200, Seq: 4}, {At: 300, Seq: 1}})
		equal(t, "first", next(1), []engine.Due{{At: 100, Seq: 3}})
	})
}

func fullNote(seq int64) *engine.Note {
	return &engine.Note{
		Seq: seq, Tenant: 1, Run: maxInt, Kind: engine.WaitWebhook, Event: oddText, Prefix: "https://app.example", Body: allBytes(),
	}
}

func note(seq, run int64, event string) *engine.Note {
	return &engine.Note{Seq: seq, Tenant: 1, Run: run, Kind: engine.WaitEvent, Event: event, Body: fmt.Append(nil, "body ", seq)}
}

func insertNotes(t testing.TB, s engine.Store, notes ...*engine.Note) {
	t.Helper()
	update(t, s, func(tx engine.Tx) error {
		for _, n := range notes {
			if err := tx.InsertNote(n); err != nil {
				return err
			}
		}
		return nil
	})
}

// Events that are kept come back as they were, in the order in which they came.
func TestNotes(t *testing.T) {
	everyFieldSet(t, fullNote(1))
	forEachStore(t, func(t *testing.T, s engine.Store) {
		next := func(tenant, run int64, kind engine.WaitKind, event string, after int64) *engine.Note {
			return read(t, s, func(tx engine.Tx) (*engine.Note, error) { return tx.NextNote(tenant, run, kind, event, after) })
		}
		full, empty, large := fullNote(maxInt), note(9, 8, "empty"), note(10, 8, "large")
		empty.Body, large.Body = []byte{}, largeBody()
		second, first := note(2, 7, "e"), note(1, 7, "e")
		everyone, theirs := note(5, 0, "e"), note(4, 0, "e")
		theirs.Tenant = 2
		insertNotes(t, s, full, empty, large, second, first, everyone, theirs, note(3, 7, "other"))
		empty.Body = nil

		equal(t, "full", next(1, full.Run, full.Kind, full.Event, 0), full)
		equal(t, "empty", next(1, 8, engine.WaitEvent, "empty", 0), empty)
		equal(t, "large", next(1, 8, engine.WaitEvent, "large", 0), large)
		equal(t, "first", next(1, 7, engine.WaitEvent, "e", 0), first)
		equal(t, "behind it", next(1, 7, engine.WaitEvent, "e", 1), second)
		equal(t, "behind the last", next(1, 7, engine.WaitEvent, "e", 2), nil)
		equal(t, "another kind", next(1, 7, engine.WaitWebhook, "e", 0), nil)
		equal(t, "another tenant", next(2, 7, engine.WaitEvent, "e", 0), nil)
		equal(t, "for all", next(1, 0, engine.WaitEvent, "e", 0), everyone)
		equal(t, "for all of another tenant", next(2, 0, engine.WaitEvent, "e", 0), theirs)
		broadcasts := read(t, s, engine.Tx.Broadcasts)
		equal(t, "for all, of all tenants", keySet(broadcasts), map[int64]bool{4: true, 5: true})

		countOf := func(run int64, kind engine.WaitKind) [2]int64 {
			return read(t, s, func(tx engine.Tx) (out [2]int64, err error) {
				n, size, err := tx.CountNotes(run, kind)
				return [2]int64{int64(n), size}, err
			})
		}
		count := func(run int64) [2]int64 { return countOf(run, engine.WaitEvent) }
		equal(t, "of another kind", countOf(7, engine.WaitWebhook), [2]int64{})
		equal(t, "count and bytes", count(7), [2]int64{3, 18})
		equal(t, "large", count(8), [2]int64{2, int64(len(large.Body))})
		equal(t, "of a run without", count(99), [2]int64{})

		update(t, s, func(tx engine.Tx) error { return tx.MoveNotes(full.Run, 6) })
		full.Run = 6
		equal(t, "moved", next(1, 6, full.Kind, full.Event, 0), full)
		equal(t, "where it was", count(maxInt), [2]int64{})

		update(t, s, func(tx engine.Tx) error { return tx.DeleteNote(1) })
		update(t, s, func(tx engine.Tx) error { return tx.DeleteNote(1) })
		equal(t, "first, when one is gone", next(1, 7, engine.WaitEvent, "e", 0), second)
		update(t, s, func(tx engine.Tx) error { return tx.DeleteNotesOfRun(7) })
		equal(t, "after the run", count(7), [2]int64{})
		equal(t, "of other runs", count(8)[0], 2)
	})
}

func keySet(notes []*engine.Note) map[int64]bool {
	out := map[int64]bool{}
	for _, n := range notes {
		out[n.Seq] = true
	}
	return out
}

// A run's webhooks are known by their events.
func TestWebhooks(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		put := func(tx engine.Tx) error { return tx.PutWebhook(7, "evt_1") }
		update(t, s, put)
		update(t, s, put)
		for _, test := range []struct {
			run   int64
			event string
			want  bool
		}{{7, "evt_1", true}, {7, "evt_2", false}, {8, "evt_1", false}, {7, "evt_1\x00", false}, {7, "", false}} {
			got := read(t, s, func(tx engine.Tx) (bool, error) { return tx.HasWebhook(test.run, test.event) })
			equal(t, fmt.Sprintf("%d %q", test.run, test.event), got, test.want)
		}
		update(t, s, func(tx engine.Tx) error { return tx.CopyWebhooks(7, maxInt) })
		for _, run := range []int64{7, maxInt} {
			equal(t, "copied", read(t, s, func(tx engine.Tx) (bool, error) { return tx.HasWebhook(run, "evt_1") }), true)
		}
	})
}

// When a run is purged, nothing of its waits is left.
func TestWaitsGoWithTheirRuns(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		insertRuns(t, s, run(1, "wfr_1"), run(2, "wfr_2"))
		insertWaits(t, s, waitOf(3, 1, 1, "e"), waitOf(4, 2, 1, "e"))
		insertNotes(t, s, note(5, 1, "e"))
		update(t, s, func(tx engine.Tx) error { return tx.PutWebhook(1, "evt_1") })
		update(t, s, func(tx engine.Tx) error { return tx.DeleteRuns([]int64{1}) })
		equal(t, "wait", waitBySeq(t, s, 3), nil)
		equal(t, "webhook", read(t, s, func(tx engine.Tx) (bool, error) { return tx.HasWebhook(1, "evt_1") }), false)
		equal(t, "event", read(t, s, func(tx engine.Tx) (*engine.Note, error) { return tx.NextNote(1, 1, engine.WaitEvent, "e", 0) }), nil)
		equal(t, "another run's wait", waitBySeq(t, s, 4), waitOf(4, 2, 1, "e"))
	})
}
