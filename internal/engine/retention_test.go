package engine_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// within is as inBubble, with limits of its own.
func within(t *testing.T, limits engine.Limits, fn func(*world)) {
	t.Helper()
	inBubble(t, func(w *world) {
		w.stop()
		w.limits = limits
		w.start()
		fn(w)
	})
}

const day = 24 * time.Hour

// allEvents are those of all messages, oldest first, page by page.
func (w *world) allEvents(f engine.EventFilter) (out []engine.Event) {
	w.t.Helper()
	for cursor := ""; ; {
		page, next, err := w.engine.Events(context.Background(), w.caller, f, true, cursor, 100)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, page...)
		if cursor = next; next == "" {
			return out
		}
	}
}

// A message can be read for one time, its events are listed for another, and
// what is in the DLQ stays for a third, with its message.
func TestRetentions(t *testing.T) {
	limits := engine.Limits{MessageRetention: day, EventRetention: 3 * day, DLQRetention: 10 * day}
	within(t, limits, func(w *world) {
		fine := w.publish(engine.Publish{})
		time.Sleep(time.Second)
		w.respond(status(500))
		dead := w.publish(engine.Publish{Config: wire.Config{Retries: new(0)}})
		readable := func(id string) bool {
			_, err := w.engine.Message(context.Background(), w.caller, id)
			return err == nil
		}
		for _, at := range []struct {
			age                          time.Duration
			fine, dead, events, deadLeft bool
		}{
			{12 * time.Hour, true, true, true, true},
			{2 * day, false, true, true, true},
			{4 * day, false, true, false, true},
			{11 * day, false, false, false, false},
		} {
			w.sleepUntil(at.age)
			if got := readable(fine); got != at.fine {
				t.Errorf("after %v: delivered message readable: %t", at.age, got)
			}
			if got := readable(dead); got != at.dead {
				t.Errorf("after %v: message of the DLQ readable: %t", at.age, got)
			}
			if got := len(w.states(fine)) > 0; got != at.events {
				t.Errorf("after %v: its events are listed: %t", at.age, got)
			}
			if got := len(w.allEvents(engine.EventFilter{})) > 0; got != at.events {
				t.Errorf("after %v: events are listed: %t", at.age, got)
			}
			if got := len(w.dlq()) == 1; got != at.deadLeft {
				t.Errorf("after %v: in the DLQ: %t", at.age, got)
			}
		}
		rows := w.count()
		if rows != 0 {
			t.Errorf("%d rows are left in the end", rows)
		}
	})
}

// What is restarted again and again is purged like other runs, and each has its
// payload without those before.
func TestRestartedRunsArePurged(t *testing.T) {
	within(t, engine.Limits{Retention: day, DLQRetention: 2 * day}, func(w *world) {
		w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
		w.trigger("wfr_old", 0)
		time.Sleep(time.Minute)
		run := w.history("wfr_old")
		payload := string(run.Groups[0].Steps[0].Entry.Body)
		for i := range 10 {
			w.sleepUntil(time.Duration(i+1) * day)
			id := w.resume(w.dlqID(run.Run.ID), engine.Resume{Restart: true}).ID
			time.Sleep(time.Minute)
			run = w.history(id)
		}
		w.sleepUntil(12 * day)
		if got := w.history(run.Run.ID).Groups[0].Steps[0].Entry.Body; string(got) != payload || payload == "" {
			t.Errorf("the payload is %q, was %q", got, payload)
		}
		if rows := w.count(); rows > 5 {
			t.Errorf("%d rows are left of runs that were restarted", rows)
		}
	})
}

