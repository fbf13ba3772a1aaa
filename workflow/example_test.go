package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/exampletest"
	"github.com/signposthq/signpost/signposttest"
	"github.com/signposthq/signpost/workflow"
)

var exampleT = exampletest.New() // TestMain closes it

// server has the runs of all Examples.
var server = sync.OnceValue(func() *signposttest.Server { return signposttest.NewServer(exampleT) })

// settings are what a program has in its environment: there, options can be nil.
func settings() *workflow.Options {
	return &workflow.Options{Client: server().Client(), Receiver: server().Receiver(exampleT), Logger: quiet}
}

// play serves workflows, starts a run of the one at /onboard, and prints how that
// has ended.
func play(h http.Handler, payload string) {
	start(h, client.TriggerRequest{Body: []byte(payload)})()
}

// start is play in two: the run is under way when it returns.
func start(h http.Handler, r client.TriggerRequest) (end func()) {
	app := httptest.NewServer(h)
	r.URL = app.URL + "/onboard"
	started, err := server().Client().Trigger(context.Background(), r)
	if err != nil {
		panic(err)
	}
	return func() {
		run := server().WaitRun(exampleT, started.WorkflowRunID, client.RunSuccess, client.RunFailed, client.RunCanceled)
		app.Close() // when it has answered the last call
		fmt.Println(strings.TrimSpace(strings.TrimPrefix(string(run.State), "RUN_") + " " + run.Response))
	}
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
		if err := ctx.Sleep("wait a moment", time.Second); err != nil {
			return "", err
		}
		_, err = workflow.Run(ctx, "send mail", func(context.Context) (struct{}, error) {
			fmt.Println("sending mail to user", id)
			return struct{}{}, nil
		})
		return "welcome " + in.Email, err
	}
	play(workflow.MustServe(onboard, settings()), `{"email":"ada@example.com"}`)
	// Output:
	// creating ada@example.com
	// sending mail to user 7
	// SUCCESS "welcome ada@example.com"
}

func ExampleServe() {
	endpoint, err := workflow.Serve(func(ctx *workflow.Context, in SignUp) (string, error) {
		return workflow.Run(ctx, "greet", func(context.Context) (string, error) { return "hello " + in.Email, nil })
	}, settings())
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/onboard", endpoint)
	play(mux, `{"email":"ada@example.com"}`)
	// Output:
	// SUCCESS "hello ada@example.com"
}

// An endpoint that could not tell who calls it is none.
func ExampleServe_withoutKeys() {
	_, err := workflow.Serve(func(ctx *workflow.Context, in SignUp) (struct{}, error) {
		return struct{}{}, ctx.Sleep("wait", time.Minute)
	}, &workflow.Options{Client: client.New(client.Options{Token: "…"})})
	fmt.Println(err)
	// Output:
	// serve workflow: read QSTASH_CURRENT_SIGNING_KEY: no current signing key (set QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY, which "signpost dev" and "signpost keys show" print, or Options.Receiver)
}

func ExampleRun() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (int, error) {
		a, err := workflow.Run(ctx, "a", func(context.Context) (int, error) { return 20, nil })
		if err != nil {
			return 0, err
		}
		return workflow.Run(ctx, "b", func(context.Context) (int, error) { return a + 22, nil })
	}, settings()), "")
	// Output:
	// SUCCESS 42
}

func ExampleRunAsync() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		size := workflow.RunAsync(ctx, "measure", func(context.Context) (int, error) { return 3, nil })
		name := workflow.RunAsync(ctx, "look up", func(context.Context) (string, error) { return "box", nil })
		s, err := size.Get() // sets off both
		if err != nil {
			return "", err
		}
		n, err := name.Get()
		return fmt.Sprint(n, " of ", s), err
	}, settings()), "")
	// Output:
	// SUCCESS "box of 3"
}

func ExampleAll() {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") }))
	defer page.Close()
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		pause := ctx.SleepAsync("at least a second", time.Second)
		asked := workflow.CallAsync(ctx, "ask", workflow.CallRequest{URL: page.URL})
		if err := workflow.All(ctx, pause, asked); err != nil {
			return "", err
		}
		answer, err := asked.Get()
		return string(answer.Body), err
	}, settings()), "")
	// Output:
	// SUCCESS "hello"
}

