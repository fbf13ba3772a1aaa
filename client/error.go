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
	ErrForbidden    = errors.New("forbidden")         // 403: the token may only read
	ErrNotFound     = errors.New("not found")         // 404
	ErrConflict     = errors.New("conflict")          // 409: it would break what is in use, see Error.Endpoints
	ErrPrecondition = errors.New("limit exceeded")    // 412: over a limit of the account
	ErrTooLarge     = errors.New("body too large")    // 413
	ErrRateLimited  = errors.New("too many requests") // 429: see Error.Reset
)

// Error is an answer that is not a 2xx. Its JSON is the API's error body:
// {"error": Message}.
type Error struct {
	Status  int    `json:"-"`     // HTTP status
	Message string `json:"error"` // the server's words; a body that is not the API's JSON is cut to 512 bytes
	// Reset is when the rate limit of a 429 allows the next request. The zero
	// time when the server does not say.
	Reset time.Time `json:"-"`
	// Endpoints are those that a rotation of the signing keys would break.
	Endpoints []EndpointKeys `json:"endpoints,omitempty"`
}

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
	if e.Status == http.StatusTooManyRequests {
		e.Reset = resetTime(resp.Header, now)
	}
	return e
}

func excerpt(body []byte) string {
	s := strings.TrimSpace(strings.ToValidUTF8(string(body), "\uFFFD"))
	if len(s) <= maxErrorMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxErrorMessage], "") + "…"
}

// resetTime reads the limit that was hit: of a model, of the day, of the
// second, or what any server may say.
func resetTime(h http.Header, now time.Time) time.Time {
	return parseReset(cmp.Or(
		h.Get("X-RateLimit-Reset-Requests"),
		h.Get("RateLimit-Reset"),
		h.Get("Burst-RateLimit-Reset"),
		h.Get("Retry-After"),
	), now)
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
