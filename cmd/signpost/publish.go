package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
)

type publishCmd struct {
	destination     `embed:""`
	delivery        `embed:""`
	NotBefore       future `placeholder:"TIME" help:"When the first attempt is due: RFC 3339, Unix seconds, or how long until then, such as 2h."`
	DeduplicationID string `name:"deduplication-id" placeholder:"ID" help:"Accept the message once per id."`
	ContentDedup    bool   `name:"content-based-deduplication" help:"Make that id of destination, body and headers."`
	JSON            bool   `name:"json" help:"Print JSON."`
	Wait            bool   `short:"w" help:"Print what happens until the message is delivered; the status is 1 if it is not."`
	remote          `embed:""`
}

func (*publishCmd) Help() string {
	return `Prints the message's id once the server has it on disk; of a URL group, one for each endpoint. A body that is JSON gets
its Content-Type by itself.`
}

func (c *publishCmd) Run(ctx context.Context, o *outside) error {
	request, err := c.request(o, &c.delivery)
	if err != nil {
		return err
	}
	request.NotBefore, request.DeduplicationID, request.ContentBasedDeduplication = c.NotBefore.Time, c.DeduplicationID, c.ContentDedup
	return c.use(func(cl *client.Client) error {
		answer, err := cl.Publish(ctx, request)
		if err != nil {
			return err
		}
		messages := answer.Endpoints
		if messages == nil {
			messages = []client.PublishResponse{answer}
		}
		if err := c.tell(o, answer, messages); err != nil || !c.Wait {
			return err
		}
		for _, m := range messages {
			err = cmp.Or(err, c.wait(ctx, cl, o, m.MessageID))
		}
		return err
	})
}

func (c *publishCmd) tell(o *outside, answer client.PublishResponse, messages []client.PublishResponse) error {
	if c.JSON {
		return json.NewEncoder(o.stdout).Encode(answer)
	}
	known := 0
	for _, m := range messages {
		if m.Deduplicated {
			known++
		}
		if _, err := fmt.Fprintln(o.stdout, m.MessageID); err != nil {
			return err
		}
	}
	if known > 0 && known == len(messages) {
		fmt.Fprintln(o.stderr, "The server has this message already: nothing new was published.")
	}
	return nil
}

// wait follows a message to its end.
func (c *publishCmd) wait(ctx context.Context, cl *client.Client, o *outside, id string) error {
	var last *client.Event
	f := &follower{client: cl, request: client.EventsRequest{MessageIDs: []string{id}}, every: 200 * time.Millisecond}
	err := f.follow(ctx, o, func(ev client.Event) (bool, error) {
		switch ev.State {
		case client.EventDelivered, client.EventFailed, client.EventCanceled:
			last = &ev
		}
		return last == nil, writeEvent(o.stdout, &ev, c.JSON)
	})
	switch {
	case err != nil:
		return withHint(err, fmt.Sprintf("the message is published all the same: see \"signpost logs --message-id %s\"", id))
	case last == nil:
		return withHint(fmt.Errorf("stopped waiting for %s", id), "the server goes on with it all the same")
	case last.State == client.EventFailed:
		return withHint(fmt.Errorf("%s was not delivered: %s", id, cmp.Or(last.Error, statusText(last.ResponseStatus), "no reason is known")), failedHint(ctx, cl, last))
	case last.State == client.EventCanceled:
		return withHint(fmt.Errorf("%s was cancelled", id), "publish it again if that was a mistake")
	}
	return nil
}

// failedHint says what to do about a message that has failed for good.
func failedHint(ctx context.Context, cl *client.Client, failed *client.Event) string {
	retry := "signpost dlq list"
	dead, err := cl.DLQ(ctx, client.DLQRequest{Filter: client.DLQFilter{MessageID: failed.MessageID}})
	if err == nil && len(dead.Messages) == 1 {
		retry = "signpost dlq retry " + dead.Messages[0].DLQID
	}
	reason := failed.Error
	switch {
	case !strings.HasPrefix(reason, "destination refused: "):
		return "correct the endpoint, then: " + retry
	case strings.Contains(reason, "--allow-destination"):
		return "start the server with --allow-destination for the network of that address, then: " + retry
	case strings.Contains(reason, "signpost dev"):
		return `a server delivers to other machines only; for endpoints on its own there is "signpost dev"`
	}
	return "no server delivers to that address"
}
