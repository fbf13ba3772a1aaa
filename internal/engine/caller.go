package engine

import (
	"context"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"
)

// Caller is who makes a request: a tenant, by one of its tokens.
type Caller struct {
	*Tenant
	Token *Token
	IP    string // where the request comes from, for the audit log; may be ""
}

// May says whether the caller's token is good for something.
func (who *Caller) May(s Scope) bool { return who.Token.May(s) }

// firstTenant is the operator's.
const firstTenant = 1

// Operator says whether the caller runs the server: an admin of the first
// tenant, which is the one that the server made for itself.
func (who *Caller) Operator() bool { return who.ID == firstTenant && who.May(ScopeAdmin) }

// Scopes are what the caller's token is good for, for people.
func (who *Caller) Scopes() string { return joinScopes(who.Token.Scopes) }

// callerCache spares every request a read. It holds tokens that exist and no
// others, so that guesses do not fill it.
type callerCache struct {
	mu     sync.RWMutex
	known  map[[sha256.Size]byte]*knownToken
	change int // counts forget: what was read before one is not to be kept

	dirty chan struct{} // a token was used since the uses were written
}

// knownToken is a token in memory. The token itself never changes.
type knownToken struct {
	Token
	used    atomic.Int64 // Unix ms, to the second
	written int64        // the use that is in the store; the writer's alone
}

func (cc *callerCache) init() {
	cc.known = map[[sha256.Size]byte]*knownToken{}
	cc.dirty = make(chan struct{}, 1)
}

// fill keeps all tokens there are: after a restart, whoever guesses tokens must
// not have good ones refused that come from his address.
func (cc *callerCache) fill(tokens []*Token) {
	for _, t := range tokens {
		cc.put((*[sha256.Size]byte)(t.Hash), t, cc.change)
	}
}

// forget makes the next use of a token read the store again.
func (cc *callerCache) forget(hash []byte) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	cc.change++
	delete(cc.known, [sha256.Size]byte(hash))
}

// get is the token of a hash, nil if it is not in memory.
func (cc *callerCache) get(hash *[sha256.Size]byte) (t *knownToken, change int) {
	cc.mu.RLock()
	defer cc.mu.RUnlock()
	return cc.known[*hash], cc.change
}

// put keeps a token that was read when change was what get said.
func (cc *callerCache) put(hash *[sha256.Size]byte, t *Token, change int) *knownToken {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if known := cc.known[*hash]; known != nil {
		return known
	}
	known := &knownToken{Token: *t, written: t.LastUsedAt}
	known.used.Store(t.LastUsedAt)
	if cc.change == change {
		cc.known[*hash] = known
	}
	return known
}

// lastUse is when a token was last used, as far as memory tells; Unix ms.
func (cc *callerCache) lastUse(hash []byte) int64 {
	if t, _ := cc.get((*[sha256.Size]byte)(hash)); t != nil {
		return t.used.Load()
	}
	return 0
}

// use notes that a token was used.
func (cc *callerCache) use(t *knownToken, now int64) {
	if now-t.used.Load() < 1000 {
		return
	}
	t.used.Store(now)
	select {
	case cc.dirty <- struct{}{}:
	default:
	}
}

const maxSecret = 1 << 10 // bytes; what is longer is no token of ours

// Authenticate is the caller a bearer token stands for. Only its hash is ever
// compared or stored. A token that nobody has costs one look-up by its hash and
// leaves nothing behind.
func (e *Engine) Authenticate(ctx context.Context, secret string) (*Caller, error) {
	if secret == "" {
		return nil, errorf(Unauthorized, "unauthorized: send the token as \"Authorization: Bearer <token>\"")
	}
	if len(secret) > maxSecret {
		return nil, errInvalidToken
	}
	hash := sha256.Sum256([]byte(secret))
	t, change := e.callers.get(&hash)
	if t == nil {
		row, err := e.readToken(ctx, hash[:])
		if err != nil {
			return nil, err
		}
		t = e.callers.put(&hash, row, change)
	}
	tenant, now := e.tenants.get(t.Tenant), unixMillis(time.Now())
	if tenant == nil {
		return nil, errInvalidToken
	}
	if t.expired(now) {
		return nil, errorf(Unauthorized, "unauthorized: the token has expired")
	}
	e.callers.use(t, now)
	return &Caller{Tenant: tenant, Token: &t.Token}, nil
}

// Remembers says whether a token has been found good before, and still is: to
// authenticate with it costs no read.
func (e *Engine) Remembers(secret string) bool {
	hash := sha256.Sum256([]byte(secret))
	t, _ := e.callers.get(&hash)
	return t != nil && !t.expired(unixMillis(time.Now()))
}

func (t *Token) expired(now int64) bool { return t.ExpiresAt != 0 && now >= t.ExpiresAt }

var errInvalidToken = errorf(Unauthorized, "unauthorized: invalid token")

// readToken reads a token, and its tenant if another node has created that.
func (e *Engine) readToken(ctx context.Context, hash []byte) (t *Token, err error) {
	var tenant *Tenant
	err = e.store.View(ctx, func(tx Tx) (err error) {
		if t, err = tx.TokenByHash(hash); err != nil || t == nil || e.tenants.get(t.Tenant) != nil {
			return err
		}
		tenant, err = tx.LockTenant(t.Tenant)
		return err
	})
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, errInvalidToken
	}
	if tenant != nil {
		e.tenants.add(tenant)
	}
	return t, nil
}

// usesEvery is how often uses of tokens are written.
const usesEvery = time.Minute

// usesLoop writes down when tokens were last used: all that were, together, at
// most once a minute. Close writes the last.
func (e *Engine) usesLoop(ctx context.Context) {
	defer close(e.usesDone)
	for {
		select {
		case <-e.callers.dirty:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(usesEvery):
			e.writeUses()
		case <-ctx.Done():
			return
		}
	}
}

func (e *Engine) writeUses() {
	var uses []TokenUse
	var used []*knownToken
	e.callers.mu.RLock()
	for _, t := range e.callers.known {
		if at := t.used.Load(); at != t.written {
			uses, used = append(uses, TokenUse{Hash: t.Hash, At: at}), append(used, t)
		}
	}
	e.callers.mu.RUnlock()
	if len(uses) == 0 {
		return
	}
	err := e.update(context.Background(), func(c *change) error { return c.tx.TouchTokens(uses) })
	if err != nil {
		e.log.Error("write when tokens were used", "error", err)
		return
	}
	for i, t := range used {
		t.written = uses[i].At
	}
}
