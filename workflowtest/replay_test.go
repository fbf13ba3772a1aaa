package workflowtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/exampletest"
	"github.com/signposthq/signpost/workflow"
	"github.com/signposthq/signpost/workflowtest"
)

func TestNotDeterministic(t *testing.T) {
	calls := 0
	steps := func(names ...string) func(*workflow.Context) error {
		return func(ctx *workflow.Context) error {
			for _, name := range names {
				if err := step(ctx, name); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for _, tt := range []struct {
		name string
		fn   func(*workflow.Context) error
		want []string
	}{
		{"a map", func(ctx *workflow.Context) error {
			for name := range map[string]int{"a": 1, "b": 2, "c": 3, "d": 4} {
				if err := step(ctx, name); err != nil {
					return err
				}
			}
			return nil
		}, []string{`the log:    step "`, `this time:  step "`, "sort its keys"}},
		{"a branch", func(ctx *workflow.Context) error {
			if calls++; calls%2 == 0 {
				return steps("first", "heads")(ctx)
			}
			return steps("first", "tails")(ctx)
		}, []string{`where:      after "first"`, `step "heads" (Run)`, `step "tails" (Run)`}},
		{"another type", func(ctx *workflow.Context) error {
			if calls++; calls%2 == 0 {
				return ctx.Sleep("x", time.Second)
			}
			return step(ctx, "x")
		}, []string{`where:      at its start`, `step "x" (Run)`, `step "x" (SleepFor)`}},
		{"the time", func(ctx *workflow.Context) error {
			if err := ctx.Sleep("x", time.Hour); err != nil {
				return err
			}
			return step(ctx, fmt.Sprint("at ", time.Now().UnixNano()))
		}, []string{`where:      after "x"`, `step "at `}},
		{"a group", func(ctx *workflow.Context) error {
			var all []*workflow.Future[int]
			calls++
			for i := range 2 + calls%2 {
				all = append(all, workflow.RunAsync(ctx, fmt.Sprint(i), func(context.Context) (int, error) { return i, nil }))
			}
			_, err := workflow.Parallel(ctx, all...)
			return err
		}, []string{`step "0" (Run), step "1" (Run)`, `step "2" (Run)`}},
		{"an early end", func(ctx *workflow.Context) error {
			if err := step(ctx, "x"); err != nil {
				return err
			}
			if calls++; calls == 2 {
				return nil
			}
			return step(ctx, "y")
		}, []string{`where:      after "x"`, `step "y" (Run)`, "its end"}},
		{"code before the first step", func(ctx *workflow.Context) error {
			if calls++; calls > 1 {
				return errors.New("duplicate key")
			}
			return step(ctx, "x")
		}, []string{"where:      at its start", `step "x" (Run)`, "its end, before its first step: duplicate key"}},
		{"only where it counts", func(ctx *workflow.Context) error { // seven times right
			if err := step(ctx, "x"); err != nil {
				return err
			}
			if calls++; calls == 8 {
				return step(ctx, "z")
			}
			return step(ctx, "y")
		}, []string{`step "y" (Run)`, `step "z" (Run)`}},
		{"where the log is longer", func(ctx *workflow.Context) error {
			if calls++; calls > 8 {
				return steps("v", "x")(ctx)
			}
			return steps("u", "x")(ctx)
		}, []string{"where:      at its start", `the log:    step "u" (Run)`, `this time:  step "v" (Run)`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			calls = 0
			said := fails(t, func(t testing.TB) {
				workflowtest.Run(workflowtest.New(t), func(ctx *workflow.Context, _ struct{}) (int, error) { return 0, tt.fn(ctx) }, struct{}{})
			})
			contains(t, said, append(tt.want, "is not deterministic", "workflow.Run", "Seed was")...)
			t.Log(said)
		})
	}
}

// Wherever a group changes its size, and whichever of its steps has its result by
// then, both sides of the report differ.
func TestReportsDiffer(t *testing.T) {
	sides := regexp.MustCompile(`(?m)the log: +(.*)\n +this time: +(.*)$`)
	for seed := range uint64(6) {
		for n := 1; n < 24; n++ {
			calls := 0
			f := exampletest.Ended(func(t testing.TB) {
				e := workflowtest.New(t)
				e.Seed = seed
				workflowtest.Run(e, func(ctx *workflow.Context, _ struct{}) (int, error) {
					size := 3
					if calls++; calls == n {
						size = 2
					}
					var all []*workflow.Future[int]
					for i := range size {
						all = append(all, workflow.RunAsync(ctx, fmt.Sprint(i), func(context.Context) (int, error) { return i, nil }))
					}
					_, err := workflow.Parallel(ctx, all...)
					return 0, err
				}, struct{}{})
			})
			if !f.Failed() {
				continue // where nothing was replayed
			}
			if m := sides.FindStringSubmatch(f.Said()); m != nil && m[1] == m[2] {
				t.Errorf("seed %d, call %d: %s", seed, n, f.Said())
			}
		}
	}
}

func TestOtherMistakes(t *testing.T) {
	for _, tt := range []struct {
		name string
		fn   func(*workflow.Context) error
		want []string
	}{
		{"a step in a step", func(ctx *workflow.Context) error {
			_, err := workflow.Run(ctx, "outer", func(context.Context) (int, error) { return 0, step(ctx, "inner") })
			return err
		}, []string{"A step can not be run inside another step. Tried to run 'inner' inside 'outer'"}},
		{"a result that nobody asks for", func(ctx *workflow.Context) error {
			workflow.CallAsync(ctx, "never asked for", workflow.CallRequest{URL: "https://example.com"})
			return nil
		}, []string{"The function returned without the result of step 'never asked for'"}},
		{"no end", func(ctx *workflow.Context) error {
			for i := 0; ; i++ {
				if err := ctx.Sleep(fmt.Sprint(i), time.Hour); err != nil {
					return err
				}
			}
		}, []string{"does not end"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said := fails(t, func(t testing.TB) {
				env := workflowtest.New(t)
				env.MaxEvents = 50
				workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (int, error) { return 0, tt.fn(ctx) }, struct{}{})
			})
			contains(t, said, tt.want...)
		})
	}
	said := fails(t, func(t testing.TB) {
		workflowtest.Run(workflowtest.New(t), func(ctx *workflow.Context, _ struct{}) (int, error) {
			return workflow.Run(ctx, "ask", func(context.Context) (int, error) { t.Fatal("stop here"); return 0, nil })
		}, struct{}{})
	})
	contains(t, said, "stop here")
}

func TestReplay(t *testing.T) {
	v1 := func(ctx *workflow.Context, _ struct{}) (int, error) {
		if err := step(ctx, "a"); err != nil {
			return 0, err
		}
		x := workflow.RunAsync(ctx, "x", func(context.Context) (int, error) { return 1, nil })
		y := workflow.CallAsync(ctx, "y", workflow.CallRequest{URL: "https://example.com"})
		if err := workflow.All(ctx, x, y); err != nil {
			return 0, err
		}
		return 0, ctx.Sleep("z", time.Hour)
	}
	env := workflowtest.New(t)
	env.OnCall("y", workflowtest.Reply(200, "hello"))
	run := workflowtest.Run(env, v1, struct{}{})
	noError(t, run.Err)
	kept, err := json.Marshal(run.Log)
	noError(t, err)
	var log []client.LogEntry
	noError(t, json.Unmarshal(kept, &log))
	workflowtest.Replay(workflowtest.New(t), v1, log)
	workflowtest.Replay(workflowtest.New(t), v1, log[:3]) // in the middle of a group's plans

	for _, tt := range []struct {
		name string
		fn   func(*workflow.Context) error
		want []string
	}{
		{"a step before", func(ctx *workflow.Context) error {
			if err := step(ctx, "new"); err != nil {
				return err
			}
			return step(ctx, "a")
		}, []string{"where:      at its start", `the log:    step "a" (Run)`, `the code:   step "new" (Run)`}},
		{"no group", func(ctx *workflow.Context) error {
			if err := step(ctx, "a"); err != nil {
				return err
			}
			return step(ctx, "x")
		}, []string{`where:      after "a"`, `the log:    step "x" (Run), step "y" (Call)`, `the code:   step "x" (Run)`}},
		{"an end", func(ctx *workflow.Context) error { return step(ctx, "a") },
			[]string{`where:      after "a"`, "the code:   its end"}},
		{"an error", func(ctx *workflow.Context) error { return errors.Join(step(ctx, "a"), errDeclined) },
			[]string{`where:      after "a"`, "the code:   an error: card declined"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said := fails(t, func(t testing.TB) {
				workflowtest.Replay(workflowtest.New(t), func(ctx *workflow.Context, _ struct{}) (int, error) { return 0, tt.fn(ctx) }, log)
			})
			contains(t, said, append(tt.want, "goes another way than the run whose log this is", "workflow.Version")...)
		})
	}
}

// Code that fits the log now and then is found, too, and is told from code that
// never does.
func TestReplayWavering(t *testing.T) {
	calls := 0
	wavering := func(ctx *workflow.Context, _ struct{}) (int, error) {
		if err := step(ctx, "a"); err != nil {
			return 0, err
		}
		if calls++; calls%4 == 0 {
			return 0, step(ctx, "c")
		}
		return 0, step(ctx, "b")
	}
	run := workflowtest.Run(workflowtest.New(t), func(ctx *workflow.Context, _ struct{}) (int, error) {
		return 0, errors.Join(step(ctx, "a"), step(ctx, "b"))
	}, struct{}{})
	noError(t, run.Err)
	said := fails(t, func(t testing.TB) { workflowtest.Replay(workflowtest.New(t), wavering, run.Log) })
	contains(t, said, `where:      after "a"`, `the log:    step "b" (Run)`, `this time:  step "c" (Run)`, "is not deterministic")
}

// Code that knows both versions fits logs of both.
func TestReplayOfVersions(t *testing.T) {
	v1 := func(ctx *workflow.Context, _ struct{}) (int, error) {
		return 0, errors.Join(step(ctx, "a"), step(ctx, "b"))
	}
	v2 := func(ctx *workflow.Context, _ struct{}) (int, error) {
		if err := step(ctx, "a"); err != nil {
			return 0, err
		}
		v, err := workflow.Version(ctx, "c for b", 0, 1)
		if err != nil {
			return 0, err
		}
		if v == 0 {
			return 0, step(ctx, "b")
		}
		return 0, step(ctx, "c")
	}
	for _, fn := range []func(*workflow.Context, struct{}) (int, error){v1, v2} {
		run := workflowtest.Run(workflowtest.New(t), fn, struct{}{})
		noError(t, run.Err)
		workflowtest.Replay(workflowtest.New(t), v2, run.Log)
	}
}
