package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/signposthq/signpost/client"
)

// follower reads the log as it grows: every event once.
//
// The log is listed newest first, in the order in which events were written
// down, so whatever is new stands before the newest event of the last reading,
// the mark. Before all of that the server lists the ACTIVE of each attempt that
// is under way. A follower leaves those out: they come again, in their place,
// once the attempt's outcome is written down.
type follower struct {
	client  *client.Client
	request client.EventsRequest // which messages
	states  []client.EventState  // which of their events; none: all
	every   time.Duration        // pause between two readings

	mark *client.Event
	told map[eventKey]bool // by begin, although they are newer than the mark
}

// eventKey tells events apart.
type eventKey struct {
	message string
	state   client.EventState
	time    int64
}

func keyOf(ev *client.Event) eventKey { return eventKey{ev.MessageID, ev.State, ev.Time} }

func (f *follower) wants(ev *client.Event) bool {
	return len(f.states) == 0 || slices.Contains(f.states, ev.State)
}

// latest are the n newest events, oldest of them first, without those under way
// unless that is asked for.
func (f *follower) latest(ctx context.Context, n int, underWay bool) ([]client.Event, error) {
	if n == 0 {
		return nil, nil
	}
	request := f.request
	if underWay || !slices.Contains(f.states, client.EventActive) { // else the first ones could not be told apart
		request.States = f.states
	}
	request.Count = min(n, 1000)
	var out []client.Event
	for ev, err := range f.client.AllEvents(ctx, request) {
		if err != nil {
			return nil, err
		}
		underWay = underWay || ev.State != client.EventActive
		if !underWay || !f.wants(&ev) {
			continue
		}
		if out = append(out, ev); len(out) == n {
			break
		}
	}
	slices.Reverse(out)
	return out, nil
}

// begin sets the mark, and tells the n newest events.
func (f *follower) begin(ctx context.Context, n int, tell func(client.Event) (bool, error)) error {
	for ev, err := range f.client.AllEvents(ctx, f.request) {
		if err != nil {
			return err
		}
		if ev.State != client.EventActive {
			f.mark = &ev
			break
		}
	}
	events, err := f.latest(ctx, n, false)
	if err != nil {
		return err
	}
	f.told = map[eventKey]bool{}
	for _, ev := range events {
		f.told[keyOf(&ev)] = true
		if _, err := tell(ev); err != nil {
			return err
		}
	}
	return nil
}

// follow tells what is new until tell says that it is enough, or ctx is done.
// A server that is away for a while is waited for.
func (f *follower) follow(ctx context.Context, o *outside, tell func(client.Event) (bool, error)) error {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	away := false
	for {
		events, err := f.news(ctx)
		answered := (*client.Error)(nil)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &answered) && answered.Status < 500:
			return err
		case err != nil && !away:
			fmt.Fprintf(o.stderr, "signpost: %s; waiting for the server to come back\n", printable(err.Error()))
		}
		away = err != nil
		for _, ev := range events {
			if more, err := tell(ev); err != nil || !more {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// overlap is more than the longest attempt may take.
const overlap = time.Hour

// news are the events since the last reading, oldest first. After an error the
// next reading starts from the same mark.
func (f *follower) news(ctx context.Context) ([]client.Event, error) {
	request := f.request
	if f.mark != nil { // do not read everything, should the mark itself be deleted one day
		request.Filter.From = time.UnixMilli(f.mark.Time).Add(-overlap)
	}
	var out []client.Event
	mark := f.mark
	for ev, err := range f.client.AllEvents(ctx, request) {
		if err != nil {
			return nil, err
		}
		key := keyOf(&ev)
		if f.mark != nil && key == keyOf(f.mark) {
			break
		}
		if mark == f.mark {
			if ev.State == client.EventActive {
				continue
			}
			mark = &ev
		}
		if f.wants(&ev) && !f.told[key] {
			out = append(out, ev)
		}
	}
	f.mark, f.told = mark, nil
	slices.Reverse(out)
	return out, nil
}
