package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/signposthq/signpost/client"
)

type runsStartCmd struct {
	URL             string   `arg:"" name:"url" help:"Endpoint of the workflow: http:// or https://."`
	Payload         body     `short:"d" placeholder:"TEXT" help:"Payload: text, @file, or - for standard input (default none)."`
	ID              string   `name:"id" placeholder:"ID" help:"Id of the run; while one with this id is under way, no other is started (default a random one)."`
	Header          headers  `short:"H" sep:"none" placeholder:"'K: V'" help:"Header that the endpoint sees on every call; may be repeated."`
	Label           []string `placeholder:"LABEL" help:"Label to find the run by; may be repeated."`
	Delay           duration `placeholder:"TIME" help:"Wait before the first call, such as 30s, 1.5h or 7d."`
	Retries         *int     `placeholder:"N" help:"Attempts of each call after the first (default 3)."`
	RetryDelay      string   `placeholder:"EXPR" help:"Milliseconds before each retry, such as '1000 * (1 + retried)'."`
	FlowKey         string   `placeholder:"KEY" complete:"flow" help:"Key of flow control, with --flow-rate or --flow-parallelism."`
	FlowRate        int      `placeholder:"N" help:"Calls in each period, of all runs with the key."`
	FlowPeriod      duration `placeholder:"TIME" help:"The period (default 1s)."`
	FlowParallelism int      `placeholder:"N" help:"Calls at once, of all runs with the key."`
	Redact          []string `placeholder:"PART" help:"What is never shown but as a hash: body, header (all) or header[Name]; may be repeated."`
	JSON            bool     `name:"json" help:"Print JSON."`
	Wait            bool     `short:"w" help:"Watch the run to its end; the status is 1 if it does not succeed."`
	remote          `embed:""`
}

func (*runsStartCmd) Help() string {
	return `Prints the run's id once the server has it on disk. The headers are what the endpoint's own authorization sees. In a program
it is client.Trigger, in others POST /v2/trigger.`
}

func (c *runsStartCmd) Run(ctx context.Context, o *outside) error {
	payload, err := c.Payload.read(o.stdin)
	if err != nil {
		return err
	}
	header, err := c.Header.parse()
	if err != nil {
		return err
	}
	request := client.TriggerRequest{
		URL: c.URL, RunID: c.ID, Body: payload, Header: header, Labels: c.Label, Delay: time.Duration(c.Delay),
		Retries: c.Retries, RetryDelay: c.RetryDelay, FlowControl: flowControl(c.FlowKey, c.FlowRate, c.FlowPeriod, c.FlowParallelism), Redact: c.Redact,
	}
	return c.use(func(cl *client.Client) error {
		run, err := cl.Trigger(ctx, request)
		if err != nil {
			return err
		}
		if c.JSON {
			err = json.NewEncoder(o.stdout).Encode(run)
		} else {
			_, err = fmt.Fprintln(o.stdout, run.WorkflowRunID)
		}
		if run.Deduplicated {
			fmt.Fprintln(o.stderr, "A run with this id is under way: no other was started.")
		}
		if err != nil || !c.Wait {
			return err
		}
		return watchRun(ctx, cl, o, run.WorkflowRunID, c.JSON)
	})
}
