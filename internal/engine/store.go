package engine

import (
	"context"
	"net/http"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// Store keeps the rows. Update is atomic, and durable once it returns nil; it
// may run fn again, so fn touches nothing but its Tx and variables it resets
// itself. View sees one consistent state.
type Store interface {
	View(ctx context.Context, fn func(Tx) error) error
	Update(ctx context.Context, fn func(Tx) error) error
	Close() error

	Sealing(ctx context.Context) (Sealing, error)
	// Rewrap replaces the master keys, of which the first seals, and the data
	// key. All rows then have to be sealed anew: some by each call of Reseal.
	Rewrap(ctx context.Context, masterKeys [][]byte) error
	Reseal(ctx context.Context) (more bool, err error)
}

// Tx is what a rule can do to rows. Verbs named Lock hold their row until the
// transaction ends, so that two transactions never decide from the same state;
// every rule that changes an aggregate locks it first. A row that is not there
// is nil (or left out of a slice), never an error.
type Tx interface {
	// LastSeq is the greatest sequence number in any table.
	LastSeq() (int64, error)

	InsertTenant(*Tenant) error // sets its ID
	Tenants() ([]*Tenant, error)
	LockTenant(id int64) (*Tenant, error)
	UpdateTenant(*Tenant) error

	// Endpoints are those of all tenants.
	Endpoints() ([]*Endpoint, error)
	PutEndpoints([]*Endpoint) error    // writes over what there is of the same tenant and URL
	DeleteEndpoints([]*Endpoint) error // by tenant and URL

	InsertToken(*Token) error
	TokenByHash(hash []byte) (*Token, error)
	Tokens(tenant int64) ([]*Token, error) // oldest first
	DeleteToken(hash []byte) error
	// TouchTokens notes when tokens were used, unless a later use is noted; those
	// that are gone are left out.
	TouchTokens([]TokenUse) error

	InsertAudit(*AuditEntry) error
	ListAudit(tenant int64, page Page) ([]*AuditEntry, error)

	InsertMessages([]*Message) error
	Messages(seqs []int64) ([]*Message, error)
	// MessageBytes is how much memory a message takes, nearly: what is written of
	// its body. It reads none of that.
	MessageBytes(seq int64) (int64, error)
	LockMessage(seq int64) (*Message, error)
	// SettleMessages writes state, due time and retries of messages that are
	// still as they were when that was decided, and reports which were not.
	SettleMessages([]Transition) (missed []int, err error)
	SetFlow(message, flow int64) error
	// MessageStates are those of messages, in any order.
	MessageStates(seqs []int64) ([]MessageState, error)
	// DueMessages are a tenant's pending and cancelling messages after a point in
	// (due, seq) order.
	DueMessages(tenant int64, after Due, limit int) ([]Due, error)
	// PendingMessages are the pending of them, with the rows.
	PendingMessages(tenant int64, after Due, limit int) ([]*Message, error)
	// ScanMessages lists those of all tenants, without key, body, header and
	// state; there is more if the page ends before the range does. So do the other
	// Scans, with what rows are found by and nothing else.
	ScanMessages(page Page) (rows []*Message, more bool, err error)
	// ExpiredMessages are those among the first limit behind a key that ended
	// before a time, and are in no run and no DLQ; last is where they end, 0 if
	// there are no more.
	ExpiredMessages(after, before int64, limit int) (seqs []int64, last int64, err error)
	DeleteMessages(seqs []int64) error // with their settlements

	// Waiting are the first of the messages that wait in a lane, due or not, in
	// (due, seq) order; CountWaiting is how many are due by then.
	Waiting(tenant, lane int64, limit int) ([]Waiter, error)
	CountWaiting(tenant, lane, by int64) (int, error)
	// WaitingMessages are those after a point, with the rows.
	WaitingMessages(tenant, lane int64, after Due, limit int) ([]*Message, error)
	// NextLane is the least lane above one that messages of a tenant wait in; 0
	// if there is none.
	NextLane(tenant, above int64) (lane int64, err error)

	InsertQueue(*Queue) error
	LockQueue(seq int64) (*Queue, error)
	LockQueueNamed(tenant int64, name string) (*Queue, error)
	UpdateQueue(*Queue) error
	DeleteQueue(seq int64) error
	Queues(tenant int64) ([]*Queue, error)
	CountQueues(tenant int64) (int, error)

	InsertFlowKey(*FlowKey) error
	LockFlowKey(seq int64) (*FlowKey, error)
	LockFlowKeyNamed(tenant int64, key string) (*FlowKey, error)
	UpdateFlowKey(*FlowKey) error
	FlowKeys(tenant int64) ([]*FlowKey, error)
	// PurgeFlowKeys deletes at most limit keys that nothing is in or waits for,
	// that are neither paused nor pinned, and that were not used since before.
	PurgeFlowKeys(before int64, limit int) (int, error)

	InsertURLGroup(*URLGroup) error
	URLGroup(tenant int64, name string) (*URLGroup, error)
	LockURLGroup(tenant int64, name string) (*URLGroup, error)
	UpdateURLGroup(*URLGroup) error // writes Endpoints, Header, Prefix and UpdatedAt
	DeleteURLGroup(seq int64) error
	URLGroups(tenant int64) ([]*URLGroup, error) // by name
	CountURLGroups(tenant int64) (int, error)

	InsertSchedule(*Schedule) error
	LockSchedule(seq int64) (*Schedule, error)
	LockScheduleNamed(tenant int64, id string) (*Schedule, error)
	UpdateSchedule(*Schedule) error
	AdvanceSchedule(*Schedule) error // writes NextAt, LastAt and Messages
	// WakeSchedules makes those due now that the token of a hash has made, but for
	// what is paused, and says how many they are.
	WakeSchedules(token []byte, now int64) (int, error)
	DeleteSchedule(seq int64) error
	Schedules(tenant int64) ([]*Schedule, error)
	CountSchedules(tenant int64) (int, error)
	// NextSchedules are those of all tenants that are due first, and when.
	NextSchedules(limit int) ([]Due, error)

	// Slot is what is noted of a message's place in a lane, 0 if it has none: how
	// many hold it in a queue, when it was let in by a key. PutSlot writes that.
	Slot(lane, message int64) (int64, error)
	PutSlot(lane, message, slot int64) error
	Slots(lane int64) (messages []int64, err error) // oldest first

	// MessagesOn is how many messages a tenant has added on a day, 0 if that was
	// never written; PutMessagesOn writes it.
	MessagesOn(tenant, day int64) (int64, error)
	PutMessagesOn(tenant, day, messages int64) error

	// Deduplication is the message that holds the hash, the zero Key if none does.
	Deduplication(tenant int64, hash []byte, now int64) (Key, error)
	PutDeduplication(tenant int64, hash []byte, message Key, now, expiresAt int64) error

	InsertSettlements([]*Settlement) error
	SettlementsOf(message int64) ([]*Settlement, error) // oldest first
	FailureOf(message int64) (reason string, err error) // why it has failed for good; "" if it has not
	Settlements(seqs []int64) ([]*Settlement, error)
	ScanSettlements(page Page) (rows []*Settlement, more bool, err error)

	InsertDLQ(*DLQEntry) error
	LockDLQEntry(tenant, seq int64) (*DLQEntry, error)
	DLQEntries(seqs []int64) ([]*DLQEntry, error)
	InDLQ(message int64) (bool, error)
	ScanDLQ(page Page) (rows []*DLQEntry, more bool, err error)
	DeleteDLQ(seq int64) error
	// DLQBeyond is the newest entry of a tenant that is beyond so many, 0 if they
	// are not more. TrimDLQ deletes at most limit entries up to one, oldest first;
	// PurgeDLQ of all tenants, older than before. Both report how many.
	DLQBeyond(tenant int64, newest int) (seq int64, err error)
	TrimDLQ(tenant, through int64, limit int) (int, error)
	PurgeDLQ(before int64, limit int) (int, error)

	InsertRun(*Run) error
	Run(seq int64) (*Run, error)
	// RunByID is the newest run of that id.
	RunByID(tenant int64, id string) (*Run, error)
	LockRun(seq int64) (*Run, error)
	// LockActiveRun is the one run of that id that has not ended.
	LockActiveRun(tenant int64, id string) (*Run, error)
	UpdateRun(*Run) error
	AdvanceRun(*Run) error // writes LogLen and MaxStep
	Runs(seqs []int64) ([]*Run, error)
	// LastRun is the last that is there of the runs that went on with a run, each
	// with the one before: the run itself if none did.
	LastRun(seq int64) (int64, error)
	// RunsInState are keys from one up to another, exclusive, in order.
	RunsInState(tenant int64, state RunState, from, to int64) ([]int64, error)
	ScanRuns(page Page) (rows []*Run, more bool, err error)
	ListActiveRuns(tenant int64, page Page) ([]*Run, error)

	InsertLog(*LogEntry) error     // without the body, if it has a Source, as which it reads
	SetLogMessage(*LogEntry) error // writes Message
	// Log is the part of a run's log from one index to another, both inclusive.
	Log(run int64, from, to int) ([]*LogEntry, error)
	// EachLog calls take with the entries of Log, one after the other, as long as
	// it says that it wants more.
	EachLog(run int64, from, to int, take func(*LogEntry) (more bool)) error
	// LogBytes is how many entries Log gives, and how many bytes their bodies
	// have. It gives none of those.
	LogBytes(run int64, from, to int) (entries int, bytes int64, err error)
	// LogSteps is the same part without the bodies.
	LogSteps(run int64, from, to int) ([]*LogEntry, error)
	LogStep(run int64, stepID, targetStep int, callType wire.CallType) (*LogEntry, error)
	// PendingOfRun are the messages of a run's log that are still to be delivered.
	PendingOfRun(run int64) ([]*Message, error)

	InsertWait(*Wait) error // one for each step of a run
	Wait(seq int64) (*Wait, error)
	WaitOfStep(run int64, stepID int) (*Wait, error)
	WaitsOfChild(child int64) ([]*Wait, error) // oldest first
	WaitsOfRun(run int64) ([]*Wait, error)     // by step
	// RunWaiting is the first step of a run that still waits for an event.
	RunWaiting(run int64, kind WaitKind, event string) (*Wait, error)
	// AllWaiting are those of all runs of a tenant, behind a key, oldest first.
	AllWaiting(tenant int64, kind WaitKind, event string, after int64, limit int) ([]*Wait, error)
	// NextDeadlines are the soonest of those that still wait, of all tenants.
	NextDeadlines(limit int) ([]Due, error)
	EndWait(seq, done int64) error // writes Done
	// EndWaitsOfRun marks those that still wait as dropped.
	EndWaitsOfRun(run int64) error
	// MoveWaits has runs that are in the DLQ, and had waited for a run, be told of
	// another.
	MoveWaits(from, to int64) error

	InsertNote(*Note) error
	// NextNote is the first of an event that came behind a key; run 0: for all who
	// wait.
	NextNote(tenant, run int64, kind WaitKind, event string, after int64) (*Note, error)
	Broadcasts() ([]*Note, error) // those for all who wait, of all tenants
	CountNotes(run int64, kind WaitKind) (count int, bytes int64, err error)
	DeleteNote(seq int64) error // that is not there is no error
	DeleteNotesOfRun(run int64) error
	MoveNotes(from, to int64) error // from a run to another

	PutWebhook(run int64, event string) error // again is no error
	HasWebhook(run int64, event string) (bool, error)
	CopyWebhooks(from, to int64) error // of a run

	// ExpiredRuns are as ExpiredMessages, newest first, below a key; 0: from the
	// newest on. Runs stay as long as those that went on with them: they are to be
	// deleted in this order. So do those that runs in the DLQ are to be told of.
	ExpiredRuns(below, before int64, limit int) (seqs []int64, last int64, err error)
	DeleteRuns(seqs []int64) error // with their logs, waits and webhooks

	// Complete is a sequence number below which no rows will be committed any more.
	Complete(now int64) int64
	// IndexedThrough is how far InsertSegments has come. It inserts nothing if that
	// is not from. PutMarks, which comes before it, writes Places of a segment, over
	// those that an interrupted one has left.
	IndexedThrough() (int64, error)
	PutMarks(s *Segment, marks []int64) error
	InsertSegments(segments []*Segment, from, through int64) (ok bool, err error)
	// NextSegments are the first that end at or behind a key, newest: the last that
	// end before it; without Seqs and Places, as all that are read.
	NextSegments(space Space, tenant, at int64, newest bool, limit int) ([]*Segment, error)
	SegmentSeqs(*Segment) (Ascending, error)
	Places(s *Segment, mark int64) (Ascending, error)        // nil: there are none
	SegmentsAfter(s *Segment, limit int) ([]*Segment, error) // of all spaces and tenants
	SegmentUsed(*Segment) (bool, error)                      // whether it has a row left
	// DeleteSegment deletes at most limit rows of it, and reports how many.
	DeleteSegment(s *Segment, limit int) (int, error)

	// PurgeDeduplications deletes at most limit of those past now, and reports how
	// many.
	PurgeDeduplications(now int64, limit int) (int, error)
	// PurgeAudit deletes at most limit audit entries older than before, oldest
	// first, and reports how many.
	PurgeAudit(before int64, limit int) (int, error)
	// PurgeMessagesOn deletes at most limit counts of days before one, and reports
	// how many.
	PurgeMessagesOn(before int64, limit int) (int, error)
}

// Page is a range of sequence numbers to list, From inclusive, To exclusive.
type Page struct {
	From, To int64
	Newest   bool // newest first
	Limit    int
}

// Tenant owns messages, runs and keys; nothing is shared between tenants.
type Tenant struct {
	ID         int64
	UserID     string // public name, inside the token
	CurrentKey string // signs deliveries
	NextKey    string // becomes current on rotation
	RotatedAt  int64  // Unix ms; 0: never
	Settings   TenantSettings
	Limits     TenantLimits
	Secrets    TenantSecrets
}

// TenantSettings are what a tenant chose. The zero value is the default.
type TenantSettings struct {
	// SignCalls says which calls of runs to third parties are signed: "always",
	// "same-origin" (as the run's endpoint) or "never"; "" is always.
	SignCalls string `json:"signCalls,omitempty"`
	// SignWith are the signatures that deliveries carry beside the standard one:
	// "ed25519", "standard-webhooks".
	SignWith []string `json:"signWith,omitempty"`
}

// TenantSecrets are what a tenant never sees, nor anybody else.
type TenantSecrets struct {
	RedactKey   []byte `json:"redactKey,omitempty"`   // keys the hashes that stand for what is redacted
	CurrentSeed []byte `json:"currentSeed,omitempty"` // Ed25519: signs deliveries that ask for it
	NextSeed    []byte `json:"nextSeed,omitempty"`    // Ed25519: becomes current on rotation
}

// Token lets its bearer act for a tenant. The secret itself is nowhere.
type Token struct {
	Hash       []byte // SHA-256 of the secret
	Tenant     int64
	Name       string // for people
	Prefix     string // how the secret part begins, to recognise it by; may be ""
	Scopes     []Scope
	URLPrefix  URLPrefix // what it may reach; "": everything of the tenant
	CreatedAt  int64     // Unix ms
	ExpiresAt  int64     // Unix ms; 0: never
	LastUsedAt int64     // Unix ms, written within a minute; 0: never
}

// TokenUse is when a token was last used, Unix ms.
type TokenUse struct {
	Hash []byte
	At   int64
}

// AuditEntry is one management action: who changed what. Its time is
// Millis(Seq).
type AuditEntry struct {
	Seq       int64
	Tenant    int64
	Actor     string // id of the token
	ActorName string // its name then
	Action    string
	Object    string // id of what was changed; "": what the filter in Before selected
	Before    string // JSON; "": nothing
	After     string // JSON; "": nothing
	CallerIP  string
}

// State is where a message is in its life (docs/state-machine.md). The values
// are written to disk.
type State int

const (
	// Pending waits for its due time: new, delayed or between retries. An
	// attempt may be under way.
	Pending State = 2
	// Canceling had an attempt under way when it was cancelled.
	Canceling State = 3
	Delivered State = 4
	Failed    State = 5
	Canceled  State = 6
	// Waiting is for its turn in a lane (Message.Lane), and to be due.
	Waiting State = 7
)

// Ended says whether nothing will happen to a message any more.
func (s State) Ended() bool { return s == Delivered || s == Failed || s == Canceled }

// MessageState is where a message is.
type MessageState struct {
	Key
	State State
}

// Kind says what a message is for.
type Kind int

const (
	KindPlain        Kind = 1 // published by a user
	KindCallback     Kind = 2 // about the outcome of another message's attempt
	KindInit         Kind = 3 // first call of a run
	KindStep         Kind = 4 // a run's plan or result step
	KindToCallback   Kind = 5 // a run's call to a third party
	KindFromCallback Kind = 6 // that call's outcome, to the run's endpoint
	KindFailureCall  Kind = 7 // a run's failure callback
	KindFailure      Kind = 8 // about another message that has failed for good
	KindProbe        Kind = 9 // no message: asks an endpoint for the keys it holds
)

// Message is one HTTP request to deliver. Its creation time is Millis(Seq).
type Message struct {
	Key
	Tenant     int64
	State      State
	Kind       Kind
	Due        int64 // when the next attempt may start, Unix ms
	NotBefore  int64 // when the first might, Unix ms
	Retried    int   // retries made so far
	MaxRetries int
	Run        int64 // Seq of the run it belongs to; 0: none
	LogIndex   int   // its place in the run's log, where its body is; -1: not in it
	Queue      int64 // Seq of the queue it goes through; 0: none
	Flow       int64 // Seq of the key of flow control it goes by; 0: none
	Lane       int64 // which of the two it waits in, or waited in last; 0: neither
	Method     string
	URL        string
	CallerIP   string
	Header     http.Header
	Settings   Settings
	Body       []byte
}

// Settings are the seldom used parts of a message or run.
type Settings struct {
	RetryDelay      string         `json:"retryDelay,omitempty"`
	Timeout         time.Duration  `json:"timeout,omitempty"`
	Labels          []string       `json:"labels,omitempty"`
	SignWith        []string       `json:"signWith,omitempty"` // signatures asked for, beside the tenant's
	Callback        *wire.Callback `json:"callback,omitempty"`
	FailureCallback *wire.Callback `json:"failureCallback,omitempty"`
	Retries         *int           `json:"retries,omitempty"`     // runs: for every later message
	Features        []string       `json:"features,omitempty"`    // of its endpoint; steps: nil where they are the run's
	Invoker         *Invoker       `json:"invoker,omitempty"`     // runs: which run waits for it; nil: none
	ResumedAs       int64          `json:"resumedAs,omitempty"`   // runs: Seq of the run that went on with it; 0: none
	RestartedAs     int64          `json:"restartedAs,omitempty"` // runs: Seq of the run that did it over; 0: none
	Before          *RunRef        `json:"before,omitempty"`      // runs: the failed one it goes on with, or does over; nil: none
	ViaTrigger      bool           `json:"viaTrigger,omitempty"`  // runs: started through /v2/trigger
	UnknownSDK      bool           `json:"unknownSdk,omitempty"`  // runs: the endpoint shall trigger itself again
	StepName        string         `json:"stepName,omitempty"`    // calls: of the step they belong to
	StepID          int            `json:"stepId,omitempty"`
	Concurrent      int            `json:"concurrent,omitempty"`
	Hop             int            `json:"hop,omitempty"` // how many messages led to this one
	Redact          wire.Redact    `json:"redact,omitzero"`
	Limited         bool           `json:"limited,omitempty"` // asked for with a token that is for some URLs only

	Queue       string            `json:"queue,omitempty"` // name
	FlowControl *wire.FlowControl `json:"flowControl,omitempty"`
	URLGroup    string            `json:"urlGroup,omitempty"` // it was published to
	Endpoint    string            `json:"endpoint,omitempty"` // its name in the group
	ScheduleID  string            `json:"scheduleId,omitempty"`
	Holds       *Slot             `json:"holds,omitempty"` // callbacks: until they have ended
}

// Invoker is a run that another was started by, to wait for its end.
type Invoker struct {
	RunRef
	URL   string `json:"url"`
	Depth int    `json:"depth"` // how many runs invoked each other before this one
}

// Slot is a message's place in a queue.
type Slot struct {
	Queue   string `json:"queue"` // name
	Lane    int64  `json:"lane"`
	Message int64  `json:"message"`
}

// Queue is a lane that messages pass in order, Parallelism of them at a time.
// Its creation time is Millis(Seq).
type Queue struct {
	Seq         int64
	Tenant      int64
	Name        string
	Parallelism int
	Paused      bool
	Active      int   // messages in it
	UpdatedAt   int64 // Unix ms
}

// FlowKey is a lane that bounds how many messages of a key are delivered at a
// time, and in a window of time.
type FlowKey struct {
	Seq               int64
	Tenant            int64
	Key               string
	Parallelism       int   // 0: any number
	Rate              int   // 0: any number
	Period            int64 // seconds
	RateCount         int   // in the window
	WindowStart       int64 // Unix ms
	Paused            bool
	PinnedParallelism bool // messages do not change it
	PinnedRate        bool
	Active            int   // messages in it
	UsedAt            int64 // Unix ms, to the hour
}

// URLGroup is a named set of endpoints. Its creation time is Millis(Seq).
type URLGroup struct {
	Seq       int64
	Tenant    int64
	Name      string
	Endpoints []GroupEndpoint // in the order in which they came
	Header    http.Header     // settings for what is published to the group, under its own
	Prefix    URLPrefix       // what the tokens reach that made or changed it
	UpdatedAt int64           // Unix ms
}

// GroupEndpoint is a member of a group. Its URL is there once, and its name.
type GroupEndpoint struct {
	Name string `json:"name,omitempty"` // "": it has none
	URL  string `json:"url"`
}

// Schedule publishes a message each time its cron expression says so. Its
// creation time is Millis(Seq).
type Schedule struct {
	Seq         int64
	Tenant      int64
	ID          string
	Paused      bool
	NextAt      int64   // Unix ms; 0: paused
	LastAt      int64   // Unix ms; 0: never yet
	Messages    []int64 // Seqs of those that were made last
	Destination string
	Header      http.Header // settings and headers of the publish, for wire.ParseConfig
	Body        []byte
	Token       []byte // hash of its creator's, with which it ends; nil: it stays
	Settings    ScheduleSettings
}

// ScheduleSettings are the rest of a schedule.
type ScheduleSettings struct {
	Cron     string    `json:"cron,omitempty"`
	CallerIP string    `json:"callerIp,omitempty"` // of its creator
	Prefix   URLPrefix `json:"prefix,omitempty"`   // of its creator's token
	Error    string    `json:"error,omitempty"`    // why no message was made last
}

// Waiter is a message that waits in a lane.
type Waiter struct {
	Due
	Retried int
	Flow    int64
}

// Due is a message's place in the order of dispatch.
type Due struct{ At, Seq int64 }

// Transition is a change of a message's state. From and Attempt are what it
// was decided on: state and retries as they were then.
type Transition struct {
	Seq     int64
	From    State
	Attempt int
	To      State
	Due     int64
	Retried int
	Lane    int64 // To Waiting: in which
}

// Settlement is the record of one attempt, or of a cancellation.
type Settlement struct {
	Seq       int64
	Tenant    int64
	Message   int64
	Result    State // Pending: will be retried
	Retried   int   // which attempt, from 0
	StartedAt int64 // Unix ms; 0: there was no attempt
	EndedAt   int64
	NextDue   int64 // Result Pending: when the next attempt may start
	Status    int   // 0: no response
	Error     string
	Header    http.Header // of the response
	Body      []byte      // of the response, its beginning
}

// DLQEntry is a message that ran out of attempts, with its last response.
type DLQEntry struct {
	Seq     int64
	Tenant  int64
	Message int64
	Run     int64
	Status  int
	Header  http.Header
	Body    []byte
}

// RunState is where a run is in its life. The values are written to disk.
type RunState int

const (
	RunStarted  RunState = 1
	RunSuccess  RunState = 2
	RunFailed   RunState = 3
	RunCanceled RunState = 4
)

// FailureState is where a run's failure callback is.
type FailureState int

const (
	FailureNone       FailureState = 0 // not called, or nobody listens
	FailureInProgress FailureState = 1
	FailureSuccess    FailureState = 2
	FailureFail       FailureState = 3
	FailureCanceled   FailureState = 4
)

// Run is one execution of a workflow. Its creation time is Millis(Seq).
type Run struct {
	Seq         int64
	Tenant      int64
	ID          string
	URL         string
	State       RunState
	EndedAt     int64
	Init        Key // the message that started it
	LogLen      int
	MaxStep     int // greatest step id in the log
	CallerIP    string
	Header      http.Header // user headers, on every delivery
	Settings    Settings
	Response    []byte // the function's result, JSON text
	DLQ         int64  // Seq of its DLQ entry
	Failure     FailureState
	FailureCall int64 // Seq of its failure callback
}

// LogEntry is one line of a run's append-only log.
type LogEntry struct {
	Run        int64
	Index      int // 0: the initial payload
	Message    Key
	CallType   wire.CallType
	StepID     int // of a result; of a call and, in newer logs, its outcome; 0: plan or payload
	TargetStep int // of a plan
	Body       []byte
	Source     LogPlace // of the entry of another run that has the body; zero: it is this one's own
}

// LogPlace is a place in a run's log.
type LogPlace struct {
	Run   int64 // its Seq
	Index int
}

// Place is where the entry's body is.
func (e *LogEntry) Place() LogPlace {
	if e.Source.Run != 0 {
		return e.Source
	}
	return LogPlace{e.Run, e.Index}
}

// WaitKind says what a step waits for. The values are written to disk.
type WaitKind int

const (
	WaitEvent   WaitKind = 1
	WaitWebhook WaitKind = 2 // a call of a webhook
	WaitRun     WaitKind = 3 // the end of another run
)

// Wait is a step of a run whose result the server writes. Its time is
// Millis(Seq).
type Wait struct {
	Seq      int64
	Tenant   int64
	Run      int64
	StepID   int
	Kind     WaitKind
	Deadline int64       // Unix ms; 0: none
	Done     int64       // Seq of the message that brought the result; 0: it still waits; waitDropped
	Child    int64       // Seq of the run whose end it waits for; 0: none
	URL      string      // the result is delivered to
	Header   http.Header // settings and headers of that delivery, for wire.ParseConfig
	Settings WaitSettings
}

// waitDropped is for a wait whose run ended first.
const waitDropped = -1

// Dropped says whether the run ended before what was waited for.
func (w *Wait) Dropped() bool { return w.Done == waitDropped }

// WaitSettings are the rest of a wait.
type WaitSettings struct {
	Event         string      `json:"event,omitempty"`   // id; "": it waits for a run
	Timeout       string      `json:"timeout,omitempty"` // as it was asked for, such as "7d"
	TimeoutURL    string      `json:"timeoutUrl,omitempty"`
	TimeoutHeader http.Header `json:"timeoutHeader,omitempty"`
	Limited       bool        `json:"limited,omitempty"` // as of messages
	Step          wire.Step   `json:"step"`              // as its result will be, without the result
	Redact        wire.Redact `json:"redact,omitzero"`   // what the run hides that it waits for
}

// Note is an event that somebody is still to be told of: a run that does not
// wait for it yet, or all that waited for it when it came, if they are many.
type Note struct {
	Seq    int64
	Tenant int64
	Run    int64 // 0: all that waited
	Kind   WaitKind
	Event  string
	Prefix URLPrefix // of who told, if it is for all that waited
	Body   []byte
}
