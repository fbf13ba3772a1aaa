package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
)

// guarded is a destination behind a receiver as users make it.
type guarded struct {
	*httptest.Server
	mu       sync.Mutex
	accepted []http.Header
	refused  []string
}

func newGuarded(t *testing.T, o receiver.Options) *guarded {
	t.Helper()
	o.Development = true
	g := &guarded{}
	o.OnRefusal = func(_ *http.Request, err error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.refused = append(g.refused, err.Error())
	}
	rc, err := receiver.New(o)
	if err != nil {
		t.Fatal(err)
	}
	g.Server = httptest.NewServer(rc.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.accepted = append(g.accepted, r.Header)
	})))
	t.Cleanup(g.Close)
	return g
}

// seen are the headers of what was accepted, and why the rest was refused.
func (g *guarded) seen() (accepted []http.Header, refused string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.accepted, strings.Join(g.refused, "; ")
}

// A receiver without any secret accepts what the tenant whose public keys it
// fetches has signed, across rotations; nothing of another tenant's.
func TestPublicKeysVerifyDeliveries(t *testing.T) {
	w := newWorld(t)
	set, err := receiver.NewKeySet(w.url+"/.well-known/jwks.json?user=defaultUser", nil)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuarded(t, receiver.Options{KeySet: set, RequireBinding: true})
	w.do("PATCH", "/v2/settings", `{"signWith":["ed25519"]}`).into(200, &client.Settings{})
	const rotations = 2 // more need a new set, which is fetched once in ten seconds
	for i := range rotations {
		w.await(w.publish(g.URL, "x"), client.EventDelivered)
		status := get[client.KeyStatus](w, "/v2/keys/status")
		if ep := status.Endpoints[0]; ep.LastVerifiedKey != status.CurrentPublic {
			t.Errorf("verified with %s, not the current key: %+v", ep.LastVerifiedKey, status)
		} else if ready := ep.State == client.EndpointReady; ready != (i == 0) {
			t.Errorf("after %d rotations it is %s", i, ep.State)
		}
		if i < rotations-1 {
			w.do("POST", "/v2/keys/rotate", "").into(200, &client.SigningKeys{})
		}
	}
	if _, refused := g.seen(); refused != "" {
		t.Errorf("refused: %s", refused)
	}

	other := w.as(signpost.DevUsers[1])
	other.await(other.publish(g.URL, "x", "Upstash-Sign-With: ed25519", "Upstash-Retries: 0"), client.EventFailed)
	w.do("PATCH", "/v2/settings", `{"signWith":[]}`).into(200, &client.Settings{})
	w.await(w.publish(g.URL, "x", "Upstash-Retries: 0"), client.EventFailed)
	if accepted, _ := g.seen(); len(accepted) != rotations {
		t.Errorf("%d deliveries were accepted, want %d", len(accepted), rotations)
	}
}

// A message asks for more signatures for itself, a callback for its own.
func TestSignaturesOnRequest(t *testing.T) {
	w := newWorld(t)
	keys := get[client.SigningKeys](w, "/v2/keys")
	o := receiver.Options{CurrentSigningKey: keys.Current, RequireBinding: true}
	g, cb := newGuarded(t, o), newGuarded(t, o)
	w.await(w.publish(g.URL, "plain"), client.EventDelivered)
	w.await(w.publish(g.URL, "more", "Upstash-Sign-With: standard-webhooks, ed25519",
		"Upstash-Callback: "+cb.URL, "Upstash-Callback-Sign-With: ed25519"), client.EventDelivered)
	w.until("the callback came", func() bool { accepted, _ := cb.seen(); return len(accepted) > 0 })
	accepted, _ := g.seen()
	called, _ := cb.seen()
	names := func(h http.Header) (names string) {
		for _, name := range []string{receiver.Ed25519Header, receiver.WebhookSignatureHeader} {
			if h.Get(name) != "" {
				names += " " + name
			}
		}
		return names
	}
	got := []string{names(accepted[0]), names(accepted[1]), names(called[0])}
	equal(t, "signatures", got, []string{"", " Upstash-Signature-Ed25519 Webhook-Signature", " Upstash-Signature-Ed25519"})
	if id := accepted[1].Get(receiver.WebhookIDHeader); !strings.HasPrefix(id, "msg_") || id != accepted[1].Get("Upstash-Message-Id") {
		t.Errorf("webhook-id %q", id)
	}
}

// What one tenant's endpoints tell, and its settings, are nobody else's.
func TestKeyStatusAndSettingsAreATenantsOwn(t *testing.T) {
	w := newWorld(t)
	keys := get[client.SigningKeys](w, "/v2/keys")
	g := newGuarded(t, receiver.Options{CurrentSigningKey: keys.Current}) // without the next key
	w.await(w.publish(g.URL, "x"), client.EventDelivered)
	w.do("PATCH", "/v2/settings", `{"signCalls":"never"}`).into(200, &client.Settings{})
	other := w.as(signpost.DevUsers[1])
	if status := get[client.KeyStatus](other, "/v2/keys/status"); len(status.Endpoints) > 0 {
		t.Errorf("another tenant sees %+v", status.Endpoints)
	}
	if s := get[client.Settings](other, "/v2/settings"); s.SignCalls != "always" {
		t.Errorf("another tenant's settings are %+v", s)
	}
	other.do("POST", "/v2/keys/rotate", "").into(200, &client.SigningKeys{})
	w.do("POST", "/v2/keys/rotate", "").refused(409, g.URL)
}
