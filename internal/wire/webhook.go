package wire

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"
)

// WebhookCall is a call of a run's webhook, as its step gets it (protocol:
// waitForWebhook).
type WebhookCall struct {
	Method string      `json:"method"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"` // base64 in JSON
	Proto  string      `json:"proto"`
	Host   string      `json:"host"`
	URL    string      `json:"url"` // path and query, as they came
}

// NewWebhookCall checks and keeps what an endpoint makes a request of again: a
// call that it can't make one of would fail its run at each attempt. The error
// is an *Error that names the header.
func NewWebhookCall(method string, h http.Header, body []byte, proto, host, uri string) (WebhookCall, error) {
	c := WebhookCall{Method: method, Header: make(http.Header, len(h)), Body: body, Proto: proto, Host: host, URL: asciiURI(uri)}
	if c.Body == nil {
		c.Body = []byte{}
	}
	if !isHost(proto, host) {
		return c, errorf("Host", "expected a host, with or without a port, got %s", quote(host))
	}
	p := configParser{h: h}
	for name, values := range h {
		if p.forConnection(name) || ofConnection(name) {
			continue
		}
		for _, v := range values {
			c.Header[name] = append(c.Header[name], fieldText(v))
		}
	}
	return c, nil
}

// isHost says whether every endpoint takes a host for one in a URL. The names are
// those of DNS: one that ends in a number is an IPv4 address, or none.
func isHost(proto, host string) bool {
	odd := func(r rune) bool {
		return !isNameByte(byte(r)) && !strings.ContainsRune(":[]~", r) || r >= utf8.RuneSelf
	}
	if strings.ContainsFunc(host, odd) || CheckURL(proto+"://"+host) != nil {
		return false
	}
	u, err := url.Parse(proto + "://" + host)
	if err != nil {
		return false
	}
	name := u.Hostname()
	addr, err := netip.ParseAddr(name)
	if strings.HasPrefix(host, "[") {
		return err == nil && addr.Is6()
	}
	return err == nil && addr.Is4() || !endsInNumber(name)
}

func endsInNumber(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	last := name[strings.LastIndexByte(name, '.')+1:]
	digits, valid := last, "0123456789"
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		digits, valid = hex, valid+"abcdef"
	}
	return last != "" && strings.Trim(digits, valid) == ""
}

// ofConnection says whether a header is about one connection, or framing, and
// not about the request.
func ofConnection(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Content-Length", "Expect",
		"Proxy-Connection":
		return true
	}
	return false
}

// fieldText is a header's value as a string of characters up to U+00FF, which
// is what requests are made with. UTF-8 that has others is taken byte by byte.
func fieldText(v string) string {
	if utf8.ValidString(v) && !strings.ContainsFunc(v, func(r rune) bool { return r > 0xff }) {
		return v
	}
	runes := make([]rune, len(v))
	for i := range len(v) {
		runes[i] = rune(v[i])
	}
	return string(runes)
}

// asciiURI encodes what is not ASCII in a path and query.
func asciiURI(uri string) string {
	if !strings.ContainsFunc(uri, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return uri
	}
	var out strings.Builder
	for i := range len(uri) {
		if b := uri[i]; b < utf8.RuneSelf {
			out.WriteByte(b)
		} else {
			fmt.Fprintf(&out, "%%%02X", b)
		}
	}
	return out.String()
}

// Encode gives the call's JSON.
func (c WebhookCall) Encode() ([]byte, error) { return json.Marshal(c) }

// WebhookEvent is the id of the event in the result of a step that has made a
// webhook; "" if it is none, or has none.
func WebhookEvent(s *Step) string {
	var result struct {
		EventID string `json:"eventId"`
	}
	if s.StepType != StepCreateWebhook || s.Out == nil || json.Unmarshal([]byte(*s.Out), &result) != nil {
		return ""
	}
	if CheckEventID(result.EventID) != nil {
		return ""
	}
	return result.EventID
}
