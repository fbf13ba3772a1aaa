package api_test

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

// A message that is delivered at once has three events; one without retries
// that fails has four; each retry adds three.
func TestEventsOfAMessage(t *testing.T) {
	w := newWorld(t)
	fine := w.endpoint(nil)
	broken := w.endpoint(answers("broken", nil, 500))

	id := w.publish(fine.URL, "x")
	w.await(id, client.EventDelivered)
	equal(t, "events", w.states(id), []client.EventState{"CREATED", "ACTIVE", "DELIVERED"})

	id = w.publish(broken.URL, "x", "Upstash-Retries: 0")
	w.await(id, client.EventFailed)
	equal(t, "events", w.states(id), []client.EventState{"CREATED", "ACTIVE", "ERROR", "FAILED"})

	id = w.publish(broken.URL, "x", "Upstash-Retries: 1", "Upstash-Retry-Delay: 1")
	w.await(id, client.EventFailed)
	equal(t, "events", w.states(id), []client.EventState{"CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "ERROR", "FAILED"})
}

// What was published arrives: every byte of the body, the headers that were
// forwarded and the server's own, and nothing else of the publisher's.
func TestDelivery(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(nil)
	body := "\x00\xff\xfe plain \xef\xbb\xbf\r\n"
	id := w.publish(e.URL+"/a//b?c=d", body,
		"Upstash-Method: PATCH", "Content-Type: application/x-odd", "Upstash-Forward-X-Trace: a  b", "Upstash-Forward-Authorization: Bearer theirs",
		"Upstash-Forward-Upstash-Label: theirs", "Upstash-Forward-Upstash-Workflow-Sdk-Version: 1",
		"Upstash-Forward-Upstash-Message-Id: forged", "Upstash-Forward-Upstash-Signature: forged", "Upstash-Forward-Upstash-Retried: 7",
		"Upstash-Forward-Host: forged", "Upstash-Forward-Content-Length: 1", "Upstash-Forward-Connection: X-Trace",
		"X-Private: not forwarded", "Cookie: not=forwarded", "Upstash-Telemetry-Sdk: x", "Upstash-Telemetry-Runtime: x", "Upstash-Unknown: x")
	w.await(id, client.EventDelivered)
	d := e.await(1)[0]
	if d.method != "PATCH" || string(d.body) != body || d.url != e.URL+"/a//b?c=d" {
		t.Errorf("delivered %s %s %q", d.method, d.url, d.body)
	}
	if d.claims.Subject != e.URL+"/a//b?c=d" || d.claims.Key != "current" {
		t.Errorf("signed for %+v", d.claims)
	}
	want := map[string]string{
		"Content-Type": "application/x-odd", "X-Trace": "a  b", "Authorization": "Bearer theirs",
		"Upstash-Label": "theirs", "Upstash-Message-Id": id, "Upstash-Retried": "0", "Upstash-Hop": "0",
		"Upstash-Caller-Ip": "127.0.0.1", "User-Agent": "Upstash-QStash", "Content-Length": fmt.Sprint(len(body)),
	}
	for name := range d.header {
		if got, ok := want[name]; (!ok || strings.Join(d.header[name], "|") != got) && name != "Upstash-Signature" {
			t.Errorf("delivered %s: %q, want %q", name, d.header[name], got)
		}
	}
	if len(d.header) != len(want)+1 {
		t.Errorf("delivered %v", d.header)
	}
	var m client.Message
	if w.do("GET", "/v2/messages/"+id, "").into(200, &m); m.Body != "" || m.BodyBase64 == "" {
		t.Errorf("a body that is no text is %q, %q", m.Body, m.BodyBase64)
	}

	// All headers, where that is asked for; never the token.
	id = w.publish(e.URL, "", "Upstash-Header-Forward: true", "X-Mine: 1", "X-Mine: 2", "Connection: X-Hop", "X-Hop: y", "Upstash-Forward-X-Other: 3")
	w.await(id, client.EventDelivered)
	d = e.await(2)[1]
	if got := strings.Join(d.header["X-Mine"], "|"); got != "1|2" || d.header.Get("X-Other") != "3" || d.header.Get("X-Hop") != "" {
		t.Errorf("forwarded %v", d.header)
	}
	for name, values := range d.header {
		if strings.Contains(strings.Join(values, ""), w.token) {
			t.Errorf("the token was delivered in %s", name)
		}
	}
	if _, ok := d.header["Content-Type"]; ok {
		t.Errorf("a Content-Type out of nowhere: %v", d.header)
	}
}

// nextDue is how long after the first failure the retry is due.
func (w *world) nextDue(id string) time.Duration {
	w.t.Helper()
	var failed, due int64
	for _, ev := range w.await(id, client.EventRetry) {
		switch {
		case ev.State == client.EventError && failed == 0:
			failed = ev.Time
		case ev.State == client.EventRetry && due == 0:
			due = ev.NextDeliveryTime
		}
	}
	return time.Duration(due-failed) * time.Millisecond
}

// When a failed attempt is repeated: what the response says, else what the
// publisher said, else e^2.5n seconds.
func TestRetryDelay(t *testing.T) {
	w := newWorld(t)
	first := time.Duration(math.Exp(2.5) * float64(time.Second))
	inAnHour := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	tests := map[string]struct {
		status   int
		response []string
		setting  string
		want     time.Duration
	}{
		"default":                  {500, nil, "", first},
		"expression":               {500, nil, "max(1000, 60 * 1000 * (1 + retried))", time.Minute},
		"constant":                 {500, nil, "2500", 2500 * time.Millisecond},
		"clamped":                  {500, nil, "pow(10, 12)", 24 * time.Hour},
		"Retry-After":              {503, []string{"Retry-After: 3600"}, "", time.Hour},
		"any status":               {404, []string{"Retry-After: 60"}, "", time.Minute},
		"wins over expression":     {429, []string{"Retry-After: 60"}, "1", time.Minute},
		"date":                     {429, []string{"Retry-After: " + inAnHour}, "", time.Hour},
		"Go duration":              {429, []string{"X-RateLimit-Reset: 6m5s"}, "", 6*time.Minute + 5*time.Second},
		"requests":                 {429, []string{"X-RateLimit-Reset-Requests: 30"}, "", 30 * time.Second},
		"tokens":                   {429, []string{"X-RateLimit-Reset-Tokens: 1500ms"}, "", 1500 * time.Millisecond},
		"order of belief":          {429, []string{"X-RateLimit-Reset-Tokens: 5", "Retry-After: 90", "X-RateLimit-Reset: 10"}, "", 90 * time.Second},
		"more than a day":          {429, []string{"Retry-After: 86401"}, "", first},
		"next after a bad one":     {429, []string{"Retry-After: soon", "X-RateLimit-Reset: 45"}, "", 45 * time.Second},
		"unusable":                 {429, []string{"Retry-After: -5"}, "40000", 40 * time.Second},
		"489 without its header":   {489, nil, "", first},
		"header of 489 on another": {500, []string{"Upstash-NonRetryable-Error: true"}, "", first},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			e := w.endpoint(answers("no", test.response, test.status))
			var setting []string
			if test.setting != "" {
				setting = append(setting, "Upstash-Retry-Delay: "+test.setting)
			}
			id := w.publish(e.URL, "", setting...)
			got := w.nextDue(id)
			if slack := 2 * time.Second; got < test.want-slack || got > test.want+slack {
				t.Errorf("retry after %v, want %v", got, test.want)
			}
			w.do("DELETE", "/v2/messages/"+id, "").into(200, &client.CancelResponse{})
		})
	}
}

