package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signposthq/signpost/client"
)

type benchHostileCmd struct {
	HalfOpen    int      `default:"5000" placeholder:"N" help:"Connections that are kept half-open (default 5000)."`
	Concurrency int      `short:"c" default:"32" placeholder:"N" help:"Clients that publish at once (default 32)."`
	Time        duration `default:"15s" placeholder:"TIME" help:"How long to publish, first in peace and then under siege (default 15s)."`
	MaxP99      float64  `name:"max-p99" default:"50" placeholder:"MS" help:"Fail if publish p99 under siege is not below this, in milliseconds (default 50)."`
	Endpoints   int      `default:"1000" placeholder:"N" help:"Endpoints that answer at once; 0 measures no memory (default 1000)."`
	MaxGrowth   float64  `default:"32" placeholder:"MIB" help:"Fail if hostile endpoints make the server grow by more than this over silent ones, in MiB (default 32)."`
	Kind        []string `placeholder:"NAME" help:"Kinds of hostile endpoints, by the beginning of their names (default all)."`
	benched     `embed:""`

	progress io.Writer
}

func (*benchHostileCmd) Help() string {
	return `Keeps connections open on which requests never end: nothing sent, half a line, half a header, half a body, or a byte
each second. Those that the server closes are opened again. Meanwhile others publish, as fast as they are answered.
This process and the server have two files open for each of them: raise "ulimit -n" where that is too few.
Then servers of their own deliver messages, without callbacks and with, to endpoints of one kind each that all answer at
once: first to silent ones, then to hostile ones. Reported is what the second needs of memory that the first did not.`
}

type hostileReport struct {
	HalfOpen    int      `json:"halfOpen"`
	Held        int      `json:"held"`   // on average, while others published
	Opened      int      `json:"opened"` // again and again, all in all
	Concurrency int      `json:"concurrency"`
	Peace       latency  `json:"peace"`
	Siege       latency  `json:"siege"`
	Endpoints   int      `json:"endpoints"`
	Growth      []growth `json:"growth"`

	maxP99, maxGrowth float64
}

// latency is how long publishing took, in milliseconds.
type latency struct {
	Publishes int     `json:"publishes"`
	P50       float64 `json:"p50Ms"`
	P99       float64 `json:"p99Ms"`
	Most      float64 `json:"maxMs"`
}

func (c *benchHostileCmd) Run(ctx context.Context, o *outside) error {
	if c.HalfOpen < 1 || c.Concurrency < 1 || c.Time <= 0 || c.Endpoints < 0 {
		return &usageError{fmt.Errorf("expected 1 connection, 1 client and some time at least"), ""}
	}
	c.progress = o.stderr // it takes its time
	return benchmark(ctx, o, &c.benched, c.Concurrency, c.measure)
}

func (r *hostileReport) verdict() error {
	if r.Siege.P99 >= r.maxP99 {
		return withHint(fmt.Errorf("publish p99 is %.1f ms under siege, expected less than %.1f ms", r.Siege.P99, r.maxP99),
			"compare with the p99 in peace: this machine may be busy with something else")
	}
	for _, g := range r.Growth {
		if g.MiB > r.maxGrowth {
			return fmt.Errorf("%s: the server grew by %.1f MiB, expected %.1f MiB at most", g, g.MiB, r.maxGrowth)
		}
	}
	return nil
}

func (c *benchHostileCmd) measure(ctx context.Context) (*hostileReport, error) {
	report := &hostileReport{
		HalfOpen: c.HalfOpen, Concurrency: c.Concurrency, Endpoints: c.Endpoints, maxP99: c.MaxP99, maxGrowth: c.MaxGrowth,
	}
	err := c.besiege(ctx, report)
	if err == nil && c.Endpoints > 0 && c.process != nil {
		report.Growth, err = c.bomb(ctx)
	}
	return report, err
}

