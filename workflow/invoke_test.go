package workflow_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/workflow"
)

// countdown invokes itself until nothing is left, and sees what it was started
// with on its way.
func countdown(seen *[]string) func(*workflow.Context, int) ([]int, error) {
	return func(ctx *workflow.Context, n int) ([]int, error) {
		at, err := workflow.Run(ctx, "look", value(fmt.Sprintf("%d %s %s %v", n, ctx.URL, ctx.Header.Get("X-Child"), ctx.Labels)))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			*seen = append(*seen, at)
			return []int{0}, nil
		}
		below, err := workflow.Invoke(ctx, "one less", workflow.Named[int, []int]("count down"), n-1, &workflow.InvokeOptions{
			Header: http.Header{"X-Child": {"yes"}}, Labels: []string{"deep"},
		})
		*seen = append(*seen, at)
		return append(below.Body, n), err
	}
}

func TestInvoke(t *testing.T) {
	s := newStage(t)
	var seen, depths []string
	serveMany(t, s, workflow.Define("count down", countdown(&seen), nil))
	ids, many := map[string]bool{}, s.handler
	s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(wire.HeaderWorkflowRunID)
		ids[id] = true
		depths = append(depths, id[:5]+" "+r.Header.Get(wire.HeaderWorkflowInvokeCount))
		many.ServeHTTP(w, r)
	}))
	url := s.url + "/w/count%20down"
	run := s.trigger(t, client.TriggerRequest{URL: url + "?v=1", Body: []byte("2")})
	if run.State != client.RunSuccess || run.Response != "[0,1,2]" {
		t.Fatalf("run ended as %s with %s, steps %q", run.State, run.Response, steps(run))
	}
	want := []string{"0 " + url + " yes [deep]", "1 " + url + " yes [deep]", "2 " + url + "?v=1  []"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
	if got := strings.Join(depths, ","); !strings.Contains(got, "wfr_1 ,") || !strings.HasSuffix(got, " 1,wfr_1 ") || !strings.Contains(got, " 2,") {
		t.Errorf("depths %s", got)
	}
	if len(ids) != 3 {
		t.Errorf("%d runs", len(ids))
	}
}

// TestInvokeEnds: whatever becomes of the invoked run, its invoker is told.
func TestInvokeEnds(t *testing.T) {
	ends := workflow.Define("ends", func(ctx *workflow.Context, how string) (string, error) {
		switch how {
		case "fail":
			return "", errors.Join(ctx.Sleep("s", 0), workflow.NonRetryable(errors.New("no luck")))
		case "cancel":
			return "", ctx.Cancel()
		}
		return "went " + how, ctx.Sleep("s", 0)
	}, nil)
	nothing := workflow.Define("nothing", func(ctx *workflow.Context, _ struct{}) (struct{}, error) {
		return struct{}{}, ctx.Sleep("s", 0)
	}, nil)
	s := newStage(t)
	parent := workflow.Define("parent", func(ctx *workflow.Context, _ struct{}) (string, error) {
		rest := workflow.InvokeAsync(ctx, "nothing", nothing.Ref, struct{}{}, nil)
		all, err := workflow.Parallel(ctx,
			workflow.InvokeAsync(ctx, "well", ends.Ref, "well", nil),
			workflow.InvokeAsync(ctx, "fail", ends.Ref, "fail", nil),
			workflow.InvokeAsync(ctx, "cancel", ends.Ref, "cancel", nil),
			workflow.InvokeAsync(ctx, "elsewhere", workflow.At[string, string](s.url+"/other/ends"), "there", nil))
		if err != nil {
			return "", err
		}
		none, err := rest.Get()
		return fmt.Sprintf("%+v %+v", all, none), err
	}, nil)
	serveMany(t, s, ends, nothing, parent)
	run := s.trigger(t, client.TriggerRequest{URL: s.url + "/parent"})
	const want = `"[{Body:went well Failed:false Canceled:false} {Body: Failed:true Canceled:false} {Body: Failed:false Canceled:true}` +
		` {Body:went there Failed:false Canceled:false}] {Body:{} Failed:false Canceled:false}"`
	if run.State != client.RunSuccess || run.Response != want {
		t.Errorf("run ended as %s with\n%s, steps %q", run.State, run.Response, steps(run))
	}
}

