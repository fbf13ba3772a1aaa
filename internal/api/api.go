package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/signposthq/signpost/internal/budget"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// Handler serves /v2 and the public keys.
type Handler struct {
	engine   *engine.Engine
	log      *slog.Logger
	draining atomic.Bool
	bodies   *budget.Budget // large ones
	hooks    *budget.Budget // those of webhooks, whose callers have no token

	perToken, perTenant, perIP, guesses, strays *limiter // nil: no limit
	proxies                                     []netip.Prefix

	straying sync.Mutex // held while a webhook is looked for, for who has called many that are not there
}

// New makes a Handler. log may be nil.
func New(e *engine.Engine, log *slog.Logger) *Handler {
	if log == nil {
		log = slog.Default()
	}
	h := &Handler{engine: e, log: log, bodies: budget.New(largeBodies), hooks: budget.New(largeBodies)}
	h.Limit(Limits{})
	return h
}

// Drain makes the handler refuse new messages with 503. What a workflow
// endpoint still has to say of a step under way is accepted.
func (h *Handler) Drain() { h.draining.Store(true) }

// request is an API request on its way to the engine.
type request struct {
	*http.Request
	handler *Handler
	writer  http.ResponseWriter
	addr    netip.Addr // of the caller
	route   *route
	caller  *engine.Caller
	params  []string // of the pattern, in order, decoded; a tail is raw
	query   url.Values
	shares  []*budget.Share // of the memory for large bodies
	reading *engine.Reading // that for the answer; nil: it is small
}

// route is one line of the API. In a pattern, "{x}" is one path segment and a
// last "{x...}" is the raw rest of the path, which nothing may clean or decode.
type route struct {
	method  string
	pattern string
	scope   engine.Scope // what a token must be good for; noToken: none is needed
	handle  func(*request) (any, error)
}

const (
	noToken engine.Scope = ""

	// anyMethod is the method of a route that takes all.
	anyMethod = "ANY"
)

