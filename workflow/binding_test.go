package workflow_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

// bound gives a call of appURL the token that a Signpost server would make for
// it, if that had the kind and the run.
func bound(r *http.Request, body string, kind receiver.Kind, run string) *http.Request {
	r.Header.Set(wire.HeaderRetried, "0")
	return signedFor(r, testKey, receiver.SignOptions{URL: appURL, Body: []byte(body), Kind: kind, RunID: run, Header: r.Header})
}

// shapes are calls by what their headers make of them.
var shapes = map[string]func() *http.Request{
	"start":    calling[workflow.KindStart],
	"step":     calling[workflow.KindStep],
	"callback": calling[workflow.KindCallback],
	"failure":  calling[workflow.KindFailure],
	"check":    calling[workflow.KindCheck],
	"start of an unknown SDK": func() *http.Request {
		r := calling[workflow.KindStep]()
		r.Header.Set(wire.HeaderWorkflowUnknownSDK, "true")
		return r
	},
}

// genuine are the tokens that a server makes for calls of each shape: kind, and
// the run or none. No other serves.
var genuine = map[string][]string{
	"start":                   {"message of ", "callback of ", "failure of ", "call of "},
	"step":                    {"step of wfr_1"},
	"callback":                {"callback of wfr_1"},
	"failure":                 {"failure of wfr_1"},
	"check":                   {"check of wfr_1"},
	"start of an unknown SDK": {"step of wfr_1"},
}

// Every kind of token on every kind of call, of this run, of another, and of
// none: only what belongs together is taken. So a captured step is no failure
// callback, and what a third party was sent is a plain request at best.
func TestT22TokensServeTheirOwnKindOfCall(t *testing.T) {
	tokens := []receiver.Kind{"", receiver.KindMessage, receiver.KindCallback, receiver.KindFailure, receiver.KindStep, receiver.KindCall, receiver.KindCheck, "other"}
	for shape, call := range shapes {
		taken := map[string]bool{}
		for _, token := range genuine[shape] {
			taken[token] = true
		}
		for _, kind := range tokens {
			for _, run := range []string{"", "wfr_1", "wfr_2"} {
				token := fmt.Sprintf("%s of %s", kind, run)
				t.Run(shape+" with "+token, func(t *testing.T) {
					g := newGuarded(t, allow, func(o *workflow.Options) { o.RequireBinding = true })
					w := g.do(bound(call(), readBody(t, call()), kind, run))
					if !taken[token] {
						g.wantRefused(t, w, "header mismatch")
					} else if w.Code != 200 {
						t.Errorf("answer %d %s", w.Code, w.Body)
					}
				})
			}
		}
	}
}

// A captured delivery, sent again with other control headers than those that
// were signed.
func TestT22CapturedCallWithOtherHeaders(t *testing.T) {
	add := func(pairs ...string) func(http.Header) {
		return func(h http.Header) {
			for i := 0; i < len(pairs); i += 2 {
				h.Add(pairs[i], pairs[i+1])
			}
		}
	}
	tests := map[string]func(http.Header){
		"as a failure":              add(wire.HeaderWorkflowIsFailure, "true"),
		"as a failure callback":     add(wire.HeaderWorkflowFailureCB, "true"),
		"as a callback":             add(wire.HeaderWorkflowCallback, "true", wire.HeaderWorkflowStepID, "1"),
		"as one of an unknown SDK":  add(wire.HeaderWorkflowUnknownSDK, "true"),
		"as a plain request":        func(h http.Header) { h.Del(wire.HeaderWorkflowSDKVersion); h.Del(wire.HeaderWorkflowRunID) },
		"of another run":            func(h http.Header) { h.Set(wire.HeaderWorkflowRunID, "wfr_2") },
		"of two runs":               add(wire.HeaderWorkflowRunID, "wfr_2"),
		"of another run, by commas": func(h http.Header) { h.Set(wire.HeaderWorkflowRunID, "wfr_2,wfr_1") },
		"as a retry":                func(h http.Header) { h.Set(wire.HeaderRetried, "1") },
		"as of no attempt":          func(h http.Header) { h.Del(wire.HeaderRetried) },
		"with a label":              add(wire.HeaderLabel, "vip"),
		"as another message":        func(h http.Header) { h.Set(wire.HeaderMessageID, "msg_2") },
	}
	for name, change := range tests {
		for _, require := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, required %v", name, require), func(t *testing.T) {
				g := newGuarded(t, allow, func(o *workflow.Options) { o.RequireBinding = require })
				r := bound(calling[workflow.KindStep](), readBody(t, calling[workflow.KindStep]()), receiver.KindStep, "wfr_1")
				change(r.Header)
				g.wantRefused(t, g.do(r), "header mismatch")
			})
		}
	}
}

