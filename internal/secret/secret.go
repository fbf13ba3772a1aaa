// Package secret is for text that must not show where things are printed or
// logged.
//
// It imports nothing of ours.
package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Hidden is what shows in the place of a secret.
const Hidden = "***"

// Text is a secret text: a token, a key. However it is printed, logged or
// encoded, as itself or inside something else, it shows as Hidden, or as an
// address where package fmt does not ask; Reveal is the only way to its content.
// The zero value is the empty text.
//
// It is no string, because fmt prints those of fields that are not exported
// without asking their methods.
type Text struct{ text *string }

// New makes a secret of a text.
func New(text string) Text { return Text{&text} }

// Reveal is the text itself.
func (t Text) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// IsEmpty says whether there is no text.
func (t Text) IsEmpty() bool { return t.Reveal() == "" }

// Equal compares in constant time, but for the length.
func (t Text) Equal(other Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(other.Reveal())) == 1
}

// Format is for package fmt, whatever the verb.
func (Text) Format(f fmt.State, _ rune) { io.WriteString(f, Hidden) }

// String is for those who ask themselves.
func (Text) String() string { return Hidden }

// LogValue is for package slog.
func (Text) LogValue() slog.Value { return slog.StringValue(Hidden) }

// MarshalText is for encoders.
func (Text) MarshalText() ([]byte, error) { return []byte(Hidden), nil }

// UnmarshalText takes a text in, as of a flag.
func (t *Text) UnmarshalText(text []byte) error {
	*t = New(string(text))
	return nil
}