func ExampleParallel() {
	play(workflow.MustServe(func(ctx *workflow.Context, names []string) ([]int, error) {
		var sizes []*workflow.Future[int]
		for _, name := range names {
			sizes = append(sizes, workflow.RunAsync(ctx, "measure "+name, func(context.Context) (int, error) {
				return len(name), nil
			}))
		}
		return workflow.Parallel(ctx, sizes...)
	}, settings()), `["a","bb","ccc"]`)
	// Output:
	// SUCCESS [1,2,3]
}

func ExampleContext_Sleep() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		if err := ctx.Sleep("wait", time.Second); err != nil { // or a year
			return "", err
		}
		return "still here", nil
	}, settings()), "")
	// Output:
	// SUCCESS "still here"
}

func ExampleContext_SleepUntil() {
	soon := time.Now().Add(time.Second)
	play(workflow.MustServe(func(ctx *workflow.Context, at time.Time) (bool, error) {
		if err := ctx.SleepUntil("wait", at); err != nil {
			return false, err
		}
		return workflow.Run(ctx, "look at the clock", func(context.Context) (bool, error) {
			return !time.Now().Before(at), nil
		})
	}, settings()), soon.Format(`"`+time.RFC3339Nano+`"`))
	// Output:
	// SUCCESS true
}

// A reminder and what may make it needless, at the same time.
func ExampleContext_SleepAsync() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		pause := ctx.SleepAsync("be no faster than that", time.Second)
		work := workflow.RunAsync(ctx, "work", func(context.Context) (string, error) { return "done", nil })
		if err := workflow.All(ctx, pause, work); err != nil {
			return "", err
		}
		return work.Get()
	}, settings()), "")
	// Output:
	// SUCCESS "done"
}

func ExampleContext_SleepUntilAsync() {
	play(workflow.MustServe(func(ctx *workflow.Context, at time.Time) (string, error) {
		due := ctx.SleepUntilAsync("until due", at)
		bill := workflow.RunAsync(ctx, "write bill", func(context.Context) (string, error) { return "bill 7", nil })
		if err := workflow.All(ctx, due, bill); err != nil {
			return "", err
		}
		number, err := bill.Get()
		return number + " is due", err
	}, settings()), time.Now().Format(`"`+time.RFC3339+`"`))
	// Output:
	// SUCCESS "bill 7 is due"
}

func ExampleCall() {
	oracle := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization"), " may know")
	}))
	defer oracle.Close()
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		answer, err := workflow.Call(ctx, "ask", workflow.CallRequest{
			URL:     oracle.URL, // it may take hours to answer
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
	}, settings()), "")
	// Output:
	// SUCCESS "Bearer … may know"
}

type Page struct {
	Title string `json:"title"`
}

// pages answers with the page that a request asks for.
var pages = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, `{"title":"page %s"}`, strings.TrimPrefix(r.URL.Path, "/"))
})

func ExampleCallAsync() {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "price of ", r.URL.Path[1:])
	}))
	defer shop.Close()
	play(workflow.MustServe(func(ctx *workflow.Context, things []string) ([]string, error) {
		var asked []*workflow.Future[workflow.CallResponse]
		for _, thing := range things {
			asked = append(asked, workflow.CallAsync(ctx, "ask for "+thing, workflow.CallRequest{URL: shop.URL + "/" + thing}))
		}
		answers, err := workflow.Parallel(ctx, asked...)
		var prices []string
		for _, answer := range answers {
			prices = append(prices, string(answer.Body))
		}
		return prices, err
	}, settings()), `["tea","jam"]`)
	// Output:
	// SUCCESS ["price of tea","price of jam"]
}

func ExampleCallJSON() {
	site := httptest.NewServer(pages)
	defer site.Close()
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		page, answer, err := workflow.CallJSON[Page](ctx, "look up", workflow.CallRequest{
			URL:         site.URL + "/7",
			Method:      http.MethodPost,
			FlowControl: &client.FlowControl{Key: "site", Rate: 5}, // at most five in a second, of all runs
		}, map[string]string{"language": "en"})
		if err != nil {
			return "", err
		}
		return fmt.Sprint(answer.Status, " ", page.Title), nil
	}, settings()), "")
	// Output:
	// SUCCESS "200 page 7"
}

