package engine_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// laneOp is one thing that happens to lanes; what its numbers mean depends on
// the kind.
type laneOp struct {
	kind                      string
	queue, key                int // 0: none
	delay, long, fails, which int
}

var laneOps = rapid.Custom(func(t *rapid.T) laneOp {
	return laneOp{
		kind: rapid.SampledFrom([]string{
			"enqueue", "enqueue", "enqueue", "enqueue", "enqueue", "enqueue", "sleep", "sleep", "sleep", "cancel", "cancel",
			"pause queue", "resume queue", "pause key", "resume key", "widen", "restart",
		}).Draw(t, "kind"),
		queue: rapid.IntRange(0, 2).Draw(t, "queue"), key: rapid.IntRange(0, 2).Draw(t, "key"),
		delay: rapid.SampledFrom([]int{0, 0, 0, 1, 4, 15}).Draw(t, "delay"), long: rapid.IntRange(0, 6).Draw(t, "long"),
		fails: rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3}).Draw(t, "fails"), which: rapid.IntRange(0, 1000).Draw(t, "which"),
	}
})

const (
	laneRetries  = 2
	flowTogether = 2 // what key 1 allows at once
	flowRate     = 3 // what key 2 allows in flowPeriod
	flowPeriod   = 5 * time.Second
)

// sent is a message of the model.
type sent struct {
	laneOp
	id, path string
	due, end time.Time // end: when it had ended; zero: it has not
	canceled time.Time
	tries    []try
}

type try struct{ begin, end time.Time }

// laneModel is what has been done, and what came of it.
type laneModel struct {
	w        *world
	mu       sync.Mutex
	messages []*sent
	byPath   map[string]*sent
	widest   [3]int // a queue has been, ever
	shut     map[string][]try
	problems []string
}

func (m *laneModel) problem(format string, args ...any) {
	m.problems = append(m.problems, fmt.Sprintf(format, args...))
}

