package wire

import (
	"math"
	"time"
)

// maxDuration keeps sums of durations and times far from overflow.
const maxDuration = 100 * 365 * 24 * time.Hour

const durationGrammar = "expected a duration such as 50s, 1.5h or 1d10h30m (units s m h d; a number alone is seconds), at most 36500d"

// ParseDuration reads one or more numbers, each with a unit s, m, h or d, as in
// "1d10h30m". Numbers may have decimals; a number alone is seconds. Nothing is
// negative. The error is an *Error without a Field.
func ParseDuration(s string) (time.Duration, error) {
	var total time.Duration
	for rest := s; ; {
		number, fraction, tail, ok := cutNumber(rest)
		if !ok {
			break
		}
		unit := time.Second
		if tail != "" {
			if unit = unitOf(tail[0]); unit == 0 {
				break
			}
			tail = tail[1:]
		} else if rest != s {
			break // "1h30": seconds or minutes? Only a whole input goes without a unit.
		}
		if number > int64(maxDuration/unit) {
			break
		}
		total += time.Duration(number)*unit + time.Duration(math.Round(fraction*float64(unit)))
		if total > maxDuration {
			break
		}
		if tail == "" {
			return total, nil
		}
		rest = tail
	}
	return 0, errorf("", "%s, got %s", durationGrammar, quote(s))
}

func unitOf(b byte) time.Duration {
	switch b {
	case 's':
		return time.Second
	case 'm':
		return time.Minute
	case 'h':
		return time.Hour
	case 'd':
		return 24 * time.Hour
	}
	return 0
}

// cutNumber cuts digits ["." digits] off the front of s. Numbers no duration
// can have are not ok.
func cutNumber(s string) (whole int64, fraction float64, tail string, ok bool) {
	i := 0
	for ; i < len(s) && isDigit(s[i]); i++ {
		if whole = whole*10 + int64(s[i]-'0'); whole > int64(maxDuration/time.Second) {
			return 0, 0, "", false
		}
	}
	if i == 0 {
		return 0, 0, "", false
	}
	if i == len(s) || s[i] != '.' {
		return whole, 0, s[i:], true
	}
	i++
	start, scale := i, 0.1
	for ; i < len(s) && isDigit(s[i]); i++ {
		fraction += float64(s[i]-'0') * scale
		scale /= 10
	}
	return whole, fraction, s[i:], i > start
}
