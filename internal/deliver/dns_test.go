package deliver

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/signposthq/signpost/internal/engine"
)

// answers are records by their type: A, AAAA and CNAME.
type answers []dnsmessage.ResourceBody

func a(ip string) dnsmessage.ResourceBody {
	if addr := netip.MustParseAddr(ip); addr.Is4() {
		return &dnsmessage.AResource{A: addr.As4()}
	}
	return &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(ip).As16()}
}

func cname(name string) dnsmessage.ResourceBody {
	return &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(name)}
}

// zone is a DNS server's data: for each name what it is answered with, in turn,
// again from the start after the last. Nothing may be remembered: the TTL is 0.
type zone map[string][]answers

// resolveWith makes the process ask a server of this zone for names, and counts
// the questions for addresses of each.
func resolveWith(t *testing.T, z zone) (asked map[string]*atomic.Int32) {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
	asked = map[string]*atomic.Int32{}
	for name := range z {
		asked[name] = new(atomic.Int32)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		server.Close()
		<-done
		net.DefaultResolver = before
	})
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply := z.reply(buf[:n], asked); reply != nil {
				server.WriteTo(reply, from)
			}
		}
	}()
	return asked
}

func (z zone) reply(packet []byte, asked map[string]*atomic.Int32) []byte {
	var query dnsmessage.Message
	if query.Unpack(packet) != nil || len(query.Questions) != 1 {
		return nil
	}
	q := query.Questions[0]
	name := q.Name
	reply := dnsmessage.Message{Header: dnsmessage.Header{ID: query.ID, Response: true, Authoritative: true}, Questions: query.Questions}
	for range 8 { // a chain of aliases goes into one answer
		turns := z[name.String()]
		if len(turns) == 0 {
			break
		}
		turn := 0
		if q.Type == dnsmessage.TypeA {
			turn = int(asked[name.String()].Add(1)-1) % len(turns)
		} else { // both families are asked for at once, and answered alike
			turn = int(asked[name.String()].Load()) % len(turns)
		}
		next := name
		for _, body := range turns[turn] {
			header := dnsmessage.ResourceHeader{Name: name, Class: q.Class}
			if alias, ok := body.(*dnsmessage.CNAMEResource); ok {
				next = alias.CNAME
			} else if _, v4 := body.(*dnsmessage.AResource); v4 != (q.Type == dnsmessage.TypeA) {
				continue
			}
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: body})
		}
		if next == name {
			break
		}
		name = next
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// Names are judged by what they resolve to, each time they are dialled: not
// by what they resolved to before.
func TestT10Names(t *testing.T) {
	c := newCanary(t)
	asked := resolveWith(t, zone{
		"loopback.test.":  {{a("127.0.0.1")}},
		"loopback6.test.": {{a("::1")}},
		"mapped.test.":    {{a("::ffff:127.0.0.1")}},
		"both.test.":      {{a("127.0.0.1"), a("::1")}},
		"mixed.test.":     {{a("198.51.100.1"), a("127.0.0.1")}},
		"mixed6.test.":    {{a("198.51.100.1"), a("::1")}},
		"any.test.":       {{a("0.0.0.0"), a("::")}},
		"alias.test.":     {{cname("alias2.test.")}},
		"alias2.test.":    {{cname("alias3.test.")}},
		"alias3.test.":    {{cname("loopback.test.")}},
		"rebound.test.":   {{a("198.51.100.1")}, {a("127.0.0.1")}},
		"rebound6.test.":  {{a("198.51.100.1")}, {a("::1")}},
	})
	d := New(Options{Allow: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	t.Cleanup(d.Close)
	for _, name := range []string{"loopback", "loopback6", "mapped", "both", "mixed", "mixed6", "any", "alias"} {
		for _, port := range []string{c.port4, c.port6} {
			c.refused(t, d, "http://"+name+".test:"+port+"/")
			c.refused(t, d, "https://"+name+".test:"+port+"/")
		}
	}
	for range 4 {
		c.refused(t, d, "http://rebound.test:"+c.port4+"/")
		c.refused(t, d, "http://rebound6.test:"+c.port6+"/")
	}
	for _, name := range []string{"loopback", "loopback6", "alias"} {
		if o := c.refused(t, d, "http://"+name+".test:"+c.port4+"/"); !strings.Contains(o.Error, "never a destination") {
			t.Errorf("%s is refused with %q: was it resolved?", name, o.Error)
		}
	}
	if asked["rebound.test."].Load() < 4 {
		t.Error("the name was not resolved anew for each attempt")
	}
}

// outward is an address of this machine that is not loopback.
func outward(t *testing.T) netip.Addr {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range addrs {
		if p, err := netip.ParsePrefix(addr.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr()
		}
	}
	t.Skip("this machine has no address but loopback")
	panic("unreachable")
}

// A name that answered with a good address, and was delivered to, is rebound to
// this machine: the retry, and every new connection, is refused. It takes no
// part that the same server listens on both.
func TestT10Rebinding(t *testing.T) {
	good := outward(t)
	var hits, stolen atomic.Int32
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // so that the next attempt dials
		if local := r.Context().Value(http.LocalAddrContextKey).(net.Addr).String(); strings.HasPrefix(local, "127.") {
			stolen.Add(1)
		}
		hits.Add(1)
	}))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	asked := resolveWith(t, zone{"rebound.test.": {{a(good.String())}, {a("127.0.0.1")}}})

	d := New(Options{Allow: []netip.Prefix{netip.PrefixFrom(good, 32)}})
	t.Cleanup(d.Close)
	const rounds = 5
	delivered, refused := 0, 0
	for range 2 * rounds {
		o := d.Deliver(t.Context(), attempt("http://rebound.test:"+port+"/", func(a *engine.Attempt) { a.Timeout = 20 * time.Second }))
		switch {
		case o.Status == 200:
			delivered++
		case o.Error == `destination refused: 127.0.0.1 is in 127.0.0.0/8, which is this machine: never a destination, but for "signpost dev"`:
			refused++
		default:
			t.Errorf("%d %s", o.Status, o.Error)
		}
	}
	if delivered != rounds || refused != rounds || int(hits.Load()) != rounds || stolen.Load() != 0 {
		t.Errorf("%d delivered and %d refused of %d each; %d requests came, %d of them to loopback", delivered, refused, rounds, hits.Load(), stolen.Load())
	}
	if n := asked["rebound.test."].Load(); n != 2*rounds {
		t.Errorf("the name was resolved %d times", n)
	}
}
