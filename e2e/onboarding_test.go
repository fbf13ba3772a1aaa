package e2e_test

import (
	"net"
	"testing"
	"time"
)

// TestOnboarding has the official clients start runs of an endpoint that was
// written with package workflow.
func TestOnboarding(t *testing.T) {
	needNode(t)
	s := startServer(t)
	addr := freeAddr(t)
	start(t, s.environ("ONBOARDING_TOKEN=let-me-in"), build(t, "examples/onboarding"), "-listen", addr, "-pause", "1s")
	waitListening(t, addr)
	runSuite(t, s, "onboarding.suite.js", "ENDPOINT=http://"+addr+"/onboard")
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func waitListening(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens on %s: %v", addr, err)
		}
	}
}
