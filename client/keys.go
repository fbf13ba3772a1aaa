package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// SigningKeys is the rolling pair that signs deliveries: the server signs with
// Current, and a receiver accepts both.
type SigningKeys struct {
	Current string `json:"current"`
	Next    string `json:"next"`
}

// EndpointState is what is to be expected of an endpoint after a rotation.
type EndpointState string

// What is to be expected of an endpoint after a rotation.
const (
	EndpointReady      EndpointState = "ready"      // it accepts the next key
	EndpointLagging    EndpointState = "lagging"    // it would refuse the next key
	EndpointUnknown    EndpointState = "unknown"    // it never told which keys it holds
	EndpointUnverified EndpointState = "unverified" // a probe found that it verifies no signature
)

// EndpointKeys is what the server knows of the signing keys that the receiver
// at a URL holds: from the header Upstash-Signature-Keys of its answers, which
// receivers of this project set, or from a probe. Keys are named by ids.
type EndpointKeys struct {
	URL             string        `json:"url"` // without its query
	State           EndpointState `json:"state"`
	Holds           []string      `json:"holds,omitempty"`           // ids of the keys it accepts
	LastVerifiedKey string        `json:"lastVerifiedKey,omitempty"` // id of the key it last verified a request with
	LastVerifiedAt  int64         `json:"lastVerifiedAt,omitempty"`  // Unix milliseconds
	LastSeenAt      int64         `json:"lastSeenAt,omitempty"`      // when it last answered, Unix milliseconds
}

// KeyStatus names the signing keys by ids, which tell nothing of the keys, and
// lists the endpoints that were delivered to lately, those that need care first.
type KeyStatus struct {
	Current       string         `json:"current"`
	Next          string         `json:"next"`
	CurrentPublic string         `json:"currentPublic,omitempty"` // kid of the Ed25519 key, as in /.well-known/jwks.json
	NextPublic    string         `json:"nextPublic,omitempty"`
	RotatedAt     int64          `json:"rotatedAt,omitempty"` // Unix milliseconds; 0: never
	Endpoints     []EndpointKeys `json:"endpoints"`
}

// MarshalJSON writes an empty list of endpoints as such.
func (s KeyStatus) MarshalJSON() ([]byte, error) {
	type plain KeyStatus
	if s.Endpoints == nil {
		s.Endpoints = []EndpointKeys{}
	}
	return json.Marshal(plain(s))
}

// ProbeRequest asks which keys an endpoint accepts. Only URL is required.
type ProbeRequest struct {
	URL    string `json:"url"`
	Method string `json:"method,omitempty"` // default: POST
	Body   string `json:"body,omitempty"`   // default: none
}

// ProbeAnswer is what an endpoint said to one request of a probe.
type ProbeAnswer struct {
	Status int    `json:"status"`          // 0: there was no answer
	Error  string `json:"error,omitempty"` // why there was none
}

// KeyProbe is what a probe has found. An answer is nil where the question did
// not arise any more.
type KeyProbe struct {
	EndpointKeys
	// Forged answers a request that was signed with a key of nobody. A 2xx
	// means that the endpoint takes whatever anybody sends: EndpointUnverified.
	Forged  *ProbeAnswer `json:"forged,omitempty"`
	Current *ProbeAnswer `json:"currentKey,omitempty"` // answers one signed with the current key
	Next    *ProbeAnswer `json:"nextKey,omitempty"`    // answers one signed with the next key
}

// Keys returns the signing keys (GET /v2/keys).
func (c *Client) Keys(ctx context.Context) (SigningKeys, error) {
	var out SigningKeys
	if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/keys", out: &out}); err != nil {
		return SigningKeys{}, fmt.Errorf("get signing keys: %w", err)
	}
	return out, nil
}

// RotateKeys makes Next the current key and a new one the next, and returns
// both (POST /v2/keys/rotate). Receivers need the new pair before the next
// rotation: while the server knows of some that would refuse what is signed
// after it, the answer is an [ErrConflict] whose [Error.Endpoints] lists them.
//
// A lost answer is not retried, whatever [Options.NetworkRetries] says, for a
// second rotation could leave receivers without a valid key: look with
// [Client.Keys] whether the first one happened.
func (c *Client) RotateKeys(ctx context.Context) (SigningKeys, error) { return c.rotateKeys(ctx, nil) }

// ForceRotateKeys is [Client.RotateKeys] for when a key has leaked: it rotates
// whatever endpoints would break.
func (c *Client) ForceRotateKeys(ctx context.Context) (SigningKeys, error) {
	return c.rotateKeys(ctx, url.Values{"force": {"true"}})
}

func (c *Client) rotateKeys(ctx context.Context, query url.Values) (SigningKeys, error) {
	var out SigningKeys
	if err := c.do(ctx, call{method: http.MethodPost, path: "/v2/keys/rotate", query: query, out: &out, once: true}); err != nil {
		return SigningKeys{}, fmt.Errorf("rotate signing keys: %w", err)
	}
	return out, nil
}

// KeyStatus says which endpoints hold which keys (GET /v2/keys/status).
func (c *Client) KeyStatus(ctx context.Context) (KeyStatus, error) {
	var out KeyStatus
	if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/keys/status", out: &out}); err != nil {
		return KeyStatus{}, fmt.Errorf("get key status: %w", err)
	}
	return out, nil
}

// ProbeKeys has the server ask an endpoint which keys it accepts (POST
// /v2/keys/probe): it sends up to three requests, one signed with a key of
// nobody, one with the current and one with the next key. Receivers of this
// project answer without running anything. Others run their handler, on the
// body given.
func (c *Client) ProbeKeys(ctx context.Context, r ProbeRequest) (KeyProbe, error) {
	var out KeyProbe
	body, err := json.Marshal(r)
	if err == nil {
		err = c.do(ctx, call{
			method: http.MethodPost, path: "/v2/keys/probe", header: jsonContent(), body: body, out: &out, once: true,
		})
	}
	if err != nil {
		return KeyProbe{}, fmt.Errorf("probe keys: %w", err)
	}
	return out, nil
}

func jsonContent() http.Header { return http.Header{"Content-Type": {"application/json"}} }
