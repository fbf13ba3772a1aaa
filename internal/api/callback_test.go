package api_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signposthq/signpost/client"
)

// object decodes a JSON object as it stands, to see which keys it has.
func object(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// A callback tells of every attempt until the last, a failure callback of the
// last failure, each as a signed message of its own with its own settings.
func TestCallbacks(t *testing.T) {
	w := newWorld(t)
	dest := w.endpoint(answers("no\xff", []string{"X-Answer: a", "Content-Type: text/odd"}, 500))
	cb, failure := w.endpoint(nil), w.endpoint(nil)
	id := w.publish(dest.URL+"/x?y=z", "\x00body", "Upstash-Method: PUT", "Content-Type: text/plain", "Upstash-Forward-X-Trace: 1",
		"Upstash-Retries: 1", "Upstash-Retry-Delay: 1",
		"Upstash-Callback: "+cb.URL+"/cb?kind=1", "Upstash-Callback-Method: PATCH", "Upstash-Callback-Retries: 0",
		"Upstash-Callback-Forward-X-Kind: callback", "Upstash-Callback-Timeout: 30",
		"Upstash-Failure-Callback: "+failure.URL+"/failed", "Upstash-Failure-Callback-Retries: 7",
		"Upstash-Failure-Callback-Forward-X-Kind: failure", "Upstash-Failure-Callback-Forward-Content-Type: text/json")
	w.await(id, client.EventFailed)
	called := cb.await(2)
	failed := failure.await(1)

	m := get[client.Message](w, "/v2/messages/"+id)
	dlqID := w.dlq("")[0].DLQID
	want := map[string]any{
		"status": 500.0, "maxRetries": 1.0, "sourceMessageId": id, "url": dest.URL + "/x?y=z", "method": "PUT",
		"body": b64("no\xff"), "sourceBody": b64("\x00body"), "callerIP": "127.0.0.1",
		"sourceHeader": map[string]any{"Content-Type": []any{"text/plain"}, "X-Trace": []any{"1"}},
		"notBefore":    float64(m.NotBefore), "createdAt": float64(m.CreatedAt),
	}
	check := func(what string, d *delivery, extra map[string]any) {
		t.Helper()
		got := object(t, d.body)
		header, _ := got["header"].(map[string]any)
		if cmp.Diff(header["X-Answer"], []any{"a"}) != "" || cmp.Diff(header["Content-Type"], []any{"text/odd"}) != "" {
			t.Errorf("%s: header %v", what, header)
		}
		delete(got, "header")
		expected := maps.Clone(want)
		maps.Copy(expected, extra)
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	slices.SortFunc(called, func(a, b *delivery) int { return len(a.body) - len(b.body) }) // they may overtake each other
	check("first callback", called[0], nil)
	check("second callback", called[1], map[string]any{"retried": 1.0})
	check("failure callback", failed[0], map[string]any{"retried": 1.0, "dlqId": dlqID})

	if d := called[0]; d.method != "PATCH" || d.header.Get("X-Kind") != "callback" || d.header.Get("Content-Type") != "application/json" ||
		d.url != cb.URL+"/cb?kind=1" || d.header.Get("X-Trace") != "" || d.header.Get("Upstash-Retried") != "0" {
		t.Errorf("callback %s %s %v", d.method, d.url, d.header)
	}
	if d := failed[0]; d.method != "POST" || d.header.Get("X-Kind") != "failure" || d.header.Get("Content-Type") != "text/json" {
		t.Errorf("failure callback %s %v", d.method, d.header)
	}
	own := map[string]bool{id: true}
	for _, d := range append(called, failed...) {
		own[d.header.Get("Upstash-Message-Id")] = true
	}
	if len(own) != 4 {
		t.Errorf("message ids %v", own)
	}
	first, last := get[client.Message](w, "/v2/messages/"+called[0].header.Get("Upstash-Message-Id")), get[client.Message](w, "/v2/messages/"+failed[0].header.Get("Upstash-Message-Id"))
	if first.MaxRetries != 0 || last.MaxRetries != 7 {
		t.Errorf("retries %d and %d", first.MaxRetries, last.MaxRetries)
	}
	w.await(first.MessageID, client.EventDelivered)
	equal(t, "a callback's events", w.states(first.MessageID), []client.EventState{"CREATED", "ACTIVE", "DELIVERED"})
}

// A delivered message calls back once, with what the destination said. Its
// failure callback is not for it.
func TestCallbackOfSuccess(t *testing.T) {
	w := newWorld(t)
	dest := w.endpoint(answers("", nil, 204))
	cb := w.endpoint(nil)
	id := w.publish(dest.URL, "", "Upstash-Retries: 9", "Upstash-Callback: "+cb.URL, "Upstash-Failure-Callback: "+cb.URL+"/failed")
	w.await(id, client.EventDelivered)
	d := cb.await(1)[0]
	got := object(t, d.body)
	for _, absent := range []string{"body", "sourceBody", "retried", "dlqId", "topicName", "endpointName", "scheduleId", "workflowRunId", "workflowCreatedAt"} {
		if v, ok := got[absent]; ok {
			t.Errorf("%s is %v", absent, v)
		}
	}
	if got["status"] != 204.0 || got["maxRetries"] != 9.0 || got["method"] != "POST" {
		t.Errorf("callback %s", d.body)
	}
	if header, ok := got["sourceHeader"].(map[string]any); !ok || len(header) != 0 {
		t.Errorf("sourceHeader %v", got["sourceHeader"])
	}
	own := d.header.Get("Upstash-Message-Id")
	w.await(own, client.EventDelivered)
	if m := get[client.Message](w, "/v2/messages/"+own); m.MaxRetries != 9 {
		t.Errorf("a callback has %d retries, its message 9", m.MaxRetries)
	}
	if n := len(cb.deliveries()); n != 1 {
		t.Errorf("%d callbacks", n)
	}
}

// Without an answer there is no header, no body, and status 0.
func TestCallbackWithoutAnswer(t *testing.T) {
	w := newWorld(t)
	dest := w.endpoint(func(http.ResponseWriter, *delivery) { panic(http.ErrAbortHandler) })
	cb := w.endpoint(nil)
	w.publish(dest.URL, "", "Upstash-Retries: 0", "Upstash-Callback: "+cb.URL)
	got := object(t, cb.await(1)[0].body)
	if header, ok := got["header"].(map[string]any); got["status"] != 0.0 || !ok || len(header) != 0 || got["body"] != nil {
		t.Errorf("callback %v", got)
	}
}

// A callback that fails is retried and dead-lettered like any message.
func TestCallbackFails(t *testing.T) {
	w := newWorld(t)
	dest := w.endpoint(nil)
	cb := w.endpoint(answers("no", nil, 500))
	w.publish(dest.URL, "", "Upstash-Callback: "+cb.URL, "Upstash-Callback-Retries: 2", "Upstash-Callback-Retry-Delay: 1")
	own := cb.await(1)[0].header.Get("Upstash-Message-Id")
	w.await(own, client.EventFailed)
	if n := len(cb.deliveries()); n != 3 {
		t.Errorf("%d attempts", n)
	}
	if d := w.dlq(""); len(d) != 1 || d[0].MessageID != own || d[0].URL != cb.URL {
		t.Errorf("DLQ %+v", d)
	}
}

// A callback's delay and deliveries go by its own settings.
func TestCallbackDelay(t *testing.T) {
	w := newWorld(t)
	dest := w.endpoint(nil)
	id := w.publish(dest.URL, "", "Upstash-Callback: "+dest.URL+"/cb", "Upstash-Callback-Delay: 1h")
	w.await(id, client.EventDelivered)
	events := w.events("?state=CREATED&url=" + dest.URL + "/cb")
	if len(events) != 1 {
		t.Fatalf("%d callbacks", len(events))
	}
	m := get[client.Message](w, "/v2/messages/"+events[0].MessageID)
	if wait := m.NotBefore - m.CreatedAt; wait != 3_600_000 {
		t.Errorf("callback due after %d ms", wait)
	}
}
