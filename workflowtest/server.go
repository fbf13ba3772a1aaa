package workflowtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
)

// deepest is how many runs may invoke each other in turn.
const deepest = 100

// transport is the way to the server.
type transport struct{ env *Env }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	t.env.mu.Lock()
	status, out, err := t.env.api(r, body)
	t.env.mu.Unlock()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(out)
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(bytes.NewReader(text)), ContentLength: int64(len(text)), Request: r,
	}, err
}

// problem is what the server has against a request.
type problem struct {
	status int
	text   string
}

func (p *problem) Error() string { return p.text }

func refuse(status int, format string, args ...any) (int, any, error) {
	return status, map[string]string{"error": fmt.Sprintf(format, args...)}, nil
}

var errLost = errors.New("connection lost, as LoseStep says")

// api is the part of the server's API that workflows use. It is called with the
// lock, as is all below.
func (e *Env) api(r *http.Request, body []byte) (int, any, error) {
	path, query, _ := strings.Cut(r.URL.RequestURI(), "?")
	if tail, ok := strings.CutPrefix(path, "/v2/publish/"); ok && r.Method == http.MethodPost {
		destination, settings, err := wire.CutDestination(tail, query)
		if err != nil {
			return refuse(http.StatusBadRequest, "%v", err)
		}
		status, out, err := e.publish([]wire.BatchItem{{Destination: destination, Header: wire.MergeSettings(r.Header, settings), Body: body}})
		if answers, ok := out.([]client.PublishResponse); ok {
			out = answers[0]
		}
		return status, out, err
	}
	parts := strings.Split(strings.TrimPrefix(path, "/v2/"), "/")
	for i, part := range parts {
		parts[i], _ = url.PathUnescape(part)
	}
	switch last := parts[len(parts)-1]; r.Method + " " + parts[0] + " " + strconv.Itoa(len(parts)) {
	case "POST batch 1":
		items, err := wire.ParseBatch(body)
		if err != nil {
			return refuse(http.StatusBadRequest, "%v", err)
		}
		return e.publish(items)
	case "POST wait 2":
		return e.wait(last, r.Header, body)
	case "POST notify 2":
		return http.StatusCreated, e.tellAll(last, body), nil
	case "POST notify 3":
		return e.tellRun(parts[1], last, body)
	case "GET waiters 2":
		return http.StatusOK, e.waiters(last), nil
	case "GET workflows 3":
		if run := e.active(last); run != nil && parts[1] == "runs" {
			return http.StatusOK, json.RawMessage(wire.EncodeLog(nil, run.entries())), nil
		}
		return refuse(http.StatusNotFound, "workflow run %s not found", last)
	case "DELETE workflows 3":
		return e.finish(last, r.URL.Query().Get("cancel") != "false", body)
	}
	return refuse(http.StatusNotFound, "the server of workflowtest has no %s %s", r.Method, path)
}

// accepted is a message that has been looked at, and not been kept yet.
type accepted struct {
	wire.BatchItem
	config  wire.Config
	invoker *invoker // nil: it invokes nothing
	run     *run     // whose log it is for
}

// publish takes all of the items or none.
func (e *Env) publish(items []wire.BatchItem) (int, any, error) {
	all := make([]accepted, len(items))
	for i, item := range items {
		a, err := e.accept(item)
		if refused := (*problem)(nil); errors.As(err, &refused) {
			return refuse(refused.status, "%s", refused.text)
		} else if err != nil {
			return 0, nil, err
		}
		all[i] = a
	}
	answers := make([]client.PublishResponse, len(all))
	for i := range all {
		answers[i] = e.keep(&all[i])
	}
	return http.StatusOK, answers, nil
}

func (e *Env) accept(item wire.BatchItem) (a accepted, err error) {
	a.BatchItem = item
	if a.config, err = wire.ParseConfig(item.Header); err == nil {
		err = wire.CheckDestination(item.Destination)
	}
	if err != nil {
		return a, &problem{http.StatusBadRequest, err.Error()}
	}
	w := &a.config.Workflow
	if w.Invoke {
		if a.invoker, err = e.invoker(item.Body); err != nil {
			return a, err
		}
	}
	if w.RunID != "" && !w.Init {
		if a.run = e.active(w.RunID); a.run == nil {
			return a, inactive(w.RunID)
		}
	}
	if e.loses(a.reports()) {
		return a, errLost
	}
	return a, nil
}

