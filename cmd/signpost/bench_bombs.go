package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signposthq/signpost/client"
)

// growth is what a kind of hostile endpoints makes a server need of memory.
type growth struct {
	Kind     string  `json:"kind"`
	Callback bool    `json:"callback"`
	Silent   float64 `json:"silentMiB"` // the peak with silent endpoints
	MiB      float64 `json:"growthMiB"` // of the peak, over that
}

func (g growth) String() string {
	if g.Callback {
		return g.Kind + ", with a callback"
	}
	return g.Kind
}

func (g growth) write(w io.Writer) {
	fmt.Fprintf(w, "%+8.1f MiB over %.1f  %s\n", g.MiB, g.Silent, g)
}

// bomb is a kind of hostile endpoint: what it answers, and what it is sent.
type bomb struct {
	name   string
	answer func(io.ReadWriter) error // nil: none
	sent   int                       // bytes of the message's body
}

const mebibyte = 1 << 20

func bombs() []bomb {
	const ok, chunks = "HTTP/1.1 200 OK\r\n", "Transfer-Encoding: chunked\r\n\r\n"
	part := strings.Repeat("x", 32<<10)
	return []bomb{
		{name: "endless body", answer: unending(ok+chunks, "8000\r\n"+part+"\r\n")},
		{name: "huge body", answer: unending(ok+"Content-Length: 10000000000\r\n\r\n", part)},
		{name: "huge error", answer: unending("HTTP/1.1 500 No\r\nContent-Length: 10000000000\r\n\r\n", part)},
		{name: "body of 10 MiB", answer: whole(10 * mebibyte)},
		{name: "body of 1 MiB", answer: whole(mebibyte)},
		{name: "body that stops", answer: unending(ok+"Content-Length: 9999999\r\n\r\n"+part, "")},
		{name: "gzip bomb", answer: once(gzipped(100 * mebibyte))},
		{name: "endless header", answer: unending(ok+"X: ", part)},
		{name: "large messages", answer: once("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), sent: mebibyte},
		{name: "large messages back", answer: whole(mebibyte), sent: mebibyte},
	}
}

func once(text string) func(io.ReadWriter) error {
	return func(w io.ReadWriter) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

// whole answers n bytes, a multiple of 16 KiB.
func whole(n int) func(io.ReadWriter) error {
	const size = 16 << 10
	head := once(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", n))
	part := bytes.Repeat([]byte{'x'}, size)
	return func(w io.ReadWriter) error {
		err := head(w)
		for sent := 0; err == nil && sent < n; sent += size {
			_, err = w.Write(part)
		}
		return err
	}
}

// unending answers start, and then more and more; "" for nothing, and the
// connection stays open.
func unending(start, more string) func(io.ReadWriter) error {
	first, part := once(start), once(more)
	return func(w io.ReadWriter) error {
		err := first(w)
		if err == nil && more == "" {
			_, err = w.Read(make([]byte, 1))
		}
		for err == nil {
			err = part(w)
		}
		return err
	}
}

func gzipped(n int64) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.CopyN(z, zeros{}, n)
	z.Close()
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", b.Len(), b.String())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// bomb measures each kind, without callbacks and with.
func (c *benchHostileCmd) bomb(ctx context.Context) (all []growth, err error) {
	for _, b := range bombs() {
		if !c.wants(b.name) {
			continue
		}
		for _, callback := range []bool{false, true} {
			g, err := c.explode(ctx, b, callback)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", growth{Kind: b.name, Callback: callback}, err)
			}
			g.write(c.progress)
			all = append(all, g)
		}
	}
	return all, nil
}

func (c *benchHostileCmd) wants(name string) bool {
	for _, kind := range c.Kind {
		if strings.HasPrefix(name, kind) {
			return true
		}
	}
	return len(c.Kind) == 0
}

// explode measures one kind on a server of its own. That has been at work
// before: its caches are full, as those of any server are after some time.
func (c *benchHostileCmd) explode(ctx context.Context, b bomb, callback bool) (g growth, err error) {
	target, err := newMinefield(c.Endpoints)
	if err != nil {
		return g, err
	}
	defer target.stop()
	server := benched{Patience: c.Patience}
	stop, err := server.start(ctx, c.Concurrency)
	if err != nil {
		return g, err
	}
	defer stop()
	f := &fuse{target, &server, c.Concurrency, time.Duration(c.Patience)}
	ordinary := bomb{answer: whole(16 << 10), sent: 4 << 10}
	for range 3 {
		if err := f.light(ctx, ordinary, true, false); err != nil {
			return g, err
		}
	}
	if err := f.light(ctx, bomb{}, callback, true); err != nil {
		return g, err
	}
	silent := server.process.peakMemory()
	if err := f.light(ctx, b, callback, true); err != nil {
		return g, err
	}
	grown := server.process.peakMemory() - silent
	return growth{b.name, callback, float64(silent) / mebibyte, float64(grown) / mebibyte}, nil
}

// bombTime is what each attempt may take.
const bombTime = 20 * time.Second

// fuse publishes messages to a minefield.
type fuse struct {
	*minefield
	server   *benched
	atOnce   int
	patience time.Duration
}

// light publishes one message to each endpoint, and waits until the server is
// done with it. Endpoints that answer together do so once all have got theirs.
func (f *fuse) light(ctx context.Context, b bomb, callback, together bool) error {
	v := f.arm(b)
	if !together {
		close(v.fire)
	}
	before := f.called.Load()
	body := bytes.Repeat([]byte{'x'}, b.sent)
	err := each(ctx, f.atOnce, len(f.urls), func(ctx context.Context, i int) error {
		p := client.PublishRequest{URL: f.urls[i], Retries: new(0), Timeout: bombTime, Body: body}
		if callback {
			p.Callback = &client.Callback{URL: f.callbacks}
		}
		_, err := f.server.client.Publish(ctx, p)
		return err
	})
	if err == nil && together {
		err = await(ctx, 2*time.Second, v.count, func() bool { return v.count() == len(f.urls) })
	}
	if together {
		close(v.fire) // also where not all came: they may not all be sent at once, or have been refused
	}
	if err != nil {
		return err
	}
	progress := func() int { return int(f.done.Load() + f.called.Load()) }
	if err := await(ctx, f.patience, progress, func() bool { return f.done.Load() == int64(len(f.urls)) }); err != nil {
		return err
	}
	if missing := int64(len(f.urls)) - f.done.Load(); missing > 0 {
		return fmt.Errorf("%d of %d messages did not come", missing, len(f.urls))
	}
	if callback {
		due := before + int64(len(f.urls))
		if err := await(ctx, f.patience, progress, func() bool { return f.called.Load() == due }); err != nil {
			return err
		}
		if missing := due - f.called.Load(); missing > 0 {
			return fmt.Errorf("%d of %d callbacks did not come", missing, len(f.urls))
		}
	}
	pause(ctx, time.Second) // what has come is written down
	return ctx.Err()
}

// minefield is endpoints that answer together.
type minefield struct {
	urls      []string
	callbacks string
	stop      func()

	armed        atomic.Pointer[volley]
	done, called atomic.Int64
}

// volley is what endpoints answer, and when.
type volley struct {
	bomb
	came atomic.Int64
	fire chan struct{} // closed: answer
}

func (v *volley) count() int { return int(v.came.Load()) }

func newMinefield(n int) (*minefield, error) {
	m := &minefield{}
	const perPort = 250 // the server opens so many connections to one host, and some more
	var stops []func()
	m.stop = func() {
		for _, stop := range stops {
			stop()
		}
	}
	for i := range n {
		if i%perPort == 0 {
			url, stop, err := mine(m.serve)
			if err != nil {
				m.stop()
				return nil, err
			}
			stops = append(stops, stop)
			m.callbacks = url
		}
		m.urls = append(m.urls, fmt.Sprintf("%s/%d", m.callbacks, i))
	}
	url, stop, err := listen(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			m.called.Add(1)
		}
	}))
	if err != nil {
		m.stop()
		return nil, err
	}
	m.callbacks, stops = url, append(stops, stop)
	return m, nil
}

func (m *minefield) arm(b bomb) *volley {
	v := &volley{bomb: b, fire: make(chan struct{})}
	m.armed.Store(v)
	m.done.Store(0)
	return v
}

// serve answers the requests of one connection.
func (m *minefield) serve(conn net.Conn) {
	r := bufio.NewReaderSize(conn, 4<<10)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		v := m.armed.Load()
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		v.came.Add(1)
		<-v.fire
		ended := v.answer == nil || v.answer(conn) != nil
		m.done.Add(1)
		if ended {
			return
		}
	}
}

// mine serves connections on a loopback port of its own.
func mine(serve func(net.Conn)) (url string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	var conns sync.Map
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Store(conn, nil)
			open.Go(func() {
				defer conns.Delete(conn)
				defer conn.Close()
				serve(conn)
			})
		}
	})
	return "http://" + ln.Addr().String(), func() {
		ln.Close()
		conns.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
		open.Wait()
	}, nil
}
