package engine

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/signposthq/signpost/internal/budget"
	"github.com/signposthq/signpost/internal/wire"
)

// startRun creates a run with its first log entry, the initial payload, and
// the message that delivers it. One run of an id is active at a time: a second
// start of it makes nothing and answers with the first.
func (c *change) startRun(who *Caller, p *Publish) (Published, error) {
	w := &p.Config.Workflow
	if w.Invoke {
		return c.invoke(who, p)
	}
	_, out, err := c.start(who, p, nil)
	return out, err
}

// start is startRun for a run that, unless by is nil, another one waits for. The
// run is the one that is active then.
func (c *change) start(who *Caller, p *Publish, by *invocation) (*Run, Published, error) {
	w := &p.Config.Workflow
	id := w.RunID
	if id == "" {
		id = newRunID()
	}
	active, err := c.lockRunOfID(who.ID, id)
	if err != nil {
		return nil, Published{}, err
	}
	if active != nil {
		if !who.reaches(active.URL) {
			return nil, Published{}, errorf(Conflict, "workflow run %s is active at a URL that the token is not for", id)
		}
		if w.TriggerBySDK {
			out, err := c.restartRun(who, active, p)
			return active, out, err
		}
		return active, Published{
			MessageID: active.Init.String(), URL: active.URL, Deduplicated: true,
			RunID: id, RunCreatedAt: Millis(active.Seq),
		}, nil
	}
	if err := c.spend(who.ID, 1); err != nil {
		return nil, Published{}, err
	}
	settings := runSettings(p)
	by.mark(&settings)
	url := w.URL
	if url == "" {
		url = p.Destination
	}
	m := c.newMessage(who.Tenant, p, KindInit)
	m.Body, m.LogIndex = nil, 0
	m.Settings.Callback, m.Settings.FailureCallback = nil, nil
	// The run's key is that of its first message: one more key says nothing.
	run := &Run{
		Seq: m.Seq, Tenant: who.ID, ID: id, URL: url, State: RunStarted, Init: m.Key,
		LogLen: 1, CallerIP: p.CallerIP, Header: p.Config.Header, Settings: settings,
	}
	m.Run, m.Header = run.Seq, nil // the run's headers are on every delivery
	m.belong(run)
	if p.ViaTrigger && run.Settings.FailureCallback == nil {
		run.Settings.FailureCallback = defaultFailureCallback(run)
	}
	if err := c.tx.InsertRun(run); err != nil {
		return nil, Published{}, fmt.Errorf("insert run: %w", err)
	}
	entry := &LogEntry{Run: run.Seq, Message: m.Key, CallType: wire.CallStep, Body: p.Body}
	if err := c.tx.InsertLog(entry); err != nil {
		return nil, Published{}, fmt.Errorf("insert log: %w", err)
	}
	c.insert(m)
	return run, Published{MessageID: m.String(), URL: m.URL, RunID: id, RunCreatedAt: Millis(run.Seq)}, nil
}

// runPrefix is how ids of runs begin that nobody has chosen, and those that the
// official SDKs make of chosen ones.
const runPrefix = "wfr_"

func newRunID() string { return runPrefix + randomID(21) }

func runSettings(p *Publish) Settings {
	cfg := &p.Config
	return Settings{
		RetryDelay: cfg.RetryDelay, Timeout: cfg.Timeout, Labels: cfg.Labels, SignWith: cfg.SignWith, Retries: cfg.Retries,
		FailureCallback: cfg.FailureCallback, Features: cfg.Workflow.Features,
		ViaTrigger: p.ViaTrigger, UnknownSDK: cfg.Workflow.UnknownSDK,
		Hop: cfg.Hop, Redact: cfg.Redact, FlowControl: cfg.FlowControl, Limited: p.limited,
	}
}

