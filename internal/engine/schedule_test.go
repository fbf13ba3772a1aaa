package engine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/pgtest"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/internal/wire"
)

func TestMain(m *testing.M) {
	flag.Set("rapid.checks", "20") // unless the command line says how many
	pgtest.Main(m)
}

// scheduled is a publish as the API hands it on, its settings given as names
// and values of headers.
func scheduled(t testing.TB, destination, cron string, header ...string) engine.Publish {
	t.Helper()
	h := http.Header{wire.HeaderCron: {cron}}
	for i := 0; i < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	cfg, err := wire.ParseConfig(h)
	if err != nil {
		t.Fatal(err)
	}
	return engine.Publish{Destination: destination, Config: cfg, Header: h, Body: []byte("tick"), CallerIP: "192.0.2.7"}
}

const tickURL = "https://example.com/tick"

func putSchedule(e *engine.Engine, who *engine.Caller, p engine.Publish) (id string, err error) {
	out, err := e.Publish(context.Background(), who, []engine.Publish{p})
	if err != nil {
		return "", err
	}
	return out[0].ScheduleID, nil
}

func (w *world) putSchedule(cron string, header ...string) (id string) {
	w.t.Helper()
	id, err := putSchedule(w.engine, w.caller, scheduled(w.t, tickURL, cron, header...))
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) schedule(id string) engine.ScheduleStatus {
	w.t.Helper()
	s, err := w.engine.Schedule(context.Background(), w.caller, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) pause(id string, paused bool) {
	w.t.Helper()
	if err := w.engine.PauseSchedule(context.Background(), w.caller, id, paused); err != nil {
		w.t.Fatal(err)
	}
}

// messages are all there are, oldest first.
func (w *world) messages() (all []*engine.Message) {
	w.t.Helper()
	err := w.store.View(context.Background(), func(tx engine.Tx) (err error) {
		rows, _, err := tx.ScanMessages(engine.Page{To: 1<<63 - 1, Limit: 1 << 20})
		if err != nil {
			return err
		}
		seqs := make([]int64, len(rows))
		for i, m := range rows {
			seqs[i] = m.Seq
		}
		all, err = tx.Messages(seqs)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// times are when attempts were made, to the second.
func (w *world) times() (out []string) {
	for _, a := range w.made() {
		out = append(out, a.at.UTC().Format("01-02 15:04:05"))
	}
	return out
}

func (w *world) expectTimes(want ...string) {
	w.t.Helper()
	if got := w.times(); !slices.Equal(got, want) {
		w.t.Errorf("deliveries at\n%q, want\n%q", got, want)
	}
}

// sleepTo sleeps until a time of the year 2000, when bubbles begin.
func sleepTo(text string) {
	at, err := time.Parse("2006-01-02 15:04:05", "2000-"+text)
	if err != nil {
		panic(err)
	}
	time.Sleep(time.Until(at))
}

// Each time makes one message, months through, whatever clocks do.
func TestScheduleForWeeks(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop() // it would look around every few minutes
		sleepTo("03-20 00:00:00")
		w.start()
		daily := w.putSchedule("CRON_TZ=Europe/Berlin 30 2 * * *")
		w.putSchedule("0 12 1 * *")
		sleepTo("04-02 00:00:00")
		perDay, monthly := map[string]int{}, 0
		for _, a := range w.made() {
			if local := a.at.UTC().Format("15:04"); local == "12:00" && a.at.Day() == 1 {
				monthly++
				continue
			}
			perDay[a.at.UTC().Format("01-02 15:04")]++
		}
		for day := time.Date(2000, 3, 20, 1, 30, 0, 0, time.UTC); day.Before(time.Now()); day = day.AddDate(0, 0, 1) {
			at := day
			switch date := day.Format("01-02"); {
			case date == "03-26": // the clock goes from 2:00 to 3:00
				at = day.Add(-30 * time.Minute)
			case date > "03-26":
				at = day.Add(-time.Hour)
			}
			if n := perDay[at.Format("01-02 15:04")]; n != 1 {
				t.Errorf("%d deliveries at %v", n, at)
			}
		}
		if len(perDay) != 13 || monthly != 1 {
			t.Errorf("%d daily and %d monthly deliveries", len(perDay), monthly)
		}
		s := w.schedule(daily)
		if next := time.UnixMilli(s.NextAt).UTC().Format("01-02 15:04"); next != "04-02 00:30" || s.LastAt == 0 {
			t.Errorf("next at %s, last at %d", next, s.LastAt)
		}
	})
}

// What a schedule was made with holds for each of its messages.
func TestScheduleSettings(t *testing.T) {
	inBubble(t, func(w *world) {
		id := w.putSchedule("0 * * * *", "Upstash-Method", "PUT", "Upstash-Delay", "10m", "Upstash-Retries", "1",
			"Upstash-Label", "a,b", "Upstash-Queue-Name", "q", "Upstash-Flow-Control-Key", "k", "Upstash-Flow-Control-Value", "parallelism=2",
			"Upstash-Callback", "https://example.com/cb", "Upstash-Redact-Fields", "body", "Upstash-Forward-X-A", "b",
			"Content-Type", "text/plain", "Authorization", "Bearer token", "Upstash-Schedule-Id", "hourly")
		if id != "hourly" {
			t.Errorf("id %s", id)
		}
		sleepTo("01-01 01:30:00")
		made := w.made()
		w.expectTimes("01-01 01:10:00", "01-01 01:10:00")
		a := made[0]
		if a.Method != "PUT" || string(a.Body) != "tick" || a.Header.Get("X-A") != "b" || a.Header.Get("Content-Type") != "text/plain" ||
			a.Header.Get("Upstash-Schedule-Id") != "hourly" || a.Header.Get("Upstash-Caller-Ip") != "192.0.2.7" || a.Header.Get("Authorization") != "" {
			t.Errorf("delivered %s %q with %v", a.Method, a.Body, a.Header)
		}
		if cb := made[1]; cb.URL != "https://example.com/cb" || !strings.Contains(string(cb.Body), `"scheduleId":"hourly"`) {
			t.Errorf("callback to %s: %s", cb.URL, cb.Body)
		}
		m := w.messages()[0]
		if s := m.Settings; s.ScheduleID != "hourly" || s.Queue != "q" || s.FlowControl.Key != "k" || len(s.Labels) != 2 || !s.Redact.Body || m.MaxRetries != 1 {
			t.Errorf("message %+v", m)
		}
		if s := w.schedule(id); len(s.States) != 1 || s.States[m.String()] != engine.Delivered || s.Header.Get("Authorization") != "" {
			t.Errorf("schedule %+v", s)
		}
		n, err := w.engine.CancelMessages(context.Background(), w.caller, engine.MessageFilter{Schedules: []string{"another"}}, 0)
		if n != 0 || err != nil {
			t.Errorf("cancelled %d, %v", n, err)
		}
	})
}

// While a schedule is paused its times pass, and are not made up for. Another in
// its place stays paused, and is as old.
func TestScheduleLife(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		id := w.putSchedule("0 * * * *", "Upstash-Schedule-Id", "s", "Upstash-Forward-X-A", "b")
		first := w.schedule(id)
		sleepTo("01-01 01:30:00")
		w.pause(id, true)
		w.pause(id, true)
		if s := w.schedule(id); !s.Paused || s.NextAt != 0 || s.LastAt == 0 {
			t.Errorf("paused: %+v", s.Schedule)
		}
		sleepTo("01-01 05:30:00")
		p := scheduled(t, "https://example.com/other", "*/30 * * * *", "Upstash-Schedule-Id", "s")
		p.Body = nil
		if _, err := putSchedule(w.engine, w.caller, p); err != nil {
			t.Fatal(err)
		}
		if s := w.schedule(id); !s.Paused || s.Seq != first.Seq || s.Body != nil || s.LastAt != 0 || len(s.Header) != 0 {
			t.Errorf("replaced: %+v", s.Schedule)
		}
		w.pause(id, false)
		w.pause(id, false)
		sleepTo("01-01 06:15:00")
		w.expectTimes("01-01 01:00:00", "01-01 06:00:00")
		if a := w.made()[1]; a.URL != "https://example.com/other" || len(a.Body) > 0 || a.Header.Get("X-A") != "" {
			t.Errorf("delivered %s %q %v", a.URL, a.Body, a.Header)
		}
		if all, err := w.engine.Schedules(ctx, w.caller); err != nil || len(all) != 1 {
			t.Errorf("%d schedules, %v", len(all), err)
		}
		for range 2 {
			if err := w.engine.DeleteSchedule(ctx, w.caller, id); err != nil {
				t.Error(err)
			}
		}
		for name, err := range map[string]error{
			"get":   func() error { _, err := w.engine.Schedule(ctx, w.caller, id); return err }(),
			"pause": w.engine.PauseSchedule(ctx, w.caller, id, true),
		} {
			if engine.ErrorCode(err) != engine.NotFound {
				t.Errorf("%s of a deleted schedule: %v", name, err)
			}
		}
		sleepTo("01-02 00:00:00")
		if n := len(w.made()); n != 2 {
			t.Errorf("%d deliveries", n)
		}
	})
}

