package store_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/store"
)

// BenchmarkMessage is the whole life of a message as the store sees it: one
// durable Update that inserts it, one that settles it and records the attempt.
func BenchmarkMessage(b *testing.B) {
	for _, parallel := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) { benchmarkMessage(b, parallel) })
		b.Run(fmt.Sprintf("sealed/parallel=%d", parallel), func(b *testing.B) { benchmarkMessage(b, parallel, masterKey(1)) })
	}
}

func benchmarkMessage(b *testing.B, parallel int, masterKeys ...[]byte) {
	s, err := store.OpenSQLite(context.Background(), b.TempDir(), masterKeys...)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var seq atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	each(b, parallel, func() error { return liveAndDie(s, seq.Add(2)) })
}

// BenchmarkMessages reads what the benchmark above writes, one row at a time,
// as an attempt does that was not kept in memory.
func BenchmarkMessages(b *testing.B) {
	s, err := store.OpenSQLite(context.Background(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const rows = 1000
	for i := range int64(rows) {
		if err := liveAndDie(s, 2*i+2); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		err := s.View(context.Background(), func(tx engine.Tx) error {
			m, err := tx.Messages([]int64{int64(2*(i%rows) + 2)})
			if err == nil && len(m) != 1 {
				err = fmt.Errorf("%d rows", len(m))
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func liveAndDie(s engine.Store, seq int64) error {
	ctx := context.Background()
	m := &engine.Message{
		Key: engine.Key{Seq: seq, Rnd: 1}, Tenant: 1, State: engine.Pending, Kind: engine.KindPlain,
		Due: 1700000000000, NotBefore: 1700000000000, MaxRetries: 3, LogIndex: -1, Method: http.MethodPost,
		URL: "https://api.example/orders?id=1", CallerIP: "192.0.2.1",
		Header: http.Header{"Content-Type": {"application/json"}}, Body: make([]byte, 100),
	}
	err := s.Update(ctx, func(tx engine.Tx) error { return tx.InsertMessages([]*engine.Message{m}) })
	if err != nil {
		return err
	}
	done := &engine.Settlement{
		Seq: seq + 1, Tenant: 1, Message: seq, Result: engine.Delivered, StartedAt: 1700000000001, EndedAt: 1700000000002,
		Status: http.StatusOK, Header: http.Header{"Content-Type": {"text/plain"}, "Content-Length": {"2"}}, Body: []byte("ok"),
	}
	return s.Update(ctx, func(tx engine.Tx) error {
		missed, err := tx.SettleMessages([]engine.Transition{{Seq: seq, From: engine.Pending, To: engine.Delivered, Due: m.Due}})
		if err != nil || len(missed) > 0 {
			return fmt.Errorf("settle: missed %v: %w", missed, err)
		}
		return tx.InsertSettlements([]*engine.Settlement{done})
	})
}

// each runs fn b.N times, so many at once.
func each(b *testing.B, parallel int, fn func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := fn(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}
