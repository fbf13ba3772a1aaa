package main

import (
	"testing"

	"github.com/signposthq/signpost/client"
)

func TestShownURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://a.example/b":                 "https://a.example/b",
		"https://a.example/b?token=x&b=?":     "https://a.example/b?…",
		"https://a.example?":                  "https://a.example?…",
		"https://user:pass@a.example/b@c?d@e": "https://…@a.example/b@c?…",
		"http://u@v@a.example":                "http://…@a.example",
		"https://a.example/@b":                "https://a.example/@b",
		"":                                    "",
	} {
		if got := shownURL(url); got != want {
			t.Errorf("%s is shown as %s, want %s", url, got, want)
		}
	}
}

// An event fits into the terminal as long as there is room for the least of it, and
// what went wrong is never cut.
func TestEventLine(t *testing.T) {
	ev := &client.Event{
		Time: 1790000000123, State: client.EventRetry, MessageID: "msg_0nJKRZOKlZaB38bDK2Slbx", Method: "POST",
		URL: "https://api.example.com/webhooks/orders?secret=1", NextDeliveryTime: 1790000012123,
	}
	failed := *ev
	failed.State, failed.NextDeliveryTime, failed.ResponseStatus, failed.Error = client.EventError, 0, 500, "500 Internal Server Error"
	delivered := *ev
	delivered.State, delivered.NextDeliveryTime, delivered.ResponseStatus = client.EventDelivered, 0, 204
	for _, tt := range []struct {
		ev   *client.Event
		most int
		want string
	}{
		{ev, 0, "2026-09-21 14:13:20.123  RETRY             msg_0nJKRZOKlZaB38bDK2Slbx  POST https://api.example.com/webhooks/orders?…  next 2026-09-21 14:13:32.123"},
		{ev, 150, "2026-09-21 14:13:20.123  RETRY             msg_0nJKRZOKlZaB38bDK2Slbx  POST https://api.example.com/webhooks/orders?…  next 2026-09-21 14:13:32.123"},
		{ev, 108, "09-21 14:13:20  RETRY      msg_0nJKRZOKlZaB38bDK2Slbx  …i.example.com/webhooks/orders?…  next 09-21 14:13:32"},
		{ev, 80, "09-21 14:13:20  RETRY      msg_0nJKRZOKlZaB38bDK2Slbx  …e.com/webhooks/orders?…  next 09-21 14:13:32"},
		{&failed, 0, "2026-09-21 14:13:20.123  ERROR             msg_0nJKRZOKlZaB38bDK2Slbx  POST https://api.example.com/webhooks/orders?…  500 Internal Server Error"},
		{&delivered, 0, "2026-09-21 14:13:20.123  DELIVERED         msg_0nJKRZOKlZaB38bDK2Slbx  POST https://api.example.com/webhooks/orders?…  204"},
		{&delivered, 90, "09-21 14:13:20  DELIVERED  msg_0nJKRZOKlZaB38bDK2Slbx  …example.com/webhooks/orders?…  204"},
	} {
		if got := eventLine(tt.ev, tt.most); got != tt.want {
			t.Errorf("%s in %d:\n got %s\nwant %s", tt.ev.State, tt.most, got, tt.want)
		}
	}
}
