package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// request is what the server got.
type request struct {
	Method string
	URI    string // of the request line, byte for byte
	Header http.Header
	Body   string
}

// newTestClient has a server that gives one answer to every request.
func newTestClient(t *testing.T, status int, answer string) (*Client, <-chan request) {
	t.Helper()
	got := make(chan request, 16)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- request{r.Method, r.RequestURI, r.Header, string(body)}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(srv.Close)
	c := New(Options{URL: srv.URL, Token: "tok", HTTPClient: srv.Client()})
	return c, got
}

// TestRequests pins the request line and body of every call that has no test of
// its own.
func TestRequests(t *testing.T) {
	ctx := context.Background()
	at := time.UnixMilli(1700000000123)
	filter := Filter{
		URLs: []string{"https://a.example/x?y=1,2", "https://b.example"}, Hosts: []string{"a.example"}, Paths: []string{"/x"},
		URLGroups: []string{"g"}, QueueNames: []string{"q"}, ScheduleIDs: []string{"s"}, Labels: []string{"l", "m"},
		FlowControlKeys: []string{"k"}, CallerIPs: []string{"203.0.113.7"}, From: at, To: at,
	}
	const filterQuery = "callerIp=203.0.113.7&flowControlKey=k&fromDate=1700000000123&host=a.example&label=l&label=m" +
		"&path=%2Fx&queueName=q&scheduleId=s&toDate=1700000000123&topicName=g&url=https%3A%2F%2Fa.example%2Fx%3Fy%3D1%2C2&url=https%3A%2F%2Fb.example"
	tests := []struct {
		name   string
		answer string
		do     func(c *Client) error
		want   string // method and request URI
		body   string
	}{
		{"message", `{}`, func(c *Client) error { _, err := c.Message(ctx, "msg_1"); return err }, "GET /v2/messages/msg_1", ""},
		{"message id is escaped", `{}`, func(c *Client) error { _, err := c.Message(ctx, "a/b?c=d#e"); return err }, "GET /v2/messages/a%2Fb%3Fc=d%23e", ""},
		{"cancel message", "", func(c *Client) error { return c.CancelMessage(ctx, "msg_1") }, "DELETE /v2/messages/msg_1", ""},
		{"cancel messages by id", `{"cancelled":1}`, func(c *Client) error {
			_, err := c.CancelMessages(ctx, CancelRequest{IDs: []string{"a", "b"}})
			return err
		}, "DELETE /v2/messages?messageIds=a&messageIds=b", ""},
		{"cancel messages by filter", `{"cancelled":1}`, func(c *Client) error {
			_, err := c.CancelMessages(ctx, CancelRequest{Filter: filter, Count: 7})
			return err
		}, "DELETE /v2/messages?" + strings.Replace(filterQuery, "&flow", "&count=7&flow", 1), ""},
		{"cancel all messages", `{"cancelled":1}`, func(c *Client) error {
			_, err := c.CancelMessages(ctx, CancelRequest{All: true})
			return err
		}, "DELETE /v2/messages", ""},
		{"events", `{}`, func(c *Client) error { _, err := c.Events(ctx, EventsRequest{}); return err }, "GET /v2/events", ""},
		{"events by filter", `{}`, func(c *Client) error {
			_, err := c.Events(ctx, EventsRequest{
				MessageIDs: []string{"a", "b"}, States: []EventState{EventFailed, EventInProgress},
				Filter: Filter{Labels: []string{"l"}}, Order: OldestFirst, Cursor: "1-2", Count: 3,
			})
			return err
		}, "GET /v2/events?count=3&cursor=1-2&label=l&messageIds=a&messageIds=b&order=earliestFirst&state=FAILED&state=IN_PROGRESS", ""},
		{"dlq", `{}`, func(c *Client) error { _, err := c.DLQ(ctx, DLQRequest{}); return err }, "GET /v2/dlq", ""},
		{"dlq by filter", `{}`, func(c *Client) error {
			_, err := c.DLQ(ctx, DLQRequest{
				Filter: DLQFilter{Filter: Filter{Labels: []string{"l"}}, MessageID: "m", ResponseStatuses: []int{500, 0}},
				Order:  NewestFirst, Cursor: "c", Count: 5,
			})
			return err
		}, "GET /v2/dlq?count=5&cursor=c&label=l&messageId=m&order=latestFirst&responseStatus=500&responseStatus=0", ""},
		{"dlq by id", `{}`, func(c *Client) error { _, err := c.DLQ(ctx, DLQRequest{IDs: []string{"1-0"}}); return err }, "GET /v2/dlq?dlqIds=1-0", ""},
		{"dlq message", `{}`, func(c *Client) error { _, err := c.DLQMessage(ctx, "1-0"); return err }, "GET /v2/dlq/1-0", ""},
		{"failed run", `{}`, func(c *Client) error { _, err := c.RunDLQMessage(ctx, "1-0"); return err }, "GET /v2/workflows/dlq/1-0", ""},
		{"delete dlq message", "", func(c *Client) error { return c.DeleteDLQMessage(ctx, "1-0") }, "DELETE /v2/dlq/1-0", ""},
		{"delete from dlq by id", `{}`, func(c *Client) error {
			_, err := c.DeleteDLQ(ctx, DLQSelection{IDs: []string{"1-0", "1-1"}})
			return err
		}, "DELETE /v2/dlq?dlqIds=1-0&dlqIds=1-1", ""},
		{"delete from dlq by filter", `{}`, func(c *Client) error {
			_, err := c.DeleteDLQ(ctx, DLQSelection{Filter: DLQFilter{MessageID: "m"}, Cursor: "c", Count: 2})
			return err
		}, "DELETE /v2/dlq?count=2&cursor=c&messageId=m", ""},
		{"delete all from dlq", `{}`, func(c *Client) error { _, err := c.DeleteDLQ(ctx, DLQSelection{All: true}); return err }, "DELETE /v2/dlq?count=100", ""},
		{"retry dlq message", `{}`, func(c *Client) error { _, err := c.RetryDLQMessage(ctx, "1-0"); return err }, "POST /v2/dlq/retry/1-0", ""},
		{"retry from dlq by id", `{}`, func(c *Client) error {
			_, err := c.RetryDLQ(ctx, DLQRetry{DLQSelection: DLQSelection{IDs: []string{"1-0"}}})
			return err
		}, "POST /v2/dlq/retry?dlqIds=1-0", ""},
		{"retry all from dlq", `{}`, func(c *Client) error {
			_, err := c.RetryDLQ(ctx, DLQRetry{DLQSelection: DLQSelection{All: true}})
			return err
		}, "POST /v2/dlq/retry?count=100", ""},
		{"tokens", `{}`, func(c *Client) error { _, err := c.Tokens(ctx); return err }, "GET /v2/tokens", ""},
		{"create token", `{}`, func(c *Client) error {
			_, err := c.CreateToken(ctx, TokenRequest{Name: "n", Scopes: []Scope{ScopeRead}, URLPrefix: "https://a.example/x", ExpiresAt: at})
			return err
		}, "POST /v2/tokens", `{"name":"n","scopes":["read"],"urlPrefix":"https://a.example/x","expiresAt":1700000000123}`},
		{"revoke token", `{}`, func(c *Client) error { _, err := c.RevokeToken(ctx, "tok_1/2"); return err }, "DELETE /v2/tokens/tok_1%2F2", ""},
		{"tenants", `{}`, func(c *Client) error { _, err := c.Tenants(ctx); return err }, "GET /v2/tenants", ""},
		{"limits", `{}`, func(c *Client) error { _, err := c.Limits(ctx); return err }, "GET /v2/limits", ""},
		{"limits of tenant", `{}`, func(c *Client) error { _, err := c.TenantLimits(ctx, "a/b"); return err }, "GET /v2/tenants/a%2Fb/limits", ""},
		{"change limits", `{}`, func(c *Client) error {
			_, err := c.ChangeTenantLimits(ctx, "t", LimitsChange{MaxQueues: new(int64(3)), MaxDelay: new(int64(0))})
			return err
		}, "PATCH /v2/tenants/t/limits", `{"maxDelay":0,"maxQueues":3}`},
		{"create tenant", `{}`, func(c *Client) error { _, err := c.CreateTenant(ctx, "t"); return err }, "POST /v2/tenants", `{"userId":"t"}`},
		{"create any tenant", `{}`, func(c *Client) error { _, err := c.CreateTenant(ctx, ""); return err }, "POST /v2/tenants", `{}`},
		{"audit", `{}`, func(c *Client) error {
			_, err := c.Audit(ctx, AuditRequest{Actions: []string{"a", "b"}, Actors: []string{"n"}, From: at, To: at, Cursor: "c", Count: 5})
			return err
		}, "GET /v2/audit?action=a&action=b&actor=n&count=5&cursor=c&fromDate=1700000000123&toDate=1700000000123", ""},
		{"keys", `{}`, func(c *Client) error { _, err := c.Keys(ctx); return err }, "GET /v2/keys", ""},
		{"rotate keys", `{}`, func(c *Client) error { _, err := c.RotateKeys(ctx); return err }, "POST /v2/keys/rotate", ""},
		{"rotate keys by force", `{}`, func(c *Client) error { _, err := c.ForceRotateKeys(ctx); return err }, "POST /v2/keys/rotate?force=true", ""},
		{"key status", `{}`, func(c *Client) error { _, err := c.KeyStatus(ctx); return err }, "GET /v2/keys/status", ""},
		{"probe keys", `{}`, func(c *Client) error {
			_, err := c.ProbeKeys(ctx, ProbeRequest{URL: "https://example.com/hook", Body: "{}"})
			return err
		}, "POST /v2/keys/probe", `{"url":"https://example.com/hook","body":"{}"}`},
		{"settings", `{}`, func(c *Client) error { _, err := c.Settings(ctx); return err }, "GET /v2/settings", ""},
		{"change settings", `{}`, func(c *Client) error {
			_, err := c.ChangeSettings(ctx, SettingsChange{SignCalls: new(SignCallsNever), SignWith: &[]string{}})
			return err
		}, "PATCH /v2/settings", `{"signCalls":"never","signWith":[]}`},
		{"runs", `{}`, func(c *Client) error { _, err := c.Runs(ctx, RunsRequest{}); return err }, "GET /v2/workflows/logs", ""},
		{"runs by filter", `{}`, func(c *Client) error {
			_, err := c.Runs(ctx, RunsRequest{
				URL: "https://app.example/wf", RunID: "wfr_1", CreatedAt: 1700000000000, State: RunFailed,
				Labels: []string{"a", "b"}, FlowControlKeys: []string{"k"}, From: at, To: at, Cursor: "c", Count: 5,
			})
			return err
		}, "GET /v2/workflows/logs?count=5&cursor=c&flowControlKey=k&fromDate=1700000000123&label=a&label=b&state=RUN_FAILED" +
			"&toDate=1700000000123&workflowCreatedAt=1700000000000&workflowRunId=wfr_1&workflowUrl=https%3A%2F%2Fapp.example%2Fwf", ""},
		{"run", `{"runs":[{"workflowRunId":"wfr_1"}]}`, func(c *Client) error { _, err := c.Run(ctx, "wfr_1"); return err }, "GET /v2/workflows/logs?workflowRunId=wfr_1", ""},
		{"cancel run", "", func(c *Client) error { return c.CancelRun(ctx, "wfr_1") }, "DELETE /v2/workflows/runs/wfr_1?cancel=true", ""},
		{"cancel runs", `{"cancelled":2}`, func(c *Client) error {
			_, err := c.CancelRuns(ctx, CancelRunsRequest{IDs: []string{"a", "b"}})
			return err
		}, "DELETE /v2/workflows/runs?workflowRunIds=a&workflowRunIds=b", ""},
		{"finish run", "", func(c *Client) error { return c.FinishRun(ctx, "wfr_1", []byte(`{"z":1}`)) }, "DELETE /v2/workflows/runs/wfr_1?cancel=false", `{"z":1}`},
		{"finish run without result", "", func(c *Client) error { return c.FinishRun(ctx, "wfr_1", nil) }, "DELETE /v2/workflows/runs/wfr_1?cancel=false", ""},
		{"run log", `[]`, func(c *Client) error { _, err := c.RunLog(ctx, "wfr_1"); return err }, "GET /v2/workflows/runs/wfr_1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, got := newTestClient(t, 200, tt.answer)
			if err := tt.do(c); err != nil {
				t.Fatal(err)
			}
			r := <-got
			if line := r.Method + " " + r.URI; line != tt.want || r.Body != tt.body {
				t.Errorf("got  %s %q\nwant %s %q", line, r.Body, tt.want, tt.body)
			}
			typed := r.Method == "PATCH" || strings.HasSuffix(r.URI, "/probe")
			if h := r.Header; h.Get("Authorization") != "Bearer tok" || h.Get("User-Agent") != "signpost-go" || (h.Get("Content-Type") != "") != typed {
				t.Errorf("headers are %v", h)
			}
			if n := len(got); n != 0 {
				t.Errorf("%d more requests came", n)
			}
		})
	}
}

