package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/signposttest"
)

func TestSuggest(t *testing.T) {
	srv := signposttest.NewServer(t)
	c := srv.Client()
	defer c.CloseIdleConnections()
	for _, name := range []string{"orders", "invoices", "-odd_.1"} {
		if err := c.PutQueue(t.Context(), client.QueueRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"eu/shop", "with space", "$(whoami)", "a:b"} {
		if err := c.PauseFlowControl(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		line string // words; the last one is being typed
		want string
		not  string
	}{
		{"", "publish messages queues groups schedules flow dlq logs keys completion", "__complete"},
		{"que", "queues", "publish"},
		{"queues ", "list get create update delete pause resume", "orders"},
		{"queues get ", "orders invoices", "list"},
		{"queue get o", "orders", "invoices"},
		{"queues create ", "", "orders"},
		{"queues get --server http://127.0.0.1:1 ", "", "orders"},
		{"queues get --server=http://127.0.0.1:1 ", "", "orders"},
		{"queues get --token wrong ", "", "orders"},
		{"flow pause ", "eu/shop", "whoami space a:b"},
		{"logs --", "--follow --state --queue --host --help", "publish"},
		{"logs --fo", "--follow", "--state"},
		{"logs --queue ", "orders", "--follow"},
		{"logs --queue = inv", "invoices", "orders"},
		{"logs --queue=inv", "--queue=invoices", "--queue=orders"},
		{"logs --none=", "", ""},
		{"logs --queue =", "orders invoices", ""},
		{"logs --follow --state DEL", "DELIVERED", "FAILED"},
		{"logs -n ", "", "orders --follow"},
		{"publish --group ", "", "orders"},
		{"publish https://example.com --queue ", "orders", "--delay"},
		{"dlq retry --set-queue ", "orders", ""},
		{"publish -X ", "GET POST PUT PATCH DELETE", "orders"},
		{"dlq retry --set-method=P", "--set-method=POST --set-method=PUT --set-method=PATCH", "--set-method=GET"},
		{"tokens create ci --scope read", "read read-metadata", "publish"},
		{"settings set --sign-calls ", "always same-origin never", ""},
		{"completion ", "bash zsh fish", ""},
		{"nonsense ", "queues", ""},
		{"queues get orders ", "orders", ""},
	}
	for _, tt := range tests {
		words := strings.Split(tt.line, " ")
		stdout, stderr, status := call(t, map[string]string{"QSTASH_URL": srv.URL}, "", append([]string{"__complete", "--"}, words...)...)
		if status != 0 || stderr != "" {
			t.Errorf("%q: status %d: %s", tt.line, status, stderr)
		}
		var got []string
		for line := range strings.Lines(stdout) {
			word, _, _ := strings.Cut(line, "\t")
			got = append(got, word)
		}
		for _, want := range strings.Fields(tt.want) {
			if !slices.Contains(got, want) {
				t.Errorf("%q lacks %s in %q", tt.line, want, got)
			}
		}
		for _, not := range strings.Fields(tt.not) {
			if slices.Contains(got, not) {
				t.Errorf("%q has %s in %q", tt.line, not, got)
			}
		}
		if tt.want == "" && len(got) > 0 {
			t.Errorf("%q: got %q", tt.line, got)
		}
	}
}

// TestBash completes in a real shell.
func TestBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("this test needs bash")
	}
	srv := signposttest.NewServer(t)
	c := srv.Client()
	defer c.CloseIdleConnections()
	if err := c.PutQueue(t.Context(), client.QueueRequest{Name: "orders"}); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "signpost")); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"que":                     "queues",
		"queues re":               "resume",
		"queue get ":              "orders",
		"logs --fol":              "--follow",
		"logs --queue = ord":      "orders",
		"publish --queue ":        "orders",
		"queues create new --par": "--parallelism",
		"queues create ":          "",
	} {
		words := strings.Split(line, " ")
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = "'" + w + "'"
		}
		script := fmt.Sprintf(`source <(signpost completion bash) && COMP_WORDS=(signpost %s) && COMP_CWORD=%d && _signpost && echo "${COMPREPLY[*]}"`,
			strings.Join(quoted, " "), len(words))
		cmd := exec.CommandContext(t.Context(), bash, "--norc", "-c", script)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "QSTASH_URL="+srv.URL, "QSTASH_TOKEN="+srv.Token)
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != want {
			t.Errorf("%q becomes %q, error %v; want %q", line, got, err, want)
		}
	}
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		stdout, stderr, status := call(t, nil, "", "completion", shell)
		if status != 0 || !strings.Contains(stdout, "__complete -- ") {
			t.Errorf("%s: status %d: %s%s", shell, status, stdout, stderr)
		}
	}
	if _, stderr, status := call(t, nil, "", "completion", "csh"); status != 2 || !strings.Contains(stderr, `must be one of "bash","zsh","fish"`) {
		t.Errorf("csh: status %d: %s", status, stderr)
	}
}
