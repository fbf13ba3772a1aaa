package api

import "github.com/signposthq/signpost/client"

// Route is a line of the route table, for tests that go through all of it.
type Route struct {
	Method, Pattern string
	Open            bool // no token needed
	Scope           client.Scope
}

// Routes is the route table.
func Routes() []Route {
	out := make([]Route, len(routes))
	for i, r := range routes {
		out[i] = Route{Method: r.method, Pattern: r.pattern, Open: r.scope == noToken, Scope: client.Scope(r.scope)}
	}
	return out
}

// FindRoute is the place in Routes of what answers a request, -1 if nothing does.
func FindRoute(method, path string) int {
	found, _, _ := find(method, path)
	for i := range routes {
		if found == &routes[i] {
			return i
		}
	}
	return -1
}

// OpenAPI is the document that is served.
func OpenAPI() []byte { return openapi }