// TestRefused lists the mistakes that must not reach the server, where an
// omission can mean everything.
func TestRefused(t *testing.T) {
	ctx := context.Background()
	bad := PublishRequest{URL: "ftp://example.com"}
	tests := []struct {
		name string
		do   func(c *Client) error
		want string
	}{
		{"message without id", func(c *Client) error { _, err := c.Message(ctx, ""); return err }, "get message: id is empty"},
		{"cancel message without id", func(c *Client) error { return c.CancelMessage(ctx, "") }, "cancel message: id is empty"},
		{"dlq message without id", func(c *Client) error { _, err := c.DLQMessage(ctx, ""); return err }, "get dlq message: id is empty"},
		{"failed run without id", func(c *Client) error { _, err := c.RunDLQMessage(ctx, ""); return err }, "get failed run: id is empty"},
		{"delete dlq message without id", func(c *Client) error { return c.DeleteDLQMessage(ctx, "") }, "delete dlq message: id is empty"},
		{"retry dlq message without id", func(c *Client) error { _, err := c.RetryDLQMessage(ctx, ""); return err }, "retry dlq message: id is empty"},
		{"run without id", func(c *Client) error { _, err := c.Run(ctx, ""); return err }, "get run: id is empty"},
		{"cancel run without id", func(c *Client) error { return c.CancelRun(ctx, "") }, "cancel run: id is empty"},
		{"finish run without id", func(c *Client) error { return c.FinishRun(ctx, "", nil) }, "finish run: id is empty"},
		{"run log without id", func(c *Client) error { _, err := c.RunLog(ctx, ""); return err }, "get run log: id is empty"},
		{"cancel nothing named", func(c *Client) error { _, err := c.CancelMessages(ctx, CancelRequest{}); return err }, "cancel messages: want exactly one of ids, a filter and all"},
		{"cancel by ids and filter", func(c *Client) error {
			_, err := c.CancelMessages(ctx, CancelRequest{IDs: []string{"a"}, Filter: Filter{Labels: []string{"l"}}})
			return err
		}, "cancel messages: want exactly one of ids, a filter and all"},
		{"cancel by empty id", func(c *Client) error {
			_, err := c.CancelMessages(ctx, CancelRequest{IDs: []string{""}})
			return err
		}, "cancel messages: parameter messageIds: empty value"},
		{"cancel by empty label", func(c *Client) error {
			_, err := c.CancelMessages(ctx, CancelRequest{Filter: Filter{Labels: []string{""}}})
			return err
		}, "cancel messages: parameter label: empty value"},
		{"cancel runs by empty id", func(c *Client) error {
			_, err := c.CancelRuns(ctx, CancelRunsRequest{IDs: []string{"a", ""}})
			return err
		}, "cancel runs: parameter workflowRunIds: empty value"},
		{"delete nothing named", func(c *Client) error { _, err := c.DeleteDLQ(ctx, DLQSelection{}); return err }, "delete from dlq: want exactly one of ids, a filter and all"},
		{"delete by filter and all", func(c *Client) error {
			_, err := c.DeleteDLQ(ctx, DLQSelection{Filter: DLQFilter{MessageID: "m"}, All: true})
			return err
		}, "delete from dlq: want exactly one of ids, a filter and all"},
		{"delete by empty id", func(c *Client) error { _, err := c.DeleteDLQ(ctx, DLQSelection{IDs: []string{""}}); return err }, "delete from dlq: parameter dlqIds: empty value"},
		{"retry nothing named", func(c *Client) error { _, err := c.RetryDLQ(ctx, DLQRetry{}); return err }, "retry from dlq: want exactly one of ids, a filter and all"},
		{"events by empty state", func(c *Client) error { _, err := c.Events(ctx, EventsRequest{States: []EventState{""}}); return err }, "list events: parameter state: empty value"},
		{"dlq by empty url", func(c *Client) error {
			_, err := c.DLQ(ctx, DLQRequest{Filter: DLQFilter{Filter: Filter{URLs: []string{""}}}})
			return err
		}, "list dlq: parameter url: empty value"},
		{"runs by empty label", func(c *Client) error { _, err := c.Runs(ctx, RunsRequest{Labels: []string{""}}); return err }, "list runs: parameter label: empty value"},
		{"publish to no url", func(c *Client) error { _, err := c.Publish(ctx, bad); return err }, `publish: destination: want an absolute url, http:// or https://`},
		{"publish item to no url", func(c *Client) error { _, err := c.PublishItem(ctx, BatchItem{Destination: "a/b"}); return err }, `publish: destination: want an absolute url, http:// or https://`},
		{"publish item to no queue", func(c *Client) error {
			_, err := c.PublishItem(ctx, BatchItem{Destination: "https://example.com", Queue: ".."})
			return err
		}, `publish: name: expected 1 to 256 of A-Z a-z 0-9 _ . -, got ".."`},
		{"cancel a dot, which proxies take out", func(c *Client) error { return c.CancelMessage(ctx, ".") }, `cancel message: "." is no id`},
		{"publish what is no JSON", func(c *Client) error { _, err := c.PublishJSON(ctx, PublishRequest{}, func() {}); return err }, "publish: encode body: json: unsupported type: func()"},
		{"batch with a bad item", func(c *Client) error {
			_, err := c.Batch(ctx, []PublishRequest{{URL: "https://example.com"}, bad})
			return err
		}, `publish batch: item 1: destination: want an absolute url, http:// or https://`},
		{"batch of bytes", func(c *Client) error {
			_, err := c.Batch(ctx, []PublishRequest{{URL: "https://example.com", Body: []byte{0xff}}})
			return err
		}, "publish batch: item 0: body is not UTF-8, which a batch cannot carry"},
		{"trigger no url", func(c *Client) error { _, err := c.Trigger(ctx, TriggerRequest{}); return err }, `trigger workflow: item 0: destination: want an absolute url, http:// or https://`},
		{"trigger with what is no JSON", func(c *Client) error { _, err := c.TriggerJSON(ctx, TriggerRequest{}, func() {}); return err }, "trigger workflow: encode body: json: unsupported type: func()"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, got := newTestClient(t, 200, `{}`)
			if err := tt.do(c); err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if len(got) != 0 {
				t.Errorf("the server got %v", <-got)
			}
		})
	}
}

