package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/workflow"
)

// signpostOnly are the methods of the client that Upstash's API has nothing for, as
// the package says.
var signpostOnly = strings.Fields(`
	Audit AllAudit ForceRotateKeys KeyStatus ProbeKeys Limits TenantLimits ChangeTenantLimits Ready Rewrap Sealing
	Settings ChangeSettings Tenants CreateTenant Tokens CreateToken RevokeToken RerunFailureCallbacks`)

// elsewhere are the methods that endpoints call in the other tests, and those that
// make no call.
var elsewhere = strings.Fields("Wait FinishRun Err CloseIdleConnections")

// application is an application with an endpoint of each kind, at Upstash's.
type application struct {
	t *testing.T
	*client.Client
	cloud   *cloud
	url     string
	mended  atomic.Bool // what is wrong with the workflow
	excused atomic.Bool // and with its failure function
}

type job struct {
	Do string `json:"do"`
}

func (a *application) work(ctx *workflow.Context, in job) (string, error) {
	_, err := workflow.Run(ctx, "begin", func(context.Context) (int, error) { return 1, nil })
	if err != nil {
		return "", err
	}
	switch in.Do {
	case "wait":
		e, err := workflow.WaitForEvent[string](ctx, "wait", "opened", time.Hour)
		return e.Data, err
	case "sleep":
		return "", ctx.Sleep("long", time.Hour)
	case "fail":
		return workflow.Run(ctx, "pay", func(context.Context) (string, error) {
			if !a.mended.Load() {
				return "", workflow.NonRetryable(errors.New("no money"))
			}
			return "paid", nil
		})
	}
	return "", nil
}

func newApplication(t *testing.T, s *server) *application {
	t.Helper()
	c := newCloud(t, s)
	at := c.platform(s, "/v2/publish/")
	a := &application{t: t, Client: at.client, cloud: c}
	mux := http.NewServeMux()
	mux.Handle("/hook", c.receiving(at.receiver.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))))
	mux.Handle("/broken", c.receiving(at.receiver.Middleware(http.NotFoundHandler())))
	mux.Handle("/work", c.around(workflow.MustServe(a.work, &workflow.Options{
		Client: at.client, Receiver: at.receiver, Logger: slog.New(slog.DiscardHandler),
		OnFailure: func(*workflow.FailureContext) (string, error) {
			if !a.excused.Load() {
				return "", errors.New("nobody to tell")
			}
			return "told", nil
		},
	})))
	app := httptest.NewServer(mux)
	t.Cleanup(app.Close)
	a.url = app.URL
	return a
}

func (a *application) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// want compares.
func (a *application) want(got, want any) {
	a.t.Helper()
	if !reflect.DeepEqual(got, want) {
		a.t.Errorf("got %v, want %v", got, want)
	}
}

