package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
)

const (
	inside  = "https://a.example/x/"
	outside = "https://a.example/xy"
)

// limited is a server with a message and a run on either side of a token's
// prefix, and a DLQ entry of each.
type limited struct {
	*world        // seen with the limited token
	all    *world // seen with the full one

	in, out       string // waiting messages
	deadIn, dead  string // DLQ ids
	runIn, runOut string
}

func newLimited(t *testing.T) *limited {
	t.Helper()
	w := newWorld(t)
	e := w.endpoint(answers("no", nil, 400))
	prefix, other := e.URL+"/x", e.URL+"/y"
	l := &limited{all: w, runIn: "wfr_in", runOut: "wfr_out"}
	l.world = w.withToken(fmt.Sprintf(`"urlPrefix": %q`, prefix), client.ScopePublish, client.ScopeRead)
	l.in = w.publish(prefix+"/in", "", "Upstash-Delay: 1h", "Upstash-Label: l")
	l.out = w.publish(other, "", "Upstash-Delay: 1h", "Upstash-Label: l")
	for run, url := range map[string]string{l.runIn: prefix, l.runOut: other} {
		w.do("POST", "/v2/trigger/"+url, "payload", "Upstash-Delay: 1h", "Upstash-Workflow-RunId: "+run).into(200, &client.TriggerResponse{})
	}
	w.fail(prefix, 1)
	w.fail(other, 1)
	for _, d := range w.dlq("") {
		if d.URL == prefix {
			l.deadIn = d.DLQID
		} else {
			l.dead = d.DLQID
		}
	}
	return l
}

