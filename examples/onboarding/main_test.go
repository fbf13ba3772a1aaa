package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/signposttest"
)

// app is the example on a server.
type app struct {
	*signposttest.Server
	url string
	log lines
}

type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T) *app {
	a := &app{Server: signposttest.NewServer(t)}
	server := httptest.NewUnstartedServer(nil)
	a.url = "http://" + server.Listener.Addr().String()
	rc, err := receiver.New(receiver.Options{
		CurrentSigningKey: a.CurrentSigningKey, NextSigningKey: a.NextSigningKey, BaseURL: a.url,
		Development: true, RequireBinding: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := a.Client()
	server.Config.Handler, err = newHandler(config{
		BaseURL: a.url, Client: c, Receiver: rc, Token: "secret", Log: log.New(&a.log, "", 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	t.Cleanup(func() { c.CloseIdleConnections(); server.Close() })
	return a
}

func (a *app) onboard(t *testing.T, token, payload string) client.Run {
	t.Helper()
	c := a.Client()
	defer c.CloseIdleConnections()
	run, err := c.Trigger(t.Context(), client.TriggerRequest{
		URL: a.url + "/onboard", Body: []byte(payload), Retries: new(0),
		Header: http.Header{"Authorization": {"Bearer " + token}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return a.WaitRun(t, run.WorkflowRunID, client.RunSuccess, client.RunFailed)
}

// wantLog waits until the log holds all of words, for a failed run is cleaned up
// after it has ended.
func (a *app) wantLog(t *testing.T, words ...string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		missing := ""
		for _, w := range words {
			if !strings.Contains(a.log.String(), w) {
				missing = w
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("log lacks %q:\n%s", missing, a.log.String())
		}
	}
}

func TestOnboard(t *testing.T) {
	a := start(t)
	run := a.onboard(t, "secret", `{"email":"ada@example.com"}`)
	want := `{"email":"ada@example.com","home":"/home/user-ada@example.com","mail":"mail-to-ada@example.com"}`
	if run.State != client.RunSuccess || run.Response != want {
		t.Errorf("run ended as %s with %s, want %s", run.State, run.Response, want)
	}
	for _, step := range []string{"create user", "prepare home", "mail service: welcome mail", "open account"} {
		if n := strings.Count(a.log.String(), step); n != 1 {
			t.Errorf("%q was done %d times:\n%s", step, n, a.log.String())
		}
	}
}

func TestFailure(t *testing.T) {
	a := start(t)
	if run := a.onboard(t, "secret", `{"email":"ada@example.com","fail":true}`); run.State != client.RunFailed {
		t.Errorf("run ended as %s", run.State)
	}
	a.wantLog(t, "failed, clean up after ada@example.com: user ada@example.com cannot be created")
}

func TestWrongToken(t *testing.T) {
	a := start(t)
	if run := a.onboard(t, "guess", `{"email":"eve@example.com"}`); run.State != client.RunFailed {
		t.Errorf("run ended as %s", run.State)
	}
	a.wantLog(t, "refused: wrong Authorization")
	if strings.Contains(a.log.String(), "eve@example.com") {
		t.Errorf("something was done:\n%s", a.log.String())
	}
}

func TestUnsigned(t *testing.T) {
	a := start(t)
	for _, path := range []string{"/onboard", "/mail"} {
		r, err := http.NewRequest(http.MethodPost, a.url+path, strings.NewReader(`{"to":"eve@example.com"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer secret")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 401 || !strings.Contains(string(body), "no signature") {
			t.Errorf("%s answered %d %s", path, resp.StatusCode, body)
		}
	}
	if a.log.String() != "" {
		t.Errorf("something was done:\n%s", a.log.String())
	}
}

func TestRunCommand(t *testing.T) {
	env := map[string]string{"QSTASH_TOKEN": "t", "QSTASH_CURRENT_SIGNING_KEY": strings.Repeat("k", 20), "ONBOARDING_TOKEN": "secret"}
	for missing, want := range map[string]string{
		"QSTASH_TOKEN": "QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY": "set QSTASH_CURRENT_SIGNING_KEY", "ONBOARDING_TOKEN": "set ONBOARDING_TOKEN", "": "",
	} {
		getenv := func(name string) string {
			if name == missing {
				return ""
			}
			return env[name]
		}
		ctx, stop := context.WithCancel(t.Context())
		stop() // as if interrupted at once
		var out bytes.Buffer
		err := run(ctx, []string{"-listen", "127.0.0.1:0"}, getenv, &out)
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("without %s: %v", missing, err)
		case want == "" && (err != nil || !strings.HasPrefix(out.String(), "onboarding is served at http://127.0.0.1:")):
			t.Errorf("run: %v, %s", err, &out)
		}
	}
}
