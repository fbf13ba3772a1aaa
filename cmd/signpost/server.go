package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/internal/secret"
)

type serverCmd struct {
	Data             string         `required:"" from:"SIGNPOST_DATA" placeholder:"DIR" help:"Directory to keep messages and runs in; one server's alone."`
	Listen           string         `default:"127.0.0.1:8080" from:"SIGNPOST_LISTEN" placeholder:"ADDR" help:"Address to listen on (default 127.0.0.1:8080)."`
	Grace            duration       `default:"30s" from:"SIGNPOST_GRACE" placeholder:"TIME" help:"How long deliveries under way may take after SIGTERM (default 30s)."`
	AllowDestination []netip.Prefix `from:"SIGNPOST_ALLOW_DESTINATION" placeholder:"CIDR" help:"Private network that messages may go to, such as 10.0.0.0/8; may be repeated. Never this machine: see dev."`
	MaxMessageBytes  size           `default:"10MiB" from:"SIGNPOST_MAX_MESSAGE_BYTES" placeholder:"SIZE" help:"Largest body of a message (default 10MiB)."`
	Retention        duration       `default:"7d" from:"SIGNPOST_RETENTION" placeholder:"TIME" help:"How long finished messages, their events and runs are kept (default 7d)."`
	MessageRetention duration       `from:"SIGNPOST_MESSAGE_RETENTION" placeholder:"TIME" help:"How long a finished message can be read (default: --retention)."`
	EventRetention   duration       `from:"SIGNPOST_EVENT_RETENTION" placeholder:"TIME" help:"How long an event is listed (default: --retention)."`
	DLQRetention     duration       `name:"dlq-retention" from:"SIGNPOST_DLQ_RETENTION" placeholder:"TIME" help:"How long a message stays in the DLQ (default 30d, or --retention if that is longer)."`
	MaxDLQ           int            `name:"max-dlq" default:"1000000" from:"SIGNPOST_MAX_DLQ" placeholder:"N" help:"Most messages in a tenant's DLQ; the oldest make room (default 1000000)."`
	Concurrency      int            `default:"1000" from:"SIGNPOST_CONCURRENCY" placeholder:"N" help:"Most deliveries at once (default 1000)."`
	RateLimit        int            `default:"1000" from:"SIGNPOST_RATE_LIMIT" placeholder:"N" help:"Requests per second for each token to see and manage what is there, publishing excepted; 0: no limit (default 1000)."`
	RateLimitIP      int            `name:"rate-limit-ip" default:"0" from:"SIGNPOST_RATE_LIMIT_IP" placeholder:"N" help:"Requests per second of any kind for each client address; 0: no limit (default)."`
	TrustedProxies   []netip.Prefix `from:"SIGNPOST_TRUSTED_PROXIES" placeholder:"CIDR" help:"Networks of proxies whose X-Forwarded-For, -Proto and -Host say where a request comes from, and to which URL; may be repeated."`
	MaxConnections   int            `default:"0" from:"SIGNPOST_MAX_CONNECTIONS" placeholder:"N" help:"Most connections of clients at once (default 10000, or half of the files it may open)."`
	MissedTicks      string         `default:"once" enum:"once,skip" from:"SIGNPOST_MISSED_TICKS" placeholder:"HOW" help:"What becomes of the times of a schedule that pass while the server is down: once makes up for them with one message, skip with none (default once)."`
	MissedAfter      duration       `default:"1m" from:"SIGNPOST_MISSED_AFTER" placeholder:"TIME" help:"How late a time of a schedule counts as missed (default 1m)."`
	LogFormat        string         `default:"text" enum:"text,json" from:"SIGNPOST_LOG_FORMAT" placeholder:"FORMAT" help:"Format of the log on stderr: text or json (default text)."`
	LogLevel         slog.Level     `default:"info" from:"SIGNPOST_LOG_LEVEL" placeholder:"LEVEL" help:"Least important lines of the log: debug, info, warn or error (default info)."`
	limits           `embed:""`
	masterKeys       `embed:""`
	llm              `embed:""`
}

