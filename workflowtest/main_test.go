package workflowtest_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/signposthq/signpost/internal/exampletest"
	"github.com/signposthq/signpost/workflow"
)

func TestMain(m *testing.M) {
	// Whatever a developer's environment says must not matter.
	for name, value := range map[string]string{
		"QSTASH_URL": "http://127.0.0.1:1", "QSTASH_TOKEN": "x", "UPSTASH_WORKFLOW_URL": "http://127.0.0.1:1",
		"QSTASH_CURRENT_SIGNING_KEY": "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r", "QSTASH_NEXT_SIGNING_KEY": "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
	} {
		_ = os.Setenv(name, value)
	}
	goleak.VerifyTestMain(m)
}

// step is a Run with a name and a result.
func step(ctx *workflow.Context, name string) error {
	_, err := workflow.Run(ctx, name, func(context.Context) (string, error) { return name, nil })
	return err
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fails runs a test that must fail, and gives what it says.
func fails(t *testing.T, test func(t testing.TB)) string {
	t.Helper()
	f := exampletest.Ended(test)
	if !f.Failed() {
		t.Fatal("the test does not fail")
	}
	return f.Said()
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("nothing of %q in\n%s", part, text)
		}
	}
}
