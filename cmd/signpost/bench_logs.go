package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signposthq/signpost/client"
)

type benchLogsCmd struct {
	Messages    int      `short:"n" default:"1000000" placeholder:"N" help:"Finished messages there shall be (default 1000000)."`
	Failing     int      `default:"1" placeholder:"PERCENT" help:"Of those, how many fail and are in the DLQ (default 1)."`
	Time        duration `default:"10s" placeholder:"TIME" help:"How long to publish, once without lists and once beside them (default 10s)."`
	Rounds      int      `default:"30" placeholder:"N" help:"Calls of each list (default 30)."`
	ListRate    int      `default:"10" placeholder:"N" help:"Lists per second beside which is published; 0: one after the other (default 10)."`
	Concurrency int      `short:"c" default:"16" placeholder:"N" help:"Clients that publish at once (default 16)."`
	Batch       int      `default:"100" placeholder:"N" help:"Messages of each batch that fills the log (default 100)."`
	benched     `embed:""`

	progress io.Writer
}

func (*benchLogsCmd) Help() string {
	return `Publishes messages with labels, of many URLs, and delivers them, until there are as many finished ones as asked for. Then it
measures how long lists take to answer their first page, with filters that select all, some, one and none of them; how
fast messages are published meanwhile; and how fast without. To fill the log takes several minutes: with --data, the
directory is kept, and one that is full already is used as it is.`
}

type logsReport struct {
	Messages int          `json:"messages"`
	Filled   int          `json:"filled"` // of those, by this call
	Fill     float64      `json:"filledPerSecond"`
	ListRate int          `json:"listsPerSecond"` // beside which is published; 0: one after the other
	Lists    []listReport `json:"lists"`
	Worst    float64      `json:"worstP99Ms"` // of all lists, quiet or not
	Quiet    publishPace  `json:"publish"`
	Beside   publishPace  `json:"publishWhileListing"`
}

// listReport is how long a list took to answer its first page, in milliseconds.
type listReport struct {
	List   string  `json:"list"`
	Items  int     `json:"items"`
	Whole  bool    `json:"whole"` // it was a full page, or all there is
	P50    float64 `json:"p50Ms"`
	P99    float64 `json:"p99Ms"`
	Max    float64 `json:"maxMs"`
	Beside float64 `json:"p99WhilePublishingMs"`
}

type publishPace struct {
	PerSecond     float64  `json:"perSecond"`
	P50           float64  `json:"p50Ms"`
	P99           float64  `json:"p99Ms"`
	CPUPerMessage *float64 `json:"serverCpuMicrosPerMessage,omitempty"`
}

func (c *benchLogsCmd) Run(ctx context.Context, o *outside) error {
	if c.Messages < 100 || c.Failing < 0 || c.Failing > 100 || c.Time <= 0 || c.Rounds < 1 || c.ListRate < 0 || c.Concurrency < 1 || c.Batch < 1 {
		return &usageError{errors.New("expected 100 messages, 1 round, client and message of a batch at least, a time above 0, and 0 to 100 percent"), ""}
	}
	c.progress = o.stderr // it takes its time
	return benchmark(ctx, o, &c.benched, c.Concurrency+1, c.measure)
}

// logsLoad is the endpoint that the messages of this benchmark go to.
type logsLoad struct {
	*benchLogsCmd
	url      string
	answered atomic.Int64
	next     atomic.Int64
}

func (l *logsLoad) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if strings.HasPrefix(r.URL.Path, "/failing/") {
		w.WriteHeader(http.StatusInternalServerError)
	}
	l.answered.Add(1)
}

// request is the n-th message: one of 500 URLs, with labels that all, some, a
// few and one have.
func (l *logsLoad) request(n int) client.PublishRequest {
	r := client.PublishRequest{URL: fmt.Sprintf("%s/hooks/%d", l.url, n%500), Body: numbered(n, 100), Retries: new(0)}
	r.Labels = []string{"all", []string{"even", "odd"}[n%2], fmt.Sprint("of-1000-", n%1000)}
	switch {
	case n == 0:
		r.Labels = append(r.Labels, "first")
	case n == l.Messages/2:
		r.Labels = append(r.Labels, "middle")
	case n == l.Messages-1:
		r.Labels = append(r.Labels, "last")
	case n%100 < l.Failing:
		r.URL = fmt.Sprintf("%s/failing/%d", l.url, n%500)
	}
	return r
}

func (c *benchLogsCmd) measure(ctx context.Context) (*logsReport, error) {
	l := &logsLoad{benchLogsCmd: c}
	url, stop, err := listen(l)
	if err != nil {
		return nil, err
	}
	defer stop()
	l.url = url
	report := &logsReport{Messages: c.Messages, ListRate: c.ListRate}
	full, err := l.full(ctx)
	if err != nil {
		return nil, err
	}
	if !full {
		begin := time.Now()
		if err := l.fill(ctx); err != nil {
			return nil, err
		}
		report.Filled, report.Fill = c.Messages, perSecond(c.Messages, time.Since(begin))
	}
	if err := l.indexed(ctx); err != nil {
		return nil, err
	}
	if report.Quiet, err = l.pace(ctx); err != nil {
		return nil, err
	}
	if report.Lists, err = l.lists(ctx, c.Rounds); err != nil {
		return nil, err
	}
	if err := l.beside(ctx, report); err != nil {
		return nil, err
	}
	for _, list := range report.Lists {
		report.Worst = max(report.Worst, list.P99, list.Beside)
	}
	return report, nil
}

