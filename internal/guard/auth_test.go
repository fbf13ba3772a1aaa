package guard

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/signposthq/signpost/receiver"
)

// question is what a web server asks the guard about a signed POST of hookBody
// to /hook?a=1 at the public URL.
func (g *guarded) question(t *testing.T, target string, o receiver.SignOptions, header map[string]string, body []byte) *http.Request {
	t.Helper()
	if o.URL == "" {
		o.URL = publicURL + "/hook?a=1"
	}
	o.Body = hookBody
	r := g.request(t, target, o, body)
	r.Method = "GET"
	for name, value := range header {
		r.Header.Set(name, value)
	}
	return r
}

func TestForwardAuth(t *testing.T) {
	nginx := map[string]string{"X-Original-URI": "/hook?a=1", "X-Original-Method": "POST"}
	caddy := map[string]string{"X-Forwarded-Uri": "/hook?a=1", "X-Forwarded-Method": "POST", "X-Forwarded-Host": "app.example.com", "X-Forwarded-Proto": "https"}
	with := func(base map[string]string, more ...string) map[string]string {
		out := map[string]string{}
		for k, v := range base {
			out[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	covered := receiver.SignOptions{Kind: receiver.KindStep, ID: "jwt_1", Header: http.Header{"Upstash-Workflow-Runid": {"wfr_1"}}}
	tests := []struct {
		name   string
		target string
		public string // URL of the guard; "" takes it from the headers
		sign   receiver.SignOptions
		header map[string]string
		body   []byte
		text   string // "" if it may pass
	}{
		{"nginx", "/auth", publicURL, covered, with(nginx, "Upstash-Workflow-RunId", "wfr_1"), nil, ""},
		{"caddy", "/auth", publicURL, covered, with(caddy, "Upstash-Workflow-RunId", "wfr_1"), nil, ""},
		{"caddy, no public URL", "/auth", "", covered, with(caddy, "Upstash-Workflow-RunId", "wfr_1"), nil, ""},
		{"nginx, no public URL", "/auth", "", covered, with(nginx, "Upstash-Workflow-RunId", "wfr_1", "Host", "app.example.com", "X-Forwarded-Proto", "https"), nil, ""},
		{"nginx, no public URL, host from outside", "/auth", "", covered,
			with(nginx, "Upstash-Workflow-RunId", "wfr_1", "Host", "victim.example", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "app.example.com"), nil, "url mismatch"},
		{"query of the server's own", "/auth?a=1", publicURL, receiver.SignOptions{}, nginx, nil, ""},

		{"other path", "/auth", publicURL, receiver.SignOptions{}, with(nginx, "X-Original-URI", "/admin"), nil, "url mismatch"},
		{"other host", "/auth", "", receiver.SignOptions{}, with(caddy, "X-Forwarded-Host", "victim.example"), nil, "url mismatch"},
		{"host with a path", "/auth", "", receiver.SignOptions{}, with(caddy, "X-Forwarded-Host", "app.example.com/hook?a=1#"), nil, "url mismatch"},
		{"scheme with a host", "/auth", "", receiver.SignOptions{}, with(caddy, "X-Forwarded-Proto", "https://app.example.com/hook?a=1#"), nil, "url mismatch"},
		{"absolute URI", "/auth", publicURL, receiver.SignOptions{}, with(nginx, "X-Original-URI", publicURL+"/hook?a=1"), nil, "url mismatch"},
		{"URI with a fragment", "/auth", publicURL, receiver.SignOptions{}, with(nginx, "X-Original-URI", "/hook?a=1#/admin"), nil, "url mismatch"},
		{"no URI", "/auth", publicURL, receiver.SignOptions{URL: publicURL + "/auth"}, nil, nil, "url mismatch"},
		{"both families", "/auth", publicURL, receiver.SignOptions{}, with(nginx, "X-Forwarded-Uri", "/hook?a=1"), nil, "url mismatch"},
		{"unsigned", "/auth", publicURL, receiver.SignOptions{}, with(nginx, receiver.Header, ""), nil, "no signature"},
		{"other control header", "/auth", publicURL, covered, with(nginx, "Upstash-Workflow-RunId", "wfr_2"), nil, "header mismatch"},
		{"other key", "/auth", publicURL, receiver.SignOptions{}, with(nginx, receiver.Header,
			sign(t, otherKey, receiver.SignOptions{URL: publicURL + "/hook?a=1", Body: hookBody})), nil, "bad signature"},

		{"body", "/auth?body=1", publicURL, receiver.SignOptions{}, caddy, hookBody, ""},
		{"other body", "/auth?body=1", publicURL, receiver.SignOptions{}, caddy, []byte("other"), "body mismatch"},
		{"no body", "/auth?body=1", publicURL, receiver.SignOptions{}, caddy, nil, "body mismatch"},
		{"body, other path", "/auth?body=1", publicURL, receiver.SignOptions{}, with(caddy, "X-Forwarded-Uri", "/admin"), hookBody, "url mismatch"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, func(o *Options) { o.Auth, o.Upstream, o.Receiver.BaseURL = true, nil, tt.public })
			r := g.question(t, tt.target, tt.sign, tt.header, tt.body)
			r.Host = tt.header["Host"]
			resp, body := do(t, r)
			if tt.text != "" {
				if resp.StatusCode != 401 || body != errorText(tt.text) || resp.Header.Get(VerifiedHeader) != "" {
					t.Errorf("status %d: %s, want 401: %s; log:\n%s", resp.StatusCode, body, tt.text, g.log)
				}
				return
			}
			sum := sha256.Sum256(hookBody)
			kind, h := "unknown", resp.Header
			if tt.sign.Kind != "" {
				kind = string(tt.sign.Kind)
			}
			if resp.StatusCode != 200 || h.Get(VerifiedHeader) != kind || h.Get(BodyHashHeader) != hex.EncodeToString(sum[:]) || h.Get(TokenIDHeader) == "" ||
				strings.HasPrefix(h.Get(receiver.KeysHeader), "verified="+receiver.KeyID(currentKey)) != (tt.sign.Kind != "") {
				t.Errorf("status %d: %s, header %v; log:\n%s", resp.StatusCode, body, h, g.log)
			}
		})
	}
}

// Who is no proxy of ours is not believed, whatever he signs.
func TestT07ForwardAuthTrustsItsProxiesOnly(t *testing.T) {
	g := start(t, func(o *Options) { o.Auth, o.Receiver.TrustedProxies = true, prefixes("10.0.0.0/8") })
	r := g.question(t, "/auth", receiver.SignOptions{}, map[string]string{"X-Original-URI": "/hook?a=1"}, nil)
	if resp, body := do(t, r); resp.StatusCode != 401 || body != errorText("url mismatch") {
		t.Errorf("status %d: %s", resp.StatusCode, body)
	}
	if calls := g.take(); len(calls) != 0 {
		t.Errorf("the upstream was called: %+v", calls)
	}
}

func TestForwardAuthOfUnsignedPaths(t *testing.T) {
	g := start(t, func(o *Options) { o.Auth, o.Upstream, o.AllowUnsigned = true, nil, []string{"/healthz"} })
	for header, status := range map[[2]string]int{
		{"/healthz", "GET"}: 200, {"/healthz?a", "HEAD"}: 200, {"/healthz", "POST"}: 401, {"/healthz", ""}: 401, {"/hook", "GET"}: 401,
	} {
		r := g.question(t, "/auth", receiver.SignOptions{}, map[string]string{"X-Original-URI": header[0], "X-Original-Method": header[1]}, nil)
		r.Header.Del(receiver.Header)
		resp, _ := do(t, r)
		if resp.StatusCode != status {
			t.Errorf("%v: status %d, want %d", header, resp.StatusCode, status)
		}
		if values := resp.Header.Values(VerifiedHeader); status == 200 && (len(values) != 1 || values[0] != "") {
			t.Errorf("%v: %s is %q, want one empty value", header, VerifiedHeader, values)
		}
	}
	r := g.request(t, "/hook", receiver.SignOptions{}, hookBody)
	if resp, _ := do(t, r); resp.StatusCode != 404 {
		t.Errorf("without an upstream: status %d", resp.StatusCode)
	}
}

// A captured request can't be used again, whichever way it comes.
func TestT02ReplayGuard(t *testing.T) {
	g := start(t, func(o *Options) { o.Auth, o.Receiver.Replay = true, receiver.NewMemoryReplayCache(0) })
	r := g.request(t, "/hook", receiver.SignOptions{}, hookBody)
	r.Header.Set("X-Original-URI", "/hook")
	ask := func(target string) int {
		r.URL.Path, r.Body = target, http.NoBody
		if target != "/auth" {
			r.Body, _ = r.GetBody()
		}
		resp, _ := do(t, r)
		return resp.StatusCode
	}
	for i, step := range []struct {
		target string
		status int
	}{{"/hook", 200}, {"/hook", 401}, {"/auth", 401}} {
		if status := ask(step.target); status != step.status {
			t.Errorf("%d: %s: status %d, want %d", i, step.target, status, step.status)
		}
	}
	r.Header.Set(receiver.Header, sign(t, currentKey, receiver.SignOptions{URL: publicURL + "/hook", Body: hookBody}))
	for i, status := range []int{200, 401} {
		if got := ask("/auth"); got != status {
			t.Errorf("asked %d times: status %d, want %d", i+1, got, status)
		}
	}
	if calls := g.take(); len(calls) != 1 {
		t.Errorf("the upstream was called %d times", len(calls))
	}
}
