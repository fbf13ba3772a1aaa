package api

import (
	"encoding/json"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

// listAudit lists management actions, newest first: GET /v2/audit.
func listAudit(r *request) (any, error) {
	f, err := r.filters(false)
	if err != nil {
		return nil, err
	}
	sel := engine.AuditFilter{Actions: f.list("action"), Actors: f.list("actor")}
	if sel.From, sel.To, err = f.dates(); err != nil {
		return nil, err
	}
	count, err := f.count(1000)
	if err != nil {
		return nil, err
	}
	if f.Get("count") == "" {
		count = 100
	}
	entries, next, err := r.handler.engine.Audit(r.Context(), r.caller, sel, f.Get("cursor"), count)
	if err != nil {
		return nil, err
	}
	page := client.AuditPage{Cursor: next}
	for _, a := range entries {
		page.Entries = append(page.Entries, client.AuditEntry{
			Time: engine.Millis(a.Seq), Action: a.Action, Object: a.Object, Actor: a.Actor, ActorName: a.ActorName,
			CallerIP: a.CallerIP, Before: json.RawMessage(a.Before), After: json.RawMessage(a.After),
		})
	}
	return page, nil
}
