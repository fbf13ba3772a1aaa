package api

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/intake"
	"github.com/signposthq/signpost/internal/wire"
)

// Calls of webhooks that are not there, which one address may make before it is
// told to wait. There may be many by no fault of the caller's: a run has ended.
const (
	strays      = 200
	straysEvery = 10 * time.Second
)

// callWebhook takes a call of a run's webhook: ANY
// /v2/workflows/hooks/{user}/{run}/{event}. It needs no token; who knows the URL
// may call it. What asks about the URL and does not call it, as link checkers and
// browsers do, is no call, and is answered the same for whatever URL.
func callWebhook(r *request) (any, error) {
	switch strings.ToUpper(r.Method) { // as whoever makes a request of it again will
	case http.MethodOptions, http.MethodHead:
		r.writer.Header().Set("Allow", webhookMethods)
		return struct{}{}, nil
	case http.MethodTrace, http.MethodConnect, "TRACK":
		// Endpoints could not make a request of it again.
		r.writer.Header().Set("Allow", webhookMethods)
		return reply{http.StatusMethodNotAllowed, map[string]string{"error": "method " + r.Method + " is not allowed here"}}, nil
	}
	h := r.handler
	hook, err := r.webhook()
	if err != nil {
		return nil, err
	}
	body, err := r.body(h.engine.MaxBody(&engine.Caller{Tenant: hook.Tenant}))
	if err != nil {
		return nil, err
	}
	proto, host, err := h.address(r.Request)
	if err != nil {
		return nil, err
	}
	if !intake.IsReadable(host) {
		return nil, invalid("Host: expected a host whose labels in Punycode can be decoded, got %.300q", host)
	}
	call, err := wire.NewWebhookCall(r.Method, r.Header, body, proto, host, uri(r.Request))
	if err != nil {
		return nil, err
	}
	event, err := call.Encode()
	if err != nil {
		return nil, err
	}
	return struct{}{}, h.engine.Call(r.Context(), hook, event)
}

// webhook finds the one that is called. Whoever has called many that are not there
// is told to wait, and makes the server look for no more than one at a time. Those
// that are there answer nonetheless: a provider's addresses are many customers'.
func (r *request) webhook() (*engine.Webhook, error) {
	h := r.handler
	key := h.strays.addr(r.addr)
	wait := h.strays.wait(key)
	if wait > 0 {
		h.straying.Lock()
		defer h.straying.Unlock()
	}
	hook, err := h.engine.Webhook(r.Context(), r.params[0], r.params[1], r.params[2])
	if engine.ErrorCode(err) != engine.NotFound {
		return hook, err
	}
	if wait > 0 {
		return nil, r.limited(wait, "too many calls of unknown webhooks from "+r.callerIP())
	}
	h.strays.charge(key)
	return nil, err
}

const webhookMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// uri is path and query as they came.
func uri(r *http.Request) string {
	path, query := splitURI(r)
	if query == "" && !strings.HasSuffix(r.RequestURI, "?") {
		return path
	}
	return path + "?" + query
}

// address is the scheme and the host that a request was sent to. A proxy's word
// for it is taken only if it is trusted.
func (h *Handler) address(r *http.Request) (proto, host string, err error) {
	proto, host = "http", r.Host
	if r.TLS != nil {
		proto = "https"
	}
	if peer, _ := parseAddr(r.RemoteAddr); !h.trusts(peer) {
		return proto, host, nil
	}
	if v := lastValue(r.Header["X-Forwarded-Proto"]); v != "" {
		if proto = strings.ToLower(v); !slices.Contains([]string{"http", "https"}, proto) {
			return "", "", invalid("X-Forwarded-Proto: expected http or https, got %q", v)
		}
	}
	if v := lastValue(r.Header["X-Forwarded-Host"]); v != "" {
		host = v
	}
	return proto, host, nil
}

// lastValue is what the proxy before us has added to a header that is a list.
func lastValue(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	last := lines[len(lines)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}
