package api

import (
	"encoding/json"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

const groupBody = 1 << 20

func listURLGroups(r *request) (any, error) {
	all, err := r.handler.engine.URLGroups(r.Context(), r.caller)
	if err != nil {
		return nil, err
	}
	out := make([]client.URLGroup, len(all))
	for i, g := range all {
		out[i] = r.groupJSON(g)
	}
	return out, nil
}

func getURLGroup(r *request) (any, error) {
	g, err := r.handler.engine.URLGroup(r.Context(), r.caller, r.params[0])
	if err != nil {
		return nil, err
	}
	return r.groupJSON(g), nil
}

// groupJSON hides what the group's settings hide of its messages.
func (r *request) groupJSON(g *engine.URLGroup) client.URLGroup {
	out := client.URLGroup{
		Name: g.Name, CreatedAt: engine.Millis(g.Seq), UpdatedAt: g.UpdatedAt, URLPrefix: string(g.Prefix),
		Endpoints: make([]client.Endpoint, len(g.Endpoints)),
	}
	for i, ep := range g.Endpoints {
		out.Endpoints[i] = client.Endpoint(ep)
	}
	if cfg, err := wire.ParseConfig(g.Header); err == nil && len(g.Header) > 0 {
		out.Header = r.veil(&engine.Settings{Redact: cfg.Redact}).settings(g.Header)
	}
	return out
}

// endpointsRequest is the body of adding and removing endpoints.
type endpointsRequest struct {
	Endpoints []client.Endpoint `json:"endpoints"`
}

func (r *request) endpoints() ([]engine.GroupEndpoint, error) {
	var body endpointsRequest
	if err := r.json(groupBody, &body); err != nil {
		return nil, err
	}
	out := make([]engine.GroupEndpoint, len(body.Endpoints))
	for i, ep := range body.Endpoints {
		out[i] = engine.GroupEndpoint(ep)
	}
	return out, nil
}

// addEndpoints adds endpoints to a group, or makes one:
// POST /v2/topics/{name}/endpoints.
func addEndpoints(r *request) (any, error) {
	endpoints, err := r.endpoints()
	if err != nil {
		return nil, err
	}
	return struct{}{}, r.handler.engine.AddToGroup(r.Context(), r.caller, r.params[0], endpoints)
}

// removeEndpoints takes endpoints out: DELETE /v2/topics/{name}/endpoints.
func removeEndpoints(r *request) (any, error) {
	endpoints, err := r.endpoints()
	if err != nil {
		return nil, err
	}
	return struct{}{}, r.handler.engine.RemoveFromGroup(r.Context(), r.caller, r.params[0], endpoints)
}

// groupRequest is the body of changing a group.
type groupRequest struct {
	Headers *map[string]json.RawMessage `json:"headers"` // each with a value or a list of them; {}: none
}

// changeURLGroup sets what holds for messages to a group:
// PATCH /v2/topics/{name}.
func changeURLGroup(r *request) (any, error) {
	var body groupRequest
	if err := r.json(groupBody, &body); err != nil {
		return nil, err
	}
	if body.Headers == nil {
		return nil, invalid("headers: expected an object of settings and their values; {} for none")
	}
	h, cfg, err := wire.ParseGroupHeader(*body.Headers)
	if err != nil {
		return nil, wire.Within("headers", err)
	}
	return struct{}{}, r.handler.engine.SetGroupHeader(r.Context(), r.caller, r.params[0], h, cfg)
}

func deleteURLGroup(r *request) (any, error) {
	return struct{}{}, r.handler.engine.DeleteURLGroup(r.Context(), r.caller, r.params[0])
}
