package store_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

// token is one of a tenant, with the hash of its name.
func token(tenant int64, name string) *engine.Token {
	hash := sha256.Sum256([]byte(name))
	return &engine.Token{
		Hash: hash[:], Tenant: tenant, Name: name, Prefix: "abc123", Scopes: []engine.Scope{engine.ScopePublish, engine.ScopeRead},
		URLPrefix: "https://a.example/x", CreatedAt: 10, ExpiresAt: maxInt, LastUsedAt: 20,
	}
}

func insertTokens(t *testing.T, s engine.Store, tokens ...*engine.Token) {
	t.Helper()
	update(t, s, func(tx engine.Tx) error {
		for _, n := range tokens {
			if err := tx.InsertToken(n); err != nil {
				return err
			}
		}
		return nil
	})
}

func tokenByHash(t *testing.T, s engine.Store, hash []byte) *engine.Token {
	t.Helper()
	return read(t, s, func(tx engine.Tx) (*engine.Token, error) { return tx.TokenByHash(hash) })
}

func tokensOf(t *testing.T, s engine.Store, tenant int64) []*engine.Token {
	t.Helper()
	return read(t, s, func(tx engine.Tx) ([]*engine.Token, error) { return tx.Tokens(tenant) })
}

// A token reads back as it was written, is found by its whole hash alone, and
// is listed for its own tenant, the oldest first.
func TestTokenRoundTrip(t *testing.T) {
	everyFieldSet(t, token(1, "full"))
	forEachStore(t, func(t *testing.T, s engine.Store) {
		full, second, other := token(1, oddText), token(1, "second"), token(2, "other")
		zero := &engine.Token{Hash: []byte("zero"), Tenant: 3}
		second.CreatedAt = 9
		insertTokens(t, s, full, second, other, zero)
		for _, test := range []struct {
			name string
			hash []byte
			want *engine.Token
		}{
			{"full", full.Hash, full},
			{"other", other.Hash, other},
			{"zero", zero.Hash, zero},
			{"prefix", full.Hash[:31], nil},
			{"empty", []byte{}, nil},
			{"nil", nil, nil},
		} {
			equal(t, test.name, tokenByHash(t, s, test.hash), test.want)
		}
		equal(t, "of a tenant", tokensOf(t, s, 1), []*engine.Token{second, full})
		equal(t, "of another", tokensOf(t, s, 2), []*engine.Token{other})
		equal(t, "of none", tokensOf(t, s, 9), nil)
		taken := token(2, "again")
		taken.Hash = full.Hash
		if s.Update(context.Background(), func(tx engine.Tx) error { return tx.InsertToken(taken) }) == nil {
			t.Error("a token was given to a second tenant")
		}
	})
}

// A deleted token is gone, and the others are not; deleting it again is an
// error.
func TestDeleteToken(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		a, b := token(1, "a"), token(1, "b")
		insertTokens(t, s, a, b)
		update(t, s, func(tx engine.Tx) error { return tx.DeleteToken(a.Hash) })
		equal(t, "deleted", tokenByHash(t, s, a.Hash), nil)
		equal(t, "left", tokensOf(t, s, 1), []*engine.Token{b})
		if s.Update(context.Background(), func(tx engine.Tx) error { return tx.DeleteToken(a.Hash) }) == nil {
			t.Error("deleted twice")
		}
	})
}

// Uses only go forward, and those of a token that is gone are no error: it was
// revoked meanwhile.
func TestTouchTokens(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		a, b, c := token(1, "a"), token(1, "b"), token(1, "c")
		insertTokens(t, s, a, b, c)
		update(t, s, func(tx engine.Tx) error {
			return tx.TouchTokens([]engine.TokenUse{{Hash: a.Hash, At: 30}, {Hash: []byte("gone"), At: 40}, {Hash: b.Hash, At: 19}})
		})
		a.LastUsedAt = 30
		for _, want := range []*engine.Token{a, b, c} {
			equal(t, want.Name, tokenByHash(t, s, want.Hash), want)
		}
	})
}

// Tokens of before they had scopes are good for everything.
func TestOldTokensAreFull(t *testing.T) {
	for name, make := range rawDatabases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reopen, raw := make(t)
			hash := sha256.Sum256([]byte("old"))
			if err := open(t, reopen).Close(); err != nil {
				t.Fatal(err)
			}
			backToBeforeTokens(t, raw)
			if _, err := raw.Exec(`insert into tokens (hash, tenant, created_at) values ($1, 1, 5)`, hash[:]); err != nil {
				t.Fatal(err)
			}
			equal(t, "old token", tokenByHash(t, open(t, reopen), hash[:]), &engine.Token{
				Hash: hash[:], Tenant: 1, CreatedAt: 5,
				Scopes: []engine.Scope{engine.ScopePublish, engine.ScopeRead, engine.ScopeKeys, engine.ScopeAdmin},
			})
		})
	}
}

func backToBeforeTokens(t *testing.T, raw *sql.DB) {
	t.Helper()
	for _, statement := range []string{
		`drop table audit`, `drop index tokens_tenant`,
		`alter table tokens drop column name`, `alter table tokens drop column prefix`, `alter table tokens drop column scopes`,
		`alter table tokens drop column url_prefix`, `alter table tokens drop column expires_at`,
		`alter table tokens drop column last_used_at`, `delete from migrations where name in ('migrations/0004_tokens.sql', 'migrations/0006_audit_sealing.sql')`,
	} {
		if _, err := raw.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}
