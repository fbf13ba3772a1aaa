// Demo shows a secured workflow endpoint at work: it starts a development
// server on a SQLite file of its own and the endpoint of examples/onboarding,
// follows three runs step by step, and then attacks the endpoint.
//
//	go run ./examples/demo -signpost bin/signpost -onboarding bin/onboarding
//
// It ends with status 0 if everything went as it should, and leaves nothing
// behind. "make demo" builds what it needs.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/signposthq/signpost/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, isTerminal(os.Stdout)); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// most is how long all of it may take.
const most = time.Minute

func run(ctx context.Context, args []string, out io.Writer, colours bool) (err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	signpost := flags.String("signpost", "bin/signpost", "the server's binary")
	onboarding := flags.String("onboarding", "bin/onboarding", "the endpoint's binary")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	d := &demo{screen: screen{out, colours}, secret: rand.Text()}
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.start(ctx, *signpost, *onboarding); err != nil {
		return err
	}
	for _, scene := range []func(context.Context) error{d.success, d.failure, d.stranger, d.attacks} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	d.say("\nExplain any refusal: signpost verify --url … --body … --signature …")
	return nil
}

type demo struct {
	screen
	secret             string // that starts runs
	dir                string
	server, onboarding *process
	client             *client.Client
	keys               client.SigningKeys
	endpoint           string
}

func (d *demo) start(ctx context.Context, signpost, onboarding string) (err error) {
	if d.dir, err = os.MkdirTemp("", "signpost-demo-"); err != nil {
		return err
	}
	d.title("A server, and an endpoint that trusts nobody else")
	data := filepath.Join(d.dir, "data")
	d.server, err = startProcess(ctx, signpost, nil, "dev", "--port", "0", "--data", data)
	if err != nil {
		return err
	}
	if _, err := d.server.await(ctx, `(?m)^Data is kept in .*$`); err != nil {
		return err
	}
	variables := d.server.exports()
	d.client = client.New(client.Options{URL: variables["QSTASH_URL"], Token: variables["QSTASH_TOKEN"]})
	if d.keys, err = d.client.Keys(ctx); err != nil {
		return err
	}
	variables["ONBOARDING_TOKEN"] = d.secret
	d.onboarding, err = startProcess(ctx, onboarding, variables, "-listen", "127.0.0.1:0", "-pause", "1s")
	if err != nil {
		return err
	}
	served, err := d.onboarding.await(ctx, `(?m)^onboarding is served at (\S+)$`)
	if err != nil {
		return err
	}
	d.endpoint = served[1]
	d.say("  signpost dev         %s, SQLite in %s", variables["QSTASH_URL"], data)
	d.say("  examples/onboarding  %s", d.endpoint)
	return nil
}

