package engine

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// verdict is what an outcome means for its message.
type verdict struct {
	to     State  // Delivered, Failed, Canceled, or Pending: try again
	due    int64  // when to try again
	lane   int64  // where to wait for that; 0: nowhere
	reason string // why it is not Delivered
}

const statusNonRetryable = 489

// judge is the rule of retries: 2xx is delivered; 489 with its header and an
// exhausted message fail; everything else is tried again when the response,
// the message's own expression or the default backoff says.
func judge(m *Message, o *Outcome, now int64) verdict {
	if o.Error == "" && o.Status >= 200 && o.Status <= 299 {
		return verdict{to: Delivered}
	}
	v := verdict{to: Failed, reason: o.Error}
	if v.reason == "" {
		v.reason = strings.TrimSpace(strconv.Itoa(o.Status) + " " + http.StatusText(o.Status))
	}
	if o.Status == statusNonRetryable && o.Header.Get(wire.HeaderNonRetryable) == "true" {
		v.reason = "489 Non-Retryable Error"
		return v
	}
	if m.Retried >= m.MaxRetries {
		return v
	}
	v.to, v.due = Pending, now+retryDelay(m, o).Milliseconds()
	return v
}

func retryDelay(m *Message, o *Outcome) time.Duration {
	if d, ok := wire.RetryAfter(o.Header, o.End); ok {
		return d
	}
	if m.Settings.RetryDelay != "" {
		// Checked when the message was accepted.
		if expr, err := wire.ParseRetryDelay(m.Settings.RetryDelay); err == nil {
			return expr.Delay(m.Retried)
		}
	}
	return wire.DefaultBackoff(m.Retried + 1)
}

const (
	notAWorkflow = "detected a non-workflow destination for trigger/invoke. make sure you are sending the request to the correct endpoint"
	sdkTooOld    = "trigger rest api is only usable with sdk versions after v1.0.0 major version"
)

// mistaken says why the first answer of a run's endpoint can't be one of a
// workflow, "" if it can.
func mistaken(run *Run, m *Message, o *Outcome) string {
	if m.Kind != KindInit {
		return ""
	}
	if o.Header.Get(wire.HeaderWorkflowSDKVersion) == "" {
		if run.Settings.ViaTrigger || slices.Contains(run.Settings.Features, wire.FeatureDetectTrigger) {
			return notAWorkflow
		}
		return ""
	}
	if run.Settings.ViaTrigger && !sdkAtLeastV1(o.Header.Get(wire.HeaderWorkflowSDK)) {
		return sdkTooOld
	}
	return ""
}

func sdkAtLeastV1(version string) bool {
	major, _, _ := strings.Cut(version[strings.LastIndexByte(version, 'v')+1:], ".")
	n, err := strconv.Atoi(major)
	return err == nil && n >= 1
}

// What is settled together.
const (
	settleMost  = 256
	settleBytes = 1 << 20 // of large outcomes
)

// settleLoop writes outcomes down, as many at a time as have come in while
// the last were being written. Of large ones, which become callbacks and are
// larger then, it takes few; one that is more than that waits for memory aside.
func (e *Engine) settleLoop() {
	defer close(e.settleDone)
	large, ended := make(chan *flight, cap(e.outcomes)), make(chan struct{})
	go func() {
		defer close(ended)
		e.settleLarge(large)
	}()
	defer func() { close(large); <-ended }()
	for first := range e.outcomes {
		batch := make([]*flight, 0, 16)
		bytes := int64(0)
		add := func(f *flight) {
			if n := e.weight(f); n > settleBytes {
				large <- f
			} else {
				batch, bytes = append(batch, f), bytes+n
			}
		}
		add(first)
	gather:
		for len(batch) < settleMost && bytes < settleBytes {
			select {
			case f, ok := <-e.outcomes:
				if !ok {
					break gather
				}
				add(f)
			default:
				break gather
			}
		}
		if len(batch) > 0 {
			e.settleAll(batch, bytes)
		}
	}
}

// settleLarge settles one outcome at a time. It has to wait for memory as the
// bodies do that are under way, which are large for the same reason.
func (e *Engine) settleLarge(flights <-chan *flight) {
	for f := range flights {
		n := e.weight(f) / 3 * 4
		share, _ := e.bodies.Wait(context.Background(), n) // it never gives up
		e.settleAll([]*flight{f}, n)
		share.Release()
	}
}

