package workflow_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/workflow"
)

const appURL = "https://app.example/onboard"

type order struct {
	Item  string `json:"item"`
	Count int    `json:"count"`
}

// everyVerb uses many kinds of steps, and counts what it does.
func everyVerb(mail string, done map[string]int) func(*workflow.Context, order) (string, error) {
	var mu sync.Mutex
	count := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		done[name]++
	}
	return func(ctx *workflow.Context, in order) (string, error) {
		defer count("deferred")
		price, err := workflow.Run(ctx, "price", func(context.Context) (int, error) {
			count("price")
			return in.Count * 10, nil
		})
		if err != nil {
			return "", err
		}
		if err := ctx.Sleep("pause", 0); err != nil {
			return "", err
		}
		stock := workflow.RunAsync(ctx, "stock", func(context.Context) ([]string, error) {
			count("stock")
			return []string{in.Item, "left"}, nil
		})
		pause := ctx.SleepAsync("second pause", time.Second)
		mail := workflow.CallAsync(ctx, "mail", workflow.CallRequest{URL: mail, Method: "POST", Body: []byte("a\xffb")})
		if err := workflow.All(ctx, stock, pause, mail); err != nil {
			return "", err
		}
		left, err := stock.Get()
		if err != nil {
			return "", err
		}
		answer, err := mail.Get()
		if err != nil {
			return "", err
		}
		if err := ctx.SleepUntil("no pause", time.Unix(1_700_000_000, 1)); err != nil {
			return "", err
		}
		_, err = workflow.Run(ctx, "last", func(context.Context) (struct{}, error) {
			count("last")
			return struct{}{}, nil
		})
		return fmt.Sprint(price, left, answer.Status, answer.Header["Kind"], answer.Body), err
	}
}

// mailServer gives an odd answer.
func mailServer(t testing.TB, asked func(*http.Request)) (url string) {
	third := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked(r)
		w.Header()["Kind"] = []string{"a", "b"}
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte{0, 0x7f, 0x80, 0xff, '"'})
	}))
	t.Cleanup(third.Close)
	return third.URL
}

func TestRun(t *testing.T) {
	var asked []string
	mail := mailServer(t, func(r *http.Request) {
		asked = append(asked, fmt.Sprintf("%s %s %s %q", r.Method, r.RequestURI, r.Header.Get("Content-Type"), readBody(t, r)))
	})
	s, done := newStage(t), map[string]int{}
	serveOn(t, s, nil, everyVerb(mail+"/send?to=x", done))
	run := s.trigger(t, client.TriggerRequest{Body: []byte(`{"item":"<nut>","count":4}`)})

	if run.State != client.RunSuccess || run.Response != `"40 [<nut> left] 418 [a b] [0 127 128 255 34]"` {
		t.Errorf("run ended as %s with %s", run.State, run.Response)
	}
	want := []string{"1 price", "2 pause", "3 stock", "4 second pause", "5 mail", "6 no pause", "7 last"}
	if diff := cmp.Diff(want, steps(run)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	for _, step := range []string{"price", "stock", "last"} {
		if done[step] != 1 {
			t.Errorf("step %s was executed %d times", step, done[step])
		}
	}
	if want := []string{`POST /send?to=x application/json "a\xffb"`}; !slices.Equal(asked, want) {
		t.Errorf("third party was asked %q, want %q", asked, want)
	}
	// The start, one call for each of the 7 results and 3 plans, and a rehearsal for the answer to the Call.
	if done["deferred"] != 12 {
		t.Errorf("deferred calls ran %d times, want 12", done["deferred"])
	}
}

// A log that is too large to come with a call is fetched.
func TestLargeLog(t *testing.T) {
	s, fetched := newStage(t), false
	e := serveOn(t, s, nil, func(ctx *workflow.Context, in []byte) (int, error) {
		return workflow.Run(ctx, "measure", value(len(in)))
	})
	s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched = fetched || r.ContentLength == 0
		e.ServeHTTP(w, r)
	}))
	run := s.trigger(t, client.TriggerRequest{Body: bytes.Repeat([]byte("x"), 3<<20)})
	if run.State != client.RunSuccess || run.Response != fmt.Sprint(3<<20) || !fetched {
		t.Errorf("run ended as %s with %s, log fetched: %v", run.State, run.Response, fetched)
	}
}

