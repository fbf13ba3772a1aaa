package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
)

type benchCmd struct {
	Messages benchMessagesCmd `cmd:"" help:"Publish and deliver messages."`
	Steps    benchStepsCmd    `cmd:"" help:"Run workflows."`
	Rotation benchRotationCmd `cmd:"" help:"Rotate the signing keys under load, and look for deliveries that are refused."`
	Crash    benchCrashCmd    `cmd:"" help:"Kill a server under load, again and again, and look for what it has lost."`
	Logs     benchLogsCmd     `cmd:"" help:"Fill the log, and measure lists and how they slow publishing."`
	Hostile  benchHostileCmd  `cmd:"" help:"Publish while thousands of connections are kept half-open; measure the memory that hostile endpoints take."`
}

// benched is the server a benchmark measures: by default a process of its own,
// so that its CPU time is its own, too.
type benched struct {
	Server   string   `placeholder:"URL" help:"Development server to measure (default one that is started for this)."`
	Token    string   `placeholder:"TOKEN" help:"Token of that server (default the well-known one)."`
	Data     string   `placeholder:"DIR" help:"Data directory of the server that is started (default a temporary one)."`
	Patience duration `default:"30s" placeholder:"TIME" help:"Give up when nothing happens for so long (default 30s)."`
	JSON     bool     `name:"json" help:"Print JSON."`

	process *process // nil: a server of somebody else
	client  *client.Client
	http    *http.Client
}

// report is what a benchmark has found.
type report interface {
	write(io.Writer)
	verdict() error // what is not as it should be
}

// benchmark measures a server with n clients at once and says what was found.
func benchmark[R report](ctx context.Context, o *outside, b *benched, n int, measure func(context.Context) (R, error)) error {
	stop, err := b.start(ctx, n)
	if err != nil {
		return err
	}
	defer stop()
	found, err := measure(ctx)
	if err != nil {
		return err
	}
	return say(o, b.JSON, found)
}

// say prints a report, and returns its verdict.
func say(o *outside, asJSON bool, r report) error {
	if !asJSON {
		r.write(o.stdout)
	} else if err := json.NewEncoder(o.stdout).Encode(r); err != nil {
		return err
	}
	return r.verdict()
}

// start makes a server ready to be used by n clients at once; stop it.
func (b *benched) start(ctx context.Context, n int) (stop func(), err error) {
	b.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: n}}
	stop = b.http.CloseIdleConnections
	if b.Server == "" {
		dir, remove, err := b.dataDir()
		if err != nil {
			return nil, err
		}
		if b.process, err = startProcess(ctx, dir, 0); err != nil {
			remove()
			return nil, err
		}
		b.Server = b.process.url
		stop = func() {
			b.http.CloseIdleConnections()
			b.process.end(os.Interrupt)
			remove()
		}
	}
	if b.Token == "" {
		b.Token = signpost.DevUsers[0].Token
	}
	b.client = client.New(client.Options{URL: b.Server, Token: b.Token, HTTPClient: b.http, NetworkRetries: -1})
	return stop, nil
}

func (b *benched) dataDir() (dir string, remove func(), err error) {
	if b.Data != "" {
		return b.Data, func() {}, nil
	}
	if dir, err = os.MkdirTemp("", "signpost-bench-"); err != nil {
		return "", nil, err
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}

// cpu is the CPU time the server has used, as far as it can be told.
func (b *benched) cpu() time.Duration {
	if b.process == nil {
		return 0
	}
	return b.process.cpu()
}

// process is a development server in a process of its own.
type process struct {
	url    string
	cmd    *exec.Cmd
	ended  chan struct{}
	stderr lastWords
}

// startProcess starts a server on a directory; port 0 takes a free one.
func startProcess(ctx context.Context, dir string, port int) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{ended: make(chan struct{})}
	running := &announcement{url: make(chan string, 1)}
	p.cmd = exec.CommandContext(ctx, self, "dev", "--quiet", "--port", strconv.Itoa(port), "--data", dir)
	p.cmd.Stdout, p.cmd.Stderr = running, &p.stderr
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // how it ended is of interest only if it ended too soon, and then stderr says more
	}()
	select {
	case p.url = <-running.url:
		return p, nil
	case <-p.ended:
		return nil, withHint(errors.New("the server that was to be measured did not start"), "it said: "+p.stderr.String())
	}
}

// end ends the process and waits until it is gone. What does not heed a signal
// is killed.
func (p *process) end(how os.Signal) {
	_ = p.cmd.Process.Signal(how) // fails if it is gone already
	patience := time.NewTimer(10 * time.Second)
	defer patience.Stop()
	select {
	case <-p.ended:
	case <-patience.C:
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// cpu reads /proc; 0 where there is none.
func (p *process) cpu() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	return statCPU(string(stat))
}

// peakMemory is the most memory that the process ever had, in bytes; 0 where
// there is no /proc.
func (p *process) peakMemory() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	return statusPeak(string(status))
}

