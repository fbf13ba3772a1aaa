package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/signposthq/signpost/internal/wire"
)

// check says whether the function follows the log of a run to its end, and what
// it would do then. It executes no step.
func (e *Endpoint) check(ctx context.Context, d *delivery) (answer, error) {
	steps, payload, waiting, err := d.checkedLog()
	if err != nil {
		return answer{}, &statusError{http.StatusBadRequest, fmt.Errorf("decode the run's log: %w", err)}
	}
	fn, err := e.admit(ctx, d, payload)
	if err != nil {
		return answer{}, err
	}
	x := e.execution(ctx, d, await(dropDuplicates(steps), waiting))
	x.check, x.waiting = true, waiting != nil
	v := x.play(fn)
	if refused := (*refusal)(nil); errors.As(v.err, &refused) {
		return answer{}, v.err
	}
	return answer{status: http.StatusOK, body: x.report(v)}, nil
}

func (d *delivery) checkedLog() (steps []wire.Step, payload []byte, waiting *wire.CheckStep, err error) {
	var request wire.CheckRequest
	if err := json.Unmarshal(d.body, &request); err != nil {
		return nil, nil, nil, err
	}
	entries, err := wire.ParseLog(request.Log)
	if err != nil {
		return nil, nil, nil, wire.Within("log", err)
	}
	if len(entries) == 0 {
		return nil, nil, nil, errors.New("it has no entries")
	}
	steps, err = parseSteps(entries)
	return steps, entries[0].Body, request.Waiting, err
}

// await adds to a log the entry that is going to be its next: of the step whose
// result the run waits for, still without it. The new code has to come there.
func await(log []wire.Step, waiting *wire.CheckStep) []wire.Step {
	if waiting == nil {
		return log
	}
	return append(log, wire.Step{StepID: lastPlace(log) + 1, StepName: waiting.StepName, StepType: waiting.StepType, Concurrent: 1})
}

// report is what came of a check. A function that fails has not followed the log:
// the results in it are those that let it go on before.
func (x *execution) report(v verdict) wire.CheckReport {
	r := wire.CheckReport{Check: wire.CheckOK, Steps: x.passed, Next: checkSteps(x.next)}
	err := v.err
	if last := lastPlace(x.log); err == nil && len(x.next) == 0 && x.steps < last {
		err = protocolErrorf("The function ends after %d steps, but the log has %d", x.steps, last)
	}
	if err != nil {
		r.Check, r.Error, r.Asked = wire.CheckBroken, err.Error(), checkSteps(x.asked)
	}
	return r
}

func checkSteps(tasks []*task) (steps []wire.CheckStep) {
	for _, t := range tasks {
		steps = append(steps, wire.CheckStep{StepName: t.name, StepType: t.kind})
	}
	return steps
}

func lastPlace(log []wire.Step) (last int) {
	for _, s := range log {
		last = max(last, s.Place())
	}
	return last
}

// arrive ends a check: these steps come next.
func (x *execution) arrive(next []*task) {
	x.next = next
	x.stop(nil)
}

// checkGroup is the end of a log within a parallel group: what there is of each
// step must be about it. The steps without a result come next.
func (x *execution) checkGroup(group []*task, first int, entries []wire.Step) {
	done := make([]bool, len(group))
	for _, s := range entries {
		i := s.Place() - first
		if i >= len(group) || s.Concurrent != len(group) {
			x.stop(countError("partial", len(group), s.Concurrent))
		}
		if err := group[i].match(s); err != nil {
			x.stop(err)
		}
		done[i] = done[i] || !s.IsPlan()
	}
	var next []*task
	for i, t := range group {
		if !done[i] {
			next = append(next, t)
		}
	}
	x.arrive(next)
}
