package workflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

// guarded is an endpoint that tells what it did.
type guarded struct {
	*workflow.Endpoint
	stub     *stub
	executed []string // steps, and "failure" for OnFailure
}

// newGuarded makes an endpoint whose function begins with check.
func newGuarded(t *testing.T, check func(*workflow.Context) (stop bool, err error), change func(*workflow.Options)) *guarded {
	t.Helper()
	g := &guarded{stub: newStub(t, nil)}
	o := &workflow.Options{
		Client: g.stub.client, Receiver: newReceiver(t), BaseURL: "https://app.example", Logger: quiet,
		OnFailure: func(*workflow.FailureContext) (string, error) {
			g.executed = append(g.executed, "failure")
			return "handled", nil
		},
	}
	if change != nil {
		change(o)
	}
	var err error
	g.Endpoint, err = workflow.Serve(func(ctx *workflow.Context, _ any) (int, error) {
		if stop, err := check(ctx); stop || err != nil {
			return 0, err
		}
		return workflow.Run(ctx, "one", func(context.Context) (int, error) {
			g.executed = append(g.executed, "one")
			return 1, nil
		})
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func allow(*workflow.Context) (bool, error) { return false, nil }

func (g *guarded) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

// wantRefused checks that nothing happened but an answer.
func (g *guarded) wantRefused(t *testing.T, w *httptest.ResponseRecorder, message string) {
	t.Helper()
	if w.Code != http.StatusUnauthorized || w.Header().Get(wire.HeaderNonRetryable) != "true" {
		t.Errorf("answer %d %v %s, want a 401 that is not retried", w.Code, w.Header(), w.Body)
	}
	if got := said(t, w); got != message {
		t.Errorf("refused with %q, want %q", got, message)
	}
	g.wantIdle(t)
}

func (g *guarded) wantIdle(t *testing.T) {
	t.Helper()
	if len(g.executed) > 0 {
		t.Errorf("executed %q", g.executed)
	}
	for _, r := range g.stub.sent {
		if r.Method != http.MethodGet {
			t.Errorf("sent %s %s", r.Method, r.Path)
		}
	}
}

// calling is one call of each kind, as the server makes it, for one run.
var calling = map[workflow.Kind]func() *http.Request{
	workflow.KindStart: func() *http.Request {
		return signed("/onboard", `{"email":"ada@example.com"}`, map[string]string{"X-Tenant": "t1"})
	},
	workflow.KindStep: func() *http.Request {
		return signed("/onboard", `[{"messageId":"msg_0","body":"eyJlbWFpbCI6ImFkYUBleGFtcGxlLmNvbSJ9","callType":"step"}]`, map[string]string{
			wire.HeaderWorkflowSDKVersion: "1", wire.HeaderWorkflowRunID: "wfr_1", wire.HeaderMessageID: "msg_0", "X-Tenant": "t1"})
	},
	workflow.KindCallback: func() *http.Request {
		return signed("/onboard", `{"status":200,"body":"b2s=","header":{}}`, map[string]string{
			wire.HeaderWorkflowCallback: "true", wire.HeaderWorkflowRunID: "wfr_1", wire.HeaderMessageID: "msg_C", "X-Tenant": "t1",
			wire.HeaderWorkflowStepID: "1", wire.HeaderWorkflowStepName: "one", wire.HeaderWorkflowStepType: "Call", wire.HeaderWorkflowConcurrent: "1"})
	},
	workflow.KindCheck: func() *http.Request {
		return signed("/onboard", `{"log":[{"messageId":"msg_0","body":"eyJlbWFpbCI6ImFkYUBleGFtcGxlLmNvbSJ9","callType":"step"}]}`, map[string]string{
			wire.HeaderWorkflowCheck: "true", wire.HeaderWorkflowRunID: "wfr_1", "X-Tenant": "t1"})
	},
	workflow.KindFailure: func() *http.Request {
		return signed("/onboard", failureReport("wfr_1"), failureHeaders("wfr_1"))
	},
}

// kinds are those that every server of the protocol calls with.
var kinds = []workflow.Kind{workflow.KindStart, workflow.KindStep, workflow.KindCallback, workflow.KindFailure}

func failureReport(runID string) string {
	body, err := json.Marshal(wire.CallbackBody{
		Status: 500, Body: []byte(`{"error":"Error","message":"no luck"}`), URL: appURL, Method: "POST", SourceMessageID: "msg_1",
		SourceBody: []byte(`{"email":"ada@example.com"}`), DLQID: "1-0", WorkflowRunID: runID, WorkflowCreatedAt: 1_700_000_000_000,
		Retried: 3, MaxRetries: 3, Header: http.Header{"K": {"v"}},
	})
	if err != nil {
		panic(err)
	}
	return string(body)
}

func failureHeaders(runID string) map[string]string {
	return map[string]string{wire.HeaderWorkflowIsFailure: "true", wire.HeaderWorkflowFailureCB: "true",
		wire.HeaderWorkflowRunID: runID, wire.HeaderMessageID: "msg_F", "X-Tenant": "t1"}
}

// signedFor is signed, with a token for something else.
func signedFor(r *http.Request, key string, o receiver.SignOptions) *http.Request {
	token, err := receiver.Sign(key, o)
	if err != nil {
		panic(err)
	}
	r.Header.Set(receiver.Header, token)
	return r
}

func unsigned(target, body string, headers map[string]string) *http.Request {
	r := signed(target, body, headers)
	r.Header.Del(receiver.Header)
	return r
}

func TestAuthorize(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			type ctxKey struct{}
			var seen []string
			var verdict error
			g := newGuarded(t, allow, func(o *workflow.Options) {
				o.Authorize = func(ctx context.Context, r *workflow.AuthRequest) error {
					seen = append(seen, fmt.Sprintf("%s %s %s %v", r.Kind, r.Header.Get("X-Tenant"), r.Payload, ctx.Value(ctxKey{})))
					if !strings.HasPrefix(r.RunID, "wfr_") || r.Header.Get(receiver.Header) != "" {
						t.Errorf("run %q with headers %v", r.RunID, r.Header)
					}
					r.Header.Set("X-Tenant", "changed") // is a copy
					return verdict
				}
			})
			call := func() *http.Request {
				r := calling[kind]()
				return r.WithContext(context.WithValue(r.Context(), ctxKey{}, "middleware"))
			}
			if w := g.do(call()); w.Code != 200 {
				t.Errorf("allowed call answered %d %s", w.Code, w.Body)
			}
			want := string(kind) + ` t1 {"email":"ada@example.com"} middleware`
			if !slices.Equal(seen, []string{want}) {
				t.Errorf("Authorize saw %q, want %q once", seen, want)
			}

			g.executed, g.stub.sent = nil, nil
			verdict = errors.New("not you")
			g.wantRefused(t, g.do(call()), "not you")
			verdict = workflow.NonRetryable(errors.New("never you"))
			g.wantRefused(t, g.do(call()), "never you")

			verdict = workflow.RetryAfter(errors.New("not now"), 90*time.Second)
			w := g.do(call())
			if w.Code != 429 || w.Header().Get("Retry-After") != "90" || said(t, w) != "not now" {
				t.Errorf("postponed call answered %d %v %s", w.Code, w.Header(), w.Body)
			}
			g.wantIdle(t)
		})
	}
}

