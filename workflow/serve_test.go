package workflow_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

const devKey = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"

func setEnv(t *testing.T, env map[string]string) {
	for _, name := range []string{"QSTASH_TOKEN", "QSTASH_URL", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "UPSTASH_WORKFLOW_URL",
		"SIGNPOST_DEV", "QSTASH_DEV"} {
		t.Setenv(name, env[name])
	}
}

func TestServeOptions(t *testing.T) {
	env := func(more ...string) map[string]string {
		e := map[string]string{"QSTASH_TOKEN": "TOKEN", "QSTASH_CURRENT_SIGNING_KEY": testKey, "QSTASH_NEXT_SIGNING_KEY": testKey + "2"}
		for i := 0; i < len(more); i += 2 {
			e[more[i]] = more[i+1]
		}
		return e
	}
	tests := []struct {
		name string
		env  map[string]string
		o    *workflow.Options
		want string // part of the error; "" for none
	}{
		{"environment", env(), nil, ""},
		{"one key", env("QSTASH_NEXT_SIGNING_KEY", ""), nil, ""},
		{"no keys", env("QSTASH_CURRENT_SIGNING_KEY", "", "QSTASH_NEXT_SIGNING_KEY", ""), nil, "no current signing key (set QSTASH_CURRENT_SIGNING_KEY"},
		{"next key only", env("QSTASH_CURRENT_SIGNING_KEY", ""), &workflow.Options{AllowUnsigned: true}, "no current signing key"},
		{"no keys, allowed", env("QSTASH_CURRENT_SIGNING_KEY", "", "QSTASH_NEXT_SIGNING_KEY", ""), &workflow.Options{AllowUnsigned: true, Logger: quiet}, ""},
		{"bad key, unsigned allowed", env("QSTASH_CURRENT_SIGNING_KEY", "short"), &workflow.Options{AllowUnsigned: true}, "current signing key"},
		{"no token", env("QSTASH_TOKEN", ""), nil, "QSTASH_TOKEN"},
		{"own client", env("QSTASH_TOKEN", ""), &workflow.Options{Client: client.New(client.Options{Token: "T"})}, ""},
		{"unusable client", env("QSTASH_TOKEN", ""), &workflow.Options{Client: client.New(client.Options{})}, "QSTASH_TOKEN"},
		{"bad server", env("QSTASH_URL", "ftp://x"), nil, "server url"},
		{"base", env(), &workflow.Options{BaseURL: "https://app.example/base/"}, ""},
		{"base without scheme", env(), &workflow.Options{BaseURL: "app.example"}, "base URL"},
		{"base with query", env("UPSTASH_WORKFLOW_URL", "https://app.example?x"), nil, "base URL"},
		{"base with user", env(), &workflow.Options{BaseURL: "https://u:secret@app.example"}, "base URL"},
		{"base that is none", env(), &workflow.Options{BaseURL: "http://[::1"}, "parse base URL"},
		{"negative limit", env(), &workflow.Options{MaxBodyBytes: -1}, "MaxBodyBytes -1 is negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			setEnv(t, tt.env)
			e, err := workflow.Serve(echo[any], tt.o)
			if tt.want == "" {
				if err != nil || e == nil {
					t.Fatalf("Serve: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "serve workflow: ") {
				t.Fatalf("Serve: %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error tells the password: %v", err)
			}
			defer func() {
				if p, ok := recover().(error); !ok || p.Error() != err.Error() {
					t.Errorf("MustServe panics with %v", p)
				}
			}()
			workflow.MustServe(echo[any], tt.o)
		})
	}
}

func TestAllowUnsignedWarns(t *testing.T) {
	setEnv(t, map[string]string{"QSTASH_TOKEN": "TOKEN"})
	var log bytes.Buffer
	if _, err := workflow.Serve(echo[any], &workflow.Options{AllowUnsigned: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "does not verify signatures") {
		t.Errorf("logged %q", log.String())
	}
}

// TestT07Address is about the URL that signatures are bound to and that steps are
// sent to.
func TestT07Address(t *testing.T) {
	proxy := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	type headers = map[string]string
	tests := []struct {
		name    string
		o       workflow.Options
		env     string
		host    string
		peer    string
		target  string
		tls     bool
		headers headers
		want    string // "" if the request is not for the endpoint
	}{
		{name: "base", o: workflow.Options{BaseURL: "https://app.example"}, host: "evil.example", target: "/a//b%2F?x=%20&y", want: "https://app.example/a//b%2F?x=%20&y"},
		{name: "base with path", o: workflow.Options{BaseURL: "https://app.example/cut/"}, target: "/a", want: "https://app.example/cut/a"},
		{name: "base of the environment", env: "https://env.example", target: "/a", want: "https://env.example/a"},
		{name: "option before environment", o: workflow.Options{BaseURL: "https://app.example"}, env: "https://env.example", target: "/a", want: "https://app.example/a"},
		{name: "absolute form", o: workflow.Options{BaseURL: "https://app.example"}, target: "http://evil.example/a?b", want: "https://app.example/a?b"},
		{name: "localhost", host: "localhost:3000", target: "/a", want: "http://localhost:3000/a"},
		{name: "name below localhost", host: "app.LocalHost.", target: "/a", want: "http://app.LocalHost./a"},
		{name: "127.0.0.1", host: "127.0.0.1:3000", target: "/a?b", want: "http://127.0.0.1:3000/a?b"},
		{name: "::1", host: "[::1]:3000", target: "/a", want: "http://[::1]:3000/a"},
		{name: "TLS", host: "localhost", tls: true, target: "/a", want: "https://localhost/a"},
		{name: "Host nobody vouches for", host: "app.example", target: "/a"},
		{name: "private Host", host: "10.0.0.1", target: "/a"},
		{name: "like localhost", host: "localhost.evil.example", target: "/a"},
		{name: "like 127.0.0.1", host: "127.0.0.1.evil.example", target: "/a"},
		{name: "path in the Host", host: "evil.example/.localhost", target: "/a"},
		{name: "path in the forwarded host", o: workflow.Options{TrustedProxies: proxy}, peer: "10.1.2.3:4", host: "inner", headers: headers{"X-Forwarded-Host": "evil.example/x"}, target: "/a"},
		{name: "user in the forwarded host", o: workflow.Options{TrustedProxies: proxy}, peer: "10.1.2.3:4", host: "inner", headers: headers{"X-Forwarded-Host": "app.example@evil.example"}, target: "/a"},
		{name: "query in the Host", host: "evil.example?.localhost", target: "/a"},
		{name: "no Host", host: "", peer: "10.0.0.1:1", o: workflow.Options{TrustedProxies: proxy}, target: "/a"},
		{name: "forwarded by nobody known", host: "localhost", headers: headers{"X-Forwarded-Host": "app.example", "X-Forwarded-Proto": "https"}, target: "/a", want: "http://localhost/a"},
		{name: "Host by proxy", o: workflow.Options{TrustedProxies: proxy}, peer: "10.1.2.3:4", host: "app.example", target: "/a", want: "http://app.example/a"},
		{name: "forwarded by proxy", o: workflow.Options{TrustedProxies: proxy}, peer: "[::ffff:10.1.2.3]:4", host: "inner", headers: headers{"X-Forwarded-Host": "app.example", "X-Forwarded-Proto": "https"}, target: "/a", want: "https://app.example/a"},
		{name: "forwarded by another", o: workflow.Options{TrustedProxies: proxy}, peer: "11.1.2.3:4", host: "inner", headers: headers{"X-Forwarded-Host": "app.example"}, target: "/a"},
		{name: "two forwarded hosts", o: workflow.Options{TrustedProxies: proxy}, peer: "10.1.2.3:4", host: "inner", headers: headers{"X-Forwarded-Host": "evil.example, app.example"}, target: "/a"},
		{name: "two forwarded schemes", o: workflow.Options{TrustedProxies: proxy}, peer: "10.1.2.3:4", host: "inner", headers: headers{"X-Forwarded-Proto": "https, http"}, target: "/a"},
		{name: "odd forwarded scheme", o: workflow.Options{TrustedProxies: proxy}, peer: "10.1.2.3:4", host: "inner", headers: headers{"X-Forwarded-Proto": "gopher"}, target: "/a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			setEnv(t, map[string]string{"UPSTASH_WORKFLOW_URL": tt.env})
			g := newGuarded(t, allow, func(o *workflow.Options) { o.BaseURL, o.TrustedProxies = tt.o.BaseURL, tt.o.TrustedProxies })
			r := signedFor(unsigned("/onboard", "{}", tt.headers), testKey, receiver.SignOptions{URL: "https://x" + tt.want, Body: []byte("{}")})
			if tt.want != "" {
				r = signedFor(r, testKey, receiver.SignOptions{URL: tt.want, Body: []byte("{}")})
			}
			r.RequestURI, r.Host = tt.target, tt.host
			if tt.peer != "" {
				r.RemoteAddr = tt.peer
			}
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			w := g.do(r)
			if tt.want == "" {
				if w.Code != http.StatusMisdirectedRequest {
					t.Errorf("answer %d %s, want a 421", w.Code, w.Body)
				}
				g.wantIdle(t)
				return
			}
			if w.Code != 200 || len(g.stub.sent) != 1 {
				t.Fatalf("answer %d %s", w.Code, w.Body)
			}
			item := g.stub.sent[0].Batch[0]
			if item.Destination != tt.want || item.Headers["upstash-workflow-url"] != tt.want {
				t.Errorf("the run goes to %s (%s), want %s", item.Destination, item.Headers["upstash-workflow-url"], tt.want)
			}
		})
	}
}

// A middleware that cuts the path does not change where the endpoint is.
func TestStripPrefix(t *testing.T) {
	s := newStage(t)
	s.handle(http.StripPrefix("/onboard", serveOn(t, s, nil, echo[int])))
	if run := s.trigger(t, client.TriggerRequest{Body: []byte("3")}); run.State != client.RunSuccess || run.Response != "3" {
		t.Errorf("run ended as %q with %s", run.State, run.Response)
	}
}

func TestBadRequests(t *testing.T) {
	log := func(entries string) string { return "[" + entries + "]" }
	const first = `{"messageId":"msg_0","body":"","callType":"step"}`
	step := map[string]string{wire.HeaderWorkflowSDKVersion: "1", wire.HeaderWorkflowRunID: "wfr_1", wire.HeaderMessageID: "msg_0"}
	with := func(base map[string]string, name, value string) map[string]string {
		h := map[string]string{}
		for k, v := range base {
			h[k] = v
		}
		h[name] = value
		return h
	}
	callback := map[string]string{wire.HeaderWorkflowCallback: "true", wire.HeaderWorkflowRunID: "wfr_1", wire.HeaderWorkflowStepID: "1",
		wire.HeaderWorkflowStepName: "one", wire.HeaderWorkflowStepType: "Call", wire.HeaderWorkflowConcurrent: "1"}
	const about = "the callback's headers do not say which step it is about"
	tests := []struct {
		name   string
		r      *http.Request
		status int
		want   string // beginning of the message
	}{
		{"GET", func() *http.Request { r := signed("/onboard", "", nil); r.Method = "GET"; return r }(), 405, "method GET: "},
		{"large body", signed("/onboard", strings.Repeat("x", 201), nil), 413, "body has more than 200 bytes"},
		{"body that breaks off", func() *http.Request {
			r := signed("/onboard", "", nil)
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("a"), errReader{}))
			return r
		}(), 400, "read body: broke off"},
		{"protocol of another version", signed("/onboard", log(first), with(step, wire.HeaderWorkflowSDKVersion, "2")), 500,
			"Incompatible workflow sdk protocol version. Expected 1, got 2 from the request."},
		{"step without a run", signed("/onboard", log(first), with(step, wire.HeaderWorkflowRunID, "")), 500, "Couldn't get workflow id from header"},
		{"failure without a run", signed("/onboard", "{}", failureHeaders("")), 500, "Couldn't get workflow id from header"},
		{"unknown SDK without a run", signed("/onboard", log(first), map[string]string{wire.HeaderWorkflowUnknownSDK: "true"}), 500, "Couldn't get workflow id from header"},
		{"log that is no array", signed("/onboard", `{"a":1}`, step), 400, "decode the run's log: "},
		{"empty log", signed("/onboard", `[]`, step), 400, "decode the run's log: it has no entries"},
		{"entry that is no step", signed("/onboard", log(first+`,{"messageId":"m","body":"bm8=","callType":"step"}`), step), 400, "decode entry 1 of the run's log: "},
		{"entry that is no base64", signed("/onboard", log(`{"messageId":"m","body":"?","callType":"step"}`), step), 400, "decode the run's log: "},
		{"payload that does not fit", signed("/onboard", log(`{"messageId":"m","body":"bm8=","callType":"step"}`), step), 400, "decode the run's payload: "},
		{"payload that does not fit, at the start", signed("/onboard", `{"count":"x"}`, nil), 400, "decode the run's payload: "},
		{"callback that is none", signed("/onboard", log(first), callback), 400, "decode callback: "},
		{"callback without a step", signed("/onboard", `{}`, with(callback, wire.HeaderWorkflowStepID, "")), 400, about},
		{"callback of step 0", signed("/onboard", `{}`, with(callback, wire.HeaderWorkflowStepID, "0")), 400, about},
		{"callback without a name", signed("/onboard", `{}`, with(callback, wire.HeaderWorkflowStepName, "")), 400, about},
		{"callback of a Run", signed("/onboard", `{}`, with(callback, wire.HeaderWorkflowStepType, "Run")), 400, about},
		{"callback of no group", signed("/onboard", `{}`, with(callback, wire.HeaderWorkflowConcurrent, "none")), 400, about},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStub(t, nil)
			s.payload = "{}"
			executed := false
			e, err := workflow.Serve(func(ctx *workflow.Context, _ order) (int, error) {
				return workflow.Run(ctx, "one", func(context.Context) (int, error) { executed = true; return 1, nil })
			}, &workflow.Options{Client: s.client, Receiver: newReceiver(t), BaseURL: "https://app.example", MaxBodyBytes: 200, Logger: quiet,
				OnFailure: func(*workflow.FailureContext) (string, error) { executed = true; return "", nil }})
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			e.ServeHTTP(w, tt.r)
			if got := said(t, w); w.Code != tt.status || !strings.HasPrefix(got, tt.want) {
				t.Errorf("answer %d %q, want %d %q", w.Code, got, tt.status, tt.want)
			}
			if w.Header().Get("Content-Type") != "application/json" || w.Header().Get(wire.HeaderWorkflowSDKVersion) != "1" || w.Header().Get(wire.HeaderWorkflowSDK) < "v1" {
				t.Errorf("answer has headers %v", w.Header())
			}
			for _, r := range s.sent {
				if executed || r.Method != http.MethodGet {
					t.Errorf("it was executed, or sent %s %s", r.Method, r.Path)
				}
			}
		})
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("broke off") }

