package wire

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// CutDestination takes a destination out of a publish request: tail is the raw,
// still escaped, path after "/v2/publish/", rawQuery the request's query, which
// may also be left on tail after a "?". The destination comes back byte by byte
// as it was sent, checked by CheckDestination, its query without the settings
// and the token that are ours. What is not a URL has no query.
//
// Two forms are put right: a scheme whose slashes a proxy merged
// ("https:/host"), and a destination sent percent-encoded as a whole.
//
// Settings are the query's upstash-* keys as canonical headers, nil when there
// are none; MergeSettings adds them to the request's. Errors are *Error.
func CutDestination(tail, rawQuery string) (dest string, settings http.Header, err error) {
	dest, query, found := strings.Cut(tail, "?")
	if !found {
		query, found = rawQuery, rawQuery != ""
	}
	if isEncodedURL(dest) {
		if dest, err = url.PathUnescape(dest); err != nil {
			return "", nil, errorf("", "invalid destination url: %s", URLReason(err))
		}
	}
	if dest = restoreSlashes(dest); !hasHTTPScheme(dest) {
		dest = strings.TrimSuffix(dest, "/") // some put it behind any path
	}
	kept, settings, err := cutSettings(query)
	if err != nil {
		return "", nil, err
	}
	if found && hasHTTPScheme(dest) && (kept != "" || query == "") {
		dest += querySeparator(dest) + kept
	}
	return dest, settings, CheckDestination(dest)
}

// querySeparator is "&" for a destination that brought a query of its own when
// it was decoded.
func querySeparator(dest string) string {
	if strings.Contains(dest, "?") {
		return "&"
	}
	return "?"
}

// isEncodedURL recognises encodeURIComponent and Go's PathEscape at work.
func isEncodedURL(s string) bool {
	return hasPrefixFold(s, "http%3A") || hasPrefixFold(s, "https%3A") ||
		hasPrefixFold(s, "http:%2F") || hasPrefixFold(s, "https:%2F")
}

func restoreSlashes(s string) string {
	for _, scheme := range []string{"http:/", "https:/"} {
		if hasPrefixFold(s, scheme) && !strings.HasPrefix(s[len(scheme):], "/") {
			return s[:len(scheme)] + "/" + s[len(scheme):]
		}
	}
	return s
}

// cutSettings parts our own keys from a query. Keys are compared decoded, as
// whoever reads the token from the query decodes them too.
func cutSettings(query string) (kept string, settings http.Header, err error) {
	var parts []string
	for pair := range strings.SplitSeq(query, "&") {
		rawKey, rawValue, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(rawKey)
		switch {
		case err != nil:
			parts = append(parts, pair)
		case key == "qstash_token":
		case hasPrefixFold(key, PrefixUpstash):
			if settings, err = addSetting(settings, key, rawValue); err != nil {
				return "", nil, err
			}
		default:
			parts = append(parts, pair)
		}
	}
	return strings.Join(parts, "&"), settings, nil
}

func addSetting(settings http.Header, key, rawValue string) (http.Header, error) {
	if !isToken(key) {
		return nil, errorf("", "expected a header name as query key, got %s", quoteName(key))
	}
	value, err := url.QueryUnescape(rawValue)
	if err != nil {
		return nil, errorf(key, "expected a percent-encoded query value")
	}
	if settings == nil {
		settings = make(http.Header)
	}
	settings.Add(key, value)
	return settings, nil
}

// MergeSettings is h with the settings of the query for the headers that h does
// not have: a real header wins. It leaves h alone and returns it as it is when
// there are no settings.
func MergeSettings(h, settings http.Header) http.Header {
	if len(settings) == 0 {
		return h
	}
	merged := make(http.Header, len(h)+len(settings))
	for name, values := range settings {
		merged[name] = values
	}
	for name, values := range h {
		merged[name] = values
	}
	return merged
}

// LLMDestination is the API destination that stands for an OpenAI-compatible
// service.
const LLMDestination = "api/llm"

// IsURL reports whether a destination is a URL, by its scheme.
func IsURL(dest string) bool { return hasHTTPScheme(dest) }

// CheckDestination refuses, with an *Error without a Field in the hosted
// service's wording, what is neither an absolute http or https URL, nor
// LLMDestination, nor what a URL group may be called.
func CheckDestination(dest string) error {
	switch {
	case dest == "":
		return errorf("", "a non-empty destination must be provided")
	case hasHTTPScheme(dest):
		if fault := urlFault(dest); fault != "" {
			return errorf("", "invalid destination url: %s", fault)
		}
		return nil
	case isName(dest), dest == LLMDestination:
		return nil
	case strings.HasPrefix(dest, "api/"):
		return errorf("", "expected %s or a URL, got another api destination", LLMDestination)
	}
	return errorf("", "invalid destination url: endpoint has invalid scheme, add http:// or https://")
}

// CheckURL is CheckDestination for URLs in headers and fields. It does not echo the URL,
// which may have a secret in it.
func CheckURL(s string) error {
	fault := "endpoint has no http:// or https:// scheme"
	if hasHTTPScheme(s) {
		fault = urlFault(s)
	}
	if fault == "" {
		return nil
	}
	return errorf("", "expected an absolute http or https URL: %s", fault)
}

func hasHTTPScheme(s string) bool {
	return hasPrefixFold(s, "http://") || hasPrefixFold(s, "https://")
}

// urlFault says what is wrong with a URL whose scheme is right, "" if nothing.
// Which addresses may be reached is not decided here but when dialling.
func urlFault(s string) string {
	if len(s) > MaxURLBytes {
		return "endpoint is longer than " + strconv.Itoa(MaxURLBytes) + " bytes"
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return "endpoint has a space or control character at position " + strconv.Itoa(i+1)
		}
	}
	if !utf8.ValidString(s) {
		return "endpoint is not UTF-8"
	}
	u, err := url.Parse(s)
	if err != nil {
		return URLReason(err)
	}
	if u.Hostname() == "" {
		return "endpoint has no host"
	}
	if port := u.Port(); port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "endpoint has a port above 65535"
		}
	}
	return ""
}

var quoted = regexp.MustCompile(` ?"(\\.|[^"\\])*"`)

// URLReason is the reason in an error of net/url, without the parts of the URL
// that it quotes: what is taken for a port may be a password.
func URLReason(err error) string {
	if e, ok := err.(*url.Error); ok {
		err = e.Err
	}
	if _, ok := err.(url.EscapeError); ok {
		return err.Error() // three characters
	}
	return quoted.ReplaceAllString(err.Error(), "")
}
