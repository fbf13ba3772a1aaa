package workflowtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/workflow"
	"github.com/signposthq/signpost/workflowtest"
)

func TestCalls(t *testing.T) {
	fetch := func(ctx *workflow.Context, url string) (string, error) {
		r, err := workflow.Call(ctx, "fetch", workflow.CallRequest{URL: url, Method: "POST", Header: http.Header{"X-Key": {"k"}}, Body: []byte("in"), Retries: 2, Timeout: time.Minute})
		return fmt.Sprint(r.Status, " ", string(r.Body)), err
	}
	for _, tt := range []struct {
		name    string
		script  func(*workflowtest.Env)
		want    string
		elapsed time.Duration
	}{
		{"by url", func(e *workflowtest.Env) {
			e.OnCall("https://api.example/users", func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				w.WriteHeader(201)
				fmt.Fprint(w, r.Method, " ", r.URL, " ", r.Header.Get("X-Key"), " ", string(body))
			})
		}, "201 POST https://api.example/users k in", 0},
		{"by step", func(e *workflowtest.Env) {
			e.OnCall("https://api.example/users", workflowtest.Reply(200, "url"))
			e.OnCall("fetch", workflowtest.Reply(200, "step"))
		}, "200 step", 0},
		{"below a url", func(e *workflowtest.Env) {
			e.OnCall("https://", workflowtest.Reply(200, "no"))
			e.OnCall("https://api.example/", workflowtest.Reply(200, map[string]int{"a": 1}))
		}, `200 {"a":1}`, 0},
		{"the latest", func(e *workflowtest.Env) {
			e.OnCall("fetch", workflowtest.Reply(500, nil))
			e.OnCall("fetch", workflowtest.Reply(204, nil))
		}, "204 ", 0},
		{"a retry", func(e *workflowtest.Env) {
			n := 0
			e.OnCall("fetch", func(w http.ResponseWriter, r *http.Request) {
				if n++; n < 3 {
					w.Header().Set("Retry-After", "100")
					w.WriteHeader(503)
				}
			})
		}, "200 ", 200 * time.Second},
		{"an error", func(e *workflowtest.Env) {
			e.OnCall("fetch", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "1")
				http.Error(w, "down", http.StatusServiceUnavailable)
			})
		}, "503 down\n", 2 * time.Second},
		{"later", func(e *workflowtest.Env) { e.OnCall("fetch", workflowtest.Reply(200, "ok")).After(30 * time.Second) }, "200 ok", 30 * time.Second},
		{"too late", func(e *workflowtest.Env) {
			e.OnCall("fetch", workflowtest.Reply(200, "ok")).After(time.Hour)
		}, "0 ", 3*time.Minute + 160595*time.Millisecond},
		{"no answer", func(e *workflowtest.Env) {
			e.OnCall("fetch", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		}, "0 ", 160595 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := workflowtest.New(t)
			tt.script(env)
			run := workflowtest.Run(env, fetch, "https://api.example/users")
			noError(t, run.Err)
			if run.Value != tt.want || run.Elapsed != tt.elapsed {
				t.Errorf("got %q after %s, want %q after %s", run.Value, run.Elapsed, tt.want, tt.elapsed)
			}
		})
	}
}

func TestUnscriptedCall(t *testing.T) {
	said := fails(t, func(t testing.TB) {
		env := workflowtest.New(t)
		env.OnCall("https://api.example/user", workflowtest.Reply(200, nil))
		workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (int, error) {
			r, err := workflow.Call(ctx, "fetch", workflow.CallRequest{URL: "https://api.example/users"})
			return r.Status, err
		}, struct{}{})
	})
	contains(t, said, `step "fetch"`, "calls GET https://api.example/users", `env.OnCall("fetch", …)`, "Seed was", `never used: OnCall("https://api.example/user", …)`)
}

type payment struct{ Amount int }

func waitForPayment(ctx *workflow.Context, _ struct{}) (string, error) {
	e, err := workflow.WaitForEvent[payment](ctx, "wait for payment", "paid", 24*time.Hour)
	return fmt.Sprint(e.Data.Amount, " ", e.TimedOut), err
}

