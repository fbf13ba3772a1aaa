package intake

import (
	"container/list"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// connections are those that are open. They wait in one of two lists while no
// request is under way on them, longest first.
type connections struct {
	most int
	log  *slog.Logger

	mu     sync.Mutex
	open   int
	fresh  list.List // no request has come yet
	idle   list.List // between two requests
	warned time.Time
}

// conn is a connection, and its place in a list, which belongs to
// connections.mu.
type conn struct {
	net.Conn
	table  *connections
	list   *list.List // nil: a request is under way
	place  *list.Element
	closed bool

	spread bool // SetReadDeadline has been called
}

type listener struct {
	net.Listener
	conns *connections
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted := l.conns.admit(c); admitted != nil {
			return admitted, nil
		}
		c.Close()
	}
}

// admit takes a connection in. One too many takes the place of the one that has
// been waiting longest, first among those that never sent a request; where
// requests are under way on all of them it is turned away.
func (t *connections) admit(c net.Conn) *conn {
	t.mu.Lock()
	var out *conn
	if t.open >= t.most {
		t.warn()
		if out = t.longest(); out == nil {
			t.mu.Unlock()
			return nil
		}
		t.remove(out)
	}
	in := &conn{Conn: c, table: t}
	t.open++
	t.wait(in, &t.fresh)
	t.mu.Unlock()
	if out != nil {
		out.Conn.Close()
	}
	return in
}

func (t *connections) longest() *conn {
	for _, waiting := range []*list.List{&t.fresh, &t.idle} {
		if first := waiting.Front(); first != nil {
			return first.Value.(*conn)
		}
	}
	return nil
}

// closeFresh closes what has not sent a request.
func (t *connections) closeFresh() {
	t.mu.Lock()
	var silent []*conn
	for e := t.fresh.Front(); e != nil; e = e.Next() {
		silent = append(silent, e.Value.(*conn))
	}
	t.mu.Unlock()
	for _, c := range silent {
		c.Close()
	}
}

func (t *connections) warn() {
	if now := time.Now(); now.Sub(t.warned) > time.Minute {
		t.warned = now
		t.log.Warn("too many connections; those that wait longest are closed", "open", t.open)
	}
}

// moved is told by net/http what a connection is at.
func (t *connections) moved(nc net.Conn, state http.ConnState) {
	c := nc.(*conn)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case c.closed:
	case state == http.StateActive:
		t.leave(c)
	case state == http.StateIdle:
		t.leave(c)
		t.wait(c, &t.idle)
	}
}

func (t *connections) wait(c *conn, l *list.List) { c.list, c.place = l, l.PushBack(c) }

func (t *connections) leave(c *conn) {
	if c.list != nil {
		c.list.Remove(c.place)
		c.list, c.place = nil, nil
	}
}

func (t *connections) remove(c *conn) {
	if !c.closed {
		c.closed = true
		t.open--
		t.leave(c)
	}
}

// Close makes room for another.
func (c *conn) Close() error {
	c.table.mu.Lock()
	c.table.remove(c)
	c.table.mu.Unlock()
	return c.Conn.Close()
}

// Write gives the client as long as answerRate says.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(grace + transfer(int64(len(p)), answerRate))); err != nil {
		return 0, err
	}
	if instead := inJSON(p); instead != nil {
		_, err := c.Conn.Write(instead)
		return len(p), err
	}
	return c.Conn.Write(p)
}

// SetReadDeadline makes the first one, that of a new connection, a little
// earlier: those that came all at once and say nothing would otherwise end, and
// come again, all at once.
func (c *conn) SetReadDeadline(t time.Time) error {
	if !c.spread {
		c.spread = true
		t = t.Add(-rand.N(headerTimeout / 4))
	}
	return c.Conn.SetReadDeadline(t)
}

// CloseWrite is for net/http, which lets a client read the last answer so.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
