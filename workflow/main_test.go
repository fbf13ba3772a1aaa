package workflow_test

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	for _, name := range []string{"QSTASH_TOKEN", "QSTASH_URL", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "UPSTASH_WORKFLOW_URL", "SIGNPOST_DEV", "QSTASH_DEV"} {
		_ = os.Unsetenv(name) // tests set what they need
	}
	goleak.VerifyTestMain(tests{m})
}

// tests end with the server of the Examples.
type tests struct{ *testing.M }

func (t tests) Run() int {
	defer func() {
		exampleT.Close()
		fmt.Print(exampleT.Said())
	}()
	return t.M.Run()
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))
