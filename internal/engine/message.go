package engine

import (
	"context"
	"net/url"
	"slices"
)

// Message is the message of a public id. Finished ones are readable as long
// as they are retained.
func (e *Engine) Message(ctx context.Context, t *Tenant, id string) (*Message, error) {
	var m *Message
	err := e.store.View(ctx, func(tx Tx) (err error) {
		m, err = findMessage(tx, t, id)
		return err
	})
	if err == nil && m == nil {
		err = errorf(NotFound, "message %s not found", id)
	}
	return m, err
}

// findMessage reads a message with its body, wherever that is; nil if the
// tenant has none of that id.
func findMessage(tx Tx, t *Tenant, id string) (*Message, error) {
	key, ok := ParseMessageID(id)
	if !ok {
		return nil, nil
	}
	rows, err := tx.Messages([]int64{key.Seq})
	if err != nil || len(rows) == 0 || rows[0].Tenant != t.ID || rows[0].Key != key {
		return nil, err
	}
	return rows[0], fillBody(tx, rows[0])
}

// fillBody reads the body and headers of a run's message from the run.
func fillBody(tx Tx, m *Message) error {
	if m.Run == 0 || m.LogIndex < 0 {
		return nil
	}
	log, err := tx.Log(m.Run, m.LogIndex, m.LogIndex)
	if err != nil || len(log) == 0 {
		return err
	}
	m.Body = log[0].Body
	run, err := tx.Run(m.Run)
	if err == nil && run != nil && m.Kind != KindToCallback {
		m.Header = run.headerFor(m)
	}
	return err
}

// CancelMessage stops a message from being delivered any more. An attempt
// under way is not cut off; there will be no other.
func (e *Engine) CancelMessage(ctx context.Context, t *Tenant, id string) error {
	return e.update(ctx, func(c *change) error {
		key, ok := ParseMessageID(id)
		if !ok {
			return errorf(NotFound, "message %s not found", id)
		}
		m, err := c.tx.LockMessage(key.Seq)
		if err != nil {
			return err
		}
		if m == nil || m.Tenant != t.ID || m.Key != key {
			return errorf(NotFound, "message %s not found", id)
		}
		if m.Run != 0 {
			return errorf(Invalid, "message %s belongs to a workflow run; cancel the run instead", id)
		}
		canceled, err := c.cancel(m)
		if err == nil && !canceled {
			err = errorf(NotFound, "message %s is already finished", id)
		}
		return err
	})
}

// cancel cancels a locked message that is pending, and says whether it was.
func (c *change) cancel(m *Message) (bool, error) {
	if m.State != Pending {
		return false, nil
	}
	to := Canceled
	if c.e.queue.isInFlight(m.Seq) {
		to = Canceling
	}
	missed, err := c.tx.SettleMessages([]Transition{{Seq: m.Seq, From: Pending, Attempt: m.Retried, To: to, Due: m.Due, Retried: m.Retried}})
	if err != nil || len(missed) > 0 {
		return false, err
	}
	c.record(&Settlement{Tenant: m.Tenant, Message: m.Seq, Result: to, Retried: m.Retried, EndedAt: c.now})
	c.drop = append(c.drop, m.Seq)
	return true, nil
}

// MessageFilter selects messages; a zero field selects all.
type MessageFilter struct {
	IDs       []string
	URLs      []string
	Hosts     []string // with or without the port
	Paths     []string
	Labels    []string
	CallerIPs []string
	From, To  int64 // creation, Unix ms, inclusive; 0: open
	// Elsewhere names attributes no message has yet (a queue, a schedule …):
	// asked for one, nothing matches.
	Elsewhere bool
}

func (f *MessageFilter) matches(m *Message) bool {
	at := Millis(m.Seq)
	if f.Elsewhere || f.From != 0 && at < f.From || f.To != 0 && at > f.To ||
		!anyOf(f.URLs, m.URL) || !anyOf(f.CallerIPs, m.CallerIP) || !anyShared(f.Labels, m.Settings.Labels) ||
		len(f.IDs) > 0 && !slices.Contains(f.IDs, m.String()) {
		return false
	}
	return matchesURL(m.URL, f.Hosts, f.Paths)
}

// matchesURL says whether a URL's host, with or without its port, is one of
// hosts, and its path one of paths.
func matchesURL(raw string, hosts, paths []string) bool {
	if len(hosts) == 0 && len(paths) == 0 {
		return true
	}
	u, err := url.Parse(raw)
	return err == nil && (anyOf(hosts, u.Host) || anyOf(hosts, u.Hostname())) && anyOf(paths, u.Path)
}

// CancelMessages cancels what a filter selects of the messages still to be
// delivered, at most limit (0: all), soonest due first, and says how many.
// Ids given leave no room for the other fields. Messages of workflow runs are
// cancelled with their run.
func (e *Engine) CancelMessages(ctx context.Context, t *Tenant, f MessageFilter, limit int) (int, error) {
	if len(f.IDs) > 0 {
		return e.cancelByID(ctx, t, f.IDs)
	}
	total := 0
	for after := (Due{}); ; {
		n, next := 0, Due{}
		err := e.update(ctx, func(c *change) error {
			n, next = 0, Due{}
			rows, err := c.tx.PendingMessages(t.ID, after, bulkStep)
			if err != nil {
				return err
			}
			for _, m := range rows {
				if limit > 0 && total+n >= limit {
					return nil
				}
				if m.Run != 0 || !f.matches(m) {
					continue
				}
				canceled, err := c.cancel(m)
				if err != nil {
					return err
				}
				if canceled {
					n++
				}
			}
			if len(rows) == bulkStep {
				last := rows[len(rows)-1]
				next = Due{At: last.Due, Seq: last.Seq}
			}
			return nil
		})
		total += n
		if err != nil || next == (Due{}) || limit > 0 && total >= limit {
			return total, err
		}
		after = next
	}
}

func (e *Engine) cancelByID(ctx context.Context, t *Tenant, ids []string) (n int, err error) {
	err = e.update(ctx, func(c *change) error {
		n = 0
		for _, id := range ids {
			key, ok := ParseMessageID(id)
			if !ok {
				continue
			}
			m, err := c.tx.LockMessage(key.Seq)
			if err != nil {
				return err
			}
			if m == nil || m.Tenant != t.ID || m.Key != key || m.Run != 0 {
				continue
			}
			canceled, err := c.cancel(m)
			if err != nil {
				return err
			}
			if canceled {
				n++
			}
		}
		return nil
	})
	return n, err
}