// TestServerTrouble is about the server's answers while a call is served.
func TestServerTrouble(t *testing.T) {
	const runPath = "/v2/workflows/runs/wfr_1"
	tests := []struct {
		name    string
		kind    workflow.Kind
		replies map[string]int // by method and path
		status  int
		want    string // condition, or message
	}{
		{"start refused", workflow.KindStart, map[string]int{"POST /v2/batch": 400}, 500, "start run: publish batch: server answered 400: scripted"},
		{"start over the limit", workflow.KindStart, map[string]int{"POST /v2/batch": 412}, 489, "start run: publish batch: server answered 412: scripted"},
		{"step of a run that goes on refused", workflow.KindStep, map[string]int{"POST /v2/batch": 400, "GET " + runPath: 0}, 489, "submit step: publish batch: server answered 400: scripted"},
		{"step of a run that ended refused", workflow.KindStep, map[string]int{"POST /v2/batch": 400, "GET " + runPath: 404}, 200, "success"},
		{"step refused, server in trouble", workflow.KindStep, map[string]int{"POST /v2/batch": 400, "GET " + runPath: 500}, 500, "submit step: publish batch: server answered 400: scripted\nget run log: server answered 500: scripted"},
		{"step too large", workflow.KindStep, map[string]int{"POST /v2/batch": 413}, 489, "submit step: publish batch: server answered 413: scripted"},
		{"step over the limit", workflow.KindStep, map[string]int{"POST /v2/batch": 412}, 489, "submit step: publish batch: server answered 412: scripted"},
		{"server in trouble", workflow.KindStep, map[string]int{"POST /v2/batch": 503}, 500, "submit step: publish batch: server answered 503: scripted"},
		{"callback of a run that ended", workflow.KindCallback, map[string]int{"GET " + runPath: 404}, 200, "workflow-already-ended"},
		{"callback, server in trouble", workflow.KindCallback, map[string]int{"GET " + runPath: 500}, 500, "fetch the run's log: get run log: server answered 500: scripted"},
		{"callback over the limit", workflow.KindCallback, map[string]int{"POST /v2/publish/" + appURL: 412}, 489, "submit step: publish: server answered 412: scripted"},
		{"callback refused, run goes on", workflow.KindCallback, map[string]int{"POST /v2/publish/" + appURL: 400}, 489, "submit step: publish: server answered 400: scripted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuarded(t, allow, nil)
			for call, status := range tt.replies {
				if status != 0 {
					g.stub.replies[call] = []byte(fmt.Sprint(status))
				}
			}
			w := g.do(calling[tt.kind]())
			if w.Code != tt.status {
				t.Errorf("answer %d %s, want %d", w.Code, w.Body, tt.status)
			}
			if tt.status != 200 {
				if got := said(t, w); got != tt.want {
					t.Errorf("message %q, want %q", got, tt.want)
				}
			} else if !strings.Contains(w.Body.String(), `"finishCondition":"`+tt.want+`"`) {
				t.Errorf("answer %s, want %s", w.Body, tt.want)
			}
			if final := w.Header().Get(wire.HeaderNonRetryable) != ""; final != (tt.status == 489) {
				t.Errorf("answer %d is final: %v", w.Code, final)
			}
		})
	}
}