// llm is the service for api/llm.
type llm struct {
	LLMURL   string      `name:"llm-url" from:"SIGNPOST_LLM_URL" placeholder:"URL" help:"OpenAI-compatible service that messages to api/llm go to, private ones included, such as https://api.openai.com (default none: they are refused)."`
	LLMToken secret.Text `name:"llm-token" from:"SIGNPOST_LLM_TOKEN" placeholder:"TOKEN" help:"Bearer token for that service; better put into $$SIGNPOST_LLM_TOKEN, as a flag is in the list of processes."`
}

// limits are what each tenant may do and have. 0 stands for the default.
type limits struct {
	MaxRetries        int      `default:"999" from:"SIGNPOST_MAX_RETRIES" placeholder:"N" help:"Most retries of a message (default 999)."`
	MaxDelay          duration `default:"366d" from:"SIGNPOST_MAX_DELAY" placeholder:"TIME" help:"Longest delay of a message (default 366d)."`
	MaxTimeout        duration `default:"15m" from:"SIGNPOST_MAX_TIMEOUT" placeholder:"TIME" help:"Longest time an attempt may take (default 15m)."`
	GlobalParallelism int      `default:"0" from:"SIGNPOST_GLOBAL_PARALLELISM" placeholder:"N" help:"Most deliveries of one tenant at once (default four fifths of --concurrency)."`
	MaxQueues         int      `default:"10000" from:"SIGNPOST_MAX_QUEUES" placeholder:"N" help:"Most queues of a tenant (default 10000)."`
	MaxParallelism    int      `default:"1000" from:"SIGNPOST_MAX_PARALLELISM" placeholder:"N" help:"Greatest parallelism of a queue (default 1000)."`
	MaxURLGroups      int      `name:"max-url-groups" default:"10000" from:"SIGNPOST_MAX_URL_GROUPS" placeholder:"N" help:"Most URL groups of a tenant (default 10000)."`
	MaxEndpoints      int      `default:"100" from:"SIGNPOST_MAX_ENDPOINTS" placeholder:"N" help:"Most endpoints of a URL group (default 100)."`
	MaxSchedules      int      `default:"10000" from:"SIGNPOST_MAX_SCHEDULES" placeholder:"N" help:"Most schedules of a tenant (default 10000)."`
	MessagesPerDay    int64    `default:"0" from:"SIGNPOST_MESSAGES_PER_DAY" placeholder:"N" help:"Messages that a tenant may add in a day of UTC; 0: any number (default)."`
}

func (l *limits) check() error {
	least := min(int64(min(l.MaxRetries, l.GlobalParallelism, l.MaxQueues, l.MaxParallelism, l.MaxURLGroups, l.MaxEndpoints, l.MaxSchedules)), l.MessagesPerDay)
	if least < 0 {
		return &usageError{fmt.Errorf("limits of tenants: expected 0 or more, got %d", least), ""}
	}
	return nil
}

func (l *limits) forServer() signpost.Limits {
	return signpost.Limits{
		MaxRetries: l.MaxRetries, MaxDelay: time.Duration(l.MaxDelay), MaxTimeout: time.Duration(l.MaxTimeout),
		GlobalParallelism: l.GlobalParallelism, MaxQueues: l.MaxQueues, MaxParallelism: l.MaxParallelism,
		MaxURLGroups: l.MaxURLGroups, MaxEndpoints: l.MaxEndpoints, MaxSchedules: l.MaxSchedules,
		MessagesPerDay: l.MessagesPerDay,
	}
}

// masterKeys are what a server seals its data with. As a flag, a key itself
// would be in the list of processes.
type masterKeys struct {
	MasterKeyFile string `from:"SIGNPOST_MASTER_KEY_FILE" placeholder:"FILE" help:"File with the keys that seal the data on disk, one a line, the first seals; or put them into $$SIGNPOST_MASTER_KEY."`
	MasterKey     string `hidden:"" from:"SIGNPOST_MASTER_KEY" placeholder:"KEYS" help:"The keys themselves, separated by commas."`
}

