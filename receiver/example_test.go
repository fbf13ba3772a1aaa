package receiver_test

import (
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
	// no current signing key
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
