// Package wire is the vocabulary of the QStash and Workflow HTTP protocols:
// header names, the codec between headers and settings, destinations in
// request paths, durations, retry-delay expressions, and the JSON of workflow
// steps. Everything in it is pure: no clock, no network, no storage.
//
// It imports nothing of ours.
package wire
