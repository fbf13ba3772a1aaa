package client

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// transport are the headers net/http adds by itself.
var transport = []string{"Accept-Encoding", "Authorization", "Content-Length", "User-Agent"}

func withoutTransport(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range transport {
		h.Del(name)
	}
	return h
}

func TestPublish(t *testing.T) {
	const destination = "https://example.com/a"
	tests := []struct {
		name string
		r    PublishRequest
		want http.Header
		body string
	}{
		{"nothing but a url", PublishRequest{}, http.Header{}, ""},
		{"bytes", PublishRequest{Body: []byte("\x00\xff")}, http.Header{}, "\x00\xff"},
		{"method", PublishRequest{Method: "PUT"}, http.Header{"Upstash-Method": {"PUT"}}, ""},
		{"headers", PublishRequest{Header: http.Header{
			"content-type":      {"text/plain"},
			"X-Many":            {"a", "b, c"},
			"Authorization":     {"Bearer theirs"},
			"Upstash-Signature": {"forged"},
			"X-Empty":           {""},
		}}, http.Header{
			"Content-Type":                      {"text/plain"},
			"Upstash-Forward-X-Many":            {"a", "b, c"},
			"Upstash-Forward-Authorization":     {"Bearer theirs"},
			"Upstash-Forward-Upstash-Signature": {"forged"},
			"Upstash-Forward-X-Empty":           {""},
		}, ""},
		{"delay", PublishRequest{Delay: 90 * time.Minute}, http.Header{"Upstash-Delay": {"5400s"}}, ""},
		{"short delay", PublishRequest{Delay: 1500 * time.Microsecond}, http.Header{"Upstash-Delay": {"0.0015s"}}, ""},
		{"not before", PublishRequest{NotBefore: time.Unix(1700000000, 0)}, http.Header{"Upstash-Not-Before": {"1700000000"}}, ""},
		{"not before, never early", PublishRequest{NotBefore: time.Unix(1700000000, 1)}, http.Header{"Upstash-Not-Before": {"1700000001"}}, ""},
		{"retries", PublishRequest{Retries: new(7), RetryDelay: "pow(2, retried) * 1000"}, http.Header{
			"Upstash-Retries": {"7"}, "Upstash-Retry-Delay": {"pow(2, retried) * 1000"},
		}, ""},
		{"no retries", PublishRequest{Retries: new(0)}, http.Header{"Upstash-Retries": {"0"}}, ""},
		{"timeout", PublishRequest{Timeout: 2500 * time.Millisecond}, http.Header{"Upstash-Timeout": {"2.5s"}}, ""},
		{"labels", PublishRequest{Labels: []string{"a", "b"}}, http.Header{"Upstash-Label": {"a,b"}}, ""},
		{"deduplication", PublishRequest{DeduplicationID: "d", ContentBasedDeduplication: true}, http.Header{
			"Upstash-Deduplication-Id": {"d"}, "Upstash-Content-Based-Deduplication": {"true"},
		}, ""},
		{"redaction and hop", PublishRequest{Redact: []string{"body", "header[X]"}, Hop: "3"}, http.Header{
			"Upstash-Redact-Fields": {"body,header[X]"}, "Upstash-Hop": {"3"},
		}, ""},
		{"flow control", PublishRequest{FlowControl: &FlowControl{Key: "a customer/é", Parallelism: 3, Rate: 10, Period: 2 * time.Minute}}, http.Header{
			"Upstash-Flow-Control-Key": {"a customer/é"}, "Upstash-Flow-Control-Value": {"parallelism=3, rate=10, period=120s"},
		}, ""},
		{"flow control of a rate", PublishRequest{FlowControl: &FlowControl{Key: "k", Rate: 10}}, http.Header{
			"Upstash-Flow-Control-Key": {"k"}, "Upstash-Flow-Control-Value": {"rate=10"},
		}, ""},
		{"flow control of callbacks", PublishRequest{
			Callback:        &Callback{URL: destination, FlowControl: &FlowControl{Key: "c", Parallelism: 1}},
			FailureCallback: &Callback{URL: destination, FlowControl: &FlowControl{Key: "f", Rate: 2, Period: time.Hour}},
		}, http.Header{
			"Upstash-Callback":                            {destination},
			"Upstash-Callback-Flow-Control-Key":           {"c"},
			"Upstash-Callback-Flow-Control-Value":         {"parallelism=1"},
			"Upstash-Failure-Callback":                    {destination},
			"Upstash-Failure-Callback-Flow-Control-Key":   {"f"},
			"Upstash-Failure-Callback-Flow-Control-Value": {"rate=2, period=3600s"},
		}, ""},
		{"callbacks", PublishRequest{
			Callback: &Callback{
				URL: "https://example.com/done?a=b#frag", Method: "PATCH", Header: http.Header{"Content-Type": {"text/plain"}, "X-A": {"1"}},
				Delay: time.Second, Retries: new(1), RetryDelay: "1000", Timeout: 3 * time.Second,
			},
			FailureCallback: &Callback{URL: "http://example.com/failed"},
		}, http.Header{
			"Upstash-Callback":                      {"https://example.com/done?a=b"},
			"Upstash-Callback-Method":               {"PATCH"},
			"Upstash-Callback-Forward-Content-Type": {"text/plain"},
			"Upstash-Callback-Forward-X-A":          {"1"},
			"Upstash-Callback-Delay":                {"1s"},
			"Upstash-Callback-Retries":              {"1"},
			"Upstash-Callback-Retry-Delay":          {"1000"},
			"Upstash-Callback-Timeout":              {"3s"},
			"Upstash-Failure-Callback":              {"http://example.com/failed"},
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, got := newTestClient(t, 200, `{"messageId":"msg_1","url":"https://example.com/a","deduplicated":true}`)
			tt.r.URL = destination
			a, err := c.Publish(context.Background(), tt.r)
			if want := (PublishResponse{MessageID: "msg_1", URL: destination, Deduplicated: true}); err != nil || !cmp.Equal(a, want) {
				t.Fatalf("answered %+v, error %v", a, err)
			}
			r := <-got
			if r.Method != "POST" || r.URI != "/v2/publish/https://example.com/a" || r.Body != tt.body {
				t.Errorf("sent %s %s %q", r.Method, r.URI, r.Body)
			}
			if r.Header.Get("Authorization") != "Bearer tok" {
				t.Errorf("Authorization is %q", r.Header["Authorization"])
			}
			if d := cmp.Diff(tt.want, withoutTransport(r.Header)); d != "" {
				t.Errorf("headers differ (-want +got):\n%s", d)
			}
		})
	}
}

