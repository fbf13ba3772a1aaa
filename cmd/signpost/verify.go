package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signposthq/signpost/internal/secret"
	"github.com/signposthq/signpost/receiver"
)

type verifyCmd struct {
	URL        string        `name:"url" placeholder:"URL" help:"URL the request was sent to."`
	Body       body          `short:"d" placeholder:"TEXT" help:"Body of the request, as it came: text, @file, or - for standard input (default empty)."`
	Signature  string        `required:"" placeholder:"JWT" help:"Value of its Upstash-Signature header."`
	CurrentKey secret.Text   `from:"QSTASH_CURRENT_SIGNING_KEY" placeholder:"KEY" help:"Current signing key of the receiver."`
	NextKey    secret.Text   `from:"QSTASH_NEXT_SIGNING_KEY" placeholder:"KEY" help:"Next signing key of the receiver."`
	OldKey     []secret.Text `placeholder:"KEY" help:"Key of former times, to recognise its signatures; may be repeated."`
	At         moment        `placeholder:"TIME" help:"When the request came, RFC 3339 or Unix seconds (default now)."`
	Tolerance  duration      `default:"5s" placeholder:"TIME" help:"How far the clocks may be apart (default 5s)."`
	URLMode    string        `name:"url-mode" default:"canonical" enum:"canonical,exact,path-only,off" placeholder:"MODE" help:"How URLs are compared: canonical, exact, path-only or off (default canonical)."`
}

func (*verifyCmd) Help() string {
	return `Says which key has signed, and for each claim that is wrong what was expected, what came, the likely cause, and what to
do about it. The status is 1 if the request is refused.`
}

var urlModes = map[string]receiver.URLMode{
	"canonical": receiver.URLCanonical, "exact": receiver.URLExact, "path-only": receiver.URLPathOnly, "off": receiver.URLOff,
}

func (c *verifyCmd) Run(_ context.Context, o *outside) error {
	if c.CurrentKey.IsEmpty() {
		return withHint(errors.New("no key to verify with"),
			`set QSTASH_CURRENT_SIGNING_KEY, or pass --current-key; "signpost keys show" prints the server's`)
	}
	if c.URL == "" && c.URLMode != "off" {
		return withHint(errors.New("no URL to compare with the one that was signed"), "pass --url, or --url-mode off")
	}
	content, err := c.Body.read(o.stdin)
	if err != nil {
		return err
	}
	tolerance := time.Duration(c.Tolerance)
	if tolerance == 0 {
		tolerance = -1 // none, where the receiver's 0 is its default
	}
	var old []string
	for _, key := range c.OldKey {
		old = append(old, key.Reveal())
	}
	d := receiver.Diagnose(receiver.DiagnoseInput{
		Options: receiver.Options{
			CurrentSigningKey: c.CurrentKey.Reveal(), NextSigningKey: c.NextKey.Reveal(),
			URLMode: urlModes[c.URLMode], ClockTolerance: tolerance,
		},
		Request: receiver.Request{Signature: c.Signature, URL: c.URL, Body: content},
		Time:    c.At.Time,
		OldKeys: old,
	})
	fmt.Fprint(o.stdout, d)
	if d.Err != nil {
		return &verdictError{"the request is refused"}
	}
	return nil
}
