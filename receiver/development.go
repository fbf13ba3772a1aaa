package receiver

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// ErrDevelopmentKey is returned by [New] and [FromEnv] for a signing key that
// every development server has, unless development is what was asked for.
var ErrDevelopmentKey = errors.New("signing key of development servers, with which anybody can sign: " +
	"set the keys of the server that sends or, on a machine of your own, SIGNPOST_DEV=1 (in code: Options.Development)")

type developmentKey struct{ secret, owner string }

type keyRing []developmentKey

// developmentKeys are public: development servers sign with them, and so can anyone.
var developmentKeys = keyRing{
	{"sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r", "current development key of defaultUser"},
	{"sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs", "next development key of defaultUser"},
	{"sig_7GVPjvuwsfqF65iC8fSrs1dfYruM", "current development key of testUser1"},
	{"sig_5NoELc3EFnZn4DVS5bDs2Nk4b7Ua", "next development key of testUser1"},
	{"sig_6jWGaWRxHsw4vMSPJprXadyvrybF", "current development key of testUser2"},
	{"sig_7qHbvhmahe5GwfePDiS5Lg3pi6Qx", "next development key of testUser2"},
	{"sig_5T8FcSsynBjn9mMLBsXhpacRovJf", "current development key of testUser3"},
	{"sig_7GFR4YaDshFcqsxWRZpRB161jguD", "next development key of testUser3"},
}

// signer is the owner of the key that made t's MAC; "" if it is none of them.
func (ring keyRing) signer(t token) string {
	for _, k := range ring {
		if rawKey(k.secret).made(t) {
			return k.owner
		}
	}
	return ""
}

// owner is whose key secret is; "" if it is none of them.
func (ring keyRing) owner(secret string) string {
	for _, k := range ring {
		if subtle.ConstantTimeCompare([]byte(k.secret), []byte(secret)) == 1 {
			return k.owner
		}
	}
	return ""
}

// Development reports whether rc has a key of development servers. Whoever
// calls [Receiver.Verify] of such a receiver has to look at [IsLocal] first.
func (rc *Receiver) Development() bool {
	return rc.public == nil && rc.shared.Load().development
}

// developmentAsked reports whether the environment asks for development, by our
// variable or by that of the official SDKs. It allows well-known keys; it never
// puts them in the place of others.
func developmentAsked() bool {
	for _, name := range []string{"SIGNPOST_DEV", "QSTASH_DEV"} {
		if on, err := strconv.ParseBool(os.Getenv(name)); err == nil && on {
			return true
		}
	}
	return false
}

// IsLocal reports whether r comes from this machine: its peer is a loopback
// address, no header tells of a proxy between, and its Host is a loopback address,
// too, for a browser that was lured to a name of this machine says that name.
func IsLocal(r *http.Request) bool {
	for name := range r.Header {
		switch {
		case name == "Forwarded", name == "Via", name == "X-Real-Ip", strings.HasPrefix(name, "X-Forwarded-"):
			return false
		}
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback() && isLoopbackHost(r.Host)
}

func isLoopbackHost(hostport string) bool {
	host := (&url.URL{Host: hostport}).Hostname()
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	host = lowerASCII(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
