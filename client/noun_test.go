package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// nounCall is a call of a queue, group, schedule or key of flow control: what it
// sends, and what it makes of the answer.
type nounCall struct {
	name   string
	do     func(ctx context.Context, c *Client) (any, error)
	want   string // method and request URI
	body   string // JSON
	answer string
	result any
}

func nothing(err error) (any, error) { return nil, err }

var nounCalls = []nounCall{
	{"queues", func(ctx context.Context, c *Client) (any, error) { return c.Queues(ctx) }, "GET /v2/queues", "",
		`[{"name":"q","createdAt":1,"updatedAt":2,"parallelism":3,"lag":4,"paused":true},{"name":"r","new":{}}]`,
		[]Queue{{Name: "q", CreatedAt: 1, UpdatedAt: 2, Parallelism: 3, Lag: 4, Paused: true}, {Name: "r"}}},
	{"queue", func(ctx context.Context, c *Client) (any, error) { return c.Queue(ctx, "-q_.1") }, "GET /v2/queues/-q_.1", "",
		`{"name":"-q_.1","parallelism":1}`, Queue{Name: "-q_.1", Parallelism: 1}},
	{"put queue", func(ctx context.Context, c *Client) (any, error) {
		return nothing(c.PutQueue(ctx, QueueRequest{Name: "q", Parallelism: new(5), Paused: new(false)}))
	}, "POST /v2/queues", `{"queueName":"q","parallelism":5,"paused":false}`, "", nil},
	{"put queue as it is", func(ctx context.Context, c *Client) (any, error) {
		return nothing(c.PutQueue(ctx, QueueRequest{Name: "q"}))
	}, "POST /v2/queues", `{"queueName":"q"}`, `{"name":"q"}`, nil},
	{"delete queue", func(ctx context.Context, c *Client) (any, error) { return nothing(c.DeleteQueue(ctx, "q")) }, "DELETE /v2/queues/q", "", "", nil},
	{"pause queue", func(ctx context.Context, c *Client) (any, error) { return nothing(c.PauseQueue(ctx, "q")) }, "POST /v2/queues/q/pause", "", "", nil},
	{"resume queue", func(ctx context.Context, c *Client) (any, error) { return nothing(c.ResumeQueue(ctx, "q")) }, "POST /v2/queues/q/resume", "", "", nil},

	{"groups", func(ctx context.Context, c *Client) (any, error) { return c.URLGroups(ctx) }, "GET /v2/topics", "",
		`[{"name":"g","createdAt":1,"updatedAt":2,"endpoints":[{"name":"an end","url":"https://a.example"},{"url":"https://b.example"}],"headers":{"Upstash-Retries":["3"]}}]`,
		[]URLGroup{{Name: "g", CreatedAt: 1, UpdatedAt: 2,
			Endpoints: []Endpoint{{"an end", "https://a.example"}, {"", "https://b.example"}}, Header: http.Header{"Upstash-Retries": {"3"}}}}},
	{"group", func(ctx context.Context, c *Client) (any, error) { return c.URLGroup(ctx, "g") }, "GET /v2/topics/g", "",
		`{"name":"g","endpoints":[]}`, URLGroup{Name: "g", Endpoints: []Endpoint{}}},
	{"add endpoints", func(ctx context.Context, c *Client) (any, error) {
		return nothing(c.AddEndpoints(ctx, "g", Endpoint{Name: "an end", URL: "https://a.example/x?y=1"}, Endpoint{URL: "http://b.example"}))
	}, "POST /v2/topics/g/endpoints", `{"endpoints":[{"name":"an end","url":"https://a.example/x?y=1"},{"url":"http://b.example"}]}`, "", nil},
	{"remove endpoints", func(ctx context.Context, c *Client) (any, error) {
		return nothing(c.RemoveEndpoints(ctx, "g", Endpoint{Name: "an end"}, Endpoint{URL: "http://b.example"}))
	}, "DELETE /v2/topics/g/endpoints", `{"endpoints":[{"name":"an end"},{"url":"http://b.example"}]}`, "", nil},
	{"set header", func(ctx context.Context, c *Client) (any, error) {
		return nothing(c.SetURLGroupHeader(ctx, "g", http.Header{"Upstash-Retries": {"5"}, "Upstash-Label": {"a", "b"}}))
	}, "PATCH /v2/topics/g", `{"headers":{"Upstash-Label":["a","b"],"Upstash-Retries":["5"]}}`, "", nil},
	{"set no header", func(ctx context.Context, c *Client) (any, error) { return nothing(c.SetURLGroupHeader(ctx, "g", nil)) },
		"PATCH /v2/topics/g", `{"headers":{}}`, "", nil},
	{"delete group", func(ctx context.Context, c *Client) (any, error) { return nothing(c.DeleteURLGroup(ctx, "g")) }, "DELETE /v2/topics/g", "", "", nil},

	{"schedules", func(ctx context.Context, c *Client) (any, error) { return c.Schedules(ctx) }, "GET /v2/schedules", "",
		`[{"scheduleId":"scd_1","cron":"CRON_TZ=Europe/Berlin 0 4 * * *","destination":"https://a.example","createdAt":1,"method":"POST","isPaused":true,
		  "retries":3,"delay":60,"queueName":"q","lastScheduleTime":5,"nextScheduleTime":6,"lastScheduleStates":{"msg_1":"SUCCESS"},"error":"no"}]`,
		[]Schedule{{ScheduleID: "scd_1", Cron: "CRON_TZ=Europe/Berlin 0 4 * * *", Destination: "https://a.example", CreatedAt: 1, Method: "POST",
			Paused: true, Retries: 3, Delay: 60, QueueName: "q", LastTime: 5, NextTime: 6,
			LastStates: map[string]ScheduleState{"msg_1": ScheduleSuccess}, Error: "no"}}},
	{"schedule", func(ctx context.Context, c *Client) (any, error) { return c.Schedule(ctx, "scd_1") }, "GET /v2/schedules/scd_1", "",
		`{"scheduleId":"scd_1","bodyBase64":"/w=="}`, Schedule{ScheduleID: "scd_1", BodyBase64: "/w=="}},
	{"delete schedule", func(ctx context.Context, c *Client) (any, error) { return nothing(c.DeleteSchedule(ctx, "scd_1")) }, "DELETE /v2/schedules/scd_1", "", "", nil},
	{"pause schedule", func(ctx context.Context, c *Client) (any, error) { return nothing(c.PauseSchedule(ctx, "scd_1")) }, "PATCH /v2/schedules/scd_1/pause", "", "", nil},
	{"resume schedule", func(ctx context.Context, c *Client) (any, error) { return nothing(c.ResumeSchedule(ctx, "scd_1")) }, "PATCH /v2/schedules/scd_1/resume", "", "", nil},

	{"flow control", func(ctx context.Context, c *Client) (any, error) { return c.FlowControlKeys(ctx, "") }, "GET /v2/flowControl", "",
		`[{"flowControlKey":"k","waitListSize":1,"parallelismMax":2,"parallelismCount":3,"rateMax":4,"rateCount":5,"ratePeriod":6,"ratePeriodStart":7,
		  "isPaused":true,"isPinnedParallelism":true,"isPinnedRate":true}]`,
		[]FlowControlKey{{"k", 1, 2, 3, 4, 5, 6, 7, true, true, true}}},
	{"flow control with a text", func(ctx context.Context, c *Client) (any, error) { return c.FlowControlKeys(ctx, "a b&c") }, "GET /v2/flowControl?search=a+b%26c", "",
		`[]`, []FlowControlKey{}},
	{"key", func(ctx context.Context, c *Client) (any, error) { return c.FlowControlKey(ctx, "eu/shop 1%?#é") }, "GET /v2/flowControl/eu%2Fshop%201%25%3F%23%C3%A9", "",
		`{"flowControlKey":"eu/shop 1%?#é"}`, FlowControlKey{Key: "eu/shop 1%?#é"}},
	{"pause key", func(ctx context.Context, c *Client) (any, error) { return nothing(c.PauseFlowControl(ctx, "a/b")) }, "POST /v2/flowControl/a%2Fb/pause", "", "", nil},
	{"resume key", func(ctx context.Context, c *Client) (any, error) { return nothing(c.ResumeFlowControl(ctx, "a/b")) }, "POST /v2/flowControl/a%2Fb/resume", "", "", nil},
	{"pin", func(ctx context.Context, c *Client) (any, error) {
		return nothing(c.PinFlowControl(ctx, FlowControl{Key: "k", Parallelism: 1, Rate: 2, Period: time.Minute}))
	}, "POST /v2/flowControl/k/pin?parallelism=1&period=60&rate=2", "", "", nil},
	{"pin parallelism", func(ctx context.Context, c *Client) (any, error) {
		return nothing(c.PinFlowControl(ctx, FlowControl{Key: "k", Parallelism: 1}))
	}, "POST /v2/flowControl/k/pin?parallelism=1", "", "", nil},
	{"unpin", func(ctx context.Context, c *Client) (any, error) {
		return nothing(c.UnpinFlowControl(ctx, "k", true, true))
	},
		"POST /v2/flowControl/k/unpin?parallelism=true&rate=true", "", "", nil},
	{"unpin rate", func(ctx context.Context, c *Client) (any, error) {
		return nothing(c.UnpinFlowControl(ctx, "k", false, true))
	},
		"POST /v2/flowControl/k/unpin?rate=true", "", "", nil},
	{"reset", func(ctx context.Context, c *Client) (any, error) {
		return nothing(c.ResetFlowControlRate(ctx, "pause"))
	}, "POST /v2/flowControl/pause/resetRate", "", "", nil},
	{"global parallelism", func(ctx context.Context, c *Client) (any, error) { return c.GlobalParallelism(ctx) }, "GET /v2/globalParallelism", "",
		`{"parallelismMax":500,"parallelismCount":7}`, GlobalParallelism{500, 7}},

	{"alive", func(ctx context.Context, c *Client) (any, error) { return nothing(c.Alive(ctx)) }, "GET /v2/liveness", "", "ok", nil},
	{"ready", func(ctx context.Context, c *Client) (any, error) { return nothing(c.Ready(ctx)) }, "GET /v2/readiness", "", "", nil},
}

