package workflow_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/workflow"
)

// replayGroups is how long the last call takes of a run with so many parallel
// groups of two, each after a version.
func replayGroups(t *testing.T, groups int) time.Duration {
	t.Helper()
	entries := []wire.LogEntry{{MessageID: "msg_0"}}
	add := func(format string, args ...any) {
		entries = append(entries, wire.LogEntry{MessageID: fmt.Sprint("msg_", len(entries)), Body: fmt.Appendf(nil, format, args...)})
	}
	for g := range groups {
		add(`{"stepId":0,"stepName":"one","stepType":"Run","concurrent":2,"targetStep":%d}`, 2*g+1)
		add(`{"stepId":0,"stepName":"two","stepType":"Run","concurrent":2,"targetStep":%d}`, 2*g+2)
		add(`{"stepId":%d,"stepName":"two","stepType":"Run","out":"2","concurrent":2}`, 2*g+2)
		add(`{"stepId":%d,"stepName":"one","stepType":"Run","out":"1","concurrent":2}`, 2*g+1)
	}
	number := func(n int) func(context.Context) (int, error) {
		return func(context.Context) (int, error) { return n, nil }
	}
	e := workflow.MustServe(func(ctx *workflow.Context, _ any) (int, error) {
		for range groups {
			if _, err := workflow.Version(ctx, "a change", 0, 1); err != nil {
				return 0, err
			}
			got, err := workflow.Parallel(ctx, workflow.RunAsync(ctx, "one", number(1)), workflow.RunAsync(ctx, "two", number(2)))
			if err != nil {
				return 0, err
			}
			if got[0] != 1 || got[1] != 2 {
				t.Errorf("the results of a group are %v", got)
			}
		}
		return 0, nil
	}, &workflow.Options{
		Client:   client.New(client.Options{URL: "http://127.0.0.1:1", Token: "t", HTTPClient: &http.Client{Transport: answering{}}}),
		Receiver: newReceiver(t), BaseURL: "https://app.example", Logger: quiet,
	})
	log := string(wire.EncodeLog(nil, entries))
	from := time.Now()
	if w := deliverStep(e, log); w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	return time.Since(from)
}

// TestManyGroups holds that a call costs what its log is long, not the square.
func TestManyGroups(t *testing.T) {
	few, many := replayGroups(t, 250), replayGroups(t, 4000)
	if limit := 80*few + 2*time.Second; many > limit { // by the square it is 256 times, of far more each
		t.Errorf("a run of 4,000 groups takes %v, one of 250 %v", many, few)
	}
}
