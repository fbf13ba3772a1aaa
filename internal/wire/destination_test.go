package wire

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCutDestination(t *testing.T) {
	tests := map[string]struct {
		tail, query string
		want        string
		settings    []string
	}{
		"plain":                      {"https://example.com", "", "https://example.com", nil},
		"nothing normalised":         {"https://Example.com//a/../b/./%2F%20c;d", "", "https://Example.com//a/../b/./%2F%20c;d", nil},
		"query":                      {"https://example.com/123/", "b=2&a=1&b=%41+x", "https://example.com/123/?b=2&a=1&b=%41+x", nil},
		"query on the tail":          {"https://example.com/?a=1?b", "", "https://example.com/?a=1?b", nil},
		"bare question mark":         {"https://example.com/?", "", "https://example.com/?", nil},
		"odd query kept":             {"https://example.com/", "&&a&=b&%zz=1&c;d&", "https://example.com/?&&a&=b&%zz=1&c;d&", nil},
		"fragment kept":              {"https://example.com/#top", "", "https://example.com/#top", nil},
		"scheme in any case":         {"HTTPS://example.com", "", "HTTPS://example.com", nil},
		"slashes merged":             {"https:/example.com/a", "", "https://example.com/a", nil},
		"slashes merged, upper case": {"HTTP:/example.com", "", "HTTP://example.com", nil},
		"encoded as a whole":         {"https%3A%2F%2Fexample.com%2Fa%252Fb%3Fc%3Dd", "", "https://example.com/a%2Fb?c=d", nil},
		"encoded, lower case":        {"http%3a%2f%2fexample.com", "", "http://example.com", nil},
		"encoded as Go does":         {"https:%2F%2Fexample.com%2Fa", "", "https://example.com/a", nil},
		"encoded, with both queries": {"http%3A%2F%2Fa%2F%3Fb%3Dc", "d=e", "http://a/?b=c&d=e", nil},
		"encoded slashes inside":     {"https://example.com/http%3A%2F%2Fb", "", "https://example.com/http%3A%2F%2Fb", nil},
		"URL group":                  {"my-group", "a=b&upstash-retries=3", "my-group", []string{"Upstash-Retries: 3"}},
		"URL group and a slash":      {"my-group/", "", "my-group", nil},
		"api/llm and a slash":        {"api/llm/", "", "api/llm", nil},
		"token removed":              {"https://a", "x=1&qstash_token=secret&y=2", "https://a?x=1&y=2", nil},
		"encoded token removed":      {"https://a", "qstash%5Ftoken=secret", "https://a", nil},
		"settings removed": {
			"https://a/", "upstash-retries=3&x=1&UPSTASH-Delay=100s&upstash-forward-x=a%20b+c&upstash-label=a&upstash-label=b", "https://a/?x=1",
			[]string{"Upstash-Retries: 3", "Upstash-Delay: 100s", "Upstash-Forward-X: a b c", "Upstash-Label: a", "Upstash-Label: b"},
		},
		"encoded setting removed":  {"https://a", "upstash%2Dmethod=GET", "https://a", []string{"Upstash-Method: GET"}},
		"setting without a value":  {"https://a", "upstash-header-forward", "https://a", []string{"Upstash-Header-Forward: "}},
		"only similar to settings": {"https://a", "upstash=1&xupstash-a=2&QSTASH_TOKEN=3", "https://a?upstash=1&xupstash-a=2&QSTASH_TOKEN=3", nil},
		"IPv6, port, userinfo":     {"http://u:p@[::1]:8080/", "", "http://u:p@[::1]:8080/", nil},
		"UTF-8":                    {"https://exämple.com/ü", "", "https://exämple.com/ü", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, settings, err := CutDestination(tt.tail, tt.query)
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			var want http.Header
			if tt.settings != nil {
				want = headers(tt.settings...)
			}
			if diff := cmp.Diff(want, settings); diff != "" {
				t.Errorf("settings: -want +got:\n%s", diff)
			}
		})
	}
}

