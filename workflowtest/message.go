package workflowtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
)

const (
	defaultRetries     = 3
	statusNonRetryable = 489
)

// event is what happens at a time, unless it has become pointless before.
type event struct {
	due  time.Time
	live func() bool // called with the lock
	do   func()      // called without
}

func (e *Env) later(d time.Duration, live func() bool, do func()) *event {
	ev := &event{e.time().Add(d), live, do}
	e.queue = append(e.queue, ev)
	return ev
}

// drive has everything happen that is to happen.
func (e *Env) drive() {
	e.t.Helper()
	for range e.MaxEvents {
		next, passed := e.next()
		if next == nil {
			return
		}
		if passed > 0 && e.Sleep != nil {
			e.Sleep(passed)
		}
		next.do()
	}
	e.t.Fatalf("workflowtest: %d calls and other events have come of one Run, and there are more: the workflow does not end, or Env.MaxEvents is too small", e.MaxEvents)
}

// next is one of the first things to happen, after a stretch of time.
func (e *Env) next() (*event, time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = slices.DeleteFunc(e.queue, func(ev *event) bool { return !ev.live() })
	var first []int
	for i, ev := range e.queue {
		switch {
		case len(first) == 0 || ev.due.Before(e.queue[first[0]].due):
			first = append(first[:0], i)
		case ev.due.Equal(e.queue[first[0]].due):
			first = append(first, i)
		}
	}
	if len(first) == 0 {
		return nil, 0
	}
	i := first[e.random.IntN(len(first))]
	ev := e.queue[i]
	e.queue = slices.Delete(e.queue, i, i+1)
	passed := max(0, ev.due.Sub(e.time()))
	e.now = e.now.Add(passed)
	return ev, passed
}

// message is a request that the server is to make.
type message struct {
	id     string
	kind   receiver.Kind
	run    *run // nil: it belongs to none
	index  int  // of the entry in the run's log that it was appended as
	step   string
	url    string
	config wire.Config
	body   []byte

	tried, retries int
	delay          string // before each retry
	again          bool   // made once more although it has succeeded
}

func (e *Env) message(url string, config wire.Config, body []byte) *message {
	e.serial++
	m := &message{
		id: "msg_" + strconv.Itoa(e.serial), kind: receiver.KindMessage, url: url, config: config, body: body,
		retries: defaultRetries, delay: config.RetryDelay,
	}
	if config.Retries != nil {
		m.retries = *config.Retries
	}
	return m
}

// inherit fills in what the run was started with; what a message says wins.
func (m *message) inherit() {
	if r := m.run.config.Retries; r != nil && m.config.Retries == nil {
		m.retries = *r
	}
	if m.delay == "" {
		m.delay = m.run.config.RetryDelay
	}
}

// send has a message delivered when that is due.
func (e *Env) send(m *message) {
	delay := m.config.Delay
	if m.config.NotBefore != 0 {
		delay = time.UnixMilli(m.config.NotBefore).Sub(e.time())
	}
	e.sendAfter(m, delay)
}

func (e *Env) sendAfter(m *message, d time.Duration) {
	e.later(max(0, d), m.live, func() { e.deliver(m) })
}

// live says whether anybody still wants the message.
func (m *message) live() bool {
	return m.run == nil || m.run.state == client.RunStarted || m.kind == receiver.KindFailure
}

func (e *Env) deliver(m *message) {
	e.t.Helper()
	h := e.at(m.url)
	ofWorkflow := m.kind == receiver.KindStep || m.kind == receiver.KindCallback
	if m.kind == receiver.KindCall || !ofWorkflow && h.real == nil {
		e.callOut(m)
		return
	}
	if h.real == nil {
		e.unserved(m)
	}
	if m.kind == receiver.KindStep {
		e.replay(m, h)
	}
	a := e.request(h.real, m)
	if m.kind == receiver.KindStep && a.status == http.StatusNotFound {
		e.unserved(m)
	}
	e.judge(m, h, a)
}

func (e *Env) unserved(m *message) {
	e.t.Helper()
	if m.run != nil && len(m.run.invokers) > 0 {
		by := m.run.invokers[0]
		e.t.Fatalf("workflowtest: step %q of workflow %s invokes %s, which is not there. Serve it, with Env.Serve, or say what comes of it: env.OnInvoke(%[1]q, …)",
			by.request.Step.StepName, by.run.name(), m.url)
	}
	e.t.Fatalf("workflowtest: a run is to be started or carried on at %s, which is not there: see Env.Serve", m.url)
}

// request makes the call of a workflow that a message is.
func (e *Env) request(h http.Handler, m *message) *answer {
	e.mu.Lock()
	header, body := http.Header{}, m.body
	if m.run != nil {
		m.run.last = nil
	}
	if m.run != nil && m.kind != receiver.KindFailure && m.kind != receiver.KindCall {
		maps.Copy(header, m.run.config.Header)
	}
	maps.Copy(header, m.config.Header)
	switch m.kind {
	case receiver.KindStep:
		body = wire.EncodeLog(nil, m.run.entries()[:m.index+1])
		header.Set(wire.HeaderWorkflowSDKVersion, "1")
	case receiver.KindCallback:
		header.Del(wire.HeaderWorkflowSDKVersion)
		header.Set("Content-Type", "application/json")
	case receiver.KindFailure:
		header.Set(wire.HeaderWorkflowIsFailure, "true")
		header.Set(wire.HeaderWorkflowFailureCB, "true")
	}
	e.mu.Unlock()
	return e.signed(h, m, m.kind, m.config.Method, header, body)
}

