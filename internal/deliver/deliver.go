package deliver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/receiver"
)

// Options configure a Deliverer.
type Options struct {
	// AllowLocal permits loopback and private addresses: for development.
	// Link-local, metadata, multicast and unspecified ones stay refused.
	AllowLocal bool
	// Allow permits networks that are otherwise refused as private. Loopback
	// stays refused, and what AllowLocal does not permit.
	Allow []netip.Prefix
	// MaxConnsPerHost bounds connections to one host; default 512.
	MaxConnsPerHost int
}

// Deliverer sends attempts over one pool of connections.
type Deliverer struct {
	client  *http.Client
	own     *http.Client // for the operator's services
	memory  *memory
	signers signers
}

// New makes a Deliverer. Redirects are not followed, proxies of the
// environment not used, responses not decompressed.
func New(o Options) *Deliverer {
	if o.MaxConnsPerHost == 0 {
		o.MaxConnsPerHost = 512
	}
	// Connections of the two are never each other's: a message to the address
	// of an operator's service would get through.
	return &Deliverer{
		client: newClient(guard{local: o.AllowLocal, allow: o.Allow}, o.MaxConnsPerHost),
		own:    newClient(guard{local: true}, o.MaxConnsPerHost),
		memory: newMemory(),
	}
}

func newClient(allowed guard, connsPerHost int) *http.Client {
	d := &dialer{
		Dialer: net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: allowed.control},
		tls:    &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}},
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            d.dial,
			DialTLSContext:         d.dialTLS,
			TLSClientConfig:        d.tls,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxIdleConns:           1024,
			MaxIdleConnsPerHost:    256,
			MaxConnsPerHost:        connsPerHost,
			IdleConnTimeout:        90 * time.Second,
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: maxHeaderBytes,
			// What has come and is not read yet, of one response and of all on
			// a connection.
			HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 32 << 10, MaxReceiveBufferPerConnection: 256 << 10, MaxReadFrameSize: 16 << 10},
		},
		// The signature is for one URL: whoever answers a redirect with it
		// would be handed a valid request for somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

const handshakeTime = 10 * time.Second

// Close lets go of idle connections.
func (d *Deliverer) Close() {
	d.client.CloseIdleConnections()
	d.own.CloseIdleConnections()
}

// Deliver makes one attempt and always says what came of it.
func (d *Deliverer) Deliver(ctx context.Context, a engine.Attempt) engine.Outcome {
	l := d.memory.lease()
	o := engine.Outcome{Start: time.Now(), Release: l.release}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	err := d.try(trace(ctx, l), &a, &o, l, func() { giveUp(errTooSlow) })
	o.End = time.Now()
	if refused := l.refusal(); err != nil && refused != nil {
		err = refused
	}
	if err != nil {
		o.Error = explain(ctx, err, a.Timeout)
	}
	return o
}

func (d *Deliverer) try(ctx context.Context, a *engine.Attempt, o *engine.Outcome, l *lease, giveUp func()) error {
	req, err := http.NewRequestWithContext(ctx, a.Method, a.URL, bytes.NewReader(a.Body))
	if err != nil {
		return err
	}
	if len(a.Body) == 0 {
		req.Body = http.NoBody
	}
	req.Header = a.Header
	err = d.sign(req.Header, a, receiver.SignOptions{
		URL: sentURL(req.URL), Body: a.Body, Time: o.Start,
		Kind: claimedKinds[a.Kind], RunID: a.RunID, Attempt: a.Retried, Header: a.Header,
	})
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	if a.Sent != nil {
		b := &largeBody{sent: a.Sent, body: a.Body}
		defer b.drop()
		req.GetBody = b.open
		req.Body, _ = b.open()
		a.Body = nil
	}
	client := d.client
	if a.Operators {
		client = d.own
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := countLines(resp.Header); err != nil {
		return err
	}
	o.Status, o.Header = resp.StatusCode, resp.Header
	if o.Body, err = d.response(resp, a, l, giveUp).read(ctx); err != nil {
		return fmt.Errorf("read response: %w", err)
	}
	return nil
}

// explain says in a user's words why there is no usable response.
func explain(ctx context.Context, err error, timeout time.Duration) string {
	switch cause := context.Cause(ctx); {
	case cause == errTooSlow || cause == engine.ErrTooSlow:
		return cause.Error()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Sprintf("timeout: no complete response within %v", timeout)
	case errors.Is(err, errRefused):
		return refusal(err)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL, which the message has
	}
	// What broke is often quoted, and is a part of the response: errors are shown
	// to those who may not see that.
	return quoted.ReplaceAllString(strings.ToValidUTF8(err.Error(), "\uFFFD"), "")
}

var quoted = regexp.MustCompile(` ?"(\\.|[^"\\])*"`)

// sentURL is where a request goes as its receiver can know it: a fragment and
// the user are not on the request line, and what a URL can't hold is escaped.
func sentURL(u *url.URL) string {
	sent := *u
	sent.User, sent.Fragment, sent.RawFragment = nil, "", ""
	return sent.String()
}
