package receiver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// signedRequest returns a request for hookURL as a server gets it.
func signedRequest(t testing.TB, key string, o SignOptions, body io.Reader) *http.Request {
	t.Helper()
	r := httptest.NewRequest("POST", hookURL, body)
	r.Header.Set(Header, mustSign(t, key, o))
	return r
}

type answer struct {
	Error string `json:"error"`
}

func TestMiddleware(t *testing.T) {
	body := bytes.NewReader
	tests := []struct {
		name    string
		o       Options
		request func(t *testing.T) *http.Request
		status  int
		text    string // of the error; "" if next is called
		err     error
	}{
		{"accepted", Options{}, func(t *testing.T) *http.Request {
			return signedRequest(t, currentKey, SignOptions{}, body(hookBody))
		}, 204, "", nil},
		{"accepted by the next key", Options{}, func(t *testing.T) *http.Request {
			return signedRequest(t, nextKey, SignOptions{}, body(hookBody))
		}, 204, "", nil},
		{"accepted behind a prefix", Options{BaseURL: "https://app.example.com"}, func(t *testing.T) *http.Request {
			r := signedRequest(t, currentKey, SignOptions{}, body(hookBody))
			r.RequestURI, r.Host, r.URL.Path = "/hook?a=1", "10.0.0.7:8080", "/"
			return r
		}, 204, "", nil},
		{"no signature", Options{}, func(t *testing.T) *http.Request {
			return httptest.NewRequest("POST", hookURL, body(hookBody))
		}, 401, "no signature", ErrNoSignature},
		{"empty signature", Options{}, func(t *testing.T) *http.Request {
			r := httptest.NewRequest("POST", hookURL, body(hookBody))
			r.Header.Set(Header, "")
			return r
		}, 401, "no signature", ErrNoSignature},
		{"garbage", Options{}, func(t *testing.T) *http.Request {
			r := httptest.NewRequest("POST", hookURL, body(hookBody))
			r.Header.Set(Header, "v1,abc")
			return r
		}, 401, "malformed signature", ErrMalformed},
		{"two headers, both good", Options{}, func(t *testing.T) *http.Request {
			r := signedRequest(t, currentKey, SignOptions{}, body(hookBody))
			r.Header.Add(Header, r.Header.Get(Header))
			return r
		}, 401, "malformed signature", ErrMalformed},
		{"two headers that join to a good one", Options{}, func(t *testing.T) *http.Request {
			r := signedRequest(t, currentKey, SignOptions{}, body(hookBody))
			token := r.Header.Get(Header)
			r.Header[Header] = []string{token[:50], token[50:]}
			return r
		}, 401, "malformed signature", ErrMalformed},
		{"a good header and an empty one", Options{}, func(t *testing.T) *http.Request {
			r := signedRequest(t, currentKey, SignOptions{}, body(hookBody))
			r.Header.Add(Header, "")
			return r
		}, 401, "malformed signature", ErrMalformed},
		{"joined by a comma", Options{}, func(t *testing.T) *http.Request {
			r := signedRequest(t, currentKey, SignOptions{}, body(hookBody))
			r.Header.Set(Header, r.Header.Get(Header)+","+r.Header.Get(Header))
			return r
		}, 401, "malformed signature", ErrMalformed},
		{"foreign key", Options{}, func(t *testing.T) *http.Request {
			return signedRequest(t, otherKey, SignOptions{}, body(hookBody))
		}, 401, "bad signature", ErrBadSignature},
		{"expired", Options{}, func(t *testing.T) *http.Request {
			return signedRequest(t, currentKey, SignOptions{Time: instant.Add(-time.Hour)}, body(hookBody))
		}, 401, "signature expired", ErrExpired},
		{"early", Options{}, func(t *testing.T) *http.Request {
			return signedRequest(t, currentKey, SignOptions{Time: instant.Add(time.Hour)}, body(hookBody))
		}, 401, "signature not yet valid", ErrNotYetValid},
		{"other URL", Options{}, func(t *testing.T) *http.Request {
			return signedRequest(t, currentKey, SignOptions{URL: "https://attacker.example/sink"}, body(hookBody))
		}, 401, "url mismatch", ErrURLMismatch},
		{"other URL that is not compared", Options{URLMode: URLOff}, func(t *testing.T) *http.Request {
			return signedRequest(t, currentKey, SignOptions{URL: "https://attacker.example/sink"}, body(hookBody))
		}, 204, "", nil},
		{"forged host", Options{}, func(t *testing.T) *http.Request {
			r := signedRequest(t, currentKey, SignOptions{URL: "https://app.example.com/x/hook?a=1"}, body(hookBody))
			r.Host = "app.example.com/x"
			return r
		}, 401, "url mismatch", ErrURLMismatch},
		{"tampered body", Options{}, func(t *testing.T) *http.Request {
			return signedRequest(t, currentKey, SignOptions{}, strings.NewReader(`{"hello":"mars"}`))
		}, 401, "body mismatch", ErrBodyMismatch},
		{"no body", Options{}, func(t *testing.T) *http.Request {
			r := signedRequest(t, currentKey, SignOptions{}, nil)
			r.Body = nil
			return r
		}, 401, "body mismatch", ErrBodyMismatch},
		{"body at the limit", Options{MaxBodyBytes: int64(len(hookBody))}, func(t *testing.T) *http.Request {
			return signedRequest(t, currentKey, SignOptions{}, body(hookBody))
		}, 204, "", nil},
		{"body above the limit", Options{MaxBodyBytes: int64(len(hookBody)) - 1}, func(t *testing.T) *http.Request {
			return signedRequest(t, currentKey, SignOptions{}, body(hookBody))
		}, 413, "body too large", ErrBodyTooLarge},
		{"body of unknown length above the limit", Options{MaxBodyBytes: int64(len(hookBody)) - 1}, func(t *testing.T) *http.Request {
			r := signedRequest(t, currentKey, SignOptions{}, io.MultiReader(body(hookBody)))
			r.ContentLength = -1
			return r
		}, 413, "body too large", ErrBodyTooLarge},
		{"a narrower limit set outside", Options{}, func(t *testing.T) *http.Request {
			r := signedRequest(t, currentKey, SignOptions{}, body(hookBody))
			r.Body, r.ContentLength = http.MaxBytesReader(nil, r.Body, 3), -1
			return r
		}, 413, "body too large", ErrBodyTooLarge},
		{"body that breaks off", Options{}, func(t *testing.T) *http.Request {
			return signedRequest(t, currentKey, SignOptions{}, io.MultiReader(body(hookBody[:5]), brokenReader{}))
		}, 400, "body cannot be read", errBroken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var refusals []error
			tt.o.OnRefusal = func(_ *http.Request, err error) { refusals = append(refusals, err) }
			called := false
			next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				called = true
				got, err := io.ReadAll(r.Body)
				if err != nil || !bytes.Equal(got, hookBody) || r.ContentLength != int64(len(hookBody)) {
					t.Errorf("next sees body %q of length %d, error %v", got, r.ContentLength, err)
				}
				c, ok := ClaimsFromContext(r.Context())
				if !ok || c.Subject == "" || c.Key == "" || !strings.HasPrefix(c.ID, "jwt_") {
					t.Errorf("next sees claims %+v, %t", c, ok)
				}
				w.WriteHeader(http.StatusNoContent)
			})
			w := httptest.NewRecorder()
			newReceiver(t, tt.o).Middleware(next).ServeHTTP(w, tt.request(t))
			if w.Code != tt.status || called != (tt.text == "") {
				t.Fatalf("status %d, next called: %t, body %s", w.Code, called, w.Body)
			}
			if called {
				if len(refusals) != 0 {
					t.Errorf("refusals %v", refusals)
				}
				return
			}
			if len(refusals) != 1 || !errors.Is(refusals[0], tt.err) {
				t.Errorf("refusals %v, want one of %v", refusals, tt.err)
			}
			checkRefusal(t, w, tt.text)
		})
	}
}

