package receiver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// KeysHeader is the response header in which a receiver says which keys it
// holds, by their ids, so that a server can tell before a rotation whether it
// would be refused after it:
//
//	Upstash-Signature-Keys: verified=3f0c…; current=3f0c…; next=91ab…
//
// verified is the key that this request was signed with; next is left out where
// there is none. Only requests that were verified are answered with it.
const KeysHeader = "Upstash-Signature-Keys"

// KeyID names a signing key without telling it: 12 hexadecimal digits of an
// HMAC-SHA-256 under the key.
func KeyID(key string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("signing key id"))
	return hex.EncodeToString(mac.Sum(nil)[:6])
}
