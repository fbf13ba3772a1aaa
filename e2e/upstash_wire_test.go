package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// This file is what Upstash's API documents: routes, parameters, headers, JSON. It
// is written from the public references of QStash and Workflow and from what their
// official SDKs send and read, and knows nothing of what Signpost has besides.

// What JSON may have. Nil is any value.
type (
	object map[string]any // fields
	array  struct{ of any }
	either struct { // one thing, or an array
		one    any
		many   array
		varies bool // about one thing either is on record
	}
	word    struct{ *regexp.Regexp } // a string
	numeric struct{}
	truth   struct{}
)

// fields is an object of the names, whatever their values.
func fields(names string) object {
	o := object{}
	for name := range strings.FieldsSeq(names) {
		o[name] = nil
	}
	return o
}

// and is o with more fields.
func (o object) and(more object) object {
	all := object{}
	for _, part := range []object{o, more} {
		for name, of := range part {
			all[name] = of
		}
	}
	return all
}

func oneOf(words string) word { return matching(strings.ReplaceAll(words, " ", "|")) }

func matching(pattern string) word { return word{regexp.MustCompile(`^(?:` + pattern + `)$`)} }

var (
	headerMap = object{"*": array{matching(`[^\r\n]*`)}} // of any names
	runID     = matching(`[!-~]+`)
	address   = matching(`https?://[^\s#]+`)
	base64ed  = matching(`[A-Za-z0-9+/]*={0,2}`)
)

// Steps of a run's log, as an endpoint publishes them and the server writes them.
var (
	stepNames = oneOf("Initial Run SleepFor SleepUntil Call Wait Notify Invoke CreateWebhook WaitForWebhook")
	stepBody  = object{
		"stepId": numeric{}, "stepName": matching(`(?s).+`), "stepType": stepNames, "out": matching(`(?s).*`), "concurrent": numeric{}, "targetStep": numeric{},
		"sleepFor": nil, "sleepUntil": nil, "callUrl": nil, "callMethod": nil, "callBody": nil, "callHeaders": nil,
		"waitEventId": matching(`.+`), "timeout": nil, "waitTimeout": truth{}, "notifyEventId": nil, "eventData": nil,
	}
	registered = object{"stepId": numeric{}, "stepName": matching(`(?s).+`), "stepType": oneOf("Wait WaitForWebhook Invoke"), "concurrent": numeric{}}
	invocation = object{
		"body": matching(`(?s).*`), "headers": headerMap, "workflowRunId": runID, "workflowRunCreatedAt": numeric{}, "workflowUrl": address, "step": registered,
	}
	registration = object{
		"url": address, "timeout": matching(`([0-9]+[smhd])+`), "timeoutUrl": address, "timeoutHeaders": headerMap, "step": registered,
	}
	logEntries = array{object{"messageId": nil, "body": base64ed, "callType": oneOf("step toCallback fromCallback failureCall")}}
)

// outcome is the body of a callback, and of the report of a run's failure.
var outcome = fields(`status body retried maxRetries dlqId sourceMessageId topicName endpointName url method sourceBody notBefore createdAt
	scheduleId callerIP workflowRunId workflowCreatedAt`).and(object{"header": headerMap, "sourceHeader": headerMap})

