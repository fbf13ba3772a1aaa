package chaos

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signposthq/signpost/internal/deliver"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Plan{
		"dup=5%,drop=2%,delay=1s,kill=1%": {Dup: .05, Drop: .02, Kill: .01, Delay: time.Second},
		"dup=1":                           {Dup: 1},
		"drop=0.5, delay=0.25s":           {Drop: .5, Delay: 250 * time.Millisecond},
		"kill=0%":                         {},
		"delay=300ms":                     {Delay: 300 * time.Millisecond},
		"delay=2":                         {Delay: 2 * time.Second},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":            "expected dup, drop, kill and delay",
		"crash=1%":    `got "crash=1%"`,
		"dup":         `dup: expected a share such as 5% or 0.05, got ""`,
		"dup=101%":    `got "101%"`,
		"dup=-1%":     `got "-1%"`,
		"dup=NaN":     `got "NaN"`,
		"dup=5%%":     `got "5%%"`,
		"delay=soon":  `delay: expected a time such as 300ms or 1s, got "soon"`,
		"delay=-1s":   "delay: ",
		"dup=5%,,":    `got ""`,
		"delay=1s x=": "delay: ",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

// endpoint counts what reaches it.
type endpoint struct {
	calls, hungUp atomic.Int64
	wait          bool // until somebody hangs up
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	e.calls.Add(1)
	if e.wait {
		<-r.Context().Done()
		e.hungUp.Add(1)
	}
}

// attempt delivers once to e, by a plan whose shares are certain.
func attempt(t *testing.T, e *endpoint, p Plan) (engine.Outcome, string) {
	t.Helper()
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	d := deliver.New(deliver.Options{AllowLocal: true})
	t.Cleanup(d.Close)
	var log bytes.Buffer
	by := p.Deliver(d, slog.New(slog.NewTextHandler(&log, nil))).(*deliverer)
	o := by.Deliver(t.Context(), engine.Attempt{
		Method: "POST", URL: server.URL, Body: []byte("hello"), Kind: engine.KindPlain,
		Header: http.Header{wire.HeaderMessageID: {"msg_1"}}, Timeout: time.Minute,
		SigningKey: "sig_current_of_a_test", KeepResponse: 1 << 20,
	})
	if o.Release != nil {
		o.Release()
	}
	return o, log.String()
}

func TestDeliver(t *testing.T) {
	t.Run("nothing", func(t *testing.T) {
		e := &endpoint{}
		if o, log := attempt(t, e, Plan{}); o.Status != 200 || e.calls.Load() != 1 || log != "" {
			t.Errorf("%d calls, %+v, %q", e.calls.Load(), o, log)
		}
	})
	t.Run("twice", func(t *testing.T) {
		e := &endpoint{}
		o, log := attempt(t, e, Plan{Dup: 1})
		if o.Status != 200 || e.calls.Load() != 2 || !strings.Contains(log, "made twice") || !strings.Contains(log, "msg_1") {
			t.Errorf("%d calls, %+v, %q", e.calls.Load(), o, log)
		}
	})
	t.Run("cut off", func(t *testing.T) {
		e := &endpoint{wait: true}
		o, log := attempt(t, e, Plan{Kill: 1})
		if o.Error != lostBack || e.calls.Load() != 1 || !strings.Contains(log, "cut off") {
			t.Errorf("%d calls, %+v, %q", e.calls.Load(), o, log)
		}
	})
	t.Run("dropped", func(t *testing.T) {
		there, back := 0, 0
		for range 100 {
			e := &endpoint{}
			switch o, _ := attempt(t, e, Plan{Drop: 1}); {
			case o.Error == lostThere && e.calls.Load() == 0:
				there++
			case o.Error == lostBack && e.calls.Load() == 1:
				back++
			default:
				t.Fatalf("%d calls, %+v", e.calls.Load(), o)
			}
		}
		if there == 0 || back == 0 {
			t.Errorf("of 100, %d requests and %d responses were dropped", there, back)
		}
	})
}

// stub says 200.
type stub struct{ delivered atomic.Int64 }

func (s *stub) Deliver(context.Context, engine.Attempt) engine.Outcome {
	s.delivered.Add(1)
	return engine.Outcome{Status: 200}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var next stub
		d := Plan{Delay: time.Minute}.Deliver(&next, slog.New(slog.DiscardHandler)).(*deliverer)
		d.chance = func() float64 { return .5 }
		from := time.Now()
		if o := d.Deliver(t.Context(), engine.Attempt{Kind: engine.KindPlain}); o.Status != 200 || time.Since(from) != 30*time.Second {
			t.Errorf("%+v after %v", o, time.Since(from))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if o := d.Deliver(ctx, engine.Attempt{Kind: engine.KindPlain}); o.Error == "" || next.delivered.Load() != 1 {
			t.Errorf("a delivery held up at the server's end: %+v", o)
		}
	})
}

func TestProbe(t *testing.T) {
	var next stub
	d := Plan{Drop: 1, Kill: 1, Dup: 1, Delay: time.Hour}.Deliver(&next, slog.New(slog.DiscardHandler))
	if o := d.Deliver(t.Context(), engine.Attempt{Kind: engine.KindProbe}); o.Status != 200 || next.delivered.Load() != 1 {
		t.Errorf("%+v, delivered %d times", o, next.delivered.Load())
	}
}
