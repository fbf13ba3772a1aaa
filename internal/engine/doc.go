// Package engine holds the nouns of Signpost and all of its rules: what a
// publish makes, when a message is due, what an outcome means, how a workflow
// run's log grows and ends.
//
// A rule is written once, here, in Go, and runs inside one transaction of a
// [Store]. Handlers decode and encode, the store reads and writes rows, the
// [Deliverer] talks HTTP; none of them decides.
//
// It imports only internal/wire of ours.
package engine
