package workflow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

// submitTimeout bounds how long the server may take to accept a step's result.
const submitTimeout = time.Minute

// execution is one call of a workflow function against its run's log.
type execution struct {
	ctx    context.Context
	client *client.Client
	run    run

	middleware []Middleware
	versions   map[string]int // known so far, by change id

	log   []wire.Step // the first is the run's start; none in a rehearsal
	known int         // entries of the log that are no plans

	rehearsal bool   // end at the first step: it is only asked whether there is one
	check     bool   // end at the first step that is not in the log: it is only asked for
	waiting   bool   // of a check: the log's last entry has no result yet
	goroutine uint64 // the function's

	using sync.Mutex // guards what is below; held for good when the function's call is over

	reached bool    // a step was used
	steps   int     // used so far
	plans   int     // entries of the log that are plans of those
	pending []*task // used, not yet looked up or executed
	inside  string  // name of the step whose function runs
	stepCtx context.Context
	failed  *stepError // nothing follows it
	passed  int        // whose results were in the log
	asked   []*task    // being looked up
	next    []*task    // of a check: those that were not
	end     ending

	mu    sync.Mutex
	fault error // wins over what the function returns; guarded for use from wrong goroutines
}

// ending is how a function's call ended.
type ending int

const (
	endReturned  ending = iota
	endStopped          // within a step: the run goes on with another call
	endCancelled        // by Cancel
)

// verdict is what came of a function's call.
type verdict struct {
	end    ending
	result []byte // if it returned
	err    error
}

func (e *Endpoint) execution(ctx context.Context, d *delivery, log []wire.Step) *execution {
	x := &execution{ctx: ctx, client: e.opts.Client, middleware: e.opts.Middleware, run: d.run, log: log}
	for _, s := range log {
		if !s.IsPlan() {
			x.known++
		}
	}
	return x
}

// play calls fn in a goroutine of its own, which can be ended from within, and
// waits for it.
func (x *execution) play(fn function) verdict {
	var (
		result   []byte
		err      error
		returned bool
		crash    *panicError
		done     = make(chan struct{})
	)
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				crash = &panicError{p, debug.Stack()}
			}
		}()
		x.goroutine = goroutineID()
		result, err = fn(x.run.context(x.ctx, x))
		_ = asked(err)
		returned = true
	}()
	<-done
	x.using.Lock() // what other goroutines still do with steps comes to nothing
	v := verdict{end: x.end, result: result}
	switch {
	case crash != nil:
		v.err = x.inFailed(crash)
	case !returned && x.end == endReturned:
		v.err = x.inFailed(errGoroutineEnded)
	case returned:
		v.err = x.returned(err)
	}
	if fault := x.takeFault(); fault != nil {
		v.err = fault
	}
	return v
}

// returned is the error of a function that returned err.
func (x *execution) returned(err error) error {
	switch {
	case x.failed != nil && err == nil:
		return x.failed // which is not for the function to ignore
	case x.failed != nil:
		return x.inFailed(err)
	case err == nil && !x.reached:
		return &refusal{errors.New("the function returned before its first step")}
	case err != nil && !x.reached:
		return &refusal{err}
	case err == nil && len(x.pending) > 0:
		return protocolErrorf("The function returned without the result of step '%s'. Call Get on its future, or All", x.pending[0].name)
	}
	return err
}

// inFailed attributes err to the step that failed, if one did.
func (x *execution) inFailed(err error) error {
	if x.failed == nil {
		return err
	}
	return &stepError{x.failed.step, err}
}

// here checks that this is the function's goroutine. Whatever executes a step, or
// ends the goroutine, does so first. A step that is in the log is found without: it
// was here when it was executed.
func (x *execution) here(name string) error {
	if goroutineID() != x.goroutine {
		return x.setFault(misplacedError(name))
	}
	return nil
}

// lock keeps other goroutines out. The function's own has the lock already within
// a step, and does not get it again.
func (x *execution) lock(name string) (locked bool, err error) {
	if x.using.TryLock() {
		return true, nil
	}
	if err := x.here(name); err != nil {
		return false, err
	}
	if x.inside == "" { // another one looks something up, which it was not to do
		x.using.Lock()
		return true, nil
	}
	return false, nil
}

func (x *execution) unlock(locked bool) {
	if locked {
		x.using.Unlock()
	}
}

