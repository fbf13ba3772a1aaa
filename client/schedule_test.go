package client

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCreateSchedule(t *testing.T) {
	tests := []struct {
		name string
		r    ScheduleRequest
		uri  string
		want http.Header
	}{
		{"least", ScheduleRequest{Cron: "* * * * *", Publish: PublishRequest{URL: "https://example.com/a?b=c"}},
			"/v2/schedules/https://example.com/a?b=c", http.Header{"Upstash-Cron": {"* * * * *"}}},
		{"most", ScheduleRequest{Cron: "CRON_TZ=Europe/Berlin 0 4 * * *", ID: "nightly", Publish: PublishRequest{
			URLGroup: "g", Queue: "q", Method: "PUT", Header: http.Header{"Content-Type": {"text/plain"}, "X-A": {"1"}},
			Delay: time.Minute, Retries: new(2), Callback: &Callback{URL: "https://example.com/done"}, Labels: []string{"l"},
			FlowControl: &FlowControl{Key: "k", Rate: 1}, Redact: []string{"body"},
		}}, "/v2/schedules/g", http.Header{
			"Upstash-Cron": {"CRON_TZ=Europe/Berlin 0 4 * * *"}, "Upstash-Schedule-Id": {"nightly"}, "Upstash-Queue-Name": {"q"},
			"Upstash-Method": {"PUT"}, "Content-Type": {"text/plain"}, "Upstash-Forward-X-A": {"1"}, "Upstash-Delay": {"60s"},
			"Upstash-Retries": {"2"}, "Upstash-Callback": {"https://example.com/done"}, "Upstash-Label": {"l"},
			"Upstash-Flow-Control-Key": {"k"}, "Upstash-Flow-Control-Value": {"rate=1"}, "Upstash-Redact-Fields": {"body"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, got := newTestClient(t, 200, `{"scheduleId":"scd_1"}`)
			tt.r.Publish.Body = []byte("\xff")
			if id, err := c.CreateSchedule(t.Context(), tt.r); id != "scd_1" || err != nil {
				t.Fatalf("answered %q, error %v", id, err)
			}
			r := <-got
			if r.Method != "POST" || r.URI != tt.uri || r.Body != "\xff" {
				t.Errorf("sent %s %s %q", r.Method, r.URI, r.Body)
			}
			if d := cmp.Diff(tt.want, withoutTransport(r.Header)); d != "" {
				t.Errorf("headers differ (-want +got):\n%s", d)
			}
		})
	}
}

func TestCreateScheduleJSON(t *testing.T) {
	c, got := newTestClient(t, 201, `{"scheduleId":"scd_1"}`)
	r := ScheduleRequest{Cron: "@hourly", Publish: PublishRequest{URL: "https://example.com"}}
	if id, err := c.CreateScheduleJSON(t.Context(), r, map[string]int{"a": 1}); id != "scd_1" || err != nil {
		t.Fatalf("answered %q, error %v", id, err)
	}
	if r := <-got; r.Body != `{"a":1}` || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("sent %q as %q", r.Body, r.Header["Content-Type"])
	}
	if _, err := c.CreateScheduleJSON(t.Context(), r, func() {}); err == nil || err.Error() != "create schedule: encode body: json: unsupported type: func()" {
		t.Errorf("got error %v", err)
	}
}

func TestCreateScheduleRefused(t *testing.T) {
	to := PublishRequest{URL: "https://example.com"}
	at, once, same := to, to, to
	at.NotBefore, once.DeduplicationID, same.ContentBasedDeduplication = time.Unix(1, 0), "d", true
	const neither = "a schedule has neither NotBefore nor deduplication"
	for _, tt := range []struct {
		r    ScheduleRequest
		want string
	}{
		{ScheduleRequest{Publish: to}, "want a cron expression"},
		{ScheduleRequest{Cron: "@daily"}, "destination: want an absolute url, http:// or https://"},
		{ScheduleRequest{Cron: "@daily", ID: "a b", Publish: to}, `id: expected 1 to 256 of A-Z a-z 0-9 _ . -, got "a b"`},
		{ScheduleRequest{Cron: "* * * * *\n", Publish: to}, "header Upstash-Cron: value has a control character"},
		{ScheduleRequest{Cron: "@daily", Publish: at}, neither},
		{ScheduleRequest{Cron: "@daily", Publish: once}, neither},
		{ScheduleRequest{Cron: "@daily", Publish: same}, neither},
	} {
		c, got := newTestClient(t, 200, `{}`)
		if _, err := c.CreateSchedule(t.Context(), tt.r); err == nil || err.Error() != "create schedule: "+tt.want || len(got) != 0 {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}

// TestCreateScheduleOnce loses the first answer: a schedule without an id is not
// asked for again, for there could be two.
func TestCreateScheduleOnce(t *testing.T) {
	for id, want := range map[string]int{"": 1, "nightly": 2} {
		tries := 0
		c := fakeClient(1, func(*http.Request) (*http.Response, error) {
			if tries++; tries == 1 {
				return nil, io.ErrUnexpectedEOF
			}
			return answer(200, `{"scheduleId":"nightly"}`), nil
		})
		_, err := c.CreateSchedule(t.Context(), ScheduleRequest{Cron: "@daily", ID: id, Publish: PublishRequest{URL: "https://example.com"}})
		if lost := errors.Is(err, io.ErrUnexpectedEOF); tries != want || lost != (want == 1) {
			t.Errorf("id %q: %d tries, error %v", id, tries, err)
		}
	}
}
