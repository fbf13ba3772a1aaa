package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/internal/wire"
)

func (w *world) audit(f engine.AuditFilter) []*engine.AuditEntry {
	w.t.Helper()
	page, _, err := w.engine.Audit(context.Background(), w.caller, f, "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return page
}

// managed are the management actions, each with what it needs and how to tell
// that it was done.
var managed = map[string]func(w *world) (do func(who *engine.Caller) error, done func() bool){
	"token.create": func(w *world) (func(*engine.Caller) error, func() bool) {
		return func(who *engine.Caller) error {
				_, _, err := w.engine.CreateToken(context.Background(), who, engine.NewToken{Name: "new", Scopes: allScopes[:1]})
				return err
			}, func() bool {
				all, _ := w.engine.Tokens(context.Background(), w.caller)
				return slices.ContainsFunc(all, func(t *engine.Token) bool { return t.Name == "new" })
			}
	},
	"token.revoke": func(w *world) (func(*engine.Caller) error, func() bool) {
		token, secret := w.createToken(engine.NewToken{Name: "old", Scopes: allScopes[:1]})
		return func(who *engine.Caller) error {
				return second(w.engine.RevokeToken(context.Background(), who, token.ID()))
			},
			func() bool { return w.stored(secret) == nil }
	},
	"tenant.create": func(w *world) (func(*engine.Caller) error, func() bool) {
		return func(who *engine.Caller) error {
			_, err := w.engine.CreateTenant(context.Background(), who, "second")
			return err
		}, func() bool { return w.engine.Tenants() == 2 }
	},
	"keys.rotate": func(w *world) (func(*engine.Caller) error, func() bool) {
		return func(who *engine.Caller) error {
			_, _, err := w.engine.RotateKeys(context.Background(), who, false)
			return err
		}, func() bool { return w.authenticate("token").CurrentKey != "sig_current_current" }
	},
	"keys.probe": func(w *world) (func(*engine.Caller) error, func() bool) {
		return func(who *engine.Caller) error {
			_, err := w.engine.ProbeKeys(context.Background(), who, engine.ProbeRequest{URL: "https://a.example/x"})
			return err
		}, func() bool { return len(w.made()) > 0 }
	},
	"settings.change": func(w *world) (func(*engine.Caller) error, func() bool) {
		never := engine.SignNever
		return func(who *engine.Caller) error {
			_, err := w.engine.ChangeSettings(context.Background(), who, engine.SettingsChange{SignCalls: &never})
			return err
		}, func() bool { return w.authenticate("token").Settings.SignCalls == never }
	},
	"limits.change": func(w *world) (func(*engine.Caller) error, func() bool) {
		return func(who *engine.Caller) error {
			_, err := w.engine.ChangeLimits(context.Background(), who, "u", map[string]*int64{"maxQueues": new(int64(3))})
			return err
		}, func() bool { return w.authenticate("token").Limits.MaxQueues == 3 }
	},
	"message.cancel": func(w *world) (func(*engine.Caller) error, func() bool) {
		id := w.publish(engine.Publish{Config: wire.Config{Delay: time.Hour}})
		return func(who *engine.Caller) error {
			_, err := w.engine.CancelMessage(context.Background(), who, id)
			return err
		}, w.isCanceled(id)
	},
	"message.cancel of a filter": func(w *world) (func(*engine.Caller) error, func() bool) {
		id := w.publish(engine.Publish{Config: wire.Config{Delay: time.Hour, Labels: []string{"x"}}})
		return func(who *engine.Caller) error {
			_, err := w.engine.CancelMessages(context.Background(), who, engine.MessageFilter{Labels: []string{"x"}}, 0)
			return err
		}, w.isCanceled(id)
	},
	"message.cancel of ids": func(w *world) (func(*engine.Caller) error, func() bool) {
		id := w.publish(engine.Publish{Config: wire.Config{Delay: time.Hour}})
		return func(who *engine.Caller) error {
			_, err := w.engine.CancelMessages(context.Background(), who, engine.MessageFilter{IDs: []string{id}}, 0)
			return err
		}, w.isCanceled(id)
	},
	"run.cancel": func(w *world) (func(*engine.Caller) error, func() bool) {
		w.delayedRun("wfr_a")
		return func(who *engine.Caller) error {
			_, err := w.engine.CancelRun(context.Background(), who, "wfr_a")
			return err
		}, w.isRunCanceled("wfr_a")
	},
	"run.cancel of all": func(w *world) (func(*engine.Caller) error, func() bool) {
		w.delayedRun("wfr_b")
		return func(who *engine.Caller) error {
			_, err := w.engine.CancelRuns(context.Background(), who, engine.RunFilter{}, 0)
			return err
		}, w.isRunCanceled("wfr_b")
	},
	"group.change": func(w *world) (func(*engine.Caller) error, func() bool) {
		return func(who *engine.Caller) error {
				return w.engine.AddToGroup(context.Background(), who, "g", []engine.GroupEndpoint{{URL: "https://a.example"}})
			}, func() bool {
				_, err := w.engine.URLGroup(context.Background(), w.caller, "g")
				return err == nil
			}
	},
	"group.delete": func(w *world) (func(*engine.Caller) error, func() bool) {
		if err := w.engine.AddToGroup(context.Background(), w.caller, "g", []engine.GroupEndpoint{{URL: "https://a.example"}}); err != nil {
			w.t.Fatal(err)
		}
		return func(who *engine.Caller) error { return w.engine.DeleteURLGroup(context.Background(), who, "g") },
			func() bool {
				_, err := w.engine.URLGroup(context.Background(), w.caller, "g")
				return engine.ErrorCode(err) == engine.NotFound
			}
	},
	"schedule.create": func(w *world) (func(*engine.Caller) error, func() bool) {
		return func(who *engine.Caller) error {
			_, err := putSchedule(w.engine, who, scheduled(w.t, tickURL, "0 0 * * *", "Upstash-Schedule-Id", "new"))
			return err
		}, func() bool { return w.hasSchedule("new", "0 0 * * *", false) }
	},
	"schedule.replace": func(w *world) (func(*engine.Caller) error, func() bool) {
		id := w.putSchedule("0 0 * * *")
		return func(who *engine.Caller) error {
			_, err := putSchedule(w.engine, who, scheduled(w.t, tickURL, "0 1 * * *", "Upstash-Schedule-Id", id))
			return err
		}, func() bool { return w.hasSchedule(id, "0 1 * * *", false) }
	},
	"schedule.pause": func(w *world) (func(*engine.Caller) error, func() bool) {
		id := w.putSchedule("0 0 * * *")
		return func(who *engine.Caller) error { return w.engine.PauseSchedule(context.Background(), who, id, true) },
			func() bool { return w.hasSchedule(id, "0 0 * * *", true) }
	},
	"schedule.resume": func(w *world) (func(*engine.Caller) error, func() bool) {
		id := w.putSchedule("0 0 * * *")
		w.pause(id, true)
		return func(who *engine.Caller) error {
			return w.engine.PauseSchedule(context.Background(), who, id, false)
		}, func() bool { return w.hasSchedule(id, "0 0 * * *", false) }
	},
	"schedule.delete": func(w *world) (func(*engine.Caller) error, func() bool) {
		id := w.putSchedule("0 0 * * *")
		return func(who *engine.Caller) error { return w.engine.DeleteSchedule(context.Background(), who, id) },
			func() bool {
				_, err := w.engine.Schedule(context.Background(), w.caller, id)
				return engine.ErrorCode(err) == engine.NotFound
			}
	},
	"dlq.delete": func(w *world) (func(*engine.Caller) error, func() bool) {
		w.dead()
		id := engine.DLQID(w.dlq()[0].Entry.Seq)
		return func(who *engine.Caller) error { return w.engine.DeleteDLQEntry(context.Background(), who, id) },
			func() bool { return len(w.dlq()) == 0 }
	},
	"dlq.delete of all": func(w *world) (func(*engine.Caller) error, func() bool) {
		w.dead()
		return func(who *engine.Caller) error {
			_, _, err := w.engine.DeleteDLQ(context.Background(), who, engine.DLQFilter{}, "", 10)
			return err
		}, func() bool { return len(w.dlq()) == 0 }
	},
	"dlq.retry": func(w *world) (func(*engine.Caller) error, func() bool) {
		w.dead()
		id := engine.DLQID(w.dlq()[0].Entry.Seq)
		return func(who *engine.Caller) error {
			_, err := w.engine.RetryDLQEntry(context.Background(), who, id, wire.Config{Delay: time.Hour})
			return err
		}, func() bool { return len(w.dlq()) == 0 }
	},
	"queue.change": func(w *world) (func(*engine.Caller) error, func() bool) {
		return func(who *engine.Caller) error {
				return second(w.engine.PutQueue(context.Background(), who, engine.QueueChange{Name: "q", Parallelism: new(2)}))
			}, func() bool {
				q, err := w.engine.Queue(context.Background(), w.caller, "q")
				return err == nil && q.Parallelism == 2
			}
	},
	"queue.resume": func(w *world) (func(*engine.Caller) error, func() bool) {
		w.enqueue("q", "a", wire.Config{Delay: time.Hour})
		if err := w.engine.PauseQueue(context.Background(), w.caller, "q", true); err != nil {
			w.t.Fatal(err)
		}
		return func(who *engine.Caller) error { return w.engine.PauseQueue(context.Background(), who, "q", false) },
			func() bool { return !w.queue("q").Paused }
	},
	"queue.pause": func(w *world) (func(*engine.Caller) error, func() bool) {
		w.enqueue("q", "a", wire.Config{Delay: time.Hour})
		return func(who *engine.Caller) error { return w.engine.PauseQueue(context.Background(), who, "q", true) },
			func() bool { return w.queue("q").Paused }
	},
	"queue.delete": func(w *world) (func(*engine.Caller) error, func() bool) {
		id := w.enqueue("q", "a", wire.Config{Delay: time.Hour})
		return func(who *engine.Caller) error { return w.engine.DeleteQueue(context.Background(), who, "q") }, w.isCanceled(id)
	},
	"flow.pause": func(w *world) (func(*engine.Caller) error, func() bool) {
		return func(who *engine.Caller) error { return w.engine.PauseFlow(context.Background(), who, "k", true) },
			w.isKey(func(k *engine.FlowKey) bool { return k.Paused })
	},
	"flow.resume": func(w *world) (func(*engine.Caller) error, func() bool) {
		w.setKey(&engine.FlowKey{Key: "k", Paused: true})
		return func(who *engine.Caller) error { return w.engine.PauseFlow(context.Background(), who, "k", false) },
			w.isKey(func(k *engine.FlowKey) bool { return !k.Paused })
	},
	"flow.pin": func(w *world) (func(*engine.Caller) error, func() bool) {
		return func(who *engine.Caller) error {
			return w.engine.PinFlow(context.Background(), who, "k", engine.FlowPin{Rate: new(3)})
		}, w.isKey(func(k *engine.FlowKey) bool { return k.PinnedRate && k.Rate == 3 })
	},
	"flow.unpin": func(w *world) (func(*engine.Caller) error, func() bool) {
		w.setKey(&engine.FlowKey{Key: "k", Rate: 1, Period: 1, PinnedRate: true})
		return func(who *engine.Caller) error {
			return w.engine.UnpinFlow(context.Background(), who, "k", false, true)
		}, w.isKey(func(k *engine.FlowKey) bool { return !k.PinnedRate })
	},
	"flow.reset": func(w *world) (func(*engine.Caller) error, func() bool) {
		w.setKey(&engine.FlowKey{Key: "k", Rate: 1, Period: 1000, RateCount: 1, WindowStart: time.Now().UnixMilli()})
		return func(who *engine.Caller) error { return w.engine.ResetFlowRate(context.Background(), who, "k") },
			w.isKey(func(k *engine.FlowKey) bool { return k.RateCount == 0 })
	},
	"dlq.retry of all": func(w *world) (func(*engine.Caller) error, func() bool) {
		w.dead()
		return func(who *engine.Caller) error {
			_, _, err := w.engine.RetryDLQ(context.Background(), who, engine.DLQFilter{}, wire.Config{Delay: time.Hour}, "", 10)
			return err
		}, func() bool { return len(w.dlq()) == 0 }
	},
	"dlq.resume": func(w *world) (func(*engine.Caller) error, func() bool) {
		run := w.failedRun(nil)
		return func(who *engine.Caller) error {
			return second(w.engine.ResumeRun(context.Background(), who, engine.DLQID(run.DLQ), engine.Resume{}))
		}, func() bool { return len(w.dlq()) == 0 }
	},
	"dlq.resume/filtered": func(w *world) (func(*engine.Caller) error, func() bool) {
		w.failedRun(nil)
		return func(who *engine.Caller) error {
			_, _, err := w.engine.ResumeRuns(context.Background(), who, engine.DLQFilter{}, engine.Resume{}, "", 10)
			return err
		}, func() bool { return len(w.dlq()) == 0 }
	},
	"dlq.restart": func(w *world) (func(*engine.Caller) error, func() bool) {
		run := w.failedRun(nil)
		return func(who *engine.Caller) error {
			return second(w.engine.ResumeRun(context.Background(), who, engine.DLQID(run.DLQ), engine.Resume{Restart: true}))
		}, func() bool { return len(w.dlq()) == 0 }
	},
	"dlq.callback": func(w *world) (func(*engine.Caller) error, func() bool) {
		run := w.failureCalled(status(500))
		time.Sleep(2 * time.Minute)
		return func(who *engine.Caller) error {
			return second(w.engine.RerunFailureCallback(context.Background(), who, engine.DLQID(run.DLQ)))
		}, func() bool { return w.history("wfr_1").Run.Failure == engine.FailureInProgress }
	},
	"dlq.callback.cancel": func(w *world) (func(*engine.Caller) error, func() bool) {
		run := w.failureCalled(status(500))
		return func(who *engine.Caller) error {
			return second(w.engine.CancelFailureCallback(context.Background(), who, engine.DLQID(run.DLQ)))
		}, func() bool { return w.history("wfr_1").Run.Failure == engine.FailureCanceled }
	},
}

func (w *world) hasSchedule(id, cron string, paused bool) bool {
	s, err := w.engine.Schedule(context.Background(), w.caller, id)
	return err == nil && s.Settings.Cron == cron && s.Paused == paused
}

func (w *world) isCanceled(id string) func() bool {
	return func() bool { return slices.Contains(w.states(id), engine.EventCanceled) }
}

// setKey writes a key of flow control as if messages had made it.
func (w *world) setKey(k *engine.FlowKey) {
	w.t.Helper()
	k.Seq, k.Tenant = engine.FirstSeq(time.Now().UnixMilli()), w.tenant.ID
	if err := w.store.Update(context.Background(), func(tx engine.Tx) error { return tx.InsertFlowKey(k) }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) isKey(is func(*engine.FlowKey) bool) func() bool {
	return func() bool {
		k, err := w.engine.FlowKey(context.Background(), w.caller, "k")
		return err == nil && is(k.FlowKey)
	}
}

func (w *world) isRunCanceled(id string) func() bool {
	return func() bool {
		runs, _, err := w.engine.Runs(context.Background(), w.caller, engine.RunFilter{IDs: []string{id}}, "", 1)
		return err == nil && runs[0].Run.State == engine.RunCanceled
	}
}

func (w *world) delayedRun(id string) {
	w.t.Helper()
	w.publish(engine.Publish{Config: wire.Config{Delay: time.Hour, Workflow: wire.Workflow{Init: true, RunID: id}}})
}

// dead leaves a message in the DLQ.
func (w *world) dead() {
	w.t.Helper()
	w.respond(status(500))
	w.publish(engine.Publish{Config: wire.Config{Retries: new(0)}})
	time.Sleep(time.Second)
}

// auditFails is a store whose audit log takes nothing while broken is set.
type auditFails struct {
	engine.Store
	broken atomic.Bool
}

type auditFailsTx struct{ engine.Tx }

var errNoAudit = errors.New("no audit")

func (auditFailsTx) InsertAudit(*engine.AuditEntry) error { return errNoAudit }

func (a *auditFails) Update(ctx context.Context, fn func(engine.Tx) error) error {
	broken := a.broken.Load()
	return a.Store.Update(ctx, func(tx engine.Tx) error {
		if broken {
			tx = auditFailsTx{tx}
		}
		return fn(tx)
	})
}

// Every management action is in the audit log, with who did it, or is not done
// at all.
func TestAuditIsPartOfTheChange(t *testing.T) {
	for name, prepare := range managed {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.stop()
				fails := &auditFails{Store: w.store}
				w.store = fails
				w.start()
				do, done := prepare(w)
				who := w.authenticate("token")
				who.IP = "203.0.113.7"
				action, _, bulk := strings.Cut(name, " ")
				action, _, _ = strings.Cut(action, "/") // another way to do it
				before := len(w.audit(engine.AuditFilter{}))

				fails.broken.Store(true)
				if err := do(who); !errors.Is(err, errNoAudit) || done() {
					t.Fatalf("without the audit log: done %t, error %v", done(), err)
				}
				if n := len(w.audit(engine.AuditFilter{})); n != before {
					t.Fatalf("%d entries for what was not done", n-before)
				}
				fails.broken.Store(false)
				if err := do(who); err != nil || !done() {
					t.Fatalf("done %t, error %v", done(), err)
				}
				entries := w.audit(engine.AuditFilter{Actions: []string{action}})
				if len(entries) != 1 || len(w.audit(engine.AuditFilter{})) != before+1 {
					t.Fatalf("entries %+v", entries)
				}
				got := entries[0]
				if got.Actor != who.Token.ID() || got.ActorName != "first" || got.CallerIP != who.IP || (got.Object == "") != bulk {
					t.Errorf("entry %+v", got)
				}
				if bulk && (!strings.HasPrefix(got.Before, `{"filter":`) || got.After != `{"count":1}`) {
					t.Errorf("entry %+v", got)
				}
			})
		})
	}
}

