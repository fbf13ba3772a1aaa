package workflowtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/exampletest"
	"github.com/signposthq/signpost/workflow"
	"github.com/signposthq/signpost/workflowtest"
)

// test runs a test function, as go test does.
func test(f func(t testing.TB)) { exampletest.Run(f) }

type SignUp struct{ Email string }

type Confirmation struct{ By string }

// onboard is the workflow under test.
func onboard(ctx *workflow.Context, in SignUp) (string, error) {
	id, err := workflow.Run(ctx, "create user", func(context.Context) (int, error) { return 7, nil })
	if err != nil {
		return "", err
	}
	_, err = workflow.Call(ctx, "send mail", workflow.CallRequest{URL: "https://mail.example.com/send", Method: "POST", Body: []byte(in.Email)})
	if err != nil {
		return "", err
	}
	e, err := workflow.WaitForEvent[Confirmation](ctx, "wait for confirmation", "confirmed", 24*time.Hour)
	if err != nil {
		return "", err
	}
	if e.TimedOut {
		return "", workflow.NonRetryable(errors.New("not confirmed"))
	}
	return fmt.Sprint("user ", id, " confirmed by ", e.Data.By), ctx.Sleep("a month", 30*24*time.Hour)
}

func Example() {
	test(func(t testing.TB) {
		env := workflowtest.New(t)
		env.OnCall("https://mail.example.com/", workflowtest.Reply(200, nil))
		env.Notify("confirmed", Confirmation{By: "ada"}).After(2 * time.Hour)
		run := workflowtest.Run(env, onboard, SignUp{"ada@example.com"})
		fmt.Println(run.Value, run.Err)
		fmt.Println(strings.Join(run.Names(), ", "))
		fmt.Println(run.Elapsed)
	})
	// Output:
	// user 7 confirmed by ada <nil>
	// create user, send mail, wait for confirmation, a month
	// 722h0m0s
}

func ExampleRun() {
	test(func(t testing.TB) {
		env := workflowtest.New(t)
		env.OnCall("send mail", workflowtest.Reply(200, nil))
		run := workflowtest.Run(env, onboard, SignUp{"ada@example.com"})
		fmt.Println(run.Err, "after", run.Elapsed) // nobody has confirmed
	})
	// Output:
	// not confirmed after 24h0m0s
}

func ExampleEnv_OnCall() {
	test(func(t testing.TB) {
		env := workflowtest.New(t)
		env.OnCall("https://api.example.com/users/", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s", r.Method, r.URL.Path)
		}).After(3 * time.Minute)
		run := workflowtest.Run(env, func(ctx *workflow.Context, id int) (string, error) {
			a, err := workflow.Call(ctx, "fetch", workflow.CallRequest{URL: fmt.Sprint("https://api.example.com/users/", id)})
			return string(a.Body), err
		}, 7)
		fmt.Println(run.Value, "after", run.Elapsed)
	})
	// Output:
	// GET /users/7 after 3m0s
}

func ExampleReply() {
	w := new(strings.Builder)
	workflowtest.Reply(201, map[string]int{"id": 7})(writer{w}, nil)
	fmt.Println(w)
	// Output:
	// 201 {"id":7}
}

type writer struct{ *strings.Builder }

func (w writer) Header() http.Header { return http.Header{} }
func (w writer) WriteHeader(n int)   { fmt.Fprint(w.Builder, n, " ") }

func ExampleEnv_Notify() {
	test(func(t testing.TB) {
		env := workflowtest.New(t)
		env.Notify("paid", 100)
		env.Notify("paid", 200).After(time.Hour)
		run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (int, error) {
			sum := 0
			for _, name := range []string{"first rate", "second rate"} {
				paid, err := workflow.WaitForEvent[int](ctx, name, "paid", 24*time.Hour)
				if err != nil {
					return 0, err
				}
				sum += paid.Data
			}
			return sum, nil
		}, struct{}{})
		fmt.Println(run.Value, "after", run.Elapsed)
	})
	// Output:
	// 300 after 1h0m0s
}

func ExampleEnv_Webhook() {
	test(func(t testing.TB) {
		env := workflowtest.New(t)
		r, _ := http.NewRequest("POST", "/?status=paid", strings.NewReader("42 EUR"))
		env.Webhook("wait for bank", r)
		run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (string, error) {
			hook, err := ctx.CreateWebhook("make webhook")
			if err != nil {
				return "", err
			}
			call, err := ctx.WaitForWebhook("wait for bank", hook, time.Hour)
			return fmt.Sprint(call.Method, " ", strings.TrimPrefix(call.URL, hook.URL), " ", string(call.Body)), err
		}, struct{}{})
		fmt.Println(run.Value)
	})
	// Output:
	// POST ?status=paid 42 EUR
}

