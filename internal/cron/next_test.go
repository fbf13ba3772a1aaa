package cron

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// firings are the next n, as the local clock shows them with its offset.
func firings(s *Schedule, after time.Time, n int) (all []string) {
	for range n {
		after = s.Next(after)
		if after.IsZero() {
			return append(all, "never")
		}
		all = append(all, after.Format(shape))
	}
	return all
}

const shape = "2006-01-02 15:04:05 -0700"

func parseTime(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05 -0700", s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestNext(t *testing.T) {
	tests := []struct {
		expr, after string
		want        []string
	}{
		{"* * * * *", "2026-01-31 23:58:30 +0000", []string{"2026-01-31 23:59:00 +0000", "2026-02-01 00:00:00 +0000"}},
		{"* * * * *", "2026-12-31 23:59:00 +0000", []string{"2027-01-01 00:00:00 +0000"}},
		{"30 4 * * *", "2026-03-01 04:30:00 +0000", []string{"2026-03-02 04:30:00 +0000"}},
		{"30 4 * * *", "2026-03-01 04:29:59 +0000", []string{"2026-03-01 04:30:00 +0000"}},
		{"30 4 * * *", "2026-03-01 12:29:59 +0800", []string{"2026-03-01 04:30:00 +0000"}},
		{"5,10 1,2 * * *", "2026-03-01 01:06:00 +0000", []string{"2026-03-01 01:10:00 +0000", "2026-03-01 02:05:00 +0000", "2026-03-01 02:10:00 +0000", "2026-03-02 01:05:00 +0000"}},
		{"0 0 29 2 *", "2026-01-01 00:00:00 +0000", []string{"2028-02-29 00:00:00 +0000", "2032-02-29 00:00:00 +0000"}},
		{"0 0 29 2 *", "2096-03-01 00:00:00 +0000", []string{"2104-02-29 00:00:00 +0000"}}, // 2100 is no leap year
		{"0 0 29 2 */7", "2060-03-01 00:00:00 +0000", []string{"2088-02-29 00:00:00 +0000", "2128-02-29 00:00:00 +0000"}},
		{"0 0 31 * *", "2026-01-31 00:00:00 +0000", []string{"2026-03-31 00:00:00 +0000", "2026-05-31 00:00:00 +0000", "2026-07-31 00:00:00 +0000", "2026-08-31 00:00:00 +0000"}},
		{"59 23 31 12 *", "2026-12-31 23:59:00 +0000", []string{"2027-12-31 23:59:00 +0000"}},
		{"0 0 1 1 *", "0001-01-01 00:00:00 +0000", []string{"0002-01-01 00:00:00 +0000"}},
		{"0 0 1 1 *", "9999-06-01 00:00:00 +0000", []string{"10000-01-01 00:00:00 +0000", "never"}},

		// Either day field, when both are restricted. March 2026 begins on a Sunday.
		{"0 0 13 * FRI", "2026-03-01 00:00:00 +0000", []string{"2026-03-06 00:00:00 +0000", "2026-03-13 00:00:00 +0000", "2026-03-20 00:00:00 +0000", "2026-03-27 00:00:00 +0000", "2026-04-03 00:00:00 +0000", "2026-04-10 00:00:00 +0000", "2026-04-13 00:00:00 +0000"}},
		{"0 0 31 2 MON", "2026-02-16 00:00:00 +0000", []string{"2026-02-23 00:00:00 +0000", "2027-02-01 00:00:00 +0000"}},
		{"0 0 1-31 * MON", "2026-03-01 00:00:00 +0000", []string{"2026-03-02 00:00:00 +0000", "2026-03-03 00:00:00 +0000"}},
		// Both, when one is a wildcard.
		{"0 0 */2 * MON", "2026-03-01 00:00:00 +0000", []string{"2026-03-09 00:00:00 +0000", "2026-03-23 00:00:00 +0000", "2026-04-13 00:00:00 +0000"}},
		{"0 0 13 * */2", "2026-03-01 00:00:00 +0000", []string{"2026-06-13 00:00:00 +0000", "2026-08-13 00:00:00 +0000"}}, // Sun, Tue, Thu or Sat
		{"0 0 ? * 7", "2026-03-01 00:00:00 +0000", []string{"2026-03-08 00:00:00 +0000"}},
		{"0 0 * * FRI-SUN", "2026-03-01 00:00:00 +0000", []string{"2026-03-06 00:00:00 +0000", "2026-03-07 00:00:00 +0000", "2026-03-08 00:00:00 +0000", "2026-03-13 00:00:00 +0000"}},

		// Descriptors.
		{"@hourly", "2026-03-01 00:30:00 +0000", []string{"2026-03-01 01:00:00 +0000"}},
		{"@weekly", "2026-03-01 00:30:00 +0000", []string{"2026-03-08 00:00:00 +0000"}},
		{"@yearly", "2026-03-01 00:30:00 +0000", []string{"2027-01-01 00:00:00 +0000"}},
		{"CRON_TZ=Asia/Kathmandu @daily", "2026-03-01 00:00:00 +0000", []string{"2026-03-02 00:00:00 +0545"}},

		// Multiples since 1970, whenever one asks.
		{"@every 1h", "2026-03-01 00:30:17 +0000", []string{"2026-03-01 01:00:00 +0000", "2026-03-01 02:00:00 +0000"}},
		{"@every 1h", "2026-03-01 01:00:00 +0000", []string{"2026-03-01 02:00:00 +0000"}},
		{"@every 90s", "2026-03-01 00:00:00 +0000", []string{"2026-03-01 00:01:30 +0000", "2026-03-01 00:03:00 +0000"}},
		{"@every 168h", "1970-01-01 00:00:00 +0000", []string{"1970-01-08 00:00:00 +0000"}},
		{"@every 1h", "1969-12-31 22:00:00 +0000", []string{"1969-12-31 23:00:00 +0000", "1970-01-01 00:00:00 +0000", "1970-01-01 01:00:00 +0000"}},
		{"@every 7m", "1969-12-31 23:59:59 +0000", []string{"1970-01-01 00:00:00 +0000", "1970-01-01 00:07:00 +0000"}},
	}
	for _, test := range tests {
		got := firings(mustParse(t, test.expr), parseTime(t, test.after), len(test.want))
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s after %s: (-want +got)\n%s", test.expr, test.after, diff)
		}
	}
}