// enter checks that a step may be used here and now.
func (x *execution) enter(name string) error {
	if x.inside == "" && x.end == endReturned && isName(name) && !x.rehearsal {
		x.reached = true
		return nil
	}
	if err := x.here(name); err != nil {
		return err
	}
	switch {
	case x.inside != "":
		x.stop(protocolErrorf("A step can not be run inside another step. Tried to run '%s' inside '%s'", name, x.inside))
	case x.end != endReturned:
		return protocolErrorf("Step '%s' is used in a deferred call of a function that has ended", name)
	case name == "":
		x.stop(protocolErrorf("A workflow step needs a name"))
	case !isName(name):
		x.stop(NonRetryable(protocolErrorf("The name of a workflow step must be UTF-8 text without NUL bytes, and %q is not", clip(name))))
	}
	x.reached = true
	x.stop(nil) // of a rehearsal
	return nil
}

// isName reports whether a step can have the name: the log would have another for
// one that is no text, and the function not find its step again.
func isName(name string) bool {
	return name != "" && utf8.ValidString(name) && strings.IndexByte(name, 0) < 0
}

// enterStep is enter for what cannot follow a failed step.
func (x *execution) enterStep(name string) error {
	if err := x.enter(name); err != nil {
		return err
	}
	if x.failed != nil {
		return x.failed.err
	}
	return nil
}

// fail is stop for where nobody has asked yet whether this is the function's
// goroutine. It returns if it is not.
func (x *execution) fail(name string, fault error) error {
	if err := x.here(name); err != nil {
		return err
	}
	x.stop(fault)
	return nil
}

// stop ends the function's goroutine, with an error or with its work done.
func (x *execution) stop(fault error) {
	if fault != nil {
		x.setFault(fault)
	}
	x.end = endStopped
	runtime.Goexit()
}

func (x *execution) setFault(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.fault == nil {
		x.fault = err
	}
	return err
}

func (x *execution) takeFault() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.fault
}

// settle finds or makes the results of all pending steps: they are one step, or
// one parallel group. It returns an error in another goroutine than the function's.
func (x *execution) settle() (err error) {
	group := x.pending
	x.pending, x.asked = nil, group
	first := x.steps - len(group) + 1
	if len(group) == 1 {
		err = x.single(group[0], first)
	} else {
		err = x.parallel(group, first)
	}
	if err != nil {
		x.pending = group
		return x.fail(group[0].name, err)
	}
	if x.asked = nil; len(group) > 1 {
		x.plans += len(group)
	}
	return nil
}

func (x *execution) single(t *task, place int) error {
	if place < x.known {
		entry, err := x.entry(place + x.plans)
		if err != nil {
			return err
		}
		if entry.IsPlan() {
			return countError("single", 1, entry.Concurrent)
		}
		if err := t.match(entry); err != nil {
			return err
		}
		if x.waiting && place == x.known-1 {
			x.arrive([]*task{t})
		}
		t.settle(entry)
		x.passed++
		return nil
	}
	if planned := x.from(place); len(planned) > 0 {
		return countError("single", 1, planned[0].Concurrent)
	}
	if err := x.here(t.name); err != nil {
		return err
	}
	x.execute(t, place, 1)
	return nil
}

func (x *execution) parallel(group []*task, first int) error {
	if entries, ok := x.closed(first, len(group)); ok {
		return x.collect(group, entries)
	}
	entries, n := x.from(first), len(group)
	if len(entries) == 0 {
		if err := x.here(group[0].name); err != nil {
			return err
		}
		x.plan(group, first)
		return nil
	}
	last := entries[len(entries)-1]
	state := "discard"
	switch {
	case len(entries) >= 2*n:
		state = "last"
	case last.IsPlan():
		state = "partial"
	}
	slices.SortStableFunc(entries, byPlace)
	if state == "last" {
		return x.collect(group, entries)
	}
	if err := x.here(group[0].name); err != nil {
		return err
	}
	if x.check {
		x.checkGroup(group, first, entries)
	}
	if planned := entries[0].Concurrent; planned != n {
		return countError(state, n, planned)
	}
	if state == "discard" { // the results of others are still to come
		x.stop(nil)
	}
	i := last.TargetStep - first
	if i >= n {
		return countError(state, n, last.Concurrent)
	}
	if err := group[i].match(last); err != nil {
		return err
	}
	x.execute(group[i], last.TargetStep, n)
	for _, t := range group { // the step failed, and with it the group
		t.err = group[i].err
		t.settled = true
	}
	return nil
}

// closed is the entries of a group of n steps that has all of its results, sorted
// by place, if they are where they belong in the log. The log of a run with many
// groups is then read once, and not once for each.
func (x *execution) closed(first, n int) (entries []wire.Step, ok bool) {
	from := first + x.plans
	if from+2*n > len(x.log) {
		return nil, false
	}
	entries = slices.Clone(x.log[from : from+2*n])
	plans := 0
	for _, s := range entries {
		if s.Place() < first || s.Place() >= first+n {
			return nil, false
		}
		if s.IsPlan() {
			plans++
		}
	}
	slices.SortStableFunc(entries, byPlace)
	return entries, plans == n
}