func TestNothingNamedIsNothingDone(t *testing.T) {
	ctx := context.Background()
	c, got := newTestClient(t, 500, "")
	if n, err := c.CancelMessages(ctx, CancelRequest{IDs: []string{}}); n != 0 || err != nil {
		t.Errorf("cancelled %d messages, error %v", n, err)
	}
	if n, err := c.CancelRuns(ctx, CancelRunsRequest{IDs: []string{}}); n != 0 || err != nil {
		t.Errorf("cancelled %d runs, error %v", n, err)
	}
	if a, err := c.DeleteDLQ(ctx, DLQSelection{IDs: []string{}}); a.Deleted != 0 || err != nil {
		t.Errorf("deleted %d messages, error %v", a.Deleted, err)
	}
	if a, err := c.Batch(ctx, nil); a != nil || err != nil {
		t.Errorf("batch answered %v, error %v", a, err)
	}
	if a, err := c.TriggerBatch(ctx, nil); len(a) != 0 || err != nil {
		t.Errorf("trigger answered %v, error %v", a, err)
	}
	if len(got) != 0 {
		t.Errorf("the server got %v", <-got)
	}
}

// TestManyIDs checks that ids beyond one query go in several, and that their
// answers are added up.
func TestManyIDs(t *testing.T) {
	ctx := context.Background()
	ids := make([]string, 2*maxIDs+1)
	for i := range ids {
		ids[i] = "id_" + strconv.Itoa(i)
	}
	var seen []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		page := append(q["messageIds"], q["dlqIds"]...)
		seen = append(seen, page...)
		fmt.Fprintf(w, `{"cancelled":%d,"deleted":%[1]d,"responses":[{"messageId":"msg_1"}]}`, len(page))
	}))
	defer srv.Close()
	c := New(Options{URL: srv.URL, Token: "tok"})
	defer c.CloseIdleConnections()

	n, err := c.CancelMessages(ctx, CancelRequest{IDs: ids})
	if err != nil || n != len(ids) || !cmp.Equal(seen, ids) {
		t.Errorf("cancelled %d of %d, error %v; server saw %v", n, len(ids), err, seen)
	}
	seen = nil
	deleted, err := c.DeleteDLQ(ctx, DLQSelection{IDs: ids})
	if err != nil || deleted.Deleted != len(ids) || !cmp.Equal(seen, ids) {
		t.Errorf("deleted %d of %d, error %v; server saw %v", deleted.Deleted, len(ids), err, seen)
	}
	retried, err := c.RetryDLQ(ctx, DLQRetry{DLQSelection: DLQSelection{IDs: ids}})
	if err != nil || len(retried.Responses) != 3 {
		t.Errorf("retry answered %v, error %v", retried, err)
	}
}

