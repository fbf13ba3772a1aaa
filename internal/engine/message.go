package engine

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Message is the message of a public id. Finished ones are readable for
// Limits.MessageRetention, and as long as they are in the DLQ.
func (e *Engine) Message(ctx context.Context, who *Caller, id string) (*Message, error) {
	var m *Message
	err := e.read(ctx, pagePatience, func(tx Tx, reading *Reading) error {
		found, err := findMessage(tx, who, id)
		if err != nil || found == nil {
			return err
		}
		if outlived, err := e.outlived(tx, found); err != nil || outlived {
			return err
		}
		if err := reading.room(len(found.Body)); err != nil {
			return err
		}
		m = found
		return nil
	})
	if err == nil && m == nil {
		err = errorf(NotFound, "message %s not found", id)
	}
	return m, err
}

// outlived says whether a message is there for its events only.
func (e *Engine) outlived(tx Tx, m *Message) (bool, error) {
	if !m.State.Ended() {
		return false, nil
	}
	settlements, err := tx.SettlementsOf(m.Seq)
	if err != nil || len(settlements) == 0 {
		return false, err
	}
	if Millis(settlements[len(settlements)-1].Seq) >= unixMillis(time.Now())-e.limits.MessageRetention.Milliseconds() {
		return false, nil
	}
	dead, err := tx.InDLQ(m.Seq)
	return !dead, err
}

// sees says whether a message is the caller's to see: one of its tenant, and of
// a URL that its token is for.
func (who *Caller) sees(m *Message) bool { return m.Tenant == who.ID && who.reaches(m.URL) }

