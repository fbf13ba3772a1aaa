package wire

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// FlowControl bounds how fast, and how many at once, the messages of a key are
// delivered (protocol: flow control). The zero value bounds nothing.
type FlowControl struct {
	Key         string        `json:"key"`
	Parallelism int           `json:"parallelism,omitempty"` // attempts under way at once; 0: any number
	Rate        int           `json:"rate,omitempty"`        // attempts in each Period; 0: any number
	Period      time.Duration `json:"period"`                // whole seconds, at least one
}

const (
	// MaxFlowControlPeriod bounds FlowControl.Period.
	MaxFlowControlPeriod = 7 * 24 * time.Hour

	MaxFlowControlKeyBytes = 1024
)

// flowControlMessage is the hosted service's wording, whole.
const flowControlMessage = HeaderFlowControlValue + " should be either rate=X or parallelism=Y, or both as comma-separated values"

// ParseFlowControl reads the value of an Upstash-Flow-Control-Value header:
// parallelism=<n>, rate=<n> and period=<duration>, separated by commas, in any
// order, with at least one of the first two. The error is an *Error without a
// Field.
func ParseFlowControl(value string) (FlowControl, error) {
	f := FlowControl{Period: time.Second}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(value, ",") {
		name, text, _ := strings.Cut(part, "=")
		name, text = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(text)
		if seen[name] {
			return FlowControl{}, errorf("", "%s; %s is given twice", flowControlMessage, name)
		}
		seen[name] = true
		var err error
		switch name {
		case "parallelism":
			f.Parallelism, err = parsePositive(text)
		case "rate":
			f.Rate, err = parsePositive(text)
		case "period":
			f.Period, err = parsePeriod(text)
		default:
			return FlowControl{}, errorf("", flowControlMessage)
		}
		if err != nil {
			return FlowControl{}, errorf("", "%s; %s: %v", flowControlMessage, name, err)
		}
	}
	if f.Parallelism == 0 && f.Rate == 0 {
		return FlowControl{}, errorf("", flowControlMessage)
	}
	return f, nil
}

// Value is what ParseFlowControl reads f from.
func (f *FlowControl) Value() string {
	var value strings.Builder
	if f.Parallelism > 0 {
		fmt.Fprintf(&value, "parallelism=%d, ", f.Parallelism)
	}
	if f.Rate > 0 {
		fmt.Fprintf(&value, "rate=%d, ", f.Rate)
	}
	fmt.Fprintf(&value, "period=%ds", f.Period/time.Second)
	return value.String()
}

func parsePositive(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		return 0, errorf("", "expected a whole number from 1, got %s", quote(s))
	}
	return int(n), nil
}

func parsePeriod(s string) (time.Duration, error) {
	d, err := ParseDuration(s)
	if err != nil {
		return 0, err
	}
	if d < time.Second || d > MaxFlowControlPeriod || d%time.Second != 0 {
		return 0, errorf("", "expected whole seconds, from 1s to %dd, got %s", MaxFlowControlPeriod/(24*time.Hour), quote(s))
	}
	return d, nil
}

// finishFlowControl puts the two headers together: neither says anything
// without the other.
func (p *configParser) finishFlowControl() error {
	switch {
	case p.flowKey == "" && p.flow == nil:
		return nil
	case p.flow == nil:
		return errorf(HeaderFlowControlValue, "required with %s", HeaderFlowControlKey)
	case p.flowKey == "":
		return errorf(HeaderFlowControlKey, "required with %s", HeaderFlowControlValue)
	}
	p.flow.Key = p.flowKey
	p.FlowControl = p.flow
	return nil
}

// CheckFlowControlKey refuses what can't be the key of flow control. Errors are
// *Error without a Field.
func CheckFlowControlKey(key string) error {
	if key == "" || len(key) > MaxFlowControlKeyBytes {
		return errorf("", "expected a key of 1 to %d bytes, got %d", MaxFlowControlKeyBytes, len(key))
	}
	return checkText(key)
}
