package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

// canaries are secrets, by where they are planted.
type canaries map[string]string

func (c canaries) plant(where string) string {
	if c[where] == "" {
		c[where] = "cnry" + rand.Text()
	}
	return c[where]
}

// forms are how a secret may stand somewhere: as it is, in hexadecimal, or in
// base64 of whatever it is a part of.
func forms(secret string) []string {
	out := []string{secret, hex.EncodeToString([]byte(secret)), url.QueryEscape(secret)}
	for shift := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
		out = append(out, encoded[4:len(encoded)-4]) // without the characters that depend on what is beside it
	}
	return out
}

// in says which of the canaries can be found in a text.
func (c canaries) in(text []byte) (found []string) {
	for where, secret := range c {
		if slices.ContainsFunc(forms(secret), func(form string) bool { return bytes.Contains(text, []byte(form)) }) {
			found = append(found, where)
		}
	}
	slices.Sort(found)
	return found
}

// inFiles looks into all files of a directory.
func (c canaries) inFiles(t *testing.T, dir string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, where := range c.in(text) {
			found = append(found, e.Name()+": "+where)
		}
	}
	return found
}

// aviary is a server in a process of its own, with endpoints that answer with
// canaries, and everything the server and its commands said.
type aviary struct {
	t        *testing.T
	c        canaries
	dir      string
	env      []string
	process  *background
	url      string
	token    string
	client   *client.Client
	keys     client.SigningKeys
	round    int // how often everything was planted
	endpoint string
	answers  canaries     // of the endpoints; not written to while they answer
	flow     http.Handler // the workflow, once there are keys
	logs     []*background
	errors   bytes.Buffer // bodies of answers that are errors
	said     bytes.Buffer // by commands
}

func newAviary(t *testing.T, masterKey string) *aviary {
	a := &aviary{t: t, c: canaries{}, dir: filepath.Join(t.TempDir(), "data"), token: signpost.DevUsers[0].Token}
	a.env = append(os.Environ(), "SIGNPOST_MASTER_KEY="+masterKey)
	a.answers = canaries{}
	for _, where := range []string{"header of a failed response", "body of a failed response", "header of a response", "body of a response"} {
		a.answers[where] = a.c.plant(where)
	}
	server := httptest.NewServer(http.HandlerFunc(a.answer))
	t.Cleanup(server.Close)
	a.endpoint = server.URL
	a.env = append(a.env, "SIGNPOST_LLM_URL=http://user:"+a.c.plant("password of the LLM service")+"@"+strings.TrimPrefix(server.URL, "http://"),
		"SIGNPOST_LLM_TOKEN="+a.c.plant("token of the LLM service"))
	a.start()
	t.Cleanup(func() { a.kill() })
	return a
}

func (a *aviary) start() {
	a.t.Helper()
	p := &background{ended: make(chan struct{})}
	p.cmd = exec.Command("signpost", "dev", "--quiet", "--port", "0", "--data", a.dir, "--log-level", "debug")
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = a.env, p, p
	if err := p.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	a.process, a.logs = p, append(a.logs, p)
	a.until("the server runs", func() bool {
		_, rest, found := strings.Cut(p.output(), "running at ")
		address, _, complete := strings.Cut(rest, "\n")
		a.url = address
		return found && complete
	})
	a.client = client.New(client.Options{URL: a.url, Token: a.token, NetworkRetries: -1})
	a.t.Cleanup(a.client.CloseIdleConnections)
}

// kill gives the server no time to put anything away.
func (a *aviary) kill() {
	_ = a.process.cmd.Process.Kill()
	<-a.process.ended
}

func (a *aviary) until(what string, done func() bool) {
	a.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatalf("gave up waiting until %s; the server said:\n%s", what, a.process.output())
		}
	}
}

// answer is all the endpoints there are.
func (a *aviary) answer(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/flow", "/broken-flow":
		a.flow.ServeHTTP(w, r)
		return
	case "/fail":
		w.Header().Set("Set-Cookie", "session="+a.answers["header of a failed response"])
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, a.answers["body of a failed response"])
		return
	}
	w.Header().Set("Set-Cookie", "session="+a.answers["header of a response"])
	fmt.Fprint(w, a.answers["body of a response"])
}

