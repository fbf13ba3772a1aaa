package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWriteTable(t *testing.T) {
	var b bytes.Buffer
	rows := [][]string{{"NAME", "N", "URL"}, {"é", "", "https://example.com"}, {"longer", "10\x1b[31m", ""}}
	if err := writeTable(&b, rows); err != nil {
		t.Fatal(err)
	}
	want := "NAME    N        URL\n" +
		"é       -        https://example.com\n" +
		"longer  10·[31m  -\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestColumnWidths(t *testing.T) {
	row := func(lengths ...int) (cells []string) {
		for _, n := range lengths {
			cells = append(cells, strings.Repeat("é", n))
		}
		return cells
	}
	for _, tt := range []struct {
		name string
		rows [][]string
		most int
		want []int
	}{
		{"no bound", [][]string{{"ID", "URL"}, row(3, 90), row(20, 1)}, 0, []int{20, 90}},
		{"enough room", [][]string{{"ID", "URL"}, row(3, 90)}, 95, []int{3, 90}},
		{"what is long is cut", [][]string{{"ID", "URL"}, row(30, 90)}, 80, []int{30, 48}},
		{"the longest first", [][]string{{"URL", "CRON", "NEXT"}, row(50, 30, 20)}, 74, []int{25, 25, 20}},
		{"nothing is left of nothing", [][]string{{"URL", "CRON", "NEXT"}, row(50, 3, 20)}, 10, []int{8, 4, 20}},
	} {
		if got := columnWidths(tt.rows, tt.most); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	for s, want := range map[string]string{"": "", "12345678": "12345678", "123456789": "1234567…", "éééééééééé": "ééééééé…"} {
		if got := cut(s, 8); got != want {
			t.Errorf("%q is cut to %q, want %q", s, got, want)
		}
	}
	for s, want := range map[string]string{"": "", "12345678": "12345678", "123456789": "…3456789", "éééééééééé": "…ééééééé"} {
		if got := cutFront(s, 8); got != want {
			t.Errorf("%q is cut to %q, want %q", s, got, want)
		}
	}
}

func TestProgress(t *testing.T) {
	var b bytes.Buffer
	p := &progress{w: &b, terminal: true, done: "Retried", next: time.Now().Add(time.Hour)}
	p.add(3)
	if b.Len() != 0 {
		t.Errorf("said %q so soon", b.String())
	}
	p.next = time.Now()
	p.add(4)
	p.end()
	if want := "\rRetried 7 …\r\x1b[K"; b.String() != want {
		t.Errorf("said %q, want %q", b.String(), want)
	}
	b.Reset()
	p = &progress{w: &b, done: "Retried", next: time.Now()}
	p.add(7)
	p.add(7)
	p.end()
	if want := "Retried 7 so far.\n"; b.String() != want {
		t.Errorf("said %q, want %q", b.String(), want)
	}
}

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, " YES \n": true, "y": true, "n\n": false, "\n": false, "": false, "yet\n": false} {
		var errs bytes.Buffer
		err := confirm(&outside{stdin: strings.NewReader(answer), stderr: &errs}, "Delete all?")
		if (err == nil) != want || errs.String() != "Delete all? [y/N] " {
			t.Errorf("%q: error %v, asked %q", answer, err, errs.String())
		}
	}
}

func TestNearText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for want, d := range map[string]time.Duration{
			"0s ago": 0, "1s ago": -time.Second, "119s ago": -119 * time.Second, "2m ago": -2 * time.Minute, "in 119m": 2*time.Hour - time.Second,
			"in 2h": 2*time.Hour + 59*time.Minute, "in 47h": 48*time.Hour - time.Second, "2d ago": -48 * time.Hour, "in 365d": 365 * 24 * time.Hour,
		} {
			if got := nearText(time.Now().Add(d).UnixMilli(), "-"); got != want {
				t.Errorf("%v is %q, want %q", d, got, want)
			}
		}
		if got := nearText(0, "never"); got != "never" {
			t.Errorf("nothing is %q", got)
		}
	})
}
