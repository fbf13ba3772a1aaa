package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/secret"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
)

type runsCheckCmd struct {
	URL        string      `name:"url" required:"" placeholder:"URL" help:"Endpoint of the new build, as it would be called."`
	Of         string      `placeholder:"URL" help:"Runs of the workflow at this URL (default of all workflows at the path of --url)."`
	Label      []string    `placeholder:"LABEL" help:"Only runs with this label; may be repeated."`
	SigningKey secret.Text `from:"QSTASH_CURRENT_SIGNING_KEY" placeholder:"KEY" help:"Key that the endpoint takes (default the server's current one)."`
	Timeout    duration    `default:"30s" placeholder:"TIME" help:"How long the endpoint may take for one run (default 30s)."`
	JSON       bool        `name:"json" help:"Print what came of each run as a line of JSON."`
	remote     `embed:""`
}

func (*runsCheckCmd) Help() string {
	return `Start the new build of a workflow endpoint somewhere, and ask it about the runs that are under way now: it follows the log of
each, without executing a step, and says what it would do next. A run breaks if its steps have other names, types or an other
order there; it would fail after the deployment, so keep the old code for it: see workflow.Version.

The requests are signed and marked. Endpoints of the Go SDK know the mark; those of other SDKs refuse the request, and do nothing.
The code between steps does run. The status is 1 if a run would break, or could not be checked.`
}

// checked is what came of one run.
type checked struct {
	WorkflowRunID string           `json:"workflowRunId"`
	CreatedAt     int64            `json:"workflowRunCreatedAt"`
	Verdict       string           `json:"verdict"` // ok, broken, or unchecked
	Steps         int              `json:"steps"`   // that the function got through
	Next          []wire.CheckStep `json:"next,omitempty"`
	Error         string           `json:"error,omitempty"`
}

const (
	unchecked    = "unchecked" // nobody can tell
	runEnded     = "ended"     // meanwhile: there is nothing to break
	checksAtOnce = 8

	redacted = "REDACTED:" // begins what the server shows of a secret
)

func (c *runsCheckCmd) Run(ctx context.Context, o *outside) error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return &usageError{fmt.Errorf("--url: expected the URL of a workflow endpoint, got %q", c.URL), "such as http://127.0.0.1:3000/api/onboard"}
	}
	request := client.RunsRequest{State: client.RunStarted, Labels: c.Label, URL: c.Of}
	if c.Of == "" {
		request.Paths = []string{cmp.Or(u.EscapedPath(), "/")}
	}
	return c.use(func(cl *client.Client) error {
		key := c.SigningKey.Reveal()
		if key == "" {
			keys, err := cl.Keys(ctx)
			if err != nil {
				return err
			}
			key = keys.Current
		}
		signer, err := receiver.NewSigner(key)
		if err != nil {
			return withHint(err, "--signing-key is one that the endpoint takes, such as sig_…")
		}
		k := &runChecker{client: cl, signer: signer, url: c.URL, http: &http.Client{
			Timeout:       time.Duration(c.Timeout),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the signature is for one URL
		}}
		defer k.http.CloseIdleConnections()
		results, err := k.all(ctx, o, request)
		if err != nil {
			return err
		}
		return c.write(o, results)
	})
}

func (c *runsCheckCmd) write(o *outside, results []checked) error {
	count := map[string]int{}
	for _, r := range results {
		count[r.Verdict]++
	}
	err := writeList(o.stdout, c.JSON, results, []string{"RUN", "STARTED", "VERDICT", "STEPS", "NEXT STEP"}, func(r *checked) []string {
		var next []string
		for _, s := range r.Next {
			next = append(next, s.StepName)
		}
		said := strings.Join(next, ", ")
		if r.Verdict == wire.CheckOK {
			said = cmp.Or(said, "(ends)")
		}
		return []string{r.WorkflowRunID, nearText(r.CreatedAt, ""), r.Verdict, strconv.Itoa(r.Steps), cmp.Or(r.Error, said)}
	})
	if err != nil {
		return err
	}
	if len(results) == 0 {
		fmt.Fprintf(o.stderr, "No run is under way of %s.\n", cmp.Or(c.Of, "a workflow at the path of --url (--of names another)"))
		return nil
	}
	fmt.Fprintf(o.stderr, "%d runs: %d ok, %d broken, %d unchecked\n",
		len(results), len(results)-count[wire.CheckBroken]-count[unchecked], count[wire.CheckBroken], count[unchecked])
	if count[wire.CheckBroken]+count[unchecked] > 0 {
		return &verdictError{"not all runs would go on"}
	}
	return nil
}

// runChecker asks an endpoint about runs.
type runChecker struct {
	client *client.Client
	signer *receiver.Signer
	url    string
	http   *http.Client
}

