package workflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

const testKey = "sig_a-key-that-only-tests-know-1"

// exchange is one delivery to an endpoint, what the endpoint sent to the
// server, and what it answered. See testdata/official/capture.mjs.
type exchange struct {
	Name, Workflow string
	Delivery       struct {
		Headers map[string]string
		Body    string
	}
	Replies map[string]json.RawMessage // by method and path: a status, or a body
	Sent    []sentRequest
	Answer  struct {
		Status  int
		Headers map[string]string
		Body    map[string]any
	}
}

type sentRequest struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"`
	Batch   []sentItem        `json:"batch"`
	Body    *string           `json:"body"`
}

type sentItem struct {
	Destination string            `json:"destination"`
	Headers     map[string]string `json:"headers"`
	Body        *string           `json:"body"`
}

type user struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
}

// value makes a step's function of a result.
func value[T any](v T) func(context.Context) (T, error) {
	return func(context.Context) (T, error) { return v, nil }
}

func fails(err error) func(context.Context) (int, error) {
	return func(context.Context) (int, error) { return 0, err }
}

var until = time.Unix(1767225600, 0)

// What some twins return, in the order of the original.
type (
	waited struct {
		Data     any  `json:"eventData,omitempty"`
		TimedOut bool `json:"timeout"`
	}
	called struct {
		TimedOut bool   `json:"timeout"`
		URL      string `json:"url,omitempty"`
		Method   string `json:"method,omitempty"`
		Body     string `json:"body,omitempty"`
		X        string `json:"x,omitempty"`
	}
	invoked struct {
		Body     any   `json:"body,omitempty"`
		Failed   bool  `json:"isFailed"`
		Canceled *bool `json:"isCanceled,omitempty"`
	}
)

