package engine_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
)

var allScopes = []engine.Scope{engine.ScopePublish, engine.ScopeRead, engine.ScopeReadMeta, engine.ScopeKeys, engine.ScopeAdmin}

func (w *world) createToken(n engine.NewToken) (t *engine.Token, secret string) {
	w.t.Helper()
	if n.Name == "" {
		n.Name = "test"
	}
	t, secret, err := w.engine.CreateToken(context.Background(), w.caller, n)
	if err != nil {
		w.t.Fatal(err)
	}
	return t, secret
}

func (w *world) authenticate(secret string) *engine.Caller {
	w.t.Helper()
	who, err := w.engine.Authenticate(context.Background(), secret)
	if err != nil {
		w.t.Fatal(err)
	}
	return who
}

func (w *world) refused(secret string) {
	w.t.Helper()
	if who, err := w.engine.Authenticate(context.Background(), secret); engine.ErrorCode(err) != engine.Unauthorized {
		w.t.Errorf("%v was let in, error %v", who, err)
	}
}

// stored is a token as the store has it.
func (w *world) stored(secret string) (t *engine.Token) {
	w.t.Helper()
	hash := sha256.Sum256([]byte(secret))
	err := w.store.View(context.Background(), func(tx engine.Tx) (err error) {
		t, err = tx.TokenByHash(hash[:])
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

// A new token has the form that official SDKs read the user from, and what is
// known of it tells six characters of its secret.
func TestCreateToken(t *testing.T) {
	inBubble(t, func(w *world) {
		time.Sleep(time.Millisecond) // later than the first
		token, secret := w.createToken(engine.NewToken{
			Name: "shop", Scopes: []engine.Scope{engine.ScopeRead, engine.ScopePublish, engine.ScopeRead},
			URLPrefix: "HTTPS://Shop.example:443/hooks/", ExpiresIn: time.Hour,
		})
		text, err := base64.StdEncoding.DecodeString(secret)
		var inside struct{ UserID, Password string }
		if err := errors.Join(err, json.Unmarshal(text, &inside)); err != nil || inside.UserID != w.caller.UserID || len(inside.Password) != 32 {
			t.Errorf("secret %s, error %v", text, err)
		}
		now := time.Now().UnixMilli()
		hash := sha256.Sum256([]byte(secret))
		want := engine.Token{
			Hash: hash[:], Tenant: w.caller.ID, Name: "shop", Prefix: inside.Password[:6],
			Scopes: []engine.Scope{engine.ScopePublish, engine.ScopeRead}, URLPrefix: "https://shop.example/hooks",
			CreatedAt: now, ExpiresAt: now + time.Hour.Milliseconds(),
		}
		if got := w.stored(secret); fmt.Sprint(*got) != fmt.Sprint(want) || fmt.Sprint(*token) != fmt.Sprint(want) {
			t.Errorf("answered %+v, stored %+v, want %+v", token, got, want)
		}
		all, err := w.engine.Tokens(context.Background(), w.caller)
		if err != nil || len(all) != 2 || all[1].ID() != token.ID() {
			t.Errorf("listed %v, error %v", all, err)
		}
	})
}

func TestCreateTokenRefusals(t *testing.T) {
	read := []engine.Scope{engine.ScopeRead}
	inBubble(t, func(w *world) {
		now := time.Now().UnixMilli()
		for says, n := range map[string]engine.NewToken{
			"name: expected":      {Scopes: read},
			"name:  expected":     {Name: strings.Repeat("x", 101), Scopes: read},
			"name:   expected":    {Name: "a\nb", Scopes: read},
			"name:    expected":   {Name: "a\xff", Scopes: read},
			"scopes: expected":    {Name: "x"},
			`scopes: "" is not`:   {Name: "x", Scopes: []engine.Scope{""}},
			`scopes: "write" is`:  {Name: "x", Scopes: []engine.Scope{engine.ScopeRead, "write"}},
			"urlPrefix: expected": {Name: "x", Scopes: read, URLPrefix: "shop.example"},
			"with the scope admin": {Name: "x", URLPrefix: "https://a.example",
				Scopes: []engine.Scope{engine.ScopePublish, engine.ScopeAdmin}},
			"with the scope keys":                {Name: "x", URLPrefix: "https://a.example", Scopes: []engine.Scope{engine.ScopeKeys}},
			"together with":                      {Name: "x", Scopes: read, ExpiresAt: now + 1000, ExpiresIn: time.Second},
			"expiresAt: expected":                {Name: "x", Scopes: read, ExpiresAt: now},
			"expiresAt: expected a time to come": {Name: "x", Scopes: read, ExpiresAt: 1 << 62},
			"expiresIn: expected":                {Name: "x", Scopes: read, ExpiresIn: -1},
		} {
			_, _, err := w.engine.CreateToken(context.Background(), w.caller, n)
			if engine.ErrorCode(err) != engine.Invalid || !strings.Contains(err.Error(), strings.Join(strings.Fields(says), " ")) {
				t.Errorf("%+v: got error %v, want one with %q", n, err, says)
			}
		}
		// The first is there already.
		err := w.store.Update(context.Background(), func(tx engine.Tx) error {
			for n := 1; n < 1000; n++ {
				hash := sha256.Sum256([]byte{byte(n), byte(n >> 8)})
				if err := tx.InsertToken(&engine.Token{Hash: hash[:], Tenant: w.caller.ID}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = w.engine.CreateToken(context.Background(), w.caller, engine.NewToken{Name: "x", Scopes: read})
		if engine.ErrorCode(err) != engine.Precondition {
			t.Errorf("one too many: %v", err)
		}
	})
}

// Admin is every scope; who reads everything may read less; nothing else
// implies another.
func TestTokenMay(t *testing.T) {
	for _, have := range allScopes {
		token := engine.Token{Scopes: []engine.Scope{have}}
		for _, need := range allScopes {
			want := have == need || have == engine.ScopeAdmin || have == engine.ScopeRead && need == engine.ScopeReadMeta
			if got := token.May(need); got != want {
				t.Errorf("a token for %s may %s: %t", have, need, got)
			}
		}
	}
}

// A token is good until the very millisecond it expires, whether it is in
// memory or not.
func TestTokenExpires(t *testing.T) {
	inBubble(t, func(w *world) {
		_, used := w.createToken(engine.NewToken{Scopes: allScopes, ExpiresIn: time.Hour})
		_, unused := w.createToken(engine.NewToken{Scopes: allScopes, ExpiresIn: time.Hour})
		time.Sleep(time.Hour - time.Millisecond)
		w.authenticate(used)
		time.Sleep(time.Millisecond)
		w.refused(used)
		w.refused(unused)
	})
}

// One permanent admin token has to stay: those that expire don't count, nor do
// other scopes.
func TestLastAdminTokenStays(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		first := w.caller.Token
		w.createToken(engine.NewToken{Scopes: []engine.Scope{engine.ScopeAdmin}, ExpiresIn: time.Hour})
		w.createToken(engine.NewToken{Scopes: []engine.Scope{engine.ScopePublish, engine.ScopeKeys}})
		if _, err := w.engine.RevokeToken(ctx, w.caller, first.ID()); engine.ErrorCode(err) != engine.Conflict {
			t.Fatalf("revoked the last one: %v", err)
		}
		w.authenticate("token")
		second, secret := w.createToken(engine.NewToken{Scopes: []engine.Scope{engine.ScopeAdmin}})
		other := w.authenticate(secret)
		// Each revokes the other: one of them is too late.
		var both sync.WaitGroup
		var errs [2]error
		both.Go(func() { _, errs[0] = w.engine.RevokeToken(ctx, w.caller, second.ID()) })
		both.Go(func() { _, errs[1] = w.engine.RevokeToken(ctx, other, first.ID()) })
		both.Wait()
		codes := []engine.Code{engine.ErrorCode(errs[0]), engine.ErrorCode(errs[1])}
		if (errs[0] == nil) == (errs[1] == nil) || !slices.Contains(codes, engine.Conflict) {
			t.Errorf("errors %v", errs)
		}
	})
}

// Guesses leave nothing in memory, and long ones are not even hashed.
func TestUnknownTokensAreNotKept(t *testing.T) {
	inBubble(t, func(w *world) {
		for i := range 1000 {
			w.refused(fmt.Sprint("guess", i))
		}
		w.refused(strings.Repeat("x", 2000))
		if n := w.engine.KnownTokens(); n != 1 {
			t.Errorf("%d tokens in memory, want the one that exists", n)
		}
	})
}

// heldViews is a store where a view with a gate in its context ends when it is
// let go.
type heldViews struct{ engine.Store }

type gate struct{ read, letGo chan struct{} }

func (h heldViews) View(ctx context.Context, fn func(engine.Tx) error) error {
	err := h.Store.View(ctx, fn)
	if g, held := ctx.Value(gate{}).(*gate); held {
		close(g.read)
		<-g.letGo
	}
	return err
}

// A token that is being read while it is revoked is not kept: the request that
// began before is the last.
func TestRevokeWhileTokenIsRead(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		w.stop()
		w.store = heldViews{w.store}
		w.start()
		token, secret := w.createToken(engine.NewToken{Scopes: allScopes[:1]})
		g := &gate{make(chan struct{}), make(chan struct{})}
		begun := make(chan error)
		go func() {
			_, err := w.engine.Authenticate(context.WithValue(ctx, gate{}, g), secret)
			begun <- err
		}()
		<-g.read
		if err := second(w.engine.RevokeToken(ctx, w.caller, token.ID())); err != nil {
			t.Fatal(err)
		}
		close(g.letGo)
		if err := <-begun; err != nil {
			t.Errorf("the one that began before: %v", err)
		}
		w.refused(secret)
		if n := w.engine.KnownTokens(); n != 1 {
			t.Errorf("%d tokens in memory", n)
		}
	})
}

// What was asked for after a revocation was answered is refused, however many
// ask at once, and other tokens go on.
func TestRevokeAtOnce(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		for range 20 {
			token, secret := w.createToken(engine.NewToken{Scopes: allScopes[:1]})
			stop := make(chan struct{})
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					for {
						select {
						case <-stop:
							w.refused(secret)
							return
						default:
							w.engine.Authenticate(ctx, secret)
						}
					}
				})
			}
			w.authenticate(secret)
			if err := second(w.engine.RevokeToken(ctx, w.caller, token.ID())); err != nil {
				t.Fatal(err)
			}
			w.refused(secret)
			close(stop)
			all.Wait()
			w.authenticate("token")
			if err := second(w.engine.RevokeToken(ctx, w.caller, token.ID())); engine.ErrorCode(err) != engine.NotFound {
				t.Errorf("revoked twice: %v", err)
			}
		}
	})
}