func ExampleCallJSONAsync() {
	site := httptest.NewServer(pages)
	defer site.Close()
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) ([]string, error) {
		found, err := workflow.Parallel(ctx,
			workflow.CallJSONAsync[Page](ctx, "first", workflow.CallRequest{URL: site.URL + "/1"}, nil),
			workflow.CallJSONAsync[Page](ctx, "second", workflow.CallRequest{URL: site.URL + "/2"}, nil))
		if err != nil {
			return nil, err
		}
		return []string{found[0].Value.Title, found[1].Value.Title}, nil
	}, settings()), "")
	// Output:
	// SUCCESS ["page 1","page 2"]
}

// An answer that only tells what went wrong is JSON of another type.
func ExampleCallResponse_JSON() {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error":"no such page"}`)
	}))
	defer site.Close()
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		answer, err := workflow.Call(ctx, "look up", workflow.CallRequest{URL: site.URL})
		if err != nil {
			return "", err
		}
		var said struct{ Error string }
		if err := answer.JSON(&said); err != nil {
			return "", err
		}
		return said.Error, nil
	}, settings()), "")
	// Output:
	// SUCCESS "no such page"
}

type Payment struct {
	Amount int `json:"amount"`
}

func ExampleWaitForEvent() {
	options := settings()
	end := start(workflow.MustServe(func(ctx *workflow.Context, order string) (string, error) {
		payment, err := workflow.WaitForEvent[Payment](ctx, "wait for payment", "paid/"+order, 30*24*time.Hour)
		if err != nil {
			return "", err
		}
		return fmt.Sprint("paid ", payment.Data.Amount), nil
	}, options), client.TriggerRequest{RunID: "order-7", Body: []byte("order-7")})

	// Somewhere else, what takes payments tells of one. That the run waits already
	// does not matter: it is known who is told.
	if _, err := options.Client.NotifyRun(context.Background(), "order-7", "paid/order-7", []byte(`{"amount":30}`)); err != nil {
		fmt.Println(err)
		return
	}
	end()
	// Output:
	// SUCCESS "paid 30"
}

func ExampleWaitForEvent_timeout() {
	play(workflow.MustServe(func(ctx *workflow.Context, order string) (string, error) {
		payment, err := workflow.WaitForEvent[Payment](ctx, "wait for payment", "paid/"+order, time.Second)
		if err != nil {
			return "", err
		}
		if payment.TimedOut {
			return "never paid", nil
		}
		return fmt.Sprint("paid ", payment.Data.Amount), nil
	}, settings()), "order-8")
	// Output:
	// SUCCESS "never paid"
}

func ExampleWaitForEventAsync() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		ada := workflow.WaitForEventAsync[string](ctx, "wait for ada", "signed by ada", time.Hour)
		bob := workflow.WaitForEventAsync[string](ctx, "wait for bob", "signed by bob", time.Hour)
		// Both would come from elsewhere.
		first := ctx.NotifyRunAsync("bob signs", ctx.RunID, "signed by bob", "B.")
		second := ctx.NotifyRunAsync("ada signs", ctx.RunID, "signed by ada", "A.")
		if err := workflow.All(ctx, ada, bob, first, second); err != nil {
			return "", err
		}
		a, _ := ada.Get() // All has their errors
		b, _ := bob.Get()
		return a.Data + " and " + b.Data, nil
	}, settings()), "")
	// Output:
	// SUCCESS "A. and B."
}

func ExampleContext_Notify() {
	options := settings()
	end := start(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		approval, err := workflow.WaitForEvent[map[string]string](ctx, "wait for approval", "approved/7", 0)
		return "approved by " + approval.Data["by"], err
	}, options), client.TriggerRequest{})
	untilWaited("approved/7")

	play(workflow.MustServe(func(ctx *workflow.Context, id int) (string, error) {
		told, err := ctx.Notify("tell", fmt.Sprint("approved/", id), map[string]string{"by": "Ada"})
		return fmt.Sprint("runs that waited: ", len(told)), err
	}, options), "7")
	end()
	// Output:
	// SUCCESS "runs that waited: 1"
	// SUCCESS "approved by Ada"
}

// untilWaited waits until a run waits for an event.
func untilWaited(event string) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if all, err := server().Client().Waiters(context.Background(), event); err != nil || len(all) > 0 {
			return
		}
	}
}