// T23: times that pass while nothing runs are made up for with one message, or
// with none; what is a little late is not missed.
func TestT23MissedTicks(t *testing.T) {
	for _, test := range []struct {
		missed   string
		down, up string
		want     []string
	}{
		{engine.MissedOnce, "01-01 01:30:00", "01-01 09:30:00", []string{"01-01 01:00:00", "01-01 09:30:00", "01-01 10:00:00"}},
		{"", "01-01 01:30:00", "01-01 09:30:00", []string{"01-01 01:00:00", "01-01 09:30:00", "01-01 10:00:00"}},
		{engine.MissedSkip, "01-01 01:30:00", "01-01 09:30:00", []string{"01-01 01:00:00", "01-01 10:00:00"}},
		{engine.MissedSkip, "01-01 08:59:50", "01-01 09:00:50", []string{"01-01 01:00:00", "01-01 02:00:00", "01-01 03:00:00",
			"01-01 04:00:00", "01-01 05:00:00", "01-01 06:00:00", "01-01 07:00:00", "01-01 08:00:00", "01-01 09:00:50", "01-01 10:00:00"}},
	} {
		inBubble(t, func(w *world) {
			w.stop()
			w.options = func(o *engine.Options) { o.MissedTicks = test.missed }
			w.start()
			id := w.putSchedule("0 * * * *")
			sleepTo(test.down)
			w.stop()
			sleepTo(test.up)
			w.start()
			sleepTo("01-01 10:10:00")
			w.expectTimes(test.want...)
			if s := w.schedule(id); s.Settings.Error != "" {
				t.Errorf("error %q", s.Settings.Error)
			}
		})
	}
}

