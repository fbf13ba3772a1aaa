package wire

import "strings"

// FilterValues are the values that a list filter matches: each of values, and
// each part of one that holds commas. A value with commas counts as a whole as
// well, since URLs may contain them. Values come trimmed and once each, empty
// ones not at all. It is nil when none is left, which is not the same as a filter
// that was never given: where a missing filter means all, tell them apart.
func FilterValues(values []string) []string {
	var list []string
	seen := make(map[string]bool, len(values))
	add := func(v string) {
		if v = strings.TrimSpace(v); v != "" && !seen[v] {
			seen[v] = true
			list = append(list, v)
		}
	}
	for _, v := range values {
		add(v)
		for part := range strings.SplitSeq(v, ",") {
			add(part)
		}
	}
	return list
}
