package wire

import (
	"net/http"
	"strings"
)

const contentType = "Content-Type"

// plain takes a header of the publish request itself: its Content-Type, and,
// when all are to be forwarded, any other that is not for us or for the
// connection. A header forwarded by name wins over it.
func (p *configParser) plain(name string, values []string) error {
	switch {
	case p.Header[name] != nil:
		return nil
	case name == contentType && strings.TrimSpace(values[0]) != "":
		return p.put(name, values[:1:1])
	case !p.forwardAll || name == contentType || name == "Authorization" || dropped(name) || p.forConnection(name):
		return nil
	}
	return p.put(name, values)
}

// forward takes an Upstash-Forward-* header, name without the prefix.
func (p *configParser) forward(name string, values []string) error {
	if name == HeaderHop {
		// Endpoints that forward whatever they were called with pass it on
		// without knowing.
		_ = p.hop(values[0])
	}
	if dropped(name) {
		return nil
	}
	return p.put(name, values)
}

func (p *configParser) put(name string, values []string) error {
	if err := checkField(name, values); err != nil {
		return err
	}
	if p.Header == nil {
		p.Header = make(http.Header)
	}
	p.Header[name] = values
	return nil
}

// dropped reports whether a destination never gets this header from a
// publisher: it belongs to one connection, to framing or to what we say of the
// delivery ourselves. They are left out without an error, as official SDKs
// forward every header they were called with.
func dropped(name string) bool {
	if strings.ContainsFunc(name, isOdd) && isToken(name) {
		// Servers that put headers into environment variables, as CGI does,
		// can't tell it from the name with hyphens.
		name = http.CanonicalHeaderKey(strings.Map(func(r rune) rune {
			if isOdd(r) {
				return '-'
			}
			return r
		}, name))
		if strings.HasPrefix(name, PrefixUpstash) {
			return true
		}
	}
	switch name {
	case "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
		"Content-Length", "Expect", "Host",
		HeaderMessageID, HeaderRetried, HeaderCallerIP, HeaderHop, HeaderRegion, HeaderTopicName, HeaderScheduleID:
		return true
	}
	return strings.HasPrefix(name, "Proxy-") || strings.HasPrefix(name, HeaderSignature)
}

// isOdd reports whether a sign of a header's name becomes "_" in an environment
// variable, as "-" does.
func isOdd(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
}

// forConnection reports whether the request's Connection header names it.
func (p *configParser) forConnection(name string) bool {
	for _, v := range p.h["Connection"] {
		for token := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), name) {
				return true
			}
		}
	}
	return false
}
