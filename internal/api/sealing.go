package api

import (
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

// getSealing says how the data is encrypted: GET /v2/admin/rewrap.
func getSealing(r *request) (any, error) {
	s, err := r.handler.engine.Sealing(r.Context(), r.caller)
	if err != nil {
		return nil, err
	}
	return sealingJSON(&s), nil
}

// rewrap has it encrypted anew: POST /v2/admin/rewrap.
func rewrap(r *request) (any, error) {
	s, err := r.handler.engine.Rewrap(r.Context(), r.caller)
	if err != nil {
		return nil, err
	}
	return sealingJSON(&s), nil
}

func sealingJSON(s *engine.Sealing) client.Sealing {
	out := client.Sealing{
		State: client.SealingDone, MasterKey: s.MasterKey, DataKeys: s.DataKeys,
		Resealed: s.Resealed, Percent: s.Percent, StartedAt: s.StartedAt, EndedAt: s.EndedAt,
	}
	switch {
	case s.MasterKey == "":
		out.State = client.SealingOff
	case s.UnderWay():
		out.State = client.SealingUnderWay
	default:
		out.Percent = 100
	}
	return out
}
