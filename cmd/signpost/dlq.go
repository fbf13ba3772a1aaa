package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/signposthq/signpost/client"
)

type dlqCmd struct {
	List   dlqListCmd   `cmd:"" help:"List messages that have failed for good."`
	Get    dlqGetCmd    `cmd:"" help:"Show such a message, and the last response it got."`
	Retry  dlqRetryCmd  `cmd:"" help:"Publish messages anew, and take them out of the dead-letter queue."`
	Delete dlqDeleteCmd `cmd:"" help:"Delete messages from the dead-letter queue."`
}

// dlqFilterFlags pick messages of the dead-letter queue.
type dlqFilterFlags struct {
	filterFlags `embed:""`
	MessageID   string `name:"message-id" placeholder:"ID" help:"Only this message."`
	Status      []int  `placeholder:"STATUS" help:"Only with this status of the last response, 0 for none; may be repeated."`
}

func (f *dlqFilterFlags) filter() client.DLQFilter {
	return client.DLQFilter{Filter: f.filterFlags.filter(), MessageID: f.MessageID, ResponseStatuses: f.Status}
}

type dlqListCmd struct {
	Lines          int  `short:"n" default:"50" placeholder:"N" help:"How many messages (default 50)."`
	Newest         bool `help:"The newest first (default the oldest)."`
	dlqFilterFlags `embed:""`
	JSON           bool `name:"json" help:"Print each message as a line of JSON."`
	remote         `embed:""`
}

func (c *dlqListCmd) Run(ctx context.Context, o *outside) error {
	if c.Lines < 0 {
		return &usageError{fmt.Errorf("--lines: expected 0 or more, got %d", c.Lines), ""}
	}
	request := client.DLQRequest{Filter: c.filter(), Count: min(c.Lines+1, 100)}
	if c.Newest {
		request.Order = client.NewestFirst
	}
	return c.use(func(cl *client.Client) error {
		var messages []client.DLQMessage
		more := false
		for m, err := range cl.AllDLQ(ctx, request) {
			if err != nil {
				return err
			}
			if more = len(messages) == c.Lines; more {
				break
			}
			messages = append(messages, m)
		}
		head := []string{"DLQ ID", "MESSAGE OR RUN", "CREATED", "URL", "REASON"}
		err := writeList(o.stdout, c.JSON, messages, head, func(m *client.DLQMessage) []string {
			return []string{m.DLQID, cmp.Or(m.WorkflowRunID, m.MessageID), nearText(m.CreatedAt, ""), shownURL(m.URL), shortReason(m)}
		})
		if more {
			fmt.Fprintln(o.stderr, "There are more: see -n.")
		}
		return err
	})
}

// reasonText is why a message has failed. Other servers say no more than a status.
func reasonText(m *client.DLQMessage) string {
	return cmp.Or(m.Error, statusText(m.ResponseStatus))
}

// shortReason is the end of it where nothing came back: what led there is the
// words of the network.
func shortReason(m *client.DLQMessage) string {
	reason := reasonText(m)
	if at := strings.LastIndex(reason, ": "); at >= 0 && m.ResponseStatus == 0 {
		return reason[at+2:]
	}
	return reason
}

func statusText(status int) string {
	if status == 0 {
		return ""
	}
	return strconv.Itoa(status)
}

type dlqGetCmd struct {
	ID     string `arg:"" help:"DLQ id of the message, as list shows it."`
	JSON   bool   `name:"json" help:"Print JSON."`
	remote `embed:""`
}

func (c *dlqGetCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		m, err := cl.DLQMessage(ctx, c.ID)
		if err != nil {
			return err
		}
		fields := append([][2]string{{"dlq id", m.DLQID}}, messageFields(&m.Message)...)
		fields = append(fields, [2]string{"run", m.WorkflowRunID}, [2]string{"reason", reasonText(&m)})
		if status := statusText(m.ResponseStatus); !strings.HasPrefix(reasonText(&m), status) {
			fields = append(fields, [2]string{"answer", status})
		}
		for _, f := range headerFields(m.ResponseHeader) {
			fields = append(fields, [2]string{"answer's", f[1]})
		}
		if err := writeItem(o.stdout, c.JSON, m, fields); err != nil || c.JSON {
			return err
		}
		for _, read := range []func() ([]byte, error){m.Bytes, m.ResponseBytes} {
			content, err := read()
			if err == nil {
				err = writeBody(o.stdout, content)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

type dlqRetryCmd struct {
	ID             []string `arg:"" optional:"" help:"DLQ ids of messages, as list shows them."`
	dlqFilterFlags `embed:""`
	bulkFlags      `embed:""`
	Set            delivery `embed:"" prefix:"set-" group:"change"`
	JSON           bool     `name:"json" help:"Print the answer for each message as a line of JSON."`
	remote         `embed:""`
}

func (*dlqRetryCmd) Help() string {
	return `Takes ids, or filters, or --all, and prints the id of each new message. With --set-… it is delivered otherwise than the
one that failed; headers are added to those it has. What failed in a workflow run is left: a run is resumed, not retried.`
}

func (c *dlqRetryCmd) Run(ctx context.Context, o *outside) error {
	filter := c.filter()
	if err := c.check(o, c.ID, !selectsAll(filter), "Retry all messages of the dead-letter queue at "+c.Server+"?"); err != nil {
		return err
	}
	set, err := c.Set.settings()
	if err != nil {
		return err
	}
	request := client.DLQRetry{DLQSelection: client.DLQSelection{IDs: c.ID, Filter: filter, All: c.All}, Override: set}
	return c.use(func(cl *client.Client) error {
		done := newProgress(o, "Retried")
		defer done.end()
		for answer, err := range cl.RetryAllDLQ(ctx, request) {
			if err != nil {
				return fmt.Errorf("retried %d, then: %w", done.count, err)
			}
			if err := c.tell(o, &answer); err != nil {
				return err
			}
			done.add(1)
		}
		done.end()
		fmt.Fprintf(o.stderr, "Retried %d.\n", done.count)
		return short("retried", done.count, c.ID, "the others are gone, or failed in a workflow run, which is resumed and not retried")
	})
}

func (c *dlqRetryCmd) tell(o *outside, answer *client.PublishResponse) (err error) {
	if c.JSON {
		return json.NewEncoder(o.stdout).Encode(answer)
	}
	_, err = fmt.Fprintln(o.stdout, answer.MessageID)
	return err
}

type dlqDeleteCmd struct {
	ID             []string `arg:"" optional:"" help:"DLQ ids of messages, as list shows them."`
	dlqFilterFlags `embed:""`
	bulkFlags      `embed:""`
	JSON           bool `name:"json" help:"Print JSON."`
	remote         `embed:""`
}

func (*dlqDeleteCmd) Help() string { return `Takes ids, or filters, or --all.` }

func (c *dlqDeleteCmd) Run(ctx context.Context, o *outside) error {
	filter := c.filter()
	if err := c.check(o, c.ID, !selectsAll(filter), "Delete all messages of the dead-letter queue at "+c.Server+"?"); err != nil {
		return err
	}
	return c.use(func(cl *client.Client) error {
		done := newProgress(o, "Deleted")
		defer done.end()
		for n, err := range cl.DeleteAllDLQ(ctx, client.DLQSelection{IDs: c.ID, Filter: filter, All: c.All}) {
			if err != nil {
				return fmt.Errorf("deleted %d, then: %w", done.count, err)
			}
			done.add(n)
		}
		done.end()
		if err := writeCount(o.stdout, c.JSON, "deleted", done.count); err != nil {
			return err
		}
		return short("deleted", done.count, c.ID, "the others are gone already")
	})
}