// More than one signature is a refusal, on calls of every kind, even if all of
// them are good.
func TestT01OneSignature(t *testing.T) {
	for shape, call := range shapes {
		kind, run, _ := strings.Cut(genuine[shape][0], " of ")
		for name, spoil := range map[string]func(h http.Header, token string){
			"two headers":         func(h http.Header, token string) { h.Add(receiver.Header, token) },
			"an empty one before": func(h http.Header, token string) { h[receiver.Header] = []string{"", token} },
			"an empty one after":  func(h http.Header, token string) { h.Add(receiver.Header, "") },
			"joined by a comma":   func(h http.Header, token string) { h.Set(receiver.Header, token+","+token) },
			"joined with a space": func(h http.Header, token string) { h.Set(receiver.Header, token+", "+token) },
			"a comma after":       func(h http.Header, token string) { h.Set(receiver.Header, token+",") },
			"cut in two":          func(h http.Header, token string) { h[receiver.Header] = []string{token[:40], token[40:]} },
		} {
			t.Run(shape+" with "+name, func(t *testing.T) {
				g := newGuarded(t, allow, nil)
				r := bound(call(), readBody(t, call()), receiver.Kind(kind), run)
				spoil(r.Header, r.Header.Get(receiver.Header))
				g.wantRefused(t, g.do(r), "malformed signature")
			})
		}
	}
}

// A server that binds nothing is served unless binding is required, by the
// endpoint's option or by its receiver's.
func TestRequireBinding(t *testing.T) {
	strict, err := receiver.New(receiver.Options{CurrentSigningKey: testKey, RequireBinding: true})
	if err != nil {
		t.Fatal(err)
	}
	required := map[string]func(*workflow.Options){
		"endpoint": func(o *workflow.Options) { o.RequireBinding = true },
		"receiver": func(o *workflow.Options) { o.Receiver = strict },
	}
	for _, kind := range kinds {
		if w := newGuarded(t, allow, nil).do(calling[kind]()); w.Code != 200 {
			t.Errorf("%s without claims answered %d %s", kind, w.Code, w.Body)
		}
		for by, require := range required {
			t.Run(fmt.Sprintf("%s by %s", kind, by), func(t *testing.T) {
				g := newGuarded(t, allow, require)
				g.wantRefused(t, g.do(calling[kind]()), "header mismatch")

				// The kind alone is not enough, and neither are the headers.
				r := calling[kind]()
				r.Header.Set(wire.HeaderRetried, "0")
				o := receiver.SignOptions{URL: appURL, Body: []byte(readBody(t, calling[kind]())), Kind: receiver.Kind(kind), RunID: "wfr_1"}
				g.wantRefused(t, g.do(signedFor(r, testKey, o)), "header mismatch")
				r = calling[kind]()
				r.Header.Set(wire.HeaderRetried, "0")
				o.Kind, o.RunID, o.Header = "", "", r.Header
				g.wantRefused(t, g.do(signedFor(r, testKey, o)), "header mismatch")
			})
		}
	}
}

// A probe asks for the receiver's keys: whatever its headers say, nothing is
// executed, and nobody is asked.
func TestProbe(t *testing.T) {
	for shape, call := range shapes {
		g := newGuarded(t, func(*workflow.Context) (bool, error) { t.Error("the function was called"); return false, nil },
			func(o *workflow.Options) {
				o.RequireBinding = true
				o.Authorize = func(context.Context, *workflow.AuthRequest) error { t.Error("Authorize was asked"); return nil }
			})
		for _, run := range []string{"", "wfr_1"} {
			w := g.do(bound(call(), readBody(t, call()), receiver.KindProbe, run))
			if w.Code != 200 || w.Body.String() != `{"kind":"probe"}` {
				t.Errorf("probe with the headers of a %s answered %d %s", shape, w.Code, w.Body)
			}
			g.wantIdle(t)
		}
	}
}
