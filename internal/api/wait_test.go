package api_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

// waits registers a step as the SDK does. Header lines replace those of base.
func (f *flow) waits(run, event string, stepID, concurrent int, kind, timeout string, header ...string) {
	f.w.t.Helper()
	h := f.base(run)
	h["upstash-workflow-calltype"] = "step"
	set(h, header)
	var lines []string
	for name, value := range h {
		lines = append(lines, name+": "+value)
	}
	body := fmt.Sprintf(`{"url":%q,"timeout":%q,"timeoutUrl":%q,"timeoutHeaders":{"Upstash-Workflow-RunId":[%q],"Upstash-Workflow-Runid":[%q],`+
		`"Upstash-Workflow-Init":["false"],"Upstash-Forward-Upstash-Workflow-Sdk-Version":["1"],"content-type":["application/json"]},`+
		`"step":{"stepId":%d,"stepType":%q,"stepName":"wait %d","concurrent":%d}}`, f.URL, timeout, f.URL, run, run, stepID, kind, stepID, concurrent)
	f.w.do("POST", "/v2/wait/"+event, body, lines...).into(200, &struct{}{})
}

// last is the step in the last entry of a delivered log.
func (c *call) last() (s struct {
	StepID      int
	StepType    string
	WaitEventID string
	Out         *string
	WaitTimeout bool
	TargetStep  *int
	Concurrent  int
}) {
	c.flow.w.t.Helper()
	log := c.log()
	if err := json.Unmarshal(log[len(log)-1].Body, &s); err != nil {
		c.flow.w.t.Fatal(err)
	}
	return s
}

// Official clients do not escape the slashes of an event's id. A run's id before it
// is told from them.
func TestEventWithSlashes(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	runs := []string{"wfr_1", "r1"}
	for _, run := range runs {
		f.next(f.trigger(run, "")).ok()
	}
	if told := w.notify("order/7/", "x"); len(told) != 0 {
		t.Errorf("told %+v", told)
	}
	for _, run := range runs {
		f.waits(run, "order/7//paid", 1, 1, "Wait", "10d")
	}
	for _, path := range []string{"order/7//paid", "order%2F7%2F%2fpaid", "order/7//paid/"} {
		if waiters := get[[]client.Waiter](w, "/v2/waiters/"+path); len(waiters) != 2 {
			t.Errorf("%s: waiters %+v", path, waiters)
		}
	}
	if told := w.notify("r1/order/7//paid", "x"); len(told) != 1 || told[0].WorkflowRunID != "r1" {
		t.Errorf("told %+v", told)
	}
	if told := w.notify("order/7//paid", "x"); len(told) != 1 || told[0].WorkflowRunID != "wfr_1" {
		t.Errorf("told %+v", told)
	}
	w.do("POST", "/v2/notify/wfr_2/order/7", "").refused(404, "wfr_2 is not active")
}

func (w *world) notify(path, body string) (told []client.NotifyResponse) {
	w.t.Helper()
	w.do("POST", "/v2/notify/"+path, body).into(201, &told)
	return told
}

