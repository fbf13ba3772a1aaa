package intake

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of connections in memory: time in a synctest bubble is
// theirs, too.
type pipes struct {
	dialed chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects, and sends what is given as far as the server takes it.
func (p *pipes) dial(sends ...string) *bufio.ReadWriter {
	here, there := net.Pipe()
	p.dialed <- there
	go func() {
		for _, s := range sends {
			if _, err := io.WriteString(here, s); err != nil {
				return
			}
		}
	}()
	return bufio.NewReadWriter(bufio.NewReader(here), bufio.NewWriter(here))
}

// serve runs a server in the bubble of the test.
func serve(t *testing.T, o Options, handler http.HandlerFunc) *pipes {
	t.Helper()
	p := &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := New(handler, o)
	served := make(chan error, 1)
	go func() { served <- s.Serve(p) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		time.Sleep(time.Second) // net/http lingers a little after some answers
	})
	return p
}

// lasts is how long a connection stays open, and what came over it.
func lasts(c io.Reader) (time.Duration, string) {
	began := time.Now()
	text, _ := io.ReadAll(c)
	return time.Since(began), string(text)
}

func echo(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "%d %v", n, err)
}

// Who sends a request slowly, or not at all, is soon gone.
func TestT16SlowRequests(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
	ignore := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ignored") }
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		sends   string
		every   time.Duration // one byte, after what is sent
		within  time.Duration
		says    string
	}{
		"nothing":                   {echo, "", 0, 5 * time.Second, ""},
		"half a line":               {echo, "POST /", 0, 5 * time.Second, ""},
		"a line, letter by letter":  {echo, "POST /", time.Second, 5 * time.Second, ""},
		"half a header":             {echo, "POST / HTTP/1.1\r\nHost: x\r\nX-A: ", 0, 5 * time.Second, ""},
		"a header, byte by byte":    {echo, "POST / HTTP/1.1\r\nHost: x\r\nX-A: ", time.Second, 5 * time.Second, ""},
		"no body":                   {echo, head, 0, 10 * time.Second, "0 read"},
		"a body, byte by byte":      {echo, head, time.Second, 11 * time.Second, "i/o timeout"},
		"chunks, byte by byte":      {echo, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n", time.Second, 11 * time.Second, "i/o timeout"},
		"a body nobody wants":       {ignore, head, time.Second, 6 * time.Second, "ignored"},
		"nothing after a request":   {ignore, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0, 2 * time.Minute, "ignored"},
		"a second request, half of": {ignore, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / ", time.Second, 6 * time.Second, "ignored"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := serve(t, Options{}, test.handler).dial(test.sends)
				var drip sync.WaitGroup
				if test.every > 0 {
					drip.Go(func() {
						for c.WriteByte('a') == nil && c.Flush() == nil {
							time.Sleep(test.every)
						}
					})
				}
				open, said := lasts(c)
				drip.Wait()
				if open > test.within || !strings.Contains(said, test.says) {
					t.Errorf("open for %v, expected %v at most; answer %q", open, test.within, said)
				}
			})
		})
	}
}

// Who has much to say may take long over it.
func TestT16LargeBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const chunk = 2000
		c := serve(t, Options{}, echo).dial(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 1000*chunk))
		go func() {
			for range 1000 {
				time.Sleep(time.Second)
				c.WriteString(strings.Repeat("x", chunk))
				c.Flush()
			}
		}()
		resp, err := http.ReadResponse(c.Reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != fmt.Sprintf("%d <nil>", 1000*chunk) {
			t.Errorf("%s", body)
		}
	})
}