// T23: nothing is made up for that was missed by a schedule which has been
// changed since.
func TestT23NothingIsMissedByAChangedSchedule(t *testing.T) {
	inBubble(t, func(w *world) {
		for _, id := range []string{"kept", "paused", "resumed", "replaced", "deleted"} {
			p := scheduled(t, "https://example.com/"+id, "0 * * * *", "Upstash-Schedule-Id", id)
			if _, err := putSchedule(w.engine, w.caller, p); err != nil {
				t.Fatal(err)
			}
		}
		sleepTo("01-01 00:30:00")
		w.stop()
		sleepTo("01-01 05:30:00")
		ctx, other := context.Background(), w.node()
		err := errors.Join(
			other.PauseSchedule(ctx, w.caller, "paused", true),
			other.PauseSchedule(ctx, w.caller, "resumed", true), other.PauseSchedule(ctx, w.caller, "resumed", false),
			other.DeleteSchedule(ctx, w.caller, "deleted"),
		)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := putSchedule(other, w.caller, scheduled(t, "https://example.com/replaced", "0 * * * *", "Upstash-Schedule-Id", "replaced")); err != nil {
			t.Fatal(err)
		}
		w.start()
		time.Sleep(time.Minute)
		if made := w.made(); len(made) != 1 || made[0].URL != "https://example.com/kept" {
			t.Errorf("made up for: %d, %v", len(made), w.times())
		}
		sleepTo("01-01 06:30:00")
		if n := len(w.made()); n != 4 {
			t.Errorf("%d deliveries", n)
		}
	})
}

