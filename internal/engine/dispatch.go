package engine

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// flight is one attempt from its start to its settlement.
type flight struct {
	message *Message
	started int64  // Unix ms
	skip    string // why no attempt was made: the message was cancelled meanwhile
	outcome Outcome
	verdict verdict
	letGo   int64 // bytes of the message's body, if that is large and in the store only
}

// dispatchLoop starts an attempt for each message when it is due and a slot
// is free.
func (e *Engine) dispatchLoop(ctx context.Context) {
	defer close(e.dispatchDone)
	for {
		select {
		case e.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		q := e.next(ctx)
		if q == nil {
			return
		}
		e.flights.Add(1)
		go e.fly(q)
	}
}

// prepareAgain is when a message is tried again that could not be read.
const prepareAgain = 5 * time.Second

// fly makes one attempt and hands its outcome to the settler.
func (e *Engine) fly(q *queued) {
	defer e.flights.Done()
	l := &load{engine: e}
	defer l.release()
	f, attempt, err := e.prepare(q, l)
	if err == nil && f != nil && f.skip == "" && (f.message.Flow != 0 || f.message.Queue != 0) && unixMillis(time.Now()) >= q.counted {
		f, err = e.sentNow(f, q.postponed)
	}
	if err == nil && f == nil {
		e.queue.ended(q)
		l.leave()
		return
	}
	if err != nil {
		l.leave()
		if e.dispatchCtx.Err() == nil {
			e.log.Error("prepare attempt; it will be made later", "error", err)
			e.queue.postpone(q.of.tenant, q.Seq, unixMillis(time.Now())+prepareAgain.Milliseconds())
		}
		return
	}
	if f.skip == "" {
		f.outcome = l.deliver(f, &attempt)
		e.queue.landed(q)
		e.endpoints.answered(e.tenants.get(f.message.Tenant), &attempt, &f.outcome)
	}
	l.release()
	l.leave()
	if e.attemptCtx.Err() != nil && f.skip == "" && f.outcome.Error != "" {
		f.outcome.release()
		return // cut off by a shutdown: not an outcome of the endpoint
	}
	e.outcomes <- f
}

// sentNow makes sure that a flight may start now. No flight: its message waits.
func (e *Engine) sentNow(f *flight, again bool) (*flight, error) {
	away, changed, err := e.recount(f.message, again)
	if err != nil || away {
		return nil, err
	}
	if changed {
		f.skip = "cancelled"
	}
	return f, nil
}

// prepare reads what an attempt needs, once there is memory for it. No flight:
// there is nothing to deliver.
func (e *Engine) prepare(q *queued, l *load) (*flight, Attempt, error) {
	m := q.message
	var run *Run
	var log []*LogEntry
	if m == nil || m.Run != 0 {
		err := l.view(func(tx Tx) error {
			if m = q.message; m == nil {
				var err error
				if m, err = l.message(tx, q.Seq); err != nil || m == nil {
					return err
				}
			}
			if m.Run == 0 {
				return nil
			}
			var err error
			if run, err = tx.Run(m.Run); err != nil || run == nil || m.LogIndex < 0 {
				return err
			}
			log, err = l.log(tx, run, m)
			return err
		})
		if err != nil {
			return nil, Attempt{}, err
		}
	}
	if m == nil || m.State.Ended() || m.State == Waiting {
		return nil, Attempt{}, nil
	}
	if m.State == Pending && m.Due > q.At {
		q.later = m.Due
		return nil, Attempt{}, nil
	}
	f := &flight{message: m, started: q.started}
	switch {
	case m.State == Canceling:
		f.skip = "cancelled"
	case m.Run != 0 && (run == nil || run.State != RunStarted) && m.Kind != KindFailureCall:
		f.skip = "its workflow run has ended"
	default:
		return f, e.attempt(m, run, log), nil
	}
	return f, Attempt{}, nil
}

// attempt puts together the request. What the server says of itself wins over
// what the user asked to forward.
func (e *Engine) attempt(m *Message, run *Run, log []*LogEntry) Attempt {
	l := e.limitsOfID(m.Tenant)
	a := Attempt{
		Method: m.Method, URL: m.URL, Body: m.Body, Timeout: l.MaxTimeout,
		KeepResponse: int64(l.StoredResponse), Kind: m.Kind, Retried: m.Retried,
	}
	if m.Settings.Callback != nil {
		a.MaxResponse = l.MaxBody
	}
	if m.Settings.Callback != nil || m.Settings.FailureCallback != nil || run != nil && run.Settings.FailureCallback != nil {
		a.MaxFailure = l.MaxBody
		if run != nil {
			a.MaxFailure += l.MaxBody / 8 // endpoints tell an error twice, as message and in its stack
		}
	}
	if t := e.tenants.get(m.Tenant); t != nil {
		a.signAs(t, m, run)
	}
	if m.Settings.Timeout > 0 {
		a.Timeout = min(m.Settings.Timeout, l.MaxTimeout)
	}
	switch m.Kind {
	case KindInit, KindStep:
		a.Header = run.headerFor(m)
		if a.Header["Content-Type"] == nil {
			a.Header["Content-Type"] = []string{"application/json"} // endpoints' body parsers go by it
		}
		a.Body = logBody(log)
	case KindFromCallback:
		a.Header = run.headerFor(m)
		a.Body = log[0].Body
	case KindToCallback:
		a.Header = cloneHeader(m.Header)
		a.Body = log[0].Body
	default:
		a.Header = cloneHeader(m.Header)
	}
	maps.DeleteFunc(a.Header, func(name string, _ []string) bool { return reserved(m.Kind, name) })
	set := func(name, value string) { a.Header[name] = []string{value} }
	if a.Header["User-Agent"] == nil {
		set("User-Agent", "Upstash-QStash")
	}
	set(wire.HeaderMessageID, m.String())
	set(wire.HeaderRetried, strconv.Itoa(m.Retried))
	set(wire.HeaderHop, strconv.Itoa(m.Settings.Hop))
	if m.CallerIP != "" {
		set(wire.HeaderCallerIP, m.CallerIP)
	}
	if m.Settings.URLGroup != "" {
		set(wire.HeaderTopicName, m.Settings.URLGroup)
	}
	if m.Settings.ScheduleID != "" {
		set(wire.HeaderScheduleID, m.Settings.ScheduleID)
	}
	if m.URL == wire.LLMDestination && e.llm != nil {
		e.llm.address(&a)
	}
	if run == nil || m.Kind == KindToCallback {
		return a // a third party learns nothing of the run
	}
	a.RunID = run.ID
	set(wire.HeaderWorkflowRunID, run.ID)
	set(wire.HeaderWorkflowURL, run.URL)
	set(wire.HeaderWorkflowCreatedAt, strconv.FormatInt(Millis(run.Seq), 10))
	set(wire.HeaderWorkflowInit, strconv.FormatBool(m.Kind == KindInit))
	switch {
	case m.Kind == KindInit && run.Settings.UnknownSDK:
		set(wire.HeaderWorkflowUnknownSDK, "true")
	case m.Kind == KindFromCallback:
		delete(a.Header, wire.HeaderWorkflowSDKVersion)
	case m.Kind != KindFailureCall:
		set(wire.HeaderWorkflowSDKVersion, "1")
	}
	return a
}

func cloneHeader(h http.Header) http.Header {
	out := make(http.Header, len(h)+8)
	maps.Copy(out, h)
	return out
}

// EncodeLog appends a run's log in the form endpoints read.
func EncodeLog(dst []byte, log []*LogEntry) []byte {
	entries := make([]wire.LogEntry, len(log))
	for i, e := range log {
		entries[i] = wire.LogEntry{MessageID: e.Message.String(), CallType: e.CallType, Body: e.Body}
	}
	return wire.EncodeLog(dst, entries)
}
