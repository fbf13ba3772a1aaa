package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

// The document is what the code says. A route without documentation, a
// parameter that a handler reads and nobody documents, or one that is
// documented and nobody reads, fails.
func TestOpenAPI(t *testing.T) {
	made := document(t)
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile("openapi.json", made, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(made, openapi) {
		t.Error("openapi.json is not what the code says: run this test with -update")
	}
	documented := map[string]bool{}
	for _, op := range operations {
		documented[op.route] = true
	}
	for _, r := range routes {
		name := r.method + " " + r.pattern
		if !documented[name] {
			t.Errorf("%s has no line in operations", name)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("operations has %s, which is no route", name)
	}
}

type object = map[string]any

// document makes the whole of it.
func document(t *testing.T) []byte {
	d := documenter{t: t, schemas: object{}, parameters: object{}, responses: object{}, headers: object{}}
	d.reflector = jsonschema.Reflector{
		AllowAdditionalProperties: true, Anonymous: true, Namer: schemaName, Mapper: mapped,
	}
	for _, dir := range []string{"../../client", "../engine", "."} {
		if err := d.reflector.AddGoComments("github.com/signposthq/signpost/internal/api", dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range d.reflector.CommentMap {
		d.reflector.CommentMap[name] = plain(text)
	}
	paths := map[string]object{}
	for i := range operations {
		op := &operations[i]
		method, pattern, _ := strings.Cut(op.route, " ")
		path := strings.ReplaceAll(pattern, "...}", "}")
		if op.path != "" {
			path = op.path
		}
		if paths[path] == nil {
			paths[path] = object{}
		}
		if method != anyMethod {
			paths[path][strings.ToLower(method)] = d.operation(op, method, pattern, path)
			continue
		}
		for _, one := range []string{"get", "head", "post", "put", "patch", "delete", "options"} {
			each := d.operation(op, method, pattern, path)
			each["operationId"] = op.id + strings.ToUpper(one[:1]) + one[1:]
			paths[path][one] = each
		}
	}
	d.spellings()
	out, err := json.MarshalIndent(object{
		"openapi": "3.1.1",
		"info": object{
			"title": "Signpost", "version": "2",
			"description": "Delivers HTTP messages and workflow steps durably, signed. The API is that of QStash and Upstash Workflow, with routes of its own.",
			"license":     object{"name": "Apache 2.0", "identifier": "Apache-2.0"},
		},
		"servers": []object{{"url": "/", "description": "The server that this document comes from."}},
		"paths":   paths,
		"tags":    tags(),
		"components": object{
			"schemas": d.schemas, "parameters": d.parameters, "responses": d.responses, "headers": d.headers,
			"securitySchemes": object{
				"token": object{"type": "http", "scheme": "bearer", "description": "A token of a tenant. What it is good for is its scopes; admin is good for all."},
				"query": object{"type": "apiKey", "in": "query", "name": "qstash_token", "description": "The same, where no header can be sent. The header wins."},
			},
		},
	}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// tagOf is the noun that a path is about.
func tagOf(path string) string {
	noun := strings.Split(strings.TrimPrefix(path, "/v2"), "/")[1]
	switch noun {
	case "enqueue", "batch", "trigger":
		return "publish"
	case "logs":
		return "events"
	case "rotate", ".well-known":
		return "keys"
	case "globalParallelism":
		return "flowControl"
	case "openapi.json", "liveness", "readiness", "admin":
		return "server"
	case "limits":
		return "settings"
	case "wait", "notify", "waiters":
		return "workflows"
	}
	return noun
}

func tags() (all []object) {
	seen := map[string]bool{}
	for _, op := range operations {
		_, path, _ := strings.Cut(op.route, " ")
		if tag := tagOf(path); !seen[tag] {
			seen[tag] = true
			all = append(all, object{"name": tag})
		}
	}
	return all
}

type documenter struct {
	t         *testing.T
	reflector jsonschema.Reflector

	schemas, parameters, responses, headers object
}

func (d *documenter) operation(op *operation, method, pattern, path string) object {
	r := d.route(method, pattern)
	out := object{
		"operationId": op.id, "summary": op.what, "tags": []string{tagOf(path)},
		"parameters": d.parametersOf(op, path), "responses": d.answers(op, r), "security": []object{},
	}
	if op.text != "" {
		out["description"] = op.text
	}
	if r.scope != noToken {
		out["security"] = []object{{"token": []string{string(r.scope)}}, {"query": []string{string(r.scope)}}}
	}
	if r.scope == engine.ScopeRead {
		out["description"] = strings.TrimSpace(op.text + " A token with the scope read-metadata is answered without bodies and values of headers.")
	}
	switch body := op.body.(type) {
	case nil:
		if op.filters {
			out["requestBody"] = object{"content": object{"application/json": object{"schema": d.filterBody(op)}}}
		}
	case anyBytes:
		out["requestBody"] = object{"content": object{"*/*": object{}}}
	default:
		out["requestBody"] = object{"required": !op.optional, "content": object{"application/json": object{"schema": d.schema(body)}}}
	}
	return out
}

func (d *documenter) route(method, pattern string) *route {
	i := slices.IndexFunc(routes, func(r route) bool { return r.method == method && r.pattern == pattern })
	if i < 0 {
		d.t.Fatalf("operations has %s %s, which is no route", method, pattern)
	}
	return &routes[i]
}

var inBraces = regexp.MustCompile(`{(\w+)}`)

func (d *documenter) parametersOf(op *operation, path string) []object {
	all := []object{}
	add := func(key string, p object) {
		d.parameters[key] = p
		all = append(all, object{"$ref": "#/components/parameters/" + key})
	}
	for _, match := range inBraces.FindAllStringSubmatch(path, -1) {
		what, known := inPaths[match[1]]
		if !known {
			d.t.Errorf("%s: inPaths has no %s", path, match[1])
		}
		add("path."+match[1], object{"in": "path", "name": match[1], "required": true, "description": what, "schema": object{"type": "string"}})
	}
	for _, name := range op.query {
		p, known := parameters[name]
		if !known {
			d.t.Errorf("%s: parameters has no %s", op.route, name)
		}
		add("query."+name, object{"in": "query", "name": p.sent(name), "description": p.what, "schema": p.schema()})
	}
	headers := op.headers
	if op.settings {
		headers = slices.Sorted(maps.Keys(settingHeaders))
	}
	for _, name := range headers {
		p := settingHeaders[name]
		add("header."+strings.Trim(inBraces.ReplaceAllString(name, "$1"), "-"), object{"in": "header", "name": name, "description": p.what, "schema": p.schema()})
	}
	return all
}

func (p *parameter) sent(key string) string {
	if p.name != "" {
		return p.name
	}
	return key
}

func (p *parameter) schema() object {
	one := object{"type": "string"}
	switch p.kind {
	case aNumber:
		return object{"type": "integer", "minimum": p.from}
	case aTruth:
		return object{"type": "boolean"}
	case someOf, oneOfThese:
		one["enum"] = p.of
	}
	if p.kind == aList || p.kind == someOf {
		return object{"type": "array", "items": one}
	}
	return one
}

// filterBody is filters as some clients send them.
func (d *documenter) filterBody(op *operation) object {
	fields := object{}
	for _, name := range op.query {
		p := parameters[name]
		number := p.kind == aNumber || p.kind == aList
		one := []any{object{"type": "string"}}
		if number || p.kind == aTruth {
			one = append(one, object{"type": []string{"integer", "boolean", "null"}})
		}
		fields[p.sent(name)] = object{"anyOf": append(one, object{"type": "array", "items": object{"type": []string{"string", "integer"}}})}
	}
	return object{"type": "object", "description": "The parameters of the query, which may stand here instead.", "properties": fields}
}

func (d *documenter) answers(op *operation, r *route) object {
	out := object{}
	status := max(op.status, 200)
	out[strconv.Itoa(status)] = d.answer(op, r, status, op.answer)
	for status, answer := range op.also {
		out[strconv.Itoa(status)] = d.answer(op, r, status, answer)
	}
	errors := append([]int{400, 417, 429, 431, 500}, op.errors...)
	if r.scope != noToken {
		errors = append(errors, 401, 403)
	}
	for _, status := range errors {
		code := strconv.Itoa(status)
		d.responses[code] = d.answer(op, r, status, client.Error{})
		out[code] = object{"$ref": "#/components/responses/" + code}
	}
	return out
}

func (d *documenter) answer(op *operation, r *route, status int, body any) object {
	out := object{"description": statusTexts[status]}
	if statusTexts[status] == "" {
		d.t.Errorf("%s: nobody says what %d means", op.route, status)
	}
	if body != nil {
		out["content"] = object{"application/json": object{"schema": d.schema(body)}}
	}
	headers := object{}
	add := func(names ...string) {
		for _, name := range names {
			d.headers[name] = object{"description": answerHeaders[name], "schema": object{"type": "integer"}}
			headers[name] = object{"$ref": "#/components/headers/" + name}
		}
	}
	if status == 429 || status < 300 && r.scope != noToken && !unlimited[routeName{r.method, r.pattern}] {
		add("Burst-RateLimit-Limit", "Burst-RateLimit-Remaining", "Burst-RateLimit-Reset")
	}
	if status == 429 || status < 300 && op.adds {
		add("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
	}
	if status == 429 || status == 503 {
		add("Retry-After")
	}
	if len(headers) > 0 {
		out["headers"] = headers
	}
	return out
}

// schema is a type's, by reference where it has a name.
func (d *documenter) schema(v any) object {
	if all, ok := v.(oneOf); ok {
		var schemas []object
		for _, one := range all {
			schemas = append(schemas, d.schema(one))
		}
		return object{"anyOf": schemas}
	}
	text, err := json.Marshal(d.reflector.ReflectFromType(reflect.TypeOf(v)))
	if err != nil {
		d.t.Fatal(err)
	}
	var out object
	if err := json.Unmarshal(bytes.ReplaceAll(text, []byte("#/$defs/"), []byte("#/components/schemas/")), &out); err != nil {
		d.t.Fatal(err)
	}
	if defs, ok := out["$defs"].(object); ok {
		maps.Copy(d.schemas, defs)
	}
	delete(out, "$defs")
	delete(out, "$schema")
	return out
}

func schemaName(t reflect.Type) string {
	name := t.Name()
	if name == "" {
		return ""
	}
	return strings.ToUpper(name[:1]) + name[1:]
}

// mapped are the schemas of types whose values are named.
func mapped(t reflect.Type) *jsonschema.Schema {
	if t == reflect.TypeFor[fieldValue]() {
		text := &jsonschema.Schema{Type: "string"}
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{text, {Type: "array", Items: text}}}
	}
	if t.Kind() != reflect.String || t.Name() == "string" || t == reflect.TypeFor[json.Number]() {
		return nil
	}
	values := constants(t.Name())
	if len(values) == 0 {
		return nil
	}
	s := &jsonschema.Schema{Type: "string"}
	for _, v := range values {
		s.Enum = append(s.Enum, v)
	}
	return s
}

// spellings corrects the schemas of those that encode themselves in another way
// than their fields say.
func (d *documenter) spellings() {
	event := d.schemas["Event"].(object)["properties"].(object)
	event["responseHeader"], event["retryDelayExpr"] = event["responseHeaders"], event["retryDelayExpression"]
	schedule := d.schemas["Schedule"].(object)["properties"].(object)
	schedule["callerIp"] = schedule["callerIP"]
	for _, asked := range []string{"LimitsChange", "Endpoint"} { // null is as good as nothing
		for _, field := range d.schemas[asked].(object)["properties"].(object) {
			field := field.(object)
			field["type"] = []any{field["type"], "null"}
		}
	}
	d.schemas["QueueRequest"].(object)["properties"].(object)["parallelism"].(object)["minimum"] = 1
	one := d.schemas["PublishResponse"]
	d.schemas["PublishResponse"] = object{"anyOf": []any{
		object{"$ref": "#/components/schemas/PublishedMessage"},
		object{"type": "array", "items": object{"$ref": "#/components/schemas/PublishedMessage"}, "description": "For a URL group: one for each endpoint, in its order."},
	}}
	d.schemas["PublishedMessage"] = one
}

var docLink = regexp.MustCompile(`\B\[([A-Z][\w.]*)\]`)

// plain is a comment as text without links and line breaks.
func plain(text string) string {
	return strings.Join(strings.Fields(docLink.ReplaceAllString(text, "$1")), " ")
}

// constants are the values that our packages name of a type.
func constants(typ string) []string {
	var values []string
	for _, dir := range []string{"../../client", "../engine", "../wire"} {
		for _, file := range sources(dir) {
			for _, decl := range file.Decls {
				values = append(values, constantsOf(decl, typ)...)
			}
		}
		if len(values) > 0 {
			return values
		}
	}
	return nil
}

func constantsOf(decl ast.Decl, typ string) (values []string) {
	group, ok := decl.(*ast.GenDecl)
	if !ok || group.Tok != gotoken.CONST {
		return nil
	}
	for _, spec := range group.Specs {
		spec := spec.(*ast.ValueSpec)
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != typ || len(spec.Values) == 0 {
			continue
		}
		if value, ok := spec.Values[0].(*ast.BasicLit); ok {
			text, _ := strconv.Unquote(value.Value)
			values = append(values, text)
		}
	}
	return values
}

var parsed = map[string][]*ast.File{}

// sources are the files of a package, without its tests.
func sources(dir string) []*ast.File {
	if files := parsed[dir]; files != nil {
		return files
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*.go"))
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, 0)
		if err != nil {
			panic(err)
		}
		parsed[dir] = append(parsed[dir], file)
	}
	return parsed[dir]
}

// What a handler reads of the query is documented, and nothing else is.
func TestOpenAPIHasTheParametersThatAreRead(t *testing.T) {
	read := newReading()
	read.reads["filters"] = nil // it looks at what those that call it may read
	documented := map[string]map[string]bool{}
	for i := range operations {
		op := &operations[i]
		if documented[op.route] == nil {
			documented[op.route] = map[string]bool{}
		}
		for _, key := range op.query {
			p := parameters[key]
			documented[op.route][p.sent(key)] = true
		}
	}
	for i := range routes {
		r := &routes[i]
		name := r.method + " " + r.pattern
		handler := runtime.FuncForPC(reflect.ValueOf(r.handle).Pointer()).Name()
		reads := read.by(handler[strings.LastIndexByte(handler, '.')+1:])
		if strings.Contains(r.pattern, "/dlq") && len(reads) > 0 {
			// What the bulk operations refuse is not for the list either.
			maps.DeleteFunc(reads, func(p string, _ bool) bool { return !slices.Contains(dlqFilters, p) })
		}
		for p := range reads {
			if !documented[name][p] {
				t.Errorf("%s reads %s, which is not documented", name, p)
			}
		}
		for p := range documented[name] {
			if !reads[p] {
				t.Errorf("%s: %s is documented, and nobody reads it", name, p)
			}
		}
	}
}

// reading is which functions of this package call which, and which parameters
// they read.
type reading struct {
	calls, reads map[string][]string
}

// readers are what parameters are read with, and in which argument they are
// named, from which on.
var readers = map[string]int{
	"list": 0, "urls": 0, "integer": 0, "one": 0, "Get": 0, "Has": 0, "flag": 0, "whole": 0, "boolean": 1, "single": 1,
}

func newReading() *reading {
	r := &reading{map[string][]string{}, map[string][]string{}}
	for _, file := range sources(".") {
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
				r.function(f)
			}
		}
	}
	return r
}

func (r *reading) function(f *ast.FuncDecl) {
	ast.Inspect(f.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name, ofQuery := called(call)
		r.calls[f.Name.Name] = append(r.calls[f.Name.Name], name)
		first, reads := readers[name]
		if !reads || !ofQuery {
			return true
		}
		for _, arg := range call.Args[first:] {
			if text, ok := arg.(*ast.BasicLit); ok && text.Kind == gotoken.STRING {
				p, _ := strconv.Unquote(text.Value)
				r.reads[f.Name.Name] = append(r.reads[f.Name.Name], p)
			}
		}
		return true
	})
}

// called is what a call calls, and whether that may be about a query: headers
// are read with the same words.
func called(call *ast.CallExpr) (name string, ofQuery bool) {
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		return fun.Name, true
	case *ast.SelectorExpr:
		switch on := fun.X.(type) {
		case *ast.Ident: // r.flag, f.list, and h.Get of a header
			return fun.Sel.Name, on.Name == "r" || on.Name == "f"
		case *ast.SelectorExpr: // r.query.Get
			return fun.Sel.Name, on.Sel.Name == "query" || on.Sel.Name == "Values"
		}
		return fun.Sel.Name, false
	}
	return "", false
}

// by is what a function reads, and those that it calls.
func (r *reading) by(name string) map[string]bool {
	reads, seen := map[string]bool{}, map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		for _, p := range r.reads[name] {
			reads[p] = true
		}
		for _, next := range r.calls[name] {
			visit(next)
		}
	}
	visit(name)
	return reads
}

// Each header that is a setting of a publish is documented.
func TestOpenAPIHasAllSettings(t *testing.T) {
	names := map[string]string{}
	for _, file := range sources("../wire") {
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != gotoken.CONST {
				continue
			}
			for _, spec := range group.Specs {
				spec := spec.(*ast.ValueSpec)
				if value, ok := spec.Values[0].(*ast.BasicLit); ok && value.Kind == gotoken.STRING {
					names[spec.Names[0].Name], _ = strconv.Unquote(value.Value)
				}
			}
		}
	}
	found := 0
	for _, file := range sources("../wire") {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil || !strings.Contains(fmt.Sprint(f.Recv.List[0].Type), "configParser") {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				id, ok := n.(*ast.Ident)
				if !ok || !strings.HasPrefix(id.Name, "Header") || names[id.Name] == "" {
					return true
				}
				found++
				if _, known := settingHeaders[names[id.Name]]; !known {
					t.Errorf("%s is read by wire.ParseConfig, and is not in settingHeaders", names[id.Name])
				}
				return true
			})
		}
	}
	if found < 20 {
		t.Errorf("found %d headers only", found)
	}
}
