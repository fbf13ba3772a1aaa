package client

import (
	"encoding/json"
	"net/http"
)

// Schedule publishes a message each time its cron expression says so.
type Schedule struct {
	ScheduleID  string `json:"scheduleId"`
	Cron        string `json:"cron"`        // with its CRON_TZ prefix, if it has one
	Destination string `json:"destination"` // URL or name of a URL group
	CreatedAt   int64  `json:"createdAt"`   // Unix milliseconds
	Method      string `json:"method"`
	Paused      bool   `json:"isPaused"`

	// Header holds the Content-Type and the forwarded headers, in canonical
	// case. Nil when there is none.
	Header http.Header `json:"header,omitempty"`
	// Body is the body as text. A body that is not UTF-8 is in BodyBase64
	// instead; [Schedule.Bytes] reads either.
	Body       string `json:"body,omitempty"`
	BodyBase64 string `json:"bodyBase64,omitempty"`

	Retries              int    `json:"retries"`
	RetryDelayExpression string `json:"retryDelayExpression,omitempty"`
	Delay                int64  `json:"delay,omitempty"`   // of each message, seconds
	Timeout              int64  `json:"timeout,omitempty"` // of each attempt, seconds

	Callback              string      `json:"callback,omitempty"`
	CallbackHeader        http.Header `json:"callbackHeader,omitempty"`
	FailureCallback       string      `json:"failureCallback,omitempty"`
	FailureCallbackHeader http.Header `json:"failureCallbackHeader,omitempty"`

	QueueName string `json:"queueName,omitempty"`
	CallerIP  string `json:"callerIP,omitempty"` // of whoever made it; in JSON, callerIp is the same

	FlowControlKey string `json:"flowControlKey,omitempty"`
	Parallelism    int    `json:"parallelism,omitempty"`
	Rate           int    `json:"rate,omitempty"`
	Period         int    `json:"period,omitempty"` // seconds

	Label  string   `json:"label,omitempty"` // Labels[0]
	Labels []string `json:"labels,omitempty"`

	LastTime int64 `json:"lastScheduleTime,omitempty"` // when it last published, or failed to, Unix milliseconds
	NextTime int64 `json:"nextScheduleTime,omitempty"` // when it will, Unix milliseconds; 0 while paused
	// LastStates say how the messages of the last time are doing, by their ids.
	LastStates map[string]ScheduleState `json:"lastScheduleStates,omitempty"`
	Error      string                   `json:"error,omitempty"` // why the last time made no message
}

// MarshalJSON writes the caller's IP under both of its names: official clients
// differ in which they read.
func (s Schedule) MarshalJSON() ([]byte, error) {
	type plain Schedule
	return json.Marshal(struct {
		plain
		CallerIp string `json:"callerIp,omitempty"`
	}{plain(s), s.CallerIP})
}

// ScheduleState is how a schedule's message is doing.
type ScheduleState string

const (
	ScheduleInProgress ScheduleState = "IN_PROGRESS"
	ScheduleSuccess    ScheduleState = "SUCCESS"
	ScheduleFail       ScheduleState = "FAIL"
)

// Bytes returns the body from whichever of Body and BodyBase64 holds it.
func (s *Schedule) Bytes() ([]byte, error) { return joinText(s.Body, s.BodyBase64) }

// SetBody fills Body, or BodyBase64 when b is not UTF-8.
func (s *Schedule) SetBody(b []byte) { s.Body, s.BodyBase64 = splitText(b) }

// ScheduleResponse answers the creation of a schedule.
type ScheduleResponse struct {
	ScheduleID string `json:"scheduleId"`
}
