package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/signposthq/signpost/internal/wire"
)

// Resume says how a run that has failed goes on, as a new run.
type Resume struct {
	// Restart begins again, with nothing but payload and settings. Otherwise the
	// new run has the log of the old one, and goes on where that failed.
	Restart bool
	Over    wire.Config // wins over what the run was started with; headers are merged
	Edit    LogEdit     // of the new run's log
}

// action is what the audit log calls it.
func (r *Resume) action() string {
	if r.Restart {
		return "dlq.restart"
	}
	return "dlq.resume"
}

// resumedAs is what the audit log says of the new run.
type resumedAs struct {
	RunID string `json:"workflowRunId"`
	*logValues
}

// Successor is the Seq of the run that went on with a run, or did it over; 0: none.
func (r *Run) Successor() int64 { return cmp.Or(r.Settings.ResumedAs, r.Settings.RestartedAs) }

// mayGoOn says whether a run has failed and was not resumed yet.
func (r *Run) mayGoOn() bool { return r.State == RunFailed && r.Settings.ResumedAs == 0 }

// ResumeRun lets the run of a DLQ entry go on as a new one, and removes the entry.
func (e *Engine) ResumeRun(ctx context.Context, who *Caller, id string, how Resume) (*Run, error) {
	if err := e.checkResume(who, &how); err != nil {
		return nil, err
	}
	run, err := e.resumeOne(ctx, who, id, &how)
	if err == nil && run == nil {
		err = dlqNotFound(id)
	}
	return run, err
}

func (e *Engine) checkResume(who *Caller, how *Resume) error {
	if err := e.checkRetry(who, how.Over); err != nil {
		return err
	}
	return how.Edit.check(e.MaxBody(who), how.Restart)
}

// ResumeRuns does so for at most count entries a filter selects; those of plain
// messages are left. Each run is a transaction of its own, as its log may be
// large. An entry that is refused ends it: what was done until then is told, with
// a cursor to that entry.
func (e *Engine) ResumeRuns(ctx context.Context, who *Caller, f DLQFilter, how Resume, cursor string, count int) (runs []*Run, next string, err error) {
	if err := e.checkResume(who, &how); err != nil {
		return nil, "", err
	}
	f.Workflow = new(true)
	ids, next, err := e.selectDLQ(ctx, who, f, cursor, count)
	if err != nil {
		return nil, "", err
	}
	for _, id := range ids {
		run, err := e.resumeOne(ctx, who, id, &how)
		switch {
		case err != nil && len(runs) > 0:
			return runs, id, nil
		case err != nil:
			return nil, "", err
		case run != nil:
			runs = append(runs, run)
		}
	}
	return runs, next, nil
}

// resumeOne lets one run go on; nil if there is no such entry.
func (e *Engine) resumeOne(ctx context.Context, who *Caller, id string, how *Resume) (run *Run, err error) {
	err = e.update(ctx, func(c *change) error {
		run = nil
		d, err := findDead(c.tx, who, id)
		if err != nil || d == nil {
			return err
		}
		if d.Run == nil {
			return errorf(Invalid, "DLQ entry %s is a message's and no workflow run's: retry it", id)
		}
		edited, err := c.resume(who, d, how, &run)
		if err != nil {
			return err
		}
		after := resumedAs{RunID: run.ID}
		if edited == nil {
			return c.audit(who, how.action(), id, nil, after)
		}
		after.logValues = &edited.after
		return c.audit(who, how.action(), id, edited.before, after)
	})
	return run, err
}

// resume makes the new run. edited is what became of its log, nil if nothing did.
func (c *change) resume(who *Caller, d *DeadMessage, how *Resume, run **Run) (edited *logEdits, err error) {
	s := &successor{change: c, who: who, how: how}
	if err := s.readWaits(d.Run.Seq); err != nil {
		return nil, err
	}
	if s.old, err = c.lockRun(d.Run.Seq); err != nil {
		return nil, err
	}
	s.run = c.newRunOf(who, s.old, &how.Over)
	for _, step := range []func() error{s.readLog, s.write, s.copyLog, s.carry} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	*run = s.run
	return s.edits, c.tx.DeleteDLQ(d.Entry.Seq)
}

// write adds the new run.
func (s *successor) write() error {
	if err := s.spend(s.run.Tenant, int64(len(s.again))); err != nil {
		return err
	}
	if err := s.tx.InsertRun(s.run); err != nil {
		return fmt.Errorf("insert run: %w", err)
	}
	return nil
}

