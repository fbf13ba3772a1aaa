package receiver

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
)

func (d *Diagnosis) examineHeader(in DiagnoseInput, c Claims) {
	err := matchHeader(in.RequireBinding, c, in.Header)
	if err == nil {
		return
	}
	cause, name := headerCause(c, in.Header)
	d.addError(cause, err)
	if name != "" {
		d.Findings[len(d.Findings)-1].Got = name
	}
}

// headerCause returns the change between the signed headers and those that came,
// and the header it is about, if one.
func headerCause(c Claims, h http.Header) (cause, name string) {
	var control []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if strings.HasPrefix(name, controlPrefix) && name != Header && name != Ed25519Header {
			control = append(control, name)
		}
	}
	switch {
	case c.HeaderHash == "":
		return "header-unbound", ""
	case h == nil:
		return "header-absent", ""
	case len(control) == 0:
		return "header-stripped", ""
	}
	for _, name := range control {
		without := maps.Clone(h)
		delete(without, name)
		if headerHash(without) == c.HeaderHash {
			return "header-added", name
		}
	}
	return "header-changed", ""
}

// replayCause is for a request in which nothing else is wrong.
func replayCause(err error) string {
	switch {
	case errors.Is(err, ErrReplayed):
		return "replay-repeated"
	case errors.Is(err, ErrUnavailable):
		return "replay-unavailable"
	}
	return "replay-no-id"
}
