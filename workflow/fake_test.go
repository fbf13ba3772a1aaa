package workflow_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

// fakeServer plays the server's side of the protocol: runs in memory, time
// that passes when there is nothing else to do, one delivery after the other.
type fakeServer struct {
	client   *client.Client
	http     *httptest.Server
	endpoint http.Handler // at https://app.example
	third    http.Handler // at any other address

	lazy   bool                                   // deliver logs without bodies
	before func(*http.Request) *http.Request      // a delivery is about to be made; nil for none
	after  func(*delivered)                       // one was made; nil for none
	refuse func(method, path string) (status int) // 0: do not
	idle   func()                                 // called once when there is nothing to do but wait; nil for none

	mu      sync.Mutex
	now     time.Time
	serial  int
	runs    map[string]*fakeRun
	pending []*fakeMessage
	waits   []*fakeWait
	notes   map[[2]string][][]byte // by run and event: what came before the run waited
	calls   []string               // of the API: method and path
}

type fakeRun struct {
	id, url  string
	state    string // "", "success", "failed", "canceled"
	result   string
	config   wire.Config
	created  time.Time
	log      []wire.LogEntry
	callback string // result of the failure function
	invoker  *wire.InvokeRequest
}

type fakeMessage struct {
	id      string
	run     *fakeRun
	due     time.Time
	config  wire.Config // of the message; of a step its run's applies
	url     string
	body    []byte
	tried   int
	last    int                 // index of the entry it was appended as
	invoker *wire.InvokeRequest // of the run that it starts
	wait    *fakeWait           // whose time is up when it is due; then the rest is not set
}

// delivered is one delivery with what came of it.
type delivered struct {
	kind   string // step, callback, failure, plain
	header http.Header
	body   []byte
	status int
	answer http.Header
	said   string
}

func newFakeServer() *fakeServer {
	f := &fakeServer{now: time.Unix(1_700_000_000, 0), runs: map[string]*fakeRun{}, notes: map[[2]string][][]byte{}}
	f.http = httptest.NewServer(http.HandlerFunc(f.api))
	f.client = client.New(client.Options{URL: f.http.URL, Token: userToken, NetworkRetries: -1})
	return f
}

func (f *fakeServer) Close() {
	f.client.CloseIdleConnections()
	f.http.Close()
}

// options are those of an endpoint of f.
func (f *fakeServer) options() *workflow.Options {
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: testKey})
	if err != nil {
		panic(err)
	}
	return &workflow.Options{Client: f.client, Receiver: rc, RequireBinding: true, BaseURL: "https://app.example", Logger: quiet}
}

// api is what the endpoint calls.
func (f *fakeServer) api(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, r.Method+" "+r.RequestURI)
	w.Header().Set("Content-Type", "application/json")
	status, out := f.serve(r, body)
	if f.refuse != nil {
		if refused := f.refuse(r.Method, r.RequestURI); refused != 0 {
			status, out = refused, map[string]string{"error": "refused"}
		}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out)
}

func (f *fakeServer) serve(r *http.Request, body []byte) (int, any) {
	const runs = "/v2/workflows/runs/"
	id := strings.TrimPrefix(r.URL.Path, runs)
	switch run := f.runs[id]; {
	case f.waiting(r.URL.Path):
		return f.serveWait(r, body)
	case r.URL.Path == "/v2/batch":
		items, err := wire.ParseBatch(body)
		if err != nil {
			return 400, map[string]string{"error": err.Error()}
		}
		return f.publish(items)
	case strings.HasPrefix(r.RequestURI, "/v2/publish/"):
		item := wire.BatchItem{Destination: strings.TrimPrefix(r.RequestURI, "/v2/publish/"), Header: r.Header, Body: body}
		status, out := f.publish([]wire.BatchItem{item})
		if answers, ok := out.([]client.PublishResponse); ok {
			return status, answers[0]
		}
		return status, out
	case !strings.HasPrefix(r.URL.Path, runs) || run == nil:
		return 404, map[string]string{"error": "not found"}
	case r.Method == http.MethodDelete:
		if run.state == "" {
			run.state, run.result = "success", string(body)
			if r.URL.Query().Get("cancel") == "true" {
				run.state = "canceled"
			}
			f.ended(run)
		}
		return 200, struct{}{}
	case run.state != "":
		return 404, map[string]string{"error": "the run has ended"}
	}
	return 200, json.RawMessage(wire.EncodeLog(nil, f.runs[id].log))
}

