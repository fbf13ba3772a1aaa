package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const (
	aGroup = `{"name":"g","createdAt":1700000000000,"updatedAt":1700000000000,"endpoints":[{"name":"an end","url":"https://a.example/x?secret=1"},{"url":"https://b.example"}],"headers":{"Upstash-Retries":["5"]}}`

	aSchedule = `{"scheduleId":"nightly","cron":"CRON_TZ=Europe/Berlin 0 4 * * *","destination":"https://a.example/x?secret=1","createdAt":1700000000000,"method":"POST",` +
		`"isPaused":false,"header":{"X-A":["1"]},"body":"two\nlines\n","retries":3,"delay":90,"queueName":"q","flowControlKey":"k","rate":2,"period":60,` +
		`"lastScheduleTime":1700000000000,"nextScheduleTime":1700086400000,"lastScheduleStates":{"msg_1":"SUCCESS"}}`
)

// TestNouns runs commands on URL groups and schedules against a server that gives
// one answer: what they send, and what they make of it.
func TestNouns(t *testing.T) {
	tests := []struct {
		args   []string
		answer string
		sent   string // method, request URI and body
		stdout []string
		stderr string
	}{
		{[]string{"groups", "list"}, "[" + aGroup + "]", "GET /v2/topics ",
			[]string{"GROUP  ENDPOINTS  UPDATED", "d ago  https://a.example/x?… https://b.example\n"}, ""},
		{[]string{"group", "list", "--json"}, "[" + aGroup + "," + aGroup + "]", "GET /v2/topics ", []string{aGroup + "\n" + aGroup + "\n"}, ""},
		{[]string{"groups", "get", "g"}, aGroup, "GET /v2/topics/g ",
			[]string{"group    g\n", "header   Upstash-Retries: 5\n", "\nENDPOINT  URL\nan end    https://a.example/x?secret=1\n-         https://b.example\n"}, ""},
		{[]string{"groups", "get", "g", "--json"}, aGroup, "GET /v2/topics/g ", []string{aGroup + "\n"}, ""},
		{[]string{"groups", "add", "g", "https://a.example/?a=b", "an end=http://b.example/?c=d"}, "{}",
			`POST /v2/topics/g/endpoints {"endpoints":[{"url":"https://a.example/?a=b"},{"name":"an end","url":"http://b.example/?c=d"}]}`, nil, "Added to g.\n"},
		{[]string{"groups", "remove", "g", "https://a.example/?a=b", "an end"}, "{}",
			`DELETE /v2/topics/g/endpoints {"endpoints":[{"url":"https://a.example/?a=b"},{"name":"an end"}]}`, nil, "Removed from g.\n"},
		{[]string{"groups", "set-headers", "g", "-H", "Upstash-Retries: 5", "-H", "Upstash-Delay: 1s"}, "{}",
			`PATCH /v2/topics/g {"headers":{"Upstash-Delay":["1s"],"Upstash-Retries":["5"]}}`, nil, "Set for what is published to g from now on.\n"},
		{[]string{"groups", "set-headers", "g", "--clear"}, "{}", `PATCH /v2/topics/g {"headers":{}}`, nil, "Set for what is published to g from now on.\n"},
		{[]string{"groups", "delete", "g"}, "{}", "GET /v2/topics/g DELETE /v2/topics/g ", nil, "There is no group g any more. What was published to it is delivered all the same.\n"},
		{[]string{"groups", "add", "g", "b.example"}, "", "", nil, "signpost: endpoint \"b.example\": expected a URL or NAME=URL\nhint: a URL begins with http:// or https://\n"},
		{[]string{"groups", "set-headers", "g"}, "", "", nil, "signpost: expected --header or --clear\nhint: see \"signpost groups set-headers --help\"\n"},

		{[]string{"publish", "--group", "g", "-d", "hi"}, `[{"messageId":"msg_1","url":"https://a.example"},{"messageId":"msg_2","url":"https://b.example"}]`,
			"POST /v2/publish/g hi", []string{"msg_1\nmsg_2\n"}, ""},
		{[]string{"publish", "--group", "g", "--queue", "q", "--json"}, `[{"messageId":"msg_1","url":"https://a.example"}]`,
			"POST /v2/enqueue/q/g ", []string{`[{"messageId":"msg_1","url":"https://a.example"}]` + "\n"}, ""},
		{[]string{"publish", "api/llm", "--callback", "https://a.example"}, `{"messageId":"msg_1"}`, "POST /v2/publish/api/llm ", []string{"msg_1\n"}, ""},

		{[]string{"schedules", "list"}, "[" + aSchedule + "]", "GET /v2/schedules ",
			[]string{"SCHEDULE  CRON ", "\nnightly   CRON_TZ=Europe/Berlin 0 4 * * *  running  ", "d ago  https://a.example/x?…\n"}, ""},
		{[]string{"schedule", "list", "--json"}, "[" + aSchedule + "]", "GET /v2/schedules ", []string{aSchedule[:20]}, ""},
		{[]string{"schedules", "get", "nightly"}, aSchedule, "GET /v2/schedules/nightly ",
			[]string{"cron          CRON_TZ=Europe/Berlin 0 4 * * *\n", "delay         1m30s\n", "flow control  k: 2 in 1m0s\n", "message       msg_1 SUCCESS\n", "header        X-A: 1\n\ntwo\nlines\n"}, ""},
		{[]string{"schedules", "get", "nightly", "--json"}, aSchedule, "GET /v2/schedules/nightly ", []string{`{"scheduleId":"nightly",`}, ""},
		{[]string{"schedules", "create", "https://a.example/x", "--cron", "0 4 * * *", "-d", `{"a":1}`}, `{"scheduleId":"scd_1"}`,
			`POST /v2/schedules/https://a.example/x {"a":1}`, []string{"scd_1\n"}, ""},
		{[]string{"schedules", "create", "--group", "g", "--cron", "@daily", "--id", "nightly", "--json"}, `{"scheduleId":"nightly"}`,
			"POST /v2/schedules/g ", []string{`{"scheduleId":"nightly"}` + "\n"}, ""},
		{[]string{"schedules", "pause", "nightly"}, "{}", "PATCH /v2/schedules/nightly/pause ", nil, "Paused. Nothing is published until schedule nightly is resumed.\n"},
		{[]string{"schedules", "resume", "nightly"}, "{}", "PATCH /v2/schedules/nightly/resume ", nil, "Resumed, with its next time.\n"},
		{[]string{"schedules", "delete", "nightly"}, "{}", "GET /v2/schedules/nightly DELETE /v2/schedules/nightly ", nil,
			"There is no schedule nightly any more. What it has published is delivered all the same.\n"},
		{[]string{"schedules", "create", "https://a.example"}, "", "", nil, "signpost: missing flags: --cron=EXPR\nhint: see \"signpost schedules create --help\"\n"},
		{[]string{"schedules", "create", "--cron", "@daily"}, "", "", nil, "signpost: expected \"<url>\" or --group\nhint: see \"signpost schedules create --help\"\n"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			var sent string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				sent += r.Method + " " + r.RequestURI + " " + string(body)
				_, _ = io.WriteString(w, tt.answer)
			}))
			defer srv.Close()
			stdout, stderr, status := call(t, map[string]string{"QSTASH_URL": srv.URL}, "", tt.args...)
			if failed := strings.HasPrefix(tt.stderr, "signpost:"); (status != 0) != failed || stderr != tt.stderr {
				t.Errorf("status %d, stderr\n%q, want\n%q", status, stderr, tt.stderr)
			}
			if sent != tt.sent {
				t.Errorf("sent %q, want %q", sent, tt.sent)
			}
			for _, want := range tt.stdout {
				if !strings.Contains(stdout, want) {
					t.Errorf("stdout is\n%s\nand lacks\n%s", stdout, want)
				}
			}
			if tt.stdout == nil && stdout != "" {
				t.Errorf("stdout is %q", stdout)
			}
		})
	}
}

func TestWriteBody(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "one": "\none\n", "one\n": "\none\n", "a\n\n\tb \r\n": "\na\n\n    b\n", "\x1b[31mred": "\n·[31mred\n",
		"\xff": "\n(1 bytes, which are no text; see --json)\n",
	} {
		var b strings.Builder
		if err := writeBody(&b, []byte(in)); err != nil || b.String() != want {
			t.Errorf("%q is written %q, want %q", in, b.String(), want)
		}
	}
}