// TestPublishTo publishes to what is not just a URL.
func TestPublishTo(t *testing.T) {
	const one, two = `{"messageId":"msg_1"}`, `[{"messageId":"msg_1","url":"https://a.example"},{"messageId":"msg_0","url":"https://b.example","deduplicated":true}]`
	both := PublishResponse{Endpoints: []PublishResponse{
		{MessageID: "msg_1", URL: "https://a.example"}, {MessageID: "msg_0", URL: "https://b.example", Deduplicated: true},
	}}
	callback := &Callback{URL: "https://example.com/answer"}
	tests := []struct {
		name, answer string
		r            PublishRequest
		want         string
		answered     PublishResponse
	}{
		{"group", two, PublishRequest{URLGroup: "my-group_1.x"}, "/v2/publish/my-group_1.x", both},
		{"group without endpoints", "[]", PublishRequest{URLGroup: "g"}, "/v2/publish/g", PublishResponse{Endpoints: []PublishResponse{}}},
		{"model", one, PublishRequest{LLM: true, Callback: callback}, "/v2/publish/api/llm", PublishResponse{MessageID: "msg_1"}},
		{"queue", one, PublishRequest{URL: "https://example.com/a//b?c=%2F", Queue: "q"}, "/v2/enqueue/q/https://example.com/a//b?c=%2F", PublishResponse{MessageID: "msg_1"}},
		{"group through a queue", two, PublishRequest{URLGroup: "g", Queue: "q"}, "/v2/enqueue/q/g", both},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, got := newTestClient(t, 200, tt.answer)
			a, err := c.Publish(context.Background(), tt.r)
			if err != nil || !cmp.Equal(a, tt.answered) {
				t.Errorf("answered %+v, error %v", a, err)
			}
			if r := <-got; r.Method != "POST" || r.URI != tt.want || r.Header.Get("Upstash-Queue-Name") != "" {
				t.Errorf("sent %s %s %v, want %s", r.Method, r.URI, r.Header, tt.want)
			}
		})
	}
}

