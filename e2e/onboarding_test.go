package e2e_test

import "testing"

// TestOnboarding has the official clients start runs of an endpoint that was
// written with package workflow.
func TestOnboarding(t *testing.T) {
	needNode(t)
	t.Parallel()
	s := startServer(t)
	p := start(t, s.environ("ONBOARDING_TOKEN=let-me-in"), build(t, "examples/onboarding"), "-listen", "127.0.0.1:0", "-pause", "1s")
	runSuite(t, s, "onboarding.suite.js", "ENDPOINT="+p.wait(t, `is served at (\S+)$`)[1])
}
