package api

import (
	"net/http"

	"github.com/signposthq/signpost/client"
)

func listTenants(r *request) (any, error) {
	all, err := r.handler.engine.ListTenants(r.Context(), r.caller)
	if err != nil {
		return nil, err
	}
	out := client.TenantsPage{}
	for _, t := range all {
		out.Tenants = append(out.Tenants, client.Tenant{ID: t.ID, UserID: t.UserID})
	}
	return out, nil
}

const tenantBody = 64 << 10

type tenantRequest struct {
	UserID string `json:"userId,omitempty"` // 1 to 64 letters, digits, _ or -; default: random
}

// createTenant answers with credentials, which nobody is told again.
func createTenant(r *request) (any, error) {
	var asked tenantRequest
	if err := r.json(tenantBody, &asked); err != nil {
		return nil, err
	}
	cr, err := r.handler.engine.CreateTenant(r.Context(), r.caller, asked.UserID)
	if err != nil {
		return nil, err
	}
	return reply{http.StatusCreated, client.NewTenant{
		UserID: cr.UserID, Token: cr.Token, CurrentSigningKey: cr.CurrentKey, NextSigningKey: cr.NextKey,
	}}, nil
}
