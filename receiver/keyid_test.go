package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

func TestEcho(t *testing.T) {
	a, b := newEd25519Signer(t, 1), newEd25519Signer(t, 2)
	first, second := a.KeyID(), b.KeyID()
	if first > second {
		first, second = second, first
	}
	tests := []struct {
		name  string
		rc    *Receiver
		token string
		want  string
	}{
		{"current", newReceiver(t, Options{}), mustSign(t, currentKey, SignOptions{}),
			"verified=" + KeyID(currentKey) + "; current=" + KeyID(currentKey) + "; next=" + KeyID(nextKey)},
		{"next", newReceiver(t, Options{}), mustSign(t, nextKey, SignOptions{}),
			"verified=" + KeyID(nextKey) + "; current=" + KeyID(currentKey) + "; next=" + KeyID(nextKey)},
		{"one key", newReceiver(t, Options{CurrentSigningKey: currentKey}), mustSign(t, currentKey, SignOptions{}),
			"verified=" + KeyID(currentKey) + "; current=" + KeyID(currentKey)},
		{"public keys", publicReceiver(t, a, b), mustSignEd25519(t, a, SignOptions{}),
			"verified=" + a.KeyID() + "; held=" + first + "; held=" + second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.rc.Echo(mustVerify(t, tt.rc, tt.token)); got != tt.want {
				t.Errorf("echo %q, want %q", got, tt.want)
			}
			if strings.Contains(tt.want, currentKey) {
				t.Error("the echo tells a key")
			}
		})
	}
}

// The header is on every answer to a verified request of a Signpost server, and on
// no other.
func TestMiddlewareEchoes(t *testing.T) {
	rc := newReceiver(t, Options{})
	for key, echoed := range map[string]bool{currentKey: true, nextKey: true, otherKey: false} {
		w := httptest.NewRecorder()
		rc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no luck", http.StatusInternalServerError)
		})).ServeHTTP(w, signedRequest(t, key, SignOptions{Kind: KindMessage}, bytes.NewReader(hookBody)))
		got := w.Header().Get(KeysHeader)
		if echoed != strings.HasPrefix(got, "verified="+KeyID(key)+"; ") || !echoed && got != "" {
			t.Errorf("answer %d to %s has %q", w.Code, key, got)
		}
	}
	w := httptest.NewRecorder()
	rc.Middleware(http.NotFoundHandler()).ServeHTTP(w, signedRequest(t, currentKey, SignOptions{}, strings.NewReader("tampered")))
	if got := w.Header().Get(KeysHeader); w.Code != 401 || got != "" {
		t.Errorf("answer %d to another body has %q", w.Code, got)
	}
}

func TestMiddlewareAnswersProbes(t *testing.T) {
	rc := newReceiver(t, Options{})
	for kind, called := range map[Kind]bool{KindProbe: false, KindMessage: true, KindStep: true, KindCall: true, "": true} {
		ran := false
		w := httptest.NewRecorder()
		rc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ran = true })).
			ServeHTTP(w, signedRequest(t, nextKey, SignOptions{Kind: kind}, bytes.NewReader(hookBody)))
		if ran != called || !called && (w.Code != http.StatusNoContent || w.Body.Len() > 0) || (w.Header().Get(KeysHeader) == "") != (kind == "") {
			t.Errorf("%q: handler ran: %v, answer %d %v", kind, ran, w.Code, w.Header())
		}
	}
	w := httptest.NewRecorder()
	rc.Middleware(http.NotFoundHandler()).ServeHTTP(w, signedRequest(t, otherKey, SignOptions{Kind: KindProbe}, bytes.NewReader(hookBody)))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("a forged probe is answered %d", w.Code)
	}
}

func TestSetKeys(t *testing.T) {
	const third = "sig_third_key_of_the_tests_00000"
	rc := newReceiver(t, Options{})
	accepts := func(key string) bool {
		_, err := rc.Verify(Request{Signature: mustSign(t, key, SignOptions{}), URL: hookURL, Body: hookBody})
		return err == nil
	}
	before := mustVerify(t, rc, mustSign(t, nextKey, SignOptions{}))
	if err := rc.SetKeys(nextKey, third); err != nil {
		t.Fatal(err)
	}
	if accepts(currentKey) || !accepts(nextKey) || !accepts(third) {
		t.Error("the keys were not replaced")
	}
	if got, want := rc.Echo(before), "verified="+KeyID(nextKey)+"; current="+KeyID(nextKey)+"; next="+KeyID(third); got != want {
		t.Errorf("echo %q, want %q: verified is the key of that time", got, want)
	}
	for _, bad := range [][2]string{{"", ""}, {"", third}, {"short", third}, {third, "short"}, {third + "\n", ""}} {
		if err := rc.SetKeys(bad[0], bad[1]); err == nil || strings.Contains(err.Error(), third) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
	if err := rc.SetKeys("", ""); !errors.Is(err, ErrNoKey) {
		t.Errorf("no keys: %v", err)
	}
	if err := rc.SetKeys(developmentKeys[0].secret, third); !errors.Is(err, ErrDevelopmentKey) {
		t.Errorf("a development key: %v", err)
	}
	if accepts(currentKey) || !accepts(nextKey) || !accepts(third) {
		t.Error("keys that were refused have replaced others")
	}
	if err := rc.SetKeys(currentKey, ""); err != nil || !accepts(currentKey) || accepts(nextKey) {
		t.Errorf("without a next key: %v", err)
	}
}

// A receiver that has got a development key serves this machine only from then on.
func TestSetKeysOfDevelopment(t *testing.T) {
	rc := newReceiver(t, Options{Development: true})
	request := func(key string) error {
		r := signedRequest(t, key, SignOptions{}, bytes.NewReader(hookBody))
		_, _, err := rc.VerifyRequest(r)
		return err
	}
	if err := request(currentKey); err != nil || rc.Development() {
		t.Errorf("with a key of its own: %v", err)
	}
	if err := rc.SetKeys(currentKey, developmentKeys[0].secret); err != nil {
		t.Fatal(err)
	}
	if err := request(currentKey); !errors.Is(err, ErrNotLocal) || !rc.Development() {
		t.Errorf("with a development key: %v", err)
	}
}

// TestT03RotationUnderLoad rotates again and again while requests are verified:
// none is refused that is signed with a key of the pair before or after.
func TestT03RotationUnderLoad(t *testing.T) {
	key := func(i int) string { return fmt.Sprintf("sig_key_number_%08d_of_the_tests", i) }
	rc := newReceiver(t, Options{CurrentSigningKey: key(0), NextSigningKey: key(1)})
	const rotations = 200
	var mu sync.RWMutex // the sender signs with a key that the receiver holds
	sent := 0
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.RLock()
				token := mustSign(t, key(sent), SignOptions{})
				c, err := rc.Verify(Request{Signature: token, URL: hookURL, Body: hookBody})
				if err != nil || !strings.HasPrefix(rc.Echo(c), "verified="+KeyID(key(sent))+";") {
					t.Errorf("key %d: echo %q, error %v", sent, rc.Echo(c), err)
				}
				mu.RUnlock()
			}
		})
	}
	for i := range rotations {
		// The receiver moves while the sender still signs with the key before.
		mu.Lock()
		sent = i + 1
		mu.Unlock()
		if err := rc.SetKeys(key(i+1), key(i+2)); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}
