package workflow_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

func withReceiver(t *testing.T, o receiver.Options) func(*workflow.Options) {
	t.Helper()
	if len(o.PublicKeys) == 0 {
		o.CurrentSigningKey = testKey
	}
	rc, err := receiver.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return func(opts *workflow.Options) { opts.Receiver = rc }
}

// again is a request with the signature of another: the same token once more.
func again(r *http.Request, of *http.Request) *http.Request {
	r.Header.Set(receiver.Header, of.Header.Get(receiver.Header))
	return r
}

// TestT02ReplayedCalls sends each kind of call twice. The answer to a replay does not
// forbid retries, for those have ids of their own.
func TestT02ReplayedCalls(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			g := newGuarded(t, allow, withReceiver(t, receiver.Options{Replay: receiver.NewMemoryReplayCache(0)}))
			first := calling[kind]()
			replay := again(calling[kind](), first)
			if w := g.do(first); w.Code == http.StatusUnauthorized {
				t.Fatalf("answer %d %s", w.Code, w.Body)
			}
			done, sent := len(g.executed), len(g.stub.sent)
			w := g.do(replay)
			if w.Code != http.StatusUnauthorized || said(t, w) != "request replayed" || w.Header().Get(wire.HeaderNonRetryable) != "" {
				t.Errorf("answer %d %v %s to the replay", w.Code, w.Header(), w.Body)
			}
			if len(g.executed) != done || len(g.stub.sent) != sent {
				t.Errorf("the replay executed %q and sent %v", g.executed[done:], g.stub.sent[sent:])
			}
			if w := g.do(calling[kind]()); w.Code == http.StatusUnauthorized {
				t.Errorf("answer %d %s to a retry", w.Code, w.Body)
			}
		})
	}
}

// TestT02ConcurrentReplays replays one call many times at once: one goes through.
func TestT02ConcurrentReplays(t *testing.T) {
	var runs atomic.Int32
	stub := newStub(t, nil)
	o := &workflow.Options{Client: stub.client, BaseURL: "https://app.example", Logger: quiet}
	withReceiver(t, receiver.Options{Replay: receiver.NewMemoryReplayCache(0)})(o)
	o.Authorize = func(context.Context, *workflow.AuthRequest) error {
		runs.Add(1)
		return errors.New("enough")
	}
	e := workflow.MustServe(func(*workflow.Context, any) (int, error) { return 0, nil }, o)
	first := calling[workflow.KindStep]()
	var wg sync.WaitGroup
	for range 32 {
		r := again(calling[workflow.KindStep](), first)
		wg.Go(func() { e.ServeHTTP(httptest.NewRecorder(), r) })
	}
	wg.Wait()
	if n := runs.Load(); n != 1 {
		t.Errorf("%d went through", n)
	}
}

type brokenCache struct{}

func (brokenCache) Use(context.Context, string, time.Time) (bool, error) {
	return false, errors.New("no connection")
}

// TestT02CacheFailure refuses calls until the cache answers again.
func TestT02CacheFailure(t *testing.T) {
	for _, kind := range kinds {
		g := newGuarded(t, allow, withReceiver(t, receiver.Options{Replay: brokenCache{}}))
		w := g.do(calling[kind]())
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "10" || w.Header().Get(wire.HeaderNonRetryable) != "" ||
			said(t, w) != "verification unavailable" {
			t.Errorf("%s: answer %d %v %s", kind, w.Code, w.Header(), w.Body)
		}
		g.wantIdle(t)
	}
}

// Every answer to a verified call of a Signpost server says which keys are held,
// and no other does.
func TestAnswersEchoKeys(t *testing.T) {
	id := receiver.KeyID(testKey)
	want := "verified=" + id + "; current=" + id
	outcomes := map[string]func(*workflow.Context) (bool, error){
		"allowed": allow,
		"error":   func(*workflow.Context) (bool, error) { return false, errors.New("no luck") },
		"final":   func(*workflow.Context) (bool, error) { return false, workflow.NonRetryable(errors.New("never")) },
		"later": func(*workflow.Context) (bool, error) {
			return false, workflow.RetryAfter(errors.New("busy"), time.Second)
		},
		"panic":     func(*workflow.Context) (bool, error) { panic("bug") },
		"no effect": func(*workflow.Context) (bool, error) { return true, nil },
	}
	for name, check := range outcomes {
		for _, kind := range kinds {
			g := newGuarded(t, check, nil)
			for token, want := range map[string]string{genuine[string(kind)][0]: want, " of ": ""} {
				of, run, _ := strings.Cut(token, " of ")
				w := g.do(bound(calling[kind](), readBody(t, calling[kind]()), receiver.Kind(of), run))
				if got := w.Header().Get(receiver.KeysHeader); got != want {
					t.Errorf("%s, %s: answer %d has %q, want %q", kind, name, w.Code, got, want)
				}
			}
		}
	}
	g := newGuarded(t, allow, nil)
	garbled := bound(signed("/onboard", "no log", map[string]string{wire.HeaderWorkflowSDKVersion: "1", wire.HeaderWorkflowRunID: "wfr_1"}),
		"no log", receiver.KindStep, "wfr_1")
	if w := g.do(garbled); w.Code < 400 || w.Header().Get(receiver.KeysHeader) != want {
		t.Errorf("a garbled call: answer %d %v", w.Code, w.Header())
	}
	for name, r := range map[string]*http.Request{
		"unsigned": unsigned("/onboard", "{}", nil),
		"forged":   signedFor(unsigned("/onboard", "{}", nil), "sig_another-key-of-enough-bytes", receiver.SignOptions{URL: appURL, Body: []byte("{}")}),
		"GET":      httptest.NewRequest(http.MethodGet, "/onboard", nil),
	} {
		if w := g.do(r); w.Header().Get(receiver.KeysHeader) != "" {
			t.Errorf("%s: answer %d %v", name, w.Code, w.Header())
		}
	}
}

// An endpoint may hold public keys alone.
func TestPublicKeys(t *testing.T) {
	signer, err := receiver.NewEd25519Signer([]byte("thirty-two bytes of this test..."))
	if err != nil {
		t.Fatal(err)
	}
	g := newGuarded(t, allow, withReceiver(t, receiver.Options{PublicKeys: []ed25519.PublicKey{signer.PublicKey()}}))
	call := func(header string) *http.Request {
		r := unsigned("/onboard", "{}", nil)
		token, err := signer.Sign(receiver.SignOptions{URL: appURL, Body: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(header, token)
		return r
	}
	if w := g.do(call(receiver.Ed25519Header)); w.Code != http.StatusOK {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
	g.stub.sent = nil
	g.wantRefused(t, g.do(signed("/onboard", "{}", nil)), "no signature")
	g.wantRefused(t, g.do(call(receiver.Header)), "no signature")
}
