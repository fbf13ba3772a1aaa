package workflowtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signposthq/signpost/workflow"
	"github.com/signposthq/signpost/workflowtest"
)

func TestSleepIsQuick(t *testing.T) {
	begun := time.Now()
	env := workflowtest.New(t)
	run := workflowtest.Run(env, func(ctx *workflow.Context, days int) (string, error) {
		for i := range 12 {
			if err := ctx.Sleep(fmt.Sprint("month ", i), time.Duration(days)*24*time.Hour); err != nil {
				return "", err
			}
		}
		return "awake", ctx.SleepUntil("until", ctx.CreatedAt.Add(400*24*time.Hour))
	}, 30)
	noError(t, run.Err)
	if run.Value != "awake" {
		t.Errorf("result %q", run.Value)
	}
	if run.Elapsed < 400*24*time.Hour || run.Elapsed > 400*24*time.Hour+time.Second {
		t.Errorf("elapsed %s", run.Elapsed)
	}
	if got := run.Steps[1]; got.Name != "month 1" || got.Type != "SleepFor" || got.At != 30*24*time.Hour {
		t.Errorf("step %+v", got) // its result is known before its sleep is over
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// Within a bubble the code under test sees the virtual time.
func TestSynctest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := workflowtest.New(t)
		env.Sleep = time.Sleep
		begun := time.Now()
		run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (time.Time, error) {
			if err := ctx.Sleep("month", 30*24*time.Hour); err != nil {
				return time.Time{}, err
			}
			return workflow.Run(ctx, "now", func(context.Context) (time.Time, error) { return time.Now(), nil })
		}, struct{}{})
		noError(t, run.Err)
		if got := run.Value.Sub(begun); got != 30*24*time.Hour {
			t.Errorf("time.Now is %s later", got)
		}
		if !env.Now().Equal(time.Now()) {
			t.Errorf("the virtual time is %s, time.Now %s", env.Now(), time.Now())
		}
	})
}

func TestParallelStepsComeInAnyOrder(t *testing.T) {
	orders := map[string]bool{}
	play := func(seed uint64) string {
		env := workflowtest.New(t)
		env.Seed = seed
		var order []string
		run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) ([]int, error) {
			var all []*workflow.Future[int]
			for i := range 3 {
				all = append(all, workflow.RunAsync(ctx, fmt.Sprint("part ", i), func(context.Context) (int, error) {
					order = append(order, fmt.Sprint(i))
					return i, nil
				}))
			}
			return workflow.Parallel(ctx, all...)
		}, struct{}{})
		noError(t, run.Err)
		if !slices.Equal(run.Value, []int{0, 1, 2}) || !slices.Equal(run.Names(), []string{"part 0", "part 1", "part 2"}) {
			t.Errorf("result %v of %v", run.Value, run.Names())
		}
		return strings.Join(order, " ")
	}
	for seed := range uint64(40) {
		first := play(seed)
		orders[first] = true
		if again := play(seed); again != first {
			t.Fatalf("seed %d gave %q and %q", seed, first, again)
		}
	}
	if len(orders) != 6 {
		t.Errorf("40 seeds gave %d orders of 6", len(orders))
	}
}

var errDeclined = errors.New("card declined")

func TestRetries(t *testing.T) {
	env := workflowtest.New(t)
	env.FailStep("charge", 2, errDeclined)
	executed := 0
	run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (int, error) {
		return workflow.Run(ctx, "charge", func(context.Context) (int, error) { executed++; return ctx.Retried, nil })
	}, struct{}{})
	noError(t, run.Err)
	if run.Value != 2 || executed != 1 || run.Steps[0].Tries != 3 {
		t.Errorf("result %d, executed %d times, step %+v", run.Value, executed, run.Steps[0])
	}
	if want := 160595 * time.Millisecond; run.Elapsed != want { // e^2.5 + e^5 s
		t.Errorf("elapsed %s, want %s", run.Elapsed, want)
	}
}