func TestConfiguration(t *testing.T) {
	tests := []struct {
		name     string
		o        Options
		url, tok string // of the environment
		want     string // URL of /v2/keys, or
		err      string
	}{
		{name: "nothing", err: "client has no token: set QSTASH_TOKEN or Options.Token"},
		{name: "default url", tok: "t", want: "https://qstash.upstash.io/v2/keys"},
		{name: "environment", url: "http://127.0.0.1:8080", tok: "t", want: "http://127.0.0.1:8080/v2/keys"},
		{name: "options win", o: Options{URL: "http://h:1", Token: "o"}, url: "http://x", tok: "t", want: "http://h:1/v2/keys"},
		{name: "trailing slash", o: Options{URL: "http://h:1/"}, tok: "t", want: "http://h:1/v2/keys"},
		{name: "prefix", o: Options{URL: "http://h/q%2Fs/t//"}, tok: "t", want: "http://h/q%2Fs/t/v2/keys"},
		{name: "version", o: Options{URL: "https://h/v2"}, tok: "t", want: "https://h/v2/keys"},
		{name: "version below a prefix", o: Options{URL: "https://h/q//v2/"}, tok: "t", want: "https://h/q/v2/keys"},
		{name: "path to publish", url: "https://qstash.upstash.io/v2/publish/", tok: "t", want: "https://qstash.upstash.io/v2/keys"},
		{name: "no version", o: Options{URL: "https://h/nov2"}, tok: "t", want: "https://h/nov2/v2/keys"},
		{name: "ipv6", o: Options{URL: "http://[::1]:8080"}, tok: "t", want: "http://[::1]:8080/v2/keys"},
		{name: "no scheme", o: Options{URL: "localhost:8080"}, tok: "t", err: `server url "localhost:8080": want http://host or https://host`},
		{name: "no host", o: Options{URL: "http:///v2"}, tok: "t", err: `server url "http:///v2": want http://host or https://host`},
		{name: "no url", o: Options{URL: "http://[::1"}, tok: "t", err: `parse server url: parse "http://[::1": missing ']' in host`},
		{name: "user", o: Options{URL: "http://u:secret@h"}, tok: "t", err: "server url: want no user, query or fragment in it"},
		{name: "query", o: Options{URL: "http://h?a"}, tok: "t", err: "server url: want no user, query or fragment in it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("QSTASH_URL", tt.url)
			t.Setenv("QSTASH_TOKEN", tt.tok)
			c := New(tt.o)
			if tt.err != "" {
				_, callErr := c.Keys(context.Background())
				if err := c.Err(); err == nil || err.Error() != tt.err || !errors.Is(callErr, err) {
					t.Errorf("got error %v, and %v from a call, want %s", err, callErr, tt.err)
				}
				return
			}
			if c.Err() != nil {
				t.Fatal(c.Err())
			}
			if got := c.url("/v2/keys", nil).String(); got != tt.want {
				t.Errorf("calls %s, want %s", got, tt.want)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	c, got := newTestClient(t, 200, `{}`)
	c = New(Options{URL: c.base.String(), Token: "other", UserAgent: "mine/1"})
	defer c.CloseIdleConnections()
	if _, err := c.Keys(context.Background()); err != nil {
		t.Fatal(err)
	}
	if h := (<-got).Header; h.Get("User-Agent") != "mine/1" || h.Get("Authorization") != "Bearer other" {
		t.Errorf("headers are %v", h)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	visited := make(chan string, 2)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		visited <- r.URL.Path
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	own := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
	defer own.CloseIdleConnections()
	for _, hc := range []*http.Client{nil, own} {
		c := New(Options{URL: srv.URL, Token: "tok", HTTPClient: hc})
		_, err := c.Keys(context.Background())
		var e *Error
		if !errors.As(err, &e) || e.Status != http.StatusTemporaryRedirect {
			t.Errorf("got error %v", err)
		}
		if path := <-visited; path != "/v2/keys" || len(visited) != 0 {
			t.Errorf("visited %s and %d more", path, len(visited))
		}
		c.CloseIdleConnections()
	}
	if own.CheckRedirect(nil, nil) != nil {
		t.Error("the given client was changed")
	}
}

func TestAnswerBounds(t *testing.T) {
	answer := `{"current":"` + strings.Repeat("x", 100) + `"}`
	c, _ := newTestClient(t, 200, answer)
	for size, want := range map[int64]string{
		int64(len(answer)):     "",
		int64(len(answer)) - 1: fmt.Sprintf("get signing keys: read answer: longer than %d bytes", len(answer)-1),
		1:                      "get signing keys: read answer: longer than 1 bytes",
	} {
		bounded := New(Options{URL: c.base.String(), Token: "tok", MaxResponseBytes: size, HTTPClient: c.http})
		_, err := bounded.Keys(context.Background())
		if got := fmt.Sprint(err); want != "" && got != want || want == "" && err != nil {
			t.Errorf("with %d bytes: got %v, want %s", size, err, want)
		}
	}
}

func TestAnswerIsNotJSON(t *testing.T) {
	for _, answer := range []string{"", "<html>", `{"current":1}`, `[]`} {
		c, got := newTestClient(t, 200, answer)
		if _, err := c.Keys(context.Background()); err == nil || !strings.HasPrefix(err.Error(), "get signing keys: decode answer: ") {
			t.Errorf("answer %q: got error %v", answer, err)
		}
		if len(got) != 1 {
			t.Errorf("answer %q: %d requests", answer, len(got))
		}
	}
}

// roundTripper answers without a network, which lets synctest move the clock.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func fakeClient(retries int, f roundTripper) *Client {
	return New(Options{URL: "http://qstash.test", Token: "tok", NetworkRetries: retries, HTTPClient: &http.Client{Transport: f}})
}

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

var errDown = &net.OpError{Op: "dial", Err: errors.New("connection refused")}

func TestNetworkRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []int64
		c := fakeClient(0, func(r *http.Request) (*http.Response, error) {
			at = append(at, time.Since(start).Milliseconds())
			if b, _ := io.ReadAll(r.Body); string(b) != "hello" {
				t.Errorf("try %d sent body %q", len(at), b)
			}
			return nil, errDown
		})
		_, err := c.Publish(context.Background(), PublishRequest{URL: "https://example.com", Body: []byte("hello")})
		if !errors.Is(err, errDown) {
			t.Errorf("got error %v", err)
		}
		// 50 ms × e^0, e^1, e^2, e^3, e^4 apart.
		if want := []int64{0, 50, 185, 555, 1559, 4289}; !cmp.Equal(at, want) {
			t.Errorf("tried at %v ms, want %v", at, want)
		}
	})
}

