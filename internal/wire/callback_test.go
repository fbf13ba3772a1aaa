package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var callbackBodies = map[string]CallbackBody{
	"testdata/callback.json": {
		Status: 404, Header: headers("Content-Type: text/plain", "X-Many: a", "X-Many: b"), Body: []byte("not found\xff"),
		Retried: 1, MaxRetries: 3, SourceMessageID: "msg_1", URL: "https://api.example/x?a=1", Method: "PATCH",
		SourceHeader: headers("Content-Type: application/json"), SourceBody: []byte("{}"),
		NotBefore: 1700000000000, CreatedAt: 1700000000001, CallerIP: "192.0.2.1",
	},
	"testdata/callback_empty.json": {
		SourceMessageID: "msg_1", URL: "https://api.example", Method: "POST", NotBefore: 1, CreatedAt: 1,
	},
	"testdata/callback_failure.json": {
		Status: 500, Header: headers("Content-Type: application/json"), Body: []byte("{}"),
		Retried: 3, MaxRetries: 3, DLQID: "1700000000000-0", SourceMessageID: "msg_1", TopicName: "t", EndpointName: "e",
		URL: "https://app.example/wf", Method: "POST", SourceBody: []byte(`{"u":1}`),
		NotBefore: 1700000000000, CreatedAt: 1700000000001, ScheduleID: "scd_1", CallerIP: "192.0.2.1",
		WorkflowRunID: "wfr_1", WorkflowCreatedAt: 1700000000002,
	},
}

func TestCallbackBody(t *testing.T) {
	for file, body := range callbackBodies {
		t.Run(file, func(t *testing.T) {
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			encoded, err := body.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(bytes.TrimSpace(golden)), string(encoded)); diff != "" {
				t.Errorf("encoded: -want +got:\n%s", diff)
			}
			var decoded CallbackBody
			if err := json.Unmarshal(golden, &decoded); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(body, decoded, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("decoded: -want +got:\n%s", diff)
			}
		})
	}
}

