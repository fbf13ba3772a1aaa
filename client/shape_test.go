package client

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestShapes reads each file of testdata/shape, which follows the protocol
// document, into its type and writes it again: no key may be lost, added,
// renamed or change its type.
func TestShapes(t *testing.T) {
	shapes := map[string]func() any{
		"message.json":          func() any { return new(Message) },
		"message_minimal.json":  func() any { return new(Message) },
		"message_binary.json":   func() any { return new(Message) },
		"publish.json":          func() any { return new(PublishResponse) },
		"publish_minimal.json":  func() any { return new(PublishResponse) },
		"publish_refused.json":  func() any { return new(PublishResponse) },
		"cancel.json":           func() any { return new(CancelResponse) },
		"dlq_page.json":         func() any { return new(DLQPage) },
		"dlq_page_last.json":    func() any { return new(DLQPage) },
		"dlq_delete.json":       func() any { return new(DLQDeleteResponse) },
		"dlq_delete_last.json":  func() any { return new(DLQDeleteResponse) },
		"dlq_retry.json":        func() any { return new(DLQRetryResponse) },
		"events_page.json":      func() any { return new(EventsPage) },
		"events_page_last.json": func() any { return new(EventsPage) },
		"keys.json":             func() any { return new(SigningKeys) },
		"sealing.json":          func() any { return new(Sealing) },
		"key_status.json":       func() any { return new(KeyStatus) },
		"key_status_empty.json": func() any { return new(KeyStatus) },
		"key_probe.json":        func() any { return new(KeyProbe) },
		"rotation_refused.json": func() any { return new(Error) },
		"settings.json":         func() any { return new(Settings) },
		"tokens.json":           func() any { return new(TokensPage) },
		"token_new.json":        func() any { return new(NewToken) },
		"tenants.json":          func() any { return new(TenantsPage) },
		"limits.json":           func() any { return new(TenantLimits) },
		"tenant_new.json":       func() any { return new(NewTenant) },
		"audit_page.json":       func() any { return new(AuditPage) },
		"audit_page_last.json":  func() any { return new(AuditPage) },
		"trigger.json":          func() any { return new(TriggerResponse) },
		"trigger_minimal.json":  func() any { return new(TriggerResponse) },
		"resume.json":           func() any { return new(ResumeResponse) },
		"resume_one.json":       func() any { return new(RunRef) },
		"run_edit.json":         func() any { return new(RunEdit) },
		"runs_page.json":        func() any { return new(RunsPage) },
		"runs_page_last.json":   func() any { return new(RunsPage) },
		"log.json":              func() any { return new([]LogEntry) },
		"error.json":            func() any { return new(Error) },
	}
	files, err := filepath.Glob("testdata/shape/*.json")
	if err != nil || len(files) != len(shapes) {
		t.Fatalf("found %d files for %d shapes, error %v", len(files), len(shapes), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want := readFile(t, file)
			shape := shapes[filepath.Base(file)]()
			if err := json.Unmarshal(want, shape); err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(shape)
			if err != nil {
				t.Fatal(err)
			}
			diffJSON(t, want, got)
		})
	}
}