func ExampleContext_NotifyAsync() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		all, err := workflow.Parallel(ctx,
			ctx.NotifyAsync("tell the shops", "closing/shops", nil),
			ctx.NotifyAsync("tell the bars", "closing/bars", nil))
		if err != nil {
			return "", err
		}
		return fmt.Sprint("runs that waited: ", len(all[0])+len(all[1])), nil
	}, settings()), "")
	// Output:
	// SUCCESS "runs that waited: 0"
}

func ExampleContext_NotifyRunAsync() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		if _, err := workflow.Parallel(ctx,
			ctx.NotifyRunAsync("write down milk", ctx.RunID, "milk", 2),
			ctx.NotifyRunAsync("write down eggs", ctx.RunID, "eggs", 6)); err != nil {
			return "", err
		}
		eggs, err := workflow.WaitForEvent[int](ctx, "read", "eggs", time.Minute)
		return fmt.Sprint(eggs.Data, " eggs"), err
	}, settings()), "")
	// Output:
	// SUCCESS "6 eggs"
}

func ExampleContext_NotifyRun() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		// It is kept until the run waits for it.
		if _, err := ctx.NotifyRun("write down", ctx.RunID, "note", "buy milk"); err != nil {
			return "", err
		}
		note, err := workflow.WaitForEvent[string](ctx, "read", "note", time.Minute)
		return note.Data, err
	}, settings()), "")
	// Output:
	// SUCCESS "buy milk"
}

func ExampleContext_CreateWebhookAsync() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (bool, error) {
		hooks, err := workflow.Parallel(ctx,
			ctx.CreateWebhookAsync("where to say yes"),
			ctx.CreateWebhookAsync("where to say no"))
		if err != nil {
			return false, err
		}
		return hooks[0].URL != hooks[1].URL, nil
	}, settings()), "")
	// Output:
	// SUCCESS true
}

func ExampleContext_CreateWebhook() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		hook, err := ctx.CreateWebhook("make webhook")
		if err != nil {
			return "", err
		}
		// A step may run again: the shop then has the same address.
		if _, err := workflow.Run(ctx, "order", func(context.Context) (struct{}, error) {
			return struct{}{}, shop(hook.URL)
		}); err != nil {
			return "", err
		}
		answer, err := ctx.WaitForWebhook("wait for the shop", hook, 24*time.Hour)
		return string(answer.Body), err
	}, settings()), "")
	// Output:
	// SUCCESS "delivered"
}

func ExampleContext_WaitForWebhook() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		hook, err := ctx.CreateWebhook("make webhook")
		if err != nil {
			return "", err
		}
		answer, err := ctx.WaitForWebhook("wait for the shop", hook, time.Second)
		if err != nil {
			return "", err
		}
		if answer.TimedOut { // nobody has the address
			return "no answer", nil
		}
		return answer.Method + " " + string(answer.Body), nil
	}, settings()), "")
	// Output:
	// SUCCESS "no answer"
}

func ExampleContext_WaitForWebhookAsync() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) ([]string, error) {
		hooks, err := workflow.Parallel(ctx, ctx.CreateWebhookAsync("for the shop"), ctx.CreateWebhookAsync("for the bank"))
		if err != nil {
			return nil, err
		}
		fromShop := ctx.WaitForWebhookAsync("wait for the shop", hooks[0], time.Hour)
		fromBank := ctx.WaitForWebhookAsync("wait for the bank", hooks[1], time.Hour)
		ordered := workflow.RunAsync(ctx, "order", func(context.Context) (struct{}, error) {
			return struct{}{}, errors.Join(shop(hooks[0].URL), shop(hooks[1].URL))
		})
		if err := workflow.All(ctx, fromShop, fromBank, ordered); err != nil {
			return nil, err
		}
		s, _ := fromShop.Get() // All has their errors
		b, _ := fromBank.Get()
		return []string{s.Method, b.Method}, nil
	}, settings()), "")
	// Output:
	// SUCCESS ["PUT","PUT"]
}

// shop is somebody who calls back.
func shop(url string) error {
	r, err := http.NewRequest(http.MethodPut, url, strings.NewReader("delivered"))
	if err != nil {
		return err
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode > 299 {
		return errors.New(resp.Status)
	}
	return nil
}

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
	play(workflow.MustServeMany(settings(), onboard, charge), `{"email":"ada@example.com"}`)
	// Output:
	// SUCCESS "receipt 1, failed: true"
}

