package client

import (
	"context"
	"fmt"
	"net/http"
)

// SigningKeys is the rolling pair that signs deliveries: the server signs with
// Current, and a receiver accepts both.
type SigningKeys struct {
	Current string `json:"current"`
	Next    string `json:"next"`
}

// Keys returns the signing keys (GET /v2/keys).
func (c *Client) Keys(ctx context.Context) (SigningKeys, error) {
	var out SigningKeys
	if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/keys", out: &out}); err != nil {
		return SigningKeys{}, fmt.Errorf("get signing keys: %w", err)
	}
	return out, nil
}

// RotateKeys makes Next the current key and a new one the next, and returns
// both (POST /v2/keys/rotate). Receivers need the new pair before the next
// rotation. A lost answer is not retried, whatever [Options.NetworkRetries]
// says, for a second rotation would leave receivers without a valid key: look
// with [Client.Keys] whether the first one happened.
func (c *Client) RotateKeys(ctx context.Context) (SigningKeys, error) {
	var out SigningKeys
	if err := c.do(ctx, call{method: http.MethodPost, path: "/v2/keys/rotate", out: &out, once: true}); err != nil {
		return SigningKeys{}, fmt.Errorf("rotate signing keys: %w", err)
	}
	return out, nil
}
