package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

const nonRetryable = "Upstash-NonRetryable-Error: true"

func (w *world) resume(id, body string, header ...string) (ref client.RunRef) {
	w.t.Helper()
	w.do("POST", "/v2/workflows/dlq/resume/"+id, body, header...).into(200, &ref)
	if ref.WorkflowCreatedAt == 0 || !strings.HasPrefix(ref.WorkflowRunID, "wfr_") {
		w.t.Fatalf("resumed as %+v", ref)
	}
	return ref
}

// failed is the DLQ id of a run that is failing.
func (w *world) failed(run string) string {
	w.t.Helper()
	id := w.awaitRun(run, client.RunFailed).DLQID
	if id == "" {
		w.t.Fatalf("run %s failed without an entry", run)
	}
	return id
}

// A branch of a parallel group fails the run. Its siblings are where they were
// when it goes on: what is done stays, what was not is asked for again.
func TestResumeParallel(t *testing.T) {
	w := newWorld(t)
	third := w.gate()
	called := w.endpoint(func(rw http.ResponseWriter, d *delivery) {
		if d.header.Get("Upstash-Retried") == "0" {
			third.pass()
		}
		answers("pong", nil, 200)(rw, d)
	})
	f := w.flow()
	init := f.trigger("wfr_1", `{"n":1}`, "Upstash-Retries: 0", "Upstash-Flow-Control-Key: k", "Upstash-Flow-Control-Value: parallelism=10",
		"Upstash-Failure-Callback: ", "Upstash-Label: l")
	c := f.next(init)
	plans := f.append("wfr_1", plan(1, "quick", "Run", 3), plan(2, "call", "Call", 3), plan(3, "broken", "Run", 3))
	c.ok()
	quick, call, broken := f.next(plans[0]), f.next(plans[1]), f.next(plans[2])
	done := f.append("wfr_1", result(1, "quick", "Run", 3))[0]
	quick.ok()
	f.next(done).ok()
	request := f.call("wfr_1", 2, "call", called.URL, "upstash-callback-forward-upstash-workflow-concurrent: 3")
	call.ok()
	w.wait(third.reached, "the call")
	broken.answer(489, `{"error":"E","message":"no"}`, nonRetryable)
	id := w.failed("wfr_1")
	equal(t, "failed", shape(w.run("wfr_1")), []string{"RUN_FAILED", "sequential [0 init SUCCESS]",
		"parallel [1 quick SUCCESS] [2 call CANCELED] [3 broken FAILED 1 errors]"})
	if e := w.run("wfr_1").Steps[1].Steps[2].Errors[0]; e.Status != 489 || e.Body != `{"error":"E","message":"no"}` {
		t.Errorf("error %+v", e)
	}

	ref := w.resume(id, "")
	third.release() // whose outcome comes too late for the first run
	again := f.next(idOf(w, ref.WorkflowRunID, 3))
	if again.header.Get("Upstash-Workflow-Runid") != ref.WorkflowRunID || again.header.Get("Upstash-Workflow-Createdat") != fmt.Sprint(ref.WorkflowCreatedAt) {
		t.Errorf("delivered with %v", again.header)
	}
	log := again.log()
	if len(log) != 4 || log[0].MessageID != init || log[1].MessageID != plans[0] || log[3].MessageID == plans[2] {
		t.Errorf("delivered %+v", log)
	}
	last := f.append(ref.WorkflowRunID, result(3, "broken", "Run", 3))[0]
	again.ok()
	f.next(last).ok()
	report := f.any("the outcome of the call")
	if report.header.Get("Upstash-Workflow-Runid") != ref.WorkflowRunID || report.header.Get("Upstash-Workflow-Stepid") != "2" {
		t.Errorf("reported with %v", report.header)
	}
	end := f.append(ref.WorkflowRunID, result(2, "call", "Call", 3))[0]
	report.ok()
	c = f.next(end)
	f.finish(ref.WorkflowRunID, `"end"`)
	c.ok()
	r := w.awaitRun(ref.WorkflowRunID, client.RunSuccess)
	equal(t, "resumed", shape(r), []string{"RUN_SUCCESS", "sequential [0 init SUCCESS]", "parallel [1 quick SUCCESS] [2 call SUCCESS] [3 broken SUCCESS]"})
	if r.FlowControlKey != "k" || r.Label != "l" || r.Response != `"end"` {
		t.Errorf("run %+v", r)
	}
	if n := len(called.deliveries()); n != 2 {
		t.Errorf("the third party was called %d times, want twice: its first answer came when nobody waited", n)
	}
	w.await(request, client.EventDelivered)
	f.inactive("wfr_1")
	if !f.quiet() {
		t.Error("something else was delivered")
	}
}

