package engine_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/budget"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// Few large lists are made and sent at a time. Others wait for a while, and small
// ones do not.
func TestT15LargeListsTakeTurns(t *testing.T) {
	inBubble(t, func(w *world) {
		start := func(id string, size int) {
			_, err := w.engine.Publish(context.Background(), w.caller, []engine.Publish{{
				Destination: workflowURL, Body: make([]byte, size),
				Config: wire.Config{Method: "POST", Delay: time.Hour, Workflow: wire.Workflow{Init: true, RunID: id, URL: workflowURL, CallType: wire.CallStep}},
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
		start("small", 1)
		for range 9 {
			start("", 2<<20)
		}
		list := func(f engine.RunFilter) (*engine.Reading, int, error) {
			ctx, reading := w.engine.Reading(context.Background())
			page, _, err := w.engine.Runs(ctx, w.caller, f, "", 100)
			return reading, len(page), err
		}
		var held []*engine.Reading
		for range 3 {
			reading, n, err := list(engine.RunFilter{})
			if err != nil || n != 5 || !reading.Large() {
				t.Fatalf("a page of %d runs, %v", n, err)
			}
			held = append(held, reading)
		}
		if _, _, err := list(engine.RunFilter{}); engine.ErrorCode(err) != engine.Unavailable {
			t.Errorf("a list beside three that are being sent: %v", err)
		}
		if _, _, err := w.engine.Events(context.Background(), w.caller, engine.EventFilter{}, false, "", 100); engine.ErrorCode(err) != engine.Unavailable {
			t.Errorf("a list of events: %v", err)
		}
		if reading, n, err := list(engine.RunFilter{IDs: []string{"small"}}); err != nil || n != 1 || reading.Large() {
			t.Errorf("a small list has %d runs, %v", n, err)
		}
		time.AfterFunc(time.Second, held[0].Release)
		reading, n, err := list(engine.RunFilter{})
		if err != nil || n != 5 {
			t.Errorf("once another was sent, a page of %d runs, %v", n, err)
		}
		for _, r := range append(held[1:], reading) {
			r.Release()
		}
		for range 5 { // which nobody sends
			if page, _, err := w.engine.Runs(context.Background(), w.caller, engine.RunFilter{}, "", 100); err != nil || len(page) != 5 {
				t.Errorf("a page of %d runs, %v", len(page), err)
			}
		}
	})
}

// largeRun starts a run, and is its first message.
func (w *world) largeRun(id string, size int) string {
	w.t.Helper()
	return w.publish(engine.Publish{Destination: workflowURL, Body: make([]byte, size), Config: wire.Config{
		Delay: time.Hour, Workflow: wire.Workflow{Init: true, RunID: id, URL: workflowURL, CallType: wire.CallStep}}})
}

// unread makes as many large answers that nobody takes.
func (w *world) unread(answers int) (held []*engine.Reading) {
	w.t.Helper()
	id := w.largeRun("", 2<<20)
	for range answers {
		ctx, reading := w.engine.Reading(context.Background())
		if _, err := w.engine.Message(ctx, w.caller, id); err != nil || !reading.Large() {
			w.t.Fatalf("large: %v, %v", reading.Large(), err)
		}
		held = append(held, reading)
	}
	return held
}

// What is read one by one takes from the same memory as lists. Whoever is to be
// told of an event is not while there is none for the answer.
func TestT15LargeReadsTakeTurns(t *testing.T) {
	inBubble(t, func(w *world) {
		w.respond(status(500))
		w.publish(engine.Publish{Body: make([]byte, 2<<20), Config: wire.Config{Retries: new(0)}})
		time.Sleep(time.Second)
		dead := engine.DLQID(w.dlq()[0].Entry.Seq)
		large, small := w.largeRun("wfr_large", 2<<20), w.largeRun("wfr_small", 1)
		for i := range 40 {
			id := fmt.Sprint("wfr_", i)
			w.delayedRun(id)
			header := waitHeader(id, "Upstash-Forward-X-Long", strings.Repeat("x", 30<<10))
			if err := w.engine.Wait(context.Background(), w.caller, "many", header, waitRequest(1, 1, nil)); err != nil {
				t.Fatal(err)
			}
		}
		daily := scheduled(t, tickURL, "0 0 * * *")
		daily.Body = make([]byte, 2<<20)
		schedule, err := putSchedule(w.engine, w.caller, daily)
		if err != nil {
			t.Fatal(err)
		}
		w.delayedRun("wfr_one")
		w.waits("wfr_one", "one", 1, nil)
		reads := map[string]func() error{
			"schedule":  func() error { _, err := w.engine.Schedule(context.Background(), w.caller, schedule); return err },
			"schedules": func() error { _, err := w.engine.Schedules(context.Background(), w.caller); return err },
			"message":   func() error { _, err := w.engine.Message(context.Background(), w.caller, large); return err },
			"DLQ entry": func() error { _, err := w.engine.DLQEntry(context.Background(), w.caller, dead); return err },
			"DLQ entries": func() error {
				_, _, err := w.engine.DLQ(context.Background(), w.caller, engine.DLQFilter{IDs: []string{dead}}, false, "", 1)
				return err
			},
			"notify": func() error {
				_, err := w.engine.Notify(context.Background(), w.caller, "many", []byte("x"))
				return err
			},
		}
		held := w.unread(3)
		for name, read := range reads {
			if err := read(); engine.ErrorCode(err) != engine.Unavailable {
				t.Errorf("%s beside three that are being sent: %v", name, err)
			}
		}
		if _, err := w.engine.Message(context.Background(), w.caller, small); err != nil {
			t.Errorf("a small message: %v", err)
		}
		if told := w.notify("one", "x"); len(told) != 1 {
			t.Errorf("%d who wait for another event are told", len(told))
		}
		for _, r := range held {
			r.Release()
		}
		if all, err := w.engine.Waiters(context.Background(), w.caller, "many"); err != nil || len(all) != 40 {
			t.Errorf("%d still wait, %v", len(all), err)
		}
		for name, read := range reads {
			if err := read(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A run's log goes out in parts. Where there is memory for large ones these are
// large; else they are small, and only an entry that is large itself waits: for
// longer than those may take who are too slow.
func TestT15RunLogInParts(t *testing.T) {
	inBubble(t, func(w *world) {
		w.largeRun("wfr_1", 200<<10)
		for i := 1; i <= 20; i++ {
			size := 200 << 10
			if i == 10 {
				size = 2 << 20
			}
			out := strings.Repeat("x", size)
			w.append("wfr_1", wire.Step{StepID: i, StepName: "s", StepType: wire.StepRun, Out: &out, Concurrent: 1})
		}
		held := w.unread(3)
		var parts []int
		began, waited, next := time.Now(), time.Duration(0), 0
		ctx, reading := w.engine.Reading(context.Background())
		time.AfterFunc(33*time.Second, held[0].Release)
		err := w.engine.RunLog(ctx, w.caller, "wfr_1", func(part []*engine.LogEntry) error {
			for _, entry := range part {
				if entry.Index != next {
					t.Errorf("entry %d, want %d", entry.Index, next)
				}
				next++
			}
			if large := part[0].Index == 10; large != reading.Large() && next <= 11 {
				t.Errorf("%d entries from %d on, large: %v", len(part), part[0].Index, reading.Large())
			} else if large {
				waited = time.Since(began)
			}
			reading.Release()
			parts = append(parts, len(part))
			return nil
		})
		if err != nil || next != 21 || fmt.Sprint(parts) != "[5 5 10 1]" || waited != 33*time.Second {
			t.Errorf("parts %v, %v; waited for %v", parts, err, waited)
		}
		if log, err := w.runLog("wfr_1"); err != nil || len(log) != 21 {
			t.Errorf("with memory, %d entries, %v", len(log), err)
		}
		held[0] = w.unread(1)[0]
		began = time.Now()
		_, err = w.runLog("wfr_1")
		if took := time.Since(began); engine.ErrorCode(err) != engine.Unavailable || took <= budget.Grace {
			t.Errorf("%v after %v", err, took)
		}
		for _, r := range held {
			r.Release()
		}
		if err := w.engine.RunLog(context.Background(), w.caller, "wfr_1", func([]*engine.LogEntry) error { return io.ErrClosedPipe }); err != io.ErrClosedPipe {
			t.Errorf("nobody takes it: %v", err)
		}
	})
}

// Memory is watched once, however often one asks for it, until it is released.
func TestT15WatchOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		id := w.largeRun("wfr_1", 2<<20)
		ctx, reading := w.engine.Reading(context.Background())
		var gaveUp [4]atomic.Int32
		for i := range 2 {
			if _, err := w.engine.Message(ctx, w.caller, id); err != nil {
				t.Fatal(err)
			}
			others := w.unread(2)
			for j := range 2 {
				reading.Watch(func() { gaveUp[2*i+j].Add(1) })
			}
			if _, err := w.runLog("wfr_1"); engine.ErrorCode(err) != engine.Unavailable {
				t.Errorf("a log beside three that nobody takes: %v", err)
			}
			for _, r := range append(others, reading) {
				r.Release()
			}
		}
		for i := range gaveUp {
			if got, want := gaveUp[i].Load(), int32(1-i%2); got != want {
				t.Errorf("function %d was called %d times, want %d", i, got, want)
			}
		}
	})
}

// Those who wait for an event have headers, and may be very many.
func TestT15ManyWaiters(t *testing.T) {
	inBubble(t, func(w *world) {
		for i := range 40 {
			id := fmt.Sprint("wfr_", i)
			w.delayedRun(id)
			header := waitHeader(id, "Upstash-Forward-X-Long", strings.Repeat("x", 30<<10))
			if err := w.engine.Wait(context.Background(), w.caller, "e", header, waitRequest(1, 1, nil)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 4 {
			ctx, reading := w.engine.Reading(context.Background())
			defer reading.Release()
			all, err := w.engine.Waiters(ctx, w.caller, "e")
			if i < 3 && (err != nil || len(all) != 40) {
				t.Errorf("%d waiters, %v", len(all), err)
			}
			if i == 3 && engine.ErrorCode(err) != engine.Unavailable {
				t.Errorf("a fourth list at the same time: %v", err)
			}
		}
	})
}
