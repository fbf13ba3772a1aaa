package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

// CallRequest is what [Call] sends.
type CallRequest struct {
	URL    string      // absolute, http or https
	Method string      // GET, POST, PUT, PATCH or DELETE. Default: GET
	Header http.Header // Content-Type application/json is added if there is none. Default: no other
	Body   []byte      // default: none

	// Retries after the first attempt, as long as the answer is not a 2xx.
	// Default: 0.
	Retries int
	// RetryDelay is an expression for the milliseconds before each retry, such
	// as "1000 * (1 + retried)". Default: the server's backoff.
	RetryDelay string
	// Timeout of one attempt, rounded up to whole seconds. Default: the
	// server's limit.
	Timeout time.Duration
	// FlowControl bounds how fast the requests of a key are made, and how many
	// at once. That of the run does not hold for them. Default: unbounded.
	FlowControl *client.FlowControl
}

// CallResponse is the answer to a [CallRequest].
type CallResponse struct {
	Status int         // 0 if there was no answer
	Header http.Header // nil if there was none
	Body   []byte      // empty if there was none
}

// Call is the step of an HTTP request that the server makes: nothing of the
// endpoint waits for the answer, however long it takes.
//
// An answer that is not a 2xx is no error: look at its Status. The error is
// about a request that cannot be sent, which does not pass with a retry, or
// that of an earlier step that failed.
func Call(ctx *Context, name string, r CallRequest) (CallResponse, error) {
	return CallAsync(ctx, name, r).Get()
}

// CallAsync is [Call] in parallel to other steps: see [Future].
func CallAsync(ctx *Context, name string, r CallRequest) *Future[CallResponse] {
	r.Header, r.Body = r.Header.Clone(), slices.Clone(r.Body)
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	return &Future[CallResponse]{decode: decodeCall, task: ctx.use(&task{
		name: name,
		kind: wire.StepCall,
		do: func(x *execution, place, concurrent int) (report, error) {
			h, err := r.header(&x.run, name, place, concurrent)
			if err != nil {
				return nil, NonRetryable(fmt.Errorf("call: %w", err))
			}
			return published(client.BatchItem{Destination: r.URL, Header: h, Body: r.Body}, nil)
		},
	})}
}

// JSON decodes the body into v. The error is [NonRetryable]: the answer is in the
// run's log, and stays what it is.
func (r CallResponse) JSON(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return NonRetryable(fmt.Errorf("decode the answer to a call, %d %s: %w", r.Status, http.StatusText(r.Status), err))
	}
	return nil
}

// CallJSON is [Call] with in, as JSON, for the body of the request, and the body
// of the answer decoded into a T. An in of nil is no body; r.Body is not used. An
// answer that is not a 2xx is not decoded: look at the Status of the answer. The
// error is that of Call, or a NonRetryable one about a body that is no such JSON.
//
//	user, answer, err := workflow.CallJSON[User](ctx, "create user", workflow.CallRequest{
//		URL: "https://users.example.com/", Method: http.MethodPost,
//	}, SignUp{Email: in.Email})
func CallJSON[T any](ctx *Context, name string, r CallRequest, in any) (T, CallResponse, error) {
	answer, err := CallJSONAsync[T](ctx, name, r, in).Get()
	return answer.Value, answer.CallResponse, err
}

// JSONResponse is the answer to a [CallJSON].
type JSONResponse[T any] struct {
	CallResponse
	Value T // zero if the answer is not a 2xx
}

