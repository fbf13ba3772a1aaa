package workflowtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

const (
	// replays is how often a function is asked what it does next, each time that
	// it is about to do it.
	replays = 4

	// Every call with a log takes as long as that is. From longLog entries on, the
	// function is asked after every tenth only.
	longLog = 100
)

// Replay calls a workflow with every beginning of a run's log, several times each,
// and checks that it goes on as the log does. Where it does not, the test fails,
// with the first step that differs and both sides of it. No step is executed.
//
// A log comes from [Result].Log, perhaps by way of a file, or from
// [client.Client.RunLog] of a server. It tells whether code fits runs that an
// earlier version has begun. [Env.Options] hold, and Env.Trigger.Header is what
// the run was started with.
func Replay[In, Out any](e *Env, fn func(ctx *workflow.Context, in In) (Out, error), log []client.LogEntry) {
	e.t.Helper()
	if len(log) == 0 {
		e.t.Fatal("workflowtest: the log to replay is empty")
	}
	r := &run{id: "wfr_replay", past: true, url: serve(e, fn), created: e.Now()}
	r.config.Header = http.Header{"Content-Type": {"application/json"}}
	for name, values := range e.Trigger.Header {
		r.config.Header[http.CanonicalHeaderKey(name)] = values
	}
	for i, l := range log {
		en := entry{LogEntry: wire.LogEntry{MessageID: l.MessageID, CallType: wire.CallType(l.CallType), Body: l.Body}}
		if i > 0 && en.CallType == wire.CallStep {
			var err error
			if en.step, err = wire.ParseStep(l.Body); err != nil {
				e.t.Fatalf("workflowtest: entry %d of the log: %v", i, err)
			}
		}
		r.log = append(r.log, en)
	}
	e.prove(r, replays)
}

// prove replays the whole log of a run.
func (e *Env) prove(r *run, times int) {
	e.t.Helper()
	for i, l := range r.log {
		if l.CallType == wire.CallStep {
			e.compare(&message{kind: receiver.KindStep, run: r, index: i, id: l.MessageID, url: r.url}, e.at(r.url), times)
		}
	}
}

// replay asks a workflow several times what it is going to do.
func (e *Env) replay(m *message, h handlers) {
	e.t.Helper()
	e.compare(m, h, replays)
}

func (e *Env) compare(m *message, h handlers, times int) {
	e.t.Helper()
	if m.index > longLog && m.index%10 != 0 {
		return
	}
	e.mu.Lock()
	log := slices.Clone(m.run.log)
	e.mu.Unlock()
	for i := range log {
		if log[i].CallType != wire.CallStep {
			log[i].step = wire.Step{} // the request or the answer of a call, and not its result
		}
	}
	prefix := log[:m.index+1]
	next, known := following(prefix, log)
	ways := make([]*way, times)
	for i := range ways {
		ways[i] = e.wayOf(m, h)
	}
	stable := !slices.ContainsFunc(ways, func(w *way) bool { return !w.same(ways[0]) })
	for _, w := range ways {
		switch {
		case w.lost(prefix):
			e.differs(m, first(prefix, w.Steps), list(groupAt(log, w.Steps+1)), w, stable)
		case known && !w.goesTo(next) && !w.notesVersion():
			e.differs(m, prefix, list(next), w, stable)
		case !w.same(ways[0]):
			e.differs(m, prefix, ways[0].String(), w, stable)
		}
	}
}

// first are the entries of a log that are about its first steps.
func first(log []entry, steps int) []entry {
	return slices.DeleteFunc(slices.Clone(log), func(l entry) bool { return l.step.StepID > steps })
}

// way is how a function goes on after a log.
type way struct {
	wire.CheckReport
	refused string // it did not come to a step
}

// wayOf asks, without a step being executed.
func (e *Env) wayOf(m *message, h handlers) *way {
	header := maps.Clone(m.run.config.Header)
	if header == nil {
		header = http.Header{}
	}
	maps.Copy(header, m.config.Header)
	header.Set(wire.HeaderWorkflowCheck, "true")
	header.Set(wire.HeaderWorkflowSDKVersion, "1")
	e.mu.Lock()
	body, _ := json.Marshal(wire.CheckRequest{Log: wire.EncodeLog(nil, m.run.entries()[:m.index+1])})
	e.mu.Unlock()
	a := e.signed(h.check, m, receiver.KindCheck, http.MethodPost, header, body)
	w := &way{}
	if !a.ok() || json.Unmarshal(a.body.Bytes(), &w.CheckReport) != nil {
		var said struct{ Message string }
		_ = json.Unmarshal(a.body.Bytes(), &said)
		w.Check, w.refused = wire.CheckBroken, said.Message
	}
	return w
}

