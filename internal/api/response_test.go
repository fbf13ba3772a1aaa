package api_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

// Of a response what is kept is its beginning, wherever it is shown; those who
// are called back have it whole.
func TestT12StoredResponse(t *testing.T) {
	const stored = 16 << 10
	w := newWorld(t)
	large := bytes.Repeat([]byte("internal data "), 100_000)
	status := http.StatusOK
	e := w.endpoint(func(rw http.ResponseWriter, _ *delivery) {
		rw.WriteHeader(status)
		rw.Write(large)
	})
	told := w.endpoint(nil)
	check := func(what string, text string, most int) {
		t.Helper()
		if got, err := base64.StdEncoding.DecodeString(text); err != nil || !bytes.Equal(got, large[:most]) {
			t.Errorf("%s has %d bytes, want the first %d", what, len(got), most)
		}
	}
	carried := func(n int) {
		t.Helper()
		var body wire.CallbackBody
		if err := body.UnmarshalJSON(told.await(n)[n-1].body); err != nil || !bytes.Equal(body.Body, large) {
			t.Errorf("a callback carries %d bytes, want %d; %v", len(body.Body), len(large), err)
		}
	}
	id := w.publish(e.URL, "")
	check("the log", w.await(id, client.EventDelivered)[2].ResponseBody, stored)
	id = w.publish(e.URL, "", "Upstash-Callback: "+told.URL)
	check("the log", w.await(id, client.EventDelivered)[2].ResponseBody, stored)
	carried(1)

	status = http.StatusBadGateway
	id = w.publish(e.URL, "", "Upstash-Failure-Callback: "+told.URL, "Upstash-Retries: 0")
	check("the log", w.await(id, client.EventFailed)[2].ResponseBody, stored)
	carried(2)
	if d := w.dlq("?messageId=" + id); len(d) != 1 || d[0].ResponseBody != string(large[:stored]) {
		t.Errorf("the DLQ has %d bytes", len(d[0].ResponseBody))
	}
}

// An error is read by people, in a terminal or a log: its JSON has no escapes that
// it could do without.
func TestErrorsAreReadable(t *testing.T) {
	w := newWorld(t)
	a := w.do("POST", "/v2/schedules/https://a.example", "", "Upstash-Cron: &<b>")
	if a.status != http.StatusBadRequest || !bytes.Contains(a.body, []byte(`CRON_TZ=<zone>`)) || !bytes.HasSuffix(a.body, []byte(`got \"&<b>\""}`)) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
}
