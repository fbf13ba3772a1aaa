package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"

	"github.com/signposthq/signpost/client"
)

// flow is a workflow endpoint played by the test: each delivery waits until
// the test has published what an SDK would publish, and answers it.
type flow struct {
	*endpoint
	mu    sync.Mutex
	calls map[string][]*call // by message id, not yet looked at
	over  chan struct{}
}

// call is one delivery, still to be answered.
type call struct {
	*delivery
	flow  *flow
	reply chan func(http.ResponseWriter)
}

func (w *world) flow() *flow {
	w.t.Helper()
	f := &flow{calls: map[string][]*call{}, over: make(chan struct{})}
	f.endpoint = w.endpoint(f.receive)
	w.t.Cleanup(func() { close(f.over) })
	return f
}

func (f *flow) receive(rw http.ResponseWriter, d *delivery) {
	c := &call{delivery: d, flow: f, reply: make(chan func(http.ResponseWriter), 1)}
	id := d.header.Get("Upstash-Message-Id")
	f.mu.Lock()
	f.calls[id] = append(f.calls[id], c)
	f.mu.Unlock()
	select {
	case answer := <-c.reply:
		answer(rw)
	case <-f.over:
	}
}

// next waits for the next delivery of a message.
func (f *flow) next(id string) (c *call) {
	f.w.t.Helper()
	f.w.until("message "+id+" is delivered", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.calls[id]) == 0 {
			return false
		}
		c, f.calls[id] = f.calls[id][0], f.calls[id][1:]
		return true
	})
	return c
}

// any waits for a delivery that no next has asked for.
func (f *flow) any(what string) (c *call) {
	f.w.t.Helper()
	f.w.until(what, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for id, calls := range f.calls {
			if len(calls) > 0 {
				c, f.calls[id] = calls[0], calls[1:]
				return true
			}
		}
		return false
	})
	return c
}

// quiet says that no delivery waits to be looked at.
func (f *flow) quiet() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, calls := range f.calls {
		if len(calls) > 0 {
			return false
		}
	}
	return true
}

// answer is what the SDK says with this status.
func (c *call) answer(status int, body string, header ...string) {
	c.reply <- func(rw http.ResponseWriter) {
		rw.Header().Set("Upstash-Workflow-Sdk-Version", "1")
		rw.Header().Set("Upstash-Workflow-Sdk", "v1.3.2")
		for _, line := range header {
			name, value, _ := strings.Cut(line, ": ")
			if rw.Header().Set(name, value); value == "" {
				rw.Header().Del(name)
			}
		}
		rw.WriteHeader(status)
		io.WriteString(rw, body)
	}
}

func (c *call) ok() { c.answer(200, `{"workflowRunId":"wfr","finishCondition":"success"}`) }

// log is the array that was delivered.
func (c *call) log() []client.LogEntry {
	c.flow.w.t.Helper()
	var log []client.LogEntry
	if err := json.Unmarshal(c.body, &log); err != nil {
		c.flow.w.t.Fatalf("delivered no log: %v in %q", err, c.body)
	}
	return log
}

// prefix are the message ids of the log.
func (c *call) prefix() (ids []string) {
	for _, entry := range c.log() {
		ids = append(ids, entry.MessageID)
	}
	return ids
}

// trigger starts a run as the SDK's client does, and returns its first message.
func (f *flow) trigger(run, payload string, header ...string) string {
	f.w.t.Helper()
	return f.triggerAnswer(run, payload, header...).MessageID
}

const features = "LazyFetch,InitialBody,WF_DetectTrigger,WF_TriggerOnConfig"

func (f *flow) triggerAnswer(run, payload string, header ...string) client.PublishResponse {
	f.w.t.Helper()
	h := map[string]string{
		"content-type": "application/json", "upstash-method": "POST",
		"upstash-workflow-init": "true", "upstash-workflow-runid": run, "upstash-workflow-url": f.URL,
		"upstash-workflow-sdk-version": "1", "upstash-forward-upstash-workflow-sdk-version": "1",
		"upstash-feature-set": features, "upstash-telemetry-sdk": "@upstash/workflow@v1.3.2",
		"upstash-failure-callback":                                           f.URL,
		"upstash-failure-callback-forward-upstash-workflow-is-failure":       "true",
		"upstash-failure-callback-forward-upstash-workflow-failure-callback": "true",
		"upstash-failure-callback-workflow-runid":                            run, "upstash-failure-callback-workflow-init": "false",
		"upstash-failure-callback-workflow-url": f.URL, "upstash-failure-callback-workflow-calltype": "failureCall",
		"upstash-failure-callback-feature-set": features,
	}
	set(h, header)
	return f.batch(item{f.URL, h, payload})[0]
}

func set(h map[string]string, lines []string) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		if h[strings.ToLower(name)] = value; value == "" {
			delete(h, strings.ToLower(name))
		}
	}
}

