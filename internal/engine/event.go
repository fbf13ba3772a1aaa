package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EventState is a point in a message's life, as the log API names it.
type EventState string

const (
	EventCreated         EventState = "CREATED"
	EventActive          EventState = "ACTIVE"
	EventRetry           EventState = "RETRY"
	EventError           EventState = "ERROR"
	EventDelivered       EventState = "DELIVERED"
	EventFailed          EventState = "FAILED"
	EventCancelRequested EventState = "CANCEL_REQUESTED"
	EventCanceled        EventState = "CANCELED"
)

// Event is one line of the log. Events are not stored: they are read off the
// message (CREATED) and its settlements (the rest).
type Event struct {
	State       EventState
	At          int64 // Unix ms
	NextDue     int64 // CREATED of a delayed message, RETRY: when the next attempt starts
	Message     *Message
	Settlement  *Settlement // nil for CREATED, and for the ACTIVE of an attempt under way
	Run         *Run        // nil: not asked for, see EventFilter
	hasResponse bool

	row int64 // its key
	nth int   // of the row's events, in the order of the list
}

// HasResponse says whether the event is about what came back.
func (e *Event) HasResponse() bool { return e.hasResponse }

func createdEvent(m *Message) Event {
	ev := Event{State: EventCreated, At: Millis(m.Seq), Message: m}
	if m.NotBefore > ev.At {
		ev.NextDue = m.NotBefore
	}
	return ev
}

// settlementEvents are the events of one settlement, oldest first.
func settlementEvents(m *Message, s *Settlement) []Event {
	var out []Event
	add := func(state EventState, at int64) *Event {
		out = append(out, Event{State: state, At: at, Message: m, Settlement: s})
		return &out[len(out)-1]
	}
	if s.StartedAt != 0 {
		add(EventActive, s.StartedAt)
	}
	switch s.Result {
	case Pending:
		add(EventError, s.EndedAt).hasResponse = true
		add(EventRetry, s.EndedAt).NextDue = s.NextDue
	case Delivered:
		add(EventDelivered, s.EndedAt).hasResponse = true
	case Failed:
		add(EventError, s.EndedAt).hasResponse = true
		add(EventFailed, s.EndedAt).hasResponse = true
	case Canceling:
		add(EventCancelRequested, s.EndedAt)
	case Canceled:
		if s.StartedAt != 0 {
			add(EventError, s.EndedAt).hasResponse = true
		} else if s.Error == "" {
			add(EventCancelRequested, s.EndedAt)
		}
		add(EventCanceled, s.EndedAt)
	}
	return out
}

// EventFilter selects events; a zero field selects all. From and To are about
// the time of the event.
type EventFilter struct {
	Message  MessageFilter
	States   []EventState
	From, To int64
	Run      *RunFilter // only events of the runs it selects; nil: of all messages
}

func (f *EventFilter) matches(ev *Event) bool {
	return anyOf(f.States, ev.State) && (f.From == 0 || ev.At >= f.From) && (f.To == 0 || ev.At <= f.To) &&
		f.Message.matches(ev.Message)
}

// query is what the rows have that such events are of.
func (f *EventFilter) query(who *Caller) *query {
	q := newQuery(who)
	q.wantMessage(&f.Message)
	states := make([]string, len(f.States))
	for i, s := range f.States {
		states[i] = string(s)
	}
	q.want(markState, states...)
	if f.Run != nil {
		q.want(markOfRun, "true")
	}
	return q
}

// activeSeq stands for the attempts under way, which have no row yet.
const activeSeq = maxSeq - 1

