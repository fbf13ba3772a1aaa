package api

import "strings"

// routeOf is the beginning of a path. The rest may be a destination, and there
// are such with a secret in their path.
func routeOf(path string) string {
	segments := strings.SplitAfterN(path, "/", 4)
	if len(segments) == 4 && segments[3] != "" {
		segments[3] = "…"
	}
	return strings.Join(segments, "")
}

// shorten keeps an answer from being as long as what was asked for.
func shorten(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
