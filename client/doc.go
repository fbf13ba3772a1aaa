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
// # Signpost and Upstash
//
// A Client needs nothing but another URL and token to call Upstash's cloud, for what
// it asks and reads is on the wire that Upstash documents. Signpost alone has
//
//   - [Client.Audit], [Client.AllAudit], [Client.Limits], [Client.TenantLimits],
//     [Client.ChangeTenantLimits], [Client.Tenants], [Client.CreateTenant],
//     [Client.Tokens], [Client.CreateToken], [Client.RevokeToken], [Client.Settings],
//     [Client.ChangeSettings], [Client.Sealing], [Client.Rewrap], [Client.KeyStatus],
//     [Client.ProbeKeys], [Client.ForceRotateKeys], [Client.Ready] and
//     [Client.RerunFailureCallbacks];
//   - PublishRequest.SignWith, Hop of both requests, ResumeOptions.Edit,
//     RunOverride.Header, and, where many runs are resumed or restarted, all of a
//     RunOverride but Retries and FlowControl;
//   - RunDLQRequest.IDs, and Order of a list of runs or of what they did;
//   - in answers, DLQMessage.Error, Run.Predecessor, Run.Successor,
//     URLGroup.URLPrefix, and Error.Endpoints.
//
// Times in the shapes are Unix milliseconds unless a field says otherwise.
//
// The package imports only the standard library and parts of this
// module that do the same.
package client
