package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// body reads the request's body, at most limit bytes; more is refused before
// it is read where its length was announced.
func (r *request) body(limit int64) ([]byte, error) {
	tooLarge := &engine.Error{Code: engine.TooLarge, Message: fmt.Sprintf("body: at most %d bytes are accepted", limit)}
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	most := limit
	if r.ContentLength >= 0 {
		most = r.ContentLength
	}
	body, err := readAll(r.measure(http.MaxBytesReader(r.writer, r.Body, limit), most), r.ContentLength)
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return nil, tooLarge
	}
	switch {
	case err == errCrowded:
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, invalid("body: expected at least 1 KiB per second, it came more slowly")
	case err != nil:
		return nil, invalid("body: it ended early")
	}
	return body, nil
}

// readAll reads a body of so many bytes, -1 if that was not said. Memory is
// given for what has come, not for what was announced.
func readAll(r io.Reader, length int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(r)
	}
	body := make([]byte, min(length, smallBody))
	read := 0
	for {
		n, err := io.ReadFull(r, body[read:])
		if read += n; err != nil || int64(read) == length {
			return body, err
		}
		body = append(body, make([]byte, min(length, 2*int64(read))-int64(read))...)
	}
}

// json reads the body into v, see [decodeJSON].
func (r *request) json(limit int64, v any) error {
	body, err := r.body(limit)
	if err != nil {
		return err
	}
	return decodeJSON(body, v)
}

// decodeJSON reads a body, a JSON object without fields that v does not have, into
// v: a mistyped one must not pass for one that was left out. Bytes that are not
// UTF-8 would be read as others.
func decodeJSON(body []byte, v any) error {
	if !utf8.Valid(body) {
		return errNotUTF8
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(v)
	if err == nil && !json.Valid(body) {
		err = errors.New("more than one value")
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return invalid("%s: expected a %s, got a %s", wrong.Field, jsonKind(wrong.Type), wrong.Value)
	}
	if name, unknown := strings.CutPrefix(fmt.Sprint(err), "json: unknown field "); unknown {
		return invalid("body: %s is not a field of this request, which has %s", name, strings.Join(fieldsOf(reflect.TypeOf(v)), ", "))
	}
	if err != nil {
		return invalid("body: expected a JSON object")
	}
	return nil
}

var errNotUTF8 = invalid("body: expected JSON in UTF-8, got other bytes")

// jsonKind is what JSON calls a type.
func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "list"
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.String, reflect.Bool:
		return t.Kind().String()
	}
	return "number"
}

// fieldsOf are the fields of a JSON object that a type has, those of objects in it
// behind a dot.
func fieldsOf(t reflect.Type) (names []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue // what is embedded has fields of its own
		}
		inner := fieldsOf(f.Type)
		if inner == nil {
			names = append(names, name)
		}
		for _, of := range inner {
			names = append(names, name+"."+of)
		}
	}
	return names
}

// takes refuses parameters that a request does not have.
func (r *request) takes(known ...string) error {
	for name := range r.query {
		if !slices.Contains(known, name) {
			return notTaken(name, known)
		}
	}
	return nil
}

// flag is a parameter that is true or false; false if it is not there.
func (r *request) flag(name string) (bool, error) {
	if !r.query.Has(name) {
		return false, nil
	}
	text, err := single(r.query, name)
	if err != nil {
		return false, err
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, invalid("%s: expected true or false", name)
	}
	return value, nil
}

// filters are the query parameters of a list or bulk operation. For those that
// older clients send in a JSON body, the body's fields are added.
type filters struct {
	url.Values
	blank []string // fields of the body that are null or "", as some clients write "none"
}

const filterBody = 1 << 20

// filters reads them. Strict is for what changes all that is selected: there a
// mistyped or an empty parameter, which would mean "everything", is refused.
func (r *request) filters(strict bool, known ...string) (*filters, error) {
	f := &filters{Values: r.query}
	if r.Method != http.MethodGet {
		if err := f.addBody(r); err != nil {
			return nil, err
		}
	}
	for _, name := range once {
		if _, err := f.one(name); err != nil {
			return nil, err
		}
	}
	if !strict {
		return f, nil
	}
	for name, values := range f.Values {
		switch {
		case name == "api":
		case !slices.Contains(known, name):
			return nil, notTaken(name, known)
		case !slices.Contains(mayBeEmpty, name) && len(wire.ListValues(values)) == 0:
			return nil, selectsNothing(name)
		}
	}
	for _, name := range f.blank {
		switch {
		case !slices.Contains(known, name):
			return nil, notTaken(name, known)
		case name == "count", !slices.Contains(mayBeEmpty, name) && !f.selective():
			return nil, selectsNothing(name)
		}
	}
	if path, _ := splitURI(r.Request); strings.HasSuffix(path, "/") && !f.selective() {
		return nil, invalid("%s: an id is missing after the slash; leave the slash out, too, to select everything", shorten(path))
	}
	return f, nil
}

// Parameters of bulk operations that select nothing by themselves, those that
// may be empty, and those of all lists that have one value.
var (
	modifiers  = []string{"api", "count", "cursor", "order", "workflowUrlExactMatch"}
	mayBeEmpty = []string{"cursor", "order"}
	once       = []string{"cursor", "order"}
)

// selective says whether a parameter selects some of what there is.
func (f *filters) selective() bool {
	for name, values := range f.Values {
		if !slices.Contains(modifiers, name) && len(wire.ListValues(values)) > 0 {
			return true
		}
	}
	return false
}

func notTaken(name string, known []string) error {
	takes := strings.Join(slices.Sorted(slices.Values(known)), ", ")
	return invalid("%s: not a parameter of this request, which takes %s", name, takes)
}

