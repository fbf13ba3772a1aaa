package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// BatchItem is one message of a batch request.
type BatchItem struct {
	Destination string
	Header      http.Header // for ParseConfig; nil when there is none
	Body        []byte      // nil when absent or null
	Queue       string      // "" when absent or null
}

// ParseBatch decodes the body of a batch request: a JSON array, in UTF-8, of
// objects with destination, headers, body and queue (protocol: batch). It
// checks header names; header values are ParseConfig's and destinations
// CheckDestination's, whose errors Within("[2].headers", err) puts in their place.
// Other keys are refused: a mistyped one would do nothing. The error is an *Error
// with a Field such as "[2].queue".
func ParseBatch(body []byte) ([]BatchItem, error) {
	if !utf8.Valid(body) {
		return nil, errorf("", "expected a JSON array in UTF-8, got other bytes")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if start, err := decoder.Token(); err != nil || start != json.Delim('[') {
		return nil, errorf("", "expected a JSON array of messages")
	}
	var items []BatchItem
	for decoder.More() {
		item, err := parseItem(decoder)
		if err != nil {
			return nil, Within("["+strconv.Itoa(len(items))+"]", err)
		}
		items = append(items, item)
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errorf("", "expected a JSON array of messages: %v", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errorf("", "expected nothing after the JSON array")
	}
	if len(items) == 0 {
		return nil, errorf("", "expected at least one message in the batch")
	}
	return items, nil
}

func parseItem(decoder *json.Decoder) (BatchItem, error) {
	var raw struct {
		Destination *string                    `json:"destination"`
		Headers     map[string]json.RawMessage `json:"headers"`
		Body        *string                    `json:"body"`
		Queue       *string                    `json:"queue"`
	}
	if err := decoder.Decode(&raw); err != nil {
		return BatchItem{}, itemError(err)
	}
	header, err := ItemHeader(raw.Headers)
	if err != nil {
		return BatchItem{}, Within("headers", err)
	}
	item := BatchItem{Header: header}
	if raw.Destination != nil {
		item.Destination = *raw.Destination
	}
	if raw.Body != nil {
		item.Body = []byte(*raw.Body)
	}
	if raw.Queue != nil {
		item.Queue = *raw.Queue
	}
	if item.Queue != "" {
		if err := CheckName(item.Queue); err != nil {
			return BatchItem{}, Within("queue", err)
		}
	}
	return item, nil
}

func itemError(err error) error {
	var wrongType *json.UnmarshalTypeError
	if name, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		return errorf("", "expected destination, headers, body and queue, got %.80s", name)
	}
	if !errors.As(err, &wrongType) {
		return errorf("", "expected a JSON object: %v", err)
	}
	expected := "a string"
	switch wrongType.Field {
	case "":
		expected = "an object"
	case "headers":
		expected = "an object of header names and values"
	}
	got, _, _ := strings.Cut(wrongType.Value, " ") // a number would follow
	return errorf(wrongType.Field, "expected %s, got %s", expected, got)
}

// ItemHeader makes the header of a batch item from its JSON object, whose
// values are strings or arrays of strings. Names become canonical; names that
// differ in case only are one header, which keeps a value that they share once.
// It is nil when there is none. The error is an *Error whose Field is the name.
func ItemHeader(object map[string]json.RawMessage) (http.Header, error) {
	if len(object) == 0 {
		return nil, nil
	}
	h := make(http.Header, len(object))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if !isToken(name) {
			return nil, errorf("", "expected a header name, got %s", quoteName(name))
		}
		values, ok := stringOrStrings(object[name])
		if !ok {
			return nil, errorf(name, "expected a string or an array of strings, got %s", kindOf(object[name]))
		}
		addMissing(h, http.CanonicalHeaderKey(name), values)
	}
	return h, nil
}

// addMissing adds to h[name] the values that another spelling of it did not bring.
func addMissing(h http.Header, name string, values []string) {
	known := h[name]
	for _, v := range values {
		if !slices.Contains(known, v) {
			h[name] = append(h[name], v)
		}
	}
}
