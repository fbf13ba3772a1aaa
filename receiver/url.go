package receiver

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A URLMode says how the URL in the token (claim sub) is compared with the URL
// the request was sent to.
type URLMode int

const (
	URLCanonical URLMode = iota // equal in the package's canonical form
	URLExact                    // equal byte for byte: nothing is mended, an empty path never matches
	URLPathOnly                 // path and query equal in canonical form: for proxies that hide scheme and host
	URLOff                      // not compared: a request signed for any URL of the same sender is accepted
)

// matchURL returns an error unless a token for sub may be used at got.
func matchURL(mode URLMode, sub, got string) error {
	switch mode {
	case URLOff:
		return nil
	case URLExact:
		if sub == got {
			return nil
		}
		return urlMismatch(sub, got, "not equal byte for byte")
	}
	want, err := parseURL(sub)
	if err != nil {
		return urlMismatch(sub, got, "the token's URL: "+err.Error())
	}
	came, err := parseURL(got)
	if err == nil && strings.Contains(got, "#") {
		err = errors.New("fragment in a request")
	}
	if err != nil {
		return urlMismatch(sub, got, "the request's URL: "+err.Error())
	}
	if mode == URLPathOnly {
		want.origin, came.origin = origin{}, origin{}
	}
	if want != came {
		return urlMismatch(sub, got, difference(want, came))
	}
	// A router that does not resolve ".." would take the request elsewhere than
	// where it was sent.
	if path := climbing(got); path != "" && path != climbing(sub) {
		return urlMismatch(sub, got, `".." segments that were not signed`)
	}
	return nil
}

func urlMismatch(sub, got, reason string) error {
	return &VerifyError{Err: ErrURLMismatch, Field: "sub", Expected: sub, Got: got, Reason: reason}
}

func difference(want, came canonicalURL) string {
	part, w, c := "scheme", want.scheme, came.scheme
	switch {
	case want.scheme != came.scheme:
	case want.host != came.host:
		part, w, c = "host", want.host, came.host
	case want.port != came.port:
		part, w, c = "port", want.port, came.port
	case want.path != came.path:
		part, w, c = "path", want.path, came.path
	default:
		return "query differs"
	}
	return fmt.Sprintf("%s is %q, signed for %q", part, clip(c), clip(w))
}

// A canonicalURL is a URL in the form that the package comment tabulates.
type canonicalURL struct {
	origin
	path  string
	query string // with its '?'; "" if there is none
}

type origin struct{ scheme, host, port string } // port is "" for the scheme's default

func (u canonicalURL) String() string {
	port := u.port
	if port != "" {
		port = ":" + port
	}
	return u.scheme + "://" + u.host + port + u.path + u.query
}

// parseURL cuts raw up by hand: net/url re-encodes a path that holds a byte it
// dislikes, and %2F and '/' become one on the way.
func parseURL(raw string) (canonicalURL, error) {
	if strings.ContainsFunc(raw, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return canonicalURL{}, errors.New("control character")
	}
	raw, _, _ = strings.Cut(raw, "#")
	scheme, rest, found := strings.Cut(raw, "://")
	if !found {
		return canonicalURL{}, errNotHTTP
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	o, err := parseOrigin(scheme, rest[:end])
	if err != nil {
		return canonicalURL{}, err
	}
	path, query := rest[end:], ""
	if i := strings.IndexByte(path, '?'); i >= 0 {
		path, query = path[:i], path[i:]
	}
	if path, err = canonicalPath(path); err != nil {
		return canonicalURL{}, err
	}
	return canonicalURL{origin: o, path: path, query: query}, nil
}

var (
	errNotHTTP  = errors.New("not an absolute http or https URL")
	errUserInfo = errors.New("user information")
)

func parseOrigin(scheme, authority string) (origin, error) {
	scheme = lowerASCII(scheme)
	if scheme != "http" && scheme != "https" {
		return origin{}, errNotHTTP
	}
	if strings.Contains(authority, "@") {
		return origin{}, errUserInfo
	}
	host, port, err := splitHost(authority)
	if err != nil {
		return origin{}, err
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return origin{}, fmt.Errorf("port %q", clip(port))
		}
		port = strconv.FormatUint(n, 10)
	}
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		port = ""
	}
	return origin{scheme: scheme, host: host, port: port}, nil
}

