package client

import (
	"context"
	"fmt"
	"net/http"
)

// Alive asks whether the server is there (GET /v2/liveness).
func (c *Client) Alive(ctx context.Context) error {
	if err := c.tell(ctx, http.MethodGet, "/v2/liveness", nil); err != nil {
		return fmt.Errorf("ask for liveness: %w", err)
	}
	return nil
}

// Ready asks whether the server takes messages; [ErrUnavailable] when it does
// not, as while it is stopping (GET /v2/readiness).
func (c *Client) Ready(ctx context.Context) error {
	if err := c.tell(ctx, http.MethodGet, "/v2/readiness", nil); err != nil {
		return fmt.Errorf("ask for readiness: %w", err)
	}
	return nil
}
