package intake

import (
	"net"
	"strings"

	"golang.org/x/net/idna"
)

// IsReadable says whether the labels of a host that are in Punycode can be read. Where
// they can't, URL parsers as those of browsers and Node take it for no host.
func IsReadable(host string) bool {
	host = strings.ToLower(host)
	if !strings.Contains(host, "xn--") {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	name, err := punycode.ToUnicode(host)
	if err != nil {
		return false
	}
	again, err := punycode.ToASCII(name)
	return err == nil && again == host
}

var punycode = idna.New(idna.ValidateLabels(true), idna.CheckHyphens(false), idna.CheckJoiners(true), idna.BidiRule(), idna.StrictDomainName(false))
