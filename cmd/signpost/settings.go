package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/signposthq/signpost/client"
)

type settingsCmd struct {
	Show settingsShowCmd `cmd:"" help:"Print what holds for all deliveries."`
	Set  settingsSetCmd  `cmd:"" help:"Change it, from the next attempt on."`
}

type settingsShowCmd struct {
	remote `embed:""`
	JSON   bool `name:"json" help:"Print JSON."`
}

func (c *settingsShowCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	settings, err := cl.Settings(ctx)
	if err != nil {
		return err
	}
	return writeSettings(o, settings, c.JSON)
}

type settingsSetCmd struct {
	SignCalls *string `words:"always,same-origin,never" placeholder:"WHICH" help:"Which calls of workflow runs are signed: always, same-origin (as the run's endpoint) or never."`
	SignWith  *string `words:"ed25519,standard-webhooks,none" placeholder:"LIST" help:"Signatures beside the standard one: ed25519, standard-webhooks, both with a comma between, or none."`
	remote    `embed:""`
	JSON      bool `name:"json" help:"Print JSON."`
}

func (*settingsSetCmd) Help() string {
	return `A call of a run goes to a third party. Its signature is for that URL, and says that it is a call, but receivers of other
projects may check neither. With same-origin or never, strangers get none.`
}

func (c *settingsSetCmd) Run(ctx context.Context, o *outside) error {
	if c.SignCalls == nil && c.SignWith == nil {
		return &usageError{errors.New("nothing to change"), ""}
	}
	change := client.SettingsChange{SignCalls: c.SignCalls}
	if c.SignWith != nil {
		change.SignWith = &[]string{}
		if *c.SignWith != "none" {
			*change.SignWith = strings.Split(*c.SignWith, ",")
		}
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	settings, err := cl.ChangeSettings(ctx, change)
	if err != nil {
		return err
	}
	return writeSettings(o, settings, c.JSON)
}

func writeSettings(o *outside, s client.Settings, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(o.stdout).Encode(s)
	}
	_, err := fmt.Fprintf(o.stdout, "sign calls  %s\nsign with   %s\n", s.SignCalls, cmp.Or(strings.Join(s.SignWith, ","), "none"))
	return err
}
