package api

import (
	"cmp"
	"net/http"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

func getKeys(r *request) (any, error) {
	return client.SigningKeys{Current: r.caller.CurrentKey, Next: r.caller.NextKey}, nil
}

// rotateKeys answers a rotation that would break endpoints with 409 and a list
// of them.
func rotateKeys(r *request) (any, error) {
	force, err := r.flag("force")
	if err != nil {
		return nil, err
	}
	t, lagging, err := r.handler.engine.RotateKeys(r.Context(), r.caller, force)
	if engine.ErrorCode(err) == engine.Conflict {
		answer := client.Error{Message: err.Error(), Endpoints: endpointsJSON(lagging)}
		return reply{http.StatusConflict, answer}, nil
	}
	if err != nil {
		return nil, err
	}
	return client.SigningKeys{Current: t.CurrentKey, Next: t.NextKey}, nil
}

func keyStatus(r *request) (any, error) {
	s := r.handler.engine.KeyStatus(r.caller)
	return client.KeyStatus{
		Current: s.Current, Next: s.Next, CurrentPublic: s.CurrentPublic, NextPublic: s.NextPublic,
		RotatedAt: s.RotatedAt, Endpoints: endpointsJSON(s.Endpoints),
	}, nil
}

func endpointsJSON(endpoints []engine.EndpointStatus) []client.EndpointKeys {
	out := make([]client.EndpointKeys, len(endpoints))
	for i := range endpoints {
		out[i] = endpointJSON(&endpoints[i])
	}
	return out
}

func endpointJSON(ep *engine.EndpointStatus) client.EndpointKeys {
	out := client.EndpointKeys{
		URL: ep.URL, State: client.EndpointState(ep.State),
		LastVerifiedKey: ep.VerifiedKey, LastVerifiedAt: ep.VerifiedAt, LastSeenAt: ep.SeenAt,
	}
	if echo, told := wire.ParseKeyEcho([]string{ep.Echo}); told {
		out.Holds = echo.Held()
	}
	return out
}

const probeBody = 1 << 20

func probeKeys(r *request) (any, error) {
	var p client.ProbeRequest
	if err := r.json(probeBody, &p); err != nil {
		return nil, err
	}
	method, err := wire.ParseMethod(cmp.Or(p.Method, http.MethodPost))
	if err != nil {
		return nil, wire.Within("method", err)
	}
	if err := wire.CheckURL(p.URL); err != nil {
		return nil, wire.Within("url", err)
	}
	probe, err := r.handler.engine.ProbeKeys(r.Context(), r.caller, engine.ProbeRequest{URL: p.URL, Method: method, Body: []byte(p.Body)})
	if err != nil {
		return nil, err
	}
	return client.KeyProbe{
		EndpointKeys: endpointJSON(&probe.EndpointStatus),
		Forged:       probeAnswer(probe.Forged), Current: probeAnswer(probe.Current), Next: probeAnswer(probe.Next),
	}, nil
}

func probeAnswer(a *engine.ProbeAnswer) *client.ProbeAnswer {
	if a == nil {
		return nil
	}
	return &client.ProbeAnswer{Status: a.Status, Error: a.Error}
}

// getJWKS needs no token: what it tells is public. What was found by a token is
// no answer for those who send another, or none.
func getJWKS(r *request) (any, error) {
	token, err := token(r.Request, r.query)
	if err != nil {
		return nil, err
	}
	user, err := single(r.query, "user")
	if err != nil {
		return nil, err
	}
	if token != "" && user == "" {
		if err := r.handler.authenticate(r, token); err != nil {
			return nil, err
		}
	}
	set, err := r.handler.engine.JWKS(r.Context(), token, user)
	if err != nil {
		return nil, err
	}
	whose := "public"
	if token != "" && user == "" {
		whose = "private"
	}
	r.writer.Header().Set("Cache-Control", whose+", max-age=300")
	return rawJSON(set), nil
}