// A run can be started by any message to its endpoint.
func TestFirstInvocation(t *testing.T) {
	s := newStage(t)
	var seen []string
	serveOn(t, s, nil, func(ctx *workflow.Context, in []byte) (struct{}, error) {
		seen = append(seen, fmt.Sprintf("%x %s %v %q", in, ctx.Header.Get("X-Tenant"), ctx.Labels, ctx.Header.Values(wire.HeaderSignature)))
		ctx.Header.Set("X-Tenant", "changed") // is this call's copy
		_, err := workflow.Run(ctx, "one", value(1))
		return struct{}{}, err
	})
	for i, body := range []string{"plain text", "\xff\x00", ""} {
		seen = nil
		url := fmt.Sprint(s.url, "/onboard?", i)
		_, err := s.client.Publish(t.Context(), client.PublishRequest{
			URL: url, Body: []byte(body),
			Header: http.Header{"X-Tenant": {"t1"}, wire.HeaderLabel: {"a,b"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		run := s.ended(t, s.startedAt(t, url))
		want := fmt.Sprintf("%x t1 [a b] []", body)
		if !slices.Equal(seen, []string{want, want, want}) { // rehearsed, run, finished
			t.Errorf("payload %q was seen as %q, want 3 × %q", body, seen, want)
		}
		if id := run.WorkflowRunID; run.State != client.RunSuccess || !strings.HasPrefix(id, "wfr_") || len(id) != 25 {
			t.Errorf("run %s ended as %q", id, run.State)
		}
		if !slices.Equal(run.Labels, []string{"a", "b"}) {
			t.Errorf("run has labels %q", run.Labels)
		}
	}
}

// startedAt is the run that has been started at a URL, once there is one.
func (s *stage) startedAt(t testing.TB, url string) (id string) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		page, err := s.client.Runs(t.Context(), client.RunsRequest{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Runs) > 1 {
			t.Fatalf("%d runs were started", len(page.Runs))
		}
		if len(page.Runs) == 1 {
			return page.Runs[0].WorkflowRunID
		}
	}
	t.Fatalf("no run was started at %s", url)
	return ""
}

func TestContext(t *testing.T) {
	s := newStage(t)
	type key struct{}
	type snapshot struct {
		RunID, URL string
		Created    int64
		Tenant     string
		Labels     []string
		Value      any
	}
	var seen []snapshot
	var retried []int
	e := serveOn(t, s, nil, func(ctx *workflow.Context, _ order) (int, error) {
		seen = append(seen, snapshot{ctx.RunID, ctx.URL, ctx.CreatedAt.UnixMilli(), ctx.Header.Get("X-Tenant"), slices.Clone(ctx.Labels), ctx.Value(key{})})
		retried = append(retried, ctx.Retried)
		ctx.Header.Set("X-Tenant", "changed") // is this call's copy
		if len(ctx.Labels) > 0 {
			ctx.Labels[0] = "changed"
		}
		return workflow.Run(ctx, "flaky", func(context.Context) (int, error) {
			if ctx.Retried == 0 {
				return 0, errors.New("not yet")
			}
			return 1, nil
		})
	})
	s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "middleware")))
	}))
	run := s.trigger(t, client.TriggerRequest{Header: http.Header{"X-Tenant": {"t1"}}, Labels: []string{"a", "b"}})
	want := snapshot{"wfr_1", s.url + "/onboard", run.CreatedAt, "t1", []string{"a", "b"}, "middleware"}
	if diff := cmp.Diff([]snapshot{want, want, want}, seen); diff != "" {
		t.Errorf("contexts (-want +got):\n%s", diff)
	}
	if !slices.Equal(retried, []int{0, 1, 0}) || run.State != client.RunSuccess {
		t.Errorf("retried %v, ended as %q", retried, run.State)
	}
}

func TestPayloads(t *testing.T) {
	s := newStage(t)
	run := func(t *testing.T, body, want string) {
		t.Helper()
		if got := s.trigger(t, client.TriggerRequest{Body: []byte(body)}).Response; got != want {
			t.Errorf("payload %q came to %s, want %s", body, got, want)
		}
	}
	t.Run("struct", func(t *testing.T) {
		serveOn(t, s, nil, echo[order])
		run(t, `{"item":"a","count":2}`, `{"item":"a","count":2}`)
		run(t, ``, `{"item":"","count":0}`)
		run(t, `null`, `{"item":"","count":0}`)
	})
	t.Run("pointer", func(t *testing.T) {
		serveOn(t, s, nil, echo[*order])
		run(t, `{"item":"a","count":2}`, `{"item":"a","count":2}`)
		run(t, ``, `null`)
	})
	t.Run("string", func(t *testing.T) {
		serveOn(t, s, nil, echo[string])
		run(t, `"quoted" & <raw>`, `"\"quoted\" & <raw>"`)
	})
	t.Run("bytes", func(t *testing.T) {
		serveOn(t, s, nil, echo[[]byte])
		run(t, `ab`, `"YWI="`)
	})
	t.Run("raw JSON", func(t *testing.T) {
		serveOn(t, s, nil, echo[json.RawMessage])
		run(t, `{"a":12345678901234567890}`, `{"a":12345678901234567890}`)
	})
	t.Run("any", func(t *testing.T) {
		serveOn(t, s, nil, echo[any])
		run(t, `[1]`, `[1]`)
		run(t, `no json`, `"no json"`)
		run(t, ``, `null`)
	})
	t.Run("none", func(t *testing.T) {
		serveOn(t, s, nil, echo[struct{}])
		run(t, `no json`, ``)
	})
}

