package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// writeTable aligns rows, the first of which is the head. On a terminal, long
// cells are cut so that a row is a line.
func writeTable(w io.Writer, rows [][]string) error {
	cells := make([][]string, len(rows))
	for i, row := range rows {
		for _, cell := range row {
			cells[i] = append(cells[i], printable(cmp.Or(cell, "-")))
		}
	}
	widths := columnWidths(cells, terminalWidth(w))
	for _, row := range cells {
		var line strings.Builder
		for i, cell := range row {
			if slices.Contains(urlColumns, cells[0][i]) {
				cell = cutFront(cell, widths[i])
			} else {
				cell = cut(cell, widths[i])
			}
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+len(columnGap)))
			}
		}
		if _, err := fmt.Fprintln(w, line.String()); err != nil {
			return err
		}
	}
	return nil
}

const (
	columnGap   = "  "
	leastColumn = 8 // a narrower one tells nothing
)

// longColumns are those that may be cut, by their heads: ids, times and numbers
// are of use only as a whole.
var longColumns = []string{"URL", "URLS", "DESTINATION", "URL PREFIX", "CRON", "NAME", "SCOPES", "CHANGE", "AT", "NEXT STEP", "DETAIL", "REASON", "OBJECT"}

// urlColumns are those of them whose cells differ most at the end.
var urlColumns = []string{"URL", "DESTINATION", "URL PREFIX"}

// columnWidths are how wide the cells of each column may be, so that all of them
// fit into most, if they can; 0: there is no bound.
func columnWidths(rows [][]string, most int) []int {
	widths := make([]int, len(rows[0]))
	total := len(columnGap) * (len(widths) - 1)
	for i := range widths {
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
		total += widths[i]
	}
	for ; most > 0 && total > most; total-- {
		longest := -1
		for i, head := range rows[0] {
			if slices.Contains(longColumns, head) && widths[i] > leastColumn && (longest < 0 || widths[i] > widths[longest]) {
				longest = i
			}
		}
		if longest < 0 {
			break
		}
		widths[longest]--
	}
	return widths
}

// cut shortens s to so many characters.
func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	runes := []rune(s)
	return string(runes[:most-1]) + "…"
}

// cutFront shortens s from the front, where URLs are alike.
func cutFront(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return "…" + string(runes[len(runes)-most+1:])
}

// terminalWidth is how many characters a line of w has; 0: w is no terminal.
func terminalWidth(w io.Writer) int {
	if !isTerminal(w) {
		return 0
	}
	width, _, err := term.GetSize(int(w.(*os.File).Fd()))
	if err != nil {
		return 0
	}
	return width
}

// isTerminal reports whether somebody sits at the other end.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// writeList writes each item as a line of JSON, or as a row of a table.
func writeList[T any](w io.Writer, asJSON bool, items []T, head []string, row func(*T) []string) error {
	if asJSON {
		return writeLines(w, items)
	}
	rows := [][]string{head}
	for i := range items {
		rows = append(rows, row(&items[i]))
	}
	return writeTable(w, rows)
}

// writeLines writes each item as a line of JSON.
func writeLines[T any](w io.Writer, items []T) error {
	encoder := json.NewEncoder(w)
	for _, item := range items {
		if err := encoder.Encode(item); err != nil {
			return err
		}
	}
	return nil
}

// writeItem writes one thing as JSON, or as lines of a name and a value, without
// those that have none.
func writeItem(w io.Writer, asJSON bool, item any, fields [][2]string) error {
	if asJSON {
		return json.NewEncoder(w).Encode(item)
	}
	widest := 0
	for _, f := range fields {
		if f[1] != "" {
			widest = max(widest, len(f[0]))
		}
	}
	for _, f := range fields {
		if f[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%-*s  %s\n", widest, f[0], printable(f[1])); err != nil {
			return err
		}
	}
	return nil
}

// timeText is Unix milliseconds for people; none for 0.
func timeText(ms int64, none string) string {
	if ms == 0 {
		return none
	}
	return time.UnixMilli(ms).Format("2006-01-02 15:04:05")
}

// nearText is how far Unix milliseconds are from now, in the largest unit; none
// for 0.
func nearText(ms int64, none string) string {
	if ms == 0 {
		return none
	}
	d := time.Until(time.UnixMilli(ms)).Round(time.Second)
	if d > 0 {
		return "in " + lengthText(d)
	}
	return lengthText(-d) + " ago"
}

func lengthText(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= 2*unit.length {
			return strconv.Itoa(int(d/unit.length)) + unit.name
		}
	}
	return strconv.Itoa(int(d/time.Second)) + "s"
}
