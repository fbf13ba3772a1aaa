package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(4, time.Second)
		key, other := l.text("a"), l.text("b")
		for left := 3; left >= 0; left-- {
			if v := l.take(key); v.wait != 0 || v.left != left || v.limit != 4 {
				t.Fatalf("%+v, want %d left", v, left)
			}
		}
		reset := time.Now().Unix() + 1
		if v := l.take(key); v.wait != 250*time.Millisecond || v.left != 0 || v.reset != reset {
			t.Errorf("one too many: %+v, want a wait of 250ms and a reset at %d", v, reset)
		}
		if v := l.take(other); v.wait != 0 || v.left != 3 {
			t.Errorf("another key: %+v", v)
		}
		time.Sleep(250 * time.Millisecond)
		if v := l.take(key); v.wait != 0 || v.left != 0 {
			t.Errorf("a quarter of a second later: %+v", v)
		}
		if v := l.take(key); v.wait == 0 {
			t.Errorf("and again: %+v", v)
		}
		time.Sleep(time.Hour)
		if v := l.take(key); v.left != 3 {
			t.Errorf("an hour later: %+v", v)
		}
	})
}

// What is charged counts although nobody asked, and is forgotten as soon.
func TestLimiterCharge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(2, 10*time.Second)
		key := l.text("a")
		for range 2 {
			if wait := l.wait(key); wait != 0 {
				t.Fatalf("wait of %v", wait)
			}
			l.charge(key)
		}
		for range 100 {
			l.charge(key)
		}
		if wait := l.wait(key); wait != 5*time.Second {
			t.Errorf("wait of %v", wait)
		}
		time.Sleep(5 * time.Second)
		if wait := l.wait(key); wait != 0 {
			t.Errorf("then of %v", wait)
		}
	})
}

// However many keys there are, the table has one size; keys that are limited
// stay so while others come and go.
func TestT25LimiterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(10, time.Second)
		hog := l.text("hog")
		for range 10 {
			l.take(hog)
		}
		for i := range uint64(100_000) {
			if v := l.take(i * 0x9e3779b97f4a7c15); v.wait != 0 {
				t.Fatalf("key %d has to wait", i)
			}
		}
		if v := l.take(hog); v.wait == 0 {
			t.Error("the hog is forgotten")
		}
		if n := testing.AllocsPerRun(100, func() { l.take(l.text("x")); l.wait(hog); l.charge(hog) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestLimiterKeys(t *testing.T) {
	l := newLimiter(1, time.Second)
	key := func(s string) uint64 { return l.addr(netip.MustParseAddr(s)) }
	if key("2001:db8::1") != key("2001:db8::ffff:1") || key("2001:db8::1") == key("2001:db8:0:1::1") {
		t.Error("addresses of IPv6 do not count by their /64")
	}
	if key("192.0.2.1") == key("192.0.2.2") {
		t.Error("addresses of IPv4 count together")
	}
	if newLimiter(0, time.Second) != nil || newLimiter(-1, time.Second) != nil {
		t.Error("no limit is one")
	}
}

// Every line of the table of exceptions is a route.
func TestUnlimitedRoutes(t *testing.T) {
	for name := range unlimited {
		if !slices.ContainsFunc(routes, func(r route) bool { return r.method == name.method && r.pattern == name.pattern }) {
			t.Errorf("%v is no route", name)
		}
	}
}

// The word of a proxy is taken, that of others is not.
func TestT25CallerBehindProxies(t *testing.T) {
	h := &Handler{proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}}
	for _, test := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:99", nil, "192.0.2.1"},
		{"[::ffff:192.0.2.1]:99", nil, "192.0.2.1"},
		{"[fe80::1%eth0]:99", nil, "fe80::1"},
		{"192.0.2.1:99", []string{"198.51.100.7"}, "192.0.2.1"}, // nobody we trust
		{"10.0.0.1:99", nil, "10.0.0.1"},
		{"10.0.0.1:99", []string{"198.51.100.7"}, "198.51.100.7"},
		{"[2001:db8::5]:99", []string{"198.51.100.7"}, "198.51.100.7"},
		{"10.0.0.1:99", []string{"1.1.1.1, 198.51.100.7"}, "198.51.100.7"},   // the first is invented
		{"10.0.0.1:99", []string{"1.1.1.1", "198.51.100.7"}, "198.51.100.7"}, // also on a line of its own
		{"10.0.0.1:99", []string{"127.0.0.1,10.0.0.9,198.51.100.7 ,10.0.0.2"}, "198.51.100.7"},
		{"10.0.0.1:99", []string{"198.51.100.7, 10.0.0.2", "10.0.0.3"}, "198.51.100.7"},
		{"10.0.0.1:99", []string{"10.0.0.2, 10.0.0.3"}, "10.0.0.2"},
		{"10.0.0.1:99", []string{"198.51.100.7:1234"}, "198.51.100.7"},
		{"10.0.0.1:99", []string{"[2001:4860::1]:1234"}, "2001:4860::1"},
		{"10.0.0.1:99", []string{"[2001:4860::1]"}, "2001:4860::1"},
		{"10.0.0.1:99", []string{"2001:4860::1"}, "2001:4860::1"},
		{"10.0.0.1:99", []string{"1.1.1.1, unknown"}, "10.0.0.1"},
		{"10.0.0.1:99", []string{"1.1.1.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"10.0.0.1:99", []string{""}, "10.0.0.1"},
		{"10.0.0.1:99", []string{"1.1.1.1,"}, "10.0.0.1"},
		{"@", []string{"1.1.1.1"}, ""},
	} {
		r := &http.Request{RemoteAddr: test.peer, Header: http.Header{"X-Forwarded-For": test.forwarded}}
		req := &request{addr: h.caller(r)}
		if got := req.callerIP(); got != test.want {
			t.Errorf("%s with %q: %s, want %s", test.peer, test.forwarded, got, test.want)
		}
	}
}

// Whatever a caller sends, what a proxy adds to it is who the caller is.
func FuzzCallerBehindProxy(f *testing.F) {
	for _, sent := range []string{"", "1.1.1.1", "10.0.0.2", ",,", "[::1", "unknown, 10.0.0.9"} {
		f.Add(sent)
	}
	h := &Handler{proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	f.Fuzz(func(t *testing.T, sent string) {
		for _, lines := range [][]string{{sent + ", 198.51.100.7"}, {sent, "198.51.100.7"}, {sent, "198.51.100.7,10.0.0.2"}} {
			got := h.caller(&http.Request{RemoteAddr: "10.0.0.1:9", Header: http.Header{"X-Forwarded-For": lines}})
			if got.String() != "198.51.100.7" {
				t.Errorf("%q: %v", lines, got)
			}
		}
		h.caller(&http.Request{RemoteAddr: sent, Header: http.Header{"X-Forwarded-For": strings.Split(sent, "\n")}})
	})
}
