package workflow_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

// A token that the server made for another receiver, over a body that suits
// this one.
func TestT22SignedForAnotherURL(t *testing.T) {
	for _, kind := range kinds {
		for _, other := range []string{"https://attacker.example/sink", "https://attacker.example/onboard", "https://app.example/other",
			"http://app.example/onboard", "https://app.example/onboard?x=1", "https://app.example:444/onboard"} {
			t.Run(string(kind)+" "+other, func(t *testing.T) {
				g := newGuarded(t, allow, nil)
				r := calling[kind]()
				body, token := readBody(t, r), receiver.SignOptions{URL: other}
				token.Body = []byte(body)
				r = signedFor(calling[kind](), testKey, token)
				r.Host = "attacker.example" // whatever it claims
				r.Header.Set("X-Forwarded-Host", "attacker.example")
				g.wantRefused(t, g.do(r), "url mismatch")
			})
		}
	}
}

// Headers that call a signed body something it is not: a failure of a run of
// the attacker's choice.
func TestT22FailureByHeaders(t *testing.T) {
	const notAReport = "the body is not the report of this run's failure"
	step := readBody(t, calling[workflow.KindStep]())
	callback := readBody(t, calling[workflow.KindCallback]())
	tests := []struct {
		name string
		r    *http.Request
		want string
	}{
		{"signed for another URL", signedFor(unsigned("/onboard", failureReport("wfr_1"), failureHeaders("wfr_1")), testKey,
			receiver.SignOptions{URL: "https://attacker.example/sink", Body: []byte(failureReport("wfr_1"))}), "url mismatch"},
		{"body of a step", signed("/onboard", step, failureHeaders("wfr_1")), notAReport},
		{"body of a callback", signed("/onboard", callback, failureHeaders("wfr_1")), notAReport},
		{"body of a plain request", signed("/onboard", `{"email":"ada@example.com"}`, failureHeaders("wfr_1")), notAReport},
		{"empty body", signed("/onboard", "", failureHeaders("wfr_1")), notAReport},
		{"report of another run", signed("/onboard", failureReport("wfr_2"), failureHeaders("wfr_1")), notAReport},
		{"one of the headers only", signed("/onboard", step, map[string]string{
			wire.HeaderWorkflowIsFailure: "true", wire.HeaderWorkflowRunID: "wfr_1", wire.HeaderWorkflowSDKVersion: "1"}), notAReport},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuarded(t, allow, nil)
			g.wantRefused(t, g.do(tt.r), tt.want)
		})
	}
}

// refusing are the ways to say no, with the answer to each. Whether it is
// final or may pass, nothing is executed.
var refusing = []struct {
	name   string
	refuse func() error
	status int
	want   string // message; "" for one that depends on who refuses
}{
	{"error", func() error { return errors.New("denied") }, 401, "denied"},
	{"non-retryable error", func() error { return workflow.NonRetryable(errors.New("denied")) }, 401, "denied"},
	{"wrapped non-retryable error", func() error {
		return fmt.Errorf("no entry: %w", workflow.NonRetryable(errors.New("denied")))
	}, 401, "no entry: denied"},
	{"errors joined", func() error { return errors.Join(errors.New("denied"), workflow.NonRetryable(nil)) }, 401, "denied\nworkflow failed"},
	{"error of the context", func() error { return context.Canceled }, 401, "context canceled"},
	{"postponement", func() error { return workflow.RetryAfter(errors.New("not now"), time.Second) }, 429, "not now"},
	{"panic", func() error { panic("oops") }, 500, "panic: oops"},
	{"panic with an error", func() error { panic(workflow.NonRetryable(errors.New("denied"))) }, 500, "panic: denied"},
	{"end of its goroutine", func() error { runtime.Goexit(); return nil }, 500, "the function ended its goroutine"},
}

