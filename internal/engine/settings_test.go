package engine_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// callSomewhere starts a run and has it call a third party, and returns the two
// attempts.
func (w *world) callSomewhere(url string, signWith ...string) (step, call engine.Attempt) {
	w.t.Helper()
	before := len(w.made())
	w.publish(engine.Publish{Destination: workflowURL, Config: wire.Config{SignWith: signWith, Workflow: wire.Workflow{Init: true, RunID: "wfr_1"}}})
	time.Sleep(time.Second)
	w.publish(engine.Publish{Destination: url, Config: wire.Config{
		Callback: &wire.Callback{URL: workflowURL}, Workflow: wire.Workflow{RunID: "wfr_1", CallType: wire.CallTo},
	}})
	time.Sleep(time.Second)
	made := w.made()[before:]
	if len(made) < 2 || made[1].Kind != engine.KindToCallback || made[1].URL != url {
		w.t.Fatalf("attempts %+v", made)
	}
	if _, err := w.engine.CancelRun(context.Background(), w.tenant, "wfr_1"); err != nil {
		w.t.Fatal(err)
	}
	return made[0].Attempt, made[1].Attempt
}

func (w *world) set(c engine.SettingsChange) {
	w.t.Helper()
	if _, err := w.engine.ChangeSettings(context.Background(), w.now(), c); err != nil {
		w.t.Fatal(err)
	}
}

// A tenant may stop handing out signatures to strangers.
func TestSignCalls(t *testing.T) {
	inBubble(t, func(w *world) {
		const stranger, own = "https://stranger.example/x", "https://app.example/x"
		for _, tt := range []struct {
			setting       string
			stranger, own bool
		}{{"", true, true}, {"same-origin", false, true}, {"never", false, false}, {"always", true, true}} {
			if tt.setting != "" {
				w.set(engine.SettingsChange{SignCalls: &tt.setting})
			}
			for url, signed := range map[string]bool{stranger: tt.stranger, own: tt.own} {
				step, call := w.callSomewhere(url)
				if step.Unsigned || call.Unsigned == signed {
					t.Errorf("%q, call to %s: step unsigned %v, call unsigned %v", tt.setting, url, step.Unsigned, call.Unsigned)
				}
			}
		}
	})
}

// Signatures asked for by the tenant, a message or a run add up; a run's third
// parties get what the tenant and the call ask for.
func TestSignWith(t *testing.T) {
	inBubble(t, func(w *world) {
		ed, std := wire.SignEd25519, wire.SignStandardWebhooks
		both := []string{ed, std}
		w.publish(engine.Publish{Config: wire.Config{SignWith: []string{std}}})
		time.Sleep(time.Second)
		if got := w.made()[0].SignWith; !slices.Equal(got, []string{std}) {
			t.Errorf("message: %v", got)
		}
		w.set(engine.SettingsChange{SignWith: &[]string{ed, ed}})
		step, call := w.callSomewhere("https://stranger.example/x", std)
		if !slices.Equal(step.SignWith, both) || !slices.Equal(call.SignWith, []string{ed}) {
			t.Errorf("step: %v, call: %v", step.SignWith, call.SignWith)
		}
		if string(step.Seed) != string(w.tenant.Secrets.CurrentSeed) || step.NextKey != w.tenant.NextKey {
			t.Error("signed with other keys")
		}
		w.set(engine.SettingsChange{SignCalls: new("never")})
		w.stop()
		w.start()
		if s := w.now().Settings; s.SignCalls != "never" || !slices.Equal(s.SignWith, []string{ed}) {
			t.Errorf("settings after a restart: %+v", s)
		}
	})
}

func TestChangeSettingsRefuses(t *testing.T) {
	inBubble(t, func(w *world) {
		for want, c := range map[string]engine.SettingsChange{
			`signCalls: expected always, same-origin, never, got "sometimes"`: {SignCalls: new("sometimes")},
			`signWith: expected ed25519 or standard-webhooks, got "rsa"`:      {SignCalls: new("never"), SignWith: &[]string{"rsa"}},
		} {
			if _, err := w.engine.ChangeSettings(context.Background(), w.caller, c); err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
		if s := w.now().Settings; s.SignCalls != "" || s.SignWith != nil {
			t.Errorf("settings %+v", s)
		}
	})
}
