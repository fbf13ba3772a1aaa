// Package intake is an HTTP server that clients can't wear out by being slow,
// greedy or broken: whoever does not send, or does not take what was asked for,
// loses the connection, and when there are too many connections, those that have
// not said anything make room for those that do.
//
// It imports nothing of ours.
package intake