func echo[T any](ctx *workflow.Context, in T) (T, error) {
	_, err := workflow.Run(ctx, "one", value(1))
	return in, err
}

// TestOut is about results in the log, of this and of other SDKs.
func TestOut(t *testing.T) {
	text := func(s string) *string { return &s }
	tests := []struct {
		name string
		out  *string
		fn   func(*workflow.Context) (any, error)
		want string // the function's result, or the error's text
	}{
		{"none for a value", nil, runs[int], "0"},
		{"null", text("null"), runs[*order], "<nil>"},
		{"struct", text(`{"item":"a","count":1}`), runs[order], "{a 1}"},
		{"string", text(`"a\nb"`), runs[string], "a\nb"},
		{"text that is no JSON", text(`a b`), runs[string], "a b"},
		{"number for a string", text(`7`), runs[string], "The result of step 's' in the log is not what the workflow expects: json: cannot unmarshal number into Go value of type string"},
		{"text for a number", text(`seven`), runs[int], "The result of step 's' in the log is not what the workflow expects: invalid character 's' looking for beginning of value"},
		{"value for none", text(`{"a":1}`), runs[struct{}], "{}"},
		{"call", text(`{"status":200,"body":"h\u00c3\u00a9","header":{"K":["v"]}}`), calls, "{200 map[K:[v]] hé}"},
		{"call by an SDK that decodes", text(`{"status":200,"body":"€","header":null}`), calls, "{200 map[] €}"},
		{"call without value", nil, calls, "The result of step 's' in the log is not what the workflow expects: it has no value"},
		{"call with other value", text(`[]`), calls, "The result of step 's' in the log is not what the workflow expects: json: cannot unmarshal array into Go value of type workflow.callOut"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStub(t, nil)
			var got any
			e, err := workflow.Serve(func(ctx *workflow.Context, _ any) (struct{}, error) {
				v, err := tt.fn(ctx)
				got = v
				return struct{}{}, err
			}, &workflow.Options{Client: s.client, Receiver: newReceiver(t), BaseURL: "https://app.example", Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			kind := wire.StepRun
			if strings.HasPrefix(tt.name, "call") {
				kind = wire.StepCall
			}
			w := deliverLog(e, wire.Step{StepID: 1, StepName: "s", StepType: kind, Out: tt.out, Concurrent: 1})
			shown := fmt.Sprintf("%v", got)
			if r, ok := got.(workflow.CallResponse); ok {
				shown = fmt.Sprintf("{%d %v %s}", r.Status, r.Header, r.Body)
			}
			if w.Code != 200 {
				shown = said(t, w)
			}
			if shown != tt.want {
				t.Errorf("got %s\nwant %s", shown, tt.want)
			}
		})
	}
}

func runs[T any](ctx *workflow.Context) (any, error) {
	return workflow.Run(ctx, "s", func(context.Context) (v T, err error) { return v, nil })
}

func calls(ctx *workflow.Context) (any, error) {
	return workflow.Call(ctx, "s", workflow.CallRequest{URL: "https://api.third/"})
}

// deliverLog calls e with a log of steps.
func deliverLog(e http.Handler, steps ...wire.Step) *httptest.ResponseRecorder {
	entries := []wire.LogEntry{{MessageID: "msg_0"}}
	for i, s := range steps {
		body, err := json.Marshal(s)
		if err != nil {
			panic(err)
		}
		entries = append(entries, wire.LogEntry{MessageID: fmt.Sprintf("msg_%d", i+1), Body: body})
	}
	return deliverStep(e, string(wire.EncodeLog(nil, entries)))
}

func deliverStep(e http.Handler, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	e.ServeHTTP(w, signed("/onboard", body, map[string]string{
		wire.HeaderWorkflowSDKVersion: "1", wire.HeaderWorkflowRunID: "wfr_1", wire.HeaderMessageID: "msg_0",
	}))
	return w
}

// said is the message of an error answer, which must have the promised form.
func said(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	var body map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("answer %q: %v", w.Body, err)
	}
	if len(body) != 2 || body["error"] == "" {
		t.Errorf("answer has other fields than error and message: %v", body)
	}
	return body["message"]
}
