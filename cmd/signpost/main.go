// Command signpost runs the server, and manages what it delivers from a terminal.
//
//	signpost dev
//	signpost publish https://example.com/hook -d '{"hello":"world"}'
//	signpost logs --follow
//
// Flags come before the environment, which comes before defaults; --help names
// the variables. The status is 0, 1 after an error, and 2 after a mistake in
// the command line. With --json, one thing is an object, and a list has an object
// on each line. docs/cli.md has an example of each command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
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
	Publish   publishCmd   `cmd:"" group:"messages" help:"Publish a message."`
	Messages  messagesCmd  `cmd:"" group:"messages" help:"List, show or cancel messages."`
	Queues    queuesCmd    `cmd:"" group:"messages" help:"Manage queues, which deliver in order."`
	Groups    groupsCmd    `cmd:"" group:"messages" help:"Manage URL groups: what is published to one goes to each of its endpoints."`
	Schedules schedulesCmd `cmd:"" group:"messages" help:"Manage schedules, which publish again and again."`
	Flow      flowCmd      `cmd:"" group:"messages" help:"Bound how fast messages are delivered, and how many at once."`
	DLQ       dlqCmd       `cmd:"" name:"dlq" group:"messages" help:"List, retry or delete what has failed for good."`
	Logs      logsCmd      `cmd:"" group:"messages" help:"Show what happened to messages."`
	Runs      runsCmd      `cmd:"" group:"messages" help:"See and steer workflow runs."`

	Keys     keysCmd     `cmd:"" group:"access" help:"Show or rotate the signing keys, and see who holds them."`
	Tokens   tokensCmd   `cmd:"" group:"access" help:"Create, list or revoke tokens."`
	Tenants  tenantsCmd  `cmd:"" group:"access" help:"Create or list tenants."`
	Settings settingsCmd `cmd:"" group:"access" help:"Show or change what holds for all deliveries."`
	Audit    auditCmd    `cmd:"" group:"access" help:"Show who changed what."`
	Verify   verifyCmd   `cmd:"" group:"access" help:"Explain why a signed request is refused."`

	Dev         devCmd         `cmd:"" group:"servers" help:"Run a development server: nothing to configure, loopback only."`
	Server      serverCmd      `cmd:"" group:"servers" help:"Run a production server."`
	Guard       guardCmd       `cmd:"" group:"servers" help:"Verify requests in front of an endpoint that does not."`
	Healthcheck healthcheckCmd `cmd:"" group:"servers" help:"Ask whether a server takes messages."`
	Bench       benchCmd       `cmd:"" group:"servers" help:"Measure a server on this machine."`

	Completion completionCmd `cmd:"" group:"more" help:"Print the completion script of a shell."`
	Complete   completeCmd   `cmd:"" name:"__complete" group:"more" hidden:""`
	Version    versionCmd    `cmd:"" group:"more" help:"Print the version."`
}

// groups are how the help arranges them.
var groups = []kong.Group{
	{Key: "messages", Title: "Messages:"},
	{Key: "access", Title: "Keys and access:"},
	{Key: "servers", Title: "Servers:"},
	{Key: "more", Title: "More:"},
	{Key: "change", Title: "What is to be different (default: it is as it was):"},
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
	o := &outside{stdin, stdout, stderr}
	parser, err := newParser(o, variables.resolve,
		kong.Exit(func(int) { helped = true }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(o),
	)
	if err != nil {
		return err
	}
	command, err := parser.Parse(familiar(parser.Model.Node, args))
	switch {
	case helped:
		return nil
	case err != nil:
		return &usageError{err, variables.hint(err)}
	}
	if err := command.Run(); err != nil {
		return &commandError{err, command}
	}
	return nil
}

// familiar is a command line in the words of this program.
func familiar(root *kong.Node, args []string) []string {
	args = attached(args)
	switch args[0] {
	case "--version":
		return append([]string{"version"}, args[1:]...)
	case "help":
		return append(plural(root, args[1:]), "--help")
	case "dev":
		return twoDashes(args, "port", "quota")
	}
	return plural(root, args)
}

// twoDashes gives flags the second dash that the official development server does
// without. No short flags can be meant: one of each would be unknown.
func twoDashes(args []string, flags ...string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		name, _, _ := strings.Cut(arg, "=")
		if flag, ok := strings.CutPrefix(name, "-"); ok && slices.Contains(flags, flag) {
			out[i] = "-" + arg
		}
	}
	return out
}

var (
	flagWord = regexp.MustCompile(`^(-[a-zA-Z]|--[a-z][a-z-]*)$`)
	negative = regexp.MustCompile(`^-[0-9]`)
)

// attached is a command line whose negative numbers are one word with the flag before
// them, which is told what is wrong with them. The parser takes a word of its own
// that begins like this for a flag, and no flag is a digit.
func attached(args []string) (out []string) {
	for i, arg := range args {
		switch {
		case arg == "--":
			return append(out, args[i:]...)
		case i == 0 || !negative.MatchString(arg) || !flagWord.MatchString(args[i-1]):
			out = append(out, arg)
		case strings.HasPrefix(args[i-1], "--"):
			out[len(out)-1] += "=" + arg
		default:
			out[len(out)-1] += arg
		}
	}
	return out
}

// plural lets "signpost queue list" be "signpost queues list". Kong's own aliases
// would show in the name of every command below.
func plural(root *kong.Node, args []string) []string {
	if len(args) == 0 || childNamed(root, args[0]) != nil || childNamed(root, args[0]+"s") == nil {
		return args
	}
	return append([]string{args[0] + "s"}, args[1:]...)
}

func childNamed(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

func newParser(o *outside, resolve kong.ResolverFunc, more ...kong.Option) (*kong.Kong, error) {
	return kong.New(&commands{}, append([]kong.Option{
		kong.Name("signpost"),
		kong.Description("Signpost delivers HTTP messages and workflow steps: durably, signed, with retries."),
		kong.Writers(o.stdout, o.stderr),
		kong.Resolvers(resolve),
		kong.ValueFormatter(describe),
		kong.ExplicitGroups(groups),
		kong.PostBuild(func(k *kong.Kong) error {
			for _, command := range k.Model.Children {
				for _, child := range command.Children {
					child.Group = &kong.Group{Key: "commands", Title: "Commands:"} // not that of its parent
				}
			}
			return nil
		}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
	}, more...)...)
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
