package deliver

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

var errRefused = errors.New("destination refused")

// never are networks that no setting opens: this machine, its link, and what
// clouds serve credentials on.
var never = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("::/128"), netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure, a public address
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle
	netip.MustParsePrefix("fd00:ec2::/32"),      // Amazon
	netip.MustParsePrefix("fd20:ce::254/128"),   // Google
}

// nat64 is behind gateways that connect to the IPv4 address in its last bytes.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// innermost is the address that a connection to ip ends at.
func innermost(ip netip.Addr) netip.Addr {
	if b := ip.As16(); nat64.Contains(ip) {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return ip
}

// guard checks an address when it is dialled, after every name has been
// resolved: what a name pointed at when the message was accepted proves
// nothing.
func guard(allow []netip.Prefix) func(network, address string, _ syscall.RawConn) error {
	var v4, v6 []netip.Prefix
	for _, p := range allow {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	guardian := ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
	return func(network, address string, c syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %s is no address", errRefused, address)
		}
		ip := at.Addr().WithZone("").Unmap()
		for _, p := range never {
			if p.Contains(innermost(ip)) {
				return fmt.Errorf("%w: %s is in %s, which is never a destination", errRefused, innermost(ip), p)
			}
		}
		if err := guardian.Safe(network, netip.AddrPortFrom(ip, at.Port()).String(), c); err != nil {
			return fmt.Errorf("%w: %s is not a public address, and no --allow-destination has it", errRefused, ip)
		}
		return nil
	}
}

// refusal is a refused destination's reason without the dialler's words.
func refusal(err error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		if inner := errors.Unwrap(err); inner == errRefused {
			return err.Error()
		}
	}
	return errRefused.Error()
}