// An error that may pass can ask for another try, without anything being done.
func TestFunctionPostpones(t *testing.T) {
	for _, kind := range kinds {
		g := newGuarded(t, func(*workflow.Context) (bool, error) {
			return true, workflow.RetryAfter(errors.New("database is away"), time.Second)
		}, nil)
		if w := g.do(calling[kind]()); w.Code != 429 || w.Header().Get("Retry-After") != "1" {
			t.Errorf("%s answered %d %s", kind, w.Code, w.Body)
		}
		g.wantIdle(t)
	}
}

// TestAuthorizationCost: the function is called once per delivery of a step,
// and not executed where it is only asked.
func TestAuthorizationCost(t *testing.T) {
	for _, kind := range kinds {
		calls := 0
		g := newGuarded(t, func(*workflow.Context) (bool, error) { calls++; return false, nil }, nil)
		if w := g.do(calling[kind]()); w.Code != 200 {
			t.Fatalf("%s answered %d %s", kind, w.Code, w.Body)
		}
		if calls != 1 {
			t.Errorf("%s: code before the first step ran %d times", kind, calls)
		}
		executed := map[workflow.Kind][]string{workflow.KindStep: {"one"}, workflow.KindFailure: {"failure"}}[kind]
		if !slices.Equal(g.executed, executed) {
			t.Errorf("%s executed %q, want %q", kind, g.executed, executed)
		}
	}
}