// defaultFailureCallback is the one an SDK would have asked for: the run's own
// endpoint, with the user's headers, as slowly as the run. Retries are the run's
// in any case.
func defaultFailureCallback(run *Run) *wire.Callback {
	h := http.Header{
		wire.PrefixForward + wire.HeaderWorkflowIsFailure: {"true"},
		wire.PrefixForward + wire.HeaderWorkflowFailureCB: {"true"},
	}
	for name, values := range run.Header {
		if name != "Content-Type" { // which is that of the payload
			h[wire.PrefixForward+name] = values
		}
	}
	if delay := run.Settings.RetryDelay; delay != "" {
		h[wire.HeaderRetryDelay] = []string{delay}
	}
	if flow := run.Settings.FlowControl; flow != nil {
		h[wire.HeaderFlowControlKey], h[wire.HeaderFlowControlValue] = []string{flow.Key}, []string{flow.Value()}
	}
	return &wire.Callback{URL: run.URL, Header: h}
}

// restartRun is the second half of the unknown-SDK handshake: the endpoint
// says what it needs forwarded, and is called again.
func (c *change) restartRun(who *Caller, run *Run, p *Publish) (Published, error) {
	if err := c.spend(who.ID, 1); err != nil {
		return Published{}, err
	}
	run.Header = p.Config.Header
	run.Settings.Features = p.Config.Workflow.Features
	run.Settings.UnknownSDK = false
	run.Settings.Redact = run.Settings.Redact.Union(p.Config.Redact)
	m := c.newMessage(who.Tenant, p, KindInit)
	m.Run, m.LogIndex, m.Body, m.Header = run.Seq, 0, nil, nil
	c.inherit(m, run, &p.Config)
	// Endpoints look for the message that they are called with in the log.
	if err := c.tx.SetLogMessage(&LogEntry{Run: run.Seq, Message: m.Key}); err != nil {
		return Published{}, fmt.Errorf("set message of payload: %w", err)
	}
	c.insert(m)
	return Published{MessageID: m.String(), URL: m.URL, RunID: run.ID, RunCreatedAt: Millis(run.Seq)}, c.tx.UpdateRun(run)
}

// inherit fills in what a run's later messages take over from its start;
// what a message says itself wins.
func (c *change) inherit(m *Message, run *Run, cfg *wire.Config) {
	if cfg.Retries == nil && run.Settings.Retries != nil {
		m.MaxRetries = *run.Settings.Retries
	}
	if m.Settings.RetryDelay == "" {
		m.Settings.RetryDelay = run.Settings.RetryDelay
	}
	if m.Settings.Timeout == 0 {
		m.Settings.Timeout = run.Settings.Timeout
	}
	if len(m.Settings.Labels) == 0 {
		m.Settings.Labels = run.Settings.Labels
	}
	if m.Settings.FlowControl == nil {
		m.Settings.FlowControl, m.Settings.Limited = run.Settings.FlowControl, run.Settings.Limited
	}
	m.CallerIP = run.CallerIP // not that of the endpoint, which publishes each step
	if !slices.Equal(cfg.Workflow.Features, run.Settings.Features) {
		m.Settings.Features = cfg.Workflow.Features
	}
	m.belong(run)
}

// belong makes a message one of its run's: it is as many hops from where that
// comes from, as a run's own messages are not counted, and hides what that hides.
func (m *Message) belong(run *Run) {
	m.Settings.Hop = run.Settings.Hop
	m.Settings.Redact = m.Settings.Redact.Union(run.Settings.Redact)
}

// FinishRun ends a run with its function's result. Ending an ended run again
// is no error: the endpoint may not have heard the first answer.
func (e *Engine) FinishRun(ctx context.Context, who *Caller, id string, result []byte) error {
	if most := e.MaxBody(who); int64(len(result)) > most {
		return errorf(TooLarge, "body: %d bytes, at most %d are accepted", len(result), most)
	}
	return e.update(ctx, func(c *change) error {
		run, err := c.lockActiveRun(who, id)
		if err != nil {
			return err
		}
		if run == nil {
			return c.knownRun(who, id)
		}
		run.Response = result
		return c.endRun(run, RunSuccess)
	})
}