func (f *fakeServer) publish(items []wire.BatchItem) (int, any) {
	messages := make([]*fakeMessage, len(items))
	for i, item := range items {
		invoker, err := unwrap(&item)
		if err != nil {
			return 400, map[string]string{"error": err.Error()}
		}
		config, err := wire.ParseConfig(item.Header)
		if err != nil {
			return 400, map[string]string{"error": err.Error()}
		}
		if w := config.Workflow; w.RunID != "" && !w.Init && (f.runs[w.RunID] == nil || f.runs[w.RunID].state != "") {
			return 400, map[string]string{"error": "the run is not active"}
		}
		messages[i] = &fakeMessage{url: item.Destination, config: config, body: item.Body, due: f.now.Add(config.Delay), invoker: invoker}
		if config.NotBefore != 0 {
			messages[i].due = time.UnixMilli(config.NotBefore)
		}
	}
	answers := make([]client.PublishResponse, len(items))
	for i, m := range messages {
		f.serial++
		m.id = fmt.Sprintf("msg_%d", f.serial)
		answers[i].MessageID = m.id
		f.append(m)
	}
	return 200, answers
}

func (f *fakeServer) append(m *fakeMessage) {
	if w := m.config.Workflow; w.RunID != "" {
		if w.Init {
			f.runs[w.RunID] = &fakeRun{id: w.RunID, url: w.URL, config: m.config, created: f.now, invoker: m.invoker}
		}
		m.run = f.runs[w.RunID]
		m.last = len(m.run.log)
		if w.CallType != wire.CallFailure {
			m.run.log = append(m.run.log, wire.LogEntry{MessageID: m.id, CallType: w.CallType, Body: m.body})
		}
	}
	f.pending = append(f.pending, m)
}

// settle delivers until nothing is left to deliver.
func (f *fakeServer) settle() {
	for f.step() {
	}
}

// step makes the next delivery; false if there is none.
func (f *fakeServer) step() bool {
	f.mu.Lock()
	f.pending = slices.DeleteFunc(f.pending, func(m *fakeMessage) bool {
		return m.run != nil && m.run.state != "" && m.config.Workflow.CallType != wire.CallFailure
	})
	if len(f.pending) == 0 {
		f.mu.Unlock()
		return false
	}
	m := slices.MinFunc(f.pending, func(a, b *fakeMessage) int { return a.due.Compare(b.due) })
	if idle := f.idle; idle != nil && m.due.After(f.now) {
		f.idle = nil
		f.mu.Unlock()
		idle()
		return true
	}
	f.pending = slices.DeleteFunc(f.pending, func(o *fakeMessage) bool { return o == m })
	if m.due.After(f.now) {
		f.now = m.due
	}
	f.mu.Unlock()
	switch {
	case m.wait != nil:
		f.timeOut(m.wait)
	case m.config.Workflow.CallType == wire.CallTo:
		f.callThird(m)
	default:
		f.deliver(m)
	}
	return true
}