func TestNounCalls(t *testing.T) {
	for _, tt := range nounCalls {
		t.Run(tt.name, func(t *testing.T) {
			c, got := newTestClient(t, 200, tt.answer)
			result, err := tt.do(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.result, result); d != "" {
				t.Errorf("result differs (-want +got):\n%s", d)
			}
			r := <-got
			if line := r.Method + " " + r.URI; line != tt.want || r.Body != tt.body {
				t.Errorf("got  %s %q\nwant %s %q", line, r.Body, tt.want, tt.body)
			}
			want := http.Header{}
			if tt.body != "" {
				want.Set("Content-Type", "application/json")
			}
			if d := cmp.Diff(want, withoutTransport(r.Header)); d != "" {
				t.Errorf("headers differ (-want +got):\n%s", d)
			}
		})
	}
}

func TestNounErrors(t *testing.T) {
	for _, tt := range nounCalls {
		c, _ := newTestClient(t, 404, `{"error":"not there"}`)
		result, err := tt.do(t.Context(), c)
		if answered := (*Error)(nil); !errors.Is(err, ErrNotFound) || !errors.As(err, &answered) || answered.Message != "not there" {
			t.Errorf("%s: got %v, error %v", tt.name, result, err)
		}
		if tt.result == nil {
			continue
		}
		if c, _ = newTestClient(t, 200, `"`); true {
			if _, err := tt.do(t.Context(), c); err == nil {
				t.Errorf("%s: read what is no JSON", tt.name)
			}
		}
	}
}

