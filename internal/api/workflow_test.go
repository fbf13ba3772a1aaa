package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

// A run of one step, as the official SDK triggers and plays it.
func TestRun(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	payload := `{"user":"é"}`
	init := f.trigger("wfr_1", payload, "Upstash-Label: l1,l2", "Upstash-Forward-Upstash-Label: l1,l2", "Upstash-Forward-User-Header: v",
		"Upstash-Forward-Authorization: Bearer theirs", "Upstash-Retries: 7", "Upstash-Forward-Upstash-Message-Id: forged",
		"Upstash-Forward-Upstash-Signature: forged", "Upstash-Forward-Upstash-Retried: 9", "Upstash-Forward-Upstash-Workflow-Runid: forged",
		"Upstash-Forward-Upstash-Workflow-Createdat: 1", "Upstash-Forward-Host: forged", "Upstash-Forward-Content-Length: 1")
	first := f.next(init)
	createdAt := w.run("wfr_1").CreatedAt
	check := func(c *call, id, isInit string) {
		t.Helper()
		for name, want := range map[string]string{
			"Upstash-Message-Id": id, "Upstash-Retried": "0", "Upstash-Workflow-Runid": "wfr_1", "Upstash-Workflow-Url": f.URL,
			"Upstash-Workflow-Init": isInit, "Upstash-Workflow-Createdat": fmt.Sprint(createdAt), "Upstash-Workflow-Sdk-Version": "1",
			"Content-Type": "application/json", "User-Header": "v", "Authorization": "Bearer theirs", "Upstash-Label": "l1,l2",
			"Upstash-Workflow-Callback": "", "Upstash-Workflow-Is-Failure": "", "Upstash-Feature-Set": "",
		} {
			if got := strings.Join(c.header[name], "|"); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	}
	check(first, init, "true")
	want := fmt.Sprintf(`[{"messageId":%q,"body":%q,"callType":"step"}]`, init, b64(payload))
	if string(first.body) != want {
		t.Errorf("delivered %s, want %s", first.body, want)
	}

	s1 := run(1, "create", `{"id":1}`)
	id := f.append("wfr_1", s1)[0]
	second := f.next(id) // while the first is still to be answered
	first.ok()
	check(second, id, "false")
	equal(t, "log", second.prefix(), []string{init, id})
	if entry := second.log()[1]; entry.CallType != "step" || string(entry.Body) != s1.body {
		t.Errorf("step delivered as %+v", entry)
	}
	if whole := get[[]client.LogEntry](w, "/v2/workflows/runs/wfr_1"); len(whole) != 2 || whole[1].MessageID != id {
		t.Errorf("the run's log is %+v", whole)
	}
	if m := get[client.Message](w, "/v2/messages/"+id); m.MaxRetries != 7 || m.URL != f.URL || m.Body != s1.body {
		t.Errorf("the step's message is %+v", m)
	}
	f.finish("wfr_1", `{"ok":true}`)
	f.finish("wfr_1", `{"ok":"again"}`)
	second.ok()
	w.await(id, client.EventDelivered)
	f.inactive("wfr_1")
	r := w.run("wfr_1")
	equal(t, "history", shape(r), []string{"RUN_SUCCESS", "sequential [0 init SUCCESS]", "sequential [1 create SUCCESS]"})
	if r.Response != `{"ok":true}` || r.CompletedAt < r.CreatedAt || r.Label != "l1" || len(r.Labels) != 2 || r.DLQID != "" || r.FailureFunction != nil {
		t.Errorf("run %+v", r)
	}
	if s := r.Steps[0].Steps[0]; s.Out != payload || s.StepType != "Initial" || s.CallType != "step" || s.Headers.Get("User-Header") != "v" || s.Retries != 7 {
		t.Errorf("initial step %+v", s)
	}
	if s := r.Steps[1].Steps[0]; s.Out != `{"id":1}` || s.StepType != "Run" || s.Concurrent != 1 || s.MessageID != id {
		t.Errorf("step %+v", s)
	}
}

// The prefix rule: a delivery has the log up to and including its own message,
// however late it is and however often it is repeated.
func TestPrefixRule(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	init := f.trigger("wfr_1", "", "Upstash-Retry-Delay: 1")
	c := f.next(init)
	p := f.append("wfr_1", plan(1, "a", "Run", 3), plan(2, "b", "Run", 3), plan(3, "z", "SleepFor", 3, "Upstash-Delay: 0.3s"))
	c.ok()
	p1, p2 := f.next(p[0]), f.next(p[1])
	equal(t, "first plan", p1.prefix(), []string{init, p[0]})
	equal(t, "second plan", p2.prefix(), []string{init, p[0], p[1]})
	equal(t, "planned", shape(w.run("wfr_1")), []string{"RUN_STARTED", "sequential [0 init SUCCESS]",
		"parallel [1 a PROGRESS] [2 b PROGRESS] [3 z PROGRESS]"})

	r2 := f.append("wfr_1", result(2, "b", "Run", 3))[0] // in the order they end
	p2.ok()
	equal(t, "first result", f.next(r2).prefix(), []string{init, p[0], p[1], p[2], r2})
	p1.answer(500, "try again")
	again := f.next(p[0])
	equal(t, "first plan, repeated", again.prefix(), []string{init, p[0]})
	if again.header.Get("Upstash-Retried") != "1" {
		t.Errorf("repeated as %v", again.header)
	}
	r1 := f.append("wfr_1", result(1, "a", "Run", 3))[0]
	again.ok()
	equal(t, "second result", f.next(r1).prefix(), []string{init, p[0], p[1], p[2], r2, r1})

	late := f.next(p[2])
	equal(t, "delayed plan", late.prefix(), []string{init, p[0], p[1], p[2]})
	r3 := f.append("wfr_1", result(3, "z", "SleepFor", 3))[0]
	late.ok()
	last := f.next(r3)
	equal(t, "last result", last.prefix(), []string{init, p[0], p[1], p[2], r2, r1, r3})
	equal(t, "history", shape(w.run("wfr_1")), []string{"RUN_STARTED", "sequential [0 init SUCCESS]",
		"parallel [1 a SUCCESS] [2 b SUCCESS] [3 z SUCCESS]", "next [0 PROGRESS]"})
	after := f.append("wfr_1", run(4, "after", "1"))[0]
	last.ok()
	f.next(after).ok()
	f.finish("wfr_1", "")
	equal(t, "history", shape(w.run("wfr_1")), []string{"RUN_SUCCESS", "sequential [0 init SUCCESS]",
		"parallel [1 a SUCCESS] [2 b SUCCESS] [3 z SUCCESS]", "sequential [4 after SUCCESS]"})
}

// An endpoint that was called twice publishes its step twice: the second is
// answered like the first, and changes nothing.
func TestDuplicateStep(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	init := f.trigger("wfr_1", "", "Upstash-Retry-Delay: 1")
	c := f.next(init)
	plans := []step{plan(1, "a", "Run", 2), plan(2, "b", "Run", 2)}
	p := f.append("wfr_1", plans...)
	c.answer(500, "crashed after publishing")
	f.next(init).ok()
	equal(t, "plans again", f.append("wfr_1", plans...), p)
	r1 := f.append("wfr_1", result(1, "a", "Run", 2))[0]
	equal(t, "result again", f.append("wfr_1", result(1, "a", "Run", 2)), []string{r1})
	if log := get[[]client.LogEntry](w, "/v2/workflows/runs/wfr_1"); len(log) != 4 {
		t.Errorf("the log has %d entries, want 4", len(log))
	}
	for _, id := range append(p, r1) {
		f.next(id).ok()
		w.await(id, client.EventDelivered)
	}
	if !f.quiet() {
		t.Error("a duplicate was delivered")
	}
}

// A call goes to the third party as an ordinary request, and comes back as one
// delivery with its outcome, whatever that is.
func TestCall(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	held := w.gate()
	deny := answers("denied", []string{"X-Third: 3", "Content-Type: text/plain"}, 401)
	third := w.endpoint(func(rw http.ResponseWriter, d *delivery) {
		held.pass()
		deny(rw, d)
	})
	init := f.trigger("wfr_1", "payload", "Upstash-Forward-User-Header: v", "Upstash-Forward-Upstash-Label: l")
	c := f.next(init)
	to := f.call("wfr_1", 1, "ask", third.URL+"/x?y=1", "Upstash-Retries: 1", "Upstash-Retry-Delay: 1",
		"Upstash-Forward-My-Header: mine", "Upstash-Forward-Upstash-Workflow-Invoke-Count: 2", "Upstash-Timeout: 10")
	third.await(1)
	c.ok()
	w.await(init, client.EventDelivered)
	equal(t, "under way", shape(w.run("wfr_1")), []string{"RUN_STARTED", "sequential [0 init SUCCESS]", "sequential [1 ask PROGRESS]"})
	held.release()

	got := third.await(2)
	for i, d := range got {
		if d.method != "PATCH" || string(d.body) != "to the third party" || d.header.Get("My-Header") != "mine" || d.header.Get("Content-Type") != "application/json" ||
			d.header.Get("Upstash-Message-Id") != to || d.header.Get("Upstash-Retried") != fmt.Sprint(i) {
			t.Errorf("third party got %s %q %v", d.method, d.body, d.header)
		}
		for name := range d.header {
			if name == "User-Header" || name == "Upstash-Label" || strings.HasPrefix(name, "Upstash-Workflow-") && name != "Upstash-Workflow-Invoke-Count" {
				t.Errorf("third party got %s", name)
			}
		}
	}
	from := f.any("the call's outcome is delivered")
	fromID := from.header.Get("Upstash-Message-Id")
	for name, want := range map[string]string{
		"Upstash-Workflow-Callback": "true", "Upstash-Workflow-Stepid": "1", "Upstash-Workflow-Stepname": "ask", "Upstash-Workflow-Steptype": "Call",
		"Upstash-Workflow-Concurrent": "1", "Upstash-Workflow-Contenttype": "application/json", "Upstash-Workflow-Invoke-Count": "2",
		"Upstash-Workflow-Runid": "wfr_1", "Upstash-Workflow-Url": f.URL, "Upstash-Workflow-Init": "false",
		"User-Header": "v", "Upstash-Label": "l", "Content-Type": "application/json", "My-Header": "", "Upstash-Retried": "0",
	} {
		if got := strings.Join(from.header[name], "|"); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if v, ok := from.header["Upstash-Workflow-Sdk-Version"]; ok {
		t.Errorf("a fromCallback has Upstash-Workflow-Sdk-Version: %v", v)
	}
	body := object(t, from.body)
	for key, want := range map[string]any{
		"status": 401.0, "body": b64("denied"), "retried": 1.0, "maxRetries": 1.0, "sourceMessageId": to, "url": third.URL + "/x?y=1",
		"method": "PATCH", "sourceBody": b64("to the third party"), "callerIP": "127.0.0.1",
	} {
		if body[key] != want {
			t.Errorf("%s is %v, want %v", key, body[key], want)
		}
	}
	if header, _ := body["header"].(map[string]any); fmt.Sprint(header["X-Third"]) != "[3]" {
		t.Errorf("header is %v", body["header"])
	}
	if header, _ := body["sourceHeader"].(map[string]any); fmt.Sprint(header["My-Header"]) != "[mine]" {
		t.Errorf("sourceHeader is %v", body["sourceHeader"])
	}

	// The endpoint publishes the result by itself, not in a batch.
	const out = `{"stepId":1,"stepName":"ask","stepType":"Call","out":"{\"status\":401,\"body\":\"denied\",\"header\":{\"X-Third\":[\"3\"]}}","concurrent":1}`
	var lines []string
	for name, value := range f.base("wfr_1") {
		lines = append(lines, name+": "+value)
	}
	id := w.publish(f.URL, out, lines...)
	from.answer(200, `{"workflowRunId":"other","finishCondition":"fromCallback"}`)
	done := f.next(id)
	var kinds []string
	for _, entry := range done.log() {
		kinds = append(kinds, entry.CallType)
	}
	equal(t, "log", done.prefix(), []string{init, to, fromID, id})
	equal(t, "kinds", kinds, []string{"step", "toCallback", "fromCallback", "step"})
	done.ok()
	f.finish("wfr_1", "")
	if n := len(third.deliveries()); n != 2 || !f.quiet() {
		t.Errorf("%d requests to the third party; quiet: %v", n, f.quiet())
	}
	r := w.run("wfr_1")
	equal(t, "history", shape(r), []string{"RUN_SUCCESS", "sequential [0 init SUCCESS]", "sequential [1 ask SUCCESS]"})
	s := r.Steps[1].Steps[0]
	if s.CallURL != third.URL+"/x?y=1" || s.CallMethod != "PATCH" || s.CallBody != "to the third party" || s.CallHeaders.Get("My-Header") != "mine" ||
		s.CallResponseStatus != 401 || s.CallResponseBody != "denied" || s.CallResponseHeaders.Get("X-Third") != "3" {
		t.Errorf("call %+v", s)
	}
	if d := w.dlq(""); len(d) != 0 {
		t.Errorf("a failed call is in the DLQ: %+v", d)
	}
}

// A third party that can't be reached is a result too: status 0.
func TestCallWithoutAnswer(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	third := w.endpoint(func(http.ResponseWriter, *delivery) { panic(http.ErrAbortHandler) })
	c := f.next(f.trigger("wfr_1", ""))
	f.call("wfr_1", 1, "ask", third.URL)
	c.ok()
	from := f.any("the call's outcome is delivered")
	if body := object(t, from.body); body["status"] != 0.0 || body["body"] != nil {
		t.Errorf("outcome %v", body)
	}
	from.ok()
	if r := w.run("wfr_1"); r.State != client.RunStarted {
		t.Errorf("run %s", r.State)
	}
}

// The outcome of a call is for a run that still wants it.
func TestCallAfterTheEnd(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	held := w.gate()
	third := w.endpoint(func(http.ResponseWriter, *delivery) { held.pass() })
	c := f.next(f.trigger("wfr_1", ""))
	to := f.call("wfr_1", 1, "ask", third.URL)
	c.ok()
	w.wait(held.reached, "the call")
	w.do("DELETE", "/v2/workflows/runs/wfr_1", "").into(200, &client.CancelResponse{})
	held.release()
	w.await(to, client.EventDelivered)
	w.fence()
	if !f.quiet() {
		t.Error("the endpoint of a cancelled run is called back")
	}
}

// fence returns after a message published now was delivered: what was due
// before has been dispatched by then.
func (w *world) fence() {
	w.t.Helper()
	w.await(w.publish(w.endpoint(nil).URL, ""), client.EventDelivered)
}

func TestSleep(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	c := f.next(f.trigger("wfr_1", ""))
	published := time.Now()
	id := f.append("wfr_1", step{`{"stepId":1,"stepName":"nap","stepType":"SleepFor","sleepFor":0.25,"concurrent":1}`, []string{"Upstash-Delay: 0.25s"}})[0]
	c.ok()
	r := w.run("wfr_1")
	equal(t, "asleep", shape(r), []string{"RUN_STARTED", "sequential [0 init SUCCESS]", "sequential [1 nap PROGRESS]"})
	if s := r.Steps[1].Steps[0]; s.NextDeliveryTime == 0 || s.StepType != "SleepFor" {
		t.Errorf("sleep %+v", s)
	}
	c = f.next(id)
	if slept := time.Since(published); slept < 240*time.Millisecond {
		t.Errorf("slept %v", slept)
	}
	until := time.Now().Add(time.Hour).Unix()
	id = f.append("wfr_1", step{fmt.Sprintf(`{"stepId":2,"stepName":"long","stepType":"SleepUntil","sleepUntil":%d.4,"concurrent":1}`, until), []string{fmt.Sprint("Upstash-Not-Before: ", until, ".25")}})[0]
	c.ok()
	if m := get[client.Message](w, "/v2/messages/"+id); m.NotBefore != until*1000+250 {
		t.Errorf("due at %d, want %d", m.NotBefore, until*1000+250)
	}
	r = w.run("wfr_1")
	equal(t, "asleep", shape(r), []string{"RUN_STARTED", "sequential [0 init SUCCESS]", "sequential [1 nap SUCCESS]", "sequential [2 long PROGRESS]"})
	if s := r.Steps[2].Steps[0]; s.SleepUntil != until || s.NextDeliveryTime != until*1000+250 {
		t.Errorf("sleep %+v", s)
	}
	w.do("DELETE", "/v2/workflows/runs/wfr_1?cancel=true", "").into(200, &client.CancelResponse{})
	equal(t, "cancelled", shape(w.run("wfr_1")), []string{"RUN_CANCELED", "sequential [0 init SUCCESS]", "sequential [1 nap SUCCESS]", "sequential [2 long CANCELED]"})
	equal(t, "its message", w.states(id), []client.EventState{"CREATED", "CANCEL_REQUESTED", "CANCELED"})
}

// Cancelling takes effect at once: nothing is appended, delivered or told.
func TestCancelRun(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	init := f.trigger("wfr_1", "", "Upstash-Retry-Delay: 1")
	c := f.next(init)
	pending := f.append("wfr_1", step{`{"stepId":1,"stepName":"s","stepType":"SleepFor","sleepFor":1}`, []string{"Upstash-Delay: 1h"}})[0]
	a := w.do("DELETE", "/v2/workflows/runs/wfr_1", "")
	if string(a.body) != `{"cancelled":1}` {
		t.Errorf("cancel answered %s", a.body)
	}
	f.inactive("wfr_1")
	equal(t, "pending", w.states(pending), []client.EventState{"CREATED", "CANCEL_REQUESTED", "CANCELED"})
	c.answer(500, "too late to be retried")
	w.await(init, client.EventCanceled)
	w.fence()
	if r := w.run("wfr_1"); r.State != client.RunCanceled || r.CompletedAt == 0 || r.FailureFunction != nil || r.DLQID != "" {
		t.Errorf("run %+v", r)
	}
	if a := w.do("DELETE", "/v2/workflows/runs/wfr_1", ""); string(a.body) != `{"cancelled":0}` {
		t.Errorf("second cancel answered %d %s", a.status, a.body)
	}
	f.finish("wfr_1", "1") // an ended run takes its result without complaint, and forgets it
	if r := w.run("wfr_1"); r.State != client.RunCanceled || r.Response != "" {
		t.Errorf("run %+v", r)
	}
	if !f.quiet() {
		t.Error("the endpoint of a cancelled run is called")
	}
	w.do("DELETE", "/v2/messages/"+pending, "").refused(400, "workflow run")
}

func TestCancelRuns(t *testing.T) {
	w := newWorld(t)
	trigger := func(id, url string, header ...string) {
		w.do("POST", "/v2/trigger/"+url, "", append(header, "Upstash-Delay: 1h", "Upstash-Workflow-Runid: "+id)...).into(200, &client.TriggerResponse{})
	}
	cancel := func(want int, query, body string) {
		t.Helper()
		var c client.CancelResponse
		if w.do("DELETE", "/v2/workflows/runs"+query, body).into(200, &c); c.Cancelled != want {
			t.Errorf("DELETE %s %s cancelled %d, want %d", query, body, c.Cancelled, want)
		}
	}
	for i := range 10 {
		trigger(fmt.Sprint("r", i), fmt.Sprint("https://app.example/wf/", i))
	}
	trigger("labelled", "https://other.example/", "Upstash-Label: a,b")
	cancel(0, "?workflowRunIds=unknown", "")
	cancel(2, "?workflowRunIds=r0&workflowRunIds=r1&label=ignored", "")
	cancel(0, "", `{"workflowRunIds":["r0"],"workflowUrl":"https://app.example/"}`) // never "or"
	cancel(2, "?workflowRunIds=r2,r3", "")
	cancel(0, "?workflowUrl=https://app.example/wf&workflowUrlExactMatch=true", "")
	cancel(1, "?workflowUrl=https://app.example/wf/4&workflowUrlExactMatch=true&count=100", "")
	cancel(0, "?label=c", "")
	cancel(0, "?workflowUrl=https://app.example/&label=a", "")
	cancel(1, "?label=a&label=c", "")
	cancel(0, "?callerIp=10.1.1.1", "")
	cancel(0, "?toDate=1", "")
	cancel(0, "?host=app.example&path=/wf/0/", "")
	cancel(0, "?host=app.example:80&path=/wf/5", "")
	trigger("by host", "https://host.example:444/a?b")
	cancel(0, "?host=host.example&label=a", "")
	cancel(1, "", `{"host":"host.example","path":"/a"}`)
	cancel(2, "?count=2&workflowUrl=https://app.example/", "")
	cancel(2, "", `{"workflowUrl":"https://app.example/wf/","workflowRunIds":null,"count":2}`)
	cancel(1, "", "{}")
	cancel(0, "?count=100", "")
}

// What the trigger said holds for every delivery of the run; the failure
// callback is told the initial payload.
func TestFailure(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	payload := `{"initial":"payload"}`
	init := f.trigger("wfr_1", payload, "Upstash-Retries: 1", "Upstash-Retry-Delay: 1", "Upstash-Label: l", "Upstash-Forward-User-Header: v",
		"Upstash-Failure-Callback-Forward-User-Header: v", "Upstash-Failure-Callback-Forward-Upstash-Label: l",
		"Upstash-Failure-Callback-Forward-Content-Type: text/plain", // as an SDK sends it if the payload is text
		"Upstash-Failure-Callback-Retries: 2", "Upstash-Failure-Callback-Retry-Delay: 1")
	c := f.next(init)
	id := f.append("wfr_1", run(1, "fine", "1"))[0]
	c.ok()
	c = f.next(id)
	const failure = `{"error":"Error","message":"no luck","stack":"at …"}`
	c.answer(500, failure, "Upstash-Error-Step-Name: second", "X-Fail: 1", "Content-Type: application/json")
	w.until("the step is retried", func() bool { return len(f.deliveries()) == 3 })
	r := w.run("wfr_1")
	equal(t, "retrying", shape(r), []string{"RUN_STARTED", "sequential [0 init SUCCESS]", "sequential [1 fine SUCCESS]", "next [0 second RETRY 1 errors]"})
	if e := r.Steps[2].Steps[0].Errors[0]; e.Status != 500 || e.Body != failure || !strings.Contains(e.Error, "500") || e.Headers.Get("X-Fail") != "1" || e.Time == 0 {
		t.Errorf("error %+v", e)
	}
	c = f.next(id)
	equal(t, "retried", c.prefix(), []string{init, id})
	c.answer(500, failure, "Upstash-Error-Step-Name: second", "X-Fail: 2", "Content-Type: application/json")

	cb := f.any("the failure callback is called")
	own := cb.header.Get("Upstash-Message-Id")
	for name, want := range map[string]string{
		"Upstash-Workflow-Is-Failure": "true", "Upstash-Workflow-Failure-Callback": "true", "Upstash-Workflow-Runid": "wfr_1",
		"Upstash-Workflow-Url": f.URL, "Upstash-Workflow-Init": "false", "User-Header": "v", "Upstash-Label": "l", "Content-Type": "application/json",
		"Upstash-Retried": "0",
	} {
		if got := strings.Join(cb.header[name], "|"); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	r = w.run("wfr_1")
	equal(t, "failed", shape(r), []string{"RUN_FAILED", "sequential [0 init SUCCESS]", "sequential [1 fine SUCCESS]", "next [0 second FAILED 2 errors]"})
	body := object(t, cb.body)
	for key, want := range map[string]any{
		"status": 500.0, "body": b64(failure), "url": f.URL, "method": "POST", "sourceBody": b64(payload), "retried": 1.0, "maxRetries": 1.0,
		"sourceMessageId": id, "dlqId": r.DLQID, "workflowRunId": "wfr_1", "workflowCreatedAt": float64(r.CreatedAt),
	} {
		if body[key] != want {
			t.Errorf("%s is %v, want %v", key, body[key], want)
		}
	}
	if header, _ := body["sourceHeader"].(map[string]any); fmt.Sprint(header["User-Header"]) != "[v]" {
		t.Errorf("sourceHeader is %v", body["sourceHeader"])
	}
	ff := r.FailureFunction
	if ff == nil || ff.State != client.CallbackInProgress || ff.MessageID != own || ff.URL != f.URL || ff.FailStatus != 500 || ff.FailResponse != failure ||
		ff.FailHeaders.Get("X-Fail") != "2" || ff.DLQID != r.DLQID || r.DLQID == "" || ff.MaxRetries != 2 {
		t.Errorf("failure function %+v", ff)
	}
	f.inactive("wfr_1")

	// The failure function fails once, then runs.
	cb.answer(500, "not yet")
	cb = f.next(own)
	if cb.header.Get("Upstash-Retried") != "1" {
		t.Errorf("retried as %v", cb.header)
	}
	cb.answer(200, `{"result":"handled"}`)
	w.await(own, client.EventDelivered)
	ff = w.run("wfr_1").FailureFunction
	if ff.State != client.CallbackSuccess || ff.ResponseStatus != 200 || ff.ResponseBody != `{"result":"handled"}` || len(ff.Errors) != 1 || ff.Errors[0].Body != "not yet" {
		t.Errorf("failure function %+v", ff)
	}

	// In the DLQ the run is told apart from a message.
	entries := w.dlq("?source=workflow")
	if len(entries) != 1 || len(w.dlq("?source=qstash")) != 0 {
		t.Fatalf("DLQ %+v", entries)
	}
	d := entries[0]
	if d.DLQID != r.DLQID || d.WorkflowRunID != "wfr_1" || d.WorkflowURL != f.URL || d.WorkflowCreatedAt != r.CreatedAt || d.MessageID != id ||
		d.ResponseStatus != 500 || d.ResponseBody != failure || d.FailureFunctionState != client.CallbackSuccess || d.FailureCallbackInfo == nil || d.Label != "l" {
		t.Errorf("DLQ entry %+v", d)
	}
	for query, want := range map[string]int{
		"?workflowRunId=wfr_1": 1, "?workflowRunId=wfr_2": 0, "?workflowRunId=wfr_2,wfr_1": 1, "?workflowUrl=" + f.URL: 1, "?workflowUrl=http": 0,
		fmt.Sprint("?workflowCreatedAt=", r.CreatedAt): 1, fmt.Sprint("?workflowCreatedAt=", r.CreatedAt+1): 0,
		"?failureFunctionState=CALLBACK_SUCCESS": 1, "?failureFunctionState=CALLBACK_FAIL": 0, "?failureCallbackState=CALLBACK_SUCCESS": 1, "?label=l": 1, "?responseStatus=500": 1,
	} {
		if got := w.dlq(query); len(got) != want {
			t.Errorf("%s: %d entries, want %d", query, len(got), want)
		}
	}
	w.do("GET", "/v2/dlq?failureFunctionState=LOST", "").refused(400, "failureFunctionState")
	w.do("POST", "/v2/dlq/retry/"+d.DLQID, "").refused(400, "workflow run")
	if a := w.do("POST", "/v2/dlq/retry?dlqIds="+d.DLQID, ""); string(a.body) != `{"responses":[]}` {
		t.Errorf("bulk retry of a run: %s", a.body)
	}
	w.do("DELETE", "/v2/dlq/"+d.DLQID, "").into(200, &client.DLQDeleteResponse{})
	if !f.quiet() {
		t.Error("a failed run is called")
	}
}

// Answers decide how a run fails: at once, later, or not at all.
func TestFailureAnswers(t *testing.T) {
	w := newWorld(t)
	t.Run("non-retryable", func(t *testing.T) {
		w := w.in(t)
		f := w.flow()
		f.next(f.trigger("wfr_489", "")).answer(489, `{"error":"WorkflowNonRetryableError","message":"no"}`, "Upstash-NonRetryable-Error: true")
		f.any("the failure callback").answer(200, "", "Upstash-Workflow-Failure-Callback-Notfound: true")
		r := w.awaitRun("wfr_489", client.RunFailed)
		equal(t, "failed", shape(r), []string{"RUN_FAILED", "sequential [0 init SUCCESS]", "next [0 FAILED 1 errors]"})
		if e := r.Steps[1].Steps[0].Errors[0]; e.Status != 489 {
			t.Errorf("error %+v", e)
		}
		w.until("nobody listens to the failure", func() bool { return w.run("wfr_489").FailureFunction == nil })
	})
	t.Run("retry after", func(t *testing.T) {
		w := w.in(t)
		f := w.flow()
		id := f.trigger("wfr_429", "")
		f.next(id).answer(429, "", "Retry-After: 1h")
		if got := w.nextDue(id); got < 59*time.Minute || got > 61*time.Minute {
			t.Errorf("retried after %v", got)
		}
		r := w.run("wfr_429")
		equal(t, "waiting", shape(r), []string{"RUN_STARTED", "sequential [0 init SUCCESS]", "next [0 RETRY 1 errors]"})
		if s := r.Steps[1].Steps[0]; s.NextDeliveryTime < time.Now().Add(time.Minute).UnixMilli() || s.MessageID != id {
			t.Errorf("next %+v", s)
		}
		w.do("DELETE", "/v2/workflows/runs/wfr_429", "").into(200, &client.CancelResponse{})
		equal(t, "cancelled", shape(w.run("wfr_429")), []string{"RUN_CANCELED", "sequential [0 init SUCCESS]", "next [0 CANCELED 1 errors]"})
	})
	t.Run("without a failure callback", func(t *testing.T) {
		w := w.in(t)
		f := w.flow()
		f.next(f.trigger("wfr_plain", "", "Upstash-Failure-Callback: ", "Upstash-Retries: 0")).answer(400, "no")
		r := w.awaitRun("wfr_plain", client.RunFailed)
		if r.FailureFunction != nil || r.DLQID == "" {
			t.Errorf("run %+v", r)
		}
	})
	t.Run("failure function fails", func(t *testing.T) {
		w := w.in(t)
		f := w.flow()
		f.next(f.trigger("wfr_fail", "", "Upstash-Retries: 0", "Upstash-Failure-Callback-Retries: 0")).answer(500, "no")
		f.any("the failure callback").answer(500, "neither")
		w.until("the callback has failed", func() bool {
			r := w.run("wfr_fail")
			return r.FailureFunction != nil && r.FailureFunction.State == client.CallbackFail
		})
		if ff := w.run("wfr_fail").FailureFunction; len(ff.Errors) != 1 || ff.Errors[0].Body != "neither" || ff.ResponseStatus != 500 {
			t.Errorf("failure function %+v", ff)
		}
		if d := w.dlq("?source=workflow&order=latestFirst&count=1"); d[0].WorkflowRunID != "wfr_fail" || d[0].FailureFunctionState != client.CallbackFail {
			t.Errorf("DLQ entry %+v", d[0])
		}
	})
	t.Run("no answer", func(t *testing.T) {
		w := w.in(t)
		f := w.flow()
		c := f.next(f.trigger("wfr_cut", "", "Upstash-Retries: 0"))
		c.reply <- func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
		cb := f.any("the failure callback")
		var told struct {
			Status int
			Body   []byte
		}
		var reason struct{ Message string }
		if json.Unmarshal(cb.body, &told) != nil || told.Status != 0 || json.Unmarshal(told.Body, &reason) != nil || !strings.Contains(reason.Message, "EOF") {
			t.Errorf("failure callback %s", cb.body)
		}
		cb.ok()
	})
}

// One branch that fails ends the run; its siblings' deliveries are dropped.
// What official clients index is there when there was no response: objects, and
// no null.
func TestFailureWithoutResponse(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	f.URL = "http://127.0.0.1:1/gone"
	f.trigger("wfr_1", "", "Upstash-Retries: 0", "Upstash-Failure-Callback-Retries: 0")
	w.awaitFailure("wfr_1", client.CallbackFail)
	a := w.do("GET", "/v2/workflows/logs?workflowRunId=wfr_1", "")
	for text, n := range map[string]int{`"headers":{}`: 2, `"failHeaders":{}`: 1, ":null": 0} {
		if strings.Count(string(a.body), text) != n {
			t.Errorf("want %d times %s in %s", n, text, a.body)
		}
	}
	if a := w.do("GET", "/v2/workflows/logs?workflowRunId=wfr_2", ""); string(a.body) != `{"cursor":"","runs":[]}` {
		t.Errorf("an empty page is %s", a.body)
	}
}

func TestFailureOfABranch(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	c := f.next(f.trigger("wfr_1", "", "Upstash-Retries: 0", "Upstash-Failure-Callback: "))
	p := f.append("wfr_1", plan(1, "a", "Run", 2), plan(2, "z", "SleepFor", 2, "Upstash-Delay: 1h"))
	c.ok()
	f.next(p[0]).answer(489, "no", "Upstash-NonRetryable-Error: true")
	r := w.awaitRun("wfr_1", client.RunFailed)
	equal(t, "history", shape(r), []string{"RUN_FAILED", "sequential [0 init SUCCESS]", "parallel [1 a FAILED 1 errors] [2 z CANCELED]"})
	if e := r.Steps[1].Steps[0].Errors[0]; e.Status != 489 {
		t.Errorf("error %+v", e)
	}
	equal(t, "sibling", w.states(p[1]), []client.EventState{"CREATED", "CANCEL_REQUESTED", "CANCELED"})
}

// Triggers that reach something else than a workflow fail at once.
func TestDetection(t *testing.T) {
	const notAWorkflow = "detected a non-workflow destination for trigger/invoke. make sure you are sending the request to the correct endpoint"
	const tooOld = "trigger rest api is only usable with sdk versions after v1.0.0 major version"
	noVersion := []string{"Upstash-Workflow-Sdk-Version: ", "Upstash-Workflow-Sdk: "}
	noSDK := []string{"Upstash-Workflow-Sdk: "}
	for name, test := range map[string]struct {
		viaTrigger bool
		features   string
		header     []string // of the endpoint's answer
		want       string   // "": the run goes on
	}{
		"SDK client, other destination":         {false, features, noVersion, notAWorkflow},
		"SDK client, workflow":                  {false, features, nil, ""},
		"SDK client, older workflow":            {false, features, noSDK, ""},
		"client that did not ask":               {false, "LazyFetch,InitialBody", noVersion, ""},
		"REST trigger, workflow":                {true, "", nil, ""},
		"REST trigger, other destination":       {true, "", noVersion, notAWorkflow},
		"REST trigger, SDK without its version": {true, "", noSDK, tooOld},
		"REST trigger, SDK before 1.0":          {true, "", []string{"Upstash-Workflow-Sdk: v0.2.22"}, tooOld},
		"REST trigger, SDK 1.0.0":               {true, "", []string{"Upstash-Workflow-Sdk: v1.0.0"}, ""},
		"REST trigger, SDK 12":                  {true, "", []string{"Upstash-Workflow-Sdk: v12.0.0"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f := w.flow()
			if test.viaTrigger {
				w.do("POST", "/v2/trigger/"+f.URL, "x", "Upstash-Workflow-Runid: wfr_1").into(200, &client.TriggerResponse{})
			} else {
				f.trigger("wfr_1", "x", "Upstash-Feature-Set: "+test.features)
			}
			f.any("the trigger").answer(200, "what is this", test.header...)
			if test.want == "" {
				w.until("the trigger is delivered", func() bool { return len(w.events("?state=DELIVERED")) == 1 })
				if r := w.run("wfr_1"); r.State != client.RunStarted {
					t.Errorf("run %s", r.State)
				}
				return
			}
			f.any("the failure callback").ok()
			r := w.awaitRun("wfr_1", client.RunFailed)
			equal(t, "failed", shape(r), []string{"RUN_FAILED", "sequential [0 init SUCCESS]", "next [0 FAILED 1 errors]"})
			if e := r.Steps[1].Steps[0].Errors[0]; e.Error != test.want || e.Body != "what is this" || e.Status != 200 {
				t.Errorf("error %+v", e)
			}
		})
	}
}

// The REST trigger asks for what an SDK would ask for: the endpoint itself is
// the failure callback, with the user's headers.
func TestTrigger(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	var p client.TriggerResponse
	w.do("POST", "/v2/trigger/"+f.URL+"/wf?a=b", "raw \x00 body", "Content-Type: text/plain", "Upstash-Forward-User-Header: v", "Upstash-Retries: 0", "Upstash-Label: a, b",
		"Upstash-Retry-Delay: 1234", "Upstash-Flow-Control-Key: trigger", "Upstash-Flow-Control-Value: parallelism=2,period=1m").into(200, &p)
	if !strings.HasPrefix(p.WorkflowRunID, "wfr_") || p.WorkflowCreatedAt == 0 || p.Deduplicated {
		t.Fatalf("triggered %+v", p)
	}
	c := f.any("the trigger")
	if c.url != f.URL+"/wf?a=b" || c.header.Get("User-Header") != "v" || c.header.Get("Content-Type") != "text/plain" || c.header.Get("Upstash-Workflow-Sdk-Version") != "1" ||
		c.header.Get("Upstash-Label") != "a,b" ||
		c.header.Get("Upstash-Workflow-Runid") != p.WorkflowRunID || c.header.Get("Upstash-Workflow-Url") != f.URL+"/wf?a=b" ||
		c.header.Get("Upstash-Workflow-Createdat") != fmt.Sprint(p.WorkflowCreatedAt) || string(c.log()[0].Body) != "raw \x00 body" {
		t.Errorf("delivered %s %v %s", c.url, c.header, c.body)
	}
	var again client.TriggerResponse
	w.do("POST", "/v2/trigger/"+f.URL, "", "Upstash-Workflow-Runid: "+p.WorkflowRunID).into(200, &again)
	if !again.Deduplicated || again.WorkflowRunID != p.WorkflowRunID || again.WorkflowCreatedAt != p.WorkflowCreatedAt {
		t.Errorf("triggered again: %+v", again)
	}
	c.answer(500, `{"message":"no"}`)
	cb := f.any("the failure callback")
	if cb.url != f.URL+"/wf?a=b" || cb.header.Get("User-Header") != "v" || cb.header.Get("Upstash-Workflow-Is-Failure") != "true" ||
		cb.header.Get("Upstash-Workflow-Failure-Callback") != "true" || cb.header.Get("Content-Type") != "application/json" || cb.header.Get("Upstash-Label") != "a,b" || object(t, cb.body)["sourceBody"] != b64("raw \x00 body") {
		t.Errorf("failure callback %s %v %s", cb.url, cb.header, cb.body)
	}
	m := get[client.Message](w, "/v2/messages/"+cb.header.Get("Upstash-Message-Id"))
	if m.MaxRetries != 0 || m.RetryDelayExpression != "1234" || m.FlowControlKey != "trigger" || m.Parallelism != 2 || m.Rate != 0 || m.Period != 60 {
		t.Errorf("settings of the failure callback: %+v", m)
	}
	cb.ok()

	// Labels that are forwarded by name stay as they are.
	w.do("POST", "/v2/batch/trigger", `[{"destination":"`+f.URL+`","headers":{"Upstash-Label":"a","Upstash-Forward-Upstash-Label":"c"}},
		{"destination":"`+f.URL+`","headers":{"upstash-label":"a"}}]`).into(201, &[]client.TriggerResponse{})
	told := []string{}
	for range 2 {
		c := f.any("a trigger of the batch")
		told = append(told, c.header.Get("Upstash-Label"))
		c.ok()
	}
	slices.Sort(told)
	equal(t, "labels", told, []string{"a", "c"})

	// One that was asked for wins.
	other := w.endpoint(nil)
	w.do("POST", "/v2/trigger/"+f.URL, "", "Upstash-Failure-Callback: "+other.URL, "Upstash-Retries: 0").into(200, &p)
	f.any("the trigger").answer(500, "no")
	other.await(1)
}

// The run of an endpoint whose SDK is not known is started by its own words:
// it is called, triggers itself with what it wants forwarded, and is called
// again. What the first trigger configured stays.
func TestUnknownSDKHandshake(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	var p client.TriggerResponse
	w.do("POST", "/v2/trigger/"+f.URL, "payload", "Upstash-Workflow-Unknown-Sdk: true", "Upstash-Workflow-Runid: wfr_1",
		"Upstash-Retries: 0", "Upstash-Forward-First: 1").into(200, &p)
	c := f.any("the handshake")
	if c.header.Get("Upstash-Workflow-Unknown-Sdk") != "true" || string(c.log()[0].Body) != "payload" || c.header.Get("First") != "1" {
		t.Errorf("handshake %v %s", c.header, c.body)
	}
	again := f.triggerAnswer("wfr_1", "payload", "Upstash-Workflow-Trigger-By-Sdk: true", "Upstash-Forward-Second: 2", "Upstash-Failure-Callback: ")
	if again.Deduplicated {
		t.Error("the handshake was taken for a duplicate")
	}
	c.ok()
	c = f.next(again.MessageID)
	if _, ok := c.header["Upstash-Workflow-Unknown-Sdk"]; ok || c.header.Get("Second") != "2" || c.header.Get("First") != "" || c.header.Get("Upstash-Workflow-Init") != "true" {
		t.Errorf("called again with %v", c.header)
	}
	if log := c.log(); len(log) != 1 || string(log[0].Body) != "payload" || log[0].MessageID != again.MessageID {
		t.Errorf("called again with %s", c.body)
	}
	id := f.append("wfr_1", run(1, "s", "1"))[0]
	c.ok()
	c = f.next(id)
	if c.header.Get("Second") != "2" || c.header.Get("Upstash-Workflow-Createdat") != fmt.Sprint(p.WorkflowCreatedAt) {
		t.Errorf("step delivered with %v", c.header)
	}
	c.answer(500, "no") // retries and failure callback are the first trigger's
	f.any("the failure callback").ok()
	w.awaitRun("wfr_1", client.RunFailed)

	// What becomes of the second call is the run's, and it is cancelled with it.
	for _, id := range []string{"wfr_2", "wfr_3"} {
		w.do("POST", "/v2/trigger/"+f.URL, "payload", "Upstash-Workflow-Unknown-Sdk: true", "Upstash-Workflow-Runid: "+id).into(200, &p)
		c = f.any("the handshake")
		again = f.triggerAnswer(id, "payload", "Upstash-Workflow-Trigger-By-Sdk: true", "Upstash-Retry-Delay: 3600000")
		c.ok()
		c = f.next(again.MessageID)
		if id == "wfr_2" {
			c.answer(489, "never", "Upstash-NonRetryable-Error: true")
			f.any("the failure callback").ok()
			r := w.awaitFailure(id, client.CallbackSuccess)
			equal(t, "failed", shape(r), []string{"RUN_FAILED", "sequential [0 init SUCCESS]", "next [0 FAILED 1 errors]"})
			if ff := r.FailureFunction; ff.FailStatus != 489 || ff.FailResponse != "never" {
				t.Errorf("failure function %+v", ff)
			}
			continue
		}
		c.answer(500, "later")
		w.await(again.MessageID, client.EventRetry)
		w.do("DELETE", "/v2/workflows/runs/"+id, "").into(200, &client.CancelResponse{})
		w.await(again.MessageID, client.EventCanceled)
		equal(t, "cancelled", shape(w.run(id)), []string{"RUN_CANCELED", "sequential [0 init SUCCESS]", "next [0 CANCELED 1 errors]"})
	}
}

// An active run's id is taken; an ended one's is free. Runs of one id are told
// apart by their start.
func TestRunIDs(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	first := f.triggerAnswer("wfr_1", "1")
	if dup := f.triggerAnswer("wfr_1", "2"); !dup.Deduplicated || dup.MessageID != first.MessageID {
		t.Errorf("triggered twice: %+v", dup)
	}
	f.next(first.MessageID).ok()
	f.finish("wfr_1", "")
	w.await(first.MessageID, client.EventDelivered)
	second := f.triggerAnswer("wfr_1", "3")
	if second.Deduplicated {
		t.Error("the id of an ended run is taken")
	}
	if log := f.next(second.MessageID).log(); len(log) != 1 || string(log[0].Body) != "3" {
		t.Errorf("log %+v", log)
	}
	runs := w.runs("?workflowRunId=wfr_1")
	if len(runs) != 2 || runs[0].State != client.RunStarted || runs[1].State != client.RunSuccess {
		t.Fatalf("runs %+v", runs)
	}
	for i, r := range runs {
		at := fmt.Sprint(r.CreatedAt)
		for _, query := range []string{"?workflowRunId=wfr_1&workflowCreatedAt=" + at, "?workflowRuns=wfr_1@" + at + ",none@1"} {
			if got := w.runs(query); len(got) != 1 || got[0].State != runs[i].State {
				t.Errorf("%s: %d runs", query, len(got))
			}
		}
	}
}

// A log that is too large to be read at once is answered in one piece all the same.
func TestLargeRunLog(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	want := []string{strings.Repeat("\x00", 1<<20)}
	ids := []string{f.trigger("wfr_1", want[0])}
	f.next(ids[0]).ok()
	for i := 1; i <= 12; i++ {
		s := run(i, "s", strings.Repeat("x", i*16<<10))
		if i == 6 {
			s = run(i, "s", strings.Repeat("x", 3<<20))
		}
		want, ids = append(want, s.body), append(ids, f.append("wfr_1", s)...)
	}
	a := w.do("GET", "/v2/workflows/runs/wfr_1", "")
	var log []client.LogEntry
	a.into(200, &log)
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("header %v", a.header)
	}
	if len(log) != len(want) {
		t.Fatalf("%d entries, want %d", len(log), len(want))
	}
	for i, entry := range log {
		if string(entry.Body) != want[i] || entry.MessageID != ids[i] || entry.CallType != "step" {
			t.Errorf("entry %d: %s, %s, %d bytes", i, entry.MessageID, entry.CallType, len(entry.Body))
		}
	}
}

// A log above the threshold is not sent: the endpoint fetches it.
func TestLazyFetch(t *testing.T) {
	w := newLimitedWorld(t, engine.Limits{LazyThreshold: 2000})
	f := w.flow()
	large := strings.Repeat("x", 3000)
	init := f.trigger("wfr_1", large)
	c := f.next(init)
	if len(c.body) != 0 { // the endpoint has checked that the signature is for this
		t.Errorf("delivered %d bytes", len(c.body))
	}
	if log := get[[]client.LogEntry](w, "/v2/workflows/runs/wfr_1"); len(log) != 1 || log[0].MessageID != init || string(log[0].Body) != large {
		t.Errorf("fetched %d entries", len(log))
	}
	third := w.endpoint(nil)
	f.call("wfr_1", 1, "ask", third.URL)
	c.ok()
	from := f.any("the call's outcome")
	if object(t, from.body)["status"] != 200.0 {
		t.Errorf("a call's outcome is %q", from.body)
	}
	from.answer(489, `{"message":"no"}`, "Upstash-NonRetryable-Error: true")
	if cb := f.any("the failure callback"); object(t, cb.body)["sourceBody"] != b64(large) {
		t.Errorf("failure callback of %d bytes", len(cb.body))
	}

	// Who did not offer to fetch is sent everything, and so is the Python SDK, which
	// offers it and can't. An endpoint knows more of itself than who started the run.
	const python = "LazyFetch,InitialBody"
	for i, test := range []struct{ trigger, step string }{{"InitialBody", ""}, {python, ""}, {python, python}, {python, features}, {features, python}} {
		id := fmt.Sprint("wfr_other_", i)
		c = f.next(f.trigger(id, large, "Upstash-Feature-Set: "+test.trigger))
		if test.trigger != features && string(c.log()[0].Body) != large {
			t.Errorf("%+v: started with %d bytes", test, len(c.body))
		}
		c.ok()
		one := run(1, "one", "1")
		one.header = []string{"Upstash-Feature-Set: " + test.step}
		c = f.next(f.append(id, one)[0])
		if whole := len(c.body) > len(large); whole != (test.step != features) {
			t.Errorf("%+v: went on with %d bytes", test, len(c.body))
		}
		c.ok()
	}
	// Who started the run may speak for another SDK than the endpoint's: where an
	// attempt has failed, the next one carries the payload, and the one after it not.
	init = f.trigger("wfr_2", large, "Upstash-Retries: 3", "Upstash-Retry-Delay: 1")
	for retried, whole := range []bool{false, true, false, true} {
		c = f.next(init)
		if got := len(c.body) > len(large); got != whole {
			t.Errorf("attempt %d has %d bytes", retried, len(c.body))
		}
		if retried < 3 {
			c.answer(500, `{"message":"Only first call can have an empty body"}`)
		}
	}
	if log := c.log(); string(log[0].Body) != large {
		t.Errorf("delivered %d entries", len(log))
	}
	c.ok()
	c = f.next(f.trigger("wfr_3", "small"))
	if log := c.log(); string(log[0].Body) != "small" {
		t.Errorf("delivered %d entries", len(log))
	}
}

func TestRunFilters(t *testing.T) {
	w := newWorld(t)
	var created []int64
	var first client.PublishResponse
	for i, url := range []string{"https://a.example/wf", "https://a.example/wf", "https://b.example/"} {
		var p client.TriggerResponse
		w.do("POST", "/v2/trigger/"+url, "", "Upstash-Delay: 1h", fmt.Sprintf("Upstash-Label: l%d,all", i), fmt.Sprint("Upstash-Workflow-Runid: r", i)).into(200, &p)
		created = append(created, p.WorkflowCreatedAt)
	}
	first.MessageID = get[[]client.LogEntry](w, "/v2/workflows/runs/r0")[0].MessageID
	w.do("DELETE", "/v2/workflows/runs/r1", "").into(200, &client.CancelResponse{})
	for query, want := range map[string]string{
		"":                                          "r2 r1 r0",
		"?workflowUrl=https://a.example/wf":         "r1 r0",
		"?workflowUrl=https://a.example/":           "",
		"?label=l0":                                 "r0",
		"?label=l0,l2":                              "r2 r0",
		"?state=RUN_CANCELED":                       "r1",
		"?state=RUN_STARTED&label=all":              "r2 r0",
		"?messageId=" + first.MessageID:             "r0",
		"?messageId=msg_unknown":                    "",
		"?workflowRunId=unknown":                    "",
		"?callerIp=127.0.0.1":                       "r2 r1 r0",
		"?flowControlKey=k":                         "",
		"?count=1":                                  "r2",
		fmt.Sprint("?fromDate=", created[2]+60_000): "",
		fmt.Sprint("?toDate=", created[0]-1):        "",
		"?fromDate=4102444800000":                   "",
		"?toDate=4102444800000":                     "r2 r1 r0",
		"?fromDate=9223372036854775807":             "",
		"?groupBy=workflowRunId&trimBody=0&unknown=accepted": "r2 r1 r0",
	} {
		var got []string
		for _, r := range w.runs(query) {
			got = append(got, r.WorkflowRunID)
		}
		if list := strings.Join(got, " "); list != want {
			t.Errorf("%s: %q, want %q", query, list, want)
		}
	}
	var got []string
	for cursor := ""; ; {
		page := get[client.RunsPage](w, "/v2/workflows/logs?count=1"+cursor)
		for _, r := range page.Runs {
			got = append(got, r.WorkflowRunID)
		}
		if page.Cursor == "" {
			break
		}
		cursor = "&cursor=" + page.Cursor
	}
	equal(t, "pages", got, []string{"r2", "r1", "r0"})
	for range 10 {
		w.do("POST", "/v2/trigger/https://a.example/wf", "", "Upstash-Delay: 1h").into(200, &client.TriggerResponse{})
	}
	if n := len(w.runs("")); n != 10 {
		t.Errorf("%d runs on a page by default", n)
	}
}

// Older SDKs configure each step by itself: what a message says wins over what
// the run's start said. They also send every field, with null for none.
func TestSettingsOfAStep(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	failure := w.endpoint(nil)
	c := f.next(f.trigger("wfr_1", "payload", "Upstash-Retries: 9", "Upstash-Label: run", "Upstash-Forward-User-Header: run"))
	id := f.append("wfr_1", step{
		`{"stepId":1,"stepName":"s","stepType":"Run","out":null,"sleepFor":null,"sleepUntil":null,"concurrent":1,"targetStep":null,"callUrl":null,"callMethod":null,"callBody":null,"callHeaders":null,"waitEventId":null,"timeout":null,"method":"POST"}`,
		[]string{"Upstash-Retries: 0", "Upstash-Label: step", "Upstash-Forward-User-Header: step", "Upstash-Failure-Callback: " + failure.URL,
			"Upstash-Failure-Callback-Forward-Upstash-Workflow-Is-Failure: true", "Upstash-Timeout: 20"},
	})[0]
	c.ok()
	c = f.next(id)
	if c.header.Get("User-Header") != "step" {
		t.Errorf("delivered with %v", c.header)
	}
	if m := get[client.Message](w, "/v2/messages/"+id); m.MaxRetries != 0 || m.Label != "step" {
		t.Errorf("message %+v", m)
	}
	c.answer(500, "no")
	if d := failure.await(1)[0]; object(t, d.body)["sourceBody"] != b64("payload") || d.header.Get("Upstash-Workflow-Runid") != "wfr_1" {
		t.Errorf("failure callback %v %s", d.header, d.body)
	}
	equal(t, "failed", shape(w.awaitRun("wfr_1", client.RunFailed)), []string{"RUN_FAILED", "sequential [0 init SUCCESS]", "sequential [1 s SUCCESS]", "next [0 FAILED 1 errors]"})
}

// What the start of a run configured holds for each of its deliveries, however it
// came about, and each is known by the same headers. A third party learns nothing.
func TestSettingsOfARun(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	third := w.endpoint(nil)
	settings := []string{"Upstash-Retries: 7", "Upstash-Retry-Delay: 1234", "Upstash-Label: l", "Upstash-Forward-User-Header: v",
		"Upstash-Flow-Control-Key: of the run", "Upstash-Flow-Control-Value: parallelism=2", "Upstash-Forward-Upstash-Message-Id: msg_forged",
		"Upstash-Forward-Upstash-Retried: 9", "Upstash-Forward-Upstash-Workflow-Createdat: 1", "Upstash-Forward-Upstash-Signature: forged"}
	init := f.trigger("wfr_1", "payload", settings...)
	createdAt := fmt.Sprint(w.run("wfr_1").CreatedAt)
	same := func(c *call, first bool) {
		t.Helper()
		id := c.header.Get("Upstash-Message-Id")
		for name, want := range map[string]string{
			"User-Header": "v", "Upstash-Retried": "0", "Upstash-Workflow-Runid": "wfr_1", "Upstash-Workflow-Url": f.URL,
			"Upstash-Workflow-Createdat": createdAt, "Upstash-Workflow-Init": fmt.Sprint(first), "Content-Type": "application/json",
		} {
			if got := strings.Join(c.header[name], "|"); got != want {
				t.Errorf("%s of %s is %q, want %q", name, id, got, want)
			}
		}
		if c.header.Get("Upstash-Signature") == "forged" || c.header.Get("Upstash-Signature") == "" {
			t.Errorf("signature of %s: %q", id, c.header["Upstash-Signature"])
		}
		m := get[client.Message](w, "/v2/messages/"+id)
		if m.MaxRetries != 7 || m.RetryDelayExpression != "1234" || m.FlowControlKey != "of the run" || m.Parallelism != 2 || m.Label != "l" {
			t.Errorf("message %s has other settings: %+v", id, m)
		}
	}
	logged := func(c *call, first bool) {
		t.Helper()
		same(c, first)
		if ids := c.prefix(); ids[len(ids)-1] != c.header.Get("Upstash-Message-Id") || c.header.Get("Upstash-Workflow-Sdk-Version") != "1" {
			t.Errorf("the log ends in %v, delivered with %v", ids, c.header)
		}
	}
	c := f.next(init)
	logged(c, true)
	id := f.append("wfr_1", run(1, "step", "1"))[0]
	c.ok()
	c = f.next(id)
	logged(c, false)
	f.waits("wfr_1", "e", 2, 1, "Wait", "1h")
	c.ok()
	c = f.next(w.notify("e", "told")[0].MessageID)
	logged(c, false)
	f.waits("wfr_1", "e", 3, 1, "Wait", "1s")
	c.ok()
	c = f.any("the timeout")
	if s := c.last(); s.StepID != 3 || !s.WaitTimeout {
		t.Errorf("step %+v", s)
	}
	logged(c, false)

	body := fmt.Sprintf(`{"headers":{"Upstash-Workflow-Init":["false"],"Upstash-Workflow-RunId":["wfr_1"],"Upstash-Workflow-Url":[%q]},"workflowRunId":"wfr_1",`+
		`"workflowUrl":%q,"step":{"stepId":4,"stepName":"child","stepType":"Invoke","concurrent":1}}`, f.URL, f.URL)
	child := f.triggerAnswer("wfr_child", body, "Upstash-Workflow-Invoke: true").MessageID
	c.ok()
	c = f.next(child)
	f.finish("wfr_child", "1")
	c.ok()
	c = f.any("the result of the child")
	if s := c.last(); s.StepID != 4 || s.StepType != "Invoke" {
		t.Errorf("step %+v", s)
	}
	logged(c, false)

	f.call("wfr_1", 5, "call", third.URL)
	c.ok()
	got := third.await(1)[0]
	m := get[client.Message](w, "/v2/messages/"+got.header.Get("Upstash-Message-Id"))
	if got.header.Get("User-Header") != "" || m.MaxRetries != 0 || m.RetryDelayExpression != "" || m.FlowControlKey != "" {
		t.Errorf("third party: %v, %+v", got.header, m)
	}
	c = f.any("the outcome of the call")
	same(c, false)
	if _, ok := c.header["Upstash-Workflow-Sdk-Version"]; ok {
		t.Errorf("a fromCallback has Upstash-Workflow-Sdk-Version: %v", c.header)
	}
	c.ok()
}

// A call among parallel steps stands in its group from its plan to its result.
func TestParallelCall(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	held := w.gate()
	third := w.endpoint(func(rw http.ResponseWriter, _ *delivery) {
		held.pass()
		rw.WriteHeader(http.StatusTeapot)
	})
	init := f.trigger("wfr_1", "")
	c := f.next(init)
	p := f.append("wfr_1", plan(1, "ask", "Call", 2), plan(2, "b", "Run", 2))
	c.ok()
	c = f.next(p[0])
	to := f.call("wfr_1", 1, "ask", third.URL, "Upstash-Callback-Forward-Upstash-Workflow-Concurrent: 2")
	c.ok()
	w.await(p[0], client.EventDelivered)
	c = f.next(p[1])
	r2 := f.append("wfr_1", result(2, "b", "Run", 2))[0]
	c.ok()
	f.next(r2).ok()
	w.await(r2, client.EventDelivered)
	r := w.run("wfr_1")
	equal(t, "under way", shape(r), []string{"RUN_STARTED", "sequential [0 init SUCCESS]", "parallel [1 ask PROGRESS] [2 b SUCCESS]"})
	if s := r.Steps[1].Steps[0]; s.CallURL != third.URL || s.CallBody != "to the third party" || s.StepType != "Call" || s.Concurrent != 2 {
		t.Errorf("call %+v", s)
	}
	held.release()
	from := f.any("the call's outcome")
	fromID := from.header.Get("Upstash-Message-Id")
	if from.header.Get("Upstash-Workflow-Concurrent") != "2" || object(t, from.body)["status"] != 418.0 {
		t.Errorf("outcome %v %s", from.header, from.body)
	}
	r1 := f.append("wfr_1", step{body: `{"stepId":1,"stepName":"ask","stepType":"Call","out":"{\"status\":418,\"body\":\"\",\"header\":{}}","concurrent":2}`})[0]
	from.ok()
	last := f.next(r1)
	equal(t, "log", last.prefix(), []string{init, p[0], p[1], to, r2, fromID, r1})
	last.ok()
	f.finish("wfr_1", "")
	r = w.run("wfr_1")
	equal(t, "history", shape(r), []string{"RUN_SUCCESS", "sequential [0 init SUCCESS]", "parallel [1 ask SUCCESS] [2 b SUCCESS]"})
	if s := r.Steps[1].Steps[0]; s.CallResponseStatus != 418 || s.CallURL != third.URL {
		t.Errorf("call %+v", s)
	}
}

// The outcome of a call that can't be reported fails the run like a step does.
func TestCallReportFails(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	third := w.endpoint(nil)
	c := f.next(f.trigger("wfr_1", "payload", "Upstash-Retries: 0"))
	f.call("wfr_1", 1, "ask", third.URL, "Upstash-Retries: 5")
	c.ok()
	f.any("the call's outcome").answer(500, "no")
	if cb := f.any("the failure callback"); cb.header.Get("Upstash-Workflow-Is-Failure") != "true" || object(t, cb.body)["sourceBody"] != b64("payload") {
		t.Errorf("failure callback %v %s", cb.header, cb.body)
	}
	equal(t, "failed", shape(w.awaitRun("wfr_1", client.RunFailed)), []string{"RUN_FAILED", "sequential [0 init SUCCESS]", "sequential [1 ask FAILED 1 errors]"})
}