// statusPeak is the peak of resident memory in a /proc/<pid>/status, in bytes.
func statusPeak(status string) int64 {
	_, line, _ := strings.Cut(status, "VmHWM:")
	var kib int64
	fmt.Sscan(line, &kib)
	return kib << 10
}

// statCPU is the CPU time in a /proc/<pid>/stat, see proc_pid_stat(5).
func statCPU(stat string) time.Duration {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // from field 3 on: field 2 may hold anything
	if len(fields) < 13 {
		return 0
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 for all programs on Linux
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick
}

// announcement is a server's output, as far as the line that names its address.
type announcement struct {
	seen bytes.Buffer
	url  chan string
	told bool
}

func (a *announcement) Write(p []byte) (int, error) {
	if a.told {
		return len(p), nil
	}
	a.seen.Write(p)
	_, rest, found := strings.Cut(a.seen.String(), "running at ")
	url, _, complete := strings.Cut(rest, "\n")
	if found && complete {
		a.url <- url
		a.told = true
	}
	return len(p), nil
}

// lastWords keeps the end of what is written to it.
type lastWords struct {
	mu  sync.Mutex
	end []byte
}

const lastWordsMost = 4 << 10

func (l *lastWords) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end = append(l.end, p...)
	l.end = l.end[max(0, len(l.end)-lastWordsMost):]
	return len(p), nil
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.end))
}

// listen serves handler on a loopback port of its own.
func listen(handler http.Handler) (url string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go srv.Serve(ln)
	return "http://" + ln.Addr().String(), func() { srv.Close() }, nil
}

// arrivals is an endpoint that notes when each numbered message came.
type arrivals struct {
	mu    sync.Mutex
	first map[int]time.Time
	again int // arrivals after the first of a message
}

func (a *arrivals) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	now := time.Now()
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return // the server has gone; it will send the message again
	}
	number, ok := parseNumbered(content)
	if !ok {
		return
	}
	a.note(number, now)
}

func (a *arrivals) note(number int, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.first[number]; known {
		a.again++
		return
	}
	a.first[number] = at
}

func (a *arrivals) distinct() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.first)
}

func (a *arrivals) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.first) + a.again
}

// missing are those of numbers that did not arrive.
func (a *arrivals) missing(numbers []int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, number := range numbers {
		if _, ok := a.first[number]; !ok {
			n++
		}
	}
	return n
}

// smallest is the shortest body that holds a number.
const smallest = 12

// numbered is a body of a given length that starts with a number.
func numbered(number, length int) []byte {
	content := fmt.Appendf(make([]byte, 0, length), "%d ", number)
	return append(content, bytes.Repeat([]byte{'x'}, max(0, length-len(content)))...)
}

func parseNumbered(content []byte) (int, bool) {
	digits, _, _ := bytes.Cut(content, []byte{' '})
	number, err := strconv.Atoi(string(digits))
	return number, err == nil
}

// together runs do in n goroutines at once. The first error ends it.
func together(ctx context.Context, n int, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, n)
	var workers sync.WaitGroup
	for range n {
		workers.Go(func() {
			if err := do(ctx); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	workers.Wait()
	close(failed)
	return <-failed
}

// each runs do for 0 to n-1, so many at once. The first error ends it.
func each(ctx context.Context, atOnce, n int, do func(ctx context.Context, i int) error) error {
	var next atomic.Int64
	return together(ctx, min(atOnce, n), func(ctx context.Context) error {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := do(ctx, i); err != nil {
				return err
			}
		}
		return nil
	})
}

// await waits until done, and gives up when progress has not changed for as
// long as patience lasts.
func await(ctx context.Context, patience time.Duration, progress func() int, done func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	last, since := progress(), time.Now()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		switch now := progress(); {
		case now != last:
			last, since = now, time.Now()
		case time.Since(since) > patience:
			return nil
		}
	}
	return nil
}

// percentile of durations, in milliseconds. It sorts them.
func percentile(ds []time.Duration, p float64) float64 {
	if len(ds) == 0 {
		return 0
	}
	slices.Sort(ds)
	return float64(ds[int(p*float64(len(ds)-1))].Microseconds()) / 1000
}

func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }

// perItem is CPU time in microseconds for each of n; nil if it was not measured.
func perItem(cpu time.Duration, n int) *float64 {
	if cpu == 0 || n == 0 {
		return nil
	}
	v := float64(cpu.Microseconds()) / float64(n)
	return &v
}

func writeCPU(w io.Writer, v *float64, item string) {
	if v != nil {
		fmt.Fprintf(w, "server CPU   %8.0f µs per %s\n", *v, item)
	}
}
