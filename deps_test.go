package signpost_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/signposthq/signpost"

// rooms are the packages of the module, each with those of ours that it may
// import. A new package needs a line here.
var rooms = map[string][]string{
	"internal/wire":   {},
	"internal/cron":   {},
	"internal/intake": {},
	"internal/secret": {},
	"internal/budget": {},
	"receiver":        {},
	"client":          {"internal/secret", "internal/wire"},
	"workflow":        {"internal/wire", "client", "receiver"},

	"receiver/sqlreplay":    {"receiver"},
	"workflow/otelworkflow": {"workflow"},
	"workflowtest":          {"internal/wire", "client", "receiver", "workflow"},

	"internal/engine":  {"internal/budget", "internal/secret", "internal/wire", "internal/cron"},
	"internal/store":   {"internal/engine", "internal/wire"},
	"internal/deliver": {"internal/budget", "internal/engine", "internal/wire", "receiver"},
	"internal/api":     {"internal/budget", "internal/engine", "internal/intake", "internal/wire", "client"},
	"internal/guard":   {"receiver"},
	"internal/chaos":   {"internal/engine", "internal/wire"},

	"":             {"internal/secret", "internal/engine", "internal/store", "internal/deliver", "internal/api", "internal/intake", "internal/chaos"},
	"signposttest": {"", "client", "receiver"},
	"cmd/signpost": {"", "internal/guard", "internal/secret", "internal/wire", "client", "receiver", "workflow"},

	"examples/onboarding": {"client", "receiver", "workflow"},
	"examples/demo":       {"client", "receiver"},

	"internal/exampletest": {},
	"internal/pgtest":      {},
	"examples/guard":       {},
	"e2e":                  {},
}

// outside are the modules of others, each with the rooms that may import them.
// Everybody else lives on the standard library.
var outside = map[string][]string{
	"modernc.org/sqlite":         {"internal/store"},
	"github.com/jackc/pgx":       {"internal/store", "internal/pgtest"},
	"golang.org/x/sys":           {"internal/store"},
	"code.dny.dev/ssrf":          {"internal/deliver"},
	"github.com/alecthomas/kong": {"cmd/signpost"},
	"golang.org/x/term":          {"cmd/signpost"},
	"golang.org/x/net":           {"internal/intake"},
	"go.opentelemetry.io/otel":   {"workflow/otelworkflow"},
}

// reserved are packages of the standard library that not everybody may import.
var reserved = map[string][]string{
	"database/sql":      {"internal/store", "internal/pgtest", "receiver/sqlreplay"},
	"testing":           {"signposttest", "workflowtest", "internal/pgtest", "internal/exampletest"},
	"net/http/httptest": {},
	"encoding/gob":      {},
	"math/rand":         {},
	"unsafe":            {},
	"C":                 {},
	"net/http/pprof":    {},
	"expvar":            {},
}

// Who may import whom is data, above. Tests may import what they like.
func TestDependencies(t *testing.T) {
	known := map[string]bool{}
	for _, system := range []string{"linux", "windows", "darwin"} {
		for _, p := range list(t, system) {
			room := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
			known[room] = true
			ours, ok := rooms[room]
			if !ok {
				t.Errorf("%s has no line in rooms", p.ImportPath)
				continue
			}
			for _, imported := range p.Imports {
				if other, ok := strings.CutPrefix(imported, module); ok {
					if !slices.Contains(ours, strings.TrimPrefix(other, "/")) {
						t.Errorf("%s may not import %s", p.ImportPath, imported)
					}
					continue
				}
				if allowed, rule := ruleFor(imported); rule && !slices.Contains(allowed, room) {
					t.Errorf("%s may not import %s (%s)", p.ImportPath, imported, system)
				}
			}
		}
	}
	for room := range rooms {
		if !known[room] {
			t.Errorf("rooms has %q, which is no package", room)
		}
	}
}

// The command has the time zones in it: where it runs there may be none.
func TestZonesAreInTheBinary(t *testing.T) {
	for _, p := range list(t, "linux") {
		if p.ImportPath == module+"/cmd/signpost" && !slices.Contains(p.Imports, "time/tzdata") {
			t.Error("cmd/signpost does not import time/tzdata")
		}
	}
}

// ruleFor is who may import a package of others; no rule: everybody.
func ruleFor(imported string) (allowed []string, rule bool) {
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		allowed, rule = reserved[imported]
		return allowed, rule
	}
	for path, rooms := range outside {
		if imported == path || strings.HasPrefix(imported, path+"/") {
			return rooms, true
		}
	}
	return nil, true
}

type listed struct {
	ImportPath string
	Imports    []string
}

// list asks the go command for the packages of the module as they are built
// on a system.
func list(t *testing.T, system string) (packages []listed) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// Directions have no cycles, and what users import stays free of the server:
// checked on the data, so that nobody allows by a new line what the rule is
// against.
func TestDependencyRules(t *testing.T) {
	reach := map[string]map[string]bool{}
	var visit func(room string, path []string) map[string]bool
	visit = func(room string, path []string) map[string]bool {
		if slices.Contains(path, room) {
			t.Fatalf("a cycle: %v, %s", path, room)
		}
		if reach[room] == nil {
			all := map[string]bool{}
			for _, other := range rooms[room] {
				if _, ok := rooms[other]; !ok {
					t.Errorf("%s may import %s, which has no line", room, other)
				}
				all[other] = true
				for further := range visit(other, append(path, room)) {
					all[further] = true
				}
			}
			reach[room] = all
		}
		return reach[room]
	}
	for room := range rooms {
		visit(room, nil)
	}
	server := []string{"", "internal/engine", "internal/store", "internal/deliver", "internal/api"}
	for _, sdk := range []string{"client", "receiver", "receiver/sqlreplay", "workflow", "workflowtest", "internal/wire"} {
		for _, part := range server {
			if reach[sdk][part] {
				t.Errorf("%s reaches the server's %q", sdk, part)
			}
		}
		for path, users := range outside {
			if slices.Contains(users, sdk) {
				t.Errorf("%s may import %s: users of the SDK would get it too", sdk, path)
			}
		}
	}
	for _, pair := range [][2]string{{"internal/engine", "internal/store"}, {"internal/engine", "internal/deliver"}, {"internal/deliver", "internal/store"}, {"internal/api", "internal/store"}, {"internal/wire", "internal/cron"}} {
		if reach[pair[0]][pair[1]] {
			t.Errorf("%s reaches %s", pair[0], pair[1])
		}
	}
	for path, users := range outside {
		if slices.Contains(users, "internal/engine") || slices.Contains(users, "internal/api") {
			t.Errorf("the rules and the handlers need no %s", path)
		}
	}
}