// routes are matched in order. Each has its documentation in operations. Static segments match in any case, and a
// trailing slash does not matter (protocol: ground rules).
var routes = []route{
	{"POST", "/v2/publish/{destination...}", engine.ScopePublish, publish},
	{"POST", "/v2/enqueue/{queue}/{destination...}", engine.ScopePublish, enqueue},
	{"POST", "/v2/batch", engine.ScopePublish, batch},
	{"POST", "/v2/batch/trigger", engine.ScopePublish, batchTrigger},
	{"POST", "/v2/trigger/{destination...}", engine.ScopePublish, trigger},

	{"GET", "/v2/messages/{id}", engine.ScopeRead, getMessage},
	{"DELETE", "/v2/messages/{id}", engine.ScopePublish, cancelMessage},
	{"DELETE", "/v2/messages", engine.ScopePublish, cancelMessages},

	{"GET", "/v2/queues", engine.ScopeRead, listQueues},
	{"POST", "/v2/queues", engine.ScopePublish, putQueue},
	{"GET", "/v2/queues/{name}", engine.ScopeRead, getQueue},
	{"DELETE", "/v2/queues/{name}", engine.ScopePublish, deleteQueue},
	{"POST", "/v2/queues/{name}/pause", engine.ScopePublish, pauseQueue},
	{"POST", "/v2/queues/{name}/resume", engine.ScopePublish, resumeQueue},

	{"GET", "/v2/topics", engine.ScopeRead, listURLGroups},
	{"GET", "/v2/topics/{name}", engine.ScopeRead, getURLGroup},
	{"PATCH", "/v2/topics/{name}", engine.ScopePublish, changeURLGroup},
	{"DELETE", "/v2/topics/{name}", engine.ScopePublish, deleteURLGroup},
	{"POST", "/v2/topics/{name}/endpoints", engine.ScopePublish, addEndpoints},
	{"DELETE", "/v2/topics/{name}/endpoints", engine.ScopePublish, removeEndpoints},

	{"POST", "/v2/schedules/{destination...}", engine.ScopePublish, postSchedule},
	{"GET", "/v2/schedules", engine.ScopeRead, listSchedules},
	{"GET", "/v2/schedules/{id}", engine.ScopeRead, getSchedule},
	{"DELETE", "/v2/schedules/{id}", engine.ScopePublish, deleteSchedule},
	{"PATCH", "/v2/schedules/{id}/pause", engine.ScopePublish, pauseSchedule},
	{"PATCH", "/v2/schedules/{id}/resume", engine.ScopePublish, resumeSchedule},

	{"GET", "/v2/flowControl", engine.ScopeRead, listFlow},
	{"GET", "/v2/flowControl/{key...}", engine.ScopeRead, getFlow},
	{"POST", "/v2/flowControl/{key...}", engine.ScopePublish, changeFlow},
	{"GET", "/v2/globalParallelism", engine.ScopeRead, globalParallelism},

	{"GET", "/v2/events", engine.ScopeRead, listEvents},
	{"GET", "/v2/logs", engine.ScopeRead, listLogs},

	{"GET", "/v2/dlq", engine.ScopeRead, listDLQ},
	{"DELETE", "/v2/dlq", engine.ScopePublish, deleteDLQ},
	{"POST", "/v2/dlq/retry", engine.ScopePublish, retryDLQ},
	{"POST", "/v2/dlq/retry/{id}", engine.ScopePublish, retryDLQEntry},
	{"GET", "/v2/dlq/{id}", engine.ScopeRead, getDLQEntry},
	{"DELETE", "/v2/dlq/{id}", engine.ScopePublish, deleteDLQEntry},

	{"GET", "/v2/workflows/dlq", engine.ScopeRead, listDLQ},
	{"DELETE", "/v2/workflows/dlq", engine.ScopePublish, deleteDLQ},
	{"POST", "/v2/workflows/dlq/resume", engine.ScopePublish, resumeRuns},
	{"POST", "/v2/workflows/dlq/resume/{id}", engine.ScopePublish, resumeRun},
	{"POST", "/v2/workflows/dlq/restart", engine.ScopePublish, restartRuns},
	{"POST", "/v2/workflows/dlq/restart/{id}", engine.ScopePublish, restartRun},
	{"POST", "/v2/workflows/dlq/callback", engine.ScopePublish, rerunFailureCallbacks},
	{"POST", "/v2/workflows/dlq/callback/{id}", engine.ScopePublish, rerunFailureCallback},
	{"DELETE", "/v2/workflows/dlq/callback/{id}", engine.ScopePublish, cancelFailureCallback},
	{"GET", "/v2/workflows/dlq/{id}", engine.ScopeRead, getDLQEntry},
	{"DELETE", "/v2/workflows/dlq/{id}", engine.ScopePublish, deleteDLQEntry},

	{"GET", "/v2/keys", engine.ScopeKeys, getKeys},
	{"POST", "/v2/keys/rotate", engine.ScopeKeys, rotateKeys},
	{"POST", "/v2/rotate", engine.ScopeKeys, rotateKeys},
	{"GET", "/v2/keys/status", engine.ScopeKeys, keyStatus},
	{"POST", "/v2/keys/probe", engine.ScopeKeys, probeKeys},
	{"GET", "/.well-known/jwks.json", noToken, getJWKS},

	{"GET", "/v2/limits", engine.ScopeRead, getLimits},
	{"GET", "/v2/settings", engine.ScopeAdmin, getSettings},
	{"PATCH", "/v2/settings", engine.ScopeAdmin, changeSettings},

	{"GET", "/v2/admin/rewrap", engine.ScopeAdmin, getSealing},
	{"POST", "/v2/admin/rewrap", engine.ScopeAdmin, rewrap},

	{"GET", "/v2/workflows/logs", engine.ScopeRead, listRuns},
	{"GET", "/v2/workflows/events", engine.ScopeRead, listRunEvents},
	{"DELETE", "/v2/workflows/runs", engine.ScopePublish, cancelRuns},
	{"GET", "/v2/workflows/runs/{id}", engine.ScopePublish, getRunLog},
	{"DELETE", "/v2/workflows/runs/{id}", engine.ScopePublish, endRun},

	{"POST", "/v2/wait/{event...}", engine.ScopePublish, wait},
	{"POST", "/v2/notify/{event}", engine.ScopePublish, notify},
	{"POST", "/v2/notify/{run}/{event...}", engine.ScopePublish, notifyRun},
	{"GET", "/v2/waiters/{event...}", engine.ScopeRead, listWaiters},
	{anyMethod, "/v2/workflows/hooks/{user}/{run}/{event}", noToken, callWebhook},

	{"GET", "/v2/tokens", engine.ScopeAdmin, listTokens},
	{"POST", "/v2/tokens", engine.ScopeAdmin, createToken},
	{"DELETE", "/v2/tokens/{id}", engine.ScopeAdmin, revokeToken},
	{"GET", "/v2/tenants", engine.ScopeAdmin, listTenants},
	{"POST", "/v2/tenants", engine.ScopeAdmin, createTenant},
	{"GET", "/v2/tenants/{user}/limits", engine.ScopeAdmin, getTenantLimits},
	{"PATCH", "/v2/tenants/{user}/limits", engine.ScopeAdmin, changeTenantLimits},
	{"GET", "/v2/audit", engine.ScopeAdmin, listAudit},

	{"GET", "/openapi.json", noToken, getOpenAPI},
	{"GET", "/v2/liveness", noToken, alive},
	{"GET", "/v2/readiness", noToken, ready},
}