// A run that goes on with one that has failed, or does it over, has its log and
// history however long it takes: what it has from the old one stays as long as it.
func TestResumedRunOutlivesRetention(t *testing.T) {
	for name, how := range map[string]engine.Resume{"resumed": {}, "restarted": {Restart: true}} {
		t.Run(name, func(t *testing.T) {
			within(t, engine.Limits{Retention: day, DLQRetention: 2 * day}, func(w *world) {
				old, _ := w.halfFailed(wire.StepCall, func() { w.call("wfr_old", "https://third.example/") })
				time.Sleep(2 * time.Minute)
				first := w.resume(engine.DLQID(old.DLQ), how)
				if !how.Restart {
					out := `{"status":200}`
					w.append(first.ID, wire.Step{StepID: 1, StepName: "pay", StepType: wire.StepCall, Concurrent: 2, Out: &out})
				}
				w.sleepUntil(10 * day)
				before := w.history(first.ID)
				if !how.Restart {
					if s := before.Groups[1].Steps[0]; s.Call == nil || s.Call.URL != "https://third.example/" || s.Message == nil {
						t.Errorf("the call is %+v", s)
					}
				}
				w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
				w.append(first.ID, wire.Step{StepID: 1 + first.MaxStep, StepName: "last", StepType: wire.StepRun, Concurrent: 1})
				time.Sleep(time.Minute)
				w.respond(ok)
				second := w.resume(engine.DLQID(w.history(first.ID).Run.DLQ), engine.Resume{})
				w.sleepUntil(20 * day)
				h := w.history(second.ID)
				for i, g := range before.Groups {
					s := h.Groups[i].Steps[0]
					if string(s.Entry.Body) != string(g.Steps[0].Entry.Body) || s.Message == nil || (s.Call == nil) != (g.Steps[0].Call == nil) {
						t.Errorf("step %d is %+v", i, s)
					}
				}
				w.finish(second.ID, "")
				w.sleepUntil(22 * day)
				if rows := w.count(); rows != 0 {
					t.Errorf("%d rows are left in the end", rows)
				}
			})
		})
	}
}

// A run that was resumed again and again has its log, whoever purges meanwhile, as
// long as it needs it. Then all go at once.
func TestChainOfResumedRunsIsPurged(t *testing.T) {
	const resumes = 50
	onEachDatabase(t, func(w *world) {
		w.stop()
		w.limits = engine.Limits{Retention: time.Hour, DLQRetention: 2 * time.Hour}
		w.start()
		w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
		w.trigger("wfr_old", 0)
		time.Sleep(time.Second)
		run := w.history("wfr_old").Run
		for i := range resumes {
			w.respond(ok)
			run = w.resume(engine.DLQID(run.DLQ), engine.Resume{})
			time.Sleep(time.Second)
			w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
			w.append(run.ID, wire.Step{StepID: i + 1, StepName: "s", StepType: wire.StepRun, Concurrent: 1})
			time.Sleep(time.Second)
			if run = w.history(run.ID).Run; run.State != engine.RunFailed {
				w.t.Fatalf("resumed %d times: %+v", i, run)
			}
			time.Sleep(time.Duration(i%5) * 20 * time.Minute)
		}
		w.respond(ok)
		run = w.resume(engine.DLQID(run.DLQ), engine.Resume{})
		time.Sleep(3 * time.Hour)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if steps := w.steps(run.ID); len(steps) != resumes {
					w.t.Errorf("%d steps", len(steps))
				}
			})
			if err := w.engine.Purge(); err != nil {
				w.t.Fatal(err)
			}
		}
		all.Wait()
		w.finish(run.ID, "")
		time.Sleep(time.Hour + time.Second)
		if err := w.engine.Purge(); err != nil {
			w.t.Fatal(err)
		}
		if rows := w.count(); rows != 0 {
			w.t.Errorf("%d rows are left", rows)
		}
	})
}

