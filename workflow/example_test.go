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
func play[H http.Handler](payload string, header http.Header, make func(*workflow.Options) H) {
	playUntil(nil, payload, header, make)
}

// playUntil is play with something that happens elsewhere when the run waits.
func playUntil[H http.Handler](idle func(*client.Client), payload string, header http.Header, make func(*workflow.Options) H) {
	f := newFakeServer()
	defer f.Close()
	f.third = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/json" {
			fmt.Fprint(w, `{"title":"hello"}`)
			return
		}
		fmt.Fprintf(w, "hello from %s", r.URL)
	})
	f.endpoint = make(f.options())
	if idle != nil {
		f.idle = func() { idle(f.client) }
	}
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

func ExampleCallJSON() {
	type page struct{ Title string }
	play("", nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
			p, answer, err := workflow.CallJSON[page](ctx, "look up", workflow.CallRequest{
				URL:         "https://slow.example.com/json",
				Method:      http.MethodPost,
				FlowControl: &client.FlowControl{Key: "slow", Rate: 5}, // at most five in a second, of all runs
			}, map[string]string{"id": "7"})
			if err != nil {
				return "", err
			}
			return fmt.Sprint(answer.Status, " ", p.Title), nil
		}, o)
	})
	// Output:
	// success "200 hello"
}

func ExampleParallel() {
	play(`["a","bb","ccc"]`, nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, names []string) ([]int, error) {
			var sizes []*workflow.Future[int]
			for _, name := range names {
				sizes = append(sizes, workflow.RunAsync(ctx, "measure "+name, func(context.Context) (int, error) {
					return len(name), nil
				}))
			}
			return workflow.Parallel(ctx, sizes...)
		}, o)
	})
	// Output:
	// success [1,2,3]
}

type Payment struct {
	Amount int `json:"amount"`
}

func ExampleWaitForEvent() {
	// Somewhere else, a day later: what takes payments tells of one.
	paid := func(c *client.Client) {
		if _, err := c.Notify(context.Background(), "paid/order-7", []byte(`{"amount":30}`)); err != nil {
			panic(err)
		}
	}
	playUntil(paid, `"order-7"`, nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, order string) (string, error) {
			payment, err := workflow.WaitForEvent[Payment](ctx, "wait for payment", "paid/order-7", 30*24*time.Hour)
			if err != nil {
				return "", err
			}
			if payment.TimedOut {
				return "never paid", nil
			}
			return fmt.Sprint("paid ", payment.Data.Amount), nil
		}, o)
	})
	// Output:
	// success "paid 30"
}

func ExampleWaitForEvent_timeout() {
	play("", nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
			payment, err := workflow.WaitForEvent[Payment](ctx, "wait for payment", "paid/order-8", 30*24*time.Hour)
			if err != nil {
				return "", err
			}
			if payment.TimedOut {
				return "never paid", nil
			}
			return fmt.Sprint("paid ", payment.Data.Amount), nil
		}, o)
	})
	// Output:
	// success "never paid"
}

func ExampleContext_Notify() {
	approve := workflow.Define("approve", func(ctx *workflow.Context, id int) (struct{}, error) {
		told, err := ctx.Notify("tell", fmt.Sprint("approved/", id), map[string]string{"by": "Ada"})
		if err == nil {
			fmt.Println("runs that waited:", len(told))
		}
		return struct{}{}, err
	}, nil)
	onboard := workflow.Define("onboard", func(ctx *workflow.Context, _ struct{}) (string, error) {
		approval := workflow.WaitForEventAsync[map[string]string](ctx, "wait for approval", "approved/7", 0)
		asked := workflow.InvokeAsync(ctx, "ask", approve.Ref, 7, nil)
		if err := workflow.All(ctx, approval, asked); err != nil {
			return "", err
		}
		answer, err := approval.Get()
		return "approved by " + answer.Data["by"], err
	}, nil)
	play("", nil, func(o *workflow.Options) *workflow.Endpoints {
		return workflow.MustServeMany(o, onboard, approve)
	})
	// Output:
	// runs that waited: 1
	// success "approved by Ada"
}

func ExampleContext_NotifyRun() {
	play("", nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
			// It is kept until the run waits for it.
			if _, err := ctx.NotifyRun("write down", ctx.RunID, "note", "buy milk"); err != nil {
				return "", err
			}
			note, err := workflow.WaitForEvent[string](ctx, "read", "note", time.Minute)
			return note.Data, err
		}, o)
	})
	// Output:
	// success "buy milk"
}

