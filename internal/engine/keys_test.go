package engine_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// KeyID, SeedID and JWKS implement engine.KeyNamer.
func (w *world) KeyID(key string) string     { return "id-" + key[len(key)-8:] }
func (w *world) SeedID(seed []byte) string   { return fmt.Sprintf("kid-%x", seed[:4]) }
func (w *world) JWKS(seeds ...[]byte) []byte { return fmt.Appendf(nil, "%d", len(seeds)) }
func (w *world) status() engine.KeyStatus    { return w.engine.KeyStatus(w.now()) }
func (w *world) rotate(force bool) error {
	_, _, err := w.engine.RotateKeys(context.Background(), w.caller, force)
	return err
}

// now is the caller with the keys of now.
func (w *world) now() *engine.Caller {
	w.t.Helper()
	c, err := w.engine.Authenticate(context.Background(), "token")
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// holding answers as a receiver that holds these keys: with an echo to what it
// can verify, with a refusal to the rest.
func (w *world) holding(current, next string) func(engine.Attempt) engine.Outcome {
	return func(a engine.Attempt) engine.Outcome {
		if a.SigningKey != current && a.SigningKey != next || a.SigningKey == "" {
			return engine.Outcome{Status: 401}
		}
		return w.echo(200, a.SigningKey, current, next)
	}
}

func (w *world) echo(code int, verified, current, next string) engine.Outcome {
	text := "verified=" + w.KeyID(verified) + "; current=" + w.KeyID(current)
	if next != "" {
		text += "; next=" + w.KeyID(next)
	}
	return engine.Outcome{Status: code, Header: http.Header{wire.HeaderSignatureKeys: {text}}}
}

// deliver publishes n messages and waits until they are delivered.
func (w *world) deliver(url string, n int) {
	w.t.Helper()
	for range n {
		w.publish(engine.Publish{Destination: url})
		time.Sleep(100 * time.Millisecond)
	}
}

func (w *world) expectState(url string, want engine.EndpointState) engine.EndpointStatus {
	w.t.Helper()
	for _, ep := range w.status().Endpoints {
		if ep.URL == url {
			if ep.State != want {
				w.t.Errorf("%s is %s, want %s: %+v", url, ep.State, want, ep.Endpoint)
			}
			return ep
		}
	}
	w.t.Errorf("%s is not in the status", url)
	return engine.EndpointStatus{}
}

const hook = "https://example.com/hook"

// A rotation goes through while receivers hold the next key, and is refused,
// with a list of those that do not, while one is known to lag.
func TestT03RotationIsRefusedWhileReceiversLag(t *testing.T) {
	inBubble(t, func(w *world) {
		a, b := w.tenant.CurrentKey, w.tenant.NextKey
		w.respond(w.holding(a, b))
		w.deliver(hook+"?id=1", 1)
		ep := w.expectState(hook, engine.EndpointReady)
		if ep.VerifiedKey != w.KeyID(a) || time.Since(time.UnixMilli(ep.VerifiedAt)) > time.Second {
			t.Errorf("last verified with %s at %v", ep.VerifiedKey, time.UnixMilli(ep.VerifiedAt))
		}
		if err := w.rotate(false); err != nil {
			t.Fatal(err)
		}
		// Nothing has been delivered since: the receiver can't have the new key.
		_, lagging, err := w.engine.RotateKeys(context.Background(), w.caller, false)
		if engine.ErrorCode(err) != engine.Conflict || !strings.Contains(err.Error(), hook) {
			t.Errorf("a second rotation: %v", err)
		}
		if len(lagging) != 1 || lagging[0].URL != hook || lagging[0].State != engine.EndpointLagging {
			t.Errorf("lagging: %+v", lagging)
		}
		c := w.now().NextKey
		w.deliver(hook, 20)
		w.expectState(hook, engine.EndpointLagging)

		w.respond(w.holding(b, c))
		w.deliver(hook, 7)
		w.expectState(hook, engine.EndpointLagging)
		w.deliver(hook, 1)
		w.expectState(hook, engine.EndpointReady)
		if err := w.rotate(false); err != nil {
			t.Fatal(err)
		}
		if err := w.rotate(true); err != nil {
			t.Errorf("forced: %v", err)
		}
		for _, attempt := range w.made() {
			if attempt.SigningKey == c {
				t.Error("signed with a key before its time")
			}
		}
	})
}

// Behind one URL some instances may have the next key and others not: the
// endpoint is ready once none without it has answered for a while.
func TestT03EndpointOfManyInstances(t *testing.T) {
	inBubble(t, func(w *world) {
		a, b := w.tenant.CurrentKey, w.tenant.NextKey
		moved := w.holding(a, b)
		lagging := func(engine.Attempt) engine.Outcome { return w.echo(200, a, a, "") }
		n := 0
		w.respond(func(at engine.Attempt) engine.Outcome {
			if n++; n%4 == 0 {
				return lagging(at)
			}
			return moved(at)
		})
		w.deliver(hook, 43)
		w.expectState(hook, engine.EndpointLagging)
		w.respond(moved)
		time.Sleep(time.Minute)
		w.expectState(hook, engine.EndpointReady) // seldom called: none has lacked it for a minute
		w.respond(lagging)
		w.deliver(hook, 1)
		w.expectState(hook, engine.EndpointLagging)
		time.Sleep(time.Hour)
		w.expectState(hook, engine.EndpointLagging) // time alone proves nothing
	})
}

// Only who holds a key can say so, and only of requests that were signed for
// him: neither strangers nor stale answers hold up a rotation.
func TestT03EchoesThatDoNotCount(t *testing.T) {
	inBubble(t, func(w *world) {
		a, b := w.tenant.CurrentKey, w.tenant.NextKey
		for name, answer := range map[string]engine.Outcome{
			"none":            {Status: 200},
			"another key's":   w.echo(200, b, a, ""),
			"a stranger's":    w.echo(200, "sig_unknown_unknown", "sig_unknown_unknown", ""),
			"not understood":  {Status: 200, Header: http.Header{wire.HeaderSignatureKeys: {"?"}}},
			"two of them":     {Status: 200, Header: http.Header{wire.HeaderSignatureKeys: {"verified=" + w.KeyID(a), "verified=" + w.KeyID(a)}}},
			"with no answer":  {Status: 0, Error: "refused", Header: w.echo(200, a, a, "").Header},
			"of another case": {Status: 200, Header: http.Header{"upstash-signature-keys": {"verified=" + w.KeyID(a)}}},
		} {
			w.respond(func(engine.Attempt) engine.Outcome { return answer })
			url := "https://example.com/" + strings.ReplaceAll(name, " ", "-")
			w.publish(engine.Publish{Destination: url, Config: wire.Config{Retries: new(0)}})
			time.Sleep(time.Second)
			if answer.Status != 0 {
				w.expectState(url, engine.EndpointUnknown)
			}
		}
		if err := w.rotate(false); err != nil {
			t.Error(err)
		}
	})
}

// An answer that is no success tells as well which keys are held.
func TestEchoOfAFailedAttempt(t *testing.T) {
	inBubble(t, func(w *world) {
		w.respond(func(a engine.Attempt) engine.Outcome {
			return w.echo(500, a.SigningKey, a.SigningKey, w.tenant.NextKey)
		})
		w.deliver(hook, 1)
		w.expectState(hook, engine.EndpointReady)
	})
}

// Whoever verifies with public keys needs the next of those.
func TestT03RotationWithPublicKeys(t *testing.T) {
	inBubble(t, func(w *world) {
		current, next := w.SeedID(w.tenant.Secrets.CurrentSeed), w.SeedID(w.tenant.Secrets.NextSeed)
		answer := func(held string) func(engine.Attempt) engine.Outcome {
			return func(a engine.Attempt) engine.Outcome {
				verified := w.SeedID(a.Seed)
				return engine.Outcome{Status: 200, Header: http.Header{wire.HeaderSignatureKeys: {"verified=" + verified + held}}}
			}
		}
		w.respond(answer("; held=" + current + "; held=" + next))
		w.deliver(hook, 1)
		w.expectState(hook, engine.EndpointUnknown) // it was sent no such signature
		w.publish(engine.Publish{Destination: hook, Config: wire.Config{SignWith: []string{wire.SignEd25519}}})
		time.Sleep(time.Second)
		w.expectState(hook, engine.EndpointReady)
		if s := w.status(); s.CurrentPublic != current || s.NextPublic != next {
			t.Errorf("status %+v", s)
		}
		if err := w.rotate(false); err != nil {
			t.Fatal(err)
		}
		if s := w.status(); s.CurrentPublic != next || s.NextPublic == current {
			t.Errorf("after a rotation: %+v", s)
		}
		if err := w.rotate(false); engine.ErrorCode(err) != engine.Conflict {
			t.Errorf("a second rotation: %v", err)
		}
	})
}

// What is known outlives the process, and is forgotten when nothing is heard
// of an endpoint: after a week it holds up no rotation, after a month it is gone.
func TestEndpointsAreRemembered(t *testing.T) {
	inBubble(t, func(w *world) {
		w.respond(w.holding(w.tenant.CurrentKey, ""))
		w.deliver("https://user:secret@example.com/hook?token=x#f", 1)
		before := w.expectState(hook, engine.EndpointLagging)
		w.stop()
		w.start()
		if after := w.expectState(hook, engine.EndpointLagging); after != before {
			t.Errorf("after a restart: %+v, before %+v", after, before)
		}
		if err := w.rotate(false); engine.ErrorCode(err) != engine.Conflict {
			t.Errorf("rotation: %v", err)
		}
		away := func(days time.Duration) { // all but the last of them
			w.stop()
			time.Sleep((days - 1) * 24 * time.Hour)
			w.start()
			time.Sleep(24 * time.Hour)
		}
		away(8)
		if err := w.rotate(false); err != nil {
			t.Errorf("after a week: %v", err)
		}
		w.expectState(hook, engine.EndpointLagging)
		away(23)
		if all := w.status().Endpoints; len(all) > 0 {
			t.Errorf("after a month: %+v", all)
		}
		w.stop()
		w.start()
		if all := w.status().Endpoints; len(all) > 0 {
			t.Errorf("after a month and a restart: %+v", all)
		}
	})
}

// Two rotations at once cannot both go through when one makes endpoints lag.
func TestT03RotationsTogether(t *testing.T) {
	inBubble(t, func(w *world) {
		w.respond(w.holding(w.tenant.CurrentKey, w.tenant.NextKey))
		w.deliver(hook, 1)
		next := w.tenant.NextKey
		errs := make(chan error)
		for range 4 {
			go func() { errs <- w.rotate(false) }()
		}
		var codes []engine.Code
		for range 4 {
			if err := <-errs; err != nil {
				codes = append(codes, engine.ErrorCode(err))
			}
		}
		if !slices.Equal(codes, []engine.Code{engine.Conflict, engine.Conflict, engine.Conflict}) {
			t.Errorf("got %v", codes)
		}
		if now := w.now().CurrentKey; now != next {
			t.Errorf("current is %s, want %s", now, next)
		}
	})
}

// Retries that span two rotations are each signed with the key of their time,
// so that a receiver that has moved twice accepts them.
func TestT03RetriesSpanRotations(t *testing.T) {
	inBubble(t, func(w *world) {
		keys := []string{w.tenant.CurrentKey, w.tenant.NextKey}
		w.respond(status(500))
		w.publish(engine.Publish{Destination: hook, Config: wire.Config{Retries: new(2), RetryDelay: "60000"}})
		for range 2 {
			time.Sleep(50 * time.Second)
			if err := w.rotate(false); err != nil {
				t.Fatal(err)
			}
			keys = append(keys, w.now().NextKey)
			if len(keys) == 4 {
				w.respond(w.holding(keys[2], keys[3]))
			}
			time.Sleep(11 * time.Second)
		}
		time.Sleep(time.Second)
		var signed []string
		for _, attempt := range w.made() {
			signed = append(signed, attempt.SigningKey)
		}
		if !slices.Equal(signed, keys[:3]) {
			t.Errorf("signed with %v, want %v", signed, keys[:3])
		}
	})
}

// A third party that calls lead to is no endpoint of ours, unless it verifies.
func TestThirdPartiesAreNoEndpoints(t *testing.T) {
	inBubble(t, func(w *world) {
		w.callSomewhere("https://stranger.example/x")
		for _, ep := range w.status().Endpoints {
			if ep.URL != workflowURL {
				t.Errorf("status has %s", ep.URL)
			}
		}
		w.respond(w.holding(w.tenant.CurrentKey, ""))
		w.callSomewhere("https://own.example/x")
		w.expectState("https://own.example/x", engine.EndpointLagging)
	})
}

// One tenant's public keys are nobody else's.
func TestJWKS(t *testing.T) {
	inBubble(t, func(w *world) {
		ask := func(token, user string) error {
			_, err := w.engine.JWKS(context.Background(), token, user)
			return err
		}
		first, err := w.engine.JWKS(context.Background(), "", "")
		if err != nil {
			t.Errorf("of the only tenant: %v", err)
		}
		cr := engine.NewCredentials()
		if _, err := w.engine.EnsureTenant(context.Background(), cr); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			token, user string
			want        engine.Code
		}{
			{"", "", ""}, {"", "nobody", engine.NotFound}, {"wrong", "", engine.Unauthorized},
			{"token", "", ""}, {"", cr.UserID, ""}, {"", "u", ""}, {cr.Token, "u", ""},
		} {
			if err := ask(tt.token, tt.user); err == nil && tt.want != "" || err != nil && engine.ErrorCode(err) != tt.want {
				t.Errorf("token %q, user %q: %v", tt.token, tt.user, err)
			}
		}
		// Who fetches them without a name goes on getting the same.
		if now, err := w.engine.JWKS(context.Background(), "", ""); err != nil || string(now) != string(first) {
			t.Errorf("of the first tenant: %v", err)
		}
	})
}

// Tenants of an older version get the secrets that they lack.
func TestMissingSecretsAreMade(t *testing.T) {
	inBubble(t, func(w *world) {
		err := w.store.Update(context.Background(), func(tx engine.Tx) error {
			row, err := tx.LockTenant(w.tenant.ID)
			if err != nil {
				return err
			}
			row.Secrets = engine.TenantSecrets{}
			return tx.UpdateTenant(row)
		})
		if err != nil {
			t.Fatal(err)
		}
		w.stop()
		w.start()
		made := w.now().Secrets
		if len(made.CurrentSeed) != 32 || len(made.NextSeed) != 32 || len(made.RedactKey) != 32 {
			t.Errorf("secrets %+v", made)
		}
		w.stop()
		w.start()
		if again := w.now().Secrets; string(again.CurrentSeed) != string(made.CurrentSeed) {
			t.Error("made again")
		}
	})
}
