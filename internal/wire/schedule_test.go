package wire

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A schedule keeps what says what to send, and nothing of who asked for it or
// over which connection.
func TestScheduleHeader(t *testing.T) {
	asked := http.Header{
		"Authorization":  {"Bearer secret"},
		"Connection":     {"close, X-Hop"},
		"X-Hop":          {"1"},
		"Content-Length": {"3"},
		"Content-Type":   {"text/plain"},
		"Cookie":         {"a=b"},
		"User-Agent":     {"curl"},

		"Upstash-Cron":                     {"* * * * *"},
		"Upstash-Schedule-Id":              {"s"},
		"Upstash-Telemetry-Sdk":            {"x"},
		"Upstash-Signature":                {"y"},
		"Upstash-Retries":                  {"2"},
		"Upstash-Hop":                      {"1"},
		"Upstash-Callback-Forward-A":       {"b"},
		"Upstash-Forward-Authorization":    {"Bearer other"},
		"Upstash-Forward-Connection":       {"close"},
		"Upstash-Forward-Upstash-Hop":      {"1"},
		"Upstash-Forward-Upstash-Workflow": {"z"},
		"Upstash-Empty":                    {},
	}
	want := http.Header{
		"Content-Type":                     {"text/plain"},
		"Upstash-Retries":                  {"2"},
		"Upstash-Hop":                      {"1"},
		"Upstash-Callback-Forward-A":       {"b"},
		"Upstash-Forward-Authorization":    {"Bearer other"},
		"Upstash-Forward-Upstash-Hop":      {"1"},
		"Upstash-Forward-Upstash-Workflow": {"z"},
	}
	if diff := cmp.Diff(want, ScheduleHeader(asked, false)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	want["Cookie"], want["User-Agent"] = []string{"a=b"}, []string{"curl"}
	if diff := cmp.Diff(want, ScheduleHeader(asked, true)); diff != "" {
		t.Errorf("all: -want +got:\n%s", diff)
	}
	asked["Upstash-Header-Forward"] = []string{" true"}
	want["Upstash-Header-Forward"] = asked["Upstash-Header-Forward"]
	if diff := cmp.Diff(want, ScheduleHeader(asked, false)); diff != "" {
		t.Errorf("forwarding all: -want +got:\n%s", diff)
	}
	before, err := ParseConfig(asked)
	if err != nil {
		t.Fatal(err)
	}
	after, err := ParseConfig(ScheduleHeader(asked, false))
	before.Cron, before.ScheduleID = "", ""
	if diff := cmp.Diff(before, after); err != nil || diff != "" {
		t.Errorf("read again: %v, -before +after:\n%s", err, diff)
	}
}
