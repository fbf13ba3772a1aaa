package api_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

// The official clients in Python and Go speak the protocol otherwise than those
// in JavaScript, which e2e runs. No test runs them. What is known of theirs is
// spoken here: requests as they write them, and of the answers what they can't do
// without.

// Keys that the Python client reads without looking whether they are there.
var (
	pythonMessage = []string{"messageId", "url", "method", "maxRetries", "notBefore", "createdAt"}
	pythonQueue   = []string{"name", "createdAt", "updatedAt", "parallelism", "lag", "paused"}
	pythonGroup   = []string{"name", "createdAt", "updatedAt", "endpoints"}
	pythonTimer   = []string{"scheduleId", "cron", "destination", "createdAt", "method", "retries", "isPaused"}
	pythonEvent   = []string{"time", "messageId", "state", "url"}
	pythonDead    = append([]string{"dlqId", "responseStatus"}, pythonMessage...)
	pythonKey     = []string{"flowControlKey", "waitListSize", "parallelismMax", "parallelismCount", "rateMax", "rateCount", "ratePeriod", "ratePeriodStart", "isPaused", "isPinnedParallelism", "isPinnedRate"}
)

// has checks that an object has keys that are not null.
func has(t *testing.T, object map[string]any, keys []string) {
	t.Helper()
	for _, key := range keys {
		if object[key] == nil {
			t.Errorf("no %s in %v", key, object)
		}
	}
}

// only is the one element of an array, checked with has.
func only(t *testing.T, array []map[string]any, keys []string) map[string]any {
	t.Helper()
	if len(array) != 1 {
		t.Fatalf("%d elements in %v", len(array), array)
	}
	has(t, array[0], keys)
	return array[0]
}

type (
	jsonObject = map[string]any
	jsonArray  = []map[string]any
)

// page is a list that comes in pages.
func page(t *testing.T, answer jsonObject, key string) (all jsonArray) {
	t.Helper()
	elements, ok := answer[key].([]any)
	if cursor, more := answer["cursor"]; !ok || more {
		t.Fatalf("%s of %v (cursor %v)", key, answer, cursor)
	}
	for _, element := range elements {
		all = append(all, element.(jsonObject))
	}
	return all
}

// ok makes a request whose answer the client throws away.
func (w *world) ok(method, path, body string, header ...string) {
	w.t.Helper()
	if a := w.do(method, path, body, header...); a.status < 200 || a.status > 299 {
		w.t.Fatalf("%s: %d %s", a.what, a.status, a.body)
	}
}

const asJSON = "Content-Type: application/json"

