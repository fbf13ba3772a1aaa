package wire

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// headers makes a canonical http.Header of "Name: value" lines.
func headers(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		h.Add(name, strings.TrimPrefix(value, " "))
	}
	return h
}

func ptr[T any](v T) *T { return &v }

func TestParseConfig(t *testing.T) {
	const minute, hour = time.Minute, time.Hour
	tests := map[string]struct {
		in   []string
		want Config
	}{
		"nothing": {nil, Config{}},
		"names in any case, values trimmed": {
			[]string{"uPSTASH-meTHOD:  put\t", "UPSTASH-DELAY: 1h30m "},
			Config{Method: "PUT", Delay: hour + 30*minute},
		},
		"not before":                    {[]string{"Upstash-Not-Before: 1700000000"}, Config{NotBefore: 1700000000000}},
		"not before, with a decimal":    {[]string{"Upstash-Not-Before: 1700000000.5"}, Config{NotBefore: 1700000000500}},
		"not before, with many of them": {[]string{"Upstash-Not-Before: 1700000000.0071298"}, Config{NotBefore: 1700000000007}},
		"not before the epoch is still given": {
			[]string{"Upstash-Not-Before: 0", "Upstash-Delay: 5s"}, Config{NotBefore: 1, Delay: 5 * time.Second},
		},
		"retries":              {[]string{"Upstash-Retries: 7"}, Config{Retries: ptr(7)}},
		"no retries":           {[]string{"Upstash-Retries: 0"}, Config{Retries: ptr(0)}},
		"retry delay":          {[]string{"Upstash-Retry-Delay: pow(2, retried) * 1000 "}, Config{RetryDelay: "pow(2, retried) * 1000"}},
		"timeout without unit": {[]string{"Upstash-Timeout: 10"}, Config{Timeout: 10 * time.Second}},
		"timeout with decimals": {
			[]string{"Upstash-Timeout: 1.5s"}, Config{Timeout: 1500 * time.Millisecond},
		},
		"labels": {
			[]string{"Upstash-Label: a, b.c ,,_d-1", "Upstash-Label: e,"}, Config{Labels: []string{"a", "b.c", "_d-1", "e"}},
		},
		"no labels": {[]string{"Upstash-Label: , "}, Config{}},
		"signatures": {
			[]string{"Upstash-Sign-With: standard-webhooks,ed25519", "Upstash-Sign-With: ed25519"},
			Config{SignWith: []string{SignEd25519, SignStandardWebhooks}},
		},
		"no signatures":    {[]string{"Upstash-Sign-With: "}, Config{}},
		"deduplication id": {[]string{"Upstash-Deduplication-Id: order 42/ü"}, Config{DeduplicationID: "order 42/ü"}},
		"content based deduplication as Python writes it": {
			[]string{"Upstash-Content-Based-Deduplication: True"}, Config{ContentDedup: true},
		},
		"repeated with the same value": {
			[]string{"Upstash-Delay: 5s", "Upstash-Delay: 5s "}, Config{Delay: 5 * time.Second},
		},
		"unknown settings and telemetry": {
			[]string{"Upstash-Brand-New: x", "Upstash-Workflow-Brand-New: x", "Upstash-Workflow-Sdk-Version: 1",
				"Upstash-Telemetry-Sdk: a", "Upstash-Telemetry-Sdk: b", "X-Other: y"},
			Config{},
		},
		"run: init without an id": {
			[]string{"Upstash-Workflow-Init: true"},
			Config{Workflow: Workflow{Init: true, CallType: CallStep}},
		},
		"run: append": {
			[]string{"Upstash-Workflow-Init: false", "upstash-workflow-RunId: wfr_1", "Upstash-Workflow-Url: https://app.example/wf",
				"Upstash-Workflow-CallType: toCallback", "Upstash-Feature-Set: WF_NoDelete, InitialBody"},
			Config{Workflow: Workflow{RunID: "wfr_1", URL: "https://app.example/wf", CallType: CallTo,
				Features: []string{FeatureNoDelete, FeatureInitialBody}}},
		},
		"run: features repeated as the Go client does": {
			[]string{"Upstash-Workflow-Init: true", "Upstash-Workflow-Runid: a@b c", "Upstash-Feature-Set: LazyFetch",
				"Upstash-Feature-Set: InitialBody", "Upstash-Workflow-Invoke: false"},
			Config{Workflow: Workflow{Init: true, RunID: "a@b c", CallType: CallStep,
				Features: []string{FeatureLazy, FeatureInitialBody}}},
		},
		"run: handshake": {
			[]string{"Upstash-Workflow-Init: true", "Upstash-Workflow-Runid: r", "Upstash-Workflow-Unknown-Sdk: true", "upstash-workflow-trigger-by-sdk: true"},
			Config{Workflow: Workflow{Init: true, RunID: "r", CallType: CallStep, UnknownSDK: true, TriggerBySDK: true}},
		},
		"callbacks": {
			[]string{"Upstash-Callback: https://cb.example/x?y=1", "Upstash-Callback-Retries: 2", "Upstash-Callback-Timeout: 30",
				"Upstash-Callback-Forward-Token: s", "Upstash-Callback-Telemetry-Sdk: t", "Upstash-Callback-Odd: kept",
				"Upstash-Failure-Callback: http://fail.example", "Upstash-Failure-Callback-Method: GET"},
			Config{
				Callback: &Callback{URL: "https://cb.example/x?y=1", Header: headers(
					"Upstash-Retries: 2", "Upstash-Timeout: 30", "Upstash-Forward-Token: s", "Upstash-Odd: kept")},
				FailureCallback: &Callback{URL: "http://fail.example", Header: headers("Upstash-Method: GET")},
			},
		},
		"run: call of an SDK that sends the run's settings with each step": {
			[]string{"Upstash-Callback: https://app.example/wf", "Upstash-Callback-Workflow-Calltype: fromCallback",
				"Upstash-Callback-Failure-Callback: https://app.example/wf", "Upstash-Callback-Failure-Callback-Retries: 2"},
			Config{Callback: &Callback{URL: "https://app.example/wf", Header: headers("Upstash-Workflow-Calltype: fromCallback",
				"Upstash-Failure-Callback: https://app.example/wf", "Upstash-Failure-Callback-Retries: 2")}},
		},
		"settings of a callback without its URL": {
			[]string{"Upstash-Callback-Retries: many", "Upstash-Failure-Callback-Queue-Name: q"}, Config{},
		},
		"content type":       {[]string{"Content-Type: text/plain"}, Config{Header: headers("Content-Type: text/plain")}},
		"empty content type": {[]string{"Content-Type: "}, Config{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.want.Method == "" {
				tt.want.Method = "POST"
			}
			got, err := ParseConfig(headers(tt.in...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseConfigErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{"Upstash-Method: HEAD", `Upstash-Method: expected GET, POST, PUT, PATCH or DELETE, got "HEAD"`},
		{"Upstash-Sign-With: ed25519, rsa", `Upstash-Sign-With: expected ed25519 or standard-webhooks, got "rsa"`},
		{"Upstash-Method: ", `Upstash-Method: expected GET, POST, PUT, PATCH or DELETE, got ""`},
		{"Upstash-Delay: soon", `Upstash-Delay: expected a duration such as 50s, 1.5h or 1d10h30m (units s m h d; a number alone is seconds), at most 36500d, got "soon"`},
		{"Upstash-Delay: ", "Upstash-Delay: expected a duration"},
		{"Upstash-Timeout: -1s", "Upstash-Timeout: expected a duration"},
		{"Upstash-Not-Before: 2026-01-01", `Upstash-Not-Before: expected a time in Unix seconds, before the year 10000, got "2026-01-01"`},
		{"Upstash-Not-Before: 1700000000000", "Upstash-Not-Before: expected a time in Unix seconds"},
		{"Upstash-Not-Before: -1", "Upstash-Not-Before: expected"},
		{"Upstash-Not-Before: 1700000000.", "Upstash-Not-Before: expected"},
		{"Upstash-Not-Before: .5", "Upstash-Not-Before: expected"},
		{"Upstash-Not-Before: 1700000000.5x", "Upstash-Not-Before: expected"},
		{"Upstash-Not-Before: 1700000000.5.5", "Upstash-Not-Before: expected"},
		{"Upstash-Not-Before: 1.7e9", "Upstash-Not-Before: expected"},
		{"Upstash-Not-Before: 253402300800.0", "Upstash-Not-Before: expected"},
		{"Upstash-Retries: -1", `Upstash-Retries: expected a whole number of retries from 0, got "-1"`},
		{"Upstash-Retries: 1.5", "Upstash-Retries: expected"},
		{"Upstash-Retries: 2147483648", "Upstash-Retries: expected"},
		{"Upstash-Retry-Delay: 2 ^ 3", `Upstash-Retry-Delay: expected an operator or the end at position 3, got "^ 3"`},
		{"Upstash-Retry-Delay: ", "Upstash-Retry-Delay: expected a number"},
		{"Upstash-Label: ok, not ok", `Upstash-Label: expected a comma-separated list of labels made of A-Z a-z 0-9 _ . -, got "not ok"`},
		{"Upstash-Label: a\x00", "Upstash-Label: expected text without control characters, got byte 0x00 at position 2"},
		{"Upstash-Deduplication-Id: a:b", `DeduplicationId cannot contain ':'`},
		{"Upstash-Deduplication-Id: ", "Upstash-Deduplication-Id: expected an id of 1 to 1024 bytes, got 0"},
		{"Upstash-Deduplication-Id: " + strings.Repeat("x", 1025), "Upstash-Deduplication-Id: expected an id of 1 to 1024 bytes, got 1025"},
		{"Upstash-Content-Based-Deduplication: yes", `Upstash-Content-Based-Deduplication: expected true or false, got "yes"`},
		{"Upstash-Header-Forward: 2", "Upstash-Header-Forward: expected true or false"},
		{"Upstash-Header-Forward: true\nX-A: a\x00", "X-A: expected text without control characters"},
		{"Upstash-Callback: /relative", `Upstash-Callback: expected an absolute http or https URL: endpoint has no http:// or https:// scheme`},
		{"Upstash-Callback: https://", `Upstash-Callback: expected an absolute http or https URL: endpoint has no host`},
		{"Upstash-Failure-Callback: ftp://x", "Upstash-Failure-Callback: expected an absolute http or https URL"},
		{"Upstash-Callback: http://a\nUpstash-Callback-Retries: x", `Upstash-Callback-Retries: expected a whole number of retries from 0, got "x"`},
		{"Upstash-Failure-Callback: http://a\nUpstash-Failure-Callback-Delay: x", `Upstash-Failure-Callback-Delay: expected a duration`},
		{"Upstash-Callback: http://a\nUpstash-Callback-Deduplication-Id: a:b", `Upstash-Callback-Deduplication-Id: DeduplicationId cannot contain ':'`},
		{"Upstash-Callback: http://a\nUpstash-Callback-Callback: http://b", `Upstash-Callback-Callback: a callback cannot have a callback of its own`},
		{"Upstash-Callback: http://a\nUpstash-Callback-Failure-Callback-Retries: 1", `Upstash-Callback-Failure-Callback-Retries: a callback cannot have a callback of its own`},
		{"Upstash-Callback: http://a\nUpstash-Callback-Workflow-Calltype: fromCallback\nUpstash-Callback-Callback: http://b", `Upstash-Callback-Callback: a callback cannot`},
		{"Upstash-Callback: http://a\nUpstash-Callback-Workflow-Calltype: fromCallback\nUpstash-Callback-Failure-Callback: b", `Upstash-Callback-Failure-Callback: expected an absolute`},
		{"Upstash-Callback: http://a\nUpstash-Callback-Workflow-Calltype: fromCallback\nUpstash-Callback-Failure-Callback: http://a\nUpstash-Callback-Failure-Callback-Failure-Callback: http://a",
			`Upstash-Callback-Failure-Callback-Failure-Callback: a callback cannot`},
		{"Upstash-Callback: http://a\nUpstash-Callback-Flow-Control-Key: k", "Upstash-Callback-Flow-Control-Value: required with Upstash-Flow-Control-Key"},
		{"Upstash-Callback: http://a\nUpstash-Callback-Queue-Name: q", "Upstash-Callback-Queue-Name: a callback is sent once, and through no queue"},
		{"Upstash-Callback: http://a\nUpstash-Callback-Cron: * * * * *", "Upstash-Callback-Cron: a callback is sent once, and through no queue"},
		{"Upstash-Callback: http://a\nUpstash-Callback-Workflow-Invoke: true", "Upstash-Callback-Workflow-Invoke: expected with Upstash-Workflow-Init: true, as it starts a run"},
		{"Upstash-Callback: http://a\nUpstash-Callback-Workflow-Init: false", "Upstash-Callback-Workflow-Runid: expected the id of the run to append to"},
		{"Upstash-Callback: http://a\nUpstash-Callback-Odd: a\x00b", "Upstash-Callback-Odd: expected text without control characters, got byte 0x00 at position 2"},
		{"Upstash-Queue-Name: a b", `Upstash-Queue-Name: expected 1 to 256 of A-Z a-z 0-9 _ . -, got "a b"`},
		{"Upstash-Queue-Name: ", "Upstash-Queue-Name: expected 1 to 256"},
		{"Upstash-Queue-Name: ..", "Upstash-Queue-Name: expected 1 to 256"},
		{"Upstash-Schedule-Id: " + strings.Repeat("s", 257), "Upstash-Schedule-Id: expected 1 to 256"},
		{"Upstash-Cron: ", "Upstash-Cron: expected a cron expression of 1 to 1024 bytes, got 0"},
		{"Upstash-Flow-Control-Key: k", "Upstash-Flow-Control-Value: required with Upstash-Flow-Control-Key"},
		{"Upstash-Flow-Control-Value: rate=1", "Upstash-Flow-Control-Key: required with Upstash-Flow-Control-Value"},
		{"Upstash-Flow-Control-Key: \nUpstash-Flow-Control-Value: rate=1", "Upstash-Flow-Control-Key: expected a key of 1 to 1024 bytes, got 0"},
		{"Upstash-Flow-Control-Key: k\nUpstash-Flow-Control-Value: 5", flowControlMessage},
		{"Upstash-Flow-Control-Key: k\nUpstash-Flow-Control-Value: period=1s", flowControlMessage},
		{"Upstash-Redact-Fields: body,secrets", `Upstash-Redact-Fields: expected a comma-separated list of body, header and header[Name], got "secrets"`},
		{"Upstash-Redact-Fields: header[]", "Upstash-Redact-Fields: expected a comma-separated list"},
		{"Upstash-Redact-Fields: header[a b]", "Upstash-Redact-Fields: expected a comma-separated list"},
		{"Upstash-Redact-Fields: header[X", "Upstash-Redact-Fields: expected a comma-separated list"},
		{"Upstash-Redact-Fields: header]", "Upstash-Redact-Fields: expected a comma-separated list"},
		{"Upstash-Redact-Fields: body[X]", "Upstash-Redact-Fields: expected a comma-separated list"},
		{"Upstash-Hop: -1", `Upstash-Hop: expected that of a delivery, a whole number, got "-1"`},
		{"Upstash-Hop: 1\nUpstash-Hop: 2", "Upstash-Hop: expected one value, got 2 different ones"},
		{"Upstash-Workflow-Invoke: true", "Upstash-Workflow-Invoke: expected with Upstash-Workflow-Init: true, as it starts a run"},
		{"Upstash-Workflow-Init: maybe", "Upstash-Workflow-Init: expected true or false"},
		{"Upstash-Workflow-Init: false", "Upstash-Workflow-Runid: expected the id of the run to append to, as Upstash-Workflow-Init is false"},
		{"Upstash-Workflow-Runid: ", "Upstash-Workflow-Runid: expected an id of 1 to 512 bytes, got 0"},
		{"Upstash-Workflow-Runid: " + strings.Repeat("r", 513), "Upstash-Workflow-Runid: expected an id of 1 to 512 bytes, got 513"},
		{"Upstash-Workflow-Runid: a/b", `Upstash-Workflow-Runid: expected printable ASCII without / \ ? # % and comma, got "a/b"`},
		{"Upstash-Workflow-Runid: ..", "Upstash-Workflow-Runid: expected printable ASCII"},
		{"Upstash-Workflow-Runid: ü", "Upstash-Workflow-Runid: expected printable ASCII"},
		{"Upstash-Workflow-Runid: a\nUpstash-Workflow-RunId: b", "Upstash-Workflow-Runid: expected one value, got 2 different ones"},
		{"Upstash-Workflow-Url: app", "Upstash-Workflow-Url: expected an absolute http or https URL"},
		{"Upstash-Workflow-CallType: call", `Upstash-Workflow-Calltype: expected step, toCallback, fromCallback or failureCall, got "call"`},
		{"Upstash-Feature-Set: a\x7f", "Upstash-Feature-Set: expected text without control characters"},
		{"Upstash-Forward-X: a\rb", "Upstash-Forward-X: expected text without control characters, got byte 0x0d at position 2"},
		{"Upstash-Forward-X: a\xffb", "Upstash-Forward-X: expected UTF-8 text"},
		{"Upstash-Forward-: x", `Upstash-Forward-: expected a header name, got ""`},
		{"Upstash-Deduplication-Id: \xff", "Upstash-Deduplication-Id: expected UTF-8 text"},
		{"Upstash-Forward-\xff: x", `expected a header name, got "Upstash-Forward-" with byte 0xff at position 17`},
		{"Upstash-Header-Forward: true\nX \xff: y", `expected a header name, got "X" with byte 0x20 at position 2`},
		{"Upstash-Callback: http://a\nUpstash-Callback-\xff: x", `expected a header name, got "Upstash-" with byte 0xff at position 9`},
		{"Content-Type: a\x01", "Content-Type: expected text without control characters"},
		{"Upstash-Timeout: x\nUpstash-Delay: y\nUpstash-Retries: z", "Upstash-Delay: expected"},
		{"X-Large: " + strings.Repeat("x", MaxHeaderBytes), "expected at most 65536 bytes of headers, got 65547"},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			got, err := ParseConfig(headers(strings.Split(tt.in, "\n")...))
			if e := new(Error); !errors.As(err, &e) {
				t.Fatalf("error %v is not an *Error", err)
			}
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got error  %s\nwant prefix %s", err, tt.want)
			}
			if diff := cmp.Diff(Config{}, got); diff != "" {
				t.Errorf("a failed parse has a result: %s", diff)
			}
		})
	}
}

func TestParseConfigLimitIsInclusive(t *testing.T) {
	h := headers("X-Large: " + strings.Repeat("x", MaxHeaderBytes-len("X-Large: \r\n")))
	if _, err := ParseConfig(h); err != nil {
		t.Error(err)
	}
}

func TestWithin(t *testing.T) {
	other := errors.New("other")
	tests := []struct {
		err  error
		want string
	}{
		{&Error{Field: "Upstash-Delay", Message: "bad"}, "[2].headers.Upstash-Delay: bad"},
		{&Error{Message: "bad"}, "[2].headers: bad"},
		{other, "other"},
	}
	for _, tt := range tests {
		if got := Within("[2].headers", tt.err).Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	if err := Within("x", nil); err != nil {
		t.Errorf("Within made an error of nil: %v", err)
	}
}

// fuzzHeader reads "name:value" lines into a canonical header.
func fuzzHeader(text string) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(text, "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			h.Add(name, value)
		}
	}
	return h
}

