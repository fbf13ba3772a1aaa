package api

import (
	"net/http"
	"regexp"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

func listTokens(r *request) (any, error) {
	all, err := r.handler.engine.Tokens(r.Context(), r.caller)
	if err != nil {
		return nil, err
	}
	out := client.TokensPage{}
	for _, t := range all {
		out.Tokens = append(out.Tokens, tokenJSON(t))
	}
	return out, nil
}

func tokenJSON(t *engine.Token) client.Token {
	out := client.Token{
		ID: t.ID(), Name: t.Name, Prefix: t.Prefix, URLPrefix: string(t.URLPrefix),
		CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, LastUsedAt: t.LastUsedAt,
	}
	for _, s := range t.Scopes {
		out.Scopes = append(out.Scopes, client.Scope(s))
	}
	return out
}

const tokenBody = 64 << 10

type tokenRequest struct {
	Name      string         `json:"name"`
	Scopes    []engine.Scope `json:"scopes"`
	URLPrefix string         `json:"urlPrefix,omitempty"` // what the token may reach; it is a scheme and a host with or without a path
	ExpiresAt *int64         `json:"expiresAt,omitempty"` // Unix milliseconds
	ExpiresIn string         `json:"expiresIn,omitempty"` // such as 12h or 30d; not together with expiresAt
}

// createToken answers with the secret, which nobody is told again.
func createToken(r *request) (any, error) {
	var asked tokenRequest
	if err := r.json(tokenBody, &asked); err != nil {
		return nil, err
	}
	n := engine.NewToken{Name: asked.Name, Scopes: asked.Scopes, URLPrefix: asked.URLPrefix}
	if at := asked.ExpiresAt; at != nil {
		if *at <= 0 {
			return nil, invalid("expiresAt: expected a time to come in Unix milliseconds, got %d", *at)
		}
		n.ExpiresAt = *at
	}
	if asked.ExpiresIn != "" {
		d, err := wire.ParseDuration(asked.ExpiresIn)
		if err != nil || d <= 0 {
			return nil, invalid("expiresIn: expected a duration such as 12h or 30d, got %.100q", asked.ExpiresIn)
		}
		n.ExpiresIn = d
	}
	t, secret, err := r.handler.engine.CreateToken(r.Context(), r.caller, n)
	if err != nil {
		return nil, err
	}
	return reply{http.StatusCreated, client.NewToken{Token: tokenJSON(t), Secret: secret}}, nil
}

var tokenID = regexp.MustCompile(`^tok_[0-9a-f]{24}$`)

func revokeToken(r *request) (any, error) {
	id := r.params[0]
	if !tokenID.MatchString(id) {
		return nil, invalid("id: expected the id of a token, which begins with tok_") // without telling what may be the token itself
	}
	n, err := r.handler.engine.RevokeToken(r.Context(), r.caller, id)
	if err != nil {
		return nil, err
	}
	return client.RevokedToken{SchedulesPaused: n}, nil
}
