package e2e_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/anishathalye/porcupine"
)

// A queue as its users see it, for the history checker. What it has taken in
// stands in a line, an id a rune, followed by ended if a final answer was given
// to it. An attempt may be made for a message when fewer than width of those
// before it still go on, and it may be made once more as long as nobody can know
// that it has ended: at least once, in the order promised.
type line string

const ended = "!"

// step is an operation on a queue: a message is enqueued, or an attempt is made
// for it, whose answer is final or not.
type step struct {
	queue   string
	width   int
	id      rune
	attempt bool
	final   bool
}

func (l line) next(s step) (bool, line) {
	if !s.attempt {
		return true, l + line(s.id)
	}
	before, after, there := strings.Cut(string(l), string(s.id))
	going := utf8.RuneCountInString(before) - 2*strings.Count(before, ended)
	if !there || going >= s.width {
		return false, l
	}
	if s.width == 1 {
		before = "" // all of them have ended, and that is on disk
	}
	if s.final && !strings.HasPrefix(after, ended) {
		after = ended + after
	}
	return true, line(before + string(s.id) + after)
}

var queueModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byQueue := map[string][]porcupine.Operation{}
		for _, op := range history {
			name := op.Input.(step).queue
			byQueue[name] = append(byQueue[name], op)
		}
		var all [][]porcupine.Operation
		for _, ops := range byQueue {
			all = append(all, ops)
		}
		return all
	},
	Init: func() any { return line("") },
	Step: func(state, input, _ any) (bool, any) {
		return state.(line).next(input.(step))
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
}

// The checker accepts what is allowed and nothing else.
func TestQueueModel(t *testing.T) {
	enq := func(id rune, from, to int64) porcupine.Operation {
		return porcupine.Operation{Input: step{queue: "q", width: 1, id: id}, Call: from, Return: to}
	}
	try := func(id rune, final bool, from, to int64) porcupine.Operation {
		return porcupine.Operation{Input: step{queue: "q", width: 1, id: id, attempt: true, final: final}, Call: from, Return: to}
	}
	wide := func(width int, ops ...porcupine.Operation) []porcupine.Operation {
		for i := range ops {
			s := ops[i].Input.(step)
			s.width = width
			ops[i].Input = s
		}
		return ops
	}
	for name, test := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"in order":                   {wide(1, enq('a', 0, 1), enq('b', 2, 3), try('a', true, 4, 5), try('b', true, 6, 7)), true},
		"out of order":               {wide(1, enq('a', 0, 1), enq('b', 2, 3), try('b', true, 4, 5), try('a', true, 6, 7)), false},
		"enqueued at once":           {wide(1, enq('a', 0, 3), enq('b', 2, 4), try('b', true, 5, 6), try('a', true, 7, 8)), true},
		"retried":                    {wide(1, enq('a', 0, 1), enq('b', 2, 3), try('a', false, 4, 5), try('a', true, 6, 7), try('b', true, 8, 9)), true},
		"overtaken between attempts": {wide(1, enq('a', 0, 1), enq('b', 2, 3), try('a', false, 4, 5), try('b', true, 6, 7), try('a', true, 8, 9)), false},
		"sent twice":                 {wide(1, enq('a', 0, 1), enq('b', 2, 3), try('a', true, 4, 5), try('a', true, 6, 7), try('b', true, 8, 9)), true},
		"sent twice, too late":       {wide(1, enq('a', 0, 1), enq('b', 2, 3), try('a', true, 4, 5), try('b', true, 6, 7), try('a', true, 8, 9)), false},
		"sent before it was there":   {wide(1, try('a', true, 0, 1), enq('a', 2, 3)), false},
		"two at a time":              {wide(2, enq('a', 0, 1), enq('b', 2, 3), try('a', false, 4, 5), try('b', true, 6, 7), try('a', true, 8, 9)), true},
		"three in a width of two":    {wide(2, enq('a', 0, 1), enq('b', 2, 3), enq('c', 4, 5), try('a', false, 6, 7), try('b', false, 8, 9), try('c', true, 10, 11)), false},
		"the third when one is done": {wide(2, enq('a', 0, 1), enq('b', 2, 3), enq('c', 4, 5), try('a', false, 6, 7), try('b', true, 8, 9), try('c', true, 10, 11), try('a', true, 12, 13)), true},
	} {
		if got := porcupine.CheckOperations(queueModel, test.history); got != test.want {
			t.Errorf("%s: linearizable %t, want %t", name, got, test.want)
		}
	}
}

// history is what enqueuers and the endpoint have seen.
type history struct {
	mu    sync.Mutex
	start time.Time
	ops   []porcupine.Operation
	known map[rune]bool // was accepted: an answer said so
	doubt map[rune]porcupine.Operation
	first map[rune]int64 // end of a message's first attempt
	done  map[rune]bool
}

