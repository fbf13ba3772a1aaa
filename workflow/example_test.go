package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/workflow"
)

// play triggers a run of the endpoint that make returns, and plays it to its
// end on a server in memory.
func play(payload string, header http.Header, make func(*workflow.Options) *workflow.Endpoint) {
	f := newFakeServer()
	defer f.Close()
	f.third = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello from %s", r.URL) })
	f.endpoint = make(f.options())
	run, err := f.client.Trigger(context.Background(), client.TriggerRequest{URL: appURL, Body: []byte(payload), Header: header})
	if err != nil {
		panic(err)
	}
	f.settle()
	fmt.Println(f.runs[run.WorkflowRunID].state, f.runs[run.WorkflowRunID].result)
}

type SignUp struct {
	Email string `json:"email"`
}

func Example() {
	onboard := func(ctx *workflow.Context, in SignUp) (string, error) {
		id, err := workflow.Run(ctx, "create user", func(context.Context) (int, error) {
			fmt.Println("creating", in.Email)
			return 7, nil
		})
		if err != nil {
			return "", err
		}
		if err := ctx.Sleep("wait a day", 24*time.Hour); err != nil {
			return "", err
		}
		_, err = workflow.Run(ctx, "send mail", func(context.Context) (struct{}, error) {
			fmt.Println("sending mail to user", id)
			return struct{}{}, nil
		})
		return "welcome " + in.Email, err
	}
	play(`{"email":"ada@example.com"}`, nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(onboard, o) // for the environment's settings: nil
	})
	// Output:
	// creating ada@example.com
	// sending mail to user 7
	// success "welcome ada@example.com"
}

func ExampleServe() {
	// Keys, token and URL would come from the environment.
	_, err := workflow.Serve(func(ctx *workflow.Context, in SignUp) (struct{}, error) {
		return struct{}{}, ctx.Sleep("wait", time.Minute)
	}, &workflow.Options{BaseURL: "https://app.example.com", Client: client.New(client.Options{Token: "…"})})
	fmt.Println(err)
	// Output:
	// serve workflow: read QSTASH_CURRENT_SIGNING_KEY: no current signing key (set QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY, or Options.Receiver)
}

func ExampleRun() {
	play("", nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (int, error) {
			a, err := workflow.Run(ctx, "a", func(context.Context) (int, error) { return 20, nil })
			if err != nil {
				return 0, err
			}
			return workflow.Run(ctx, "b", func(context.Context) (int, error) { return a + 22, nil })
		}, o)
	})
	// Output:
	// success 42
}

func ExampleRunAsync() {
	play("", nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
			size := workflow.RunAsync(ctx, "measure", func(context.Context) (int, error) { return 3, nil })
			name := workflow.RunAsync(ctx, "look up", func(context.Context) (string, error) { return "box", nil })
			s, err := size.Get() // sets off both
			if err != nil {
				return "", err
			}
			n, err := name.Get()
			return fmt.Sprint(n, " of ", s), err
		}, o)
	})
	// Output:
	// success "box of 3"
}

func ExampleAll() {
	play("", nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
			pause := ctx.SleepAsync("at least a minute", time.Minute)
			page := workflow.CallAsync(ctx, "ask", workflow.CallRequest{URL: "https://example.com/page"})
			if err := workflow.All(ctx, pause, page); err != nil {
				return "", err
			}
			answer, err := page.Get()
			return string(answer.Body), err
		}, o)
	})
	// Output:
	// success "hello from https://example.com/page"
}

func ExampleContext_Sleep() {
	play("", nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
			if err := ctx.Sleep("wait a year", 365*24*time.Hour); err != nil {
				return "", err
			}
			return "still here", nil
		}, o)
	})
	// Output:
	// success "still here"
}

func ExampleContext_SleepUntil() {
	play(`"2030-01-01T00:00:00Z"`, nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, at time.Time) (string, error) {
			if err := ctx.SleepUntil("wait for new year", at); err != nil {
				return "", err
			}
			return "happy " + at.Format("2006"), nil
		}, o)
	})
	// Output:
	// success "happy 2030"
}

func ExampleCall() {
	play("", nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
			answer, err := workflow.Call(ctx, "ask", workflow.CallRequest{
				URL:     "https://slow.example.com/think",
				Method:  http.MethodPost,
				Header:  http.Header{"Authorization": {"Bearer …"}},
				Body:    []byte(`{"question":"?"}`),
				Retries: 2,
			})
			if err != nil {
				return "", err
			}
			if answer.Status != http.StatusOK {
				return "", workflow.NonRetryable(fmt.Errorf("answer %d", answer.Status))
			}
			return string(answer.Body), nil
		}, o)
	})
	// Output:
	// success "hello from https://slow.example.com/think"
}

func ExampleContext_Cancel() {
	play("", nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
			wanted, err := workflow.Run(ctx, "still wanted?", func(context.Context) (bool, error) { return false, nil })
			if err != nil {
				return "", err
			}
			if !wanted {
				return "", ctx.Cancel()
			}
			return "done", nil
		}, o)
	})
	// Output:
	// canceled
}

func ExampleNonRetryable() {
	play("", nil, func(o *workflow.Options) *workflow.Endpoint {
		o.OnFailure = func(ctx *workflow.FailureContext) (string, error) {
			fmt.Println("failed with", ctx.Status, ctx.Response)
			return "", nil
		}
		return workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (int, error) {
			return workflow.Run(ctx, "charge", func(context.Context) (int, error) {
				fmt.Println("charging")
				return 0, workflow.NonRetryable(errors.New("card declined"))
			})
		}, o)
	})
	// Output:
	// charging
	// failed with 489 card declined
	// failed
}

func ExampleRetryAfter() {
	play("", nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
			return workflow.Run(ctx, "ask", func(context.Context) (string, error) {
				if ctx.Retried == 0 {
					return "", workflow.RetryAfter(errors.New("too many requests"), time.Minute)
				}
				return "answered", nil
			})
		}, o)
	})
	// Output:
	// success "answered"
}

func ExampleOptions_authorize() {
	play("", http.Header{"Authorization": {"Bearer wrong"}}, func(o *workflow.Options) *workflow.Endpoint {
		o.Authorize = func(ctx context.Context, r *workflow.AuthRequest) error {
			if r.Header.Get("Authorization") != "Bearer right" {
				return errors.New("who are you?")
			}
			return nil
		}
		o.OnFailure = func(ctx *workflow.FailureContext) (string, error) {
			fmt.Println("never reached")
			return "", nil
		}
		return workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
			return "never reached", ctx.Sleep("wait", time.Minute)
		}, o)
	})
	// Output:
	// failed
}
