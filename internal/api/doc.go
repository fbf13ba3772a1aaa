// Package api speaks the QStash and Workflow HTTP APIs: it decodes a request,
// asks the engine, and encodes the answer. It decides nothing but which status
// an error has.
//
// It imports only internal/engine, internal/wire and client of ours.
package api
