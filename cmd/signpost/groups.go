package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

type groupsCmd struct {
	List       groupsListCmd       `cmd:"" help:"List the URL groups."`
	Get        groupsGetCmd        `cmd:"" help:"Show a URL group and its endpoints."`
	Add        groupsAddCmd        `cmd:"" help:"Add endpoints. The first ones create the group."`
	Remove     groupsRemoveCmd     `cmd:"" help:"Remove endpoints. The group goes with the last one."`
	SetHeaders groupsSetHeadersCmd `cmd:"" help:"Set the settings of what is published to a group."`
	Delete     groupsDeleteCmd     `cmd:"" help:"Delete a URL group."`
}

type groupsListCmd struct {
	JSON   bool `name:"json" help:"Print each group as a line of JSON."`
	remote `embed:""`
}

func (c *groupsListCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		groups, err := cl.URLGroups(ctx)
		if err != nil {
			return err
		}
		return writeList(o.stdout, c.JSON, groups, []string{"GROUP", "ENDPOINTS", "UPDATED", "URLS"}, func(g *client.URLGroup) []string {
			urls := make([]string, len(g.Endpoints))
			for i, e := range g.Endpoints {
				urls[i] = shownURL(e.URL)
			}
			return []string{g.Name, strconv.Itoa(len(g.Endpoints)), nearText(g.UpdatedAt, ""), strings.Join(urls, " ")}
		})
	})
}

// namedGroup is what commands on one group have.
type namedGroup struct {
	Name   string `arg:"" complete:"group" help:"Name of the URL group."`
	remote `embed:""`
}

type groupsGetCmd struct {
	namedGroup `embed:""`
	JSON       bool `name:"json" help:"Print JSON."`
}

func (c *groupsGetCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		g, err := cl.URLGroup(ctx, c.Name)
		if err != nil {
			return err
		}
		fields := [][2]string{{"group", g.Name}, {"created", timeText(g.CreatedAt, "")}, {"updated", timeText(g.UpdatedAt, "")}, {"url prefix", g.URLPrefix}}
		if err := writeItem(o.stdout, c.JSON, g, append(fields, headerFields(g.Header)...)); err != nil || c.JSON || len(g.Endpoints) == 0 {
			return err
		}
		fmt.Fprintln(o.stdout)
		return writeList(o.stdout, false, g.Endpoints, []string{"ENDPOINT", "URL"}, func(e *client.Endpoint) []string {
			return []string{e.Name, e.URL}
		})
	})
}

type groupsAddCmd struct {
	Name     string   `arg:"" complete:"group" help:"Name of the URL group: letters, digits, _, . and -."`
	Endpoint []string `arg:"" help:"URLs, or NAME=URL to give one a name."`
	remote   `embed:""`
}

func (c *groupsAddCmd) Run(ctx context.Context, o *outside) error {
	endpoints := make([]client.Endpoint, len(c.Endpoint))
	for i, text := range c.Endpoint {
		if endpoints[i].URL = text; !wire.IsURL(text) {
			name, url, ok := strings.Cut(text, "=")
			if !ok {
				return &usageError{fmt.Errorf("endpoint %q: expected a URL or NAME=URL", text), "a URL begins with http:// or https://"}
			}
			endpoints[i] = client.Endpoint{Name: name, URL: url}
		}
	}
	return c.use(func(cl *client.Client) error {
		if err := cl.AddEndpoints(ctx, c.Name, endpoints...); err != nil {
			return err
		}
		fmt.Fprintf(o.stderr, "Added to %s.\n", c.Name)
		return nil
	})
}

type groupsRemoveCmd struct {
	Name     string   `arg:"" complete:"group" help:"Name of the URL group."`
	Endpoint []string `arg:"" help:"URLs or names of endpoints."`
	remote   `embed:""`
}

func (c *groupsRemoveCmd) Run(ctx context.Context, o *outside) error {
	endpoints := make([]client.Endpoint, len(c.Endpoint))
	for i, text := range c.Endpoint {
		if wire.IsURL(text) {
			endpoints[i].URL = text
		} else {
			endpoints[i].Name = text
		}
	}
	return c.use(func(cl *client.Client) error {
		if err := cl.RemoveEndpoints(ctx, c.Name, endpoints...); err != nil {
			return err
		}
		fmt.Fprintf(o.stderr, "Removed from %s.\n", c.Name)
		return nil
	})
}

type groupsSetHeadersCmd struct {
	namedGroup `embed:""`
	Header     headers `short:"H" sep:"none" placeholder:"'K: V'" help:"Setting, such as 'Upstash-Retries: 5'; may be repeated."`
	Clear      bool    `help:"Leave the group without settings."`
}

func (*groupsSetHeadersCmd) Help() string {
	return `The settings are Upstash-* headers. They take the place of those that the group has; what a publish says itself wins
over them.`
}

func (c *groupsSetHeadersCmd) Run(ctx context.Context, o *outside) error {
	header, err := c.Header.parse()
	if err != nil {
		return err
	}
	if (len(header) > 0) == c.Clear {
		return &usageError{errors.New("expected --header or --clear"), ""}
	}
	return c.use(func(cl *client.Client) error {
		if err := cl.SetURLGroupHeader(ctx, c.Name, header); err != nil {
			return err
		}
		fmt.Fprintf(o.stderr, "Set for what is published to %s from now on.\n", c.Name)
		return nil
	})
}

type groupsDeleteCmd struct {
	namedGroup `embed:""`
}

func (c *groupsDeleteCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		_, before := cl.URLGroup(ctx, c.Name)
		if err := cl.DeleteURLGroup(ctx, c.Name); err != nil {
			return err
		}
		if errors.Is(before, client.ErrNotFound) {
			fmt.Fprintf(o.stderr, "There was no group %s.\n", c.Name)
			return nil
		}
		fmt.Fprintf(o.stderr, "There is no group %s any more. What was published to it is delivered all the same.\n", c.Name)
		return nil
	})
}
