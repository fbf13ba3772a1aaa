package store

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/signposthq/signpost/internal/engine"
)

// headerText is a header as JSON, "" when there is none.
func headerText(h http.Header) string {
	if len(h) == 0 {
		return ""
	}
	text, _ := json.Marshal(h) // strings and slices of them always encode
	return string(text)
}

func parseHeader(text string) (h http.Header, err error) {
	if text != "" {
		err = json.Unmarshal([]byte(text), &h)
	}
	return h, err
}

// settingsText is "" for the settings of most messages: none.
func settingsText(s *engine.Settings) (string, error) {
	text, err := json.Marshal(s)
	if string(text) == "{}" {
		return "", err
	}
	return string(text), err
}

func parseSettings(text string) (s engine.Settings, err error) {
	if text != "" {
		err = json.Unmarshal([]byte(text), &s)
	}
	return s, err
}

// portableText is text as both databases take it: UTF-8 without NUL.
func portableText(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}
