package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/signposthq/signpost/internal/secret"
	"github.com/signposthq/signpost/receiver"
)

type verifyCmd struct {
	URL        string        `name:"url" placeholder:"URL" help:"URL the request was sent to."`
	Body       body          `short:"d" placeholder:"TEXT" help:"Body of the request, as it came: text, @file, or - for standard input (default empty)."`
	Signature  string        `placeholder:"JWT" help:"Value of its Upstash-Signature header."`
	Header     headers       `short:"H" sep:"none" placeholder:"'K: V'" help:"Header of the request, to compare with what the signature covers; may be repeated. With any, give all Upstash-* headers; --signature is then not needed."`
	CurrentKey secret.Text   `from:"QSTASH_CURRENT_SIGNING_KEY" placeholder:"KEY" help:"Current signing key of the receiver."`
	NextKey    secret.Text   `from:"QSTASH_NEXT_SIGNING_KEY" placeholder:"KEY" help:"Next signing key of the receiver."`
	PublicKey  []string      `placeholder:"KEY" help:"Public key of the server, as x in its /.well-known/jwks.json: the signature is that of Upstash-Signature-Ed25519; may be repeated."`
	OldKey     []secret.Text `placeholder:"KEY" help:"Key of former times, to recognise its signatures; may be repeated."`
	At         moment        `placeholder:"TIME" help:"When the request came, RFC 3339 or Unix seconds (default now)."`
	Tolerance  duration      `default:"5s" placeholder:"TIME" help:"How far the clocks may be apart (default 5s)."`
	Binding    bool          `name:"require-binding" help:"Refuse a signature that covers no headers, as a receiver with RequireBinding does."`
	URLMode    string        `name:"url-mode" default:"canonical" enum:"canonical,exact,path-only,off" placeholder:"MODE" help:"How URLs are compared: canonical, exact, path-only or off (default canonical)."`
	JSON       bool          `name:"json" help:"Print JSON."`
}

func (*verifyCmd) Help() string {
	return `Says which key has signed, and for each claim that is wrong what was expected, what came, the likely cause, and what to
do about it. The status is 1 if the request is refused.`
}

var urlModes = map[string]receiver.URLMode{
	"canonical": receiver.URLCanonical, "exact": receiver.URLExact, "path-only": receiver.URLPathOnly, "off": receiver.URLOff,
}

func (c *verifyCmd) Run(_ context.Context, o *outside) error {
	in, err := c.input(o)
	if err != nil {
		return err
	}
	d := receiver.Diagnose(in)
	if c.JSON {
		err = json.NewEncoder(o.stdout).Encode(diagnosisOf(&d))
	} else {
		_, err = fmt.Fprint(o.stdout, d)
	}
	if err == nil && d.Err != nil {
		err = &verdictError{"the request is refused"}
	}
	return err
}

// diagnosis is a receiver's in JSON.
type diagnosis struct {
	Accepted bool      `json:"accepted"`
	Error    string    `json:"error,omitempty"`
	Key      string    `json:"key,omitempty"`
	Findings []finding `json:"findings,omitempty"`
}

type finding struct {
	Cause    string `json:"cause"`
	Field    string `json:"field,omitempty"`
	Expected string `json:"expected,omitempty"`
	Got      string `json:"got,omitempty"`
	What     string `json:"what"`
	Fix      string `json:"fix"`
}

func diagnosisOf(d *receiver.Diagnosis) diagnosis {
	out := diagnosis{Accepted: d.Err == nil, Key: d.Key}
	if d.Err != nil {
		out.Error = d.Err.Error()
	}
	for _, f := range d.Findings {
		out.Findings = append(out.Findings, finding(f))
	}
	return out
}

func (c *verifyCmd) input(o *outside) (in receiver.DiagnoseInput, err error) {
	if in.Options, err = c.options(); err != nil {
		return in, err
	}
	if c.URL == "" && c.URLMode != "off" {
		return in, withHint(errors.New("no URL to compare with the one that was signed"), "pass --url, or --url-mode off")
	}
	in.Request = receiver.Request{Signature: c.Signature, URL: c.URL}
	if len(c.Header) > 0 {
		if in.Request.Header, err = c.Header.parse(); err != nil {
			return in, err
		}
	} else if c.Signature == "" {
		return in, withHint(errors.New("no signature to verify"), "pass --signature, or all headers with -H")
	}
	if in.Body, err = c.Body.read(o.stdin); err != nil {
		return in, err
	}
	in.Time = c.At.Time
	for _, key := range c.OldKey {
		in.OldKeys = append(in.OldKeys, key.Reveal())
	}
	return in, nil
}

func (c *verifyCmd) options() (o receiver.Options, err error) {
	if c.CurrentKey.IsEmpty() && len(c.PublicKey) == 0 {
		return o, withHint(errors.New("no key to verify with"),
			`set QSTASH_CURRENT_SIGNING_KEY, or pass --current-key; "signpost keys show" prints the server's`)
	}
	for _, x := range c.PublicKey {
		key, err := base64.RawURLEncoding.DecodeString(x)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return o, withHint(fmt.Errorf("public key %q is not the base64url of 32 bytes", x), "pass the value of x in the server's /.well-known/jwks.json")
		}
		o.PublicKeys = append(o.PublicKeys, key)
	}
	o.CurrentSigningKey, o.NextSigningKey = c.CurrentKey.Reveal(), c.NextKey.Reveal()
	o.URLMode, o.RequireBinding = urlModes[c.URLMode], c.Binding
	o.ClockTolerance = time.Duration(c.Tolerance)
	if o.ClockTolerance == 0 {
		o.ClockTolerance = -1 // none, where the receiver's 0 is its default
	}
	return o, nil
}
