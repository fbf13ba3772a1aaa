package wire

import (
	"strings"
	"testing"
	"time"
)

func TestParseFlowControl(t *testing.T) {
	tests := []struct {
		in   string
		want FlowControl
	}{
		{"parallelism=3", FlowControl{Parallelism: 3, Period: time.Second}},
		{"rate=10", FlowControl{Rate: 10, Period: time.Second}},
		{"parallelism=2, rate=5, period=1m", FlowControl{Parallelism: 2, Rate: 5, Period: time.Minute}},
		{"period = 1d,rate = 5", FlowControl{Rate: 5, Period: 24 * time.Hour}},
		{"rate=1,period=1h30m3s", FlowControl{Rate: 1, Period: 5403 * time.Second}},
		{"rate=1,period=2", FlowControl{Rate: 1, Period: 2 * time.Second}},
		{"RATE=1,Period=7d", FlowControl{Rate: 1, Period: MaxFlowControlPeriod}},
	}
	for _, tt := range tests {
		if got, err := ParseFlowControl(tt.in); err != nil || got != tt.want {
			t.Errorf("ParseFlowControl(%q) = %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
		if again, err := ParseFlowControl(tt.want.Value()); err != nil || again != tt.want {
			t.Errorf("%+v has the value %q, which is %+v, %v", tt.want, tt.want.Value(), again, err)
		}
	}
}

func TestParseFlowControlErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""}, {"5", ""}, {"rate", `; rate: expected a whole number from 1, got ""`}, {"rate=1,", ""}, {"period=1s", ""},
		{"ratePerSecond=1", ""},
		{"rate=0", `; rate: expected a whole number from 1, got "0"`},
		{"parallelism=-1", `; parallelism: expected a whole number from 1, got "-1"`},
		{"parallelism=1.5", `; parallelism: expected a whole number from 1, got "1.5"`},
		{"rate=1,rate=2", "; rate is given twice"},
		{"rate=1,period=0s", `; period: expected whole seconds, from 1s to 7d, got "0s"`},
		{"rate=1,period=1.5s", `; period: expected whole seconds, from 1s to 7d, got "1.5s"`},
		{"rate=1,period=8d", `; period: expected whole seconds, from 1s to 7d, got "8d"`},
		{"rate=1,period=x", "; period: expected a duration"},
	}
	for _, tt := range tests {
		_, err := ParseFlowControl(tt.in)
		if err == nil || !strings.HasPrefix(err.Error(), flowControlMessage+tt.want) {
			t.Errorf("ParseFlowControl(%q): %v; want %s%s", tt.in, err, flowControlMessage, tt.want)
		}
	}
}

func FuzzParseFlowControl(f *testing.F) {
	f.Add("parallelism=2, rate=5, period=1m")
	f.Add("rate=1,period=1h30m3s")
	f.Fuzz(func(t *testing.T, value string) {
		got, err := ParseFlowControl(value)
		if err != nil {
			return
		}
		if got.Parallelism < 0 || got.Rate < 0 || got.Parallelism == 0 && got.Rate == 0 ||
			got.Period < time.Second || got.Period > MaxFlowControlPeriod || got.Period%time.Second != 0 {
			t.Errorf("ParseFlowControl(%q) = %+v", value, got)
		}
		if again, err := ParseFlowControl(got.Value()); err != nil || again != got {
			t.Errorf("ParseFlowControl(%q) = %+v, whose value %q is %+v, %v", value, got, got.Value(), again, err)
		}
	})
}