func (f *fakeServer) deliver(m *fakeMessage) {
	r, kind := f.request(m)
	if f.before != nil {
		r = f.before(r)
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	w := httptest.NewRecorder()
	f.endpoint.ServeHTTP(w, r)
	if f.after != nil {
		f.after(&delivered{kind, r.Header, body, w.Code, w.Header(), w.Body.String()})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	final := w.Header().Get(wire.HeaderNonRetryable) == "true"
	switch {
	case w.Code < 300 && kind == "failure":
		m.run.callback = w.Body.String()
	case w.Code < 300:
	case m.tried < 3 && !final:
		m.tried++
		m.due = f.now.Add(time.Second)
		if d, ok := wire.RetryAfter(w.Header(), f.now); ok {
			m.due = f.now.Add(d)
		}
		f.pending = append(f.pending, m)
	case m.run != nil && m.run.state == "":
		f.fail(m, w)
	}
}

// request is the delivery of m.
func (f *fakeServer) request(m *fakeMessage) (r *http.Request, kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kind, body, config := "plain", m.body, m.config
	if m.run != nil {
		switch m.config.Workflow.CallType {
		case wire.CallFrom:
			kind = "callback"
		case wire.CallFailure:
			kind = "failure"
		default:
			kind = "step"
			if body = nil; !f.lazy {
				body = wire.EncodeLog(nil, m.run.log[:m.last+1])
			}
		}
	}
	u, _ := url.Parse(m.url)
	r = httptest.NewRequest(http.MethodPost, u.RequestURI(), bytes.NewReader(body))
	r.Host, r.RemoteAddr = u.Host, "127.0.0.1:50000"
	if m.run != nil && kind != "failure" {
		maps.Copy(r.Header, m.run.config.Header)
		r.Header.Del(wire.HeaderWorkflowSDKVersion)
	}
	maps.Copy(r.Header, config.Header)
	if m.run != nil {
		r.Header.Set(wire.HeaderWorkflowRunID, m.run.id)
		r.Header.Set(wire.HeaderWorkflowURL, m.run.url)
		r.Header.Set(wire.HeaderWorkflowCreatedAt, strconv.FormatInt(m.run.created.UnixMilli(), 10))
	}
	r.Header.Set(wire.HeaderMessageID, m.id)
	r.Header.Set(wire.HeaderRetried, strconv.Itoa(m.tried))
	r.Header.Set("User-Agent", "Upstash-QStash")
	o := receiver.SignOptions{URL: m.url, Body: body, Kind: receiver.KindMessage, Attempt: m.tried, Header: r.Header}
	if m.run != nil {
		o.Kind, o.RunID = receiver.Kind(kind), m.run.id
	}
	return signedFor(r, testKey, o), kind
}

func (f *fakeServer) fail(m *fakeMessage, w *httptest.ResponseRecorder) {
	m.run.state = "failed"
	f.ended(m.run)
	cb := m.run.config.FailureCallback
	if cb == nil {
		return
	}
	body, _ := json.Marshal(wire.CallbackBody{
		Status: w.Code, Header: w.Header(), Body: w.Body.Bytes(), URL: m.url, Method: "POST", DLQID: "1-0",
		SourceMessageID: m.id, SourceBody: m.run.log[0].Body, Retried: m.tried, MaxRetries: 3,
		WorkflowRunID: m.run.id, WorkflowCreatedAt: m.run.created.UnixMilli(),
	})
	f.callback(m.run, cb, body)
}

// callThird makes the request of a Call, and the message with its answer.
func (f *fakeServer) callThird(m *fakeMessage) {
	r := httptest.NewRequest(m.config.Method, m.url, bytes.NewReader(m.body))
	maps.Copy(r.Header, m.config.Header)
	w := httptest.NewRecorder()
	f.third.ServeHTTP(w, r)
	body, _ := json.Marshal(wire.CallbackBody{
		Status: w.Code, Header: w.Header(), Body: w.Body.Bytes(), URL: m.url, Method: m.config.Method,
		SourceMessageID: m.id, SourceBody: m.body,
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.callback(m.run, m.config.Callback, body)
}

func (f *fakeServer) callback(run *fakeRun, cb *wire.Callback, body []byte) {
	config, err := wire.ParseConfig(cb.Header)
	if err != nil {
		panic(err)
	}
	f.serial++
	f.append(&fakeMessage{
		id: fmt.Sprintf("msg_%d", f.serial), url: cb.URL, due: f.now, body: body,
		config: wire.Config{Header: config.Header, Workflow: wire.Workflow{
			RunID: run.id, CallType: cmp.Or(config.Workflow.CallType, wire.CallFrom)}},
	})
}