// Answers.
var (
	refusal   = fields("error")
	published = either{one: fields("messageId deduplicated url"), many: array{fields("messageId deduplicated url")}}
	batched   = either{one: accepted, many: array{either{one: accepted, many: array{accepted}}}, varies: true}
	accepted  = fields("messageId deduplicated url error")
	cancelled = fields("cancelled")

	message = fields(`messageId url method maxRetries notBefore createdAt topicName endpointName queueName scheduleId body bodyBase64
		callback failureCallback callerIP flowControlKey parallelism rate period retryDelayExpression label labels`).and(
		object{"header": headerMap, "callbackHeader": headerMap, "failureCallbackHeader": headerMap})
	deadMessage = message.and(fields("dlqId responseStatus responseBody responseBodyBase64")).and(object{"responseHeader": headerMap})
	deadRun     = deadMessage.and(fields("workflowRunId workflowCreatedAt workflowUrl failureFunctionState")).and(object{
		"failureCallbackInfo": fields("state responseStatus responseBody").and(object{"responseHeaders": headerMap})})
	event = fields(`time messageId state url body method maxRetries timeout callback failureCallback nextDeliveryTime error
		responseStatus responseBody topicName endpointName queueName scheduleId label labels flowControlKey parallelism rate period
		retryDelayExpr retryDelayExpression`).and(object{"header": headerMap, "callbackHeaders": headerMap, "failureCallbackHeaders": headerMap,
		"responseHeader": headerMap, "responseHeaders": headerMap})
	queue    = fields("name createdAt updatedAt parallelism lag paused")
	schedule = fields(`scheduleId cron destination createdAt method retries isPaused body bodyBase64 delay timeout callback failureCallback
		queueName callerIP callerIp flowControlKey parallelism rate period retryDelayExpression label labels
		lastScheduleTime nextScheduleTime error`).and(object{"header": headerMap, "callbackHeader": headerMap, "failureCallbackHeader": headerMap,
		"lastScheduleStates": object{"*": oneOf("IN_PROGRESS SUCCESS FAIL")}})
	urlGroup = fields("name createdAt updatedAt").and(object{"endpoints": array{fields("name url")}, "headers": nil})
	flowKey  = fields(`flowControlKey waitListSize parallelismMax parallelismCount rateMax rateCount ratePeriod ratePeriodStart
		isPaused isPinnedParallelism isPinnedRate`)

	stepError = fields("error body status time").and(object{"headers": headerMap})
	runStep   = fields(`stepId stepName stepType callType messageId out concurrent targetStep state retries retryDelay createdAt nextDeliveryTime
		sleepFor sleepUntil callUrl callMethod callBody callResponseStatus callResponseBody
		waitEventId waitTimeoutDuration waitTimeoutDeadline waitTimeout
		invokedWorkflowRunId invokedWorkflowUrl invokedWorkflowCreatedAt invokedWorkflowRunBody`).and(object{
		"headers": headerMap, "errors": array{stepError}, "callHeaders": headerMap, "callResponseHeaders": headerMap, "invokedWorkflowRunHeaders": headerMap})
	runs = object{"cursor": nil, "runs": array{fields(`workflowRunId workflowUrl workflowState workflowRunCreatedAt workflowRunCompletedAt
		workflowRunCallerIp workflowRunResponse dlqId label labels flowControlKey`).and(object{
		"invoker": fields("workflowRunId workflowUrl workflowRunCreatedAt"),
		"failureFunction": fields("messageId url state failStatus failResponse dlqId responseStatus responseBody maxRetries nextDeliveryTime").and(object{
			"failHeaders": headerMap, "responseHeaders": headerMap, "errors": array{stepError}}),
		"steps": array{object{"type": nil, "steps": array{runStep}}},
	})}}
	runEvent = event.and(fields("workflowRunId workflowUrl workflowCreatedAt callType stepId stepName stepType concurrent targetStep"))
	oneRun   = fields("workflowRunId workflowCreatedAt")
	newRuns  = object{"workflowRuns": array{oneRun}, "cursor": nil}
	waiter   = fields("url deadline timeoutBody timeoutUrl").and(object{"headers": headerMap, "timeoutHeaders": headerMap})
	told     = fields("messageId deduplicated error workflowRunId workflowCreatedAt").and(object{"waiter": waiter})
)

// Query parameters.
const (
	paging       = " cursor count order"
	filters      = " url topicName queueName scheduleId label flowControlKey callerIp callerIP fromDate toDate"
	dlqFilters   = filters + " messageId responseStatus"
	runFilters   = " workflowUrl label flowControlKey callerIp host path fromDate toDate"
	failedFilter = " workflowUrl workflowRunId workflowCreatedAt label flowControlKey callerIp failureFunctionState fromDate toDate"
	logFilters   = runFilters + " workflowRunId workflowCreatedAt workflowRuns state messageId trimBody cursor count"
)

