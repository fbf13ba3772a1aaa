package api_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
)

// reads is all that the API shows, but for the log that a run's endpoint
// fetches.
func (w *world) reads(ids ...string) string {
	w.t.Helper()
	all := w.stored() + string(w.do("GET", "/v2/logs", "").body)
	for _, id := range ids {
		all += string(w.do("GET", "/v2/messages/"+id, "").body) + string(w.do("GET", "/v2/events?messageId="+id, "").body)
	}
	for _, d := range w.dlq("") {
		all += string(w.do("GET", "/v2/dlq/"+d.DLQID, "").body)
	}
	for _, r := range w.runs("") {
		all += string(w.do("GET", "/v2/workflows/logs?workflowRunId="+r.WorkflowRunID, "").body)
	}
	return all
}

// hides checks that secrets are in no answer, in none of the ways to write them.
func (w *world) hides(secrets []string, ids ...string) {
	w.t.Helper()
	all := w.reads(ids...)
	for _, secret := range secrets {
		if strings.Contains(all, secret) {
			w.t.Errorf("%q is shown: %s", secret, all)
		}
	}
	// Base64 may hold them at any offset: whatever decodes, is decoded.
	for _, text := range regexp.MustCompile(`[A-Za-z0-9+/]{8,}={0,2}`).FindAllString(all, -1) {
		plain, err := base64.StdEncoding.DecodeString(text)
		for _, secret := range secrets {
			if err == nil && (strings.Contains(string(plain), secret) || strings.Contains(string(plain), base64.StdEncoding.EncodeToString([]byte(secret)))) {
				w.t.Errorf("%q is shown in base64 of %q", secret, plain)
			}
		}
	}
}

var placeholder = regexp.MustCompile(`^REDACTED:[0-9a-f]{64}$`)

// What is redacted is shown nowhere, and delivered, retried and called back
// about as if it were not.
func TestT17RedactedMessage(t *testing.T) {
	const body, auth, other = "the-secret-body", "Bearer the-secret-token", "other-value"
	for _, test := range []struct {
		fields          string
		body, all, auth bool
	}{
		{"body", true, false, false},
		{"header[authorization]", false, false, true},
		{" headers[AUTHORIZATION] , Body,", true, false, true},
		{"header", false, true, true},
		{"headers, body", true, true, true},
	} {
		t.Run(test.fields, func(t *testing.T) {
			w := newWorld(t)
			told, e := w.endpoint(nil), w.endpoint(answers("no", nil, 500))
			id := w.publish(e.URL, body, "Upstash-Forward-Authorization: "+auth, "Upstash-Forward-X-Other: "+other, "Content-Type: text/plain",
				"Upstash-Redact-Fields: "+test.fields, "Upstash-Retries: 1", "Upstash-Retry-Delay: 1",
				"Upstash-Callback: "+told.URL, "Upstash-Failure-Callback: "+told.URL,
				"Upstash-Callback-Forward-Authorization: "+auth, "Upstash-Failure-Callback-Forward-Authorization: "+auth)
			w.await(id, client.EventFailed)
			m := get[client.Message](w, "/v2/messages/"+id)
			var secrets []string
			for what, view := range map[string]struct {
				shown, plain string
				hidden       bool
			}{
				"body":          {m.Body, body, test.body},
				"Authorization": {m.Header.Get("Authorization"), auth, test.auth},
				"X-Other":       {m.Header.Get("X-Other"), other, test.all},
				"Content-Type":  {m.Header.Get("Content-Type"), "text/plain", test.all},
				"callback":      {m.CallbackHeader.Get("Upstash-Forward-Authorization"), auth, test.auth},
				"failure":       {m.FailureCallbackHeader.Get("Upstash-Forward-Authorization"), auth, test.auth},
			} {
				if view.hidden != placeholder.MatchString(view.shown) || !view.hidden && view.shown != view.plain {
					t.Errorf("%s is shown as %q", what, view.shown)
				}
				if view.hidden && what != "Content-Type" {
					secrets = append(secrets, view.plain)
				}
			}
			if ev := w.events("?state=CREATED&messageId=" + id)[0]; test.body != (ev.Body == m.Body) {
				t.Errorf("the log shows the body as %q, the message as %q", ev.Body, m.Body)
			}
			called := told.await(3)
			var ids []string
			for _, d := range called {
				ids = append(ids, d.header.Get("Upstash-Message-Id"))
			}
			w.hides(secrets, append(ids, id)...)
			w.do("POST", "/v2/dlq/retry/"+w.dlq("")[0].DLQID, "").into(201, &client.PublishResponse{})
			for _, d := range told.await(6) {
				if d.header.Get("Authorization") != auth || !strings.Contains(string(d.body), b64(body)) || !strings.Contains(string(d.body), auth) {
					t.Errorf("called back with %v %s", d.header, d.body)
				}
			}
			w.hides(secrets)
			for _, d := range e.await(4) {
				if string(d.body) != body || d.header.Get("Authorization") != auth || d.header.Get("X-Other") != other {
					t.Errorf("delivered %v %s", d.header, d.body)
				}
			}
		})
	}
}

