package engine_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/internal/wire"
)

// million is the number of messages in SIGNPOST_MILLION, in a directory of its
// own. Without it the tests that need so many are left out.
func million(t *testing.T) (n int, s engine.Store) {
	n, err := strconv.Atoi(os.Getenv("SIGNPOST_MILLION"))
	if err != nil || n < 1000 {
		t.Skip("takes a minute: SIGNPOST_MILLION=1000000")
	}
	s, err = store.OpenSQLite(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return n, s
}

// fillMillion writes n delivered messages, each with its attempt and, dead, its
// DLQ entry, and a tenth as many runs. Of each attribute there are common and
// rare values, some at one end only.
func fillMillion(t *testing.T, s engine.Store, tenant int64, n int, dead bool) {
	t.Helper()
	const step = 1000
	begin := time.Now().Add(-time.Hour).UnixMilli()
	body := make([]byte, 100)
	for at := 0; at < n; at += step {
		var messages []*engine.Message
		var settlements []*engine.Settlement
		var entries []*engine.DLQEntry
		var runs []*engine.Run
		for i := at; i < min(n, at+step); i++ {
			seq := engine.FirstSeq(begin) + int64(i)<<20 // one a millisecond
			m := &engine.Message{
				Key: engine.Key{Seq: seq, Rnd: 1}, Tenant: tenant, State: engine.Delivered, Kind: engine.KindPlain, Due: 1, NotBefore: 1,
				LogIndex: -1, MaxRetries: 3, Method: "POST", URL: fmt.Sprintf("https://host%d.example/hooks/%d", i%20, i%500),
				CallerIP: fmt.Sprintf("192.0.2.%d", i%50), Body: body,
			}
			m.Settings.Labels = []string{[]string{"even", "odd"}[i%2]}
			m.Settings.Queue = fmt.Sprint("queue", i%10)
			switch i {
			case 0:
				m.Settings.Labels = []string{"first"}
			case n / 2:
				m.Settings.Labels = []string{"middle"}
			case n - 1:
				m.Settings.Labels = []string{"last"}
			}
			messages = append(messages, m)
			settlements = append(settlements, &engine.Settlement{
				Seq: seq + 1, Tenant: tenant, Message: seq, Result: engine.Delivered, StartedAt: engine.Millis(seq), EndedAt: engine.Millis(seq), Status: 200,
			})
			if dead {
				entries = append(entries, &engine.DLQEntry{Seq: seq + 2, Tenant: tenant, Message: seq, Status: 500 + i%3})
			}
			if i%10 == 0 {
				r := &engine.Run{Seq: seq + 3, Tenant: tenant, ID: fmt.Sprint("wfr_", i), URL: m.URL, State: engine.RunSuccess, EndedAt: engine.Millis(seq)}
				r.Settings.Labels = m.Settings.Labels
				runs = append(runs, r)
			}
		}
		err := s.Update(context.Background(), func(tx engine.Tx) error {
			if err := tx.InsertMessages(messages); err != nil {
				return err
			}
			for _, d := range entries {
				if err := tx.InsertDLQ(d); err != nil {
					return err
				}
			}
			for _, r := range runs {
				if err := tx.InsertRun(r); err != nil {
					return err
				}
			}
			return tx.InsertSettlements(settlements)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// With a million messages in the log and the DLQ, every list answers its first
// page within a tenth of a second, and finds what there is to be found.
func TestMillion(t *testing.T) {
	n, s := million(t)
	ctx := context.Background()
	w := &world{t: t, store: s, answer: ok}
	e, err := engine.New(ctx, engine.Options{Store: s, Deliverer: w, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.EnsureTenant(ctx, engine.Credentials{UserID: "u", Token: "token", CurrentKey: "sig_a", NextKey: "sig_b"}); err != nil {
		t.Fatal(err)
	}
	who, err := e.Authenticate(ctx, "token")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	fillMillion(t, s, who.ID, n, true)
	t.Logf("%d messages written in %v", n, time.Since(began))
	lists := millionLists(e, who, n)
	timeLists(t, "before they are indexed", lists, false)
	began = time.Now()
	cpu := cpuTime()
	for more := true; more; {
		if more, err = e.IndexMore(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("indexed in %v, %.1f µs of CPU for each message with its attempt and DLQ entry", time.Since(began), float64((cpuTime()-cpu).Microseconds())/float64(n))
	timeLists(t, "indexed", lists, true)
}

// millionList is a list, and how much of its first page there is to be: a
// number, or -1 for a full page.
type millionList struct {
	name string
	call func() (n int, next string, err error)
	want int
}

func millionLists(e *engine.Engine, who *engine.Caller, n int) (out []millionList) {
	ctx := context.Background()
	labeled := func(labels ...string) engine.MessageFilter { return engine.MessageFilter{Labels: labels} }
	filters := []struct {
		name string
		f    engine.MessageFilter
		want int // messages
	}{
		{"no filter", engine.MessageFilter{}, -1},
		{"label of all", labeled("even"), -1},
		{"label of the first", labeled("first"), 1},
		{"label of the last", labeled("last"), 1},
		{"label of one in the middle", labeled("middle"), 1},
		{"label of none", labeled("none"), 0},
		{"one URL of 500", engine.MessageFilter{URLs: []string{"https://host7.example/hooks/7"}}, n / 500},
		{"host and path that never meet", engine.MessageFilter{Hosts: []string{"host1.example"}, Paths: []string{"/hooks/2"}}, 0},
		{"label and queue that never meet", engine.MessageFilter{Labels: []string{"odd"}, Queues: []string{"queue2", "queue4"}}, 0},
		{"many values", engine.MessageFilter{Hosts: []string{"host1.example", "host2.example", "none"}, CallerIPs: []string{"192.0.2.1", "192.0.2.2"}}, -1},
		{"topic of none", engine.MessageFilter{URLGroups: []string{"none"}}, 0},
		{"flow control key of none", engine.MessageFilter{FlowKeys: []string{"none"}}, 0},
	}
	add := func(name string, want int, call func() (int, string, error)) {
		out = append(out, millionList{name, call, want})
	}
	for _, test := range filters {
		for _, oldest := range []bool{false, true} {
			name := test.name + ", newest first"
			if oldest {
				name = test.name + ", oldest first"
			}
			want := test.want
			if want > 0 {
				want *= 3 // CREATED, ACTIVE, DELIVERED
			}
			if want > 1000 {
				want = -1
			}
			add("events: "+name, want, func() (int, string, error) {
				page, next, err := e.Events(ctx, who, engine.EventFilter{Message: test.f}, oldest, "", 1000)
				return len(page), next, err
			})
			if len(test.f.Hosts) > 0 && test.want == 0 {
				continue
			}
			want = test.want
			if want >= 100 {
				want = -1
			}
			add("DLQ: "+name, want, func() (int, string, error) {
				page, next, err := e.DLQ(ctx, who, engine.DLQFilter{Message: test.f}, !oldest, "", 100)
				return len(page), next, err
			})
		}
	}
	for _, state := range []engine.EventState{created, delivered, failed, retry, engine.EventCanceled} {
		want := -1
		if state != created && state != delivered {
			want = 0
		}
		add("events: state "+string(state), want, func() (int, string, error) {
			page, next, err := e.Events(ctx, who, engine.EventFilter{States: []engine.EventState{state}}, false, "", 1000)
			return len(page), next, err
		})
	}
	now := time.Now().UnixMilli()
	add("events: half an hour ago, label of none", 0, func() (int, string, error) {
		f := engine.EventFilter{Message: labeled("none"), From: now - 50*60_000, To: now - 40*60_000}
		page, next, err := e.Events(ctx, who, f, false, "", 1000)
		return len(page), next, err
	})
	add("DLQ: status 501 of label even", -1, func() (int, string, error) {
		page, next, err := e.DLQ(ctx, who, engine.DLQFilter{Message: labeled("even"), Statuses: []int{501}}, true, "", 100)
		return len(page), next, err
	})
	add("DLQ: status of none", 0, func() (int, string, error) {
		page, next, err := e.DLQ(ctx, who, engine.DLQFilter{Statuses: []int{404}}, true, "", 100)
		return len(page), next, err
	})
	for name, f := range map[string]engine.RunFilter{
		"no filter": {}, "label of the first": {Labels: []string{"first"}}, "host": {Hosts: []string{"host10.example"}}, "label of none": {Labels: []string{"none"}},
		"failed": {States: []engine.RunState{engine.RunFailed}}, "under way": {States: []engine.RunState{engine.RunStarted}},
	} {
		want := map[string]int{"no filter": -1, "label of the first": 1, "host": -1}[name]
		add("runs: "+name, want, func() (int, string, error) {
			page, next, err := e.Runs(ctx, who, f, "", 100)
			return len(page), next, err
		})
	}
	return out
}

// timeLists calls each list some times. Answers must come in time; once all is
// indexed they must also be whole.
func timeLists(t *testing.T, when string, lists []millionList, whole bool) {
	for _, list := range lists {
		var took []time.Duration
		cpu := cpuTime()
		for range 11 {
			began := time.Now()
			n, next, err := list.call()
			took = append(took, time.Since(began))
			if err != nil {
				t.Fatal(err)
			}
			if whole && (list.want >= 0 && (n != list.want || next != "") || list.want < 0 && (n < 10 || next == "")) {
				t.Errorf("%s: %d, cursor %q, want %d", list.name, n, next, list.want)
			}
		}
		slices.Sort(took)
		t.Logf("%-22s %-55s p50 %6.1f ms  max %6.1f ms  CPU %6.1f ms", when, list.name, ms(took[5]), ms(took[10]), ms(cpuTime()-cpu)/11)
		if whole && took[5] > 100*time.Millisecond {
			t.Errorf("%s: %v", list.name, took[5])
		}
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Purging a million messages does not hold up those who publish.
func TestMillionPurged(t *testing.T) {
	n, s := million(t)
	ctx := context.Background()
	w := &world{t: t, store: s, answer: ok}
	e, err := engine.New(ctx, engine.Options{
		Store: s, Deliverer: w, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Limits: engine.Limits{Retention: time.Minute, DLQRetention: time.Minute},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.EnsureTenant(ctx, engine.Credentials{UserID: "u", Token: "token", CurrentKey: "sig_a", NextKey: "sig_b"}); err != nil {
		t.Fatal(err)
	}
	who, err := e.Authenticate(ctx, "token")
	if err != nil {
		t.Fatal(err)
	}
	fillMillion(t, s, who.ID, n, true)
	for more := true; more; {
		if more, err = e.IndexMore(); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(what string, until <-chan struct{}) {
		var mu sync.Mutex
		var took []time.Duration
		var all sync.WaitGroup
		began := time.Now()
		for range 8 {
			all.Go(func() {
				for {
					select {
					case <-until:
						return
					default:
					}
					at := time.Now()
					_, err := e.Publish(ctx, who, []engine.Publish{{Destination: "https://example.com/", Config: wire.Config{Method: "POST", Delay: time.Hour}}})
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					took = append(took, time.Since(at))
					mu.Unlock()
				}
			})
		}
		all.Wait()
		slices.Sort(took)
		at := func(p float64) float64 { return ms(took[int(p*float64(len(took)-1))]) }
		t.Logf("%-18s %6.0f publishes/s, p50 %.2f ms, p99 %.2f ms, max %.1f ms, over %v",
			what, float64(len(took))/time.Since(began).Seconds(), at(.5), at(.99), at(1), time.Since(began).Round(time.Second))
	}
	quiet := make(chan struct{})
	time.AfterFunc(5*time.Second, func() { close(quiet) })
	publish("quiet", quiet)
	purged := make(chan struct{})
	go func() {
		defer close(purged)
		if err := e.Purge(); err != nil {
			t.Error(err)
		}
	}()
	publish("while it is purged", purged)
	if n, _, err := e.Runs(ctx, who, engine.RunFilter{}, "", 10); err != nil || len(n) != 0 {
		t.Errorf("%d runs are left, %v", len(n), err)
	}
}
