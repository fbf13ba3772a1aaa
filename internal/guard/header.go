package guard

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/signposthq/signpost/receiver"
)

const controlPrefix = "upstash-"

// misleading begin headers that a signature does not cover and that upstreams
// believe: what the guard says itself, and what frameworks take for the
// request's address instead of the one that was verified.
var misleading = []string{"signpost-", "x-forwarded-", "x-original-", "x-rewrite-"}

// scrub removes misleading headers, and imitations of control headers.
// Interfaces of the CGI family make one of "Upstash-Step" and "Upstash_Step", so
// a header with an odd sign in its name counts as the one with the hyphen; but
// as a control header it would not be covered.
func scrub(h http.Header) {
	for name := range h {
		folded := fold(name)
		imitation := strings.HasPrefix(folded, controlPrefix) && folded != strings.ToLower(name)
		if imitation || slices.ContainsFunc(misleading, func(prefix string) bool { return strings.HasPrefix(folded, prefix) }) {
			delete(h, name)
		}
	}
}

// fold is a header's name as the least exact of upstreams reads it.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		}
		return '-'
	}, name)
}

func isControl(name string) bool { return strings.HasPrefix(strings.ToLower(name), controlPrefix) }

// dropControl removes the control headers of a request that nobody has signed.
func dropControl(h http.Header) {
	for name := range h {
		if isControl(name) {
			delete(h, name)
		}
	}
}

// keepControl puts back the control headers that the request's Connection header
// has named: it is not signed, and could take off what is.
func keepControl(out, in http.Header) {
	for name, values := range in {
		if isControl(name) && fold(name) == strings.ToLower(name) {
			out[name] = values
		}
	}
}

// tell says what has been verified.
func tell(h http.Header, c receiver.Claims) {
	h.Set(VerifiedHeader, cmp.Or(headerValue(string(c.Kind)), "unknown"))
	h.Set(TokenIDHeader, headerValue(c.ID))
}

// headerValue keeps a claim from being more than a header's value.
func headerValue(claim string) string {
	if strings.ContainsFunc(claim, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return claim
}
