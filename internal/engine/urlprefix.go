package engine

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/signposthq/signpost/internal/wire"
)

// URLPrefix is an origin, or an origin and the beginning of a path, in normal
// form: "https://api.example.com" or "https://api.example.com:8443/hooks/in". It
// covers URLs of exactly that origin whose path begins with all of its
// segments. The zero value covers every URL.
type URLPrefix string

// ParseURLPrefix puts a prefix into normal form. A slash at its end says
// nothing: https://a.example/x covers /x, /x/ and all that is below, not /xy.
func ParseURLPrefix(s string) (URLPrefix, error) {
	p, ok := parsePlace(s)
	if !ok || p.ambiguous || strings.ContainsAny(s, "?#") || len(s) > wire.MaxURLBytes {
		return "", errorf(Invalid, "urlPrefix: expected an http or https URL such as https://api.example.com/hooks, with its host in ASCII and without user, query, fragment and dot segments, got %.200q", s)
	}
	for len(p.segments) > 0 && p.segments[len(p.segments)-1] == "" {
		p.segments = p.segments[:len(p.segments)-1]
	}
	out := p.origin
	for _, segment := range p.segments {
		out += "/" + url.PathEscape(segment)
	}
	return URLPrefix(out), nil
}

// Covers says whether a request for a URL goes where the prefix allows. It
// reads the URL as the deliverer does, which sends it as it is: what receivers
// and proxies might resolve to some other path, such as dot segments in
// whatever encoding, is covered by no prefix that has a path.
func (p URLPrefix) Covers(raw string) bool {
	if p == "" {
		return true
	}
	allowed, ok := parsePlace(string(p))
	asked, valid := parsePlace(raw)
	if !ok || !valid || asked.origin != allowed.origin {
		return false
	}
	n := len(allowed.segments)
	return n == 0 || !asked.ambiguous && len(asked.segments) >= n && slices.Equal(asked.segments[:n], allowed.segments)
}

// reaches says whether the caller's token may have to do with messages and runs
// of a URL.
func (who *Caller) reaches(url string) bool { return who.Token.URLPrefix.Covers(url) }

// limited says whether the caller's token is for some URLs only. It may be in
// others' hands: what it asks for must not change what is not for these URLs.
func (who *Caller) limited() bool { return who.Token.URLPrefix != "" }

// checkReach refuses what a publish would have called outside the token's
// prefix.
func (who *Caller) checkReach(destination string, cfg *wire.Config) *Error {
	if !who.limited() {
		return nil
	}
	if !wire.IsURL(destination) && destination != wire.LLMDestination {
		destination = "" // a URL group, whose endpoints are looked at when it is read
	}
	asked := [...]struct{ name, url string }{
		{"destination", destination}, {wire.HeaderWorkflowURL, cfg.Workflow.URL},
		{wire.HeaderCallback, callbackURL(cfg.Callback)}, {wire.HeaderFailureCallback, callbackURL(cfg.FailureCallback)},
		{wire.HeaderCallback + "-Failure-Callback", callbackFailureURL(cfg.Callback)},
	}
	for _, a := range asked {
		if a.url != "" && !who.reaches(a.url) {
			return errorf(Forbidden, "forbidden: %s: the token is for URLs that begin with %s", a.name, who.Token.URLPrefix)
		}
	}
	return nil
}

// mustReachAll refuses what is not about messages of some URL but of all.
func (who *Caller) mustReachAll(what string) error {
	if p := who.Token.URLPrefix; p != "" {
		return errorf(Forbidden, "forbidden: %s is for all URLs; the token is for those that begin with %s", what, p)
	}
	return nil
}

func callbackURL(cb *wire.Callback) string {
	if cb == nil {
		return ""
	}
	return cb.URL
}

// callbackFailureURL is who is told when a callback with the result of a run's call
// fails, and with it the run.
func callbackFailureURL(cb *wire.Callback) string {
	if cb == nil {
		return ""
	}
	return strings.TrimSpace(cb.Header.Get(wire.HeaderFailureCallback))
}

// place is where a URL leads.
type place struct {
	origin    string   // scheme, host and, unless it is the default, port
	segments  []string // of the path, each decoded once
	ambiguous bool     // the path may mean another to whoever receives it
}

// parsePlace reads a URL that has no user. Hosts beyond ASCII and with zones are
// left out: what is dialled for them has another name.
func parsePlace(raw string) (p place, ok bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Hostname() == "" {
		return p, false
	}
	port, ok := normalPort(u)
	if !ok || strings.ContainsFunc(u.Host, func(r rune) bool { return r >= utf8.RuneSelf || r == '%' }) {
		return p, false
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	p.origin = u.Scheme + "://" + host + port
	path := u.EscapedPath()
	p.ambiguous = ambiguous(path)
	if path = strings.TrimPrefix(path, "/"); path == "" {
		return p, true
	}
	for segment := range strings.SplitSeq(path, "/") {
		p.segments = append(p.segments, unescape(segment))
	}
	return p, true
}

// normalPort is ":" and the port as it is dialled, "" for the scheme's own.
func normalPort(u *url.URL) (port string, ok bool) {
	if u.Port() == "" {
		return "", true
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return "", false
	}
	if u.Scheme == "http" && n == 80 || u.Scheme == "https" && n == 443 {
		return "", true
	}
	return ":" + strconv.FormatUint(n, 10), true
}

// ambiguous finds what some receiver or proxy may take for a way to another
// path: dot segments, behind however many encodings, set off by backslashes or
// followed by parameters; control characters, and bytes that are not UTF-8.
func ambiguous(path string) bool {
	const mostEncodings = 4
	for range mostEncodings {
		if !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return true
		}
		for _, segment := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' }) {
			name, _, _ := strings.Cut(segment, ";")
			if name = strings.TrimSpace(name); name == "." || name == ".." {
				return true
			}
		}
		decoded := unescape(path)
		if decoded == path {
			return false
		}
		path = decoded
	}
	return true
}

// unescape decodes what is percent-encoded and leaves the rest alone, as the
// most lenient receiver would.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if b, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out.WriteByte(byte(b))
				i += 2
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
