package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/signposthq/signpost/internal/cron"
	"github.com/signposthq/signpost/internal/wire"
)

// putSchedule makes a schedule, or puts one in the place of another of the same
// id, all of it: only when it was created, and whether it is paused, stays. One
// that ended with its token goes on.
func (c *change) putSchedule(who *Caller, p *Publish) (Published, error) {
	s, err := newSchedule(who, p)
	if err != nil {
		return Published{}, err
	}
	if err := c.checkDestination(who, p); err != nil {
		return Published{}, err
	}
	old, err := c.tx.LockScheduleNamed(who.ID, s.ID)
	if err != nil {
		return Published{}, fmt.Errorf("lock schedule: %w", err)
	}
	if old == nil {
		return Published{ScheduleID: s.ID}, c.insertSchedule(who, s)
	}
	if !who.seesSchedule(old) {
		return Published{}, errorf(Conflict, "schedule %s is there already, for a URL that the token is not for", s.ID)
	}
	s.Seq, s.Paused = old.Seq, old.Paused && !old.ended()
	if err := s.setNext(c.now); err != nil {
		return Published{}, err
	}
	if err := c.tx.UpdateSchedule(s); err != nil {
		return Published{}, fmt.Errorf("update schedule: %w", err)
	}
	return Published{ScheduleID: s.ID}, c.audit(who, "schedule.replace", s.ID, auditedSchedule(old), auditedSchedule(s))
}

// checkSchedule refuses what can't be a schedule.
func (p *Publish) checkSchedule() *Error {
	cfg := &p.Config
	if cfg.Cron == "" {
		return nil
	}
	if _, err := cron.Parse(cfg.Cron); err != nil {
		return errorf(Invalid, "%s: %v", wire.HeaderCron, err)
	}
	switch w := &cfg.Workflow; {
	case cfg.NotBefore != 0:
		return errorf(Invalid, "%s: a schedule has many times; %s is between each and its delivery", wire.HeaderNotBefore, wire.HeaderDelay)
	case p.ViaTrigger:
		return errorf(Invalid, "%s: this starts one run; POST /v2/schedules/ and the workflow's URL starts one each time", wire.HeaderCron)
	case w.RunID != "" && !w.Init:
		return errorf(Invalid, "%s: what continues a run can't be scheduled", wire.HeaderWorkflowRunID)
	}
	return nil
}

// newSchedule is the schedule that a publish with a cron expression asks for.
// What it sends is kept as headers, as the settings of a URL group are added to
// those each time.
func newSchedule(who *Caller, p *Publish) (*Schedule, error) {
	cfg := &p.Config
	s := &Schedule{
		Tenant: who.ID, ID: cfg.ScheduleID, Destination: p.Destination,
		Header: wire.ScheduleHeader(p.Header, !wire.IsURL(p.Destination)), Body: p.Body,
		Token: who.limitedToken(), Settings: ScheduleSettings{Cron: cfg.Cron, CallerIP: p.CallerIP, Prefix: who.Token.URLPrefix},
	}
	if s.ID == "" {
		s.ID = "scd_" + randomID(22)
	}
	// A batch and the path of an enqueue may have said these.
	if cfg.Queue != "" {
		s.Header[wire.HeaderQueueName] = []string{cfg.Queue}
	}
	if cfg.Hop > 0 {
		s.Header[wire.HeaderHop] = []string{strconv.Itoa(cfg.Hop - 1)}
	}
	_, err := s.publish()
	return s, err
}

// publish is what a schedule publishes each time.
func (s *Schedule) publish() (*Publish, error) {
	cfg, err := wire.ParseConfig(s.Header)
	if err != nil {
		return nil, errorf(Invalid, "%v", err)
	}
	return &Publish{
		Destination: s.Destination, Config: cfg, Header: s.Header, Body: s.Body,
		CallerIP: s.Settings.CallerIP, Schedule: s.ID,
	}, nil
}

// checkDestination refuses a schedule for a URL group that could not be
// published to now.
func (c *change) checkDestination(who *Caller, p *Publish) error {
	if wire.IsURL(p.Destination) || p.Destination == wire.LLMDestination {
		return nil
	}
	g, err := c.tx.URLGroup(who.ID, p.Destination)
	if err != nil {
		return fmt.Errorf("read URL group: %w", err)
	}
	if g == nil {
		return groupNotFound(p.Destination)
	}
	if err := who.mustReachGroup(g); err != nil {
		return err
	}
	_, err = c.underGroup(who, p, g)
	return err
}

