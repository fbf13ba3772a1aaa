package receiver

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxGuessBytes bounds the work of guessing how a body was changed.
const maxGuessBytes = 1 << 20

var byteOrderMark = []byte("\xef\xbb\xbf")

func (d *Diagnosis) examineBody(claim string, body []byte) {
	err := matchBody(claim, body)
	if err == nil {
		return
	}
	cause, detail := bodyCause(strings.TrimRight(claim, "="), body)
	d.addError(cause, err)
	d.Findings[len(d.Findings)-1].What += detail
}

// bodyCause returns the change between the signed body and the one that came.
// Proof by hash comes before signs of damage.
func bodyCause(want string, body []byte) (cause, detail string) {
	if cause := provenCause(want, body); cause != "" {
		return cause, ""
	}
	if style := jsonStyle(want, body); style != "" {
		return "body-reserialised", ": the signature fits the same JSON" + style
	}
	switch {
	case bytes.Contains(body, []byte("\uFFFD")):
		return "body-text-decoded", ""
	case endsEarly(body):
		return "body-truncated", ""
	}
	return "body-changed", ""
}

func provenCause(want string, body []byte) string {
	switch {
	case isOtherHashForm(want, body):
		return "body-claim-form"
	case len(body) == 0:
		return "body-empty"
	case want == bodyHash(nil):
		return "body-added"
	case len(body) > maxGuessBytes:
		return ""
	}
	for _, g := range bodyGuesses {
		for _, original := range g.originals(body) {
			if bodyHash(original) == want {
				return g.cause
			}
		}
	}
	return ""
}

func isOtherHashForm(want string, body []byte) bool {
	sum := sha256.Sum256(body)
	return strings.EqualFold(want, hex.EncodeToString(sum[:])) || want == base64.RawStdEncoding.EncodeToString(sum[:])
}

// bodyGuesses undo what is commonly done to a body on its way.
var bodyGuesses = []struct {
	cause     string
	originals func(came []byte) [][]byte
}{
	{"body-bom-added", func(b []byte) [][]byte { return one(bytes.TrimPrefix(b, byteOrderMark)) }},
	{"body-bom-removed", func(b []byte) [][]byte { return one(byteOrderMark, b) }},
	{"body-newline-added", func(b []byte) [][]byte {
		return [][]byte{bytes.TrimSuffix(b, []byte("\n")), bytes.TrimSuffix(b, []byte("\r\n")), bytes.TrimRight(b, " \t\r\n")}
	}},
	{"body-newline-removed", func(b []byte) [][]byte { return append(one(b, []byte("\n")), one(b, []byte("\r\n"))...) }},
	{"body-line-ends", func(b []byte) [][]byte {
		unix := bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
		return [][]byte{unix, bytes.ReplaceAll(unix, []byte("\n"), []byte("\r\n"))}
	}},
	{"body-base64", base64Originals},
	{"body-gzip", gunzipped},
	{"body-quoted", func(b []byte) [][]byte {
		s, ok := jsonString(b)
		if !ok {
			return nil
		}
		return one([]byte(s))
	}},
	{"body-unquoted", func(b []byte) [][]byte { return one(marshal(string(b))) }},
	{"body-charset", func(b []byte) [][]byte { return append(latin1Bytes(b), latin1Text(b)) }},
}

func one(parts ...[]byte) [][]byte { return [][]byte{bytes.Join(parts, nil)} }

func base64Originals(b []byte) [][]byte {
	originals := [][]byte{base64.StdEncoding.AppendEncode(nil, b)}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if raw, err := enc.DecodeString(string(b)); err == nil {
			originals = append(originals, raw)
		}
	}
	return originals
}

func gunzipped(b []byte) [][]byte {
	zr, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	plain, err := io.ReadAll(io.LimitReader(zr, defaultMaxBodyBytes))
	if err != nil {
		return nil
	}
	return one(plain)
}

// latin1Bytes returns the bytes that became b when each was taken for a letter.
func latin1Bytes(b []byte) [][]byte {
	var raw []byte
	for _, r := range string(b) {
		if r > 0xff {
			return nil
		}
		raw = append(raw, byte(r))
	}
	return one(raw)
}

// latin1Text returns the UTF-8 text that became b in ISO 8859-1.
func latin1Text(b []byte) []byte {
	var text []byte
	for _, c := range b {
		text = utf8.AppendRune(text, rune(c))
	}
	return text
}

