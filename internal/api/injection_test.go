package api_test

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/api"
)

// injections are values that would do harm in SQL, or mean more than
// themselves in a pattern.
var injections = []string{
	`'`, `"`, `\`, `''`, `' OR '1'='1`, `" OR ""="`, `1 OR 1=1`, `1) OR (1=1`, `x' OR 1=1--`, `x'/**/OR/**/1=1#`,
	`'; DROP TABLE messages; --`, `1; DELETE FROM dlq`, `' UNION SELECT token_hash FROM tokens --`,
	`' AND (SELECT 1 FROM pg_sleep(5)) IS NOT NULL --`, `' AND randomblob(1000000000) IS NOT NULL --`,
	`%`, `_`, `*`, `?`, `$1`, `:id`, `@p1`, `{}`, "\x00", "a\x00b", "\xff\xfe", "\u2028", `%27%20OR%201=1`, `..%2f..%2f`, `-1`, `9223372036854775808`, `1e9`, `NaN`,
	strings.Repeat("'", 2000),
}

// queryNames are the parameters of a route in the query, and one that it does not
// have.
func queryNames(t *testing.T, r api.Route) []string {
	c, err := readContract()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"nonsense"}
	operation, ok := c.document["paths"].(node)[r.Pattern].(node)[strings.ToLower(r.Method)].(node)
	if !ok {
		t.Fatalf("%s %s is not in the document", r.Method, r.Pattern)
	}
	parameters, _ := operation["parameters"].([]any)
	for _, p := range parameters {
		if p := resolve(c.document, p.(node)["$ref"].(string)).(node); p["in"] == "query" {
			names = append(names, p["name"].(string))
		}
	}
	return names
}

var pathParameter = regexp.MustCompile(`\{[^}]*\}`)

// No text that a caller sends becomes part of a statement: as any id or filter
// of any route it selects nothing, or is refused.
func TestT26Injection(t *testing.T) {
	w := newWorldOf(t, &signpost.Server{RateLimit: -1})
	dead := w.publish("http://127.0.0.1:1/", "", "Upstash-Retries: 0", "Upstash-Label: l")
	w.await(dead, client.EventFailed)
	w.publish("https://example.com/", "", "Upstash-Delay: 1h", "Upstash-Label: l")
	w.do("POST", "/v2/trigger/https://example.com/", "", "Upstash-Delay: 1h", "Upstash-Workflow-Runid: wfr_1").into(200, &client.TriggerResponse{})

	harmless := func(a answer) {
		t.Helper()
		if a.status != 200 && a.status != 201 && a.status != 404 { // what is selected is nothing
			a.refused(400)
		}
	}
	w.unchanged("injection", func() {
		for _, r := range api.Routes() {
			if r.Open || strings.Contains(r.Pattern, "destination") || strings.Contains(r.Pattern, "batch") || strings.Contains(r.Pattern, "rotate") ||
				strings.Contains(r.Pattern, "rewrap") || r.Method == "POST" && strings.Contains(r.Pattern, "flowControl") {
				continue
			}
			if pathParameter.MatchString(r.Pattern) {
				for _, text := range injections {
					harmless(w.do(r.Method, pathParameter.ReplaceAllLiteralString(r.Pattern, url.PathEscape(text)), ""))
				}
				continue
			}
			for _, name := range queryNames(t, r) {
				for _, text := range injections {
					harmless(w.do(r.Method, r.Pattern+"?"+name+"="+url.QueryEscape(text), ""))
					if r.Method != "GET" {
						body, _ := json.Marshal(map[string]any{name: []string{text}})
						harmless(w.do(r.Method, r.Pattern, string(body)))
					}
				}
			}
		}
	})
	if n := len(w.dlq("")); n != 1 {
		t.Errorf("%d entries in the DLQ", n)
	}
}

// What may be stored comes back as it was.
func TestT26StoredText(t *testing.T) {
	w := newWorld(t)
	for _, text := range injections {
		if strings.Contains(text, "\x00") || !utf8.ValidString(text) || strings.TrimSpace(text) == "" || len(text) > 1000 {
			continue // no header value, or no id
		}
		url := "https://example.com/" + url.PathEscape(text)
		header := []string{"Upstash-Delay: 1h", "Upstash-Forward-X: " + text}
		if !strings.Contains(text, ":") {
			header = append(header, "Upstash-Deduplication-Id: "+text)
		}
		m := get[client.Message](w, "/v2/messages/"+w.publish(url, text, header...))
		if m.URL != url || m.Body != text || m.Header.Get("X") != text {
			t.Errorf("%q: stored %q, %q, %q", text, m.URL, m.Body, m.Header.Get("X"))
		}
	}
}
