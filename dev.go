package signpost

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/signposthq/signpost/internal/api"
	"github.com/signposthq/signpost/internal/engine"
)

// DevUsers are the users every development server has, with the credentials
// that official SDKs know too: they adopt such a server on port 8080 when
// QSTASH_DEV is set. The first is the default.
var DevUsers = [...]Credentials{
	{
		UserID:            "defaultUser",
		Token:             "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0=",
		CurrentSigningKey: "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
		NextSigningKey:    "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
	}, {
		UserID:            "testUser1",
		Token:             "eyJVc2VySUQiOiJ0ZXN0VXNlcjEiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
		CurrentSigningKey: "sig_7GVPjvuwsfqF65iC8fSrs1dfYruM",
		NextSigningKey:    "sig_5NoELc3EFnZn4DVS5bDs2Nk4b7Ua",
	}, {
		UserID:            "testUser2",
		Token:             "eyJVc2VySUQiOiJ0ZXN0VXNlcjIiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
		CurrentSigningKey: "sig_6jWGaWRxHsw4vMSPJprXadyvrybF",
		NextSigningKey:    "sig_7qHbvhmahe5GwfePDiS5Lg3pi6Qx",
	}, {
		UserID:            "testUser3",
		Token:             "eyJVc2VySUQiOiJ0ZXN0VXNlcjMiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
		CurrentSigningKey: "sig_5T8FcSsynBjn9mMLBsXhpacRovJf",
		NextSigningKey:    "sig_7GFR4YaDshFcqsxWRZpRB161jguD",
	},
}

func (c Credentials) row() engine.Credentials {
	return engine.Credentials{UserID: c.UserID, Token: c.Token, CurrentKey: c.CurrentSigningKey, NextKey: c.NextSigningKey}
}

// guard keeps web pages from using a development server: its token is no
// secret, so the browser's word for where a request comes from is asked for,
// and the name it has for the server, which a page may have pointed here.
func (s *Server) guard(next http.Handler) http.Handler {
	if !s.Dev {
		return s.guardDevCredentials(next)
	}
	refuse := func(w http.ResponseWriter) {
		api.Refuse(w, http.StatusForbidden, "a development server takes no requests from web pages of other origins or under other host names")
	}
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopbackName(hostname(r.Host)) || protection.Check(r) != nil {
			refuse(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guardDevCredentials keeps everybody but this machine from a production server
// with credentials that everybody knows. Its address is a loopback one, but a
// proxy in front of it would let the world in.
func (s *Server) guardDevCredentials(next http.Handler) http.Handler {
	if !s.devCredentials {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopbackName(hostname(r.Host)) || proxied(r.Header) {
			api.Refuse(w, http.StatusForbidden, "this server has the credentials of development servers, which everybody knows: it serves this machine only")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// proxied says whether a request tells of a proxy that it came through.
func proxied(h http.Header) bool {
	for name := range h {
		switch {
		case name == "Forwarded", name == "Via", name == "X-Real-Ip", strings.HasPrefix(name, "X-Forwarded-"):
			return true
		}
	}
	return false
}

// hostname is a Host header without its port, if it has one, and without the
// brackets of IPv6.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	if name, ok := strings.CutPrefix(host, "["); ok {
		if name, ok = strings.CutSuffix(name, "]"); ok && strings.Contains(name, ":") {
			return name
		}
	}
	return host
}

// isLoopback says whether host:port is on this machine only.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && isLoopbackName(host)
}

// isLoopbackName says whether a host, by name or address, is this machine.
func isLoopbackName(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
