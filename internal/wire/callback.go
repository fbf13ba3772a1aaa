package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// callback reads a callback's URL and settings into to.
func (p *configParser) callback(to **Callback, name, prefix string, values []string) error {
	url, err := single(values)
	if err == nil {
		err = CheckURL(url)
	}
	if err != nil {
		return Within(name, err)
	}
	c := &Callback{URL: url, Header: callbackHeader(p.h, prefix)}
	if _, err := parseConfig(c.Header, true); err != nil {
		return originalName(prefix, err)
	}
	*to = c
	return nil
}

func callbackHeader(h http.Header, prefix string) http.Header {
	var header http.Header
	for name, values := range h {
		setting, ok := strings.CutPrefix(name, prefix)
		if setting = PrefixUpstash + setting; !ok || strings.HasPrefix(setting, PrefixTelemetry) {
			continue
		}
		if header == nil {
			header = make(http.Header)
		}
		header[setting] = values
	}
	return header
}

// originalName gives an error about a callback's setting the name that the
// setting had in the request.
func originalName(prefix string, err error) error {
	e, ok := err.(*Error)
	if !ok || e.Field == "" {
		return err
	}
	return &Error{Field: prefix + strings.TrimPrefix(e.Field, PrefixUpstash), Message: e.Message}
}

// failsRun says whether a setting is about the failure of the run that a call's result
// goes to. SDKs that send a run's settings with each step send them with this one, too.
func (p *configParser) failsRun(name string) bool {
	return http.Header(p.h).Get(HeaderWorkflowCallType) == string(CallFrom) &&
		(name == HeaderFailureCallback || strings.HasPrefix(name, PrefixFailureCallback))
}

func isCallbackSetting(name string) bool {
	return name == HeaderCallback || name == HeaderFailureCallback ||
		strings.HasPrefix(name, PrefixCallback) || strings.HasPrefix(name, PrefixFailureCallback)
}

// CallbackBody is the body of a callback or failure callback message
// (protocol: callbacks; of a run, also its failure). Bodies are base64 on the
// wire; times are Unix milliseconds.
//
// Encoded, it has what the protocol always has, with {} for no headers, which
// readers index.
// Decoding accepts what documents and older servers show besides: header values
// that are single strings, quoted numbers, nulls.
type CallbackBody struct {
	Status            int         `json:"status"` // 0: there was no response
	Header            http.Header `json:"header"`
	Body              []byte      `json:"body,omitempty"`
	Retried           int         `json:"retried,omitempty"`
	MaxRetries        int         `json:"maxRetries"`
	DLQID             string      `json:"dlqId,omitempty"` // failure callbacks only
	SourceMessageID   string      `json:"sourceMessageId"`
	TopicName         string      `json:"topicName,omitempty"`
	EndpointName      string      `json:"endpointName,omitempty"`
	URL               string      `json:"url"`
	Method            string      `json:"method"`
	SourceHeader      http.Header `json:"sourceHeader"`
	SourceBody        []byte      `json:"sourceBody,omitempty"`
	NotBefore         int64       `json:"notBefore"`
	CreatedAt         int64       `json:"createdAt"`
	ScheduleID        string      `json:"scheduleId,omitempty"`
	CallerIP          string      `json:"callerIP,omitempty"`
	WorkflowRunID     string      `json:"workflowRunId,omitempty"`     // a run's failure only
	WorkflowCreatedAt int64       `json:"workflowCreatedAt,omitempty"` // a run's failure only
}