func TestFinishTrouble(t *testing.T) {
	for status, want := range map[int]string{
		200: "200 success", 400: "200 success", 404: "200 workflow-already-ended", 412: "489 finish run: server answered 412: scripted", 413: "489 finish run: server answered 413: scripted", 500: "500 finish run: server answered 500: scripted",
	} {
		s := newStub(t, map[string]rawJSON{"DELETE /v2/workflows/runs/wfr_1?cancel=false": rawJSON(fmt.Sprint(status))})
		e, err := workflow.Serve(echo[any], &workflow.Options{Client: s.client, Receiver: newReceiver(t), BaseURL: "https://app.example", Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		one := "1"
		w := deliverLog(e, wire.Step{StepID: 1, StepName: "one", StepType: wire.StepRun, Out: &one, Concurrent: 1})
		text := w.Body.String()
		if w.Code != 200 {
			text = said(t, w)
		}
		code, condition, _ := strings.Cut(want, " ")
		if fmt.Sprint(w.Code) != code || !strings.Contains(text, condition) {
			t.Errorf("server answers %d: %d %s, want %s", status, w.Code, text, want)
		}
	}
}

// TestHangUp: when the server hangs up, the step is told; what it did
// nonetheless is reported, so that it is not done again.
func TestHangUp(t *testing.T) {
	s := newStub(t, nil)
	started, told := make(chan struct{}), make(chan error, 1)
	e, err := workflow.Serve(func(ctx *workflow.Context, _ any) (int, error) {
		return workflow.Run(ctx, "one", func(ctx context.Context) (int, error) {
			close(started)
			<-ctx.Done()
			told <- ctx.Err()
			return 1, nil
		})
	}, &workflow.Options{Client: s.client, Receiver: newReceiver(t), BaseURL: "https://app.example", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(served)
		e.ServeHTTP(w, r)
	}))
	defer app.Close()

	ctx, hangUp := context.WithCancel(t.Context())
	r := calling[workflow.KindStep]().WithContext(ctx)
	r.RequestURI, r.Host = "", ""
	r.URL.Scheme, r.URL.Host = "http", app.Listener.Addr().String()
	go func() { <-started; hangUp() }()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	if _, err := transport.RoundTrip(r); !errors.Is(err, context.Canceled) {
		t.Fatalf("request: %v", err)
	}
	select {
	case <-served:
	case <-time.After(10 * time.Second):
		t.Fatal("the handler goes on")
	}
	if err := <-told; !errors.Is(err, context.Canceled) {
		t.Errorf("step was told %v", err)
	}
	if len(s.sent) != 1 || s.sent[0].Path != "/v2/batch" {
		t.Errorf("sent %+v, want the step's result", s.sent)
	}
}

// TestConcurrentRuns is for the race detector.
func TestConcurrentRuns(t *testing.T) {
	s := newStage(t)
	serveOn(t, s, nil, everyVerb(mailServer(t, func(*http.Request) {}), map[string]int{}))
	const n = 8
	runs := make([]client.TriggerRequest, n)
	for i := range runs {
		runs[i] = client.TriggerRequest{URL: s.url + "/onboard", RunID: fmt.Sprint("many_", i), Body: []byte(`{"item":"apple","count":1}`)}
	}
	if _, err := s.client.TriggerBatch(t.Context(), runs); err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		if run := s.ended(t, r.RunID); run.State != client.RunSuccess {
			t.Errorf("run %s ended as %q after %v", r.RunID, run.State, steps(run))
		}
	}
}
