package wire

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// StepType says what a step does.
type StepType string

// The step types of the protocol.
const (
	StepInitial        StepType = "Initial"
	StepRun            StepType = "Run"
	StepSleepFor       StepType = "SleepFor"
	StepSleepUntil     StepType = "SleepUntil"
	StepCall           StepType = "Call"
	StepWait           StepType = "Wait"
	StepNotify         StepType = "Notify"
	StepInvoke         StepType = "Invoke"
	StepCreateWebhook  StepType = "CreateWebhook"
	StepWaitForWebhook StepType = "WaitForWebhook"
)

// Step is the body of a run's log entry after the first: a step's result, or
// its plan when it is one of several parallel ones (protocol: step JSON).
//
// Encoding a Step gives the order and the omissions that official SDKs have in
// what they publish. Decoding is lenient: nulls are as good as absent fields, numbers
// may be quoted, unknown fields are ignored.
type Step struct {
	StepID        int             `json:"stepId"` // 1-based place of the result; 0 for a plan
	StepName      string          `json:"stepName"`
	StepType      StepType        `json:"stepType"`
	WaitEventID   string          `json:"waitEventId,omitempty"`
	Out           *string         `json:"out,omitempty"` // JSON text of the result; nil: there is none
	SleepFor      *Seconds        `json:"sleepFor,omitempty"`
	SleepUntil    *Seconds        `json:"sleepUntil,omitempty"` // Unix time
	CallURL       string          `json:"callUrl,omitempty"`
	CallMethod    string          `json:"callMethod,omitempty"`
	CallBody      string          `json:"callBody,omitempty"`
	CallHeaders   http.Header     `json:"callHeaders,omitempty"`
	Timeout       *Seconds        `json:"timeout,omitempty"`
	WaitTimeout   bool            `json:"waitTimeout,omitempty"` // the wait ended without its event
	NotifyEventID string          `json:"notifyEventId,omitempty"`
	EventData     json.RawMessage `json:"eventData,omitempty"`
	Concurrent    int             `json:"concurrent"` // steps of the parallel group; decoded as 1 when absent
	TargetStep    int             `json:"targetStep,omitempty"`
}

// ParseStep decodes a log entry's body. The error is an *Error that names the
// field, as in "stepId".
func ParseStep(body []byte) (Step, error) {
	var s Step
	err := s.UnmarshalJSON(body)
	return s, err
}

// UnmarshalJSON decodes leniently; its errors are *Error and name the field.
func (s *Step) UnmarshalJSON(data []byte) error {
	o := readObject(data)
	*s = Step{
		StepID:        o.count("stepId"),
		StepName:      o.name("stepName"),
		StepType:      StepType(o.name("stepType")),
		WaitEventID:   o.name("waitEventId"),
		Out:           o.optionalText("out"),
		SleepFor:      o.seconds("sleepFor"),
		SleepUntil:    o.seconds("sleepUntil"),
		CallURL:       o.text("callUrl"),
		CallMethod:    o.text("callMethod"),
		CallBody:      o.text("callBody"),
		CallHeaders:   o.header("callHeaders"),
		Timeout:       o.seconds("timeout"),
		WaitTimeout:   o.bool("waitTimeout"),
		NotifyEventID: o.name("notifyEventId"),
		EventData:     o.raw("eventData"),
		Concurrent:    max(1, o.count("concurrent")),
		TargetStep:    o.count("targetStep"),
	}
	return o.err
}

// WithOut is a result as a log has it, with another out in place of its own. A
// wait that ended without its event has had it then. What else the result says
// stays as it is, known or not.
func WithOut(result []byte, out string) ([]byte, error) {
	return withField(result, "out", out, "waitTimeout")
}

// WithName is the body of a result with another name of its step.
func WithName(result []byte, name string) ([]byte, error) { return withField(result, "stepName", name) }

func withField(result []byte, name, value string, without ...string) ([]byte, error) {
	o := readObject(result)
	if o.err != nil {
		return nil, o.err
	}
	fields := make(map[string]any, len(o.fields)+1)
	for name, value := range o.fields {
		fields[name] = json.RawMessage(value)
	}
	fields[name] = value
	for _, name := range without {
		delete(fields, name)
	}
	return json.Marshal(fields)
}

// IsPlan reports whether s announces a parallel step rather than giving a result.
func (s Step) IsPlan() bool { return s.TargetStep != 0 }

// Place is the 1-based place of s among the run's results, now or, for a plan,
// once it has run.
func (s Step) Place() int {
	if s.IsPlan() {
		return s.TargetStep
	}
	return s.StepID
}

// SleepSeconds is SleepFor in whole seconds, rounded; 0 without it.
func (s Step) SleepSeconds() int64 { return s.SleepFor.Whole() }

// SleepUntilUnix is SleepUntil in whole Unix seconds, rounded; 0 without it.
func (s Step) SleepUntilUnix() int64 { return s.SleepUntil.Whole() }

// TimeoutSeconds is Timeout in whole seconds, rounded; 0 without it.
func (s Step) TimeoutSeconds() int64 { return s.Timeout.Whole() }

// Seconds is a length of time, or a Unix time, as steps have it: a number that
// may have decimals. It also decodes from a quoted number and from a duration
// such as "10m".
type Seconds float64

// SecondsOf makes the Seconds of d for a field of a Step.
func SecondsOf(d time.Duration) *Seconds {
	s := Seconds(d.Seconds())
	return &s
}

// Whole is s rounded to whole seconds, 0 for nil.
func (s *Seconds) Whole() int64 {
	if s == nil {
		return 0
	}
	return int64(math.Round(float64(*s)))
}

// MarshalJSON encodes a plain number, without an exponent.
func (s Seconds) MarshalJSON() ([]byte, error) {
	f := float64(s)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, errorf("", "expected a finite number of seconds, got %v", f)
	}
	return strconv.AppendFloat(nil, f, 'f', -1, 64), nil
}

// UnmarshalJSON decodes a number, a quoted number or a duration.
func (s *Seconds) UnmarshalJSON(data []byte) error {
	r := rawJSON(data)
	if r.null() {
		return nil
	}
	text := string(r)
	if r.isString() {
		text = r.string()
	}
	if f, ok := parseSeconds(text); ok {
		*s = Seconds(f)
		return nil
	}
	return errorf("", "expected seconds or a duration such as 10m, got %s", quote(text))
}

// parseSeconds keeps within what an int64 of milliseconds can hold.
func parseSeconds(text string) (float64, bool) {
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return f, math.Abs(f) <= 1e15
	}
	d, err := ParseDuration(text)
	return d.Seconds(), err == nil
}
