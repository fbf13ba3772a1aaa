package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

// group makes a URL group of these URLs.
func (w *world) group(name string, urls ...string) {
	w.t.Helper()
	w.do("POST", "/v2/topics/"+name+"/endpoints", endpointsBody(urls...)).into(200, new(struct{}))
}

func endpointsBody(urls ...string) string {
	for i, url := range urls {
		urls[i] = fmt.Sprintf(`{"url": %q}`, url)
	}
	return `{"endpoints": [` + strings.Join(urls, ", ") + `]}`
}

// A tenant has so many groups of so many endpoints, and no more; what is one
// too many changes nothing. One request is stored in so many copies.
func TestGroupLimits(t *testing.T) {
	w := newLimitedWorld(t, engine.Limits{MaxURLGroups: 2, MaxEndpoints: 3, MaxBody: 1 << 20})
	w.group("a", "https://a.example/1", "https://a.example/2")
	w.group("b", "https://b.example")
	for name, refused := range map[string]answer{
		"a third group":      w.do("POST", "/v2/topics/c/endpoints", endpointsBody("https://a.example")),
		"a fourth endpoint":  w.do("POST", "/v2/topics/a/endpoints", endpointsBody("https://a.example/3", "https://a.example/4")),
		"four of a sudden":   w.do("POST", "/v2/topics/a/endpoints", endpointsBody("https://x.example/1", "https://x.example/2", "https://x.example/3", "https://x.example/4")),
		"a group that is to": w.do("POST", "/v2/topics/c/endpoints", endpointsBody("https://x.example/1", "https://x.example/2", "https://x.example/3", "https://x.example/4")),
	} {
		if refused.status != 412 {
			t.Errorf("%s: %d %s", name, refused.status, refused.body)
		}
	}
	all := get[[]client.URLGroup](w, "/v2/topics")
	if len(all) != 2 || len(all[0].Endpoints) != 2 || len(all[1].Endpoints) != 1 {
		t.Errorf("groups %+v", all)
	}
	w.group("a", "https://a.example/3") // there is room for it
	w.do("DELETE", "/v2/topics/b", "").into(200, new(struct{}))
	w.group("c", "https://c.example")

	later := `"headers": {"upstash-delay": "1h"}`
	item := fmt.Sprintf(`{"destination": "a", %s, "body": %q}`, later, strings.Repeat("x", 1<<20-1<<17))
	var out []client.PublishResponse
	w.do("POST", "/v2/batch", "["+strings.Repeat(item+", ", 5)+fmt.Sprintf(`{"destination": "c", %s}]`, later)).into(200, &out)
	var accepted []bool
	for _, p := range out {
		accepted = append(accepted, p.Error == "")
	}
	equal(t, "accepted", accepted, []bool{true, true, true, false, false, true})
	if !strings.Contains(out[3].Error, "a copy for each of 3 endpoints") {
		t.Errorf("refused with %q", out[3].Error)
	}
}