// Who still sends a body that is refused can read why: the connection is not
// cut with the answer, which would take it from the client again.
func TestRefusedBodies(t *testing.T) {
	for name, refuse := range map[string]http.HandlerFunc{
		"unread": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
		},
		"too long": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		},
		"found to be too long": func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 10))
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := serve(t, Options{}, refuse).dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", strings.Repeat("x", 1<<20))
				if _, err := http.ReadResponse(c.Reader, nil); err != nil {
					t.Fatal(err)
				}
				if open, said := lasts(c); open < 400*time.Millisecond || open > 10*time.Second || said != "" {
					t.Errorf("open for %v after the answer, %q", open, said)
				}
			})
		})
	}
}

// A handler may take long as well, whether its request had a body or not.
func TestSlowHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var err error
		p := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			select {
			case <-time.After(time.Hour):
			case <-r.Context().Done():
			}
			err = r.Context().Err()
		})
		for _, request := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"} {
			resp, answer := http.ReadResponse(p.dial(request).Reader, nil)
			if answer != nil || resp.StatusCode != 200 || err != nil {
				t.Errorf("%q: %v, %v", request, answer, err)
			}
		}
	})
}

// Who does not take the answer is soon gone.
func TestT16SlowReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan time.Duration, 1)
		p := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			w.Write(make([]byte, 1<<20))
			done <- time.Since(began)
		})
		c := p.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		c.ReadByte()
		if took := <-done; took > 80*time.Second { // 64 s for a MiB, and some grace for each write
			t.Errorf("the handler was held up for %v", took)
		}
	})
}

// Connections that say nothing make room for those that do.
func TestT16TooManyConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		release := make(chan struct{})
		p := serve(t, Options{MaxConnections: 4, Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/wait" {
				<-release
			}
		})
		ask := func(c *bufio.ReadWriter, path string) {
			t.Helper()
			resp, err := http.ReadResponse(c.Reader, nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%s: %v", path, err)
			}
			synctest.Wait() // the server has put the connection where it belongs
		}
		idle := p.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		ask(idle, "/")
		first := p.dial("POST")
		second := p.dial("POST / HTTP/1.1\r\nHost:")
		busy := p.dial("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()

		for range 100 { // each takes the place of the one before it at most
			ask(p.dial("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "/")
		}
		if open, _ := lasts(first); open != 0 {
			t.Error("the oldest silent connection is still open")
		}
		idle.WriteString("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		idle.Flush()
		ask(idle, "/") // it had been used
		more := p.dial("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		p.dial("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		if open, _ := lasts(second); open != 0 {
			t.Error("the second silent connection is still open")
		}
		last := p.dial("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		if open, _ := lasts(idle); open != 0 {
			t.Error("an idle connection is kept while others wait")
		}
		if open, _ := lasts(p.dial()); open != 0 {
			t.Error("a connection more than can be served")
		}
		close(release)
		ask(busy, "/wait")
		ask(more, "/wait")
		ask(last, "/wait")
		if n := strings.Count(log.String(), "too many connections"); n != 1 {
			t.Errorf("said %d times: %s", n, &log)
		}
	})
}

// What net/http refuses by itself is refused in JSON, and so that the text
// says what was expected.
func TestMalformedRequests(t *testing.T) {
	for request, want := range map[string]struct {
		status int
		says   string
	}{
		"nonsense\r\n\r\n":                                                                           {400, "well-formed HTTP/1.1"},
		"GET / HTTP/1.1\r\n\r\n":                                                                     {400, "missing required Host header"},
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n":                                                        {400, "malformed Host header"},
		"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n":                                                {400, "well-formed HTTP/1.1"},
		"GET / HTTP/1.1\r\nHost: x\r\nA: \x01secret\r\n\r\n":                                         {400, "well-formed HTTP/1.1"},
		"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n":                                                       {400, "well-formed HTTP/1.1"},
		"POST / HTTP/1.1\r\nHost: x\r\nExpect: secret\r\nContent-Length: 1\r\n\r\nx":                 {417, "no Expect but 100-continue"},
		"GET / HTTP/3.1\r\nHost: x\r\n\r\n":                                                          {505, "unsupported protocol version"},
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: secret\r\n\r\n":                            {501, "nsupported transfer encoding"},
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n":               {400, "well-formed HTTP/1.1"},
		"GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("x", MaxHeaderBytes+5000) + "\r\n\r\n":   {431, "at most 131072 bytes"},
		"GET /" + strings.Repeat("secret", MaxHeaderBytes/6+1000) + " HTTP/1.1\r\nHost: x\r\n\r\n":   {431, "at most 131072 bytes"},
		"GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: x\r\n", MaxHeaderBytes/6+1000) + "\r\n": {431, "at most 131072 bytes"},
	} {
		synctest.Test(t, func(t *testing.T) {
			resp, err := http.ReadResponse(serve(t, Options{}, echo).dial(request).Reader, nil)
			if err != nil {
				t.Fatalf("%.60q: %v", request, err)
			}
			var answer struct{ Error string }
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.Header.Get("Content-Type") != "application/json" || !resp.Close {
				t.Errorf("%.60q: %v %v", request, resp, err)
			}
			if resp.StatusCode != want.status || !strings.Contains(answer.Error, want.says) || strings.Contains(answer.Error, "secret") {
				t.Errorf("%.60q: %d %q, want %d %q", request, resp.StatusCode, answer.Error, want.status, want.says)
			}
		})
	}
}

// A handler's own words are left alone.
func TestAnswersOfHandlers(t *testing.T) {
	const own = "HTTP/1.1 400 Bad Request" + plainText + "400 Bad Request"
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(400)
			io.WriteString(w, own)
		})
		_, said := lasts(p.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		if !strings.HasPrefix(said, "HTTP/1.1 400 Bad Request\r\n") || !strings.HasSuffix(said, own) {
			t.Errorf("%q", said)
		}
	})
}

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}
		s := New(http.HandlerFunc(echo), Options{})
		served := make(chan error, 1)
		go func() { served <- s.Serve(p) }()
		c := p.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a request under way: %v", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		s.Close()
		lasts(c)
		time.Sleep(time.Second)
		if n := s.conns.open; n != 0 {
			t.Errorf("%d connections are counted", n)
		}
	})
}

