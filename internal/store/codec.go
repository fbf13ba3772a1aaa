package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"

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

// parseHeader gives the same text the same map: nobody may change it.
func parseHeader(text string) (http.Header, error) { return headerMemo.parse(text) }

// settingsText is "" for the settings of most messages: none.
func settingsText(s *engine.Settings) (string, error) { return jsonText(s) }

// jsonText is v as JSON, "" for an object without fields.
func jsonText(v any) (string, error) {
	text, err := json.Marshal(v)
	if string(text) == "{}" {
		return "", err
	}
	return string(text), err
}

func parseJSON(text string, v any) error {
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), v)
}

func parseSettings(text string) (engine.Settings, error) { return settingsMemo.parse(text) }

var (
	headerMemo   memo[http.Header]
	settingsMemo memo[engine.Settings]
)

// memo remembers what texts decode to. A run's are read three times a step, and
// decoding them costs more than all the rest of reading it.
type memo[T any] struct {
	mu         sync.Mutex
	young, old map[string]T
}

const (
	memoMost = 4096    // texts of one generation; the one before is kept too
	memoText = 2 << 10 // longer texts are decoded every time
)

func (m *memo[T]) parse(text string) (v T, err error) {
	if text == "" {
		return v, nil
	}
	m.mu.Lock()
	v, ok := m.young[text]
	if !ok {
		v, ok = m.old[text]
	}
	m.mu.Unlock()
	if ok {
		return v, nil
	}
	if err = json.Unmarshal([]byte(text), &v); err != nil || len(text) > memoText {
		return v, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= memoMost || m.young == nil {
		m.old, m.young = m.young, make(map[string]T, memoMost)
	}
	m.young[text] = v
	return v, nil
}

// unshared takes a value as a driver gives it, which both make anew for each row.
// database/sql would copy it once more, and it may be large.
type unshared struct{ to *[]byte }

func (u unshared) Scan(value any) error {
	switch value := value.(type) {
	case nil:
		*u.to = nil
	case []byte:
		*u.to = value
	default:
		return fmt.Errorf("expected bytes, got %T", value)
	}
	return nil
}

// blob makes no bytes null: the drivers don't agree on what an empty value
// reads back as, so that nil and empty would be told apart here and not there.
func blob(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// portable says whether both databases take a text, and give it back as it was.
func portable(s string) bool {
	return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}

// portableText makes a text portable.
func portableText(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}

// errText does not tell the text, which may be a secret.
var errText = errors.New("text with a NUL or bytes that are not UTF-8")

// checkText refuses what PostgreSQL refuses, so that it is found out on either.
func checkText(args []any) error {
	for i, arg := range args {
		if s, ok := arg.(string); ok && !portable(s) {
			return fmt.Errorf("value %d: %w", i+1, errText)
		}
	}
	return nil
}