// A group shows its settings to those who may see content, and what they
// redact to nobody.
func TestGroupSettingsAreSecrets(t *testing.T) {
	w := newWorld(t)
	w.group("g", "https://a.example")
	set := func(redact string) {
		w.do("PATCH", "/v2/topics/g", fmt.Sprintf(`{"headers": {"Upstash-Forward-Authorization": "Bearer theirs", "Upstash-Failure-Callback": "https://cb.example",
			"Upstash-Failure-Callback-Forward-Authorization": "Bearer theirs", "Upstash-Callback-Forward-X": "shown"%s}}`, redact)).into(200, new(struct{}))
	}
	names := []string{"Upstash-Forward-Authorization", "Upstash-Failure-Callback-Forward-Authorization"}
	meta := w.withToken("", client.ScopeReadMetadata)
	set("")
	for _, name := range names {
		if got := get[client.URLGroup](w, "/v2/topics/g").Header.Get(name); got != "Bearer theirs" {
			t.Errorf("%s is shown as %q", name, got)
		}
	}
	for _, path := range []string{"/v2/topics", "/v2/topics/g"} {
		if body := string(meta.do("GET", path, "").body); strings.Contains(body, "Bearer") || strings.Contains(body, "shown") || !strings.Contains(body, names[0]) || !strings.Contains(body, "https://a.example") {
			t.Errorf("metadata of %s: %s", path, body)
		}
	}
	set(`, "Upstash-Redact-Fields": "header[Authorization]"`)
	g := get[client.URLGroup](w, "/v2/topics/g")
	for _, name := range names {
		if got := g.Header.Get(name); !placeholder.MatchString(got) {
			t.Errorf("%s is shown as %q", name, got)
		}
	}
	if g.Header.Get("Upstash-Callback-Forward-X") != "shown" || g.Header.Get("Upstash-Failure-Callback") != "https://cb.example" {
		t.Errorf("settings %v", g.Header)
	}
	// The audit log has no values.
	if body := string(w.do("GET", "/v2/audit", "").body); strings.Contains(body, "Bearer") || !strings.Contains(body, names[0]) {
		t.Errorf("audit %s", body)
	}
	var out []client.PublishResponse
	w.do("POST", "/v2/publish/g", "", "Upstash-Delay: 1h", "Authorization: Bearer "+w.token).into(200, &out)
	m := get[client.Message](w, "/v2/messages/"+out[0].MessageID)
	if len(m.Header) != 1 || !placeholder.MatchString(m.Header.Get("Authorization")) {
		t.Errorf("message header %v", m.Header)
	}
}

// Settings in the query and plain headers of the request go to every endpoint of
// a group that forwards them all; the token to none.
func TestWebhookToGroup(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(nil)
	w.group("hooks", e.URL+"/a", e.URL+"/b")
	w.do("PATCH", "/v2/topics/hooks", `{"headers": {"Upstash-Header-Forward": "true"}}`).into(200, new(struct{}))
	anybody := *w
	anybody.token = ""
	anybody.do("POST", "/v2/publish/hooks?upstash-forward-x-from=query&qstash_token="+strings.ReplaceAll(w.token, "=", "%3D"), "body", "X-Event: push").into(200, new([]client.PublishResponse))
	for _, d := range e.await(2) {
		if d.header.Get("X-Event") != "push" || d.header.Get("X-From") != "query" || d.header.Get("Upstash-Topic-Name") != "hooks" || string(d.body) != "body" {
			t.Errorf("delivered %s %v", d.url, d.header)
		}
		if all := fmt.Sprint(d.url, d.header); strings.Contains(all, w.token) || strings.Contains(all, "qstash_token") {
			t.Errorf("the token was delivered: %s", all)
		}
	}
}

// A group that a limited token has made says so, and takes no endpoints from
// others that the token is not for.
func TestT21GroupShowsItsPrefix(t *testing.T) {
	w := newWorld(t)
	limited := w.withToken(`"urlPrefix": "https://a.example/x"`, client.ScopePublish)
	limited.group("g", "https://a.example/x/1")
	limitedTo := func(want string) {
		t.Helper()
		if got := get[client.URLGroup](w, "/v2/topics/g").URLPrefix; got != want {
			t.Errorf("the prefix is %q, want %q", got, want)
		}
	}
	limitedTo("https://a.example/x")
	w.do("POST", "/v2/topics/g/endpoints", endpointsBody("https://b.example")).refused(409, "endpoints[0].url: topic g was made")
	w.do("PATCH", "/v2/topics/g", `{"headers": {}}`).into(200, new(struct{}))
	limitedTo("")
	w.group("g", "https://b.example")
}

// However small bodies have to be, all endpoints of a group get them.
func TestSmallBodiesToGroups(t *testing.T) {
	w := newLimitedWorld(t, engine.Limits{MaxBody: 100})
	urls := make([]string, 100)
	for i := range urls {
		urls[i] = fmt.Sprint("https://a.example/", i)
	}
	w.group("g", urls...)
	var out []client.PublishResponse
	w.do("POST", "/v2/publish/g", "", "Upstash-Delay: 1h", "Upstash-Forward-Large: "+strings.Repeat("x", 60<<10)).into(200, &out)
	if len(out) != len(urls) {
		t.Errorf("%d messages", len(out))
	}
	w.do("POST", "/v2/publish/g", strings.Repeat("x", 101)).refused(413, "body")
}
