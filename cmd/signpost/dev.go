package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
)

type devCmd struct {
	Port  uint16   `default:"8080" from:"SIGNPOST_PORT QSTASH_DEV_PORT" help:"Port on 127.0.0.1; 0 takes a free one (default 8080)."`
	Data  string   `default:".signpost" from:"SIGNPOST_DATA" placeholder:"DIR" help:"Directory to keep messages and runs in, or :memory: (default .signpost in the current directory)."`
	Grace duration `default:"2s" from:"SIGNPOST_GRACE" placeholder:"TIME" help:"How long deliveries under way may take after an interrupt (default 2s)."`
	Chaos string   `from:"SIGNPOST_CHAOS" placeholder:"PLAN" help:"Make deliveries go wrong, such as dup=5%,drop=2%,delay=1s,kill=1% (default none)."`
	Quota string   `enum:",payg,pro" default:"" placeholder:"PLAN" help:"Taken from scripts for the official development server, payg or pro, and ignored: there are no plans here."`
	Quiet bool     `short:"q" help:"Print the address and nothing else."`

	LogLevel   slog.Level `default:"info" from:"SIGNPOST_LOG_LEVEL" placeholder:"LEVEL" help:"Least important lines of the log: debug, info, warn or error (default info)."`
	masterKeys `embed:""`
	llm        `embed:""`
}

func (*devCmd) Help() string {
	return `The server has the users, tokens and signing keys that official SDKs expect of a development server: with
QSTASH_DEV=true they use it by themselves if it is on port 8080. Everybody knows them, so it listens on this machine only,
and endpoints in Go take them only with SIGNPOST_DEV=1 and from this machine.
What was published survives a restart.
It can be started like the official development server, with -port and -quota.

With --chaos an endpoint shows whether it does its work once, whatever happens. Shares of the deliveries are made twice
(dup), lost on the way there or back (drop), or cut off while the endpoint works (kill); each is held up for as long as delay,
so that they overtake each other. What is lost is tried again, as the message's retries allow. The log tells of each.`
}

func (c *devCmd) Run(ctx context.Context, o *outside) error {
	if err := ignoreData(c.Data); err != nil {
		return fmt.Errorf("create data directory: %w", err)
	}
	s := &signpost.Server{
		Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(int(c.Port))), Data: c.Data, Dev: true, Chaos: c.Chaos,
		Logger:        slog.New(logHandler("text", c.LogLevel, o.stderr)),
		MasterKeyFile: c.MasterKeyFile, MasterKeys: c.MasterKey, LLMURL: c.LLMURL, LLMToken: c.LLMToken.Reveal(),
	}
	return serve(ctx, s, time.Duration(c.Grace), o, func() error { return c.announce(ctx, s, o) })
}

// ignoreData keeps a new data directory out of version control: it may be
// created in the middle of a project.
func ignoreData(dir string) error {
	if dir == signpost.Memory {
		return nil
	}
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("*\n"), 0o600)
}

func (c *devCmd) announce(ctx context.Context, s *signpost.Server, o *outside) error {
	if c.Quiet {
		fmt.Fprintf(o.stdout, "Signpost is running at %s\n", s.URL())
		return nil
	}
	user := signpost.DevUsers[0]
	cl := client.New(client.Options{URL: s.URL(), Token: user.Token})
	defer cl.CloseIdleConnections()
	keys, err := cl.Keys(ctx)
	if err != nil {
		return err
	}
	rotated := keys.Current != user.CurrentSigningKey
	user.CurrentSigningKey, user.NextSigningKey = keys.Current, keys.Next

	fmt.Fprintf(o.stdout, "Signpost is running at %s\n\n", s.URL())
	writeExports(o.stdout, s.URL(), user)
	writeExport(o.stdout, "SIGNPOST_DEV", "1")
	if c.Data == signpost.Memory {
		fmt.Fprintln(o.stdout, "\nData is kept in memory and gone when the server stops.")
	} else {
		fmt.Fprintf(o.stdout, "\nData is kept in %s\n", absolute(c.Data))
	}
	if c.Chaos != "" {
		fmt.Fprintf(o.stdout, "Deliveries go wrong on purpose: %s\n", c.Chaos)
	}
	if rotated {
		fmt.Fprintln(o.stdout, "The keys have been rotated: SDKs with QSTASH_DEV expect the first ones, so use these lines, or new data.")
	}
	return nil
}
