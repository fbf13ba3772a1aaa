package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
)

// fail publishes messages that fail, one after the other.
func (w *world) fail(url string, n int, header ...string) (ids []string) {
	w.t.Helper()
	for range n {
		id := w.publish(url, "body", append(header, "Upstash-Retries: 0")...)
		w.await(id, client.EventFailed)
		ids = append(ids, id)
	}
	return ids
}

func ids(entries []client.DLQMessage) (out []string) {
	for _, d := range entries {
		out = append(out, d.MessageID)
	}
	return out
}

func TestDLQFilters(t *testing.T) {
	w := newWorld(t)
	e500, e404 := w.endpoint(answers("x", nil, 500)), w.endpoint(answers("404 Not Found", nil, 404))
	a := w.fail(e500.URL+"/a,b?c=d", 1, "Upstash-Label: one")[0]
	b := w.fail(e404.URL, 1, "Upstash-Label: two")[0]
	all := w.dlq("")
	equal(t, "oldest first", ids(all), []string{a, b})
	for query, want := range map[string][]string{
		"?order=latestFirst":                             {b, a},
		"?responseStatus=404":                            {b},
		"?responseStatus=404&responseStatus=500":         {a, b},
		"?responseStatus=404,500":                        {a, b},
		"?label=one":                                     {a},
		"?label=one&responseStatus=404":                  nil,
		"?messageId=" + b:                                {b},
		"?url=" + e500.URL + "/a,b%3Fc%3Dd":              {a},
		"?dlqIds=" + all[1].DLQID + "&label=one":         {b},
		"?dlqIds=" + all[0].DLQID + ",0-0":               {a},
		"?dlqIds=unknown":                                nil,
		"?callerIp=127.0.0.1":                            {a, b},
		"?callerIP=10.0.0.1":                             nil,
		"?queueName=q":                                   nil,
		"?topicName=g":                                   nil,
		"?source=qstash":                                 {a, b},
		"?source=workflow":                               nil,
		"?api=llm":                                       {a, b},
		"?unknown=tolerated":                             {a, b},
		"?fromDate=" + millisOf(all[1]):                  {b},
		"?toDate=" + millisOf(all[0]):                    {a},
		"?fromDate=1&toDate=4102444800000":               {a, b},
		"?fromDate=4102444800000":                        nil,
		"?count=1":                                       {a},
		"?count=1000000":                                 {a, b},
		"?count=1&order=latestFirst":                     {b},
		"?cursor=" + all[1].DLQID:                        {b},
		"?cursor=" + all[0].DLQID + "&order=latestFirst": {a},
	} {
		equal(t, query, ids(w.dlq(query)), want)
	}
	if d := all[1]; d.ResponseBody != "404 Not Found" || d.ResponseStatus != 404 || d.Body != "body" || d.Error != "404 Not Found" {
		t.Errorf("entry %+v", d)
	}
}

func millisOf(d client.DLQMessage) string {
	ms, _, _ := strings.Cut(d.DLQID, "-")
	return ms
}

// Pages follow each other without a gap or an overlap, and the last has no
// cursor.
func TestDLQPages(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(answers("x", nil, 500))
	want := w.fail(e.URL, 5)
	var got []string
	for query := "?count=2"; ; {
		a := w.do("GET", "/v2/dlq"+query, "")
		var page client.DLQPage
		a.into(200, &page)
		got = append(got, ids(page.Messages)...)
		if page.Cursor == "" {
			if strings.Contains(string(a.body), "cursor") {
				t.Errorf("the last page is %s", a.body)
			}
			break
		}
		query = "?count=2&cursor=" + page.Cursor
	}
	equal(t, "pages", got, want)

	// Deleting goes by pages too.
	var d client.DLQDeleteResponse
	a := w.do("DELETE", "/v2/dlq?count=1", "")
	if a.into(200, &d); d.Deleted != 1 || d.Cursor == "" {
		t.Errorf("deleted a page: %s", a.body)
	}
	a = w.do("DELETE", "/v2/dlq?count=3&cursor="+d.Cursor, "")
	if a.into(200, &d); d.Deleted != 3 {
		t.Errorf("deleted a page: %s", a.body)
	}
	if a = w.do("DELETE", "/v2/dlq?count=100", ""); string(a.body) != `{"deleted":1}` {
		t.Errorf("deleted the rest: %s", a.body)
	}
	if a = w.do("DELETE", "/v2/dlq", ""); string(a.body) != `{"deleted":0}` {
		t.Errorf("deleted nothing: %s", a.body)
	}
}

