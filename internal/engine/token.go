package engine

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Scope is something a token may be good for.
type Scope string

const (
	ScopePublish  Scope = "publish"       // publish, and manage what was published
	ScopeRead     Scope = "read"          // see messages, runs and their logs
	ScopeReadMeta Scope = "read-metadata" // the same without bodies and header values
	ScopeKeys     Scope = "keys"          // see and rotate the signing keys
	ScopeAdmin    Scope = "admin"         // everything of the tenant: tokens, settings, audit
)

// scopes are all there are, in the order they are shown.
var scopes = []Scope{ScopePublish, ScopeRead, ScopeReadMeta, ScopeKeys, ScopeAdmin}

// fullScopes are those of a tenant's first token.
var fullScopes = []Scope{ScopePublish, ScopeRead, ScopeKeys, ScopeAdmin}

const (
	maxTokens    = 1000 // of a tenant
	maxTokenName = 100  // bytes
	prefixLen    = 6
)

// ID is the token's public name: "tok_" and 24 hexadecimal digits, which are
// made from the hash and tell nothing of it.
func (t *Token) ID() string {
	sum := sha256.Sum256(append([]byte("token id\x00"), t.Hash...))
	return "tok_" + hex.EncodeToString(sum[:12])
}

// May says whether the token is good for something. Admin is everything, and
// who may read everything may read less.
func (t *Token) May(s Scope) bool {
	return slices.Contains(t.Scopes, s) || slices.Contains(t.Scopes, ScopeAdmin) ||
		s == ScopeReadMeta && slices.Contains(t.Scopes, ScopeRead)
}

// NewToken is what to create. Expiry is one of ExpiresAt and ExpiresIn, or
// none.
type NewToken struct {
	Name      string
	Scopes    []Scope
	URLPrefix string
	ExpiresAt int64 // Unix ms
	ExpiresIn time.Duration
}

// CreateToken makes a token of the caller's tenant. The secret is told this
// once.
func (e *Engine) CreateToken(ctx context.Context, who *Caller, n NewToken) (t *Token, secret string, err error) {
	blank, err := n.check(time.Now())
	if err != nil {
		return nil, "", err
	}
	secret, blank.Prefix = newSecret(who.UserID)
	hash := sha256.Sum256([]byte(secret))
	blank.Hash, blank.Tenant = hash[:], who.ID
	err = e.update(ctx, func(c *change) error {
		// Locked, so that two callers don't both find room for one more.
		if _, err := c.tx.LockTenant(who.ID); err != nil {
			return err
		}
		all, err := c.tx.Tokens(who.ID)
		if err != nil {
			return err
		}
		if len(all) >= maxTokens {
			return errorf(Precondition, "there are %d tokens already, at most %d are allowed: revoke one", len(all), maxTokens)
		}
		created := blank
		created.CreatedAt, t = c.now, &created
		if n := len(all); n > 0 {
			created.CreatedAt = max(c.now, all[n-1].CreatedAt+1) // no two are equally old
		}
		if err := c.tx.InsertToken(t); err != nil {
			return err
		}
		return c.audit(who, "token.create", t.ID(), nil, t.summary())
	})
	if err != nil {
		return nil, "", err
	}
	return t, secret, nil
}

// check makes of it the token that is asked for, but for whose it is.
func (n *NewToken) check(now time.Time) (t Token, err error) {
	if n.Name == "" || len(n.Name) > maxTokenName || !utf8.ValidString(n.Name) || strings.ContainsFunc(n.Name, isControl) {
		return t, errorf(Invalid, "name: expected 1 to %d bytes of text without control characters", maxTokenName)
	}
	t.Name = n.Name
	if t.Scopes, err = checkScopes(n.Scopes); err != nil {
		return t, err
	}
	if n.URLPrefix != "" {
		if t.URLPrefix, err = ParseURLPrefix(n.URLPrefix); err != nil {
			return t, err
		}
		for _, s := range []Scope{ScopeKeys, ScopeAdmin} {
			if slices.Contains(t.Scopes, s) {
				return t, errorf(Invalid, "urlPrefix: can't be together with the scope %s, which is about everything of the tenant", s)
			}
		}
	}
	switch {
	case n.ExpiresAt != 0 && n.ExpiresIn != 0:
		return t, errorf(Invalid, "expiresIn: can't be together with expiresAt")
	case n.ExpiresIn < 0:
		return t, errorf(Invalid, "expiresIn: expected a duration such as 30d")
	case n.ExpiresIn > 0:
		t.ExpiresAt = unixMillis(now.Add(n.ExpiresIn))
	case n.ExpiresAt != 0 && (n.ExpiresAt <= unixMillis(now) || n.ExpiresAt > Millis(maxSeq)):
		return t, errorf(Invalid, "expiresAt: expected a time to come in Unix milliseconds, got %d", n.ExpiresAt)
	default:
		t.ExpiresAt = n.ExpiresAt
	}
	return t, nil
}

