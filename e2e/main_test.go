// Package e2e_test runs what nobody here wrote against what was built here: the
// official npm SDKs, unmodified, as clients of the signpost binary and as
// endpoints that it delivers to. The suites are the *.test.js files; each gets
// a server process of its own, and each of its tests is a subtest of TestSuites.
//
// It needs Node.js and the packages of package-lock.json:
//
//	npm ci --prefix e2e
package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// binaries is where the programs under test are built.
var binaries string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "signpost-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binaries = dir
		return m.Run()
	}())
}

// needNode skips the test, or fails it in CI, if the SDKs cannot be run.
func needNode(t *testing.T) {
	t.Helper()
	missing := ""
	if _, err := exec.LookPath("node"); err != nil {
		missing = "Node.js is not installed"
	} else if _, err := os.Stat(filepath.Join("node_modules", "@upstash", "workflow")); err != nil {
		missing = `the npm packages are not installed, run "npm ci --prefix e2e"`
	}
	switch {
	case missing == "":
	case os.Getenv("CI") != "":
		t.Fatal(missing)
	default:
		fmt.Fprintf(os.Stderr, "\n!!! THE OFFICIAL SDKS WERE NOT RUN: %s\n\n", missing)
		t.Skip(missing)
	}
}

var built sync.Map // package path → func() (string, error)

// build compiles a main package of the module once, without the race detector,
// and returns the binary.
func build(t *testing.T, pkg string) string {
	t.Helper()
	once, _ := built.LoadOrStore(pkg, sync.OnceValues(func() (string, error) {
		out := filepath.Join(binaries, filepath.Base(pkg))
		cmd := exec.Command("go", "build", "-o", out, "./"+pkg)
		cmd.Dir = ".."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", pkg, err, text)
		}
		return out, nil
	}))
	path, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
