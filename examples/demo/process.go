package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// process is a program under way, and what it has said.
type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // once it has ended

	mu  sync.Mutex
	out bytes.Buffer
}

// startProcess starts a program with no more of the environment than it needs.
func startProcess(ctx context.Context, path string, variables map[string]string, args ...string) (*process, error) {
	p := &process{name: filepath.Base(path), ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, path, args...)
	p.cmd.Env = []string{"TMPDIR=" + os.TempDir()}
	for name, value := range variables {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// await waits until the output matches, and returns the match.
func (p *process) await(ctx context.Context, pattern string) ([]string, error) {
	re := regexp.MustCompile(pattern)
	for {
		if m := re.FindStringSubmatch(p.output()); m != nil {
			return m, nil
		}
		select {
		case <-p.ended:
			return nil, fmt.Errorf("%s has ended; it said:\n%s", p.name, p.output())
		default:
		}
		if err := pause(ctx); err != nil {
			return nil, fmt.Errorf("wait for %s, which said %q: %w", p.name, p.output(), err)
		}
	}
}

var export = regexp.MustCompile(`(?m)^export (\w+)='(.*)'$`)

// exports are the variables that it told the user to set.
func (p *process) exports() map[string]string {
	out := map[string]string{}
	for _, m := range export.FindAllStringSubmatch(p.output(), -1) {
		out[m[1]] = m[2]
	}
	return out
}

// stop asks it to end, and waits until it has.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended, which is looked at below
	patience := time.NewTimer(10 * time.Second)
	defer patience.Stop()
	select {
	case <-p.ended:
	case <-patience.C:
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	if p.err != nil {
		return fmt.Errorf("%s ended with %w; it said:\n%s", p.name, p.err, p.output())
	}
	return nil
}