// TestInvokedOnce: a step that is tried again asks for the same run, and another
// step, or another run, for another.
func TestInvokedOnce(t *testing.T) {
	child := workflow.At[any, any]("https://other.example/child")
	ids := func(runID, createdAt string, fn func(*workflow.Context) error) (id string) {
		e, s := endpointOf(t, fn)
		w := httptest.NewRecorder()
		e.ServeHTTP(w, signed("/onboard", string(wire.EncodeLog(nil, []wire.LogEntry{{MessageID: "msg_0"}})), map[string]string{
			wire.HeaderWorkflowSDKVersion: "1", wire.HeaderWorkflowRunID: runID, wire.HeaderMessageID: "msg_0", wire.HeaderWorkflowCreatedAt: createdAt,
		}))
		if w.Code != 200 || len(s.sent) != 1 {
			t.Fatalf("answer %d %s", w.Code, w.Body)
		}
		return s.sent[0].Headers["upstash-workflow-runid"]
	}
	invoke := func(ctx *workflow.Context) error { return only(workflow.Invoke(ctx, "i", child, nil, nil)) }
	first := ids("wfr_1", "1700000000000", invoke)
	if len(first) != 30 || !strings.HasPrefix(first, "wfr_") {
		t.Errorf("id %q", first)
	}
	if again := ids("wfr_1", "1700000000000", invoke); again != first {
		t.Errorf("ids %q and %q", first, again)
	}
	if other := ids("wfr_2", "1700000000000", invoke); other == first {
		t.Errorf("another run invokes %q, too", other)
	}
	if later := ids("wfr_1", "1700000000001", invoke); later == first {
		t.Errorf("a later run of the same id invokes %q, too", later)
	}
	if own := ids("wfr_1", "1", func(ctx *workflow.Context) error {
		return only(workflow.Invoke(ctx, "i", child, nil, &workflow.InvokeOptions{RunID: "mine"}))
	}); own != "mine" {
		t.Errorf("id %q", own)
	}
}

func TestInvokePayload(t *testing.T) {
	sent := func(fn func(*workflow.Context) error) string {
		e, s := endpointOf(t, fn)
		w := deliverLog(e)
		if w.Code != 200 {
			return said(t, w)
		}
		var r map[string]any
		if err := json.Unmarshal([]byte(*s.sent[0].Body), &r); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(r["body"], " ", r["workflowRunId"], " ", r["workflowUrl"])
	}
	const run = " wfr_1 https://app.example/onboard"
	tests := []struct {
		name string
		fn   func(*workflow.Context) error
		want string
	}{
		{"JSON", invoking(order{"<x>", 1}), `{"item":"<x>","count":1}` + run},
		{"text", invoking("hällo"), "hällo" + run},
		{"bytes", invoking([]byte("raw")), "raw" + run},
		{"nothing", invoking(struct{}{}), "<nil>" + run},
		{"nil", invoking[any](nil), "<nil>" + run},
		{"other bytes than text", invoking([]byte("\xff")), "invoke: the payload is not UTF-8"},
		{"no JSON", invoking(make(chan int)), "invoke: json: unsupported type: chan int"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := sent(tt.fn); got != tt.want {
				t.Errorf("sent %s\nwant %s", got, tt.want)
			}
		})
	}
}

