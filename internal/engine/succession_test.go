package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/pgtest"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/internal/wire"
)

// failedRuns are runs that have failed at their second step of three, which they
// would come to the end of now.
func (w *world) failedRuns(n int) (entries []string, ep *endpoint) {
	w.t.Helper()
	ep = &endpoint{w: w, stages: []int{1, 1, 1}, executed: map[int]int{}}
	w.respond(func(a engine.Attempt) engine.Outcome {
		if log, err := wire.ParseLog(a.Body); err != nil || len(log) > 1 {
			return refusal()
		}
		return ep.answer(a)
	})
	for i := range n {
		w.trigger(fmt.Sprint("wfr_", i), 0)
	}
	time.Sleep(time.Minute)
	for _, d := range w.dlq() {
		entries = append(entries, engine.DLQID(d.Entry.Seq))
	}
	if len(entries) != n {
		w.t.Fatalf("%d of %d runs have failed", len(entries), n)
	}
	w.respond(ep.answer)
	return entries, ep
}

// twoNodes runs a test with two engines on PostgreSQL, and with one, twice, on
// SQLite, which belongs to one alone.
func twoNodes(t *testing.T, limits engine.Limits, fn func(w *world, nodes []*engine.Engine)) {
	t.Helper()
	onEachDatabase(t, func(w *world) {
		w.stop()
		w.limits = limits
		w.start()
		if w.t.Name() == t.Name()+"/sqlite" {
			fn(w, []*engine.Engine{w.engine, w.engine})
			return
		}
		other := w.node()
		other.Start()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		defer other.Close(ctx)
		fn(w, []*engine.Engine{w.engine, other})
	})
}

// successors are the runs that went on with others, or did them over.
type successors struct {
	*world
	mu  sync.Mutex
	all map[string]*engine.Run // by the id of the old one
}

