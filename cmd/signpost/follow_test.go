package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/signposttest"
)

// Whatever happens while the log is followed is told once: with attempts that
// overlap several readings, and retries, and more events than a page has.
func TestFollowTellsEverythingOnce(t *testing.T) {
	srv := signposttest.NewServer(t)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-time.After(rand.N(60 * time.Millisecond)) // attempts of different lengths
		if r.Header.Get("Upstash-Retried") == "0" && r.URL.Path == "/again" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer endpoint.Close()
	c := srv.Client()
	defer c.CloseIdleConnections()

	publish := func(path string) string {
		m, err := c.Publish(t.Context(), client.PublishRequest{URL: endpoint.URL + path, RetryDelay: "30"})
		if err != nil {
			t.Error(err)
		}
		return m.MessageID
	}
	before := publish("/before")
	srv.WaitMessage(t, before, client.EventDelivered)

	f := &follower{client: c, every: 5 * time.Millisecond}
	told := map[eventKey]int{}
	var order []client.Event
	write := func(ev client.Event) (bool, error) {
		told[keyOf(&ev)]++
		order = append(order, ev)
		return true, nil
	}
	if err := f.begin(t.Context(), 2, write); err != nil {
		t.Fatal(err)
	}
	if len(order) != 2 || order[0].State != client.EventActive || order[1].State != client.EventDelivered {
		t.Fatalf("began with %v", order)
	}

	const publishers, each = 8, 60
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				publish([]string{"/once", "/again"}[(p+i)%2])
			}
		})
	}
	published := make(chan struct{})
	go func() { wg.Wait(); close(published) }()

	// The test's own end comes through the log, too: the last message's.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	final := 0
	err := f.follow(ctx, &outside{stderr: io.Discard}, func(ev client.Event) (bool, error) {
		if ev.State == client.EventDelivered {
			final++
		}
		_, err := write(ev)
		return final < publishers*each, err
	})
	if err != nil {
		t.Fatal(err)
	}
	<-published

	want := 2 // of the message before
	for ev, err := range c.AllEvents(t.Context(), client.EventsRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.MessageID == before {
			continue
		}
		want++
		if n := told[keyOf(&ev)]; n != 1 {
			t.Errorf("told %d times: %v", n, keyOf(&ev))
		}
	}
	if len(order) != want {
		t.Errorf("told %d events, the log has %d", len(order), want)
	}
	if want != 2+publishers*each*3+publishers*each/2*3 {
		t.Errorf("the log has %d events", want)
	}
}

// A server that is away for a while is waited for.
func TestFollowWaitsForServer(t *testing.T) {
	srv := signposttest.NewServer(t)
	c := client.New(client.Options{URL: srv.URL, Token: srv.Token, NetworkRetries: -1})
	defer c.CloseIdleConnections()
	publisher := srv.Client() // which tries again, when its idle connection has gone
	defer publisher.CloseIdleConnections()
	f := &follower{client: c, every: time.Millisecond}
	if err := f.begin(t.Context(), 0, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events := make(chan client.Event)
	ended := make(chan error, 1)
	go func() {
		ended <- f.follow(ctx, &outside{stderr: io.Discard}, func(ev client.Event) (bool, error) {
			events <- ev
			return true, nil
		})
	}()
	for i := range 3 {
		m, err := publisher.Publish(ctx, client.PublishRequest{URL: "http://127.0.0.1:1/", Delay: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case ev := <-events:
			if ev.MessageID != m.MessageID || ev.State != client.EventCreated {
				t.Errorf("%d: told of %v, want CREATED of %s", i, keyOf(&ev), m.MessageID)
			}
		case err := <-ended:
			t.Fatalf("ended: %v", err)
		}
		srv.Restart(t)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