// full says whether the log is as it is to be: the last message is the last that
// is published.
func (l *logsLoad) full(ctx context.Context) (bool, error) {
	_, items, more, err := l.get(ctx, "/v2/events?label=last")
	return items > 0 || more, err
}

func (l *logsLoad) fill(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Messages wait in no long line: what is accepted is delivered first.
	const ahead = 20_000
	var workers sync.WaitGroup
	for range min(4, l.Concurrency) {
		workers.Go(func() {
			for ctx.Err() == nil {
				end := int(l.next.Add(int64(l.Batch)))
				begin := end - l.Batch
				if begin >= l.Messages {
					return
				}
				for int64(begin) > l.answered.Load()+ahead && ctx.Err() == nil {
					time.Sleep(time.Millisecond)
				}
				var items []client.PublishRequest
				for n := begin; n < min(end, l.Messages); n++ {
					items = append(items, l.request(n))
				}
				if _, err := l.client.Batch(ctx, items); err != nil {
					cancel(err)
				}
			}
		})
	}
	told := time.Now()
	count := func() int {
		n := int(l.answered.Load())
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			fmt.Fprintf(l.progress, "%d of %d messages\n", n, l.Messages)
		}
		return n
	}
	err := await(ctx, time.Duration(l.Patience), count, func() bool { return int(l.answered.Load()) >= l.Messages })
	if err == nil && int(l.answered.Load()) < l.Messages {
		cancel(fmt.Errorf("%d of %d messages were delivered, then no more", l.answered.Load(), l.Messages))
	}
	workers.Wait()
	return errors.Join(err, context.Cause(ctx))
}

