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
// there is none. A receiver with public keys lists each of them, by kid, as
// "held=…" instead of current and next. Only requests of Signpost servers that were
// verified are answered with it.
const KeysHeader = "Upstash-Signature-Keys"

// KeyID names a signing key without telling it: 12 hexadecimal digits of an
// HMAC-SHA-256 under the key.
func KeyID(key string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("signing key id"))
	return hex.EncodeToString(mac.Sum(nil)[:6])
}

// Echo is the value of [KeysHeader] for the answer to a request that rc has
// verified, whose claims are c. [Receiver.Middleware] sets it; whoever calls
// [Receiver.Verify] may do so, whatever the answer is otherwise.
func (rc *Receiver) Echo(c Claims) string {
	echo := "verified=" + c.keyID
	if rc.public == nil {
		return echo + rc.shared.Load().held
	}
	for _, id := range rc.public.ids() {
		echo += "; held=" + id
	}
	return echo
}
