package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signposthq/signpost/internal/budget"
)

// Options configure an Engine. Store and Deliverer are required.
type Options struct {
	Store     Store
	Deliverer Deliverer
	Logger    *slog.Logger // default: slog.Default()
	Limits    Limits
	// Concurrency is how many attempts may be under way at once; default 1000.
	Concurrency int
	// MasterKeys are the store's, as they are now; nil: it has none.
	MasterKeys func() ([][]byte, error)
	// Keys names signing keys as receivers do. Default: what endpoints tell of
	// their keys is ignored, no rotation is refused, and there are no public keys.
	Keys KeyNamer
	// LLM is the service for wire.LLMDestination; nil: there is none.
	LLM *LLM
	// MissedTicks says what becomes of the times of a schedule that passed while
	// nothing ran: "once" (the default) makes up for all of them with one
	// message, "skip" for none.
	MissedTicks string
	// MissedAfter is how late a time of a schedule counts as missed; default 1
	// minute.
	MissedAfter time.Duration
}

// Limits bound what one request may ask for. A zero field means its default.
type Limits struct {
	MaxBody        int64         // bytes of one message's body; default 10 MiB
	MaxRetries     int           // default 999
	MaxDelay       time.Duration // default 366 days
	MaxTimeout     time.Duration // of one attempt, and the default timeout; default 15 minutes
	DedupWindow    time.Duration // how long a deduplication id is held; default 10 minutes
	Retention      time.Duration // how long ended runs are kept; default 7 days
	AuditRetention time.Duration // how long the audit log is kept; default 365 days

	// How long finished messages can be read, and events are listed; default
	// Retention. How long what is in the DLQ stays there; default 30 days, or
	// Retention if that is longer. How many entries a tenant's DLQ has at most,
	// the oldest of which go; default 1,000,000.
	MessageRetention, EventRetention, DLQRetention time.Duration
	MaxDLQ                                         int

	LazyThreshold  int // bytes of a run's log above which an endpoint fetches it; default 3 MiB
	StoredResponse int // bytes of a response body kept with each attempt; default 16 KiB

	// What a tenant may have, unless it has limits of its own.
	GlobalParallelism int   // attempts under way at once; default four fifths of Options.Concurrency
	MaxQueues         int   // default 10,000
	MaxParallelism    int   // of a queue; default 1000
	MaxURLGroups      int   // default 10,000
	MaxEndpoints      int   // of a URL group; default 100
	MaxSchedules      int   // default 10,000
	MessagesPerDay    int64 // added; default 0: any number
}

func (l Limits) withDefaults() Limits {
	def(&l.MaxBody, 10<<20)
	def(&l.MaxRetries, 999)
	def(&l.MaxDelay, 366*24*time.Hour)
	def(&l.MaxTimeout, 15*time.Minute)
	def(&l.DedupWindow, 10*time.Minute)
	def(&l.Retention, 7*24*time.Hour)
	def(&l.AuditRetention, 365*24*time.Hour)
	def(&l.MessageRetention, l.Retention)
	def(&l.EventRetention, l.Retention)
	def(&l.DLQRetention, max(30*24*time.Hour, l.Retention))
	def(&l.MaxDLQ, 1_000_000)
	def(&l.LazyThreshold, 3<<20)
	def(&l.StoredResponse, 16<<10)
	def(&l.MaxQueues, 10_000)
	def(&l.MaxParallelism, 1000)
	def(&l.MaxURLGroups, 10_000)
	def(&l.MaxEndpoints, 100)
	def(&l.MaxSchedules, 10_000)
	return l
}

func def[T int | int64 | time.Duration](v *T, value T) {
	if *v == 0 {
		*v = value
	}
}

// DefaultRetries is how often a message is retried when its publisher does not
// say, unless its tenant may have less.
const DefaultRetries = 3

// Engine runs the rules over a Store. Between Start and Close it dispatches
// what is due.
type Engine struct {
	store   Store
	deliver Deliverer
	log     *slog.Logger
	limits  Limits
	llm     *LLM // nil: there is none
	seq     sequence
	tenants tenantCache
	callers callerCache
	queue   dispatcher
	lanes   laneClock
	began   int64 // when it was made, Unix ms: what was sent before was by another

	schedules   chan struct{} // a schedule was changed
	missedTicks string
	missedAfter time.Duration
	nextTick    atomic.Int64 // when something is due that is known of, Unix ms; maxSeq: who knows
	untold      atomic.Bool  // there may be events that not all have been told of

	endpoints endpointBook
	quotas    quotaBook
	index     index
	listTime  time.Duration // after which a list answers what it has
	listLooks int

	slots    chan struct{} // one per attempt under way
	outcomes chan *flight

	pages   *budget.Budget // lists that are large
	bodies  *budget.Budget
	litter  litter
	waiting chan struct{} // one per attempt that waits for memory without a slot

	masterKeys func() ([][]byte, error)
	rewrapped  chan struct{} // there are rows to seal anew

	stop          context.CancelFunc // ends dispatch
	dispatchCtx   context.Context
	abort         context.CancelFunc // ends attempts
	attemptCtx    context.Context
	dispatchDone  chan struct{}
	lanesDone     chan struct{}
	schedulesDone chan struct{}
	settleDone    chan struct{}
	purgeDone     chan struct{}
	resealDone    chan struct{}
	endpointsDone chan struct{}
	usesDone      chan struct{}
	indexDone     chan struct{}
	flights       sync.WaitGroup
}

