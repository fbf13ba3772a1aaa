package deliver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
)

// What is dialled is judged as an address, whatever it was called before.
func TestT09Addresses(t *testing.T) {
	everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	private := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
		netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("64:ff9b::/96")}
	const (
		public  = "public"  // always
		allowed = "allowed" // where the operator says so
		local   = "local"   // this machine: for development
		never   = "never"
	)
	for address, want := range map[string]string{
		"1.1.1.1": public, "8.8.8.8": public, "2606:4700:4700::1111": public, "::ffff:8.8.8.8": public, "172.15.255.255": public, "11.0.0.1": public,

		"10.0.0.1": allowed, "10.255.255.255": allowed, "::ffff:10.0.0.1": allowed, "100.64.0.1": allowed, "fc00::1": allowed, "fd12:3456::1": allowed,
		"192.0.0.8": allowed, "64:ff9b::808:808": allowed, "64:ff9b::a00:1": allowed,

		"127.0.0.1": local, "127.255.255.254": local, "::1": local, "::ffff:127.0.0.1": local, "64:ff9b::7f00:1": local,
		"2002:7f00:1::": local, "::127.0.0.1": local, "64:ff9b:1::7f00:1": local, "::ffff:0:127.0.0.1": local,

		"0.0.0.0": never, "0.1.2.3": never, "::": never, "::ffff:0.0.0.0": never, "64:ff9b::a9fe:a9fe": never, "2002:a9fe:a9fe::": never,
		"::169.254.169.254": never, "169.254.169.254": never, "169.254.170.2": never, "169.254.42.42": never, "::ffff:169.254.169.254": never,
		"fe80::1": never, "fe80::a9fe:a9fe": never, "fe80::1%eth0": never, "fd00:ec2::254": never, "fd00:ec2::23": never, "fd20:ce::254": never,
		"fd00:c1::a9fe:a9fe": never, "fd00:42::42": never, "100.100.100.200": never, "168.63.129.16": never, "192.0.0.192": never,
		"224.0.0.1": never, "239.1.1.1": never, "255.255.255.255": never, "ff02::1": never, "ff0e::1": never,

		// Refused although nobody may ask for them by those two settings.
		"172.16.0.1": "private", "192.168.1.1": "private", "198.18.0.1": "private", "192.0.2.1": "private", "198.51.100.1": "private",
		"203.0.113.1": "private", "240.0.0.1": "private", "2001:db8::1": "private", "2001:0:7f00:1::": "private", "2002:808:808::": "private",
		"64:ff9b::c0a8:101": "private", "fec0::1": "private", "3fff::1": "private",
	} {
		for _, test := range []struct {
			setting string
			guard   guard
			open    bool
		}{
			{"no setting", guard{}, want == public},
			{"private networks", guard{allow: private}, want == public || want == allowed},
			{"everything", guard{allow: everything}, want != never && want != local},
			{"development", guard{local: true}, want != never},
		} {
			at := net.JoinHostPort(address, "443")
			network := "tcp6"
			if ip := netip.MustParseAddr(address); ip.Is4() {
				network = "tcp4"
			}
			if err := test.guard.control(network, at, nil); (err == nil) != test.open {
				t.Errorf("%s with %s: %v", address, test.setting, err)
			} else if err != nil && refusal(err) == errRefused.Error() {
				t.Errorf("%s with %s: no reason in %v", address, test.setting, err)
			}
		}
	}
	for _, odd := range []struct{ network, address string }{{"tcp4", "example.com:80"}, {"tcp4", ""}, {"unix", "/run/socket"}, {"udp4", "8.8.8.8:53"}} {
		if (guard{local: true}).control(odd.network, odd.address, nil) == nil {
			t.Errorf("%s %s is let through", odd.network, odd.address)
		}
	}
}