// stop ends what was started; whatever does not end well is an error.
func (d *demo) stop() error {
	var errs []error
	for _, p := range []*process{d.onboarding, d.server} {
		if p != nil {
			errs = append(errs, p.stop())
		}
	}
	if d.client != nil {
		d.client.CloseIdleConnections()
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

func (d *demo) success(ctx context.Context) error {
	d.title("A run: each step is executed once, and remembered")
	r, err := d.follow(ctx, d.secret, `{"email":"ada@example.com"}`)
	if err != nil {
		return err
	}
	d.say("  %s  %s", d.state(string(r.State)), r.Response)
	if r.State != client.RunSuccess || !strings.Contains(r.Response, "ada@example.com") {
		return fmt.Errorf("the run ended as %s with %q", r.State, r.Response)
	}
	return nil
}

func (d *demo) failure(ctx context.Context) error {
	d.title("A run that fails, and its failure function")
	r, err := d.follow(ctx, d.secret, `{"email":"bob@example.com","fail":true}`)
	if err != nil {
		return err
	}
	if err := d.ended(r, "cannot be created"); err != nil {
		return err
	}
	for r.FailureFunction == nil || r.FailureFunction.State == client.CallbackInProgress {
		if err := pause(ctx); err != nil {
			return fmt.Errorf("wait for the failure function: %w", err)
		}
		if r, err = d.client.Run(ctx, r.WorkflowRunID); err != nil {
			return err
		}
	}
	f := r.FailureFunction
	d.say("  %s  %s  %s", d.state(string(f.State)), d.faint(f.MessageID), f.ResponseBody)
	if f.State != client.CallbackSuccess || d.cleanUps() != 1 {
		return fmt.Errorf("the failure function ended as %s, having cleaned up %d times", f.State, d.cleanUps())
	}
	return nil
}

// stranger starts a run without the token that the endpoint asks for.
func (d *demo) stranger(ctx context.Context) error {
	d.title("A run whose Authorization is wrong: nothing is executed")
	r, err := d.follow(ctx, "guess", `{"email":"eve@example.com"}`)
	if err != nil {
		return err
	}
	if err := d.ended(r, "wrong Authorization"); err != nil {
		return err
	}
	return d.untouched()
}

// ended checks that a run has failed for a reason, and says so.
func (d *demo) ended(r client.Run, reason string) error {
	said := ""
	for _, g := range r.Steps {
		for _, s := range g.Steps {
			for _, e := range s.Errors {
				said = fmt.Sprintf("%d %s", e.Status, message(e.Body))
			}
		}
	}
	d.say("  %s  %s", d.state(string(r.State)), said)
	if r.State != client.RunFailed || !strings.Contains(said, reason) {
		return fmt.Errorf("the run ended as %s, because: %s", r.State, said)
	}
	return nil
}

// cleanUps is how often the failure function has done its work.
func (d *demo) cleanUps() int { return strings.Count(d.onboarding.output(), "clean up after") }

// untouched makes sure that nothing was done for eve.
func (d *demo) untouched() error {
	if said := d.onboarding.output(); strings.Contains(said, "eve@example.com") || d.cleanUps() != 1 {
		return fmt.Errorf("the endpoint has done something:\n%s", said)
	}
	return nil
}

// follow starts a run and shows each step as it happens.
func (d *demo) follow(ctx context.Context, token, payload string) (client.Run, error) {
	begin := time.Now()
	t, err := d.client.Trigger(ctx, client.TriggerRequest{
		URL: d.endpoint, Body: []byte(payload), Header: http.Header{"Authorization": {"Bearer " + token}},
		Retries: new(0), // nobody wants to watch the backoff
	})
	if err != nil {
		return client.Run{}, err
	}
	d.say("  %s  %s", t.WorkflowRunID, d.faint(payload))
	shown := map[string]bool{}
	for {
		r, err := d.client.Run(ctx, t.WorkflowRunID)
		if err != nil && !errors.Is(err, client.ErrNotFound) {
			return r, err
		}
		d.showSteps(r, shown, time.Since(begin))
		if err == nil && r.State != client.RunStarted {
			return r, nil
		}
		if err := pause(ctx); err != nil {
			return r, fmt.Errorf("wait for run %s: %w", t.WorkflowRunID, err)
		}
	}
}

// showSteps prints what has changed since the last time.
func (d *demo) showSteps(r client.Run, shown map[string]bool, at time.Duration) {
	for _, g := range r.Steps {
		for _, s := range g.Steps {
			kind, name := s.StepType, s.StepName
			switch {
			case g.Type == client.GroupNext && s.State == client.StepProgress:
				continue // the endpoint is being called; what for is known when it answers
			case g.Type == client.GroupNext:
				kind = "Run"
			case g.Type == client.GroupParallel:
				name += " (parallel)"
			}
			if name == "" {
				name = "(before its first step)"
			}
			line := fmt.Sprintf("%-9s %-28s %s  %s", kind, name, d.state(string(s.State)), d.faint(s.MessageID))
			if shown[line] {
				continue
			}
			shown[line] = true
			d.say("  %5.2fs  %s", at.Seconds(), line)
		}
	}
}

// pause waits a moment before the next look.
func pause(ctx context.Context) error {
	t := time.NewTimer(15 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