// An event goes through waiting, telling and delivery, with the prefix of the
// log; when the time is over, that is told instead.
func TestWaitForEvent(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	init := f.trigger("wfr_1", `{"n":1}`, "Upstash-Forward-User-Header: v")
	first := f.next(init)
	f.waits("wfr_1", "my-event", 1, 1, "Wait", "10d", "Upstash-Forward-X-Own: o")
	first.ok()
	waiters := get[[]client.Waiter](w, "/v2/waiters/my-event")
	if len(waiters) != 1 || waiters[0].URL != f.URL || waiters[0].Headers.Get("Upstash-Workflow-Runid") != "wfr_1" ||
		time.Until(time.Unix(waiters[0].Deadline, 0)).Round(time.Hour) != 240*time.Hour || waiters[0].Headers.Get("Authorization") != "" {
		t.Errorf("waiters %+v", waiters)
	}
	w.await(init, client.EventDelivered)
	equal(t, "history", shape(w.run("wfr_1")), []string{"RUN_STARTED", "sequential [0 init SUCCESS]", "sequential [1 wait 1 PROGRESS]"})
	if s := w.run("wfr_1").Steps[1].Steps[0]; s.StepType != "Wait" || s.WaitEventID != "my-event" || s.WaitTimeoutDuration != "10d" ||
		s.WaitTimeoutDeadline != waiters[0].Deadline || s.WaitTimeout {
		t.Errorf("waiting step %+v", s)
	}
	told := w.notify("my-event", `{"a":1}`)
	if len(told) != 1 || told[0].WorkflowRunID != "wfr_1" || told[0].WorkflowCreatedAt != w.run("wfr_1").CreatedAt || told[0].Waiter.Deadline != waiters[0].Deadline {
		t.Fatalf("told %+v", told)
	}
	second := f.next(told[0].MessageID)
	equal(t, "delivered", second.prefix(), []string{init, told[0].MessageID})
	if s := second.last(); *s.Out != b64(`{"a":1}`) || s.WaitEventID != "my-event" || s.TargetStep != nil || s.StepID != 1 || s.Concurrent != 1 {
		t.Errorf("result %+v", s)
	}
	for name, want := range map[string]string{"User-Header": "v", "X-Own": "o", "Upstash-Workflow-Sdk-Version": "1", "Content-Type": "application/json"} {
		if got := second.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	f.waits("wfr_1", "my-event", 2, 1, "Wait", "0.2s")
	second.ok()
	third := f.any("the wait is over")
	if s := third.last(); s.Out != nil || !s.WaitTimeout || s.StepID != 2 {
		t.Errorf("result %+v", s)
	}
	if third.header.Get("X-Own") != "" {
		t.Error("the timeout has the headers of the event")
	}
	third.ok()
	if told := w.notify("my-event", ""); len(told) != 0 {
		t.Errorf("told %+v", told)
	}
	if s := w.run("wfr_1").Steps[2].Steps[0]; s.State != client.StepSuccess || !s.WaitTimeout {
		t.Errorf("step that waited in vain %+v", s)
	}
}

// hook makes a run a webhook, and is its path.
func (f *flow) hook(run string, stepID int) string {
	f.w.t.Helper()
	path := "/v2/workflows/hooks/defaultUser/" + run + "/evt_AbC123"
	out, _ := json.Marshal(map[string]string{"webhookUrl": f.w.url + path, "eventId": "evt_AbC123"})
	body, _ := json.Marshal(map[string]any{"stepId": stepID, "stepName": "hook", "stepType": "CreateWebhook", "out": string(out), "concurrent": 1})
	f.append(run, step{body: string(body)})
	return path
}

// called is a call of a webhook as the step gets it.
type called struct {
	Method, Body, Proto, Host, URL string
	Header                         http.Header
}

func (c *call) webhook() (out called) {
	c.flow.w.t.Helper()
	s := c.last()
	if s.StepType != "WaitForWebhook" || s.Out == nil {
		c.flow.w.t.Fatalf("result %+v", s)
	}
	text, err := base64.StdEncoding.DecodeString(*s.Out)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		c.flow.w.t.Fatal(err)
	}
	return out
}

