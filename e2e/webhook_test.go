package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/receiver"
)

// TestStandardWebhooks has the published library of Standard Webhooks verify what we
// sign.
func TestStandardWebhooks(t *testing.T) {
	needNode(t)
	const (
		current = "sig_7RNzPdJdRwSbbVJ7cGvEiYBPj2Kp"
		next    = "sig_4kUwXTPkYqv3mXbKv2yxQQVYH4GQ"
		other   = "sig_2XvJmWqFbkgqW8zqUT3jMRXE5hBa"
		body    = `{"hello":"wörld"}`
	)
	ed25519, err := receiver.NewEd25519Signer(bytes.Repeat([]byte("seed"), 8))
	if err != nil {
		t.Fatal(err)
	}
	both := []string{current, next}
	tests := []struct {
		name, secret, body string
		o                  receiver.StandardWebhookOptions
		want               string
	}{
		{"current key", current, body, receiver.StandardWebhookOptions{Keys: both}, "ok"},
		{"next key", next, body, receiver.StandardWebhookOptions{Keys: both}, "ok"},
		{"one key", current, body, receiver.StandardWebhookOptions{Keys: both[:1]}, "ok"},
		{"beside Ed25519", next, body, receiver.StandardWebhookOptions{Keys: both, Ed25519: ed25519}, "ok"},
		{"another key", other, body, receiver.StandardWebhookOptions{Keys: both}, "No matching signature found"},
		{"another body", current, `{"hello":"mars"}`, receiver.StandardWebhookOptions{Keys: both}, "No matching signature found"},
		{"old", current, body, receiver.StandardWebhookOptions{Keys: both, Time: time.Now().Add(-time.Hour)}, "Message timestamp too old"},
		{"of the future", current, body, receiver.StandardWebhookOptions{Keys: both, Time: time.Now().Add(time.Hour)}, "Message timestamp too new"},
	}
	var lines bytes.Buffer
	var want []string
	for _, tt := range tests {
		h := http.Header{}
		tt.o.ID, tt.o.Body = "msg_26hZwUQSn3MNY", []byte(body)
		if err := receiver.SignStandardWebhook(h, tt.o); err != nil {
			t.Fatal(err)
		}
		headers := map[string]string{}
		for name := range h {
			headers[strings.ToLower(name)] = h.Get(name)
		}
		err := json.NewEncoder(&lines).Encode(map[string]any{
			"secret": receiver.StandardWebhookSecret(tt.secret), "headers": headers, "body": tt.body,
		})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, tt.want)
	}
	cmd := exec.CommandContext(t.Context(), "node", "webhook.js")
	cmd.Stdin = &lines
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("webhook.js: %v\n%s", err, stderr.Bytes())
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if !slices.Equal(got, want) {
		t.Errorf("verdicts %q, want %q", got, want)
	}
}
