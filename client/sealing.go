package client

import (
	"context"
	"fmt"
	"net/http"
)

// Sealing says how a server encrypts its data on disk.
type Sealing struct {
	State SealingState `json:"state"`
	// MasterKey is the id of the key that seals; "" when nothing is sealed.
	MasterKey string `json:"masterKey,omitempty"`
	// DataKeys is how many keys, sealed with the master key, rows are sealed with.
	DataKeys int `json:"dataKeys"`
	// Resealed counts the rows that were sealed anew, the last time that all were.
	Resealed int64 `json:"resealed"`
	// Percent is how far that is.
	Percent int `json:"percent"`
	// StartedAt and EndedAt are when that was, in Unix milliseconds; 0: never,
	// or not yet.
	StartedAt int64 `json:"startedAt,omitempty"`
	EndedAt   int64 `json:"endedAt,omitempty"`
}

// SealingState says how far the sealing of a server's data is.
type SealingState string

const (
	SealingOff      SealingState = "off"      // the server has no master key
	SealingUnderWay SealingState = "underway" // rows from before are being sealed
	SealingDone     SealingState = "done"     // everything is sealed
)

// Sealing says how the server encrypts its data (GET /v2/admin/rewrap). Only
// the server's operator may ask.
func (c *Client) Sealing(ctx context.Context) (Sealing, error) {
	var out Sealing
	if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/admin/rewrap", out: &out}); err != nil {
		return Sealing{}, fmt.Errorf("get sealing: %w", err)
	}
	return out, nil
}

// Rewrap makes the server read its master keys again, and seal all data anew
// under the first of them (POST /v2/admin/rewrap). It returns when the signing
// keys are sealed; [Client.Sealing] says how far the rest is. Until that is
// done, the server needs its former master keys too. Only the server's operator
// may do it.
func (c *Client) Rewrap(ctx context.Context) (Sealing, error) {
	var out Sealing
	if err := c.do(ctx, call{method: http.MethodPost, path: "/v2/admin/rewrap", out: &out}); err != nil {
		return Sealing{}, fmt.Errorf("rewrap: %w", err)
	}
	return out, nil
}