func byPlace(a, b wire.Step) int { return a.Place() - b.Place() }

// collect takes the results of a group from the log's entries, which are
// sorted by place and begin with the group's.
func (x *execution) collect(group []*task, entries []wire.Step) error {
	if planned := entries[0].Concurrent; planned != len(group) {
		return countError("last", len(group), planned)
	}
	results := slices.DeleteFunc(slices.Clone(entries), wire.Step.IsPlan)
	if len(results) < len(group) {
		return countError("last", len(group), len(results))
	}
	results = results[:len(group)]
	for i, t := range group {
		if err := t.match(results[i]); err != nil {
			return mismatchError(err, group, results)
		}
		t.settle(results[i])
		x.passed++
	}
	return nil
}

// plan announces a group: the server then calls once for each of its steps.
func (x *execution) plan(group []*task, first int) {
	if x.check {
		x.arrive(group)
	}
	items := make([]client.BatchItem, len(group))
	for i, t := range group {
		h := x.run.deliveredHeader()
		s := wire.Step{StepName: t.name, StepType: t.kind, Concurrent: len(group), TargetStep: first + i}
		if t.plan != nil {
			t.plan(&s, h)
		}
		item, err := x.message(s, h)
		if err != nil {
			x.stop(err)
		}
		items[i] = item
	}
	x.submit(group[0].name, func(ctx context.Context, c *client.Client) error { return send(ctx, c, items...) })
}

// execute does the step t and submits what came of it. It returns only if the
// step failed.
func (x *execution) execute(t *task, place, concurrent int) {
	if x.check {
		x.arrive([]*task{t})
	}
	told, err := x.work(t, place, concurrent)
	if err != nil {
		x.failed = &stepError{t.name, err}
		t.err, t.settled = err, true
		return
	}
	x.submit(t.name, told)
}

// work calls the step's function, and remembers that it failed should it not
// return: a panic that is recovered somewhere is no result.
func (x *execution) work(t *task, place, concurrent int) (told report, err error) {
	x.inside = t.name
	x.failed = &stepError{t.name, errors.New("the step's function panicked")}
	defer func() { x.inside = "" }()
	err = asked(x.around(t, place, concurrent, func(ctx context.Context) (err error) {
		x.stepCtx = ctx
		told, err = t.do(x, place, concurrent)
		return err
	}))
	x.failed = nil
	return told, err
}

// message is an entry of the run's log on its way to the server.
func (x *execution) message(s wire.Step, h http.Header) (client.BatchItem, error) {
	body, err := encodeJSON(s)
	if err != nil {
		return client.BatchItem{}, fmt.Errorf("encode step: %w", err)
	}
	return client.BatchItem{Destination: x.run.url, Header: h, Body: body}, nil
}

// submit tells the server of a step, and ends the function's call.
func (x *execution) submit(step string, told report) {
	ctx, cancel := submission(x.ctx)
	defer cancel()
	if err := x.explain(ctx, told(ctx, x.client)); err != nil {
		x.stop(&stepError{step, fmt.Errorf("submit step: %w", err)})
	}
	x.stop(nil)
}

// explain says what the server's answer to a message of the run means. A 412
// will not pass with a retry. A 400 has two reasons. The run has ended: then
// there is nothing left to do. Or the server does not accept this very message,
// and never will: to call that success would leave the run hanging.
func (x *execution) explain(ctx context.Context, refused error) error {
	if !errors.Is(refused, client.ErrBadRequest) {
		return limitReached(refused)
	}
	_, err := x.client.RunLog(ctx, x.run.id)
	switch {
	case err == nil:
		return NonRetryable(refused)
	case isEnded(err):
		return nil
	}
	return errors.Join(refused, err)
}

// submission is a context for handing over work that is done: it outlives a
// server that hangs up, so that the work is not done again.
func submission(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), submitTimeout)
}

func (x *execution) entry(i int) (wire.Step, error) {
	if i >= len(x.log) {
		return wire.Step{}, protocolErrorf("The log has %d entries, but the workflow is at entry %d", len(x.log), i)
	}
	return x.log[i], nil
}

// ends reports whether the log has nothing about the steps from place on. It looks
// from the end: that is where such entries are.
func (x *execution) ends(place int) bool {
	for _, s := range slices.Backward(x.log) {
		if s.Place() >= place {
			return false
		}
	}
	return true
}

// from is the log's entries about the steps from place on.
func (x *execution) from(place int) []wire.Step {
	var entries []wire.Step
	for _, s := range x.log {
		if s.Place() >= place {
			entries = append(entries, s)
		}
	}
	return entries
}
