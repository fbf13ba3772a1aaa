package workflow

import (
	"crypto/rand"
	"net/http"
	"runtime"
	"strconv"
	"strings"

	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
)

const (
	// sdkLevel is the version of the official SDK whose protocol this package
	// speaks. Servers refuse some requests of endpoints below v1.0.0.
	sdkLevel = "v1.3.2"

	telemetryName = "signpost-go@" + sdkLevel

	features     = wire.FeatureLazy + "," + wire.FeatureInitialBody + "," + wire.FeatureDetectTrigger + "," + wire.FeatureTriggerOnConfig
	callFeatures = wire.FeatureNoDelete + "," + wire.FeatureInitialBody

	jsonContent = "application/json"
)

// runHeader is what every message that belongs to the run has.
func (r *run) runHeader() http.Header {
	h := make(http.Header, 16)
	h.Set("Content-Type", jsonContent)
	h.Set(wire.HeaderMethod, http.MethodPost)
	h.Set(wire.HeaderWorkflowInit, "false")
	h.Set(wire.HeaderWorkflowRunID, r.id)
	h.Set(wire.HeaderWorkflowURL, r.url)
	h.Set(wire.HeaderWorkflowSDKVersion, protocolVersion)
	h.Set(wire.HeaderFeatureSet, features)
	addTelemetry(h)
	return h
}

func addTelemetry(h http.Header) {
	h.Set(wire.PrefixTelemetry+"Sdk", telemetryName)
	h.Set(wire.PrefixTelemetry+"Framework", "net/http")
	h.Set(wire.PrefixTelemetry+"Runtime", "go@"+runtime.Version())
}

// deliveredHeader is runHeader for messages that come back to the endpoint.
func (r *run) deliveredHeader() http.Header {
	h := r.runHeader()
	h.Set(wire.PrefixForward+wire.HeaderWorkflowSDKVersion, protocolVersion)
	if r.invoked > 0 {
		h.Set(wire.PrefixForward+wire.HeaderWorkflowInvokeCount, strconv.Itoa(r.invoked))
	}
	return h
}

// initialHeader is what of a delivery's header the run was started with: all
// but what the server, proxies and the connection have added for this
// delivery.
func initialHeader(h http.Header) http.Header {
	initial := make(http.Header, len(h))
	for name, values := range h {
		if !isAdded(name) {
			initial[name] = values
		}
	}
	return initial.Clone()
}

func isAdded(name string) bool {
	switch name {
	case receiver.Header, receiver.Ed25519Header, wire.HeaderMessageID, wire.HeaderRetried, wire.HeaderCallerIP, "Upstash-Region",
		"Cf-Connecting-Ip", "Cdn-Loop", "Cf-Ew-Via", "Cf-Ray", "Render-Proxy-Ttl",
		"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect", "Content-Length", "Host":
		return true
	}
	for _, prefix := range []string{wire.PrefixWorkflow, "X-Vercel-", "X-Forwarded-", "Proxy-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// newRunID has 126 random bits.
func newRunID() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	id := make([]byte, 21)
	rand.Read(id) // never fails: it ends the program instead
	for i, b := range id {
		id[i] = letters[b%64]
	}
	return "wfr_" + string(id)
}
