package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// bulkFlags are for what is done to many things at once.
type bulkFlags struct {
	All bool `help:"Take all there are."`
	Yes bool `short:"y" help:"Do not ask whether --all is meant."`
}

// check wants exactly one of ids, filters and --all, and of --all that it is
// meant.
func (b *bulkFlags) check(o *outside, ids []string, filtered bool, question string) error {
	given := 0
	for _, is := range []bool{len(ids) > 0, filtered, b.All} {
		if is {
			given++
		}
	}
	if given != 1 {
		return &usageError{errors.New("expected ids, or filters, or --all"), "--help names the filters"}
	}
	if !b.All || b.Yes {
		return nil
	}
	if !isTerminal(o.stdin) {
		return &usageError{errors.New("--all: nobody is there to ask whether that is meant"), "add --yes"}
	}
	return confirm(o, question)
}

func confirm(o *outside, question string) error {
	fmt.Fprintf(o.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(o.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return withHint(errors.New("nothing was done"), "answer y to go on")
}

// progress tells how far something is that takes long: at once on a terminal,
// where its line goes away in the end; else now and then.
type progress struct {
	w        io.Writer
	terminal bool
	done     string // what was done, such as "Cancelled"
	count    int
	next     time.Time
}

const (
	terminalPace = 100 * time.Millisecond
	logPace      = 10 * time.Second
)

func newProgress(o *outside, done string) *progress {
	p := &progress{w: o.stderr, terminal: isTerminal(o.stderr), done: done}
	p.next = time.Now().Add(p.pace())
	return p
}

func (p *progress) pace() time.Duration {
	if p.terminal {
		return terminalPace
	}
	return logPace
}

func (p *progress) add(n int) {
	p.count += n
	if time.Now().Before(p.next) {
		return
	}
	p.next = time.Now().Add(p.pace())
	if p.terminal {
		fmt.Fprintf(p.w, "\r%s %d …", p.done, p.count)
		return
	}
	fmt.Fprintf(p.w, "%s %d so far.\n", p.done, p.count)
}

func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// short says that not all of the ids that were named are done with.
func short(done string, n int, ids []string, hint string) error {
	if n >= len(ids) {
		return nil
	}
	return withHint(fmt.Errorf("%s %d of %d", strings.ToLower(done), n, len(ids)), hint)
}