// TestZeroShapes pins which keys are there even when nothing is set: official
// clients index these.
func TestZeroShapes(t *testing.T) {
	tests := []struct {
		shape any
		want  string
	}{
		{Message{}, `{"messageId":"","url":"","method":"","maxRetries":0,"notBefore":0,"createdAt":0}`},
		{DLQMessage{}, `{"messageId":"","url":"","method":"","maxRetries":0,"notBefore":0,"createdAt":0,"dlqId":"","responseStatus":0}`},
		{FailureCallbackInfo{}, `{}`},
		{DLQPage{}, `{"messages":[]}`},
		{DLQDeleteResponse{}, `{"deleted":0}`},
		{DLQRetryResponse{}, `{"responses":[]}`},
		{PublishResponse{}, `{}`},
		{CancelResponse{}, `{"cancelled":0}`},
		{Event{}, `{"time":0,"state":"","messageId":"","url":"","maxRetries":0}`},
		{EventsPage{}, `{"events":[]}`},
		{SigningKeys{}, `{"current":"","next":""}`},
		{Sealing{}, `{"state":"","dataKeys":0,"resealed":0,"percent":0}`},
		{KeyStatus{}, `{"current":"","next":"","endpoints":[]}`},
		{KeyProbe{}, `{"url":"","state":""}`},
		{ProbeAnswer{}, `{"status":0}`},
		{Settings{}, `{"signCalls":"","signWith":[]}`},
		{SettingsChange{}, `{}`},
		{TokensPage{}, `{"tokens":[]}`},
		{NewToken{}, `{"id":"","name":"","scopes":null,"createdAt":0,"token":""}`},
		{TenantsPage{}, `{"tenants":[]}`},
		{TenantLimits{}, `{"limits":{"maxMessageBytes":0,"maxRetries":0,"maxDelay":0,"maxTimeout":0,"globalParallelism":0,"maxQueues":0,"maxParallelism":0,"maxUrlGroups":0,"maxEndpoints":0,"maxSchedules":0,"messagesPerDay":0,"requestsPerSecond":0},"own":{},"usage":{"queues":0,"urlGroups":0,"schedules":0,"attempts":0,"messagesToday":0}}`},
		{LimitsChange{}, `{}`},
		{NewTenant{}, `{"userId":"","token":"","currentSigningKey":"","nextSigningKey":""}`},
		{AuditPage{}, `{"entries":[]}`},
		{AuditEntry{}, `{"time":0,"action":"","actor":""}`},
		{TriggerResponse{}, `{"workflowRunId":"","workflowCreatedAt":0}`},
		{Run{}, `{"workflowRunId":"","workflowUrl":"","workflowState":"","workflowRunCreatedAt":0,"steps":null}`},
		{Invoker{}, `{"workflowRunId":"","workflowUrl":"","workflowRunCreatedAt":0}`},
		{FailureFunction{}, `{"messageId":"","url":"","state":"","failHeaders":null,"failStatus":0,"failResponse":"","dlqId":""}`},
		{StepGroup{}, `{"type":"","steps":null}`},
		{RunStep{}, `{"messageId":"","state":"","retries":0}`},
		{StepError{}, `{"error":"","body":"","headers":null,"status":0,"time":0}`},
		{RunsPage{}, `{"cursor":"","runs":[]}`},
		{RunRef{}, `{"workflowRunId":"","workflowCreatedAt":0}`},
		{ResumeResponse{}, `{"workflowRuns":[],"cursor":""}`},
		{RunEdit{}, `{}`},
		{Error{}, `{"error":""}`},
	}
	for _, tt := range tests {
		got, err := json.Marshal(tt.shape)
		if err != nil {
			t.Errorf("%T: %v", tt.shape, err)
		}
		if string(got) != tt.want {
			t.Errorf("%T:\n got %s\nwant %s", tt.shape, got, tt.want)
		}
	}
}

func TestBodies(t *testing.T) {
	for _, body := range []string{"", "plain", "{\"a\":\"<&>\"}", "é \u2028", "\x00", "\xff\xfe", "\xed\xa0\x80"} {
		want := []byte(body)
		var m DLQMessage
		m.SetBody(want)
		m.SetResponseBody(want)
		var e Event
		e.SetBody(want)
		e.SetResponseBody(want)
		roundTrip(t, &m)
		roundTrip(t, &e)
		for name, read := range map[string]func() ([]byte, error){
			"message": m.Bytes, "dlq response": m.ResponseBytes,
			"event": e.Bytes, "event response": e.ResponseBytes,
		} {
			if got, err := read(); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: body %q came back as %q, error %v", name, want, got, err)
			}
		}
	}
}

func TestEventBodyRedacted(t *testing.T) {
	e := Event{Body: "REDACTED:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}
	if b, err := e.Bytes(); err == nil {
		t.Errorf("a redacted body decoded to %q", b)
	}
}

func TestEventReadsEitherSpelling(t *testing.T) {
	for _, in := range []string{
		`{"responseHeader":{"A":["b"]},"retryDelayExpr":"1000"}`,
		`{"responseHeaders":{"A":["b"]},"retryDelayExpression":"1000"}`,
	} {
		var e Event
		if err := json.Unmarshal([]byte(in), &e); err != nil {
			t.Fatal(err)
		}
		if e.ResponseHeader.Get("A") != "b" || e.RetryDelayExpression != "1000" {
			t.Errorf("%s: read %+v", in, e)
		}
	}
}

func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"time":1,"state":"ERROR","responseHeader":{"A":["b"]},"retryDelayExpr":"1"}`))
	f.Add([]byte(`{"time":"1"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var once, twice Event
		if json.Unmarshal(in, &once) != nil {
			return
		}
		out, err := json.Marshal(once)
		if err != nil {
			t.Fatalf("cannot write what was read: %v", err)
		}
		if err := json.Unmarshal(out, &twice); err != nil {
			t.Fatalf("cannot read %s: %v", out, err)
		}
		again, err := json.Marshal(twice)
		if err != nil || !bytes.Equal(out, again) {
			t.Fatalf("wrote %s, then %s, error %v", out, again, err)
		}
	})
}

func roundTrip(t *testing.T, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func diffJSON(t *testing.T, want, got []byte) {
	t.Helper()
	if d := cmp.Diff(decodeAny(t, want), decodeAny(t, got)); d != "" {
		t.Errorf("JSON differs (-want +got):\n%s", d)
	}
}

func decodeAny(t *testing.T, b []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("decode %s: %v", b, err)
	}
	return v
}
