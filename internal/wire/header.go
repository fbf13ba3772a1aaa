package wire

import (
	"errors"
	"fmt"
)

// Header names, in canonical MIME form. Prefixes end in "-".
const (
	HeaderMethod              = "Upstash-Method"
	HeaderDelay               = "Upstash-Delay"
	HeaderNotBefore           = "Upstash-Not-Before"
	HeaderRetries             = "Upstash-Retries"
	HeaderRetryDelay          = "Upstash-Retry-Delay"
	HeaderTimeout             = "Upstash-Timeout"
	HeaderLabel               = "Upstash-Label"
	HeaderDeduplicationID     = "Upstash-Deduplication-Id"
	HeaderContentDedup        = "Upstash-Content-Based-Deduplication"
	HeaderForwardAll          = "Upstash-Header-Forward"
	HeaderFlowControlKey      = "Upstash-Flow-Control-Key"
	HeaderFlowControlValue    = "Upstash-Flow-Control-Value"
	HeaderRedactFields        = "Upstash-Redact-Fields"
	HeaderQueueName           = "Upstash-Queue-Name"
	HeaderCron                = "Upstash-Cron"
	HeaderScheduleID          = "Upstash-Schedule-Id"
	HeaderFeatureSet          = "Upstash-Feature-Set"
	HeaderCallback            = "Upstash-Callback"
	HeaderFailureCallback     = "Upstash-Failure-Callback"
	PrefixForward             = "Upstash-Forward-"
	PrefixCallback            = "Upstash-Callback-"
	PrefixFailureCallback     = "Upstash-Failure-Callback-"
	PrefixTelemetry           = "Upstash-Telemetry-"
	PrefixUpstash             = "Upstash-"
	PrefixWorkflow            = "Upstash-Workflow-"
	HeaderSignature           = "Upstash-Signature"
	HeaderSignatureEd25519    = "Upstash-Signature-Ed25519"
	HeaderSignatureKeys       = "Upstash-Signature-Keys"
	HeaderSignWith            = "Upstash-Sign-With"
	HeaderMessageID           = "Upstash-Message-Id"
	HeaderRetried             = "Upstash-Retried"
	HeaderCallerIP            = "Upstash-Caller-Ip"
	HeaderHop                 = "Upstash-Hop"
	HeaderRegion              = "Upstash-Region"
	HeaderTopicName           = "Upstash-Topic-Name"
	HeaderNonRetryable        = "Upstash-Nonretryable-Error"
	HeaderWorkflowInit        = "Upstash-Workflow-Init"
	HeaderWorkflowRunID       = "Upstash-Workflow-Runid"
	HeaderWorkflowURL         = "Upstash-Workflow-Url"
	HeaderWorkflowCallType    = "Upstash-Workflow-Calltype"
	HeaderWorkflowCreatedAt   = "Upstash-Workflow-Createdat"
	HeaderWorkflowSDKVersion  = "Upstash-Workflow-Sdk-Version"
	HeaderWorkflowSDK         = "Upstash-Workflow-Sdk"
	HeaderWorkflowInvoke      = "Upstash-Workflow-Invoke"
	HeaderWorkflowInvokeCount = "Upstash-Workflow-Invoke-Count"
	HeaderWorkflowUnknownSDK  = "Upstash-Workflow-Unknown-Sdk"
	HeaderWorkflowTriggerSDK  = "Upstash-Workflow-Trigger-By-Sdk"
	HeaderWorkflowIsFailure   = "Upstash-Workflow-Is-Failure"
	HeaderWorkflowFailureCB   = "Upstash-Workflow-Failure-Callback"
	HeaderWorkflowNotFound    = "Upstash-Workflow-Failure-Callback-Notfound"
	HeaderWorkflowCallback    = "Upstash-Workflow-Callback"
	HeaderWorkflowStepID      = "Upstash-Workflow-Stepid"
	HeaderWorkflowStepName    = "Upstash-Workflow-Stepname"
	HeaderWorkflowStepType    = "Upstash-Workflow-Steptype"
	HeaderWorkflowConcurrent  = "Upstash-Workflow-Concurrent"
	HeaderWorkflowContentType = "Upstash-Workflow-Contenttype"
	HeaderErrorStepName       = "Upstash-Error-Step-Name"
)

// Error says which input was wrong and what was expected of it. The API
// answers it as a 400.
type Error struct {
	Field   string // a header, query parameter or body path, e.g. "Upstash-Delay" or "[2].destination"
	Message string // what was expected, and what came
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

func errorf(field, format string, args ...any) *Error {
	return &Error{Field: field, Message: fmt.Sprintf(format, args...)}
}

// Within says where err happened: it puts path before the Field of an *Error,
// as in "[2].headers" before "Upstash-Delay". Other errors come back as they
// are, nil included.
func Within(path string, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	if e.Field != "" {
		path += "." + e.Field
	}
	return &Error{Field: path, Message: e.Message}
}