// findMessage reads a message with its body, wherever that is; nil if the
// caller sees none of that id.
func findMessage(tx Tx, who *Caller, id string) (*Message, error) {
	key, ok := ParseMessageID(id)
	if !ok {
		return nil, nil
	}
	rows, err := tx.Messages([]int64{key.Seq})
	if err != nil || len(rows) == 0 || rows[0].Key != key || !who.sees(rows[0]) {
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

// CancelMessage stops a message from being delivered any more, and says whether
// nobody had done so before. An attempt under way is not cut off; there will be no
// other. What has ended is not found.
func (e *Engine) CancelMessage(ctx context.Context, who *Caller, id string) (canceled bool, err error) {
	err = e.update(ctx, func(c *change) error {
		key, ok := ParseMessageID(id)
		if !ok {
			return errorf(NotFound, "message %s not found", id)
		}
		m, err := c.lockMessage(key.Seq)
		if err != nil {
			return err
		}
		if m == nil || m.Key != key || !who.sees(m) {
			return errorf(NotFound, "message %s not found", id)
		}
		if m.Run != 0 {
			return errorf(Invalid, "message %s belongs to a workflow run; cancel the run instead", id)
		}
		switch canceled, err = c.cancel(m); {
		case err != nil:
			return err
		case canceled:
			return c.audit(who, "message.cancel", id, nil, nil)
		case m.State.Ended():
			return errorf(NotFound, "message %s is already finished", id)
		}
		return nil
	})
	return canceled, err
}

// cancel cancels a locked message that is still to be delivered, and says
// whether it was.
func (c *change) cancel(m *Message) (bool, error) {
	if m.State != Pending && m.State != Waiting {
		return false, nil
	}
	to := Canceled
	if m.State == Pending && !c.freeze(m) {
		to = Canceling
	}
	missed, err := c.tx.SettleMessages([]Transition{{Seq: m.Seq, From: m.State, Attempt: m.Retried, To: to, Due: m.Due, Retried: m.Retried}})
	if err != nil || len(missed) > 0 {
		return false, err
	}
	c.record(&Settlement{Tenant: m.Tenant, Message: m.Seq, Result: to, Retried: m.Retried, EndedAt: c.now})
	if to == Canceling {
		return true, nil // it leaves its lanes when its attempt has ended, or is found not to be made
	}
	c.drop = append(c.drop, m.Seq)
	return true, c.leave(m)
}

// MessageFilter selects messages; a zero field selects all.
type MessageFilter struct {
	IDs       []string `json:"messageIds,omitempty"`
	URLs      []string `json:"url,omitempty"`
	Hosts     []string `json:"host,omitempty"` // with or without the port
	Paths     []string `json:"path,omitempty"`
	Labels    []string `json:"label,omitempty"`
	CallerIPs []string `json:"callerIp,omitempty"`
	From      int64    `json:"fromDate,omitempty"` // creation, Unix ms, inclusive; 0: open
	To        int64    `json:"toDate,omitempty"`
	URLGroups []string `json:"topicName,omitempty"`
	Queues    []string `json:"queueName,omitempty"`
	Schedules []string `json:"scheduleId,omitempty"`
	FlowKeys  []string `json:"flowControlKey,omitempty"`

	within URLPrefix // the caller's
	upTo   int64     // Seq, inclusive; 0: open
}

func (f *MessageFilter) matches(m *Message) bool {
	at := Millis(m.Seq)
	s := &m.Settings
	if !f.within.Covers(m.URL) || f.upTo != 0 && m.Seq > f.upTo || f.From != 0 && at < f.From || f.To != 0 && at > f.To ||
		!anyOf(f.URLs, m.URL) || !anyOf(f.CallerIPs, m.CallerIP) || !anyShared(f.Labels, s.Labels) ||
		!anyOf(f.URLGroups, s.URLGroup) || !anyOf(f.Queues, s.Queue) || !anyOf(f.Schedules, s.ScheduleID) ||
		!anyOf(f.FlowKeys, s.flowKey()) ||
		len(f.IDs) > 0 && !slices.Contains(f.IDs, m.String()) {
		return false
	}
	return matchesURL(m.URL, f.Hosts, f.Paths)
}

// flowKey is the key of flow control a message goes by, "" if none.
func (s *Settings) flowKey() string {
	if s.FlowControl == nil {
		return ""
	}
	return s.FlowControl.Key
}

// matchesURL says whether a URL's host, with or without its port, is one of
// hosts, and its path one of paths.
func matchesURL(raw string, hosts, paths []string) bool {
	if len(hosts) == 0 && len(paths) == 0 {
		return true
	}
	u, err := url.Parse(raw)
	return err == nil && (anyOf(hosts, u.Host) || anyOf(hosts, u.Hostname())) && anyOf(paths, pathOf(u))
}

// pathOf is a URL's path as it is asked for.
func pathOf(u *url.URL) string { return cmp.Or(u.Path, "/") }

// CancelMessages cancels what a filter selects of the messages still to be
// delivered, at most limit (0: all), soonest due first, and says how many.
// Ids given leave no room for the other fields. Messages of workflow runs are
// cancelled with their run. What is published meanwhile stays.
func (e *Engine) CancelMessages(ctx context.Context, who *Caller, f MessageFilter, limit int) (int, error) {
	if len(f.IDs) > 0 {
		return e.cancelByID(ctx, who, f.IDs)
	}
	f.within = who.Token.URLPrefix
	total, before := 0, 0
	for at := (cancelPlace{}); ; {
		n, next := 0, at
		err := e.update(ctx, func(c *change) (err error) {
			if f.upTo == 0 {
				if f.upTo, err = c.latest(); err != nil {
					return err
				}
			}
			most := bulkStep
			if limit > 0 {
				most = limit - total
			}
			if n, next, err = c.cancelStep(who, &f, at, most); err != nil || n == 0 {
				return err
			}
			return c.audit(who, "message.cancel", "", selected{f}, counted{n})
		})
		if total += n; err != nil || limit > 0 && total >= limit {
			return total, err
		}
		if at = next; !at.ended {
			continue
		}
		// What was cancelled made room for others, which may have gone past.
		if !at.waited || total == before {
			return total, nil
		}
		before, at = total, cancelPlace{}
	}
}

// latest is the greatest sequence number that anything has now, whichever node
// gave it.
func (c *change) latest() (int64, error) {
	last, err := c.tx.LastSeq()
	if err != nil {
		return 0, fmt.Errorf("read last sequence number: %w", err)
	}
	return last, nil
}

// cancelPlace is how far a bulk operation has come with a tenant's messages:
// first those that wait in lanes, lane by lane, then those that do not.
type cancelPlace struct {
	lane    int64
	pending bool // past the lanes
	after   Due
	waited  bool // some wait in lanes
	ended   bool
}

// cancelStep cancels at most most of the messages after a point, and says how
// many, and where to go on.
func (c *change) cancelStep(who *Caller, f *MessageFilter, at cancelPlace, most int) (n int, next cancelPlace, err error) {
	rows, err := c.cancelRows(who, at)
	if err != nil {
		return 0, at, err
	}
	selected := slices.DeleteFunc(slices.Clone(rows), func(m *Message) bool { return m.Run != 0 || !f.matches(m) })
	if len(selected) > most {
		selected = selected[:most]
	}
	if err := c.lockLanes(selected...); err != nil {
		return 0, at, err
	}
	for _, m := range selected {
		canceled, err := c.cancel(m)
		if err != nil {
			return 0, at, err
		}
		if canceled {
			n++
		}
	}
	next, err = c.cancelNext(who, at, rows)
	return n, next, err
}

func (c *change) cancelRows(who *Caller, at cancelPlace) ([]*Message, error) {
	switch {
	case at.pending:
		return c.tx.PendingMessages(who.ID, at.after, bulkStep)
	case at.lane == 0:
		return nil, nil
	}
	return c.tx.WaitingMessages(who.ID, at.lane, at.after, bulkStep)
}

func (c *change) cancelNext(who *Caller, at cancelPlace, rows []*Message) (cancelPlace, error) {
	switch {
	case len(rows) == bulkStep:
		last := rows[len(rows)-1]
		at.after = Due{At: last.Due, Seq: last.Seq}
		return at, nil
	case at.pending:
		at.ended = true
		return at, nil
	}
	lane, err := c.tx.NextLane(who.ID, at.lane)
	return cancelPlace{lane: lane, pending: lane == 0, waited: at.waited || lane != 0}, err
}

func (e *Engine) cancelByID(ctx context.Context, who *Caller, ids []string) (total int, err error) {
	for some := range slices.Chunk(ids, bulkStep) {
		n := 0
		err := e.update(ctx, func(c *change) (err error) {
			if n, err = c.cancelSome(who, some); err != nil || n == 0 {
				return err
			}
			return c.audit(who, "message.cancel", "", selected{MessageFilter{IDs: some}}, counted{n})
		})
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}

// cancelSome cancels named messages, and says how many it was.
func (c *change) cancelSome(who *Caller, ids []string) (n int, err error) {
	for _, id := range ids {
		key, ok := ParseMessageID(id)
		if !ok {
			continue
		}
		m, err := c.lockMessage(key.Seq)
		if err != nil {
			return 0, err
		}
		if m == nil || m.Key != key || m.Run != 0 || !who.sees(m) {
			continue
		}
		canceled, err := c.cancel(m)
		if err != nil {
			return 0, err
		}
		if canceled {
			n++
		}
	}
	return n, nil
}
