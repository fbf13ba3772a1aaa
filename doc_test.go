package signpost_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// public are the packages that users import.
var public = []string{
	".", "client", "receiver", "receiver/sqlreplay", "workflow", "workflow/otelworkflow", "workflowtest", "signposttest",
}

// described are those whose fields say what they hold, each by itself. The JSON of
// others has groups of them.
var described = []string{".", "workflow", "workflowtest", "signposttest"}

// shown are those of which an Example uses each function and method.
var shown = []string{"workflow", "workflow/otelworkflow", "workflowtest", "signposttest"}

// Whatever users can name says what it is for.
func TestPublicNamesAreDocumented(t *testing.T) {
	for _, dir := range public {
		p, _ := parsePackage(t, dir)
		undocumented := func(kind, name, comment string) {
			if strings.TrimSpace(comment) == "" {
				t.Errorf("%s: %s %s has no doc comment", dir, kind, name)
			}
		}
		undocumented("package", p.Name, p.Doc)
		values := func(all []*doc.Value) {
			for _, group := range all {
				for _, spec := range group.Decl.Specs {
					v := spec.(*ast.ValueSpec)
					for _, name := range v.Names {
						if name.IsExported() {
							undocumented("value", name.Name, group.Doc+v.Doc.Text()+v.Comment.Text())
						}
					}
				}
			}
		}
		values(p.Consts)
		values(p.Vars)
		for _, f := range functions(p) {
			undocumented("function", f.Recv+" "+f.Name, f.Doc)
		}
		for _, typ := range p.Types {
			undocumented("type", typ.Name, typ.Doc)
			values(typ.Consts)
			values(typ.Vars)
			if !slices.Contains(described, dir) {
				continue
			}
			for _, field := range fields(typ) {
				for _, name := range field.Names {
					if name.IsExported() {
						undocumented("field", typ.Name+"."+name.Name, field.Doc.Text()+field.Comment.Text())
					}
				}
			}
		}
	}
}

// Whatever users can call is called in an Example, which has output that is checked.
func TestPublicFunctionsAreShown(t *testing.T) {
	for _, dir := range shown {
		p, examples := parsePackage(t, dir)
		used := map[string]bool{}
		for _, e := range examples {
			if e.Output == "" && !e.EmptyOutput {
				t.Errorf("%s: Example%s is not run", dir, e.Name)
			}
			ast.Inspect(e.Code, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					used[s.Sel.Name] = true
				}
				return true
			})
		}
		for _, f := range functions(p) {
			if !used[f.Name] && f.Name != "ServeHTTP" && f.Name != "String" {
				t.Errorf("%s: no Example uses %s %s", dir, f.Recv, f.Name)
			}
		}
	}
}

// parsePackage is what the documentation of a package tells.
func parsePackage(t *testing.T, dir string) (*doc.Package, []*doc.Example) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no code in %s: %v", dir, err)
	}
	fset, code, tests := token.NewFileSet(), []*ast.File{}, []*ast.File{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(fset, name, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") {
			tests = append(tests, f)
		} else {
			code = append(code, f)
		}
	}
	examples := doc.Examples(tests...)
	p, err := doc.NewFromFiles(fset, code, dir)
	if err != nil {
		t.Fatal(err)
	}
	return p, examples
}

// functions are those of a package, and the methods of its types.
func functions(p *doc.Package) []*doc.Func {
	all := slices.Clone(p.Funcs)
	for _, typ := range p.Types {
		all = append(append(all, typ.Funcs...), typ.Methods...)
	}
	return all
}

// fields are those of a struct.
func fields(typ *doc.Type) []*ast.Field {
	for _, spec := range typ.Decl.Specs {
		if s, ok := spec.(*ast.TypeSpec).Type.(*ast.StructType); ok {
			return s.Fields.List
		}
	}
	return nil
}
