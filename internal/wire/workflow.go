package wire

import "net/http"

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

func (p *configParser) workflow(name string, values []string) error {
	w := &p.Workflow
	switch name {
	case HeaderWorkflowInit, HeaderWorkflowRunID, HeaderWorkflowURL, HeaderWorkflowCallType,
		HeaderWorkflowInvoke, HeaderWorkflowUnknownSDK, HeaderWorkflowTriggerSDK:
	default:
		return nil
	}
	v, err := single(values)
	if err != nil {
		return err
	}
	switch name {
	case HeaderWorkflowInit:
		w.Init, err = parseBool(v)
	case HeaderWorkflowRunID:
		w.RunID = v
		err = checkRunID(v)
	case HeaderWorkflowURL:
		w.URL = v
		err = CheckURL(v)
	case HeaderWorkflowCallType:
		w.CallType, err = parseCallType(v)
	case HeaderWorkflowInvoke:
		w.Invoke, err = parseBool(v)
	case HeaderWorkflowUnknownSDK:
		w.UnknownSDK, err = parseBool(v)
	case HeaderWorkflowTriggerSDK:
		w.TriggerBySDK, err = parseBool(v)
	}
	return err
}

// finishWorkflow does what needs all headers read. An append that lost its run
// id must not go out as an ordinary message.
func (p *configParser) finishWorkflow() error {
	w := &p.Workflow
	if w.Invoke && !w.Init {
		return errorf(HeaderWorkflowInvoke, "expected with %s: true, as it starts a run", HeaderWorkflowInit)
	}
	if !w.Init && w.RunID == "" {
		if len(p.h[HeaderWorkflowInit]) > 0 {
			return errorf(HeaderWorkflowRunID, "expected the id of the run to append to, as %s is false", HeaderWorkflowInit)
		}
		return nil
	}
	if w.CallType == "" {
		w.CallType = CallStep
	}
	return nil
}

// OfStep says whether a message is what a step of a run asks for.
func OfStep(h http.Header) bool {
	return h.Get(HeaderWorkflowRunID) != "" && (h.Get(HeaderWorkflowInit) == "false" || h.Get(HeaderWorkflowInvoke) == "true")
}

func parseCallType(s string) (CallType, error) {
	switch t := CallType(s); t {
	case CallStep, CallTo, CallFrom, CallFailure:
		return t, nil
	}
	return "", errorf("", "expected %s, %s, %s or %s, got %s", CallStep, CallTo, CallFrom, CallFailure, quote(s))
}
