package wire

import (
	"encoding/json"
	"net/http"
	"strings"
)

// callback reads a callback's URL and settings into to.
func (p *configParser) callback(to **Callback, name, prefix string, values []string) error {
	url, err := single(values)
	if err == nil {
		err = checkURL(url)
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

func isCallbackSetting(name string) bool {
	return name == HeaderCallback || name == HeaderFailureCallback ||
		strings.HasPrefix(name, PrefixCallback) || strings.HasPrefix(name, PrefixFailureCallback)
}

// CallbackBody is the body of a callback or failure callback message
// (protocol: callbacks; of a run, also its failure). Bodies are base64 on the
// wire; times are Unix milliseconds.
//
// Encoded, it has what the protocol always has, with {} for no headers.
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

// MarshalJSON encodes nil header maps as {}, which is what readers index.
func (b CallbackBody) MarshalJSON() ([]byte, error) {
	type plain CallbackBody
	if b.Header == nil {
		b.Header = http.Header{}
	}
	if b.SourceHeader == nil {
		b.SourceHeader = http.Header{}
	}
	return json.Marshal(plain(b))
}

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
