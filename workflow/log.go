package workflow

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

// fetchLog asks the server for the log up to the message that is delivered.
func (e *Endpoint) fetchLog(ctx context.Context, d *delivery) ([]wire.LogEntry, error) {
	entries, err := e.wholeLog(ctx, d.run.id)
	if err != nil || len(entries) == 1 {
		return entries, err
	}
	i := slices.IndexFunc(entries, func(l wire.LogEntry) bool { return l.MessageID == d.messageID })
	if i < 0 {
		return nil, protocolErrorf("The run's log has no message '%s'", d.messageID)
	}
	return entries[:i+1], nil
}

// wholeLog has at least one entry. Its error isEnded if the run is.
func (e *Endpoint) wholeLog(ctx context.Context, runID string) ([]wire.LogEntry, error) {
	fetched, err := e.opts.Client.RunLog(ctx, runID)
	if err != nil {
		return nil, fmt.Errorf("fetch the run's log: %w", err)
	}
	if len(fetched) == 0 {
		return nil, protocolErrorf("The run's log has no entries")
	}
	entries := make([]wire.LogEntry, len(fetched))
	for i, l := range fetched {
		entries[i] = wire.LogEntry{MessageID: l.MessageID, CallType: wire.CallType(l.CallType), Body: l.Body}
	}
	return entries, nil
}

// parseSteps decodes a log. The requests and answers of a Call, which are
// entries too, are left out.
func parseSteps(entries []wire.LogEntry) ([]wire.Step, error) {
	steps := make([]wire.Step, 1, len(entries))
	steps[0] = wire.Step{StepName: "init", StepType: wire.StepInitial, Concurrent: 1}
	for i, l := range entries[1:] {
		if l.CallType != wire.CallStep {
			continue
		}
		s, err := wire.ParseStep(l.Body)
		if err != nil {
			return nil, &statusError{http.StatusBadRequest, fmt.Errorf("decode entry %d of the run's log: %w", i+1, err)}
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// lastIsDuplicate reports whether the step that this call was made for had been
// reported before. The call for that earlier report carries the run on.
func lastIsDuplicate(steps []wire.Step) bool {
	last := steps[len(steps)-1]
	return slices.ContainsFunc(steps[:len(steps)-1], func(s wire.Step) bool {
		return s.StepID == last.StepID && s.TargetStep == last.TargetStep
	})
}

// dropDuplicates keeps the first plan and the first result of each step.
func dropDuplicates(steps []wire.Step) []wire.Step {
	type key struct{ step, target int }
	seen := make(map[key]bool, len(steps))
	return slices.DeleteFunc(steps, func(s wire.Step) bool {
		k := key{step: s.StepID}
		if s.StepID == 0 {
			k.target = s.TargetStep
		}
		duplicate := seen[k]
		seen[k] = true
		return duplicate
	})
}

// send publishes messages in one call, all or none. Batches carry text only, so
// a message with other bytes goes by itself.
func send(ctx context.Context, c *client.Client, items ...client.BatchItem) error {
	var err error
	if len(items) == 1 && !utf8.Valid(items[0].Body) {
		_, err = c.PublishItem(ctx, items[0])
	} else {
		_, err = c.BatchItems(ctx, items)
	}
	return err
}
