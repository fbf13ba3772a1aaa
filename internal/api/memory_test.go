package api

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/signposthq/signpost/internal/budget"
	"github.com/signposthq/signpost/internal/engine"
)

func bodyOf(h *Handler, body io.Reader, length int64) *request {
	r := httptest.NewRequest("POST", "/v2/publish/https://example.com", body)
	r.ContentLength = length
	return &request{Request: r, handler: h, writer: httptest.NewRecorder(), caller: new(engine.Caller)}
}

// What large bodies take together is bounded: more wait for those before them,
// and are told to come again if that takes too long. Small ones are not affected.
func TestT16LargeBodiesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Handler{bodies: budget.New(1 << 20)}
		const size = 3 << 20
		read := func(n int64) (*request, error) {
			r := bodyOf(h, iotest.HalfReader(bytes.NewReader(make([]byte, n))), n)
			body, err := r.body(10 << 20)
			if err == nil && int64(len(body)) != n {
				t.Errorf("read %d bytes of %d", len(body), n)
			}
			return r, err
		}
		first, err := read(size) // has the turn
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		second, err := read(size)
		if engine.ErrorCode(err) != engine.Unavailable || time.Since(began) != bodyPatience {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		second.release()
		if _, err := read(smallBody); err != nil {
			t.Errorf("a small one: %v", err)
		}
		go func() {
			time.Sleep(time.Second)
			first.release()
		}()
		third, err := read(size)
		if err != nil {
			t.Error(err)
		}
		third.release()
	})
}

// Those who call webhooks, however slowly, take no memory from those who publish.
func TestT16SlowWebhooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Handler{bodies: budget.New(1 << 20), hooks: budget.New(1 << 20)}
		from, to := io.Pipe()
		done := make(chan error)
		for range 2 {
			hook := bodyOf(h, from, 10<<20)
			hook.caller = nil
			go func() {
				_, err := hook.body(10 << 20)
				hook.release()
				done <- err
			}()
		}
		to.Write(make([]byte, 2<<20))
		began := time.Now()
		publish := bodyOf(h, bytes.NewReader(make([]byte, 900<<10)), 900<<10)
		if _, err := publish.body(10 << 20); err != nil || time.Since(began) > 0 {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		publish.release()
		to.Close()
		for range 2 {
			<-done
		}
	})
}

// Whoever stops in the middle holds no more than it has sent, and that not for
// long if others wait.
func TestT16StalledBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Handler{bodies: budget.New(1 << 20)}
		stalled := make(chan error)
		for range 2 {
			from, to := io.Pipe()
			r := bodyOf(h, from, 10<<20)
			go func() {
				_, err := r.body(10 << 20)
				r.release()
				stalled <- err
			}()
			to.Write(make([]byte, 700<<10))
			go func() {
				time.Sleep(time.Minute)
				to.CloseWithError(http.ErrAbortHandler)
			}()
		}
		whole := bodyOf(h, bytes.NewReader(make([]byte, 900<<10)), 900<<10)
		if _, err := whole.body(10 << 20); !errors.Is(err, errCrowded) {
			t.Errorf("got %v, although two hold what there is", err)
		}
		whole.release()
		for range 2 {
			<-stalled
		}
		again := bodyOf(h, bytes.NewReader(make([]byte, 900<<10)), 900<<10)
		if _, err := again.body(10 << 20); err != nil {
			t.Error(err)
		}
		again.release()
	})
}

// An answer that goes wrong in the middle is no whole one to anybody; before, it
// is an error like any other.
func TestStreamedAnswerGoesWrong(t *testing.T) {
	var logged bytes.Buffer
	h := &Handler{log: slog.New(slog.NewTextHandler(&logged, nil))}
	for _, test := range []struct {
		name, sent string
		err        error
		status     int
		body, log  string
	}{
		{"whole", "[]", nil, 200, "[]", ""},
		{"at once", "", errCrowded, 503, "too many requests", ""},
		{"in the middle", "[", errCrowded, 200, "", "API answer cut off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			logged.Reset()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.stream(&request{Request: r, handler: h, writer: w, route: &routes[0]}, func(w io.Writer) error {
					if test.sent != "" {
						io.WriteString(w, test.sent)
						http.NewResponseController(w.(http.ResponseWriter)).Flush()
					}
					return test.err
				})
			}))
			resp, err := http.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			server.Close()
			if cut := test.log != ""; cut != (err != nil) {
				t.Errorf("read %q, %v", body, err)
			}
			if resp.StatusCode != test.status || resp.Header.Get("Content-Type") != "application/json" || !strings.Contains(string(body), test.body) {
				t.Errorf("%d %v %q", resp.StatusCode, resp.Header, body)
			}
			if got := logged.String(); !strings.Contains(got, test.log) || test.log == "" && got != "" {
				t.Errorf("logged %q", got)
			}
		})
	}
}
