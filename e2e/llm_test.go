package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestLLM has the official client send to api/llm, with a service of the
// operator's behind it.
func TestLLM(t *testing.T) {
	needNode(t)
	t.Parallel()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{
			"asked": json.RawMessage(body), "path": r.URL.Path, "authorization": r.Header.Get("Authorization"),
		})
	}))
	t.Cleanup(service.Close)
	s := startServerAt(t, "0", t.TempDir(), "SIGNPOST_LLM_URL="+service.URL, "SIGNPOST_LLM_TOKEN=the-operators")
	runSuite(t, s, "llm.suite.js")
}