// The Python client forwards the type of the content, writes True and False,
// puts null where there is nothing, and sends ids in bodies.
func TestPythonMessages(t *testing.T) {
	w := newWorld(t)
	made := func(path, body string, header ...string) string {
		t.Helper()
		var p jsonObject
		w.do("POST", path, body, append(header, "Upstash-Delay: 1h")...).into(200, &p)
		has(t, p, []string{"messageId"})
		return p["messageId"].(string)
	}
	settings := []string{
		"Upstash-Forward-content-type: application/json", "Upstash-Method: PATCH", "Upstash-Retries: 3", "Upstash-Forward-test-header: test-value",
		"Upstash-Content-Based-Deduplication: False", "Upstash-Callback: https://example.com/cb", "Upstash-Callback-Forward-X: 1",
		"Upstash-Failure-Callback: https://example.com/fail", "Upstash-Flow-Control-Key: k", "Upstash-Flow-Control-Value: parallelism=3",
		"Upstash-Label: one,two", "Upstash-Retry-Delay: pow(2, retried) * 1000", "Upstash-Timeout: 90s", "Upstash-Telemetry-Runtime: python@v3.11.2",
	}
	id := made("/v2/publish/https://example.com", `{"ex_key": "\u00e9"}`, settings...)
	m := get[jsonObject](w, "/v2/messages/"+id)
	has(t, m, append(pythonMessage, "callback", "failureCallback", "callbackHeader", "flowControlKey", "parallelism", "label", "retryDelayExpression"))
	if _, rate := m["rate"]; rate || m["period"] != 1.0 || m["url"] != "https://example.com" || m["body"] != `{"ex_key": "\u00e9"}` {
		t.Errorf("message %v", m)
	}
	if header, _ := json.Marshal(m["header"]); string(header) != `{"Content-Type":["application/json"],"Test-Header":["test-value"]}` {
		t.Errorf("headers %s", header)
	}

	var again jsonObject
	w.do("POST", "/v2/publish/https://example.com", "x", "Upstash-Content-Based-Deduplication: True", "Upstash-Delay: 1h").into(200, &again)
	w.do("POST", "/v2/publish/https://example.com", "x", "Upstash-Content-Based-Deduplication: True", "Upstash-Delay: 1h").into(202, &again)
	if again["deduplicated"] != true {
		t.Errorf("published again: %v", again)
	}

	w.ok("POST", "/v2/queues", `{"queueName": "q", "parallelism": 1, "paused": true}`, asJSON)
	queued := made("/v2/enqueue/q/https://example.com", `{}`, "Upstash-Forward-content-type: application/json")
	has(t, get[jsonObject](w, "/v2/messages/"+queued), append(pythonMessage, "queueName"))

	var batch jsonArray
	w.do("POST", "/v2/batch", `[{"destination": "https://example.com/1", "headers": {"Upstash-Forward-content-type": "application/json", "Content-Type": "application/json", "Upstash-Delay": "1h"}, "body": "{\"a\": 1}", "queue": null},
		{"destination": "https://example.com/2", "headers": {"Upstash-Delay": "1h", "Upstash-Retries": "0"}, "body": null, "queue": "q"}]`, asJSON).into(200, &batch)
	ids := []string{queued}
	for _, p := range batch {
		has(t, p, []string{"messageId"})
		ids = append(ids, p["messageId"].(string))
	}
	if len(ids) != 3 {
		t.Fatalf("batch answered %v", batch)
	}

	w.ok("DELETE", "/v2/messages/"+id, "")
	w.do("DELETE", "/v2/messages/"+id, "").refused(404)
	var done jsonObject
	text, _ := json.Marshal(map[string]any{"messageIds": ids[:2]})
	w.do("DELETE", "/v2/messages", string(text), asJSON).into(200, &done)
	if done["cancelled"] != 2.0 {
		t.Errorf("cancelled %v of two", done)
	}
	if w.do("DELETE", "/v2/messages", "").into(200, &done); done["cancelled"] != 2.0 { // one of the batch, one of the two alike
		t.Errorf("cancelled %v of what was left", done)
	}
}

// pythonStates are all that the Python client knows: others break a whole list.
var pythonStates = []string{"CREATED", "ACTIVE", "RETRY", "ERROR", "DELIVERED", "FAILED", "CANCEL_REQUESTED", "CANCELED"}