// What a run had invoked stays as long as the run may be resumed: it is told how
// that ended, or the one that went on with it, and invokes it no second time.
func TestInvokedRunOutlivesRetention(t *testing.T) {
	const result = `{"body":"7","isCanceled":false,"isFailed":false}`
	fail := func(w *world, run string) {
		w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
		w.append(run, wire.Step{StepID: 1, StepName: "last", StepType: wire.StepRun, Concurrent: 1})
		time.Sleep(time.Second)
		w.respond(ok)
	}
	half := func(w *world) {
		w.halfFailed(wire.StepInvoke, func() { w.publish(w.invocation("wfr_old", "wfr_child", 1, concurrent)) })
	}
	for name, do := range map[string]func(w *world){
		"ended": func(w *world) {
			half(w)
			w.finish("wfr_child", "7")
		},
		"failed and resumed": func(w *world) {
			half(w)
			fail(w, "wfr_child")
			w.finish(w.resume(w.dlqID("wfr_child"), engine.Resume{}).ID, "7")
		},
		"failed together, and resumed": func(w *world) {
			w.failedTogether()
			w.finish(w.resume(w.dlqID("wfr_child"), engine.Resume{}).ID, "7")
		},
		"failed together, resumed, failed and restarted": func(w *world) {
			w.failedTogether()
			child := w.resume(w.dlqID("wfr_child"), engine.Resume{})
			time.Sleep(time.Second)
			fail(w, child.ID)
			w.finish(w.resume(w.dlqID(child.ID), engine.Resume{Restart: true}).ID, "7")
		},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, engine.Limits{Retention: day, DLQRetention: 10 * day}, func(w *world) {
				do(w)
				w.sleepUntil(5 * day)
				before := len(w.made())
				run := w.resume(w.dlqID("wfr_old"), engine.Resume{})
				time.Sleep(time.Second)
				steps := slices.DeleteFunc(w.steps(run.ID), func(s wire.Step) bool { return s.TargetStep != 0 })
				if len(steps) != 1 || steps[0].StepType != wire.StepInvoke || *steps[0].Out != result {
					t.Errorf("told %+v", steps)
				}
				for _, a := range w.made()[before:] {
					if a.Kind == engine.KindInit {
						t.Error("the step is asked for again")
					}
				}
				w.finish(run.ID, "")
				w.sleepUntil(12 * day)
				if rows := w.count(); rows != 0 {
					t.Errorf("%d rows are left", rows)
				}
			})
		})
	}
}

// sleepUntil sleeps until so long after the world began.
func (w *world) sleepUntil(age time.Duration) { time.Sleep(time.Until(w.began.Add(age))) }