// all checks all runs that are under way, a few at a time.
func (k *runChecker) all(ctx context.Context, o *outside, request client.RunsRequest) (results []checked, err error) {
	done := newProgress(o, "Checked")
	defer done.end()
	var (
		mu      sync.Mutex
		wait    sync.WaitGroup
		slots   = make(chan struct{}, checksAtOnce)
		runs    []client.Run
		listErr error
	)
	for run, err := range k.client.AllRuns(ctx, request) {
		if err != nil {
			listErr = err
			break
		}
		runs = append(runs, run)
	}
	if listErr != nil {
		return nil, listErr
	}
	results = make([]checked, len(runs))
	for i := range runs {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			r := k.check(ctx, &runs[i])
			mu.Lock()
			defer mu.Unlock()
			results[i] = r
			done.add(1)
		})
	}
	wait.Wait()
	return results, ctx.Err()
}

func (k *runChecker) check(ctx context.Context, run *client.Run) checked {
	out := checked{WorkflowRunID: run.WorkflowRunID, CreatedAt: run.CreatedAt, Verdict: unchecked}
	entries, err := k.client.RunLog(ctx, run.WorkflowRunID)
	if errors.Is(err, client.ErrNotFound) {
		out.Verdict = runEnded
		return out
	}
	if err != nil {
		out.Error = err.Error()
		return out
	}
	report, err := k.ask(ctx, run, entries)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.Verdict, out.Steps, out.Next, out.Error = report.Check, report.Steps, report.Next, report.Error
	return out
}

// ask makes the request as the server makes those of the run, but for the mark.
func (k *runChecker) ask(ctx context.Context, run *client.Run, entries []client.LogEntry) (wire.CheckReport, error) {
	var report wire.CheckReport
	log := make([]wire.LogEntry, len(entries))
	for i, e := range entries {
		log[i] = wire.LogEntry{MessageID: e.MessageID, CallType: wire.CallType(e.CallType), Body: e.Body}
	}
	body, err := json.Marshal(wire.CheckRequest{Log: wire.EncodeLog(nil, log), Waiting: awaited(run, log)})
	if err != nil {
		return report, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url, bytes.NewReader(body))
	if err != nil {
		return report, err
	}
	for _, group := range run.Steps {
		for i := range group.Steps {
			if s := &group.Steps[i]; s.StepType == string(wire.StepInitial) {
				r.Header = s.Headers.Clone()
			}
		}
	}
	for name, values := range r.Header {
		if strings.HasPrefix(strings.Join(values, ""), redacted) {
			return report, fmt.Errorf("header %s of the run is redacted: the endpoint may not let it in without", name)
		}
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", wire.HeaderWorkflowCheck: "true", wire.HeaderRetried: "0",
		wire.HeaderWorkflowSDKVersion: "1", wire.HeaderWorkflowRunID: run.WorkflowRunID, wire.HeaderWorkflowURL: run.WorkflowURL,
		wire.HeaderWorkflowCreatedAt: strconv.FormatInt(run.CreatedAt, 10),
	} {
		r.Header.Set(name, value)
	}
	token, err := k.signer.Sign(receiver.SignOptions{
		URL: k.url, Body: body, Kind: receiver.KindCheck, RunID: run.WorkflowRunID, Header: r.Header,
	})
	if err != nil {
		return report, err
	}
	r.Header.Set(receiver.Header, token)
	answer, err := k.http.Do(r)
	if err != nil {
		return report, err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return report, err
	}
	if err := json.Unmarshal(said, &report); err != nil || answer.StatusCode != http.StatusOK || report.Check == "" {
		return report, fmt.Errorf("the endpoint answered %d: %s", answer.StatusCode, cmp.Or(failure(string(said)), "nothing")+unknowing(answer))
	}
	return report, nil
}

// awaited is the step that a run waits for and that its log does not have: that
// only comes with the result. Nil: there is none. Parallel steps are in the log.
func awaited(run *client.Run, log []wire.LogEntry) *wire.CheckStep {
	if len(run.Steps) == 0 {
		return nil
	}
	group := run.Steps[len(run.Steps)-1]
	if group.Type != client.GroupSequential || len(group.Steps) != 1 || group.Steps[0].StepID == 0 {
		return nil
	}
	for _, e := range log {
		if e.CallType != wire.CallStep {
			continue
		}
		if s, err := wire.ParseStep(e.Body); err == nil && s.StepID >= group.Steps[0].StepID {
			return nil
		}
	}
	return &wire.CheckStep{StepName: group.Steps[0].StepName, StepType: wire.StepType(group.Steps[0].StepType)}
}

// unknowing says what it may be that an answer is none to a check.
func unknowing(answer *http.Response) string {
	switch {
	case answer.StatusCode == http.StatusUnauthorized:
		return " (is --signing-key one that it takes?)"
	case answer.Header.Get(wire.HeaderWorkflowSDKVersion) != "":
		return " (its SDK may know no checks)"
	}
	return ""
}