// A schedule that waits for much longer than its expression says, since the
// clock was wrong when that was found out, is put right at the next start. One
// whose next time is a little farther waits for it: it may have had those before.
func TestScheduleAfterAWrongClock(t *testing.T) {
	inBubble(t, func(w *world) {
		for id, ahead := range map[string]time.Duration{"far": 40 * 24 * time.Hour, "near": 2 * time.Hour} {
			w.putSchedule("0 * * * *", "Upstash-Schedule-Id", id)
			err := w.store.Update(context.Background(), func(tx engine.Tx) error {
				s, err := tx.LockScheduleNamed(w.tenant.ID, id)
				if err != nil {
					return err
				}
				s.NextAt += ahead.Milliseconds()
				return tx.AdvanceSchedule(s)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		w.stop()
		w.start()
		sleepTo("01-01 03:30:00")
		w.expectTimes("01-01 01:00:00", "01-01 02:00:00", "01-01 03:00:00", "01-01 03:00:00")
	})
}

// A schedule that can't publish says why, and goes on when it can.
func TestScheduleThatIsRefused(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		w.stop()
		w.options = func(o *engine.Options) { o.Limits.MaxQueues = 1 }
		w.start()
		w.group("g", "https://a.example/", "https://b.example/")
		w.groupHeader("g", "Upstash-Forward-X-Group: yes")
		id, err := putSchedule(w.engine, w.caller, scheduled(t, "g", "0 * * * *"))
		if err != nil {
			t.Fatal(err)
		}
		queued := w.putSchedule("30 * * * *", "Upstash-Queue-Name", "second")
		one := 1
		if _, err := w.engine.PutQueue(ctx, w.caller, engine.QueueChange{Name: "first", Parallelism: &one}); err != nil {
			t.Fatal(err)
		}
		sleepTo("01-01 01:10:00")
		made := w.made()
		if len(made) != 2 || made[0].URL == made[1].URL || made[0].Header.Get("X-Group") != "yes" || made[0].Header.Get("Upstash-Topic-Name") != "g" {
			t.Errorf("delivered %v, %v", made[0].Header, w.times())
		}
		if s := w.schedule(id); len(s.Messages) != 2 || len(s.States) != 2 {
			t.Errorf("messages %v, states %v", s.Messages, s.States)
		}
		if s := w.schedule(queued); !strings.Contains(s.Settings.Error, "second") || s.LastAt == 0 || s.NextAt == 0 || s.Messages != nil {
			t.Errorf("with no room for its queue: %+v", s.Schedule)
		}
		if err := w.engine.DeleteURLGroup(ctx, w.caller, "g"); err != nil {
			t.Fatal(err)
		}
		if err := w.engine.DeleteQueue(ctx, w.caller, "first"); err != nil {
			t.Fatal(err)
		}
		sleepTo("01-01 02:10:00")
		if s := w.schedule(id); s.Settings.Error != "topic g not found" || s.Messages != nil || s.States != nil {
			t.Errorf("without its group: %+v", s.Schedule)
		}
		if s := w.schedule(queued); s.Settings.Error != "" || len(s.Messages) != 1 {
			t.Errorf("with room for its queue: %+v", s.Schedule)
		}
		w.group("g", "https://c.example/")
		sleepTo("01-01 03:10:00")
		if s := w.schedule(id); s.Settings.Error != "" || len(s.Messages) != 1 {
			t.Errorf("with its group again: %+v", s.Schedule)
		}
	})
}

// T21: a schedule may publish what the token that made it may, at each of its
// times, and is seen by tokens for where it publishes to.
func TestT21ScheduleStaysWithinItsPrefix(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		as := func(prefix string) *engine.Caller {
			_, secret := w.createToken(engine.NewToken{Name: "limited", Scopes: []engine.Scope{engine.ScopePublish, engine.ScopeRead}, URLPrefix: prefix})
			return w.authenticate(secret)
		}
		who, stranger := as("https://a.example/in"), as("https://b.example")
		w.group("g", "https://a.example/in/1")
		w.group("mixed", "https://a.example/in/1", "https://b.example/")
		for _, p := range []engine.Publish{
			scheduled(t, "https://b.example/", "0 * * * *"), scheduled(t, "mixed", "0 * * * *"),
			scheduled(t, "https://a.example/in", "0 * * * *", "Upstash-Callback", "https://b.example/"),
			scheduled(t, "https://a.example/in", "0 * * * *", "Upstash-Failure-Callback", "https://b.example/"),
			scheduled(t, "https://a.example/in", "0 * * * *", "Upstash-Callback", "https://a.example/in",
				"Upstash-Callback-Workflow-Calltype", "fromCallback", "Upstash-Callback-Failure-Callback", "https://b.example/"),
		} {
			if _, err := putSchedule(w.engine, who, p); engine.ErrorCode(err) != engine.Forbidden {
				t.Errorf("schedule for %s: %v", p.Destination, err)
			}
		}
		for _, p := range []engine.Publish{
			scheduled(t, "https://a.example/in/x", "0 * * * *", "Upstash-Schedule-Id", "url"), scheduled(t, "g", "0 * * * *", "Upstash-Schedule-Id", "group"),
		} {
			if _, err := putSchedule(w.engine, who, p); err != nil {
				t.Fatal(err)
			}
			if _, err := putSchedule(w.engine, stranger, scheduled(t, "https://b.example/", "0 * * * *", "Upstash-Schedule-Id", p.Config.ScheduleID)); engine.ErrorCode(err) != engine.Conflict {
				t.Errorf("replaced by a stranger: %v", err)
			}
			if err := w.engine.PauseSchedule(ctx, stranger, p.Config.ScheduleID, true); engine.ErrorCode(err) != engine.NotFound {
				t.Errorf("paused by a stranger: %v", err)
			}
			if err := w.engine.DeleteSchedule(ctx, stranger, p.Config.ScheduleID); err != nil {
				t.Error(err)
			}
		}
		if all, err := w.engine.Schedules(ctx, stranger); err != nil || len(all) != 0 {
			t.Errorf("a stranger sees %d, %v", len(all), err)
		}
		if all, err := w.engine.Schedules(ctx, who); err != nil || len(all) != 2 || all[0].ID != "url" {
			t.Errorf("its maker sees %d, %v", len(all), err)
		}
		sleepTo("01-01 01:10:00")
		if n := len(w.made()); n != 2 {
			t.Fatalf("%d deliveries", n)
		}
		w.group("g", "https://b.example/beyond")
		sleepTo("01-01 02:10:00")
		if s := w.schedule("group"); !strings.Contains(s.Settings.Error, "https://a.example/in") || s.Messages != nil {
			t.Errorf("with a group beyond its prefix: %+v", s.Schedule)
		}
		for _, a := range w.made() {
			if !strings.HasPrefix(a.URL, "https://a.example/in") {
				t.Errorf("delivered to %s", a.URL)
			}
		}
	})
}