func ExampleEnv_OnInvoke() {
	test(func(t testing.TB) {
		env := workflowtest.New(t)
		env.OnInvoke("charge", func(payload []byte) (any, error) { return "charged " + string(payload), nil })
		run := workflowtest.Run(env, func(ctx *workflow.Context, amount int) (string, error) {
			r, err := workflow.Invoke(ctx, "charge", workflow.Named[int, string]("charge"), amount, nil)
			return r.Body, err
		}, 42)
		fmt.Println(run.Value)
	})
	// Output:
	// charged 42
}

func ExampleEnv_Serve() {
	test(func(t testing.TB) {
		charge := workflow.Define("charge", func(ctx *workflow.Context, amount int) (string, error) {
			return workflow.Run(ctx, "charge", func(context.Context) (string, error) { return fmt.Sprint("charged ", amount), nil })
		}, nil)
		env := workflowtest.New(t)
		env.Serve(charge)
		run := workflowtest.Run(env, func(ctx *workflow.Context, amount int) (string, error) {
			r, err := workflow.Invoke(ctx, "charge", charge.Ref, amount, nil)
			return r.Body, err
		}, 42)
		fmt.Println(run.Value)
	})
	// Output:
	// charged 42
}

func ExampleEnv_FailStep() {
	test(func(t testing.TB) {
		env := workflowtest.New(t)
		env.OnCall("send mail", workflowtest.Reply(200, nil))
		env.Notify("confirmed", nil)
		env.FailStep("create user", 2, errors.New("database is away"))
		run := workflowtest.Run(env, onboard, SignUp{"ada@example.com"})
		fmt.Println(run.Err, run.Steps[0].Tries, "tries,", run.Steps[0].At.Round(time.Second))

		env = workflowtest.New(t)
		env.Options.OnFailure = func(f *workflow.FailureContext) (string, error) { return "sorry: " + f.Response, nil }
		env.FailStep("create user", 1, workflow.NonRetryable(errors.New("no such user")))
		run = workflowtest.Run(env, onboard, SignUp{"ada@example.com"})
		fmt.Println(run.Err)
		fmt.Println(run.Handled)
	})
	// Output:
	// <nil> 3 tries, 2m41s
	// step "create user": no such user
	// sorry: no such user
}

func ExampleEnv_LoseStep() {
	test(func(t testing.TB) {
		env := workflowtest.New(t)
		env.LoseStep("charge", 1)
		charges := 0
		workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (int, error) {
			return workflow.Run(ctx, "charge", func(context.Context) (int, error) { charges++; return 0, nil })
		}, struct{}{})
		fmt.Println("charged", charges, "times: it needs an idempotency key")
	})
	// Output:
	// charged 2 times: it needs an idempotency key
}

func ExampleReplay() {
	test(func(t testing.TB) {
		env := workflowtest.New(t)
		env.OnCall("send mail", workflowtest.Reply(200, nil))
		env.Notify("confirmed", nil)
		run := workflowtest.Run(env, onboard, SignUp{"ada@example.com"})
		golden, _ := json.Marshal(run.Log) // kept as testdata/onboard.json

		var log []client.LogEntry
		_ = json.Unmarshal(golden, &log)
		workflowtest.Replay(workflowtest.New(t), onboard, log) // as the code is today
		fmt.Println("the code fits runs that were begun before")
	})
	// Output:
	// the code fits runs that were begun before
}

// What the code under test asks the server for is there for the test, too.
func ExampleEnv_Client() {
	test(func(t testing.TB) {
		env := workflowtest.New(t)
		env.Start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		run := workflowtest.Run(env, func(ctx *workflow.Context, _ struct{}) (string, error) {
			if _, err := workflow.Run(ctx, "tell myself", func(c context.Context) (struct{}, error) {
				_, err := env.Client().NotifyRun(c, ctx.RunID, "note", []byte("buy milk"))
				return struct{}{}, err
			}); err != nil {
				return "", err
			}
			note, err := workflow.WaitForEvent[string](ctx, "read", "note", time.Hour)
			if err != nil {
				return "", err
			}
			return note.Data, ctx.Sleep("a day", 24*time.Hour)
		}, struct{}{})
		fmt.Println(run.Value, env.Now().Format(time.DateOnly))
	})
	// Output:
	// buy milk 2030-01-02
}
