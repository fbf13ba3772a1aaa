package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
)

// line is what tells events apart.
func line(ev client.Event) string { return string(ev.State) + " " + ev.MessageID }

func lines(events []client.Event) (out []string) {
	for _, ev := range events {
		out = append(out, line(ev))
	}
	return out
}

// walk lists events page by page, and checks the form of the last page.
func (w *world) walk(query string) (all []client.Event) {
	w.t.Helper()
	for cursor := ""; ; {
		a := w.do("GET", "/v2/events?"+query+cursor, "")
		var page client.EventsPage
		a.into(200, &page)
		all = append(all, page.Events...)
		if page.Cursor == "" {
			if strings.Contains(string(a.body), "cursor") {
				w.t.Errorf("the last page is %s", a.body)
			}
			return all
		}
		cursor = "&cursor=" + page.Cursor
		if len(all) > 10_000 {
			w.t.Fatal("pages without end")
		}
	}
}

// mixed publishes messages of every fate and waits until nothing moves.
func (w *world) mixed() (ids []string) {
	w.t.Helper()
	fine, broken := w.endpoint(nil), w.endpoint(answers("x", []string{"Retry-After: 0"}, 500))
	for range 3 {
		delivered, failed := w.publish(fine.URL+"/fine", "x"), w.publish(broken.URL+"/broken", "x", "Upstash-Retries: 1")
		delayed, canceled := w.publish("https://later.example:444/p?q", "x", "Upstash-Delay: 1h"), w.publish("https://never.example/", "", "Upstash-Delay: 1h")
		w.do("DELETE", "/v2/messages/"+canceled, "").into(200, &client.CancelResponse{})
		w.await(delivered, client.EventDelivered)
		w.await(failed, client.EventFailed)
		ids = append(ids, delivered, failed, delayed, canceled)
	}
	return ids
}

// Pages of any size give every event exactly once, in either order.
func TestEventPages(t *testing.T) {
	w := newWorld(t)
	ids := w.mixed()
	newest, oldest := w.events(""), w.events("?order=earliestFirst")
	if len(newest) != 3*(3+7+1+3) {
		t.Errorf("%d events", len(newest))
	}
	backwards := slices.Clone(lines(newest))
	slices.Reverse(backwards)
	equal(t, "earliest first", lines(oldest), backwards)
	for _, id := range ids {
		var of []client.EventState
		for _, ev := range oldest {
			if ev.MessageID == id {
				of = append(of, ev.State)
			}
		}
		equal(t, id, of, w.states(id))
	}
	for count := 1; count <= 6; count++ {
		size := fmt.Sprintf("count=%d", count)
		equal(t, size, lines(w.walk(size)), lines(newest))
		equal(t, size+" earliest first", lines(w.walk(size+"&order=earliestFirst")), lines(oldest))
	}
	all := "&fromDate=1&toDate=4102444800000"
	equal(t, "pages of a time", lines(w.walk("count=5"+all)), lines(newest))
	equal(t, "pages of a time, earliest first", lines(w.walk("count=5&order=earliestFirst"+all)), lines(oldest))
	failed := lines(w.events("?state=FAILED"))
	equal(t, "pages of a filter", lines(w.walk("count=1&state=FAILED")), failed)
	if len(failed) != 3 {
		t.Errorf("FAILED events %v", failed)
	}
	of := "messageIds=" + ids[1] + "&messageIds=" + ids[0]
	equal(t, "pages of messages", lines(w.walk("count=1&"+of)), lines(w.events("?"+of)))
	equal(t, "pages of messages, earliest first", lines(w.walk("count=3&order=earliestFirst&"+of)), lines(w.events("?order=earliestFirst&"+of)))
}