// besiege publishes in peace and under siege.
func (c *benchHostileCmd) besiege(ctx context.Context, report *hostileReport) error {
	url, stop, err := listen(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if err != nil {
		return err
	}
	defer stop()
	if report.Peace, err = c.publish(ctx, url); err != nil {
		return err
	}
	s := &siege{addr: strings.TrimPrefix(c.Server, "http://"), token: c.Token}
	lift := s.lay(ctx, c.HalfOpen)
	defer lift()
	if err := s.complete(ctx, c.HalfOpen, time.Duration(c.Patience)); err != nil {
		return err
	}
	count := s.average(ctx)
	report.Siege, err = c.publish(ctx, url)
	report.Held, report.Opened = count(), int(s.opened.Load())
	return err
}

// publish publishes for the time of the benchmark.
func (c *benchHostileCmd) publish(ctx context.Context, url string) (latency, error) {
	end := time.Now().Add(time.Duration(c.Time))
	var mu sync.Mutex
	var all []time.Duration
	err := together(ctx, c.Concurrency, func(ctx context.Context) error {
		var took []time.Duration
		for began := time.Now(); began.Before(end); began = time.Now() {
			if _, err := c.client.Publish(ctx, client.PublishRequest{URL: url, Body: []byte("hello")}); err != nil {
				return err
			}
			took = append(took, time.Since(began))
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, took...)
		return nil
	})
	return latency{len(all), percentile(all, 0.5), percentile(all, 0.99), percentile(all, 1)}, err
}

func (r *hostileReport) write(w io.Writer) {
	fmt.Fprintf(w, "half-open    %8d connections, %d of them held on average, opened %d times\n", r.HalfOpen, r.Held, r.Opened)
	for _, l := range []struct {
		name string
		latency
	}{{"in peace", r.Peace}, {"under siege", r.Siege}} {
		fmt.Fprintf(w, "%-12s %8.1f ms p50 %8.1f ms p99 %8.1f ms max of %d publishes, %d at once\n",
			l.name, l.P50, l.P99, l.Most, l.Publishes, r.Concurrency)
	}
	if len(r.Growth) > 0 {
		fmt.Fprintf(w, "memory, of %d hostile endpoints at once over as many silent ones; the limit is %.0f MiB:\n", r.Endpoints, r.maxGrowth)
	}
	for _, g := range r.Growth {
		g.write(w)
	}
}

// siege is connections whose requests never end.
type siege struct {
	addr, token  string
	open, opened atomic.Int64
	failed       atomic.Pointer[error]
}

// lay opens n connections, and opens anew what the server closes, until lift.
func (s *siege) lay(ctx context.Context, n int) (lift func()) {
	ctx, cancel := context.WithCancel(ctx)
	const atOnce = 100 // connections being opened, so as not to overrun the queue of the listener
	dials := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for ctx.Err() == nil {
				s.hold(ctx, i, dials)
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// hold keeps one connection until the server closes it.
func (s *siege) hold(ctx context.Context, i int, dials chan struct{}) {
	dials <- struct{}{}
	conn, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", s.addr)
	<-dials
	if err != nil {
		if ctx.Err() == nil {
			s.failed.Store(&err)
		}
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s.opened.Add(1)
	s.open.Add(1)
	defer s.open.Add(-1)
	start, drip := s.beginning(i)
	io.WriteString(conn, start) // an error shows below
	if drip {
		stop := make(chan struct{})
		defer close(stop)
		go trickle(conn, stop)
	}
	io.Copy(io.Discard, conn)
}

// beginning is what is sent at once, and whether a byte follows each second.
func (s *siege) beginning(i int) (start string, drip bool) {
	const head = "POST /v2/publish/http://127.0.0.1:1/ HTTP/1.1\r\nHost: localhost\r\n"
	body := "Content-Length: 1000\r\n\r\n{"
	all := []string{"", head[:20], head + "X-Half: ", head + body, head + "Authorization: Bearer " + s.token + "\r\n" + body}
	return all[i%len(all)], i/len(all)%2 == 1
}

func trickle(conn net.Conn, stop chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			if _, err := io.WriteString(conn, "a"); err != nil {
				return
			}
		}
	}
}

// complete waits until nearly all connections are open: some always are being
// opened anew.
func (s *siege) complete(ctx context.Context, n int, patience time.Duration) error {
	enough := int64(n - n/20)
	err := await(ctx, patience, func() int { return int(s.opened.Load()) }, func() bool { return s.open.Load() >= enough })
	if err != nil || s.open.Load() >= enough {
		return err
	}
	cause := fmt.Errorf("only %d of %d connections could be opened", s.open.Load(), n)
	if failed := s.failed.Load(); failed != nil {
		cause = fmt.Errorf("%w: %w", cause, *failed)
	}
	return withHint(cause, `raise "ulimit -n", or lower --half-open`)
}

// average starts to count the open connections; call what it returns to end.
func (s *siege) average(ctx context.Context) (count func() int) {
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan int)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		sum, n := s.open.Load(), int64(1)
		for {
			select {
			case <-tick.C:
				sum, n = sum+s.open.Load(), n+1
			case <-ctx.Done():
				result <- int(sum / n)
				return
			}
		}
	}()
	return func() int { cancel(); return <-result }
}
