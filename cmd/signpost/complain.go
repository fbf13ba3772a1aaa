package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/secret"
)

const (
	statusFailed = 1
	statusUsage  = 2
)

// complain writes err and what to do about it, and returns the exit status.
func complain(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	if quiet := (*verdictError)(nil); errors.As(err, &quiet) {
		return statusFailed
	}
	fmt.Fprintf(w, "signpost: %s\nhint: %s\n", printable(wordsOf(err)), printable(hintFor(err)))
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		return statusUsage
	}
	return statusFailed
}

// wordsOf are what an error says, with the name that groups have here.
func wordsOf(err error) string {
	text := err.Error()
	if answered := (*client.Error)(nil); errors.As(err, &answered) && strings.HasPrefix(answered.Message, "topic ") {
		return strings.Replace(text, ": topic ", ": group ", 1)
	}
	return text
}

// usageError is a command line that cannot be understood.
type usageError struct {
	error
	hint string // "": see the help of the command
}

// commandError is an error with the command that it is of.
type commandError struct {
	error
	command *kong.Context
}

func (e *commandError) Unwrap() error { return e.error }

// hint is what to do about an answer, "" if the command makes no difference.
func (e *commandError) hint() string {
	answered := (*client.Error)(nil)
	if !errors.As(e.error, &answered) {
		return ""
	}
	noun := e.command.Selected().Parent
	switch {
	case errors.Is(answered, client.ErrUnauthorized) && e.tokenless():
		return "no token was given, so the one of development servers was tried: set QSTASH_TOKEN, or pass --token"
	case !errors.Is(answered, client.ErrNotFound):
		return ""
	case strings.HasPrefix(answered.Message, "no such route"):
		return "that server does not have this: check --server, which is QSTASH_URL by default and has no path"
	case strings.HasPrefix(answered.Message, "topic "):
		noun = childNamed(e.command.Model.Node, "groups")
	case slices.Contains([]string{"messages", "dlq", "runs"}, noun.Name):
		return "" // they are deleted in the end
	}
	if list := childNamed(noun, "list"); list != nil {
		return fmt.Sprintf("%q shows those there are", list.FullPath())
	}
	return ""
}

// tokenless says whether the command could have had a token and got none.
func (e *commandError) tokenless() bool {
	for _, flag := range e.command.Flags() {
		if token, ok := flag.Target.Interface().(secret.Text); ok && flag.Name == "token" {
			return token.IsEmpty()
		}
	}
	return false
}

// hintedError is an error that knows what to do about it.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

func withHint(err error, hint string) error { return &hintedError{err, hint} }

// verdictError is a bad result that the command has already told.
type verdictError struct{ verdict string }

func (e *verdictError) Error() string { return e.verdict }

func hintFor(err error) string {
	if usage := (*usageError)(nil); errors.As(err, &usage) && usage.hint != "" {
		return usage.hint
	}
	if hinted := (*hintedError)(nil); errors.As(err, &hinted) {
		return hinted.hint
	}
	failed := (*commandError)(nil)
	if errors.As(err, &failed) && failed.hint() != "" {
		return failed.hint()
	}
	for _, h := range hints {
		if errors.Is(err, h.cause) {
			return h.hint
		}
	}
	if answered := (*client.Error)(nil); errors.As(err, &answered) && answered.Status >= 500 {
		return "the log of the server says more"
	}
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
		return "no such host: check --server, which is QSTASH_URL by default"
	}
	command := "signpost"
	if failed != nil {
		command = failed.command.Selected().FullPath()
	}
	return fmt.Sprintf("see %q", command+" --help")
}

// hints are what to do about errors of many commands, by cause.
var hints = []struct {
	cause error
	hint  string
}{
	{signpost.ErrDevCredentials, "start it with another --data; with this one it can --listen on 127.0.0.1, and serves this machine only"},
	{signpost.ErrChaos, `"signpost dev --help" tells what --chaos takes`},
	{signpost.ErrNotDevData, "use a --data of its own, or \"signpost server\" for this one"},
	{signpost.ErrNeverDestination, "leave it out; for endpoints on this machine there is \"signpost dev\""},
	{signpost.ErrMasterKey, "see \"signpost keys generate-master --help\"; a server needs every key that its data is sealed with"},
	{signpost.ErrInUse, "another signpost is running on this --data: stop it, or choose another directory"},
	{syscall.EADDRINUSE, "another program has this port: stop it, or choose another one (0 takes any that is free)"},
	{syscall.EADDRNOTAVAIL, "this machine does not have that address: see --listen"},
	{syscall.ECONNREFUSED, `no server is there: start one with "signpost dev", or name yours with --server or QSTASH_URL`},
	{client.ErrUnauthorized, "this is not a token of that server: check QSTASH_TOKEN, or pass --token"},
	{client.ErrForbidden, `use another token: "signpost tokens list" shows what each is good for`},
	{client.ErrNotFound, "check the id, and whether QSTASH_URL is the server that gave it: what is finished is deleted after a while"},
	{client.ErrPrecondition, "that is beyond a limit of the server"},
	{client.ErrTooLarge, "send less, or start the server with a larger --max-message-bytes"},
	{client.ErrRateLimited, "try again later"},
	{client.ErrUnavailable, "try again later"},
	{fs.ErrPermission, "this user may not do that: choose another --data, or a port from 1024 on"},
	{fs.ErrNotExist, "check the path"},
	{context.DeadlineExceeded, "the server did not answer in time: see whether it is overloaded"},
	{context.Canceled, "it was interrupted"},
}

// printable keeps what others have written from controlling the terminal.
func printable(s string) string {
	clean := make([]rune, 0, len(s))
	for _, r := range s {
		if r < ' ' || 0x7f <= r && r < 0xa0 || r == '\u2028' || r == '\u2029' || '\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069' {
			r = '·'
		}
		clean = append(clean, r)
	}
	return cmp.Or(string(clean), "-")
}
