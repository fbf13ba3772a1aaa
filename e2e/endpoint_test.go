package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

// TestGoEndpoint runs a suite of the official clients against an endpoint of
// package workflow. What the endpoint got, the official Receiver verifies.
func TestGoEndpoint(t *testing.T) {
	needNode(t)
	t.Parallel()
	s := startServer(t)
	var kept record
	runSuite(t, s, "golang.suite.js", "GO_ENDPOINT="+serveGo(t, s.platform(t), &kept))
	kept.verify(t, s)
}

func (s *server) client() *client.Client {
	return client.New(client.Options{URL: s.env["QSTASH_URL"], Token: s.env["QSTASH_TOKEN"]})
}

// platform is where endpoints and programs run: what they call, and who calls them.
type platform struct {
	client   *client.Client
	receiver *receiver.Receiver
	around   func(http.Handler) http.Handler // an endpoint
}

// platform is the server's own.
func (s *server) platform(t *testing.T) platform {
	t.Helper()
	rc, err := receiver.New(receiver.Options{
		CurrentSigningKey: s.env["QSTASH_CURRENT_SIGNING_KEY"], NextSigningKey: s.env["QSTASH_NEXT_SIGNING_KEY"],
		Development: true, RequireBinding: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := s.client()
	t.Cleanup(c.CloseIdleConnections)
	return platform{client: c, receiver: rc, around: func(endpoint http.Handler) http.Handler { return endpoint }}
}

type user struct {
	Name string `json:"name"`
	ID   int    `json:"id"`
}

type signUp struct {
	Name string `json:"name"`
	Fail bool   `json:"fail"`
}

type account struct {
	Home   string          `json:"home"`
	Mail   int             `json:"mail"`
	Answer json.RawMessage `json:"answer"`
	User   user            `json:"user"`
}

// interop is the workflow of lib/workflows.js.
func interop(ctx *workflow.Context, in signUp) (a account, err error) {
	a.User, err = workflow.Run(ctx, "create user", func(context.Context) (user, error) {
		if in.Fail {
			return user{}, fmt.Errorf("no user %s", in.Name)
		}
		return user{in.Name, 7}, nil
	})
	if err != nil {
		return a, err
	}
	var letter bytes.Buffer
	enc := json.NewEncoder(&letter)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(map[string]string{"to": a.User.Name}); err != nil {
		return a, err
	}
	home := workflow.RunAsync(ctx, "prepare home", func(context.Context) (string, error) {
		return "/home/" + a.User.Name, nil
	})
	mail := workflow.CallAsync(ctx, "send mail", workflow.CallRequest{
		URL: origin.FindString(ctx.URL) + "/mail", Method: http.MethodPost, Body: bytes.TrimSpace(letter.Bytes()),
		Header: http.Header{"X-Mail": {"1"}}, Retries: 1, RetryDelay: "10",
	})
	if a.Home, err = home.Get(); err != nil {
		return a, err
	}
	answer, err := mail.Get()
	if err != nil {
		return a, err
	}
	a.Mail, a.Answer = answer.Status, answer.Body
	if err := ctx.Sleep("settle in", time.Second); err != nil {
		return a, err
	}
	if err := ctx.SleepUntil("a date", time.Unix(1_600_000_000, 0)); err != nil {
		return a, err
	}
	_, err = workflow.Run(ctx, "nothing", func(context.Context) (struct{}, error) { return struct{}{}, nil })
	return a, err
}

type (
	payer struct {
		Amount float64 `json:"amount"`
		By     string  `json:"by"`
	}
	number struct {
		N int `json:"n"`
	}
	doubled struct {
		Twice int    `json:"twice"`
		X     string `json:"x"`
	}
	sagaResult struct {
		Told     int       `json:"told"`
		Paid     payer     `json:"paid"`
		Timeouts [2]bool   `json:"timeouts"`
		Nobody   int       `json:"nobody"`
		Hook     [4]string `json:"hook"`
		First    doubled   `json:"first"`
		Failed   [2]bool   `json:"failed"`
		B        string    `json:"b"`
	}
)

// double and saga are the workflows of lib/workflows.js.
func double(ctx *workflow.Context, in number) (doubled, error) {
	x := ctx.Header.Get("X-Child")
	if x == "" {
		x = "none"
	}
	return workflow.Run(ctx, "double", func(context.Context) (doubled, error) {
		if in.N < 0 {
			return doubled{}, workflow.NonRetryable(fmt.Errorf("%d is negative", in.N))
		}
		return doubled{2 * in.N, x}, nil
	})
}

func saga(child workflow.Ref[number, doubled]) func(*workflow.Context, signUp) (sagaResult, error) {
	return func(ctx *workflow.Context, in signUp) (out sagaResult, err error) {
		paid := "paid " + ctx.RunID
		told, err := ctx.NotifyRun("tell", ctx.RunID, paid, payer{3.5, in.Name})
		if err != nil {
			return out, err
		}
		event, err := workflow.WaitForEvent[payer](ctx, "wait for payment", paid, time.Hour)
		if err != nil {
			return out, err
		}
		late, err := workflow.WaitForEvent[string](ctx, "wait in vain", "never "+ctx.RunID, time.Second)
		if err != nil {
			return out, err
		}
		nobody, err := ctx.Notify("tell nobody", "nobody", "text <&>")
		if err != nil {
			return out, err
		}
		hook, err := ctx.CreateWebhook("make webhook")
		if err != nil {
			return out, err
		}
		_, err = workflow.Run(ctx, "call webhook", func(ctx context.Context) (struct{}, error) {
			return struct{}{}, callWebhook(ctx, hook.URL+"?q=1", "hello "+in.Name)
		})
		if err != nil {
			return out, err
		}
		call, err := ctx.WaitForWebhook("wait for webhook", hook, time.Hour)
		if err != nil {
			return out, err
		}
		first := workflow.InvokeAsync(ctx, "first", child, number{20}, &workflow.InvokeOptions{
			Header: http.Header{"X-Child": {"1"}}, Retries: new(0), Labels: []string{"of-saga"}})
		second := workflow.InvokeAsync(ctx, "second", child, number{-1}, &workflow.InvokeOptions{Retries: new(0)})
		b := workflow.RunAsync(ctx, "between", func(context.Context) (string, error) { return "b", nil })
		if err := workflow.All(ctx, first, second, b); err != nil {
			return out, err
		}
		one, _ := first.Get()
		two, _ := second.Get()
		out = sagaResult{
			Told: len(told), Paid: event.Data, Timeouts: [2]bool{event.TimedOut, late.TimedOut}, Nobody: len(nobody),
			First: one.Body, Failed: [2]bool{one.Failed, two.Failed},
		}
		out.B, _ = b.Get()
		at, err := url.Parse(call.URL)
		if err != nil {
			return out, err
		}
		out.Hook = [4]string{call.Method, "?" + at.RawQuery, call.Header.Get("X-Hook"), string(call.Body)}
		return out, nil
	}
}

func callWebhook(ctx context.Context, url, body string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("X-Hook", "1")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("webhook answered %d", answer.StatusCode)
	}
	return nil
}

// relayed is the workflow of lib/workflows.js.
func relayed(ctx *workflow.Context, _ struct{}) ([]string, error) {
	here := func(context.Context) (string, error) { return "go", nil }
	one, err := workflow.Run(ctx, "one", here)
	if err != nil {
		return nil, err
	}
	both, err := workflow.Parallel(ctx, workflow.RunAsync(ctx, "two", here), workflow.RunAsync(ctx, "three", func(c context.Context) (string, error) {
		if strings.HasSuffix(ctx.URL, "fails=go") {
			return "", workflow.NonRetryable(errors.New("not in Go"))
		}
		return here(c)
	}))
	if err != nil {
		return nil, err
	}
	four, err := workflow.Run(ctx, "four", here)
	return append(append([]string{one}, both...), four), err
}

// relay passes requests on to an endpoint of the suite's, whose address that
// tells: workflows in Go and in JavaScript are then siblings at one address. The
// Host header stays, and with it the URL that is signed.
type relay struct {
	to   atomic.Pointer[url.URL]
	here atomic.Bool // serve what both languages have in Go
}

func (r *relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(r.to.Load())
		p.Out.Host = p.In.Host
	}}).ServeHTTP(w, req)
}