type item struct {
	Destination string            `json:"destination"`
	Headers     map[string]string `json:"headers"`
	Body        string            `json:"body,omitempty"`
}

func (f *flow) batch(items ...item) (out []client.PublishResponse) {
	f.w.t.Helper()
	text, err := json.Marshal(items)
	if err != nil {
		f.w.t.Fatal(err)
	}
	f.w.do("POST", "/v2/batch", string(text), "Content-Type: application/json").into(200, &out)
	if len(out) != len(items) {
		f.w.t.Fatalf("%d answers to %d items", len(out), len(items))
	}
	return out
}

// step is what an endpoint publishes of one step, with headers of its own.
type step struct {
	body   string
	header []string
}

func run(id int, name, out string) step {
	return step{body: fmt.Sprintf(`{"stepId":%d,"stepName":%q,"stepType":"Run","out":%q,"concurrent":1}`, id, name, out)}
}

func plan(target int, name, kind string, concurrent int, header ...string) step {
	return step{fmt.Sprintf(`{"stepId":0,"stepName":%q,"stepType":%q,"concurrent":%d,"targetStep":%d}`, name, kind, concurrent, target), header}
}

func result(id int, name, kind string, concurrent int) step {
	return step{body: fmt.Sprintf(`{"stepId":%d,"stepName":%q,"stepType":%q,"out":"\"done\"","concurrent":%d}`, id, name, kind, concurrent)}
}

// base are the headers of every append.
func (f *flow) base(run string) map[string]string {
	return map[string]string{
		"content-type": "application/json", "upstash-method": "POST", "upstash-workflow-init": "false",
		"upstash-workflow-runid": run, "upstash-workflow-url": f.URL, "upstash-workflow-sdk-version": "1",
		"upstash-forward-upstash-workflow-sdk-version": "1", "upstash-feature-set": features,
	}
}

// append publishes steps as one batch and returns their message ids.
func (f *flow) append(run string, steps ...step) (ids []string) {
	f.w.t.Helper()
	var items []item
	for _, s := range steps {
		h := f.base(run)
		set(h, s.header)
		items = append(items, item{f.URL, h, s.body})
	}
	for _, p := range f.batch(items...) {
		ids = append(ids, p.MessageID)
	}
	return ids
}

// call publishes the first half of a context.call step.
func (f *flow) call(run string, stepID int, name, url string, header ...string) string {
	f.w.t.Helper()
	h := map[string]string{
		"upstash-method": "PATCH", "content-type": "application/json", "upstash-workflow-init": "false",
		"upstash-workflow-runid": run, "upstash-workflow-url": f.URL, "upstash-workflow-sdk-version": "1",
		"upstash-workflow-calltype": "toCallback", "upstash-feature-set": "WF_NoDelete,InitialBody", "upstash-retries": "0",
		"upstash-callback": f.URL, "upstash-callback-workflow-runid": run, "upstash-callback-workflow-calltype": "fromCallback",
		"upstash-callback-workflow-init": "false", "upstash-callback-workflow-url": f.URL, "upstash-callback-feature-set": features,
	}
	for suffix, value := range map[string]string{
		"callback": "true", "stepid": fmt.Sprint(stepID), "stepname": name, "steptype": "Call", "concurrent": "1",
		"contenttype": "application/json", "invoke-count": "2",
	} {
		h["upstash-callback-forward-upstash-workflow-"+suffix] = value
	}
	set(h, header)
	return f.batch(item{url, h, "to the third party"})[0].MessageID
}

func (f *flow) finish(run, result string) {
	f.w.t.Helper()
	f.w.do("DELETE", "/v2/workflows/runs/"+run+"?cancel=false", result).into(200, &struct{}{})
}

// inactive checks that the run takes no more steps, alone or among others.
func (f *flow) inactive(run string) {
	f.w.t.Helper()
	var items []item
	for i := range 2 {
		items = append(items, item{f.URL, maps.Clone(f.base(run)), fmt.Sprintf(`{"stepId":%d,"stepName":"late","stepType":"Run"}`, 90+i)})
	}
	text, _ := json.Marshal(items)
	f.w.do("POST", "/v2/batch", string(text)).refused(400, run, "not active")
	f.w.do("GET", "/v2/workflows/runs/"+run, "").refused(404, run)
}

// shape is a run's history in short: a line for each group.
func shape(r client.Run) (lines []string) {
	lines = append(lines, string(r.State))
	for _, g := range r.Steps {
		line := string(g.Type)
		for _, s := range g.Steps {
			line += fmt.Sprintf(" [%s %s", strings.TrimSpace(fmt.Sprint(s.StepID, " ", s.StepName)), strings.TrimPrefix(string(s.State), "STEP_"))
			if len(s.Errors) > 0 {
				line += fmt.Sprintf(" %d errors", len(s.Errors))
			}
			line += "]"
		}
		lines = append(lines, line)
	}
	return lines
}