func splitHost(authority string) (host, port string, err error) {
	if strings.HasPrefix(authority, "[") {
		return splitIPv6(authority)
	}
	host, port, _ = strings.Cut(authority, ":")
	if host == "" || strings.ContainsFunc(host, notHostRune) {
		return "", "", fmt.Errorf("host %q", clip(host))
	}
	return lowerASCII(host), port, nil
}

func splitIPv6(authority string) (host, port string, err error) {
	literal, rest, closed := strings.Cut(authority[1:], "]")
	addr, err := netip.ParseAddr(literal)
	if err != nil || !closed || !addr.Is6() || addr.Zone() != "" {
		return "", "", fmt.Errorf("host %q", clip(authority))
	}
	port, hasPort := strings.CutPrefix(rest, ":")
	if rest != "" && !hasPort {
		return "", "", fmt.Errorf("host %q", clip(authority))
	}
	return "[" + addr.String() + "]", port, nil
}

func notHostRune(r rune) bool { return r < 0x80 && !isUnreserved(byte(r)) }

// canonicalPath normalises encodings first, so that "%2e%2e" is a dot segment.
func canonicalPath(path string) (string, error) {
	encoded, err := normalEncoding(path)
	if err != nil {
		return "", err
	}
	return removeDotSegments(encoded), nil
}

// climbing is the path of a URL that parseURL takes, before its dot segments are
// removed; "" if none of them is "..".
func climbing(raw string) string {
	raw, _, _ = strings.Cut(raw, "#")
	raw, _, _ = strings.Cut(raw, "?")
	_, rest, _ := strings.Cut(raw, "://")
	_, path, _ := strings.Cut(rest, "/")
	if !strings.Contains(path, "..") && !strings.Contains(path, "%2") {
		return "" // as nearly all
	}
	path, err := normalEncoding(path)
	if err != nil || !slices.Contains(strings.Split(path, "/"), "..") {
		return ""
	}
	return path
}

func normalEncoding(path string) (string, error) {
	b := make([]byte, 0, len(path)+1)
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '%':
			v, err := unhex(path[i:])
			if err != nil {
				return "", err
			}
			b = appendPathByte(b, v, isUnreserved(v))
			i += 2
		default:
			b = appendPathByte(b, c, isUnreserved(c) || strings.IndexByte("/:@!$&'()*+,;=", c) >= 0)
		}
	}
	return string(b), nil
}

func appendPathByte(b []byte, c byte, plain bool) []byte {
	if plain {
		return append(b, c)
	}
	const digits = "0123456789ABCDEF"
	return append(b, '%', digits[c>>4], digits[c&15])
}

func unhex(s string) (byte, error) {
	if len(s) >= 3 {
		// ParseUint would take a sign or an underscore only with base 0.
		if v, err := strconv.ParseUint(s[1:3], 16, 8); err == nil {
			return byte(v), nil
		}
	}
	return 0, errors.New("'%' without two hexadecimal digits")
}

// removeDotSegments does what RFC 3986 §5.2.4 says for a path that is empty or
// begins with '/'.
func removeDotSegments(path string) string {
	if path == "" {
		return "/"
	}
	if !strings.Contains(path, "/.") {
		return path
	}
	var kept []string
	segments := strings.Split(path[1:], "/")
	for i, s := range segments {
		switch s {
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		case ".":
		default:
			kept = append(kept, s)
			continue
		}
		if i == len(segments)-1 {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}

func isUnreserved(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '-' || c == '.' || c == '_' || c == '~'
}

// lowerASCII leaves everything beyond ASCII alone: strings.ToLower makes a 'k' of
// the Kelvin sign.
func lowerASCII(s string) string { return string(appendLower(nil, s)) }

func appendLower(b []byte, s string) []byte {
	for _, c := range []byte(s) {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return b
}