// twins are the workflows of capture.mjs in Go.
var twins = map[string]func(*testing.T, *workflow.Options) *workflow.Endpoint{
	"sequential": twin(func(ctx *workflow.Context, payload any) (map[string]string, error) {
		in, _ := payload.(map[string]any)
		email, _ := in["email"].(string)
		u, err := workflow.Run(ctx, "create user", value(user{7, "<Ada & co>", email}))
		if err != nil {
			return nil, err
		}
		if err := ctx.Sleep("wait", 90*time.Second); err != nil {
			return nil, err
		}
		if err := ctx.SleepUntil("until", until); err != nil {
			return nil, err
		}
		text, err := workflow.Run(ctx, "text", value("hi "+u.Name))
		if err != nil {
			return nil, err
		}
		if _, err := workflow.Run(ctx, "void", value(struct{}{})); err != nil {
			return nil, err
		}
		return map[string]string{"text": text}, nil
	}),
	"parallel": twin(func(ctx *workflow.Context, _ any) (struct{}, error) {
		before, err := workflow.Run(ctx, "before", value(1))
		if err != nil {
			return struct{}{}, err
		}
		a := workflow.RunAsync(ctx, "a", value(before+1))
		b := ctx.SleepAsync("b", time.Minute)
		c := workflow.RunAsync(ctx, "c", value("three"))
		if err := workflow.All(ctx, a, b, c); err != nil {
			return struct{}{}, err
		}
		av, _ := a.Get()
		cv, _ := c.Get()
		_, err = workflow.Run(ctx, "after", value([]any{av, cv}))
		return struct{}{}, err
	}),
	"parallelTimers": twin(func(ctx *workflow.Context, _ any) (struct{}, error) {
		u := ctx.SleepUntilAsync("u", until)
		k := workflow.CallAsync(ctx, "k", workflow.CallRequest{URL: "https://api.third/k?x=1"})
		return struct{}{}, workflow.All(ctx, u, k)
	}),
	"call": twin(func(ctx *workflow.Context, _ any) (struct{}, error) {
		answer, err := workflow.Call(ctx, "ask", workflow.CallRequest{
			URL: "https://api.third/x?y=1", Method: "PATCH", Body: []byte("raw string"),
			Header:  http.Header{"My-Header": {"v"}, "Content-Type": {"text/plain"}},
			Retries: 2, RetryDelay: "2000", Timeout: 10 * time.Second,
		})
		if err != nil {
			return struct{}{}, err
		}
		_, err = workflow.Run(ctx, "after", value(answer.Status))
		return struct{}{}, err
	}),
	"plainCall": twin(func(ctx *workflow.Context, _ any) (struct{}, error) {
		_, err := workflow.Call(ctx, "ask", workflow.CallRequest{URL: "https://api.third/"})
		return struct{}{}, err
	}),
	"threeRetries": twin(func(ctx *workflow.Context, _ any) (struct{}, error) {
		_, err := workflow.Call(ctx, "ask", workflow.CallRequest{URL: "https://api.third/", Method: "POST", Body: []byte("b"), Retries: 3})
		return struct{}{}, err
	}),
	"cancel": twin(func(ctx *workflow.Context, _ any) (struct{}, error) {
		if _, err := workflow.Run(ctx, "one", value(1)); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, ctx.Cancel()
	}),
	"waits": twin(func(ctx *workflow.Context, _ any) (waited, error) {
		e, err := workflow.WaitForEvent[any](ctx, "w", "evt 1ü", 10*time.Minute)
		return waited{e.Data, e.TimedOut}, err
	}),
	"parallelWaits": twin(func(ctx *workflow.Context, _ any) (string, error) {
		a := workflow.WaitForEventAsync[string](ctx, "a", "evt_a", 0)
		if err := workflow.All(ctx, a, workflow.RunAsync(ctx, "b", value(1))); err != nil {
			return "", err
		}
		e, err := a.Get()
		return e.Data, err
	}),
	"webhook": twin(func(ctx *workflow.Context, _ any) (called, error) {
		call, err := ctx.WaitForWebhook("h", workflow.Webhook{EventID: "evt_h"}, time.Hour)
		return called{call.TimedOut, call.URL, call.Method, string(call.Body), call.Header.Get("X-A")}, err
	}),
	"notifies": twin(func(ctx *workflow.Context, _ any) (int, error) {
		told, err := ctx.Notify("n", "evt_n", map[string]float64{"amount": 1.5})
		return len(told), err
	}),
	"notifiesText": twin(func(ctx *workflow.Context, _ any) (struct{}, error) {
		_, err := ctx.Notify("n", "evt_n", "paid <&>")
		return struct{}{}, err
	}),
	"notifiesRun": twin(func(ctx *workflow.Context, _ any) (struct{}, error) {
		_, err := ctx.NotifyRun("n", "wfr_9", "evt_n", "paid")
		return struct{}{}, err
	}),
	"invokes": twin(func(ctx *workflow.Context, _ any) (invoked, error) {
		child := workflow.Named[map[string]int, any]("child")
		r, err := workflow.Invoke(ctx, "i", child, map[string]int{"count": 42}, &workflow.InvokeOptions{
			RunID: "wfr_own", Header: http.Header{"X-Child": {"1"}}, Labels: []string{"l3"}, Retries: new(1), RetryDelay: "10",
			FlowControl: &client.FlowControl{Key: "k", Parallelism: 2, Rate: 5, Period: time.Minute},
		})
		return invoked{r.Body, r.Failed, &r.Canceled}, err
	}),
	"invokesPlainly": twin(func(ctx *workflow.Context, _ any) (invoked, error) {
		r, err := workflow.Invoke(ctx, "i", workflow.Named[struct{}, any]("child"), struct{}{}, nil)
		return invoked{r.Body, r.Failed, nil}, err
	}),
	"parallelInvokes": twin(func(ctx *workflow.Context, _ any) (struct{}, error) {
		return struct{}{}, workflow.All(ctx,
			workflow.InvokeAsync(ctx, "i", workflow.Named[string, any]("child"), "text", nil), workflow.RunAsync(ctx, "b", value(1)))
	}),
	"fails":        twin(failing(errors.New("no luck"))),
	"failsForGood": twin(failing(workflow.NonRetryable(errors.New("never")))),
	"failsForNow":  twin(failing(workflow.RetryAfter(errors.New("later"), 30*time.Second))),
}

func failing(err error) func(*workflow.Context, any) (int, error) {
	return func(ctx *workflow.Context, _ any) (int, error) { return workflow.Run(ctx, "breaks", fails(err)) }
}

