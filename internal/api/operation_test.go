package api

import (
	"maps"
	"slices"
	"strings"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

// operation is the documentation of a route, of which openapi.json is made.
type operation struct {
	route string // method and pattern
	path  string // where one pattern stands for several paths: this one
	id    string
	what  string // in a few words
	text  string // in more; may be ""

	settings bool     // takes the headers of a publish
	headers  []string // of those, the ones it takes
	adds     bool     // adds messages, which count for the day
	query    []string // names in parameters
	filters  bool     // takes them in a JSON body too
	body     any      // JSON of that type; anyBytes; nil: none
	optional bool     // the body may be left out
	answer   any      // JSON of that type, of a success
	status   int      // of a success; default 200
	also     map[int]any
	errors   []int // beyond those that each route has
}

// anyBytes is a body that is taken as it is.
type anyBytes struct{}

// oneOf are types one of which an answer has.
type oneOf []any

// nothing is the answer where there is nothing to say.
type nothing struct{}

// batchItem is a message of a batch, as wire.ParseBatch reads it.
type batchItem struct {
	Destination string                `json:"destination"`       // as of a publish
	Headers     map[string]fieldValue `json:"headers,omitempty"` // settings, as of a publish
	Body        *string               `json:"body,omitempty" jsonschema:"nullable"`
	Queue       *string               `json:"queue,omitempty" jsonschema:"nullable"` // name of a queue to go through; "": none
}

// waitRequest is a request to wait, as wire.ParseWait reads it.
type waitRequest struct {
	URL            string                `json:"url"`                  // the event is delivered to
	Timeout        any                   `json:"timeout,omitempty"`    // a duration, or seconds; default 7d
	TimeoutURL     string                `json:"timeoutUrl,omitempty"` // is called when the time is over; default: the URL
	TimeoutHeaders map[string]fieldValue `json:"timeoutHeaders,omitempty"`
	Step           waitStep              `json:"step"`
}

// waitStep is the step that waits.
type waitStep struct {
	StepID     int    `json:"stepId"`   // from 1
	StepType   string `json:"stepType"` // Wait or WaitForWebhook
	StepName   string `json:"stepName"`
	Concurrent int    `json:"concurrent,omitempty"` // steps of its parallel group; default 1: it has none
}

// fieldValue is a header's value, or a list of them.
type fieldValue string

var (
	eventQuery = []string{
		"messageIds", "messageId", "eventState", "url", "host", "path", "label", "callerIp", "callerIP", "topicName", "queueName",
		"scheduleId", "flowControlKey", "fromDate", "toDate", "order", "count", "cursor",
	}
	dlqSelection = []string{
		"dlqIds", "dlqId", "messageId", "url", "label", "callerIp", "callerIP", "topicName", "queueName", "scheduleId", "flowControlKey",
		"responseStatus", "source", "workflowRunId", "workflowUrl", "workflowCreatedAt", "failureFunctionState", "failureCallbackState",
		"fromDate", "toDate", "order", "count", "cursor",
	}
	runQuery = []string{
		"workflowRunId", "workflowRuns", "workflowUrl", "workflowCreatedAt", "runState", "messageId", "host", "path", "label", "callerIp",
		"flowControlKey", "fromDate", "toDate", "trimBody", "count", "cursor",
	}
	// retryHeaders are settings but for those that make schedules and runs.
	retryHeaders = slices.DeleteFunc(slices.Sorted(maps.Keys(settingHeaders)), func(name string) bool {
		return name == wire.HeaderCron || name == wire.HeaderScheduleID || name == wire.HeaderFeatureSet || strings.HasPrefix(name, wire.PrefixWorkflow)
	})
	resumeHeaders = []string{
		wire.HeaderDelay, wire.HeaderRetries, wire.HeaderRetryDelay, wire.HeaderFlowControlKey, wire.HeaderFlowControlValue, wire.HeaderLabel,
		wire.HeaderFailureCallback,
	}
)

// operations are in the order in which people read them.
var operations = []operation{
	{
		route: "POST /v2/publish/{destination...}", id: "publish", what: "Publish a message",
		text: "Accepts one request to deliver: the destination is the rest of the path, the headers say how. What is answered with " +
			"a 2xx is on disk. With a name of a URL group as destination, each of its endpoints gets a message, and the answer is an array.",
		settings: true, adds: true, body: anyBytes{}, answer: client.PublishResponse{},
		also: map[int]any{202: client.PublishResponse{}}, errors: []int{404, 409, 412, 413, 503},
	}, {
		route: "POST /v2/enqueue/{queue}/{destination...}", id: "enqueue", what: "Publish a message through a queue",
		text:     "A queue that is not there yet is made, with a parallelism of 1.",
		settings: true, adds: true, body: anyBytes{}, answer: client.PublishResponse{},
		also: map[int]any{202: client.PublishResponse{}}, errors: []int{404, 409, 412, 413, 503},
	}, {
		route: "POST /v2/batch", id: "batch", what: "Publish many messages",
		text:    "A malformed item refuses all. One that can't be accepted as things are, as its URL group is unknown or its queue can't be made, has an error in its answer. Items of workflow runs are accepted together or not at all. Each item has the settings of a publish in its headers.",
		headers: []string{wire.HeaderHop}, adds: true, body: []batchItem{}, answer: []client.PublishResponse{}, errors: []int{404, 409, 412, 413, 503},
	}, {
		route: "POST /v2/trigger/{destination...}", id: "trigger", what: "Start a workflow run",
		text:     "The destination is the workflow's endpoint, the body the payload.",
		settings: true, adds: true, body: anyBytes{}, answer: client.TriggerResponse{}, errors: []int{409, 412, 413, 503},
	}, {
		route: "POST /v2/batch/trigger", id: "batchTrigger", what: "Start many workflow runs",
		headers: []string{wire.HeaderHop}, adds: true, body: []batchItem{}, answer: []client.TriggerResponse{}, status: 201, errors: []int{409, 412, 413, 503},
	},

	{
		route: "GET /v2/messages/{id}", id: "getMessage", what: "Get a message",
		text:   "One that has ended can be read until the retention has passed.",
		answer: client.Message{}, errors: []int{404},
	}, {
		route: "DELETE /v2/messages/{id}", id: "cancelMessage", what: "Cancel a message",
		text:   "An attempt under way is not cut off. If somebody cancelled it before, and the attempt has not ended, cancelled is 0; what has ended is not found.",
		answer: client.CancelResponse{}, errors: []int{404},
	}, {
		route: "DELETE /v2/messages", id: "cancelMessages", what: "Cancel messages",
		text: "Those that a filter selects; without one, all. A filter that is not known or empty is refused.",
		query: []string{
			"messageIds", "messageId", "url", "host", "path", "label", "callerIp", "callerIP", "topicName", "queueName", "scheduleId",
			"flowControlKey", "fromDate", "toDate", "most",
		},
		filters: true, answer: client.CancelResponse{}, errors: []int{413},
	},

	{route: "GET /v2/queues", id: "listQueues", what: "List queues", answer: []client.Queue{}},
	{
		route: "POST /v2/queues", id: "putQueue", what: "Make a queue or change one",
		text: "What is not given stays as it is.",
		body: client.QueueRequest{}, answer: client.Queue{}, errors: []int{412, 413},
	},
	{route: "GET /v2/queues/{name}", id: "getQueue", what: "Get a queue", answer: client.Queue{}, errors: []int{404}},
	{
		route: "DELETE /v2/queues/{name}", id: "deleteQueue", what: "Delete a queue",
		text: "Its messages are cancelled. That there is none is no error.", answer: nothing{},
	}, {
		route: "POST /v2/queues/{name}/pause", id: "pauseQueue", what: "Pause a queue",
		text: "An attempt under way is not cut off.", answer: nothing{}, errors: []int{404},
	},
	{route: "POST /v2/queues/{name}/resume", id: "resumeQueue", what: "Resume a queue", answer: nothing{}, errors: []int{404}},

	{route: "GET /v2/topics", id: "listURLGroups", what: "List URL groups", answer: []client.URLGroup{}},
	{route: "GET /v2/topics/{name}", id: "getURLGroup", what: "Get a URL group", answer: client.URLGroup{}, errors: []int{404}},
	{
		route: "POST /v2/topics/{name}/endpoints", id: "addEndpoints", what: "Add endpoints to a URL group",
		text: "A group that is not there yet is made. An endpoint that has the name or the URL of a new one gives way to it.",
		body: endpointsRequest{}, answer: nothing{}, errors: []int{409, 412, 413},
	}, {
		route: "DELETE /v2/topics/{name}/endpoints", id: "removeEndpoints", what: "Remove endpoints from a URL group",
		text: "By their names or URLs. A group without endpoints is deleted.",
		body: endpointsRequest{}, answer: nothing{}, errors: []int{404, 413},
	}, {
		route: "PATCH /v2/topics/{name}", id: "changeURLGroup", what: "Set what holds for messages to a URL group",
		text: "Settings as of a publish, which win over them.", body: groupRequest{}, answer: nothing{}, errors: []int{404, 412, 413},
	},
	{route: "DELETE /v2/topics/{name}", id: "deleteURLGroup", what: "Delete a URL group", text: "That there is none is no error.", answer: nothing{}},

	{
		route: "POST /v2/schedules/{destination...}", id: "putSchedule", what: "Make a schedule, or put another in the place of one",
		text: "The destination is the rest of the path, as of a publish; Upstash-Cron, which is required, says when. One that has the " +
			"id already is replaced as a whole.",
		settings: true, body: anyBytes{}, answer: client.PublishResponse{}, errors: []int{404, 409, 412, 413, 503},
	},
	{route: "GET /v2/schedules", id: "listSchedules", what: "List schedules", answer: []client.Schedule{}},
	{route: "GET /v2/schedules/{id}", id: "getSchedule", what: "Get a schedule", answer: client.Schedule{}, errors: []int{404}},
	{
		route: "DELETE /v2/schedules/{id}", id: "deleteSchedule", what: "Delete a schedule",
		text: "Messages that it has made are left. That there is none is no error.", answer: nothing{},
	}, {
		route: "PATCH /v2/schedules/{id}/pause", id: "pauseSchedule", what: "Pause a schedule",
		text: "Times that pass while it is paused make no message.", answer: nothing{}, errors: []int{404},
	},
	{route: "PATCH /v2/schedules/{id}/resume", id: "resumeSchedule", what: "Resume a schedule", answer: nothing{}, errors: []int{404}},
	{
		route: "POST /v2/schedules/{destination...}", path: "/v2/schedules/{id}/pause", id: "pauseScheduleByPost", what: "Pause a schedule, by another method",
		answer: nothing{}, errors: []int{404},
	}, {
		route: "POST /v2/schedules/{destination...}", path: "/v2/schedules/{id}/resume", id: "resumeScheduleByPost", what: "Resume a schedule, by another method",
		answer: nothing{}, errors: []int{404},
	},

	{
		route: "GET /v2/flowControl", id: "listFlowControl", what: "List keys of flow control",
		query: []string{"search"}, answer: []client.FlowControlKey{},
	},
	{route: "GET /v2/flowControl/{key...}", id: "getFlowControl", what: "Get a key of flow control", answer: client.FlowControlKey{}, errors: []int{404}},
	{
		route: "POST /v2/flowControl/{key...}", path: "/v2/flowControl/{key}/pause", id: "pauseFlowControl", what: "Pause a key of flow control",
		text: "None of its messages is delivered until it is resumed. A key that is not there is made.", answer: nothing{},
	}, {
		route: "POST /v2/flowControl/{key...}", path: "/v2/flowControl/{key}/resume", id: "resumeFlowControl", what: "Resume a key of flow control",
		answer: nothing{},
	}, {
		route: "POST /v2/flowControl/{key...}", path: "/v2/flowControl/{key}/pin", id: "pinFlowControl", what: "Pin settings of a key of flow control",
		text:  "Messages do not change what is pinned. A key that is not there is made.",
		query: []string{"parallelism", "rate", "period"}, answer: nothing{},
	}, {
		route: "POST /v2/flowControl/{key...}", path: "/v2/flowControl/{key}/unpin", id: "unpinFlowControl", what: "Unpin settings of a key of flow control",
		query: []string{"unpinParallelism", "unpinRate"}, answer: nothing{},
	}, {
		route: "POST /v2/flowControl/{key...}", path: "/v2/flowControl/{key}/resetRate", id: "resetFlowControlRate", what: "Begin a new period of a key of flow control",
		answer: nothing{},
	}, {
		route: "POST /v2/flowControl/{key...}", path: "/v2/flowControl/{key}/reset", id: "resetFlowControl", what: "Begin a new period, under a shorter path",
		answer: nothing{},
	},
	{route: "GET /v2/globalParallelism", id: "getGlobalParallelism", what: "Get how many attempts are under way, and may be", answer: client.GlobalParallelism{}},

	{
		route: "GET /v2/events", id: "listEvents", what: "List events of messages",
		text: "Newest first unless asked otherwise. The last page has no cursor.", query: eventQuery, answer: client.EventsPage{},
	}, {
		route: "GET /v2/logs", id: "listLogs", what: "List events of messages, under both names that clients know",
		query: eventQuery, answer: logsPage{},
	},

	{
		route: "GET /v2/dlq", id: "listDLQ", what: "List the dead-letter queue",
		text: "Oldest first unless asked otherwise. The last page has no cursor.", query: dlqSelection, answer: client.DLQPage{},
	},
	{route: "GET /v2/dlq/{id}", id: "getDLQEntry", what: "Get an entry of the dead-letter queue", answer: client.DLQMessage{}, errors: []int{404}},
	{
		route: "DELETE /v2/dlq", id: "deleteDLQ", what: "Delete entries of the dead-letter queue",
		text:  "Those that a filter selects, a page of them; without one, all. A filter that is not known or empty is refused.",
		query: dlqSelection, filters: true, answer: client.DLQDeleteResponse{}, errors: []int{413},
	},
	{route: "DELETE /v2/dlq/{id}", id: "deleteDLQEntry", what: "Delete an entry of the dead-letter queue", answer: client.DLQDeleteResponse{}, errors: []int{404}},
	{
		route: "POST /v2/dlq/retry", id: "retryDLQ", what: "Publish entries of the dead-letter queue anew",
		text: "Those that a filter selects, a page of them, each under a new id. Settings given replace those of the messages. " +
			"Workflow runs are left out. Entries that are duplicates by the settings given stay.",
		query: dlqSelection, filters: true, headers: retryHeaders, adds: true, answer: client.DLQRetryResponse{}, status: 201, errors: []int{412, 413},
	}, {
		route: "POST /v2/dlq/retry/{id}", id: "retryDLQEntry", what: "Publish an entry of the dead-letter queue anew",
		headers: retryHeaders, adds: true, answer: client.PublishResponse{}, status: 201, also: map[int]any{202: client.PublishResponse{}}, errors: []int{404, 412},
	},

	{route: "GET /v2/workflows/logs", id: "listRuns", what: "List workflow runs", text: "Newest first, each with its steps.", query: runQuery, answer: client.RunsPage{}},
	{
		route: "GET /v2/workflows/events", id: "listRunEvents", what: "List workflow runs, as the official SDK asks for them",
		text: "With groupBy=workflowRunId. Without it, the events of the runs' messages, newest first unless asked otherwise: then state is " +
			"one of those of an event, or of a run.",
		query: append([]string{"groupBy", "order"}, runQuery...), answer: oneOf{client.RunsPage{}, client.EventsPage{}},
	}, {
		route: "DELETE /v2/workflows/runs", id: "cancelRuns", what: "Cancel workflow runs",
		text: "Those that a filter selects; without one, all. A filter that is not known or empty is refused.",
		query: []string{
			"workflowRunIds", "workflowRunId", "workflowUrlPrefix", "workflowUrlExactMatch", "host", "path", "label", "callerIp",
			"flowControlKey", "fromDate", "toDate", "most",
		},
		filters: true, answer: client.CancelResponse{}, errors: []int{413},
	}, {
		route: "GET /v2/workflows/runs/{id}", id: "getRunLog", what: "Get the log of an active run",
		text: "For an endpoint that was called with an empty body because the log is long.", answer: []client.LogEntry{}, errors: []int{404},
	}, {
		route: "DELETE /v2/workflows/runs/{id}", id: "endRun", what: "Cancel a run, or finish it with a result",
		query: []string{"cancel"}, body: anyBytes{}, answer: oneOf{client.CancelResponse{}, nothing{}}, errors: []int{404, 413},
	}, {
		route: "POST /v2/wait/{event...}", id: "wait", what: "Have a step of a run wait for an event",
		text: "For endpoints. Upstash-Workflow-RunId says which run waits; this and the other settings are those of the delivery of the event. " +
			"The timeout is a duration or seconds; when it is over, the step goes on without the event. To ask twice is to ask once.",
		headers: []string{wire.HeaderWorkflowRunID}, adds: true, body: waitRequest{}, answer: nothing{}, errors: []int{412, 413},
	}, {
		route: "POST /v2/notify/{event}", id: "notify", what: "Tell all who wait for an event",
		text: "The body is the event's data. The answer is who waited, all of whom are told; if nobody did, the event is not kept.",
		body: anyBytes{}, answer: []client.NotifyResponse{}, status: 201, errors: []int{413},
	}, {
		route: "POST /v2/notify/{run}/{event...}", id: "notifyRun", what: "Tell one run of an event",
		text: "If it does not wait for it, the event is kept until it does, and messageId is empty. So are up to 1000 events of together 16 MiB; " +
			"what is too many is refused with 429. The answer is an array of one. Where the first part is no run's id and does not begin " +
			"with wfr_, all of it is the id of an event that everybody is told of.",
		body: anyBytes{}, answer: []client.NotifyResponse{}, status: 201, errors: []int{404, 413},
	},
	{route: "GET /v2/waiters/{event...}", id: "listWaiters", what: "List who waits for an event", answer: []client.Waiter{}},
	{
		route: "ANY /v2/workflows/hooks/{user}/{run}/{event}", id: "callWebhook", what: "Call a webhook that a run has made",
		text: "The step that waits for it gets the request: method, URL, headers and body. If none does, the call is kept until one does, " +
			"as events for one run are. Who knows the URL may call it. A HEAD or OPTIONS is answered, and is no call.",
		body: anyBytes{}, answer: nothing{}, errors: []int{404, 413},
	},

	{
		route: "GET /v2/workflows/dlq", id: "listRunDLQ", what: "List the workflow runs of the dead-letter queue",
		text:  "Oldest first unless asked otherwise. The last page has no cursor.",
		query: dlqSelection, answer: client.DLQPage{},
	}, {
		route: "GET /v2/workflows/dlq/{id}", id: "getRunDLQEntry", what: "Get a workflow run of the dead-letter queue",
		answer: client.DLQMessage{}, errors: []int{404},
	}, {
		route: "DELETE /v2/workflows/dlq", id: "deleteRunDLQ", what: "Delete workflow runs from the dead-letter queue",
		text:  "Those that a filter selects, a page of them; without one, all. A filter that is not known or empty is refused.",
		query: dlqSelection, filters: true, answer: client.DLQDeleteResponse{}, errors: []int{413},
	}, {
		route: "DELETE /v2/workflows/dlq/{id}", id: "deleteRunDLQEntry", what: "Delete a workflow run from the dead-letter queue",
		answer: client.DLQDeleteResponse{}, errors: []int{404},
	}, {
		route: "POST /v2/workflows/dlq/resume", id: "resumeRuns", what: "Resume workflow runs that have failed",
		text: "Those that a filter selects, 50 at most; without one, all. Each goes on as a new run with an id of its own, which has the old " +
			"one's log. Settings given replace those of the runs.",
		query: dlqSelection, filters: true, headers: resumeHeaders, adds: true, answer: client.ResumeResponse{}, errors: []int{412, 413},
	}, {
		route: "POST /v2/workflows/dlq/resume/{id}", id: "resumeRun", what: "Resume a workflow run that has failed",
		text: "The body, which may be left out, has what the new run finds in its log in place of a result or of the payload. That is kept in " +
			"the audit log.",
		headers: resumeHeaders, adds: true, body: client.RunEdit{}, optional: true, answer: client.RunRef{}, errors: []int{404, 409, 412, 413},
	}, {
		route: "POST /v2/workflows/dlq/restart", id: "restartRuns", what: "Restart workflow runs that have failed",
		text:  "As resumeRuns, but each from the beginning, with its payload, headers and settings.",
		query: dlqSelection, filters: true, headers: resumeHeaders, adds: true, answer: client.ResumeResponse{}, errors: []int{412, 413},
	}, {
		route: "POST /v2/workflows/dlq/restart/{id}", id: "restartRun", what: "Restart a workflow run that has failed",
		text:    "The body, which may be left out, may have another payload.",
		headers: resumeHeaders, adds: true, body: client.RunEdit{}, optional: true, answer: client.RunRef{}, errors: []int{404, 412, 413},
	}, {
		route: "POST /v2/workflows/dlq/callback", id: "rerunFailureCallbacks", what: "Call failure callbacks of runs again",
		text:  "Those that have failed, of the runs that a filter selects, 50 at most; without one, of all.",
		query: dlqSelection, filters: true, adds: true, answer: client.ResumeResponse{}, errors: []int{413},
	}, {
		route: "POST /v2/workflows/dlq/callback/{id}", id: "rerunFailureCallback", what: "Call a run's failure callback again",
		text: "Refused unless it has failed.", adds: true, answer: client.RunRef{}, errors: []int{404},
	}, {
		route: "DELETE /v2/workflows/dlq/callback/{id}", id: "cancelFailureCallback", what: "Cancel a run's failure callback",
		text: "Refused unless it is in progress. An attempt under way is not cut off.", answer: client.RunRef{}, errors: []int{404},
	},

	{route: "GET /v2/keys", id: "getKeys", what: "Get the signing keys", answer: client.SigningKeys{}},
	{
		route: "POST /v2/keys/rotate", id: "rotateKeys", what: "Rotate the signing keys",
		text:  "The next key becomes the current one. Refused with 409 while endpoints are known that would not verify it.",
		query: []string{"force"}, answer: client.SigningKeys{}, also: map[int]any{409: client.Error{}},
	}, {
		route: "POST /v2/rotate", id: "rotate", what: "Rotate the signing keys, under an older path",
		query: []string{"force"}, answer: client.SigningKeys{}, also: map[int]any{409: client.Error{}},
	},
	{route: "GET /v2/keys/status", id: "getKeyStatus", what: "See which keys endpoints hold", answer: client.KeyStatus{}},
	{
		route: "POST /v2/keys/probe", id: "probeKeys", what: "Ask an endpoint which keys it holds",
		text: "By three requests to it: one with a forged signature, one signed with each key.", body: client.ProbeRequest{},
		answer: client.KeyProbe{}, errors: []int{409, 413},
	}, {
		route: "GET /.well-known/jwks.json", id: "getJWKS", what: "Get the public keys of Ed25519 signatures",
		text:  "Those of the token's tenant, of the one that user names, or of the only one.",
		query: []string{"user"}, answer: map[string]any{}, errors: []int{401, 404},
	},

	{route: "GET /v2/limits", id: "getLimits", what: "Get limits and how much of them is used", answer: client.TenantLimits{}},
	{route: "GET /v2/settings", id: "getSettings", what: "Get what holds for all deliveries", answer: client.Settings{}},
	{
		route: "PATCH /v2/settings", id: "changeSettings", what: "Change what holds for all deliveries",
		text: "What is not given stays as it is.", body: client.SettingsChange{}, answer: client.Settings{}, errors: []int{413},
	},
	{route: "GET /v2/tokens", id: "listTokens", what: "List tokens", answer: client.TokensPage{}},
	{
		route: "POST /v2/tokens", id: "createToken", what: "Create a token",
		text: "The secret is in the answer, and told this once.", body: tokenRequest{}, answer: client.NewToken{}, status: 201, errors: []int{413},
	},
	{route: "DELETE /v2/tokens/{id}", id: "revokeToken", what: "Revoke a token",
		text: "Schedules that it made are paused, if it is limited to a URL prefix.", answer: client.RevokedToken{}, errors: []int{404, 409}},
	{route: "GET /v2/audit", id: "listAudit", what: "List management actions", text: "Newest first.", query: []string{"action", "actor", "fromDate", "toDate", "count", "cursor"}, answer: client.AuditPage{}},

	{route: "GET /v2/tenants", id: "listTenants", what: "List tenants", text: "For the operator of the server.", answer: client.TenantsPage{}},
	{
		route: "POST /v2/tenants", id: "createTenant", what: "Create a tenant",
		text: "For the operator of the server. Its credentials are in the answer, and told this once.",
		body: tenantRequest{}, answer: client.NewTenant{}, status: 201, errors: []int{409, 413},
	}, {
		route: "GET /v2/tenants/{user}/limits", id: "getTenantLimits", what: "Get the limits of a tenant",
		text: "For the operator of the server.", answer: client.TenantLimits{}, errors: []int{404},
	}, {
		route: "PATCH /v2/tenants/{user}/limits", id: "changeTenantLimits", what: "Change the limits of a tenant",
		text: "For the operator of the server. What is not given stays as it is; null or 0 makes a limit the server's default again. They hold at once.",
		body: client.LimitsChange{}, answer: client.TenantLimits{}, errors: []int{404, 413},
	},
	{route: "GET /v2/admin/rewrap", id: "getSealing", what: "See how the data is encrypted", text: "For the operator of the server.", answer: client.Sealing{}},
	{route: "POST /v2/admin/rewrap", id: "rewrap", what: "Encrypt the data anew", text: "For the operator of the server, with the master keys as they are now.", answer: client.Sealing{}, errors: []int{409}},

	{route: "GET /openapi.json", id: "getOpenAPI", what: "Get this document", answer: map[string]any{}, also: map[int]any{304: nil}},
	{route: "GET /v2/liveness", id: "isAlive", what: "See whether the server runs", answer: nothing{}},
	{route: "GET /v2/readiness", id: "isReady", what: "See whether the server takes messages", answer: nothing{}, errors: []int{503}},
}

// kind is what a parameter holds.
type kind int

const (
	aText kind = iota
	aList      // repeated, or separated by commas
	aNumber
	aTruth
	someOf     // one or more of given texts
	oneOfThese // one of given texts
)

// parameter is one of a query or of headers.
type parameter struct {
	name string // as it is sent; "": as it is called here
	what string
	kind kind
	of   []string // someOf, oneOfThese
	from int      // aNumber: the least
}

// parameters are those of queries. Where two routes mean different things by a
// name, one is called otherwise here.
var parameters = map[string]parameter{
	"messageIds":           {what: "Ids of messages.", kind: aList},
	"messageId":            {what: "Ids of messages.", kind: aList},
	"url":                  {what: "Destinations, in full. A value that has commas is also taken as a whole.", kind: aList},
	"host":                 {what: "Hosts of destinations, with or without the port.", kind: aList},
	"path":                 {what: "Paths of destinations.", kind: aList},
	"label":                {what: "Labels, any of them.", kind: aList},
	"callerIp":             {what: "Addresses of publishers.", kind: aList},
	"callerIP":             {what: "As callerIp.", kind: aList},
	"topicName":            {what: "Names of URL groups.", kind: aList},
	"queueName":            {what: "Names of queues.", kind: aList},
	"scheduleId":           {what: "Ids of schedules.", kind: aList},
	"flowControlKey":       {what: "Keys of flow control.", kind: aList},
	"fromDate":             {what: "From this time on, Unix milliseconds.", kind: aNumber},
	"toDate":               {what: "Up to this time, inclusive, Unix milliseconds.", kind: aNumber, from: 1},
	"count":                {what: "Size of a page. More than the route gives is the most it gives.", kind: aNumber, from: 1},
	"most":                 {name: "count", what: "At most so many, the oldest first. Default: all.", kind: aNumber, from: 1},
	"cursor":               {what: "Where to go on: the cursor of the page before."},
	"order":                {what: "Order of the list.", kind: oneOfThese, of: []string{string(client.OldestFirst), string(client.NewestFirst)}},
	"eventState":           {name: "state", what: "States, any of them; IN_PROGRESS stands for ACTIVE, RETRY and ERROR.", kind: someOf, of: constants("EventState")},
	"runState":             {name: "state", what: "States of runs, any of them.", kind: someOf, of: constants("RunState")},
	"search":               {what: "What a key contains."},
	"parallelism":          {what: "Attempts under way at once.", kind: aNumber, from: 1},
	"rate":                 {what: "Attempts in each period.", kind: aNumber, from: 1},
	"period":               {what: "Seconds, with rate. Default: 1.", kind: aNumber, from: 1},
	"unpinParallelism":     {name: "parallelism", what: "Whether messages set the parallelism again.", kind: aTruth},
	"unpinRate":            {name: "rate", what: "Whether messages set rate and period again.", kind: aTruth},
	"dlqIds":               {what: "Ids of entries. With them, other filters do not count.", kind: aList},
	"dlqId":                {what: "As dlqIds.", kind: aList},
	"responseStatus":       {what: "HTTP statuses of the last response.", kind: aList},
	"source":               {what: "Only entries of workflow runs, or only others.", kind: oneOfThese, of: []string{"workflow", "qstash"}},
	"workflowRunId":        {what: "Ids of runs.", kind: aList},
	"workflowRunIds":       {what: "Ids of runs. With them, other filters do not count.", kind: aList},
	"workflowRuns":         {what: "Runs as id@createdAt: an id may be used again after its run has ended.", kind: aList},
	"workflowUrl":          {what: "Endpoints of runs, in full.", kind: aList},
	"workflowUrlPrefix":    {name: "workflowUrl", what: "How endpoints of runs begin; in full with workflowUrlExactMatch.", kind: aList},
	"workflowCreatedAt":    {what: "When a run was created, Unix milliseconds.", kind: aNumber},
	"failureFunctionState": {what: "How the failure callbacks of runs are doing.", kind: someOf, of: constants("CallbackState")},
	"failureCallbackState": {what: "As failureFunctionState.", kind: someOf, of: constants("CallbackState")},

	"workflowUrlExactMatch": {what: "Whether workflowUrl is meant in full. Default: false.", kind: aTruth},

	"trimBody": {what: "How many bytes to show of a payload, a result or a response: 0 or false for all of them, true for none. Default: all."},

	"groupBy": {what: "What to list.", kind: oneOfThese, of: []string{"workflowRunId"}},
	"cancel":  {what: "Whether to cancel the run; else the body is its result. Default: true.", kind: aTruth},
	"force":   {what: "Whether to rotate although endpoints will refuse what is delivered. Default: false.", kind: aTruth},
	"user":    {what: "Whose keys."},
	"action":  {what: "Actions, any of them, such as token.create.", kind: aList},
	"actor":   {what: "Ids or names of tokens, any of them.", kind: aList},
}

// inPaths are the parameters of paths.
var inPaths = map[string]string{
	"destination": "The rest of the path, as it is: an absolute http or https URL, which is not to be encoded, or the name of a URL " +
		"group. Its query is sent to it, but for parameters that are settings, in any case, such as upstash-delay.",
	"queue": "Name of a queue: letters, digits, _ . and -.",
	"name":  "Name of a queue or URL group: letters, digits, _ . and -.",
	"id":    "Id, as an answer told it.",
	"key":   "Key of flow control. It may have slashes.",
	"user":  "User id of a tenant.",
	"event": "Id of an event.",
	"run":   "Id of a workflow run.",
}

// settingHeaders are what a publish says in its headers. Each may be sent in
// the query instead, in lower case.
var settingHeaders = map[string]parameter{
	wire.HeaderMethod:                        {what: "Method of the delivery. Default: POST.", kind: oneOfThese, of: []string{"GET", "POST", "PUT", "PATCH", "DELETE"}},
	wire.HeaderDelay:                         {what: "Time until the first attempt, such as 30s or 1d12h. Default: none."},
	wire.HeaderNotBefore:                     {what: "When the first attempt may be made, Unix seconds. Wins over Upstash-Delay.", kind: aNumber},
	wire.HeaderRetries:                       {what: "Further attempts after the first. Default: 3.", kind: aNumber},
	wire.HeaderRetryDelay:                    {what: "Expression for the milliseconds until each further attempt, such as 1000 * (1 + retried). Default: from 12 seconds to a day."},
	wire.HeaderTimeout:                       {what: "Time that an attempt may take, such as 30s. Default: the limit maxTimeout."},
	wire.HeaderCallback:                      {what: "URL that is told about each attempt. Settings of that message go by Upstash-Callback- and their names, such as Upstash-Callback-Retries."},
	wire.HeaderFailureCallback:               {what: "URL that is told when the message has failed for good. Settings of that message go by Upstash-Failure-Callback- and their names."},
	wire.PrefixForward + "{name}":            {what: "A header of the delivery, without the prefix."},
	wire.PrefixCallback + "{setting}":        {what: "A setting of the callback."},
	wire.PrefixFailureCallback + "{setting}": {what: "A setting of the failure callback."},
	wire.PrefixTelemetry + "{name}":          {what: "What the client says of itself. It is not kept."},
	wire.HeaderForwardAll:                    {what: "Whether all headers of this request are those of the delivery. Default: false.", kind: aTruth},
	wire.HeaderDeduplicationID:               {what: "Accept a message with this id once within the window. It has no colon."},
	wire.HeaderContentDedup:                  {what: "Whether to make such an id of destination, body and headers. Default: false.", kind: aTruth},
	wire.HeaderLabel:                         {what: "Labels to find the message by, separated by commas."},
	wire.HeaderFlowControlKey:                {what: "Key of flow control, with Upstash-Flow-Control-Value."},
	wire.HeaderFlowControlValue:              {what: "How messages of the key are held back: parallelism=N, rate=N, period=30s, with commas between."},
	wire.HeaderRedactFields:                  {what: "What is never shown of the message: body, header, header[Name], with commas between."},
	wire.HeaderQueueName:                     {what: "Name of the queue to go through. Default: none."},
	wire.HeaderSignWith:                      {what: "Signatures beside the standard one: ed25519, standard-webhooks, with a comma between."},
	wire.HeaderHop:                           {what: "How many messages led to this one; from the delivery that it answers to.", kind: aNumber},
	wire.HeaderCron:                          {what: "Cron expression of a schedule, with or without CRON_TZ= before it."},
	wire.HeaderScheduleID:                    {what: "Id of the schedule to make or replace. Default: a new one."},
	wire.HeaderWorkflowInit:                  {what: "Whether to start a workflow run.", kind: aTruth},
	wire.HeaderWorkflowRunID:                 {what: "Id of the workflow run that the message starts or belongs to."},
	wire.HeaderWorkflowURL:                   {what: "Endpoint of the workflow run."},
	wire.HeaderWorkflowCallType:              {what: "What the message is in its run. Default: step.", kind: oneOfThese, of: constants("CallType")},
	wire.HeaderWorkflowInvoke:                {what: "Whether the body wraps an invocation of another workflow.", kind: aTruth},
	wire.HeaderWorkflowUnknownSDK:            {what: "Whether the endpoint is to say what it needs before the run starts.", kind: aTruth},
	wire.HeaderWorkflowTriggerSDK:            {what: "Whether this is that answer.", kind: aTruth},
	wire.HeaderFeatureSet:                    {what: "What the endpoint's SDK is capable of, separated by commas."},
}

// answerHeaders are those of answers.
var answerHeaders = map[string]string{
	"Burst-RateLimit-Limit":     "Requests that see and manage, per second.",
	"Burst-RateLimit-Remaining": "How many more may come now.",
	"Burst-RateLimit-Reset":     "When none counts any more, Unix seconds.",
	"RateLimit-Limit":           "Messages that may be added in a day of UTC. Where there is no such limit, none of the three is there.",
	"RateLimit-Remaining":       "How many more may be added today.",
	"RateLimit-Reset":           "When the next day begins, Unix seconds.",
	"Retry-After":               "Seconds until a request may be tried again.",
}

// statusTexts say what a status means, whatever the route.
var statusTexts = map[int]string{
	200: "It was done.",
	201: "It was made.",
	202: "A message with this deduplication id was accepted before; nothing new was made.",
	304: "It is as the client knows it.",
	400: "The input is wrong: the error names what, and what was expected. Nothing was changed.",
	401: "There is no token, or it is not a good one.",
	403: "The token is good, but not for this.",
	404: "There is no such thing.",
	409: "It is there already, or would break what is in use.",
	412: "A limit of the tenant is reached.",
	413: "The body is too large.",
	417: "The request has an Expect header with something else than 100-continue.",
	429: "Too many requests, or too many messages for a day. With RateLimit-Limit it is the day's limit, else one of a second.",
	431: "Request line and headers are too large.",
	500: "Something went wrong in the server. Nothing is told of it here.",
	503: "The server is shutting down.",
}