func TestCutDestinationErrors(t *testing.T) {
	const scheme = "invalid destination url: endpoint has invalid scheme, add http:// or https://"
	tests := []struct{ tail, query, want string }{
		{"", "", "a non-empty destination must be provided"},
		{"", "qstash_token=t", "a non-empty destination must be provided"},
		{"example.com/path", "", scheme},
		{"localhost:3000", "", scheme},
		{"v2/publish/https://example.com", "", scheme},
		{"ftp://example.com", "", scheme},
		{"https://example.com/" + strings.Repeat("x", MaxURLBytes), "", "invalid destination url: endpoint is longer than 4096 bytes"},
		{"https:example.com", "", scheme},
		{"api/email", "", "expected api/llm or a URL, got another api destination"},
		{strings.Repeat("g", 257), "", scheme},
		{"..", "", scheme},
		{"https://", "", "invalid destination url: endpoint has no host"},
		{"https:///path", "", "invalid destination url: endpoint has no host"},
		{"https://:80/", "", "invalid destination url: endpoint has no host"},
		{"https://a:65536/", "", "invalid destination url: endpoint has a port above 65535"},
		{"https://a:x/", "", `invalid destination url: invalid port after host`},
		{"https://a/%zz", "", `invalid destination url: invalid URL escape "%zz"`},
		{"https://a/b c", "", "invalid destination url: endpoint has a space or control character at position 12"},
		{"http%3A%2F%2Fa%0D%0A", "", "invalid destination url: endpoint has a space or control character at position 9"},
		{"http%3A%2F%2Fa%00", "", "invalid destination url: endpoint has a space or control character at position 9"},
		{"http%3A%2F%2Fa%2F%ff", "", "invalid destination url: endpoint is not UTF-8"},
		{"http%3A%2F%2Fa%2", "", `invalid destination url: invalid URL escape "%2"`},
		{"https://a", "upstash-delay=%zz", `upstash-delay: expected a percent-encoded query value`},
		{"https://a", "upstash-a%20b=1", `expected a header name as query key, got "upstash-a" with byte 0x20 at position 10`},
	}
	for _, tt := range tests {
		_, _, err := CutDestination(tt.tail, tt.query)
		if err == nil || err.Error() != tt.want {
			t.Errorf("CutDestination(%q, %q)\ngot  %v\nwant %s", tt.tail, tt.query, err, tt.want)
		}
	}
}

func TestMergeSettings(t *testing.T) {
	h := headers("Upstash-Delay: 1s", "X: y")
	if got := MergeSettings(h, nil); cmp.Diff(h, got) != "" {
		t.Errorf("without settings: %v", got)
	}
	got := MergeSettings(h, headers("Upstash-Delay: 9s", "Upstash-Retries: 1"))
	if diff := cmp.Diff(headers("Upstash-Delay: 1s", "Upstash-Retries: 1", "X: y"), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(h) != 2 {
		t.Errorf("the request's header was changed: %v", h)
	}
}

func FuzzCutDestination(f *testing.F) {
	f.Add("https://example.com/a//b", "x=1&upstash-delay=1s&qstash_token=t")
	f.Add("https%3A%2F%2Fexample.com%3Fa%3Db", "c=d")
	f.Add("https:/example.com", "&&")
	f.Add("group", "")
	f.Fuzz(func(t *testing.T, tail, query string) {
		dest, settings, err := CutDestination(tail, query)
		if err != nil {
			return
		}
		if err := CheckDestination(dest); err != nil {
			t.Errorf("%q is no destination: %v", dest, err)
		}
		for name := range settings {
			if !strings.HasPrefix(name, PrefixUpstash) {
				t.Errorf("%q is no setting", name)
			}
		}
		if again, more, err := CutDestination(dest, ""); again != dest || more != nil || err != nil {
			if !isEncodedURL(tail) { // a decoded destination's own query is not ours to read
				t.Errorf("cut again, %q is %q, %v, %v", dest, again, more, err)
			}
		}
	})
}
