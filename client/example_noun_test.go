package client_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/exampletest"
	"github.com/signposthq/signpost/signposttest"
)

// signpostServer runs a real server for an example.
func signpostServer() (c *client.Client, stop func()) {
	t := exampletest.New()
	c = signposttest.NewServer(t).Client()
	return c, func() {
		c.CloseIdleConnections()
		t.Close()
		fmt.Print(t.Said())
	}
}

// A queue delivers its messages one after the other.
func ExampleClient_PutQueue() {
	c, stop := signpostServer()
	defer stop()
	ctx := context.Background()

	if err := c.PutQueue(ctx, client.QueueRequest{Name: "invoices", Parallelism: new(1), Paused: new(true)}); err != nil {
		fmt.Println(err)
		return
	}
	for _, body := range []string{"first", "second"} {
		_, err := c.Publish(ctx, client.PublishRequest{URL: "https://example.com/invoices", Queue: "invoices", Body: []byte(body)})
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	q, err := c.Queue(ctx, "invoices")
	fmt.Println(q.Name, q.Parallelism, q.Paused, q.Lag, err)

	fmt.Println(c.DeleteQueue(ctx, "invoices"))
	_, err = c.Queue(ctx, "invoices")
	fmt.Println(errors.Is(err, client.ErrNotFound))
	// Output:
	// invoices 1 true 2 <nil>
	// <nil>
	// true
}

// Flow control keeps what is sent to a partner within what the partner bears.
func ExampleClient_PinFlowControl() {
	c, stop := signpostServer()
	defer stop()
	ctx := context.Background()

	_, err := c.Publish(ctx, client.PublishRequest{
		URL:         "https://partner.example/hook",
		Delay:       time.Hour,
		FlowControl: &client.FlowControl{Key: "partner/eu 1", Rate: 100, Period: time.Minute},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// The partner is in trouble: less, whatever messages say.
	if err := c.PinFlowControl(ctx, client.FlowControl{Key: "partner/eu 1", Parallelism: 2, Rate: 10}); err != nil {
		fmt.Println(err)
		return
	}
	keys, err := c.FlowControlKeys(ctx, "partner")
	for _, k := range keys {
		fmt.Println(k.Key, k.ParallelismMax, "at once,", k.RateMax, "in", k.RatePeriod, "s, pinned:", k.PinnedRate)
	}
	fmt.Println(err)
	// Output:
	// partner/eu 1 2 at once, 10 in 1 s, pinned: true
	// <nil>
}

// What has failed is sent again, with other settings.
func ExampleClient_RetryAllDLQ() {
	c, stop := signpostServer()
	defer stop()
	ctx := context.Background()

	m, err := c.Publish(ctx, client.PublishRequest{
		URL: "http://127.0.0.1:1/nobody-is-there", Body: []byte("an order"), Retries: new(0), Labels: []string{"orders"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	failed := client.DLQFilter{Filter: client.Filter{Labels: []string{"orders"}}}
	for range 500 { // until it is there
		page, err := c.DLQ(ctx, client.DLQRequest{Filter: failed})
		if err != nil || len(page.Messages) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	retry := client.DLQRetry{
		DLQSelection: client.DLQSelection{Filter: failed},
		Override:     client.PublishRequest{Delay: time.Hour, Retries: new(5)},
	}
	for answer, err := range c.RetryAllDLQ(ctx, retry) {
		if err != nil {
			fmt.Println(err)
			return
		}
		again, err := c.Message(ctx, answer.MessageID)
		fmt.Println(again.MessageID != m.MessageID, again.Body, again.MaxRetries, again.NotBefore > again.CreatedAt, err)
	}
	// Output:
	// true an order 5 true <nil>
}

func ExampleError_RetryAfter() {
	err := error(&client.Error{Status: 429, Message: "too many requests", Reset: time.Now().Add(-time.Second)})
	var answer *client.Error
	if errors.Is(err, client.ErrRateLimited) && errors.As(err, &answer) {
		time.Sleep(answer.RetryAfter()) // and do it again
	}
	fmt.Println(answer.RetryAfter())
	// Output: 0s
}
