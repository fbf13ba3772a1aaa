package main

import (
	"testing"

	"github.com/signposthq/signpost/client"
)

func TestShortReason(t *testing.T) {
	for _, tt := range []struct {
		m    client.DLQMessage
		want string
	}{
		{client.DLQMessage{Error: "500 Internal Server Error", ResponseStatus: 500}, "500 Internal Server Error"},
		{client.DLQMessage{Error: "200: no: workflow", ResponseStatus: 200}, "200: no: workflow"},
		{client.DLQMessage{Error: "dial tcp [::1]:1: connect: connection refused"}, "connection refused"},
		{client.DLQMessage{Error: "destination refused: fd00::1 is in fc00::/7, which is not public"}, "fd00::1 is in fc00::/7, which is not public"},
		{client.DLQMessage{Error: "timeout"}, "timeout"},
		{client.DLQMessage{ResponseStatus: 404}, "404"},
		{client.DLQMessage{}, ""},
	} {
		if got := shortReason(&tt.m); got != tt.want {
			t.Errorf("%q (%d) is %q, want %q", tt.m.Error, tt.m.ResponseStatus, got, tt.want)
		}
	}
}
