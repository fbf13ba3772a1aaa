package deliver

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/receiver"
)

const (
	currentKey = "sig_current_0123456789abcdef"
	nextKey    = "sig_next_0123456789abcdef012"
)

// attempt is one to a URL, changed by what a test is about.
func attempt(url string, change ...func(*engine.Attempt)) engine.Attempt {
	a := engine.Attempt{
		Method: "POST", URL: url, Header: http.Header{"User-Agent": {"Upstash-QStash"}},
		Timeout: 10 * time.Second, SigningKey: currentKey, MaxResponse: 1 << 20, MaxFailure: 1 << 20,
	}
	for _, c := range change {
		c(&a)
	}
	return a
}

func newLocal(t *testing.T) *Deliverer {
	t.Helper()
	d := New(Options{AllowLocal: true})
	t.Cleanup(d.Close)
	return d
}

// wireServer answers each connection's requests with fixed bytes and keeps
// what was sent, as it was.
type wireServer struct {
	url    string
	answer func(conn net.Conn)

	mu    sync.Mutex
	heads []string
	conns int
}

func newWireServer(t *testing.T, answer func(net.Conn)) *wireServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &wireServer{url: "http://" + listener.Addr().String(), answer: answer}
	var wg sync.WaitGroup
	var open sync.Map
	t.Cleanup(func() {
		listener.Close()
		open.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			open.Store(conn, nil)
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
			wg.Go(func() { defer conn.Close(); s.serve(conn) })
		}
	})
	return s
}

func (s *wireServer) serve(conn net.Conn) {
	r := bufio.NewReader(conn)
	for {
		var head strings.Builder
		length := 0
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if head.WriteString(line); line == "\r\n" {
				break
			}
			fmt.Sscanf(line, "Content-Length: %d", &length)
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		s.mu.Lock()
		s.heads = append(s.heads, head.String()+string(body))
		s.mu.Unlock()
		s.answer(conn)
	}
}

func (s *wireServer) sent(t *testing.T) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heads) == 0 {
		t.Fatal("nothing was sent")
	}
	return s.heads[len(s.heads)-1]
}

func (s *wireServer) counts() (requests, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.heads), s.conns
}