func twin[In, Out any](fn func(*workflow.Context, In) (Out, error)) func(*testing.T, *workflow.Options) *workflow.Endpoint {
	return func(t *testing.T, o *workflow.Options) *workflow.Endpoint {
		t.Helper()
		e, err := workflow.Serve(fn, o)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
}

// TestAsOfficialSDK plays the recorded deliveries to this package and compares
// every request, header and answer with what the official SDK made of them.
func TestAsOfficialSDK(t *testing.T) {
	raw, err := os.ReadFile("testdata/official/exchanges.json")
	if err != nil {
		t.Fatal(err)
	}
	var exchanges []exchange
	if err := json.Unmarshal(raw, &exchanges); err != nil {
		t.Fatal(err)
	}
	if len(exchanges) < 40 {
		t.Fatalf("%d exchanges, the recording is not complete", len(exchanges))
	}
	for _, x := range exchanges {
		t.Run(x.Name, func(t *testing.T) {
			stub := newStub(t, x.Replies)
			e := twins[x.Workflow](t, &workflow.Options{
				Client:   stub.client,
				Receiver: newReceiver(t),
				BaseURL:  "https://app.example",
				Logger:   quiet,
			})
			w := httptest.NewRecorder()
			e.ServeHTTP(w, signed("/api/wf?v=1", x.Delivery.Body, x.Delivery.Headers))

			x.allowDifferences()
			if diff := cmp.Diff(normalRequests(t, x.Sent), normalRequests(t, stub.sent)); diff != "" {
				t.Errorf("requests (-official +ours):\n%s", diff)
			}
			if w.Code != x.Answer.Status {
				t.Errorf("status %d, official %d: %s", w.Code, x.Answer.Status, w.Body)
			}
			for name, value := range x.Answer.Headers {
				if got := w.Header().Get(name); got != value {
					t.Errorf("header %s: %q, official %q", name, got, value)
				}
			}
			var body map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(x.Answer.Body, body, cmp.FilterPath(isNewRunID, cmp.Ignore())); diff != "" {
				t.Errorf("answer (-official +ours):\n%s", diff)
			}
		})
	}
}

func isNewRunID(p cmp.Path) bool {
	key, ok := p.Last().(cmp.MapIndex)
	if !ok || key.Key().String() != "workflowRunId" {
		return false
	}
	a, b := key.Values()
	return a.IsValid() && b.IsValid() && len(a.Elem().String()) == 25 && len(b.Elem().String()) == 25
}

// allowDifferences says where this package means to differ.
func (x *exchange) allowDifferences() {
	serverError := map[string]string{
		"over the limit":             "submit step: publish batch: server answered 412: scripted",
		"over the limit in parallel": "submit step: publish batch: server answered 412: scripted",
		"append not found":           "submit step: publish batch: server answered 404: scripted",
	}
	if message, ok := serverError[x.Name]; ok {
		x.Answer.Body["message"] = message
	}
	if x.Answer.Body["error"] == "QstashError" {
		x.Answer.Body["error"] = "Error"
	}
	fetchLog := sentRequest{Method: "GET", Path: "/v2/workflows/runs/wfr_1", Headers: map[string]string{"authorization": "Bearer TOKEN"}}
	switch x.Name {
	case "unknown sdk": // what belongs to one delivery is not passed on to others
		delete(x.Sent[0].Batch[0].Headers, "upstash-forward-upstash-message-id")
		delete(x.Sent[0].Batch[0].Headers, "upstash-forward-upstash-retried")
	case "call result", "call result, invoked": // the payload is there in this call, too, and the run is named
		x.Sent = append([]sentRequest{fetchLog}, x.Sent...)
		x.Answer.Body["workflowRunId"] = "wfr_1"
	case "invoke", "invoke, invoked": // the failure function is told the labels, too
		x.Sent[0].Headers["upstash-failure-callback-forward-upstash-label"] = "l3"
	case "append refused", "append refused in parallel", "wait refused": // make sure that it was because the run has ended
		x.Sent = append(x.Sent, fetchLog)
	}
}

// normalRequests leaves out what cannot be the same: telemetry and new ids.
func normalRequests(t *testing.T, sent []sentRequest) []sentRequest {
	var normal []sentRequest
	for _, r := range sent {
		r.Headers = normalHeaders(r.Headers)
		if r.Method == http.MethodDelete || strings.HasPrefix(r.Path, "/v2/notify/") {
			delete(r.Headers, "content-type") // the JavaScript platform adds one
		}
		r.Body = normalBody(t, r.Body)
		r.Batch = slices.Clone(r.Batch)
		for i := range r.Batch {
			r.Batch[i].Headers = normalHeaders(r.Batch[i].Headers)
			r.Batch[i].Body = normalBody(t, r.Batch[i].Body)
		}
		normal = append(normal, r)
	}
	return normal
}

func normalHeaders(h map[string]string) map[string]string {
	h = maps.Clone(h)
	for name, value := range h {
		if strings.HasPrefix(name, "upstash-telemetry-") {
			delete(h, name)
		}
		if strings.HasSuffix(name, "workflow-runid") && value != "wfr_1" {
			h[name] = "new, " + value[:4]
		}
	}
	return h
}

// normalBody compares bytes, but for the result of a call, which has a map in
// it, and for headers, which may be in any order. A time is a time in any notation.
func normalBody(t *testing.T, body *string) *string {
	if body != nil && (strings.Contains(*body, `eaders":{`) || strings.Contains(*body, `"timeout":`)) {
		return normalJSON(t, *body)
	}
	if body == nil || !strings.Contains(*body, `"Call","out"`) {
		return body
	}
	var step map[string]any
	if err := json.Unmarshal([]byte(*body), &step); err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal([]byte(step["out"].(string)), &out); err != nil {
		t.Fatal(err)
	}
	step["out"] = out
	sorted, err := json.Marshal(step)
	if err != nil {
		t.Fatal(err)
	}
	text := string(sorted)
	return &text
}

func normalJSON(t *testing.T, body string) *string {
	var v map[string]any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"headers", "timeoutHeaders"} {
		h, _ := v[field].(map[string]any)
		canonical := map[string]any{}
		for name, value := range h {
			if name = http.CanonicalHeaderKey(name); !strings.HasPrefix(name, "Upstash-Telemetry-") {
				canonical[name] = value
			}
		}
		if h != nil {
			v[field] = canonical
		}
	}
	if text, ok := v["timeout"].(string); ok {
		d, err := wire.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		v["timeout"] = d.Seconds()
	}
	sorted, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	text := string(sorted)
	return &text
}

