package cron

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxExpressionBytes = 1 << 10
	maxZoneBytes       = 64

	minEvery = time.Minute
	maxEvery = 36500 * day
)

const grammar = "expected minute hour day-of-month month day-of-week, or @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually or @every 1h30m; with CRON_TZ=<zone> in front unless in UTC"

// Parse reads an expression of five fields,
//
//	minute        0-59
//	hour          0-23
//	day of month  1-31
//	month         1-12 or JAN-DEC
//	day of week   0-7 or SUN-SAT; 0 and 7 are Sunday
//
// each a list, separated by commas, of n, a-b, a-b/step, a/step (from a to the
// largest), * and */step; ? is *, and names have any case. Or it reads @hourly,
// @daily, @midnight, @weekly, @monthly, @yearly, @annually, or @every with a Go
// duration of whole seconds, from 1m to 876000h. In front of all but @every may
// stand CRON_TZ=<zone> or TZ=<zone>, a name of the IANA database; the default is
// UTC.
//
// A date that no year has is refused. The error names what was wrong and what
// was expected.
func Parse(expr string) (*Schedule, error) {
	if len(expr) > maxExpressionBytes {
		return nil, fmt.Errorf("expected a cron expression of at most %d bytes, got %d", maxExpressionBytes, len(expr))
	}
	s := &Schedule{expression: strings.TrimSpace(expr), zone: time.UTC}
	if err := s.parse(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Schedule) parse() (err error) {
	words := strings.FieldsFunc(s.expression, func(r rune) bool { return r == ' ' || r == '\t' })
	if len(words) == 0 {
		return fmt.Errorf("%s; got nothing", grammar)
	}
	name, zoned := cutZone(words[0])
	if zoned {
		if s.zone, err = loadZone(name); err != nil {
			return err
		}
		if words = words[1:]; len(words) == 0 {
			return fmt.Errorf("%s; got only a zone", grammar)
		}
	}
	if words[0] == "@every" {
		if zoned {
			return errors.New("@every takes no time zone: it counts from 1970-01-01T00:00:00Z")
		}
		return s.parseEvery(words[1:])
	}
	if fields, ok := descriptors[words[0]]; ok && len(words) == 1 {
		words = strings.Fields(fields)
	}
	return s.parseFields(words)
}

var descriptors = map[string]string{
	"@hourly":   "0 * * * *",
	"@daily":    "0 0 * * *",
	"@midnight": "0 0 * * *",
	"@weekly":   "0 0 * * 0",
	"@monthly":  "0 0 1 * *",
	"@yearly":   "0 0 1 1 *",
	"@annually": "0 0 1 1 *",
}

func (s *Schedule) parseEvery(words []string) error {
	if len(words) == 1 {
		d, err := time.ParseDuration(words[0])
		if err == nil && d >= minEvery && d <= maxEvery && d%time.Second == 0 {
			s.every = d
			return nil
		}
	}
	return fmt.Errorf("@every: expected one duration of whole seconds from 1m to 876000h, such as 90s or 1h30m, got %s", quote(strings.Join(words, " ")))
}

func (s *Schedule) parseFields(words []string) (err error) {
	switch {
	case len(words) == len(fields)+1:
		return fmt.Errorf("got 6 fields: there is none for seconds; %s", grammar)
	case len(words) == 1:
		return fmt.Errorf("%s; got %s", grammar, quote(words[0]))
	case len(words) != len(fields):
		return fmt.Errorf("%s; got %d fields", grammar, len(words))
	}
	var sets [len(fields)]uint64
	var wildcard [len(fields)]bool
	for i := range fields {
		if sets[i], err = fields[i].parse(words[i]); err != nil {
			return err
		}
		wildcard[i] = strings.ContainsAny(words[i], "*?")
	}
	s.minute, s.hour, s.dayOfMonth, s.month, s.dayOfWeek = sets[0], sets[1], sets[2], sets[3], sets[4]
	s.dayOfWeek = (s.dayOfWeek | s.dayOfWeek>>7) & 0x7f
	s.interval = wildcard[0] || wildcard[1]
	s.eitherDay = !wildcard[2] && !wildcard[4]
	if !s.eitherDay && !s.hasDate() {
		return fmt.Errorf("day of month %s, month %s: expected a day that the month has in some year", quote(words[2]), quote(words[3]))
	}
	return nil
}

// hasDate says whether a month has a day of the month field. Any such date falls
// on every day of the week in some year.
func (s *Schedule) hasDate() bool {
	for month := time.January; month <= time.December; month++ {
		const leapYear = 2000
		length := time.Date(leapYear, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
		if s.month>>month&1 == 1 && first(s.dayOfMonth) <= length {
			return true
		}
	}
	return false
}

type field struct {
	name     string
	min, max int // what * means; a step without an end ends at max
	limit    int // the largest number: 7 for Sunday, else max
	numbers  string
	names    []string // of min, min+1, …
}

var fields = [5]field{
	{name: "minute", min: 0, max: 59, limit: 59, numbers: "0 to 59"},
	{name: "hour", min: 0, max: 23, limit: 23, numbers: "0 to 23"},
	{name: "day of month", min: 1, max: 31, limit: 31, numbers: "1 to 31"},
	{name: "month", min: 1, max: 12, limit: 12, numbers: "1 to 12 or JAN to DEC",
		names: []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{name: "day of week", min: 0, max: 6, limit: 7, numbers: "0 to 7 or SUN to SAT",
		names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
}

// parse is the set of numbers of a field.
func (f *field) parse(text string) (set uint64, err error) {
	for element := range strings.SplitSeq(text, ",") {
		low, high, step, err := f.element(element)
		if err != nil {
			return 0, fmt.Errorf("%s %s: expected %s, as *, n, a-b, a-b/step, a/step or */step, separated by commas; %w", f.name, quote(text), f.numbers, err)
		}
		for n := low; n <= high; n += step {
			set |= 1 << n
		}
	}
	return set, nil
}

func (f *field) element(text string) (low, high, step int, err error) {
	span, every, stepped := strings.Cut(text, "/")
	if low, high, err = f.span(span, stepped); err != nil {
		return 0, 0, 0, err
	}
	if !stepped {
		return low, high, 1, nil
	}
	most := f.max - f.min + 1
	if step = number(every); step < 1 || step > most {
		return 0, 0, 0, fmt.Errorf("a step is 1 to %d, got %s", most, quote(every))
	}
	return low, high, step, nil
}

func (f *field) span(text string, stepped bool) (low, high int, err error) {
	if text == "*" || text == "?" {
		return f.min, f.max, nil
	}
	start, end, ranged := strings.Cut(text, "-")
	if low, err = f.value(start); err != nil {
		return 0, 0, err
	}
	if !ranged {
		low %= f.max + 1 // 7 is Sunday
		if stepped {
			return low, f.max, nil
		}
		return low, low, nil
	}
	if high, err = f.value(end); err != nil {
		return 0, 0, err
	}
	if f.limit > f.max && strings.EqualFold(end, "SUN") && low > 0 {
		high = f.limit // FRI-SUN
	}
	if low > high {
		return 0, 0, fmt.Errorf("the range %s ends before it begins", quote(text))
	}
	return low, high, nil
}

func (f *field) value(text string) (int, error) {
	for i, name := range f.names {
		if strings.EqualFold(text, name) {
			return f.min + i, nil
		}
	}
	if n := number(text); n >= f.min && n <= f.limit {
		return n, nil
	}
	return 0, fmt.Errorf("got %s", quote(text))
}

// number is -1 for what is not one to three digits.
func number(text string) int {
	if len(text) > 3 {
		return -1
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

func cutZone(word string) (name string, ok bool) {
	if name, ok = strings.CutPrefix(word, "CRON_TZ="); ok {
		return name, true
	}
	return strings.CutPrefix(word, "TZ=")
}

// zones are those in use, by name. Schedules share them: one has some kilobytes.
var zones = struct {
	sync.RWMutex
	byName map[string]*time.Location
}{byName: map[string]*time.Location{}}

// maxZones is more than there are. File systems that ignore case have more names.
const maxZones = 1000

func loadZone(name string) (*time.Location, error) {
	zones.RLock()
	zone := zones.byName[name]
	zones.RUnlock()
	if zone != nil {
		return zone, nil
	}
	if isZoneName(name) {
		zone, _ = time.LoadLocation(name)
	}
	if zone == nil {
		return nil, fmt.Errorf("time zone %s: expected a name of the IANA time zone database, such as Europe/Berlin, and a space after it", quote(name))
	}
	zones.Lock()
	defer zones.Unlock()
	if len(zones.byName) < maxZones {
		zones.byName[name] = zone
	}
	return zone, nil
}

// isZoneName keeps away paths, the zone of this machine, and the zones that
// count leap seconds, which Go reads wrongly.
func isZoneName(name string) bool {
	lower := strings.ToLower(name)
	if name == "" || len(name) > maxZoneBytes || lower == "local" || lower == "localtime" || strings.HasPrefix(lower, "right/") || path.Clean("/"+name) != "/"+name {
		return false
	}
	return strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz0123456789_+-/") == ""
}

// quote makes a part of an expression fit for an error message: escaped and not
// long.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(strings.ToValidUTF8(s[:most], "")) + "…"
	}
	return strconv.Quote(s)
}
