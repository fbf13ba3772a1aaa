package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
)

// resumeFlags are for failed runs that are to go on, or to start over.
type resumeFlags struct {
	ID        []string `arg:"" optional:"" complete:"run" help:"Ids of failed runs, such as wfr_…, or their DLQ ids."`
	URL       []string `name:"url" sep:"none" placeholder:"URL" help:"Only of the workflow at this URL; may be repeated."`
	Label     []string `placeholder:"LABEL" help:"Only with this label; may be repeated."`
	From      past     `placeholder:"TIME" help:"Only failed from this time on: RFC 3339, Unix seconds, or how long ago, such as 2h."`
	To        past     `placeholder:"TIME" help:"Only failed up to this time."`
	bulkFlags `embed:""`
	Set       runSettings `embed:"" prefix:"set-" group:"change"`
	JSON      bool        `name:"json" help:"Print each new run as a line of JSON."`
	remote    `embed:""`
}

// runSettings are what a new run does otherwise than the one that failed.
type runSettings struct {
	Payload         edit     `placeholder:"TEXT" help:"Payload it is started with: text, @file, or - for standard input. One run only."`
	Header          headers  `short:"H" sep:"none" placeholder:"'K: V'" help:"Header that its endpoint sees on every call; may be repeated."`
	Delay           duration `placeholder:"TIME" help:"Wait before it goes on, such as 30s, 1.5h or 7d."`
	Retries         *int     `placeholder:"N" help:"Attempts of each call after the first."`
	RetryDelay      string   `placeholder:"EXPR" help:"Milliseconds before each retry, such as '1000 * (1 + retried)'."`
	Label           []string `placeholder:"LABEL" help:"Label in place of those it had; may be repeated."`
	FlowKey         string   `placeholder:"KEY" complete:"flow" help:"Key of flow control, with --set-flow-rate or --set-flow-parallelism."`
	FlowRate        int      `placeholder:"N" help:"Calls in each period, of all runs with the key."`
	FlowPeriod      duration `placeholder:"TIME" help:"The period (default 1s)."`
	FlowParallelism int      `placeholder:"N" help:"Calls at once, of all runs with the key."`
}

// edit is a text that may be there and empty.
type edit struct {
	given bool
	body
}

func (e *edit) UnmarshalText(text []byte) error {
	e.given, e.body = true, body(text)
	return nil
}

func (s *runSettings) override() (client.RunOverride, error) {
	header, err := s.Header.parse()
	return client.RunOverride{
		Delay: time.Duration(s.Delay), Retries: s.Retries, RetryDelay: s.RetryDelay, Labels: s.Label, Header: header,
		FlowControl: flowControl(s.FlowKey, s.FlowRate, s.FlowPeriod, s.FlowParallelism),
	}, err
}

type runsResumeCmd struct {
	resumeFlags `embed:""`
	Step        []string `name:"set-step" sep:"none" group:"change" placeholder:"STEP=JSON" help:"Result that a step is to have had, by its number or name, such as 3='{\"ok\":true}', or pay=@file; may be repeated. One run only."`
	Failed      string   `name:"set-failed" group:"change" placeholder:"NAME=JSON" help:"Result for the step that the run failed at, which is then not executed, with the step's name as it is in the code. One run only."`
}

func (*runsResumeCmd) Help() string {
	return `Takes ids, or filters, or --all, and prints the id of each new run. Steps that have a result keep it, and are not run again; the
one that failed is, and what comes after it. With --set-step or --set-payload the run goes on from another past, with --set-failed
over what it could not do; the audit log keeps what was changed. Of parallel steps --set-step also sets those that failed.`
}

func (c *runsResumeCmd) Run(ctx context.Context, o *outside) error {
	steps, err := c.steps(o)
	if err != nil {
		return err
	}
	return c.run(ctx, o, "Resumed", steps, (*client.Client).ResumeRun, (*client.Client).ResumeAllRuns)
}

// stepEdit is another result for a step, by its number or name.
type stepEdit struct {
	step   string
	out    json.RawMessage
	failed bool // the one that the run failed at, which has no number yet
}

func (c *runsResumeCmd) steps(o *outside) (steps []stepEdit, err error) {
	for _, s := range c.Step {
		edit, err := readStepEdit(o, "--set-step", s)
		if err != nil {
			return nil, err
		}
		steps = append(steps, edit)
	}
	if c.Failed != "" {
		edit, err := readStepEdit(o, "--set-failed", c.Failed)
		if err != nil {
			return nil, err
		}
		edit.failed = true
		steps = append(steps, edit)
	}
	return steps, nil
}

func readStepEdit(o *outside, flag, text string) (stepEdit, error) {
	step, value, ok := strings.Cut(text, "=")
	if step = strings.TrimSpace(step); step == "" || !ok {
		return stepEdit{}, &usageError{fmt.Errorf("%s %q: expected a step and its result, such as 3=true", flag, text), `"signpost runs show" has numbers and names of steps`}
	}
	out, err := body(value).read(o.stdin)
	if err != nil {
		return stepEdit{}, err
	}
	if !json.Valid(out) {
		return stepEdit{}, &usageError{fmt.Errorf("%s %s: the result is not JSON", flag, step), fmt.Sprintf(`a text is quoted: %s '%s="text"'`, flag, step)}
	}
	return stepEdit{step: step, out: out}, nil
}

