// Package signpost is the server: it delivers HTTP messages and workflow steps
// durably, signed, over the QStash and Workflow HTTP APIs.
//
// Most people run the binary in cmd/signpost. To run a server inside another
// program, fill in a [Server] and start it; its zero value listens on
// 127.0.0.1:8080 and keeps its data in ./signpost-data. Tests use package
// signposttest.
package signpost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/signposthq/signpost/internal/api"
	"github.com/signposthq/signpost/internal/chaos"
	"github.com/signposthq/signpost/internal/deliver"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/intake"
	"github.com/signposthq/signpost/internal/secret"
	"github.com/signposthq/signpost/internal/store"
)

// Memory as Server.Data keeps everything in memory: it is gone after Close.
const Memory = ":memory:"

// Values of Server.MissedTicks.
const (
	MissedOnce = engine.MissedOnce
	MissedSkip = engine.MissedSkip
)

// Server is a Signpost server. Its fields may be changed until Start.
type Server struct {
	// Addr is the TCP address to listen on; default "127.0.0.1:8080". Port 0
	// takes a free one, see URL.
	Addr string

	// Data is the directory of the SQLite database; default "signpost-data".
	// It is created if need be, and belongs to one process at a time. Memory
	// keeps nothing.
	Data string

	// Dev makes a development server: the four well-known users of DevUsers
	// exist, loopback and private destinations may be called, and only loopback
	// addresses are listened on.
	Dev bool

	// Chaos makes deliveries go wrong, so that people see what their endpoints do
	// then: shares of them are made twice (dup), lost on the way (drop) or cut off
	// (kill), and all are held up for as long as delay, as in
	// "dup=5%,drop=2%,delay=1s,kill=1%". Only with Dev; default none.
	Chaos string

	// AllowDestinations are networks that messages may go to although they are
	// private, such as 10.0.0.0/8. Public addresses are always allowed; loopback
	// only with Dev; link-local, cloud metadata, multicast and unspecified
	// addresses never, and to name one of these networks here is an error.
	AllowDestinations []netip.Prefix

	// MaxMessageBytes is the largest body of a message; default 10 MiB.
	MaxMessageBytes int64

	// Concurrency is how many deliveries may be under way at once; default 1000.
	Concurrency int

	// Retention is how long ended runs are kept, and finished messages and events
	// unless the next two say otherwise; default 7 days. What is in the DLQ is
	// kept for DLQRetention, with its message or run, and what that had invoked.
	Retention time.Duration

	// MissedTicks says what becomes of the times of a schedule that pass while
	// the server is down: MissedOnce (the default) makes up for all of them with
	// one message at the next start, MissedSkip for none.
	MissedTicks string

	// MissedAfter is how late a time of a schedule counts as missed; default 1
	// minute.
	MissedAfter time.Duration
	// MessageRetention is how long a finished message can be read by its id;
	// default Retention.
	MessageRetention time.Duration

	// EventRetention is how long an event is listed; default Retention.
	EventRetention time.Duration

	// DLQRetention is how long a message stays in the DLQ; default 30 days, or
	// Retention if that is longer.
	DLQRetention time.Duration

	// MaxDLQ is how many messages each tenant's DLQ holds: when there are more,
	// the oldest go, within minutes; default 1,000,000.
	MaxDLQ int

	// MasterKeyFile holds the master keys that seal on disk what users send and
	// endpoints answer, and the signing keys; default none. One key a line, as
	// NewMasterKey makes them or as hex; # begins a comment. The first one seals,
	// the others open what is still sealed with them. The file must not be
	// readable by others; it is read again when keys are rewrapped.
	//
	// A data directory without a master key becomes sealed at the first start
	// with one, in the background. A sealed one can't be used without its key,
	// see ErrMasterKey: keep a copy of it somewhere else.
	MasterKeyFile string

	// MasterKeys are master keys themselves, as lines of such a file or
	// separated by commas. They come after those of the file.
	MasterKeys string

	// Limits are what each tenant may do and have, unless the operator has set
	// others for it (PATCH /v2/tenants/{user}/limits).
	Limits Limits

	// MaxConnections is how many clients may be connected at once; default
	// 10,000, or half of the files that the process may have open if that is
	// less. One too many takes the place of the one that has been silent longest.
	MaxConnections int

	// RateLimit is how many requests per second each token may make to see and
	// manage what is there; default 1000, negative: no limit. Publishing, and
	// what workflow endpoints report, is not limited. A tenant may have a limit
	// of its own, which is for all of its tokens together.
	RateLimit int

	// RateLimitIP is how many requests of any kind per second are answered for
	// each address of clients; 0: no limit. Addresses of IPv6 count by their /64.
	RateLimitIP int

	// TrustedProxies are networks whose word is taken for where a request comes
	// from (X-Forwarded-For), and by which URL a webhook of a run was called
	// (X-Forwarded-Proto, X-Forwarded-Host); others are the client themselves.
	TrustedProxies []netip.Prefix

	// LLMURL is the OpenAI-compatible service that messages to the destination
	// api/llm go to, such as "https://api.openai.com" or "http://10.0.0.7:11434";
	// they are POSTed to /v1/chat/completions below it. Default: none, they are
	// refused. It may be private or loopback, whatever AllowDestinations says.
	LLMURL string

	// LLMToken is sent to that service as a bearer token by messages that have no
	// Authorization of their own; default none.
	LLMToken string

	// Logger gets what operators should know; default slog.Default().
	Logger *slog.Logger

	// NewTenant, after Start, holds the credentials of the tenant that was
	// created because there was none. They are told this once: the token is
	// stored as a hash only.
	NewTenant *Credentials

	devCredentials bool // everybody knows some of those that are there

	store    engine.Store
	engine   *engine.Engine
	deliver  *deliver.Deliverer
	handler  *api.Handler
	http     *intake.Server
	listener net.Listener
	served   chan error
	closing  sync.Once
	closed   error
}