func selectsNothing(name string) error {
	return invalid("%s: an empty value selects nothing; leave it out to select everything", name)
}

// addBody adds the fields of the body. It reads them one by one: of a name that
// comes twice, a decoder would take the last.
func (f *filters) addBody(r *request) error {
	body, err := r.body(filterBody)
	if err != nil || len(bytes.TrimSpace(body)) == 0 {
		return err
	}
	if !utf8.Valid(body) {
		return errNotUTF8
	}
	bad := invalid("body: expected a JSON object of filters")
	if !json.Valid(body) || bytes.TrimSpace(body)[0] != '{' {
		return bad
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if _, err := decoder.Token(); err != nil {
		return bad
	}
	seen := make(map[string]bool)
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return bad
		}
		name, _ := key.(string)
		if seen[name] {
			return invalid("%s: expected once in the body", name)
		}
		seen[name] = true
		var value any
		if err := decoder.Decode(&value); err != nil {
			return bad
		}
		if err := f.addField(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (f *filters) addField(name string, value any) error {
	list, isList := value.([]any)
	switch {
	case value == "" && strings.HasSuffix(name, "Ids"): // an id that somebody forgot to fill in
		return selectsNothing(name)
	case value == nil, value == "":
		f.blank = append(f.blank, name)
		return nil
	case !isList:
		list = []any{value}
	case len(list) == 0:
		return selectsNothing(name)
	}
	for _, v := range list {
		switch v := v.(type) {
		case string:
			if strings.TrimSpace(v) == "" {
				return selectsNothing(name)
			}
			f.Add(name, v)
		case json.Number:
			f.Add(name, v.String())
		case bool:
			f.Add(name, strconv.FormatBool(v))
		default:
			return invalid("%s: expected a string, a number or a list of those", name)
		}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return &engine.Error{Code: engine.Invalid, Message: fmt.Sprintf(format, args...)}
}

// list is all values of a parameter, repeated or separated by commas, once
// each, whichever of its names they came under.
func (f *filters) list(names ...string) []string {
	var all []string
	for _, name := range names {
		all = append(all, f.Values[name]...)
	}
	return wire.ListValues(all)
}

// urls is list for values that may hold commas themselves: a value is also
// taken as a whole.
func (f *filters) urls(name string) []string { return wire.FilterValues(f.Values[name]) }

// prefixes are beginnings of URLs. A comma is between two of them only where one
// begins behind it: what selects too much must not come of one that holds commas.
func (f *filters) prefixes(name string) (all []string) {
	for _, v := range f.Values[name] {
		for more := true; more; {
			var one string
			one, v, more = cutPrefix(v)
			if one = strings.TrimSpace(one); one != "" && !slices.Contains(all, one) {
				all = append(all, one)
			}
		}
	}
	return all
}

func cutPrefix(list string) (first, rest string, more bool) {
	for i := range len(list) {
		if list[i] != ',' {
			continue
		}
		rest = strings.ToLower(strings.TrimSpace(list[i+1:]))
		if strings.HasPrefix(rest, "http://") || strings.HasPrefix(rest, "https://") {
			return list[:i], list[i+1:], true
		}
	}
	return list, "", false
}

// boolean is a parameter's value, def when it is not given.
func boolean(query url.Values, name string, def bool) (bool, error) {
	text, err := single(query, name)
	if err != nil || text == "" {
		return def, err
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, invalid("%s: expected true or false, got %q", name, text)
	}
	return b, nil
}

// single is the value of a parameter that has only one.
func single(query url.Values, name string) (string, error) {
	if values := query[name]; len(values) > 1 {
		return "", invalid("%s: expected one value, got %d", name, len(values))
	}
	return query.Get(name), nil
}

func (f *filters) one(name string) (string, error) { return single(f.Values, name) }

// integer is a parameter's value, def when it is not given.
func (f *filters) integer(name string, def, least int64) (int64, error) {
	text, err := f.one(name)
	if err != nil || text == "" {
		return def, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least {
		return 0, invalid("%s: expected a whole number of at least %d, got %q", name, least, text)
	}
	return n, nil
}

// count is the size of a page: most when not given, and never more.
func (f *filters) count(most int64) (int, error) {
	n, err := f.integer("count", most, 1)
	return int(min(n, most)), err
}

// dates are fromDate and toDate, Unix milliseconds, inclusive; 0 when open. So a
// toDate of 0, before which there was nothing, can't be one.
func (f *filters) dates() (from, to int64, err error) {
	if from, err = f.integer("fromDate", 0, 0); err != nil {
		return 0, 0, err
	}
	to, err = f.integer("toDate", 0, 1)
	return from, to, err
}

// newest reads the order of a list.
func (f *filters) newest(def bool) (bool, error) {
	switch order := f.Get("order"); order {
	case "":
		return def, nil
	case "latestFirst":
		return true, nil
	case "earliestFirst":
		return false, nil
	default:
		return false, invalid("order: expected latestFirst or earliestFirst, got %q", order)
	}
}

// messageFilters are the parameters that select messages.
var messageFilters = []string{
	"url", "host", "path", "label", "callerIp", "callerIP", "fromDate", "toDate",
	"topicName", "queueName", "scheduleId", "flowControlKey",
}

func (f *filters) messages() engine.MessageFilter {
	return engine.MessageFilter{
		URLs: f.urls("url"), Hosts: f.urls("host"), Paths: f.urls("path"),
		Labels: f.list("label"), CallerIPs: f.list("callerIp", "callerIP"),
		URLGroups: f.list("topicName"), Queues: f.list("queueName"), Schedules: f.list("scheduleId"),
		FlowKeys: f.urls("flowControlKey"), // which may hold commas
	}
}
