package wire

import (
	"net/http"
	"time"
)

// Config is what the Upstash-* headers of a publish request say, decoded and
// checked (protocol: publishing configuration).
type Config struct {
	Method string // delivery method; "POST" when not given
	// Header is what the destination is sent: Content-Type and the
	// Upstash-Forward-* headers with their prefix stripped, canonical names.
	// Nil when there is none.
	Header http.Header

	Delay     time.Duration // 0: at once
	NotBefore int64         // Unix milliseconds; 0: not given. Wins over Delay

	Retries    *int          // nil: not given
	RetryDelay string        // a valid RetryDelay expression; "": default backoff
	Timeout    time.Duration // of one attempt; 0: not given

	Callback        *Callback
	FailureCallback *Callback

	Labels []string

	DeduplicationID string
	ContentDedup    bool

	Workflow Workflow
}

// Callback is a URL to call about an outcome, with the settings of that call.
type Callback struct {
	URL string `json:"url"`
	// Header holds the settings as publish headers: Upstash-Callback-Retries
	// is kept here as Upstash-Retries, so ParseConfig reads them.
	Header http.Header `json:"header,omitempty"`
}

// Workflow is what the Upstash-Workflow-* headers of a publish request say.
// The zero value is a message that belongs to no run.
type Workflow struct {
	Init         bool     // create the run; false with a RunID: append to it
	RunID        string   // "" : not a workflow message, unless Init
	URL          string   // the run's canonical endpoint
	CallType     CallType // CallStep when not given
	Features     []string // Upstash-Feature-Set, split and trimmed
	Invoke       bool     // the body wraps an invocation
	UnknownSDK   bool     // ask the endpoint to trigger itself again
	TriggerBySDK bool     // the endpoint's answer to UnknownSDK
}

// CallType says what an entry of a run's log is.
type CallType string

const (
	CallStep               CallType = "step"         // a step's plan or result; the default
	CallTo                 CallType = "toCallback"   // a request to a third party
	CallFrom               CallType = "fromCallback" // its outcome, on the way to the endpoint
	CallFailure            CallType = "failureCall"  // the run's failure callback
	FeatureLazy                     = "LazyFetch"
	FeatureInitialBody              = "InitialBody"
	FeatureDetectTrigger            = "WF_DetectTrigger"
	FeatureTriggerOnConfig          = "WF_TriggerOnConfig"
	FeatureNoDelete                 = "WF_NoDelete"
)
