package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// pagedServer has three pages of two things for every list.
func pagedServer(t *testing.T, page func(w http.ResponseWriter, cursor string)) *Client {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("label") != "l" && q.Get("action") != "l" {
			t.Errorf("page asked for with %s", r.RequestURI)
		}
		page(w, r.URL.Query().Get("cursor"))
	}))
	t.Cleanup(srv.Close)
	return New(Options{URL: srv.URL, Token: "tok", HTTPClient: srv.Client()})
}

func threePages(w http.ResponseWriter, cursor string) {
	n, next := 0, "a"
	switch cursor {
	case "a":
		n, next = 2, "b"
	case "b":
		n, next = 4, ""
	}
	things := fmt.Sprintf(`[{"messageId":"%d","workflowRunId":"%[1]d","object":"%[1]d"},{"messageId":"%d","workflowRunId":"%[2]d","object":"%[2]d"}]`, n, n+1)
	fmt.Fprintf(w, `{"events":%s,"messages":%[1]s,"runs":%[1]s,"entries":%[1]s,"responses":%[1]s,"workflowRuns":%[1]s,"cursor":%q}`, things, next)
}

// walk lists everything by noun, as ids.
func walk(c *Client, cursor string, stopAfter int) map[string]func() ([]string, error) {
	ctx := context.Background()
	labels := []string{"l"}
	return map[string]func() ([]string, error){
		"events": func() (ids []string, err error) {
			for e, err := range c.AllEvents(ctx, EventsRequest{Filter: Filter{Labels: labels}, Cursor: cursor}) {
				if err != nil {
					return ids, err
				}
				if ids = append(ids, e.MessageID); len(ids) == stopAfter {
					break
				}
			}
			return ids, nil
		},
		"dlq": func() (ids []string, err error) {
			for m, err := range c.AllDLQ(ctx, DLQRequest{Filter: DLQFilter{Filter: Filter{Labels: labels}}, Cursor: cursor}) {
				if err != nil {
					return ids, err
				}
				if ids = append(ids, m.MessageID); len(ids) == stopAfter {
					break
				}
			}
			return ids, nil
		},
		"retries": func() (ids []string, err error) {
			selection := DLQSelection{Filter: DLQFilter{Filter: Filter{Labels: labels}}, Cursor: cursor}
			for p, err := range c.RetryAllDLQ(ctx, DLQRetry{DLQSelection: selection}) {
				if err != nil {
					return ids, err
				}
				if ids = append(ids, p.MessageID); len(ids) == stopAfter {
					break
				}
			}
			return ids, nil
		},
		"audit": func() (ids []string, err error) {
			for a, err := range c.AllAudit(ctx, AuditRequest{Actions: labels, Cursor: cursor}) {
				if err != nil {
					return ids, err
				}
				if ids = append(ids, a.Object); len(ids) == stopAfter {
					break
				}
			}
			return ids, nil
		},
		"runs": func() (ids []string, err error) {
			for r, err := range c.AllRuns(ctx, RunsRequest{Labels: labels, Cursor: cursor}) {
				if err != nil {
					return ids, err
				}
				if ids = append(ids, r.WorkflowRunID); len(ids) == stopAfter {
					break
				}
			}
			return ids, nil
		},
	}
}

func TestAllPages(t *testing.T) {
	requests := 0
	c := pagedServer(t, func(w http.ResponseWriter, cursor string) { requests++; threePages(w, cursor) })
	for _, tt := range []struct {
		cursor    string
		stopAfter int
		want      []string
		requests  int
	}{
		{"", 0, []string{"0", "1", "2", "3", "4", "5"}, 3},
		{"a", 0, []string{"2", "3", "4", "5"}, 2},
		{"", 3, []string{"0", "1", "2"}, 2},
		{"", 2, []string{"0", "1"}, 1},
	} {
		for noun, list := range walk(c, tt.cursor, tt.stopAfter) {
			requests = 0
			if got, err := list(); err != nil || !slices.Equal(got, tt.want) || requests != tt.requests {
				t.Errorf("%s from %q: got %v in %d requests, error %v; want %v in %d", noun, tt.cursor, got, requests, err, tt.want, tt.requests)
			}
		}
	}
}

// TestEmptyPages follows pages of nothing, which filters make, to the next.
func TestEmptyPages(t *testing.T) {
	c := pagedServer(t, func(w http.ResponseWriter, cursor string) {
		if cursor == "b" {
			threePages(w, cursor)
			return
		}
		fmt.Fprintf(w, `{"events":[],"messages":[],"runs":[],"entries":[],"responses":[],"cursor":%q}`, string(rune('a'+len(cursor))))
	})
	for noun, list := range walk(c, "", 0) {
		if got, err := list(); err != nil || !slices.Equal(got, []string{"4", "5"}) {
			t.Errorf("%s: got %v, error %v", noun, got, err)
		}
	}
}

