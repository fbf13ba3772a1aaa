package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Anybody can sign with the keys of development servers: no receiver takes them
// by accident.
func TestT01DevelopmentKeysAreRefused(t *testing.T) {
	for _, k := range developmentKeys {
		for name, o := range map[string]Options{
			"current": {CurrentSigningKey: k.secret},
			"next":    {CurrentSigningKey: currentKey, NextSigningKey: k.secret},
		} {
			rc, err := New(o)
			if rc != nil || !errors.Is(err, ErrDevelopmentKey) || !strings.Contains(err.Error(), "SIGNPOST_DEV=1") {
				t.Errorf("%s of %s: %v, error %v", name, k.owner, rc, err)
			}
			o.Development = true
			if rc, err = New(o); err != nil || !rc.Development() {
				t.Errorf("%s of %s in development: error %v", name, k.owner, err)
			}
		}
	}
	if newReceiver(t, Options{Development: true}).Development() {
		t.Error("other keys are called those of development servers")
	}
}

func TestT01DevelopmentKeysOfTheEnvironment(t *testing.T) {
	tests := []struct {
		ours, official string
		want           bool
	}{
		{"", "", false}, {"1", "", true}, {"true", "", true}, {"", "1", true}, {"", "true", true}, {"0", "true", true},
		{"0", "", false}, {"", "false", false}, {"yes, please", "", false},
	}
	for _, tt := range tests {
		t.Setenv("SIGNPOST_DEV", tt.ours)
		t.Setenv("QSTASH_DEV", tt.official)
		t.Setenv("QSTASH_CURRENT_SIGNING_KEY", developmentKeys[0].secret)
		t.Setenv("QSTASH_NEXT_SIGNING_KEY", "")
		if _, err := FromEnv(Options{}); errors.Is(err, ErrDevelopmentKey) == tt.want || (err == nil) != tt.want {
			t.Errorf("SIGNPOST_DEV=%s QSTASH_DEV=%s: error %v", tt.ours, tt.official, err)
		}
		if _, err := New(Options{CurrentSigningKey: developmentKeys[0].secret}); !errors.Is(err, ErrDevelopmentKey) {
			t.Errorf("New looked at the environment: error %v", err)
		}

		// The variable allows keys; it does not put them in the place of others.
		t.Setenv("QSTASH_CURRENT_SIGNING_KEY", currentKey)
		rc, err := FromEnv(Options{})
		if err != nil || rc.Development() {
			t.Fatalf("with a key of its own: error %v", err)
		}
		forged := mustSign(t, developmentKeys[0].secret, SignOptions{Time: time.Now()})
		if _, err := rc.Verify(Request{Signature: forged, URL: hookURL, Body: hookBody}); !errors.Is(err, ErrBadSignature) {
			t.Errorf("SIGNPOST_DEV=%s QSTASH_DEV=%s: forgery: %v", tt.ours, tt.official, err)
		}
	}
}

var localities = []struct {
	peer, host, header string
	local              bool
}{
	{"127.0.0.1:1", "localhost:3000", "", true},
	{"127.9.9.9:1", "127.0.0.1:3000", "X-Anything", true},
	{"[::1]:1", "[::1]:3000", "", true},
	{"[::ffff:127.0.0.1]:1", "app.LocalHost.", "", true},
	{"192.0.2.1:1", "localhost:3000", "", false},
	{"10.0.0.7:1", "127.0.0.1", "", false},
	{"[2001:db8::1]:1", "localhost", "", false},
	{"@", "localhost", "", false}, // a Unix socket, as a proxy would use
	{"", "localhost", "", false},
	{"127.0.0.1:1", "rebound.example", "", false},
	{"127.0.0.1:1", "localhost.rebound.example", "", false},
	{"127.0.0.1:1", "127.0.0.1.rebound.example", "", false},
	{"127.0.0.1:1", "10.0.0.7:3000", "", false},
	{"127.0.0.1:1", "", "", false},
	{"127.0.0.1:1", "localhost", "Forwarded", false},
	{"127.0.0.1:1", "localhost", "Via", false},
	{"127.0.0.1:1", "localhost", "X-Real-Ip", false},
	{"127.0.0.1:1", "localhost", "X-Forwarded-For", false},
	{"127.0.0.1:1", "localhost", "X-Forwarded-Proto", false},
}

func TestT01DevelopmentKeysServeThisMachineOnly(t *testing.T) {
	rc := newReceiver(t, Options{CurrentSigningKey: developmentKeys[0].secret, Development: true})
	for _, tt := range localities {
		t.Run(fmt.Sprintf("%s as %s by %s", tt.peer, tt.host, tt.header), func(t *testing.T) {
			r := httptest.NewRequest("POST", "/hook", bytes.NewReader(hookBody))
			r.RemoteAddr, r.Host = tt.peer, tt.host
			if tt.header != "" {
				r.Header[tt.header] = []string{"", "192.0.2.1"}
			}
			r.Header.Set(Header, mustSign(t, developmentKeys[0].secret, SignOptions{URL: "http://" + tt.host + "/hook"}))
			if got := IsLocal(r); got != tt.local {
				t.Errorf("local is %v", got)
			}
			_, _, err := rc.VerifyRequest(r)
			if tt.local && err != nil || !tt.local && !errors.Is(err, ErrNotLocal) {
				t.Errorf("error %v", err)
			}
			r.Body = io.NopCloser(bytes.NewReader(hookBody))
			w, served := httptest.NewRecorder(), false
			rc.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true })).ServeHTTP(w, r)
			if served != (err == nil) {
				t.Errorf("served: %v, answer %d %s", served, w.Code, w.Body)
			}
			if !tt.local && (w.Code != 401 || !strings.Contains(w.Body.String(), "not from this machine")) {
				t.Errorf("answer %d %s", w.Code, w.Body)
			}
		})
	}
}
