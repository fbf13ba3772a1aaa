package engine

import (
	"context"
	"slices"

	"github.com/signposthq/signpost/internal/wire"
)

// DeadMessage is a DLQ entry with its message.
type DeadMessage struct {
	Entry   *DLQEntry
	Message *Message
	Run     *Run // nil: a plain message
}

// DLQFilter selects DLQ entries; a zero field selects all. From and To are
// about the time an entry came in.
type DLQFilter struct {
	IDs      []string       `json:"dlqIds,omitempty"` // leave no room for the other fields
	Message  MessageFilter  `json:"message,omitzero"`
	Statuses []int          `json:"responseStatus,omitempty"`
	Workflow *bool          `json:"workflow,omitempty"` // only entries of runs, or only others
	Run      *RunFilter     `json:"run,omitempty"`      // only entries of the runs it selects
	Failures []FailureState `json:"-"`
	From     int64          `json:"fromDate,omitempty"`
	To       int64          `json:"toDate,omitempty"`
}

func (f *DLQFilter) matches(d *DeadMessage) bool {
	at := Millis(d.Entry.Seq)
	if d.Run != nil && !f.Message.within.Covers(d.Run.URL) {
		return false
	}
	return anyOf(f.Statuses, d.Entry.Status) && (f.Workflow == nil || *f.Workflow == (d.Run != nil)) &&
		(f.Run == nil || d.Run != nil && f.Run.matches(d.Run)) &&
		(len(f.Failures) == 0 || d.Run != nil && slices.Contains(f.Failures, d.Run.Failure)) &&
		(f.From == 0 || at >= f.From) && (f.To == 0 || at <= f.To) && f.Message.matches(d.Message)
}

const scanStep = 500 // rows a filtered list reads at a time

// DLQ lists at most count entries a filter selects, after a cursor, oldest
// first unless newest. next is the cursor of the page after; "" at the end.
func (e *Engine) DLQ(ctx context.Context, who *Caller, f DLQFilter, newest bool, cursor string, count int) (page []*DeadMessage, next string, err error) {
	err = e.store.View(ctx, func(tx Tx) error {
		page, next, err = e.scanDLQ(tx, who, f, newest, cursor, count)
		return err
	})
	return page, next, err
}

func (e *Engine) scanDLQ(tx Tx, who *Caller, f DLQFilter, newest bool, cursor string, count int) (page []*DeadMessage, next string, err error) {
	p := Page{To: maxSeq, Newest: newest, Limit: scanStep}
	if cursor != "" {
		seq, ok := ParseDLQID(cursor)
		if !ok {
			return nil, "", errorf(Invalid, "cursor: %q is not one this server gave", cursor)
		}
		p.start(seq)
	}
	f.Message.within = who.Token.URLPrefix
	if len(f.IDs) > 0 {
		page, err = e.dlqByID(tx, who, f.IDs)
		return page, "", err
	}
	for {
		rows, err := tx.ListDLQ(who.ID, p)
		if err != nil {
			return nil, "", err
		}
		for _, row := range rows {
			d, err := deadMessage(tx, row)
			if err != nil {
				return nil, "", err
			}
			if !f.matches(d) {
				continue
			}
			if len(page) == count {
				return page, DLQID(row.Seq), nil
			}
			page = append(page, d)
		}
		if len(rows) < p.Limit {
			return page, "", nil
		}
		p.after(rows[len(rows)-1].Seq)
	}
}

// dlqByID reads the named entries, all of them: ids that came without a page
// size are not to be lost to one.
func (e *Engine) dlqByID(tx Tx, who *Caller, ids []string) (page []*DeadMessage, err error) {
	for _, id := range ids {
		d, err := findDead(tx, who, id)
		if err != nil {
			return nil, err
		}
		if d != nil {
			page = append(page, d)
		}
	}
	return page, nil
}

// start makes a row the first of the page.
func (p *Page) start(seq int64) {
	if p.Newest {
		p.To = seq + 1
	} else {
		p.From = seq
	}
}

// after makes the page begin behind a row.
func (p *Page) after(seq int64) {
	if p.Newest {
		p.To = seq
	} else {
		p.From = seq + 1
	}
}

func deadMessage(tx Tx, entry *DLQEntry) (*DeadMessage, error) {
	rows, err := tx.Messages([]int64{entry.Message})
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, errorf(Internal, "message of DLQ entry %s is gone", DLQID(entry.Seq))
	}
	d := &DeadMessage{Entry: entry, Message: rows[0]}
	if entry.Run != 0 {
		if d.Run, err = tx.Run(entry.Run); err != nil {
			return nil, err
		}
	}
	return d, fillBody(tx, d.Message)
}

func findDead(tx Tx, who *Caller, id string) (*DeadMessage, error) {
	seq, ok := ParseDLQID(id)
	if !ok {
		return nil, nil
	}
	entry, err := tx.LockDLQEntry(who.ID, seq)
	if err != nil || entry == nil {
		return nil, err
	}
	d, err := deadMessage(tx, entry)
	if err != nil || !who.sees(d.Message) || d.Run != nil && !who.reaches(d.Run.URL) {
		return nil, err
	}
	return d, nil
}

func dlqNotFound(id string) error { return errorf(NotFound, "DLQ entry %s not found", id) }

// DLQEntry is the entry of a public id.
func (e *Engine) DLQEntry(ctx context.Context, who *Caller, id string) (*DeadMessage, error) {
	var d *DeadMessage
	err := e.store.View(ctx, func(tx Tx) (err error) {
		d, err = findDead(tx, who, id)
		return err
	})
	if err == nil && d == nil {
		err = dlqNotFound(id)
	}
	return d, err
}

