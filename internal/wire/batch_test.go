package wire

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseBatch(t *testing.T) {
	tests := map[string]struct {
		in   string
		want []BatchItem
	}{
		"JavaScript leaves out what is not given": {
			`[{"destination":"https://a"}]`, []BatchItem{{Destination: "https://a"}},
		},
		"Python sends nulls": {
			`[{"destination":"https://a","headers":null,"body":null,"queue":null}]`, []BatchItem{{Destination: "https://a"}},
		},
		"Go sends an empty queue": {
			`[{"destination":"https://a","queue":"","headers":{"Upstash-Delay":"1s"},"body":"x"}]`,
			[]BatchItem{{Destination: "https://a", Header: headers("Upstash-Delay: 1s"), Body: []byte("x")}},
		},
		"an empty body is a body": {
			`[{"destination":"https://a","body":""}]`, []BatchItem{{Destination: "https://a", Body: []byte{}}},
		},
		"bodies are raw text": {
			`[{"destination":"https://a","body":"\u0000 \"é\" \n"}]`, []BatchItem{{Destination: "https://a", Body: []byte("\x00 \"é\" \n")}},
		},
		"destinations byte by byte": {
			`[{"destination":"https://A//b/../c?upstash-delay=1s#d"}]`, []BatchItem{{Destination: "https://A//b/../c?upstash-delay=1s#d"}},
		},
		"white space": {
			` [ {"destination":"https://a" } , {"destination":"http://b"} ] `,
			[]BatchItem{{Destination: "https://a"}, {Destination: "http://b"}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseBatch([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseBatchErrors(t *testing.T) {
	const array = "expected a JSON array of messages"
	tests := []struct{ in, want string }{
		{``, array},
		{`null`, array},
		{`{"destination":"https://a"}`, array},
		{`"x"`, array},
		{`[]`, "expected at least one message in the batch"},
		{`[{"destination":"https://a"}`, array + ": EOF"},
		{`[{"destination":"https://a"}}`, array + ": invalid character '}' after array element"},
		{`[{"destination":"https://a"},]`, "[1]: expected a JSON object: invalid character ']' looking for beginning of value"},
		{`[{"destination":"https://a"}] x`, "expected nothing after the JSON array"},
		{`[{"destination":"https://a"}][]`, "expected nothing after the JSON array"},
		{"[{\"destination\":\"https://a\",\"body\":\"\xff\"}]", "expected a JSON array in UTF-8, got other bytes"},
		{`[3]`, "[0]: expected an object, got number"},
		{`[{"destination":"https://a"},"x"]`, "[1]: expected an object, got string"},
		{`[{"destination":"https://a"},{"destination":"https://a","quue":"q"}]`, `[1]: expected destination, headers, body and queue, got "quue"`},
		{`[{"destination":"https://a","":null}]`, `[0]: expected destination, headers, body and queue, got ""`},
		{`[{"destination":1}]`, "[0].destination: expected a string, got number"},
		{`[{"destination":"https://a","body":{"a":1}}]`, "[0].body: expected a string, got object"},
		{`[{"destination":"https://a","headers":[]}]`, "[0].headers: expected an object of header names and values, got array"},
		{`[{"destination":"https://a","headers":{"A":1}}]`, `[0].headers.A: expected a string or an array of strings, got a number`},
		{`[{"destination":"https://a","headers":{"A":null}}]`, `[0].headers.A: expected a string or an array of strings, got null`},
		{`[{"destination":"https://a","headers":{"A":["b",null]}}]`, `[0].headers.A: expected a string or an array of strings, got an array`},
		{`[{"destination":"https://a","headers":{"A b":"c"}}]`, `[0].headers: expected a header name, got "A" with byte 0x20 at position 2`},
		{`[{"destination":"https://a","headers":{"":"c"}}]`, `[0].headers: expected a header name, got ""`},
		{`[{"destination":"https://a","queue":"a b"}]`, `[0].queue: expected 1 to 256 of A-Z a-z 0-9 _ . -, got "a b"`},
		{`[{"destination":"https://a","queue":true}]`, "[0].queue: expected a string, got bool"},
	}
	for _, tt := range tests {
		items, err := ParseBatch([]byte(tt.in))
		if e := new(Error); !errors.As(err, &e) || err.Error() != tt.want || items != nil {
			t.Errorf("ParseBatch(%s)\ngot  %v, %v\nwant %s", tt.in, items, err, tt.want)
		}
	}
}

// What the official client sends to trigger a run, read from end to end.
func TestParseBatchTrigger(t *testing.T) {
	body, err := os.ReadFile("testdata/batch_trigger.json")
	if err != nil {
		t.Fatal(err)
	}
	items, err := ParseBatch(body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseConfig(items[0].Header)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Method: "POST",
		Header: headers("Content-Type: application/json", "Upstash-Workflow-Sdk-Version: 1",
			"Upstash-Label: l1,l2", "User-Header: v"),
		Delay:      time.Second,
		Retries:    ptr(15),
		RetryDelay: "1000",
		Labels:     []string{"l1", "l2"},
		FailureCallback: &Callback{URL: "https://app.example/api/wf", Header: headers(
			"Upstash-Forward-Upstash-Workflow-Is-Failure: true", "Upstash-Forward-User-Header: v",
			"Upstash-Workflow-Runid: wfr_my-id", "Upstash-Workflow-Init: false",
			"Upstash-Workflow-Url: https://app.example/api/wf", "Upstash-Workflow-Calltype: failureCall",
			"Upstash-Feature-Set: LazyFetch,InitialBody", "Upstash-Retries: 15")},
		Workflow: Workflow{Init: true, RunID: "wfr_my-id", URL: "https://app.example/api/wf", CallType: CallStep,
			Features: []string{FeatureLazy, FeatureInitialBody, FeatureDetectTrigger, FeatureTriggerOnConfig}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := string(items[0].Body); got != `{"name":"Zoë"}` {
		t.Errorf("body %q", got)
	}
}

func TestItemHeader(t *testing.T) {
	tests := map[string]struct {
		in   string
		want http.Header
	}{
		"none":               {`{}`, nil},
		"string":             {`{"content-type":"a/b"}`, headers("Content-Type: a/b")},
		"array":              {`{"upstash-forward-x":["a","a","b"]}`, headers("Upstash-Forward-X: a", "Upstash-Forward-X: a", "Upstash-Forward-X: b")},
		"empty array":        {`{"x":[]}`, http.Header{}},
		"two spellings":      {`{"Upstash-Workflow-RunId":["wfr_1"],"Upstash-Workflow-Runid":["wfr_1"]}`, headers("Upstash-Workflow-Runid: wfr_1")},
		"spellings disagree": {`{"X-A":"1","x-a":["2","1"]}`, headers("X-A: 1", "X-A: 2")},
		"escapes":            {`{"x":"\u00e9\"\\"}`, headers(`X: é"\`)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var object map[string]json.RawMessage
			if err := json.Unmarshal([]byte(tt.in), &object); err != nil {
				t.Fatal(err)
			}
			got, err := ItemHeader(object)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func FuzzParseBatch(f *testing.F) {
	f.Add([]byte(`[{"destination":"https://a","headers":{"A":"b","a":["c"]},"body":"x","queue":null}]`))
	f.Add([]byte(`[{"destination":"https://a"},{"destination":"no/group"}]`))
	f.Add([]byte(`[[]]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		items, err := ParseBatch(body)
		if err != nil {
			if items != nil {
				t.Errorf("items beside the error %v", err)
			}
			return
		}
		for _, item := range items {
			for name := range item.Header {
				if name != http.CanonicalHeaderKey(name) || !isToken(name) {
					t.Errorf("header name %q", name)
				}
			}
		}
	})
}

func BenchmarkParseBatch(b *testing.B) {
	body, err := os.ReadFile("testdata/batch_trigger.json")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseBatch(body); err != nil {
			b.Fatal(err)
		}
	}
}
