package receiver

import "net/http"

// VerifyHead checks everything of r but its body, which it neither reads nor
// compares. It is for a proxy's question whether a request may pass, which comes
// without the body.
//
// It is weaker than it looks: who has captured a request can send it again with
// any other body while its signature is valid, or once with [Options.Replay], in
// which the request counts as seen from then on. Whoever acts on the body must
// still compare it with Claims.BodyHash, so use [Receiver.VerifyRequest] wherever
// the body is at hand. The error is a *[VerifyError] as for VerifyRequest.
func (rc *Receiver) VerifyHead(r *http.Request) (Claims, error) {
	c, err := rc.verifyHead(r)
	if err == nil {
		err = rc.refuseReplay(r.Context(), c)
	}
	if err != nil {
		return Claims{}, err
	}
	return c, nil
}