// The request of an Invoke is what it was when it was started.
func TestInvokeKeepsItsRequest(t *testing.T) {
	e, s := endpointOf(t, func(ctx *workflow.Context) error {
		o := &workflow.InvokeOptions{Header: http.Header{"X-Key": {"a"}}, Labels: []string{"l"}}
		in := []byte("abc")
		f := workflow.InvokeAsync(ctx, "i", workflow.Named[[]byte, any]("child"), in, o)
		o.Header.Set("X-Key", "changed")
		o.Labels[0], o.RunID, in[0] = "changed", "changed", 'X'
		return only(f.Get())
	})
	deliverLog(e)
	sent := s.sent[0]
	if sent.Headers["upstash-forward-x-key"] != "a" || sent.Headers["upstash-label"] != "l" || sent.Headers["upstash-workflow-runid"] == "changed" ||
		!strings.HasPrefix(*sent.Body, `{"body":"abc"`) {
		t.Errorf("sent %v %s", sent.Headers, *sent.Body)
	}
}

func invoking[In any](in In) func(*workflow.Context) error {
	return func(ctx *workflow.Context) error {
		return only(workflow.Invoke(ctx, "st", workflow.Named[In, any]("child"), in, nil))
	}
}

// TestInvokeChecked: what can't be invoked is an error once and for all.
func TestInvokeChecked(t *testing.T) {
	invoke := func(w workflow.Ref[any, any], o *workflow.InvokeOptions) func(*workflow.Context) error {
		return func(ctx *workflow.Context) error { return only(workflow.Invoke(ctx, "st", w, nil, o)) }
	}
	named := workflow.Named[any, any]("child")
	tests := []struct {
		name string
		fn   func(*workflow.Context) error
		want string
	}{
		{"nothing", invoke(workflow.Ref[any, any]{}, nil), "invoke: the Ref names no workflow: see Define and At"},
		{"relative", invoke(workflow.At[any, any]("/child"), nil), "invoke: "},
		{"flow control", invoke(named, &workflow.InvokeOptions{FlowControl: &client.FlowControl{Key: "k"}}), "invoke: flow control: want a parallelism or a rate, from 1"},
		{"run id", invoke(named, &workflow.InvokeOptions{RunID: "a\r\nb"}), "invoke: header Upstash-"},
		{"header", invoke(named, &workflow.InvokeOptions{Header: http.Header{"X-A": {"a\r\nb"}}}), "invoke: header Upstash-"},
		{"retries", invoke(named, &workflow.InvokeOptions{Retries: new(-1)}), "invoke: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, s := endpointOf(t, tt.fn)
			w := deliverLog(e)
			if got := said(t, w); w.Code != 489 || !strings.HasPrefix(got, tt.want) || len(s.sent) > 0 {
				t.Errorf("answer %d %s, sent %+v", w.Code, got, s.sent)
			}
		})
	}
}

func TestServeManyNames(t *testing.T) {
	s := newStage(t)
	define := func(name string) workflow.Definition { return workflow.Define(name, echo[any], nil) }
	tests := []struct {
		workflows []workflow.Definition
		want      string
	}{
		{nil, "serve workflows: there are none"},
		{[]workflow.Definition{define("a"), define("")}, `serve workflows: "" can't be the name of a workflow: it is a segment of a path`},
		{[]workflow.Definition{define("a/b")}, `serve workflows: "a/b" can't be the name of a workflow: it is a segment of a path`},
		{[]workflow.Definition{define("..")}, `serve workflows: ".." can't be the name of a workflow: it is a segment of a path`},
		{[]workflow.Definition{define("a"), define("b"), define("a")}, `serve workflows: there are two of the name "a"`},
		{[]workflow.Definition{workflow.Define("a", echo[any], &workflow.Options{MaxBodyBytes: -1})}, `serve workflows: "a": MaxBodyBytes -1 is negative`},
	}
	for _, tt := range tests {
		_, err := workflow.ServeMany(s.options(), tt.workflows...)
		if err == nil || err.Error() != tt.want {
			t.Errorf("ServeMany: %v, want %s", err, tt.want)
		}
		func() {
			defer func() {
				if p, ok := recover().(error); !ok || p.Error() != tt.want {
					t.Errorf("MustServeMany panics with %v", p)
				}
			}()
			workflow.MustServeMany(s.options(), tt.workflows...)
		}()
	}
}