func TestEvents(t *testing.T) {
	for _, tt := range []struct {
		name    string
		script  func(*workflowtest.Env)
		want    string
		elapsed time.Duration
	}{
		{"at once", func(e *workflowtest.Env) { e.Notify("paid", payment{7}) }, "7 false", 0},
		{"by step", func(e *workflowtest.Env) { e.Notify("wait for payment", `{"Amount":8}`) }, "8 false", 0},
		{"nothing", func(e *workflowtest.Env) {}, "0 true", 24 * time.Hour},
		{"later", func(e *workflowtest.Env) { e.Notify("paid", payment{7}).After(time.Hour) }, "7 false", time.Hour},
		{"too late", func(e *workflowtest.Env) { e.Notify("paid", payment{7}).After(25 * time.Hour) }, "0 true", 24 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := workflowtest.New(t)
			tt.script(env)
			run := workflowtest.Run(env, waitForPayment, struct{}{})
			noError(t, run.Err)
			if run.Value != tt.want || run.Elapsed != tt.elapsed {
				t.Errorf("got %q after %s, want %q after %s", run.Value, run.Elapsed, tt.want, tt.elapsed)
			}
			if now := env.Now().Sub(env.Start.Truncate(time.Millisecond)); now != run.Elapsed {
				t.Errorf("the time went on to %s for a wait that was over", now)
			}
		})
	}
}

// What comes can be said while a step waits already, and from within a step.
func TestNotifyWhileARunWaits(t *testing.T) {
	env := workflowtest.New(t)
	env.OnCall("say", func(http.ResponseWriter, *http.Request) { env.Notify("evt", "x").After(20 * time.Hour) }).After(time.Hour)
	run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (time.Duration, error) {
		wait := workflow.WaitForEventAsync[string](ctx, "wait", "evt", 100*time.Hour)
		other := ctx.SleepAsync("sleep", 10*time.Hour)
		say := workflow.CallAsync(ctx, "say", workflow.CallRequest{URL: "https://example.com"})
		if err := workflow.All(ctx, wait, other, say); err != nil {
			return 0, err
		}
		return 0, step(ctx, "end")
	}, struct{}{})
	noError(t, run.Err)
	if run.Elapsed != 20*time.Hour {
		t.Errorf("elapsed %s", run.Elapsed)
	}
}

func TestEventsAreToldInOrder(t *testing.T) {
	env := workflowtest.New(t)
	env.Notify("paid", 1)
	env.Notify("paid", 2)
	run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (out []int, err error) {
		for i := range 3 {
			e, err := workflow.WaitForEvent[int](ctx, fmt.Sprint("wait ", i), "paid", time.Minute)
			if err != nil {
				return nil, err
			}
			out = append(out, e.Data)
		}
		return out, nil
	}, struct{}{})
	noError(t, run.Err)
	if !slices.Equal(run.Value, []int{1, 2, 0}) {
		t.Errorf("got %v", run.Value)
	}
}

// Runs tell each other, as they do on a server.
func TestRunsTellEachOther(t *testing.T) {
	env := workflowtest.New(t)
	waiter := workflow.Define("waiter", func(ctx *workflow.Context, event string) (string, error) {
		e, err := workflow.WaitForEvent[string](ctx, "wait", event, time.Hour)
		return fmt.Sprint(e.Data, e.TimedOut), err
	}, nil)
	teller := workflow.Define("teller", func(ctx *workflow.Context, event string) (int, error) {
		if err := ctx.Sleep("let it wait", time.Minute); err != nil {
			return 0, err
		}
		told, err := ctx.Notify("tell", event, "news")
		if err != nil {
			return 0, err
		}
		_, err = ctx.NotifyRun("tell in advance", "late", event, "old news")
		return len(told), err
	}, nil)
	late := workflow.Define("late", func(ctx *workflow.Context, event string) (string, error) {
		if err := ctx.Sleep("come late", 10*time.Minute); err != nil {
			return "", err
		}
		e, err := workflow.WaitForEvent[string](ctx, "wait", event, time.Hour)
		return fmt.Sprint(e.Data, e.TimedOut), err
	}, nil)
	env.Serve(waiter, teller, late)
	run := workflowtest.Run(env, func(ctx *workflow.Context, event string) (string, error) {
		w := workflow.InvokeAsync(ctx, "waiter", waiter.Ref, event, nil)
		l := workflow.InvokeAsync(ctx, "late", late.Ref, event, &workflow.InvokeOptions{RunID: "late"})
		n := workflow.InvokeAsync(ctx, "teller", teller.Ref, event, nil)
		if err := workflow.All(ctx, w, l, n); err != nil {
			return "", err
		}
		a, _ := w.Get()
		b, _ := l.Get()
		c, _ := n.Get()
		return fmt.Sprint(a.Body, " ", b.Body, " ", c.Body), nil
	}, "evt")
	noError(t, run.Err)
	if run.Value != "newsfalse old newsfalse 1" || run.Elapsed != 10*time.Minute {
		t.Errorf("got %q after %s", run.Value, run.Elapsed)
	}
}