func inactive(id string) error {
	return &problem{http.StatusBadRequest, fmt.Sprintf("workflow run %s is not active", id)}
}

// invoker is the step that asks for a run.
func (e *Env) invoker(body []byte) (*invoker, error) {
	req, err := wire.ParseInvoke(body)
	if err != nil {
		return nil, &problem{http.StatusBadRequest, err.Error()}
	}
	run := e.active(req.RunID)
	if run == nil {
		return nil, inactive(req.RunID)
	}
	if run.depth >= deepest {
		return nil, &problem{http.StatusPreconditionFailed, fmt.Sprintf("%d runs have invoked each other in turn, and no more may", deepest)}
	}
	return &invoker{run, req}, nil
}

// reports is the name of the step that a message is the report of.
func (a *accepted) reports() string {
	w := &a.config.Workflow
	switch {
	case a.invoker != nil:
		return a.invoker.request.Step.StepName
	case a.run == nil:
		return ""
	case w.CallType == wire.CallTo:
		return stepOfCall(&a.config).StepName
	}
	step, _ := wire.ParseStep(a.Body)
	if step.IsPlan() {
		return ""
	}
	return step.StepName
}

// stepOfCall is the step that a call is made for.
func stepOfCall(c *wire.Config) (s wire.Step) {
	if c.Callback == nil {
		return s
	}
	s.StepType, s.StepName = wire.StepCall, c.Callback.Header.Get(wire.PrefixForward+wire.HeaderWorkflowStepName)
	s.StepID, _ = strconv.Atoi(c.Callback.Header.Get(wire.PrefixForward + wire.HeaderWorkflowStepID))
	return s
}

func (e *Env) keep(a *accepted) client.PublishResponse {
	m := e.message(a.Destination, a.config, a.Body)
	w := &a.config.Workflow
	switch {
	case w.Init:
		return e.begin(m, a)
	case a.run == nil:
	case w.CallType == wire.CallTo:
		m.kind, m.run = receiver.KindCall, a.run
		m.step = stepOfCall(&a.config).StepName
		if id := a.run.has(stepOfCall(&a.config), wire.CallTo); id != "" {
			return client.PublishResponse{MessageID: id}
		}
		a.run.append(e, m, wire.CallTo, stepOfCall(&a.config), a.Body)
	default:
		step, _ := wire.ParseStep(a.Body)
		m.kind = receiver.KindStep
		if id := a.run.has(step, wire.CallStep); id != "" {
			return client.PublishResponse{MessageID: id}
		}
		a.run.append(e, m, wire.CallStep, step, a.Body)
	}
	e.send(m)
	return client.PublishResponse{MessageID: m.id}
}

// begin starts a run.
func (e *Env) begin(m *message, a *accepted) client.PublishResponse {
	w := &a.config.Workflow
	if w.RunID == "" {
		w.RunID = "wfr_" + strconv.Itoa(e.serial)
	}
	body := a.Body
	if a.invoker != nil {
		if asked := e.invokedBy(a.invoker); asked != nil {
			return client.PublishResponse{MessageID: asked.log[0].MessageID, Deduplicated: true}
		}
		body = nil
		if text := a.invoker.request.Body; text != nil {
			body = []byte(*text)
		}
	}
	r := e.active(w.RunID)
	known := r != nil
	if !known {
		r = &run{
			id: w.RunID, url: cmp.Or(w.URL, a.Destination), config: a.config, created: e.time(), state: client.RunStarted, tries: map[int]int{},
		}
		e.runs = append(e.runs, r)
		m.kind, m.config.Header = receiver.KindStep, nil // the run's are on every call
		r.append(e, m, wire.CallStep, wire.Step{}, body)
	}
	if a.invoker != nil {
		r.invokers = append(r.invokers, a.invoker)
		r.depth = max(r.depth, a.invoker.run.depth+1)
	}
	if known {
		return client.PublishResponse{MessageID: r.log[0].MessageID, Deduplicated: true}
	}
	if s := e.scriptFor(r); s != nil {
		e.answerInvoke(s, r, body)
	} else {
		e.send(m)
	}
	return client.PublishResponse{MessageID: m.id}
}

// invokedBy is the run that a step has asked for already; nil if it has not.
func (e *Env) invokedBy(i *invoker) *run {
	for _, r := range e.runs {
		for _, old := range r.invokers {
			if old.run == i.run && old.request.Step.StepID == i.request.Step.StepID {
				return r
			}
		}
	}
	return nil
}

