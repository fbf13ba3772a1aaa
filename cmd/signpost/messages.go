package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/signposthq/signpost/client"
)

type messagesCmd struct {
	List   messagesListCmd   `cmd:"" help:"List messages and how they are doing, the newest first."`
	Get    messagesGetCmd    `cmd:"" help:"Show a message and how it is doing."`
	Cancel messagesCancelCmd `cmd:"" help:"Cancel messages that are not delivered yet."`
}

type messagesListCmd struct {
	Lines              int      `short:"n" default:"50" placeholder:"N" help:"How many messages (default 50)."`
	State              []string `placeholder:"STATE" complete:"state" help:"Only those whose latest event is in this state; may be repeated."`
	Pending            bool     `help:"Only those that have not ended."`
	messageFilterFlags `embed:""`
	JSON               bool `name:"json" help:"Print the latest event of each as a line of JSON."`
	remote             `embed:""`
}

func (*messagesListCmd) Help() string {
	return `The list is made of the log of events, so it goes as far back as events are kept. A message stands where its latest event does.`
}

func (c *messagesListCmd) Run(ctx context.Context, o *outside) error {
	if c.Lines < 0 {
		return &usageError{fmt.Errorf("--lines: expected 0 or more, got %d", c.Lines), ""}
	}
	states, err := parseStates(c.State)
	if err != nil {
		return err
	}
	wanted := func(s client.EventState) bool {
		return (len(states) == 0 || slices.Contains(states, s)) && !(c.Pending && hasEnded(s))
	}
	return c.use(func(cl *client.Client) error {
		latest, err := latestEvents(ctx, cl, client.EventsRequest{Filter: c.filter()}, wanted, c.Lines)
		if err != nil {
			return err
		}
		return writeList(o.stdout, c.JSON, latest, []string{"MESSAGE", "STATE", "SINCE", "NEXT ATTEMPT", "URL"}, func(ev *client.Event) []string {
			return []string{
				ev.MessageID, string(ev.State), nearText(ev.Time, ""), nearText(ev.NextDeliveryTime, ""), shownURL(ev.URL),
			}
		})
	})
}

// latestEvents are the latest events of n messages that wanted takes.
func latestEvents(ctx context.Context, cl *client.Client, request client.EventsRequest, wanted func(client.EventState) bool, n int) (out []client.Event, err error) {
	if n == 0 {
		return nil, nil
	}
	seen := map[string]bool{}
	for ev, err := range cl.AllEvents(ctx, request) {
		if err != nil {
			return nil, err
		}
		if seen[ev.MessageID] {
			continue
		}
		seen[ev.MessageID] = true
		if !wanted(ev.State) {
			continue
		}
		if out = append(out, ev); len(out) == n {
			break
		}
	}
	return out, nil
}

func hasEnded(s client.EventState) bool {
	return s == client.EventDelivered || s == client.EventFailed || s == client.EventCanceled
}

type messagesGetCmd struct {
	ID     string `arg:"" help:"Id of the message: msg_…"`
	JSON   bool   `name:"json" help:"Print JSON."`
	remote `embed:""`
}

func (c *messagesGetCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		m, err := cl.Message(ctx, c.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			return writeItem(o.stdout, true, m, nil)
		}
		state, err := stateFields(ctx, cl, m.MessageID)
		if err != nil {
			return err
		}
		fields := messageFields(&m)
		if err := writeItem(o.stdout, false, m, slices.Insert(fields, 1, state...)); err != nil {
			return err
		}
		content, err := m.Bytes()
		if err != nil {
			return err
		}
		return writeBody(o.stdout, content)
	})
}