// pattern is a route's pattern, split once.
type pattern struct {
	segments []string
	tail     bool
}

var patterns = func() []pattern {
	out := make([]pattern, len(routes))
	for i, r := range routes {
		p := strings.TrimPrefix(r.pattern, "/")
		tail := strings.HasSuffix(p, "...}")
		if tail {
			p = p[:strings.LastIndexByte(p, '/')]
		}
		out[i] = pattern{strings.Split(p, "/"), tail}
	}
	return out
}()

// match compares a raw path with the pattern.
func (p *pattern) match(path string) (params []string, ok bool) {
	rest := strings.TrimPrefix(path, "/")
	for i, want := range p.segments {
		segment, after, more := strings.Cut(rest, "/")
		switch {
		case want[0] == '{':
			value, err := url.PathUnescape(segment)
			if err != nil || value == "" {
				return nil, false
			}
			params = append(params, value)
		case !strings.EqualFold(segment, want):
			return nil, false
		}
		rest = after
		if last := i == len(p.segments)-1; !more && !last {
			return nil, false
		} else if last && p.tail {
			return append(params, rest), true
		}
	}
	return params, rest == ""
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer h.recover(w)
	req := &request{Request: r, handler: h, writer: w, addr: h.caller(r)}
	defer req.release()
	if err := h.limitIP(req); err != nil {
		h.fail(req, err)
		return
	}
	path, rawQuery := splitURI(r)
	found, params, allowed := find(r.Method, path)
	if found == nil {
		h.notFound(w, r.Method, path, allowed)
		return
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil && !strings.HasSuffix(found.pattern, "...}") {
		writeError(w, http.StatusBadRequest, "query: expected key=value pairs joined by &, percent-encoded")
		return
	}
	r.URL.RawQuery = rawQuery
	req.route, req.params, req.query = found, params, query
	if err := req.admit(); err != nil {
		h.fail(req, err)
		return
	}
	if found.scope == engine.ScopeRead {
		req.reads()
	}
	answer, err := found.handle(req)
	if err == nil && found.scope == engine.ScopeRead && !req.caller.May(engine.ScopeRead) {
		answer, err = withoutContent(answer)
	}
	if err != nil {
		h.fail(req, err)
		return
	}
	if s, ok := answer.(streamed); ok {
		h.stream(req, s)
		return
	}
	writeJSON(req.writer, answer)
}

// admit finds out who asks, and whether their token is good for the route.
func (r *request) admit() error {
	if r.route.scope == noToken {
		return nil
	}
	token, err := token(r.Request, r.query)
	if err != nil {
		return err
	}
	if err := r.handler.authenticate(r, token); err != nil {
		return err
	}
	if err := r.handler.limitToken(r, token); err != nil {
		return err
	}
	r.query.Del("qstash_token")
	r.caller.IP = r.callerIP()
	least := r.route.scope
	if least == engine.ScopeRead {
		least = engine.ScopeReadMeta // answered with less: see withoutContent
	}
	if !r.caller.May(least) {
		return &engine.Error{Code: engine.Forbidden, Message: fmt.Sprintf(
			"forbidden: the token has the scopes %s; this needs %s", r.caller.Scopes(), r.route.scope)}
	}
	return nil
}

// recover answers for a handler that panicked. What it panicked with is logged
// only if it is the runtime's, whose words hold nothing of the request.
func (h *Handler) recover(w http.ResponseWriter) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	what := fmt.Sprintf("%T", v)
	if e, ok := v.(runtime.Error); ok {
		what = e.Error()
	}
	h.log.Error("panic in API handler", "panic", what, "stack", string(debug.Stack()))
	writeError(w, http.StatusInternalServerError, "internal error")
}

