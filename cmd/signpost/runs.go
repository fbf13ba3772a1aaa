package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
)

type runsCmd struct {
	Start  runsStartCmd  `cmd:"" help:"Start a run of a workflow."`
	List   runsListCmd   `cmd:"" help:"List runs, the newest first."`
	Show   runsShowCmd   `cmd:"" help:"Show a run, step by step."`
	Tail   runsTailCmd   `cmd:"" help:"Watch runs, or one run to its end."`
	Notify runsNotifyCmd `cmd:"" help:"Tell runs of an event that they wait for."`
	Cancel runsCancelCmd `cmd:"" help:"Cancel runs that have not ended."`

	Resume  runsResumeCmd  `cmd:"" help:"Let failed runs go on, as new ones."`
	Restart runsRestartCmd `cmd:"" help:"Start failed runs over, as new ones."`
	Check   runsCheckCmd   `cmd:"" help:"See which runs under way would break with a new build of their endpoint."`
}

// runFilterFlags pick runs by what they are.
type runFilterFlags struct {
	URL     string   `name:"url" placeholder:"URL" help:"Only of the workflow at this URL."`
	Host    []string `placeholder:"HOST" help:"Only of workflows at this host; may be repeated."`
	Path    []string `sep:"none" placeholder:"PATH" help:"Only of workflows at this path; may be repeated."`
	Label   []string `placeholder:"LABEL" help:"Only with this label; may be repeated."`
	FlowKey []string `sep:"none" placeholder:"KEY" complete:"flow" help:"Only with this key of flow control; may be repeated."`
	From    past     `placeholder:"TIME" help:"Only started from this time on: RFC 3339, Unix seconds, or how long ago, such as 2h."`
	To      past     `placeholder:"TIME" help:"Only started up to this time."`
}

func (f *runFilterFlags) request() client.RunsRequest {
	return client.RunsRequest{
		URL: f.URL, Hosts: f.Host, Paths: f.Path, Labels: f.Label, FlowControlKeys: f.FlowKey, From: f.From.Time, To: f.To.Time,
	}
}

// runStates are what runs can be in, by what people call that.
var runStates = map[string]client.RunState{
	"started": client.RunStarted, "success": client.RunSuccess, "failed": client.RunFailed, "canceled": client.RunCanceled,
}

func stateText(s client.RunState) string {
	return strings.ToLower(strings.TrimPrefix(string(s), "RUN_"))
}

type runsListCmd struct {
	Lines          int    `short:"n" default:"50" placeholder:"N" help:"How many runs (default 50)."`
	State          string `enum:",started,success,failed,canceled" default:"" placeholder:"STATE" help:"Only those in this state: started, success, failed or canceled."`
	runFilterFlags `embed:""`
	JSON           bool `name:"json" help:"Print each run, with its steps, as a line of JSON."`
	remote         `embed:""`
}

func (c *runsListCmd) Run(ctx context.Context, o *outside) error {
	if c.Lines < 0 {
		return &usageError{fmt.Errorf("--lines: expected 0 or more, got %d", c.Lines), ""}
	}
	request := c.request()
	request.State = runStates[c.State]
	return c.use(func(cl *client.Client) error {
		runs, err := firstRuns(ctx, cl, request, c.Lines)
		if err != nil {
			return err
		}
		return writeList(o.stdout, c.JSON, runs, []string{"RUN", "STATE", "STARTED", "TOOK", "STEPS", "AT", "URL"}, func(run *client.Run) []string {
			done, at := standing(run)
			return []string{run.WorkflowRunID, stateText(run.State), nearText(run.CreatedAt, ""), tookText(run), fmt.Sprint(done), at, shownURL(run.WorkflowURL)}
		})
	})
}

func firstRuns(ctx context.Context, cl *client.Client, request client.RunsRequest, n int) (runs []client.Run, err error) {
	if n == 0 {
		return nil, nil
	}
	for run, err := range cl.AllRuns(ctx, request) {
		if err != nil {
			return nil, err
		}
		if runs = append(runs, run); len(runs) == n {
			break
		}
	}
	return runs, nil
}

// standing is how many steps a run has done, and which it is at.
func standing(run *client.Run) (done int, at string) {
	var names []string
	for _, group := range run.Steps {
		for i := range group.Steps {
			s := &group.Steps[i]
			switch {
			case s.StepType == "Initial":
			case s.State == client.StepSuccess:
				done++
			case s.StepName != "":
				names = append(names, s.StepName)
			}
		}
	}
	return done, strings.Join(names, ", ")
}

// tookText is how long a run has taken, so far if it has not ended.
func tookText(run *client.Run) string {
	end := time.Now()
	if run.CompletedAt != 0 {
		end = time.UnixMilli(run.CompletedAt)
	}
	return shortTime(end.Sub(time.UnixMilli(run.CreatedAt)))
}

// shortTime is a length of time in a few characters.
func shortTime(d time.Duration) string {
	switch d = max(0, d); {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return lengthText(d)
}

type runsCancelCmd struct {
	ID             []string `arg:"" optional:"" complete:"run" help:"Ids of runs: wfr_…"`
	URLPrefix      []string `name:"url-prefix" sep:"none" placeholder:"URL" help:"Only of workflows whose URL begins so; may be repeated."`
	runFilterFlags `embed:""`
	bulkFlags      `embed:""`
	JSON           bool `name:"json" help:"Print JSON."`
	remote         `embed:""`
}

func (*runsCancelCmd) Help() string {
	return `Takes ids, or filters, or --all. A step under way goes on, and no other follows it. The failure function is not called.`
}

// cancelRunsPage is how many runs are cancelled in one call.
const cancelRunsPage = 1000

func (c *runsCancelCmd) Run(ctx context.Context, o *outside) error {
	r := c.request()
	request := client.CancelRunsRequest{
		IDs: c.ID, URLPrefixes: c.URLPrefix, All: c.All,
		Filter: client.RunFilter{Hosts: r.Hosts, Paths: r.Paths, Labels: r.Labels, FlowControlKeys: r.FlowControlKeys, From: r.From, To: r.To},
	}
	if c.URL != "" {
		request.Filter.URLs = []string{c.URL}
	}
	filtered := !selectsAll(request.Filter) || len(c.URLPrefix) > 0
	if err := c.check(o, c.ID, filtered, "Cancel all runs that have not ended at "+c.Server+"?"); err != nil {
		return err
	}
	return c.use(func(cl *client.Client) error {
		done := newProgress(o, "Cancelled")
		defer done.end()
		if c.ID == nil {
			request.Count = cancelRunsPage
		}
		for {
			n, err := cl.CancelRuns(ctx, request)
			done.add(n)
			if err != nil {
				return fmt.Errorf("cancelled %d, then: %w", done.count, err)
			}
			if n < cancelRunsPage || c.ID != nil {
				break
			}
		}
		done.end()
		if err := writeCount(o.stdout, c.JSON, "cancelled", done.count); err != nil {
			return err
		}
		return short("cancelled", done.count, c.ID, "the others are unknown, or have ended")
	})
}
