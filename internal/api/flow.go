package api

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

func listFlow(r *request) (any, error) {
	search, err := single(r.query, "search")
	if err != nil {
		return nil, err
	}
	all, err := r.handler.engine.FlowKeys(r.Context(), r.caller, search)
	if err != nil {
		return nil, err
	}
	out := make([]client.FlowControlKey, len(all))
	for i := range all {
		out[i] = flowKeyJSON(&all[i])
	}
	return out, nil
}

func flowKeyJSON(k *engine.FlowStatus) client.FlowControlKey {
	return client.FlowControlKey{
		Key: k.Key, WaitListSize: k.WaitListSize, ParallelismMax: k.Parallelism, ParallelismCount: k.Active,
		RateMax: k.Rate, RateCount: k.RateCount, RatePeriod: k.Period, RatePeriodStart: k.WindowStart / 1000,
		Paused: k.Paused, PinnedParallelism: k.PinnedParallelism, PinnedRate: k.PinnedRate,
	}
}

// flowKey is the key in the rest of a path, which clients put there as it is:
// it may have slashes.
func flowKey(raw string) (string, error) {
	key, err := url.PathUnescape(raw)
	if err != nil {
		return "", invalid("flow-control key: expected it percent-encoded")
	}
	return key, nil
}

func getFlow(r *request) (any, error) {
	key, err := flowKey(strings.TrimSuffix(r.params[0], "/"))
	if err != nil {
		return nil, err
	}
	k, err := r.handler.engine.FlowKey(r.Context(), r.caller, key)
	if err != nil {
		return nil, err
	}
	return flowKeyJSON(&k), nil
}

// changeFlow does what the last segment of the path says to the key before it:
// POST /v2/flowControl/{key}/{action}.
func changeFlow(r *request) (any, error) {
	path := strings.TrimSuffix(r.params[0], "/")
	cut := strings.LastIndexByte(path, '/')
	if cut < 0 {
		return nil, invalid("path: expected a key and %s", flowActions)
	}
	key, err := flowKey(path[:cut])
	if err != nil {
		return nil, err
	}
	e, ctx := r.handler.engine, r.Context()
	switch strings.ToLower(path[cut+1:]) {
	case "pause":
		err = e.PauseFlow(ctx, r.caller, key, true)
	case "resume":
		err = e.PauseFlow(ctx, r.caller, key, false)
	case "pin":
		err = r.pinFlow(key)
	case "unpin":
		err = r.unpinFlow(key)
	case "resetrate", "reset":
		err = e.ResetFlowRate(ctx, r.caller, key)
	default:
		err = invalid("path: expected %s after the key, got %.40q", flowActions, path[cut+1:])
	}
	return struct{}{}, err
}

const flowActions = "pause, resume, pin, unpin or resetRate"

func (r *request) pinFlow(key string) error {
	if err := r.takes("parallelism", "rate", "period"); err != nil {
		return err
	}
	var pin engine.FlowPin
	for name, to := range map[string]**int{"parallelism": &pin.Parallelism, "rate": &pin.Rate} {
		if !r.query.Has(name) {
			continue
		}
		n, err := r.whole(name)
		if err != nil {
			return err
		}
		*to = &n
	}
	if r.query.Has("period") {
		n, err := r.whole("period")
		if err != nil {
			return err
		}
		if n == 0 {
			return invalid("period: expected seconds from 1, got 0")
		}
		pin.Period = int64(n)
	}
	return r.handler.engine.PinFlow(r.Context(), r.caller, key, pin)
}

func (r *request) whole(name string) (int, error) {
	text, err := single(r.query, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, invalid("%s: expected a whole number, got %.40q", name, text)
	}
	return int(n), nil
}

func (r *request) unpinFlow(key string) error {
	if err := r.takes("parallelism", "rate"); err != nil {
		return err
	}
	parallelism, err := r.flag("parallelism")
	if err != nil {
		return err
	}
	rate, err := r.flag("rate")
	if err != nil {
		return err
	}
	return r.handler.engine.UnpinFlow(r.Context(), r.caller, key, parallelism, rate)
}

func globalParallelism(r *request) (any, error) {
	most, count := r.handler.engine.GlobalParallelism(r.caller)
	return client.GlobalParallelism{Max: most, Count: count}, nil
}