// stateFields say how a message is doing, as far as the log has that still.
func stateFields(ctx context.Context, cl *client.Client, id string) ([][2]string, error) {
	log, err := cl.Events(ctx, client.EventsRequest{MessageIDs: []string{id}, Count: 10}) // the last attempt's are among them
	if err != nil || len(log.Events) == 0 {
		return nil, err
	}
	latest := &log.Events[0]
	out := [][2]string{
		{"state", string(latest.State)}, {"since", timeText(latest.Time, "")}, {"next attempt", timeText(latest.NextDeliveryTime, "")},
	}
	for _, ev := range log.Events {
		if ev.Error != "" && latest.State != client.EventDelivered {
			out = append(out, [2]string{"last error", ev.Error})
			break
		}
	}
	if latest.State != client.EventFailed {
		return out, nil
	}
	dead, err := cl.DLQ(ctx, client.DLQRequest{Filter: client.DLQFilter{MessageID: id}})
	for _, m := range dead.Messages {
		out = append(out, [2]string{"dlq id", m.DLQID})
	}
	return out, err
}

// messageFields is a message for people, but for its body.
func messageFields(m *client.Message) [][2]string {
	out := [][2]string{
		{"message", m.MessageID}, {"url", m.URL}, {"method", m.Method},
		{"created", timeText(m.CreatedAt, "")}, {"due", timeText(m.NotBefore, "")}, {"retries", fmt.Sprint(m.MaxRetries)},
		{"retry delay", m.RetryDelayExpression}, {"from", m.CallerIP},
		{"group", m.URLGroup}, {"endpoint", m.EndpointName}, {"queue", m.QueueName}, {"schedule", m.ScheduleID},
		{"flow control", flowText(m.FlowControlKey, m.Parallelism, m.Rate, int64(m.Period))}, {"labels", strings.Join(m.Labels, ", ")},
		{"callback", m.Callback}, {"failure callback", m.FailureCallback},
	}
	return append(out, headerFields(m.Header)...)
}

func headerFields(header map[string][]string) (out [][2]string) {
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			out = append(out, [2]string{"header", name + ": " + value})
		}
	}
	return out
}

// writeBody writes a body after an empty line, if it is text.
func writeBody(w io.Writer, content []byte) error {
	if len(content) == 0 {
		return nil
	}
	text := fmt.Sprintf("(%d bytes, which are no text; see --json)", len(content))
	if utf8.Valid(content) {
		lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
		for i, line := range lines {
			if line = strings.TrimRightFunc(line, unicode.IsSpace); line != "" {
				line = printable(strings.ReplaceAll(line, "\t", "    "))
			}
			lines[i] = line
		}
		text = strings.Join(lines, "\n")
	}
	_, err := fmt.Fprintf(w, "\n%s\n", text)
	return err
}

type messagesCancelCmd struct {
	ID                 []string `arg:"" optional:"" help:"Ids of messages: msg_…"`
	messageFilterFlags `embed:""`
	bulkFlags          `embed:""`
	JSON               bool `name:"json" help:"Print JSON."`
	remote             `embed:""`
}

func (*messagesCancelCmd) Help() string {
	return `Takes ids, or filters, or --all. An attempt under way goes on, and no other follows it.`
}

// cancelPage is how many messages are cancelled in one call.
const cancelPage = 500

func (c *messagesCancelCmd) Run(ctx context.Context, o *outside) error {
	filter := c.filter()
	if err := c.check(o, c.ID, !selectsAll(filter), "Cancel all messages that are not delivered yet at "+c.Server+"?"); err != nil {
		return err
	}
	return c.use(func(cl *client.Client) error {
		done := newProgress(o, "Cancelled")
		defer done.end()
		request := client.CancelRequest{IDs: c.ID, Filter: filter, All: c.All}
		if c.ID == nil {
			request.Count = cancelPage
		}
		for {
			n, err := cl.CancelMessages(ctx, request)
			done.add(n)
			if err != nil {
				return fmt.Errorf("cancelled %d, then: %w", done.count, err)
			}
			if n < cancelPage || c.ID != nil {
				break
			}
		}
		done.end()
		if err := writeCount(o.stdout, c.JSON, "cancelled", done.count); err != nil {
			return err
		}
		return short("cancelled", done.count, c.ID, "the others are unknown, or have ended")
	})
}

// writeCount tells how many things something was done with.
func writeCount(w io.Writer, asJSON bool, done string, n int) error {
	if asJSON {
		return json.NewEncoder(w).Encode(map[string]int{done: n})
	}
	_, err := fmt.Fprintf(w, "%s %d\n", done, n)
	return err
}
