package engine

import (
	"fmt"
	"strings"

	"github.com/signposthq/signpost/internal/wire"
)

// loop says why a message of this hop is not made.
func loop(hop int) string {
	return fmt.Sprintf("message %d of a chain, each published in answer to the one before or as its callback; more than %d are taken for a loop",
		hop, wire.MaxHops)
}

// cut says which callbacks of a message are not made because that would be one
// hop too many, "" if none.
func (f *flight) cut() string {
	m, v := f.message, f.verdict
	if m.Settings.Hop < wire.MaxHops || m.Run != 0 || v.to == Canceled {
		return ""
	}
	var urls []string
	if cb := m.Settings.Callback; cb != nil {
		urls = append(urls, cb.URL)
	}
	if cb := m.Settings.FailureCallback; cb != nil && v.to == Failed {
		urls = append(urls, cb.URL)
	}
	if urls == nil {
		return ""
	}
	return fmt.Sprintf("callback to %s not made: it would be %s", strings.Join(urls, " and "), loop(m.Settings.Hop+1))
}
