package api

import (
	"net/http"
	"net/netip"
	"strings"
)

// callerIP is the caller's address, as messages keep it.
func (r *request) callerIP() string {
	if !r.addr.IsValid() {
		return ""
	}
	return r.addr.String()
}

// caller is the address a request comes from. The peer's word for it is taken
// only if it is a proxy that is trusted; such a one adds to X-Forwarded-For, at
// its end, whom it has the request from. So the last that is no proxy of ours is
// the caller: what stands before it is the caller's own invention.
func (h *Handler) caller(r *http.Request) netip.Addr {
	peer, _ := parseAddr(r.RemoteAddr)
	if !h.trusts(peer) {
		return peer
	}
	lines := r.Header["X-Forwarded-For"]
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			comma := strings.LastIndexByte(rest, ',')
			hop, ok := parseAddr(rest[comma+1:])
			if !ok {
				return peer // a proxy that does not say
			}
			if peer = hop; !h.trusts(hop) {
				return hop
			}
			if more = comma >= 0; more {
				rest = rest[:comma]
			}
		}
	}
	return peer
}

func (h *Handler) trusts(a netip.Addr) bool {
	for _, network := range h.proxies {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

// parseAddr reads an address with or without a port, and with or without the
// brackets of IPv6.
func parseAddr(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if at, err := netip.ParseAddrPort(s); err == nil {
		return at.Addr().Unmap().WithZone(""), true
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		s, _ = strings.CutSuffix(inner, "]")
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil
}
