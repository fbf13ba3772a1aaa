package receiver

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
)

// A Kind says what a signed request is about. It is a claim of the token, which
// nobody on the way can change, whereas headers are only as good as the claim
// that covers them.
type Kind string

// The kinds of requests a server makes. A token of a server that does not know
// kinds has none.
const (
	KindMessage  Kind = "message"  // a message as it was published
	KindCallback Kind = "callback" // the outcome of an attempt: of a message, or of a run's call
	KindFailure  Kind = "failure"  // a message or a run that has failed for good
	KindStep     Kind = "step"     // a run's log, for its endpoint to carry on
	KindCall     Kind = "call"     // a run's request to a third party
	KindCheck    Kind = "check"    // a question whether a workflow's function fits a run's log; nothing is executed
	KindProbe    Kind = "probe"    // a question for the keys the receiver holds; nothing is to be done
)

const controlPrefix = "Upstash-"

// headerHash is the claim hdr: base64url of the SHA-256 over the control headers,
// which are all whose name begins with "Upstash-", but the signatures. Each is
// one line, "name:value\n", the name in lower case, several values joined by
// ", " as intermediaries may join them, white space at the ends of each dropped;
// the lines are sorted.
func headerHash(h http.Header) string {
	// Both buffers, and the places of the lines in the first, mostly fit the stack.
	text, sorted := make([]byte, 0, 1024), make([]byte, 0, 1024)
	lines := make([][2]int, 0, 32)
	for name, values := range h {
		if !strings.HasPrefix(name, controlPrefix) || name == Header || name == Ed25519Header || len(values) == 0 {
			continue
		}
		start := len(text)
		text = append(appendLower(text, name), ':')
		for i, v := range values {
			if i > 0 {
				text = append(text, ", "...)
			}
			text = append(text, strings.Trim(v, " \t")...)
		}
		text = append(text, '\n')
		lines = append(lines, [2]int{start, len(text)})
	}
	slices.SortFunc(lines, func(a, b [2]int) int { return bytes.Compare(text[a[0]:a[1]], text[b[0]:b[1]]) })
	for _, line := range lines {
		sorted = append(sorted, text[line[0]:line[1]]...)
	}
	sum := sha256.Sum256(sorted)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// matchHeader checks the control headers against the claim that covers them. A
// token without the claim comes from a server that does not make it: the claim
// is its own advertisement, which nobody can take off.
func matchHeader(require bool, c Claims, h http.Header) error {
	switch {
	case c.HeaderHash == "" && require:
		return &VerifyError{Err: ErrHeaderMismatch, Field: "hdr", Reason: "the token covers no headers, and Options.RequireBinding is set"}
	case c.HeaderHash == "":
		return nil
	case h == nil && require:
		return &VerifyError{Err: ErrHeaderMismatch, Field: "hdr", Reason: "no headers were given to compare"}
	case h == nil:
		return nil
	}
	got := headerHash(h)
	if subtle.ConstantTimeCompare([]byte(c.HeaderHash), []byte(got)) == 1 {
		return nil
	}
	return &VerifyError{Err: ErrHeaderMismatch, Field: "hdr", Expected: clip(c.HeaderHash), Got: got,
		Reason: "the Upstash-* headers that came are not those that were signed"}
}
