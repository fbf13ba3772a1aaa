package engine_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/internal/wire"
)

// late is a store whose callers learn late what they have written and read, so
// that changes are told of in any order, long after others have found them.
type late struct {
	engine.Store
	mu     sync.Mutex
	random *rand.Rand
	doubt  atomic.Int64 // how many of 1000 updates fail, before their commit or after it, and views
}

func (s *late) n(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

// lateMost is how late at most.
const lateMost = time.Second

func (s *late) wait() {
	switch n := s.n(100); {
	case n < 40:
	case n < 60:
		runtime.Gosched()
	case n < 85:
		time.Sleep(time.Duration(s.n(30)) * time.Millisecond)
	default:
		time.Sleep(time.Duration(s.n(int(lateMost.Milliseconds()))) * time.Millisecond)
	}
}

func (s *late) fails() bool { return int64(s.n(1000)) < s.doubt.Load() }

func (s *late) Update(ctx context.Context, fn func(engine.Tx) error) error {
	fails, written := s.fails(), s.n(2) == 0
	if fails && !written {
		return errInjected
	}
	err := s.Store.Update(ctx, fn)
	s.wait()
	if fails && err == nil {
		return errInjected
	}
	return err
}

func (s *late) View(ctx context.Context, fn func(engine.Tx) error) error {
	if s.fails() {
		return errInjected
	}
	err := s.Store.View(ctx, fn)
	s.wait()
	return err
}

// crowd is users of several tenants who all do at once what users do, and the
// endpoints that they publish to.
type crowd struct {
	*world
	store  *late
	ep     *endpoint
	random *rand.Rand // of all, under mu

	limiting chan struct{}
	mu       sync.Mutex
	users    []*engine.Caller
	accepted []string                   // ids of messages
	once     map[string]map[string]bool // ids of messages, by deduplication id
	visits   map[string][]*visit        // by id of the message
	inside   map[string]int             // attempts under way, by tenant and lane
	faults   []string
}

// visit is an attempt.
type visit struct {
	retried      int
	path         string
	began, ended time.Time
	again        time.Time // when the next may begin at the soonest, if there is one
}

func (c *crowd) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(n)
}

func (c *crowd) chance(percent int) bool { return c.n(100) < percent }

func (c *crowd) fault(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

// What a path says: the tenant, the queue, the key of flow control, the delay of
// retries in ms. "-" is for none.
var (
	crowdQueues = map[string]int{"q1": 1, "q2": 1, "wide": 3}
	crowdKeys   = map[string]wire.FlowControl{
		"narrow": {Key: "narrow", Parallelism: 2, Period: time.Second},
		"slow":   {Key: "slow", Rate: 3, Period: 2 * time.Second},
		"both":   {Key: "both", Parallelism: 1, Rate: 4, Period: 3 * time.Second},
	}
)

func anyKey[V any](c *crowd, m map[string]V) string {
	return slices.Sorted(maps.Keys(m))[c.n(len(m))]
}

const crowdURL = "https://example.com/"

// something is what a user may publish.
func (c *crowd) something(who *engine.Caller) engine.Publish {
	queue, key, delay := "-", "-", []int{0, 1, 40, 700}[c.n(4)]
	cfg := wire.Config{Method: "POST", Retries: new(c.n(4)), RetryDelay: fmt.Sprint(delay)}
	if c.chance(35) {
		queue = anyKey(c, crowdQueues)
		cfg.Queue = queue
	}
	if c.chance(35) {
		key = anyKey(c, crowdKeys)
		cfg.FlowControl = new(crowdKeys[key])
	}
	if c.chance(40) {
		cfg.Delay = time.Duration(c.n(4)) * time.Second
	}
	if c.chance(10) {
		cfg.Callback = &wire.Callback{URL: crowdURL + fmt.Sprintf("%d/-/-/0", who.ID), Header: http.Header{"Upstash-Retry-Delay": {"0"}}}
	}
	if c.chance(10) {
		cfg.DeduplicationID = fmt.Sprint("once-", c.n(5))
	}
	p := engine.Publish{Destination: crowdURL + fmt.Sprintf("%d/%s/%s/%d", who.ID, queue, key, delay), Config: cfg}
	if c.chance(10) && queue == "-" && key == "-" {
		p.Destination = "group"
	}
	return p
}

func (c *crowd) accept(who *engine.Caller, items []engine.Publish, out []engine.Published) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, p := range out {
		all := p.Endpoints
		if all == nil {
			all = []engine.Published{p}
		}
		for _, one := range all {
			if one.MessageID != "" {
				c.accepted = append(c.accepted, one.MessageID)
			}
			if id := items[i].Config.DeduplicationID; id != "" {
				id = fmt.Sprint(who.ID, " ", id, " ", one.URL)
				if p.Endpoints == nil && items[i].Destination != "group" {
					id = fmt.Sprint(who.ID, " ", items[i].Config.DeduplicationID)
				}
				if c.once[id] == nil {
					c.once[id] = map[string]bool{}
				}
				c.once[id][one.MessageID] = true
			}
		}
	}
}

