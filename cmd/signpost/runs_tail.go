package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
)

type runsTailCmd struct {
	ID             string `arg:"" optional:"" complete:"run" help:"Id of a run: wfr_… (default all that are under way, or start)"`
	runFilterFlags `embed:""`
	JSON           bool `name:"json" help:"Print each run, with its steps, as a line of JSON whenever it has changed."`
	remote         `embed:""`
}

func (*runsTailCmd) Help() string {
	return `With an id it ends with the run, and the status is 1 if that did not succeed.`
}

const tailPace = 500 * time.Millisecond

func (c *runsTailCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		if c.ID != "" {
			return watchRun(ctx, cl, o, c.ID, c.JSON)
		}
		w, request := newWatcher(o, c.JSON), c.request()
		return watch(ctx, o, func() (bool, error) {
			first := w.since == 0
			err := w.lookAtAll(ctx, cl, request)
			if first && err == nil {
				fmt.Fprintln(o.stderr, "Watching runs.")
			}
			return true, err
		})
	})
}

// watchRun tells what happens in a run, to its end.
func watchRun(ctx context.Context, cl *client.Client, o *outside, id string, asJSON bool) error {
	w := newWatcher(o, asJSON)
	return watch(ctx, o, func() (bool, error) {
		run, err := cl.Run(ctx, id)
		if err != nil {
			return false, err
		}
		if err := w.tell(&run); err != nil || run.CompletedAt == 0 {
			return true, err
		}
		if run.State != client.RunSuccess {
			return false, &verdictError{"the run did not succeed"}
		}
		return false, nil
	})
}

// watch looks again and again. A server that is away for a while is waited for.
func watch(ctx context.Context, o *outside, look func() (more bool, err error)) error {
	tick := time.NewTicker(tailPace)
	defer tick.Stop()
	for away := false; ; {
		more, err := look()
		answered, verdict := (*client.Error)(nil), (*verdictError)(nil)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && !more:
			return nil
		case errors.As(err, &verdict), errors.As(err, &answered) && answered.Status < 500:
			return err
		case err != nil && !away:
			fmt.Fprintf(o.stderr, "signpost: %s; waiting for the server to come back\n", printable(err.Error()))
		}
		away = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// watcher tells what is new of runs.
type watcher struct {
	out   io.Writer
	json  bool
	seen  map[string]string // what was told of a run's parts
	under map[string]int64  // runs under way, with when they started
	since int64             // when watching began, Unix milliseconds
}

func newWatcher(o *outside, asJSON bool) *watcher {
	return &watcher{out: o.stdout, json: asJSON, seen: map[string]string{}, under: map[string]int64{}}
}

func runKey(run *client.Run) string { return fmt.Sprintf("%s@%d", run.WorkflowRunID, run.CreatedAt) }

// lookAtAll tells what is new of the runs under way, and of those that have
// started since.
func (w *watcher) lookAtAll(ctx context.Context, cl *client.Client, request client.RunsRequest) error {
	first, since := w.since == 0, w.since
	if first {
		since = time.Now().UnixMilli()
		request.State = client.RunStarted
	}
	from := since
	for _, started := range w.under {
		from = min(from, started)
	}
	if !first {
		request.From = time.UnixMilli(from)
	}
	var runs []client.Run
	for run, err := range cl.AllRuns(ctx, request) {
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	w.since = since
	for i := len(runs) - 1; i >= 0; i-- {
		run := &runs[i]
		if _, under := w.under[runKey(run)]; !first && !under && run.CreatedAt < w.since {
			continue // ended before
		}
		if err := w.tell(run); err != nil {
			return err
		}
		if run.CompletedAt == 0 {
			w.under[runKey(run)] = run.CreatedAt
		} else {
			delete(w.under, runKey(run))
		}
	}
	return nil
}

// changed says whether a part of a run is not as it was told.
func (w *watcher) changed(part, now string) bool {
	was := w.seen[part]
	w.seen[part] = now
	return was != now
}

// tell tells what is new of a run.
func (w *watcher) tell(run *client.Run) error {
	key := runKey(run)
	if w.json {
		text, err := json.Marshal(run)
		if err != nil || !w.changed(key, string(text)) {
			return err
		}
		_, err = fmt.Fprintf(w.out, "%s\n", text)
		return err
	}
	var lines []string
	add := func(at int64, what ...string) {
		lines = append(lines, fmt.Sprintf("%s  %s  %s", time.UnixMilli(at).Format("15:04:05.000"), run.WorkflowRunID, strings.Join(what, "  ")))
	}
	if w.changed(key, "started") {
		add(run.CreatedAt, fmt.Sprintf("%-8s", "started"), shownURL(run.WorkflowURL))
	}
	for _, group := range run.Steps {
		for i := range group.Steps {
			s := &group.Steps[i]
			if s.StepType == "Initial" || group.Type == client.GroupNext && s.State == client.StepProgress {
				continue
			}
			id := fmt.Sprintf("%s %d %s", key, s.StepID, s.StepName)
			if group.Type == client.GroupNext {
				id = key + " " + s.MessageID
			}
			if now := fmt.Sprint(s.State, len(s.Errors)); w.changed(id, now) {
				at := s.CreatedAt
				if s.State == client.StepSuccess { // of a sleep, which stands in the log from its start
					at = spanOf(s, at, time.Now().UnixMilli()).to
				}
				if n := len(s.Errors); n > 0 {
					at = s.Errors[n-1].Time
				}
				add(at, fmt.Sprintf("%-8s", stepState(s)), strings.TrimSpace(s.StepName+"  "+detail(s)))
			}
		}
	}
	if run.CompletedAt != 0 && w.changed(key+" end", string(run.State)) {
		add(run.CompletedAt, fmt.Sprintf("%-8s", "ended"), strings.TrimSpace(stateText(run.State)+"  "+oneLine(run.Response)))
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(w.out, printable(line)); err != nil {
			return err
		}
	}
	return nil
}
