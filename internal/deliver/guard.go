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
	netip.MustParsePrefix("::/128"), netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
	netip.MustParsePrefix("fd00:ec2::254/128"),
}

// guard checks an address when it is dialled, after every name has been
// resolved: what a name pointed at when the message was accepted proves
// nothing.
func guard(allow []netip.Prefix) func(network, address string, _ syscall.RawConn) error {
	options := []ssrf.Option{ssrf.WithAnyPort()}
	for _, p := range allow {
		if p.Addr().Is4() {
			options = append(options, ssrf.WithAllowedV4Prefixes(p))
		} else {
			options = append(options, ssrf.WithAllowedV6Prefixes(p))
		}
	}
	guardian := ssrf.New(options...)
	return func(network, address string, c syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %s is no address", errRefused, address)
		}
		ip := at.Addr().WithZone("").Unmap()
		for _, p := range never {
			if p.Contains(ip) {
				return fmt.Errorf("%w: %s is in %s, which is never a destination", errRefused, ip, p)
			}
		}
		if err := guardian.Safe(network, address, c); err != nil {
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