// CallJSONAsync is [CallJSON] in parallel to other steps: see [Future].
func CallJSONAsync[T any](ctx *Context, name string, r CallRequest, in any) *Future[JSONResponse[T]] {
	r.Body = nil
	var unfit error
	if in != nil {
		if r.Body, unfit = encodeJSON(in); unfit != nil {
			unfit = NonRetryable(fmt.Errorf("call: encode body: %w", unfit))
		}
	}
	call := CallAsync(ctx, name, r)
	if unfit != nil {
		call.task.do = func(*execution, int, int) (report, error) { return nil, unfit }
	}
	return &Future[JSONResponse[T]]{task: call.task, decode: func(s wire.Step) (out JSONResponse[T], err error) {
		if out.CallResponse, err = decodeCall(s); err != nil {
			return out, err
		}
		if out.Status >= 200 && out.Status <= 299 {
			err = out.JSON(&out.Value)
		}
		return out, err
	}}
}

// check finds what the server would refuse; nobody could tell its refusal from
// that of a run that has ended.
func (r *CallRequest) check(name string) error {
	u, err := url.Parse(r.URL)
	if err != nil {
		return errors.New("url: " + wire.URLReason(err))
	}
	if scheme := strings.ToLower(u.Scheme); (scheme != "http" && scheme != "https") || u.Host == "" {
		return errors.New("url: expected an absolute http or https URL")
	}
	if !slices.Contains([]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, r.Method) {
		return fmt.Errorf("method %q is not one of GET, POST, PUT, PATCH and DELETE", r.Method)
	}
	if r.Retries < 0 || r.Timeout < 0 {
		return errors.New("negative retries or timeout")
	}
	if headerText(name) != name {
		return fmt.Errorf("name %q does not fit into a header", name)
	}
	return nil
}

// header describes the request, and the callback that brings its answer.
func (r *CallRequest) header(run *run, name string, place, concurrent int) (http.Header, error) {
	if err := r.check(name); err != nil {
		return nil, err
	}
	h := run.runHeader()
	if r.FlowControl != nil {
		if err := r.FlowControl.Write(h); err != nil {
			return nil, err
		}
	}
	contentType := r.Header.Get("Content-Type")
	if contentType == "" {
		contentType = jsonContent
	}
	h.Set("Content-Type", contentType)
	h.Set(wire.HeaderMethod, r.Method)
	h.Set(wire.HeaderFeatureSet, callFeatures)
	h.Set(wire.HeaderWorkflowCallType, string(wire.CallTo))
	h.Set(wire.HeaderRetries, strconv.Itoa(r.Retries))
	if r.RetryDelay != "" {
		h.Set(wire.HeaderRetryDelay, r.RetryDelay)
	}
	if r.Timeout > 0 {
		h.Set(wire.HeaderTimeout, strconv.FormatInt(wholeSeconds(r.Timeout), 10))
	}
	for header, values := range r.Header {
		h[wire.PrefixForward+http.CanonicalHeaderKey(header)] = values
	}
	back := wire.PrefixCallback
	h.Set(wire.HeaderCallback, run.url)
	h.Set(back+"Workflow-Runid", run.id)
	h.Set(back+"Workflow-Calltype", string(wire.CallFrom))
	h.Set(back+"Workflow-Init", "false")
	h.Set(back+"Workflow-Url", run.url)
	h.Set(back+"Feature-Set", features)
	h.Set(back+"Forward-"+wire.HeaderWorkflowCallback, "true")
	h.Set(back+"Forward-"+wire.HeaderWorkflowStepID, strconv.Itoa(place))
	h.Set(back+"Forward-"+wire.HeaderWorkflowStepName, name)
	h.Set(back+"Forward-"+wire.HeaderWorkflowStepType, string(wire.StepCall))
	h.Set(back+"Forward-"+wire.HeaderWorkflowConcurrent, strconv.Itoa(concurrent))
	h.Set(back+"Forward-"+wire.HeaderWorkflowContentType, contentType)
	if run.invoked > 0 {
		count := strconv.Itoa(run.invoked)
		h.Set(wire.PrefixForward+wire.HeaderWorkflowInvokeCount, count)
		h.Set(back+"Forward-"+wire.HeaderWorkflowInvokeCount, count)
	}
	return h, nil
}

