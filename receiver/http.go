package receiver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
)

// VerifyRequest reads r's body and verifies r. The body is read, at most
// Options.MaxBodyBytes of it, only after the rest of the signature has proved
// good, so that a stranger cannot make the server hold bytes for him; it is not
// put back into r.
//
// The error is a *[VerifyError] as for [Receiver.Verify] or around ErrNotLocal
// or ErrBodyTooLarge; any other error comes from reading the body.
func (rc *Receiver) VerifyRequest(r *http.Request) ([]byte, Claims, error) {
	c, err := rc.verifyHead(r)
	if err != nil {
		return nil, Claims{}, err
	}
	body, err := rc.readBody(r)
	if err == nil {
		err = matchBody(c.BodyHash, body)
	}
	if err == nil {
		err = rc.refuseReplay(r.Context(), c)
	}
	if err != nil {
		return nil, Claims{}, err
	}
	return body, c, nil
}

func (rc *Receiver) verifyHead(r *http.Request) (Claims, error) {
	if rc.Development() && !IsLocal(r) {
		return Claims{}, &VerifyError{Err: ErrNotLocal, Reason: "development keys serve this machine only"}
	}
	signature, err := rc.scheme().from(r.Header)
	if err != nil {
		return Claims{}, err
	}
	c, err := rc.verifyToken(r.Context(), signature)
	if err != nil {
		return Claims{}, err
	}
	if err := rc.matchRequestURL(c, r); err != nil {
		return Claims{}, err
	}
	return c, matchHeader(rc.opts.RequireBinding, c, r.Header)
}

func (rc *Receiver) matchRequestURL(c Claims, r *http.Request) error {
	if rc.opts.URLMode == URLOff {
		return nil
	}
	url, err := rc.requestURL(r)
	if err != nil {
		return urlMismatch(c.Subject, "", err.Error())
	}
	return matchURL(rc.opts.URLMode, c.Subject, url)
}

func (rc *Receiver) readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	limit := rc.opts.MaxBodyBytes
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	if tooMany := (*http.MaxBytesError)(nil); errors.As(err, &tooMany) {
		return nil, tooLarge(tooMany.Limit)
	}
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	return body, nil
}

func tooLarge(limit int64) error {
	return &VerifyError{Err: ErrBodyTooLarge, Reason: fmt.Sprintf("more than %d bytes", limit)}
}

// requestURL returns the URL that r's sender used, as far as it can be believed.
func (rc *Receiver) requestURL(r *http.Request) (string, error) {
	target := originForm(r)
	if rc.opts.BaseURL != "" {
		return rc.opts.BaseURL + target, nil
	}
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if rc.trusts(r.RemoteAddr) {
		var err error
		if scheme, err = forwarded(r.Header, "X-Forwarded-Proto", scheme); err != nil {
			return "", err
		}
		if host, err = forwarded(r.Header, "X-Forwarded-Host", host); err != nil {
			return "", err
		}
	} else if rc.opts.URLMode != URLPathOnly && !isLoopbackHost(host) {
		// Whoever sends a request chooses its Host: one that was signed for another
		// server would pass with that server's name in it.
		return "", errors.New("the Host header is not to be believed: set Options.BaseURL, or Options.TrustedProxies")
	}
	// A host with a '/' in it would become part of the path.
	if _, err := parseOrigin(scheme, host); err != nil {
		return "", fmt.Errorf("the request's address: %w", err)
	}
	return scheme + "://" + host + target, nil
}

// originForm returns path and query as they stood in the request line: r.URL has
// been decoded, and perhaps cut by http.StripPrefix.
func originForm(r *http.Request) string {
	target := r.RequestURI
	if target == "" {
		target = r.URL.RequestURI()
	}
	if strings.HasPrefix(target, "/") {
		return target
	}
	if _, rest, absolute := strings.Cut(target, "://"); absolute {
		target = ""
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			target = rest[i:]
		}
	}
	if !strings.HasPrefix(target, "/") {
		target = "/" + target
	}
	return target
}

func (rc *Receiver) trusts(remoteAddr string) bool {
	peer, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return false
	}
	addr := peer.Addr().Unmap().WithZone("")
	for _, p := range rc.opts.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// forwarded returns the header's value or the default. Of two values it cannot be
// told which one the nearest proxy has written.
func forwarded(h http.Header, name, absent string) (string, error) {
	values := h.Values(name)
	switch {
	case len(values) == 0:
		return absent, nil
	case len(values) > 1 || strings.Contains(values[0], ","):
		return "", fmt.Errorf("more than one value in %s: set Options.BaseURL", name)
	}
	return values[0], nil
}

// Middleware returns a handler that lets only verified requests through to next,
// which sees the same body again and finds the claims by [ClaimsFromContext].
// Answers to Signpost servers, whose tokens name a kind, get the header
// [KeysHeader]; no other server knows it. A probe ([KindProbe]) is answered
// here, with status 204. All others are answered with JSON of the shape
// {"error":"url mismatch"}:
//
//	401  the signature is refused; the text is that of the sentinel error
//	413  the body is larger than Options.MaxBodyBytes
//	400  the body could not be read
//	503  ErrUnavailable; the sender should try again
func (rc *Receiver) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, c, err := rc.VerifyRequest(r)
		if err != nil {
			rc.refuse(w, r, err)
			return
		}
		if c.Kind != "" {
			w.Header().Set(KeysHeader, rc.Echo(c))
		}
		if c.Kind == KindProbe {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), claimsKey{}, c))
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.ContentLength, r.TransferEncoding = int64(len(body)), nil
		next.ServeHTTP(w, r)
	})
}

// retrySeconds is when a request is worth another try that could not be verified.
const retrySeconds = "10"

func (rc *Receiver) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, text := http.StatusBadRequest, "body cannot be read"
	if refusal := (*VerifyError)(nil); errors.As(err, &refusal) {
		status, text = http.StatusUnauthorized, refusal.Err.Error()
	}
	switch {
	case errors.Is(err, ErrBodyTooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrUnavailable):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", retrySeconds)
	}
	if rc.opts.OnRefusal != nil {
		rc.opts.OnRefusal(r, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// A failed write means that the caller has gone; nobody is left to tell.
	_ = json.NewEncoder(w).Encode(map[string]string{"error": text})
}

type claimsKey struct{}

// ClaimsFromContext returns the claims of the request that [Receiver.Middleware]
// has verified; false if ctx is not from such a request.
func ClaimsFromContext(ctx context.Context) (Claims, bool) {
	c, ok := ctx.Value(claimsKey{}).(Claims)
	return c, ok
}