// idOf is the id of an entry of an active run's log.
func idOf(w *world, run string, place int) string {
	w.t.Helper()
	return get[[]client.LogEntry](w, "/v2/workflows/runs/"+run)[place].MessageID
}

// A call that asks for more than is allowed is refused with 412, so that its
// endpoint gives up: the run's next step has failed, and names the refusal.
func TestCallBeyondLimits(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	init := f.trigger("wfr_1", "", "Upstash-Failure-Callback: ")
	c := f.next(init)
	h := f.base("wfr_1")
	h["upstash-workflow-calltype"], h["upstash-callback"] = "toCallback", f.URL
	for name, value := range map[string]string{"upstash-retries": "1000", "upstash-delay": "1000d"} {
		h[name] = value
		w.do("POST", "/v2/batch", fmt.Sprintf(`[{"destination":%q,"headers":{"upstash-workflow-runid":"wfr_1","upstash-workflow-init":"false",
			"upstash-workflow-calltype":"toCallback","upstash-callback":%q,%q:%q}}]`, f.URL, f.URL, name, value)).refused(412, "at most")
		w.do("POST", "/v2/publish/"+f.URL, run(1, "a", "1").body, "Upstash-Workflow-Init: false", "Upstash-Workflow-Runid: wfr_1",
			name+": "+value).refused(412, "at most")
	}
	if log := get[[]client.LogEntry](w, "/v2/workflows/runs/wfr_1"); len(log) != 1 {
		t.Errorf("log %+v", log)
	}
	c.answer(489, `{"error":"QstashError","message":"at most 999"}`, nonRetryable, "Upstash-Error-Step-Name: call")
	w.failed("wfr_1")
	r := w.run("wfr_1")
	equal(t, "failed", shape(r), []string{"RUN_FAILED", "sequential [0 init SUCCESS]", "next [0 call FAILED 1 errors]"})
	if e := r.Steps[1].Steps[0].Errors[0]; e.Status != 489 {
		t.Errorf("error %+v", e)
	}
}

// What comes of a call when its run has ended is dropped: nobody is told, and
// nothing fails.
func TestLateCallback(t *testing.T) {
	w := newWorld(t)
	g := w.gate()
	called := w.endpoint(func(http.ResponseWriter, *delivery) { g.pass() })
	f := w.flow()
	c := f.next(f.trigger("wfr_1", ""))
	request := f.call("wfr_1", 1, "call", called.URL)
	c.ok()
	w.wait(g.reached, "the call")
	w.do("DELETE", "/v2/workflows/runs/wfr_1", "").into(200, &client.CancelResponse{})
	g.release()
	w.await(request, client.EventDelivered)
	w.fence()
	if !f.quiet() || len(w.dlq("")) != 0 || len(w.run("wfr_1").Steps) != 2 {
		t.Errorf("run %+v, DLQ %+v", w.run("wfr_1"), w.dlq(""))
	}
}