func (w *way) goesTo(next []wire.Step) bool {
	return w.Check == wire.CheckOK && slices.EqualFunc(w.Next, next, func(a wire.CheckStep, b wire.Step) bool {
		return b.StepName == "" || a.StepName == b.StepName && a.StepType == b.StepType
	})
}

// notesVersion says whether a workflow.Version comes next. It is nothing new in a
// run that has been beyond it, but a beginning of that run's log does not tell.
func (w *way) notesVersion() bool {
	return len(w.Next) == 1 && w.Next[0].StepType == wire.StepRun && strings.HasPrefix(w.Next[0].StepName, "version: ")
}

// lost says whether the function has left the way of the log before its end.
func (w *way) lost(prefix []entry) bool {
	results := 0
	for _, l := range prefix {
		if l.step.StepID > results {
			results = l.step.StepID
		}
	}
	return w.Check == wire.CheckBroken && w.Steps < results
}

func (w *way) same(other *way) bool {
	return w.Check == other.Check && slices.Equal(w.Next, other.Next)
}

func (w *way) String() string {
	var steps []string
	for _, s := range slices.Concat(w.Next, w.Asked) {
		steps = append(steps, describe(s.StepName, s.StepType))
	}
	switch {
	case w.refused != "":
		return "its end, before its first step: " + w.refused
	case len(steps) > 0:
		return strings.Join(steps, ", ")
	case w.Check == wire.CheckOK:
		return "its end"
	}
	return "an error: " + w.Error
}

func describe(name string, kind wire.StepType) string { return fmt.Sprintf("step %q (%s)", name, kind) }

// following are the steps that come after a beginning of a log, as far as the
// log knows: those of a parallel group of which it does not know have no name.
func following(prefix, log []entry) (next []wire.Step, known bool) {
	done := map[int]bool{}
	for i := range prefix {
		done[prefix[i].step.StepID] = true
	}
	place := 1
	for _, group := range groups(log) {
		for i, s := range group {
			if !done[place+i] {
				next = append(next, s)
			}
		}
		if len(next) > 0 {
			return next, true
		}
		place += len(group)
	}
	return nil, false
}

// groups are the steps of a log, those together that run in parallel.
func groups(log []entry) (all [][]wire.Step) {
	at := map[int]wire.Step{}
	for i := range log {
		at[log[i].step.Place()] = log[i].step
	}
	for place := 1; at[place].StepName != ""; {
		group := make([]wire.Step, max(1, at[place].Concurrent))
		for i := range group {
			group[i] = at[place+i]
		}
		all = append(all, group)
		place += len(group)
	}
	return all
}

// groupAt is the group that a place belongs to.
func groupAt(log []entry, place int) []wire.Step {
	for _, group := range groups(log) {
		if place -= len(group); place <= 0 {
			return group
		}
	}
	return nil
}

func list(steps []wire.Step) string {
	var named []string
	for _, s := range steps {
		if s.StepName != "" {
			named = append(named, describe(s.StepName, s.StepType))
		}
	}
	return strings.Join(named, ", ")
}

const advice = `Code outside of steps runs again on every call, and must come to the same steps in the same order each time. What may differ from one call to the next belongs into a workflow.Run: the time, randomness, what a database says, what has an effect, and the order in which a map is walked (sort its keys).`

const changeAdvice = `Where the code was changed on purpose, workflow.Version lets it have both ways: runs that are under way keep the old one. If none is, make a new log.`

func (e *Env) differs(m *message, prefix []entry, once string, w *way, stable bool) {
	e.t.Helper()
	var done []string
	for _, l := range prefix {
		if l.step.StepID > 0 {
			done = append(done, fmt.Sprintf("%q", l.step.StepName))
		}
	}
	again := w.String()
	if again == once && w.Error != "" { // such as another number of steps in parallel, of which the same are left
		again += ", but: " + w.Error
	}
	after := "at its start"
	if len(done) > 0 {
		after = "after " + strings.Join(done, ", ")
	}
	if m.run.past && stable {
		e.t.Fatalf("workflowtest: workflow %s goes another way than the run whose log this is, which it would break.\n  where:      %s\n  the log:    %s\n  the code:   %s\n%s",
			m.run.name(), after, once, again, changeAdvice)
	}
	e.t.Fatalf("workflowtest: workflow %s is not deterministic: called again with the same log, it goes another way.\n  where:      %s\n  the log:    %s\n  this time:  %s\n%s",
		m.run.name(), after, once, again, advice)
}
