package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signposthq/signpost/client"
)

type logsCmd struct {
	Follow             bool     `short:"f" help:"Go on with what happens from now."`
	Lines              int      `short:"n" default:"50" placeholder:"N" help:"How many events to begin with (default 50)."`
	MessageID          []string `name:"message-id" placeholder:"ID" help:"Events of one message; may be repeated."`
	State              []string `placeholder:"STATE" complete:"state" help:"Events of a state: CREATED, ACTIVE, RETRY, ERROR, DELIVERED, FAILED, CANCEL_REQUESTED, CANCELED; may be repeated."`
	messageFilterFlags `embed:""`
	JSON               bool `name:"json" help:"Print each event as a line of JSON."`
	remote             `embed:""`
}

func (*logsCmd) Help() string { return `The newest events come last.` }

func (c *logsCmd) Run(ctx context.Context, o *outside) error {
	if c.Lines < 0 {
		return &usageError{fmt.Errorf("--lines: expected 0 or more, got %d", c.Lines), ""}
	}
	states, err := parseStates(c.State)
	if err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	defer cl.CloseIdleConnections()
	request := client.EventsRequest{Filter: c.filter(), MessageIDs: c.MessageID}
	f := &follower{client: cl, request: request, states: states, every: 500 * time.Millisecond}
	write := func(ev client.Event) (bool, error) { return true, writeEvent(o.stdout, &ev, c.JSON) }
	if !c.Follow {
		events, err := f.latest(ctx, c.Lines, true)
		for _, ev := range events {
			if _, err := write(ev); err != nil {
				return err
			}
		}
		return err
	}
	if err := f.begin(ctx, c.Lines, write); err != nil {
		return err
	}
	return f.follow(ctx, o, write)
}

// states are what events can be in.
var states = []client.EventState{
	client.EventCreated, client.EventActive, client.EventRetry, client.EventError, client.EventDelivered,
	client.EventFailed, client.EventCancelRequested, client.EventCanceled,
}

func parseStates(names []string) ([]client.EventState, error) {
	var out []client.EventState
	for _, name := range names {
		s := client.EventState(strings.ToUpper(name))
		if !slices.Contains(states, s) {
			return nil, &usageError{fmt.Errorf("--state: no event has the state %q", name), "states are " + joined(states)}
		}
		out = append(out, s)
	}
	return out, nil
}

func joined[S ~string](list []S) string {
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = string(s)
	}
	return strings.Join(texts, ", ")
}

// writeEvent writes an event as a line for people, or of JSON.
func writeEvent(w io.Writer, ev *client.Event, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(ev)
	}
	_, err := fmt.Fprintln(w, printable(eventLine(ev, terminalWidth(w))))
	return err
}

// leastURL is how much of a URL still says which it is.
const leastURL = 24

// eventLine is an event for people. Where it does not fit into most characters, it
// says less: no year, no method, and of the URL the end. 0: there is no bound.
func eventLine(ev *client.Event, most int) string {
	url, rest := shownURL(ev.URL), ""
	if ev.ResponseStatus != 0 && !strings.HasPrefix(ev.Error, strconv.Itoa(ev.ResponseStatus)) {
		rest += fmt.Sprintf("  %d", ev.ResponseStatus)
	}
	if ev.Error != "" {
		rest += "  " + ev.Error
	}
	line := func(layout, format string, args ...any) string {
		out := time.UnixMilli(ev.Time).Format(layout) + fmt.Sprintf(format, args...) + rest
		if ev.NextDeliveryTime != 0 {
			out += "  next " + time.UnixMilli(ev.NextDeliveryTime).Format(layout)
		}
		return out
	}
	long := line("2006-01-02 15:04:05.000", "  %-16s  %s  %s %s", ev.State, ev.MessageID, ev.Method, url)
	if most == 0 || utf8.RuneCountInString(long) <= most {
		return long
	}
	short := line("01-02 15:04:05", "  %-9s  %s  ", ev.State, ev.MessageID)
	room := max(leastURL, most-utf8.RuneCountInString(short))
	return line("01-02 15:04:05", "  %-9s  %s  %s", ev.State, ev.MessageID, cutFront(url, room))
}

// shownURL is a URL without its query and its user, where secrets are, for
// those who watch. JSON has it all.
func shownURL(raw string) string {
	shown, _, found := strings.Cut(raw, "?")
	if found {
		shown += "?…"
	}
	scheme, rest, ok := strings.Cut(shown, "://")
	host, _, _ := strings.Cut(rest, "/")
	if user := strings.LastIndexByte(host, '@'); ok && user >= 0 {
		shown = scheme + "://…" + rest[user:]
	}
	return shown
}
