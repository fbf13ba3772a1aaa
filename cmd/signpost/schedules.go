package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
)

type schedulesCmd struct {
	List   schedulesListCmd   `cmd:"" help:"List the schedules."`
	Get    schedulesGetCmd    `cmd:"" help:"Show a schedule."`
	Create schedulesCreateCmd `cmd:"" help:"Publish again and again, as a cron expression says."`
	Delete schedulesDeleteCmd `cmd:"" help:"Delete a schedule."`
	Pause  schedulesPauseCmd  `cmd:"" help:"Skip the times of a schedule until it is resumed."`
	Resume schedulesResumeCmd `cmd:"" help:"Let a schedule go on with its next time."`
}

type schedulesListCmd struct {
	JSON   bool `name:"json" help:"Print each schedule as a line of JSON."`
	remote `embed:""`
}

func (c *schedulesListCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		schedules, err := cl.Schedules(ctx)
		if err != nil {
			return err
		}
		head := []string{"SCHEDULE", "CRON", "STATE", "LAST", "NEXT", "DESTINATION"}
		return writeList(o.stdout, c.JSON, schedules, head, func(s *client.Schedule) []string {
			return []string{s.ScheduleID, s.Cron, pausedText(s.Paused), nearText(s.LastTime, ""), nearText(s.NextTime, ""), shownURL(s.Destination)}
		})
	})
}

// namedSchedule is what commands on one schedule have.
type namedSchedule struct {
	ID     string `arg:"" complete:"schedule" help:"Id of the schedule."`
	remote `embed:""`
}

type schedulesGetCmd struct {
	namedSchedule `embed:""`
	JSON          bool `name:"json" help:"Print JSON."`
}

func (c *schedulesGetCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		s, err := cl.Schedule(ctx, c.ID)
		if err != nil {
			return err
		}
		if err := writeItem(o.stdout, c.JSON, s, scheduleFields(&s)); err != nil || c.JSON {
			return err
		}
		content, err := s.Bytes()
		if err != nil {
			return err
		}
		return writeBody(o.stdout, content)
	})
}

func scheduleFields(s *client.Schedule) [][2]string {
	out := [][2]string{
		{"schedule", s.ScheduleID}, {"cron", s.Cron}, {"state", pausedText(s.Paused)}, {"destination", s.Destination}, {"method", s.Method},
		{"created", timeText(s.CreatedAt, "")}, {"last", timeText(s.LastTime, "")}, {"next", timeText(s.NextTime, "")}, {"error", s.Error},
		{"retries", fmt.Sprint(s.Retries)}, {"retry delay", s.RetryDelayExpression}, {"delay", secondsText(s.Delay)}, {"timeout", secondsText(s.Timeout)},
		{"queue", s.QueueName}, {"flow control", flowText(s.FlowControlKey, s.Parallelism, s.Rate, int64(s.Period))},
		{"labels", strings.Join(s.Labels, ", ")}, {"callback", s.Callback}, {"failure callback", s.FailureCallback}, {"from", s.CallerIP},
	}
	for _, id := range slices.Sorted(maps.Keys(s.LastStates)) {
		out = append(out, [2]string{"message", id + " " + string(s.LastStates[id])})
	}
	return append(out, headerFields(s.Header)...)
}

func secondsText(n int64) string {
	if n == 0 {
		return ""
	}
	return (time.Duration(n) * time.Second).String()
}

type schedulesCreateCmd struct {
	destination `embed:""`
	Cron        string `required:"" placeholder:"EXPR" help:"When: five fields such as '0 4 * * *', or @hourly and its like; in UTC, or after CRON_TZ=Europe/Berlin there."`
	ID          string `name:"id" placeholder:"ID" help:"Id of the schedule; one that has it already is replaced (default a new one)."`
	delivery    `embed:""`
	JSON        bool `name:"json" help:"Print JSON."`
	remote      `embed:""`
}

func (*schedulesCreateCmd) Help() string {
	return `Prints the schedule's id. A body that is JSON gets its Content-Type by itself; --delay counts from each time.`
}

func (c *schedulesCreateCmd) Run(ctx context.Context, o *outside) error {
	publish, err := c.request(o, &c.delivery)
	if err != nil {
		return err
	}
	return c.use(func(cl *client.Client) error {
		id, err := cl.CreateSchedule(ctx, client.ScheduleRequest{Cron: c.Cron, ID: c.ID, Publish: publish})
		if err != nil {
			return err
		}
		if c.JSON {
			return json.NewEncoder(o.stdout).Encode(client.ScheduleResponse{ScheduleID: id})
		}
		_, err = fmt.Fprintln(o.stdout, id)
		return err
	})
}

type schedulesDeleteCmd struct {
	namedSchedule `embed:""`
}

func (c *schedulesDeleteCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		_, before := cl.Schedule(ctx, c.ID)
		if err := cl.DeleteSchedule(ctx, c.ID); err != nil {
			return err
		}
		if errors.Is(before, client.ErrNotFound) {
			fmt.Fprintf(o.stderr, "There was no schedule %s.\n", c.ID)
			return nil
		}
		fmt.Fprintf(o.stderr, "There is no schedule %s any more. What it has published is delivered all the same.\n", c.ID)
		return nil
	})
}

type schedulesPauseCmd struct {
	namedSchedule `embed:""`
}

func (c *schedulesPauseCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		if err := cl.PauseSchedule(ctx, c.ID); err != nil {
			return err
		}
		fmt.Fprintf(o.stderr, "Paused. Nothing is published until schedule %s is resumed.\n", c.ID)
		return nil
	})
}

type schedulesResumeCmd struct {
	namedSchedule `embed:""`
}

func (c *schedulesResumeCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		if err := cl.ResumeSchedule(ctx, c.ID); err != nil {
			return err
		}
		fmt.Fprintln(o.stderr, "Resumed, with its next time.")
		return nil
	})
}
