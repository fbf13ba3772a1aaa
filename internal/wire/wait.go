package wire

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxEventIDBytes bounds the ids of events.
const MaxEventIDBytes = 512

// DefaultWait is how long a step waits that does not say, as in official SDKs.
const DefaultWait = "7d"

// CheckEventID refuses what can't be the id of an event. Errors are *Error
// without a Field.
func CheckEventID(id string) error {
	if id == "" || len(id) > MaxEventIDBytes {
		return errorf("", "expected an id of 1 to %d bytes, got %d", MaxEventIDBytes, len(id))
	}
	return checkText(id)
}

// Wait is the body of a request to wait for an event (protocol: waitForEvent).
type Wait struct {
	URL           string        // the event is delivered to; "": the run's
	Timeout       time.Duration // from now
	TimeoutText   string        // as it was asked for, a duration such as "7d"
	TimeoutURL    string        // is called when the time is over; "": URL
	TimeoutHeader http.Header   // of that call, as of a publish; nil: those of the request
	Step          Step          // id, name, type and concurrency are set, and nothing else
}

// ParseWait decodes a request to wait, leniently: as Step does, with a timeout
// of a number of seconds or a duration, and with header names in any spelling,
// of which one counts. The error is an *Error that names the field, as in
// "step.stepId".
func ParseWait(body []byte) (Wait, error) {
	o := readObject(body)
	if o.err != nil {
		return Wait{}, Within("body", o.err)
	}
	w := Wait{
		URL: o.url("url"), TimeoutText: o.text("timeout"),
		TimeoutURL: o.url("timeoutUrl"), TimeoutHeader: o.header("timeoutHeaders"), Step: o.serverStep("step", StepWait, StepWaitForWebhook),
	}
	if w.TimeoutText == "" {
		w.TimeoutText = DefaultWait
	} else if _, err := strconv.ParseFloat(w.TimeoutText, 64); err == nil {
		w.TimeoutText += "s"
	}
	var err error
	if w.Timeout, err = ParseDuration(w.TimeoutText); err != nil && o.err == nil {
		o.err = Within("timeout", err)
	}
	return w, o.err
}

// url reads an absolute http or https URL; "" when absent.
func (o *looseObject) url(name string) string {
	s := o.text(name)
	if s == "" {
		return ""
	}
	if err := CheckURL(s); err != nil && o.err == nil {
		o.err = Within(name, err)
	}
	return s
}

// serverStep reads what a step whose result the server writes is to be called in
// the log.
func (o *looseObject) serverStep(name string, types ...StepType) Step {
	r := o.fields[name]
	if r.null() {
		o.fail(name, "an object")
		return Step{}
	}
	s, err := ParseStep(r)
	switch {
	case err != nil:
	case s.StepID < 1:
		err = errorf("stepId", "expected a whole number from 1, got %d", s.StepID)
	case !slices.Contains(types, s.StepType):
		err = errorf("stepType", "expected %s, got %s", alternatives(types), quote(string(s.StepType)))
	case strings.TrimSpace(s.StepName) == "":
		err = errorf("stepName", "expected a name")
	}
	if err != nil && o.err == nil {
		o.err = Within(name, err)
	}
	return Step{StepID: s.StepID, StepName: s.StepName, StepType: s.StepType, Concurrent: s.Concurrent}
}

func alternatives(types []StepType) string {
	words := make([]string, len(types))
	for i, t := range types {
		words[i] = string(t)
	}
	return strings.Join(words, " or ")
}