func TestPublishRefused(t *testing.T) {
	const ok = "https://example.com"
	tests := []struct {
		name string
		r    PublishRequest
		want string
	}{
		{"relative", PublishRequest{URL: "/a"}, `destination: want an absolute url, http:// or https://`},
		{"no host", PublishRequest{URL: "https:///a"}, `destination: want an absolute url, http:// or https://`},
		{"space", PublishRequest{URL: "https://example.com/a b"}, `destination: percent-encode its spaces and what is not ASCII`},
		{"not ASCII", PublishRequest{URL: "https://example.com/é"}, `destination: percent-encode its spaces and what is not ASCII`},
		{"line break", PublishRequest{URL: "https://example.com/a\r\nHost: evil"}, "net/url: invalid control character in URL"},
		{"bad escape", PublishRequest{URL: "https://example.com/%zz"}, `invalid URL escape "%zz"`},
		{"negative delay", PublishRequest{URL: ok, Delay: -1}, "delay, timeout and retries cannot be negative"},
		{"negative timeout", PublishRequest{URL: ok, Timeout: -1}, "delay, timeout and retries cannot be negative"},
		{"negative retries", PublishRequest{URL: ok, Retries: new(-1)}, "delay, timeout and retries cannot be negative"},
		{"label with comma", PublishRequest{URL: ok, Labels: []string{"a,b"}}, `label "a,b": want letters, digits, "_", "." and "-"`},
		{"empty label", PublishRequest{URL: ok, Labels: []string{""}}, `label "": want letters, digits, "_", "." and "-"`},
		{"url and group", PublishRequest{URL: ok, URLGroup: "g"}, "destination: want only one of URL, URLGroup and LLM"},
		{"group and model", PublishRequest{URLGroup: "g", LLM: true}, "destination: want only one of URL, URLGroup and LLM"},
		{"group with slash", PublishRequest{URLGroup: "a/b"}, `url group: expected 1 to 256 of A-Z a-z 0-9 _ . -, got "a/b"`},
		{"queue with slash", PublishRequest{URL: ok, Queue: "a/b"}, `queue: expected 1 to 256 of A-Z a-z 0-9 _ . -, got "a/b"`},
		{"flow control without key", PublishRequest{URL: ok, FlowControl: &FlowControl{Rate: 1}}, "flow control: want a key, without white space at its ends"},
		{"flow control key that would be trimmed", PublishRequest{URL: ok, FlowControl: &FlowControl{Key: "k ", Rate: 1}}, "flow control: want a key, without white space at its ends"},
		{"flow control without bound", PublishRequest{URL: ok, FlowControl: &FlowControl{Key: "k"}}, "flow control: want a parallelism or a rate, from 1"},
		{"negative rate", PublishRequest{URL: ok, FlowControl: &FlowControl{Key: "k", Parallelism: 1, Rate: -1}}, "flow control: want a parallelism or a rate, from 1"},
		{"part of a second", PublishRequest{URL: ok, FlowControl: &FlowControl{Key: "k", Rate: 1, Period: time.Millisecond}}, "flow control: want a period of whole seconds"},
		{"callback with bad flow control", PublishRequest{URL: ok, Callback: &Callback{URL: ok, FlowControl: &FlowControl{Rate: 1}}}, "Upstash-Callback: flow control: want a key, without white space at its ends"},
		{"callback without url", PublishRequest{URL: ok, Callback: &Callback{}}, `Upstash-Callback: destination: want an absolute url, http:// or https://`},
		{"failure callback with negative delay", PublishRequest{URL: ok, FailureCallback: &Callback{URL: ok, Delay: -1}}, "Upstash-Failure-Callback: delay, timeout and retries cannot be negative"},
		{"line break in a header", PublishRequest{URL: ok, Header: http.Header{"A": {"b\nC: d"}}}, "header Upstash-Forward-A: value has a control character"},
		{"header name", PublishRequest{URL: ok, Header: http.Header{"A B": {"c"}}}, `header name "Upstash-Forward-A B" is not valid`},
		{"line break in a setting", PublishRequest{URL: ok, DeduplicationID: "a\nb"}, "header Upstash-Deduplication-Id: value has a control character"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, got := newTestClient(t, 200, `{}`)
			if _, err := c.Publish(context.Background(), tt.r); err == nil || !strings.HasSuffix(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "publish: ") {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if len(got) != 0 {
				t.Errorf("the server got %v", <-got)
			}
		})
	}
}

