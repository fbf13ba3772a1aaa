package e2e_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime/pprof"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is more than anything takes on a machine with much else to do: nothing
// waits so long but what hangs.
const patience = 90 * time.Second

// process is a program that runs until the test ends.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	output output // stdout and stderr
	exited chan error
}

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs a program. When the test ends its standard input is closed, it is
// asked to stop, and it must exit with status 0.
func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), exited: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() {
		p.stdin.Close()
		p.cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { p.cmd.Process.Kill() })
		defer kill.Stop()
		if err := <-p.exited; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, &p.output)
		}
	})
	return p
}

// kill ends the program as a power cut would.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
	p.exited <- nil
}

// dump logs what all goroutines of a server are at, and those of this process,
// which has endpoints. The server does not survive it.
func (s *server) dump(t *testing.T) {
	t.Helper()
	var here bytes.Buffer
	pprof.Lookup("goroutine").WriteTo(&here, 2)
	t.Logf("goroutines of the endpoints:\n%s", &here)
	s.cmd.Process.Signal(syscall.SIGQUIT) // its own it prints
	err := <-s.exited
	s.exited <- err
}

// wait waits until the program has printed a line that matches, and returns
// its submatches.
func (p *process) wait(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		if m := re.FindStringSubmatch(p.output.String()); m != nil {
			return m
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not print %s:\n%s", p.cmd.Path, pattern, &p.output)
		}
	}
}

// server is a running signpost dev.
type server struct {
	*process
	env map[string]string // what its export lines set
}

// exports are the variables that signpost dev prints.
var exports = []string{"QSTASH_URL", "QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "SIGNPOST_DEV"}

// startServer runs the binary on a free port with data of its own.
func startServer(t *testing.T) *server {
	t.Helper()
	return startServerAt(t, "0", t.TempDir())
}

func startServerAt(t *testing.T, port, dir string, env ...string) *server {
	t.Helper()
	s := &server{env: map[string]string{}}
	s.process = start(t, env, build(t, "cmd/signpost"), "dev", "--port", port, "--data", dir)
	s.wait(t, `(?i)runn+ing( at|\.)`) // the official SDK's own pattern
	for _, name := range exports {
		s.env[name] = s.wait(t, `^export `+name+`='([^']+)'$`)[1]
	}
	return s
}

// environ is for the server's clients and endpoints.
func (s *server) environ(more ...string) []string {
	env := append([]string{"UPSTASH_DISABLE_TELEMETRY=", "NODE_ENV=test"}, more...)
	for _, name := range exports {
		env = append(env, name+"="+s.env[name])
	}
	return env
}
