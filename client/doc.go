// Package client talks to a QStash-compatible server: Signpost, or Upstash's
// cloud. It holds the JSON shapes of the REST API, which the server encodes
// too, and a [Client] with one method per call.
//
// Publish a request to be delivered, with retries, by the server:
//
//	c := client.New(client.Options{}) // reads QSTASH_URL and QSTASH_TOKEN
//	m, err := c.PublishJSON(ctx, client.PublishRequest{
//		URL:   "https://example.com/orders",
//		Delay: time.Minute,
//	}, order)
//
// Everything is accepted at least once: a call whose answer was lost on the
// network is sent again (see [Options.NetworkRetries]), so one Publish can, in
// rare cases, make two messages. Give it a [PublishRequest.DeduplicationID]
// where that matters. An answer that is not a 2xx is never retried and comes
// back as an [*Error].
//
// The methods of a thing bear its name: [Client.Queues] lists, [Client.Queue]
// looks one up, [Client.PutQueue], [Client.PauseQueue] and [Client.DeleteQueue]
// change it. What comes in pages is an iterator: [Client.AllEvents],
// [Client.AllDLQ], [Client.AllRuns].
//
// Times in the shapes are Unix milliseconds unless a field says otherwise.
//
// The package imports only the standard library and parts of this
// module that do the same.
package client