// Events lists at most count events a filter selects, newest first unless
// oldest is set. Events are ordered by when they were written down: the ACTIVE
// of an attempt stands beside its outcome, the one of an attempt under way is
// the newest. Those of named messages are ordered by their times. next is the
// cursor of the page after; "" at the end.
func (e *Engine) Events(ctx context.Context, who *Caller, f EventFilter, oldest bool, cursor string, count int) (page []Event, next string, err error) {
	f.Message.within = who.Token.URLPrefix
	if f.Run != nil {
		run := *f.Run
		run.within = who.Token.URLPrefix
		f.Run = &run
	}
	f.From = max(f.From, unixMillis(time.Now())-e.limits.EventRetention.Milliseconds())
	l := eventList{engine: e, who: who, filter: &f, page: Page{To: maxSeq, Newest: !oldest}, hurry: e.patience()}
	if cursor != "" {
		_, err := fmt.Sscanf(cursor, "%d-%d", &l.first, &l.skip)
		if err != nil || l.first < 0 || l.skip < 0 || cursor != eventCursor(l.first, l.skip) {
			return nil, "", errorf(Invalid, "cursor: %q is not one this server gave", cursor)
		}
		l.page.start(l.first)
	}
	// A row's events are never later than its key, and never earlier than the
	// longest attempt before it.
	l.page.From = max(l.page.From, FirstSeq(f.From))
	if f.To != 0 {
		longest := max(e.limits.MaxTimeout, e.limitsOf(who.Tenant).MaxTimeout)
		l.page.To = min(l.page.To, FirstSeq(min(f.To, Millis(maxSeq))+longest.Milliseconds()+60_000))
	}
	flying := e.queue.started(who.ID)
	known := e.index.state.Load()
	err = e.read(ctx, pagePatience, func(tx Tx, reading *Reading) error {
		l := l // anew each time
		l.tx, l.flying, l.reading = tx, flying, reading
		l.filled, l.runs = map[*Message]bool{}, map[int64]*Run{}
		if page, next, err = l.read(known, count); err != nil || f.Run == nil {
			return err
		}
		for i := range page {
			page[i].Run = l.runs[page[i].Message.Run]
		}
		return nil
	})
	return page, next, err
}

// eventList is one page of events in the making.
type eventList struct {
	engine  *Engine
	who     *Caller
	filter  *EventFilter
	tx      Tx
	reading *Reading
	page    Page
	first   int64 // the row the page begins with, and how many of its events
	skip    int   // were on the page before
	hurry   hurry
	flying  map[int64]int64 // messages with an attempt under way, and when it began
	filled  map[*Message]bool
	runs    map[int64]*Run // that were read
}

func (l *eventList) read(known *indexState, count int) (page []Event, next string, err error) {
	active, err := l.active()
	if err != nil {
		return nil, "", err
	}
	r := listing[Event]{count: count, hurry: l.hurry, take: l.take, bytes: eventBytes, Reading: l.reading}
	if len(l.filter.Message.IDs) > 0 {
		r.rows = func() ([]Event, int64, bool, error) {
			rows, err := l.ofMessages(active)
			return rows, 0, true, err
		}
		return l.cursor(r.read())
	}
	q := l.filter.query(l.who)
	if named := l.filter.Run; named != nil && named.named() {
		if err := l.wantRuns(q, known); err != nil || len(l.runs) == 0 {
			return nil, "", err
		}
	}
	s := l.engine.search(l.tx, l.who, SpaceLog, q, l.page, known)
	began := l.page.Newest && l.first != 0 && l.first != activeSeq // the active ones were on the page before
	r.rows = func() (rows []Event, position int64, end bool, err error) {
		if l.page.Newest && !began {
			began = true
			return active, min(l.page.To, activeSeq) - 1, false, nil
		}
		seqs, position, end, err := s.next(fetchRows)
		if err != nil {
			return nil, 0, false, err
		}
		if rows, err = l.events(seqs); end && !l.page.Newest {
			rows = append(rows, active...)
		}
		return rows, position, end, err
	}
	return l.cursor(r.read())
}

// namedMost is how many runs one id or time may stand for in a list of events.
const namedMost = 1000