func fixed(answer string) func(net.Conn) {
	return func(conn net.Conn) { io.WriteString(conn, answer) }
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// On the wire there is what the attempt has, its signature, and what HTTP/1.1
// cannot do without. Nothing is added, re-encoded or left out.
func TestRequest(t *testing.T) {
	s := newWireServer(t, fixed(ok))
	d := newLocal(t)
	host := strings.TrimPrefix(s.url, "http://")
	for name, test := range map[string]struct {
		attempt engine.Attempt
		want    string // S stands for the signature
	}{
		"empty POST": {attempt(s.url), "POST / HTTP/1.1|Host: H|User-Agent: Upstash-QStash|Content-Length: 0|Upstash-Signature: S||"},
		"bytes": {attempt(s.url+"//a/../b%2Fc?x=1&&y", func(a *engine.Attempt) { a.Body = []byte("\x00\xff\r\n\r\n") }),
			"POST //a/../b%2Fc?x=1&&y HTTP/1.1|Host: H|User-Agent: Upstash-QStash|Content-Length: 6|Upstash-Signature: S||\x00\xff||"},
		"GET with a body": {attempt(s.url+"/?", func(a *engine.Attempt) { a.Method, a.Body = "GET", []byte("why not") }),
			"GET /? HTTP/1.1|Host: H|User-Agent: Upstash-QStash|Content-Length: 7|Upstash-Signature: S||why not"},
		"GET": {attempt(s.url+"?q", func(a *engine.Attempt) { a.Method = "GET" }), "GET /?q HTTP/1.1|Host: H|User-Agent: Upstash-QStash|Upstash-Signature: S||"},
		"DELETE with headers": {attempt(s.url, func(a *engine.Attempt) {
			a.Method, a.Header = "DELETE", http.Header{"User-Agent": {"mine"}, "Content-Type": {"a/b; c=d"}, "X-Twice": {"1", "2"}, "X-Text": {"é  x"}, "Accept-Encoding": {"br"}}
		}), "DELETE / HTTP/1.1|Host: H|User-Agent: mine|Accept-Encoding: br|Content-Type: a/b; c=d|Upstash-Signature: S|X-Text: é  x|X-Twice: 1|X-Twice: 2||"},
	} {
		o := d.Deliver(t.Context(), test.attempt)
		if o.Status != 200 || o.Error != "" || string(o.Body) != "ok" || o.Start.After(o.End) {
			t.Errorf("%s: %+v", name, o)
		}
		got := strings.ReplaceAll(strings.ReplaceAll(s.sent(t), "\r\n", "|"), host, "H")
		if before, after, found := strings.Cut(got, "Upstash-Signature: "); found {
			_, after, _ = strings.Cut(after, "|")
			got = before + "Upstash-Signature: S|" + after
		}
		if got != test.want {
			t.Errorf("%s: sent %q, want %q", name, got, test.want)
		}
	}
}

// The signature is valid where the request arrives, for its URL and body, and
// is another each time.
func TestSignature(t *testing.T) {
	for _, mode := range []receiver.URLMode{receiver.URLCanonical, receiver.URLExact} {
		rc, err := receiver.New(receiver.Options{CurrentSigningKey: currentKey, NextSigningKey: nextKey, URLMode: mode})
		if err != nil {
			t.Fatal(err)
		}
		var claims receiver.Claims
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, claims, err = rc.VerifyRequest(r); err != nil {
				w.WriteHeader(401)
				io.WriteString(w, err.Error())
			}
		}))
		defer server.Close()
		d := newLocal(t)
		seen := map[string]bool{}
		for _, path := range []string{"/", "/a//b/../c?x=1&y=%2F&&", "/a%2Fb%20c", "/?", "?q=1", "/é|{x}", "/#fragment", "/a?b#c"} {
			for _, body := range []string{"", "text", "\xef\xbb\xbf\x00"} {
				o := d.Deliver(t.Context(), attempt(server.URL+path, func(a *engine.Attempt) { a.Body = []byte(body) }))
				exact := mode == receiver.URLCanonical || !strings.HasPrefix(path, "?") // the path of an empty one is "/"
				if exact && o.Status != 200 {
					t.Errorf("%q to %q: %d %s %s", body, path, o.Status, o.Body, o.Error)
				}
				if exact && seen[claims.ID] {
					t.Errorf("signature %s is used again", claims.ID)
				}
				seen[claims.ID] = true
			}
		}
		if o := d.Deliver(t.Context(), attempt(strings.Replace(server.URL, "http://", "HTTP://user:secret@", 1)+"/x")); o.Status != 200 || strings.Contains(claims.Subject, "secret") {
			t.Errorf("with a user: %d %s, signed for %q", o.Status, o.Body, claims.Subject)
		}
		d.Deliver(t.Context(), attempt(server.URL+"/exactly?this"))
		if want := server.URL + "/exactly?this"; claims.Subject != want {
			t.Errorf("signed for %q, want %q", claims.Subject, want)
		}
		o := d.Deliver(t.Context(), attempt(server.URL+"/", func(a *engine.Attempt) { a.SigningKey = nextKey }))
		if o.Status != 200 || claims.Key != "next" {
			t.Errorf("signed with the next key: %d, %s", o.Status, claims.Key)
		}
	}
	if o := newLocal(t).Deliver(t.Context(), attempt("http://127.0.0.1:1/", func(a *engine.Attempt) { a.SigningKey = "" })); !strings.Contains(o.Error, "sign") {
		t.Errorf("without a key: %+v", o)
	}
}

// A redirect is an answer like any other. Nobody is handed the request.
func TestT11RedirectIsNotFollowed(t *testing.T) {
	var hits atomic.Int32
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer canary.Close()
	for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
		s := newWireServer(t, fixed(fmt.Sprintf("HTTP/1.1 %d Elsewhere\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", status, canary.URL)))
		d := newLocal(t)
		for _, method := range []string{"GET", "POST"} {
			o := d.Deliver(t.Context(), attempt(s.url, func(a *engine.Attempt) { a.Method = method }))
			if o.Status != status || o.Error != "" || o.Header.Get("Location") != canary.URL {
				t.Errorf("%s, %d: %+v", method, status, o)
			}
		}
		if requests, _ := s.counts(); requests != 2 {
			t.Errorf("%d: %d requests", status, requests)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("%d redirects were followed", hits.Load())
	}
}