// What changes nothing, and what endpoints do to run, is no management action.
func TestAuditLeavesOut(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		w.publish(engine.Publish{})
		time.Sleep(time.Second) // it is delivered
		w.delayedRun("wfr_1")
		if err := w.engine.FinishRun(ctx, w.caller, "wfr_1", []byte("1")); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{
			second(w.engine.CancelMessages(ctx, w.caller, engine.MessageFilter{}, 0)),
			second(w.engine.CancelMessages(ctx, w.caller, engine.MessageFilter{IDs: []string{"msg_x"}}, 0)),
			second(w.engine.CancelRuns(ctx, w.caller, engine.RunFilter{}, 0)),
			second(w.engine.CancelRun(ctx, w.caller, "wfr_1")), // has ended
			w.engine.DeleteQueue(ctx, w.caller, "none"),
			w.engine.PauseFlow(ctx, w.caller, "k", false),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		if _, _, err := w.engine.DeleteDLQ(ctx, w.caller, engine.DLQFilter{}, "", 10); err != nil {
			t.Error(err)
		}
		for _, a := range w.audit(engine.AuditFilter{}) {
			t.Errorf("entry %+v", a)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// A filter of any length leaves an entry of a bounded one, which is still JSON.
func TestAuditEntriesAreBounded(t *testing.T) {
	inBubble(t, func(w *world) {
		id := w.publish(engine.Publish{Config: wire.Config{Delay: time.Hour}})
		ids := []string{id, strings.Repeat("é", 5000)}
		for i := range 10_000 {
			ids = append(ids, fmt.Sprint("msg_", i))
		}
		if n, err := w.engine.CancelMessages(context.Background(), w.caller, engine.MessageFilter{IDs: ids}, 0); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		var before struct{ Filter struct{ MessageIDs []string } }
		text := w.audit(engine.AuditFilter{})[0].Before
		if err := json.Unmarshal([]byte(text), &before); err != nil || len(text) > 2000 {
			t.Fatalf("%d bytes, error %v", len(text), err)
		}
		got := before.Filter.MessageIDs
		if len(got) != 21 || got[0] != id || got[20] != "and 180 more" { // of the ids of one transaction
			t.Errorf("kept %q", got)
		}
	})
}

// The log is read newest first, by action, by actor's id or name, and by time,
// in pages; each tenant reads its own.
func TestAuditList(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		start := time.Now().UnixMilli()
		var tokens []string
		for i := range 25 {
			time.Sleep(time.Second)
			token, _ := w.createToken(engine.NewToken{Name: fmt.Sprint("t", i), Scopes: []engine.Scope{engine.ScopeAdmin}})
			tokens = append(tokens, token.ID())
		}
		cr, err := w.engine.CreateTenant(ctx, w.caller, "")
		if err != nil {
			t.Fatal(err)
		}
		other := w.authenticate(cr.Token)
		if _, _, err := w.engine.RotateKeys(ctx, other, false); err != nil {
			t.Fatal(err)
		}
		if _, err := w.engine.CreateTenant(ctx, other, ""); engine.ErrorCode(err) != engine.Forbidden {
			t.Errorf("another tenant created one: %v", err)
		}
		objects := func(who *engine.Caller, f engine.AuditFilter) (out []string) {
			for cursor, pages := "", 0; ; pages++ {
				page, next, err := w.engine.Audit(ctx, who, f, cursor, 4)
				if err != nil || pages > 10 {
					t.Fatal(err)
				}
				for _, a := range page {
					out = append(out, a.Object)
				}
				if cursor = next; cursor == "" {
					return out
				}
			}
		}
		slices.Reverse(tokens)
		for name, test := range map[string]struct {
			who  *engine.Caller
			f    engine.AuditFilter
			want []string
		}{
			"all":        {w.caller, engine.AuditFilter{}, append([]string{cr.UserID}, tokens...)},
			"action":     {w.caller, engine.AuditFilter{Actions: []string{"tenant.create", "x"}}, []string{cr.UserID}},
			"actor":      {w.caller, engine.AuditFilter{Actors: []string{w.caller.Token.ID()}, Actions: []string{"token.create"}}, tokens},
			"actor name": {w.caller, engine.AuditFilter{Actors: []string{"first"}, From: start + 25_000}, []string{cr.UserID, tokens[0]}},
			"nobody":     {w.caller, engine.AuditFilter{Actors: []string{"t1"}}, nil},
			"time":       {w.caller, engine.AuditFilter{From: start + 2000, To: start + 3000}, tokens[22:24]},
			"other":      {other, engine.AuditFilter{}, []string{other.UserID}},
		} {
			if got := objects(test.who, test.f); !slices.Equal(got, test.want) {
				t.Errorf("%s: got %v, want %v", name, got, test.want)
			}
		}
	})
}

// The audit log is kept for its own time, whatever becomes of messages.
func TestAuditRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.OpenMemory(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		w := &world{t: t, store: s, answer: ok}
		w.engine, err = engine.New(context.Background(), engine.Options{
			Store: s, Deliverer: w, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Limits: engine.Limits{AuditRetention: 3 * time.Hour},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.engine.EnsureTenant(context.Background(), engine.Credentials{UserID: "u", Token: "token"}); err != nil {
			t.Fatal(err)
		}
		w.engine.Start()
		defer w.stop()
		w.caller = w.authenticate("token")
		w.createToken(engine.NewToken{Scopes: allScopes[:1]})
		time.Sleep(2 * time.Hour)
		w.createToken(engine.NewToken{Name: "young", Scopes: allScopes[:1]})
		time.Sleep(90 * time.Minute)
		if left := w.audit(engine.AuditFilter{}); len(left) != 1 || !strings.Contains(left[0].After, "young") {
			t.Errorf("left %+v", left)
		}
	})
}
