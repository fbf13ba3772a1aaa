package engine

import (
	"context"
	"slices"
	"strconv"

	"github.com/signposthq/signpost/internal/wire"
)

// DeadMessage is a DLQ entry with its message.
type DeadMessage struct {
	Entry   *DLQEntry
	Message *Message
	Reason  string      // why the last attempt failed
	Run     *Run        // nil: a plain message
	Failure *Settlement // of the run's failure callback, the last; nil: there is none
}

// DLQFilter selects DLQ entries; a zero field selects all. From and To are
// about the time an entry came in.
type DLQFilter struct {
	IDs      []string       `json:"dlqIds,omitempty"` // leave no room for the other fields but Workflow
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
	return anyOf(f.Statuses, d.Entry.Status) && f.kind(d) &&
		(f.Run == nil || d.Run != nil && f.Run.matches(d.Run)) &&
		(len(f.Failures) == 0 || d.Run != nil && slices.Contains(f.Failures, d.Run.Failure)) &&
		(f.From == 0 || at >= f.From) && (f.To == 0 || at <= f.To) && f.Message.matches(d.Message)
}

// kind says whether an entry is of the kind that the filter is about.
func (f *DLQFilter) kind(d *DeadMessage) bool {
	return f.Workflow == nil || *f.Workflow == (d.Run != nil)
}

// query is what such entries have.
func (f *DLQFilter) query(who *Caller) *query {
	q := newQuery(who)
	q.wantMessage(&f.Message)
	var statuses, messages []string
	for _, status := range f.Statuses {
		statuses = append(statuses, strconv.Itoa(status))
	}
	for _, id := range f.Message.IDs {
		if key, ok := ParseMessageID(id); ok {
			messages = append(messages, strconv.FormatInt(key.Seq, 10))
		}
	}
	q.want(markStatus, statuses...)
	q.want(markMessage, messages...)
	if f.Workflow != nil {
		q.want(markOfRun, strconv.FormatBool(*f.Workflow))
	}
	if f.Run != nil {
		q.want(markRun, f.Run.IDs...)
		q.want(markRunURL, f.Run.URLs...)
	}
	return q
}

// DLQ lists at most count entries a filter selects, after a cursor, oldest
// first unless newest. next is the cursor of the page after; "" at the end.
func (e *Engine) DLQ(ctx context.Context, who *Caller, f DLQFilter, newest bool, cursor string, count int) (page []*DeadMessage, next string, err error) {
	f.Message.within = who.Token.URLPrefix
	p, err := pageAt(cursor, newest)
	if err != nil {
		return nil, "", err
	}
	if f.From != 0 {
		p.From = max(p.From, FirstSeq(f.From))
	}
	if f.To != 0 {
		p.To = min(p.To, FirstSeq(min(f.To, Millis(maxSeq))+1))
	}
	patience, known := e.patience(), e.index.state.Load()
	err = e.read(ctx, pagePatience, func(tx Tx, reading *Reading) error {
		if len(f.IDs) > 0 {
			page, err = e.dlqByID(tx, who, &f, reading)
			return err
		}
		s := e.search(tx, who, SpaceDLQ, f.query(who), p, known)
		l := listing[*DeadMessage]{count: count, hurry: patience, Reading: reading}
		l.rows = func() (rows []*DeadMessage, position int64, end bool, err error) {
			seqs, position, end, err := s.next(fetchRows)
			if err == nil {
				rows, err = deadMessages(tx, seqs, newest)
			}
			return rows, position, end, err
		}
		l.take = func(d *DeadMessage) (bool, error) {
			if d.Entry.Tenant != who.ID || !f.matches(d) {
				return false, nil
			}
			return true, d.fill(tx)
		}
		l.bytes = (*DeadMessage).bytes
		page, next, err = l.byKey(func(d *DeadMessage) int64 { return d.Entry.Seq })
		return err
	})
	return page, next, err
}

