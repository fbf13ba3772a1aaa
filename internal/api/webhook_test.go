package api_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
)

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// webhooks are what third parties send to a URL that they were given, whatever
// that is: they know nothing of QStash.
func webhooks(t *testing.T) map[string]struct {
	header []string
	body   string
} {
	type webhook = struct {
		header []string
		body   string
	}
	return map[string]webhook{
		"GitHub": {[]string{
			"Content-Type: application/json", "User-Agent: GitHub-Hookshot/044aadd", "Accept: */*", "X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958",
			"X-GitHub-Event: push", "X-GitHub-Hook-ID: 292430182", "X-Hub-Signature-256: sha256=d57c68ca6f92289e6987922ff26938930f6e66a2d161ef06abdf1859230aa23c",
		}, "{\"ref\":\"refs/heads/main\",\n  \"commits\": [ ], \"é\": \"\\u00e9<&>\"}\n"},
		"Stripe": {[]string{"Content-Type: application/json; charset=utf-8", "User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)", "Stripe-Signature: t=1492774577,v1=5257a869", "Cache-Control: no-cache"}, "{\n  \"id\": \"evt_1\"\n}"},
		"form":   {[]string{"Content-Type: application/x-www-form-urlencoded", "X-Twilio-Signature: 0/KCTR6DLpKmkAf8muzZqo1nDgQ="}, "Body=a+b%26c&From=%2B1&From=&qstash_token=theirs&upstash-retries=9"},
		"parts":  {[]string{"Content-Type: multipart/form-data; boundary=\"x y\""}, "--x y\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n\x00\xff\r\n--x y--\r\n"},
		"bytes":  {[]string{"Content-Type: application/octet-stream"}, "\x00\x01\xff\xfe\r\n\r\n\x80"},
		"gzip":   {[]string{"Content-Type: application/json", "Content-Encoding: gzip", "Accept-Encoding: gzip, br"}, gzipped(t, `{"a":"b"}`)},
		"nothing": {
			[]string{"Cookie: session=theirs; other=1", "X-Many: one", "X-Many: two", "x-lower-CASE: kept", "X-Empty:"}, ""},
	}
}

// A third party's webhook arrives as it was sent, byte for byte, with its
// headers; what is for us or for the connection does not.
func TestWebhooks(t *testing.T) {
	w := newWorld(t)
	tap := w.wiretap()
	token := url.QueryEscape(w.token)
	n := 0
	for name, hook := range webhooks(t) {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			host := strings.TrimPrefix(w.url, "http://")
			lines := append([]string{
				"POST /v2/publish/" + tap.url + "/hook//x?a=%20b&Upstash-Header-Forward=true&qstash_token=" + token +
					"&UPSTASH-RETRIES=2&upstash-forward-x-from=the%20query&upstash-forward-authorization=Bearer+theirs&c HTTP/1.1",
				"Host: " + host, "Connection: keep-alive, X-Hop", "X-Hop: one", "Keep-Alive: timeout=5", "TE: trailers", "Proxy-Authorization: Basic x",
				fmt.Sprint("Content-Length: ", len(hook.body)),
			}, hook.header...)
			status, _, answer := w.exchange(strings.Join(lines, "\r\n") + "\r\n\r\n" + hook.body)
			if status != 200 {
				t.Fatalf("%d %s", status, answer)
			}
			n++
			w.until("it has arrived", func() bool { return len(tap.requests()) == n })
			head, body, _ := strings.Cut(tap.requests()[n-1], "\r\n\r\n")
			got := strings.Split(head, "\r\n")
			if want := "POST /hook//x?a=%20b&c HTTP/1.1"; got[0] != want {
				t.Errorf("request line %q, want %q", got[0], want)
			}
			if body != hook.body {
				t.Errorf("body %q, want %q", body, hook.body)
			}
			want := []string{"Host: " + strings.TrimPrefix(tap.url, "http://"), "X-From: the query", "Authorization: Bearer theirs"}
			if hook.body != "" {
				want = append(want, fmt.Sprint("Content-Length: ", len(hook.body)))
			}
			for _, line := range hook.header {
				name, value, _ := strings.Cut(line, ":")
				want = append(want, http.CanonicalHeaderKey(name)+": "+strings.TrimSpace(value))
			}
			for _, line := range got[1:] {
				name, value, _ := strings.Cut(line, ": ")
				switch {
				case slices.Contains(want, line) || strings.HasPrefix(name, "Upstash-"):
				case line == "Content-Length: 0" || line == "User-Agent: Upstash-QStash" || line == "Accept-Encoding: identity":
				default:
					t.Errorf("delivered %s: %s", name, value)
				}
			}
			for _, line := range want {
				if !slices.Contains(got, line) {
					t.Errorf("not delivered: %s\n%s", line, head)
				}
			}
			if strings.Contains(head, w.token) || strings.Contains(head, token) || strings.Contains(head, "Retries") {
				t.Errorf("delivered %s", head)
			}
		})
	}
}

