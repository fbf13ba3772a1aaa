package main

import (
	"context"
	"testing"
	"time"
)

func TestStatCPU(t *testing.T) {
	for stat, want := range map[string]time.Duration{
		"42 (signpost) S 1 42 42 0 -1 4194560 100 0 0 0 123 45 0 0 20 0": 1680 * time.Millisecond,
		"42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 7 0 0 0 20 0":     70 * time.Millisecond,
		"42 (cut": 0,
		"":        0,
	} {
		if got := statCPU(stat); got != want {
			t.Errorf("statCPU(%q) is %v, want %v", stat, got, want)
		}
	}
}

func TestPercentile(t *testing.T) {
	ds := make([]time.Duration, 101)
	for i := range ds {
		ds[i] = time.Duration(100-i) * time.Millisecond
	}
	if p50, p99, p100 := percentile(ds, 0.5), percentile(ds, 0.99), percentile(ds, 1); p50 != 50 || p99 != 99 || p100 != 100 {
		t.Errorf("got %v %v %v", p50, p99, p100)
	}
	if p := percentile(nil, 0.5); p != 0 {
		t.Errorf("of none: %v", p)
	}
}

func TestNumbered(t *testing.T) {
	for _, length := range []int{smallest, 100} {
		for _, n := range []int{0, 7, 1<<31 - 1} {
			content := numbered(n, length)
			if got, ok := parseNumbered(content); !ok || got != n || len(content) != length {
				t.Errorf("numbered(%d, %d) is %q, read as %d", n, length, content, got)
			}
		}
	}
	if _, ok := parseNumbered([]byte("hello")); ok {
		t.Error("a body without a number has one")
	}
}

func TestAwaitGivesUp(t *testing.T) {
	never := func() bool { return false }
	if err := await(t.Context(), 10*time.Millisecond, func() int { return 1 }, never); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := await(ctx, time.Hour, func() int { return 1 }, never); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}