func FuzzParseConfig(f *testing.F) {
	f.Add("Upstash-Delay:1d10h\nUpstash-Label:a,b\nUpstash-Forward-X:y\nContent-Type:text/plain")
	f.Add("Upstash-Callback:https://a\nUpstash-Callback-Retries:3\nUpstash-Failure-Callback:http://b")
	f.Add("Upstash-Workflow-Init:true\nUpstash-Workflow-RunId:wfr_1\nUpstash-Feature-Set:LazyFetch")
	f.Add("Upstash-Header-Forward:true\nCookie:c\nConnection:x-a\nX-A:1\nAuthorization:Bearer t")
	f.Fuzz(func(t *testing.T, text string) {
		h := fuzzHeader(text)
		c, err := ParseConfig(h)
		if again, errAgain := ParseConfig(h); cmp.Diff(err, errAgain) != "" || cmp.Diff(c, again) != "" {
			t.Errorf("the result depends on map order: %v, %v", err, errAgain)
		}
		if err != nil {
			if e := new(Error); !errors.As(err, &e) || !utf8.ValidString(err.Error()) {
				t.Errorf("not an *Error in UTF-8: %q", err)
			}
			return
		}
		for name, values := range c.Header {
			if dropped(name) || checkField(name, values) != nil {
				t.Errorf("forwards %q: %q", name, values)
			}
		}
		if c.Delay < 0 || c.Timeout < 0 || c.Retries != nil && *c.Retries < 0 {
			t.Errorf("negative: %+v", c)
		}
		for _, cb := range []*Callback{c.Callback, c.FailureCallback} {
			if cb != nil && (CheckURL(cb.URL) != nil || len(cb.Header) > 0 && !parses(cb.Header)) {
				t.Errorf("a callback that does not parse again: %+v", cb)
			}
		}
	})
}

func parses(h http.Header) bool {
	_, err := ParseConfig(h)
	return err == nil
}