// TestNounsRefused has names that no server takes, or that would mean something
// else in a path.
func TestNounsRefused(t *testing.T) {
	const noName = `: name: expected 1 to 256 of A-Z a-z 0-9 _ . -, got `
	tests := []struct {
		do   func(ctx context.Context, c *Client) error
		want string
	}{
		{func(ctx context.Context, c *Client) error { _, err := c.Queue(ctx, ""); return err }, "get queue" + noName + `""`},
		{func(ctx context.Context, c *Client) error { return c.PutQueue(ctx, QueueRequest{Name: "a/b"}) }, "put queue" + noName + `"a/b"`},
		{func(ctx context.Context, c *Client) error { return c.DeleteQueue(ctx, "..") }, "delete queue" + noName + `".."`},
		{func(ctx context.Context, c *Client) error { return c.PauseQueue(ctx, "a b") }, "pause queue" + noName + `"a b"`},
		{func(ctx context.Context, c *Client) error { return c.ResumeQueue(ctx, "é") }, "resume queue" + noName + `"é"`},
		{func(ctx context.Context, c *Client) error { _, err := c.URLGroup(ctx, "."); return err }, "get url group" + noName + `"."`},
		{func(ctx context.Context, c *Client) error { return c.DeleteURLGroup(ctx, "") }, "delete url group" + noName + `""`},
		{func(ctx context.Context, c *Client) error {
			return c.AddEndpoints(ctx, "", Endpoint{URL: "https://a.example"})
		}, "add endpoints" + noName + `""`},
		{func(ctx context.Context, c *Client) error { return c.AddEndpoints(ctx, "g") }, "add endpoints: want one or more endpoints"},
		{func(ctx context.Context, c *Client) error { return c.AddEndpoints(ctx, "g", Endpoint{Name: "n"}) }, "add endpoints: destination: want an absolute url, http:// or https://"},
		{func(ctx context.Context, c *Client) error { return c.RemoveEndpoints(ctx, "g") }, "remove endpoints: want one or more endpoints"},
		{func(ctx context.Context, c *Client) error { return c.RemoveEndpoints(ctx, "g", Endpoint{}) }, "remove endpoints: want a name or a url of each"},
		{func(ctx context.Context, c *Client) error { return c.SetURLGroupHeader(ctx, "a?b", nil) }, "set header of url group" + noName + `"a?b"`},
		{func(ctx context.Context, c *Client) error {
			return c.SetURLGroupHeader(ctx, "g", http.Header{"Upstash-Label": {"a\nb"}})
		}, "set header of url group: header Upstash-Label: value has a control character"},
		{func(ctx context.Context, c *Client) error { _, err := c.Schedule(ctx, ""); return err }, "get schedule" + noName + `""`},
		{func(ctx context.Context, c *Client) error { return c.DeleteSchedule(ctx, "") }, "delete schedule" + noName + `""`},
		{func(ctx context.Context, c *Client) error { return c.PauseSchedule(ctx, "") }, "pause schedule" + noName + `""`},
		{func(ctx context.Context, c *Client) error { return c.ResumeSchedule(ctx, "") }, "resume schedule" + noName + `""`},
		{func(ctx context.Context, c *Client) error { _, err := c.FlowControlKey(ctx, ""); return err }, "get flow control: id is empty"},
		{func(ctx context.Context, c *Client) error { return c.PauseFlowControl(ctx, "..") }, `pause flow control: ".." is no id`},
		{func(ctx context.Context, c *Client) error { return c.PinFlowControl(ctx, FlowControl{Key: "k"}) }, "pin flow control: flow control: want a parallelism or a rate, from 1"},
		{func(ctx context.Context, c *Client) error { return c.UnpinFlowControl(ctx, "k", false, false) }, "unpin flow control: want parallelism, rate or both"},
	}
	for _, tt := range tests {
		c, got := newTestClient(t, 200, `{}`)
		if err := tt.do(t.Context(), c); err == nil || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
		if len(got) != 0 {
			t.Errorf("%s: the server got %v", tt.want, <-got)
		}
	}
}

// FuzzFlowKey sends keys of any characters: a server that decodes the path reads
// them back.
func FuzzFlowKey(f *testing.F) {
	for _, key := range []string{"k", "a/b", "a b%2F?#é", "..", "/pause", "\x00\xff"} {
		f.Add(key)
	}
	c := New(Options{URL: "https://qstash.test/prefix", Token: "tok"})
	f.Fuzz(func(t *testing.T, key string) {
		path, err := flowPath(key, "/pause")
		if err != nil {
			return
		}
		uri := c.url(path, url.Values{"rate": {"1"}}).RequestURI()
		escaped, ok := strings.CutPrefix(strings.TrimSuffix(uri, "/pause?rate=1"), "/prefix/v2/flowControl/")
		if got, err := url.PathUnescape(escaped); !ok || got != key || err != nil || strings.Contains(escaped, "/") {
			t.Errorf("%q is asked for as %s", key, uri)
		}
	})
}
