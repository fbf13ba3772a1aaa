package e2e_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/signposthq/signpost/client"
)

// TestUpstashWire runs the Go SDK, as endpoint and as client, with nothing between it
// and the server but what Upstash's API documents: see cloud. No option says so.
func TestUpstashWire(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	t.Run("suite", func(t *testing.T) {
		needNode(t)
		t.Parallel()
		c := newCloud(t, s)
		var kept record
		runSuite(t, s, "golang.suite.js", "GO_ENDPOINT="+serveGo(t, c.platform(s, "/"), &kept))
		kept.verify(t, s)
		c.wantSeen("webhook", "GET /v2/workflows/runs/{id}", "POST /v2/wait/{event}", "POST /v2/notify/{run}/{event}", "DELETE /v2/workflows/runs/{id}",
			"a delivery of the kind message", "a delivery of the kind step", "a delivery of the kind callback", "a delivery of the kind failure",
			"a delivery of the kind call")
	})
	t.Run("random workflows", func(t *testing.T) {
		t.Parallel()
		c := newCloud(t, s)
		startActor(t, c.platform(s, "/v2")).run(t, rand.IntN(1<<30), 50, func() {})
		c.wantUnseen("an answer 500") // which retries would hide
	})
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		newApplication(t, startServer(t)).play() // of a server that is its own: it rotates keys
	})
}

// TestUpstashWireBites has the check of calls find what the documentation does not
// have, and nothing else.
func TestUpstashWireBites(t *testing.T) {
	header := func(name, value string) http.Header { return http.Header{http.CanonicalHeaderKey(name): {value}} }
	item := func(headers, body string) string {
		return `[{"destination":"https://app.example/wf","headers":` + headers + `,"body":` + body + `}]`
	}
	const (
		ofRun = `"upstash-workflow-init":"false","upstash-workflow-runid":"wfr_1","upstash-workflow-url":"https://app.example/wf"`
		done  = `{\"stepId\":1,\"stepName\":\"one\",\"stepType\":\"Run\",\"concurrent\":1`
	)
	tests := []struct {
		method, target string
		header         http.Header
		body           string
		want           string // "": it is documented
	}{
		{"POST", "/v2/publish/https://a.example/x?force=true", header("Upstash-Delay", "1d2h"), "any bytes", ""},
		{"POST", "/v2/publish/https://a.example", header("Upstash-Forward-Anything", "x"), "", ""},
		{"POST", "/v2/publish/https://a.example", header("Upstash-Failure-Callback-Retries", "3"), "", ""},
		{"POST", "/v2/batch", nil, item(`{`+ofRun+`}`, `"`+done+`}"`), ""},
		{"POST", "/v2/notify/wfr_1/paid", nil, "any bytes", ""},
		{"PUT", "/v2/workflows/hooks/u/wfr_1/evt_1?q=1", header("X-Hook", "1"), "any bytes", ""},

		{"GET", "/v2/tokens", nil, "", "route is not documented"},
		{"PUT", "/v2/queues", nil, "", "route is not documented"},
		{"POST", "/v2/keys/rotate?force=true", nil, "", "query parameter force is not documented"},
		{"GET", "/v2/workflows/dlq?order=latestFirst", nil, "", "query parameter order is not documented"},
		{"GET", "/v2/keys", header("X-Signpost", "1"), "", "header X-Signpost is not documented"},
		{"POST", "/v2/publish/https://a.example", header("Upstash-Sign-With", "ed25519"), "", "header Upstash-sign-with is not documented here"},
		{"POST", "/v2/publish/https://a.example", header("Upstash-Forward-Upstash-Hop", "x"), "", "header Upstash-hop is not documented here"},
		{"POST", "/v2/publish/https://a.example", header("Upstash-Callback-Kind", "x"), "", "header Upstash-kind is not documented here"},
		{"POST", "/v2/publish/https://a.example", header("Upstash-Delay", "1.5s"), "", `header Upstash-delay: "1.5s" is not documented`},
		{"POST", "/v2/notify/paid", header("Upstash-Label", "a"), "", "header Upstash-label is not documented here"},
		{"POST", "/v2/workflows/dlq/resume", header("Upstash-Label", "a"), "", "header Upstash-label is not documented here"},
		{"POST", "/v2/workflows/dlq/resume/1-0", nil, "{}", `body is not documented: "{}"`},
		{"POST", "/v2/queues", nil, `{"queueName":"q","lag":1}`, "body.lag is not documented"},
		{"POST", "/v2/queues", nil, `{"queueName":"q","paused":1}`, "body.paused: expected true or false, got 1"},
		{"POST", "/v2/batch", nil, item(`{"upstash-feature-set":"LazyFetch,Other"}`, `""`), `[0]: header Upstash-feature-set: "LazyFetch,Other" is not documented`},
		{"POST", "/v2/batch", nil, item(`{"Upstash-Retries":"1"}`, `""`), "[0]: header Upstash-Retries is not documented in a batch"},
		{"POST", "/v2/batch", nil, item(`{`+ofRun+`}`, `"`+done+`,\"att\":1}"`), "[0]: body.att is not documented"},
		{"POST", "/v2/batch", nil, item(`{"upstash-workflow-runid":"wfr_1"}`, `"`+done+`}"`), "[0]: a step is neither of its run, nor the start of one"},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(tt.method, tt.target, nil)
		r.Header = tt.header.Clone()
		if r.Header == nil {
			r.Header = http.Header{}
		}
		r.Header.Set("Authorization", "Bearer t")
		var want []string
		if tt.want != "" {
			want = []string{tt.want}
		}
		if _, wrong := checkCall(r, []byte(tt.body)); !slices.Equal(wrong, want) {
			t.Errorf("%s %s %v %s:\ngot  %q\nwant %q", tt.method, tt.target, tt.header, tt.body, wrong, want)
		}
	}
}

// TestUpstashAnswersAreFiltered leaves nothing in answers that only Signpost says.
func TestUpstashAnswersAreFiltered(t *testing.T) {
	text, err := json.Marshal(client.RunsPage{Runs: []client.Run{{
		WorkflowRunID: "wfr_1", Predecessor: &client.RunRef{WorkflowRunID: "wfr_0"}, Successor: &client.RunRef{WorkflowRunID: "wfr_2"}, Steps: []client.StepGroup{},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := decodeJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	_, more := documented(v, runs, "answer")
	slices.Sort(more)
	if want := []string{"answer.runs[0].predecessor is not documented", "answer.runs[0].successor is not documented"}; !slices.Equal(more, want) {
		t.Errorf("got %q, want %q", more, want)
	}
	left, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var page client.RunsPage
	if err := json.Unmarshal(left, &page); err != nil || page.Runs[0].WorkflowRunID != "wfr_1" || page.Runs[0].Successor != nil {
		t.Errorf("left: %s, %v", left, err)
	}
}
