// Package signposttest runs a real Signpost server inside a test.
//
//	srv := signposttest.NewServer(t)
//	c := srv.Client()
//
// The server listens on a free loopback port and keeps its data in a SQLite
// database in t.TempDir. It is closed when the test ends.
package signposttest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
)

// Server is a running server and the credentials to use it with.
type Server struct {
	URL                  string // scheme, host and port: QSTASH_URL
	signpost.Credentials        // of its first user

	dir    string
	server *signpost.Server
}

// NewServer starts a server. Destinations on loopback addresses are allowed.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{Credentials: signpost.DevUsers[0], dir: t.TempDir()}
	s.start(t, "127.0.0.1:0")
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *Server) start(t testing.TB, addr string) {
	t.Helper()
	s.server = &signpost.Server{
		Addr: addr, Data: s.dir, Dev: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if err := s.server.Start(context.Background()); err != nil {
		t.Fatalf("start signpost: %v", err)
	}
	s.URL = s.server.URL()
}

func (s *Server) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := s.server.Close(ctx); err != nil {
		t.Errorf("close signpost: %v", err)
	}
}

// Restart stops the server and starts it again on the same data and address.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	addr := s.URL[len("http://"):]
	s.stop(t)
	s.start(t, addr)
}

// Receiver verifies what the server sends. Its signatures cover the control headers,
// and any other is refused. The server's keys are those that everybody has in
// development: the receiver serves this machine only.
func (s *Server) Receiver(t testing.TB) *receiver.Receiver {
	t.Helper()
	rc, err := receiver.New(receiver.Options{
		CurrentSigningKey: s.CurrentSigningKey, NextSigningKey: s.NextSigningKey, Development: true, RequireBinding: true,
	})
	if err != nil {
		t.Fatalf("make a receiver: %v", err)
	}
	return rc
}

// Client is a client of the server.
func (s *Server) Client() *client.Client {
	return client.New(client.Options{URL: s.URL, Token: s.Token})
}

// waitMost bounds every wait; a test that needs longer is stuck.
const waitMost = 30 * time.Second

// WaitMessage waits until a message has an event of one of the states, and
// returns its events, newest first.
func (s *Server) WaitMessage(t testing.TB, messageID string, states ...client.EventState) []client.Event {
	t.Helper()
	var events []client.Event
	s.wait(t, fmt.Sprintf("message %s to be %v", messageID, states), func(ctx context.Context) (bool, error) {
		page, err := s.Client().Events(ctx, client.EventsRequest{MessageIDs: []string{messageID}})
		if err != nil {
			return false, err
		}
		events = page.Events
		for _, ev := range events {
			for _, state := range states {
				if ev.State == state {
					return true, nil
				}
			}
		}
		return false, nil
	})
	return events
}

// WaitRun waits until a workflow run is in one of the states, and returns it.
func (s *Server) WaitRun(t testing.TB, runID string, states ...client.RunState) client.Run {
	t.Helper()
	var run client.Run
	s.wait(t, fmt.Sprintf("run %s to be %v", runID, states), func(ctx context.Context) (bool, error) {
		var err error
		if run, err = s.Client().Run(ctx, runID); err != nil {
			return false, err
		}
		for _, state := range states {
			if run.State == state {
				return true, nil
			}
		}
		return false, nil
	})
	return run
}

func (s *Server) wait(t testing.TB, what string, done func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMost)
	defer cancel()
	for {
		ok, err := done(ctx)
		if err != nil {
			t.Fatalf("wait for %s: %v", what, err)
		}
		if ok {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}
