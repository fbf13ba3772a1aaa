package receiver

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// TestT07CanonicalForm has at least one case for each row of the package comment's table.
func TestT07CanonicalForm(t *testing.T) {
	tests := []struct{ row, raw, want string }{ // want "" means refused
		{"scheme", "HTTPS://a/", "https://a/"},
		{"scheme", "hTTp://a/", "http://a/"},
		{"scheme", "ftp://a/", ""},
		{"scheme", "javascript://a/", ""},
		{"scheme", "//a/", ""},
		{"scheme", "a/", ""},
		{"scheme", "/a", ""},
		{"scheme", "https:/a", ""},
		{"scheme", "https:a", ""},
		{"scheme", " https://a/", ""},
		{"scheme", "x?u=https://a/", ""},
		{"scheme", "", ""},
		{"user info", "https://u@a/", ""},
		{"user info", "https://u:p@a/", ""},
		{"user info", "https://@a/", ""},
		{"user info", "https://a/@b", "https://a/@b"},
		{"user info", "https://a/?@b", "https://a/?@b"},
		{"host", "https://A.Example/", "https://a.example/"},
		{"host", "https://a.example./", "https://a.example./"},
		{"host", "https://a_b-c~1/", "https://a_b-c~1/"},
		{"host", "https://127.0.0.1/", "https://127.0.0.1/"},
		{"host", "https://BÜCHER.example/", "https://bÜcher.example/"},
		{"host", "https://\u212a/", "https://\u212a/"}, // Kelvin sign
		{"host", "https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"},
		{"host", "https:///a", ""},
		{"host", "https://", ""},
		{"host", "https://a,b/", ""},
		{"host", "https://a b/", ""},
		{"host", "https://a%41/", ""},
		{"host", "https://a\\@b/", ""},
		{"host", "https://:443/", ""},
		{"IPv6", "https://[::1]/", "https://[::1]/"},
		{"IPv6", "https://[0:0::0:1]:443/", "https://[::1]/"},
		{"IPv6", "https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443/"},
		{"IPv6", "https://[::ffff:1.2.3.4]/", "https://[::ffff:1.2.3.4]/"},
		{"IPv6", "https://[fe80::1%25eth0]/", ""},
		{"IPv6", "https://[fe80::1%eth0]/", ""},
		{"IPv6", "https://[1.2.3.4]/", ""},
		{"IPv6", "https://[::1/", ""},
		{"IPv6", "https://[::1]x/", ""},
		{"IPv6", "https://::1/", ""},
		{"port", "https://a:443/", "https://a/"},
		{"port", "http://a:80/", "http://a/"},
		{"port", "http://a:443/", "http://a:443/"},
		{"port", "https://a:80/", "https://a:80/"},
		{"port", "https://a:/", "https://a/"},
		{"port", "https://a:0443/", "https://a/"},
		{"port", "https://a:08080/", "https://a:8080/"},
		{"port", "https://a:65535/", "https://a:65535/"},
		{"port", "https://a:65536/", ""},
		{"port", "https://a:-1/", ""},
		{"port", "https://a:+1/", ""},
		{"port", "https://a:x/", ""},
		{"port", "https://a:1:2/", ""},
		{"empty path", "https://a", "https://a/"},
		{"empty path", "https://a?b", "https://a/?b"},
		{"empty path", "https://a#b", "https://a/"},
		{"dot segments", "https://a/b/../c", "https://a/c"},
		{"dot segments", "https://a/b/./c", "https://a/b/c"},
		{"dot segments", "https://a/b/..", "https://a/"},
		{"dot segments", "https://a/b/.", "https://a/b/"},
		{"dot segments", "https://a/../../b", "https://a/b"},
		{"dot segments", "https://a/b/%2e%2E/c", "https://a/c"},
		{"dot segments", "https://a/b/.%2e/c", "https://a/c"},
		{"dot segments", "https://a/b//../c", "https://a/b/c"},
		{"dot segments", "https://a/..//b", "https://a//b"},
		{"dot segments", "https://a/...", "https://a/..."},
		{"dot segments", "https://a/.b/..c", "https://a/.b/..c"},
		{"dot segments", "https://a/b/..%2Fc", "https://a/b/..%2Fc"},
		{"dot segments", "https://a/?../b", "https://a/?../b"},
		{"encoding", "https://a/%7e%2f", "https://a/~%2F"},
		{"encoding", "https://a/%41%5a%61%7A%30%2d%5F", "https://a/AZaz0-_"},
		{"encoding", "https://a/%2F%3f%23%25", "https://a/%2F%3F%23%25"},
		{"encoding", "https://a/%2541", "https://a/%2541"},
		{"encoding", "https://a/%21%24%26", "https://a/%21%24%26"},
		{"encoding", "https://a/!$&'()*+,;=:@", "https://a/!$&'()*+,;=:@"},
		{"encoding", "https://a/%zz", ""},
		{"encoding", "https://a/%4", ""},
		{"encoding", "https://a/%", ""},
		{"encoding", "https://a/%+1", ""},
		{"encoding", "https://a/%_1", ""},
		{"forbidden bytes", "https://a/é", "https://a/%C3%A9"},
		{"forbidden bytes", "https://a/%c3%a9", "https://a/%C3%A9"},
		{"forbidden bytes", "https://a/b c", "https://a/b%20c"},
		{"forbidden bytes", "https://a/%2Fb c", "https://a/%2Fb%20c"},
		{"forbidden bytes", `https://a/"<>[\]^{|}` + "`", "https://a/%22%3C%3E%5B%5C%5D%5E%7B%7C%7D%60"},
		{"kept", "https://a//B/", "https://a//B/"},
		{"kept", "https://a/b", "https://a/b"},
		{"query", "https://a/?b&a=", "https://a/?b&a="},
		{"query", "https://a/?", "https://a/?"},
		{"query", "https://a/?%7e=%2f&A=é b", "https://a/?%7e=%2f&A=é b"},
		{"query", "https://a/?b?c=/../d", "https://a/?b?c=/../d"},
		{"fragment", "https://a/#x", "https://a/"},
		{"fragment", "https://a/?b#x?y", "https://a/?b"},
		{"fragment", "https://a/#", "https://a/"},
		{"control", "https://a/\n", ""},
		{"control", "https://a/?\x00", ""},
		{"control", "https://a/\x7f", ""},
		{"control", "https://a\t/", ""},
	}
	for _, tt := range tests {
		t.Run(tt.row+"/"+tt.raw, func(t *testing.T) {
			got, err := parseURL(tt.raw)
			switch {
			case tt.want == "" && err == nil:
				t.Errorf("got %s, want an error", got)
			case tt.want != "" && err != nil:
				t.Errorf("error %v, want %s", err, tt.want)
			case tt.want != "" && got.String() != tt.want:
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestT07DocumentedForm holds the package comment to its word: each row of its
// table is true.
func TestT07DocumentedForm(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	rows, row := map[string]int{}, ""
	rc := newReceiver(t, Options{})
	for line := range strings.Lines(string(doc)) {
		if cell := strings.TrimPrefix(line, "//\t"); cell != line && !strings.HasPrefix(cell, " ") {
			row, _, _ = strings.Cut(cell, "  ")
		}
		left, right, found := strings.Cut(line, "→")
		if !found {
			continue
		}
		words := strings.Fields(left)
		url, want := strings.ReplaceAll(words[len(words)-1], `\n`, "\n"), strings.TrimSpace(right)
		rows[row]++
		if want == "error" {
			_, err := rc.Verify(Request{Signature: mustSign(t, currentKey, SignOptions{URL: url}), URL: url, Body: hookBody})
			if !errors.Is(err, ErrURLMismatch) {
				t.Errorf("%s: %s is accepted: %v", row, url, err)
			}
			continue
		}
		for _, pair := range [][2]string{{url, want}, {want, url}} {
			if strings.Contains(pair[1], "#") || strings.Contains(pair[1], "/../") {
				continue // is never sent, or not without being signed
			}
			_, err := rc.Verify(Request{Signature: mustSign(t, currentKey, SignOptions{URL: pair[0]}), URL: pair[1], Body: hookBody})
			if err != nil {
				t.Errorf("%s: signed for %s, sent to %s: %v", row, pair[0], pair[1], err)
			}
		}
		if u, err := parseURL(want); err != nil || u.String() != want {
			t.Errorf("%s: %s is not canonical: %s, %v", row, want, u, err)
		}
	}
	for _, row := range []string{"scheme", "user info", "host", "port", "path", "query", "fragment", "control"} {
		if rows[row] == 0 {
			t.Errorf("row %s has no example", row)
		}
		delete(rows, row)
	}
	if len(rows) > 0 {
		t.Errorf("rows %v are not expected", rows)
	}
}

func TestURLModes(t *testing.T) {
	const sub = "https://app.example.com/hook?a=1"
	tests := []struct {
		name, sub, url                    string
		canonical, exact, pathOnly, unset bool // accepted? unset is URLOff
	}{
		{"same", sub, sub, true, true, true, true},
		{"spelled otherwise", sub, "HTTPS://APP.example.com:443/./h%6Fok?a=1", true, false, true, true},
		{"way up not signed", sub, "https://app.example.com/admin/../hook?a=1", false, false, false, true},
		{"way up not signed, encoded", sub, "https://app.example.com/admin/.%2e/hook?a=1", false, false, false, true},
		{"other way up", "https://a.example/x/../hook", "https://a.example/y/../hook", false, false, false, true},
		{"way up signed", "https://a.example/x/../hook", "https://a.example/x/%2E./hook", true, false, true, true},
		{"way up resolved", "https://a.example/x/../hook", "https://a.example/hook", true, false, true, true},
		{"dots in the query", "https://a.example/?a=/../b", "https://a.example/?a=/../b", true, true, true, true},
		{"other scheme", sub, "http://app.example.com/hook?a=1", false, false, true, true},
		{"other host", sub, "https://10.0.0.1/hook?a=1", false, false, true, true},
		{"other port", sub, "https://app.example.com:8443/hook?a=1", false, false, true, true},
		{"other path", sub, "https://app.example.com/hooks?a=1", false, false, false, true},
		{"other case of the path", sub, "https://app.example.com/Hook?a=1", false, false, false, true},
		{"slash at the end", sub, "https://app.example.com/hook/?a=1", false, false, false, true},
		{"other query", sub, "https://app.example.com/hook?a=2", false, false, false, true},
		{"no query", sub, "https://app.example.com/hook", false, false, false, true},
		{"query in another case", sub, "https://app.example.com/hook?A=1", false, false, false, true},
		{"query encoded", sub, "https://app.example.com/hook?%61=1", false, false, false, true},
		{"query order", "https://a.example/?a&b", "https://a.example/?b&a", false, false, false, true},
		{"empty query", "https://a.example/", "https://a.example/?", false, false, false, true},
		{"encoded slash", "https://a.example/b%2Fc", "https://a.example/b/c", false, false, false, true},
		{"empty path", "https://a.example", "https://a.example/", true, false, true, true},
		{"fragment in the token", "https://a.example/#top", "https://a.example/", true, false, true, true},
		{"fragment in the request", "https://a.example/", "https://a.example/#top", false, false, false, true},
		{"user info in both", "https://u@a.example/", "https://u@a.example/", false, true, false, true},
		{"token without a URL", "urn:x", "https://a.example/", false, false, false, true},
		{"request without a URL", sub, "", false, false, false, true},
		{"request with a path only", sub, "/hook?a=1", false, false, false, true},
		{"host by user info trick", "https://a.example/", "https://a.example@b.example/", false, false, false, true},
		{"IDN and its ASCII form", "https://bücher.example/", "https://xn--bcher-kva.example/", false, false, true, true},
		{"IDN spelled alike", "https://bücher.example/", "https://bücher.example/", true, true, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token := mustSign(t, currentKey, SignOptions{URL: tt.sub})
			for mode, accepted := range map[URLMode]bool{URLCanonical: tt.canonical, URLExact: tt.exact, URLPathOnly: tt.pathOnly, URLOff: tt.unset} {
				_, err := newReceiver(t, Options{URLMode: mode}).Verify(Request{Signature: token, URL: tt.url, Body: hookBody})
				if accepted && err != nil || !accepted && !errors.Is(err, ErrURLMismatch) {
					t.Errorf("mode %d: error %v, want acceptance %t", mode, err, accepted)
				}
			}
		})
	}
}

func TestURLDifference(t *testing.T) {
	const sub = "https://app.example.com/hook?a=1"
	tests := []struct{ sub, url, want string }{
		{sub, "http://app.example.com/hook?a=1", `scheme is "http", signed for "https"`},
		{sub, "https://x.example/hook?a=1", `host is "x.example", signed for "app.example.com"`},
		{sub, "https://app.example.com:81/hook?a=1", `port is "81", signed for ""`},
		{sub, "https://app.example.com/?a=1", `path is "/", signed for "/hook"`},
		{sub, "https://app.example.com/hook?a=2", "query differs"},
		{"x", sub, "the token's URL: not an absolute http or https URL"},
		{sub, "x", "the request's URL: not an absolute http or https URL"},
		{sub, sub + "#x", "the request's URL: fragment in a request"},
	}
	for _, tt := range tests {
		var detail *VerifyError
		if err := matchURL(URLCanonical, tt.sub, tt.url); !errors.As(err, &detail) || detail.Reason != tt.want {
			t.Errorf("%s at %s: error %v, want reason %s", tt.sub, tt.url, err, tt.want)
		}
	}
}

func TestT07RequestURL(t *testing.T) {
	const proxy = "10.1.2.3:9"
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	forwardedAs := func(proto, host string) http.Header {
		h := http.Header{}
		if proto != "" {
			h.Set("X-Forwarded-Proto", proto)
		}
		if host != "" {
			h.Set("X-Forwarded-Host", host)
		}
		return h
	}
	tests := []struct {
		name, peer, target string
		tls                bool
		host               string
		header             http.Header
		baseURL            string
		want               string // "" means refused
	}{
		{name: "plain", peer: proxy, host: "a.example", target: "/h?x=1", want: "http://a.example/h?x=1"},
		{name: "TLS", peer: proxy, host: "a.example", target: "/h", tls: true, want: "https://a.example/h"},
		{name: "host with port", host: "localhost:3000", target: "/", want: "http://localhost:3000/"},
		{name: "raw target", peer: proxy, host: "a.example", target: "/b%2Fc//d/../e?", want: "http://a.example/b%2Fc//d/../e?"},
		{name: "target that looks like an authority", peer: proxy, host: "a.example", target: "//evil.example/h", want: "http://a.example//evil.example/h"},
		{name: "absolute form", peer: proxy, host: "a.example", target: "http://a.example/h?x=1", want: "http://a.example/h?x=1"},
		{name: "absolute form without path", peer: proxy, host: "a.example", target: "http://a.example?x=1", want: "http://a.example/?x=1"},
		{name: "absolute form, bare", peer: proxy, host: "a.example", target: "http://a.example", want: "http://a.example/"},
		{name: "slash in the host", peer: proxy, host: "a.example/x", target: "/h"},
		{name: "user info in the host", peer: proxy, host: "u@a.example", target: "/h"},
		{name: "query in the host", peer: proxy, host: "a.example?", target: "/h"},
		{name: "no host", peer: proxy, target: "/h"},
		{name: "host of a stranger", peer: "192.0.2.1:9", host: "a.example", target: "/h"},
		{name: "address of a stranger", peer: "192.0.2.1:9", host: "192.0.2.2", target: "/h"},
		{name: "loopback that is none", peer: "192.0.2.1:9", host: "a.example/.localhost", target: "/h"},
		{name: "loopback address", peer: "192.0.2.1:9", host: "127.0.0.1:80", target: "/h", want: "http://127.0.0.1:80/h"},
		{name: "loopback, forwarded by a stranger", peer: "127.0.0.1:9", host: "[::1]", target: "/h", header: forwardedAs("https", "b.example"), want: "http://[::1]/h"},
		{name: "forwarded by a stranger", peer: "192.0.2.1:9", host: "a.example", target: "/h", header: forwardedAs("https", "b.example")},
		{name: "forwarded by a unix socket", peer: "@", host: "a.example", target: "/h", header: forwardedAs("https", "b.example")},
		{name: "forwarded by a proxy", peer: "10.1.2.3:9", host: "a.example", target: "/h", header: forwardedAs("https", "b.example"), want: "https://b.example/h"},
		{name: "forwarded by a mapped proxy", peer: "[::ffff:10.1.2.3]:9", host: "a.example", target: "/h", header: forwardedAs("https", ""), want: "https://a.example/h"},
		{name: "forwarded by an IPv6 proxy", peer: "[fd00::1%eth0]:9", host: "a.example", target: "/h", header: forwardedAs("", "b.example:8443"), want: "http://b.example:8443/h"},
		{name: "proxy forwards nothing", peer: "10.1.2.3:9", host: "a.example", target: "/h", want: "http://a.example/h"},
		{name: "two values", peer: "10.1.2.3:9", host: "a.example", target: "/h", header: http.Header{"X-Forwarded-Host": {"b.example", "c.example"}}},
		{name: "joined values", peer: "10.1.2.3:9", host: "a.example", target: "/h", header: forwardedAs("https, http", "")},
		{name: "scheme that is none", peer: "10.1.2.3:9", host: "a.example", target: "/h", header: forwardedAs("gopher", "")},
		{name: "empty host forwarded", peer: "10.1.2.3:9", host: "a.example", target: "/h", header: http.Header{"X-Forwarded-Host": {""}}},
		{name: "path in the host forwarded", peer: "10.1.2.3:9", host: "a.example", target: "/h", header: forwardedAs("", "b.example/app")},
		{name: "base URL", host: "x", target: "/h?x=1", baseURL: "https://b.example", want: "https://b.example/h?x=1"},
		{name: "base URL with slash", host: "x", target: "/h", baseURL: "https://b.example/", want: "https://b.example/h"},
		{name: "base URL with prefix", host: "x", target: "/h", baseURL: "https://b.example/app/", want: "https://b.example/app/h"},
		{name: "base URL and a proxy", peer: "10.1.2.3:9", host: "x", target: "/h", baseURL: "https://b.example", header: forwardedAs("http", "c.example"), want: "https://b.example/h"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rc := newReceiver(t, Options{BaseURL: tt.baseURL, TrustedProxies: proxies})
			r := httptest.NewRequest("POST", "/other", nil)
			r.RequestURI, r.Host, r.RemoteAddr, r.Header = tt.target, tt.host, tt.peer, tt.header
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			got, err := rc.requestURL(r)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, error %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestRequestURLWithoutRequestLine(t *testing.T) {
	r, err := http.NewRequest("POST", "http://a.example/b%2Fc?d", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := newReceiver(t, Options{URLMode: URLPathOnly}).requestURL(r)
	if want := "http://a.example/b%2Fc?d"; got != want || err != nil {
		t.Errorf("got %q, error %v, want %q", got, err, want)
	}
}

func FuzzCanonicalURL(f *testing.F) {
	for _, s := range []string{
		hookURL, "HTTP://A:80/%7e/../%2F?q#f", "https://[0::1]:0443//.//..", "https://bücher.example/é?é", "https://a/%2e%2e/%25",
		"https://a", "http://a:/?", "https://a/\\", "https://u@h/", "https://a/%", "https://a:99999/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		once, err := parseURL(raw)
		if err != nil {
			return
		}
		twice, err := parseURL(once.String())
		if err != nil || twice != once {
			t.Fatalf("%q becomes %q, which becomes %q, error %v", raw, once, twice, err)
		}
		if !strings.HasPrefix(once.path, "/") || strings.ContainsAny(once.path, "?# ") || strings.Contains(once.path+"/", "/../") {
			t.Fatalf("%q has the path %q", raw, once.path)
		}
		if _, query, _ := strings.Cut(strings.SplitN(raw, "#", 2)[0], "?"); strings.TrimPrefix(once.query, "?") != query {
			t.Fatalf("%q has the query %q", raw, once.query)
		}
	})
}
