package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/signposthq/signpost/client"
)

type runsNotifyCmd struct {
	Event  string `arg:"" help:"Id of the event, such as paid-17."`
	Data   body   `short:"d" placeholder:"TEXT" help:"Data of the event: text, @file, or - for standard input (default none)."`
	RunID  string `name:"run" complete:"run" placeholder:"ID" help:"The one run to tell, even if it does not wait for the event yet (default all that wait)."`
	JSON   bool   `name:"json" help:"Print what became of each as a line of JSON."`
	remote `embed:""`
}

func (*runsNotifyCmd) Help() string {
	return `Prints the id of each run that is told. An event that nobody waits for is gone, and the status is 1; with --run it is kept
until the run waits for it.`
}

func (c *runsNotifyCmd) Run(ctx context.Context, o *outside) error {
	data, err := c.Data.read(o.stdin)
	if err != nil {
		return err
	}
	return c.use(func(cl *client.Client) error {
		told, err := c.notify(ctx, cl, data)
		if err != nil {
			return err
		}
		if len(told) == 0 {
			return withHint(fmt.Errorf("nobody waits for event %s: it is gone", c.Event), "with --run ID it is kept until that run waits for it")
		}
		if c.JSON {
			return writeLines(o.stdout, told)
		}
		untold := 0
		for _, n := range told {
			if n.Error != "" {
				untold++
				fmt.Fprintf(o.stderr, "%s was not told: %s\n", n.WorkflowRunID, printable(n.Error))
				continue
			}
			if n.MessageID == "" {
				fmt.Fprintln(o.stderr, "The run does not wait for the event yet: it is kept.")
			}
			if _, err := fmt.Fprintln(o.stdout, n.WorkflowRunID); err != nil {
				return err
			}
		}
		if untold > 0 {
			return &verdictError{fmt.Sprintf("%d of %d were not told", untold, len(told))}
		}
		return nil
	})
}

func (c *runsNotifyCmd) notify(ctx context.Context, cl *client.Client, data []byte) ([]client.NotifyResponse, error) {
	if c.RunID == "" {
		return cl.Notify(ctx, c.Event, data)
	}
	told, err := cl.NotifyRun(ctx, c.RunID, c.Event, data)
	told.WorkflowRunID = cmp.Or(told.WorkflowRunID, c.RunID)
	return []client.NotifyResponse{told}, err
}
