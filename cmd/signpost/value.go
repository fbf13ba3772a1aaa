package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// duration is a length of time in the protocol's notation: 30s, 1.5h, 7d, or a
// number of seconds.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	v, err := wire.ParseDuration(string(text))
	*d = duration(v)
	return err
}

// size is a number of bytes, such as 1048576, 512KiB or 10MB.
type size int64

var units = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

func (s *size) UnmarshalText(text []byte) error {
	for _, u := range units {
		number, ok := strings.CutSuffix(string(text), u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n <= 0 || n > 1<<40/u.bytes {
			break
		}
		*s = size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("expected a number of bytes such as 1048576, 512KiB or 10MB, up to 1024GiB, got %q", text)
}

// moment is a point in time: RFC 3339, or Unix seconds.
type moment struct{ time.Time }

func (m *moment) UnmarshalText(text []byte) (err error) {
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil && n >= 0 {
		m.Time = time.Unix(n, 0)
		return nil
	}
	if m.Time, err = time.Parse(time.RFC3339, string(text)); err != nil {
		return fmt.Errorf("expected a time such as 2026-01-31T12:00:00Z or Unix seconds, got %q", text)
	}
	return nil
}

// past is a moment, or how long ago that was: 90s, 2h, 7d.
type past struct{ time.Time }

func (p *past) UnmarshalText(text []byte) error {
	var at moment
	if at.UnmarshalText(text) == nil {
		p.Time = at.Time
		return nil
	}
	ago, err := wire.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("expected a time such as 2026-01-31T12:00:00Z or Unix seconds, or how long ago, such as 2h, got %q", text)
	}
	p.Time = time.Now().Add(-ago)
	return nil
}

// future is a moment, or how long it is until then: 90s, 2h, 7d.
type future struct{ time.Time }

func (f *future) UnmarshalText(text []byte) error {
	var at moment
	if at.UnmarshalText(text) == nil {
		f.Time = at.Time
		return nil
	}
	left, err := wire.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("expected a time such as 2026-01-31T12:00:00Z or Unix seconds, or how long until then, such as 2h, got %q", text)
	}
	f.Time = time.Now().Add(left)
	return nil
}

// headers are "Name: value" lines.
type headers []string

func (hs headers) parse() (http.Header, error) {
	out := http.Header{}
	for _, line := range hs {
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, &usageError{fmt.Errorf("header %q has no name and value", line), "write it as -H 'Name: value'"}
		}
		out.Add(name, strings.TrimSpace(value))
	}
	return out, nil
}

// body is text, @file, or - for the standard input.
type body string

func (b body) read(stdin io.Reader) ([]byte, error) {
	path, isFile := strings.CutPrefix(string(b), "@")
	switch {
	case b == "-":
		content, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("read body from standard input: %w", err)
		}
		return content, nil
	case isFile:
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, withHint(fmt.Errorf("read body: %w", err), "--body @FILE reads a file; pass text that starts with @ through --body -")
		}
		return content, nil
	}
	return []byte(b), nil
}
