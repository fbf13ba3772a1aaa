package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
)

type tenantsCmd struct {
	Create tenantsCreateCmd `cmd:"" help:"Create a tenant, and print its credentials this once."`
	List   tenantsListCmd   `cmd:"" help:"List the tenants, the oldest first."`
	Limits tenantsLimitsCmd `cmd:"" help:"Show what a tenant may do and have, or change it."`
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

type tenantsLimitsCmd struct {
	UserID string   `arg:"" name:"user-id" help:"Name of the tenant."`
	Set    []string `sep:"none" placeholder:"NAME=VALUE" help:"Set a limit, at once; may be repeated. The value \"default\" makes it the server's again."`
	remote `embed:""`
	JSON   bool `name:"json" help:"Print JSON."`
}

func (*tenantsLimitsCmd) Help() string {
	return `Times are such as 30s or 7d, sizes such as 512KiB. What the tenant has already beyond a limit stays. A day begins at 00:00
UTC, and is counted from when it has a limit.`
}

func (c *tenantsLimitsCmd) Run(ctx context.Context, o *outside) error {
	change, err := c.change()
	if err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	var limits client.TenantLimits
	if len(c.Set) > 0 {
		limits, err = cl.ChangeTenantLimits(ctx, c.UserID, change)
	} else {
		limits, err = cl.TenantLimits(ctx, c.UserID)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(o.stdout).Encode(limits)
	}
	return writeLimits(o.stdout, &limits)
}

// change reads the flags. Which limits there are says their JSON.
func (c *tenantsLimitsCmd) change() (change client.LimitsChange, err error) {
	values := map[string]int64{}
	for _, text := range c.Set {
		name, value, _ := strings.Cut(text, "=")
		if values[name], err = limitValue(name, value); err != nil {
			return change, &usageError{fmt.Errorf("--set %s: %w", text, err), ""}
		}
	}
	text, err := json.Marshal(values)
	if err != nil {
		return change, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&change); err != nil {
		name, _ := strings.CutPrefix(err.Error(), "json: unknown field ")
		return change, &usageError{fmt.Errorf("--set: %s is not the name of a limit", name), `"signpost tenants limits USER" lists them`}
	}
	return change, nil
}

func limitValue(name, value string) (int64, error) {
	switch {
	case value == "default":
		return 0, nil
	case name == "maxDelay" || name == "maxTimeout":
		var d duration
		err := d.UnmarshalText([]byte(value))
		return int64(time.Duration(d).Seconds()), err
	case name == "maxMessageBytes":
		var s size
		err := s.UnmarshalText([]byte(value))
		return int64(s), err
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, errors.New(`expected NAME=VALUE with a whole number, or "default"`)
	}
	return n, nil
}

// writeLimits writes a table in the order of the fields.
func writeLimits(w io.Writer, l *client.TenantLimits) error {
	used := map[string]string{
		"globalParallelism": fmt.Sprint(l.Usage.Attempts), "maxQueues": fmt.Sprint(l.Usage.Queues),
		"maxUrlGroups":   fmt.Sprint(l.Usage.URLGroups),
		"maxSchedules":   fmt.Sprint(l.Usage.Schedules),
		"messagesPerDay": fmt.Sprint(l.Usage.MessagesToday),
	}
	rows := [][]string{{"LIMIT", "VALUE", "SET FOR", "USED"}}
	all, own := reflect.ValueOf(l.Limits), reflect.ValueOf(l.Own)
	for i := range all.NumField() {
		name := all.Type().Field(i).Tag.Get("json")
		whom := "all"
		if !own.Field(i).IsNil() {
			whom = "this tenant"
		}
		rows = append(rows, []string{name, limitText(name, all.Field(i).Int()), whom, used[name]})
	}
	return writeTable(w, rows)
}

func limitText(name string, n int64) string {
	switch {
	case n == 0:
		return "any number"
	case name == "maxDelay" || name == "maxTimeout":
		return (time.Duration(n) * time.Second).String()
	}
	return fmt.Sprint(n)
}