// route is one of the API. The answer nil is one that SDKs do not look at.
type route struct {
	pattern string // method and path, {x} for a segment, {x...} for the rest
	query   string // parameters
	header  table  // Upstash-* headers; nil: none
	body    any    // nil: none
	answer  any
}

// bytesAsTheyAre is a body that is the user's.
type bytesAsTheyAre struct{}

var batchItem = object{"destination": matching(`.+`), "headers": object{"*": matching(`[^\r\n]*`)}, "body": matching(`(?s).*`), "queue": nil}

var routes = []route{
	{"POST /v2/publish/{destination...}", "", publishing, bytesAsTheyAre{}, published},
	{"POST /v2/enqueue/{queue}/{destination...}", "", publishing, bytesAsTheyAre{}, published},
	{"POST /v2/batch", "", nil, array{batchItem}, batched},

	{"GET /v2/messages/{id}", "", nil, nil, message},
	{"DELETE /v2/messages/{id}", "", nil, nil, cancelled},
	{"DELETE /v2/messages", "messageIds host path count" + filters, nil, nil, cancelled},
	{"GET /v2/events", "messageId messageIds state host path api" + filters + paging, nil, nil, object{"events": array{event}, "cursor": nil}},

	{"POST /v2/queues", "", nil, object{"queueName": matching(`[\w.-]+`), "parallelism": numeric{}, "paused": truth{}}, nil},
	{"GET /v2/queues", "", nil, nil, array{queue}},
	{"GET /v2/queues/{name}", "", nil, nil, queue},
	{"DELETE /v2/queues/{name}", "", nil, nil, nil},
	{"POST /v2/queues/{name}/pause", "", nil, nil, nil},
	{"POST /v2/queues/{name}/resume", "", nil, nil, nil},

	{"POST /v2/schedules/{destination...}", "", publishing, bytesAsTheyAre{}, fields("scheduleId")},
	{"GET /v2/schedules", "", nil, nil, array{schedule}},
	{"GET /v2/schedules/{id}", "", nil, nil, schedule},
	{"DELETE /v2/schedules/{id}", "", nil, nil, nil},
	{"PATCH /v2/schedules/{id}/pause", "", nil, nil, nil},
	{"PATCH /v2/schedules/{id}/resume", "", nil, nil, nil},

	{"GET /v2/topics", "", nil, nil, array{urlGroup}},
	{"GET /v2/topics/{name}", "", nil, nil, urlGroup},
	{"DELETE /v2/topics/{name}", "", nil, nil, nil},
	{"PATCH /v2/topics/{name}", "", nil, object{"headers": object{"*": either{one: matching(`.*`), many: array{matching(`.*`)}}}}, nil},
	{"POST /v2/topics/{name}/endpoints", "", nil, object{"endpoints": array{fields("name url")}}, nil},
	{"DELETE /v2/topics/{name}/endpoints", "", nil, object{"endpoints": array{fields("name url")}}, nil},

	{"POST /v2/dlq/retry", "dlqIds" + dlqFilters + paging, publishing, nil, object{"responses": array{fields("messageId deduplicated")}, "cursor": nil}},
	{"POST /v2/dlq/retry/{id}", "", publishing, nil, fields("messageId deduplicated url")},
	{"GET /v2/dlq", "dlqIds source" + dlqFilters + paging, nil, nil, object{"messages": array{deadRun}, "cursor": nil}},
	{"GET /v2/dlq/{id}", "", nil, nil, deadMessage},
	{"DELETE /v2/dlq/{id}", "", nil, nil, nil},
	{"DELETE /v2/dlq", "dlqIds" + dlqFilters + paging, nil, nil, fields("deleted cursor")},

	{"GET /v2/keys", "", nil, nil, fields("current next")},
	{"POST /v2/keys/rotate", "", nil, nil, fields("current next")},
	{"GET /v2/flowControl", "search", nil, nil, array{flowKey}},
	{"GET /v2/flowControl/{key}", "", nil, nil, flowKey},
	{"POST /v2/flowControl/{key}/pause", "", nil, nil, nil},
	{"POST /v2/flowControl/{key}/resume", "", nil, nil, nil},
	{"POST /v2/flowControl/{key}/pin", "parallelism rate period", nil, nil, nil},
	{"POST /v2/flowControl/{key}/unpin", "parallelism rate", nil, nil, nil},
	{"POST /v2/flowControl/{key}/resetRate", "", nil, nil, nil},
	{"GET /v2/globalParallelism", "", nil, nil, fields("parallelismMax parallelismCount")},
	{"GET /v2/liveness", "", nil, nil, nil},

	{"GET /v2/workflows/logs", logFilters, nil, nil, runs},
	{"GET /v2/workflows/events", logFilters, nil, nil, object{"events": array{runEvent}, "cursor": nil}},
	{"GET /v2/workflows/runs/{id}", "", nil, nil, logEntries},
	{"DELETE /v2/workflows/runs/{id}", "cancel", nil, bytesAsTheyAre{}, nil},
	{"DELETE /v2/workflows/runs", "workflowRunIds workflowUrlExactMatch count" + runFilters, nil, nil, cancelled},

	{"GET /v2/workflows/dlq", "cursor count" + failedFilter, nil, nil, object{"messages": array{deadRun}, "cursor": nil}},
	{"DELETE /v2/workflows/dlq", "dlqIds cursor count" + failedFilter, nil, nil, fields("deleted cursor")},
	{"POST /v2/workflows/dlq/resume", "dlqIds cursor count" + failedFilter, bulkOverrides, nil, newRuns},
	{"POST /v2/workflows/dlq/restart", "dlqIds cursor count" + failedFilter, bulkOverrides, nil, newRuns},
	{"POST /v2/workflows/dlq/resume/{id}", "", runOverrides, nil, oneRun},
	{"POST /v2/workflows/dlq/restart/{id}", "", runOverrides, nil, oneRun},
	{"POST /v2/workflows/dlq/callback/{id}", "", nil, nil, oneRun},
	{"DELETE /v2/workflows/dlq/callback/{id}", "", nil, nil, oneRun},
	{"GET /v2/workflows/dlq/{id}", "", nil, nil, deadRun},
	{"DELETE /v2/workflows/dlq/{id}", "", nil, nil, nil},

	{"POST /v2/wait/{event}", "", publishing, registration, nil},
	{"POST /v2/notify/{event}", "", nil, bytesAsTheyAre{}, array{told}},
	{"POST /v2/notify/{run}/{event}", "", nil, bytesAsTheyAre{}, either{one: told, many: array{told}, varies: true}},
	{"GET /v2/waiters/{event}", "", nil, nil, array{waiter}},
}

