package receiver

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	defaultKeyAge = 10 * time.Minute
	minKeyAge     = 30 * time.Second
	maxKeyAge     = 24 * time.Hour
	fetchPause    = 10 * time.Second // between fetches that unknown ids bring about
	fetchTime     = 5 * time.Second
	maxSetBytes   = 64 << 10
)

// A KeySet is the public keys of a sender, as it publishes them (see [JWKS]),
// fetched when they are needed. It is safe for concurrent use, and may be shared
// by receivers.
//
// The keys are kept as long as the answer's Cache-Control allows with max-age:
// 10 minutes if it says nothing, and never less than 30 seconds or more than a
// day. They are fetched again before that when a token names a key that is not
// known, but at most once in 10 seconds, whatever strangers send. One fetch
// serves all who wait for it; it takes at most 5 seconds. When it fails the old
// keys stay for 30 seconds more, and so on; without any keys, and for a token
// whose key is not among the old ones, the answer is [ErrUnavailable].
//
// Nothing in a token says where keys are fetched.
type KeySet struct {
	url    string
	client *http.Client

	mu      sync.Mutex
	keys    staticKeys    // nil before the first fetch that succeeds
	stale   time.Time     // when the keys are to be fetched again
	tried   time.Time     // when the last fetch ended
	err     error         // of the last fetch
	running chan struct{} // closed when the fetch that is running ends; nil if none is
}

// NewKeySet returns the set that is published at url, for instance
// "https://signpost.example.com/.well-known/jwks.json". It must be https, or lead
// to a loopback address. client makes the requests; nil is for one with sensible
// limits. Redirects are not followed in any case. Nothing is fetched yet.
func NewKeySet(url string, client *http.Client) (*KeySet, error) {
	if err := checkSetURL(url); err != nil {
		return nil, fmt.Errorf("read key set's URL: %w", err)
	}
	own := http.Client{Transport: setTransport()}
	if client != nil {
		own = *client
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &KeySet{url: url, client: &own}, nil
}

// setTransport is the default one with a limit on headers.
func setTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport // somebody has replaced it, and knows why
	}
	t = t.Clone()
	t.MaxResponseHeaderBytes = maxSetBytes
	return t
}

func checkSetURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("it is none") // the parser's error would repeat it, with a password perhaps
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return errors.New("it is not of the form https://host/path")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("it is not https: whoever is on the way could put in keys of his own")
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

func (s *KeySet) key(ctx context.Context, kid string) (ed25519.PublicKey, error) {
	s.mu.Lock()
	k, known := s.keys[kid]
	if known && time.Now().Before(s.stale) {
		s.mu.Unlock()
		return k, nil
	}
	running := s.fetch()
	s.mu.Unlock()
	if running != nil {
		select {
		case <-running:
		case <-ctx.Done():
			return nil, unavailable("key set: " + context.Cause(ctx).Error())
		}
	}
	return s.settled(kid)
}

// fetch starts a fetch unless one is running already, and returns what is closed
// at its end; nil if it is too early for one. s.mu is held.
func (s *KeySet) fetch() <-chan struct{} {
	if s.running != nil {
		return s.running
	}
	if time.Since(s.tried) < fetchPause {
		return nil
	}
	s.running = make(chan struct{})
	go s.refresh()
	return s.running
}

// refresh is not bound to the request that has caused it: others wait, too.
func (s *KeySet) refresh() {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	keys, age, err := s.load(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.keys = keys
	}
	s.tried, s.err = time.Now(), err
	s.stale = s.tried.Add(age)
	close(s.running)
	s.running = nil
}

// settled is the key as of the last fetch.
func (s *KeySet) settled(kid string) (ed25519.PublicKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, known := s.keys[kid]; known {
		return k, nil
	}
	if s.err != nil {
		return nil, unavailable("key set: " + s.err.Error())
	}
	return nil, nil
}

func (s *KeySet) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys.ids()
}

// load fetches the set, and how long it may be kept.
func (s *KeySet) load(ctx context.Context) (staticKeys, time.Duration, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, minKeyAge, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, minKeyAge, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, minKeyAge, fmt.Errorf("GET %s: status %d", s.url, resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxSetBytes+1))
	switch {
	case err != nil:
		return nil, minKeyAge, fmt.Errorf("GET %s: %w", s.url, err)
	case len(data) > maxSetBytes:
		return nil, minKeyAge, fmt.Errorf("GET %s: more than %d bytes", s.url, maxSetBytes)
	}
	keys, err := parseJWKS(data)
	if err != nil {
		return nil, minKeyAge, fmt.Errorf("GET %s: %w", s.url, err)
	}
	return keys, keyAge(resp.Header), nil
}

// keyAge is how long an answer may be kept.
func keyAge(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch lowerASCII(name) {
		case "no-store", "no-cache":
			return minKeyAge
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return minKeyAge
			}
			return min(max(time.Duration(seconds)*time.Second, minKeyAge), maxKeyAge)
		}
	}
	return defaultKeyAge
}