// TestWholeRunIsAuthorized: a run with every kind of call, with the trigger's
// header and payload on each.
func TestWholeRunIsAuthorized(t *testing.T) {
	third := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the third party was sent the run's headers")
		}
	}))
	defer third.Close()
	s, seen := newStage(t), map[workflow.Kind]int{}
	var failure *workflow.FailureContext
	serveOn(t, s, func(o *workflow.Options) {
		o.Authorize = func(_ context.Context, r *workflow.AuthRequest) error {
			seen[r.Kind]++
			if r.Header.Get("Authorization") != "Bearer user" || string(r.Payload) != `{"n":1}` || r.RunID != "wfr_1" {
				return fmt.Errorf("%s call of %s has %v and %s", r.Kind, r.RunID, r.Header, r.Payload)
			}
			return nil
		}
		o.OnFailure = func(ctx *workflow.FailureContext) (string, error) {
			failure = ctx
			return "told", nil
		}
	}, func(ctx *workflow.Context, _ any) (int, error) {
		if _, err := workflow.Call(ctx, "ask", workflow.CallRequest{URL: third.URL}); err != nil {
			return 0, err
		}
		return workflow.Run(ctx, "breaks", fails(errors.New("no luck")))
	})
	run := s.trigger(t, client.TriggerRequest{
		Body: []byte(`{"n":1}`), Header: http.Header{"Authorization": {"Bearer user"}}, Labels: []string{"l1"},
	})
	if run.State != client.RunFailed || run.FailureFunction == nil || run.FailureFunction.ResponseBody != `{"result":"told"}` {
		t.Errorf("run ended as %q, failure function %+v", run.State, run.FailureFunction)
	}
	want := map[workflow.Kind]int{workflow.KindStep: 5, workflow.KindCallback: 1, workflow.KindFailure: 1} // the last step 4 times
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("calls %v, want %v", seen, want)
	}
	if failure == nil {
		t.Fatal("OnFailure was not called")
	}
	got := fmt.Sprintf("%s %s %d %q %d %q %s %q %s %s %d", failure.RunID, failure.URL, failure.CreatedAt.UnixMilli(), failure.Labels,
		failure.Status, failure.Response, failure.Payload, failure.DLQID, failure.ResponseBody, failure.ResponseHeader.Get(wire.HeaderErrorStepName), failure.Retried)
	if want := fmt.Sprintf(`wfr_1 %s/onboard %d ["l1"] 500 "no luck" {"n":1} %q {"error":"Error","message":"no luck"} breaks 0`, s.url, run.CreatedAt, run.DLQID); got != want {
		t.Errorf("OnFailure got %s\nwant %s", got, want)
	}
}

func readBody(t *testing.T, r *http.Request) string {
	t.Helper()
	var b strings.Builder
	buf := make([]byte, 512)
	for {
		n, err := r.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}
