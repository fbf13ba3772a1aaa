package engine

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/wire"
)

// logOf reads a log: "r3" is the result of step 3, "p3" its plan, "t3" its call,
// "f3" that call's outcome; the payload comes first by itself.
func logOf(t *testing.T, text string) []*LogEntry {
	log := []*LogEntry{{CallType: wire.CallStep}}
	for i, word := range strings.Fields(text) {
		step, err := strconv.Atoi(word[1:])
		if err != nil {
			t.Fatal(err)
		}
		e := &LogEntry{Index: i + 1, CallType: wire.CallStep}
		switch word[0] {
		case 'r':
			e.StepID = step
		case 'p':
			e.TargetStep = step
		case 't':
			e.StepID, e.CallType = step, wire.CallTo
		case 'f':
			e.StepID, e.CallType = step, wire.CallFrom
		}
		log = append(log, e)
	}
	return log
}

// What a run that goes on has delivered again is what leads on from its log, and
// nothing else.
func TestUnfinished(t *testing.T) {
	for _, tt := range []struct {
		name, log string
		waits     []int
		want      []int
	}{
		{"nothing yet", "", nil, []int{0}},
		{"after a step", "r1", nil, []int{1}},
		{"after two", "r1 r2", nil, []int{2}},
		{"a call under way", "t1", nil, []int{1}},
		{"a call's outcome", "r1 t2 f2", nil, []int{3}},
		{"a call's result", "t1 f1 r1", nil, []int{3}},
		{"a call, reported late", "t1 r1", nil, []int{2}},
		{"plans", "p1 p2", nil, []int{1, 2}},
		{"one of two is done", "p1 p2 r2", nil, []int{1}},
		{"a call in a group", "p1 p2 t1 r2", nil, []int{3}},
		{"a call's outcome in a group", "p1 p2 t1 r2 f1", nil, []int{5}},
		{"the whole group", "p1 p2 r2 r1", nil, []int{4}},
		{"the whole group and the next step", "p1 p2 r2 r1 r3", nil, []int{5}},
		{"two groups", "p1 p2 r2 r1 p3 p4 r4", nil, []int{5}},
		{"two groups with a step between", "p1 p2 r1 r2 r3 p4 p5 p6 r5", nil, []int{6, 8}},
		{"a group of one call", "r1 p2 p3 r3 t2 f2 r2", nil, []int{7}},
		{"a run invoked", "r1", []int{2}, nil},
		{"a run invoked first", "", []int{1}, nil},
		{"a run invoked in a group", "p1 p2 p3 r3", []int{1}, []int{2}},
		{"a run invoked after a group", "p1 p2 r1 r2", []int{3}, nil},
	} {
		waits := map[int]bool{}
		for _, step := range tt.waits {
			waits[step] = true
		}
		if got := unfinished(logOf(t, tt.log), waits); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
