package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// rawJSON is a value that is not decoded yet. It shares the bytes it came from,
// so it lives no longer than they do.
type rawJSON []byte

func (r *rawJSON) UnmarshalJSON(data []byte) error {
	*r = data
	return nil
}

func (r rawJSON) null() bool { return len(r) == 0 || string(r) == "null" }

func (r rawJSON) isString() bool { return len(r) > 1 && r[0] == '"' }

// string decodes a JSON string.
func (r rawJSON) string() string {
	if inner := r[1 : len(r)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	var s string
	_ = json.Unmarshal(r, &s) // r was scanned as a string already
	return s
}

// looseObject reads fields of a JSON object whose writers differ in types. A
// field that is absent or null is zero. err is the first field that could not
// be read.
type looseObject struct {
	fields map[string]rawJSON
	err    error
}

func readObject(data []byte) *looseObject {
	o := &looseObject{}
	if err := json.Unmarshal(data, &o.fields); err != nil || o.fields == nil {
		o.err = errorf("", "expected a JSON object, got %s", kindOf(data))
	}
	return o
}

func (o *looseObject) fail(name, expected string) {
	if o.err != nil {
		return
	}
	got := kindOf(o.fields[name])
	if _, kind, ok := strings.Cut(got, " "); ok && strings.Contains(expected, kind) {
		got = "another " + kind
	}
	o.err = errorf(name, "expected %s, got %s", expected, got)
}

// kindOf names what JSON data is. Errors tell that, and not the data, which may
// be a secret.
func kindOf(data []byte) string {
	if !json.Valid(data) {
		return "text that is not JSON"
	}
	switch bytes.TrimSpace(data)[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// text reads a string; other JSON is taken as its own text.
func (o *looseObject) text(name string) string {
	if r := o.fields[name]; r.isString() {
		return r.string()
	} else if !r.null() {
		return string(r)
	}
	return ""
}

// name reads text that is stored as such, which NUL and broken UTF-8 cannot be.
func (o *looseObject) name(name string) string {
	s := o.text(name)
	if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		o.fail(name, "UTF-8 text without NUL bytes")
		return ""
	}
	return s
}

// optionalText is nil for a field that is absent or null.
func (o *looseObject) optionalText(name string) *string {
	if o.fields[name].null() {
		return nil
	}
	s := o.text(name)
	return &s
}

// int64 reads a whole number, quoted or not.
func (o *looseObject) int64(name string) int64 {
	r := o.fields[name]
	if r.null() {
		return 0
	}
	s := string(r)
	if r.isString() {
		s = r.string()
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	const exact = 1 << 53
	if f, err := strconv.ParseFloat(s, 64); err == nil && f == math.Trunc(f) && math.Abs(f) <= exact {
		return int64(f)
	}
	o.fail(name, "a whole number")
	return 0
}

// int reads a whole number of 32 bits.
func (o *looseObject) int(name string) int {
	n := o.int64(name)
	if n != int64(int32(n)) {
		o.fail(name, "a whole number of 32 bits")
		return 0
	}
	return int(n)
}

// count reads a whole number of 32 bits, from 0.
func (o *looseObject) count(name string) int {
	n := o.int(name)
	if n < 0 {
		o.fail(name, "a whole number from 0")
		return 0
	}
	return n
}

func (o *looseObject) bool(name string) bool {
	r := o.fields[name]
	if r.null() {
		return false
	}
	b, err := strconv.ParseBool(o.text(name))
	if err != nil {
		o.fail(name, "true or false")
	}
	return b
}

// seconds reads a number, quoted or not, or a duration such as "10m".
func (o *looseObject) seconds(name string) *Seconds {
	if o.fields[name].null() {
		return nil
	}
	var s Seconds
	if err := s.UnmarshalJSON(o.fields[name]); err != nil {
		o.fail(name, "seconds or a duration such as 10m")
		return nil
	}
	return &s
}

// bytes reads padded standard base64; nil when there are none.
func (o *looseObject) bytes(name string) []byte {
	r := o.fields[name]
	if r.null() {
		return nil
	}
	if r.isString() {
		b, err := base64.StdEncoding.DecodeString(r.string())
		switch {
		case err == nil && len(b) == 0:
			return nil
		case err == nil:
			return b
		}
	}
	o.fail(name, "a string of base64")
	return nil
}

// header reads a map of names to strings or arrays of strings.
func (o *looseObject) header(name string) http.Header {
	r := o.fields[name]
	if r.null() {
		return nil
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(r, &raw); err != nil {
		o.fail(name, "an object of header names and values")
		return nil
	}
	h := make(http.Header, len(raw))
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		values, ok := stringOrStrings(raw[key])
		if !ok {
			o.fail(name, "an object of header names and values")
			return nil
		}
		addMissing(h, http.CanonicalHeaderKey(key), values)
	}
	return h
}

// stringOrStrings decodes a JSON string, or an array of strings.
func stringOrStrings(data []byte) (values []string, ok bool) {
	r := rawJSON(data)
	if r.isString() {
		return []string{r.string()}, true
	}
	var raw []*string
	if r.null() || json.Unmarshal(data, &raw) != nil {
		return nil, false
	}
	for _, v := range raw {
		if v == nil {
			return nil, false
		}
		values = append(values, *v)
	}
	return values, true
}

// raw copies the field's JSON; nil when absent or null.
func (o *looseObject) raw(name string) json.RawMessage {
	if r := o.fields[name]; !r.null() {
		return bytes.Clone(r)
	}
	return nil
}
