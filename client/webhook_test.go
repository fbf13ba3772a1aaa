package client

import (
	"encoding/base64"
	"strings"
	"testing"
)

// TestWebhookURL: the token is read for whose it is, and shown to nobody.
func TestWebhookURL(t *testing.T) {
	std, raw := base64.StdEncoding, base64.RawStdEncoding
	const user = `{"UserID":"u 1/x","Password":"secret"}`
	tests := []struct {
		name, base, token, run, event string
		want                          string // or part of the error
	}{
		{"user", "https://s.example", std.EncodeToString([]byte(user)), "wfr_1", "evt_1", "https://s.example/v2/workflows/hooks/u%201%2Fx/wfr_1/evt_1"},
		{"below a path", "https://s.example/q/", std.EncodeToString([]byte(user)), "wfr_1", "evt_1", "https://s.example/q/v2/workflows/hooks/u%201%2Fx/wfr_1/evt_1"},
		{"without padding", "http://s.example:8080", raw.EncodeToString([]byte(user)), "a/b", "e?", "http://s.example:8080/v2/workflows/hooks/u%201%2Fx/a%2Fb/e%3F"},
		{"opaque", "https://s.example", "sig_secret", "wfr_1", "evt_1", "the token does not tell its user: expected base64 of JSON with UserID"},
		{"no JSON", "https://s.example", std.EncodeToString([]byte("secret")), "wfr_1", "evt_1", "the token does not tell its user"},
		{"no user", "https://s.example", std.EncodeToString([]byte(`{"Password":"secret"}`)), "wfr_1", "evt_1", "the token does not tell its user"},
		{"user of another kind", "https://s.example", std.EncodeToString([]byte(`{"UserID":7,"Password":"secret"}`)), "wfr_1", "evt_1", "the token does not tell its user"},
		{"no run", "https://s.example", std.EncodeToString([]byte(user)), "", "evt_1", "id is empty"},
		{"no event", "https://s.example", std.EncodeToString([]byte(user)), "wfr_1", "..", `".." is no id`},
		{"unusable client", "ftp://s.example", std.EncodeToString([]byte(user)), "wfr_1", "evt_1", "server url"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := New(Options{URL: tt.base, Token: tt.token}).WebhookURL(tt.run, tt.event)
			if err == nil && got != tt.want || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			for _, word := range []string{"secret", tt.token} {
				if err != nil && strings.Contains(err.Error(), word) || strings.Contains(got, word) {
					t.Errorf("the token is told: %q, %v", got, err)
				}
			}
		})
	}
}