// pageAt is the page that begins at a cursor.
func pageAt(cursor string, newest bool) (Page, error) {
	p := Page{To: maxSeq, Newest: newest, Limit: auditStep}
	if cursor == "" {
		return p, nil
	}
	seq, ok := ParseDLQID(cursor)
	if !ok {
		return p, errorf(Invalid, "cursor: %q is not one this server gave", cursor)
	}
	p.start(seq)
	return p, nil
}

// dlqByID reads the named entries, all of them: ids that came without a page
// size are not to be lost to one.
func (e *Engine) dlqByID(tx Tx, who *Caller, f *DLQFilter, reading *Reading) (page []*DeadMessage, err error) {
	size := 0
	for _, id := range f.IDs {
		d, err := findDead(tx, who, id)
		if err != nil {
			return nil, err
		}
		if d == nil || !f.kind(d) {
			continue
		}
		page, size = append(page, d), size+d.bytes()
		if err := reading.room(size); err != nil {
			return nil, err
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

// deadMessages reads entries with their messages and runs, in the order of a
// list.
func deadMessages(tx Tx, seqs []int64, newest bool) ([]*DeadMessage, error) {
	entries, err := tx.DLQEntries(seqs)
	if err != nil {
		return nil, err
	}
	wanted := make([]int64, len(entries))
	for i, entry := range entries {
		wanted[i] = entry.Message
	}
	slices.Sort(wanted)
	rows, err := tx.Messages(slices.Compact(wanted))
	if err != nil {
		return nil, err
	}
	messages := map[int64]*Message{}
	for _, m := range rows {
		messages[m.Seq] = m
	}
	out := make([]*DeadMessage, 0, len(entries))
	for _, entry := range entries {
		d := &DeadMessage{Entry: entry, Message: messages[entry.Message]}
		if d.Message == nil {
			return nil, errorf(Internal, "message of DLQ entry %s is gone", DLQID(entry.Seq))
		}
		if entry.Run != 0 {
			if d.Run, err = tx.Run(entry.Run); err != nil {
				return nil, err
			}
		}
		out = append(out, d)
	}
	if newest {
		slices.Reverse(out)
	}
	return out, nil
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
	found, err := deadMessages(tx, []int64{entry.Seq}, false)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	d := found[0]
	if !who.sees(d.Message) || d.Run != nil && !who.reaches(d.Run.URL) {
		return nil, nil
	}
	return d, d.fill(tx)
}

func (d *DeadMessage) bytes() int { return len(d.Message.Body) + len(d.Entry.Body) }

// fill reads what is shown of an entry beyond its own row.
func (d *DeadMessage) fill(tx Tx) error {
	if err := fillBody(tx, d.Message); err != nil {
		return err
	}
	var err error
	if d.Reason, err = tx.FailureOf(d.Message.Seq); err != nil || d.Run == nil || d.Run.FailureCall == 0 {
		return err
	}
	attempts, err := tx.SettlementsOf(d.Run.FailureCall)
	if len(attempts) > 0 {
		d.Failure = attempts[len(attempts)-1]
	}
	return err
}

func dlqNotFound(id string) error { return errorf(NotFound, "DLQ entry %s not found", id) }

// DLQEntry is the entry of a public id.
func (e *Engine) DLQEntry(ctx context.Context, who *Caller, id string) (*DeadMessage, error) {
	var d *DeadMessage
	err := e.read(ctx, pagePatience, func(tx Tx, reading *Reading) error {
		found, err := findDead(tx, who, id)
		if err != nil || found == nil {
			return err
		}
		if err := reading.room(found.bytes()); err != nil {
			return err
		}
		d = found
		return nil
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
	ids, next, err := e.selectDLQ(ctx, who, f, cursor, count)
	if err != nil {
		return 0, "", err
	}
	for some := range slices.Chunk(ids, bulkStep) {
		n := 0
		err := e.update(ctx, func(c *change) error {
			n = 0
			for _, id := range some {
				d, err := findDead(c.tx, who, id)
				if err != nil {
					return err
				}
				if d == nil || !f.kind(d) {
					continue
				}
				if err := c.tx.DeleteDLQ(d.Entry.Seq); err != nil {
					return err
				}
				n++
			}
			if n == 0 {
				return nil
			}
			return c.audit(who, "dlq.delete", "", selected{f}, counted{n})
		})
		if deleted += n; err != nil {
			return deleted, "", err
		}
	}
	return deleted, next, nil
}

// selectDLQ names the entries a bulk operation is about. Who works on them looks
// again: others may have taken some since.
func (e *Engine) selectDLQ(ctx context.Context, who *Caller, f DLQFilter, cursor string, count int) (ids []string, next string, err error) {
	if len(f.IDs) > 0 {
		return f.IDs, "", nil
	}
	page, next, err := e.DLQ(ctx, who, f, false, cursor, count)
	for _, d := range page {
		ids = append(ids, DLQID(d.Entry.Seq))
	}
	return ids, next, err
}

// RetryDLQEntry publishes an entry's message anew, under a new id, and removes
// the entry. What over says wins over the message's own settings; forwarded
// headers are merged. An entry that is a duplicate of a message by what over says
// stays.
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
		if out, err = c.retry(who, d, &over); err != nil || out.Deduplicated {
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
	ids, next, err := e.selectDLQ(ctx, who, f, cursor, count)
	if err != nil {
		return nil, "", err
	}
	for some := range slices.Chunk(ids, bulkStep) {
		var retried []Published
		err := e.update(ctx, func(c *change) error {
			made := 0
			retried = nil
			for _, id := range some {
				d, err := findDead(c.tx, who, id)
				if err != nil {
					return err
				}
				if d == nil || d.Run != nil {
					continue
				}
				p, err := c.retry(who, d, &over)
				if err != nil {
					return err
				}
				if retried = append(retried, p); !p.Deduplicated {
					made++
				}
			}
			if made == 0 {
				return nil
			}
			return c.audit(who, "dlq.retry", "", selected{f}, counted{made})
		})
		if out = append(out, retried...); err != nil {
			return out, "", err
		}
	}
	return out, next, nil
}

func (c *change) retry(who *Caller, d *DeadMessage, over *wire.Config) (Published, error) {
	if d.Run != nil {
		return Published{}, errorf(Invalid, "DLQ entry %s belongs to workflow run %s: a run can't be retried as a message", DLQID(d.Entry.Seq), d.Run.ID)
	}
	m := *d.Message
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
	out := Published{URL: m.URL}
	hash := retryHash(&m, over, who.Token.URLPrefix)
	if again, err := c.duplicate(who, hash, &out); again || err != nil {
		return out, err
	}
	if err := c.spend(m.Tenant, 1); err != nil {
		return out, err
	}
	m.Key, m.State, m.Retried, m.Queue, m.Flow, m.Lane = c.key(), Pending, 0, 0, 0, 0
	m.NotBefore = firstDue(Millis(m.Seq), over)
	m.Due = m.NotBefore
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
	s.Hop, s.Redact, s.Limited = max(s.Hop, over.Hop), s.Redact.Union(over.Redact), s.Limited || who.limited()
	if len(over.SignWith) > 0 {
		s.SignWith = over.SignWith
	}
	c.insert(&m)
	out.MessageID = m.String()
	if err := c.remember(who, hash, &m); err != nil {
		return out, err
	}
	return out, c.tx.DeleteDLQ(d.Entry.Seq)
}

// retryHash is the deduplication hash that m has with the deduplication of over
// in place of its own.
func retryHash(m *Message, over *wire.Config, prefix URLPrefix) []byte {
	p := Publish{Destination: m.URL, Body: m.Body, Config: wire.Config{
		DeduplicationID: over.DeduplicationID, ContentDedup: over.ContentDedup, Header: m.Header,
	}}
	if m.Settings.URLGroup == "" {
		return deduplicationHash(&p, nil, prefix)
	}
	p.Destination = m.Settings.URLGroup
	return deduplicationHash(&p, &GroupEndpoint{URL: m.URL}, prefix)
}

func override[T comparable](v *T, by T) {
	var zero T
	if by != zero {
		*v = by
	}
}