func (e *Engine) settleAll(batch []*flight, bytes int64) {
	e.litter.expect(bytes)
	if err := e.settle(batch); err != nil {
		e.settleSingly(batch, err)
	}
	for _, f := range batch {
		f.outcome.release()
	}
}

// weight is how many bytes a large outcome brings to its settlement; 0 for what
// is kept of any.
func (e *Engine) weight(f *flight) int64 {
	n := int64(0)
	if f.message.Settings.Callback != nil || f.message.Settings.FailureCallback != nil {
		n = f.letGo
	}
	if len(f.outcome.Body) > e.limits.StoredResponse {
		n += int64(len(f.outcome.Body))
	}
	return n
}

func (e *Engine) settle(batch []*flight) error {
	return e.update(context.Background(), func(c *change) error { return c.settle(batch) })
}

// settleAgain is when a message is delivered again whose outcome could not be
// written down.
const settleAgain = 30 * time.Second

// settleSingly is for when a batch could not be written: one message's trouble
// must not be every message's. What can't be written at all is delivered
// again, as after a crash.
func (e *Engine) settleSingly(batch []*flight, cause error) {
	e.log.Error("settle batch", "messages", len(batch), "error", cause)
	for _, f := range batch {
		err := e.settle([]*flight{f})
		if err == nil {
			continue
		}
		e.log.Error("settle; the message will be delivered again", "message", f.message.String(), "error", err)
		e.queue.postpone(f.message.Tenant, f.message.Seq, unixMillis(time.Now())+settleAgain.Milliseconds())
	}
}

// settle writes a batch of outcomes and all that follows from them. Runs are
// locked before lanes, and those before messages, as everywhere; of several runs the
// newest first, as one was invoked after the one that waits for it, and of messages
// the oldest.
func (c *change) settle(batch []*flight) error {
	slices.SortFunc(batch, func(a, b *flight) int { return cmp.Compare(b.message.Run, a.message.Run) })
	for _, f := range batch {
		if err := c.judge(f); err != nil {
			return err
		}
	}
	slices.SortFunc(batch, func(a, b *flight) int { return cmp.Compare(a.message.Seq, b.message.Seq) })
	messages := make([]*Message, len(batch))
	for i, f := range batch {
		messages[i] = f.message
		c.done = append(c.done, f.message.Seq)
	}
	if err := c.lockLanes(messages...); err != nil {
		return err
	}
	changes := make([]Transition, len(batch))
	for i, f := range batch {
		if err := c.chooseLane(f); err != nil {
			return err
		}
		changes[i] = f.transition(Pending)
	}
	missed, err := c.tx.SettleMessages(changes)
	if err != nil {
		return fmt.Errorf("settle messages: %w", err)
	}
	for i, f := range batch {
		if slices.Contains(missed, i) {
			settled, err := c.settleChanged(f)
			if err != nil {
				return err
			}
			if !settled {
				continue
			}
		}
		c.record(c.e.settlement(f))
		if err := c.follow(f); err != nil {
			return fmt.Errorf("settle %s: %w", f.message, err)
		}
		if err := c.leaveAfter(f); err != nil {
			return fmt.Errorf("settle %s: %w", f.message, err)
		}
	}
	return nil
}

// judge decides a flight's verdict. For a run's message that is not delivered
// the run has a say: one that has ended wants no retries.
func (c *change) judge(f *flight) error {
	m := f.message
	if f.skip != "" {
		f.verdict = verdict{to: Canceled, reason: f.skip}
		return nil
	}
	f.verdict = judge(m, &f.outcome, c.now)
	switch {
	case m.Run == 0:
		return nil
	case m.Kind == KindFailureCall || m.Kind == KindToCallback && f.verdict.to == Delivered:
		_, err := c.lockRun(m.Run) // which is told of it, once the message is settled
		return err
	case f.verdict.to == Delivered && m.Kind != KindInit:
		return nil // nothing depends on the run's state
	}
	run, err := c.lockRun(m.Run)
	if err != nil {
		return err
	}
	if run.State != RunStarted {
		if f.verdict.to != Delivered {
			f.verdict = verdict{to: Canceled, reason: f.verdict.reason}
		}
		return nil
	}
	if f.verdict.to == Delivered {
		if why := mistaken(run, m, &f.outcome); why != "" {
			f.verdict = verdict{to: Failed, reason: why}
		}
	}
	return nil
}