func (c *crowd) any(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return ids[c.n(len(ids))]
}

// do is something that a user does.
func (c *crowd) do(who *engine.Caller) error {
	ctx, e := context.Background(), c.engine
	switch n := c.n(100); {
	case n < 55:
		items := make([]engine.Publish, 1)
		if n < 15 {
			items = make([]engine.Publish, 1+c.n(8))
		}
		for i := range items {
			items[i] = c.something(who)
		}
		publish := e.Publish
		if n < 10 {
			publish = e.PublishBatch
		}
		out, err := publish(ctx, who, items)
		if err == nil {
			c.accept(who, items, out)
		}
		return err
	case n < 65:
		c.mu.Lock()
		ids := slices.Clone(c.accepted[max(0, len(c.accepted)-10):])
		c.mu.Unlock()
		_, err := e.CancelMessage(ctx, who, c.any(ids))
		return err
	case n < 67:
		_, err := e.CancelMessages(ctx, who, engine.MessageFilter{Paths: []string{fmt.Sprintf("/%d/-/-/40", who.ID)}}, 1+c.n(3))
		return err
	case n < 80:
		queue := anyKey(c, crowdQueues)
		if err := e.PauseQueue(ctx, who, queue, true); err != nil {
			return err
		}
		c.doze(1000)
		return e.PauseQueue(ctx, who, queue, false)
	case n < 92:
		key := anyKey(c, crowdKeys)
		if err := e.PauseFlow(ctx, who, key, true); err != nil {
			return err
		}
		c.doze(1000)
		return e.PauseFlow(ctx, who, key, false)
	case n < 94:
		_, _, err := e.RetryDLQ(ctx, who, engine.DLQFilter{}, wire.Config{}, "", 3)
		return err
	case n < 96:
		c.limiting <- struct{}{} // on a lock, virtual time would stand still
		defer func() { <-c.limiting }()
		_, err := e.ChangeLimits(ctx, c.caller, who.UserID, map[string]*int64{"globalParallelism": new(int64(1 + c.n(6)))})
		return err
	case who == c.caller:
		_, err := e.Publish(ctx, who, []engine.Publish{{Destination: workflowURL, Body: []byte("{}"), Config: wire.Config{
			Method: "POST", Retries: new(20), RetryDelay: "100",
			Workflow: wire.Workflow{Init: true, URL: workflowURL, CallType: wire.CallStep},
		}}})
		return err
	}
	return nil
}

// doze sleeps for at most so many ms, mostly not at all.
func (c *crowd) doze(ms int) {
	if c.chance(40) {
		time.Sleep(time.Duration(c.n(ms)) * time.Millisecond)
	}
}

// use is one user, who does so many things.
func (c *crowd) use(who *engine.Caller, things int) {
	for range things {
		if err := c.do(who); err != nil && engine.ErrorCode(err) == engine.Internal && !errors.Is(err, errInjected) {
			c.fault("a user is told: %v", err)
		}
		c.doze(600)
	}
}

