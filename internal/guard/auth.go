package guard

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/signposthq/signpost/receiver"
)

// serveAuth answers a web server's question whether the request it describes by
// headers may pass: 200, or 401 with the reason. The body is compared only if
// the query says body=1, for servers that send it along; otherwise the answer
// tells its hash.
func (g *Guard) serveAuth(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if !g.trusts(r.RemoteAddr) {
		g.refuse(w, r, urlError("the peer is not a trusted proxy: what it says about a request is not believed"))
		return
	}
	asked, err := original(r)
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	if g.unsigned(asked) {
		// Empty rather than absent: servers that copy the answer's headers
		// into the request may let an absent one through from outside.
		for _, name := range []string{VerifiedHeader, TokenIDHeader, BodyHashHeader} {
			w.Header().Set(name, "")
		}
		w.WriteHeader(http.StatusOK)
		return
	}
	claims, err := g.verify(asked, slices.Contains(r.URL.Query()["body"], "1"))
	if err != nil {
		g.refuse(w, asked, err)
		return
	}
	tell(w.Header(), claims)
	w.Header().Set(BodyHashHeader, bodySum(claims))
	if claims.Kind != "" {
		w.Header().Set(receiver.KeysHeader, g.receiver.Echo(claims))
	}
	w.WriteHeader(http.StatusOK)
}

// verify is all of the verification, or all but the body.
func (g *Guard) verify(r *http.Request, body bool) (claims receiver.Claims, err error) {
	if body {
		_, claims, err = g.receiver.VerifyRequest(r)
		return claims, err
	}
	claims, err = g.receiver.VerifyHead(r)
	if err == nil && bodySum(claims) == "" {
		err = &receiver.VerifyError{Err: receiver.ErrMalformed, Field: "body", Reason: "the token's body claim is no SHA-256"}
	}
	return claims, err
}

// original is the request that a web server asks about. nginx is told to name it
// by X-Original-URI and X-Original-Method, with its Host header; Caddy and
// Traefik set X-Forwarded-Uri, -Method and -Host themselves. A server lets the
// names it does not set through from outside, so a request with both is refused.
func original(r *http.Request) (*http.Request, error) {
	family, other := "X-Original-", "X-Forwarded-"
	if len(r.Header.Values(family+"Uri")) == 0 {
		family, other = other, family
	}
	uris := r.Header.Values(family + "Uri")
	switch {
	case len(uris) == 0:
		return nil, urlError("the proxy sets neither X-Original-URI nor X-Forwarded-Uri")
	case len(uris) > 1 || len(r.Header.Values(other+"Uri")) > 0:
		return nil, urlError("X-Original-URI and X-Forwarded-Uri: more than one value, one of them may come from outside")
	case !strings.HasPrefix(uris[0], "/"):
		return nil, urlError("the URI that the proxy sets is not a path")
	}
	asked := r.Clone(r.Context())
	asked.RequestURI = uris[0]
	asked.Method = strings.Join(r.Header.Values(family+"Method"), ",")
	if family == "X-Original-" {
		asked.Header.Del("X-Forwarded-Host")
	}
	return asked, nil
}

func urlError(reason string) error {
	return &receiver.VerifyError{Err: receiver.ErrURLMismatch, Field: "sub", Reason: reason}
}

// refuse answers 401, which all web servers take for a refusal; but 503 to what
// could not be verified for now, so that the sender tries again.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, err error) {
	g.logRefusal(r, err)
	status, text := http.StatusUnauthorized, "body cannot be read"
	if refusal := (*receiver.VerifyError)(nil); errors.As(err, &refusal) {
		text = refusal.Err.Error()
	}
	if errors.Is(err, receiver.ErrUnavailable) {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, text)
}

// bodySum is what the body must hash to, in hexadecimal; "" if no body can.
func bodySum(c receiver.Claims) string {
	sum, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(c.BodyHash, "="))
	if err != nil || len(sum) != sha256.Size {
		return ""
	}
	return hex.EncodeToString(sum)
}
