package api_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/api"
	"github.com/signposthq/signpost/internal/deliver"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/secret"
	"github.com/signposthq/signpost/internal/store"
)

// logged is a log that can be read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newLLMWorld is a server with a service for api/llm that, in production, may
// deliver to nothing on this machine but that service.
func newLLMWorld(t *testing.T, service *engine.LLM) (*world, *logged) {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := &logged{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	d := deliver.New(deliver.Options{})
	e, err := engine.New(t.Context(), engine.Options{Store: s, Deliverer: d, Logger: logger, Keys: d, LLM: service})
	if err != nil {
		t.Fatal(err)
	}
	u := signpost.DevUsers[0]
	if _, err := e.EnsureTenant(t.Context(), engine.Credentials{UserID: u.UserID, Token: u.Token, CurrentKey: u.CurrentSigningKey, NextKey: u.NextSigningKey}); err != nil {
		t.Fatal(err)
	}
	e.Start()
	server := httptest.NewServer(api.New(e, logger))
	t.Cleanup(func() {
		closeSoon(t, e.Close)
		server.Close()
		d.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{t: t, url: server.URL, token: u.Token}, log
}

// service is an OpenAI-compatible one, in its rudiments.
func service(t *testing.T) (url string, requests func() []string) {
	var mu sync.Mutex
	var got []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = append(got, fmt.Sprintf("%s %s %s %s %s", r.Method, r.RequestURI, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), body))
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"choices": []}`)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), got...)
	}
}

// What goes to api/llm reaches the operator's service, on whatever network that
// is, with the operator's token or the publisher's. Nothing else does.
func TestLLM(t *testing.T) {
	url, requests := service(t)
	w, log := newLLMWorld(t, &engine.LLM{URL: url + "/v1/", Token: secret.New("the-operators")})
	const callback = "Upstash-Callback: https://callback.invalid"
	var answer map[string]any
	w.do("POST", "/v2/publish/api/llm", `{"model": "m"}`, callback).into(200, &answer)
	id, _ := answer["messageId"].(string)
	if len(answer) != 1 || id == "" {
		t.Errorf("answered %v", answer)
	}
	w.await(id, client.EventDelivered)
	if m := get[client.Message](w, "/v2/messages/"+id); m.URL != "api/llm" || len(m.Header) != 0 {
		t.Errorf("message %+v", m)
	}
	w.do("POST", "/v2/enqueue/q/api/llm", `{"model": "m"}`, callback, "Upstash-Forward-Authorization: Bearer the-publishers", "Content-Type: text/odd").into(200, &answer)
	w.await(answer["messageId"].(string), client.EventDelivered)
	var batch []client.PublishResponse
	w.do("POST", "/v2/batch", `[{"destination": "api/llm", "body": "{}", "headers": {"upstash-callback": "https://callback.invalid"}}]`).into(200, &batch)
	w.await(batch[0].MessageID, client.EventDelivered)
	equal(t, "requests", requests(), []string{
		`POST /v1/chat/completions Bearer the-operators application/json {"model": "m"}`,
		`POST /v1/chat/completions Bearer the-publishers text/odd {"model": "m"}`,
		`POST /v1/chat/completions Bearer the-operators application/json {}`,
	})

	// The way to the service, open and warm, is no way for others.
	for _, dest := range []string{url + "/v1/chat/completions", url} {
		id := w.publish(dest, "", "Upstash-Retries: 0")
		events := w.await(id, client.EventFailed)
		if last := events[len(events)-1]; !strings.Contains(last.Error, "destination refused") {
			t.Errorf("%s: %+v", dest, last)
		}
	}
	w.do("POST", "/v2/publish/api/llm", `{}`).refused(400, "Upstash-Callback", "required")
	w.do("POST", "/v2/batch", `[{"destination": "api/llm"}]`).refused(400, "Upstash-Callback", "required")
	w.do("POST", "/v2/trigger/api/llm", "", callback).refused(400, "destination")
	w.withToken(`"urlPrefix": "https://callback.invalid"`, client.ScopePublish).do("POST", "/v2/publish/api/llm", "", callback).refused(403, "destination")
	if n := len(requests()); n != 3 {
		t.Errorf("%d requests", n)
	}
	for _, text := range []string{log.String(), string(w.do("GET", "/v2/events", "").body), string(w.do("GET", "/v2/keys/status", "").body)} {
		if strings.Contains(text, "the-operators") || text != log.String() && strings.Contains(text, url+"/v1/chat") && !strings.Contains(text, "destination refused") {
			t.Errorf("the service is shown: %s", text)
		}
	}
}

// Of a service that does not answer, the log says why, and the message only that.
func TestLLMIsDown(t *testing.T) {
	url, _ := service(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	w, log := newLLMWorld(t, &engine.LLM{URL: gone.URL})
	id := func() string {
		var p client.PublishResponse
		w.do("POST", "/v2/publish/api/llm", `{}`, "Upstash-Callback: "+url, "Upstash-Retries: 0").into(200, &p)
		return p.MessageID
	}()
	events := w.await(id, client.EventFailed)
	if last := events[len(events)-1]; last.Error != "the service for api/llm gave no complete answer; the server's log says why" {
		t.Errorf("failed with %q", last.Error)
	}
	if !strings.Contains(log.String(), "refused") {
		t.Errorf("log %s", log)
	}
}

// A service that nothing could be sent to is found out at the start.
func TestBadLLM(t *testing.T) {
	for name, service := range map[string]engine.LLM{
		"no URL": {}, "relative": {URL: "api.openai.com"}, "query": {URL: "https://api.openai.com/?a=b"},
		"token with a line": {URL: "https://api.openai.com", Token: secret.New("hidden\n")},
	} {
		s, err := store.OpenMemory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := engine.New(t.Context(), engine.Options{Store: s, LLM: &service}); err == nil || !strings.Contains(err.Error(), "LLM") || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
