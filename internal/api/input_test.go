package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/api"
	"github.com/signposthq/signpost/internal/engine"
)

// stored is all that a user can see of what the server has.
func (w *world) stored() string {
	w.t.Helper()
	var all strings.Builder
	for _, list := range []string{"/v2/events", "/v2/dlq", "/v2/workflows/logs"} {
		a := w.do("GET", list, "")
		if a.status != 200 {
			w.t.Fatalf("%s: %d %s", list, a.status, a.body)
		}
		fmt.Fprintf(&all, "%s\n", a.body)
	}
	return all.String()
}

// unchanged checks that nothing was stored by whatever try does.
func (w *world) unchanged(what string, try func()) {
	w.t.Helper()
	before := w.stored()
	try()
	if after := w.stored(); after != before {
		w.t.Errorf("%s: something was stored: %s", what, after)
	}
}

// free checks that deduplication ids are not taken.
func (w *world) free(ids []string) {
	w.t.Helper()
	for _, id := range ids {
		w.publish("https://example.com/", "", "Upstash-Delay: 1h", "Upstash-Deduplication-Id: "+id)
	}
}

// sample is a path that a route answers.
func sample(r api.Route) string {
	return strings.NewReplacer("{id}", "Some-Id", "{queue}", "some-queue", "{name}", "some-name", "{key...}", "some/key/pause",
		"{destination...}", "https://example.com/",
		"{event}", "some-event", "{event...}", "some/event", "{run}", "wfr_some", "{user}", "defaultUser").Replace(r.Pattern)
}

