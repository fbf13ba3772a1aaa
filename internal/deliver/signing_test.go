package deliver

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
)

var seed = bytes.Repeat([]byte{7}, 32)

// signedWith is an attempt with these signatures beside the standard one.
func signedWith(names ...string) func(*engine.Attempt) {
	return func(a *engine.Attempt) {
		a.SignWith, a.Seed, a.NextKey, a.Body = names, seed, nextKey, []byte("körper")
		a.Header.Set(wire.HeaderMessageID, "msg_1")
	}
}

// send makes an attempt and returns the request as it arrived.
func send(t *testing.T, change ...func(*engine.Attempt)) (url string, h http.Header) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { h = r.Header }))
	defer server.Close()
	if o := newLocal(t).Deliver(t.Context(), attempt(server.URL+"/x", change...)); o.Status != 200 {
		t.Fatalf("got %+v", o)
	}
	return server.URL + "/x", h
}

// verify checks a request with one kind of key.
func verify(t *testing.T, url string, h http.Header, signature string, o receiver.Options) receiver.Claims {
	t.Helper()
	o.RequireBinding = true
	rc, err := receiver.New(o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := rc.Verify(receiver.Request{Signature: h.Get(signature), URL: url, Header: h, Body: []byte("körper")})
	if err != nil {
		t.Errorf("%s: %v", signature, err)
	}
	return c
}

// Each kind of signature is there when it is asked for, and none else; each
// token covers the control headers, whatever other signatures there are.
func TestSignatureKinds(t *testing.T) {
	all := []string{wire.HeaderSignature, wire.HeaderSignatureEd25519, receiver.WebhookIDHeader, receiver.WebhookTimestampHeader, receiver.WebhookSignatureHeader}
	for name, tt := range map[string]struct {
		change func(*engine.Attempt)
		want   []string
	}{
		"standard":          {signedWith(), all[:1]},
		"ed25519":           {signedWith(wire.SignEd25519), all[:2]},
		"standard webhooks": {signedWith(wire.SignStandardWebhooks), append(all[:1:1], all[2:]...)},
		"all":               {signedWith(wire.SignEd25519, wire.SignStandardWebhooks), all},
		"unsigned": {func(a *engine.Attempt) {
			signedWith(wire.SignEd25519, wire.SignStandardWebhooks)(a)
			a.Unsigned = true
		}, nil},
	} {
		url, h := send(t, tt.change)
		var got []string
		for _, header := range all {
			if h.Get(header) != "" {
				got = append(got, header)
			}
		}
		if strings.Join(got, " ") != strings.Join(tt.want, " ") {
			t.Errorf("%s: signatures %v, want %v", name, got, tt.want)
		}
		if len(tt.want) == 0 {
			continue
		}
		shared := verify(t, url, h, wire.HeaderSignature, receiver.Options{CurrentSigningKey: currentKey})
		if h.Get(wire.HeaderSignatureEd25519) == "" {
			continue
		}
		public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
		if c := verify(t, url, h, wire.HeaderSignatureEd25519, receiver.Options{PublicKeys: []ed25519.PublicKey{public}}); c.ID != shared.ID {
			t.Errorf("%s: tokens of one request have the ids %q and %q", name, c.ID, shared.ID)
		}
	}
}

// Webhook signatures are made with both keys, so that a receiver that holds
// either accepts them.
func TestStandardWebhookSignatures(t *testing.T) {
	_, h := send(t, signedWith(wire.SignEd25519, wire.SignStandardWebhooks))
	signed := h.Get(receiver.WebhookIDHeader) + "." + h.Get(receiver.WebhookTimestampHeader) + ".körper"
	if h.Get(receiver.WebhookIDHeader) != "msg_1" {
		t.Errorf("id %q", h.Get(receiver.WebhookIDHeader))
	}
	signatures := strings.Split(h.Get(receiver.WebhookSignatureHeader), " ")
	if len(signatures) != 3 {
		t.Fatalf("signatures %q", signatures)
	}
	for i, key := range []string{currentKey, nextKey} {
		secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(receiver.StandardWebhookSecret(key), "whsec_"))
		if err != nil {
			t.Fatal(err)
		}
		mac := hmac.New(sha256.New, secret)
		io.WriteString(mac, signed)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); signatures[i] != want {
			t.Errorf("signature %d is %s, want %s", i, signatures[i], want)
		}
	}
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	text, isV1a := strings.CutPrefix(signatures[2], "v1a,")
	if raw, err := base64.StdEncoding.DecodeString(text); err != nil || !isV1a || !ed25519.Verify(public, []byte(signed), raw) {
		t.Errorf("signature %s does not verify", signatures[2])
	}
	if _, h := send(t, signedWith(wire.SignStandardWebhooks), func(a *engine.Attempt) { a.NextKey = "" }); strings.Contains(h.Get(receiver.WebhookSignatureHeader), " ") {
		t.Errorf("without a next key: %s", h.Get(receiver.WebhookSignatureHeader))
	}
}

// A signature that cannot be made keeps the request from being sent.
func TestCannotSign(t *testing.T) {
	d := newLocal(t)
	for name, change := range map[string]func(*engine.Attempt){
		"no key":  func(a *engine.Attempt) { a.SigningKey = "" },
		"no seed": func(a *engine.Attempt) { signedWith(wire.SignEd25519)(a); a.Seed = nil },
		"no id":   func(a *engine.Attempt) { signedWith(wire.SignStandardWebhooks)(a); a.Header.Del(wire.HeaderMessageID) },
	} {
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Errorf("%s: sent", name) }))
		if o := d.Deliver(t.Context(), attempt(server.URL, change)); o.Status != 0 || !strings.HasPrefix(o.Error, "sign: ") {
			t.Errorf("%s: %+v", name, o)
		}
		server.Close()
	}
}

// Probes sign with keys of nobody, each once: keeping them would be a leak.
func TestProbeKeysAreNotKept(t *testing.T) {
	d := newLocal(t)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	for _, kind := range []engine.Kind{engine.KindPlain, engine.KindProbe} {
		d.Deliver(t.Context(), attempt(server.URL, signedWith(wire.SignEd25519), func(a *engine.Attempt) {
			a.Kind = kind
			if kind == engine.KindProbe {
				a.SigningKey, a.Seed = "sig_of_nobody_0123456789", bytes.Repeat([]byte{9}, 32)
			}
		}))
	}
	kept := 0
	count := func(any, any) bool { kept++; return true }
	d.signers.secret.Range(count)
	d.signers.public.Range(count)
	if kept != 2 {
		t.Errorf("%d keys are kept, want 2", kept)
	}
}

// What is told of keys names them as receivers do, and tells nothing secret.
func TestKeyNames(t *testing.T) {
	d := newLocal(t)
	if d.KeyID(currentKey) != receiver.KeyID(currentKey) || wire.HeaderSignatureKeys != receiver.KeysHeader {
		t.Error("receivers name keys otherwise")
	}
	if d.SeedID(nil) != "" {
		t.Error("no seed has a name")
	}
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	other := bytes.Repeat([]byte{8}, 32)
	text := d.JWKS(seed, nil, other)
	if err := json.Unmarshal(text, &set); err != nil || len(set.Keys) != 2 {
		t.Fatalf("%s: %v", text, err)
	}
	for i, s := range [][]byte{seed, other} {
		k := set.Keys[i]
		public := ed25519.NewKeyFromSeed(s).Public().(ed25519.PublicKey)
		if k["kid"] != d.SeedID(s) || k["x"] != base64.RawURLEncoding.EncodeToString(public) || k["d"] != "" {
			t.Errorf("key %d is %v", i, k)
		}
	}
}