func (*serverCmd) Help() string {
	return `The first start creates a user and prints its token and signing keys, this once: the token is stored as a hash only.
SIGTERM and SIGINT stop the server: it takes no more messages and lets deliveries under way end, within --grace. What is
cut off then, or by a second signal, is delivered again after the next start.
Limits on what a tenant may have are for each; "signpost tenants limits" sets others for one. A development server has the
defaults.`
}

func (c *serverCmd) Run(ctx context.Context, o *outside) error {
	if c.Concurrency < 1 {
		return &usageError{fmt.Errorf("--concurrency: expected 1 or more, got %d", c.Concurrency), "leave it out for 1000"}
	}
	if c.RateLimit < 0 || c.RateLimitIP < 0 || c.MaxConnections < 0 {
		return &usageError{errors.New("--rate-limit, --rate-limit-ip, --max-connections: expected 0 or more"), ""}
	}
	if err := c.limits.check(); err != nil {
		return err
	}
	if c.MaxDLQ < 1 {
		return &usageError{fmt.Errorf("--max-dlq: expected 1 or more, got %d", c.MaxDLQ), "leave it out for 1000000"}
	}
	s := &signpost.Server{
		Limits: c.limits.forServer(),
		Addr:   c.Listen, Data: c.Data, AllowDestinations: c.AllowDestination, MaxMessageBytes: int64(c.MaxMessageBytes),
		MasterKeyFile: c.MasterKeyFile, MasterKeys: c.MasterKey, LLMURL: c.LLMURL, LLMToken: c.LLMToken.Reveal(),
		Concurrency: c.Concurrency, Retention: time.Duration(c.Retention), MaxConnections: c.MaxConnections,
		MessageRetention: time.Duration(c.MessageRetention), EventRetention: time.Duration(c.EventRetention),
		DLQRetention: time.Duration(c.DLQRetention), MaxDLQ: c.MaxDLQ,
		RateLimit: c.RateLimit, RateLimitIP: c.RateLimitIP, TrustedProxies: c.TrustedProxies,
		MissedTicks: c.MissedTicks, MissedAfter: time.Duration(c.MissedAfter),
		Logger: slog.New(logHandler(c.LogFormat, c.LogLevel, o.stderr)),
	}
	if c.RateLimit == 0 {
		s.RateLimit = -1 // none, where the server's 0 is its default
	}
	return serve(ctx, s, time.Duration(c.Grace), o, func() error {
		fmt.Fprintf(o.stdout, "Signpost is running at %s\n", s.URL())
		if s.NewTenant != nil {
			fmt.Fprintf(o.stdout, "\nThis is the first start. Keep these credentials: they are shown this once, and the token can't be recovered.\n\n")
			writeExports(o.stdout, s.URL(), *s.NewTenant)
			fmt.Fprintf(o.stdout, "\nData is kept in %s\n", absolute(c.Data))
		}
		return nil
	})
}

// logHandler writes a log as text or json.
func logHandler(format string, level slog.Level, w io.Writer) slog.Handler {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// serve runs a server until ctx is done, then stops it within grace.
func serve(ctx context.Context, s *signpost.Server, grace time.Duration, o *outside, announce func() error) error {
	if err := s.Start(ctx); err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	err := announce()
	if err == nil {
		select {
		case err = <-s.Err():
		case <-ctx.Done():
			s.Logger.Info("stopping: deliveries under way may end; a second signal cuts them off", "grace", grace)
		}
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if closeErr := s.Close(within); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("stop server: %w", closeErr))
	}
	return err
}

// writeExports writes credentials as lines for a shell.
func writeExports(w io.Writer, url string, cr signpost.Credentials) {
	for _, v := range [][2]string{
		{"QSTASH_URL", url},
		{"QSTASH_TOKEN", cr.Token},
		{"QSTASH_CURRENT_SIGNING_KEY", cr.CurrentSigningKey},
		{"QSTASH_NEXT_SIGNING_KEY", cr.NextSigningKey},
	} {
		writeExport(w, v[0], v[1])
	}
}

func writeExport(w io.Writer, name, value string) {
	fmt.Fprintf(w, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