// splitURI takes path and query as they came: net/http's own parsing is right,
// but its URL no longer has every byte.
func splitURI(r *http.Request) (path, query string) {
	uri := r.RequestURI
	if !strings.HasPrefix(uri, "/") { // an absolute URI, as sent to proxies
		_, rest, _ := strings.Cut(uri, "://")
		uri = rest[strings.IndexAny(rest+"/", "/?"):]
	}
	path, query, _ = strings.Cut(uri, "?")
	return path, query
}

func find(method, path string) (found *route, params []string, allowed []string) {
	for i := range routes {
		params, ok := patterns[i].match(path)
		if !ok {
			continue
		}
		has := routes[i].method
		if has == method || has == anyMethod || has == http.MethodGet && method == http.MethodHead {
			return &routes[i], params, nil
		}
		if slices.Contains(allowed, has) {
			continue // two patterns match the path
		}
		if allowed = append(allowed, has); has == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	return nil, nil, allowed
}

func (h *Handler) notFound(w http.ResponseWriter, method, path string, allowed []string) {
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeError(w, http.StatusMethodNotAllowed, "method "+shorten(method)+" is not allowed here, only "+strings.Join(allowed, ", "))
		return
	}
	writeError(w, http.StatusNotFound, "no such route: "+shorten(method)+" "+shorten(routeOf(path)))
}

// token is the bearer token; the header wins over the query. Of several, a proxy
// on the way may have looked at another than this would.
func token(r *http.Request, query url.Values) (string, error) {
	auth, err := same("Authorization", r.Header["Authorization"])
	switch {
	case err != nil:
		return "", err
	case auth == "":
		return same("qstash_token", query["qstash_token"])
	}
	scheme, value, _ := strings.Cut(auth, " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(value), nil
	}
	return "", nil
}

// same is the value that all are, "" if there is none.
func same(name string, values []string) (string, error) {
	for _, v := range values {
		if v != values[0] {
			return "", invalid("%s: expected one value, got %d different ones", name, len(values))
		}
	}
	if len(values) == 0 {
		return "", nil
	}
	return values[0], nil
}

// statuses say which HTTP status a class of error is.
var statuses = map[engine.Code]int{
	engine.Invalid:      http.StatusBadRequest,
	engine.Unauthorized: http.StatusUnauthorized,
	engine.Forbidden:    http.StatusForbidden,
	engine.NotFound:     http.StatusNotFound,
	engine.Conflict:     http.StatusConflict,
	engine.Precondition: http.StatusPreconditionFailed,
	engine.TooLarge:     http.StatusRequestEntityTooLarge,
	engine.Limited:      http.StatusTooManyRequests,
	engine.Unavailable:  http.StatusServiceUnavailable,
}

