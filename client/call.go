package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// call is one request to the API.
type call struct {
	method string
	path   string // escaped, with its query if it has one; sent byte for byte
	query  url.Values
	header http.Header
	body   []byte
	out    any   // where the answer's JSON goes; nil: nowhere
	most   int64 // bytes of an answer where the options say none; 0: what is usual
	once   bool  // doing it twice would do harm, so a lost answer is final
}

// do sends k until an answer comes.
func (c *Client) do(ctx context.Context, k call) error {
	if c.err != nil {
		return c.err
	}
	for retry := 0; ; retry++ {
		err := c.send(ctx, k)
		var lost *lostError
		if !errors.As(err, &lost) || k.once || retry == c.retries || ctx.Err() != nil {
			return err
		}
		if cause := sleep(ctx, networkBackoff(retry)); cause != nil {
			return fmt.Errorf("%w, after: %w", cause, err)
		}
	}
}

// networkBackoff is the official clients' wait before retry n, n from 0.
func networkBackoff(n int) time.Duration {
	return time.Duration(math.Exp(float64(min(n, 10))) * float64(50*time.Millisecond))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// lostError is a call without an answer: it may or may not have been received.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

func (c *Client) send(ctx context.Context, k call) error {
	req, err := c.request(ctx, k)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		err = fmt.Errorf("send request: %w", err)
		if certErr := new(tls.CertificateVerificationError); errors.As(err, &certErr) {
			return err
		}
		return &lostError{err}
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return readError(resp, time.Now())
	}
	if k.out == nil {
		_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody) // so that the connection is used again
		return nil
	}
	return decode(resp.Body, cmp.Or(c.maxBytes, k.most, defaultMaxResponseBytes), k.out)
}

func (c *Client) request(ctx context.Context, k call) (*http.Request, error) {
	if err := checkHeader(k.header); err != nil {
		return nil, err
	}
	var body io.Reader = http.NoBody
	if len(k.body) > 0 {
		body = bytes.NewReader(k.body)
	}
	req, err := http.NewRequestWithContext(ctx, k.method, c.base.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.URL = c.url(k.path, k.query)
	if k.header != nil {
		req.Header = k.header.Clone()
	}
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	req.Header.Set("User-Agent", c.agent)
	return req, nil
}

// url makes the URL whose request line holds path byte for byte, which a
// destination in the path depends on.
func (c *Client) url(path string, query url.Values) *url.URL {
	target := c.prefix + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	u := *c.base
	u.RawPath, u.RawQuery, _ = strings.Cut(target, "?")
	u.Path, _ = url.PathUnescape(u.RawPath)
	if u.RequestURI() != target {
		// Opaque says anything, but a plain-HTTP proxy cannot follow it.
		u = url.URL{Scheme: u.Scheme, Host: u.Host, Opaque: target}
	}
	return &u
}

func decode(body io.Reader, most int64, out any) error {
	b, err := io.ReadAll(io.LimitReader(body, most+1))
	if err != nil {
		return &lostError{fmt.Errorf("read answer: %w", err)}
	}
	if int64(len(b)) > most {
		return fmt.Errorf("read answer: longer than %d bytes", most)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// checkHeader refuses what could not be sent, before it is tried again and
// again.
func checkHeader(h http.Header) error {
	for name, values := range h {
		if name == "" || strings.ContainsFunc(name, notToken) {
			return fmt.Errorf("header name %q is not valid", name)
		}
		for _, v := range values {
			if strings.ContainsFunc(v, isControl) {
				return fmt.Errorf("header %s: value has a control character", name)
			}
		}
	}
	return nil
}

func notToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// list gets one page.
func (c *Client) list(ctx context.Context, path string, q *query, out any) error {
	if q.err != nil {
		return q.err
	}
	return c.do(ctx, call{method: http.MethodGet, path: path, query: q.Values, out: out})
}

var errNoID = errors.New("id is empty")

// itemPath is the path of one thing. An empty id is refused, for the path
// without it means all things; so are those that proxies take out of a path.
func itemPath(prefix, id string) (string, error) {
	switch id {
	case "":
		return "", errNoID
	case ".", "..":
		return "", fmt.Errorf("%q is no id", id)
	}
	return prefix + url.PathEscape(id), nil
}

// namePath is the path of something with a name that users give.
func namePath(prefix, name string) (string, error) {
	return prefix + name, wire.Within("name", wire.CheckName(name))
}

// tell makes a call whose answer says nothing; v is its JSON body, or nil.
func (c *Client) tell(ctx context.Context, method, path string, v any) error {
	k := call{method: method, path: path}
	if v != nil {
		var err error
		if k.body, err = json.Marshal(v); err != nil {
			return err
		}
		k.header = jsonContent()
	}
	return c.do(ctx, k)
}
