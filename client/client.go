package client

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/secret"
)

const (
	defaultURL              = "https://qstash.upstash.io"
	defaultUserAgent        = "signpost-go"
	defaultTimeout          = time.Minute
	defaultNetworkRetries   = 5
	defaultMaxResponseBytes = 64 << 20
	defaultMaxLogBytes      = 1 << 30

	// idleConns is how many connections wait for the next call; all go to one host.
	// An endpoint has calls of its own for each delivery, of which a server makes
	// about as many at once.
	idleConns = 1000
)

// Options configure a [Client]. The zero value reads the environment.
type Options struct {
	// URL is the server's base, such as http://127.0.0.1:8080; a "/v2" or
	// "/v2/publish" at its end is not part of it. Default: the environment
	// variable QSTASH_URL, or else https://qstash.upstash.io, as of the official
	// SDKs; the command signpost, which needs no account, takes
	// http://127.0.0.1:8080.
	URL string
	// Token authenticates every call. Default: the environment variable
	// QSTASH_TOKEN.
	Token string
	// HTTPClient sends the calls; its CheckRedirect is not used, for no
	// redirect is followed. Default: a client with connections of its own,
	// the proxy of the environment, and a timeout of one minute for each try.
	HTTPClient *http.Client
	// UserAgent is sent with every call. Default: signpost-go.
	UserAgent string
	// NetworkRetries is how often a call is sent again when no answer came,
	// 50 ms × e^n apart, n counting from 0. A lost answer does not mean a lost
	// call: what was retried may have happened twice. Default: 5, as in the
	// official clients. Negative: never.
	NetworkRetries int
	// MaxResponseBytes bounds the body of an answer; a longer one is an error.
	// Default: 64 MiB, and 1 GiB for [Client.RunLog], which has every payload
	// of a run.
	MaxResponseBytes int64
}

// Format keeps the token out of what prints options.
func (o Options) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "{URL:%s Token:%s UserAgent:%s}", o.URL, secret.Hidden, o.UserAgent)
}

// LogValue keeps the token out of logs.
func (o Options) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(o)) }

// Client calls the API of one server with one token. Use [New] to make one; it
// is safe for concurrent use.
type Client struct {
	base     *url.URL // scheme and host
	prefix   string   // escaped path of the base, without a trailing slash
	token    secret.Text
	agent    string
	retries  int
	maxBytes int64 // 0: what is usual for the call
	http     *http.Client
	err      error
}

// New makes a client. It never fails: an unusable configuration, such as a
// missing token, is what [Client.Err] and then every call report.
func New(o Options) *Client {
	c := &Client{
		token:    secret.New(cmp.Or(o.Token, os.Getenv("QSTASH_TOKEN"))),
		agent:    cmp.Or(o.UserAgent, defaultUserAgent),
		retries:  max(0, cmp.Or(o.NetworkRetries, defaultNetworkRetries)),
		maxBytes: max(0, o.MaxResponseBytes),
		http:     httpClient(o.HTTPClient),
	}
	if c.token.IsEmpty() {
		c.err = errors.New("client has no token: set QSTASH_TOKEN or Options.Token")
		return c
	}
	c.base, c.prefix, c.err = parseBase(cmp.Or(o.URL, os.Getenv("QSTASH_URL"), defaultURL))
	return c
}

// Err says why no call of the client can succeed: it has no token, or its URL
// is not one. It is nil for a client that can be used.
func (c *Client) Err() error { return c.err }

// CloseIdleConnections closes the connections that no call is using.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

func parseBase(raw string) (base *url.URL, prefix string, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, "", fmt.Errorf("parse server url: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, "", fmt.Errorf("server url %q: want http://host or https://host", raw)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, "", errors.New("server url: want no user, query or fragment in it")
	}
	prefix = strings.TrimRight(u.EscapedPath(), "/")
	// Paths of calls begin with the version, but URLs are about that end with it, or
	// with all of the path to publish.
	for _, end := range []string{"/v2", "/v2/publish"} {
		if before, ok := strings.CutSuffix(prefix, end); ok {
			prefix = strings.TrimRight(before, "/")
			break
		}
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, prefix, nil
}

// httpClient is given, or a new client, made to hand redirects back.
func httpClient(given *http.Client) *http.Client {
	c := http.Client{Timeout: defaultTimeout}
	if given != nil {
		c = *given
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok {
		t = t.Clone()
		t.MaxIdleConns, t.MaxIdleConnsPerHost = idleConns, idleConns
		c.Transport = t
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}