// A refusal, in whatever style, is heard on every call, by the function as by
// Authorize; none of them lets the failure function run.
func TestT22RefusalsOfEveryStyle(t *testing.T) {
	const user = "Bearer user"
	for _, kind := range kinds {
		for _, tt := range refusing {
			check := func(h http.Header) error {
				if h.Get("Authorization") == user {
					return nil
				}
				return tt.refuse()
			}
			endpoints := map[string]*guarded{
				"function": newGuarded(t, func(ctx *workflow.Context) (bool, error) { return false, check(ctx.Header) }, nil),
				"Authorize": newGuarded(t, allow, func(o *workflow.Options) {
					o.Authorize = func(_ context.Context, r *workflow.AuthRequest) error { return check(r.Header) }
				}),
			}
			for by, g := range endpoints {
				t.Run(fmt.Sprintf("%s by %s of %s", kind, tt.name, by), func(t *testing.T) {
					w := g.do(calling[kind]())
					if w.Code != tt.status || said(t, w) != tt.want {
						t.Errorf("answer %d %s, want %d %q", w.Code, w.Body, tt.status, tt.want)
					}
					if strings.Contains(w.Body.String(), ".go:") {
						t.Errorf("answer tells the stack: %s", w.Body)
					}
					if final := w.Header().Get(wire.HeaderNonRetryable) == "true"; final != (tt.status == 401) {
						t.Errorf("answer %d is final: %v", w.Code, final)
					}
					g.wantIdle(t)

					r := calling[kind]()
					r.Header.Set("Authorization", user)
					if w := g.do(r); w.Code != 200 {
						t.Errorf("authorized call answered %d %s", w.Code, w.Body)
					}
				})
			}
		}
	}
}

// A function that returns before its first step has refused, even without an error.
func TestT22EarlyReturn(t *testing.T) {
	for _, kind := range kinds {
		g := newGuarded(t, func(*workflow.Context) (bool, error) { return true, nil }, nil)
		g.wantRefused(t, g.do(calling[kind]()), "the function returned before its first step")
	}
}

// Requests nobody has signed, with keys and without.
func TestT01Unsigned(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind)+" with keys", func(t *testing.T) {
			g := newGuarded(t, allow, nil)
			r := calling[kind]()
			r.Header.Del(receiver.Header)
			g.wantRefused(t, g.do(r), "no signature")
		})
		t.Run(string(kind)+" without keys", func(t *testing.T) {
			t.Setenv("QSTASH_CURRENT_SIGNING_KEY", "")
			t.Setenv("QSTASH_NEXT_SIGNING_KEY", "")
			g := newGuarded(t, allow, func(o *workflow.Options) { o.Receiver, o.AllowUnsigned = nil, true })
			for _, peer := range []string{"192.0.2.1:1234", "10.0.0.7:1", "[2001:db8::1]:1234", "[::ffff:192.0.2.1]:1", "nonsense", ""} {
				r := calling[kind]()
				r.RemoteAddr, r.Host = peer, "localhost"
				g.wantRefused(t, g.do(r), "without signing keys of its own the endpoint serves this machine only")
			}
			for _, proxied := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via"} {
				r := calling[kind]()
				r.RemoteAddr, r.Host = "127.0.0.1:1234", "localhost"
				r.Header.Set(proxied, "192.0.2.1")
				g.wantRefused(t, g.do(r), "without signing keys of its own the endpoint serves this machine only")
			}
			r := calling[kind]()
			r.RemoteAddr, r.Host = "127.0.0.1:1234", "rebound.example"
			g.wantRefused(t, g.do(r), "without signing keys of its own the endpoint serves this machine only")
			for _, peer := range []string{"127.0.0.1:1234", "[::1]:1234", "[::ffff:127.0.0.1]:1234"} {
				r := calling[kind]()
				r.RemoteAddr, r.Host = peer, "localhost:3000"
				if w := g.do(r); w.Code != 200 {
					t.Errorf("peer %s answered %d %s", peer, w.Code, w.Body)
				}
			}
		})
	}
}

func TestT01SignatureRefused(t *testing.T) {
	const body = `{"email":"ada@example.com"}`
	good := receiver.SignOptions{URL: appURL, Body: []byte(body)}
	at := func(d time.Duration) receiver.SignOptions {
		o := good
		o.Time = time.Now().Add(d)
		return o
	}
	twice := signed("/onboard", body, nil)
	twice.Header.Add(receiver.Header, twice.Header.Get(receiver.Header))
	joined := signed("/onboard", body, nil)
	joined.Header.Set(receiver.Header, joined.Header.Get(receiver.Header)+","+joined.Header.Get(receiver.Header))
	plain := func() *http.Request { return unsigned("/onboard", body, nil) }
	tests := []struct {
		name string
		r    *http.Request
		want string
	}{
		{"tampered body", signedFor(plain(), testKey, receiver.SignOptions{URL: appURL, Body: []byte(body + " ")}), "body mismatch"},
		{"from the future", signedFor(plain(), testKey, at(time.Hour)), "signature not yet valid"},
		{"other key", signedFor(plain(), "sig_another-key-of-enough-bytes", good), "bad signature"},
		{"development key", signedFor(plain(), "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r", good), "bad signature"},
		{"two headers", twice, "malformed signature"},
		{"two tokens", joined, "malformed signature"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuarded(t, allow, nil)
			g.wantRefused(t, g.do(tt.r), tt.want)
		})
	}
}