// active is a run that has not ended; nil if there is none.
func (e *Env) active(id string) *run {
	for _, r := range slices.Backward(e.runs) {
		if r.id == id && r.state == client.RunStarted {
			return r
		}
	}
	return nil
}

func (e *Env) finish(id string, cancel bool, result []byte) (int, any, error) {
	state := client.RunSuccess
	if cancel {
		state, result = client.RunCanceled, nil
	}
	if active := e.active(id); active != nil {
		e.end(active, state, result)
	} else if !slices.ContainsFunc(e.runs, func(r *run) bool { return r.id == id }) {
		return refuse(http.StatusNotFound, "workflow run %s not found", id)
	}
	return http.StatusOK, struct{}{}, nil
}

// end ends a run, and tells the one that invoked it.
func (e *Env) end(r *run, state client.RunState, result []byte) {
	r.state, r.result, r.ended = state, result, e.time()
	if state == client.RunCanceled {
		r.err = ErrCanceled
	}
	out := wire.InvokeResult{Canceled: state == client.RunCanceled, Failed: state == client.RunFailed}
	if len(result) > 0 {
		text := string(result)
		out.Body = &text
	}
	encoded, _ := json.Marshal(out) // strings only
	text := string(encoded)
	for _, i := range r.invokers {
		step := i.request.Step
		step.Out = &text
		e.result(i.run, step, i.request.Headers, i.request.URL)
	}
}

// result appends to a run's log what the server itself knows of a step.
func (e *Env) result(r *run, step wire.Step, header http.Header, url string) string {
	step.TargetStep = 0 // with it, this would be a plan
	if r.state != client.RunStarted || r.has(step, wire.CallStep) != "" {
		return ""
	}
	canonical := http.Header{}
	for name, values := range header {
		canonical[http.CanonicalHeaderKey(name)] = values
	}
	config, err := wire.ParseConfig(canonical)
	if err != nil {
		panic(fmt.Sprintf("workflowtest: headers of step %q: %v", step.StepName, err))
	}
	body, err := json.Marshal(step)
	if err != nil {
		panic(fmt.Sprintf("workflowtest: encode step %q: %v", step.StepName, err))
	}
	m := e.message(cmp.Or(url, r.url), config, nil)
	m.kind = receiver.KindStep
	r.append(e, m, wire.CallStep, step, body)
	e.send(m)
	return m.id
}

// run is a run of a workflow.
type run struct {
	id, url  string
	past     bool // whose log is replayed
	config   wire.Config
	created  time.Time
	invokers []*invoker // which wait for its end
	depth    int        // runs that have invoked each other in turn to this one
	log      []entry
	hooks    []hook      // events that nobody waited for yet
	tries    map[int]int // executions of steps, by place

	state  client.RunState
	result []byte
	ended  time.Time

	last       error  // what its latest call ended with
	err        error  // that it ended with
	handled    string // what its failure function returned
	handledErr error
}

// invoker is the run that waits for another.
type invoker struct {
	run     *run
	request wire.InvokeRequest
}

type entry struct {
	wire.LogEntry
	step wire.Step // zero if it is none
	at   time.Time
}

// hook is an event that is kept for a run.
type hook struct {
	kind wire.StepType
	id   string
	data []byte
}

// append gives a message its place in the log.
func (r *run) append(e *Env, m *message, call wire.CallType, step wire.Step, body []byte) {
	m.run, m.index, m.body = r, len(r.log), body
	if call != wire.CallTo {
		m.inherit()
	}
	r.log = append(r.log, entry{wire.LogEntry{MessageID: m.id, CallType: call, Body: body}, step, e.time()})
}

// has is the id of the message that has told of a step already; "" if none has.
func (r *run) has(step wire.Step, call wire.CallType) string {
	for _, old := range r.log[1:] {
		if old.CallType == call && old.step.StepID == step.StepID && old.step.TargetStep == step.TargetStep {
			return old.MessageID
		}
	}
	return ""
}

func (r *run) entries() []wire.LogEntry {
	out := make([]wire.LogEntry, len(r.log))
	for i, l := range r.log {
		out[i] = l.LogEntry
	}
	return out
}

// name is what the run's workflow is called.
func (r *run) name() string { return strings.TrimPrefix(r.url, baseURL+"/") }
