package wire

import "strings"

// FilterValues are the values that a list filter matches: each of values, and
// each part of one that holds commas. A value with commas counts as a whole as
// well, since URLs may contain them. Values come trimmed and once each, empty
// ones not at all. It is nil when none is left, which is not the same as a filter
// that was never given: where a missing filter means all, tell them apart.
//
// It is for what is compared as text. Values with a grammar of their own, which
// has no comma, are ListValues.
func FilterValues(values []string) []string {
	var all []string
	for _, v := range values {
		all = append(all, v)
		all = append(all, strings.Split(v, ",")...)
	}
	return distinct(all)
}

// ListValues are the elements of comma lists, which may be repeated: states,
// status codes, ids. Otherwise it is as FilterValues.
func ListValues(values []string) []string {
	var all []string
	for _, v := range values {
		all = append(all, strings.Split(v, ",")...)
	}
	return distinct(all)
}

// distinct is each value of all once, trimmed, without the empty ones.
func distinct(all []string) []string {
	var list []string
	seen := make(map[string]bool, len(all))
	for _, v := range all {
		if v = strings.TrimSpace(v); v != "" && !seen[v] {
			seen[v] = true
			list = append(list, v)
		}
	}
	return list
}
