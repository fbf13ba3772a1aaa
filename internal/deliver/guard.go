package deliver

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"code.dny.dev/ssrf"
)

var errRefused = errors.New("destination refused")

// ErrNever is why a network can't be allowed.
var ErrNever = errors.New("never a destination")

// loopback is this machine: never a destination, but for development.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// never are networks that no setting opens: nobody's, this machine's link, and
// what clouds serve credentials on. A connection to the unspecified addresses
// would end at this machine.
var never = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("::/128"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("ff00::/8"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("100.100.100.200/32"),     // Alibaba
	netip.MustParsePrefix("168.63.129.16/32"),       // Azure, a public address
	netip.MustParsePrefix("192.0.0.192/32"),         // Oracle
	netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), // Oracle
	netip.MustParsePrefix("fd00:ec2::/32"),          // Amazon
	netip.MustParsePrefix("fd00:42::42/128"),        // Scaleway
	netip.MustParsePrefix("fd20:ce::254/128"),       // Google
}

// wrappers are IPv6 networks whose addresses stand for an IPv4 address, at the
// byte given: gateways and tunnels connect to that.
var wrappers = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},  // NAT64 of one's own
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // translated
	{netip.MustParsePrefix("::/96"), 12},           // compatible
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4
}

// innermost is the address that a connection to ip ends at.
func innermost(ip netip.Addr) netip.Addr {
	b := ip.As16()
	for _, w := range wrappers {
		if ip.Is6() && !ip.IsLoopback() && w.prefix.Contains(ip) {
			return netip.AddrFrom4([4]byte(b[w.at:]))
		}
	}
	return ip
}

// guard is what may be connected to.
type guard struct {
	local bool           // everything but what is never a destination, and loopback as well
	allow []netip.Prefix // what may be, although it is private
}

// CheckAllow refuses networks that it would be of no use to allow: all of their
// addresses are refused, or none is ever dialled.
func CheckAllow(networks []netip.Prefix) error {
	for _, p := range networks {
		if p.Addr().Is4In6() {
			return fmt.Errorf("%s: expected it as the IPv4 network that it is", p)
		}
		for _, closed := range slices.Concat(never, loopback) {
			if closed.Bits() <= p.Bits() && closed.Contains(p.Addr().WithZone("")) {
				return fmt.Errorf("%s: %w", p, ErrNever)
			}
		}
	}
	return nil
}

// control checks an address when it is dialled, after every name has been
// resolved: what a name pointed at when the message was accepted, or at the
// attempt before, proves nothing. net.Dialer calls it for every connection.
func (g guard) control(network, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: %s %s is no address", errRefused, network, address)
	}
	ip := at.Addr().WithZone("").Unmap()
	if err := g.check(ip); err != nil || innermost(ip) == ip {
		return err
	}
	return g.check(innermost(ip))
}

// check says which rule an address is against.
func (g guard) check(ip netip.Addr) error {
	switch p, ok := find(never, ip); {
	case ok:
		return fmt.Errorf("%w: %s is in %s, which is never a destination", errRefused, ip, p)
	case g.local:
		return nil
	}
	if p, ok := find(loopback, ip); ok {
		return fmt.Errorf("%w: %s is in %s, which is this machine: never a destination, but for \"signpost dev\"", errRefused, ip, p)
	}
	if _, ok := find(g.allow, ip); ok {
		return nil
	}
	denied := ssrf.IPv4DeniedPrefixes
	if ip.Is6() {
		denied = ssrf.IPv6DeniedPrefixes
	}
	if p, ok := find(denied, ip); ok {
		return fmt.Errorf("%w: %s is in %s, which is not public, and no --allow-destination has it", errRefused, ip, p)
	}
	if public := ssrf.IPv6GlobalUnicast; ip.Is6() && !public.Contains(ip) {
		return fmt.Errorf("%w: %s is not in %s, which are the public addresses, and no --allow-destination has it", errRefused, ip, public)
	}
	return nil
}

// find is the network of a list that has an address.
func find(networks []netip.Prefix, ip netip.Addr) (netip.Prefix, bool) {
	for _, p := range networks {
		if p.Contains(ip) {
			return p, true
		}
	}
	return netip.Prefix{}, false
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
