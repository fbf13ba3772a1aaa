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
// A later change of the same place raises max. When no run goes by min any more
// ("signpost runs list --state started" knows), min is raised and its code goes. The
// call itself stays until no run has its note.
//
// The same change id gives the same version wherever it is asked for in a run.
// Version is a step like others: it starts those that are pending. The error is
// that of an earlier step that failed. A noted version below min or above max
// fails the call, which is tried again: code that knows the version may be
// deployed.
func Version(ctx *Context, changeID string, min, max int) (int, error) {
	x, name := ctx.x, "version: "+changeID
	if err := x.enterStep(name); err != nil {
		return 0, err
	}
	if changeID == "" || min > max {
		x.stop(protocolErrorf("A version needs the id of a change, and a min that is no greater than max: got '%s', %d and %d", changeID, min, max))
	}
	if len(x.pending) > 0 {
		x.settle()
		if x.failed != nil {
			return 0, x.failed.err
		}
	}
	v, known := x.versions[changeID]
	if !known {
		var err error
		if v, err = x.version(ctx, name, min, max); err != nil {
			return 0, err
		}
		if x.versions == nil {
			x.versions = map[string]int{}
		}
		x.versions[changeID] = v
	}
	if v < min || v > max {
		x.stop(protocolErrorf("The run goes by version %d of '%s', but the code has %d to %d", v, changeID, min, max))
	}
	return v, nil
}

// version reads the note of a version, or makes it at the log's end.
func (x *execution) version(ctx *Context, name string, min, max int) (int, error) {
	place := x.steps + 1
	if len(x.from(place)) > 0 && (place >= x.known || !isVersion(x.entry(place+x.plans), name)) {
		return min, nil
	}
	return Run(ctx, name, func(context.Context) (int, error) { return max, nil })
}
