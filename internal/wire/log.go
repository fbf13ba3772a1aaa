package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
)

// LogEntry is one message of a run's log. The first entry's body is the initial
// payload, that of the others with CallStep a Step.
type LogEntry struct {
	MessageID string
	CallType  CallType // encoded as CallStep when empty
	Body      []byte
}

// EncodeLog appends to dst the JSON array that a run's endpoint is sent, and
// that reading a run's steps answers (protocol: delivery body). It allocates
// only to grow dst, once.
func EncodeLog(dst []byte, entries []LogEntry) []byte {
	const overhead = len(`{"messageId":"","body":"","callType":""},`)
	size := len("[]")
	for _, e := range entries {
		size += overhead + len(e.MessageID) + base64.StdEncoding.EncodedLen(len(e.Body)) + max(len(e.CallType), len(CallStep))
	}
	if cap(dst)-len(dst) < size {
		dst = append(make([]byte, 0, len(dst)+size), dst...)
	}
	dst = append(dst, '[')
	for i, e := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"messageId":`...)
		dst = appendJSONString(dst, e.MessageID)
		dst = append(dst, `,"body":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, e.Body)
		dst = append(dst, `","callType":`...)
		if e.CallType == "" {
			e.CallType = CallStep
		}
		dst = append(appendJSONString(dst, string(e.CallType)), '}')
	}
	return append(dst, ']')
}

// appendJSONString leaves what needs escaping, which no id of ours does, to
// encoding/json.
func appendJSONString(dst []byte, s string) []byte {
	for i := range len(s) {
		if b := s[i]; b < ' ' || b >= 0x7f || b == '"' || b == '\\' {
			quoted, _ := json.Marshal(s) // a string always encodes
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// ParseLog decodes the array of EncodeLog. An empty, null or absent body is
// nil, an empty call type CallStep. The error is an *Error with a Field such as
// "[2].body".
func ParseLog(data []byte) ([]LogEntry, error) {
	var raw []rawJSON
	if err := json.Unmarshal(data, &raw); err != nil || !bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		return nil, errorf("", "expected a JSON array of log entries, got %s", kindOf(data))
	}
	entries := make([]LogEntry, len(raw))
	for i, r := range raw {
		o := readObject(r)
		entries[i] = LogEntry{
			MessageID: o.text("messageId"),
			CallType:  CallType(o.text("callType")),
			Body:      o.bytes("body"),
		}
		if entries[i].CallType == "" {
			entries[i].CallType = CallStep
		}
		if o.err != nil {
			return nil, Within("["+strconv.Itoa(i)+"]", o.err)
		}
	}
	return entries, nil
}
