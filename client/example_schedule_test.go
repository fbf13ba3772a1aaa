package client_test

import (
	"context"
	"fmt"
	"time"

	"github.com/signposthq/signpost/client"
)

// A schedule publishes as a cron expression says.
func ExampleClient_CreateSchedule() {
	c, stop := signpostServer()
	defer stop()
	ctx := context.Background()

	id, err := c.CreateScheduleJSON(ctx, client.ScheduleRequest{
		Cron:    "CRON_TZ=Europe/Berlin 0 4 * * *",
		ID:      "nightly-report",
		Publish: client.PublishRequest{URL: "https://example.com/reports", Queue: "reports", Retries: new(5)},
	}, map[string]string{"kind": "nightly"})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := c.Schedule(ctx, id)
	next := time.UnixMilli(s.NextTime)
	fmt.Println(s.ScheduleID, s.Cron, s.Destination, s.QueueName, s.Body, next.After(time.Now()), err)

	if err := c.PauseSchedule(ctx, id); err != nil {
		fmt.Println(err)
	}
	all, err := c.Schedules(ctx)
	fmt.Println(len(all), all[0].Paused, err)
	// Output:
	// nightly-report CRON_TZ=Europe/Berlin 0 4 * * * https://example.com/reports reports {"kind":"nightly"} true <nil>
	// 1 true <nil>
}