func TestWebhooks(t *testing.T) {
	pay := func(ctx *workflow.Context, callBack bool) (string, error) {
		hook, err := ctx.CreateWebhook("make hook")
		if err != nil {
			return "", err
		}
		if callBack {
			_, err := workflow.Call(ctx, "call it", workflow.CallRequest{URL: hook.URL + "?status=self", Method: "PUT", Body: []byte("x")})
			if err != nil {
				return "", err
			}
		}
		c, err := ctx.WaitForWebhook("wait for hook", hook, time.Hour)
		if err == nil && !c.TimedOut && !strings.HasPrefix(c.URL, hook.URL+"?") {
			err = fmt.Errorf("called at %s", c.URL)
		}
		_, query, _ := strings.Cut(c.URL, "?")
		return fmt.Sprint(c.Method, " ", query, " ", c.Header.Get("X-Key"), " ", string(c.Body), " ", c.TimedOut), err
	}
	for _, tt := range []struct {
		name   string
		script func(*workflowtest.Env)
		self   bool
		want   string
	}{
		{"called", func(e *workflowtest.Env) {
			r, _ := http.NewRequest("POST", "/?status=paid", strings.NewReader("body"))
			r.Header.Set("X-Key", "k")
			e.Webhook("wait for hook", r).After(time.Minute)
		}, false, "POST status=paid k body false"},
		{"not called", func(*workflowtest.Env) {}, false, "true"},
		{"by a Call", func(*workflowtest.Env) {}, true, "PUT status=self  x false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := workflowtest.New(t)
			tt.script(env)
			run := workflowtest.Run(env, pay, tt.self)
			noError(t, run.Err)
			if strings.TrimSpace(run.Value) != tt.want {
				t.Errorf("got %q, want %q", run.Value, tt.want)
			}
		})
	}
}

type order struct{ ID int }

type receipt struct{ ID, Amount int }

var chargeRef = workflow.Named[order, receipt]("charge")

func buy(ctx *workflow.Context, o order) (string, error) {
	r, err := workflow.Invoke(ctx, "charge it", chargeRef, o, nil)
	return fmt.Sprint(r.Body.Amount, r.Failed, r.Canceled), err
}

func TestInvoke(t *testing.T) {
	charge := func(end func(*workflow.Context) error) workflow.Definition {
		return workflow.Define("charge", func(ctx *workflow.Context, o order) (receipt, error) {
			if err := ctx.Sleep("take time", time.Hour); err != nil {
				return receipt{}, err
			}
			return receipt{o.ID, 10 * o.ID}, end(ctx)
		}, nil)
	}
	for _, tt := range []struct {
		name   string
		script func(*workflowtest.Env)
		want   string
	}{
		{"success", func(e *workflowtest.Env) { e.Serve(charge(func(*workflow.Context) error { return nil })) }, "40 false false"},
		{"failure", func(e *workflowtest.Env) {
			e.Serve(charge(func(*workflow.Context) error { return workflow.NonRetryable(errDeclined) }))
		}, "0 true false"},
		{"cancel", func(e *workflowtest.Env) { e.Serve(charge((*workflow.Context).Cancel)) }, "0 false true"},
		{"said to succeed", func(e *workflowtest.Env) {
			e.OnInvoke("charge it", func(payload []byte) (any, error) {
				var o order
				return receipt{o.ID, len(payload)}, json.Unmarshal(payload, &o)
			}).After(time.Hour)
		}, "8 false false"},
		{"said to fail", func(e *workflowtest.Env) {
			e.OnInvoke("charge", func([]byte) (any, error) { return nil, errDeclined }).After(time.Hour)
		}, "0 true false"},
		{"said to be cancelled", func(e *workflowtest.Env) {
			e.OnInvoke("charge", func([]byte) (any, error) { return nil, workflowtest.ErrCanceled }).After(time.Hour)
		}, "0 false true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := workflowtest.New(t)
			tt.script(env)
			run := workflowtest.Run(env, buy, order{4})
			noError(t, run.Err)
			if run.Value != tt.want || run.Elapsed != time.Hour {
				t.Errorf("got %q after %s, want %q", run.Value, run.Elapsed, tt.want)
			}
		})
	}
	said := fails(t, func(t testing.TB) { workflowtest.Run(workflowtest.New(t), buy, order{4}) })
	contains(t, said, `step "charge it" of workflow buy invokes`, "Env.Serve", `env.OnInvoke("charge it", …)`)
	said = fails(t, func(t testing.TB) {
		env := workflowtest.New(t)
		env.Serve(workflow.Define("other", buy, nil))
		workflowtest.Run(env, buy, order{4})
	})
	contains(t, said, `step "charge it" of workflow buy invokes`)
}

