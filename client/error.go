package client

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxErrorBody    = 64 << 10 // of an answer that is not a 2xx
	maxErrorMessage = 512      // of one that is not the API's JSON
)

// What a server answers, by status. An [*Error] is one of them under
// errors.Is.
var (
	ErrBadRequest   = errors.New("bad request")       // 400: malformed input, or an append to a run that has ended
	ErrUnauthorized = errors.New("unauthorized")      // 401: missing or wrong token
	ErrForbidden    = errors.New("forbidden")         // 403: the token is good, but not for this
	ErrNotFound     = errors.New("not found")         // 404
	ErrConflict     = errors.New("conflict")          // 409: it is there already, or would break what is in use, see Error.Endpoints
	ErrPrecondition = errors.New("limit exceeded")    // 412: over a limit of the account
	ErrTooLarge     = errors.New("body too large")    // 413
	ErrRateLimited  = errors.New("too many requests") // 429: see Error.RateLimit and Error.RetryAfter
	ErrUnavailable  = errors.New("unavailable")       // 503: it is stopping, or too busy
)

// Error is an answer that is not a 2xx. Its JSON is the API's error body:
// {"error": Message}.
type Error struct {
	Status  int    `json:"-"`     // HTTP status
	Message string `json:"error"` // the server's words; a body that is not the API's JSON is cut to 512 bytes
	// Reset is when a 429 or a 503 lets the request be made again. The zero time
	// when the server does not say.
	Reset time.Time `json:"-"`
	// RateLimit is the limit that a 429 is about.
	RateLimit RateLimit `json:"-"`
	// Endpoints are those that a rotation of the signing keys would break.
	Endpoints []EndpointKeys `json:"endpoints,omitempty"`
}

// RateLimit is a limit on requests. The zero value stands for one of which the
// server tells nothing.
type RateLimit struct {
	Kind      RateLimitKind
	Limit     int // requests in its window
	Remaining int // of them, those that are left
}

// RateLimitKind says what a rate limit counts.
type RateLimitKind string

const (
	LimitBurst RateLimitKind = "burst" // calls in a second
	LimitDaily RateLimitKind = "daily" // messages in a day
	LimitModel RateLimitKind = "model" // requests to a language model
)

// RetryAfter is how long it takes until [Error.Reset]; 0 when that is past, or
// not known.
func (e *Error) RetryAfter() time.Duration {
	if e.Reset.IsZero() {
		return 0
	}
	return max(0, time.Until(e.Reset))
}

// Error tells the status and the message.
func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("server answered %d: %s", e.Status, e.Message)
}

// Is makes errors.Is(err, [ErrNotFound]) and its like report the status.
func (e *Error) Is(target error) bool {
	switch e.Status {
	case http.StatusBadRequest:
		return target == ErrBadRequest
	case http.StatusUnauthorized:
		return target == ErrUnauthorized
	case http.StatusForbidden:
		return target == ErrForbidden
	case http.StatusNotFound:
		return target == ErrNotFound
	case http.StatusConflict:
		return target == ErrConflict
	case http.StatusPreconditionFailed:
		return target == ErrPrecondition
	case http.StatusRequestEntityTooLarge:
		return target == ErrTooLarge
	case http.StatusTooManyRequests:
		return target == ErrRateLimited
	case http.StatusServiceUnavailable:
		return target == ErrUnavailable
	}
	return false
}

// readError makes an Error of an answer. A proxy's page, an empty body and one
// that breaks off are all tolerated.
func readError(resp *http.Response, now time.Time) *Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	e := &Error{}
	if json.Unmarshal(body, e) != nil || e.Message == "" {
		e.Message = excerpt(body)
	}
	e.Status = resp.StatusCode
	switch e.Status {
	case http.StatusTooManyRequests:
		e.RateLimit, e.Reset = readRateLimit(resp.Header, now)
	case http.StatusServiceUnavailable:
		e.Reset = parseReset(resp.Header.Get("Retry-After"), now)
	}
	return e
}

// readRateLimit reads the limit that was hit, in the order in which the
// protocol says which one it was, and when it is over.
func readRateLimit(h http.Header, now time.Time) (RateLimit, time.Time) {
	for _, l := range []struct {
		kind           RateLimitKind
		prefix, suffix string
	}{
		{LimitModel, "X-RateLimit-", "-Requests"},
		{LimitDaily, "RateLimit-", ""},
		{LimitBurst, "Burst-RateLimit-", ""},
	} {
		get := func(name string) string { return h.Get(l.prefix + name + l.suffix) }
		if get("Limit") == "" && get("Reset") == "" {
			continue
		}
		out := RateLimit{Kind: l.kind}
		out.Limit, _ = strconv.Atoi(get("Limit"))
		out.Remaining, _ = strconv.Atoi(get("Remaining"))
		return out, parseReset(cmp.Or(get("Reset"), h.Get("Retry-After")), now)
	}
	return RateLimit{}, parseReset(h.Get("Retry-After"), now)
}

func excerpt(body []byte) string {
	s := strings.TrimSpace(strings.ToValidUTF8(string(body), "\uFFFD"))
	if len(s) <= maxErrorMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxErrorMessage], "") + "…"
}

// parseReset reads a Unix time in seconds or milliseconds, a number of seconds
// from now, a duration or an HTTP date.
func parseReset(s string, now time.Time) time.Time {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
		switch {
		case n < 1e9: // no limit lasts 30 years
			return now.Add(time.Duration(n) * time.Second)
		case n < 1e12:
			return time.Unix(n, 0)
		}
		return time.UnixMilli(n)
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(d)
	}
	if t, err := http.ParseTime(s); err == nil {
		return t
	}
	return time.Time{}
}
