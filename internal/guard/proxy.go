package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/signposthq/signpost/receiver"
)

func checkUpstream(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
	case u.User != nil, u.Path != "" && u.Path != "/", u.RawQuery != "", u.ForceQuery, u.Fragment != "":
	default:
		return nil
	}
	return fmt.Errorf("expected an upstream such as http://127.0.0.1:3000, without path, query and user, got %q", u.Redacted())
}

// newProxy forwards what it gets, verified or allowed to be unsigned.
func (g *Guard) newProxy() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: g.rewrite,
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout:    5 * time.Second,
			ResponseHeaderTimeout:  g.opts.UpstreamTimeout,
			MaxResponseHeaderBytes: 256 << 10,
			MaxIdleConnsPerHost:    64,
			IdleConnTimeout:        time.Minute,
			DisableCompression:     true, // answers pass as they are
		},
		FlushInterval: -1, // at once: an answer may be a stream
		ErrorHandler:  g.upstreamFailed,
		ErrorLog:      slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
}

// rewrite makes the upstream's request. What the signature covers arrives as it
// came; what it does not cover, and could pass for it, does not.
func (g *Guard) rewrite(p *httputil.ProxyRequest) {
	claims, verified := receiver.ClaimsFromContext(p.In.Context())
	p.Out.URL = g.target(p.In)
	p.Out.Host = p.In.Host
	p.Out.Trailer = nil
	scrub(p.Out.Header)
	for _, name := range []string{"Connection", "Upgrade", "Te", "Expect"} {
		p.Out.Header.Del(name) // the body is here already, and a connection that switches protocols is not verified any more
	}
	if g.trusts(p.In.RemoteAddr) {
		p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
	}
	p.SetXForwarded()
	if !verified {
		p.Out.Body, p.Out.ContentLength = nil, 0
		dropControl(p.Out.Header)
	} else {
		keepControl(p.Out.Header, p.In.Header)
		setPublicOrigin(p.Out, claims.Subject)
		tell(p.Out.Header, claims)
	}
	if g.opts.UpstreamHost != "" {
		p.Out.Host = g.opts.UpstreamHost
	}
}

// target is the upstream's URL with the request's target as it came: url.URL
// would encode some bytes of a path anew, and the proxy tidies queries.
func (g *Guard) target(in *http.Request) *url.URL {
	u := &url.URL{Scheme: g.opts.Upstream.Scheme, Host: g.opts.Upstream.Host}
	if !strings.HasPrefix(in.RequestURI, "//") {
		u.Opaque = in.RequestURI
		return u
	}
	// An opaque part that begins so would be taken for a host. Of such a path,
	// bytes that no path may hold are encoded, as the verification reads them.
	u.Path, u.RawPath = in.URL.Path, in.URL.RawPath
	u.RawQuery, u.ForceQuery = in.URL.RawQuery, in.URL.ForceQuery
	return u
}

// setPublicOrigin tells the upstream under which address the request was sent.
// A verified token's URL is that address.
func setPublicOrigin(out *http.Request, subject string) {
	u, err := url.Parse(subject)
	if err != nil || u.Host == "" {
		return // a spelling that only the verification reads; the address seen here stays
	}
	out.Host = u.Host
	out.Header.Set("X-Forwarded-Host", u.Host)
	out.Header.Set("X-Forwarded-Proto", strings.ToLower(u.Scheme))
}

func (g *Guard) upstreamFailed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the caller has gone
	}
	status, text := http.StatusBadGateway, "upstream does not answer"
	if timeout := net.Error(nil); errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		status, text = http.StatusGatewayTimeout, "upstream does not answer in time"
	}
	g.log.Error("upstream failed", "err", err, "method", clip(r.Method), "path", clip(rawPath(r)))
	answer(w, status, text)
}
