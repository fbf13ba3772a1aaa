package cron

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"time"
)

func span(a, b int) (all []int) {
	for n := a; n <= b; n++ {
		all = append(all, n)
	}
	return all
}

func TestFields(t *testing.T) {
	const minute, hour, dayOfMonth, month, dayOfWeek = 0, 1, 2, 3, 4
	tests := []struct {
		field int
		text  string
		want  []int
	}{
		{minute, "*", span(0, 59)},
		{minute, "?", span(0, 59)},
		{minute, "0", []int{0}},
		{minute, "59", []int{59}},
		{minute, "05", []int{5}},
		{minute, "005", []int{5}},
		{minute, "*/15", []int{0, 15, 30, 45}},
		{minute, "?/15", []int{0, 15, 30, 45}},
		{minute, "*/1", span(0, 59)},
		{minute, "*/60", []int{0}},
		{minute, "*/59", []int{0, 59}},
		{minute, "5/20", []int{5, 25, 45}},
		{minute, "59/1", []int{59}},
		{minute, "10-20/5", []int{10, 15, 20}},
		{minute, "10-20/7", []int{10, 17}},
		{minute, "7-7", []int{7}},
		{minute, "1,2,3-5,50/5", []int{1, 2, 3, 4, 5, 50, 55}},
		{minute, "3,1,2,1", []int{1, 2, 3}},
		{minute, "5,*/30", []int{0, 5, 30}},
		{hour, "0-23", span(0, 23)},
		{hour, "*/24", []int{0}},
		{hour, "22/1", []int{22, 23}},
		{dayOfMonth, "*", span(1, 31)},
		{dayOfMonth, "*/2", []int{1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31}},
		{dayOfMonth, "2/10", []int{2, 12, 22}},
		{dayOfMonth, "*/31", []int{1}},
		{month, "*/3", []int{1, 4, 7, 10}},
		{month, "2/5", []int{2, 7, 12}},
		{month, "JAN", []int{1}},
		{month, "dec", []int{12}},
		{month, "Feb-apr,SEP", []int{2, 3, 4, 9}},
		{month, "jan-12/6", []int{1, 7}},
		{month, "nov/1", []int{11, 12}},
		{dayOfWeek, "*", span(0, 6)},
		{dayOfWeek, "0-7", span(0, 6)},
		{dayOfWeek, "1-7", span(0, 6)},
		{dayOfWeek, "0", []int{0}},
		{dayOfWeek, "7", []int{0}},
		{dayOfWeek, "7-7", []int{0}},
		{dayOfWeek, "0,7", []int{0}},
		{dayOfWeek, "5-7", []int{0, 5, 6}},
		{dayOfWeek, "5-7/2", []int{0, 5}},
		{dayOfWeek, "FRI-SUN", []int{0, 5, 6}},
		{dayOfWeek, "5-sun", []int{0, 5, 6}},
		{dayOfWeek, "sun-tue", []int{0, 1, 2}},
		{dayOfWeek, "SUN-SUN", []int{0}},
		{dayOfWeek, "sun-7", span(0, 6)},
		{dayOfWeek, "mOn-FrI", span(1, 5)},
		{dayOfWeek, "*/2", []int{0, 2, 4, 6}},
		{dayOfWeek, "*/3", []int{0, 3, 6}},
		{dayOfWeek, "*/7", []int{0}},
		{dayOfWeek, "1/2", []int{1, 3, 5}},
		{dayOfWeek, "7/2", []int{0, 2, 4, 6}},
		{dayOfWeek, "sun/3", []int{0, 3, 6}},
		{dayOfWeek, "sat,sun", []int{0, 6}},
	}
	for _, test := range tests {
		words := []string{"*", "*", "*", "*", "*"}
		words[test.field] = test.text
		s, err := Parse(strings.Join(words, " "))
		if err != nil {
			t.Errorf("%v: %v", words, err)
			continue
		}
		var got []int
		for set := []uint64{s.minute, s.hour, s.dayOfMonth, s.month, s.dayOfWeek}[test.field]; set != 0; set &= set - 1 {
			got = append(got, bits.TrailingZeros64(set))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s %s: %v, want %v", fields[test.field].name, test.text, got, test.want)
		}
	}
}