// Equal values of a tenant are shown alike; another tenant's differ.
func TestT17RedactedAlike(t *testing.T) {
	w := newWorld(t)
	shown := func(w *world, body string) string {
		id := w.publish("https://example.com/", body, "Upstash-Delay: 1h", "Upstash-Redact-Fields: body")
		return get[client.Message](w, "/v2/messages/"+id).Body
	}
	if a, b, c := shown(w, "same"), shown(w, "same"), shown(w, "other"); a != b || a == c || !placeholder.MatchString(a) {
		t.Errorf("same, same, other are shown as %q, %q, %q", a, b, c)
	}
	if a, b := shown(w, "same"), shown(w.as(signpost.DevUsers[1]), "same"); a == b {
		t.Errorf("two tenants see %q", a)
	}
	if got := shown(w, ""); got != "" {
		t.Errorf("no body is shown as %q", got)
	}
}

// What a run's start redacts is redacted of the whole run: payload, headers,
// steps, calls, result and failure. Its endpoint, and third parties, get it all.
func TestT17RedactedRun(t *testing.T) {
	secrets := []string{"secret-payload", "secret-token", "secret-step", "secret-plan", "to the third party", "secret-call", "secret-result", "secret-answer"}
	for _, fails := range []bool{false, true} {
		w := newWorld(t)
		f := w.flow()
		init := f.trigger("wfr_1", "secret-payload", "Upstash-Forward-Authorization: secret-token", "Upstash-Failure-Callback-Forward-Authorization: secret-token",
			"Upstash-Redact-Fields: body,header[Authorization]")
		c := f.next(init)
		third := w.endpoint(answers("secret-answer", nil, 200))
		call := f.call("wfr_1", 1, "ask", third.URL, "Upstash-Forward-Authorization: secret-call")
		c.ok()
		if d := third.await(1)[0]; d.header.Get("Authorization") != "secret-call" || string(d.body) != "to the third party" {
			t.Errorf("the third party got %v %s", d.header, d.body)
		}
		from := f.any("the outcome")
		fromID := from.header.Get("Upstash-Message-Id")
		if !strings.Contains(string(from.body), b64("secret-answer")) || from.header.Get("Authorization") != "secret-token" {
			t.Errorf("the outcome is %s", from.body)
		}
		out, _ := json.Marshal(`{"status":200,"body":"secret-answer","header":{}}`)
		answered := f.append("wfr_1", step{body: fmt.Sprintf(`{"stepId":1,"stepName":"ask","stepType":"Call","out":%s,"concurrent":1}`, out)})[0]
		from.ok()
		f.next(answered).ok()
		id := f.append("wfr_1", run(2, "create", "secret-step"))[0]
		last := f.next(id)
		if log := get[[]client.LogEntry](w, "/v2/workflows/runs/wfr_1"); len(log) != 5 || string(log[0].Body) != "secret-payload" {
			t.Errorf("the endpoint's log is %v", log)
		}
		ids := []string{init, call, fromID, answered, id}
		if fails {
			last.answer(489, "why", "Upstash-NonRetryable-Error: true")
			failure := f.any("the failure callback")
			if failure.header.Get("Authorization") != "secret-token" || !strings.Contains(string(failure.body), b64("secret-payload")) {
				t.Errorf("the failure callback is %v %s", failure.header, failure.body)
			}
			ids = append(ids, failure.header.Get("Upstash-Message-Id"))
			failure.ok()
		} else {
			f.finish("wfr_1", `"secret-result"`)
			last.ok()
		}
		w.hides(secrets, ids...)
		r := w.run("wfr_1")
		for what, shown := range map[string]string{
			"payload": r.Steps[0].Steps[0].Out, "a header": r.Steps[0].Steps[0].Headers.Get("Authorization"), "a call": r.Steps[1].Steps[0].CallBody,
			"a call's header": r.Steps[1].Steps[0].CallHeaders.Get("Authorization"), "a call's answer": r.Steps[1].Steps[0].CallResponseBody,
			"a step": r.Steps[2].Steps[0].Out,
		} {
			if !placeholder.MatchString(shown) {
				t.Errorf("%s is shown as %q", what, shown)
			}
		}
		if !fails && !placeholder.MatchString(r.Response) {
			t.Errorf("the result is shown as %q", r.Response)
		}
	}
}

