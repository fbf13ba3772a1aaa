package signposttest_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/signposttest"
)

// A published message arrives as it was given, signed for where it went.
func TestPublishIsDeliveredSigned(t *testing.T) {
	srv := signposttest.NewServer(t)
	type delivery struct {
		r    *http.Request
		body string
	}
	got := make(chan delivery, 1)
	endpoint := httptest.NewServer(srv.Receiver(t).Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- delivery{r, string(body)}
	})))
	defer endpoint.Close()

	url := endpoint.URL + "/a//b?c=d&e"
	p, err := srv.Client().Publish(context.Background(), client.PublishRequest{
		URL: url, Body: []byte("hello"), Header: http.Header{"X-Trace": {"1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	events := srv.WaitMessage(t, p.MessageID, client.EventDelivered)
	d := <-got
	if d.body != "hello" || d.r.RequestURI != "/a//b?c=d&e" || d.r.Header.Get("X-Trace") != "1" {
		t.Errorf("delivered %q to %s with %v", d.body, d.r.RequestURI, d.r.Header)
	}
	if id := d.r.Header.Get("Upstash-Message-Id"); id != p.MessageID {
		t.Errorf("delivered as %q, published as %q", id, p.MessageID)
	}
	var states []client.EventState
	for _, ev := range events {
		states = append(states, ev.State)
	}
	if len(states) != 3 || states[0] != client.EventDelivered || states[1] != client.EventActive || states[2] != client.EventCreated {
		t.Errorf("events %v", states)
	}
	m, err := srv.Client().Message(context.Background(), p.MessageID)
	if err != nil || m.URL != url || m.Body != "hello" {
		t.Errorf("message %+v, %v", m, err)
	}
}

// Restart keeps what was accepted and delivers it.
func TestRestartKeepsMessages(t *testing.T) {
	srv := signposttest.NewServer(t)
	got := make(chan struct{}, 1)
	endpoint := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got <- struct{}{} }))
	defer endpoint.Close()
	p, err := srv.Client().Publish(context.Background(), client.PublishRequest{URL: endpoint.URL, Delay: 1e9})
	if err != nil {
		t.Fatal(err)
	}
	srv.Restart(t)
	srv.WaitMessage(t, p.MessageID, client.EventDelivered)
	<-got
}
