package api

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/signposthq/signpost/internal/engine"
)

// Limits bound how often one caller may ask, in requests per second.
type Limits struct {
	PerToken int // of the requests that see and manage; default 1000, negative: no limit
	PerIP    int // of all requests; 0: no limit
	// TrustedProxies are networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
}

const (
	defaultPerToken = 1000
	// Wrong tokens that one address may try before it has to wait.
	guesses      = 20
	guessesEvery = 10 * time.Second
)

// Limit sets limits other than the default ones. Call it before the first
// request.
func (h *Handler) Limit(l Limits) {
	if l.PerToken == 0 {
		l.PerToken = defaultPerToken
	}
	h.perToken, h.perIP = newLimiter(l.PerToken, time.Second), newLimiter(l.PerIP, time.Second)
	h.guesses = newLimiter(guesses, guessesEvery)
	h.proxies = l.TrustedProxies
}

// unlimited are the routes that have no limit per token: what publishes, and
// what endpoints of workflows report and fetch (protocol: rate limits).
var unlimited = map[routeName]bool{
	{"POST", "/v2/publish/{destination...}"}:         true,
	{"POST", "/v2/enqueue/{queue}/{destination...}"}: true,
	{"POST", "/v2/batch"}:                            true,
	{"POST", "/v2/batch/trigger"}:                    true,
	{"POST", "/v2/trigger/{destination...}"}:         true,
	{"GET", "/v2/workflows/runs/{id}"}:               true,
	{"DELETE", "/v2/workflows/runs/{id}"}:            true,
}

type routeName struct{ method, pattern string }

// authenticate finds out who calls. A good token costs no read once it has been
// seen; each that is not known costs one. So an address that keeps trying wrong
// ones has to wait, but for tokens that are known to be good: whoever shares
// the address with a guesser is not locked out.
func (h *Handler) authenticate(r *request, token string) error {
	key := h.guesses.addr(r.addr)
	if wait := h.guesses.wait(key); wait > 0 && token != "" && !h.engine.Remembers(token) {
		return r.limited(wait, "too many requests with unknown tokens from "+r.callerIP())
	}
	var err error
	r.caller, err = h.engine.Authenticate(r.Context(), token)
	if token != "" && engine.ErrorCode(err) == engine.Unauthorized {
		h.guesses.charge(key)
	}
	return err
}

// limitIP counts a request for its address.
func (h *Handler) limitIP(r *request) error {
	if h.perIP == nil {
		return nil
	}
	v := h.perIP.take(h.perIP.addr(r.addr))
	if v.wait > 0 {
		v.tell(r.writer.Header())
		return r.limited(v.wait, "too many requests from "+r.callerIP())
	}
	return nil
}

// limitToken counts a request for its token, and says how many more may come.
func (h *Handler) limitToken(r *request, token string) error {
	if h.perToken == nil || unlimited[routeName{r.route.method, r.route.pattern}] {
		return nil
	}
	v := h.perToken.take(h.perToken.text(token))
	v.tell(r.writer.Header())
	if v.wait > 0 {
		return r.limited(v.wait, "too many requests with this token")
	}
	return nil
}

// limited refuses a request for now.
func (r *request) limited(wait time.Duration, why string) error {
	seconds := strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10)
	r.writer.Header().Set("Retry-After", seconds)
	return &engine.Error{Code: engine.Limited, Message: why + "; try again in " + seconds + " s"}
}

// tell puts a verdict into the headers that the protocol has for limits of a
// second.
func (v *verdict) tell(header http.Header) {
	header.Set("Burst-RateLimit-Limit", strconv.Itoa(v.limit))
	header.Set("Burst-RateLimit-Remaining", strconv.Itoa(v.left))
	header.Set("Burst-RateLimit-Reset", strconv.FormatInt(v.reset, 10))
}