// DeleteDLQEntry removes one entry; the message stays in the log.
func (e *Engine) DeleteDLQEntry(ctx context.Context, who *Caller, id string) error {
	return e.update(ctx, func(c *change) error {
		d, err := findDead(c.tx, who, id)
		if err != nil {
			return err
		}
		if d == nil {
			return dlqNotFound(id)
		}
		if err := c.tx.DeleteDLQ(d.Entry.Seq); err != nil {
			return err
		}
		return c.audit(who, "dlq.delete", id, nil, nil)
	})
}

// DeleteDLQ removes at most count entries a filter selects. next is the
// cursor to go on with; "" when all are gone.
func (e *Engine) DeleteDLQ(ctx context.Context, who *Caller, f DLQFilter, cursor string, count int) (deleted int, next string, err error) {
	err = e.update(ctx, func(c *change) error {
		page, cur, err := e.scanDLQ(c.tx, who, f, false, cursor, count)
		if err != nil {
			return err
		}
		for _, d := range page {
			if err := c.tx.DeleteDLQ(d.Entry.Seq); err != nil {
				return err
			}
		}
		if deleted, next = len(page), cur; deleted == 0 {
			return nil
		}
		return c.audit(who, "dlq.delete", "", selected{f}, counted{deleted})
	})
	return deleted, next, err
}

// RetryDLQEntry publishes an entry's message anew, under a new id, and removes
// the entry. What over says wins over the message's own settings; forwarded
// headers are merged.
func (e *Engine) RetryDLQEntry(ctx context.Context, who *Caller, id string, over wire.Config) (Published, error) {
	if err := e.checkRetry(who, over); err != nil {
		return Published{}, err
	}
	var out Published
	err := e.update(ctx, func(c *change) error {
		d, err := findDead(c.tx, who, id)
		if err != nil {
			return err
		}
		if d == nil {
			return dlqNotFound(id)
		}
		if out, err = c.retry(d, &over); err != nil {
			return err
		}
		return c.audit(who, "dlq.retry", id, nil, retriedAs{out.MessageID})
	})
	return out, err
}

// retriedAs is what the audit log says of a retried message.
type retriedAs struct {
	MessageID string `json:"messageId"`
}

// checkRetry checks what a retry changes, as it is when a message is published.
func (e *Engine) checkRetry(who *Caller, over wire.Config) error {
	if err := e.checkLimits(who, &Publish{Config: over}); err != nil {
		return err
	}
	if err := who.checkReach("", &over); err != nil {
		return err
	}
	return nil
}

// RetryDLQ does so for at most count entries a filter selects. Entries of
// workflow runs are left: a run is resumed, not retried.
func (e *Engine) RetryDLQ(ctx context.Context, who *Caller, f DLQFilter, over wire.Config, cursor string, count int) (out []Published, next string, err error) {
	if err := e.checkRetry(who, over); err != nil {
		return nil, "", err
	}
	f.Workflow = new(bool)
	err = e.update(ctx, func(c *change) error {
		out = nil
		page, cur, err := e.scanDLQ(c.tx, who, f, false, cursor, count)
		if err != nil {
			return err
		}
		next = cur
		for _, d := range page {
			if d.Run != nil {
				continue
			}
			p, err := c.retry(d, &over)
			if err != nil {
				return err
			}
			out = append(out, p)
		}
		if len(out) == 0 {
			return nil
		}
		return c.audit(who, "dlq.retry", "", selected{f}, counted{len(out)})
	})
	return out, next, err
}

func (c *change) retry(d *DeadMessage, over *wire.Config) (Published, error) {
	if d.Run != nil {
		return Published{}, errorf(Invalid, "DLQ entry %s belongs to workflow run %s: a run can't be retried as a message", DLQID(d.Entry.Seq), d.Run.ID)
	}
	if err := c.spend(d.Message.Tenant, 1); err != nil {
		return Published{}, err
	}
	m := *d.Message
	m.Key, m.State, m.Retried, m.Queue, m.Flow, m.Lane = c.key(), Pending, 0, 0, 0, 0
	m.NotBefore = firstDue(Millis(m.Seq), over)
	m.Due = m.NotBefore
	if over.Method != "" {
		m.Method = over.Method
	}
	if over.Retries != nil {
		m.MaxRetries = *over.Retries
	}
	if len(over.Header) > 0 {
		m.Header = cloneHeader(m.Header)
		for name, values := range over.Header {
			m.Header[name] = slices.Clone(values)
		}
	}
	s := &m.Settings
	override(&s.RetryDelay, over.RetryDelay)
	override(&s.Timeout, over.Timeout)
	override(&s.Callback, over.Callback)
	override(&s.FailureCallback, over.FailureCallback)
	override(&s.FlowControl, over.FlowControl)
	override(&s.Queue, over.Queue)
	s.Holds = nil // what waited for it waits no more
	if len(over.Labels) > 0 {
		s.Labels = over.Labels
	}
	s.Hop, s.Redact = max(s.Hop, over.Hop), s.Redact.Union(over.Redact)
	if len(over.SignWith) > 0 {
		s.SignWith = over.SignWith
	}
	c.insert(&m)
	return Published{MessageID: m.String(), URL: m.URL}, c.tx.DeleteDLQ(d.Entry.Seq)
}

func override[T comparable](v *T, by T) {
	var zero T
	if by != zero {
		*v = by
	}
}