// await asks until something is so.
func (a *application) await(what string, is func() bool) {
	a.t.Helper()
	deadline := time.Now().Add(patience)
	for tick := time.NewTicker(20 * time.Millisecond); !is(); <-tick.C {
		if time.Now().After(deadline) {
			a.t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// got is the answer to a call that has gone well.
func got[T any](a *application) func(T, error) T {
	return func(v T, err error) T {
		a.t.Helper()
		a.must(err)
		return v
	}
}

// all is what a walk yields.
func all[T any](a *application, walk iter.Seq2[T, error]) (items []T) {
	a.t.Helper()
	for item, err := range walk {
		a.must(err)
		items = append(items, item)
	}
	return items
}

// clientCalls are calls of all methods that Upstash's API has something for: theirs are
// the names.
var clientCalls = []struct {
	methods string
	do      func(*application, context.Context)
}{
	{"Publish PublishJSON PublishItem Batch BatchItems", (*application).publish},
	{"Message CancelMessage CancelMessages Events AllEvents", (*application).messages},
	{"Queues Queue PutQueue DeleteQueue PauseQueue ResumeQueue", (*application).queues},
	{"URLGroups URLGroup AddEndpoints RemoveEndpoints SetURLGroupHeader DeleteURLGroup", (*application).groups},
	{"CreateSchedule CreateScheduleJSON Schedules Schedule DeleteSchedule PauseSchedule ResumeSchedule", (*application).schedules},
	{`FlowControlKeys FlowControlKey PauseFlowControl ResumeFlowControl PinFlowControl UnpinFlowControl ResetFlowControlRate
		GlobalParallelism`, (*application).flowControl},
	{"DLQ AllDLQ DLQMessage DeleteDLQMessage RetryDLQMessage DeleteDLQ RetryDLQ RetryAllDLQ DeleteAllDLQ", (*application).dlq},
	{`Trigger TriggerJSON TriggerBatch Run Runs AllRuns RunLog RunEvents AllRunEvents CancelRun CancelRuns
		Notify NotifyRun Waiters WebhookURL`, (*application).runs},
	{`RunDLQ AllRunDLQ RunDLQMessage ResumeRun RestartRun ResumeRuns RestartRuns ResumeAllRuns RestartAllRuns RerunFailureCallback
		CancelFailureCallback DeleteRunDLQ DeleteAllRunDLQ`, (*application).failedRuns},
	{"Alive Keys RotateKeys", (*application).keys}, // the last: the server's keys are others then
}

// play calls them, and checks that none is left out, and no route.
func (a *application) play() {
	named := slices.Concat(signpostOnly, elsewhere)
	for _, calls := range clientCalls {
		named = append(named, strings.Fields(calls.methods)...)
		begun := time.Now()
		calls.do(a, a.t.Context())
		a.t.Logf("%.1f s: %.40s", time.Since(begun).Seconds(), calls.methods)
	}
	for method := range reflect.TypeFor[*client.Client]().Methods() {
		if !slices.Contains(named, method.Name) {
			a.t.Errorf("is %s on Upstash's wire? It is not called here, nor among those of Signpost alone", method.Name)
		}
	}
	said, err := os.ReadFile("../client/doc.go")
	a.must(err)
	for _, method := range signpostOnly {
		if !strings.Contains(string(said), "[Client."+method+"]") {
			a.t.Errorf("package client does not say that %s is Signpost's alone", method)
		}
	}
	for _, r := range routes {
		if !strings.HasPrefix(r.pattern, "DELETE /v2/workflows/dlq/{id}") { // the client does it in bulk
			a.cloud.wantSeen(r.pattern)
		}
	}
	a.cloud.wantSeen("webhook")
}

func (a *application) publish(ctx context.Context) {
	full := client.PublishRequest{
		URL: a.url + "/hook?a=b", Method: http.MethodPut, Body: []byte("hello"), Header: http.Header{"X-User": {"ada"}},
		Delay: time.Second, Retries: new(2), RetryDelay: "1000 * (1 + retried)", Timeout: time.Minute,
		Callback: &client.Callback{
			URL: a.url + "/hook", Method: http.MethodPost, Header: http.Header{"X-User": {"ada"}}, Delay: time.Second, Retries: new(1), RetryDelay: "10",
			Timeout: time.Minute, FlowControl: &client.FlowControl{Key: "k", Rate: 1000},
		},
		FailureCallback: &client.Callback{URL: a.url + "/hook"}, Labels: []string{"a", "b"}, DeduplicationID: "once",
		FlowControl: &client.FlowControl{Key: "k", Parallelism: 100, Rate: 1000, Period: time.Minute}, Redact: []string{"body", "header[Authorization]"},
	}
	first := got[client.PublishResponse](a)(a.Publish(ctx, full))
	again := got[client.PublishResponse](a)(a.Publish(ctx, full))
	a.want(again.MessageID, first.MessageID)
	a.want(again.Deduplicated, true)
	_, err := a.PublishJSON(ctx, client.PublishRequest{URL: a.url + "/hook", Queue: "lane", NotBefore: time.Now(), ContentBasedDeduplication: true}, "json")
	a.must(err)
	item := client.BatchItem{Destination: a.url + "/hook", Header: http.Header{"Upstash-Forward-X-User": {"ada"}}}
	got[client.PublishResponse](a)(a.PublishItem(ctx, item))
	full.DeduplicationID = ""
	a.want(len(got[[]client.PublishResponse](a)(a.Batch(ctx, []client.PublishRequest{full, {URL: a.url + "/hook", Queue: "lane"}}))), 2)
	for range 4 { // be the answer an array or not
		answers := got[[]client.PublishResponse](a)(a.BatchItems(ctx, []client.BatchItem{item}))
		a.want(len(answers), 1)
		a.want(answers[0].MessageID != "", true)
	}
}

func (a *application) messages(ctx context.Context) {
	later := client.PublishRequest{URL: a.url + "/hook", Delay: time.Hour, Labels: []string{"later"}}
	ids := make([]string, 3)
	for i := range ids {
		ids[i] = got[client.PublishResponse](a)(a.Publish(ctx, later)).MessageID
	}
	a.want(got[client.Message](a)(a.Message(ctx, ids[0])).URL, later.URL)
	a.must(a.CancelMessage(ctx, ids[0]))
	a.want(got[int](a)(a.CancelMessages(ctx, client.CancelRequest{IDs: ids[:2]})), 1)
	a.want(got[int](a)(a.CancelMessages(ctx, client.CancelRequest{Filter: client.Filter{Labels: []string{"later"}, From: time.Now().Add(-time.Hour)}, Count: 10})), 1)
	a.await("cancellations", func() bool {
		page := got[client.EventsPage](a)(a.Events(ctx, client.EventsRequest{
			MessageIDs: ids, States: []client.EventState{client.EventCanceled}, Order: client.NewestFirst, Count: 10}))
		return len(page.Events) == 3
	})
	a.want(len(all(a, a.AllEvents(ctx, client.EventsRequest{Filter: client.Filter{URLs: []string{later.URL}, Labels: []string{"later"}}}))) >= 6, true)
}

func (a *application) queues(ctx context.Context) {
	a.must(a.PutQueue(ctx, client.QueueRequest{Name: "lane", Parallelism: new(2)}))
	a.must(a.PauseQueue(ctx, "lane"))
	a.want(got[client.Queue](a)(a.Queue(ctx, "lane")).Paused, true)
	a.must(a.ResumeQueue(ctx, "lane"))
	a.want(len(got[[]client.Queue](a)(a.Queues(ctx))), 1)
	a.must(a.DeleteQueue(ctx, "lane"))
}

// groups has one with a workflow in it: what is published to that starts a run.
func (a *application) groups(ctx context.Context) {
	a.must(a.AddEndpoints(ctx, "all", client.Endpoint{URL: a.url + "/hook"}, client.Endpoint{Name: "work", URL: a.url + "/work"}))
	a.must(a.SetURLGroupHeader(ctx, "all", http.Header{"Upstash-Retries": {"1"}}))
	a.want(len(got[client.URLGroup](a)(a.URLGroup(ctx, "all")).Endpoints), 2)
	a.want(len(got[client.PublishResponse](a)(a.PublishJSON(ctx, client.PublishRequest{URLGroup: "all"}, job{"nothing"})).Endpoints), 2)
	a.await("the run of a group's message", func() bool {
		page := got[client.RunsPage](a)(a.Runs(ctx, client.RunsRequest{URL: a.url + "/work", State: client.RunSuccess}))
		return len(page.Runs) == 1
	})
	a.must(a.RemoveEndpoints(ctx, "all", client.Endpoint{Name: "work"}))
	a.want(len(got[[]client.URLGroup](a)(a.URLGroups(ctx))), 1)
	a.must(a.DeleteURLGroup(ctx, "all"))
}

func (a *application) schedules(ctx context.Context) {
	publish := client.PublishRequest{URL: a.url + "/work", Body: []byte(`{}`), Retries: new(1), Delay: time.Minute, Labels: []string{"daily"}, Queue: "lane"}
	id := got[string](a)(a.CreateSchedule(ctx, client.ScheduleRequest{Cron: "CRON_TZ=Europe/Berlin 0 4 * * *", ID: "daily", Publish: publish}))
	a.want(id, "daily")
	other := got[string](a)(a.CreateScheduleJSON(ctx, client.ScheduleRequest{Cron: "0 4 * * *", Publish: client.PublishRequest{URL: a.url + "/work"}}, job{"nothing"}))
	a.must(a.PauseSchedule(ctx, id))
	a.want(got[client.Schedule](a)(a.Schedule(ctx, id)).Paused, true)
	a.must(a.ResumeSchedule(ctx, id))
	a.want(len(got[[]client.Schedule](a)(a.Schedules(ctx))), 2)
	a.must(a.DeleteSchedule(ctx, id))
	a.must(a.DeleteSchedule(ctx, other))
}

func (a *application) flowControl(ctx context.Context) {
	const key = "customer 1/x"
	a.must(a.PauseFlowControl(ctx, key))
	a.must(a.ResumeFlowControl(ctx, key))
	a.must(a.PinFlowControl(ctx, client.FlowControl{Key: key, Parallelism: 3, Rate: 5, Period: time.Minute}))
	a.want(got[client.FlowControlKey](a)(a.FlowControlKey(ctx, key)).ParallelismMax, 3)
	a.must(a.UnpinFlowControl(ctx, key, true, true))
	a.must(a.ResetFlowControlRate(ctx, key))
	a.want(len(got[[]client.FlowControlKey](a)(a.FlowControlKeys(ctx, "customer"))), 1)
	got[client.GlobalParallelism](a)(a.GlobalParallelism(ctx))
}

func (a *application) dlq(ctx context.Context) {
	broken := a.url + "/broken"
	mine := client.DLQFilter{Filter: client.Filter{URLs: []string{broken}}, ResponseStatuses: []int{404}}
	fail := func(n int) (entries []client.DLQMessage) {
		a.t.Helper()
		for range n {
			got[client.PublishResponse](a)(a.Publish(ctx, client.PublishRequest{
				URL: broken, Retries: new(0), Body: []byte("x"), FailureCallback: &client.Callback{URL: a.url + "/hook"}}))
		}
		a.await("dead messages", func() bool {
			entries = got[client.DLQPage](a)(a.DLQ(ctx, client.DLQRequest{Filter: mine, Order: client.OldestFirst, Count: 50})).Messages
			return len(entries) == n
		})
		return entries
	}
	entries := fail(5)
	a.want(got[client.DLQMessage](a)(a.DLQMessage(ctx, entries[0].DLQID)).ResponseStatus, 404)
	a.must(a.DeleteDLQMessage(ctx, entries[0].DLQID))
	a.want(errors.Is(a.DeleteDLQMessage(ctx, entries[0].DLQID), client.ErrNotFound), true)
	back := client.PublishRequest{Retries: new(1), Delay: time.Hour, Header: http.Header{"X-User": {"eve"}}, Labels: []string{"again"}}
	got[client.PublishResponse](a)(a.RetryDLQMessage(ctx, entries[1].DLQID))
	one := got[client.DLQRetryResponse](a)(a.RetryDLQ(ctx, client.DLQRetry{DLQSelection: client.DLQSelection{IDs: []string{entries[2].DLQID}}, Override: back}))
	a.want(len(one.Responses), 1)
	a.await("what was retried to fail again", func() bool { return len(all(a, a.AllDLQ(ctx, client.DLQRequest{Filter: mine, Count: 1}))) == 3 })
	a.want(got[client.DLQDeleteResponse](a)(a.DeleteDLQ(ctx, client.DLQSelection{IDs: []string{entries[3].DLQID}})).Deleted, 1)
	a.want(len(all(a, a.RetryAllDLQ(ctx, client.DLQRetry{DLQSelection: client.DLQSelection{Filter: mine, Count: 1}, Override: back}))), 2)
	fail(2)
	deleted := 0
	for _, n := range all(a, a.DeleteAllDLQ(ctx, client.DLQSelection{Filter: mine, Count: 1})) {
		deleted += n
	}
	a.want(deleted, 2)
}

func (a *application) start(ctx context.Context, do string, r client.TriggerRequest) string {
	a.t.Helper()
	r.URL = a.url + "/work"
	return got[client.TriggerResponse](a)(a.TriggerJSON(ctx, r, job{do})).WorkflowRunID
}

func (a *application) runs(ctx context.Context) {
	full := client.TriggerRequest{
		URL: a.url + "/work", RunID: "wfr_of-mine", Header: http.Header{"X-User": {"ada"}}, Delay: time.Hour, Retries: new(1), RetryDelay: "1000",
		FlowControl: &client.FlowControl{Key: "runs", Rate: 1000}, Labels: []string{"l1", "l2"}, Redact: []string{"header[Authorization]"},
		FailureURL: a.url + "/work",
	}
	a.want(got[client.TriggerResponse](a)(a.Trigger(ctx, full)).Deduplicated, false)
	a.want(got[client.TriggerResponse](a)(a.Trigger(ctx, full)).Deduplicated, true)
	full.RunID, full.Delay, full.NotBefore = "", 0, time.Now().Add(time.Hour)
	late := got[[]client.TriggerResponse](a)(a.TriggerBatch(ctx, []client.TriggerRequest{full, full}))
	a.must(a.CancelRun(ctx, "wfr_of-mine"))
	a.want(got[client.Run](a)(a.Run(ctx, "wfr_of-mine")).State, client.RunCanceled)
	a.want(got[int](a)(a.CancelRuns(ctx, client.CancelRunsRequest{IDs: []string{late[0].WorkflowRunID, "wfr_unknown"}})), 1)
	a.want(got[int](a)(a.CancelRuns(ctx, client.CancelRunsRequest{Filter: client.RunFilter{URLs: []string{full.URL}, Labels: []string{"l2"}}, Count: 10})), 1)
	a.want(len(all(a, a.AllRuns(ctx, client.RunsRequest{Labels: []string{"l1"}, Hosts: []string{strings.TrimPrefix(a.url, "http://")}, Count: 2}))), 3)

	asleep := a.start(ctx, "sleep", client.TriggerRequest{})
	a.await("the sleep", func() bool {
		log, err := a.RunLog(ctx, asleep)
		return err == nil && len(log) == 3
	})
	a.want(got[int](a)(a.CancelRuns(ctx, client.CancelRunsRequest{URLPrefixes: []string{a.url + "/wo"}})), 1)
	_, err := a.RunLog(ctx, asleep)
	a.want(errors.Is(err, client.ErrNotFound), true)

	for _, tell := range []func(run string) int{
		func(string) int {
			return len(got[[]client.NotifyResponse](a)(a.Notify(ctx, "opened", []byte("hello"))))
		},
		func(run string) int {
			return len(got[client.NotifyResponse](a)(a.NotifyRun(ctx, run, "opened", []byte("hello"))).MessageID)
		},
	} {
		waits := a.start(ctx, "wait", client.TriggerRequest{})
		a.await("the waiter", func() bool {
			waiters := got[[]client.Waiter](a)(a.Waiters(ctx, "opened"))
			return len(waiters) == 1 && waiters[0].Headers.Get("Upstash-Workflow-Runid") == waits
		})
		a.want(tell(waits) > 0, true)
		a.want(waitRun(a.t, a.Client, waits).Response, `"hello"`)
	}
	a.want(len(got[client.EventsPage](a)(a.RunEvents(ctx, client.RunEventsRequest{RunID: asleep, Count: 2})).Events), 2)
	a.want(len(all(a, a.AllRunEvents(ctx, client.RunEventsRequest{RunID: asleep}))) > 2, true)
	hook := got[string](a)(a.WebhookURL(asleep, "evt_1"))
	resp, err := http.Post(hook, "text/plain", strings.NewReader("?"))
	a.must(err)
	resp.Body.Close()
	a.want(resp.StatusCode, http.StatusNotFound) // the run has ended
}

func (a *application) succeed(runs []client.RunRef, n int) {
	a.t.Helper()
	a.want(len(runs), n)
	for _, run := range runs {
		ended := waitRun(a.t, a.Client, run.WorkflowRunID)
		a.want(fmt.Sprint(ended.State, " ", ended.Response), `RUN_SUCCESS "paid"`)
	}
}

func (a *application) failedRuns(ctx context.Context) {
	fail := func(n int, r client.TriggerRequest) (entries []client.DLQMessage) {
		a.t.Helper()
		filter := client.RunDLQFilter{URLs: []string{a.url + "/work"}}
		for range n {
			filter.RunIDs = append(filter.RunIDs, a.start(ctx, "fail", r))
		}
		a.await("runs that fail", func() bool {
			entries = got[client.DLQPage](a)(a.RunDLQ(ctx, client.RunDLQRequest{Filter: filter, Count: 100})).Messages
			return len(entries) == n
		})
		return entries
	}
	isCallback := func(dlqID string, state client.CallbackState) {
		a.t.Helper()
		a.await(string(state), func() bool {
			m := got[client.DLQMessage](a)(a.RunDLQMessage(ctx, dlqID))
			return m.FailureCallbackInfo != nil && m.FailureCallbackInfo.State == state
		})
	}
	patient := client.TriggerRequest{Retries: new(1), RetryDelay: "3600000"}
	once := client.TriggerRequest{Retries: new(0), Labels: []string{"fails"}}

	slow := fail(1, patient)[0].DLQID
	isCallback(slow, client.CallbackInProgress)
	got[client.RunRef](a)(a.CancelFailureCallback(ctx, slow))
	isCallback(slow, client.CallbackCanceled)
	a.want(got[client.DLQDeleteResponse](a)(a.DeleteRunDLQ(ctx, client.RunDLQSelection{IDs: []string{slow}})).Deleted, 1)

	entries := fail(8, once)
	isCallback(entries[0].DLQID, client.CallbackFail)
	a.excused.Store(true)
	got[client.RunRef](a)(a.RerunFailureCallback(ctx, entries[0].DLQID))
	isCallback(entries[0].DLQID, client.CallbackSuccess)

	a.mended.Store(true)
	override := client.RunOverride{Retries: new(2), FlowControl: &client.FlowControl{Key: "runs", Rate: 1000}}
	single := override
	single.Delay, single.RetryDelay, single.Labels, single.FailureURL = time.Second, "10", []string{"resumed"}, a.url+"/work"
	ids := func(entries []client.DLQMessage) client.RunDLQSelection {
		var s client.RunDLQSelection
		for _, e := range entries {
			s.IDs = append(s.IDs, e.DLQID)
		}
		return s
	}
	some := client.RunDLQSelection{Filter: client.RunDLQFilter{Labels: []string{"fails"}}, Count: 1}
	runs := []client.RunRef{
		got[client.RunRef](a)(a.ResumeRun(ctx, entries[0].DLQID, client.ResumeOptions{Override: single})),
		got[client.RunRef](a)(a.RestartRun(ctx, entries[1].DLQID, client.ResumeOptions{Override: single})),
	}
	runs = append(runs, got[client.ResumeResponse](a)(a.ResumeRuns(ctx, client.ResumeRequest{RunDLQSelection: ids(entries[2:4]), Override: override})).Runs...)
	runs = append(runs, got[client.ResumeResponse](a)(a.RestartRuns(ctx, client.ResumeRequest{RunDLQSelection: ids(entries[4:6]), Override: override})).Runs...)
	runs = append(runs, all(a, a.ResumeAllRuns(ctx, client.ResumeRequest{RunDLQSelection: some}))...)
	a.succeed(runs, 8)
	a.mended.Store(false)
	fail(3, once)
	a.mended.Store(true)
	a.succeed(all(a, a.RestartAllRuns(ctx, client.ResumeRequest{RunDLQSelection: some})), 3)
	a.want(len(all(a, a.AllRunDLQ(ctx, client.RunDLQRequest{Count: 1}))), 0)
	a.mended.Store(false)
	fail(2, once)
	deleted := 0
	for _, n := range all(a, a.DeleteAllRunDLQ(ctx, some)) {
		deleted += n
	}
	a.want(deleted, 2)
}

func (a *application) keys(ctx context.Context) {
	a.must(a.Alive(ctx))
	before := got[client.SigningKeys](a)(a.Keys(ctx))
	a.want(got[client.SigningKeys](a)(a.RotateKeys(ctx)).Current, before.Next)
}