func isControl(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 }

// checkScopes gives each scope once, in the order of all.
func checkScopes(asked []Scope) (out []Scope, err error) {
	if len(asked) == 0 {
		return nil, errorf(Invalid, "scopes: expected one or more of %s", joinScopes(scopes))
	}
	for _, s := range asked {
		if !slices.Contains(scopes, s) {
			return nil, errorf(Invalid, "scopes: %.50q is not one of %s", s, joinScopes(scopes))
		}
	}
	for _, s := range scopes {
		if slices.Contains(asked, s) {
			out = append(out, s)
		}
	}
	return out, nil
}

func joinScopes(list []Scope) string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// newSecret makes a token for a user: base64 of a JSON object with UserID,
// because the official workflow SDK reads that from it.
func newSecret(user string) (secret, prefix string) {
	password := randomID(32)
	text, _ := json.Marshal(credential{user, password})
	return base64.StdEncoding.EncodeToString(text), password[:prefixLen]
}

type credential struct{ UserID, Password string }

// secretPrefix is how the secret part of a token begins; "" if that would tell
// too much of it.
func secretPrefix(secret string) string {
	var c credential
	text, err := base64.StdEncoding.DecodeString(secret)
	if err != nil || json.Unmarshal(text, &c) != nil || len(c.Password) < 3*prefixLen {
		return ""
	}
	return c.Password[:prefixLen]
}

// RevokeToken ends a token: once it returns, no request is accepted with it, and
// nothing more is published by the schedules that end with it. It says how many
// those are. One admin token that never expires has to stay, or nobody could make
// another.
func (e *Engine) RevokeToken(ctx context.Context, who *Caller, id string) (schedules int, err error) {
	var hash []byte
	err = e.update(ctx, func(c *change) error {
		if _, err := c.tx.LockTenant(who.ID); err != nil {
			return err
		}
		all, err := c.tx.Tokens(who.ID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(t *Token) bool { return t.ID() == id })
		if i < 0 {
			return errorf(NotFound, "token %s not found", id)
		}
		t := all[i]
		if t.permanentAdmin() && !slices.ContainsFunc(slices.Delete(all, i, i+1), (*Token).permanentAdmin) {
			return errorf(Conflict, "token %s is the last one with the scope admin that does not expire: create another one first", id)
		}
		hash = t.Hash
		if err := c.tx.DeleteToken(hash); err != nil {
			return err
		}
		if schedules, err = c.tx.WakeSchedules(hash, c.now); err != nil {
			return fmt.Errorf("wake schedules: %w", err)
		}
		var after any
		if schedules > 0 {
			after = revoked{schedules}
		}
		return c.audit(who, "token.revoke", id, t.summary(), after)
	})
	if schedules > 0 {
		e.rescheduled()
	}
	if hash != nil {
		e.callers.forget(hash) // after an error too: it may have been committed all the same
	}
	return schedules, err
}

// revoked is what the audit log says of what has ended with a token.
type revoked struct {
	Schedules int `json:"schedulesPaused"`
}

func (t *Token) permanentAdmin() bool { return t.ExpiresAt == 0 && t.May(ScopeAdmin) }

// Tokens are the tokens of the caller's tenant, oldest first, expired ones
// included.
func (e *Engine) Tokens(ctx context.Context, who *Caller) (all []*Token, err error) {
	err = e.store.View(ctx, func(tx Tx) (err error) {
		all, err = tx.Tokens(who.ID)
		return err
	})
	for _, t := range all {
		t.LastUsedAt = max(t.LastUsedAt, e.callers.lastUse(t.Hash))
	}
	return all, err
}

// tokenSummary is what the audit log says of a token.
type tokenSummary struct {
	Name      string    `json:"name"`
	Scopes    []Scope   `json:"scopes"`
	URLPrefix URLPrefix `json:"urlPrefix,omitempty"`
	ExpiresAt int64     `json:"expiresAt,omitempty"`
}

func (t *Token) summary() any { return tokenSummary{t.Name, t.Scopes, t.URLPrefix, t.ExpiresAt} }
