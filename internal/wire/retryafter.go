package wire

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryDelay is the longest wait between two attempts.
const maxRetryDelay = 24 * time.Hour

// retryAfterHeaders in the order in which they are believed.
var retryAfterHeaders = []string{
	"Retry-After",
	"X-Ratelimit-Reset",
	"X-Ratelimit-Reset-Requests",
	"X-Ratelimit-Reset-Tokens",
}

// RetryAfter is how long a failed response asks us to wait, from the first
// usable of Retry-After, X-RateLimit-Reset, X-RateLimit-Reset-Requests and
// X-RateLimit-Reset-Tokens (protocol: destination-controlled delay). A value is
// a whole number of seconds, an HTTP date, or a Go duration such as "6m5s"; one
// that is none of these, in the past or more than a day ahead is passed over.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	for _, name := range retryAfterHeaders {
		if values := h[name]; len(values) > 0 {
			if d, ok := parseRetryAfter(strings.TrimSpace(values[0]), now); ok && 0 <= d && d <= maxRetryDelay {
				return d, true
			}
		}
	}
	return 0, false
}

func parseRetryAfter(s string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.ParseUint(s, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if d, err := time.ParseDuration(s); err == nil {
		return d, true
	}
	if t, err := http.ParseTime(s); err == nil {
		return t.Sub(now), true
	}
	return 0, false
}
