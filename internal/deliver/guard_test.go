package deliver

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/signposthq/signpost/internal/engine"
)

// What is dialled is judged as an address, whatever it was called before.
func TestGuard(t *testing.T) {
	everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	private := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
		netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("64:ff9b::/96")}
	const (
		public  = "public"  // always
		allowed = "allowed" // where the operator says so
		never   = "never"
	)
	for address, want := range map[string]string{
		"1.1.1.1": public, "8.8.8.8": public, "2606:4700:4700::1111": public, "::ffff:8.8.8.8": public, "172.15.255.255": public, "11.0.0.1": public,

		"10.0.0.1": allowed, "10.255.255.255": allowed, "::ffff:10.0.0.1": allowed, "100.64.0.1": allowed, "fc00::1": allowed, "fd12:3456::1": allowed,
		"192.0.0.8": allowed, "64:ff9b::808:808": allowed,

		"127.0.0.1": never, "127.255.255.254": never, "::1": never, "::ffff:127.0.0.1": never, "0.0.0.0": never, "0.1.2.3": never, "::": never,
		"::ffff:0.0.0.0": never, "64:ff9b::7f00:1": never, "64:ff9b::a9fe:a9fe": never, "169.254.169.254": never, "169.254.170.2": never,
		"::ffff:169.254.169.254": never, "fe80::1": never, "fe80::1%eth0": never, "fd00:ec2::254": never, "fd00:ec2::23": never, "fd20:ce::254": never,
		"100.100.100.200": never, "168.63.129.16": never, "192.0.0.192": never, "224.0.0.1": never, "239.1.1.1": never, "255.255.255.255": never,
		"ff02::1": never, "ff0e::1": never,

		// Refused although nobody may ask for them by those two settings.
		"172.16.0.1": "private", "192.168.1.1": "private", "198.18.0.1": "private", "192.0.2.1": "private", "198.51.100.1": "private",
		"203.0.113.1": "private", "240.0.0.1": "private", "2001:db8::1": "private", "2002:7f00:1::": "private", "2001:0:7f00:1::": "private",
		"::127.0.0.1": "private", "64:ff9b:1::1": "private", "fec0::1": "private", "3fff::1": "private",
	} {
		for _, test := range []struct {
			setting string
			allow   []netip.Prefix
			open    bool
		}{
			{"no setting", nil, want == public},
			{"private networks", private, want == public || want == allowed},
			{"everything", everything, want != never},
		} {
			at := net.JoinHostPort(address, "443")
			network := "tcp6"
			if ip := netip.MustParseAddr(address); ip.Is4() {
				network = "tcp4"
			}
			if err := guard(test.allow)(network, at, nil); (err == nil) != test.open {
				t.Errorf("%s with %s: %v", address, test.setting, err)
			} else if err != nil && refusal(err) == errRefused.Error() {
				t.Errorf("%s with %s: no reason in %v", address, test.setting, err)
			}
		}
	}
	for _, odd := range []struct{ network, address string }{{"tcp4", "example.com:80"}, {"tcp4", ""}, {"unix", "/run/socket"}, {"udp4", "8.8.8.8:53"}} {
		if guard(nil)(odd.network, odd.address, nil) == nil {
			t.Errorf("%s %s is let through", odd.network, odd.address)
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
func TestHostileURLs(t *testing.T) {
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
	if want := "destination refused: 127.0.0.1 is in 127.0.0.0/8, which is never a destination"; o.Error != want {
		t.Errorf("refused with %q, want %q", o.Error, want)
	}
	o = c.refused(t, New(Options{}), "http://10.1.2.3/")
	if want := "destination refused: 10.1.2.3 is not a public address"; !strings.HasPrefix(o.Error, want) {
		t.Errorf("refused with %q, want %q", o.Error, want)
	}
}

// Names are judged by what they resolve to, each time they are dialled: not
// by what they resolved to before.
func TestHostileNames(t *testing.T) {
	c := newCanary(t)
	public, loopback := [4]byte{192, 0, 2, 1}, [4]byte{127, 0, 0, 1}
	var asked atomic.Int32
	resolveWith(t, func(name string, kind dnsmessage.Type) []dnsmessage.ResourceBody {
		v4, v6 := kind == dnsmessage.TypeA, kind == dnsmessage.TypeAAAA
		switch {
		case name == "loopback.test." && v4:
			return []dnsmessage.ResourceBody{&dnsmessage.AResource{A: loopback}}
		case name == "loopback6.test." && v6:
			return []dnsmessage.ResourceBody{&dnsmessage.AAAAResource{AAAA: netip.IPv6Loopback().As16()}}
		case name == "mapped.test." && v6:
			return []dnsmessage.ResourceBody{&dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("::ffff:127.0.0.1").As16()}}
		case name == "mixed.test." && v4:
			return []dnsmessage.ResourceBody{&dnsmessage.AResource{A: public}, &dnsmessage.AResource{A: loopback}}
		case name == "rebound.test." && v4 && asked.Add(1) == 1:
			return []dnsmessage.ResourceBody{&dnsmessage.AResource{A: public}}
		case name == "rebound.test." && v4:
			return []dnsmessage.ResourceBody{&dnsmessage.AResource{A: loopback}}
		}
		return nil
	})
	d := New(Options{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	t.Cleanup(d.Close)
	for _, name := range []string{"loopback.test", "mixed.test", "mapped.test", "rebound.test", "rebound.test", "rebound.test"} {
		c.refused(t, d, "http://"+name+":"+c.port4+"/")
	}
	c.refused(t, d, "http://loopback6.test:"+c.port6+"/")
	if o := c.refused(t, d, "http://loopback.test:"+c.port4+"/"); !strings.Contains(o.Error, "never a destination") {
		t.Errorf("refused with %q: was the name resolved?", o.Error)
	}
	if asked.Load() < 2 {
		t.Error("the name was not resolved anew")
	}
}

// resolveWith makes the process ask this function for names.
func resolveWith(t *testing.T, answer func(name string, kind dnsmessage.Type) []dnsmessage.ResourceBody) {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
	t.Cleanup(func() {
		server.Close()
		net.DefaultResolver = before
	})
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			var query dnsmessage.Message
			if query.Unpack(buf[:n]) != nil || len(query.Questions) != 1 {
				continue
			}
			q := query.Questions[0]
			reply := dnsmessage.Message{Header: dnsmessage.Header{ID: query.ID, Response: true, Authoritative: true}, Questions: query.Questions}
			for _, body := range answer(q.Name.String(), q.Type) {
				reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: body})
			}
			packed, err := reply.Pack()
			if err == nil {
				server.WriteTo(packed, from)
			}
		}
	}()
}
