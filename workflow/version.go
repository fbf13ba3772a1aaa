package workflow

import (
	"context"
)

// Version lets a function change while runs of it are under way. Where a change
// begins, it says which version of the code the run goes by: max for runs that
// come here for the first time, which it notes in the run's log as a step, and
// for all their later calls; min for those that have been beyond this point
// before Version was there.
//
//	v, err := workflow.Version(ctx, "ask the bank", 0, 1)
//	if err != nil {
//		return err
//	}
//	if v == 0 {
//		_, err = workflow.Run(ctx, "check by hand", byHand)
//	} else {
//		_, err = workflow.Call(ctx, "ask the bank", request)
//	}
//
// A later change of the same place raises max. When no run is left that started
// before the change was deployed ("signpost runs list --state started --to" that
// time), none goes by min any more: min is raised, and its code goes. The call
// itself stays until no run has its note, a step "version: " and the change id.
//
// The same change id gives the same version wherever it is asked for in a run.
// Version is a step like others: it starts those that are pending. The error is
// that of an earlier step that failed. A noted version below min or above max
// fails the call, which is tried again: code that knows the version may be
// deployed.
func Version(ctx *Context, changeID string, min, max int) (int, error) {
	x, name := ctx.x, "version: "+changeID
	v, known, err := x.version(name, changeID, min, max)
	if err == nil && !known {
		v, err = Run(ctx, name, func(context.Context) (int, error) { return max, nil })
	}
	if err != nil {
		return 0, err
	}
	return v, x.goBy(name, changeID, v, min, max)
}

// version is the one that a run goes by, if that is known without a note in the log,
// or has none.
func (x *execution) version(name, changeID string, min, max int) (v int, known bool, err error) {
	locked, err := x.lock(name)
	if err != nil {
		return 0, false, err
	}
	defer x.unlock(locked)
	if err := x.enterStep(name); err != nil {
		return 0, false, err
	}
	if changeID == "" || min > max {
		return 0, false, x.fail(name, protocolErrorf("A version needs the id of a change, and a min that is no greater than max: got '%s', %d and %d", changeID, min, max))
	}
	if len(x.pending) > 0 {
		if err := x.settle(); err != nil {
			return 0, false, err
		}
		if x.failed != nil {
			return 0, false, x.failed.err
		}
	}
	if v, known = x.versions[changeID]; known {
		return v, true, nil
	}
	place := x.steps + 1
	if x.ends(place) {
		return 0, false, nil
	}
	if place >= x.known {
		return min, true, nil
	}
	entry, err := x.entry(place + x.plans)
	if err != nil {
		return 0, false, x.fail(name, err)
	}
	return min, !isVersion(entry, name), nil
}

// goBy remembers the version that a run goes by, if the code has it.
func (x *execution) goBy(name, changeID string, v, min, max int) error {
	locked, err := x.lock(name)
	if err != nil {
		return err
	}
	defer x.unlock(locked)
	if v < min || v > max {
		return x.fail(name, protocolErrorf("The run goes by version %d of '%s', but the code has %d to %d", v, changeID, min, max))
	}
	if x.versions == nil {
		x.versions = map[string]int{}
	}
	x.versions[changeID] = v
	return nil
}
