package wire

import (
	"slices"
	"strings"
)

// KeyEcho is what a receiver says, in the Upstash-Signature-Keys header of its
// answer, of the signing keys it holds. Keys are named by their ids.
type KeyEcho struct {
	Verified string // the key that the request was signed with
	text     string
}

const (
	maxKeyEcho = 2 << 10
	maxKeyID   = 64
)

// ParseKeyEcho reads the values of an Upstash-Signature-Keys header, such as
//
//	verified=3f0c61a2b7d4; current=3f0c61a2b7d4; next=91ab00ff13c2
//
// Receivers with public keys list them as "held", once each. Other names are
// skipped, for receivers may come to say more, but have to look alike. It says no to what is not of that
// form, to one that says not which key verified, or says it of two, and to more
// than one header: some of that would be a guess. It allocates nothing; ids are
// parts of the value.
func ParseKeyEcho(values []string) (KeyEcho, bool) {
	if len(values) != 1 || len(values[0]) > maxKeyEcho {
		return KeyEcho{}, false
	}
	e := KeyEcho{text: values[0]}
	for part := range strings.SplitSeq(e.text, ";") {
		name, id := keyEchoPart(part)
		if !isName(name) || !isKeyID(id) || name == "verified" && e.Verified != "" {
			return KeyEcho{}, false
		}
		if name == "verified" {
			e.Verified = id
		}
	}
	if e.Verified == "" {
		return KeyEcho{}, false
	}
	return e, true
}

func keyEchoPart(part string) (name, id string) {
	name, id, _ = strings.Cut(strings.Trim(part, " \t"), "=")
	return name, id
}

// NewKeyEcho is what a receiver would say that has verified a request with one
// key, and holds these.
func NewKeyEcho(verified string, held ...string) KeyEcho {
	text := "verified=" + verified
	for _, id := range held {
		text += "; held=" + id
	}
	return KeyEcho{Verified: verified, text: text}
}

// String is the echo as it came.
func (e KeyEcho) String() string { return e.text }

// Held are the keys that the receiver accepts, each once, in its order.
func (e KeyEcho) Held() []string {
	var held []string
	for part := range strings.SplitSeq(e.text, ";") {
		if name, id := keyEchoPart(part); holding(name) && name != "verified" && !slices.Contains(held, id) {
			held = append(held, id)
		}
	}
	if e.Verified != "" && !slices.Contains(held, e.Verified) {
		held = append(held, e.Verified)
	}
	return held
}

// Holds says whether the receiver accepts what the key of this id signs.
func (e KeyEcho) Holds(id string) bool {
	for part := range strings.SplitSeq(e.text, ";") {
		if name, held := keyEchoPart(part); holding(name) && held == id {
			return id != ""
		}
	}
	return false
}

// holding says whether an echo's part names a key that is held. One that has
// verified a request is.
func holding(name string) bool {
	return name == "verified" || name == "current" || name == "next" || name == "held"
}

// isKeyID is wide enough for the ids of secrets and for the thumbprints of
// public keys.
func isKeyID(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i]) {
			return false
		}
	}
	return s != "" && len(s) <= maxKeyID
}