// newRunOf is a run that is to do what another did, under an id of its own.
func (c *change) newRunOf(who *Caller, old *Run, over *wire.Config) *Run {
	key := c.key()
	run := &Run{
		Seq: key.Seq, Tenant: old.Tenant, ID: newRunID(), URL: old.URL, State: RunStarted, Init: key,
		CallerIP: old.CallerIP, Header: cloneHeader(old.Header), Settings: old.Settings,
	}
	s := &run.Settings
	s.ResumedAs, s.RestartedAs, s.Before = 0, 0, &RunRef{old.ID, Millis(old.Seq)}
	s.override(who, over)
	override(&s.Retries, over.Retries)
	for name, values := range over.Header {
		run.Header[name] = slices.Clone(values)
	}
	if cb := over.FailureCallback; cb != nil {
		s.FailureCallback = withFailureCallback(who, s.FailureCallback, cb)
	}
	if len(over.Labels) > 0 {
		run.relabel(over.Labels)
	}
	return run
}

// withFailureCallback is a run's failure callback with another URL, and what
// that says in place of its own. The headers of one that the caller may not reach
// are left out: they may have its secrets.
func withFailureCallback(who *Caller, old, by *wire.Callback) *wire.Callback {
	cb := &wire.Callback{URL: by.URL, Header: http.Header{}}
	if old != nil && who.reaches(old.URL) {
		maps.Copy(cb.Header, old.Header)
	}
	maps.Copy(cb.Header, by.Header)
	return cb
}

// override replaces settings of a run, or of a message, by those that a request
// has.
func (s *Settings) override(who *Caller, over *wire.Config) {
	override(&s.RetryDelay, over.RetryDelay)
	override(&s.Timeout, over.Timeout)
	override(&s.FlowControl, over.FlowControl)
	if len(over.Labels) > 0 {
		s.Labels = over.Labels
	}
	if len(over.SignWith) > 0 {
		s.SignWith = over.SignWith
	}
	s.Hop, s.Redact, s.Limited = max(s.Hop, over.Hop), s.Redact.Union(over.Redact), s.Limited || who.limited()
}

// relabel tells the endpoint of a run's labels, if it was told of them before.
func (r *Run) relabel(labels []string) {
	text := []string{strings.Join(labels, ",")}
	if r.Header[wire.HeaderLabel] != nil {
		r.Header[wire.HeaderLabel] = text
	}
	cb := r.Settings.FailureCallback
	if cb == nil || cb.Header[wire.PrefixForward+wire.HeaderLabel] == nil {
		return
	}
	cb = &wire.Callback{URL: cb.URL, Header: cloneHeader(cb.Header)}
	cb.Header[wire.PrefixForward+wire.HeaderLabel] = text
	r.Settings.FailureCallback = cb
}

// successor is a new run in the making.
type successor struct {
	*change
	who      *Caller
	old, run *Run
	how      *Resume

	log      []*LogEntry      // of the old run as far as the new one has it, without bodies; Index is the old place
	again    map[int]*Message // what is delivered again, by place
	edits    *logEdits
	given    map[int]*given // results of steps that had none, by place
	waits    []*Wait        // of the old run
	children map[int]*Run   // those that steps without a result have invoked
	retold   map[int]*Run   // those of which steps may be told anew, which have one
}

// readLog finds out what the new run's log has, and what of it is delivered.
func (s *successor) readLog() (err error) {
	end := s.old.LogLen
	if s.how.Restart {
		end = 1
	}
	if s.log, err = s.tx.LogSteps(s.old.Seq, 0, end-1); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	if len(s.log) != end {
		return errorf(Internal, "log of workflow run %s has %d entries, not %d", s.old.ID, len(s.log), end)
	}
	if err := s.nameReports(); err != nil {
		return err
	}
	s.forget()
	waits := s.carried()
	if err := s.addResults(waits); err != nil {
		return err
	}
	s.run.LogLen = len(s.log)
	for _, e := range s.log {
		s.run.MaxStep = max(s.run.MaxStep, e.StepID, e.TargetStep)
	}
	return s.findAgain(unfinished(s.log, waits))
}

// nameReports gives outcomes of calls the steps they belong to. Logs did not
// always say.
func (s *successor) nameReports() error {
	unnamed := map[int64]*LogEntry{}
	for _, e := range s.log {
		if e.CallType == wire.CallFrom && e.StepID == 0 {
			unnamed[e.Message.Seq] = e
		}
	}
	return s.messages(slices.Collect(maps.Keys(unnamed)), func(m *Message) { unnamed[m.Seq].StepID = m.Settings.StepID })
}