// Limits are what a tenant may do and have. A zero field means its default.
type Limits struct {
	MaxRetries        int           // of one message; default 999
	MaxDelay          time.Duration // until the first attempt of a message; default 366 days
	MaxTimeout        time.Duration // that an attempt may take, whatever its message says; default 15 minutes
	GlobalParallelism int           // deliveries under way at once; default four fifths of Server.Concurrency
	MaxQueues         int           // default 10,000
	MaxParallelism    int           // of a queue; default 1000
	MaxURLGroups      int           // default 10,000
	MaxEndpoints      int           // of a URL group; default 100
	MaxSchedules      int           // default 10,000
	MessagesPerDay    int64         // that are added, by the days of UTC; default 0: any number
}

// Credentials are what a client of the server needs: QSTASH_TOKEN to call it,
// the signing keys to verify what it delivers.
type Credentials struct {
	UserID            string // whose they are
	Token             string // QSTASH_TOKEN
	CurrentSigningKey string // QSTASH_CURRENT_SIGNING_KEY
	NextSigningKey    string // QSTASH_NEXT_SIGNING_KEY, which comes after it
}

// Format keeps tokens and keys out of what prints credentials.
func (c Credentials) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "{UserID:%s ***}", c.UserID) }

// LogValue keeps them out of logs.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// Start opens the data, listens, and begins to deliver. It returns once
// requests are accepted.
func (s *Server) Start(ctx context.Context) (err error) {
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	if s.Addr == "" {
		s.Addr = "127.0.0.1:8080"
	}
	if s.Data == "" {
		s.Data = "signpost-data"
	}
	if s.Dev && !isLoopback(s.Addr) {
		return fmt.Errorf("a development server has credentials that everybody knows: it can't listen on %s, only on a loopback address", s.Addr)
	}
	if s.MissedTicks != "" && s.MissedTicks != MissedOnce && s.MissedTicks != MissedSkip || s.MissedAfter < 0 {
		return fmt.Errorf("missed ticks: expected %s or %s, after a time that is not negative, got %q after %v",
			MissedOnce, MissedSkip, s.MissedTicks, s.MissedAfter)
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.store.Close()
		}
	}()
	if err := s.tenants(ctx); err != nil {
		return err
	}
	// No probes of the system: whatever a connection waits for has an end here.
	if s.listener, err = (&net.ListenConfig{KeepAlive: -1}).Listen(ctx, "tcp", s.Addr); err != nil {
		return err
	}
	s.handler = api.New(s.engine, s.Logger)
	s.handler.Limit(api.Limits{PerToken: s.RateLimit, PerIP: s.RateLimitIP, TrustedProxies: s.TrustedProxies})
	s.http = intake.New(s.guard(s.handler), intake.Options{MaxConnections: s.MaxConnections, Logger: s.Logger})
	s.engine.Start()
	s.served = make(chan error, 1)
	go s.serve()
	return nil
}

func (s *Server) serve() {
	defer close(s.served)
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		s.served <- err
	}
}

func (s *Server) open(ctx context.Context) (err error) {
	keys, err := s.masterKeys()
	if err != nil {
		return err
	}
	deliverer, err := s.deliverer()
	if err != nil {
		return err
	}
	if s.Data == Memory {
		s.store, err = store.OpenMemory(ctx, keys...)
	} else {
		s.store, err = store.OpenSQLite(ctx, s.Data, keys...)
	}
	if err != nil {
		return err
	}
	if len(keys) == 0 && !s.Dev {
		s.Logger.Warn("no master key: signing keys and messages are stored as they are; see --master-key-file")
	}
	s.engine, err = engine.New(ctx, engine.Options{
		Store: s.store, Deliverer: deliverer, Logger: s.Logger, Concurrency: s.Concurrency,
		Keys: s.deliver, MasterKeys: s.masterKeys, MissedTicks: s.MissedTicks, MissedAfter: s.MissedAfter,
		Limits: s.limits(), LLM: s.llm(),
	})
	if err != nil {
		s.store.Close()
	}
	return err
}