// Attempts of a message have one id, count up, and are each signed anew.
func TestRetries(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(answers("x", []string{"Retry-After: 0"}, 500, 302, 503, 200))
	id := w.publish(e.URL, "body", "Upstash-Retries: 5")
	events := w.await(id, client.EventDelivered)
	jti := map[string]bool{}
	for i, d := range e.deliveries() {
		if d.header.Get("Upstash-Message-Id") != id || d.header.Get("Upstash-Retried") != fmt.Sprint(i) || string(d.body) != "body" {
			t.Errorf("attempt %d: %v %q", i, d.header, d.body)
		}
		jti[d.claims.ID] = true
	}
	if n := len(e.deliveries()); n != 4 || len(jti) != n {
		t.Errorf("%d attempts with %d signatures", n, len(jti))
	}
	equal(t, "events", w.states(id), []client.EventState{"CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "DELIVERED"})
	if ev := events[2]; ev.ResponseStatus != 500 || ev.Error == "" {
		t.Errorf("ERROR is %+v", ev)
	}
	if entries := w.dlq(""); len(entries) != 0 {
		t.Errorf("a delivered message is in the DLQ: %+v", entries)
	}
}

// The default is three retries.
func TestRetriesByDefault(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(answers("x", []string{"Retry-After: 0"}, 500))
	id := w.publish(e.URL, "")
	w.await(id, client.EventFailed)
	if n := len(e.deliveries()); n != 4 {
		t.Errorf("%d attempts", n)
	}
}

func TestNonRetryable(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(answers("never", []string{"Upstash-NonRetryable-Error: true"}, 489))
	id := w.publish(e.URL, "")
	w.await(id, client.EventFailed)
	equal(t, "events", w.states(id), []client.EventState{"CREATED", "ACTIVE", "ERROR", "FAILED"})
	if d := w.dlq(""); len(d) != 1 || d[0].ResponseStatus != 489 || d[0].ResponseBody != "never" {
		t.Errorf("DLQ has %+v", d)
	}
}

// An attempt without an answer failed: the reason says why, the status is 0.
func TestNoAnswer(t *testing.T) {
	w := newWorld(t)
	held := w.gate()
	slow := w.endpoint(func(http.ResponseWriter, *delivery) { held.pass() })
	slowBody := w.endpoint(func(rw http.ResponseWriter, _ *delivery) {
		rw.WriteHeader(200)
		io.WriteString(rw, "the beginning")
		rw.(http.Flusher).Flush()
		held.pass()
	})
	hangUp := w.endpoint(func(http.ResponseWriter, *delivery) { panic(http.ErrAbortHandler) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	for name, test := range map[string]struct {
		url, reason string
		status      int
	}{
		"timeout":            {slow.URL, "timeout", 0},
		"timeout in a body":  {slowBody.URL, "timeout", 200},
		"connection cut":     {hangUp.URL, "EOF", 0},
		"connection refused": {"http://" + listener.Addr().String(), "refused", 0},
		"no such name":       {"http://no-such-host.invalid/", "no-such-host.invalid|timeout", 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			id := w.publish(test.url, "", "Upstash-Retries: 0", "Upstash-Timeout: 0.2s")
			events := w.await(id, client.EventFailed)
			equal(t, "events", w.states(id), []client.EventState{"CREATED", "ACTIVE", "ERROR", "FAILED"})
			for _, ev := range events[2:] {
				if ok, _ := regexp.MatchString(test.reason, ev.Error); !ok || ev.ResponseStatus != test.status {
					t.Errorf("%s: %d %q, want %q", ev.State, ev.ResponseStatus, ev.Error, test.reason)
				}
			}
			a := w.do("GET", "/v2/dlq?messageId="+id, "")
			if want := fmt.Sprintf(`"responseStatus":%d`, test.status); !strings.Contains(string(a.body), want) {
				t.Errorf("DLQ entry without %s: %s", want, a.body)
			}
		})
	}
}

// A delay is kept, a time in the past means now, and a time wins over a delay.
func TestDelay(t *testing.T) {
	w := newWorld(t)
	soon := fmt.Sprint(time.Now().Add(time.Hour).Unix())
	for _, test := range []struct {
		header []string
		want   time.Duration
	}{
		{nil, 0},
		{[]string{"Upstash-Delay: 1d10h30m"}, 34*time.Hour + 30*time.Minute},
		{[]string{"Upstash-Delay: 90"}, 90 * time.Second},
		{[]string{"Upstash-Not-Before: " + soon, "Upstash-Delay: 5h"}, time.Hour},
		{[]string{"Upstash-Not-Before: 1000"}, 0},
	} {
		id := w.publish("https://localhost:1/", "", append(test.header, "Upstash-Retries: 0")...)
		m := get[client.Message](w, "/v2/messages/"+id)
		got := time.Duration(m.NotBefore-m.CreatedAt) * time.Millisecond
		if got < test.want-2*time.Second || got > test.want+2*time.Second || test.want == 0 && got != 0 {
			t.Errorf("%v: first due after %v, want %v", test.header, got, test.want)
		}
	}
	e := w.endpoint(nil)
	id := w.publish(e.URL, "", "Upstash-Delay: 0.15s")
	var created, active int64
	for _, ev := range w.await(id, client.EventDelivered) {
		switch ev.State {
		case client.EventCreated:
			created = ev.Time
			if ev.NextDeliveryTime != ev.Time+150 {
				t.Errorf("CREATED at %d is due at %d", ev.Time, ev.NextDeliveryTime)
			}
		case client.EventActive:
			active = ev.Time
		}
	}
	if active-created < 150 {
		t.Errorf("delivered %d ms after it was published", active-created)
	}
}

func TestDeduplication(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(nil)
	var again client.PublishResponse
	duplicate := func(id, url, body string, header ...string) {
		t.Helper()
		w.do("POST", "/v2/publish/"+url, body, header...).into(202, &again)
		if !again.Deduplicated || again.MessageID != id {
			t.Errorf("answered %+v, want the duplicate of %s", again, id)
		}
	}
	// By id, whatever the rest; also once the first was delivered or cancelled.
	id := w.publish(e.URL, "a", "Upstash-Deduplication-Id: one")
	duplicate(id, e.URL+"/other", "b", "Upstash-Deduplication-Id: one", "Upstash-Delay: 1h")
	w.await(id, client.EventDelivered)
	duplicate(id, e.URL, "a", "Upstash-Deduplication-Id: one")
	id = w.publish(e.URL, "", "Upstash-Deduplication-Id: two", "Upstash-Delay: 1h")
	w.do("DELETE", "/v2/messages/"+id, "").into(200, &client.CancelResponse{})
	duplicate(id, e.URL, "", "Upstash-Deduplication-Id: two")

	// By content: destination, body, Content-Type and forwarded headers.
	const content = "Upstash-Content-Based-Deduplication: True" // as Python sends it
	id = w.publish(e.URL, "a", content, "Upstash-Forward-X: 1")
	duplicate(id, e.URL, "a", content, "Upstash-Forward-X: 1", "Upstash-Retries: 0", "X-Request: other")
	w.publish(e.URL, "a", content)
	w.publish(e.URL, "a", content, "Upstash-Forward-X: 2")
	w.publish(e.URL, "a", content, "Upstash-Forward-X: 1", "Content-Type: text/plain")
	w.publish(e.URL, "b", content, "Upstash-Forward-X: 1")
	w.publish(e.URL+"/", "a", content, "Upstash-Forward-X: 1")
	// An id wins over the content.
	w.publish(e.URL, "a", content, "Upstash-Forward-X: 1", "Upstash-Deduplication-Id: three")
	// Without either, nothing is a duplicate.
	w.publish(e.URL, "a")
	w.publish(e.URL, "a")
}

// An id is free again after the window.
func TestDeduplicationWindow(t *testing.T) {
	w := newLimitedWorld(t, engine.Limits{DedupWindow: 50 * time.Millisecond})
	e := w.endpoint(nil)
	first := w.publish(e.URL, "", "Upstash-Deduplication-Id: one")
	var p client.PublishResponse
	w.until("the id is free", func() bool {
		p = client.PublishResponse{}
		a := w.do("POST", "/v2/publish/"+e.URL, "", "Upstash-Deduplication-Id: one")
		a.into(a.status, &p)
		return a.status == 200
	})
	if p.Deduplicated || p.MessageID == first {
		t.Errorf("after the window: %+v", p)
	}
}

// A message that waits is cancelled at once. One whose attempt is under way
// is asked to be: its attempt decides.
func TestCancel(t *testing.T) {
	w := newWorld(t)
	delayed := w.publish("https://example.com/", "", "Upstash-Delay: 1h")
	a := w.do("DELETE", "/v2/messages/"+delayed, "")
	if string(a.body) != `{"cancelled":1}` || a.status != 200 {
		t.Errorf("cancel answered %d %s", a.status, a.body)
	}
	equal(t, "delayed", w.states(delayed), []client.EventState{"CREATED", "CANCEL_REQUESTED", "CANCELED"})
	w.do("DELETE", "/v2/messages/"+delayed, "").refused(404, delayed)

	broken := w.endpoint(answers("x", nil, 500))
	retrying := w.publish(broken.URL, "", "Upstash-Callback: "+broken.URL+"/callback", "Upstash-Callback-Delay: 1h")
	w.await(retrying, client.EventRetry)
	w.do("DELETE", "/v2/messages/"+retrying, "").into(200, &client.CancelResponse{})
	equal(t, "retrying", w.states(retrying), []client.EventState{"CREATED", "ACTIVE", "ERROR", "RETRY", "CANCEL_REQUESTED", "CANCELED"})

	for _, test := range []struct {
		status int
		want   []client.EventState
	}{
		{200, []client.EventState{"CREATED", "ACTIVE", "CANCEL_REQUESTED", "DELIVERED"}},
		{500, []client.EventState{"CREATED", "ACTIVE", "CANCEL_REQUESTED", "ERROR", "CANCELED"}},
	} {
		held := w.gate()
		slow := w.endpoint(func(rw http.ResponseWriter, _ *delivery) {
			held.pass()
			rw.WriteHeader(test.status)
		})
		id := w.publish(slow.URL, "", "Upstash-Retry-Delay: 1", "Upstash-Failure-Callback: "+slow.URL+"/failure")
		w.wait(held.reached, "the attempt")
		reached := time.Now().UnixMilli()
		w.until("the cancellation is later", func() bool { return time.Now().UnixMilli() > reached })
		equal(t, "under way", w.states(id), []client.EventState{"CREATED", "ACTIVE"})
		w.do("DELETE", "/v2/messages/"+id, "").into(200, &client.CancelResponse{})
		equal(t, "asked for", w.states(id), []client.EventState{"CREATED", "ACTIVE", "CANCEL_REQUESTED"})
		if a := w.do("DELETE", "/v2/messages/"+id, ""); string(a.body) != `{"cancelled":0}` || a.status != 200 {
			t.Errorf("asked for again: %d %s", a.status, a.body)
		}
		equal(t, "asked for again", w.states(id), []client.EventState{"CREATED", "ACTIVE", "CANCEL_REQUESTED"})
		held.release()
		w.await(id, test.want[len(test.want)-1])
		equal(t, fmt.Sprintf("answered %d", test.status), w.states(id), test.want)
		w.do("DELETE", "/v2/messages/"+id, "").refused(404, id)
		if n := len(slow.deliveries()); n != 1 {
			t.Errorf("a cancelled message was delivered %d times", n)
		}
	}
	if d := w.dlq(""); len(d) != 0 {
		t.Errorf("a cancelled message is in the DLQ: %+v", d)
	}
}

// Bulk cancel: by ids, by filters, all; each message counts once.
func TestCancelMany(t *testing.T) {
	w := newWorld(t)
	broken := w.endpoint(answers("x", nil, 500))
	cancel := func(want int, target, body string) {
		t.Helper()
		var c client.CancelResponse
		if w.do("DELETE", "/v2/messages"+target, body).into(200, &c); c.Cancelled != want {
			t.Errorf("DELETE %s %s cancelled %d, want %d", target, body, c.Cancelled, want)
		}
	}
	publish := func(url string, header ...string) string {
		return w.publish(url, "", append(header, "Upstash-Delay: 1h")...)
	}
	cancel(0, "", "")

	a, b, c := publish("https://a.example/"), publish("https://a.example/"), publish("https://a.example/")
	cancel(2, "?messageIds="+a+"&messageIds="+b+"&label=ignored", "")
	cancel(0, "?messageIds="+a+","+b, "")
	cancel(1, "", "") // all; the two are not counted again
	cancel(0, "", `{"messageIds":["`+c+`"]}`)

	retrying := w.publish(broken.URL, "")
	w.await(retrying, client.EventRetry)
	cancel(1, "?count=100", "")

	start := time.Now().UnixMilli()
	publish("https://a.example/x?y=1", "Upstash-Label: l1,l2")
	publish("https://a.example:8443/x", "Upstash-Label: l2")
	publish("https://b.example/x,y")
	cancel(0, "?url=https://a.example/", "")
	cancel(0, "?topicName=g", "")
	cancel(0, "?label=l1&host=b.example", "") // AND across
	cancel(0, "?callerIp=10.0.0.1", "")
	cancel(0, fmt.Sprint("?toDate=", start-1), "")
	cancel(1, "?url=https://a.example/x%3Fy%3D1", "")
	cancel(1, "?host=a.example&path=/x", "")
	cancel(1, "?url=https://b.example/x,y", "") // a URL may hold a comma
	publish("https://a.example/x", "Upstash-Label: l1")
	publish("https://a.example/x", "Upstash-Label: l2")
	publish("https://a.example/x", "Upstash-Label: l3")
	cancel(2, "?label=l1&label=l2", "") // OR within
	cancel(1, fmt.Sprint("?callerIP=127.0.0.1&count=500&fromDate=", start), "")
	for range 3 {
		publish("https://a.example/")
	}
	cancel(2, "?count=2", "")
	cancel(1, "", "{}")
	cancel(0, "", "")
}

// Deliveries are signed with what is the current key when they are sent, a
// retry of a message accepted before the rotation too.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	held := w.gate()
	var attempts atomic.Int32
	e := w.endpoint(func(rw http.ResponseWriter, _ *delivery) {
		if attempts.Add(1) == 1 {
			held.pass()
			rw.WriteHeader(500)
		}
	})
	before := get[client.SigningKeys](w, "/v2/keys")
	id := w.publish(e.URL, "x", "Upstash-Retry-Delay: 1")
	w.wait(held.reached, "the attempt")
	var after client.SigningKeys
	w.do("POST", "/v2/keys/rotate", "").into(200, &after)
	if after.Current != before.Next || after.Next == before.Current || after.Next == after.Current || !strings.HasPrefix(after.Next, "sig_") || len(after.Next) != 32 {
		t.Errorf("rotated %+v to %+v", before, after)
	}
	held.release()
	w.await(id, client.EventDelivered)
	var keys []string
	for _, d := range e.deliveries() {
		keys = append(keys, d.claims.Key)
	}
	equal(t, "signed with", keys, []string{"current", "next"}) // of the pair as it was at first

	fresh := w.endpoint(nil) // knows the new pair
	w.await(w.publish(fresh.URL, ""), client.EventDelivered)
	if key := fresh.await(1)[0].claims.Key; key != "current" {
		t.Errorf("signed with the %s key", key)
	}
}

// Labels are on the message, its events and its DLQ entry, and select them.
func TestLabels(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(answers("x", nil, 500))
	id := w.publish(e.URL, "", "Upstash-Label:  a , b,,c", "Upstash-Retries: 0")
	other := w.publish(e.URL, "", "Upstash-Retries: 0")
	w.await(id, client.EventFailed)
	w.await(other, client.EventFailed)
	want := []string{"a", "b", "c"}
	m := get[client.Message](w, "/v2/messages/"+id)
	equal(t, "message", m.Labels, want)
	if m.Label != "a" {
		t.Errorf("label %q", m.Label)
	}
	for _, ev := range w.events("?label=b&label=none") {
		if ev.MessageID != id || ev.Label != "a" || !slices.Equal(ev.Labels, want) {
			t.Errorf("event %+v", ev)
		}
	}
	if d := w.dlq("?label=c"); len(d) != 1 || d[0].MessageID != id || !slices.Equal(d[0].Labels, want) {
		t.Errorf("DLQ %+v", d)
	}
	if a := w.do("GET", "/v2/messages/"+other, ""); strings.Contains(string(a.body), "label") {
		t.Errorf("a message without labels is %s", a.body)
	}
}