// settleChanged is for a message that is no longer as it was when its attempt
// began. One that was cancelled meanwhile is settled by this attempt, and there
// will be no other.
func (c *change) settleChanged(f *flight) (settled bool, err error) {
	now, err := c.tx.LockMessage(f.message.Seq)
	if err != nil || now == nil {
		return false, err
	}
	switch {
	case now.State == Pending:
		// This outcome was written down already, by a commit that seemed to fail.
		c.wake = append(c.wake, spot{Due: Due{At: now.Due, Seq: now.Seq}, tenant: now.Tenant})
		return false, nil
	case now.State == Waiting && now.Retried == f.message.Retried && f.skip == "":
		// Set aside, as its lane was paused, by who did not see the attempt yet.
	case now.State == Canceling:
		if f.verdict.to != Delivered {
			f.verdict = verdict{to: Canceled, reason: f.verdict.reason}
		}
		// It may have ended before it was cancelled, but what became of it is newer.
		if at := time.UnixMilli(c.now); f.outcome.End.Before(at) {
			f.outcome.End = at
		}
	default:
		return false, nil
	}
	_, err = c.tx.SettleMessages([]Transition{f.transition(now.State)})
	return true, err
}

func (f *flight) transition(from State) Transition {
	m, v := f.message, f.verdict
	t := Transition{Seq: m.Seq, From: from, Attempt: m.Retried, To: v.to, Due: m.Due, Retried: m.Retried}
	if v.to == Pending {
		t.Due, t.Retried = v.due, m.Retried+1
		if v.lane != 0 {
			t.To, t.Lane = Waiting, v.lane
		}
	}
	return t
}

func (e *Engine) settlement(f *flight) *Settlement {
	m, o := f.message, &f.outcome
	s := &Settlement{
		Tenant: m.Tenant, Message: m.Seq, Result: f.verdict.to, Retried: m.Retried,
		NextDue: f.verdict.due, Error: f.verdict.reason,
		Status: o.Status, Header: o.Header, Body: o.Body[:min(len(o.Body), e.limits.StoredResponse)],
	}
	if cut := f.cut(); cut != "" {
		s.Error = strings.TrimPrefix(s.Error+"; "+cut, "; ")
	}
	if f.skip == "" {
		s.StartedAt, s.EndedAt = f.started, unixMillis(o.End)
	} else {
		s.EndedAt = unixMillis(time.Now())
	}
	return s
}

// follow does what a verdict entails beyond the message itself.
func (c *change) follow(f *flight) error {
	m, v := f.message, f.verdict
	if v.to == Pending && v.lane == 0 {
		again := *m
		again.Due, again.Retried = v.due, m.Retried+1
		c.dispatch(&again)
		c.wake[len(c.wake)-1].message = nil // it may be cancelled, or its queue paused, before this is told
	}
	if v.to == Canceled {
		return nil
	}
	switch m.Kind {
	case KindInit, KindStep, KindFromCallback:
		if v.to != Failed {
			return nil
		}
		run, err := c.lockRun(m.Run)
		if err != nil || run.State != RunStarted {
			return err
		}
		return c.failRun(run, f)
	case KindToCallback:
		if v.to == Pending {
			return nil
		}
		run, err := c.lockRun(m.Run)
		if err != nil {
			return err
		}
		return c.callBackRun(run, f)
	case KindFailureCall:
		if v.to == Pending {
			return nil
		}
		return c.settleFailureCall(f)
	}
	var dlq int64
	if v.to == Failed {
		var err error
		if dlq, err = c.deadLetter(f); err != nil {
			return err
		}
	}
	return c.callBack(f, dlq)
}

func (c *change) settleFailureCall(f *flight) error {
	run, err := c.lockRun(f.message.Run)
	if err != nil || run.FailureCall != f.message.Seq {
		return err
	}
	switch {
	case f.verdict.to != Delivered:
		run.Failure = FailureFail
	case f.outcome.Header.Get(wire.HeaderWorkflowNotFound) != "":
		run.Failure = FailureNone
	default:
		run.Failure = FailureSuccess
	}
	return c.tx.UpdateRun(run)
}

// deadLetter puts a failed message into the DLQ.
func (c *change) deadLetter(f *flight) (seq int64, err error) {
	o := &f.outcome
	d := &DLQEntry{
		Seq: c.seq(), Tenant: f.message.Tenant, Message: f.message.Seq, Run: f.message.Run,
		Status: o.Status, Header: o.Header, Body: o.Body[:min(len(o.Body), c.e.limits.StoredResponse)],
	}
	if err := c.tx.InsertDLQ(d); err != nil {
		return 0, fmt.Errorf("insert DLQ entry: %w", err)
	}
	return d.Seq, nil
}