func (a *aviary) check(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// rotateKeys makes signing keys that nobody knows, and canaries of them.
func (a *aviary) rotateKeys() {
	a.t.Helper()
	for range 2 {
		var err error
		a.keys, err = a.client.ForceRotateKeys(a.t.Context())
		a.check(err)
	}
	a.c["the signing key"], a.c["the next signing key"], a.c["the token"] = a.keys.Current, a.keys.Next, a.token
}

// publish sends messages with canaries wherever a user can put one, to an
// endpoint that takes them, to one that does not, and to nobody.
func (a *aviary) publish() {
	a.t.Helper()
	c := a.c
	for _, where := range []string{
		"header of a response", "body of a response", "header of a failed response", "body of a failed response",
	} {
		c.plant(where) // before anybody answers
	}
	callback := func(kind string) *client.Callback {
		return &client.Callback{
			URL:    a.endpoint + "/ok?token=" + c.plant("query of the "+kind),
			Header: http.Header{"Authorization": {"Bearer " + c.plant("header of the "+kind)}},
		}
	}
	for _, path := range []string{"/ok", "/fail"} {
		r := client.PublishRequest{
			URL: a.endpoint + path + "?token=" + c.plant("query of the destination"), Body: []byte("the body is " + c.plant("body")),
			Header: http.Header{
				"Authorization": {"Bearer " + c.plant("Authorization header")}, "X-Api-Key": {c.plant("another header")},
			},
			Retries: new(1), RetryDelay: "1", DeduplicationID: fmt.Sprint(c.plant("deduplication id"), path[1:], a.round),
			Callback: callback("callback"), FailureCallback: callback("failure callback"),
		}
		_, err := a.client.Publish(a.t.Context(), r)
		a.check(err)
	}
	nowhere := "http://user:" + c.plant("password of the destination") + "@127.0.0.1:1/"
	_, err := a.client.Publish(a.t.Context(), client.PublishRequest{URL: nowhere, Retries: new(0)})
	a.check(err)

	// All headers of the request, its query, and the token there.
	req, err := http.NewRequest(http.MethodPost, a.url+"/v2/publish/"+a.endpoint+"/ok?qstash_token="+url.QueryEscape(a.token)+
		"&upstash-forward-x-query="+c.plant("header in the query")+"&key="+c.plant("query after the destination"), nil)
	a.check(err)
	req.Header.Set("Upstash-Header-Forward", "true")
	req.Header.Set("Cookie", "session="+c.plant("forwarded cookie"))
	a.expect(req, http.StatusOK)

	for _, m := range []struct{ method, path, header, body string }{
		{"POST", "/v2/topics/g/endpoints", "", fmt.Sprintf(`{"endpoints": [{"name": %q, "url": %q}]}`, c.plant("name of an endpoint"), a.endpoint+"/ok?token="+c.plant("query of an endpoint"))},
		{"PATCH", "/v2/topics/g", "", fmt.Sprintf(`{"headers": {"Upstash-Forward-Authorization": "Bearer %s"}}`, c.plant("header of a group"))},
		{"POST", "/v2/publish/g", "", c.plant("body for a group")},
		{"POST", "/v2/publish/api/llm", a.endpoint + "/ok?token=" + c.plant("query of a callback of the LLM service"), c.plant("prompt")},
	} {
		req, err := http.NewRequest(m.method, a.url+m.path, strings.NewReader(m.body))
		a.check(err)
		req.Header.Set("Authorization", "Bearer "+a.token)
		if m.header != "" {
			req.Header.Set("Upstash-Callback", m.header)
		}
		a.expect(req, http.StatusOK)
	}

	a.until("two messages more are in the DLQ", func() bool {
		page, err := a.client.DLQ(a.t.Context(), client.DLQRequest{})
		a.check(err)
		dead := slices.DeleteFunc(page.Messages, func(m client.DLQMessage) bool { return m.WorkflowRunID != "" })
		return len(dead) == 2*a.round
	})
}

// runWorkflows runs one that succeeds and one that fails.
func (a *aviary) runWorkflows() {
	a.t.Helper()
	c := a.c
	c.plant("output of a step")
	c.plant("error of a workflow")
	call := workflow.CallRequest{
		URL: a.endpoint + "/ok?token=" + c.plant("query of a call"), Method: http.MethodPost,
		Header: http.Header{"Authorization": {"Bearer " + c.plant("header of a call")}}, Body: []byte(c.plant("body of a call")),
	}
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: a.keys.Current, NextSigningKey: a.keys.Next})
	a.check(err)
	c.plant("result of a failure function")
	flow, err := workflow.Serve(func(ctx *workflow.Context, in string) (string, error) {
		out, err := workflow.Run(ctx, "step", func(context.Context) (string, error) { return c["output of a step"], nil })
		if err != nil {
			return "", err
		}
		if _, err := workflow.Call(ctx, "call", call); err != nil {
			return "", err
		}
		if strings.HasPrefix(in, "fail") {
			return "", workflow.NonRetryable(errors.New(c["error of a workflow"]))
		}
		return out, nil
	}, &workflow.Options{
		Client: a.client, Receiver: rc,
		OnFailure: func(*workflow.FailureContext) (string, error) { return c["result of a failure function"], nil },
	})
	a.check(err)
	a.flow = flow
	for path, payload := range map[string]string{"/flow": c.plant("payload"), "/broken-flow": "fail " + c.plant("payload of a failing run")} {
		_, err := a.client.TriggerJSON(a.t.Context(), client.TriggerRequest{
			URL: a.endpoint + path + "?token=" + c.plant("query of a workflow"), Header: http.Header{"Authorization": {"Bearer " + c.plant("header of a run")}},
		}, payload)
		a.check(err)
	}
	a.until("both runs have ended", func() bool {
		page, err := a.client.Runs(a.t.Context(), client.RunsRequest{})
		a.check(err)
		ended := 0
		for _, r := range page.Runs {
			if r.State == client.RunSuccess || r.State == client.RunFailed && r.FailureFunction != nil && r.FailureFunction.State == "CALLBACK_SUCCESS" {
				ended++
			}
		}
		return ended == 2*a.round
	})
}

