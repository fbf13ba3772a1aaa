package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/signposthq/signpost"
)

type tenantsCmd struct {
	Create tenantsCreateCmd `cmd:"" help:"Create a tenant, and print its credentials this once."`
	List   tenantsListCmd   `cmd:"" help:"List the tenants, the oldest first."`
}

const tenantsHelp = `Tenants share a server and nothing else: messages, runs, tokens and signing keys each belong to one. They are managed with
an admin token of the first one, which the server made at its first start.`

type tenantsCreateCmd struct {
	UserID string `arg:"" optional:"" name:"user-id" help:"Name of the tenant: letters, digits, _ and - (default a random one)."`
	JSON   bool   `name:"json" help:"Print JSON."`
	remote `embed:""`
}

func (*tenantsCreateCmd) Help() string { return tenantsHelp }

func (c *tenantsCreateCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	tenant, err := cl.CreateTenant(ctx, c.UserID)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(o.stdout).Encode(tenant)
	}
	fmt.Fprintf(o.stderr, "Tenant %s has these credentials. They are shown this once, and the token can't be recovered.\n", tenant.UserID)
	writeExports(o.stdout, c.Server, signpost.Credentials{
		Token: tenant.Token, CurrentSigningKey: tenant.CurrentSigningKey, NextSigningKey: tenant.NextSigningKey,
	})
	return nil
}

type tenantsListCmd struct {
	remote `embed:""`
	JSON   bool `name:"json" help:"Print each tenant as a line of JSON."`
}

func (*tenantsListCmd) Help() string { return tenantsHelp }

func (c *tenantsListCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	tenants, err := cl.Tenants(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeLines(o.stdout, tenants)
	}
	rows := [][]string{{"ID", "USER ID"}}
	for _, t := range tenants {
		rows = append(rows, []string{fmt.Sprint(t.ID), t.UserID})
	}
	return writeTable(o.stdout, rows)
}
