package engine

import "context"

// JWKS is the JSON Web Key Set of the public keys that receivers verify a
// tenant's Ed25519 signatures with: the current and the next one. It is found by
// a token or by the tenant's public name; a server with one tenant needs
// neither. There is no set of all tenants' keys: whoever believed it would take
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
	all := e.tenants.all()
	if user == "" {
		if len(all) == 1 {
			return all[0], nil
		}
		return nil, errorf(NotFound, "this server has the keys of several tenants: name one with ?user=USERID, or send its token")
	}
	for _, t := range all {
		if t.UserID == user {
			return t, nil
		}
	}
	return nil, errorf(NotFound, "user: no tenant of that name")
}
