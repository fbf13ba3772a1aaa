package client

import (
	"encoding/json"
	"net/http"
)

// URLGroup is a named set of endpoints: what is published to it goes to each.
type URLGroup struct {
	Name      string     `json:"name"`
	CreatedAt int64      `json:"createdAt"` // Unix milliseconds
	UpdatedAt int64      `json:"updatedAt"` // Unix milliseconds
	Endpoints []Endpoint `json:"endpoints"` // in the order in which they were added
	// Header holds Upstash-* settings for what is published to the group; those
	// of a publish win over them. Nil when there is none.
	Header http.Header `json:"headers,omitempty"`
}

// Endpoint is a member of a URL group.
type Endpoint struct {
	Name string `json:"name,omitempty"` // unique in its group; "": it has none
	URL  string `json:"url,omitempty"`
}

// MarshalJSON writes endpoints as an array even when there is none.
func (g URLGroup) MarshalJSON() ([]byte, error) {
	type plain URLGroup
	g.Endpoints = some(g.Endpoints)
	return json.Marshal(plain(g))
}