// webhook is a route for everybody: any method, header, query and body.
var webhook = regexp.MustCompile(`^/v2/workflows/hooks/[^/]+/[^/]+/[^/]+$`)

// table is the headers of a request, in lower case, and what their values are.
type table map[string]*regexp.Regexp

func (t table) and(more table) table {
	all := table{}
	for _, part := range []table{t, more} {
		for name, value := range part {
			all[name] = value
		}
	}
	return all
}

func values(pattern string) *regexp.Regexp { return matching(pattern).Regexp }

// Settings, by what follows "upstash-" in their names. Those of callbacks follow
// "upstash-callback-" and "upstash-failure-callback-".
var (
	duration = `(?:[0-9]+[smhd])+`
	some     = `.+`
	list     = func(item string) string { return item + `(?:, ?` + item + `)*` }

	flow = table{
		"flow-control-key":   values(some),
		"flow-control-value": values(list(`(?:parallelism=[0-9]+|rate=[0-9]+|period=` + duration + `)`)),
	}
	delivery = table{
		"method":      values(`GET|POST|PUT|PATCH|DELETE`),
		"delay":       values(duration),
		"not-before":  values(`[0-9]+`),
		"retries":     values(`[0-9]+`),
		"retry-delay": values(`[0-9a-z+*/%(), .-]+`),
		"timeout":     values(`[0-9]+|` + duration),
	}.and(flow)
	ofRun = table{
		"feature-set":       values(list(`(?:LazyFetch|InitialBody|WF_DetectTrigger|WF_TriggerOnConfig|WF_NoDelete)`)),
		"workflow-init":     values(`true|false`),
		"workflow-runid":    values(`[!-~]+`),
		"workflow-url":      address.Regexp,
		"workflow-calltype": values(`step|toCallback|fromCallback|failureCall`),
	}
	callback   = delivery.and(ofRun)
	labels     = table{"label": values(list(`[\w.-]+`))}
	failureURL = table{"failure-callback": address.Regexp}
	publishing = delivery.and(ofRun).and(labels).and(failureURL).and(table{
		"callback":                    address.Regexp,
		"deduplication-id":            values(`[^:]+`),
		"content-based-deduplication": values(`true|false`),
		"redact-fields":               values(list(`(?:body|headers?|headers?\[[^\]]+\])`)),
		"queue-name":                  values(`[\w.-]+`),
		"cron":                        values(some),
		"schedule-id":                 values(`[\w.-]+`),
		"telemetry-sdk":               values(some),
		"telemetry-platform":          values(some),
		"telemetry-framework":         values(some),
		"telemetry-runtime":           values(some),
		"workflow-sdk-version":        values(`1`),
		"workflow-invoke":             values(`true`),
		"workflow-unknown-sdk":        values(`true`),
		"workflow-trigger-by-sdk":     values(`true`),
	})
	bulkOverrides = flow.and(table{"retries": delivery["retries"]})
	runOverrides  = bulkOverrides.and(labels).and(failureURL).and(table{"delay": delivery["delay"], "retry-delay": delivery["retry-delay"]})
)

