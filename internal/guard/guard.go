// Package guard verifies signed requests for endpoints that do not do it
// themselves: as a reverse proxy in front of one, or as the answer to a web
// server's question whether a request may pass (forward auth).
//
// It may import package receiver only.
package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/signposthq/signpost/receiver"
)

// AuthPath is where a guard with Options.Auth answers web servers.
const AuthPath = "/auth"

// What the guard tells about a request it has verified: an upstream of the proxy
// by request headers, a web server by the headers of the answer. Whatever else
// begins with "Signpost-" is kept from the upstream.
const (
	VerifiedHeader = "Signpost-Verified"    // claim kind: message, step, …; "unknown" if the token has none
	TokenIDHeader  = "Signpost-Token-Id"    // claim jti: unique per attempt
	BodyHashHeader = "Signpost-Body-Sha256" // forward auth only: what the body must hash to, in hexadecimal
)

// Options configure a [Guard]. Upstream, Auth or both are needed.
type Options struct {
	// Upstream is where verified requests go: scheme, host and port. Default:
	// nowhere, the guard is no proxy.
	Upstream *url.URL

	// UpstreamHost is the Host header that the upstream sees. Default: that of
	// the public URL.
	UpstreamHost string

	// UpstreamTimeout is how long the upstream may take to begin its answer.
	// Default: 15 minutes, the longest that a Signpost server waits.
	UpstreamTimeout time.Duration

	// Auth makes AuthPath answer forward auth.
	Auth bool

	// Receiver says how requests are verified and with which keys, see
	// [Guard.SetKeys]. OnRefusal is the guard's. TrustedProxies are by default
	// none, but with Auth those on this machine: somebody has to ask.
	Receiver receiver.Options

	// AllowUnsigned are paths that GET and HEAD may ask for without a
	// signature, compared byte for byte. Default: none.
	AllowUnsigned []string

	// Logger gets refusals and the upstream's failures, without query values
	// and signatures. Default: slog.Default().
	Logger *slog.Logger
}

// A Guard is a handler for all requests of a listener. It is safe for concurrent
// use.
type Guard struct {
	opts     Options
	log      *slog.Logger
	receiver *receiver.Receiver
	proxy    http.Handler // to the upstream, for what is verified; nil if there is none
	verified http.Handler // proxy behind the verification
}

// New returns a guard, or an error that names the option at fault; it is
// [receiver.ErrNoKey] without a current key. There is no guard that lets
// everything through.
func New(o Options) (*Guard, error) {
	if o.Upstream == nil && !o.Auth {
		return nil, errors.New("neither an upstream nor forward auth: nothing to do")
	}
	for _, path := range o.AllowUnsigned {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") {
			return nil, fmt.Errorf("expected the path of unsigned requests to be like /healthz, got %q", path)
		}
	}
	if o.Auth && len(o.Receiver.TrustedProxies) == 0 {
		o.Receiver.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.UpstreamTimeout <= 0 {
		o.UpstreamTimeout = 15 * time.Minute
	}
	g := &Guard{opts: o, log: o.Logger}
	if o.Upstream != nil {
		if err := checkUpstream(o.Upstream); err != nil {
			return nil, err
		}
		g.proxy = g.newProxy()
	}
	o.Receiver.OnRefusal = g.logRefusal
	var err error
	if g.receiver, err = receiver.New(o.Receiver); err != nil {
		return nil, err
	}
	g.verified = g.receiver.Middleware(g.proxy)
	return g, nil
}

// SetKeys changes the shared keys for all requests from now on. After an error
// they are those of before.
func (g *Guard) SetKeys(current, next string) error { return g.receiver.SetKeys(current, next) }

// ServeHTTP answers 400 to request targets that are no path, since what would be
// verified and what would be forwarded could differ.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case !strings.HasPrefix(r.RequestURI, "/"):
		answer(w, http.StatusBadRequest, "request target is not a path")
	case g.opts.Auth && rawPath(r) == AuthPath:
		g.serveAuth(w, r)
	case g.proxy == nil:
		answer(w, http.StatusNotFound, "this guard serves "+AuthPath+" only")
	case g.unsigned(r):
		g.proxy.ServeHTTP(w, r)
	default:
		g.verified.ServeHTTP(w, r)
	}
}

// unsigned says whether r may pass without a signature. One that has a signature
// is held to it.
func (g *Guard) unsigned(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		slices.Contains(g.opts.AllowUnsigned, rawPath(r)) &&
		len(r.Header.Values(receiver.Header)) == 0 && len(r.Header.Values(receiver.Ed25519Header)) == 0
}

// rawPath is the path as it stands in the request line.
func rawPath(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path
}

func (g *Guard) trusts(remoteAddr string) bool {
	peer, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return false
	}
	addr := peer.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(g.opts.Receiver.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func (g *Guard) logRefusal(r *http.Request, err error) {
	g.log.Warn("refused", "reason", err.Error(), "method", clip(r.Method), "path", clip(rawPath(r)), "peer", r.RemoteAddr)
}

// clip keeps what strangers send from filling the log.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// answer writes what [receiver.Receiver.Middleware] would for an error.
func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// A failed write means that the caller has gone; nobody is left to tell.
	_ = json.NewEncoder(w).Encode(map[string]string{"error": text})
}