// callback turns the answer to a Call into the step's result.
func (e *Endpoint) callback(ctx context.Context, d *delivery) (answer, error) {
	entries, err := e.wholeLog(ctx, d.run.id)
	if isEnded(err) {
		return finished(d.run.id, conditionEnded), nil
	}
	if err != nil {
		return answer{}, err
	}
	fn, err := e.admit(ctx, d, entries[0].Body)
	if err != nil {
		return answer{}, err
	}
	if err := e.rehearse(ctx, d, fn); err != nil {
		return answer{}, err
	}
	result, err := d.callResult(entries)
	if err != nil || result == nil {
		return finished(d.run.id, conditionCallback), err
	}
	ctx, cancel := submission(ctx)
	defer cancel()
	x := e.execution(ctx, d, nil)
	item, err := x.message(*result, d.run.deliveredHeader())
	if err != nil {
		return answer{}, err
	}
	_, err = e.opts.Client.PublishItem(ctx, item)
	if err = x.explain(ctx, err); err != nil {
		return answer{}, &stepError{result.StepName, fmt.Errorf("submit step: %w", err)}
	}
	return finished(d.run.id, conditionCallback), nil
}

// callResult is the step that a callback tells of; nil while the server will
// try the request again.
func (d *delivery) callResult(entries []wire.LogEntry) (*wire.Step, error) {
	body := d.body
	if len(body) == 0 {
		for _, l := range entries {
			if l.MessageID == d.messageID {
				body = l.Body
			}
		}
	}
	var cb wire.CallbackBody
	if err := json.Unmarshal(body, &cb); err != nil {
		return nil, &statusError{http.StatusBadRequest, fmt.Errorf("decode callback: %w", err)}
	}
	if (cb.Status < 200 || cb.Status > 299) && cb.MaxRetries > 0 && cb.Retried != cb.MaxRetries {
		return nil, nil
	}
	place, err := strconv.Atoi(d.header.Get(wire.HeaderWorkflowStepID))
	concurrent, err2 := strconv.Atoi(d.header.Get(wire.HeaderWorkflowConcurrent))
	name, kind := d.header.Get(wire.HeaderWorkflowStepName), wire.StepType(d.header.Get(wire.HeaderWorkflowStepType))
	if err != nil || err2 != nil || place < 1 || concurrent < 1 || name == "" || kind != wire.StepCall {
		return nil, &statusError{http.StatusBadRequest, errors.New("the callback's headers do not say which step it is about")}
	}
	out, err := encodeCall(CallResponse{Status: cb.Status, Header: cb.Header, Body: cb.Body})
	if err != nil {
		return nil, err
	}
	return &wire.Step{StepID: place, StepName: name, StepType: kind, Out: &out, Concurrent: concurrent}, nil
}

// callOut is a CallResponse as the log has it. The body is a string with one
// character, up to U+00FF, for each byte.
type callOut struct {
	Status int         `json:"status"`
	Body   string      `json:"body"`
	Header http.Header `json:"header"`
}

func encodeCall(r CallResponse) (string, error) {
	chars := make([]rune, len(r.Body))
	for i, b := range r.Body {
		chars[i] = rune(b)
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	out, err := encodeJSON(callOut{r.Status, string(chars), r.Header})
	return string(out), err
}

func decodeCall(s wire.Step) (CallResponse, error) {
	if s.Out == nil {
		return CallResponse{}, errors.New("it has no value")
	}
	var out callOut
	if err := json.Unmarshal([]byte(*s.Out), &out); err != nil {
		return CallResponse{}, err
	}
	return CallResponse{Status: out.Status, Header: out.Header, Body: bodyBytes(out.Body)}, nil
}

// bodyBytes undoes what encodeCall does. A string with other characters was
// written by an SDK that decodes bodies; it is text.
func bodyBytes(s string) []byte {
	b := make([]byte, 0, utf8.RuneCountInString(s))
	for _, r := range s {
		if r > 0xff {
			return []byte(s)
		}
		b = append(b, byte(r))
	}
	return b
}