// wantRuns narrows the list to the runs that its filter names.
func (l *eventList) wantRuns(q *query, known *indexState) error {
	page := l.filter.Run.page(Page{To: maxSeq, Newest: true})
	runs := newQuery(l.who)
	runs.wantRun(l.filter.Run)
	s := l.engine.search(l.tx, l.who, SpaceRuns, runs, page, known)
	var keys []string
	for end := false; !end && len(keys) < namedMost; {
		var seqs []int64
		var err error
		if seqs, _, end, err = s.next(fetchRows); err != nil {
			return err
		}
		rows, err := l.tx.Runs(seqs)
		if err != nil {
			return err
		}
		for _, run := range rows {
			if l.runs[run.Seq] = run; l.selectsRun(run) {
				keys = append(keys, strconv.FormatInt(run.Seq, 10))
			}
		}
	}
	if len(keys) == 0 {
		clear(l.runs)
	}
	q.want(markRun, keys...)
	return nil
}

func (l *eventList) selectsRun(run *Run) bool {
	return run != nil && run.Tenant == l.who.ID && l.filter.Run.matches(run)
}

// selects says whether the filter selects an event.
func (l *eventList) selects(ev *Event) (bool, error) {
	m := ev.Message
	if m.Tenant != l.who.ID || !l.filter.matches(ev) || l.filter.Run != nil && m.Run == 0 {
		return false, nil
	}
	if l.filter.Run == nil {
		return true, nil
	}
	run, known := l.runs[m.Run]
	if !known {
		var err error
		if run, err = l.tx.Run(m.Run); err != nil {
			return false, err
		}
		l.runs[m.Run] = run
	}
	return l.selectsRun(run), nil
}

// cursor is the page with the cursor of the next.
func (l *eventList) cursor(page []Event, more *Event, position int64, err error) ([]Event, string, error) {
	switch {
	case err != nil:
		return nil, "", err
	case more != nil:
		return page, eventCursor(more.row, more.nth), nil
	case position != 0:
		return page, eventCursor(position, 0), nil
	}
	return page, "", nil
}

// eventCursor is the cursor of an event: its row, and which of the row's it is.
func eventCursor(row int64, nth int) string { return fmt.Sprintf("%d-%d", row, nth) }

