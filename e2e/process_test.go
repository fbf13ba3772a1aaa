package e2e_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that runs until the test ends.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	lines  chan string // of stdout
	output output      // stdout and stderr
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
	p := &process{cmd: exec.Command(name, args...), lines: make(chan string, 1000)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.output
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(p.lines)
		for scan := bufio.NewScanner(stdout); scan.Scan(); {
			fmt.Fprintln(&p.output, scan.Text())
			p.lines <- scan.Text()
		}
	}()
	t.Cleanup(func() {
		p.stdin.Close()
		p.cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { p.cmd.Process.Kill() })
		<-read
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		kill.Stop()
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, &p.output)
		}
	})
	return p
}

// wait reads lines until one matches, and returns its submatches.
func (p *process) wait(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("%s ended before it printed %s:\n%s", p.cmd.Path, pattern, &p.output)
			}
			if m := re.FindStringSubmatch(line); m != nil {
				return m
			}
		case <-deadline:
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
var exports = []string{"QSTASH_URL", "QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"}

// startServer runs the binary on a free port with data of its own.
func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{env: map[string]string{}}
	s.process = start(t, nil, build(t, "cmd/signpost"), "dev", "--port", "0", "--data", t.TempDir())
	s.wait(t, `(?i)runn+ing( at|\.)`) // the official SDK's own pattern
	for range exports {
		m := s.wait(t, `^export (\w+)="?([^"]+)"?$`)
		s.env[m[1]] = strings.Trim(m[2], "'")
	}
	for _, name := range exports {
		if s.env[name] == "" {
			t.Fatalf("no export of %s in:\n%s", name, &s.output)
		}
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
