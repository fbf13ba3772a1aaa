package workflow_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/workflow"
)

// versioned is a function in which a change has a step more: before it, or
// after it, there are others.
func versioned(min, max int) func(*workflow.Context) error {
	return func(ctx *workflow.Context) error {
		if err := one(ctx); err != nil {
			return err
		}
		v, err := workflow.Version(ctx, "change", min, max)
		if err != nil {
			return err
		}
		if v >= 1 {
			if err := group("new", "news")(ctx); err != nil {
				return err
			}
		}
		if again, err := workflow.Version(ctx, "change", min, max); again != v || err != nil {
			return fmt.Errorf("%d, then %d, %v", v, again, err)
		}
		return only(workflow.Run(ctx, "last", value(v)))
	}
}

func TestVersion(t *testing.T) {
	a := ran(1, "a", "1", 1)
	noted := func(v string) []wire.Step { return []wire.Step{a, ran(2, "version: change", v, 1)} }
	group := []wire.Step{planned(3, "new", 2), planned(4, "news", 2)}
	for _, tt := range []struct {
		name string
		fn   func(*workflow.Context) error
		log  []wire.Step
		want string
	}{
		{"not there yet", versioned(0, 1), nil, "ok after 0: a"},
		{"there for the first time", versioned(0, 1), []wire.Step{a}, "ok after 1: version: change"},
		{"beyond it, before it was there", versioned(0, 1), []wire.Step{a, ran(2, "last", "0", 1)}, "ok after 2: "},
		{"beyond it, with the first version", versioned(0, 1), noted("0"), "ok after 2: last"},
		{"beyond it, with the second version", versioned(0, 1), noted("1"), "ok after 2: new news"},
		{"in the group behind it", versioned(0, 1), append(noted("1"), group...), "ok after 2: new news"},
		{"at the end", versioned(0, 1), append(append(noted("1"), group...), ran(3, "new", "1", 2), ran(4, "news", "1", 2)), "ok after 4: last"},
		{"with a version that has gone", versioned(1, 2), noted("0"), "broken after 2: The run goes by version 0 of 'change', but the code has 1 to 2"},
		{"with a version to come", versioned(0, 1), noted("2"), "broken after 2: The run goes by version 2 of 'change', but the code has 0 to 1"},
		{"of nothing", func(ctx *workflow.Context) error { return only(workflow.Version(ctx, "", 0, 1)) }, nil,
			"broken after 0: A version needs the id of a change, and a min that is no greater than max: got '', 0 and 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, _ := endpointOf(t, tt.fn)
			r := checkLog(t, e, tt.log...)
			var next []string
			for _, s := range r.Next {
				next = append(next, s.StepName)
			}
			if got := fmt.Sprintf("%s after %d: %s", r.Check, r.Steps, r.Error+strings.Join(next, " ")); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}

// A run that starts with the old code ends with the new one as it began, and the
// next one goes by the new version.
func TestVersionOfLiveRuns(t *testing.T) {
	s, deployed := newStage(t), false
	old := func(ctx *workflow.Context, _ any) (string, error) {
		if _, err := workflow.Run(ctx, "first", value(1)); err != nil {
			return "", err
		}
		if _, err := workflow.Run(ctx, "by hand", func(context.Context) (int, error) {
			deployed = true // for the next call
			return 1, nil
		}); err != nil {
			return "", err
		}
		return workflow.Run(ctx, "last", value("old"))
	}
	changed := func(ctx *workflow.Context, _ any) (string, error) {
		if _, err := workflow.Run(ctx, "first", value(1)); err != nil {
			return "", err
		}
		v, err := workflow.Version(ctx, "by machine", 1, 2)
		if err != nil {
			return "", err
		}
		step := map[int]string{1: "by hand", 2: "by machine"}[v]
		if _, err := workflow.Run(ctx, step, value(1)); err != nil {
			return "", err
		}
		return workflow.Run(ctx, "last", func(context.Context) (string, error) { return step, nil })
	}
	before, after := serveOn(t, s, nil, old), serveOn(t, s, nil, changed)
	s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if deployed {
			after.ServeHTTP(w, r)
		} else {
			before.ServeHTTP(w, r)
		}
	}))
	if run := s.trigger(t, client.TriggerRequest{}); run.Response != `"by hand"` || !slices.Equal(steps(run), []string{"1 first", "2 by hand", "3 last"}) {
		t.Errorf("the run under way ended with %s after %q", run.Response, steps(run))
	}
	run := s.trigger(t, client.TriggerRequest{})
	if want := []string{"1 first", "2 version: by machine", "3 by machine", "4 last"}; run.Response != `"by machine"` || !slices.Equal(steps(run), want) {
		t.Errorf("the next run ended with %s after %q", run.Response, steps(run))
	}
}
