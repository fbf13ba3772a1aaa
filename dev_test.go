package signpost

import (
	"net/url"
	"strings"
	"testing"
)

func TestLoopbackNames(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:1": true, "LOCALHOST.": true, "localhost.:80": true, "127.0.0.1": true, "127.9.9.9:1": true,
		"[::1]": true, "[::1]:1": true, "[::ffff:127.0.0.1]": true, "[0:0:0:0:0:0:0:1]:80": true,
		"": false, ":80": false, ".": false, "localhost..": false, "localhost.evil.example": false, "evil.example": false, "x.localhost": false,
		"0.0.0.0": false, "[::]": false, "127.1": false, "0x7f.0.0.1": false, "2130706433": false, "127.0.0.1.evil.example": false,
		"[localhost]": false, "[127.0.0.1]": false, "[::1": false, "[evil.example]": false, "[::2]": false, "192.0.2.1": false,
	} {
		if got := isLoopbackName(hostname(host)); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}

// What is taken for this machine is what browsers take for it.
func FuzzLoopbackNames(f *testing.F) {
	for _, host := range []string{"localhost", "127.0.0.1:80", "[::1]", "[::1]:1", "localhost.evil.example", "[::1", "::1"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !isLoopbackName(hostname(host)) {
			return
		}
		u, err := url.Parse("http://" + host + "/")
		if err != nil || u.Host != host {
			return // net/http refuses such a Host header, or no browser sends it
		}
		name := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
		if name != "localhost" && !strings.HasPrefix(name, "127.") && !strings.Contains(name, ":") {
			t.Errorf("%q is taken for this machine", host)
		}
	})
}
