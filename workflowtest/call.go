package workflowtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
)

// hookPrefix is what the URLs of webhooks begin with.
const hookPrefix = serverURL + "/v2/workflows/hooks/"

// callOut makes the request of a Call, or of a message to somewhere else.
func (e *Env) callOut(m *message) {
	e.t.Helper()
	a, after := e.ask(m)
	if limit := m.config.Timeout; limit > 0 && after > limit {
		a, after = &answer{}, limit
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.later(after, m.live, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if !a.ok() && m.tried < m.retries {
			delay := m.backoff(a, e.time())
			m.tried++
			e.sendAfter(m, delay)
			return
		}
		if m.config.Callback == nil {
			return
		}
		body := m.outcome(a)
		back := e.callback(m.config.Callback, &body)
		if m.run != nil {
			back.kind = receiver.KindCallback
			m.run.append(e, back, wire.CallFrom, wire.Step{}, back.body)
		}
		e.send(back)
	})
}

// ask is the answer to a call, and how long it takes.
func (e *Env) ask(m *message) (*answer, time.Duration) {
	e.t.Helper()
	header := m.config.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if h := e.at(m.url); h.real != nil {
		return e.signed(h.real, m, receiver.KindCall, m.config.Method, header, m.body), 0
	}
	if strings.HasPrefix(m.url, hookPrefix) {
		return e.call(http.HandlerFunc(e.takeWebhook), m.config.Method, m.url, header, m.body), 0
	}
	e.mu.Lock()
	s := e.answering(m)
	e.mu.Unlock()
	switch {
	case s == nil && m.step == "":
		e.t.Fatalf("workflowtest: a message goes to %s, and nothing says what the answer is: env.OnCall(%q, …)", m.url, m.url)
	case s == nil:
		e.t.Fatalf("workflowtest: step %q of workflow %s calls %s %s, and nothing says what the answer is: env.OnCall(%q, …) or env.OnCall(%q, …)",
			m.step, m.run.name(), m.config.Method, m.url, m.step, m.url)
	}
	return e.call(aborting(s.call), m.config.Method, m.url, header, m.body), s.after
}

// aborting makes no answer of http.ErrAbortHandler, as net/http does.
func aborting(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p == http.ErrAbortHandler {
				*w.(*answer) = answer{live: http.Header{}, lost: true}
			} else if p != nil {
				panic(p)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

// answering is the script for a call: that of its step, of its URL, or of the
// longest path that it is below.
func (e *Env) answering(m *message) (best *script) {
	score := -1
	for _, s := range e.calls {
		n := -1
		switch {
		case s.target == m.step && m.step != "":
			n = 1 << 20
		case s.target == m.url:
			n = 1 << 19
		case strings.Contains(s.target, "://") && strings.HasSuffix(s.target, "/") && strings.HasPrefix(m.url, s.target):
			n = len(s.target)
		}
		if n >= score && n >= 0 { // the later of two
			best, score = s, n
		}
	}
	if best != nil {
		best.used++
	}
	return best
}

// takeWebhook is a call of a webhook.
func (e *Env) takeWebhook(w http.ResponseWriter, r *http.Request) {
	tail := strings.TrimPrefix(serverURL+r.URL.EscapedPath(), hookPrefix)
	parts := strings.Split(tail, "/")
	for i, part := range parts {
		parts[i], _ = url.PathUnescape(part)
	}
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body)
	event, err := webhookEvent(r, r.URL, body.Bytes())
	e.mu.Lock()
	defer e.mu.Unlock()
	run := e.active(parts[min(1, len(parts)-1)])
	if len(parts) != 3 || run == nil || err != nil {
		http.NotFound(w, r)
		return
	}
	e.tell(run, wire.StepWaitForWebhook, parts[2], event)
}

// webhookEvent is a call of a webhook, as its step is told of it.
func webhookEvent(r *http.Request, u *url.URL, body []byte) ([]byte, error) {
	call, err := wire.NewWebhookCall(r.Method, r.Header, body, u.Scheme, u.Host, u.RequestURI())
	if err != nil {
		return nil, err
	}
	return call.Encode()
}

// answerInvoke ends a run with what a script says of it.
func (e *Env) answerInvoke(s *script, r *run, payload []byte) {
	s.used++
	e.later(s.after, func() bool { return r.state == client.RunStarted }, func() {
		result, err := s.invoke(slices.Clone(payload))
		var text []byte
		if _, none := result.(struct{}); err == nil && result != nil && !none {
			text, err = json.Marshal(result)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		switch r.err = err; {
		case err == nil:
			e.end(r, client.RunSuccess, text)
		case isCanceled(err):
			e.end(r, client.RunCanceled, nil)
		default:
			e.end(r, client.RunFailed, nil)
		}
	})
}

// scriptFor is what says how a run that is invoked ends; nil if nothing does.
func (e *Env) scriptFor(r *run) *script {
	if len(r.invokers) == 0 {
		return nil
	}
	for _, s := range slices.Backward(e.invokes) {
		if s.target == r.invokers[0].request.Step.StepName || s.target == r.url || s.target == r.name() {
			return s
		}
	}
	return nil
}

// encode is a value as JSON; text and bytes are taken as they are.
func encode(v any) ([]byte, error) {
	switch v := v.(type) {
	case nil, struct{}:
		return nil, nil
	case []byte:
		return v, nil
	case string:
		return []byte(v), nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return text, nil
}