// delivered are the Upstash-* headers of deliveries to endpoints, and what they are
// for: of the server, or forwarded for the protocol's sake.
var delivered = table{
	"message-id": values(some), "signature": values(some), "retried": values(`[0-9]+`), "region": values(some), "caller-ip": values(some),
	"topic-name": values(some), "schedule-id": values(some), "label": labels["label"],
	"workflow-runid": values(some), "workflow-url": values(some), "workflow-init": values(`true|false`), "workflow-createdat": values(`[0-9]+`),
	"workflow-sdk-version": values(`1`), "workflow-invoke-count": values(`[0-9]+`), "workflow-unknown-sdk": values(`true`),
	"workflow-callback": values(`true`), "workflow-stepid": values(`[0-9]+`), "workflow-stepname": values(some), "workflow-steptype": stepNames.Regexp,
	"workflow-concurrent": values(`[0-9]+`), "workflow-contenttype": values(some),
	"workflow-is-failure": values(`true`), "workflow-failure-callback": values(`true`),
}

// answered are the Upstash-* headers of an endpoint's answers.
var answered = table{
	"workflow-sdk-version":               values(`1`),
	"workflow-sdk":                       values(`v1\.[0-9]+\.[0-9]+`),
	"nonretryable-error":                 values(`true`),
	"workflow-failure-callback-notfound": values(`true`),
	"error-step-name":                    values(some),
}

// conditions are what an endpoint's answers say.
var (
	finishing = object{"workflowRunId": runID, "finishCondition": oneOf("success duplicate-step fromCallback workflow-already-ended failure-callback-undefined")}
	failing   = object{"error": matching(`(?s).+`), "message": matching(`(?s).*`), "stack": nil}
	handling  = object{"result": matching(`(?s).*`)}
)

// check is what is not documented about a header of a request.
func (t table) check(name, value string) error {
	rest, ok := strings.CutPrefix(strings.ToLower(name), "upstash-")
	if !ok {
		return nil
	}
	if forwarded, ok := strings.CutPrefix(rest, "forward-"); ok && t["method"] != nil {
		return checkForwarded(forwarded, value)
	}
	for _, back := range []string{"failure-callback-", "callback-"} {
		if setting, ok := strings.CutPrefix(rest, back); ok && t["cron"] != nil {
			return callback.check("upstash-"+setting, value)
		}
	}
	return t.match(rest, value)
}