func TestParse(t *testing.T) {
	tests := []struct {
		in, echo, zone      string
		interval, eitherDay bool
	}{
		{in: "* * * * *", interval: true},
		{in: " \t\r\n0 4 * * *\n", echo: "0 4 * * *"},
		{in: "0\t4  *   * *", echo: "0\t4  *   * *"},
		{in: "CRON_TZ=America/New_York 0 4 * * *", zone: "America/New_York"},
		{in: "  TZ=Asia/Kathmandu \t 0 4 * * *", echo: "TZ=Asia/Kathmandu \t 0 4 * * *", zone: "Asia/Kathmandu"},
		{in: "CRON_TZ=UTC 0 4 * * *"},
		{in: "CRON_TZ=Etc/GMT+5 @daily", zone: "Etc/GMT+5"},
		{in: "TZ=EST5EDT @hourly", zone: "EST5EDT", interval: true},
		{in: "@every 1h30m"},
		{in: "@every   90s"},
		{in: "@every 1.5h"},
		{in: "@every 876000h"},
		{in: "@every 1m0s0ms"},
		{in: "0 0 29 2 *"},
		{in: "0 0 29 FEB */2"},
		{in: "0 0 31 4,5 *"},
		{in: "0 0 31 2 1", eitherDay: true}, // the Mondays of February
		{in: "0 0 13 * 5", eitherDay: true},
		{in: "0 0 */2 * 5"},
		{in: "0 0 1,? * 5"},
		{in: "0 0 13 * */2"},
		{in: "0-59/15 0/2 * * *"},
		{in: "0,30 0-23 ? * ?"},
		{in: "0 */2 * * *", interval: true},
		{in: "*/15 2 * * *", interval: true},
		{in: "0 2,? * * *", interval: true},
	}
	for _, test := range tests {
		s, err := Parse(test.in)
		if err != nil {
			t.Errorf("%q: %v", test.in, err)
			continue
		}
		if test.echo == "" {
			test.echo = test.in
		}
		if test.zone == "" {
			test.zone = "UTC"
		}
		if s.String() != test.echo || s.zone.String() != test.zone || s.interval != test.interval || s.eitherDay != test.eitherDay {
			t.Errorf("%q: %q in %s, interval %v, either day %v", test.in, s, s.zone, s.interval, s.eitherDay)
		}
	}
}

func TestDescriptors(t *testing.T) {
	for descriptor, fields := range map[string]string{
		"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
		"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
	} {
		got, want := mustParse(t, descriptor), *mustParse(t, fields)
		want.expression = descriptor
		if *got != want {
			t.Errorf("%s is %+v, want %+v", descriptor, got, want)
		}
	}
}