func (h *history) now() int64 { return time.Since(h.start).Nanoseconds() }

// await waits until less than most of what was accepted is undelivered, or for a
// minute, and says how much is.
func (h *history) await(most int) (left int) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		h.mu.Lock()
		left = 0
		for id := range h.known {
			if !h.done[id] {
				left++
			}
		}
		h.mu.Unlock()
		if left < most || time.Now().After(deadline) {
			return left
		}
	}
}

// Order holds across retries and across crashes: the server is killed again and
// again while messages are enqueued from many sides into queues whose endpoint
// fails some attempts, and no history of that shows one that overtook another.
func TestQueueOrderWhenKilled(t *testing.T) {
	t.Parallel()
	const (
		perEnqueuer = 60
		enqueuers   = 4
		kills       = 5
		// The checker tries the orders in which messages may have been taken in
		// until it learns which it was: of many that wait there are too many.
		waiting = 8
	)
	h := &history{start: time.Now(), known: map[rune]bool{}, doubt: map[rune]porcupine.Operation{}, first: map[rune]int64{}, done: map[rune]bool{}}
	widths := map[string]int{"one": 1, "other": 1, "wide": 3}
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := h.now()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it was killed while it sent
		}
		queue := strings.TrimPrefix(r.URL.Path, "/")
		id := []rune(string(body))[0]
		fails := rand.IntN(4) == 0
		time.Sleep(rand.N(8 * time.Millisecond))
		// Every seventh message is tried once: whatever is answered is final.
		final := !fails || id%7 == 0
		h.mu.Lock()
		h.ops = append(h.ops, porcupine.Operation{ClientId: int(id), Call: from, Return: h.now(),
			Input: step{queue: queue, width: widths[queue], id: id, attempt: true, final: final}})
		if h.first[id] == 0 {
			h.first[id] = h.now()
		}
		h.done[id] = h.done[id] || final
		h.mu.Unlock()
		if fails {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer endpoint.Close()

	dir := t.TempDir()
	s := startServerAt(t, "0", dir)
	at, err := url.Parse(s.env["QSTASH_URL"])
	if err != nil {
		t.Fatal(err)
	}
	token := s.env["QSTASH_TOKEN"]
	hc := &http.Client{Timeout: 5 * time.Second}
	defer hc.CloseIdleConnections()
	post := func(path, body string, header ...string) bool {
		req, err := http.NewRequest("POST", at.String()+path, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return false
		}
		req.Header.Set("Authorization", "Bearer "+token)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := hc.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
		return resp.StatusCode == 200
	}
	if !post("/v2/queues", `{"queueName":"wide","parallelism":3}`) {
		t.Fatal("no queue")
	}

	var wg sync.WaitGroup
	names := []string{"one", "other", "wide"}
	for n := range enqueuers {
		wg.Go(func() {
			for i := range perEnqueuer {
				id := rune(0x4e00 + n*perEnqueuer + i) // one rune each
				queue := names[rand.IntN(len(names))]
				h.await(waiting)
				retries := "50"
				if id%7 == 0 {
					retries = "0"
				}
				op := porcupine.Operation{ClientId: n, Call: h.now(), Input: step{queue: queue, width: widths[queue], id: id}}
				ok := post("/v2/enqueue/"+queue+"/"+endpoint.URL+"/"+queue, string(id),
					"Upstash-Retries", retries, "Upstash-Retry-Delay", "20")
				op.Return = h.now()
				h.mu.Lock()
				if ok {
					h.known[id] = true
					h.ops = append(h.ops, op)
				} else {
					h.doubt[id] = op
				}
				h.mu.Unlock()
				time.Sleep(rand.N(40 * time.Millisecond))
			}
		})
	}
	for range kills {
		time.Sleep(300*time.Millisecond + rand.N(400*time.Millisecond)) // any moment is as good as another
		s.kill()
		s = startServerAt(t, at.Port(), dir)
	}
	wg.Wait()
	if left := h.await(1); left > 0 {
		t.Fatalf("%d messages that were accepted were not delivered", left)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, op := range h.doubt {
		// Nobody knows whether it was taken in. If it was, then before its first
		// attempt had ended.
		if end := h.first[id]; end != 0 {
			op.Return = max(op.Return, end)
			h.ops = append(h.ops, op)
		}
	}
	t.Logf("%d operations, %d messages accepted, %d in doubt", len(h.ops), len(h.known), len(h.doubt))
	if len(h.known) < enqueuers*perEnqueuer/4 {
		t.Errorf("only %d messages were accepted", len(h.known))
	}
	switch result, _ := porcupine.CheckOperationsVerbose(queueModel, h.ops, time.Minute); result {
	case porcupine.Illegal:
		t.Error("messages overtook others")
	case porcupine.Unknown:
		t.Error("the history could not be checked in a minute")
	}
}
