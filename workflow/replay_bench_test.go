package workflow_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/workflow"
)

// BenchmarkReplay is the last call of a run: all of its steps are in the log.
func BenchmarkReplay(b *testing.B) {
	for _, steps := range []int{10, 1000} {
		b.Run(fmt.Sprint("steps=", steps), func(b *testing.B) {
			names, out := make([]string, steps), "1"
			entries := []wire.LogEntry{{MessageID: "msg_0"}}
			for i := range names {
				names[i] = fmt.Sprint("step ", i+1)
				body := fmt.Appendf(nil, `{"stepId":%d,"stepName":%q,"stepType":"Run","out":%q,"concurrent":1}`, i+1, names[i], out)
				entries = append(entries, wire.LogEntry{MessageID: fmt.Sprint("msg_", i+1), Body: body})
			}
			e := workflow.MustServe(func(ctx *workflow.Context, _ any) (sum int, err error) {
				for _, name := range names {
					n, err := workflow.Run(ctx, name, func(context.Context) (int, error) { return 1, nil })
					if err != nil {
						return 0, err
					}
					sum += n
				}
				return sum, nil
			}, &workflow.Options{
				Client:   client.New(client.Options{URL: "http://127.0.0.1:1", Token: "t", HTTPClient: &http.Client{Transport: answering{}}}),
				Receiver: newReceiver(b), BaseURL: "https://app.example", Logger: quiet,
			})
			log := string(wire.EncodeLog(nil, entries))
			b.ReportAllocs()
			for b.Loop() {
				if w := deliverStep(e, log); w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*steps), "ns/step")
		})
	}
}

// answering is a server that likes all it is told.
type answering struct{}

func (answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}
