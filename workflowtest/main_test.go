package workflowtest_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/signposthq/signpost/workflow"
)

func TestMain(m *testing.M) {
	// Whatever a developer's environment says must not matter.
	for name, value := range map[string]string{
		"QSTASH_URL": "http://127.0.0.1:1", "QSTASH_TOKEN": "x", "UPSTASH_WORKFLOW_URL": "http://127.0.0.1:1",
		"QSTASH_CURRENT_SIGNING_KEY": "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r", "QSTASH_NEXT_SIGNING_KEY": "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
	} {
		_ = os.Setenv(name, value)
	}
	goleak.VerifyTestMain(m)
}

// step is a Run with a name and a result.
func step(ctx *workflow.Context, name string) error {
	_, err := workflow.Run(ctx, name, func(context.Context) (string, error) { return name, nil })
	return err
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// failing is a test that may fail: it keeps what it was told.
type failing struct {
	testing.TB
	failed   bool
	said     strings.Builder
	cleanups []func()
}

func (f *failing) Helper() {}

func (f *failing) Cleanup(fn func()) { f.cleanups = append(f.cleanups, fn) }

func (f *failing) Failed() bool { return f.failed }

func (f *failing) FailNow() { f.failed = true; runtime.Goexit() }

func (f *failing) Log(args ...any) { fmt.Fprintln(&f.said, args...) }

func (f *failing) Error(args ...any) { f.Log(args...); f.failed = true }

func (f *failing) Fatal(args ...any) { f.Log(args...); f.FailNow() }

func (f *failing) Logf(s string, a ...any) { fmt.Fprintf(&f.said, s+"\n", a...) }

func (f *failing) Fatalf(s string, a ...any) {
	f.Logf(s, a...)
	f.FailNow()
}

func (f *failing) Output() io.Writer { return io.Discard }

// fails runs a test that must fail, and gives what it says.
func fails(t *testing.T, test func(t testing.TB)) string {
	t.Helper()
	f := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, fn := range slices.Backward(f.cleanups) {
				fn()
			}
		}()
		test(f)
	}()
	<-done
	if !f.failed {
		t.Fatal("the test does not fail")
	}
	return f.said.String()
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("nothing of %q in\n%s", part, text)
		}
	}
}