// A test that breaks a step which there is not tests nothing, and says so.
func TestFailuresOfNoStep(t *testing.T) {
	quick := func(ctx *workflow.Context, _ struct{}) (int, error) { return 0, ctx.Sleep("nap", time.Second) }
	for want, script := range map[string]func(*workflowtest.Env){
		`FailStep("nab", …) came to nothing: no step "nab" was executed`: func(e *workflowtest.Env) { e.FailStep("nab", 1, nil) },
		`LoseStep("nab", …) came to nothing: no step "nab" was executed`: func(e *workflowtest.Env) { e.LoseStep("nab", 1) },
	} {
		said := fails(t, func(t testing.TB) {
			env := workflowtest.New(t)
			script(env)
			workflowtest.Run(env, quick, struct{}{})
		})
		contains(t, said, want)
	}
	env := workflowtest.New(t)
	env.FailStep("nap", 9, nil) // more often than it is tried
	env.FailStep("nap", 1, nil)
	env.FailStep("nab", 0, nil)
	if run := workflowtest.Run(env, quick, struct{}{}); run.Err == nil {
		t.Error("the step did not fail")
	}
}

// What people read of a run is what the workflow got.
func TestTimelineHasData(t *testing.T) {
	env := workflowtest.New(t)
	env.Notify("paid", "in full")
	run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (string, error) {
		paid, err := workflow.WaitForEvent[string](ctx, "wait", "paid", time.Hour)
		return paid.Data, err
	}, struct{}{})
	contains(t, run.String(), "  in full\n")
}

func TestInvokeHasALimit(t *testing.T) {
	env := workflowtest.New(t)
	env.Serve(workflow.Define("deeper", deeper, nil))
	run := workflowtest.Run(env, deeper, 0)
	noError(t, run.Err)
	if run.Value != 99 { // the one below is not allowed to go deeper, and fails
		t.Errorf("%d deep", run.Value)
	}
}

func deeper(ctx *workflow.Context, n int) (int, error) {
	r, err := workflow.Invoke(ctx, "deeper", workflow.Named[int, int]("deeper"), n+1, nil)
	if err == nil && r.Failed {
		return n, nil
	}
	return r.Body, err
}

// A definition's own options are kept, and what they leave out is the Env's.
func TestOwnOptions(t *testing.T) {
	env := workflowtest.New(t)
	var handled []string
	own := &workflow.Options{OnFailure: func(ctx *workflow.FailureContext) (string, error) {
		handled = append(handled, ctx.Response)
		return "", nil
	}}
	env.Options.Authorize = func(_ context.Context, r *workflow.AuthRequest) error {
		handled = append(handled, string(r.Kind))
		return nil
	}
	env.FailStep("take time", 1, workflow.NonRetryable(errDeclined))
	env.Serve(workflow.Define("charge", func(ctx *workflow.Context, o order) (receipt, error) {
		return receipt{}, ctx.Sleep("take time", time.Hour)
	}, own))
	run := workflowtest.Run(env, buy, order{4})
	noError(t, run.Err)
	if !slices.Contains(handled, "card declined") || !slices.Contains(handled, "failure") {
		t.Errorf("handled %q", handled)
	}
}

// A workflow that is called like any URL starts a run of its own.
func TestCallOfAWorkflow(t *testing.T) {
	env := workflowtest.New(t)
	ran := false
	env.Serve(workflow.Define("other", func(ctx *workflow.Context, o order) (int, error) {
		_, err := workflow.Run(ctx, "ran", func(context.Context) (int, error) { ran = o.ID == 3; return 0, nil })
		return 0, err
	}, nil))
	run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (int, error) {
		r, err := workflow.Call(ctx, "start", workflow.CallRequest{URL: env.URL("other"), Method: "POST", Body: []byte(`{"ID":3}`)})
		return r.Status, err
	}, struct{}{})
	noError(t, run.Err)
	if run.Value != 200 || !ran {
		t.Errorf("status %d, ran: %v", run.Value, ran)
	}
}

// A workflow that is served is found by its name, whatever function is run.
func TestNames(t *testing.T) {
	env := workflowtest.New(t)
	env.Serve(workflow.Define("buy", func(ctx *workflow.Context, _ order) (int, error) { return 5, step(ctx, "one") }, nil),
		workflow.Define("größer als", func(ctx *workflow.Context, _ order) (int, error) { return 6, step(ctx, "one") }, nil))
	env.OnInvoke("charge", func([]byte) (any, error) { return receipt{Amount: 3}, nil })
	if run := workflowtest.Run(env, buy, order{}); run.Err != nil || run.Value != "3 false false" {
		t.Errorf("got %q, %v", run.Value, run.Err)
	}
	for name, want := range map[string]int{"buy": 5, "größer als": 6} {
		run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (int, error) {
			r, err := workflow.Invoke(ctx, "invoke", workflow.Named[order, int](name), order{}, nil)
			return r.Body, err
		}, struct{}{})
		if run.Err != nil || run.Value != want {
			t.Errorf("%s gave %d, %v", name, run.Value, run.Err)
		}
	}
}