// Connections that say nothing do not hold a shutdown up.
func TestT16ShutdownOfSilentConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}
		s := New(http.HandlerFunc(echo), Options{})
		served := make(chan error, 1)
		go func() { served <- s.Serve(p) }()
		p.dial()
		p.dial("POST / HTTP/1.1\r\nHost:")
		synctest.Wait()
		began := time.Now()
		if err := s.Shutdown(t.Context()); err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		<-served
	})
}

// Whatever is written, it is replaced by an answer in JSON or left alone.
func FuzzInJSON(f *testing.F) {
	for _, s := range []string{"HTTP/1.1 400 Bad Request" + plainText + "400 Bad Request", "HTTP/1.1 200 OK\r\n\r\n", plainText, "HTTP/1.1 431 x" + plainText} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, written []byte) {
		instead := inJSON(written)
		if instead == nil {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(instead)), nil)
		if err != nil {
			t.Fatalf("%q became %q: %v", written, instead, err)
		}
		var answer struct{ Error string }
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil && resp.StatusCode >= 400 || !bytes.HasPrefix(written, []byte("HTTP/1.1 ")) {
			t.Errorf("%q became %q: %v", written, instead, err)
		}
	})
}

// A handler that comes to a body late, later than an unread one may be, gets all of it,
// and the next request on the connection is served.
func TestLateReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(20 * time.Second)
			echo(w, r)
			time.Sleep(20 * time.Second)
			if err := r.Context().Err(); err != nil {
				t.Error(err)
			}
		})
		request := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\n" + strings.Repeat("x", 8000)
		c := p.dial(request, request, request)
		for range 3 {
			resp, err := http.ReadResponse(c.Reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			if said, err := io.ReadAll(resp.Body); err != nil || string(said) != "8000 <nil>" {
				t.Fatalf("%s, %v", said, err)
			}
		}
	})
}
