package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/signposthq/signpost/client"
)

type queuesCmd struct {
	List   queuesListCmd   `cmd:"" help:"List the queues."`
	Get    queuesGetCmd    `cmd:"" help:"Show a queue."`
	Create queuesCreateCmd `cmd:"" help:"Create a queue. The first message to one creates it too."`
	Update queuesUpdateCmd `cmd:"" help:"Change how many messages a queue delivers at a time."`
	Delete queuesDeleteCmd `cmd:"" help:"Delete a queue, and the messages in it."`
	Pause  queuesPauseCmd  `cmd:"" help:"Stop deliveries from a queue. It goes on taking messages."`
	Resume queuesResumeCmd `cmd:"" help:"Let a queue deliver again."`
}

type queuesListCmd struct {
	JSON   bool `name:"json" help:"Print each queue as a line of JSON."`
	remote `embed:""`
}

var queueHead = []string{"QUEUE", "PARALLELISM", "LAG", "STATE", "CREATED"}

func queueRow(q *client.Queue) []string {
	return []string{q.Name, strconv.Itoa(q.Parallelism), strconv.Itoa(q.Lag), pausedText(q.Paused), nearText(q.CreatedAt, "")}
}

func pausedText(paused bool) string {
	if paused {
		return "paused"
	}
	return "running"
}

func (c *queuesListCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		queues, err := cl.Queues(ctx)
		if err != nil {
			return err
		}
		return writeList(o.stdout, c.JSON, queues, queueHead, queueRow)
	})
}

// namedQueue is what commands on one queue have.
type namedQueue struct {
	Name   string `arg:"" complete:"queue" help:"Name of the queue."`
	remote `embed:""`
}

type queuesGetCmd struct {
	namedQueue `embed:""`
	JSON       bool `name:"json" help:"Print JSON."`
}

func (c *queuesGetCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		q, err := cl.Queue(ctx, c.Name)
		if err != nil {
			return err
		}
		return writeItem(o.stdout, c.JSON, q, [][2]string{
			{"queue", q.Name}, {"parallelism", strconv.Itoa(q.Parallelism)}, {"lag", strconv.Itoa(q.Lag)}, {"state", pausedText(q.Paused)},
			{"created", timeText(q.CreatedAt, "")}, {"updated", timeText(q.UpdatedAt, "")},
		})
	})
}

type queuesCreateCmd struct {
	Name        string `arg:"" help:"Name: letters, digits, _, . and -."`
	Parallelism *int   `short:"p" placeholder:"N" help:"Messages delivered at a time (default 1)."`
	Paused      bool   `help:"Create it paused."`
	remote      `embed:""`
}

func (c *queuesCreateCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		switch _, err := cl.Queue(ctx, c.Name); {
		case err == nil:
			return withHint(fmt.Errorf("there is a queue %s already", c.Name), `change it with "signpost queues update"`)
		case !errors.Is(err, client.ErrNotFound):
			return err
		}
		parallelism := c.Parallelism
		if parallelism == nil {
			parallelism = new(1)
		}
		if err := cl.PutQueue(ctx, client.QueueRequest{Name: c.Name, Parallelism: parallelism, Paused: &c.Paused}); err != nil {
			return err
		}
		fmt.Fprintf(o.stderr, "Created queue %s.\n", c.Name)
		return nil
	})
}

type queuesUpdateCmd struct {
	namedQueue  `embed:""`
	Parallelism int `short:"p" required:"" placeholder:"N" help:"Messages delivered at a time."`
}

func (c *queuesUpdateCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		if _, err := cl.Queue(ctx, c.Name); err != nil {
			return err
		}
		if err := cl.PutQueue(ctx, client.QueueRequest{Name: c.Name, Parallelism: &c.Parallelism}); err != nil {
			return err
		}
		fmt.Fprintf(o.stderr, "Queue %s delivers %d at a time.\n", c.Name, c.Parallelism)
		return nil
	})
}

type queuesDeleteCmd struct {
	namedQueue `embed:""`
}

func (c *queuesDeleteCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		_, before := cl.Queue(ctx, c.Name)
		if err := cl.DeleteQueue(ctx, c.Name); err != nil {
			return err
		}
		if errors.Is(before, client.ErrNotFound) {
			fmt.Fprintf(o.stderr, "There was no queue %s.\n", c.Name)
			return nil
		}
		fmt.Fprintf(o.stderr, "There is no queue %s any more.\n", c.Name)
		return nil
	})
}

type queuesPauseCmd struct {
	namedQueue `embed:""`
}

func (c *queuesPauseCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		if err := cl.PauseQueue(ctx, c.Name); err != nil {
			return err
		}
		fmt.Fprintf(o.stderr, "Paused. Messages wait until queue %s is resumed.\n", c.Name)
		return nil
	})
}

type queuesResumeCmd struct {
	namedQueue `embed:""`
}

func (c *queuesResumeCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		if err := cl.ResumeQueue(ctx, c.Name); err != nil {
			return err
		}
		fmt.Fprintf(o.stderr, "Resumed, from the oldest message on.\n")
		return nil
	})
}
