package receiver

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestStandardWebhookVector is the vector that the libraries of Standard Webhooks
// test themselves with.
func TestStandardWebhookVector(t *testing.T) {
	secret, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	const input = `msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}`
	if got := rawKey(string(secret)).webhookSignature([]byte(input)); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signature %s", got)
	}
}

func TestSignStandardWebhook(t *testing.T) {
	s := newEd25519Signer(t, 1)
	h := http.Header{}
	err := SignStandardWebhook(h, StandardWebhookOptions{ID: "msg_1", Body: hookBody, Time: instant, Keys: []string{currentKey, nextKey}, Ed25519: s})
	if err != nil {
		t.Fatal(err)
	}
	if h.Get("webhook-id") != "msg_1" || h.Get("webhook-timestamp") != "1767225600" || len(h) != 3 {
		t.Errorf("header %v", h)
	}
	input := "msg_1.1767225600." + string(hookBody)
	signatures := strings.Split(h.Get("webhook-signature"), " ")
	if len(signatures) != 3 {
		t.Fatalf("signatures %q", signatures)
	}
	for i, key := range []string{currentKey, nextKey} {
		want, err := base64.RawURLEncoding.DecodeString(macOf(key, input))
		if err != nil || signatures[i] != "v1,"+base64.StdEncoding.EncodeToString(want) {
			t.Errorf("signature %s by %s, error %v", signatures[i], key, err)
		}
	}
	encoded, isV1a := strings.CutPrefix(signatures[2], "v1a,")
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !isV1a || !ed25519.Verify(s.PublicKey(), []byte(input), signature) {
		t.Errorf("signature %s, error %v", signatures[2], err)
	}
	if got, want := StandardWebhookSecret(currentKey), "whsec_"+base64.StdEncoding.EncodeToString([]byte(currentKey)); got != want {
		t.Errorf("secret %s, want %s", got, want)
	}
}

func TestSignStandardWebhookRefuses(t *testing.T) {
	keys := []string{currentKey}
	for name, o := range map[string]StandardWebhookOptions{
		"no id":         {Keys: keys},
		"id with a dot": {ID: "msg.1", Keys: keys},
		"id of lines":   {ID: "msg_1\r\nX: y", Keys: keys},
		"id with space": {ID: "msg 1", Keys: keys},
		"no key":        {ID: "msg_1"},
		"short key":     {ID: "msg_1", Keys: []string{currentKey, "short"}},
		"empty key":     {ID: "msg_1", Keys: []string{""}},
	} {
		h := http.Header{}
		if err := SignStandardWebhook(h, o); err == nil || len(h) > 0 || strings.Contains(err.Error(), currentKey) {
			t.Errorf("%s: header %v, error %v", name, h, err)
		}
	}
	h := http.Header{}
	if err := SignStandardWebhook(h, StandardWebhookOptions{ID: "msg_1", Ed25519: newEd25519Signer(t, 1)}); err != nil {
		t.Error(err)
	}
	at := h.Get(WebhookTimestampHeader)
	if now := time.Now().Unix(); !strings.HasPrefix(at, "1") && now > 0 || len(at) != 10 {
		t.Errorf("timestamp %s", at)
	}
}
