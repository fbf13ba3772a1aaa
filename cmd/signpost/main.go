// Command signpost runs the server, and publishes, follows and verifies
// messages from a terminal.
//
//	signpost dev
//	signpost publish https://example.com/hook -d '{"hello":"world"}'
//	signpost logs --follow
//
// Flags come before the environment, which comes before defaults; --help names
// the variables. The status is 0, 1 after an error, and 2 after a mistake in
// the command line.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // schedules name time zones, and a container may have none

	"github.com/alecthomas/kong"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Reset(os.Interrupt, syscall.SIGTERM) // a second signal ends the process at once
		cancel()
	}()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	os.Exit(complain(os.Stderr, err))
}

type commands struct {
	Dev         devCmd         `cmd:"" help:"Run a development server: nothing to configure, loopback only."`
	Server      serverCmd      `cmd:"" help:"Run a production server."`
	Publish     publishCmd     `cmd:"" help:"Publish a message."`
	Logs        logsCmd        `cmd:"" help:"Show what happened to messages."`
	Guard       guardCmd       `cmd:"" help:"Verify requests in front of an endpoint that does not."`
	Keys        keysCmd        `cmd:"" help:"Show or rotate the signing keys, and see who holds them."`
	Settings    settingsCmd    `cmd:"" help:"Show or change what holds for all deliveries."`
	Tokens      tokensCmd      `cmd:"" help:"Create, list or revoke tokens."`
	Tenants     tenantsCmd     `cmd:"" help:"Create or list tenants."`
	Audit       auditCmd       `cmd:"" help:"Show who changed what."`
	Verify      verifyCmd      `cmd:"" help:"Explain why a signed request is refused."`
	Bench       benchCmd       `cmd:"" help:"Measure a server on this machine."`
	Healthcheck healthcheckCmd `cmd:"" help:"Ask whether a server takes messages."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
}

// outside is what commands know of the world.
type outside struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

// run executes one command line until it is done or ctx is.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) error {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	var helped bool
	variables := environment{getenv: getenv, used: map[string]string{}}
	parser, err := kong.New(&commands{},
		kong.Name("signpost"),
		kong.Description("Signpost delivers HTTP messages and workflow steps: durably, signed, with retries."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }),
		kong.Resolvers(kong.ResolverFunc(variables.resolve)),
		kong.ValueFormatter(describe),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&outside{stdin, stdout, stderr}),
	)
	if err != nil {
		return err
	}
	command, err := parser.Parse(args)
	switch {
	case helped:
		return nil
	case err != nil:
		return &usageError{err, variables.hint(err)}
	}
	return command.Run()
}

// environment gives a flag its value from the variables that its tag "from"
// names; the first one that is set wins.
type environment struct {
	getenv func(string) string
	used   map[string]string // variable by flag
}

func (e environment) resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range strings.Fields(flag.Tag.Get("from")) {
		if value := e.getenv(name); value != "" {
			e.used[flag.Name] = name
			return value, nil
		}
	}
	return nil, nil
}

// hint says what to do about a command line that does not parse.
func (e environment) hint(err error) string {
	for flag, variable := range e.used {
		if strings.Contains(err.Error(), "--"+flag) {
			return fmt.Sprintf("the value comes from the environment: correct or unset %s", variable)
		}
	}
	command := "signpost"
	if parse := (*kong.ParseError)(nil); errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
		command = parse.Context.Selected().FullPath()
	}
	return fmt.Sprintf("see %q", command+" --help")
}

// describe is a flag's help with its variables.
func describe(v *kong.Value) string {
	names := strings.Fields(v.Tag.Get("from"))
	if len(names) == 0 {
		return v.Help
	}
	return fmt.Sprintf("%s ($%s).", strings.TrimSuffix(v.Help, "."), strings.Join(names, ", $"))
}
