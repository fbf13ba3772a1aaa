package engine

import (
	"context"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/secret"
	"github.com/signposthq/signpost/internal/wire"
)

// LLM is the OpenAI-compatible service that messages to wire.LLMDestination go
// to. It is the operator's, who may have it on a private network.
type LLM struct {
	URL   string      // absolute, as "https://api.openai.com" or with "/v1" at its end
	Token secret.Text // for messages that bring no Authorization; empty: none
}

const llmPath = "/v1/chat/completions"

// checkLLM refuses a message that could not be delivered, or whose answer would
// go nowhere.
func (e *Engine) checkLLM(cfg *wire.Config) *Error {
	if cfg.Callback == nil {
		return errorf(Invalid, "%s: required with %s, whose answer is sent there", wire.HeaderCallback, wire.LLMDestination)
	}
	if e.llm == nil {
		return errorf(Invalid, "destination: this server has no service for %s; its operator can name one with --llm-url", wire.LLMDestination)
	}
	return nil
}

// address sends an attempt to the service, with the operator's token unless it
// has one of its own.
func (l *LLM) address(a *Attempt) {
	base := strings.TrimSuffix(strings.TrimSuffix(l.URL, "/"), "/v1")
	a.URL, a.Operators = base+llmPath, true
	if a.Header["Authorization"] == nil && !l.Token.IsEmpty() {
		a.Header["Authorization"] = []string{"Bearer " + l.Token.Reveal()}
	}
	if a.Header["Content-Type"] == nil {
		a.Header["Content-Type"] = []string{"application/json"}
	}
}

// Of the operator's service nobody is told where it is.
const (
	noLLM          = "this server has no service for " + wire.LLMDestination
	unreachableLLM = "the service for " + wire.LLMDestination + " gave no complete answer; the server's log says why"
)

// deliverTo makes an attempt.
func (e *Engine) deliverTo(ctx context.Context, a Attempt) Outcome {
	if a.URL == wire.LLMDestination { // from before the server was started without one
		now := time.Now()
		return Outcome{Error: noLLM, Start: now, End: now}
	}
	operators, url := a.Operators, a.URL // what else a has is not kept: its body may be large
	o := e.deliver.Deliver(ctx, a)
	if operators && o.Error != "" && ctx.Err() == nil {
		e.log.Warn("the service for "+wire.LLMDestination+" gave no complete answer", "url", endpointURL(url), "error", o.Error)
		o.Error = unreachableLLM
	}
	return o
}

// check refuses a service that no request could be made of.
func (l *LLM) check() error {
	if err := wire.CheckURL(l.URL); err != nil {
		return wire.Within("LLM URL", err)
	}
	if strings.ContainsAny(l.URL, "?#") {
		return errorf(Invalid, "LLM URL: expected no query and no fragment, as %s is put behind it", llmPath)
	}
	if token := l.Token.Reveal(); !isHeaderValue(token) {
		return errorf(Invalid, "LLM token: expected visible ASCII")
	}
	return nil
}

func isHeaderValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