func TestNextWithFractions(t *testing.T) {
	s := mustParse(t, "30 4 * * *")
	at := time.Date(2026, 3, 1, 4, 30, 0, 0, time.UTC)
	for after, want := range map[time.Time]time.Time{
		at.Add(-1): at,
		at:         at.AddDate(0, 0, 1),
		at.Add(1):  at.AddDate(0, 0, 1),
		{}:         time.Date(1, 1, 1, 4, 30, 0, 0, time.UTC),
	} {
		if got := s.Next(after); !got.Equal(want) {
			t.Errorf("after %v: %v, want %v", after, got, want)
		}
	}
	every := mustParse(t, "@every 1h")
	if got := every.Next(at.Add(30*time.Minute - 1)); !got.Equal(at.Add(30 * time.Minute)) {
		t.Error(got)
	}
	if got := s.Next(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)); !got.IsZero() {
		t.Error(got)
	}
}

func TestNextWhenClocksChange(t *testing.T) {
	tests := []struct {
		name, expr, after string
		want              []string
	}{
		// Berlin, 29 March 2026: 02:00 to 03:00 is skipped.
		{"fixed in a gap", "CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-28 00:00:00 +0100",
			[]string{"2026-03-28 02:30:00 +0100", "2026-03-29 03:00:00 +0200", "2026-03-30 02:30:00 +0200"}},
		{"fixed at the edges of a gap", "CRON_TZ=Europe/Berlin 0,59 1-3 29 3 *", "2026-03-29 00:00:00 +0100",
			[]string{"2026-03-29 01:00:00 +0100", "2026-03-29 01:59:00 +0100", "2026-03-29 03:00:00 +0200", "2026-03-29 03:59:00 +0200", "2027-03-29 01:00:00 +0200"}},
		{"several fixed in a gap", "CRON_TZ=Europe/Berlin 0,15,30,45 2 * * *", "2026-03-28 02:45:00 +0100",
			[]string{"2026-03-29 03:00:00 +0200", "2026-03-30 02:00:00 +0200"}},
		{"a step from a number is fixed", "CRON_TZ=Europe/Berlin 0/15 2-2/1 * * *", "2026-03-28 02:45:00 +0100",
			[]string{"2026-03-29 03:00:00 +0200", "2026-03-30 02:00:00 +0200"}},
		{"fixed, asked at the gap's end", "CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-29 03:00:00 +0200",
			[]string{"2026-03-30 02:30:00 +0200"}},
		{"fixed, asked a moment before the gap's end", "CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-29 01:59:59 +0100",
			[]string{"2026-03-29 03:00:00 +0200"}},
		{"fixed in a gap on a weekday", "CRON_TZ=Europe/Berlin 30 2 * * SUN", "2026-03-28 00:00:00 +0100",
			[]string{"2026-03-29 03:00:00 +0200", "2026-04-05 02:30:00 +0200"}},
		{"interval in a gap", "CRON_TZ=Europe/Berlin */30 2 * * *", "2026-03-28 02:15:00 +0100",
			[]string{"2026-03-28 02:30:00 +0100", "2026-03-30 02:00:00 +0200"}},
		{"interval over a gap", "CRON_TZ=Europe/Berlin */30 * * * *", "2026-03-29 01:15:00 +0100",
			[]string{"2026-03-29 01:30:00 +0100", "2026-03-29 03:00:00 +0200", "2026-03-29 03:30:00 +0200"}},
		{"every second hour over a gap", "CRON_TZ=Europe/Berlin 0 */2 * * *", "2026-03-29 00:00:00 +0100",
			[]string{"2026-03-29 04:00:00 +0200", "2026-03-29 06:00:00 +0200"}},

		// Berlin, 25 October 2026: 02:00 to 03:00 comes twice.
		{"fixed in an overlap", "CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-24 03:00:00 +0200",
			[]string{"2026-10-25 02:30:00 +0200", "2026-10-26 02:30:00 +0100"}},
		{"fixed, asked between the two", "CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-25 02:00:00 +0100",
			[]string{"2026-10-26 02:30:00 +0100"}},
		{"fixed at the edges of an overlap", "CRON_TZ=Europe/Berlin 0,59 1-3 25 10 *", "2026-10-25 01:30:00 +0200",
			[]string{"2026-10-25 01:59:00 +0200", "2026-10-25 02:00:00 +0200", "2026-10-25 02:59:00 +0200", "2026-10-25 03:00:00 +0100", "2026-10-25 03:59:00 +0100"}},
		{"interval in an overlap", "CRON_TZ=Europe/Berlin */30 2 * * *", "2026-10-24 03:00:00 +0200",
			[]string{"2026-10-25 02:00:00 +0200", "2026-10-25 02:30:00 +0200", "2026-10-25 02:00:00 +0100", "2026-10-25 02:30:00 +0100", "2026-10-26 02:00:00 +0100"}},
		{"hourly over an overlap", "CRON_TZ=Europe/Berlin @hourly", "2026-10-25 01:00:00 +0200",
			[]string{"2026-10-25 02:00:00 +0200", "2026-10-25 02:00:00 +0100", "2026-10-25 03:00:00 +0100"}},

		{"a gap and what follows are one", "CRON_TZ=Europe/Berlin 0 2,3 * * *", "2026-03-29 00:00:00 +0100",
			[]string{"2026-03-29 03:00:00 +0200", "2026-03-30 02:00:00 +0200"}},
		{"0 */2 in an overlap", "CRON_TZ=Europe/Berlin 0 */2 * * *", "2026-10-24 23:00:00 +0200",
			[]string{"2026-10-25 00:00:00 +0200", "2026-10-25 02:00:00 +0200", "2026-10-25 02:00:00 +0100", "2026-10-25 04:00:00 +0100"}},
		{"0 2,3 in an overlap", "CRON_TZ=Europe/Berlin 0 2,3 * * *", "2026-10-24 23:00:00 +0200",
			[]string{"2026-10-25 02:00:00 +0200", "2026-10-25 03:00:00 +0100"}},

		{"New York, gap", "CRON_TZ=America/New_York 30 2 * * *", "2026-03-07 12:00:00 -0500",
			[]string{"2026-03-08 03:00:00 -0400", "2026-03-09 02:30:00 -0400"}},
		{"New York, overlap", "CRON_TZ=America/New_York 30 1 * * *", "2026-10-31 12:00:00 -0400",
			[]string{"2026-11-01 01:30:00 -0400", "2026-11-02 01:30:00 -0500"}},
		{"Dublin, whose winter is the saving", "CRON_TZ=Europe/Dublin 30 1 * * *", "2026-03-28 12:00:00 +0000",
			[]string{"2026-03-29 02:00:00 +0100", "2026-03-30 01:30:00 +0100"}},
		{"Dublin, overlap", "CRON_TZ=Europe/Dublin 30 1 * * *", "2026-10-24 12:00:00 +0100",
			[]string{"2026-10-25 01:30:00 +0100", "2026-10-26 01:30:00 +0000"}},
		{"Casablanca leaves its hour for Ramadan", "CRON_TZ=Africa/Casablanca 30 2 * * *", "2026-02-14 12:00:00 +0100",
			[]string{"2026-02-15 02:30:00 +0100", "2026-02-16 02:30:00 +0000"}},
		{"Casablanca comes back", "CRON_TZ=Africa/Casablanca 30 2 * * *", "2026-03-21 12:00:00 +0000",
			[]string{"2026-03-22 03:00:00 +0100", "2026-03-23 02:30:00 +0100"}},

		// Lord Howe moves by half an hour.
		{"Lord Howe, gap 02:00 to 02:30", "CRON_TZ=Australia/Lord_Howe 15 2 * * *", "2026-10-03 12:00:00 +1030",
			[]string{"2026-10-04 02:30:00 +1100", "2026-10-05 02:15:00 +1100"}},
		{"Lord Howe, hourly over the gap", "CRON_TZ=Australia/Lord_Howe @hourly", "2026-10-04 00:30:00 +1030",
			[]string{"2026-10-04 01:00:00 +1030", "2026-10-04 03:00:00 +1100"}},
		{"Lord Howe, overlap 01:30 to 02:00", "CRON_TZ=Australia/Lord_Howe 45 1 * * *", "2026-04-04 12:00:00 +1100",
			[]string{"2026-04-05 01:45:00 +1100", "2026-04-06 01:45:00 +1030"}},
		{"Lord Howe, interval in the overlap", "CRON_TZ=Australia/Lord_Howe */15 1 5 4 *", "2026-04-05 01:15:00 +1100",
			[]string{"2026-04-05 01:30:00 +1100", "2026-04-05 01:45:00 +1100", "2026-04-05 01:30:00 +1030", "2026-04-05 01:45:00 +1030", "2027-04-05 01:00:00 +1030"}},
		{"Troll moves by two hours, gap", "CRON_TZ=Antarctica/Troll 0,30 1,2 * * *", "2026-03-28 12:00:00 +0000",
			[]string{"2026-03-29 03:00:00 +0200", "2026-03-30 01:00:00 +0200"}},
		{"Troll, overlap", "CRON_TZ=Antarctica/Troll 30 1,2 * * *", "2026-10-24 12:00:00 +0200",
			[]string{"2026-10-25 01:30:00 +0200", "2026-10-25 02:30:00 +0200", "2026-10-26 01:30:00 +0000"}},
		{"Troll, interval in the overlap", "CRON_TZ=Antarctica/Troll */30 1 25 10 *", "2026-10-25 00:59:00 +0200",
			[]string{"2026-10-25 01:00:00 +0200", "2026-10-25 01:30:00 +0200", "2026-10-25 01:00:00 +0000", "2026-10-25 01:30:00 +0000", "2027-10-25 01:00:00 +0200"}},
		{"Troll, asked late in the second hours", "CRON_TZ=Antarctica/Troll 45 2 * * *", "2026-10-25 02:15:00 +0000",
			[]string{"2026-10-26 02:45:00 +0000"}},

		// Days without a midnight.
		{"Sao Paulo, 2018", "CRON_TZ=America/Sao_Paulo @daily", "2018-11-02 12:00:00 -0300",
			[]string{"2018-11-03 00:00:00 -0300", "2018-11-04 01:00:00 -0200", "2018-11-05 00:00:00 -0200"}},
		{"Sao Paulo, monthly in a gap", "CRON_TZ=America/Sao_Paulo 0 0 4 11 *", "2018-11-02 12:00:00 -0300",
			[]string{"2018-11-04 01:00:00 -0200", "2019-11-04 00:00:00 -0300"}},
		{"Sao Paulo, the last hour twice", "CRON_TZ=America/Sao_Paulo 30 23 * * *", "2018-02-16 12:00:00 -0200",
			[]string{"2018-02-16 23:30:00 -0200", "2018-02-17 23:30:00 -0200", "2018-02-18 23:30:00 -0300"}},
		{"Sao Paulo, midnight after the last hour twice", "CRON_TZ=America/Sao_Paulo @daily", "2018-02-17 23:30:00 -0200",
			[]string{"2018-02-18 00:00:00 -0300"}},
		{"Beirut", "CRON_TZ=Asia/Beirut @daily", "2026-03-28 12:00:00 +0200",
			[]string{"2026-03-29 01:00:00 +0300", "2026-03-30 00:00:00 +0300"}},
		{"Cairo", "CRON_TZ=Africa/Cairo @daily", "2026-04-23 12:00:00 +0200",
			[]string{"2026-04-24 01:00:00 +0300", "2026-04-25 00:00:00 +0300"}},
		{"Cairo, the last hour twice", "CRON_TZ=Africa/Cairo 30 23 * * *", "2026-10-29 12:00:00 +0300",
			[]string{"2026-10-29 23:30:00 +0300", "2026-10-30 23:30:00 +0200"}},

		// Apia had no 30 December 2011, Kwajalein no 21 August 1993.
		{"a day skipped", "CRON_TZ=Pacific/Apia 0 12 * * *", "2011-12-28 13:00:00 -1000",
			[]string{"2011-12-29 12:00:00 -1000", "2011-12-31 00:00:00 +1400", "2011-12-31 12:00:00 +1400"}},
		{"a date skipped", "CRON_TZ=Pacific/Apia 0 12 30 12 *", "2011-01-01 00:00:00 -1000",
			[]string{"2011-12-31 00:00:00 +1400", "2012-12-30 12:00:00 +1400"}},
		{"the skipped day's midnight", "CRON_TZ=Pacific/Apia @daily", "2011-12-29 12:00:00 -1000",
			[]string{"2011-12-31 00:00:00 +1400", "2012-01-01 00:00:00 +1400"}},
		{"interval over the skipped day", "CRON_TZ=Pacific/Apia 0 */12 * * *", "2011-12-29 00:00:00 -1000",
			[]string{"2011-12-29 12:00:00 -1000", "2011-12-31 00:00:00 +1400"}},
		{"interval on the skipped date", "CRON_TZ=Pacific/Apia 0 */12 30 12 *", "2011-01-01 00:00:00 -1000",
			[]string{"2012-12-30 00:00:00 +1400"}},
		{"Kwajalein", "CRON_TZ=Pacific/Kwajalein 0 12 21 8 *", "1993-08-20 12:00:00 -1200",
			[]string{"1993-08-22 00:00:00 +1200", "1994-08-21 12:00:00 +1200"}},

		{"Kwajalein, 30 September 1969 twice", "CRON_TZ=Pacific/Kwajalein 0 20 * * *", "1969-09-29 21:00:00 +1100",
			[]string{"1969-09-30 20:00:00 +1100", "1969-10-01 20:00:00 -1200"}},

		// Offsets that are no whole hours, or no whole minutes.
		{"Kathmandu", "CRON_TZ=Asia/Kathmandu 0 9 * * *", "2026-03-01 00:00:00 +0000",
			[]string{"2026-03-01 09:00:00 +0545"}},
		{"Monrovia, 44:30 behind until 1972", "CRON_TZ=Africa/Monrovia 30 0 * * *", "1972-01-05 12:00:00 +0000",
			[]string{"1972-01-06 00:30:00 -0044", "1972-01-07 00:44:30 +0000", "1972-01-08 00:30:00 +0000"}},

		// The year's end, leap years too.
		{"the last day of a leap year", "CRON_TZ=Europe/Berlin 0 12 * * *", "2060-12-30 13:00:00 +0100",
			[]string{"2060-12-31 12:00:00 +0100", "2061-01-01 12:00:00 +0100"}},
		{"its last minutes", "CRON_TZ=America/New_York */20 * * * *", "2060-12-31 23:20:00 -0500",
			[]string{"2060-12-31 23:40:00 -0500", "2061-01-01 00:00:00 -0500"}},
		{"south", "CRON_TZ=Australia/Sydney 59 23 31 12 *", "2060-12-31 00:00:00 +1100",
			[]string{"2060-12-31 23:59:00 +1100", "2061-12-31 23:59:00 +1100"}},
	}
	for _, test := range tests {
		got := firings(mustParse(t, test.expr), parseTime(t, test.after), len(test.want))
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s after %s: (-want +got)\n%s", test.name, test.expr, test.after, diff)
		}
	}
}

