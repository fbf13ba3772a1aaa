package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
)

// hops are the values of Upstash-Hop that an endpoint got, in order.
func hops(got []*delivery) (out []int) {
	for _, d := range got {
		n, err := strconv.Atoi(d.header.Get("Upstash-Hop"))
		if err != nil {
			n = -1
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

func upTo(n int) (out []int) {
	for i := range n + 1 {
		out = append(out, i)
	}
	return out
}

// An endpoint publishes to itself whenever it is called back, and hands on the
// hop: message, callback, message and so on, until the last callback is not
// made. The log says why.
func TestT13CallbackLoop(t *testing.T) {
	w := newWorld(t)
	var e *endpoint
	e = w.endpoint(func(_ http.ResponseWriter, d *delivery) {
		if d.claims.Kind == receiver.KindCallback {
			w.publish(e.URL, "again", "Upstash-Callback: "+e.URL, "Upstash-Hop: "+d.header.Get("Upstash-Hop"))
		}
	})
	w.publish(e.URL, "first", "Upstash-Callback: "+e.URL)
	var cut client.Event
	w.until("the loop is cut", func() bool {
		for _, ev := range w.events("?state=DELIVERED") {
			if ev.Error != "" {
				cut = ev
			}
		}
		return cut.Error != ""
	})
	if want := "callback to " + e.URL + " not made: it would be message 17 of a chain, each published in answer to the one before or as its callback; more than 16 are taken for a loop"; cut.Error != want {
		t.Errorf("the last event says %q, want %q", cut.Error, want)
	}
	w.fence()
	equal(t, "hops", hops(e.deliveries()), upTo(16)) // 17 deliveries: 9 messages and 8 callbacks
	for _, d := range e.deliveries() {
		if d.claims.HeaderHash == "" {
			t.Error("the hop is not covered by the signature")
		}
	}
}

// A callback whose destination is the server's own API needs nobody's help to
// go round: the API reads the hop of the delivery, in every way to publish.
func TestT13OwnAPI(t *testing.T) {
	w := newWorld(t)
	auth := "Authorization: Bearer " + w.token
	for _, test := range []struct {
		path string
		body func(to string) string
	}{
		{"/v2/publish/{to}", nil},
		{"/v2/publish/{to}?upstash-hop=0", nil},
		{"/v2/trigger/{to}", nil},
		{"/v2/batch", func(to string) string {
			return fmt.Sprintf(`[{"destination":%q,"headers":{"upstash-hop":"0"}},{"destination":%q}]`, to, to)
		}},
		{"/v2/batch/trigger", func(to string) string { return fmt.Sprintf(`[{"destination":%q}]`, to) }},
	} {
		t.Run(test.path, func(t *testing.T) {
			w := w.in(t)
			e := w.endpoint(answers("", []string{"Upstash-Workflow-Sdk-Version: 1", "Upstash-Workflow-Sdk: v1.3.2"}, 200))
			path, body := strings.ReplaceAll(test.path, "{to}", e.URL), ""
			if test.body != nil {
				body = test.body(e.URL)
			}
			id := w.publish(w.url+path, body, "Upstash-Forward-"+auth, "Upstash-Hop: 3", "Upstash-Forward-Upstash-Hop: 0")
			w.await(id, client.EventDelivered)
			for _, hop := range hops(e.await(1)) {
				if hop != 5 {
					t.Errorf("hop %d of what a message of hop 4 published, want 5", hop)
				}
			}
			id = w.publish(w.url+path, body, "Upstash-Forward-"+auth, "Upstash-Hop: 15", "Upstash-Retries: 0")
			failed := w.await(id, client.EventFailed)
			last := failed[len(failed)-1]
			said, err := last.ResponseBytes()
			if err != nil || last.ResponseStatus != 400 || !strings.Contains(string(said), "message 17 of a chain") {
				t.Errorf("%d %s", last.ResponseStatus, said)
			}
			if d := w.dlq("?messageId=" + id); len(d) != 1 || !strings.Contains(d[0].ResponseBody, "Upstash-Hop: message 17 of a chain") {
				t.Errorf("the DLQ has %+v", d)
			}
		})
	}
}

// nested are the settings of a message to the server's own publish API whose
// delivery publishes the next, and so on: a cycle as far as headers go.
func nested(levels int, auth string) []string {
	lines := []string{"Upstash-Retries: 0"}
	prefix := "Upstash-Forward-"
	for range levels {
		lines = append(lines, prefix+auth, prefix+"Upstash-Retries: 0")
		prefix += "Upstash-Forward-"
	}
	return lines
}

// Messages to the publish API that publish to the publish API end in the DLQ.
func TestT13PublishChain(t *testing.T) {
	w := newWorld(t)
	target := ""
	for range 25 {
		target += w.url + "/v2/publish/"
	}
	w.publish(target+"http://127.0.0.1:1/", "", nested(25, "Authorization: Bearer "+w.token)...)
	var dead []client.DLQMessage
	w.until("the chain is cut", func() bool {
		dead = w.dlq("")
		return len(dead) == 1
	})
	if !strings.Contains(dead[0].ResponseBody, "more than 16 are taken for a loop") {
		t.Errorf("the DLQ says %q", dead[0].ResponseBody)
	}
	if n := len(w.events("?state=CREATED")); n != 17 {
		t.Errorf("%d messages were made, want 17", n)
	}
}

// Retrying from the DLQ does not set a message back to the start of its chain,
// and counts itself if a delivery does it.
func TestT13Retry(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(answers("no", nil, 500))
	w.await(w.publish(e.URL, "", "Upstash-Retries: 0", "Upstash-Hop: 4"), client.EventFailed)
	for _, test := range []struct {
		header string
		want   int
	}{{"Upstash-Hop: 1", 5}, {"Upstash-Hop: 10", 11}, {"Upstash-Method: POST", 11}} {
		var p client.PublishResponse
		w.do("POST", "/v2/dlq/retry/"+w.dlq("")[0].DLQID, "", test.header).into(201, &p)
		w.await(p.MessageID, client.EventFailed)
		got := e.deliveries()
		if hop := got[len(got)-1].header.Get("Upstash-Hop"); hop != strconv.Itoa(test.want) {
			t.Errorf("retried with %s: hop %s, want %d", test.header, hop, test.want)
		}
	}
	w.do("POST", "/v2/dlq/retry/"+w.dlq("")[0].DLQID, "", "Upstash-Hop: 16").refused(400, "Upstash-Hop", "message 17 of a chain")
	if n := len(w.dlq("")); n != 1 {
		t.Errorf("%d entries in the DLQ", n)
	}
}

// A run's own messages are one hop, however many; what it publishes, or calls,
// is told.
func TestT13RunIsOneHop(t *testing.T) {
	w := newWorld(t)
	f := w.flow()
	first := f.next(f.trigger("wfr_1", "", "Upstash-Hop: 6"))
	steps := []*call{first}
	for i := range 3 {
		id := f.append("wfr_1", step{run(i+1, "s", "1").body, []string{"Upstash-Hop: 16"}})[0] // whatever it hands on
		steps[i].ok()
		steps = append(steps, f.next(id))
	}
	third := w.endpoint(nil)
	f.call("wfr_1", 4, "ask", third.URL)
	from := f.any("the outcome")
	steps[3].answer(489, "", "Upstash-NonRetryable-Error: true")
	from.ok()
	failure := f.any("the failure callback")
	got := third.await(1)
	for _, c := range append(steps, from, failure) {
		got = append(got, c.delivery)
	}
	for i, hop := range hops(got) {
		if hop != 7 {
			t.Errorf("delivery %d has hop %d, want 7", i, hop)
		}
	}
	text, _ := json.Marshal([]item{{f.URL, map[string]string{"upstash-hop": "17"}, ""}})
	w.do("POST", "/v2/batch", string(text)).refused(400, "Upstash-Hop", "loop")
}
