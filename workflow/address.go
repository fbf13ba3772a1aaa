package workflow

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// address is the absolute URL r was sent to, which a signature must name and
// the run's next steps go to.
//
// Whoever sends a request chooses its Host header. If it were simply believed, a
// request signed for another server could be replayed here with that server's
// name in it. So without a BaseURL it must name a loopback address, for which
// no server outside signs, or come through a proxy that vouches for it.
func (s *settings) address(r *http.Request) (string, error) {
	target, err := requestTarget(r)
	if err != nil {
		return "", err
	}
	if s.BaseURL != "" {
		return s.BaseURL + target, nil
	}
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if s.trusts(r.RemoteAddr) {
		if scheme, err = forwarded(r.Header, "X-Forwarded-Proto", scheme); err != nil {
			return "", err
		}
		if host, err = forwarded(r.Header, "X-Forwarded-Host", host); err != nil {
			return "", err
		}
	} else if !isLoopbackHost(host) {
		return "", fmt.Errorf("the endpoint does not know its own URL, and the Host header is not to be believed: set BaseURL (or UPSTASH_WORKFLOW_URL), or TrustedProxies")
	}
	// A host with a '/' in it would become part of the path: HTTP/2 lets it in.
	if u, err := url.Parse(scheme + "://" + host); err != nil || (scheme != "http" && scheme != "https") || host == "" || u.Host != host {
		return "", fmt.Errorf("%q and %q make no URL", scheme, host)
	}
	return scheme + "://" + host + target, nil
}

// requestTarget is the path and query of r, byte for byte as they came.
func requestTarget(r *http.Request) (string, error) {
	if strings.HasPrefix(r.RequestURI, "/") {
		return r.RequestURI, nil
	}
	u := r.URL
	if r.RequestURI != "" { // in absolute form: http://host/path
		var err error
		if u, err = url.ParseRequestURI(r.RequestURI); err != nil {
			return "", fmt.Errorf("parse request target: %w", err)
		}
	}
	return u.RequestURI(), nil
}

func (s *settings) trusts(remoteAddr string) bool {
	peer, ok := peerAddr(remoteAddr)
	if !ok {
		return false
	}
	for _, p := range s.TrustedProxies {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// forwarded is the one value of a header that a proxy set. With several values
// nobody can tell which one is the proxy's.
func forwarded(h http.Header, name, absent string) (string, error) {
	values := h.Values(name)
	switch {
	case len(values) == 0:
		return absent, nil
	case len(values) > 1 || strings.Contains(values[0], ","):
		return "", fmt.Errorf("more than one value in %s: set BaseURL", name)
	}
	return values[0], nil
}

func peerAddr(remoteAddr string) (netip.Addr, bool) {
	peer, err := netip.ParseAddrPort(remoteAddr)
	return peer.Addr().Unmap().WithZone(""), err == nil
}

func isLoopbackHost(hostport string) bool {
	host := (&url.URL{Host: hostport}).Hostname()
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