// What can't be a schedule is refused, and nothing is made.
func TestScheduleRefusals(t *testing.T) {
	inBubble(t, func(w *world) {
		trigger := scheduled(t, tickURL, "0 * * * *")
		trigger.ViaTrigger = true
		for name, test := range map[string]struct {
			p    engine.Publish
			code engine.Code
			says string
		}{
			"no expression":      {scheduled(t, tickURL, "0 * * *"), engine.Invalid, "Upstash-Cron: "},
			"seconds":            {scheduled(t, tickURL, "0 0 * * * *"), engine.Invalid, "seconds"},
			"never":              {scheduled(t, tickURL, "0 0 30 2 *"), engine.Invalid, "Upstash-Cron: "},
			"too often":          {scheduled(t, tickURL, "@every 1ns"), engine.Invalid, "@every"},
			"no such zone":       {scheduled(t, tickURL, "CRON_TZ=Nowhere/At_All 0 0 * * *"), engine.Invalid, "time zone"},
			"no such group":      {scheduled(t, "g", "0 * * * *"), engine.NotFound, "topic g not found"},
			"at one time":        {scheduled(t, tickURL, "0 * * * *", "Upstash-Not-Before", "946690000"), engine.Invalid, "Upstash-Not-Before: "},
			"too long a delay":   {scheduled(t, tickURL, "0 * * * *", "Upstash-Delay", "400d"), engine.Precondition, "Upstash-Delay: "},
			"a step of a run":    {scheduled(t, tickURL, "0 * * * *", "Upstash-Workflow-Runid", "wfr_1"), engine.Invalid, "Upstash-Workflow-Runid: "},
			"a trigger":          {trigger, engine.Invalid, "Upstash-Cron: "},
			"a loop":             {scheduled(t, tickURL, "0 * * * *", "Upstash-Hop", "16"), engine.Invalid, "Upstash-Hop: "},
			"too many retries":   {scheduled(t, tickURL, "0 * * * *", "Upstash-Retries", "1000"), engine.Precondition, "Upstash-Retries: "},
			"no service for llm": {scheduled(t, wire.LLMDestination, "0 * * * *"), engine.Invalid, "api/llm"},
		} {
			_, err := putSchedule(w.engine, w.caller, test.p)
			if engine.ErrorCode(err) != test.code || !strings.Contains(fmt.Sprint(err), test.says) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if all, err := w.engine.Schedules(context.Background(), w.caller); err != nil || len(all) != 0 {
			t.Errorf("%d schedules, %v", len(all), err)
		}
	})
}

// A schedule that starts a run each time does so by the workflow's own headers.
func TestScheduleOfRuns(t *testing.T) {
	inBubble(t, func(w *world) {
		id := w.putSchedule("0 * * * *", "Upstash-Workflow-Init", "true", "Upstash-Workflow-Url", tickURL)
		w.putSchedule("0 * * * *", "Upstash-Workflow-Init", "true", "Upstash-Workflow-Runid", "wfr_fixed", "Upstash-Schedule-Id", "fixed")
		sleepTo("01-01 02:10:00")
		runs, _, err := w.engine.Runs(context.Background(), w.caller, engine.RunFilter{}, "", 100)
		if err != nil || len(runs) != 3 {
			t.Errorf("%d runs, %v", len(runs), err)
		}
		if s := w.schedule(id); len(s.States) != 1 {
			t.Errorf("states %v", s.States)
		}
		if s := w.schedule("fixed"); !strings.Contains(s.Settings.Error, "it would repeat msg_") {
			t.Errorf("while a run of that id is active: %+v", s.Schedule)
		}
	})
}

// T23: a tenant has so many schedules and no more; one in the place of another
// is none more.
func TestT23MostSchedules(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		w.options = func(o *engine.Options) { o.Limits.MaxSchedules = 2 }
		w.start()
		w.putSchedule("0 * * * *", "Upstash-Schedule-Id", "a")
		w.putSchedule("0 * * * *")
		_, err := putSchedule(w.engine, w.caller, scheduled(t, tickURL, "0 * * * *"))
		if engine.ErrorCode(err) != engine.Precondition {
			t.Errorf("the third: %v", err)
		}
		w.putSchedule("5 * * * *", "Upstash-Schedule-Id", "a")
		out, err := w.engine.PublishBatch(context.Background(), w.caller, []engine.Publish{
			scheduled(t, tickURL, "0 * * * *"), {Destination: tickURL, Config: wire.Config{Method: "POST"}}})
		if err != nil || out[0].Err == nil || out[1].MessageID == "" {
			t.Errorf("in a batch: %+v, %v", out, err)
		}
	})
}

