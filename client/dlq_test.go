package client

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRetryOverride(t *testing.T) {
	c, got := newTestClient(t, 201, `{"responses":[{"messageId":"msg_1"}]}`)
	out, err := c.RetryDLQ(t.Context(), DLQRetry{
		DLQSelection: DLQSelection{IDs: []string{"1-0"}},
		Override: PublishRequest{
			Method: "PUT", Header: http.Header{"Content-Type": {"text/plain"}, "X-A": {"1"}}, Delay: time.Minute, Retries: new(0),
			Queue: "q", FlowControl: &FlowControl{Key: "k", Parallelism: 1}, FailureCallback: &Callback{URL: "https://example.com/failed"},
		},
	})
	if err != nil || len(out.Responses) != 1 || out.Responses[0].MessageID != "msg_1" {
		t.Fatalf("answered %+v, error %v", out, err)
	}
	r := <-got
	if line := r.Method + " " + r.URI; line != "POST /v2/dlq/retry?dlqIds=1-0" || r.Body != "" {
		t.Errorf("sent %s %q", line, r.Body)
	}
	want := http.Header{
		"Upstash-Method": {"PUT"}, "Upstash-Forward-Content-Type": {"text/plain"}, "Upstash-Forward-X-A": {"1"},
		"Upstash-Delay": {"60s"}, "Upstash-Retries": {"0"}, "Upstash-Queue-Name": {"q"},
		"Upstash-Flow-Control-Key": {"k"}, "Upstash-Flow-Control-Value": {"parallelism=1"},
		"Upstash-Failure-Callback": {"https://example.com/failed"},
	}
	if d := cmp.Diff(want, withoutTransport(r.Header)); d != "" {
		t.Errorf("headers differ (-want +got):\n%s", d)
	}
}

func TestRetryOverrideRefused(t *testing.T) {
	const fixed = "retry from dlq: a retry has the destination and the body of its message, and no deduplication"
	for name, tt := range map[string]struct {
		override PublishRequest
		want     string
	}{
		"url":             {PublishRequest{URL: "https://example.com"}, fixed},
		"group":           {PublishRequest{URLGroup: "g"}, fixed},
		"model":           {PublishRequest{LLM: true}, fixed},
		"body":            {PublishRequest{Body: []byte{}}, fixed},
		"id":              {PublishRequest{DeduplicationID: "d"}, fixed},
		"id of content":   {PublishRequest{ContentBasedDeduplication: true}, fixed},
		"negative delay":  {PublishRequest{Delay: -1}, "retry from dlq: delay, timeout and retries cannot be negative"},
		"mistaken header": {PublishRequest{Header: http.Header{"a b": {"c"}}}, `retry from dlq: header name "Upstash-Forward-a b" is not valid`},
	} {
		c, got := newTestClient(t, 200, `{}`)
		_, err := c.RetryDLQ(t.Context(), DLQRetry{DLQSelection: DLQSelection{All: true}, Override: tt.override})
		if err == nil || err.Error() != tt.want || len(got) != 0 {
			t.Errorf("%s: got  %v\nwant %s", name, err, tt.want)
		}
	}
}