func (c *change) insertSchedule(who *Caller, s *Schedule) error {
	// Locked, so that two that are made together don't both find room.
	t, err := c.lockTenant(who.ID)
	if err != nil {
		return err
	}
	n, err := c.tx.CountSchedules(who.ID)
	if err != nil {
		return fmt.Errorf("count schedules: %w", err)
	}
	if most := c.e.limitsOf(t).MaxSchedules; n >= most {
		return errorf(Precondition, "schedule %s: there are %d schedules, the most that are allowed", s.ID, n)
	}
	s.Seq = c.seq()
	if err := s.setNext(c.now); err != nil {
		return err
	}
	if err := c.tx.InsertSchedule(s); err != nil {
		return fmt.Errorf("insert schedule: %w", err)
	}
	return c.audit(who, "schedule.create", s.ID, nil, auditedSchedule(s))
}

// setNext sets when a schedule is due after a time.
func (s *Schedule) setNext(now int64) error {
	s.NextAt = 0
	if s.Paused {
		return nil
	}
	expression, err := cron.Parse(s.Settings.Cron)
	if err != nil {
		return errorf(Invalid, "%s: %v", wire.HeaderCron, err)
	}
	next := expression.Next(time.UnixMilli(now))
	if next.IsZero() {
		return errorf(Invalid, "%s: %s has no time to come", wire.HeaderCron, expression)
	}
	s.NextAt = unixMillis(next)
	return nil
}

// scheduleState is what the audit log says of a schedule.
type scheduleState struct {
	Cron        string `json:"cron"`
	Destination string `json:"destination"`
	Paused      bool   `json:"paused"`
}

func auditedSchedule(s *Schedule) scheduleState {
	return scheduleState{s.Settings.Cron, s.Destination, s.Paused}
}

// seesSchedule says whether a schedule is the caller's to see and to change: one
// for a URL that its token is for; for a URL group, one that was made by such a
// token.
func (who *Caller) seesSchedule(s *Schedule) bool {
	if !who.limited() || wire.IsURL(s.Destination) || s.Destination == wire.LLMDestination {
		return who.reaches(s.Destination)
	}
	return who.reaches(string(s.Settings.Prefix))
}

// ScheduleStatus is a schedule, what it publishes, and how the messages of the
// last time are doing, by their ids.
type ScheduleStatus struct {
	*Schedule
	Config wire.Config
	States map[string]State
}

func scheduleStatuses(tx Tx, rows []*Schedule) ([]ScheduleStatus, error) {
	out := make([]ScheduleStatus, len(rows))
	byMessage := map[int64]*ScheduleStatus{}
	var seqs []int64
	for i, s := range rows {
		// Of an older version it may be one that this one does not take; it is
		// shown as far as it can be.
		cfg, _ := wire.ParseConfig(s.Header)
		out[i] = ScheduleStatus{Schedule: s, Config: cfg}
		for _, seq := range s.Messages {
			byMessage[seq] = &out[i]
		}
		seqs = append(seqs, s.Messages...)
	}
	for some := range slices.Chunk(seqs, 1000) {
		messages, err := tx.MessageStates(some)
		if err != nil {
			return nil, fmt.Errorf("read states of messages: %w", err)
		}
		for _, m := range messages {
			s := byMessage[m.Seq]
			if s.States == nil {
				s.States = map[string]State{}
			}
			s.States[m.Key.String()] = m.State
		}
	}
	return out, nil
}

// Schedules are the caller's, oldest first.
func (e *Engine) Schedules(ctx context.Context, who *Caller) (all []ScheduleStatus, err error) {
	err = e.read(ctx, pagePatience, func(tx Tx, reading *Reading) error {
		rows, err := tx.Schedules(who.ID)
		if err != nil {
			return err
		}
		rows = slices.DeleteFunc(rows, func(s *Schedule) bool { return !who.seesSchedule(s) })
		size := 0
		for _, s := range rows {
			size += len(s.Body)
		}
		if err := reading.room(size); err != nil {
			return err
		}
		slices.SortFunc(rows, func(a, b *Schedule) int { return cmp.Compare(a.Seq, b.Seq) })
		all, err = scheduleStatuses(tx, rows)
		return err
	})
	return all, err
}

