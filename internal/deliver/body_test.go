package deliver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/signposthq/signpost/internal/engine"
)

// A large body comes whole, and is let go when it is sent: before there is an
// answer.
func TestT15LargeBodiesAreLetGo(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	letGo := make(chan struct{})
	sentBody := bytes.Clone(body)
	held := weak.Make(&sentBody[0])
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(got, body) || r.ContentLength != int64(len(body)) {
			w.WriteHeader(http.StatusBadRequest)
		}
		select {
		case <-letGo:
			for deadline := time.Now().Add(5 * time.Second); held.Value() != nil; runtime.GC() {
				if time.Now().After(deadline) {
					w.WriteHeader(http.StatusConflict)
					return
				}
			}
		case <-time.After(5 * time.Second):
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer server.Close()
	d := newLocal(t)
	var sent int
	var once sync.Once
	o := d.Deliver(t.Context(), attempt(server.URL, func(a *engine.Attempt) {
		a.Body, sentBody = sentBody, nil
		a.Sent = func(n int, all bool) {
			if sent += n; all {
				once.Do(func() { close(letGo) })
			}
		}
	}))
	if o.Status != 200 || o.Error != "" || sent != len(body) {
		t.Errorf("%d %q, %d bytes sent", o.Status, o.Error, sent)
	}
}

// Until it is sent it can be had again, for another connection.
func TestLargeBodyAgain(t *testing.T) {
	b := &largeBody{sent: func(int, bool) {}, body: []byte("hello")}
	first, _ := b.open()
	first.Read(make([]byte, 3))
	second, err := b.open()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(second); string(got) != "hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := b.open(); !errors.Is(err, errLetGo) {
		t.Errorf("got %v", err)
	}
}

// An attempt that others wait for says so.
func TestT15SlowRequests(t *testing.T) {
	s := newWireServer(t, fixed(""))
	ctx, giveUp := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { giveUp(engine.ErrTooSlow) })
	if o := newLocal(t).Deliver(ctx, attempt(s.url)); o.Error != engine.ErrTooSlow.Error() {
		t.Errorf("got %q", o.Error)
	}
}