// New prepares an engine; nothing is dispatched before Start.
func New(ctx context.Context, o Options) (*Engine, error) {
	e := &Engine{store: o.Store, deliver: o.Deliverer, log: o.Logger, limits: o.Limits.withDefaults(), masterKeys: o.MasterKeys}
	if e.log == nil {
		e.log = slog.Default()
	}
	if o.Concurrency == 0 {
		o.Concurrency = 1000
	}
	if e.llm = o.LLM; e.llm != nil {
		if err := e.llm.check(); err != nil {
			return nil, err
		}
	}
	e.slots = make(chan struct{}, o.Concurrency)
	e.outcomes = make(chan *flight, o.Concurrency)
	e.pages, e.bodies, e.waiting = budget.New(largePages), budget.New(largeBodies), make(chan struct{}, waitingMost)
	e.rewrapped = make(chan struct{}, 1)
	e.schedules = make(chan struct{}, 1)
	e.nextTick.Store(maxSeq)
	e.untold.Store(true)
	if e.missedTicks, e.missedAfter = o.MissedTicks, o.MissedAfter; e.missedAfter == 0 {
		e.missedAfter = time.Minute
	}
	if e.missedTicks == "" {
		e.missedTicks = MissedOnce
	}
	e.listTime, e.listLooks = listTime, listLooks
	// The rest is for others, while one tenant waits for endpoints that do not answer.
	def(&e.limits.GlobalParallelism, o.Concurrency-o.Concurrency/5)
	e.lanes.init()
	e.began = unixMillis(time.Now())
	e.callers.init()
	e.quotas.days = map[int64]spent{}
	err := e.store.View(ctx, func(tx Tx) error {
		last, err := tx.LastSeq()
		if err != nil {
			return err
		}
		e.seq.startAfter(last)
		tenants, err := tx.Tenants()
		if err != nil {
			return err
		}
		e.tenants.fill(tenants)
		e.queue.init(tenants, e.globalParallelism)
		for _, t := range tenants {
			tokens, err := tx.Tokens(t.ID)
			if err != nil {
				return err
			}
			e.callers.fill(tokens)
		}
		endpoints, err := tx.Endpoints()
		if err != nil {
			return err
		}
		e.endpoints.init(o.Keys, endpoints)
		through, err := tx.IndexedThrough()
		e.index.init(through, e.markers())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the store: %w", err)
	}
	return e, e.completeSecrets(ctx)
}

// Start begins to dispatch, with what a former process left behind.
func (e *Engine) Start() {
	e.dispatchCtx, e.stop = context.WithCancel(context.Background())
	e.attemptCtx, e.abort = context.WithCancel(context.Background())
	e.dispatchDone, e.settleDone, e.purgeDone = make(chan struct{}), make(chan struct{}), make(chan struct{})
	e.resealDone, e.lanesDone = make(chan struct{}), make(chan struct{})
	e.endpointsDone, e.usesDone, e.indexDone = make(chan struct{}), make(chan struct{}), make(chan struct{})
	e.schedulesDone = make(chan struct{})
	go e.dispatchLoop(e.dispatchCtx)
	go e.laneLoop(e.dispatchCtx)
	go e.scheduleLoop(e.dispatchCtx)
	go e.settleLoop()
	go e.purgeLoop(e.dispatchCtx)
	go e.resealLoop(e.dispatchCtx)
	go e.endpointLoop(e.dispatchCtx)
	go e.usesLoop(e.dispatchCtx)
	go e.indexLoop(e.dispatchCtx)
}

// Close stops dispatching, lets the attempts under way end until ctx is done,
// then cuts the rest off: they start anew with the next process. What has come
// back is settled. The store stays open.
func (e *Engine) Close(ctx context.Context) error {
	e.stop()
	<-e.dispatchDone
	<-e.lanesDone
	<-e.schedulesDone
	<-e.purgeDone
	<-e.resealDone
	<-e.endpointsDone
	<-e.usesDone
	<-e.indexDone
	ended := make(chan struct{})
	go func() { e.flights.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		e.log.Warn("attempts cut off at shutdown; they will be made again", "count", e.queue.inFlight())
		e.abort()
		<-ended
	}
	e.abort()
	close(e.outcomes)
	<-e.settleDone
	e.writeAllEndpoints()
	e.writeUses()
	return nil
}

// change is one transaction at work. Rules are its methods; what has to
// happen outside the database (wake-ups, bookkeeping) is collected in it and
// done after the commit.
type change struct {
	e   *Engine
	tx  Tx
	now int64 // Unix ms; one timestamp for the whole transaction

	runs        map[int64]*Run // that were locked, as they are now
	inserts     []*Message
	settlements []*Settlement
	lanes       []*lane // that were looked at, in that order
	quotas      []*quota
	frozen      *[]int64 // messages that the dispatcher leaves alone until this change is over
	wake        []spot   // to dispatch: new or due again
	done        []int64  // flights that are over
	drop        []int64  // messages not to dispatch any more
	doubt       []int64  // messages to dispatch only if they are Pending then
	reads       int64    // of the dispatcher's, before this began
	copied      int64    // bytes of what one request published to URL groups, for each endpoint
	logged      bool     // there is something new to find
}

// update runs fn in one transaction and, once that is durable, tells the
// dispatcher.
func (e *Engine) update(ctx context.Context, fn func(*change) error) error {
	var c *change
	var frozen []int64 // by all runs of fn
	defer func() { e.queue.thaw(frozen) }()
	err := e.store.Update(ctx, func(tx Tx) error {
		c = &change{e: e, tx: tx, now: unixMillis(time.Now()), frozen: &frozen, reads: e.queue.reads.Load(), runs: map[int64]*Run{}}
		if err := fn(c); err != nil {
			return err
		}
		return c.finish()
	})
	e.quotas.apply(c.seen(), err == nil)
	if err != nil {
		if _, refused := errors.AsType[*Error](err); !refused {
			// It may have been committed all the same. Whatever is due says the
			// store, not this change.
			e.queue.readAgain(e.tenants.all())
			e.lanes.findAgain()
		}
		return err
	}
	if c.logged {
		e.index.signal()
	}
	e.queue.apply(c)
	e.lanes.apply(c.lanes)
	return nil
}

// seen are the quotas that a change has met; c may be nil.
func (c *change) seen() []*quota {
	if c == nil {
		return nil
	}
	return c.quotas
}

func (c *change) key() Key { return Key{Seq: c.seq(), Rnd: randomInt63()} }

func (c *change) seq() int64 { return c.e.seq.next(c.now) }

// freeze keeps a message from being started before this change is over, and says
// whether no attempt is under way for it.
func (c *change) freeze(m *Message) bool {
	if !c.e.queue.freeze(m) {
		return false
	}
	*c.frozen = append(*c.frozen, m.Seq)
	return true
}

// insert adds a message; it is written with the others of this change.
func (c *change) insert(m *Message) { c.inserts = append(c.inserts, m) }

// dispatch has a message delivered when it is due. A large body is not kept in
// memory until then.
func (c *change) dispatch(m *Message) {
	p := spot{Due: Due{At: m.Due, Seq: m.Seq}, tenant: m.Tenant, counted: maxSeq}
	if len(m.Body) <= inlineBytes {
		p.message = m
	}
	c.wake = append(c.wake, p)
}

// record adds a settlement; it is written with the others of this change.
func (c *change) record(s *Settlement) {
	s.Seq = c.seq()
	c.settlements = append(c.settlements, s)
}

// flush writes what was collected. A rule that reads messages back after
// inserting some calls it first.
func (c *change) flush() error {
	c.logged = c.logged || len(c.inserts) > 0 || len(c.settlements) > 0
	if len(c.inserts) > 0 {
		if err := c.lockLanes(c.inserts...); err != nil {
			return err
		}
		for _, m := range c.inserts {
			if err := c.enter(m); err != nil {
				return err
			}
		}
		if err := c.tx.InsertMessages(c.inserts); err != nil {
			return fmt.Errorf("insert messages: %w", err)
		}
		c.inserts = nil
	}
	if len(c.settlements) > 0 {
		if err := c.tx.InsertSettlements(c.settlements); err != nil {
			return fmt.Errorf("insert settlements: %w", err)
		}
		c.settlements = nil
	}
	return nil
}

// finish writes the rest and lets go on what the change made room for.
func (c *change) finish() error {
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.writeQuotas(); err != nil {
		return err
	}
	return c.advanceLanes()
}