// numberedEdits finds the steps of a run that edits name.
func numberedEdits(ctx context.Context, cl *client.Client, runID string, edits []stepEdit) (out []client.StepEdit, err error) {
	var run client.Run
	for _, e := range edits {
		edit := client.StepEdit{Out: e.out}
		if edit.StepID, err = strconv.Atoi(e.step); err != nil || e.failed {
			if run.WorkflowRunID == "" {
				if run, err = cl.Run(ctx, runID); err != nil {
					return nil, err
				}
			}
			if e.failed {
				edit.StepID, edit.StepName = lastStep(&run)+1, e.step
			} else if edit.StepID, err = stepNumber(&run, e.step); err != nil {
				return nil, err
			}
		}
		out = append(out, edit)
	}
	return out, nil
}

// lastStep is the greatest number of a step.
func lastStep(run *client.Run) (last int) {
	for _, group := range run.Steps {
		for i := range group.Steps {
			last = max(last, group.Steps[i].StepID)
		}
	}
	return last
}

func stepNumber(run *client.Run, name string) (n int, err error) {
	for _, group := range run.Steps {
		for i := range group.Steps {
			switch s := &group.Steps[i]; {
			case s.StepName != name || s.StepID == 0:
			case n != 0:
				return 0, withHint(fmt.Errorf("run %s has several steps %q", run.WorkflowRunID, name), `name it by its number, which "signpost runs show" has`)
			default:
				n = s.StepID
			}
		}
	}
	if n == 0 {
		err = withHint(fmt.Errorf("run %s has no step %q in its log", run.WorkflowRunID, name), fmt.Sprintf("\"signpost runs show %s\" has its steps; --set-failed is for the one that it failed at", run.WorkflowRunID))
	}
	return n, err
}

type runsRestartCmd struct {
	resumeFlags `embed:""`
}

func (*runsRestartCmd) Help() string {
	return `Takes ids, or filters, or --all, and prints the id of each new run. It begins from the start, with the payload, headers and
settings of the one that failed.`
}

func (c *runsRestartCmd) Run(ctx context.Context, o *outside) error {
	return c.run(ctx, o, "Restarted", nil, (*client.Client).RestartRun, (*client.Client).RestartAllRuns)
}

type (
	goOn    func(*client.Client, context.Context, string, client.ResumeOptions) (client.RunRef, error)
	goOnAll func(*client.Client, context.Context, client.ResumeRequest) iter.Seq2[client.RunRef, error]
)

func (c *resumeFlags) run(ctx context.Context, o *outside, done string, steps []stepEdit, one goOn, all goOnAll) error {
	filter := client.RunDLQFilter{URLs: c.URL, Labels: c.Label, From: c.From.Time, To: c.To.Time}
	if err := c.check(o, c.ID, !selectsAll(filter), "Is that meant for all failed runs at "+c.Server+"?"); err != nil {
		return err
	}
	var change client.RunEdit
	edited := c.Set.Payload.given || len(steps) > 0
	if edited && len(c.ID) != 1 {
		return &usageError{errors.New("--set-payload and --set-step are for one run: expected one id"), ""}
	}
	if c.Set.Payload.given {
		text, err := c.Set.Payload.read(o.stdin)
		if err != nil {
			return err
		}
		if change.Payload, err = json.Marshal(string(text)); err != nil {
			return err
		}
	}
	override, err := c.Set.override()
	if err != nil {
		return err
	}
	return c.use(func(cl *client.Client) error {
		ids, err := dlqIDs(ctx, cl, c.ID)
		if err != nil {
			return err
		}
		progress := newProgress(o, done)
		defer progress.end()
		if edited {
			if change.Steps, err = numberedEdits(ctx, cl, c.ID[0], steps); err != nil {
				return err
			}
			ref, err := one(cl, ctx, ids[0], client.ResumeOptions{Override: override, Edit: change})
			if err != nil {
				return err
			}
			return c.tell(o.stdout, &ref)
		}
		request := client.ResumeRequest{RunDLQSelection: client.RunDLQSelection{IDs: ids, Filter: filter, All: c.All}, Override: override}
		for ref, err := range all(cl, ctx, request) {
			if err != nil {
				return fmt.Errorf("%s %d, then: %w", strings.ToLower(done), progress.count, err)
			}
			if err := c.tell(o.stdout, &ref); err != nil {
				return err
			}
			progress.add(1)
		}
		progress.end()
		fmt.Fprintf(o.stderr, "%s %d.\n", done, progress.count)
		return short(done, progress.count, c.ID, "the others are not in the dead-letter queue any more")
	})
}

func (c *resumeFlags) tell(w io.Writer, ref *client.RunRef) (err error) {
	if c.JSON {
		return json.NewEncoder(w).Encode(ref)
	}
	_, err = fmt.Fprintln(w, ref.WorkflowRunID)
	return err
}

// dlqID is what ids of the dead-letter queue look like: others are those of runs,
// which whoever starts a run may choose.
var dlqID = regexp.MustCompile(`^\d+-\d+$`)

// dlqIDs are ids with those of runs replaced by where these are in the
// dead-letter queue.
func dlqIDs(ctx context.Context, cl *client.Client, ids []string) (out []string, err error) {
	for _, id := range ids {
		if !dlqID.MatchString(id) {
			run, err := cl.Run(ctx, id)
			if err != nil {
				return nil, err
			}
			if run.DLQID == "" {
				return nil, withHint(fmt.Errorf("run %s has not failed: its state is %s", id, stateText(run.State)), `"signpost runs list --state failed" has those that did`)
			}
			if run.Successor != nil {
				next := run.Successor.WorkflowRunID
				return nil, withHint(fmt.Errorf("run %s went on as %s already", id, next), fmt.Sprintf("\"signpost runs show %s\" says how that went", next))
			}
			id = run.DLQID
		}
		out = append(out, id)
	}
	return out, nil
}
