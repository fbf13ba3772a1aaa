package deliver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/receiver"
)

// Options configure a Deliverer.
type Options struct {
	// AllowLocal permits every address, loopback and private ones included:
	// for development.
	AllowLocal bool
	// Allow permits networks that are otherwise refused as private. Loopback,
	// link-local and metadata addresses stay refused.
	Allow []netip.Prefix
	// MaxConnsPerHost bounds connections to one host; default 512.
	MaxConnsPerHost int
}

// Deliverer sends attempts over one pool of connections.
type Deliverer struct {
	client  *http.Client
	signers signers
}

// New makes a Deliverer. Redirects are not followed, proxies of the
// environment not used, responses not decompressed.
func New(o Options) *Deliverer {
	if o.MaxConnsPerHost == 0 {
		o.MaxConnsPerHost = 512
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	if !o.AllowLocal {
		dialer.Control = guard(o.Allow)
	}
	return &Deliverer{client: &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    10 * time.Second,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxIdleConns:           1024,
			MaxIdleConnsPerHost:    256,
			MaxConnsPerHost:        o.MaxConnsPerHost,
			IdleConnTimeout:        90 * time.Second,
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
		// The signature is for one URL: whoever answers a redirect with it
		// would be handed a valid request for somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close lets go of idle connections.
func (d *Deliverer) Close() { d.client.CloseIdleConnections() }

// Deliver makes one attempt and always says what came of it.
func (d *Deliverer) Deliver(ctx context.Context, a engine.Attempt) engine.Outcome {
	o := engine.Outcome{Start: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	err := d.try(ctx, a, &o)
	o.End = time.Now()
	if err != nil {
		o.Error = explain(ctx, err, a.Timeout)
	}
	return o
}

func (d *Deliverer) try(ctx context.Context, a engine.Attempt, o *engine.Outcome) error {
	req, err := http.NewRequestWithContext(ctx, a.Method, a.URL, bytes.NewReader(a.Body))
	if err != nil {
		return err
	}
	if len(a.Body) == 0 {
		req.Body = http.NoBody
	}
	req.Header = a.Header
	err = d.sign(req.Header, &a, receiver.SignOptions{
		URL: sentURL(req.URL), Body: a.Body, Time: o.Start,
		Kind: claimedKinds[a.Kind], RunID: a.RunID, Attempt: a.Retried, Header: a.Header,
	})
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	o.Status, o.Header = resp.StatusCode, resp.Header
	if o.Body, err = readBody(resp, a.MaxResponse); err != nil {
		return fmt.Errorf("read response: %w", err)
	}
	return nil
}

// readBody keeps the beginning of a response. A little more is read so that
// the connection can be used again; an endless body costs its connection.
func readBody(resp *http.Response, most int64) ([]byte, error) {
	if resp.ContentLength == 0 {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err == nil {
		io.CopyN(io.Discard, resp.Body, 64<<10)
	}
	return body, err
}

// explain says in a user's words why there is no usable response.
func explain(ctx context.Context, err error, timeout time.Duration) string {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Sprintf("timeout: no complete response within %v", timeout)
	case errors.Is(err, errRefused):
		return refusal(err)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL, which the message has
	}
	return strings.ToValidUTF8(err.Error(), "\uFFFD")
}

// sentURL is where a request goes as its receiver can know it: a fragment and
// the user are not on the request line, and what a URL can't hold is escaped.
func sentURL(u *url.URL) string {
	sent := *u
	sent.User, sent.Fragment, sent.RawFragment = nil, "", ""
	return sent.String()
}
