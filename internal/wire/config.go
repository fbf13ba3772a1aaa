package wire

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Limits of a publish request's headers, in bytes.
const (
	// MaxURLBytes bounds destinations: the signature of a delivery holds its
	// URL, and receivers take signatures of 8 KiB at most.
	MaxURLBytes = 4 << 10

	MaxHeaderBytes          = 64 << 10 // names and values together
	MaxRunIDBytes           = 512
	MaxDeduplicationIDBytes = 1024
	MaxNameBytes            = 256 // of queues, URL groups and schedules
	MaxCronBytes            = 1024
)

// Config is what the Upstash-* headers of a publish request say, decoded and
// checked (protocol: publishing configuration).
type Config struct {
	Method string // delivery method; "POST" when not given
	// Header is what the destination is sent: Content-Type and the
	// Upstash-Forward-* headers with their prefix stripped, canonical names.
	// Nil when there is none.
	Header http.Header

	Delay     time.Duration // 0: at once
	NotBefore int64         // Unix milliseconds; 0: not given. Wins over Delay

	Retries    *int          // nil: not given
	RetryDelay string        // a valid RetryDelay expression; "": default backoff
	Timeout    time.Duration // of one attempt; 0: not given

	Callback        *Callback
	FailureCallback *Callback

	Labels   []string
	SignWith []string // signatures beside the standard one, as in SignatureNames

	DeduplicationID string
	ContentDedup    bool

	Queue       string       // name of the queue to go through; "": none
	FlowControl *FlowControl // nil: not given
	Cron        string       // an expression, trimmed and not checked; "": not given
	ScheduleID  string       // of the schedule to make or replace; "": a new one

	// Hop is how many messages led to this one; 0: it comes from nowhere.
	Hop int

	Redact Redact

	Workflow Workflow
}

// Callback is a URL to call about an outcome, with the settings of that call.
type Callback struct {
	URL string `json:"url"`
	// Header holds the settings as publish headers: Upstash-Callback-Retries
	// is kept here as Upstash-Retries, so ParseConfig reads them.
	Header http.Header `json:"header,omitempty"`
}

// colonMessage is the hosted service's wording, which names no header.
const colonMessage = "DeduplicationId cannot contain ':'"

// ParseConfig reads the settings of a publish request, or of a batch item,
// from its headers (protocol: publishing configuration). Names in h must be
// canonical, as net/http and ItemHeader make them. Unknown Upstash-* headers
// are ignored, as are the settings of a callback that has no URL.
//
// A setting may be repeated only with the same value. The error is an *Error
// that names the header; of several bad headers, the first in alphabetical
// order. The result shares value slices with h.
func ParseConfig(h http.Header) (Config, error) {
	if size := HeaderSize(h); size > MaxHeaderBytes {
		return Config{}, errorf("", "expected at most %d bytes of headers, got %d", MaxHeaderBytes, size)
	}
	c, err := parseConfig(h, false)
	if e, ok := err.(*Error); ok && hostedWording(e) {
		err = &Error{Message: e.Message}
	}
	if err != nil {
		return Config{}, err
	}
	return c, nil
}

// hostedWording reports whether a message is the hosted service's, which stands
// by itself.
func hostedWording(e *Error) bool {
	return e.Field == HeaderDeduplicationID && e.Message == colonMessage ||
		e.Field == HeaderFlowControlValue && strings.HasPrefix(e.Message, flowControlMessage)
}

// HeaderSize is what h takes on the wire, line ends included.
func HeaderSize(h http.Header) int {
	size := 0
	for name, values := range h {
		for _, v := range values {
			size += len(name) + len(": ") + len(v) + len("\r\n")
		}
	}
	return size
}

// configParser fills a Config header by header, in any order.
type configParser struct {
	Config
	h          http.Header
	forwardAll bool
	flowKey    string
	flow       *FlowControl
	nested     bool // h holds the settings of a callback; all of it is kept
}

func parseConfig(h http.Header, nested bool) (Config, error) {
	p := configParser{Config: Config{Method: http.MethodPost}, h: h, nested: nested}
	if values := h[HeaderForwardAll]; len(values) > 0 {
		p.forwardAll, _ = strconv.ParseBool(strings.TrimSpace(values[0]))
	}
	var first error
	var firstName string
	for name, values := range h {
		if len(values) == 0 || first != nil && name > firstName {
			continue
		}
		if err := p.header(name, values); err != nil {
			if !isToken(name) { // not fit to name the field
				err = errorf("", "expected a header name, got %s", quoteName(name))
			}
			first, firstName = err, name
		}
	}
	if first != nil {
		return Config{}, first
	}
	if err := p.finishFlowControl(); err != nil {
		return Config{}, err
	}
	return p.Config, p.finishWorkflow()
}

func (p *configParser) header(name string, values []string) error {
	if p.nested {
		if err := checkField(name, values); err != nil {
			return Within(name, err)
		}
	}
	switch {
	case !strings.HasPrefix(name, PrefixUpstash):
		return Within(name, p.plain(name, values))
	case strings.HasPrefix(name, PrefixForward):
		return Within(name, p.forward(name[len(PrefixForward):], values))
	case strings.HasPrefix(name, PrefixTelemetry):
		return nil
	case p.nested && isCallbackSetting(name) && !p.failsRun(name):
		return errorf(name, "a callback cannot have a callback of its own")
	case p.nested && (name == HeaderQueueName || name == HeaderCron || name == HeaderScheduleID):
		return errorf(name, "a callback is sent once, and through no queue")
	case name == HeaderCallback:
		return p.callback(&p.Callback, name, PrefixCallback, values)
	case name == HeaderFailureCallback:
		return p.callback(&p.FailureCallback, name, PrefixFailureCallback, values)
	case strings.HasPrefix(name, PrefixWorkflow):
		return Within(name, p.workflow(name, values))
	}
	return Within(name, p.setting(name, values))
}

