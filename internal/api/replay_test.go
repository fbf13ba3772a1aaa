package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi/datamodel"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/internal/api"
)

type node = map[string]any

// contract is the document as those read it who go by it, but for one thing:
// fields that it does not have are errors.
type contract struct {
	document node
	compiler *jsonschema.Compiler
	mu       sync.Mutex // of the compiler
}

const documentURL = "https://signpost.test/openapi.json"

var readContract = sync.OnceValues(func() (*contract, error) {
	c := &contract{compiler: jsonschema.NewCompiler()}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(api.OpenAPI()))
	if err != nil {
		return nil, err
	}
	c.document = document.(node)
	for _, schema := range c.document["components"].(node)["schemas"].(node) {
		closeObjects(schema)
	}
	return c, c.compiler.AddResource(documentURL, document)
})

// closeObjects refuses fields that an object's schema does not name.
func closeObjects(schema any) {
	s, ok := schema.(node)
	if !ok {
		return
	}
	if fields, ok := s["properties"].(node); ok && s["additionalProperties"] == nil {
		s["additionalProperties"] = false
		for _, field := range fields {
			closeObjects(field)
		}
	}
}

// The document is one of OpenAPI 3.1, and all that it refers to is there.
func TestOpenAPIIsOne(t *testing.T) {
	rules, err := jsonschema.UnmarshalJSON(strings.NewReader(datamodel.OpenAPI31SchemaData))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("rules.json", rules); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("rules.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(api.OpenAPI()))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(document); err != nil {
		t.Error(err)
	}
	ids := map[string]bool{}
	for path, methods := range document.(node)["paths"].(node) {
		for method, op := range methods.(node) {
			id := op.(node)["operationId"].(string)
			if ids[id] {
				t.Errorf("%s %s: operationId %s is another's too", method, path, id)
			}
			ids[id] = true
		}
	}
	checkReferences(t, document.(node), document)
	for name := range document.(node)["components"].(node)["schemas"].(node) {
		compile(t, "/components/schemas/"+name)
	}
}

func checkReferences(t *testing.T, document node, at any) {
	switch at := at.(type) {
	case node:
		if ref, ok := at["$ref"].(string); ok && resolve(document, ref) == nil {
			t.Errorf("%s is not there", ref)
		}
		for _, v := range at {
			checkReferences(t, document, v)
		}
	case []any:
		for _, v := range at {
			checkReferences(t, document, v)
		}
	}
}

