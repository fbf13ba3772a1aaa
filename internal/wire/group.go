package wire

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// MaxEndpointNameBytes bounds the names of a URL group's endpoints.
const MaxEndpointNameBytes = 256

// CheckEndpointName refuses what can't be the name of a URL group's endpoint,
// which may have spaces and be of any script. Errors are *Error without a Field.
func CheckEndpointName(s string) error {
	if s == "" || len(s) > MaxEndpointNameBytes {
		return errorf("", "expected a name of 1 to %d bytes, got %d", MaxEndpointNameBytes, len(s))
	}
	return checkText(s)
}

// ParseGroupHeader reads the settings that a URL group has for what is published
// to it, from their JSON object (protocol: URL groups). They are checked as
// those of a publish are, and more strictly: a setting that this version does
// not know, or that is about one message only, would never do anything. The
// error is an *Error that names the setting.
func ParseGroupHeader(object map[string]json.RawMessage) (http.Header, Config, error) {
	h, err := ItemHeader(object)
	if err != nil {
		return nil, Config{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if !isGroupSetting(name) {
			return nil, Config{}, errorf(name, "expected a setting that can hold for every message of a URL group, such as Upstash-Retries or Upstash-Forward-*")
		}
	}
	_, err = ParseConfig(withCallbacks(h))
	if err != nil {
		return nil, Config{}, err
	}
	cfg, err := ParseConfig(h)
	return h, cfg, err
}

// isGroupSetting leaves out ids, absolute times and what belongs to schedules
// and workflow runs.
func isGroupSetting(name string) bool {
	switch name {
	case HeaderMethod, HeaderDelay, HeaderRetries, HeaderRetryDelay, HeaderTimeout, HeaderLabel, HeaderContentDedup,
		HeaderForwardAll, HeaderFlowControlKey, HeaderFlowControlValue, HeaderRedactFields, HeaderQueueName,
		HeaderSignWith, HeaderCallback, HeaderFailureCallback:
		return true
	}
	for _, prefix := range []string{PrefixCallback, PrefixFailureCallback} {
		if setting, ok := strings.CutPrefix(name, prefix); ok {
			return isGroupSetting(PrefixUpstash + setting)
		}
	}
	return strings.HasPrefix(name, PrefixForward) && len(name) > len(PrefixForward)
}

// withCallbacks is h with a URL for each callback that has settings and no URL,
// so that these are looked at too: a publish may bring the URL.
func withCallbacks(h http.Header) http.Header {
	out := maps.Clone(h)
	for name := range h {
		for _, callback := range []string{HeaderCallback, HeaderFailureCallback} {
			if strings.HasPrefix(name, callback+"-") && h[callback] == nil {
				out[callback] = []string{"https://callback.invalid"}
			}
		}
	}
	return out
}
