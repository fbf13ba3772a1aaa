package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// audit writes down, with the change itself, who made it. before and after
// are what changed, as JSON objects; nil: there was nothing, or is nothing any
// more. They never hold a secret: keys go by their ids.
func (c *change) audit(who *Caller, action, object string, before, after any) error {
	a := &AuditEntry{
		Seq: c.seq(), Tenant: who.ID, Actor: who.Token.ID(), ActorName: who.Token.Name,
		Action: action, Object: object, CallerIP: who.IP,
	}
	var err error
	if a.Before, err = auditState(before); err != nil {
		return err
	}
	if a.After, err = auditState(after); err != nil {
		return err
	}
	if err := c.tx.InsertAudit(a); err != nil {
		return fmt.Errorf("insert audit: %w", err)
	}
	return nil
}

func auditState(v any) (string, error) {
	if v == nil {
		return "", nil
	}
	text, err := json.Marshal(v)
	if err != nil || len(text) <= 1000 {
		return string(text), err
	}
	var read any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&read); err != nil {
		return "", err
	}
	text, err = json.Marshal(shorten(read))
	return string(text), err
}

// shorten keeps what somebody sent, such as a filter of a thousand ids, from
// filling the audit log.
func shorten(v any) any {
	const mostItems, mostBytes = 20, 500
	switch v := v.(type) {
	case string:
		if len(v) > mostBytes {
			return strings.ToValidUTF8(v[:mostBytes], "") + "…"
		}
	case []any:
		cut := v[:min(len(v), mostItems)]
		for i := range cut {
			cut[i] = shorten(cut[i])
		}
		if more := len(v) - len(cut); more > 0 {
			return append(cut[:len(cut):len(cut)], fmt.Sprintf("and %d more", more))
		}
	case map[string]any:
		for name := range v {
			v[name] = shorten(v[name])
		}
	}
	return v
}

// selected is what the audit log says a bulk operation was asked to select.
type selected struct {
	Filter any `json:"filter"`
}

// counted is what it says became of it.
type counted struct {
	Count int `json:"count"`
}

// pausing is the action of pausing one of a noun, or of letting it go on.
func pausing(noun string, paused bool) string {
	if paused {
		return noun + ".pause"
	}
	return noun + ".resume"
}

// AuditFilter selects audit entries; a zero field selects all.
type AuditFilter struct {
	Actions  []string
	Actors   []string // ids or names of tokens
	From, To int64    // Unix ms, inclusive; 0: open
}

func (f *AuditFilter) matches(a *AuditEntry) bool {
	at := Millis(a.Seq)
	return anyOf(f.Actions, a.Action) && (anyOf(f.Actors, a.Actor) || anyOf(f.Actors, a.ActorName)) &&
		(f.From == 0 || at >= f.From) && (f.To == 0 || at <= f.To)
}

// Audit lists at most count entries a filter selects, newest first. next is
// the cursor of the page after; "" at the end.
func (e *Engine) Audit(ctx context.Context, who *Caller, f AuditFilter, cursor string, count int) (page []*AuditEntry, next string, err error) {
	p, err := pageAt(cursor, true)
	if err != nil {
		return nil, "", err
	}
	if f.From != 0 {
		p.From = FirstSeq(f.From)
	}
	if f.To != 0 {
		p.To = min(p.To, FirstSeq(min(f.To, Millis(maxSeq))+1))
	}
	l := listing[*AuditEntry]{count: count, hurry: e.patience()}
	l.take = func(a *AuditEntry) (bool, error) { return f.matches(a), nil }
	err = e.store.View(ctx, func(tx Tx) error {
		l.rows = func() (rows []*AuditEntry, position int64, end bool, err error) {
			if rows, err = tx.ListAudit(who.ID, p); err != nil || len(rows) < p.Limit {
				return rows, 0, true, err
			}
			last := rows[len(rows)-1].Seq
			p.after(last)
			return rows, last - 1, false, nil
		}
		page, next, err = l.byKey(func(a *AuditEntry) int64 { return a.Seq })
		return err
	})
	return page, next, err
}

const auditStep = 500 // entries of the audit log that are read at a time