// resolve is what a reference within the document refers to.
func resolve(document node, ref string) any {
	var at any = document
	for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		part, err := url.PathUnescape(part)
		if err != nil {
			return nil
		}
		o, _ := at.(node)
		at = o[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	return at
}

func compile(t *testing.T, pointer string) *jsonschema.Schema {
	t.Helper()
	c, err := readContract()
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	schema, err := c.compiler.Compile(documentURL + "#" + pointer)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// documented compares a request and its answer, both as text, with the document:
// the operation, its parameters and the request's body if that was accepted, the
// status, the headers and the body of the answer.
func documented(t *testing.T, request, answer string) {
	t.Helper()
	c, err := readContract()
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(request, "\n\n")
	line, header, _ := strings.Cut(head, "\n")
	method, target, _ := strings.Cut(line, " ")
	path, query, _ := strings.Cut(target, "?")
	index := api.FindRoute(method, path)
	if index < 0 {
		return // it is about what is no route
	}
	pointer := operationOf(c, api.Routes()[index], method, path)
	code, rest, _ := strings.Cut(answer, "\n")
	op, ok := resolve(c.document, "#"+pointer).(node)
	if !ok {
		if code != "400" {
			t.Errorf("%s: the document does not have it", line)
		}
		return
	}
	answered, ok := op["responses"].(node)[code].(node)
	if !ok {
		t.Errorf("%s: the document has no status %s", line, code)
		return
	}
	at := pointer + "/responses/" + code
	if ref, ok := answered["$ref"].(string); ok {
		at, answered = strings.TrimPrefix(ref, "#"), resolve(c.document, ref).(node)
	}
	answerHeader, answerBody, _ := strings.Cut(rest, "\n\n")
	for line := range strings.Lines(answerHeader) {
		name, _, _ := strings.Cut(line, ":")
		if strings.Contains(name, "Ratelimit") && !hasName(answered["headers"], name) {
			t.Errorf("%s: the document has no header %s of %s", line, name, code)
		}
	}
	if answered["content"] != nil {
		validate(t, line+", answer "+code, at+"/content/application~1json/schema", answerBody)
	}
	if code[0] != '2' {
		return
	}
	c.checkParameters(t, line, op, header, query)
	if content, ok := resolve(op, "requestBody/content").(node); ok && content["application/json"] != nil && strings.TrimSpace(body) != "" {
		validate(t, line+", request", pointer+"/requestBody/content/application~1json/schema", body)
	}
}

// operationOf is where the document has what answers a request.
func operationOf(c *contract, r api.Route, method, path string) string {
	if r.Method != "ANY" {
		method = r.Method // a HEAD is asked as a GET
	}
	method = strings.ToLower(method)
	pattern := strings.ReplaceAll(r.Pattern, "...}", "}")
	if _, ok := c.document["paths"].(node)[pattern].(node)[method]; !ok {
		pattern += path[strings.LastIndexByte(path, '/'):] // one pattern for several paths
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	return "/paths/" + url.PathEscape(escape.Replace(pattern)) + "/" + method
}

func hasName(headers any, name string) bool {
	all, _ := headers.(node)
	for have := range all {
		if strings.EqualFold(have, name) {
			return true
		}
	}
	return false
}

func validate(t *testing.T, what, pointer, text string) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Errorf("%s: %v in %q", what, err, text)
		return
	}
	if err := compile(t, pointer).Validate(v); err != nil {
		t.Errorf("%s is not as documented: %v\n%s", what, err, text)
	}
}

// ignored are parameters that requests of the goldens have although they say
// nothing: some clients send them, and one is mistyped.
var ignored = []string{"qstash_token", "api", "groupBy", "trimBody", "lable"}

// checkParameters looks for what a request sent and the document does not have.
func (c *contract) checkParameters(t *testing.T, line string, op node, header, query string) {
	t.Helper()
	names := map[string][]string{}
	for _, p := range op["parameters"].([]any) {
		p := resolve(c.document, p.(node)["$ref"].(string)).(node)
		names[p["in"].(string)] = append(names[p["in"].(string)], p["name"].(string))
	}
	sent, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	settings := len(names["header"]) > 10 // which may be in the query too
	for name := range sent {
		if !settings && !slices.Contains(ignored, name) && !slices.Contains(names["query"], name) {
			t.Errorf("%s: the document has no parameter %s", line, name)
		}
	}
	for line := range strings.Lines(header) {
		name, _, _ := strings.Cut(line, ":")
		name = http.CanonicalHeaderKey(name)
		if settings && strings.HasPrefix(name, "Upstash-") && !slices.ContainsFunc(names["header"], func(known string) bool {
			prefix, _, open := strings.Cut(known, "{")
			return known == name || open && strings.HasPrefix(name, prefix)
		}) {
			t.Errorf("%s: the document has no header %s", line, name)
		}
	}
}

// each calls do for each operation, with a path whose parameters are its id.
func (c *contract) each(do func(method, path string, op node)) {
	for pattern, methods := range c.document["paths"].(node) {
		for method, op := range methods.(node) {
			do(strings.ToUpper(method), inBraces.ReplaceAllString(pattern, op.(node)["operationId"].(string)), op.(node))
		}
	}
}

var inBraces = regexp.MustCompile(`{\w+}`)

// A number is taken from its documented minimum on.
func TestOpenAPIMinimums(t *testing.T) {
	c, err := readContract()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	found := 0
	c.each(func(method, path string, op node) {
		for _, p := range op["parameters"].([]any) {
			p := resolve(c.document, p.(node)["$ref"].(string)).(node)
			schema := p["schema"].(node)
			if schema["type"] != "integer" || p["in"] != "query" {
				continue
			}
			found++
			name := p["name"].(string)
			least, err := schema["minimum"].(json.Number).Int64()
			if err != nil {
				t.Fatal(err)
			}
			ask := func(n int64) answer { return w.do(method, path+"?"+name+"="+strconv.FormatInt(n, 10), "") }
			ask(least-1).refused(400, name)
			if a := ask(least); a.status == 400 && name != "period" { // which is nothing by itself
				t.Errorf("%s: %s", a.what, a.body)
			}
		}
	})
	if found < 30 {
		t.Errorf("found %d only", found)
	}
}

// What names a thing that is not there is answered 404 if the document says so,
// and only then.
func TestOpenAPINotFound(t *testing.T) {
	c, err := readContract()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	c.each(func(method, path string, op node) {
		_, documented := op["responses"].(node)["404"]
		if !strings.Contains(path, op["operationId"].(string)) || op["requestBody"] != nil {
			return
		}
		a := w.do(method, path, "")
		if a.status != 400 && (a.status == 404) != documented { // 400: it can't be a name of such a thing
			t.Errorf("%s: %d %s; in the document: %v", a.what, a.status, a.body, documented)
		}
	})
}

// The document is served to everybody, and again only when it has changed.
func TestOpenAPIIsServed(t *testing.T) {
	w := newWorld(t)
	anybody := w.as(signpost.Credentials{})
	first := anybody.do("GET", "/openapi.json", "")
	var got, want any
	if first.into(200, &got); json.Unmarshal(api.OpenAPI(), &want) != nil || !equalJSON(got, want) {
		t.Error("another document is served")
	}
	etag := first.header.Get("ETag")
	for sent, status := range map[string]int{etag: 304, "W/" + etag: 304, `"a", ` + etag: 304, "*": 304, `"a"`: 200, strconv.Quote("*"): 200} {
		a := anybody.do("GET", "/openapi.json", "", "If-None-Match: "+sent)
		if a.status != status || a.header.Get("ETag") != etag || status == 304 && len(a.body) > 0 {
			t.Errorf("%s: %d with %d bytes, want %d", sent, a.status, len(a.body), status)
		}
	}
	resp, err := http.Head(w.url + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || len(body) > 0 || resp.StatusCode != 200 {
		t.Errorf("HEAD: %d, %d bytes, %v", resp.StatusCode, len(body), err)
	}
}

func equalJSON(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}