// lockActiveRun is the active run of an id, nil if the caller sees none.
func (c *change) lockActiveRun(who *Caller, id string) (*Run, error) {
	run, err := c.lockRunOfID(who.ID, id)
	if err != nil || run == nil || !who.reaches(run.URL) {
		return nil, err
	}
	return run, nil
}

// lockRunOfID is the active run of an id, nil if there is none.
func (c *change) lockRunOfID(tenant int64, id string) (*Run, error) {
	run, err := c.tx.LockActiveRun(tenant, id)
	if err != nil || run == nil {
		return nil, err
	}
	if known := c.runs[run.Seq]; known != nil {
		return known, nil
	}
	c.runs[run.Seq] = run
	return run, nil
}

// lockRun is a run under its lock. All who change it in a transaction have the
// same one.
func (c *change) lockRun(seq int64) (*Run, error) {
	if run := c.runs[seq]; run != nil {
		return run, nil
	}
	run, err := c.tx.LockRun(seq)
	if err != nil {
		return nil, fmt.Errorf("lock run: %w", err)
	}
	if run == nil {
		run = &Run{Seq: seq, State: RunCanceled} // ended so long ago that it was purged
	}
	c.runs[seq] = run
	return run, nil
}

// CancelRun ends a run, and says whether it was active. It is in the audit log,
// as a decision to end what would have gone on; that a run has finished is not.
// An endpoint that cancels its own run makes the same request as an operator,
// and is told apart by its token.
func (e *Engine) CancelRun(ctx context.Context, who *Caller, id string) (canceled bool, err error) {
	err = e.update(ctx, func(c *change) error {
		run, err := c.lockActiveRun(who, id)
		if err != nil {
			return err
		}
		if canceled = run != nil; !canceled {
			return c.knownRun(who, id)
		}
		if err := c.endRun(run, RunCanceled); err != nil {
			return err
		}
		return c.audit(who, "run.cancel", id, nil, nil)
	})
	return canceled, err
}

func (c *change) knownRun(who *Caller, id string) error {
	run, err := c.tx.RunByID(who.ID, id)
	if err == nil && (run == nil || !who.reaches(run.URL)) {
		err = errorf(NotFound, "workflow run %s not found", id)
	}
	return err
}

