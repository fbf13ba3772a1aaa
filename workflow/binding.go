package workflow

import (
	"fmt"
	"strconv"

	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
)

// kindProbe is a request that asks for the receiver's keys alone.
const kindProbe Kind = "probe"

// bind checks that the call is what its token was made for, whatever its headers
// say: each kind of call takes tokens of its own. Headers are covered by the
// token's hash; this keeps a token from serving where its headers would do.
//
// A token that says neither comes from a server that makes none of these claims,
// such as the hosted service. Nobody can make one out of another.
//
// A check is no call of such a server.
func (d *delivery) bind(c receiver.Claims, signed, require bool) error {
	switch {
	case c.HeaderHash == "" && require:
		return mismatch("hdr", "the token covers no headers, and Options.RequireBinding is set", "", "")
	case c.HeaderHash == "" && c.Kind == "" && (d.kind != KindCheck || !signed):
		return nil
	case !d.takes(c.Kind, c.RunID != ""):
		return mismatch("kind", fmt.Sprintf("the token is not one for a %s", d.kind), string(d.kind), string(c.Kind))
	case c.RunID != "" && c.RunID != d.header.Get(wire.HeaderWorkflowRunID):
		return mismatch("run", "the token belongs to another run", c.RunID, d.header.Get(wire.HeaderWorkflowRunID))
	case strconv.Itoa(c.Attempt) != d.header.Get(wire.HeaderRetried):
		return mismatch("att", "the token belongs to another attempt", strconv.Itoa(c.Attempt), d.header.Get(wire.HeaderRetried))
	}
	return nil
}

// takes reports whether the call may be made with a token of the kind, of a run or
// of none. A plain request, which starts a run, may be anything that is
// not part of a run, and what another run calls.
func (d *delivery) takes(token receiver.Kind, ofRun bool) bool {
	switch {
	case d.kind == KindStep, d.unknownSDK:
		return token == receiver.KindStep && ofRun
	case d.kind == KindCallback:
		return token == receiver.KindCallback && ofRun
	case d.kind == KindFailure:
		return token == receiver.KindFailure && ofRun
	case d.kind == KindCheck:
		return token == receiver.KindCheck && ofRun
	}
	switch token {
	case receiver.KindMessage, receiver.KindCallback, receiver.KindFailure, receiver.KindCall:
		return !ofRun
	}
	return false
}

func mismatch(field, reason, expected, got string) error {
	return &forgery{&receiver.VerifyError{Err: receiver.ErrHeaderMismatch, Field: field, Expected: expected, Got: got, Reason: reason}}
}
