package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Tenant is one of those who share a server and nothing else: messages, runs,
// tokens and signing keys each belong to one.
type Tenant struct {
	ID     int64  `json:"id"`
	UserID string `json:"userId"`
}

// NewTenant is a tenant that was just created. Its token is shown this once.
type NewTenant struct {
	UserID            string `json:"userId"`
	Token             string `json:"token"` // good for everything of the tenant
	CurrentSigningKey string `json:"currentSigningKey"`
	NextSigningKey    string `json:"nextSigningKey"`
}

// TenantsPage is all tenants of a server.
type TenantsPage struct {
	Tenants []Tenant `json:"tenants"`
}

// MarshalJSON writes tenants as an array even when there is none.
func (p TenantsPage) MarshalJSON() ([]byte, error) {
	type plain TenantsPage
	p.Tenants = some(p.Tenants)
	return json.Marshal(plain(p))
}

// Tenants lists the tenants of the server, oldest first. It is for the
// server's operator, who has an admin token of its first tenant;
// [ErrForbidden] for others (GET /v2/tenants).
func (c *Client) Tenants(ctx context.Context) ([]Tenant, error) {
	var out TenantsPage
	if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/tenants", out: &out}); err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return out.Tenants, nil
}

// CreateTenant creates a tenant, for the server's operator. userID is 1 to 64
// letters, digits, _ or -; "" for a random one. [ErrConflict] when it is taken
// (POST /v2/tenants). The credentials are in the answer alone, so a lost answer
// is not retried.
func (c *Client) CreateTenant(ctx context.Context, userID string) (NewTenant, error) {
	var out NewTenant
	body, err := json.Marshal(struct {
		UserID string `json:"userId,omitempty"`
	}{userID})
	if err == nil {
		err = c.do(ctx, call{method: http.MethodPost, path: "/v2/tenants", body: body, out: &out, once: true})
	}
	if err != nil {
		return NewTenant{}, fmt.Errorf("create tenant: %w", err)
	}
	return out, nil
}