func TestDeleteAllDLQ(t *testing.T) {
	answers := []string{`{"deleted":100,"cursor":"a"}`, `{"deleted":0,"cursor":"b"}`, `{"deleted":7}`}
	var got []int
	c := pagedServer(t, func(w http.ResponseWriter, _ string) {
		fmt.Fprint(w, answers[len(got)])
	})
	for n, err := range c.DeleteAllDLQ(context.Background(), DLQSelection{Filter: DLQFilter{Filter: Filter{Labels: []string{"l"}}}}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	if !slices.Equal(got, []int{100, 0, 7}) {
		t.Errorf("deleted %v", got)
	}
}

// TestAllPagesTwice ranges over one iterator again: it starts anew.
func TestAllPagesTwice(t *testing.T) {
	c := pagedServer(t, threePages)
	all := c.AllEvents(context.Background(), EventsRequest{Filter: Filter{Labels: []string{"l"}}})
	for range 2 {
		n := 0
		for _, err := range all {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 6 {
			t.Errorf("walked %d events", n)
		}
	}
}

func TestAllPagesError(t *testing.T) {
	broken := pagedServer(t, func(w http.ResponseWriter, cursor string) {
		if cursor == "a" {
			http.Error(w, `{"error":"gone"}`, http.StatusNotFound)
			return
		}
		threePages(w, cursor)
	})
	stuck := pagedServer(t, func(w http.ResponseWriter, _ string) { threePages(w, "") })
	for noun, list := range walk(broken, "", 0) {
		if got, err := list(); !errors.Is(err, ErrNotFound) || !slices.Equal(got, []string{"0", "1"}) {
			t.Errorf("%s: got %v, error %v", noun, got, err)
		}
	}
	for noun, list := range walk(stuck, "", 0) {
		if got, err := list(); err == nil || err.Error() != `list next page: server repeats cursor "a"` || !slices.Equal(got, []string{"0", "1"}) {
			t.Errorf("%s: got %v, error %v", noun, got, err)
		}
	}
}

func TestCounts(t *testing.T) {
	ctx := context.Background()
	c, _ := newTestClient(t, 200, `{"cancelled":3,"deleted":2,"cursor":"c","responses":[{"messageId":"msg_9"}]}`)
	if n, err := c.CancelMessages(ctx, CancelRequest{All: true}); n != 3 || err != nil {
		t.Errorf("cancelled %d messages, error %v", n, err)
	}
	if n, err := c.CancelRuns(ctx, CancelRunsRequest{IDs: []string{"wfr_1"}}); n != 3 || err != nil {
		t.Errorf("cancelled %d runs, error %v", n, err)
	}
	if a, err := c.DeleteDLQ(ctx, DLQSelection{All: true}); a.Deleted != 2 || a.Cursor != "c" || err != nil {
		t.Errorf("deletion answered %+v, error %v", a, err)
	}
	a, err := c.RetryDLQ(ctx, DLQRetry{DLQSelection: DLQSelection{All: true}})
	if len(a.Responses) != 1 || a.Responses[0].MessageID != "msg_9" || a.Cursor != "c" || err != nil {
		t.Errorf("retry answered %+v, error %v", a, err)
	}
}

func TestNotFound(t *testing.T) {
	ctx := context.Background()
	c, _ := newTestClient(t, 404, `{"error":"not there"}`)
	for name, do := range map[string]func() error{
		"message":            func() error { _, err := c.Message(ctx, "x"); return err },
		"cancel message":     func() error { return c.CancelMessage(ctx, "x") },
		"dlq message":        func() error { _, err := c.DLQMessage(ctx, "x"); return err },
		"delete dlq message": func() error { return c.DeleteDLQMessage(ctx, "x") },
		"retry dlq message":  func() error { _, err := c.RetryDLQMessage(ctx, "x"); return err },
		"delete dlq":         func() error { _, err := c.DeleteDLQ(ctx, DLQSelection{All: true}); return err },
		"retry dlq": func() error {
			_, err := c.RetryDLQ(ctx, DLQRetry{DLQSelection: DLQSelection{IDs: []string{"x"}}})
			return err
		},
		"run":          func() error { _, err := c.Run(ctx, "x"); return err },
		"run log":      func() error { _, err := c.RunLog(ctx, "x"); return err },
		"cancel run":   func() error { return c.CancelRun(ctx, "x") },
		"cancel runs":  func() error { _, err := c.CancelRuns(ctx, CancelRunsRequest{IDs: []string{"x"}}); return err },
		"finish run":   func() error { return c.FinishRun(ctx, "x", nil) },
		"revoke token": func() error { _, err := c.RevokeToken(ctx, "x"); return err },
	} {
		if err := do(); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	none, _ := newTestClient(t, 200, `{"runs":[],"cursor":""}`)
	if _, err := none.Run(ctx, "wfr_1"); !errors.Is(err, ErrNotFound) || err.Error() != "get run wfr_1: not found" {
		t.Errorf("an unknown run: got error %v", err)
	}
}

func TestRunLog(t *testing.T) {
	c, _ := newTestClient(t, 200, string(readFile(t, "testdata/shape/log.json")))
	log, err := c.RunLog(context.Background(), "wfr_1")
	if err != nil || len(log) != 2 {
		t.Fatalf("got %v, error %v", log, err)
	}
	if log[0].MessageID != "msg_A" || string(log[0].Body) != `{"u":1}` || log[1].CallType != "toCallback" || string(log[1].Body) != "raw" {
		t.Errorf("got %+v", log)
	}
}

// A log that an endpoint fetches has every payload of the run, encoded twice.
func TestRunLogIsLongerThanOtherAnswers(t *testing.T) {
	half := strings.Repeat("x", defaultMaxResponseBytes/2)
	c, _ := newTestClient(t, 200, `[{"messageId":"`+half+`"},{"messageId":"`+half+`"}]`)
	log, err := c.RunLog(context.Background(), "wfr_1")
	if err != nil || len(log) != 2 || log[1].MessageID != half {
		t.Errorf("got %d entries, error %v", len(log), err)
	}
	bounded := New(Options{URL: c.base.String(), Token: "tok", MaxResponseBytes: 100, HTTPClient: c.http})
	if _, err := bounded.RunLog(context.Background(), "wfr_1"); err == nil || err.Error() != "get run log: read answer: longer than 100 bytes" {
		t.Errorf("with 100 bytes: got error %v", err)
	}
}
