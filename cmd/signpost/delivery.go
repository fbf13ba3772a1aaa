package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

// destination is what is to be delivered, and where.
type destination struct {
	URL   string `arg:"" optional:"" name:"url" help:"Destination: http:// or https://, or api/llm."`
	Group string `placeholder:"NAME" complete:"group" help:"URL group to publish to, in place of a URL."`
	Body  body   `short:"d" placeholder:"TEXT" help:"Body: text, @file, or - for standard input (default none)."`
}

// delivery is how to deliver it.
type delivery struct {
	Header          headers  `short:"H" sep:"none" placeholder:"'K: V'" help:"Header to send along; may be repeated."`
	Method          string   `short:"X" words:"GET,POST,PUT,PATCH,DELETE" placeholder:"VERB" help:"Method of the delivery (default POST)."`
	Delay           duration `placeholder:"TIME" help:"Wait before the first attempt, such as 30s, 1.5h or 7d."`
	Retries         *int     `placeholder:"N" help:"Attempts after the first (default 3)."`
	RetryDelay      string   `placeholder:"EXPR" help:"Wait before each retry: a time such as 10s, or an expression for milliseconds such as '1000 * (1 + retried)'."`
	Timeout         duration `placeholder:"TIME" help:"Limit of each attempt."`
	Queue           string   `placeholder:"NAME" complete:"queue" help:"Queue to go through, which is made if there is none."`
	FlowKey         string   `placeholder:"KEY" complete:"flow" help:"Key of flow control, with a rate, a parallelism or both."`
	FlowRate        int      `placeholder:"N" help:"Deliveries in each period, of all messages with the key."`
	FlowPeriod      duration `placeholder:"TIME" help:"The period (default 1s)."`
	FlowParallelism int      `placeholder:"N" help:"Deliveries at once, of all messages with the key."`
	Callback        string   `placeholder:"URL" help:"URL that is told the outcome of every attempt."`
	FailureCallback string   `placeholder:"URL" help:"URL that is told when the message has failed for good."`
	Label           []string `placeholder:"LABEL" help:"Label to find the message by; may be repeated."`
	Redact          []string `placeholder:"PART" help:"What is never shown but as a hash: body, header (all) or header[Name]; may be repeated."`
}

// settings are what the flags say, as of a publish.
func (d *delivery) settings() (client.PublishRequest, error) {
	header, err := d.Header.parse()
	if err != nil {
		return client.PublishRequest{}, err
	}
	for name := range header {
		if strings.HasPrefix(name, wire.PrefixUpstash) && name != wire.HeaderLabel { // which a workflow endpoint reads
			return client.PublishRequest{}, &usageError{fmt.Errorf("--header %s: it would be sent along, and set nothing", name), "settings are flags, such as --delay and --retries"}
		}
	}
	if d.Retries != nil && *d.Retries < 0 {
		return client.PublishRequest{}, &usageError{fmt.Errorf("--retries: expected a whole number from 0, got %d", *d.Retries), ""}
	}
	out := client.PublishRequest{
		Method: strings.ToUpper(d.Method), Header: header, Queue: d.Queue,
		Delay: time.Duration(d.Delay), Retries: d.Retries, RetryDelay: expression(d.RetryDelay), Timeout: time.Duration(d.Timeout),
		Callback: callback(d.Callback), FailureCallback: callback(d.FailureCallback), Labels: d.Label, Redact: d.Redact,
		FlowControl: flowControl(d.FlowKey, d.FlowRate, d.FlowPeriod, d.FlowParallelism),
	}
	return out, nil
}

// flowControl is what flags say of it, nil if they say nothing.
func flowControl(key string, rate int, period duration, parallelism int) *client.FlowControl {
	if key == "" && rate == 0 && period == 0 && parallelism == 0 {
		return nil
	}
	return &client.FlowControl{Key: key, Rate: rate, Period: time.Duration(period), Parallelism: parallelism}
}

// expression is a delay of retries, which people also write as a duration.
func expression(text string) string {
	length, err := wire.ParseDuration(text)
	if _, known := wire.ParseRetryDelay(text); known == nil || err != nil {
		return text
	}
	return strconv.FormatInt(length.Milliseconds(), 10)
}

func callback(url string) *client.Callback {
	if url == "" {
		return nil
	}
	return &client.Callback{URL: url, Method: http.MethodPost}
}

// request is both together. A body that is JSON gets its Content-Type.
func (to *destination) request(o *outside, d *delivery) (client.PublishRequest, error) {
	switch {
	case to.URL == "" && to.Group == "":
		return client.PublishRequest{}, &usageError{errors.New(`expected "<url>" or --group`), ""}
	case to.URL != "" && to.Group != "":
		return client.PublishRequest{}, &usageError{errors.New(`expected only one of "<url>" and --group`), ""}
	case to.URL != "" && to.URL != wire.LLMDestination && !wire.IsURL(to.URL):
		return client.PublishRequest{}, &usageError{fmt.Errorf("destination %q: expected a URL that begins with http:// or https://", to.URL), "a URL group goes by --group"}
	}
	out, err := d.settings()
	if err == nil {
		out.Body, err = to.Body.read(o.stdin)
	}
	if err != nil {
		return client.PublishRequest{}, err
	}
	if out.Header.Get("Content-Type") == "" && len(out.Body) > 0 && json.Valid(out.Body) {
		out.Header.Set("Content-Type", "application/json")
	}
	if out.URLGroup = to.Group; to.URL == wire.LLMDestination {
		out.LLM = true
	} else {
		out.URL = to.URL
	}
	return out, nil
}
