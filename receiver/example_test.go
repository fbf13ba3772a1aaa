package receiver_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/signposthq/signpost/receiver"
)

// The keys that GET /v2/keys shows.
const (
	current = "sig_an_example_of_a_current_key0"
	next    = "sig_an_example_of_a_next_key0000"
)

func ExampleNew() {
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: current, NextSigningKey: next})
	if err != nil {
		fmt.Println(err)
		return
	}
	const url = "https://app.example.com/hook"
	token, err := receiver.Sign(next, receiver.SignOptions{URL: url, Body: []byte("hello")})
	if err != nil {
		fmt.Println(err)
		return
	}
	claims, err := rc.Verify(receiver.Request{Signature: token, URL: url, Body: []byte("hello")})
	fmt.Println(claims.Subject, claims.Key, err)

	_, err = rc.Verify(receiver.Request{Signature: token, URL: url, Body: []byte("hullo")})
	fmt.Println(errors.Is(err, receiver.ErrBodyMismatch))

	_, err = receiver.New(receiver.Options{})
	fmt.Println(err)
	// Output:
	// https://app.example.com/hook next <nil>
	// true
	// no current signing key in the options: FromEnv reads it from the environment
}

func ExampleReceiver_Middleware() {
	rc, err := receiver.New(receiver.Options{
		CurrentSigningKey: current,
		NextSigningKey:    next,
		BaseURL:           "https://app.example.com",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := rc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := receiver.ClaimsFromContext(r.Context())
		fmt.Fprintln(w, "sent to", claims.Subject)
	}))

	post := func(signedBody, body string) {
		r := httptest.NewRequest("POST", "https://app.example.com/hook", strings.NewReader(body))
		if err := receiver.SignRequest(r, current, []byte(signedBody)); err != nil {
			fmt.Println(err)
			return
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	post("hello", "hello")
	post("hello", "tampered")
	// Output:
	// 200 sent to https://app.example.com/hook
	// 401 {"error":"body mismatch"}
}

func ExampleSign() {
	token, err := receiver.Sign(current, receiver.SignOptions{
		URL:  "https://app.example.com/hook",
		Body: []byte(`{"hello":"world"}`),
		Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		ID:   "jwt_1",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	header, _, _ := strings.Cut(token, ".")
	fmt.Println(header, len(token))
	// Output: eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9 312
}

func ExampleDiagnose() {
	const url = "https://app.example.com/hook"
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	token, err := receiver.Sign(current, receiver.SignOptions{URL: url, Body: []byte(`{"hello":"world"}`), Time: at})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(receiver.Diagnose(receiver.DiagnoseInput{
		Options: receiver.Options{CurrentSigningKey: current},
		Request: receiver.Request{Signature: token, URL: "http://app.example.com/hook", Body: []byte(`{"hello":"world"}`)},
		Time:    at,
	}))
	// Output:
	// refused: url mismatch: scheme is "http", signed for "https"
	// signed with: the current key
	//
	// url-scheme: the scheme is another: mostly a proxy has ended TLS
	//   claim     sub
	//   expected  https://app.example.com/hook
	//   got       http://app.example.com/hook
	//   fix       set BaseURL to the public address, or name the proxy in TrustedProxies
}

func ExampleSigner() {
	signer, err := receiver.NewSigner(current)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, body := range []string{"one", "two"} {
		token, err := signer.Sign(receiver.SignOptions{URL: "https://app.example.com/hook", Body: []byte(body)})
		fmt.Println(strings.Count(token, "."), err)
	}
	// Output:
	// 2 <nil>
	// 2 <nil>
}

// Each request is accepted once. The server's retry of a message is another
// request; what somebody has captured is not.
func ExampleNewMemoryReplayCache() {
	rc, err := receiver.New(receiver.Options{
		CurrentSigningKey: current,
		Replay:            receiver.NewMemoryReplayCache(0),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	const url = "https://app.example.com/hook"
	verify := func(token string) {
		_, err := rc.Verify(receiver.Request{Signature: token, URL: url})
		fmt.Println(err)
	}
	for range 2 {
		token, err := receiver.Sign(current, receiver.SignOptions{URL: url})
		if err != nil {
			fmt.Println(err)
			return
		}
		verify(token)
		verify(token)
	}
	// Output:
	// <nil>
	// request replayed: its id was seen before
	// <nil>
	// request replayed: its id was seen before
}

// The receiver has the server's public key, and nothing to keep secret.
func ExampleOptions_publicKeys() {
	seed := sha256.Sum256([]byte("32 random bytes, which the server alone knows"))
	signer, err := receiver.NewEd25519Signer(seed[:])
	if err != nil {
		fmt.Println(err)
		return
	}
	rc, err := receiver.New(receiver.Options{PublicKeys: []ed25519.PublicKey{signer.PublicKey()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	const url = "https://app.example.com/hook"
	token, err := signer.Sign(receiver.SignOptions{URL: url, Body: []byte("hello")})
	if err != nil {
		fmt.Println(err)
		return
	}
	claims, err := rc.Verify(receiver.Request{
		Header: http.Header{receiver.Ed25519Header: {token}},
		URL:    url,
		Body:   []byte("hello"),
	})
	fmt.Println(claims.Key == signer.KeyID(), err)
	// Output: true <nil>
}

// The keys are fetched from the server that owns them, when they are needed.
func ExampleNewKeySet() {
	seed := sha256.Sum256([]byte("32 random bytes, which the server alone knows"))
	signer, err := receiver.NewEd25519Signer(seed[:])
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		_, _ = w.Write(receiver.JWKS(signer.PublicKey()))
	}))
	defer server.Close()

	keys, err := receiver.NewKeySet(server.URL+receiver.JWKSPath, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	rc, err := receiver.New(receiver.Options{KeySet: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	const url = "https://app.example.com/hook"
	token, err := signer.Sign(receiver.SignOptions{URL: url})
	if err != nil {
		fmt.Println(err)
		return
	}
	claims, err := rc.Verify(receiver.Request{Signature: token, URL: url})
	fmt.Println(claims.Subject, err)
	// Output: https://app.example.com/hook <nil>
}

// A rotation: what was next is current, and nothing is refused in between.
func ExampleReceiver_SetKeys() {
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: current, NextSigningKey: next})
	if err != nil {
		fmt.Println(err)
		return
	}
	const url = "https://app.example.com/hook"
	signedBy := func(key string) string {
		token, err := receiver.Sign(key, receiver.SignOptions{URL: url})
		if err != nil {
			return err.Error()
		}
		claims, err := rc.Verify(receiver.Request{Signature: token, URL: url})
		if err != nil {
			return err.Error()
		}
		return claims.Key
	}
	fmt.Println(signedBy(current), signedBy(next))
	if err := rc.SetKeys(next, "sig_an_example_of_a_new_key00000"); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(signedBy(next))
	fmt.Println(signedBy(current))
	// Output:
	// current next
	// current
	// bad signature: made with neither the current nor the next signing key
}

// The header of an answer says which keys are held, for callers without net/http's
// Middleware.
func ExampleReceiver_Echo() {
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: current, NextSigningKey: next})
	if err != nil {
		fmt.Println(err)
		return
	}
	const url = "https://app.example.com/hook"
	token, err := receiver.Sign(next, receiver.SignOptions{URL: url})
	if err != nil {
		fmt.Println(err)
		return
	}
	claims, err := rc.Verify(receiver.Request{Signature: token, URL: url})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(receiver.KeysHeader+":", rc.Echo(claims))
	// Output: Upstash-Signature-Keys: verified=075892d0190e; current=23b4543a235b; next=075892d0190e
}
