package client

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

var discardLog = log.New(io.Discard, "", 0)

func TestErrorMessage(t *testing.T) {
	long := strings.Repeat("é", 300)
	tests := []struct {
		status int
		body   string
		want   string
	}{
		{400, `{"error":"Upstash-Delay: want a duration"}`, "get signing keys: server answered 400: Upstash-Delay: want a duration"},
		{404, `{"error":""}`, `get signing keys: server answered 404: {"error":""}`},
		{502, "<html>bad gateway</html>\n", "get signing keys: server answered 502: <html>bad gateway</html>"},
		{500, `{"error":{"code":1}}`, `get signing keys: server answered 500: {"error":{"code":1}}`},
		{500, `"text"`, `get signing keys: server answered 500: "text"`},
		{500, "", "get signing keys: server answered 500 Internal Server Error"},
		{500, "null", "get signing keys: server answered 500: null"},
		{500, "a\xffb", "get signing keys: server answered 500: a\uFFFDb"},
		{500, "x" + long, "get signing keys: server answered 500: x" + strings.Repeat("é", 255) + "…"},
	}
	for _, tt := range tests {
		c, _ := newTestClient(t, tt.status, tt.body)
		_, err := c.Keys(context.Background())
		var e *Error
		if !errors.As(err, &e) || e.Status != tt.status || err.Error() != tt.want {
			t.Errorf("%d %q:\n got %v\nwant %s", tt.status, tt.body, err, tt.want)
		}
	}
}

func TestErrorIs(t *testing.T) {
	sentinels := map[int]error{
		400: ErrBadRequest, 401: ErrUnauthorized, 403: ErrForbidden, 404: ErrNotFound,
		409: ErrConflict, 412: ErrPrecondition, 413: ErrTooLarge, 429: ErrRateLimited, 503: ErrUnavailable,
	}
	for _, status := range []int{400, 401, 402, 403, 404, 409, 412, 413, 429, 500, 503} {
		c, _ := newTestClient(t, status, `{"error":"no"}`)
		_, err := c.Keys(context.Background())
		for of, sentinel := range sentinels {
			if got, want := errors.Is(err, sentinel), of == status; got != want {
				t.Errorf("errors.Is(%d, %v) is %v", status, sentinel, got)
			}
		}
	}
}

func TestRateLimitReset(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	date := now.Add(time.Hour).UTC().Format(http.TimeFormat)
	tests := []struct {
		name   string
		status int
		header http.Header
		want   time.Time
	}{
		{"unix seconds", 429, http.Header{"Burst-Ratelimit-Reset": {"1700000007"}}, now.Add(7 * time.Second)},
		{"unix milliseconds", 429, http.Header{"Burst-Ratelimit-Reset": {"1700000007500"}}, now.Add(7500 * time.Millisecond)},
		{"seconds", 429, http.Header{"Retry-After": {"60"}}, now.Add(time.Minute)},
		{"duration", 429, http.Header{"X-Ratelimit-Reset-Requests": {"6m5s"}}, now.Add(365 * time.Second)},
		{"date", 429, http.Header{"Retry-After": {date}}, now.Add(time.Hour)},
		{"model before day before burst", 429, http.Header{
			"X-Ratelimit-Reset-Requests": {"1"}, "Ratelimit-Reset": {"2"}, "Burst-Ratelimit-Reset": {"3"}, "Retry-After": {"4"},
		}, now.Add(time.Second)},
		{"day before burst", 429, http.Header{"Ratelimit-Reset": {"2"}, "Burst-Ratelimit-Reset": {"3"}}, now.Add(2 * time.Second)},
		{"none", 429, http.Header{}, time.Time{}},
		{"negative", 429, http.Header{"Retry-After": {"-1"}}, time.Time{}},
		{"nonsense", 429, http.Header{"Retry-After": {"soon"}}, time.Time{}},
		{"unavailable", 503, http.Header{"Retry-After": {"60"}}, now.Add(time.Minute)},
		{"another status", 500, http.Header{"Retry-After": {"60"}}, time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp := &http.Response{StatusCode: tt.status, Header: tt.header, Body: http.NoBody}
			if got := readError(resp, now).Reset; !got.Equal(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRateLimit(t *testing.T) {
	tests := []struct {
		name   string
		header map[string]string
		want   RateLimit
	}{
		{"none", nil, RateLimit{}},
		{"only when to try again", map[string]string{"Retry-After": "1"}, RateLimit{}},
		{"burst", map[string]string{"Burst-RateLimit-Limit": "100", "Burst-RateLimit-Remaining": "0", "Burst-RateLimit-Reset": "1700000007"}, RateLimit{LimitBurst, 100, 0}},
		{"daily before burst", map[string]string{"RateLimit-Limit": "1000", "RateLimit-Remaining": "3", "Burst-RateLimit-Limit": "100"}, RateLimit{LimitDaily, 1000, 3}},
		{"model before daily", map[string]string{"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "7", "RateLimit-Limit": "1000"}, RateLimit{LimitModel, 60, 7}},
		{"nonsense", map[string]string{"RateLimit-Limit": "many"}, RateLimit{Kind: LimitDaily}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			for name, value := range tt.header {
				h.Set(name, value)
			}
			resp := &http.Response{StatusCode: 429, Header: h, Body: http.NoBody}
			if got := readError(resp, time.Now()).RateLimit; got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for reset, want := range map[time.Time]time.Duration{
			{}:                             0,
			time.Now().Add(time.Minute):    time.Minute,
			time.Now().Add(-1 * time.Hour): 0,
		} {
			if got := (&Error{Status: 429, Reset: reset}).RetryAfter(); got != want {
				t.Errorf("%v: got %v, want %v", reset, got, want)
			}
		}
	})
}

func FuzzReadError(f *testing.F) {
	f.Add(`{"error":"no"}`, "60")
	f.Add(`{"error":{}}`, "6m5s")
	f.Add("\xff<html>", "Wed, 21 Oct 2026 07:28:00 GMT")
	f.Fuzz(func(t *testing.T, body, reset string) {
		resp := &http.Response{
			StatusCode: http.StatusTooManyRequests,
			Header:     http.Header{"Retry-After": {reset}},
			Body:       io.NopCloser(strings.NewReader(body)),
		}
		now := time.Unix(1_700_000_000, 0)
		e := readError(resp, now)
		if e.Status != http.StatusTooManyRequests || !utf8.ValidString(e.Error()) {
			t.Errorf("read %+v", e)
		}
		if strings.HasPrefix(reset, "-") && !e.Reset.IsZero() && e.Reset.Before(now) {
			t.Errorf("Retry-After %q resets at %v", reset, e.Reset)
		}
	})
}