// encodeAtOnce is what Encode is to be like, without regard to memory.
func encodeAtOnce(t *testing.T, b CallbackBody) []byte {
	t.Helper()
	type plain CallbackBody
	if b.Header = byteStrings(b.Header); b.Header == nil {
		b.Header = http.Header{}
	}
	if b.SourceHeader == nil {
		b.SourceHeader = http.Header{}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(plain(b)); err != nil {
		t.Fatal(err)
	}
	return unescape(bytes.TrimSuffix(out.Bytes(), []byte("\n")))
}

// Nothing that stands in a callback is taken for the place of a body.
func TestCallbackBodiesAreInTheirPlace(t *testing.T) {
	misleading := []string{`"body":"`, `"body":"AA=="`, `,"sourceBody":"AA=="`, `\"body\":\"AA==`, "\x00", ""}
	for _, text := range misleading {
		for _, body := range [][]byte{nil, {}, {0}, []byte(text), bytes.Repeat([]byte{0xff}, 1000)} {
			for _, source := range [][]byte{nil, {0}, []byte(text + "x")} {
				b := CallbackBody{
					Header: http.Header{"Body": {text}, "body": {text, text}, text: {text}, "sourceBody": nil}, Body: body,
					URL: text, Method: text, TopicName: text, DLQID: text,
					SourceHeader: http.Header{"body": {text}, "sourceBody": {text}, text: nil}, SourceBody: source, CallerIP: text,
				}
				got, err := b.Encode()
				if err != nil {
					t.Fatal(err)
				}
				if want := encodeAtOnce(t, b); !bytes.Equal(want, got) {
					t.Errorf("want %s\ngot  %s", want, got)
				}
			}
		}
	}
}

// A large body is in memory once, encoded, and not again while that is done.
func TestCallbackBodyIsEncodedInPlace(t *testing.T) {
	b := CallbackBody{Body: make([]byte, 3<<20), SourceBody: make([]byte, 3<<20), Header: headers("A: \u20ac")}
	result := testing.Benchmark(func(bench *testing.B) {
		for range bench.N {
			if _, err := b.Encode(); err != nil {
				bench.Fatal(err)
			}
		}
	})
	if took := result.AllocedBytesPerOp(); took > 8<<20+64<<10 {
		t.Errorf("%d bytes were allocated for 8 MiB of text", took)
	}
}

func BenchmarkCallbackBody(b *testing.B) {
	for _, size := range []int{100, 16 << 10, 10 << 20} {
		body := callbackBodies["testdata/callback.json"]
		body.Body = make([]byte, size)
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := body.Encode(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Some endpoints verify the signature of what JSON.stringify makes of what
// JSON.parse made of the body.
func TestCallbackBodyIsAsJavaScriptEncodesIt(t *testing.T) {
	body := CallbackBody{
		URL:          "https://app.example/wf?a=1&b=<2>",
		Header:       http.Header{"X": {"<&>'\"\\/", `\u2028`, "caf\xe9", "\u20ac", "\t\b\f\x01\x7f"}},
		SourceHeader: http.Header{"X": {"\u2028\u2029", "caf\xe9", "ü\U0001F600"}},
	}
	const want = `{"status":0,"header":{"X":["<&>'\"\\/","\\u2028","caf` + "\u00e9" + `","` + "\u00e2\u0082\u00ac" +
		`","\t\b\f\u0001` + "\x7f" + `"]},"maxRetries":0,"sourceMessageId":"","url":"https://app.example/wf?a=1&b=<2>","method":"",` +
		`"sourceHeader":{"X":["` + "\u2028\u2029" + `","caf` + "\ufffd" + `","ü😀"]},"notBefore":0,"createdAt":0}`
	got, err := body.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCallbackBodyIsDecodedLeniently(t *testing.T) {
	const in = `{"status":"200","header":{"content-type":"text/plain","X-A":["1","2"],"x-a":"2"},"body":null,"retried":null,
		"maxRetries":3.0,"sourceHeader":{"Authorization":"t"},"sourceBody":"","notBefore":"1700000000000","createdAt":"1700000000001",
		"topicName":null,"extra":{"a":[1]}}`
	want := CallbackBody{
		Status: 200, Header: headers("Content-Type: text/plain", "X-A: 1", "X-A: 2"), MaxRetries: 3,
		SourceHeader: headers("Authorization: t"), NotBefore: 1700000000000, CreatedAt: 1700000000001,
	}
	var got CallbackBody
	if err := json.Unmarshal([]byte(in), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCallbackBodyErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{`null`, `expected a JSON object, got null`},
		{`[]`, `expected a JSON object, got an array`},
		{`{"status":"ok"}`, `status: expected a whole number, got a string`},
		{`{"status":1.5}`, `status: expected a whole number, got another number`},
		{`{"status":2147483648}`, `status: expected a whole number of 32 bits, got another number`},
		{`{"createdAt":1e300}`, `createdAt: expected a whole number, got another number`},
		{`{"body":"not base64"}`, `body: expected a string of base64, got another string`},
		{`{"sourceBody":[1]}`, `sourceBody: expected a string of base64, got an array`},
		{`{"header":[]}`, `header: expected an object of header names and values, got an array`},
		{`{"sourceHeader":{"A":1}}`, `sourceHeader: expected an object of header names and values, got another object`},
		{`{"body":"%","status":"x"}`, `status: expected a whole number`}, // fields in order
	}
	for _, tt := range tests {
		err := new(CallbackBody).UnmarshalJSON([]byte(tt.in))
		if e := new(Error); !errors.As(err, &e) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s\ngot  %v\nwant %s", tt.in, err, tt.want)
		}
	}
}

func FuzzCallbackBody(f *testing.F) {
	for file := range callbackBodies {
		golden, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(golden)
	}
	f.Add([]byte(`{"header":{"a":"b"},"notBefore":"1","retried":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var first, second CallbackBody
		if json.Unmarshal(data, &first) != nil {
			return
		}
		direct, err := first.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if want := encodeAtOnce(t, first); !bytes.Equal(want, direct) {
			t.Fatalf("want %s\ngot  %s", want, direct)
		}
		encoded, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(encoded, &second); err != nil {
			t.Fatalf("%s does not decode again: %v", encoded, err)
		}
		if encodedAgain, _ := json.Marshal(second); !bytes.Equal(encoded, encodedAgain) {
			t.Errorf("not the same again:\n%s\n%s", encoded, encodedAgain)
		}
	})
}
