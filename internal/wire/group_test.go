package wire

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func groupHeader(t testing.TB, text string) (http.Header, Config, error) {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return ParseGroupHeader(object)
}

func TestParseGroupHeader(t *testing.T) {
	h, cfg, err := groupHeader(t, `{
		"upstash-retries": "5", "Upstash-Header-Forward": ["true"], "Upstash-Forward-X-Many": ["1", "2"],
		"Upstash-Callback": "https://cb.example", "Upstash-Callback-Delay": "60", "Upstash-Failure-Callback-Forward-A": "b",
		"Upstash-Queue-Name": "q", "Upstash-Label": "a,b"
	}`)
	if err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"Upstash-Retries": {"5"}, "Upstash-Header-Forward": {"true"}, "Upstash-Forward-X-Many": {"1", "2"},
		"Upstash-Callback": {"https://cb.example"}, "Upstash-Callback-Delay": {"60"}, "Upstash-Failure-Callback-Forward-A": {"b"},
		"Upstash-Queue-Name": {"q"}, "Upstash-Label": {"a,b"},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if cfg.Retries == nil || *cfg.Retries != 5 || cfg.Queue != "q" || cfg.FailureCallback != nil {
		t.Errorf("settings %+v", cfg)
	}
	for _, none := range []string{`{}`, `null`, `{"Upstash-Retries": []}`} {
		if h, _, err := groupHeader(t, none); len(h) > 0 || err != nil {
			t.Errorf("%s: %v, %v", none, h, err)
		}
	}
}

func TestParseGroupHeaderRefuses(t *testing.T) {
	for text, field := range map[string]string{
		`{"Upstash-Retries": "many"}`:                                            "Upstash-Retries",
		`{"upstash-retries": 3}`:                                                 "upstash-retries",
		`{"Upstash-Retries": ["1", "2"]}`:                                        "Upstash-Retries",
		`{"Upstash-Retrys": "3"}`:                                                "Upstash-Retrys",
		`{"Content-Type": "text/plain"}`:                                         "Content-Type",
		`{"Authorization": "Bearer x"}`:                                          "Authorization",
		`{"Upstash-Deduplication-Id": "x"}`:                                      "Upstash-Deduplication-Id",
		`{"Upstash-Not-Before": "1"}`:                                            "Upstash-Not-Before",
		`{"Upstash-Cron": "* * * * *"}`:                                          "Upstash-Cron",
		`{"Upstash-Schedule-Id": "x"}`:                                           "Upstash-Schedule-Id",
		`{"Upstash-Hop": "0"}`:                                                   "Upstash-Hop",
		`{"Upstash-Workflow-Init": "true"}`:                                      "Upstash-Workflow-Init",
		`{"Upstash-Forward-": "x"}`:                                              "Upstash-Forward-",
		`{"Upstash-Forward-A": "b\u0000"}`:                                       "Upstash-Forward-A",
		`{"Upstash-Flow-Control-Key": "k"}`:                                      "Upstash-Flow-Control-Value",
		`{"Upstash-Callback": "/relative"}`:                                      "Upstash-Callback",
		`{"Upstash-Callback-Retries": "x"}`:                                      "Upstash-Callback-Retries",
		`{"Upstash-Callback-Retrys": "1"}`:                                       "Upstash-Callback-Retrys",
		`{"Upstash-Callback-Callback": "https://a.example"}`:                     "Upstash-Callback-Callback",
		`{"Upstash-Failure-Callback-Queue-Name": "q"}`:                           "Upstash-Failure-Callback-Queue-Name",
		`{"Upstash-Forward-A": "` + strings.Repeat("x", MaxHeaderBytes+1) + `"}`: "",
	} {
		_, _, err := groupHeader(t, text)
		e, ok := err.(*Error)
		if !ok || e.Field != field {
			t.Errorf("%.80s: got %v, want an error about %q", text, err, field)
		}
	}
}

func TestCheckEndpointName(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, "my endpoint, the 2nd": true, "ünd": true, strings.Repeat("x", MaxEndpointNameBytes): true,
		"": false, strings.Repeat("x", MaxEndpointNameBytes+1): false, "a\nb": false, "a\x00": false, "\xff": false,
	} {
		if err := CheckEndpointName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Whatever is taken for a group's settings can be put under those of a publish.
func FuzzParseGroupHeader(f *testing.F) {
	f.Add(`{"Upstash-Retries": "3"}`)
	f.Add(`{"Upstash-Callback-Forward-A": ["b"], "Upstash-Header-Forward": ["true"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &object) != nil {
			return
		}
		h, _, err := ParseGroupHeader(object)
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Fatalf("%q: %v is no *Error", text, err)
			}
			return
		}
		if _, err := ParseConfig(MergeSettings(http.Header{HeaderCallback: {"https://a.example"}}, h)); err != nil {
			if size := HeaderSize(h); size < MaxHeaderBytes-1024 {
				t.Fatalf("%q: %v", text, err)
			}
		}
	})
}
