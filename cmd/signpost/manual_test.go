package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestManual keeps docs/cli.md true: it has a heading for each command, with
// examples that parse, and for nothing else.
func TestManual(t *testing.T) {
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	manual := map[string][]string{}
	var heading string
	for line := range strings.Lines(string(page)) {
		line = strings.TrimRight(line, "\n")
		if name, ok := strings.CutPrefix(line, "### "); ok {
			if heading = name; manual[heading] != nil {
				t.Errorf("%s has two headings", heading)
			}
			manual[heading] = []string{}
		}
		if example, ok := strings.CutPrefix(line, "    "); ok {
			manual[heading] = append(manual[heading], example)
		}
	}
	var discard bytes.Buffer
	o := &outside{stdin: &discard, stdout: &discard, stderr: &discard}
	parser, err := newParser(o, environment{getenv: func(string) string { return "" }}.resolve)
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range parser.Model.Leaves(true) {
		name := "signpost " + command.Path()
		examples := manual[name]
		if len(examples) == 0 {
			t.Errorf("docs/cli.md has no example of %s", name)
		}
		for _, example := range examples {
			checkExample(t, parser, name, example)
		}
		delete(manual, name)
	}
	for name := range manual {
		t.Errorf("docs/cli.md has %q, which is no command", name)
	}
}

var (
	inShell = regexp.MustCompile(`^source <\((.*)\)$`)
	shWord  = regexp.MustCompile(`'[^']*'|[^\s']+`)
)

func checkExample(t *testing.T, parser *kong.Kong, name, example string) {
	t.Helper()
	line := example
	if inner := inShell.FindStringSubmatch(line); inner != nil {
		line = inner[1]
	}
	line, _, _ = strings.Cut(line, " | ")
	line, _, _ = strings.Cut(line, " > ")
	var words []string
	for _, word := range shWord.FindAllString(line, -1) {
		words = append(words, strings.Trim(word, "'"))
	}
	parsed, err := parser.Parse(familiar(parser.Model.Node, words[1:]))
	if err != nil {
		t.Errorf("%s\n%v", example, err)
		return
	}
	if words[0] != "signpost" || parsed.Selected().Path() != strings.TrimPrefix(name, "signpost ") {
		t.Errorf("%s\nis no example of %s", example, name)
	}
}