func endsEarly(body []byte) bool {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' && trimmed[0] != '[' {
		return false
	}
	var v any
	return errors.Is(json.NewDecoder(bytes.NewReader(trimmed)).Decode(&v), io.ErrUnexpectedEOF)
}

// jsonStyle returns in which style body's JSON has the wanted hash; "" if in none.
// A sender's order of keys cannot be found again unless it was alphabetical.
func jsonStyle(want string, body []byte) string {
	var compact bytes.Buffer
	if len(body) > maxGuessBytes || json.Compact(&compact, body) != nil {
		return ""
	}
	for _, letters := range spellings(body, compact.Bytes()) {
		for _, layout := range layouts(letters) {
			for _, end := range []jsonForm{{"", nil}, {" and a last newline", []byte("\n")}} {
				if bodyHash(append(layout.text, end.text...)) == want {
					return layout.name + end.name
				}
			}
		}
	}
	return ""
}

type jsonForm struct {
	name string
	text []byte
}

func sortedKeys(body []byte) []byte {
	var v any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return nil
	}
	return marshal(v)
}

// marshal is json.Marshal without the escapes for HTML.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return nil
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// spellings returns the JSON of body, which is compact once more, with its strings
// written as the common encoders write them.
func spellings(body, compact []byte) []jsonForm {
	forms := []jsonForm{{"", compact}}
	for _, order := range []jsonForm{{"", plainStrings(compact)}, {" with sorted keys", sortedKeys(body)}} {
		if order.text == nil {
			continue
		}
		var html bytes.Buffer
		json.HTMLEscape(&html, order.text)
		slashed := bytes.ReplaceAll(order.text, []byte("/"), []byte(`\/`))
		forms = append(forms,
			jsonForm{order.name + " with plain letters", order.text},
			jsonForm{order.name + " with <, > and & escaped", html.Bytes()},
			jsonForm{order.name + " in ASCII", asciiJSON(order.text)},
			jsonForm{order.name + ` with "/" escaped`, slashed},
			jsonForm{order.name + ` in ASCII with "/" escaped`, asciiJSON(slashed)},
		)
	}
	return forms
}

// plainStrings rewrites every string of the compact JSON without needless escapes.
func plainStrings(compact []byte) []byte {
	var out []byte
	for i := 0; i < len(compact); {
		if compact[i] != '"' {
			out = append(out, compact[i])
			i++
			continue
		}
		end := i + stringLength(compact[i:])
		s, ok := jsonString(compact[i:end])
		if !ok {
			return nil
		}
		out = append(out, marshal(s)...)
		i = end
	}
	return out
}

// jsonString returns the text that data quotes, if data is a JSON string.
func jsonString(data []byte) (string, bool) {
	var s string
	err := json.Unmarshal(data, &s)
	return s, err == nil
}

// stringLength returns the length of the JSON string that valid JSON begins with.
func stringLength(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

func asciiJSON(text []byte) []byte {
	var b []byte
	for _, r := range string(text) {
		if r < utf8.RuneSelf {
			b = append(b, byte(r))
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			b = append(b, `\u`...)
			b = hex.AppendEncode(b, []byte{byte(unit >> 8), byte(unit)})
		}
	}
	return b
}

func layouts(compact jsonForm) []jsonForm {
	forms := []jsonForm{
		{compact.name + " written compact", bytes.Clone(compact.text)},
		{compact.name + " with a space after ':' and ','", spaced(compact.text)},
	}
	for _, indent := range []jsonForm{{"two spaces", []byte("  ")}, {"four spaces", []byte("    ")}, {"tabs", []byte("\t")}} {
		var b bytes.Buffer
		if json.Indent(&b, compact.text, "", string(indent.text)) == nil {
			forms = append(forms, jsonForm{compact.name + " indented by " + indent.name, b.Bytes()})
		}
	}
	return forms
}

func spaced(compact []byte) []byte {
	var out []byte
	for i := 0; i < len(compact); {
		n := 1
		if compact[i] == '"' {
			n = stringLength(compact[i:])
		}
		out = append(out, compact[i:i+n]...)
		if compact[i] == ':' || compact[i] == ',' {
			out = append(out, ' ')
		}
		i += n
	}
	return out
}
