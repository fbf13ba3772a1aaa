// Package exampletest gives Examples the test that packages for tests ask for.
// What [testing.RunTests] prints, with go test -v, would be part of their output.
package exampletest

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// T is a test that go test does not know. It keeps what it is told.
type T struct {
	testing.TB // nil: what is not below is for nobody yet

	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	failed   bool
	said     strings.Builder
	cleanups []func()
}

// New makes a test, which Close ends.
func New() *T {
	t := &T{}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// Run runs a test function to its end. If it fails, what it said is printed.
func Run(f func(t testing.TB)) {
	if t := Ended(f); t.Failed() {
		fmt.Print("FAIL\n", t.Said())
	}
}

// Ended runs a test function to its end, and gives its test.
func Ended(f func(t testing.TB)) *T {
	t := New()
	done := make(chan struct{})
	go func() { // which FailNow can end
		defer close(done)
		defer t.Close()
		f(t)
	}()
	<-done
	return t
}

// Close does what is left to do after the test.
func (t *T) Close() {
	t.cancel()
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
	t.cleanups = nil
}

// Said is all that the test was told, a line each.
func (t *T) Said() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.said.String()
}

func (t *T) Helper() {}

func (t *T) Context() context.Context { return t.ctx }

func (t *T) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *T) Output() io.Writer { return io.Discard }

func (t *T) TempDir() string {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (t *T) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

func (t *T) fail() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = true
}

func (t *T) say(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.said.WriteString(strings.TrimSuffix(text, "\n") + "\n")
}

func (t *T) FailNow() { t.fail(); runtime.Goexit() }

func (t *T) Log(args ...any) { t.say(fmt.Sprintln(args...)) }

func (t *T) Logf(format string, args ...any) { t.say(fmt.Sprintf(format, args...)) }

func (t *T) Error(args ...any) { t.Log(args...); t.fail() }

func (t *T) Errorf(format string, args ...any) { t.Logf(format, args...); t.fail() }

func (t *T) Fatal(args ...any) { t.Log(args...); t.FailNow() }

func (t *T) Fatalf(format string, args ...any) { t.Logf(format, args...); t.FailNow() }
