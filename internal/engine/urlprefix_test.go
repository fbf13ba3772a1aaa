package engine_test

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

// A prefix is kept in normal form; what is no place for a token is refused.
func TestParseURLPrefix(t *testing.T) {
	for given, want := range map[string]string{
		"https://a.example":                "https://a.example",
		"https://a.example/":               "https://a.example",
		"HTTPS://A.Example:443//":          "https://a.example",
		"http://a.example:80/x/":           "http://a.example/x",
		"http://a.example:080/x":           "http://a.example/x",
		"http://a.example:8080/x//y/":      "http://a.example:8080/x//y",
		"https://a.example/X%79/%7Eb%20c":  "https://a.example/Xy/~b%20c",
		"https://a.example/a%2Fb":          "https://a.example/a%2Fb",
		"https://a.example/é":              "https://a.example/%C3%A9",
		"https://[2001:DB8::1]:8443/x":     "https://[2001:db8::1]:8443/x",
		"http://127.0.0.1:3000/api/orders": "http://127.0.0.1:3000/api/orders",
	} {
		got, err := engine.ParseURLPrefix(given)
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, error %v, want %q", given, got, err, want)
		}
		if again, err := engine.ParseURLPrefix(string(got)); err != nil || again != got {
			t.Errorf("%s: normal form %q becomes %q, error %v", given, got, again, err)
		}
	}
	for _, given := range []string{
		"", "a.example", "/x", "ftp://a.example", "https://", "https://:443", "https:a.example", "https://u@a.example", "https://u:p@a.example/x",
		"https://a.example/?", "https://a.example/x?y=1", "https://a.example#", "https://a.example/#x", "https://a.example:99999", "https://a.example:x",
		"https://bücher.example", "https://a.example/x/..", "https://a.example/x/%2e%2e/y", "https://a.example/./x", "https://a.example/x\\..\\y",
		"https://a.example/%zz", "https://a.example/a b\x7f", "https://a.example/%00", "http://[fe80::1%25eth0]/", "https://a.example/" + strings.Repeat("x", 5000),
	} {
		if got, err := engine.ParseURLPrefix(given); engine.ErrorCode(err) != engine.Invalid {
			t.Errorf("%q: got %q, error %v", given, got, err)
		}
	}
}

// coverage is what the prefix https://a.example/x covers, and what it does not.
var coverage = []struct {
	url    string
	covers bool
}{
	{"https://a.example/x", true},
	{"https://a.example/x/", true},
	{"https://a.example/x/y", true},
	{"https://a.example/x//y", true},
	{"https://a.example/x?y=/../..", true},
	{"https://a.example/x#/../..", true},
	{"https://a.example/x/y?next=https://evil.example/", true},
	{"https://a.example:443/x/y", true},
	{"HTTPS://A.EXAMPLE/x/y", true},
	{"https://a.example/%78/y", true},
	{"https://a.example/x/a%2Fb", true},
	{"https://a.example/x/...", true},
	{"https://a.example/x/.hidden/a..b", true},
	{"https://a.example/x/100%25", true},

	{"https://a.example", false},
	{"https://a.example/", false},
	{"https://a.example/xy", false},
	{"https://a.example/x%2Fy", false}, // one segment
	{"https://a.example/X", false},
	{"https://a.example//x", false},
	{"https://a.example/y/x", false},
	{"http://a.example/x", false},
	{"https://a.example:8443/x", false},
	{"https://a.example.evil/x", false},
	{"https://evil.a.example/x", false},
	{"https://a.example./x", false},
	{"https://a.example@evil.example/x", false},
	{"https://a.example:443@evil.example/x", false},
	{"https://u:p@a.example/x", false},
	{"https://evil.example/https://a.example/x", false},
	{"https://evil.example?https://a.example/x", false},
	{"https://evil.example#https://a.example/x", false},
	{"https://ａ.example/x", false}, // a wide letter
	{"https://a.example\\x", false},
	{"https://a.example/x/../y", false},
	{"https://a.example/x/../x/y", false}, // whatever it resolves to
	{"https://a.example/x/./y", false},
	{"https://a.example/x/..", false},
	{"https://a.example/x/%2e%2e/y", false},
	{"https://a.example/x/%2E%2E%2Fy", false},
	{"https://a.example/x/.%2e/y", false},
	{"https://a.example/x/%252e%252e/y", false},
	{"https://a.example/x/%25252e%25252e%25252fy", false},
	{"https://a.example/x/%zz%2e%2e/y", false},
	{"https://a.example/x/%25zz/%252e%252e/y", false},
	{"https://a.example/x/..;/y", false},
	{"https://a.example/x/..;a=b/y", false},
	{"https://a.example/x/..%3b/y", false},
	{"https://a.example/x/..%20/y", false},
	{"https://a.example/x\\..\\y", false},
	{"https://a.example/x/..%5cy", false},
	{"https://a.example/x/%c0%ae%c0%ae/y", false},
	{"https://a.example/x/..%00/y", false},
	{"https://a.example/x/..%0d/y", false},
	{"https:/a.example/x", false},
	{"//a.example/x", false},
	{"javascript://a.example/x", false},
	{"", false},
}