// Schedule is the one of an id.
func (e *Engine) Schedule(ctx context.Context, who *Caller, id string) (out ScheduleStatus, err error) {
	err = e.read(ctx, pagePatience, func(tx Tx, reading *Reading) error {
		s, err := scheduleOf(tx, who, id)
		if err != nil {
			return err
		}
		if err := reading.room(len(s.Body)); err != nil {
			return err
		}
		all, err := scheduleStatuses(tx, []*Schedule{s})
		if err == nil {
			out = all[0]
		}
		return err
	})
	return out, err
}

// scheduleOf is the one of an id that the caller sees, locked in an update.
func scheduleOf(tx Tx, who *Caller, id string) (*Schedule, error) {
	s, err := tx.LockScheduleNamed(who.ID, id)
	if err != nil {
		return nil, err
	}
	if s == nil || !who.seesSchedule(s) {
		return nil, errorf(NotFound, "schedule %.300s not found", id)
	}
	return s, nil
}

// DeleteSchedule ends a schedule; one that is not there is no error. Messages it
// has made are delivered all the same.
func (e *Engine) DeleteSchedule(ctx context.Context, who *Caller, id string) error {
	return e.update(ctx, func(c *change) error {
		s, err := scheduleOf(c.tx, who, id)
		if ErrorCode(err) == NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.tx.DeleteSchedule(s.Seq); err != nil {
			return fmt.Errorf("delete schedule: %w", err)
		}
		return c.audit(who, "schedule.delete", id, auditedSchedule(s), nil)
	})
}

// PauseSchedule stops a schedule, or lets it go on, one that ended with its token
// as the caller's. What was due while it was paused is not made up for.
func (e *Engine) PauseSchedule(ctx context.Context, who *Caller, id string, paused bool) error {
	defer e.rescheduled()
	return e.update(ctx, func(c *change) error {
		s, err := scheduleOf(c.tx, who, id)
		if err != nil || s.Paused == paused {
			return err
		}
		before := auditedSchedule(s)
		if s.Paused = paused; !paused {
			if err := c.takeOver(who, s); err != nil {
				return err
			}
		}
		if err := s.setNext(c.now); err != nil {
			return err
		}
		if err := c.tx.UpdateSchedule(s); err != nil {
			return fmt.Errorf("update schedule: %w", err)
		}
		return c.audit(who, pausing("schedule", paused), id, before, auditedSchedule(s))
	})
}

// Why a schedule has ended with its token.
const (
	tokenRevoked = "its token was revoked"
	tokenExpired = "its token has expired"
)

// ended says whether a schedule was paused because it has ended with its token.
func (s *Schedule) ended() bool {
	return s.Paused && (s.Settings.Error == tokenRevoked || s.Settings.Error == tokenExpired)
}

// limitedToken is the hash of a limited token, with which its schedules end; nil
// of one that is not.
func (who *Caller) limitedToken() []byte {
	if !who.limited() {
		return nil
	}
	return who.Token.Hash
}

// tokenGone is why a schedule ends with its token now; "": it does not.
func (c *change) tokenGone(s *Schedule) (why string, err error) {
	if s.Token == nil {
		return "", nil
	}
	t, err := c.tx.TokenByHash(s.Token)
	switch {
	case err != nil:
		return "", fmt.Errorf("read token: %w", err)
	case t == nil:
		return tokenRevoked, nil
	case t.expired(c.now):
		return tokenExpired, nil
	}
	return "", nil
}

// takeOver makes a schedule the caller's whose token is gone. What it may reach
// becomes no more by that.
func (c *change) takeOver(who *Caller, s *Schedule) error {
	why, err := c.tokenGone(s)
	if err != nil || why == "" {
		return err
	}
	s.Token, s.Settings.Error = who.limitedToken(), ""
	if p := who.Token.URLPrefix; s.Settings.Prefix.Covers(string(p)) {
		s.Settings.Prefix = p
	}
	return nil
}
