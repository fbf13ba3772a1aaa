package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
)

type benchCrashCmd struct {
	Rounds      int      `default:"20" placeholder:"N" help:"How often the server is killed (default 20)."`
	Concurrency int      `short:"c" default:"32" placeholder:"N" help:"Clients that publish at once (default 32)."`
	Runs        int      `default:"8" placeholder:"N" help:"Workflow runs under way at once (default 8)."`
	Steps       int      `default:"5" placeholder:"N" help:"Steps of each run (default 5)."`
	Data        string   `placeholder:"DIR" help:"Data directory of the server (default a temporary one, kept if something is wrong)."`
	Patience    duration `default:"30s" placeholder:"TIME" help:"Give up when nothing happens for so long (default 30s)."`
	JSON        bool     `name:"json" help:"Print JSON."`
}

func (*benchCrashCmd) Help() string {
	return `Publishes messages, some of them delayed, and runs workflows, while the server is killed at random moments (SIGKILL) and
started again on the same data. In the end, every message whose publish was answered has to have arrived, and every run
whose trigger was answered has to have ended with the right result.`
}

type crashReport struct {
	Rounds     int `json:"rounds"`
	Accepted   int `json:"accepted"`   // messages whose publish was answered
	Unanswered int `json:"unanswered"` // publishes cut off: delivered or not
	Lost       int `json:"lost"`       // accepted, not delivered
	Duplicated int `json:"duplicated"` // deliveries beyond the first
	Runs       int `json:"runs"`       // whose trigger was answered
	Torn       int `json:"torn"`       // of those, without the right result
	Repeated   int `json:"repeated"`   // steps executed again
}

func (c *benchCrashCmd) Run(ctx context.Context, o *outside) error {
	if c.Rounds < 1 || c.Concurrency < 1 || c.Runs < 1 || c.Steps < 1 {
		return &usageError{errors.New("expected 1 round, 1 client, 1 run and 1 step at least"), ""}
	}
	dir, own := c.Data, c.Data == ""
	if own {
		var err error
		if dir, err = os.MkdirTemp("", "signpost-crash-"); err != nil {
			return err
		}
	}
	report, err := c.measure(ctx, dir)
	if err != nil {
		return withHint(err, "the data is in "+dir)
	}
	if err := say(o, c.JSON, report); err != nil {
		return withHint(err, "the data is kept in "+dir)
	}
	if own {
		os.RemoveAll(dir)
	}
	return nil
}

func (r *crashReport) verdict() error {
	if r.Lost+r.Torn == 0 {
		return nil
	}
	return fmt.Errorf("%d messages lost, %d runs torn", r.Lost, r.Torn)
}

func (c *benchCrashCmd) measure(ctx context.Context, dir string) (*crashReport, error) {
	port, err := quietPort()
	if err != nil {
		return nil, err
	}
	server, err := startProcess(ctx, dir, port)
	if err != nil {
		return nil, err
	}
	defer func() { server.end(os.Interrupt) }() // the last one
	load, err := c.newLoad(ctx, server.url)
	if err != nil {
		return nil, err
	}
	defer load.stop()

	loadCtx, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	load.start(loadCtx)
	for range c.Rounds {
		load.gate.open()
		if !pause(ctx, 50*time.Millisecond+mathrand.N(500*time.Millisecond)) {
			return nil, ctx.Err()
		}
		server.end(os.Kill)
		load.gate.shut()
		next, err := startProcess(ctx, dir, port)
		if err != nil {
			return nil, err
		}
		server = next
	}
	stopLoad()
	load.workers.Wait()
	return load.settle(ctx, c)
}

// quietPort is a free port that no outgoing connection gets by chance while the
// server is down: those are taken from 32768 on.
func quietPort() (int, error) {
	var ln net.Listener
	err := errors.New("no free port")
	for range 100 {
		port := 20000 + mathrand.IntN(12000)
		if ln, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, ln.Close()
		}
	}
	return 0, err
}

// pause says whether it was left undisturbed.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// gate holds up those who pass while it is shut.
type gate struct {
	mu   sync.Mutex
	pass chan struct{} // closed: open
}

func newGate() *gate { return &gate{pass: make(chan struct{})} }

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.pass)
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass = make(chan struct{})
}

func (g *gate) wait(ctx context.Context) {
	g.mu.Lock()
	pass := g.pass
	g.mu.Unlock()
	select {
	case <-pass:
	case <-ctx.Done():
	}
}

