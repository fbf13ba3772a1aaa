package main

import (
	"context"
	"embed"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/secret"
)

// scripts ask "signpost __complete" what may stand where the cursor is.
//
//go:embed completion
var scripts embed.FS

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"Shell: bash, zsh or fish."`
}

func (*completionCmd) Help() string {
	return `Put one of these into the shell's configuration:

    source <(signpost completion bash)
    source <(signpost completion zsh)
    signpost completion fish | source

Names of queues, groups and schedules come from the server of QSTASH_URL.`
}

func (c *completionCmd) Run(o *outside) error {
	script, err := scripts.ReadFile("completion/" + c.Shell)
	if err == nil {
		_, err = o.stdout.Write(script)
	}
	return err
}

type completeCmd struct {
	Word   []string `arg:"" optional:""`
	remote `embed:""`
}

// Run prints what the last word may be, each with a tab and what it is.
func (c *completeCmd) Run(ctx context.Context, o *outside, parser *kong.Kong) error {
	for _, s := range c.suggest(ctx, parser.Model.Node) {
		if _, err := fmt.Fprintln(o.stdout, s); err != nil {
			return err
		}
	}
	return nil
}

func (c *completeCmd) suggest(ctx context.Context, root *kong.Node) (out []string) {
	line := readLine(root, plural(root, c.Word))
	if server := line.values["server"]; server != "" {
		c.Server = server
	}
	if token := line.values["token"]; token != "" {
		c.Token = secret.New(token)
	}
	add := func(word, help string) {
		if strings.HasPrefix(word, line.last) {
			out = append(out, word+"\t"+help)
		}
	}
	switch {
	case line.flag != nil:
		for _, v := range c.values(ctx, line.flag.Value) {
			add(v, "")
		}
	case strings.HasPrefix(line.last, "-") && strings.Contains(line.last, "="):
		name, _, _ := strings.Cut(line.last, "=")
		if f := findFlag(line.node, name); f != nil {
			for _, v := range c.values(ctx, f.Value) {
				add(name+"="+v, "")
			}
		}
	case strings.HasPrefix(line.last, "-"):
		for _, level := range line.node.AllFlags(true) {
			for _, f := range level {
				add("--"+f.Name, f.Help)
			}
		}
	default:
		for _, child := range line.node.Children {
			if !child.Hidden {
				add(child.Name, child.Help)
			}
		}
		if p := line.node.Positional; len(p) > 0 {
			for _, v := range c.values(ctx, p[min(line.arguments, len(p)-1)]) {
				add(v, "")
			}
		}
	}
	return out
}

// commandLine is one that is not complete yet.
type commandLine struct {
	node      *kong.Node // the command so far
	arguments int        // how many it has
	flag      *kong.Flag // whose value the last word is; nil: it is no value
	last      string
	values    map[string]string // of flags, by name
}

func readLine(root *kong.Node, words []string) commandLine {
	line := commandLine{node: root, values: map[string]string{}}
	for i, word := range words {
		if word == "=" { // bash takes --flag=value apart
			word = ""
			if i < len(words)-1 {
				continue
			}
		}
		if i == len(words)-1 {
			line.last = word
			break
		}
		line.read(word)
	}
	return line
}

func (l *commandLine) read(word string) {
	if l.flag != nil {
		l.values[l.flag.Name], l.flag = word, nil
		return
	}
	if strings.HasPrefix(word, "-") {
		name, value, given := strings.Cut(word, "=")
		switch f := findFlag(l.node, name); {
		case f == nil || f.IsBool():
		case given:
			l.values[f.Name] = value
		default:
			l.flag = f
		}
		return
	}
	if child := childNamed(l.node, word); child != nil {
		l.node = child
		return
	}
	l.arguments++
}

func findFlag(node *kong.Node, name string) *kong.Flag {
	for _, level := range node.AllFlags(false) {
		for _, f := range level {
			if name == "--"+f.Name || f.Short != 0 && name == "-"+string(f.Short) {
				return f
			}
		}
	}
	return nil
}

// completionTime is how long somebody waits for names.
const completionTime = time.Second

// values are what a flag or an argument may be, as far as that is known.
func (c *completeCmd) values(ctx context.Context, v *kong.Value) (names []string) {
	if v.Enum != "" {
		return v.EnumSlice()
	}
	if words := v.Tag.Get("words"); words != "" { // what servers take, which may be more one day
		return strings.Split(words, ",")
	}
	kind := v.Tag.Get("complete")
	if kind == "state" {
		for _, s := range states {
			names = append(names, string(s))
		}
		return names
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	var all []string
	_ = c.use(func(cl *client.Client) (err error) { // nobody reads errors here
		all, err = namesOf(ctx, cl, kind)
		return err
	})
	for _, name := range all {
		if !strings.ContainsAny(name, "\t\n '\"\\$`:=&|;<>()*?[]#~!{}") { // shells would read more in it
			names = append(names, name)
		}
	}
	return names
}

// namesOf asks the server.
func namesOf(ctx context.Context, cl *client.Client, kind string) (names []string, err error) {
	switch kind {
	case "queue":
		var all []client.Queue
		all, err = cl.Queues(ctx)
		for _, q := range all {
			names = append(names, q.Name)
		}
	case "group":
		var all []client.URLGroup
		all, err = cl.URLGroups(ctx)
		for _, g := range all {
			names = append(names, g.Name)
		}
	case "schedule":
		var all []client.Schedule
		all, err = cl.Schedules(ctx)
		for _, s := range all {
			names = append(names, s.ScheduleID)
		}
	case "flow":
		var all []client.FlowControlKey
		all, err = cl.FlowControlKeys(ctx, "")
		for _, k := range all {
			names = append(names, k.Key)
		}
	}
	return names, err
}