// Of a large response the beginning is kept, and the rest costs nothing much.
func TestResponseIsCapped(t *testing.T) {
	var written atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := 0
		fmt.Sscan(r.URL.Query().Get("size"), &size)
		chunk := bytes.Repeat([]byte("x"), 32<<10)
		for size != 0 {
			n, err := w.Write(chunk[:min(len(chunk), max(size, -size))])
			if written.Add(int64(n)); err != nil {
				return
			}
			if size > 0 { // below 0: without an end
				size -= n
			}
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer server.Close()
	d := newLocal(t)
	for size, kept := range map[int]int{0: 0, 999: 999, 1000: 1000, 1001: 1000, 50_000: 1000, 50_000_000: 1000, -32 << 10: 1000} {
		written.Store(0)
		o := d.Deliver(t.Context(), attempt(fmt.Sprintf("%s/?size=%d", server.URL, size), func(a *engine.Attempt) { a.MaxResponse = 1000 }))
		if o.Status != 200 || o.Error != "" || len(o.Body) != kept {
			t.Errorf("response of %d bytes: kept %d, %q", size, len(o.Body), o.Error)
		}
		if took := o.End.Sub(o.Start); took > 5*time.Second {
			t.Errorf("response of %d bytes took %v", size, took)
		}
		if size == 50_000_000 && written.Load() == 50_000_000 {
			t.Error("all of a huge response was read")
		}
	}
}

// However an endpoint dawdles, the attempt ends when its time is up.
func TestTimeout(t *testing.T) {
	drip := func(conn net.Conn, start, drop string) {
		io.WriteString(conn, start)
		for {
			if _, err := io.WriteString(conn, drop); err != nil {
				return
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-t.Context().Done():
				return
			}
		}
	}
	for name, test := range map[string]struct {
		answer func(net.Conn)
		status int
	}{
		"no answer":    {func(conn net.Conn) { io.Copy(io.Discard, conn) }, 0},
		"half a line":  {func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 2"); io.Copy(io.Discard, conn) }, 0},
		"slow headers": {func(conn net.Conn) { drip(conn, "HTTP/1.1 200 OK\r\n", "X: y\r\n") }, 0},
		"1xx only":     {func(conn net.Conn) { drip(conn, "", "HTTP/1.1 103 Early Hints\r\n\r\n") }, 0},
		"slow body":    {func(conn net.Conn) { drip(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", "x") }, 200},
		"endless body": {func(conn net.Conn) { drip(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n") }, 200},
		"slow trailers": {func(conn net.Conn) {
			drip(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n")
		}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			s := newWireServer(t, test.answer)
			o := newLocal(t).Deliver(t.Context(), attempt(s.url, func(a *engine.Attempt) { a.Timeout = 300 * time.Millisecond }))
			if o.Status != test.status || o.Error != "timeout: no complete response within 300ms" {
				t.Errorf("%d %q", o.Status, o.Error)
			}
			if took := o.End.Sub(o.Start); took < 250*time.Millisecond || took > 1300*time.Millisecond {
				t.Errorf("took %v", took)
			}
		})
	}
}

// An attempt that is cut off ends at once.
func TestCutOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newWireServer(t, func(net.Conn) { cancel() })
	if o := newLocal(t).Deliver(ctx, attempt(s.url)); o.Status != 0 || !strings.Contains(o.Error, "canceled") || o.End.Sub(o.Start) > 5*time.Second {
		t.Errorf("%+v", o)
	}
}

// Answers that are no answers have a reason, and no status.
func TestBrokenAnswers(t *testing.T) {
	for name, test := range map[string]struct{ answer, want string }{
		"header bomb":      {"HTTP/1.1 200 OK\r\nX-Bomb: " + strings.Repeat("x", 70<<10) + "\r\n\r\n", "header"},
		"many headers":     {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 20_000) + "\r\n", "header"},
		"1xx flood":        {strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 10_000), ""},
		"other protocol":   {"SSH-2.0-OpenSSH_9.6\r\n", "malformed"},
		"bad status":       {"HTTP/1.1 OK\r\n\r\n", "malformed"},
		"two lengths":      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "Content-Length"},
		"negative length":  {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "Content-Length"},
		"odd transfer":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer encoding"},
		"unwanted upgrade": {"HTTP/1.1 101 Switching Protocols\r\n\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newWireServer(t, func(conn net.Conn) { io.WriteString(conn, test.answer); conn.Close() })
			o := newLocal(t).Deliver(t.Context(), attempt(s.url))
			if delivered := o.Error == "" && o.Status/100 == 2; delivered || o.Error == "" && o.Status != 101 || !strings.Contains(o.Error, test.want) {
				t.Errorf("%d %q", o.Status, o.Error)
			}
		})
	}
	t.Run("cut short", func(t *testing.T) {
		s := newWireServer(t, func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			conn.Close()
		})
		if o := newLocal(t).Deliver(t.Context(), attempt(s.url)); o.Status != 200 || !strings.Contains(o.Error, "unexpected EOF") || string(o.Body) != "half" {
			t.Errorf("%+v", o)
		}
	})
}

// What is compressed stays so: a small answer can't grow to a large one.
func TestCompressedAnswerStaysCompressed(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(make([]byte, 10<<20))
	z.Close()
	s := newWireServer(t, fixed(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", zipped.Len(), zipped.String())))
	o := newLocal(t).Deliver(t.Context(), attempt(s.url))
	if o.Header.Get("Content-Encoding") != "gzip" || !bytes.Equal(o.Body, zipped.Bytes()) {
		t.Errorf("%v with %d bytes, sent %d", o.Header, len(o.Body), zipped.Len())
	}
	if strings.Contains(s.sent(t), "Accept-Encoding") {
		t.Error("compression was asked for")
	}
}

// Attempts to one host share connections, whatever the answers were.
func TestConnectionReuse(t *testing.T) {
	answers := []string{
		ok, "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", "HTTP/1.1 204 None\r\n\r\n", "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 20_000), // above what is kept
	}
	var n atomic.Int32
	s := newWireServer(t, func(conn net.Conn) { io.WriteString(conn, answers[int(n.Add(1))%len(answers)]) })
	d := newLocal(t)
	for range 3 * len(answers) {
		if o := d.Deliver(t.Context(), attempt(s.url, func(a *engine.Attempt) { a.MaxResponse = 1000 })); o.Error != "" {
			t.Fatal(o.Error)
		}
	}
	if _, conns := s.counts(); conns != 1 {
		t.Errorf("%d connections", conns)
	}
}

// Deliveries go straight to their destination, over TLS that is worth its
// name.
func TestTransport(t *testing.T) {
	d := newLocal(t)
	transport := d.client.Transport.(*http.Transport)
	if transport.Proxy != nil {
		t.Error("a proxy of the environment is used")
	}
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: currentKey})
	if err != nil {
		t.Fatal(err)
	}
	var proto string
	server := httptest.NewUnstartedServer(rc.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { proto = r.Proto })))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	if o := d.Deliver(t.Context(), attempt(server.URL)); o.Status != 0 || !strings.Contains(o.Error, "certificate") {
		t.Errorf("a certificate nobody vouches for: %d %q", o.Status, o.Error)
	}
	d = newLocal(t) // whose connections are still to be made
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	d.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
	if o := d.Deliver(t.Context(), attempt(server.URL+"/a?b", func(a *engine.Attempt) { a.Body = []byte("x") })); o.Status != 200 || proto != "HTTP/2.0" {
		t.Errorf("over HTTP/2: %d %s %s by %q", o.Status, o.Body, o.Error, proto)
	}

	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.StartTLS()
	defer old.Close()
	roots.AddCert(old.Certificate())
	if o := d.Deliver(t.Context(), attempt(old.URL)); o.Status != 0 || !strings.Contains(o.Error, "protocol version") {
		t.Errorf("over TLS 1.1: %d %q", o.Status, o.Error)
	}
}