// When a token was last used is told at once, written within a minute and not
// more often, and survives a stop.
func TestTokenLastUsed(t *testing.T) {
	inBubble(t, func(w *world) {
		token, secret := w.createToken(engine.NewToken{Scopes: allScopes[:1]})
		lastUsed := func() (told, stored int64) {
			all, err := w.engine.Tokens(context.Background(), w.caller)
			i := slices.IndexFunc(all, func(t *engine.Token) bool { return t.ID() == token.ID() })
			if err != nil || i < 0 {
				t.Fatal(all, err)
			}
			return all[i].LastUsedAt, w.stored(secret).LastUsedAt
		}
		writes := map[int64]bool{}
		start := time.Now()
		for time.Since(start) < 10*time.Minute {
			w.authenticate(secret)
			now := time.Now().UnixMilli()
			told, stored := lastUsed()
			if told != now || now-stored > 75_000 && time.Since(start) > time.Minute {
				t.Errorf("at %d: told %d, stored %d", now, told, stored)
			}
			writes[stored] = true
			time.Sleep(7 * time.Second)
		}
		if n := len(writes); n > 11 {
			t.Errorf("written %d times in 10 minutes", n)
		}
		w.authenticate(secret)
		last := time.Now().UnixMilli()
		w.stop()
		if got := w.stored(secret).LastUsedAt; got != last {
			t.Errorf("after a stop: %d, want %d", got, last)
		}
		w.start()
	})
}

// Development users come back whatever became of their tokens, to the tenant
// they had.
func TestEnsureTenantGivesTokenBack(t *testing.T) {
	ctx := context.Background()
	inBubble(t, func(w *world) {
		w.createToken(engine.NewToken{Scopes: []engine.Scope{engine.ScopeAdmin}})
		if err := second(w.engine.RevokeToken(ctx, w.caller, w.caller.Token.ID())); err != nil {
			t.Fatal(err)
		}
		w.refused("token")
		created, err := w.engine.EnsureTenant(ctx, engine.Credentials{UserID: "u", Token: "token"})
		if err != nil || created || w.engine.Tenants() != 1 {
			t.Errorf("created %t, %d tenants, error %v", created, w.engine.Tenants(), err)
		}
		if who := w.authenticate("token"); who.ID != w.caller.ID || !who.Operator() {
			t.Errorf("%+v", who)
		}
	})
}
