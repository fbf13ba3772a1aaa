package engine_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// endpoints reads "name=url" and "url".
func endpoints(all ...string) (out []engine.GroupEndpoint) {
	for _, text := range all {
		name, url, named := strings.Cut(text, "=")
		if !named {
			name, url = "", text
		}
		if url != "" && !strings.Contains(url, "://") {
			url = "https://" + url + ".example"
		}
		out = append(out, engine.GroupEndpoint{Name: name, URL: url})
	}
	return out
}

func (w *world) group(name string, members ...string) {
	w.t.Helper()
	if err := w.engine.AddToGroup(context.Background(), w.caller, name, endpoints(members...)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) groupHeader(name string, lines ...string) {
	w.t.Helper()
	h := header(lines...)
	cfg, err := wire.ParseConfig(h)
	if err == nil {
		err = w.engine.SetGroupHeader(context.Background(), w.caller, name, h, cfg)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func header(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

// to is a publish with these headers, as the API makes one.
func to(destination, body string, lines ...string) engine.Publish {
	h := header(lines...)
	cfg, err := wire.ParseConfig(h)
	if err != nil {
		panic(err)
	}
	return engine.Publish{Destination: destination, Config: cfg, Header: h, Body: []byte(body)}
}

func (w *world) publishAll(items ...engine.Publish) []engine.Published {
	w.t.Helper()
	out, err := w.engine.Publish(context.Background(), w.caller, items)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// answered are what was published to endpoints: their URLs, with "*" behind
// those that are duplicates.
func answered(p engine.Published) (out []string) {
	for _, e := range p.Endpoints {
		short := strings.TrimSuffix(strings.TrimPrefix(e.URL, "https://"), ".example")
		if e.Deduplicated {
			short += "*"
		}
		out = append(out, short)
	}
	return out
}

// An endpoint is the one of its name, else the one of its URL. Names and URLs
// are there once each, in the order in which they came.
func TestGroupEndpoints(t *testing.T) {
	const add, remove = true, false
	type step struct {
		add  bool
		what []string
		want []string // nil: there is no group
	}
	for name, steps := range map[string][]step{
		"in order":                {{add, []string{"a", "n=b"}, []string{"a", "n=b"}}, {add, []string{"c"}, []string{"a", "n=b", "c"}}},
		"again":                   {{add, []string{"a", "n=b", "a", "n=b"}, []string{"a", "n=b"}}, {add, []string{"b", "a"}, []string{"a", "n=b"}}},
		"named later":             {{add, []string{"a", "b"}, []string{"a", "b"}}, {add, []string{"n=a"}, []string{"n=a", "b"}}},
		"renamed":                 {{add, []string{"m=a", "b"}, []string{"m=a", "b"}}, {add, []string{"n=a"}, []string{"n=a", "b"}}},
		"moved":                   {{add, []string{"n=a", "b"}, []string{"n=a", "b"}}, {add, []string{"n=c"}, []string{"n=c", "b"}}},
		"moved to another's":      {{add, []string{"a", "n=b", "m=c"}, []string{"a", "n=b", "m=c"}}, {add, []string{"m=a"}, []string{"n=b", "m=a"}}},
		"exchanged":               {{add, []string{"n=a", "m=b"}, []string{"n=a", "m=b"}}, {add, []string{"n=b", "m=a"}, []string{"n=b", "m=a"}}},
		"removed by url":          {{add, []string{"a", "n=b"}, []string{"a", "n=b"}}, {remove, []string{"b"}, []string{"a"}}},
		"removed by name":         {{add, []string{"a", "n=b"}, []string{"a", "n=b"}}, {remove, []string{"n="}, []string{"a"}}},
		"removed by both":         {{add, []string{"a", "n=b"}, []string{"a", "n=b"}}, {remove, []string{"n=b"}, []string{"a"}}},
		"the name wins":           {{add, []string{"a", "n=b"}, []string{"a", "n=b"}}, {remove, []string{"n=a"}, []string{"a"}}},
		"a name nobody has":       {{add, []string{"a", "n=b"}, []string{"a", "n=b"}}, {remove, []string{"m=a"}, []string{"n=b"}}},
		"removed what is not":     {{add, []string{"a"}, []string{"a"}}, {remove, []string{"b", "m="}, []string{"a"}}},
		"removed the last":        {{add, []string{"a", "b"}, []string{"a", "b"}}, {remove, []string{"a", "b", "c"}, nil}},
		"removed and added again": {{add, []string{"a"}, []string{"a"}}, {remove, []string{"a"}, nil}, {add, []string{"b"}, []string{"b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				ctx := context.Background()
				for i, s := range steps {
					time.Sleep(time.Second)
					var err error
					if s.add {
						err = w.engine.AddToGroup(ctx, w.caller, "g", endpoints(s.what...))
					} else {
						err = w.engine.RemoveFromGroup(ctx, w.caller, "g", endpoints(s.what...))
					}
					if err != nil {
						t.Fatal(err)
					}
					g, err := w.engine.URLGroup(ctx, w.caller, "g")
					if s.want == nil {
						if engine.ErrorCode(err) != engine.NotFound {
							t.Errorf("step %d: got %v, error %v, want no group", i, g, err)
						}
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(endpoints(s.want...), g.Endpoints); diff != "" {
						t.Errorf("step %d (-want +got):\n%s", i, diff)
					}
					if before := endpoints(steps[max(0, i-1)].want...); (g.UpdatedAt == time.Now().UnixMilli()) == (i > 0 && slices.Equal(before, g.Endpoints)) {
						t.Errorf("step %d: changed at %d, it is %d now", i, g.UpdatedAt, time.Now().UnixMilli())
					}
				}
			})
		})
	}
}

// What is published to a group goes to each endpoint, as a message of its own
// that says where it comes from.
func TestPublishToGroup(t *testing.T) {
	inBubble(t, func(w *world) {
		w.group("g", "a", "the 2nd=b")
		for _, item := range []engine.Publish{to("g", "body", "Upstash-Forward-X: y"), to("g", "body", "Upstash-Queue-Name: q")} {
			before := len(w.made())
			out := w.publishAll(item)[0]
			if got := answered(out); !slices.Equal(got, []string{"a", "b"}) || out.MessageID != "" {
				t.Fatalf("answered %+v", out)
			}
			if out.Endpoints[0].MessageID == out.Endpoints[1].MessageID {
				t.Errorf("both are %s", out.Endpoints[0].MessageID)
			}
			time.Sleep(time.Second)
			made := w.made()[before:]
			if len(made) != 2 {
				t.Fatalf("%d attempts", len(made))
			}
			for i, want := range []string{"", "the 2nd"} {
				m, err := w.engine.Message(context.Background(), w.caller, out.Endpoints[i].MessageID)
				if err != nil {
					t.Fatal(err)
				}
				if m.Settings.URLGroup != "g" || m.Settings.Endpoint != want || m.Settings.Queue != item.Config.Queue || string(m.Body) != "body" {
					t.Errorf("message %+v", m)
				}
				at := slices.IndexFunc(made, func(a attempt) bool { return a.URL == m.URL })
				if at < 0 || made[at].Header.Get("Upstash-Topic-Name") != "g" || made[at].Header.Get("Upstash-Schedule-Id") != "" {
					t.Errorf("attempts %+v", made)
				}
			}
		}
		plain := w.publish(engine.Publish{})
		time.Sleep(time.Second)
		if m := w.made(); m[len(m)-1].Header["Upstash-Topic-Name"] != nil {
			t.Errorf("%s: header %v", plain, m[len(m)-1].Header)
		}
	})
}

// Duplicates are found for each endpoint by itself.
func TestGroupDeduplication(t *testing.T) {
	for name, lines := range map[string][]string{
		"by id": {"Upstash-Deduplication-Id: once"}, "by content": {"Upstash-Content-Based-Deduplication: true"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.group("g", "a", "b")
				first := w.publishAll(to("g", "x", lines...))[0]
				w.group("g", "c")
				second := w.publishAll(to("g", "x", lines...), to("g", "x", lines...))
				if got := fmt.Sprint(answered(first), answered(second[0]), answered(second[1])); got != "[a b] [a* b* c] [a* b* c*]" {
					t.Errorf("answered %s", got)
				}
				for i := range 2 {
					if got, want := second[0].Endpoints[i].MessageID, first.Endpoints[i].MessageID; got != want {
						t.Errorf("duplicate of %s, want %s", got, want)
					}
				}
				if direct := w.publishAll(to("https://a.example", "x", lines...))[0]; direct.Deduplicated {
					t.Error("a message to the URL itself is a duplicate of one to the group")
				}
				time.Sleep(11 * time.Minute)
				if got := answered(w.publishAll(to("g", "x", lines...))[0]); !slices.Equal(got, []string{"a", "b", "c"}) {
					t.Errorf("after the window: %v", got)
				}
			})
		})
	}
}

// A group's settings hold where a publish has none; those that came in no
// header are the publish's own.
func TestGroupSettings(t *testing.T) {
	inBubble(t, func(w *world) {
		w.group("g", "a")
		w.groupHeader("g", "Upstash-Retries: 7", "Upstash-Method: PUT", "Upstash-Forward-X: group", "Upstash-Forward-Y: group",
			"Upstash-Callback: https://cb.example", "Upstash-Queue-Name: q", "Upstash-Delay: 1h")
		published := func(p engine.Publish) *engine.Message {
			t.Helper()
			m, err := w.engine.Message(context.Background(), w.caller, w.publishAll(p)[0].Endpoints[0].MessageID)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		m := published(to("g", ""))
		if m.MaxRetries != 7 || m.Method != "PUT" || m.Header.Get("X") != "group" || m.Settings.Callback.URL != "https://cb.example" ||
			m.Settings.Queue != "q" || m.NotBefore != time.Now().Add(time.Hour).UnixMilli() {
			t.Errorf("with the group's: %+v", m)
		}
		p := to("g", "", "Upstash-Retries: 0", "Upstash-Method: POST", "Upstash-Forward-X: own", "Upstash-Delay: 0s")
		p.Config.Queue, p.Config.Hop = "another", 3
		m = published(p)
		if m.MaxRetries != 0 || m.Method != "POST" || m.Header.Get("X") != "own" || m.Header.Get("Y") != "group" || m.Settings.Queue != "another" ||
			m.Settings.Hop != 3 || m.NotBefore != time.Now().UnixMilli() {
			t.Errorf("with its own: %+v", m)
		}

		w.groupHeader("g", "Upstash-Header-Forward: true")
		m = published(to("g", "", "X-Plain: v", "Upstash-Label: l"))
		if m.Header.Get("X-Plain") != "v" || m.MaxRetries != engine.DefaultRetries {
			t.Errorf("with all forwarded: %+v", m)
		}
		w.groupHeader("g")
		if m = published(to("g", "", "X-Plain: v")); m.Header != nil {
			t.Errorf("without settings: %+v", m)
		}
	})
}

// A batch leaves out what can't be accepted as things are, and nothing of it is
// stored. A message that was published in the same way by itself is refused.
func TestBatchLeavesOut(t *testing.T) {
	inBubble(t, func(w *world) {
		ctx := context.Background()
		w.group("g", "a", "b")
		w.group("far", "https://other.example/x")
		w.groupHeader("far", "Upstash-Forward-Large: "+strings.Repeat("x", 60<<10))
		large := to("far", "", "Upstash-Forward-X: "+strings.Repeat("y", 10<<10))
		items := []engine.Publish{
			to("https://a.example", "1"), to("nobody", "2", "Upstash-Deduplication-Id: free", "Upstash-Queue-Name: free"), to("g", "3"), large, to("https://b.example", "4"),
		}
		out, err := w.engine.PublishBatch(ctx, w.caller, items)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"", "topic nobody not found", "", "with the settings of topic far: expected at most", ""} {
			got := ""
			if out[i].Err != nil {
				got = out[i].Err.Message
			}
			if !strings.HasPrefix(got, want) || (got == "") != (want == "") {
				t.Errorf("item %d: %q, want %q", i, got, want)
			}
		}
		time.Sleep(time.Second)
		if n := len(w.made()); n != 4 {
			t.Errorf("%d deliveries, want 4", n)
		}
		if queues, _ := w.engine.Queues(ctx, w.caller); len(queues) != 0 {
			t.Errorf("queues %v", queues)
		}
		if p := w.publishAll(to("https://a.example", "", "Upstash-Deduplication-Id: free"))[0]; p.Deduplicated {
			t.Error("what was left out holds its deduplication id")
		}
		time.Sleep(time.Second)
		for _, bad := range [][]engine.Publish{
			{to("https://a.example", ""), to("https://a.example", "", "Upstash-Retries: 100000")},
			{to("https://a.example", ""), to("g", "", "Upstash-Workflow-Init: true", "Upstash-Workflow-RunId: wfr_1")},
			{to("https://a.example", ""), to("https://a.example", "", "Upstash-Workflow-RunId: wfr_none", "Upstash-Workflow-CallType: step")},
		} {
			before := len(w.made())
			if _, err := w.engine.PublishBatch(ctx, w.caller, bad); err == nil {
				t.Errorf("%+v was accepted", bad[1].Config)
			}
			time.Sleep(time.Second)
			if n := len(w.made()) - before; n != 0 {
				t.Errorf("%d deliveries of what was refused", n)
			}
		}
		if _, err := w.engine.Publish(ctx, w.caller, items[:2]); engine.ErrorCode(err) != engine.NotFound {
			t.Errorf("all or none: %v", err)
		}
	})
}

// A token with a prefix has to do with a group whose endpoints are all within
// it, and with no other.
func TestT21PrefixLimitsGroups(t *testing.T) {
	inBubble(t, func(w *world) {
		ctx := context.Background()
		_, secret := w.createToken(engine.NewToken{Name: "limited", Scopes: allScopes[:1], URLPrefix: "https://in.example/x"})
		who := w.authenticate(secret)
		in, out := endpoints("https://in.example/x/1"), endpoints("out")
		w.group("mixed", "https://in.example/x/1", "out")
		if err := w.engine.AddToGroup(ctx, who, "own", in); err != nil {
			t.Fatal(err)
		}
		callback := wire.Config{Callback: &wire.Callback{URL: "https://out.example"}}
		for name, err := range map[string]error{
			"add another URL":    w.engine.AddToGroup(ctx, who, "own", out),
			"a group of others":  w.engine.AddToGroup(ctx, who, "new", out),
			"add to mixed":       w.engine.AddToGroup(ctx, who, "mixed", in),
			"remove from mixed":  w.engine.RemoveFromGroup(ctx, who, "mixed", in),
			"delete mixed":       w.engine.DeleteURLGroup(ctx, who, "mixed"),
			"set mixed":          w.engine.SetGroupHeader(ctx, who, "mixed", nil, wire.Config{}),
			"set a far callback": w.engine.SetGroupHeader(ctx, who, "own", header("Upstash-Callback: https://out.example"), callback),
			"publish to mixed":   second(w.engine.Publish(ctx, who, []engine.Publish{to("mixed", "")})),
			"publish to api/llm": second(w.engine.Publish(ctx, who, []engine.Publish{to("api/llm", "", "Upstash-Callback: https://in.example/x")})),
		} {
			if code := engine.ErrorCode(err); err == nil || code != engine.Forbidden && name != "publish to api/llm" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := w.engine.URLGroup(ctx, who, "mixed"); engine.ErrorCode(err) != engine.NotFound {
			t.Errorf("sees mixed: %v", err)
		}
		if all, err := w.engine.URLGroups(ctx, who); err != nil || len(all) != 1 || all[0].Name != "own" {
			t.Errorf("sees %v, %v", all, err)
		}
		if all, _ := w.engine.URLGroups(ctx, w.caller); len(all) != 2 || len(all[0].Endpoints) != 2 {
			t.Errorf("there are %v", all)
		}
		if _, err := w.engine.Publish(ctx, who, []engine.Publish{to("own", "")}); err != nil {
			t.Error(err)
		}
		// What somebody else sets for the group binds the token all the same.
		w.groupHeader("own", "Upstash-Failure-Callback: https://out.example")
		if _, err := w.engine.Publish(ctx, who, []engine.Publish{to("own", "")}); engine.ErrorCode(err) != engine.Forbidden {
			t.Errorf("publish with a far callback: %v", err)
		}
		time.Sleep(time.Second)
		for _, a := range w.made() {
			if !strings.HasPrefix(a.URL, "https://in.example/x") {
				t.Errorf("attempt at %s", a.URL)
			}
		}
	})
}

// Groups are a tenant's own.
func TestGroupsOfTenants(t *testing.T) {
	inBubble(t, func(w *world) {
		ctx := context.Background()
		w.group("g", "a")
		cr, err := w.engine.CreateTenant(ctx, w.caller, "")
		if err != nil {
			t.Fatal(err)
		}
		other := w.authenticate(cr.Token)
		if _, err := w.engine.Publish(ctx, other, []engine.Publish{to("g", "")}); engine.ErrorCode(err) != engine.NotFound {
			t.Errorf("publish: %v", err)
		}
		if err := w.engine.AddToGroup(ctx, other, "g", endpoints("b")); err != nil {
			t.Fatal(err)
		}
		if err := w.engine.DeleteURLGroup(ctx, other, "g"); err != nil {
			t.Fatal(err)
		}
		if g, err := w.engine.URLGroup(ctx, w.caller, "g"); err != nil || len(g.Endpoints) != 1 {
			t.Errorf("group %+v, error %v", g, err)
		}
	})
}

// A message that is tried again from the DLQ still says which group it is of,
// and so do its callbacks.
func TestRetryOfGroupMessage(t *testing.T) {
	inBubble(t, func(w *world) {
		w.group("g", "n=a")
		w.respond(status(500))
		w.publishAll(to("g", "", "Upstash-Retries: 0", "Upstash-Failure-Callback: https://cb.example"))
		time.Sleep(time.Second)
		dead := w.dlq()
		i := slices.IndexFunc(dead, func(d *engine.DeadMessage) bool { return d.Message.Settings.URLGroup == "g" })
		if i < 0 {
			t.Fatalf("DLQ %+v", dead)
		}
		body := w.made()[1].Body
		for _, want := range []string{`"topicName":"g"`, `"endpointName":"n"`, `"dlqId":`} {
			if !strings.Contains(string(body), want) {
				t.Errorf("callback %s has no %s", body, want)
			}
		}
		if w.made()[1].Header["Upstash-Topic-Name"] != nil {
			t.Error("a callback says it is of the group")
		}
		w.respond(ok)
		p, err := w.engine.RetryDLQEntry(context.Background(), w.caller, engine.DLQID(dead[i].Entry.Seq), wire.Config{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		made := w.made()
		if last := made[len(made)-1]; last.Header.Get("Upstash-Topic-Name") != "g" || last.Header.Get("Upstash-Message-Id") != p.MessageID {
			t.Errorf("attempt %+v", last)
		}
	})
}

// Other rules publish in changes of their own: to a URL, or to a group, whose
// settings leave alone what a schedule has of its own.
func TestPublishInAnotherChange(t *testing.T) {
	inBubble(t, func(w *world) {
		ctx := context.Background()
		w.group("g", "a", "b")
		w.groupHeader("g", "Upstash-Retries: 9")
		scheduled := to("g", "", "Upstash-Cron: * * * * *", "Upstash-Schedule-Id: s", "Upstash-Label: l")
		out, err := w.engine.PublishTo(ctx, w.caller, &scheduled)
		if err != nil || len(out) != 2 || out[0].URL != "https://a.example" || out[1].MessageID == "" {
			t.Fatalf("%+v, %v", out, err)
		}
		m, err := w.engine.Message(ctx, w.caller, out[1].MessageID)
		if err != nil || m.MaxRetries != 9 || m.Settings.Labels[0] != "l" {
			t.Errorf("%+v, %v", m, err)
		}
		plain := to("https://c.example", "")
		if out, err := w.engine.PublishTo(ctx, w.caller, &plain); err != nil || len(out) != 1 || out[0].URL != "https://c.example" {
			t.Errorf("%+v, %v", out, err)
		}
		unknown := to("nobody", "")
		if out, err := w.engine.PublishTo(ctx, w.caller, &unknown); engine.ErrorCode(err) != engine.NotFound || out != nil {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

// What a token with a prefix makes or changes stays within the prefix, so that
// its endpoints and settings are nothing to messages for other URLs. Who sets the
// settings takes the group over.
func TestT21GroupStaysWithinItsPrefix(t *testing.T) {
	inBubble(t, func(w *world) {
		ctx := context.Background()
		limited := func(prefix string) *engine.Caller {
			_, secret := w.createToken(engine.NewToken{Name: "limited", Scopes: allScopes[:1], URLPrefix: prefix})
			return w.authenticate(secret)
		}
		wide, narrow := limited("https://in.example"), limited("https://in.example/x")
		add := func(who *engine.Caller, name string, urls ...string) func() error {
			return func() error { return w.engine.AddToGroup(ctx, who, name, endpoints(urls...)) }
		}
		set := func(who *engine.Caller, name string, lines ...string) func() error {
			return func() error { return w.engine.SetGroupHeader(ctx, who, name, header(lines...), wire.Config{}) }
		}
		const deep, deeper, beside, out = "https://in.example/x/1", "https://in.example/x/2", "https://in.example/y", "https://out.example"
		for name, steps := range map[string][]struct { // of the group of that name
			do   func() error
			want string // how the refusal begins, else the prefix
		}{
			"made": {
				{add(narrow, "made", deep), "https://in.example/x"},
				{set(narrow, "made", "Upstash-Retries: 1"), "https://in.example/x"},
				{add(w.caller, "made", deeper, out), "endpoints[1].url: topic made was made or changed with a token for URLs that begin with https://in.example/x;"},
				{add(wide, "made", beside), "endpoints[0].url: topic made was made"},
				{add(w.caller, "made", deeper), "https://in.example/x"},
				{set(w.caller, "made", "Upstash-Retries: 1"), ""},
				{add(w.caller, "made", out), ""},
			},
			"changed": {
				{add(w.caller, "changed", deep), ""},
				{add(narrow, "changed", deep), ""}, // nothing changes
				{set(narrow, "changed"), ""},
				{add(narrow, "changed", deeper), "https://in.example/x"},
				{add(w.caller, "changed", out), "endpoints[0].url: topic changed"},
				{set(w.caller, "changed"), ""},
				{set(narrow, "changed", "Upstash-Retries: 2"), "https://in.example/x"},
				{add(w.caller, "changed", out), "endpoints[0].url: topic changed"},
			},
			"shared": {
				{add(wide, "shared", deep), "https://in.example"},
				{add(narrow, "shared", deeper), "https://in.example/x"},
				{set(wide, "shared"), "https://in.example"},
				{set(narrow, "shared"), "https://in.example"},
				{add(wide, "shared", beside), "https://in.example"},
				{set(narrow, "shared"), "forbidden: topic shared"},
			},
		} {
			t.Run(name, func(t *testing.T) {
				for i, s := range steps {
					err := s.do()
					if err != nil {
						code := engine.ErrorCode(err)
						if s.want == "" || !strings.HasPrefix(err.Error(), s.want) || code != engine.Conflict && code != engine.Forbidden {
							t.Errorf("step %d: %v, want %q", i, err, s.want)
						}
						continue
					}
					g, err := w.engine.URLGroup(ctx, w.caller, name)
					if err != nil || string(g.Prefix) != s.want {
						t.Errorf("step %d: group %+v, error %v, want %q", i, g, err, s.want)
					}
				}
			})
		}
	})
}
