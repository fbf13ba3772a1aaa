package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

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
		for _, r := range append(held, reading) {
			r.Release()
		}
		for range 5 { // which nobody sends
			if page, _, err := w.engine.Runs(context.Background(), w.caller, engine.RunFilter{}, "", 100); err != nil || len(page) != 5 {
				t.Errorf("a page of %d runs, %v", len(page), err)
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