// A token with a prefix calls no other URL, in whatever way it is asked to.
func TestT21PrefixLimitsWhatIsCalled(t *testing.T) {
	full := newWorld(t)
	w := full.withToken(`"urlPrefix": "https://a.example/x"`, client.ScopePublish)
	later := "Upstash-Delay: 1h"
	workflow := func(lines ...string) []string {
		return append(lines, later, "Upstash-Workflow-Init: true", "Upstash-Workflow-RunId: wfr_w", "Upstash-Workflow-Sdk-Version: 1")
	}
	item := func(url string) string { return fmt.Sprintf(`[{"destination":%q}, {"destination":%q}]`, inside, url) }
	for name, ask := range map[string]func() answer{
		"publish":      func() answer { return w.do("POST", "/v2/publish/"+outside, "", later) },
		"dot segments": func() answer { return w.do("POST", "/v2/publish/"+inside+"../y", "", later) },
		"encoded":      func() answer { return w.do("POST", "/v2/publish/"+inside+"%2e%2e/y", "", later) },
		"encoded as a whole": func() answer {
			return w.do("POST", "/v2/publish/https%3A%2F%2Fa.example%2Fx%2F%252e%252e%2Fy", "", later)
		},
		"user":          func() answer { return w.do("POST", "/v2/publish/https://a.example/x@evil.example/", "", later) },
		"host":          func() answer { return w.do("POST", "/v2/publish/https://a.example.evil/x", "", later) },
		"batch":         func() answer { return w.do("POST", "/v2/batch", item(outside), later) },
		"batch trigger": func() answer { return w.do("POST", "/v2/batch/trigger", item(outside), later) },
		"trigger":       func() answer { return w.do("POST", "/v2/trigger/"+outside, "", later) },
		"callback":      func() answer { return w.do("POST", "/v2/publish/"+inside, "", later, "Upstash-Callback: "+outside) },
		"failure callback": func() answer {
			return w.do("POST", "/v2/publish/"+inside, "", later, "Upstash-Failure-Callback: "+outside)
		},
		"workflow url": func() answer {
			return w.do("POST", "/v2/publish/"+inside, "", workflow("Upstash-Workflow-Url: "+outside)...)
		},
		"workflow": func() answer {
			return w.do("POST", "/v2/publish/"+outside, "", workflow("Upstash-Workflow-Url: "+inside)...)
		},
	} {
		full.unchanged(name, func() {
			if a := ask(); a.status != 403 && a.status != 400 {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
		})
	}
	for name, a := range map[string]answer{
		"publish":       w.do("POST", "/v2/publish/"+inside, "", later, "Upstash-Callback: https://a.example/x", "Upstash-Failure-Callback: "+inside+"f"),
		"batch":         w.do("POST", "/v2/batch", item(inside)),
		"trigger":       w.do("POST", "/v2/trigger/"+inside, "", later),
		"batch trigger": w.do("POST", "/v2/batch/trigger", item(inside)),
	} {
		if a.status >= 300 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// Deduplication ids of a token with a prefix are its own: it neither swallows
// what others publish nor learns of that.
func TestPrefixDeduplicates(t *testing.T) {
	full := newWorld(t)
	w := full.withToken(`"urlPrefix": "https://a.example/x"`, client.ScopePublish)
	for id, header := range map[string]string{"id": "Upstash-Deduplication-Id: order-1", "content": "Upstash-Content-Based-Deduplication: true"} {
		send := func(w *world, want bool) string {
			t.Helper()
			var p client.PublishResponse
			status := 200
			if want {
				status = 202
			}
			if w.do("POST", "/v2/publish/"+inside, "same", header, "Upstash-Delay: 1h").into(status, &p); p.Deduplicated != want {
				t.Errorf("%s: deduplicated %v, want %v", id, p.Deduplicated, want)
			}
			return p.MessageID
		}
		planted := send(w, false)
		sent := send(full, false)
		for _, pair := range []struct {
			by    *world
			first string
		}{{w, planted}, {full, sent}} {
			if again := send(pair.by, true); again != pair.first {
				t.Errorf("%s: a duplicate of %s, want of %s", id, again, pair.first)
			}
		}
	}
}

// What a token with a prefix can't call it does not see: not in lists, not by
// ids, not in counts.
func TestT21PrefixLimitsWhatIsSeen(t *testing.T) {
	l := newLimited(t)
	prefix := strings.TrimSuffix(get[client.Message](l.all, "/v2/messages/"+l.in).URL, "/in")
	for _, list := range []string{"/v2/events", "/v2/events?order=earliestFirst", "/v2/events?messageId=" + l.in + "," + l.out, "/v2/logs", "/v2/dlq", "/v2/dlq?dlqIds=" + l.dead + "," + l.deadIn, "/v2/workflows/logs", "/v2/workflows/events?groupBy=workflowRunId"} {
		limited, all := string(l.do("GET", list, "").body), string(l.all.do("GET", list, "").body)
		if other := strings.TrimSuffix(prefix, "x") + "y"; strings.Contains(limited, other) || !strings.Contains(all, other) || !strings.Contains(limited, prefix) {
			t.Errorf("%s:\nlimited %s\nall %s", list, limited, all)
		}
	}
	l.do("GET", "/v2/messages/"+l.in, "").into(200, &client.Message{})
	l.do("GET", "/v2/dlq/"+l.deadIn, "").into(200, &client.DLQMessage{})
	l.do("GET", "/v2/workflows/runs/"+l.runIn, "").into(200, &[]client.LogEntry{})
	for _, request := range []string{
		"GET /v2/messages/" + l.out, "DELETE /v2/messages/" + l.out, "GET /v2/dlq/" + l.dead, "DELETE /v2/dlq/" + l.dead,
		"POST /v2/dlq/retry/" + l.dead, "GET /v2/workflows/runs/" + l.runOut, "DELETE /v2/workflows/runs/" + l.runOut,
		"DELETE /v2/workflows/runs/" + l.runOut + "?cancel=false",
	} {
		method, path, _ := strings.Cut(request, " ")
		l.all.unchanged(request, func() { l.do(method, path, "").refused(404, "not ") })
	}
	if got := l.runs("?workflowRunId=" + l.runOut); len(got) != 0 {
		t.Errorf("runs %+v", got)
	}
}

// Nor does it change any of that, by a filter, by ids, or by a run's id.
func TestT21PrefixLimitsWhatIsChanged(t *testing.T) {
	l := newLimited(t)
	var cancelled client.CancelResponse
	expect := func(what string, n int) {
		t.Helper()
		if cancelled.Cancelled != n {
			t.Errorf("%s: %d cancelled, want %d", what, cancelled.Cancelled, n)
		}
	}
	l.do("DELETE", "/v2/messages?messageIds="+l.out, "").into(200, &cancelled)
	expect("by ids", 0)
	l.do("DELETE", "/v2/messages?label=l", "").into(200, &cancelled)
	expect("by a filter", 1)
	l.do("DELETE", "/v2/workflows/runs?workflowRunIds="+l.runOut, "").into(200, &cancelled)
	expect("runs by ids", 0)
	l.do("DELETE", "/v2/workflows/runs", "").into(200, &cancelled)
	expect("all runs", 1)
	var deleted client.DLQDeleteResponse
	l.do("DELETE", "/v2/dlq?dlqIds="+l.dead, "").into(200, &deleted)
	if deleted.Deleted != 0 {
		t.Errorf("%d entries deleted by id", deleted.Deleted)
	}
	var retried client.DLQRetryResponse
	l.do("POST", "/v2/dlq/retry", "", "Upstash-Callback: https://evil.example").refused(403, "Upstash-Callback")
	l.do("POST", "/v2/dlq/retry/"+l.deadIn, "", "Upstash-Failure-Callback: https://evil.example").refused(403, "Upstash-Failure-Callback")
	l.do("POST", "/v2/dlq/retry", "", "Upstash-Delay: 1h").into(201, &retried)
	if len(retried.Responses) != 1 {
		t.Errorf("retried %+v", retried)
	}
	l.do("DELETE", "/v2/dlq", "").into(200, &deleted)

	// A run's id does not lead to the run.
	at := strings.TrimSuffix(retried.Responses[0].URL, "/")
	l.do("POST", "/v2/trigger/"+at, "", "Upstash-Workflow-RunId: "+l.runOut).refused(409, l.runOut)
	l.do("POST", "/v2/publish/"+at, `{"stepId":1,"stepName":"a","stepType":"Run","out":"1","concurrent":1}`,
		"Upstash-Workflow-RunId: "+l.runOut, "Upstash-Workflow-Url: "+at).refused(400, "not active")

	if states := l.all.states(l.out); slices.Contains(states, client.EventCanceled) {
		t.Errorf("the other message: %v", states)
	}
	if r := l.all.run(l.runOut); r.State != client.RunStarted || len(r.Steps) > 2 {
		t.Errorf("the other run: %+v", r)
	}
	if left := l.all.dlq(""); len(left) != 1 || left[0].DLQID != l.dead {
		t.Errorf("DLQ: %+v", left)
	}
}

// Content that is in every place where there is content is nowhere in what a
// token for metadata is shown.
func TestT21MetadataOfEverything(t *testing.T) {
	w := newWorld(t)
	const secret = "canary-4711"
	f := w.flow()
	init := f.trigger("wfr_1", `"`+secret+`"`, "Upstash-Forward-Authorization: "+secret, "Upstash-Retries: 0",
		"Upstash-Failure-Callback: "+f.URL, "Upstash-Failure-Callback-Forward-X: "+secret)
	c := f.next(init)
	step := f.append("wfr_1", run(1, "create", `"`+secret+`"`))[0]
	c.ok()
	f.next(step).answer(500, secret, "X-Answer: "+secret)
	w.awaitRun("wfr_1", client.RunFailed)
	e := w.endpoint(answers(secret, []string{"X-Answer: " + secret}, 400))
	id := w.publish(e.URL, secret, "Upstash-Retries: 0", "Upstash-Forward-Authorization: "+secret,
		"Upstash-Callback: https://cb.invalid", "Upstash-Callback-Forward-X: "+secret,
		"Upstash-Failure-Callback: https://cb.invalid", "Upstash-Failure-Callback-Forward-X: "+secret)
	w.await(id, client.EventFailed)

	w.resume(w.failed("wfr_1"), `{"payload":"`+secret+`","steps":[{"stepId":1,"out":"`+secret+`"}]}`, "Upstash-Delay: 1h", "Upstash-Forward-X: "+secret)

	reader := w.withToken("", client.ScopeReadMetadata)
	b64 := b64(secret)
	paths := []string{"/v2/messages/" + id, "/v2/messages/" + step, "/v2/events", "/v2/logs", "/v2/dlq", "/v2/workflows/logs", "/v2/workflows/events?groupBy=workflowRunId"}
	for _, d := range w.dlq("") {
		paths = append(paths, "/v2/dlq/"+d.DLQID)
	}
	for _, path := range paths {
		full, seen := w.do("GET", path, ""), reader.do("GET", path, "")
		if !strings.Contains(string(full.body), secret) && !strings.Contains(string(full.body), b64) {
			t.Errorf("%s: no content to leave out in %s", path, full.body)
		}
		if seen.status != 200 || strings.Contains(string(seen.body), secret) || strings.Contains(string(seen.body), b64[:8]) {
			t.Errorf("%s: %d %s", path, seen.status, seen.body)
		}
		if !strings.Contains(string(seen.body), "Id\":") {
			t.Errorf("%s: no ids in %s", path, seen.body)
		}
	}
	f.any("the failure callback").ok()
}

// Queues and keys of flow control are for all URLs: a token with a prefix sends
// through them to its own, sees how they stand, and changes none.
func TestT21PrefixManagesNoLanes(t *testing.T) {
	full := newWorld(t)
	w := full.withToken(`"urlPrefix": "https://a.example/x"`, client.ScopePublish, client.ScopeRead)
	later := []string{"Upstash-Delay: 1h", "Upstash-Flow-Control-Key: k", "Upstash-Flow-Control-Value: rate=1"}
	w.do("POST", "/v2/enqueue/q/"+inside, "", later...).into(200, &client.PublishResponse{})
	full.unchanged("outside", func() {
		w.do("POST", "/v2/enqueue/q2/"+outside, "", later...).refused(403, "destination", "https://a.example/x")
	})
	full.do("GET", "/v2/queues/q2", "").refused(404)
	if q := get[client.Queue](w, "/v2/queues/q"); q.Lag != 1 {
		t.Errorf("queue %+v", q)
	}
	if k := get[client.FlowControlKey](w, "/v2/flowControl/k"); k.RateMax != 1 {
		t.Errorf("key %+v", k)
	}
	before := get[[]client.Queue](full, "/v2/queues")
	keys := get[[]client.FlowControlKey](full, "/v2/flowControl")
	for _, r := range []struct{ method, path, body string }{
		{"POST", "/v2/queues", `{"queueName":"q","parallelism":3}`}, {"POST", "/v2/queues", `{"queueName":"new"}`},
		{"DELETE", "/v2/queues/q", ""}, {"POST", "/v2/queues/q/pause", ""}, {"POST", "/v2/queues/q/resume", ""},
		{"POST", "/v2/flowControl/k/pause", ""}, {"POST", "/v2/flowControl/k/resume", ""}, {"POST", "/v2/flowControl/k/resetRate", ""},
		{"POST", "/v2/flowControl/k/pin?rate=5", ""}, {"POST", "/v2/flowControl/k/unpin?rate=true", ""}, {"POST", "/v2/flowControl/new/pause", ""},
	} {
		full.unchanged(r.path, func() { w.do(r.method, r.path, r.body).refused(403, "for all URLs", "https://a.example/x") })
	}
	if after := get[[]client.Queue](full, "/v2/queues"); !slices.Equal(after, before) {
		t.Errorf("queues %+v, were %+v", after, before)
	}
	if after := get[[]client.FlowControlKey](full, "/v2/flowControl"); !slices.Equal(after, keys) {
		t.Errorf("keys %+v, were %+v", after, keys)
	}
}