// TestServeManyPaths: the last segment of the path decides, whatever it is below.
func TestServeManyPaths(t *testing.T) {
	var reached string
	define := func(name string) workflow.Definition {
		return workflow.Define(name, func(ctx *workflow.Context, _ struct{}) (struct{}, error) {
			reached = name
			return struct{}{}, ctx.Sleep("s", 0)
		}, nil)
	}
	o := &workflow.Options{Client: newStub(t, nil).client, Receiver: newReceiver(t), BaseURL: "https://app.example", Logger: quiet}
	m := workflow.MustServeMany(o, define("a"), define("b c"), define("händler"), define("50%"))
	tests := map[string]string{
		"/a": "a", "/deep/down/a?x=/b": "a", "/a/b%20c": "b c", "/h%C3%A4ndler": "händler", "/50%25": "50%",
		"/": "", "/A": "", "/a/": "", "/a/x": "", "/%61": "a", "/?a": "", "/x%2Fa": "",
	}
	for target, want := range tests {
		reached = ""
		w := httptest.NewRecorder()
		m.ServeHTTP(w, signed(target, "", nil))
		if reached != want {
			t.Errorf("%s: reached %q, answer %d %s", target, reached, w.Code, w.Body)
		}
		if want == "" && (w.Code != http.StatusNotFound || w.Header().Get(wire.HeaderWorkflowSDKVersion) != "1" ||
			!strings.HasPrefix(w.Header().Get(wire.HeaderWorkflowSDK), "v1.") ||
			!strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") || !strings.HasPrefix(w.Body.String(), "There is no workflow '")) {
			t.Errorf("%s: answer %d %v %s", target, w.Code, w.Header(), w.Body)
		}
	}
}

// TestServeManyShares: workflows without options of their own share the others'.
func TestServeManyShares(t *testing.T) {
	setEnv(t, map[string]string{"QSTASH_TOKEN": "TOKEN"})
	var log bytes.Buffer
	o := &workflow.Options{AllowUnsigned: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	own := &workflow.Options{AllowUnsigned: true, Logger: o.Logger}
	if _, err := workflow.ServeMany(o, workflow.Define("a", echo[any], nil), workflow.Define("b", echo[any], nil), workflow.Define("c", echo[any], own)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "does not verify signatures"); n != 2 {
		t.Errorf("warned %d times", n)
	}
}

// TestOwnOptions: what a workflow's own options leave out is that of all, so
// that none is without the Authorize that they share.
func TestOwnOptions(t *testing.T) {
	s := newStage(t)
	all := s.options()
	var seen []string
	all.Authorize = func(_ context.Context, r *workflow.AuthRequest) error {
		if string(r.Payload) == `"stranger"` {
			return errors.New("who are you?")
		}
		return nil
	}
	step := func(of string) workflow.Middleware {
		return workflow.Middleware{Step: func(ctx context.Context, s workflow.StepInfo, next func(context.Context) error) error {
			seen = append(seen, of)
			return next(ctx)
		}}
	}
	all.Middleware = []workflow.Middleware{step("all")}
	own := &workflow.Options{Middleware: []workflow.Middleware{step("own")}}
	m, err := workflow.ServeMany(all, workflow.Define("echo", func(ctx *workflow.Context, in string) (string, error) {
		return workflow.Run(ctx, "say", value(in))
	}, own))
	if err != nil {
		t.Fatal(err)
	}
	s.handle(m)
	for payload, want := range map[string]client.RunState{`"friend"`: client.RunSuccess, `"stranger"`: client.RunFailed} {
		if run := s.trigger(t, client.TriggerRequest{URL: s.url + "/w/echo", Body: []byte(payload)}); run.State != want {
			t.Errorf("%s: %s", payload, run.State)
		}
	}
	if want := []string{"all", "own"}; !slices.Equal(seen, want) {
		t.Errorf("steps were seen by %q, want %q", seen, want)
	}
	if len(all.Middleware) != 1 || len(own.Middleware) != 1 {
		t.Error("the options were changed")
	}
}
