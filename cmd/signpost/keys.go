package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
)

type keysCmd struct {
	Show   keysShowCmd   `cmd:"" help:"Print the keys that deliveries are signed with."`
	Status keysStatusCmd `cmd:"" help:"Show which endpoints hold which keys, and when they last verified a delivery."`
	Probe  keysProbeCmd  `cmd:"" help:"Ask an endpoint which keys it accepts."`
	Rotate keysRotateCmd `cmd:"" help:"Make the next key the current one, and a new key the next."`

	GenerateMaster keysGenerateMasterCmd `cmd:"" help:"Print a new master key, to seal a server's data with."`
	Rewrap         keysRewrapCmd         `cmd:"" help:"Seal a server's data anew, under the first of its master keys."`
}

type keysShowCmd struct {
	remote           `embed:""`
	StandardWebhooks bool `help:"Print them as libraries for Standard Webhooks take them."`
	JSON             bool `name:"json" help:"Print JSON."`
}

func (c *keysShowCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	keys, err := cl.Keys(ctx)
	if err != nil {
		return err
	}
	if c.StandardWebhooks {
		keys.Current, keys.Next = receiver.StandardWebhookSecret(keys.Current), receiver.StandardWebhookSecret(keys.Next)
	}
	return writeKeys(o, keys, c.JSON)
}

type keysRotateCmd struct {
	remote `embed:""`
	Force  bool `help:"Rotate even if endpoints will refuse what is signed then: for a key that has leaked."`
	JSON   bool `name:"json" help:"Print JSON."`
}

func (*keysRotateCmd) Help() string {
	return `Deliveries are signed with the new current key at once, retries of older messages too. Receivers accept it without a
change, because it was their next key. Give them the new pair before you rotate again: while the server knows of endpoints
that do not hold the next key yet, it refuses to rotate.`
}

func (c *keysRotateCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	rotate := cl.RotateKeys
	if c.Force {
		rotate = cl.ForceRotateKeys
	}
	keys, err := rotate(ctx)
	if refused := (*client.Error)(nil); errors.Is(err, client.ErrConflict) && errors.As(err, &refused) {
		writeEndpoints(o.stderr, refused.Endpoints, time.Now())
		return withHint(errors.New("these endpoints do not hold the next key yet: nothing was rotated"),
			`give them the pair of "signpost keys show"; --force rotates all the same`)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(o.stderr, "Rotated. Give receivers both keys before the next rotation.")
	if c.isDevelopment() {
		fmt.Fprintln(o.stderr, "This is a development server: SDKs with QSTASH_DEV know its first keys only. Use these lines, or start it with new data.")
	}
	return writeKeys(o, keys, c.JSON)
}

func writeKeys(o *outside, keys client.SigningKeys, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(o.stdout).Encode(keys)
	}
	writeExport(o.stdout, "QSTASH_CURRENT_SIGNING_KEY", keys.Current)
	writeExport(o.stdout, "QSTASH_NEXT_SIGNING_KEY", keys.Next)
	return nil
}

type keysStatusCmd struct {
	remote `embed:""`
	JSON   bool `name:"json" help:"Print JSON."`
}

func (*keysStatusCmd) Help() string {
	return `Keys are named by ids, which do not tell them. An endpoint is

  ready       it accepts the next key, so a rotation does it no harm
  lagging     it would refuse the next key: give it the pair of "signpost keys show"
  unknown     it never told: its receiver is not Signpost's, see "signpost keys probe"
  unverified  a probe found that it takes requests that anybody signed`
}

func (c *keysStatusCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	status, err := cl.KeyStatus(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(o.stdout).Encode(status)
	}
	now := time.Now()
	fmt.Fprintf(o.stdout, "current %s\nnext    %s\nrotated %s\n", status.Current, status.Next, ago(status.RotatedAt, now))
	if len(status.Endpoints) > 0 {
		fmt.Fprintln(o.stdout)
		writeEndpoints(o.stdout, status.Endpoints, now)
	}
	return nil
}

// writeEndpoints tells of each endpoint "last verified with key X at T".
func writeEndpoints(w io.Writer, endpoints []client.EndpointKeys, now time.Time) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STATE\tENDPOINT\tHOLDS\tLAST VERIFIED WITH\tAT")
	for _, ep := range endpoints {
		holds, with := strings.Join(ep.Holds, " "), ep.LastVerifiedKey
		if with == "" {
			holds, with = "-", "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", ep.State, printable(ep.URL), holds, with, ago(ep.LastVerifiedAt, now))
	}
	_ = table.Flush() // as with every other line, nobody is left to tell
}

// ago is a time of the API, and how long that is ago.
func ago(millis int64, now time.Time) string {
	if millis == 0 {
		return "never"
	}
	at := time.UnixMilli(millis)
	return fmt.Sprintf("%s (%s ago)", at.UTC().Format(time.RFC3339), now.Sub(at).Round(time.Second))
}

type keysProbeCmd struct {
	URL    string `arg:"" help:"Endpoint: http:// or https://."`
	Method string `short:"X" default:"POST" words:"GET,POST,PUT,PATCH,DELETE" placeholder:"VERB" help:"Method of the requests (default POST)."`
	Body   body   `short:"d" placeholder:"TEXT" help:"Body of the requests: text, @file, or - for standard input (default none)."`
	JSON   bool   `name:"json" help:"Print JSON."`
	remote `embed:""`
}

func (*keysProbeCmd) Help() string {
	return `The server sends up to three requests: one signed with a key of nobody, which must be refused, one with the current
key, one with the next. Receivers of this project answer without running anything. Others cannot tell a probe from a
delivery: they run their handler, on the body given, and a workflow endpoint may start a run. The status is 1 unless the
endpoint accepts both keys, and only them.`
}

func (c *keysProbeCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	content, err := c.Body.read(o.stdin)
	if err != nil {
		return err
	}
	probe, err := cl.ProbeKeys(ctx, client.ProbeRequest{URL: c.URL, Method: c.Method, Body: string(content)})
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(o.stdout).Encode(probe)
	} else {
		writeProbe(o.stdout, &probe)
	}
	if err == nil && probe.State != client.EndpointReady {
		err = &verdictError{"the endpoint is " + string(probe.State)}
	}
	return err
}

func writeProbe(w io.Writer, p *client.KeyProbe) {
	fmt.Fprintf(w, "%s is %s\n", printable(p.URL), p.State)
	for _, asked := range []struct {
		key    string
		answer *client.ProbeAnswer
	}{{"a key of nobody", p.Forged}, {"the current key", p.Current}, {"the next key", p.Next}} {
		switch a := asked.answer; {
		case a == nil:
		case a.Status == 0:
			fmt.Fprintf(w, "  signed with %-16s no answer: %s\n", asked.key+":", printable(a.Error))
		default:
			fmt.Fprintf(w, "  signed with %-16s answered %d\n", asked.key+":", a.Status)
		}
	}
	switch {
	case p.State == client.EndpointUnverified:
		fmt.Fprintln(w, "DANGER: it takes requests that were signed with a key of nobody. Whoever knows its URL can call it.")
	case p.Current != nil && (p.Current.Status < 200 || p.Current.Status > 299):
		fmt.Fprintln(w, "It refused what was rightly signed. Either it does not hold the current key, or it wants another method or body.")
	}
}
