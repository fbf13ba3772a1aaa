package engine

import "github.com/signposthq/signpost/internal/wire"

// unfinished are the places in a run's log whose deliveries have not led to what
// follows from them, and have to be made again for the run to go on. What their
// messages say does not count: an endpoint whose result was refused, as the run
// had ended meanwhile, has taken the delivery all the same; and one that failed
// may have published its result before.
//
// A plan leads to its step's result, or to a call; a call to its outcome; that to
// a result. A result, and the payload, lead to the next step; in a parallel group
// only the result that came last does. waits are the steps whose results the
// server will write: for those nobody has to be called.
//
// Of the entries it needs no bodies.
func unfinished(log []*LogEntry, waits map[int]bool) (places []int) {
	f := readFollows(log, waits)
	for i, e := range log {
		if !f.led(i, e) {
			places = append(places, i)
		}
	}
	return places
}

// follows are what is in a log, by step id.
type follows struct {
	begun    map[int]bool // planned, called, waiting or done
	done     map[int]bool
	called   map[int]bool // or waiting
	reported map[int]bool // the outcome of its call is there
	groups   map[int]*parallelGroup
}

// parallelGroup is steps that were planned together.
type parallelGroup struct {
	first, last int // step ids
	results     int
	end         int // place of the result that came last
}

func (g *parallelGroup) complete() bool { return g.results == g.last-g.first+1 }

func readFollows(log []*LogEntry, waits map[int]bool) *follows {
	f := &follows{
		begun: map[int]bool{}, done: map[int]bool{}, called: map[int]bool{}, reported: map[int]bool{},
		groups: map[int]*parallelGroup{},
	}
	for step := range waits {
		f.begun[step], f.called[step] = true, true
	}
	var group *parallelGroup // the plans of one stand next to each other
	for i, e := range log {
		if e.CallType != wire.CallStep || e.TargetStep == 0 {
			group = nil
		}
		switch {
		case e.CallType == wire.CallTo:
			f.begun[e.StepID], f.called[e.StepID] = true, true
		case e.CallType == wire.CallFrom:
			f.reported[e.StepID] = true
		case e.TargetStep != 0:
			if group == nil {
				group = &parallelGroup{first: e.TargetStep}
			}
			group.last = e.TargetStep
			f.begun[e.TargetStep], f.groups[e.TargetStep] = true, group
		case i > 0:
			f.begun[e.StepID], f.done[e.StepID] = true, true
			if g := f.groups[e.StepID]; g != nil {
				g.results, g.end = g.results+1, i
			}
		}
	}
	return f
}

// led says whether the entry at a place has led to what follows from it.
func (f *follows) led(place int, e *LogEntry) bool {
	switch {
	case e.CallType == wire.CallTo:
		return f.reported[e.StepID] || f.done[e.StepID]
	case e.CallType == wire.CallFrom:
		return f.done[e.StepID]
	case e.TargetStep != 0:
		return f.done[e.TargetStep] || f.called[e.TargetStep]
	}
	if g := f.groups[e.StepID]; g != nil && (!g.complete() || place != g.end) {
		return true
	}
	return f.followed(e.StepID)
}

// followed says whether anything has come of a step's result: in a parallel group,
// of all of them together.
func (f *follows) followed(step int) bool {
	if g := f.groups[step]; g != nil {
		step = g.last
	}
	return f.begun[step+1]
}

// leadsTo is the place in the log whose delivery is to lead to a step; -1 if there
// is none, or it has.
func (f *follows) leadsTo(log []*LogEntry, step int) int {
	for i, e := range log {
		switch {
		case f.led(i, e) || e.CallType == wire.CallTo || e.CallType == wire.CallFrom:
			continue
		case e.TargetStep != 0:
			if e.TargetStep == step {
				return i
			}
			continue
		}
		next := e.StepID + 1
		if g := f.groups[e.StepID]; g != nil {
			next = g.last + 1
		}
		if next == step {
			return i
		}
	}
	return -1
}
