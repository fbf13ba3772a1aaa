package client

import (
	"context"
	"fmt"
	"net/http"
)

// Queue is a lane that delivers its messages in order.
type Queue struct {
	Name        string `json:"name"`
	CreatedAt   int64  `json:"createdAt"` // Unix milliseconds
	UpdatedAt   int64  `json:"updatedAt"` // Unix milliseconds
	Parallelism int    `json:"parallelism"`
	Lag         int    `json:"lag"` // messages that have not ended
	Paused      bool   `json:"paused"`
}

// QueueRequest says what a queue is to be.
type QueueRequest struct {
	Name        string `json:"queueName"`             // 1 to 256 letters, digits, "_", "." and "-"
	Parallelism *int   `json:"parallelism,omitempty"` // messages delivered at a time; default: as it is, of a new queue 1
	Paused      *bool  `json:"paused,omitempty"`      // default: as it is, of a new queue false
}

// Queues lists the queues (GET /v2/queues).
func (c *Client) Queues(ctx context.Context) ([]Queue, error) {
	var out []Queue
	if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/queues", out: &out}); err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	return out, nil
}

// Queue looks up a queue; [ErrNotFound] when there is none (GET
// /v2/queues/{name}).
func (c *Client) Queue(ctx context.Context, name string) (Queue, error) {
	var out Queue
	path, err := namePath("/v2/queues/", name)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodGet, path: path, out: &out})
	}
	if err != nil {
		return Queue{}, fmt.Errorf("get queue: %w", err)
	}
	return out, nil
}

// PutQueue makes a queue, or changes the one there is (POST /v2/queues). There
// is no need to make one before it is published to. [ErrPrecondition] when
// there would be too many queues, or its parallelism is too high.
func (c *Client) PutQueue(ctx context.Context, r QueueRequest) error {
	_, err := namePath("", r.Name)
	if err == nil {
		err = c.tell(ctx, http.MethodPost, "/v2/queues", r)
	}
	if err != nil {
		return fmt.Errorf("put queue: %w", err)
	}
	return nil
}

// DeleteQueue deletes a queue and the messages in it. It is no error when there
// is none (DELETE /v2/queues/{name}).
func (c *Client) DeleteQueue(ctx context.Context, name string) error {
	path, err := namePath("/v2/queues/", name)
	if err == nil {
		err = c.tell(ctx, http.MethodDelete, path, nil)
	}
	if err != nil {
		return fmt.Errorf("delete queue: %w", err)
	}
	return nil
}

// PauseQueue stops deliveries from a queue, which goes on taking messages (POST
// /v2/queues/{name}/pause). An attempt under way is not stopped. [ErrNotFound]
// when there is no such queue.
func (c *Client) PauseQueue(ctx context.Context, name string) error {
	path, err := namePath("/v2/queues/", name)
	if err == nil {
		err = c.tell(ctx, http.MethodPost, path+"/pause", nil)
	}
	if err != nil {
		return fmt.Errorf("pause queue: %w", err)
	}
	return nil
}

// ResumeQueue lets a queue deliver again, from the oldest message on (POST
// /v2/queues/{name}/resume).
func (c *Client) ResumeQueue(ctx context.Context, name string) error {
	path, err := namePath("/v2/queues/", name)
	if err == nil {
		err = c.tell(ctx, http.MethodPost, path+"/resume", nil)
	}
	if err != nil {
		return fmt.Errorf("resume queue: %w", err)
	}
	return nil
}
