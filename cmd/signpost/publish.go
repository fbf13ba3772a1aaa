package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
)

type publishCmd struct {
	URL             string   `arg:"" help:"Destination: http:// or https://."`
	Body            body     `short:"d" placeholder:"TEXT" help:"Body: text, @file, or - for standard input (default none)."`
	Header          headers  `short:"H" sep:"none" placeholder:"'K: V'" help:"Header to send along; may be repeated. A body that is JSON gets its Content-Type by itself."`
	Method          string   `short:"X" default:"POST" placeholder:"VERB" help:"Method of the delivery (default POST)."`
	Delay           duration `placeholder:"TIME" help:"Wait before the first attempt, such as 30s, 1.5h or 7d."`
	NotBefore       moment   `placeholder:"TIME" help:"When the first attempt is due, RFC 3339 or Unix seconds."`
	Retries         *int     `placeholder:"N" help:"Attempts after the first (default 3)."`
	RetryDelay      string   `placeholder:"EXPR" help:"Milliseconds before each retry, such as '1000 * (1 + retried)'."`
	Timeout         duration `placeholder:"TIME" help:"Limit of each attempt."`
	Callback        string   `placeholder:"URL" help:"URL that is told the outcome of every attempt."`
	FailureCallback string   `placeholder:"URL" help:"URL that is told when the message has failed for good."`
	Label           []string `placeholder:"LABEL" help:"Label to find the message by; may be repeated."`
	DeduplicationID string   `name:"deduplication-id" placeholder:"ID" help:"Accept the message once per id."`
	ContentDedup    bool     `name:"content-based-deduplication" help:"Make that id of destination, body and headers."`
	Redact          []string `placeholder:"PART" help:"What is never shown but as a hash: body, header (all) or header[Name]; may be repeated."`
	JSON            bool     `name:"json" help:"Print JSON."`
	Wait            bool     `short:"w" help:"Print what happens until the message is delivered; the status is 1 if it is not."`
	remote          `embed:""`
}

func (*publishCmd) Help() string {
	return `Prints the message's id once the server has it on disk.`
}

func (c *publishCmd) Run(ctx context.Context, o *outside) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	defer cl.CloseIdleConnections()
	request, err := c.request(o)
	if err != nil {
		return err
	}
	answer, err := cl.Publish(ctx, request)
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(o.stdout).Encode(answer)
	} else {
		_, err = fmt.Fprintln(o.stdout, answer.MessageID)
	}
	if err != nil {
		return err
	}
	if answer.Deduplicated && !c.JSON {
		fmt.Fprintln(o.stderr, "The server has this message already: nothing new was published.")
	}
	if !c.Wait {
		return nil
	}
	return c.wait(ctx, cl, o, answer.MessageID)
}

func (c *publishCmd) request(o *outside) (client.PublishRequest, error) {
	content, err := c.Body.read(o.stdin)
	if err != nil {
		return client.PublishRequest{}, err
	}
	header, err := c.Header.parse()
	if err != nil {
		return client.PublishRequest{}, err
	}
	if header.Get("Content-Type") == "" && len(content) > 0 && json.Valid(content) {
		header.Set("Content-Type", "application/json")
	}
	return client.PublishRequest{
		URL: c.URL, Method: strings.ToUpper(c.Method), Body: content, Header: header,
		Delay: time.Duration(c.Delay), NotBefore: c.NotBefore.Time,
		Retries: c.Retries, RetryDelay: c.RetryDelay, Timeout: time.Duration(c.Timeout),
		Callback: callback(c.Callback), FailureCallback: callback(c.FailureCallback),
		Labels: c.Label, DeduplicationID: c.DeduplicationID, ContentBasedDeduplication: c.ContentDedup,
		Redact: c.Redact,
	}, nil
}

func callback(url string) *client.Callback {
	if url == "" {
		return nil
	}
	return &client.Callback{URL: url, Method: http.MethodPost}
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
		return withHint(fmt.Errorf("%s was not delivered", id), "it is in the dead-letter queue; correct the endpoint and retry it from there")
	case last.State == client.EventCanceled:
		return withHint(fmt.Errorf("%s was cancelled", id), "publish it again if that was a mistake")
	}
	return nil
}
