package engine_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/internal/wire"
)

// instant is endpoints that answer at once.
type instant struct {
	left atomic.Int64
	done chan struct{}
}

func (d *instant) Deliver(context.Context, engine.Attempt) engine.Outcome {
	if d.left.Add(-1) == 0 {
		close(d.done)
	}
	return engine.Outcome{Status: 200, Header: http.Header{}}
}

// BenchmarkLanes is the whole life of a message, published by 64 at once: what
// queues and flow control cost, beside what the others do.
func BenchmarkLanes(b *testing.B) {
	for name, settings := range map[string]func(n int, cfg *wire.Config){
		"plain": func(int, *wire.Config) {},
		"queue": func(n int, cfg *wire.Config) { cfg.Queue = fmt.Sprint("q", n%16) },
		"flow": func(n int, cfg *wire.Config) {
			cfg.FlowControl = &wire.FlowControl{Key: fmt.Sprint("k", n%16), Parallelism: 10, Rate: 1 << 20, Period: 1e9}
		},
	} {
		b.Run(name, func(b *testing.B) {
			ctx := context.Background()
			s, err := store.OpenSQLite(ctx, b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			d := &instant{done: make(chan struct{})}
			d.left.Store(int64(b.N))
			e, err := engine.New(ctx, engine.Options{Store: s, Deliverer: d, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := e.EnsureTenant(ctx, engine.Credentials{UserID: "u", Token: "token"}); err != nil {
				b.Fatal(err)
			}
			who, err := e.Authenticate(ctx, "token")
			if err != nil {
				b.Fatal(err)
			}
			e.Start()
			defer e.Close(ctx)
			b.ResetTimer()
			var next atomic.Int64
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						p := engine.Publish{Destination: "https://example.com/", Body: []byte("body"), Config: wire.Config{Method: "POST"}}
						settings(int(n), &p.Config)
						if _, err := e.Publish(ctx, who, []engine.Publish{p}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			<-d.done
		})
	}
}