// Every route but those that are open wants a token that somebody has.
func TestUnauthorized(t *testing.T) {
	w := newWorldOf(t, &signpost.Server{RateLimit: -1, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	anybody := *w
	anybody.token = ""
	basic := "Authorization: Basic " + w.token
	for i, r := range api.Routes() {
		if r.Open {
			want := 200
			if strings.Contains(r.Pattern, "{event") {
				want = 404 // there is none
			}
			if a := anybody.do(r.Method, sample(r)+"?user=defaultUser", ""); a.status != want {
				t.Errorf("%s %s: %d without a token", r.Method, r.Pattern, a.status)
			}
			continue
		}
		held := "Upstash-Deduplication-Id: held"
		tries := map[string][]string{
			"no token":     {held},
			"wrong token":  {held, "Authorization: Bearer " + w.token + "x"},
			"empty token":  {held, "Authorization: Bearer "},
			"other scheme": {held, basic},
			"bare token":   {held, "Authorization: " + w.token},
		}
		for name, header := range tries {
			header = append(header, fmt.Sprint("X-Forwarded-For: 192.0.2.", i)) // each may try a few
			w.unchanged(name, func() {
				a := anybody.do(r.Method, sample(r), "[]", header...)
				a.refused(401, "unauthorized")
				if got := a.header.Get("WWW-Authenticate"); got != "Bearer" {
					t.Errorf("%s %s, %s: WWW-Authenticate %q", r.Method, r.Pattern, name, got)
				}
			})
		}
		a := anybody.do(r.Method, sample(r)+"?qstash_token="+strings.ReplaceAll(w.token, "=", "%3D"), "[]", basic)
		if a.status != 401 {
			t.Errorf("%s %s: the token of the query stood in for a bad header", r.Method, r.Pattern)
		}
		if a.refused(401, "unauthorized"); i == 0 {
			w.unchanged("token in the query", func() {
				anybody.do("GET", "/v2/keys?qstash_token="+strings.ReplaceAll(w.token, "=", "%3D"), "").into(200, &client.SigningKeys{})
			})
		}
	}
	w.free([]string{"held"})
}

// Whatever is not a route is answered in JSON, and a wrong method with the
// right ones.
func TestNoSuchRoute(t *testing.T) {
	w := newWorld(t)
	methods := []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"}
	for _, r := range api.Routes() {
		path := sample(r)
		var right, wrong []string
		for _, method := range methods {
			if api.FindRoute(method, path) >= 0 {
				right = append(right, method)
			} else {
				wrong = append(wrong, method)
			}
		}
		if slices.Contains(right, "GET") {
			right = append(right, "HEAD")
		}
		for _, method := range wrong {
			w.unchanged(method+" "+path, func() {
				a := w.do(method, path, "")
				a.refused(405, method, "not allowed")
				allowed := strings.Split(a.header.Get("Allow"), ", ")
				slices.Sort(allowed)
				equal(t, method+" "+path+": Allow", allowed, slices.Sorted(slices.Values(right)))
			})
		}
	}
	for _, path := range []string{"/", "/v2", "/v2/", "/v1/publish/https://example.com", "/v2/nothing", "/v2/messages/a/b",
		"/v2/publishing/https://example.com", "/v2/user", "/llm/v1/chat/completions", "/v2/keys/other/thing", "/v2/workflows/hooks/u/r"} {
		w.unchanged(path, func() { w.do("POST", path, "").refused(404, "no such route: POST /"+strings.Split(path, "/")[1]) })
	}
}

// badSettings are headers that a publish is refused for, each with what the
// refusal has to say.
var badSettings = []struct {
	header string // one or more, a line each
	status int
	says   []string
}{
	{"Upstash-Method: FETCH", 400, []string{"Upstash-Method", "GET, POST, PUT, PATCH or DELETE", `"FETCH"`}},
	{"Upstash-Delay: soon", 400, []string{"Upstash-Delay", "duration such as 50s", `"soon"`}},
	{"Upstash-Delay: -5s", 400, []string{"Upstash-Delay", "duration"}},
	{"Upstash-Delay: 1h30", 400, []string{"Upstash-Delay", "duration"}},
	{"Upstash-Delay: 1w", 400, []string{"Upstash-Delay", "units s m h d"}},
	{"Upstash-Delay: ", 400, []string{"Upstash-Delay", "duration"}},
	{"Upstash-Delay: 1s\nUpstash-Delay: 2s", 400, []string{"Upstash-Delay", "one value"}},
	{"Upstash-Delay: 367d", 412, []string{"Upstash-Delay", "at most"}},
	{"Upstash-Not-Before: tomorrow", 400, []string{"Upstash-Not-Before", "Unix seconds"}},
	{"Upstash-Not-Before: 17000000000000", 400, []string{"Upstash-Not-Before", "Unix seconds"}},
	{"Upstash-Not-Before: 9000000000", 412, []string{"Upstash-Not-Before"}},
	{"Upstash-Retries: many", 400, []string{"Upstash-Retries", "whole number"}},
	{"Upstash-Retries: -1", 400, []string{"Upstash-Retries", "whole number"}},
	{"Upstash-Retries: 1.5", 400, []string{"Upstash-Retries", "whole number"}},
	{"Upstash-Retries: 1000", 412, []string{"Upstash-Retries", "1000", "at most 999"}},
	{"Upstash-Retry-Delay: retries * 2", 400, []string{"Upstash-Retry-Delay", "retries"}},
	{"Upstash-Retry-Delay: 1000 +", 400, []string{"Upstash-Retry-Delay"}},
	{"Upstash-Retry-Delay: 2 ^ retried", 400, []string{"Upstash-Retry-Delay"}},
	{"Upstash-Retry-Delay: pow(2)", 400, []string{"Upstash-Retry-Delay", "pow"}},
	{"Upstash-Retry-Delay: " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000), 400, []string{"Upstash-Retry-Delay"}},
	{"Upstash-Timeout: forever", 400, []string{"Upstash-Timeout", "duration"}},
	{"Upstash-Callback: /relative", 400, []string{"Upstash-Callback", "absolute http or https URL"}},
	{"Upstash-Callback: ftp://example.com", 400, []string{"Upstash-Callback", "absolute http or https URL"}},
	{"Upstash-Failure-Callback: http://", 400, []string{"Upstash-Failure-Callback", "absolute http or https URL"}},
	{"Upstash-Callback: https://example.com\nUpstash-Callback-Retries: x", 400, []string{"Upstash-Callback-Retries", "whole number"}},
	{"Upstash-Callback: https://example.com\nUpstash-Callback-Retries: 1000", 412, []string{"Upstash-Callback-Retries: 1000, at most 999"}},
	{"Upstash-Callback: https://example.com\nUpstash-Callback-Delay: 367d", 412, []string{"Upstash-Callback-Delay: 8808h0m0s, at most"}},
	{"Upstash-Failure-Callback: https://example.com\nUpstash-Failure-Callback-Not-Before: 9000000000", 412, []string{"Upstash-Failure-Callback-Not-Before: more than"}},
	{"Upstash-Callback: https://example.com\nUpstash-Callback-Callback: https://example.com", 400, []string{"Upstash-Callback-Callback"}},
	{"Upstash-Failure-Callback: https://example.com\nUpstash-Failure-Callback-Delay: x", 400, []string{"Upstash-Failure-Callback-Delay", "duration"}},
	{"Upstash-Failure-Callback: https://example.com\nUpstash-Failure-Callback-Retry-Delay: x", 400, []string{"Upstash-Failure-Callback-Retry-Delay"}},
	{"Upstash-Label: good, not good", 400, []string{"Upstash-Label", "comma-separated", `"not good"`}},
	{"Upstash-Label: ümlaut", 400, []string{"Upstash-Label", "comma-separated"}},
	{"Upstash-Deduplication-Id: a:b", 400, []string{"DeduplicationId cannot contain ':'"}},
	{"Upstash-Deduplication-Id: ", 400, []string{"Upstash-Deduplication-Id"}},
	{"Upstash-Content-Based-Deduplication: maybe", 400, []string{"Upstash-Content-Based-Deduplication", "true or false"}},
	{"Upstash-Header-Forward: maybe", 400, []string{"Upstash-Header-Forward", "true or false"}},
	{"Upstash-Queue-Name: a b", 400, []string{"Upstash-Queue-Name", "A-Z a-z 0-9 _ . -", `"a b"`}},
	{"Upstash-Queue-Name: ", 400, []string{"Upstash-Queue-Name", "A-Z a-z 0-9 _ . -"}},
	{"Upstash-Queue-Name: a\nUpstash-Queue-Name: b", 400, []string{"Upstash-Queue-Name", "one value"}},
	{"Upstash-Flow-Control-Key: k", 400, []string{"Upstash-Flow-Control-Value", "required with Upstash-Flow-Control-Key"}},
	{"Upstash-Flow-Control-Value: rate=1", 400, []string{"Upstash-Flow-Control-Key", "required with Upstash-Flow-Control-Value"}},
	{"Upstash-Flow-Control-Key: k\nUpstash-Flow-Control-Value: rate=0", 400, []string{"Upstash-Flow-Control-Value", "rate", "whole number from 1"}},
	{"Upstash-Flow-Control-Key: k\nUpstash-Flow-Control-Value: fast", 400, []string{"Upstash-Flow-Control-Value should be either rate=X or parallelism=Y"}},
	{"Upstash-Flow-Control-Key: k\nUpstash-Flow-Control-Value: rate=1, period=8d", 400, []string{"Upstash-Flow-Control-Value", "period", "from 1s to 7d"}},
	{"Upstash-Callback: https://example.com\nUpstash-Callback-Queue-Name: q", 400, []string{"Upstash-Callback-Queue-Name", "no queue"}},
	{"Upstash-Cron: * * * *", 400, []string{"Upstash-Cron", "minute hour"}},
	{"Upstash-Schedule-Id: s", 400, []string{"Upstash-Schedule-Id", "/v2/schedules"}},
	{"Upstash-Redact-Fields: body,all", 400, []string{"Upstash-Redact-Fields", `"all"`, "header[Name]"}},
	{"Upstash-Hop: some", 400, []string{"Upstash-Hop", `"some"`, "whole number"}},
	{"Upstash-Hop: 16", 400, []string{"Upstash-Hop", "message 17 of a chain", "loop"}},
	{"Upstash-Forward-A B: x", 400, []string{"header name"}},
	{"Upstash-Workflow-Init: perhaps", 400, []string{"Upstash-Workflow-Init", "true or false"}},
	{"Upstash-Workflow-Init: true\nUpstash-Workflow-Runid: a/b", 400, []string{"Upstash-Workflow-Runid", `"a/b"`}},
	{"Upstash-Workflow-Init: true\nUpstash-Workflow-Url: app", 400, []string{"Upstash-Workflow-Url", "absolute http or https URL"}},
	{"Upstash-Workflow-Init: true\nUpstash-Workflow-Calltype: shout", 400, []string{"Upstash-Workflow-Calltype", "toCallback"}},
	{"Upstash-Workflow-Init: true\nUpstash-Workflow-Invoke: true", 400, []string{"body", "expected a JSON object"}},
}

// A publish, a batch and a trigger refuse the same settings; a batch as a
// whole, naming the item.
func TestBadSettings(t *testing.T) {
	w := newWorld(t)
	var held []string
	for i, bad := range badSettings {
		header := strings.Split(bad.header, "\n")
		id := fmt.Sprintf("held-%d", i)
		if !strings.Contains(bad.header, "Deduplication-Id") {
			header = append(header, "Upstash-Deduplication-Id: "+id)
		}
		held = append(held, id)
		if !strings.Contains(bad.header, "A B") { // net/http refuses to send it
			for _, path := range []string{"/v2/publish/https://example.com/", "/v2/trigger/https://example.com/"} {
				w.unchanged(path+" "+bad.header, func() { w.do("POST", path, "x", header...).refused(bad.status, bad.says...) })
			}
		}
		for _, path := range []string{"/v2/batch", "/v2/batch/trigger"} {
			w.unchanged(path+" "+bad.header, func() {
				w.do("POST", path, batchOf(t, id, header)).refused(bad.status, append(bad.says, "[1]")...)
			})
		}
	}
	w.free(held)
}

// batchOf is a batch whose second item has these headers. Its first takes the
// deduplication id too.
func batchOf(t *testing.T, id string, header []string) string {
	t.Helper()
	object := map[string][]string{}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		name = strings.ToLower(name)
		object[name] = append(object[name], value)
	}
	text, err := json.Marshal([]any{
		map[string]any{"destination": "https://example.com/a", "headers": map[string]string{"upstash-deduplication-id": id}},
		map[string]any{"destination": "https://example.com/b", "headers": object},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A setting in the query is refused like one in the header.
func TestBadSettingInTheQuery(t *testing.T) {
	w := newWorld(t)
	w.unchanged("query", func() {
		w.do("POST", "/v2/publish/https://example.com/?upstash-retries=many", "").refused(400, "Upstash-Retries", "whole number")
		w.do("POST", "/v2/publish/https://example.com/?upstash-delay=%zz", "").refused(400, "upstash-delay", "percent-encoded")
	})
}

func TestBadDestination(t *testing.T) {
	w := newWorld(t)
	const scheme = "invalid destination url: endpoint has invalid scheme, add http:// or https://"
	var held []string
	for i, bad := range []struct{ dest, says string }{
		{"", "a non-empty destination must be provided"},
		{"example.com/path", scheme},
		{"ftp://example.com", scheme},
		{"v2/publish/https://example.com", scheme},
		{"//example.com", scheme},
		{"api/email", "another api destination"},
		{"http://", "invalid destination url"},
		{"https:///path", "invalid destination url"},
		{"http://:80/", "invalid destination url"},
		{"http://example.com:99999/", "invalid destination url"},
		{"http://example.com:port/", "invalid destination url"},
		{"http://[::1", "invalid destination url"},
	} {
		id := fmt.Sprintf("held-%d", i)
		held = append(held, id)
		header := "Upstash-Deduplication-Id: " + id
		w.unchanged(bad.dest, func() {
			w.do("POST", "/v2/publish/"+bad.dest, "x", header).refused(400, bad.says)
			w.do("POST", "/v2/trigger/"+bad.dest, "x", header).refused(400, bad.says)
			body, _ := json.Marshal([]any{
				map[string]any{"destination": "https://example.com/a", "headers": map[string]string{"upstash-deduplication-id": id}},
				map[string]any{"destination": bad.dest},
			})
			w.do("POST", "/v2/batch", string(body)).refused(400, bad.says, "[1].destination")
		})
	}
	for _, name := range []string{"my-group", "example.com"} {
		w.unchanged(name, func() {
			w.do("POST", "/v2/publish/"+name, "x", "Upstash-Deduplication-Id: held-0").refused(404, "topic "+name+" not found")
			w.do("POST", "/v2/enqueue/q/"+name, "x", "Upstash-Deduplication-Id: held-0").refused(404, "topic "+name+" not found")
			w.do("POST", "/v2/trigger/"+name, "x").refused(400, "destination", "the URL of a workflow", name)
		})
	}
	w.free(held)
}

func TestBadBatch(t *testing.T) {
	w := newWorld(t)
	const good = `{"destination":"https://example.com/","headers":{"upstash-deduplication-id":"held"}}`
	for _, bad := range []struct{ body, says string }{
		{"", "JSON array"},
		{"nonsense", "JSON array"},
		{good, "JSON array"},
		{"[]", "at least one message"},
		{"[" + good, "JSON array"},
		{"[" + good + "]x", "nothing after the JSON array"},
		{"[" + good + `,{"headers":{}}]`, "[1].destination: a non-empty destination must be provided"},
		{"[" + good + `,null]`, "[1]"},
		{"[" + good + `,"https://example.com"]`, "[1]: expected an object"},
		{"[" + good + `,{"destination":1}]`, "[1].destination: expected a string"},
		{"[" + good + `,{"destination":"https://example.com","body":{}}]`, "[1].body: expected a string"},
		{"[" + good + `,{"destination":"https://example.com","headers":[]}]`, "[1].headers"},
		{"[" + good + `,{"destination":"https://example.com","headers":{"Upstash-Delay":5}}]`, "[1].headers.Upstash-Delay"},
		{"[" + good + `,{"destination":"https://example.com","headers":{"a b":"c"}}]`, "[1].headers"},
		{"[" + good + `,{"destination":"https://example.com","queue":"a b"}]`, "[1].queue: expected 1 to 256 of A-Z a-z 0-9 _ . -"},
		{"[" + good + `,{"destination":"https://example.com","queue":true}]`, "[1].queue: expected a string"},
		{"[" + good + `,{"destination":"https://example.com","body":"` + "\xff" + `"}]`, "UTF-8"},
	} {
		w.unchanged(bad.body, func() {
			w.do("POST", "/v2/batch", bad.body).refused(400, bad.says)
			w.do("POST", "/v2/batch/trigger", bad.body).refused(400, bad.says)
		})
	}
	w.free([]string{"held"})
}

// Lists and bulk operations name the parameter that is wrong. Those that
// change things refuse what they don't know: it may be a filter, mistyped.
func TestBadParameters(t *testing.T) {
	w := newWorld(t)
	w.publish("https://example.com/", "", "Upstash-Delay: 1h")
	w.do("POST", "/v2/trigger/https://example.com/", "", "Upstash-Delay: 1h").into(200, &client.TriggerResponse{})
	for _, bad := range []struct{ method, target, body, says string }{
		{"GET", "/v2/events?state=DONE", "", "state"},
		{"GET", "/v2/events?order=up", "", "order: expected latestFirst or earliestFirst"},
		{"GET", "/v2/events?count=0", "", "count"},
		{"GET", "/v2/events?count=ten", "", "count"},
		{"GET", "/v2/events?fromDate=yesterday", "", "fromDate"},
		{"GET", "/v2/events?cursor=x", "", "cursor"},
		{"GET", "/v2/events?messageId=msg_1&cursor=x", "", "cursor"},
		{"GET", "/v2/logs?toDate=-1", "", "toDate"},
		{"GET", "/v2/events?a=%zz", "", "query"},
		{"GET", "/v2/dlq?cursor=x", "", "cursor"},
		{"GET", "/v2/dlq?responseStatus=bad", "", "responseStatus"},
		{"GET", "/v2/dlq?source=elsewhere", "", "source"},
		{"GET", "/v2/workflows/logs?state=RUN_LOST", "", "state"},
		{"GET", "/v2/workflows/logs?workflowRuns=wfr_1", "", "workflowRuns: expected id@createdAt"},
		{"GET", "/v2/workflows/logs?cursor=x", "", "cursor"},
		{"GET", "/v2/workflows/events?groupBy=messageId", "", "groupBy"},
		{"GET", "/v2/workflows/events?state=LOST", "", "state"},
		{"GET", "/v2/workflows/logs?trimBody=-1", "", "trimBody: expected true"},
		{"GET", "/v2/workflows/dlq?failureFunctionState=LOST", "", "failureFunctionState"},
		{"DELETE", "/v2/workflows/dlq?failureCallbackState=LOST", "", "failureFunctionState"},
		{"POST", "/v2/workflows/dlq/resume?dlqids=1-1", "", "dlqids: not a parameter"},
		{"POST", "/v2/workflows/dlq/restart?label=", "", "label: an empty value"},
		{"DELETE", "/v2/messages?lable=a", "", "lable: not a parameter"},
		{"DELETE", "/v2/messages?label=", "", "label: an empty value"},
		{"DELETE", "/v2/messages?messageIds=,", "", "messageIds: an empty value"},
		{"DELETE", "/v2/messages?toDate=0", "", "toDate: expected a whole number of at least 1"},
		{"DELETE", "/v2/messages", `{"toDate":0}`, "toDate: expected a whole number of at least 1"},
		{"DELETE", "/v2/messages?toDate=5&toDate=9000000000000", "", "toDate: expected one value"},
		{"DELETE", "/v2/messages?count=1", `{"count":5}`, "count: expected one value"},
		{"DELETE", "/v2/dlq?toDate=0", "", "toDate: expected a whole number of at least 1"},
		{"POST", "/v2/dlq/retry", `{"toDate":"0"}`, "toDate: expected a whole number of at least 1"},
		{"DELETE", "/v2/workflows/runs?toDate=0", "", "toDate: expected a whole number of at least 1"},
		{"DELETE", "/v2/messages?count=-1", "", "count"},
		{"DELETE", "/v2/messages", `{"messageIds":[]}`, "messageIds: an empty value"},
		{"DELETE", "/v2/messages", `{"messageIds":[""]}`, "messageIds: an empty value"},
		{"DELETE", "/v2/messages", `{"messageIds":[{}]}`, "messageIds: expected"},
		{"DELETE", "/v2/messages", `{"messageIds":[null]}`, "messageIds: expected a string"},
		{"DELETE", "/v2/messages", `{"messageIds":["msg_1",""]}`, "messageIds: an empty value"},
		{"DELETE", "/v2/messages", `{"messageIds":""}`, "messageIds: an empty value"},
		{"DELETE", "/v2/messages", `{"messageIds":"","label":"a"}`, "messageIds: an empty value"},
		{"DELETE", "/v2/messages", `{"messageIds":null,"label":""}`, "an empty value"},
		{"DELETE", "/v2/messages", `{"label":""}`, "label: an empty value"},
		{"DELETE", "/v2/messages", `{"label":null,"count":5}`, "label: an empty value"},
		{"DELETE", "/v2/messages", `{"label":"x","label":null}`, "label: expected once"},
		{"DELETE", "/v2/messages", `{"nonsense":""}`, "nonsense: not a parameter"},
		{"DELETE", "/v2/messages", `{"label":"x","nonsense":null}`, "nonsense: not a parameter"},
		{"DELETE", "/v2/messages", `{}{"label":"x"}`, "JSON object"},
		{"DELETE", "/v2/messages", `{}}`, "JSON object"},
		{"DELETE", "/v2/messages", `null`, "JSON object"},
		{"DELETE", "/v2/messages", `{"count":""}`, "count: an empty value"},
		{"DELETE", "/v2/messages", `{"label":"x","count":null}`, "count: an empty value"},
		{"DELETE", "/v2/messages?count=", "", "count: an empty value"},
		{"DELETE", "/v2/messages/", "", "/v2/messages/: an id is missing"},
		{"DELETE", "/v2/messages/?count=5", "", "/v2/messages/: an id is missing"},
		{"DELETE", "/v2/messages", `["msg_1"]`, "JSON object"},
		{"DELETE", "/v2/messages", `{"messageIds":["msg_1"]`, "JSON object"},
		{"DELETE", "/v2/messages", `{"queue":"q"}`, "queue: not a parameter"},
		{"DELETE", "/v2/dlq?host=example.com", "", "host: not a parameter"},
		{"DELETE", "/v2/dlq?order=newest", "", "order: expected latestFirst or earliestFirst"},
		{"DELETE", "/v2/dlq?dlqIds=", "", "dlqIds: an empty value"},
		{"DELETE", "/v2/dlq", `{"nonsense":null}`, "nonsense: not a parameter"},
		{"DELETE", "/v2/dlq", `{"dlqIds":[null]}`, "dlqIds: expected a string"},
		{"DELETE", "/v2/dlq/", "", "/v2/dlq/: an id is missing"},
		{"POST", "/v2/dlq/retry/", "", "/v2/dlq/retry/: an id is missing"},
		{"POST", "/v2/dlq/retry", `{"dlqIds":""}`, "dlqIds: an empty value"},
		{"POST", "/v2/dlq/retry?labeel=x", "", "labeel: not a parameter"},
		{"POST", "/v2/dlq/retry?dlqIds=", "", "dlqIds: an empty value"},
		{"DELETE", "/v2/workflows/runs?workflowRunID=a", "", "workflowRunID: not a parameter"},
		{"DELETE", "/v2/workflows/runs?workflowUrl=", "", "workflowUrl: an empty value"},
		{"DELETE", "/v2/workflows/runs?workflowUrl=http&workflowUrlExactMatch=maybe", "", "workflowUrlExactMatch: expected true or false"},
		{"DELETE", "/v2/workflows/runs", `{"workflowRunIds":[]}`, "workflowRunIds: an empty value"},
		{"DELETE", "/v2/workflows/runs", `{"workflowRunIds":[null]}`, "workflowRunIds: expected a string"},
		{"DELETE", "/v2/workflows/runs", `{"workflowUrl":""}`, "workflowUrl: an empty value"},
		{"DELETE", "/v2/workflows/runs", `{"workflowUrl":"","workflowUrlExactMatch":true}`, "workflowUrl: an empty value"},
		{"DELETE", "/v2/workflows/runs", `{"nonsense":null}`, "nonsense: not a parameter"},
		{"DELETE", "/v2/workflows/runs/", "", "/v2/workflows/runs/: an id is missing"},
		{"DELETE", "/v2/workflows/runs/wfr_1?cancel=maybe", "", "cancel: expected true or false"},
	} {
		w.unchanged(bad.method+" "+bad.target+bad.body, func() { w.do(bad.method, bad.target, bad.body).refused(400, bad.says) })
	}
	for _, bad := range []string{"Upstash-Retries: many", "Upstash-Queue-Name: a b", "Upstash-Cron: * * * * *",
		"Upstash-Schedule-Id: s", "Upstash-Workflow-Init: true", "Upstash-Workflow-Runid: wfr_1"} {
		w.do("POST", "/v2/dlq/retry", "", bad).refused(400, strings.SplitN(bad, ":", 2)[0])
		w.do("POST", "/v2/dlq/retry/1-1", "", bad).refused(400, strings.SplitN(bad, ":", 2)[0])
	}
	w.do("POST", "/v2/dlq/retry", "", "Upstash-Retries: 1000").refused(412, "Upstash-Retries")
}

// Nothing may be appended to a run that is not under way: not by itself, and
// nothing else that came with it.
func TestAppendToAnInactiveRun(t *testing.T) {
	w := newWorld(t)
	w.do("POST", "/v2/trigger/https://example.com/", "", "Upstash-Delay: 1h", "Upstash-Workflow-Runid: ended").into(200, &client.TriggerResponse{})
	w.do("POST", "/v2/trigger/https://example.com/", "", "Upstash-Delay: 1h", "Upstash-Workflow-Runid: active").into(200, &client.TriggerResponse{})
	w.do("DELETE", "/v2/workflows/runs/ended", "").into(200, &client.CancelResponse{})
	step := func(run string) string {
		return fmt.Sprintf(`{"destination":"https://example.com/","headers":{"upstash-workflow-init":"false","upstash-workflow-runid":%q},"body":"{\"stepId\":1,\"stepName\":\"s\",\"stepType\":\"Run\"}"}`, run)
	}
	const plain = `{"destination":"https://example.com/","headers":{"upstash-deduplication-id":"held"}}`
	for _, run := range []string{"ended", "unknown"} {
		w.unchanged(run, func() {
			w.do("POST", "/v2/batch", "["+step(run)+"]").refused(400, run, "not active")
			w.do("POST", "/v2/batch", "["+plain+","+step("active")+","+step(run)+"]").refused(400, run, "not active")
			w.do("POST", "/v2/publish/https://example.com/", "{}", "Upstash-Workflow-Init: false", "Upstash-Workflow-Runid: "+run).refused(400, run, "not active")
		})
	}
	w.unchanged("bad steps", func() {
		for body, says := range map[string]string{"": "body", "nonsense": "body", "[]": "body", `{"stepId":"x"}`: "stepId", `{"stepId":-1}`: "stepId"} {
			w.do("POST", "/v2/publish/https://example.com/", body, "Upstash-Workflow-Init: false", "Upstash-Workflow-Runid: active").refused(400, says)
		}
		w.do("POST", "/v2/publish/https://example.com/", "{}", "Upstash-Workflow-Init: false", "Upstash-Workflow-Runid: active", "Upstash-Workflow-Calltype: toCallback").refused(400, "Upstash-Callback")
		w.do("POST", "/v2/publish/https://example.com/", "{}", "Upstash-Workflow-Init: false", "Upstash-Workflow-Runid: active", "Upstash-Workflow-Calltype: fromCallback").refused(400, "Upstash-Workflow-Calltype")
		w.do("POST", "/v2/publish/https://example.com/", "{}", "Upstash-Workflow-Init: false").refused(400, "Upstash-Workflow-Runid")
	})
	// What an author of a workflow can get wrong is no 400: SDKs take that for the
	// end of the run.
	w.unchanged("what a step can't ask for", func() {
		headers := map[string]string{
			"upstash-workflow-init": "false", "upstash-workflow-runid": "active", "upstash-workflow-calltype": "toCallback",
			"upstash-callback": "https://example.com/", "upstash-method": "POST",
		}
		for _, bad := range []struct{ name, value, says string }{
			{"destination", "example.com/x", "destination"}, {"destination", "group", "destination"}, {"destination", "", "destination"},
			{"upstash-method", "HEAD", "Upstash-Method"}, {"upstash-delay", "soon", "Upstash-Delay"}, {"upstash-retry-delay", "x(", "Upstash-Retry-Delay"},
			{"upstash-callback-retry-delay", "x(", "Upstash-Callback-Retry-Delay"}, {"upstash-timeout", "x", "Upstash-Timeout"},
		} {
			item := map[string]any{"destination": "https://example.com/", "headers": maps.Clone(headers)}
			if bad.name == "destination" {
				item["destination"] = bad.value
			} else {
				item["headers"].(map[string]string)[bad.name] = bad.value
			}
			body, _ := json.Marshal([]any{item})
			w.do("POST", "/v2/batch", string(body)).refused(412, bad.says)
		}
		w.do("POST", "/v2/publish/example.com/x", "{}", "Upstash-Workflow-Init: false", "Upstash-Workflow-Runid: active").refused(412, "destination")
		w.do("POST", "/v2/publish/https://example.com/", "{}", "Upstash-Workflow-Init: true", "Upstash-Workflow-Runid: new", "Upstash-Workflow-Invoke: true",
			"Upstash-Retry-Delay: x(").refused(412, "Upstash-Retry-Delay")
		w.do("POST", "/v2/publish/https://example.com/", "{}", "Upstash-Workflow-Init: true", "Upstash-Workflow-Runid: new", "Upstash-Retry-Delay: x(").refused(400, "Upstash-Retry-Delay")
		w.do("POST", "/v2/wait/e", `{"url":"https://example.com/","timeout":"soon","step":{"stepId":1,"stepName":"s","stepType":"Wait","concurrent":1}}`,
			"Upstash-Workflow-Init: false", "Upstash-Workflow-Runid: active").refused(412, "timeout")
	})
	if log := get[[]client.LogEntry](w, "/v2/workflows/runs/active"); len(log) != 1 {
		t.Errorf("the active run's log has %d entries", len(log))
	}
	w.free([]string{"held"})
}

// dialog is a connection to the server, for requests that are never finished.
type dialog struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (w *world) dialog() *dialog {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(15 * time.Second))
	return &dialog{w.t, conn, bufio.NewReader(conn)}
}

func (d *dialog) send(format string, args ...any) {
	d.t.Helper()
	if _, err := fmt.Fprintf(d.conn, format, args...); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dialog) receive() answer {
	d.t.Helper()
	resp, err := http.ReadResponse(d.r, nil)
	if err != nil {
		d.t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer{d.t, "the request", resp.StatusCode, resp.Header, body}
}

// A body above the limit is refused before it has been sent: here it never is.
func TestTooLarge(t *testing.T) {
	w := newLimitedWorld(t, engine.Limits{MaxBody: 1000})
	w.do("POST", "/v2/trigger/https://example.com/", "", "Upstash-Delay: 1h", "Upstash-Workflow-Runid: run").into(200, &client.TriggerResponse{})
	head := "Host: x\r\nAuthorization: Bearer " + w.token + "\r\nUpstash-Deduplication-Id: held\r\n"
	for _, target := range []string{"POST /v2/publish/https://example.com/", "POST /v2/trigger/https://example.com/", "POST /v2/batch",
		"DELETE /v2/workflows/runs/run?cancel=false", "DELETE /v2/messages"} {
		t.Run(target, func(t *testing.T) {
			w := w.in(t)
			w.unchanged("announced", func() {
				d := w.dialog()
				d.send("%s HTTP/1.1\r\n%sContent-Length: 100000000\r\n\r\n", target, head)
				a := d.receive()
				a.refused(413, "body", "at most")
				if _, err := d.r.ReadByte(); err != io.EOF {
					t.Errorf("the connection stays open for the rest: %v", err)
				}
			})
			w.unchanged("expected", func() {
				d := w.dialog()
				d.send("%s HTTP/1.1\r\n%sContent-Length: 100000000\r\nExpect: 100-continue\r\n\r\n", target, head)
				d.receive().refused(413, "body", "at most")
			})
			w.unchanged("chunked", func() {
				d := w.dialog()
				d.send("%s HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n", target, head)
				most := 1001
				if target == "POST /v2/batch" {
					most = 10_001
				} else if target == "DELETE /v2/messages" {
					most = 1<<20 + 1
				}
				d.send("%x\r\n%s", most, strings.Repeat("x", most)) // the chunk has no end
				d.receive().refused(413, "body", "at most")
			})
		})
	}
	w.unchanged("batch item", func() {
		body, _ := json.Marshal([]any{
			map[string]any{"destination": "https://example.com/", "headers": map[string]string{"upstash-deduplication-id": "held"}},
			map[string]any{"destination": "https://example.com/", "body": strings.Repeat("x", 1001)},
		})
		w.do("POST", "/v2/batch", string(body)).refused(413, "[1]", "at most 1000")
	})
	w.unchanged("cut short", func() {
		d := w.dialog()
		d.send("POST /v2/publish/https://example.com/ HTTP/1.1\r\n%sContent-Length: 10\r\n\r\nhalf", head)
		d.conn.(*net.TCPConn).CloseWrite()
		d.receive().refused(400, "body", "ended early")
	})
	w.publish("https://example.com/", strings.Repeat("x", 1000), "Upstash-Delay: 1h", "Upstash-Deduplication-Id: held")
}

// Headers are bounded too.
func TestTooManyHeaders(t *testing.T) {
	w := newWorld(t)
	w.unchanged("headers", func() {
		w.do("POST", "/v2/publish/https://example.com/", "", "Upstash-Deduplication-Id: held",
			"Upstash-Forward-X: "+strings.Repeat("x", 65<<10)).refused(400, "65536 bytes of headers")
	})
	w.free([]string{"held"})
}

// Users see nothing of each other and change nothing of each other's.
func TestTenants(t *testing.T) {
	w := newWorld(t)
	other := w.as(signpost.DevUsers[1])
	broken := w.endpoint(answers("broken", nil, 500))
	delayed := w.publish("https://example.com/", "mine", "Upstash-Delay: 1h", "Upstash-Deduplication-Id: shared")
	failed := w.publish(broken.URL, "mine", "Upstash-Retries: 0")
	w.await(failed, client.EventFailed)
	w.do("POST", "/v2/trigger/https://example.com/", "mine", "Upstash-Delay: 1h", "Upstash-Workflow-Runid: shared").into(200, &client.TriggerResponse{})
	dead := w.dlq("")[0].DLQID
	mine := w.stored()

	if got, want := other.stored(), newWorld(t).stored(); got != want {
		t.Errorf("another user sees %s", got)
	}
	other.do("GET", "/v2/messages/"+delayed, "").refused(404)
	other.do("DELETE", "/v2/messages/"+delayed, "").refused(404)
	other.do("GET", "/v2/dlq/"+dead, "").refused(404)
	other.do("DELETE", "/v2/dlq/"+dead, "").refused(404)
	other.do("POST", "/v2/dlq/retry/"+dead, "").refused(404)
	other.do("GET", "/v2/workflows/runs/shared", "").refused(404)
	other.do("DELETE", "/v2/workflows/runs/shared", "").refused(404)
	other.do("DELETE", "/v2/workflows/runs/shared?cancel=false", "").refused(404)
	other.do("POST", "/v2/publish/https://example.com/", `{"stepId":1}`, "Upstash-Workflow-Init: false", "Upstash-Workflow-Runid: shared").refused(400, "not active")
	for _, target := range []string{"/v2/events?messageId=" + delayed, "/v2/dlq?dlqIds=" + dead, "/v2/workflows/logs?workflowRunId=shared", "/v2/workflows/logs?messageId=" + delayed} {
		if a := other.do("GET", target, ""); a.status != 200 || strings.Contains(string(a.body), "example.com") || strings.Contains(string(a.body), broken.URL) {
			t.Errorf("GET %s: %d %s", target, a.status, a.body)
		}
	}
	for target, want := range map[string]string{
		"DELETE /v2/messages":                                   `{"cancelled":0}`,
		"DELETE /v2/messages?messageIds=" + delayed:             `{"cancelled":0}`,
		"DELETE /v2/workflows/runs":                             `{"cancelled":0}`,
		"DELETE /v2/workflows/runs?workflowRunIds=shared":       `{"cancelled":0}`,
		"DELETE /v2/dlq":                                        `{"deleted":0}`,
		"DELETE /v2/dlq?dlqIds=" + dead:                         `{"deleted":0}`,
		"POST /v2/dlq/retry?dlqIds=" + dead:                     `{"responses":[]}`,
		"POST /v2/dlq/retry?messageId=" + failed + "&count=100": `{"responses":[]}`,
	} {
		method, path, _ := strings.Cut(target, " ")
		if a := other.do(method, path, ""); string(a.body) != want {
			t.Errorf("%s: %s, want %s", target, a.body, want)
		}
	}
	if after := w.stored(); after != mine {
		t.Errorf("another user changed %s\nto %s", mine, after)
	}

	// The same ids are free for others, and keys are their own.
	other.publish("https://example.com/", "theirs", "Upstash-Delay: 1h", "Upstash-Deduplication-Id: shared")
	var run client.TriggerResponse
	other.do("POST", "/v2/trigger/https://example.com/", "theirs", "Upstash-Delay: 1h", "Upstash-Workflow-Runid: shared").into(200, &run)
	if run.Deduplicated {
		t.Error("another user's run took the id")
	}
	other.do("POST", "/v2/keys/rotate", "").into(200, &client.SigningKeys{})
	if keys := get[client.SigningKeys](w, "/v2/keys"); keys.Current != signpost.DevUsers[0].CurrentSigningKey {
		t.Error("another user rotated the keys")
	}
}

// Of two tokens neither is taken: who looks at requests on their way may have
// looked at the other.
func TestT14TwoTokens(t *testing.T) {
	w := newWorld(t)
	anybody := w.as(signpost.Credentials{})
	good, query := "Authorization: Bearer "+w.token, "qstash_token="+url.QueryEscape(w.token)
	for _, path := range []string{"/v2/keys", "/.well-known/jwks.json", "/v2/publish/https://a.example/"} {
		method := "GET"
		if strings.Contains(path, "publish") {
			method = "POST"
		}
		anybody.do(method, path, "", good, "Authorization: Bearer another").refused(400, "Authorization: expected one value, got 2")
		anybody.do(method, path, "", "Authorization: Basic eA==", good).refused(400, "Authorization: expected one value, got 2")
		anybody.do(method, path+"?"+query+"&qstash_token=another", "").refused(400, "qstash_token: expected one value, got 2")
		if a := anybody.do(method, path, "", good, good); a.status != 200 {
			t.Errorf("twice the same: %d %s", a.status, a.body)
		}
		if a := anybody.do(method, path+"?qstash_token=another", "", good); a.status != 200 {
			t.Errorf("another one in the query: %d %s", a.status, a.body)
		}
	}
}

// JSON that is not UTF-8 is refused, not read as something else.
func TestJSONIsUTF8(t *testing.T) {
	w := newWorld(t)
	w.group("g", "https://a.example")
	for request, body := range map[string]string{
		"POST /v2/topics/g/endpoints":   "{\"endpoints\": [{\"url\": \"https://b.example\", \"name\": \"\xff\"}]}",
		"DELETE /v2/topics/g/endpoints": "{\"endpoints\": [{\"name\": \"\xc3\"}]}",
		"PATCH /v2/topics/g":            "{\"headers\": {\"Upstash-Forward-X\": \"\xff\"}}",
		"POST /v2/tokens":               "{\"name\": \"\xff\", \"scopes\": [\"read\"]}",
		"DELETE /v2/messages":           "{\"url\": \"https://a.example/\xff\"}",
	} {
		method, path, _ := strings.Cut(request, " ")
		w.unchanged(request, func() { w.do(method, path, body).refused(400, "body: expected JSON in UTF-8") })
	}
	if g := get[client.URLGroup](w, "/v2/topics/g"); len(g.Endpoints) != 1 || len(g.Header) != 0 {
		t.Errorf("the group is %+v", g)
	}
}
