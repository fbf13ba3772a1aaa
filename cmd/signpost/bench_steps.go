package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

type benchStepsCmd struct {
	Runs        int `short:"n" default:"2000" placeholder:"N" help:"Workflow runs (default 2000)."`
	Steps       int `default:"10" placeholder:"N" help:"Steps of each run (default 10)."`
	Concurrency int `short:"c" default:"64" placeholder:"N" help:"Runs under way at once (default 64)."`
	benched     `embed:""`
}

func (*benchStepsCmd) Help() string {
	return `Runs a workflow in this process whose steps do nothing, one after the other. Every request of the server is verified.`
}

type stepsReport struct {
	Runs           int      `json:"runs"`
	Steps          int      `json:"stepsPerRun"`
	Concurrency    int      `json:"concurrency"`
	RunsPerSecond  float64  `json:"runsPerSecond"`
	StepsPerSecond float64  `json:"stepsPerSecond"`
	RunP50         float64  `json:"runP50Ms"`
	RunP99         float64  `json:"runP99Ms"`
	CPUPerStep     *float64 `json:"serverCpuMicrosPerStep,omitempty"`
	Failed         int      `json:"failed"`   // runs without the right result
	Repeated       int      `json:"repeated"` // steps executed again
}

func (c *benchStepsCmd) Run(ctx context.Context, o *outside) error {
	if c.Runs < 1 || c.Steps < 1 || c.Concurrency < 1 {
		return &usageError{errors.New("expected 1 run, 1 step and 1 at once at least"), ""}
	}
	return benchmark(ctx, o, &c.benched, 2*c.Concurrency, c.measure)
}

func (c *benchStepsCmd) measure(ctx context.Context) (*stepsReport, error) {
	sums, err := newSums(ctx, c.client, c.Steps)
	if err != nil {
		return nil, err
	}
	defer sums.stop()

	cpu, begin := c.cpu(), time.Now()
	ids, took, err := c.trigger(ctx, sums)
	if err != nil {
		return nil, err
	}
	all := time.Since(begin)
	cpu = c.cpu() - cpu

	right, err := sums.right(ctx, c.client)
	if err != nil {
		return nil, err
	}
	failed := 0
	for _, id := range ids {
		if !right[id] {
			failed++
		}
	}
	return &stepsReport{
		Runs: c.Runs, Steps: c.Steps, Concurrency: c.Concurrency,
		RunsPerSecond: perSecond(c.Runs-failed, all), StepsPerSecond: perSecond((c.Runs-failed)*c.Steps, all),
		RunP50: percentile(took, 0.5), RunP99: percentile(took, 0.99),
		CPUPerStep: perItem(cpu, c.Runs*c.Steps),
		Failed:     failed, Repeated: int(sums.executed.Load()) - c.Runs*c.Steps,
	}, nil
}

// trigger starts all runs, a new one when one has ended, and says how long each
// took. The first error ends it.
func (c *benchStepsCmd) trigger(ctx context.Context, sums *sums) (ids []string, took []time.Duration, err error) {
	ids, took = make([]string, c.Runs), make([]time.Duration, c.Runs)
	err = each(ctx, c.Concurrency, c.Runs, func(ctx context.Context, i int) error {
		ids[i] = "wfr_" + rand.Text()
		begin := time.Now()
		err := sums.run(ctx, c.client, ids[i], time.Duration(c.Patience))
		took[i] = time.Since(begin)
		return err
	})
	return ids, took, err
}

func (r *stepsReport) verdict() error {
	if r.Failed == 0 {
		return nil
	}
	return withHint(fmt.Errorf("%d runs did not end as they should", r.Failed), "raise --patience if the server was still at it")
}

func (r *stepsReport) write(w io.Writer) {
	fmt.Fprintf(w, "runs         %8d of %d steps, %d at once\n", r.Runs, r.Steps, r.Concurrency)
	fmt.Fprintf(w, "runs         %8.0f /s\n", r.RunsPerSecond)
	fmt.Fprintf(w, "steps        %8.0f /s\n", r.StepsPerSecond)
	fmt.Fprintf(w, "run          %8.1f ms p50 %8.1f ms p99\n", r.RunP50, r.RunP99)
	writeCPU(w, r.CPUPerStep, "step")
	fmt.Fprintf(w, "failed       %8d\nrepeated     %8d\n", r.Failed, r.Repeated)
}

// sums is a workflow endpoint: a run of it has the sum of its steps' results as
// its own, so that a step that is missing or out of place shows.
type sums struct {
	url      string
	stop     func()
	steps    int
	executed atomic.Int64
	endpoint *workflow.Endpoint

	mu      sync.Mutex
	waiting map[string]chan struct{} // see expect
}

func newSums(ctx context.Context, c *client.Client, steps int) (*sums, error) {
	keys, err := c.Keys(ctx)
	if err != nil {
		return nil, err
	}
	s := &sums{steps: steps, waiting: map[string]chan struct{}{}}
	if s.url, s.stop, err = listen(s); err != nil {
		return nil, err
	}
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: keys.Current, NextSigningKey: keys.Next, Development: true})
	if err == nil {
		s.endpoint, err = workflow.Serve(s.sum, &workflow.Options{
			Client: c, Receiver: rc, BaseURL: s.url, Logger: slog.New(slog.DiscardHandler),
		})
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *sums) sum(ctx *workflow.Context, _ struct{}) (int, error) {
	sum := 0
	for i := range s.steps {
		v, err := workflow.Run(ctx, "step "+strconv.Itoa(i+1), func(context.Context) (int, error) {
			s.executed.Add(1)
			return i + 1, nil
		})
		if err != nil {
			return 0, err
		}
		sum += v
	}
	if returned, ok := ctx.Value(returnedKey{}).(*string); ok {
		*returned = ctx.RunID
	}
	return sum, nil
}

// returnedKey is where in its context a call notes the run it has ended. (The
// call before may still be under way, and must not take it for its own doing.)
type returnedKey struct{}

func (s *sums) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var id string
	s.endpoint.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), returnedKey{}, &id)))
	s.mu.Lock()
	defer s.mu.Unlock()
	if ended := s.waiting[id]; ended != nil {
		close(ended)
		delete(s.waiting, id)
	}
}

// run starts a run and waits for its end, patience at most.
func (s *sums) run(ctx context.Context, c *client.Client, id string, patience time.Duration) error {
	ended := s.expect(id)
	defer s.forget(id)
	if err := s.trigger(ctx, c, id); err != nil {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// expect is closed when the run with this id has ended.
func (s *sums) expect(id string) <-chan struct{} {
	ended := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[id] = ended
	return ended
}

func (s *sums) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, id)
}

func (s *sums) trigger(ctx context.Context, c *client.Client, id string) error {
	retries := 10
	_, err := c.Trigger(ctx, client.TriggerRequest{URL: s.url, RunID: id, Retries: &retries, RetryDelay: "100"})
	return err
}

// right are the runs that the server knows to have ended with the right result.
func (s *sums) right(ctx context.Context, c *client.Client) (map[string]bool, error) {
	want := strconv.Itoa(s.steps * (s.steps + 1) / 2)
	out := map[string]bool{}
	for run, err := range c.AllRuns(ctx, client.RunsRequest{URL: s.url, State: client.RunSuccess}) {
		if err != nil {
			return nil, err
		}
		if run.Response == want {
			out[run.WorkflowRunID] = true
		}
	}
	return out, nil
}
