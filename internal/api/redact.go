package api

import (
	"net/http"
	"strings"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// veil is between a message or a run and who reads about it: what its publisher
// asked to redact is shown as a hash.
type veil struct {
	*wire.Redact
	secrets *engine.TenantSecrets
}

func (r *request) veil(s *engine.Settings) veil {
	return veil{&s.Redact, &r.caller.Secrets}
}

// answerVeil is for what a message was answered. Only the answer to a run's call
// is redacted, as the call is: it is the result of a step, whose body hides it.
func (r *request) answerVeil(m *engine.Message) veil {
	if m == nil || m.Kind != engine.KindToCallback {
		return veil{Redact: &wire.Redact{}}
	}
	return r.veil(&m.Settings)
}

// body is what stands for a body, "" if it is shown, as one of no bytes always
// is.
func (v veil) body(b []byte) string {
	if !v.Body || len(b) == 0 {
		return ""
	}
	return v.secrets.Redacted(b)
}

// text is a body, or a part of one, that is shown as a string.
func (v veil) text(b []byte) string {
	if hidden := v.body(b); hidden != "" {
		return hidden
	}
	return text(b)
}

func (v veil) header(h http.Header) http.Header { return v.under("", h) }

// callbackHeader is the settings of a callback, among them the headers that are
// forwarded to it.
func (v veil) callbackHeader(h http.Header) http.Header { return v.under(wire.PrefixForward, h) }

// settings is the settings of a message in headers, among them the headers that
// are forwarded to its destination and to its callbacks.
func (v veil) settings(h http.Header) http.Header {
	for _, prefix := range []string{wire.PrefixUpstash, wire.PrefixCallback, wire.PrefixFailureCallback} {
		h = v.under(prefix+strings.TrimPrefix(wire.PrefixForward, wire.PrefixUpstash), h)
	}
	return h
}

// under hides headers that bear a prefix by their name without it.
func (v veil) under(prefix string, h http.Header) http.Header {
	if !v.Headers && len(v.Names) == 0 {
		return h
	}
	out := make(http.Header, len(h))
	for name, values := range h {
		plain, ok := strings.CutPrefix(name, prefix)
		if !ok || !v.Header(plain) {
			out[name] = values
			continue
		}
		for _, value := range values {
			out[name] = append(out[name], v.secrets.Redacted([]byte(value)))
		}
	}
	return out
}