// messages reads messages, few at a time.
func (s *successor) messages(seqs []int64, do func(*Message)) error {
	slices.Sort(seqs)
	for some := range slices.Chunk(seqs, fetchRows) {
		rows, err := s.tx.Messages(some)
		if err != nil {
			return fmt.Errorf("read messages of run: %w", err)
		}
		for _, m := range rows {
			do(m)
		}
	}
	return nil
}

// findAgain makes the messages that deliver places of the log.
func (s *successor) findAgain(places []int) error {
	s.again = make(map[int]*Message, len(places))
	of := map[int64]int{}
	var seqs []int64
	for _, place := range places {
		seq := s.log[place].Message.Seq
		of[seq], seqs = place, append(seqs, seq)
	}
	err := s.messages(seqs, func(m *Message) { s.again[of[m.Seq]] = m })
	if err != nil {
		return err
	}
	for _, place := range places {
		old := s.again[place]
		switch {
		case old == nil && s.source(place) == 0:
			old = &Message{Kind: KindInit, Method: http.MethodPost, URL: s.old.URL, MaxRetries: s.e.DefaultRetries(s.run.Tenant), CallerIP: s.old.CallerIP}
			s.inherit(old, s.old, &wire.Config{})
		case old == nil:
			return errorf(Conflict, "workflow run %s can't be resumed any more, only restarted: what it was to deliver is gone", s.old.ID)
		}
		s.again[place] = s.anew(place, old)
	}
	return nil
}

// source is the place in the old run's log that leads to the delivery of one in the
// new run's: itself, unless its step is given a result.
func (s *successor) source(place int) int {
	for g := s.given[place]; g != nil; g = s.given[place] {
		place = g.from
	}
	return place
}

// anew is a message as it is delivered for the new run: no attempt of it was made
// yet. What was delayed stays so.
func (s *successor) anew(place int, old *Message) *Message {
	over := &s.how.Over
	m := *old
	if m.Key = s.run.Init; place > 0 {
		m.Key = s.key()
	}
	m.Tenant, m.State, m.Retried, m.Run, m.LogIndex = s.run.Tenant, Pending, 0, s.run.Seq, place
	m.Queue, m.Flow, m.Lane, m.Body = 0, 0, 0, nil
	if s.given[place] != nil {
		m.Kind, m.Header = KindStep, cloneHeader(m.Header)
		m.Header["Content-Type"] = []string{"application/json"} // whatever the payload has
	}
	m.NotBefore = max(m.NotBefore, firstDue(Millis(m.Seq), over))
	m.Due = m.NotBefore
	if m.Kind == KindToCallback {
		return &m // which has settings of its own
	}
	m.MaxRetries = *cmp.Or(over.Retries, &m.MaxRetries)
	m.Settings.override(s.who, over)
	if over.FailureCallback != nil {
		m.Settings.FailureCallback = nil // the run's is told
	}
	m.belong(s.run)
	return &m
}

// copyLog writes the new run's log, and has delivered what is to be. What is not
// edited it has together with the old run: a log may be hundreds of megabytes. A
// run that begins again copies the payload, and needs nothing of the old one:
// what is restarted again and again would never be purged.
func (s *successor) copyLog() error {
	for place := range s.log {
		if err := s.copyEntry(place); err != nil {
			return err
		}
	}
	return nil
}

func (s *successor) copyEntry(place int) error {
	e, err := s.entry(place)
	if err != nil {
		return err
	}
	m := s.again[place]
	if m != nil {
		e.Message = m.Key
	}
	if err := s.tx.InsertLog(e); err != nil {
		return fmt.Errorf("copy log: %w", err)
	}
	if m != nil {
		s.insert(m)
	}
	return nil
}

// entry is the new run's at a place.
func (s *successor) entry(place int) (*LogEntry, error) {
	e := *s.log[place]
	shared := e.Place()
	e.Run, e.Index = s.run.Seq, place
	var err error
	switch {
	case s.given[place] != nil:
		err = s.give(&e)
	case s.how.Restart || s.edited(&e):
		e.Source = LogPlace{}
		e.Body, err = s.body(place)
	default:
		e.Source = shared
		return &e, nil
	}
	if err != nil {
		return nil, err
	}
	return &e, s.editEntry(&e)
}

// body is what the old run has at a place.
func (s *successor) body(place int) ([]byte, error) {
	index := s.log[place].Index
	entries, err := s.tx.Log(s.old.Seq, index, index)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	if len(entries) == 0 {
		return nil, errorf(Internal, "log of workflow run %s has no entry %d", s.old.ID, index)
	}
	return entries[0].Body, nil
}