// Whatever a third party sends to a webhook reaches the step as it was sent,
// with the URL that was called.
func TestWebhookCalls(t *testing.T) {
	w := newWorld(t)
	anybody := *w
	anybody.token = ""
	f := w.flow()
	f.next(f.trigger("wfr_1", "")).ok()
	path := f.hook("wfr_1", 1)
	f.any("the webhook is made").ok()
	stepID := 2
	next := func() called {
		t.Helper()
		f.waits("wfr_1", "evt_AbC123", stepID, 1, "WaitForWebhook", "1m")
		stepID++
		c := f.any("the call is delivered")
		defer c.ok()
		return c.webhook()
	}
	for name, hook := range webhooks(t) {
		want := http.Header{}
		var lines []string
		for _, line := range hook.header {
			field, value, _ := strings.Cut(line, ":")
			value = strings.TrimSpace(value)
			lines = append(lines, field+": "+value)
			want.Add(field, value)
		}
		anybody.do("POST", path, hook.body, lines...).into(200, &struct{}{})
		got := next()
		if body, _ := base64.StdEncoding.DecodeString(got.Body); string(body) != hook.body || got.Method != "POST" {
			t.Errorf("%s: got %+v, want body %q", name, got, hook.body)
		}
		if got.Proto+"://"+got.Host+got.URL != w.url+path {
			t.Errorf("%s: called %s://%s%s, want %s%s", name, got.Proto, got.Host, got.URL, w.url, path)
		}
		for field, values := range want {
			if fmt.Sprint(got.Header[field]) != fmt.Sprint(values) {
				t.Errorf("%s: %s is %q, want %q", name, field, got.Header[field], values)
			}
		}
		if got.Header.Get("Connection") != "" || got.Header.Get("Content-Length") != "" {
			t.Errorf("%s: header %v", name, got.Header)
		}
	}
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE", "PROPFIND"} {
		anybody.do(method, path+"?a=%20b&a=c&qstash_token=x", "").into(200, &struct{}{})
		if got := next(); got.Method != method || got.URL != path+"?a=%20b&a=c&qstash_token=x" || got.Body != "" {
			t.Errorf("%s: %+v", method, got)
		}
	}
	// With a token of whatever kind it is called all the same.
	w.do("POST", path, "", "Authorization: Basic eDp5").into(200, &struct{}{})
	if got := next(); !strings.Contains(fmt.Sprint(got.Header["Authorization"]), "Basic eDp5") {
		t.Errorf("header %v", got.Header)
	}
	// These are no calls.
	for method, status := range map[string]int{"HEAD": 200, "OPTIONS": 200, "options": 200, "TRACE": 405, "trace": 405, "Connect": 405, "track": 405} {
		for _, path := range []string{path, "/v2/workflows/hooks/a/b/c"} {
			if a := anybody.do(method, path, ""); a.status != status || !strings.Contains(a.header.Get("Allow"), "POST") {
				t.Errorf("%s %s: %d %v", method, path, a.status, a.header)
			}
		}
	}
	anybody.do("POST", path, "last").into(200, &struct{}{})
	if got := next(); got.Body != b64("last") {
		t.Errorf("got %+v, want the last call", got)
	}
}