// Whoever changes a schedule just when it is due: it has published before, or
// it has not, and never twice.
func TestScheduleRaces(t *testing.T) {
	inBubble(t, func(w *world) {
		ctx := context.Background()
		random := rand.New(rand.NewPCG(1, 2))
		id, there, paused, deletedAt := "s", false, false, time.Time{}
		for range 120 {
			if !there {
				w.putSchedule("* * * * *", "Upstash-Schedule-Id", id)
				there, paused = true, false
			}
			time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
			before := len(w.messages())
			var err error
			switch random.IntN(4) {
			case 0:
				paused = !paused
				err = w.engine.PauseSchedule(ctx, w.caller, id, paused)
			case 1:
				w.putSchedule("* * * * *", "Upstash-Schedule-Id", id)
			case 2:
				err = w.engine.DeleteSchedule(ctx, w.caller, id)
				there, deletedAt = false, time.Now()
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if n := len(w.messages()) - before; n > 1 {
				t.Fatalf("%d messages of one time", n)
			}
			if !there && random.IntN(2) == 0 {
				n := len(w.messages())
				if time.Sleep(10 * time.Minute); len(w.messages()) != n {
					t.Fatalf("messages after it was deleted at %v", deletedAt)
				}
			}
		}
	})
}

// Wherever a crash or a failure of the disk falls, each time makes its message
// once: what was not written is made after it, what was is not made again.
func TestT28ScheduleThroughFailures(t *testing.T) {
	for _, after := range []bool{false, true} {
		inBubble(t, func(w *world) {
			w.stop()
			disk := &faulty{Store: w.store, after: after}
			fail := func(from, to int) {
				disk.mu.Lock()
				defer disk.mu.Unlock()
				disk.calls, disk.fail = 0, func(call int) bool { return from <= call && call < to }
			}
			w.store = disk
			w.start()
			id := w.putSchedule("*/10 * * * *")
			for n := range 12 {
				time.Sleep(time.Until(time.Now().Truncate(10 * time.Minute).Add(10*time.Minute - time.Second)))
				before := len(w.messages())
				from, to := 1+n%3, 2+n
				fail(from, to)
				time.Sleep(time.Second + time.Duration(n)*time.Millisecond)
				if n%2 == 0 {
					w.stop()
					fail(0, 0)
					w.start()
				}
				time.Sleep(8 * time.Minute)
				fail(0, 0)
				if made := len(w.messages()) - before; made != 1 {
					t.Errorf("failures of the writes %d to %d, after commit %v: %d messages", from, to, after, made)
				}
				if s := w.schedule(id); s.Settings.Error != "" {
					t.Errorf("error %q", s.Settings.Error)
				}
			}
		})
	}
}

// T28: with two nodes on one database each time makes one message as well.
func TestT28ScheduleOnTwoNodes(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) func() (engine.Store, error){
		"sqlite": func(*testing.T) func() (engine.Store, error) {
			return func() (engine.Store, error) { return store.OpenMemory(context.Background()) }
		},
		"postgres": func(t *testing.T) func() (engine.Store, error) {
			dsn := pgtest.DSN(t)
			return func() (engine.Store, error) { return store.OpenPostgres(context.Background(), dsn) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			open := open(t)
			synctest.Test(t, func(t *testing.T) {
				s, err := open()
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				w := &world{t: t, store: s, answer: ok}
				w.start()
				defer w.stop()
				const schedules, minutes = 5, 30
				for i := range schedules {
					w.putSchedule("* * * * *", "Upstash-Schedule-Id", fmt.Sprint("s", i), "Upstash-Delay", "90d")
				}
				other := w.node()
				other.Start()
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				defer other.Close(ctx)
				// Where both take the same number for a message, one tries again.
				time.Sleep(minutes*time.Minute + 30*time.Second)
				made := map[string]int{}
				for _, m := range w.messages() {
					made[m.Settings.ScheduleID+time.UnixMilli(engine.Millis(m.Seq)).UTC().Format(" 15:04")]++
				}
				if len(made) != schedules*minutes {
					t.Errorf("%d times made messages, want %d", len(made), schedules*minutes)
				}
				for at, n := range made {
					if n != 1 {
						t.Errorf("%s: %d messages", at, n)
					}
				}
			})
		})
	}
}

