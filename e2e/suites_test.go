package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// suiteTime is more than any suite needs; one that takes longer is stuck.
const suiteTime = 4 * time.Minute

// TestSuites runs each suite of the official SDKs against a server of its own.
func TestSuites(t *testing.T) {
	needNode(t)
	suites, err := filepath.Glob("*.test.js")
	if err != nil || len(suites) == 0 {
		t.Fatalf("no suites: %v", err)
	}
	for _, file := range suites {
		t.Run(strings.TrimSuffix(file, ".test.js"), func(t *testing.T) {
			t.Parallel()
			runSuite(t, startServer(t), file)
		})
	}
}

// result is a line of lib/reporter.js.
type result struct {
	Name    []string
	Seconds float64
	Failed  bool
	Skipped bool
	Error   string
}

// runSuite runs a file of node tests, each as a subtest.
func runSuite(t *testing.T, s *server, file string, env ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), suiteTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "--test-reporter=./lib/reporter.js", "--test-reporter-destination=stdout", file)
	cmd.Env = append(os.Environ(), s.environ(env...)...)
	var said output
	cmd.Stderr = &said
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	passed, stuck := readResults(t, stdout, &said)
	if stuck {
		s.dump(t)
	}
	if err := cmd.Wait(); err != nil && (!t.Failed() || ctx.Err() != nil) {
		t.Errorf("%s: %v (%v)", file, err, ctx.Err())
	}
	if passed == 0 && !t.Failed() {
		t.Errorf("%s: no test was run", file)
	}
	if t.Failed() {
		t.Logf("output of %s:\n%s", file, &said)
	}
}

// readResults turns the reporter's lines into subtests; what else the suite
// prints goes to said. Stuck says that one waited in vain.
func readResults(t *testing.T, stdout io.Reader, said io.Writer) (passed int, stuck bool) {
	t.Helper()
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return passed, stuck
		}
		var r result
		if json.Unmarshal(line, &r) != nil || r.Name == nil {
			said.Write(line)
			continue
		}
		t.Run(strings.Join(r.Name, "/"), func(t *testing.T) {
			switch {
			case r.Failed:
				stuck = stuck || strings.Contains(r.Error, "gave up waiting")
				t.Errorf("after %.2f s: %s", r.Seconds, r.Error)
			case r.Skipped:
				t.Fatal("skipped")
			default:
				t.Logf("%.2f s", r.Seconds)
				passed++
			}
		})
	}
}
