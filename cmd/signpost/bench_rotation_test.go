package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/signposthq/signpost"
)

// A short "signpost bench rotation": no delivery is refused, no second rotation
// goes through. Receivers lag long enough that nothing signed before is still on
// its way, on a slow machine too.
func TestT03RotationUnderLoad(t *testing.T) {
	s := &signpost.Server{Addr: "127.0.0.1:0", Data: signpost.Memory, Dev: true, Logger: slog.New(slog.DiscardHandler)}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	c := benchRotationCmd{
		Time: duration(8 * time.Second), Every: duration(1800 * time.Millisecond), Lag: duration(1200 * time.Millisecond),
		Receivers: 4, Rate: 100, Concurrency: 4,
		benched: benched{Server: s.URL(), Patience: duration(30 * time.Second)},
	}
	stop, err := c.start(t.Context(), c.Concurrency)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	report, err := c.measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if report.Refused+report.Lost > 0 || report.Rotations < 2 || report.SecondRefused != report.Rotations || report.Messages < 100 {
		t.Errorf("got %+v", report)
	}
	if report.Rotations > 2 && report.Spanning == 0 {
		t.Errorf("no message was retried across two rotations: %+v", report)
	}
	t.Logf("%+v", report)
}
