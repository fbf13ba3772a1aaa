package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
)

type tokensCmd struct {
	Create tokensCreateCmd `cmd:"" help:"Create a token, and print it this once."`
	List   tokensListCmd   `cmd:"" help:"List the tokens, the oldest first."`
	Revoke tokensRevokeCmd `cmd:"" help:"End a token at once."`
}

type tokensCreateCmd struct {
	Name      string   `arg:"" help:"Name to tell it by, such as shop-production."`
	Scope     []string `required:"" words:"publish,read,read-metadata,keys,admin" placeholder:"SCOPE" help:"What it is good for: publish, read, read-metadata, keys, admin; may be repeated."`
	URLPrefix string   `name:"url-prefix" placeholder:"URL" help:"Only for this origin, or this path and what is below it, such as https://api.example.com/hooks."`
	ExpiresIn duration `placeholder:"TIME" help:"How long it is good for, such as 12h or 90d (default for ever)."`
	ExpiresAt future   `placeholder:"TIME" help:"When it ends: RFC 3339, Unix seconds, or how long until then, such as 90d."`
	JSON      bool     `name:"json" help:"Print JSON."`
	remote    `embed:""`
}

func (*tokensCreateCmd) Help() string {
	return `Scopes:

    publish        publish, batch, trigger and run workflows;
                   cancel, retry and delete what was published
    read           see messages, events, the DLQ and runs;
                   alone, it makes a read-only token
    read-metadata  the same without bodies, results and responses,
                   and without the values of headers
    keys           see and rotate the signing keys
    admin          all of that, and tokens, tenants and the audit log

A workflow endpoint needs publish.`
}

func (c *tokensCreateCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	request := client.TokenRequest{
		Name: c.Name, URLPrefix: c.URLPrefix, ExpiresAt: c.ExpiresAt.Time, ExpiresIn: time.Duration(c.ExpiresIn),
	}
	for _, s := range c.Scope {
		request.Scopes = append(request.Scopes, client.Scope(s))
	}
	token, err := cl.CreateToken(ctx, request)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(o.stdout).Encode(token)
	}
	fmt.Fprintf(o.stderr, "Token %s is shown this once, and can't be recovered.\n", token.ID)
	writeExport(o.stdout, "QSTASH_TOKEN", token.Secret)
	return nil
}

type tokensListCmd struct {
	remote `embed:""`
	JSON   bool `name:"json" help:"Print each token as a line of JSON."`
}

func (c *tokensListCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	tokens, err := cl.Tokens(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeLines(o.stdout, tokens)
	}
	rows := [][]string{{"ID", "NAME", "BEGINS", "SCOPES", "URL PREFIX", "EXPIRES", "LAST USED"}}
	for _, t := range tokens {
		rows = append(rows, []string{
			t.ID, t.Name, t.Prefix, scopesText(t.Scopes), t.URLPrefix, timeText(t.ExpiresAt, "never"), timeText(t.LastUsedAt, "never"),
		})
	}
	return writeTable(o.stdout, rows)
}

func scopesText(scopes []client.Scope) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, ",")
}

type tokensRevokeCmd struct {
	ID     string `arg:"" help:"Id of the token, as list shows it: tok_…"`
	remote `embed:""`
}

func (c *tokensRevokeCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	out, err := cl.RevokeToken(ctx, c.ID)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.stderr, "Revoked. No request is accepted with it any more.\n")
	if n := out.SchedulesPaused; n > 0 {
		fmt.Fprintf(o.stderr, "Paused with it: %d schedules that it had made. \"signpost schedules list\" shows them.\n", n)
	}
	return nil
}