// What the URLs of endpoints can't have for a host would fail a run for good: such
// a call is refused, and the run waits on.
func TestT14WebhookCalledByOddHosts(t *testing.T) {
	w := newWorldOf(t, &signpost.Server{RateLimit: -1, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	f := w.flow()
	f.next(f.trigger("wfr_1", "")).ok()
	path := f.hook("wfr_1", 1)
	f.any("the webhook is made").ok()
	f.waits("wfr_1", "evt_AbC123", 2, 1, "WaitForWebhook", "1m")
	for _, host := range []string{"1.2.3.4.5", "xn--", "a.XN--a:80", "xn--9999999.example", "xn--a-ecp.ru", "a.0x1"} {
		w.do("POST", path, "forged", "X-Forwarded-Host: "+host).refused(400, "Host")
	}
	w.do("POST", path, "good", "X-Forwarded-Host: xn--mnchen-3ya.example:8443").into(200, &struct{}{})
	c := f.any("the call is delivered")
	c.ok()
	if got := c.webhook(); got.Body != b64("good") || got.Host != "xn--mnchen-3ya.example:8443" {
		t.Errorf("got %+v", got)
	}
}

// Nobody learns from a webhook's URL whether a user, a run or a webhook is there,
// and calls that nobody waits for are bounded.
func TestT30UnknownWebhooksTellNothing(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	f.trigger("wfr_1", "")
	path := f.hook("wfr_1", 1)
	f.trigger("wfr_2", "")
	ended := f.hook("wfr_2", 1)
	f.finish("wfr_2", "")
	anybody := *w
	anybody.token = ""
	var want answer
	for i, path := range []string{
		ended, path + "x", strings.ToLower(path), "/v2/workflows/hooks/nobody/wfr_1/evt_AbC123", "/v2/workflows/hooks/defaultUser/wfr_3/evt_AbC123",
		"/v2/workflows/hooks/defaultUser/wfr_1/%00", "/v2/workflows/hooks/%ff/%ff/%ff",
	} {
		size := 11 << 20
		if i > 1 {
			size = 1
		}
		w.unchanged(path, func() {
			a := anybody.do("POST", path, strings.Repeat("x", size))
			a.header.Del("Date")
			if a.refused(404, "there is no such webhook"); i == 0 {
				want = a
			} else if string(a.body) != string(want.body) || fmt.Sprint(a.header) != fmt.Sprint(want.header) {
				t.Errorf("%s: %v %s, want %v %s", path, a.header, a.body, want.header, want.body)
			}
		})
	}
	anybody.do("POST", path, strings.Repeat("x", 11<<20)).refused(413, "body")
	var all sync.WaitGroup
	for range 50 { // together, so that they share commits
		all.Go(func() {
			for range 20 {
				if a := anybody.do("POST", path, "x"); a.status != 200 {
					t.Errorf("%d %s", a.status, a.body)
				}
			}
		})
	}
	all.Wait()
	anybody.do("POST", path, "x").refused(429, "wfr_1", "1000")
	w.notify("wfr_1/e", "x") // which are kept apart
}

// Whoever calls very many webhooks that are not there is told to wait, but for
// those that are: the address may be a provider's, and the guesser a customer.
func TestT30GuessersOfWebhooksWait(t *testing.T) {
	w := newWorldOf(t, &signpost.Server{RateLimit: -1, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	f := w.flow()
	f.trigger("wfr_1", "")
	good := f.hook("wfr_1", 1)
	const from, other = "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"
	path := func(i int) string { return fmt.Sprint("/v2/workflows/hooks/defaultUser/wfr_1/evt_", i) }
	for i := range 1000 {
		if a := w.do("POST", path(i), "", from); a.status == 429 {
			if i < 200 || a.header.Get("Retry-After") == "" {
				t.Errorf("after %d: %v", i, a.header)
			}
			w.do("POST", path(i), "", other).refused(404)
			w.do("POST", good, "", from).into(200, &struct{}{})
			return
		}
	}
	t.Error("nobody said to wait")
}

// What a webhook's URL is made of is shown to nobody who may not read content,
// and for a run that hides it, to nobody.
func TestT30WebhooksAreHidden(t *testing.T) {
	w := newWorld(t)
	var created client.NewToken
	w.do("POST", "/v2/tokens", `{"name":"metadata","scopes":["read-metadata"]}`).into(201, &created)
	reader := *w
	reader.token = created.Secret
	f := w.flow()
	for id, header := range map[string][]string{"wfr_1": nil, "wfr_2": {"Upstash-Redact-Fields: body"}} {
		f.next(f.trigger(id, "", header...)).ok()
		f.hook(id, 1)
		f.any("the webhook is made").ok()
		f.waits(id, "evt_AbC123", 2, 1, "WaitForWebhook", "1m")
		for _, path := range []string{"/v2/workflows/logs?workflowRunId=" + id, "/v2/workflows/events?workflowRunId=" + id, "/v2/events", "/v2/waiters/e"} {
			if all := string(reader.do("GET", path, "").body); strings.Contains(all, "AbC123") {
				t.Errorf("%s shows %s", path, all)
			}
		}
		shown := w.run(id).Steps[2].Steps[0].WaitEventID
		if hidden := placeholder.MatchString(shown); hidden != (header != nil) || !hidden && shown != "evt_AbC123" {
			t.Errorf("%s waits for %q", id, shown)
		}
	}
}

// Behind a proxy that is trusted, the URL is the one that the proxy was called
// by; what others say of it is not believed.
func TestWebhookBehindAProxy(t *testing.T) {
	lines := []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: forged.example, hooks.example:8443"}
	for _, test := range []struct {
		proxies []netip.Prefix
		want    string
	}{{nil, ""}, {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "https://hooks.example:8443"}} {
		w := newWorldOf(t, &signpost.Server{RateLimit: -1, TrustedProxies: test.proxies})
		if test.want == "" {
			test.want = w.url
		}
		f := w.flow()
		f.next(f.trigger("wfr_1", "")).ok()
		path := f.hook("wfr_1", 1)
		f.any("the webhook is made").ok()
		w.do("POST", path, "x", lines...).into(200, &struct{}{})
		f.waits("wfr_1", "evt_AbC123", 2, 1, "WaitForWebhook", "1m")
		c := f.any("the call is delivered")
		c.ok()
		if got := c.webhook(); got.Proto+"://"+got.Host+got.URL != test.want+path {
			t.Errorf("called %s://%s%s, want %s%s", got.Proto, got.Host, got.URL, test.want, path)
		}
		if test.proxies != nil {
			w.do("POST", path, "x", "X-Forwarded-Proto: ftp").refused(400, "X-Forwarded-Proto")
			w.do("POST", path, "x", "X-Forwarded-Host: a b").refused(400, "Host")
		}
	}
}

// What a run hides is hidden of what it waits for.
func TestT17RedactedWaits(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	const secret, other = "the-secret-event", "the-secret-header"
	f.next(f.trigger("wfr_1", "", "Upstash-Redact-Fields: body,header[X-Secret]", "Upstash-Forward-X-Plain: p")).ok()
	path := f.hook("wfr_1", 1)
	f.any("the webhook is made").ok()
	f.waits("wfr_1", "e", 2, 1, "Wait", "1m", "Upstash-Forward-X-Secret: "+other, "Upstash-Forward-X-Plain: p")
	all := string(w.do("GET", "/v2/waiters/e", "").body)
	if strings.Contains(all, other) || !strings.Contains(all, `"Upstash-Forward-X-Plain":["p"]`) || !strings.Contains(all, `"Upstash-Workflow-Runid":["wfr_1"]`) {
		t.Errorf("waiters %s", all)
	}
	told := w.do("POST", "/v2/notify/e", secret)
	if strings.Contains(string(told.body), other) {
		t.Errorf("told %s", told.body)
	}
	c := f.any("the event is delivered")
	if s := c.last(); *s.Out != b64(secret) || c.header.Get("X-Secret") != other {
		t.Errorf("delivered %+v, %v", s, c.header)
	}
	c.ok()
	w.do("POST", path, secret, "X-Key: "+secret).into(200, &struct{}{})
	f.waits("wfr_1", "evt_AbC123", 3, 1, "WaitForWebhook", "1m")
	c = f.any("the call is delivered")
	c.ok()
	f.finish("wfr_1", "")
	w.hides([]string{secret, other})
}

// invoke has a step of a run invoke another one, as the SDK does.
func (f *flow) invoke(run, url, child string, stepID int, payload string, header ...string) {
	f.w.t.Helper()
	back := http.Header{}
	for name, value := range f.base(run) {
		back.Set(name, value)
	}
	body, _ := json.Marshal(map[string]any{
		"body": payload, "headers": back, "workflowRunId": run, "workflowUrl": f.URL,
		"step": map[string]any{"stepId": stepID, "stepName": "invoke", "stepType": "Invoke", "concurrent": 1},
	})
	h := f.base(child)
	h["upstash-workflow-init"], h["upstash-workflow-invoke"] = "true", "true"
	set(h, header)
	h["upstash-workflow-url"] = url
	f.batch(item{url, h, string(body)})
}

// What a run hides is hidden of the run that it invokes; and what that hides by
// itself, of its result.
func TestT17RedactedInvocation(t *testing.T) {
	const header, redact = "Upstash-Forward-Authorization: secret-token", "Upstash-Redact-Fields: body,header[Authorization]"
	secrets := []string{"secret-payload", "secret-token", "secret-result"}
	for name, test := range map[string]struct{ run, child []string }{
		"hidden by the run":   {[]string{redact}, []string{header}},
		"hidden by the other": {nil, []string{header, redact}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f := w.flow()
			f.next(f.trigger("wfr_1", "", test.run...)).ok()
			f.invoke("wfr_1", f.URL, "wfr_2", 1, "secret-payload", test.child...)
			c := f.any("the other run starts")
			if c.header.Get("Authorization") != "secret-token" || string(c.log()[0].Body) != "secret-payload" {
				t.Errorf("delivered %v %s", c.header, c.body)
			}
			init := c.header.Get("Upstash-Message-Id")
			f.finish("wfr_2", `"secret-result"`)
			c.ok()
			c = f.any("the result is delivered")
			if s := c.last(); s.Out == nil || !strings.Contains(*s.Out, "secret-result") {
				t.Errorf("result %+v", s)
			}
			c.ok()
			w.hides(secrets, init, c.header.Get("Upstash-Message-Id"))
			if shown := w.run("wfr_1").Steps[1].Steps[0].Out; !placeholder.MatchString(shown) {
				t.Errorf("the result is shown as %q", shown)
			}
		})
	}
}

// A token that sees a run sees of the run that it has invoked, at a URL that the
// token is not for, that it is there, and nothing that it was started with.
func TestT21InvokedOutsideOfThePrefix(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	other := w.endpoint(nil)
	f.next(f.trigger("wfr_1", "payload")).ok()
	f.invoke("wfr_1", other.URL, "wfr_2", 1, "their-payload", "Upstash-Forward-Authorization: their-token")
	limited := w.withToken(fmt.Sprintf(`"urlPrefix": %q`, f.URL), client.ScopeRead)
	s := limited.run("wfr_1").Steps[1].Steps[0]
	if s.InvokedWorkflowRunID != "wfr_2" || s.InvokedWorkflowRunBody != "" || len(s.InvokedWorkflowRunHeaders) != 0 {
		t.Errorf("the step shows %+v", s)
	}
	if s := w.run("wfr_1").Steps[1].Steps[0]; s.InvokedWorkflowRunBody != "their-payload" || s.InvokedWorkflowRunHeaders.Get("Authorization") != "their-token" {
		t.Errorf("a token without a prefix is shown %+v", s)
	}
}

// Nothing is appended by what is refused, and the answer says what is wrong.
func TestRefusedWaitRequests(t *testing.T) {
	w := newLimitedWorld(t, engine.Limits{MaxBody: 1 << 10})
	f := w.flow()
	f.trigger("wfr_1", "")
	ok := `{"url":"` + f.URL + `","step":{"stepId":1,"stepType":"Wait","stepName":"w","concurrent":1}}`
	run := "Upstash-Workflow-Runid: wfr_1"
	for _, test := range []struct {
		path, body string
		header     []string
		status     int
		word       string
	}{
		{"/v2/wait/e", ok, nil, 400, "Upstash-Workflow-Runid"},
		{"/v2/wait/e", ok, []string{"Upstash-Workflow-Runid: wfr_2"}, 400, "workflow run wfr_2 is not active"},
		{"/v2/wait/e", `[]`, []string{run}, 400, "body: expected a JSON object"},
		{"/v2/wait/e", `{"step":{"stepId":1,"stepType":"Wait","stepName":"w"}}`, []string{run}, 400, "url: expected"},
		{"/v2/wait/e", strings.Replace(ok, `"stepId":1`, `"stepId":7`, 1), []string{run}, 400, "step.stepId: expected 1"},
		{"/v2/wait/e", strings.Replace(ok, `"concurrent":1`, `"concurrent":2`, 1), []string{run}, 400, "step.concurrent"},
		{"/v2/wait/e", strings.Replace(ok, `"url"`, `"timeout":"2y","url"`, 1), []string{run}, 400, "timeout: expected a duration"},
		{"/v2/wait/e", strings.Replace(ok, `"url"`, `"timeout":"1000d","url"`, 1), []string{run}, 412, "timeout"},
		{"/v2/wait/e", strings.Replace(ok, `"url"`, `"timeoutHeaders":{"a b":["c"]},"url"`, 1), []string{run}, 400, "timeoutHeaders"},
		{"/v2/wait/" + strings.Repeat("e", 513), ok, []string{run}, 400, "event id: expected an id of 1 to 512 bytes"},
		{"/v2/wait/%00", ok, []string{run}, 400, "event id: expected text without control characters"},
		{"/v2/wait/e", strings.Repeat(" ", 300<<10), []string{run}, 413, "body"},
		{"/v2/notify/%00", "", nil, 400, "event id"},
		{"/v2/notify/wfr_1/%ff", "", nil, 400, "event id"},
		{"/v2/notify/wfr_2/e", "", nil, 404, "workflow run wfr_2 is not active"},
		{"/v2/notify/e", strings.Repeat("x", 1025), nil, 413, "body"},
		{"/v2/notify/wfr_1/e", strings.Repeat("x", 1025), nil, 413, "body"},
	} {
		w.do("POST", test.path, test.body, test.header...).refused(test.status, test.word)
	}
	if log := get[[]client.LogEntry](w, "/v2/workflows/runs/wfr_1"); len(log) != 1 {
		t.Errorf("log %+v", log)
	}
	w.do("POST", "/v2/wait/e", ok, run).into(200, &struct{}{})
	if told := w.notify("e", "x"); len(told) != 1 {
		t.Errorf("told %+v", told)
	}
}