// Runs are resumed and restarted 50 at a time, to the last.
func TestResumeInPages(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(answers("no", []string{"Upstash-Workflow-Sdk-Version: 1", "Upstash-Workflow-Sdk: v1.0.0", nonRetryable}, 489))
	const all = 53
	for i := range all {
		w.do("POST", "/v2/trigger/"+e.URL, "", fmt.Sprint("Upstash-Workflow-RunId: r", i), "Upstash-Failure-Callback: https://cb.invalid").into(200, &client.TriggerResponse{})
	}
	plain := w.publish(e.URL, "", "Upstash-Retries: 0")
	w.await(plain, client.EventFailed)
	var ids []string
	w.until("all runs have failed", func() bool {
		ids = nil
		for _, d := range get[client.DLQPage](w, "/v2/workflows/dlq").Messages {
			ids = append(ids, d.DLQID)
		}
		return len(ids) == all
	})
	w.do("POST", "/v2/workflows/dlq/resume?dlqIds="+strings.Join(ids, ","), "").refused(400, "dlqIds", "at most 50")
	w.do("POST", "/v2/workflows/dlq/resume", "", "Upstash-Retries: many").refused(400, "Upstash-Retries")
	w.do("POST", "/v2/workflows/dlq/resume", "", "Upstash-Retries: 1000").refused(412, "Upstash-Retries")
	if n := len(get[client.DLQPage](w, "/v2/workflows/dlq").Messages); n != all {
		t.Fatalf("%d are left after refusals", n)
	}
	seen := map[string]bool{}
	do := func(how string, want int) (cursor string) {
		t.Helper()
		var out client.ResumeResponse
		w.do("POST", "/v2/workflows/dlq/"+how, "", "Upstash-Delay: 1h").into(200, &out)
		for _, run := range out.Runs {
			seen[run.WorkflowRunID] = true
		}
		if len(out.Runs) != want {
			t.Errorf("%s: %d runs, want %d", how, len(out.Runs), want)
		}
		return out.Cursor
	}
	entry := w.dlq("?source=qstash")[0].DLQID
	do("resume?dlqIds="+url.QueryEscape(ids[0])+"&dlqIds="+ids[1]+"&dlqIds=1-1&dlqIds="+entry, 2)
	do("restart?workflowRunId=r5", 1)
	do("restart?count=20", 20)
	if cursor := do("resume?count=100", 30); cursor != "" {
		t.Errorf("cursor %q at the end", cursor)
	}
	if len(seen) != all {
		t.Errorf("%d different runs, want %d", len(seen), all)
	}
	w.do("GET", "/v2/workflows/dlq/"+entry, "").refused(404, "no workflow run's")
	w.do("DELETE", "/v2/workflows/dlq/"+entry, "").refused(404, "no workflow run's")
	w.do("POST", "/v2/workflows/dlq/resume/"+entry, "").refused(400, "message's")
	var deleted client.DLQDeleteResponse
	if w.do("DELETE", "/v2/workflows/dlq?dlqIds="+entry, "").into(200, &deleted); deleted.Deleted != 0 {
		t.Errorf("deleted %+v", deleted)
	}
	if left := w.dlq(""); len(left) != 1 || left[0].MessageID != plain {
		t.Errorf("left are %+v", left)
	}
}

// What can't be resumed any more, as the day's messages are spent, is told with a
// cursor to where to go on.
func TestResumeUntilTheDayIsSpent(t *testing.T) {
	w := newLimitedWorld(t, engine.Limits{MessagesPerDay: 4})
	e := w.endpoint(answers("no", []string{"Upstash-Workflow-Sdk-Version: 1", "Upstash-Workflow-Sdk: v1.0.0", nonRetryable}, 489))
	for i := range 3 {
		w.do("POST", "/v2/trigger/"+e.URL, "", fmt.Sprint("Upstash-Workflow-RunId: r", i), "Upstash-Failure-Callback: https://cb.invalid").into(200, &client.TriggerResponse{})
		w.failed(fmt.Sprint("r", i))
	}
	var out client.ResumeResponse
	w.do("POST", "/v2/workflows/dlq/resume", "", "Upstash-Delay: 1h").into(200, &out)
	if len(out.Runs) != 1 || out.Cursor != w.failed("r1") {
		t.Errorf("answered %+v", out)
	}
	w.do("POST", "/v2/workflows/dlq/resume?cursor="+out.Cursor, "").refused(429)
	if n := len(w.dlq("")); n != 2 {
		t.Errorf("%d entries are left, want 2", n)
	}
}