func (t table) match(name, value string) error {
	switch documented, ok := t[name]; {
	case !ok:
		return fmt.Errorf("header Upstash-%s is not documented here", name)
	case !documented.MatchString(value):
		return fmt.Errorf("header Upstash-%s: %q is not documented", name, value)
	}
	return nil
}

// checkForwarded lets users' headers through, and those of the protocol that
// SDKs have forwarded.
func checkForwarded(name, value string) error {
	// What starts a run by a plain request is forwarded as it came, known or not.
	if setting, ok := strings.CutPrefix(name, "upstash-"); ok && setting != "future" {
		return delivered.match(setting, value)
	}
	return nil
}

// patterns are those of the routes.
var patterns = func() (all []*regexp.Regexp) {
	segment := regexp.MustCompile(`\\\{(\w+)\\\}`)
	rest := regexp.MustCompile(`\\\{(\w+)\\\.\\\.\\\.\\\}`)
	for _, r := range routes {
		expr := rest.ReplaceAllString(regexp.QuoteMeta(r.pattern), `(?P<$1>.+)`)
		all = append(all, regexp.MustCompile(`^`+segment.ReplaceAllString(expr, `(?P<$1>[^/]+)`)+`$`))
	}
	return all
}()

// routeOf finds the route of a request, and what stands for the names in its
// pattern.
func routeOf(method, path string) (r route, parts map[string]string, ok bool) {
	for i, re := range patterns {
		if m := re.FindStringSubmatch(method + " " + path); m != nil {
			parts := map[string]string{}
			for i, name := range re.SubexpNames() {
				parts[name] = m[i]
			}
			return routes[i], parts, true
		}
	}
	return route{}, nil, false
}

// checkQuery finds parameters that are not documented.
func (r route) checkQuery(raw string) error {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return err
	}
	for name := range q {
		if !slices.Contains(strings.Fields(r.query), name) {
			return fmt.Errorf("query parameter %s is not documented", name)
		}
	}
	return nil
}

// documented is v with nothing but what of lists, and what else there was.
func documented(v, of any, at string) (any, []string) {
	wrong := func(want string) (any, []string) {
		return v, []string{fmt.Sprintf("%s: expected %s, got %.80v", at, want, v)}
	}
	switch of := of.(type) {
	case nil:
		return v, nil
	case object:
		fields, ok := v.(map[string]any)
		if !ok {
			return wrong("an object")
		}
		return of.filter(fields, at)
	case array:
		items, ok := v.([]any)
		if !ok {
			return wrong("an array")
		}
		var more []string
		for i := range items {
			kept, unknown := documented(items[i], of.of, fmt.Sprintf("%s[%d]", at, i))
			items[i], more = kept, append(more, unknown...)
		}
		return items, more
	case either:
		if _, ok := v.([]any); ok {
			return documented(v, of.many, at)
		}
		return documented(v, of.one, at)
	case word:
		if text, ok := v.(string); !ok || !of.MatchString(text) {
			return wrong("a string such as " + of.String())
		}
	case numeric:
		if _, ok := v.(json.Number); !ok {
			return wrong("a number")
		}
	case truth:
		if _, ok := v.(bool); !ok {
			return wrong("true or false")
		}
	default:
		panic(fmt.Sprintf("%s: %T", at, of))
	}
	return v, nil
}

func (o object) filter(v map[string]any, at string) (any, []string) {
	var more []string
	for name, value := range v {
		of, ok := o[name]
		if !ok {
			of, ok = o["*"]
		}
		if !ok {
			more = append(more, at+"."+name+" is not documented")
			delete(v, name)
			continue
		}
		kept, unknown := documented(value, of, at+"."+name)
		v[name], more = kept, append(more, unknown...)
	}
	return v, more
}

// documentedStatus is what an SDK of an endpoint answers.
func documentedStatus(status int, h http.Header, body map[string]any) error {
	switch {
	case status == http.StatusOK:
	case status == 489 && h.Get("Upstash-NonRetryable-Error") != "true":
		return fmt.Errorf("489 without Upstash-NonRetryable-Error")
	case status >= 400 && body["error"] != nil:
	default:
		return fmt.Errorf("status %d with %v", status, body)
	}
	return nil
}
