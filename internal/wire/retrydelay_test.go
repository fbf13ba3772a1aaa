package wire

import (
	"strings"
	"testing"
	"time"
)

func TestDefaultBackoff(t *testing.T) {
	// The published table, to the second.
	want := []string{"12s", "2m28s", "30m8s", "6h7m6s", "24h0m0s", "24h0m0s"}
	for i, w := range want {
		if got := DefaultBackoff(i + 1).Truncate(time.Second).String(); got != w {
			t.Errorf("retry %d: got %s, want %s", i+1, got, w)
		}
	}
	for _, n := range []int{-1, 0} {
		if DefaultBackoff(n) != DefaultBackoff(1) {
			t.Errorf("DefaultBackoff(%d) is not that of the first retry", n)
		}
	}
	if got := DefaultBackoff(1 << 30); got != 24*time.Hour {
		t.Errorf("got %v for a large retry", got)
	}
}

func TestRetryDelay(t *testing.T) {
	const ms, day = time.Millisecond, 24 * time.Hour
	first, second := DefaultBackoff(1), DefaultBackoff(2)
	tests := map[string][2]time.Duration{ // delays after 0 and 1 retries
		"1000":                             {time.Second, time.Second},
		" 1000 * ( 1 + retried )\t":        {time.Second, 2 * time.Second},
		"pow(2, retried) * 1000":           {time.Second, 2 * time.Second},
		"max(1000, pow(2, retried) * 100)": {time.Second, time.Second},
		"min(retried,5)*1000":              {0, time.Second},
		"1+2*3":                            {7 * ms, 7 * ms},
		"(1+2)*3":                          {9 * ms, 9 * ms},
		"10-4-3":                           {3 * ms, 3 * ms},
		"64/4/2":                           {8 * ms, 8 * ms},
		"17%5*2":                           {4 * ms, 4 * ms},
		"7.5%2":                            {1500 * time.Microsecond, 1500 * time.Microsecond},
		"-2*-3":                            {6 * ms, 6 * ms},
		"2--3":                             {5 * ms, 5 * ms},
		"+-+-4":                            {4 * ms, 4 * ms},
		"1e3":                              {time.Second, time.Second},
		"1.5E+2":                           {150 * ms, 150 * ms},
		"25e-1":                            {2500 * time.Microsecond, 2500 * time.Microsecond},
		"exp(0)+sqrt(16)+abs(-1)":          {6 * ms, 6 * ms},
		"floor(1.9)+ceil(1.1)+round(1.5)":  {5 * ms, 5 * ms},
		"pow(pow(2,2),pow(2,1))":           {16 * ms, 16 * ms},
		"0":                                {0, 0},
		"-1000":                            {0, 0},
		"86400001":                         {day, day},
		"1e300":                            {day, day},
		"1/0":                              {first, second},
		"-1/0":                             {first, second},
		"0/0":                              {first, second},
		"0%0":                              {first, second},
		"sqrt(-1)":                         {first, second},
		"1000/retried":                     {first, time.Second},
		"exp(1000)":                        {first, second},
		strings.Repeat("(", 31) + "5" + strings.Repeat(")", 31): {5 * ms, 5 * ms},
		strings.Repeat("-", 30) + "5":                           {5 * ms, 5 * ms},
		"1" + strings.Repeat("+1", 99):                          {100 * ms, 100 * ms},
	}
	for in, want := range tests {
		r, err := ParseRetryDelay(in)
		if err != nil {
			t.Errorf("ParseRetryDelay(%q): %v", in, err)
			continue
		}
		if got := [2]time.Duration{r.Delay(0), r.Delay(1)}; got != want {
			t.Errorf("%q: got %v, want %v", in, got, want)
		}
	}
	if got := (RetryDelay{}).Delay(1); got != second {
		t.Errorf("zero value: got %v, want the default backoff %v", got, second)
	}
}