func ExampleInvokeAsync() {
	measure := workflow.Define("measure", func(ctx *workflow.Context, name string) (int, error) {
		return workflow.Run(ctx, "count", func(context.Context) (int, error) { return len(name), nil })
	}, nil)
	onboard := workflow.Define("onboard", func(ctx *workflow.Context, names []string) (int, error) {
		var runs []*workflow.Future[workflow.Invoked[int]]
		for _, name := range names {
			runs = append(runs, workflow.InvokeAsync(ctx, "measure "+name, measure.Ref, name, nil))
		}
		sizes, err := workflow.Parallel(ctx, runs...)
		sum := 0
		for _, size := range sizes {
			sum += size.Body
		}
		return sum, err
	}, nil)
	play(workflow.MustServeMany(settings(), onboard, measure), `["a","bb","ccc"]`)
	// Output:
	// SUCCESS 6
}

func ExampleAt() {
	// A workflow of another program, in whatever language.
	other := httptest.NewServer(workflow.MustServe(func(ctx *workflow.Context, text string) (map[string]string, error) {
		return workflow.Run(ctx, "think", func(context.Context) (map[string]string, error) {
			return map[string]string{"fr": "bonjour"}, nil
		})
	}, settings()))
	defer other.Close()
	translate := workflow.At[string, map[string]string](other.URL + "/translate")
	play(workflow.MustServe(func(ctx *workflow.Context, text string) (string, error) {
		result, err := workflow.Invoke(ctx, "translate", translate, text, nil)
		return result.Body["fr"], err
	}, settings()), "hello")
	// Output:
	// SUCCESS "bonjour"
}

func ExampleNamed() {
	// It invokes itself, and so can't refer to the variable that it is the value of.
	countdown := workflow.Define("onboard", func(ctx *workflow.Context, n int) (string, error) {
		if n == 0 {
			return workflow.Run(ctx, "start", func(context.Context) (string, error) { return "go", nil })
		}
		rest, err := workflow.Invoke(ctx, "go on", workflow.Named[int, string]("onboard"), n-1, nil)
		return fmt.Sprint(n, " ", rest.Body), err
	}, nil)
	play(workflow.MustServeMany(settings(), countdown), "3")
	// Output:
	// SUCCESS "3 2 1 go"
}

func ExampleServeMany() {
	hello := workflow.Define("hello", func(ctx *workflow.Context, name string) (string, error) {
		return workflow.Run(ctx, "think", func(context.Context) (string, error) { return "hello " + name, nil })
	}, nil)
	onboard := workflow.Define("onboard", func(ctx *workflow.Context, in SignUp) (string, error) {
		greeting, err := workflow.Invoke(ctx, "greet", hello.Ref, in.Email, nil)
		return greeting.Body, err
	}, nil)
	many, err := workflow.ServeMany(settings(), onboard, hello)
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/", many) // at /onboard and /hello; the last segment of the path decides
	play(mux, `{"email":"ada@example.com"}`)
	// Output:
	// SUCCESS "hello ada@example.com"
}

// What a workflow's own options leave out is that of all.
func ExampleDefine() {
	secret := workflow.Define("onboard", func(ctx *workflow.Context, in SignUp) (string, error) {
		return workflow.Run(ctx, "greet", func(context.Context) (string, error) { return "hello " + in.Email, nil })
	}, &workflow.Options{MaxBodyBytes: 64 << 10})
	play(workflow.MustServeMany(settings(), secret), `{"email":"ada@example.com"}`)
	// Output:
	// SUCCESS "hello ada@example.com"
}

func ExampleContext_Cancel() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		wanted, err := workflow.Run(ctx, "still wanted?", func(context.Context) (bool, error) { return false, nil })
		if err != nil {
			return "", err
		}
		if !wanted {
			return "", ctx.Cancel()
		}
		return "done", nil
	}, settings()), "")
	// Output:
	// CANCELED
}

func ExampleNonRetryable() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (int, error) {
		return workflow.Run(ctx, "charge", func(context.Context) (int, error) {
			fmt.Println("charging")
			return 0, workflow.NonRetryable(errors.New("card declined"))
		})
	}, settings()), "")
	// Output:
	// charging
	// FAILED
}