func TestEventFilters(t *testing.T) {
	w := newWorld(t)
	ids := w.mixed()
	delivered, failed, delayed := ids[0], ids[1], ids[2]
	m := get[client.Message](w, "/v2/messages/"+delayed)
	for query, want := range map[string]int{
		"":                     42,
		"?messageId=" + failed: 7,
		"?messageIds=" + failed + "," + delivered: 10,
		"?messageId=unknown":                      0,
		"?messageId=" + failed + "&state=RETRY":   1,
		"?state=DELIVERED":                        3,
		"?state=delivered":                        3,
		"?state=IN_PROGRESS&messageId=" + failed:  5,
		"?state=CANCELLED":                        3,
		"?state=CANCELED&state=FAILED":            6,
		"?state=CANCELED,FAILED":                  6,
		"?host=later.example":                     3,
		"?host=later.example:444":                 3,
		"?host=later.example:445":                 0,
		"?path=/p":                                3,
		"?path=/broken":                           21,
		"?url=https://later.example:444/p%3Fq":    3,
		"?label=l":                                0,
		"?callerIp=127.0.0.1":                     42,
		"?queueName=q":                            0,
		"?scheduleId=s":                           0,
		"?flowControlKey=k":                       0,
		"?api=llm":                                42,
		"?count=1000":                             42,
		"?count=5000":                             42,
		"?toDate=4102444800000":                   42, // the year 2100
		"?fromDate=4102444800000":                 0,
		"?fromDate=9223372036854775807":           0,
		"?toDate=9223372036854775807":             42,
		"?toDate=1":                               0,
		fmt.Sprintf("?messageId=%s&fromDate=%d&toDate=%d", delayed, m.CreatedAt, m.CreatedAt):   1,
		fmt.Sprintf("?messageId=%s&toDate=%d", delayed, m.CreatedAt-1):                          0,
		fmt.Sprintf("?fromDate=%d&host=later.example&count=1&order=earliestFirst", m.CreatedAt): 1,
	} {
		if got := w.events(query); len(got) != want {
			t.Errorf("%s: %d events, want %d: %v", query, len(got), want, lines(got))
		}
	}
}

// Both paths have the same events; the documented one has them twice, under
// the names of both documents.
func TestLogsHaveBothKeys(t *testing.T) {
	w := newWorld(t)
	w.mixed()
	events, logs := object(t, w.do("GET", "/v2/events?count=2", "").body), object(t, w.do("GET", "/v2/logs?count=2", "").body)
	if fmt.Sprint(logs["events"]) != fmt.Sprint(events["events"]) || fmt.Sprint(logs["logs"]) != fmt.Sprint(events["events"]) || logs["cursor"] != events["cursor"] || logs["cursor"] == nil {
		t.Errorf("/v2/logs has %v, /v2/events %v", logs, events)
	}
}

// An attempt under way is the newest event there is.
func TestEventOfAnAttemptUnderWay(t *testing.T) {
	w := newWorld(t)
	held := w.gate()
	e := w.endpoint(func(http.ResponseWriter, *delivery) { held.pass() })
	id := w.publish(e.URL, "")
	w.wait(held.reached, "the attempt")
	w.publish("https://example.com/", "", "Upstash-Delay: 1h")
	equal(t, "of all", lines(w.events("?state=ACTIVE")), []string{"ACTIVE " + id})
	equal(t, "of the message", w.states(id), []client.EventState{"CREATED", "ACTIVE"})
}

// A page of runs ends before it takes much memory, however many were asked for.
func TestT15PagesOfLargeRuns(t *testing.T) {
	w := newWorld(t)
	const size, runs = 9 << 20, 6
	payload := strings.Repeat("x", size)
	for range runs {
		w.do("POST", "/v2/trigger/https://example.com/", payload, "Upstash-Delay: 1h").into(200, &client.TriggerResponse{})
	}
	seen := map[string]bool{}
	for cursor, pages := "", 0; ; {
		page := get[client.RunsPage](w, "/v2/workflows/logs?count=100&trimBody=1&cursor="+cursor)
		if len(page.Runs) == 0 || len(page.Runs) > 4 {
			t.Fatalf("a page has %d runs with %d bytes each", len(page.Runs), size)
		}
		for _, r := range page.Runs {
			if seen[r.WorkflowRunID] {
				t.Errorf("run %s is there twice", r.WorkflowRunID)
			}
			seen[r.WorkflowRunID] = true
		}
		if pages, cursor = pages+1, page.Cursor; cursor == "" {
			break
		}
	}
	if len(seen) != runs {
		t.Errorf("there were %d runs, not %d", len(seen), runs)
	}
}
