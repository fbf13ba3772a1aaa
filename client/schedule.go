package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/signposthq/signpost/internal/wire"
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
	ScheduleInProgress ScheduleState = "IN_PROGRESS" // on its way
	ScheduleSuccess    ScheduleState = "SUCCESS"     // delivered
	ScheduleFail       ScheduleState = "FAIL"        // given up
)

// Bytes returns the body from whichever of Body and BodyBase64 holds it.
func (s *Schedule) Bytes() ([]byte, error) { return joinText(s.Body, s.BodyBase64) }

// SetBody fills Body, or BodyBase64 when b is not UTF-8.
func (s *Schedule) SetBody(b []byte) { s.Body, s.BodyBase64 = splitText(b) }

// ScheduleResponse answers the creation of a schedule.
type ScheduleResponse struct {
	ScheduleID string `json:"scheduleId"`
}

// ScheduleRequest says what to publish when. Cron and the destination of Publish
// are required.
type ScheduleRequest struct {
	// Cron is an expression of five fields, such as "0 4 * * *", or one of
	// @hourly, @daily, @weekly, @monthly and @yearly. Times are in UTC, unless it
	// begins with a time zone, as in "CRON_TZ=Europe/Berlin 0 4 * * *".
	Cron string
	// ID names the schedule: 1 to 256 letters, digits, "_", "." and "-". One that
	// has it already is replaced as a whole. Default: a new id.
	ID string
	// Publish is what is published each time. Its Delay counts from then; it
	// can't have NotBefore or deduplication.
	Publish PublishRequest
}

// CreateSchedule makes a schedule, or replaces the one with the same id, and
// returns its id (POST /v2/schedules/{destination}). [ErrPrecondition] when
// there would be too many.
//
// A lost answer is retried only if r has an ID: without one, there could then be
// two schedules.
func (c *Client) CreateSchedule(ctx context.Context, r ScheduleRequest) (string, error) {
	item, err := r.item()
	var out ScheduleResponse
	if err == nil {
		err = c.do(ctx, call{
			method: http.MethodPost, path: "/v2/schedules/" + item.Destination, header: item.Header, body: item.Body, out: &out,
			once: r.ID == "",
		})
	}
	if err != nil {
		return "", fmt.Errorf("create schedule: %w", err)
	}
	return out.ScheduleID, nil
}

// CreateScheduleJSON is [Client.CreateSchedule] with v, encoded, in place of
// r.Publish.Body, and Content-Type application/json unless r.Publish.Header has
// another.
func (c *Client) CreateScheduleJSON(ctx context.Context, r ScheduleRequest, v any) (string, error) {
	var err error
	if r.Publish.Body, r.Publish.Header, err = encodeJSON(v, r.Publish.Header); err != nil {
		return "", fmt.Errorf("create schedule: %w", err)
	}
	return c.CreateSchedule(ctx, r)
}

// item is the message of r, with the headers that make it a schedule.
func (r *ScheduleRequest) item() (BatchItem, error) {
	item, err := r.Publish.item()
	switch {
	case err != nil:
		return BatchItem{}, err
	case r.Cron == "":
		return BatchItem{}, errors.New("want a cron expression")
	case r.Publish.NotBefore != time.Time{} || r.Publish.DeduplicationID != "" || r.Publish.ContentBasedDeduplication:
		return BatchItem{}, errors.New("a schedule has neither NotBefore nor deduplication")
	}
	item.Header.Set(wire.HeaderCron, r.Cron)
	if r.ID != "" {
		if err := wire.CheckName(r.ID); err != nil {
			return BatchItem{}, wire.Within("id", err)
		}
		item.Header.Set(wire.HeaderScheduleID, r.ID)
	}
	if item.Queue != "" {
		item.Header.Set(wire.HeaderQueueName, item.Queue)
	}
	return item, nil
}

// Schedules lists the schedules (GET /v2/schedules).
func (c *Client) Schedules(ctx context.Context) ([]Schedule, error) {
	var out []Schedule
	if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/schedules", out: &out}); err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	return out, nil
}

// Schedule looks up a schedule; [ErrNotFound] when there is none (GET
// /v2/schedules/{id}).
func (c *Client) Schedule(ctx context.Context, id string) (Schedule, error) {
	var out Schedule
	path, err := namePath("/v2/schedules/", id)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodGet, path: path, out: &out})
	}
	if err != nil {
		return Schedule{}, fmt.Errorf("get schedule: %w", err)
	}
	return out, nil
}

// DeleteSchedule deletes a schedule; messages that it has published are
// delivered all the same. It is no error when there is none (DELETE
// /v2/schedules/{id}).
func (c *Client) DeleteSchedule(ctx context.Context, id string) error {
	path, err := namePath("/v2/schedules/", id)
	if err == nil {
		err = c.tell(ctx, http.MethodDelete, path, nil)
	}
	if err != nil {
		return fmt.Errorf("delete schedule: %w", err)
	}
	return nil
}

// PauseSchedule makes a schedule skip its times until it is resumed (PATCH
// /v2/schedules/{id}/pause). [ErrNotFound] when there is no such schedule.
func (c *Client) PauseSchedule(ctx context.Context, id string) error {
	path, err := namePath("/v2/schedules/", id)
	if err == nil {
		err = c.tell(ctx, http.MethodPatch, path+"/pause", nil)
	}
	if err != nil {
		return fmt.Errorf("pause schedule: %w", err)
	}
	return nil
}

// ResumeSchedule lets a schedule go on with its next time (PATCH
// /v2/schedules/{id}/resume).
func (c *Client) ResumeSchedule(ctx context.Context, id string) error {
	path, err := namePath("/v2/schedules/", id)
	if err == nil {
		err = c.tell(ctx, http.MethodPatch, path+"/resume", nil)
	}
	if err != nil {
		return fmt.Errorf("resume schedule: %w", err)
	}
	return nil
}
