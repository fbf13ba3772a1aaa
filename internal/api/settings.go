package api

import (
	"cmp"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

func getSettings(r *request) (any, error) { return settingsJSON(r.caller.Tenant), nil }

func settingsJSON(t *engine.Tenant) client.Settings {
	return client.Settings{
		SignCalls: cmp.Or(t.Settings.SignCalls, client.SignCallsAlways),
		SignWith:  t.Settings.SignWith,
	}
}

const settingsBody = 64 << 10

func changeSettings(r *request) (any, error) {
	var change client.SettingsChange
	if err := r.json(settingsBody, &change); err != nil {
		return nil, err
	}
	t, err := r.handler.engine.ChangeSettings(r.Context(), r.caller, engine.SettingsChange{
		SignCalls: change.SignCalls, SignWith: change.SignWith,
	})
	if err != nil {
		return nil, err
	}
	return settingsJSON(t), nil
}