// All ids that are given count, however they are given.
func TestDLQManyIDs(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(answers("x", nil, 500))
	w.fail(e.URL, 3)
	var list []string
	for i := range 150 {
		list = append(list, fmt.Sprintf("%d-0", i))
	}
	for _, d := range w.dlq("") {
		list = append(list, d.DLQID)
	}
	if got := w.dlq("?dlqIds=" + strings.Join(list, ",")); len(got) != 3 {
		t.Errorf("listed %d of 3", len(got))
	}
	a := w.do("DELETE", "/v2/dlq?dlqIds="+strings.Join(list[:151], ","), "")
	if string(a.body) != `{"deleted":1}` {
		t.Errorf("by query: %s", a.body)
	}
	a = w.do("DELETE", "/v2/dlq", `{"dlqIds":["`+strings.Join(list, `","`)+`"]}`)
	if string(a.body) != `{"deleted":2}` {
		t.Errorf("by body: %s", a.body)
	}
}

// A retry is a new message with the old one's settings, but for those that the
// request overrides; the entry is gone.
func TestDLQRetry(t *testing.T) {
	w := newWorld(t)
	broken := w.endpoint(answers("x", nil, 500))
	cb := w.endpoint(nil)
	old := w.fail(broken.URL, 1, "Upstash-Method: PUT", "Content-Type: text/plain", "Upstash-Forward-X-A: 1", "Upstash-Forward-X-B: 1",
		"Upstash-Label: l", "Upstash-Retry-Delay: 5", "Upstash-Failure-Callback: "+cb.URL)[0]
	cb.await(1)
	dead := w.dlq("")[0].DLQID

	var p client.PublishResponse
	w.do("POST", "/v2/dlq/retry/"+dead, "", "Content-Type: application/json", "Upstash-Retries: 1", "Upstash-Forward-X-B: 2").into(201, &p)
	if p.MessageID == old || p.MessageID == "" {
		t.Fatalf("retried as %+v", p)
	}
	w.do("DELETE", "/v2/dlq/"+dead, "").refused(404, dead)
	w.await(p.MessageID, client.EventFailed)
	m := get[client.Message](w, "/v2/messages/"+p.MessageID)
	if m.Method != "PUT" || m.Body != "body" || m.Header.Get("X-A") != "1" || m.Header.Get("X-B") != "2" || m.Header.Get("Content-Type") != "text/plain" ||
		m.MaxRetries != 1 || m.Label != "l" || m.RetryDelayExpression != "5" || m.FailureCallback != cb.URL {
		t.Errorf("retried as %+v", m)
	}
	if d := broken.deliveries(); len(d) != 3 || d[1].header.Get("Upstash-Retried") != "0" || d[2].header.Get("Upstash-Retried") != "1" || d[1].header.Get("X-B") != "2" {
		t.Errorf("%d attempts", len(d))
	}
	cb.await(2)
	before := get[client.Message](w, "/v2/messages/"+old)
	if before.MaxRetries != 0 || before.Header.Get("X-B") != "1" {
		t.Errorf("the old message is now %+v", before)
	}

	// Many at once.
	w.fail(broken.URL, 2)
	var many client.DLQRetryResponse
	w.do("POST", "/v2/dlq/retry?count=2", "", "Upstash-Retries: 0", "Upstash-Delay: 1h").into(201, &many)
	if len(many.Responses) != 2 || many.Cursor == "" {
		t.Errorf("retried %+v", many)
	}
	many = client.DLQRetryResponse{}
	last := w.dlq("")[0].DLQID
	w.do("POST", "/v2/dlq/retry?dlqIds="+last+"&dlqIds=1-1&dlqId="+last, "", "Upstash-Delay: 1h", "Upstash-Callback: "+cb.URL, "Upstash-Method: GET").into(201, &many)
	if len(many.Responses) != 1 || len(w.dlq("")) != 0 {
		t.Fatalf("retried %+v", many)
	}
	if m := get[client.Message](w, "/v2/messages/"+many.Responses[0].MessageID); m.Callback != cb.URL || m.Method != "GET" || m.NotBefore-m.CreatedAt != 3_600_000 {
		t.Errorf("retried as %+v", m)
	}
}