// A request that can't be made is an outcome with a reason.
func TestImpossibleRequests(t *testing.T) {
	d := newLocal(t)
	for name, a := range map[string]engine.Attempt{
		"URL":    attempt("http://[::1"),
		"scheme": attempt("gopher://127.0.0.1/"),
		"header": attempt("http://127.0.0.1:1/", func(a *engine.Attempt) { a.Header = http.Header{"X": {"a\r\nY: b"}} }),
		"method": attempt("http://127.0.0.1:1/", func(a *engine.Attempt) { a.Method = "A B" }),
		"port":   attempt("http://127.0.0.1:1/"),
	} {
		if o := d.Deliver(t.Context(), a); o.Status != 0 || o.Error == "" || o.End.IsZero() {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

// Errors are shown to those who may not see responses, and quote nothing of them.
func TestT12ErrorsQuoteNoResponse(t *testing.T) {
	for name, answer := range map[string]string{
		"other protocol": "SECRET\r\n",
		"status":         "HTTP/1.1 SECRET\r\n\r\n",
		"no header":      "HTTP/1.1 200 OK\r\nX-Token SECRET\r\n\r\n",
		"first line":     "HTTP/1.1 200 OK\r\n \\\" SECRET\r\n\r\n",
		"length":         "HTTP/1.1 200 OK\r\nContent-Length: SECRET\r\n\r\n",
		"two lengths":    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: SECRET\r\n\r\nhello",
		"transfer":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: SECRET\r\n\r\n",
		"location":       "HTTP/1.1 302 Found\r\nLocation: http://x/%zz?SECRET\r\nContent-Length: 0\r\n\r\n",
		"trailer":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: SECRET T\r\n\r\n0\r\nSECRET\r\n\r\n",
	} {
		s := newWireServer(t, func(conn net.Conn) { io.WriteString(conn, answer); conn.Close() })
		if o := newLocal(t).Deliver(t.Context(), attempt(s.url)); o.Error == "" || strings.Contains(o.Error, "SECRET") {
			t.Errorf("%s: %q", name, o.Error)
		}
	}
}
