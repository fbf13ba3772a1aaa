package deliver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
)

// Limits of a response's headers, those of 1xx responses before it included.
const (
	maxHeaderBytes = 16 << 10
	maxHeaderLines = 256
	headerCost     = 200 // what a line takes in a map beside its bytes, about
	headerStep     = 4 << 10
)

var (
	errHeaderLines  = fmt.Errorf("response headers: more than %d lines", maxHeaderLines)
	errHeaderMemory = errors.New("response headers: too large for the memory that others leave")
)

// headConn counts an HTTP/1 response's header lines before net/http reads
// them, which has a limit of their bytes only: of short lines it would make
// fifty times as much.
type headConn struct {
	net.Conn

	mu     sync.Mutex // begin comes from elsewhere than Read
	lease  *lease     // nil: not within headers
	first  bool       // at the first line of a block
	status []byte     // of that the beginning, as "HTTP/1.1 200"
	line   int        // bytes of the line so far, without its end
	lines  int
	cost   int
	paid   int
}

// trace makes the attempt's connection, whichever it gets, count its headers.
func trace(ctx context.Context, l *lease) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if c, ok := info.Conn.(*headConn); ok {
			c.begin(l)
		}
	}})
}

func (c *headConn) begin(l *lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lease, c.first, c.status = l, true, c.status[:0]
	c.line, c.lines, c.cost, c.paid = 0, 0, 0, ownHeaders
}

// Read implements net.Conn.
func (c *headConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lease != nil {
		if refused := c.scan(p[:n]); refused != nil {
			return 0, refused
		}
	}
	return n, err
}

// scan goes through bytes that are of headers up to the empty line. After those
// of a 1xx response there are others.
func (c *headConn) scan(p []byte) error {
	for len(p) > 0 {
		part, rest, ended := bytes.Cut(p, []byte("\n"))
		c.cost += len(p) - len(rest)
		p = rest
		if c.first {
			c.status = append(c.status, part[:min(len(part), len("HTTP/1.1 200")-len(c.status))]...)
		}
		if c.line += len(bytes.TrimSuffix(part, []byte("\r"))); !ended {
			break
		}
		if c.line == 0 && !c.first {
			if !c.informational() {
				c.lease = nil
				return nil
			}
			c.status = c.status[:0]
		}
		c.first = c.line == 0
		c.line = 0
		c.lines++
		c.cost += headerCost
	}
	return c.pay()
}

// informational says whether the block is of a response before the actual one.
func (c *headConn) informational() bool {
	_, code, _ := bytes.Cut(c.status, []byte(" "))
	return bytes.HasPrefix(code, []byte("1")) && string(code) != "101"
}

func (c *headConn) pay() error {
	if c.lines > maxHeaderLines {
		return c.lease.refuse(errHeaderLines)
	}
	for c.paid < c.cost {
		if !c.lease.take(headerStep) {
			return c.lease.refuse(errHeaderMemory)
		}
		c.paid += headerStep
	}
	return nil
}

// countLines is the same limit for HTTP/2, which counts fields as it reads them,
// but to a limit of its own.
func countLines(h http.Header) error {
	n := 0
	for _, values := range h {
		n += len(values)
	}
	if n > maxHeaderLines {
		return errHeaderLines
	}
	return nil
}

// dialer makes connections to what its guard allows.
type dialer struct {
	net.Dialer
	tls *tls.Config
}

// dial makes one for HTTP/1.
func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &headConn{Conn: conn}, nil
}

// dialTLS makes one for whichever version the endpoint chooses. HTTP/2 has to
// have the connection itself.
func (d *dialer) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	config := d.tls.Clone()
	config.ServerName = host
	secure := tls.Client(conn, config)
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	if secure.ConnectionState().NegotiatedProtocol == "h2" {
		return secure, nil
	}
	return &headConn{Conn: secure}, nil
}
