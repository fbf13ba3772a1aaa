package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// TestBulk takes more than one call: the answers of a server, in turn.
func TestBulk(t *testing.T) {
	tests := []struct {
		name    string
		args    []string
		answers []string
		sent    []string
		stdout  string
		stderr  string
		status  int
	}{
		{"cancel in steps", []string{"messages", "cancel", "--all", "--yes"},
			[]string{`{"cancelled":500}`, `{"cancelled":500}`, `{"cancelled":3}`},
			[]string{"DELETE /v2/messages?count=500", "DELETE /v2/messages?count=500", "DELETE /v2/messages?count=500"}, "cancelled 1003\n", "", 0},
		{"cancel breaks off", []string{"messages", "cancel", "--label", "l"},
			[]string{`{"cancelled":500}`, `{"error":"no more"}`},
			[]string{"DELETE /v2/messages?count=500&label=l", "DELETE /v2/messages?count=500&label=l"}, "",
			"signpost: cancelled 500, then: cancel messages: server answered 400: no more\nhint: see \"signpost messages cancel --help\"\n", 1},
		{"delete follows cursors", []string{"dlq", "delete", "--label", "l", "--status", "500"},
			[]string{`{"deleted":100,"cursor":"a"}`, `{"deleted":0,"cursor":"b"}`, `{"deleted":7}`},
			[]string{
				"DELETE /v2/dlq?count=100&label=l&responseStatus=500", "DELETE /v2/dlq?count=100&cursor=a&label=l&responseStatus=500",
				"DELETE /v2/dlq?count=100&cursor=b&label=l&responseStatus=500",
			}, "deleted 107\n", "", 0},
		{"retry follows cursors", []string{"dlq", "retry", "--all", "-y"},
			[]string{`{"responses":[{"messageId":"msg_1"}],"cursor":"a"}`, `{"responses":[{"messageId":"msg_2"}],"cursor":""}`},
			[]string{"POST /v2/dlq/retry?count=100", "POST /v2/dlq/retry?count=100&cursor=a"}, "msg_1\nmsg_2\n", "Retried 2.\n", 0},
		{"retry breaks off", []string{"dlq", "retry", "--all", "-y", "--json"},
			[]string{`{"responses":[{"messageId":"msg_1"}],"cursor":"a"}`, `{"error":"no more"}`},
			[]string{"POST /v2/dlq/retry?count=100", "POST /v2/dlq/retry?count=100&cursor=a"}, "{\"messageId\":\"msg_1\"}\n",
			"signpost: retried 1, then: retry from dlq: server answered 400: no more\nhint: see \"signpost dlq retry --help\"\n", 1},
		{"list follows cursors", []string{"dlq", "list", "-n", "2", "--json", "--newest"},
			[]string{`{"messages":[{"messageId":"msg_1"}],"cursor":"a"}`, `{"messages":[],"cursor":"b"}`, `{"messages":[{"messageId":"msg_2"},{"messageId":"msg_3"}]}`},
			[]string{"GET /v2/dlq?count=3&order=latestFirst", "GET /v2/dlq?count=3&cursor=a&order=latestFirst", "GET /v2/dlq?count=3&cursor=b&order=latestFirst"},
			`{"messageId":"msg_1","url":"","method":"","maxRetries":0,"notBefore":0,"createdAt":0,"dlqId":"","responseStatus":0}` + "\n" +
				`{"messageId":"msg_2","url":"","method":"","maxRetries":0,"notBefore":0,"createdAt":0,"dlqId":"","responseStatus":0}` + "\n", "There are more: see -n.\n", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var sent []string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				sent = append(sent, r.Method+" "+r.RequestURI)
				answer := tt.answers[min(len(sent), len(tt.answers))-1]
				if answer == `{"error":"no more"}` {
					w.WriteHeader(http.StatusBadRequest)
				}
				_, _ = io.WriteString(w, answer)
			}))
			defer srv.Close()
			stdout, stderr, status := call(t, map[string]string{"QSTASH_URL": srv.URL}, "", tt.args...)
			if stdout != tt.stdout || stderr != tt.stderr || status != tt.status {
				t.Errorf("status %d, stdout\n%s\nstderr\n%s", status, stdout, stderr)
			}
			if !slices.Equal(sent, tt.sent) {
				t.Errorf("sent %q, want %q", sent, tt.sent)
			}
		})
	}
}