func TestPublishJSON(t *testing.T) {
	c, got := newTestClient(t, 200, `{"messageId":"msg_1"}`)
	given := http.Header{"X-A": {"1"}}
	for _, tt := range []struct {
		header      http.Header
		contentType string
	}{
		{nil, "application/json"},
		{given, "application/json"},
		{http.Header{"Content-Type": {"application/ld+json"}}, "application/ld+json"},
	} {
		if _, err := c.PublishJSON(context.Background(), PublishRequest{URL: "https://example.com", Header: tt.header}, map[string]int{"a": 1}); err != nil {
			t.Fatal(err)
		}
		if r := <-got; r.Body != `{"a":1}` || r.Header.Get("Content-Type") != tt.contentType {
			t.Errorf("sent %q as %q", r.Body, r.Header["Content-Type"])
		}
	}
	if len(given) != 1 {
		t.Errorf("the caller's header became %v", given)
	}
}

var destinations = []string{
	"https://example.com",
	"http://example.com/",
	"https://example.com?",
	"https://example.com/a//b///",
	"https://example.com/a/../b/./c",
	"https://example.com/?a=1&b=2&a=3",
	"https://example.com/?url=https://other.example/x?y",
	"https://example.com/a%2Fb%20c%c3%A9?q=%2F+%20",
	"https://example.com/;a=b/(c)'*!$,:@~-._",
	`https://example.com/"<>\^|{}` + "`",
	"https://example.com/[x]?[y]={z}|",
	"HTTPS://Example.COM:443/A",
	"http://user:pa%40ss@[::1]:8080/x",
	"http://127.0.0.1:3000/api/wf?qstash_token=t&upstash-delay=3s&sleep=30",
}

// TestDestinationBytes sends destinations to servers with a path prefix or
// not, over HTTP/1.1 and 2: each must show in the request line as it is.
func TestDestinationBytes(t *testing.T) {
	got := make(chan request, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- request{Method: r.Proto, URI: r.RequestURI}
		_, _ = io.WriteString(w, `{"messageId":"msg_1"}`)
	})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	h2 := httptest.NewUnstartedServer(handler)
	h2.EnableHTTP2 = true
	h2.StartTLS()
	defer h2.Close()
	for proto, srv := range map[string]*httptest.Server{"HTTP/1.1": plain, "HTTP/2.0": h2} {
		for _, prefix := range []string{"", "/q%2Fs"} {
			c := New(Options{URL: srv.URL + prefix, Token: "tok", HTTPClient: srv.Client()})
			for _, d := range destinations {
				if _, err := c.Publish(context.Background(), PublishRequest{URL: d}); err != nil {
					t.Errorf("%s: %v", d, err)
					continue
				}
				if r, want := <-got, prefix+"/v2/publish/"+d; r.URI != want || r.Method != proto {
					t.Errorf("%s: request line\n got %s\nwant %s", r.Method, r.URI, want)
				}
			}
		}
	}
}

// TestDestinationThroughProxy checks that an ordinary destination also
// survives a plain-HTTP proxy, whose request line holds the whole URL.
func TestDestinationThroughProxy(t *testing.T) {
	got := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.RequestURI
		_, _ = io.WriteString(w, `{}`)
	}))
	defer proxy.Close()
	tr := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }}
	defer tr.CloseIdleConnections()
	c := New(Options{URL: "http://qstash.test", Token: "tok", HTTPClient: &http.Client{Transport: tr}})
	if _, err := c.Publish(context.Background(), PublishRequest{URL: "https://example.com/a//b?c=%2F"}); err != nil {
		t.Fatal(err)
	}
	if uri, want := <-got, "http://qstash.test/v2/publish/https://example.com/a//b?c=%2F"; uri != want {
		t.Errorf("request line\n got %s\nwant %s", uri, want)
	}
}

func FuzzDestination(f *testing.F) {
	for _, d := range destinations {
		f.Add(d)
	}
	f.Add("https://example.com/a b#c")
	c := New(Options{URL: "https://qstash.test/prefix", Token: "tok"})
	f.Fuzz(func(t *testing.T, raw string) {
		d, err := checkDestination(raw)
		if err != nil {
			return
		}
		if !strings.HasPrefix(raw, d) {
			t.Errorf("%q became %q", raw, d)
		}
		if got, want := c.url("/v2/publish/"+d, nil).RequestURI(), "/prefix/v2/publish/"+d; got != want {
			t.Errorf("request line\n got %q\nwant %q", got, want)
		}
	})
}
