package api

import (
	"net/url"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// postSchedule makes a schedule, or puts another in the place of one: POST
// /v2/schedules/{destination}. It also pauses and resumes: no destination is the
// id of a schedule, a slash and a word.
func postSchedule(r *request) (any, error) {
	id, verb, _ := strings.Cut(strings.TrimSuffix(r.params[0], "/"), "/")
	if id, err := url.PathUnescape(id); err == nil && wire.CheckName(id) == nil {
		switch strings.ToLower(verb) {
		case "pause":
			return r.setPaused(id, true)
		case "resume":
			return r.setPaused(id, false)
		}
	}
	p, err := r.publish(r.params[0])
	if err != nil {
		return nil, err
	}
	if p.Config.Cron == "" {
		return nil, invalid("%s: expected a cron expression, such as */5 * * * *", wire.HeaderCron)
	}
	return r.acceptOne(p)
}

func listSchedules(r *request) (any, error) {
	all, err := r.handler.engine.Schedules(r.Context(), r.caller)
	if err != nil {
		return nil, err
	}
	out := make([]client.Schedule, len(all))
	for i := range all {
		out[i] = r.scheduleJSON(&all[i])
	}
	return out, nil
}

func getSchedule(r *request) (any, error) {
	s, err := r.handler.engine.Schedule(r.Context(), r.caller, r.params[0])
	if err != nil {
		return nil, err
	}
	return r.scheduleJSON(&s), nil
}

func (r *request) scheduleJSON(s *engine.ScheduleStatus) client.Schedule {
	cfg, v := &s.Config, veil{&s.Config.Redact, &r.caller.Secrets}
	out := client.Schedule{
		ScheduleID: s.ID, Cron: s.Settings.Cron, Destination: s.Destination, CreatedAt: engine.Millis(s.Seq),
		Method: cfg.Method, Paused: s.Paused, Header: v.header(cfg.Header),
		Retries: r.handler.engine.DefaultRetries(r.caller.ID), RetryDelayExpression: cfg.RetryDelay,
		Delay: seconds(cfg.Delay), Timeout: seconds(cfg.Timeout),
		QueueName: cfg.Queue, CallerIP: s.Settings.CallerIP, Labels: cfg.Labels, Label: first(cfg.Labels),
		LastTime: s.LastAt, NextTime: s.NextAt, Error: s.Settings.Error,
	}
	if cfg.Retries != nil {
		out.Retries = *cfg.Retries
	}
	out.FlowControlKey, out.Parallelism, out.Rate, out.Period = flowJSON(cfg.FlowControl)
	if out.Body = v.body(s.Body); out.Body == "" {
		out.SetBody(s.Body)
	}
	if cfg.Callback != nil {
		out.Callback, out.CallbackHeader = cfg.Callback.URL, v.callbackHeader(cfg.Callback.Header)
	}
	if cfg.FailureCallback != nil {
		out.FailureCallback, out.FailureCallbackHeader = cfg.FailureCallback.URL, v.callbackHeader(cfg.FailureCallback.Header)
	}
	for id, state := range s.States {
		if out.LastStates == nil {
			out.LastStates = map[string]client.ScheduleState{}
		}
		out.LastStates[id] = scheduleState(state)
	}
	return out
}

// seconds is a duration in whole seconds, rounded up: a part of one is not none.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

func scheduleState(s engine.State) client.ScheduleState {
	switch {
	case !s.Ended():
		return client.ScheduleInProgress
	case s == engine.Delivered:
		return client.ScheduleSuccess
	}
	return client.ScheduleFail
}

func deleteSchedule(r *request) (any, error) {
	return struct{}{}, r.handler.engine.DeleteSchedule(r.Context(), r.caller, r.params[0])
}

func pauseSchedule(r *request) (any, error) { return r.setPaused(r.params[0], true) }

func resumeSchedule(r *request) (any, error) { return r.setPaused(r.params[0], false) }

func (r *request) setPaused(id string, paused bool) (any, error) {
	return struct{}{}, r.handler.engine.PauseSchedule(r.Context(), r.caller, id, paused)
}
