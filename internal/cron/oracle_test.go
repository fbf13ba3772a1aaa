package cron

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The policy once more, in the slowest way: every minute that passes is looked
// at, and so is every minute that the clock shows or skips. Nothing of the
// package is used but what is tested.

// element is one of a list: from, to and step as numbers.
type element struct {
	text           string
	from, to, step int
	wildcard       bool
}

type column []element

func (c column) String() string {
	texts := make([]string, len(c))
	for i, e := range c {
		texts[i] = e.text
	}
	return strings.Join(texts, ",")
}

func (c column) has(n int) bool {
	for _, e := range c {
		if n >= e.from && n <= e.to && (n-e.from)%e.step == 0 {
			return true
		}
	}
	return false
}

func (c column) wildcard() bool {
	for _, e := range c {
		if e.wildcard {
			return true
		}
	}
	return false
}

// table is an expression: minute, hour, day of month, month, day of week.
type table [5]column

func (e table) String() string {
	return fmt.Sprintf("%s %s %s %s %s", e[0], e[1], e[2], e[3], e[4])
}

func (e table) matches(clock time.Time) bool {
	dayOfMonth := e[2].has(clock.Day())
	dayOfWeek := e[4].has(int(clock.Weekday())) || clock.Weekday() == time.Sunday && e[4].has(7)
	day := dayOfMonth && dayOfWeek
	if !e[2].wildcard() && !e[4].wildcard() {
		day = dayOfMonth || dayOfWeek
	}
	return day && e[3].has(int(clock.Month())) && e[1].has(clock.Hour()) && e[0].has(clock.Minute())
}

// firings are those after a whole minute, up to and with another.
func (e table) firings(zone *time.Location, after, until time.Time) (all []time.Time) {
	fixed := !e[0].wildcard() && !e[1].wildcard()
	start := after.Add(-26 * time.Hour) // no clock was set back by more
	seen := clockOf(start, zone)
	for t := start; !t.After(until); t = t.Add(time.Minute) {
		clock := clockOf(t, zone)
		fires := false
		if fixed {
			for seen.Before(clock) {
				seen = seen.Add(time.Minute)
				fires = fires || e.matches(seen)
			}
		} else {
			fires = e.matches(clock)
		}
		if fires && t.After(after) {
			all = append(all, t)
		}
	}
	return all
}

// clockOf is what the clock shows, read as if it were in UTC.
func clockOf(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

func drawColumn(t *rapid.T, label string, low, high, limit int, names []string) column {
	number := func(low, high int) int { return rapid.IntRange(low, high).Draw(t, label) }
	name := func(n int) string {
		if n-low < len(names) && rapid.Bool().Draw(t, label+" by name") {
			return names[n-low]
		}
		return fmt.Sprint(n)
	}
	var all column
	for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, label+" elements") {
		var e element
		switch rapid.IntRange(0, 6).Draw(t, label+" kind") {
		case 0:
			e = element{text: rapid.SampledFrom([]string{"*", "?"}).Draw(t, label), from: low, to: high, step: 1, wildcard: true}
		case 1:
			step := number(1, high-low+1)
			e = element{text: fmt.Sprintf("*/%d", step), from: low, to: high, step: step, wildcard: true}
		case 2:
			from, step := number(low, high), number(1, high-low+1)
			e = element{text: fmt.Sprintf("%s/%d", name(from), step), from: from, to: high, step: step}
		case 3:
			from := number(low, limit)
			to := number(from, limit)
			e = element{text: fmt.Sprintf("%s-%d", name(from), to), from: from, to: to, step: 1}
		case 4:
			from, step := number(low, limit), number(1, high-low+1)
			to := number(from, limit)
			e = element{text: fmt.Sprintf("%d-%d/%d", from, to, step), from: from, to: to, step: step}
		default:
			n := number(low, limit)
			e = element{text: name(n), from: n, to: n, step: 1}
		}
		all = append(all, e)
	}
	return all
}

// drawTable favours nights, when clocks change.
func drawTable(t *rapid.T) table {
	anything := column{{text: "*", from: 0, to: 99, step: 1, wildcard: true}}
	e := table{drawColumn(t, "minute", 0, 59, 59, nil), nil, anything, anything, anything}
	one := func(in int, label string) bool { return rapid.IntRange(1, in).Draw(t, label) == in }
	if one(3, "any hour") {
		e[1] = drawColumn(t, "hour", 0, 23, 23, nil)
	} else {
		from := rapid.SampledFrom([]int{0, 0, 1, 2, 2, 3, 23}).Draw(t, "from hour")
		to := min(23, from+rapid.IntRange(0, 2).Draw(t, "hours"))
		e[1] = column{{text: fmt.Sprintf("%d-%d", from, to), from: from, to: to, step: 1}}
	}
	if one(4, "days") {
		e[2] = drawColumn(t, "day of month", 1, 31, 31, nil)
	}
	if one(8, "months") {
		e[3] = drawColumn(t, "month", 1, 12, 12, strings.Fields("JAN feb Mar APR may jun JUL aug sep OCT nov dec"))
	}
	if one(4, "weekdays") {
		e[4] = drawColumn(t, "day of week", 0, 6, 7, strings.Fields("SUN mon Tue WED thu fri SAT"))
	}
	return e
}

