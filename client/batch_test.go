package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBatch(t *testing.T) {
	c, got := newTestClient(t, 200, `[{"messageId":"msg_1"},{"messageId":"msg_2","deduplicated":true},[{"messageId":"msg_3","url":"https://a.example"}]]`)
	answers, err := c.Batch(context.Background(), []PublishRequest{
		{URL: "https://example.com/a//b?c=d", Body: []byte("hi <é>"), Method: "PUT", Delay: 3 * time.Second,
			Header: http.Header{"X-Many": {"a", "b"}, "Content-Type": {"text/plain"}}},
		{URL: "http://example.com"},
		{URLGroup: "g", Queue: "q"},
	})
	if want := []PublishResponse{{MessageID: "msg_1"}, {MessageID: "msg_2", Deduplicated: true}, {Endpoints: []PublishResponse{{MessageID: "msg_3", URL: "https://a.example"}}}}; err != nil || !cmp.Equal(answers, want) {
		t.Errorf("answered %+v, error %v", answers, err)
	}
	r := <-got
	if r.Method != "POST" || r.URI != "/v2/batch" {
		t.Errorf("sent %s %s", r.Method, r.URI)
	}
	if d := cmp.Diff(http.Header{"Content-Type": {"application/json"}}, withoutTransport(r.Header)); d != "" {
		t.Errorf("headers differ (-want +got):\n%s", d)
	}
	diffJSON(t, []byte(`[
		{"destination":"https://example.com/a//b?c=d","body":"hi <é>","headers":{
			"content-type":"text/plain","upstash-method":"PUT","upstash-delay":"3s","upstash-forward-x-many":"a, b"}},
		{"destination":"http://example.com","headers":{}},
		{"destination":"g","headers":{},"queue":"q"}
	]`), []byte(r.Body))
}

func TestBatchItems(t *testing.T) {
	c, got := newTestClient(t, 200, `[{"messageId":"msg_1"},{"messageId":"msg_2"}]`)
	_, err := c.BatchItems(context.Background(), []BatchItem{
		{Destination: "https://example.com", Header: http.Header{"Upstash-Workflow-RunId": {"wfr_1"}}, Body: []byte(`{"stepId":1}`)},
		{Destination: "group", Body: []byte{}, Queue: "q"},
	})
	if err != nil {
		t.Fatal(err)
	}
	diffJSON(t, []byte(`[
		{"destination":"https://example.com","headers":{"upstash-workflow-runid":"wfr_1"},"body":"{\"stepId\":1}"},
		{"destination":"group","headers":{},"body":"","queue":"q"}
	]`), []byte((<-got).Body))
}

func TestBatchAnswers(t *testing.T) {
	tests := []struct {
		name   string
		status int
		answer string
		want   []PublishResponse
		err    string
	}{
		{"object for one item", 200, `{"messageId":"msg_1"}`, []PublishResponse{{MessageID: "msg_1"}}, ""},
		{"array", 201, ` [{"messageId":"msg_1"}]`, []PublishResponse{{MessageID: "msg_1"}}, ""},
		{"refused item", 200, `[{"error":"topic x not found"}]`, []PublishResponse{{Error: "topic x not found"}}, "publish batch: item 0: topic x not found"},
		{"refused endpoint", 200, `[[{"messageId":"msg_1"},{"error":"no"}]]`, []PublishResponse{{Endpoints: []PublishResponse{{MessageID: "msg_1"}, {Error: "no"}}}}, "publish batch: item 0: no"},
		{"too few", 200, `[]`, nil, "publish batch: server answered 0 of 1 items"},
		{"too many", 200, `[{},{}]`, nil, "publish batch: server answered 2 of 1 items"},
		{"refused batch", 400, `{"error":"[0].destination: no"}`, nil, "publish batch: server answered 400: [0].destination: no"},
		{"not JSON", 200, `ok`, nil, "publish batch: decode answer: invalid character 'o' looking for beginning of value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := newTestClient(t, tt.status, tt.answer)
			got, err := c.Batch(context.Background(), []PublishRequest{{URL: "https://example.com"}})
			if !cmp.Equal(got, tt.want) {
				t.Errorf("answered %+v, want %+v", got, tt.want)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
				t.Errorf("got error %v, want %s", err, tt.err)
			}
		})
	}
}

func TestPublishItem(t *testing.T) {
	c, got := newTestClient(t, 200, `{"messageId":"msg_1"}`)
	header := http.Header{"Upstash-Workflow-Init": {"false"}, "Authorization": {"Bearer forged"}}
	a, err := c.PublishItem(context.Background(), BatchItem{Destination: "https://app.example/wf", Header: header, Body: []byte("\xff")})
	if err != nil || a.MessageID != "msg_1" {
		t.Fatalf("answered %+v, error %v", a, err)
	}
	r := <-got
	if r.URI != "/v2/publish/https://app.example/wf" || r.Body != "\xff" || r.Header.Get("Upstash-Workflow-Init") != "false" || r.Header.Get("Authorization") != "Bearer tok" {
		t.Errorf("sent %+v", r)
	}
	if header.Get("Authorization") != "Bearer forged" {
		t.Errorf("the caller's header became %v", header)
	}
}

func FuzzBatchAnswers(f *testing.F) {
	f.Add(`[{"messageId":"msg_1"}]`)
	f.Add(`{"messageId":"msg_1"}`)
	f.Add(`[[{"messageId":"msg_1"}]]`)
	f.Fuzz(func(t *testing.T, in string) {
		var a batchAnswers
		err := json.Unmarshal([]byte(in), &a)
		if in := strings.TrimLeft(in, " \t\r\n"); err == nil && strings.HasPrefix(in, "{") && len(a) != 1 {
			t.Errorf("%s is %d answers", in, len(a))
		}
	})
}
