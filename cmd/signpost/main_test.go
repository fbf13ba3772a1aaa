package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/signposttest"
)

// call runs a command line in this process.
func call(t *testing.T, variables map[string]string, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	err := run(t.Context(), args, strings.NewReader(stdin), &out, &errs, func(name string) string { return variables[name] })
	status = complain(&errs, err)
	return out.String(), errs.String(), status
}

// Flags come before the environment, the environment before defaults.
func TestPrecedence(t *testing.T) {
	srv := signposttest.NewServer(t)
	nowhere := "http://127.0.0.1:1"
	tests := []struct {
		name      string
		variables map[string]string
		args      []string
		status    int
	}{
		{"environment", map[string]string{"QSTASH_URL": srv.URL, "QSTASH_TOKEN": srv.Token}, nil, 0},
		{"default token on this machine", map[string]string{"QSTASH_URL": srv.URL}, nil, 0},
		{"wrong token in the environment", map[string]string{"QSTASH_URL": srv.URL, "QSTASH_TOKEN": "wrong"}, nil, 1},
		{"token flag", map[string]string{"QSTASH_URL": srv.URL, "QSTASH_TOKEN": "wrong"}, []string{"--token", srv.Token}, 0},
		{"wrong server in the environment", map[string]string{"QSTASH_URL": nowhere}, nil, 1},
		{"server flag", map[string]string{"QSTASH_URL": nowhere}, []string{"--server", srv.URL}, 0},
		{"empty variable", map[string]string{"QSTASH_URL": ""}, []string{"--server", srv.URL}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, status := call(t, tt.variables, "", append([]string{"keys", "show"}, tt.args...)...)
			if status != tt.status {
				t.Fatalf("status %d, want %d: %s", status, tt.status, stderr)
			}
			if want := "export QSTASH_CURRENT_SIGNING_KEY='" + srv.CurrentSigningKey + "'\n"; status == 0 && !strings.HasPrefix(stdout, want) {
				t.Errorf("stdout is %q, want %q first", stdout, want)
			}
		})
	}
}

func TestPublishReadsStdin(t *testing.T) {
	srv := signposttest.NewServer(t)
	stdout, stderr, status := call(t, map[string]string{"QSTASH_URL": srv.URL}, "from stdin", "publish", "http://127.0.0.1:1/", "-d", "-", "--delay", "1h")
	if status != 0 {
		t.Fatal(stderr)
	}
	c := srv.Client()
	defer c.CloseIdleConnections()
	m, err := c.Message(t.Context(), strings.TrimSpace(stdout))
	if err != nil {
		t.Fatal(err)
	}
	if m.Body != "from stdin" {
		t.Errorf("body is %q", m.Body)
	}
}

func TestHelpNamesVariables(t *testing.T) {
	for args, want := range map[string]string{
		"dev --help":            "($SIGNPOST_PORT, $QSTASH_DEV_PORT)",
		"server --help":         "($SIGNPOST_ALLOW_DESTINATION)",
		"guard --help":          "($SIGNPOST_GUARD_UPSTREAM)",
		"verify --help":         "($QSTASH_CURRENT_SIGNING_KEY)",
		"bench messages --help": "-n, --messages=N",
		"bench steps --help":    "--runs=N",
		"bench crash --help":    "--rounds=N",
		"bench hostile --help":  "--half-open=N",
		"keys rotate --help":    "($QSTASH_TOKEN)",
		"healthcheck --help":    "($QSTASH_URL)",
		"logs --help":           "-f, --follow",
		"publish --help":        "--deduplication-id=ID",
		"version --help":        "Print the version.",
		"keys --help":           "keys rotate",
		"--help":                "healthcheck",
	} {
		stdout, stderr, status := call(t, nil, "", strings.Fields(args)...)
		if status != 0 || !strings.Contains(strings.Join(strings.Fields(stdout), " "), want) {
			t.Errorf("%s: status %d, lacks %q:\n%s%s", args, status, want, stdout, stderr)
		}
	}
}

// A negative number is the value of the flag before it, where there is one.
func TestAttached(t *testing.T) {
	for line, want := range map[string]string{
		"publish URL --retries -1 -d x": "publish URL --retries=-1 -d x",
		"logs -n -1":                    "logs -n-1",
		"logs --from -2h --json":        "logs --from=-2h --json",
		"logs --from=2h -1":             "logs --from=2h -1",
		"publish URL -1 -x --d":         "publish URL -1 -x --d",
		"publish -- --retries -1":       "publish -- --retries -1",
		"-1":                            "-1",
	} {
		if got := strings.Join(attached(strings.Fields(line)), " "); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
}

// Every error has a hint.
func TestHints(t *testing.T) {
	for _, h := range hints {
		var b bytes.Buffer
		if status := complain(&b, h.cause); status != 1 || !strings.HasSuffix(b.String(), "\nhint: "+h.hint+"\n") {
			t.Errorf("%v: status %d, %q", h.cause, status, b.String())
		}
	}
	var b bytes.Buffer
	complain(&b, &client.Error{Status: 400, Message: "bad\nthing \x1b[31m"})
	if want := "signpost: server answered 400: bad·thing ·[31m\nhint: see \"signpost --help\"\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	err := run(ctx, []string{"keys", "show", "--server", "http://127.0.0.1:1"}, nil, &out, &errs, func(string) string { return "" })
	if status := complain(&errs, err); status != 1 || !strings.Contains(errs.String(), "hint: it was interrupted") {
		t.Errorf("status %d: %s", status, &errs)
	}
}