// Every refusal says what was wrong, quoted, and what was expected.
func TestRefused(t *testing.T) {
	tests := map[string]string{
		"":                                      "expected minute hour day-of-month month day-of-week, or @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually or @every 1h30m; with CRON_TZ=<zone> in front unless in UTC; got nothing",
		" \t\n":                                 "; got nothing",
		"hourly":                                `; got "hourly"`,
		"@reboot":                               `; got "@reboot"`,
		"@Daily":                                `; got "@Daily"`,
		"@daily 5":                              "; got 2 fields",
		"* * * *":                               "expected minute hour day-of-month month day-of-week, or @hourly",
		"CRON_TZ=UTC * * * *":                   "; got 4 fields",
		"0 * * * * *":                           "got 6 fields: there is none for seconds; expected minute hour",
		"CRON_TZ=UTC 0 * * * * *":               "got 6 fields: there is none for seconds",
		"0 0 0 1 1 ? 2026":                      "; got 7 fields",
		"CRON_TZ=UTC":                           "; got only a zone",
		"CRON_TZ= * * * * *":                    `time zone "": expected a name of the IANA time zone database, such as Europe/Berlin, and a space after it`,
		"CRON_TZ=Europe/Atlantis * * * * *":     `time zone "Europe/Atlantis"`,
		"CRON_TZ=Local * * * * *":               `time zone "Local"`,
		"CRON_TZ=local * * * * *":               `time zone "local"`,
		"CRON_TZ=localtime * * * * *":           `time zone "localtime"`,
		"CRON_TZ=right/Europe/Berlin * * * * *": `time zone "right/Europe/Berlin"`,
		"CRON_TZ=../../etc/passwd * * * * *":    `time zone "../../etc/passwd"`,
		"CRON_TZ=/etc/localtime * * * * *":      `time zone "/etc/localtime"`,
		"CRON_TZ=Europe//Berlin * * * * *":      `time zone "Europe//Berlin"`,
		"CRON_TZ=Europe/ * * * * *":             `time zone "Europe/"`,
		"CRON_TZ=Europe * * * * *":              `time zone "Europe"`,
		"CRON_TZ=Europe/Ber\x00lin * * * * *":   `time zone "Europe/Ber\x00lin"`,
		"CRON_TZ=UTC@daily":                     `time zone "UTC@daily"`,
		"TZ=" + strings.Repeat("a", 300) + " * * * * *": `time zone "` + strings.Repeat("a", 80) + `"…`,
		"TZ=UTC CRON_TZ=UTC * * * * *":                  "got 6 fields",

		"@every":           `@every: expected one duration of whole seconds from 1m to 876000h, such as 90s or 1h30m, got ""`,
		"@every 59s":       `got "59s"`,
		"@every 1ns":       `got "1ns"`,
		"@every 0":         `got "0"`,
		"@every -1h":       `got "-1h"`,
		"@every 60":        `got "60"`,
		"@every 1d":        `got "1d"`,
		"@every 90.5s":     `got "90.5s"`,
		"@every 876000h1s": `got "876000h1s"`,
		"@every 9999999h":  `got "9999999h"`,
		"@every 1h 30m":    `got "1h 30m"`,
		"@every1h":         `; got "@every1h"`,
		"TZ=UTC @every 1h": "@every takes no time zone: it counts from 1970-01-01T00:00:00Z",

		"60 * * * *":                   `minute "60": expected 0 to 59, as *, n, a-b, a-b/step, a/step or */step, separated by commas; got "60"`,
		"-1 * * * *":                   `minute "-1": expected 0 to 59, as *, n, a-b, a-b/step, a/step or */step, separated by commas; got ""`,
		"+1 * * * *":                   `got "+1"`,
		"1_0 * * * *":                  `got "1_0"`,
		"0x5 * * * *":                  `got "0x5"`,
		"5.0 * * * *":                  `got "5.0"`,
		"٣ * * * *":                    `got "٣"`,
		"0001 * * * *":                 `got "0001"`,
		"99999999999999999999 * * * *": `got "99999999999999999999"`,
		"a * * * *":                    `minute "a"`,
		"jan * * * *":                  `minute "jan"`,
		"1,,2 * * * *":                 `minute "1,,2": expected 0 to 59, as *, n, a-b, a-b/step, a/step or */step, separated by commas; got ""`,
		",1 * * * *":                   `minute ",1"`,
		"1, * * * *":                   `minute "1,"`,
		"5-1 * * * *":                  `the range "5-1" ends before it begins`,
		"1-60 * * * *":                 `got "60"`,
		"1- * * * *":                   `got ""`,
		"1-2-3 * * * *":                `got "2-3"`,
		"*-5 * * * *":                  `got "*"`,
		"5-* * * * *":                  `got "*"`,
		"** * * * *":                   `got "**"`,
		"*5 * * * *":                   `got "*5"`,
		"*/ * * * *":                   `a step is 1 to 60, got ""`,
		"*/0 * * * *":                  `a step is 1 to 60, got "0"`,
		"*/61 * * * *":                 `a step is 1 to 60, got "61"`,
		"*/90 * * * *":                 `a step is 1 to 60, got "90"`,
		"*/-1 * * * *":                 `got "-1"`,
		"*/2/3 * * * *":                `got "2/3"`,
		"/5 * * * *":                   `got ""`,
		"60/5 * * * *":                 `got "60"`,
		"H * * * *":                    `got "H"`,
		"0 24 * * *":                   `hour "24": expected 0 to 23, as`,
		"0 */25 * * *":                 `a step is 1 to 24, got "25"`,
		"0 9\u00a0 * * *":              `hour "9\u00a0"`,
		"0 0 0 * *":                    `day of month "0": expected 1 to 31, as`,
		"0 0 32 * *":                   `day of month "32"`,
		"0 0 L * *":                    `day of month "L"`,
		"0 0 15W * *":                  `day of month "15W"`,
		"0 0 1 0 *":                    `month "0": expected 1 to 12 or JAN to DEC, as`,
		"0 0 1 13 *":                   `month "13"`,
		"0 0 1 january *":              `month "january"`,
		"0 0 1 nov-feb *":              `the range "nov-feb" ends before it begins`,
		"0 0 1 */13 *":                 `a step is 1 to 12, got "13"`,
		"0 0 * * 8":                    `day of week "8": expected 0 to 7 or SUN to SAT, as`,
		"0 0 * * 5-8":                  `got "8"`,
		"0 0 * * 5-0":                  `the range "5-0" ends before it begins`,
		"0 0 * * 7-2":                  `the range "7-2" ends before it begins`,
		"0 0 * * sat-mon":              `the range "sat-mon" ends before it begins`,
		"0 0 * * fri#2":                `got "fri#2"`,
		"0 0 * * 5L":                   `got "5L"`,
		"0 0 * * */8":                  `a step is 1 to 7, got "8"`,

		"0 0 31 2 *":          `day of month "31", month "2": expected a day that the month has in some year`,
		"0 0 30 FEB *":        `day of month "30", month "FEB"`,
		"0 0 30,31 2 *":       "expected a day that the month has",
		"0 0 31 2,4,6,9,11 *": "expected a day that the month has",
		"0 0 31 4 ?":          "expected a day that the month has",
		"0 0 30 2 */2":        "expected a day that the month has", // both must match
		"0 0 30/1 2 1,*":      "expected a day that the month has",

		strings.Repeat("0", 1025):             "expected a cron expression of at most 1024 bytes, got 1025",
		strings.Repeat("é", 200) + " * * * *": `minute "` + strings.Repeat("é", 40) + `"…: `,
	}
	for in, want := range tests {
		s, err := Parse(in)
		if err == nil {
			t.Errorf("%q was accepted", in)
			continue
		}
		if s != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
		if len(err.Error()) > 700 {
			t.Errorf("%q: an error of %d bytes", in, len(err.Error()))
		}
	}
}

// Every day that hasDate lets pass falls on every day of the week.
func TestEveryDateHasEveryWeekday(t *testing.T) {
	days := map[string]bool{}
	for d := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC); d.Year() < 2400; d = d.AddDate(0, 0, 1) {
		days[d.Format("Jan 2 Mon")] = true
	}
	if len(days) != 366*7 {
		t.Errorf("%d days", len(days))
	}
}

// One zone is loaded once, and made-up names take no memory.
func TestZonesAreShared(t *testing.T) {
	a, b := mustParse(t, "CRON_TZ=Asia/Tokyo @daily"), mustParse(t, "TZ=Asia/Tokyo 1 2 3 4 *")
	if a.zone != b.zone {
		t.Error("two zones")
	}
	count := func() int {
		zones.RLock()
		defer zones.RUnlock()
		return len(zones.byName)
	}
	before := count()
	for i := range 100 {
		if _, err := Parse(fmt.Sprintf("TZ=Made/Up%d @daily", i)); err == nil {
			t.Fatal("accepted")
		}
	}
	if after := count(); after != before {
		t.Errorf("%d names became %d", before, after)
	}
}

func mustParse(t testing.TB, expr string) *Schedule {
	t.Helper()
	s, err := Parse(expr)
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	return s
}
