package api

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/signposthq/signpost/client"
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
	h.perTenant = newLimiter(1, time.Second) // each has a number of its own
	h.guesses = newLimiter(guesses, guessesEvery)
	h.strays = newLimiter(strays, straysEvery)
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
	{"POST", "/v2/wait/{event...}"}:                  true,
	{"POST", "/v2/notify/{event}"}:                   true,
	{"POST", "/v2/notify/{run}/{event...}"}:          true,
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

// limitToken counts a request for its token, or for its tenant where that has a
// limit of its own, and says how many more may come.
func (h *Handler) limitToken(r *request, token string) error {
	own := int(r.caller.Limits.RequestsPerSecond)
	if own == 0 && h.perToken == nil || unlimited[routeName{r.route.method, r.route.pattern}] {
		return nil
	}
	var v verdict
	whose := "this token"
	if own > 0 {
		v, whose = h.perTenant.takeOf(h.perTenant.number(r.caller.ID), own), "tokens of this tenant"
	} else {
		v = h.perToken.take(h.perToken.text(token))
	}
	v.tell(r.writer.Header())
	if v.wait > 0 {
		return r.limited(v.wait, "too many requests with "+whose)
	}
	return nil
}

// limited refuses a request for now.
func (r *request) limited(wait time.Duration, why string) error {
	seconds := strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10)
	r.writer.Header().Set("Retry-After", seconds)
	return &engine.Error{Code: engine.Limited, Message: why + "; try again in " + seconds + " s"}
}

// added answers for what adds messages: how many more may be added today goes
// into the headers that the protocol has for a limit of a day.
func (r *request) added(err error) error {
	limited := engine.ErrorCode(err) == engine.Limited
	if err != nil && !limited {
		return err
	}
	q, readErr := r.handler.engine.Quota(r.Context(), r.caller)
	if readErr != nil || q.Limit == 0 {
		return err // what was added is not undone because nobody can say how many more may be
	}
	header := r.writer.Header()
	header.Set("RateLimit-Limit", strconv.FormatInt(q.Limit, 10))
	header.Set("RateLimit-Remaining", strconv.FormatInt(max(0, q.Limit-q.Used), 10))
	header.Set("RateLimit-Reset", strconv.FormatInt(q.Reset, 10))
	if limited {
		header.Set("Retry-After", strconv.FormatInt(max(1, q.Reset-time.Now().Unix()), 10))
	}
	return err
}

// tell puts a verdict into the headers that the protocol has for limits of a
// second.
func (v *verdict) tell(header http.Header) {
	header.Set("Burst-RateLimit-Limit", strconv.Itoa(v.limit))
	header.Set("Burst-RateLimit-Remaining", strconv.Itoa(v.left))
	header.Set("Burst-RateLimit-Reset", strconv.FormatInt(v.reset, 10))
}

func getLimits(r *request) (any, error) {
	return r.limitsJSON(r.handler.engine.LimitsOf(r.Context(), r.caller))
}

func getTenantLimits(r *request) (any, error) {
	return r.limitsJSON(r.handler.engine.TenantLimits(r.Context(), r.caller, r.params[0]))
}

const limitsBody = 64 << 10

func changeTenantLimits(r *request) (any, error) {
	var fields map[string]any
	if err := r.json(limitsBody, &fields); err != nil {
		return nil, err
	}
	change := make(map[string]*int64, len(fields))
	for name, value := range fields {
		number, ok := value.(float64)
		if whole := int64(number); ok && float64(whole) == number {
			change[name] = &whole
		} else if change[name] = nil; value != nil {
			return nil, invalid("%.100s: expected a whole number or null", name)
		}
	}
	return r.limitsJSON(r.handler.engine.ChangeLimits(r.Context(), r.caller, r.params[0], change))
}

func (r *request) limitsJSON(s engine.LimitsStatus, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	s.InForce.RequestsPerSecond = s.Own.RequestsPerSecond
	if perToken := r.handler.perToken; perToken != nil && s.InForce.RequestsPerSecond == 0 {
		s.InForce.RequestsPerSecond = int64(perToken.events)
	}
	return client.TenantLimits{
		Limits: client.Limits(s.InForce), Own: ownLimits(&s.Own),
		Usage: client.Usage{Queues: s.Queues, URLGroups: s.URLGroups, Schedules: s.Schedules, Attempts: s.Attempts, MessagesToday: s.Messages},
	}, nil
}

func ownLimits(l *engine.TenantLimits) client.LimitsChange {
	own := func(limit *int64) *int64 {
		if *limit == 0 {
			return nil
		}
		return limit
	}
	return client.LimitsChange{
		MaxMessageBytes: own(&l.MaxMessageBytes), MaxRetries: own(&l.MaxRetries),
		MaxDelay: own(&l.MaxDelay), MaxTimeout: own(&l.MaxTimeout), GlobalParallelism: own(&l.GlobalParallelism),
		MaxQueues: own(&l.MaxQueues), MaxParallelism: own(&l.MaxParallelism),
		MaxURLGroups: own(&l.MaxURLGroups), MaxEndpoints: own(&l.MaxEndpoints), MaxSchedules: own(&l.MaxSchedules),
		MessagesPerDay: own(&l.MessagesPerDay), RequestsPerSecond: own(&l.RequestsPerSecond),
	}
}
