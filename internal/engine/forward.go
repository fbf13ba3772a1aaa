package engine

import (
	"strings"

	"github.com/signposthq/signpost/internal/wire"
)

// reserved reports whether a delivery of this kind does not carry a header that
// its publisher asked to forward. Endpoints of workflows learn from these
// headers what a request is; only what is of a run may say so, and only that it
// is what it is.
//
// What is not the server's to say in any delivery, such as Upstash-Signature, is
// dropped when a message is published.
func reserved(kind Kind, name string) bool {
	if !strings.HasPrefix(name, wire.PrefixWorkflow) {
		return false
	}
	switch name {
	case wire.HeaderWorkflowInvokeCount:
		return !kind.ofRun() && kind != KindToCallback // calls of a run hand it on
	case wire.HeaderWorkflowUnknownSDK:
		return true
	case wire.HeaderWorkflowIsFailure, wire.HeaderWorkflowFailureCB:
		return kind != KindFailureCall
	case wire.HeaderWorkflowCallback:
		return kind != KindFromCallback
	}
	return !kind.ofRun()
}

// ofRun reports whether it is a run's endpoint that is called, or its failure
// callback.
func (k Kind) ofRun() bool {
	switch k {
	case KindInit, KindStep, KindFromCallback, KindFailureCall:
		return true
	}
	return false
}
