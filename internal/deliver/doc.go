// Package deliver makes one HTTP attempt: it signs the request with the time
// of sending, dials only where it may, bounds time and memory, and reports
// what came back. It knows nothing of retries.
//
// It imports only internal/engine, internal/wire and receiver of ours.
package deliver