// A run that redacts a header only shows the rest, but for bodies that have
// headers in them.
func TestT17RedactedRunHeader(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	init := f.trigger("wfr_1", "payload", "Upstash-Forward-Authorization: secret-token", "Upstash-Redact-Fields: header[Authorization]")
	third := w.endpoint(answers("", []string{"Authorization: secret-answer", "X-Other: shown"}, 200))
	c := f.next(init)
	call := f.call("wfr_1", 1, "ask", third.URL, "Upstash-Forward-Authorization: secret-call")
	from := f.any("the outcome")
	fromID := from.header.Get("Upstash-Message-Id")
	w.await(call, client.EventDelivered)
	w.hides([]string{"secret-token", "secret-call", "secret-answer"}, init, call, fromID)
	if ev := w.events("?state=DELIVERED&messageId=" + call)[0]; ev.ResponseHeader.Get("X-Other") != "shown" {
		t.Errorf("the answer is shown as %v", ev.ResponseHeader)
	}
	if shown := w.run("wfr_1").Steps[0].Steps[0].Out; shown != "payload" {
		t.Errorf("the payload is shown as %q", shown)
	}
	if m := get[client.Message](w, "/v2/messages/"+fromID); !placeholder.MatchString(m.Body) {
		t.Errorf("the outcome, which has the call's headers, is shown as %q", m.Body)
	}
	if m := get[client.Message](w, "/v2/messages/"+call); m.Body != "to the third party" || !slices.Equal(m.Header["Content-Type"], []string{"application/json"}) {
		t.Errorf("the call is shown as %q %v", m.Body, m.Header)
	}
	out, _ := json.Marshal(`{"status":200,"body":"","header":{"Authorization":["secret-answer"],"X-Other":["shown"]}}`)
	f.append("wfr_1", step{body: fmt.Sprintf(`{"stepId":1,"stepName":"ask","stepType":"Call","out":%s,"concurrent":1}`, out)})
	from.ok()
	c.answer(http.StatusOK, "")
	if h := w.run("wfr_1").Steps[1].Steps[0].CallResponseHeaders; !placeholder.MatchString(h.Get("Authorization")) || h.Get("X-Other") != "shown" {
		t.Errorf("the answer's headers are shown as %v", h)
	}
}