func TestParseRetryDelayErrors(t *testing.T) {
	const operand = `expected a number, retried, a function or "(" at position `
	tests := []struct{ in, want string }{
		{"", operand + "1, got the end; the expression is in milliseconds, from numbers, retried, + - * / %"},
		{"   ", operand + "4, got the end"},
		{"1 +", operand + "4, got the end"},
		{"* 2", operand + `1, got "* 2"`},
		{"2 ** 3", operand + `4, got "* 3"`},
		{"2 ^ 3", `expected an operator or the end at position 3, got "^ 3"`},
		{"1 2", `expected an operator or the end at position 3, got "2"`},
		{"(1", `expected ")" at position 3, got the end`},
		{"1)", `expected an operator or the end at position 2`},
		{"()", operand + "2"},
		{"retries", `expected retried or a function at position 1, got "retries"`},
		{"Retried", "expected retried or a function at position 1"},
		{"1000 * system(1)", `expected retried or a function at position 8`},
		{"pow", `expected "(" at position 4, got the end`},
		{"pow(2)", `expected "," at position 6, got ")`},
		{"pow(1,2,3)", `expected ")" at position 8, got ",3)"`},
		{"min()", operand + "5"},
		{"max(1,2,3)", `expected ")" at position 8`},
		{"sqrt(1,2)", `expected ")" at position 7`},
		{"retried(1)", `expected an operator or the end at position 8`},
		{".5", operand + "1"},
		{"1.", "expected a digit at position 3, got the end"},
		{"1.e3", "expected a digit at position 3"},
		{"1e", "expected a digit at position 3"},
		{"1e+", "expected a digit at position 4"},
		{"1e999", "expected a number that a float64 can hold at position 1"},
		{"0x10", `expected an operator or the end at position 2`},
		{"1_000", `expected an operator or the end at position 2`},
		{"5s", `expected an operator or the end at position 2, got "s"`},
		{"1\x00", `expected an operator or the end at position 2, got "\x00"`},
		{"1\n+1", `expected an operator or the end at position 2`},
		{"Inf", "expected retried or a function"},
		{"π", operand + "1"},
		{strings.Repeat("1", 1025), "expected an expression of at most 1024 bytes, got 1025"},
		{strings.Repeat("(", 32) + "5" + strings.Repeat(")", 32), "expected an expression nested at most 32 deep, got more at position 33"},
		{strings.Repeat("-", 32) + "5", "expected an expression nested at most 32 deep, got more at position 33"},
		{"1" + strings.Repeat("+1", 100), "expected an expression of at most 200 numbers, names and operators, got more at position"},
	}
	for _, tt := range tests {
		_, err := ParseRetryDelay(tt.in)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("ParseRetryDelay(%q)\ngot         %v\nwant prefix %s", tt.in, err, tt.want)
		}
	}
}

func TestRetryDelayDoesNotAllocate(t *testing.T) {
	r, err := ParseRetryDelay("max(1000, pow(2, retried) * 100)")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { r.Delay(3) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// No expression takes long: what is large is refused before it is read, what is
// deep or has many parts as soon as that shows.
func TestT24ExpressionsAreBounded(t *testing.T) {
	for name, s := range map[string]string{
		"nested":          strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000),
		"nested, short":   strings.Repeat("(", 500) + "1" + strings.Repeat(")", 500),
		"functions":       strings.Repeat("abs(", 200) + "1" + strings.Repeat(")", 200),
		"signs":           strings.Repeat("-", 1000) + "1",
		"sums":            strings.Repeat("1+", 500) + "1",
		"large":           strings.Repeat(" ", 10<<20) + "1",
		"powers":          strings.Repeat("pow(9,", 40) + "9" + strings.Repeat(")", 40),
		"unbalanced":      strings.Repeat("(", 1000),
		"a long name":     strings.Repeat("a", 1000),
		"a long number":   strings.Repeat("9", 1000),
		"a long exponent": "1e" + strings.Repeat("9", 1000),
	} {
		began := time.Now()
		allocs := testing.AllocsPerRun(1, func() {
			if _, err := ParseRetryDelay(s); err == nil {
				t.Errorf("%s: accepted", name)
			} else if len(err.Error()) > 1000 {
				t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
			}
		})
		if took := time.Since(began); allocs > 300 || took > time.Second {
			t.Errorf("%s: %v allocations, %v", name, allocs, took)
		}
	}
	for s, want := range map[string]time.Duration{ // the largest that is accepted still has an end
		"pow(pow(9,9),pow(9,9))": DefaultBackoff(1), // infinite
		"exp(709)":               maxRetryDelay,
		"-exp(709)":              0,
		"0/0":                    DefaultBackoff(1),
	} {
		r, err := ParseRetryDelay(s)
		if err != nil || r.Delay(0) != want {
			t.Errorf("%s: %v, %v, want %v", s, r.Delay(0), err, want)
		}
	}
}

func FuzzParseRetryDelay(f *testing.F) {
	for _, seed := range []string{"1000 * (1 + retried)", "max(1000, pow(2, retried) * 100)", "-1.5e3 % 7", "((((1", "min(1,"} {
		f.Add(seed, 3)
	}
	f.Fuzz(func(t *testing.T, s string, retried int) {
		r, err := ParseRetryDelay(s)
		if err != nil {
			return
		}
		if len(r.program) == 0 || len(r.program) > maxExpressionNodes {
			t.Errorf("%q has %d nodes", s, len(r.program))
		}
		if d := r.Delay(retried); d < 0 || d > maxRetryDelay {
			t.Errorf("%q after %d retries: %v", s, retried, d)
		}
		if _, err := ParseRetryDelay(" " + s + " "); err != nil && len(s)+2 <= maxExpressionBytes {
			t.Errorf("%q does not parse with spaces around it: %v", s, err)
		}
	})
}