// fail answers an error. What is not an engine's or the wire's stays inside,
// logged here and nowhere else.
func (h *Handler) fail(r *request, err error) {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		writeError(r.writer, http.StatusBadRequest, e.Error())
		return
	}
	status := statuses[engine.ErrorCode(err)]
	switch {
	case status == 0 && r.Context().Err() != nil:
		// The caller has gone. Or else it still reads, and must not take silence, which
		// is a 200, for consent.
		writeError(r.writer, http.StatusBadRequest, "request: given up, as the client closed its side of the connection before the answer")
		return
	case status == 0:
		// Not the path: a destination in it may hold what only its owner should know.
		h.log.Error("API request failed", "method", r.route.method, "route", r.route.pattern, "error", err)
		writeError(r.writer, http.StatusInternalServerError, "internal error")
		return
	case status == http.StatusUnauthorized:
		r.writer.Header().Set("WWW-Authenticate", "Bearer")
	case status == http.StatusServiceUnavailable:
		r.writer.Header().Set("Retry-After", "5")
	case status == http.StatusRequestEntityTooLarge:
		r.writer.Header().Set("Connection", "close") // the rest of the body is not wanted
	}
	if e, ok := errors.AsType[*engine.Error](err); ok {
		writeError(r.writer, status, e.Message)
	}
}

// reply is an answer with a status other than 200.
type reply struct {
	status int
	body   any
}

// rawJSON is an answer that is encoded already.
type rawJSON []byte

func writeJSON(w http.ResponseWriter, answer any) {
	status := http.StatusOK
	if r, ok := answer.(reply); ok {
		status, answer = r.status, r.body
	}
	body, ok := answer.(rawJSON)
	if !ok {
		encoded, err := encode(answer)
		if err != nil {
			writeError(w, http.StatusInternalServerError, "internal error")
			return
		}
		body = encoded
	}
	header := commonHeader(w)
	if status == http.StatusNotModified {
		w.WriteHeader(status)
		return
	}
	header["Content-Type"] = jsonType
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	w.Write(body)
}

// encode is json.Marshal, but that it does not look once more through what a page
// has encoded.
func encode(answer any) ([]byte, error) {
	if m, ok := answer.(json.Marshaler); ok {
		return m.MarshalJSON()
	}
	return json.Marshal(answer)
}

// commonHeader is an answer's header with what all have.
func commonHeader(w http.ResponseWriter) http.Header {
	header := w.Header()
	if header["Cache-Control"] == nil {
		header["Cache-Control"] = noStore
	}
	header["Referrer-Policy"] = noReferrer
	header["X-Content-Type-Options"] = noSniff
	return header
}

// streamed is an answer in JSON that is made while it is sent.
type streamed func(io.Writer) error

// stream sends an answer as it is made. What goes wrong once it has begun cuts it
// off: nobody takes it for a whole one.
func (h *Handler) stream(r *request, send streamed) {
	w := &begun{ResponseWriter: r.writer}
	err := send(w)
	switch {
	case err == nil:
		return
	case !w.yes:
		h.fail(r, err)
		return
	case r.Context().Err() == nil:
		h.log.Warn("API answer cut off", "method", r.route.method, "route", r.route.pattern, "error", err)
	}
	panic(http.ErrAbortHandler)
}

// begun is an answer that has begun with the first byte of its body.
type begun struct {
	http.ResponseWriter
	yes bool
}

func (b *begun) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func (b *begun) Write(p []byte) (int, error) {
	if !b.yes {
		b.yes = true
		commonHeader(b)["Content-Type"] = jsonType
	}
	return b.ResponseWriter.Write(p)
}

// Headers of all answers: they hold what is not for caches, and tokens may
// stand in the URLs that were asked for.
var (
	jsonType   = []string{"application/json"}
	noStore    = []string{"no-store"}
	noReferrer = []string{"no-referrer"}
	noSniff    = []string{"nosniff"}
)

// Refuse answers a request that is not let through to a Handler.
func Refuse(w http.ResponseWriter, status int, message string) { writeError(w, status, message) }

// writeError answers with a message for people, who read it as it is: nothing in it
// is escaped that need not be.
func writeError(w http.ResponseWriter, status int, message string) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(map[string]string{"error": message}) // a string can be encoded
	writeJSON(w, reply{status, rawJSON(bytes.TrimSuffix(body.Bytes(), []byte("\n")))})
}

func alive(*request) (any, error) { return struct{}{}, nil }

func ready(r *request) (any, error) {
	if r.handler.draining.Load() {
		return nil, errDraining
	}
	return struct{}{}, nil
}

var errDraining = &engine.Error{Code: engine.Unavailable, Message: "the server is shutting down"}
