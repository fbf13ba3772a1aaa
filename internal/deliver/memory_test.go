package deliver

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signposthq/signpost/internal/budget"
	"github.com/signposthq/signpost/internal/engine"
)

// What somebody waits for is read whole, however much more there is at once
// than memory to share: one after the other.
func TestT15LargeResponsesTakeTurns(t *testing.T) {
	const size, many = 3 << 20, 12
	body := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }))
	defer server.Close()
	d := newLocal(t)
	var attempts sync.WaitGroup
	var whole atomic.Int32
	for range many {
		attempts.Go(func() {
			o := d.Deliver(t.Context(), attempt(server.URL, func(a *engine.Attempt) { a.Timeout, a.MaxResponse = time.Minute, needed }))
			if o.Error == "" && bytes.Equal(o.Body, body) {
				whole.Add(1)
			}
			o.Release()
		})
	}
	attempts.Wait()
	if whole.Load() != many {
		t.Errorf("%d of %d responses came whole", whole.Load(), many)
	}
	if left := d.memory.left.Load(); left != sharedMost || d.memory.spare != nil {
		t.Errorf("%d bytes left of %d, spare: %v", left, sharedMost, d.memory.spare != nil)
	}
}

// What nobody waits for is cut short rather than waited for.
func TestT15NobodyWaits(t *testing.T) {
	d := newLocal(t)
	hog := d.memory.lease()
	if !hog.take(sharedMost) || hog.take(1) {
		t.Fatal("take")
	}
	s := newWireServer(t, fixed("HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n"+string(bytes.Repeat([]byte("x"), 20_000))))
	keep := func(a *engine.Attempt) { a.KeepResponse, a.MaxResponse, a.MaxFailure = 16<<10, 0, 0 }
	for _, want := range []int{ownBody, 16 << 10} {
		o := d.Deliver(t.Context(), attempt(s.url, keep))
		if o.Status != 200 || o.Error != "" || len(o.Body) != want {
			t.Errorf("kept %d bytes of %d, %q", len(o.Body), want, o.Error)
		}
		o.Release()
		hog.release()
	}
	if hog.take(1) {
		t.Error("a lease is good after its release")
	}
}

// A response that only drips is given up for others, who have the turn then.
func TestT15SlowTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		holder, other := m.lease(), m.lease()
		start := time.Now()
		givenUp := make(chan struct{})
		if _, err := holder.await(t.Context(), 100, func() { close(givenUp) }); err != nil {
			t.Fatal(err)
		}
		go func() {
			<-givenUp
			holder.release()
		}()
		holder.turn.Moved(1000)
		if _, err := other.await(t.Context(), 200, func() { t.Error("the other was given up") }); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < budget.Grace || took > budget.Grace+2*time.Second {
			t.Errorf("the other had the turn after %v", took)
		}
		other.release()
	})
}

// Who waits in vain ends with its time.
func TestT15TurnTimeout(t *testing.T) {
	d := newLocal(t)
	hog := d.memory.lease()
	hog.take(sharedMost)
	if _, err := hog.await(t.Context(), 1, func() {}); err != nil {
		t.Fatal(err)
	}
	s := newWireServer(t, fixed("HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n"+string(bytes.Repeat([]byte("x"), 20_000))))
	o := d.Deliver(t.Context(), attempt(s.url, func(a *engine.Attempt) { a.Timeout = 300 * time.Millisecond }))
	if o.Status != 200 || o.Error != "timeout: no complete response within 300ms" || len(o.Body) != ownBody {
		t.Errorf("%d %q, %d bytes", o.Status, o.Error, len(o.Body))
	}
	o.Release()
	o.Release() // once is enough
	hog.release()
	o = d.Deliver(t.Context(), attempt(s.url))
	if o.Error != "" || len(o.Body) != 20_000 {
		t.Errorf("%q, %d bytes", o.Error, len(o.Body))
	}
	o.Release()
}

// Headers are counted over every kind of connection, and only they.
func TestT15HeaderLines(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := 0
		fmt.Sscan(r.URL.Query().Get("lines"), &n)
		for i := range n {
			w.Header().Add("X", fmt.Sprint(i))
		}
		w.Write(bytes.Repeat([]byte("\n"), 60_000))
	})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	secure := httptest.NewTLSServer(handler)
	defer secure.Close()
	second := httptest.NewUnstartedServer(handler)
	second.EnableHTTP2 = true
	second.StartTLS()
	defer second.Close()
	d := newLocal(t)
	for name, server := range map[string]*httptest.Server{"HTTP": plain, "HTTPS": secure, "HTTP/2": second} {
		if server.TLS != nil {
			d = newLocal(t)
			d.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		}
		for range 3 { // one connection after the other, the same if it may be
			o := d.Deliver(t.Context(), attempt(server.URL+"/?lines=200"))
			if o.Status != 200 || o.Error != "" || len(o.Header["X"]) != 200 || len(o.Body) != 60_000 {
				t.Errorf("%s, 200 lines: %d %q, %d of them, body of %d", name, o.Status, o.Error, len(o.Header["X"]), len(o.Body))
			}
			o.Release()
			o = d.Deliver(t.Context(), attempt(server.URL+"/?lines=300"))
			if o.Status != 0 || o.Error != "response headers: more than 256 lines" {
				t.Errorf("%s, 300 lines: %d %q", name, o.Status, o.Error)
			}
			o.Release()
		}
	}
}

// However a response comes in pieces, its headers end where they end.
func TestT15HeaderPieces(t *testing.T) {
	for response, ended := range map[string]bool{
		"HTTP/1.1 200 OK\r\nA: b\r\n\r\n":             true,
		"HTTP/1.1 200 OK\nA: b\n\n":                   true,
		"HTTP/1.1 204 \r\n\r\n":                       true,
		"HTTP/1.1 101 Switching Protocols\r\n\r\n":    true,
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n": false,
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 500 No\r\nA:\r\n\r\n": true,
		"HTTP/1.1 200 OK\r\nA: b\r\n": false,
		"\r\nHTTP/1.1 200 OK\r\n":     false,
	} {
		for size := 1; size <= len(response); size++ {
			c := &headConn{}
			c.begin(newMemory().lease())
			for rest := []byte(response); len(rest) > 0 && c.lease != nil; {
				piece := rest[:min(size, len(rest))]
				rest = rest[len(piece):]
				if err := c.scan(piece); err != nil {
					t.Fatal(err)
				}
			}
			if (c.lease == nil) != ended {
				t.Errorf("%q in pieces of %d: ended %v", response, size, c.lease == nil)
			}
		}
	}
}
