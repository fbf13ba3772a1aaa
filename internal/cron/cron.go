// Package cron reads cron expressions and tells when they fire next. It is
// pure: no clock, nothing kept but time zones.
//
// # Days
//
// A field is a wildcard if it has a "*" or a "?" in it, a step or not. If
// neither day field is a wildcard, a day matches when either matches it: "0 0
// 13 * FRI" is every 13th and every Friday. If one is, both must match: "0 0
// */2 * MON" is the Mondays on odd days.
//
// # When clocks change
//
// A fixed-time schedule, whose minute and hour fields are no wildcards, fires
// for each of its times when the local clock for the first time shows it or has
// passed it. A time that is skipped therefore fires at the first instant after
// the gap, once, however many times of the schedule fall there; a time that is
// shown twice fires at the first.
//
// An interval schedule, with a wildcard in the minute or the hour, follows the
// clock: what it skips does not fire, what it repeats fires again.
//
// "@every" knows no clock: it fires at the multiples of its duration since
// 1970-01-01T00:00:00Z.
package cron

import (
	"math/bits"
	"time"
)

const (
	day      = 24 * time.Hour
	horizon  = 100 * 366 * day // a 29 February that is a Sunday is at most 40 years away
	lastYear = 9999            // that RFC 3339 can write

	// No clock is a day away from UTC, and none was ever set back by two.
	maxOffset = day
	maxShift  = 2 * day
)

// Schedule is a parsed expression. It is safe for concurrent use.
type Schedule struct {
	expression string
	zone       *time.Location

	every time.Duration // of an @every, which has nothing of what follows

	minute, hour, dayOfMonth, month, dayOfWeek uint64 // bit n: n matches

	eitherDay bool // neither day field is a wildcard
	interval  bool // the minute or the hour is a wildcard
}

// String is the expression, trimmed, with its CRON_TZ prefix.
func (s *Schedule) String() string { return s.expression }

// Next is the first firing strictly after a time, in the zone of the schedule
// and in whole seconds. The zero time means never: nothing for a hundred years, or
// after lies beyond the year 9999.
func (s *Schedule) Next(after time.Time) time.Time {
	if after.Year() > lastYear {
		return time.Time{}
	}
	from := after.UTC().Truncate(time.Second).Add(time.Second)
	if s.every > 0 {
		return s.multiple(from)
	}
	var wall time.Time
	if !s.interval {
		wall = s.match(s.shown(from))
	}
	for at := from; at.Sub(from) < horizon; {
		offset, _, end := s.period(at)
		if s.interval {
			wall = s.match(at.Add(offset))
		}
		t := later(wall.Add(-offset), at) // at: the clock went past wall when the period began
		if end.IsZero() || t.Before(end) {
			return t.In(s.zone)
		}
		if near := end.Sub(at) < maxShift; near {
			at = end // it may show again what it showed before at
		} else {
			at = later(end, wall.Add(-maxOffset))
		}
	}
	return time.Time{}
}

// multiple is the first multiple of every, since 1970, that is not before from.
func (s *Schedule) multiple(from time.Time) time.Time {
	seconds := int64(s.every / time.Second)
	n := from.Unix() / seconds
	if n*seconds < from.Unix() {
		n++
	}
	return time.Unix(n*seconds, 0).In(s.zone)
}

// Below, what a local clock shows is a time in UTC that reads the same.

// shown is the end of what the clock has shown, or skipped, before from.
func (s *Schedule) shown(from time.Time) time.Time {
	offset, start, _ := s.period(from.Add(-time.Second))
	shown := from.Add(offset)
	for !start.IsZero() && from.Sub(start) < maxShift {
		transition := start
		offset, start, _ = s.period(transition.Add(-time.Second))
		shown = later(shown, transition.Add(offset))
	}
	return shown
}

// period is the offset from UTC at t and the bounds of a time around t in which
// it does not change; the zero time where it never did or will.
func (s *Schedule) period(t time.Time) (offset time.Duration, start, end time.Time) {
	local := t.In(s.zone)
	_, seconds := local.Zone()
	start, end = local.ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		// On the 31 December of leap years ZoneBounds can end before t. No
		// zone changes on that day.
		end = t.Truncate(day).Add(day)
	}
	return time.Duration(seconds) * time.Second, start.UTC(), end.UTC()
}

// match is the first minute on the clock, not before wall, that the fields match.
func (s *Schedule) match(wall time.Time) time.Time {
	if whole := wall.Truncate(time.Minute); whole.Before(wall) {
		wall = whole.Add(time.Minute)
	}
	year, month, today := wall.Date()
	if s.days(year, month)>>today&1 == 1 {
		if hour, minute, ok := s.timeOfDay(wall.Hour(), wall.Minute()); ok {
			return time.Date(year, month, today, hour, minute, 0, 0, time.UTC)
		}
	}
	hour, minute, _ := s.timeOfDay(0, 0)
	for today++; ; today = 1 {
		if days := from(s.days(year, month), today); days != 0 {
			return time.Date(year, month, first(days), hour, minute, 0, 0, time.UTC)
		}
		if month++; month > time.December {
			year, month = year+1, time.January
		}
	}
}

// timeOfDay is the first match of a day, not before a time of it.
func (s *Schedule) timeOfDay(hour, minute int) (int, int, bool) {
	if s.hour>>hour&1 == 1 {
		if minutes := from(s.minute, minute); minutes != 0 {
			return hour, first(minutes), true
		}
	}
	hours := from(s.hour, hour+1)
	return first(hours), first(s.minute), hours != 0
}

// days are the days of a month that match.
func (s *Schedule) days(year int, month time.Month) uint64 {
	if s.month>>month&1 == 0 {
		return 0
	}
	weekday := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC).Weekday()
	length := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()

	const everyWeek = 1 | 1<<7 | 1<<14 | 1<<21 | 1<<28 | 1<<35
	byWeekday := s.dayOfWeek * everyWeek >> weekday << 1
	days := s.dayOfMonth & byWeekday
	if s.eitherDay {
		days = s.dayOfMonth | byWeekday
	}
	return days & (1<<(length+1) - 2)
}

// from is set without what lies below n.
func from(set uint64, n int) uint64 { return set >> n << n }

// first is the lowest number in set.
func first(set uint64) int { return bits.TrailingZeros64(set) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
