package workflow_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/workflow"
)

func told(place int, name, data string) wire.Step {
	out := base64.StdEncoding.EncodeToString([]byte(data))
	return wire.Step{StepID: place, StepName: name, StepType: wire.StepWait, WaitEventID: "e", Out: &out, Concurrent: 1}
}

// eventOf is what a step that waits makes of an event's data.
func eventOf[T any](t *testing.T, data string) string {
	t.Helper()
	var got string
	e, _ := endpointOf(t, func(ctx *workflow.Context) error {
		event, err := workflow.WaitForEvent[T](ctx, "w", "e", 0)
		got = fmt.Sprintf("%#v %v", event.Data, event.TimedOut)
		return err
	})
	if w := deliverLog(e, told(1, "w", data)); w.Code != 200 {
		return said(t, w)
	}
	return got
}

func TestEventData(t *testing.T) {
	const unfit = "The result of step 'w' in the log is not what the workflow expects: "
	tests := []struct {
		name, data string
		of         func(*testing.T, string) string
		want       string
	}{
		{"JSON", `{"item":"x","count":2}`, eventOf[order], `workflow_test.order{Item:"x", Count:2} false`},
		{"nothing", ``, eventOf[order], `workflow_test.order{Item:"", Count:0} false`},
		{"null", `null`, eventOf[*order], `(*workflow_test.order)(nil) false`},
		{"text for an object", `oops`, eventOf[order], unfit + "invalid character 'o' looking for beginning of value"},
		{"number for an object", `7`, eventOf[order], unfit + "json: cannot unmarshal number into Go value of type workflow_test.order"},
		{"text", `hällo <&>`, eventOf[string], `"hällo <&>" false`},
		{"quoted text", `"hi\n"`, eventOf[string], `"hi\n" false`},
		{"text like a number", `0042`, eventOf[string], `"0042" false`},
		{"text like a value", `null`, eventOf[string], `"null" false`},
		{"text like an object", `{"a":1}`, eventOf[string], `"{\"a\":1}" false`},
		{"empty text", ``, eventOf[string], `"" false`},
		{"bytes", "\xff\x00", eventOf[[]byte], `[]byte{0xff, 0x0} false`},
		{"bytes of JSON", `"x"`, eventOf[[]byte], `[]byte{0x22, 0x78, 0x22} false`},
		{"anything, JSON", `[1,"a"]`, eventOf[any], `[]interface {}{1, "a"} false`},
		{"anything, text", `not json`, eventOf[any], `"not json" false`},
		{"anything, nothing", ``, eventOf[any], `<nil> false`},
		{"ignored", `oops`, eventOf[struct{}], `struct {}{} false`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.of(t, tt.data); got != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestWaitIsRegistered: a step that waits is registered by exactly one request, and
// nothing is published.
func TestWaitIsRegistered(t *testing.T) {
	tests := []struct {
		timeout time.Duration
		want    string
	}{{0, "604800s"}, {1, "1s"}, {1500 * time.Millisecond, "2s"}, {400 * 24 * time.Hour, "34560000s"}}
	for _, tt := range tests {
		e, s := endpointOf(t, func(ctx *workflow.Context) error {
			return only(workflow.WaitForEvent[any](ctx, "w", "a/b ü", tt.timeout))
		})
		w := deliverLog(e)
		if w.Code != 200 || len(s.sent) != 1 || s.sent[0].Path != "/v2/wait/a%2Fb%20%C3%BC" || !strings.Contains(*s.sent[0].Body, `"timeout":"`+tt.want+`"`) {
			t.Errorf("%v: answer %d %s, sent %+v", tt.timeout, w.Code, w.Body, s.sent)
		}
	}
}

// TestRefused: what the server says to a step that waits means what it means
// for others.
func TestRefused(t *testing.T) {
	wait := func(ctx *workflow.Context) error { return only(workflow.WaitForEvent[any](ctx, "st", "e", 0)) }
	hook := func(ctx *workflow.Context) error {
		return only(ctx.WaitForWebhook("st", workflow.Webhook{EventID: "e"}, 0))
	}
	invoke := func(ctx *workflow.Context) error {
		return only(workflow.Invoke(ctx, "st", workflow.At[any, any]("https://other.example/child"), nil, nil))
	}
	notify := func(ctx *workflow.Context) error { return only(ctx.Notify("st", "e", nil)) }
	notifyRun := func(ctx *workflow.Context) error { return only(ctx.NotifyRun("st", "wfr_2", "e", nil)) }
	const (
		waitPath   = "POST /v2/wait/e"
		invokePath = "POST /v2/publish/https://other.example/child"
		runLog     = "GET /v2/workflows/runs/wfr_1"
	)
	tests := []struct {
		name    string
		fn      func(*workflow.Context) error
		path    string
		status  string
		ended   bool // the run
		want    int
		message string
	}{
		{"wait, not accepted", wait, waitPath, "400", false, 489, "submit step: wait for event: server answered 400: scripted"},
		{"wait, run ended", wait, waitPath, "400", true, 200, ""},
		{"wait, over a limit", wait, waitPath, "412", false, 489, "submit step: wait for event: server answered 412: scripted"},
		{"wait, broken server", wait, waitPath, "500", false, 500, "submit step: wait for event: server answered 500: scripted"},
		{"webhook, not accepted", hook, waitPath, "400", false, 489, "submit step: wait for event: server answered 400: scripted"},
		{"webhook, run ended", hook, waitPath, "400", true, 200, ""},
		{"invoke, not accepted", invoke, invokePath, "400", false, 489, "submit step: publish: server answered 400: scripted"},
		{"invoke, run ended", invoke, invokePath, "400", true, 200, ""},
		{"invoke, too deep", invoke, invokePath, "412", false, 489, "submit step: publish: server answered 412: scripted"},
		{"notify, not accepted", notify, "POST /v2/notify/e", "400", false, 489, "notify: server answered 400: scripted"},
		{"notify, too large", notify, "POST /v2/notify/e", "413", false, 489, "notify: server answered 413: scripted"},
		{"notify, over a limit", notify, "POST /v2/notify/e", "412", false, 489, "notify: server answered 412: scripted"},
		{"notify, too often", notify, "POST /v2/notify/e", "429", false, 500, "notify: server answered 429: scripted"},
		{"notify a run that has ended", notifyRun, "POST /v2/notify/wfr_2/e", "400", false, 489, "notify: server answered 400: scripted"},
		{"notify a run that never was", notifyRun, "POST /v2/notify/wfr_2/e", "404", false, 489, "notify: server answered 404: scripted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, s := endpointOf(t, tt.fn)
			s.replies[tt.path] = rawJSON(tt.status)
			if tt.ended {
				s.replies[runLog] = rawJSON("404")
			}
			w := deliverLog(e)
			if w.Code != tt.want {
				t.Fatalf("answer %d %s", w.Code, w.Body)
			}
			if tt.want == 200 {
				return
			}
			if got := said(t, w); got != tt.message || w.Header().Get(wire.HeaderErrorStepName) != "st" {
				t.Errorf("message %q, want %q, header %v", got, tt.message, w.Header())
			}
		})
	}
}

// TestWaitChecked: what makes no sense is an error once and for all, before
// anything is sent.
func TestWaitChecked(t *testing.T) {
	tests := []struct {
		name string
		fn   func(*workflow.Context) error
		want string
	}{
		{"no event", func(ctx *workflow.Context) error { return only(workflow.WaitForEvent[any](ctx, "st", "", 0)) },
			`wait: expected the id of an event, and a time that is not negative, got "" and 168h0m0s`},
		{"back in time", func(ctx *workflow.Context) error { return only(workflow.WaitForEvent[any](ctx, "st", "e", -1)) },
			`wait: expected the id of an event, and a time that is not negative, got "e" and -1ns`},
		{"no webhook", func(ctx *workflow.Context) error { return only(ctx.WaitForWebhook("st", workflow.Webhook{}, 0)) },
			`wait: expected the id of an event, and a time that is not negative, got "" and 168h0m0s`},
		{"data that is no JSON", func(ctx *workflow.Context) error { return only(ctx.Notify("st", "e", math.NaN())) },
			"notify: encode data: json: unsupported value: NaN"},
		{"opaque token", func(ctx *workflow.Context) error { return only(ctx.CreateWebhook("st")) },
			"make webhook url: the token does not tell its user: expected base64 of JSON with UserID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, s := endpointOf(t, tt.fn)
			w := deliverLog(e)
			if got := said(t, w); w.Code != 489 || got != tt.want || len(s.sent) > 0 {
				t.Errorf("answer %d %s\nwant %s", w.Code, got, tt.want)
			}
		})
	}
}

// TestNotifyData: what is sent, and what the run's log shows of it.
func TestNotifyData(t *testing.T) {
	tests := []struct {
		data            any
		sent, eventData string // eventData as the log has it; "" for none
	}{
		{nil, "", ""},
		{"0042", "0042", `"0042"`},
		{[]byte("b\"<"), `b"<`, `"b\"<"`},
		{order{"<x>", 2}, `{"item":"<x>","count":2}`, `{"item":"<x>","count":2}`},
		{7, "7", "7"},
	}
	for _, tt := range tests {
		e, s := endpointOf(t, func(ctx *workflow.Context) error {
			told, err := ctx.Notify("n", "e", tt.data)
			if len(told) != 0 {
				t.Errorf("told %v", told)
			}
			return err
		})
		s.replies["POST /v2/notify/e"] = rawJSON("[]")
		if w := deliverLog(e); w.Code != 200 || len(s.sent) != 2 {
			t.Fatalf("answer %d %s, sent %+v", w.Code, w.Body, s.sent)
		}
		var sent string
		if s.sent[0].Body != nil {
			sent = *s.sent[0].Body
		}
		step, err := wire.ParseStep([]byte(*s.sent[1].Batch[0].Body))
		if err != nil {
			t.Fatal(err)
		}
		want := `{"eventId":"e","notifyResponse":[]}`
		if tt.eventData != "" {
			want = `{"eventId":"e","eventData":` + tt.eventData + `,"notifyResponse":[]}`
		}
		if sent != tt.sent || *step.Out != want || step.StepType != wire.StepNotify {
			t.Errorf("%v: sent %q, log has %s", tt.data, sent, *step.Out)
		}
		if w := deliverLog(e, step); w.Code != 200 { // and is read again
			t.Errorf("answer %d %s", w.Code, w.Body)
		}
	}
}

// TestOddResults: a result that is not what it should be is no event.
func TestOddResults(t *testing.T) {
	step := func(kind wire.StepType, out string) wire.Step {
		return wire.Step{StepID: 1, StepName: "st", StepType: kind, Out: &out, Concurrent: 1}
	}
	none := wire.Step{StepID: 1, StepName: "st", StepType: wire.StepInvoke, Concurrent: 1}
	wait := func(ctx *workflow.Context) error { return only(workflow.WaitForEvent[any](ctx, "st", "e", 0)) }
	hook := func(ctx *workflow.Context) error {
		call, err := ctx.WaitForWebhook("st", workflow.Webhook{EventID: "e"}, 0)
		if err == nil && !call.TimedOut {
			err = errors.New("it was called")
		}
		return err
	}
	invoke := func(ctx *workflow.Context) error {
		return only(workflow.Invoke(ctx, "st", workflow.Named[struct{}, int]("child"), struct{}{}, nil))
	}
	tests := []struct {
		name string
		fn   func(*workflow.Context) error
		log  wire.Step
		want int
	}{
		{"event that is no base64", wait, step(wire.StepWait, "?"), 500},
		{"call that is no base64", hook, step(wire.StepWaitForWebhook, "?"), 500},
		{"call that is no JSON", hook, step(wire.StepWaitForWebhook, "aGk="), 500},
		{"empty call", hook, step(wire.StepWaitForWebhook, ""), 200},
		{"invocation without a result", invoke, none, 500},
		{"invocation with another result", invoke, step(wire.StepInvoke, `{"body":"\"text\""}`), 500},
		{"invocation that is no JSON", invoke, step(wire.StepInvoke, `text`), 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, _ := endpointOf(t, tt.fn)
			w := deliverLog(e, tt.log)
			if w.Code != tt.want {
				t.Fatalf("answer %d %s", w.Code, w.Body)
			}
			if tt.want == 500 && !strings.HasPrefix(said(t, w), "The result of step 'st' in the log is not what the workflow expects: ") {
				t.Errorf("answer %s", w.Body)
			}
		})
	}
}