// answer is the endpoints'.
func (c *crowd) answer(a engine.Attempt) engine.Outcome {
	path, _ := strings.CutPrefix(a.URL, crowdURL)
	v := &visit{retried: a.Retried, path: path, began: time.Now()}
	id := a.Header.Get(wire.HeaderMessageID)
	says := strings.Split(path, "/")
	c.mu.Lock()
	c.visits[id] = append(c.visits[id], v)
	code := []int{200, 200, 200, 200, 500, 429}[c.random.IntN(6)]
	long := time.Duration(c.random.IntN(200)) * time.Millisecond
	if c.random.IntN(3) == 0 {
		long = 0
	}
	c.mu.Unlock()
	if a.URL == workflowURL {
		time.Sleep(long)
		o := c.ep.answer(a)
		v.ended = time.Now()
		v.again = v.ended
		return o
	}
	lanes := []string{says[0] + "/" + says[1], says[0] + "/" + says[2]}
	c.enter(lanes, says, 1)
	time.Sleep(long)
	c.enter(lanes, says, -1)
	v.ended = time.Now()
	o := engine.Outcome{Status: code, Header: http.Header{}}
	delay, _ := strconv.Atoi(says[3])
	if code == 429 {
		o.Header.Set("Retry-After", "1")
		delay = 1000
	}
	v.again = v.ended.Add(time.Duration(delay) * time.Millisecond)
	return o
}

// enter counts those inside lanes, who must not be more than have room.
func (c *crowd) enter(lanes, says []string, by int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, most := range []int{crowdQueues[says[1]], crowdKeys[says[2]].Parallelism} {
		if c.inside[lanes[i]] += by; most > 0 && c.inside[lanes[i]] > most && c.store.doubt.Load() == 0 {
			c.faults = append(c.faults, fmt.Sprintf("%d at once in %s", c.inside[lanes[i]], lanes[i]))
		}
	}
}

// newTenant makes one more.
func (c *crowd) newTenant(name string) (*engine.Caller, error) {
	ctx := context.Background()
	cr, err := c.engine.CreateTenant(ctx, c.caller, name)
	if err != nil {
		return nil, err
	}
	return c.engine.Authenticate(ctx, cr.Token)
}

// settleIn gives a user's tenant a wider queue and a URL group, and has it looked
// after at the end.
func (c *crowd) settleIn(who *engine.Caller) error {
	ctx := context.Background()
	_, err := c.engine.PutQueue(ctx, who, engine.QueueChange{Name: "wide", Parallelism: new(crowdQueues["wide"])})
	if err != nil {
		return err
	}
	var members []engine.GroupEndpoint
	for i := range 3 {
		members = append(members, engine.GroupEndpoint{URL: fmt.Sprintf("%s%d/-/-/0/%d", crowdURL, who.ID, i)})
	}
	if err := c.engine.AddToGroup(ctx, who, "group", members); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users = append(c.users, who)
	return nil
}

// again does something until it does not fail.
func (c *crowd) again(do func() error) {
	for range 20 {
		if err := do(); err == nil || !errors.Is(err, errInjected) && engine.ErrorCode(err) != engine.Internal {
			return
		}
	}
	c.fault("it fails for ever")
}

// live has the crowd do things, and waits until all should have come to its end.
func (c *crowd) live(things int) {
	var all sync.WaitGroup
	begin := func(who *engine.Caller, things int) {
		all.Go(func() { c.use(who, things) })
	}
	c.again(func() error { return c.settleIn(c.caller) })
	for _, id := range []string{"a", "b", "c"} {
		p := scheduled(c.t, crowdURL+"1/-/-/0", "* * * * *", "Upstash-Schedule-Id", id, "Upstash-Retries", "1", "Upstash-Retry-Delay", "40")
		c.again(func() error { _, err := putSchedule(c.engine, c.caller, p); return err })
	}
	for range 2 {
		begin(c.caller, things)
	}
	for i := range 12 {
		all.Go(func() {
			var who *engine.Caller
			time.Sleep(time.Duration(c.n(40)) * time.Second)
			c.again(func() (err error) { who, err = c.newTenant(fmt.Sprint("tenant", i, "-", c.n(1000000))); return err })
			begin(who, things/2) // at once: nothing is known of the tenant yet
			c.again(func() error { return c.settleIn(who) })
			begin(who, things/4)
		})
	}
	all.Wait()
	time.Sleep(2 * time.Minute) // for the schedules
	ctx := context.Background()
	c.store.doubt.Store(0)
	for _, id := range []string{"a", "b", "c"} {
		c.again(func() error { return c.engine.DeleteSchedule(ctx, c.caller, id) })
	}
	for _, who := range c.users {
		for queue := range crowdQueues {
			c.again(func() error { return c.engine.PauseQueue(ctx, who, queue, false) })
		}
		for key := range crowdKeys {
			c.again(func() error { return c.engine.PauseFlow(ctx, who, key, false) })
		}
	}
	time.Sleep(5 * time.Minute) // and no longer: what is looked for now and then is found later
}

