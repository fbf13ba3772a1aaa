package receiver

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of Standard Webhooks (https://www.standardwebhooks.com), which
// libraries of many languages verify.
const (
	WebhookIDHeader        = "Webhook-Id"
	WebhookTimestampHeader = "Webhook-Timestamp"
	WebhookSignatureHeader = "Webhook-Signature"
)

// StandardWebhookOptions say what the headers of a Standard Webhook vouch for. Unlike a
// token they cover neither URL nor control headers.
type StandardWebhookOptions struct {
	ID   string    // webhook-id: of the message, the same in each attempt; required, printable, without '.'
	Body []byte    // the body's bytes. Default: empty
	Time time.Time // when it is sent. Default: now

	// Keys are signing keys: each makes a signature of version v1, and the
	// receiver has to know one of them, in the form that StandardWebhookSecret gives it.
	Keys []string

	// Ed25519 makes a signature of version v1a. Default: there is none.
	Ed25519 *Ed25519Signer
}

// SignStandardWebhook sets the three headers of a Standard Webhook in h. It fails on an
// ID that is not one, without anything to sign with, and on a key that no
// [Receiver] would take.
func SignStandardWebhook(h http.Header, o StandardWebhookOptions) error {
	switch {
	case o.ID == "" || strings.Contains(o.ID, ".") || strings.ContainsFunc(o.ID, notKeyRune):
		return errors.New("sign webhook: the id is empty, or has a '.' or something unprintable in it")
	case len(o.Keys) == 0 && o.Ed25519 == nil:
		return errors.New("sign webhook: no key")
	}
	if o.Time.IsZero() {
		o.Time = time.Now()
	}
	stamp := strconv.FormatInt(o.Time.Unix(), 10)
	input := append([]byte(o.ID+"."+stamp+"."), o.Body...)
	var signatures []string
	for _, secret := range o.Keys {
		k, err := newKey(secret)
		if err != nil {
			return fmt.Errorf("sign webhook: %w", err)
		}
		signatures = append(signatures, k.webhookSignature(input))
	}
	if o.Ed25519 != nil {
		signature := o.Ed25519.key.sign(input)
		signatures = append(signatures, "v1a,"+base64.StdEncoding.EncodeToString(signature))
	}
	h.Set(WebhookIDHeader, o.ID)
	h.Set(WebhookTimestampHeader, stamp)
	h.Set(WebhookSignatureHeader, strings.Join(signatures, " "))
	return nil
}

func (k *key) webhookSignature(input []byte) string {
	st := k.acquire()
	defer k.release(st)
	return "v1," + base64.StdEncoding.EncodeToString(st.sign(input))
}

// StandardWebhookSecret is a signing key in the form that libraries for Standard
// Webhooks take: "whsec_" and the base64 of its bytes. It is as secret as the key.
func StandardWebhookSecret(key string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(key))
}
