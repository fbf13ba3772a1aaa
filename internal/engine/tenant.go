package engine

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// OperatorID is the first tenant, whose admin is the operator of the server.
const OperatorID int64 = 1

// tenantCache spares every request and delivery a read. Tenants are few.
type tenantCache struct {
	changing sync.Mutex // held by whoever changes a tenant, until the cache has it
	mu       sync.RWMutex
	byID     map[int64]*Tenant
	byToken  map[[sha256.Size]byte]int64
}

func (tc *tenantCache) fill(tenants []*Tenant) {
	tc.mu.Lock()
	defer tc.mu.Unlock()
	tc.byID = make(map[int64]*Tenant, len(tenants))
	tc.byToken = map[[sha256.Size]byte]int64{}
	for _, t := range tenants {
		tc.byID[t.ID] = t
	}
}

func (tc *tenantCache) put(t *Tenant) {
	tc.mu.Lock()
	defer tc.mu.Unlock()
	tc.byID[t.ID] = t
}

func (tc *tenantCache) all() []*Tenant {
	tc.mu.RLock()
	defer tc.mu.RUnlock()
	return slices.Collect(maps.Values(tc.byID))
}

func (tc *tenantCache) get(id int64) *Tenant {
	tc.mu.RLock()
	defer tc.mu.RUnlock()
	return tc.byID[id]
}

// Scope is something a token may be good for.
type Scope string

const (
	ScopePublish  Scope = "publish"       // publish, and manage what was published
	ScopeRead     Scope = "read"          // see messages, runs and their logs
	ScopeReadMeta Scope = "read-metadata" // the same without bodies and header values
	ScopeKeys     Scope = "keys"          // see and rotate the signing keys
	ScopeAdmin    Scope = "admin"         // everything of the tenant: tokens, settings, audit
)

// Caller is who makes a request: a tenant, by one of its tokens.
type Caller struct {
	*Tenant
}

// Authenticate is the caller a bearer token stands for. Only its hash is ever
// compared or stored.
func (e *Engine) Authenticate(ctx context.Context, token string) (*Caller, error) {
	if token == "" {
		return nil, errorf(Unauthorized, "unauthorized: send the token as \"Authorization: Bearer <token>\"")
	}
	hash := sha256.Sum256([]byte(token))
	tc := &e.tenants
	tc.mu.RLock()
	t := tc.byID[tc.byToken[hash]]
	tc.mu.RUnlock()
	if t != nil {
		return &Caller{t}, nil
	}
	err := e.store.View(ctx, func(tx Tx) (err error) {
		t, err = tx.TokenTenant(hash[:])
		return err
	})
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, errorf(Unauthorized, "unauthorized: invalid token")
	}
	tc.mu.Lock()
	defer tc.mu.Unlock()
	tc.byToken[hash] = t.ID
	if known := tc.byID[t.ID]; known != nil {
		return &Caller{known}, nil
	}
	tc.byID[t.ID] = t
	return &Caller{t}, nil
}

// Remembers says whether a token has been found good before: to authenticate
// with it costs no read.
func (e *Engine) Remembers(token string) bool {
	hash := sha256.Sum256([]byte(token))
	tc := &e.tenants
	tc.mu.RLock()
	defer tc.mu.RUnlock()
	return tc.byToken[hash] != 0
}

// Credentials are what a new tenant is told, once.
type Credentials struct {
	UserID, Token, CurrentKey, NextKey string
}

// NewCredentials makes random ones. The token is base64 of a JSON object with
// UserID, because the official workflow SDK reads that from it.
func NewCredentials() Credentials {
	user := randomID(16)
	token, _ := json.Marshal(struct{ UserID, Password string }{user, randomID(32)})
	return Credentials{
		UserID: user, Token: base64.StdEncoding.EncodeToString(token),
		CurrentKey: NewSigningKey(), NextKey: NewSigningKey(),
	}
}

func newTenantSecrets() TenantSecrets {
	return TenantSecrets{RedactKey: randomBytes(32), CurrentSeed: newSeed(), NextSeed: newSeed()}
}

// newSeed makes a random Ed25519 seed.
func newSeed() []byte { return randomBytes(32) }

// completeSecrets makes what tenants of an older version lack.
func (e *Engine) completeSecrets(ctx context.Context) error {
	for _, t := range e.tenants.all() {
		if t.Secrets.complete() {
			continue
		}
		_, err := e.changeTenant(ctx, &Caller{Tenant: t}, func(_ *change, row *Tenant) error {
			if !row.Secrets.complete() {
				row.Secrets = newTenantSecrets()
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("make secrets of tenant %s: %w", t.UserID, err)
		}
	}
	return nil
}

func (s *TenantSecrets) complete() bool {
	return len(s.RedactKey) > 0 && len(s.CurrentSeed) > 0 && len(s.NextSeed) > 0
}

// EnsureTenant creates the tenant of these credentials unless its token is
// known already, and says whether it did. Keys rotated since are left alone.
func (e *Engine) EnsureTenant(ctx context.Context, cr Credentials) (created bool, err error) {
	hash := sha256.Sum256([]byte(cr.Token))
	var t *Tenant
	err = e.update(ctx, func(c *change) error {
		var err error
		created = false
		if t, err = c.tx.TokenTenant(hash[:]); err != nil || t != nil {
			return err
		}
		created = true
		t = &Tenant{UserID: cr.UserID, CurrentKey: cr.CurrentKey, NextKey: cr.NextKey, Secrets: newTenantSecrets()}
		if err := c.tx.InsertTenant(t); err != nil {
			return err
		}
		return c.tx.InsertToken(hash[:], t.ID, c.now)
	})
	if err != nil {
		return false, err
	}
	if created {
		e.tenants.put(t)
	}
	return created, nil
}

// Tenants says how many tenants there are.
func (e *Engine) Tenants() int {
	e.tenants.mu.RLock()
	defer e.tenants.mu.RUnlock()
	return len(e.tenants.byID)
}

// HasToken says whether a token is known.
func (e *Engine) HasToken(ctx context.Context, token string) (bool, error) {
	_, err := e.Authenticate(ctx, token)
	if ErrorCode(err) == Unauthorized {
		return false, nil
	}
	return err == nil, err
}

// changeTenant changes a tenant's row, in one transaction, and returns what it
// has become. Deliveries use that from their next attempt on.
func (e *Engine) changeTenant(ctx context.Context, c *Caller, alter func(*change, *Tenant) error) (*Tenant, error) {
	tc := &e.tenants
	tc.changing.Lock() // of two changes, the cache is to keep the later one
	defer tc.changing.Unlock()
	var row *Tenant
	err := e.update(ctx, func(ch *change) error {
		var err error
		if row, err = ch.tx.LockTenant(c.ID); err != nil {
			return err
		}
		if row == nil {
			return errorf(NotFound, "tenant not found")
		}
		if err := alter(ch, row); err != nil {
			return err
		}
		return ch.tx.UpdateTenant(row)
	})
	if err != nil {
		return nil, err
	}
	tc.put(row)
	return row, nil
}