// indexed waits until the index has come to the end: until then a page may end
// before the one message was found that it is about.
func (l *logsLoad) indexed(ctx context.Context) error {
	for since := time.Now(); time.Since(since) < 10*time.Minute; {
		_, _, more, err := l.get(ctx, "/v2/events?label=none")
		if err != nil || !more {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("lists don't come to an end: the index is not done after ten minutes")
}

// pace publishes for some time. The endpoint answers at once.
func (l *logsLoad) pace(ctx context.Context) (publishPace, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var all []time.Duration
	var workers sync.WaitGroup
	cpu, begin := l.cpu(), time.Now()
	answered := l.answered.Load()
	for range l.Concurrency {
		workers.Go(func() {
			var took []time.Duration
			for time.Since(begin) < time.Duration(l.Time) && ctx.Err() == nil {
				at := time.Now()
				n := int(l.next.Add(1))
				if _, err := l.client.Publish(ctx, client.PublishRequest{URL: fmt.Sprintf("%s/paced/%d", l.url, n%500), Body: numbered(n, 100)}); err != nil {
					cancel(err)
					return
				}
				took = append(took, time.Since(at))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	workers.Wait()
	passed := time.Since(begin)
	want := answered + int64(len(all))
	done := func() bool { return l.answered.Load() >= want }
	if err := await(ctx, time.Duration(l.Patience), func() int { return int(l.answered.Load()) }, done); err != nil {
		return publishPace{}, errors.Join(err, context.Cause(ctx))
	}
	return publishPace{
		PerSecond: perSecond(len(all), passed), P50: percentile(all, 0.5), P99: percentile(all, 0.99), CPUPerMessage: perItem(l.cpu()-cpu, len(all)),
	}, context.Cause(ctx)
}

// asked are the lists that are measured.
func (l *logsLoad) asked() []string {
	host := strings.TrimPrefix(l.url, "http://")
	return []string{
		"/v2/events", "/v2/events?order=earliestFirst", "/v2/logs", "/v2/events?count=10",
		"/v2/events?label=all", "/v2/events?label=first", "/v2/events?label=last", "/v2/events?label=middle", "/v2/events?label=none",
		"/v2/events?label=first&order=earliestFirst", "/v2/events?label=last&order=earliestFirst", "/v2/events?label=none&order=earliestFirst",
		"/v2/logs?label=none", "/v2/events?label=of-1000-7", "/v2/events?label=even&label=none,odd",
		"/v2/events?label=odd&path=/hooks/2,/hooks/4,/hooks/6", "/v2/events?label=odd&path=/hooks/2&order=earliestFirst",
		"/v2/events?path=/hooks/7", "/v2/events?host=" + host, "/v2/events?host=none.example", "/v2/events?url=" + l.url + "/hooks/7",
		"/v2/events?url=" + l.url + "/none", "/v2/events?state=FAILED", "/v2/events?state=RETRY", "/v2/events?state=CANCELED",
		"/v2/events?state=DELIVERED&label=first", "/v2/events?state=IN_PROGRESS", "/v2/events?queueName=none", "/v2/events?topicName=none",
		"/v2/events?scheduleId=none", "/v2/events?flowControlKey=none", "/v2/events?callerIp=127.0.0.1", "/v2/events?callerIp=192.0.2.1",
		"/v2/events?label=none&toDate=1", "/v2/events?messageId=msg_none",
		"/v2/dlq", "/v2/dlq?order=latestFirst", "/v2/dlq?label=even", "/v2/dlq?label=none", "/v2/dlq?responseStatus=500", "/v2/dlq?responseStatus=404",
		"/v2/dlq?label=none&order=latestFirst", "/v2/dlq?url=" + l.url + "/failing/0", "/v2/dlq?queueName=none",
		"/v2/workflows/logs", "/v2/workflows/logs?state=RUN_FAILED", "/v2/audit",
	}
}

func (l *logsLoad) lists(ctx context.Context, rounds int) (out []listReport, err error) {
	for _, path := range l.asked() {
		var took []time.Duration
		r := listReport{List: strings.ReplaceAll(path, l.url, "…")}
		for range rounds {
			d, n, more, err := l.get(ctx, path)
			if err != nil {
				return nil, err
			}
			r.Items, r.Whole = n, n > 0 || !more
			took = append(took, d)
		}
		r.P50, r.P99, r.Max = percentile(took, 0.5), percentile(took, 0.99), percentile(took, 1)
		out = append(out, r)
	}
	return out, nil
}

// get is one call, from the request to the end of the answer.
func (l *logsLoad) get(ctx context.Context, path string) (took time.Duration, items int, more bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.Server+path, nil)
	if err != nil {
		return 0, 0, false, err
	}
	req.Header.Set("Authorization", "Bearer "+l.Token)
	begin := time.Now()
	resp, err := l.http.Do(req)
	if err != nil {
		return 0, 0, false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	took = time.Since(begin)
	if err != nil || resp.StatusCode != http.StatusOK {
		return 0, 0, false, errors.Join(err, fmt.Errorf("%s was answered with %s: %.200s", path, resp.Status, body))
	}
	var page struct {
		Events, Messages, Runs, Entries []json.RawMessage
		Cursor                          string
	}
	err = json.Unmarshal(body, &page)
	return took, len(page.Events) + len(page.Messages) + len(page.Runs) + len(page.Entries), page.Cursor != "", err
}

// beside measures lists and publishing at the same time.
func (l *logsLoad) beside(ctx context.Context, report *logsReport) (err error) {
	listing, stop := context.WithCancel(ctx)
	defer stop()
	took := make([][]time.Duration, len(report.Lists))
	ended := make(chan error, 1)
	go func() {
		pause := time.NewTicker(time.Second / time.Duration(max(1, l.ListRate)))
		defer pause.Stop()
		for listing.Err() == nil {
			for i, path := range l.asked() {
				if l.ListRate > 0 {
					select {
					case <-pause.C:
					case <-listing.Done():
					}
				}
				d, _, _, err := l.get(listing, path)
				if err != nil {
					if listing.Err() == nil {
						stop()
						ended <- err
					}
					close(ended)
					return
				}
				took[i] = append(took[i], d)
			}
		}
		close(ended)
	}()
	report.Beside, err = l.pace(ctx)
	stop()
	err = errors.Join(err, <-ended)
	for i := range report.Lists {
		report.Lists[i].Beside = percentile(took[i], 0.99)
	}
	return err
}

func (*logsReport) verdict() error { return nil }

func (r *logsReport) write(w io.Writer) {
	fmt.Fprintf(w, "messages     %8d finished", r.Messages)
	if r.Filled > 0 {
		fmt.Fprintf(w, ", filled in at %.0f /s", r.Fill)
	}
	fmt.Fprintf(w, "\n%-58s %6s %9s %9s %9s %20s\n", "first page of", "items", "p50 ms", "p99 ms", "max ms", "p99 ms at publishing")
	for _, list := range r.Lists {
		cut := ""
		if !list.Whole {
			cut = "  nothing yet, with a cursor"
		}
		fmt.Fprintf(w, "%-58s %6d %9.1f %9.1f %9.1f %20.1f%s\n", list.List, list.Items, list.P50, list.P99, list.Max, list.Beside, cut)
	}
	fmt.Fprintf(w, "worst        %8.1f ms p99\n", r.Worst)
	r.Quiet.write(w, "publish     ")
	r.Beside.write(w, "with lists  ")
}

func (p publishPace) write(w io.Writer, name string) {
	fmt.Fprintf(w, "%s %8.0f /s %8.1f ms p50 %8.1f ms p99", name, p.PerSecond, p.P50, p.P99)
	if p.CPUPerMessage != nil {
		fmt.Fprintf(w, " %8.0f µs server CPU per message", *p.CPUPerMessage)
	}
	fmt.Fprintln(w)
}