// A schedule does not depend on when it was asked: to ask anywhere before a
// firing gives that firing.
func TestNextIsTheSameFromAnywhere(t *testing.T) {
	for _, expr := range []string{"CRON_TZ=Europe/Berlin 15,45 1-3 * * *", "CRON_TZ=Africa/Cairo */20 * * * *", "CRON_TZ=Australia/Lord_Howe @hourly"} {
		s := mustParse(t, expr)
		for _, start := range []time.Time{time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC), time.Date(2026, 10, 24, 0, 0, 0, 0, time.UTC), time.Date(2026, 10, 29, 0, 0, 0, 0, time.UTC)} {
			next := s.Next(start)
			for at := start; at.Sub(start) < 2*day; at = at.Add(73 * time.Second) {
				if !next.After(at) {
					next = s.Next(next)
				}
				if got := s.Next(at); !got.Equal(next) {
					t.Fatalf("%s after %v: %v, want %v", expr, at, got, next)
				}
			}
		}
	}
}

var costly = []string{
	"* * * * *",
	"CRON_TZ=Europe/Berlin * * * * *",
	"CRON_TZ=Europe/Berlin 30 2 * * *",
	"0 0 29 2 *",
	"CRON_TZ=Europe/Berlin 0 0 29 2 *",
	"CRON_TZ=Europe/Berlin * 0 29 2 *",
	"CRON_TZ=Europe/Berlin 0 0 29 2 */7", // up to 40 years away
	"CRON_TZ=Europe/Berlin * * 29 2 */7",
	"CRON_TZ=Africa/Casablanca */59 */23 */31 12 *",
	"@every 1h",
}

