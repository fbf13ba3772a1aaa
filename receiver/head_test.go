package receiver

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// unreadable is a body that fails the test when it is read.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, errors.New("read")
}

func TestVerifyHead(t *testing.T) {
	covered := SignOptions{Kind: KindStep, Header: http.Header{"Upstash-Workflow-Runid": {"wfr_1"}}}
	tests := []struct {
		name   string
		sign   SignOptions
		change func(r *http.Request)
		err    error
	}{
		{"accepted", SignOptions{}, func(*http.Request) {}, nil},
		{"covered header", covered, func(r *http.Request) { r.Header.Set("Upstash-Workflow-RunId", "wfr_1") }, nil},
		{"other header", covered, func(r *http.Request) { r.Header.Set("Upstash-Workflow-RunId", "wfr_2") }, ErrHeaderMismatch},
		{"other path", SignOptions{}, func(r *http.Request) { r.RequestURI = "/other" }, ErrURLMismatch},
		{"expired", SignOptions{Time: time.Now().Add(-time.Hour)}, func(*http.Request) {}, ErrExpired},
		{"no signature", SignOptions{}, func(r *http.Request) { r.Header.Del(Header) }, ErrNoSignature},
		{"two signatures", SignOptions{}, func(r *http.Request) { r.Header.Add(Header, r.Header.Get(Header)) }, ErrMalformed},
		{"other key", SignOptions{}, func(r *http.Request) {
			r.Header.Set(Header, mustSign(t, "sig_of_somebody_else", SignOptions{Time: time.Now()}))
		}, ErrBadSignature},
	}
	rc, err := New(Options{CurrentSigningKey: currentKey, BaseURL: "https://app.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.sign.Time.IsZero() {
				tt.sign.Time = time.Now()
			}
			r := signedRequest(t, currentKey, tt.sign, unreadable{t})
			tt.change(r)
			c, err := rc.VerifyHead(r)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil && c != (Claims{}) {
				t.Errorf("a refusal comes with claims: %+v", c)
			}
			if err == nil && strings.TrimRight(c.BodyHash, "=") != bodyHash(hookBody) {
				t.Errorf("body hash is %q", c.BodyHash)
			}
		})
	}
}

func TestT02VerifyHeadCountsAsSeen(t *testing.T) {
	rc, err := New(Options{CurrentSigningKey: currentKey, BaseURL: "https://app.example.com", Replay: NewMemoryReplayCache(0)})
	if err != nil {
		t.Fatal(err)
	}
	r := signedRequest(t, currentKey, SignOptions{Body: hookBody, Time: time.Now()}, unreadable{t})
	if _, err := rc.VerifyHead(r); err != nil {
		t.Fatal(err)
	}
	if _, err := rc.VerifyHead(r); !errors.Is(err, ErrReplayed) {
		t.Errorf("the second time: %v", err)
	}
}
