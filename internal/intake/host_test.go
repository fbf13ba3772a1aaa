package intake

import "testing"

// What is readable is what Node's URL takes for a host, but for names that break
// the rules for mixed directions, which it takes, too.
func TestIsReadable(t *testing.T) {
	for host, want := range map[string]bool{
		"example.com": true, "a--b": true, "[::1]:80": true, "xn--mnchen-3ya.de": true, "XN--MNCHEN-3YA.de:8443": true, "a.xn--zca": true, "xn--ls8h": true, "xn--1ch": true,
		"xn--": false, "a.xn--.b": false, "xn--a": false, "xn--9999999": false, "xn--0:80": false, "xn--a-ecp.ru": false, "xn--a-0hc": false, "xn--a:b:c": false,
	} {
		if got := IsReadable(host); got != want {
			t.Errorf("%q is readable: %v", host, got)
		}
	}
}