// expect sends a request, and keeps the answer if it is an error.
func (a *aviary) expect(req *http.Request, status int) {
	a.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	a.check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	a.check(err)
	if resp.StatusCode != status {
		a.t.Errorf("%s %s: status %d, want %d: %s", req.Method, req.URL.Path, resp.StatusCode, status, body)
	}
	if resp.StatusCode >= 400 {
		fmt.Fprintf(&a.errors, "%v %s\n", resp.Header, body)
	}
}

// mistakes are requests that are refused although, or because, they have
// secrets in them.
func (a *aviary) mistakes() {
	a.t.Helper()
	c := a.c
	publish := "/v2/publish/" + a.endpoint + "/ok"
	for _, m := range []struct {
		method, path, header, body string
		status                     int
	}{
		{"POST", publish, "Authorization: Bearer " + c.plant("wrong token"), "", 401},
		{"POST", publish, "Authorization: Basic " + c.plant("other credentials"), "", 401},
		{"POST", publish + "?qstash_token=" + c.plant("wrong token in the query"), "Authorization:", "", 401},
		{"POST", publish, "Upstash-Callback: " + c.plant("callback that is no URL"), "", 400},
		{"POST", publish, "Upstash-Callback: https://user:" + c.plant("password in a callback") + "@:x/", "", 400},
		{"POST", publish, "Upstash-Callback: https://host:" + c.plant("port of a callback") + "/", "", 400},
		{"POST", publish, "Upstash-Callback-Forward-Authorization: " + c.plant("header of a bad callback") + "\nUpstash-Callback: /", "", 400},
		{"POST", publish, "Upstash-Deduplication-Id: " + c.plant("bad deduplication id") + ":1", "", 400},
		{"POST", publish + "?upstash-forward-key:" + c.plant("name of a setting") + "=1", "", "", 400},
		{"POST", publish + "?upstash-forward-key=%zz" + c.plant("bad setting"), "", "", 400},
		{"POST", "/v2/publish/https://host:" + c.plant("port of a destination") + "/", "", "", 400},
		{"POST", "/v2/publish/ftp://user:" + c.plant("password of a bad destination") + "@host/", "", "", 400},
		{"POST", "/v2/batch", "", c.plant("batch that is no JSON"), 400},
		{"POST", "/v2/batch", "", `[{"destination":"https://a.example","headers":{"Authorization":{"token":"` + c.plant("header that is an object") + `"}}}]`, 400},
		{"POST", "/v2/batch", "", `[{"destination":"https://a.example","headers":{"Authorization: Bearer ` + c.plant("name of a header") + `":""}}]`, 400},
		{"POST", "/v2/batch", "", `[{"destination":"https://a.example/` + c.plant("destination with a control character") + `\u0000"}]`, 400},
		{"POST", "/v2/batch", "", `[{"destination":"https://a.example","headers":{"Upstash-Forward-Authorization":"` + c.plant("header with a control character") + `\u0001"}}]`, 400},
		{"POST", "/v2/batch", "", `[{"destination":"https://a.example","body":["` + c.plant("body that is a list") + `"]}]`, 400},
		{"POST", "/v2/topics/g/endpoints", "", `{"endpoints":[{"url":"https://host:` + c.plant("port of an endpoint") + `/"}]}`, 400},
		{"POST", "/v2/topics/g/endpoints", "", `{"endpoints":[{"url":"` + c.plant("endpoint that is no URL") + `"}]}`, 400},
		{"PATCH", "/v2/topics/g", "", `{"headers":{"Upstash-Callback":"https://user:` + c.plant("password in a group's callback") + `@:x/"}}`, 400},
		{"PATCH", "/v2/topics/g", "", `{"headers":{"Upstash-Forward-A":"` + c.plant("group's header with a control character") + `\u0001"}}`, 400},
		{"PATCH", "/v2/topics/g", "", `{"headers":{"Authorization: Bearer ` + c.plant("name of a group's header") + `":""}}`, 400},
		{"DELETE", "/v2/messages", "", `{"url": {"` + c.plant("filter that is an object") + `": 1}}`, 400},
		{"POST", "/v2/publsh/https://hooks.example/" + c.plant("path of a misspelt route"), "", "", 404},
		{"GET", "/v2/events?state=" + "nonsense&token=" + c.plant("parameter nobody knows"), "", "", 400},
		{"GET", "/metrics?token=" + c.plant("query of metrics"), "", "", 404},
	} {
		req, err := http.NewRequest(m.method, a.url+m.path, strings.NewReader(m.body))
		a.check(err)
		req.Header.Set("Authorization", "Bearer "+a.token)
		for line := range strings.Lines(m.header) {
			name, value, _ := strings.Cut(line, ":")
			req.Header.Set(name, strings.TrimSpace(value))
			if value == "" {
				req.Header.Del(name)
			}
		}
		a.expect(req, m.status)
	}
}

