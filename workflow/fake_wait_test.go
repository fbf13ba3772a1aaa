package workflow_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

// userToken names its user, as webhooks ask for.
var userToken = base64.StdEncoding.EncodeToString([]byte(`{"UserID":"u1","Password":"secret"}`))

// fakeWait is a step that waits for an event or a call of a webhook.
type fakeWait struct {
	run   *fakeRun
	event string
	req   client.WaitRequest
}

func (f *fakeServer) waiting(path string) bool {
	return strings.HasPrefix(path, "/v2/wait/") || strings.HasPrefix(path, "/v2/notify/") || strings.HasPrefix(path, "/v2/workflows/hooks/")
}

func (f *fakeServer) serveWait(r *http.Request, body []byte) (int, any) {
	var part []string
	for segment := range strings.SplitSeq(strings.TrimPrefix(r.URL.EscapedPath(), "/v2/"), "/") {
		text, err := url.PathUnescape(segment)
		if err != nil {
			return 400, map[string]string{"error": err.Error()}
		}
		part = append(part, text)
	}
	switch {
	case part[0] == "wait" && len(part) == 2:
		return f.wait(part[1], r.Header, body)
	case part[0] == "notify" && len(part) == 2:
		told := []client.NotifyResponse{}
		for _, w := range slices.Clone(f.waits) {
			if w.event == part[1] && w.req.Step.StepType == string(wire.StepWait) {
				told = append(told, f.tell(w, body))
			}
		}
		return 201, told
	case part[0] == "notify" && len(part) == 3:
		return f.tellRun(part[1], part[2], body)
	case len(part) == 5:
		call, err := json.Marshal(map[string]any{"method": r.Method, "header": r.Header, "body": body, "proto": "http", "host": r.Host, "url": r.RequestURI})
		if err != nil {
			return 400, map[string]string{"error": err.Error()}
		}
		return f.tellRun(part[3], part[4], call)
	}
	return 404, map[string]string{"error": "not found"}
}

func (f *fakeServer) wait(event string, h http.Header, body []byte) (int, any) {
	run := f.runs[h.Get(wire.HeaderWorkflowRunID)]
	if run == nil || run.state != "" {
		return 400, map[string]string{"error": "the run is not active"}
	}
	w := &fakeWait{run: run, event: event}
	if err := json.Unmarshal(body, &w.req); err != nil {
		return 400, map[string]string{"error": err.Error()}
	}
	w.req.Header = h.Clone()
	timeout, err := wire.ParseDuration(w.req.Timeout)
	if err != nil {
		return 400, map[string]string{"error": err.Error()}
	}
	f.waits = append(f.waits, w)
	key := [2]string{run.id, event}
	if early := f.notes[key]; len(early) > 0 {
		f.notes[key] = early[1:]
		f.tell(w, early[0])
		return 200, struct{}{}
	}
	f.pending = append(f.pending, &fakeMessage{run: run, due: f.now.Add(timeout), wait: w})
	return 200, struct{}{}
}

func (f *fakeServer) tellRun(id, event string, body []byte) (int, any) {
	run := f.runs[id]
	if run == nil || run.state != "" {
		return 400, map[string]string{"error": "the run is not active"}
	}
	for _, w := range f.waits {
		if w.run == run && w.event == event {
			return 201, []client.NotifyResponse{f.tell(w, body)}
		}
	}
	key := [2]string{id, event}
	f.notes[key] = append(f.notes[key], body)
	return 201, []client.NotifyResponse{{WorkflowRunID: id}}
}

func (f *fakeServer) tell(w *fakeWait, body []byte) client.NotifyResponse {
	out := base64.StdEncoding.EncodeToString(body)
	s := w.step()
	s.Out = &out
	id := f.done(w, s, w.req.Header, w.req.URL)
	return client.NotifyResponse{Waiter: client.Waiter{URL: w.req.URL}, MessageID: id, WorkflowRunID: w.run.id}
}

func (f *fakeServer) timeOut(w *fakeWait) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := w.step()
	s.WaitTimeout = true
	f.done(w, s, w.req.TimeoutHeaders, w.req.TimeoutURL)
}

func (w *fakeWait) step() wire.Step {
	s := w.req.Step
	return wire.Step{StepID: s.StepID, StepName: s.StepName, StepType: wire.StepType(s.StepType), Concurrent: s.Concurrent, WaitEventID: w.event}
}

func (f *fakeServer) done(w *fakeWait, s wire.Step, h http.Header, url string) (messageID string) {
	f.waits = slices.DeleteFunc(f.waits, func(o *fakeWait) bool { return o == w })
	f.pending = slices.DeleteFunc(f.pending, func(m *fakeMessage) bool { return m.wait == w })
	return f.result(s, h, url)
}

// result is written by the server: the endpoint has no part in it.
func (f *fakeServer) result(s wire.Step, h http.Header, url string) (messageID string) {
	body, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	_, out := f.publish([]wire.BatchItem{{Destination: url, Header: h, Body: body}})
	answers, ok := out.([]client.PublishResponse)
	if !ok { // the run has ended
		return ""
	}
	return answers[0].MessageID
}

// unwrap takes the payload out of a message that invokes a run.
func unwrap(item *wire.BatchItem) (*wire.InvokeRequest, error) {
	if item.Header.Get(wire.HeaderWorkflowInvoke) != "true" {
		return nil, nil
	}
	var invoker wire.InvokeRequest
	if err := json.Unmarshal(item.Body, &invoker); err != nil {
		return nil, err
	}
	if invoker.Headers.Get(wire.HeaderWorkflowRunID) != invoker.RunID {
		return nil, errors.New("the headers are not those of the run that waits")
	}
	item.Header, item.Body = item.Header.Clone(), nil
	item.Header.Del(wire.HeaderWorkflowInvoke)
	if invoker.Body != nil {
		item.Body = []byte(*invoker.Body)
	}
	return &invoker, nil
}

// ended tells the run that waits for this one.
func (f *fakeServer) ended(run *fakeRun) {
	if run.invoker == nil {
		return
	}
	result := wire.InvokeResult{Failed: run.state == "failed", Canceled: run.state == "canceled"}
	if run.state == "success" && run.result != "" {
		result.Body = &run.result
	}
	text, err := json.Marshal(result)
	if err != nil {
		panic(err)
	}
	out, s := string(text), run.invoker.Step
	s.Out = &out
	f.result(s, run.invoker.Headers, run.invoker.URL)
}

// call makes a request of a third party, and goes on if it is accepted.
func call(method, url, body string) {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	resp, err := c.Do(r)
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
	if resp.StatusCode > 299 {
		panic(resp.Status)
	}
}
