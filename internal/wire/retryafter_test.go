package wire

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	const none = -1
	tests := map[string]struct {
		in   []string
		want time.Duration
	}{
		"none":                     {nil, none},
		"seconds":                  {[]string{"Retry-After: 120"}, 2 * time.Minute},
		"at once":                  {[]string{"Retry-After: 0"}, 0},
		"spaces":                   {[]string{"Retry-After:  7 "}, 7 * time.Second},
		"Go duration":              {[]string{"Retry-After: 6m5s"}, 365 * time.Second},
		"milliseconds":             {[]string{"Retry-After: 20ms"}, 20 * time.Millisecond},
		"date":                     {[]string{"Retry-After: " + in(90*time.Second)}, 90 * time.Second},
		"a day":                    {[]string{"Retry-After: 86400"}, 24 * time.Hour},
		"more than a day":          {[]string{"Retry-After: 86401"}, none},
		"more than a day, a date":  {[]string{"Retry-After: " + in(25*time.Hour)}, none},
		"past date":                {[]string{"Retry-After: " + in(-time.Second)}, none},
		"negative":                 {[]string{"Retry-After: -5"}, none},
		"negative duration":        {[]string{"Retry-After: -5s"}, none},
		"decimals without a unit":  {[]string{"Retry-After: 1.5"}, none},
		"no number":                {[]string{"Retry-After: soon"}, none},
		"empty":                    {[]string{"Retry-After:"}, none},
		"too large for any number": {[]string{"Retry-After: 99999999999999999999"}, none},
		"reset":                    {[]string{"X-RateLimit-Reset: 3"}, 3 * time.Second},
		"reset requests":           {[]string{"x-ratelimit-reset-requests: 1s"}, time.Second},
		"reset tokens":             {[]string{"x-ratelimit-reset-tokens: 6m0s"}, 6 * time.Minute},
		"reset as Unix time":       {[]string{"X-RateLimit-Reset: 1772366400"}, none},
		"order": {
			[]string{"X-RateLimit-Reset-Tokens: 4", "X-RateLimit-Reset-Requests: 3", "X-RateLimit-Reset: 2", "Retry-After: 1"}, time.Second,
		},
		"the next when one is unusable": {
			[]string{"Retry-After: later", "X-RateLimit-Reset: 1772366400", "X-RateLimit-Reset-Requests: 3", "X-RateLimit-Reset-Tokens: 4"}, 3 * time.Second,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := RetryAfter(headers(tt.in...), now)
			if !ok {
				got = none
			}
			if got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("6m5s")
	f.Add("Sun, 01 Mar 2026 12:01:30 GMT")
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		d, ok := RetryAfter(http.Header{"Retry-After": {value}}, now)
		if d < 0 || d > maxRetryDelay || !ok && d != 0 {
			t.Errorf("RetryAfter(%q) = %v, %v", value, d, ok)
		}
	})
}