// The lists of runs, and of their events, select by whatever a run is.
func TestFindRuns(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	first := f.trigger("wfr_a", `{"payload":"of the first run"}`, "Upstash-Label: x", "Upstash-Flow-Control-Key: k,1", "Upstash-Flow-Control-Value: parallelism=9")
	c := f.next(first)
	step := f.append("wfr_a", run(1, "one", `"a long result"`))[0]
	c.ok()
	f.next(step).ok()
	f.finish("wfr_a", `"the end of it"`)
	f.next(f.trigger("wfr_b", "", "Upstash-Label: y")).ok()
	w.publish("https://app.example", "", "Upstash-Delay: 1h") // of no run
	at := w.run("wfr_a").CreatedAt

	for query, want := range map[string]string{
		"":                            "wfr_b wfr_a",
		"?flowControlKey=k,1":         "wfr_a",
		"?flowControlKey=k":           "",
		"?label=y":                    "wfr_b",
		"?messageId=" + step:          "wfr_a",
		"?workflowRunId=wfr_b,wfr_c":  "wfr_b",
		"?state=RUN_SUCCESS":          "wfr_a",
		"?callerIp=127.0.0.1&label=x": "wfr_a",
		"?callerIp=10.0.0.1":          "",
		"?host=" + strings.TrimPrefix(f.URL, "http://") + "&path=/":  "wfr_b wfr_a",
		"?workflowUrl=" + f.URL + "/other":                           "",
		fmt.Sprintf("?workflowRuns=wfr_a@%d,wfr_b@%d", at, at-1):     "wfr_a",
		fmt.Sprintf("?workflowCreatedAt=%d&workflowRunId=wfr_a", at): "wfr_a",
	} {
		var got []string
		for _, r := range w.runs(query) {
			got = append(got, r.WorkflowRunID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("runs of %s: %v, want %s", query, got, want)
		}
	}

	for query, want := range map[string]string{
		"?workflowRunId=wfr_a":                               "CREATED ACTIVE DELIVERED CREATED ACTIVE DELIVERED",
		"?label=x&state=CREATED":                             "CREATED CREATED",
		"?state=RUN_STARTED":                                 "CREATED ACTIVE DELIVERED",
		"?state=RUN_STARTED,DELIVERED":                       "DELIVERED",
		"?messageId=" + step:                                 "CREATED ACTIVE DELIVERED",
		"?messageId=" + step + "&workflowRunId=wfr_b":        "",
		"?flowControlKey=k,1&state=DELIVERED":                "DELIVERED DELIVERED",
		"?workflowRunId=wfr_z":                               "",
		"?toDate=1":                                          "",
		fmt.Sprintf("?workflowRuns=wfr_a@%d", at):            "CREATED ACTIVE DELIVERED CREATED ACTIVE DELIVERED",
		fmt.Sprintf("?workflowRuns=wfr_a@%d,wfr_b@1", at+99): "",
	} {
		var got []string
		for _, ev := range w.runEvents(query) {
			got = append(got, string(ev.State))
			if ev.WorkflowRunID == "" || ev.WorkflowURL != f.URL || ev.WorkflowCreatedAt == 0 || ev.CallType != "step" {
				t.Errorf("event %+v", ev)
			}
		}
		slices.Sort(got) // deliveries of a run may overlap
		expected := strings.Fields(want)
		slices.Sort(expected)
		equal(t, "events of "+query, got, expected)
	}
	events := w.runEvents("?messageId=" + step)
	if ev := events[0]; ev.StepID != 1 || ev.StepName != "one" || ev.StepType != "Run" || ev.Concurrent != 1 || b64(run(1, "one", `"a long result"`).body) != ev.Body {
		t.Errorf("event %+v", ev)
	}

	r := w.runs("?workflowRunId=wfr_a&trimBody=7")[0]
	if r.Response != `"the en` || r.Steps[0].Steps[0].Out != `{"paylo` || r.Steps[1].Steps[0].Out != `"a long` {
		t.Errorf("trimmed %+v", r)
	}
	if ev := w.runEvents("?trimBody=true&messageId=" + step)[0]; ev.Body != "" {
		t.Errorf("trimmed %+v", ev)
	}
}

// runEvents are events of runs, oldest first.
func (w *world) runEvents(query string) (all []client.Event) {
	w.t.Helper()
	for cursor := ""; ; {
		sep := "?"
		if query != "" {
			sep = query + "&"
		}
		page := get[client.EventsPage](w, "/v2/workflows/events"+sep+"order=earliestFirst"+cursor)
		if all = append(all, page.Events...); page.Cursor == "" {
			return all
		}
		cursor = "&cursor=" + page.Cursor
	}
}

// Runs are cancelled by their key of flow control and by more than one beginning
// of a URL, in both shapes of the request.
func TestCancelRunsByKeyAndPrefixes(t *testing.T) {
	w := newWorld(t)
	start := func(id, at string, header ...string) {
		w.do("POST", "/v2/trigger/"+at, "", append(header, "Upstash-Delay: 1h", "Upstash-Workflow-Runid: "+id)...).into(200, &client.TriggerResponse{})
	}
	key := []string{"Upstash-Flow-Control-Key: k,1", "Upstash-Flow-Control-Value: rate=1"}
	start("a", "https://a.example/x", key...)
	start("b", "https://a.example/y", key...)
	start("c", "https://a.example/x,z", key...)
	start("d", "https://b.example/x")
	start("e", "https://c.example/x")
	for _, tt := range []struct {
		query, body string
		want        int
	}{
		{"?flowControlKey=k", "", 0},
		{"?flowControlKey=other", "", 0},
		{"?workflowUrl=https://a.example/x,z", "", 1}, // and not what begins like the part before the comma
		{"?flowControlKey=k,1&count=1", "", 1},
		{"", `{"flowControlKey":"k,1"}`, 1},
		{"?workflowUrl=https://b.example/,https://c.example/", "", 2},
		{"", "{}", 0},
	} {
		var c client.CancelResponse
		if w.do("DELETE", "/v2/workflows/runs"+tt.query, tt.body).into(200, &c); c.Cancelled != tt.want {
			t.Errorf("%s %s: %d cancelled, want %d", tt.query, tt.body, c.Cancelled, tt.want)
		}
	}
	start("f", "https://b.example/x")
	start("g", "https://c.example/x")
	var c client.CancelResponse
	if w.do("DELETE", "/v2/workflows/runs?workflowUrl=https://b.example/&workflowUrl=https://c.example/", "").into(200, &c); c.Cancelled != 2 {
		t.Errorf("%d cancelled, want 2", c.Cancelled)
	}
}

// A token with a URL prefix works on its own runs, and on no others.
func TestT21PrefixLimitsRunsThatFailed(t *testing.T) {
	l := newLimited(t)
	e := l.all.endpoint(answers("no", []string{"Upstash-Workflow-Sdk-Version: 1", "Upstash-Workflow-Sdk: v1.0.0", nonRetryable}, 489))
	start := func(id, at string) string {
		l.all.do("POST", "/v2/trigger/"+at, "", "Upstash-Workflow-RunId: "+id, "Upstash-Retries: 0",
			"Upstash-Failure-Callback: "+e.URL+"/cb").into(200, &client.TriggerResponse{})
		entry := l.all.failed(id)
		l.all.awaitFailure(id, client.CallbackFail)
		return entry
	}
	prefix := get[client.Message](l.all, "/v2/messages/"+l.in).URL
	inside, outside := start("in", prefix+"/wf"), start("out", e.URL+"/wf")
	for _, request := range []string{
		"GET /v2/workflows/dlq/" + outside, "DELETE /v2/workflows/dlq/" + outside, "POST /v2/workflows/dlq/resume/" + outside,
		"POST /v2/workflows/dlq/restart/" + outside, "POST /v2/workflows/dlq/callback/" + outside, "DELETE /v2/workflows/dlq/callback/" + outside,
	} {
		method, path, _ := strings.Cut(request, " ")
		l.all.unchanged(request, func() { l.do(method, path, "").refused(404, "not found") })
	}
	l.do("POST", "/v2/workflows/dlq/resume/"+inside, "", "Upstash-Failure-Callback: https://evil.example").refused(403, "Upstash-Failure-Callback")
	for _, list := range []string{"/v2/workflows/dlq", "/v2/workflows/dlq?dlqIds=" + inside + "," + outside, "/v2/workflows/events?state=FAILED", "/v2/workflows/events?workflowRunId=in,out"} {
		limited, all := string(l.do("GET", list, "").body), string(l.all.do("GET", list, "").body)
		if strings.Contains(limited, `"out"`) || !strings.Contains(all, `"out"`) || !strings.Contains(limited, `"in"`) {
			t.Errorf("%s:\nlimited %s\nall %s", list, limited, all)
		}
	}
	var out client.ResumeResponse
	l.do("POST", "/v2/workflows/dlq/resume?workflowRunId=out", "").into(200, &out)
	l.do("POST", "/v2/workflows/dlq/restart?dlqIds="+outside, "").into(200, &out)
	l.do("POST", "/v2/workflows/dlq/callback?dlqIds="+outside, "").into(200, &out)
	if len(out.Runs) != 0 {
		t.Errorf("resumed %+v", out)
	}
	if l.do("POST", "/v2/workflows/dlq/resume", "", "Upstash-Delay: 1h").into(200, &out); len(out.Runs) != 1 {
		t.Errorf("resumed %+v", out)
	}
	if left := l.all.dlq("?source=workflow"); len(left) != 1 || left[0].DLQID != outside {
		t.Errorf("left %+v", left)
	}
}

// A log is edited as far as the body may be long: all of it is there once.
func TestLargeEdits(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	c := f.next(f.trigger("wfr_1", "payload", "Upstash-Failure-Callback: ", "Upstash-Retries: 0"))
	step := f.append("wfr_1", run(1, "one", "1"))[0]
	c.ok()
	f.next(step).answer(489, "no", nonRetryable)
	large := strings.Repeat("x", 5<<20)
	ref := w.resume(w.failed("wfr_1"), fmt.Sprintf(`{"payload":%q,"steps":[{"stepId":1,"out":%[1]q},{"stepId":2,"stepName":"two","out":%[1]q}]}`, large), "Upstash-Delay: 1h")
	log := get[[]client.LogEntry](w, "/v2/workflows/runs/"+ref.WorkflowRunID)
	if len(log) != 3 || string(log[0].Body) != large || !strings.Contains(string(log[1].Body), large) || !strings.Contains(string(log[2].Body), large) {
		t.Errorf("log of %d entries", len(log))
	}
}

// What a run hides is hidden in the events of its messages, in the audit log, and
// in the run that goes on with it.
func TestRedactedRunsThatGoOn(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	c := f.next(f.trigger("wfr_1", `"canary-payload"`, "Upstash-Redact-Fields: body,header[X-Secret]", "Upstash-Forward-X-Secret: canary-header",
		"Upstash-Failure-Callback: ", "Upstash-Retries: 0"))
	step := f.append("wfr_1", run(1, "one", `"canary-result"`))[0]
	c.ok()
	f.next(step).answer(489, "no", nonRetryable)
	ref := w.resume(w.failed("wfr_1"), `{"payload":"canary-edit","steps":[{"stepId":1,"out":"canary-edit"}]}`, "Upstash-Delay: 1h")
	for _, path := range []string{"/v2/workflows/events", "/v2/workflows/logs", "/v2/audit", "/v2/workflows/dlq", "/v2/events"} {
		body := string(w.do("GET", path, "").body)
		for _, secret := range []string{"canary-payload", "canary-header", "canary-result", "canary-edit"} {
			if strings.Contains(body, secret) || strings.Contains(body, b64(secret)[:12]) || strings.Contains(body, b64(`"` + secret)[:12]) {
				t.Errorf("%s shows %s: %s", path, secret, body)
			}
		}
		if path != "/v2/workflows/dlq" && !strings.Contains(body, "REDACTED:") {
			t.Errorf("%s: nothing is hidden in %s", path, body)
		}
	}
	if log := get[[]client.LogEntry](w, "/v2/workflows/runs/"+ref.WorkflowRunID); string(log[0].Body) != "canary-edit" {
		t.Errorf("log %+v", log)
	}
}
