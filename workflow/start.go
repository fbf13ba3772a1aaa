package workflow

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

// start makes a run of a plain request: the endpoint triggers itself, with the
// request's headers and body.
func (e *Endpoint) start(ctx context.Context, d *delivery) (answer, error) {
	payload := d.body
	if d.unknownSDK {
		entries, err := e.log(ctx, d)
		if isEnded(err) {
			return finished(d.run.id, conditionEnded), nil
		}
		if err != nil {
			return answer{}, err
		}
		payload = entries[0].Body
	}
	fn, err := e.admit(ctx, d, payload)
	if err != nil {
		return answer{}, err
	}
	if err := e.rehearse(ctx, d, fn); err != nil {
		return answer{}, err
	}
	ctx, cancel := submission(ctx)
	defer cancel()
	if err := send(ctx, e.opts.Client, d.trigger(payload)); err != nil {
		return answer{}, fmt.Errorf("start run: %w", limitReached(err))
	}
	return finished(d.run.id, conditionSuccess), nil
}

// trigger is the message that starts the run.
func (d *delivery) trigger(payload []byte) client.BatchItem {
	h := d.run.deliveredHeader()
	for name, values := range d.run.header {
		h[wire.PrefixForward+name] = slices.Clone(values)
	}
	if contentType := d.run.header.Get("Content-Type"); contentType != "" {
		h.Set("Content-Type", contentType)
	}
	h.Set(wire.HeaderWorkflowInit, "true")
	if d.unknownSDK {
		h.Set(wire.HeaderWorkflowTriggerSDK, "true")
	}
	if len(d.run.labels) > 0 {
		h.Set(wire.HeaderLabel, strings.Join(d.run.labels, ","))
	}
	item := client.BatchItem{Destination: d.run.url, Header: h}
	if len(payload) > 0 {
		item.Body = payload
	}
	return item
}