// count is the number of rows that lists are made of.
func (w *world) count() (n int) {
	w.t.Helper()
	err := w.store.Update(context.Background(), func(tx engine.Tx) error {
		page := engine.Page{To: int64(^uint64(0) >> 1), Limit: 1 << 20}
		messages, _, err := tx.ScanMessages(page)
		if err != nil {
			return err
		}
		settlements, _, err := tx.ScanSettlements(page)
		if err != nil {
			return err
		}
		entries, _, err := tx.ScanDLQ(page)
		if err != nil {
			return err
		}
		segments, err := tx.SegmentsAfter(new(engine.Segment), 1<<20)
		runs, _, err2 := tx.ScanRuns(page)
		if err2 != nil {
			return err2
		}
		n = len(messages) + len(settlements) + len(entries) + len(runs) + len(segments)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// When the DLQ holds more than it may, the oldest go.
func TestDLQIsTrimmed(t *testing.T) {
	within(t, engine.Limits{MaxDLQ: 3}, func(w *world) {
		w.respond(status(500))
		var ids []string
		for range 7 {
			ids = append(ids, w.publish(engine.Publish{Config: wire.Config{Retries: new(0)}}))
			time.Sleep(time.Second)
		}
		time.Sleep(15 * time.Minute)
		var left []string
		for _, d := range w.dlq() {
			left = append(left, d.Message.String())
		}
		if !slices.Equal(left, ids[4:]) {
			t.Errorf("left %v of %v", left, ids)
		}
	})
}

// The index goes with the rows it finds, in steps, and a purge between two pages
// loses nothing that is left.
func TestPurgeWithIndex(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		w.segment, w.limits = 10, engine.Limits{Retention: day}
		w.start()
		for range 30 {
			w.publish(engine.Publish{})
			time.Sleep(time.Second)
		}
		time.Sleep(12 * time.Hour)
		for range 30 {
			w.publish(engine.Publish{Destination: "https://young.example/", Config: wire.Config{Labels: []string{"young"}}})
			time.Sleep(time.Second)
		}
		if n := w.count(); n < 120+8 {
			t.Fatalf("%d rows, want those of 60 messages and some segments", n)
		}
		f := engine.EventFilter{Message: engine.MessageFilter{Labels: []string{"young"}}}
		page, next, err := w.engine.Events(context.Background(), w.caller, f, false, "", 50)
		if err != nil || len(page) != 50 || next == "" {
			t.Fatal(len(page), next, err)
		}
		w.sleepUntil(26 * time.Hour)
		rest, next, err := w.engine.Events(context.Background(), w.caller, f, false, next, 50)
		if err != nil || len(rest) != 40 || next != "" {
			t.Errorf("after the purge %d events are left for the second page, then %q, %v", len(rest), next, err)
		}
		if n := w.count(); n >= 60+8 {
			t.Errorf("%d rows are left of 30 messages", n)
		}
		time.Sleep(2 * day)
		if n := w.count(); n != 0 {
			t.Errorf("%d rows are left in the end", n)
		}
	})
}

// What a former process has written, or a version that had no index, is found
// like everything else.
func TestIndexIsMadeAnew(t *testing.T) {
	inBubble(t, func(w *world) {
		var want []string
		for i := range 40 {
			id := w.publish(engine.Publish{Config: wire.Config{Labels: []string{fmt.Sprint("n", i%4)}}})
			if i%4 == 1 {
				want = append(want, id)
			}
		}
		time.Sleep(time.Second)
		for _, segment := range []int{7, 1000, 1} {
			w.stop()
			w.segment = segment
			w.start()
			time.Sleep(time.Second)
			var got []string
			for _, ev := range w.allEvents(engine.EventFilter{States: []engine.EventState{created}, Message: engine.MessageFilter{Labels: []string{"n1"}}}) {
				got = append(got, ev.Message.String())
			}
			if !slices.Equal(got, want) {
				t.Errorf("segments of %d: %v, want %v", segment, got, want)
			}
		}
	})
}

// A store that fails while segments are written loses no row and shows none
// twice; they are written the next time.
func TestIndexOfAFailingStore(t *testing.T) {
	for _, after := range []bool{false, true} {
		inBubble(t, func(w *world) {
			w.stop()
			f := &faulty{Store: w.store, after: after}
			w.store, w.segment = f, 5
			w.start()
			f.mu.Lock()
			f.fail = func(call int) bool { return call%3 == 0 }
			f.mu.Unlock()
			published := 0
			for i := range 60 {
				_, err := w.engine.Publish(context.Background(), w.caller, []engine.Publish{{
					Destination: "https://example.com/", Config: wire.Config{Method: "POST", Labels: []string{fmt.Sprint("n", i%2)}},
				}})
				if err == nil || after {
					published++
				}
				time.Sleep(time.Second)
			}
			f.mu.Lock()
			f.fail = func(int) bool { return false }
			f.mu.Unlock()
			w.publish(engine.Publish{Config: wire.Config{Labels: []string{"n0"}}})
			time.Sleep(day / 4)
			all := w.allEvents(engine.EventFilter{States: []engine.EventState{created}})
			if len(all) != published+1 {
				t.Errorf("failing after the commit %t: %d events of %d messages", after, len(all), published+1)
			}
			labels := 0
			for _, label := range []string{"n0", "n1"} {
				labels += len(w.allEvents(engine.EventFilter{States: []engine.EventState{created}, Message: engine.MessageFilter{Labels: []string{label}}}))
			}
			if labels != len(all) {
				t.Errorf("failing after the commit %t: %d of %d are found by their labels", after, labels, len(all))
			}
		})
	}
}