// moments are transitions of all kinds; drawn times are around them.
var moments = []struct{ zone, at string }{
	{"UTC", "2028-02-29 00:00:00 +0000"},
	{"Europe/Berlin", "2026-03-29 01:00:00 +0000"},
	{"Europe/Berlin", "2026-10-25 01:00:00 +0000"},
	{"Europe/Berlin", "1945-05-24 00:00:00 +0000"}, // two hours ahead, for the summer
	{"Europe/Dublin", "2026-03-29 01:00:00 +0000"},
	{"Europe/Dublin", "2026-10-25 01:00:00 +0000"},
	{"America/New_York", "2026-03-08 07:00:00 +0000"},
	{"America/New_York", "2026-11-01 06:00:00 +0000"},
	{"America/New_York", "2060-12-31 12:00:00 +0000"},
	{"America/Sao_Paulo", "2018-11-04 03:00:00 +0000"},
	{"America/Sao_Paulo", "2018-02-18 02:00:00 +0000"},
	{"America/St_Johns", "2006-10-29 02:31:00 +0000"}, // at one past midnight
	{"America/Caracas", "2007-12-09 07:00:00 +0000"},  // by half an hour
	{"America/Nuuk", "2026-03-29 01:00:00 +0000"},     // a gap at the day's end
	{"America/Nuuk", "2026-10-25 01:00:00 +0000"},
	{"Asia/Beirut", "2026-03-28 22:00:00 +0000"},
	{"Asia/Pyongyang", "2018-05-04 15:00:00 +0000"}, // by half an hour, at 23:30
	{"Asia/Kathmandu", "1985-12-31 18:30:00 +0000"}, // by a quarter
	{"Asia/Tehran", "2022-03-21 20:30:00 +0000"},
	{"Africa/Cairo", "2026-04-23 22:00:00 +0000"},
	{"Africa/Cairo", "2026-10-29 21:00:00 +0000"},
	{"Africa/Cairo", "2010-08-10 21:00:00 +0000"}, // for Ramadan alone
	{"Africa/Casablanca", "2026-02-15 02:00:00 +0000"},
	{"Africa/Casablanca", "2026-03-22 02:00:00 +0000"},
	{"Antarctica/Troll", "2026-03-29 01:00:00 +0000"},
	{"Antarctica/Troll", "2026-10-25 01:00:00 +0000"},
	{"Antarctica/Casey", "2018-03-10 17:00:00 +0000"}, // three hours back
	{"Australia/Lord_Howe", "2026-04-04 15:00:00 +0000"},
	{"Australia/Lord_Howe", "2026-10-03 15:30:00 +0000"},
	{"Australia/Sydney", "2064-12-31 12:00:00 +0000"},
	{"Pacific/Apia", "2011-12-30 10:00:00 +0000"},
	{"Pacific/Chatham", "2026-04-04 14:00:00 +0000"},
	{"Pacific/Kwajalein", "1969-09-30 13:00:00 +0000"}, // the same day again
	{"Pacific/Kwajalein", "1993-08-21 12:00:00 +0000"},
	{"Pacific/Guam", "1969-01-26 14:01:00 +0000"},
}

func TestNextAgainstEveryMinute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		expression := drawTable(t)
		for range 8 {
			moment := rapid.SampledFrom(moments).Draw(t, "moment")
			at, err := time.Parse(shape, moment.at)
			if err != nil {
				t.Fatal(err)
			}
			before := time.Duration(rapid.IntRange(-4*60, 26*60).Draw(t, "minutes before")) * time.Minute
			s, err := Parse("CRON_TZ=" + moment.zone + " " + expression.String())
			if err != nil {
				if !strings.Contains(err.Error(), "expected a day that the month has") {
					t.Fatalf("%v", err)
				}
				return
			}
			compare(t, s, expression, at.Add(-before), at.Add(3*day/2))
		}
	})
}

func compare(t *rapid.T, s *Schedule, expression table, after, until time.Time) {
	last := after
	for _, want := range expression.firings(s.zone, after, until) {
		next := s.Next(last)
		if !next.Equal(want) {
			t.Fatalf("%s after %v: %v, want %v", s, last.In(s.zone), next, want.In(s.zone))
		}
		last = next
	}
	if next := s.Next(last); !next.After(until) && !next.IsZero() {
		t.Fatalf("%s after %v: %v, want none until %v", s, last.In(s.zone), next, until.In(s.zone))
	}
}

// Far dates: every day at a time of day that no clock skips.
func TestDatesAgainstEveryDay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		noon := column{{text: "12", from: 12, to: 12, step: 1}}
		zero := column{{text: "0", from: 0, to: 0, step: 1}}
		expression := table{zero, noon,
			drawColumn(t, "day of month", 1, 31, 31, nil),
			drawColumn(t, "month", 1, 12, 12, nil),
			drawColumn(t, "day of week", 0, 6, 7, nil),
		}
		after := time.Date(rapid.IntRange(1890, 2110).Draw(t, "year"), time.Month(rapid.IntRange(1, 12).Draw(t, "month")), rapid.IntRange(1, 31).Draw(t, "day"), 12, 0, 0, 0, time.UTC)
		want := time.Time{}
		for d, end := after.AddDate(0, 0, 1), after.AddDate(41, 0, 0); d.Before(end); d = d.AddDate(0, 0, 1) {
			if expression.matches(d) {
				want = d
				break
			}
		}
		s, err := Parse(expression.String())
		if err != nil {
			if !want.IsZero() {
				t.Fatalf("%v, but it fires at %v", err, want)
			}
			return
		}
		if got := s.Next(after); !got.Equal(want) {
			t.Fatalf("%s after %v: %v, want %v", s, after, got, want)
		}
	})
}