func TestPythonEventsAndDLQ(t *testing.T) {
	w := newWorld(t)
	began := time.Now().Add(-time.Minute).UnixMilli()
	e := w.endpoint(w.byPath())
	labels := []string{"Upstash-Label: a,b", "Upstash-Retry-Delay: 1", "Upstash-Retries: 1", "Upstash-Flow-Control-Key: k", "Upstash-Flow-Control-Value: rate=100, period=1d"}
	failed := w.publish(e.URL+"/broken", "no", labels...)
	w.await(failed, client.EventFailed)
	unreached := w.publish("http://127.0.0.1:1/", "no", "Upstash-Retries: 0")
	w.await(unreached, client.EventFailed)
	gone := w.publish(e.URL, "", "Upstash-Delay: 1h")
	w.ok("DELETE", "/v2/messages/"+gone, "")
	w.await(gone, client.EventCanceled)

	events := page(t, get[jsonObject](w, fmt.Sprintf("/v2/events?messageIds=%s&messageIds=%s&messageIds=%s&fromDate=%d", failed, unreached, gone, began)), "events")
	newest := map[any]jsonObject{}
	for _, ev := range events {
		has(t, ev, pythonEvent)
		if !slices.Contains(pythonStates, ev["state"].(string)) {
			t.Errorf("event %v", ev)
		}
		if newest[ev["messageId"]] == nil {
			newest[ev["messageId"]] = ev
		}
	}
	if ev := newest[failed]; ev["state"] != "FAILED" || ev["retryDelayExpr"] != "1" || ev["label"] != "a" || ev["body"] != b64("no") || ev["rate"] != 100.0 || ev["period"] != 86400.0 {
		t.Errorf("newest event %v", ev)
	}
	if len(newest) != 3 {
		t.Errorf("events of %d messages", len(newest))
	}
	errors := page(t, get[jsonObject](w, "/v2/events?state=ERROR&count=1000&messageId="+failed), "events")
	if len(errors) != 2 {
		t.Fatalf("%d errors", len(errors))
	}
	has(t, errors[0], []string{"error", "responseStatus", "responseBody", "responseHeader"})
	if n := len(page(t, get[jsonObject](w, "/v2/events?state=IN_PROGRESS"), "events")); n == 0 {
		t.Error("no events in progress")
	}

	dead := only(t, page(t, get[jsonObject](w, "/v2/dlq?responseStatus=500&label=b&callerIp=127.0.0.1&count=100&url="+e.URL+"/broken"), "messages"), pythonDead)
	if dead["responseBody"] != "it broke" || dead["responseStatus"] != 500.0 {
		t.Errorf("entry %v", dead)
	}
	mute := only(t, page(t, get[jsonObject](w, "/v2/dlq?messageId="+unreached), "messages"), pythonDead)
	has(t, get[jsonObject](w, "/v2/dlq/"+mute["dlqId"].(string)), pythonDead)
	w.ok("DELETE", "/v2/dlq/"+mute["dlqId"].(string), "")
	w.do("DELETE", "/v2/dlq/"+mute["dlqId"].(string), "").refused(404)
	var deleted jsonObject
	w.do("DELETE", "/v2/dlq", fmt.Sprintf(`{"dlqIds": [%q, %q]}`, dead["dlqId"], mute["dlqId"]), asJSON).into(200, &deleted)
	if deleted["deleted"] != 1.0 {
		t.Errorf("deleted %v", deleted)
	}
	if left := page(t, get[jsonObject](w, "/v2/dlq"), "messages"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestPythonManagement(t *testing.T) {
	w := newLimitedWorld(t, engine.Limits{})
	if none := get[jsonArray](w, "/v2/queues"); none == nil {
		t.Error("no array of queues")
	}
	w.ok("POST", "/v2/queues", `{"queueName": "-q_1", "parallelism": 2, "paused": false}`, asJSON)
	for path, paused := range map[string]bool{"/pause": true, "/resume": false} {
		w.ok("POST", "/v2/queues/-q_1"+path, "")
		if q := get[jsonObject](w, "/v2/queues/-q_1"); q["paused"] != paused {
			t.Errorf("after %s: %v", path, q)
		}
	}
	only(t, get[jsonArray](w, "/v2/queues"), pythonQueue)
	w.ok("DELETE", "/v2/queues/-q_1", "")
	w.ok("DELETE", "/v2/queues/-q_1", "")

	w.ok("DELETE", "/v2/topics/g", "")
	w.ok("POST", "/v2/topics/g/endpoints", `{"endpoints": [{"url": "https://example.com/1"}, {"url": "https://example.com/2", "name": "name 2"}]}`, asJSON)
	w.ok("POST", "/v2/topics/g/endpoints", `{"endpoints": [{"url": "https://example.com/3", "name": null}]}`, asJSON)
	var sent jsonArray
	w.do("POST", "/v2/publish/g", "x", "Upstash-Delay: 1h").into(200, &sent)
	for _, p := range sent {
		has(t, p, []string{"messageId", "url"})
	}
	if len(sent) != 3 {
		t.Errorf("published to the group: %v", sent)
	}
	w.ok("DELETE", "/v2/topics/g/endpoints", `{"endpoints": [{"name": "name 2"}, {"url": "https://example.com/3"}]}`, asJSON)
	group := only(t, get[jsonArray](w, "/v2/topics"), pythonGroup)
	if members, _ := json.Marshal(group["endpoints"]); string(members) != `[{"url":"https://example.com/1"}]` {
		t.Errorf("left in the group: %s", members)
	}
	w.ok("DELETE", "/v2/topics/g/endpoints", `{"endpoints": [{"url": "https://example.com/1"}]}`, asJSON)
	w.do("GET", "/v2/topics/g", "").refused(404, "g")

	var scheduled jsonObject
	e := w.endpoint(nil)
	w.do("POST", "/v2/schedules/"+e.URL, `{"ex": 1}`, "Upstash-Forward-content-type: application/json", "Upstash-Cron: 1 1 1 1 1", "Upstash-Delay: 1h30m3s",
		"Upstash-Flow-Control-Key: k", "Upstash-Flow-Control-Value: rate=3, period=2", "Upstash-Queue-Name: q", "Upstash-Timeout: 50s").into(200, &scheduled)
	id := scheduled["scheduleId"].(string)
	w.ok("PATCH", "/v2/schedules/"+id+"/pause", "")
	if s := get[jsonObject](w, "/v2/schedules/"+id); s["isPaused"] != true {
		t.Errorf("paused: %v", s)
	}
	w.ok("PATCH", "/v2/schedules/"+id+"/resume", "")
	s := only(t, get[jsonArray](w, "/v2/schedules"), append(pythonTimer, "queueName", "callerIP", "header"))
	if s["isPaused"] != false || s["delay"] != 5403.0 || s["period"] != 2.0 || s["rate"] != 3.0 || s["timeout"] != 50.0 || s["lastScheduleStates"] != nil {
		t.Errorf("schedule %v", s)
	}
	w.tick(id)
	w.awaitSchedule(id, func(s *client.Schedule) bool {
		for _, state := range s.LastStates {
			return state == client.ScheduleInProgress
		}
		return false
	})
	w.ok("DELETE", "/v2/schedules/"+id, "")

	w.publish("https://example.com", "", "Upstash-Delay: 1h", "Upstash-Flow-Control-Key: k/1", "Upstash-Flow-Control-Value: parallelism=3")
	for _, path := range []string{"/pause", "/resume", "/pin?parallelism=5&rate=7&period=60", "/unpin?parallelism=true", "/resetRate"} {
		w.ok("POST", "/v2/flowControl/k/1"+path, "")
	}
	key := get[jsonObject](w, "/v2/flowControl/k/1")
	has(t, key, pythonKey)
	if key["isPinnedParallelism"] != false || key["isPinnedRate"] != true || key["ratePeriod"] != 60.0 {
		t.Errorf("flow control %v", key)
	}
	get[jsonObject](w, "/v2/globalParallelism")

	before := get[client.SigningKeys](w, "/v2/keys")
	var after client.SigningKeys
	w.do("POST", "/v2/keys/rotate", "").into(200, &after)
	if after.Current != before.Next || after.Next == before.Next {
		t.Errorf("rotated %+v into %+v", before, after)
	}
}

// PyJWT, with which the Python receiver verifies, wants these claims and no
// audience that nobody has named, and refuses what was issued in the future.
func TestPythonClaims(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(nil)
	w.await(w.publish(e.URL, "x"), client.EventDelivered)
	token := e.await(1)[0].header.Get("Upstash-Signature")
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := object(t, text)
	has(t, claims, []string{"iss", "sub", "exp", "nbf", "iat", "body"})
	if _, ok := claims["jti"].(string); !ok || claims["aud"] != nil || claims["iat"].(float64) > float64(time.Now().Unix()) {
		t.Errorf("claims %v", claims)
	}
}

// python is a step as the Python SDK writes it: every field, null where it has
// none, and the method of a request.
func python(fields map[string]any, header ...string) step {
	all := map[string]any{"stepId": nil, "stepName": nil, "stepType": nil, "out": nil, "sleepFor": nil, "sleepUntil": nil, "concurrent": nil,
		"targetStep": nil, "callUrl": nil, "callMethod": nil, "callBody": nil, "callHeaders": nil, "waitEventId": nil, "timeout": nil, "method": "POST"}
	maps.Copy(all, fields)
	text, _ := json.MarshalIndent(all, "", " ")
	return step{string(text), append([]string{
		"Upstash-Feature-Set: LazyFetch,InitialBody", "Upstash-Retries: 0", "Upstash-Forward-user-header: v", "Upstash-Forward-content-type: application/json",
	}, header...)}
}

// A run of the Python SDK: the endpoint starts it itself when it is called without
// a run, sends all settings along with each step, and names no version of its own.
func TestPythonEndpoint(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	third := w.endpoint(answers("done", []string{"Content-Type: text/plain"}, 201))
	ok := func(c *call) {
		c.answer(200, `{"workflowRunId": "wfr_py", "finishCondition": "success"}`, "Upstash-Workflow-Sdk-Version: ", "Upstash-Workflow-Sdk: ")
	}

	plain := f.next(w.publish(f.URL, `{"n": 1}`, "Upstash-Forward-content-type: application/json", "Upstash-Forward-user-header: v"))
	if plain.header.Get("Upstash-Workflow-Runid") != "" || plain.header.Get("Upstash-Workflow-Sdk-Version") != "" {
		t.Fatalf("a plain message came as one of a run: %v", plain.header)
	}
	init := w.publish(f.URL, `{"n": 1}`, "Upstash-Method: POST", "Upstash-Workflow-Init: true", "Upstash-Workflow-RunId: wfr_py", "Upstash-Workflow-Url: "+f.URL,
		"Upstash-Workflow-Sdk-Version: 1", "Upstash-Forward-Upstash-Workflow-Sdk-Version: 1", "Upstash-Feature-Set: LazyFetch,InitialBody",
		"Upstash-Retries: 0", "Upstash-Forward-user-header: v", "Upstash-Forward-content-type: application/json", asJSON)
	ok(plain)

	c := f.next(init)
	one := f.append("wfr_py", python(map[string]any{"stepId": 1, "stepName": "one", "stepType": "Run", "out": `{"a": "\u00e9"}`, "concurrent": 1}))
	ok(c)
	c = f.next(one[0])
	plans := f.append("wfr_py",
		python(map[string]any{"stepId": 0, "stepName": "nap", "stepType": "SleepFor", "out": "null", "sleepFor": "1s", "concurrent": 2, "targetStep": 2}, "Upstash-Delay: 1s"),
		python(map[string]any{"stepId": 0, "stepName": "side", "stepType": "Run", "out": "null", "concurrent": 2, "targetStep": 3}))
	ok(c)
	c = f.next(plans[1])
	equal(t, "the second plan", c.prefix(), append([]string{init, one[0]}, plans...))
	side := f.append("wfr_py", python(map[string]any{"stepId": 3, "stepName": "side", "stepType": "Run", "out": "null", "concurrent": 2}))
	ok(c)
	ok(f.next(side[0]))
	c = f.next(plans[0])
	equal(t, "the first plan", c.prefix(), []string{init, one[0], plans[0]})
	nap := f.append("wfr_py", python(map[string]any{"stepId": 2, "stepName": "nap", "stepType": "SleepFor", "sleepFor": "1s", "concurrent": 2}))
	ok(c)
	c = f.next(nap[0])
	if c.header.Get("User-Header") != "v" || c.header.Get("Content-Type") != "application/json" || c.header.Get("Upstash-Workflow-Sdk-Version") != "1" {
		t.Errorf("delivered with %v", c.header)
	}

	f.call("wfr_py", 4, "ask", third.URL, "Upstash-Callback-Forward-user-header: v")
	ok(c)
	c = f.any("the outcome of the call")
	if outcome := object(t, c.body); outcome["status"] != 201.0 || outcome["body"] != b64("done") || c.header.Get("Upstash-Workflow-Stepid") != "4" || c.header.Get("User-Header") != "v" {
		t.Errorf("outcome %v with %v", outcome, c.header)
	}
	asked := w.publish(f.URL, python(map[string]any{"stepId": 4, "stepName": "ask", "stepType": "Call", "out": `{"status": 201, "body": "done", "header": {}}`, "concurrent": 1}).body,
		"Upstash-Workflow-Init: false", "Upstash-Workflow-RunId: wfr_py", "Upstash-Workflow-Url: "+f.URL, "Upstash-Feature-Set: LazyFetch,InitialBody",
		"Upstash-Forward-Upstash-Workflow-Sdk-Version: 1", "Upstash-Retries: 0")
	ok(c)
	c = f.next(asked)
	w.ok("DELETE", "/v2/workflows/runs/wfr_py?cancel=false", `{"result": [1, null]}`)
	ok(c)

	r := w.awaitRun("wfr_py", client.RunSuccess)
	equal(t, "history", shape(r), []string{"RUN_SUCCESS", "sequential [0 init SUCCESS]", "sequential [1 one SUCCESS]",
		"parallel [2 nap SUCCESS] [3 side SUCCESS]", "sequential [4 ask SUCCESS]"})
	if r.Response != `{"result": [1, null]}` || r.Steps[1].Steps[0].Out != `{"a": "\u00e9"}` || r.Steps[2].Steps[0].SleepFor != 1 {
		t.Errorf("run %+v", r)
	}
}

// The Go client writes paths of its own, an empty queue, and a type for no body. It
// decodes numbers as int64, headers as http.Header, and every refusal as JSON.
func TestGoClient(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(w.byPath())
	var made struct {
		ScheduleID string `json:"scheduleId"`
	}
	w.do("POST", "/v2/Schedules/https://example.com", `{"a":1}`, "Upstash-Cron: 0 0 1 1 *", asJSON, "Upstash-Forward-Test-Header: test-value").into(200, &made)
	var s struct {
		ScheduleID, Cron, Destination, Method, Body string
		CreatedAt, Retries, Delay                   int64
		IsPaused                                    bool
		Header                                      http.Header
	}
	w.do("GET", "/v2/Schedules/"+made.ScheduleID, "").into(200, &s)
	if s.ScheduleID != made.ScheduleID || s.Destination != "https://example.com" || s.Body != `{"a":1}` || s.Header.Get("Test-Header") != "test-value" || s.Retries != 3 {
		t.Errorf("schedule %+v", s)
	}
	w.ok("PATCH", "/v2/schedules/"+made.ScheduleID+"/pause", "")
	w.ok("DELETE", "/v2/schedules/"+made.ScheduleID, "")

	var batch []client.PublishResponse
	w.do("POST", "/v2/batch", `[{"destination":"http://example.com","queue":"","headers":{"Content-Type":"application/json","Upstash-Forward-Content-Type":"application/json","Upstash-Delay":"1h"},"body":"{}"},
		{"destination":"http://example.com","queue":"q","headers":{"Upstash-Delay":"1h"},"body":""}]`, asJSON).into(200, &batch)
	if m := get[client.Message](w, "/v2/messages/"+batch[0].MessageID); m.URL != "http://example.com" || m.QueueName != "" || m.Header.Get("Content-Type") != "application/json" {
		t.Errorf("message %+v", m)
	}
	var done client.CancelResponse
	if w.do("DELETE", "/v2/messages", fmt.Sprintf(`{"messageIds":[%q]}`, batch[0].MessageID), asJSON).into(200, &done); done.Cancelled != 1 {
		t.Errorf("cancelled %+v", done)
	}
	if w.do("DELETE", "/v2/messages", "", asJSON).into(200, &done); done.Cancelled != 1 {
		t.Errorf("cancelled %+v of the rest", done)
	}

	w.group("g", e.URL+"/1", e.URL+"/2")
	var copies []client.PublishResponse
	w.do("POST", "/v2/enqueue/q/g", `{}`, asJSON).into(200, &copies)
	if len(copies) != 2 || copies[0].URL == "" {
		t.Errorf("enqueued %+v", copies)
	}
	w.do("POST", "/v2/publish/", "x").refused(400, "a non-empty destination must be provided")
	w.do("POST", "/v2/publish/nobody", "x").refused(404, "topic nobody not found")

	failed := w.publish(e.URL+"/broken", "x", "Upstash-Retries: 0")
	w.await(failed, client.EventFailed)
	var events struct {
		Events []struct {
			State, MessageID, URL, Body, Error string
			Time, NextDeliveryTime             int64
			Header                             http.Header
		}
	}
	w.do("GET", "/v2/events?api=llm&messageId="+failed, "").into(200, &events)
	var states []string
	for _, ev := range events.Events {
		states = append(states, ev.State)
	}
	equal(t, "events", states, []string{"FAILED", "ERROR", "ACTIVE", "CREATED"})
	dead := get[client.DLQPage](w, fmt.Sprintf("/v2/dlq?api=llm&messageId=%s&fromDate=%d&toDate=%d", failed, events.Events[3].Time, time.Now().UnixMilli())).Messages
	if len(dead) != 1 || dead[0].ResponseStatus != 500 || dead[0].ResponseBody != "it broke" {
		t.Fatalf("dead %+v", dead)
	}
	var deleted client.DLQDeleteResponse
	if w.do("DELETE", "/v2/dlq", fmt.Sprintf(`{"dlqIds":[%q]}`, dead[0].DLQID), asJSON).into(200, &deleted); deleted.Deleted != 1 {
		t.Errorf("deleted %+v", deleted)
	}

	before := get[client.SigningKeys](w, "/v2/keys")
	var after client.SigningKeys
	if w.do("POST", "/v2/rotate", "").into(200, &after); after.Current != before.Next {
		t.Errorf("rotated %+v into %+v", before, after)
	}
}

// The Go client of workflows starts runs by publishing, with ids of the user's own
// and two headers of features, and cancels them by a body.
func TestGoWorkflowClient(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	start := func(id string, header ...string) string {
		t.Helper()
		return w.publish(f.URL, "payload", append(header, "Upstash-Workflow-Init: true", "Upstash-Workflow-RunId: "+id, "Upstash-Workflow-Url: "+f.URL,
			"Upstash-Feature-Set: LazyFetch", "Upstash-Feature-Set: InitialBody", "Upstash-Forward-Upstash-Workflow-Sdk-Version: 1", "Upstash-Forward-user-header: v")...)
	}
	init := start("own-id", "Upstash-Label: l", "Upstash-Retries: 1", "Upstash-Flow-Control-Key: k", "Upstash-Flow-Control-Value: rate=100,parallelism=9")
	c := f.next(init)
	if c.header.Get("Upstash-Workflow-Runid") != "own-id" || c.header.Get("Upstash-Workflow-Sdk-Version") != "1" || c.header.Get("User-Header") != "v" {
		t.Errorf("started with %v", c.header)
	}
	c.answer(200, "no version: nobody asked to look for one", "Upstash-Workflow-Sdk-Version: ")
	f.waits("own-id", "event", 1, 1, "Wait", "1h")

	var waiters []struct {
		URL, TimeoutURL         string
		Deadline                int64
		Headers, TimeoutHeaders http.Header
		TimeoutBody             []byte
	}
	w.do("GET", "/v2/waiters/event", "").into(200, &waiters)
	if len(waiters) != 1 || waiters[0].Headers.Get("Upstash-Workflow-Runid") != "own-id" || waiters[0].Deadline < time.Now().Unix() {
		t.Errorf("waiters %+v", waiters)
	}
	told := w.notify("event", "")
	c = f.next(told[0].MessageID)
	f.append("own-id",
		step{`{"stepId":0,"stepName":"a","stepType":"SleepFor","sleepFor":"10m","concurrent":2,"targetStep":2}`, []string{"Upstash-Delay: 10m"}},
		step{`{"stepId":0,"stepName":"b","stepType":"SleepUntil","sleepUntil":4102444800.5,"concurrent":2,"targetStep":3}`, []string{"Upstash-Delay: 1h"}})
	c.ok()
	var logs struct {
		Cursor string
		Runs   []struct {
			WorkflowRunID, WorkflowURL, WorkflowState    string
			WorkflowRunCreatedAt, WorkflowRunCompletedAt int64
			WorkflowRunResponse, DLQID, Label            string
			Steps                                        []struct {
				Type  string
				Steps []struct {
					StepID, Concurrent, TargetStep, CreatedAt, Retries, SleepFor, SleepUntil, NextDeliveryTime, WaitTimeoutDeadline int64
					StepName, StepType, CallType, MessageID, Out, State, CallBody, WaitEventID, WaitTimeoutDuration                 string
					Headers                                                                                                         http.Header
					WaitTimeout                                                                                                     bool
				}
			}
		}
	}
	w.do("GET", "/v2/workflows/logs?workflowRunId=own-id&count=10", "").into(200, &logs)
	if run := logs.Runs[0]; run.WorkflowState != "RUN_STARTED" || run.Steps[2].Steps[0].SleepFor != 600 || run.Steps[2].Steps[1].SleepUntil != 4102444801 || run.Steps[0].Steps[0].Out != "payload" {
		t.Errorf("run %+v", run)
	}

	start("other", "Upstash-Delay: 1h")
	start("third", "Upstash-Delay: 1h")
	for _, bulk := range []struct {
		body string
		want int
	}{{`{"workflowRunIds":["own-id"]}`, 1}, {`{"workflowRunIds":["own-id"],"workflowUrl":"` + f.URL + `"}`, 0}, {`{"workflowUrl":"` + f.URL[:len(f.URL)-2] + `"}`, 2}, {`{}`, 0}} {
		var done client.CancelResponse
		if w.do("DELETE", "/v2/workflows/runs", bulk.body, asJSON).into(200, &done); done.Cancelled != bulk.want {
			t.Errorf("%s cancelled %d runs, want %d", bulk.body, done.Cancelled, bulk.want)
		}
	}
	start("other") // that one has ended
	w.ok("DELETE", "/v2/workflows/runs/other", "")
	w.do("DELETE", "/v2/workflows/runs/nobody", "").refused(404, "nobody")
}
