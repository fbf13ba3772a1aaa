package engine_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

func (w *world) probe(url string) *engine.Probe {
	w.t.Helper()
	p, err := w.engine.ProbeKeys(context.Background(), w.now(), engine.ProbeRequest{URL: url, Body: []byte("ping")})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// A probe finds out what an endpoint accepts that tells nothing by itself, and
// what it finds counts in a rotation.
func TestT03Probe(t *testing.T) {
	code := func(a *engine.ProbeAnswer) string {
		if a == nil {
			return "-"
		}
		return fmt.Sprint(a.Status)
	}
	// Keys a and b are the pair; what is signed with another was forged.
	const a, b = "sig_current_current", "sig_next_next_next"
	always := func(status int) func(engine.Attempt) engine.Outcome {
		return func(engine.Attempt) engine.Outcome { return engine.Outcome{Status: status, Error: "why"} }
	}
	silent := func(keys ...string) func(engine.Attempt) engine.Outcome {
		return func(at engine.Attempt) engine.Outcome {
			for _, key := range keys {
				if at.SigningKey == key {
					return engine.Outcome{Status: 200}
				}
			}
			return engine.Outcome{Status: 403}
		}
	}
	tests := map[string]struct {
		answer  func(*world) func(engine.Attempt) engine.Outcome
		answers string
		state   engine.EndpointState
		with    string // last verified with
		blocks  bool   // a rotation
	}{
		"ours, both keys":  {func(w *world) func(engine.Attempt) engine.Outcome { return w.holding(a, b) }, "401 200 200", engine.EndpointReady, b, false},
		"ours, one key":    {func(w *world) func(engine.Attempt) engine.Outcome { return w.holding(a, a) }, "401 200 401", engine.EndpointLagging, a, true},
		"other, both keys": {func(*world) func(engine.Attempt) engine.Outcome { return silent(a, b) }, "403 200 200", engine.EndpointReady, b, false},
		"other, one key":   {func(*world) func(engine.Attempt) engine.Outcome { return silent(a) }, "403 200 403", engine.EndpointLagging, a, true},
		"other, old keys":  {func(*world) func(engine.Attempt) engine.Outcome { return silent() }, "403 403 -", engine.EndpointUnknown, "", false},
		"verifies nothing": {func(*world) func(engine.Attempt) engine.Outcome { return always(204) }, "204 - -", engine.EndpointUnverified, "", false},
		"not there":        {func(*world) func(engine.Attempt) engine.Outcome { return always(404) }, "404 404 -", engine.EndpointUnknown, "", false},
		"unreachable":      {func(*world) func(engine.Attempt) engine.Outcome { return always(0) }, "0 - -", engine.EndpointUnknown, "", false},
		"gone in the meantime": {func(*world) func(engine.Attempt) engine.Outcome {
			return func(at engine.Attempt) engine.Outcome {
				if at.SigningKey == b {
					return engine.Outcome{Error: "gone"}
				}
				return silent(a)(at)
			}
		}, "403 200 0", engine.EndpointUnknown, "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.respond(tt.answer(w))
				p := w.probe(hook + "?x=1")
				if got := code(p.Forged) + " " + code(p.Current) + " " + code(p.Next); got != tt.answers {
					t.Errorf("answers %s, want %s", got, tt.answers)
				}
				with := ""
				if tt.with != "" {
					with = w.KeyID(tt.with)
				}
				if p.State != tt.state || p.URL != hook || p.VerifiedKey != with {
					t.Errorf("found %+v, want %s, verified with %q", p.EndpointStatus, tt.state, with)
				}
				err := w.rotate(false)
				if blocked := engine.ErrorCode(err) == engine.Conflict && err != nil; blocked != tt.blocks {
					t.Errorf("rotation: %v", err)
				}
				for _, at := range w.made() {
					if at.Kind != engine.KindProbe || string(at.Body) != "ping" || at.Method != "POST" || at.Header.Get(wire.HeaderMessageID) == "" {
						t.Errorf("asked by %+v", at)
					}
				}
			})
		})
	}
}

// An endpoint that was found open is closed as soon as it verifies something.
func TestUnverifiedEndpointIsMended(t *testing.T) {
	inBubble(t, func(w *world) {
		w.probe(hook)
		w.deliver(hook, 1)
		w.expectState(hook, engine.EndpointUnverified) // a delivery that is accepted proves nothing
		w.respond(w.holding(w.tenant.CurrentKey, w.tenant.NextKey))
		w.deliver(hook, 1)
		w.expectState(hook, engine.EndpointReady)
	})
}

// A caller who has gone is not told of what was not found out.
func TestProbeEndsWithItsCaller(t *testing.T) {
	inBubble(t, func(w *world) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		w.respond(func(engine.Attempt) engine.Outcome {
			time.Sleep(2 * time.Second)
			return engine.Outcome{Error: "cut off"}
		})
		if _, err := w.engine.ProbeKeys(ctx, w.now(), engine.ProbeRequest{URL: hook}); err != context.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
	})
}