// deliverer is who makes the deliveries.
func (s *Server) deliverer() (engine.Deliverer, error) {
	if err := deliver.CheckAllow(s.AllowDestinations); err != nil {
		return nil, fmt.Errorf("allow destinations: %w", err)
	}
	s.deliver = deliver.New(deliver.Options{AllowLocal: s.Dev, Allow: s.AllowDestinations})
	if s.Chaos == "" {
		return s.deliver, nil
	}
	if !s.Dev {
		return nil, fmt.Errorf("%w: only a development server makes deliveries go wrong", ErrChaos)
	}
	plan, err := chaos.Parse(s.Chaos)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChaos, err)
	}
	return plan.Deliver(s.deliver, s.Logger), nil
}

// llm is the service for api/llm; nil if there is none.
func (s *Server) llm() *engine.LLM {
	if s.LLMURL == "" {
		return nil
	}
	return &engine.LLM{URL: s.LLMURL, Token: secret.New(s.LLMToken)}
}

func (s *Server) limits() engine.Limits {
	l := &s.Limits
	return engine.Limits{
		MaxBody: s.MaxMessageBytes, Retention: s.Retention,
		MaxRetries: l.MaxRetries, MaxDelay: l.MaxDelay, MaxTimeout: l.MaxTimeout, GlobalParallelism: l.GlobalParallelism,
		MaxQueues: l.MaxQueues, MaxParallelism: l.MaxParallelism, MaxURLGroups: l.MaxURLGroups,
		MaxEndpoints: l.MaxEndpoints, MaxSchedules: l.MaxSchedules, MessagesPerDay: l.MessagesPerDay,
		MessageRetention: s.MessageRetention, EventRetention: s.EventRetention, DLQRetention: s.DLQRetention, MaxDLQ: s.MaxDLQ,
	}
}

// tenants creates who should be there at the first start, and refuses the
// development users where strangers could reach them.
func (s *Server) tenants(ctx context.Context) error {
	if s.Dev && s.engine.Tenants() > 0 {
		known, err := s.engine.HasToken(ctx, DevUsers[0].Token)
		if err != nil {
			return fmt.Errorf("look for development users: %w", err)
		}
		if !known {
			return fmt.Errorf("%w: %s", ErrNotDevData, s.Data)
		}
	}
	for _, user := range DevUsers {
		if s.Dev {
			if _, err := s.engine.EnsureTenant(ctx, user.row()); err != nil {
				return fmt.Errorf("create development users: %w", err)
			}
			continue
		}
		known, err := s.engine.HasToken(ctx, user.Token)
		if err != nil {
			return fmt.Errorf("look for development users: %w", err)
		}
		known = known || s.engine.HasKey(user.CurrentSigningKey) || s.engine.HasKey(user.NextSigningKey)
		s.devCredentials = s.devCredentials || known
		if known && !isLoopback(s.Addr) {
			return fmt.Errorf("%w: %s has them; use a data directory of its own for a server on %s", ErrDevCredentials, s.Data, s.Addr)
		}
	}
	if s.engine.Tenants() > 0 {
		return nil
	}
	cr := engine.NewCredentials()
	if _, err := s.engine.EnsureTenant(ctx, cr); err != nil {
		return fmt.Errorf("create the first tenant: %w", err)
	}
	s.NewTenant = &Credentials{cr.UserID, cr.Token, cr.CurrentKey, cr.NextKey}
	return nil
}

// ErrInUse is why a server does not start on a data directory that another
// process has open.
var ErrInUse = store.ErrInUse

// ErrNeverDestination is why a server does not start that is to allow a network
// that no setting opens.
var ErrNeverDestination = deliver.ErrNever

// ErrDevCredentials is why a server does not start where everybody could use
// the well-known development credentials.
var ErrDevCredentials = errors.New("refusing to serve development credentials on an address that is not loopback")

// ErrNotDevData is why a development server does not start on the data of another
// one: that would serve credentials that everybody knows from then on.
var ErrNotDevData = errors.New("refusing to add development users to the data of a production server")

// ErrChaos is why a server does not start with a Chaos that is no plan, or that is
// not for it.
var ErrChaos = errors.New("chaos")

// URL is where clients reach the server: their QSTASH_URL.
func (s *Server) URL() string {
	addr := s.listener.Addr().(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(addr.Port))
}

// Err delivers the error that ended serving, if one did, and is closed once
// nothing is served any more.
func (s *Server) Err() <-chan error { return s.served }

// Close stops the server. New messages are refused at once; deliveries under
// way may end, and workflow endpoints may report their steps, until ctx is
// done. What is cut off then is delivered again after the next start. Only the
// first call does anything.
func (s *Server) Close(ctx context.Context) error {
	s.closing.Do(func() { s.closed = s.close(ctx) })
	return s.closed
}

func (s *Server) close(ctx context.Context) error {
	s.handler.Drain()
	err := s.engine.Close(ctx)
	// The engine is still: nothing is waited for but answers being written.
	answers, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if shutdown := s.http.Shutdown(answers); shutdown != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.deliver.Close()
	return errors.Join(err, s.store.Close())
}