// ofMessages are the events of named messages, in the order of their times.
func (l *eventList) ofMessages(active []Event) (all []Event, err error) {
	var seqs []int64
	for _, id := range l.filter.Message.IDs {
		key, ok := ParseMessageID(id)
		if !ok {
			continue
		}
		settlements, err := l.tx.SettlementsOf(key.Seq)
		if err != nil {
			return nil, err
		}
		seqs = append(seqs, key.Seq)
		for _, s := range settlements {
			seqs = append(seqs, s.Seq)
		}
	}
	slices.Sort(seqs)
	newest := l.page.Newest
	l.page.Newest = false
	for some := range slices.Chunk(slices.Compact(seqs), fetchRows) {
		events, err := l.events(some)
		if err != nil {
			return nil, err
		}
		all = append(all, events...)
	}
	if newest {
		slices.Reverse(active)
	}
	all = append(all, active...)
	slices.SortStableFunc(all, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	if newest {
		slices.Reverse(all)
	}
	for i := range all {
		all[i].row, all[i].nth = int64(i+1), 0
	}
	return all[min(max(0, int(l.first)-1), len(all)):], nil
}

// events reads rows, and makes their events.
func (l *eventList) events(seqs []int64) (out []Event, err error) {
	if len(seqs) == 0 {
		return nil, nil
	}
	settlements, err := l.tx.Settlements(seqs)
	if err != nil {
		return nil, err
	}
	wanted := slices.Clone(seqs)
	for _, s := range settlements {
		wanted = append(wanted, s.Message)
	}
	slices.Sort(wanted)
	rows, err := l.tx.Messages(slices.Compact(wanted))
	if err != nil {
		return nil, err
	}
	messages, of := map[int64]*Message{}, map[int64]*Settlement{}
	for _, m := range rows {
		messages[m.Seq] = m
	}
	for _, s := range settlements {
		of[s.Seq] = s
	}
	for _, seq := range seqs {
		var events []Event
		if s := of[seq]; s == nil && messages[seq] != nil {
			events = []Event{createdEvent(messages[seq])}
		} else if s != nil && messages[s.Message] != nil {
			events = settlementEvents(messages[s.Message], s)
		}
		if l.page.Newest {
			slices.Reverse(events)
		}
		for i := range events {
			events[i].row, events[i].nth = seq, i
		}
		out = append(out, events...)
	}
	return out, nil
}

// take says whether an event is listed, and completes it if it is.
func (l *eventList) take(ev Event) (bool, error) {
	if ev.row == l.first && ev.nth < l.skip {
		return false, nil
	}
	if ok, err := l.selects(&ev); !ok {
		return false, err
	}
	if l.filled[ev.Message] {
		return true, nil
	}
	l.filled[ev.Message] = true
	return true, fillBody(l.tx, ev.Message)
}

func eventBytes(ev Event) int {
	n := len(ev.Message.Body)
	if ev.hasResponse {
		n += len(ev.Settlement.Body)
	}
	return n
}

// active are the attempts under way, in the order of the page.
func (l *eventList) active() (out []Event, err error) {
	if !anyOf(l.filter.States, EventActive) {
		return nil, nil
	}
	seqs := slices.Sorted(maps.Keys(l.flying))
	if ids := l.filter.Message.IDs; len(ids) > 0 {
		seqs = seqs[:0]
		for _, id := range ids {
			if key, ok := ParseMessageID(id); ok && l.flying[key.Seq] != 0 {
				seqs = append(seqs, key.Seq)
			}
		}
	}
	for some := range slices.Chunk(seqs, fetchRows) {
		rows, err := l.tx.Messages(some)
		if err != nil {
			return nil, err
		}
		for _, m := range rows {
			ev := Event{State: EventActive, At: l.flying[m.Seq], Message: m, row: activeSeq}
			if m.State.Ended() {
				continue
			}
			if ok, err := l.selects(&ev); err != nil {
				return nil, err
			} else if !ok {
				continue
			}
			ended, err := l.ended(m)
			if err != nil {
				return nil, err
			}
			if !ended {
				out = append(out, ev)
			}
		}
	}
	slices.SortFunc(out, func(a, b Event) int {
		if l.page.Newest {
			a, b = b, a
		}
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Message.Seq, b.Message.Seq))
	})
	for i := range out {
		out[i].nth = i
	}
	return out, nil
}

// started are a tenant's messages with an attempt under way, and when it began.
func (d *dispatcher) started(tenant int64) map[int64]int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[int64]int64{}
	if b := d.tenants[tenant]; b == nil || b.flying == 0 {
		return out
	}
	for seq, q := range d.known {
		if q.started != 0 && q.of.tenant == tenant {
			out[seq] = q.started
		}
	}
	return out
}

// ended says whether the attempt that was under way has been settled since.
func (l *eventList) ended(m *Message) (bool, error) {
	if m.Retried == 0 {
		return false, nil // it would have ended the message, or be retried
	}
	settlements, err := l.tx.SettlementsOf(m.Seq)
	return slices.ContainsFunc(settlements, func(s *Settlement) bool { return s.StartedAt == l.flying[m.Seq] }), err
}

// ParseEventStates reads state filters: IN_PROGRESS stands for three, and
// CANCELLED is taken for CANCELED.
func ParseEventStates(names []string) ([]EventState, error) {
	var out []EventState
	for _, name := range names {
		switch s := EventState(strings.ToUpper(name)); s {
		case EventCreated, EventActive, EventRetry, EventError, EventDelivered, EventFailed, EventCancelRequested, EventCanceled:
			out = append(out, s)
		case "CANCELLED":
			out = append(out, EventCanceled)
		case "IN_PROGRESS":
			out = append(out, EventActive, EventRetry, EventError)
		default:
			return nil, errorf(Invalid, "state: %q is not one of CREATED, ACTIVE, RETRY, ERROR, DELIVERED, FAILED, CANCEL_REQUESTED, CANCELED, IN_PROGRESS", name)
		}
	}
	return out, nil
}