func TestRetryAfterAndTrigger(t *testing.T) {
	env := workflowtest.New(t)
	env.Trigger.RetryDelay = "1000 * (1 + retried)"
	env.Trigger.Retries = new(1 + 2)
	env.FailStep("charge", 1, workflow.RetryAfter(errDeclined, time.Hour))
	env.FailStep("charge", 2, errDeclined)
	run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (int, error) { return 0, step(ctx, "charge") }, struct{}{})
	noError(t, run.Err)
	if want := time.Hour + 5*time.Second; run.Elapsed != want {
		t.Errorf("elapsed %s, want %s", run.Elapsed, want)
	}
}

func TestFailure(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		tries int
	}{
		{"at last", errDeclined, 4},
		{"at once", workflow.NonRetryable(errDeclined), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := workflowtest.New(t)
			env.Trigger.Header = http.Header{"X-User": {"ada"}}
			env.Options.OnFailure = func(ctx *workflow.FailureContext) (string, error) {
				if ctx.Retried == 0 {
					return "", errors.New("not yet")
				}
				return fmt.Sprint(ctx.Response, " of ", string(ctx.Payload), " ", ctx.Header.Get("X-User")), nil
			}
			tries := 0
			run := workflowtest.Run(env, func(ctx *workflow.Context, _ int) (int, error) {
				if err := step(ctx, "first"); err != nil {
					return 0, err
				}
				return workflow.Run(ctx, "charge", func(context.Context) (int, error) { tries++; return 0, tt.err })
			}, 5)
			if !errors.Is(run.Err, errDeclined) || run.Err.Error() != `step "charge": card declined` {
				t.Errorf("error %v", run.Err)
			}
			if tries != tt.tries || run.Handled != "card declined of 5 ada" || run.HandledErr != nil {
				t.Errorf("%d tries, handled %q, %v", tries, run.Handled, run.HandledErr)
			}
			if !slices.Equal(run.Names(), []string{"first"}) {
				t.Errorf("steps %v", run.Names())
			}
			contains(t, run.String(), "first", "RUN_FAILED", "card declined")
		})
	}
}

func TestFailureFunctionThatFails(t *testing.T) {
	env := workflowtest.New(t)
	env.Trigger.Retries = new(0)
	errMail := errors.New("no mail")
	env.Options.OnFailure = func(*workflow.FailureContext) (string, error) { return "", errMail }
	run := workflowtest.Run(env, func(ctx *workflow.Context, _ int) (int, error) {
		return 0, errors.Join(step(ctx, "one"), errDeclined)
	}, 5)
	if !errors.Is(run.Err, errDeclined) || !errors.Is(run.HandledErr, errMail) {
		t.Errorf("errors %v, %v", run.Err, run.HandledErr)
	}
}

// The report of a step is lost: it is executed once more, and counted once.
func TestLoseStep(t *testing.T) {
	env := workflowtest.New(t)
	env.LoseStep("charge", 2)
	env.LoseStep("call", 1)
	env.LoseStep("wait", 1)
	env.OnCall("call", workflowtest.Reply(200, nil))
	charges := 0
	run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (int, error) {
		n, err := workflow.Run(ctx, "charge", func(context.Context) (int, error) { charges++; return charges, nil })
		if err != nil {
			return 0, err
		}
		if _, err := workflow.Call(ctx, "call", workflow.CallRequest{URL: "https://example.com"}); err != nil {
			return 0, err
		}
		_, err = workflow.WaitForEvent[string](ctx, "wait", "evt", time.Hour)
		return n, err
	}, struct{}{})
	noError(t, run.Err)
	if charges != 3 || run.Value != 3 || len(run.Steps) != 3 || run.Steps[0].Tries != 3 || run.Steps[2].Tries != 2 {
		t.Errorf("charged %d times, result %d, steps %+v", charges, run.Value, run.Steps)
	}
}