func (r *relay) point(w http.ResponseWriter, req *http.Request) {
	to, err := url.Parse(req.FormValue("to"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if to.Host != "" {
		r.to.Store(to)
	}
	r.here.Store(req.FormValue("here") != "")
}

var origin = regexp.MustCompile(`^https?://[^/]+`)

// serveGo serves interop, keeps what comes in, and returns the URL.
func serveGo(t *testing.T, s platform, kept *record) string {
	t.Helper()
	mux := http.NewServeMux()
	serve := func(pattern string, endpoint http.Handler) { mux.Handle(pattern, s.around(endpoint)) }
	server := httptest.NewUnstartedServer(nil)
	kept.url = "http://" + server.Listener.Addr().String()
	options := &workflow.Options{
		Client: s.client, Receiver: s.receiver, BaseURL: kept.url, Logger: slog.New(slog.DiscardHandler),
		Authorize: func(_ context.Context, r *workflow.AuthRequest) error {
			if r.Header.Get("Authorization") != "Bearer secret" {
				return errors.New("wrong Authorization")
			}
			return nil
		},
		OnFailure: func(ctx *workflow.FailureContext) (string, error) {
			var in signUp
			err := json.Unmarshal(ctx.Payload, &in)
			return fmt.Sprintf("sorry, %s: %s", in.Name, ctx.Response), err
		},
	}
	serve("/interop", workflow.MustServe(interop, options))
	serve("/measure", workflow.MustServe(func(ctx *workflow.Context, in []byte) (int, error) {
		return workflow.Run(ctx, "measure", func(context.Context) (int, error) { return len(in), nil })
	}, &workflow.Options{Client: s.client, Receiver: s.receiver, BaseURL: kept.url}))
	serve("/sleeps", workflow.MustServe(func(ctx *workflow.Context, _ []byte) (struct{}, error) {
		return struct{}{}, ctx.Sleep("an hour", time.Hour)
	}, &workflow.Options{Client: s.client, Receiver: s.receiver, BaseURL: kept.url}))
	plain := &workflow.Options{Client: s.client, Receiver: s.receiver, BaseURL: kept.url, Logger: slog.New(slog.DiscardHandler)}
	child := workflow.Define("double", double, nil)
	serve("/go/", workflow.MustServeMany(plain, child, workflow.Define("saga", saga(child.Ref), nil)))
	var js relay
	mux.Handle("/js/", &js)
	// Both languages at one address, and workflows that invoke the other's.
	serve("/mixed/double", workflow.MustServe(double, plain))
	serve("/mixed/gosaga", workflow.MustServe(saga(workflow.Named[number, doubled]("jsdouble")), plain))
	inGo := s.around(workflow.MustServe(relayed, plain))
	mux.HandleFunc("/mixed/relayed", func(w http.ResponseWriter, r *http.Request) {
		if js.here.Load() {
			inGo.ServeHTTP(w, r)
		} else {
			js.ServeHTTP(w, r)
		}
	})
	mux.Handle("/mixed/", &js)
	mux.HandleFunc("POST /mail", func(w http.ResponseWriter, r *http.Request) {
		var letter struct{ To string }
		if err := json.NewDecoder(r.Body).Decode(&letter); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.Encode(map[string]string{"sent": letter.To})
	})
	around := http.NewServeMux()
	around.HandleFunc("PUT /js", js.point)
	around.Handle("/", kept.around(mux))
	server.Config.Handler = around
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// record is what an endpoint received.
type record struct {
	url string

	mu    sync.Mutex
	lines bytes.Buffer // JSON, as verify.js reads it
	count int
}

func (k *record) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // cut off: to return would be to answer with 200
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		line, _ := json.Marshal(map[string]any{
			"url": k.url + r.RequestURI, "signature": r.Header.Get("Upstash-Signature"), "body": body,
		})
		k.mu.Lock()
		k.lines.Write(append(line, '\n'))
		k.count++
		k.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// verify checks every request with the official Receiver.
func (k *record) verify(t *testing.T, s *server) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	cmd := exec.Command("node", "verify.js")
	cmd.Env = append(os.Environ(), s.environ()...)
	cmd.Stdin = &k.lines
	out, err := cmd.CombinedOutput()
	if want := fmt.Sprintf("verified %d\n", k.count); err != nil || k.count == 0 || string(out) != want {
		t.Errorf("verify %d requests: %v\n%s", k.count, err, out)
	}
}

// startEndpoint runs endpoint.js and returns its URL. When the test ends it
// verifies what it received.
func startEndpoint(t *testing.T, s *server) string {
	t.Helper()
	p := start(t, s.environ(), "node", "endpoint.js")
	t.Cleanup(func() {
		p.stdin.Close()
		if n, _ := strconv.Atoi(p.wait(t, `^verified (\d+)$`)[1]); n == 0 {
			t.Error("the endpoint received nothing")
		}
	})
	return p.wait(t, `^serving at (\S+)$`)[1]
}

// waitRun waits until a run has ended.
func waitRun(t *testing.T, c *client.Client, id string) client.Run {
	t.Helper()
	return waitRunFor(t, c, id, patience)
}

func waitRunFor(t *testing.T, c *client.Client, id string, most time.Duration) client.Run {
	t.Helper()
	deadline := time.Now().Add(most)
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		run, err := c.Run(t.Context(), id)
		if err == nil && run.State != client.RunStarted {
			return run
		}
		if time.Now().After(deadline) {
			t.Fatalf("run %s has not ended: %+v, %v", id, run, err)
		}
	}
}

// TestJavaScriptEndpoint starts runs of an endpoint of the official SDK with
// package client.
func TestJavaScriptEndpoint(t *testing.T) {
	needNode(t)
	t.Parallel()
	s := startServer(t)
	url := startEndpoint(t, s)
	c := s.client()
	defer c.CloseIdleConnections()
	header := http.Header{"Authorization": {"Bearer secret"}}

	started, err := c.TriggerJSON(t.Context(), client.TriggerRequest{
		URL: url + "/interop", Header: header, Labels: []string{"go"},
	}, signUp{Name: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	run := waitRun(t, c, started.WorkflowRunID)
	const want = `{"home":"/home/ada","mail":201,"answer":{"sent":"ada"},"user":{"name":"ada","id":7}}`
	if run.State != client.RunSuccess || run.Response != want || run.Label != "go" {
		t.Errorf("run ended as %s with %s, label %q; want %s", run.State, run.Response, run.Label, want)
	}

	started, err = c.TriggerJSON(t.Context(), client.TriggerRequest{
		URL: url + "/interop", Header: header, Retries: new(0),
	}, signUp{Name: "eve", Fail: true})
	if err != nil {
		t.Fatal(err)
	}
	if run = waitRun(t, c, started.WorkflowRunID); run.State != client.RunFailed {
		t.Errorf("run that fails ended as %s", run.State)
	}
	for deadline := time.Now().Add(patience); ; {
		if f := run.FailureFunction; f != nil && f.State == client.CallbackSuccess {
			if f.ResponseBody != `{"result":"sorry, eve: no user eve"}` {
				t.Errorf("failure function answered %s", f.ResponseBody)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("failure function: %+v", run.FailureFunction)
		}
		if run, err = c.Run(t.Context(), started.WorkflowRunID); err != nil {
			t.Fatal(err)
		}
	}
}