// ended is what became of a message.
type ended struct {
	*engine.Message
	settled []*engine.Settlement
}

func (c *crowd) read() map[string]*ended {
	all := map[string]*ended{}
	err := c.store.Store.View(context.Background(), func(tx engine.Tx) error {
		var seqs []int64
		for page := (engine.Page{To: 1<<63 - 1, Limit: 500}); ; {
			rows, more, err := tx.ScanMessages(page)
			if err != nil {
				return err
			}
			for _, m := range rows {
				seqs = append(seqs, m.Seq)
			}
			if !more {
				break
			}
			page.From = seqs[len(seqs)-1] + 1
		}
		rows, err := tx.Messages(seqs)
		if err != nil {
			return err
		}
		for _, m := range rows {
			settled, err := tx.SettlementsOf(m.Seq)
			if err != nil {
				return err
			}
			all[m.String()] = &ended{m, settled}
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

// check is what holds whatever comes between what: nothing is lost, nothing comes
// too soon, and unless a commit was in doubt, nothing comes twice.
func (c *crowd) check(doubt bool) {
	t := c.t
	all := c.read()
	for _, f := range append(c.faults, c.ep.faults...) {
		t.Error(f)
	}
	for _, id := range c.accepted {
		if all[id] == nil {
			t.Errorf("message %s was accepted, and is not there", id)
		}
	}
	for id, m := range all {
		if !m.State.Ended() {
			t.Errorf("%s is %d, retried %d times, due at %d: %s queue %q", id, m.State, m.Retried, m.Due, m.URL, m.Settings.Queue)
		}
		if !doubt {
			c.checkAttempts(id, m)
		}
		if c.checkTimes(id, m, doubt); m.State == engine.Delivered && len(c.visits[id]) == 0 {
			t.Errorf("%s was delivered without an attempt", id)
		}
	}
	for id, messages := range c.once {
		if len(messages) > 1 {
			t.Errorf("%s is of %d messages", id, len(messages))
		}
	}
	if !doubt {
		c.checkQueues(all)
		c.checkRates()
	}
	c.checkSchedules(all)
	for _, who := range c.users {
		(&world{t: t, store: c.store.Store, tenant: who.Tenant}).idle()
	}
}

func (c *crowd) checkAttempts(id string, m *ended) {
	var made, settled []int
	for _, v := range c.visits[id] {
		made = append(made, v.retried)
	}
	for _, s := range m.settled {
		if s.StartedAt != 0 {
			settled = append(settled, s.Retried)
		}
	}
	once := make([]int, len(made))
	for i := range once {
		once[i] = i
	}
	if !slices.Equal(made, once) || !slices.Equal(made, settled) {
		c.t.Errorf("%s (%s) was attempted as %v, and settled as %v", id, m.URL, made, settled)
	}
}

func (c *crowd) checkTimes(id string, m *ended, doubt bool) {
	soonest := time.UnixMilli(m.NotBefore)
	for i, v := range c.visits[id] {
		if v.began.Before(soonest) {
			c.t.Errorf("%s (%s), created at %d, was attempted at %d, before %d, %d times before", id, m.URL, engine.Millis(m.Seq), v.began.UnixMilli(), soonest.UnixMilli(), i)
		}
		if i+1 < len(c.visits[id]) && c.visits[id][i+1].retried == v.retried {
			continue // again, as its settlement was in doubt
		}
		soonest = v.again
	}
	if v := c.visits[id]; len(v) > 0 && m.Queue == 0 && m.Flow == 0 && !doubt {
		if wait := v[0].began.Sub(time.UnixMilli(m.NotBefore)); wait > time.Minute {
			c.t.Errorf("%s was due at %d, and had to wait for %v", id, m.NotBefore, wait)
		}
	}
}

// checkQueues checks that those of queues that let one through at a time came
// one after the other, as they became due.
func (c *crowd) checkQueues(all map[string]*ended) {
	type one struct {
		m     *ended
		began time.Time
	}
	queues := map[string][]one{}
	for id, m := range all {
		if name := m.Settings.Queue; name != "" && crowdQueues[name] == 1 {
			for _, v := range c.visits[id] {
				name := fmt.Sprint(m.Tenant, "/", name)
				queues[name] = append(queues[name], one{m, v.began})
			}
		}
	}
	for name, came := range queues {
		slices.SortStableFunc(came, func(a, b one) int {
			return cmp.Or(a.began.Compare(b.began), cmp.Compare(a.m.NotBefore, b.m.NotBefore), cmp.Compare(a.m.Seq, b.m.Seq))
		})
		seen := map[int64]bool{}
		for i, o := range came {
			if i > 0 && came[i-1].m.Seq == o.m.Seq {
				continue
			}
			if seen[o.m.Seq] {
				c.t.Errorf("in %s others came between the attempts of %s", name, o.m)
			}
			seen[o.m.Seq] = true
			for _, later := range came[i+1:] {
				if later.m.Seq < o.m.Seq && later.m.NotBefore <= o.m.NotBefore {
					c.t.Errorf("in %s %s came before %s", name, o.m, later.m)
				}
			}
		}
	}
}

// checkRates checks that no more than twice the rate came within a period: those
// of one window, and of the next. What was counted may come as late as the store
// tells that it was.
func (c *crowd) checkRates() {
	keys := map[string][]time.Time{}
	for _, visits := range c.visits {
		for _, v := range visits {
			if says := strings.Split(v.path, "/"); len(says) > 2 && crowdKeys[says[2]].Rate > 0 {
				keys[says[0]+"/"+says[2]] = append(keys[says[0]+"/"+says[2]], v.began)
			}
		}
	}
	for name, times := range keys {
		slices.SortFunc(times, time.Time.Compare)
		f := crowdKeys[name[strings.IndexByte(name, '/')+1:]]
		for i := range times[:max(0, len(times)-2*f.Rate)] {
			if within := times[i+2*f.Rate].Sub(times[i]); within < f.Period-lateMost {
				c.t.Errorf("%d of %s came within %v", 2*f.Rate+1, name, within)
			}
		}
	}
}

// checkSchedules checks that each minute brought one message of each schedule.
func (c *crowd) checkSchedules(all map[string]*ended) {
	ticks := map[string]map[int64]int{}
	for _, m := range all {
		if id := m.Settings.ScheduleID; id != "" && m.Kind == engine.KindPlain {
			if ticks[id] == nil {
				ticks[id] = map[int64]int{}
			}
			ticks[id][engine.Millis(m.Seq)/60_000]++
		}
	}
	for id, at := range ticks {
		first, last := slices.Min(slices.Collect(maps.Keys(at))), slices.Max(slices.Collect(maps.Keys(at)))
		for minute := first; minute <= last; minute++ {
			if at[minute] != 1 {
				c.t.Errorf("schedule %s made %d messages in minute %d of %d", id, at[minute], minute-first, last-first)
			}
		}
	}
	if len(ticks) != 3 {
		c.t.Errorf("messages of %d schedules", len(ticks))
	}
}

func newCrowd(w *world, seed uint64, doubt int64) *crowd {
	c := &crowd{
		world: w, limiting: make(chan struct{}, 1), random: rand.New(rand.NewPCG(seed, 1)), once: map[string]map[string]bool{},
		visits: map[string][]*visit{}, inside: map[string]int{},
		ep: &endpoint{w: w, stages: []int{1, 2, 1}, random: rand.New(rand.NewPCG(seed, 2)), executed: map[int]int{}},
	}
	w.stop()
	c.store = &late{Store: w.store, random: rand.New(rand.NewPCG(seed, 3))}
	w.store = c.store
	w.keep, w.concurrency = 1+c.n(6), 8
	w.limits.GlobalParallelism = 1 + c.n(6)
	w.respond(c.answer)
	w.start()
	c.store.doubt.Store(doubt)
	return c
}

// Whatever happens at once, and however late it is told: each attempt is made
// once, none before its time, none is forgotten, and lanes let through as many as
// they shall, in their order.
func TestEachAttemptOnce(t *testing.T) {
	for seed := range rounds(4, 200) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(w *world) {
				c := newCrowd(w, seed, 0)
				c.live(20)
				c.check(false)
			})
		})
	}
}