// signed makes a call as the server does.
func (e *Env) signed(h http.Handler, m *message, kind receiver.Kind, method string, header http.Header, body []byte) *answer {
	header.Set("User-Agent", "Upstash-QStash")
	header.Set(wire.HeaderMessageID, m.id)
	header.Set(wire.HeaderRetried, strconv.Itoa(m.tried))
	o := receiver.SignOptions{URL: m.url, Body: body, Kind: kind, Attempt: m.tried, Header: header}
	if m.run != nil && kind != receiver.KindCall {
		o.RunID = m.run.id
		header.Set(wire.HeaderWorkflowRunID, m.run.id)
		header.Set(wire.HeaderWorkflowURL, m.run.url)
		header.Set(wire.HeaderWorkflowCreatedAt, strconv.FormatInt(m.run.created.UnixMilli(), 10))
	}
	token, err := receiver.Sign(e.key, o)
	if err != nil {
		e.t.Fatalf("workflowtest: sign a call of %s: %v", m.url, err)
	}
	header.Set(receiver.Header, token)
	return e.call(h, method, m.url, header, body)
}

// judge decides what follows from an answer, as the server does.
func (e *Env) judge(m *message, h handlers, a *answer) {
	e.t.Helper()
	if !a.ok() {
		e.mistaken(m, h, a)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case a.ok():
		if m.kind == receiver.KindFailure {
			m.run.handled = a.result()
		}
		if e.Twice && !m.again {
			m.again = true
			m.tried++
			e.sendAfter(m, 0)
		}
	case a.final() || m.tried >= m.retries:
		e.giveUp(m, a)
	default:
		delay := m.backoff(a, e.time())
		m.tried++
		e.sendAfter(m, delay)
	}
}

func (a *answer) final() bool {
	return a.status == statusNonRetryable && a.header.Get(wire.HeaderNonRetryable) == "true"
}

func (m *message) backoff(a *answer, now time.Time) time.Duration {
	if d, ok := wire.RetryAfter(a.header, now); ok {
		return d
	}
	if delay, err := wire.ParseRetryDelay(m.delay); err == nil && m.delay != "" {
		return delay.Delay(m.tried)
	}
	return wire.DefaultBackoff(m.tried + 1)
}

// mistaken ends the test where the code under test is at fault: the server would
// try again, and what is wrong might not show.
func (e *Env) mistaken(m *message, h handlers, a *answer) {
	e.t.Helper()
	var said struct{ Error, Message string }
	if a.status != http.StatusInternalServerError || json.Unmarshal(a.body.Bytes(), &said) != nil {
		return
	}
	if e.t.Failed() { // by a step's function, perhaps: then this is Goexit, and no panic
		e.t.FailNow()
	}
	if said.Error == "WorkflowError" && m.run != nil {
		if m.kind == receiver.KindStep {
			for range 50 {
				e.replay(m, h) // which says more, if it sees the same
			}
		}
		e.t.Fatalf("workflowtest: workflow %s: %s", m.run.name(), said.Message)
	}
}

// giveUp is what comes of a message that will not be tried again.
func (e *Env) giveUp(m *message, a *answer) {
	if m.run == nil {
		return
	}
	if m.kind == receiver.KindFailure {
		m.run.handledErr = m.run.ending(a)
		return
	}
	if m.run.state != client.RunStarted {
		return
	}
	m.run.err = m.run.ending(a)
	e.end(m.run, client.RunFailed, nil)
	if cb := m.run.config.FailureCallback; cb != nil {
		report := m.outcome(a)
		report.SourceBody, report.SourceHeader, report.DLQID = m.run.log[0].Body, m.run.config.Header, "dlq_"+m.id
		report.WorkflowRunID, report.WorkflowCreatedAt = m.run.id, m.run.created.UnixMilli()
		back := e.callback(cb, &report)
		back.kind, back.run = receiver.KindFailure, m.run
		if back.config.Retries == nil {
			back.retries = m.retries
		}
		e.send(back)
	}
}

// ending is the error that a call has ended with.
func (r *run) ending(a *answer) error {
	err := r.last
	if err == nil { // it did not come to the endpoint's middleware
		var said struct{ Message string }
		if json.Unmarshal(a.body.Bytes(), &said) != nil || said.Message == "" {
			said.Message = strings.TrimSpace(fmt.Sprintf("answer %d %s", a.status, a.body.String()))
		}
		err = errors.New(said.Message)
	}
	if step := a.header.Get(wire.HeaderErrorStepName); step != "" {
		err = fmt.Errorf("step %q: %w", step, err)
	}
	return err
}

// result is what a failure function has returned.
func (a *answer) result() string {
	var said struct{ Result string }
	_ = json.Unmarshal(a.body.Bytes(), &said) // there is none without OnFailure
	return said.Result
}

// outcome is what a callback tells of a message.
func (m *message) outcome(a *answer) wire.CallbackBody {
	return wire.CallbackBody{
		Status: a.status, Header: a.header, Body: a.body.Bytes(), Retried: m.tried, MaxRetries: m.retries,
		SourceMessageID: m.id, URL: m.url, Method: m.config.Method, SourceHeader: m.config.Header, SourceBody: m.body,
	}
}

func (e *Env) callback(to *wire.Callback, body *wire.CallbackBody) *message {
	config, err := wire.ParseConfig(to.Header)
	if err != nil {
		panic(fmt.Sprintf("workflowtest: callback to %s: %v", to.URL, err))
	}
	text, err := body.Encode()
	if err != nil {
		panic(fmt.Sprintf("workflowtest: callback to %s: %v", to.URL, err))
	}
	config.Header = config.Header.Clone()
	if config.Header == nil {
		config.Header = http.Header{}
	}
	config.Header.Set("Content-Type", "application/json")
	return e.message(to.URL, config, text)
}