// The longest waits, over all years until 2140.
func TestNextIsFast(t *testing.T) {
	for _, expr := range costly {
		s := mustParse(t, expr)
		worst := time.Duration(0)
		for year := 1960; year < 2140; year++ {
			after := time.Date(year, 3, 1, 0, 0, 0, 0, time.UTC)
			best := time.Hour
			for range 5 { // the least of some: others use this machine
				start := time.Now()
				s.Next(after)
				best = min(best, time.Since(start))
			}
			worst = max(worst, best)
		}
		if worst > 2*time.Millisecond { // some 10 µs without the race detector
			t.Errorf("%s: %v", expr, worst)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	after := time.Date(2088, 3, 1, 0, 0, 0, 0, time.UTC) // 2100 is no leap year
	for _, expr := range costly {
		s := mustParse(b, expr)
		b.Run(expr, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Next(after)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, expr := range []string{"*/5 * * * *", "CRON_TZ=Europe/Berlin 0,30 8-18/2 1-7 JAN-MAR MON-FRI"} {
		b.Run(expr, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(expr); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range slices.Concat(costly, []string{"CRON_TZ=", "TZ=UTC 1-2/3,*/4 ? 7 jan-MAR FRI-SUN", "@every 90s", "0 0 31 2 *", "0 0 0 0 0 0"}) {
		f.Add(seed, int64(1774746000), int64(0))
	}
	f.Fuzz(func(t *testing.T, expr string, seconds, nanoseconds int64) {
		s, err := Parse(expr)
		if err != nil {
			if s != nil || len(err.Error()) > 1<<10 {
				t.Errorf("%q: %v, %d bytes of error", expr, s, len(err.Error()))
			}
			return
		}
		again, err := Parse(s.String())
		if err != nil || *again != *s {
			t.Errorf("%q is echoed as %q, which is %+v, %v", expr, s, again, err)
		}
		const century = 100 * 366 * 86400
		after := time.Unix(seconds%(3*century), nanoseconds%1e9)
		first := s.Next(after)
		if first.IsZero() || !first.After(after) || first.Nanosecond() != 0 {
			t.Fatalf("%q after %v: %v", expr, after, first)
		}
		if before := first.Add(-1); !s.Next(before).Equal(first) {
			t.Errorf("%q after %v: %v, want %v", expr, before, s.Next(before), first)
		}
		if second := s.Next(first); !second.After(first) {
			t.Errorf("%q after %v: %v", expr, first, second)
		}
		middle := after.Add(first.Sub(after) / 2)
		if got := s.Next(middle); !got.Equal(first) {
			t.Errorf("%q: %v after %v, but %v after %v", expr, first, after, got, middle)
		}
	})
}

func ExampleSchedule_Next() {
	s, err := Parse("CRON_TZ=Europe/Berlin 30 2 * * *")
	if err != nil {
		fmt.Println(err)
		return
	}
	at := time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC)
	for range 3 {
		at = s.Next(at)
		fmt.Println(at.Format(time.RFC1123Z))
	}
	// Output:
	// Sat, 28 Mar 2026 02:30:00 +0100
	// Sun, 29 Mar 2026 03:00:00 +0200
	// Mon, 30 Mar 2026 02:30:00 +0200
}
