package receiver

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// examineURL names every part in which the request's URL departs from the signed one.
func (d *Diagnosis) examineURL(mode URLMode, sub, got string) {
	if matchURL(mode, sub, got) == nil {
		return
	}
	for _, cause := range urlCauses(mode, sub, got) {
		d.add(Finding{Cause: cause, Field: "sub", Expected: sub, Got: got})
	}
}

func urlCauses(mode URLMode, sub, got string) []string {
	if got == "" {
		return []string{"url-missing"}
	}
	if strings.Contains(got, "#") {
		return []string{"url-fragment"}
	}
	want, err1 := parseURL(sub)
	came, err2 := parseURL(got)
	if errors.Is(err1, errUserInfo) || errors.Is(err2, errUserInfo) {
		return []string{"url-user-info"}
	}
	if err1 != nil || err2 != nil {
		return []string{"url-invalid"}
	}
	var causes []string
	if mode != URLPathOnly {
		causes = originCauses(want.origin, came.origin)
	}
	if want.path != came.path {
		causes = append(causes, pathCause(want.path, came.path))
	}
	if want.query != came.query {
		causes = append(causes, queryCause(want.query, came.query))
	}
	switch {
	case len(causes) > 0:
	case mode != URLExact:
		causes = append(causes, "url-way-up")
	default:
		causes = append(causes, "url-spelling")
	}
	return causes
}

func originCauses(want, came origin) (causes []string) {
	switch {
	case want.host != came.host && (!isASCII(want.host) || !isASCII(came.host)):
		causes = append(causes, "url-idn")
	case want.host != came.host:
		causes = append(causes, "url-host")
	}
	if want.scheme != came.scheme {
		causes = append(causes, "url-scheme")
	}
	if want.host == came.host && want.port != came.port {
		causes = append(causes, "url-port")
	}
	return causes
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

func pathCause(want, came string) string {
	switch {
	case strings.TrimRight(want, "/") == strings.TrimRight(came, "/"):
		return "url-trailing-slash"
	case strings.EqualFold(want, came):
		return "url-path-case"
	case mergeSlashes(want) == mergeSlashes(came):
		return "url-merged-slashes"
	case decoded(want, url.PathUnescape) == decoded(came, url.PathUnescape):
		return "url-path-encoding"
	case strings.HasSuffix(want, came) || strings.HasSuffix(came, want):
		return "url-path-prefix"
	}
	return "url-path"
}

func mergeSlashes(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// decoded undoes percent-encoding until nothing is left of it.
func decoded(s string, unescape func(string) (string, error)) string {
	for {
		u, err := unescape(s)
		if err != nil || u == s {
			return s
		}
		s = u
	}
}

func queryCause(want, came string) string {
	w, c := queryPairs(want), queryPairs(came)
	switch {
	case slices.Equal(w, c):
		return "url-query-order"
	case slices.Equal(decodedPairs(w), decodedPairs(c)):
		return "url-query-encoding"
	case contains(c, w):
		return "url-query-added"
	case contains(w, c):
		return "url-query-removed"
	}
	return "url-query"
}

// queryPairs returns the query's pairs in sorted order, without empty ones.
func queryPairs(query string) []string {
	pairs := strings.Split(strings.TrimPrefix(query, "?"), "&")
	pairs = slices.DeleteFunc(pairs, func(p string) bool { return p == "" })
	slices.Sort(pairs)
	return pairs
}

func decodedPairs(pairs []string) []string {
	out := make([]string, len(pairs))
	for i, p := range pairs {
		out[i] = strings.TrimSuffix(decoded(p, url.QueryUnescape), "=")
	}
	slices.Sort(out)
	return out
}

func contains(all, some []string) bool {
	return !slices.ContainsFunc(some, func(p string) bool { return !slices.Contains(all, p) })
}
