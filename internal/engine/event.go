package engine

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
	hasResponse bool
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
}

func (f *EventFilter) matches(ev *Event) bool {
	return anyOf(f.States, ev.State) && (f.From == 0 || ev.At >= f.From) && (f.To == 0 || ev.At <= f.To) &&
		f.Message.matches(ev.Message)
}

// scanMost is how many rows one listing reads before it answers what it has,
// with a cursor to go on.
const scanMost = 20_000

// Events lists at most count events a filter selects, newest first unless
// oldest is set. Events are ordered by when they were written down: the ACTIVE
// of an attempt stands beside its outcome. next is the cursor of the page
// after; "" at the end.
func (e *Engine) Events(ctx context.Context, who *Caller, f EventFilter, oldest bool, cursor string, count int) (page []Event, next string, err error) {
	f.Message.within = who.Token.URLPrefix
	err = e.store.View(ctx, func(tx Tx) error {
		if len(f.Message.IDs) > 0 {
			page, next, err = e.eventsOf(tx, who, f, oldest, cursor, count)
		} else {
			page, next, err = e.scanEvents(tx, who, f, oldest, cursor, count)
		}
		return err
	})
	return page, next, err
}

// eventsOf lists the events of named messages.
func (e *Engine) eventsOf(tx Tx, who *Caller, f EventFilter, oldest bool, cursor string, count int) (page []Event, next string, err error) {
	skip := 0
	if cursor != "" {
		if skip, err = strconv.Atoi(cursor); err != nil || skip < 0 {
			return nil, "", errorf(Invalid, "cursor: %q is not one this server gave", cursor)
		}
	}
	var all []Event
	for _, id := range f.Message.IDs {
		m, err := findMessage(tx, who, id)
		if err != nil {
			return nil, "", err
		}
		if m == nil {
			continue
		}
		settlements, err := tx.SettlementsOf(m.Seq)
		if err != nil {
			return nil, "", err
		}
		all = append(all, createdEvent(m))
		for _, s := range settlements {
			all = append(all, settlementEvents(m, s)...)
		}
		if at := e.queue.startedAt(m.Seq); at != 0 && !m.State.Ended() {
			all = append(all, Event{State: EventActive, At: at, Message: m})
		}
	}
	all = slices.DeleteFunc(all, func(ev Event) bool { return !f.matches(&ev) })
	slices.SortStableFunc(all, func(a, b Event) int { return int(a.At - b.At) })
	if !oldest {
		slices.Reverse(all)
	}
	all = all[min(skip, len(all)):]
	if len(all) > count {
		return all[:count], strconv.Itoa(skip + count), nil
	}
	return all, "", nil
}

// scanEvents walks the messages and the settlements of a tenant together, in
// the order of their keys.
func (e *Engine) scanEvents(tx Tx, who *Caller, f EventFilter, oldest bool, cursor string, count int) (page []Event, next string, err error) {
	p := Page{To: maxSeq, Newest: !oldest, Limit: scanStep}
	skip := 0
	if cursor != "" {
		var seq int64
		if _, err := fmt.Sscanf(cursor, "%d-%d", &seq, &skip); err != nil || skip < 0 {
			return nil, "", errorf(Invalid, "cursor: %q is not one this server gave", cursor)
		}
		p.start(seq)
	}
	// A row's events are never later than its key, and never earlier than the
	// longest attempt before it.
	if f.From != 0 {
		p.From = max(p.From, FirstSeq(f.From))
	}
	if f.To != 0 {
		longest := max(e.limits.MaxTimeout, e.limitsOf(who.Tenant).MaxTimeout)
		p.To = min(p.To, FirstSeq(min(f.To, Millis(maxSeq))+longest.Milliseconds()+60_000))
	}
	if !oldest && cursor == "" {
		page, err = e.activeEvents(tx, who, f, count)
		if err != nil {
			return nil, "", err
		}
	}
	s := eventScan{tx: tx, tenant: who.Tenant, messages: p, settlements: p}
	for scanned := 0; ; scanned++ {
		seq, events, err := s.next(!oldest)
		if err != nil || seq == 0 {
			return page, "", err
		}
		for i, ev := range events {
			if scanned == 0 && i < skip || !f.matches(&ev) {
				continue
			}
			if len(page) == count || scanned > scanMost {
				return page, fmt.Sprintf("%d-%d", seq, i), nil
			}
			page = append(page, ev)
		}
		if scanned > scanMost {
			return page, fmt.Sprintf("%d-%d", seq, len(events)), nil
		}
	}
}

