package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/signposthq/signpost/client"
)

type auditCmd struct {
	Lines  int      `short:"n" default:"50" placeholder:"N" help:"How many entries (default 50)."`
	Action []string `placeholder:"ACTION" help:"Entries of an action, such as token.create, keys.rotate or message.cancel; may be repeated."`
	Actor  []string `placeholder:"TOKEN" help:"Entries of a token, by its id or name; may be repeated."`
	From   past     `placeholder:"TIME" help:"Entries from this time on: RFC 3339, Unix seconds, or how long ago, such as 2h."`
	To     past     `placeholder:"TIME" help:"Entries up to this time."`
	JSON   bool     `name:"json" help:"Print each entry as a line of JSON."`
	remote `embed:""`
}

func (*auditCmd) Help() string {
	return `Who changed what, the newest first: tokens, tenants, signing keys and settings, and what was cancelled, retried or deleted.
Entries are kept for a year.`
}

func (c *auditCmd) Run(ctx context.Context, o *outside) error {
	if c.Lines < 0 {
		return &usageError{fmt.Errorf("--lines: expected 0 or more, got %d", c.Lines), ""}
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	defer cl.CloseIdleConnections()
	var entries []client.AuditEntry
	request := client.AuditRequest{
		Actions: c.Action, Actors: c.Actor, From: c.From.Time, To: c.To.Time, Count: min(c.Lines, 1000),
	}
	for a, err := range cl.AllAudit(ctx, request) {
		if err != nil {
			return err
		}
		if len(entries) == c.Lines {
			break
		}
		entries = append(entries, a)
	}
	if c.JSON {
		return writeLines(o.stdout, entries)
	}
	rows := [][]string{{"TIME", "ACTOR", "FROM", "ACTION", "OBJECT", "CHANGE"}}
	for _, a := range entries {
		rows = append(rows, []string{
			timeText(a.Time, ""), cmp.Or(a.ActorName, a.Actor), a.CallerIP, a.Action, a.Object, changeText(a.Before, a.After),
		})
	}
	return writeTable(o.stdout, rows)
}

// changeText is how it was and how it is now.
func changeText(before, after json.RawMessage) string {
	switch {
	case len(before) == 0:
		return string(after)
	case len(after) == 0:
		return "was " + string(before)
	}
	return string(before) + " -> " + string(after)
}