// A call that waited too long, for a process that was asleep, is refused; the
// answer does not forbid the retry, which is signed anew.
func TestT02ExpiredCalls(t *testing.T) {
	for _, kind := range kinds {
		g := newGuarded(t, allow, nil)
		body := readBody(t, calling[kind]())
		w := g.do(signedFor(calling[kind](), testKey, receiver.SignOptions{URL: appURL, Body: []byte(body), Time: time.Now().Add(-time.Hour)}))
		if w.Code != http.StatusUnauthorized || said(t, w) != "signature expired" || w.Header().Get(wire.HeaderNonRetryable) != "" {
			t.Errorf("%s: answer %d %v %s", kind, w.Code, w.Header(), w.Body)
		}
		g.wantIdle(t)
		if w := g.do(calling[kind]()); w.Code == http.StatusUnauthorized {
			t.Errorf("%s: answer %d %s to a retry", kind, w.Code, w.Body)
		}
	}
}

// What is told about the signature is for the log, not for who sent it.
func TestRefusalDoesNotTellWhatIsRight(t *testing.T) {
	g := newGuarded(t, allow, nil)
	w := g.do(signedFor(unsigned("/onboard", "{}", nil), testKey, receiver.SignOptions{URL: "https://attacker.example/", Body: []byte("{}")}))
	for _, secret := range []string{"app.example", "attacker.example", "sig_"} {
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("answer %s holds %q", w.Body, secret)
		}
	}
}

// Without keys there is no endpoint that verifies nothing by accident, whatever
// else the environment says.
func TestT01NoKeys(t *testing.T) {
	for _, env := range []map[string]string{{}, {"NODE_ENV": "production"}, {"QSTASH_DEV": "true"}, {"SIGNPOST_DEV": "1"}} {
		setEnv(t, map[string]string{"QSTASH_TOKEN": "TOKEN"})
		for name, value := range env {
			t.Setenv(name, value)
		}
		if e, err := workflow.Serve(echo[any], nil); e != nil || !errors.Is(err, receiver.ErrNoKey) {
			t.Errorf("with %v: endpoint %v, error %v", env, e, err)
		}
		if e, err := workflow.Serve(echo[any], &workflow.Options{AllowUnsigned: true, RequireBinding: true}); e != nil || !errors.Is(err, receiver.ErrNoKey) {
			t.Errorf("with %v and RequireBinding: endpoint %v, error %v", env, e, err)
		}
	}
}

// A variable that switches official SDKs to keys everybody knows has no effect
// on an endpoint that has keys of its own.
func TestT01DevelopmentSwitch(t *testing.T) {
	for _, name := range []string{"QSTASH_DEV", "SIGNPOST_DEV"} {
		setEnv(t, map[string]string{"QSTASH_TOKEN": "TOKEN", "QSTASH_CURRENT_SIGNING_KEY": testKey})
		t.Setenv(name, "true")
		for _, kind := range kinds {
			g := newGuarded(t, allow, func(o *workflow.Options) { o.Receiver, o.Development = nil, true })
			body := readBody(t, calling[kind]())
			r := signedFor(calling[kind](), devKey, receiver.SignOptions{URL: appURL, Body: []byte(body)})
			r.RemoteAddr = "127.0.0.1:1"
			g.wantRefused(t, g.do(r), "bad signature")
			if w := g.do(calling[kind]()); w.Code != 200 {
				t.Errorf("%s: genuine %s call answered %d %s", name, kind, w.Code, w.Body)
			}
		}
	}
}