func TestURLPrefixCovers(t *testing.T) {
	prefix, err := engine.ParseURLPrefix("https://a.example/x")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range coverage {
		if got := prefix.Covers(c.url); got != c.covers {
			t.Errorf("%s: covered %t, want %t", c.url, got, c.covers)
		}
	}
	// Without a path, paths do not matter, and origins do all the more.
	origin := engine.URLPrefix("https://a.example")
	for url, want := range map[string]bool{
		"https://a.example": true, "https://a.example/": true, "https://a.example?x": true, "https://a.example/b": true, "https://a.example/a/../../b": true, "https://a.example:0443/": true,
		"https://a.example:444": false, "http://a.example:443": false, "https://a.example.evil": false, "https://u@a.example": false,
	} {
		if got := origin.Covers(url); got != want {
			t.Errorf("%s: covered by the origin: %t, want %t", url, got, want)
		}
	}
	if !engine.URLPrefix("").Covers("anything") {
		t.Error("no prefix covers not everything")
	}
}

// Whatever is covered is sent to the prefix's host, and to a path below the
// prefix however it is resolved.
func FuzzURLPrefix(f *testing.F) {
	for _, c := range coverage {
		f.Add(c.url)
	}
	prefix := engine.URLPrefix("https://a.example/x")
	f.Fuzz(func(t *testing.T, raw string) {
		if p, err := engine.ParseURLPrefix(raw); err == nil {
			if again, err := engine.ParseURLPrefix(string(p)); err != nil || again != p || !p.Covers(string(p)) || !p.Covers(raw) {
				t.Errorf("%q: normal form %q becomes %q, error %v", raw, p, again, err)
			}
		}
		if !prefix.Covers(raw) {
			return
		}
		req, err := http.NewRequest("POST", raw, nil)
		if err != nil {
			t.Fatalf("%q is covered and can't be sent: %v", raw, err)
		}
		u := req.URL
		if u.Scheme != "https" || !strings.EqualFold(u.Hostname(), "a.example") || u.Port() != "" && strings.TrimLeft(u.Port(), "0") != "443" || u.User != nil {
			t.Errorf("%q goes to %s", raw, u)
		}
		resolved := u.ResolveReference(&url.URL{Path: u.Path, RawPath: u.RawPath})
		sent, _, _ := strings.Cut(u.RequestURI(), "?")
		for decoded := sent; ; {
			for _, p := range []string{resolved.Path, path.Clean(decoded), path.Clean(strings.ReplaceAll(decoded, "\\", "/"))} {
				if p != "/x" && !strings.HasPrefix(p, "/x/") && !strings.HasPrefix(p, "/%") {
					t.Errorf("%q may be taken for %s", raw, p)
				}
			}
			next, err := url.PathUnescape(decoded)
			if err != nil || next == decoded {
				break
			}
			decoded = next
		}
	})
}
