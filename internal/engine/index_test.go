package engine_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/internal/wire"
)

// archive is a store full of what has happened, and an engine that lists it but
// does nothing else.
type archive struct {
	engine  *engine.Engine
	store   engine.Store
	callers []*engine.Caller
	start   int64

	messages    []*engine.Message
	settlements []*engine.Settlement
	dlq         []*engine.DLQEntry
	runs        []*engine.Run
}

func newArchive(t *rapid.T, s engine.Store) *archive {
	ctx := context.Background()
	a := &archive{store: s, start: engine.FirstSeq(time.Now().Add(-time.Hour).UnixMilli())}
	e, err := engine.New(ctx, engine.Options{Store: s, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	a.engine = e
	for i := range 2 {
		user := fmt.Sprint("user", i)
		if _, err := e.EnsureTenant(ctx, engine.Credentials{UserID: user, Token: user, CurrentKey: "sig_a" + user, NextKey: "sig_b" + user}); err != nil {
			t.Fatal(err)
		}
		who, err := e.Authenticate(ctx, user)
		if err != nil {
			t.Fatal(err)
		}
		a.callers = append(a.callers, who)
	}
	limited := *a.callers[0]
	token := *limited.Token
	token.URLPrefix = "https://a.example:444/in"
	limited.Token = &token
	a.callers = append(a.callers, &limited)
	return a
}

var (
	someURLs = []string{
		"https://a.example/", "https://a.example", "https://a.example:444/in/x?q=1", "HTTPS://A.example:444/in/x?q=2",
		"http://b.example/with,comma", "http://b.example/with", "https://a.example:444/out",
	}
	someNames  = []string{"one", "two", "three"}
	someStates = []engine.State{engine.Pending, engine.Delivered, engine.Failed, engine.Canceling, engine.Canceled}
)

// optional is one of some values, or none.
func optional(t *rapid.T, label string, values []string) string {
	return rapid.SampledFrom(append([]string{""}, values...)).Draw(t, label)
}

// subset is some of some values; more often none.
func subset[T comparable](t *rapid.T, label string, values []T) []T {
	if rapid.IntRange(0, 3).Draw(t, label+"?") > 0 {
		return nil
	}
	return rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, 2, rapid.ID).Draw(t, label)
}

// fill makes n rows, in the order of their keys.
func (a *archive) fill(t *rapid.T, n int) {
	seq := a.start + int64(len(a.messages)+len(a.settlements)+len(a.dlq)+len(a.runs))*7
	err := a.store.Update(context.Background(), func(tx engine.Tx) error {
		for range n {
			seq += 7
			tenant := a.callers[rapid.IntRange(0, 1).Draw(t, "tenant")].ID
			var err error
			switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
			case kind < 4 || len(a.messages) == 0:
				m := &engine.Message{
					Key: engine.Key{Seq: seq, Rnd: seq}, Tenant: tenant, State: engine.Delivered, Kind: engine.KindPlain, LogIndex: -1, Method: "POST",
					URL: rapid.SampledFrom(someURLs).Draw(t, "url"), CallerIP: optional(t, "caller", someNames),
				}
				m.Settings.Queue, m.Settings.URLGroup = optional(t, "queue", someNames), optional(t, "group", someNames)
				m.Settings.ScheduleID, m.Settings.Labels = optional(t, "schedule", someNames), subset(t, "labels", someNames)
				if key := optional(t, "flow", someNames); key != "" {
					m.Settings.FlowControl = &wire.FlowControl{Key: key}
				}
				a.messages = append(a.messages, m)
				err = tx.InsertMessages([]*engine.Message{m})
			case kind < 8:
				m := rapid.SampledFrom(a.messages).Draw(t, "of")
				s := &engine.Settlement{
					Seq: seq, Tenant: m.Tenant, Message: m.Seq, Result: rapid.SampledFrom(someStates).Draw(t, "result"),
					EndedAt: engine.Millis(seq), Error: optional(t, "error", []string{"refused"}),
				}
				s.StartedAt = rapid.SampledFrom([]int64{0, s.EndedAt}).Draw(t, "started")
				a.settlements = append(a.settlements, s)
				err = tx.InsertSettlements([]*engine.Settlement{s})
			case kind < 9:
				m := rapid.SampledFrom(a.messages).Draw(t, "of")
				d := &engine.DLQEntry{Seq: seq, Tenant: m.Tenant, Message: m.Seq, Status: rapid.SampledFrom([]int{0, 404, 500}).Draw(t, "status")}
				for _, r := range a.runs {
					if r.Tenant == m.Tenant && rapid.Bool().Draw(t, "of a run") {
						d.Run = r.Seq
					}
				}
				a.dlq = append(a.dlq, d)
				err = tx.InsertDLQ(d)
			default:
				r := &engine.Run{
					Seq: seq, Tenant: tenant, ID: fmt.Sprint("wfr_", len(a.runs)/2), CallerIP: optional(t, "caller", someNames),
					URL: rapid.SampledFrom(someURLs).Draw(t, "url"), State: rapid.SampledFrom([]engine.RunState{engine.RunSuccess, engine.RunFailed}).Draw(t, "state"),
				}
				r.Settings.Labels = subset(t, "labels", someNames)
				a.runs = append(a.runs, r)
				err = tx.InsertRun(r)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (a *archive) messageFilter(t *rapid.T) engine.MessageFilter {
	f := engine.MessageFilter{
		URLs: subset(t, "f url", someURLs), Hosts: subset(t, "f host", []string{"a.example", "a.example:444", "b.example", "A.example:444"}),
		Paths: subset(t, "f path", []string{"/", "/in/x", "/with,comma", "/out"}), Labels: subset(t, "f label", someNames),
		CallerIPs: subset(t, "f caller", someNames), Queues: subset(t, "f queue", someNames), URLGroups: subset(t, "f group", someNames),
		Schedules: subset(t, "f schedule", someNames), FlowKeys: subset(t, "f flow", someNames),
	}
	return f
}

// dates are a range of time, open more often than not.
func (a *archive) dates(t *rapid.T) (from, to int64) {
	first := engine.Millis(a.start)
	if rapid.IntRange(0, 3).Draw(t, "dated") > 0 {
		return 0, 0
	}
	return first + rapid.Int64Range(-1, 1).Draw(t, "from"), first + rapid.Int64Range(-1, 1).Draw(t, "to")
}

// pages walks a list to its end, and gives all of it.
func pages(t *rapid.T, list func(cursor string, count int) (lines []string, next string, err error)) (all []string) {
	count := rapid.IntRange(1, 9).Draw(t, "count")
	for cursor, n := "", 0; ; n++ {
		lines, next, err := list(cursor, count)
		if err != nil {
			t.Fatal(err)
		}
		if len(lines) > count {
			t.Fatalf("%d of at most %d", len(lines), count)
		}
		all = append(all, lines...)
		if next == "" {
			return all
		}
		if next == cursor || n > 2000 {
			t.Fatalf("there is no end after %s", next)
		}
		cursor = next
	}
}

// check compares a list with what was made by looking at everything.
func check(t *rapid.T, what string, newest bool, got, want []string) {
	if newest {
		slices.Reverse(want)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s, newest first: %t\n got %q\nwant %q", what, newest, got, want)
	}
}

func (a *archive) checkEvents(t *rapid.T, who *engine.Caller) {
	f := engine.EventFilter{Message: a.messageFilter(t)}
	f.States = subset(t, "f state", []engine.EventState{created, delivered, failed, engine.EventCanceled, retry, active})
	f.From, f.To = a.dates(t)
	if len(a.messages) > 0 && rapid.IntRange(0, 5).Draw(t, "by id") == 0 {
		f.Message.IDs = []string{rapid.SampledFrom(a.messages).Draw(t, "f id").String(), "msg_none"}
	}
	newest := rapid.Bool().Draw(t, "newest")
	line := func(ev *engine.Event) string { return fmt.Sprint(ev.State, " ", ev.Message.Seq, " ", ev.At) }
	got := pages(t, func(cursor string, count int) (lines []string, next string, err error) {
		page, next, err := a.engine.Events(context.Background(), who, f, !newest, cursor, count)
		for i := range page {
			lines = append(lines, line(&page[i]))
		}
		return lines, next, err
	})
	var want []string
	for _, ev := range a.events() {
		if ev.Message.Tenant == who.ID && ev.MatchedBy(&f, who) {
			want = append(want, line(&ev))
		}
	}
	check(t, fmt.Sprintf("events %+v", f), newest, got, want)
}

// events are all of them, oldest first.
func (a *archive) events() (out []engine.Event) {
	of := map[int64]*engine.Message{}
	m, s := a.messages, a.settlements
	for len(m)+len(s) > 0 {
		if len(s) == 0 || len(m) > 0 && m[0].Seq < s[0].Seq {
			of[m[0].Seq] = m[0]
			out = append(out, engine.EventsOf(m[0], nil)...)
			m = m[1:]
			continue
		}
		out = append(out, engine.EventsOf(of[s[0].Message], s[0])...)
		s = s[1:]
	}
	return out
}

func (a *archive) checkDLQ(t *rapid.T, who *engine.Caller) {
	f := engine.DLQFilter{Message: a.messageFilter(t), Statuses: subset(t, "f status", []int{0, 404, 500})}
	f.From, f.To = a.dates(t)
	f.Message.Hosts, f.Message.Paths = nil, nil
	switch rapid.IntRange(0, 5).Draw(t, "of runs") {
	case 0:
		f.Workflow = new(rapid.Bool().Draw(t, "workflow"))
	case 1:
		f.Run = &engine.RunFilter{IDs: []string{"wfr_0", "wfr_1"}}
	case 2:
		f.Run = &engine.RunFilter{URLs: someURLs[:3]}
	case 3:
		if len(a.messages) > 0 {
			f.Message.IDs = []string{rapid.SampledFrom(a.messages).Draw(t, "f id").String()}
		}
	}
	newest := rapid.Bool().Draw(t, "newest")
	got := pages(t, func(cursor string, count int) (lines []string, next string, err error) {
		page, next, err := a.engine.DLQ(context.Background(), who, f, newest, cursor, count)
		for _, d := range page {
			lines = append(lines, engine.DLQID(d.Entry.Seq))
		}
		return lines, next, err
	})
	var want []string
	for _, entry := range a.dlq {
		d := &engine.DeadMessage{Entry: entry}
		for _, m := range a.messages {
			if m.Seq == entry.Message {
				d.Message = m
			}
		}
		for _, r := range a.runs {
			if r.Seq == entry.Run {
				d.Run = r
			}
		}
		if entry.Tenant == who.ID && d.MatchedBy(&f, who) {
			want = append(want, engine.DLQID(entry.Seq))
		}
	}
	check(t, fmt.Sprintf("DLQ %+v", f), newest, got, want)
}

func (a *archive) checkRuns(t *rapid.T, who *engine.Caller) {
	m := a.messageFilter(t)
	f := engine.RunFilter{
		URLs: m.URLs, Hosts: m.Hosts, Paths: m.Paths, Labels: m.Labels, CallerIPs: m.CallerIPs,
		IDs: subset(t, "f run", []string{"wfr_0", "wfr_1", "wfr_none"}), States: subset(t, "f run state", []engine.RunState{engine.RunSuccess, engine.RunFailed}),
	}
	f.From, f.To = a.dates(t)
	if len(a.runs) > 0 && rapid.IntRange(0, 5).Draw(t, "by run") == 0 {
		r := rapid.SampledFrom(a.runs).Draw(t, "f run")
		f.IDsAt = []engine.RunRef{{ID: r.ID, CreatedAt: engine.Millis(r.Seq)}}
	}
	got := pages(t, func(cursor string, count int) (lines []string, next string, err error) {
		page, next, err := a.engine.Runs(context.Background(), who, f, cursor, count)
		for _, h := range page {
			lines = append(lines, fmt.Sprint(h.Run.Seq))
		}
		return lines, next, err
	})
	var want []string
	for _, r := range a.runs {
		if r.Tenant == who.ID && r.MatchedBy(&f, who) {
			want = append(want, fmt.Sprint(r.Seq))
		}
	}
	check(t, fmt.Sprintf("runs %+v", f), true, got, want)
}

// Whatever a filter asks for, all pages of a list together are what looking at
// every row finds, in order, in either direction, however far the index has
// come, and however little time a page is given.
func TestListsFindEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := store.OpenMemory(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		a := newArchive(t, s)
		a.engine.Index(rapid.IntRange(1, 30).Draw(t, "segment"), rapid.IntRange(1, 9).Draw(t, "step"))
		if rapid.Bool().Draw(t, "hurried") {
			a.engine.Hurry()
		}
		for range rapid.IntRange(1, 2).Draw(t, "rounds") {
			a.fill(t, rapid.IntRange(0, 40).Draw(t, "rows"))
			for range rapid.IntRange(0, 20).Draw(t, "indexed") {
				if _, err := a.engine.IndexMore(); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				who := rapid.SampledFrom(a.callers).Draw(t, "who")
				a.checkEvents(t, who)
				a.checkDLQ(t, who)
				a.checkRuns(t, who)
			}
		}
	})
}
