package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"
)

// AuditEntry is one management action: who changed what, and how it was before
// and after. It never holds a secret; signing keys go by their ids.
type AuditEntry struct {
	Time      int64  `json:"time"`             // Unix milliseconds
	Action    string `json:"action"`           // such as token.create, keys.rotate, message.cancel
	Object    string `json:"object,omitempty"` // id of what was changed; "": all that the filter in Before selected
	Actor     string `json:"actor"`            // id of the token it was done with
	ActorName string `json:"actorName,omitempty"`
	CallerIP  string `json:"callerIP,omitempty"`
	// Before and After are JSON objects whose fields depend on the action; nil
	// where there is nothing to tell.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// AuditPage is a page of the audit log, newest first.
type AuditPage struct {
	Entries []AuditEntry `json:"entries"`
	Cursor  string       `json:"cursor,omitempty"` // "": this is the last page
}

// MarshalJSON writes entries as an array even when there is none.
func (p AuditPage) MarshalJSON() ([]byte, error) {
	type plain AuditPage
	p.Entries = some(p.Entries)
	return json.Marshal(plain(p))
}

// AuditRequest says which entries of the audit log to list. The zero value
// lists all, newest first.
type AuditRequest struct {
	Actions []string  // any of them
	Actors  []string  // any of them: ids or names of tokens
	From    time.Time // inclusive; zero: no bound
	To      time.Time // inclusive; zero: no bound
	Cursor  string    // of the page before; default: from the start
	Count   int       // of a page, 1000 at most; default: 100
}

// Audit lists one page of the audit log of the tenant (GET /v2/audit). Entries
// are kept for a year.
func (c *Client) Audit(ctx context.Context, r AuditRequest) (AuditPage, error) {
	q := newQuery()
	q.add("action", r.Actions...)
	q.add("actor", r.Actors...)
	q.addTime("fromDate", r.From)
	q.addTime("toDate", r.To)
	q.addPage(r.Cursor, r.Count, "")
	var out AuditPage
	if err := c.list(ctx, "/v2/audit", q, &out); err != nil {
		return AuditPage{}, fmt.Errorf("list audit: %w", err)
	}
	return out, nil
}

// AllAudit walks the audit log from r on, page by page. It ends after yielding
// an error.
func (c *Client) AllAudit(ctx context.Context, r AuditRequest) iter.Seq2[AuditEntry, error] {
	return pages(r.Cursor, func(cursor string) ([]AuditEntry, string, error) {
		r.Cursor = cursor
		p, err := c.Audit(ctx, r)
		return p.Entries, p.Cursor, err
	})
}
