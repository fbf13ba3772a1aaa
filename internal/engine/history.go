package engine

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// RunHistory is what is known of a run, step by step.
type RunHistory struct {
	Run     *Run
	Groups  []StepGroup
	Failure *FailureHistory // nil: its failure callback was not called
	Next    *Run            // that went on with it after it had failed, or did it over; nil: none

	bytes int // of the bodies in it, about
}

// StepGroup is steps that ran together. GroupNext is the delivery that is to
// run a step not known yet.
type StepGroup struct {
	Kind  GroupKind
	Steps []StepHistory
}

// GroupKind says how the steps of a group ran.
type GroupKind int

const (
	GroupSequential GroupKind = iota
	GroupParallel
	GroupNext
)

// StepState is how far a step is.
type StepState int

const (
	StepProgress StepState = iota
	StepSuccess
	StepRetry
	StepFailed
	StepCanceled
)

// StepHistory is one step. Message is the one whose delivery it depends on;
// Entry is nil in a next group, and as long as a sequential step waits.
type StepHistory struct {
	State   StepState
	Entry   *LogEntry
	Step    wire.Step
	Message *Message
	Wait    *Wait         // of a step whose result the server writes
	Child   *InvokedRun   // of a step that waits for a run
	Call    *Message      // of a call: the request to the third party
	Errors  []*Settlement // failed attempts
	NextDue int64         // Unix ms; 0: no attempt is planned
}

// InvokedRun is a run that a step waits for.
type InvokedRun struct {
	Run     *Run
	Payload []byte
}

// FailureHistory is what became of a run's failure callback.
type FailureHistory struct {
	Message *Message
	Failed  *Settlement   // the attempt that failed the run
	Last    *Settlement   // the callback's last attempt; nil: none yet
	Errors  []*Settlement // its failed attempts
	NextDue int64         // Unix ms; 0: no attempt is planned
}

// Runs lists the histories of at most count runs a filter selects, newest
// first. next is the cursor of the page after; "" at the end.
func (e *Engine) Runs(ctx context.Context, who *Caller, f RunFilter, cursor string, count int) (page []*RunHistory, next string, err error) {
	f.within = who.Token.URLPrefix
	p, err := pageAt(cursor, true)
	if err != nil {
		return nil, "", err
	}
	p = f.page(p)
	patience, known := e.patience(), e.index.state.Load()
	err = e.read(ctx, pagePatience, func(tx Tx, reading *Reading) error {
		if f.MessageID != "" {
			run, err := runOfMessage(tx, f.MessageID)
			if err != nil || run == 0 {
				return err
			}
			p.From, p.To = max(p.From, run), min(p.To, run+1)
		}
		q := newQuery(who)
		q.wantRun(&f)
		s := e.search(tx, who, SpaceRuns, q, p, known)
		if len(f.States) > 0 { // which a run may change after it was indexed
			s.among = func(from, to int64) ([]int64, error) { return runsIn(tx, who.ID, f.States, from, to) }
		}
		l := listing[*RunHistory]{count: count, hurry: patience, Reading: reading}
		l.rows = func() (rows []*RunHistory, position int64, end bool, err error) {
			seqs, position, end, err := s.next(fetchRows)
			if err != nil {
				return nil, 0, false, err
			}
			runs, err := tx.Runs(seqs)
			for _, run := range slices.Backward(runs) {
				rows = append(rows, &RunHistory{Run: run})
			}
			return rows, position, end, err
		}
		l.take = func(h *RunHistory) (bool, error) {
			if h.Run.Tenant != who.ID || !f.matches(h.Run) {
				return false, nil
			}
			return true, e.history(tx, who, h)
		}
		l.bytes = func(h *RunHistory) int { return h.bytes }
		page, next, err = l.byKey(func(h *RunHistory) int64 { return h.Run.Seq })
		return err
	})
	return page, next, err
}

// page is the part of a page where runs are that a filter selects.
func (f *RunFilter) page(p Page) Page {
	p.From = max(p.From, FirstSeq(max(f.From, f.CreatedAt)))
	if to := min(cmp.Or(f.To, maxSeq), cmp.Or(f.CreatedAt, maxSeq)); to != maxSeq {
		p.To = min(p.To, FirstSeq(min(to, Millis(maxSeq))+1))
	}
	return p
}

// named says whether a filter is about a few runs.
func (f *RunFilter) named() bool { return len(f.IDs) > 0 || len(f.IDsAt) > 0 || f.CreatedAt != 0 }

