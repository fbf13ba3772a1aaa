package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Scope is something a token may be good for.
type Scope string

const (
	// ScopePublish is for publishers and workflow endpoints: publish, batch,
	// trigger, run steps; cancel, retry and delete what was published.
	ScopePublish Scope = "publish"
	// ScopeRead shows messages, events, the dead-letter queue and runs. Alone it
	// is the hosted service's read-only token.
	ScopeRead Scope = "read"
	// ScopeReadMetadata is ScopeRead without bodies, payloads, results and
	// responses, and without the values of headers.
	ScopeReadMetadata Scope = "read-metadata"
	// ScopeKeys shows and rotates the signing keys. Who has it can sign requests
	// to your endpoints.
	ScopeKeys Scope = "keys"
	// ScopeAdmin is all of the above, and tokens, tenants and the audit log.
	ScopeAdmin Scope = "admin"
)

// Token is a token as its owner may see it: without the secret.
type Token struct {
	ID     string  `json:"id"` // tok_…
	Name   string  `json:"name"`
	Prefix string  `json:"prefix,omitempty"` // how the secret part begins, to recognise it by
	Scopes []Scope `json:"scopes"`
	// URLPrefix is what the token may reach: it publishes to URLs that begin with
	// it, and sees messages and runs of those alone. "": everything.
	URLPrefix  string `json:"urlPrefix,omitempty"`
	CreatedAt  int64  `json:"createdAt"`            // Unix milliseconds
	ExpiresAt  int64  `json:"expiresAt,omitempty"`  // Unix milliseconds; 0: never
	LastUsedAt int64  `json:"lastUsedAt,omitempty"` // Unix milliseconds; 0: never
}

// NewToken is a token that was just created.
type NewToken struct {
	Token
	Secret string `json:"token"` // to put into QSTASH_TOKEN; it is shown this once
}

// TokensPage is all tokens of a tenant.
type TokensPage struct {
	Tokens []Token `json:"tokens"`
}

// MarshalJSON writes tokens as an array even when there is none.
func (p TokensPage) MarshalJSON() ([]byte, error) {
	type plain TokensPage
	p.Tokens = some(p.Tokens)
	return json.Marshal(plain(p))
}

// TokenRequest says which token to create.
type TokenRequest struct {
	Name   string  // required: to tell tokens apart, 100 bytes at most
	Scopes []Scope // required, one or more
	// URLPrefix limits the token to an origin, or to an origin and the beginning
	// of a path, such as https://api.example.com/hooks. It can't be together with
	// the scopes keys and admin. Default: no limit.
	URLPrefix string
	ExpiresAt time.Time     // default: never; not together with ExpiresIn
	ExpiresIn time.Duration // from now; default: never
}

// Tokens lists the tokens of the tenant, oldest first (GET /v2/tokens).
func (c *Client) Tokens(ctx context.Context) ([]Token, error) {
	var out TokensPage
	if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/tokens", out: &out}); err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return out.Tokens, nil
}

// CreateToken creates a token (POST /v2/tokens). Its secret is in the answer
// alone, so a lost answer is not retried: revoke what [Client.Tokens] then
// shows too much.
func (c *Client) CreateToken(ctx context.Context, r TokenRequest) (NewToken, error) {
	var out NewToken
	body, err := r.encode()
	if err == nil {
		err = c.do(ctx, call{method: http.MethodPost, path: "/v2/tokens", body: body, out: &out, once: true})
	}
	if err != nil {
		return NewToken{}, fmt.Errorf("create token: %w", err)
	}
	return out, nil
}

func (r *TokenRequest) encode() ([]byte, error) {
	body := struct {
		Name      string  `json:"name"`
		Scopes    []Scope `json:"scopes"`
		URLPrefix string  `json:"urlPrefix,omitempty"`
		ExpiresAt int64   `json:"expiresAt,omitempty"`
		ExpiresIn string  `json:"expiresIn,omitempty"`
	}{Name: r.Name, Scopes: r.Scopes, URLPrefix: r.URLPrefix}
	if !r.ExpiresAt.IsZero() {
		// A time before 1970 is one that the server refuses as well.
		body.ExpiresAt = max(1, r.ExpiresAt.UnixMilli())
	}
	if r.ExpiresIn < 0 {
		return nil, errors.New("ExpiresIn is negative")
	}
	if r.ExpiresIn > 0 {
		body.ExpiresIn = formatSeconds(r.ExpiresIn)
	}
	return json.Marshal(body)
}

// RevokedToken says what has ended with a token.
type RevokedToken struct {
	// SchedulesPaused are those that the token made; only one with a URLPrefix
	// takes its schedules with it.
	SchedulesPaused int `json:"schedulesPaused,omitempty"`
}

// RevokeToken ends a token at once, by its id; [ErrNotFound] when there is
// none, [ErrConflict] for the last token that could create another (DELETE
// /v2/tokens/{id}).
func (c *Client) RevokeToken(ctx context.Context, id string) (RevokedToken, error) {
	var out RevokedToken
	path, err := itemPath("/v2/tokens/", id)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodDelete, path: path, out: &out})
	}
	if err != nil {
		return RevokedToken{}, fmt.Errorf("revoke token: %w", err)
	}
	return out, nil
}