func TestNetworkRetriesEnd(t *testing.T) {
	cut := func() *http.Response {
		r := answer(200, "")
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"curr`), errReader{io.ErrUnexpectedEOF}))
		return r
	}
	keys := func(c *Client) error { _, err := c.Keys(context.Background()); return err }
	tests := []struct {
		name    string
		retries int
		do      func(c *Client) error
		answers []any // an error or a response for each try, the last one for the rest
		tries   int
		ok      bool
	}{
		{"answered at last", 0, keys, []any{errDown, errDown, `{}`}, 3, true},
		{"answer broken off", 0, keys, []any{cut, `{}`}, 2, true},
		{"never answered", 2, keys, []any{errDown}, 3, false},
		{"never retry", -1, keys, []any{errDown}, 1, false},
		{"an error is an answer", 0, keys, []any{503}, 1, false},
		{"rotation is not retried", 0, func(c *Client) error { _, err := c.RotateKeys(context.Background()); return err }, []any{errDown, `{}`}, 1, false},
		{"rotation is not retried after a broken answer", 0, func(c *Client) error { _, err := c.RotateKeys(context.Background()); return err }, []any{cut, `{}`}, 1, false},
		{"bad header is not sent", 0, func(c *Client) error {
			_, err := c.Publish(context.Background(), PublishRequest{URL: "https://example.com", Header: http.Header{"A": {"b\r\nC: d"}}})
			return err
		}, []any{`{}`}, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				c := fakeClient(tt.retries, func(*http.Request) (*http.Response, error) {
					tries++
					switch a := tt.answers[min(tries, len(tt.answers))-1].(type) {
					case error:
						return nil, a
					case int:
						return answer(a, ""), nil
					case func() *http.Response:
						return a(), nil
					default:
						return answer(200, a.(string)), nil
					}
				})
				if err := tt.do(c); (err == nil) != tt.ok || tries != tt.tries {
					t.Errorf("%d tries, error %v; want %d tries", tries, err, tt.tries)
				}
			})
		})
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestContextEndsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		tries := 0
		c := fakeClient(0, func(*http.Request) (*http.Response, error) { tries++; return nil, errDown })
		start := time.Now()
		_, err := c.Keys(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errDown) {
			t.Errorf("got error %v", err)
		}
		if d := time.Since(start); d != 100*time.Millisecond || tries != 2 {
			t.Errorf("ended after %v and %d tries", d, tries)
		}
	})
}

func TestContextCanceledCall(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	tries := 0
	c := fakeClient(0, func(r *http.Request) (*http.Response, error) {
		tries++
		cancel()
		return nil, r.Context().Err()
	})
	if _, err := c.Keys(ctx); !errors.Is(err, context.Canceled) || tries != 1 {
		t.Errorf("%d tries, error %v", tries, err)
	}
}

func TestUntrustedCertificateIsNotRetried(t *testing.T) {
	conns := make(chan struct{}, 8)
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns <- struct{}{}
		}
	}
	srv.Config.ErrorLog = discardLog
	srv.StartTLS()
	defer srv.Close()
	c := New(Options{URL: srv.URL, Token: "tok"})
	defer c.CloseIdleConnections()
	if _, err := c.Keys(context.Background()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got error %v", err)
	}
	if n := len(conns); n != 1 {
		t.Errorf("%d connections", n)
	}
}
