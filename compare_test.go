package signpost_test

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// secretName is what something is called that an attacker could find out by
// how long a comparison takes.
var secretName = regexp.MustCompile(`(?i)(token|secret|signature|mac|digest|seed|password|(signing|current|next|old|raw|redact|master)_?key|(body|header|token|key)_?hash|hash64)$`)

// notSecret are comparisons that may take as long as they like, with why.
var notSecret = map[string]string{
	"internal/engine/endpoint.go: id == k.secret":                                 "ids of keys, which go over the wire in the clear",
	"internal/engine/endpoint.go: verified == b.keyID(a.SigningKey)":              "the same",
	"internal/engine/endpoint.go: verified == b.seedID(a.Seed)":                   "the same",
	"workflow/binding.go: token == receiver.KindStep":                             "a kind of request, as the token names it",
	"workflow/binding.go: token == receiver.KindCallback":                         "the same",
	"workflow/binding.go: token == receiver.KindFailure":                          "the same",
	"workflow/binding.go: token == receiver.KindCheck":                            "the same",
	"workflow/binding.go: token":                                                  "the same",
	"internal/api/api.go: r.route.scope == noToken":                               "the need of a token, not one",
	"internal/wire/forward.go: strings.EqualFold(strings.TrimSpace(token), name)": "a token of the grammar of headers",
	"cmd/signpost/dev.go: keys.Current != user.CurrentSigningKey":                 "keys that everybody knows",
	"cmd/signpost/remote.go: u.Token == token":                                    "tokens that everybody knows, and one's own",
}

// Whatever is secret, or proves that somebody knows a secret, is compared in
// constant time: with subtle or hmac, or by its hash, as tokens are (in a map
// and in an index, where only the hash of a guess shows).
func TestT08ConstantTime(t *testing.T) {
	used := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules" || d.Name() == ".git"):
			return fs.SkipDir
		case strings.HasPrefix(d.Name(), "diagnose"): // for those who have the keys, the body and time
			return nil
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		for _, at := range comparisons(file) {
			var text bytes.Buffer
			format.Node(&text, files, at)
			name := filepath.ToSlash(path) + ": " + text.String()
			if used[name] = true; notSecret[name] == "" {
				t.Errorf("%s: compare in constant time, or add the line to notSecret with a reason:\n%q", files.Position(at.Pos()), name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range notSecret {
		if !used[name] {
			t.Errorf("there is no %s any more", name)
		}
	}
}

// comparisons of secrets in a file, other than with nothing.
func comparisons(file *ast.File) (found []ast.Node) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && !isNothing(n.X) && !isNothing(n.Y) && (isSecret(n.X) || isSecret(n.Y)) {
				found = append(found, n)
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && isCompare(f) && len(n.Args) == 2 && (isSecret(n.Args[0]) || isSecret(n.Args[1])) {
				found = append(found, n)
			}
		case *ast.SwitchStmt:
			if n.Tag != nil && isSecret(n.Tag) {
				found = append(found, n.Tag)
			}
		}
		return true
	})
	return found
}

func isCompare(f *ast.SelectorExpr) bool {
	pkg, ok := f.X.(*ast.Ident)
	return ok && map[string]bool{
		"bytes.Equal": true, "bytes.Compare": true, "bytes.HasPrefix": true, "slices.Equal": true, "reflect.DeepEqual": true,
		"strings.EqualFold": true, "strings.Compare": true, "cmp.Compare": true,
	}[pkg.Name+"."+f.Sel.Name]
}

// isNothing says whether an expression is "", nil or a constant of no content.
func isNothing(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind != token.STRING || len(e.Value) == 2
	case *ast.Ident:
		return e.Name == "nil" || e.Name == "true" || e.Name == "false"
	case *ast.CompositeLit:
		return len(e.Elts) == 0
	case *ast.ParenExpr:
		return isNothing(e.X)
	}
	return false
}

// isSecret says whether an expression is called like a secret.
func isSecret(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return secretName.MatchString(e.Name)
	case *ast.SelectorExpr:
		return secretName.MatchString(e.Sel.Name)
	case *ast.ParenExpr:
		return isSecret(e.X)
	case *ast.StarExpr:
		return isSecret(e.X)
	case *ast.SliceExpr:
		return isSecret(e.X)
	case *ast.IndexExpr:
		return isSecret(e.X)
	case *ast.UnaryExpr:
		return isSecret(e.X)
	case *ast.CallExpr: // a conversion of one, or a function that makes one
		if f, ok := e.Fun.(*ast.Ident); ok && (f.Name == "len" || f.Name == "cap") {
			return false
		}
		return isSecret(e.Fun) || len(e.Args) == 1 && isSecret(e.Args[0])
	}
	return false
}

// The rule finds what it is for.
func TestComparisons(t *testing.T) {
	for source, want := range map[string]int{
		`got == token`: 1, `r.Header.Get("X") != s.Signature`: 1, `bytes.Equal(mac, sum)`: 1, `string(mac) == x`: 1,
		`strings.EqualFold(a, t.CurrentKey)`: 1, `mac[:] == nil`: 0, `token == ""`: 0, `len(mac) == 32`: 0, `a == b`: 0,
		`hmac.Equal(mac, sum)`: 0, `subtle.ConstantTimeCompare(mac, sum) == 1`: 0, `err == nil && token != "x"`: 1,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\nvar _ = "+source, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(comparisons(file)); got != want {
			t.Errorf("%s: %d found, want %d", source, got, want)
		}
	}
}
