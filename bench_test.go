package signpost_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/workflow"
)

// BenchmarkMessages publishes 100-byte messages over HTTP from 64 connections
// and waits until all were delivered to a loopback endpoint.
func BenchmarkMessages(b *testing.B) {
	var delivered atomic.Int64
	done := make(chan struct{})
	total := int64(b.N)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if delivered.Add(1) == total {
			close(done)
		}
	}))
	defer endpoint.Close()
	s := &signpost.Server{Addr: "127.0.0.1:0", Data: b.TempDir(), Dev: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if err := s.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	defer s.Close(context.Background())
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	body := bytes.Repeat([]byte("x"), 100)
	url := s.URL() + "/v2/publish/" + endpoint.URL
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			for next.Add(1) <= total {
				req, _ := http.NewRequest("POST", url, bytes.NewReader(body))
				req.Header.Set("Authorization", "Bearer "+signpost.DevUsers[0].Token)
				resp, err := client.Do(req)
				if err != nil || resp.StatusCode != 200 {
					b.Errorf("publish: %v %v", resp, err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
	<-done
}

// BenchmarkSteps runs workflows of ten steps, 64 at once; one op is one step.
func BenchmarkSteps(b *testing.B) {
	const steps = 10
	s := &signpost.Server{Addr: "127.0.0.1:0", Data: b.TempDir(), Dev: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if err := s.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	defer s.Close(context.Background())
	user := signpost.DevUsers[0]
	c := client.New(client.Options{URL: s.URL(), Token: user.Token})
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: user.CurrentSigningKey, NextSigningKey: user.NextSigningKey, Development: true})
	if err != nil {
		b.Fatal(err)
	}
	running := make(chan struct{}, 64)
	ended := make(chan struct{}, 64)
	endpoint := httptest.NewServer(workflow.MustServe(func(ctx *workflow.Context, _ struct{}) (int, error) {
		sum := 0
		for range steps {
			n, err := workflow.Run(ctx, "add", func(context.Context) (int, error) { return sum + 1, nil })
			if err != nil {
				return 0, err
			}
			sum = n
		}
		ended <- struct{}{}
		return sum, nil
	}, &workflow.Options{Client: c, Receiver: rc}))
	defer endpoint.Close()
	b.ReportAllocs()
	b.ResetTimer()
	runs := max(1, b.N/steps)
	go func() {
		for range runs {
			running <- struct{}{}
			if _, err := c.Trigger(context.Background(), client.TriggerRequest{URL: endpoint.URL, Body: []byte("{}")}); err != nil {
				b.Error(err)
			}
		}
	}()
	for range runs {
		<-ended
		<-running
	}
}