// FuzzResult reads results that somebody else wrote.
func FuzzResult(f *testing.F) {
	hook, err := json.Marshal(map[string]any{"method": "PUT", "header": http.Header{"A": {"b"}}, "body": "aGk=", "proto": "https", "host": "h", "url": "/x"})
	if err != nil {
		f.Fatal(err)
	}
	for _, out := range []string{"", "?", "aGk=", base64.StdEncoding.EncodeToString(hook), `{"body":"1","isFailed":false}`, `{"webhookUrl":"u","eventId":"e"}`,
		`{"eventId":"e","eventData":{},"notifyResponse":[{"messageId":"m"}]}`, `{"status":200,"body":"{}","header":{"K":["v"]}}`} {
		f.Add(out, true)
		f.Add(out, false)
	}
	verbs := map[wire.StepType]func(*workflow.Context) error{
		wire.StepWait: func(ctx *workflow.Context) error { return only(workflow.WaitForEvent[order](ctx, "st", "e", 0)) },
		wire.StepWaitForWebhook: func(ctx *workflow.Context) error {
			return only(ctx.WaitForWebhook("st", workflow.Webhook{EventID: "e"}, 0))
		},
		wire.StepInvoke:        invoking(1),
		wire.StepNotify:        func(ctx *workflow.Context) error { return only(ctx.Notify("st", "e", nil)) },
		wire.StepCreateWebhook: func(ctx *workflow.Context) error { return only(ctx.CreateWebhook("st")) },
		wire.StepCall: func(ctx *workflow.Context) error {
			_, _, err := workflow.CallJSON[order](ctx, "st", workflow.CallRequest{URL: "https://api.third/"}, nil)
			return err
		},
	}
	f.Fuzz(func(t *testing.T, out string, given bool) {
		for kind, verb := range verbs {
			e, s := endpointOf(t, verb)
			step := wire.Step{StepID: 1, StepName: "st", StepType: kind, Concurrent: 1}
			if given {
				step.Out = &out
			}
			w := deliverLog(e, step)
			fits := w.Code == 200 && len(s.sent) == 1 && s.sent[0].Method == http.MethodDelete
			if !fits && (w.Code != 500 && w.Code != 489 || strings.HasPrefix(said(t, w), "panic")) {
				t.Errorf("%s: answer %d %s, sent %+v", kind, w.Code, w.Body, s.sent)
			}
		}
	})
}
