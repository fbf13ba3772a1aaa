package api

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// publish accepts one message: POST /v2/publish/{destination}.
func publish(r *request) (any, error) {
	p, err := r.publish(r.params[0])
	if err != nil {
		return nil, err
	}
	return r.acceptOne(p)
}

// enqueue accepts one for a queue: POST /v2/enqueue/{queue}/{destination}.
func enqueue(r *request) (any, error) {
	if err := wire.CheckName(r.params[0]); err != nil {
		return nil, wire.Within("queue", err)
	}
	p, err := r.publish(r.params[1])
	if err != nil {
		return nil, err
	}
	p.Config.Queue = r.params[0]
	return r.acceptOne(p)
}

func (r *request) acceptOne(p engine.Publish) (any, error) {
	out, err := r.accept(r.handler.engine.Publish, []engine.Publish{p})
	if err != nil {
		return nil, err
	}
	answer := publishResponse(&out[0])
	if isDuplicate(&out[0]) {
		return reply{http.StatusAccepted, answer}, nil
	}
	return answer, nil
}

// isDuplicate says whether nothing new was made.
func isDuplicate(p *engine.Published) bool {
	for i := range p.Endpoints {
		if !p.Endpoints[i].Deduplicated {
			return false
		}
	}
	return p.Deduplicated || p.Endpoints != nil
}

func publishResponse(p *engine.Published) client.PublishResponse {
	if p.Err != nil {
		return client.PublishResponse{Error: p.Err.Message}
	}
	out := client.PublishResponse{MessageID: p.MessageID, URL: p.URL, Deduplicated: p.Deduplicated, ScheduleID: p.ScheduleID}
	for i := range p.Endpoints {
		out.Endpoints = append(out.Endpoints, publishResponse(&p.Endpoints[i]))
	}
	return out
}

// publish reads a destination, its settings and the body. The settings come
// first: a request that is refused for them need not send its body.
func (r *request) publish(tail string) (engine.Publish, error) {
	if r.URL.ForceQuery {
		tail += "?" // a query of nothing is still the destination's
	}
	dest, settings, err := wire.CutDestination(tail, r.URL.RawQuery)
	if err != nil {
		return engine.Publish{}, unfit(r.Header, err)
	}
	h := wire.MergeSettings(r.Header, settings)
	cfg, err := wire.ParseConfig(h)
	if err != nil {
		return engine.Publish{}, unfit(h, err)
	}
	body, err := r.body(r.handler.engine.MaxBody(r.caller))
	if err != nil {
		return engine.Publish{}, err
	}
	return engine.Publish{Destination: dest, Config: cfg, Header: keptHeader(dest, &cfg, h), Body: body, CallerIP: r.callerIP()}, nil
}

// unfit is an error about what a message is to be. Where a step of a run asks for it,
// the answer is a 412, with which SDKs fail the run: they take a 400 for the run's
// end, and would leave it where it is.
func unfit(h http.Header, err error) error {
	if wire.OfStep(h) {
		return &engine.Error{Code: engine.Precondition, Message: err.Error()}
	}
	return err
}

// keptHeader is what a URL group's settings are put under, and what a schedule
// keeps; nil where there is neither. The token stays here.
func keptHeader(dest string, cfg *wire.Config, h http.Header) http.Header {
	if cfg.Cron == "" && (wire.IsURL(dest) || dest == wire.LLMDestination) {
		return nil
	}
	h = maps.Clone(h)
	delete(h, "Authorization")
	return h
}

// accept hands messages to the engine, by one of its methods. While the server
// shuts down, only what active runs append is taken.
func (r *request) accept(publish publishFunc, items []engine.Publish) ([]engine.Published, error) {
	if r.handler.draining.Load() {
		for i := range items {
			if w := &items[i].Config.Workflow; w.Init || w.RunID == "" {
				return nil, errDraining
			}
		}
	}
	out, err := publish(r.Context(), r.caller, items)
	return out, r.added(err)
}

type publishFunc func(context.Context, *engine.Caller, []engine.Publish) ([]engine.Published, error)

// batchFactor is how many of the largest messages one batch may hold.
const batchFactor = 10

// batchItems reads a batch. One bad item refuses them all, by its place.
func (r *request) batchItems() ([]engine.Publish, error) {
	body, err := r.body(batchFactor * r.handler.engine.MaxBody(r.caller))
	if err != nil {
		return nil, err
	}
	raw, err := wire.ParseBatch(body)
	if err != nil {
		return nil, err
	}
	hop, err := wire.RequestHop(r.Header)
	if err != nil {
		return nil, err
	}
	items := make([]engine.Publish, len(raw))
	caller := r.callerIP()
	for i, item := range raw {
		at := "[" + strconv.Itoa(i) + "]"
		if err := wire.CheckDestination(item.Destination); err != nil {
			return nil, unfit(item.Header, wire.Within(at+".destination", err))
		}
		cfg, err := wire.ParseConfig(item.Header)
		if err != nil {
			return nil, unfit(item.Header, wire.Within(at+".headers", err))
		}
		cfg.Hop = max(cfg.Hop, hop)
		if item.Queue != "" {
			cfg.Queue = item.Queue
		}
		items[i] = engine.Publish{
			Destination: item.Destination, Config: cfg, Header: keptHeader(item.Destination, &cfg, item.Header),
			Body: item.Body, CallerIP: caller,
		}
	}
	return items, nil
}

// batch accepts several messages: POST /v2/batch. One that is malformed refuses
// all; one that can't be accepted as things are is answered with the reason.
func batch(r *request) (any, error) {
	items, err := r.batchItems()
	if err != nil {
		return nil, err
	}
	out, err := r.accept(r.handler.engine.PublishBatch, items)
	if err != nil {
		return nil, err
	}
	answer := make([]client.PublishResponse, len(out))
	for i := range out {
		answer[i] = publishResponse(&out[i])
	}
	return answer, nil
}

// trigger starts a run of whatever endpoint: POST /v2/trigger/{url}.
func trigger(r *request) (any, error) {
	p, err := r.publish(r.params[0])
	if err != nil {
		return nil, err
	}
	out, err := r.startRuns([]engine.Publish{p})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// batchTrigger starts several: POST /v2/batch/trigger.
func batchTrigger(r *request) (any, error) {
	items, err := r.batchItems()
	if err != nil {
		return nil, err
	}
	out, err := r.startRuns(items)
	return reply{http.StatusCreated, out}, err
}

// startRuns asks for what an SDK would have asked for.
func (r *request) startRuns(items []engine.Publish) ([]client.TriggerResponse, error) {
	for i := range items {
		cfg := &items[i].Config
		w := &cfg.Workflow
		w.Init, items[i].ViaTrigger = true, true
		if len(cfg.Labels) > 0 && cfg.Header[wire.HeaderLabel] == nil { // the endpoint is told of them
			if cfg.Header == nil {
				cfg.Header = http.Header{}
			}
			cfg.Header[wire.HeaderLabel] = []string{strings.Join(cfg.Labels, ",")}
		}
		if len(w.Features) == 0 {
			w.Features = []string{wire.FeatureLazy, wire.FeatureInitialBody, wire.FeatureDetectTrigger, wire.FeatureTriggerOnConfig}
		}
	}
	out, err := r.accept(r.handler.engine.Publish, items)
	if err != nil {
		return nil, err
	}
	answers := make([]client.TriggerResponse, len(out))
	for i, p := range out {
		answers[i] = client.TriggerResponse{
			WorkflowRunID: p.RunID, WorkflowCreatedAt: p.RunCreatedAt, Deduplicated: p.Deduplicated,
		}
	}
	return answers, nil
}