// runsIn are the keys of runs that are in some states now.
func runsIn(tx Tx, tenant int64, states []RunState, from, to int64) (all []int64, err error) {
	for _, state := range states {
		some, err := tx.RunsInState(tenant, state, from, to)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	slices.Sort(all)
	return all, nil
}

// runOfMessage is the run that a message belongs to, 0 if to none.
func runOfMessage(tx Tx, id string) (int64, error) {
	key, ok := ParseMessageID(id)
	if !ok {
		return 0, nil
	}
	rows, err := tx.Messages([]int64{key.Seq})
	if err != nil || len(rows) == 0 || rows[0].Key != key {
		return 0, err
	}
	return rows[0].Run, nil
}

// history reads a run's log and makes its steps of it.
func (e *Engine) history(tx Tx, who *Caller, h *RunHistory) error {
	log, err := tx.Log(h.Run.Seq, 0, h.Run.LogLen-1)
	if err != nil {
		return err
	}
	seqs := make([]int64, len(log))
	for i, entry := range log {
		seqs[i] = entry.Message.Seq
	}
	slices.Sort(seqs)
	rows, err := tx.Messages(seqs)
	if err != nil {
		return err
	}
	b := &historian{tx: tx, run: h.Run, log: log, messages: map[int64]*Message{}, waits: map[int]*Wait{}, children: map[int]*InvokedRun{}, shown: map[int]bool{}}
	waits, err := tx.WaitsOfRun(h.Run.Seq)
	if err != nil {
		return err
	}
	for _, w := range waits {
		b.waits[w.StepID] = w
		child, err := invokedRun(tx, who, w.Child)
		if err != nil {
			return err
		}
		if b.children[w.StepID] = child; child != nil {
			h.bytes += len(child.Payload)
		}
	}
	h.bytes += len(h.Run.Response)
	for _, m := range rows {
		b.messages[m.Seq] = m
	}
	for _, entry := range log {
		h.bytes += len(entry.Body)
		if m := b.messages[entry.Message.Seq]; m != nil && entry.CallType == wire.CallTo {
			m.Body = entry.Body
		}
	}
	if h.Groups, err = b.groups(); err != nil {
		return err
	}
	if next := h.Run.Successor(); next != 0 {
		if h.Next, err = tx.Run(next); err != nil {
			return err
		}
	}
	h.Failure, err = b.failure()
	return err
}

// historian reads one run's log for its history.
type historian struct {
	tx       Tx
	run      *Run
	log      []*LogEntry
	messages map[int64]*Message
	waits    map[int]*Wait       // by step id
	children map[int]*InvokedRun // by step id; nil: the step waits for no run, or that is gone

	calls   map[int]*Message    // to third parties, by step id; nil: it is gone
	reports map[int]*Message    // that bring their outcomes, by step id
	results map[int]StepHistory // by step id

	out   []StepGroup
	shown map[int]bool // step ids that are in it
}

func (b *historian) groups() ([]StepGroup, error) {
	if len(b.log) == 0 {
		return nil, nil
	}
	payload := string(b.log[0].Body)
	b.sequential(StepHistory{
		State: StepSuccess, Entry: b.log[0], Message: b.messages[b.log[0].Message.Seq],
		Step: wire.Step{StepName: "init", StepType: wire.StepInitial, Concurrent: 1, Out: &payload},
	})
	b.readCalls()
	b.results = map[int]StepHistory{}
	last := b.log[0] // whose delivery runs the next step
	for _, entry := range b.log[1:] {
		if entry.CallType != wire.CallStep || entry.StepID == 0 {
			continue
		}
		step, err := wire.ParseStep(entry.Body)
		if err != nil {
			continue // it was accepted as a step once; an unreadable one hides none of the others
		}
		h, err := b.result(entry, step)
		if err != nil {
			return nil, err
		}
		b.results[entry.StepID] = h
	}
	for i := 1; i < len(b.log); i++ {
		entry := b.log[i]
		switch {
		case entry.CallType == wire.CallStep && entry.TargetStep != 0:
			n, err := b.parallel(i)
			if err != nil {
				return nil, err
			}
			i += n - 1
		case entry.CallType == wire.CallTo:
			if err := b.call(entry); err != nil {
				return nil, err
			}
		case entry.CallType == wire.CallStep:
			h, known := b.results[entry.StepID]
			if known && h.Entry == entry && h.Step.Concurrent <= 1 && !b.shown[entry.StepID] {
				b.sequential(h)
			}
			last = entry
		}
	}
	b.waiting()
	return b.out, b.next(last)
}

// waiting adds the sequential step that has no result yet but waits for one the
// server writes.
func (b *historian) waiting() {
	for _, stepID := range slices.Sorted(maps.Keys(b.waits)) {
		if _, done := b.results[stepID]; !done && !b.shown[stepID] {
			h := StepHistory{Step: b.waits[stepID].Settings.Step}
			b.wait(&h, stepID)
			b.sequential(h)
		}
	}
}

// invokedRun reads a run that a step waits for; nil: there is none. What it was
// started with is left out if the caller sees no runs of its URL.
func invokedRun(tx Tx, who *Caller, child int64) (*InvokedRun, error) {
	if child == 0 {
		return nil, nil
	}
	run, err := tx.Run(child)
	if err != nil || run == nil {
		return nil, err
	}
	if !who.reaches(run.URL) {
		bare := *run
		bare.Header = nil
		return &InvokedRun{Run: &bare}, nil
	}
	log, err := tx.Log(child, 0, 0)
	if err != nil || len(log) == 0 {
		return nil, err
	}
	return &InvokedRun{run, log[0].Body}, nil
}

// wait says what a step waits for, if it does. A run that was invoked goes on
// although the one that invoked it has ended, and its end is the step's.
func (b *historian) wait(h *StepHistory, stepID int) {
	h.Wait, h.Child = b.waits[stepID], b.children[stepID]
	if h.Wait == nil || !h.Wait.Dropped() || h.State == StepSuccess {
		return
	}
	h.State = StepCanceled
	if h.Child != nil && h.Child.Run.State != RunStarted {
		h.State = StepSuccess
	}
}

// sequential adds a step that ran by itself: a group of one.
func (b *historian) sequential(h StepHistory) {
	b.add(StepGroup{Kind: GroupSequential, Steps: []StepHistory{h}})
}

func (b *historian) add(g StepGroup) {
	b.out = append(b.out, g)
	for i := range g.Steps {
		b.shown[g.Steps[i].Step.StepID] = true
	}
}

// result is a step whose result is in the log. A sleep's is there before the
// sleep is over.
func (b *historian) result(entry *LogEntry, step wire.Step) (StepHistory, error) {
	h := StepHistory{State: StepSuccess, Entry: entry, Step: step, Message: b.messages[entry.Message.Seq]}
	b.wait(&h, step.StepID)
	m := h.Message
	if m == nil || step.SleepFor == nil && step.SleepUntil == nil || m.Retried > 0 {
		return h, nil
	}
	switch {
	case m.State == Pending && m.NotBefore > unixMillis(time.Now()):
		h.State, h.NextDue = StepProgress, m.Due
	case m.State == Canceled:
		h.State = StepCanceled
	}
	return h, nil
}

// parallel adds the group that begins at a plan, and says how many plans it has.
func (b *historian) parallel(at int) (n int, err error) {
	g := StepGroup{Kind: GroupParallel}
	for _, entry := range b.log[at:] {
		if entry.CallType != wire.CallStep || entry.TargetStep == 0 {
			break
		}
		n++
		plan, err := wire.ParseStep(entry.Body)
		if err != nil {
			continue
		}
		if done, ok := b.results[entry.TargetStep]; ok {
			done.Call = b.calls[entry.TargetStep]
			g.Steps = append(g.Steps, done)
			continue
		}
		h := StepHistory{Entry: entry, Step: plan, Message: b.messages[entry.Message.Seq]}
		h.Step.StepID = entry.TargetStep
		h.Call = b.calls[entry.TargetStep]
		if err := b.progress(&h, b.handler(entry)); err != nil {
			return n, err
		}
		if h.State == StepSuccess {
			h.State = b.awaited() // delivered, but its result is not in yet
		}
		b.wait(&h, entry.TargetStep)
		g.Steps = append(g.Steps, h)
		if n == plan.Concurrent {
			break
		}
	}
	b.add(g)
	return n, nil
}

// handler is the message whose delivery a planned step waits for: the plan's
// own, or for a call whose response has come, the one that reports it.
func (b *historian) handler(plan *LogEntry) *Message {
	if m := b.reports[plan.TargetStep]; m != nil {
		return m
	}
	return b.messages[plan.Message.Seq]
}

// call adds a call that has no result yet, or whose result comes later in the
// log: it stands where it was made.
func (b *historian) call(entry *LogEntry) error {
	m := b.messages[entry.Message.Seq]
	if m == nil || m.Settings.Concurrent > 1 || b.shown[entry.StepID] {
		return nil
	}
	if done, ok := b.results[entry.StepID]; ok {
		done.Call = m
		b.sequential(done)
		return nil
	}
	h := StepHistory{Entry: entry, Message: m, Call: m, Step: wire.Step{
		StepID: entry.StepID, StepName: m.Settings.StepName, StepType: wire.StepCall, Concurrent: max(1, m.Settings.Concurrent),
	}}
	report := b.reports[entry.StepID]
	if report == nil {
		report = m
	}
	if err := b.progress(&h, report); err != nil {
		return err
	}
	if h.State == StepSuccess || report == m && h.State == StepFailed {
		h.State = b.awaited() // even a failed call is a result, on its way
	}
	b.sequential(h)
	return nil
}

// awaited is the state of a step whose result is still to come, or would be if
// the run had not ended.
func (b *historian) awaited() StepState {
	if b.run.State == RunStarted {
		return StepProgress
	}
	return StepCanceled
}

// readCalls finds the requests to third parties, and what brings their outcomes:
// the first of each step.
func (b *historian) readCalls() {
	b.calls, b.reports = map[int]*Message{}, map[int]*Message{}
	for _, entry := range b.log {
		if _, known := b.calls[entry.StepID]; !known && entry.CallType == wire.CallTo {
			b.calls[entry.StepID] = b.messages[entry.Message.Seq]
		}
	}
	for _, entry := range b.log {
		m := b.messages[entry.Message.Seq]
		if entry.CallType != wire.CallFrom || m == nil {
			continue
		}
		for _, stepID := range []int{entry.StepID, m.Settings.StepID} {
			if b.reports[stepID] == nil && b.calls[stepID] != nil {
				b.reports[stepID] = m
			}
		}
	}
}

// progress reads a step's state off the message it waits for.
func (b *historian) progress(h *StepHistory, m *Message) (err error) {
	if m == nil {
		return nil
	}
	switch {
	case m.State == Delivered:
		h.State = StepSuccess
	case m.State == Failed:
		h.State = StepFailed
	case m.State == Canceled || m.State == Canceling:
		h.State = StepCanceled
	case m.Retried > 0:
		h.State, h.NextDue = StepRetry, m.Due
	default:
		h.State, h.NextDue = StepProgress, m.Due
	}
	if m.Retried > 0 || m.State == Failed || m.State == Canceled {
		h.Errors, err = b.errors(m)
	}
	return err
}

// errors are the failed attempts of a message.
func (b *historian) errors(m *Message) ([]*Settlement, error) {
	all, err := b.tx.SettlementsOf(m.Seq)
	return slices.DeleteFunc(all, func(s *Settlement) bool { return s.Result == Delivered || s.StartedAt == 0 }), err
}

// next adds the delivery that is to run a step not known yet.
func (b *historian) next(last *LogEntry) error {
	m := b.messages[last.Message.Seq]
	if m == nil || m.State == Delivered || b.run.State == RunSuccess || len(b.out) == 0 {
		return nil
	}
	tail := b.out[len(b.out)-1]
	for _, s := range tail.Steps {
		// A sleep, a call or a parallel step under way is itself what comes next. It may
		// be under way although the delivery that led to it has failed in the end.
		if s.Entry != b.log[0] && s.State != StepSuccess && m.State != Failed {
			return nil
		}
	}
	h := StepHistory{Message: m}
	if err := b.progress(&h, m); err != nil {
		return err
	}
	b.out = append(b.out, StepGroup{Kind: GroupNext, Steps: []StepHistory{h}})
	return nil
}

func (b *historian) failure() (*FailureHistory, error) {
	if b.run.FailureCall == 0 || b.run.Failure == FailureNone {
		return nil, nil
	}
	rows, err := b.tx.Messages([]int64{b.run.FailureCall})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	f := &FailureHistory{Message: rows[0]}
	attempts, err := b.tx.SettlementsOf(b.run.FailureCall)
	if err != nil {
		return nil, err
	}
	for _, s := range attempts {
		if s.StartedAt == 0 {
			continue // it was cancelled between two
		}
		if f.Last = s; s.Result != Delivered {
			f.Errors = append(f.Errors, s)
		}
	}
	if m := f.Message; m.State == Pending || m.State == Waiting {
		f.NextDue = m.Due
	}
	f.Failed, err = b.failedAttempt()
	return f, err
}

// failedAttempt is the one that failed the run.
func (b *historian) failedAttempt() (*Settlement, error) {
	for _, entry := range slices.Backward(b.log) {
		m := b.messages[entry.Message.Seq]
		if m == nil || m.Run != b.run.Seq || m.State != Failed || m.Kind == KindToCallback {
			continue // a run that was resumed has entries of the one before
		}
		attempts, err := b.tx.SettlementsOf(m.Seq)
		if err != nil || len(attempts) == 0 {
			return nil, err
		}
		return attempts[len(attempts)-1], nil
	}
	return nil, nil
}