// Anybody can sign with the keys of development servers: they are an error
// unless development is asked for, and then serve this machine only.
func TestT01DevelopmentKeys(t *testing.T) {
	env := map[string]string{"QSTASH_TOKEN": "TOKEN", "QSTASH_CURRENT_SIGNING_KEY": devKey}
	setEnv(t, env)
	if _, err := workflow.Serve(echo[any], nil); !errors.Is(err, receiver.ErrDevelopmentKey) || !strings.Contains(err.Error(), "SIGNPOST_DEV=1") {
		t.Errorf("development key in the environment: %v", err)
	}
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: testKey, NextSigningKey: devKey, Development: true})
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]func(*testing.T, *workflow.Options){
		"option":       func(_ *testing.T, o *workflow.Options) { o.Receiver, o.Development = nil, true },
		"SIGNPOST_DEV": func(t *testing.T, o *workflow.Options) { o.Receiver = nil; t.Setenv("SIGNPOST_DEV", "1") },
		"QSTASH_DEV":   func(t *testing.T, o *workflow.Options) { o.Receiver = nil; t.Setenv("QSTASH_DEV", "true") },
		"receiver":     func(_ *testing.T, o *workflow.Options) { o.Receiver = rc },
	}
	for name, ask := range asked {
		t.Run(name, func(t *testing.T) {
			setEnv(t, env)
			g := newGuarded(t, allow, func(o *workflow.Options) { o.BaseURL = ""; ask(t, o) })
			call := func(peer, host, header string) *http.Request {
				r := signedFor(unsigned("/onboard", "{}", nil), devKey, receiver.SignOptions{URL: "http://" + host + "/onboard", Body: []byte("{}")})
				r.RemoteAddr, r.Host = peer, host
				if header != "" {
					r.Header.Set(header, "192.0.2.1")
				}
				return r
			}
			const elsewhere = "without signing keys of its own the endpoint serves this machine only"
			for _, peer := range []string{"192.0.2.1:1", "10.0.0.7:1", "[2001:db8::1]:1", "@", ""} {
				g.wantRefused(t, g.do(call(peer, "localhost:3000", "")), elsewhere)
			}
			for _, header := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via"} {
				g.wantRefused(t, g.do(call("127.0.0.1:1", "localhost:3000", header)), elsewhere)
			}
			for _, peer := range []string{"127.0.0.1:1", "[::1]:1"} {
				if w := g.do(call(peer, "localhost:3000", "")); w.Code != 200 {
					t.Errorf("peer %s answered %d %s", peer, w.Code, w.Body)
				}
			}
		})
	}
}

// seal makes a token by hand, as no signer of ours would.
func seal(algorithm func() hash.Hash, key, header string, claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	signed := enc([]byte(header)) + "." + enc(payload)
	mac := hmac.New(algorithm, []byte(key))
	mac.Write([]byte(signed))
	return signed + "." + enc(mac.Sum(nil))
}

// Tokens that other receivers of the protocol take, on calls of every kind.
func TestT04TokensThatOthersTake(t *testing.T) {
	const header, malformed = `{"alg":"HS256","typ":"JWT"}`, "malformed signature"
	tests := []struct {
		name      string
		algorithm func() hash.Hash
		key       string
		header    string
		change    map[string]any // nil removes a claim
		want      string
	}{
		{"empty key", sha256.New, "", header, nil, "bad signature"},
		{"HS512", sha512.New, testKey, `{"alg":"HS512","typ":"JWT"}`, nil, malformed},
		{"no algorithm", sha256.New, testKey, `{"alg":"none"}`, nil, malformed},
		{"no end", sha256.New, testKey, header, map[string]any{"exp": nil}, malformed},
		{"an end in ten years", sha256.New, testKey, header, map[string]any{"exp": time.Now().AddDate(10, 0, 0).Unix()}, malformed},
		{"no beginning", sha256.New, testKey, header, map[string]any{"nbf": nil}, malformed},
		{"no URL", sha256.New, testKey, header, map[string]any{"sub": nil}, malformed},
		{"no body", sha256.New, testKey, header, map[string]any{"body": nil}, malformed},
		{"another issuer", sha256.New, testKey, header, map[string]any{"iss": "somebody"}, malformed},
	}
	for _, kind := range kinds {
		for _, tt := range tests {
			t.Run(string(kind)+" with "+tt.name, func(t *testing.T) {
				r := calling[kind]()
				sum, now := sha256.Sum256([]byte(readBody(t, calling[kind]()))), time.Now().Unix()
				claims := map[string]any{"iss": "Upstash", "sub": appURL, "iat": now, "nbf": now, "exp": now + 300,
					"body": base64.RawURLEncoding.EncodeToString(sum[:])}
				maps.Copy(claims, tt.change)
				maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
				r.Header.Set(receiver.Header, seal(tt.algorithm, tt.key, tt.header, claims))
				g := newGuarded(t, allow, nil)
				g.wantRefused(t, g.do(r), tt.want)
			})
		}
	}
}

// A body is bytes, whatever they are: one that is no text verifies, and with one
// byte less it does not.
func TestT06BodiesAreBytes(t *testing.T) {
	for _, body := range []string{"\xff\x00\xfe", "\ufeff{}", "a\r\nb", ""} {
		g := newGuarded(t, allow, nil)
		if w := g.do(signed("/onboard", body, nil)); w.Code != 200 {
			t.Errorf("body %q answered %d %s", body, w.Code, w.Body)
		}
		g = newGuarded(t, allow, nil)
		g.wantRefused(t, g.do(signedFor(unsigned("/onboard", body, nil), testKey,
			receiver.SignOptions{URL: appURL, Body: []byte(body + "\n")})), "body mismatch")
	}
}
