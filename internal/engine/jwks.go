package engine

import "context"

// JWKS is the JSON Web Key Set of the public keys that receivers verify a
// tenant's Ed25519 signatures with: the current and the next one. It is found by
// a token or by the tenant's public name; without either it is the first tenant's,
// whether or not others have come since. There is no set of all tenants' keys: whoever believed it would take
// one tenant's deliveries for another's.
func (e *Engine) JWKS(ctx context.Context, token, user string) ([]byte, error) {
	t, err := e.publicTenant(ctx, token, user)
	if err != nil {
		return nil, err
	}
	if e.endpoints.names == nil {
		return nil, errorf(NotFound, "this server has no public keys")
	}
	return e.endpoints.names.JWKS(t.Secrets.CurrentSeed, t.Secrets.NextSeed), nil
}

func (e *Engine) publicTenant(ctx context.Context, token, user string) (*Tenant, error) {
	if user == "" && token != "" {
		c, err := e.Authenticate(ctx, token)
		if err != nil {
			return nil, err
		}
		return c.Tenant, nil
	}
	if user == "" {
		return e.tenants.get(firstTenant), nil
	}
	for _, t := range e.tenants.all() {
		if t.UserID == user {
			return t, nil
		}
	}
	return nil, errorf(NotFound, "user: no tenant of that name")
}