func (p *configParser) setting(name string, values []string) (err error) {
	switch name {
	case HeaderLabel:
		p.Labels, err = parseLabels(values)
		return err
	case HeaderSignWith:
		p.SignWith, err = parseSignWith(values)
		return err
	case HeaderFeatureSet:
		p.Workflow.Features, err = splitList(values)
		return err
	case HeaderRedactFields:
		p.Redact, err = parseRedact(values)
		return err
	case HeaderMethod, HeaderDelay, HeaderNotBefore, HeaderRetries, HeaderRetryDelay,
		HeaderTimeout, HeaderDeduplicationID, HeaderContentDedup, HeaderForwardAll, HeaderHop,
		HeaderQueueName, HeaderFlowControlKey, HeaderFlowControlValue, HeaderCron, HeaderScheduleID:
	default:
		return nil
	}
	v, err := single(values)
	if err != nil {
		return err
	}
	switch name {
	case HeaderMethod:
		p.Method, err = ParseMethod(v)
	case HeaderDelay:
		p.Delay, err = ParseDuration(v)
	case HeaderNotBefore:
		p.NotBefore, err = parseNotBefore(v)
	case HeaderRetries:
		p.Retries, err = parseRetries(v)
	case HeaderRetryDelay:
		p.RetryDelay = v
		_, err = ParseRetryDelay(v)
	case HeaderTimeout:
		p.Timeout, err = ParseDuration(v)
	case HeaderDeduplicationID:
		p.DeduplicationID = v
		err = checkDeduplicationID(v)
	case HeaderContentDedup:
		p.ContentDedup, err = parseBool(v)
	case HeaderForwardAll:
		_, err = parseBool(v)
	case HeaderHop:
		err = p.hop(v)
	case HeaderQueueName:
		p.Queue = v
		err = CheckName(v)
	case HeaderFlowControlKey:
		p.flowKey = v
		err = CheckFlowControlKey(v)
	case HeaderFlowControlValue:
		var f FlowControl
		f, err = ParseFlowControl(v)
		p.flow = &f
	case HeaderCron:
		p.Cron = v
		err = checkCron(v)
	case HeaderScheduleID:
		p.ScheduleID = v
		err = CheckName(v)
	}
	return err
}

// CheckName refuses what can't be the name of a queue or URL group, or the id of
// a schedule. Errors are *Error without a Field.
func CheckName(s string) error {
	if !isName(s) {
		return errorf("", "expected 1 to %d of A-Z a-z 0-9 _ . -, got %s", MaxNameBytes, quote(s))
	}
	return nil
}

func checkCron(s string) error {
	if s == "" || len(s) > MaxCronBytes {
		return errorf("", "expected a cron expression of 1 to %d bytes, got %d", MaxCronBytes, len(s))
	}
	return nil
}

// single is the one trimmed value of a header that is not a list.
func single(values []string) (string, error) {
	if err := checkText(values[0]); err != nil {
		return "", err
	}
	v := strings.TrimSpace(values[0])
	for _, other := range values[1:] {
		if strings.TrimSpace(other) != v {
			return "", errorf("", "expected one value, got %d different ones", len(values))
		}
	}
	return v, nil
}

// splitList is every non-empty element of the comma lists in values, trimmed.
func splitList(values []string) ([]string, error) {
	var list []string
	for _, v := range values {
		if err := checkText(v); err != nil {
			return nil, err
		}
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
	}
	return list, nil
}

func parseLabels(values []string) ([]string, error) {
	labels, err := splitList(values)
	if err != nil {
		return nil, err
	}
	for _, label := range labels {
		if !isLabel(label) {
			return nil, errorf("", "expected a comma-separated list of labels made of A-Z a-z 0-9 _ . -, got %s", quote(label))
		}
	}
	return labels, nil
}

// ParseMethod reads the method of a delivery. Errors are *Error without a Field.
func ParseMethod(s string) (string, error) {
	switch method := strings.ToUpper(s); method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return method, nil
	}
	return "", errorf("", "expected GET, POST, PUT, PATCH or DELETE, got %s", quote(s))
}

func parseRetries(s string) (*int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return nil, errorf("", "expected a whole number of retries from 0, got %s", quote(s))
	}
	retries := int(n)
	return &retries, nil
}

// parseNotBefore turns Unix seconds into milliseconds. They may have decimals: some
// clients send what their language has for a time. The epoch itself becomes 1 ms
// after it, as 0 stands for a header that was not given.
func parseNotBefore(s string) (int64, error) {
	const year10000 = 253402300800
	whole, decimals, hasDecimals := strings.Cut(s, ".")
	n, err := strconv.ParseUint(whole, 10, 63)
	ms, err2 := strconv.ParseUint((decimals + "000")[:3], 10, 63)
	if err != nil || err2 != nil || n >= year10000 || hasDecimals && decimals == "" || strings.Trim(decimals, "0123456789") != "" {
		return 0, errorf("", "expected a time in Unix seconds, before the year 10000, got %s", quote(s))
	}
	return max(1, int64(n)*1000+int64(ms)), nil
}

func parseBool(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, errorf("", "expected true or false, got %s", quote(s))
	}
	return b, nil
}

func checkDeduplicationID(id string) error {
	if strings.Contains(id, ":") {
		return errorf("", colonMessage)
	}
	if id == "" || len(id) > MaxDeduplicationIDBytes {
		return errorf("", "expected an id of 1 to %d bytes, got %d", MaxDeduplicationIDBytes, len(id))
	}
	return nil
}