// add notes what came of a request. Who comes too late finds no entry.
func (s *successors) add(runs []*engine.Run, err error) {
	if err != nil && engine.ErrorCode(err) != engine.NotFound {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, run := range runs {
		old := run.Settings.Before.ID
		if s.all[old] != nil {
			s.t.Errorf("%s goes on as %s and as %s", old, s.all[old].ID, run.ID)
		}
		s.all[old] = run
	}
}

func (s *successors) resume(e *engine.Engine, id string, how engine.Resume) {
	run, err := e.ResumeRun(context.Background(), s.caller, id, how)
	if err != nil {
		s.add(nil, err)
		return
	}
	s.add([]*engine.Run{run}, nil)
}

// resumeAll resumes in bulk, page by page.
func (s *successors) resumeAll(e *engine.Engine, how engine.Resume) {
	for cursor, more := "", true; more; more = cursor != "" {
		runs, next, err := e.ResumeRuns(context.Background(), s.caller, engine.DLQFilter{}, how, cursor, 3)
		s.add(runs, err)
		if cursor = next; err != nil {
			return
		}
	}
}

// Whoever resumes and restarts a run, by its entry or in bulk, at the same time, one
// of them has made the one run that goes on, and that comes to its end.
func TestT28ResumedOnce(t *testing.T) {
	const runs = 12
	twoNodes(t, engine.Limits{}, func(w *world, nodes []*engine.Engine) {
		entries, ep := w.failedRuns(runs)
		s := &successors{world: w, all: map[string]*engine.Run{}}
		var all sync.WaitGroup
		for _, id := range entries {
			for n, e := range nodes {
				all.Go(func() { s.resume(e, id, engine.Resume{Restart: n == 1}) })
			}
		}
		for n, e := range nodes {
			all.Go(func() { s.resumeAll(e, engine.Resume{Restart: n == 1}) })
		}
		all.Wait()
		time.Sleep(10 * time.Minute)
		if len(s.all) != runs || len(w.dlq()) != 0 {
			w.t.Errorf("%d of %d runs go on, %d entries are left", len(s.all), runs, len(w.dlq()))
		}
		for old, run := range s.all {
			h := w.history(run.ID)
			if h.Run.State != engine.RunSuccess || string(h.Run.Response) != "3" || len(w.logged(run)) != 3 {
				w.t.Errorf("%s goes on as %+v", old, h.Run)
			}
			if was := w.history(old); was.Next == nil || was.Next.ID != run.ID {
				w.t.Errorf("%s says that %+v goes on", old, was.Next)
			}
		}
		for _, f := range ep.faults {
			w.t.Error(f)
		}
	})
}

// What is cancelled while it is resumed has ended, one way or the other, and nothing
// is to be delivered for it any more.
func TestT28ResumedAndCancelled(t *testing.T) {
	const runs = 12
	twoNodes(t, engine.Limits{}, func(w *world, nodes []*engine.Engine) {
		entries, _ := w.failedRuns(runs)
		s := &successors{world: w, all: map[string]*engine.Run{}}
		var all sync.WaitGroup
		var done atomic.Bool
		all.Go(func() {
			for !done.Load() {
				time.Sleep(time.Millisecond) // or no time would pass, for which others wait
				if _, err := nodes[1].CancelRuns(context.Background(), w.caller, engine.RunFilter{}, 0); err != nil {
					w.t.Error(err)
				}
			}
		})
		for i, id := range entries {
			s.resume(nodes[i%2], id, engine.Resume{})
		}
		done.Store(true)
		all.Wait()
		time.Sleep(10 * time.Minute)
		for old, run := range s.all {
			if got := w.history(run.ID).Run; got.State != engine.RunCanceled && got.State != engine.RunSuccess {
				w.t.Errorf("%s goes on as %+v", old, got)
			}
		}
		for _, m := range w.messages() {
			if m.State != engine.Delivered && m.State != engine.Canceled && m.State != engine.Failed {
				w.t.Errorf("message %+v is left", m)
			}
		}
	})
}

// What is resumed in the moment that it is purged goes on with all of its log, or is
// gone.
func TestT28ResumedAndPurged(t *testing.T) {
	const runs = 12
	limits := engine.Limits{Retention: time.Hour, DLQRetention: time.Hour}
	twoNodes(t, limits, func(w *world, nodes []*engine.Engine) {
		entries, _ := w.failedRuns(runs)
		time.Sleep(58 * time.Minute) // 60 will have passed since they failed when the purge looks
		w.respond(ok)
		s := &successors{world: w, all: map[string]*engine.Run{}}
		var all sync.WaitGroup
		time.Sleep(time.Minute + time.Second)
		for i, e := range nodes {
			all.Go(func() {
				for n := range entries {
					s.resume(e, entries[(n+i*runs/2)%runs], engine.Resume{})
				}
			})
			all.Go(func() {
				for range 3 {
					if err := e.Purge(); err != nil {
						w.t.Error(err)
					}
				}
			})
		}
		all.Wait()
		w.t.Logf("%d of %d go on", len(s.all), runs)
		time.Sleep(3 * time.Hour)
		for old, run := range s.all {
			if steps := w.steps(run.ID); len(steps) != 1 {
				w.t.Errorf("%s goes on with %+v", old, steps)
			}
			w.finish(run.ID, "")
		}
		time.Sleep(3 * time.Hour)
		if rows := w.count(); rows != 0 {
			w.t.Errorf("%d rows are left", rows)
		}
	})
}

// A run that is resumed together with the one that it had invoked is told once what
// became of that: that it has failed, or how the one has ended that goes on with it.
func TestT28ResumedWithItsChild(t *testing.T) {
	const pairs = 8
	twoNodes(t, engine.Limits{}, func(w *world, nodes []*engine.Engine) {
		for i := range pairs {
			w.trigger(fmt.Sprint("wfr_parent", i), 0)
		}
		time.Sleep(time.Second)
		w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
		for i := range pairs {
			w.invoke(fmt.Sprint("wfr_parent", i), fmt.Sprint("wfr_child", i), 1)
		}
		time.Sleep(time.Minute)
		w.respond(ok)
		s := &successors{world: w, all: map[string]*engine.Run{}}
		var all sync.WaitGroup
		for i, d := range w.dlq() {
			all.Go(func() { s.resume(nodes[i%2], engine.DLQID(d.Entry.Seq), engine.Resume{}) })
		}
		all.Go(func() { s.resumeAll(nodes[1], engine.Resume{}) })
		all.Wait()
		if len(s.all) != 2*pairs {
			w.t.Fatalf("%d runs go on", len(s.all))
		}
		told := map[string]int{}
		for i := range pairs {
			parent, child := s.all[fmt.Sprint("wfr_parent", i)], s.all[fmt.Sprint("wfr_child", i)]
			w.finish(child.ID, "7")
			time.Sleep(time.Second)
			results := w.results(parent.ID)
			if len(results) != 1 {
				w.t.Errorf("%s was told %q", parent.ID, results)
				continue
			}
			told[strings.TrimPrefix(results[0], fmt.Sprint("1 invoke wfr_child", i, " "))]++
		}
		const failed, succeeded = `{"isCanceled":false,"isFailed":true}`, `{"body":"7","isCanceled":false,"isFailed":false}`
		if told[failed]+told[succeeded] != pairs {
			w.t.Errorf("told %v", told)
		}
		w.t.Logf("told %v", told)
	})
}

// However often a run fails and is resumed meanwhile, each call of its webhook that
// was accepted, and each event, is told to the one that goes on, once.
func TestT28ToldWhileResumed(t *testing.T) {
	twoNodes(t, engine.Limits{}, func(w *world, nodes []*engine.Engine) {
		old := w.failedWithWebhook()
		var all sync.WaitGroup
		var mu sync.Mutex
		var calls, events []string
		var done atomic.Int32
		random := rand.New(rand.NewPCG(1, 2))
		for i := range 6 {
			pauses := make([]time.Duration, 12)
			for n := range pauses {
				pauses[n] = time.Duration(random.IntN(2_000)) * time.Millisecond
			}
			all.Go(func() {
				defer done.Add(1)
				for n, pause := range pauses {
					time.Sleep(pause)
					name := fmt.Sprintf("%d of %d", n, i)
					if i%2 == 0 {
						hook, err := nodes[i%4/2].Webhook(context.Background(), "u", "wfr_old", "evt_1")
						if err == nil {
							err = nodes[i%4/2].Call(context.Background(), hook, []byte(name))
						}
						if err != nil {
							w.t.Error(err) // a caller does so once
							continue
						}
						mu.Lock()
						calls = append(calls, name)
						mu.Unlock()
						continue
					}
					_, err := nodes[i%4/2].NotifyRun(context.Background(), w.caller, "wfr_old", "e", []byte(name))
					switch {
					case err == nil:
						mu.Lock()
						events = append(events, name)
						mu.Unlock()
					case engine.ErrorCode(err) != engine.NotFound: // it is not active
						w.t.Error(err)
					}
				}
			})
		}
		resumed := 0
		for run := old; ; resumed++ {
			w.respond(ok)
			run = w.resume(engine.DLQID(run.DLQ), engine.Resume{})
			time.Sleep(500 * time.Millisecond)
			if done.Load() == 6 {
				w.append(run.ID, wire.Step{StepID: 2, StepName: "fails", StepType: wire.StepRun, Concurrent: 2})
				old = run
				break
			}
			w.respond(func(engine.Attempt) engine.Outcome { return refusal() })
			// Something is delivered, and refused.
			w.append(run.ID, wire.Step{StepID: run.MaxStep + 1, StepName: "more", StepType: wire.StepRun, Concurrent: 1})
			time.Sleep(500 * time.Millisecond)
			if run = w.history(run.ID).Run; run.State != engine.RunFailed {
				w.t.Fatalf("run %+v", run)
			}
		}
		all.Wait()
		told := func(event string, n int, kind wire.StepType) (out []string) {
			for range n {
				next := w.history(old.ID).Run.MaxStep + 1
				w.waits(old.ID, event, next, func(r *wire.Wait) { r.Step.StepType = kind })
				steps := w.steps(old.ID)
				if last := steps[len(steps)-1]; last.StepID == next && last.Out != nil {
					out = append(out, unbase64(*last.Out))
				}
			}
			slices.Sort(out)
			return out
		}
		slices.Sort(calls)
		slices.Sort(events)
		if got := told("evt_1", len(calls), wire.StepWaitForWebhook); !slices.Equal(got, calls) {
			w.t.Errorf("called with %q, told %q", calls, got)
		}
		if got := told("e", len(events), wire.StepWait); !slices.Equal(got, events) {
			w.t.Errorf("notified of %q, told %q", events, got)
		}
		w.t.Logf("%d calls, %d events, resumed %d times", len(calls), len(events), resumed)
	})
}

// Calls that end on one node while another ends their runs do
// not wait for each other crosswise.
func TestT28CallsEndWithTheirRuns(t *testing.T) {
	dsn := pgtest.DSN(t)
	s, err := store.OpenPostgres(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	w := &world{t: t, store: s, answer: func(a engine.Attempt) engine.Outcome {
		if a.Kind == engine.KindToCallback {
			<-gate
		}
		return engine.Outcome{Status: 200}
	}}
	w.start()
	other := w.node()
	const runs, calls = 40, 5
	for i := range runs {
		w.trigger(fmt.Sprint("wfr_", i), 0)
		for n := range calls {
			w.publish(engine.Publish{Destination: fmt.Sprint("https://third.example/", n), Config: wire.Config{
				Callback: &wire.Callback{URL: workflowURL},
				Workflow: wire.Workflow{RunID: fmt.Sprint("wfr_", i), URL: workflowURL, CallType: wire.CallTo},
			}})
		}
	}
	for deadline := time.Now().Add(time.Minute); len(w.made()) < runs*(1+calls); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d attempts", len(w.made()))
		}
	}
	close(gate)
	var all sync.WaitGroup
	for i := range runs {
		all.Go(func() {
			if _, err := other.CancelRun(context.Background(), w.caller, fmt.Sprint("wfr_", i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	w.stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := pgtest.Deadlocks(t, dsn); n > 0 {
		t.Errorf("%d deadlocks", n)
	}
}

// Runs go on with the logs of those before while all of these are sealed anew, under
// one data key after the other.
func TestT28ResumedWhileSealedAnew(t *testing.T) {
	key := func(n byte) []byte { return bytes.Repeat([]byte{n}, store.MasterKeyBytes) }
	for name, open := range map[string]func(t *testing.T) func() (engine.Store, error){
		"sqlite": func(*testing.T) func() (engine.Store, error) {
			return func() (engine.Store, error) { return store.OpenMemory(context.Background(), key(1)) }
		},
		"postgres": func(t *testing.T) func() (engine.Store, error) {
			dsn := pgtest.DSN(t)
			return func() (engine.Store, error) { return store.OpenPostgres(context.Background(), dsn, key(1)) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubbleOn(t, open(t), func(w *world) {
				ctx := context.Background()
				const runs, resumes = 6, 12
				var failing sync.Map // ids
				w.respond(func(a engine.Attempt) engine.Outcome {
					if _, fails := failing.Load(a.RunID); fails {
						return refusal()
					}
					return engine.Outcome{Status: 200}
				})
				var all sync.WaitGroup
				var working atomic.Int32
				for i := range runs {
					working.Add(1)
					w.trigger(fmt.Sprint("wfr_", i), 0)
					all.Go(func() {
						defer working.Add(-1)
						id := fmt.Sprint("wfr_", i)
						for n := range resumes {
							time.Sleep(time.Second)
							failing.Store(id, nil)
							out := fmt.Sprint(n, i)
							w.append(id, wire.Step{StepID: n + 1, StepName: "s", StepType: wire.StepRun, Concurrent: 1, Out: &out})
							time.Sleep(time.Second)
							id = w.resume(w.dlqID(id), engine.Resume{}).ID
							for s, step := range w.steps(id) {
								if *step.Out != fmt.Sprint(s, i) {
									w.t.Errorf("resumed %d times, step %d is %s", n, s, *step.Out)
								}
							}
						}
					})
				}
				n := byte(1)
				for working.Load() > 0 {
					n++
					if err := w.store.Rewrap(ctx, [][]byte{key(n), key(n - 1)}); err != nil {
						w.t.Fatal(err)
					}
					for more := true; more; {
						var err error
						time.Sleep(50 * time.Millisecond)
						if more, err = w.store.Reseal(ctx); err != nil {
							w.t.Fatal(err)
						}
					}
				}
				all.Wait()
				if now, err := w.store.Sealing(ctx); err != nil || now.UnderWay() || now.DataKeys != 1 {
					w.t.Errorf("after %d data keys: %+v, %v", n, now, err)
				}
			})
		})
	}
}