func ExampleContext_WaitForWebhook() {
	play("", nil, func(o *workflow.Options) *workflow.Endpoint {
		return workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
			hook, err := ctx.CreateWebhook("make webhook")
			if err != nil {
				return "", err
			}
			if _, err := workflow.Run(ctx, "order", func(context.Context) (struct{}, error) {
				shop(hook.URL)
				return struct{}{}, nil
			}); err != nil {
				return "", err
			}
			answer, err := ctx.WaitForWebhook("wait for the shop", hook, 24*time.Hour)
			if err != nil {
				return "", err
			}
			if answer.TimedOut {
				return "no answer", nil
			}
			return answer.Method + " " + string(answer.Body), nil
		}, o)
	})
	// Output:
	// success "PUT delivered"
}

// shop calls back.
func shop(url string) { call(http.MethodPut, url, "delivered") }

func ExampleInvoke() {
	charge := workflow.Define("charge", func(ctx *workflow.Context, p Payment) (string, error) {
		return workflow.Run(ctx, "charge", func(context.Context) (string, error) {
			if p.Amount > 100 {
				return "", workflow.NonRetryable(errors.New("card declined"))
			}
			return "receipt 1", nil
		})
	}, nil)
	onboard := workflow.Define("onboard", func(ctx *workflow.Context, _ SignUp) (string, error) {
		receipt, err := workflow.Invoke(ctx, "take money", charge.Ref, Payment{30}, nil)
		if err != nil {
			return "", err
		}
		gift, err := workflow.Invoke(ctx, "take much money", charge.Ref, Payment{1000}, &workflow.InvokeOptions{Retries: new(0)})
		if err != nil {
			return "", err
		}
		return fmt.Sprint(receipt.Body, ", failed: ", gift.Failed), nil
	}, nil)
	play(`{"email":"ada@example.com"}`, nil, func(o *workflow.Options) *workflow.Endpoints {
		return workflow.MustServeMany(o, onboard, charge)
	})
	// Output:
	// success "receipt 1, failed: true"
}

func ExampleAt() {
	// A workflow of another program, in whatever language.
	translate := workflow.At[string, map[string]string]("https://app.example/other/translate")
	play("hello", nil, func(o *workflow.Options) *workflow.Endpoints {
		return workflow.MustServeMany(o,
			workflow.Define("onboard", func(ctx *workflow.Context, text string) (string, error) {
				result, err := workflow.Invoke(ctx, "translate", translate, text, nil)
				return result.Body["fr"], err
			}, nil),
			workflow.Define("translate", func(ctx *workflow.Context, text string) (map[string]string, error) {
				return map[string]string{"fr": "bonjour"}, ctx.Sleep("think", time.Second)
			}, nil))
	})
	// Output:
	// success "bonjour"
}

func ExampleNamed() {
	// It invokes itself, and so can't refer to the variable that it is the value of.
	countdown := workflow.Define("onboard", func(ctx *workflow.Context, n int) (string, error) {
		if n == 0 {
			return "go", ctx.Sleep("hold", time.Second)
		}
		rest, err := workflow.Invoke(ctx, "go on", workflow.Named[int, string]("onboard"), n-1, nil)
		return fmt.Sprint(n, " ", rest.Body), err
	}, nil)
	play("3", nil, func(o *workflow.Options) *workflow.Endpoints { return workflow.MustServeMany(o, countdown) })
	// Output:
	// success "3 2 1 go"
}

func ExampleServeMany() {
	hello := workflow.Define("hello", func(ctx *workflow.Context, name string) (string, error) {
		return "hello " + name, ctx.Sleep("think", time.Second)
	}, nil)
	onboard := workflow.Define("onboard", func(ctx *workflow.Context, in SignUp) (string, error) {
		greeting, err := workflow.Invoke(ctx, "greet", hello.Ref, in.Email, nil)
		return greeting.Body, err
	}, nil)
	play(`{"email":"ada@example.com"}`, nil, func(o *workflow.Options) *workflow.Endpoints {
		many, err := workflow.ServeMany(o, onboard, hello) // for the environment's settings: nil
		if err != nil {
			panic(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/workflows/", many) // /workflows/onboard and /workflows/hello
		return many
	})
	// Output:
	// success "hello ada@example.com"
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
