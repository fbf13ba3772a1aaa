package signpost_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A known vulnerability in what we depend on fails the check; a database that
// can't be reached is no clean bill, and the check says so.
func TestT27Vulncheck(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the check is a shell script")
	}
	database := func(module string) string {
		dir := t.TempDir()
		const osv = `{"schema_version":"1.3.1","id":"GO-2026-0001","modified":"2026-01-01T00:00:00Z","published":"2026-01-01T00:00:00Z","details":"made up","database_specific":{"url":"https://example.com"},` +
			`"affected":[{"package":{"name":"MODULE","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],"ecosystem_specific":{"imports":[{"path":"MODULE"}]}}]}`
		for name, content := range map[string]string{
			"index/db.json":        `{"modified":"2026-01-01T00:00:00Z"}`,
			"index/modules.json":   `[{"path":"MODULE","vulns":[{"id":"GO-2026-0001","modified":"2026-01-01T00:00:00Z"}]}]`,
			"index/vulns.json":     `[{"id":"GO-2026-0001","modified":"2026-01-01T00:00:00Z"}]`,
			"ID/GO-2026-0001.json": osv,
		} {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(content, "MODULE", module)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return "file://" + dir
	}
	for name, test := range map[string]struct {
		database string
		status   int
		says     string
	}{
		"vulnerable":  {database("github.com/alecthomas/kong"), 3, "GO-2026-0001"},
		"clean":       {database("example.com/nobody/uses/this"), 0, "No vulnerabilities found"},
		"unreachable": {"", 0, "NOT checked"},
	} {
		cmd := exec.CommandContext(t.Context(), "scripts/vulncheck", "-scan", "package", "./cmd/signpost")
		// Without a database of its own it asks the Internet, which is not there.
		cmd.Env = append(os.Environ(), "GOVULNDB="+test.database, "HTTPS_PROXY=http://127.0.0.1:1")
		output, err := cmd.CombinedOutput()
		status := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			status = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if status != test.status || !strings.Contains(string(output), test.says) {
			t.Errorf("%s: status %d, want %d: %s", name, status, test.status, output)
		}
	}
}
