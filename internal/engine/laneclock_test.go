package engine

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// laneWorld is a laneClock with all that goes on around it, one step at a time:
// lanes with those who wait in them, changes that are committed and told in any
// order, and the loop that lets in who is due.
type laneWorld struct {
	clock  laneClock
	now    int64
	store  map[int64][]int64 // when those who wait are due, by lane
	untold []laneTelling

	asleep  bool
	until   int64 // while asleep; 0: for as long as nothing changes
	finding []int64
	found   bool // finding is what was read
	passing []int64
	passed  *laneTelling // what came of that, not told yet
	again   bool         // what could not be found is to be found again
}

// laneTelling is a change of lanes whose maker has still to tell of it.
type laneTelling struct {
	lanes  []*lane
	failed bool
}

// add has somebody wait in a lane, from a commit that may be in doubt.
func (w *laneWorld) add(seq, due int64, failed, written bool) {
	if !failed || written {
		w.store[seq] = append(w.store[seq], due)
	}
	w.untold = append(w.untold, laneTelling{[]*lane{{seq: seq, next: due}}, failed})
}

func (w *laneWorld) tell(i int) {
	t := w.untold[i]
	w.untold = slices.Delete(w.untold, i, i+1)
	w.told(t)
}

// told is the rest of Engine.update.
func (w *laneWorld) told(t laneTelling) {
	if t.failed {
		w.clock.findAgain()
		return
	}
	w.clock.apply(t.lanes)
}

// loop is a part of one round of Engine.laneLoop, and says whether there was one.
// What it writes or reads may fail.
func (w *laneWorld) loop(failed, written bool) bool {
	switch {
	case w.found:
		for _, seq := range w.finding {
			w.clock.set(seq, w.now)
		}
		w.found = false
	case w.passed != nil:
		w.told(*w.passed)
		if w.passed.failed {
			for _, seq := range w.passing {
				w.clock.set(seq, w.now+5)
			}
		}
		w.passing, w.passed = nil, nil
		return true
	case w.passing != nil:
		w.passed = w.pass(failed, written)
		return true
	}
	if w.asleep {
		select {
		case <-w.clock.changed:
		default:
			if w.until == 0 || w.now < w.until {
				return false
			}
		}
		w.asleep = false
		return true
	}
	if w.clock.lost.Swap(false) {
		if failed {
			w.again = true
			return true
		}
		w.found, w.finding = true, nil
		for seq, waiting := range w.store {
			if len(waiting) > 0 {
				w.finding = append(w.finding, seq)
			}
		}
		slices.Sort(w.finding)
		return true
	}
	var due []int64
	if due, w.until = w.clock.take(w.now, 2); len(due) > 0 {
		w.passing = due
		return true
	}
	w.asleep = true
	return true
}

// pass lets in those who are due in the lanes that were taken.
func (w *laneWorld) pass(failed, written bool) *laneTelling {
	t := &laneTelling{failed: failed}
	for _, seq := range w.passing {
		left := slices.DeleteFunc(slices.Clone(w.store[seq]), func(due int64) bool { return due <= w.now })
		l := &lane{seq: seq}
		for _, due := range left {
			l.lookAt(due)
		}
		if t.lanes = append(t.lanes, l); !failed || written {
			w.store[seq] = left
		}
	}
	return t
}

// However changes are told, nobody waits in a lane for longer than it takes.
func TestLaneClockForgetsNothing(t *testing.T) {
	for range 200 { // a check takes next to no time
		rapid.Check(t, clockForgetsNothing)
	}
}

func clockForgetsNothing(t *rapid.T) {
	w := &laneWorld{now: 1, store: map[int64][]int64{}}
	w.clock.init()
	faulty := rapid.Bool().Draw(t, "faulty")
	for range rapid.IntRange(1, 40).Draw(t, "steps") {
		failed, written := faulty && rapid.IntRange(0, 5).Draw(t, "failed") == 0, rapid.Bool().Draw(t, "written")
		switch step := rapid.IntRange(0, 9).Draw(t, "step"); {
		case step <= 2:
			w.add(rapid.Int64Range(1, 3).Draw(t, "lane"), w.now+rapid.Int64Range(0, 6).Draw(t, "delay"), failed, written)
		case step == 3:
			w.now += rapid.Int64Range(0, 4).Draw(t, "time")
		case step == 4 && w.again:
			w.again = false
			w.clock.findAgain()
		case step <= 6:
			if n := len(w.untold); n > 0 {
				w.tell(rapid.IntRange(0, n-1).Draw(t, "untold"))
			}
		default:
			w.loop(failed, written)
		}
	}
	later := w.now
	if faulty {
		later += 6 // what has failed is tried again by then
	}
	for range 10000 {
		switch {
		case w.again:
			w.again = false
			w.clock.findAgain()
		case len(w.untold) > 0:
			w.tell(0)
		case w.loop(false, true):
		default:
			for seq, waiting := range w.store {
				if len(waiting) > 0 && w.now >= later && slices.Min(waiting) <= w.now {
					t.Fatalf("in lane %d wait those due at %v at %d", seq, waiting, w.now)
				}
			}
			if w.now++; w.now > later+10 {
				return
			}
		}
	}
	t.Fatal("it goes on for ever")
}