// T23: very many schedules that are due together are each published for, soon,
// and nobody waits for them meanwhile.
func TestT23ManySchedulesAtOnce(t *testing.T) {
	const many = 1000
	s, err := store.OpenMemory(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := &world{t: t, store: s, answer: ok}
	w.start()
	for at := 0; at < many; at += 250 {
		items := make([]engine.Publish, 250)
		for i := range items {
			items[i] = scheduled(t, tickURL, "0 0 1 1 *", "Upstash-Delay", "90d")
		}
		if _, err := w.engine.Publish(context.Background(), w.caller, items); err != nil {
			t.Fatal(err)
		}
	}
	w.stop()
	err = s.Update(context.Background(), func(tx engine.Tx) error {
		all, err := tx.Schedules(w.tenant.ID)
		for _, one := range all {
			one.NextAt = time.Now().UnixMilli() - 1
			err = errors.Join(err, tx.AdvanceSchedule(one))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	w.start()
	defer w.stop()
	var slowest time.Duration
	seen := map[string]int{}
	for len(seen) < many {
		if time.Since(start) > 4*time.Minute {
			t.Fatalf("%d of %d have published", len(seen), many)
		}
		before := time.Now()
		w.publish(engine.Publish{Config: wire.Config{Labels: []string{"mine"}, Delay: time.Hour}})
		slowest = max(slowest, time.Since(before))
		time.Sleep(50 * time.Millisecond)
		clear(seen)
		for _, m := range w.messages() {
			if id := m.Settings.ScheduleID; id != "" {
				seen[id]++
			}
		}
	}
	t.Logf("%d schedules in %v; the slowest publish meanwhile took %v", many, time.Since(start), slowest)
	if slowest > 5*time.Second {
		t.Errorf("a publish took %v", slowest)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("schedule %s published %d times", id, n)
		}
	}
}

// Whoever asks reads what a schedule is while it publishes.
func TestScheduleReadersDuringTicks(t *testing.T) {
	inBubble(t, func(w *world) {
		id := w.putSchedule("* * * * *")
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 50 {
					s, err := w.engine.Schedule(context.Background(), w.caller, id)
					if err != nil || s.NextAt == 0 || s.LastAt != 0 && len(s.States) != 1 {
						t.Errorf("%+v, %v", s, err)
					}
					time.Sleep(time.Duration(rand.IntN(int(time.Minute))))
				}
			})
		}
		wg.Wait()
	})
}