// command runs one against the server, whatever comes of it, and notes what it said.
func (a *aviary) command(args ...string) {
	cmd := exec.Command("signpost", args...)
	cmd.Env = append(slices.Clone(a.env), "QSTASH_URL="+a.url, "QSTASH_TOKEN="+a.token)
	out, err := cmd.CombinedOutput()
	fmt.Fprintf(&a.said, "$ signpost %s: %v\n%s", args[0], err, out)
}

func (a *aviary) commands() {
	c := a.c
	a.command("logs", "-n", "1000")
	a.command("logs", "--state", "FAILED")
	a.command("publish", a.endpoint+"/ok?key="+c.plant("query on the command line"), "-H", "Authorization: "+c.plant("header on the command line"), "-d", c.plant("body on the command line"))
	a.command("publish", "https://user:"+c.plant("password on the command line")+"@:x/")
	a.command("logs", "--token", c.plant("token on the command line"))
	a.command("keys", "rewrap", "--status")
	a.command("healthcheck")
}

// everything plants all canaries.
func (a *aviary) everything() {
	a.t.Helper()
	a.round++
	a.rotateKeys()
	a.publish()
	a.runWorkflows()
	a.mistakes()
	a.commands()
}

// search looks everywhere, and reports what should not be there.
func (a *aviary) search(when string) {
	a.t.Helper()
	if found := a.c.inFiles(a.t, a.dir); found != nil {
		a.t.Errorf("%s, in files: %q", when, found)
	}
	for _, p := range a.logs {
		if found := a.c.in([]byte(p.output())); found != nil {
			a.t.Errorf("%s, in the log: %q:\n%s", when, found, p.output())
		}
	}
	if found := a.c.in(a.errors.Bytes()); found != nil {
		a.t.Errorf("%s, in error bodies: %q:\n%s", when, found, &a.errors)
	}
	if found := a.c.in(a.said.Bytes()); found != nil {
		a.t.Errorf("%s, in what commands said: %q:\n%s", when, found, &a.said)
	}
}

// Secrets that users send, or endpoints answer, are nowhere to be found: not in
// the database's files, not in the log, not in error bodies, and not in what
// commands print (but those whose purpose it is: keys show, logs --json).
func TestT17T18SecretsAreNowhere(t *testing.T) {
	masterKey := signpost.NewMasterKey()
	a := newAviary(t, masterKey)
	a.c["the master key"] = masterKey
	a.everything()
	a.search("while it runs")
	a.command("keys", "rewrap", "--wait")
	a.search("after a rewrap")
	a.kill()
	a.search("after it was killed")
	a.start()
	a.everything()
	a.search("after the next start")
	_ = a.process.cmd.Process.Signal(os.Interrupt)
	<-a.process.ended
	a.search("after the end")
	t.Logf("%d canaries: %q", len(a.c), slices.Sorted(maps.Keys(a.c)))
}

// Without a master key the search finds what was planted: it is not blind. With
// one, all of that becomes sealed.
func TestT18PlainDataBecomesSealed(t *testing.T) {
	a := newAviary(t, "")
	a.everything()
	a.kill()
	found := a.c.inFiles(t, a.dir)
	if len(found) < 25 {
		t.Errorf("only %d canaries are found in plain files: %q", len(found), found)
	}
	a.env = append(a.env, "SIGNPOST_MASTER_KEY="+signpost.NewMasterKey())
	a.start()
	a.until("all is sealed", func() bool {
		s, err := a.client.Sealing(t.Context())
		return err == nil && s.State == client.SealingDone
	})
	a.search("when all is sealed")
}
