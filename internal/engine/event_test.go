package engine_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

const (
	asked    = engine.EventCancelRequested
	canceled = engine.EventCanceled
)

// cancelDuring cancels a message while its first attempt is under way.
func cancelDuring(w *world, o engine.Outcome) func(engine.Attempt) engine.Outcome {
	return func(a engine.Attempt) engine.Outcome {
		time.Sleep(time.Second)
		if _, err := w.engine.CancelMessage(context.Background(), w.caller, a.Header.Get(wire.HeaderMessageID)); err != nil {
			w.t.Error(err)
		}
		return o
	}
}

// failTimes answers so many attempts with a status, and the others well.
func failTimes(n, code int) func(engine.Attempt) engine.Outcome {
	return func(engine.Attempt) engine.Outcome {
		if n--; n >= 0 {
			return engine.Outcome{Status: code}
		}
		return engine.Outcome{Status: 200}
	}
}

// Every way through the life of a message has exactly these events, in this
// order; newest first it is the same backwards, and each message has one last.
func TestEventsOfEveryPath(t *testing.T) {
	tests := []struct {
		name   string
		answer func(w *world) func(engine.Attempt) engine.Outcome
		config wire.Config
		cancel bool // an hour later
		want   []engine.EventState
	}{
		{"delivered", func(*world) func(engine.Attempt) engine.Outcome { return ok }, wire.Config{}, false,
			[]engine.EventState{created, active, delivered}},
		{"delivered at last", func(*world) func(engine.Attempt) engine.Outcome { return failTimes(2, 503) }, wire.Config{}, false,
			[]engine.EventState{created, active, failing, retry, active, failing, retry, active, delivered}},
		{"failed without retries", func(*world) func(engine.Attempt) engine.Outcome { return status(404) }, wire.Config{Retries: new(0)}, false,
			[]engine.EventState{created, active, failing, failed}},
		{"failed after a retry", func(*world) func(engine.Attempt) engine.Outcome { return status(500) }, wire.Config{Retries: new(1)}, false,
			[]engine.EventState{created, active, failing, retry, active, failing, failed}},
		{"not to be retried", func(*world) func(engine.Attempt) engine.Outcome { return status(489, wire.HeaderNonRetryable, "true") }, wire.Config{}, false,
			[]engine.EventState{created, active, failing, failed}},
		{"not reached", func(*world) func(engine.Attempt) engine.Outcome {
			return func(engine.Attempt) engine.Outcome { return engine.Outcome{Error: "refused"} }
		}, wire.Config{Retries: new(0)}, false,
			[]engine.EventState{created, active, failing, failed}},
		{"cancelled before its time", func(*world) func(engine.Attempt) engine.Outcome { return ok }, wire.Config{Delay: 4 * time.Hour}, true,
			[]engine.EventState{created, asked, canceled}},
		{"cancelled between attempts", func(*world) func(engine.Attempt) engine.Outcome { return status(500, "Retry-After", "7200") }, wire.Config{}, true,
			[]engine.EventState{created, active, failing, retry, asked, canceled}},
		{"cancelled during an attempt that fails", func(w *world) func(engine.Attempt) engine.Outcome {
			return cancelDuring(w, engine.Outcome{Status: 500})
		}, wire.Config{}, false,
			[]engine.EventState{created, active, asked, failing, canceled}},
		{"cancelled during an attempt that succeeds", func(w *world) func(engine.Attempt) engine.Outcome {
			return cancelDuring(w, engine.Outcome{Status: 200})
		}, wire.Config{}, false,
			[]engine.EventState{created, active, asked, delivered}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.respond(tt.answer(w))
				id := w.publish(engine.Publish{Config: tt.config})
				time.Sleep(time.Hour)
				if tt.cancel {
					if _, err := w.engine.CancelMessage(context.Background(), w.caller, id); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(6 * time.Hour)
				w.expectStates(id, tt.want...)
				for _, f := range []engine.EventFilter{{}, {Message: engine.MessageFilter{IDs: []string{id}}}} {
					var forward, backward []string
					for _, ev := range w.allEvents(f) {
						forward = append(forward, fmt.Sprint(ev.State, ev.At))
					}
					newest, _, err := w.engine.Events(context.Background(), w.caller, f, false, "", 1000)
					if err != nil {
						t.Fatal(err)
					}
					for _, ev := range newest {
						backward = append(backward, fmt.Sprint(ev.State, ev.At))
					}
					if slices.Reverse(backward); !slices.Equal(forward, backward) || len(forward) != len(tt.want) {
						t.Errorf("%v, backwards %v", forward, backward)
					}
				}
			})
		})
	}
}

// A callback has events of its own, and is found by its own URL.
func TestEventsOfCallbacks(t *testing.T) {
	inBubble(t, func(w *world) {
		w.publish(engine.Publish{Config: wire.Config{Callback: &wire.Callback{URL: "https://back.example/done"}}})
		time.Sleep(time.Second)
		var got []engine.EventState
		for _, ev := range w.allEvents(engine.EventFilter{Message: engine.MessageFilter{Hosts: []string{"back.example"}}}) {
			got = append(got, ev.State)
		}
		if want := []engine.EventState{created, active, delivered}; !slices.Equal(got, want) {
			t.Errorf("events of the callback %v, want %v", got, want)
		}
		if all := w.allEvents(engine.EventFilter{}); len(all) != 6 {
			t.Errorf("%d events of both", len(all))
		}
	})
}

// Attempts under way are the newest events, in either order, each once and
// whatever the size of the pages; IN_PROGRESS selects them.
func TestEventsOfAttemptsUnderWay(t *testing.T) {
	inBubble(t, func(w *world) {
		release := make(chan struct{})
		w.respond(func(engine.Attempt) engine.Outcome {
			<-release
			return engine.Outcome{Status: 200}
		})
		var want []string
		for i := range 5 {
			id := w.publish(engine.Publish{Destination: fmt.Sprint("https://example.com/", i)})
			want = append(want, "ACTIVE "+id)
			time.Sleep(time.Second)
		}
		inProgress, err := engine.ParseEventStates([]string{"IN_PROGRESS"})
		if err != nil {
			t.Fatal(err)
		}
		for count := 1; count <= 6; count++ {
			for _, oldest := range []bool{true, false} {
				var got []string
				for cursor := ""; ; {
					page, next, err := w.engine.Events(context.Background(), w.caller, engine.EventFilter{States: inProgress}, oldest, cursor, count)
					if err != nil {
						t.Fatal(err)
					}
					for _, ev := range page {
						got = append(got, fmt.Sprint(ev.State, " ", ev.Message))
					}
					if cursor = next; next == "" || len(got) > 100 {
						break
					}
				}
				if !oldest {
					slices.Reverse(got)
				}
				if !slices.Equal(got, want) {
					t.Errorf("pages of %d, oldest first %t: %v, want %v", count, oldest, got, want)
				}
			}
		}
		close(release)
		time.Sleep(time.Second)
		if got := w.allEvents(engine.EventFilter{States: inProgress}); len(got) != 5 {
			t.Errorf("%d events of attempts that have ended, want 5", len(got))
		}
	})
}