// Where commits are in doubt attempts may be made again, but nothing is lost.
func TestNothingIsLostInDoubt(t *testing.T) {
	for seed := range rounds(2, 100) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(w *world) {
				c := newCrowd(w, seed, 50)
				c.live(20)
				c.check(true)
			})
		})
	}
}

// A wait whose registration was in doubt ends at its time.
func TestWaitInDoubtEnds(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		f := &faulty{Store: w.store, after: true}
		w.store = f
		w.start()
		w.delayedRun("wfr_1")
		time.Sleep(time.Second)
		f.mu.Lock()
		f.fail = func(call int) bool { f.fail = nil; return true }
		f.mu.Unlock()
		err := w.engine.Wait(context.Background(), w.caller, "e", waitHeader("wfr_1"),
			waitRequest(1, 1, func(r *wire.Wait) { r.Timeout = time.Minute }))
		if !errors.Is(err, errInjected) {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Second)
		w.expectOuts("wfr_1", "timeout")
	})
}

// All who waited for an event are told whose coming was in doubt.
func TestEventInDoubtIsTold(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		f := &faulty{Store: w.store, after: true}
		w.store = f
		w.start()
		for _, run := range []string{"wfr_1", "wfr_2"} {
			w.delayedRun(run)
			w.waits(run, "e", 1, nil)
		}
		time.Sleep(time.Second)
		f.mu.Lock()
		f.fail = func(call int) bool { f.fail = nil; return true }
		f.mu.Unlock()
		large := bytes.Repeat([]byte("x"), 5<<20) // is told one after the other
		if _, err := w.engine.Notify(context.Background(), w.caller, "e", large); !errors.Is(err, errInjected) {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for _, run := range []string{"wfr_1", "wfr_2"} {
			if log, err := w.runLog(run); err != nil || len(log) != 2 {
				t.Errorf("%s has a log of %d, %v", run, len(log), err)
			}
		}
	})
}

// afterUpdate is a store that does something once, when an update is committed and
// before that is told.
type afterUpdate struct {
	engine.Store
	do func()
}

func (s *afterUpdate) Update(ctx context.Context, fn func(engine.Tx) error) error {
	err := s.Store.Update(ctx, fn)
	if do := s.do; do != nil {
		s.do = nil
		do()
	}
	return err
}

// What a tenant changes before its maker is told that it was made, holds.
func TestTenantChangedAtOnce(t *testing.T) {
	ctx := context.Background()
	s, err := store.OpenMemory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	held := &afterUpdate{Store: s}
	w := &world{t: t, store: held}
	e := w.node() // does nothing by itself
	cr := engine.Credentials{UserID: "u", Token: "token", CurrentKey: "sig_current", NextKey: "sig_next"}
	held.do = func() {
		who, err := e.Authenticate(ctx, cr.Token)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := e.RotateKeys(ctx, who, true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.EnsureTenant(ctx, cr); err != nil {
		t.Fatal(err)
	}
	who, err := e.Authenticate(ctx, cr.Token)
	if err != nil || who.CurrentKey != cr.NextKey {
		t.Errorf("signed with %s, %v", who.CurrentKey, err)
	}
}
