package workflow

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

// task is one use of a step.
type task struct {
	name string
	kind wire.StepType
	// plan puts into the entry that announces the step what the server is to
	// know of it, and into its message's header by what that is delayed. Nil for
	// steps that wait for nothing.
	plan func(*wire.Step, http.Header)
	// do does the step's work, and makes of it what the server is told.
	do func(x *execution, place, concurrent int) (report, error)

	x       *execution
	settled bool
	result  wire.Step
	err     error
}

// report tells the server what came of a step.
type report func(context.Context, *client.Client) error

// published is the report of a step whose message has all there is to say.
func published(item client.BatchItem, err error) (report, error) {
	return func(ctx context.Context, c *client.Client) error { return send(ctx, c, item) }, err
}

// use makes t the next step of the run. Its result is found, or the step
// executed, when somebody asks for it.
func (c *Context) use(t *task) *task {
	x := c.x
	t.x = x
	locked, err := x.lock(t.name)
	defer x.unlock(locked)
	if err == nil {
		err = x.enterStep(t.name)
	}
	if err == nil && x.steps+1 >= x.known { // it is used for the first time, perhaps
		err = x.here(t.name)
	}
	if err != nil {
		t.err, t.settled = err, true
		return t
	}
	x.steps++
	x.pending = append(x.pending, t)
	return t
}

// await is the step's entry in the log.
func (t *task) await() (wire.Step, error) {
	locked, err := t.x.lock(t.name)
	if err != nil {
		return wire.Step{}, err
	}
	defer t.x.unlock(locked)
	if t.settled {
		return t.result, t.err
	}
	if err := t.x.enterStep(t.name); err != nil {
		return wire.Step{}, err
	}
	if err := t.x.settle(); err != nil {
		return wire.Step{}, err
	}
	return t.result, t.err
}

func (t *task) settle(entry wire.Step) { t.result, t.settled = entry, true }

// match checks that an entry of the log is about t.
func (t *task) match(entry wire.Step) error {
	if entry.StepName != t.name {
		return protocolErrorf("Incompatible step name. Expected '%s', got '%s' from the request", t.name, entry.StepName)
	}
	if entry.StepType != t.kind {
		return protocolErrorf("Incompatible step type. Expected '%s', got '%s' from the request", t.kind, entry.StepType)
	}
	return nil
}

func misplacedError(name string) error {
	return protocolErrorf("Step '%s' is used in another goroutine or run than that of its workflow function. Start parallel steps with RunAsync and its like", name)
}

func countError(state string, expected, got int) error {
	return protocolErrorf("Incompatible number of parallel steps when call state was '%s'. Expected %d, got %d from the request.", state, expected, got)
}

func mismatchError(cause error, group []*task, results []wire.Step) error {
	var names, types [2][]string
	for _, s := range results {
		names[0], types[0] = append(names[0], s.StepName), append(types[0], string(s.StepType))
	}
	for _, t := range group {
		names[1], types[1] = append(names[1], t.name), append(types[1], string(t.kind))
	}
	return protocolErrorf("Incompatible steps detected in parallel execution: %v\n"+
		"  > Step Names from the request: %s\n    Step Types from the request: %s\n"+
		"  > Step Names expected: %s\n    Step Types expected: %s",
		cause, list(names[0]), list(types[0]), list(names[1]), list(types[1]))
}

func list(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	return "[" + strings.Join(quoted, ",") + "]"
}
