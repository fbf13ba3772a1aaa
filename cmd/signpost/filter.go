package main

import (
	"reflect"

	"github.com/signposthq/signpost/client"
)

// filterFlags pick messages by what they are.
type filterFlags struct {
	URL      []string `name:"url" sep:"none" placeholder:"URL" help:"Only to this URL; may be repeated."`
	Group    []string `placeholder:"NAME" complete:"group" help:"Only to this URL group; may be repeated."`
	Queue    []string `placeholder:"NAME" complete:"queue" help:"Only through this queue; may be repeated."`
	Schedule []string `placeholder:"ID" complete:"schedule" help:"Only of this schedule; may be repeated."`
	Label    []string `placeholder:"LABEL" help:"Only with this label; may be repeated."`
	FlowKey  []string `sep:"none" placeholder:"KEY" complete:"flow" help:"Only with this key of flow control; may be repeated."`
	CallerIP []string `name:"caller-ip" placeholder:"IP" help:"Only published from this address; may be repeated."`
	From     past     `placeholder:"TIME" help:"Only from this time on: RFC 3339, Unix seconds, or how long ago, such as 2h."`
	To       past     `placeholder:"TIME" help:"Only up to this time."`
}

func (f *filterFlags) filter() client.Filter {
	return client.Filter{
		URLs: f.URL, URLGroups: f.Group, QueueNames: f.Queue, ScheduleIDs: f.Schedule, Labels: f.Label,
		FlowControlKeys: f.FlowKey, CallerIPs: f.CallerIP, From: f.From.Time, To: f.To.Time,
	}
}

// messageFilterFlags are those and two that the dead-letter queue has not.
type messageFilterFlags struct {
	filterFlags `embed:""`
	Host        []string `placeholder:"HOST" help:"Only to this host; may be repeated."`
	Path        []string `sep:"none" placeholder:"PATH" help:"Only to this path; may be repeated."`
}

func (f *messageFilterFlags) filter() client.Filter {
	out := f.filterFlags.filter()
	out.Hosts, out.Paths = f.Host, f.Path
	return out
}

func selectsAll(filter any) bool { return reflect.ValueOf(filter).IsZero() }