// A network is allowed if that opens anything.
func TestCheckAllow(t *testing.T) {
	for network, want := range map[string]string{
		"10.0.0.0/8": "", "0.0.0.0/0": "", "::/0": "", "fd00::/8": "", "168.63.129.0/24": "", "126.0.0.0/7": "",
		"127.0.0.0/8": "never", "127.0.0.1/32": "never", "::1/128": "never", "169.254.0.0/16": "never", "169.254.169.254/32": "never",
		"fe80::/64": "never", "0.0.0.0/32": "never", "168.63.129.16/32": "never", "224.0.0.0/8": "never",
		"::ffff:10.0.0.0/104": "IPv4",
	} {
		err := CheckAllow([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix(network)})
		if (err == nil) != (want == "") || errors.Is(err, ErrNever) != (want == "never") || err != nil && !strings.Contains(err.Error(), network) {
			t.Errorf("%s: %v", network, err)
		}
	}
}

// The reason names the address and the rule.
func TestT09Reasons(t *testing.T) {
	for address, want := range map[string]string{
		"169.254.169.254":    "169.254.169.254 is in 169.254.0.0/16, which is never a destination",
		"127.0.0.1":          "127.0.0.1 is in 127.0.0.0/8, which is this machine: never a destination, but for \"signpost dev\"",
		"64:ff9b::7f00:1":    "64:ff9b::7f00:1 is not in 2000::/3, which are the public addresses, and no --allow-destination has it",
		"::ffff:192.168.1.1": "192.168.1.1 is in 192.168.0.0/16, which is not public, and no --allow-destination has it",
		"2001:db8::1":        "2001:db8::1 is in 2001:db8::/32, which is not public, and no --allow-destination has it",
		"fd12::1":            "fd12::1 is not in 2000::/3, which are the public addresses, and no --allow-destination has it",
		"fe80::1%eth0":       "fe80::1 is in fe80::/10, which is never a destination",
	} {
		err := guard{}.control("tcp6", net.JoinHostPort(address, "80"), nil)
		if want = "destination refused: " + want; err == nil || refusal(fmt.Errorf("dial: %w", err)) != want {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
}

// canary counts connections to this machine, which there must not be.
type canary struct {
	port4, port6 string
	hits         atomic.Int32
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	c := &canary{}
	for address, port := range map[string]*string{"127.0.0.1:0": &c.port4, "[::1]:0": &c.port6} {
		listener, err := net.Listen("tcp", address)
		if err != nil && address != "127.0.0.1:0" {
			t.Logf("no IPv6 here: %v", err)
			*port = "1"
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		_, *port, _ = net.SplitHostPort(listener.Addr().String())
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				c.hits.Add(1)
				conn.Close()
			}
		}()
	}
	return c
}

// refused delivers to a URL that leads here, and checks that it is not
// followed.
func (c *canary) refused(t *testing.T, d *Deliverer, url string) engine.Outcome {
	t.Helper()
	o := d.Deliver(t.Context(), attempt(url, func(a *engine.Attempt) { a.Timeout = time.Second }))
	if o.Status != 0 || o.Error == "" || c.hits.Load() != 0 {
		t.Errorf("%s: %d %q, %d connections", url, o.Status, o.Error, c.hits.Load())
	}
	return o
}

// Every spelling of this machine is refused.
func TestT09URLs(t *testing.T) {
	c := newCanary(t)
	d := New(Options{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}})
	t.Cleanup(d.Close)
	for _, host := range []string{"127.0.0.1", "127.1", "127.0.1", "0", "0.0.0.0", "0x7f.1", "0x7f000001", "0177.0.0.1", "017700000001", "2130706433",
		"①②⑦.⓪.⓪.①", "127。0。0。1", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "user@127.0.0.1", "example.com@127.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"} {
		c.refused(t, d, "http://"+host+":"+c.port4+"/")
	}
	for _, host := range []string{"[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::1%25lo]", "[64:ff9b::7f00:1]", "ip6-localhost"} {
		c.refused(t, d, "http://"+host+":"+c.port6+"/")
	}
	o := c.refused(t, d, "https://127.0.0.1:"+c.port4+"/")
	if want := `destination refused: 127.0.0.1 is in 127.0.0.0/8, which is this machine: never a destination, but for "signpost dev"`; o.Error != want {
		t.Errorf("refused with %q, want %q", o.Error, want)
	}
	o = c.refused(t, New(Options{}), "http://10.1.2.3/")
	if want := "destination refused: 10.1.2.3 is in 10.0.0.0/8, which is not public, and no --allow-destination has it"; o.Error != want {
		t.Errorf("refused with %q, want %q", o.Error, want)
	}
}