// Each setting may stand in the query, in any case; a header of the request wins
// over it, and none of them reaches the destination.
func TestSettingsInTheQuery(t *testing.T) {
	w := newWorld(t)
	const dest = "https://example.com/hook"
	query := strings.Join([]string{
		"x=1", "upstash-method=PUT", "Upstash-Delay=1h", "UPSTASH-RETRIES=7", "upstash-retry-delay=1000%20*%20(1%2Bretried)", "upstash-timeout=30s",
		"upstash-callback=https%3A%2F%2Fcb.example%2F%3Fa%3Db", "upstash-callback-retries=2", "upstash-failure-callback=https://f.example",
		"upstash-label=a,b", "upstash-flow-control-key=k", "upstash-flow-control-value=rate%3D5,+period%3D1m", "upstash-forward-x-a=b",
		"upstash-redact-fields=header%5BX-Secret%5D", "upstash-queue-name=q", "upstash-deduplication-id=once", "y",
	}, "&")
	id := w.publish(dest+"?"+query, "body", "Upstash-Label: own")
	m := get[client.Message](w, "/v2/messages/"+id)
	if m.URL != dest+"?x=1&y" || m.Method != "PUT" || m.NotBefore-m.CreatedAt != 3_600_000 || m.MaxRetries != 7 || m.RetryDelayExpression != "1000 * (1+retried)" ||
		m.Callback != "https://cb.example/?a=b" || m.CallbackHeader.Get("Upstash-Retries") != "2" || m.FailureCallback != "https://f.example" || m.Label != "own" || len(m.Labels) != 1 ||
		m.FlowControlKey != "k" || m.Rate != 5 || m.Period != 60 || m.Header.Get("X-A") != "b" || m.QueueName != "q" {
		t.Errorf("message %+v", m)
	}
	w.do("POST", "/v2/publish/"+dest+"?"+query, "other").into(202, new(client.PublishResponse))
	w.do("POST", "/v2/publish/"+dest+"?upstash-retries=many", "").refused(400, "Upstash-Retries", `"many"`)
	w.do("POST", "/v2/publish/"+dest+"?upstash-retries=many", "", "Upstash-Retries: 0", "Upstash-Delay: 1h").into(200, new(client.PublishResponse))
	w.do("POST", "/v2/enqueue/q2/"+dest+"?upstash-label=l&upstash-delay=1h", "").into(200, new(client.PublishResponse))
}

// Every setting that a callback may have, with either prefix, is that of the
// message that it becomes.
func TestCallbackSettings(t *testing.T) {
	w := newWorld(t)
	dest := w.endpoint(answers("no", nil, 500))
	for _, prefix := range []string{"Upstash-Callback", "Upstash-Failure-Callback"} {
		t.Run(prefix, func(t *testing.T) {
			w := w.in(t)
			back := dest.URL + "/" + prefix
			w.publish(dest.URL, "body", "Upstash-Retries: 0", "Upstash-Label: parent", "Upstash-Queue-Name: "+prefix,
				"Upstash-Flow-Control-Key: parent", "Upstash-Flow-Control-Value: rate=100", prefix+": "+back,
				prefix+"-Method: put", prefix+"-Delay: 60", prefix+"-Timeout: 30", prefix+"-Retries: 7", prefix+"-Retry-Delay: 5000",
				prefix+"-Forward-X-A: b", prefix+"-Forward-Content-Type: text/odd", prefix+"-Flow-Control-Key: k "+prefix, prefix+"-Flow-Control-Value: parallelism=2,rate=3,period=4",
				prefix+"-Label: own,two", prefix+"-Redact-Fields: header[X-A]")
			var events []client.Event
			w.until("there is a callback", func() bool {
				events = w.events("?state=CREATED&url=" + back)
				return len(events) == 1
			})
			m := get[client.Message](w, "/v2/messages/"+events[0].MessageID)
			if m.Method != "PUT" || m.NotBefore-m.CreatedAt != 60_000 || m.MaxRetries != 7 || m.RetryDelayExpression != "5000" ||
				m.Header.Get("Content-Type") != "text/odd" || !placeholder.MatchString(m.Header.Get("X-A")) || !placeholder.MatchString(m.Body) ||
				m.FlowControlKey != "k "+prefix || m.Parallelism != 2 || m.Rate != 3 || m.Period != 4 || m.Label != "own" || len(m.Labels) != 2 ||
				m.QueueName != "" || events[0].Timeout != 30_000 {
				t.Errorf("callback %+v, timeout %d", m, events[0].Timeout)
			}
			w.do("GET", "/v2/flowControl/k%20"+prefix, "").into(200, new(client.FlowControlKey))
		})
	}
}