// What a limited token has scheduled ends with it. Who resumes it, or puts it
// there once more, has it go on.
func TestT21SchedulesEndWithTheirToken(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		limited := func(expires time.Duration) (*engine.Token, *engine.Caller) {
			token, secret := w.createToken(engine.NewToken{
				Name: "limited", Scopes: []engine.Scope{engine.ScopePublish}, URLPrefix: "https://example.com", ExpiresIn: expires,
			})
			return token, w.authenticate(secret)
		}
		put := func(who *engine.Caller, id string) {
			t.Helper()
			if _, err := putSchedule(w.engine, who, scheduled(t, tickURL, "0 * * * *", "Upstash-Schedule-Id", id)); err != nil {
				t.Fatal(err)
			}
		}
		token, who := limited(0)
		for _, id := range []string{"resumed", "put again", "resumed by another", "paused before"} {
			put(who, strings.ReplaceAll(id, " ", "-"))
		}
		put(w.caller, "own")
		put(who, "own-now")
		put(w.caller, "own-now")
		_, secret := w.createToken(engine.NewToken{Name: "all URLs", Scopes: []engine.Scope{engine.ScopePublish}})
		all := w.authenticate(secret)
		put(all, "unlimited")
		_, short := limited(90 * time.Minute)
		put(short, "short")
		w.pause("paused-before", true)
		sleepTo("01-01 01:00:01")
		if n := len(w.made()); n != 7 {
			t.Errorf("%d deliveries while all tokens are good", n)
		}

		n, err := w.engine.RevokeToken(ctx, w.caller, token.ID())
		if err != nil || n != 3 {
			t.Errorf("revoked with %d schedules, error %v", n, err)
		}
		if _, err := w.engine.RevokeToken(ctx, w.caller, all.Token.ID()); err != nil {
			t.Error(err)
		}
		log, _, err := w.engine.Audit(ctx, w.caller, engine.AuditFilter{Actions: []string{"token.revoke"}}, "", 10)
		if err != nil || len(log) != 2 || log[1].After != `{"schedulesPaused":3}` || log[0].After != "" {
			t.Errorf("audit %+v, error %v", log, err)
		}
		time.Sleep(time.Second)
		state := func(id string, paused bool, why string) {
			t.Helper()
			s := w.schedule(id)
			if s.Paused != paused || (s.NextAt == 0) != paused || s.Settings.Error != why {
				t.Errorf("%s: %+v", id, s.Schedule)
			}
		}
		const revoked = "its token was revoked"
		for _, id := range []string{"resumed", "put-again", "resumed-by-another"} {
			state(id, true, revoked)
		}
		state("paused-before", true, "")
		state("short", false, "")
		sleepTo("01-01 02:00:01") // the short one has expired meanwhile
		if n := len(w.made()); n != 10 {
			t.Errorf("%d deliveries, want those of the owner's and of the unlimited token's", n)
		}
		state("short", true, "its token has expired")

		again, other := limited(0)
		put(other, "put-again")
		state("put-again", false, "")
		if err := w.engine.PauseSchedule(ctx, other, "resumed-by-another", false); err != nil {
			t.Error(err)
		}
		put(other, "paused-before")
		state("paused-before", true, "") // by somebody
		w.pause("resumed", false)
		w.pause("short", false)
		state("short", false, "")
		sleepTo("01-01 03:00:01")
		if n := len(w.made()); n != 17 {
			t.Errorf("%d deliveries after they went on", n)
		}
		if n, err := w.engine.RevokeToken(ctx, w.caller, again.ID()); err != nil || n != 2 {
			t.Errorf("revoked with %d schedules, error %v", n, err)
		}
		time.Sleep(time.Second)
		state("resumed-by-another", true, revoked)
		state("resumed", false, "")
	})
}