// endRun closes a run and drops what was still to be delivered for it, and what
// its steps waited for. A message whose attempt is under way is left to its settlement.
func (c *change) endRun(run *Run, state RunState) error {
	run.State, run.EndedAt = state, c.now
	if err := c.tx.UpdateRun(run); err != nil {
		return fmt.Errorf("end run: %w", err)
	}
	if err := c.tellInvokers(run); err != nil {
		return err
	}
	if err := c.tx.EndWaitsOfRun(run.Seq); err != nil {
		return fmt.Errorf("drop waits of run: %w", err)
	}
	if state != RunFailed { // which may be resumed
		if err := c.tx.DeleteNotesOfRun(run.Seq); err != nil {
			return fmt.Errorf("drop events of run: %w", err)
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	pending, err := c.tx.PendingOfRun(run.Seq)
	if err != nil {
		return fmt.Errorf("read pending messages of run: %w", err)
	}
	if err := c.lockLanes(pending...); err != nil {
		return err
	}
	var changes []Transition
	for _, m := range pending {
		if m.State == Pending && !c.freeze(m) {
			continue
		}
		changes = append(changes, Transition{Seq: m.Seq, From: m.State, Attempt: m.Retried, To: Canceled, Due: m.Due, Retried: m.Retried})
		c.drop = append(c.drop, m.Seq)
		c.record(&Settlement{Tenant: m.Tenant, Message: m.Seq, Result: Canceled, Retried: m.Retried, EndedAt: c.now})
		if err := c.leave(m); err != nil {
			return err
		}
	}
	_, err = c.tx.SettleMessages(changes)
	return err
}

// failRun ends a run whose endpoint gave up: it goes to the DLQ, and its
// failure callback is told.
func (c *change) failRun(run *Run, f *flight) error {
	dlq, err := c.deadLetter(f)
	if err != nil {
		return err
	}
	run.DLQ = dlq
	cb := f.message.Settings.FailureCallback // older SDKs send it with every step
	if cb == nil {
		cb = run.Settings.FailureCallback
	}
	if cb != nil {
		payload, err := c.tx.Log(run.Seq, 0, 0)
		if err != nil {
			return err
		}
		m, err := c.failureCall(run, cb, f, dlq, payload[0].Body)
		if err != nil {
			return err
		}
		run.Failure, run.FailureCall = FailureInProgress, m.Seq
	}
	return c.endRun(run, RunFailed)
}

// RunFilter selects runs; a zero field selects all.
type RunFilter struct {
	IDs         []string   `json:"workflowRunIds,omitempty"`
	IDsAt       []RunRef   `json:"-"`
	URLs        []string   `json:"workflowUrl,omitempty"`
	URLPrefixes []string   `json:"workflowUrlPrefix,omitempty"`
	Hosts       []string   `json:"host,omitempty"` // with or without the port
	Paths       []string   `json:"path,omitempty"`
	Labels      []string   `json:"label,omitempty"`
	FlowKeys    []string   `json:"flowControlKey,omitempty"`
	States      []RunState `json:"-"`
	CallerIPs   []string   `json:"callerIp,omitempty"`
	MessageID   string     `json:"messageId,omitempty"`
	CreatedAt   int64      `json:"workflowCreatedAt,omitempty"` // Unix ms; 0: any
	From        int64      `json:"fromDate,omitempty"`          // creation, Unix ms, inclusive; 0: open
	To          int64      `json:"toDate,omitempty"`

	within URLPrefix // the caller's
}

// RunRef names one run exactly: an id may be used again after its run ended.
type RunRef struct {
	ID        string `json:"id"`
	CreatedAt int64  `json:"createdAt"` // Unix ms
}

func (f *RunFilter) matches(r *Run) bool {
	at := Millis(r.Seq)
	return f.within.Covers(r.URL) && anyOf(f.IDs, r.ID) && anyOf(f.IDsAt, RunRef{r.ID, at}) && anyOf(f.URLs, r.URL) &&
		anyPrefix(f.URLPrefixes, r.URL) && matchesURL(r.URL, f.Hosts, f.Paths) && anyShared(f.Labels, r.Settings.Labels) &&
		anyOf(f.FlowKeys, r.Settings.flowKey()) && anyOf(f.States, r.State) && anyOf(f.CallerIPs, r.CallerIP) &&
		(f.CreatedAt == 0 || f.CreatedAt == at) && (f.From == 0 || at >= f.From) && (f.To == 0 || at <= f.To)
}

// anyOf says whether v is in wanted; an empty list wants everything.
func anyOf[T comparable](wanted []T, v T) bool {
	return len(wanted) == 0 || slices.Contains(wanted, v)
}

func anyPrefix(wanted []string, v string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(p string) bool { return strings.HasPrefix(v, p) })
}

func anyShared(wanted, have []string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(have, func(v string) bool { return slices.Contains(wanted, v) })
}

// CancelRuns cancels the active runs a filter selects, at most limit of them
// (0: all), oldest first, and says how many. Ids given leave no room for the
// other fields. Runs that are started meanwhile go on.
func (e *Engine) CancelRuns(ctx context.Context, who *Caller, f RunFilter, limit int) (int, error) {
	if len(f.IDs) > 0 {
		f = RunFilter{IDs: f.IDs}
	}
	f.within = who.Token.URLPrefix
	total, after, upTo := 0, int64(0), int64(0)
	for {
		n, last := 0, int64(0)
		err := e.update(ctx, func(c *change) (err error) {
			if upTo == 0 {
				if upTo, err = c.latest(); err != nil {
					return err
				}
			}
			most := bulkStep
			if limit > 0 {
				most = limit - total
			}
			if n, last, err = c.cancelRunsStep(who, &f, Page{From: after, To: upTo + 1, Limit: bulkStep}, most); err != nil || n == 0 {
				return err
			}
			return c.audit(who, "run.cancel", "", selected{f}, counted{n})
		})
		total += n
		if err != nil || last == 0 || limit > 0 && total >= limit {
			return total, err
		}
		after = last
	}
}

// cancelRunsStep cancels at most most of a page of active runs, and says how
// many, and where to go on; 0 at the end.
func (c *change) cancelRunsStep(who *Caller, f *RunFilter, page Page, most int) (n int, next int64, err error) {
	runs, err := c.tx.ListActiveRuns(who.ID, page)
	if err != nil {
		return 0, 0, err
	}
	for _, candidate := range runs {
		if n >= most {
			return n, next, nil
		}
		if next = candidate.Seq + 1; !f.matches(candidate) {
			continue
		}
		run, err := c.lockRun(candidate.Seq)
		if err != nil {
			return 0, 0, err
		}
		if run.State != RunStarted {
			continue
		}
		if err := c.endRun(run, RunCanceled); err != nil {
			return 0, 0, err
		}
		n++
	}
	if len(runs) < bulkStep {
		next = 0
	}
	return n, next, nil
}

const (
	maxSeq   = int64(^uint64(0) >> 1)
	bulkStep = 200 // rows a bulk operation changes in one transaction
)

// An endpoint that asks for its run's log has a delivery waiting, and so has more
// patience: it waits for longer than who takes an answer too slowly is put up with.
const logPatience = budget.Grace + pagePatience

// How many entries of a log are asked for at once, first and at most: PostgreSQL
// sends all, also what is not wanted any more.
const logFirst, logMost = 16, 1024

// RunLog gives an active run's whole log to send, part by part, for an endpoint
// that was sent an empty body. A run that has ended has none to continue. A part
// is no longer in use when send returns.
func (e *Engine) RunLog(ctx context.Context, who *Caller, id string, send func([]*LogEntry) error) error {
	var run *Run
	err := e.store.View(ctx, func(tx Tx) (err error) {
		run, err = tx.RunByID(who.ID, id)
		return err
	})
	if err != nil {
		return err
	}
	if run == nil || run.State != RunStarted || !who.reaches(run.URL) {
		return errorf(NotFound, "workflow run %s is not active", id)
	}
	for next, most := 0, logFirst; next < run.LogLen; {
		part, err := e.logPart(ctx, run, next, min(next+most, run.LogLen)-1)
		if err != nil {
			return err
		}
		if err := send(part); err != nil {
			return err
		}
		next, most = next+len(part), min(2*len(part), logMost)
	}
	return nil
}

// logPart is what comes next of a run's log: as much as there is memory for. Only
// for one entry that is large itself it waits.
func (e *Engine) logPart(ctx context.Context, run *Run, from, to int) (part []*LogEntry, err error) {
	err = e.read(ctx, logPatience, func(tx Tx, reading *Reading) error {
		var full error
		size := 0
		part = nil
		err := tx.EachLog(run.Seq, from, to, func(entry *LogEntry) bool {
			size += len(entry.Body)
			if full = reading.room(size); full == nil {
				part = append(part, entry)
			}
			return full == nil && size < listBytes
		})
		switch {
		case err != nil:
			return err
		case len(part) == 0 && full != nil:
			return full
		case len(part) == 0:
			return fmt.Errorf("log of run %d has no entry %d", run.Seq, from)
		}
		return nil
	})
	return part, err
}

// headerFor merges a run's user headers under a message's own.
func (r *Run) headerFor(m *Message) http.Header {
	h := maps.Clone(r.Header)
	if h == nil {
		h = make(http.Header, len(m.Header)+8)
	}
	if m.Kind == KindFromCallback {
		// With it, the endpoint would read the callback's JSON as a log.
		delete(h, wire.HeaderWorkflowSDKVersion)
		h["Content-Type"] = []string{"application/json"}
	}
	maps.Copy(h, m.Header)
	return h
}