func (m *laneModel) deliver(a engine.Attempt) engine.Outcome {
	m.w.mu.Lock()
	cut := m.w.cut
	m.w.mu.Unlock()
	m.mu.Lock()
	s := m.byPath[strings.TrimPrefix(a.URL, "https://example.com/")]
	n := len(s.tries)
	s.tries = append(s.tries, try{begin: time.Now()})
	m.mu.Unlock()
	out := engine.Outcome{Status: 200, Header: http.Header{}}
	if a.Retried < s.fails {
		out.Status = 500
	}
	select {
	case <-time.After(time.Duration(s.long) * time.Second):
	case <-cut:
		out = engine.Outcome{Error: "cut off"}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.tries[n].end = time.Now()
	if out.Status == 200 || a.Retried == laneRetries && out.Error == "" || !s.canceled.IsZero() {
		s.end = time.Now()
	}
	return out
}

func (m *laneModel) do(op laneOp) {
	ctx, e, who := context.Background(), m.w.engine, m.w.caller
	queue, key := fmt.Sprint("q", max(1, op.queue)), fmt.Sprint("k", max(1, op.key))
	var err error
	switch op.kind {
	case "enqueue":
		s := &sent{laneOp: op, path: fmt.Sprint("m", len(m.messages)), due: time.Now().Add(time.Duration(op.delay) * time.Second)}
		cfg := wire.Config{Delay: time.Duration(op.delay) * time.Second, Retries: new(laneRetries), RetryDelay: "3000"}
		switch op.key {
		case 1:
			cfg.FlowControl = &wire.FlowControl{Key: "k1", Parallelism: flowTogether, Period: time.Second}
		case 2:
			cfg.FlowControl = &wire.FlowControl{Key: "k2", Rate: flowRate, Period: flowPeriod}
		}
		name := ""
		if op.queue > 0 {
			name = queue
		}
		m.mu.Lock()
		m.messages = append(m.messages, s)
		m.byPath[s.path] = s
		m.mu.Unlock()
		s.id = m.w.enqueue(name, s.path, cfg)
	case "sleep":
		time.Sleep(time.Duration(op.long)*700*time.Millisecond + time.Millisecond)
	case "cancel":
		if len(m.messages) == 0 {
			return
		}
		s := m.messages[op.which%len(m.messages)]
		m.mu.Lock()
		defer m.mu.Unlock()
		if canceled, err := e.CancelMessage(ctx, who, s.id); err != nil || !canceled || !s.canceled.IsZero() {
			return
		}
		s.canceled = time.Now()
		if n := len(s.tries); n == 0 || !s.tries[n-1].end.IsZero() {
			s.end = time.Now()
		}
	case "pause queue", "resume queue":
		paused := op.kind == "pause queue"
		if err = e.PauseQueue(ctx, who, queue, paused); err == nil {
			m.shutOrOpen(queue, paused)
		}
		if engine.ErrorCode(err) == engine.NotFound {
			err = nil
		}
	case "pause key", "resume key":
		paused := op.kind == "pause key"
		err = e.PauseFlow(ctx, who, key, paused)
		m.shutOrOpen(key, paused)
	case "widen":
		width := 1 + op.which%3
		m.widest[max(1, op.queue)] = max(m.widest[max(1, op.queue)], width)
		_, err = e.PutQueue(ctx, who, engine.QueueChange{Name: queue, Parallelism: &width})
	case "restart":
		m.w.stop()
		time.Sleep(time.Millisecond)
		m.w.start()
	}
	if err != nil {
		m.problem("%s: %v", op.kind, err)
	}
}

func (m *laneModel) shutOrOpen(lane string, paused bool) {
	times := m.shut[lane]
	closed := len(times) > 0 && times[len(times)-1].end.IsZero()
	switch {
	case paused && !closed:
		m.shut[lane] = append(times, try{begin: time.Now()})
	case !paused && closed:
		times[len(times)-1].end = time.Now()
	}
}

// finish lets everything come to its end, and compares.
func (m *laneModel) finish() {
	for i := 1; i <= 2; i++ {
		m.do(laneOp{kind: "resume queue", queue: i})
		m.do(laneOp{kind: "resume key", key: i})
	}
	time.Sleep(time.Hour)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.messages {
		m.checkEnd(s)
		for _, t := range s.tries {
			m.checkTry(s, t)
		}
	}
}

func (m *laneModel) checkEnd(s *sent) {
	states := m.w.states(s.id)
	last := states[len(states)-1]
	switch {
	case !s.canceled.IsZero() && (last == canceled || last == delivered || last == failed):
	case s.canceled.IsZero() && s.fails > laneRetries && last == failed:
	case s.canceled.IsZero() && s.fails <= laneRetries && last == delivered:
	default:
		m.problem("%s ended with %v", s.path, states)
	}
	if s.end.IsZero() && s.canceled.IsZero() {
		m.problem("%s never ended: %v", s.path, states)
	}
	if !s.canceled.IsZero() && len(s.tries) > 0 && s.tries[len(s.tries)-1].begin.After(s.canceled) {
		m.problem("%s was tried after it was cancelled", s.path)
	}
}

// checkTry checks what must hold when an attempt begins.
func (m *laneModel) checkTry(s *sent, t try) {
	if t.begin.Before(s.due) {
		m.problem("%s was tried before it was due", s.path)
	}
	before, together, lately := 0, 0, 0
	for i, o := range m.messages {
		earlier := o.due.Before(s.due) || o.due.Equal(s.due) && i < m.index(s)
		if s.queue != 0 && o.queue == s.queue && earlier && !o.due.After(t.begin) && (o.end.IsZero() || o.end.After(t.begin)) {
			before++
		}
		for _, other := range o.tries {
			if o.key == s.key && !other.begin.After(t.begin) && other.end.After(t.begin) {
				together++
			}
			if o.key == s.key && !other.begin.After(t.begin) && t.begin.Sub(other.begin) < flowPeriod {
				lately++
			}
		}
	}
	if s.queue != 0 && before >= m.widest[s.queue] {
		m.problem("%s overtook %d others of queue %d", s.path, before, s.queue)
	}
	if s.key == 1 && together > flowTogether {
		m.problem("%s was tried with %d others of its key", s.path, together-1)
	}
	if s.key == 2 && lately > 2*flowRate { // the end of one window and all of the next
		m.problem("%s was tried as the attempt %d in %v", s.path, lately, flowPeriod)
	}
	for lane, on := range map[string]bool{fmt.Sprint("q", s.queue): s.queue > 0, fmt.Sprint("k", s.key): s.key > 0} {
		for _, shut := range m.shut[lane] {
			if on && t.begin.After(shut.begin) && t.begin.Before(shut.end) {
				m.problem("%s was tried while %s was paused", s.path, lane)
			}
		}
	}
}

func (m *laneModel) index(s *sent) int {
	var n int
	fmt.Sscanf(s.path, "m%d", &n)
	return n
}

// Whatever happens in whatever order, every message that was not cancelled ends
// as its endpoint has it, in its turn, and within what its queue and its key
// allow; and nothing is left in them.
func TestLanesHoldWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ops := rapid.SliceOfN(laneOps, 5, 40).Draw(rt, "ops")
		var problems []string
		inBubble(t, func(w *world) {
			m := &laneModel{w: w, byPath: map[string]*sent{}, shut: map[string][]try{}, widest: [3]int{1, 1, 1}}
			w.respond(m.deliver)
			for _, op := range ops {
				m.do(op)
			}
			m.finish()
			problems = append(m.problems, w.leaks()...)
		})
		if len(problems) > 0 {
			rt.Fatalf("%s", strings.Join(problems, "\n"))
		}
	})
}
