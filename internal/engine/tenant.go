package engine

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
)

// tenantCache spares every request and delivery a read. Tenants are few.
type tenantCache struct {
	changing sync.Mutex // held by whoever changes a tenant, until the cache has it
	mu       sync.RWMutex
	byID     map[int64]*Tenant
}

func (tc *tenantCache) fill(tenants []*Tenant) {
	tc.mu.Lock()
	defer tc.mu.Unlock()
	tc.byID = make(map[int64]*Tenant, len(tenants))
	for _, t := range tenants {
		tc.byID[t.ID] = t
	}
}

func (tc *tenantCache) put(t *Tenant) {
	tc.mu.Lock()
	defer tc.mu.Unlock()
	tc.byID[t.ID] = t
}

// add puts a tenant that was made or read, unless it is known: it may have been
// changed since.
func (tc *tenantCache) add(t *Tenant) {
	tc.mu.Lock()
	defer tc.mu.Unlock()
	if tc.byID[t.ID] == nil {
		tc.byID[t.ID] = t
	}
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

// Credentials are what a new tenant is told, once.
type Credentials struct {
	UserID, Token, CurrentKey, NextKey string
}

// NewCredentials makes random ones.
func NewCredentials() Credentials { return newCredentials(randomID(16)) }

func newCredentials(user string) Credentials {
	secret, _ := newSecret(user)
	return Credentials{UserID: user, Token: secret, CurrentKey: NewSigningKey(), NextKey: NewSigningKey()}
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
// known already, and says whether it did. Keys rotated since are left alone; a
// tenant that has lost the token gets it back.
func (e *Engine) EnsureTenant(ctx context.Context, cr Credentials) (created bool, err error) {
	hash := sha256.Sum256([]byte(cr.Token))
	var t *Tenant
	err = e.update(ctx, func(c *change) error {
		created, t = false, nil
		known, err := c.tx.TokenByHash(hash[:])
		if err != nil || known != nil {
			return err
		}
		if t, err = tenantOf(c.tx, cr.UserID); err != nil {
			return err
		}
		if t != nil {
			return c.tx.InsertToken(firstToken(t, cr.Token, c.now))
		}
		created = true
		t, err = c.newTenant(cr)
		return err
	})
	if err != nil {
		return false, err
	}
	if created {
		e.tenants.add(t)
	}
	return created, nil
}

// tenantOf is the tenant of a user id, nil if there is none.
func tenantOf(tx Tx, userID string) (*Tenant, error) {
	all, err := tx.Tenants()
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(all, func(t *Tenant) bool { return t.UserID == userID }); i >= 0 {
		return all[i], nil
	}
	return nil, nil
}

// newTenant inserts a tenant with its first token.
func (c *change) newTenant(cr Credentials) (*Tenant, error) {
	t := &Tenant{UserID: cr.UserID, CurrentKey: cr.CurrentKey, NextKey: cr.NextKey, Secrets: newTenantSecrets()}
	if err := c.tx.InsertTenant(t); err != nil {
		return nil, err
	}
	return t, c.tx.InsertToken(firstToken(t, cr.Token, c.now))
}

// firstToken is the token a tenant begins with: it is good for everything.
func firstToken(t *Tenant, secret string, now int64) *Token {
	hash := sha256.Sum256([]byte(secret))
	return &Token{
		Hash: hash[:], Tenant: t.ID, Name: "first", Prefix: secretPrefix(secret), Scopes: fullScopes, CreatedAt: now,
	}
}

// userIDs are the names a tenant may have.
var userIDs = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

// CreateTenant makes a tenant with a token and signing keys of its own, for the
// operator. An empty user id stands for a random one.
func (e *Engine) CreateTenant(ctx context.Context, who *Caller, userID string) (Credentials, error) {
	if err := who.mustOperate(); err != nil {
		return Credentials{}, err
	}
	if userID == "" {
		userID = randomID(16)
	}
	if !userIDs.MatchString(userID) {
		return Credentials{}, errorf(Invalid, "userId: expected 1 to 64 letters, digits, _ or -, got %.100q", userID)
	}
	cr := newCredentials(userID)
	var t *Tenant
	err := e.update(ctx, func(c *change) error {
		// Locked, so that two callers don't both find the name free.
		if _, err := c.tx.LockTenant(who.ID); err != nil {
			return err
		}
		taken, err := tenantOf(c.tx, userID)
		if err != nil {
			return err
		}
		if taken != nil {
			return errorf(Conflict, "userId: there is a tenant %s already", userID)
		}
		if t, err = c.newTenant(cr); err != nil {
			return err
		}
		return c.audit(who, "tenant.create", userID, nil, struct {
			ID int64 `json:"id"`
		}{t.ID})
	})
	if err != nil {
		return Credentials{}, err
	}
	e.tenants.add(t)
	return cr, nil
}

// ListTenants are all tenants, oldest first, for the operator.
func (e *Engine) ListTenants(ctx context.Context, who *Caller) (all []*Tenant, err error) {
	if err := who.mustOperate(); err != nil {
		return nil, err
	}
	err = e.store.View(ctx, func(tx Tx) error {
		all, err = tx.Tenants()
		return err
	})
	return all, err
}

func (who *Caller) mustOperate() error {
	if !who.Operator() {
		return errorf(Forbidden, "forbidden: only an admin token of the server's first tenant may do this")
	}
	return nil
}

// Tenants says how many tenants there are.
func (e *Engine) Tenants() int {
	e.tenants.mu.RLock()
	defer e.tenants.mu.RUnlock()
	return len(e.tenants.byID)
}

// HasToken says whether there is a token, expired or not.
func (e *Engine) HasToken(ctx context.Context, secret string) (known bool, err error) {
	hash := sha256.Sum256([]byte(secret))
	err = e.store.View(ctx, func(tx Tx) error {
		t, err := tx.TokenByHash(hash[:])
		known = t != nil
		return err
	})
	return known, err
}

// HasKey says whether a signing key is some tenant's.
func (e *Engine) HasKey(key string) bool {
	return slices.ContainsFunc(e.tenants.all(), func(t *Tenant) bool {
		return subtle.ConstantTimeCompare([]byte(t.CurrentKey), []byte(key))|subtle.ConstantTimeCompare([]byte(t.NextKey), []byte(key)) == 1
	})
}

// lockTenant locks a tenant's row; that there is none is an error.
func (c *change) lockTenant(id int64) (*Tenant, error) {
	t, err := c.tx.LockTenant(id)
	if err != nil {
		return nil, fmt.Errorf("lock tenant: %w", err)
	}
	if t == nil {
		return nil, errorf(NotFound, "tenant not found")
	}
	return t, nil
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
		if row, err = ch.lockTenant(c.ID); err != nil {
			return err
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
