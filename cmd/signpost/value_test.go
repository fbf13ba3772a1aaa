package main

import (
	"strings"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "90": 90 * time.Second, "1.5h": 90 * time.Minute, "7d": 168 * time.Hour, "0s": 0,
	} {
		var d duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%s is %v (%v), want %v", text, time.Duration(d), err, want)
		}
	}
	for _, text := range []string{"", "soon", "-1s", "1h30"} {
		if err := new(duration).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for a duration", text)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]size{
		"1": 1, "1048576": 1 << 20, "512KiB": 512 << 10, "10MiB": 10 << 20, "10MB": 10_000_000, "2GiB": 2 << 30, "1GB": 1e9, "3KB": 3000, "7B": 7,
		"1024GiB": 1 << 40,
	} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s is %d (%v), want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "lots", "1.5MiB", "MiB", "1025GiB", "99999999999999999999", "1 MiB"} {
		if err := new(size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for a size", text)
		}
	}
}

func FuzzSize(f *testing.F) {
	f.Add("10MiB")
	f.Add("1024GiB")
	f.Fuzz(func(t *testing.T, text string) {
		var s size
		if err := s.UnmarshalText([]byte(text)); err == nil && (s < 1 || s > 1<<40) {
			t.Errorf("%q is %d bytes", text, s)
		}
	})
}

func TestMoment(t *testing.T) {
	for text, want := range map[string]int64{"1700000000": 1700000000, "2026-01-31T12:00:00Z": 1769860800, "2026-01-31T13:00:00+01:00": 1769860800, "0": 0} {
		var m moment
		if err := m.UnmarshalText([]byte(text)); err != nil || m.Unix() != want {
			t.Errorf("%s is %d (%v), want %d", text, m.Unix(), err, want)
		}
	}
	for _, text := range []string{"", "-1", "yesterday", "2026-01-31"} {
		if err := new(moment).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for a time", text)
		}
	}
}

func TestHeaders(t *testing.T) {
	h, err := headers{"X-A: 1", "x-a:2, 3", " B :", "C: a: b"}.parse()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(h.Values("X-A"), "|"); got != "1|2, 3" || h.Get("C") != "a: b" || len(h.Values("B")) != 1 {
		t.Errorf("parsed %v", h)
	}
	for _, line := range []string{"", "no colon", ": value"} {
		if _, err := (headers{line}).parse(); err == nil {
			t.Errorf("%q is taken for a header", line)
		}
	}
}

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"plain, ünïcode 漢字": "plain, ünïcode 漢字", "a\x1b[2Jb\r\n\t": "a·[2Jb···", "\u202eevil\u0085\u2028": "·evil··", "": "-", "bad\xff": "bad\ufffd",
	} {
		if got := printable(s); got != want {
			t.Errorf("printable(%q) is %q, want %q", s, got, want)
		}
	}
}

func TestFuture(t *testing.T) {
	now := time.Now()
	for text, want := range map[string]time.Time{
		"2026-01-31T12:00:00Z": time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), "1700000000": time.Unix(1_700_000_000, 0),
		"2h": now.Add(2 * time.Hour), "7d": now.Add(7 * 24 * time.Hour), "0": time.Unix(0, 0),
	} {
		var f future
		if err := f.UnmarshalText([]byte(text)); err != nil || f.Sub(want).Abs() > time.Minute {
			t.Errorf("%s is %v (%v), want %v", text, f.Time, err, want)
		}
	}
	for _, text := range []string{"", "tomorrow", "-2h", "2026-01-31"} {
		if err := new(future).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for a time", text)
		}
	}
}

func TestPast(t *testing.T) {
	now := time.Now()
	for text, want := range map[string]time.Time{
		"2026-01-31T12:00:00Z": time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), "1700000000": time.Unix(1_700_000_000, 0),
		"2h": now.Add(-2 * time.Hour), "7d": now.Add(-7 * 24 * time.Hour), "0": time.Unix(0, 0),
	} {
		var p past
		if err := p.UnmarshalText([]byte(text)); err != nil || p.Sub(want).Abs() > time.Minute {
			t.Errorf("%s is %v (%v), want %v", text, p.Time, err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "-2h", "2026-01-31"} {
		if err := new(past).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for a time", text)
		}
	}
}