// activeEvents are the attempts under way.
func (e *Engine) activeEvents(tx Tx, who *Caller, f EventFilter, count int) ([]Event, error) {
	started := map[int64]int64{}
	var seqs []int64
	e.queue.mu.Lock()
	for seq, q := range e.queue.known {
		if q.started != 0 && q.of.tenant == who.ID && len(seqs) < count {
			seqs = append(seqs, seq)
			started[seq] = q.started
		}
	}
	e.queue.mu.Unlock()
	rows, err := tx.Messages(seqs)
	if err != nil {
		return nil, err
	}
	var out []Event
	for _, m := range rows {
		ev := Event{State: EventActive, At: started[m.Seq], Message: m}
		if m.Tenant == who.ID && !m.State.Ended() && f.matches(&ev) {
			out = append(out, ev)
		}
	}
	slices.SortFunc(out, func(a, b Event) int { return int(b.At - a.At) })
	return out, nil
}

// eventScan merges two lists ordered by key.
type eventScan struct {
	tx                    Tx
	tenant                *Tenant
	messages, settlements Page
	m                     []*Message
	s                     []*Settlement
	mEnd, sEnd            bool
	of                    map[int64]*Message // messages of the settlements read
}

// next is the events of the next row; seq 0 at the end.
func (es *eventScan) next(newest bool) (seq int64, events []Event, err error) {
	if err := es.fill(); err != nil {
		return 0, nil, err
	}
	switch {
	case len(es.m) == 0 && len(es.s) == 0:
		return 0, nil, nil
	case len(es.s) == 0 || len(es.m) > 0 && (es.m[0].Seq > es.s[0].Seq) == newest:
		m := es.m[0]
		es.m = es.m[1:]
		if err := fillBody(es.tx, m); err != nil {
			return 0, nil, err
		}
		return m.Seq, []Event{createdEvent(m)}, nil
	}
	s := es.s[0]
	es.s = es.s[1:]
	if m := es.of[s.Message]; m != nil {
		events = settlementEvents(m, s)
	}
	if newest {
		slices.Reverse(events)
	}
	return s.Seq, events, nil
}

func (es *eventScan) fill() (err error) {
	if len(es.m) == 0 && !es.mEnd {
		if es.m, err = es.tx.ListMessages(es.tenant.ID, es.messages); err != nil {
			return err
		}
		if es.mEnd = len(es.m) < es.messages.Limit; len(es.m) > 0 {
			es.messages.after(es.m[len(es.m)-1].Seq)
		}
	}
	if len(es.s) > 0 || es.sEnd {
		return nil
	}
	if es.s, err = es.tx.ListSettlements(es.tenant.ID, es.settlements); err != nil {
		return err
	}
	if es.sEnd = len(es.s) < es.settlements.Limit; len(es.s) == 0 {
		return nil
	}
	es.settlements.after(es.s[len(es.s)-1].Seq)
	seqs := make([]int64, 0, len(es.s))
	for _, s := range es.s {
		seqs = append(seqs, s.Message)
	}
	slices.Sort(seqs)
	rows, err := es.tx.Messages(slices.Compact(seqs))
	if err != nil {
		return err
	}
	es.of = make(map[int64]*Message, len(rows))
	for _, m := range rows {
		if err := fillBody(es.tx, m); err != nil {
			return err
		}
		es.of[m.Seq] = m
	}
	return nil
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
