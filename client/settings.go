package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/signposthq/signpost/internal/wire"
)

// Signatures that deliveries may carry beside the standard one.
const (
	// SignEd25519 is a signature that receivers verify with a public key, in
	// the header Upstash-Signature-Ed25519.
	SignEd25519 = wire.SignEd25519
	// SignStandardWebhooks are the headers webhook-id, webhook-timestamp and
	// webhook-signature of https://www.standardwebhooks.com.
	SignStandardWebhooks = wire.SignStandardWebhooks
)

// Which calls of workflow runs to third parties are signed.
const (
	SignCallsAlways     = "always"
	SignCallsSameOrigin = "same-origin" // only those to the scheme, host and port of the run's own endpoint
	SignCallsNever      = "never"
)

// Settings are what holds for all deliveries of a tenant.
type Settings struct {
	// SignCalls says which calls of workflow runs are signed: SignCallsAlways,
	// the default, SignCallsSameOrigin or SignCallsNever.
	SignCalls string `json:"signCalls"`
	// SignWith are the signatures that deliveries carry beside the standard
	// one: SignEd25519, SignStandardWebhooks. Default: none.
	SignWith []string `json:"signWith"`
}

// MarshalJSON writes an empty list of signatures as such.
func (s Settings) MarshalJSON() ([]byte, error) {
	type plain Settings
	if s.SignWith == nil {
		s.SignWith = []string{}
	}
	return json.Marshal(plain(s))
}

// SettingsChange is what is to be different. Nil leaves a setting as it is.
type SettingsChange struct {
	SignCalls *string   `json:"signCalls,omitempty"`
	SignWith  *[]string `json:"signWith,omitempty"`
}

// Settings returns the settings (GET /v2/settings).
func (c *Client) Settings(ctx context.Context) (Settings, error) {
	var out Settings
	if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/settings", out: &out}); err != nil {
		return Settings{}, fmt.Errorf("get settings: %w", err)
	}
	return out, nil
}

// ChangeSettings changes settings, and returns all as they are then (PATCH
// /v2/settings). They hold from the next attempt on, retries of older messages
// included.
func (c *Client) ChangeSettings(ctx context.Context, change SettingsChange) (Settings, error) {
	var out Settings
	body, err := json.Marshal(change)
	if err == nil {
		err = c.do(ctx, call{
			method: http.MethodPatch, path: "/v2/settings", header: jsonContent(), body: body, out: &out,
		})
	}
	if err != nil {
		return Settings{}, fmt.Errorf("change settings: %w", err)
	}
	return out, nil
}