// Encode gives the body as it is sent. Endpoints behind a parser of bodies,
// such as Express's, verify the signature of what they get by encoding it anew:
// so these are the very bytes that JavaScript's encoder gives back, which
// escapes nothing that need not be.
func (b CallbackBody) Encode() ([]byte, error) {
	type plain CallbackBody
	if b.Header = byteStrings(b.Header); b.Header == nil {
		b.Header = http.Header{}
	}
	if b.SourceHeader == nil {
		b.SourceHeader = http.Header{}
	}
	body, source := b.Body, b.SourceBody
	b.Body, b.SourceBody = placeholder(body), placeholder(source)
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(plain(b)); err != nil {
		return nil, err
	}
	rest := unescape(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
	out := make([]byte, 0, len(rest)+base64.StdEncoding.EncodedLen(len(body))+base64.StdEncoding.EncodedLen(len(source)))
	out, rest = fill(out, rest, `"body":"`, body)
	out, rest = fill(out, rest, `"sourceBody":"`, source)
	return append(out, rest...), nil
}

// placeholder stands for a body, which may be large, in what encoding/json
// encodes: that makes copies.
func placeholder(body []byte) []byte {
	if len(body) == 0 {
		return nil
	}
	return []byte{0}
}

// encodedPlaceholder is what a placeholder becomes.
const encodedPlaceholder = `AA==`

// fill moves text to out as far as a field, and puts the field's body there in
// place of the placeholder. Nothing else looks like the field: the values before
// it are headers, which are lists, and quotes in strings are escaped.
func fill(out, text []byte, field string, body []byte) (filled, rest []byte) {
	if len(body) == 0 {
		return out, text
	}
	at := bytes.Index(text, []byte(field)) + len(field)
	out = base64.StdEncoding.AppendEncode(append(out, text[:at]...), body)
	return out, text[at+len(encodedPlaceholder):]
}

// byteStrings makes each byte of a header's values one character, where that
// matters. JavaScript's Headers are like that, and take no character that is no
// byte: the official SDK could not read the result of a call that had one.
func byteStrings(h http.Header) http.Header {
	var out http.Header
	for name, values := range h {
		for i, value := range values {
			if isASCII(value) {
				continue
			}
			if out == nil {
				out = h.Clone()
			}
			var b strings.Builder
			for _, c := range []byte(value) {
				b.WriteRune(rune(c))
			}
			out[name][i] = b.String()
		}
	}
	if out == nil {
		return h
	}
	return out
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

// unescape puts characters into JSON's strings that encoding/json always
// escapes, and JavaScript never.
func unescape(text []byte) []byte {
	out := text[:0]
	for len(text) > 0 {
		n := 1
		if text[0] == '\\' {
			if n = 2; text[1] == 'u' {
				n = 6
			}
			switch string(text[:n]) {
			case `\u2028`, `\u2029`, `\ufffd`:
				r, _ := strconv.ParseUint(string(text[2:n]), 16, 16)
				out, text = utf8.AppendRune(out, rune(r)), text[n:]
				continue
			}
		}
		out, text = append(out, text[:n]...), text[n:]
	}
	return out
}

// MarshalJSON is Encode; json.Marshal escapes more on top of it.
func (b CallbackBody) MarshalJSON() ([]byte, error) { return b.Encode() }

// UnmarshalJSON decodes leniently; its errors are *Error and name the field.
// Header names come out canonical.
func (b *CallbackBody) UnmarshalJSON(data []byte) error {
	o := readObject(data)
	*b = CallbackBody{
		Status:            o.int("status"),
		Header:            o.header("header"),
		Body:              o.bytes("body"),
		Retried:           o.int("retried"),
		MaxRetries:        o.int("maxRetries"),
		DLQID:             o.text("dlqId"),
		SourceMessageID:   o.text("sourceMessageId"),
		TopicName:         o.text("topicName"),
		EndpointName:      o.text("endpointName"),
		URL:               o.text("url"),
		Method:            o.text("method"),
		SourceHeader:      o.header("sourceHeader"),
		SourceBody:        o.bytes("sourceBody"),
		NotBefore:         o.int64("notBefore"),
		CreatedAt:         o.int64("createdAt"),
		ScheduleID:        o.text("scheduleId"),
		CallerIP:          o.text("callerIP"),
		WorkflowRunID:     o.text("workflowRunId"),
		WorkflowCreatedAt: o.int64("workflowCreatedAt"),
	}
	return o.err
}