func checkRefusal(t *testing.T, w *httptest.ResponseRecorder, text string) {
	t.Helper()
	raw := w.Body.String()
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || a.Error != text {
		t.Errorf("body %q, want the error %q", raw, text)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
	for _, secret := range []string{currentKey, nextKey, bodyHash(hookBody), "example.com", "attacker"} {
		if strings.Contains(raw, secret) {
			t.Errorf("answer %q gives %q away", raw, secret)
		}
	}
}

var errBroken = errors.New("broken")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

// TestStrangersBodyIsNotRead pins the order: signature before body.
func TestStrangersBodyIsNotRead(t *testing.T) {
	for name, key := range map[string]string{"stranger": otherKey, "sender": currentKey} {
		t.Run(name, func(t *testing.T) {
			body := &countingReader{r: bytes.NewReader(hookBody)}
			_, _, err := newReceiver(t, Options{}).VerifyRequest(signedRequest(t, key, SignOptions{}, body))
			if stranger := key == otherKey; stranger != (err != nil) || stranger != (body.n == 0) {
				t.Errorf("%d bytes read, error %v", body.n, err)
			}
		})
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestVerifyRequestReturnsTheBody(t *testing.T) {
	body, c, err := newReceiver(t, Options{}).VerifyRequest(signedRequest(t, currentKey, SignOptions{ID: "jwt_1"}, bytes.NewReader(hookBody)))
	if err != nil || !bytes.Equal(body, hookBody) || c.ID != "jwt_1" || c.Subject != hookURL || c.Key != "current" {
		t.Errorf("body %q, claims %+v, error %v", body, c, err)
	}
}

func TestClaimsFromContextOfOthers(t *testing.T) {
	if c, ok := ClaimsFromContext(context.Background()); ok || c != (Claims{}) {
		t.Errorf("claims %+v", c)
	}
}

// TestOverTheWire speaks HTTP to a real server, where the request line and repeated
// headers come as a sender writes them.
func TestOverTheWire(t *testing.T) {
	rc, err := New(Options{CurrentSigningKey: currentKey})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/app/", http.StripPrefix("/app", rc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))))
	srv := httptest.NewServer(mux)
	defer srv.Close()

	binary := []byte{0, 0xff, 0xfe, '\r', '\n', 0xef, 0xbb, 0xbf}
	sign := func(target string) string {
		return mustSign(t, currentKey, SignOptions{URL: srv.URL + target, Body: binary, Time: time.Now()})
	}
	tests := []struct {
		name, target string
		headers      []string
		chunked      bool
		status       int
	}{
		{"plain", "/app/h", []string{sign("/app/h")}, false, 200},
		{"chunked", "/app/h", []string{sign("/app/h")}, true, 200},
		{"odd target", "/app/b%2fc%7e?x=%zz&&y", []string{sign("/app/b%2fc%7e?x=%zz&&y")}, false, 200},
		{"other query", "/app/h?x", []string{sign("/app/h")}, false, 401},
		{"absolute form", srv.URL + "/app/h", []string{sign("/app/h")}, false, 200},
		{"two headers", "/app/h", []string{sign("/app/h"), sign("/app/h")}, false, 401},
		{"empty header", "/app/h", []string{""}, false, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, body := exchange(t, srv.Listener.Addr().String(), tt.target, tt.headers, tt.chunked, binary)
			if status != tt.status {
				t.Fatalf("status %d, body %q", status, body)
			}
			if status == 200 && !bytes.Equal(body, binary) {
				t.Errorf("next saw %q", body)
			}
		})
	}
}

// exchange writes a request by hand: net/http's client would tidy it up.
func exchange(t *testing.T, addr, target string, signatures []string, chunked bool, body []byte) (int, []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", target, addr)
	for _, s := range signatures {
		fmt.Fprintf(&b, "%s: %s\r\n", strings.ToLower(Header), s)
	}
	if chunked {
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	} else {
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	if _, err := conn.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, got
}
