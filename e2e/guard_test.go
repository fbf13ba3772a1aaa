package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
)

// TestGuard secures an endpoint in another language that knows nothing of
// signatures: the server's message passes the guard, a stranger's does not.
func TestGuard(t *testing.T) {
	needNode(t)
	t.Parallel()
	s := startServer(t)
	plain := start(t, nil, "node", "plain.js")
	guard := start(t, s.environ(), build(t, "cmd/signpost"), "guard", "--dev", "--listen", "127.0.0.1:0",
		"--upstream", plain.wait(t, `^serving at (\S+)$`)[1])
	url := guard.wait(t, `is listening at (\S+)$`)[1]

	resp, err := http.Post(url+"/hook", "application/json", strings.NewReader(`{"by":"a stranger"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger got status %d", resp.StatusCode)
	}

	c := s.client()
	defer c.CloseIdleConnections()
	if _, err := c.Publish(t.Context(), client.PublishRequest{URL: url + "/a//b?c=%20", Body: []byte("ünïcode")}); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(url, "http://")
	plain.wait(t, `^\{"target":"/a//b\?c=%20","host":"`+host+`","verified":"message","body":"ünïcode"\}$`)
	if strings.Contains(plain.output.String(), "stranger") {
		t.Errorf("the stranger's request got through:\n%s", &plain.output)
	}
}
