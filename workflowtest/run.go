package workflowtest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/workflow"
)

// Result is what came of a run.
type Result[Out any] struct {
	Value Out // what the workflow returned; zero unless the run succeeded

	// Err is why the run did not succeed: the error that the workflow ended with,
	// which errors.Is and errors.As see, or [ErrCanceled]. Nil: it succeeded.
	Err error

	// Handled is what Options.OnFailure returned; empty without an OnFailure, and
	// if the run has not failed.
	Handled string

	// HandledErr is the error with which Options.OnFailure failed for good.
	HandledErr error

	Steps   []Step        // those that have a result, in the workflow's order
	Elapsed time.Duration // virtual time from start to end

	// Log is what the server knew of the run: the payload, and an entry for each
	// plan and result. [Replay] plays it to another version of the workflow; as
	// JSON it can be kept in a file for that.
	Log []client.LogEntry

	text string
}

// Step is one step of a run.
type Step struct {
	Name  string          // as the code has it
	Type  string          // Run, SleepFor, SleepUntil, Call, Wait, Notify, Invoke, CreateWebhook or WaitForWebhook
	Out   json.RawMessage // its result as the run's log has it, an event's data in base64; nil if it has none
	Tries int             // how often it was executed
	At    time.Duration   // when it had its result, from the run's start
}

// Names are the names of the steps that have a result.
func (r *Result[Out]) Names() []string {
	names := make([]string, len(r.Steps))
	for i, s := range r.Steps {
		names[i] = s.Name
	}
	return names
}

// String is a timeline of the run, for people.
func (r *Result[Out]) String() string { return r.text }

// Run runs a workflow with a payload, in virtual time, until nothing is left to
// be done: its end, that of its failure function, and that of all that it has
// started. Whatever happens at the same time is done one after the other, in an
// order that Env.Seed decides.
//
// On the way the function is called again and again with what is in the run's
// log. It must always come to the same steps. If it does not, or if the code
// makes another mistake that no retry mends, such as a step inside a step, the
// test ends with t.Fatal. So it does when a step calls or invokes what nothing
// answers. A run that fails or is cancelled does not fail the test: look at
// Result.Err.
//
// In a test with several Runs, the time goes on from one to the next.
func Run[In, Out any](e *Env, fn func(ctx *workflow.Context, in In) (Out, error), in In) *Result[Out] {
	e.t.Helper()
	run := e.start(serve(e, fn), in)
	e.drive()
	if run.state == client.RunStarted {
		e.t.Fatalf("workflowtest: workflow %s has not ended, and nothing is left that could carry it on. Do its options have a Client of their own?\n%s", run.name(), run.timeline())
	}
	r := &Result[Out]{
		Err: run.err, Handled: run.handled, HandledErr: run.handledErr,
		Steps: run.steps(), Elapsed: run.ended.Sub(run.created), text: run.timeline(),
	}
	for _, l := range run.log {
		r.Log = append(r.Log, client.LogEntry{MessageID: l.MessageID, Body: l.Body, CallType: string(l.CallType)})
	}
	if len(run.result) > 0 {
		if err := json.Unmarshal(run.result, &r.Value); err != nil {
			e.t.Fatalf("workflowtest: decode result of workflow %s: %v", run.name(), err)
		}
	}
	e.prove(run, 1)
	return r
}

func (e *Env) start(url string, in any) *run {
	e.t.Helper()
	payload, err := encode(in)
	if err != nil {
		e.t.Fatalf("workflowtest: payload: %v", err)
	}
	e.mu.Lock()
	if e.random == nil {
		e.random = mathrand.New(mathrand.NewPCG(e.Seed, e.Seed))
	}
	n := len(e.runs)
	e.mu.Unlock()
	trigger := e.Trigger
	trigger.URL, trigger.Body = url, payload
	if _, err := e.client.Trigger(e.t.Context(), trigger); err != nil {
		e.t.Fatalf("workflowtest: %v", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.runs[n]
}

// steps are the results in the log.
func (r *run) steps() (steps []Step) {
	results := slices.DeleteFunc(slices.Clone(r.log), func(l entry) bool { return l.step.StepID == 0 || l.CallType != wire.CallStep })
	slices.SortStableFunc(results, func(a, b entry) int { return cmp.Compare(a.step.StepID, b.step.StepID) })
	for _, l := range results {
		s := Step{Name: l.step.StepName, Type: string(l.step.StepType), Tries: r.tries[l.step.StepID], At: l.at.Sub(r.created)}
		if l.step.Out != nil {
			s.Out = json.RawMessage(*l.step.Out)
		}
		steps = append(steps, s)
	}
	return steps
}

// timeline tells of a run, line by line.
func (r *run) timeline() string {
	var text strings.Builder
	fmt.Fprintf(&text, "workflow %s, run %s:", r.name(), r.id)
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for i, s := range r.steps() {
		fmt.Fprintf(w, "\n  %s\t%d\t%s\t%s\t%s", s.At, i+1, s.Name, s.Type, shortened(s.text()))
		if s.Tries > 1 {
			fmt.Fprintf(w, "\t%d tries", s.Tries)
		}
	}
	_ = w.Flush()
	switch {
	case r.state == client.RunStarted:
		text.WriteString("\n  … and on")
	case r.err != nil:
		fmt.Fprintf(&text, "\n  %s  %s: %v", r.ended.Sub(r.created), r.state, r.err)
	default:
		fmt.Fprintf(&text, "\n  %s  %s  %s", r.ended.Sub(r.created), r.state, shortened(string(r.result)))
	}
	return text.String()
}

// text is the step's result as the workflow gets it: data of events and calls of
// webhooks come in base64.
func (s *Step) text() string {
	if s.Type == string(wire.StepWait) || s.Type == string(wire.StepWaitForWebhook) {
		if data, err := base64.StdEncoding.DecodeString(string(s.Out)); err == nil && utf8.Valid(data) {
			return string(data)
		}
	}
	return string(s.Out)
}

func shortened(s string) string {
	const most = 60
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}