// crashLoad is the load under which a server is killed.
type crashLoad struct {
	publishers, runners int
	client              *client.Client // takes no answer for an answer
	endpoint            *arrivals
	url                 string
	sums                *sums
	gate                *gate
	workers             sync.WaitGroup
	stop                func()

	next       atomic.Int64
	unanswered atomic.Int64
	mu         sync.Mutex
	accepted   []int
	runs       []string
}

func (c *benchCrashCmd) newLoad(ctx context.Context, server string) (*crashLoad, error) {
	l := &crashLoad{publishers: c.Concurrency, runners: c.Runs, endpoint: &arrivals{first: map[int]time.Time{}}, gate: newGate()}
	token := signpost.DevUsers[0].Token
	l.client = client.New(client.Options{URL: server, Token: token, NetworkRetries: -1})
	patient := client.New(client.Options{URL: server, Token: token}) // the workflow endpoint's, as anybody's would be
	url, stop, err := listen(l.endpoint)
	if err != nil {
		return nil, err
	}
	l.url = url
	if l.sums, err = newSums(ctx, patient, c.Steps); err != nil {
		stop()
		return nil, err
	}
	l.stop = func() {
		stop()
		l.sums.stop()
		l.client.CloseIdleConnections()
		patient.CloseIdleConnections()
	}
	return l, nil
}

func (l *crashLoad) start(ctx context.Context) {
	for range l.publishers {
		l.workers.Go(func() {
			for l.gate.wait(ctx); ctx.Err() == nil; l.gate.wait(ctx) {
				l.publish(ctx)
			}
		})
	}
	for range l.runners {
		l.workers.Go(func() {
			for l.gate.wait(ctx); ctx.Err() == nil; l.gate.wait(ctx) {
				l.run(ctx)
			}
		})
	}
}

func (l *crashLoad) publish(ctx context.Context) {
	number := int(l.next.Add(1))
	request := client.PublishRequest{URL: l.url, Body: numbered(number, 100)}
	if number%10 == 0 {
		request.Delay = time.Second
	}
	if _, err := l.client.Publish(ctx, request); err != nil {
		l.unanswered.Add(1)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted = append(l.accepted, number)
}

// run starts a run, which counts from the moment its trigger is answered, and
// waits for its end across crashes.
func (l *crashLoad) run(ctx context.Context) {
	id := "wfr_" + rand.Text()
	ended := l.sums.expect(id)
	defer l.sums.forget(id)
	if err := l.sums.trigger(ctx, l.client, id); err != nil {
		return
	}
	l.mu.Lock()
	l.runs = append(l.runs, id)
	l.mu.Unlock()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// settle waits until the last server has done all there is to do, and counts.
func (l *crashLoad) settle(ctx context.Context, c *benchCrashCmd) (*crashReport, error) {
	patience := time.Duration(c.Patience)
	delivered := func() bool { return l.endpoint.missing(l.accepted) == 0 }
	if err := await(ctx, patience, l.endpoint.count, delivered); err != nil {
		return nil, err
	}
	ended := func() bool {
		page, err := l.client.Runs(ctx, client.RunsRequest{State: client.RunStarted, Count: 1})
		return err == nil && len(page.Runs) == 0
	}
	executed := func() int { return int(l.sums.executed.Load()) }
	if err := await(ctx, patience, executed, ended); err != nil {
		return nil, err
	}
	right, err := l.sums.right(ctx, l.client)
	if err != nil {
		return nil, err
	}
	torn := 0
	for _, id := range l.runs {
		if !right[id] {
			torn++
		}
	}
	return &crashReport{
		Rounds: c.Rounds, Accepted: len(l.accepted), Unanswered: int(l.unanswered.Load()),
		Lost: l.endpoint.missing(l.accepted), Duplicated: l.endpoint.again,
		Runs: len(l.runs), Torn: torn, Repeated: executed() - len(right)*c.Steps,
	}, nil
}

func (r *crashReport) write(w io.Writer) {
	fmt.Fprintf(w, "killed       %8d times\n", r.Rounds)
	fmt.Fprintf(w, "messages     %8d accepted, %d publishes without an answer\n", r.Accepted, r.Unanswered)
	fmt.Fprintf(w, "lost         %8d\nduplicated   %8d\n", r.Lost, r.Duplicated)
	fmt.Fprintf(w, "runs         %8d accepted\n", r.Runs)
	fmt.Fprintf(w, "torn         %8d\nrepeated     %8d steps\n", r.Torn, r.Repeated)
}
