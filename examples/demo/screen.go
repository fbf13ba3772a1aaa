package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// screen is where the demo shows itself.
type screen struct {
	out     io.Writer
	colours bool
}

const (
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	red   = "\x1b[31m"
	green = "\x1b[32m"
	amber = "\x1b[33m"
	plain = "\x1b[0m"
)

func (s screen) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

func (s screen) title(text string) { s.say("\n%s", s.paint(bold, text)) }

func (s screen) faint(text string) string { return s.paint(dim, text) }

// state pads the name of a state and colours it by what it means.
func (s screen) state(name string) string {
	colour := amber
	switch {
	case strings.HasSuffix(name, "_SUCCESS"):
		colour = green
	case strings.HasSuffix(name, "_FAILED"), strings.HasSuffix(name, "_FAIL"):
		colour = red
	}
	return s.paint(colour, fmt.Sprintf("%-16s", name))
}

func (s screen) paint(colour, text string) string {
	if !s.colours {
		return text
	}
	return colour + text + plain
}

// isTerminal says whether somebody watches who wants colours.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