func ExampleRetryAfter() {
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (string, error) {
		return workflow.Run(ctx, "ask", func(context.Context) (string, error) {
			if ctx.Retried == 0 {
				return "", workflow.RetryAfter(errors.New("too many requests"), time.Second)
			}
			return "answered", nil
		})
	}, settings()), "")
	// Output:
	// SUCCESS "answered"
}

func ExampleFailureContext() {
	options, failed := settings(), make(chan string, 1)
	options.OnFailure = func(ctx *workflow.FailureContext) (string, error) {
		failed <- fmt.Sprintf("%s failed with %d %s", ctx.Payload, ctx.Status, ctx.Response)
		return "told the owner", nil
	}
	end := start(workflow.MustServe(func(ctx *workflow.Context, order string) (int, error) {
		return workflow.Run(ctx, "charge", func(context.Context) (int, error) {
			return 0, workflow.NonRetryable(errors.New("card declined"))
		})
	}, options), client.TriggerRequest{Body: []byte("order-7")})
	fmt.Println(<-failed)
	end()
	// Output:
	// order-7 failed with 489 card declined
	// FAILED
}

func ExampleOptions_authorize() {
	options := settings()
	options.Authorize = func(ctx context.Context, r *workflow.AuthRequest) error {
		if r.Header.Get("Authorization") != "Bearer right" {
			return errors.New("who are you?")
		}
		return nil
	}
	hello := workflow.MustServe(func(ctx *workflow.Context, name string) (string, error) {
		return workflow.Run(ctx, "greet", func(context.Context) (string, error) { return "hello " + name, nil })
	}, options)
	for _, who := range []string{"right", "wrong"} {
		start(hello, client.TriggerRequest{
			Body: []byte("Ada"), Header: http.Header{"Authorization": {"Bearer " + who}}, Retries: new(0),
		})()
	}
	// Output:
	// SUCCESS "hello Ada"
	// FAILED
}

func ExampleOptions_validate() {
	options := settings()
	options.Validate = func(payload any) error {
		if p := payload.(Payment); p.Amount < 1 {
			return fmt.Errorf("amount is %d, expected 1 or more", p.Amount)
		}
		return nil
	}
	charge := workflow.MustServe(func(ctx *workflow.Context, p Payment) (string, error) {
		return workflow.Run(ctx, "charge", func(context.Context) (string, error) { return fmt.Sprint("charged ", p.Amount), nil })
	}, options)
	play(charge, `{"amount":30}`)
	play(charge, `{"amount":0}`)
	// Output:
	// SUCCESS "charged 30"
	// FAILED
}

func ExampleMiddleware() {
	options := settings()
	options.Middleware = []workflow.Middleware{{
		Step: func(ctx context.Context, s workflow.StepInfo, next func(context.Context) error) error {
			fmt.Println("before", s.Name)
			err := next(ctx)
			fmt.Println("after", s.Name, err)
			return err
		},
	}}
	play(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (int, error) {
		return workflow.Run(ctx, "count", func(context.Context) (int, error) { return 42, nil })
	}, options), "")
	// Output:
	// before count
	// after count <nil>
	// SUCCESS 42
}

func ExampleLogging() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "url" || a.Key == "took" { // other ones each time
				return slog.Attr{}
			}
			return a
		},
	}))
	options := settings()
	options.Middleware = []workflow.Middleware{workflow.Logging(log)}
	start(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (int, error) {
		return workflow.Run(ctx, "count", func(context.Context) (int, error) { return 42, nil })
	}, options), client.TriggerRequest{RunID: "count-1"})()
	// Output:
	// level=INFO msg="workflow run started" run=count-1
	// level=INFO msg="workflow step" run=count-1 step=count type=Run retried=0
	// level=INFO msg="workflow run completed" run=count-1
	// SUCCESS 42
}

func ExampleVersion() {
	play(workflow.MustServe(func(ctx *workflow.Context, in SignUp) (string, error) {
		v, err := workflow.Version(ctx, "greet by name", 0, 1)
		if err != nil {
			return "", err
		}
		greeting := "hello"
		if v >= 1 { // runs that were here before this was deployed have v == 0
			greeting += " " + in.Email
		}
		return workflow.Run(ctx, "greet", func(context.Context) (string, error) { return greeting, nil })
	}, settings()), `{"email":"ada@example.com"}`)
	// Output:
	// SUCCESS "hello ada@example.com"
}