func TestTwice(t *testing.T) {
	env := workflowtest.New(t)
	env.Twice = true
	charges, failures := 0, 0
	env.Options.OnFailure = func(*workflow.FailureContext) (string, error) { failures++; return "", nil }
	run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (int, error) {
		a := workflow.RunAsync(ctx, "a", func(context.Context) (int, error) { charges++; return 1, nil })
		b := workflow.RunAsync(ctx, "b", func(context.Context) (int, error) { charges++; return 2, nil })
		if err := workflow.All(ctx, a, b); err != nil {
			return 0, err
		}
		if err := ctx.Sleep("z", time.Hour); err != nil {
			return 0, err
		}
		return 0, workflow.NonRetryable(errDeclined)
	}, struct{}{})
	if !errors.Is(run.Err, errDeclined) || !slices.Equal(run.Names(), []string{"a", "b", "z"}) {
		t.Errorf("error %v, steps %v", run.Err, run.Names())
	}
	if charges <= 2 || failures != 2 {
		t.Errorf("executed %d times, OnFailure called %d times", charges, failures)
	}
}

func TestCancel(t *testing.T) {
	env := workflowtest.New(t)
	env.Options.OnFailure = func(*workflow.FailureContext) (string, error) { t.Error("called"); return "", nil }
	run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (int, error) {
		if err := step(ctx, "one"); err != nil {
			return 0, err
		}
		return 0, ctx.Cancel()
	}, struct{}{})
	if !errors.Is(run.Err, workflowtest.ErrCanceled) {
		t.Errorf("error %v", run.Err)
	}
}

func TestAuthorization(t *testing.T) {
	errWho := errors.New("who are you?")
	inside := func(ctx *workflow.Context, _ struct{}) (string, error) {
		if ctx.Header.Get("Authorization") != "Bearer right" {
			return "", errWho
		}
		return "in", step(ctx, "one")
	}
	outside := func(ctx *workflow.Context, _ struct{}) (string, error) { return "in", step(ctx, "one") }
	for name, fn := range map[string]func(*workflow.Context, struct{}) (string, error){"inside": inside, "outside": outside} {
		for _, token := range []string{"right", "wrong"} {
			t.Run(name+" "+token, func(t *testing.T) {
				env := workflowtest.New(t)
				if name == "outside" {
					env.Options.Authorize = func(_ context.Context, r *workflow.AuthRequest) error {
						if r.Header.Get("Authorization") != "Bearer right" {
							return errWho
						}
						return nil
					}
				}
				env.Options.OnFailure = func(*workflow.FailureContext) (string, error) { t.Error("called"); return "", nil }
				env.Trigger.Header = http.Header{"Authorization": {"Bearer " + token}}
				run := workflowtest.Run(env, fn, struct{}{})
				if right := token == "right"; right != (run.Err == nil) || right != (run.Value == "in") || !right && !errors.Is(run.Err, errWho) {
					t.Errorf("value %q, error %v", run.Value, run.Err)
				}
				if token == "wrong" && !errors.Is(run.HandledErr, errWho) {
					t.Errorf("the failure function was not refused: %v", run.HandledErr)
				}
			})
		}
	}
	run := workflowtest.Run(workflowtest.New(t), func(*workflow.Context, struct{}) (int, error) { return 1, nil }, struct{}{})
	if run.Err == nil || !strings.Contains(run.Err.Error(), "before its first step") {
		t.Errorf("a function without a step: %v", run.Err)
	}
}

func TestPanic(t *testing.T) {
	env := workflowtest.New(t)
	env.Trigger.Retries = new(0)
	run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (int, error) {
		return workflow.Run(ctx, "one", func(context.Context) (int, error) { panic("oh") })
	}, struct{}{})
	if run.Err == nil || run.Err.Error() != `step "one": panic: oh` {
		t.Errorf("error %v", run.Err)
	}
}
