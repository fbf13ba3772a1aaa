package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var logEntries = []LogEntry{
	{"msg_A", CallStep, []byte(`{"u":1}`)},
	{"msg_B", CallStep, nil},
	{"msg_C", CallTo, []byte{0xff, 0xef, 0}},
	{"msg \"D\"\x01", CallFrom, []byte(`{}`)},
}

func TestLog(t *testing.T) {
	golden, err := os.ReadFile("testdata/log.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), string(EncodeLog(nil, logEntries))); diff != "" {
		t.Errorf("encoded: -want +got:\n%s", diff)
	}
	got, err := ParseLog(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(logEntries, got); diff != "" {
		t.Errorf("decoded: -want +got:\n%s", diff)
	}
}

func TestEncodeLog(t *testing.T) {
	tests := []struct {
		dst     string
		entries []LogEntry
		want    string
	}{
		{"", nil, `[]`},
		{"x", nil, `x[]`},
		{"", []LogEntry{{MessageID: "m"}}, `[{"messageId":"m","body":"","callType":"step"}]`},
		{"", []LogEntry{{MessageID: "é</", Body: []byte("a")}}, `[{"messageId":"é\u003c/","body":"YQ==","callType":"step"}]`},
	}
	for _, tt := range tests {
		if got := string(EncodeLog([]byte(tt.dst), tt.entries)); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestEncodeLogAllocatesOnce(t *testing.T) {
	plain := logEntries[:3]
	if n := testing.AllocsPerRun(100, func() { EncodeLog(nil, plain) }); n != 1 {
		t.Errorf("%v allocations for a new slice, want 1", n)
	}
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { EncodeLog(dst, plain) }); n != 0 {
		t.Errorf("%v allocations with room enough, want 0", n)
	}
}

func TestParseLogIsLenient(t *testing.T) {
	got, err := ParseLog([]byte(` [ {"messageId":"m","body":null,"extra":1}, {"callType":"toCallback"} ] `))
	if err != nil {
		t.Fatal(err)
	}
	want := []LogEntry{{MessageID: "m", CallType: CallStep}, {CallType: CallTo}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseLogErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{``, "expected a JSON array of log entries"},
		{`null`, "expected a JSON array of log entries"},
		{`{}`, "expected a JSON array of log entries"},
		{`[{}] x`, "expected a JSON array of log entries"},
		{`[{},3]`, `[1]: expected a JSON object, got a number`},
		{`[null]`, `[0]: expected a JSON object, got null`},
		{`[{"body":"%"}]`, "[0].body: expected a string of base64"},
		{`[{"body":"YQ"}]`, "[0].body: expected a string of base64"},
		{`[{"body":{}}]`, "[0].body: expected a string of base64"},
	}
	for _, tt := range tests {
		_, err := ParseLog([]byte(tt.in))
		if e := new(Error); !errors.As(err, &e) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("ParseLog(%s)\ngot         %v\nwant prefix %s", tt.in, err, tt.want)
		}
	}
}

func FuzzLog(f *testing.F) {
	f.Add("msg_A", "step", []byte(`{"u":1}`), []byte(`[{"messageId":"m","body":"YQ==","callType":"step"}]`))
	f.Add("\"\\\x00\xff", "toCallback", []byte{0xff}, []byte(`[]`))
	f.Fuzz(func(t *testing.T, id, callType string, body, log []byte) {
		encoded := EncodeLog(nil, []LogEntry{{id, CallType(callType), body}, {MessageID: "last"}})
		if !json.Valid(encoded) {
			t.Fatalf("not JSON: %s", encoded)
		}
		entries, err := ParseLog(encoded)
		if err != nil || len(entries) != 2 || !bytes.Equal(entries[0].Body, body) || entries[1].MessageID != "last" {
			t.Errorf("%s decoded as %v, %v", encoded, entries, err)
		}
		if entries, err = ParseLog(log); err != nil {
			return
		}
		again, err := ParseLog(EncodeLog(nil, entries))
		if diff := cmp.Diff(entries, again); err != nil || diff != "" {
			t.Errorf("not the same again: %v\n%s", err, diff)
		}
	})
}

func BenchmarkEncodeLog(b *testing.B) {
	step := []byte(`{"stepId":1,"stepName":"create user","stepType":"Run","out":"{\"id\":\"u_1\"}","concurrent":1}`)
	entries := make([]LogEntry, 10)
	for i := range entries {
		entries[i] = LogEntry{"msg_7YoJxFpwkEy5zBp378JgvD6YBDPBEqkBPje", CallStep, step}
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = EncodeLog(dst[:0], entries)
	}
	b.SetBytes(int64(len(dst)))
}
