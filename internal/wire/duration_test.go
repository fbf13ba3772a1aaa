package wire

import (
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	tests := map[string]time.Duration{
		"50s":                                  50 * time.Second,
		"1d10h30m":                             day + 10*time.Hour + 30*time.Minute,
		"1h30m3s":                              5403 * time.Second,
		"10d":                                  10 * day,
		"30m1h":                                90 * time.Minute,
		"1s1s":                                 2 * time.Second,
		"0":                                    0,
		"0s":                                   0,
		"60":                                   time.Minute,
		"007s":                                 7 * time.Second,
		"1.5s":                                 1500 * time.Millisecond,
		"1.5":                                  1500 * time.Millisecond,
		"0.7s":                                 700 * time.Millisecond,
		"1.001s":                               1001 * time.Millisecond,
		"0.5d1.25h":                            12*time.Hour + 75*time.Minute,
		"36500d":                               maxDuration,
		"1." + strings.Repeat("0", 400) + "1s": time.Second,
	}
	for in, want := range tests {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
}

func TestParseDurationRefuses(t *testing.T) {
	for _, in := range []string{
		"", " ", "s", "-1s", "+1s", "1 s", " 1s", "1h 30m", "1h30", "1.s", ".5s", "1..5s", "1.5.5s", "1ms", "500ms", "1w", "1S",
		"1e3s", "NaN", "Inf", "0x10s", "1_0s", "١s", "36501d", "36500d1s", "99999999999999999999s", "3153600001", "36499.9d99999h",
		strings.Repeat("9", 1000),
	} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", in, got)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"50s", "1d10h30m", "1.5s", "30", "36500d", "1h30", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 || d > maxDuration {
			t.Errorf("ParseDuration(%q) = %v", s, d)
		}
		if strings.Trim(s, "0123456789.smhd") != "" {
			t.Errorf("ParseDuration(%q) took what is not in the grammar", s)
		}
	})
}
