package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/signposthq/signpost/client"
)

type benchMessagesCmd struct {
	Messages    int `short:"n" default:"20000" placeholder:"N" help:"Messages to publish (default 20000)."`
	Concurrency int `short:"c" default:"64" placeholder:"N" help:"Clients that publish at once (default 64)."`
	BodyBytes   int `default:"100" placeholder:"N" help:"Length of each body, 12 at least (default 100)."`
	benched     `embed:""`
}

func (*benchMessagesCmd) Help() string {
	return `Publishes to an endpoint in this process, which answers at once, and waits until all has been delivered.`
}

type messagesReport struct {
	Messages           int      `json:"messages"`
	Concurrency        int      `json:"concurrency"`
	BodyBytes          int      `json:"bodyBytes"`
	AcceptedPerSecond  float64  `json:"acceptedPerSecond"`
	DeliveredPerSecond float64  `json:"deliveredPerSecond"`
	PublishP50         float64  `json:"publishP50Ms"`
	PublishP99         float64  `json:"publishP99Ms"`
	EndToEndP50        float64  `json:"endToEndP50Ms"` // from the publish to its arrival
	EndToEndP99        float64  `json:"endToEndP99Ms"`
	CPUPerMessage      *float64 `json:"serverCpuMicrosPerMessage,omitempty"`
	Lost               int      `json:"lost"`
	Duplicated         int      `json:"duplicated"`
}

func (c *benchMessagesCmd) Run(ctx context.Context, o *outside) error {
	if c.Messages < 1 || c.Concurrency < 1 || c.BodyBytes < smallest {
		return &usageError{fmt.Errorf("expected 1 message, 1 client and %d bytes at least", smallest), ""}
	}
	return benchmark(ctx, o, &c.benched, c.Concurrency, c.measure)
}

func (c *benchMessagesCmd) measure(ctx context.Context) (*messagesReport, error) {
	endpoint := &arrivals{first: make(map[int]time.Time, c.Messages)}
	url, stop, err := listen(endpoint)
	if err != nil {
		return nil, err
	}
	defer stop()

	cpu, begin := c.cpu(), time.Now()
	sent, took, err := c.publish(ctx, url)
	if err != nil {
		return nil, err
	}
	accepted := time.Since(begin)
	delivered := func() bool { return endpoint.count() >= c.Messages }
	if err := await(ctx, time.Duration(c.Patience), endpoint.count, delivered); err != nil {
		return nil, err
	}
	all := time.Since(begin)
	cpu = c.cpu() - cpu

	endpoint.mu.Lock()
	defer endpoint.mu.Unlock()
	journeys := make([]time.Duration, 0, c.Messages)
	for number, at := range endpoint.first {
		journeys = append(journeys, at.Sub(sent[number]))
	}
	return &messagesReport{
		Messages: c.Messages, Concurrency: c.Concurrency, BodyBytes: c.BodyBytes,
		AcceptedPerSecond: perSecond(c.Messages, accepted), DeliveredPerSecond: perSecond(len(journeys), all),
		PublishP50: percentile(took, 0.5), PublishP99: percentile(took, 0.99),
		EndToEndP50: percentile(journeys, 0.5), EndToEndP99: percentile(journeys, 0.99),
		CPUPerMessage: perItem(cpu, c.Messages),
		Lost:          c.Messages - len(journeys), Duplicated: endpoint.again,
	}, nil
}

// publish publishes all messages, and says of each when it was sent and how
// long the answer took. The first error ends it.
func (c *benchMessagesCmd) publish(ctx context.Context, url string) (sent []time.Time, took []time.Duration, err error) {
	sent, took = make([]time.Time, c.Messages), make([]time.Duration, c.Messages)
	err = each(ctx, c.Concurrency, c.Messages, func(ctx context.Context, i int) error {
		sent[i] = time.Now()
		_, err := c.client.Publish(ctx, client.PublishRequest{URL: url, Body: numbered(i, c.BodyBytes)})
		took[i] = time.Since(sent[i])
		return err
	})
	return sent, took, err
}

func (r *messagesReport) verdict() error {
	if r.Lost == 0 {
		return nil
	}
	return withHint(fmt.Errorf("%d messages were not delivered", r.Lost), "raise --patience if the server was still at it")
}

func (r *messagesReport) write(w io.Writer) {
	fmt.Fprintf(w, "messages     %8d of %d bytes, %d at once\n", r.Messages, r.BodyBytes, r.Concurrency)
	fmt.Fprintf(w, "accepted     %8.0f /s\n", r.AcceptedPerSecond)
	fmt.Fprintf(w, "delivered    %8.0f /s\n", r.DeliveredPerSecond)
	fmt.Fprintf(w, "publish      %8.1f ms p50 %8.1f ms p99\n", r.PublishP50, r.PublishP99)
	fmt.Fprintf(w, "end to end   %8.1f ms p50 %8.1f ms p99\n", r.EndToEndP50, r.EndToEndP99)
	writeCPU(w, r.CPUPerMessage, "message")
	fmt.Fprintf(w, "lost         %8d\nduplicated   %8d\n", r.Lost, r.Duplicated)
}
