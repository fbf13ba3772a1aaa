package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// build builds the two programs, without the race detector: they have tests of
// their own.
func build(t *testing.T) (signpost, onboarding string) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", dir, "../../cmd/signpost", "../onboarding")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return filepath.Join(dir, "signpost"), filepath.Join(dir, "onboarding")
}

func TestDemo(t *testing.T) {
	signpost, onboarding := build(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)

	t.Run("shows everything", func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), []string{"-signpost", signpost, "-onboarding", onboarding}, &out, false); err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		for _, want := range []string{
			`wfr_\w+  \{"email":"ada@example.com"\}\n +[\d.]+s  Initial +init +STEP_SUCCESS +msg_\w{22}\n`,
			`Run +create user +STEP_SUCCESS +msg_`,
			`Run +prepare home \(parallel\) +STEP_SUCCESS +msg_`,
			`Call +send welcome mail \(parallel\) +STEP_SUCCESS +msg_`,
			`SleepFor +settle in +STEP_PROGRESS +msg_`,
			`SleepFor +settle in +STEP_SUCCESS +msg_`,
			`Run +open account +STEP_SUCCESS +msg_`,
			`RUN_SUCCESS +\{"email":"ada@example.com"`,
			`Run +create user +STEP_FAILED +msg_`,
			`RUN_FAILED +489 user bob@example.com cannot be created`,
			`CALLBACK_SUCCESS +msg_\w+ +.*cleaned up after bob@example.com`,
			`RUN_FAILED +401 wrong Authorization`,
			`unsigned +401 no signature\n`,
			`another body +401 body mismatch\n`,
			`an old signature +401 signature expired\n`,
			`a signature for another URL +401 url mismatch\n`,
			`a step sent again as a failure +401 header mismatch\n`,
			`a forged failure callback +401 bad signature\n`,
		} {
			if n := len(regexp.MustCompile(want).FindAllString(out.String(), -1)); n != 1 {
				t.Errorf("%s is shown %d times", want, n)
			}
		}
		if strings.Contains(out.String(), "\x1b") {
			t.Error("there are colours without a terminal")
		}
		if t.Failed() {
			t.Log(out.String())
		}
	})

	t.Run("says what is wrong", func(t *testing.T) {
		err := run(t.Context(), []string{"-signpost", signpost, "-onboarding", signpost}, new(bytes.Buffer), false)
		if err == nil || !strings.Contains(err.Error(), "signpost has ended; it said:") {
			t.Errorf("got %v", err)
		}
	})

	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