// stub is a server that records requests, and answers as scripted.
type stub struct {
	client  *client.Client
	replies map[string]rawJSON // by method and path
	payload string             // of the run whose log is asked for
	sent    []sentRequest
}

type rawJSON = json.RawMessage

func newStub(t testing.TB, replies map[string]json.RawMessage) *stub {
	t.Helper()
	s := &stub{replies: map[string]rawJSON{}, payload: `{"email":"ada@example.com"}`}
	maps.Copy(s.replies, replies)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.record(t, r)
		w.Header().Set("Content-Type", "application/json")
		reply, scripted := s.replies[r.Method+" "+r.RequestURI]
		var status int
		switch last := s.sent[len(s.sent)-1]; {
		case scripted && json.Unmarshal(reply, &status) == nil:
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"error":"scripted"}`)
		case scripted:
			_, _ = w.Write(reply)
		case r.Method == http.MethodGet && len(replies) > 0: // a run that has ended, for the recorded refusals
			w.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodGet:
			_, _ = w.Write(wire.EncodeLog(nil, []wire.LogEntry{{MessageID: "msg_0", Body: []byte(s.payload)}}))
		case last.Batch != nil:
			_, _ = io.WriteString(w, "["+strings.Repeat(`{"messageId":"m"},`, len(last.Batch)-1)+`{"messageId":"m"}]`)
		default:
			_, _ = io.WriteString(w, `{"messageId":"m"}`)
		}
	}))
	s.client = client.New(client.Options{URL: server.URL, Token: "TOKEN", NetworkRetries: -1})
	t.Cleanup(func() { s.client.CloseIdleConnections(); server.Close() })
	return s
}

func (s *stub) record(t testing.TB, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	sent := sentRequest{Method: r.Method, Path: r.RequestURI, Headers: map[string]string{}}
	for name, values := range r.Header {
		if name = strings.ToLower(name); name == "authorization" || name == "content-type" || strings.HasPrefix(name, "upstash-") {
			sent.Headers[name] = strings.Join(values, ", ")
		}
	}
	if r.RequestURI == "/v2/batch" {
		if err := json.Unmarshal(body, &sent.Batch); err != nil {
			t.Error(err)
		}
	} else if len(body) > 0 {
		text := string(body)
		sent.Body = &text
	}
	s.sent = append(s.sent, sent)
}

func newReceiver(t testing.TB) *receiver.Receiver {
	t.Helper()
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: testKey})
	if err != nil {
		t.Fatal(err)
	}
	return rc
}

// signed is a request to https://app.example as the server makes it.
func signed(target, body string, headers map[string]string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	token, err := receiver.Sign(testKey, receiver.SignOptions{URL: "https://app.example" + target, Body: []byte(body)})
	if err != nil {
		panic(err)
	}
	r.Header.Set(receiver.Header, token)
	return r
}
