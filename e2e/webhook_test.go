package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
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
	if got := webhookVerdicts(t, &lines); !slices.Equal(got, want) {
		t.Errorf("verdicts %q, want %q", got, want)
	}
}

// webhookVerdicts is what the library says of requests, a line of JSON each.
func webhookVerdicts(t *testing.T, lines io.Reader) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "webhook.js")
	cmd.Stdin = lines
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("webhook.js: %v\n%s", err, stderr.Bytes())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// Deliveries of a server are Standard Webhooks where a tenant or a message asks
// for it, before a rotation and after it.
func TestDeliveriesAreStandardWebhooks(t *testing.T) {
	needNode(t)
	server := startServer(t)
	c := client.New(client.Options{URL: server.env["QSTASH_URL"], Token: server.env["QSTASH_TOKEN"]})
	defer c.CloseIdleConnections()
	keys, err := c.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type request struct {
		Secret  string            `json:"secret"`
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`
	}
	got := make(chan request, 8)
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		headers := map[string]string{}
		for name := range r.Header {
			headers[strings.ToLower(name)] = r.Header.Get(name)
		}
		got <- request{receiver.StandardWebhookSecret(keys.Next), headers, string(body)}
	}))
	defer endpoint.Close()
	publish := func(with ...string) {
		t.Helper()
		if _, err := c.Publish(t.Context(), client.PublishRequest{URL: endpoint.URL, Body: []byte(`{"a":"ö"}`), SignWith: with}); err != nil {
			t.Fatal(err)
		}
	}
	publish(client.SignStandardWebhooks)
	if _, err := c.ChangeSettings(t.Context(), client.SettingsChange{SignWith: &[]string{client.SignStandardWebhooks, client.SignEd25519}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish()
	var lines bytes.Buffer
	for range 2 {
		select {
		case r := <-got:
			if err := json.NewEncoder(&lines).Encode(r); err != nil {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatal("no delivery")
		}
	}
	if verdicts := webhookVerdicts(t, &lines); !slices.Equal(verdicts, []string{"ok", "ok"}) {
		t.Errorf("verdicts %q", verdicts)
	}
}
